//! Pure: no clock, no I/O, no async.
//!
//! One node: gauges, rates, its past, its largest sessions and since when it is there.

use common::id::NodeKey;
use common::wire::operator::NodeDetail;
use ratatui::layout::Rect;

use super::{Facts, Line, Scroll, draw_lines};
use crate::desktop::WindowId;
use crate::rows::{NodeRow, state_role};
use crate::store::{History, NodeEntry};
use crate::text::{self, Clean};
use crate::theme::Role;
use crate::widget::canvas::Canvas;
use crate::widget::spark;

/// Sessions that are listed.
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
        let name = self.node.and_then(|key| facts.store.node(key)).map(|entry| entry.node.name.to_string());
        match name {
            Some(name) if self.follows => format!("Node {name}  (selected)"),
            Some(name) => format!("Node {name}"),
            None => "Node".to_owned(),
        }
    }

    pub(super) fn settle(&mut self, facts: &Facts<'_>, window: WindowId, area: Rect) {
        self.scroll.settle(self.lines(facts, window, area.width).len(), area.height);
    }

    pub(super) fn draw(&self, facts: &Facts<'_>, canvas: &mut Canvas<'_>, area: Rect, window: WindowId) {
        draw_lines(canvas, area, &self.lines(facts, window, area.width), self.scroll.offset);
    }

    fn lines(&self, facts: &Facts<'_>, window: WindowId, width: u16) -> Vec<Line> {
        let note = |text: &str| vec![vec![(format!(" {text}"), Role::Dim)]];
        let Some(key) = self.node else { return note("no node is selected") };
        if let Some(why) = facts.store.error(window) {
            return note(&why);
        }
        let (Some(entry), Some(detail)) = (facts.store.node(key), facts.store.node_detail(window)) else {
            return note("asking ...");
        };
        let mut lines = state_lines(facts, entry);
        lines.push(placement_line(detail));
        let bar = width.saturating_sub(40).clamp(10, 60);
        lines.push(gauge_line(facts, "cpu", entry.node.load.cpu_permille.into(), bar));
        lines.push(gauge_line(facts, "busiest", entry.node.load.worker_permille_max.into(), bar));
        lines.push(history_line(facts, "cpu 5 min", &entry.cpu, Some(1000), width));
        lines.push(history_line(facts, "egress", &entry.egress, None, width));
        lines.push(history_line(facts, "sessions", &entry.sessions, None, width));
        lines.extend(session_lines(facts, detail));
        lines.extend(life_lines(detail));
        lines
    }
}

/// What placement thinks of the node.
fn placement_line(detail: &NodeDetail) -> Line {
    let mut line = Line::new();
    line.extend(pair("placement score", &format!("{} %", detail.score_permille / 10)));
    line.extend(pair("reserved", &format!("{} %", detail.reserved_permille / 10)));
    line.extend(pair("program", &Clean::new(&detail.program)));
    line
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
    counts.extend(pair("sessions", &node.sessions.to_string()));
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

fn session_lines(facts: &Facts<'_>, detail: &NodeDetail) -> Vec<Line> {
    let head = format!(" LARGEST SESSIONS ({} here)", detail.row.sessions);
    let mut lines = vec![vec![(head, Role::Head)]];
    for session in detail.largest.iter().take(LISTED_MAX) {
        let name = Clean::new(&session.name);
        lines.push(vec![
            (format!("   {:<28} ", text::fit(&name, 28, facts.theme.cut())), Role::Text),
            (format!("{:>5} conn {:>5} streams", session.connections, session.streams), Role::Dim),
        ]);
    }
    lines
}

/// Since when it is what it is.
fn life_lines(detail: &NodeDetail) -> Vec<Line> {
    let mut lines = vec![vec![(" LIFE".to_owned(), Role::Head)]];
    let times = [
        ("first seen", Some(detail.launched_at_ms)),
        ("connected", detail.connected_at_ms),
        ("cut off", detail.disconnected_at_ms),
    ];
    for (what, at) in times {
        if let Some(at) = at {
            lines.push(vec![(format!("   {what:<12}"), Role::Dim), (text::rfc3339(at), Role::Text)]);
        }
    }
    lines
}
