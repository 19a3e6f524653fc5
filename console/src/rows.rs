//! Pure: no clock, no I/O, no async.
//!
//! Columns of nodes, sessions, recordings and events: what each shows. Sorting and filtering is the master's: columns are
//! named as the fields of its filter language.

use std::time::Duration;

use common::wire::operator::{EventRow as Event, RecordingRow as Recording, Severity};

use crate::model::{NodeState, Session};
use crate::store::NodeEntry;
use crate::text::{self, Clean};
use crate::theme::Role;
use crate::widget::canvas::Align;
use crate::widget::spark::load_role;

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name in filters and on the command line.
    pub id: &'static str,
    /// Its head on screens.
    pub head: &'static str,
    /// Cells.
    pub width: u16,
    /// Numbers stand right.
    pub align: Align,
    /// Columns of high rank give way first where room is scarce; those of rank 0 never.
    pub rank: u8,
}

const fn left(id: &'static str, head: &'static str, width: u16, rank: u8) -> Column {
    Column { id, head, width, align: Align::Left, rank }
}

const fn right(id: &'static str, head: &'static str, width: u16, rank: u8) -> Column {
    Column { id, head, width, align: Align::Right, rank }
}

/// Columns of media nodes and recorders. The history column takes the room that is left.
pub const NODES: &[Column] = &[
    left("name", "NODE", 16, 0),
    left("state", "STATE", 11, 0),
    right("cpu", "CPU%", 4, 0),
    left("history", "LAST MINUTE", 12, 1),
    right("worker", "WRK%", 4, 5),
    right("mem", "MEM", 8, 6),
    right("in", "IN", 9, 4),
    right("out", "OUT", 9, 2),
    right("sessions", "SESS", 5, 1),
    right("connections", "CONN", 6, 2),
    right("endpoints", "ENDP", 6, 7),
    right("streams", "STRM", 6, 4),
    right("lag", "LAG99", 7, 6),
    right("drops", "DROP", 5, 7),
    left("address", "ADDRESS", 18, 9),
    right("age", "AGE", 5, 1),
];

/// Columns of the load view: the history takes what is left.
pub const LOAD: &[Column] = &[
    left("name", "NODE", 14, 0),
    left("flag", "", 1, 0),
    left("history", "LOAD OVER TIME", 12, 0),
    right("cpu", "CPU%", 4, 0),
    right("out", "OUT", 9, 1),
    right("sessions", "SESS", 4, 2),
];

/// Columns of sessions.
pub const SESSIONS: &[Column] = &[
    left("name", "SESSION", 24, 0),
    left("node", "NODE", 16, 0),
    left("state", "STATE", 9, 3),
    right("connections", "CONN", 6, 0),
    right("streams", "STRM", 6, 1),
    right("recordings", "REC", 3, 2),
    right("age", "AGE", 6, 1),
    left("created", "SINCE", 9, 4),
    left("key", "KEY", 20, 9),
];

/// Columns of recordings.
pub const RECORDINGS: &[Column] = &[
    left("name", "RECORDING", 24, 0),
    left("session", "SESSION", 16, 1),
    left("state", "STATE", 10, 0),
    left("mode", "MODE", 10, 4),
    left("resolution", "SIZE", 9, 6),
    left("recorder", "RECORDER", 16, 3),
    right("duration", "LENGTH", 8, 0),
    right("size", "BYTES", 9, 1),
    right("age", "AGE", 6, 2),
    left("warning", "NOTE", 10, 5),
];

/// A node with what its values depend on.
#[derive(Clone, Copy, Debug)]
pub struct NodeRow<'a> {
    /// The node.
    pub entry: &'a NodeEntry,
    /// Time since the overview came.
    pub since: Duration,
}

/// A session with what its values depend on.
#[derive(Clone, Copy, Debug)]
pub struct SessionRow<'a> {
    /// The session.
    pub session: &'a Session,
    /// Milliseconds since 1970 at the master.
    pub at_ms: u64,
}

/// A recording with what its values depend on.
#[derive(Clone, Copy, Debug)]
pub struct RecordingRow<'a> {
    /// The recording.
    pub row: &'a Recording,
    /// Milliseconds since 1970 at the master.
    pub at_ms: u64,
}

impl NodeRow<'_> {
    /// Age of the node's report, milliseconds.
    #[must_use]
    pub fn age_ms(&self) -> Option<u64> {
        let since = u64::try_from(self.since.as_millis()).unwrap_or(u64::MAX);
        self.entry.node.load_age_ms.map(|age| age.saturating_add(since))
    }

    /// What a cell shows, and how. The history is drawn by the table.
    #[must_use]
    pub fn cell(&self, id: &str) -> (String, Role) {
        let node = &self.entry.node;
        let load = &node.load;
        let old = self.age_ms().is_none_or(|age| age > 5_000);
        let plain = if old { Role::Stale } else { Role::Text };
        if node.load_age_ms.is_none() && !matches!(id, "name" | "state" | "address" | "flag" | "key") {
            return ("?".to_owned(), Role::Stale);
        }
        match id {
            "address" => (node.address.to_string(), Role::Dim),
            "age" => {
                let age = self.age_ms().unwrap_or(0);
                (text::span(age), if old { Role::Warn } else { Role::Dim })
            }
            "connections" => (text::grouped(self.entry.connections), plain),
            "cpu" => {
                let cpu = u32::from(load.cpu_permille);
                ((cpu / 10).to_string(), if old { Role::Stale } else { load_role(cpu) })
            }
            "drops" => (text::si(load.drops), if load.drops > 0 { Role::Warn } else { Role::Dim }),
            "endpoints" => (text::si(load.endpoints.into()), plain),
            "flag" => (flag(node.state).to_owned(), state_role(node.state)),
            "in" => (text::bitrate(load.ingress_bps), plain),
            "key" => (node.key.to_string(), Role::Dim),
            "lag" => (micros(load.loop_lag_us_p99), plain),
            "mem" => (text::bytes(load.memory_bytes), plain),
            "name" => (node.name.to_string(), Role::Text),
            "out" => (text::bitrate(load.egress_bps), plain),
            "sessions" => (node.sessions.to_string(), plain),
            "state" => (node.state.word().to_owned(), state_role(node.state)),
            "streams" => (text::si(load.streams.into()), plain),
            "worker" => ((load.worker_permille_max / 10).to_string(), plain),
            _ => (String::new(), plain),
        }
    }
}

