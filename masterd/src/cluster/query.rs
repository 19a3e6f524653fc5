//! Pure: no clock, no I/O, no async.
//!
//! Questions and the views that answer them.

use std::collections::BTreeMap;

use common::id::{ConnectionKey, NodeKey, SessionKey, StreamKey};

use super::Core;
use super::endpoint::KINDS;
use super::op::{
    Actor, ConnectionView, DecisionView, NodeView, Query, Refusal, Reply, RequestId, SessionView, SlotView,
    StreamView, UnixMillis,
};
use super::record::Publication;

/// Port in a node's `uri`: mediad's QUIC port by default.
const NODE_URI_PORT: u16 = 7444;

impl Core {
    pub(crate) fn query(&mut self, req: RequestId, actor: &Actor, query: &Query) {
        let reply = match (actor, query) {
            (Actor::Bearer(token), Query::Own) => self.own(token),
            (Actor::Bearer(_), _) | (Actor::App, Query::Own) => Err(Refusal::Role),
            (Actor::App, query) => self.query_as_app(query),
        };
        self.reply(req, reply.unwrap_or_else(Reply::Refused));
    }

    fn query_as_app(&self, query: &Query) -> Result<Reply, Refusal> {
        match query {
            Query::Sessions => {
                Ok(Reply::Sessions(self.sessions.keys().filter_map(|key| self.session_view(*key)).collect()))
            }
            Query::Session { session } => {
                let key = self.session_names.get(session).ok_or(Refusal::UnknownSession)?;
                let view = self.session_view(*key).ok_or(Refusal::UnknownSession)?;
                Ok(Reply::Session(Box::new(view)))
            }
            Query::Connection { session, connection } => {
                let key = self.find_connection(session, connection)?;
                let view = self.connection_view(key).ok_or(Refusal::UnknownConnection)?;
                Ok(Reply::Connection(Box::new(view)))
            }
            Query::Recording { recording } => {
                let view = self.find_recording(recording).map(|key| self.recording_view(key))?;
                Ok(Reply::Recording(Box::new(view.ok_or(Refusal::UnknownRecording)?)))
            }
            Query::Recordings => Ok(Reply::Recordings(self.recording_views())),
            Query::Nodes => {
                Ok(Reply::Nodes(self.nodes.keys().filter_map(|key| self.node_view(*key)).collect()))
            }
            Query::Node { node } => {
                let view = self.find_node(node).and_then(|key| self.node_view(key));
                Ok(Reply::Nodes(vec![view.ok_or(Refusal::UnknownNode)?]))
            }
            Query::Decisions { session } => Ok(Reply::Decisions(self.decision_views(session.as_deref()))),
            Query::Stats => Ok(Reply::Stats(self.stats())),
            Query::Listing => Ok(Reply::Listing(Box::new(self.listing()))),
            Query::NodeDetail { node } => {
                let detail = self.node_detail(*node).ok_or(Refusal::UnknownNode)?;
                Ok(Reply::NodeDetail(Box::new(detail)))
            }
            Query::SessionParts { session } => {
                let parts = self.session_parts(*session).ok_or(Refusal::UnknownSession)?;
                Ok(Reply::SessionParts(Box::new(parts)))
            }
            Query::DecisionRows { session, most } => {
                Ok(Reply::Rows(self.decision_rows(session.as_deref(), *most)))
            }
            Query::Feed { after } => {
                let (rows, newest) = self.feed_after(*after);
                Ok(Reply::Feed(rows, newest))
            }
            Query::Recall { operator, op } => {
                let state = self.recall(operator, *op);
                Ok(Reply::Operation(state.unwrap_or(common::wire::operator::OperationState::Unknown)))
            }
            Query::Own => Err(Refusal::Role),
        }
    }

