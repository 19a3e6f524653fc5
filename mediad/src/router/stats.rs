//! Pure: no clock, no I/O, no async.
//!
//! Plain counters, owned by the router; snapshots are copies.

use common::id::{ConnectionKey, EndpointKey, SessionKey, StreamKey};
use common::wire::node::MediaKind;

use crate::transport::srtp::SrtpError;

/// Why a datagram went no further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dropped {
    /// No such endpoint, or no keys yet.
    NoKeys,
    /// The sender may not send this.
    Permission,
    /// SRTP refused it.
    Srtp(SrtpError),
    /// The router's staging area is full until the next flush.
    Staging,
    /// A repair for nothing, a duplicate, or too late.
    Stale,
    /// No section or encoding claims it.
    UnknownSource,
    /// Headers or payload do not add up.
    Unreadable,
}

/// Sums over the life of one router.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Authentic RTP packets, repairs and probes included.
    pub packets_in: u64,
    /// Their bytes as received.
    pub bytes_in: u64,
    /// RTP packets sent, retransmissions included.
    pub packets_out: u64,
    /// Their bytes as sent.
    pub bytes_out: u64,
    /// Authentic RTCP datagrams.
    pub reports_in: u64,
    /// RTCP datagrams sent.
    pub reports_out: u64,
    /// Packets that came late by a repair of the publisher.
    pub repaired: u64,
    /// Packets that never came from a publisher.
    pub lost_in: u64,
    /// Packets asked of publishers, each time.
    pub asked: u64,
    /// Packets that were sent again to subscribers.
    pub resent: u64,
    /// Packets that subscribers asked for.
    pub wanted: u64,
    /// Packets that were not sent again because of the rate limit.
    pub limited: u64,
    /// Key frames asked of publishers.
    pub keyframes_asked: u64,
    /// Legs that began or changed their encoding.
    pub switches: u64,
    /// Datagrams without keys or endpoint.
    pub drop_no_keys: u64,
    /// Datagrams that were not permitted.
    pub drop_permission: u64,
    /// Datagrams that SRTP refused: not authentic, malformed, replayed.
    pub drop_srtp: u64,
    /// Of these: seen before.
    pub drop_replayed: u64,
    /// Datagrams beyond the staging area.
    pub drop_staging: u64,
    /// Duplicates, repairs for nothing and probes.
    pub drop_stale: u64,
    /// Packets that no section or encoding claims.
    pub drop_unknown: u64,
    /// Authentic but unreadable packets.
    pub drop_unreadable: u64,
    /// Packets that a used-up lease kept back.
    pub lease_exhausted: u64,
    /// Things that cannot happen.
    pub bugs: u64,
}

impl Totals {
    pub(super) const fn count(&mut self, why: Dropped) {
        match why {
            Dropped::NoKeys => self.drop_no_keys += 1,
            Dropped::Permission => self.drop_permission += 1,
            Dropped::Srtp(SrtpError::Replayed) => {
                self.drop_srtp += 1;
                self.drop_replayed += 1;
            }
            Dropped::Srtp(_) => self.drop_srtp += 1,
            Dropped::Staging => self.drop_staging += 1,
            Dropped::Stale => self.drop_stale += 1,
            Dropped::UnknownSource => self.drop_unknown += 1,
            Dropped::Unreadable => self.drop_unreadable += 1,
        }
    }
}

/// Counters of one endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EndpointStats {
    /// Authentic RTP packets received.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// RTP packets sent, without retransmissions.
    pub packets_out: u64,
    /// Bytes of RTP packets sent, retransmissions included.
    pub bytes_out: u64,
    /// Retransmissions sent.
    pub resent: u64,
    /// Receiver estimated maximum bit rate, where the client reports one; 0 is none.
    pub remb_bps: u64,
    /// Packets that the client reported as received or missing by transport-wide feedback.
    pub feedback: u64,
}

/// Copy of the counters of one endpoint with its names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndpointSnapshot {
    /// Its session.
    pub session: SessionKey,
    /// Its participant.
    pub connection: ConnectionKey,
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// The counters.
    pub stats: EndpointStats,
    /// Round-trip time, microseconds.
    pub rtt_us: u64,
}

/// Copy of the counters of one published track.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TrackSnapshot {
    /// Its session.
    pub session: SessionKey,
    /// Its stream.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// Packets received, all encodings.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Legs that were bound to it.
    pub subscribers: u32,
    /// Encodings that flow.
    pub encodings: u8,
}

/// Everything at one moment; reuse it to save allocations.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sums.
    pub totals: Totals,
    /// Endpoints in no order.
    pub endpoints: Vec<EndpointSnapshot>,
    /// Published tracks in no order.
    pub tracks: Vec<TrackSnapshot>,
}
