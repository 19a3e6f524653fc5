//! Pure: no clock, no I/O, no async.
//!
//! From state to records and back. What restore gives equals the live state without what is soft: links, joins under
//! way, readers, learned sizes.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::id::{ConnectionKey, EndpointKey, EventSeq, NodeKey, RecordingKey, SessionKey};
use serde::de::DeserializeOwned;

use super::event::CLUSTER;
use super::model::{Connection, Endpoint, Log, Node, Recording, Session, Timer};
use super::op::{Event, NodeStatus};
use super::record::{
    ClosedRecord, ConnectionRecord, DecisionRecord, EndpointRecord, NodeRecord, RecordKey, RecordingRecord,
    SessionRecord, encode,
};
use super::recording::text::parse_id;
use super::{Core, RestoreError};

/// Records by family, before they are put together.
#[derive(Default)]
struct Loaded {
    closed: BTreeMap<SessionKey, ClosedRecord>,
    connections: BTreeMap<ConnectionKey, ConnectionRecord>,
    endpoints: BTreeMap<EndpointKey, EndpointRecord>,
    events: BTreeMap<(SessionKey, EventSeq), Event>,
    nodes: BTreeMap<NodeKey, NodeRecord>,
    recordings: BTreeMap<RecordingKey, RecordingRecord>,
    sessions: BTreeMap<SessionKey, SessionRecord>,
}

impl Core {
    /// The bytes that are to be stored for an entity; none when it is gone.
    pub(crate) fn encode_record(&self, key: RecordKey) -> Option<Vec<u8>> {
        match key {
            RecordKey::Closed(key) => self.logs.get(&key)?.closed.as_ref().map(encode),
            RecordKey::Connection(key) => self.connections.get(&key).map(|it| encode(&it.record)),
            RecordKey::Decision(key) => self.decisions.get(&key).map(encode),
            RecordKey::Endpoint(key) => self.endpoints.get(&key).map(|it| encode(&it.record)),
            RecordKey::Event(session, seq) => {
                let events = &self.logs.get(&session)?.events;
                let first = events.front()?.seq;
                let index = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
                events.get(index).map(|it| encode(&**it))
            }
            RecordKey::Node(key) => self.nodes.get(&key).map(|it| encode(&it.record)),
            RecordKey::Recording(key) => self.recordings.get(&key).map(|it| encode(&it.record)),
            RecordKey::Session(key) => self.sessions.get(&key).map(|it| {
                if it.record.active {
                    encode(&it.record)
                } else {
                    encode(&SessionRecord { home: None, ..it.record.clone() })
                }
            }),
        }
    }

