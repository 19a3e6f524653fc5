//! Wire: the rows that consoles watch.

use serde::{Deserialize, Serialize};

use crate::id::{NodeKey, SessionKey};
use crate::wire::Extensions;
use crate::wire::node::{Load, Role};

/// One row of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Row {
    /// Totals of the cluster.
    Head(Box<HeadRow>),
    /// A media node or recorder.
    Node(Box<NodeRow>),
    /// Everything about one node.
    NodeDetail(Box<NodeDetail>),
    /// A session.
    Session(SessionRow),
    /// Everything about one session.
    SessionDetail(Box<SessionDetail>),
    /// A recording.
    Recording(RecordingRow),
    /// An event.
    Event(EventRow),
    /// A placement decision.
    Decision(DecisionRow),
}

impl Row {
    /// Names the row in its topic.
    #[must_use]
    pub const fn key(&self) -> u64 {
        match self {
            Self::Head(_) => 0,
            Self::Node(row) => row.node.0,
            Self::NodeDetail(detail) => detail.row.node.0,
            Self::Session(row) => row.session.0,
            Self::SessionDetail(detail) => detail.row.session.0,
            Self::Recording(row) => row.recording,
            Self::Event(row) => row.seq,
            Self::Decision(row) => row.decision,
        }
    }
}

/// Totals of the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct HeadRow {
    /// The leading master's epoch.
    pub epoch: u64,
    /// Milliseconds since the master started.
    pub uptime_ms: u64,
    /// Media nodes by state.
    pub media: NodeCounts,
    /// Recorders by state.
    pub recorders: NodeCounts,
    /// Running media nodes that are nearly full or lose datagrams.
    pub nodes_pressed: u32,
    /// Sessions.
    pub sessions: u32,
    /// Participants.
    pub connections: u32,
    /// Published streams.
    pub streams: u32,
    /// Recordings under way.
    pub recordings: u32,
    /// Bits per second out of all media nodes.
    pub egress_bps: u64,
    /// Bits per second into all media nodes.
    pub ingress_bps: u64,
    /// Mean CPU of media nodes that are up, permille.
    pub cpu_permille_mean: u16,
    /// CPU of the busiest of them, permille.
    pub cpu_permille_max: u16,
    /// Datagrams that kernels dropped in the last second.
    pub drops: u64,
    /// One sample a second, oldest first: those since the last delta.
    pub history: Vec<HeadSample>,
    /// Later additions.
    pub ext: Extensions,
}

/// Nodes by state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeCounts {
    /// Take sessions.
    pub running: u32,
    /// Take no new sessions, or are being ended.
    pub draining: u32,
    /// Are being launched.
    pub launching: u32,
    /// Not heard of, or failed.
    pub lost: u32,
}

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct HeadSample {
    /// Sessions.
    pub sessions: u32,
    /// Participants.
    pub connections: u32,
    /// Published streams.
    pub streams: u32,
    /// Kilobits per second out.
    pub egress_kbps: u32,
    /// Kilobits per second in.
    pub ingress_kbps: u32,
    /// Mean CPU, permille.
    pub cpu_permille_mean: u16,
    /// CPU of the busiest node, permille.
    pub cpu_permille_max: u16,
    /// Datagrams dropped.
    pub drops: u32,
}

/// A media node or recorder.
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
    /// Its link to the master stands.
    pub connected: bool,
    /// Its newest load report.
    pub load: Load,
    /// Age of that report; none before the first.
    pub load_age_ms: Option<u64>,
    /// Sessions that are placed there; at a recorder, jobs.
    pub sessions: u32,
    /// Participants of these sessions.
    pub connections: u32,
    /// One sample a second, oldest first: those since the last delta.
    pub history: Vec<NodeSample>,
    /// Later additions.
    pub ext: Extensions,
}

/// A node at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeSample {
    /// Share of all cores in use, permille.
    pub cpu_permille: u16,
    /// Kilobits per second out.
    pub egress_kbps: u32,
    /// Sessions.
    pub sessions: u32,
}

/// Everything about one node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeDetail {
    /// As in lists.
    pub row: NodeRow,
    /// Name in the node's configuration.
    pub environment: String,
    /// Program and version.
    pub program: String,
    /// When it was first seen, milliseconds since 1970.
    pub launched_at_ms: u64,
    /// Since when it is connected, or was before it was cut off.
    pub connected_at_ms: Option<u64>,
    /// Since when it is cut off.
    pub disconnected_at_ms: Option<u64>,
    /// Score of placement: 0 idle, 1000 full, with what is reserved.
    pub score_permille: u16,
    /// Of that: promised to sessions that are still filling.
    pub reserved_permille: u16,
    /// Its largest sessions.
    pub largest: Vec<SessionRow>,
    /// Later additions.
    pub ext: Extensions,
}

/// A session.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The session.
    pub session: SessionKey,
    /// Public name.
    pub name: String,
    /// The node that has it; none before placement.
    pub node: Option<NodeKey>,
    /// Public name of that node; empty for none.
    pub node_name: String,
    /// That node is lost.
    pub node_lost: bool,
    /// Participants.
    pub connections: u32,
    /// Published streams.
    pub streams: u32,
    /// Recordings under way.
    pub recordings: u32,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Later additions.
    pub ext: Extensions,
}

