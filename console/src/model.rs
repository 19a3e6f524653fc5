//! Pure: no clock, no I/O, no async.
//!
//! What the console knows of a cluster. Sources (a master over the operator link, the made-up cluster) speak
//! [`Message`]; views read the [`crate::store::Store`] that they feed. All text is [`Clean`] from here on.

use common::id::{NodeKey, SessionKey};

use crate::text::Clean;

/// From a source to the console.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The link changed.
    Link(Link),
    /// An operation came to its end.
    Operated {
        /// Which.
        op: u64,
        /// How, in words for the operator.
        result: Result<Clean, Clean>,
    },
    /// The whole cluster, about once a second.
    Overview(Box<Overview>),
    /// Why a session runs where it runs; an error says why that cannot be told.
    Placement {
        /// Which session.
        session: SessionKey,
        /// Newest decision first.
        decisions: Result<Vec<Decision>, Clean>,
    },
    /// What goes on in a session; an error says why that cannot be told.
    Session {
        /// Which.
        session: SessionKey,
        /// Participants and streams.
        detail: Result<Box<SessionDetail>, Clean>,
    },
}

/// State of the link to the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Link {
    /// Being dialled.
    Connecting {
        /// Where.
        address: Clean,
    },
    /// Cut; tried again by itself.
    Down {
        /// Why.
        why: Clean,
        /// Time until the next attempt, where it is known.
        retry_ms: Option<u64>,
    },
    /// Stands.
    Up(Welcome),
}

/// Whom the console talks to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Welcome {
    /// Name of the cluster.
    pub cluster: Clean,
    /// Program of the master.
    pub program: Clean,
    /// Name and role of the operator.
    pub operator: Clean,
    /// The role allows changes.
    pub may_act: bool,
    /// Operations that this source carries.
    pub actions: Vec<Action>,
    /// The cluster is made up and stands still: what is shown does not age.
    pub still: bool,
}

/// What a window can ask to be told about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Topic {
    /// Nodes, sessions and totals.
    Overview,
    /// Placement decisions of one session.
    Placement(SessionKey),
    /// Participants and streams of one session.
    Session(SessionKey),
}

/// A change that an operator can ask for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Close a session.
    CloseSession,
    /// Move a node's sessions away and place no more there.
    Drain,
    /// End a connection.
    Evict,
    /// Take a node out of the cluster.
    RemoveNode,
    /// Take a draining node back.
    Undrain,
}

/// An operation for the source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operate {
    /// Chosen by the console, so that a repeated one is harmless.
    pub op: u64,
    /// What.
    pub action: Action,
    /// Public name of what it is done to.
    pub target: Clean,
    /// Why, for the audit.
    pub reason: String,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// Milliseconds since 1970 at the master.
    pub at_ms: u64,
    /// Term of the leading master.
    pub epoch: u64,
    /// Milliseconds since the master started.
    pub uptime_ms: u64,
    /// Media nodes and recorders.
    pub nodes: Vec<Node>,
    /// Sessions; not all when there are more than the link carries.
    pub sessions: Vec<Session>,
    /// All sessions.
    pub sessions_total: u64,
    /// All connections.
    pub connections_total: u64,
    /// All published streams.
    pub streams_total: u64,
}

/// A media node or recorder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its key.
    pub key: NodeKey,
    /// As the API shows it.
    pub name: Clean,
    /// A recorder, not a media node.
    pub recorder: bool,
    /// Its state.
    pub state: NodeState,
    /// Address of its link.
    pub address: Clean,
    /// Newest report.
    pub load: common::wire::node::Load,
    /// Age of the report when the master sent it; none before the first.
    pub load_age_ms: Option<u64>,
}

/// State of a node, worst first in order.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum NodeState {
    /// Not heard of.
    Lost,
    /// Could not be launched.
    Failed,
    /// Takes no new sessions.
    Draining,
    /// Being ended.
    Terminating,
    /// Being launched.
    Launching,
    /// Takes sessions.
    #[default]
    Running,
    /// Launch called off.
    Canceled,
    /// Ended.
    Terminated,
    /// A newer master knows a state that this console does not.
    Unknown,
}

impl NodeState {
    /// The state as masters spell it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "canceled" => Self::Canceled,
            "draining" | "waiting-idle-to-terminate" => Self::Draining,
            "failed" => Self::Failed,
            "launching" => Self::Launching,
            "lost" => Self::Lost,
            "running" => Self::Running,
            "terminated" => Self::Terminated,
            "terminating" => Self::Terminating,
            _ => Self::Unknown,
        }
    }

    /// The node carries media.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Draining | Self::Running | Self::Terminating)
    }

    /// For screens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Canceled => "canceled",
            Self::Draining => "draining",
            Self::Failed => "FAILED",
            Self::Launching => "launching",
            Self::Lost => "LOST",
            Self::Running => "running",
            Self::Terminated => "terminated",
            Self::Terminating => "terminating",
            Self::Unknown => "?",
        }
    }
}

/// A session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Session {
    /// Its key.
    pub key: SessionKey,
    /// Public name.
    pub name: Clean,
    /// The node that has it; none before placement.
    pub node: Option<NodeKey>,
    /// Participants.
    pub connections: u32,
    /// Published streams.
    pub streams: u32,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
}

/// Who sends what to whom in a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionDetail {
    /// Participants in the order of joining.
    pub participants: Vec<Participant>,
    /// Streams in the order of publishing.
    pub streams: Vec<Stream>,
    /// What each participant gets of each stream: participants x streams, row by row.
    pub cells: Vec<Cell>,
}

/// One participant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Participant {
    /// Public name of the connection.
    pub connection: Clean,
    /// What it calls itself.
    pub data: Clean,
    /// Its address.
    pub address: Clean,
    /// How its media travel: `udp`, `tcp`, `relay`.
    pub transport: Clean,
    /// Round trip.
    pub rtt_ms: Option<u32>,
    /// Estimated bandwidth towards it.
    pub estimate_bps: Option<u64>,
    /// What it receives.
    pub receives_bps: u64,
}

/// One published stream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stream {
    /// Public name.
    pub id: Clean,
    /// Place of its publisher among the participants.
    pub publisher: usize,
    /// `camera`, `screen`, `audio`.
    pub kind: Clean,
    /// Codec.
    pub codec: Clean,
    /// Layers offered, highest first: `h m l`.
    pub layers: Clean,
    /// What it sends.
    pub bitrate_bps: u64,
    /// Lost on its way in.
    pub loss_permille: u32,
}

/// What one participant gets of one stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Cell {
    /// It wants the stream and does not get it.
    Failed,
    /// Forwarded.
    Forwarded {
        /// `h`, `m`, `l`, or blank without layers.
        layer: char,
        /// With sound.
        audio: bool,
        /// Lost on the way.
        loss_permille: u32,
    },
    /// Not subscribed.
    #[default]
    None,
    /// Its own stream.
    Own,
    /// Picture held back for want of bandwidth.
    Paused {
        /// Sound goes on.
        audio: bool,
    },
}

/// A stored placement decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Its key.
    pub key: Clean,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What it was about, in words.
    pub input: Clean,
    /// Every node that was looked at, best first.
    pub verdicts: Vec<Verdict>,
}

/// What a decision says of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Name of the node.
    pub node: Clean,
    /// Higher is better; none when refused.
    pub score: Option<f64>,
    /// It was chosen.
    pub chosen: bool,
    /// How the score came about, or why the node was refused.
    pub why: Clean,
}
