//! Pure: no clock, no I/O, no async.
//!
//! What the faces (REST, REST signalling, later WebSocket and console) ask of the core, and what it answers.
//! Values are typed; only the faces know JSON, HTTP status and OpenVidu's spelling.

pub mod fact;
pub mod socket;

use std::sync::Arc;

use common::id::{DecisionKey, EndpointKey, EventSeq, NodeKey, RecordingKey, SessionKey, StreamKey};
use common::operator::Listing;
use common::wire::node::{MediaKind, NodeError};
use common::wire::operator::{
    EventRow, NodeDetail, OperationState, OperatorRole, ParticipantRow, RefusedKind, Row, SessionRow,
    StreamRow, Verb,
};

pub use self::fact::{Event, Fact, Reason, RecordingEvent};
use self::socket::{JoinedView, SocketOp};

/// Pairs an operation with its reply. Made by the face.
pub type RequestId = u64;

/// One reader of a session's event log. Made by the face.
pub type ViewerId = u64;

/// Milliseconds since 1970.
pub type UnixMillis = u64;

/// Who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Actor {
    /// Knows the API secret.
    App,
    /// Bears a connection's token: the `tok_...` part.
    Bearer(String),
}

/// A change, or a subscription to changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Create a session. [`Reply::Session`] or [`Refusal::SessionExists`].
    SessionCreate(SessionProperties),
    /// Close a session with everything in it, pending connections too. [`Reply::Done`].
    SessionDelete {
        /// Public name.
        session: String,
    },
    /// Make a connection (a token). [`Reply::Connection`].
    ConnectionCreate {
        /// Public name.
        session: String,
        /// What it may do.
        properties: ConnectionProperties,
    },
    /// Evict an active connection or revoke a pending one. [`Reply::Done`].
    ConnectionDelete {
        /// Public name.
        session: String,
        /// Public name.
        connection: String,
    },
    /// By the application: change what a connection may do. [`Reply::Connection`].
    ConnectionUpdate {
        /// Public name.
        session: String,
        /// Public name.
        connection: String,
        /// Its new role.
        role: Option<ConnectionRole>,
        /// Whether it is recorded from now on.
        record: Option<bool>,
    },
    /// By bearer: publish with this offer (WHIP). Admits the connection at its first use. [`Reply::Endpoint`].
    Publish {
        /// SDP offer.
        offer: String,
        /// Who joins.
        client: ClientInfo,
        /// What the client says of its media.
        media: PublishOptions,
    },
    /// By bearer: play the whole session through slots (WHEP). Admits as above. [`Reply::Endpoint`].
    PlaySession {
        /// SDP offer.
        offer: String,
        /// Who joins.
        client: ClientInfo,
    },
    /// By bearer: play one stream (WHEP). Admits as above. [`Reply::Endpoint`].
    PlayStream {
        /// Public name of the stream.
        stream: String,
        /// SDP offer.
        offer: String,
        /// Who joins.
        client: ClientInfo,
    },
    /// By bearer: candidates or ICE restart for a media resource. [`Reply::Done`] or [`Reply::Fragment`].
    Trickle {
        /// Name of the resource, from [`EndpointView::resource`].
        resource: String,
        /// `If-Match` header, without quotes, where sent.
        etag: Option<String>,
        /// `application/trickle-ice-sdpfrag` body.
        fragment: String,
    },
    /// By bearer: close a media resource. [`Reply::Done`].
    EndpointDelete {
        /// Name of the resource.
        resource: String,
    },
    /// By bearer: what the video slots of a resource show. What is none stays as it is. [`Reply::Done`].
    ArrangeSlots {
        /// Name of the resource.
        resource: String,
        /// Slot and public name of the stream that it shows; an empty list lets the core choose again.
        pins: Option<Vec<(u16, String)>>,
        /// Slot and the highest simulcast encoding that is of use there, 0 is the smallest; slots that are not named
        /// have no limit.
        layers: Option<Vec<(u16, u8)>>,
    },
    /// By bearer: leave; reason `disconnect`. [`Reply::Done`].
    Leave,
    /// By the application: take no new sessions on a node, or take them again. [`Reply::Done`].
    NodeDrain {
        /// `media_...`.
        node: String,
        /// True to drain.
        on: bool,
    },
    /// By the application: remove a recording that does not run, with its files. Answered when the recorder has removed
    /// them, or at once when it is away: they are removed at its return. [`Reply::Done`].
    RecordingDelete {
        /// Public name.
        recording: String,
    },
    /// By the application: record a session. Answered when the recording really runs, or has failed.
    /// [`Reply::Recording`].
    RecordingStart {
        /// Public name of the session.
        session: String,
        /// What and how; none is what the session was created with.
        properties: Option<Box<RecordingProperties>>,
    },
    /// By the application: end a recording. [`Reply::Recording`].
    RecordingStop {
        /// Public name.
        recording: String,
        /// Answer when its files are complete (or after `recording_stop_timeout`), not at once.
        wait: bool,
    },
    /// By the application: take a node out of the cluster; what runs there ends. [`Reply::Done`].
    NodeRemove {
        /// `media_...`.
        node: String,
    },
    /// By masterd itself, for an operator: one of the others, with role, impact and audit. [`Reply::Operation`].
    Operate(Box<Operation>),
    /// Send a signal. [`Reply::Done`].
    Signal {
        /// Public name; none for a bearer, whose own session it is.
        session: Option<String>,
        /// Public names of the receiving connections; empty for everyone.
        to: Vec<String>,
        /// `type`; empty for none.
        kind: String,
        /// Content.
        data: String,
    },
    /// By bearer, over a WebSocket.
    Socket(SocketOp),
    /// By the application: end a stream; reason `forceUnpublishByServer`. [`Reply::Done`].
    StreamDelete {
        /// Public name.
        session: String,
        /// Public name.
        stream: String,
    },
    /// Read a session's events from a position on; later ones follow as notes. [`Reply::Watching`].
    /// The log of a closed session can be read for as long as its events are kept; the reader is then closed at once.
    /// A bearer's stream keeps its connection in the session; a connection that only watches is admitted by it.
    Watch {
        /// Names this reader.
        viewer: ViewerId,
        /// Public name; none for a bearer, whose own session it is. None for the application is the cluster's log
        /// (nodes).
        session: Option<String>,
        /// `Last-Event-ID`: events after this one; none is from now on.
        after: Option<EventSeq>,
        /// Who reads (for a bearer that joins by this).
        client: ClientInfo,
    },
    /// The reader is gone. No reply is needed.
    Unwatch {
        /// As in [`Op::Watch`].
        viewer: ViewerId,
    },
}

