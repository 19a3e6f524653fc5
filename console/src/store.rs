//! Pure: no clock, no I/O, no async.
//!
//! What the console knows now and for how long it has known it: the totals, what each window watches, and a log of what
//! happened at the console itself.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::id::{NodeKey, SessionKey};
use common::operator::Mirror;
use common::wire::operator::{
    EventRow, EventSubject, HeadRow, HeadSample, NodeDetail, NodeRow, Row, Severity,
};

use crate::desktop::WindowId;
use crate::model::{Decision, Link, Message, Node, Session, SessionDetail, Welcome};
use crate::text::Clean;

/// Samples of a history: five minutes of one a second.
pub const HISTORY_SAMPLES: usize = common::operator::SAMPLES_MAX;

/// Entries of the console's own log; older ones are forgotten.
pub const LOG_ENTRIES_MAX: usize = 1_024;

/// The master tells the totals this often.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Keys of the console's own log entries among those of the master's events.
pub const OWN_ENTRY: u64 = 1 << 63;

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
    fn of<T>(samples: &[T], value: impl Fn(&T) -> u32) -> Self {
        Self { samples: samples.iter().map(value).collect() }
    }

    /// The samples, oldest first.
    #[must_use]
    pub fn samples(&self) -> &[u32] {
        &self.samples
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
    /// Connections that its sessions have.
    pub connections: u64,
}

impl NodeEntry {
    /// From a row.
    #[must_use]
    pub fn of(row: &NodeRow) -> Self {
        Self {
            node: Node::of(row),
            cpu: History::of(&row.history, |sample| sample.cpu_permille.into()),
            egress: History::of(&row.history, |sample| sample.egress_kbps),
            sessions: History::of(&row.history, |sample| sample.sessions),
            connections: row.connections.into(),
        }
    }
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

impl Totals {
    fn of(samples: &[HeadSample]) -> Self {
        Self {
            sessions: History::of(samples, |it| it.sessions),
            connections: History::of(samples, |it| it.connections),
            streams: History::of(samples, |it| it.streams),
            egress: History::of(samples, |it| it.egress_kbps),
            ingress: History::of(samples, |it| it.ingress_kbps),
            cpu_mean: History::of(samples, |it| it.cpu_permille_mean.into()),
            cpu_max: History::of(samples, |it| it.cpu_permille_max.into()),
            drops: History::of(samples, |it| it.drops),
        }
    }
}

/// What the console knows, or what a window shows of it.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// The link; none before the first word of the source.
    pub link: Option<Link>,
    /// When the link changed.
    pub link_since: Duration,
    /// The last welcome; stays over cuts.
    pub welcome: Option<Welcome>,
    /// Newest totals.
    pub head: HeadRow,
    /// Milliseconds since 1970 at the master when it said something last.
    pub at_ms: u64,
    /// When the totals came; none before the first.
    pub received: Option<Duration>,
    /// Nodes in any window, by key.
    pub nodes: Vec<NodeEntry>,
    /// Sessions in any window, by key.
    pub sessions: Vec<Session>,
    /// Histories of totals.
    pub totals: Totals,
    /// What happened at the console itself, newest last.
    pub log: VecDeque<EventRow>,
    /// Counts changes, so that views know when to look again.
    pub version: u64,
    lists: BTreeMap<WindowId, Mirror>,
    log_seq: u64,
}

impl Store {
    /// Takes in what a source says. Answers to operations are not for the store.
    pub fn apply(&mut self, now: Duration, message: Message) {
        match message {
            Message::Delta { window, delta } => {
                self.at_ms = self.at_ms.max(delta.at_ms);
                self.lists.entry(window).or_default().apply(*delta);
                self.rebuild(now, window);
            }
            Message::Link(link) => self.apply_link(now, link),
            Message::Operated { .. } => {}
        }
    }

    /// Writes to the console's own log.
    pub fn note(&mut self, severity: Severity, kind: &str, name: &Clean, text: String) {
        self.log_seq += 1;
        self.version += 1;
        let entry = EventRow {
            seq: OWN_ENTRY | self.log_seq,
            at_ms: self.at_ms,
            severity,
            kind: kind.to_owned(),
            subject: EventSubject::Cluster,
            name: name.to_string(),
            text,
        };
        if self.log.len() >= LOG_ENTRIES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(entry);
    }

    /// Forgets what a window watched.
    pub fn forget(&mut self, window: WindowId) {
        self.lists.remove(&window);
    }

    /// Age of everything that the link brings.
    #[must_use]
    pub fn age(&self, now: Duration) -> Age {
        let Some(received) = self.received else { return Age::Unknown };
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

    /// Age of what a window shows: nothing is sent while nothing changes.
    #[must_use]
    pub fn age_of(&self, now: Duration, window: WindowId) -> Age {
        if self.lists.contains_key(&window) { self.age(now) } else { Age::Unknown }
    }

    /// Whether the cluster is made up and stands still.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.welcome.as_ref().is_some_and(|welcome| welcome.still)
    }

