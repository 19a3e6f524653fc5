//! Pure: no clock, no I/O, no async.
//!
//! Nodes and sessions as JSON, YAML and columns, for scripts and the clipboard. Fields are only ever added; units are
//! in their names.

use serde_json::{Map, Value, json};

use crate::model::NodeState;
use crate::model::Session;
use crate::store::{NodeEntry, Store};
use crate::text;

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
        "sessions": number(load.sessions.into()),
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
pub fn session(store: &Store, session: &Session) -> Value {
    let node = session.node.and_then(|key| store.node(key)).map(|entry| entry.node.name.to_string());
    json!({
        "name": &*session.name,
        "key": session.key.to_string(),
        "node": node,
        "connections": session.connections,
        "streams": session.streams,
        "created_at": text::rfc3339(session.created_at_ms),
        "age_ms": store.head.at_ms.saturating_sub(session.created_at_ms),
    })
}

/// A whole answer: rows with what they are and when they were true.
#[must_use]
pub fn document(kind: &str, store: &Store, total: u64, rows: &[Value]) -> Value {
    json!({
        "version": SCHEMA_VERSION,
        "kind": kind,
        "cluster": store.welcome.as_ref().map(|welcome| welcome.cluster.to_string()),
        "at": text::rfc3339(store.head.at_ms),
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
