//! Shell: owns a QUIC connection and its tasks.
//!
//! The node's side of `plenum-node/1`, for mediad and recorderd: enrols where needed, keeps a link to a master,
//! reconnects with jitter, renews the certificate, and hands the master's commands to the daemon.
//!
//! - **Commands** arrive in order for each session, within their deadline, of the present epoch, each operation once:
//!   a repeated one gets the kept answer. What cannot be queued is answered `Busy` at once; what waited too long,
//!   `Expired`; an older epoch, `StaleEpoch`; an unknown kind, `Unsupported`. A dropped [`Reply`] answers `Internal`.
//! - **Events** are numbered, kept until acknowledged, and sent again after a reconnect.
//! - **Heartbeats** and **load** are datagrams; the newest wins.
//! - **Files** are read by the master on streams of its own, see [`FileRequest`].
//!
//! ```no_run
//! # async fn example(config: common::net::identity::ClusterConfig) -> Result<(), Box<dyn std::error::Error>> {
//! use common::net::identity::IdentityStore;
//! use common::net::node_link::{NodeLink, NodeLinkSettings, Request, Running};
//! use common::wire::node::{Load, NodeError, OpResult, Role, ToNode};
//! use common::wire::recording::FileHead;
//!
//! let store = IdentityStore::open(config.state_dir.as_ref(), Role::Media)?;
//! let settings = NodeLinkSettings::new("mediad 0.1.0", &config);
//! let (link, mut requests) = NodeLink::start(settings, store, || vec![/* turns of each worker */])?;
//! link.set_load(Load::default()); // once a second
//! loop {
//!     tokio::select! {
//!         request = requests.next() => match request {
//!             Some(Request::Command(command)) => match command.message {
//!                 ToNode::SessionClose(_) => command.reply.done(OpResult::Ok),
//!                 _ => command.reply.done(OpResult::Err(NodeError::Unsupported)),
//!             },
//!             Some(Request::Inventory(inventory)) => inventory.answer(Running::default()),
//!             Some(Request::File(file)) => file.answer(FileHead::Missing, None),
//!             None => break,
//!         },
//!         (exit, message) = link.failed() => {
//!             common::exit::complain("mediad", &message);
//!             return Err(format!("exit code {}", exit as u8).into());
//!         }
//!     }
//! }
//! link.close().await;
//! # Ok(())
//! # }
//! ```

mod cache;
mod dial;
mod events;
mod files;
mod run;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::cache::{Begun, Cache};
use self::events::EventQueue;
pub use self::files::{FileRequest, FileSource};
use super::RandomError;
use super::identity::{ClusterConfig, Identity, IdentityStore};
use crate::exit::Exit;
use crate::id::{BootId, Epoch, Generation, NodeKey, OpId, SessionKey};
use crate::limits::{
    COMMANDS_WAITING_MAX, EVENTS_KEPT_MAX, RESULTS_KEPT_BYTES_MAX, RESULTS_KEPT_MAX, STATS_WAITING_MAX,
};
use crate::telemetry::task::{self, Owned};
use crate::wire::node::{
    Capacity, Done, EndpointAt, FromNode, Load, NodeError, NodeFact, OpResult, Role, ToNode, Unsupported,
};
use crate::wire::recording::RecordingAt;
use crate::wire::statistics::SessionStats;
use crate::wire::{DecodeError, Envelope, Message as _};

/// What a link needs to know of its daemon.
#[derive(Clone, Debug)]
pub struct NodeLinkSettings {
    /// Masters as `host:port` or `host`, tried in turn.
    pub masters: Vec<String>,
    /// The master's join token, for the first start.
    pub join_token_file: Option<PathBuf>,
    /// Program and version, for humans.
    pub program: String,
    /// `node_id` of the configuration, or empty.
    pub name: String,
    /// Addresses that browsers are told.
    pub addresses: Vec<String>,
    /// Where recorders and other media nodes dial the node, as `host:port`.
    pub media_link: Vec<String>,
    /// How much the node can carry.
    pub capacity: Capacity,
}

