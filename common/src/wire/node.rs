//! Wire: `plenum-node/1`, between masterd and its media nodes and recorders.
//!
//! The node dials. Streams of one QUIC connection, all opened by the node:
//! - the control stream, bidirectional, opened first: [`Hello`], [`Welcome`], [`Inventory`], [`NewEpoch`], [`Drain`];
//! - [`LANES`](crate::limits::LANES) bidirectional lanes, each begun by one [`LaneOpen`]; a session's commands go
//!   down lane `session mod LANES` and are executed in order, each answered there by one [`Done`];
//! - one unidirectional event stream: [`NodeEvent`]s in sequence, acknowledged by [`EventAck`] on the control stream;
//! - bidirectional streams that the master opens to a recorder: one file each, asked for by a
//!   [`FileOpen`], answered by a [`FileHead`] frame of kind 109 and the bytes;
//! - datagrams: [`Heartbeat`], [`Load`] and, while it is watched, [`SessionStats`], newest wins.
//!
//! A command carries the master's epoch and an operation id in its envelope. A lower epoch is answered with
//! [`NodeError::StaleEpoch`], a lower generation with [`NodeError::StaleGeneration`], a repeated operation with its
//! first answer.

use serde::{Deserialize, Serialize};

use super::recording::{
    FileHead, FileOpen, RecordingAt, RecordingDelete, RecordingReport, RecordingRoster, RecordingStart,
    RecordingStop, TapGrant, TapRevoke,
};
use super::statistics::{SessionStats, Watch};
use super::{Extensions, messages};
use crate::id::{BootId, ConnectionKey, EndpointKey, Epoch, Generation, NodeKey, SessionKey, StreamKey};

/// ALPN of this protocol's major version.
pub const ALPN: &[u8] = b"plenum-node/1";

/// Lowest and highest minor version that this build speaks.
pub const VERSIONS: (u16, u16) = (1, 1);

messages! {
    /// From masterd to a node.
    ToNode {
        1 => Welcome,
        2 => NewEpoch,
        3 => Drain,
        4 => EventAck,
        5 => Watch,
        10 => SessionOpen,
        11 => SessionClose,
        12 => EndpointOpen,
        13 => EndpointAnswer,
        14 => Candidates,
        15 => EndpointClose,
        16 => Bind,
        17 => Permit,
        18 => Checkpoint,
        19 => Adopt,
        20 => Release,
        21 => TapGrant,
        22 => TapRevoke,
        30 => RecordingStart,
        31 => RecordingRoster,
        32 => RecordingStop,
        33 => RecordingDelete,
        34 => FileOpen,
    }
}

messages! {
    /// From a node to masterd.
    FromNode {
        101 => Hello,
        102 => LaneOpen,
        103 => Inventory,
        104 => Done,
        105 => NodeEvent,
        106 => Load,
        107 => Heartbeat,
        108 => Unsupported,
        109 => FileHead,
        110 => SessionStats,
    }
}

/// What a daemon is in the cluster.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Role {
    /// A media node.
    Media,
    /// A recorder.
    Recorder,
}

/// First message of a node on its control stream.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest and highest minor version spoken.
    pub versions: (u16, u16),
    /// Program name and version, for humans.
    pub program: String,
    /// Must be what the node's certificate says.
    pub node: NodeKey,
    /// Media node or recorder.
    pub role: Role,
    /// This start of the process.
    pub boot: BootId,
    /// Highest master epoch that this process has seen.
    pub epoch_seen: Epoch,
    /// Addresses that browsers are told (`[media] announced_addresses`), for `ip` and `uri` in the API.
    pub addresses: Vec<String>,
    /// `node_id` from the configuration, or empty: the id that the API shows without its `media_` prefix.
    pub name: String,
    /// Where recorders and other media nodes dial it for `plenum-media/1`, as `host:port`; empty for a recorder.
    pub media_link: Vec<String>,
    /// How much a node of this kind can carry.
    pub capacity: Capacity,
    /// Later additions.
    pub ext: Extensions,
}

/// Static size of a node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Media worker threads.
    pub workers: u16,
    /// Sessions that the node accepts; for a recorder, jobs at one time. 0 is no limit.
    pub sessions_max: u32,
}

/// First message of a node on a lane.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LaneOpen {
    /// Which lane, from 0.
    pub lane: u16,
}

/// masterd's answer to [`Hello`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// Minor version to speak.
    pub version: u16,
    /// The master's current epoch.
    pub epoch: Epoch,
    /// The node sends a [`Heartbeat`] this often.
    pub heartbeat_ms: u32,
    /// Later additions.
    pub ext: Extensions,
}

