//! Pure: no clock, no I/O, no async.
//!
//! What operators do: who may, what it would affect, doing it by the same operations that the application has, and the
//! audit. The change and its audit event are in one batch; the event also tells a console that was cut off how its
//! operation went.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not named is treated alike, later additions too"
)]

use std::collections::VecDeque;

use common::id::{ConnectionKey, NodeKey, SessionKey};
use common::wire::operator::{Impact, OperationState, REASON_BYTES_MAX, RefusedKind, Verb};

use super::Core;
use super::event::CLUSTER;
use super::op::{
    Actor, AuditOutcome, Fact, NodeStatus, Op, Operation, OutputMode, RecordingProperties, RecordingStatus,
    Refusal, Reply, RequestId,
};

/// Operations under way; more are refused. A console has one dialog.
const OPERATIONS_MAX: usize = 1_000;

/// Operations whose end is remembered.
const OUTCOMES_MAX: usize = 1_000;

/// An operation that was handed to the ordinary code and not answered yet.
#[derive(Debug)]
pub(crate) struct Pending {
    operation: Operation,
    /// What it affects, told by the audit.
    affects: String,
}

/// Ends of operations, newest last, for those who ask again.
pub(crate) type Outcomes = VecDeque<(String, u64, OperationState)>;

impl Core {
    /// Carries out an operator's operation, or says what it would affect.
    pub(crate) fn operate(&mut self, req: RequestId, operation: Operation) {
        if let Some(state) = self.recall(&operation.operator, operation.op) {
            return self.reply(req, Reply::Operation(state));
        }
        if operation.role < operation.verb.role() {
            let why =
                format!("the role {} may not do this: it takes {}", operation.role, operation.verb.role());
            return self.refuse_operation(req, operation, RefusedKind::Role, why);
        }
        if operation.reason.len() > REASON_BYTES_MAX {
            let why = format!("the reason is longer than {REASON_BYTES_MAX} bytes");
            return self.refuse_operation(req, operation, RefusedKind::State, why);
        }
        let impact = match self.impact(&operation.verb) {
            Ok(impact) => impact,
            Err((kind, why)) => return self.refuse_operation(req, operation, kind, why),
        };
        if operation.dry_run {
            return self.reply(req, Reply::Operation(OperationState::Impact(impact)));
        }
        if operation.expected.is_some_and(|expected| expected != impact.generation) {
            let why = "it has changed since it was looked at".to_owned();
            return self.refuse_operation(req, operation, RefusedKind::Changed, why);
        }
        if self.store_failing || self.operations.len() >= OPERATIONS_MAX {
            let why = if self.store_failing {
                Refusal::StoreFailing.to_string()
            } else {
                "too many operations".to_owned()
            };
            return self.refuse_operation(req, operation, RefusedKind::Unavailable, why);
        }
        let op = ordinary(&operation.verb);
        let affects = impact.lines.first().cloned().unwrap_or_default();
        // The answer of the ordinary code comes by `reply`, now or when a node has answered.
        self.operations.insert(req, Pending { operation, affects });
        self.request(req, Actor::App, op);
    }

    /// The ordinary code has answered an operation.
    pub(crate) fn operated(&mut self, pending: Pending, reply: &Reply) -> Reply {
        let Pending { operation, affects } = pending;
        let state = match reply {
            Reply::Refused(refusal) => {
                OperationState::Refused { kind: kind_of(refusal), why: refusal.to_string() }
            }
            Reply::Recording(view) if matches!(operation.verb, Verb::RecordingStart { .. }) => {
                OperationState::Done { text: format!("recording {} started", view.id) }
            }
            _ => OperationState::Done { text: done_text(&operation.verb, &affects) },
        };
        self.audit(operation, &state);
        Reply::Operation(state)
    }

    fn refuse_operation(&mut self, req: RequestId, operation: Operation, kind: RefusedKind, why: String) {
        let state = OperationState::Refused { kind, why };
        // Looking is not worth an audit, trying is: a role that does not suffice is told by the dry run already.
        if !operation.dry_run || kind == RefusedKind::Role {
            self.audit(operation, &state);
        }
        self.reply(req, Reply::Operation(state));
    }

    fn audit(&mut self, operation: Operation, state: &OperationState) {
        let outcome = match state {
            OperationState::Done { text } => AuditOutcome::Done(text.clone()),
            OperationState::Refused { kind, why } => AuditOutcome::Refused(*kind, why.clone()),
            OperationState::Impact(_) | OperationState::Running | OperationState::Unknown => return,
        };
        if self.outcomes.len() >= OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((operation.operator.clone(), operation.op, state.clone()));
        let Operation { op, operator, role, address, verb, reason, .. } = operation;
        let target = verb.target().to_owned();
        let verb = verb.name().to_owned();
        self.emit(CLUSTER, Fact::Audit { op, operator, role, address, verb, target, reason, outcome });
    }