impl NodeLinkSettings {
    /// From the configuration; name, addresses, media link and capacity are still empty.
    #[must_use]
    pub fn new(program: &str, config: &ClusterConfig) -> Self {
        Self {
            masters: config.masters.clone(),
            join_token_file: config.join_token_file.as_ref().map(|path| path.0.clone()),
            program: program.to_owned(),
            name: String::new(),
            addresses: Vec::new(),
            media_link: Vec::new(),
            capacity: Capacity::default(),
        }
    }
}

/// Why a link cannot even start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `masters` is empty.
    #[error("`masters` is empty: name at least one master as `host:port`")]
    NoMaster,
    /// No random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// State of the link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkState {
    /// No master is connected.
    Connecting {
        /// Why the last attempt failed, or the last link ended.
        why: String,
    },
    /// A master is connected and has welcomed the node.
    Up {
        /// Where it is.
        master: SocketAddr,
        /// Its epoch when it welcomed the node.
        epoch: Epoch,
    },
    /// Given up: only a change of configuration helps. Never after the link was up once: calls go on without a
    /// master.
    Failed {
        /// How the process should end.
        exit: Exit,
        /// What is wrong and what to do.
        message: String,
    },
    /// Closed on purpose.
    Closed,
}

/// What the daemon is asked.
#[derive(Debug)]
pub enum Request {
    /// Carry this out.
    Command(Command),
    /// Say what you run: after each connect and after each change of the leading master.
    Inventory(InventoryRequest),
    /// Send a file of a recording.
    File(FileRequest),
}

/// A command of the master.
#[derive(Debug)]
pub struct Command {
    /// The operation; 0 where no answer is expected.
    pub op: OpId,
    /// Epoch of the master that sent it.
    pub epoch: Epoch,
    /// Not to be started after this.
    pub deadline: Option<Instant>,
    /// What to do.
    pub message: ToNode,
    /// Where the result goes.
    pub reply: Reply,
}

/// The way back for the result of one command. Dropping it answers with an internal error.
pub struct Reply {
    shared: Arc<Shared>,
    key: (Epoch, OpId),
    is_answered: bool,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reply").field(&self.key).finish()
    }
}

impl Reply {
    /// Answers the command. The result is kept for repetitions.
    pub fn done(mut self, result: OpResult) {
        self.is_answered = true;
        if self.key.1 == OpId::default() {
            return;
        }
        let route = self.shared.cache().finish(self.key, &result);
        send_result(route, self.key.1, result);
    }

    /// Answers without keeping the result: a repetition may succeed.
    fn decline(mut self, error: NodeError) {
        self.is_answered = true;
        let route = self.shared.cache().forget(self.key);
        send_result(route, self.key.1, OpResult::Err(error));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_answered && self.key.1 != OpId::default() {
            let result = OpResult::Err(NodeError::Internal { why: "the command was dropped".to_owned() });
            let route = self.shared.cache().finish(self.key, &result);
            send_result(route, self.key.1, result);
        }
    }
}

/// Answers of one stream on their way to the master.
type Route = mpsc::Sender<(OpId, FromNode)>;

fn send_result(route: Option<Route>, op: OpId, result: OpResult) {
    if let Some(route) = route {
        answer(&route, op, Done { result }.into());
    }
}

/// Queues an answer. A route that is full or gone loses it: the master repeats the command and gets the kept result.
fn answer(route: &Route, op: OpId, message: FromNode) {
    if route.try_send((op, message)).is_err() {
        crate::warn_limited!(10, %op, "an answer could not be sent");
    }
}

/// Asks what the node runs.
#[derive(Debug)]
pub struct InventoryRequest {
    reply: oneshot::Sender<Running>,
}

impl InventoryRequest {
    /// Says it.
    pub fn answer(self, running: Running) {
        // The link may have ended meanwhile; the next one asks again.
        drop(self.reply.send(running));
    }
}

/// What a node runs.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Open sessions.
    pub sessions: Vec<(SessionKey, Generation)>,
    /// Open endpoints.
    pub endpoints: Vec<EndpointAt>,
    /// Recordings that run or lie finished here.
    pub recordings: Vec<RecordingAt>,
}

