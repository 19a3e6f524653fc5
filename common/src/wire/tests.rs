//! Wire: every message of every protocol survives its way, and rubbish of every kind is refused without harm.

use std::fmt::Debug;

use proptest::prelude::*;

use super::enroll::{EnrollRequest, FromAuthority, Granted, Refusal, Refused, ToAuthority};
use super::node::*;
use super::operator::{
    NodeRow, OperatorHello, OperatorRole, OperatorWelcome, Overview, SessionRow, ToMaster, ToOperator,
};
use super::recording::*;
use super::{DecodeError, Envelope, Extensions, Message, frame};
use crate::id::{
    BootId, ConnectionKey, EndpointKey, Epoch, Generation, NodeKey, OpId, RecordingKey, SessionKey, StreamKey,
};

const SESSION: SessionKey = SessionKey(0x0102_0304_0506_0708);
const CONNECTION: ConnectionKey = ConnectionKey(2);
const ENDPOINT: EndpointKey = EndpointKey(u64::MAX);
const STREAM: StreamKey = StreamKey(4);
const GENERATION: Generation = Generation(5);
const NODE: NodeKey = NodeKey(6);

fn ext() -> Extensions {
    vec![(7, vec![1, 2, 3])]
}

fn text() -> String {
    "käse\r\n".to_owned()
}

fn load() -> Load {
    Load { cpu_permille: 999, egress_bps: u64::MAX, ext: ext(), ..Load::default() }
}

fn to_node() -> Vec<ToNode> {
    let (session, connection, endpoint, generation) = (SESSION, CONNECTION, ENDPOINT, GENERATION);
    let open = |kind, sdp| EndpointOpen { session, connection, endpoint, generation, kind, sdp, ext: ext() };
    let bind = |source| SlotBind { slot: 1, kind: MediaKind::Video, source, spatial_max: u8::MAX };
    vec![
        Welcome { version: 1, epoch: Epoch(9), heartbeat_ms: 250, ext: ext() }.into(),
        NewEpoch { epoch: Epoch(10) }.into(),
        Drain { on: true, deadline_ms: 5_000 }.into(),
        EventAck { seq: u64::MAX }.into(),
        SessionOpen { session, generation, video_codec: Some(text()), ext: ext() }.into(),
        SessionClose { session }.into(),
        open(EndpointKind::Publish { stream: STREAM }, SdpRequest::Offer(text())).into(),
        open(EndpointKind::Slots, SdpRequest::MakeOffer).into(),
        open(EndpointKind::Pair { stream: STREAM }, SdpRequest::MakeOffer).into(),
        EndpointAnswer { session, endpoint, generation, sdp: text() }.into(),
        Candidates { session, endpoint, generation, fragment: text() }.into(),
        EndpointClose { session, endpoint, generation }.into(),
        Bind { session, endpoint, generation, binds: vec![bind(Some(STREAM)), bind(None)] }.into(),
        Permit {
            session,
            connection,
            generation,
            publish_audio: true,
            publish_video: false,
            subscribe: true,
        }
        .into(),
        Checkpoint { session, endpoint, holds: 3 }.into(),
        Adopt { session, generation, state: vec![0, 255], earlier: 1 }.into(),
        Release { session, endpoint, generation }.into(),
        TapGrant { session, recording: RECORDING, recorder: NODE, generation }.into(),
        TapRevoke { session, recording: RECORDING }.into(),
        RecordingStart {
            recording: RECORDING,
            session,
            generation,
            id: text(),
            spec: Box::new(spec()),
            source: source(),
            roster: vec![roster()],
            ext: ext(),
        }
        .into(),
        RecordingRoster {
            recording: RECORDING,
            generation,
            roster: vec![roster(), roster()],
            source: source(),
        }
        .into(),
        RecordingStop { recording: RECORDING }.into(),
        RecordingDelete { recording: RECORDING, id: text() }.into(),
        FileOpen { id: text(), name: text(), offset: 1, length: u64::MAX }.into(),
    ]
}

