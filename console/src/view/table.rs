//! Pure: no clock, no I/O, no async.
//!
//! Rows of nodes, sessions or events: filtered and sorted when something changed, formatted only where they show.

use std::cmp::Ordering;
use std::collections::HashSet;

use common::id::{NodeKey, SessionKey};
use ratatui::layout::Rect;

use super::{Facts, Motion, ViewKind, motion};
use crate::desktop::WindowId;
use crate::event::Target;
use crate::filter::{Fields, Filter, FilterError, Value};
use crate::rows::{Column, EVENTS, EventRow, LOAD, NODES, NodeRow, SESSIONS, SessionRow, field_names};
use crate::store::{NodeEntry, Store, Subject};
use crate::theme::Role;
use crate::verbs::Command;
use crate::widget::canvas::{Align, Canvas};
use crate::widget::spark;

/// What the history column shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Metric {
    /// Share of all cores.
    #[default]
    Cpu,
    /// Bits per second out.
    Egress,
    /// Sessions.
    Sessions,
}

/// A table and where the user is in it.
#[derive(Clone, Debug)]
pub struct TableView {
    /// Which rows.
    pub kind: ViewKind,
    /// Which of them.
    pub filter: Filter,
    /// Why the filter being typed is not in force.
    pub error: Option<FilterError>,
    /// By which column, and whether from high to low; none is the table's own order.
    pub sort: Option<(usize, bool)>,
    /// Rows keep their order; of events: the newest is not followed.
    pub held: bool,
    /// What the history column shows.
    pub metric: Metric,
    /// Key of the selected row.
    pub selected: Option<u64>,
    /// First row that shows.
    pub offset: usize,
    /// Keys of the rows in their order.
    rows: Vec<u64>,
    at: usize,
    height: usize,
    seen: Option<u64>,
    total: usize,
}

enum Order {
    Number(f64),
    Text(String),
}

impl Metric {
    const fn next(self) -> Self {
        match self {
            Self::Cpu => Self::Egress,
            Self::Egress => Self::Sessions,
            Self::Sessions => Self::Cpu,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Egress => "out",
            Self::Sessions => "sessions",
        }
    }

    fn samples(self, entry: &NodeEntry) -> &[u32] {
        match self {
            Self::Cpu => entry.cpu.samples(),
            Self::Egress => entry.egress.samples(),
            Self::Sessions => entry.sessions.samples(),
        }
    }

    /// What a full bar stands for: all cores, or the highest value that shows anywhere.
    fn full(self, store: &Store, columns: usize) -> u32 {
        if self == Self::Cpu {
            return 1000;
        }
        let newest = |entry: &NodeEntry| self.samples(entry).iter().rev().take(columns).copied().max();
        store.nodes.iter().filter_map(newest).max().unwrap_or(1).max(1)
    }
}

impl TableView {
    /// A table in its own order.
    #[must_use]
    pub fn new(kind: ViewKind) -> Self {
        Self {
            kind,
            filter: Filter::default(),
            error: None,
            sort: None,
            held: false,
            metric: Metric::Cpu,
            selected: None,
            offset: 0,
            rows: Vec::new(),
            at: 0,
            height: 1,
            seen: None,
            total: 0,
        }
    }

