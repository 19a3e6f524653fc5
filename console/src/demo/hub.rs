//! Pure: no clock, no I/O, no async.
//!
//! The made-up cluster behind the same windows of rows that a master has.

use std::collections::BTreeMap;

use common::operator::{Board, Source, View};
use common::wire::operator::{Adjust, EventSubject, Row, Severity, Subscribe, Topic};

use super::{Size, World};
use crate::desktop::WindowId;
use crate::model::{Link, Message, Operate, Wanted};

/// Seconds of the past that are shown at the start.
const PAST_STEPS: u32 = 120;

/// Above so many sessions the past is short: it would take too long to make.
const PAST_SESSIONS_MAX: u32 = 2_000;

/// The made-up cluster and what windows watch of it.
#[derive(Debug)]
pub struct Hub {
    world: World,
    board: Board,
    views: BTreeMap<WindowId, View>,
    still: bool,
    now_ms: u64,
}

impl Hub {
    /// A cluster with a short past; `still` is one that does not change.
    #[must_use]
    pub fn new(size: Size, still: bool) -> Self {
        let world = World::new(size);
        let mut hub = Self { world, board: Board::default(), views: BTreeMap::new(), still, now_ms: 0 };
        let steps = if size.sessions > PAST_SESSIONS_MAX { 3 } else { PAST_STEPS };
        // What was there before the console looked is no news.
        hub.world.take_events();
        for step in 0..steps {
            if step == steps.saturating_sub(40) {
                hub.first_recording();
            }
            hub.advance();
        }
        hub
    }

    fn first_recording(&mut self) {
        let largest = self.world.sessions.iter().max_by_key(|session| session.until_ms);
        if let Some(name) = largest.map(|session| session.name.clone()) {
            let text = self.world.start_recording(&name);
            self.world.happened(Severity::Info, "recording.started", EventSubject::Cluster, name, text);
        }
    }

    fn advance(&mut self) {
        self.world.step();
        self.look();
    }

    fn look(&mut self) {
        for event in self.world.take_events() {
            self.board.add_event(event);
        }
        self.board.update(self.world.listing());
        self.now_ms += 1000;
    }

    /// What is said to a console that comes.
    #[must_use]
    pub fn greeting(&self) -> Message {
        Message::Link(Link::Up(World::welcome(self.still)))
    }

    /// A second goes by.
    pub fn step(&mut self) -> Vec<Message> {
        self.advance();
        self.news()
    }

    /// Everything that changed in any window.
    pub fn news(&mut self) -> Vec<Message> {
        let windows: Vec<WindowId> = self.views.keys().copied().collect();
        windows.into_iter().flat_map(|window| self.news_of(window)).collect()
    }

    /// A window watches something, instead of what it watched before.
    pub fn subscribe(&mut self, window: WindowId, wanted: Wanted) -> Vec<Message> {
        let Wanted { topic, filter, order, window: part } = wanted;
        let interval_ms = 1000;
        let subscribe =
            Subscribe { sub: window.0, topic, filter, order, window: part, interval_ms, ext: Vec::new() };
        self.views.insert(window, View::new(subscribe));
        self.news_of(window)
    }

    /// A window watches another part.
    pub fn adjust(&mut self, window: WindowId, wanted: Wanted) -> Vec<Message> {
        let Wanted { filter, order, window: part, .. } = wanted;
        if let Some(view) = self.views.get_mut(&window) {
            view.adjust(Adjust { sub: window.0, filter, order, window: part });
        }
        self.news_of(window)
    }

    /// A window watches no longer.
    pub fn unsubscribe(&mut self, window: WindowId) {
        self.views.remove(&window);
    }

    /// Does what an operator asks for.
    pub fn operate(&mut self, operate: &Operate) -> Vec<Message> {
        let state = self.world.operate(operate);
        let mut messages = vec![Message::Operated { op: operate.op, state }];
        if !operate.dry_run {
            self.look();
            messages.extend(self.news());
        }
        messages
    }

    fn news_of(&mut self, window: WindowId) -> Vec<Message> {
        let mut messages = Vec::new();
        let Some(view) = self.views.get_mut(&window) else { return messages };
        // Large windows come in parts, each acknowledged at once; the clock is past every interval.
        for _ in 0..64 {
            self.now_ms += 1000;
            let rows = rows_of(&self.world, view.topic());
            let source = match &rows {
                Some(rows) => Source::Rows {
                    board: &self.board,
                    rows: rows.as_ref().map(Vec::as_slice).map_err(String::as_str),
                },
                None => Source::Board(&self.board),
            };
            let Some(delta) = view.next(self.now_ms, &source) else { break };
            view.acknowledge(delta.seq);
            messages.push(Message::Delta { window, delta: Box::new(delta) });
        }
        messages
    }
}

/// Rows of what is not on the board.
fn rows_of(world: &World, topic: &Topic) -> Option<Result<Vec<Row>, String>> {
    match topic {
        Topic::Node(node) => {
            let detail = world.node_detail(*node).map(|it| vec![Row::NodeDetail(Box::new(it))]);
            Some(detail.ok_or_else(|| "unknown media node".to_owned()))
        }
        Topic::Session(session) => {
            let detail = world.session(*session).map(|it| vec![Row::SessionDetail(Box::new(it))]);
            Some(detail.ok_or_else(|| "the session is over".to_owned()))
        }
        Topic::Decisions(session) => {
            let decisions = session.as_deref().map(|name| world.placement(name)).unwrap_or_default();
            Some(Ok(decisions.into_iter().map(Row::Decision).collect()))
        }
        Topic::Head | Topic::Nodes | Topic::Sessions | Topic::Recordings | Topic::Events => None,
    }
}