/// Everything about one session.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SessionDetail {
    /// As in lists.
    pub row: SessionRow,
    /// Age of the newest numbers of its media node; none when there are none.
    pub measured_age_ms: Option<u64>,
    /// Published streams in the order of publishing.
    pub streams: Vec<StreamRow>,
    /// The window's participants in the order of joining.
    pub participants: Vec<ParticipantRow>,
    /// Later additions.
    pub ext: Extensions,
}

/// A published stream.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct StreamRow {
    /// Public name.
    pub stream: String,
    /// Public name of its publisher's connection.
    pub connection: String,
    /// What the publisher calls itself. Text of a stranger.
    pub publisher: String,
    /// `CAMERA`, `SCREEN` or `CUSTOM`.
    pub kind: String,
    /// It has sound.
    pub has_audio: bool,
    /// It has pictures.
    pub has_video: bool,
    /// Codec of the pictures, or of the sound if there are none; empty before media came.
    pub codec: String,
    /// Encodings of the pictures that flow.
    pub encodings: u8,
    /// Bits per second that its publisher sends.
    pub rate_bps: u32,
    /// Lost on its way in.
    pub loss_permille: Option<u16>,
}

/// A participant.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ParticipantRow {
    /// Public name of the connection.
    pub connection: String,
    /// `MODERATOR`, `PUBLISHER` or `SUBSCRIBER`.
    pub role: String,
    /// What it calls itself. Text of a stranger.
    pub data: String,
    /// What its client says that it runs on. Text of a stranger.
    pub platform: String,
    /// Where its media goes, or where it joined from.
    pub address: String,
    /// When it joined, milliseconds since 1970; 0 while it has not.
    pub joined_at_ms: u64,
    /// Round trip, microseconds.
    pub rtt_us: Option<u32>,
    /// Bandwidth towards it as its client estimates it.
    pub estimate_bps: Option<u64>,
    /// Bits per second that it receives.
    pub receives_bps: u64,
    /// What it gets of each stream, in the order of [`SessionDetail::streams`].
    pub cells: Vec<Cell>,
}

/// What a participant gets of a stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    /// Nothing asked for.
    #[default]
    None,
    /// It is its own.
    Own,
    /// It is meant to get it.
    Receives {
        /// Sound; none when it gets none.
        audio: Option<Media>,
        /// Pictures; none when it gets none.
        video: Option<Media>,
    },
    /// It was meant to get it and does not.
    Failed,
}

/// What flows to a participant of one kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// Bits per second.
    pub rate_bps: u32,
    /// Lost on the way, as its client says.
    pub loss_permille: u16,
    /// Encoding that is sent, 0 is the smallest; none when nothing is sent.
    pub encoding: Option<u8>,
    /// Encodings that the stream has.
    pub encodings: u8,
    /// These are numbers of the media node, not only intentions of the master.
    pub measured: bool,
}

/// A recording.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingRow {
    /// Its key.
    pub recording: u64,
    /// Public name.
    pub id: String,
    /// Public name of the session.
    pub session: String,
    /// State as the API spells it: `started`, `ready`, ...
    pub state: String,
    /// `COMPOSED` or `INDIVIDUAL`.
    pub mode: String,
    /// Public name of its recorder.
    pub recorder: String,
    /// Size of the film, `1280x720`; empty without.
    pub resolution: String,
    /// When it began, milliseconds since 1970.
    pub created_at_ms: u64,
    /// Recorded time.
    pub duration_ms: u64,
    /// Bytes on the disk.
    pub size_bytes: u64,
    /// What an operator should know of it; empty for nothing.
    pub warning: String,
    /// Later additions.
    pub ext: Extensions,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Severity {
    /// Normal course of things.
    #[default]
    Info,
    /// What an operator did or tried to do.
    Audit,
    /// Worth a look.
    Warn,
    /// Bad.
    Crit,
}

impl Severity {
    /// For screens and filters.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Crit => "crit",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum EventSubject {
    /// The cluster itself.
    #[default]
    Cluster,
    /// A node.
    Node(NodeKey),
    /// A session.
    Session(SessionKey),
}

/// An event.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// Position in the master's feed, from 1; starts anew with the master.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// How bad.
    pub severity: Severity,
    /// `session.created`, `node.lost`, ...
    pub kind: String,
    /// About what.
    pub subject: EventSubject,
    /// Public name of the subject.
    pub name: String,
    /// More, for humans.
    pub text: String,
}

/// A placement decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRow {
    /// Its key.
    pub decision: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Public name of the session.
    pub session: String,
    /// Public name of the node that was chosen; none when there was none.
    pub chosen: Option<String>,
    /// Nodes that were looked at, best first.
    pub verdicts: Vec<Verdict>,
}

/// What a decision says of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Public name.
    pub node: String,
    /// Higher is better; none when refused.
    pub score: Option<f64>,
    /// How the score came about, or why the node was refused.
    pub why: String,
}
