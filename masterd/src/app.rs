//! Shell: owns the process: opens files and sockets, starts the tasks, stops them in order.
//!
//! Start: authority, certificate, HTTPS port, store, core, links, driver, HTTPS. Stop: HTTPS takes no new
//! connections and readers of events are sent away, requests end, the driver ends (what it has committed stays), the
//! links say goodbye. Media goes on meanwhile.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::config::ConfigError;
use common::exit::Exit;
use common::id::NodeKey;
use common::net::ca::{Authority, AuthorityError};
use common::net::operator_link::{Credentials, CredentialsError};
use common::telemetry::health::{HealthError, HealthServer};
use common::telemetry::task;
use common::wire::operator::OperatorRole;
use common::wire::recording::FileOpen;
use futures_util::future::BoxFuture;
use futures_util::stream;
use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::cluster::{Core, Input, RestoreError};
use crate::config::{Certificate, Settings};
use crate::driver::call::{CallSource, CoreHandle};
use crate::driver::keeper::Keeper;
use crate::driver::{Command, Driver, Ended, Outlet, Pulse};
use crate::http::recording_files::{FileError, FileSource, OpenFile};
use crate::http::serve::{ListenError, Listener};
use crate::http::tls::{self, CertificateError};
use crate::http::{Face, Service};
use crate::link::{LinkError, LinkInput, LinkSettings, NodeLinks, OpenFileError};
use crate::observe::{self, Gauges};
use crate::operator::OperatorHub;
use crate::store::{EmbeddedStore, Store as _, StoreError};

