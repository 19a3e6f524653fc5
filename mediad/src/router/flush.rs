//! Pure: no clock, no I/O, no async.
//!
//! Everything that is to be sent, in the order of urgency: media of this turn, beginnings from rings, retransmissions,
//! requests to publishers, feedback, reports. Each part can stop when the batch is full and go on later.

use std::time::Instant;

use common::wire::node::MediaKind;

use super::endpoint::Link;
use super::forward::{self, GROWTH_BYTES_MAX, Moment, Outcome, Run};
use super::slab::Key;
use super::track::{LegRef, Pending, encoding};
use super::{EndpointIndex, FEEDBACK_US, Flush, Router, STEP_US};
use crate::egress::TxBatch;
use crate::ring::{PacketMeta, RingSeq};
use crate::rtcp::{Block, Builder};
use crate::transport::srtp;

/// Buffers that are used again.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Packets of a beginning, in order, and their bytes.
    packets: Vec<Pending>,
    bytes: Vec<u8>,
    /// Sequence numbers to ask for.
    lost: Vec<u16>,
    blocks: Vec<Block>,
}

impl Default for Scratch {
    /// Room for a whole beginning; the system gives the pages when they are used.
    fn default() -> Self {
        Self {
            packets: Vec::with_capacity(REPLAY_PACKETS_MAX as usize),
            bytes: Vec::with_capacity(REPLAY_PACKETS_MAX as usize * REPLAY_PACKET_BYTES + PACKET_BYTES_MAX),
            lost: Vec::with_capacity(LOST_MAX),
            blocks: Vec::with_capacity(BLOCKS),
        }
    }
}

/// How far the media of a turn were flushed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// Position in the list of encodings with packets.
    encoding: usize,
    /// First packet of the present portion.
    packet: usize,
    /// Next subscriber.
    subscriber: usize,
}

/// How many subscribers ahead the memory of one is fetched: first its endpoint, then what that points to. A worker of
/// many subscribers never has all of them in its core's cache.
const FAR: usize = 5;
const NEAR: usize = 2;

/// Packets of one encoding that a subscriber is sent in a row: what one segmentation-offload message carries.
const CHUNK_PACKETS: usize = crate::egress::SEGMENTS_MAX;

/// Bytes of one packet that comes out of a ring.
const PACKET_BYTES_MAX: usize = 2048;

/// Bytes of one RTCP datagram.
const RTCP_BYTES_MAX: usize = 1200;

/// A newcomer begins with a key frame from the ring if that and what followed is not more and not older.
const REPLAY_PACKETS_MAX: u64 = 300;
const REPLAY_US_MAX: u64 = 700_000;

/// Bytes of a packet of a beginning that room is kept for. Larger ones are the exception, and make room.
const REPLAY_PACKET_BYTES: usize = 1300;

/// Reception reports of one publisher that room is kept for.
const BLOCKS: usize = 16;

/// Packets before a late first packet that may belong behind it.
const REORDER_PACKETS: u64 = 64;

/// Sequence numbers that one request asks for at most.
const LOST_MAX: usize = 256;

impl Router {
    /// Puts what is to be sent into `batch`, which the caller clears before each call.
    pub fn flush(&mut self, now: Instant, batch: &mut TxBatch) -> Flush {
        let moment = Moment::new(self.us(now));
        let before = batch.datagrams().len();
        let reports = self.totals.reports_out;
        let mut done = self.flush_media(&moment, batch)
            && self.flush_starts(&moment, batch)
            && self.flush_repairs(&moment, batch);
        let packets = (batch.datagrams().len() - before) as u64;
        self.totals.packets_out += packets;
        self.totals.bytes_out +=
            batch.datagrams()[before..].iter().map(|sent| u64::from(sent.len)).sum::<u64>();
        done = done
            && self.flush_requests(moment.us, batch)
            && self.flush_feedback(moment.us, batch)
            && self.flush_reports(moment.us, batch);
        self.totals.reports_out = reports + (batch.datagrams().len() - before) as u64 - packets;
        if done { Flush::Done } else { Flush::More }
    }

