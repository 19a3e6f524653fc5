//! Wire: `plenum-operator/1`, between masterd and a console.
//!
//! The console dials with an operator certificate and opens one bidirectional stream: [`OperatorHello`], answered by
//! [`OperatorWelcome`]. From then on both sides send when they have something to say.
//!
//! - **Windows of rows.** [`Subscribe`] asks for the rows of a [`Topic`] that pass a filter, in an order, from one
//!   position on; [`Adjust`] changes that, [`Unsubscribe`] ends it. The master answers with [`Delta`]s: the first holds
//!   the whole window, later ones what changed. The next one is made only after the last was acknowledged ([`Ack`]),
//!   so that a slow console costs the master one window and never a queue: the newest wins.
//! - **Operations.** [`Operate`] is answered by [`Operation`]: what it would affect (a dry run), or how it went. The
//!   console chooses the id; a repeated one gets the first answer, [`Recall`] asks how an old one went.
//! - **History.** [`Query`] asks for events that were, answered by one [`Page`].

mod row;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Extensions, messages};
use crate::id::{NodeKey, SessionKey};

pub use self::row::{
    Cell, DecisionRow, EventRow, EventSubject, HeadRow, HeadSample, Media, NodeCounts, NodeDetail, NodeRow,
    NodeSample, ParticipantRow, RecordingRow, Row, SessionDetail, SessionRow, Severity, StreamRow, Verdict,
};

/// ALPN of this protocol's major version.
pub const ALPN: &[u8] = b"plenum-operator/1";

/// Lowest and highest minor version that this build speaks.
pub const VERSIONS: (u16, u16) = (2, 2);

messages! {
    /// From a console to masterd.
    ToMaster {
        301 => OperatorHello,
        302 => Subscribe,
        303 => Adjust,
        304 => Unsubscribe,
        305 => Ack,
        306 => Operate,
        307 => Recall,
        308 => Query,
    }
}

messages! {
    /// From masterd to a console.
    ToOperator {
        311 => OperatorWelcome,
        313 => Delta,
        314 => Operation,
        315 => Page,
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
    /// Milliseconds since 1970 at the master.
    pub at_ms: u64,
    /// Later additions.
    pub ext: Extensions,
}

/// What can be watched.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Topic {
    /// Totals of the cluster over time: one [`Row::Head`].
    Head,
    /// Media nodes and recorders.
    Nodes,
    /// One node: one [`Row::NodeDetail`].
    Node(NodeKey),
    /// Sessions.
    Sessions,
    /// One session, participants x streams: one [`Row::SessionDetail`]. The window is one of participants.
    Session(SessionKey),
    /// Recordings.
    Recordings,
    /// Events, oldest first.
    Events,
    /// Placement decisions, newest first: of one session by its public name, or of all.
    Decisions(Option<String>),
}

/// Which rows of those that pass the filter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// First row, from 0; counted from the last one if `from_end`.
    pub first: u32,
    /// Rows at most; the master sends no more than [`WINDOW_ROWS_MAX`].
    pub count: u32,
    /// The window ends `first` rows before the last.
    pub from_end: bool,
}

/// By what rows are ordered.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Name of the field, as in filters; empty is the topic's own order.
    pub field: String,
    /// From high to low.
    pub descending: bool,
}

/// Rows of one window at most.
pub const WINDOW_ROWS_MAX: u32 = 2_000;

/// Watch something.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Names the subscription on this connection; chosen by the console.
    pub sub: u32,
    /// What.
    pub topic: Topic,
    /// Which rows pass, in the filter language; empty is all.
    pub filter: String,
    /// In which order.
    pub order: Order,
    /// Which part.
    pub window: Window,
    /// Least time between two deltas.
    pub interval_ms: u32,
    /// Later additions.
    pub ext: Extensions,
}

/// Watch another part of the same topic. Answered by a delta at once.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Adjust {
    /// Which subscription.
    pub sub: u32,
    /// Which rows pass.
    pub filter: String,
    /// In which order.
    pub order: Order,
    /// Which part.
    pub window: Window,
}

/// Watch no longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// Which subscription.
    pub sub: u32,
}

/// A delta was taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// Which subscription.
    pub sub: u32,
    /// Its delta.
    pub seq: u64,
}

/// Which rows are in the window, in order.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Keys {
    /// As before.
    Same,
    /// These.
    All(Vec<u64>),
    /// As before without the first ones, and these behind.
    Slid {
        /// How many of the first ones are gone.
        gone: u32,
        /// Keys behind the former last one.
        new: Vec<u64>,
    },
}

/// What changed in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which subscription.
    pub sub: u32,
    /// Counts the subscription's deltas from 1.
    pub seq: u64,
    /// Milliseconds since 1970 at the master when this was true.
    pub at_ms: u64,
    /// Rows of the topic.
    pub all: u32,
    /// Rows that pass the filter.
    pub total: u32,
    /// Position of the window's first row.
    pub first: u32,
    /// The window's rows.
    pub keys: Keys,
    /// New and changed rows. Rows that would make the message too long follow in the next one.
    pub put: Vec<Row>,
    /// Why there are no rows (a filter that is not understood, a thing that does not exist); empty for none.
    pub error: String,
    /// Later additions.
    pub ext: Extensions,
}

