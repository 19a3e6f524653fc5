//! Wire: `plenum-enroll/1`, by which a new node or recorder gets its certificate from a master.
//!
//! The node dials without a certificate, or with the one that it wants to renew. It knows the cluster's certificate
//! authority by the fingerprint in its join token and goes on only with a master that this authority has certified.
//! On one bidirectional stream it sends one [`EnrollRequest`] and reads one [`Granted`] or [`Refused`].
//!
//! The token's secret never crosses the network: `proof` is `HMAC-SHA256(secret, exporter || SHA-256(csr))` with the
//! TLS exporter value (RFC 8446 section 7.5) of this very connection, so that a captured proof is worth nothing.

use serde::{Deserialize, Serialize};

use super::node::Role;
use super::{Extensions, messages};
use crate::id::NodeKey;

/// ALPN of this protocol's major version.
pub const ALPN: &[u8] = b"plenum-enroll/1";

/// Lowest and highest minor version that this build speaks.
pub const VERSIONS: (u16, u16) = (1, 1);

/// Label of the TLS exporter value that goes into the proof.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-plenum-enroll-1";

messages! {
    /// From a node that wants a certificate.
    ToAuthority {
        201 => EnrollRequest,
    }
}

messages! {
    /// From a master.
    FromAuthority {
        211 => Granted,
        212 => Refused,
    }
}

/// Asks for a certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// Lowest and highest minor version spoken.
    pub versions: (u16, u16),
    /// Program name and version, for humans.
    pub program: String,
    /// Cluster id of the join token or of the certificate to renew.
    pub cluster: String,
    /// What the node is.
    pub role: Role,
    /// The node's key; follows from the public key in `csr`.
    pub node: NodeKey,
    /// Certificate signing request (PKCS #10, DER); only its public key counts.
    pub csr: Vec<u8>,
    /// Proof that the node knows the token's secret; empty where the node's present certificate is the proof.
    pub proof: Vec<u8>,
    /// Later additions.
    pub ext: Extensions,
}

/// The certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Granted {
    /// Leaf certificate, DER.
    pub certificate: Vec<u8>,
    /// Later additions.
    pub ext: Extensions,
}

/// No certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Why not.
    pub why: Refusal,
}

/// Why there is no certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The request names another cluster.
    #[error("this master is of cluster {ours}")]
    Cluster {
        /// The master's cluster.
        ours: String,
    },
    /// The signing request cannot be used.
    #[error("the certificate signing request is not valid")]
    Csr,
    /// The master could not issue a certificate; logged there.
    #[error("internal error of the master")]
    Internal,
    /// The node's key does not follow from its public key.
    #[error("the node key does not belong to the public key")]
    NodeKey,
    /// The secret is not that of this cluster's join token.
    #[error("the secret of the join token is wrong")]
    Proof,
    /// No common version.
    #[error("this master speaks enrolment versions {} to {}", ours.0, ours.1)]
    Version {
        /// The master's.
        ours: (u16, u16),
    },
}