    /// The packets of this turn to everyone who is fed from their encodings.
    fn flush_media(&mut self, moment: &Moment, batch: &mut TxBatch) -> bool {
        while let Some((key, position)) = self.dirty.get(self.cursor.encoding).copied() {
            let Some(mut packets) = self.pending(key, position).map(std::mem::take) else {
                self.cursor = Cursor { encoding: self.cursor.encoding + 1, ..Cursor::default() };
                continue;
            };
            if self.cursor.packet == 0 && self.cursor.subscriber == 0 && self.settings.level {
                forward::level(&mut packets);
            }
            let done = self.flush_chunks((key, position), &packets, moment, batch);
            if done {
                packets.clear();
                self.cursor = Cursor { encoding: self.cursor.encoding + 1, ..Cursor::default() };
            }
            let Some(encoding) =
                self.tracks.find_mut(key).map(|track| &mut track.encodings[usize::from(position)])
            else {
                continue;
            };
            encoding.pending = packets;
            encoding.dirty = !done;
            if !done {
                return false;
            }
        }
        self.dirty.clear();
        self.cursor = Cursor::default();
        self.staging.clear();
        true
    }

    fn pending(&mut self, key: Key, position: u8) -> Option<&mut Vec<Pending>> {
        Some(&mut self.tracks.find_mut(key)?.encodings.get_mut(usize::from(position))?.pending)
    }

    /// The packets in portions that fit any batch.
    fn flush_chunks(
        &mut self,
        at: (Key, u8),
        packets: &[Pending],
        moment: &Moment,
        batch: &mut TxBatch,
    ) -> bool {
        let random = self.random() as u32;
        while self.cursor.packet < packets.len() {
            let end = packets.len().min(self.cursor.packet + CHUNK_PACKETS);
            let chunk = &packets[self.cursor.packet..end];
            let done = self.flush_run(at, chunk, random, moment, batch);
            self.apply_moves(at.0);
            if !done {
                return false;
            }
            (self.cursor.packet, self.cursor.subscriber) = (end, 0);
        }
        true
    }

    /// A few packets of one encoding to its subscribers, beginning at the cursor.
    fn flush_run(
        &mut self,
        (key, position): (Key, u8),
        packets: &[Pending],
        random: u32,
        moment: &Moment,
        batch: &mut TxBatch,
    ) -> bool {
        let Some(track) = self.tracks.find(key) else { return true };
        let run =
            Run { key, track, encoding: position, packets, staging: &self.staging, random, sorted: false };
        let longest = packets.iter().map(|packet| packet.end - packet.start).max().unwrap_or(0) as usize;
        let subscribers = &track.encodings[usize::from(position)].subscribers;
        for at in subscribers.iter().skip(self.cursor.subscriber).take(FAR) {
            self.endpoints.prefetch(at.endpoint);
        }
        while let Some(at) = subscribers.get(self.cursor.subscriber) {
            if !batch.has_room(packets.len(), longest + GROWTH_BYTES_MAX) {
                // A batch that is too small for a portion will not do later either.
                debug_assert!(!batch.is_empty(), "a batch for {CHUNK_PACKETS} packets is needed");
                return batch.is_empty();
            }
            if let Some(far) = subscribers.get(self.cursor.subscriber + FAR) {
                self.endpoints.prefetch(far.endpoint);
            }
            if let Some(near) = subscribers.get(self.cursor.subscriber + NEAR)
                && let Some(endpoint) = self.endpoints.at(near.endpoint)
            {
                endpoint.prefetch(near.leg);
            }
            self.cursor.subscriber += 1;
            let Some(endpoint) = self.endpoints.at_mut(at.endpoint) else { continue };
            let Some(leg) = endpoint.legs.get_mut(usize::from(at.leg)) else { continue };
            if !endpoint.link.is_ready() || !endpoint.allowed {
                continue;
            }
            match forward::forward(&run, leg, &mut endpoint.link, moment, batch) {
                Outcome::Same => {}
                Outcome::Exhausted => self.totals.lease_exhausted += 1,
                outcome @ (Outcome::Replay | Outcome::Switched { .. }) => self.moves.push((*at, outcome)),
            }
        }
        true
    }

