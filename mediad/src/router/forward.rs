//! Pure: no clock, no I/O, no async.
//!
//! The hot path: one run of packets of one encoding to one subscriber, from the staging area into the transmit area.
//! Nothing is allocated here.

use super::endpoint::Link;
use super::leg::{ABSENT, Leg, Mapping, TEMPLATE_BYTES, Turn};
use super::slab;
use super::track::{Pending, Track};
use crate::codec::descriptor;
use crate::egress::TxBatch;
use crate::ring::PacketMeta;
use crate::rtp::{self, HEADER_BYTES_MAX, HeaderWriter};
use crate::transport::lease::Nonce;
use crate::transport::srtp;

/// The present moment in the forms that packets need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) us: u64,
    /// Content of the abs-send-time extension: seconds, 6.18 fixed point.
    pub(super) send_time: [u8; 3],
}

impl Moment {
    pub(super) const fn new(us: u64) -> Self {
        let fixed = (us as u128 * (1 << 18) / 1_000_000) as u32;
        let bytes = fixed.to_be_bytes();
        Self { us, send_time: [bytes[1], bytes[2], bytes[3]] }
    }
}

/// Bytes that a packet may grow by on its way through: header, descriptor, padding, seal.
pub(super) const GROWTH_BYTES_MAX: usize = HEADER_BYTES_MAX + srtp::OVERHEAD_BYTES_MAX + 8;

/// Where a run left its leg.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// As before.
    Same,
    /// It began here; `from` fed it before.
    Switched { from: Option<u8> },
    /// It can begin here, but packets that it needs came before the first one: begin from the ring.
    Replay,
    /// The lease is used up.
    Exhausted,
}

/// A track, one of its encodings, and packets of it in `staging`.
pub(super) struct Run<'a> {
    pub(super) key: slab::Key,
    pub(super) track: &'a Track,
    pub(super) encoding: u8,
    pub(super) packets: &'a [Pending],
    pub(super) staging: &'a [u8],
    /// Offset of timestamps for a leg that never sent.
    pub(super) random: u32,
    /// Begin although packets came out of order: they are sorted.
    pub(super) sorted: bool,
}

/// Sends the run to one leg. The batch has room for it.
pub(super) fn forward(
    run: &Run<'_>,
    leg: &mut Leg,
    link: &mut Link,
    moment: &Moment,
    batch: &mut TxBatch,
) -> Outcome {
    let mut outcome = Outcome::Same;
    link.refill(&mut leg.lease);
    for pending in run.packets {
        let meta = &pending.meta;
        let mut begins = false;
        if leg.current != Some(run.encoding)
            || leg.mapping.epoch != meta.epoch
            || leg.mapping.track != run.key
        {
            // Another encoding feeds the leg and this one is not wanted, or nothing can begin here.
            if leg.target != run.encoding || !meta.is_start() || !leg.accepts(meta.codec) {
                continue;
            }
            if pending.late && !run.sorted {
                return Outcome::Replay;
            }
            outcome = Outcome::Switched { from: leg.current };
            leg.join((run.key, run.track), run.encoding, meta, run.random);
            begins = true;
        }
        if !leg.accepts(meta.codec) {
            continue;
        }
        let before = leg.lease.next();
        match leg.place(meta) {
            Turn::Send(nonce) => {
                let packet = &run.staging[pending.start as usize..pending.end as usize];
                let is_newest = nonce.index() >= before;
                let index = nonce.index();
                send(leg, link, &Outgoing { meta, packet, pad: pending.pad, begins }, nonce, moment, batch);
                leg.note_sent(index, pending.ring, meta, is_newest);
            }
            Turn::Skip => {}
            Turn::Exhausted => return Outcome::Exhausted,
        }
    }
    outcome
}

/// One packet and how it leaves.
struct Outgoing<'a> {
    meta: &'a PacketMeta,
    packet: &'a [u8],
    pad: u8,
    begins: bool,
}

