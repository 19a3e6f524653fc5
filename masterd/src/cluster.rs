//! Pure: no clock, no I/O, no async.
//!
//! The cluster core: what the cluster is told, what it decides. One [`op::Op`] for each thing that a face can ask.
//!
//! [`Core::handle`] changes the state in memory at once; what [`Core::poll_output`] gives may leave at once, because
//! the core itself holds back everything that depends on a batch that is not durable yet.
//!
//! Entities are in tables by key (`model.rs`); a change marks its record dirty, and at the end of an input every dirty
//! record is encoded once (`restore.rs`) into the batch (`outbox.rs`). So what is stored is always what is in memory.
//!
//! **Invariant:** nothing here knows HTTP, JSON bodies, sockets or SDP.

mod command;
mod connection;
mod endpoint;
mod event;
mod heartbeat;
pub mod input;
mod invariant;
mod listing;
mod model;
mod names;
mod node;
pub mod op;
mod operate;
mod outbox;
mod place;
mod query;
mod receive;
mod reconcile;
mod record;
pub mod recording;
mod restore;
mod session;
mod slots;
mod socket;

pub use input::{CoreSettings, Fenced, Input, Now, Output, ViewerEnd};
pub use reconcile::{Intended, IntendedEndpoint, IntendedRecording};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::id::{ConnectionKey, DecisionKey, EndpointKey, Epoch, NodeKey, OpId, RecordingKey, SessionKey};
use rand::rngs::StdRng;

use endpoint::Wish;
use event::{CLUSTER, Watch};
use model::{Command, Connection, Endpoint, Log, Node, Recording, Session, Timer, Viewer};
use names::Keys;
use op::{Actor, Op, Refusal, RequestId, ViewerId};
use outbox::Outbox;
use record::{DecisionRecord, RecordKey};
use session::SignalOp;

use crate::placement::learn::Sizes;

/// Why stored records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A key of no known family or of the wrong length.
    #[error("unknown key {key:02x?} in the store")]
    Key {
        /// The key's bytes.
        key: Vec<u8>,
    },
    /// A value does not decode.
    #[error("malformed record {key:02x?} in the store")]
    Malformed {
        /// The key's bytes.
        key: Vec<u8>,
        /// What the decoder said.
        #[source]
        source: postcard::Error,
    },
}

/// The state of the cluster.
#[derive(Debug)]
pub struct Core {
    settings: CoreSettings,
    epoch: Epoch,
    rng: StdRng,
    keys: Keys,
    outbox: Outbox,
    fenced: bool,
    store_failing: bool,

    /// Of the input that is being handled.
    now: Now,
    started_at: Duration,
    /// Time in which this core could not work.
    lag: Duration,
    /// Since when a fifth of the nodes is silent.
    mass_silence: Option<Duration>,
    timers: BTreeSet<(Duration, Timer)>,
    flush_scheduled: bool,

    sessions: BTreeMap<SessionKey, Session>,
    connections: BTreeMap<ConnectionKey, Connection>,
    endpoints: BTreeMap<EndpointKey, Endpoint>,
    nodes: BTreeMap<NodeKey, Node>,
    recordings: BTreeMap<RecordingKey, Recording>,
    logs: BTreeMap<SessionKey, Log>,
    viewers: BTreeMap<ViewerId, Viewer>,
    commands: BTreeMap<OpId, Command>,
    decisions: BTreeMap<DecisionKey, DecisionRecord>,
    /// What operators asked for and is under way, and how it ended.
    operations: BTreeMap<RequestId, operate::Pending>,
    outcomes: operate::Outcomes,
    feed: listing::Feed,
    sizes: Sizes,

    session_names: BTreeMap<String, SessionKey>,
    connection_names: BTreeMap<(SessionKey, String), ConnectionKey>,
    tokens: BTreeMap<String, ConnectionKey>,
    resources: BTreeMap<String, EndpointKey>,
    /// By session and number, so that a free number is found by walking over one session's.
    recording_names: BTreeMap<(String, u64), RecordingKey>,
    closed_names: BTreeMap<String, SessionKey>,
    closed_tokens: BTreeMap<String, SessionKey>,

    /// Records that the present input changed.
    dirty: BTreeSet<RecordKey>,
    /// Changed records that nothing depends on.
    lazy: BTreeSet<RecordKey>,
    /// Records that the last input changed, for `check_touched`.
    touched: Vec<RecordKey>,
    /// Endpoints whose line-up may have to change.
    refills: BTreeSet<EndpointKey>,
    /// Sessions whose recorder may have to be told who is there.
    rosters: BTreeSet<SessionKey>,
    /// Recordings that are not finished.
    running: BTreeSet<RecordingKey>,
    /// Commands that the present input made.
    unsent: Vec<OpId>,
    /// Connection whose media ends because it leaves.
    leaving: Option<ConnectionKey>,

    placements: u64,
    nodes_refused: u64,
    orphans_closed: u64,
    bind_failures: u64,
}

