//! Shell: owns the process: its runtime, tasks and their order.
//!
//! Start: log, health server, identity, link. Ready when a master has welcomed the recorder. End, at SIGTERM or
//! SIGINT: not ready, tell the master, end the link. Recording itself is not built yet: every command is answered
//! `Unsupported`, and the inventory is empty.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::exit::Exit;
use common::net::identity::{IdentityError, IdentityStore};
use common::net::node_link::{LinkState, NodeLink, NodeLinkSettings, Request, Requests, Running, StartError};
use common::telemetry::health::{HealthError, HealthServer, Readiness};
use common::telemetry::task::{self, Owned};
use common::telemetry::{self, InitError};
use common::wire::node::{NodeError, OpResult, Role};
use common::wire::recording::FileHead;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Settings;
use crate::load::{self, CpuTicks};

/// How often the load is reported.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The main loop turns at least once in this time, or the process counts as stuck.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Why the process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
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
            Self::Health(_) | Self::Identity(IdentityError::InUse { .. }) => Exit::Unavailable,
            Self::Identity(_) | Self::Log(_) | Self::Start(_) => Exit::Config,
            Self::Link { exit, .. } => *exit,
            Self::Runtime(_) => Exit::Internal,
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
    refused: Counter,
}

impl Counters {
    fn new(registry: &mut Registry) -> Self {
        let counters = Self {
            started: Instant::now(),
            turns: Arc::default(),
            last_turn_ms: Arc::default(),
            link_up: Gauge::default(),
            refused: Counter::default(),
        };
        registry.register("link_up", "1 while a master is connected", counters.link_up.clone());
        registry.register(
            "commands_unsupported",
            "Commands that this recorder does not know",
            counters.refused.clone(),
        );
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
    let mut registry = Registry::with_prefix("recorderd");
    let counters = Counters::new(&mut registry);
    let alive = counters.clone();
    let health = HealthServer::start(&settings.health, registry, move || alive.is_turning()).await?;
    let store = IdentityStore::open(settings.cluster.state_dir.as_ref(), Role::Recorder)?;
    let program = concat!("recorderd ", env!("CARGO_PKG_VERSION"));
    let link_settings =
        NodeLinkSettings { name: settings.name.clone(), ..NodeLinkSettings::new(program, &settings.cluster) };
    let turns = Arc::clone(&counters.turns);
    let (link, requests) =
        NodeLink::start(link_settings, store, move || vec![turns.load(Ordering::Relaxed)])?;
    tracing::info!(node = %link.node(), health = %health.address(), "recorder runs");

    let _answers = Owned(task::spawn_endless("answers", answer(requests, link.clone(), counters.clone())));
    let state = Owned(task::spawn_endless("state", follow(link.clone(), health.readiness(), counters)));
    // Both arms are cancel safe: neither takes anything away.
    let ended = tokio::select! {
        (exit, message) = link.failed() => Err(AppError::Link { exit, message }),
        signal = task::stop_signal() => signal.map_err(AppError::from),
    };
    drop(state);
    health.readiness().set(Err("ending".to_owned()));
    link.close().await;
    tracing::info!(signal = ended?, "recorder ends");
    Ok(())
}

/// The main loop: answers the master and reports the load.
async fn answer(mut requests: Requests, link: NodeLink, counters: Counters) {
    let mut ticks = interval(LOAD_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = cpu();
    loop {
        counters.turn();
        // Both arms are cancel safe.
        tokio::select! {
            request = requests.next() => match request {
                Some(Request::Command(command)) => {
                    counters.refused.inc();
                    tracing::debug!(op = %command.op, "a command is not supported");
                    command.reply.done(OpResult::Err(NodeError::Unsupported));
                }
                Some(Request::Inventory(inventory)) => inventory.answer(Running::default()),
                Some(Request::File(file)) => file.answer(FileHead::Missing, None),
                None => return,
            },
            _ = ticks.tick() => {
                let after = cpu();
                link.set_load(load::between(before, after, resident_bytes()));
                before = after;
            }
        }
    }
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

/// Zero where the kernel does not tell: the load is then reported as none.
fn cpu() -> CpuTicks {
    read("/proc/stat").and_then(|text| load::parse_cpu(&text)).unwrap_or_default()
}

fn resident_bytes() -> u64 {
    read("/proc/self/status").and_then(|text| load::parse_resident_bytes(&text)).unwrap_or_default()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(path)).ok()
}
