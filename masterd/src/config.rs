//! Shell: reads files that the configuration names.
//!
//! masterd's configuration: the sections as written, and the checked [`Settings`] that everything else uses.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::config::{CommonArgs, ConfigError, FilePath, Loaded};
use common::telemetry::LogConfig;
use common::telemetry::health::HealthConfig;
use common::units::Span;
use serde::{Deserialize, Serialize};

use crate::cluster::CoreSettings;
use crate::cluster::op::RecordingNotice;
use crate::http::auth::Secret;
use crate::http::ice::IceSource;
use crate::http::sessions::CODECS;
use crate::http::{Edition, FrameworkErrors, HttpSettings, MediaServer, RecordingSettings};

/// The file as written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// OpenVidu's API.
    pub api: Api,
    /// Times of the cluster.
    pub cluster: Cluster,
    /// HTTPS.
    pub http: Http,
    /// QUIC links of nodes and operators.
    pub link: Link,
    /// Log.
    pub log: LogConfig,
    /// Recordings.
    pub recording: Recording,
    /// Sessions.
    pub sessions: Sessions,
    /// What survives a restart.
    pub state: State,
    /// Health and metrics.
    pub telemetry: HealthConfig,
    /// What clients are told.
    pub webrtc: Webrtc,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            api: Api::default(),
            cluster: Cluster::default(),
            http: Http::default(),
            link: Link::default(),
            log: LogConfig::default(),
            recording: Recording::default(),
            sessions: Sessions::default(),
            state: State::default(),
            telemetry: HealthConfig::on_port(9101),
            webrtc: Webrtc::default(),
        }
    }
}

/// Section `[api]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// File that holds the API secret. The environment variable `PLENUM_SECRET` goes first.
    pub secret_file: Option<FilePath>,
    /// `enterprise`, `pro` or `ce`.
    pub edition: Edition,
    /// What wrong methods, unknown paths and malformed bodies get: `forbidden` (403, as OpenVidu 2.32) or `natural`.
    pub framework_errors: FrameworkErrors,
    /// Paths of older OpenVidu clients.
    pub deprecated_paths: bool,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            secret_file: None,
            edition: Edition::default(),
            framework_errors: FrameworkErrors::default(),
            deprecated_paths: true,
        }
    }
}

/// Section `[cluster]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Silence after which a node gets no new sessions.
    pub suspect_after: Span,
    /// Silence after which a node is lost.
    pub lost_after: Span,
    /// No node is lost earlier than this after a start of masterd.
    pub startup_grace: Span,
    /// Time for a media node to answer.
    pub command_timeout: Span,
    /// What happens to the sessions of a lost node.
    pub on_node_loss: OnNodeLoss,
}

impl Default for Cluster {
    fn default() -> Self {
        let core = CoreSettings::default();
        Self {
            suspect_after: Span(core.suspect_after),
            lost_after: Span(core.lost_after),
            startup_grace: Span(core.startup_grace),
            command_timeout: Span(core.command_timeout),
            on_node_loss: OnNodeLoss::Close,
        }
    }
}

/// What happens to the sessions of a lost node.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNodeLoss {
    /// They are closed with the reason `nodeCrashed` and can be used again at once.
    Close,
}

/// Section `[http]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where HTTPS is served.
    pub listen: SocketAddr,
    /// `self-signed`, `files`, or `off` (on loopback only, behind a proxy).
    pub tls: Tls,
    /// Certificate chain in PEM form, for `tls = "files"`.
    pub certificate_file: Option<FilePath>,
    /// Private key in PEM form, for `tls = "files"`.
    pub key_file: Option<FilePath>,
    /// Domain name or address in tokens and URLs.
    pub domain: String,
    /// The whole public URL, where domain and port of `listen` do not say it.
    pub public_url: Option<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4443)),
            tls: Tls::SelfSigned,
            certificate_file: None,
            key_file: None,
            domain: "localhost".to_owned(),
            public_url: None,
        }
    }
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// From files.
    Files,
    /// Plain HTTP.
    Off,
    /// Made at the first start and kept in the state folder.
    SelfSigned,
}

/// Section `[link]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// Where nodes and operators dial (UDP).
    pub listen: SocketAddr,
}

impl Default for Link {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7443)) }
    }
}

