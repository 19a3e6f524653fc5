//! Pure: no clock, no I/O, no async.
//!
//! What rows say of the fields that filters and orders name. Units: percent, bits per second, bytes, seconds, pieces.

use super::filter::{Fields, Value};
use crate::wire::node::Role;
use crate::wire::operator::{EventRow, NodeRow, RecordingRow, Row, SessionRow, Topic};

/// A row with the time by which its ages count.
#[derive(Clone, Copy, Debug)]
pub struct InTime<'a, R> {
    /// The row.
    pub row: &'a R,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

const NODE_FIELDS: &[&str] = &[
    "name",
    "state",
    "cpu",
    "worker",
    "mem",
    "in",
    "out",
    "sessions",
    "connections",
    "endpoints",
    "streams",
    "lag",
    "drops",
    "address",
    "age",
    "role",
    "key",
];

const SESSION_FIELDS: &[&str] =
    &["name", "node", "state", "connections", "streams", "recordings", "age", "created", "key"];

const RECORDING_FIELDS: &[&str] =
    &["name", "session", "state", "mode", "recorder", "resolution", "duration", "size", "age", "warning"];

const EVENT_FIELDS: &[&str] = &["time", "severity", "kind", "name", "text"];

/// Fields that filters over a topic know.
#[must_use]
pub const fn field_names(topic: &Topic) -> &'static [&'static str] {
    match topic {
        Topic::Nodes => NODE_FIELDS,
        Topic::Sessions => SESSION_FIELDS,
        Topic::Recordings => RECORDING_FIELDS,
        Topic::Events => EVENT_FIELDS,
        Topic::Head | Topic::Node(_) | Topic::Session(_) | Topic::Decisions(_) => &[],
    }
}

/// A node's state in one word: `draining` for what the API calls `waiting-idle-to-terminate`.
#[must_use]
pub fn state_word(state: &str) -> &str {
    if state == "waiting-idle-to-terminate" { "draining" } else { state }
}

/// Where a node stands when nobody sorted: trouble first, then the busiest. Lower comes first.
#[must_use]
pub fn own_order(row: &NodeRow) -> f64 {
    let trouble = match row.state.as_str() {
        "lost" => 0,
        "failed" => 1,
        "waiting-idle-to-terminate" | "draining" => 2,
        "terminating" => 3,
        "launching" => 4,
        "running" => 5,
        _ => 6,
    };
    f64::from(trouble) * 10_000.0 - f64::from(row.load.cpu_permille)
}

impl Fields for InTime<'_, NodeRow> {
    fn names(&self) -> [&str; 2] {
        [&self.row.name, &self.row.address]
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        let (row, load) = (self.row, &self.row.load);
        // Numbers of a node that never reported are not zero.
        let number =
            |value: f64| if row.load_age_ms.is_some() { Value::Number(value) } else { Value::Unknown };
        Some(match name {
            "address" => Value::Text(row.address.as_str().into()),
            "age" => row.load_age_ms.map_or(Value::Unknown, |age| Value::Number(age as f64 / 1000.0)),
            "connections" => Value::Number(f64::from(row.connections)),
            "cpu" => number(f64::from(load.cpu_permille) / 10.0),
            "drops" => number(load.drops as f64),
            "endpoints" => number(f64::from(load.endpoints)),
            "in" => number(load.ingress_bps as f64),
            "key" => Value::Text(row.node.to_string().into()),
            "lag" => number(f64::from(load.loop_lag_us_p99) / 1e6),
            "mem" => number(load.memory_bytes as f64),
            "name" => Value::Text(row.name.as_str().into()),
            "out" => number(load.egress_bps as f64),
            "role" => Value::Text(if row.role == Role::Recorder { "recorder" } else { "media" }.into()),
            "sessions" => Value::Number(f64::from(row.sessions)),
            "state" => Value::Text(state_word(&row.state).into()),
            "streams" => number(f64::from(load.streams)),
            "worker" => number(f64::from(load.worker_permille_max) / 10.0),
            _ => return None,
        })
    }
}

/// State of a session in a word.
const fn session_state(row: &SessionRow) -> &'static str {
    match row.node {
        Some(_) if row.node_lost => "lost",
        Some(_) if row.connections == 0 => "empty",
        Some(_) => "open",
        None => "unplaced",
    }
}

impl SessionRow {
    /// State of the session in a word: `open`, `empty`, `unplaced` or `lost`.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        session_state(self)
    }
}

impl Fields for InTime<'_, SessionRow> {
    fn names(&self) -> [&str; 2] {
        [&self.row.name, &self.row.node_name]
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        let row = self.row;
        Some(match name {
            "age" => Value::Number(self.at_ms.saturating_sub(row.created_at_ms) as f64 / 1000.0),
            "connections" => Value::Number(f64::from(row.connections)),
            "created" => Value::Number(row.created_at_ms as f64 / 1000.0),
            "key" => Value::Text(row.session.to_string().into()),
            "name" => Value::Text(row.name.as_str().into()),
            "node" => Value::Text(row.node_name.as_str().into()),
            "recordings" => Value::Number(f64::from(row.recordings)),
            "state" => Value::Text(session_state(row).into()),
            "streams" => Value::Number(f64::from(row.streams)),
            _ => return None,
        })
    }
}

impl Fields for InTime<'_, RecordingRow> {
    fn names(&self) -> [&str; 2] {
        [&self.row.id, &self.row.session]
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        let row = self.row;
        Some(match name {
            "age" => Value::Number(self.at_ms.saturating_sub(row.created_at_ms) as f64 / 1000.0),
            "duration" => Value::Number(row.duration_ms as f64 / 1000.0),
            "mode" => Value::Text(row.mode.as_str().into()),
            "name" => Value::Text(row.id.as_str().into()),
            "recorder" => Value::Text(row.recorder.as_str().into()),
            "resolution" => Value::Text(row.resolution.as_str().into()),
            "session" => Value::Text(row.session.as_str().into()),
            "size" => Value::Number(row.size_bytes as f64),
            "state" => Value::Text(row.state.as_str().into()),
            "warning" => Value::Text(row.warning.as_str().into()),
            _ => return None,
        })
    }
}

impl Fields for InTime<'_, EventRow> {
    fn names(&self) -> [&str; 2] {
        [&self.row.name, &self.row.text]
    }

    fn field(&self, name: &str) -> Option<Value<'_>> {
        let row = self.row;
        Some(match name {
            "kind" => Value::Text(row.kind.as_str().into()),
            "name" => Value::Text(row.name.as_str().into()),
            "severity" => Value::Text(row.severity.word().into()),
            "text" => Value::Text(row.text.as_str().into()),
            "time" => Value::Number(row.at_ms as f64 / 1000.0),
            _ => return None,
        })
    }
}

/// Takes the samples out of a row: they travel by their own rule.
pub(super) fn take_history(row: &mut Row) {
    match row {
        Row::Head(head) => head.history.clear(),
        Row::Node(node) => node.history.clear(),
        Row::NodeDetail(detail) => detail.row.history.clear(),
        Row::Session(_) | Row::SessionDetail(_) | Row::Recording(_) | Row::Event(_) | Row::Decision(_) => {}
    }
}
