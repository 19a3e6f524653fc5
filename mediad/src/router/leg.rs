//! Pure: no clock, no I/O, no async.
//!
//! One outgoing flow: a fixed SSRC that looks like one encoder however often its source changes. Sequence numbers come
//! from a lease; a gap in the source is kept as a gap by holding its nonces until the missing packets come, so that the
//! receiver can ask for them; packets that are dropped on purpose leave no gap.

#![expect(clippy::cast_sign_loss, reason = "modulo arithmetic on protocol fields")]

use common::id::StreamKey;
use common::wire::node::{MediaKind, SlotGap};

use super::slab;
use super::track::{Encoding, Track};
use crate::codec::descriptor::{Counters, Offsets};
use crate::codec::{self, av1};
use crate::ring::{PacketMeta, RingSeq};
use crate::rtp::{HEADER_BYTES_MAX, HeaderWriter};
use crate::transport::lease::{Lease, Nonce};
use crate::transport::spec::{CodecSpec, ExtensionIds, Section};

/// Codecs of one section that are mapped; a browser offers about ten.
pub(super) const CODECS_MAX: usize = 24;

/// A codec that the receiver has not agreed to.
pub(super) const ABSENT: u8 = 0xff;

/// Nonces that wait for late packets.
const HELD_MAX: usize = 64;

/// A longer gap in the source is not kept.
const GAP_MAX: u64 = 1000;

/// Changes of source whose packets can still be sent again.
const MAPPINGS: usize = 4;

/// How a source's packets become this leg's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mapping {
    pub(super) track: slab::Key,
    pub(super) encoding: u8,
    pub(super) epoch: u16,
    /// First outgoing index of this mapping.
    pub(super) from: u64,
    pub(super) timestamp: u32,
    pub(super) counters: Offsets,
    pub(super) frame: u16,
}

/// What was sent last, to go on from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    pub(super) sent: bool,
    pub(super) timestamp: u32,
    /// Arrival of the first packet with that timestamp.
    pub(super) arrival_us: u64,
    pub(super) counters: Counters,
    /// Frame number of the newest dependency descriptor.
    pub(super) frame: Option<u16>,
}

/// Where one sent packet is, for retransmission.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// Ring number, low bits.
    ring: u32,
    /// Outgoing sequence number.
    sequence: u16,
    /// When it was sent again, in units of 1.024 ms, 0 never.
    resent: u16,
}

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) kind: MediaKind,
    pub(super) slot: u16,
    pub(super) lease: Lease,
    pub(super) rtx: Lease,
    codecs: Vec<CodecSpec>,
    pub(super) ids: ExtensionIds,
    pub(super) template: Template,
    /// What fills the slot: the stream's track.
    pub(super) source: Option<(StreamKey, slab::Key)>,
    pub(super) spatial_max: u8,
    /// Encoding that should be sent, and the one that is.
    pub(super) target: u8,
    pub(super) current: Option<u8>,
    pub(super) gap: Option<SlotGap>,
    /// Outgoing payload types by position of the codec in the publisher's section.
    pub(super) payload_types: [u8; CODECS_MAX],
    pub(super) rtx_payload_types: [u8; CODECS_MAX],
    next_in: u64,
    held: Vec<(u64, Nonce)>,
    pub(super) mapping: Mapping,
    older: [Mapping; MAPPINGS],
    pub(super) last: Last,
    history: Vec<Sent>,
    pub(super) packets: u64,
    pub(super) octets: u64,
    pub(super) bytes: u64,
    pub(super) resent: u64,
    pub(super) lost_fraction: u8,
}

/// The header that all usual packets of a leg share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    pub(super) bytes: [u8; TEMPLATE_BYTES],
    pub(super) len: u8,
    /// Where abs-send-time, transport-cc number and audio level are; 0 is none.
    pub(super) send_time: u8,
    pub(super) transport_cc: u8,
    pub(super) audio_level: u8,
    /// Where the section's name is and its length.
    mid: (u8, u8),
}

/// 12 fixed, 4 extension header, 4 + 3 + 17 + 2 extensions, padded.
pub(super) const TEMPLATE_BYTES: usize = 48;

impl Template {
    fn new(mid: &str, ids: &ExtensionIds, kind: MediaKind) -> Self {
        let mut buf = [0; HEADER_BYTES_MAX];
        let mut writer = HeaderWriter::new(&mut buf, false, 0, 0, false);
        let place = |at: Option<usize>| at.map_or(0, |at| at as u8);
        let send_time = place(ids.abs_send_time.and_then(|id| writer.extension(id, &[0; 3])));
        let transport_cc = place(ids.transport_cc.and_then(|id| writer.extension(id, &[0; 2])));
        let name = place(ids.mid.and_then(|id| writer.extension(id, mid.as_bytes())));
        let level = ids.audio_level.filter(|_| kind == MediaKind::Audio);
        let audio_level = place(level.and_then(|id| writer.extension(id, &[0; 1])));
        let len = writer.finish();
        let mut bytes = [0; TEMPLATE_BYTES];
        bytes.copy_from_slice(&buf[..TEMPLATE_BYTES]);
        Self {
            bytes,
            len: len as u8,
            send_time,
            transport_cc,
            audio_level,
            mid: (name, if name == 0 { 0 } else { mid.len() as u8 }),
        }
    }