/// Section `[recording]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recording {
    /// Sessions can be recorded; else the paths of recordings answer 501.
    pub enabled: bool,
    /// A recording in whose session nobody publishes is stopped after this; `0s`: with the last participant.
    pub autostop_timeout: Span,
    /// Who is told that a recording starts and stops: `none`, `moderator`, `publisher_moderator` or `all`.
    pub notification: RecordingNotice,
    /// Files can be read without credentials.
    pub public_access: bool,
    /// Time for a recording to begin.
    pub start_timeout: Span,
    /// Recordings of a recorder that was lost this long ago are stopped.
    pub recorder_grace: Span,
}

impl Default for Recording {
    fn default() -> Self {
        let core = CoreSettings::default();
        Self {
            enabled: true,
            autostop_timeout: Span(core.recording_autostop),
            notification: core.recording_notice,
            public_access: false,
            start_timeout: Span(core.recording_start_timeout),
            recorder_grace: Span(core.recorder_grace),
        }
    }
}

/// Section `[sessions]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// `forcedVideoCodec` of sessions that name none.
    pub forced_video_codec: String,
    /// `allowTranscoding` of sessions that say nothing. Shown only: nothing is transcoded.
    pub allow_transcoding: bool,
    /// A session that nobody has joined vanishes after this.
    pub garbage_threshold: Span,
    /// How often such sessions are looked for.
    pub garbage_interval: Span,
    /// Emit `sessionDestroyed` for them, which OpenVidu does not.
    pub garbage_events: bool,
}

impl Default for Sessions {
    fn default() -> Self {
        let core = CoreSettings::default();
        Self {
            forced_video_codec: "MEDIA_SERVER_PREFERRED".to_owned(),
            allow_transcoding: false,
            garbage_threshold: Span(core.garbage_after),
            garbage_interval: Span(core.garbage_interval),
            garbage_events: core.garbage_events,
        }
    }
}

/// Section `[state]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Folder of what survives a restart: store, cluster authority, join token, self-signed certificate.
    pub dir: FilePath,
}

impl Default for State {
    fn default() -> Self {
        Self { dir: FilePath::from("/var/lib/plenum/masterd") }
    }
}

/// Section `[webrtc]`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webrtc {
    /// Given to clients whose connection names none: `"stun:host:port"`, `"turn:host,username=u,credential=c"` or
    /// `"turn:host,staticAuthSecret=s"`.
    pub ice_servers: Vec<String>,
    /// Who offers what OpenVidu's browser clients receive: `mediasoup` (the server, with simulcast) or `kurento` (the
    /// client).
    pub media_server: MediaServer,
    /// OpenVidu's browser clients that say nothing of it publish in several resolutions.
    pub simulcast: bool,
}

/// Checked and complete.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Health and metrics.
    pub health: HealthConfig,
    /// Log.
    pub log: LogConfig,
    /// State folder.
    pub state_dir: PathBuf,
    /// Where HTTPS is served.
    pub http_listen: SocketAddr,
    /// Where the certificate comes from.
    pub certificate: Certificate,
    /// Where nodes dial.
    pub link_listen: SocketAddr,
    /// The faces.
    pub http: HttpSettings,
    /// The core.
    pub core: CoreSettings,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Certificate {
    /// These files.
    Files {
        /// Chain.
        certificate: PathBuf,
        /// Key.
        key: PathBuf,
    },
    /// None: plain HTTP.
    Off,
    /// The state folder, for these names and the host's own.
    SelfSigned {
        /// Names from the configuration.
        names: Vec<String>,
    },
}

/// Loads the configuration without checking it, for commands that need only a part.
///
/// # Errors
/// [`ConfigError`].
pub fn load(args: &CommonArgs) -> Result<Loaded<Raw>, ConfigError> {
    common::config::load("masterd", args)
}