    fn own(&self, token: &str) -> Result<Reply, Refusal> {
        let key = self.bearer(token)?;
        let connection = self.connection_view(key).ok_or(Refusal::Token)?;
        let record = self.connections.get(&key).map(|it| &it.record).ok_or(Refusal::Token)?;
        let (session_key, role) = (record.session, record.properties.role);
        let session = self.sessions.get(&session_key).ok_or(Refusal::Token)?;
        let mut streams: Vec<(StreamKey, String, StreamView)> = session
            .streams
            .iter()
            .filter_map(|(stream, endpoint)| {
                let record = &self.endpoints.get(endpoint)?.record;
                let publisher = &self.connections.get(&record.connection)?.record.name;
                let view = stream_view(record.publication.as_ref()?);
                (record.connection != key).then(|| (*stream, publisher.clone(), view))
            })
            .collect();
        streams.sort_by_key(|(stream, _, view)| (view.created_at, *stream));
        let slots = self.slot_views(key);
        Ok(Reply::Own {
            session: session.record.name.clone(),
            connection: Box::new(connection),
            streams: streams.into_iter().map(|(_, publisher, view)| (publisher, view)).collect(),
            slots,
            recording: self.recording_notice(session_key, role),
        })
    }

    /// What a connection's slots hold.
    fn slot_views(&self, key: ConnectionKey) -> Vec<SlotView> {
        let endpoints = self.connections.get(&key).map(|it| &it.endpoints);
        let mut views = Vec::new();
        for record in
            endpoints.into_iter().flatten().filter_map(|it| self.endpoints.get(it)).map(|it| &it.record)
        {
            for kind in KINDS {
                for (slot, section) in (0_u16..).zip(record.sections(kind)) {
                    let Some(stream) = section.stream.filter(|_| section.gap.is_none()) else { continue };
                    let Some((stream, connection)) = self.stream_names(record.session, stream) else {
                        continue;
                    };
                    views.push(SlotView {
                        resource: record.resource.clone(),
                        slot,
                        kind,
                        stream,
                        connection,
                    });
                }
            }
        }
        views
    }

    pub(crate) fn session_view(&self, key: SessionKey) -> Option<SessionView> {
        let record = &self.sessions.get(&key)?.record;
        let home = record.home.filter(|_| record.active).and_then(|home| self.nodes.get(&home.node));
        Some(SessionView {
            key,
            id: record.name.clone(),
            created_at: record.created_at,
            properties: record.properties.clone(),
            media_node: home.map(|it| it.record.name.clone()),
            active: record.active,
            recording: self.sessions.get(&key)?.recording.is_some(),
            connections: self
                .connections_in_order(key)
                .into_iter()
                .filter_map(|it| self.connection_view(it))
                .collect(),
        })
    }

    pub(crate) fn connection_view(&self, key: ConnectionKey) -> Option<ConnectionView> {
        let connection = self.connections.get(&key)?;
        let record = &connection.record;
        let endpoints: Vec<_> = connection.endpoints.iter().filter_map(|it| self.endpoints.get(it)).collect();
        let mut received: BTreeMap<StreamKey, UnixMillis> = BTreeMap::new();
        for (stream, since) in endpoints.iter().flat_map(|it| &it.record.subscribed) {
            let first = received.entry(*stream).or_insert(*since);
            *first = (*first).min(*since);
        }
        Some(ConnectionView {
            id: record.name.clone(),
            session: self.sessions.get(&record.session)?.record.name.clone(),
            token: record.token.clone(),
            created_at: record.created_at,
            active_at: record.active.as_ref().map(|it| it.at),
            properties: record.properties.clone(),
            client: record.active.as_ref().map(|it| it.client.clone()),
            publisher: endpoints.iter().find_map(|it| it.record.publication.as_ref()).map(stream_view),
            subscribers: received
                .into_iter()
                .filter_map(|(stream, since)| Some((self.stream_name(record.session, stream)?, since)))
                .collect(),
        })
    }

