//! Pure: no clock, no I/O, no async.
//!
//! What the console knows now and for how long it has known it: the newest overview, short histories made from the
//! overviews seen, details that windows asked for, and a log of the changes seen.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::id::{NodeKey, SessionKey};

use crate::model::{Decision, Link, Message, Node, Overview, Session, SessionDetail, Topic, Welcome};
use crate::observe;
use crate::text::Clean;

/// Samples of a history: five minutes of one a second.
pub const HISTORY_SAMPLES: usize = 300;

/// Entries of the log; older ones are forgotten.
pub const LOG_ENTRIES_MAX: usize = 4_096;

/// The master sends an overview this often.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// How old something is, against how often it comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Age {
    /// As new as it gets.
    Live,
    /// A few intervals old.
    Late(u64),
    /// So old that it says nothing about now, or the link is down.
    Stale(u64),
    /// Never heard.
    Unknown,
}

/// Values over time, newest last.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: Vec<u32>,
}

impl History {
    fn push(&mut self, sample: u32) {
        if self.samples.len() >= 2 * HISTORY_SAMPLES {
            self.samples.drain(..HISTORY_SAMPLES);
        }
        self.samples.push(sample);
    }

    /// The samples, oldest first.
    #[must_use]
    pub fn samples(&self) -> &[u32] {
        &self.samples[self.samples.len().saturating_sub(HISTORY_SAMPLES)..]
    }
}

/// A node with what is known of its past.
#[derive(Clone, Debug, Default)]
pub struct NodeEntry {
    /// As last reported.
    pub node: Node,
    /// CPU, permille.
    pub cpu: History,
    /// Bits per second out, in kilobits.
    pub egress: History,
    /// Sessions.
    pub sessions: History,
    /// Connections that its sessions have, from the session rows.
    pub connections: u64,
}

/// Totals over time.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Sessions.
    pub sessions: History,
    /// Connections.
    pub connections: History,
    /// Streams.
    pub streams: History,
    /// Bits per second out, in kilobits.
    pub egress: History,
    /// Bits per second in, in kilobits.
    pub ingress: History,
    /// Mean CPU of running media nodes, permille.
    pub cpu_mean: History,
    /// CPU of the busiest running media node, permille.
    pub cpu_max: History,
    /// Datagrams dropped.
    pub drops: History,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Normal course of things.
    Info,
    /// What an operator did.
    Audit,
    /// Worth a look.
    Warn,
    /// Bad.
    Crit,
}

impl Severity {
    /// For screens and filters.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Crit => "crit",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }
}

/// What a log entry is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The cluster or the console itself.
    Cluster,
    /// A node.
    Node(NodeKey),
    /// A session.
    Session(SessionKey),
}

/// A change that the console saw.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Counts up from 1.
    pub seq: u64,
    /// Milliseconds since 1970, the master's clock.
    pub at_ms: u64,
    /// How bad.
    pub severity: Severity,
    /// `node.lost`, `session.opened`, ...
    pub kind: &'static str,
    /// About what.
    pub subject: Subject,
    /// Its name.
    pub name: Clean,
    /// More.
    pub text: String,
}

/// A detail that a window asked for.
#[derive(Clone, Debug)]
pub enum Detail {
    /// Placement decisions of a session, newest first.
    Placement(Result<Vec<Decision>, Clean>),
    /// Participants and streams of a session.
    Session(Result<Box<SessionDetail>, Clean>),
}

/// Everything known.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// The link; none before the first word of the source.
    pub link: Option<Link>,
    /// When the link changed.
    pub link_since: Duration,
    /// The last welcome; stays over cuts.
    pub welcome: Option<Welcome>,
    /// Newest overview without its rows.
    pub head: Overview,
    /// When it came; none before the first.
    pub received: Option<Duration>,
    /// Nodes by key.
    pub nodes: Vec<NodeEntry>,
    /// Sessions by key.
    pub sessions: Vec<Session>,
    /// Histories of totals.
    pub totals: Totals,
    /// Newest last.
    pub log: VecDeque<LogEntry>,
    /// Counts overviews and log entries, so that views know when to look again.
    pub version: u64,
    details: BTreeMap<Topic, (Duration, Detail)>,
    log_seq: u64,
}