    /// How an operator's operation is or went; none when it is not known.
    pub(crate) fn recall(&self, operator: &str, op: u64) -> Option<OperationState> {
        let running =
            self.operations.values().any(|it| it.operation.op == op && it.operation.operator == operator);
        if running {
            return Some(OperationState::Running);
        }
        let known = self.outcomes.iter().rev().find(|(who, it, _)| *it == op && who == operator);
        if let Some((.., state)) = known {
            return Some(state.clone());
        }
        // What an earlier process did is in the log.
        let events = &self.logs.get(&CLUSTER)?.events;
        events.iter().rev().find_map(|event| match &event.what {
            Fact::Audit { op: it, operator: who, outcome, .. } if *it == op && who == operator => {
                Some(match outcome {
                    AuditOutcome::Done(text) => OperationState::Done { text: text.clone() },
                    AuditOutcome::Refused(kind, why) => {
                        OperationState::Refused { kind: *kind, why: why.clone() }
                    }
                })
            }
            _ => None,
        })
    }

    fn impact(&self, verb: &Verb) -> Result<Impact, (RefusedKind, String)> {
        let missing = |refusal: Refusal| (RefusedKind::Missing, refusal.to_string());
        match verb {
            Verb::NodeDrain { node } | Verb::NodeUndrain { node } | Verb::NodeRemove { node } => {
                let key = self.find_node(node).ok_or_else(|| missing(Refusal::UnknownNode))?;
                self.node_impact(key, verb)
            }
            Verb::SessionClose { session } => {
                let key = self.named_session(session).map_err(missing)?;
                let mut impact = self.session_impact(key);
                impact.lines.insert(0, format!("{} end", counted(&impact)));
                impact.lines.push("clients get `sessionClosedByServer` and cannot come back".to_owned());
                Ok(impact)
            }
            Verb::ConnectionEvict { session, connection } => {
                let key = self.find_connection(session, connection).map_err(missing)?;
                Ok(self.connection_impact(key))
            }
            Verb::StreamUnpublish { session, stream } => self.stream_impact(session, stream).map_err(missing),
            Verb::RecordingStart { .. } | Verb::RecordingStop { .. } | Verb::RecordingDelete { .. } => {
                self.recording_impact(verb)
            }
        }
    }

    pub(crate) fn named_session(&self, name: &str) -> Result<SessionKey, Refusal> {
        self.session_names.get(name).copied().ok_or(Refusal::UnknownSession)
    }

    fn node_impact(&self, key: NodeKey, verb: &Verb) -> Result<Impact, (RefusedKind, String)> {
        let node =
            self.nodes.get(&key).ok_or_else(|| (RefusedKind::Missing, Refusal::UnknownNode.to_string()))?;
        let status = node.record.status;
        let mut impact = Impact {
            generation: node.record.boot.0 ^ (status as u64),
            ..node
                .sessions
                .iter()
                .map(|it| self.session_impact(*it))
                .fold(Impact::default(), |sum, more| add(sum, &more))
        };
        let others = self.nodes.iter().filter(|(it, node)| {
            **it != key && !node.record.recorder && node.record.status == NodeStatus::Running
        });
        let others = others.count();
        let draining = matches!(status, NodeStatus::WaitingIdleToTerminate | NodeStatus::Terminating);
        let affected = counted(&impact);
        match verb {
            Verb::NodeUndrain { .. } if !draining => {
                return Err((RefusedKind::State, "the node is not draining".to_owned()));
            }
            Verb::NodeUndrain { .. } => impact.lines.push("it takes new sessions again".to_owned()),
            Verb::NodeDrain { .. } if draining && node.record.drain => {
                return Err((RefusedKind::State, "the node is draining already".to_owned()));
            }
            Verb::NodeDrain { .. } => {
                impact.lines.push(format!("{affected} stay until they end by themselves"));
                impact.lines.push("it takes no new sessions, after its restart neither".to_owned());
                impact.lines.push(left(others));
            }
            _ => {
                impact.lines.push(format!("{affected} end"));
                impact.lines.push(if node.is_connected() {
                    "it is listed as terminating until its process ends; started anew, it joins again"
                        .to_owned()
                } else {
                    "it is forgotten; when it connects again, it joins again".to_owned()
                });
                impact.lines.push(left(others));
            }
        }
        Ok(impact)
    }

    fn session_impact(&self, key: SessionKey) -> Impact {
        let streams = self.sessions.get(&key).map_or(0, |it| it.streams.len());
        Impact {
            generation: key.0,
            sessions: 1,
            connections: count(self.participants(key)),
            streams: count(streams),
            recordings: self.recordings_of(key),
            lines: Vec::new(),
        }
    }

