//! Pure: no clock, no I/O, no async.
//!
//! Incoming RTCP, and the clocks of sender reports.
//!
//! Every publisher has its own wall clock. What we send must carry one clock, ours, or a slot whose source changes would
//! jump; and audio and video of one publisher must keep their distance, or lips do not match. So the first sender report
//! of a publisher fixes the difference of the two clocks for all its tracks.

#![expect(clippy::cast_sign_loss, reason = "modulo arithmetic on protocol fields")]

use super::leg::Leg;
use super::repair::{REPAIRS_MAX, Repair};
use super::slab::Slab;
use super::stats::Dropped;
use super::track::{LegRef, Track};
use super::{EndpointIndex, Received, Router};
use crate::rtcp::{Block, Compound, Packet, SenderInfo, twcc};

/// Seconds from 1900 to 1970.
const NTP_EPOCH_S: u64 = 2_208_988_800;

/// A publisher's clock that differs more than this from what it said first was set anew: half a second.
const CLOCK_JUMP: u64 = 1 << 31;

impl Router {
    /// Takes an SRTCP datagram in.
    pub(super) fn receive_rtcp(&mut self, us: u64, index: EndpointIndex, datagram: &mut [u8]) -> Received {
        let opener = self.endpoints.find_mut(index.0).and_then(|endpoint| endpoint.link.opener.as_mut());
        let Some(opener) = opener else {
            self.totals.count(Dropped::NoKeys);
            return Received::Dropped(Dropped::NoKeys);
        };
        match opener.open_rtcp(datagram) {
            Ok(opened) => {
                self.totals.reports_in += 1;
                let mut entries = ENTRIES_MAX;
                for packet in Compound::new(&datagram[..opened.len]).take(PACKETS_MAX) {
                    self.handle_rtcp(us, index, packet, &mut entries);
                }
                Received::Control
            }
            Err(error) => {
                self.totals.count(Dropped::Srtp(error));
                Received::Dropped(Dropped::Srtp(error))
            }
        }
    }

    /// `entries` is what of the datagram's requests may still be read.
    fn handle_rtcp(&mut self, us: u64, index: EndpointIndex, packet: Packet<'_>, entries: &mut usize) {
        match packet {
            Packet::Bye(ssrcs) => ssrcs.for_each(|ssrc| self.end_source(us, index, ssrc)),
            Packet::Fir(ssrcs) => {
                ssrcs.take(ENTRIES_MAX).for_each(|ssrc| self.want_keyframe(us, index, ssrc));
            }
            Packet::Pli { media } => self.want_keyframe(us, index, media),
            Packet::Nack { media, lost } => self.want_again(index, media, lost, entries),
            Packet::ReceiverReport { blocks, .. } => {
                blocks.for_each(|block| self.note_block(us, index, &block));
            }
            Packet::SenderReport { ssrc, sender, blocks } => {
                self.note_sender(us, index, ssrc, &sender);
                blocks.for_each(|block| self.note_block(us, index, &block));
            }
            Packet::Remb { rate_bps } => {
                if let Some(endpoint) = self.endpoints.find_mut(index.0) {
                    endpoint.stats.remb_bps = rate_bps;
                }
            }
            Packet::TransportCc(bytes) => {
                if let (Some(endpoint), Some(feedback)) =
                    (self.endpoints.find_mut(index.0), twcc::Feedback::parse(bytes))
                {
                    endpoint.stats.feedback += feedback.take(FEEDBACK_MAX).count() as u64;
                }
            }
            Packet::Other(_) => {}
        }
    }

    /// A subscriber lost its picture.
    fn want_keyframe(&mut self, us: u64, index: EndpointIndex, ssrc: u32) {
        let Some(endpoint) = self.endpoints.find(index.0) else { return };
        let Some(leg) = endpoint.leg_by_ssrc(ssrc).map(|at| &endpoint.legs[at]) else { return };
        let (Some((_, key)), Some(position)) = (leg.source, leg.current) else { return };
        let recent_us = endpoint.rtt_us;
        let Some(track) = self.tracks.find_mut(key) else { return };
        let gate = &mut track.encodings[usize::from(position)].gate;
        gate.wish_unless_recent(us, recent_us);
        if gate.is_wished() {
            self.wish(us, key, position);
        }
    }

    /// A subscriber lost packets.
    fn want_again(
        &mut self,
        index: EndpointIndex,
        ssrc: u32,
        lost: impl Iterator<Item = u16>,
        entries: &mut usize,
    ) {
        let Some(endpoint) = self.endpoints.find(index.0) else { return };
        let Some(leg) = endpoint.leg_by_ssrc(ssrc) else { return };
        if endpoint.legs[leg].lease.ssrc() != ssrc {
            return;
        }
        let leg = LegRef { endpoint: index.0.slot, leg: leg as u16 };
        for sequence in lost.take(*entries) {
            *entries -= 1;
            self.totals.wanted += 1;
            if self.repairs.len() < REPAIRS_MAX {
                self.repairs.push_back(Repair { leg, sequence });
            }
        }
    }

