//! Pure: no clock, no I/O, no async.
//!
//! Media resources: opened at the node first, then, with its answer, everything at once: the connection's admission,
//! the endpoint, the stream, its events, in one commit. A join that fails or that masterd does not survive has left
//! no trace but a node that is told to close (or finds an orphan).

use std::collections::BTreeMap;

use common::id::{ConnectionKey, EndpointKey, Generation, NodeKey, OpId, SessionKey, StreamKey};
use common::wire::node::{
    Candidates, EndpointClose, EndpointKind, EndpointOpen, MediaKind, NodeError, OpResult, Ready, SdpRequest,
};

use super::Core;
use super::model::{Endpoint, Opening, Purpose, Turn};
use super::names;
use super::op::{
    ClientInfo, ConnectionRole, EndpointView, Fact, PublishOptions, Reason, Refusal, Reply, RequestId,
};
use super::record::{EndpointRecord, Publication, RecordKey, Section};
use crate::limits::{CLIENT_TEXT_BYTES_MAX, COMMANDS_PER_NODE_MAX, ENDPOINTS_PER_CONNECTION_MAX};

/// What a bearer wants to open.
pub(crate) enum Wish {
    Publish(PublishOptions),
    PlaySession,
    PlayStream(String),
    /// Receive one stream over a WebSocket client's own peer connection.
    Subscribe(String),
}

impl Core {
    /// Publishes or plays: asks the session's node, which the session gets by its first join.
    pub(crate) fn open(
        &mut self,
        req: RequestId,
        token: &str,
        wish: Wish,
        offer: String,
        client: ClientInfo,
    ) {
        if let Err(refusal) = self.try_open(req, token, wish, offer, client) {
            self.refuse(req, refusal);
        }
    }

    fn try_open(
        &mut self,
        req: RequestId,
        token: &str,
        wish: Wish,
        offer: String,
        client: ClientInfo,
    ) -> Result<(), Refusal> {
        let connection = self.bearer(token)?;
        super::connection::check_client(&client)?;
        self.begin_opening(req, connection, wish, SdpRequest::Offer(offer), client)
    }

    /// Asks the session's node for a media resource of a connection.
    pub(crate) fn begin_opening(
        &mut self,
        req: RequestId,
        connection: ConnectionKey,
        wish: Wish,
        sdp: SdpRequest,
        client: ClientInfo,
    ) -> Result<(), Refusal> {
        let session = self.check_open(connection, &wish)?;
        let kind = match &wish {
            Wish::Publish(_) => EndpointKind::Publish { stream: StreamKey(self.keys.next()) },
            Wish::PlaySession => EndpointKind::Slots,
            Wish::PlayStream(name) | Wish::Subscribe(name) => {
                EndpointKind::Pair { stream: self.find_stream(session, name).ok_or(Refusal::UnknownStream)? }
            }
        };
        let turn = match &wish {
            Wish::Subscribe(_) => Turn::Replace { offered: sdp == SdpRequest::MakeOffer },
            Wish::PlaySession | Wish::PlayStream(_) | Wish::Publish(_) => Turn::New,
        };
        let media = match wish {
            Wish::Publish(options) => options,
            Wish::PlaySession | Wish::PlayStream(_) | Wish::Subscribe(_) => PublishOptions::default(),
        };
        let node = self.ensure_home(session)?;
        if self.is_busy(node) {
            self.end_if_empty(session);
            return Err(Refusal::Node(NodeError::Busy));
        }
        let opening = Opening {
            req,
            connection,
            endpoint: EndpointKey(self.keys.next()),
            generation: Generation(self.keys.base()).next(),
            kind,
            client,
            media,
            attempts: 1,
            turn,
        };
        let give_up_at = self.now.mono + self.settings.command_timeout;
        self.send_opening(node, session, opening, sdp, give_up_at);
        Ok(())
    }

    /// A node has too many commands to answer.
    pub(crate) fn is_busy(&self, node: NodeKey) -> bool {
        self.nodes.get(&node).is_none_or(|it| it.commands.len() >= COMMANDS_PER_NODE_MAX)
    }

