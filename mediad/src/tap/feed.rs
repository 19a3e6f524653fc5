//! Pure: no clock, no I/O, no async.
//!
//! One track of one tap: from the rings of its encodings to the records that a recorder gets. Reads in its own time; what
//! it cannot follow it skips and says so.
//!
//! A feed begins, changes its encoding, and goes on after a loss of its place only with a packet that a decoder can
//! start with. Until another encoding has such a packet, the present one is sent on.

#![expect(clippy::cast_sign_loss, reason = "modulo arithmetic on protocol fields")]

use common::id::StreamKey;
use common::wire::media::{
    Gap, GapWhy, Packet, PauseWhy, Paused, Report, Resume, RingSeq as Place, Switched, TrackCodec,
    TrackHeader, TrackId,
};
use common::wire::node::MediaKind;

use super::order::{Item, Next, Order};
use super::records::Records;
use crate::codec::descriptor::{self, Counters, DESCRIPTOR_BYTES_MAX, Offsets};
use crate::ring::{PacketMeta, Read, RingSeq, TrackReader};
use crate::router::{SeenEncoding, SeenReport, SeenTrack};

/// A key frame of this age is a good beginning.
const FRESH_US: u64 = 1_000_000;

/// Packets before a start in the ring that may belong behind it.
const REORDER_PACKETS: u64 = 64;

/// A longer hole is not kept in the sequence numbers.
const HOLE_MAX: u64 = 1000;

/// Nothing for so long is a pause.
const SILENT_US: u64 = 1_500_000;

/// Bytes of one packet.
const PACKET_BYTES_MAX: usize = 2048;

/// Where a feed begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    /// With the newest key frame, if it is fresh; else with the next one.
    Live,
    /// With what arrived at or after this moment.
    Since(u64),
    /// After what was received before.
    Resume(Resume),
}

/// One track of one tap.
#[derive(Debug)]
pub struct Feed {
    header: TrackHeader,
    codec: u8,
    reorder_us: u64,
    begin: Begin,
    encodings: Vec<SeenEncoding>,
    allowed: bool,
    target: u8,
    current: Option<Current>,
    scout: Option<Scout>,
    mapping: Option<Mapping>,
    last: Last,
    reported: Option<SeenReport>,
    paused: Option<PauseWhy>,
    /// A decoder has lost its picture.
    broken: bool,
    scratch: Vec<u8>,
}

/// The encoding that is sent.
#[derive(Debug)]
struct Current {
    reader: TrackReader,
    order: Order,
    /// Where it began.
    from: RingSeq,
}

/// Looks for a packet to start with.
#[derive(Debug)]
struct Scout {
    encoding: u8,
    reader: TrackReader,
    /// The next packet will do, whatever it is.
    exact: bool,
}

/// How an encoding's packets become this track's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Mapping {
    encoding: u8,
    epoch: u16,
    timestamp: u32,
    counters: Offsets,
}

/// What was sent last, to go on from.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    sent: bool,
    /// Number of the next packet.
    sequence: u16,
    timestamp: u32,
    /// Arrival of the first packet with that timestamp, and of the newest packet.
    arrival_us: u64,
    newest_us: u64,
    counters: Counters,
    is_frame_end: bool,
}

impl Feed {
    /// A feed of a track that has a codec; none for one that has not. `now_us` is on the clock of arrivals.
    #[must_use]
    pub fn new(now_us: u64, track: TrackId, seen: &SeenTrack, begin: Begin, reorder_us: u64) -> Option<Self> {
        let codec = seen.codec.as_ref()?;
        let header = TrackHeader {
            track,
            stream: seen.stream,
            kind: seen.kind,
            codec: TrackCodec {
                name: codec.name.to_owned(),
                clock_hz: codec.clock_hz,
                channels: codec.channels,
                fmtp: codec.fmtp.clone(),
            },
            payload_type: codec.payload_type,
            ssrc: ssrc_of(seen.stream, seen.kind),
            ext: Vec::new(),
        };
        let mut feed = Self {
            header,
            codec: codec.position,
            reorder_us,
            begin,
            encodings: Vec::new(),
            allowed: true,
            target: seen.chosen,
            current: None,
            scout: None,
            mapping: None,
            last: Last { newest_us: now_us, ..Last::default() },
            reported: None,
            paused: None,
            broken: false,
            scratch: vec![0; PACKET_BYTES_MAX],
        };
        feed.see(seen);
        Some(feed)
    }

