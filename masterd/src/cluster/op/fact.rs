//! Pure: no clock, no I/O, no async.
//!
//! What happens in a session, as its event log keeps it and every face shows it.

use common::id::EventSeq;
use common::wire::node::{MediaKind, SlotGap};
use common::wire::operator::OperatorRole;

use super::socket::{ConnectionProperty, StreamProperty};
use super::{
    AuditOutcome, ClientInfo, ConnectionRole, NodeStatus, PublishOptions, RecordingProperties,
    RecordingStatus, UnixMillis,
};

/// A fact in a session's event log.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Event {
    /// Position in the session's log, from 1.
    pub seq: EventSeq,
    /// When.
    pub at: UnixMillis,
    /// Public name of the session.
    pub session: String,
    /// Session's start, which tells two sessions of one name apart.
    pub session_started: UnixMillis,
    /// Connections (public names) that may see it; none is everyone. The application sees all.
    pub audience: Option<Vec<String>>,
    /// What happened.
    pub what: Fact,
}

/// What happened in a session. Names are public ones.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Fact {
    /// Created by the application.
    SessionCreated,
    /// Closed.
    SessionDestroyed {
        /// Why.
        reason: Reason,
        /// How long it was open.
        duration_ms: u64,
    },
    /// The session got its media node, or another one.
    SessionPlaced {
        /// `media_...`.
        node: String,
    },
    /// A connection joined.
    ParticipantJoined {
        /// Its name.
        connection: String,
        /// Its role.
        role: ConnectionRole,
        /// What the application says of it.
        server_data: String,
        /// What it says of itself.
        client: ClientInfo,
    },
    /// A connection left or was made to.
    ParticipantLeft {
        /// Its name.
        connection: String,
        /// Why.
        reason: Reason,
        /// How long it was in.
        duration_ms: u64,
    },
    /// A stream is there.
    Published {
        /// Its publisher.
        connection: String,
        /// Its name.
        stream: String,
        /// It has sound.
        has_audio: bool,
        /// It has pictures.
        has_video: bool,
        /// As said by the client.
        options: PublishOptions,
    },
    /// A stream is gone.
    Unpublished {
        /// Its publisher.
        connection: String,
        /// Its name.
        stream: String,
        /// Why.
        reason: Reason,
        /// How long it was there.
        duration_ms: u64,
        /// Its publisher leaves the session: that event follows.
        leaving: bool,
    },
    /// A connection may do something else. For itself.
    ConnectionChanged {
        /// Its name.
        connection: String,
        /// What.
        property: ConnectionProperty,
    },
    /// A stream has another property.
    StreamChanged {
        /// Its publisher.
        connection: String,
        /// Its name.
        stream: String,
        /// What.
        property: StreamProperty,
        /// Why, in the client's words.
        reason: String,
    },
    /// A connection receives a stream.
    Subscribed {
        /// The receiver.
        connection: String,
        /// The stream.
        stream: String,
        /// The stream's publisher.
        receiving_from: String,
    },
    /// A connection no longer receives a stream.
    Unsubscribed {
        /// The receiver.
        connection: String,
        /// The stream.
        stream: String,
        /// The stream's publisher.
        receiving_from: String,
        /// Why.
        reason: Reason,
        /// How long it received.
        duration_ms: u64,
    },
    /// A section of a slot changed its stream. Seen by its receiver.
    Slot {
        /// The receiver.
        connection: String,
        /// Resource that the slot is of.
        resource: String,
        /// Which slot.
        slot: u16,
        /// Audio or video.
        kind: MediaKind,
        /// Stream and its publisher's connection; none when empty.
        stream: Option<(String, String)>,
        /// Why it is empty although a stream was meant for it.
        gap: Option<SlotGap>,
    },
    /// A transport changed its state. Seen by its owner.
    Transport {
        /// The owner.
        connection: String,
        /// The resource.
        resource: String,
        /// `connected`, `disconnected`, `failed`, `closed`.
        state: String,
    },
    /// A signal.
    Signal {
        /// Sender; none is the application.
        from: Option<String>,
        /// `type`.
        kind: String,
        /// Content.
        data: String,
    },
    /// The loudest streams changed.
    Speakers {
        /// Loudest first.
        streams: Vec<String>,
    },
    /// An operator did something, or tried to. In the cluster's log.
    Audit {
        /// The console's number for it.
        op: u64,
        /// Who.
        operator: String,
        /// With which role.
        role: OperatorRole,
        /// Address of the console.
        address: String,
        /// What: `session.close`, ...
        verb: String,
        /// To what (public name).
        target: String,
        /// Why, as the operator says.
        reason: String,
        /// How it went.
        outcome: AuditOutcome,
    },
    /// A media node changed its state. In the cluster's log, and in that of each session on it.
    NodeStatusChanged {
        /// `media_...`.
        node: String,
        /// Before; none for a new node.
        from: Option<NodeStatus>,
        /// Now.
        to: NodeStatus,
    },
    /// A recording runs. For those who are told of recordings.
    RecordingStarted {
        /// Its public name.
        id: String,
        /// Name of its file.
        name: String,
    },
    /// A recording has ended. For those who are told of recordings.
    RecordingStopped {
        /// Its public name.
        id: String,
        /// Name of its file.
        name: String,
        /// Why.
        reason: Reason,
    },
    /// A recording has another status. For the application.
    RecordingStatusChanged(Box<RecordingEvent>),
}

