//! Shell: the other tasks' way to the core.
//!
//! A [`CoreHandle`] sends calls down a bounded channel to the driver and waits for the answer, which comes when
//! everything that it depends on is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::id::EventSeq;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::cluster::ViewerEnd;
use crate::cluster::op::{Actor, ClientInfo, Event, Op, Query, Reply, ViewerId};

/// What the driver is asked to do.
#[derive(Debug)]
pub enum Call {
    /// Carry out an operation.
    Op {
        /// Who asks.
        actor: Actor,
        /// What.
        op: Op,
        /// Takes the answer.
        answer: oneshot::Sender<Reply>,
    },
    /// Answer a question.
    Query {
        /// Who asks.
        actor: Actor,
        /// What.
        query: Query,
        /// Takes the answer.
        answer: oneshot::Sender<Reply>,
    },
    /// A reader is gone.
    Unwatch(ViewerId),
    /// Read a session's events.
    Watch {
        /// Who asks.
        actor: Actor,
        /// The operation, an [`Op::Watch`].
        op: Op,
        /// As in the operation.
        viewer: ViewerId,
        /// Takes later events; a reader that lets it fill up is closed.
        notes: mpsc::Sender<Note>,
        /// Takes the answer.
        answer: oneshot::Sender<Reply>,
    },
}

/// What a reader of events gets after the backlog.
#[derive(Clone, Debug)]
pub enum Note {
    /// No more events will come.
    Closed(ViewerEnd),
    /// The next event.
    Event(Arc<Event>),
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallError {
    /// Too many calls wait.
    #[error("masterd is busy")]
    Busy,
    /// masterd is being stopped.
    #[error("masterd is shutting down")]
    Ending,
    /// The answer did not come in time; the change may still be carried out.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The store cannot be written; nothing changed, or what changed is not durable yet.
    #[error("the state cannot be stored: {0}")]
    Storage(String),
}

/// Whether changes can be stored.
pub type StoreHealth = Result<(), String>;

/// A way to the core. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct CoreHandle {
    calls: mpsc::Sender<Call>,
    viewers: Arc<AtomicU64>,
    store: watch::Receiver<StoreHealth>,
    ending: watch::Receiver<bool>,
}

/// Where the driver, or a test's scripted core, takes calls from.
#[derive(Debug)]
pub struct CallSource {
    /// The calls.
    pub calls: mpsc::Receiver<Call>,
    /// Says whether changes can be stored.
    pub store: watch::Sender<StoreHealth>,
    /// Turns true when readers of events shall go: masterd ends, they resume at the next one.
    pub ending: watch::Sender<bool>,
}

/// A reader's subscription. Dropping it ends it.
#[derive(Debug)]
pub struct Watching {
    /// Events after the asked position, oldest first.
    pub backlog: Vec<Arc<Event>>,
    /// Events after the asked position are missing.
    pub gap: bool,
    /// Position of the newest event.
    pub head: EventSeq,
    /// Public name of the session.
    pub session: String,
    /// Public name of the bearer's connection.
    pub connection: Option<String>,
    notes: Notes,
}

/// Later events of a subscription. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Notes {
    notes: mpsc::Receiver<Note>,
    viewer: ViewerId,
    calls: mpsc::Sender<Call>,
    ending: watch::Receiver<bool>,
}

impl CoreHandle {
    /// A handle and where its calls arrive.
    #[must_use]
    pub fn channel() -> (Self, CallSource) {
        let (sender, calls) = mpsc::channel(CALLS_MAX);
        let (health, store) = watch::channel(Ok(()));
        let (end, ending) = watch::channel(false);
        let handle = Self { calls: sender, viewers: Arc::default(), store, ending };
        (handle, CallSource { calls, store: health, ending: end })
    }

    /// Carries out an operation.
    ///
    /// # Errors
    /// [`CallError`]; a refusal by the core is a [`Reply`].
    pub async fn op(&self, actor: Actor, op: Op) -> Result<Reply, CallError> {
        if let Err(why) = &*self.store.borrow() {
            return Err(CallError::Storage(why.clone()));
        }
        let (answer, reply) = oneshot::channel();
        self.call(Call::Op { actor, op, answer }, reply).await
    }

    /// Asks a question.
    ///
    /// # Errors
    /// [`CallError`]; a refusal by the core is a [`Reply`].
    pub async fn query(&self, actor: Actor, query: Query) -> Result<Reply, CallError> {
        let (answer, reply) = oneshot::channel();
        self.call(Call::Query { actor, query, answer }, reply).await
    }

    /// Reads a session's events from `after` on.
    ///
    /// # Errors
    /// [`CallError`], or the core's answer where it is not [`Reply::Watching`].
    pub async fn watch(
        &self,
        actor: Actor,
        session: Option<String>,
        after: Option<EventSeq>,
        client: ClientInfo,
    ) -> Result<Result<Watching, Reply>, CallError> {
        let watched = self.attach(actor, |viewer| Op::Watch { viewer, session, after, client }).await?;
        match watched {
            (Reply::Watching { backlog, gap, head, session, connection }, Some(notes)) => {
                Ok(Ok(Watching { backlog, gap, head, session, connection, notes }))
            }
            (other, _) => Ok(Err(other)),
        }
    }