const RECORDING: RecordingKey = RecordingKey(77);

fn source() -> TapSource {
    TapSource { node: NODE, addresses: vec![text(), text()] }
}

fn spec() -> RecordingSpec {
    RecordingSpec {
        name: text(),
        mode: RecordingMode::Individual,
        audio: true,
        video: false,
        layout: text(),
        custom_layout: text(),
        width: 1280,
        height: 720,
        frame_rate: 25,
        ignore_failed_streams: true,
        session: text(),
        session_started_ms: u64::MAX,
        created_at_ms: 1,
        metadata: text(),
        url: text(),
    }
}

fn roster() -> RosterEntry {
    RosterEntry {
        stream: STREAM,
        connection: CONNECTION,
        stream_id: text(),
        connection_id: text(),
        client_data: text(),
        server_data: text(),
        type_of_video: text(),
        has_audio: true,
        has_video: true,
        audio_active: false,
        video_active: true,
        record: true,
        ext: ext(),
    }
}

fn recordings_at() -> Vec<RecordingAt> {
    vec![RecordingAt { recording: RECORDING, id: text(), generation: GENERATION, running: true }]
}

fn recording_facts() -> impl Iterator<Item = NodeFact> {
    let (why, warning, size_bytes, duration_ms) = (text(), text(), 1 << 40, 61_370);
    [
        RecordingFact::Started,
        RecordingFact::Progress { duration_ms, size_bytes, warning: warning.clone() },
        RecordingFact::Stopped { why: why.clone() },
        RecordingFact::Ready { duration_ms, size_bytes, warning },
        RecordingFact::Failed { why, size_bytes, duration_ms },
    ]
    .into_iter()
    .map(|fact| NodeFact::Recording(RecordingReport { recording: RECORDING, fact }))
}

fn results() -> Vec<OpResult> {
    let ready = Ready {
        sdp: text(),
        audio: 1,
        video: 2,
        codecs: vec![(MediaKind::Audio, text()), (MediaKind::Video, text())],
        ext: ext(),
    };
    let why = text();
    let mut results = vec![
        OpResult::Ok,
        OpResult::Ready(ready),
        OpResult::State(SavedState { number: 7, bytes: vec![1; 300] }),
    ];
    results.extend(
        [
            NodeError::Busy,
            NodeError::Draining,
            NodeError::Expired,
            NodeError::Internal { why: why.clone() },
            NodeError::InvalidSdp { why: why.clone() },
            NodeError::Limit { limit: text() },
            NodeError::NoCodec { why: why.clone() },
            NodeError::Refused { why },
            NodeError::UnknownRecording,
            NodeError::StaleEpoch(Epoch(3)),
            NodeError::StaleGeneration(GENERATION),
            NodeError::UnknownEndpoint,
            NodeError::UnknownSession,
            NodeError::UnknownStream,
            NodeError::Unsupported,
        ]
        .map(OpResult::Err),
    );
    results
}

fn facts() -> Vec<NodeFact> {
    let (endpoint, generation, stream) = (ENDPOINT, GENERATION, STREAM);
    let slot = |why| NodeFact::Slot { endpoint, slot: 3, kind: MediaKind::Audio, stream, why };
    let mut facts = vec![
        slot(None),
        slot(Some(SlotGap::Codec)),
        slot(Some(SlotGap::NoTrack)),
        slot(Some(SlotGap::NoSection)),
        NodeFact::Speakers { loudest: vec![stream] },
        NodeFact::Track { stream, kind: MediaKind::Video, codec: text(), rids: vec![text(), text()] },
        NodeFact::Drained,
        NodeFact::Draining,
    ];
    facts.extend(
        [
            TransportState::Connecting,
            TransportState::Connected,
            TransportState::Disconnected,
            TransportState::Failed,
            TransportState::Closed,
        ]
        .map(|state| NodeFact::Transport { endpoint, generation, state }),
    );
    facts.extend(recording_facts());
    facts
}

