//! Shell: owns the process: its runtime, tasks and their order.
//!
//! Start: log, folder of recordings, health server, identity, link; then what former processes left behind is finished.
//! Ready when a master has welcomed the recorder. End, at SIGTERM or SIGINT: not ready, recordings stop and their files
//! are made ordinary, within `[recording] finish`; then tell the master, end the link. A second signal ends it at once;
//! the next start finishes the files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::exit::Exit;
use common::net::identity::{IdentityError, IdentityStore};
use common::net::node_link::{LinkState, NodeLink, NodeLinkSettings, StartError};
use common::telemetry::health::{HealthError, HealthServer, Readiness};
use common::telemetry::task::{self, Owned};
use common::telemetry::{self, InitError};
use common::wire::node::{Capacity, Role};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Settings;
use crate::folder::{FolderError, Root};
use crate::recorder::{Metrics, Recorder};
use crate::runner::{Shared, Totals};
use crate::studios::Studios;

/// Name and version of this program.
const PROGRAM: &str = concat!("recorderd ", env!("CARGO_PKG_VERSION"));

/// The main loop turns at least once in this time, or the process counts as stuck.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Why the process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No folder of recordings.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The task that knows all jobs has panicked.
    #[error("internal error: the recorder's task ended")]
    Ended,
    /// No health server.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// No identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No master will ever let us in.
    #[error("{message}")]
    Link {
        /// How to end.
        exit: Exit,
        /// What to say.
        message: String,
    },
    /// No log.
    #[error(transparent)]
    Log(#[from] InitError),
    /// No runtime or signal handlers.
    #[error("cannot start")]
    Runtime(#[from] std::io::Error),
    /// No link.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl AppError {
    /// The process's exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Folder(FolderError::InUse { .. })
            | Self::Health(_)
            | Self::Identity(IdentityError::InUse { .. }) => Exit::Unavailable,
            Self::Folder(_) | Self::Identity(_) | Self::Log(_) | Self::Start(_) => Exit::Config,
            Self::Link { exit, .. } => *exit,
            Self::Ended | Self::Runtime(_) => Exit::Internal,
        }
    }
}

/// Runs the recorder until it is told to end.
///
/// # Errors
/// [`AppError`].
pub fn run(settings: &Settings) -> Result<(), AppError> {
    telemetry::init(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(settings))
}

/// What the tasks count for `/metrics` and the heartbeat.
#[derive(Clone, Debug)]
struct Counters {
    started: Instant,
    /// Turns of the main loop.
    turns: Arc<AtomicU64>,
    /// Milliseconds from the start to the last turn.
    last_turn_ms: Arc<AtomicU64>,
    link_up: Gauge,
}

impl Counters {
    fn new(registry: &mut Registry) -> Self {
        let counters = Self {
            started: Instant::now(),
            turns: Arc::default(),
            last_turn_ms: Arc::default(),
            link_up: Gauge::default(),
        };
        registry.register("link_up", "1 while a master is connected", counters.link_up.clone());
        counters
    }

    fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_turn_ms.store(now_ms, Ordering::Relaxed);
    }

    fn is_turning(&self) -> bool {
        let last_turn = Duration::from_millis(self.last_turn_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last_turn) < TURN_MAX
    }
}

async fn serve(settings: &Settings) -> Result<(), AppError> {
    let root = Arc::new(Root::open(&settings.recording.dir)?);
    let mut registry = Registry::with_prefix("recorderd");
    let counters = Counters::new(&mut registry);
    let (metrics, totals) = (Metrics::default(), Arc::new(Totals::default()));
    metrics.register(&mut registry);
    totals.register(&mut registry);
    let alive = counters.clone();
    let health = HealthServer::start(&settings.health, registry, move || alive.is_turning()).await?;
    let store = IdentityStore::open(settings.cluster.state_dir.as_ref(), Role::Recorder)?;
    let jobs_max = jobs_max(settings.recording.jobs_max);
    let link_settings = NodeLinkSettings {
        name: settings.name.clone(),
        capacity: Capacity { workers: cores(), sessions_max: jobs_max },
        ..NodeLinkSettings::new(PROGRAM, &settings.cluster)
    };
    let turns = Arc::clone(&counters.turns);
    let (link, requests) =
        NodeLink::start(link_settings, store, move || vec![turns.load(Ordering::Relaxed)])?;
    tracing::info!(node = %link.node(), health = %health.address(), dir = %root.path().display(), jobs_max, "recorder runs");

    let shared = Shared {
        program: PROGRAM,
        root: Arc::clone(&root),
        studios: Studios::start(),
        link: link.clone(),
        totals,
        look: settings.recording.look,
    };
    let recorder = Recorder::open(shared, settings.recording.clone(), jobs_max, metrics)
        .map_err(|source| FolderError::Io { path: root.path().to_owned(), source })?;
    let (stop, stopped) = watch::channel(false);
    let turning = counters.clone();
    let mut recorder =
        Owned(task::spawn("recorder", recorder.run(requests, stopped, move || turning.turn())));
    let state = Owned(task::spawn_endless("state", follow(link.clone(), health.readiness(), counters)));
    // All arms are cancel safe: none takes anything away.
    let ended = tokio::select! {
        (exit, message) = link.failed() => Err(AppError::Link { exit, message }),
        signal = task::stop_signal() => signal.map_err(AppError::from),
        // A panic of the one task that knows all jobs, which is logged: a supervisor starts the process anew.
        _ = &mut recorder.0 => Err(AppError::Ended),
    };
    drop(state);
    health.readiness().set(Err("ending".to_owned()));
    if let Ok(signal) = &ended {
        tracing::info!(signal, "recorder ends: recordings are being finished");
        stop.send_replace(true);
        finish(&mut recorder, settings.recording.finish).await;
    }
    link.close().await;
    tracing::info!(signal = ended?, "recorder ends");
    Ok(())
}

/// Waits until all recordings are finished, or nobody wants to wait any more.
async fn finish(recorder: &mut Owned<()>, limit: Duration) {
    // All arms are cancel safe.
    tokio::select! {
        finished = timeout(limit, &mut recorder.0) => {
            if finished.is_err() {
                tracing::warn!("recordings are not finished in time: the next start finishes them");
            }
        }
        _ = task::stop_signal() => {
            tracing::warn!("a second signal: the next start finishes the recordings");
        }
    }
}

/// Two recordings of four participants keep a core busy.
fn jobs_max(configured: u32) -> u32 {
    if configured > 0 { configured } else { u32::from(cores()) * 2 }
}

fn cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(u16::MAX)
}

/// Readiness follows the link.
async fn follow(link: NodeLink, readiness: Readiness, counters: Counters) {
    let mut state = link.state();
    loop {
        let ready = match &*state.borrow_and_update() {
            LinkState::Up { .. } => Ok(()),
            LinkState::Connecting { why } => Err(format!("no master: {why}")),
            LinkState::Failed { message, .. } => Err(message.clone()),
            LinkState::Closed => Err("ending".to_owned()),
        };
        counters.link_up.set(i64::from(ready.is_ok()));
        readiness.set(ready);
        if state.changed().await.is_err() {
            return;
        }
    }
}
