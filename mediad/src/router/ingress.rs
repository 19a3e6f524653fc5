//! Pure: no clock, no I/O, no async.
//!
//! From an SRTP datagram to a packet in ring and staging area: authenticity, which encoding it belongs to, unwrapping
//! of repairs, what later stages want to know.

use super::endpoint::{Endpoint, Source};
use super::receiver::Arrival;
use super::stats::Dropped;
use super::track::{Pending, Track, codec_of};
use super::{EndpointIndex, Event, Received, Router};
use crate::codec::{self, descriptor};
use crate::ring::PacketMeta;
use crate::rtp::{Found, Header, extend_sequence, u16_at};
use crate::transport::spec::Codec;
use crate::transport::srtp::SOURCES_MAX;
use common::wire::node::MediaKind;

/// A packet after authentication.
struct Incoming {
    header: Header,
    found: Found,
    /// 48-bit index of the SSRC it came under.
    index: u64,
    /// Bytes of header and payload without padding.
    len: usize,
}

impl Router {
    /// Takes an SRTP packet in.
    pub(super) fn receive_rtp(&mut self, us: u64, index: EndpointIndex, datagram: &mut [u8]) -> Received {
        let Some(endpoint) = self.endpoints.find_mut(index.0) else { return self.drop(Dropped::NoKeys) };
        let Some(opener) = &mut endpoint.link.opener else { return self.drop(Dropped::NoKeys) };
        let opened = match opener.open_rtp(datagram) {
            Ok(opened) => opened,
            Err(error) => return self.drop(Dropped::Srtp(error)),
        };
        self.totals.packets_in += 1;
        self.totals.bytes_in += datagram.len() as u64;
        endpoint.stats.packets_in += 1;
        endpoint.stats.bytes_in += datagram.len() as u64;
        let packet = &mut datagram[..opened.payload.end];
        let Some(header) = Header::parse(packet) else { return self.authentic(Dropped::Unreadable) };
        let found = Found::read(packet, &header, &endpoint.ids);
        if let (Some(number), Some(recorder)) = (found.transport_cc, &mut endpoint.recorder) {
            recorder.record(number, us);
            if !endpoint.feedback_queued {
                endpoint.feedback_queued = true;
                self.feedback.push(index);
            }
        }
        let Some(payload) = header.payload(packet) else { return self.authentic(Dropped::Unreadable) };
        let incoming = Incoming { header, found, index: opened.index, len: payload.end };
        match self.take_in(us, index, incoming, packet) {
            Ok(()) => Received::Media,
            Err(why) => self.authentic(why),
        }
    }

    /// Finds the source and hands the packet on.
    fn take_in(
        &mut self,
        us: u64,
        at: EndpointIndex,
        incoming: Incoming,
        packet: &mut [u8],
    ) -> Result<(), Dropped> {
        let endpoint = self.endpoints.find_mut(at.0).ok_or(Dropped::NoKeys)?;
        let ssrc = incoming.header.ssrc;
        let source = match endpoint.source(ssrc) {
            Some(source) => source,
            None => {
                let source = identify(endpoint, &incoming, packet).ok_or(Dropped::UnknownSource)?;
                if endpoint.sources.len() >= SOURCES_MAX {
                    return Err(Dropped::UnknownSource);
                }
                endpoint.sources.push(source);
                self.bind_source(at, source);
                source
            }
        };
        if source.repair {
            self.unwrap_repair(us, at, source, incoming, packet)
        } else {
            let index = incoming.index;
            self.accept(us, at, source, &incoming, packet, index)
        }
    }

    /// A new SSRC belongs to an encoding.
    pub(super) fn bind_source(&mut self, at: EndpointIndex, source: Source) {
        let Some(endpoint) = self.endpoints.find_mut(at.0) else { return };
        let section = &endpoint.sections[usize::from(source.section)];
        let Some(track) = self.tracks.find_mut(section.track) else { return };
        let clock_hz = section.codecs.first().map_or(90_000, |codec| codec.clock_hz);
        let Some(encoding) = track.encodings.get_mut(usize::from(source.encoding)) else { return };
        let previous = if source.repair {
            encoding.rtx_ssrc.replace(source.ssrc)
        } else {
            let previous = encoding.ssrc;
            encoding.restart(source.ssrc, clock_hz);
            previous
        };
        // The table stays bounded by what is in use.
        endpoint.sources.retain(|other| Some(other.ssrc) != previous || other.ssrc == source.ssrc);
    }

