//! Pure: no clock, no I/O, no async.
//!
//! One published track: its encodings with their rings, and who receives which.

use common::id::{SessionKey, StreamKey};
use common::wire::node::MediaKind;

use super::keyframe::Gate;
use super::receiver::Receiver;
use super::slab;
use crate::codec::descriptor::PICTURE_ID_MASK;
use crate::ring::{PacketMeta, RingSeq, RingSize, TrackWriter};
use crate::rtcp::SenderInfo;
use crate::transport::spec::{Codec, CodecSpec, Section};

/// One outgoing flow: leg `leg` of the endpoint in slot `endpoint`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct LegRef {
    pub(super) endpoint: u32,
    pub(super) leg: u16,
}

/// A packet that waits for the next flush.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) meta: PacketMeta,
    pub(super) ring: RingSeq,
    /// Where it is in the staging area.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Bytes of RTP padding that make it as long as its neighbours.
    pub(super) pad: u8,
    /// Newer packets were there before it.
    pub(super) late: bool,
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) session: SessionKey,
    pub(super) stream: StreamKey,
    pub(super) kind: MediaKind,
    /// Slot of the publisher's endpoint.
    pub(super) endpoint: u32,
    pub(super) codecs: Vec<CodecSpec>,
    pub(super) encodings: Vec<Encoding>,
    /// Positions of the encodings, smallest first.
    pub(super) order: Vec<u8>,
    /// Legs that were bound to the track, fed or not.
    pub(super) followers: Vec<LegRef>,
    /// Codec of the newest packet.
    pub(super) codec: Option<u8>,
    /// The publisher may send it.
    pub(super) allowed: bool,
    pub(super) loudness: Loudness,
    /// Our clock minus the publisher's, 32.32 seconds.
    pub(super) ntp_offset: Option<i64>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// Audio level of one track.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loudness {
    /// Sum and number of levels since the last look, 0 (silent) to 127.
    pub(super) sum: u32,
    pub(super) count: u32,
    /// Smoothed level, 8 fractional bits.
    pub(super) smooth: u32,
}

impl Track {
    pub(super) fn new(
        session: SessionKey,
        stream: StreamKey,
        endpoint: u32,
        section: &Section,
        rids: &[String],
    ) -> Self {
        let clock_hz = section.codecs.first().map_or(90_000, |codec| codec.clock_hz);
        let names: Vec<String> = if rids.is_empty() { vec![String::new()] } else { rids.to_vec() };
        let names = names.into_iter().take(ENCODINGS_MAX);
        let encodings: Vec<Encoding> = names.map(|rid| Encoding::new(rid, section.kind, clock_hz)).collect();
        let mut track = Self {
            session,
            stream,
            kind: section.kind,
            endpoint,
            codecs: section.codecs.clone(),
            encodings,
            order: Vec::new(),
            followers: Vec::new(),
            codec: None,
            allowed: true,
            loudness: Loudness::default(),
            ntp_offset: None,
            packets: 0,
            bytes: 0,
        };
        track.sort();
        track
    }

    /// Puts the encodings in order: by picture size where all of them showed one, else by what their names suggest,
    /// else as signalled.
    pub(super) fn sort(&mut self) {
        let sized = self.encodings.iter().all(|encoding| encoding.pixels > 0);
        let mut order: Vec<u8> = (0..self.encodings.len() as u8).collect();
        order.sort_by_key(|at| {
            let encoding = &self.encodings[usize::from(*at)];
            if sized { encoding.pixels } else { rank(&encoding.rid).unwrap_or_else(|| u32::from(*at)) }
        });
        self.order = order;
    }

    /// Names of the encodings, smallest first; empty without simulcast.
    pub(super) fn rids(&self) -> Vec<String> {
        let names = self.order.iter().map(|at| self.encodings[usize::from(*at)].rid.clone());
        names.filter(|rid| !rid.is_empty()).collect()
    }

    /// The codec that subscribers must know: what is sent, or what will be.
    pub(super) fn codec_spec(&self) -> Option<&CodecSpec> {
        self.codecs.get(usize::from(self.codec.unwrap_or(0)))
    }

    /// The encoding for a subscriber that wants at most spatial layer `max`: the highest one that flows, else the
    /// lowest that flows. Before anything flows: as if all did.
    pub(super) fn choose(&self, max: u8, now_us: u64) -> u8 {
        let wanted = usize::from(max).min(self.order.len() - 1);
        let flows = |at: &&u8| self.encodings[usize::from(**at)].flows(now_us);
        let below = self.order[..=wanted].iter().rev().find(flows);
        let above = || self.order[wanted + 1..].iter().find(flows);
        *below.or_else(above).unwrap_or(&self.order[wanted])
    }