    /// Name of the section.
    pub(super) fn mid(&self) -> &[u8] {
        &self.bytes[usize::from(self.mid.0)..][..usize::from(self.mid.1)]
    }

    /// Whether a packet's extensions are exactly the template's.
    pub(super) const fn fits(&self, meta: &PacketMeta) -> bool {
        meta.flags & (PacketMeta::ORIENTATION | PacketMeta::PLAYOUT_DELAY) == 0
            && meta.dependency_offset == 0
            && (self.audio_level != 0) == meta.has(PacketMeta::AUDIO_LEVEL)
    }
}

/// What a leg does with a packet of its source.
#[derive(Debug)]
pub(super) enum Turn {
    /// Send it with this nonce.
    Send(Nonce),
    /// Nothing: seen before, too late, or dropped on purpose.
    Skip,
    /// The lease is used up.
    Exhausted,
}

impl Leg {
    pub(super) fn new(section: &Section, slot: u16, lease: Lease, rtx: Lease) -> Self {
        Self {
            kind: section.kind,
            slot,
            lease,
            rtx,
            codecs: section.codecs.clone(),
            ids: section.extensions,
            template: Template::new(&section.mid, &section.extensions, section.kind),
            source: None,
            spatial_max: u8::MAX,
            target: 0,
            current: None,
            gap: None,
            payload_types: [ABSENT; CODECS_MAX],
            rtx_payload_types: [ABSENT; CODECS_MAX],
            next_in: 0,
            held: Vec::new(),
            mapping: Mapping::default(),
            older: [Mapping::default(); MAPPINGS],
            last: Last::default(),
            history: Vec::new(),
            packets: 0,
            octets: 0,
            bytes: 0,
            resent: 0,
            lost_fraction: 0,
        }
    }

    /// Points the leg at a track. Nothing is sent before a packet that a receiver can start with.
    pub(super) fn attach(&mut self, stream: StreamKey, key: slab::Key, track: &Track) {
        self.source = Some((stream, key));
        self.current = None;
        self.held.clear();
        self.held.reserve_exact(HELD_MAX);
        self.history.resize(history_len(self.kind), Sent::default());
        self.payload_types = [ABSENT; CODECS_MAX];
        self.rtx_payload_types = [ABSENT; CODECS_MAX];
        for (at, published) in track.codecs.iter().enumerate().take(CODECS_MAX) {
            let wanted = (published.codec, published.fmtp.as_str());
            let found = self.codecs.iter().find(|own| codec::compatible(wanted, (own.codec, &own.fmtp)));
            if let Some(own) = found {
                self.payload_types[at] = own.payload_type;
                self.rtx_payload_types[at] = own.rtx_payload_type.unwrap_or(ABSENT);
            }
        }
    }

    /// Empties the leg.
    pub(super) fn detach(&mut self) {
        self.source = None;
        self.current = None;
        self.gap = None;
        self.held.clear();
    }

    /// Whether the receiver agreed to a codec of the publisher's section.
    pub(super) fn accepts(&self, codec: u8) -> bool {
        self.payload_types.get(usize::from(codec)).is_some_and(|found| *found != ABSENT)
    }

    /// Clock of what is sent.
    pub(super) fn clock_hz(&self) -> u32 {
        self.codecs.first().map_or(90_000, |codec| codec.clock_hz)
    }

    /// Begins to send from `encoding` with the packet `meta`: counters and timestamps go on where they are.
    pub(super) fn join(&mut self, track: (slab::Key, &Track), encoding: u8, meta: &PacketMeta, random: u32) {
        let source = &track.1.encodings[usize::from(encoding)];
        let old = self.last.sent.then_some(()).filter(|()| self.mapping.track == track.0);
        let old = old.and_then(|()| track.1.encodings.get(usize::from(self.mapping.encoding)));
        let timestamp = if self.last.sent { self.align(old, source, meta) } else { random };
        let first = Counters::from(meta);
        let counters = if self.last.counters.fields == 0 {
            Offsets::default()
        } else {
            Offsets::after(&self.last.counters, &first)
        };
        self.older.rotate_right(1);
        self.older[0] = self.mapping;
        self.mapping = Mapping {
            track: track.0,
            encoding,
            epoch: meta.epoch,
            from: self.lease.next(),
            timestamp: timestamp.wrapping_sub(meta.timestamp),
            counters,
            frame: 0,
        };
        self.held.clear();
        self.next_in = meta.index;
        self.current = Some(encoding);
    }

