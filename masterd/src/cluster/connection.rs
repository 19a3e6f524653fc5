//! Pure: no clock, no I/O, no async.
//!
//! A connection's life: pending, admitted at the first use of its token, gone. What is gone leaves nothing behind: its
//! token is unknown from then on, which refuses a second use.

use common::id::{ConnectionKey, EventSeq};
use common::wire::node::Permit;

use super::Core;
use super::input::ViewerEnd;
use super::model::{Purpose, Timer};
use super::op::socket::ConnectionProperty;
use super::op::{ClientInfo, ConnectionRole, Fact, Reason, Refusal, Reply, RequestId, ViewerId};
use super::record::{Admission, RecordKey};
use crate::limits::CLIENT_TEXT_BYTES_MAX;

/// What a client says of itself is bounded.
pub(crate) fn check_client(client: &ClientInfo) -> Result<(), Refusal> {
    if client.client_data.len() + client.platform.len() + client.ip.len() > CLIENT_TEXT_BYTES_MAX {
        return Err(Refusal::TooLong { what: "client data", max: CLIENT_TEXT_BYTES_MAX });
    }
    Ok(())
}

impl Core {
    /// The bearer's connection.
    pub(crate) fn bearer(&self, token: &str) -> Result<ConnectionKey, Refusal> {
        self.tokens.get(token).copied().ok_or(Refusal::Token)
    }

    /// The bearer's connection, which has joined.
    pub(crate) fn bearer_inside(&self, token: &str) -> Result<ConnectionKey, Refusal> {
        let key = self.bearer(token)?;
        let inside = self.connections.get(&key).is_some_and(|it| it.record.active.is_some());
        if inside { Ok(key) } else { Err(Refusal::SessionNotActive) }
    }

    /// A pending connection joins its session; the first one makes the session active.
    /// `socket` is the bearer of its WebSocket signalling.
    pub(crate) fn admit(&mut self, key: ConnectionKey, client: ClientInfo, socket: Option<String>) {
        let at = self.now.unix;
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let record = &mut connection.record;
        if let Some(secret) = &socket {
            self.tokens.insert(secret.clone(), key);
        }
        record.active = Some(Admission { at, client: client.clone(), socket, seen: EventSeq(0) });
        let joined = Fact::ParticipantJoined {
            connection: record.name.clone(),
            role: record.properties.role,
            server_data: record.properties.server_data.clone(),
            client,
        };
        let session_key = record.session;
        self.dirty.insert(RecordKey::Connection(key));
        let participants = self.participants(session_key);
        if let Some(session) = self.sessions.get_mut(&session_key) {
            session.participants_max = session.participants_max.max(participants);
            if !session.record.active {
                session.record.active = true;
                self.dirty.insert(RecordKey::Session(session_key));
            }
        }
        self.announce_home(session_key);
        self.emit(session_key, joined);
        self.watch_idle(key);
    }

    /// Says where the session runs, once for each place.
    pub(crate) fn announce_home(&mut self, session: common::id::SessionKey) {
        let Some(live) = self.sessions.get_mut(&session) else { return };
        let Some(home) = live.record.home else { return };
        if !live.record.active || live.record.announced == Some(home.node) {
            return;
        }
        live.record.announced = Some(home.node);
        self.dirty.insert(RecordKey::Session(session));
        let node = self.nodes.get(&home.node).map(|it| it.record.name.clone()).unwrap_or_default();
        self.emit(session, Fact::SessionPlaced { node });
    }

    pub(crate) fn leave_as_bearer(&mut self, req: RequestId, token: &str) {
        match self.bearer_inside(token) {
            Ok(key) => {
                self.evict(key, Reason::Disconnect);
                self.reply(req, Reply::Done);
            }
            Err(Refusal::SessionNotActive) => self.refuse(req, Refusal::UnknownConnection),
            Err(refusal) => self.refuse(req, refusal),
        }
    }

    /// Ends a connection, active or pending; the session ends with its last participant.
    pub(crate) fn evict(&mut self, key: ConnectionKey, reason: Reason) {
        let Some(connection) = self.connections.get(&key) else { return };
        let session = connection.record.session;
        let openings: Vec<_> = connection.openings.iter().copied().collect();
        for op in openings {
            self.abandon_opening(op, Refusal::Token);
        }
        self.end_participation(key, reason, ViewerEnd::ConnectionLeft);
        self.remove_connection(key);
        self.end_if_empty(session);
    }

