//! Shell: owns UDP sockets.
//!
//! QUIC endpoints as the daemons set them up.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::udp::UdpSocketState;
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, TransportConfig, VarInt,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use ring::hmac;

use crate::limits::{
    LANES, MEDIA_STREAM_WINDOW_BYTES, MEDIA_TRACKS_MAX, MEDIA_WINDOW_BYTES, QUIC_STREAM_WINDOW_BYTES,
    UDP_BUFFER_BYTES,
};

/// A connection is gone when nothing was heard for this long.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// A silent connection sends a sign of life this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Handshake, first messages: a peer that takes longer is given up.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Resets to peers that do not know of our restart: at most one in this time.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Keys of a QUIC endpoint that stay the same over restarts: a restarted daemon answers packets of its former
/// connections with a stateless reset that their peers believe (RFC 9000 section 10.3), so that they reconnect at
/// once instead of after the idle timeout.
#[derive(Clone, Eq, PartialEq)]
pub struct QuicKeys {
    reset: [u8; 32],
}

impl std::fmt::Debug for QuicKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicKeys").finish_non_exhaustive()
    }
}

impl QuicKeys {
    /// Derives the keys from a secret of the daemon.
    #[must_use]
    pub fn derive(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut reset = [0; 32];
        reset.copy_from_slice(hmac::sign(&key, b"plenum stateless reset 1").as_ref());
        Self { reset }
    }
}

/// Random connection ids of 8 bytes. quinn's own generator signs them with a key of the process and then ignores
/// packets of former processes, which must be answered with a reset here.
struct ConnectionIds(StdRng);

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.random::<[u8; 8]>())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The UDP port cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (udp); change the address or free the port")]
pub struct BindError {
    /// As configured.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Binds a UDP socket and enlarges its buffers as far as the system allows: a thousand nodes may dial at once.
///
/// # Errors
/// [`BindError`].
pub fn bind(address: SocketAddr) -> Result<UdpSocket, BindError> {
    let socket = UdpSocket::bind(address).map_err(|source| BindError { address, source })?;
    let reference = || quinn::udp::UdpSockRef::from(&socket);
    if let Ok(state) = UdpSocketState::new(reference()) {
        for enlarged in [
            state.set_recv_buffer_size(reference(), UDP_BUFFER_BYTES),
            state.set_send_buffer_size(reference(), UDP_BUFFER_BYTES),
        ] {
            if let Err(error) = enlarged {
                tracing::debug!(%error, "cannot enlarge a socket buffer");
            }
        }
        match state.recv_buffer_size(reference()) {
            Ok(bytes) if bytes < UDP_BUFFER_BYTES => {
                tracing::debug!(bytes, "the receive buffer is small; raise net.core.rmem_max");
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(socket)
}

/// An endpoint on a bound socket; with a server configuration it also accepts.
///
/// # Errors
/// When the socket cannot be used by the runtime.
pub fn endpoint(
    socket: UdpSocket,
    keys: &QuicKeys,
    server: Option<quinn::ServerConfig>,
) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &keys.reset)));
    config.cid_generator(|| Box::new(ConnectionIds(StdRng::from_os_rng())));
    config.min_reset_interval(RESET_INTERVAL);
    Endpoint::new(config, server, socket, Arc::new(quinn::TokioRuntime))
}

/// Limits and timers of a connection that carries media: many streams from the node, few bytes ahead. The windows bound
/// what a slow recorder costs the media node, and what a fast media node costs a recorder.
#[must_use]
pub fn media_transport() -> Arc<TransportConfig> {
    let mut config = timers();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(MEDIA_TRACKS_MAX))
        .stream_receive_window(VarInt::from_u32(MEDIA_STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(MEDIA_WINDOW_BYTES))
        .send_window(u64::from(MEDIA_WINDOW_BYTES));
    Arc::new(config)
}

fn timers() -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle_ms = u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .keep_alive_interval(Some(KEEP_ALIVE));
    config
}

/// Limits and timers of every other connection between daemons.
#[must_use]
pub fn transport() -> Arc<TransportConfig> {
    let mut config = timers();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(u32::from(LANES) + 1))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(QUIC_STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(QUIC_STREAM_WINDOW_BYTES * 4))
        .send_window(u64::from(QUIC_STREAM_WINDOW_BYTES) * 4)
        .datagram_receive_buffer_size(Some(64 * 1024))
        .datagram_send_buffer_size(64 * 1024);
    Arc::new(config)
}
