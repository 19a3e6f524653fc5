//! Shell: waits for answers of a source.
//!
//! One question after the other, for commands that end.

use std::time::Duration;

use common::id::SessionKey;
use common::operator::Mirror;
use common::wire::operator::{Order, Row, Topic, Window};
use tokio::time::{Instant, timeout_at};

use super::{Exit, complain, start_source};
use crate::args::SourceArgs;
use crate::desktop::WindowId;
use crate::model::{Link, Message, Operate, Operated, Wanted, Welcome};
use crate::shell::source::{Request, Source};

/// Time to an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rows of one window; more are asked for in turn.
const PAGE: u32 = 1_000;

/// The window that questions are asked for.
const WINDOW: WindowId = WindowId(1);

/// How long numbers of a session are waited for; a node tells them once a second.
const NUMBERS: Duration = Duration::from_millis(3_500);

/// A source with a link that stands.
pub(super) struct Asker {
    source: Source,
    welcome: Welcome,
    next_op: u64,
}

/// Rows with when they were true.
pub(super) struct Answer {
    pub(super) at_ms: u64,
    pub(super) total: u32,
    pub(super) rows: Vec<Row>,
}

impl Asker {
    /// Waits for the link.
    pub(super) async fn start(args: &SourceArgs) -> Result<Self, Exit> {
        let mut source = start_source(args)?;
        let deadline = Instant::now() + PATIENCE;
        let mut why = "no master answers".to_owned();
        loop {
            match timeout_at(deadline, source.messages.recv()).await {
                Ok(Some(Message::Link(Link::Up(welcome)))) => {
                    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                    let next_op = u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(0) << 8;
                    return Ok(Self { source, welcome, next_op });
                }
                Ok(Some(Message::Link(Link::Down { why: told, .. }))) => {
                    why = told.to_string();
                    // What only another certificate can change is not worth waiting for.
                    if ["certificate", "another cluster"].iter().any(|it| why.contains(it)) {
                        break;
                    }
                }
                Ok(Some(Message::Link(Link::Connecting { address }))) => {
                    why = format!("no answer from {address}");
                }
                Ok(Some(Message::Delta { .. } | Message::Operated { .. })) => {}
                Ok(None) | Err(_) => break,
            }
        }
        complain(&why);
        Err(Exit::Unreachable)
    }

    /// Name of the cluster.
    pub(super) fn cluster(&self) -> Option<&str> {
        Some(&self.welcome.cluster)
    }

