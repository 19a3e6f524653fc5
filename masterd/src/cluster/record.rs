//! Pure: no clock, no I/O, no async.
//!
//! What is stored of each entity, and under which key. A stored struct is postcard bytes: a change of its fields is a
//! new schema (`store::SCHEMA`).

use std::collections::BTreeMap;

use common::id::{
    BootId, ConnectionKey, DecisionKey, EndpointKey, EventSeq, Generation, NodeKey, RecordingKey, SessionKey,
    StreamKey,
};
use common::wire::node::{Capacity, EndpointKind, MediaKind, SlotGap};
use serde::{Deserialize, Serialize};

use super::op::{
    ClientInfo, ConnectionProperties, NodeStatus, PublishOptions, Reason, RecordingProperties,
    RecordingStatus, SessionProperties, UnixMillis,
};

/// Names one record.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum RecordKey {
    Closed(SessionKey),
    Connection(ConnectionKey),
    Decision(DecisionKey),
    Endpoint(EndpointKey),
    Event(SessionKey, EventSeq),
    Node(NodeKey),
    Recording(RecordingKey),
    Session(SessionKey),
}

impl RecordKey {
    /// One letter for the family, then the keys in big-endian order, so that a family is sorted by age.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let (family, key) = match self {
            Self::Closed(key) => (b'x', key.0),
            Self::Connection(key) => (b'c', key.0),
            Self::Decision(key) => (b'd', key.0),
            Self::Endpoint(key) => (b'e', key.0),
            Self::Event(key, _) => (b'l', key.0),
            Self::Node(key) => (b'n', key.0),
            Self::Recording(key) => (b'r', key.0),
            Self::Session(key) => (b's', key.0),
        };
        let mut bytes = Vec::with_capacity(17);
        bytes.push(family);
        bytes.extend_from_slice(&key.to_be_bytes());
        if let Self::Event(_, seq) = self {
            bytes.extend_from_slice(&seq.0.to_be_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (family, rest) = bytes.split_first()?;
        let (key, rest) = rest.split_first_chunk::<8>()?;
        let key = u64::from_be_bytes(*key);
        if *family == b'l' {
            let seq = u64::from_be_bytes(rest.try_into().ok()?);
            return Some(Self::Event(SessionKey(key), EventSeq(seq)));
        }
        if !rest.is_empty() {
            return None;
        }
        match family {
            b'x' => Some(Self::Closed(SessionKey(key))),
            b'c' => Some(Self::Connection(ConnectionKey(key))),
            b'd' => Some(Self::Decision(DecisionKey(key))),
            b'e' => Some(Self::Endpoint(EndpointKey(key))),
            b'n' => Some(Self::Node(NodeKey(key))),
            b'r' => Some(Self::Recording(RecordingKey(key))),
            b's' => Some(Self::Session(SessionKey(key))),
            _ => None,
        }
    }
}

/// Where a session's media runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Home {
    pub(crate) node: NodeKey,
    pub(crate) generation: Generation,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) name: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) properties: SessionProperties,
    /// Somebody has joined.
    pub(crate) active: bool,
    /// Stored only while active: the placement of a join that is under way dies with masterd.
    pub(crate) home: Option<Home>,
    /// Node that the newest `SessionPlaced` named.
    pub(crate) announced: Option<NodeKey>,
    /// The application has stopped a recording: none starts by itself any more.
    pub(crate) recording_stopped: bool,
}

/// A closed session whose events can still be read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClosedRecord {
    pub(crate) name: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) closed_at: UnixMillis,
    /// Tokens of those who were in it at its end, with their connections' names.
    pub(crate) bearers: Vec<(String, String)>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConnectionRecord {
    pub(crate) session: SessionKey,
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) properties: ConnectionProperties,
    pub(crate) active: Option<Admission>,
}

impl ConnectionRecord {
    /// Bearer of the WebSocket signalling of a connection that has joined so.
    pub(crate) fn socket(&self) -> Option<&str> {
        self.active.as_ref()?.socket.as_deref()
    }
}

/// A connection has joined.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Admission {
    pub(crate) at: UnixMillis,
    pub(crate) client: ClientInfo,
    /// Bearer of its WebSocket signalling; none for a connection by REST.
    pub(crate) socket: Option<String>,
    /// Position up to which its socket has delivered events; stored lazily.
    pub(crate) seen: EventSeq,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    pub(crate) session: SessionKey,
    pub(crate) connection: ConnectionKey,
    pub(crate) kind: EndpointKind,
    /// Public name of the resource.
    pub(crate) resource: String,
    /// Counts ICE restarts: the ETag.
    pub(crate) version: u32,
    pub(crate) generation: Generation,
    pub(crate) publication: Option<Publication>,
    pub(crate) audio: Vec<Section>,
    pub(crate) video: Vec<Section>,
    /// Streams that the client wants in certain video slots.
    pub(crate) pins: BTreeMap<u16, StreamKey>,
    /// Highest simulcast encodings that the client wants in certain video slots.
    pub(crate) layers: BTreeMap<u16, u8>,
    /// What is received, since when.
    pub(crate) subscribed: BTreeMap<StreamKey, UnixMillis>,
    /// Our offer waits for the client's answer.
    pub(crate) offered: bool,
    /// The node does not have it any more; the client will ask for another peer connection.
    pub(crate) lost: bool,
}

