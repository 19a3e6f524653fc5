//! Wire: the part of `plenum-node/1` that carries numbers of a session while somebody looks at it.
//!
//! masterd asks with a [`Watch`] on the control stream and again before its time is over; the node sends
//! [`SessionStats`] datagrams once a second meanwhile. Each holds a part of the session and stands for itself: what is
//! lost is told again a second later, the newest wins. Nobody acknowledges anything.

use serde::{Deserialize, Serialize};

use super::node::MediaKind;
use crate::id::{EndpointKey, SessionKey, StreamKey};

/// Tell the numbers of a session once a second for a while. Needs no answer; a session that is not there is ignored.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Which session.
    pub session: SessionKey,
    /// For how long; at most [`WATCH_MS_MAX`]. 0 ends it.
    pub for_ms: u32,
}

/// Longest time of one [`Watch`]: a master that is gone stops costing anything soon.
pub const WATCH_MS_MAX: u32 = 10_000;

/// Entries of all lists of one [`SessionStats`], so that it fits into a datagram.
pub const STATS_ENTRIES_MAX: usize = 28;

/// Numbers of a part of a session, of the last second.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SessionStats {
    /// Which session.
    pub session: SessionKey,
    /// Published tracks.
    pub tracks: Vec<TrackStats>,
    /// What goes out.
    pub legs: Vec<LegStats>,
    /// Peer connections.
    pub transports: Vec<TransportStats>,
}

/// A published track.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TrackStats {
    /// Its stream.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// Codec, upper case.
    pub codec: String,
    /// Encodings that flow.
    pub encodings: u8,
    /// Bits per second.
    pub rate_bps: u32,
    /// Packets that did not come in time.
    pub loss_permille: u16,
}

/// One outgoing flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LegStats {
    /// The peer connection it goes out by.
    pub endpoint: EndpointKey,
    /// What it carries.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// Encoding that is sent, 0 is the smallest; none when nothing is.
    pub encoding: Option<u8>,
    /// Bits per second.
    pub rate_bps: u32,
    /// Lost on the way, as the client says.
    pub loss_permille: u16,
}

/// One peer connection.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TransportStats {
    /// Which.
    pub endpoint: EndpointKey,
    /// Round trip, microseconds; 0 is not measured yet.
    pub rtt_us: u32,
    /// Bandwidth towards the client as it estimates it; 0 is none.
    pub estimate_bps: u64,
    /// Bits per second towards the client.
    pub egress_bps: u64,
    /// Bits per second from the client.
    pub ingress_bps: u64,
}
