//! Pure: no clock, no I/O, no async.
//!
//! One peer connection at the router: its keys and address, what it sends (sources and tracks) and what it receives
//! (legs).

use std::net::SocketAddr;

use common::id::{ConnectionKey, EndpointKey, SessionKey};
use common::wire::node::MediaKind;

use super::leg::Leg;
use super::repair::Budget;
use super::slab;
use super::stats::EndpointStats;
use crate::rtcp::twcc;
use crate::transport::lease::{Lease, RTCP_INDEX_END, RtcpLease, RtcpNonce};
use crate::transport::spec::{CodecSpec, EndpointSpec, ExtensionIds, Flow};
use crate::transport::srtp::{Opener, Sealer};
use crate::worker::syscall::prefetch;

/// Keys, address and counters of the way to one peer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) dest: Option<SocketAddr>,
    pub(super) sealer: Option<Sealer>,
    pub(super) opener: Option<Opener>,
    pub(super) rtcp: RtcpLease,
    /// Next transport-wide number.
    pub(super) transport_seq: u16,
    pub(super) limits: Limits,
    /// Number of the last checkpoint.
    pub(super) reported: u32,
}

/// Who raises the limits of an endpoint's leases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Limits {
    /// A successor may begin where they end: only checkpoints.
    ByReports,
    /// Nobody else knows of the endpoint: we ourselves.
    Own,
}

impl Link {
    /// Whether packets can be sent.
    pub(super) const fn is_ready(&self) -> bool {
        self.dest.is_some() && self.sealer.is_some()
    }

    /// Permission for one SRTCP packet.
    pub(super) fn rtcp_nonce(&mut self) -> Option<RtcpNonce> {
        if self.rtcp.remaining() == 0 && self.limits == Limits::Own {
            self.rtcp.grant((self.rtcp.next() + RTCP_GRANT).min(RTCP_INDEX_END));
        }
        self.rtcp.take()
    }

    /// Raises the limit of a lease that no successor knows.
    pub(super) fn refill(&self, lease: &mut Lease) {
        if self.limits == Limits::Own && lease.remaining() < GRANT / 4 {
            lease.grant(lease.next() + GRANT);
        }
    }
}

/// RTP packets of one SSRC that are granted at once: about two seconds of a busy video flow.
pub(super) const GRANT: u64 = 4096;

/// The same for SRTCP: about a minute of reports and feedback.
pub(super) const RTCP_GRANT: u32 = 4096;

/// What an incoming SSRC is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Source {
    pub(super) ssrc: u32,
    /// Position of the section in [`Endpoint::sections`].
    pub(super) section: u8,
    pub(super) encoding: u8,
    /// It repairs the encoding.
    pub(super) repair: bool,
}

/// A section that we receive in.
#[derive(Debug)]
pub(super) struct RxSection {
    pub(super) mid: String,
    pub(super) kind: MediaKind,
    pub(super) rids: Vec<String>,
    pub(super) codecs: Vec<CodecSpec>,
    pub(super) track: slab::Key,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) key: EndpointKey,
    pub(super) session: SessionKey,
    pub(super) connection: ConnectionKey,
    pub(super) link: Link,
    pub(super) ids: ExtensionIds,
    pub(super) sections: Vec<RxSection>,
    pub(super) sources: Vec<Source>,
    pub(super) recorder: Option<twcc::Recorder>,
    pub(super) legs: Vec<Leg>,
    /// May receive.
    pub(super) allowed: bool,
    pub(super) rtt_us: u64,
    /// Our clock minus the publisher's, 32.32 seconds.
    pub(super) ntp_offset: Option<i64>,
    pub(super) budget: Budget,
    pub(super) stats: EndpointStats,
    /// A feedback is queued.
    pub(super) feedback_queued: bool,
    /// Number of the last full intra request.
    pub(super) fir: u8,
    /// Bytes sent up to the last report.
    pub(super) reported_bytes: u64,
}

impl Endpoint {
    /// Has what a packet to a leg needs in the core's cache soon.
    pub(super) fn prefetch(&self, leg: u16) {
        if let Some(leg) = self.legs.get(usize::from(leg)) {
            prefetch(leg);
        }
        if let Some(sealer) = &self.link.sealer {
            sealer.prefetch();
        }
    }

    /// The leg of a slot.
    pub(super) fn leg_of(&self, slot: u16, kind: MediaKind) -> Option<usize> {
        self.legs.iter().position(|leg| leg.slot == slot && leg.kind == kind)
    }

    /// The leg that sends `ssrc`.
    pub(super) fn leg_by_ssrc(&self, ssrc: u32) -> Option<usize> {
        self.legs.iter().position(|leg| leg.lease.ssrc() == ssrc || leg.rtx.ssrc() == ssrc)
    }

    /// SSRC that our feedback comes from: the first that we send, else the one that browsers use too.
    pub(super) fn feedback_ssrc(&self) -> u32 {
        self.legs.first().map_or(1, |leg| leg.lease.ssrc())
    }

    pub(super) fn source(&self, ssrc: u32) -> Option<Source> {
        self.sources.iter().find(|source| source.ssrc == ssrc).copied()
    }

    /// Whether transport-wide feedback was agreed upon.
    pub(super) fn wants_feedback(spec: &EndpointSpec) -> bool {
        spec.sections.iter().any(|section| {
            matches!(section.flow, Flow::Receive { .. })
                && section.extensions.transport_cc.is_some()
                && section.codecs.iter().any(|codec| codec.transport_cc)
        })
    }
}

/// Extension ids of all sections that we receive in: bundled sections agree on them (RFC 8843 section 9.1).
pub(super) fn merged_ids(spec: &EndpointSpec) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    for section in spec.sections.iter().filter(|section| matches!(section.flow, Flow::Receive { .. })) {
        let more = &section.extensions;
        for (own, other) in [
            (&mut ids.abs_send_time, more.abs_send_time),
            (&mut ids.audio_level, more.audio_level),
            (&mut ids.dependency_descriptor, more.dependency_descriptor),
            (&mut ids.mid, more.mid),
            (&mut ids.playout_delay, more.playout_delay),
            (&mut ids.rid, more.rid),
            (&mut ids.repaired_rid, more.repaired_rid),
            (&mut ids.transport_cc, more.transport_cc),
            (&mut ids.video_orientation, more.video_orientation),
        ] {
            *own = own.or(other);
        }
    }
    ids
}