/// A question; changes nothing. Answers wait for what they depend on to be durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Query {
    /// All sessions. [`Reply::Sessions`].
    Sessions,
    /// One session with its connections. [`Reply::Session`].
    Session {
        /// Public name.
        session: String,
    },
    /// One connection. [`Reply::Connection`].
    Connection {
        /// Public name.
        session: String,
        /// Public name.
        connection: String,
    },
    /// The bearer's own connection and session: [`Reply::Own`].
    Own,
    /// All media nodes. [`Reply::Nodes`].
    Nodes,
    /// One media node by its public id. [`Reply::Nodes`] with one element.
    Node {
        /// `media_...`.
        node: String,
    },
    /// One recording. [`Reply::Recording`].
    Recording {
        /// Public name.
        recording: String,
    },
    /// All recordings, oldest first. [`Reply::Recordings`].
    Recordings,
    /// Placement decisions, newest first, of one session or of all. [`Reply::Decisions`].
    Decisions {
        /// Public name.
        session: Option<String>,
    },
    /// Counters and ages of the core, for metrics. [`Reply::Stats`].
    Stats,
    /// For consoles: every node and session in a row. [`Reply::Listing`].
    Listing,
    /// For consoles: everything about one node. [`Reply::NodeDetail`].
    NodeDetail {
        /// Which.
        node: NodeKey,
    },
    /// For consoles: who sends what to whom. [`Reply::SessionParts`].
    SessionParts {
        /// Which.
        session: SessionKey,
    },
    /// For consoles: placement decisions, newest first, of one session (public name) or of all. [`Reply::Rows`].
    DecisionRows {
        /// Public name.
        session: Option<String>,
        /// At most.
        most: usize,
    },
    /// For consoles: events after a position. [`Reply::Feed`].
    Feed {
        /// From an earlier answer; 0 is from the oldest.
        after: u64,
    },
    /// For consoles: how an operation is or went. [`Reply::Operation`].
    Recall {
        /// Who asked for it.
        operator: String,
        /// Which.
        op: u64,
    },
}