    fn check_open(&self, key: ConnectionKey, wish: &Wish) -> Result<SessionKey, Refusal> {
        let connection = self.connections.get(&key).ok_or(Refusal::Token)?;
        if connection.endpoints.len() + connection.openings.len() >= ENDPOINTS_PER_CONNECTION_MAX {
            return Err(Refusal::Limit { limit: "media resources of one connection" });
        }
        if let Wish::Publish(options) = wish {
            match connection.record.properties.role {
                ConnectionRole::Moderator | ConnectionRole::Publisher => {}
                ConnectionRole::Subscriber => return Err(Refusal::Role),
            }
            if self.is_publishing(key) {
                return Err(Refusal::AlreadyPublishing);
            }
            let dimensions = options.video_dimensions.as_ref().map_or(0, String::len);
            if dimensions + options.type_of_video.len() > CLIENT_TEXT_BYTES_MAX {
                return Err(Refusal::TooLong { what: "publish options", max: CLIENT_TEXT_BYTES_MAX });
            }
        }
        Ok(connection.record.session)
    }

    /// The connection has a stream or is about to have one.
    pub(crate) fn is_publishing(&self, key: ConnectionKey) -> bool {
        let Some(connection) = self.connections.get(&key) else { return false };
        let open =
            connection.endpoints.iter().filter_map(|it| self.endpoints.get(it)).map(|it| it.record.kind);
        let opening = connection.openings.iter().filter_map(|op| match &self.commands.get(op)?.purpose {
            Purpose::Open(opening) => Some(opening.kind),
            Purpose::Answer { .. }
            | Purpose::Bind { .. }
            | Purpose::Close
            | Purpose::Job { .. }
            | Purpose::Permit
            | Purpose::SessionOpen
            | Purpose::Trickle { .. } => None,
        });
        open.chain(opening).any(|kind| matches!(kind, EndpointKind::Publish { .. }))
    }