    pub(super) fn is_lowest(&self, encoding: u8) -> bool {
        self.order.first() == Some(&encoding)
    }
}

/// What usual names of encodings say about their size.
fn rank(rid: &str) -> Option<u32> {
    match rid {
        "q" | "l" | "low" | "r0" | "0" | "lo" => Some(0),
        "h" | "high" | "hi" | "r2" | "2" => Some(2),
        "m" | "mid" | "medium" | "r1" | "1" => Some(1),
        "f" | "full" | "r3" | "3" => Some(3),
        _ => None,
    }
}

/// Encodings of one track; browsers offer at most three, RFC 8853 sets no limit.
pub(super) const ENCODINGS_MAX: usize = 4;

/// One independently coded version of a track.
#[derive(Debug)]
pub(super) struct Encoding {
    pub(super) rid: String,
    pub(super) ssrc: Option<u32>,
    pub(super) rtx_ssrc: Option<u32>,
    /// Counts the SSRCs.
    pub(super) epoch: u16,
    pub(super) receiver: Receiver,
    kind: MediaKind,
    ring: Option<TrackWriter>,
    pub(super) pending: Vec<Pending>,
    pub(super) dirty: bool,
    /// Legs that are fed from here, or wait for a start here.
    pub(super) subscribers: Vec<LegRef>,
    pub(super) gate: Gate,
    pub(super) last_us: Option<u64>,
    /// Clock mapping of the publisher's newest sender report.
    pub(super) report: Option<SenderInfo>,
    /// When it arrived.
    pub(super) report_us: u64,
    /// A tap reads the encoding, up to this moment at least.
    pub(super) tapped_us: u64,
    /// Timestamp of the newest key frame, to tell its first packet, and where it began.
    key_timestamp: Option<u32>,
    key_index: Option<u64>,
    picture_id: Option<u16>,
    pub(super) pixels: u32,
    bytes: u64,
    metered: (u64, u64),
    pace: Pace,
}

/// How the packets of a frame follow each other.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Of the newest packet.
    timestamp: u32,
    arrival_us: u64,
    /// Time between the packets of a frame, smoothed.
    gap_us: u64,
    /// The newest packet ended its frame.
    ended: bool,
}

impl Pace {
    fn note(&mut self, meta: &PacketMeta) {
        if meta.timestamp == self.timestamp {
            let gap_us = meta.arrival_us.saturating_sub(self.arrival_us).min(PACE_GAP_US_MAX);
            self.gap_us = self.gap_us - self.gap_us / 8 + gap_us / 8;
        }
        *self = Self {
            timestamp: meta.timestamp,
            arrival_us: meta.arrival_us,
            gap_us: self.gap_us,
            ended: meta.has(PacketMeta::FRAME_END),
        };
    }
}

impl Encoding {
    fn new(rid: String, kind: MediaKind, clock_hz: u32) -> Self {
        Self {
            rid,
            ssrc: None,
            rtx_ssrc: None,
            epoch: 0,
            receiver: Receiver::new(clock_hz),
            kind,
            ring: None,
            pending: Vec::with_capacity(PENDING),
            dirty: false,
            subscribers: Vec::new(),
            gate: Gate::default(),
            last_us: None,
            report: None,
            report_us: 0,
            tapped_us: 0,
            key_timestamp: None,
            key_index: None,
            picture_id: None,
            pixels: 0,
            bytes: 0,
            metered: (0, 0),
            pace: Pace::default(),
        }
    }

    /// Whether the rest of a frame that has begun will be here at once, and many wait for it.
    pub(super) fn awaits(&self) -> bool {
        self.kind == MediaKind::Video
            && !self.pending.is_empty()
            && !self.pace.ended
            && self.pace.gap_us <= PACE_GAP_US
            && self.subscribers.len() >= GATHER_SUBSCRIBERS
    }