    fn node_view(&self, key: NodeKey) -> Option<NodeView> {
        let node = self.nodes.get(&key)?;
        let record = &node.record;
        let (stress, _) = crate::placement::score::stress(&node.load);
        let reserved = self.reserved(node);
        let host = if record.address.contains(':') {
            format!("[{}]", record.address)
        } else {
            record.address.clone()
        };
        Some(NodeView {
            key,
            id: record.name.clone(),
            environment_id: record.environment.clone(),
            ip: record.address.clone(),
            uri: format!("wss://{host}:{NODE_URI_PORT}/plenum"),
            connected: node.is_connected(),
            launched_at: record.launched_at,
            connected_at: node.connected_at(),
            disconnected_at: node.disconnected_at(),
            status: record.status,
            load: ((stress + reserved) * 100.0).min(100.0),
            report: node.load.clone(),
            report_age: node.load_at.map(|at| self.core_time().saturating_sub(at)),
            reserved: reserved * 100.0,
            sessions: node
                .sessions
                .iter()
                .filter_map(|it| self.sessions.get(it))
                .filter(|it| it.record.active)
                .map(|it| it.record.name.clone())
                .collect(),
            recordings: self.recordings_at(key),
            program: record.program.clone(),
            recorder: record.recorder,
        })
    }

    /// Unfinished recordings of a recorder, or unfinished films of a media node's sessions.
    fn recordings_at(&self, key: NodeKey) -> Vec<String> {
        let running = self.running.iter().filter_map(|it| self.recordings.get(it)).map(|it| &it.record);
        let here =
            running.filter(|it| it.recorder == Some(key) || it.source == key && it.properties.is_film());
        here.map(|it| it.id.clone()).collect()
    }

    fn decision_views(&self, session: Option<&str>) -> Vec<DecisionView> {
        self.decisions
            .iter()
            .rev()
            .filter(|(_, it)| session.is_none_or(|session| session == it.session))
            .map(|(key, it)| DecisionView {
                key: *key,
                at: it.at,
                session: it.session.clone(),
                recording: it.recording.clone(),
                chosen: it.chosen.clone(),
                verdicts: it.verdicts.clone(),
            })
            .collect()
    }

    /// Sizes of all tables and counters, for metrics and for the proof that nothing grows.
    fn stats(&self) -> Vec<(&'static str, u64)> {
        let count = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        vec![
            ("sessions", count(self.sessions.len())),
            ("sessions_active", count(self.sessions.values().filter(|it| it.record.active).count())),
            ("connections", count(self.connections.len())),
            (
                "connections_active",
                count(self.connections.values().filter(|it| it.record.active.is_some()).count()),
            ),
            ("endpoints", count(self.endpoints.len())),
            ("streams", count(self.sessions.values().map(|it| it.streams.len()).sum())),
            ("tokens", count(self.tokens.len())),
            ("names", count(self.session_names.len() + self.connection_names.len() + self.resources.len())),
            ("viewers", count(self.viewers.len())),
            ("logs", count(self.logs.len())),
            ("logs_closed", count(self.closed_names.len())),
            ("logs_closed_tokens", count(self.closed_tokens.len())),
            ("events", count(self.logs.values().map(|it| it.events.len()).sum())),
            ("commands", count(self.commands.len())),
            ("timers", count(self.timers.len())),
            ("decisions", count(self.decisions.len())),
            ("recordings", count(self.recordings.len())),
            ("recordings_unfinished", count(self.running.len())),
            ("nodes", count(self.nodes.len())),
            ("nodes_connected", count(self.nodes.values().filter(|it| it.is_connected()).count())),
            ("outputs_held", count(self.outbox.held_count())),
            ("nodes_refused_total", self.nodes_refused),
            ("orphans_closed_total", self.orphans_closed),
            ("bind_failures_total", self.bind_failures),
            ("placements_total", self.placements),
            ("lag_ms_total", super::event::millis(self.lag)),
        ]
    }
}

fn stream_view(publication: &Publication) -> StreamView {
    StreamView {
        id: publication.name.clone(),
        created_at: publication.published_at,
        has_audio: publication.has_audio,
        has_video: publication.has_video,
        options: publication.options.clone(),
    }
}