fn from_node() -> Vec<FromNode> {
    let endpoint = EndpointAt {
        session: SESSION,
        connection: CONNECTION,
        endpoint: ENDPOINT,
        generation: GENERATION,
        state: TransportState::Connected,
    };
    let hello = Hello {
        versions: (1, 2),
        program: text(),
        node: NODE,
        role: Role::Recorder,
        boot: BootId(8),
        epoch_seen: Epoch(9),
        addresses: vec![text()],
        name: text(),
        media_link: Vec::new(),
        capacity: Capacity { workers: 4, sessions_max: 100 },
        ext: ext(),
    };
    let mut messages: Vec<FromNode> = vec![
        hello.into(),
        LaneOpen { lane: 15 }.into(),
        Inventory {
            sessions: vec![(SESSION, GENERATION)],
            endpoints: vec![endpoint],
            recordings: recordings_at(),
            last: true,
        }
        .into(),
        load().into(),
        Heartbeat { seq: 1, turns: vec![0, u64::MAX] }.into(),
        FileHead::Found { size_bytes: 5, modified_ms: 6 }.into(),
        FileHead::Missing.into(),
        FileHead::Failed { why: text() }.into(),
        Unsupported { kind: 999 }.into(),
    ];
    messages.extend(results().into_iter().map(|result| Done { result }.into()));
    messages
        .extend(facts().into_iter().map(|what| NodeEvent { seq: 1, session: Some(SESSION), what }.into()));
    messages
}

fn to_master() -> Vec<ToMaster> {
    vec![OperatorHello { versions: (1, 1), program: text(), ext: ext() }.into()]
}

fn to_operator() -> Vec<ToOperator> {
    let node = NodeRow {
        node: NODE,
        name: text(),
        role: Role::Media,
        state: text(),
        address: text(),
        load: load(),
        load_age_ms: Some(1),
        ext: ext(),
    };
    let session = SessionRow {
        session: SESSION,
        name: text(),
        node: Some(NODE),
        connections: 2,
        streams: 3,
        created_at_ms: 4,
        ext: ext(),
    };
    let overview = Overview {
        at_ms: 1,
        epoch: Epoch(2),
        uptime_ms: 3,
        nodes: vec![node],
        sessions: vec![session],
        sessions_total: 4,
        connections_total: 5,
        streams_total: 6,
        ext: ext(),
    };
    let welcome = |role| OperatorWelcome { version: 1, cluster: text(), role, program: text(), ext: ext() };
    vec![
        overview.into(),
        welcome(OperatorRole::Viewer).into(),
        welcome(OperatorRole::Operator).into(),
        welcome(OperatorRole::Admin).into(),
    ]
}

fn to_authority() -> Vec<ToAuthority> {
    let request = EnrollRequest {
        versions: (1, 1),
        program: text(),
        cluster: text(),
        role: Role::Media,
        node: NODE,
        csr: vec![0x30; 300],
        proof: vec![7; 32],
        ext: ext(),
    };
    vec![request.into()]
}

fn from_authority() -> Vec<FromAuthority> {
    let refusals = [
        Refusal::Cluster { ours: text() },
        Refusal::Csr,
        Refusal::Internal,
        Refusal::NodeKey,
        Refusal::Proof,
        Refusal::Version { ours: (1, 1) },
    ];
    let mut messages: Vec<FromAuthority> = refusals.map(|why| Refused { why }.into()).into();
    messages.push(Granted { certificate: vec![0x30; 500], ext: ext() }.into());
    messages
}

