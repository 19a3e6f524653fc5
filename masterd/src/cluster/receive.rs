//! Pure: no clock, no I/O, no async.
//!
//! Who receives what: subscriptions with their events, and slots kept filled by [`super::slots::plan`].
//!
//! Endpoints whose line-up may have to change are gathered while an input is handled and planned once at its end, so
//! that a slot which is freed and filled by one input is told as one change.

use std::collections::BTreeMap;

use common::id::{EndpointKey, Generation, SessionKey, StreamKey};
use common::wire::node::{Bind, EndpointKind, MediaKind, NodeError, SlotBind, SlotGap};

use super::Core;
use super::endpoint::KINDS;
use super::model::Purpose;
use super::op::{Fact, Reason};
use super::record::{EndpointRecord, RecordKey, Section};
use super::slots::{self, Lineup, Playable, Situation};

impl Core {
    /// An endpoint begins to receive a stream.
    pub(crate) fn subscribe(&mut self, key: EndpointKey, stream: StreamKey) {
        let now = self.now.unix;
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        if endpoint.record.subscribed.insert(stream, now).is_some() {
            return;
        }
        let (session, connection) = (endpoint.record.session, endpoint.record.connection);
        self.dirty.insert(RecordKey::Endpoint(key));
        if self.receives_elsewhere(key, stream) {
            return;
        }
        let Some((stream, receiving_from)) = self.stream_names(session, stream) else { return };
        let connection =
            self.connections.get(&connection).map(|it| it.record.name.clone()).unwrap_or_default();
        let audience = Some(vec![connection.clone()]);
        self.emit_to(session, audience, Fact::Subscribed { connection, stream, receiving_from });
    }

