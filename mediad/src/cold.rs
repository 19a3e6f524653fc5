//! Shell: owns the tasks of the cold pool: DTLS handshakes.
//!
//! A handshake costs 0.3 ms, which on a media thread would delay every session of its worker. Workers hand over
//! DTLS datagrams (only of addresses that STUN has validated) and get back what to send, the keys, or the end.
//! Handshakes are spread over a few shards, each one task that owns its handshakes and their timers. SDP
//! negotiation runs on the same runtime, in the control part.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::telemetry::chain;
use common::telemetry::task::{self, Owned};
use tokio::sync::mpsc;

use crate::transport::dtls::{Certificate, Handshake, Input, Output, Settings};
use crate::transport::spec::{DtlsRole, Fingerprint};
use crate::transport::srtp::{Opener, Profile, Sealer, SrtpKeys};
use crate::worker::run::CommandError;

/// Messages that may wait for one shard: half a second of handshakes. More are dropped and counted; the peer's DTLS
/// sends them again.
const QUEUE_MAX: usize = 2048;

/// Pause before a verdict that a worker had no room for is offered again.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// One peer of one worker, for one life of its place in the worker's table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId {
    /// Number of the worker.
    pub worker: u16,
    /// Place in the worker's table.
    pub slot: u32,
    /// Counts the peers that had this place.
    pub life: u32,
}

/// What a worker tells the pool.
#[derive(Debug)]
pub enum Request {
    /// Begin a handshake.
    Start {
        /// Whose.
        peer: PeerId,
        /// Who begins.
        role: DtlsRole,
        /// Hashes of the peer's certificate.
        fingerprints: Vec<Fingerprint>,
    },
    /// A DTLS datagram came.
    Datagram {
        /// From whom.
        peer: PeerId,
        /// As received.
        bytes: Vec<u8>,
    },
    /// Forget the peer; it is told nothing.
    Forget {
        /// Whose.
        peer: PeerId,
    },
    /// Send `close_notify`, then forget the peer.
    Close {
        /// Whose.
        peer: PeerId,
        /// Where the peer is, if that is known.
        to: Option<SocketAddr>,
    },
}

impl Request {
    /// Whose it is.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        match self {
            Self::Start { peer, .. }
            | Self::Datagram { peer, .. }
            | Self::Forget { peer }
            | Self::Close { peer, .. } => *peer,
        }
    }
}

/// Both directions of SRTP, made from the keys.
#[derive(Debug)]
pub struct Keyed {
    /// The keys themselves, for the endpoint's state.
    pub keys: SrtpKeys,
    /// Our direction.
    pub sealer: Sealer,
    /// The peer's direction.
    pub opener: Opener,
}

/// What the pool tells a worker.
#[derive(Debug)]
pub enum Verdict {
    /// Send this to the peer, or to where it was last.
    Transmit {
        /// What.
        bytes: Vec<u8>,
        /// Where, if the peer is gone already.
        to: Option<SocketAddr>,
    },
    /// The handshake is complete.
    Keys(Box<Keyed>),
    /// There will be no keys.
    Failed,
    /// The peer ended the association.
    Closed,
}

/// Takes verdicts to the workers.
pub trait Verdicts: Send + Sync + 'static {
    /// Delivers one; never waits. A verdict that was not taken comes back.
    ///
    /// # Errors
    /// The verdict, and why it was not taken.
    fn deliver(&self, peer: PeerId, verdict: Verdict) -> Result<(), (Verdict, CommandError)>;
}

/// How handshakes went since the start.
#[derive(Debug, Default)]
pub struct ColdCounters {
    /// Begun.
    pub started: AtomicU64,
    /// Ended with keys.
    pub completed: AtomicU64,
    /// Ended without.
    pub failed: AtomicU64,
    /// Messages of workers that found a full queue.
    pub dropped: AtomicU64,
    /// Handshakes that are held, complete ones included.
    pub held: AtomicU64,
}

/// The workers' side of the pool; cheap to clone.
#[derive(Clone, Debug)]
pub struct ColdHandle {
    shards: Arc<[mpsc::Sender<Request>]>,
    counters: Arc<ColdCounters>,
}

impl ColdHandle {
    /// Queues a message; never waits. False if it was dropped.
    pub fn send(&self, request: Request) -> bool {
        let peer = request.peer();
        let shard = (peer.slot as usize ^ usize::from(peer.worker)) % self.shards.len();
        let taken = self.shards[shard].try_send(request).is_ok();
        if !taken {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// How handshakes went.
    #[must_use]
    pub fn counters(&self) -> &ColdCounters {
        &self.counters
    }
}

/// The running pool; its tasks end when this is dropped.
#[derive(Debug)]
pub struct ColdPool {
    _tasks: Vec<Owned<()>>,
}

/// Where verdicts go is only known when the workers run, and they need the handle before: so the pool is made
/// first and started afterwards.
#[derive(Debug)]
pub struct ColdQueues {
    receivers: Vec<mpsc::Receiver<Request>>,
    counters: Arc<ColdCounters>,
}

/// Makes the queues of a pool with `shards` tasks.
#[must_use]
pub fn queues(shards: usize) -> (ColdHandle, ColdQueues) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards.max(1)).map(|_| mpsc::channel(QUEUE_MAX)).unzip();
    let counters = Arc::<ColdCounters>::default();
    let handle = ColdHandle { shards: senders.into(), counters: Arc::clone(&counters) };
    (handle, ColdQueues { receivers, counters })
}