/// What a session is created with. All checks of form are the face's.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SessionProperties {
    /// Name asked for; the core makes one otherwise.
    pub custom_id: Option<String>,
    /// `RELAYED` was asked for (recordings then refuse).
    pub relayed: bool,
    /// `ALWAYS` was asked for.
    pub record_always: bool,
    /// `VP8`, `VP9`, `H264`, `NONE` or `MEDIA_SERVER_PREFERRED` as asked or configured.
    pub forced_video_codec: String,
    /// As asked or configured.
    pub allow_transcoding: bool,
    /// `defaultRecordingProperties`: how the session is recorded unless told otherwise.
    pub default_recording: RecordingProperties,
    /// `media_...` that must host the session.
    pub media_node: Option<String>,
}

/// How a session is recorded. All checks of form are the face's.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RecordingProperties {
    /// Name of the file without its extension; empty is the recording's public name.
    pub name: String,
    /// One film, or one file for each stream.
    pub mode: OutputMode,
    /// Record sound.
    pub has_audio: bool,
    /// Record pictures.
    pub has_video: bool,
    /// `BEST_FIT`, `CUSTOM`, ...
    pub layout: String,
    /// Folder or URL of a custom layout.
    pub custom_layout: String,
    /// Of the film, in pixels.
    pub width: u16,
    /// Of the film, in pixels.
    pub height: u16,
    /// Of the film, in frames a second.
    pub frame_rate: u16,
    /// Shown only: nothing here needs it.
    pub shm_size: u64,
    /// A stream without media does not fail the recording. Individual only.
    pub ignore_failed_streams: bool,
    /// `media_...` that was asked for.
    pub media_node: Option<String>,
}

impl Default for RecordingProperties {
    fn default() -> Self {
        Self {
            name: String::new(),
            mode: OutputMode::default(),
            has_audio: true,
            has_video: true,
            layout: "BEST_FIT".to_owned(),
            custom_layout: String::new(),
            width: 1280,
            height: 720,
            frame_rate: 25,
            shm_size: 536_870_912,
            ignore_failed_streams: false,
            media_node: None,
        }
    }
}

impl RecordingProperties {
    /// It becomes a film with pictures.
    #[must_use]
    pub const fn is_film(&self) -> bool {
        !matches!(self.mode, OutputMode::Individual) && self.has_video
    }

    /// Extension of the file, without the dot.
    #[must_use]
    pub const fn extension(&self) -> &'static str {
        match self.mode {
            OutputMode::Individual => "zip",
            OutputMode::Composed | OutputMode::ComposedQuickStart if self.has_video => "mp4",
            OutputMode::Composed | OutputMode::ComposedQuickStart => "webm",
        }
    }
}

/// What a recording becomes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum OutputMode {
    /// One film.
    #[default]
    Composed,
    /// One film; OpenVidu keeps a browser running for it, here it is the same as `Composed`.
    ComposedQuickStart,
    /// An archive with one file for each stream.
    Individual,
}

/// Where a recording is on its way; it only goes forward.
#[derive(
    Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize,
)]
pub enum RecordingStatus {
    /// Asked for; no file yet.
    #[default]
    Starting,
    /// It runs.
    Started,
    /// It has ended; its files are being completed.
    Stopped,
    /// Its files are complete.
    Ready,
    /// It came to nothing, or what there is cannot be completed.
    Failed,
}

