//! Pure: no clock, no I/O, no async.
//!
//! Permission to seal packets. Under one SRTP key, one (SSRC, index) is sealed once in the life of the key, whichever
//! node holds the endpoint: a second packet under the same nonce would give away GCM's authentication key. Hence
//! - a [`Nonce`] comes from [`Lease::take`] alone, cannot be copied, and is consumed by the sealer;
//! - a lease ends at a limit that the successor already knows (a checkpoint raises it), and who takes the endpoint
//!   over begins *at* that limit ([`Lease::resume`]). A node that is cut off stops there by itself.
//!
//! A limit counts once the successor's side has it, not once it was sent: [`Lease::checkpoint`] reports the *next* limit
//! and raises the own one only to the limit of the checkpoint before, and only if that is known to have arrived.
//!
//! RTP counts packets of one SSRC: 48 bits, the roll-over counter above the sequence number (RFC 3711 section
//! 3.3.1). SRTCP counts packets of the endpoint: 31 bits over all SSRCs, which leaves harmless gaps in each.

use serde::{Deserialize, Serialize};

/// First RTP index that does not exist.
pub const RTP_INDEX_END: u64 = 1 << 48;

/// First SRTCP index that does not exist.
pub const RTCP_INDEX_END: u32 = 1 << 31;

/// Permission to seal one RTP packet. Carries the SSRC: the sealer writes both into the header, so that header and
/// nonce cannot disagree.
#[derive(Debug)]
#[must_use = "an index that is not sealed is a gap in the sequence numbers"]
pub struct Nonce {
    ssrc: u32,
    index: u64,
}

impl Nonce {
    /// Synchronisation source that the index belongs to.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// 48-bit packet index.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The part of the index that the RTP header carries.
    pub const fn sequence(&self) -> u16 {
        (self.index & 0xffff) as u16
    }

    /// The part of the index that the receiver infers.
    pub(crate) const fn rollover(&self) -> u32 {
        (self.index >> 16) as u32
    }

    /// SSRC and index, for the one packet that is sealed with them.
    pub(crate) const fn spend(self) -> (u32, u64) {
        (self.ssrc, self.index)
    }
}

/// Permission to seal the RTP packets `next..granted_until` of one SSRC.
#[derive(Debug, Eq, PartialEq)]
pub struct Lease {
    ssrc: u32,
    next: u64,
    granted_until: u64,
    /// Limit that the last checkpoint reported; not ours to use before it is known to have arrived.
    promised: u64,
}

impl Lease {
    /// A lease of a new SSRC that begins at `first` and grants nothing yet. `first` is the first sequence number;
    /// below 2^15, or a receiver that misses the first packets may guess the roll-over counter wrong.
    pub const fn new(ssrc: u32, first: u16) -> Self {
        Self { ssrc, next: first as u64, granted_until: first as u64, promised: first as u64 }
    }

    /// The lease of whoever takes the SSRC over: begins where the last owner had to stop, grants nothing yet.
    pub const fn resume(saved: SavedLease) -> Self {
        let until = saved.granted_until;
        Self { ssrc: saved.ssrc, next: until, granted_until: until, promised: until }
    }

    /// Raises the limit; a lower one changes nothing. `until` is exclusive.
    pub fn grant(&mut self, until: u64) {
        self.granted_until = self.granted_until.max(until.min(RTP_INDEX_END));
    }

    /// The next permission, or none at the limit.
    pub const fn take(&mut self) -> Option<Nonce> {
        if self.next >= self.granted_until {
            return None;
        }
        let index = self.next;
        self.next += 1;
        Some(Nonce { ssrc: self.ssrc, index })
    }

    /// Its SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Index of the next packet.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// First index that may not be sealed.
    pub const fn granted_until(&self) -> u64 {
        self.granted_until
    }

    /// How many packets may be sealed before the limit.
    pub const fn remaining(&self) -> u64 {
        self.granted_until.saturating_sub(self.next)
    }

    /// Reports a limit `ahead` packets from here, and may from now on use the one of the last report if that has
    /// arrived.
    pub fn checkpoint(&mut self, ahead: u64, last: LastReport) -> SavedLease {
        if last == LastReport::Arrived {
            self.grant(self.promised);
        }
        let promised = self.next.saturating_add(ahead).min(RTP_INDEX_END);
        self.promised = promised.max(self.granted_until);
        SavedLease { ssrc: self.ssrc, granted_until: self.promised }
    }

    /// What a successor needs when this owner has stopped for good.
    pub fn save(&self) -> SavedLease {
        SavedLease { ssrc: self.ssrc, granted_until: self.granted_until.max(self.promised) }
    }
}

/// What is known of the last report when the next one is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastReport {
    /// Whoever may name a successor holds it.
    Arrived,
    /// It may be lost.
    Unknown,
}

/// What a checkpoint says of one lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SavedLease {
    /// Its SSRC.
    pub ssrc: u32,
    /// Where the owner stops and a successor begins.
    pub granted_until: u64,
}

