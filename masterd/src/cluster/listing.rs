//! Pure: no clock, no I/O, no async.
//!
//! What consoles are shown: every node and session in a row, one of them in detail, and the feed of all events.

use std::collections::VecDeque;
use std::sync::Arc;

use common::id::{NodeKey, SessionKey, StreamKey};
use common::operator::Listing;
use common::wire::node::{EndpointKind, MediaKind, Role};
use common::wire::operator::{
    DecisionRow, EventRow, EventSubject, NodeDetail, NodeRow, ParticipantRow, RecordingRow, Row, SessionRow,
    Severity, StreamRow, Verdict,
};

use super::Core;
use super::endpoint::KINDS;
use super::event::millis;
use super::model::Node;
use super::op::{
    AuditOutcome, ConnectionRole, Event, Fact, NodeStatus, Participant, Reason, Received, RecordingStatus,
    SessionParts,
};
use super::recording::text;

/// Events in the feed: what a console that comes later can still see.
const FEED_MAX: usize = common::operator::EVENTS_MAX;

/// Sessions that are named with a node.
const LARGEST_MAX: usize = 20;

/// Bytes of a text of strangers in a row.
const TEXT_BYTES_MAX: usize = 256;

/// All events in the order of happening, newest last, with their number.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    events: VecDeque<(SessionKey, Arc<Event>)>,
    seen: u64,
}

impl Feed {
    /// Adds an event, unless it is one of those that come many times a second.
    pub(crate) fn push(&mut self, session: SessionKey, event: &Arc<Event>) {
        if is_noise(&event.what) {
            return;
        }
        self.seen += 1;
        if self.events.len() >= FEED_MAX {
            self.events.pop_front();
        }
        self.events.push_back((session, Arc::clone(event)));
    }
}

impl Core {
    /// Every node and session in a row.
    pub(crate) fn listing(&self) -> Listing {
        Listing {
            at_ms: self.now.unix,
            epoch: self.epoch.0,
            uptime_ms: millis(self.now.mono),
            nodes: self.nodes.iter().map(|(key, node)| self.node_row(*key, node)).collect(),
            sessions: self.sessions.keys().filter_map(|key| self.session_row(*key)).collect(),
            recordings: self.recording_rows(),
        }
    }

    fn recording_rows(&self) -> Vec<RecordingRow> {
        let rows = self.recordings.iter().filter(|(_, it)| !it.record.deleting);
        rows.map(|(key, live)| {
            let (record, properties) = (&live.record, &live.record.properties);
            let recorder = record.recorder.and_then(|it| self.nodes.get(&it));
            let film = properties.is_film();
            RecordingRow {
                recording: key.0,
                id: record.id.clone(),
                session: record.session_name.clone(),
                state: text::status(record.status).to_owned(),
                mode: text::mode(properties.mode).to_owned(),
                recorder: recorder.map(|it| it.record.name.clone()).unwrap_or_default(),
                resolution: if film {
                    format!("{}x{}", properties.width, properties.height)
                } else {
                    String::new()
                },
                created_at_ms: record.created_at,
                duration_ms: record.duration_ms.max(live.progress.duration_ms),
                size_bytes: record.size_bytes.max(live.progress.size_bytes),
                warning: cut(if record.why.is_empty() { &live.progress.warning } else { &record.why }),
                ext: Vec::new(),
            }
        })
        .collect()
    }

    fn node_row(&self, key: NodeKey, node: &Node) -> NodeRow {
        let record = &node.record;
        NodeRow {
            node: key,
            name: record.name.clone(),
            role: if record.recorder { Role::Recorder } else { Role::Media },
            state: record.status.name().to_owned(),
            address: record.address.clone(),
            connected: node.is_connected(),
            load: node.load.clone(),
            load_age_ms: node.load_at.map(|at| millis(self.core_time().saturating_sub(at))),
            sessions: count(node.sessions.len()),
            connections: 0,
            history: Vec::new(),
            ext: Vec::new(),
        }
    }