impl ColdQueues {
    /// A message that waits, for tests that carry it out themselves.
    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Option<Request> {
        self.receivers.iter_mut().find_map(|receiver| receiver.try_recv().ok())
    }

    /// Starts the tasks on the present runtime.
    pub fn start(self, certificate: &Certificate, verdicts: &Arc<impl Verdicts>) -> ColdPool {
        let start = |receiver| {
            let shard = Shard {
                certificate: certificate.clone(),
                handshakes: HashMap::new(),
                deadlines: BTreeSet::new(),
                verdicts: Arc::clone(verdicts),
                counters: Arc::clone(&self.counters),
            };
            Owned(task::spawn("dtls", shard.run(receiver)))
        };
        ColdPool { _tasks: self.receivers.into_iter().map(start).collect() }
    }
}

/// One association with the deadline under which it is filed.
struct Held {
    handshake: Handshake,
    filed: Option<Instant>,
    /// Where the last words go: the worker does not know the peer any more.
    farewell: Option<SocketAddr>,
}

struct Shard<V> {
    certificate: Certificate,
    handshakes: HashMap<PeerId, Held>,
    deadlines: BTreeSet<(Instant, PeerId)>,
    verdicts: Arc<V>,
    counters: Arc<ColdCounters>,
}

impl<V: Verdicts> Shard<V> {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let next = self.deadlines.first().map(|(at, _)| *at);
            let far = Duration::from_secs(3600);
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => tokio::time::sleep(far).await,
                }
            };
            // Both arms are cancel safe: nothing is taken from the queue before it is returned.
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.handle(Instant::now(), request).await,
                    None => return,
                },
                () = timer => self.tick(Instant::now()).await,
            }
        }
    }

    async fn handle(&mut self, now: Instant, request: Request) {
        match request {
            Request::Start { peer, role, fingerprints } => self.begin(now, peer, role, fingerprints).await,
            Request::Datagram { peer, bytes } => self.feed(now, peer, Input::Datagram(&bytes)).await,
            Request::Forget { peer } => self.forget(peer),
            Request::Close { peer, to } => {
                if let Some(held) = self.handshakes.get_mut(&peer) {
                    held.farewell = to;
                }
                self.feed(now, peer, Input::Close).await;
                self.forget(peer);
            }
        }
    }

    async fn begin(&mut self, now: Instant, peer: PeerId, role: DtlsRole, fingerprints: Vec<Fingerprint>) {
        if self.handshakes.contains_key(&peer) {
            return;
        }
        self.counters.started.fetch_add(1, Ordering::Relaxed);
        let profiles = vec![Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80];
        match Handshake::new(now, &self.certificate, Settings { role, fingerprints, profiles }) {
            Ok(handshake) => {
                self.counters.held.fetch_add(1, Ordering::Relaxed);
                self.handshakes.insert(peer, Held { handshake, filed: None, farewell: None });
                self.drain(peer).await;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot begin a DTLS handshake");
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                deliver(&*self.verdicts, peer, Verdict::Failed).await;
            }
        }
    }

    async fn feed(&mut self, now: Instant, peer: PeerId, input: Input<'_>) {
        if let Some(held) = self.handshakes.get_mut(&peer) {
            held.handshake.handle(now, input);
            self.drain(peer).await;
        }
    }

    async fn tick(&mut self, now: Instant) {
        while let Some((at, peer)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            if let Some(held) = self.handshakes.get_mut(&peer) {
                held.filed = None;
            }
            self.feed(now, peer, Input::Tick).await;
        }
    }

    /// Delivers what a handshake wants done, and files its next deadline.
    async fn drain(&mut self, peer: PeerId) {
        while let Some(held) = self.handshakes.get_mut(&peer)
            && let Some(output) = held.handshake.poll_output()
        {
            let verdict = match output {
                Output::Transmit(bytes) => Verdict::Transmit { bytes, to: held.farewell },
                Output::Connected(keys) => {
                    self.counters.completed.fetch_add(1, Ordering::Relaxed);
                    let (sealer, opener) = (Sealer::new(&keys), Opener::new(&keys));
                    Verdict::Keys(Box::new(Keyed { keys, sealer, opener }))
                }
                Output::Failed(error) => {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    common::warn_limited!(5, error = %chain(&error), "DTLS failed");
                    Verdict::Failed
                }
                Output::Closed => Verdict::Closed,
            };
            deliver(&*self.verdicts, peer, verdict).await;
        }
        let Some(held) = self.handshakes.get_mut(&peer) else { return };
        if held.handshake.is_over() {
            self.forget(peer);
            return;
        }
        let next = held.handshake.deadline();
        if next != held.filed {
            let before = std::mem::replace(&mut held.filed, next);
            self.deadlines.extend(next.map(|at| (at, peer)));
            if let Some(at) = before {
                self.deadlines.remove(&(at, peer));
            }
        }
    }

    fn forget(&mut self, peer: PeerId) {
        if let Some(held) = self.handshakes.remove(&peer) {
            self.counters.held.fetch_sub(1, Ordering::Relaxed);
            if let Some(at) = held.filed {
                self.deadlines.remove(&(at, peer));
            }
        }
    }
}

