//! Pure: no clock, no I/O, no async.
//!
//! What goes into the core and what comes out of it, and its settings.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::id::{BootId, NodeKey, OpId, SessionKey};
use common::wire::node::{FromNode, Hello, ToNode};

use super::op::{Actor, Event, Op, Query, RecordingNotice, Reply, RequestId, UnixMillis, ViewerId};

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// Since the start of the process; never goes back. Decides all timers.
    pub mono: Duration,
    /// Wall clock, for records and humans.
    pub unix: UnixMillis,
}

/// Another master leads: this core's changes can no longer be stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("another master leads")]
pub struct Fenced;

/// One thing that the core is told.
#[derive(Debug)]
pub enum Input {
    /// A link to a node is gone.
    LinkDown {
        /// The node.
        node: NodeKey,
        /// As in the link's `Hello`; a late report about an older link is ignored.
        boot: BootId,
    },
    /// A node's link stands; supersedes an older one.
    LinkUp {
        /// The node, by its certificate.
        node: NodeKey,
        /// What it says of itself.
        hello: Box<Hello>,
        /// Where its link comes from.
        address: IpAddr,
    },
    /// A message from a node.
    Node {
        /// The node.
        node: NodeKey,
        /// Of the link that the message came by.
        boot: BootId,
        /// Operation id of the envelope.
        op: OpId,
        /// The message.
        message: FromNode,
    },
    /// A question. Answered by one [`Output::Reply`].
    Query {
        /// Pairs it with the reply.
        req: RequestId,
        /// Who asks; a bearer may ask for [`Query::Own`] only.
        actor: Actor,
        /// What.
        query: Query,
    },
    /// An operation. Answered by one [`Output::Reply`] ([`Op::Unwatch`] by none).
    Request {
        /// Pairs it with the reply.
        req: RequestId,
        /// Who asks.
        actor: Actor,
        /// What.
        op: Op,
    },
    /// The store cannot write at present (true), or can again. New operations are refused meanwhile; the driver goes
    /// on trying to commit the batch in flight.
    StoreFailing(bool),
    /// A batch is durable, or can never be.
    Stored {
        /// Of [`Output::Commit`].
        batch: u64,
        /// How it went.
        result: Result<(), Fenced>,
    },
    /// Time has passed. Due at [`super::Core::deadline`].
    Tick,
}

/// Why a viewer gets no more events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ViewerEnd {
    /// Its connection has left the session.
    ConnectionLeft,
    /// Another socket of its connection has taken its place.
    Replaced,
    /// Its session is closed.
    SessionClosed,
}

/// One thing that the shells must do. What [`super::Core::poll_output`] gives may leave at once.
#[derive(Debug)]
pub enum Output {
    /// Store these records atomically and durably, then say [`Input::Stored`]. One batch is in flight at a time.
    Commit {
        /// Numbers the batch.
        batch: u64,
        /// Keys with their new values; none deletes.
        puts: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
    /// Another master leads: drop the core, step down. Nothing follows.
    Fenced,
    /// An event for a reader of a session's log, in the order of the log.
    Notify {
        /// The reader.
        viewer: ViewerId,
        /// The event.
        event: Arc<Event>,
    },
    /// Answer to an operation or a question.
    Reply {
        /// Of the request.
        req: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// A command for a node. When it cannot be sent, nothing need be said: the core sends it again.
    Send {
        /// The node.
        node: NodeKey,
        /// Its lane; none is the control stream.
        session: Option<SessionKey>,
        /// Operation id of the envelope; 0 where no answer is expected.
        op: OpId,
        /// For the envelope; 0 is no limit.
        deadline_ms: u32,
        /// The message.
        message: ToNode,
    },
    /// A reader gets no more events; it need not be unwatched.
    ViewerClosed {
        /// The reader.
        viewer: ViewerId,
        /// Why.
        why: ViewerEnd,
    },
}

/// Times that the core works by.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    /// Silence after which a node gets no new sessions.
    pub suspect_after: Duration,
    /// Silence after which a node is lost and its sessions are closed.
    pub lost_after: Duration,
    /// A node whose heartbeats come while a worker's loop stands still is lost after this.
    pub stuck_after: Duration,
    /// No node is lost earlier than this after a start of masterd.
    pub startup_grace: Duration,
    /// When more than a fifth of at least five nodes falls silent together, nobody is lost for this long.
    pub self_suspect_hold: Duration,
    /// A command that opens something and is not answered within this is given up.
    pub command_timeout: Duration,
    /// An unanswered command is sent again after this.
    pub resend_after: Duration,
    /// A connection by REST leaves this long after its last media resource and its last event stream.
    pub idle_grace: Duration,
    /// What a node runs and nobody wants is closed after this.
    pub orphan_grace: Duration,
    /// Events are kept at least this long.
    pub events_kept: Duration,
    /// A session that nobody has joined vanishes after this.
    pub garbage_after: Duration,
    /// How often such sessions are looked for.
    pub garbage_interval: Duration,
    /// Emit `sessionDestroyed` (`automaticStop`) for them; OpenVidu does not.
    pub garbage_events: bool,
    /// A placement's reservation fades over this.
    pub reservation_decay: Duration,
    /// A lost node is forgotten after this.
    pub lost_kept: Duration,
    /// What `MEDIA_SERVER_PREFERRED` means, upper case; none is every codec.
    pub video_codec_preferred: Option<String>,
    /// Time for a recording to begin; then it has failed.
    pub recording_start_timeout: Duration,
    /// A stop that waits for complete files is answered after this in any case.
    pub recording_stop_timeout: Duration,
    /// A recording in whose session nobody publishes is stopped after this; zero: with the last participant.
    pub recording_autostop: Duration,
    /// Recordings of a recorder that was lost this long ago are stopped.
    pub recorder_grace: Duration,
    /// Who is told of recordings.
    pub recording_notice: RecordingNotice,
    /// Prefix of the URLs of recordings, with its trailing slash.
    pub recordings_url: String,
}

impl Default for CoreSettings {
    fn default() -> Self {
        Self {
            suspect_after: Duration::from_secs(1),
            lost_after: Duration::from_secs(2),
            stuck_after: Duration::from_secs(5),
            startup_grace: Duration::from_secs(10),
            self_suspect_hold: Duration::from_secs(10),
            command_timeout: Duration::from_secs(5),
            resend_after: Duration::from_secs(2),
            idle_grace: Duration::from_secs(10),
            orphan_grace: Duration::from_secs(30),
            events_kept: Duration::from_secs(30),
            garbage_after: Duration::from_secs(3600),
            garbage_interval: Duration::from_secs(900),
            garbage_events: false,
            reservation_decay: Duration::from_secs(90),
            lost_kept: Duration::from_secs(24 * 3600),
            video_codec_preferred: None,
            recording_start_timeout: Duration::from_secs(15),
            recording_stop_timeout: Duration::from_secs(25),
            recording_autostop: Duration::from_secs(120),
            recorder_grace: Duration::from_secs(10),
            recording_notice: RecordingNotice::default(),
            recordings_url: "https://localhost:4443/openvidu/recordings/".to_owned(),
        }
    }
}
