//! Shell: owns sockets, files and tasks.
//!
//! How the daemons reach and trust each other: QUIC with mutual TLS 1.3, certificates of the cluster's own authority.
//!
//! - A master opens the [`ca::Authority`] in its state folder (made at first start) and serves the protocols of
//!   `wire::{enroll, node, operator}` on one UDP port; masterd's `link` module does that.
//! - A node opens its [`identity::IdentityStore`] and starts a [`node_link::NodeLink`], which enrols by join token
//!   where needed, renews the certificate, keeps the link to a master and hands over its commands.
//! - A recorder receives a session's media from a media node by a [`media_link::Client`].
//! - A console opens an [`operator_link::OperatorLink`] with a certificate made by `masterd operator add`.

pub mod ca;
pub mod close;
pub mod enroll;
mod file;
pub mod frames;
pub mod identity;
pub mod media_link;
pub mod node_link;
pub mod operator_link;
pub mod peer;
pub mod quic;
pub mod tls;
pub mod token;

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};

/// The name in every master's certificate, by which clients verify that they talk to a master.
pub const MASTER_NAME: &str = "master.plenum";

/// UDP port of a master's links.
pub const MASTER_PORT: u16 = 7443;

/// The system has no random numbers.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system's random number generator does not work")]
pub struct RandomError;

/// Unguessable bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| RandomError)?;
    Ok(bytes)
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    digest
}

/// Waiting times between attempts: random up to a bound that doubles ("full jitter"), so that nodes that lost their
/// master together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    random: SmallRng,
    first: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    /// Bounds of the first wait and of the longest.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { random: SmallRng::from_os_rng(), first, max, bound: first }
    }

    /// For links between daemons.
    #[must_use]
    pub fn of_links() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(5))
    }

    /// The next waiting time.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(self.max);
        bound.mul_f64(self.random.random_range(0.1..=1.0))
    }

    /// The attempt succeeded.
    pub const fn reset(&mut self) {
        self.bound = self.first;
    }
}

/// All addresses of a master, IPv4 first: a host without IPv6 routes has `::1` all the same.
pub(crate) async fn resolve(master: &str) -> std::io::Result<Vec<SocketAddr>> {
    let named = if has_port(master) { master.to_owned() } else { format!("{master}:{MASTER_PORT}") };
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host(named).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

fn has_port(master: &str) -> bool {
    master.rsplit_once(':').is_some_and(|(host, port)| {
        (!host.contains(':') || host.starts_with('['))
            && !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_may_be_named_with_or_without_a_port() {
        assert!(has_port("master:7443") && has_port("10.0.0.1:7443") && has_port("[::1]:7443"));
        assert!(!has_port("master") && !has_port("10.0.0.1") && !has_port("[::1]") && !has_port("master:"));
    }

    #[tokio::test]
    async fn addresses_of_a_master_are_found() {
        assert_eq!(resolve("127.0.0.1").await.unwrap(), [SocketAddr::from(([127, 0, 0, 1], MASTER_PORT))]);
        assert_eq!(resolve("127.0.0.1:99").await.unwrap(), [SocketAddr::from(([127, 0, 0, 1], 99))]);
        assert_eq!(resolve("[::1]:99").await.unwrap(), ["[::1]:99".parse::<SocketAddr>().unwrap()]);
    }

    #[test]
    fn waits_grow_to_the_bound_and_shrink_after_success() {
        let mut backoff = Backoff::of_links();
        assert!(backoff.next_wait() <= Duration::from_millis(200));
        for _ in 0..10 {
            assert!(backoff.next_wait() <= Duration::from_secs(5));
        }
        assert_eq!(backoff.bound, Duration::from_secs(5));
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(200));
    }
}