impl SessionRow<'_> {
    /// How long the session has been open, milliseconds.
    #[must_use]
    pub const fn age_ms(&self) -> u64 {
        self.at_ms.saturating_sub(self.session.created_at_ms)
    }

    /// What a cell shows, and how.
    #[must_use]
    pub fn cell(&self, id: &str) -> (String, Role) {
        let session = self.session;
        match id {
            "age" => (text::span(self.age_ms()), Role::Dim),
            "connections" => (text::grouped(session.connections.into()), Role::Text),
            "created" => (text::clock(session.created_at_ms), Role::Dim),
            "key" => (session.key.to_string(), Role::Dim),
            "name" => (session.name.to_string(), Role::Text),
            "node" if session.node_name.is_empty() => ("-".to_owned(), Role::Dim),
            "node" => (session.node_name.to_string(), Role::Text),
            "recordings" if session.recordings == 0 => ("-".to_owned(), Role::Dim),
            "recordings" => (session.recordings.to_string(), Role::Crit),
            "state" => {
                let role = match session.state {
                    "lost" => Role::Crit,
                    "open" => Role::Text,
                    _ => Role::Dim,
                };
                (session.state.to_owned(), role)
            }
            "streams" => (text::grouped(session.streams.into()), Role::Text),
            _ => (String::new(), Role::Text),
        }
    }
}

impl RecordingRow<'_> {
    /// What a cell shows, and how.
    #[must_use]
    pub fn cell(&self, id: &str) -> (String, Role) {
        let row = self.row;
        let foreign = |text: &str| Clean::new(text).to_string();
        match id {
            "age" => (text::span(self.at_ms.saturating_sub(row.created_at_ms)), Role::Dim),
            "duration" => (text::span(row.duration_ms), Role::Text),
            "mode" => (foreign(&row.mode).to_lowercase(), Role::Dim),
            "name" => (foreign(&row.id), Role::Text),
            "recorder" => (foreign(&row.recorder), Role::Text),
            "resolution" => (foreign(&row.resolution), Role::Dim),
            "session" => (foreign(&row.session), Role::Text),
            "size" => (text::bytes(row.size_bytes), Role::Text),
            "state" => {
                let role = match row.state.as_str() {
                    "started" => Role::Crit,
                    "failed" => Role::Warn,
                    "ready" => Role::Ok,
                    _ => Role::Accent,
                };
                (foreign(&row.state), role)
            }
            "warning" => (foreign(&row.warning), Role::Warn),
            _ => (String::new(), Role::Text),
        }
    }
}

/// Colour of a state. The word says it as well.
#[must_use]
pub const fn state_role(state: NodeState) -> Role {
    match state {
        NodeState::Failed | NodeState::Lost => Role::Crit,
        NodeState::Draining | NodeState::Terminating | NodeState::Unknown => Role::Warn,
        NodeState::Launching => Role::Accent,
        NodeState::Running => Role::Ok,
        NodeState::Canceled | NodeState::Terminated => Role::Dim,
    }
}

/// One letter for abnormal states.
const fn flag(state: NodeState) -> &'static str {
    match state {
        NodeState::Failed => "F",
        NodeState::Lost => "X",
        NodeState::Draining => "D",
        NodeState::Terminating => "T",
        NodeState::Launching => "L",
        NodeState::Running => " ",
        NodeState::Canceled | NodeState::Terminated => "-",
        NodeState::Unknown => "?",
    }
}

/// Microseconds as `85us`, `1.2ms`.
fn micros(us: u32) -> String {
    if us < 1000 { format!("{us}us") } else { format!("{:.1}ms", f64::from(us) / 1000.0) }
}

/// Columns of events.
pub const EVENTS: &[Column] = &[
    left("time", "TIME", 8, 0),
    left("severity", "SEV", 5, 0),
    left("kind", "KIND", 19, 0),
    left("name", "SUBJECT", 20, 0),
    left("text", "WHAT", 14, 1),
];

/// An event.
#[derive(Clone, Copy, Debug)]
pub struct EventRow<'a> {
    /// The event.
    pub entry: &'a Event,
}

impl EventRow<'_> {
    /// What a cell shows, and how.
    #[must_use]
    pub fn cell(&self, id: &str) -> (String, Role) {
        let entry = self.entry;
        let role = match entry.severity {
            Severity::Audit => Role::Accent,
            Severity::Crit => Role::Crit,
            Severity::Info => Role::Dim,
            Severity::Warn => Role::Warn,
        };
        match id {
            "kind" => (Clean::new(&entry.kind).to_string(), Role::Text),
            "name" => (Clean::new(&entry.name).to_string(), Role::Text),
            "severity" => (entry.severity.word().to_owned(), role),
            "text" => (Clean::new(&entry.text).to_string(), Role::Dim),
            // What happened before the master said anything has no time of the master's.
            "time" if entry.at_ms == 0 => ("-".to_owned(), Role::Dim),
            "time" => (text::clock(entry.at_ms), Role::Dim),
            _ => (String::new(), Role::Text),
        }
    }
}