/// What the node runs, in chunks after each [`Welcome`] and [`NewEpoch`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Sessions that are open here.
    pub sessions: Vec<(SessionKey, Generation)>,
    /// Endpoints that are open here, with the session and connection of each.
    pub endpoints: Vec<EndpointAt>,
    /// Recordings that run or lie finished here.
    pub recordings: Vec<RecordingAt>,
    /// True on the last chunk: what was not listed does not exist here.
    pub last: bool,
}

/// One endpoint in an [`Inventory`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct EndpointAt {
    /// Its session.
    pub session: SessionKey,
    /// Its participant.
    pub connection: ConnectionKey,
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// Version of its intended state that the node carries out.
    pub generation: Generation,
    /// Present state of its transport.
    pub state: TransportState,
}

/// Another master leads now; the node answers with its [`Inventory`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NewEpoch {
    /// The new epoch.
    pub epoch: Epoch,
}

/// Take no new sessions. The node says when none is left ([`NodeFact::Drained`]), and ends when the time is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// True to drain, false to take sessions again.
    pub on: bool,
    /// Time until the node leaves with sessions still open; 0 is no limit.
    pub deadline_ms: u64,
}

/// The master has taken in all events up to this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct EventAck {
    /// Sequence number of the newest event taken in.
    pub seq: u64,
}

/// Make room for a session. Idempotent for equal or higher generations.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SessionOpen {
    /// The session.
    pub session: SessionKey,
    /// Version of its intended state.
    pub generation: Generation,
    /// The only video codec that the session negotiates, upper case (`VP8`, `VP9`, `H264`, `AV1`); none is all.
    pub video_codec: Option<String>,
    /// Later additions.
    pub ext: Extensions,
}

/// Close a session with everything in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SessionClose {
    /// The session.
    pub session: SessionKey,
}

/// Open one peer connection of a participant. Answered with [`OpResult::Ready`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct EndpointOpen {
    /// Its session; open already.
    pub session: SessionKey,
    /// Its participant.
    pub connection: ConnectionKey,
    /// The new endpoint.
    pub endpoint: EndpointKey,
    /// Version of its intended state.
    pub generation: Generation,
    /// What it is for.
    pub kind: EndpointKind,
    /// Who makes the offer.
    pub sdp: SdpRequest,
    /// Later additions.
    pub ext: Extensions,
}

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum EndpointKind {
    /// The client sends one stream.
    Publish {
        /// The stream that it becomes.
        stream: StreamKey,
    },
    /// The client receives many streams: slot k is the k-th audio and the k-th video section; [`Bind`] fills them.
    Slots,
    /// The client receives one stream.
    Pair {
        /// The stream; published on this node.
        stream: StreamKey,
    },
}

/// Who makes the offer of an endpoint.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum SdpRequest {
    /// The client made one; the node answers.
    Offer(String),
    /// The node makes one; the client's answer follows in [`EndpointAnswer`].
    MakeOffer,
}

/// The client's answer to an offer of the node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct EndpointAnswer {
    /// Its session.
    pub session: SessionKey,
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// As in [`EndpointOpen`].
    pub generation: Generation,
    /// The answer.
    pub sdp: String,
}

/// ICE candidates of the client, or its ICE restart.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// Its session.
    pub session: SessionKey,
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// As in [`EndpointOpen`].
    pub generation: Generation,
    /// The fragment as the client sent it (RFC 8840, `application/trickle-ice-sdpfrag`). A fragment with other
    /// ICE credentials than the present ones is an ICE restart, answered with [`OpResult::Ready`] that holds
    /// the node's fragment; otherwise the answer is [`OpResult::Ok`].
    pub fragment: String,
}

/// Close an endpoint. Idempotent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct EndpointClose {
    /// Its session.
    pub session: SessionKey,
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// As in [`EndpointOpen`].
    pub generation: Generation,
}

/// Put streams into slots, or empty them. What is not named stays as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    /// Its session.
    pub session: SessionKey,
    /// An endpoint of kind [`EndpointKind::Slots`] or [`EndpointKind::Pair`] (slot 0).
    pub endpoint: EndpointKey,
    /// Version of the endpoint's intended state, higher than that of the last one.
    pub generation: Generation,
    /// The changes.
    pub binds: Vec<SlotBind>,
}

/// One change of a [`Bind`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SlotBind {
    /// Which slot, from 0.
    pub slot: u16,
    /// Its audio or its video section.
    pub kind: MediaKind,
    /// The stream, published on this node, or none to empty the section.
    pub source: Option<StreamKey>,
    /// Highest spatial layer (0 is the smallest encoding) that is forwarded; `u8::MAX` is no limit.
    pub spatial_max: u8,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// What a connection may do, enforced at the node: media of a kind that is not allowed is not forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Permit {
    /// Its session.
    pub session: SessionKey,
    /// The connection.
    pub connection: ConnectionKey,
    /// Version of this permission.
    pub generation: Generation,
    /// May send audio.
    pub publish_audio: bool,
    /// May send video.
    pub publish_video: bool,
    /// May receive.
    pub subscribe: bool,
}

