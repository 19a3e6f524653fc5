//! Pure: no clock, no I/O, no async.
//!
//! What of an endpoint's media must survive a move to another node: leases, so that no nonce is used twice, and
//! counters, so that the client sees one encoder. Bindings come from masterd again, rings fill anew.

use std::time::Instant;

use common::id::EndpointKey;
use common::wire::node::{ADOPTIONS_MAX, MediaKind};
use serde::{Deserialize, Serialize};

use super::endpoint::{GRANT, Limits, RTCP_GRANT, Source};
use super::{EndpointIndex, Router};
use crate::codec::descriptor::{Counters, PICTURE_ID_MASK};
use crate::transport::lease::{LastReport, Lease, RTCP_INDEX_END, RTP_INDEX_END, RtcpLease, SavedLease};
use crate::transport::srtp::RxStream;

/// Media part of a saved endpoint.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SavedMedia {
    /// RTP sources and how far each was received, for `Opener::resume`.
    pub rtp: Vec<RxStream>,
    /// RTCP sources and how far each was received.
    pub rtcp: Vec<RxStream>,
    /// Which encoding each incoming SSRC is: without it, packets after the move could not be told apart, for their
    /// senders have stopped to name them.
    pub sources: Vec<SavedSource>,
    /// Outgoing flows.
    pub legs: Vec<SavedLeg>,
    /// Where the successor's SRTCP indexes begin.
    pub srtcp_until: u32,
    /// Next transport-wide number.
    pub transport_seq: u16,
    /// Number of this report.
    pub number: u32,
}

/// One incoming SSRC.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SavedSource {
    /// It.
    pub ssrc: u32,
    /// The k-th section that we receive in, from 0.
    pub section: u8,
    /// Position of the encoding in that section.
    pub encoding: u8,
    /// It repairs the encoding.
    pub repair: bool,
}

/// One outgoing flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SavedLeg {
    /// Its slot.
    pub slot: u16,
    /// Its audio or video section.
    pub kind: MediaKind,
    /// Its media packets.
    pub lease: SavedLease,
    /// Its retransmissions.
    pub rtx: SavedLease,
    /// Whether anything was sent.
    pub sent: bool,
    /// Newest timestamp.
    pub timestamp: u32,
    /// Age of that packet at the time of saving, microseconds.
    pub age_us: u64,
    /// Newest picture id, TL0PICIDX, KEYIDX; none without.
    pub counters: Option<(u16, u8, u8)>,
    /// Newest frame number of dependency descriptors.
    pub frame: Option<u16>,
    /// Packets and payload bytes sent, for sender reports.
    pub sent_counts: (u64, u64),
}

impl SavedMedia {
    /// Leaves out the numbers that `earlier` nodes may have used, which were told to adopt the same state before. Each
    /// used at most one grant.
    ///
    /// # Errors
    /// [`TooManyAdoptions`], and nothing is changed.
    pub fn skip(&mut self, earlier: u16) -> Result<(), TooManyAdoptions> {
        if earlier >= ADOPTIONS_MAX {
            return Err(TooManyAdoptions);
        }
        for lease in self.legs.iter_mut().flat_map(|leg| [&mut leg.lease, &mut leg.rtx]) {
            lease.granted_until = (lease.granted_until + u64::from(earlier) * GRANT).min(RTP_INDEX_END);
        }
        let packets = u32::from(earlier) * RTCP_GRANT;
        self.srtcp_until = self.srtcp_until.saturating_add(packets).min(RTCP_INDEX_END);
        Ok(())
    }
}

/// A longer jump would make the client guess the roll-over counter wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("more than {ADOPTIONS_MAX} nodes in a row adopted one state")]
pub struct TooManyAdoptions;