impl RecordingStatus {
    /// Neither ready nor failed.
    #[must_use]
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::Starting | Self::Started | Self::Stopped)
    }

    /// The session is being recorded.
    #[must_use]
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Started)
    }
}

/// Who is told that a recording starts and stops (`OPENVIDU_RECORDING_NOTIFICATION`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingNotice {
    /// Everybody.
    All,
    /// Moderators.
    Moderator,
    /// Nobody.
    None,
    /// Moderators and publishers.
    #[default]
    PublisherModerator,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum ConnectionRole {
    /// Publishes and controls others.
    Moderator,
    /// Publishes.
    #[default]
    Publisher,
    /// Only receives.
    Subscriber,
}

/// What a connection is created with.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ConnectionProperties {
    /// Its role.
    pub role: ConnectionRole,
    /// `data`: shown to everyone as server data.
    pub server_data: String,
    /// Recorded in INDIVIDUAL recordings.
    pub record: bool,
    /// JSON text of the checked `kurentoOptions`, or none.
    pub kurento_options: Option<String>,
    /// Checked ICE servers, credentials made.
    pub ice_servers: Vec<IceServer>,
}

/// One ICE server for a client.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct IceServer {
    /// `turn:...`, `turns:...`, `stun:...` or `stuns:...`.
    pub url: String,
    /// For TURN.
    pub username: Option<String>,
    /// For TURN.
    pub credential: Option<String>,
}

/// What the face knows of a client that joins.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ClientInfo {
    /// Address of the client.
    pub ip: String,
    /// Short text made from the user agent.
    pub platform: String,
    /// What the client says of itself (`?data=` or `X-Client-Data`): shown to everyone as client data.
    pub client_data: String,
}

/// What a client says of the media that it publishes.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PublishOptions {
    /// `CAMERA`, `SCREEN` or `CUSTOM`.
    pub type_of_video: String,
    /// Sound is on at the start.
    pub audio_active: bool,
    /// Picture is on at the start.
    pub video_active: bool,
    /// As said by the client; browsers say -1 where they leave it to the camera.
    pub frame_rate: Option<i32>,
    /// JSON text as said by the client.
    pub video_dimensions: Option<String>,
}