/// Report the endpoint's state. Answered with [`OpResult::State`]; extends its leases if the last report has arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its session.
    pub session: SessionKey,
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// [`SavedState::number`] of the newest report that the master holds durably; 0 without any.
    pub holds: u32,
}

/// Take over an endpoint from its state. Answered with [`OpResult::Ready`] whose SDP is a fragment (RFC 8840) with the
/// node's candidates: pushed to a client behind a NAT, it opens the way to the new node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Adopt {
    /// Its session; open already.
    pub session: SessionKey,
    /// Higher than that of the node that had it.
    pub generation: Generation,
    /// Bytes of the endpoint's state as a [`Checkpoint`] reported them.
    pub state: Vec<u8>,
    /// How many other nodes were told to adopt these very bytes before. Each may have used numbers that no report
    /// tells of, which this one leaves out; at [`ADOPTIONS_MAX`] it refuses.
    pub earlier: u16,
}

/// Nodes that can be told one after the other to adopt an endpoint from the same bytes: each leaves out what the ones
/// before may have used, and a client follows a jump of less than 2^15 packets.
pub const ADOPTIONS_MAX: u16 = 6;

/// Stop sealing for an endpoint: another node has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its session.
    pub session: SessionKey,
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// Of the new owner.
    pub generation: Generation,
}

/// Answer to one command; its envelope carries the command's operation id.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// How it went.
    pub result: OpResult,
}

/// How a command went.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum OpResult {
    /// Done, nothing to say.
    Ok,
    /// An endpoint is open.
    Ready(Ready),
    /// Not done, and why.
    Err(NodeError),
    /// State of an endpoint, for [`Adopt`].
    State(SavedState),
}

/// An endpoint's state.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// Rises with every report of the endpoint, over all nodes that had it.
    pub number: u32,
    /// The state.
    pub bytes: Vec<u8>,
}

/// An endpoint is open, or its ICE was restarted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// The node's answer, offer or ICE fragment.
    pub sdp: String,
    /// Audio sections that carry media; for a publisher 0 or 1.
    pub audio: u16,
    /// Video sections that carry media; for a publisher 0 or 1.
    pub video: u16,
    /// Codecs that were agreed upon, upper case, in the order of the answer; for a publisher the one that it
    /// will send per kind comes first.
    pub codecs: Vec<(MediaKind, String)>,
    /// Later additions.
    pub ext: Extensions,
}

/// Why a node did not carry out a command.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum NodeError {
    /// Too many commands wait.
    #[error("the media node is busy")]
    Busy,
    /// The node takes no new sessions.
    #[error("the media node is being drained")]
    Draining,
    /// The command came too late.
    #[error("the media node could not start in time")]
    Expired,
    /// A bug, counted and logged at the node.
    #[error("internal error of the media node: {why}")]
    Internal {
        /// For humans.
        why: String,
    },
    /// The client's fragment or answer does not fit the endpoint.
    #[error("invalid SDP: {why}")]
    InvalidSdp {
        /// For humans.
        why: String,
    },
    /// A bound of the node is reached.
    #[error("the media node's limit of {limit} is reached")]
    Limit {
        /// Which.
        limit: String,
    },
    /// The offer shares no codec with the session.
    #[error("no usable codec in the SDP: {why}")]
    NoCodec {
        /// For humans.
        why: String,
    },
    /// Another master leads.
    #[error("stale epoch, {0} leads")]
    StaleEpoch(Epoch),
    /// The entity has a newer intended state.
    #[error("stale generation, {0} holds")]
    StaleGeneration(Generation),
    /// No such endpoint here.
    #[error("unknown endpoint")]
    UnknownEndpoint,
    /// No such session here.
    #[error("unknown session")]
    UnknownSession,
    /// No such stream here.
    #[error("unknown stream")]
    UnknownStream,
    /// The node is older than the command.
    #[error("the media node does not know this command")]
    Unsupported,
    /// It cannot be done, now or ever: no room on the disk, a name that is taken or may not be.
    #[error("refused: {why}")]
    Refused {
        /// For humans.
        why: String,
    },
    /// No such recording here.
    #[error("unknown recording")]
    UnknownRecording,
}

/// Answer to an envelope of a kind that this build does not know.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Unsupported {
    /// The unknown kind.
    pub kind: u16,
}

/// A fact from a node. Numbered from 1 in each boot, without gaps; kept until acknowledged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// Position in this boot's events.
    pub seq: u64,
    /// The session it belongs to, where it belongs to one.
    pub session: Option<SessionKey>,
    /// What happened.
    pub what: NodeFact,
}