    /// The publisher sends this encoding under another SSRC.
    pub(super) fn restart(&mut self, ssrc: u32, clock_hz: u32) {
        if self.ssrc.is_some() {
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.ssrc = Some(ssrc);
        self.receiver.restart(clock_hz);
        self.report = None;
        self.key_timestamp = None;
        self.key_index = None;
        self.picture_id = None;
    }

    /// Whether packets come.
    pub(super) fn flows(&self, now_us: u64) -> bool {
        self.last_us.is_some_and(|at| now_us.saturating_sub(at) < SILENT_US)
    }

    /// Whether somebody receives it, or waits for it.
    pub(super) const fn is_followed(&self, now_us: u64) -> bool {
        !self.subscribers.is_empty() || self.is_tapped(now_us)
    }

    const fn is_tapped(&self, now_us: u64) -> bool {
        now_us < self.tapped_us
    }

    pub(super) const fn ring(&self) -> Option<&TrackWriter> {
        self.ring.as_ref()
    }

    /// Puts a packet into the ring.
    pub(super) fn store(&mut self, meta: &PacketMeta, packet: &[u8]) -> RingSeq {
        self.bytes += packet.len() as u64;
        self.pace.note(meta);
        let size = match self.kind {
            MediaKind::Audio => AUDIO_RING,
            MediaKind::Video => VIDEO_RING,
        };
        self.ring.get_or_insert_with(|| TrackWriter::new(size)).push(meta, packet)
    }

    /// Makes the ring fit the present bit rate; called about once a second.
    pub(super) fn meter(&mut self, now_us: u64) {
        let (bytes, since_us) = self.metered;
        let span_us = now_us.saturating_sub(since_us);
        if span_us < METER_US {
            return;
        }
        self.metered = (self.bytes, now_us);
        let rate_bps = (self.bytes - bytes) * 8_000_000 / span_us;
        let tapped = self.is_tapped(now_us);
        let Some(ring) = &mut self.ring else { return };
        let millis = if tapped { TAPPED_MILLIS } else { VIDEO_MILLIS };
        let wanted = RingSize::for_rate(millis, rate_bps, VIDEO_PACKET_BYTES);
        let size = match self.kind {
            MediaKind::Audio if tapped => TAPPED_AUDIO_RING,
            MediaKind::Audio => return,
            MediaKind::Video => {
                let bytes = wanted.bytes.clamp(ring.capacity_bytes(), RING_BYTES_MAX);
                let least = if tapped { TAPPED_PACKETS_MIN } else { 0 };
                RingSize { packets: (bytes / VIDEO_PACKET_BYTES).max(least), bytes }
            }
        };
        if size.bytes > ring.capacity_bytes() || size.packets > ring.capacity_packets() {
            ring.resize(size);
        }
    }

    /// Marks the first packet of a key frame, once: parameter sets and slices of one picture all look like starts.
    pub(super) fn note_start(&mut self, meta: &mut PacketMeta, now_us: u64) {
        if self.kind == MediaKind::Audio || !meta.is_start() {
            return;
        }
        let again = self.key_timestamp == Some(meta.timestamp);
        if again && self.key_index.is_some_and(|first| first < meta.index) {
            meta.flags &= !PacketMeta::FRAME_START;
            return;
        }
        self.key_timestamp = Some(meta.timestamp);
        self.key_index = Some(meta.index);
        self.gate.arrive(now_us);
    }

    /// A key frame is complete: what was lost before it matters no more.
    pub(super) fn note_end(&mut self, meta: &PacketMeta) {
        if let (true, Some(first)) = (meta.has(PacketMeta::FRAME_END), self.key_index)
            && self.key_timestamp == Some(meta.timestamp)
            && self.receiver.is_complete_from(first)
        {
            self.receiver.forget_before(first);
        }
    }

    /// A picture id of 7 bits as one of 15 that never jumps.
    pub(super) fn extend_picture_id(&mut self, short: u16) -> u16 {
        let last = self.picture_id.unwrap_or(short);
        let ahead = short.wrapping_sub(last) & 0x7f;
        // Up to half the range ahead is newer, the rest late.
        let extended = if ahead < 64 { last.wrapping_add(ahead) } else { last.wrapping_sub(128 - ahead) }
            & PICTURE_ID_MASK;
        if ahead < 64 {
            self.picture_id = Some(extended);
        }
        extended
    }
}

/// Finds a track by its slab key.
pub(super) fn encoding(tracks: &slab::Slab<Track>, track: slab::Key, encoding: u8) -> Option<&Encoding> {
    tracks.find(track)?.encodings.get(usize::from(encoding))
}

/// Position and description of the codec with a payload type, and whether it is that codec's RTX.
pub(super) fn codec_of(codecs: &[CodecSpec], payload_type: u8) -> Option<(u8, Codec, bool)> {
    codecs.iter().enumerate().find_map(|(at, spec)| {
        let repair = spec.rtx_payload_type == Some(payload_type);
        (repair || spec.payload_type == payload_type).then_some((at as u8, spec.codec, repair))
    })
}

/// An encoding without packets for this long does not flow: browsers send at least a few frames a second.
const SILENT_US: u64 = 1_500_000;

/// History of a video encoding.
const VIDEO_MILLIS: u64 = 1500;

/// History of an encoding that is tapped: what a recorder that fails over to another one has missed.
const TAPPED_MILLIS: u64 = 5000;

/// Packets of a tapped video encoding that are kept at least: small pictures have small packets.
const TAPPED_PACKETS_MIN: usize = 1024;

/// Five seconds of sound.
const TAPPED_AUDIO_RING: RingSize = RingSize { packets: 256, bytes: 64 * 1024 };

/// Below this a video packet is the exception.
const VIDEO_PACKET_BYTES: usize = 512;

/// First size of a video ring: 700 kbit/s. Grows with the bit rate.
const VIDEO_RING: RingSize = RingSize { packets: 256, bytes: 128 * 1024 };

/// Bytes of the largest ring: 22 Mbit/s.
const RING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One second of 50 packets at up to 64 kbit/s, with room for redundancy.
const AUDIO_RING: RingSize = RingSize { packets: 64, bytes: 16 * 1024 };

/// Packets of one turn that there is room for: many frames, or a large key frame.
const PENDING: usize = 64;

/// Packets of a frame that follow each other within this time are worth waiting for. Browsers: 20 microseconds.
const PACE_GAP_US: u64 = 300;

/// A longer gap is a stall, or even pacing; it counts as much.
const PACE_GAP_US_MAX: u64 = 2000;

/// For fewer, waiting costs more than it saves.
const GATHER_SUBSCRIBERS: usize = 6;

/// Bit rates are measured over this time.
const METER_US: u64 = 900_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn track(rids: &[&str]) -> Track {
        let section = Section {
            mid: "1".to_owned(),
            kind: MediaKind::Video,
            flow: crate::transport::spec::Flow::None,
            codecs: Vec::new(),
            extensions: crate::transport::spec::ExtensionIds::default(),
        };
        let rids: Vec<String> = rids.iter().map(|rid| (*rid).to_owned()).collect();
        Track::new(SessionKey(1), StreamKey(1), 0, &section, &rids)
    }