    /// Asks a node to open; also used to try another node.
    pub(crate) fn send_opening(
        &mut self,
        node: NodeKey,
        session: SessionKey,
        opening: Opening,
        sdp: SdpRequest,
        give_up_at: std::time::Duration,
    ) {
        let connection = opening.connection;
        self.permit(connection);
        let message = EndpointOpen {
            session,
            connection,
            endpoint: opening.endpoint,
            generation: opening.generation,
            kind: opening.kind,
            sdp,
            ext: Vec::new(),
        };
        let op =
            self.command(node, session, message.into(), Purpose::Open(Box::new(opening)), Some(give_up_at));
        if let Some(session) = self.sessions.get_mut(&session) {
            session.openings.insert(op);
        }
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.openings.insert(op);
            connection.note_held();
        }
    }

    /// Takes an opening's operation, answered or given up, out of the tables.
    pub(crate) fn forget_opening(&mut self, session: SessionKey, connection: ConnectionKey) {
        let commands = &self.commands;
        if let Some(session) = self.sessions.get_mut(&session) {
            session.openings.retain(|op| commands.contains_key(op));
        }
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.openings.retain(|op| commands.contains_key(op));
        }
    }

    /// What an opening was for is gone: it is refused now, and the node closes what it may have opened.
    pub(crate) fn abandon_opening(&mut self, op: OpId, refusal: Refusal) {
        let Some(command) = self.drop_command(op) else { return };
        let Purpose::Open(opening) = command.purpose else { return };
        self.forget_opening(command.session, opening.connection);
        self.close_at_node(command.node, command.session, opening.endpoint, opening.generation);
        self.refuse(opening.req, refusal);
    }

    /// An opening came to nothing: all as it was before.
    pub(crate) fn opening_failed(&mut self, session: SessionKey, opening: &Opening, refusal: Refusal) {
        self.forget_opening(session, opening.connection);
        if refusal == Refusal::NodeSilent
            && opening.turn != Turn::Renew
            && let Some(home) = self.sessions.get(&session).and_then(|it| it.record.home)
        {
            self.close_at_node(home.node, session, opening.endpoint, opening.generation);
        }
        self.refuse(opening.req, refusal);
        self.watch_idle(opening.connection);
        self.end_if_empty(session);
    }

    fn close_at_node(
        &mut self,
        node: NodeKey,
        session: SessionKey,
        endpoint: EndpointKey,
        generation: Generation,
    ) {
        let message = EndpointClose { session, endpoint, generation };
        self.command(node, session, message.into(), Purpose::Close, None);
    }

    /// A node has opened an endpoint: the join takes effect.
    pub(crate) fn opened(&mut self, node: NodeKey, session: SessionKey, opening: Opening, ready: Ready) {
        self.forget_opening(session, opening.connection);
        if opening.turn == Turn::Renew {
            return self.renewed(node, session, &opening, ready);
        }
        let gone = match opening.kind {
            EndpointKind::Pair { stream } => self.stream_name(session, stream).is_none(),
            EndpointKind::Publish { .. } | EndpointKind::Slots => false,
        };
        if gone {
            self.close_at_node(node, session, opening.endpoint, opening.generation);
            self.refuse(opening.req, Refusal::UnknownStream);
            self.watch_idle(opening.connection);
            return self.end_if_empty(session);
        }
        if self.connections.get(&opening.connection).is_some_and(|it| it.record.active.is_none()) {
            self.admit(opening.connection, opening.client.clone(), None);
        }
        self.announce_home(session);
        let key = opening.endpoint;
        let req = opening.req;
        let link = self.nodes.get(&node).map_or(0, |it| it.links);
        self.insert_endpoint(session, opening, &ready, link);
        let view = self.endpoint_view(key, ready.sdp);
        self.reply(req, view.map_or(Reply::Refused(Refusal::Token), |view| Reply::Endpoint(Box::new(view))));
    }

    fn insert_endpoint(&mut self, session: SessionKey, opening: Opening, ready: &Ready, link: u64) {
        let now = self.now.unix;
        let turn = opening.turn;
        let name = self.connections.get(&opening.connection).map(|it| it.record.name.clone());
        let connection = name.unwrap_or_default();
        let sections = |count: u16| match opening.kind {
            EndpointKind::Slots => {
                vec![Section::default(); usize::from(count).min(common::limits::SLOTS_PER_ENDPOINT_MAX)]
            }
            EndpointKind::Pair { .. } | EndpointKind::Publish { .. } => Vec::new(),
        };
        let publication = match opening.kind {
            EndpointKind::Publish { stream } => Some(Publication {
                stream,
                name: names::stream(&mut self.rng, &opening.media, ready.video > 0, &connection),
                published_at: now,
                has_audio: ready.audio > 0,
                has_video: ready.video > 0,
                options: opening.media,
            }),
            EndpointKind::Pair { .. } | EndpointKind::Slots => None,
        };
        let record = EndpointRecord {
            session,
            connection: opening.connection,
            kind: opening.kind,
            resource: names::resource(&mut self.rng),
            version: 1,
            generation: opening.generation,
            publication,
            audio: sections(ready.audio),
            video: sections(ready.video),
            pins: BTreeMap::new(),
            layers: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            offered: turn == Turn::Replace { offered: true },
            lost: false,
        };
        self.resources.insert(record.resource.clone(), opening.endpoint);
        self.dirty.insert(RecordKey::Endpoint(opening.endpoint));
        self.endpoints.insert(opening.endpoint, Endpoint { record, confirmed_link: link });
        self.attach_endpoint(opening.endpoint);
        self.announce_endpoint(opening.endpoint, &connection);
        if let Turn::Replace { offered } = turn {
            self.close_predecessors(opening.endpoint, offered);
        }
    }

    /// Enters an endpoint into the tables of its connection and session; also after a restart.
    pub(crate) fn attach_endpoint(&mut self, key: EndpointKey) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        let record = &endpoint.record;
        if let Some(connection) = self.connections.get_mut(&record.connection) {
            connection.endpoints.insert(key);
            connection.note_held();
        }
        let Some(session) = self.sessions.get_mut(&record.session) else { return };
        match record.kind {
            EndpointKind::Publish { stream } => {
                session.streams.insert(stream, key);
            }
            EndpointKind::Slots => {
                session.players.insert(key);
            }
            EndpointKind::Pair { .. } => {}
        }
    }

    /// The events of a new endpoint.
    fn announce_endpoint(&mut self, key: EndpointKey, connection: &str) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        let session = endpoint.record.session;
        match endpoint.record.kind {
            EndpointKind::Publish { .. } => {
                let Some(publication) = endpoint.record.publication.clone() else { return };
                let published = Fact::Published {
                    connection: connection.to_owned(),
                    stream: publication.name,
                    has_audio: publication.has_audio,
                    has_video: publication.has_video,
                    options: publication.options,
                };
                self.emit(session, published);
                self.refill_session(session);
                self.stream_published(session);
            }
            EndpointKind::Slots => {
                self.refills.insert(key);
            }
            // With our offer it begins by the answer.
            EndpointKind::Pair { .. } if endpoint.record.offered => {}
            EndpointKind::Pair { stream } => self.subscribe(key, stream),
        }
    }

    pub(crate) fn trickle(
        &mut self,
        req: RequestId,
        token: &str,
        resource: &str,
        etag: Option<&str>,
        fragment: String,
    ) {
        let key = match self.find_resource(token, resource) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(req, refusal),
        };
        let Some(record) = self.endpoints.get(&key).map(|it| &it.record) else { return };
        if etag.is_some_and(|etag| etag != "*" && etag != show_etag(record.version)) {
            return self.refuse(req, Refusal::StaleResource);
        }
        self.pass_candidates(req, key, fragment);
    }

    /// Gives a client's fragment to the node.
    pub(crate) fn pass_candidates(&mut self, req: RequestId, key: EndpointKey, fragment: String) {
        let Some(record) = self.endpoints.get(&key).map(|it| &it.record) else { return };
        let (session, generation) = (record.session, record.generation);
        let Some(home) = self.sessions.get(&session).and_then(|it| it.record.home) else {
            return self.refuse(req, Refusal::NodeSilent);
        };
        if self.is_busy(home.node) {
            return self.refuse(req, Refusal::Node(NodeError::Busy));
        }
        let message = Candidates { session, endpoint: key, generation, fragment };
        let give_up_at = Some(self.now.mono + self.settings.command_timeout);
        self.command(home.node, session, message.into(), Purpose::Trickle { req, endpoint: key }, give_up_at);
    }

    /// A node has taken in a fragment.
    pub(crate) fn trickled(&mut self, req: RequestId, key: EndpointKey, result: OpResult) {
        match result {
            OpResult::Ok | OpResult::State(_) => self.reply(req, Reply::Done),
            OpResult::Err(error) => self.refuse(req, Refusal::Node(error)),
            OpResult::Ready(ready) => {
                let Some(endpoint) = self.endpoints.get_mut(&key) else {
                    return self.refuse(req, Refusal::UnknownResource);
                };
                endpoint.record.version += 1;
                let etag = show_etag(endpoint.record.version);
                self.dirty.insert(RecordKey::Endpoint(key));
                self.reply(req, Reply::Fragment { sdp: ready.sdp, etag });
            }
        }
    }

    pub(crate) fn endpoint_delete(&mut self, req: RequestId, token: &str, resource: &str) {
        let key = match self.find_resource(token, resource) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(req, refusal),
        };
        let reason = match self.endpoints.get(&key).map(|it| it.record.kind) {
            Some(EndpointKind::Publish { .. }) => Reason::Unpublish,
            Some(EndpointKind::Pair { .. } | EndpointKind::Slots) | None => Reason::Unsubscribe,
        };
        self.close_endpoint(key, reason);
        self.reply(req, Reply::Done);
    }

    pub(crate) fn arrange_slots(
        &mut self,
        req: RequestId,
        token: &str,
        resource: &str,
        pins: Option<&[(u16, String)]>,
        layers: Option<&[(u16, u8)]>,
    ) {
        match self.try_arrange_slots(token, resource, pins, layers) {
            Ok(()) => self.reply(req, Reply::Done),
            Err(refusal) => self.refuse(req, refusal),
        }
    }

    fn try_arrange_slots(
        &mut self,
        token: &str,
        resource: &str,
        pins: Option<&[(u16, String)]>,
        layers: Option<&[(u16, u8)]>,
    ) -> Result<(), Refusal> {
        let key = self.find_resource(token, resource)?;
        let record = &self.endpoints.get(&key).ok_or(Refusal::UnknownResource)?.record;
        let slots = match record.kind {
            EndpointKind::Pair { .. } => 1,
            EndpointKind::Publish { .. } => 0,
            EndpointKind::Slots => record.video.len(),
        };
        if layers.unwrap_or_default().iter().any(|(slot, _)| usize::from(*slot) >= slots) {
            return Err(Refusal::Limit { limit: "video slots of the resource" });
        }
        // All or nothing: what is wrong with the pins leaves the layers as they were.
        if let Some(pins) = pins {
            self.pin(key, pins)?;
        }
        if let Some(layers) = layers {
            self.set_layers(key, layers.iter().copied().collect());
        }
        Ok(())
    }

    fn pin(&mut self, key: EndpointKey, pins: &[(u16, String)]) -> Result<(), Refusal> {
        let record = &self.endpoints.get(&key).ok_or(Refusal::UnknownResource)?.record;
        let mut wanted = BTreeMap::new();
        for (slot, name) in pins {
            let stream = self.find_stream(record.session, name).ok_or(Refusal::UnknownStream)?;
            if usize::from(*slot) >= record.video.len() {
                return Err(Refusal::Limit { limit: "video slots of the resource" });
            }
            // A stream is shown once: its later pin stands.
            wanted.retain(|_, it| *it != stream);
            wanted.insert(*slot, stream);
        }
        if let Some(endpoint) = self.endpoints.get_mut(&key) {
            endpoint.record.pins = wanted;
        }
        self.dirty.insert(RecordKey::Endpoint(key));
        self.refills.insert(key);
        Ok(())
    }

    /// The node does not have an endpoint any more. A client with a WebSocket makes another peer connection for it;
    /// every other endpoint ends.
    pub(crate) fn endpoint_lost(&mut self, key: EndpointKey, reason: Reason) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        let record = &mut endpoint.record;
        let by_socket =
            self.connections.get(&record.connection).is_some_and(|it| it.record.socket().is_some());
        let renewable = match record.kind {
            EndpointKind::Pair { .. } | EndpointKind::Publish { .. } => !record.offered,
            EndpointKind::Slots => false,
        };
        if !(by_socket && renewable) {
            return self.endpoint_gone(key, reason);
        }
        record.lost = true;
        self.dirty.insert(RecordKey::Endpoint(key));
    }

    fn find_resource(&self, token: &str, resource: &str) -> Result<EndpointKey, Refusal> {
        let connection = self.bearer(token)?;
        let key = self.resources.get(resource).copied().ok_or(Refusal::UnknownResource)?;
        let ours = self.endpoints.get(&key).is_some_and(|it| it.record.connection == connection);
        if ours { Ok(key) } else { Err(Refusal::UnknownResource) }
    }

    /// Ends an endpoint on our decision: the node is told.
    pub(crate) fn close_endpoint(&mut self, key: EndpointKey, reason: Reason) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        let (session, generation) = (endpoint.record.session, endpoint.record.generation);
        if let Some(home) = self.sessions.get(&session).and_then(|it| it.record.home) {
            self.close_at_node(home.node, session, key, generation);
        }
        self.endpoint_gone(key, reason);
    }

    /// An endpoint is no more: its stream or its subscriptions end with it.
    pub(crate) fn endpoint_gone(&mut self, key: EndpointKey, reason: Reason) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        let (session, connection) = (endpoint.record.session, endpoint.record.connection);
        let subscribed: Vec<StreamKey> = endpoint.record.subscribed.keys().copied().collect();
        for stream in subscribed {
            self.unsubscribe(key, stream, reason);
        }
        if let Some(publication) = self.endpoints.get(&key).and_then(|it| it.record.publication.clone()) {
            self.unpublish(session, connection, &publication, reason);
        }
        self.detach_endpoint(key);
        self.watch_idle(connection);
    }

    fn detach_endpoint(&mut self, key: EndpointKey) {
        let Some(endpoint) = self.endpoints.remove(&key) else { return };
        let record = endpoint.record;
        self.resources.remove(&record.resource);
        self.refills.remove(&key);
        if let Some(connection) = self.connections.get_mut(&record.connection) {
            connection.endpoints.remove(&key);
        }
        if let Some(session) = self.sessions.get_mut(&record.session) {
            session.players.remove(&key);
        }
        self.dirty.insert(RecordKey::Endpoint(key));
        let stale: Vec<OpId> = self
            .commands_of(record.session)
            .filter(|(_, purpose)| match purpose {
                Purpose::Answer { endpoint, .. }
                | Purpose::Bind { endpoint }
                | Purpose::Trickle { endpoint, .. } => *endpoint == key,
                Purpose::Close
                | Purpose::Job { .. }
                | Purpose::Open(_)
                | Purpose::Permit
                | Purpose::SessionOpen => false,
            })
            .map(|(op, _)| op)
            .collect();
        for op in stale {
            self.fail_command(op);
        }
    }

    /// Unanswered commands of a session.
    fn commands_of(&self, session: SessionKey) -> impl Iterator<Item = (OpId, &Purpose)> {
        let node = self.sessions.get(&session).and_then(|it| it.record.home).map(|it| it.node);
        let ops = node.and_then(|node| self.nodes.get(&node)).map(|it| &it.commands);
        ops.into_iter()
            .flatten()
            .filter_map(|op| self.commands.get(op).map(|it| (*op, it)))
            .filter(move |(_, it)| it.session == session)
            .map(|(op, it)| (op, &it.purpose))
    }

    /// A stream ends: its publisher's event, then everybody's who received it.
    fn unpublish(
        &mut self,
        session: SessionKey,
        connection: ConnectionKey,
        publication: &Publication,
        reason: Reason,
    ) {
        let stream = publication.stream;
        let name = self.connections.get(&connection).map(|it| it.record.name.clone()).unwrap_or_default();
        let duration_ms = self.now.unix.saturating_sub(publication.published_at);
        let unpublished = Fact::Unpublished {
            connection: name,
            stream: publication.name.clone(),
            reason,
            duration_ms,
            leaving: self.leaving == Some(connection),
        };
        self.emit(session, unpublished);
        for receiver in self.receivers(session, stream) {
            self.unsubscribe(receiver, stream, reason);
            let pair = self
                .endpoints
                .get(&receiver)
                .is_some_and(|it| it.record.kind == EndpointKind::Pair { stream });
            if pair {
                self.close_endpoint(receiver, reason);
            } else {
                self.refills.insert(receiver);
            }
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.streams.remove(&stream);
            session.loud.retain(|it| *it != stream);
        }
        self.rosters.insert(session);
    }

    /// Endpoints that receive a stream, are about to, or have pinned it.
    pub(crate) fn receivers(&self, session: SessionKey, stream: StreamKey) -> Vec<EndpointKey> {
        let Some(session) = self.sessions.get(&session) else { return Vec::new() };
        let endpoints =
            session.connections.iter().filter_map(|it| self.connections.get(it)).flat_map(|it| &it.endpoints);
        endpoints
            .copied()
            .filter(|key| {
                self.endpoints.get(key).is_some_and(|it| {
                    it.record.subscribed.contains_key(&stream)
                        || it.record.kind == EndpointKind::Pair { stream }
                        || it.record.pins.values().any(|it| *it == stream)
                })
            })
            .collect()
    }

    pub(crate) fn endpoint_view(&self, key: EndpointKey, sdp: String) -> Option<EndpointView> {
        let record = &self.endpoints.get(&key)?.record;
        let connection = &self.connections.get(&record.connection)?.record;
        let stream = match record.kind {
            EndpointKind::Publish { stream } | EndpointKind::Pair { stream } => {
                self.stream_name(record.session, stream)
            }
            EndpointKind::Slots => None,
        };
        Some(EndpointView {
            resource: record.resource.clone(),
            etag: show_etag(record.version),
            sdp,
            session: self.sessions.get(&record.session)?.record.name.clone(),
            connection: connection.name.clone(),
            stream,
            published_at: record.publication.as_ref().map(|it| it.published_at),
            ice_servers: connection.properties.ice_servers.clone(),
        })
    }

    /// A published stream by its public name.
    pub(crate) fn find_stream(&self, session: SessionKey, name: &str) -> Option<StreamKey> {
        let session = self.sessions.get(&session)?;
        session.streams.iter().find_map(|(stream, endpoint)| {
            let publication = self.endpoints.get(endpoint)?.record.publication.as_ref()?;
            (publication.name == name).then_some(*stream)
        })
    }

    /// The endpoint that publishes a stream.
    pub(crate) fn publisher(&self, session: SessionKey, stream: StreamKey) -> Option<&EndpointRecord> {
        let endpoint = self.sessions.get(&session)?.streams.get(&stream)?;
        self.endpoints.get(endpoint).map(|it| &it.record)
    }

    pub(crate) fn stream_name(&self, session: SessionKey, stream: StreamKey) -> Option<String> {
        Some(self.publisher(session, stream)?.publication.as_ref()?.name.clone())
    }

    /// Public names of a stream and of its publisher's connection.
    pub(crate) fn stream_names(&self, session: SessionKey, stream: StreamKey) -> Option<(String, String)> {
        let record = self.publisher(session, stream)?;
        let connection = self.connections.get(&record.connection)?;
        Some((record.publication.as_ref()?.name.clone(), connection.record.name.clone()))
    }
}

/// Both kinds of sections.
pub(crate) const KINDS: [MediaKind; 2] = [MediaKind::Audio, MediaKind::Video];

/// A version of a resource as its ETag, without quotes.
fn show_etag(version: u32) -> String {
    format!("v{version}")
}