    /// Reception report of a subscriber: loss and round-trip time (RFC 3550 section 6.4.1).
    fn note_block(&mut self, us: u64, index: EndpointIndex, block: &Block) {
        let now = (self.ntp(us) >> 16) as u32;
        let Some(endpoint) = self.endpoints.find_mut(index.0) else { return };
        let Some(at) = endpoint.leg_by_ssrc(block.ssrc) else { return };
        endpoint.legs[at].lost_fraction = block.fraction_lost;
        if block.last_report == 0 {
            return;
        }
        let rtt = now.wrapping_sub(block.last_report).wrapping_sub(block.delay);
        // Longer than four seconds is a wrapped or made-up number.
        if rtt < 4 << 16 {
            let sample_us = (u64::from(rtt) * 1_000_000) >> 16;
            endpoint.rtt_us = (endpoint.rtt_us * 7 + sample_us) / 8;
        }
    }

    /// Sender report of a publisher.
    fn note_sender(&mut self, us: u64, index: EndpointIndex, ssrc: u32, sender: &SenderInfo) {
        let ours = self.ntp(us);
        let Some(endpoint) = self.endpoints.find_mut(index.0) else { return };
        let Some(source) = endpoint.source(ssrc).filter(|source| !source.repair) else { return };
        let difference = ours.wrapping_sub(sender.ntp).cast_signed();
        let jumped =
            endpoint.ntp_offset.is_none_or(|old| difference.wrapping_sub(old).unsigned_abs() > CLOCK_JUMP);
        if jumped {
            endpoint.ntp_offset = Some(difference);
        }
        let offset = endpoint.ntp_offset;
        for section in &endpoint.sections {
            if let Some(track) = self.tracks.find_mut(section.track) {
                track.ntp_offset = offset;
            }
        }
        let key = endpoint.sections[usize::from(source.section)].track;
        if let Some(encoding) =
            self.tracks.find_mut(key).and_then(|track| track.encodings.get_mut(usize::from(source.encoding)))
        {
            encoding.report = Some(*sender);
            encoding.report_us = us;
            encoding.receiver.note_report(sender, us);
        }
    }

    /// A publisher ends a source: its encoding does not flow any more.
    fn end_source(&mut self, us: u64, index: EndpointIndex, ssrc: u32) {
        let Some(endpoint) = self.endpoints.find(index.0) else { return };
        let Some(source) = endpoint.source(ssrc).filter(|source| !source.repair) else { return };
        let key = endpoint.sections[usize::from(source.section)].track;
        if let Some(encoding) =
            self.tracks.find_mut(key).and_then(|track| track.encodings.get_mut(usize::from(source.encoding)))
        {
            encoding.last_us = None;
            encoding.receiver.forget_all();
        }
        self.reconsider(us, key);
    }

    /// Our wall clock, 32.32 fixed point seconds since 1900.
    pub(super) fn ntp(&self, us: u64) -> u64 {
        let unix = self.settings.unix;
        let total_us = u64::from(unix.subsec_micros()) + us;
        let seconds = (NTP_EPOCH_S + unix.as_secs() + total_us / 1_000_000) & 0xffff_ffff;
        (seconds << 32) | (((total_us % 1_000_000) << 32) / 1_000_000)
    }
}

/// Clock mapping and counters of one leg at `us`, which is `ntp` on our clock. `offset` is our clock minus the
/// publisher's.
pub(super) fn sender_info(
    tracks: &Slab<Track>,
    leg: &Leg,
    us: u64,
    ntp: u64,
    offset: Option<i64>,
) -> SenderInfo {
    let clock = u64::from(leg.clock_hz());
    let source = leg.current.and_then(|_| tracks.find(leg.mapping.track));
    let encoding = source.and_then(|track| track.encodings.get(usize::from(leg.mapping.encoding)));
    let report =
        encoding.filter(|encoding| encoding.epoch == leg.mapping.epoch).and_then(|encoding| encoding.report);
    let timestamp = match (report, offset) {
        (Some(report), Some(offset)) => {
            // The publisher's clock now, from its last report on.
            let passed = ntp.wrapping_sub_signed(offset).wrapping_sub(report.ntp).cast_signed();
            let units = (i128::from(passed) * i128::from(clock)) >> 32;
            report.timestamp.wrapping_add(leg.mapping.timestamp).wrapping_add(units as u32)
        }
        _ => {
            let passed_us = us.saturating_sub(leg.last.arrival_us);
            leg.last.timestamp.wrapping_add((passed_us * clock / 1_000_000) as u32)
        }
    };
    SenderInfo { ntp, timestamp, packets: leg.packets as u32, octets: leg.octets as u32 }
}

/// Packets of one compound that are read.
const PACKETS_MAX: usize = 64;

/// Entries of the requests of one datagram that are read: one client must not fill the queue that all share.
const ENTRIES_MAX: usize = 512;

/// Entries of one transport-wide feedback that are read.
const FEEDBACK_MAX: usize = 4096;
