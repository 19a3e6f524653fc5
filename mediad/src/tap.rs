//! Shell: owns the UDP socket of `plenum-media/1` and its tasks.
//!
//! Recorders receive the RTP of a session from here. Everything runs on the cold runtime: a tap reads the rings of the
//! session's tracks from outside, and looks at the session's worker ten times a second. A worker does nothing per packet
//! for it.
//!
//! - `grants`: who may tap what (pure).
//! - `roster`: the tracks of a tap and what the recorder wants of them (pure).
//! - `feed`, `order`, `records`: from the rings to what is sent (pure).
//! - `serve`: one connection. `track`: the stream of one track.
//!
//! **A slow recorder loses packets, never memory.** Between a ring and a recorder there is one record of a track and what
//! QUIC has on its way; who does not take it is overtaken in the ring and told so. Who takes nothing at all for
//! [`STUCK`] is dropped.

pub mod feed;
pub mod grants;
pub mod order;
pub mod records;
pub mod roster;
mod serve;
mod track;

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::id::{NodeKey, RecordingKey, SessionKey};
use common::net::close::{CloseCode, describe};
use common::net::identity::Identity;
use common::net::peer::Peer;
use common::net::quic::{self, HANDSHAKE_TIMEOUT, QuicKeys};
use common::net::tls::{self, ServerCertificate, TlsError};
use common::telemetry::chain;
use common::telemetry::task::{self, Owned};
use common::wire::media::ALPN;
use common::wire::node::Role;
use quinn::{Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::router::{Look, Seen};

/// Connections of recorders, handshakes included.
const TAPS_MAX: usize = 256;

/// A recorder that takes nothing for so long is dropped.
pub const STUCK: Duration = Duration::from_secs(10);

/// Why a tap is refused or ends.
pub type Refused = (CloseCode, &'static str);

/// What taps are of: the node's control part, or what a test puts in its place.
pub trait Source: Send + Sync + 'static {
    /// Begins a tap; gives its number. The former tap of the same recording is over.
    ///
    /// # Errors
    /// Why not.
    fn begin(&self, recorder: NodeKey, session: SessionKey, recording: RecordingKey) -> Result<u64, Refused>;

    /// Whether a tap may go on.
    ///
    /// # Errors
    /// Why not.
    fn holds(&self, session: SessionKey, recording: RecordingKey, life: u64) -> Result<(), Refused>;

    /// Looks at a session; none if it is not open or its worker has no time.
    fn look(&self, look: Look) -> impl Future<Output = Option<Seen>> + Send;

    /// Where taps are counted.
    fn counters(&self) -> &TapCounters;
}

/// What taps count since the node's start.
#[derive(Debug, Default)]
pub struct TapCounters {
    /// Taps that stand now.
    pub taps: AtomicU64,
    /// Tracks that are sent now.
    pub tracks: AtomicU64,
    /// Packets sent.
    pub packets: AtomicU64,
    /// Their bytes, with what is around them.
    pub bytes: AtomicU64,
    /// Packets that recorders were too slow for.
    pub lapped: AtomicU64,
    /// Packets that publishers' paths lost for good.
    pub lost: AtomicU64,
    /// Connections and taps that were refused.
    pub refused: AtomicU64,
    /// Recorders that were dropped because they took nothing.
    pub stuck: AtomicU64,
}

/// Counts one for as long as it lives.
#[derive(Debug)]
struct Present<'a>(&'a AtomicU64);