/// The process's environment, as far as it is text.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    let text =
        |(key, value): (OsString, OsString)| Some((key.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Checks a configuration for running. `environment` is for `PLENUM_SECRET`.
///
/// # Errors
/// [`ConfigError`] with the first problem.
pub fn check(loaded: &Loaded<Raw>, environment: &BTreeMap<String, String>) -> Result<Settings, ConfigError> {
    let raw = &loaded.value;
    let certificate = certificate(loaded)?;
    let public_url = public_url(loaded)?;
    if !CODECS.contains(&raw.sessions.forced_video_codec.as_str()) {
        return Err(loaded.refuse("sessions.forced_video_codec", format!("one of {}", CODECS.join(", "))));
    }
    if raw.cluster.lost_after.0 <= raw.cluster.suspect_after.0 {
        return Err(loaded.refuse("cluster.lost_after", "a longer time than `cluster.suspect_after`"));
    }
    if raw.cluster.suspect_after.0 < Duration::from_millis(300) {
        return Err(
            loaded.refuse("cluster.suspect_after", "at least 300ms: nodes send a heartbeat each 250 ms")
        );
    }
    let sources = raw.webrtc.ice_servers.iter().map(|text| IceSource::from_text(text));
    let ice_servers = sources
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| loaded.refuse("webrtc.ice_servers", format!("ICE servers ({error})")))?;
    let start_timeout = raw.recording.start_timeout.0;
    if start_timeout < Duration::from_secs(1) || start_timeout > Duration::from_secs(25) {
        return Err(loaded.refuse("recording.start_timeout", "from 1s to 25s: clients give up after 30 s"));
    }
    let recordings =
        RecordingSettings { enabled: raw.recording.enabled, public_access: raw.recording.public_access };
    let http = HttpSettings {
        public_url,
        secret: secret(loaded, environment)?,
        edition: raw.api.edition,
        framework_errors: raw.api.framework_errors,
        deprecated_paths: raw.api.deprecated_paths,
        forced_video_codec: raw.sessions.forced_video_codec.clone(),
        allow_transcoding: raw.sessions.allow_transcoding,
        ice_servers,
        recordings,
        behind_proxy: certificate == Certificate::Off,
        media_server: raw.webrtc.media_server,
        video_simulcast: raw.webrtc.simulcast,
    };
    Ok(Settings {
        health: raw.telemetry,
        log: raw.log.clone(),
        state_dir: raw.state.dir.0.clone(),
        http_listen: raw.http.listen,
        link_listen: raw.link.listen,
        core: core_settings(raw, &http),
        http,
        certificate,
    })
}

fn core_settings(raw: &Raw, http: &HttpSettings) -> CoreSettings {
    CoreSettings {
        suspect_after: raw.cluster.suspect_after.0,
        lost_after: raw.cluster.lost_after.0,
        startup_grace: raw.cluster.startup_grace.0,
        command_timeout: raw.cluster.command_timeout.0,
        garbage_after: raw.sessions.garbage_threshold.0,
        garbage_interval: raw.sessions.garbage_interval.0,
        garbage_events: raw.sessions.garbage_events,
        recording_start_timeout: raw.recording.start_timeout.0,
        recording_autostop: raw.recording.autostop_timeout.0,
        recording_notice: raw.recording.notification,
        recorder_grace: raw.recording.recorder_grace.0,
        recordings_url: http.recordings_url(),
        ..CoreSettings::default()
    }
}

fn certificate(loaded: &Loaded<Raw>) -> Result<Certificate, ConfigError> {
    let http = &loaded.value.http;
    match http.tls {
        Tls::Off if http.listen.ip().is_loopback() => Ok(Certificate::Off),
        Tls::Off => {
            Err(loaded.refuse("http.tls", "`off` only with `http.listen` on loopback, behind a proxy"))
        }
        Tls::SelfSigned => Ok(Certificate::SelfSigned { names: vec![http.domain.clone()] }),
        Tls::Files => {
            let missing = |key: &str, what: &str| ConfigError::Missing {
                key: key.to_owned(),
                expected: format!("`http.tls = \"files\"` needs the {what} in PEM form"),
            };
            let certificate = http.certificate_file.clone();
            let certificate =
                certificate.ok_or_else(|| missing("http.certificate_file", "certificate chain"))?;
            let key = http.key_file.clone().ok_or_else(|| missing("http.key_file", "private key"))?;
            Ok(Certificate::Files { certificate: certificate.0, key: key.0 })
        }
    }
}

fn public_url(loaded: &Loaded<Raw>) -> Result<String, ConfigError> {
    let http = &loaded.value.http;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if http.domain.is_empty() || !http.domain.bytes().all(good) {
        return Err(loaded.refuse("http.domain", "a domain name or an address"));
    }
    if let Some(url) = &http.public_url {
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        return match host.map(|host| host.trim_end_matches('/')) {
            Some(host) if !host.is_empty() && host.bytes().all(good) => {
                Ok(url.trim_end_matches('/').to_owned())
            }
            _ => Err(loaded.refuse("http.public_url", "https://host or https://host:port, without a path")),
        };
    }
    let scheme = if http.tls == Tls::Off { "http" } else { "https" };
    let is_v6 = http.domain.parse::<std::net::Ipv6Addr>().is_ok();
    let host = if is_v6 { format!("[{}]", http.domain) } else { http.domain.clone() };
    Ok(match http.listen.port() {
        443 => format!("{scheme}://{host}"),
        port => format!("{scheme}://{host}:{port}"),
    })
}

fn secret(loaded: &Loaded<Raw>, environment: &BTreeMap<String, String>) -> Result<Secret, ConfigError> {
    let (path, text) = match (environment.get(SECRET_VARIABLE), &loaded.value.api.secret_file) {
        (Some(text), _) => (PathBuf::from(SECRET_VARIABLE), text.clone()),
        (None, Some(FilePath(path))) => {
            let text = fs::read_to_string(path).map_err(|error| ConfigError::File {
                path: path.clone(),
                what: format!("the file of `api.secret_file` cannot be read: {error}"),
            })?;
            (path.clone(), text)
        }
        (None, None) => {
            return Err(ConfigError::Missing {
                key: "api.secret_file".to_owned(),
                expected: format!(
                    "a file that holds the API secret, or set {SECRET_VARIABLE} in the environment"
                ),
            });
        }
    };
    let text = text.trim();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if text.is_empty() || !text.bytes().all(good) {
        let what = "the API secret must be one line of letters, digits, `_` and `-`".to_owned();
        return Err(ConfigError::File { path, what });
    }
    Secret::new(text).ok_or_else(|| ConfigError::File {
        path,
        what: "the system's random number generator does not work".to_owned(),
    })
}

/// Overrides `api.secret_file`.
pub const SECRET_VARIABLE: &str = "PLENUM_SECRET";

#[cfg(test)]
mod tests {
    use common::config::load_from;

    use super::*;

    fn settings(set: &[&str]) -> Result<Settings, ConfigError> {
        let args =
            CommonArgs { set: set.iter().map(|text| (*text).to_owned()).collect(), ..CommonArgs::default() };
        let environment = BTreeMap::from([(SECRET_VARIABLE.to_owned(), "MY_SECRET".to_owned())]);
        check(&load_from("masterd", &args, [])?, &environment)
    }

    #[track_caller]
    fn refused(set: &[&str], part: &str) {
        let error = settings(set).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn the_defaults_are_complete_but_for_the_secret() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.http.public_url, "https://localhost:4443");
        assert_eq!(settings.http.websocket_url(), "wss://localhost:4443");
        let without = check(&load_from("masterd", &CommonArgs::default(), []).unwrap(), &BTreeMap::new());
        assert!(without.unwrap_err().to_string().contains("`api.secret_file` is not set"));
    }

    #[test]
    fn the_public_url_leaves_out_the_usual_port() {
        let url = |set: &[&str]| settings(set).unwrap().http.public_url;
        assert_eq!(
            url(&["http.listen=0.0.0.0:443", "http.domain=meet.example.org"]),
            "https://meet.example.org"
        );
        assert_eq!(url(&["http.domain=2001:db8::1"]), "https://[2001:db8::1]:4443");
        assert_eq!(url(&["http.public_url=https://meet.example.org/"]), "https://meet.example.org");
        refused(&["http.public_url=https://meet.example.org/x"], "without a path");
        refused(&["http.public_url=meet"], "`http.public_url`");
        refused(&["http.domain=a b"], "`http.domain`");
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        refused(&["http.tls=off"], "loopback");
        let off = settings(&["http.tls=off", "http.listen=127.0.0.1:8080"]).unwrap();
        assert_eq!(off.certificate, Certificate::Off);
        assert!(off.http.behind_proxy);
        assert_eq!(off.http.websocket_url(), "wss://localhost:8080");
    }

    #[test]
    fn wrong_values_are_refused_with_their_key() {
        refused(&["http.tls=files"], "`http.certificate_file` is not set");
        refused(&["sessions.forced_video_codec=H265"], "sessions.forced_video_codec");
        refused(&["cluster.lost_after=1s"], "cluster.suspect_after");
        refused(&["webrtc.ice_servers=bad-server"], "webrtc.ice_servers");
        refused(&["http.lisen=1"], "unknown key");
        refused(&["cluster.on_node_loss=recover"], "on_node_loss");
    }

    #[test]
    fn a_secret_file_must_be_readable_and_well_formed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let try_file = || {
            let set = vec![format!("api.secret_file={}", path.display())];
            let args = CommonArgs { set, ..CommonArgs::default() };
            check(&load_from("masterd", &args, []).unwrap(), &BTreeMap::new())
        };
        assert!(try_file().unwrap_err().to_string().contains("cannot be read"));
        fs::write(&path, "a b\n").unwrap();
        assert!(try_file().unwrap_err().to_string().contains("letters, digits"));
        fs::write(&path, "MY_SECRET\n").unwrap();
        assert!(try_file().is_ok());
    }
}
