//! Pure: no clock, no I/O, no async.
//!
//! Clients with a WebSocket ([`SocketOp`]): an exact snapshot at the join, an exact continuation after a lost socket,
//! streams that outlive their peer connections, moderation.

use std::sync::Arc;

use common::id::{ConnectionKey, EndpointKey, EventSeq, Generation, NodeKey, SessionKey, StreamKey};
use common::wire::node::{EndpointAnswer, EndpointKind, NodeError, OpResult, Ready, SdpRequest, SlotBind};

use super::Core;
use super::endpoint::{KINDS, Wish};
use super::event::may_see;
use super::input::ViewerEnd;
use super::model::{Opening, Purpose, Turn, Viewer};
use super::names;
use super::op::socket::{JoinedView, SocketOp, StreamProperty};
use super::op::{
    ClientInfo, ConnectionRole, ConnectionView, Event, Fact, PublishOptions, Reason, Refusal, Reply,
    RequestId, ViewerId,
};
use super::record::{RecordKey, SPATIAL_MAX};
use crate::limits::{CLIENT_TEXT_BYTES_MAX, VIEWERS_MAX};

impl Core {
    /// Carries out an operation of a WebSocket client.
    pub(crate) fn socket(&mut self, req: RequestId, bearer: &str, op: SocketOp) {
        let done = match self.begin_socket(req, bearer, op) {
            Ok(None) => Ok(()),
            Ok(Some(op)) => {
                self.bearer_inside(bearer).and_then(|connection| self.socket_inside(req, connection, op))
            }
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = done {
            self.refuse(req, refusal);
        }
    }

    /// Joins or resumes; gives back any other operation.
    fn begin_socket(
        &mut self,
        req: RequestId,
        bearer: &str,
        op: SocketOp,
    ) -> Result<Option<SocketOp>, Refusal> {
        if let SocketOp::Join { viewer, session, client } = op {
            self.join(req, bearer, viewer, &session, client)?;
            return Ok(None);
        }
        if let SocketOp::Resume { viewer } = op {
            self.resume(req, bearer, viewer)?;
            return Ok(None);
        }
        Ok(Some(op))
    }

    fn socket_inside(&mut self, req: RequestId, key: ConnectionKey, op: SocketOp) -> Result<(), Refusal> {
        match op {
            // They begin a socket's work and are dealt with above.
            SocketOp::Join { .. } | SocketOp::Resume { .. } => return Err(Refusal::Token),
            SocketOp::Subscribe { stream, offer } => return self.subscribe_alone(req, key, stream, offer),
            SocketOp::Answer { stream, answer } => return self.answer(req, key, &stream, answer),
            SocketOp::Republish { offer } => return self.republish(req, key, offer),
            SocketOp::Candidates { owner, fragment } => {
                let endpoint = self.endpoint_towards(key, &owner)?;
                self.pass_candidates(req, endpoint, fragment);
                return Ok(());
            }
            SocketOp::ForceDisconnect { connection } => {
                let evicted = self.moderated(key, &connection)?;
                self.evict(evicted, Reason::ForceDisconnectByUser);
            }
            SocketOp::ForceUnpublish { stream } => {
                let endpoint = self.moderated_stream(key, &stream)?;
                self.close_endpoint(endpoint, Reason::ForceUnpublishByUser);
            }
            SocketOp::Seen { seq } => self.note_seen(key, seq),
            SocketOp::Unsubscribe { owner } => self.unsubscribe_from(key, &owner)?,
            SocketOp::Unpublish => {
                let endpoint = self.own_publication(key)?;
                self.close_endpoint(endpoint, Reason::Unpublish);
            }
            SocketOp::ChangeStream { property, reason } => self.change_stream(key, property, reason)?,
        }
        self.reply(req, Reply::Done);
        Ok(())
    }

    fn join(
        &mut self,
        req: RequestId,
        token: &str,
        viewer: ViewerId,
        session: &str,
        client: ClientInfo,
    ) -> Result<(), Refusal> {
        let session = *self.session_names.get(session).ok_or(Refusal::UnknownSession)?;
        let key = self.bearer(token)?;
        let unused = self
            .connections
            .get(&key)
            .is_some_and(|it| it.record.session == session && it.record.active.is_none());
        // A join by REST under way will use the token.
        if !unused || self.connections.get(&key).is_some_and(|it| !it.openings.is_empty()) {
            return Err(Refusal::Token);
        }
        super::connection::check_client(&client)?;
        if self.viewers.len() >= VIEWERS_MAX {
            return Err(Refusal::Limit { limit: "event streams" });
        }
        self.ensure_home(session)?;
        let secret = loop {
            let secret = names::socket(&mut self.rng);
            if !self.tokens.contains_key(&secret) {
                break secret;
            }
        };
        self.admit(key, client, Some(secret.clone()));
        self.permit(key);
        let head = self.logs.get(&session).map_or(EventSeq(0), |log| log.head);
        let connection = self.connection_view(key).ok_or(Refusal::Token)?;
        let others = self.others(session, key);
        let recording = self.recording_notice(session, connection.properties.role);
        self.attach_socket(key, viewer);
        self.note_seen(key, head);
        let view = JoinedView { connection, secret, others, recording, head };
        self.reply(req, Reply::Joined(Box::new(view)));
        Ok(())
    }

    /// Everybody else in the session.
    fn others(&self, session: SessionKey, key: ConnectionKey) -> Vec<ConnectionView> {
        let all = self.connections_in_order(session).into_iter();
        all.filter(|it| *it != key)
            .filter_map(|it| self.connection_view(it))
            .filter(|it| it.active_at.is_some())
            .collect()
    }

    /// The reader of a connection's WebSocket, which holds it in its session.
    fn attach_socket(&mut self, key: ConnectionKey, viewer: ViewerId) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let session = connection.record.session;
        connection.viewers.insert(viewer);
        connection.socket = Some(viewer);
        connection.note_held();
        let name = connection.record.name.clone();
        if let Some(log) = self.logs.get_mut(&session) {
            log.viewers.insert(viewer);
        }
        self.viewers.insert(viewer, Viewer { session, connection: Some((key, name)) });
    }