impl<'a> Present<'a> {
    fn new(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves recorders until it is dropped.
#[derive(Debug)]
pub struct TapServer {
    stop: watch::Sender<bool>,
    run: Owned<()>,
}

impl TapServer {
    /// Serves on a bound socket, as soon as the node has its certificate. Needs a tokio runtime.
    #[must_use]
    pub fn start<S: Source>(
        socket: UdpSocket,
        keys: QuicKeys,
        identity: watch::Receiver<Option<Arc<Identity>>>,
        source: Arc<S>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let run = task::spawn("tap-accept", async move {
            if let Err(why) = run(socket, keys, identity, source, stopped).await {
                tracing::error!(error = why, "recorders cannot be served");
            }
        });
        Self { stop, run: Owned(run) }
    }

    /// Tells all recorders that this node ends, and ends.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        // Only to let the last packets out.
        drop(timeout(Duration::from_millis(500), &mut self.run.0).await);
    }
}

async fn run<S: Source>(
    socket: UdpSocket,
    keys: QuicKeys,
    mut identity: watch::Receiver<Option<Arc<Identity>>>,
    source: Arc<S>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    let first = loop {
        let present = identity.borrow_and_update().clone();
        if let Some(present) = present {
            break present;
        }
        if identity.changed().await.is_err() {
            return Ok(());
        }
    };
    let text = |error: TlsError| chain(&error).to_string();
    let certificate = certificate(&first).map_err(text)?;
    let roots = tls::roots(&first.authority).map_err(text)?;
    let mut config = tls::server(Arc::clone(&certificate), roots, &[ALPN]).map_err(text)?;
    config.transport_config(quic::media_transport());
    let endpoint = quic::endpoint(socket, &keys, Some(config)).map_err(|error| error.to_string())?;
    let slots = Arc::new(Semaphore::new(TAPS_MAX));
    loop {
        // All arms are cancel safe.
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => admit(incoming, &slots, &first.says.cluster, &source),
                None => return Ok(()),
            },
            changed = identity.changed() => match changed {
                Ok(()) => renew(&certificate, identity.borrow_and_update().as_deref()),
                Err(_) => return end(&endpoint).await,
            },
            _ = stopped.changed() => return end(&endpoint).await,
        }
    }
}

async fn end(endpoint: &Endpoint) -> Result<(), String> {
    endpoint.close(CloseCode::Shutdown.code(), b"the media node ends");
    endpoint.wait_idle().await;
    Ok(())
}

fn certificate(identity: &Identity) -> Result<Arc<ServerCertificate>, TlsError> {
    ServerCertificate::new(identity.shown.chain.clone(), identity.shown.key.clone_key())
}

fn renew(certificate: &ServerCertificate, identity: Option<&Identity>) {
    let Some(identity) = identity else { return };
    let replaced = certificate.replace(identity.shown.chain.clone(), identity.shown.key.clone_key());
    if let Err(error) = replaced {
        tracing::error!(error = %chain(&error), "cannot use the node's new certificate for recorders");
    }
}

fn admit<S: Source>(incoming: Incoming, slots: &Arc<Semaphore>, cluster: &str, source: &Arc<S>) {
    let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
        source.counters().refused.fetch_add(1, Ordering::Relaxed);
        common::warn_limited!(5, peer = %incoming.remote_address(), "too many recorders");
        return incoming.refuse();
    };
    task::spawn("tap", shake(incoming, slot, cluster.to_owned(), Arc::clone(source)));
}

/// The handshake, and then the tap.
async fn shake<S: Source>(incoming: Incoming, slot: OwnedSemaphorePermit, cluster: String, source: Arc<S>) {
    let peer: SocketAddr = incoming.remote_address();
    let connection = match timeout(HANDSHAKE_TIMEOUT, incoming.into_future()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            source.counters().refused.fetch_add(1, Ordering::Relaxed);
            common::warn_limited!(5, %peer, error = describe(&error), "a recorder's handshake failed");
            return;
        }
        Err(_) => return,
    };
    let says = tls::peer_of(&connection).filter(|says| says.cluster == cluster);
    match says.map(|says| says.peer) {
        Some(Peer::Node { role: Role::Recorder, node }) => {
            serve::serve(&source, connection, node).await;
        }
        other => {
            source.counters().refused.fetch_add(1, Ordering::Relaxed);
            let who =
                other.map_or_else(|| "a peer without a certificate".to_owned(), |peer| peer.to_string());
            common::warn_limited!(5, %peer, who, "not entitled to tap");
            CloseCode::Unauthorized.close(&connection, &format!("{who} is not entitled to tap"));
        }
    }
    drop(slot);
}