/// Lazy changes wait at most this long for a batch.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

impl Core {
    /// A cluster of which nothing is known. `epoch` is the term that the store has begun for this master; `rng` makes
    /// tokens and names: seeded by the operating system in a daemon, by a number in tests.
    #[must_use]
    pub fn new(now: Now, settings: CoreSettings, epoch: Epoch, rng: StdRng) -> Self {
        let mut core = Self {
            settings,
            epoch,
            rng,
            keys: Keys::new(epoch),
            outbox: Outbox::default(),
            fenced: false,
            store_failing: false,
            now,
            started_at: now.mono,
            lag: Duration::ZERO,
            mass_silence: None,
            timers: BTreeSet::new(),
            flush_scheduled: false,
            sessions: BTreeMap::new(),
            connections: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            nodes: BTreeMap::new(),
            recordings: BTreeMap::new(),
            logs: BTreeMap::new(),
            viewers: BTreeMap::new(),
            commands: BTreeMap::new(),
            decisions: BTreeMap::new(),
            operations: BTreeMap::new(),
            outcomes: operate::Outcomes::new(),
            feed: listing::Feed::default(),
            sizes: Sizes::default(),
            session_names: BTreeMap::new(),
            connection_names: BTreeMap::new(),
            tokens: BTreeMap::new(),
            resources: BTreeMap::new(),
            recording_names: BTreeMap::new(),
            closed_names: BTreeMap::new(),
            closed_tokens: BTreeMap::new(),
            dirty: BTreeSet::new(),
            lazy: BTreeSet::new(),
            touched: Vec::new(),
            refills: BTreeSet::new(),
            rosters: BTreeSet::new(),
            running: BTreeSet::new(),
            unsent: Vec::new(),
            leaving: None,
            placements: 0,
            nodes_refused: 0,
            orphans_closed: 0,
            bind_failures: 0,
        };
        core.logs.insert(CLUSTER, Log::new(String::new(), 0, common::id::EventSeq(0)));
        core.schedule(Duration::ZERO, Timer::Heartbeats);
        core.schedule(core.settings.garbage_interval, Timer::Garbage);
        core
    }

    /// The cluster as it was stored. Its first outputs may be there at once.
    ///
    /// # Errors
    /// [`RestoreError`] when a record is of another schema or damaged.
    pub fn restore(
        now: Now,
        settings: CoreSettings,
        epoch: Epoch,
        rng: StdRng,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, RestoreError> {
        let mut core = Self::new(now, settings, epoch, rng);
        core.load(records)?;
        core.repair();
        core.finish();
        Ok(core)
    }

    /// This master's term, for the envelopes of commands.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes in one input. Never fails for a peer's fault: those are outputs.
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.fenced {
            return;
        }
        self.now = now;
        self.absorb_lag();
        match input {
            Input::LinkDown { node, boot } => self.link_down(node, boot),
            Input::LinkUp { node, hello, address } => self.link_up(node, &hello, address),
            Input::Node { node, boot, op, message } => self.node_message(node, boot, op, message),
            Input::Query { req, actor, query } => self.query(req, &actor, &query),
            Input::Request { req, actor, op } => self.request(req, actor, op),
            Input::StoreFailing(failing) => self.store_failing = failing,
            Input::Stored { batch, result: Ok(()) } => self.outbox.stored(batch),
            Input::Stored { result: Err(Fenced), .. } => {
                self.fenced = true;
                return self.outbox.fence();
            }
            Input::Tick => {}
        }
        self.fire_timers();
        self.finish();
    }

