//! Pure: no clock, no I/O, no async.
//!
//! One node: gauges, rates, its past, its largest sessions and what happened to it.

use common::id::NodeKey;
use ratatui::layout::Rect;

use super::{Facts, Line, Scroll, draw_lines};
use crate::rows::{NodeRow, state_role};
use crate::store::{History, NodeEntry, Subject};
use crate::text;
use crate::theme::Role;
use crate::widget::canvas::Canvas;
use crate::widget::spark;

/// Sessions and events that are listed.
const LISTED_MAX: usize = 12;

/// One node.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Which.
    pub node: Option<NodeKey>,
    /// It shows what is selected elsewhere on the workspace.
    pub follows: bool,
    /// Where the user is.
    pub scroll: Scroll,
}

impl NodeView {
    /// Shows what is selected elsewhere.
    #[must_use]
    pub fn following() -> Self {
        Self { node: None, follows: true, scroll: Scroll::default() }
    }

    /// Shows one node.
    #[must_use]
    pub fn of(node: NodeKey) -> Self {
        Self { node: Some(node), follows: false, scroll: Scroll::default() }
    }

    pub(super) fn title(&self, facts: &Facts<'_>) -> String {
        let name = self.entry(facts).map(|entry| entry.node.name.to_string());
        match name {
            Some(name) if self.follows => format!("Node {name}  (selected)"),
            Some(name) => format!("Node {name}"),
            None => "Node".to_owned(),
        }
    }

    fn entry<'a>(&self, facts: &Facts<'a>) -> Option<&'a NodeEntry> {
        facts.store.node(self.node?)
    }

    pub(super) fn settle(&mut self, facts: &Facts<'_>, area: Rect) {
        self.scroll.settle(self.lines(facts, area.width).len(), area.height);
    }

    pub(super) fn draw(&self, facts: &Facts<'_>, canvas: &mut Canvas<'_>, area: Rect) {
        draw_lines(canvas, area, &self.lines(facts, area.width), self.scroll.offset);
    }

    fn lines(&self, facts: &Facts<'_>, width: u16) -> Vec<Line> {
        let Some(entry) = self.entry(facts) else {
            let text = if self.node.is_some() { " this node is gone" } else { " no node is selected" };
            return vec![vec![(text.to_owned(), Role::Dim)]];
        };
        let mut lines = state_lines(facts, entry);
        let bar = width.saturating_sub(40).clamp(10, 60);
        lines.push(gauge_line(facts, "cpu", entry.node.load.cpu_permille.into(), bar));
        lines.push(gauge_line(facts, "busiest", entry.node.load.worker_permille_max.into(), bar));
        lines.push(history_line(facts, "cpu 5 min", &entry.cpu, Some(1000), width));
        lines.push(history_line(facts, "egress", &entry.egress, None, width));
        lines.push(history_line(facts, "sessions", &entry.sessions, None, width));
        lines.extend(session_lines(facts, entry));
        lines.extend(event_lines(facts, entry));
        lines
    }
}

fn pair(name: &str, value: &str) -> [(String, Role); 2] {
    [(format!(" {name} "), Role::Dim), (format!("{value} "), Role::Text)]
}

fn state_lines(facts: &Facts<'_>, entry: &NodeEntry) -> Vec<Line> {
    let node = &entry.node;
    let load = &node.load;
    let since = facts.since();
    let age = NodeRow { entry, since }.age_ms();
    let report = age.map_or_else(|| "never".to_owned(), |age| format!("{} ago", text::span(age)));
    let mut first =
        vec![(" state ".to_owned(), Role::Dim), (node.state.word().to_owned(), state_role(node.state))];
    first.extend(pair(" at", &node.address.to_string()));
    first.extend(pair("report", &report));
    first.extend(pair("key", &node.key.to_string()));
    let mut counts = Line::new();
    counts.extend(pair("sessions", &load.sessions.to_string()));
    counts.extend(pair("connections", &text::grouped(entry.connections)));
    counts.extend(pair("endpoints", &text::grouped(load.endpoints.into())));
    counts.extend(pair("streams", &text::grouped(load.streams.into())));
    counts.extend(pair("memory", &text::bytes(load.memory_bytes)));
    let mut rates = Line::new();
    rates.extend(pair(
        "in",
        &format!("{} {} pkt/s", text::bitrate(load.ingress_bps), text::si(load.packets_in)),
    ));
    rates.extend(pair(
        "out",
        &format!("{} {} pkt/s", text::bitrate(load.egress_bps), text::si(load.packets_out)),
    ));
    rates.extend(pair("loop p99", &format!("{} us", load.loop_lag_us_p99)));
    rates.push((" drops ".to_owned(), Role::Dim));
    rates.push((format!("{}/s", load.drops), if load.drops > 0 { Role::Warn } else { Role::Text }));
    vec![first, counts, rates]
}

fn gauge_line(facts: &Facts<'_>, name: &str, permille: u32, cells: u16) -> Line {
    vec![
        (format!(" {name:<10}"), Role::Dim),
        (spark::gauge(&facts.theme, permille, cells), spark::load_role(permille)),
        (format!(" {:>3} %", permille / 10), spark::load_role(permille)),
    ]
}

fn history_line(facts: &Facts<'_>, name: &str, history: &History, full: Option<u32>, width: u16) -> Line {
    let columns = width.saturating_sub(13);
    let step = (crate::store::HISTORY_SAMPLES / usize::from(columns.max(1))).max(1);
    let samples = history.samples();
    let full = full.unwrap_or_else(|| samples.iter().copied().max().unwrap_or(1));
    let bars = spark::bars(&facts.theme, samples, full, columns, step);
    vec![(format!(" {name:<10}"), Role::Dim), (bars, Role::Level(1))]
}

fn session_lines(facts: &Facts<'_>, entry: &NodeEntry) -> Vec<Line> {
    let sessions = facts.store.sessions_on(entry.node.key);
    let head = format!(" LARGEST SESSIONS ({} here)", sessions.len());
    let mut lines = vec![vec![(head, Role::Head)]];
    for session in sessions.iter().take(LISTED_MAX) {
        lines.push(vec![
            (format!("   {:<28} ", text::fit(&session.name, 28, facts.theme.cut())), Role::Text),
            (format!("{:>5} conn {:>5} streams", session.connections, session.streams), Role::Dim),
        ]);
    }
    lines
}

fn event_lines(facts: &Facts<'_>, entry: &NodeEntry) -> Vec<Line> {
    let about = Subject::Node(entry.node.key);
    let events = facts.store.log.iter().rev().filter(|event| event.subject == about).take(LISTED_MAX);
    let mut lines = vec![vec![(" WHAT HAPPENED".to_owned(), Role::Head)]];
    for event in events {
        lines.push(vec![
            (format!("   {} ", text::clock(event.at_ms)), Role::Dim),
            (format!("{:<16} ", event.kind), Role::Text),
            (event.text.clone(), Role::Dim),
        ]);
    }
    if lines.len() == 1 {
        lines.push(vec![("   nothing since the console started".to_owned(), Role::Dim)]);
    }
    lines
}
