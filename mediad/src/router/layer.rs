//! Pure: no clock, no I/O, no async.
//!
//! Which leg is fed from which encoding: binding of slots, permits, choice of the encoding, who speaks.

use std::time::Instant;

use common::id::StreamKey;
use common::wire::node::{Permit, SlotBind, SlotGap};

use super::endpoint::Source;
use super::slab::Key;
use super::speaker::SPEAKERS_MAX;
use super::track::LegRef;
use super::{EndpointIndex, Event, Router, may_publish};
use common::wire::node::MediaKind;

impl Router {
    /// Fills or empties a slot of an open endpoint; the stream is published.
    pub(super) fn fill(&mut self, now: Instant, index: EndpointIndex, bind: SlotBind) {
        let us = self.us(now);
        let Some(endpoint) = self.endpoints.find(index.0) else { return };
        let Some(leg) = endpoint.leg_of(bind.slot, bind.kind) else {
            if let Some(stream) = bind.source {
                self.tell_gap(index, (bind.slot, bind.kind), stream, Some(SlotGap::NoSection));
            }
            return;
        };
        let at = LegRef { endpoint: index.0.slot, leg: leg as u16 };
        let Some(stream) = bind.source else { return self.detach(at) };
        let Some(key) = self.streams.get(&(stream, bind.kind)).copied() else {
            self.detach(at);
            return self.tell_gap(index, (bind.slot, bind.kind), stream, Some(SlotGap::NoTrack));
        };
        let same = endpoint.legs[leg].source == Some((stream, key));
        if !same {
            self.detach(at);
        }
        let (Some(endpoint), Some(track)) = (self.endpoints.find_mut(index.0), self.tracks.find_mut(key))
        else {
            return;
        };
        let leg = &mut endpoint.legs[leg];
        leg.spatial_max = bind.spatial_max;
        if same {
            return self.reconsider(us, key);
        }
        leg.attach(stream, key, track);
        leg.target = track.choose(leg.spatial_max, us);
        track.followers.push(at);
        track.encodings[usize::from(leg.target)].subscribers.push(at);
        self.starts.push((at, false));
        self.review_gaps(key);
    }

    /// Empties a leg.
    pub(super) fn detach(&mut self, at: LegRef) {
        let Some(leg) =
            self.endpoints.at_mut(at.endpoint).and_then(|found| found.legs.get_mut(usize::from(at.leg)))
        else {
            return;
        };
        let source = leg.source;
        leg.detach();
        if let Some(track) = source.and_then(|(_, key)| self.tracks.find_mut(key)) {
            track.followers.retain(|other| *other != at);
            for encoding in &mut track.encodings {
                encoding.subscribers.retain(|other| *other != at);
                if encoding.subscribers.is_empty() {
                    encoding.gate.cancel();
                }
            }
        }
        self.starts.retain(|(other, _)| *other != at);
        self.repairs.retain(|repair| repair.leg != at);
    }

    /// Chooses the encoding of all legs of a track anew.
    pub(super) fn reconsider(&mut self, us: u64, key: Key) {
        let Some(track) = self.tracks.find_mut(key) else { return };
        for position in 0..track.followers.len() {
            let at = track.followers[position];
            let Some(endpoint) = self.endpoints.at_mut(at.endpoint) else { continue };
            let Some(leg) = endpoint.legs.get_mut(usize::from(at.leg)) else { continue };
            let wanted = track.choose(leg.spatial_max, us);
            if leg.target == wanted {
                continue;
            }
            // The encoding that feeds the leg does so until the new one begins.
            if leg.current != Some(leg.target) {
                track.encodings[usize::from(leg.target)].subscribers.retain(|other| *other != at);
            }
            leg.target = wanted;
            if leg.current != Some(wanted) {
                track.encodings[usize::from(wanted)].subscribers.push(at);
                self.starts.push((at, false));
            }
        }
    }

    /// Chooses anew where an encoding may have stopped.
    pub(super) fn review_layers(&mut self, us: u64) {
        for slot in 0..self.tracks.slots() {
            let simulcast = self.tracks.at(slot).is_some_and(|track| track.encodings.len() > 1);
            if simulcast && let Some(key) = self.tracks.key_at(slot) {
                self.reconsider(us, key);
            }
        }
    }

    /// Tells which slots cannot be fed because of the codec that the track uses now.
    pub(super) fn review_gaps(&mut self, key: Key) {
        let Some(track) = self.tracks.find(key) else { return };
        let codec = track.codec.unwrap_or(0);
        let mut told = Vec::new();
        for at in &track.followers {
            let Some(endpoint) = self.endpoints.at_mut(at.endpoint) else { continue };
            let Some(leg) = endpoint.legs.get_mut(usize::from(at.leg)) else { continue };
            let gap = (!leg.accepts(codec)).then_some(SlotGap::Codec);
            if leg.gap != gap {
                leg.gap = gap;
                told.push((*at, leg.slot, leg.kind, gap));
            }
        }
        let stream = track.stream;
        for (at, slot, kind, gap) in told {
            if let Some(index) = self.endpoints.key_at(at.endpoint) {
                self.tell_gap(EndpointIndex(index), (slot, kind), stream, gap);
            }
        }
    }