/// Messages survive; each proper prefix and each longer body is refused.
pub(super) fn check_samples<M: Message + Debug + PartialEq>(samples: &[M], kinds: usize) {
    let mut seen: Vec<u16> = samples.iter().map(Message::kind).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), kinds, "a sample of each kind: {seen:?}");
    for message in samples {
        let (kind, body) = (message.kind(), message.encode_body());
        assert_eq!(&M::decode(kind, &body).unwrap(), message);
        for end in 0..body.len() {
            let refused = M::decode(kind, &body[..end]);
            assert!(matches!(refused, Err(DecodeError::Malformed { .. })), "{message:?} cut at {end}");
        }
        let longer = [&body[..], &[0]].concat();
        assert!(matches!(M::decode(kind, &longer), Err(DecodeError::Trailing { left: 1, .. })));
        assert!(matches!(M::decode(u16::MAX, &body), Err(DecodeError::UnknownKind { kind: u16::MAX })));

        let envelope = message.envelope(Epoch(1), OpId(2), 3);
        let bytes = frame::encode(&envelope).unwrap();
        assert_eq!(frame::decode(&bytes[frame::HEADER_BYTES..]).unwrap(), envelope);
    }
}

#[test]
fn every_message_survives_its_way_and_a_cut_one_is_refused() {
    check_samples(&to_node(), 22);
    check_samples(&from_node(), 9);
    check_samples(&to_master(), 1);
    check_samples(&to_operator(), 2);
    check_samples(&to_authority(), 1);
    check_samples(&from_authority(), 2);
}

#[test]
fn a_frame_over_the_limit_is_neither_written_nor_awaited() {
    let over = u32::try_from(crate::limits::FRAME_BYTES_MAX + 1).unwrap();
    assert!(frame::content_length(over.to_le_bytes()).is_err());
    assert!(frame::content_length((over - 1).to_le_bytes()).is_ok());
    let body = vec![0; crate::limits::FRAME_BYTES_MAX];
    let envelope = Envelope { kind: 1, shard: 0, epoch: Epoch(0), op: OpId(0), deadline_ms: 0, body };
    assert!(frame::encode(&envelope).is_err());
}

/// Whatever can be read is the same after writing it again.
pub(super) fn check_bytes<M: Message + Debug + PartialEq>(kind: u16, body: &[u8]) {
    if let Ok(message) = M::decode(kind, body) {
        assert_eq!(message.kind(), kind);
        assert_eq!(M::decode(kind, &message.encode_body()).unwrap(), message);
    }
}

fn check_all(kind: u16, body: &[u8]) {
    check_bytes::<ToNode>(kind, body);
    check_bytes::<FromNode>(kind, body);
    check_bytes::<ToMaster>(kind, body);
    check_bytes::<ToOperator>(kind, body);
    check_bytes::<ToAuthority>(kind, body);
    check_bytes::<FromAuthority>(kind, body);
}

/// Kinds and bodies of all samples.
fn bodies() -> Vec<(u16, Vec<u8>)> {
    fn of<M: Message>(samples: &[M]) -> Vec<(u16, Vec<u8>)> {
        samples.iter().map(|message| (message.kind(), message.encode_body())).collect()
    }
    [
        of(&to_node()),
        of(&from_node()),
        of(&to_master()),
        of(&to_operator()),
        of(&to_authority()),
        of(&from_authority()),
    ]
    .concat()
}

/// Kinds that exist, and some that do not.
fn kinds() -> impl Strategy<Value = u16> {
    prop_oneof![0..25_u16, 100..110_u16, 200..215_u16, 300..315_u16, any::<u16>()]
}

proptest! {
    #[test]
    fn rubbish_does_no_harm(kind in kinds(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        check_all(kind, &body);
        drop(frame::decode(&body));
    }

    #[test]
    fn small_rubbish_that_is_often_valid_survives(kind in kinds(), body in prop::collection::vec(0..4_u8, 0..40)) {
        check_all(kind, &body);
        if let Ok(envelope) = frame::decode(&body) {
            let bytes = frame::encode(&envelope).unwrap();
            prop_assert_eq!(frame::decode(&bytes[frame::HEADER_BYTES..]).unwrap(), envelope);
        }
    }

    #[test]
    fn bent_messages_do_no_harm(
        which in any::<prop::sample::Index>(),
        bends in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let all = bodies();
        let (kind, mut body) = all[which.index(all.len())].clone();
        for (place, byte) in bends {
            if !body.is_empty() {
                let place = place.index(body.len());
                body[place] = byte;
            }
        }
        check_all(kind, &body);
    }
}