    /// Legs that began with a run leave the encoding that fed them.
    fn apply_moves(&mut self, key: Key) {
        while let Some((at, outcome)) = self.moves.pop() {
            match outcome {
                Outcome::Switched { from } => {
                    self.totals.switches += 1;
                    self.leave(key, at, from);
                }
                Outcome::Replay => self.starts.push((at, true)),
                Outcome::Exhausted | Outcome::Same => {}
            }
        }
    }

    fn leave(&mut self, key: Key, at: LegRef, from: Option<u8>) {
        let target = self
            .endpoints
            .at(at.endpoint)
            .and_then(|found| found.legs.get(usize::from(at.leg)))
            .map(|leg| leg.target);
        if let (Some(track), Some(from)) = (self.tracks.find_mut(key), from)
            && target != Some(from)
        {
            track.encodings[usize::from(from)].subscribers.retain(|other| *other != at);
        }
    }

    /// Newcomers begin with the key frame in the ring, or one is asked for.
    fn flush_starts(&mut self, moment: &Moment, batch: &mut TxBatch) -> bool {
        while let Some((at, forced)) = self.starts.last().copied() {
            match self.start(at, forced, moment, batch) {
                Some(()) => _ = self.starts.pop(),
                None => return false,
            }
        }
        true
    }

    /// None when the batch is full.
    fn start(&mut self, at: LegRef, forced: bool, moment: &Moment, batch: &mut TxBatch) -> Option<()> {
        let Some(endpoint) = self.endpoints.at(at.endpoint) else { return Some(()) };
        let Some(leg) = endpoint.legs.get(usize::from(at.leg)) else { return Some(()) };
        let Some((_, key)) = leg.source else { return Some(()) };
        let ready = endpoint.link.is_ready() && endpoint.allowed;
        if !ready || leg.kind == MediaKind::Audio || leg.current == Some(leg.target) && !forced {
            return Some(());
        }
        let target = leg.target;
        // Whoever sees another encoding of the track already would be thrown back in time.
        let fresh = leg.current.is_none() || forced;
        if !fresh || !self.gather(key, target, moment.us, forced) {
            self.wish(moment.us, key, target);
            return Some(());
        }
        let longest =
            self.scratch.packets.iter().map(|packet| packet.end - packet.start).max().unwrap_or(0) as usize;
        if !batch.has_room(self.scratch.packets.len(), longest + GROWTH_BYTES_MAX) {
            if batch.is_empty() {
                self.wish(moment.us, key, target);
                return Some(());
            }
            return None;
        }
        let random = self.random() as u32;
        let (Some(track), Some(endpoint)) = (self.tracks.find(key), self.endpoints.at_mut(at.endpoint))
        else {
            return Some(());
        };
        let (packets, staging) = (&self.scratch.packets[..], &self.scratch.bytes[..]);
        let run = Run { key, track, encoding: target, packets, staging, random, sorted: true };
        let leg = &mut endpoint.legs[usize::from(at.leg)];
        let outcome = forward::forward(&run, leg, &mut endpoint.link, moment, batch);
        self.moves.push((at, outcome));
        self.apply_moves(key);
        Some(())
    }