/// What can be done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Verb {
    /// Place no more sessions on a node; it empties.
    NodeDrain {
        /// Public name.
        node: String,
    },
    /// Take a draining node back.
    NodeUndrain {
        /// Public name.
        node: String,
    },
    /// Take a node out of the cluster; its sessions end.
    NodeRemove {
        /// Public name.
        node: String,
    },
    /// Close a session.
    SessionClose {
        /// Public name.
        session: String,
    },
    /// End a connection.
    ConnectionEvict {
        /// Public name.
        session: String,
        /// Public name.
        connection: String,
    },
    /// End a stream.
    StreamUnpublish {
        /// Public name.
        session: String,
        /// Public name.
        stream: String,
    },
    /// Start a recording.
    RecordingStart {
        /// Public name of the session.
        session: String,
        /// One file for each stream instead of one film.
        individual: bool,
    },
    /// End a recording.
    RecordingStop {
        /// Public name.
        recording: String,
    },
    /// Delete a recording with its files.
    RecordingDelete {
        /// Public name.
        recording: String,
    },
}

impl Verb {
    /// Its name in audit events and on the command line.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NodeDrain { .. } => "node.drain",
            Self::NodeUndrain { .. } => "node.undrain",
            Self::NodeRemove { .. } => "node.remove",
            Self::SessionClose { .. } => "session.close",
            Self::ConnectionEvict { .. } => "connection.evict",
            Self::StreamUnpublish { .. } => "stream.unpublish",
            Self::RecordingStart { .. } => "recording.start",
            Self::RecordingStop { .. } => "recording.stop",
            Self::RecordingDelete { .. } => "recording.delete",
        }
    }

    /// What it is done to: the public name of the innermost thing.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::NodeDrain { node } | Self::NodeUndrain { node } | Self::NodeRemove { node } => node,
            Self::SessionClose { session } | Self::RecordingStart { session, .. } => session,
            Self::ConnectionEvict { connection, .. } => connection,
            Self::StreamUnpublish { stream, .. } => stream,
            Self::RecordingStop { recording } | Self::RecordingDelete { recording } => recording,
        }
    }

    /// The least role that may do it.
    #[must_use]
    pub const fn role(&self) -> OperatorRole {
        match self {
            Self::NodeDrain { .. } | Self::NodeUndrain { .. } | Self::NodeRemove { .. } => {
                OperatorRole::Admin
            }
            Self::SessionClose { .. }
            | Self::ConnectionEvict { .. }
            | Self::StreamUnpublish { .. }
            | Self::RecordingStart { .. }
            | Self::RecordingStop { .. }
            | Self::RecordingDelete { .. } => OperatorRole::Operator,
        }
    }
}

/// Do something, or say what it would affect.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Operate {
    /// Chosen by the console; a repeated one gets the first answer.
    pub op: u64,
    /// What.
    pub verb: Verb,
    /// [`Impact::generation`] that the operator saw; refused if the target is another one by now. None does it anyway.
    pub expected: Option<u64>,
    /// Only say what it would affect.
    pub dry_run: bool,
    /// Why, for the audit. At most [`REASON_BYTES_MAX`].
    pub reason: String,
    /// Later additions.
    pub ext: Extensions,
}

/// Bytes of an operation's reason.
pub const REASON_BYTES_MAX: usize = 512;

/// How did an operation go?
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// Which.
    pub op: u64,
}

/// State of an operation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Which.
    pub op: u64,
    /// How it is.
    pub state: OperationState,
}

/// State of an operation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum OperationState {
    /// Dry run: it would affect this.
    Impact(Impact),
    /// Carried out.
    Done {
        /// For humans.
        text: String,
    },
    /// Not carried out; nothing has changed.
    Refused {
        /// Which kind of reason.
        kind: RefusedKind,
        /// For humans.
        why: String,
    },
    /// Under way.
    Running,
    /// The master knows of no such operation of this operator: it was never carried out, or too long ago.
    Unknown,
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum RefusedKind {
    /// The operator's role does not allow it.
    Role,
    /// There is no such thing.
    Missing,
    /// The target is not what the operator saw.
    Changed,
    /// The target's state does not allow it, or a node refused.
    State,
    /// The master cannot do it at present (busy, store).
    Unavailable,
}

/// What an operation would affect.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    /// Version of the target, for [`Operate::expected`].
    pub generation: u64,
    /// Sessions that are moved or end.
    pub sessions: u32,
    /// Connections that are moved or end.
    pub connections: u32,
    /// Streams that end.
    pub streams: u32,
    /// Recordings that begin, end or go.
    pub recordings: u32,
    /// What will happen, for humans, most important first.
    pub lines: Vec<String>,
}

/// Events that were.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// Pairs it with its [`Page`].
    pub id: u32,
    /// Which events pass.
    pub filter: String,
    /// Only events of a lower number; 0 is from the newest.
    pub before: u64,
    /// Only events since then, milliseconds since 1970.
    pub since_ms: u64,
    /// Events at most; the master sends no more than [`WINDOW_ROWS_MAX`].
    pub limit: u32,
}

/// Answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// As in the query.
    pub id: u32,
    /// Events, oldest first.
    pub rows: Vec<EventRow>,
    /// There are older ones.
    pub more: bool,
    /// Why there are none; empty for none.
    pub error: String,
}