    /// What the track's stream begins with.
    #[must_use]
    pub const fn header(&self) -> &TrackHeader {
        &self.header
    }

    /// Takes in how the track is now.
    pub fn see(&mut self, seen: &SeenTrack) {
        self.encodings.clone_from(&seen.encodings);
        self.allowed = seen.allowed;
        self.target = seen.chosen;
    }

    /// The encoding that is read, and the one of which a key frame is needed.
    #[must_use]
    pub fn needs(&self) -> (Option<u8>, Option<u8>) {
        let reading = self.current.as_ref().and(self.mapping).map(|mapping| mapping.encoding);
        let waits = reading != Some(self.target);
        let needed = self.is_video() && self.allowed && (waits || self.broken);
        (reading, needed.then_some(self.target))
    }

    /// Reads on. True when `records` are full and there may be more.
    pub fn pump(&mut self, now_us: u64, records: &mut Records) -> bool {
        self.look_for_start(now_us, records);
        self.tell_report(records);
        let more = self.advance(now_us, records);
        if !self.allowed && !more {
            self.rest(records);
        }
        self.tell_pause(now_us, records);
        more
    }

    fn is_video(&self) -> bool {
        self.header.kind == MediaKind::Video
    }

    // ---- beginnings

    fn look_for_start(&mut self, now_us: u64, records: &mut Records) {
        if self.current.is_some() && self.mapping.is_some_and(|mapping| mapping.encoding == self.target) {
            self.scout = None;
            return;
        }
        let fits = |scout: &Scout| scout.encoding == self.target || scout.exact;
        let mut scout = match self.scout.take().filter(fits) {
            Some(scout) => scout,
            None => match self.send_scout(now_us, records) {
                Some(scout) => scout,
                None => return,
            },
        };
        let mut is_renewed = false;
        loop {
            match scout.reader.next(&mut self.scratch) {
                Read::Packet(seq, meta, _) if scout.exact || self.can_start(&meta) => {
                    return self.join(&scout, seq, &meta, records);
                }
                Read::Packet(..) | Read::Lapped { .. } => scout.exact = false,
                Read::Moved if !is_renewed => {
                    is_renewed = true;
                    scout.reader = self.renewed(scout.encoding, &scout.reader);
                }
                Read::Moved | Read::Empty => break,
            }
        }
        self.scout = Some(scout);
    }

    /// A reader of the encoding's present ring that goes on where the old one is.
    fn renewed(&self, encoding: u8, old: &TrackReader) -> TrackReader {
        let present = self.encodings.get(usize::from(encoding)).and_then(|found| found.reader.as_ref());
        present.map_or_else(|| old.clone(), |present| present.at(old.position()))
    }

    fn can_start(&self, meta: &PacketMeta) -> bool {
        meta.codec == self.codec
            && (!self.last.sent || meta.arrival_us >= self.last.newest_us)
            && if self.is_video() { meta.is_start() } else { !meta.has(PacketMeta::EMPTY) }
    }

    fn send_scout(&mut self, now_us: u64, records: &mut Records) -> Option<Scout> {
        if let (false, Begin::Resume(resume)) = (self.last.sent, self.begin) {
            self.begin = Begin::Since(0);
            let scout = self.resume(resume);
            if scout.is_some() {
                return scout;
            }
            records.push(Gap { skipped: 0, why: GapWhy::Forgotten });
        }
        let reader = self.encodings.get(usize::from(self.target))?.reader.as_ref()?;
        let from = self.first_of(reader, now_us);
        Some(Scout { encoding: self.target, reader: reader.at(from), exact: false })
    }

    /// Where to look for a start in a ring.
    fn first_of(&self, reader: &TrackReader, now_us: u64) -> RingSeq {
        let head = reader.head();
        let fresh_us = now_us.saturating_sub(FRESH_US);
        let since_us = match self.begin {
            _ if self.last.sent => self.last.newest_us.max(fresh_us),
            Begin::Since(since_us) => since_us,
            Begin::Live | Begin::Resume(_) => fresh_us,
        };
        let newest = matches!(self.begin, Begin::Live) || self.last.sent;
        let arrived = |seq: &RingSeq| {
            let meta = reader.meta(*seq).filter(|meta| meta.codec == self.codec);
            meta.is_some_and(|meta| meta.arrival_us >= since_us && (!self.is_video() || meta.is_start()))
        };
        if self.is_video() && newest {
            return reader.last_keyframe().filter(arrived).unwrap_or(head);
        }
        let mut all = (reader.oldest().0..head.0).map(RingSeq);
        all.find(arrived).unwrap_or(head)
    }

