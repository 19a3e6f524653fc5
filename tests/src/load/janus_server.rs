//! Shell: owns a process and files.
//!
//! A Janus of our own for the comparison: Debian's `janus`, VideoRoom and HTTP only, one event loop, full ICE
//! on the address of the default route (Janus leaves loopback out; packets to it stay inside the machine all the same), in
//! a temporary folder.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::janus::Janus;
use super::signal::SignalError;

/// Janus is up within this time, or not at all.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// A running Janus; killed when dropped.
#[derive(Debug)]
pub struct JanusServer {
    process: Child,
    url: String,
    ip: IpAddr,
    folder: TempDir,
}

/// Why Janus did not start.
#[derive(Debug, thiserror::Error)]
pub enum JanusStartError {
    /// Files or the process.
    #[error("cannot start janus (Debian package janus)")]
    Io(#[from] io::Error),
    /// Its API does not answer.
    #[error("janus does not answer; its log ends: {0}")]
    NotReady(String),
    /// Address.
    #[error("cannot talk to janus")]
    Signal(#[from] SignalError),
}

impl JanusServer {
    /// Starts Janus and waits until its API answers.
    ///
    /// # Errors
    /// [`JanusStartError`].
    pub async fn start() -> Result<Self, JanusStartError> {
        let folder = tempfile::Builder::new().prefix("plenum-janus-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let ip = default_address()?;
        write_config(folder.path(), port, ip)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new("janus");
        command
            .arg("--configs-folder")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut server =
            Self { process: command.spawn()?, url: format!("http://127.0.0.1:{port}"), ip, folder };
        let api = Janus::new(&server.url)?;
        let deadline = Instant::now() + START_TIMEOUT;
        while api.info().await.is_err() {
            if Instant::now() > deadline || server.process.try_wait()?.is_some() {
                return Err(JanusStartError::NotReady(server.log_end()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// Address of its HTTP API.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Address of its media, which is one of this machine: clients bind to it too.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for JanusServer {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(|_status| ())) {
            tracing::warn!(%error, "cannot end janus");
        }
    }
}

/// The address that this machine would use towards others. Nothing is sent.
fn default_address() -> io::Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("198.51.100.1:9")?;
    Ok(socket.local_addr()?.ip())
}

fn write_config(folder: &std::path::Path, port: u16, ip: IpAddr) -> io::Result<()> {
    let general = "general: {\n  debug_level = 3\n  debug_colors = false\n  session_timeout = 0\n  event_loops = 1\n  server_name = \"load\"\n}\n\
         certificates: {}\nmedia: {\n  rtp_port_range = \"20000-28000\"\n}\n\
         nat: {\n  ice_enforce_list = \"@IP@\"\n  ice_keepalive_conncheck = false\n}\n\
         plugins: {\n  disable = \"libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so\"\n}\n\
         transports: {\n  disable = \"libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so,libjanus_websockets.so\"\n}\n\
         events: {\n  broadcast = false\n}\n";
    std::fs::write(folder.join("janus.jcfg"), general.replace("@IP@", &ip.to_string()))?;
    let http = format!(
        "general: {{\n  json = \"compact\"\n  base_path = \"/janus\"\n  http = true\n  port = {port}\n  ip = \"127.0.0.1\"\n  https = false\n}}\n"
    );
    std::fs::write(folder.join("janus.transport.http.jcfg"), http)?;
    std::fs::write(folder.join("janus.plugin.videoroom.jcfg"), "general: {\n}\n")
}
