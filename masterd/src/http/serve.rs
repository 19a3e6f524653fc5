//! Shell: owns the TCP listener and the connections.
//!
//! Accepts connections, speaks TLS and HTTP/1.1 or HTTP/2, and hands each request to a [`Service`]. Every wait has a
//! time limit; connections beyond the limit wait in the kernel's queue.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Service;
use super::crowd::Crowd;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be used.
    #[error("cannot listen on {address} (tcp) for HTTPS; change `http.listen` or free the port")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A listener that is bound but not served yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
}

impl Listener {
    /// Binds the address. Without TLS it speaks plain HTTP.
    ///
    /// # Errors
    /// [`ListenError::Listen`].
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self, ListenError> {
        let fail = |source| ListenError::Listen { address, source };
        let socket = TcpListener::bind(address).await.map_err(fail)?;
        let address = socket.local_addr().map_err(fail)?;
        Ok(Self { socket, address, tls })
    }

    /// Where it listens; the port is known also where 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` turns true, then lets the requests in progress end for up to [`DRAIN_TIMEOUT`].
    pub async fn serve(self, service: Service, mut stop: watch::Receiver<bool>) {
        let acceptor = self.tls.map(TlsAcceptor::from);
        let most = connections_max(open_files_max());
        let slots = Arc::new(Semaphore::new(most));
        let crowd = Arc::new(Mutex::new(Crowd::default()));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                // Cancel safe: a watch only looks.
                () = told(&mut stop) => break,
                // Cancel safe: a connection that is not accepted stays in the queue, a slot not taken stays free.
                accepted = accept(&self.socket, &slots) => accepted,
                // Cancel safe: a finished task stays in the set.
                Some(_) = connections.join_next() => continue,
            };
            let Some((stream, peer, slot)) = accepted else { continue };
            let Some(place) = Place::take(&crowd, peer.ip(), most / ADDRESS_SHARE) else {
                common::warn_limited!(1, %peer, "an address has too many connections: one more was closed");
                continue;
            };
            let connection = Connection { peer, service: service.clone(), stop: stop.clone() };
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                connection.run(stream, acceptor).await;
                drop((slot, place));
            });
        }
        drop(self.socket);
        let drained =
            timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(connections = connections.len(), "requests are cut off");
        }
    }
}

/// Waits until the watch turns true, or nobody is left who could turn it.
async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn accept(
    socket: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            common::warn_limited!(10, error = %error, "cannot accept a connection");
            // Out of file descriptors: without a pause this loop would spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// A counted connection of an address.
struct Place {
    // A lock, not a message: held for moments, by the tasks of the connections at their end.
    crowd: Arc<Mutex<Crowd>>,
    address: IpAddr,
}

impl Place {
    fn take(crowd: &Arc<Mutex<Crowd>>, address: IpAddr, max: usize) -> Option<Self> {
        let entered = crowd.lock().unwrap_or_else(PoisonError::into_inner).enter(address, max);
        entered.then(|| Self { crowd: Arc::clone(crowd), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner).leave(self.address);
    }
}

/// Files that this process may have open; none where the system does not tell.
fn open_files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    soft_open_files(&limits)
}

fn soft_open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Connections that leave enough files for everything else.
fn connections_max(open_files: Option<usize>) -> usize {
    let most = open_files.map_or(CONNECTIONS_MAX, |files| {
        files.saturating_sub(FILES_RESERVED).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
    });
    if most < CONNECTIONS_MAX {
        tracing::warn!(
            most,
            wanted = CONNECTIONS_MAX,
            "the limit of open files bounds the connections: raise it (ulimit -n)"
        );
    }
    most
}

struct Connection {
    peer: SocketAddr,
    service: Service,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Small answers must not wait for an acknowledgement; a dead peer must be noticed although we only send.
        drop(stream.set_nodelay(true));
        keep_alive(&stream);
        match acceptor {
            None => self.speak(stream).await,
            Some(acceptor) => {
                if speaks_plain_http(&stream).await {
                    explain(stream).await;
                    return;
                }
                match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.speak(stream).await,
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %self.peer, error = %error, "tls handshake failed");
                    }
                    Err(_) => tracing::debug!(peer = %self.peer, "tls handshake timed out"),
                }
            }
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut self, stream: S) {
        let service = self.service;
        let address = self.peer.ip();
        let handler = service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.answer(address, request.map(Body::new)).await) }
        });
        let builder = builder();
        let mut connection =
            std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), handler));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            // Cancel safe: a watch only looks.
            () = told(&mut self.stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %self.peer, error = %error, "connection ended");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Also bounds how long an idle connection is kept.
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(PING_INTERVAL))
        .keep_alive_timeout(PING_INTERVAL);
    builder
}

/// Without probes, a stream of events to a vanished client would hold its connection in the session for a quarter of
/// an hour.
fn keep_alive(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let probes = socket2::TcpKeepalive::new()
        .with_time(PING_INTERVAL)
        .with_interval(PING_INTERVAL / 4)
        .with_retries(4);
    drop(socket.set_tcp_keepalive(&probes));
    drop(socket.set_tcp_user_timeout(Some(PING_INTERVAL * 2)));
}

/// A TLS client's first byte is 0x16; an HTTP client's is the letter of a method.
async fn speaks_plain_http(stream: &TcpStream) -> bool {
    let mut first = [0_u8; 1];
    matches!(timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await, Ok(Ok(1)) if first[0].is_ascii_uppercase())
}

async fn explain(mut stream: TcpStream) {
    drop(timeout(HANDSHAKE_TIMEOUT, stream.write_all(PLAIN_HTTP_ANSWER)).await);
}

const PLAIN_HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 56\r\n\
    Connection: close\r\n\r\nThis port speaks HTTPS: the address begins with https://";

/// Connections at once: each costs some 30 kB with TLS.
const CONNECTIONS_MAX: usize = 16_384;

/// Connections at once however few files may be open.
const CONNECTIONS_MIN: usize = 64;

/// Files for the store, the links, logs and the health port.
const FILES_RESERVED: usize = 128;

/// One address has at most this part of all connections.
const ADDRESS_SHARE: usize = 4;

/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// Bytes of a request's head.
const HEADER_BYTES_MAX: usize = 64 * 1024;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Requests in progress may end for this long when masterd stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_bounds_the_connections() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             94000                94000                processes \n\
            Max open files            1024                 1048576              files     \n";
        assert_eq!(soft_open_files(limits), Some(1024));
        assert_eq!(
            soft_open_files("Max open files            unlimited            unlimited            files"),
            None
        );
        assert_eq!(connections_max(Some(1024)), 896);
        assert_eq!(connections_max(Some(10)), 64);
        assert_eq!(connections_max(Some(1 << 20)), CONNECTIONS_MAX);
        assert_eq!(connections_max(None), CONNECTIONS_MAX);
    }

    #[test]
    fn the_plain_answer_has_the_length_it_says() {
        let text = std::str::from_utf8(PLAIN_HTTP_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
