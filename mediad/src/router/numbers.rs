//! Pure: no clock, no I/O, no async.
//!
//! Counters of one session while somebody looks at it.

use std::time::Instant;

use common::id::{EndpointKey, SessionKey, StreamKey};
use common::wire::node::MediaKind;

use super::Router;
use crate::transport::spec::Codec;

/// Counters of one session at one moment; rates are made of two.
#[derive(Clone, Debug, Default)]
pub struct SessionCounters {
    /// Published tracks.
    pub tracks: Vec<TrackCounters>,
    /// Outgoing flows that have a source.
    pub legs: Vec<LegCounters>,
    /// Peer connections.
    pub transports: Vec<TransportCounters>,
}

/// Counters of a published track.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TrackCounters {
    /// Its stream.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// What is sent, or what will be.
    pub codec: Option<Codec>,
    /// Encodings that flow.
    pub encodings: u8,
    /// Packets received.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
}

/// Counters of one outgoing flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LegCounters {
    /// The peer connection it goes out by.
    pub endpoint: EndpointKey,
    /// Its source.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// Rank of the encoding that is sent, 0 is the smallest.
    pub encoding: Option<u8>,
    /// Bytes sent, retransmissions included.
    pub bytes: u64,
    /// Newest loss that the client reported, of 256.
    pub lost_fraction: u8,
}

/// Counters of one peer connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransportCounters {
    /// Which.
    pub endpoint: EndpointKey,
    /// Round trip, microseconds; 0 is not measured yet.
    pub rtt_us: u64,
    /// Bandwidth as the client estimates it; 0 is none.
    pub estimate_bps: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

impl Router {
    /// Copies the counters of one session.
    pub fn session_counters(&self, session: SessionKey, now: Instant) -> SessionCounters {
        let us = self.us(now);
        let mut counters = SessionCounters::default();
        for (_, track) in self.tracks.iter().filter(|(_, track)| track.session == session) {
            counters.tracks.push(TrackCounters {
                stream: track.stream,
                kind: track.kind,
                codec: track.codec_spec().map(|spec| spec.codec),
                encodings: track.encodings.iter().filter(|encoding| encoding.flows(us)).count() as u8,
                packets: track.packets,
                bytes: track.bytes,
                lost: track.encodings.iter().map(|encoding| encoding.receiver.lost).sum(),
            });
        }
        for (_, endpoint) in self.endpoints.iter().filter(|(_, endpoint)| endpoint.session == session) {
            for leg in &endpoint.legs {
                let Some((stream, track)) = leg.source else { continue };
                let order = self.tracks.find(track).map(|track| &track.order);
                let rank = |at: u8| order?.iter().position(|it| *it == at).map(|rank| rank as u8);
                counters.legs.push(LegCounters {
                    endpoint: endpoint.key,
                    stream,
                    kind: leg.kind,
                    encoding: leg.current.and_then(rank),
                    bytes: leg.bytes,
                    lost_fraction: leg.lost_fraction,
                });
            }
            counters.transports.push(TransportCounters {
                endpoint: endpoint.key,
                rtt_us: endpoint.rtt_us,
                estimate_bps: endpoint.stats.remb_bps,
                bytes_in: endpoint.stats.bytes_in,
                bytes_out: endpoint.legs.iter().map(|leg| leg.bytes).sum(),
            });
        }
        counters
    }
}