impl Store {
    /// Takes in what a source says. Answers to operations are not for the store.
    pub fn apply(&mut self, now: Duration, message: Message) {
        match message {
            Message::Link(link) => self.apply_link(now, link),
            Message::Operated { .. } => {}
            Message::Overview(overview) => self.apply_overview(now, *overview),
            Message::Placement { session, decisions } => {
                self.details.insert(Topic::Placement(session), (now, Detail::Placement(decisions)));
            }
            Message::Session { session, detail } => {
                self.details.insert(Topic::Session(session), (now, Detail::Session(detail)));
            }
        }
    }

    /// Writes to the log.
    pub fn note(
        &mut self,
        severity: Severity,
        kind: &'static str,
        subject: Subject,
        name: Clean,
        text: String,
    ) {
        self.log_seq += 1;
        self.version += 1;
        let entry =
            LogEntry { seq: self.log_seq, at_ms: self.head.at_ms, severity, kind, subject, name, text };
        if self.log.len() >= LOG_ENTRIES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(entry);
    }

    /// Forgets a detail that no window shows.
    pub fn forget(&mut self, topic: Topic) {
        self.details.remove(&topic);
    }

    /// Age of the overview.
    #[must_use]
    pub fn age(&self, now: Duration) -> Age {
        self.age_of(now, self.received)
    }

    /// Age of something that comes as often as the overview does.
    #[must_use]
    pub fn age_of(&self, now: Duration, received: Option<Duration>) -> Age {
        let Some(received) = received else { return Age::Unknown };
        if self.is_still() {
            return Age::Live;
        }
        let age = now.saturating_sub(received);
        let down = matches!(self.link, Some(Link::Down { .. } | Link::Connecting { .. }));
        if down || age > 5 * INTERVAL {
            Age::Stale(age.as_secs())
        } else if age > 2 * INTERVAL {
            Age::Late(age.as_secs())
        } else {
            Age::Live
        }
    }