    fn session_row(&self, key: SessionKey) -> Option<SessionRow> {
        let session = self.sessions.get(&key)?;
        let record = &session.record;
        let home = record.home.filter(|_| record.active).map(|home| home.node);
        let node = home.and_then(|it| self.nodes.get(&it));
        Some(SessionRow {
            session: key,
            name: record.name.clone(),
            node: home,
            node_name: node.map(|it| it.record.name.clone()).unwrap_or_default(),
            node_lost: node.is_some_and(|it| it.record.status == NodeStatus::Lost),
            connections: count(self.participants(key)),
            streams: count(session.streams.len()),
            recordings: self.recordings_of(key),
            created_at_ms: record.created_at,
            ext: Vec::new(),
        })
    }

    /// Everything about one node.
    pub(crate) fn node_detail(&self, key: NodeKey) -> Option<NodeDetail> {
        let node = self.nodes.get(&key)?;
        let (stress, _) = crate::placement::score::stress(&node.load);
        let reserved = self.reserved(node);
        let mut largest: Vec<SessionRow> =
            node.sessions.iter().filter_map(|it| self.session_row(*it)).collect();
        largest.sort_by_key(|it| (std::cmp::Reverse((it.connections, it.streams)), it.session));
        largest.truncate(LARGEST_MAX);
        let connections =
            node.sessions.iter().map(|it| count(self.participants(*it))).fold(0, u32::saturating_add);
        Some(NodeDetail {
            row: NodeRow { connections, ..self.node_row(key, node) },
            environment: node.record.environment.clone(),
            program: node.record.program.clone(),
            launched_at_ms: node.record.launched_at,
            connected_at_ms: node.connected_at(),
            disconnected_at_ms: node.disconnected_at(),
            score_permille: permille(stress + reserved),
            reserved_permille: permille(reserved),
            largest,
            ext: Vec::new(),
        })
    }

    /// Who sends what to whom in a session, as masterd means it.
    pub(crate) fn session_parts(&self, key: SessionKey) -> Option<SessionParts> {
        let session = self.sessions.get(&key)?;
        let mut streams: Vec<(StreamKey, u64, StreamRow)> = session
            .streams
            .iter()
            .filter_map(|(stream, endpoint)| {
                let record = &self.endpoints.get(endpoint)?.record;
                let publication = record.publication.as_ref()?;
                let publisher = &self.connections.get(&record.connection)?.record;
                let row = StreamRow {
                    stream: publication.name.clone(),
                    connection: publisher.name.clone(),
                    publisher: self.calls_itself(record.connection),
                    kind: publication.options.type_of_video.clone(),
                    has_audio: publication.has_audio,
                    has_video: publication.has_video,
                    ..StreamRow::default()
                };
                Some((*stream, publication.published_at, row))
            })
            .collect();
        streams.sort_by_key(|(stream, at, _)| (*at, *stream));
        let participants = self
            .connections_in_order(key)
            .into_iter()
            .filter(|it| self.connections.get(it).is_some_and(|it| it.record.active.is_some()))
            .filter_map(|it| self.participant(it))
            .collect();
        Some(SessionParts {
            row: self.session_row(key)?,
            streams: streams.into_iter().map(|(stream, _, row)| (stream, row)).collect(),
            participants,
        })
    }

    fn calls_itself(&self, key: common::id::ConnectionKey) -> String {
        let Some(record) = self.connections.get(&key).map(|it| &it.record) else { return String::new() };
        let client = record.active.as_ref().map_or("", |it| it.client.client_data.as_str());
        cut(if client.is_empty() { &record.properties.server_data } else { client })
    }

