//! Pure: no clock, no I/O, no async.
//!
//! Makes log entries from the difference of two overviews: what came, went, moved and changed its state.

use crate::model::{Node, NodeState, Session};
use crate::store::{NodeEntry, Severity, Subject};
use crate::text::Clean;

/// CPU above which a node is worth a warning, permille; it counts as calm again below [`CPU_CALM`].
pub const CPU_HIGH: u16 = 850;
const CPU_CALM: u16 = 750;

/// Entries of one kind from one overview; the rest is counted in one entry.
const BURST_MAX: usize = 20;

/// A change that was seen.
#[derive(Clone, Debug)]
pub struct Observed {
    /// How bad.
    pub severity: Severity,
    /// What kind of change.
    pub kind: &'static str,
    /// Of what.
    pub subject: Subject,
    /// Its name.
    pub name: Clean,
    /// More.
    pub text: String,
}

/// Changes of nodes. Both sides are sorted by key. The first overview is no change, but for nodes in trouble.
#[must_use]
pub fn nodes(before: &[NodeEntry], now: &[Node], first: bool) -> Vec<Observed> {
    let mut seen = Vec::new();
    for node in now {
        let old = before
            .binary_search_by_key(&node.key, |entry| entry.node.key)
            .ok()
            .map(|index| &before[index].node);
        match old {
            None if first && node.state == NodeState::Running => {}
            None => seen.push(of_node(node, None)),
            Some(old) if old.state != node.state => seen.push(of_node(node, Some(old.state))),
            Some(_) => {}
        }
        let cpu_before = old.map_or(0, |old| old.load.cpu_permille);
        if node.load.cpu_permille >= CPU_HIGH && (CPU_CALM..CPU_HIGH).contains(&cpu_before) {
            seen.push(note(node, Severity::Warn, "node.cpu_high", cpu_text(node)));
        }
        if node.load.drops > 0 && old.is_some_and(|old| old.load.drops == 0) {
            let text = format!("{} datagrams dropped by the kernel", node.load.drops);
            seen.push(note(node, Severity::Warn, "node.drops", text));
        }
    }
    for entry in before {
        if now.binary_search_by_key(&entry.node.key, |node| node.key).is_err() {
            seen.push(note(&entry.node, Severity::Info, "node.gone", String::new()));
        }
    }
    seen
}

fn cpu_text(node: &Node) -> String {
    format!("cpu {} %", node.load.cpu_permille / 10)
}

fn of_node(node: &Node, from: Option<NodeState>) -> Observed {
    let (severity, kind) = match node.state {
        NodeState::Canceled => (Severity::Warn, "node.canceled"),
        NodeState::Draining => (Severity::Info, "node.draining"),
        NodeState::Failed => (Severity::Crit, "node.failed"),
        NodeState::Launching => (Severity::Info, "node.launching"),
        NodeState::Lost => (Severity::Crit, "node.lost"),
        NodeState::Running => (Severity::Info, "node.running"),
        NodeState::Terminated => (Severity::Info, "node.terminated"),
        NodeState::Terminating => (Severity::Info, "node.terminating"),
        NodeState::Unknown => (Severity::Warn, "node.state"),
    };
    let text = match from {
        Some(from) => format!("was {}; {} sessions", from.word(), node.load.sessions),
        None => format!("at {}", &*node.address),
    };
    note(node, severity, kind, text)
}

fn note(node: &Node, severity: Severity, kind: &'static str, text: String) -> Observed {
    Observed { severity, kind, subject: Subject::Node(node.key), name: node.name.clone(), text }
}

/// Changes of sessions. Both sides are sorted by key.
#[must_use]
pub fn sessions(before: &[Session], now: &[Session], nodes: &[Node]) -> Vec<Observed> {
    let name_of = |session: &Session| {
        session.node.and_then(|key| {
            nodes.binary_search_by_key(&key, |node| node.key).ok().map(|index| nodes[index].name.clone())
        })
    };
    let (mut opened, mut moved, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    let mut old = before.iter().peekable();
    for session in now {
        while let Some(gone) = old.next_if(|old| old.key < session.key) {
            closed.push(of_session(gone, "session.closed", String::new()));
        }
        match old.next_if(|old| old.key == session.key) {
            None => {
                let on = name_of(session).map(|node| format!("on {node}")).unwrap_or_default();
                opened.push(of_session(session, "session.opened", on));
            }
            Some(old) if old.node.is_some() && old.node != session.node => {
                let to = name_of(session).map_or_else(|| "nowhere".to_owned(), |node| node.to_string());
                let from = name_of(old).map_or_else(|| "a lost node".to_owned(), |node| node.to_string());
                moved.push(of_session(session, "session.moved", format!("{from} > {to}")));
            }
            Some(_) => {}
        }
    }
    closed.extend(old.map(|gone| of_session(gone, "session.closed", String::new())));
    let mut seen = grouped(closed, "sessions closed");
    seen.extend(grouped(moved, "sessions moved"));
    seen.extend(grouped(opened, "sessions opened"));
    seen
}

fn of_session(session: &Session, kind: &'static str, text: String) -> Observed {
    let subject = Subject::Session(session.key);
    Observed { severity: Severity::Info, kind, subject, name: session.name.clone(), text }
}

/// Keeps the first of a burst and counts the rest.
fn grouped(mut seen: Vec<Observed>, what: &str) -> Vec<Observed> {
    if seen.len() > BURST_MAX {
        let rest = seen.len() - BURST_MAX;
        let kind = seen[0].kind;
        seen.truncate(BURST_MAX);
        let text = format!("... {rest} more {what} at once");
        let subject = Subject::Cluster;
        seen.push(Observed { severity: Severity::Info, kind, subject, name: Clean::default(), text });
    }
    seen
}
