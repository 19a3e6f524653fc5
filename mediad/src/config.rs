//! Shell: reads the configuration and the host's addresses.
//!
//! ```toml
//! [node]
//! name = ""                       # shown as media_<name>; empty: made up by the master
//! state_dir = "/var/lib/plenum/mediad"
//! join_token_file = "join-token"  # needed once, to enrol
//! masters = ["master:7443"]
//!
//! [media]
//! listen = "0.0.0.0"
//! port = 40000                    # worker i has port + i
//! ports = "per-worker"            # or "single": all workers on one port
//! workers = 0                     # 0: one per core
//! announced_addresses = []        # empty: the host's own
//! announce_loopback = false
//! ice_lite = false
//! pin_workers = false
//! gather = "150us"                # busy workers wait so long for more packets of a frame; 0: never
//!
//! [link]                          # recorders dial here (QUIC)
//! listen = "0.0.0.0"
//! port = 7444                     # 0 takes a free one
//! announced_addresses = []        # empty: those of media
//!
//! [drain]
//! deadline = "5m"
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::config::{CommonArgs, ConfigError, FilePath, Loaded, Settled};
use common::telemetry::LogConfig;
use common::telemetry::health::HealthConfig;
use common::units::Span;
use serde::{Deserialize, Serialize};

use crate::worker::syscall;

/// What is written in file, environment and flags.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct Raw {
    /// Identity and masters.
    pub node: RawNode,
    /// Ports and addresses of media.
    pub media: RawMedia,
    /// Where recorders dial.
    pub link: RawLink,
    /// Leaving.
    pub drain: RawDrain,
    /// Health and metrics.
    pub telemetry: HealthConfig,
    /// Log output.
    pub log: LogConfig,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            node: RawNode::default(),
            media: RawMedia::default(),
            link: RawLink::default(),
            drain: RawDrain::default(),
            telemetry: HealthConfig::on_port(9111),
            log: LogConfig::default(),
        }
    }
}

/// Section `[node]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct RawNode {
    /// Shown in the API as `media_<name>`.
    pub name: String,
    /// Certificate and key of the node.
    pub state_dir: FilePath,
    /// Only needed until the node is enrolled.
    pub join_token_file: Option<FilePath>,
    /// `host:port` of each master.
    pub masters: Vec<String>,
}

impl Default for RawNode {
    fn default() -> Self {
        Self {
            name: String::new(),
            state_dir: FilePath::from("/var/lib/plenum/mediad"),
            join_token_file: None,
            masters: vec!["127.0.0.1:7443".to_owned()],
        }
    }
}

/// Section `[media]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct RawMedia {
    /// Local address of the media sockets; `0.0.0.0` or `::` is all of them.
    pub listen: IpAddr,
    /// Port of the first worker; 0 takes free ones.
    pub port: u16,
    /// One port for each worker, or one for all.
    pub ports: Ports,
    /// Media threads; 0 is one for each core.
    pub workers: u16,
    /// What clients are told to send to.
    pub announced_addresses: Vec<IpAddr>,
    /// Tell clients the loopback addresses too (tests on one machine).
    pub announce_loopback: bool,
    /// Never send ICE checks; for networks that forbid it. Sessions cannot be moved then.
    pub ice_lite: bool,
    /// Bind each worker to a core of its own.
    pub pin_workers: bool,
    /// How long a busy worker waits for more packets of a frame, so that they leave together; 0 is never.
    pub gather: Span,
}

impl Default for RawMedia {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 40_000,
            ports: Ports::PerWorker,
            workers: 0,
            announced_addresses: Vec::new(),
            announce_loopback: false,
            ice_lite: false,
            pin_workers: false,
            gather: Span(Duration::from_micros(150)),
        }
    }
}

/// `[media] ports`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ports {
    /// Worker i has port + i.
    PerWorker,
    /// All workers have sockets on the same port.
    Single,
}

/// Section `[link]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct RawLink {
    /// Local address of the QUIC socket for recorders.
    pub listen: IpAddr,
    /// Its port (UDP); 0 takes a free one. Several nodes on one host need one each.
    pub port: u16,
    /// What recorders are told to dial; empty is what clients are told, or `listen` where that is one address.
    pub announced_addresses: Vec<IpAddr>,
}

