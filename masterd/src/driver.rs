//! Shell: owns the task that owns the core.
//!
//! One loop: take what the faces, the links, the store and the clock say, feed it to the core, carry out what the
//! core puts out. The core is never shared and never waits; the store commits in a thread of its own ([`keeper`]).

pub mod call;
pub mod keeper;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::id::{Epoch, NodeKey, OpId, SessionKey};
use common::wire::node::ToNode;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::call::{Call, CallSource, Note};
use self::keeper::{Keeper, StoreNote};
use crate::clock::Clock;
use crate::cluster::op::{Op, Reply, RequestId, ViewerId};
use crate::cluster::{Core, Input, Output};

/// Where commands leave for nodes. Never blocks; what cannot be sent is dropped, the core sends it again.
pub trait Outlet: Send {
    /// Sends one command.
    fn send(&self, command: Command);
}

/// One command for a node.
#[derive(Debug)]
pub struct Command {
    /// The node.
    pub node: NodeKey,
    /// Its lane; none is the control stream.
    pub session: Option<SessionKey>,
    /// For the envelope.
    pub op: OpId,
    /// This master's term.
    pub epoch: Epoch,
    /// For the envelope; 0 is no limit.
    pub deadline_ms: u32,
    /// The message.
    pub message: ToNode,
}

/// Why the driver ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Another master leads.
    Fenced,
    /// As told.
    Stopped,
    /// The store's thread is gone.
    StoreGone,
}