    /// Where a former tap left off; none if that is gone.
    fn resume(&self, resume: Resume) -> Option<Scout> {
        let (encoding, epoch, seq) = read_place(resume.after);
        let reader = self.encodings.get(usize::from(encoding))?.reader.as_ref()?;
        let meta = |seq: RingSeq| reader.meta(seq).filter(|meta| meta.epoch.to_le_bytes()[0] == epoch);
        let from = if resume.keyframe && self.is_video() {
            let mut before = (reader.oldest().0..=seq.0).rev().map(RingSeq);
            before.find(|seq| meta(*seq).is_some_and(|meta| meta.is_start()))?
        } else {
            meta(seq)?;
            RingSeq(seq.0 + 1)
        };
        Some(Scout { encoding, reader: reader.at(from), exact: true })
    }

    /// Begins to send what the scout found: sequence, timestamps and counters go on where they are.
    fn join(&mut self, scout: &Scout, seq: RingSeq, meta: &PacketMeta, records: &mut Records) {
        if let Some(current) = self.current.take() {
            self.finish(current, meta.arrival_us, records);
        }
        let same =
            self.mapping.filter(|mapping| mapping.encoding == scout.encoding && mapping.epoch == meta.epoch);
        if same.is_none() {
            let timestamp = if self.last.sent {
                self.align(scout.encoding, meta).wrapping_sub(meta.timestamp)
            } else {
                self.last.sequence = low_bits(meta.index);
                0
            };
            let counters = if self.last.counters.fields == 0 {
                Offsets::default()
            } else {
                Offsets::after(&self.last.counters, &meta.into())
            };
            self.mapping = Some(Mapping { encoding: scout.encoding, epoch: meta.epoch, timestamp, counters });
            let found = self.encodings.get(usize::from(scout.encoding));
            records.push(Switched {
                spatial: found.map_or(0, |found| found.spatial),
                rid: found.map(|found| found.rid.clone()).unwrap_or_default(),
            });
        }
        if self.last.sent && self.is_video() && !self.last.is_frame_end {
            // The picture before was cut off: a decoder must not take it for whole.
            self.gap(1, GapWhy::Lost, records);
        }
        let from = RingSeq(seq.0.saturating_sub(REORDER_PACKETS).max(scout.reader.oldest().0));
        self.current =
            Some(Current { reader: scout.reader.at(from), order: Order::new(meta.index), from: seq });
        self.reported = None;
        self.broken = false;
        self.tell_report(records);
    }

    /// Timestamp, as sent, of the first packet of a new source: by the sender reports of both where they share a clock,
    /// else by the time that passed between arrivals; always after the last one.
    fn align(&self, encoding: u8, meta: &PacketMeta) -> u32 {
        let clock = u64::from(self.header.codec.clock_hz);
        let passed = meta.arrival_us.saturating_sub(self.last.arrival_us) * clock / 1_000_000;
        let least = self.last.timestamp.wrapping_add(low_word((clock / 1000).max(1)));
        let by_arrival = self.last.timestamp.wrapping_add(low_word(passed));
        let report = |encoding: u8, epoch: u16| {
            let report = self.encodings.get(usize::from(encoding))?.report?;
            (report.epoch == epoch).then_some(report)
        };
        let by_report = self.mapping.and_then(|old| {
            let (from, to) = (report(old.encoding, old.epoch)?, report(encoding, meta.epoch)?);
            let apart = to.ntp.wrapping_sub(from.ntp).cast_signed();
            let units = (i128::from(apart) * i128::from(clock)) >> 32;
            let since = meta.timestamp.wrapping_sub(to.timestamp);
            let media = from.timestamp.wrapping_add(units as u32).wrapping_add(since);
            Some(media.wrapping_add(old.timestamp))
        });
        let near = |candidate: &u32| {
            let ahead = candidate.wrapping_sub(by_arrival).cast_signed();
            u64::from(ahead.unsigned_abs()) < clock
        };
        let wanted = by_report.filter(near).unwrap_or(by_arrival);
        if wanted.wrapping_sub(least).cast_signed() >= 0 { wanted } else { least }
    }