/// The requests of all links of one node, in order.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

impl Requests {
    /// The next request; `None` after the link was closed. Commands whose deadline is over are answered `Expired`
    /// here and not handed out. Cancel safe.
    pub async fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(request) = in_time(self.0.recv().await?) {
                return Some(request);
            }
        }
    }

    /// As [`Self::next`], for a thread without an async runtime.
    pub fn blocking_next(&mut self) -> Option<Request> {
        loop {
            if let Some(request) = in_time(self.0.blocking_recv()?) {
                return Some(request);
            }
        }
    }
}

fn in_time(request: Request) -> Option<Request> {
    match request {
        Request::Command(command) if command.deadline.is_some_and(|deadline| deadline < Instant::now()) => {
            command.reply.decline(NodeError::Expired);
            None
        }
        request @ (Request::Command(_) | Request::File(_) | Request::Inventory(_)) => Some(request),
    }
}

/// What all tasks of a link share.
struct Shared {
    settings: NodeLinkSettings,
    node: NodeKey,
    role: Role,
    boot: BootId,
    /// Highest epoch seen.
    epoch: AtomicU64,
    // Locks, not messages: lanes, workers and the sender touch these for moments only and never across an await.
    cache: Mutex<Cache<Route>>,
    events: Mutex<EventQueue>,
    events_changed: Notify,
    load: watch::Sender<Option<Load>>,
    /// Numbers on their way; a link that is down or slow loses them.
    stats: tokio::sync::broadcast::Sender<SessionStats>,
    turns: Box<dyn Fn() -> Vec<u64> + Send + Sync>,
    requests: mpsc::Sender<Request>,
    state: watch::Sender<LinkState>,
    /// The present certificate.
    identity: watch::Sender<Option<Arc<Identity>>>,
    stop: watch::Sender<bool>,
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, Cache<Route>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn events(&self) -> MutexGuard<'_, EventQueue> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    fn see_epoch(&self, epoch: Epoch) {
        self.epoch.fetch_max(epoch.0, Ordering::Relaxed);
    }

    fn set_state(&self, state: LinkState) {
        drop(self.state.send_replace(state));
    }

    /// Takes in a command, or answers why not. `route` leads back to the stream that it came by.
    fn take_command(self: &Arc<Self>, envelope: &Envelope, route: &Route) {
        let op = envelope.op;
        let refuse = |error| answer(route, op, Done { result: OpResult::Err(error) }.into());
        let message = match ToNode::decode(envelope.kind, &envelope.body) {
            Ok(message) => message,
            Err(DecodeError::UnknownKind { kind }) => return answer(route, op, Unsupported { kind }.into()),
            Err(error) => {
                crate::warn_limited!(10, error = %crate::telemetry::chain(&error), "malformed command");
                return refuse(NodeError::Internal { why: error.to_string() });
            }
        };
        let seen = self.epoch();
        if envelope.epoch < seen {
            return refuse(NodeError::StaleEpoch(seen));
        }
        self.see_epoch(envelope.epoch);
        let key = (envelope.epoch, op);
        if op != OpId::default() {
            match self.cache().begin(key, route.clone()) {
                Begun::New => {}
                Begun::Running => return,
                Begun::Finished(result) => return answer(route, op, Done { result }.into()),
            }
        }
        let reply = Reply { shared: Arc::clone(self), key, is_answered: false };
        let deadline = (envelope.deadline_ms > 0)
            .then(|| Instant::now() + Duration::from_millis(u64::from(envelope.deadline_ms)));
        let command = Command { op, epoch: envelope.epoch, deadline, message, reply };
        match self.requests.try_send(Request::Command(command)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(Request::Command(command))) => {
                command.reply.decline(NodeError::Busy);
            }
            // The daemon ends; dropping the command answers it.
            Err(_) => {}
        }
    }
}

struct Inner {
    shared: Arc<Shared>,
    dialer: Mutex<Option<Owned<()>>>,
}

