//! Pure: no clock, no I/O, no async.
//!
//! The master's end of one subscription: what of its window has changed since the console last acknowledged.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

use super::board::Board;
use super::fields::{InTime, field_names, own_order, take_history};
use super::filter::{Fields, Filter, Value};
use crate::id::NodeKey;
use crate::wire::operator::{
    Adjust, Delta, EventRow, Keys, NodeRow, Order, RecordingRow, Row, SessionRow, Subscribe, Topic,
    WINDOW_ROWS_MAX, Window,
};

/// Bytes of rows in one delta; more follow when it was acknowledged. Far below a frame.
const PUT_BYTES_MAX: usize = 96 * 1024;

/// Samples in the histories of one delta.
const PUT_SAMPLES_MAX: usize = 20_000;

/// Least time between two deltas of one subscription, milliseconds, whatever the console asks for.
const INTERVAL_MS_MIN: u64 = 50;

/// Where the rows of a topic come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Lists and totals.
    Board(&'a Board),
    /// Rows that were made for this subscription, in order; or why there are none.
    Rows {
        /// For the histories of nodes.
        board: &'a Board,
        /// They.
        rows: Result<&'a [Row], &'a str>,
    },
}

/// One subscription.
#[derive(Debug)]
pub struct View {
    sub: u32,
    topic: Topic,
    filter: Filter,
    error: String,
    order: Order,
    window: Window,
    interval_ms: u64,
    seq: u64,
    acknowledged: bool,
    due_ms: u64,
    /// Version of the board that the last delta was made of, unless the window was adjusted or is incomplete.
    seen: Option<u64>,
    keys: Vec<u64>,
    first: u32,
    counts: (u32, u32),
    sent: HashMap<u64, Sent>,
    told_error: String,
}

/// A row as the console has it.
#[derive(Debug)]
struct Sent {
    row: Row,
    /// Samples of its history that were counted when it was sent.
    samples: u64,
}

/// Rows that pass, of which only the window matters.
struct Selected {
    all: u32,
    total: u32,
    first: u32,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum OrderKey<'a> {
    Number(f64),
    Text(std::borrow::Cow<'a, str>),
}

impl View {
    /// A new subscription. A filter that is not understood is told by the first delta.
    #[must_use]
    pub fn new(subscribe: Subscribe) -> Self {
        let Subscribe { sub, topic, filter, order, window, interval_ms, ext: _ } = subscribe;
        let mut view = Self {
            sub,
            topic,
            filter: Filter::default(),
            error: String::new(),
            order: Order::default(),
            window: Window::default(),
            interval_ms: u64::from(interval_ms).max(INTERVAL_MS_MIN),
            seq: 0,
            acknowledged: true,
            due_ms: 0,
            seen: None,
            keys: Vec::new(),
            first: 0,
            counts: (0, 0),
            sent: HashMap::new(),
            told_error: String::new(),
        };
        view.adjust(Adjust { sub, filter, order, window });
        view
    }

    /// Its topic.
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The window as asked for, within its bounds.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Looks at another part of the topic from now on.
    pub fn adjust(&mut self, adjust: Adjust) {
        let Adjust { sub: _, filter, order, window } = adjust;
        let fields = field_names(&self.topic);
        self.error.clear();
        match Filter::parse(&filter, fields) {
            Ok(filter) => self.filter = filter,
            Err(error) => self.error = format!("filter: {error}"),
        }
        if !order.field.is_empty() && !fields.contains(&order.field.as_str()) {
            let name: String = order.field.chars().take(32).collect();
            self.error = format!("order: no field `{name}`; there are {}", fields.join(", "));
        }
        self.order = order;
        self.window = Window { count: window.count.min(WINDOW_ROWS_MAX), ..window };
        self.seen = None;
        self.due_ms = 0;
    }

    /// The console has taken in a delta.
    pub fn acknowledge(&mut self, seq: u64) {
        if seq == self.seq {
            self.acknowledged = true;
        }
    }

    /// Whether a delta may be made now (milliseconds of any clock that does not go back).
    #[must_use]
    pub const fn is_due(&self, now_ms: u64) -> bool {
        self.acknowledged && now_ms >= self.due_ms
    }

    /// When a delta may be made; none while one is not acknowledged.
    #[must_use]
    pub const fn due_ms(&self) -> Option<u64> {
        if self.acknowledged { Some(self.due_ms) } else { None }
    }

    /// What changed in the window; none when nothing did, or when it is not due.
    pub fn next(&mut self, now_ms: u64, source: &Source<'_>) -> Option<Delta> {
        if !self.is_due(now_ms) {
            return None;
        }
        let board = match source {
            Source::Board(board) => {
                if self.seen == Some(board.version) {
                    return None;
                }
                board
            }
            Source::Rows { board, .. } => board,
        };
        self.due_ms = now_ms + self.interval_ms;
        let selected = match (self.error.is_empty(), source) {
            (false, _) => Err(self.error.clone()),
            (true, Source::Board(board)) => Ok(self.select(board)),
            (true, Source::Rows { rows: Ok(rows), .. }) => Ok(given(rows)),
            (true, Source::Rows { rows: Err(why), .. }) => Err((*why).to_owned()),
        };
        self.seen = Some(board.version);
        match selected {
            Ok(selected) => self.delta(board, selected),
            Err(why) => self.failed(board, why),
        }
    }