    fn participant(&self, key: common::id::ConnectionKey) -> Option<Participant> {
        let connection = self.connections.get(&key)?;
        let record = &connection.record;
        let admission = record.active.as_ref();
        let role = match record.properties.role {
            ConnectionRole::Moderator => "MODERATOR",
            ConnectionRole::Publisher => "PUBLISHER",
            ConnectionRole::Subscriber => "SUBSCRIBER",
        };
        let row = ParticipantRow {
            connection: record.name.clone(),
            role: role.to_owned(),
            data: self.calls_itself(key),
            platform: admission.map(|it| cut(&it.client.platform)).unwrap_or_default(),
            address: admission.map(|it| cut(&it.client.ip)).unwrap_or_default(),
            joined_at_ms: admission.map_or(0, |it| it.at),
            ..ParticipantRow::default()
        };
        let mut participant =
            Participant { row, endpoints: Vec::new(), owns: Vec::new(), receives: Vec::new() };
        for endpoint in &connection.endpoints {
            let Some(record) = self.endpoints.get(endpoint).map(|it| &it.record) else { continue };
            participant.endpoints.push(*endpoint);
            let mut receives = |stream: StreamKey, kind: MediaKind, failed: bool| {
                participant.receives.push(Received { endpoint: *endpoint, stream, kind, failed });
            };
            match record.kind {
                EndpointKind::Publish { stream } => participant.owns.push(stream),
                EndpointKind::Pair { stream } => {
                    let published = self.publisher(record.session, stream);
                    let has = published.and_then(|it| it.publication.as_ref());
                    for (kind, has) in KINDS
                        .into_iter()
                        .zip([has.is_some_and(|it| it.has_audio), has.is_some_and(|it| it.has_video)])
                    {
                        if has {
                            let gap = record.sections(kind).first().and_then(|it| it.gap);
                            receives(stream, kind, gap.is_some());
                        }
                    }
                }
                EndpointKind::Slots => {
                    for kind in KINDS {
                        for section in record.sections(kind) {
                            if let Some(stream) = section.stream {
                                receives(stream, kind, section.gap.is_some());
                            }
                        }
                    }
                }
            }
        }
        Some(participant)
    }

    /// Placement decisions in rows, newest first.
    pub(crate) fn decision_rows(&self, session: Option<&str>, most: usize) -> Vec<Row> {
        let decisions = self.decisions.iter().rev();
        decisions
            .filter(|(_, it)| session.is_none_or(|session| session == it.session))
            .take(most)
            .map(|(key, it)| {
                let verdict = |(node, score, why): &(String, Option<f64>, String)| Verdict {
                    node: node.clone(),
                    score: *score,
                    why: why.clone(),
                };
                Row::Decision(DecisionRow {
                    decision: key.0,
                    at_ms: it.at,
                    session: it.session.clone(),
                    chosen: it.chosen.clone(),
                    verdicts: it.verdicts.iter().map(verdict).collect(),
                })
            })
            .collect()
    }

    /// Events of the feed after a position, oldest first, and the newest position.
    pub(crate) fn feed_after(&self, after: u64) -> (Vec<EventRow>, u64) {
        let held = self.feed.events.len() as u64;
        let first = self.feed.seen - held;
        let skip = usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX);
        let rows = self.feed.events.iter().skip(skip).map(|(session, event)| self.event_row(*session, event));
        (rows.collect(), self.feed.seen)
    }

    /// The feed begins with what the logs still hold.
    pub(crate) fn load_feed(&mut self) {
        let mut events: Vec<(SessionKey, Arc<Event>)> = Vec::new();
        for (session, log) in &self.logs {
            events.extend(log.events.iter().map(|event| (*session, Arc::clone(event))));
        }
        events.sort_by_key(|(session, event)| (event.at, *session, event.seq));
        for (session, event) in &events {
            self.feed.push(*session, event);
        }
    }

    fn event_row(&self, session: SessionKey, event: &Event) -> EventRow {
        let (severity, kind, text) = described(&event.what);
        let node = if let Fact::NodeStatusChanged { node, .. } = &event.what { Some(node) } else { None };
        let (subject, name) = if let Some(node) = node {
            (self.find_node(node).map_or(EventSubject::Cluster, EventSubject::Node), node.clone())
        } else if let Fact::Audit { target, .. } = &event.what {
            (EventSubject::Cluster, target.clone())
        } else {
            (EventSubject::Session(session), event.session.clone())
        };
        EventRow { seq: 0, at_ms: event.at, severity, kind: kind.to_owned(), subject, name, text }
    }
}

/// Comes many times a second, or says the same as another.
const fn is_noise(what: &Fact) -> bool {
    matches!(
        what,
        Fact::RecordingStarted { .. }
            | Fact::RecordingStopped { .. }
            | Fact::Signal { .. }
            | Fact::Slot { .. }
            | Fact::Speakers { .. }
    )
}