    /// An endpoint no longer receives a stream, which is still known.
    pub(crate) fn unsubscribe(&mut self, key: EndpointKey, stream: StreamKey, reason: Reason) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        let Some(since) = endpoint.record.subscribed.remove(&stream) else { return };
        let (session, connection) = (endpoint.record.session, endpoint.record.connection);
        self.dirty.insert(RecordKey::Endpoint(key));
        if self.receives_elsewhere(key, stream) {
            return;
        }
        let Some((stream, receiving_from)) = self.stream_names(session, stream) else { return };
        let connection =
            self.connections.get(&connection).map(|it| it.record.name.clone()).unwrap_or_default();
        let audience = Some(vec![connection.clone()]);
        let duration_ms = self.now.unix.saturating_sub(since);
        let fact = Fact::Unsubscribed { connection, stream, receiving_from, reason, duration_ms };
        self.emit_to(session, audience, fact);
    }

    /// Another endpoint of the same connection receives the stream as well.
    fn receives_elsewhere(&self, key: EndpointKey, stream: StreamKey) -> bool {
        let connection = self.endpoints.get(&key).and_then(|it| self.connections.get(&it.record.connection));
        let endpoints = connection.map(|it| &it.endpoints);
        endpoints.into_iter().flatten().any(|other| {
            *other != key
                && self.endpoints.get(other).is_some_and(|it| it.record.subscribed.contains_key(&stream))
        })
    }

    /// Every endpoint that plays the session may have to change.
    pub(crate) fn refill_session(&mut self, session: SessionKey) {
        if let Some(session) = self.sessions.get(&session) {
            self.refills.extend(&session.players);
        }
    }

    /// Plans the line-ups that may have to change.
    pub(crate) fn refill(&mut self) {
        let mut playables: Option<(SessionKey, Vec<(common::id::ConnectionKey, Playable)>)> = None;
        for key in std::mem::take(&mut self.refills) {
            let Some(endpoint) = self.endpoints.get(&key) else { continue };
            let session = endpoint.record.session;
            if playables.as_ref().is_none_or(|(of, _)| *of != session) {
                playables = Some((session, self.playables(session)));
            }
            let Some((_, all)) = &playables else { continue };
            let own = endpoint.record.connection;
            let streams: Vec<Playable> =
                all.iter().filter(|(publisher, _)| *publisher != own).map(|(_, it)| *it).collect();
            self.refill_endpoint(key, &streams);
        }
    }

    /// Streams of a session with their publishers, in the order of publishing.
    fn playables(&self, key: SessionKey) -> Vec<(common::id::ConnectionKey, Playable)> {
        let Some(session) = self.sessions.get(&key) else { return Vec::new() };
        let mut streams: Vec<_> = session
            .streams
            .values()
            .filter_map(|endpoint| {
                let record = &self.endpoints.get(endpoint)?.record;
                let it = record.publication.as_ref()?;
                let playable = Playable { stream: it.stream, audio: it.has_audio, video: it.has_video };
                Some((it.published_at, it.stream, record.connection, playable))
            })
            .collect();
        streams.sort_by_key(|(at, stream, ..)| (*at, *stream));
        streams.into_iter().map(|(_, _, connection, playable)| (connection, playable)).collect()
    }

    /// The line-up that an endpoint should have.
    pub(crate) fn planned(&self, record: &EndpointRecord) -> Lineup {
        let streams: Vec<Playable> = self
            .playables(record.session)
            .into_iter()
            .filter(|(publisher, _)| *publisher != record.connection)
            .map(|(_, it)| it)
            .collect();
        self.plan_for(record, &streams)
    }

    fn plan_for(&self, record: &EndpointRecord, streams: &[Playable]) -> Lineup {
        let loud = self.sessions.get(&record.session).map_or(&[][..], |it| &it.loud);
        slots::plan(&lineup(record), &Situation { streams, pins: &record.pins, loud })
    }

    fn refill_endpoint(&mut self, key: EndpointKey, streams: &[Playable]) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        let next = self.plan_for(&endpoint.record, streams);
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        let stale_pins = endpoint.record.pins.len();
        endpoint.record.pins.retain(|_, stream| streams.iter().any(|it| it.stream == *stream));
        if endpoint.record.pins.len() != stale_pins {
            self.dirty.insert(RecordKey::Endpoint(key));
        }
        let mut binds = Vec::new();
        for (kind, wanted) in KINDS.into_iter().zip([&next.audio, &next.video]) {
            for (slot, stream) in (0_u16..).zip(wanted) {
                let spatial_max = endpoint.record.spatial_max(kind, slot);
                let section = endpoint.record.sections_mut(kind).get_mut(usize::from(slot));
                let Some(section) = section.filter(|section| section.stream != *stream) else { continue };
                *section = Section { stream: *stream, gap: None };
                binds.push(SlotBind { slot, kind, source: *stream, spatial_max });
            }
        }
        if binds.is_empty() {
            return;
        }
        self.update_subscriptions(key, &next);
        self.emit_binds(key, &binds);
        // What the node was told before masterd started anew may never have reached it.
        if self.endpoints.get(&key).is_some_and(|it| it.confirmed_link == 0) {
            self.rebind(key);
        } else {
            self.send_bind(key, binds);
        }
    }

    /// Brings an endpoint's subscriptions to what its sections carry.
    fn update_subscriptions(&mut self, key: EndpointKey, next: &Lineup) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        let wanted: Vec<StreamKey> = next.audio.iter().chain(&next.video).flatten().copied().collect();
        let present: Vec<StreamKey> = endpoint.record.subscribed.keys().copied().collect();
        for stream in present {
            if !wanted.contains(&stream) {
                self.unsubscribe(key, stream, Reason::Unsubscribe);
            }
        }
        for stream in wanted {
            self.subscribe(key, stream);
        }
    }

    /// Tells the receiver what its sections carry from now on.
    fn emit_binds(&mut self, key: EndpointKey, binds: &[SlotBind]) {
        for bind in binds {
            self.emit_slot(key, bind.slot, bind.kind, bind.source, None);
        }
    }

    fn emit_slot(
        &mut self,
        key: EndpointKey,
        slot: u16,
        kind: MediaKind,
        stream: Option<StreamKey>,
        gap: Option<SlotGap>,
    ) {
        let Some(record) = self.endpoints.get(&key).map(|it| &it.record) else { return };
        let session = record.session;
        let resource = record.resource.clone();
        let Some(connection) = self.connections.get(&record.connection).map(|it| it.record.name.clone())
        else {
            return;
        };
        let stream = stream.and_then(|it| self.stream_names(session, it));
        let audience = Some(vec![connection.clone()]);
        self.emit_to(session, audience, Fact::Slot { connection, resource, slot, kind, stream, gap });
    }

    /// Tells the node about changed sections, as a new generation of the endpoint.
    pub(crate) fn send_bind(&mut self, key: EndpointKey, binds: Vec<SlotBind>) {
        let base = Generation(self.keys.base());
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        let generation = endpoint.record.generation.max(base).next();
        endpoint.record.generation = generation;
        let session = endpoint.record.session;
        self.dirty.insert(RecordKey::Endpoint(key));
        let Some(home) = self.sessions.get(&session).and_then(|it| it.record.home) else { return };
        let message = Bind { session, endpoint: key, generation, binds };
        self.command(home.node, session, message.into(), Purpose::Bind { endpoint: key }, None);
    }

    /// Takes in which encodings a client wants; tells the node about those that changed.
    pub(crate) fn set_layers(&mut self, key: EndpointKey, layers: BTreeMap<u16, u8>) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        let before = std::mem::replace(&mut endpoint.record.layers, layers);
        let record = &endpoint.record;
        let kind = MediaKind::Video;
        let carried: Vec<Option<StreamKey>> = match record.kind {
            EndpointKind::Pair { stream } => vec![Some(stream)],
            EndpointKind::Publish { .. } | EndpointKind::Slots => {
                record.video.iter().map(|section| section.stream).collect()
            }
        };
        let changed = (0_u16..).zip(carried).filter_map(|(slot, source)| {
            let is_same = before.get(&slot) == record.layers.get(&slot);
            source.filter(|_| !is_same).map(|_| {
                let spatial_max = record.spatial_max(kind, slot);
                SlotBind { slot, kind, source, spatial_max }
            })
        });
        let binds: Vec<SlotBind> = changed.collect();
        self.dirty.insert(RecordKey::Endpoint(key));
        if !binds.is_empty() {
            self.send_bind(key, binds);
        }
    }

    /// Tells the node about every section: it has missed something.
    pub(crate) fn rebind(&mut self, key: EndpointKey) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        let mut binds = Vec::new();
        for kind in KINDS {
            for (slot, section) in (0_u16..).zip(endpoint.record.sections(kind)) {
                let spatial_max = endpoint.record.spatial_max(kind, slot);
                binds.push(SlotBind { slot, kind, source: section.stream, spatial_max });
            }
        }
        if binds.is_empty() {
            return;
        }
        self.send_bind(key, binds);
    }

    /// A node could not carry out a line-up.
    pub(crate) fn bind_failed(&mut self, key: EndpointKey, error: &NodeError) {
        match error {
            // Another node's generation or an epoch that is ours again: say all of it once more.
            NodeError::StaleGeneration(theirs) => {
                if let Some(endpoint) = self.endpoints.get_mut(&key) {
                    endpoint.record.generation = endpoint.record.generation.max(*theirs);
                }
                self.rebind(key);
            }
            NodeError::UnknownEndpoint | NodeError::UnknownSession => {
                self.endpoint_lost(key, Reason::NetworkDisconnect);
            }
            // The stream has just ended there; its event is on the way and changes the line-up again.
            NodeError::UnknownStream => {}
            NodeError::Busy
            | NodeError::Draining
            | NodeError::Expired
            | NodeError::Internal { .. }
            | NodeError::InvalidSdp { .. }
            | NodeError::Limit { .. }
            | NodeError::NoCodec { .. }
            | NodeError::Refused { .. }
            | NodeError::StaleEpoch(_)
            | NodeError::UnknownRecording
            | NodeError::Unsupported => self.bind_failures += 1,
        }
    }

    /// A node says that a section stays empty, or carries its stream after all.
    pub(crate) fn slot_gap(
        &mut self,
        key: EndpointKey,
        slot: u16,
        kind: MediaKind,
        stream: StreamKey,
        why: Option<SlotGap>,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        let Some(section) = endpoint.record.sections_mut(kind).get_mut(usize::from(slot)) else { return };
        if section.stream != Some(stream) || section.gap == why {
            return;
        }
        section.gap = why;
        self.dirty.insert(RecordKey::Endpoint(key));
        let shown = if why.is_none() { Some(stream) } else { None };
        self.emit_slot(key, slot, kind, shown, why);
    }

    /// The loudest streams of a session changed.
    pub(crate) fn speakers(&mut self, key: SessionKey, loudest: &[StreamKey]) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let known: Vec<StreamKey> =
            loudest.iter().copied().filter(|it| session.streams.contains_key(it)).collect();
        if session.loud.starts_with(&known) {
            return;
        }
        session.loud.retain(|it| !known.contains(it));
        session.loud.splice(0..0, known.iter().copied());
        let streams = known.iter().filter_map(|it| self.stream_name(key, *it)).collect();
        self.emit(key, Fact::Speakers { streams });
        self.refill_session(key);
    }
}

/// What an endpoint's sections carry.
pub(crate) fn lineup(record: &EndpointRecord) -> Lineup {
    let streams = |sections: &[Section]| sections.iter().map(|it| it.stream).collect();
    match record.kind {
        EndpointKind::Slots => Lineup { audio: streams(&record.audio), video: streams(&record.video) },
        EndpointKind::Pair { .. } | EndpointKind::Publish { .. } => Lineup::default(),
    }
}