impl Default for RawLink {
    fn default() -> Self {
        Self { listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 7444, announced_addresses: Vec::new() }
    }
}

/// Section `[drain]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct RawDrain {
    /// How long the node waits for its sessions to end or move after SIGTERM.
    pub deadline: Span,
}

impl Default for RawDrain {
    fn default() -> Self {
        Self { deadline: Span::from_secs(300) }
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As `[node] name`.
    pub name: String,
    /// As `[node] state_dir`.
    pub state_dir: PathBuf,
    /// As `[node] join_token_file`.
    pub join_token_file: Option<PathBuf>,
    /// As `[node] masters`.
    pub masters: Vec<String>,
    /// Media ports and addresses.
    pub media: MediaSettings,
    /// Where recorders dial.
    pub link: LinkSettings,
    /// As `[drain] deadline`.
    pub drain_deadline: Duration,
    /// As `[telemetry]`.
    pub health: HealthConfig,
    /// As `[log]`.
    pub log: LogConfig,
}

/// Checked `[link]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What recorders are told, at least one.
    pub addresses: Vec<IpAddr>,
}

/// Checked `[media]`.
#[derive(Clone, Debug)]
pub struct MediaSettings {
    /// Where the first worker listens.
    pub listen: SocketAddr,
    /// One port each, or one for all.
    pub ports: Ports,
    /// Media threads, at least one.
    pub workers: u16,
    /// What clients are told, at least one.
    pub addresses: Vec<IpAddr>,
    /// As `[media] ice_lite`.
    pub ice_lite: bool,
    /// As `[media] pin_workers`.
    pub pin_workers: bool,
    /// As `[media] gather`.
    pub gather: Duration,
}

/// Longest `[media] gather`: it is added to the way of every packet.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// Media threads of one node; more than any machine has cores.
const WORKERS_MAX: u16 = 256;

/// Addresses told to clients: each is one candidate in every SDP, and one more pair to check for the client.
const ADDRESSES_MAX: usize = 8;

/// Loads and checks.
///
/// # Errors
/// [`ConfigError`], which names the key.
pub fn settle(args: &CommonArgs) -> Result<Settled<Settings>, ConfigError> {
    common::config::settle("mediad", args, check)
}

fn check(loaded: &Loaded<Raw>) -> Result<Settings, ConfigError> {
    let raw = &loaded.value;
    if raw.node.masters.is_empty() {
        return Err(loaded.refuse("node.masters", "at least one `host:port` of a masterd"));
    }
    let name_fits = |name: &str| {
        name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !name_fits(&raw.node.name) {
        return Err(loaded.refuse("node.name", "at most 64 letters, digits, `-` and `_`"));
    }
    let media = check_media(loaded)?;
    Ok(Settings {
        link: check_link(loaded, &media)?,
        name: raw.node.name.clone(),
        state_dir: raw.node.state_dir.0.clone(),
        join_token_file: raw.node.join_token_file.as_ref().map(|path| path.0.clone()),
        masters: raw.node.masters.clone(),
        media,
        drain_deadline: raw.drain.deadline.0,
        health: raw.telemetry,
        log: raw.log.clone(),
    })
}

fn check_media(loaded: &Loaded<Raw>) -> Result<MediaSettings, ConfigError> {
    let raw = &loaded.value.media;
    let cores = u16::try_from(syscall::allowed_cores().len()).unwrap_or(WORKERS_MAX).max(1);
    let workers = if raw.workers == 0 { cores } else { raw.workers };
    if workers > WORKERS_MAX {
        return Err(loaded.refuse("media.workers", format!("a number from 0 to {WORKERS_MAX}")));
    }
    if raw.ports == Ports::PerWorker && raw.port != 0 && raw.port.checked_add(workers - 1).is_none() {
        return Err(
            loaded.refuse("media.port", format!("a port with {workers} ports from it on, below 65536"))
        );
    }
    if raw.gather.0 > GATHER_MAX {
        return Err(loaded.refuse("media.gather", "a duration from `0` to `2ms`"));
    }
    let addresses = if raw.announced_addresses.is_empty() {
        host_addresses(raw)
    } else {
        raw.announced_addresses.clone()
    };
    if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
        let expected = format!("1 to {ADDRESSES_MAX} addresses that clients reach this host at");
        return Err(loaded.refuse("media.announced_addresses", expected));
    }
    Ok(MediaSettings {
        listen: SocketAddr::new(raw.listen, raw.port),
        ports: raw.ports,
        workers,
        addresses,
        ice_lite: raw.ice_lite,
        pin_workers: raw.pin_workers,
        gather: raw.gather.0,
    })
}