/// What happened at a node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum NodeFact {
    /// A transport changed its state.
    Transport {
        /// The endpoint.
        endpoint: EndpointKey,
        /// Of the endpoint.
        generation: Generation,
        /// The new state.
        state: TransportState,
    },
    /// A slot could not be filled as told, or can be now.
    Slot {
        /// The endpoint.
        endpoint: EndpointKey,
        /// Which slot.
        slot: u16,
        /// Its audio or video section.
        kind: MediaKind,
        /// The stream that was to fill it.
        stream: StreamKey,
        /// Why it stays empty; none when it is filled after all.
        why: Option<SlotGap>,
    },
    /// The loudest streams changed, loudest first.
    Speakers {
        /// At most as many as there are audio slots.
        loudest: Vec<StreamKey>,
    },
    /// First media of a track arrived.
    Track {
        /// The stream.
        stream: StreamKey,
        /// Audio or video.
        kind: MediaKind,
        /// Codec name, upper case.
        codec: String,
        /// Simulcast encodings seen, smallest first; empty without simulcast.
        rids: Vec<String>,
    },
    /// Nothing is left on the draining node.
    Drained,
    /// A turn of a recording job.
    Recording(RecordingReport),
    /// The node was told to end, not by the master: it takes no new sessions and leaves when none is left.
    Draining,
}

/// Why a slot stays empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum SlotGap {
    /// The receiver's offer lacks the stream's codec.
    Codec,
    /// The stream has no track of this kind.
    NoTrack,
    /// The receiver has no section of this kind left.
    NoSection,
}

/// State of one peer connection's transport.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum TransportState {
    /// Negotiated, ICE or DTLS under way.
    Connecting,
    /// ICE and DTLS stand.
    Connected,
    /// Nothing was heard for the disconnect time; may heal.
    Disconnected,
    /// Given up: nothing was heard for the failure time, or DTLS failed. The endpoint is gone.
    Failed,
    /// The client ended it (DTLS close_notify). The endpoint is gone.
    Closed,
}

/// How busy a node is. Once a second, newest wins.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Share of all cores in use on the host, steal included.
    pub cpu_permille: u16,
    /// Share of one core in use by the busiest worker.
    pub worker_permille_max: u16,
    /// 99th percentile of the time from a worker's wake-up to its next wait, microseconds.
    pub loop_lag_us_p99: u32,
    /// Open sessions.
    pub sessions: u32,
    /// Open endpoints.
    pub endpoints: u32,
    /// Streams published here.
    pub streams: u32,
    /// Packets received in the last second.
    pub packets_in: u64,
    /// Packets sent in the last second.
    pub packets_out: u64,
    /// Bits received in the last second.
    pub ingress_bps: u64,
    /// Bits sent in the last second.
    pub egress_bps: u64,
    /// Datagrams that the kernel dropped because a socket buffer was full, in the last second.
    pub drops: u64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// Later additions.
    pub ext: Extensions,
}

/// Proof of life of the media loops. Newest wins.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Counts up by one.
    pub seq: u64,
    /// Turns of each worker's loop so far: one that stands still is stuck.
    pub turns: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::OpId;
    use crate::wire::{DecodeError, Message, frame};

    #[test]
    fn a_command_survives_its_frame() {
        let message = ToNode::from(EndpointOpen {
            session: SessionKey(1),
            connection: ConnectionKey(2),
            endpoint: EndpointKey(3),
            generation: Generation(4),
            kind: EndpointKind::Publish { stream: StreamKey(5) },
            sdp: SdpRequest::Offer("v=0\r\n".to_owned()),
            ext: Vec::new(),
        });
        let bytes = frame::encode(&message.envelope(Epoch(7), OpId(8), 500)).unwrap();
        let header = bytes[..frame::HEADER_BYTES].try_into().unwrap();
        let content = &bytes[frame::HEADER_BYTES..];
        assert_eq!(frame::content_length(header).unwrap(), content.len());
        let envelope = frame::decode(content).unwrap();
        assert_eq!((envelope.epoch, envelope.op, envelope.deadline_ms), (Epoch(7), OpId(8), 500));
        assert_eq!(ToNode::decode(envelope.kind, &envelope.body).unwrap(), message);
    }

    #[test]
    fn an_unknown_kind_is_named_and_rubbish_is_refused() {
        assert!(matches!(ToNode::decode(9999, &[]), Err(DecodeError::UnknownKind { kind: 9999 })));
        assert!(matches!(ToNode::decode(11, &[1, 2, 3]), Err(DecodeError::Trailing { kind: 11, left: 2 })));
        assert!(matches!(ToNode::decode(12, &[0xff; 3]), Err(DecodeError::Malformed { kind: 12, .. })));
    }
}
