//! Pure: no clock, no I/O, no async.
//!
//! Columns of nodes and sessions: what each shows, sorts by and is filtered by. Tables, `console get` and the filter
//! language read the same definitions.

use std::time::Duration;

use crate::filter::{Fields, Value};
use crate::model::{NodeState, Session};
use crate::store::{LogEntry, NodeEntry, Severity, Store};
use crate::text;
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
    right("age", "AGE", 6, 1),
    left("created", "SINCE", 9, 4),
    left("key", "KEY", 20, 9),
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
    /// Everything known.
    pub store: &'a Store,
}

impl NodeRow<'_> {
    /// Age of the node's report, milliseconds.
    #[must_use]
    pub fn age_ms(&self) -> Option<u64> {
        let since = u64::try_from(self.since.as_millis()).unwrap_or(u64::MAX);
        self.entry.node.load_age_ms.map(|age| age.saturating_add(since))
    }

    /// Values of a node that is not up are not values of now.
    fn number(&self, value: f64) -> Value<'static> {
        if self.entry.node.load_age_ms.is_some() { Value::Number(value) } else { Value::Unknown }
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
            "sessions" => (load.sessions.to_string(), plain),
            "state" => (node.state.word().to_owned(), state_role(node.state)),
            "streams" => (text::si(load.streams.into()), plain),
            "worker" => ((load.worker_permille_max / 10).to_string(), plain),
            _ => (String::new(), plain),
        }
    }
}

impl Fields for NodeRow<'_> {
    fn names(&self) -> [&str; 2] {
        [&self.entry.node.name, &self.entry.node.address]
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        let node = &self.entry.node;
        let load = &node.load;
        Some(match name {
            "address" => Value::Text((&*node.address).into()),
            "age" => self.age_ms().map_or(Value::Unknown, |age| Value::Number(age as f64 / 1000.0)),
            "connections" => self.number(self.entry.connections as f64),
            "cpu" | "history" => self.number(f64::from(load.cpu_permille) / 10.0),
            "drops" => self.number(load.drops as f64),
            "endpoints" => self.number(f64::from(load.endpoints)),
            "flag" | "state" => Value::Text(node.state.word().into()),
            "in" => self.number(load.ingress_bps as f64),
            "key" => Value::Text(node.key.to_string().into()),
            "lag" => self.number(f64::from(load.loop_lag_us_p99) / 1e6),
            "mem" => self.number(load.memory_bytes as f64),
            "name" => Value::Text((&*node.name).into()),
            "out" => self.number(load.egress_bps as f64),
            "role" => Value::Text(if node.recorder { "recorder" } else { "media" }.into()),
            "sessions" => self.number(f64::from(load.sessions)),
            "streams" => self.number(f64::from(load.streams)),
            "worker" => self.number(f64::from(load.worker_permille_max) / 10.0),
            _ => return None,
        })
    }
}

impl SessionRow<'_> {
    /// How long the session has been open, milliseconds.
    #[must_use]
    pub const fn age_ms(&self) -> u64 {
        self.store.head.at_ms.saturating_sub(self.session.created_at_ms)
    }

    fn state(&self) -> (&'static str, Role) {
        let lost = self
            .session
            .node
            .and_then(|key| self.store.node(key))
            .is_some_and(|entry| matches!(entry.node.state, NodeState::Lost | NodeState::Failed));
        match self.session.node {
            Some(_) if lost => ("node lost", Role::Crit),
            Some(_) if self.session.connections == 0 => ("empty", Role::Dim),
            Some(_) => ("open", Role::Text),
            None => ("unplaced", Role::Dim),
        }
    }

    fn node_name(&self) -> &str {
        self.session.node.and_then(|key| self.store.node(key)).map_or("-", |entry| &*entry.node.name)
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
            "node" => (self.node_name().to_owned(), Role::Text),
            "state" => {
                let (word, role) = self.state();
                (word.to_owned(), role)
            }
            "streams" => (text::grouped(session.streams.into()), Role::Text),
            _ => (String::new(), Role::Text),
        }
    }
}

impl Fields for SessionRow<'_> {
    fn names(&self) -> [&str; 2] {
        [&self.session.name, self.node_name()]
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "age" => Value::Number(self.age_ms() as f64 / 1000.0),
            "connections" => Value::Number(f64::from(self.session.connections)),
            "created" => Value::Number(self.session.created_at_ms as f64 / 1000.0),
            "key" => Value::Text(self.session.key.to_string().into()),
            "name" => Value::Text((&*self.session.name).into()),
            "node" => Value::Text(self.node_name().into()),
            "state" => Value::Text(self.state().0.into()),
            "streams" => Value::Number(f64::from(self.session.streams)),
            _ => return None,
        })
    }
}

/// Names that filters over these columns know.
#[must_use]
pub fn field_names(columns: &[Column]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> =
        columns.iter().map(|column| column.id).filter(|id| !matches!(*id, "flag" | "history")).collect();
    if columns.iter().any(|column| column.id == "cpu") {
        names.push("role");
    }
    names
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

/// Columns of the event log.
pub const EVENTS: &[Column] = &[
    left("time", "TIME", 8, 0),
    left("severity", "SEV", 5, 0),
    left("kind", "KIND", 16, 0),
    left("name", "SUBJECT", 20, 0),
    left("text", "WHAT", 14, 1),
];

/// An entry of the log.
#[derive(Clone, Copy, Debug)]
pub struct EventRow<'a> {
    /// The entry.
    pub entry: &'a LogEntry,
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
            "kind" => (entry.kind.to_owned(), Role::Text),
            "name" => (entry.name.to_string(), Role::Text),
            "severity" => (entry.severity.word().to_owned(), role),
            "text" => (entry.text.clone(), Role::Dim),
            // What happened before the first overview has no time of the master's.
            "time" if entry.at_ms == 0 => ("-".to_owned(), Role::Dim),
            "time" => (text::clock(entry.at_ms), Role::Dim),
            _ => (String::new(), Role::Text),
        }
    }
}

impl Fields for EventRow<'_> {
    fn names(&self) -> [&str; 2] {
        [&self.entry.name, &self.entry.text]
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "kind" => Value::Text(self.entry.kind.into()),
            "name" => Value::Text((&*self.entry.name).into()),
            "severity" => Value::Text(self.entry.severity.word().into()),
            "text" => Value::Text(self.entry.text.as_str().into()),
            "time" => Value::Number(self.entry.at_ms as f64 / 1000.0),
            _ => return None,
        })
    }
}
