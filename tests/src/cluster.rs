//! Shell: owns processes, files and ports.
//!
//! A whole cluster on loopback for one test: masterd, any number of mediad, a recorderd where wanted, with generated
//! configs and free ports in a temporary folder. Everything ends when it is dropped; logs are shown when the test fails.

mod config;
mod daemon;

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use daemon::{Daemon, DaemonError, Program};

use crate::http::{Client, EventStream, HttpError, Response, basic};
use crate::load::{Plenum, Server, SignalError};
use crate::wait::{self, Late};

/// The API secret of test clusters.
pub const SECRET: &str = "secret-of-a-test-cluster";
/// Masterd's config for tests that kill nodes: by default nobody is lost in the first seconds after a start.
pub const NO_GRACE: &str = "[cluster]\nstartup_grace = \"0s\"\n";
/// All nodes have joined within this time.
const NODES_TIMEOUT: Duration = Duration::from_secs(20);

/// What a test's cluster looks like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Media nodes.
    pub nodes: usize,
    /// Start a recorder too.
    pub recorder: bool,
    /// Serve https; plain http else.
    pub tls: bool,
    /// Worker threads of each node.
    pub workers: usize,
    /// TOML appended to masterd's config.
    pub masterd: String,
    /// TOML appended to each mediad's config.
    pub mediad: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 1,
            recorder: false,
            tls: true,
            workers: 1,
            masterd: String::new(),
            mediad: String::new(),
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Control plane.
    pub masterd: Daemon,
    /// Media nodes.
    pub nodes: Vec<Daemon>,
    /// Recorder.
    pub recorder: Option<Daemon>,
    url: String,
    api: Client,
    options: Options,
    ports: Ports,
    folder: TempDir,
}

/// Ports of masterd.
#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    link: u16,
}

