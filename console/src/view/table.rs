//! Pure: no clock, no I/O, no async.
//!
//! Rows of nodes, sessions, recordings or events: the master filters, sorts and sends what shows and a screen on each
//! side; the console keeps the place of the user in it.

use std::collections::HashSet;

use common::id::{NodeKey, SessionKey};
use common::operator::filter::{Filter, FilterError};
use common::operator::{InTime, Mirror, field_names};
use common::wire::operator::{EventSubject, Order, Topic, Window};
use ratatui::layout::Rect;

use super::{Facts, Motion, ViewKind, motion};
use crate::desktop::WindowId;
use crate::event::Target;
use crate::model::Wanted;
use crate::rows::{
    Column, EVENTS, EventRow, LOAD, NODES, NodeRow, RECORDINGS, RecordingRow, SESSIONS, SessionRow,
};
use crate::store::{NodeEntry, OWN_ENTRY, Store};
use crate::text::Clean;
use crate::theme::Role;
use crate::verbs::Command;
use crate::widget::canvas::{Align, Canvas};
use crate::widget::spark;

/// Events of one window: the newest that pass the filter.
const EVENTS_SHOWN: u32 = 1_000;

/// Rows that are asked for at least.
const ROWS_MIN: usize = 40;

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
    /// Keys of the rows that have come, in their order.
    rows: Vec<u64>,
    /// Place of the first of them among all that pass.
    base: usize,
    /// Place of the selected row among all that pass.
    at: usize,
    height: usize,
    /// What of the window's list was seen: its last delta, and the version of the store for the console's own entries.
    seen: Option<(u64, u64)>,
    /// Rows that pass, and all.
    total: usize,
    all: usize,
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
            base: 0,
            at: 0,
            height: 1,
            seen: None,
            total: 0,
            all: 0,
        }
    }

    /// The columns of its kind.
    #[must_use]
    pub const fn columns(&self) -> &'static [Column] {
        match self.kind {
            ViewKind::Events => EVENTS,
            ViewKind::Load => LOAD,
            ViewKind::Recordings => RECORDINGS,
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

    fn topic(&self) -> Topic {
        match self.kind {
            ViewKind::Events => Topic::Events,
            ViewKind::Recordings => Topic::Recordings,
            ViewKind::Sessions => Topic::Sessions,
            ViewKind::Cluster
            | ViewKind::Help
            | ViewKind::Load
            | ViewKind::Node
            | ViewKind::Nodes
            | ViewKind::Placement
            | ViewKind::Recorders
            | ViewKind::Session
            | ViewKind::Trends => Topic::Nodes,
        }
    }

    /// What the window asks the master for: what shows and a screen on each side.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let topic = self.topic();
        let filter = match self.kind {
            ViewKind::Recorders => scoped(&self.filter.text, "role=recorder"),
            ViewKind::Load | ViewKind::Nodes => scoped(&self.filter.text, "role=media"),
            ViewKind::Cluster
            | ViewKind::Events
            | ViewKind::Help
            | ViewKind::Node
            | ViewKind::Placement
            | ViewKind::Recordings
            | ViewKind::Session
            | ViewKind::Sessions
            | ViewKind::Trends => self.filter.text.clone(),
        };
        let sorted =
            self.sort.and_then(|(column, descending)| Some((self.columns().get(column)?, descending)));
        let (field, descending) = match sorted {
            Some((column, descending)) => (field_of(column.id), descending),
            // The load view is steady: it is watched over time.
            None if self.kind == ViewKind::Load => ("name", false),
            None => ("", false),
        };
        let window = if self.kind == ViewKind::Events {
            Window { first: 0, count: EVENTS_SHOWN, from_end: true }
        } else {
            let page = self.height.max(ROWS_MIN / 4);
            let first = (self.offset / page * page).saturating_sub(page);
            let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
            Window { first: number(first), count: number(4 * page), from_end: false }
        };
        Wanted { topic, filter, order: Order { field: field.to_owned(), descending }, window }
    }

    /// Filters; a filter that is not understood changes nothing but [`Self::error`].
    pub fn set_filter(&mut self, text: &str) {
        match Filter::parse(text, field_names(&self.topic())) {
            Ok(filter) => {
                self.error = None;
                if filter != self.filter {
                    self.offset = 0;
                }
                self.filter = filter;
                self.seen = None;
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Sorts by a column; by the same again the other way round.
    pub fn sort_by(&mut self, column: usize) {
        let Some(chosen) = self.columns().get(column) else { return };
        if self.kind == ViewKind::Events || !field_names(&self.topic()).contains(&field_of(chosen.id)) {
            return;
        }
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

    pub(super) fn remark(&self) -> String {
        let mut remark = match (self.total, self.all) {
            (shown, all) if shown == all || self.filter.is_empty() => format!("{shown}"),
            (shown, all) => format!("{shown} of {all}"),
        };
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

    pub(super) fn settle(&mut self, facts: &Facts<'_>, id: WindowId, area: Rect) {
        self.height = usize::from(area.height.saturating_sub(1)).max(1);
        if let Some(list) = facts.store.list(id) {
            let own = if self.kind == ViewKind::Events { facts.store.version } else { 0 };
            let seen = (list.seq, own);
            if self.seen != Some(seen) {
                self.take_rows(facts, list);
                self.seen = Some(seen);
            }
        } else {
            self.take_rows(facts, &Mirror::default());
        }
        let last = self.total.saturating_sub(1);
        self.at = match self.selected.and_then(|key| self.position(key)) {
            Some(at) => at,
            None => self.at.min(last),
        };
        if self.kind == ViewKind::Events && !self.held {
            self.at = last;
        }
        if let Some(key) = self.key_at(self.at) {
            self.selected = Some(key);
        } else if self.total == 0 {
            self.selected = None;
        }
        self.reveal();
    }

    /// The rows as the master has them now, or in the order in which they were while the user is at work.
    fn take_rows(&mut self, facts: &Facts<'_>, list: &Mirror) {
        let base = usize::try_from(list.first).unwrap_or(usize::MAX);
        let mut wanted = list.keys().to_vec();
        self.total = usize::try_from(list.total).unwrap_or(usize::MAX);
        self.all = usize::try_from(list.all).unwrap_or(usize::MAX);
        if self.kind == ViewKind::Events {
            let own = self.merge_own(facts.store, list, &mut wanted);
            self.total += own;
            self.all += facts.store.log.len();
        }
        let keep = self.seen.is_some()
            && (facts.keep_order || self.held)
            && self.kind != ViewKind::Events
            && base == self.base;
        if keep {
            self.keep_order(wanted);
        } else {
            self.rows = wanted;
        }
        self.base = base;
    }

    /// Puts the console's own entries among the events, by time; gives how many there are.
    fn merge_own(&self, store: &Store, list: &Mirror, rows: &mut Vec<u64>) -> usize {
        let passing: Vec<(u64, u64)> = store
            .log
            .iter()
            .filter(|entry| self.filter.matches(&InTime { row: *entry, at_ms: store.at_ms }))
            .map(|entry| (entry.at_ms, entry.seq))
            .collect();
        let time_of = |key: u64| {
            if let Some(common::wire::operator::Row::Event(row)) = list.row(key) { row.at_ms } else { 0 }
        };
        for (at_ms, seq) in &passing {
            let place = rows.iter().rposition(|key| *key & OWN_ENTRY != 0 || time_of(*key) <= *at_ms);
            rows.insert(place.map_or(0, |place| place + 1), *seq);
        }
        passing.len()
    }

    fn key_at(&self, at: usize) -> Option<u64> {
        self.rows.get(at.checked_sub(self.base)?).copied()
    }

    fn position(&self, key: u64) -> Option<usize> {
        if self.key_at(self.at) == Some(key) {
            return Some(self.at);
        }
        self.rows.iter().position(|row| *row == key).map(|index| self.base + index)
    }

    fn reveal(&mut self) {
        let last = self.total.saturating_sub(self.height);
        self.offset = self.offset.min(self.at).max((self.at + 1).saturating_sub(self.height)).min(last);
    }

    /// Old rows where they were, new ones behind them.
    fn keep_order(&mut self, wanted: Vec<u64>) {
        let there: HashSet<u64> = wanted.iter().copied().collect();
        self.rows.retain(|row| there.contains(row));
        let known: HashSet<u64> = self.rows.iter().copied().collect();
        self.rows.extend(wanted.into_iter().filter(|row| !known.contains(row)));
    }

    pub(super) fn handle(&mut self, command: Command) -> bool {
        if let Some(motion) = motion(command) {
            let last = self.total.saturating_sub(1);
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
            let columns = self.columns().len();
            let mut next = self.sort.map_or(0, |(column, _)| (column + 1) % columns);
            // Some columns are not sorted by.
            for _ in 0..columns {
                self.sort = None;
                self.sort_by(next);
                if self.sort.is_some() {
                    break;
                }
                next = (next + 1) % columns;
            }
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
        if at < self.total {
            self.at = at;
            if self.kind == ViewKind::Events {
                self.held = at + 1 < self.total;
            }
            self.select_at();
        }
    }

    fn select_at(&mut self) {
        // A row that has not come yet is selected by its place until it does.
        self.selected = self.key_at(self.at);
        self.reveal();
    }

    fn subject(&self, store: &Store, id: WindowId) -> Option<EventSubject> {
        store.event(id, self.selected?).map(|entry| entry.subject)
    }

    pub(super) fn selected_node(&self, store: &Store, id: WindowId) -> Option<NodeKey> {
        let key = self.selected?;
        match self.kind {
            ViewKind::Events => match self.subject(store, id)? {
                EventSubject::Node(node) => Some(node),
                EventSubject::Session(session) => store.session(session)?.node,
                EventSubject::Cluster => None,
            },
            ViewKind::Sessions => store.session(SessionKey(key))?.node,
            ViewKind::Load | ViewKind::Nodes | ViewKind::Recorders => Some(NodeKey(key)),
            ViewKind::Cluster
            | ViewKind::Help
            | ViewKind::Node
            | ViewKind::Placement
            | ViewKind::Recordings
            | ViewKind::Session
            | ViewKind::Trends => None,
        }
    }

    pub(super) fn selected_session(&self, store: &Store, id: WindowId) -> Option<SessionKey> {
        if self.kind == ViewKind::Sessions {
            return self.selected.map(SessionKey);
        }
        match (self.kind == ViewKind::Events).then(|| self.subject(store, id)).flatten()? {
            EventSubject::Session(session) => Some(session),
            EventSubject::Cluster | EventSubject::Node(_) => None,
        }
    }

    /// Names of the selected recording and of its session.
    #[must_use]
    pub fn selected_recording(&self, store: &Store, id: WindowId) -> Option<(Clean, Clean)> {
        let row = store.recording(id, self.selected.filter(|_| self.kind == ViewKind::Recordings)?)?;
        Some((Clean::new(&row.id), Clean::new(&row.session)))
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
        if self.total == 0 && area.height > 1 {
            let error = facts.store.error(window);
            let text = error.as_deref().unwrap_or_else(|| self.empty_text(facts));
            canvas.line(area, 1, &[("  ", Role::Dim), (text, Role::Dim)]);
        }
        let full = self.metric.full(facts.store, usize::from(area.width));
        let shown = (self.offset..self.total).take(usize::from(area.height).saturating_sub(1));
        for (index, y) in shown.zip(area.y + 1..area.bottom()) {
            let selected = index == self.at;
            let row = Rect::new(area.x, y, area.width, 1);
            match self.key_at(index) {
                Some(key) => self.draw_row(facts, canvas, row, &columns, (window, key), full),
                None => {
                    canvas.text(row.x + 2, row.y, 3, "...", Role::Dim);
                }
            }
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
        (window, key): (WindowId, u64),
        full: u32,
    ) {
        let store = facts.store;
        let (since, at_ms) = (facts.since(), store.at_ms);
        let node = store.node(NodeKey(key)).map(|entry| NodeRow { entry, since });
        let session = store.session(SessionKey(key)).map(|session| SessionRow { session, at_ms });
        let mut x = row.x + 2;
        for (_, column, width) in columns {
            let (text, role) = match self.kind {
                ViewKind::Events => store.event(window, key).map(|entry| EventRow { entry }.cell(column.id)),
                ViewKind::Recordings => {
                    store.recording(window, key).map(|row| RecordingRow { row, at_ms }.cell(column.id))
                }
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
        if self.total <= shown || shown < 2 {
            return;
        }
        let length = (shown * shown / self.total).max(1);
        let start = self.offset * (shown - length) / (self.total - shown);
        let glyph = canvas.theme.glyph("█", "#");
        for row in start..start + length {
            let y = area.y + 1 + u16::try_from(row).unwrap_or(0);
            canvas.text(area.right(), y, 1, glyph, Role::Border);
        }
    }

    fn empty_text(&self, facts: &Facts<'_>) -> &'static str {
        match (self.kind, self.filter.is_empty(), facts.store.received) {
            (_, _, None) => "waiting for the master",
            (ViewKind::Events, true, _) => "nothing has happened yet",
            (_, false, _) => "nothing passes the filter (\\ clears it)",
            (ViewKind::Sessions, ..) => "no session is open",
            (ViewKind::Recordings, ..) => "nothing was recorded",
            (ViewKind::Recorders, ..) => "no recorder has joined",
            (..) => "no node has joined",
        }
    }
}

/// A filter that only rows of one kind pass.
fn scoped(filter: &str, kind: &str) -> String {
    let alternatives = filter.split('|').map(str::trim).filter(|it| !it.is_empty());
    let scoped: Vec<String> = alternatives.map(|it| [kind, " ", it].concat()).collect();
    if scoped.is_empty() { kind.to_owned() } else { scoped.join(" | ") }
}

/// The master's field that a column is sorted by.
fn field_of(column: &'static str) -> &'static str {
    match column {
        "flag" => "state",
        "history" => "cpu",
        other => other,
    }
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
