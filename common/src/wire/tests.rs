//! Wire: every message of every protocol survives its way, and rubbish of every kind is refused without harm.

use std::fmt::Debug;

use proptest::prelude::*;

use super::enroll::{EnrollRequest, FromAuthority, Granted, Refusal, Refused, ToAuthority};
use super::node::*;
use super::operator::*;
use super::recording::*;
use super::statistics::*;
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
        Watch { session, for_ms: WATCH_MS_MAX }.into(),
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

fn stats() -> SessionStats {
    let (session, stream, kind, endpoint) = (SESSION, STREAM, MediaKind::Video, ENDPOINT);
    let track =
        TrackStats { stream, kind, codec: text(), encodings: 3, rate_bps: u32::MAX, loss_permille: 1000 };
    let leg = LegStats { endpoint, stream, kind, encoding: Some(2), rate_bps: 1, loss_permille: 2 };
    let transport =
        TransportStats { endpoint, rtt_us: 1, estimate_bps: 2, egress_bps: 3, ingress_bps: u64::MAX };
    SessionStats { session, tracks: vec![track], legs: vec![leg], transports: vec![transport] }
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
        stats().into(),
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
    let order = Order { field: text(), descending: true };
    let window = Window { first: 1, count: 2, from_end: true };
    let subscribe = |topic| Subscribe {
        sub: 1,
        topic,
        filter: text(),
        order: order.clone(),
        window,
        interval_ms: 1000,
        ext: ext(),
    };
    let operate =
        |verb| Operate { op: u64::MAX, verb, expected: Some(3), dry_run: true, reason: text(), ext: ext() };
    let topics = [
        Topic::Head,
        Topic::Nodes,
        Topic::Node(NODE),
        Topic::Sessions,
        Topic::Session(SESSION),
        Topic::Recordings,
        Topic::Events,
        Topic::Decisions(Some(text())),
    ];
    let verbs = [
        Verb::NodeDrain { node: text() },
        Verb::NodeUndrain { node: text() },
        Verb::NodeRemove { node: text() },
        Verb::SessionClose { session: text() },
        Verb::ConnectionEvict { session: text(), connection: text() },
        Verb::StreamUnpublish { session: text(), stream: text() },
        Verb::RecordingStart { session: text(), individual: true },
        Verb::RecordingStop { recording: text() },
        Verb::RecordingDelete { recording: text() },
    ];
    let mut messages: Vec<ToMaster> = topics.map(|topic| subscribe(topic).into()).into();
    messages.extend(verbs.map(|verb| operate(verb).into()));
    messages.push(OperatorHello { versions: (1, 1), program: text(), ext: ext() }.into());
    messages.push(Adjust { sub: 1, filter: text(), order, window }.into());
    messages.push(Unsubscribe { sub: 1 }.into());
    messages.push(Ack { sub: 1, seq: 2 }.into());
    messages.push(Recall { op: 3 }.into());
    messages.push(Query { id: 1, filter: text(), before: 2, since_ms: 3, limit: 4 }.into());
    messages
}

fn session_row() -> SessionRow {
    SessionRow {
        session: SESSION,
        name: text(),
        node: Some(NODE),
        node_name: text(),
        node_lost: true,
        connections: 2,
        streams: 3,
        recordings: 1,
        created_at_ms: 4,
        ext: ext(),
    }
}

fn node_row() -> NodeRow {
    NodeRow {
        node: NODE,
        name: text(),
        role: Role::Media,
        state: text(),
        address: text(),
        connected: true,
        load: load(),
        load_age_ms: Some(1),
        sessions: 2,
        connections: 3,
        history: vec![NodeSample { cpu_permille: 1, egress_kbps: 2, sessions: 3 }],
        ext: ext(),
    }
}

fn event_row() -> EventRow {
    let subject = EventSubject::Session(SESSION);
    EventRow {
        seq: 1,
        at_ms: 2,
        severity: Severity::Audit,
        kind: text(),
        subject,
        name: text(),
        text: text(),
    }
}

fn rows() -> Vec<Row> {
    let head = HeadRow { history: vec![HeadSample::default()], ext: ext(), ..HeadRow::default() };
    let detail = NodeDetail {
        row: node_row(),
        environment: text(),
        program: text(),
        launched_at_ms: 1,
        connected_at_ms: Some(2),
        disconnected_at_ms: None,
        score_permille: 3,
        reserved_permille: 4,
        largest: vec![session_row()],
        ext: ext(),
    };
    let media = Media { rate_bps: 1, loss_permille: 2, encoding: Some(3), encodings: 3, measured: true };
    let cells = vec![Cell::None, Cell::Own, Cell::Receives { audio: Some(media), video: None }, Cell::Failed];
    let participant = ParticipantRow { connection: text(), cells, ..ParticipantRow::default() };
    let stream = StreamRow { stream: text(), loss_permille: Some(1), ..StreamRow::default() };
    let session = SessionDetail {
        row: session_row(),
        measured_age_ms: Some(1),
        streams: vec![stream],
        participants: vec![participant],
        ext: ext(),
    };
    let verdict = Verdict { node: text(), score: Some(0.5), why: text() };
    vec![
        Row::Head(Box::new(head)),
        Row::Node(Box::new(node_row())),
        Row::NodeDetail(Box::new(detail)),
        Row::Session(session_row()),
        Row::SessionDetail(Box::new(session)),
        Row::Recording(RecordingRow { recording: 1, id: text(), ext: ext(), ..RecordingRow::default() }),
        Row::Event(event_row()),
        Row::Decision(DecisionRow {
            decision: 1,
            at_ms: 2,
            session: text(),
            chosen: Some(text()),
            verdicts: vec![verdict],
        }),
    ]
}

fn to_operator() -> Vec<ToOperator> {
    let welcome =
        |role| OperatorWelcome { version: 1, cluster: text(), role, program: text(), at_ms: 1, ext: ext() };
    let delta = |keys| Delta {
        sub: 1,
        seq: 2,
        at_ms: 3,
        all: 4,
        total: 5,
        first: 6,
        keys,
        put: rows(),
        error: text(),
        ext: ext(),
    };
    let operation = |state| Operation { op: 1, state };
    let impact = Impact { generation: 1, sessions: 2, lines: vec![text()], ..Impact::default() };
    let refused = |kind| operation(OperationState::Refused { kind, why: text() });
    let kinds = [
        RefusedKind::Role,
        RefusedKind::Missing,
        RefusedKind::Changed,
        RefusedKind::State,
        RefusedKind::Unavailable,
    ];
    let mut messages: Vec<ToOperator> = vec![
        welcome(OperatorRole::Viewer).into(),
        welcome(OperatorRole::Operator).into(),
        welcome(OperatorRole::Admin).into(),
        delta(Keys::Same).into(),
        delta(Keys::All(vec![1, u64::MAX])).into(),
        delta(Keys::Slid { gone: 1, new: vec![2] }).into(),
        operation(OperationState::Impact(impact)).into(),
        operation(OperationState::Done { text: text() }).into(),
        operation(OperationState::Running).into(),
        operation(OperationState::Unknown).into(),
        Page { id: 1, rows: vec![event_row()], more: true, error: text() }.into(),
    ];
    messages.extend(kinds.map(|kind| refused(kind).into()));
    messages
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
    check_samples(&to_node(), 23);
    check_samples(&from_node(), 10);
    check_samples(&to_master(), 8);
    check_samples(&to_operator(), 4);
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