/// An event in words. Contents of signals are not for operators.
#[expect(clippy::too_many_lines, reason = "one line for each kind of event")]
fn described(what: &Fact) -> (Severity, &'static str, String) {
    let info = |kind, text| (Severity::Info, kind, text);
    let ended =
        |duration_ms: u64, reason: Reason| format!("{} after {} s", reason.name(), duration_ms / 1000);
    match what {
        Fact::SessionCreated => info("session.created", String::new()),
        Fact::SessionDestroyed { reason, duration_ms } => {
            let text = ended(*duration_ms, *reason);
            let crashed = *reason == Reason::NodeCrashed;
            (if crashed { Severity::Crit } else { Severity::Info }, "session.closed", text)
        }
        Fact::SessionPlaced { node } => info("session.placed", format!("on {node}")),
        Fact::ParticipantJoined { connection, client, .. } => {
            info("connection.joined", format!("{connection} from {}", cut(&client.ip)))
        }
        Fact::ParticipantLeft { connection, reason, duration_ms } => {
            info("connection.left", format!("{connection} {}", ended(*duration_ms, *reason)))
        }
        Fact::Published { stream, has_audio, has_video, .. } => {
            let kinds = match (has_audio, has_video) {
                (true, true) => "audio, video",
                (true, false) => "audio",
                (false, _) => "video",
            };
            info("stream.published", format!("{stream} {kinds}"))
        }
        Fact::Unpublished { stream, reason, duration_ms, .. } => {
            info("stream.unpublished", format!("{stream} {}", ended(*duration_ms, *reason)))
        }
        Fact::Subscribed { connection, stream, .. } => {
            info("stream.subscribed", format!("{connection} gets {stream}"))
        }
        Fact::Unsubscribed { connection, stream, reason, .. } => {
            info("stream.unsubscribed", format!("{connection} {stream} {}", reason.name()))
        }
        Fact::Transport { connection, state, .. } => {
            let severity = if state == "failed" { Severity::Warn } else { Severity::Info };
            (severity, "transport.changed", format!("{connection} {state}"))
        }
        Fact::NodeStatusChanged { from, to, .. } => {
            let (severity, kind) = match to {
                NodeStatus::Canceled => (Severity::Warn, "node.canceled"),
                NodeStatus::Failed => (Severity::Crit, "node.failed"),
                NodeStatus::Launching => (Severity::Info, "node.launching"),
                NodeStatus::Lost => (Severity::Crit, "node.lost"),
                NodeStatus::Running => (Severity::Info, "node.running"),
                NodeStatus::Terminated => (Severity::Info, "node.terminated"),
                NodeStatus::Terminating => (Severity::Info, "node.terminating"),
                NodeStatus::WaitingIdleToTerminate => (Severity::Warn, "node.draining"),
            };
            (severity, kind, from.map(|it| format!("was {}", it.name())).unwrap_or_default())
        }
        Fact::Audit { operator, role, address, verb, reason, outcome, .. } => {
            let how = match outcome {
                AuditOutcome::Done(text) => text.clone(),
                AuditOutcome::Refused(_, why) => format!("refused: {why}"),
            };
            let reason = if reason.is_empty() { String::new() } else { format!(" because {reason:?}") };
            (Severity::Audit, "audit", format!("{operator} ({role}) from {address}: {verb} {how}{reason}"))
        }
        Fact::RecordingStatusChanged(event) => {
            let severity =
                if event.status == RecordingStatus::Failed { Severity::Warn } else { Severity::Info };
            let kind = match event.status {
                RecordingStatus::Starting => "recording.starting",
                RecordingStatus::Started => "recording.started",
                RecordingStatus::Stopped => "recording.stopped",
                RecordingStatus::Ready => "recording.ready",
                RecordingStatus::Failed => "recording.failed",
            };
            (severity, kind, format!("{} {}", event.id, cut(&event.why)))
        }
        Fact::ConnectionChanged { connection, .. } => info("connection.changed", connection.clone()),
        Fact::StreamChanged { stream, .. } => info("stream.changed", stream.clone()),
        // Not in the feed.
        Fact::RecordingStarted { .. }
        | Fact::RecordingStopped { .. }
        | Fact::Slot { .. }
        | Fact::Signal { .. }
        | Fact::Speakers { .. } => info("session.event", String::new()),
    }
}

fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
fn permille(share: f64) -> u16 {
    (share.clamp(0.0, 1.0) * 1000.0) as u16
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}