/// Offers a verdict until there is room: keys must not get lost. What is to be sent may be, DTLS repeats it.
async fn deliver(verdicts: &impl Verdicts, peer: PeerId, verdict: Verdict) {
    let mut next = verdict;
    while let Err((verdict, why)) = verdicts.deliver(peer, next) {
        if why == CommandError::Gone || matches!(verdict, Verdict::Transmit { .. }) {
            return;
        }
        next = verdict;
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Two peers whose datagrams are exchanged: peer 0 and peer 1.
    struct Wire {
        handle: ColdHandle,
        keys: Mutex<HashMap<u32, Box<Keyed>>>,
        ends: Mutex<Vec<(u32, &'static str)>>,
        /// Verdicts that are refused before the first is taken.
        refusals: AtomicU64,
    }

    const fn peer(slot: u32) -> PeerId {
        PeerId { worker: 0, slot, life: 1 }
    }

    impl Verdicts for Wire {
        fn deliver(&self, peer: PeerId, verdict: Verdict) -> Result<(), (Verdict, CommandError)> {
            if matches!(verdict, Verdict::Keys(_)) && self.refusals.load(Ordering::Relaxed) > 0 {
                self.refusals.fetch_sub(1, Ordering::Relaxed);
                return Err((verdict, CommandError::Full));
            }
            match verdict {
                Verdict::Transmit { bytes, .. } => {
                    self.handle
                        .send(Request::Datagram { peer: PeerId { slot: 1 - peer.slot, ..peer }, bytes });
                }
                Verdict::Keys(keyed) => drop(self.keys.lock().unwrap().insert(peer.slot, keyed)),
                Verdict::Failed => self.ends.lock().unwrap().push((peer.slot, "failed")),
                Verdict::Closed => self.ends.lock().unwrap().push((peer.slot, "closed")),
            }
            Ok(())
        }
    }

    async fn wait_for(mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < end, "in time");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn start() -> (ColdHandle, Arc<Wire>, ColdPool, Certificate) {
        let (handle, queues) = queues(2);
        let wire = Arc::new(Wire {
            handle: handle.clone(),
            keys: Mutex::default(),
            ends: Mutex::default(),
            refusals: AtomicU64::new(2),
        });
        let certificate = Certificate::generate().unwrap();
        let pool = queues.start(&certificate, &wire);
        (handle, wire, pool, certificate)
    }

    #[tokio::test]
    async fn two_peers_get_each_others_keys_and_one_sees_the_other_end() {
        let (handle, wire, _pool, certificate) = start();
        let fingerprints = vec![certificate.fingerprint().clone()];
        handle.send(Request::Start {
            peer: peer(0),
            role: DtlsRole::Server,
            fingerprints: fingerprints.clone(),
        });
        handle.send(Request::Start { peer: peer(1), role: DtlsRole::Client, fingerprints });
        wait_for(|| wire.keys.lock().unwrap().len() == 2).await;
        assert_eq!(handle.counters().completed.load(Ordering::Relaxed), 2);
        handle.send(Request::Close { peer: peer(1), to: None });
        wait_for(|| *wire.ends.lock().unwrap() == [(0, "closed")]).await;
        wait_for(|| handle.counters().held.load(Ordering::Relaxed) == 0).await;
    }

    #[tokio::test]
    async fn a_wrong_certificate_and_rubbish_fail() {
        let (handle, wire, _pool, certificate) = start();
        let wrong = vec![Fingerprint { hash: "sha-256".to_owned(), bytes: vec![7; 32] }];
        let right = vec![certificate.fingerprint().clone()];
        handle.send(Request::Datagram { peer: peer(5), bytes: vec![22; 40] });
        handle.send(Request::Start { peer: peer(0), role: DtlsRole::Server, fingerprints: wrong });
        handle.send(Request::Start { peer: peer(1), role: DtlsRole::Client, fingerprints: right });
        wait_for(|| wire.ends.lock().unwrap().contains(&(0, "failed"))).await;
        assert!(wire.keys.lock().unwrap().get(&0).is_none());
    }
}