    /// Whether the cluster is made up and stands still.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.welcome.as_ref().is_some_and(|welcome| welcome.still)
    }

    /// A detail and when it came.
    #[must_use]
    pub fn detail(&self, topic: Topic) -> Option<(Duration, &Detail)> {
        self.details.get(&topic).map(|(at, detail)| (*at, detail))
    }

    /// An entry of the log by its number.
    #[must_use]
    pub fn entry(&self, seq: u64) -> Option<&LogEntry> {
        let first = self.log.front()?.seq;
        self.log.get(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    /// A node by its key.
    #[must_use]
    pub fn node(&self, key: NodeKey) -> Option<&NodeEntry> {
        let index = self.nodes.binary_search_by_key(&key, |entry| entry.node.key).ok()?;
        self.nodes.get(index)
    }

    /// A session by its key.
    #[must_use]
    pub fn session(&self, key: SessionKey) -> Option<&Session> {
        let index = self.sessions.binary_search_by_key(&key, |session| session.key).ok()?;
        self.sessions.get(index)
    }

    /// Sessions on a node, busiest first.
    #[must_use]
    pub fn sessions_on(&self, node: NodeKey) -> Vec<&Session> {
        let mut sessions: Vec<&Session> = self.sessions.iter().filter(|s| s.node == Some(node)).collect();
        sessions.sort_by_key(|session| std::cmp::Reverse((session.connections, session.streams)));
        sessions
    }

    /// Whether the rows are all that there are.
    #[must_use]
    pub fn has_every_session(&self) -> bool {
        self.sessions.len() as u64 >= self.head.sessions_total
    }

    fn apply_link(&mut self, now: Duration, link: Link) {
        let was_up = matches!(self.link, Some(Link::Up(_)));
        match &link {
            Link::Connecting { .. } => {}
            Link::Down { why, .. } => {
                if was_up {
                    self.note(
                        Severity::Crit,
                        "link.lost",
                        Subject::Cluster,
                        Clean::default(),
                        why.to_string(),
                    );
                }
            }
            Link::Up(welcome) => {
                let text = format!("{} as {}", welcome.program, welcome.operator);
                self.note(Severity::Info, "link.up", Subject::Cluster, welcome.cluster.clone(), text);
                self.welcome = Some(welcome.clone());
            }
        }
        self.link = Some(link);
        self.link_since = now;
        self.version += 1;
    }

    fn apply_overview(&mut self, now: Duration, mut overview: Overview) {
        overview.nodes.sort_by_key(|node| node.key);
        overview.sessions.sort_by_key(|session| session.key);
        let nodes = std::mem::take(&mut overview.nodes);
        let sessions = std::mem::take(&mut overview.sessions);
        let first = self.received.is_none();
        let complete = self.has_every_session() && sessions.len() as u64 >= overview.sessions_total;
        let (before, after) = (&self.head, &overview);
        let restarted = !first && (after.epoch != before.epoch || after.uptime_ms < before.uptime_ms);
        self.head = overview;
        if restarted {
            let text = format!("epoch {}, up {}", self.head.epoch, crate::text::span(self.head.uptime_ms));
            self.note(Severity::Warn, "master.changed", Subject::Cluster, Clean::default(), text);
        }
        let mut seen = observe::nodes(&self.nodes, &nodes, first);
        if complete && !first {
            seen.extend(observe::sessions(&self.sessions, &sessions, &nodes));
        }
        self.sessions = sessions;
        self.merge_nodes(nodes);
        for observed in seen {
            self.note(observed.severity, observed.kind, observed.subject, observed.name, observed.text);
        }
        self.push_totals();
        self.received = Some(now);
        self.version += 1;
    }

    fn merge_nodes(&mut self, nodes: Vec<Node>) {
        let mut known: BTreeMap<NodeKey, NodeEntry> =
            self.nodes.drain(..).map(|entry| (entry.node.key, entry)).collect();
        for node in nodes {
            let mut entry = known.remove(&node.key).unwrap_or_default();
            // The last report of a node that is gone says nothing about now.
            let up = u32::from(node.state.is_up());
            entry.cpu.push(up * u32::from(node.load.cpu_permille));
            entry.egress.push(up * kilo(node.load.egress_bps));
            entry.sessions.push(up * node.load.sessions);
            entry.connections = 0;
            entry.node = node;
            self.nodes.push(entry);
        }
        for session in &self.sessions {
            let Some(node) = session.node else { continue };
            if let Ok(index) = self.nodes.binary_search_by_key(&node, |entry| entry.node.key) {
                self.nodes[index].connections += u64::from(session.connections);
            }
        }
    }

    fn push_totals(&mut self) {
        let media = || self.nodes.iter().map(|entry| &entry.node).filter(|node| !node.recorder);
        let running: Vec<u32> =
            media().filter(|node| node.state.is_up()).map(|node| u32::from(node.load.cpu_permille)).collect();
        let mean = running.iter().sum::<u32>() / u32::try_from(running.len().max(1)).unwrap_or(1);
        let sum = |of: fn(&Node) -> u64| media().filter(|node| node.state.is_up()).map(of).sum::<u64>();
        let (egress, ingress) = (sum(|n| n.load.egress_bps), sum(|n| n.load.ingress_bps));
        let drops = sum(|n| n.load.drops);
        let totals = &mut self.totals;
        totals.sessions.push(capped(self.head.sessions_total));
        totals.connections.push(capped(self.head.connections_total));
        totals.streams.push(capped(self.head.streams_total));
        totals.egress.push(kilo(egress));
        totals.ingress.push(kilo(ingress));
        totals.cpu_mean.push(mean);
        totals.cpu_max.push(running.iter().copied().max().unwrap_or(0));
        totals.drops.push(capped(drops));
    }
}

fn kilo(amount: u64) -> u32 {
    capped(amount / 1000)
}

fn capped(amount: u64) -> u32 {
    u32::try_from(amount).unwrap_or(u32::MAX)
}