    /// What must be done now; none when everything is.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.poll()
    }

    /// When [`Input::Tick`] is due, in [`Now::mono`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Nothing waits to be stored or is being stored.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.outbox.is_settled() && self.lazy.is_empty()
    }

    fn request(&mut self, req: RequestId, actor: Actor, op: Op) {
        if let Op::Unwatch { viewer } = op {
            self.remove_viewer(viewer);
            return;
        }
        // An operator's attempt is told why by its own rule.
        if self.store_failing && !matches!(op, Op::Operate(_)) {
            return self.refuse(req, Refusal::StoreFailing);
        }
        match actor {
            Actor::App => self.request_as_app(req, op),
            Actor::Bearer(token) => self.request_as_bearer(req, token, op),
        }
    }

    fn request_as_app(&mut self, req: RequestId, op: Op) {
        match op {
            Op::ConnectionCreate { session, properties } => self.connection_create(req, &session, properties),
            Op::ConnectionDelete { session, connection } => {
                self.connection_delete(req, &session, &connection);
            }
            Op::ConnectionUpdate { session, connection, role, record } => {
                self.connection_update(req, &session, &connection, role, record);
            }
            Op::NodeDrain { node, on } => self.node_drain(req, &node, on),
            Op::RecordingDelete { recording } => self.recording_delete(req, &recording),
            Op::RecordingStart { session, properties } => self.recording_start(req, &session, properties),
            Op::RecordingStop { recording, wait } => self.recording_stop(req, &recording, wait),
            Op::NodeRemove { node } => self.node_remove(req, &node),
            Op::Operate(operation) => self.operate(req, *operation),
            Op::SessionCreate(properties) => self.session_create(req, properties),
            Op::SessionDelete { session } => self.session_delete(req, &session),
            Op::Signal { session, to, kind, data } => {
                self.signal(req, None, SignalOp { session, to, kind, data });
            }
            Op::StreamDelete { session, stream } => self.stream_delete(req, &session, &stream),
            Op::Watch { viewer, session, after, client } => {
                self.watch(&Actor::App, &Watch { req, viewer, session, after, client });
            }
            Op::EndpointDelete { .. }
            | Op::Leave
            | Op::ArrangeSlots { .. }
            | Op::PlaySession { .. }
            | Op::PlayStream { .. }
            | Op::Publish { .. }
            | Op::Socket(_)
            | Op::Trickle { .. }
            | Op::Unwatch { .. } => self.refuse(req, Refusal::Role),
        }
    }

    fn request_as_bearer(&mut self, req: RequestId, token: String, op: Op) {
        match op {
            Op::EndpointDelete { resource } => self.endpoint_delete(req, &token, &resource),
            Op::Leave => self.leave_as_bearer(req, &token),
            Op::ArrangeSlots { resource, pins, layers } => {
                self.arrange_slots(req, &token, &resource, pins.as_deref(), layers.as_deref());
            }
            Op::PlaySession { offer, client } => self.open(req, &token, Wish::PlaySession, offer, client),
            Op::PlayStream { stream, offer, client } => {
                self.open(req, &token, Wish::PlayStream(stream), offer, client);
            }
            Op::Publish { offer, client, media } => {
                self.open(req, &token, Wish::Publish(media), offer, client);
            }
            Op::Signal { to, kind, data, .. } => match self.bearer_inside(&token) {
                Ok(key) => self.signal(req, Some(key), SignalOp { session: None, to, kind, data }),
                Err(refusal) => self.refuse(req, refusal),
            },
            Op::Socket(op) => self.socket(req, &token, op),
            Op::Trickle { resource, etag, fragment } => {
                self.trickle(req, &token, &resource, etag.as_deref(), fragment);
            }
            Op::Watch { viewer, session, after, client } => {
                self.watch(&Actor::Bearer(token), &Watch { req, viewer, session, after, client });
            }
            Op::ConnectionCreate { .. }
            | Op::ConnectionDelete { .. }
            | Op::ConnectionUpdate { .. }
            | Op::NodeDrain { .. }
            | Op::RecordingDelete { .. }
            | Op::RecordingStart { .. }
            | Op::RecordingStop { .. }
            | Op::NodeRemove { .. }
            | Op::Operate(_)
            | Op::SessionCreate(_)
            | Op::SessionDelete { .. }
            | Op::StreamDelete { .. }
            | Op::Unwatch { .. } => self.refuse(req, Refusal::Role),
        }
    }

    fn schedule(&mut self, after: Duration, timer: Timer) {
        self.timers.insert((self.now.mono + after, timer));
    }

    fn schedule_flush(&mut self) {
        if !self.flush_scheduled {
            self.flush_scheduled = true;
            self.schedule(FLUSH_AFTER, Timer::Flush);
        }
    }

    fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > self.now.mono {
                break;
            }
            self.timers.remove(&(at, timer));
            match timer {
                Timer::AutoStop(session) => self.expire_autostop(session),
                Timer::Closed(session) => self.forget_log(session),
                Timer::Command(op) => self.expire_command(op),
                Timer::Flush => {
                    self.flush_scheduled = false;
                    self.put_lazy();
                    self.outbox.flush_lazy();
                }
                Timer::Garbage => self.collect_garbage(),
                Timer::Heartbeats => self.check_silence(),
                Timer::Idle(connection) => self.expire_idle(connection),
                Timer::Orphans(node) => self.close_orphans(node),
                Timer::RecorderGone(node) => self.expire_recorder(node),
                Timer::Recording(recording) => self.expire_recording(recording),
            }
        }
    }

    /// Ends an input: line-ups, rosters, commands, records, then the batch.
    fn finish(&mut self) {
        self.refill();
        self.send_rosters();
        self.send_unsent();
        let dirty = std::mem::take(&mut self.dirty);
        for key in &dirty {
            self.lazy.remove(key);
            self.outbox.put(key.to_bytes(), self.encode_record(*key));
        }
        if !dirty.is_empty() {
            self.put_lazy();
        }
        self.touched = dirty.into_iter().collect();
        self.outbox.seal();
    }

    fn put_lazy(&mut self) {
        for key in std::mem::take(&mut self.lazy) {
            self.outbox.put_lazily(key.to_bytes(), self.encode_record(key));
        }
    }
}

#[cfg(test)]
mod tests;