/// No limit of the simulcast encoding.
pub(crate) const SPATIAL_MAX: u8 = u8::MAX;

impl EndpointRecord {
    /// Highest simulcast encoding that a section is to carry.
    pub(crate) fn spatial_max(&self, kind: MediaKind, slot: u16) -> u8 {
        let layer = self.layers.get(&slot).filter(|_| kind == MediaKind::Video);
        layer.copied().unwrap_or(SPATIAL_MAX)
    }

    pub(crate) const fn sections(&self, kind: MediaKind) -> &Vec<Section> {
        match kind {
            MediaKind::Audio => &self.audio,
            MediaKind::Video => &self.video,
        }
    }

    pub(crate) const fn sections_mut(&mut self, kind: MediaKind) -> &mut Vec<Section> {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }
}

/// One audio or video section of an endpoint that plays a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Section {
    /// What it is to carry.
    pub(crate) stream: Option<StreamKey>,
    /// Why it does not.
    pub(crate) gap: Option<SlotGap>,
}

/// The stream of an endpoint that publishes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Publication {
    pub(crate) stream: StreamKey,
    pub(crate) name: String,
    pub(crate) published_at: UnixMillis,
    pub(crate) has_audio: bool,
    pub(crate) has_video: bool,
    pub(crate) options: PublishOptions,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// `media_...`.
    pub(crate) name: String,
    pub(crate) environment: String,
    pub(crate) boot: BootId,
    pub(crate) status: NodeStatus,
    /// The operators want it drained, across restarts of the node.
    pub(crate) drain: bool,
    pub(crate) address: String,
    pub(crate) program: String,
    pub(crate) recorder: bool,
    pub(crate) capacity: Capacity,
    pub(crate) launched_at: UnixMillis,
    pub(crate) lost_at: Option<UnixMillis>,
    /// Where recorders dial it.
    pub(crate) media_link: Vec<String>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordingRecord {
    /// Public name.
    pub(crate) id: String,
    pub(crate) session: SessionKey,
    pub(crate) session_name: String,
    pub(crate) session_started: UnixMillis,
    pub(crate) properties: RecordingProperties,
    pub(crate) created_at: UnixMillis,
    pub(crate) status: RecordingStatus,
    pub(crate) size_bytes: u64,
    pub(crate) duration_ms: u64,
    pub(crate) reason: Option<Reason>,
    pub(crate) why: String,
    /// Has the job and its files.
    pub(crate) recorder: Option<NodeKey>,
    /// Hosts or hosted the session.
    pub(crate) source: NodeKey,
    /// Its public name then.
    pub(crate) source_name: String,
    /// Version of what the recorder was told.
    pub(crate) generation: Generation,
    /// Removed for the application; the recorder has not confirmed it yet.
    pub(crate) deleting: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DecisionRecord {
    pub(crate) at: UnixMillis,
    pub(crate) session: String,
    pub(crate) recording: Option<String>,
    pub(crate) chosen: Option<String>,
    pub(crate) verdicts: Vec<(String, Option<f64>, String)>,
}

/// Postcard bytes of a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Records hold only integers, strings, options, enums, maps and sequences of known length.
    postcard::to_allocvec(record).expect("every record is serialisable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_rubbish_is_refused() {
        for key in [
            RecordKey::Closed(SessionKey(1)),
            RecordKey::Connection(ConnectionKey(u64::MAX)),
            RecordKey::Decision(DecisionKey(0)),
            RecordKey::Endpoint(EndpointKey(7)),
            RecordKey::Event(SessionKey(1), EventSeq(2)),
            RecordKey::Node(NodeKey(3)),
            RecordKey::Recording(RecordingKey(5)),
            RecordKey::Session(SessionKey(4)),
        ] {
            assert_eq!(RecordKey::from_bytes(&key.to_bytes()), Some(key));
        }
        for bytes in [&b""[..], b"s", b"s1234567", b"s123456789", b"z12345678", b"l12345678"] {
            assert_eq!(RecordKey::from_bytes(bytes), None);
        }
    }
}
