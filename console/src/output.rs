//! Pure: no clock, no I/O, no async.
//!
//! Nodes, sessions, recordings and events as JSON, YAML and columns, for scripts and the clipboard. Fields are only ever added; units are
//! in their names.

use common::wire::operator::{DecisionRow, EventRow, NodeDetail, RecordingRow, SessionDetail};
use serde_json::{Map, Value, json};

use crate::model::{NodeState, Session};
use crate::store::NodeEntry;
use crate::text::{self, Clean};

/// Version of the schema: raised when a field goes or changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// One node.
#[must_use]
pub fn node(entry: &NodeEntry) -> Value {
    let node = &entry.node;
    let load = &node.load;
    let known = node.load_age_ms.is_some();
    let number = |value: u64| if known { json!(value) } else { Value::Null };
    json!({
        "name": &*node.name,
        "key": node.key.to_string(),
        "role": if node.recorder { "recorder" } else { "media" },
        "state": state(node.state),
        "address": &*node.address,
        "cpu_permille": number(load.cpu_permille.into()),
        "worker_permille_max": number(load.worker_permille_max.into()),
        "loop_lag_us_p99": number(load.loop_lag_us_p99.into()),
        "sessions": node.sessions,
        "connections": entry.connections,
        "endpoints": number(load.endpoints.into()),
        "streams": number(load.streams.into()),
        "ingress_bps": number(load.ingress_bps),
        "egress_bps": number(load.egress_bps),
        "packets_in_per_second": number(load.packets_in),
        "packets_out_per_second": number(load.packets_out),
        "drops_per_second": number(load.drops),
        "memory_bytes": number(load.memory_bytes),
        "report_age_ms": node.load_age_ms,
    })
}

/// One session.
#[must_use]
pub fn session(session: &Session, at_ms: u64) -> Value {
    json!({
        "name": &*session.name,
        "key": session.key.to_string(),
        "state": session.state,
        "node": (!session.node_name.is_empty()).then(|| session.node_name.to_string()),
        "connections": session.connections,
        "streams": session.streams,
        "recordings": session.recordings,
        "created_at": text::rfc3339(session.created_at_ms),
        "age_ms": at_ms.saturating_sub(session.created_at_ms),
    })
}

fn foreign(text: &str) -> String {
    Clean::new(text).to_string()
}

/// One recording.
#[must_use]
pub fn recording(row: &RecordingRow) -> Value {
    json!({
        "name": foreign(&row.id),
        "session": foreign(&row.session),
        "state": foreign(&row.state),
        "mode": foreign(&row.mode),
        "recorder": foreign(&row.recorder),
        "resolution": foreign(&row.resolution),
        "created_at": text::rfc3339(row.created_at_ms),
        "duration_ms": row.duration_ms,
        "size_bytes": row.size_bytes,
        "warning": foreign(&row.warning),
    })
}

/// One event.
#[must_use]
pub fn event(row: &EventRow) -> Value {
    json!({
        "seq": row.seq,
        "at": text::rfc3339(row.at_ms),
        "severity": row.severity.word(),
        "kind": foreign(&row.kind),
        "name": foreign(&row.name),
        "text": foreign(&row.text),
    })
}

/// Everything about one node.
#[must_use]
pub fn node_detail(detail: &NodeDetail, at_ms: u64) -> Value {
    let mut value = node(&NodeEntry::of(&detail.row));
    if let Value::Object(map) = &mut value {
        let largest: Vec<Value> =
            detail.largest.iter().map(|row| session(&Session::of(row), at_ms)).collect();
        map.insert("program".to_owned(), json!(foreign(&detail.program)));
        map.insert("launched_at".to_owned(), json!(text::rfc3339(detail.launched_at_ms)));
        map.insert("connected_at".to_owned(), json!(detail.connected_at_ms.map(text::rfc3339)));
        map.insert("disconnected_at".to_owned(), json!(detail.disconnected_at_ms.map(text::rfc3339)));
        map.insert("score_permille".to_owned(), json!(detail.score_permille));
        map.insert("reserved_permille".to_owned(), json!(detail.reserved_permille));
        map.insert("largest_sessions".to_owned(), json!(largest));
    }
    value
}