    /// RFC 4588 section 4: the original packet, under the SSRC and number that it had.
    fn unwrap_repair(
        &mut self,
        us: u64,
        at: EndpointIndex,
        source: Source,
        mut incoming: Incoming,
        packet: &mut [u8],
    ) -> Result<(), Dropped> {
        let header = &mut incoming.header;
        // Probes for bandwidth are padding, or repeat what was here long ago.
        if incoming.len < header.len + 3 {
            return Err(Dropped::Stale);
        }
        let endpoint = self.endpoints.find(at.0).ok_or(Dropped::NoKeys)?;
        let section = &endpoint.sections[usize::from(source.section)];
        let track = self.tracks.find(section.track).ok_or(Dropped::UnknownSource)?;
        let encoding = track.encodings.get(usize::from(source.encoding)).ok_or(Dropped::UnknownSource)?;
        let (codec, _, _) = codec_of(&section.codecs, header.payload_type).ok_or(Dropped::UnknownSource)?;
        let ssrc = encoding.ssrc.filter(|_| encoding.receiver.is_started()).ok_or(Dropped::Stale)?;
        let original = u16_at(packet, header.len);
        let index = extend_sequence(encoding.receiver.highest, original);
        packet.copy_within(..header.len, 2);
        let packet = &mut packet[2..incoming.len];
        header.payload_type = section.codecs[usize::from(codec)].payload_type;
        header.sequence = original;
        header.ssrc = ssrc;
        packet[1] = packet[1] & 0x80 | header.payload_type;
        packet[2..4].copy_from_slice(&original.to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        packet[0] &= !0x20;
        incoming.len -= 2;
        self.accept(us, at, source, &incoming, packet, index)
    }

    /// An original or repaired packet of an encoding.
    fn accept(
        &mut self,
        us: u64,
        at: EndpointIndex,
        source: Source,
        incoming: &Incoming,
        packet: &[u8],
        index: u64,
    ) -> Result<(), Dropped> {
        let endpoint = self.endpoints.find_mut(at.0).ok_or(Dropped::NoKeys)?;
        let key = endpoint.sections[usize::from(source.section)].track;
        let track = self.tracks.find_mut(key).ok_or(Dropped::UnknownSource)?;
        let known = codec_of(&track.codecs, incoming.header.payload_type).filter(|(_, _, repair)| !repair);
        let (position, codec, _) = known.ok_or(Dropped::UnknownSource)?;
        if !track.allowed {
            // It must not be asked for again when the publisher may send again.
            let receiver = &mut track.encodings[usize::from(source.encoding)].receiver;
            let _forgotten = receiver.arrive(index, us);
            receiver.forget_all();
            return Err(Dropped::Permission);
        }
        if self.staging.len() + incoming.len > self.staging.capacity() {
            return Err(Dropped::Staging);
        }
        let encoding = &mut track.encodings[usize::from(source.encoding)];
        let late = match encoding.receiver.arrive(index, us) {
            Arrival::Duplicate => return Err(Dropped::Stale),
            Arrival::Late { asked_us } => {
                if source.repair {
                    self.totals.repaired += 1;
                    if let Some(asked_us) = asked_us {
                        let sample_us = us.saturating_sub(asked_us);
                        endpoint.rtt_us = (endpoint.rtt_us * 7 + sample_us) / 8;
                    }
                }
                true
            }
            Arrival::New => false,
        };
        let packet = &packet[..incoming.len];
        let mut meta = describe(incoming, packet, (position, codec), us, index);
        meta.epoch = encoding.epoch;
        let first = encoding.last_us.is_none_or(|last| us.saturating_sub(last) > 1_000_000);
        let shape = finish(track, source.encoding, &mut meta, codec, packet, us);
        self.stage(key, source.encoding, &meta, packet, late);
        if first || shape {
            self.reconsider(us, key);
        }
        self.announce(key, position);
        Ok(())
    }

    /// Puts the packet into ring and staging area.
    fn stage(&mut self, key: super::slab::Key, position: u8, meta: &PacketMeta, packet: &[u8], late: bool) {
        let Some(track) = self.tracks.find_mut(key) else { return };
        track.packets += 1;
        track.bytes += packet.len() as u64;
        let encoding = &mut track.encodings[usize::from(position)];
        let ring = encoding.store(meta, packet);
        if encoding.receiver.is_missing_any() && !self.lossy.contains(&(key, position)) {
            self.lossy.push((key, position));
        }
        if encoding.subscribers.is_empty() {
            return;
        }
        let start = self.staging.len() as u32;
        self.staging.extend_from_slice(packet);
        let end = self.staging.len() as u32;
        encoding.pending.push(Pending { meta: *meta, ring, start, end, pad: 0, late });
        if !encoding.dirty {
            encoding.dirty = true;
            self.dirty.push((key, position));
        }
    }

    /// Tells about the first media of a track, and again when its codec changes.
    fn announce(&mut self, key: super::slab::Key, position: u8) {
        let Some(track) = self.tracks.find_mut(key) else { return };
        if track.codec == Some(position) {
            return;
        }
        track.codec = Some(position);
        let Some(spec) = track.codecs.get(usize::from(position)) else { return };
        let event = Event::Track {
            session: track.session,
            stream: track.stream,
            kind: track.kind,
            codec: codec::name(spec.codec).to_owned(),
            rids: track.rids(),
        };
        self.emit(event);
        self.review_gaps(key);
    }

    fn drop(&mut self, why: Dropped) -> Received {
        self.totals.count(why);
        Received::Dropped(why)
    }

    /// Counts a drop of a packet that was authentic.
    fn authentic(&mut self, why: Dropped) -> Received {
        self.totals.count(why);
        Received::Unused(why)
    }
}

/// What the header and its extensions say.
fn describe(incoming: &Incoming, packet: &[u8], codec: (u8, Codec), us: u64, index: u64) -> PacketMeta {
    let (header, found) = (&incoming.header, &incoming.found);
    let payload = &packet[header.len..];
    let info = codec::inspect(codec.1, payload);
    let mut meta = PacketMeta {
        index,
        arrival_us: us,
        timestamp: header.timestamp,
        payload_offset: header.len as u16,
        codec: codec.0,
        spatial: info.spatial,
        temporal: info.temporal,
        descriptor: info.descriptor,
        tl0: info.tl0,
        key_index: info.key_index,
        picture_id: info.picture_id,
        ..PacketMeta::default()
    };
    let mut flag = |set: bool, bits: u16| meta.flags |= if set { bits } else { 0 };
    flag(info.keyframe, PacketMeta::KEYFRAME);
    flag(info.frame_start, PacketMeta::FRAME_START);
    flag(header.marker, PacketMeta::MARKER | PacketMeta::FRAME_END);
    flag(payload.is_empty(), PacketMeta::EMPTY);
    flag(found.audio_level.is_some(), PacketMeta::AUDIO_LEVEL);
    flag(found.orientation.is_some(), PacketMeta::ORIENTATION);
    flag(found.playout_delay.is_some(), PacketMeta::PLAYOUT_DELAY);
    meta.audio_level = found.audio_level.unwrap_or(0);
    meta.orientation = found.orientation.unwrap_or(0);
    meta.playout_delay = found.playout_delay.unwrap_or(0);
    if let (Ok(offset), Ok(len)) =
        (u16::try_from(found.dependency.start), u8::try_from(found.dependency.len()))
    {
        (meta.dependency_offset, meta.dependency_len) = if len == 0 { (0, 0) } else { (offset, len) };
    }
    meta
}

/// Notes what the packet changes in its track. True when the encodings' order changed.
fn finish(
    track: &mut Track,
    position: u8,
    meta: &mut PacketMeta,
    codec: Codec,
    packet: &[u8],
    us: u64,
) -> bool {
    if track.kind == MediaKind::Audio && meta.has(PacketMeta::AUDIO_LEVEL) {
        track.loudness.note(meta.audio_level);
    }
    let encoding = &mut track.encodings[usize::from(position)];
    encoding.last_us = Some(us);
    encoding.receiver.measure(meta.timestamp, us);
    if meta.descriptor & (descriptor::PICTURE_ID | descriptor::PICTURE_ID_LONG) == descriptor::PICTURE_ID {
        meta.picture_id = encoding.extend_picture_id(meta.picture_id);
    }
    encoding.note_start(meta, us);
    encoding.note_end(meta);
    if !meta.is_start() || track.encodings.len() == 1 {
        return false;
    }
    let payload = &packet[usize::from(meta.payload_offset)..];
    let Some((width, height)) = codec::inspect(codec, payload).size else { return false };
    let pixels = u32::from(width) * u32::from(height);
    if track.encodings[usize::from(position)].pixels == pixels {
        return false;
    }
    track.encodings[usize::from(position)].pixels = pixels;
    track.sort();
    true
}

/// Which section and encoding a new SSRC belongs to: as announced, else by MID and RID, else by payload type.
fn identify(endpoint: &Endpoint, incoming: &Incoming, packet: &[u8]) -> Option<Source> {
    let (header, found) = (&incoming.header, &incoming.found);
    let mid = &packet[found.mid.clone()];
    let (at, section) = if mid.is_empty() {
        let mut fitting = endpoint.sections.iter().enumerate();
        let fits = |codecs: &[_]| codec_of(codecs, header.payload_type).is_some();
        let first = fitting.find(|(_, section)| fits(&section.codecs))?;
        // Two sections with this payload type: only the extension can tell.
        if fitting.any(|(_, other)| fits(&other.codecs)) {
            return None;
        }
        first
    } else {
        endpoint.sections.iter().enumerate().find(|(_, section)| section.mid.as_bytes() == mid)?
    };
    let (_, _, repairs) = codec_of(&section.codecs, header.payload_type)?;
    let position = |rid: &[u8]| section.rids.iter().position(|own| own.as_bytes() == rid);
    let rid = &packet[found.rid.clone()];
    let repaired = &packet[found.repaired_rid.clone()];
    let (encoding, repair) = if !repaired.is_empty() {
        (position(repaired)?, true)
    } else if !rid.is_empty() && !section.rids.is_empty() {
        // Some senders name the repaired encoding by the plain extension.
        (position(rid)?, repairs)
    } else if section.rids.is_empty() {
        (0, repairs)
    } else {
        return None;
    };
    Some(Source { ssrc: header.ssrc, section: at as u8, encoding: encoding as u8, repair })
}
