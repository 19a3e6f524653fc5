//! Pure: no clock, no I/O, no async.
//!
//! What a cluster looks like now, with a short past: what all subscriptions of a master are made from. Brought up to date
//! about once a second while somebody looks.

use std::collections::{BTreeMap, VecDeque};

use super::fields::{InTime, field_names};
use super::filter::Filter;
use crate::id::NodeKey;
use crate::wire::node::Role;
use crate::wire::operator::{
    EventRow, EventSubject, HeadRow, HeadSample, NodeCounts, NodeRow, NodeSample, Page, Query, RecordingRow,
    SessionRow, Severity, Topic, WINDOW_ROWS_MAX,
};

/// Samples of a past: five minutes of one a second.
pub const SAMPLES_MAX: usize = 300;

/// Events that are kept for consoles; at 200 bytes each 2 MB.
pub const EVENTS_MAX: usize = 10_000;

/// CPU above which a node is worth a warning, permille.
const CPU_HIGH: u16 = 850;

/// The cluster at one moment, as its master lists it. Histories are empty; a node's connections are counted here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The leading master's epoch.
    pub epoch: u64,
    /// Milliseconds since the master started.
    pub uptime_ms: u64,
    /// Media nodes and recorders.
    pub nodes: Vec<NodeRow>,
    /// Sessions.
    pub sessions: Vec<SessionRow>,
    /// Recordings.
    pub recordings: Vec<RecordingRow>,
}

/// What all subscriptions are made from.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Milliseconds since 1970 of the newest listing.
    pub at_ms: u64,
    /// Counts changes of the board, so that views know when to look again.
    pub version: u64,
    /// Totals; its history is empty.
    pub head: HeadRow,
    /// Nodes by key; their histories are empty.
    pub nodes: Vec<NodeRow>,
    /// Sessions.
    pub sessions: Vec<SessionRow>,
    /// Recordings.
    pub recordings: Vec<RecordingRow>,
    /// Events, oldest first.
    pub events: VecDeque<EventRow>,
    /// Counts listings: each adds one sample to every history.
    pub(super) samples: u64,
    pub(super) head_past: VecDeque<HeadSample>,
    pub(super) node_past: BTreeMap<NodeKey, VecDeque<NodeSample>>,
    events_seen: u64,
}

impl Board {
    /// Takes in the cluster as it is now. What it shows of nodes in trouble becomes events.
    pub fn update(&mut self, listing: Listing) {
        let Listing { at_ms, epoch, uptime_ms, mut nodes, sessions, recordings } = listing;
        nodes.sort_by_key(|node| node.node);
        count_connections(&mut nodes, &sessions);
        let alerts = alerts(&self.nodes, &nodes);
        self.at_ms = at_ms;
        self.nodes = nodes;
        self.sessions = sessions;
        self.recordings = recordings;
        self.head = self.totals(epoch, uptime_ms);
        self.sample();
        for mut alert in alerts {
            alert.at_ms = at_ms;
            self.add_event(alert);
        }
        self.version += 1;
    }

    /// Adds an event; its number is given here.
    pub fn add_event(&mut self, event: EventRow) {
        self.events_seen += 1;
        self.version += 1;
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(EventRow { seq: self.events_seen, ..event });
    }

    /// Events that were, oldest first.
    #[must_use]
    pub fn page(&self, query: &Query) -> Page {
        let Query { id, filter, before, since_ms, limit } = query;
        let filter = match Filter::parse(filter, field_names(&Topic::Events)) {
            Ok(filter) => filter,
            Err(error) => {
                return Page { id: *id, rows: Vec::new(), more: false, error: format!("filter: {error}") };
            }
        };
        let limit = limit.min(&WINDOW_ROWS_MAX).to_owned() as usize;
        let at_ms = self.at_ms;
        let mut passing = self
            .events
            .iter()
            .rev()
            .filter(|row| (*before == 0 || row.seq < *before) && row.at_ms >= *since_ms)
            .filter(|row| filter.matches(&InTime { row: *row, at_ms }));
        let mut rows: Vec<EventRow> = passing.by_ref().take(limit).cloned().collect();
        rows.reverse();
        Page { id: *id, rows, more: passing.next().is_some(), error: String::new() }
    }

    /// A node of the newest listing.
    #[must_use]
    pub fn node(&self, key: NodeKey) -> Option<&NodeRow> {
        self.nodes.binary_search_by_key(&key, |node| node.node).ok().map(|index| &self.nodes[index])
    }