    /// The columns of its kind.
    #[must_use]
    pub const fn columns(&self) -> &'static [Column] {
        match self.kind {
            ViewKind::Events => EVENTS,
            ViewKind::Load => LOAD,
            ViewKind::Sessions => SESSIONS,
            ViewKind::Cluster
            | ViewKind::Help
            | ViewKind::Node
            | ViewKind::Nodes
            | ViewKind::Placement
            | ViewKind::Recorders
            | ViewKind::Session
            | ViewKind::Trends => NODES,
        }
    }

    /// Filters; a filter that is not understood changes nothing but [`Self::error`].
    pub fn set_filter(&mut self, text: &str) {
        match Filter::parse(text, &field_names(self.columns())) {
            Ok(filter) => {
                self.error = None;
                self.filter = filter;
                self.seen = None;
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Sorts by a column; by the same again the other way round.
    pub fn sort_by(&mut self, column: usize) {
        let Some(chosen) = self.columns().get(column) else { return };
        self.sort = match self.sort {
            Some((same, descending)) if same == column => Some((column, !descending)),
            _ => Some((column, chosen.align == Align::Right)),
        };
        self.seen = None;
    }

    pub(super) fn title(&self) -> String {
        let name = self.kind.name();
        if self.filter.is_empty() { name.to_owned() } else { format!("{name}  /{}", self.filter.text) }
    }

    pub(super) fn remark(&self, facts: &Facts<'_>) -> String {
        let mut remark = match (self.rows.len(), self.total) {
            (shown, total) if shown == total => format!("{total}"),
            (shown, total) => format!("{shown} of {total}"),
        };
        if self.kind == ViewKind::Sessions && !facts.store.has_every_session() {
            remark = format!("{remark} (of {} in all)", facts.store.head.sessions_total);
        }
        if let Some((column, descending)) = self.sort {
            let arrow = if descending { "v" } else { "^" };
            let name = self.columns().get(column).map_or("", |column| column.id);
            remark = format!("{remark}  {name} {arrow}");
        }
        match (self.kind, self.held) {
            (ViewKind::Events, false) => remark.push_str("  follow"),
            (ViewKind::Events, true) => remark.push_str("  stopped"),
            (_, true) => remark.push_str("  HELD"),
            (_, false) => {}
        }
        if self.kind == ViewKind::Load {
            remark = format!("{}  {remark}", self.metric.word());
        }
        remark
    }

    pub(super) fn settle(&mut self, facts: &Facts<'_>, area: Rect) {
        self.height = usize::from(area.height.saturating_sub(1)).max(1);
        if self.seen != Some(facts.store.version) {
            let keep =
                self.seen.is_some() && (facts.keep_order || self.held) && self.kind != ViewKind::Events;
            let wanted = self.wanted(facts);
            if keep {
                self.keep_order(wanted);
            } else {
                self.rows = wanted;
            }
            self.seen = Some(facts.store.version);
        }
        self.at = match self.selected.and_then(|key| self.position(key)) {
            Some(at) => at,
            None => self.at.min(self.rows.len().saturating_sub(1)),
        };
        if self.kind == ViewKind::Events && !self.held {
            self.at = self.rows.len().saturating_sub(1);
        }
        self.selected = self.rows.get(self.at).copied();
        self.reveal();
    }

    fn position(&self, key: u64) -> Option<usize> {
        if self.rows.get(self.at) == Some(&key) {
            return Some(self.at);
        }
        self.rows.iter().position(|row| *row == key)
    }

    fn reveal(&mut self) {
        let last = self.rows.len().saturating_sub(self.height);
        self.offset = self.offset.min(self.at).max((self.at + 1).saturating_sub(self.height)).min(last);
    }

    /// Old rows where they were, new ones behind them.
    fn keep_order(&mut self, wanted: Vec<u64>) {
        let there: HashSet<u64> = wanted.iter().copied().collect();
        self.rows.retain(|row| there.contains(row));
        let known: HashSet<u64> = self.rows.iter().copied().collect();
        self.rows.extend(wanted.into_iter().filter(|row| !known.contains(row)));
    }

    fn wanted(&mut self, facts: &Facts<'_>) -> Vec<u64> {
        let store = facts.store;
        match self.kind {
            ViewKind::Events => {
                self.total = store.log.len();
                let passes = |entry: &&crate::store::LogEntry| self.filter.matches(&EventRow { entry });
                store.log.iter().filter(passes).map(|entry| entry.seq).collect()
            }
            ViewKind::Sessions => {
                self.total = store.sessions.len();
                let rows =
                    store.sessions.iter().map(|session| (session.key.0, SessionRow { session, store }));
                self.sorted(rows)
            }
            ViewKind::Cluster
            | ViewKind::Help
            | ViewKind::Load
            | ViewKind::Node
            | ViewKind::Nodes
            | ViewKind::Placement
            | ViewKind::Recorders
            | ViewKind::Session
            | ViewKind::Trends => {
                let recorders = self.kind == ViewKind::Recorders;
                let since = facts.since();
                let of_kind = || {
                    let entries = store.nodes.iter().filter(move |entry| entry.node.recorder == recorders);
                    entries.map(move |entry| (entry.node.key.0, NodeRow { entry, since }))
                };
                self.total = of_kind().count();
                self.sorted(of_kind())
            }
        }
    }

    fn sorted<R: Fields + OwnOrder>(&self, rows: impl Iterator<Item = (u64, R)>) -> Vec<u64> {
        let column = self.sort.and_then(|(index, _)| self.columns().get(index)).map(|column| column.id);
        let mut keyed: Vec<(Order, u64)> = rows
            .filter(|(_, row)| self.filter.matches(row))
            .map(|(key, row)| {
                let order = match column.and_then(|id| row.field(id)) {
                    Some(Value::Number(number)) => Order::Number(number),
                    Some(Value::Text(text)) => Order::Text(text.into_owned()),
                    Some(Value::Unknown) => Order::Number(f64::NEG_INFINITY),
                    None => row.own_order(self.kind),
                };
                (order, key)
            })
            .collect();
        let descending = self.sort.is_some_and(|(_, descending)| descending);
        keyed.sort_by(|(a, x), (b, y)| {
            let order = a.compare(b);
            (if descending { order.reverse() } else { order }).then(x.cmp(y))
        });
        keyed.into_iter().map(|(_, key)| key).collect()
    }

    pub(super) fn handle(&mut self, command: Command) -> bool {
        if let Some(motion) = motion(command) {
            let last = self.rows.len().saturating_sub(1);
            let page = self.height.saturating_sub(1).max(1).cast_signed();
            self.at = match motion {
                Motion::By(by) => self.at.saturating_add_signed(by).min(last),
                Motion::Pages(by) => self.at.saturating_add_signed(by.saturating_mul(page)).min(last),
                Motion::First => 0,
                Motion::Last => last,
            };
            if self.kind == ViewKind::Events {
                self.held = self.at < last;
            }
            self.select_at();
            return true;
        }
        if command == Command::Hold {
            self.held = !self.held;
            self.seen = None;
        } else if command == Command::Metric {
            self.metric = self.metric.next();
        } else if command == Command::Sort {
            let next = self.sort.map_or(0, |(column, _)| (column + 1) % self.columns().len());
            self.sort = None;
            self.sort_by(next);
        } else if command == Command::SortReverse {
            let column = self.sort.map_or(0, |(column, _)| column);
            self.sort_by(column);
        } else {
            return false;
        }
        true
    }

    pub(super) fn click(&mut self, row: usize) {
        let at = self.offset + row;
        if at < self.rows.len() {
            self.at = at;
            if self.kind == ViewKind::Events {
                self.held = at + 1 < self.rows.len();
            }
            self.select_at();
        }
    }

    fn select_at(&mut self) {
        self.selected = self.rows.get(self.at).copied();
        self.reveal();
    }

    pub(super) fn selected_node(&self, store: &Store) -> Option<NodeKey> {
        let key = self.selected?;
        match self.kind {
            ViewKind::Events => match subject(store, key)? {
                Subject::Node(node) => Some(node),
                Subject::Session(session) => store.session(session)?.node,
                Subject::Cluster => None,
            },
            ViewKind::Sessions => store.session(SessionKey(key))?.node,
            ViewKind::Cluster
            | ViewKind::Help
            | ViewKind::Load
            | ViewKind::Node
            | ViewKind::Nodes
            | ViewKind::Placement
            | ViewKind::Recorders
            | ViewKind::Session
            | ViewKind::Trends => Some(NodeKey(key)),
        }
    }

    pub(super) fn selected_session(&self, store: &Store) -> Option<SessionKey> {
        let key = self.selected?;
        if self.kind == ViewKind::Sessions {
            return Some(SessionKey(key));
        }
        match (self.kind == ViewKind::Events).then(|| subject(store, key)).flatten()? {
            Subject::Session(session) => Some(session),
            Subject::Cluster | Subject::Node(_) => None,
        }
    }

    pub(super) fn draw(
        &self,
        facts: &Facts<'_>,
        canvas: &mut Canvas<'_>,
        area: Rect,
        window: WindowId,
        focused: bool,
    ) {
        let columns = fitted(self.columns(), area.width.saturating_sub(2));
        self.draw_head(canvas, area, window, &columns);
        if self.rows.is_empty() && area.height > 1 {
            canvas.line(area, 1, &[("  ", Role::Dim), (self.empty_text(facts), Role::Dim)]);
        }
        let full = self.metric.full(facts.store, usize::from(area.width));
        let shown = self.rows.iter().enumerate().skip(self.offset).take(usize::from(area.height) - 1);
        for ((index, key), y) in shown.zip(area.y + 1..area.bottom()) {
            let selected = index == self.at;
            let row = Rect::new(area.x, y, area.width, 1);
            self.draw_row(facts, canvas, row, &columns, *key, full);
            if selected {
                let role = if focused { Role::Selection } else { Role::SelectionDim };
                canvas.restyle(row, role);
                canvas.text(area.x, y, 1, ">", role);
            }
            canvas.hit(row, Target::Row(window, index - self.offset));
        }
        self.draw_scrollbar(canvas, area);
    }

    fn draw_head(
        &self,
        canvas: &mut Canvas<'_>,
        area: Rect,
        window: WindowId,
        columns: &[(usize, Column, u16)],
    ) {
        let mut x = area.x + 2;
        for (index, column, width) in columns {
            let mut head = column.head.to_owned();
            if column.id == "history" && self.kind == ViewKind::Load {
                head = format!("{} OVER {width} S", self.metric.word().to_uppercase());
            }
            if let Some((sorted, descending)) = self.sort
                && sorted == *index
            {
                head.push(if descending { 'v' } else { '^' });
            }
            canvas.aligned(x, area.y, *width, &head, Role::Head, column.align);
            canvas.hit(Rect::new(x, area.y, *width, 1), Target::Header(window, *index));
            x += width + 1;
        }
    }

    fn draw_row(
        &self,
        facts: &Facts<'_>,
        canvas: &mut Canvas<'_>,
        row: Rect,
        columns: &[(usize, Column, u16)],
        key: u64,
        full: u32,
    ) {
        let store = facts.store;
        let since = facts.since();
        let node = store.node(NodeKey(key)).map(|entry| NodeRow { entry, since });
        let session = store.session(SessionKey(key)).map(|session| SessionRow { session, store });
        let mut x = row.x + 2;
        for (_, column, width) in columns {
            let (text, role) = match self.kind {
                ViewKind::Events => store.entry(key).map(|entry| EventRow { entry }.cell(column.id)),
                ViewKind::Sessions => session.map(|session| session.cell(column.id)),
                ViewKind::Cluster
                | ViewKind::Help
                | ViewKind::Load
                | ViewKind::Node
                | ViewKind::Nodes
                | ViewKind::Placement
                | ViewKind::Recorders
                | ViewKind::Session
                | ViewKind::Trends => match (node, column.id) {
                    (Some(node), "history") => {
                        self.draw_history(canvas, Rect::new(x, row.y, *width, 1), node.entry, full);
                        None
                    }
                    (node, id) => node.map(|node| node.cell(id)),
                },
            }
            .unwrap_or_default();
            canvas.aligned(x, row.y, *width, &text, role, column.align);
            x += width + 1;
        }
    }

    fn draw_history(&self, canvas: &mut Canvas<'_>, area: Rect, entry: &NodeEntry, full: u32) {
        let samples = self.metric.samples(entry);
        // A narrow column shows a minute all the same: several samples share a bar.
        let step = if self.kind == ViewKind::Load { 1 } else { (60 / usize::from(area.width).max(1)).max(1) };
        let text = spark::bars(&canvas.theme, samples, full, area.width, step);
        if self.metric != Metric::Cpu || step > 1 {
            canvas.text(area.x, area.y, area.width, &text, Role::Dim);
            return;
        }
        // Each bar in the colour of its load, so that a busy minute stays visible after it is over.
        let blanks = usize::from(area.width).saturating_sub(samples.len());
        let newest = &samples[samples.len().saturating_sub(usize::from(area.width))..];
        for (x, (index, bar)) in (area.x..).zip(text.char_indices().map(|(_, c)| c).enumerate()) {
            let value = index.checked_sub(blanks).and_then(|index| newest.get(index)).copied().unwrap_or(0);
            canvas.text(x, area.y, 1, bar.encode_utf8(&mut [0; 4]), spark::load_role(value));
        }
    }

    fn draw_scrollbar(&self, canvas: &mut Canvas<'_>, area: Rect) {
        let shown = usize::from(area.height.saturating_sub(1));
        if self.rows.len() <= shown || shown < 2 {
            return;
        }
        let length = (shown * shown / self.rows.len()).max(1);
        let start = self.offset * (shown - length) / (self.rows.len() - shown);
        let glyph = canvas.theme.glyph("█", "#");
        for row in start..start + length {
            let y = area.y + 1 + u16::try_from(row).unwrap_or(0);
            canvas.text(area.right(), y, 1, glyph, Role::Border);
        }
    }

    fn empty_text(&self, facts: &Facts<'_>) -> &'static str {
        match (self.kind, self.filter.is_empty(), facts.store.received) {
            (ViewKind::Events, true, _) => "nothing has changed since the console started",
            (_, _, None) => "waiting for the first overview",
            (_, false, _) => "nothing passes the filter (\\ clears it)",
            (ViewKind::Sessions, ..) => "no session is open",
            (ViewKind::Recorders, ..) => "no recorder has joined",
            (..) => "no node has joined",
        }
    }

    /// Rows that passed the filter, in order.
    #[must_use]
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// Sorts and filters once, for output without a screen.
    pub fn load(&mut self, facts: &Facts<'_>) {
        self.seen = None;
        self.settle(facts, Rect::new(0, 0, 80, 24));
    }
}

impl Order {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// The order of rows that nobody sorted.
trait OwnOrder {
    /// Lower comes first.
    fn own_order(&self, kind: ViewKind) -> Order;
}

impl OwnOrder for NodeRow<'_> {
    /// What is not running first, then the busiest; the load view is steady instead: it is watched over time.
    fn own_order(&self, kind: ViewKind) -> Order {
        if kind == ViewKind::Load {
            return Order::Text(self.entry.node.name.to_string());
        }
        let state = f64::from(self.entry.node.state as u8);
        Order::Number(state * 10_000.0 - f64::from(self.entry.node.load.cpu_permille))
    }
}

impl OwnOrder for SessionRow<'_> {
    /// The largest first.
    fn own_order(&self, _kind: ViewKind) -> Order {
        Order::Number(-f64::from(self.session.connections))
    }
}

fn subject(store: &Store, seq: u64) -> Option<Subject> {
    store.entry(seq).map(|entry| entry.subject)
}

/// The columns that fit, with their places in the table and their widths. Those of high rank give way; what is left
/// over goes to the history, else to the last text column.
fn fitted(columns: &[Column], room: u16) -> Vec<(usize, Column, u16)> {
    let mut kept: Vec<(usize, Column, u16)> =
        columns.iter().enumerate().map(|(index, column)| (index, *column, column.width)).collect();
    let total = |kept: &[(usize, Column, u16)]| kept.iter().map(|(_, _, width)| width + 1).sum::<u16>();
    while total(&kept) > room + 1 {
        let drop = kept.iter().map(|(_, column, _)| column.rank).max().filter(|rank| *rank > 0);
        let Some(at) = drop.and_then(|rank| kept.iter().rposition(|(_, column, _)| column.rank == rank))
        else {
            break;
        };
        kept.remove(at);
    }
    let spare = (room + 1).saturating_sub(total(&kept));
    let widest = kept
        .iter()
        .position(|(_, column, _)| column.id == "history")
        .or_else(|| kept.iter().position(|(_, column, _)| column.id == "text"))
        .or_else(|| kept.iter().position(|(_, column, _)| column.id == "name"));
    if let Some(at) = widest {
        // Names far from what they belong to are hard to read; a history can never be too long.
        let most = if kept[at].1.id == "name" { 24 } else { 240 };
        kept[at].2 += spare.min(most);
    }
    kept
}