/// Everything about one session.
#[must_use]
pub fn session_detail(detail: &SessionDetail, decisions: &[DecisionRow], at_ms: u64) -> Value {
    let mut value = session(&Session::of(&detail.row), at_ms);
    let streams: Vec<Value> = detail
        .streams
        .iter()
        .map(|it| {
            json!({
                "stream": foreign(&it.stream),
                "connection": foreign(&it.connection),
                "kind": foreign(&it.kind),
                "has_audio": it.has_audio,
                "has_video": it.has_video,
                "codec": foreign(&it.codec),
                "encodings": it.encodings,
                "rate_bps": it.rate_bps,
                "loss_permille": it.loss_permille,
            })
        })
        .collect();
    let participants: Vec<Value> = detail
        .participants
        .iter()
        .map(|it| {
            json!({
                "connection": foreign(&it.connection),
                "role": foreign(&it.role),
                "data": foreign(&it.data),
                "platform": foreign(&it.platform),
                "address": foreign(&it.address),
                "joined_at": text::rfc3339(it.joined_at_ms),
                "rtt_us": it.rtt_us,
                "estimate_bps": it.estimate_bps,
                "receives_bps": it.receives_bps,
            })
        })
        .collect();
    let placement: Vec<Value> = decisions
        .iter()
        .map(|it| {
            let verdicts: Vec<Value> = it
                .verdicts
                .iter()
                .map(|it| json!({ "node": foreign(&it.node), "score": it.score, "why": foreign(&it.why) }))
                .collect();
            json!({
                "at": text::rfc3339(it.at_ms),
                "chosen": it.chosen.as_deref().map(foreign),
                "verdicts": verdicts,
            })
        })
        .collect();
    if let Value::Object(map) = &mut value {
        map.insert("measured_age_ms".to_owned(), json!(detail.measured_age_ms));
        map.insert("stream_list".to_owned(), json!(streams));
        map.insert("participants".to_owned(), json!(participants));
        map.insert("placement".to_owned(), json!(placement));
    }
    value
}

/// A whole answer: rows with what they are and when they were true.
#[must_use]
pub fn document(kind: &str, cluster: Option<&str>, at_ms: u64, total: u32, rows: &[Value]) -> Value {
    json!({
        "version": SCHEMA_VERSION,
        "kind": kind,
        "cluster": cluster,
        "at": text::rfc3339(at_ms),
        "total": total,
        "items": rows,
    })
}

/// The state as masters spell it.
const fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Canceled => "canceled",
        NodeState::Draining => "draining",
        NodeState::Failed => "failed",
        NodeState::Launching => "launching",
        NodeState::Lost => "lost",
        NodeState::Running => "running",
        NodeState::Terminated => "terminated",
        NodeState::Terminating => "terminating",
        NodeState::Unknown => "unknown",
    }
}

/// YAML text of a JSON value. Every string is quoted as JSON does it, which YAML 1.2 reads the same.
#[must_use]
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) => yaml_map(map, 0, &mut out),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
            yaml_value(value, 0, &mut out);
        }
    }
    out
}

fn yaml_map(map: &Map<String, Value>, indent: usize, out: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(key);
        out.push(':');
        yaml_value(value, indent + 2, out);
    }
}

fn yaml_value(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Array(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Array(items) => {
            out.push('\n');
            for item in items {
                out.push_str(&" ".repeat(indent.saturating_sub(2)));
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        out.push_str("- ");
                        yaml_map(map, indent, out);
                    }
                    Value::Array(_)
                    | Value::Bool(_)
                    | Value::Null
                    | Value::Number(_)
                    | Value::Object(_)
                    | Value::String(_) => {
                        out.push('-');
                        yaml_value(item, indent, out);
                    }
                }
            }
        }
        Value::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Object(map) => {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            yaml_map(map, indent, out);
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
            out.push(' ');
            out.push_str(&value.to_string());
            out.push('\n');
        }
    }
}

/// Columns of text: each as wide as its widest cell, two blanks apart.
#[must_use]
pub fn columns(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<u16> = heads.iter().map(|head| text::width(head)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(text::width(cell));
        }
    }
    let mut out = String::new();
    let mut push = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            line.push_str(cell);
            line.push_str(&" ".repeat(usize::from(width + 2 - text::width(cell))));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    push(&mut heads.iter().copied());
    for row in rows {
        push(&mut row.iter().map(String::as_str));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_keeps_structure_and_quotes_text() {
        let value =
            json!({ "version": 1, "items": [{ "name": "a: b", "tags": [] }, { "name": "c", "n": null }] });
        let expected = "version: 1\nitems:\n- name: \"a: b\"\n  tags: []\n- name: \"c\"\n  n: null\n";
        assert_eq!(yaml(&value), expected);
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["日本".to_owned(), "22".to_owned()]];
        assert_eq!(columns(&["N", "X"], &rows), "N     X\na     1\n日本  22\n");
    }
}
