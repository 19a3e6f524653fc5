//! Shell: owns the media threads and the cold pool of one node, and ties them to the control part.
//!
//! Everything of a media node but its link to the master: tests run it in their own process.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use common::telemetry::task::{self, Owned};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;

use crate::cold::{self, ColdHandle, ColdPool, PeerId, Verdict, Verdicts};
use crate::config::{MediaSettings, Ports};
use crate::control::Control;
use crate::control::report::{self, FactSink};
use crate::router;
use crate::transport::dtls::{Certificate, DtlsError};
use crate::worker::engine::{Command, Event, Families, MediaEngine, PEERS_MAX};
use crate::worker::run::{self, CommandError, Seat};
use crate::worker::socket::{MediaSocket, Sharing, SocketError};
use crate::worker::syscall;

/// Events of all workers that wait for the control part.
const EVENTS_MAX: usize = 4096;

/// Shards of the cold pool.
const COLD_SHARDS: usize = 2;

pub use crate::worker::engine::Worker;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No certificate for DTLS.
    #[error("cannot make the DTLS certificate")]
    Certificate(#[source] DtlsError),
    /// No media socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No thread.
    #[error("cannot start a media worker")]
    Thread(#[from] std::io::Error),
}

/// A running media node. Its threads end when it and all handles of its control part are dropped.
#[derive(Debug)]
pub struct MediaNode {
    control: Arc<Control>,
    _cold: ColdPool,
    _events: Owned<()>,
}

impl MediaNode {
    /// Opens the sockets and starts everything; needs a runtime. What happens goes to `facts`.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn start(settings: &MediaSettings, facts: FactSink) -> Result<Self, NodeError> {
        let certificate = Certificate::generate().map_err(NodeError::Certificate)?;
        let sockets = open_sockets(settings)?;
        let (cold, queues) = cold::queues(COLD_SHARDS);
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let cores = syscall::allowed_cores();
        let mut workers = Vec::new();
        for (index, socket) in sockets.into_iter().enumerate() {
            let core = settings.pin_workers.then(|| cores.get(index % cores.len().max(1)).copied()).flatten();
            workers.push(start_worker(
                Seat { index, core, gather: settings.gather },
                socket,
                &cold,
                &sender,
            )?);
        }
        if settings.ports == Ports::Single {
            introduce(&workers, &workers);
        }
        let post = Arc::new(Post(workers.clone()));
        let pool = queues.start(&certificate, &post);
        let control = Arc::new(Control::new(settings, certificate, workers, cold, Arc::clone(&facts)));
        let events = task::spawn("events", report::pass_events_on(Arc::clone(&control), receiver, facts));
        Ok(Self { control, _cold: pool, _events: Owned(events) })
    }

    /// The control part.
    #[must_use]
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }
}

impl Drop for MediaNode {
    fn drop(&mut self) {
        // Workers that know each other would keep each other alive.
        introduce(self.control.workers(), &[]);
    }
}

/// Tells workers about those at their port.
fn introduce(workers: &[Worker], neighbours: &[Worker]) {
    for worker in workers {
        drop(worker.send(Command::Neighbours(neighbours.to_vec())));
    }
}

fn open_sockets(settings: &MediaSettings) -> Result<Vec<MediaSocket>, SocketError> {
    let mut sockets: Vec<MediaSocket> = Vec::new();
    for index in 0..settings.workers {
        let (port, sharing) = match (settings.ports, sockets.first()) {
            (Ports::PerWorker, _) if settings.listen.port() == 0 => (0, Sharing::Own),
            (Ports::PerWorker, _) => (settings.listen.port() + index, Sharing::Own),
            (Ports::Single, None) => (settings.listen.port(), Sharing::Shared),
            (Ports::Single, Some(first)) => (first.local().port(), Sharing::Shared),
        };
        sockets.push(MediaSocket::open(SocketAddr::new(settings.listen.ip(), port), sharing)?);
    }
    Ok(sockets)
}

fn start_worker(
    seat: Seat,
    socket: MediaSocket,
    cold: &ColdHandle,
    events: &mpsc::Sender<Event>,
) -> std::io::Result<Worker> {
    let (cold, events) = (cold.clone(), events.clone());
    let worker = u16::try_from(seat.index).unwrap_or(u16::MAX);
    let router = router_settings();
    let families = Families { v4: socket.reaches_v4(), v6: socket.is_v6() };
    run::start(seat, socket, move || MediaEngine::new(Instant::now(), worker, families, router, cold, events))
}

fn router_settings() -> router::Settings {
    let mut random = StdRng::from_os_rng();
    router::Settings {
        seed: random.random(),
        unix: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        cname: format!("{:016x}", random.random::<u64>()),
        endpoints_max: PEERS_MAX,
        // A receive call may bring this much before the router is flushed.
        staging_bytes: syscall::RECEIVE_BYTES,
        ..router::Settings::default()
    }
}

/// Takes the cold pool's verdicts to the workers.
struct Post(Vec<Worker>);

impl Verdicts for Post {
    fn deliver(&self, peer: PeerId, verdict: Verdict) -> Result<(), (Verdict, CommandError)> {
        let Some(worker) = self.0.get(usize::from(peer.worker)) else { return Ok(()) };
        worker.send(Command::Cold { peer, verdict }).map_err(|(command, why)| {
            // The command that was sent comes back.
            let Command::Cold { verdict, .. } = command else { return (Verdict::Failed, why) };
            (verdict, why)
        })
    }
}

/// The addresses that a worker's clients are told.
#[must_use]
pub fn announced(settings: &MediaSettings, worker: &Worker) -> Vec<SocketAddr> {
    let port = worker.local().port();
    let address = |ip: &IpAddr| SocketAddr::new(*ip, port);
    settings.addresses.iter().map(address).collect()
}