/// The link of a node to its master. Clones are the same link; it ends with the last of them, or by
/// [`NodeLink::close`].
#[derive(Clone)]
pub struct NodeLink(Arc<Inner>);

impl fmt::Debug for NodeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLink").field("node", &self.node()).finish_non_exhaustive()
    }
}

impl NodeLink {
    /// Starts dialling. `turns` gives the turns of each worker's loop for the heartbeat; it must not block.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        settings: NodeLinkSettings,
        store: IdentityStore,
        turns: impl Fn() -> Vec<u64> + Send + Sync + 'static,
    ) -> Result<(Self, Requests), StartError> {
        if settings.masters.is_empty() {
            return Err(StartError::NoMaster);
        }
        let (requests, receiver) = mpsc::channel(COMMANDS_WAITING_MAX);
        // The dialler tells what is wrong with an unreadable one.
        let stored = store.load(SystemTime::now()).ok().flatten().map(Arc::new);
        let shared = Arc::new(Shared {
            settings,
            node: store.node(),
            role: store.role(),
            boot: BootId(u64::from_be_bytes(super::random()?)),
            epoch: AtomicU64::new(0),
            cache: Mutex::new(Cache::new(RESULTS_KEPT_MAX, RESULTS_KEPT_BYTES_MAX)),
            events: Mutex::new(EventQueue::new(EVENTS_KEPT_MAX)),
            events_changed: Notify::new(),
            load: watch::channel(None).0,
            stats: tokio::sync::broadcast::channel(STATS_WAITING_MAX).0,
            turns: Box::new(turns),
            requests,
            state: watch::channel(LinkState::Connecting { why: "starting".to_owned() }).0,
            // A call goes on without a master, and so does its recording.
            identity: watch::channel(stored).0,
            stop: watch::channel(false).0,
        });
        let dialer = task::spawn("node-link", dial::run(Arc::clone(&shared), Arc::new(store)));
        Ok((Self(Arc::new(Inner { shared, dialer: Mutex::new(Some(Owned(dialer))) })), Requests(receiver)))
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeKey {
        self.0.shared.node
    }

    /// This start of the process.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.0.shared.boot
    }

    /// Highest epoch seen so far.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.shared.epoch()
    }

    /// State of the link, and its changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.0.shared.state.subscribe()
    }

    /// The node's certificate, which it shows to other nodes, and its renewals; none before the first enrolment.
    #[must_use]
    pub fn identity(&self) -> watch::Receiver<Option<Arc<Identity>>> {
        self.0.shared.identity.subscribe()
    }

    /// Waits until the link is given up: how the process should end, and what to say. Never after it was up once.
    pub async fn failed(&self) -> (Exit, String) {
        let mut state = self.state();
        loop {
            if let LinkState::Failed { exit, message } = &*state.borrow_and_update() {
                return (*exit, message.clone());
            }
            if state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells the master something. Never blocks; may be called from any thread. When the master is away for so long
    /// that the events do not fit any more, the oldest go.
    pub fn event(&self, session: Option<SessionKey>, what: NodeFact) {
        self.0.shared.events().push(session, what);
        self.0.shared.events_changed.notify_one();
    }

    /// Events that were lost because the master was away for too long.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.0.shared.events().lost()
    }

    /// Reports the load; called once a second.
    pub fn set_load(&self, load: Load) {
        drop(self.0.shared.load.send_replace(Some(load)));
    }

    /// Tells numbers of a watched session; lost when no master is connected.
    pub fn send_stats(&self, stats: SessionStats) {
        // Nobody listens while the link is down.
        drop(self.0.shared.stats.send(stats));
    }

    /// Tells the master that this node ends, and ends the link.
    pub async fn close(&self) {
        self.0.shared.stop.send_replace(true);
        let dialer = self.0.dialer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut dialer) = dialer {
            // Only to let the last packet out; a master that does not answer must not delay the end.
            drop(tokio::time::timeout(Duration::from_secs(1), &mut dialer.0).await);
        }
        self.0.shared.set_state(LinkState::Closed);
    }
}