/// Permission to seal one SRTCP packet.
#[derive(Debug)]
#[must_use = "an index that is not sealed is a gap in the SRTCP indexes"]
pub struct RtcpNonce {
    index: u32,
}

impl RtcpNonce {
    /// 31-bit SRTCP index.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The index, for the one packet that is sealed with it.
    pub(crate) const fn spend(self) -> u32 {
        self.index
    }
}

/// Permission to seal the SRTCP packets `next..granted_until` of one endpoint.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct RtcpLease {
    next: u32,
    granted_until: u32,
    promised: u32,
}

impl RtcpLease {
    /// A lease of a new endpoint; grants nothing yet.
    pub const fn new() -> Self {
        Self { next: 0, granted_until: 0, promised: 0 }
    }

    /// The lease of whoever takes the endpoint over at `granted_until`.
    pub const fn resume(granted_until: u32) -> Self {
        Self { next: granted_until, granted_until, promised: granted_until }
    }

    /// Raises the limit; a lower one changes nothing. `until` is exclusive.
    pub fn grant(&mut self, until: u32) {
        self.granted_until = self.granted_until.max(until.min(RTCP_INDEX_END));
    }

    /// The next permission, or none at the limit.
    pub const fn take(&mut self) -> Option<RtcpNonce> {
        if self.next >= self.granted_until {
            return None;
        }
        let index = self.next;
        self.next += 1;
        Some(RtcpNonce { index })
    }

    /// As [`Lease::checkpoint`]; gives the limit to report.
    pub fn checkpoint(&mut self, ahead: u32, last: LastReport) -> u32 {
        if last == LastReport::Arrived {
            self.grant(self.promised);
        }
        let promised = self.next.saturating_add(ahead).min(RTCP_INDEX_END);
        self.promised = promised.max(self.granted_until);
        self.promised
    }

    /// Index of the next packet.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// First index that may not be sealed; what a successor begins at.
    pub const fn granted_until(&self) -> u32 {
        self.granted_until
    }

    /// How many packets may be sealed before the limit.
    pub const fn remaining(&self) -> u32 {
        self.granted_until.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lease_stops_at_its_limit_and_goes_on_when_it_is_raised() {
        let mut lease = Lease::new(7, 100);
        assert!(lease.take().is_none());
        lease.grant(102);
        assert_eq!(lease.take().map(|nonce| nonce.index()), Some(100));
        assert_eq!(lease.take().map(|nonce| nonce.index()), Some(101));
        assert!(lease.take().is_none());
        lease.grant(50);
        assert!(lease.take().is_none());
        lease.grant(103);
        assert_eq!(lease.take().map(|nonce| (nonce.ssrc(), nonce.sequence())), Some((7, 102)));
    }

    #[test]
    fn no_index_beyond_the_counter_exists() {
        let mut lease = Lease::resume(SavedLease { ssrc: 1, granted_until: RTP_INDEX_END - 1 });
        lease.grant(u64::MAX);
        assert_eq!(lease.take().map(|nonce| nonce.rollover()), Some(u32::MAX));
        assert!(lease.take().is_none());
        let mut lease = RtcpLease::resume(RTCP_INDEX_END - 1);
        lease.grant(u32::MAX);
        assert!(lease.take().is_some());
        assert!(lease.take().is_none());
    }

    /// What may happen to the owner of a lease.
    #[derive(Clone, Debug)]
    enum Step {
        Take,
        /// The master asks for a checkpoint and gets it, or its answer is lost.
        Checkpoint {
            arrives: bool,
            ahead: u16,
        },
        /// The successor resumes from what the master has, while the cut-off owner goes on to its limit.
        Adopt,
    }

    proptest! {
        #[test]
        fn no_index_is_given_twice_whoever_owns_the_lease(steps in proptest::collection::vec(prop_oneof![
            8 => Just(Step::Take),
            3 => (any::<bool>(), 0u16..50).prop_map(|(arrives, ahead)| Step::Checkpoint { arrives, ahead }),
            1 => Just(Step::Adopt),
        ], 0..300)) {
            let mut seen = std::collections::HashSet::new();
            let mut lease = Lease::new(9, 65_500);
            let mut known = lease.checkpoint(10, LastReport::Unknown);
            let mut last = LastReport::Arrived;
            for step in steps {
                match step {
                    Step::Take => if let Some(nonce) = lease.take() {
                        prop_assert!(nonce.index() < lease.granted_until());
                        prop_assert!(seen.insert(nonce.index()));
                    },
                    Step::Checkpoint { arrives, ahead } => {
                        let report = lease.checkpoint(u64::from(ahead), last);
                        last = if arrives { LastReport::Arrived } else { LastReport::Unknown };
                        if arrives { known = report }
                    },
                    Step::Adopt => {
                        let successor = Lease::resume(known);
                        while let Some(nonce) = lease.take() {
                            prop_assert!(seen.insert(nonce.index()));
                        }
                        lease = successor;
                        known = lease.checkpoint(10, LastReport::Unknown);
                        last = LastReport::Arrived;
                    }
                }
            }
        }
    }
}