    /// Outgoing timestamp of the first packet of a new source: by the sender reports of both encodings where they
    /// share a clock, else by the time that passed between arrivals; always after the last one.
    fn align(&self, old: Option<&Encoding>, new: &Encoding, meta: &PacketMeta) -> u32 {
        let clock = u64::from(self.clock_hz());
        let passed = meta.arrival_us.saturating_sub(self.last.arrival_us) * clock / 1_000_000;
        let least = self.last.timestamp.wrapping_add((clock / 1000).max(1) as u32);
        let by_arrival = self.last.timestamp.wrapping_add(passed as u32);
        let by_report = old.filter(|old| old.epoch == self.mapping.epoch).and_then(|old| {
            let (from, to) = (old.report?, new.report?);
            // Signed distance of the two reports on the shared clock, in media units.
            let apart = i128::from(to.ntp) - i128::from(from.ntp);
            let units = (apart * i128::from(clock)) >> 32;
            let media = from
                .timestamp
                .wrapping_add(units as u32)
                .wrapping_add(meta.timestamp.wrapping_sub(to.timestamp));
            Some(media.wrapping_add(self.mapping.timestamp))
        });
        let near = |candidate: &u32| {
            let ahead = candidate.wrapping_sub(by_arrival).cast_signed();
            u64::from(ahead.unsigned_abs()) < clock
        };
        let wanted = by_report.filter(near).unwrap_or(by_arrival);
        if wanted.wrapping_sub(least).cast_signed() >= 0 { wanted } else { least }
    }

    /// Finds the place of a packet of the current source in the outgoing sequence.
    pub(super) fn place(&mut self, meta: &PacketMeta) -> Turn {
        if meta.index < self.next_in {
            let found = self.held.iter().position(|(index, _)| *index == meta.index);
            return found.map_or(Turn::Skip, |at| Turn::Send(self.held.swap_remove(at).1));
        }
        // Padding leaves no gap, as long as it is in order.
        if meta.has(PacketMeta::EMPTY) && meta.index == self.next_in {
            self.next_in += 1;
            return Turn::Skip;
        }
        let gap = meta.index - self.next_in;
        if gap > 0 {
            self.hold(gap.min(GAP_MAX), meta.index);
        }
        let Some(nonce) = self.lease.take() else { return Turn::Exhausted };
        self.next_in = meta.index + 1;
        Turn::Send(nonce)
    }

    /// Keeps nonces for the `gap` packets before `index`.
    fn hold(&mut self, gap: u64, index: u64) {
        for missing in index - gap..index {
            let Some(nonce) = self.lease.take() else { return };
            if self.held.len() == HELD_MAX {
                // The oldest gap is given up: its number is lost for good.
                drop(self.held.remove(0));
            }
            self.held.push((missing, nonce));
        }
    }

    /// Notes a sent packet. `is_newest` is false for one that filled a gap.
    pub(super) fn note_sent(&mut self, index: u64, ring: RingSeq, meta: &PacketMeta, is_newest: bool) {
        let at = index as usize & (self.history.len() - 1);
        self.history[at] = Sent { ring: ring.0 as u32, sequence: index as u16, resent: 0 };
        if !is_newest {
            return;
        }
        let timestamp = meta.timestamp.wrapping_add(self.mapping.timestamp);
        if !self.last.sent || timestamp != self.last.timestamp {
            self.last.sent = true;
            self.last.timestamp = timestamp;
            self.last.arrival_us = meta.arrival_us;
        }
        if meta.descriptor != 0 {
            self.last.counters = self.mapping.counters.apply(&Counters::from(meta));
        }
    }

    /// Frame number of a dependency descriptor as it is sent; the first one of a source follows the last one sent.
    pub(super) fn shift_frame(&mut self, descriptor: &mut [u8], begins: bool) {
        let Some(found) = av1::dependency(descriptor) else { return };
        if begins {
            self.mapping.frame =
                self.last.frame.map_or(0, |last| last.wrapping_add(1).wrapping_sub(found.frame));
        }
        av1::shift_frame(descriptor, self.mapping.frame);
        let sent = found.frame.wrapping_add(self.mapping.frame);
        if self.last.frame.is_none_or(|last| sent.wrapping_sub(last) < 0x8000) {
            self.last.frame = Some(sent);
        }
    }

    /// Finds a sent packet for retransmission: where it is and how it was changed. None when it is unknown, or was
    /// sent again within `rtt_us`.
    pub(super) fn recall(&mut self, sequence: u16, now_us: u64, rtt_us: u64) -> Option<(Mapping, u64, u32)> {
        let index = crate::rtp::extend_sequence(self.lease.next(), sequence);
        if self.history.is_empty() || index >= self.lease.next() {
            return None;
        }
        let at = index as usize & (self.history.len() - 1);
        let entry = self.history.get_mut(at).filter(|entry| entry.sequence == sequence)?;
        let now = (now_us >> 10) as u16 | 1;
        if entry.resent != 0 && u64::from(now.wrapping_sub(entry.resent)) << 10 < rtt_us {
            return None;
        }
        let ring = entry.ring;
        let mapping =
            std::iter::once(&self.mapping).chain(&self.older).find(|mapping| mapping.from <= index)?;
        entry.resent = now;
        Some((*mapping, index, ring))
    }
}

/// Packets that can be sent again: about two seconds.
const fn history_len(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Audio => 128,
        MediaKind::Video => 1024,
    }
}
