//! Pure: no clock, no I/O, no async.
//!
//! What the console knows of a cluster. Sources (a master over the operator link, the made-up cluster) speak
//! [`Message`]; views read the [`crate::store::Store`] that they feed. All foreign text is [`Clean`] from here on.

use common::id::{NodeKey, SessionKey};
use common::operator::state_word;
use common::wire::node::Role;
use common::wire::operator::{
    Cell, DecisionRow, Delta, NodeRow, Order, SessionDetail as WireDetail, SessionRow, Topic, Verb, Window,
};

use crate::desktop::WindowId;
use crate::text::Clean;

/// From a source to the console.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// What changed in what a window watches.
    Delta {
        /// The window.
        window: WindowId,
        /// Its text is harmless already.
        delta: Box<Delta>,
    },
    /// The link changed.
    Link(Link),
    /// The state of an operation.
    Operated {
        /// Which.
        op: u64,
        /// How it is.
        state: Operated,
    },
}

/// State of an operation. Its text is harmless.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operated {
    /// It would affect this.
    Impact {
        /// Version of the target, to be sent along with the operation.
        generation: u64,
        /// What will happen, most important first.
        lines: Vec<Clean>,
    },
    /// Carried out.
    Done(Clean),
    /// Nothing has changed.
    Refused(Clean),
    /// Under way.
    Running,
    /// The master knows nothing of it.
    Unknown,
}

/// What a window watches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Rows of what.
    pub topic: Topic,
    /// Which pass.
    pub filter: String,
    /// In which order.
    pub order: Order,
    /// Which part.
    pub window: Window,
}

impl Wanted {
    /// The one row of a topic.
    #[must_use]
    pub fn one(topic: Topic) -> Self {
        let window = Window { first: 0, count: 1, from_end: false };
        Self { topic, filter: String::new(), order: Order::default(), window }
    }
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
    /// The role allows changes of the cluster itself.
    pub may_admin: bool,
    /// The cluster is made up and stands still: what is shown does not age.
    pub still: bool,
}

/// A change that an operator can ask for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Close a session.
    CloseSession,
    /// Delete a recording.
    DeleteRecording,
    /// Place no more sessions on a node.
    Drain,
    /// End a connection.
    Evict,
    /// Take a node out of the cluster.
    RemoveNode,
    /// Start a recording.
    StartRecording,
    /// End a recording.
    StopRecording,
    /// Take a draining node back.
    Undrain,
    /// End a stream.
    Unpublish,
}

impl Action {
    /// What it is called in results.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::CloseSession => "close",
            Self::DeleteRecording => "delete recording",
            Self::Drain => "drain",
            Self::Evict => "evict",
            Self::RemoveNode => "remove",
            Self::StartRecording => "record",
            Self::StopRecording => "stop recording",
            Self::Undrain => "take back",
            Self::Unpublish => "unpublish",
        }
    }

    /// It changes the cluster itself.
    #[must_use]
    pub const fn needs_admin(self) -> bool {
        matches!(self, Self::Drain | Self::RemoveNode | Self::Undrain)
    }
}

/// An operation for the source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operate {
    /// Chosen by the console, so that a repeated one is harmless.
    pub op: u64,
    /// What.
    pub verb: Verb,
    /// Version of the target that the operator saw.
    pub expected: Option<u64>,
    /// Only say what it would affect.
    pub dry_run: bool,
    /// Why, for the audit.
    pub reason: String,
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
    /// Sessions that are placed there.
    pub sessions: u32,
}

