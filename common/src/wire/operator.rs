//! Wire: `plenum-operator/1`, between masterd and a console.
//!
//! The console dials with an operator certificate and opens one bidirectional stream: [`OperatorHello`], answered by
//! [`OperatorWelcome`]. From then on the master sends an [`Overview`] about once a second on that stream. A console
//! that reads too slowly gets fewer of them, always the newest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::node::{Load, Role};
use super::{Extensions, messages};
use crate::id::{Epoch, NodeKey, SessionKey};

/// ALPN of this protocol's major version.
pub const ALPN: &[u8] = b"plenum-operator/1";

/// Lowest and highest minor version that this build speaks.
pub const VERSIONS: (u16, u16) = (1, 1);

messages! {
    /// From a console to masterd.
    ToMaster {
        301 => OperatorHello,
    }
}

messages! {
    /// From masterd to a console.
    ToOperator {
        311 => OperatorWelcome,
        312 => Overview,
    }
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// Look.
    Viewer,
    /// Change what runs.
    Operator,
    /// Change the cluster itself.
    Admin,
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// The text names no role.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a role: expected `viewer`, `operator` or `admin`")]
pub struct NotARole;

impl FromStr for OperatorRole {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => Err(NotARole),
        }
    }
}

/// First message of a console.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct OperatorHello {
    /// Lowest and highest minor version spoken.
    pub versions: (u16, u16),
    /// Program name and version, for humans.
    pub program: String,
    /// Later additions.
    pub ext: Extensions,
}

/// masterd's answer.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct OperatorWelcome {
    /// Minor version to speak.
    pub version: u16,
    /// Id of the cluster.
    pub cluster: String,
    /// What the operator may do, by its certificate.
    pub role: OperatorRole,
    /// Program name and version of the master.
    pub program: String,
    /// Later additions.
    pub ext: Extensions,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Milliseconds since 1970 at the master.
    pub at_ms: u64,
    /// The leading master's epoch.
    pub epoch: Epoch,
    /// Milliseconds since the master started.
    pub uptime_ms: u64,
    /// Media nodes and recorders.
    pub nodes: Vec<NodeRow>,
    /// Sessions, at most [`SESSION_ROWS_MAX`]; `sessions_total` counts all.
    pub sessions: Vec<SessionRow>,
    /// Sessions in the cluster.
    pub sessions_total: u64,
    /// Participants in the cluster.
    pub connections_total: u64,
    /// Published streams in the cluster.
    pub streams_total: u64,
    /// Later additions.
    pub ext: Extensions,
}

/// Session rows in one [`Overview`]: 2,000 rows of 100 bytes stay well below one frame.
pub const SESSION_ROWS_MAX: usize = 2_000;

/// Node rows in one [`Overview`]: 1,000 rows of 200 bytes stay well below one frame.
pub const NODE_ROWS_MAX: usize = 1_000;

/// One node in an [`Overview`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeRow {
    /// The node.
    pub node: NodeKey,
    /// As the API shows it (`media_...`).
    pub name: String,
    /// Media node or recorder.
    pub role: Role,
    /// State as the API spells it: `running`, `lost`, ...
    pub state: String,
    /// Address of the node's link.
    pub address: String,
    /// Its newest load report.
    pub load: Load,
    /// Age of that report; none before the first.
    pub load_age_ms: Option<u64>,
    /// Later additions.
    pub ext: Extensions,
}

/// One session in an [`Overview`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The session.
    pub session: SessionKey,
    /// Public name.
    pub name: String,
    /// The node that has it; none before placement.
    pub node: Option<NodeKey>,
    /// Participants.
    pub connections: u32,
    /// Published streams.
    pub streams: u32,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Later additions.
    pub ext: Extensions,
}