    /// The publisher may not send: what comes after that begins anew, and nothing before it is waited for.
    fn rest(&mut self, records: &mut Records) {
        if let (Some(current), Some(mapping)) = (self.current.take(), self.mapping) {
            let reader = current.reader.clone();
            self.finish(current, 0, records);
            self.scout = Some(Scout { encoding: mapping.encoding, reader, exact: false });
        }
    }

    // ---- going on

    /// Sends what the current encoding has. True when `records` are full.
    fn advance(&mut self, now_us: u64, records: &mut Records) -> bool {
        let mut give_up_us = 0;
        let mut is_renewed = false;
        while let (Some(mut current), Some(mapping)) = (self.current.take(), self.mapping) {
            if self.send_ordered(&mut current, give_up_us, records) {
                self.current = Some(current);
                return true;
            }
            match current.reader.next(&mut self.scratch) {
                Read::Packet(seq, meta, len) => {
                    if meta.epoch == mapping.epoch {
                        current.order.push(seq, &meta, &self.scratch[..len]);
                    } else if seq >= current.from {
                        // The publisher sends under another SSRC.
                        let reader = current.reader.at(seq);
                        self.finish(current, 0, records);
                        self.scout = Some(Scout { encoding: mapping.encoding, reader, exact: false });
                        self.look_for_start(now_us, records);
                        continue;
                    }
                }
                Read::Lapped { skipped, .. } => {
                    let reader = current.reader.clone();
                    self.finish(current, 0, records);
                    self.gap(skipped, GapWhy::Lapped, records);
                    self.scout = Some(Scout { encoding: mapping.encoding, reader, exact: false });
                    self.look_for_start(now_us, records);
                    continue;
                }
                Read::Moved if !is_renewed => {
                    is_renewed = true;
                    current.reader = self.renewed(mapping.encoding, &current.reader);
                }
                // Nothing that could still fill a hole is on its way here.
                Read::Empty | Read::Moved if give_up_us == 0 && current.order.is_waiting() => {
                    give_up_us = now_us.saturating_sub(self.reorder_us).max(1);
                }
                Read::Empty | Read::Moved => {
                    self.current = Some(current);
                    return false;
                }
            }
            self.current = Some(current);
        }
        false
    }

    /// Sends what is in order. True when `records` are full.
    fn send_ordered(&mut self, current: &mut Current, give_up_us: u64, records: &mut Records) -> bool {
        loop {
            if records.is_full() {
                return true;
            }
            match current.order.pop(give_up_us) {
                Next::Item(item) => self.send(&item, records),
                Next::Missing(missing) => {
                    self.gap(missing, GapWhy::Lost, records);
                    self.broken = self.is_video();
                }
                Next::Nothing => return false,
            }
        }
    }

    /// Sends what is left of an encoding and arrived before `until_us`, complete or not.
    fn finish(&mut self, mut current: Current, until_us: u64, records: &mut Records) {
        while let Read::Packet(seq, meta, len) = current.reader.next(&mut self.scratch) {
            if meta.arrival_us >= until_us || self.mapping.is_none_or(|mapping| mapping.epoch != meta.epoch) {
                break;
            }
            current.order.push(seq, &meta, &self.scratch[..len]);
        }
        loop {
            match current.order.pop(u64::MAX) {
                Next::Item(item) => self.send(&item, records),
                Next::Missing(missing) => self.gap(missing, GapWhy::Lost, records),
                Next::Nothing => return,
            }
        }
    }

    fn gap(&mut self, skipped: u64, why: GapWhy, records: &mut Records) {
        self.last.sequence = self.last.sequence.wrapping_add(low_bits(skipped.min(HOLE_MAX)));
        records.push(Gap { skipped, why });
    }