impl Router {
    /// Saves an endpoint and reports limits about two seconds ahead for its leases. From the first call on, only further
    /// calls raise them, each to what the call before reported if its number is the one that the asker `holds`: a node
    /// that is cut off stops below what was reported last, where whoever has that state begins.
    pub fn checkpoint(&mut self, now: Instant, endpoint: EndpointKey, holds: u32) -> Option<SavedMedia> {
        let us = self.us(now);
        let index = self.index(endpoint)?;
        let endpoint = self.endpoints.find_mut(index.0)?;
        let link = &mut endpoint.link;
        link.limits = Limits::ByReports;
        let last =
            if holds == link.reported && holds > 0 { LastReport::Arrived } else { LastReport::Unknown };
        link.reported += 1;
        let srtcp_until = link.rtcp.checkpoint(RTCP_GRANT, last);
        let legs = endpoint.legs.iter_mut().map(|leg| {
            let counters = leg.last.counters;
            SavedLeg {
                slot: leg.slot,
                kind: leg.kind,
                lease: leg.lease.checkpoint(GRANT, last),
                rtx: leg.rtx.checkpoint(GRANT, last),
                sent: leg.last.sent,
                timestamp: leg.last.timestamp,
                age_us: us.saturating_sub(leg.last.arrival_us),
                counters: (counters.fields != 0).then_some((
                    counters.picture_id,
                    counters.tl0,
                    counters.key_index,
                )),
                frame: leg.last.frame,
                sent_counts: (leg.packets, leg.octets),
            }
        });
        let sources = endpoint.sources.iter().map(|source| SavedSource {
            ssrc: source.ssrc,
            section: source.section,
            encoding: source.encoding,
            repair: source.repair,
        });
        Some(SavedMedia {
            legs: legs.collect(),
            sources: sources.collect(),
            rtp: link.opener.iter().flat_map(|opener| opener.rtp_streams()).collect(),
            rtcp: link.opener.iter().flat_map(|opener| opener.rtcp_streams()).collect(),
            srtcp_until,
            transport_seq: link.transport_seq,
            number: link.reported,
        })
    }

    /// Puts a saved state into an endpoint that was just opened with the same specification. Call it before
    /// [`Self::install_keys`]; the opener there is `Opener::resume` with the saved streams. It may use one grant of
    /// numbers, which whoever adopts the same state later leaves out ([`SavedMedia::skip`]); more by checkpoints alone.
    pub fn restore(&mut self, now: Instant, index: EndpointIndex, saved: &SavedMedia) {
        let us = self.us(now);
        let Some(endpoint) = self.endpoints.find_mut(index.0) else { return };
        endpoint.link.limits = Limits::ByReports;
        endpoint.link.reported = saved.number;
        endpoint.link.rtcp = RtcpLease::resume(saved.srtcp_until);
        endpoint.link.rtcp.grant(saved.srtcp_until.saturating_add(RTCP_GRANT));
        // The predecessor may have gone on for as many packets as its leases allow.
        endpoint.link.transport_seq = saved.transport_seq.wrapping_add(GRANT as u16);
        for old in &saved.legs {
            let Some(at) = endpoint.leg_of(old.slot, old.kind) else { continue };
            let leg = &mut endpoint.legs[at];
            leg.lease = Lease::resume(old.lease);
            leg.rtx = Lease::resume(old.rtx);
            for lease in [&mut leg.lease, &mut leg.rtx] {
                lease.grant(lease.next() + GRANT);
            }
            leg.last.sent = old.sent;
            leg.last.timestamp = old.timestamp;
            leg.last.arrival_us = us.saturating_sub(old.age_us);
            if let Some((picture_id, tl0, key_index)) = old.counters {
                // The predecessor may have sent more pictures since.
                let picture_id = picture_id.wrapping_add(PICTURES_AHEAD) & PICTURE_ID_MASK;
                let tl0 = tl0.wrapping_add(PICTURES_AHEAD as u8 / 2);
                leg.last.counters = Counters { fields: COUNTERS_KNOWN, picture_id, tl0, key_index };
            }
            leg.last.frame = old.frame;
            (leg.packets, leg.octets) = old.sent_counts;
        }
        let sections = endpoint.sections.len();
        let known = saved.sources.iter().filter(|source| usize::from(source.section) < sections);
        let sources: Vec<Source> = known
            .take(crate::transport::srtp::SOURCES_MAX)
            .map(|old| Source {
                ssrc: old.ssrc,
                section: old.section,
                encoding: old.encoding,
                repair: old.repair,
            })
            .collect();
        for source in sources {
            if let Some(endpoint) =
                self.endpoints.find_mut(index.0).filter(|found| found.source(source.ssrc).is_none())
            {
                endpoint.sources.push(source);
                self.bind_source(index, source);
            }
        }
    }
}

/// Pictures that a predecessor sends at most between its last checkpoint and its end; a jump forward does no harm.
const PICTURES_AHEAD: u16 = 128;

/// Counters of a leg that never sent have no fields.
const COUNTERS_KNOWN: u8 = crate::codec::descriptor::PICTURE_ID;