fn send(
    leg: &mut Leg,
    link: &mut Link,
    outgoing: &Outgoing<'_>,
    nonce: Nonce,
    moment: &Moment,
    batch: &mut TxBatch,
) {
    let (Some(sealer), Some(dest), Some(buf)) = (&link.sealer, link.dest, batch.space()) else { return };
    let meta = outgoing.meta;
    let timestamp = meta.timestamp.wrapping_add(leg.mapping.timestamp);
    let payload_type = leg.payload_types[usize::from(meta.codec)];
    let header_len = if leg.template.fits(meta) {
        usual_header(leg, link.transport_seq, meta, payload_type, timestamp, moment, buf)
    } else {
        full_header(leg, link.transport_seq, outgoing, payload_type, timestamp, moment, buf)
    };
    if leg.template.transport_cc != 0 {
        link.transport_seq = link.transport_seq.wrapping_add(1);
    }
    let payload = &outgoing.packet[usize::from(meta.payload_offset)..];
    let mut end = header_len + write_payload(meta, payload, &leg.mapping, &mut buf[header_len..]);
    let octets = end - header_len;
    // A packet without payload keeps its number: it goes as padding.
    let pad = if octets == 0 { 4 } else { outgoing.pad };
    if pad > 0 {
        end = rtp::pad(buf, end, pad);
    }
    let len = sealer.seal_rtp(buf, header_len, end - header_len, nonce);
    batch.commit(dest, len);
    leg.packets += 1;
    leg.octets += octets as u64;
    leg.bytes += len as u64;
}

/// Copies the template and fills in what changes.
fn usual_header(
    leg: &Leg,
    transport_seq: u16,
    meta: &PacketMeta,
    payload_type: u8,
    timestamp: u32,
    moment: &Moment,
    buf: &mut [u8],
) -> usize {
    let template = &leg.template;
    buf[..TEMPLATE_BYTES].copy_from_slice(&template.bytes);
    buf[1] = payload_type | u8::from(meta.has(PacketMeta::MARKER)) << 7;
    buf[4..8].copy_from_slice(&timestamp.to_be_bytes());
    if template.send_time != 0 {
        let at = usize::from(template.send_time);
        buf[at..at + 3].copy_from_slice(&moment.send_time);
    }
    if template.transport_cc != 0 {
        let at = usize::from(template.transport_cc);
        buf[at..at + 2].copy_from_slice(&transport_seq.to_be_bytes());
    }
    if template.audio_level != 0 {
        buf[usize::from(template.audio_level)] = meta.audio_level;
    }
    usize::from(template.len)
}

/// A header with extensions that not every packet has.
fn full_header(
    leg: &mut Leg,
    transport_seq: u16,
    outgoing: &Outgoing<'_>,
    payload_type: u8,
    timestamp: u32,
    moment: &Moment,
    buf: &mut [u8],
) -> usize {
    let (meta, ids) = (outgoing.meta, leg.ids);
    let start = usize::from(meta.dependency_offset);
    let dependency = &outgoing.packet[start..start + usize::from(meta.dependency_len)];
    // A dependency descriptor with its structure needs the two-byte form.
    let two_byte = ids.dependency_descriptor.is_some() && dependency.len() > 16;
    let template = leg.template;
    let mut writer = HeaderWriter::new(buf, meta.has(PacketMeta::MARKER), payload_type, timestamp, two_byte);
    if let Some(id) = ids.abs_send_time {
        writer.extension(id, &moment.send_time);
    }
    if let Some(id) = ids.transport_cc {
        writer.extension(id, &transport_seq.to_be_bytes());
    }
    if let Some(id) = ids.mid {
        writer.extension(id, template.mid());
    }
    if let Some(id) = ids.audio_level.filter(|_| meta.has(PacketMeta::AUDIO_LEVEL)) {
        writer.extension(id, &[meta.audio_level]);
    }
    if let Some(id) = ids.video_orientation.filter(|_| meta.has(PacketMeta::ORIENTATION)) {
        writer.extension(id, &[meta.orientation]);
    }
    if let Some(id) = ids.playout_delay.filter(|_| meta.has(PacketMeta::PLAYOUT_DELAY)) {
        writer.extension(id, &meta.playout_delay.to_be_bytes()[1..]);
    }
    let mut descriptor = None;
    if let Some(id) = ids.dependency_descriptor.filter(|_| !dependency.is_empty()) {
        descriptor = writer.extension(id, dependency);
    }
    let len = writer.finish();
    if let Some(at) = descriptor {
        leg.shift_frame(&mut buf[at..at + dependency.len()], outgoing.begins);
    }
    len
}

