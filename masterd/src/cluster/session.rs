//! Pure: no clock, no I/O, no async.
//!
//! Sessions and the making of their connections: what the application asks for, and how a session ends.
//!
//! A session is active while somebody is in it or a join is under way after somebody was in it; it ends with its
//! last participant, by the application, or with its node.

use std::collections::BTreeSet;

use common::id::{ConnectionKey, SessionKey};
use common::wire::node::SessionClose;

use super::Core;
use super::input::ViewerEnd;
use super::model::{Connection, Purpose, Session, Timer};
use super::names;
use super::op::{ConnectionProperties, Fact, Reason, Refusal, Reply, RequestId, SessionProperties};
use super::record::{ConnectionRecord, RecordKey, SessionRecord};
use crate::limits::{
    CONNECTIONS_PER_SESSION_MAX, SERVER_DATA_BYTES_MAX, SESSIONS_MAX, SIGNAL_BYTES_MAX, SIGNAL_RECIPIENTS_MAX,
};

/// A signal that is to be sent.
pub(crate) struct SignalOp {
    pub(crate) session: Option<String>,
    pub(crate) to: Vec<String>,
    pub(crate) kind: String,
    pub(crate) data: String,
}

impl Core {
    pub(crate) fn session_create(&mut self, req: RequestId, properties: SessionProperties) {
        if self.sessions.len() >= SESSIONS_MAX {
            return self.refuse(req, Refusal::Limit { limit: "sessions" });
        }
        let name = match &properties.custom_id {
            Some(name) if self.session_names.contains_key(name) => {
                return self.refuse(req, Refusal::SessionExists(name.clone()));
            }
            Some(name) => name.clone(),
            None => self.free_session_name(),
        };
        let key = SessionKey(self.keys.next());
        let record = SessionRecord {
            name: name.clone(),
            created_at: self.now.unix,
            properties,
            active: false,
            home: None,
            announced: None,
            recording_stopped: false,
        };
        self.open_log(key, &name, record.created_at);
        self.sessions.insert(key, Session::new(record));
        self.session_names.insert(name, key);
        self.dirty.insert(RecordKey::Session(key));
        self.emit(key, Fact::SessionCreated);
        let view = self.session_view(key);
        self.reply(req, view.map_or(Reply::Done, |view| Reply::Session(Box::new(view))));
    }

    fn free_session_name(&mut self) -> String {
        loop {
            let name = names::session(&mut self.rng);
            if !self.session_names.contains_key(&name) {
                return name;
            }
        }
    }

    pub(crate) fn session_delete(&mut self, req: RequestId, name: &str) {
        let Some(key) = self.session_names.get(name).copied() else {
            return self.refuse(req, Refusal::UnknownSession);
        };
        self.destroy(key, Reason::SessionClosedByServer);
        self.reply(req, Reply::Done);
    }

    pub(crate) fn connection_create(&mut self, req: RequestId, name: &str, properties: ConnectionProperties) {
        let Some(key) = self.session_names.get(name).copied() else {
            return self.refuse(req, Refusal::UnknownSession);
        };
        if properties.server_data.len() > SERVER_DATA_BYTES_MAX {
            return self.refuse(req, Refusal::TooLong { what: "server data", max: SERVER_DATA_BYTES_MAX });
        }
        let Some(session) = self.sessions.get(&key) else { return self.refuse(req, Refusal::UnknownSession) };
        if session.connections.len() >= CONNECTIONS_PER_SESSION_MAX {
            return self.refuse(req, Refusal::Limit { limit: "connections of one session" });
        }
        let connection = ConnectionKey(self.keys.next());
        let taken = |it: &str| self.connection_names.contains_key(&(key, it.to_owned()));
        let name = names::connection(&mut self.rng, &properties.server_data, taken);
        let token = loop {
            let token = names::token(&mut self.rng);
            if !self.tokens.contains_key(&token) {
                break token;
            }
        };
        self.tokens.insert(token.clone(), connection);
        self.connection_names.insert((key, name.clone()), connection);
        if let Some(session) = self.sessions.get_mut(&key) {
            session.connections.insert(connection);
        }
        let created_at = self.now.unix;
        let record = ConnectionRecord { session: key, name, token, created_at, properties, active: None };
        self.connections.insert(connection, Connection::new(record));
        self.dirty.insert(RecordKey::Connection(connection));
        let view = self.connection_view(connection);
        self.reply(req, view.map_or(Reply::Done, |view| Reply::Connection(Box::new(view))));
    }