    /// What a window watches, as far as it has come.
    #[must_use]
    pub fn list(&self, window: WindowId) -> Option<&Mirror> {
        self.lists.get(&window)
    }

    /// Why a window shows nothing, if the master said so.
    #[must_use]
    pub fn error(&self, window: WindowId) -> Option<Clean> {
        let list = self.lists.get(&window)?;
        (!list.error.is_empty()).then(|| Clean::new(&list.error))
    }

    /// One session as a window watches it.
    #[must_use]
    pub fn session_detail(&self, window: WindowId) -> Option<SessionDetail> {
        let list = self.lists.get(&window)?;
        let found = list.rows().next()?;
        if let Row::SessionDetail(detail) = found { Some(SessionDetail::of(detail)) } else { None }
    }

    /// One node as a window watches it.
    #[must_use]
    pub fn node_detail(&self, window: WindowId) -> Option<&NodeDetail> {
        let found = self.lists.get(&window)?.rows().next()?;
        if let Row::NodeDetail(detail) = found { Some(detail) } else { None }
    }

    /// Placement decisions as a window watches them, newest first; none before the first answer.
    #[must_use]
    pub fn decisions(&self, window: WindowId) -> Option<Vec<Decision>> {
        let decision = |row: &Row| if let Row::Decision(row) = row { Some(Decision::of(row)) } else { None };
        Some(self.lists.get(&window)?.rows().filter_map(decision).collect())
    }

    /// An event that a window shows, or an entry of the console's own log.
    #[must_use]
    pub fn event(&self, window: WindowId, seq: u64) -> Option<&EventRow> {
        if seq & OWN_ENTRY != 0 {
            let first = self.log.front()?.seq;
            return self.log.get(usize::try_from(seq.checked_sub(first)?).ok()?);
        }
        if let Row::Event(row) = self.lists.get(&window)?.row(seq)? { Some(row) } else { None }
    }

    /// A recording that a window shows.
    #[must_use]
    pub fn recording(&self, window: WindowId, key: u64) -> Option<&common::wire::operator::RecordingRow> {
        if let Row::Recording(row) = self.lists.get(&window)?.row(key)? { Some(row) } else { None }
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

    fn apply_link(&mut self, now: Duration, link: Link) {
        let was_up = matches!(self.link, Some(Link::Up(_)));
        match &link {
            Link::Connecting { .. } => {}
            Link::Down { why, .. } => {
                if was_up {
                    self.note(Severity::Crit, "link.lost", &Clean::default(), why.to_string());
                }
            }
            Link::Up(welcome) => {
                let text = format!("{} as {}", welcome.program, welcome.operator);
                self.note(Severity::Info, "link.up", &welcome.cluster, text);
                self.welcome = Some(welcome.clone());
            }
        }
        self.link = Some(link);
        self.link_since = now;
        self.version += 1;
    }

    fn take_head(&mut self, now: Duration, head: HeadRow, totals: Totals) {
        let known = self.received.is_some();
        let restarted = known && (head.epoch != self.head.epoch || head.uptime_ms < self.head.uptime_ms);
        self.head = head;
        self.totals = totals;
        self.received = Some(now);
        if restarted {
            let text = format!("epoch {}, up {}", self.head.epoch, crate::text::span(self.head.uptime_ms));
            self.note(Severity::Warn, "master.changed", &Clean::default(), text);
        }
    }

    /// Brings what all windows share up to date.
    fn rebuild(&mut self, now: Duration, window: WindowId) {
        self.version += 1;
        let first = self.lists.get(&window).and_then(|list| list.rows().next());
        if let Some(Row::Head(full)) = first {
            let head = HeadRow { history: Vec::new(), ..(**full).clone() };
            let totals = Totals::of(&full.history);
            return self.take_head(now, head, totals);
        }
        let mut nodes: BTreeMap<NodeKey, NodeEntry> = BTreeMap::new();
        let mut sessions: BTreeMap<SessionKey, Session> = BTreeMap::new();
        for row in self.lists.values().flat_map(Mirror::rows) {
            match row {
                Row::Node(row) => drop(nodes.insert(row.node, NodeEntry::of(row))),
                Row::NodeDetail(detail) => {
                    nodes.insert(detail.row.node, NodeEntry::of(&detail.row));
                    for session in &detail.largest {
                        sessions.insert(session.session, Session::of(session));
                    }
                }
                Row::Session(row) => drop(sessions.insert(row.session, Session::of(row))),
                Row::SessionDetail(detail) => {
                    sessions.insert(detail.row.session, Session::of(&detail.row));
                }
                Row::Head(_) | Row::Recording(_) | Row::Event(_) | Row::Decision(_) => {}
            }
        }
        self.nodes = nodes.into_values().collect();
        self.sessions = sessions.into_values().collect();
    }
}