    /// Every record of the present state: what the store holds when nothing is on its way to it.
    #[must_use]
    pub fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut keys: Vec<RecordKey> = Vec::new();
        keys.extend(self.sessions.keys().map(|it| RecordKey::Session(*it)));
        keys.extend(self.connections.keys().map(|it| RecordKey::Connection(*it)));
        keys.extend(self.endpoints.keys().map(|it| RecordKey::Endpoint(*it)));
        keys.extend(self.nodes.keys().map(|it| RecordKey::Node(*it)));
        keys.extend(self.recordings.keys().map(|it| RecordKey::Recording(*it)));
        keys.extend(self.decisions.keys().map(|it| RecordKey::Decision(*it)));
        for (session, log) in &self.logs {
            keys.extend(log.events.iter().map(|it| RecordKey::Event(*session, it.seq)));
            if log.closed.is_some() {
                keys.push(RecordKey::Closed(*session));
            }
        }
        keys.into_iter().filter_map(|key| Some((key.to_bytes(), self.encode_record(key)?))).collect()
    }

    /// Takes in stored records; the core is empty before.
    pub(crate) fn load(
        &mut self,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), RestoreError> {
        let mut loaded = Loaded::default();
        for (key, value) in records {
            let Some(record) = RecordKey::from_bytes(&key) else { return Err(RestoreError::Key { key }) };
            match record {
                RecordKey::Closed(it) => drop(loaded.closed.insert(it, decode(&key, &value)?)),
                RecordKey::Connection(it) => drop(loaded.connections.insert(it, decode(&key, &value)?)),
                RecordKey::Decision(it) => {
                    let decision: DecisionRecord = decode(&key, &value)?;
                    self.decisions.insert(it, decision);
                }
                RecordKey::Endpoint(it) => drop(loaded.endpoints.insert(it, decode(&key, &value)?)),
                RecordKey::Event(it, seq) => drop(loaded.events.insert((it, seq), decode(&key, &value)?)),
                RecordKey::Node(it) => drop(loaded.nodes.insert(it, decode(&key, &value)?)),
                RecordKey::Recording(it) => drop(loaded.recordings.insert(it, decode(&key, &value)?)),
                RecordKey::Session(it) => drop(loaded.sessions.insert(it, decode(&key, &value)?)),
            }
        }
        self.load_nodes(loaded.nodes);
        self.load_sessions(loaded.sessions, loaded.closed);
        self.load_connections(loaded.connections);
        self.load_endpoints(loaded.endpoints);
        self.load_events(loaded.events);
        self.load_recordings(loaded.recordings);
        let keys: Vec<ConnectionKey> = self.connections.keys().copied().collect();
        for key in keys {
            self.watch_idle(key);
        }
        let sessions: Vec<SessionKey> = self.sessions.keys().copied().collect();
        for key in sessions {
            let participants = self.participants(key);
            if let Some(session) = self.sessions.get_mut(&key) {
                session.participants_max = participants;
            }
        }
        Ok(())
    }

    fn load_nodes(&mut self, nodes: BTreeMap<NodeKey, NodeRecord>) {
        let (heard_at, unix) = (self.core_time(), self.now.unix);
        self.nodes =
            nodes.into_iter().map(|(key, record)| (key, Node::new(record, heard_at, unix))).collect();
    }

    fn load_sessions(
        &mut self,
        sessions: BTreeMap<SessionKey, SessionRecord>,
        closed: BTreeMap<SessionKey, ClosedRecord>,
    ) {
        for (key, record) in sessions {
            self.session_names.insert(record.name.clone(), key);
            self.logs.insert(key, Log::new(record.name.clone(), record.created_at, EventSeq(0)));
            if let Some(node) = record.home.and_then(|home| self.nodes.get_mut(&home.node)) {
                node.sessions.insert(key);
            }
            self.sessions.insert(key, Session::new(record));
        }
        for (key, record) in closed {
            let mut log = Log::new(record.name.clone(), record.created_at, EventSeq(0));
            self.closed_names.insert(record.name.clone(), key);
            for (token, _) in &record.bearers {
                self.closed_tokens.insert(token.clone(), key);
            }
            log.closed = Some(record);
            self.logs.insert(key, log);
            self.schedule(self.settings.events_kept, Timer::Closed(key));
        }
    }

    fn load_connections(&mut self, connections: BTreeMap<ConnectionKey, ConnectionRecord>) {
        for (key, record) in connections {
            let Some(session) = self.sessions.get_mut(&record.session) else { continue };
            session.connections.insert(key);
            self.tokens.insert(record.token.clone(), key);
            if let Some(secret) = record.socket() {
                self.tokens.insert(secret.to_owned(), key);
            }
            self.connection_names.insert((record.session, record.name.clone()), key);
            self.connections.insert(key, Connection::new(record));
        }
    }

    fn load_endpoints(&mut self, endpoints: BTreeMap<EndpointKey, EndpointRecord>) {
        for (key, record) in endpoints {
            if !self.connections.contains_key(&record.connection) {
                continue;
            }
            self.resources.insert(record.resource.clone(), key);
            self.endpoints.insert(key, Endpoint { record, confirmed_link: 0 });
            self.attach_endpoint(key);
        }
    }

    fn load_events(&mut self, events: BTreeMap<(SessionKey, EventSeq), Event>) {
        for ((session, seq), event) in events {
            let Some(log) = self.logs.get_mut(&session) else { continue };
            log.head = seq;
            log.push(Arc::new(event));
        }
        self.load_feed();
        debug_assert!(self.logs.contains_key(&CLUSTER), "the cluster's log is always there");
    }

    fn load_recordings(&mut self, recordings: BTreeMap<RecordingKey, RecordingRecord>) {
        for (key, record) in recordings {
            let Some((session, number)) = parse_id(&record.id) else { continue };
            self.recording_names.insert((session.to_owned(), number), key);
            if record.status.is_unfinished() {
                self.running.insert(key);
                if let Some(node) = record.recorder.and_then(|it| self.nodes.get_mut(&it)) {
                    node.jobs.insert(key);
                }
            }
            if record.status.is_running()
                && let Some(session) = self.sessions.get_mut(&record.session)
            {
                session.recording = Some(key);
            }
            let mut recording = Recording::new(record);
            // Whether the recorder heard of it before masterd ended is not known.
            recording.told = recording.record.status.is_running();
            self.recordings.insert(key, recording);
        }
    }

    /// A session whose node the store does not know, or that was lost when masterd ended, cannot go on.
    pub(crate) fn repair(&mut self) {
        let broken: Vec<SessionKey> = self
            .sessions
            .iter()
            .filter(|(_, it)| {
                it.record.home.is_some_and(|home| {
                    self.nodes.get(&home.node).is_none_or(|node| node.record.status == NodeStatus::Lost)
                })
            })
            .map(|(key, _)| *key)
            .collect();
        for key in broken {
            self.destroy(key, super::op::Reason::NodeCrashed);
        }
        self.repair_recordings();
    }
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, RestoreError> {
    postcard::from_bytes(value).map_err(|source| RestoreError::Malformed { key: key.to_vec(), source })
}