    fn connection_impact(&self, key: ConnectionKey) -> Impact {
        let connection = self.connections.get(&key);
        let record = connection.map(|it| &it.record);
        let endpoints = connection.into_iter().flat_map(|it| &it.endpoints);
        let streams = endpoints
            .filter(|it| self.endpoints.get(it).is_some_and(|it| it.record.publication.is_some()))
            .count();
        let is_active = record.is_some_and(|it| it.active.is_some());
        let last = record.is_some_and(|it| self.participants(it.session) == 1) && is_active;
        let mut lines = vec![if is_active {
            format!("1 connection and {} end", plural(count(streams), "stream"))
        } else {
            "a token that nobody has used is revoked".to_owned()
        }];
        lines.push("its client gets `forceDisconnectByServer`; with a new token it can come back".to_owned());
        if last {
            lines.push("it is the last one: the session ends".to_owned());
        }
        let (connections, streams, sessions) = (u32::from(is_active), count(streams), u32::from(last));
        Impact { generation: key.0, sessions, connections, streams, recordings: 0, lines }
    }

    fn stream_impact(&self, session: &str, stream: &str) -> Result<Impact, Refusal> {
        let key = self.named_session(session)?;
        let stream = self.find_stream(key, stream).ok_or(Refusal::UnknownStream)?;
        let receive = |it: &&super::model::Endpoint| {
            it.record.session == key && it.record.subscribed.contains_key(&stream)
        };
        let connections = self.sessions.get(&key).into_iter().flat_map(|it| &it.connections);
        let receivers = connections
            .filter(|it| {
                let endpoints = self.connections.get(it).into_iter().flat_map(|it| &it.endpoints);
                endpoints.filter_map(|it| self.endpoints.get(it)).any(|it| receive(&it))
            })
            .count();
        let lines = vec![
            format!("1 stream ends, {} it", receives(count(receivers))),
            "its publisher gets `forceUnpublishByServer` and may publish again".to_owned(),
        ];
        Ok(Impact { generation: stream.0, streams: 1, lines, ..Impact::default() })
    }

    /// Recordings of a session that are under way.
    pub(crate) fn recordings_of(&self, session: SessionKey) -> u32 {
        u32::from(self.sessions.get(&session).is_some_and(|it| it.recording.is_some()))
    }

    fn recording_impact(&self, verb: &Verb) -> Result<Impact, (RefusedKind, String)> {
        let missing = |refusal: Refusal| (RefusedKind::Missing, refusal.to_string());
        let state = |refusal: Refusal| (RefusedKind::State, refusal.to_string());
        let known = |id: &str| -> Result<_, (RefusedKind, String)> {
            let key = self.find_recording(id).map_err(missing)?;
            let recording = self.recordings.get(&key).ok_or_else(|| missing(Refusal::UnknownRecording))?;
            let generation = key.0 ^ (recording.record.status as u64);
            Ok((Impact { generation, recordings: 1, ..Impact::default() }, recording))
        };
        match verb {
            Verb::RecordingStart { session, individual } => {
                let key = self.named_session(session).map_err(missing)?;
                self.check_recording_start(session).map_err(state)?;
                let recorders = self.nodes.values().filter(|it| it.record.recorder && it.is_connected());
                if recorders.count() == 0 {
                    return Err((RefusedKind::State, "no recorder has joined".to_owned()));
                }
                let what = if *individual {
                    "one file for each stream"
                } else {
                    "one film, or as the session was set up"
                };
                let inside = self.session_impact(key);
                let (connections, streams) =
                    (plural(inside.connections, "connection"), plural(inside.streams, "stream"));
                let lines = vec![
                    format!("{connections} with {streams} are recorded: {what}"),
                    "participants are told as the cluster is set up".to_owned(),
                ];
                Ok(Impact { generation: key.0, recordings: 1, lines, ..Impact::default() })
            }
            Verb::RecordingStop { recording } => {
                let (mut impact, live) = known(recording)?;
                match live.record.status {
                    RecordingStatus::Started => {}
                    RecordingStatus::Starting => return Err(state(Refusal::RecordingStarting)),
                    RecordingStatus::Failed | RecordingStatus::Ready | RecordingStatus::Stopped => {
                        return Err((RefusedKind::State, "the recording has ended already".to_owned()));
                    }
                }
                let (seconds, session) = (live.progress.duration_ms / 1000, &live.record.session_name);
                impact.lines = vec![
                    format!("the recording of {session} ends after {seconds} s and its file is completed"),
                    "the session goes on, or ends if nobody is in it any more".to_owned(),
                ];
                Ok(impact)
            }
            _ => {
                let (mut impact, live) = known(verb.target())?;
                if live.record.status.is_running() {
                    return Err(state(Refusal::RecordingRunning));
                }
                let bytes = live.record.size_bytes.max(live.progress.size_bytes);
                impact.lines = vec![format!("its files ({} kB) are deleted for good", bytes / 1000)];
                Ok(impact)
            }
        }
    }