/// Shows from outside that the loop turns. Clones look at the same loop.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Milliseconds of the monotonic clock at the last turn.
    #[must_use]
    pub fn last_turn_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn beat(&self, mono: Duration) {
        self.0.store(u64::try_from(mono.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The loop with everything it owns.
pub struct Driver {
    core: Core,
    clock: Clock,
    calls: CallSource,
    links: mpsc::Receiver<Input>,
    outlet: Box<dyn Outlet>,
    keeper: Keeper,
    pulse: Pulse,
    last_request: RequestId,
    pending: HashMap<RequestId, Pending>,
    viewers: HashMap<ViewerId, mpsc::Sender<Note>>,
}

struct Pending {
    answer: oneshot::Sender<Reply>,
    /// Set for a subscription.
    viewer: Option<ViewerId>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

/// What one turn of the loop woke up for.
enum Wake {
    Call(Call),
    Link(Input),
    Store(StoreNote),
    Sweep,
    Tick,
    Stop,
    StoreGone,
}

impl Driver {
    /// Puts the parts together; nothing runs yet.
    #[must_use]
    pub fn new(
        core: Core,
        clock: Clock,
        calls: CallSource,
        links: mpsc::Receiver<Input>,
        outlet: Box<dyn Outlet>,
        keeper: Keeper,
    ) -> Self {
        let (pending, viewers) = (HashMap::new(), HashMap::new());
        let pulse = Pulse::default();
        Self { core, clock, calls, links, outlet, keeper, pulse, last_request: 0, pending, viewers }
    }

    /// Shows that the loop turns.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Runs until `stop` turns true or another master leads. What is committed by then is kept; callers that wait
    /// and readers are let go.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Ended {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.drain() == Flow::Fenced {
                return Ended::Fenced;
            }
            match self.wait(&mut stop, &mut sweep).await {
                Wake::Stop => return Ended::Stopped,
                Wake::StoreGone => return Ended::StoreGone,
                wake => self.take(wake),
            }
            // A few more without going back to sleep: they share one commit.
            for _ in 0..BATCH_MAX {
                // One of each: neither a flood of requests nor one of a node's messages keeps the other out.
                let (call, input) = (self.calls.calls.try_recv().ok(), self.links.try_recv().ok());
                if call.is_none() && input.is_none() {
                    break;
                }
                call.into_iter().for_each(|call| self.take(Wake::Call(call)));
                input.into_iter().for_each(|input| self.take(Wake::Link(input)));
            }
        }
    }

    async fn wait(&mut self, stop: &mut watch::Receiver<bool>, sweep: &mut tokio::time::Interval) -> Wake {
        let deadline = self.core.deadline();
        let tick = async {
            match deadline {
                Some(mono) => sleep_until(Instant::from_std(self.clock.instant(mono))).await,
                None => std::future::pending().await,
            }
        };
        // Every arm is cancel safe: channels keep what is not taken, timers and the watch only look.
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Wake::Stop,
            note = self.keeper.next() => note.map_or(Wake::StoreGone, Wake::Store),
            Some(call) = self.calls.calls.recv() => Wake::Call(call),
            Some(input) = self.links.recv() => Wake::Link(input),
            () = tick => Wake::Tick,
            _ = sweep.tick() => Wake::Sweep,
        }
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Call(call) => self.take_call(call),
            Wake::Link(input) => self.feed(input),
            Wake::Store(note) => self.take_store_note(note),
            Wake::Sweep => self.sweep(),
            Wake::Tick => self.feed(Input::Tick),
            // The loop has ended.
            Wake::Stop | Wake::StoreGone => {}
        }
    }

    fn feed(&mut self, input: Input) {
        self.core.handle(self.clock.now(), input);
    }

    fn take_call(&mut self, call: Call) {
        let req = self.last_request + 1;
        self.last_request = req;
        match call {
            Call::Op { actor, op, answer } => {
                self.pending.insert(req, Pending { answer, viewer: None });
                self.feed(Input::Request { req, actor, op });
            }
            Call::Query { actor, query, answer } => {
                self.pending.insert(req, Pending { answer, viewer: None });
                self.feed(Input::Query { req, actor, query });
            }
            Call::Watch { actor, op, viewer, notes, answer } => {
                self.pending.insert(req, Pending { answer, viewer: Some(viewer) });
                self.viewers.insert(viewer, notes);
                self.feed(Input::Request { req, actor, op });
            }
            Call::Unwatch(viewer) => self.unwatch(viewer),
        }
    }

    fn unwatch(&mut self, viewer: ViewerId) {
        if self.viewers.remove(&viewer).is_some() {
            self.last_request += 1;
            // The reader is the driver's: who asked does not matter.
            let actor = crate::cluster::op::Actor::App;
            self.feed(Input::Request { req: self.last_request, actor, op: Op::Unwatch { viewer } });
        }
    }

    fn take_store_note(&mut self, note: StoreNote) {
        match note {
            StoreNote::Stored { batch, result } => self.feed(Input::Stored { batch, result }),
            StoreNote::Failing(why) => {
                tracing::error!(error = %why, "the store cannot be written; changes are refused until it can");
                self.calls.store.send_modify(|health| *health = Err(why));
                self.feed(Input::StoreFailing(true));
            }
            StoreNote::Recovered => {
                tracing::info!("the store can be written again");
                self.calls.store.send_modify(|health| *health = Ok(()));
                self.feed(Input::StoreFailing(false));
            }
        }
    }

    /// Lets go of readers that went away without a word, or before they were subscribed.
    fn sweep(&mut self) {
        let gone: Vec<ViewerId> =
            self.viewers.iter().filter(|(_, notes)| notes.is_closed()).map(|(viewer, _)| *viewer).collect();
        for viewer in gone {
            self.unwatch(viewer);
        }
    }

    fn drain(&mut self) -> Flow {
        self.pulse.beat(self.clock.now().mono);
        // Carrying out an output may close a reader, which is an input again.
        let mut slow = Vec::new();
        loop {
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::Commit { batch, puts } => self.keeper.commit(batch, puts),
                    Output::Fenced => return Flow::Fenced,
                    Output::Notify { viewer, event } => {
                        if let Some(notes) = self.viewers.get(&viewer)
                            && (!has_room(notes, event.what.text_bytes())
                                || notes.try_send(Note::Event(event)).is_err())
                        {
                            slow.push(viewer);
                        }
                    }
                    Output::Reply { req, reply } => slow.extend(self.reply(req, reply)),
                    Output::Send { node, session, op, deadline_ms, message } => {
                        let epoch = self.core.epoch();
                        self.outlet.send(Command { node, session, op, epoch, deadline_ms, message });
                    }
                    Output::ViewerClosed { viewer, why } => {
                        if let Some(notes) = self.viewers.remove(&viewer) {
                            // A full reader sees its stream end without a reason, as a slow one does.
                            drop(notes.try_send(Note::Closed(why)));
                        }
                    }
                }
            }
            let Some(viewer) = slow.pop() else { return Flow::On };
            self.unwatch(viewer);
        }
    }

    /// Answers a caller; gives the reader to let go when the caller is gone or was refused.
    fn reply(&mut self, req: RequestId, reply: Reply) -> Option<ViewerId> {
        let pending = self.pending.remove(&req)?;
        let is_subscribed = reply.subscribes();
        let is_heard = pending.answer.send(reply).is_ok();
        pending.viewer.filter(|_| !is_heard || !is_subscribed)
    }
}

/// Whether an event of `bytes` may wait for a reader: a queue of such events must stay below [`NOTE_BYTES_MAX`]. Events that
/// wait for a reader stay in memory, whatever the log keeps.
fn has_room(notes: &mpsc::Sender<Note>, bytes: usize) -> bool {
    let waiting = notes.max_capacity() - notes.capacity();
    waiting.saturating_mul(bytes) <= NOTE_BYTES_MAX
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flow {
    Fenced,
    On,
}

/// Inputs taken in one turn at most, so that outputs leave soon.
const BATCH_MAX: usize = 256;

/// As much as the log keeps: a reader that is let go finds the rest there.
const NOTE_BYTES_MAX: usize = crate::limits::EVENT_BYTES_PER_SESSION_MAX;

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ViewerEnd;

    #[test]
    fn long_events_that_wait_for_a_slow_reader_are_bounded_by_bytes_too() {
        let (notes, _later) = mpsc::channel(1024);
        let mut waiting = 0;
        while has_room(&notes, 64 * 1024) && notes.try_send(Note::Closed(ViewerEnd::SessionClosed)).is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, 65);
        assert!(has_room(&notes, 200), "short ones may wait still");
    }
}