fn check_link(loaded: &Loaded<Raw>, media: &MediaSettings) -> Result<LinkSettings, ConfigError> {
    let raw = &loaded.value.link;
    if raw.announced_addresses.len() > ADDRESSES_MAX {
        let expected = format!("at most {ADDRESSES_MAX} addresses that recorders reach this host at");
        return Err(loaded.refuse("link.announced_addresses", expected));
    }
    let addresses = if !raw.announced_addresses.is_empty() {
        raw.announced_addresses.clone()
    } else if raw.listen.is_unspecified() {
        media.addresses.clone()
    } else {
        vec![raw.listen]
    };
    Ok(LinkSettings { listen: SocketAddr::new(raw.listen, raw.port), addresses })
}

/// The host's own addresses that the media sockets are reached at; loopback only where it is asked for or all there is.
fn host_addresses(raw: &RawMedia) -> Vec<IpAddr> {
    if !raw.listen.is_unspecified() {
        return vec![raw.listen];
    }
    let mut all = syscall::interface_addresses().unwrap_or_default();
    all.retain(|address| (address.is_ipv4() || raw.listen.is_ipv6()) && !is_link_local(*address));
    all.sort_unstable();
    all.dedup();
    let (loopback, mut own): (Vec<_>, Vec<_>) = all.into_iter().partition(IpAddr::is_loopback);
    own.truncate(ADDRESSES_MAX - 2);
    if own.is_empty() || raw.announce_loopback {
        own.extend(loopback);
    }
    own
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(set: &[&str]) -> Result<Settings, ConfigError> {
        let args =
            CommonArgs { set: set.iter().map(|&text| text.to_owned()).collect(), ..CommonArgs::default() };
        check(&common::config::load_from("mediad", &args, [])?)
    }

    #[test]
    fn defaults_announce_the_host_and_use_all_cores() {
        let settings = load(&[]).unwrap();
        assert_eq!(usize::from(settings.media.workers), syscall::allowed_cores().len());
        assert!(!settings.media.addresses.is_empty());
        assert_eq!(settings.media.listen.port(), 40_000);
    }

    #[test]
    fn announced_addresses_replace_the_hosts_own() {
        let settings = load(&["media.announced_addresses=198.51.100.7", "media.workers=3"]).unwrap();
        assert_eq!(settings.media.addresses, ["198.51.100.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(settings.media.workers, 3);
    }

    #[test]
    fn a_listen_address_is_announced_and_loopback_can_be() {
        assert_eq!(
            load(&["media.listen=127.0.0.1"]).unwrap().media.addresses,
            [IpAddr::from([127, 0, 0, 1])]
        );
        let settings = load(&["media.announce_loopback=true"]).unwrap();
        assert!(settings.media.addresses.contains(&IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn recorders_are_told_an_address_of_the_link() {
        let link = |set: &[&str]| load(set).unwrap().link;
        let told = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
        assert_eq!(link(&[]).listen.port(), 7444);
        assert_eq!(link(&["media.announced_addresses=198.51.100.7"]).addresses, told("198.51.100.7"));
        assert_eq!(link(&["link.listen=127.0.0.1", "link.port=0"]).addresses, told("127.0.0.1"));
        assert_eq!(link(&["link.announced_addresses=10.0.0.7"]).addresses, told("10.0.0.7"));
    }

    #[test]
    fn ports_and_names_out_of_range_are_refused() {
        assert!(
            load(&["media.port=65535", "media.workers=2"]).unwrap_err().to_string().contains("media.port")
        );
        assert!(load(&["media.port=65535", "media.workers=2", "media.ports=single"]).is_ok());
        assert!(load(&["node.name=a b"]).unwrap_err().to_string().contains("node.name"));
        assert!(load(&["node.masters=[]"]).unwrap_err().to_string().contains("node.masters"));
    }
}
