//! Shell: owns the process: its runtime, workers, tasks and their order.
//!
//! Start: telemetry, media sockets, cold pool, workers, control, link, recorders' socket, health. End, at the first SIGTERM or SIGINT: take no new
//! sessions, wait until the last one is gone or the deadline passes (a second signal ends the wait), close the link,
//! stop the workers. A master that is away changes nothing for the calls in progress.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::config::FilePath;
use common::exit::Exit;
use common::net::identity::{ClusterConfig, IdentityError, IdentityStore};
use common::net::node_link::{NodeLink, NodeLinkSettings, Requests, StartError};
use common::net::quic::{self, BindError};
use common::telemetry::health::{HealthError, HealthServer};
use common::telemetry::task::{self, Owned};
use common::telemetry::{self, InitError};
use common::wire::node::{Capacity, NodeFact, Role};

use crate::config::Settings;
use crate::control::lanes;
use crate::control::report::LoadReporter;
use crate::control::{Control, metrics, watching};
use crate::node::{MediaNode, NodeError};
use crate::tap::TapServer;

/// Threads of the cold pool.
const COLD_THREADS: usize = 2;

/// How often the load is reported.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// How often a drain looks whether the last session is gone.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// Why the process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No socket for recorders.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No health server.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// No identity.
    #[error("cannot use the node's identity")]
    Identity(#[from] IdentityError),
    /// The master will never let us in.
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
    /// No workers.
    #[error(transparent)]
    Node(#[from] NodeError),
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
            Self::Bind(_) | Self::Health(_) | Self::Node(_) => Exit::Unavailable,
            Self::Identity(_) | Self::Log(_) | Self::Start(_) => Exit::Config,
            Self::Link { exit, .. } => *exit,
            Self::Runtime(_) => Exit::Internal,
        }
    }
}

/// Runs the node until it is told to end.
///
/// # Errors
/// [`AppError`].
pub fn run(settings: &Settings) -> Result<(), AppError> {
    telemetry::init(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(COLD_THREADS)
        .thread_name("cold")
        .enable_all()
        .build()?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: &Settings) -> Result<(), AppError> {
    let (link_sender, link_slot) = tokio::sync::watch::channel(None::<NodeLink>);
    let facts = Arc::new(move |session, fact: NodeFact| {
        if let Some(link) = &*link_slot.borrow() {
            link.event(session, fact);
        }
    });
    let node = MediaNode::start(&settings.media, facts)?;
    let control = node.control();
    let alive = Arc::clone(&control);
    let health =
        HealthServer::start(&settings.health, metrics::registry(&control), move || alive.is_turning())
            .await?;
    let (link, requests, taps) = start_link(settings, &control)?;
    drop(link_sender.send_replace(Some(link.clone())));
    let _lanes = Owned(task::spawn_endless("lanes", lanes::run(Arc::clone(&control), requests)));
    let reported = link.clone();
    let watched = watching::report(Arc::clone(&control), move |stats| reported.send_stats(stats));
    let _watched = Owned(task::spawn_endless("watched", watched));
    let _load = Owned(task::spawn_endless("load", report_load(Arc::clone(&control), link.clone())));
    health.readiness().set(Ok(()));
    tracing::info!(node = %link.node(), workers = settings.media.workers, addresses = ?settings.media.addresses, "media node runs");

    // All arms are cancel safe: none takes anything away.
    let ended = tokio::select! {
        (exit, message) = link.failed() => Err(AppError::Link { exit, message }),
        signal = task::stop_signal() => signal.map_err(AppError::from).map(Stop::Signal),
        () = control.drain_deadline() => Ok(Stop::DrainOver),
    };
    let drained = match ended {
        Ok(Stop::DrainOver) => {
            tracing::warn!("the master's drain deadline passed");
            Ok(())
        }
        Ok(Stop::Signal(signal)) => {
            health.readiness().set(Err("draining".to_owned()));
            drain(&control, signal, settings.drain_deadline).await
        }
        Err(error) => Err(error),
    };
    taps.close().await;
    link.close().await;
    drained
}

/// Why the node ends without an error.
enum Stop {
    DrainOver,
    Signal(&'static str),
}

fn start_link(
    settings: &Settings,
    control: &Arc<Control>,
) -> Result<(NodeLink, Requests, TapServer), AppError> {
    let socket = quic::bind(settings.link.listen)?;
    let port = socket.local_addr()?.port();
    let told = |ip: &IpAddr| SocketAddr::new(*ip, port).to_string();
    let store = IdentityStore::open(&settings.state_dir, Role::Media)?;
    let config = ClusterConfig {
        masters: settings.masters.clone(),
        join_token_file: settings.join_token_file.clone().map(FilePath),
        state_dir: FilePath(settings.state_dir.clone()),
    };
    let program = concat!("mediad ", env!("CARGO_PKG_VERSION"));
    let link_settings = NodeLinkSettings {
        name: settings.name.clone(),
        addresses: announced(settings, control),
        media_link: settings.link.addresses.iter().map(told).collect(),
        capacity: Capacity { workers: settings.media.workers, sessions_max: 0 },
        ..NodeLinkSettings::new(program, &config)
    };
    let keys = store.quic_keys();
    let turning = Arc::clone(control);
    let (link, requests) = NodeLink::start(link_settings, store, move || turning.turns())?;
    let taps = TapServer::start(socket, keys, link.identity(), Arc::clone(control));
    Ok((link, requests, taps))
}

/// The announced addresses, each with the first worker's port.
fn announced(settings: &Settings, control: &Control) -> Vec<String> {
    let port = control.first_port();
    settings.media.addresses.iter().map(|ip| SocketAddr::new(*ip, port).to_string()).collect()
}

async fn report_load(control: Arc<Control>, link: NodeLink) {
    let mut reporter = LoadReporter::new(Instant::now(), &control);
    let mut interval = tokio::time::interval(LOAD_INTERVAL);
    interval.tick().await;
    loop {
        interval.tick().await;
        link.set_load(reporter.measure(Instant::now(), &control));
    }
}

/// Waits until no session is left, the deadline passes, or a second signal comes.
async fn drain(control: &Control, signal: &'static str, deadline: Duration) -> Result<(), AppError> {
    control.drain();
    let (sessions, endpoints, _) = control.table().counts();
    tracing::info!(signal, sessions, endpoints, "draining; a second signal ends at once");
    let empty = async {
        while !control.table().is_drained() {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    // All arms are cancel safe: none takes anything away.
    tokio::select! {
        () = empty => tracing::info!("no session is left"),
        () = tokio::time::sleep(deadline) => tracing::warn!("the drain deadline passed with sessions open"),
        signal = task::stop_signal() => tracing::warn!(signal = signal?, "ending with sessions open"),
    }
    Ok(())
}
