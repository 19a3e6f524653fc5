//! Shell: owns the TCP listener and the connections.
//!
//! Accepts connections, speaks TLS and HTTP/1.1 or HTTP/2, and hands each request to a [`Service`]. Every wait has a
//! time limit; connections beyond the limit wait in the kernel's queue.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
            let connection = Connection { peer, service: service.clone(), stop: stop.clone() };
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                connection.run(stream, acceptor).await;
                drop(slot);
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
    fn the_plain_answer_has_the_length_it_says() {
        let text = std::str::from_utf8(PLAIN_HTTP_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
