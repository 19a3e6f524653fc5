//! Shell: what the tasks of all consoles share: the board, the numbers of watched sessions, the way to the core.
//!
//! The observer brings the board up to date once a second; each console's task makes its windows from it. The numbers of
//! a session come from its media node while a console looks at it and go from the link straight to here: the core does
//! not need them.

mod detail;
mod numbers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use common::id::{NodeKey, SessionKey};
use common::operator::Board;
use common::wire::operator::{Row, Topic, Window};
use common::wire::statistics::SessionStats;
use tokio::sync::watch;

use self::numbers::Numbers;
use crate::clock::Clock;
use crate::cluster::op::{Actor, Query, Refusal, Reply};
use crate::driver::call::CoreHandle;

/// Sessions that are watched at one time: every console may look at some. Others show no numbers.
const WATCHED_MAX: usize = 256;

/// A session is no longer watched this long after the last console asked for it.
const WATCHED_FOR: Duration = Duration::from_secs(5);

/// The node is asked again this often; its own patience is longer.
const ASK_AGAIN: Duration = Duration::from_secs(4);

/// Decisions in one window.
const DECISIONS_MAX: usize = 50;

/// Participants in one window: their cells with 200 streams stay far below a frame.
const PARTICIPANTS_MAX: usize = 64;

struct Watched {
    asked_at: Option<(NodeKey, Duration)>,
    wanted_at: Duration,
    numbers: Numbers,
}

/// Shared by the tasks of all consoles. Clones are the same.
#[derive(Clone)]
pub struct OperatorHub(Arc<Inner>);

struct Inner {
    core: CoreHandle,
    clock: Clock,
    // Locks, not messages: held for moments only and never across an await.
    board: RwLock<Board>,
    watched: Mutex<HashMap<SessionKey, Watched>>,
    version: watch::Sender<u64>,
}

impl std::fmt::Debug for OperatorHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorHub").finish_non_exhaustive()
    }
}

impl OperatorHub {
    /// Nothing known yet.
    #[must_use]
    pub fn new(core: CoreHandle, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            core,
            clock,
            board: RwLock::default(),
            watched: Mutex::default(),
            version: watch::channel(0).0,
        }))
    }

    /// The way to the core.
    #[must_use]
    pub fn core(&self) -> &CoreHandle {
        &self.0.core
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.0.clock.now().unix
    }

    /// Milliseconds of a clock that never goes back.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        u64::try_from(self.0.clock.now().mono.as_millis()).unwrap_or(u64::MAX)
    }

    /// Changes of the board.
    #[must_use]
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Looks at the board.
    pub fn read<T>(&self, look: impl FnOnce(&Board) -> T) -> T {
        look(&self.0.board.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the board and wakes the consoles' tasks.
    pub fn change(&self, change: impl FnOnce(&mut Board)) {
        let version = {
            let mut board = self.0.board.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut board);
            board.version
        };
        self.0.version.send_replace(version);
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<SessionKey, Watched>> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in numbers of a node; those of sessions that nobody watches are dropped.
    pub fn take_stats(&self, node: NodeKey, stats: SessionStats) {
        let now = self.0.clock.now().mono;
        if let Some(watched) = self.watched().get_mut(&stats.session)
            && watched.asked_at.is_some_and(|(asked, _)| asked == node)
        {
            watched.numbers.take(now, stats);
        }
    }

    /// A console looks at a session that runs on a node; true when the node is to be asked for numbers now.
    fn want(&self, session: SessionKey, node: NodeKey) -> bool {
        let now = self.0.clock.now().mono;
        let mut all = self.watched();
        all.retain(|_, it| now.saturating_sub(it.wanted_at) < WATCHED_FOR);
        if all.len() >= WATCHED_MAX && !all.contains_key(&session) {
            return false;
        }
        let watched = all.entry(session).or_insert_with(|| Watched {
            asked_at: None,
            wanted_at: now,
            numbers: Numbers::default(),
        });
        watched.wanted_at = now;
        let due =
            watched.asked_at.is_none_or(|(asked, at)| asked != node || now.saturating_sub(at) >= ASK_AGAIN);
        if due {
            watched.asked_at = Some((node, now));
        }
        due
    }

    /// Rows of a topic that is not on the board. `ask` tells a node to send numbers of a session.
    ///
    /// # Errors
    /// Why there are none, for humans.
    pub async fn rows(
        &self,
        topic: &Topic,
        window: Window,
        ask: impl Fn(NodeKey, SessionKey),
    ) -> Result<Vec<Row>, String> {
        let query = match topic {
            Topic::Node(node) => Query::NodeDetail { node: *node },
            Topic::Session(session) => Query::SessionParts { session: *session },
            Topic::Decisions(session) => {
                let most = usize::try_from(window.count).unwrap_or(usize::MAX).min(DECISIONS_MAX);
                Query::DecisionRows { session: session.clone(), most }
            }
            Topic::Head | Topic::Nodes | Topic::Sessions | Topic::Recordings | Topic::Events => {
                return Ok(Vec::new());
            }
        };
        match self.0.core.query(Actor::App, query).await {
            Ok(Reply::NodeDetail(detail)) => Ok(vec![Row::NodeDetail(detail)]),
            Ok(Reply::Rows(rows)) => Ok(rows),
            Ok(Reply::SessionParts(parts)) => {
                let session = parts.row.session;
                if let Some(node) = parts.row.node
                    && self.want(session, node)
                {
                    ask(node, session);
                }
                let now = self.0.clock.now().mono;
                let nothing = Numbers::default();
                let all = self.watched();
                let numbers = all.get(&session).map_or(&nothing, |it| &it.numbers);
                let detail = detail::merged(*parts, numbers, now, window, PARTICIPANTS_MAX);
                Ok(vec![Row::SessionDetail(Box::new(detail))])
            }
            Ok(Reply::Refused(Refusal::UnknownSession)) => Err("the session is over".to_owned()),
            Ok(Reply::Refused(refusal)) => Err(refusal.to_string()),
            Ok(_) => Err("internal error: another question was answered".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