    fn send(&mut self, item: &Item, records: &mut Records) {
        let meta = &item.meta;
        let payload = item.bytes.get(usize::from(meta.payload_offset)..).unwrap_or_default();
        let Some(mapping) = self.mapping else { return };
        // Padding, and what belongs to another codec, leave no hole.
        if payload.is_empty() || meta.codec != self.codec {
            return;
        }
        let timestamp = meta.timestamp.wrapping_add(mapping.timestamp);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + DESCRIPTOR_BYTES_MAX + payload.len());
        let marker = u8::from(meta.has(PacketMeta::MARKER)) << 7;
        bytes.extend_from_slice(&[0x80, marker | self.header.payload_type]);
        bytes.extend_from_slice(&self.last.sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.header.ssrc.to_be_bytes());
        write_payload(meta, payload, &mapping.counters, &mut bytes);
        let is_start = !self.is_video() || meta.is_start();
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        records.push_packet(Packet {
            ring_seq: place(mapping.encoding, mapping.epoch, item.seq),
            arrival_us: meta.arrival_us,
            flags: flag(is_start, Packet::START) | flag(item.late, Packet::LATE),
            level: if meta.has(PacketMeta::AUDIO_LEVEL) { meta.audio_level } else { Packet::NO_LEVEL },
            orientation: if meta.has(PacketMeta::ORIENTATION) { meta.orientation } else { 0 },
            bytes,
        });
        self.note_sent(meta, timestamp, mapping.counters);
    }

    fn note_sent(&mut self, meta: &PacketMeta, timestamp: u32, counters: Offsets) {
        if !self.last.sent || timestamp != self.last.timestamp {
            self.last.timestamp = timestamp;
            self.last.arrival_us = meta.arrival_us;
        }
        self.last.sent = true;
        self.last.sequence = self.last.sequence.wrapping_add(1);
        self.last.newest_us = self.last.newest_us.max(meta.arrival_us);
        self.last.is_frame_end = meta.has(PacketMeta::FRAME_END);
        if meta.descriptor != 0 {
            self.last.counters = counters.apply(&meta.into());
        }
        self.paused = None;
        if meta.is_start() {
            self.broken = false;
        }
    }

    // ---- what else is to be told

    fn tell_report(&mut self, records: &mut Records) {
        let Some(mapping) = self.mapping.filter(|_| self.current.is_some()) else { return };
        let report = self.encodings.get(usize::from(mapping.encoding)).and_then(|found| found.report);
        let Some(report) = report.filter(|report| report.epoch == mapping.epoch) else { return };
        if self.reported != Some(report) {
            self.reported = Some(report);
            records.push(Report {
                ntp: report.ntp,
                rtp_timestamp: report.timestamp.wrapping_add(mapping.timestamp),
                arrival_us: report.arrival_us,
            });
        }
    }

    fn tell_pause(&mut self, now_us: u64, records: &mut Records) {
        let why = if !self.allowed {
            PauseWhy::Forbidden
        } else if now_us.saturating_sub(self.last.newest_us) >= SILENT_US {
            PauseWhy::Silent
        } else {
            return;
        };
        if self.paused.is_none() || (self.paused, why) == (Some(PauseWhy::Silent), PauseWhy::Forbidden) {
            self.paused = Some(why);
            records.push(Paused { why, since_us: self.last.newest_us });
        }
    }
}

/// Bytes of a plain RTP header.
const HEADER_BYTES: usize = 12;

/// Copies a payload with continuous counters.
fn write_payload(meta: &PacketMeta, payload: &[u8], offsets: &Offsets, out: &mut Vec<u8>) {
    let mut head = [0; DESCRIPTOR_BYTES_MAX + 2];
    let cut = descriptor::rewrite(&meta.into(), payload, offsets, &mut head);
    match cut.filter(|_| meta.descriptor != 0) {
        Some(cut) => {
            out.extend_from_slice(&head[..cut.written]);
            out.extend_from_slice(&payload[cut.read..]);
        }
        None => out.extend_from_slice(payload),
    }
}

/// A packet's place as the recorder gives it back: encoding, epoch, number in the ring.
fn place(encoding: u8, epoch: u16, seq: RingSeq) -> Place {
    Place(u64::from(encoding) << 56 | u64::from(epoch.to_le_bytes()[0]) << 48 | seq.0 & SEQ_MASK)
}

fn read_place(place: Place) -> (u8, u8, RingSeq) {
    let [encoding, epoch, ..] = place.0.to_be_bytes();
    (encoding, epoch, RingSeq(place.0 & SEQ_MASK))
}

const SEQ_MASK: u64 = (1 << 48) - 1;

/// The SSRC of a track in all taps, so that a resumed one goes on.
fn ssrc_of(stream: StreamKey, kind: MediaKind) -> u32 {
    let number = stream.0.wrapping_mul(2) + u64::from(kind == MediaKind::Video);
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    low_word(mixed >> 32) | 1
}

const fn low_bits(number: u64) -> u16 {
    (number & 0xffff) as u16
}

const fn low_word(number: u64) -> u32 {
    (number & 0xffff_ffff) as u32
}