    /// Subscribes a reader by an operation that takes one: the core's answer, and the notes if it subscribed.
    ///
    /// # Errors
    /// [`CallError`]; a refusal by the core is a [`Reply`] without notes.
    pub async fn attach(
        &self,
        actor: Actor,
        op: impl FnOnce(ViewerId) -> Op,
    ) -> Result<(Reply, Option<Notes>), CallError> {
        let viewer = self.viewers.fetch_add(1, Ordering::Relaxed) + 1;
        let (notes, later) = mpsc::channel(NOTES_MAX);
        let (answer, reply) = oneshot::channel();
        let call = Call::Watch { actor, op: op(viewer), viewer, notes, answer };
        let reply = self.call(call, reply).await?;
        // Without a reader the driver lets go by itself.
        let subscribed =
            || Notes { notes: later, viewer, calls: self.calls.clone(), ending: self.ending.clone() };
        let notes = reply.subscribes().then(subscribed);
        Ok((reply, notes))
    }

    /// Carries out an operation whose answer does not matter. False if it could not be queued.
    #[must_use]
    pub fn tell(&self, actor: Actor, op: Op) -> bool {
        let (answer, _unheard) = oneshot::channel();
        self.calls.try_send(Call::Op { actor, op, answer }).is_ok()
    }

    /// Turns true when masterd ends.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.clone()
    }

    async fn call(&self, call: Call, reply: oneshot::Receiver<Reply>) -> Result<Reply, CallError> {
        match self.calls.try_send(call) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(CallError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(CallError::Ending),
        }
        let mut store = self.store.clone();
        tokio::select! {
            // Cancel safe: a oneshot keeps its value; biased so that an answer that is there wins.
            biased;
            answer = timeout(ANSWER_TIMEOUT, reply) => match answer {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(_)) => Err(CallError::Ending),
                Err(_) => Err(CallError::Late(ANSWER_TIMEOUT)),
            },
            // Cancel safe: a watch only looks.
            why = failing_for_long(&mut store) => Err(CallError::Storage(why)),
        }
    }
}

/// Ends when the store has not recovered [`STORE_PATIENCE`] after it began to fail.
async fn failing_for_long(store: &mut watch::Receiver<StoreHealth>) -> String {
    loop {
        let is_over = store.wait_for(Result::is_err).await.is_err();
        if is_over {
            // The driver ends; the answer's channel says so.
            std::future::pending::<()>().await;
        }
        let is_late = timeout(STORE_PATIENCE, store.wait_for(Result::is_ok)).await.is_err();
        if is_late && let Err(why) = &*store.borrow() {
            return why.clone();
        }
    }
}

impl Watching {
    /// The next event; none when the reader was too slow, or masterd ends: it can resume.
    pub async fn next(&mut self) -> Option<Note> {
        self.notes.next().await
    }
}

impl Notes {
    /// An event that is there already.
    pub fn take(&mut self) -> Option<Note> {
        self.notes.try_recv().ok()
    }

    /// The next event; none when the reader was too slow, or masterd ends: it can resume. Cancel safe.
    pub async fn next(&mut self) -> Option<Note> {
        let ending = async {
            let is_over = self.ending.wait_for(|ending| *ending).await.is_err();
            if is_over {
                // The driver is gone, and with it the other end of the notes.
                std::future::pending::<()>().await;
            }
        };
        // Cancel safe: the channel keeps what is not taken, the watch only looks.
        tokio::select! {
            note = self.notes.recv() => note,
            () = ending => None,
        }
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.notes.close();
        // When the channel is full the driver finds the closed reader at its next look round.
        drop(self.calls.try_send(Call::Unwatch(self.viewer)));
    }
}

/// Calls that may wait for the driver; it takes tens of thousands a second. More are answered 503.
const CALLS_MAX: usize = 4096;

/// Events that may wait for one reader; a slower one is closed and can resume.
const NOTES_MAX: usize = 1024;

/// The core's own time-out for a media node is 5 s; OpenVidu's Java client gives up after 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a change waits for a store that has just begun to fail.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_store_refuses_changes_and_lets_questions_through() {
        let (core, mut source) = CoreHandle::channel();
        source.store.send_modify(|health| *health = Err("no space".to_owned()));
        let refused = core.op(Actor::App, Op::Leave).await;
        assert_eq!(refused, Err(CallError::Storage("no space".to_owned())));
        let asked = tokio::spawn(async move { core.query(Actor::App, Query::Sessions).await });
        let Some(Call::Query { answer, .. }) = source.calls.recv().await else { panic!("no query") };
        answer.send(Reply::Done).unwrap();
        assert_eq!(asked.await.unwrap(), Ok(Reply::Done));
    }

    #[tokio::test]
    async fn a_dropped_reader_is_unwatched() {
        let (core, mut source) = CoreHandle::channel();
        let asked =
            tokio::spawn(async move { core.watch(Actor::App, None, None, ClientInfo::default()).await });
        let Some(Call::Watch { answer, viewer, .. }) = source.calls.recv().await else { panic!("no watch") };
        let reply = Reply::Watching {
            backlog: Vec::new(),
            gap: false,
            head: EventSeq(3),
            session: "s".to_owned(),
            connection: None,
        };
        answer.send(reply).unwrap();
        drop(asked.await.unwrap().unwrap().unwrap());
        assert!(matches!(source.calls.recv().await, Some(Call::Unwatch(gone)) if gone == viewer));
    }

    #[tokio::test]
    async fn a_stopped_driver_is_named() {
        let (core, source) = CoreHandle::channel();
        drop(source);
        assert_eq!(core.query(Actor::App, Query::Nodes).await, Err(CallError::Ending));
    }
}