    fn totals(&self, epoch: u64, uptime_ms: u64) -> HeadRow {
        let mut head = HeadRow { epoch, uptime_ms, ..HeadRow::default() };
        let (mut cpu, mut up) = (0_u64, 0_u64);
        for node in &self.nodes {
            let is_recorder = node.role == Role::Recorder;
            let counts = if is_recorder { &mut head.recorders } else { &mut head.media };
            count_state(counts, &node.state);
            if is_recorder || !is_up(&node.state) {
                continue;
            }
            let load = &node.load;
            up += 1;
            cpu += u64::from(load.cpu_permille);
            head.cpu_permille_max = head.cpu_permille_max.max(load.cpu_permille);
            head.egress_bps += load.egress_bps;
            head.ingress_bps += load.ingress_bps;
            head.drops += load.drops;
            head.nodes_pressed += u32::from(load.cpu_permille >= CPU_HIGH || load.drops > 0);
        }
        head.cpu_permille_mean = u16::try_from(cpu / up.max(1)).unwrap_or(u16::MAX);
        head.sessions = count(self.sessions.len());
        head.connections = self.sessions.iter().map(|it| it.connections).sum();
        head.streams = self.sessions.iter().map(|it| it.streams).sum();
        head.recordings = self.sessions.iter().map(|it| it.recordings).sum();
        head
    }

    fn sample(&mut self) {
        self.samples += 1;
        let head = &self.head;
        push(
            &mut self.head_past,
            HeadSample {
                sessions: head.sessions,
                connections: head.connections,
                streams: head.streams,
                egress_kbps: kilo(head.egress_bps),
                ingress_kbps: kilo(head.ingress_bps),
                cpu_permille_mean: head.cpu_permille_mean,
                cpu_permille_max: head.cpu_permille_max,
                drops: u32::try_from(head.drops).unwrap_or(u32::MAX),
            },
        );
        let nodes = &self.nodes;
        self.node_past.retain(|key, _| nodes.binary_search_by_key(key, |node| node.node).is_ok());
        for node in nodes {
            // The last report of a node that is gone says nothing about now.
            let sample = if is_up(&node.state) {
                NodeSample {
                    cpu_permille: node.load.cpu_permille,
                    egress_kbps: kilo(node.load.egress_bps),
                    sessions: node.sessions,
                }
            } else {
                NodeSample::default()
            };
            push(self.node_past.entry(node.node).or_default(), sample);
        }
    }
}

fn push<T>(past: &mut VecDeque<T>, sample: T) {
    if past.len() >= SAMPLES_MAX {
        past.pop_front();
    }
    past.push_back(sample);
}

fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn kilo(amount: u64) -> u32 {
    u32::try_from(amount / 1000).unwrap_or(u32::MAX)
}

/// The node carries media.
fn is_up(state: &str) -> bool {
    matches!(state, "running" | "waiting-idle-to-terminate" | "terminating")
}

fn count_state(counts: &mut NodeCounts, state: &str) {
    match state {
        "running" => counts.running += 1,
        "waiting-idle-to-terminate" | "terminating" => counts.draining += 1,
        "launching" => counts.launching += 1,
        "lost" | "failed" => counts.lost += 1,
        _ => {}
    }
}

fn count_connections(nodes: &mut [NodeRow], sessions: &[SessionRow]) {
    for node in &mut *nodes {
        node.connections = 0;
    }
    for session in sessions {
        let Some(key) = session.node else { continue };
        if let Ok(index) = nodes.binary_search_by_key(&key, |node| node.node) {
            nodes[index].connections += session.connections;
        }
    }
}

/// What became of nodes that were calm. Both sides are sorted by key.
fn alerts(before: &[NodeRow], now: &[NodeRow]) -> Vec<EventRow> {
    let mut seen = Vec::new();
    for node in now {
        let Ok(index) = before.binary_search_by_key(&node.node, |old| old.node) else { continue };
        let (old, load) = (&before[index].load, &node.load);
        if load.cpu_permille >= CPU_HIGH && old.cpu_permille < CPU_HIGH {
            seen.push(alert(node, "node.cpu_high", format!("cpu {} %", load.cpu_permille / 10)));
        }
        if load.drops > 0 && old.drops == 0 {
            seen.push(alert(node, "node.drops", format!("{} datagrams dropped by the kernel", load.drops)));
        }
    }
    seen
}

fn alert(node: &NodeRow, kind: &str, text: String) -> EventRow {
    EventRow {
        severity: Severity::Warn,
        kind: kind.to_owned(),
        subject: EventSubject::Node(node.node),
        name: node.name.clone(),
        text,
        ..EventRow::default()
    }
}