impl Node {
    /// From a row.
    #[must_use]
    pub fn of(row: &NodeRow) -> Self {
        Self {
            key: row.node,
            name: Clean::new(&row.name),
            recorder: row.role == Role::Recorder,
            state: NodeState::parse(&row.state),
            address: Clean::new(&row.address),
            load: row.load.clone(),
            load_age_ms: row.load_age_ms,
            sessions: row.sessions,
        }
    }
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
        match state_word(text) {
            "canceled" => Self::Canceled,
            "draining" => Self::Draining,
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
    /// Name of that node.
    pub node_name: Clean,
    /// `open`, `empty`, `unplaced`, `lost`.
    pub state: &'static str,
    /// Participants.
    pub connections: u32,
    /// Published streams.
    pub streams: u32,
    /// Recordings under way.
    pub recordings: u32,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
}

impl Session {
    /// From a row.
    #[must_use]
    pub fn of(row: &SessionRow) -> Self {
        Self {
            key: row.session,
            name: Clean::new(&row.name),
            node: row.node,
            node_name: Clean::new(&row.node_name),
            state: row.state(),
            connections: row.connections,
            streams: row.streams,
            recordings: row.recordings,
            created_at_ms: row.created_at_ms,
        }
    }
}

/// Who sends what to whom in a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionDetail {
    /// Participants of the window in the order of joining.
    pub participants: Vec<Participant>,
    /// Streams in the order of publishing.
    pub streams: Vec<Stream>,
    /// All participants.
    pub connections: usize,
    /// Age of the media node's numbers; none when there are none.
    pub measured_age_ms: Option<u64>,
}

impl SessionDetail {
    /// From a row.
    #[must_use]
    pub fn of(detail: &WireDetail) -> Self {
        let participant = |row: &common::wire::operator::ParticipantRow| Participant {
            connection: Clean::new(&row.connection),
            role: Clean::new(&row.role),
            data: Clean::new(&row.data),
            platform: Clean::new(&row.platform),
            address: Clean::new(&row.address),
            rtt_us: row.rtt_us,
            estimate_bps: row.estimate_bps,
            receives_bps: row.receives_bps,
            cells: row.cells.clone(),
        };
        let stream = |row: &common::wire::operator::StreamRow| Stream {
            id: Clean::new(&row.stream),
            publisher: Clean::new(if row.publisher.is_empty() { &row.connection } else { &row.publisher }),
            screen: row.kind == "SCREEN",
            video: row.has_video,
            codec: Clean::new(&row.codec),
            encodings: row.encodings,
            rate_bps: row.rate_bps.into(),
            loss_permille: row.loss_permille,
        };
        Self {
            participants: detail.participants.iter().map(participant).collect(),
            streams: detail.streams.iter().map(stream).collect(),
            connections: usize::try_from(detail.row.connections).unwrap_or(usize::MAX),
            measured_age_ms: detail.measured_age_ms,
        }
    }
}

/// One participant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Participant {
    /// Public name of the connection.
    pub connection: Clean,
    /// Its role.
    pub role: Clean,
    /// What it calls itself.
    pub data: Clean,
    /// What it says that it runs on.
    pub platform: Clean,
    /// Its address.
    pub address: Clean,
    /// Round trip, microseconds.
    pub rtt_us: Option<u32>,
    /// Estimated bandwidth towards it.
    pub estimate_bps: Option<u64>,
    /// What it receives.
    pub receives_bps: u64,
    /// What it gets of each stream.
    pub cells: Vec<Cell>,
}

/// One published stream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stream {
    /// Public name.
    pub id: Clean,
    /// What its publisher calls itself.
    pub publisher: Clean,
    /// It shows a screen.
    pub screen: bool,
    /// It has pictures.
    pub video: bool,
    /// Codec; empty before media came.
    pub codec: Clean,
    /// Encodings of the pictures that flow.
    pub encodings: u8,
    /// What it sends.
    pub rate_bps: u64,
    /// Lost on its way in.
    pub loss_permille: Option<u16>,
}

/// A stored placement decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Its key.
    pub key: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
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

impl Decision {
    /// From a row.
    #[must_use]
    pub fn of(row: &DecisionRow) -> Self {
        let verdict = |it: &common::wire::operator::Verdict| Verdict {
            node: Clean::new(&it.node),
            score: it.score,
            chosen: row.chosen.as_ref() == Some(&it.node),
            why: Clean::new(&it.why),
        };
        Self { key: row.decision, at_ms: row.at_ms, verdicts: row.verdicts.iter().map(verdict).collect() }
    }
}