/// Answer to an operation or a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A connection.
    Connection(Box<ConnectionView>),
    /// Placement decisions.
    Decisions(Vec<DecisionView>),
    /// Carried out.
    Done,
    /// A media resource is open.
    Endpoint(Box<EndpointView>),
    /// The node's ICE fragment after an ICE restart, and the resource's new ETag.
    Fragment {
        /// `application/trickle-ice-sdpfrag`.
        sdp: String,
        /// Without quotes.
        etag: String,
    },
    /// A client has joined by its WebSocket and reads the session's events.
    Joined(Box<JoinedView>),
    /// Every node and session in a row.
    Listing(Box<Listing>),
    /// Everything about one node.
    NodeDetail(Box<NodeDetail>),
    /// Who sends what to whom.
    SessionParts(Box<SessionParts>),
    /// Rows of a console's window.
    Rows(Vec<Row>),
    /// Events of the feed, oldest first, and its newest position.
    Feed(Vec<EventRow>, u64),
    /// An operator's operation.
    Operation(OperationState),
    /// Media nodes.
    Nodes(Vec<NodeView>),
    /// A bearer's own connection and its session.
    Own {
        /// Public name.
        session: String,
        /// The connection.
        connection: Box<ConnectionView>,
        /// Streams that others publish, with their publisher's connection, for a picture at once.
        streams: Vec<(String, StreamView)>,
        /// What the connection's slots hold now; empty sections are left out.
        slots: Vec<SlotView>,
        /// Public name and file name of the recording that runs, where this connection is told of it.
        recording: Option<(String, String)>,
    },
    /// A recording.
    Recording(Box<RecordingView>),
    /// Recordings.
    Recordings(Vec<RecordingView>),
    /// Not carried out; nothing has changed.
    Refused(Refusal),
    /// A new socket has taken the place of a lost one.
    Resumed {
        /// Public name of the connection.
        connection: String,
        /// Events that the client has not received, oldest first.
        backlog: Vec<Arc<Event>>,
        /// Position of the newest event.
        head: EventSeq,
    },
    /// A session.
    Session(Box<SessionView>),
    /// Sessions.
    Sessions(Vec<SessionView>),
    /// Named numbers.
    Stats(Vec<(&'static str, u64)>),
    /// A reader is subscribed.
    Watching {
        /// Events after the asked position, oldest first.
        backlog: Vec<Arc<Event>>,
        /// Events after the asked position are missing: the log no longer has them.
        gap: bool,
        /// Position of the newest event.
        head: EventSeq,
        /// Public name of the session.
        session: String,
        /// Public name of the bearer's connection; none for the application.
        connection: Option<String>,
    },
}

impl Reply {
    /// The reader that the operation named gets notes from now on.
    #[must_use]
    pub const fn subscribes(&self) -> bool {
        matches!(self, Self::Joined(_) | Self::Resumed { .. } | Self::Watching { .. })
    }
}

/// Why the core did not carry something out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The connection publishes already.
    #[error("the connection is publishing already")]
    AlreadyPublishing,
    /// A bound is reached.
    #[error("the limit of {limit} is reached")]
    Limit {
        /// Which.
        limit: &'static str,
    },
    /// A request holds more than it may.
    #[error("the {what} is too long: at most {max} are allowed")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Bytes, or entries.
        max: usize,
    },
    /// The log no longer has the events that the client missed.
    #[error("the events since the socket was lost are no longer known")]
    Missed,
    /// No media node can take the session.
    #[error("There is no available Media Node where to initialize session '{session}'")]
    NoMediaNode {
        /// Public name.
        session: String,
    },
    /// No recorder can take the recording.
    #[error("{why}")]
    NoRecorder {
        /// For humans.
        why: String,
    },
    /// The media node refused.
    #[error(transparent)]
    Node(NodeError),
    /// The media node did not answer in time or was lost.
    #[error("the media node did not answer")]
    NodeSilent,
    /// The session is being recorded already, or is one that cannot be recorded.
    #[error("the session is being recorded already, or its media does not pass the server")]
    RecordingConflict,
    /// The recording came to nothing, or cannot be removed.
    #[error("{why}")]
    RecordingFailed {
        /// For humans.
        why: String,
    },
    /// The recording runs: it must be stopped first.
    #[error("the recording has not been stopped")]
    RecordingRunning,
    /// The recording has not begun yet.
    #[error("the recording is still starting")]
    RecordingStarting,
    /// The connection's role does not allow it.
    #[error("the connection's role does not allow this")]
    Role,
    /// A session of this name exists.
    #[error("session '{0}' exists already")]
    SessionExists(String),
    /// Nobody has joined the session.
    #[error("the session is not active")]
    SessionNotActive,
    /// The resource has been changed since.
    #[error("the resource has another ETag by now")]
    StaleResource,
    /// The store cannot write at present (full disk, I/O error); nothing has changed.
    #[error("the store cannot be written at present")]
    StoreFailing,
    /// The token was used, is of another session, or never existed.
    #[error("the token is not valid")]
    Token,
    /// No such connection.
    #[error("unknown connection")]
    UnknownConnection,
    /// No such media node.
    #[error("unknown media node")]
    UnknownNode,
    /// No such recording, or it is not in a state for this.
    #[error("unknown recording")]
    UnknownRecording,
    /// No such media resource of this connection.
    #[error("unknown media resource")]
    UnknownResource,
    /// No such session.
    #[error("unknown session")]
    UnknownSession,
    /// No such stream.
    #[error("unknown stream")]
    UnknownStream,
}