    pub(crate) fn connection_delete(&mut self, req: RequestId, session: &str, connection: &str) {
        let key = match self.find_connection(session, connection) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(req, refusal),
        };
        self.evict(key, Reason::ForceDisconnectByServer);
        self.reply(req, Reply::Done);
    }

    pub(crate) fn stream_delete(&mut self, req: RequestId, session: &str, stream: &str) {
        let Some(key) = self.session_names.get(session).copied() else {
            return self.refuse(req, Refusal::UnknownSession);
        };
        match self.find_stream(key, stream).and_then(|it| self.sessions.get(&key)?.streams.get(&it).copied())
        {
            Some(endpoint) => {
                self.close_endpoint(endpoint, Reason::ForceUnpublishByServer);
                self.reply(req, Reply::Done);
            }
            None => self.refuse(req, Refusal::UnknownStream),
        }
    }

    /// Sends a signal; `from` is the sending connection, none is the application.
    pub(crate) fn signal(&mut self, req: RequestId, from: Option<ConnectionKey>, signal: SignalOp) {
        let session = match (from, &signal.session) {
            (Some(key), _) => self.connections.get(&key).map(|it| it.record.session),
            (None, Some(name)) => self.session_names.get(name).copied(),
            (None, None) => None,
        };
        let Some(session) = session else { return self.refuse(req, Refusal::UnknownSession) };
        if let Err(refusal) = self.check_signal(session, &signal) {
            return self.refuse(req, refusal);
        }
        let from = from.and_then(|key| self.connections.get(&key)).map(|it| it.record.name.clone());
        let audience = if signal.to.is_empty() { None } else { Some(signal.to) };
        self.emit_to(session, audience, Fact::Signal { from, kind: signal.kind, data: signal.data });
        self.reply(req, Reply::Done);
    }

    fn check_signal(&self, session: SessionKey, signal: &SignalOp) -> Result<(), Refusal> {
        if signal.kind.len() + signal.data.len() > SIGNAL_BYTES_MAX {
            return Err(Refusal::TooLong { what: "signal", max: SIGNAL_BYTES_MAX });
        }
        if signal.to.len() > SIGNAL_RECIPIENTS_MAX {
            return Err(Refusal::TooLong { what: "signal's list of recipients", max: SIGNAL_RECIPIENTS_MAX });
        }
        if self.sessions.get(&session).is_none_or(|it| !it.record.active) {
            return Err(Refusal::SessionNotActive);
        }
        let known = |name: &String| {
            let key = self.connection_names.get(&(session, name.clone()));
            key.and_then(|key| self.connections.get(key)).is_some_and(|it| it.record.active.is_some())
        };
        if signal.to.iter().all(known) { Ok(()) } else { Err(Refusal::UnknownConnection) }
    }

    /// Ends a session with everything in it: destroyed streams, participants that left, then the session.
    pub(crate) fn destroy(&mut self, key: SessionKey, reason: Reason) {
        let Some(session) = self.sessions.get(&key) else { return };
        let openings: Vec<_> = session.openings.iter().copied().collect();
        for op in openings {
            self.abandon_opening(op, Refusal::UnknownSession);
        }
        let mut bearers = Vec::new();
        for connection in self.connections_in_order(key) {
            let Some(live) = self.connections.get(&connection) else { continue };
            if live.record.active.is_some() {
                bearers.push((live.record.token.clone(), live.record.name.clone()));
                self.end_participation(connection, reason, ViewerEnd::SessionClosed);
            }
            self.remove_connection(connection);
        }
        if let Some(recording) = self.sessions.get(&key).and_then(|it| it.recording) {
            self.stop_recording(recording, reason);
        }
        let Some(mut session) = self.sessions.remove(&key) else { return };
        let duration_ms = self.now.unix.saturating_sub(session.record.created_at);
        self.sizes.learn(&session.record.name, session.participants_max);
        self.session_names.remove(&session.record.name);
        self.dirty.insert(RecordKey::Session(key));
        self.emit(key, Fact::SessionDestroyed { reason, duration_ms });
        self.close_log(key, bearers);
        if let Some(home) = session.record.home.take() {
            self.leave_home(key, home.node);
        }
    }

    /// A session no longer runs on a node: whatever was asked of the node for it is void.
    pub(crate) fn leave_home(&mut self, key: SessionKey, node: common::id::NodeKey) {
        let Some(live) = self.nodes.get_mut(&node) else { return };
        live.sessions.remove(&key);
        let void: BTreeSet<_> = live.commands.iter().copied().collect();
        for op in void {
            let ours = self.commands.get(&op).is_some_and(|command| command.session == key);
            if ours {
                self.drop_command(op);
            }
        }
        self.command(node, key, SessionClose { session: key }.into(), Purpose::Close, None);
    }

    /// The last participant has left: the session ends, unless somebody is just joining or it is recorded. A session
    /// that nobody ever joined gives back the node that a failed join had taken.
    pub(crate) fn end_if_empty(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        if !session.openings.is_empty() || self.participants(key) > 0 {
            return;
        }
        if session.record.active {
            if !self.hold_recorded(key) {
                self.destroy(key, Reason::LastParticipantLeft);
            }
            return;
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.confirmed_link = 0;
        if let Some(home) = session.record.home.take() {
            self.leave_home(key, home.node);
        }
    }

    /// Sessions that nobody has joined for too long vanish.
    pub(crate) fn collect_garbage(&mut self) {
        let threshold_ms = super::event::millis(self.settings.garbage_after);
        let old: Vec<SessionKey> = self
            .sessions
            .iter()
            .filter(|(_, it)| !it.record.active && it.openings.is_empty())
            .filter(|(_, it)| it.record.created_at.saturating_add(threshold_ms) < self.now.unix)
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            if self.settings.garbage_events {
                self.destroy(key, Reason::AutomaticStop);
                continue;
            }
            for connection in self.connections_in_order(key) {
                self.remove_connection(connection);
            }
            if let Some(session) = self.sessions.remove(&key) {
                self.session_names.remove(&session.record.name);
            }
            self.dirty.insert(RecordKey::Session(key));
            self.close_log(key, Vec::new());
        }
        self.schedule(self.settings.garbage_interval, Timer::Garbage);
    }

    /// Active connections of a session.
    pub(crate) fn participants(&self, key: SessionKey) -> usize {
        let connections = self.sessions.get(&key).map(|it| &it.connections);
        connections
            .into_iter()
            .flatten()
            .filter(|it| self.connections.get(it).is_some_and(|it| it.record.active.is_some()))
            .count()
    }

    /// Active connections in the order of joining, then pending ones in the order of creation.
    pub(crate) fn connections_in_order(&self, key: SessionKey) -> Vec<ConnectionKey> {
        let Some(session) = self.sessions.get(&key) else { return Vec::new() };
        let mut keys: Vec<ConnectionKey> = session.connections.iter().copied().collect();
        keys.sort_by_key(|key| {
            let at = self.connections.get(key).and_then(|it| it.record.active.as_ref()).map(|it| it.at);
            (at.is_none(), at, *key)
        });
        keys
    }

    pub(crate) fn find_connection(&self, session: &str, connection: &str) -> Result<ConnectionKey, Refusal> {
        let session = self.session_names.get(session).ok_or(Refusal::UnknownSession)?;
        let key = self.connection_names.get(&(*session, connection.to_owned()));
        key.copied().ok_or(Refusal::UnknownConnection)
    }
}