    /// Everything that a participant sends and receives ends, then its participation.
    pub(crate) fn end_participation(&mut self, key: ConnectionKey, reason: Reason, why: ViewerEnd) {
        let Some(connection) = self.connections.get(&key) else { return };
        let Some(admission) = &connection.record.active else { return };
        let duration_ms = self.now.unix.saturating_sub(admission.at);
        let (session, name) = (connection.record.session, connection.record.name.clone());
        let endpoints: Vec<_> = connection.endpoints.iter().copied().collect();
        self.leaving = Some(key);
        for endpoint in endpoints {
            self.close_endpoint(endpoint, reason);
        }
        self.leaving = None;
        self.emit(session, Fact::ParticipantLeft { connection: name, reason, duration_ms });
        // At the end of a session its readers see that event too, before they are closed.
        if why == ViewerEnd::ConnectionLeft {
            let viewers: Vec<ViewerId> =
                self.connections.get(&key).map(|it| it.viewers.iter().copied().collect()).unwrap_or_default();
            for viewer in viewers {
                self.close_viewer(viewer, why);
            }
        }
    }

    /// Takes a connection out of all tables.
    pub(crate) fn remove_connection(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.remove(&key) else { return };
        let record = connection.record;
        self.tokens.remove(&record.token);
        if let Some(secret) = record.socket() {
            self.tokens.remove(secret);
        }
        self.connection_names.remove(&(record.session, record.name));
        if let Some(session) = self.sessions.get_mut(&record.session) {
            session.connections.remove(&key);
        }
        self.dirty.insert(RecordKey::Connection(key));
    }

    /// Starts or stops the clock of a connection that nothing holds in the session.
    pub(crate) fn watch_idle(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if connection.record.active.is_none() || connection.is_held() {
            connection.idle_since = None;
        } else if connection.idle_since.is_none() {
            connection.idle_since = Some(self.now.mono);
            self.schedule(self.settings.idle_grace, Timer::Idle(key));
        }
    }

    /// A connection's idle clock may have run out.
    pub(crate) fn expire_idle(&mut self, key: ConnectionKey) {
        let since = self.connections.get(&key).and_then(|it| it.idle_since);
        if since.is_some_and(|since| since + self.settings.idle_grace <= self.now.mono) {
            self.evict(key, Reason::NetworkDisconnect);
        }
    }

    /// The application changes what a connection may do; its client is told of what really changed.
    pub(crate) fn connection_update(
        &mut self,
        req: RequestId,
        session: &str,
        connection: &str,
        role: Option<ConnectionRole>,
        record: Option<bool>,
    ) {
        let key = match self.find_connection(session, connection) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(req, refusal),
        };
        let Some(live) = self.connections.get_mut(&key) else { return };
        let (name, session) = (live.record.name.clone(), live.record.session);
        let (active, properties) = (live.record.active.is_some(), &mut live.record.properties);
        let mut changes = Vec::new();
        if let Some(role) = role.filter(|role| *role != properties.role) {
            properties.role = role;
            changes.push(ConnectionProperty::Role(role));
        }
        if let Some(record) = record.filter(|record| *record != properties.record) {
            properties.record = record;
            changes.push(ConnectionProperty::Record(record));
        }
        if !changes.is_empty() {
            self.dirty.insert(RecordKey::Connection(key));
            self.rosters.insert(session);
        }
        if active {
            for property in changes {
                let fact = Fact::ConnectionChanged { connection: name.clone(), property };
                self.emit_to(session, Some(vec![name.clone()]), fact);
            }
            if let Some(live) = self.connections.get_mut(&key) {
                live.permitted = None;
            }
            self.permit(key);
        }
        let view = self.connection_view(key);
        self.reply(req, view.map_or(Reply::Done, |view| Reply::Connection(Box::new(view))));
    }

    /// Tells the session's node what a connection may do, once for each home of the session and each change.
    pub(crate) fn permit(&mut self, key: ConnectionKey) {
        // What it publishes when its role is taken goes on until it ends.
        let is_publishing = self.is_publishing(key);
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let session = connection.record.session;
        let Some(home) = self.sessions.get(&session).and_then(|it| it.record.home) else { return };
        if connection.permitted == Some(home.generation) {
            return;
        }
        connection.permitted = Some(home.generation);
        let publish = match connection.record.properties.role {
            ConnectionRole::Moderator | ConnectionRole::Publisher => true,
            ConnectionRole::Subscriber => is_publishing,
        };
        let permit = Permit {
            session,
            connection: key,
            generation: home.generation,
            publish_audio: publish,
            publish_video: publish,
            subscribe: true,
        };
        self.command(home.node, session, permit.into(), Purpose::Permit, None);
    }
}