    #[test]
    fn encodings_are_ordered_by_name_and_then_by_size() {
        let mut found = track(&["h", "m", "l"]);
        assert_eq!(found.rids(), ["l", "m", "h"]);
        for (encoding, pixels) in found.encodings.iter_mut().zip([100, 200, 300]) {
            encoding.pixels = pixels;
        }
        found.sort();
        assert_eq!(found.rids(), ["h", "m", "l"]);
        assert_eq!(track(&["a", "b"]).rids(), ["a", "b"]);
        assert!(track(&[]).rids().is_empty());
    }

    #[test]
    fn the_highest_flowing_encoding_within_the_limit_is_chosen() {
        let mut found = track(&["l", "m", "h"]);
        assert_eq!((found.choose(u8::MAX, 0), found.choose(1, 0)), (2, 1));
        found.encodings[0].last_us = Some(0);
        found.encodings[1].last_us = Some(0);
        assert_eq!((found.choose(u8::MAX, 10), found.choose(0, 10)), (1, 0));
        found.encodings[2].last_us = Some(5_000_000);
        assert_eq!(found.choose(0, 5_000_000), 2);
    }

    #[test]
    fn the_rest_of_a_frame_is_awaited_only_where_frames_come_in_bursts() {
        let mut found = track(&[]);
        let encoding = &mut found.encodings[0];
        let leg = LegRef { endpoint: 0, leg: 0 };
        encoding.subscribers = vec![leg; GATHER_SUBSCRIBERS];
        let mut frame = |number: u32, gap_us: u64| {
            let mut awaited = Vec::new();
            for place in 0..4 {
                let flags = if place == 3 { PacketMeta::FRAME_END } else { 0 };
                let arrival_us = u64::from(number) * 33_000 + place * gap_us;
                let meta =
                    PacketMeta { timestamp: number * 3000, arrival_us, flags, ..PacketMeta::default() };
                let ring = encoding.store(&meta, &[0; 100]);
                encoding.pending.push(Pending { meta, ring, start: 0, end: 100, pad: 0, late: false });
                awaited.push(encoding.awaits());
            }
            encoding.pending.clear();
            awaited
        };
        assert_eq!(frame(1, 20), [true, true, true, false]);
        (2..9).for_each(|number| drop(frame(number, 8000)));
        assert_eq!(frame(9, 8000), [false; 4], "evenly paced");
        (10..20).for_each(|number| drop(frame(number, 20)));
        assert_eq!(frame(20, 20), [true, true, true, false], "in bursts again");
    }

    #[test]
    fn short_picture_ids_go_on_beyond_seven_bits() {
        let mut found = track(&[]);
        let encoding = &mut found.encodings[0];
        let ids: Vec<u16> =
            [126, 127, 0, 1, 127, 2].into_iter().map(|id| encoding.extend_picture_id(id)).collect();
        assert_eq!(ids, [126, 127, 128, 129, 127, 130]);
    }
}