    fn failed(&mut self, board: &Board, why: String) -> Option<Delta> {
        if self.seq > 0 && self.told_error == why {
            return None;
        }
        self.keys.clear();
        self.sent.clear();
        self.told_error.clone_from(&why);
        Some(self.made(board, Keys::All(Vec::new()), Vec::new(), why))
    }

    fn delta(&mut self, board: &Board, selected: Selected) -> Option<Delta> {
        let Selected { all, total, first, rows } = selected;
        let new: Vec<u64> = rows.iter().map(Row::key).collect();
        let keys = difference(&self.keys, &new);
        let same_place = self.first == first && self.counts == (all, total) && self.told_error.is_empty();
        if !matches!(keys, Keys::Same) {
            let mut kept = HashMap::with_capacity(new.len());
            for key in &new {
                if let Some(sent) = self.sent.remove(key) {
                    kept.insert(*key, sent);
                }
            }
            self.sent = kept;
        }
        let put = self.put(board, rows);
        let changed = !(put.is_empty() && matches!(keys, Keys::Same) && same_place);
        self.keys = new;
        self.first = first;
        self.counts = (all, total);
        self.told_error.clear();
        (changed || self.seq == 0).then(|| self.made(board, keys, put, String::new()))
    }

    fn made(&mut self, board: &Board, keys: Keys, put: Vec<Row>, error: String) -> Delta {
        self.seq += 1;
        self.acknowledged = false;
        let (all, total) = self.counts;
        let (sub, seq, at_ms, first) = (self.sub, self.seq, board.at_ms, self.first);
        Delta { sub, seq, at_ms, all, total, first, keys, put, error, ext: Vec::new() }
    }

    /// Rows that the console does not have as they are.
    fn put(&mut self, board: &Board, rows: Vec<Row>) -> Vec<Row> {
        let each = (PUT_SAMPLES_MAX / rows.len().max(1)).max(1);
        let (mut put, mut bytes) = (Vec::new(), 0);
        for mut row in rows {
            take_history(&mut row);
            let key = row.key();
            let sent = self.sent.get(&key);
            let has_past = past_length(board, &row) > 0;
            let fresh_samples = has_past && sent.is_none_or(|sent| sent.samples < board.samples);
            if !fresh_samples && sent.is_some_and(|sent| sent.row == row) {
                continue;
            }
            let known = sent.map_or(0, |sent| sent.samples);
            let mut full = row.clone();
            add_history(board, &mut full, known, each);
            let size = crate::wire::encode(&full).len();
            if bytes > 0 && bytes + size > PUT_BYTES_MAX {
                // The rest follows when this was acknowledged.
                self.seen = None;
                self.due_ms = 0;
                break;
            }
            bytes += size;
            self.sent.insert(key, Sent { row, samples: board.samples });
            put.push(full);
        }
        put
    }

    fn select(&self, board: &Board) -> Selected {
        let at_ms = board.at_ms;
        match &self.topic {
            Topic::Head => {
                Selected { all: 1, total: 1, first: 0, rows: vec![Row::Head(Box::new(board.head.clone()))] }
            }
            Topic::Nodes => self.window_of(
                board.nodes.iter(),
                at_ms,
                |row| OrderKey::Number(own_order(row)),
                |row: &NodeRow| Row::Node(Box::new(row.clone())),
            ),
            Topic::Sessions => self.window_of(
                board.sessions.iter(),
                at_ms,
                |row| OrderKey::Number(-f64::from(row.connections)),
                |row: &SessionRow| Row::Session(row.clone()),
            ),
            Topic::Recordings => self.window_of(
                board.recordings.iter(),
                at_ms,
                |row| OrderKey::Number(-(row.created_at_ms as f64)),
                |row: &RecordingRow| Row::Recording(row.clone()),
            ),
            Topic::Events => self.events(&board.events, at_ms),
            // These come as rows.
            Topic::Node(_) | Topic::Session(_) | Topic::Decisions(_) => given(&[]),
        }
    }

    /// Events are in order already.
    fn events(&self, events: &VecDeque<EventRow>, at_ms: u64) -> Selected {
        let all = count(events.len());
        if self.filter.is_empty() {
            let (first, range) = range(self.window, events.len());
            let rows = events.range(range).map(|row| Row::Event(row.clone())).collect();
            return Selected { all, total: all, first, rows };
        }
        let passing: Vec<&EventRow> =
            events.iter().filter(|row| self.filter.matches(&InTime { row: *row, at_ms })).collect();
        let (first, range) = range(self.window, passing.len());
        let rows = passing[range].iter().map(|row| Row::Event((*row).clone())).collect();
        Selected { all, total: count(passing.len()), first, rows }
    }