/// Why there is no cluster, or it does not do what a test needs.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// HTTP.
    #[error("request failed")]
    Http(#[from] HttpError),
    /// Ports or the folder.
    #[error("cannot prepare")]
    Io(#[from] std::io::Error),
    /// A condition.
    #[error(transparent)]
    Late(#[from] Late),
    /// Joining.
    #[error(transparent)]
    Signal(#[from] SignalError),
}

impl Cluster {
    /// Starts a cluster and waits until all its nodes have joined.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn start(options: Options) -> Result<Self, ClusterError> {
        let mut cluster = Self::prepare(options)?;
        cluster.masterd.start().await?;
        for _ in 0..cluster.options.nodes {
            cluster.add_node()?;
        }
        if cluster.options.recorder {
            let recorder = cluster.new_daemon(Program::Recorderd, "recorderd")?;
            recorder.spawn()?;
            cluster.recorder = Some(recorder);
        }
        for daemon in cluster.nodes.iter().chain(&cluster.recorder) {
            daemon.ready().await?;
        }
        cluster.nodes_running(cluster.options.nodes).await?;
        Ok(cluster)
    }

    /// Writes masterd's config; starts nothing.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn prepare(options: Options) -> Result<Self, ClusterError> {
        let folder = tempfile::Builder::new().prefix("plenum-test-").tempdir()?;
        let ports = Ports { http: free_tcp_port()?, link: free_udp_port()? };
        let health = free_tcp_port()?;
        std::fs::write(folder.path().join("secret"), SECRET)?;
        let config =
            config::masterd(folder.path(), ports.http, ports.link, health, options.tls) + &options.masterd;
        let masterd = Daemon::new(Program::Masterd, "masterd", folder.path(), health, &config)?;
        let url = format!("{}://127.0.0.1:{}", if options.tls { "https" } else { "http" }, ports.http);
        let api = Client::new(&url)?;
        Ok(Self { masterd, nodes: Vec::new(), recorder: None, url, api, options, ports, folder })
    }

    /// Adds a media node and starts it, without waiting. Gives its index.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn add_node(&mut self) -> Result<usize, ClusterError> {
        let node = self.new_daemon(Program::Mediad, &format!("mediad{}", self.nodes.len() + 1))?;
        node.spawn()?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn new_daemon(&self, program: Program, name: &str) -> Result<Daemon, ClusterError> {
        let health = free_tcp_port()?;
        let folder = self.folder.path();
        let config = match program {
            Program::Recorderd => config::recorderd(folder, name, self.ports.link, health),
            Program::Masterd | Program::Mediad => {
                config::mediad(folder, name, self.ports.link, health, self.options.workers)
                    + &self.options.mediad
            }
        };
        Ok(Daemon::new(program, name, folder, health, &config)?)
    }

    /// Waits until so many media nodes are running and connected.
    ///
    /// # Errors
    /// [`ClusterError::Late`].
    pub async fn nodes_running(&self, count: usize) -> Result<(), ClusterError> {
        let look = || async {
            let list = self.get("/openvidu/api/media-nodes").await.map_err(|error| error.to_string())?.json();
            let all = list["content"].as_array().cloned().unwrap_or_default();
            let running =
                all.iter().filter(|node| node["status"] == "running" && node["connected"] == true).count();
            if running == count { Ok(()) } else { Err(list.to_string()) }
        };
        Ok(wait::until(&format!("{count} running media nodes"), NODES_TIMEOUT, look).await?)
    }

    /// Address of masterd.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The temporary folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Port of masterd's HTTP.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.ports.http
    }

    /// UDP port of masterd's links.
    #[must_use]
    pub fn link_port(&self) -> u16 {
        self.ports.link
    }

    /// For the load tool.
    ///
    /// # Errors
    /// [`ClusterError::Signal`].
    pub fn server(&self) -> Result<Server, ClusterError> {
        Ok(Server::Plenum(Plenum::new(&self.url, SECRET)?))
    }

    /// The bare HTTP client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.api
    }

    /// A request with the API secret; `body` may be `Null` for none.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn api(&self, method: &str, path: &str, body: &Value) -> Result<Response, HttpError> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = basic(SECRET);
        self.api
            .send(
                method,
                path,
                &[("authorization", authorization.as_str()), ("content-type", "application/json")],
                body,
            )
            .await
    }

    /// GET with the API secret.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn get(&self, path: &str) -> Result<Response, HttpError> {
        self.api("GET", path, &Value::Null).await
    }

    /// Creates a session by name.
    ///
    /// # Errors
    /// [`ClusterError`]; an answer other than 200 is [`ClusterError::Http`].
    pub async fn session(&self, name: &str) -> Result<(), ClusterError> {
        let response =
            self.api("POST", "/openvidu/api/sessions", &json!({ "customSessionId": name })).await?;
        expect(&response, 200)
    }

    /// Makes a connection; gives its token, the `tok_...` part.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn token(&self, session: &str, role: &str) -> Result<String, ClusterError> {
        Ok(Plenum::new(&self.url, SECRET)?.token(session, role).await?)
    }

    /// The session's event stream, with the API secret, from after `last` or from now on.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn events(&self, session: &str, last: Option<&str>) -> Result<EventStream, HttpError> {
        let authorization = basic(SECRET);
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(last.map(|last| ("last-event-id", last)));
        self.api.events(&format!("/openvidu/api/sessions/{session}/events"), &headers).await
    }

    /// The node that hosts a session, by its index; none before it is placed.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn host_of(&self, session: &str) -> Result<Option<usize>, HttpError> {
        let placed = self.get(&format!("/openvidu/api/sessions/{session}")).await?.json();
        let id = placed["mediaNodeId"].as_str().unwrap_or_default().to_owned();
        Ok(self.nodes.iter().position(|node| id == format!("media_{}", node.name())))
    }
}

/// Reads events until one is accepted; gives it and all that came before.
///
/// # Errors
/// [`Late`] after `timeout`, or when the stream ends.
pub async fn event_until(
    stream: &mut EventStream,
    what: &str,
    timeout: Duration,
    mut accept: impl FnMut(&crate::http::ServerEvent) -> bool,
) -> Result<Vec<crate::http::ServerEvent>, Late> {
    let started = Instant::now();
    let mut seen = Vec::new();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        let last = match tokio::time::timeout(left, stream.next()).await {
            Ok(Ok(Some(event))) => {
                let accepted = accept(&event);
                seen.push(event);
                if accepted {
                    return Ok(seen);
                }
                continue;
            }
            Ok(Ok(None)) => "the end of the stream".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("{seen:?}"),
        };
        return Err(Late { what: what.to_owned(), waited: started.elapsed(), last });
    }
}

fn expect(response: &Response, status: u16) -> Result<(), ClusterError> {
    if response.status == status {
        return Ok(());
    }
    Err(HttpError::Body(format!("status {}: {}", response.status, response.text())).into())
}

/// A TCP port of loopback that is free now.
///
/// # Errors
/// When there is none.
pub fn free_tcp_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A UDP port of loopback that is free now.
///
/// # Errors
/// When there is none.
pub fn free_udp_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}
