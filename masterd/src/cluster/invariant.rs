//! Pure: no clock, no I/O, no async.
//!
//! What is always true between two inputs. Asserted by tests and by the simulator, on what the last input touched and
//! in full.

use common::id::{ConnectionKey, EndpointKey, NodeKey, RecordingKey, SessionKey};
use common::wire::node::EndpointKind;

use super::Core;
use super::model::Purpose;
use super::op::{NodeStatus, RecordingStatus};
use super::receive::lineup;
use super::record::RecordKey;
use super::recording::text::parse_id;

impl Core {
    /// Asserts every invariant of the state.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check(&self) {
        for key in self.sessions.keys() {
            self.check_session(*key);
        }
        for key in self.connections.keys() {
            self.check_connection(*key);
        }
        for key in self.endpoints.keys() {
            self.check_endpoint(*key);
        }
        for key in self.nodes.keys() {
            self.check_node(*key);
        }
        for key in self.recordings.keys() {
            self.check_recording(*key);
        }
        for key in self.logs.keys() {
            self.check_log(*key);
        }
        assert_eq!(self.recording_names.len(), self.recordings.len(), "every recording has one name");
        let sockets = self.connections.values().filter(|it| it.record.socket().is_some()).count();
        assert_eq!(self.tokens.len(), self.connections.len() + sockets, "every connection has its bearers");
        assert_eq!(self.connection_names.len(), self.connections.len(), "every connection has one name");
        assert_eq!(self.session_names.len(), self.sessions.len(), "every session has one name");
        assert_eq!(self.resources.len(), self.endpoints.len(), "every endpoint has one name");
        for (op, command) in &self.commands {
            let node = self.nodes.get(&command.node).expect("a command's node is known");
            assert!(node.commands.contains(op), "{op} is in its node's table");
        }
        for (viewer, it) in &self.viewers {
            assert!(self.logs[&it.session].viewers.contains(viewer), "viewer {viewer} reads its log");
        }
        assert!(
            self.refills.is_empty()
                && self.rosters.is_empty()
                && self.unsent.is_empty()
                && self.dirty.is_empty(),
            "nothing is left over"
        );
    }

    /// Asserts the invariants of what the last input changed.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check_touched(&self) {
        for key in &self.touched {
            match key {
                RecordKey::Connection(key) if self.connections.contains_key(key) => {
                    self.check_connection(*key);
                }
                RecordKey::Endpoint(key) if self.endpoints.contains_key(key) => self.check_endpoint(*key),
                RecordKey::Event(key, _) if self.logs.contains_key(key) => self.check_log(*key),
                RecordKey::Node(key) if self.nodes.contains_key(key) => self.check_node(*key),
                RecordKey::Recording(key) if self.recordings.contains_key(key) => self.check_recording(*key),
                RecordKey::Session(key) if self.sessions.contains_key(key) => self.check_session(*key),
                // Gone, or without an invariant of their own.
                RecordKey::Closed(_)
                | RecordKey::Connection(_)
                | RecordKey::Decision(_)
                | RecordKey::Endpoint(_)
                | RecordKey::Event(..)
                | RecordKey::Node(_)
                | RecordKey::Recording(_)
                | RecordKey::Session(_) => {}
            }
        }
    }

    fn check_session(&self, key: SessionKey) {
        let session = &self.sessions[&key];
        assert_eq!(self.session_names.get(&session.record.name), Some(&key), "{key} is found by its name");
        let present = self.participants(key) + session.openings.len();
        let is_kept = present > 0 || session.autostop_at.is_some();
        assert!(!session.record.active || is_kept, "{key} is active although nobody is in it");
        assert!(session.autostop_at.is_none() || session.recording.is_some(), "{key} waits for no recording");
        if let Some(recording) = session.recording {
            let record = &self.recordings[&recording].record;
            assert!(record.session == key && record.status.is_running(), "{key} is recorded by {recording}");
        }
        assert!(session.record.active || self.participants(key) == 0, "{key} is not active although joined");
        if !session.record.active && session.openings.is_empty() {
            assert!(session.record.home.is_none(), "{key} has a home before anybody joined");
        }
        if let Some(home) = session.record.home {
            let node = self.nodes.get(&home.node).expect("a session's home is known");
            assert!(node.sessions.contains(&key), "{key} is in its home's table");
            assert_ne!(node.record.status, NodeStatus::Lost, "{key} is on a lost node");
        }
        for connection in &session.connections {
            let record = &self.connections[connection].record;
            assert_eq!(record.session, key, "{connection} is in one session");
        }
        for (stream, endpoint) in &session.streams {
            let record = &self.endpoints[endpoint].record;
            assert_eq!(record.kind, EndpointKind::Publish { stream: *stream }, "{stream} has its endpoint");
            assert_eq!(record.session, key, "{stream} is in its session");
        }
        for op in &session.openings {
            let command = &self.commands[op];
            assert!(matches!(command.purpose, Purpose::Open(_)), "{op} opens");
            assert_eq!(session.record.home.map(|it| it.node), Some(command.node), "{op} went to the home");
        }
        for endpoint in &session.players {
            self.check_endpoint(*endpoint);
        }
    }

    fn check_connection(&self, key: ConnectionKey) {
        let connection = &self.connections[&key];
        let record = &connection.record;
        assert!(self.sessions[&record.session].connections.contains(&key), "{key} is in its session");
        assert_eq!(self.tokens.get(&record.token), Some(&key), "{key} is found by its token");
        let name = (record.session, record.name.clone());
        assert_eq!(self.connection_names.get(&name), Some(&key), "{key} is found by its name");
        let active = record.active.is_some();
        assert!(active || connection.endpoints.is_empty(), "{key} has media before it joined");
        assert!(active || connection.viewers.is_empty(), "{key} reads events before it joined");
        assert_eq!(
            connection.idle_since.is_some(),
            active && !connection.is_held(),
            "{key} idles when unheld"
        );
        let publishers =
            connection.endpoints.iter().filter(|it| self.endpoints[it].record.publication.is_some());
        assert!(publishers.count() <= 1, "{key} publishes one stream");
        for endpoint in &connection.endpoints {
            assert_eq!(self.endpoints[endpoint].record.connection, key, "{endpoint} has one connection");
        }
        if let Some(secret) = record.socket() {
            assert_eq!(self.tokens.get(secret), Some(&key), "{key} is found by its socket's secret");
        }
        assert!(
            connection.socket.is_none_or(|it| connection.viewers.contains(&it)),
            "{key} reads by its socket"
        );
        for viewer in &connection.viewers {
            assert!(self.viewers.contains_key(viewer), "viewer {viewer} is known");
        }
    }

    fn check_endpoint(&self, key: EndpointKey) {
        let record = &self.endpoints[&key].record;
        assert!(self.connections[&record.connection].endpoints.contains(&key), "{key} is its connection's");
        assert_eq!(self.resources.get(&record.resource), Some(&key), "{key} is found by its name");
        let session = &self.sessions[&record.session];
        assert!(session.record.home.is_some(), "{key} runs nowhere");
        let received: Vec<_> = record.subscribed.keys().copied().collect();
        match record.kind {
            EndpointKind::Publish { stream } => {
                assert_eq!(session.streams.get(&stream), Some(&key), "{stream} is in its session");
                assert!(received.is_empty(), "{key} only publishes");
            }
            EndpointKind::Pair { .. } if record.offered => {
                assert!(received.is_empty(), "{key} is not answered");
            }
            EndpointKind::Pair { stream } => assert_eq!(received, [stream], "{key} plays its stream"),
            EndpointKind::Slots => {
                let present = lineup(record);
                assert_eq!(self.planned(record), present, "{key} has the line-up that is planned");
                let mut shown: Vec<_> =
                    present.audio.iter().chain(&present.video).flatten().copied().collect();
                shown.sort_unstable();
                shown.dedup();
                assert_eq!(received, shown, "{key} is subscribed to what its slots carry");
            }
        }
        for stream in received {
            let publisher = self.publisher(record.session, stream).expect("a received stream is published");
            assert_ne!(publisher.connection, record.connection, "{key} plays its own stream");
        }
    }

    fn check_recording(&self, key: RecordingKey) {
        let recording = &self.recordings[&key];
        let record = &recording.record;
        let (session, number) = parse_id(&record.id).expect("a recording has a name");
        assert_eq!(
            self.recording_names.get(&(session.to_owned(), number)),
            Some(&key),
            "{key} is found by its name"
        );
        let unfinished = record.status.is_unfinished();
        assert_eq!(self.running.contains(&key), unfinished, "{key} is among the unfinished as it should");
        assert!(!(record.deleting && record.status.is_running()), "{key} is removed while it runs");
        if record.status.is_running() {
            let recorded = self.sessions[&record.session].recording;
            assert_eq!(recorded, Some(key), "the session of {key} knows that it is recorded");
        }
        if let Some(node) = record.recorder.and_then(|it| self.nodes.get(&it)) {
            assert_eq!(node.jobs.contains(&key), unfinished, "{key} is in its recorder's table as it should");
        }
        let waits = !recording.waiters.is_empty();
        assert!(!waits || recording.due.is_some(), "somebody waits for {key} without a limit");
        let reason = matches!(record.status, RecordingStatus::Stopped | RecordingStatus::Ready);
        assert!(!reason || record.reason.is_some(), "{key} was stopped without a reason");
    }

    fn check_node(&self, key: NodeKey) {
        let node = &self.nodes[&key];
        for session in &node.sessions {
            let home = self.sessions[session].record.home;
            assert_eq!(home.map(|it| it.node), Some(key), "{session} is at home on {key}");
        }
        for op in &node.commands {
            assert_eq!(self.commands[op].node, key, "{op} is for {key}");
        }
    }

    fn check_log(&self, key: SessionKey) {
        let log = &self.logs[&key];
        let first = log.events.front().map_or_else(|| log.head.next(), |it| it.seq);
        for (seq, event) in (first.0..).zip(&log.events) {
            assert_eq!(event.seq.0, seq, "the log of {key} has no gap");
        }
        let bytes: usize = log.events.iter().map(|it| it.what.text_bytes()).sum();
        assert_eq!(log.bytes, bytes, "the log of {key} knows its size");
        assert_eq!(first.0 + log.events.len() as u64, log.head.next().0, "the log of {key} ends at its head");
        assert_eq!(
            log.closed.is_none(),
            self.sessions.contains_key(&key) || key == super::event::CLUSTER,
            "the log of {key} is closed with its session"
        );
    }
}