    fn tell_gap(
        &mut self,
        index: EndpointIndex,
        slot: (u16, MediaKind),
        stream: StreamKey,
        why: Option<SlotGap>,
    ) {
        if let Some(endpoint) = self.endpoints.find(index.0) {
            let (session, endpoint) = (endpoint.session, endpoint.key);
            self.emit(Event::Slot { session, endpoint, slot: slot.0, kind: slot.1, stream, why });
        }
    }

    /// Applies a permit to one endpoint. What is allowed again begins as if it were new.
    pub(super) fn apply_permit(&mut self, us: u64, index: EndpointIndex, permit: &Permit) {
        let Some(endpoint) = self.endpoints.find_mut(index.0) else { return };
        let begins = permit.subscribe && !endpoint.allowed;
        endpoint.allowed = permit.subscribe;
        if begins {
            for (at, leg) in endpoint.legs.iter_mut().enumerate().filter(|(_, leg)| leg.source.is_some()) {
                restart(&mut self.tracks, leg, LegRef { endpoint: index.0.slot, leg: at as u16 });
            }
            self.begin(index);
        }
        let Some(endpoint) = self.endpoints.find(index.0) else { return };
        let tracks: Vec<(Key, MediaKind)> =
            endpoint.sections.iter().map(|found| (found.track, found.kind)).collect();
        for (key, kind) in tracks {
            let allowed = may_publish(permit, kind);
            let Some(track) = self.tracks.find_mut(key) else { continue };
            let begins = allowed && !track.allowed;
            track.allowed = allowed;
            let followers = if begins { track.followers.clone() } else { Vec::new() };
            for at in followers {
                let Some(endpoint) = self.endpoints.at_mut(at.endpoint) else { continue };
                let Some(leg) = endpoint.legs.get_mut(usize::from(at.leg)) else { continue };
                restart(&mut self.tracks, leg, at);
                // Whatever the ring holds is from before the pause: only a new key frame helps.
                let target = leg.target;
                self.wish(us, key, target);
            }
        }
    }

    /// Notes that a key frame of an encoding is wanted.
    pub(super) fn wish(&mut self, us: u64, key: Key, position: u8) {
        let Some(encoding) =
            self.tracks.find_mut(key).and_then(|found| found.encodings.get_mut(usize::from(position)))
        else {
            return;
        };
        encoding.gate.wish(us);
        if !self.wishing.contains(&(key, position)) {
            self.wishing.push((key, position));
        }
    }

    /// An SSRC was announced for a section without simulcast.
    pub(super) fn expect(&mut self, index: EndpointIndex, section: u8, ssrc: u32, repair: bool) {
        let Some(endpoint) = self.endpoints.find_mut(index.0) else { return };
        if endpoint.source(ssrc).is_none() {
            let source = Source { ssrc, section, encoding: 0, repair };
            endpoint.sources.push(source);
            self.bind_source(index, source);
        }
    }

    /// Compares the loudness of all that a session hears.
    pub(super) fn review_speakers(&mut self) {
        let mut changed = Vec::new();
        for (key, session) in &mut self.sessions {
            let mut speaking = [(0, StreamKey(0)); SPEAKERS_MAX];
            let mut count = 0;
            for track in &session.audio {
                let Some(track) = self.tracks.find_mut(*track) else { continue };
                track.loudness.close();
                if !track.loudness.speaks() || !track.allowed {
                    continue;
                }
                let score = track.loudness.score(session.loudest.first() == Some(&track.stream));
                let place = speaking[..count].iter().position(|other| other.0 < score).unwrap_or(count);
                if place < SPEAKERS_MAX {
                    count = (count + 1).min(SPEAKERS_MAX);
                    speaking[place..count].rotate_right(1);
                    speaking[place] = (score, track.stream);
                }
            }
            let now = speaking[..count].iter().map(|found| found.1);
            if !session.loudest.iter().copied().eq(now.clone()) {
                session.loudest.clear();
                session.loudest.extend(now);
                changed.push(Event::Speakers { session: *key, loudest: session.loudest.clone() });
            }
        }
        for event in changed {
            self.emit(event);
        }
    }
}

/// Makes a leg wait for a start at its target.
fn restart(tracks: &mut super::slab::Slab<super::track::Track>, leg: &mut super::leg::Leg, at: LegRef) {
    let Some(track) = leg.source.and_then(|(_, key)| tracks.find_mut(key)) else { return };
    leg.current = None;
    for (position, encoding) in track.encodings.iter_mut().enumerate() {
        encoding.subscribers.retain(|other| *other != at);
        if position == usize::from(leg.target) {
            encoding.subscribers.push(at);
        }
    }
}
