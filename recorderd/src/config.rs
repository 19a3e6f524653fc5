//! Pure: no clock, no I/O, no async.
//!
//! ```toml
//! [node]
//! name = ""                       # for people; empty: the master makes one up
//! state_dir = "/var/lib/plenum/recorderd"
//! join_token_file = "join-token"  # needed once, to enrol
//! masters = ["master:7443"]
//!
//! [telemetry]
//! listen = "127.0.0.1:9151"       # /livez, /readyz, /metrics
//!
//! [log]
//! level = "info"
//! format = "text"                 # or "json"
//! ```

use common::config::{CommonArgs, ConfigError, FilePath, Loaded, Settled};
use common::net::MASTER_PORT;
use common::net::identity::ClusterConfig;
use common::telemetry::LogConfig;
use common::telemetry::health::HealthConfig;
use serde::{Deserialize, Serialize};

/// What is written in file, environment and flags.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// Identity and masters.
    pub node: RawNode,
    /// Health and metrics.
    pub telemetry: HealthConfig,
    /// Log output.
    pub log: LogConfig,
}

impl Default for Raw {
    fn default() -> Self {
        Self { node: RawNode::default(), telemetry: HealthConfig::on_port(9151), log: LogConfig::default() }
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

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As `[node] name`.
    pub name: String,
    /// The rest of `[node]`.
    pub cluster: ClusterConfig,
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
    Ok(Settings {
        name: node.name.clone(),
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
        for (set, key) in
            [("node.masters=[]", "node.masters"), ("node.name=a/b", "node.name"), ("node.nme=a", "node.nme")]
        {
            assert!(load(&[set]).unwrap_err().to_string().contains(key), "{set}");
        }
    }
}