    /// Takes a node out of the cluster. What runs there ends.
    pub(crate) fn node_remove(&mut self, req: RequestId, name: &str) {
        let Some(key) = self.find_node(name) else { return self.refuse(req, Refusal::UnknownNode) };
        let sessions: Vec<SessionKey> =
            self.nodes.get(&key).map(|it| it.sessions.iter().copied().collect()).unwrap_or_default();
        for session in sessions {
            if self.sessions.get(&session).is_some_and(|it| it.record.active) {
                self.destroy(session, super::op::Reason::MediaServerDisconnect);
            } else {
                self.rehome(session, key, &Refusal::NodeSilent);
            }
        }
        let Some(node) = self.nodes.get_mut(&key) else { return };
        // An operator's wish to drain it ends with it.
        node.record.drain = false;
        if node.is_connected() {
            self.set_status(key, NodeStatus::Terminating);
            self.tell_drain(key);
        } else {
            self.forget_node(key);
        }
        self.reply(req, Reply::Done);
    }
}

/// The application's operation that does the same.
fn ordinary(verb: &Verb) -> Op {
    match verb.clone() {
        Verb::NodeDrain { node } => Op::NodeDrain { node, on: true },
        Verb::NodeUndrain { node } => Op::NodeDrain { node, on: false },
        Verb::NodeRemove { node } => Op::NodeRemove { node },
        Verb::SessionClose { session } => Op::SessionDelete { session },
        Verb::ConnectionEvict { session, connection } => Op::ConnectionDelete { session, connection },
        Verb::StreamUnpublish { session, stream } => Op::StreamDelete { session, stream },
        Verb::RecordingStart { session, individual } => {
            let properties = individual.then(|| {
                Box::new(RecordingProperties {
                    mode: OutputMode::Individual,
                    ..RecordingProperties::default()
                })
            });
            Op::RecordingStart { session, properties }
        }
        Verb::RecordingStop { recording } => Op::RecordingStop { recording, wait: false },
        Verb::RecordingDelete { recording } => Op::RecordingDelete { recording },
    }
}

const fn kind_of(refusal: &Refusal) -> RefusedKind {
    match refusal {
        Refusal::UnknownConnection
        | Refusal::UnknownNode
        | Refusal::UnknownRecording
        | Refusal::UnknownResource
        | Refusal::UnknownSession
        | Refusal::UnknownStream => RefusedKind::Missing,
        Refusal::StoreFailing | Refusal::Limit { .. } | Refusal::NoRecorder { .. } => {
            RefusedKind::Unavailable
        }
        Refusal::Role => RefusedKind::Role,
        _ => RefusedKind::State,
    }
}

fn done_text(verb: &Verb, affects: &str) -> String {
    let what = match verb {
        Verb::NodeDrain { .. } => "takes no new sessions",
        Verb::NodeUndrain { .. } => "takes sessions again",
        Verb::NodeRemove { .. } => "removed",
        Verb::SessionClose { .. } => "closed",
        Verb::ConnectionEvict { .. } => "evicted",
        Verb::StreamUnpublish { .. } => "unpublished",
        Verb::RecordingStart { .. } => "recording started",
        Verb::RecordingStop { .. } => "recording stopped",
        Verb::RecordingDelete { .. } => "recording deleted",
    };
    if affects.is_empty() { what.to_owned() } else { format!("{what}: {affects}") }
}

fn add(mut sum: Impact, more: &Impact) -> Impact {
    sum.sessions += more.sessions;
    sum.connections += more.connections;
    sum.streams += more.streams;
    sum.recordings += more.recordings;
    sum
}

fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn plural(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn receives(receivers: u32) -> String {
    if receivers == 1 {
        "1 connection receives".to_owned()
    } else {
        format!("{receivers} connections receive")
    }
}

fn counted(impact: &Impact) -> String {
    let mut text = format!(
        "{}, {}, {}",
        plural(impact.sessions, "session"),
        plural(impact.connections, "connection"),
        plural(impact.streams, "stream")
    );
    if impact.recordings > 0 {
        text.push_str(", ");
        text.push_str(&plural(impact.recordings, "recording"));
    }
    text
}

fn left(others: usize) -> String {
    match others {
        0 => "no other media node is running: new sessions will be refused".to_owned(),
        1 => "1 other media node is left for new sessions".to_owned(),
        _ => format!("{others} other media nodes are left for new sessions"),
    }
}
