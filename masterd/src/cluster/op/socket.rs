//! Pure: no clock, no I/O, no async.
//!
//! What a client asks for over its WebSocket, beside what every face can ask ([`Op`](super::Op)): joining with a
//! snapshot, resuming after a lost socket, one peer connection for each stream, moderation.
//!
//! The first operation is [`SocketOp::Join`] by the connection's token; all others are by the secret that it answers
//! with ([`JoinedView::secret`]). A connection that has joined so is held in its session by its socket alone: when the
//! socket is gone for the grace, it leaves, whatever media it has; while the socket is there, its streams stay although
//! their transports fail, because the client renews them.

use common::id::EventSeq;

use super::{ClientInfo, ConnectionRole, ConnectionView, ViewerId};

/// A change by a client with a WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SocketOp {
    /// By an unused token: join. [`Reply::Joined`](super::Reply::Joined); later events follow as notes.
    Join {
        /// Names the reader of the session's events.
        viewer: ViewerId,
        /// The session that the client means; its token must be of it.
        session: String,
        /// Who joins.
        client: ClientInfo,
    },
    /// A new socket in place of one that was lost. [`Reply::Resumed`](super::Reply::Resumed) with what was missed;
    /// [`Refusal::Missed`](super::Refusal::Missed) when that is no longer known.
    Resume {
        /// Names the reader.
        viewer: ViewerId,
    },
    /// The client has received all events up to this one. Where a resumption begins. [`Reply::Done`](super::Reply::Done).
    Seen {
        /// Position.
        seq: EventSeq,
    },
    /// Receive one stream over a peer connection of its own, in place of the one that received it so far.
    /// [`Reply::Endpoint`](super::Reply::Endpoint) with our answer, or our offer, which [`SocketOp::Answer`] completes.
    Subscribe {
        /// Public name.
        stream: String,
        /// The client's offer; none asks for ours.
        offer: Option<String>,
    },
    /// The client's answer to our offer. [`Reply::Done`](super::Reply::Done).
    Answer {
        /// Public name of the stream that was subscribed to.
        stream: String,
        /// SDP answer.
        answer: String,
    },
    /// Candidates for the connection's own publication, or for the stream that it receives from another.
    /// [`Reply::Done`](super::Reply::Done).
    Candidates {
        /// Public name of the connection that publishes the stream.
        owner: String,
        /// `application/trickle-ice-sdpfrag`.
        fragment: String,
    },
    /// Receive no longer what a connection publishes. [`Reply::Done`](super::Reply::Done).
    Unsubscribe {
        /// Public name.
        owner: String,
    },
    /// End the own stream. [`Reply::Done`](super::Reply::Done).
    Unpublish,
    /// A new peer connection for the own stream, which keeps its name and its receivers.
    /// [`Reply::Endpoint`](super::Reply::Endpoint).
    Republish {
        /// SDP offer.
        offer: String,
    },
    /// The own stream has changed. [`Reply::Done`](super::Reply::Done).
    ChangeStream {
        /// What.
        property: StreamProperty,
        /// Why, in the client's words.
        reason: String,
    },
    /// By a moderator: evict a connection. [`Reply::Done`](super::Reply::Done).
    ForceDisconnect {
        /// Public name.
        connection: String,
    },
    /// By a moderator: end a stream. [`Reply::Done`](super::Reply::Done).
    ForceUnpublish {
        /// Public name.
        stream: String,
    },
}

/// A property of a stream with its new value.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum StreamProperty {
    /// Sound is on.
    AudioActive(bool),
    /// Picture is on.
    VideoActive(bool),
    /// JSON text as said by the client.
    VideoDimensions(String),
    /// Another source of sound: JSON text that describes it.
    AudioTrack(String),
    /// Another source of pictures: JSON text that describes it.
    VideoTrack(String),
}

/// A property of a connection that the application has changed, with its new value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum ConnectionProperty {
    /// What it may do.
    Role(ConnectionRole),
    /// Whether it is recorded.
    Record(bool),
}

/// What a client that has joined needs to know.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct JoinedView {
    /// Its own connection.
    pub connection: ConnectionView,
    /// Bearer of all that follows: names the connection's signalling across sockets.
    pub secret: String,
    /// The others, in the order of joining. Whoever is not among them is told by an event.
    pub others: Vec<ConnectionView>,
    /// Public name and file name of the recording that runs, for those who are told of recordings.
    pub recording: Option<(String, String)>,
    /// Position of the newest event that the snapshot contains.
    pub head: EventSeq,
}