    fn resume(&mut self, req: RequestId, secret: &str, viewer: ViewerId) -> Result<(), Refusal> {
        let key = self.bearer_inside(secret)?;
        let connection = self.connections.get(&key).ok_or(Refusal::Token)?;
        let admission = connection.record.active.as_ref().ok_or(Refusal::Token)?;
        if admission.socket.as_deref() != Some(secret) {
            return Err(Refusal::Token);
        }
        if self.viewers.len() >= VIEWERS_MAX {
            return Err(Refusal::Limit { limit: "event streams" });
        }
        let (seen, name) = (admission.seen, connection.record.name.clone());
        let (session, present) = (connection.record.session, connection.socket);
        let log = self.logs.get(&session).ok_or(Refusal::Missed)?;
        let head = log.head;
        let first = log.events.front().map_or_else(|| head.next(), |event| event.seq);
        if seen.next() < first {
            return Err(Refusal::Missed);
        }
        let reader = Viewer { session, connection: Some((key, name.clone())) };
        let backlog: Vec<Arc<Event>> =
            log.events.iter().filter(|it| it.seq > seen && may_see(it, &reader)).map(Arc::clone).collect();
        if let Some(present) = present {
            self.close_viewer(present, ViewerEnd::Replaced);
        }
        self.attach_socket(key, viewer);
        self.reply(req, Reply::Resumed { connection: name, backlog, head });
        Ok(())
    }