    fn window_of<'a, R>(
        &self,
        rows: impl ExactSizeIterator<Item = &'a R>,
        at_ms: u64,
        own: impl Fn(&'a R) -> OrderKey<'a>,
        made: impl Fn(&'a R) -> Row,
    ) -> Selected
    where
        InTime<'a, R>: Fields,
        R: Keyed + 'a,
    {
        let all = count(rows.len());
        let field = self.order.field.as_str();
        let mut keyed: Vec<(OrderKey<'a>, &'a R)> = rows
            .filter(|row| self.filter.is_empty() || self.filter.matches(&InTime { row: *row, at_ms }))
            .map(|row| {
                let order = if field.is_empty() { own(row) } else { key_by(row, at_ms, field) };
                (order, row)
            })
            .collect();
        let descending = self.order.descending;
        let compare = |(a, x): &(OrderKey<'a>, &'a R), (b, y): &(OrderKey<'a>, &'a R)| {
            let order = a.compare(b);
            (if descending { order.reverse() } else { order }).then_with(|| x.id().cmp(&y.id()))
        };
        let (first, range) = range(self.window, keyed.len());
        // Only the window needs its order, and what lies before it.
        if range.end < keyed.len() {
            keyed.select_nth_unstable_by(range.end, compare);
        }
        keyed[..range.end].sort_unstable_by(compare);
        let total = count(keyed.len());
        Selected { all, total, first, rows: keyed[range].iter().map(|(_, row)| made(row)).collect() }
    }
}

/// What ties are broken by.
trait Keyed {
    fn id(&self) -> u64;
}

impl Keyed for NodeRow {
    fn id(&self) -> u64 {
        self.node.0
    }
}

impl Keyed for SessionRow {
    fn id(&self) -> u64 {
        self.session.0
    }
}

impl Keyed for RecordingRow {
    fn id(&self) -> u64 {
        self.recording
    }
}

impl OrderKey<'_> {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

fn key_by<'a, R>(row: &'a R, at_ms: u64, field: &str) -> OrderKey<'a>
where
    InTime<'a, R>: Fields,
{
    match (InTime { row, at_ms }).field(field) {
        Some(Value::Number(number)) => OrderKey::Number(number),
        Some(Value::Text(text)) => OrderKey::Text(text.into_owned().into()),
        Some(Value::Unknown) | None => OrderKey::Number(f64::NEG_INFINITY),
    }
}

fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn given(rows: &[Row]) -> Selected {
    let total = count(rows.len());
    Selected { all: total, total, first: 0, rows: rows.to_vec() }
}

/// The part of so many rows that a window shows, and where it begins.
fn range(window: Window, total: usize) -> (u32, std::ops::Range<usize>) {
    let (first, count) = (window.first as usize, window.count as usize);
    let (start, end) = if window.from_end {
        let end = total.saturating_sub(first);
        (end.saturating_sub(count), end)
    } else {
        let start = first.min(total);
        (start, (start + count).min(total))
    };
    (self::count(start), start..end)
}

/// How the console gets from its keys to the new ones with the least words.
fn difference(old: &[u64], new: &[u64]) -> Keys {
    if old == new {
        return Keys::Same;
    }
    let gone = new.first().and_then(|first| old.iter().position(|key| key == first));
    if let Some(gone) = gone
        && let Some(behind) = new.strip_prefix(&old[gone..])
    {
        return Keys::Slid { gone: count(gone), new: behind.to_vec() };
    }
    Keys::All(new.to_vec())
}

fn past_of(board: &Board, node: NodeKey) -> Option<&VecDeque<crate::wire::operator::NodeSample>> {
    board.node_past.get(&node)
}

/// Samples that the board holds for a row.
fn past_length(board: &Board, row: &Row) -> usize {
    match row {
        Row::Head(_) => board.head_past.len(),
        Row::Node(node) => past_of(board, node.node).map_or(0, VecDeque::len),
        Row::NodeDetail(detail) => past_of(board, detail.row.node).map_or(0, VecDeque::len),
        Row::Session(_) | Row::SessionDetail(_) | Row::Recording(_) | Row::Event(_) | Row::Decision(_) => 0,
    }
}

/// Adds the samples that the console does not have, at most so many.
fn add_history(board: &Board, row: &mut Row, known: u64, most: usize) {
    let missing = usize::try_from(board.samples.saturating_sub(known)).unwrap_or(usize::MAX);
    let wanted = missing.min(if known == 0 { most } else { missing });
    let newest = |length: usize| length.saturating_sub(wanted)..length;
    match row {
        Row::Head(head) => {
            let past = &board.head_past;
            head.history = past.range(newest(past.len())).copied().collect();
        }
        Row::Node(node) => {
            if let Some(past) = past_of(board, node.node) {
                node.history = past.range(newest(past.len())).copied().collect();
            }
        }
        Row::NodeDetail(detail) => {
            if let Some(past) = past_of(board, detail.row.node) {
                detail.row.history = past.range(newest(past.len())).copied().collect();
            }
        }
        Row::Session(_) | Row::SessionDetail(_) | Row::Recording(_) | Row::Event(_) | Row::Decision(_) => {}
    }
}
