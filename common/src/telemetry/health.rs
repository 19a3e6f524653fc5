//! Shell: owns a TCP listener.
//!
//! `/livez`, `/readyz` and `/metrics` of a daemon on a local address, as plain HTTP/1.1: one request a connection.
//!
//! ```
//! # async fn example() -> Result<(), common::telemetry::health::HealthError> {
//! use common::telemetry::health::{HealthConfig, HealthServer};
//! use prometheus_client::registry::Registry;
//!
//! let mut registry = Registry::with_prefix("mediad");
//! // registry.register(..)
//! let health = HealthServer::start(&HealthConfig::on_port(9102), registry, || true).await?;
//! health.readiness().set(Ok(()));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::task::{self, Owned};

/// Section `[telemetry]` of every daemon.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// Where `/livez`, `/readyz` and `/metrics` are served, without TLS and without a password: loopback, or an
    /// address that only the monitoring reaches. Port 0 takes a free one.
    pub listen: SocketAddr,
}

impl HealthConfig {
    /// On loopback.
    #[must_use]
    pub fn on_port(port: u16) -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }
}

/// Why there is no health server.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address cannot be used.
    #[error("cannot listen on {address} (tcp) for health and metrics; change the address or free the port")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Requests in progress; more wait in the kernel's queue. A scraper and two probes need three.
const REQUESTS_MAX: usize = 16;

/// Bytes of a request's head; probes send a few hundred.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Time for one request, from connect to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Says whether the daemon is ready for work. Clones speak for the same daemon.
#[derive(Clone, Debug)]
pub struct Readiness(watch::Sender<Result<(), String>>);

impl Readiness {
    /// Sets the answer of `/readyz`: ready, or why not.
    pub fn set(&self, ready: Result<(), String>) {
        drop(self.0.send_replace(ready));
    }
}

/// The running server; it ends when this is dropped.
pub struct HealthServer {
    address: SocketAddr,
    readiness: Readiness,
    _accept: Owned<()>,
}

impl fmt::Debug for HealthServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What the request handlers need.
struct Shared {
    registry: Registry,
    alive: Box<dyn Fn() -> bool + Send + Sync>,
    ready: watch::Receiver<Result<(), String>>,
}

impl HealthServer {
    /// Starts serving. `alive` says whether the daemon's own loop has turned lately; it must not block. Not ready
    /// until told so.
    ///
    /// # Errors
    /// [`HealthError::Listen`].
    pub async fn start(
        config: &HealthConfig,
        registry: Registry,
        alive: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, HealthError> {
        let fail = |source| HealthError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let (sender, ready) = watch::channel(Err("starting".to_owned()));
        let shared = Arc::new(Shared { registry, alive: Box::new(alive), ready });
        let accept = task::spawn_endless("health", accept(listener, shared));
        Ok(Self { address, readiness: Readiness(sender), _accept: Owned(accept) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handle that sets `/readyz`.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                task::spawn("health-request", async move {
                    // A peer that is too slow, or gone, needs no answer.
                    drop(tokio::time::timeout(REQUEST_TIMEOUT, serve(stream, &shared)).await);
                    drop(slot);
                });
            }
            Err(error) => {
                crate::warn_limited!(10, %error, "cannot accept a health request");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let answer = answer(&String::from_utf8_lossy(&head), shared);
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn answer(head: &str, shared: &Shared) -> String {
    let mut words = head.split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "GET" && method != "HEAD" {
        return response("405 Method Not Allowed", "text/plain", "only GET and HEAD\n", true);
    }
    let path = target.split('?').next().unwrap_or_default();
    let with_body = method == "GET";
    match path {
        "/livez" if (shared.alive)() => response("200 OK", "text/plain", "alive\n", with_body),
        "/livez" => response("503 Service Unavailable", "text/plain", "the main loop is stuck\n", with_body),
        "/readyz" => match &*shared.ready.borrow() {
            Ok(()) => response("200 OK", "text/plain", "ready\n", with_body),
            Err(why) => response("503 Service Unavailable", "text/plain", &format!("{why}\n"), with_body),
        },
        "/metrics" => {
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
                Ok(()) => response(
                    "200 OK",
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    &text,
                    with_body,
                ),
                Err(_) => response("500 Internal Server Error", "text/plain", "cannot encode\n", with_body),
            }
        }
        _ => response("404 Not Found", "text/plain", "try /livez, /readyz or /metrics\n", with_body),
    }
}

fn response(status: &str, kind: &str, body: &str, with_body: bool) -> String {
    let length = body.len();
    let body = if with_body { body } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use prometheus_client::metrics::counter::Counter;

    use super::*;

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_and_metrics_are_answered() {
        let jobs = Counter::<u64>::default();
        let mut registry = Registry::with_prefix("testd");
        registry.register("jobs", "Jobs done", jobs.clone());
        jobs.inc_by(3);
        let alive = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&alive);
        let server =
            HealthServer::start(&HealthConfig::on_port(0), registry, move || seen.load(Ordering::Relaxed))
                .await
                .unwrap();
        let at = server.address();

        assert!(get(at, "GET /livez HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
        alive.store(false, Ordering::Relaxed);
        assert!(get(at, "GET /livez HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503 "));

        let answer = get(at, "GET /readyz HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nstarting\n"), "{answer}");
        server.readiness().set(Ok(()));
        assert!(get(at, "GET /readyz HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\nready\n"));
        assert!(get(at, "HEAD /readyz HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\n"));

        let metrics = get(at, "GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(metrics.contains("testd_jobs_total 3\n") && metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(get(at, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(get(at, "POST /livez HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = taken.local_addr().unwrap();
        let config = HealthConfig { listen: address };
        let error = HealthServer::start(&config, Registry::default(), || true).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address} (tcp)")), "{error}");
    }
}