    fn note_seen(&mut self, key: ConnectionKey, seq: EventSeq) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let Some(admission) = connection.record.active.as_mut() else { return };
        let head = self.logs.get(&connection.record.session).map_or(EventSeq(0), |log| log.head);
        if seq > admission.seen && seq <= head {
            admission.seen = seq;
            self.lazy.insert(RecordKey::Connection(key));
            self.schedule_flush();
        }
    }

    /// The connection's own publication.
    fn own_publication(&self, key: ConnectionKey) -> Result<EndpointKey, Refusal> {
        let endpoints = self.connections.get(&key).map(|it| &it.endpoints);
        let publishes =
            |it: &&EndpointKey| self.endpoints.get(it).is_some_and(|it| it.record.publication.is_some());
        endpoints.into_iter().flatten().find(publishes).copied().ok_or(Refusal::UnknownStream)
    }

    /// The connection of a name in the same session, which has joined.
    fn neighbour(&self, key: ConnectionKey, name: &str) -> Result<ConnectionKey, Refusal> {
        let session = self.connections.get(&key).map(|it| it.record.session).ok_or(Refusal::Token)?;
        let other = self.connection_names.get(&(session, name.to_owned())).copied();
        other
            .filter(|it| self.connections.get(it).is_some_and(|it| it.record.active.is_some()))
            .ok_or(Refusal::UnknownConnection)
    }

    /// The newest endpoint by which a connection receives a stream on its own.
    fn pair(&self, key: ConnectionKey, stream: StreamKey) -> Option<EndpointKey> {
        let endpoints = self.connections.get(&key).map(|it| &it.endpoints)?;
        let receives = |it: &&EndpointKey| {
            self.endpoints.get(it).is_some_and(|it| it.record.kind == EndpointKind::Pair { stream })
        };
        endpoints.iter().rev().find(receives).copied()
    }

    /// The endpoint that candidates for `owner` are meant for.
    fn endpoint_towards(&self, key: ConnectionKey, owner: &str) -> Result<EndpointKey, Refusal> {
        if self.connections.get(&key).is_some_and(|it| it.record.name == owner) {
            return self.own_publication(key);
        }
        let publication = self.own_publication(self.neighbour(key, owner)?)?;
        let stream = self.endpoints.get(&publication).and_then(|it| it.record.publication.as_ref());
        let stream = stream.ok_or(Refusal::UnknownStream)?.stream;
        self.pair(key, stream).ok_or(Refusal::UnknownResource)
    }

    fn subscribe_alone(
        &mut self,
        req: RequestId,
        key: ConnectionKey,
        stream: String,
        offer: Option<String>,
    ) -> Result<(), Refusal> {
        let owner = self.neighbour(key, owner_of(&stream))?;
        if owner == key {
            return Err(Refusal::UnknownStream);
        }
        let sdp = offer.map_or(SdpRequest::MakeOffer, SdpRequest::Offer);
        self.begin_opening(req, key, Wish::Subscribe(stream), sdp, ClientInfo::default())
    }

    /// A new endpoint receives its stream, or, while `offered`, will when the client answers: others of the connection
    /// for the same stream end, without a word.
    pub(crate) fn close_predecessors(&mut self, key: EndpointKey, offered: bool) {
        let Some(record) = self.endpoints.get(&key).map(|it| &it.record) else { return };
        let kind = record.kind;
        let endpoints = self.connections.get(&record.connection).map(|it| &it.endpoints);
        let older: Vec<EndpointKey> = endpoints
            .into_iter()
            .flatten()
            .copied()
            .filter(|it| *it != key)
            .filter(|it| {
                let it = self.endpoints.get(it).map(|it| &it.record);
                it.is_some_and(|it| it.kind == kind && (!offered || it.offered))
            })
            .collect();
        for endpoint in older {
            self.close_endpoint(endpoint, Reason::Unsubscribe);
        }
    }

    fn answer(
        &mut self,
        req: RequestId,
        key: ConnectionKey,
        stream: &str,
        answer: String,
    ) -> Result<(), Refusal> {
        self.neighbour(key, owner_of(stream))?;
        let session = self.connections.get(&key).map(|it| it.record.session).ok_or(Refusal::Token)?;
        let stream = self.find_stream(session, stream).ok_or(Refusal::UnknownStream)?;
        let endpoint = self.pair(key, stream).ok_or(Refusal::UnknownResource)?;
        let record = self.endpoints.get(&endpoint).map(|it| &it.record).ok_or(Refusal::UnknownResource)?;
        let home = self.sessions.get(&session).and_then(|it| it.record.home).ok_or(Refusal::NodeSilent)?;
        if self.is_busy(home.node) {
            return Err(Refusal::Node(NodeError::Busy));
        }
        let message = EndpointAnswer { session, endpoint, generation: record.generation, sdp: answer };
        let give_up_at = Some(self.now.mono + self.settings.command_timeout);
        self.command(home.node, session, message.into(), Purpose::Answer { req, endpoint }, give_up_at);
        Ok(())
    }

    /// A node has taken in the client's answer: the stream is received.
    pub(crate) fn answer_taken(&mut self, req: RequestId, key: EndpointKey, result: OpResult) {
        let kind = self.endpoints.get(&key).map(|it| it.record.kind);
        match (result, kind) {
            (OpResult::Err(error), _) => {
                self.close_endpoint(key, Reason::Unsubscribe);
                self.refuse(req, Refusal::Node(error));
            }
            (OpResult::Ok | OpResult::Ready(_) | OpResult::State(_), Some(EndpointKind::Pair { stream })) => {
                if let Some(endpoint) = self.endpoints.get_mut(&key) {
                    endpoint.record.offered = false;
                    self.dirty.insert(RecordKey::Endpoint(key));
                }
                self.subscribe(key, stream);
                self.close_predecessors(key, false);
                self.reply(req, Reply::Done);
            }
            (OpResult::Ok | OpResult::Ready(_) | OpResult::State(_), _) => {
                self.refuse(req, Refusal::UnknownResource);
            }
        }
    }

    fn unsubscribe_from(&mut self, key: ConnectionKey, owner: &str) -> Result<(), Refusal> {
        let publication = self.own_publication(self.neighbour(key, owner)?)?;
        let stream = self.endpoints.get(&publication).and_then(|it| it.record.publication.as_ref());
        let stream = stream.ok_or(Refusal::UnknownStream)?.stream;
        while let Some(endpoint) = self.pair(key, stream) {
            self.close_endpoint(endpoint, Reason::Unsubscribe);
        }
        Ok(())
    }

    fn republish(&mut self, req: RequestId, key: ConnectionKey, offer: String) -> Result<(), Refusal> {
        let endpoint = self.own_publication(key)?;
        let record = self.endpoints.get(&endpoint).map(|it| &it.record).ok_or(Refusal::UnknownStream)?;
        let session = record.session;
        let home = self.sessions.get(&session).and_then(|it| it.record.home).ok_or(Refusal::NodeSilent)?;
        if self.is_busy(home.node) {
            return Err(Refusal::Node(NodeError::Busy));
        }
        let opening = Opening {
            req,
            connection: key,
            endpoint,
            generation: record.generation.max(Generation(self.keys.base())).next(),
            kind: record.kind,
            client: ClientInfo::default(),
            media: PublishOptions::default(),
            attempts: 1,
            turn: Turn::Renew,
        };
        let give_up_at = self.now.mono + self.settings.command_timeout;
        self.send_opening(home.node, session, opening, SdpRequest::Offer(offer), give_up_at);
        Ok(())
    }

    /// A node has another peer connection for a stream: its receivers are pointed at it.
    pub(crate) fn renewed(&mut self, node: NodeKey, session: SessionKey, opening: &Opening, ready: Ready) {
        let link = self.nodes.get(&node).map_or(0, |it| it.links);
        let Some(endpoint) = self.endpoints.get_mut(&opening.endpoint) else {
            // It was closed meanwhile, and so it is at the node: that command came later.
            return self.refuse(opening.req, Refusal::UnknownStream);
        };
        endpoint.record.generation = endpoint.record.generation.max(opening.generation);
        endpoint.record.lost = false;
        endpoint.confirmed_link = link;
        self.dirty.insert(RecordKey::Endpoint(opening.endpoint));
        if let EndpointKind::Publish { stream } = opening.kind {
            for receiver in self.receivers(session, stream) {
                self.point_at(receiver, stream);
            }
        }
        let view = self.endpoint_view(opening.endpoint, ready.sdp);
        let refused = Reply::Refused(Refusal::UnknownStream);
        self.reply(opening.req, view.map_or(refused, |view| Reply::Endpoint(Box::new(view))));
    }

    /// Has the node feed a receiver from a stream that has a new source.
    fn point_at(&mut self, key: EndpointKey, stream: StreamKey) {
        let Some(record) = self.endpoints.get(&key).map(|it| &it.record).filter(|it| !it.lost) else {
            return;
        };
        match record.kind {
            EndpointKind::Publish { .. } => {}
            EndpointKind::Slots => self.rebind(key),
            EndpointKind::Pair { .. } => {
                let bind = |kind| SlotBind { slot: 0, kind, source: Some(stream), spatial_max: SPATIAL_MAX };
                self.send_bind(key, KINDS.into_iter().map(bind).collect());
            }
        }
    }

    fn change_stream(
        &mut self,
        key: ConnectionKey,
        property: StreamProperty,
        reason: String,
    ) -> Result<(), Refusal> {
        let text = match &property {
            StreamProperty::AudioActive(_) | StreamProperty::VideoActive(_) => 0,
            StreamProperty::AudioTrack(text)
            | StreamProperty::VideoDimensions(text)
            | StreamProperty::VideoTrack(text) => text.len(),
        };
        if text + reason.len() > CLIENT_TEXT_BYTES_MAX {
            return Err(Refusal::Limit { limit: "a stream property's size" });
        }
        let endpoint = self.own_publication(key)?;
        let connection = self.connections.get(&key).map(|it| it.record.name.clone()).unwrap_or_default();
        let Some(record) = self.endpoints.get_mut(&endpoint).map(|it| &mut it.record) else {
            return Err(Refusal::UnknownStream);
        };
        let session = record.session;
        let publication = record.publication.as_mut().ok_or(Refusal::UnknownStream)?;
        let options = &mut publication.options;
        match &property {
            StreamProperty::AudioActive(on) => options.audio_active = *on,
            StreamProperty::VideoActive(on) => options.video_active = *on,
            StreamProperty::VideoDimensions(text) => options.video_dimensions = Some(text.clone()),
            StreamProperty::AudioTrack(_) | StreamProperty::VideoTrack(_) => {}
        }
        let stream = publication.name.clone();
        self.dirty.insert(RecordKey::Endpoint(endpoint));
        self.rosters.insert(session);
        self.emit(session, Fact::StreamChanged { connection, stream, property, reason });
        Ok(())
    }

    fn is_moderator(&self, key: ConnectionKey) -> Result<(), Refusal> {
        match self.connections.get(&key).map(|it| it.record.properties.role) {
            Some(ConnectionRole::Moderator) => Ok(()),
            Some(ConnectionRole::Publisher | ConnectionRole::Subscriber) | None => Err(Refusal::Role),
        }
    }

    fn moderated(&self, key: ConnectionKey, connection: &str) -> Result<ConnectionKey, Refusal> {
        self.is_moderator(key)?;
        self.neighbour(key, connection)
    }

    fn moderated_stream(&self, key: ConnectionKey, stream: &str) -> Result<EndpointKey, Refusal> {
        self.is_moderator(key)?;
        let session = self.connections.get(&key).map(|it| it.record.session).ok_or(Refusal::Token)?;
        let stream = self.find_stream(session, stream).ok_or(Refusal::UnknownStream)?;
        self.sessions
            .get(&session)
            .and_then(|it| it.streams.get(&stream))
            .copied()
            .ok_or(Refusal::UnknownStream)
    }
}

/// Name of the connection that a stream's name ends with: `str_CAM_Ab3X_con_...`.
fn owner_of(stream: &str) -> &str {
    stream.splitn(4, '_').nth(3).unwrap_or_default()
}