/// A session as shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionView {
    /// Its key.
    pub key: SessionKey,
    /// Public name.
    pub id: String,
    /// Set at creation.
    pub created_at: UnixMillis,
    /// As created.
    pub properties: SessionProperties,
    /// `media_...` once the first participant has joined.
    pub media_node: Option<String>,
    /// Somebody has joined.
    pub active: bool,
    /// A recording of it is starting or runs.
    pub recording: bool,
    /// Active connections in the order of joining, then pending ones in the order of creation.
    pub connections: Vec<ConnectionView>,
}

/// A connection as shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConnectionView {
    /// Public name.
    pub id: String,
    /// Its session's public name.
    pub session: String,
    /// The `tok_...` part.
    pub token: String,
    /// Set at creation.
    pub created_at: UnixMillis,
    /// Set when it joined; pending before.
    pub active_at: Option<UnixMillis>,
    /// As created.
    pub properties: ConnectionProperties,
    /// Set when it joined.
    pub client: Option<ClientInfo>,
    /// Its stream.
    pub publisher: Option<StreamView>,
    /// What it receives: public name of the stream, since when.
    pub subscribers: Vec<(String, UnixMillis)>,
}

/// A stream as shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamView {
    /// `str_...`.
    pub id: String,
    /// Since when.
    pub created_at: UnixMillis,
    /// It has a sound track.
    pub has_audio: bool,
    /// It has a picture track.
    pub has_video: bool,
    /// As said by the client.
    pub options: PublishOptions,
}

/// What a section of a slot holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotView {
    /// Name of the resource that the slot is of.
    pub resource: String,
    /// Which slot.
    pub slot: u16,
    /// Audio or video.
    pub kind: MediaKind,
    /// Public name of the stream.
    pub stream: String,
    /// Public name of its publisher's connection.
    pub connection: String,
}

/// An opened media resource.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EndpointView {
    /// Name of the resource below `/whip/` or `/whep/`: unguessable.
    pub resource: String,
    /// Without quotes.
    pub etag: String,
    /// Answer.
    pub sdp: String,
    /// Public name of the session.
    pub session: String,
    /// Public name of the connection.
    pub connection: String,
    /// Public name of the stream that is published or, for one stream, played.
    pub stream: Option<String>,
    /// Since when it is published; for a publisher only.
    pub published_at: Option<UnixMillis>,
    /// For the `Link` headers.
    pub ice_servers: Vec<IceServer>,
}

/// A recording as shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecordingView {
    /// Its key.
    pub key: RecordingKey,
    /// Public name, and the name of its folder.
    pub id: String,
    /// Public name of the session.
    pub session: String,
    /// When the session began.
    pub session_started: UnixMillis,
    /// When the recording was asked for.
    pub created_at: UnixMillis,
    /// Where it is on its way.
    pub status: RecordingStatus,
    /// As asked for; `name` is never empty.
    pub properties: RecordingProperties,
    /// Bytes; 0 until its files are complete.
    pub size_bytes: u64,
    /// Length; 0 until its files are complete.
    pub duration_ms: u64,
    /// Why it was stopped.
    pub reason: Option<Reason>,
    /// Why it failed, or what is to be known of it; for humans.
    pub why: String,
    /// How far it is, as its recorder says.
    pub progress: RecordingProgress,
    /// Recorder that has its files; none when that has left the cluster.
    pub recorder: Option<NodeKey>,
    /// `media_...` of the recorder.
    pub recorder_name: Option<String>,
    /// The recorder is connected: the files can be read.
    pub recorder_connected: bool,
    /// `media_...` that hosts or hosted the session.
    pub media_node: String,
}

/// How far a recording is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecordingProgress {
    /// Recorded time.
    pub duration_ms: u64,
    /// Bytes on the recorder's disk.
    pub size_bytes: u64,
    /// Something that an operator should know; empty for none.
    pub warning: String,
}

/// States of a media node, as OpenVidu names them, and `Lost`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum NodeStatus {
    /// Launch was called off.
    Canceled,
    /// Could not be launched.
    Failed,
    /// Being launched.
    Launching,
    /// Nothing was heard for the loss time.
    Lost,
    /// Takes sessions.
    #[default]
    Running,
    /// Ended.
    Terminated,
    /// Being ended.
    Terminating,
    /// Takes no new sessions and ends with the last one.
    WaitingIdleToTerminate,
}