    /// Copies the newest key frame of an encoding and all that followed out of its ring, in order. False when there is
    /// none, it is too long ago, or something is missing.
    fn gather(&mut self, key: Key, position: u8, us: u64, forced: bool) -> bool {
        self.scratch.packets.clear();
        self.scratch.bytes.clear();
        let Some(encoding) = encoding(&self.tracks, key, position) else { return false };
        let Some((ring, seq)) = encoding.ring().and_then(|ring| Some((ring, ring.last_keyframe()?))) else {
            return false;
        };
        let Some(first) = ring.meta(seq) else { return false };
        let fresh = us.saturating_sub(first.arrival_us) <= REPLAY_US_MAX
            && ring.head().0 - seq.0 <= REPLAY_PACKETS_MAX;
        let complete = encoding.receiver.is_complete_from(first.index);
        if first.epoch != encoding.epoch || !fresh || !complete && !forced {
            return false;
        }
        for number in seq.0.saturating_sub(REORDER_PACKETS)..ring.head().0 {
            let ring_seq = RingSeq(number);
            let wanted = |meta: &PacketMeta| meta.index >= first.index && meta.epoch == first.epoch;
            if !ring.meta(ring_seq).as_ref().is_some_and(wanted) {
                continue;
            }
            let start = self.scratch.bytes.len();
            self.scratch.bytes.resize(start + PACKET_BYTES_MAX, 0);
            let Some((meta, len)) = ring.get(ring_seq, &mut self.scratch.bytes[start..]) else {
                return false;
            };
            self.scratch.bytes.truncate(start + len);
            let (start, end) = (start as u32, (start + len) as u32);
            self.scratch.packets.push(Pending { meta, ring: ring_seq, start, end, pad: 0, late: false });
        }
        self.scratch.packets.sort_unstable_by_key(|packet| packet.meta.index);
        if self.settings.level {
            forward::level(&mut self.scratch.packets);
        }
        !self.scratch.packets.is_empty()
    }

    /// Retransmissions to subscribers.
    fn flush_repairs(&mut self, moment: &Moment, batch: &mut TxBatch) -> bool {
        while let Some(repair) = self.repairs.front().copied() {
            if !batch.has_room(1, PACKET_BYTES_MAX + GROWTH_BYTES_MAX) {
                return false;
            }
            self.repairs.pop_front();
            let Some(endpoint) = self.endpoints.at_mut(repair.leg.endpoint) else { continue };
            let Some(leg) = endpoint.legs.get_mut(usize::from(repair.leg.leg)) else { continue };
            if !endpoint.link.is_ready()
                || !endpoint.allowed
                || leg.rtx_payload_types.iter().all(|own| *own == super::leg::ABSENT)
            {
                continue;
            }
            if !endpoint.budget.allows(moment.us) {
                self.totals.limited += 1;
                continue;
            }
            // What is still missing upstream is not known here: it will be sent under its number when it comes.
            let Some((mapping, index, low)) = leg.recall(repair.sequence, moment.us, endpoint.rtt_us) else {
                continue;
            };
            let Some(ring) =
                encoding(&self.tracks, mapping.track, mapping.encoding).and_then(|found| found.ring())
            else {
                continue;
            };
            let head = ring.head().0;
            let number = head.wrapping_sub(u64::from((head as u32).wrapping_sub(low)));
            self.scratch.bytes.resize(PACKET_BYTES_MAX, 0);
            let Some((meta, len)) = ring.get(RingSeq(number), &mut self.scratch.bytes) else { continue };
            let packet = &self.scratch.bytes[..len];
            let bytes =
                forward::resend(leg, &mut endpoint.link, (&mapping, index), (&meta, packet), moment, batch);
            endpoint.budget.spend(bytes);
            self.totals.resent += u64::from(bytes > 0);
        }
        true
    }

    /// Lost packets and key frames are asked of publishers.
    fn flush_requests(&mut self, us: u64, batch: &mut TxBatch) -> bool {
        let mut position = 0;
        while let Some((key, encoding)) = self.lossy.get(position).copied() {
            if !batch.has_room(1, RTCP_BYTES_MAX + srtp::OVERHEAD_BYTES_MAX) {
                return false;
            }
            if self.ask_again(us, key, encoding, batch) {
                position += 1;
            } else {
                self.lossy.swap_remove(position);
            }
        }
        position = 0;
        while let Some((key, encoding)) = self.wishing.get(position).copied() {
            if !batch.has_room(1, RTCP_BYTES_MAX + srtp::OVERHEAD_BYTES_MAX) {
                return false;
            }
            if self.ask_keyframe(us, key, encoding, batch) {
                position += 1;
            } else {
                self.wishing.swap_remove(position);
            }
        }
        true
    }