    /// The next message of the source.
    pub(super) async fn next(&mut self, deadline: Instant) -> Result<Message, Exit> {
        match timeout_at(deadline, self.source.messages.recv()).await {
            Ok(Some(Message::Link(Link::Down { why, .. }))) => {
                complain(&format_args!("the link was cut: {why}"));
                Err(Exit::Unreachable)
            }
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Exit::Unreachable),
            Err(_elapsed) => {
                complain(&"the master does not answer in time");
                Err(Exit::TimedOut)
            }
        }
    }

    pub(super) fn ask(&self, request: Request) {
        self.source.ask(request);
    }

    /// What the window shows when all of it has come.
    async fn whole(&mut self, mirror: &mut Mirror, first: u32) -> Result<(), Exit> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Message::Delta { window: WINDOW, delta } = self.next(deadline).await? {
                mirror.apply(*delta);
                if !mirror.error.is_empty() {
                    complain(&crate::text::Clean::new(&mirror.error));
                    return Err(Exit::Refused);
                }
                if mirror.is_complete() && (mirror.first == first || mirror.first >= mirror.total) {
                    return Ok(());
                }
            }
        }
    }

    /// Rows of a topic, at most so many.
    pub(super) async fn rows(
        &mut self,
        topic: Topic,
        filter: &str,
        order: Order,
        limit: Option<usize>,
    ) -> Result<Answer, Exit> {
        let limit = limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        let from_end = topic == Topic::Events;
        let mut wanted = Wanted {
            topic,
            filter: filter.to_owned(),
            order,
            window: Window { first: 0, count: limit.min(PAGE), from_end },
        };
        let mut mirror = Mirror::default();
        self.ask(Request::Subscribe(WINDOW, wanted.clone()));
        let mut rows = Vec::new();
        loop {
            // Counted from the end, the window begins wherever the events are.
            let first = if from_end { mirror.first } else { wanted.window.first };
            if from_end {
                self.tail(&mut mirror).await?;
            } else {
                self.whole(&mut mirror, first).await?;
            }
            rows.extend(mirror.rows().cloned());
            let have = u32::try_from(rows.len()).unwrap_or(u32::MAX);
            if from_end || have >= limit.min(mirror.total) || mirror.keys().is_empty() {
                break;
            }
            wanted.window.first = have;
            wanted.window.count = PAGE.min(limit - have);
            self.ask(Request::Adjust(WINDOW, wanted.clone()));
        }
        self.ask(Request::Unsubscribe(WINDOW));
        Ok(Answer { at_ms: mirror.at_ms, total: mirror.total, rows })
    }

    async fn tail(&mut self, mirror: &mut Mirror) -> Result<(), Exit> {
        let deadline = Instant::now() + PATIENCE;
        while !mirror.is_complete() || mirror.seq == 0 {
            if let Message::Delta { window: WINDOW, delta } = self.next(deadline).await? {
                mirror.apply(*delta);
            }
        }
        Ok(())
    }

    /// The row of exactly this name.
    pub(super) async fn named(&mut self, topic: Topic, name: &str) -> Result<Option<Row>, Exit> {
        if name.contains([' ', '|', '*']) || name.is_empty() {
            return Ok(None);
        }
        let answer = self.rows(topic, &format!("name:{name}"), Order::default(), None).await?;
        // Filters do not care for case, names do.
        Ok(answer.rows.into_iter().find(|row| match row {
            Row::Node(row) => row.name == name,
            Row::Session(row) => row.name == name,
            Row::Recording(row) => row.id == name,
            Row::Head(_) | Row::NodeDetail(_) | Row::SessionDetail(_) | Row::Event(_) | Row::Decision(_) => {
                false
            }
        }))
    }

    /// One session with the numbers of its media node, if they come in time.
    pub(super) async fn measured(&mut self, session: SessionKey) -> Result<Answer, Exit> {
        let window = Window { first: 0, count: 64, from_end: false };
        let wanted = Wanted { window, ..Wanted::one(Topic::Session(session)) };
        self.ask(Request::Subscribe(WINDOW, wanted));
        let mut mirror = Mirror::default();
        self.whole(&mut mirror, 0).await?;
        let deadline = Instant::now() + NUMBERS;
        let has_numbers = |mirror: &Mirror| {
            mirror.rows().any(|row| matches!(row, Row::SessionDetail(it) if it.measured_age_ms.is_some()))
        };
        while !has_numbers(&mirror) {
            match timeout_at(deadline, self.source.messages.recv()).await {
                Ok(Some(Message::Delta { window: WINDOW, delta })) => mirror.apply(*delta),
                Ok(Some(_)) => {}
                // A session that nobody has joined has no numbers.
                Ok(None) | Err(_) => break,
            }
        }
        self.ask(Request::Unsubscribe(WINDOW));
        Ok(Answer { at_ms: mirror.at_ms, total: mirror.total, rows: mirror.rows().cloned().collect() })
    }

    /// Asks for an operation, or what it would affect, and waits for the answer.
    pub(super) async fn operate(
        &mut self,
        verb: common::wire::operator::Verb,
        expected: Option<u64>,
        dry_run: bool,
        reason: &str,
    ) -> Result<Operated, Exit> {
        let op = self.next_op;
        self.next_op += 1;
        let reason = reason.to_owned();
        self.ask(Request::Operate(Operate { op, verb, expected, dry_run, reason }));
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            if let Message::Operated { op: answered, state } = self.next(deadline).await?
                && answered == op
                && state != Operated::Running
            {
                return Ok(state);
            }
        }
    }
}
