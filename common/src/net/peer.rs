//! Pure: no clock, no I/O, no async.
//!
//! Who a certificate says its bearer is: `spiffe://<cluster>/master/<key>`, `/media/<key>`, `/recorder/<key>` or
//! `/operator/<role>/<name>` as the subject alternative name. A certificate has exactly one such name.

use std::fmt;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::extensions::GeneralName;

use crate::id::NodeKey;
use crate::wire::node::Role;
use crate::wire::operator::OperatorRole;

/// Bearer of a certificate of the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// A master.
    Master,
    /// A media node or a recorder.
    Node {
        /// Which of them.
        role: Role,
        /// The node.
        node: NodeKey,
    },
    /// A person with a console.
    Operator {
        /// What the person may do.
        role: OperatorRole,
        /// The person.
        name: String,
    },
}

/// What a certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerCertificate {
    /// Id of the cluster.
    pub cluster: String,
    /// The bearer.
    pub peer: Peer,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
}

/// The certificate is not one of a Plenum cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the certificate does not name a member of a Plenum cluster")]
pub struct NotAPeer;

impl PeerCertificate {
    /// Reads a certificate (DER). Does not verify its signature: TLS has done that.
    ///
    /// # Errors
    /// [`NotAPeer`] for a certificate of another kind.
    pub fn read(der: &[u8]) -> Result<Self, NotAPeer> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|_malformed| NotAPeer)?;
        let names = certificate.subject_alternative_name().map_err(|_malformed| NotAPeer)?.ok_or(NotAPeer)?;
        let mut uris = names
            .value
            .general_names
            .iter()
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
        let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(NotAPeer) };
        let (cluster, peer) = Peer::parse(uri)?;
        let validity = certificate.validity();
        Ok(Self {
            cluster,
            peer,
            not_before: at(validity.not_before.timestamp()),
            not_after: at(validity.not_after.timestamp()),
        })
    }

    /// When a third of the validity is left.
    #[must_use]
    pub fn renew_at(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or(Duration::ZERO);
        self.not_after - life / 3
    }
}

fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl Peer {
    /// The subject alternative name.
    #[must_use]
    pub fn uri(&self, cluster: &str) -> String {
        match self {
            Self::Master => format!("spiffe://{cluster}/master"),
            Self::Node { role, node } => format!("spiffe://{cluster}/{}/{:016x}", role_name(*role), node.0),
            Self::Operator { role, name } => format!("spiffe://{cluster}/operator/{role}/{name}"),
        }
    }

    /// The DNS name by which TLS clients verify the bearer.
    #[must_use]
    pub fn dns_name(&self) -> String {
        match self {
            Self::Master => super::MASTER_NAME.to_owned(),
            Self::Node { role, node } => format!("{:016x}.{}.plenum", node.0, role_name(*role)),
            Self::Operator { .. } => "operator.plenum".to_owned(),
        }
    }

    fn parse(uri: &str) -> Result<(String, Self), NotAPeer> {
        let mut parts = uri.strip_prefix("spiffe://").ok_or(NotAPeer)?.split('/');
        let cluster = parts.next().filter(|cluster| is_cluster_id(cluster)).ok_or(NotAPeer)?;
        let parts: Vec<&str> = parts.collect();
        let peer = match parts.as_slice() {
            ["master"] => Self::Master,
            ["media", key] => Self::Node { role: Role::Media, node: node_key(key)? },
            ["recorder", key] => Self::Node { role: Role::Recorder, node: node_key(key)? },
            ["operator", role, name] if is_operator_name(name) => Self::Operator {
                role: OperatorRole::from_str(role).map_err(|_unknown| NotAPeer)?,
                name: (*name).to_owned(),
            },
            _ => return Err(NotAPeer),
        };
        Ok((cluster.to_owned(), peer))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master"),
            Self::Node { role, node } => write!(f, "{} {node}", role_name(*role)),
            Self::Operator { role, name } => write!(f, "operator {name} ({role})"),
        }
    }
}

fn node_key(text: &str) -> Result<NodeKey, NotAPeer> {
    u64::from_str_radix(text, 16).map(NodeKey).map_err(|_not_hex| NotAPeer)
}

/// Name of a role as certificates and messages spell it.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Media => "media",
        Role::Recorder => "recorder",
    }
}

/// Whether a text can be a cluster's id: 1 to 32 lower-case letters, digits and hyphens.
#[must_use]
pub fn is_cluster_id(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether a text can be an operator's name: 1 to 64 letters, digits, dots, hyphens, underscores and at signs.
#[must_use]
pub fn is_operator_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte))
}

/// The key of a node follows from its public key (DER of the subject public key info): nobody can take another
/// node's key without its private key.
#[must_use]
pub fn node_key_of(public_key: &[u8]) -> NodeKey {
    let digest = super::sha256(public_key);
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    NodeKey(u64::from_be_bytes(first).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_members_read_back() {
        let peers = [
            Peer::Master,
            Peer::Node { role: Role::Media, node: NodeKey(0x2a) },
            Peer::Node { role: Role::Recorder, node: NodeKey(u64::MAX) },
            Peer::Operator { role: OperatorRole::Admin, name: "ada@example.org".to_owned() },
        ];
        for peer in peers {
            assert_eq!(Peer::parse(&peer.uri("c0ffee")), Ok(("c0ffee".to_owned(), peer)));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for uri in [
            "https://c0ffee/master",
            "spiffe:///master",
            "spiffe://C/master",
            "spiffe://c/master/1",
            "spiffe://c/media/xyz",
            "spiffe://c/operator/root/ada",
            "spiffe://c/operator/admin/",
            "spiffe://c/operator/admin/a%2fb",
        ] {
            assert_eq!(Peer::parse(uri), Err(NotAPeer), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn rubbish_is_no_certificate(bytes: Vec<u8>) {
            prop_assert_eq!(PeerCertificate::read(&bytes), Err(NotAPeer));
        }
    }
}