    /// Asks for what is missing of an encoding. False when nothing is any more.
    fn ask_again(&mut self, us: u64, key: Key, position: u8, batch: &mut TxBatch) -> bool {
        let Some(track) = self.tracks.find_mut(key) else { return false };
        let Some(endpoint) = self.endpoints.at_mut(track.endpoint) else { return false };
        let nack = track.codecs.get(usize::from(track.codec.unwrap_or(0))).is_some_and(|codec| codec.nack);
        let encoding = &mut track.encodings[usize::from(position)];
        // Nobody waits for it, or nobody would answer.
        if !encoding.is_followed(us) || !nack {
            encoding.receiver.forget_all();
            return false;
        }
        let lost = &mut self.scratch.lost;
        lost.clear();
        lost.reserve_exact(LOST_MAX);
        encoding.receiver.due(us, endpoint.rtt_us, lost);
        let media = encoding.ssrc;
        let open = encoding.receiver.is_missing_any();
        if lost.is_empty() || !endpoint.link.is_ready() {
            return open;
        }
        let Some(media) = media else { return open };
        let sender = endpoint.feedback_ssrc();
        self.totals.asked += lost.len() as u64;
        send_rtcp(&mut endpoint.link, batch, |builder| {
            builder.receiver_report(sender, &[]);
            builder.nack(sender, media, lost);
        });
        open
    }

    /// Asks for a key frame if one is wished and due. False when none is wished any more.
    fn ask_keyframe(&mut self, us: u64, key: Key, position: u8, batch: &mut TxBatch) -> bool {
        let Some(track) = self.tracks.find_mut(key) else { return false };
        let Some(endpoint) = self.endpoints.at_mut(track.endpoint) else { return false };
        let is_lowest = track.is_lowest(position);
        let spec = track.codec_spec().map(|codec| (codec.pli, codec.fir));
        let encoding = &mut track.encodings[usize::from(position)];
        if !encoding.gate.is_wished() || !encoding.is_followed(us) {
            encoding.gate.cancel();
            return false;
        }
        // Before the first packet the path may not be open, and a key frame asked too early is lost on it.
        let open = endpoint.link.is_ready() && encoding.receiver.is_started();
        let (Some(media), true) = (encoding.ssrc, open) else { return true };
        if !encoding.gate.poll(us, is_lowest) {
            return true;
        }
        let sender = endpoint.feedback_ssrc();
        self.totals.keyframes_asked += 1;
        // Without PLI there may be FIR; a sender with neither ignores the PLI.
        let fir = spec == Some((false, true));
        endpoint.fir = endpoint.fir.wrapping_add(1);
        let number = endpoint.fir;
        send_rtcp(&mut endpoint.link, batch, |builder| {
            builder.receiver_report(sender, &[]);
            if fir {
                builder.fir(sender, media, number);
            } else {
                builder.pli(sender, media);
            }
        });
        true
    }

    /// Transport-wide feedback to publishers.
    fn flush_feedback(&mut self, us: u64, batch: &mut TxBatch) -> bool {
        if us < self.feedback_us + FEEDBACK_US {
            return true;
        }
        while let Some(index) = self.feedback.last().copied() {
            if !self.report_arrivals(index, batch) {
                return false;
            }
            self.feedback.pop();
        }
        self.feedback_us = us;
        true
    }

    fn report_arrivals(&mut self, index: EndpointIndex, batch: &mut TxBatch) -> bool {
        let Some(endpoint) = self.endpoints.find_mut(index.0) else { return true };
        let sender = endpoint.feedback_ssrc();
        let media = endpoint.sources.first().map_or(0, |source| source.ssrc);
        let Some(recorder) = &mut endpoint.recorder else { return true };
        while recorder.is_pending() && endpoint.link.is_ready() {
            if !batch.has_room(1, RTCP_BYTES_MAX + srtp::OVERHEAD_BYTES_MAX) {
                return false;
            }
            let sent = send_rtcp(&mut endpoint.link, batch, |builder| {
                builder.receiver_report(sender, &[]);
                builder.transport_cc(|out| recorder.feedback(sender, media, out));
            });
            if !sent {
                break;
            }
        }
        endpoint.feedback_queued = false;
        true
    }