/// Why masterd does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The cluster's authority cannot be used.
    #[error("cannot use the cluster's authority")]
    Authority(#[from] AuthorityError),
    /// There is no usable certificate for HTTPS.
    #[error("cannot serve HTTPS")]
    Certificate(#[from] CertificateError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operator's credentials cannot be made.
    #[error("cannot make the operator's credentials")]
    Credentials(#[from] CredentialsError),
    /// The state folder cannot be used.
    #[error("cannot use the state folder {path}; change `state.dir`, its rights, or free space", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The links cannot be served.
    #[error("cannot serve the nodes' links (`link.listen`)")]
    Links(#[from] LinkError),
    /// The HTTPS port cannot be used.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A task that runs as long as masterd has ended.
    #[error("{0} ended unexpectedly")]
    Lost(&'static str),
    /// The stored state cannot be read.
    #[error("cannot restore the cluster's state")]
    Restore(#[from] RestoreError),
    /// The system does not give what a process needs.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// The store cannot be used.
    #[error("cannot use the store")]
    Store(#[from] StoreError),
}

impl AppError {
    /// How the process ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Authority(_) | Self::Certificate(_) | Self::Config(_) | Self::Credentials(_) => {
                Exit::Config
            }
            Self::Folder { .. }
            | Self::Health(_)
            | Self::Links(_)
            | Self::Listen(_)
            | Self::Runtime(_)
            | Self::Store(_) => Exit::Unavailable,
            Self::Lost(_) | Self::Restore(_) => Exit::Internal,
        }
    }
}

/// Writes the credentials of an operator to `out`, and beside them `context.toml`, which tells the console where the
/// master is; one that is there stays. masterd may run meanwhile.
///
/// # Errors
/// [`AppError`].
pub fn add_operator(
    state_dir: &Path,
    link_port: u16,
    name: &str,
    role: OperatorRole,
    out: &Path,
) -> Result<(), AppError> {
    let authority = Authority::open(state_dir)?;
    Credentials::create(&authority, name, role, out)?;
    let path = out.join("context.toml");
    if !path.exists() {
        let text = format!("# Where the console finds the masters.\nmasters = [\"localhost:{link_port}\"]\n");
        fs::write(&path, text).map_err(|source| CredentialsError::File { path, source })?;
    }
    Ok(())
}

/// Runs until the process is told to stop.
///
/// # Errors
/// [`AppError`].
pub fn run(settings: Settings) -> Result<(), AppError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(AppError::Runtime)?;
    let ended = runtime.block_on(serve(settings));
    // What still blocks (a commit on a dead disk) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(settings: Settings) -> Result<(), AppError> {
    let clock = Clock::start();
    let folder = |source| AppError::Folder { path: settings.state_dir.clone(), source };
    fs::create_dir_all(&settings.state_dir).map_err(folder)?;
    let authority = Arc::new(Authority::open(&settings.state_dir)?);
    let certificate = match &settings.certificate {
        Certificate::Files { certificate, key } => Some(tls::from_files(certificate, key)?),
        Certificate::Off => None,
        Certificate::SelfSigned { names } => Some(tls::self_signed(&settings.state_dir, names)?),
    };
    let listener = Listener::bind(settings.http_listen, certificate).await?;
    let (core, keeper) = open_core(&settings, clock)?;
    let (handle, calls) = CoreHandle::channel();
    let ending = calls.ending.clone();
    let operators = OperatorHub::new(handle.clone(), clock);
    let links = Links::start(&settings, authority, &core, operators.clone())?;

    let gauges = Gauges::default();
    let mut registry = Registry::with_prefix("masterd");
    gauges.register(&mut registry);
    let driver = new_driver(core, clock, calls, links.inputs, links.links.clone(), keeper);
    let health = HealthServer::start(&settings.health, registry, alive(clock, driver.pulse())).await?;

    let (stop_driver, driver_stopping) = watch::channel(false);
    let (stop_http, http_stopping) = watch::channel(false);
    let mut driver = task::spawn("driver", driver.run(driver_stopping));
    let address = listener.address();
    let url = settings.http.public_url.clone();
    let files = Arc::new(LinkFiles(links.links.clone()));
    let service = Service::new(Face::new(handle, settings.http, clock, files));
    let http = task::spawn("http", listener.serve(service, http_stopping));
    let observer = task::spawn_endless("observer", observe::run(operators, gauges));
    let _observer = task::Owned(observer);
    health.readiness().set(Ok(()));
    tracing::info!(%address, url, "masterd serves");

    // Cancel safe: the signal stays pending, the task's end stays known.
    let ended = tokio::select! {
        signal = task::stop_signal() => {
            let signal = signal.map_err(AppError::Runtime)?;
            tracing::info!(signal, "masterd stops");
            None
        }
        ended = &mut driver => Some(ended.unwrap_or(Ended::StoreGone)),
    };
    health.readiness().set(Err("stopping".to_owned()));
    stop_http.send_modify(|stop| *stop = true);
    ending.send_modify(|ending| *ending = true);
    drop(http.await);
    stop_driver.send_modify(|stop| *stop = true);
    if ended.is_none() {
        drop(driver.await);
    }
    links.links.close().await;
    match ended {
        None => Ok(()),
        Some(Ended::Fenced) => Err(AppError::Lost("the leadership of this master")),
        Some(Ended::Stopped | Ended::StoreGone) => Err(AppError::Lost("the store's thread")),
    }
}

/// Loads what was stored, in a new term.
fn open_core(settings: &Settings, clock: Clock) -> Result<(Core, Keeper), AppError> {
    let dir = &settings.state_dir;
    let mut store = EmbeddedStore::open(&dir.join("cluster.redb"))?;
    let epoch = store.begin_epoch()?;
    let records = store.load()?;
    let count = records.len();
    let core = Core::restore(clock.now(), settings.core.clone(), epoch, StdRng::from_os_rng(), records)?;
    tracing::info!(%epoch, records = count, "state restored");
    let keeper = Keeper::start(Box::new(store), epoch, Some(dir.join("reserve")))
        .map_err(|source| AppError::Folder { path: dir.clone(), source })?;
    Ok((core, keeper))
}

fn new_driver(
    core: Core,
    clock: Clock,
    calls: CallSource,
    inputs: mpsc::Receiver<Input>,
    links: NodeLinks,
    keeper: Keeper,
) -> Driver {
    Driver::new(core, clock, calls, inputs, Box::new(LinkOutlet(links)), keeper)
}

/// The driver turns at least once a second.
fn alive(clock: Clock, pulse: Pulse) -> impl Fn() -> bool + Send + Sync + 'static {
    move || {
        let now = u64::try_from(clock.now().mono.as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(pulse.last_turn_ms()) < STUCK_MS
    }
}

struct Links {
    links: NodeLinks,
    inputs: mpsc::Receiver<Input>,
}

impl Links {
    fn start(
        settings: &Settings,
        authority: Arc<Authority>,
        core: &Core,
        operators: OperatorHub,
    ) -> Result<Self, AppError> {
        let (sender, mut from_links) = mpsc::channel(LINK_INPUTS_MAX);
        let (to_core, inputs) = mpsc::channel(LINK_INPUTS_MAX);
        let (_, epoch) = watch::channel(core.epoch());
        let link = LinkSettings { listen: settings.link_listen, ..LinkSettings::default() };
        let links = NodeLinks::start(link, authority, epoch, operators, sender)?;
        // Ends with the links, or with the driver.
        drop(task::spawn("link-inputs", async move {
            while let Some(input) = from_links.recv().await {
                if to_core.send(input_of(input)).await.is_err() {
                    return;
                }
            }
        }));
        Ok(Self { links, inputs })
    }
}

fn input_of(input: LinkInput) -> Input {
    match input {
        LinkInput::Up { node, hello, address } => {
            tracing::info!(%node, program = hello.program, %address, "node connected");
            Input::LinkUp { node, hello: Box::new(hello), address }
        }
        LinkInput::Down { node, boot, why } => {
            tracing::info!(%node, why, "node disconnected");
            Input::LinkDown { node, boot }
        }
        LinkInput::Message { node, boot, op, message } => Input::Node { node, boot, op, message },
    }
}

struct LinkOutlet(NodeLinks);

impl Outlet for LinkOutlet {
    fn send(&self, command: Command) {
        let Command { node, session, op, epoch, deadline_ms, message } = command;
        if let Err(error) = self.0.send(node, session, op, epoch, deadline_ms, &message) {
            common::warn_limited!(5, %node, %op, error = %error, "command not sent");
        }
    }
}

/// Files of recordings come over the recorders' links.
#[derive(Debug)]
struct LinkFiles(NodeLinks);

impl FileSource for LinkFiles {
    fn open(&self, recorder: NodeKey, file: FileOpen) -> BoxFuture<'static, Result<OpenFile, FileError>> {
        let links = self.0.clone();
        Box::pin(async move {
            let (head, body) = links.open_file(recorder, file).await.map_err(|error| match error {
                OpenFileError::NotConnected => FileError::Away,
                OpenFileError::Broken(why) => FileError::Failed(why),
            })?;
            let bytes = stream::unfold(body, |body| async move {
                let mut body = body?;
                match body.next_chunk().await {
                    Ok(None) => None,
                    Ok(Some(chunk)) => Some((Ok(chunk), Some(body))),
                    Err(error) => Some((Err(io::Error::other(error)), None)),
                }
            });
            Ok(OpenFile { head, bytes: Box::pin(bytes) })
        })
    }
}

/// Messages of nodes that may wait for the core; beyond that the links wait.
const LINK_INPUTS_MAX: usize = 4096;

const STUCK_MS: u64 = 10_000;