impl NodeStatus {
    /// OpenVidu's word for it; `lost` is ours.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Canceled => "canceled",
            Self::Failed => "failed",
            Self::Launching => "launching",
            Self::Lost => "lost",
            Self::Running => "running",
            Self::Terminated => "terminated",
            Self::Terminating => "terminating",
            Self::WaitingIdleToTerminate => "waiting-idle-to-terminate",
        }
    }
}

/// A media node as shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// Its key.
    pub key: NodeKey,
    /// `media_...`.
    pub id: String,
    /// The name in the node's configuration, without prefix.
    pub environment_id: String,
    /// Address that others reach it at.
    pub ip: String,
    /// `wss://<address>:<port>/plenum`.
    pub uri: String,
    /// Its link to masterd stands.
    pub connected: bool,
    /// When it was first seen or launched.
    pub launched_at: UnixMillis,
    /// Since when it is connected, or was before it was cut off.
    pub connected_at: Option<UnixMillis>,
    /// Since when it is cut off.
    pub disconnected_at: Option<UnixMillis>,
    /// Its state.
    pub status: NodeStatus,
    /// Load score of placement, 0 idle, 100 full, with what is reserved.
    pub load: f64,
    /// Newest report.
    pub report: common::wire::node::Load,
    /// Age of that report; none before the first.
    pub report_age: Option<std::time::Duration>,
    /// Sum of the reservations of sessions that are still filling, in the units of `load`.
    pub reserved: f64,
    /// Public names of its sessions.
    pub sessions: Vec<String>,
    /// Public names of recordings that are not finished: of a recorder its jobs, of a media node the films of its
    /// sessions.
    pub recordings: Vec<String>,
    /// Program and version.
    pub program: String,
    /// True for a recorder.
    pub recorder: bool,
}

/// Why a session runs where it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionView {
    /// Its key.
    pub key: DecisionKey,
    /// When.
    pub at: UnixMillis,
    /// Public name of the session.
    pub session: String,
    /// Public name of the recording, where the decision was about a recorder.
    pub recording: Option<String>,
    /// `media_...` that was chosen.
    pub chosen: Option<String>,
    /// Every node that was looked at, best first: id, score, why it was refused or how the score came about.
    pub verdicts: Vec<(String, Option<f64>, String)>,
}

/// What an operator asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operation {
    /// Chosen by the console; a repeated one gets the first answer.
    pub op: u64,
    /// Who, by the certificate.
    pub operator: String,
    /// With which role, by the certificate.
    pub role: OperatorRole,
    /// Address of the console.
    pub address: String,
    /// What.
    pub verb: Verb,
    /// Version of the target that the operator saw.
    pub expected: Option<u64>,
    /// Only say what it would affect.
    pub dry_run: bool,
    /// Why.
    pub reason: String,
}

/// How an operator's operation went.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum AuditOutcome {
    /// Carried out, and what that came to.
    Done(String),
    /// Nothing has changed, and why.
    Refused(RefusedKind, String),
}

/// Who sends what to whom in a session, as masterd means it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionParts {
    /// As in lists.
    pub row: SessionRow,
    /// Streams in the order of publishing; numbers are still empty.
    pub streams: Vec<(StreamKey, StreamRow)>,
    /// Participants in the order of joining.
    pub participants: Vec<Participant>,
}

/// A participant of [`SessionParts`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Participant {
    /// Numbers and cells are still empty.
    pub row: ParticipantRow,
    /// Its peer connections.
    pub endpoints: Vec<EndpointKey>,
    /// Streams that it publishes.
    pub owns: Vec<StreamKey>,
    /// What it is meant to get.
    pub receives: Vec<Received>,
}

/// One flow that a participant is meant to get.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// By which peer connection.
    pub endpoint: EndpointKey,
    /// Of which stream.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// It does not arrive.
    pub failed: bool,
}