    /// Sender and receiver reports: each endpoint has its hundredth of a second in every second.
    fn flush_reports(&mut self, us: u64, batch: &mut TxBatch) -> bool {
        let now = us / STEP_US;
        // After a long pause one round is enough.
        self.report_step = self.report_step.max(now.saturating_sub(REPORT_STEPS));
        while self.report_step < now {
            let phase = (self.report_step % REPORT_STEPS) as u32;
            self.report_slot = self.report_slot.max(phase);
            while self.report_slot < self.endpoints.slots().max(self.tracks.slots()) {
                if !batch.has_room(REPORT_DATAGRAMS_MAX, RTCP_BYTES_MAX + srtp::OVERHEAD_BYTES_MAX) {
                    return batch.is_empty();
                }
                if let Some(track) = self.tracks.at_mut(self.report_slot) {
                    track.encodings.iter_mut().for_each(|encoding| encoding.meter(us));
                }
                self.report(us, self.report_slot, batch);
                self.report_slot += REPORT_STEPS as u32;
            }
            self.report_slot = 0;
            self.report_step += 1;
        }
        true
    }

    /// All reports of one endpoint.
    fn report(&mut self, us: u64, slot: u32, batch: &mut TxBatch) {
        let ntp = self.ntp(us);
        let Some(endpoint) = self.endpoints.at_mut(slot) else { return };
        let sent: u64 = endpoint.legs.iter().map(|leg| leg.bytes).sum();
        endpoint.budget.rate(sent.saturating_sub(endpoint.reported_bytes));
        endpoint.reported_bytes = sent;
        if !endpoint.link.is_ready() {
            return;
        }
        let blocks = &mut self.scratch.blocks;
        blocks.clear();
        for section in &endpoint.sections {
            let Some(track) = self.tracks.find_mut(section.track) else { continue };
            for encoding in track.encodings.iter_mut().filter(|encoding| encoding.receiver.is_started()) {
                let ssrc = encoding.ssrc.unwrap_or(0);
                blocks.push(encoding.receiver.report(ssrc, us));
            }
        }
        let sender = endpoint.feedback_ssrc();
        let (cname, tracks) = (&self.settings.cname, &self.tracks);
        if !blocks.is_empty() {
            send_rtcp(&mut endpoint.link, batch, |builder| {
                builder.receiver_report(sender, blocks);
                builder.sdes(sender, cname);
            });
        }
        for legs in endpoint.legs.chunks(REPORTS_PER_DATAGRAM) {
            if legs.iter().all(|leg| !leg.last.sent) {
                continue;
            }
            send_rtcp(&mut endpoint.link, batch, |builder| {
                for leg in legs.iter().filter(|leg| leg.last.sent) {
                    let offset = tracks.find(leg.mapping.track).and_then(|track| track.ntp_offset);
                    let info = super::control::sender_info(tracks, leg, us, ntp, offset);
                    builder.sender_report(leg.lease.ssrc(), &info);
                    builder.sdes(leg.lease.ssrc(), cname);
                }
            });
        }
    }
}

/// Builds, seals and commits one RTCP datagram. False when nothing was written or sent.
pub(super) fn send_rtcp(link: &mut Link, batch: &mut TxBatch, write: impl FnOnce(&mut Builder<'_>)) -> bool {
    let (Some(nonce), Some(dest)) = (link.rtcp_nonce(), link.dest) else { return false };
    let (Some(sealer), Some(buf)) = (&link.sealer, batch.space()) else { return false };
    let room = buf.len().saturating_sub(srtp::OVERHEAD_BYTES_MAX).min(RTCP_BYTES_MAX);
    let mut builder = Builder::new(&mut buf[..room]);
    write(&mut builder);
    let len = builder.len();
    if len == 0 {
        return false;
    }
    let total = sealer.seal_rtcp(buf, len, nonce);
    batch.commit(dest, total);
    true
}

/// One round of reports takes this many steps: a second.
const REPORT_STEPS: u64 = 100;

/// Sender reports with their descriptions that fit one datagram: 28 bytes and at most 272 each.
const REPORTS_PER_DATAGRAM: usize = 4;

/// Datagrams of one endpoint's reports: 128 legs, and one of reception reports.
const REPORT_DATAGRAMS_MAX: usize = 128 / REPORTS_PER_DATAGRAM + 1;