/// A recording as it was when its status changed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RecordingEvent {
    /// Its public name.
    pub id: String,
    /// As asked for; `name` is never empty.
    pub properties: RecordingProperties,
    /// When it was asked for: `startTime` of all its events but the first, which begins now.
    pub created_at: UnixMillis,
    /// The new status.
    pub status: RecordingStatus,
    /// Bytes; 0 before `Ready` and `Failed`.
    pub size_bytes: u64,
    /// Length; 0 before `Ready` and `Failed`.
    pub duration_ms: u64,
    /// Why it was stopped; none before, and for one that never ran.
    pub reason: Option<Reason>,
    /// Why it failed, or what is to be known of it; for humans.
    pub why: String,
    /// `media_...` that hosts or hosted the session.
    pub media_node: String,
}

impl Fact {
    /// Bytes of what people and applications wrote into it.
    #[must_use]
    pub const fn text_bytes(&self) -> usize {
        if let Self::Signal { kind, data, .. } = self {
            kind.len() + data.len()
        } else if let Self::ParticipantJoined { server_data, client, .. } = self {
            server_data.len() + client.client_data.len()
        } else {
            0
        }
    }
}

/// Why something ended, as OpenVidu names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Reason {
    /// `automaticStop`.
    AutomaticStop,
    /// `disconnect`.
    Disconnect,
    /// `forceDisconnectByServer`.
    ForceDisconnectByServer,
    /// `forceDisconnectByUser`.
    ForceDisconnectByUser,
    /// `forceUnpublishByServer`.
    ForceUnpublishByServer,
    /// `forceUnpublishByUser`.
    ForceUnpublishByUser,
    /// `lastParticipantLeft`.
    LastParticipantLeft,
    /// `mediaServerDisconnect`.
    MediaServerDisconnect,
    /// `networkDisconnect`.
    NetworkDisconnect,
    /// `nodeCrashed`.
    NodeCrashed,
    /// `recordingStoppedByServer`.
    RecordingStoppedByServer,
    /// `sessionClosedByServer`.
    SessionClosedByServer,
    /// `unpublish`.
    Unpublish,
    /// `unsubscribe`.
    Unsubscribe,
}

impl Reason {
    /// OpenVidu's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AutomaticStop => "automaticStop",
            Self::Disconnect => "disconnect",
            Self::ForceDisconnectByServer => "forceDisconnectByServer",
            Self::ForceDisconnectByUser => "forceDisconnectByUser",
            Self::ForceUnpublishByServer => "forceUnpublishByServer",
            Self::ForceUnpublishByUser => "forceUnpublishByUser",
            Self::LastParticipantLeft => "lastParticipantLeft",
            Self::MediaServerDisconnect => "mediaServerDisconnect",
            Self::NetworkDisconnect => "networkDisconnect",
            Self::NodeCrashed => "nodeCrashed",
            Self::RecordingStoppedByServer => "recordingStoppedByServer",
            Self::SessionClosedByServer => "sessionClosedByServer",
            Self::Unpublish => "unpublish",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}