/// Copies the payload with the mapping's counters; gives its length.
pub(super) fn write_payload(meta: &PacketMeta, payload: &[u8], mapping: &Mapping, out: &mut [u8]) -> usize {
    if meta.descriptor == 0 {
        out[..payload.len()].copy_from_slice(payload);
        return payload.len();
    }
    match descriptor::rewrite(&meta.into(), payload, &mapping.counters, out) {
        Some(cut) => {
            let rest = &payload[cut.read..];
            out[cut.written..cut.written + rest.len()].copy_from_slice(rest);
            cut.written + rest.len()
        }
        None => {
            out[..payload.len()].copy_from_slice(payload);
            payload.len()
        }
    }
}

/// Writes a retransmission (RFC 4588 section 4): the original sequence number, then the packet as it was sent.
pub(super) fn resend(
    leg: &mut Leg,
    link: &mut Link,
    sent: (&Mapping, u64),
    (meta, packet): (&PacketMeta, &[u8]),
    moment: &Moment,
    batch: &mut TxBatch,
) -> usize {
    let payload_type = leg.rtx_payload_types.get(usize::from(meta.codec)).copied().unwrap_or(ABSENT);
    link.refill(&mut leg.rtx);
    let (Some(sealer), Some(dest), Some(buf)) = (&link.sealer, link.dest, batch.space()) else { return 0 };
    if payload_type == ABSENT {
        return 0;
    }
    let Some(nonce) = leg.rtx.take() else { return 0 };
    let (mapping, index) = sent;
    let timestamp = meta.timestamp.wrapping_add(mapping.timestamp);
    let saved = (leg.mapping, leg.last.frame);
    leg.mapping = *mapping;
    let outgoing = Outgoing { meta, packet, pad: 0, begins: false };
    let header_len = if leg.template.fits(meta) {
        usual_header(leg, link.transport_seq, meta, payload_type, timestamp, moment, buf)
    } else {
        full_header(leg, link.transport_seq, &outgoing, payload_type, timestamp, moment, buf)
    };
    (leg.mapping, leg.last.frame) = saved;
    if leg.template.transport_cc != 0 {
        link.transport_seq = link.transport_seq.wrapping_add(1);
    }
    buf[header_len..header_len + 2].copy_from_slice(&(index as u16).to_be_bytes());
    let payload = &packet[usize::from(meta.payload_offset)..];
    let len = 2 + write_payload(meta, payload, mapping, &mut buf[header_len + 2..]);
    let total = sealer.seal_rtp(buf, header_len, len, nonce);
    batch.commit(dest, total);
    leg.resent += 1;
    leg.bytes += total as u64;
    total
}

/// Chooses padding that makes neighbouring packets of a frame equally long, where it costs at most a few bytes: then
/// one system call message carries them all.
pub(super) fn level(packets: &mut [Pending]) {
    let mut start = 0;
    while start < packets.len() {
        let timestamp = packets[start].meta.timestamp;
        let end =
            start + packets[start..].iter().take_while(|packet| packet.meta.timestamp == timestamp).count();
        let frame = &mut packets[start..end];
        let longest = frame.iter().map(payload_len).max().unwrap_or(0);
        for packet in frame {
            let short = longest - payload_len(packet);
            packet.pad = if short <= LEVEL_BYTES_MAX { short as u8 } else { 0 };
        }
        start = end;
    }
}

const fn payload_len(packet: &Pending) -> usize {
    (packet.end - packet.start) as usize - packet.meta.payload_offset as usize
}

/// Most padding that levelling adds to a packet.
const LEVEL_BYTES_MAX: usize = 4;
