//! Pure: no clock, no I/O, no async.
//!
//! ```toml
//! [node]
//! name = ""                       # for people; empty: the master makes one up
//! state_dir = "/var/lib/plenum/recorderd"
//! join_token_file = "join-token"  # needed once, to enrol
//! masters = ["master:7443"]
//!
//! [recording]
//! dir = "/var/lib/plenum/recordings"
//! jobs_max = 0                    # recordings at one time; 0: two for each core
//! disk_reserve_bytes = 0          # kept free; 0: 512 MiB, or 5 % of a smaller disk
//! labels = false                  # names on the tiles of a film
//! audio_tiles = false             # tiles for participants without a picture
//! stall = "3s"                    # a recording that gets nothing done for so long is begun anew
//! finish = "60s"                  # at the end of the process: time to finish the files
//!
//! [telemetry]
//! listen = "127.0.0.1:9151"       # /livez, /readyz, /metrics
//!
//! [log]
//! level = "info"
//! format = "text"                 # or "json"
//! ```

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use common::config::{CommonArgs, ConfigError, FilePath, Loaded, Settled};
use common::net::MASTER_PORT;
use common::net::identity::ClusterConfig;
use common::telemetry::LogConfig;
use common::telemetry::health::HealthConfig;
use common::units::Span;
use serde::{Deserialize, Serialize};

use crate::look::Look;

/// Below, a busy host counts as a stuck studio; above, supervision is none.
const STALL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// No supervisor waits longer.
const FINISH_MAX: Duration = Duration::from_secs(3600);

/// What is written in file, environment and flags.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// Identity and masters.
    pub node: RawNode,
    /// Where and how much.
    pub recording: RawRecording,
    /// Health and metrics.
    pub telemetry: HealthConfig,
    /// Log output.
    pub log: LogConfig,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            node: RawNode::default(),
            recording: RawRecording::default(),
            telemetry: HealthConfig::on_port(9151),
            log: LogConfig::default(),
        }
    }
}

/// Section `[node]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawNode {
    /// For people.
    pub name: String,
    /// Certificate and key of the recorder.
    pub state_dir: FilePath,
    /// Only needed until the recorder is enrolled.
    pub join_token_file: Option<FilePath>,
    /// `host:port` of each master.
    pub masters: Vec<String>,
}

impl Default for RawNode {
    fn default() -> Self {
        Self {
            name: String::new(),
            state_dir: FilePath::from("/var/lib/plenum/recorderd"),
            join_token_file: None,
            masters: vec![format!("127.0.0.1:{MASTER_PORT}")],
        }
    }
}

/// Section `[recording]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawRecording {
    /// Folder of the recordings.
    pub dir: FilePath,
    /// Recordings at one time; 0 is two for each core.
    pub jobs_max: u32,
    /// Bytes that are kept free; 0 is the default of [`disk`](crate::disk).
    pub disk_reserve_bytes: u64,
    /// Names on the tiles of a film.
    pub labels: bool,
    /// Tiles for participants without a picture.
    pub audio_tiles: bool,
    /// A recording that gets nothing done for so long is begun anew.
    pub stall: Span,
    /// Time to finish the files when the process is to end.
    pub finish: Span,
}

impl Default for RawRecording {
    fn default() -> Self {
        Self {
            dir: FilePath::from("/var/lib/plenum/recordings"),
            jobs_max: 0,
            disk_reserve_bytes: 0,
            labels: false,
            audio_tiles: false,
            stall: Span(Duration::from_secs(3)),
            finish: Span(Duration::from_secs(60)),
        }
    }
}

/// Checked `[recording]`.
#[derive(Clone, Debug)]
pub struct RecordingSettings {
    /// Folder of the recordings.
    pub dir: PathBuf,
    /// Recordings at one time; 0 is two for each core.
    pub jobs_max: u32,
    /// Bytes that are kept free; 0 is the default.
    pub disk_reserve_bytes: u64,
    /// How films look.
    pub look: Look,
    /// How long a recording may get nothing done.
    pub stall: Duration,
    /// Time to finish the files when the process is to end.
    pub finish: Duration,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As `[node] name`.
    pub name: String,
    /// The rest of `[node]`.
    pub cluster: ClusterConfig,
    /// As `[recording]`.
    pub recording: RecordingSettings,
    /// As `[telemetry]`.
    pub health: HealthConfig,
    /// As `[log]`.
    pub log: LogConfig,
}

/// Loads and checks.
///
/// # Errors
/// [`ConfigError`], which names the key.
pub fn settle(args: &CommonArgs) -> Result<Settled<Settings>, ConfigError> {
    common::config::settle("recorderd", args, check)
}

fn check(loaded: &Loaded<Raw>) -> Result<Settings, ConfigError> {
    let node = &loaded.value.node;
    if node.masters.is_empty() {
        return Err(loaded.refuse("node.masters", "at least one `host:port` of a masterd"));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if node.name.len() > 64 || !node.name.bytes().all(is_plain) {
        return Err(loaded.refuse("node.name", "at most 64 letters, digits, `-` and `_`"));
    }
    let recording = &loaded.value.recording;
    if !STALL.contains(&recording.stall.0) {
        return Err(loaded.refuse("recording.stall", "`1s` to `10m`"));
    }
    if recording.finish.0 > FINISH_MAX {
        return Err(loaded.refuse("recording.finish", "at most `1h`"));
    }
    Ok(Settings {
        name: node.name.clone(),
        recording: RecordingSettings {
            dir: recording.dir.0.clone(),
            jobs_max: recording.jobs_max,
            disk_reserve_bytes: recording.disk_reserve_bytes,
            look: Look { labels: recording.labels, audio_tiles: recording.audio_tiles },
            stall: recording.stall.0,
            finish: recording.finish.0,
        },
        cluster: ClusterConfig {
            masters: node.masters.clone(),
            join_token_file: node.join_token_file.clone(),
            state_dir: node.state_dir.clone(),
        },
        health: loaded.value.telemetry,
        log: loaded.value.log.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(set: &[&str]) -> Result<Settings, ConfigError> {
        let set = set.iter().map(|&text| text.to_owned()).collect();
        let args = CommonArgs { set, ..CommonArgs::default() };
        check(&common::config::load_from("recorderd", &args, [])?)
    }

    #[test]
    fn defaults_are_good_and_values_that_are_not_are_refused_by_key() {
        assert_eq!(load(&[]).unwrap().cluster.masters, ["127.0.0.1:7443"]);
        assert_eq!(load(&["node.masters=a:1,b"]).unwrap().cluster.masters, ["a:1", "b"]);
        let recording =
            load(&["recording.dir=/r", "recording.labels=true", "recording.stall=20s"]).unwrap().recording;
        assert_eq!((recording.dir, recording.stall), (PathBuf::from("/r"), Duration::from_secs(20)));
        assert_eq!(recording.look, Look { labels: true, audio_tiles: false });
        for (set, key) in [
            ("node.masters=[]", "node.masters"),
            ("node.name=a/b", "node.name"),
            ("node.nme=a", "node.nme"),
            ("recording.stall=1ms", "recording.stall"),
            ("recording.finish=2h", "recording.finish"),
            ("recording.jobs_max=-1", "recording.jobs_max"),
            ("recording.folder=a", "recording.folder"),
        ] {
            assert!(load(&[set]).unwrap_err().to_string().contains(key), "{set}");
        }
    }
}
