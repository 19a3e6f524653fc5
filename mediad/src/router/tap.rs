//! Pure: no clock, no I/O, no async.
//!
//! What a tap sees of a session, and what it may have from it. A tap reads the rings from outside, in its own time; it
//! looks at the router a few times a second and says what it reads. That counts for a moment only, so that a tap that
//! is gone leaves nothing behind.

use std::time::Instant;

use common::id::{SessionKey, StreamKey};
use common::wire::node::MediaKind;

use super::Router;
use super::track::Track;
use crate::codec;
use crate::ring::TrackReader;
use crate::transport::spec::Codec;

/// A look at one session, on behalf of one tap.
#[derive(Clone, Debug)]
pub struct Look {
    /// The session.
    pub session: SessionKey,
    /// What the tap receives, or wants to.
    pub wants: Vec<LookWant>,
}

/// One track that a tap wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LookWant {
    /// The stream.
    pub stream: StreamKey,
    /// Its audio or video.
    pub kind: MediaKind,
    /// Highest encoding that is of use.
    pub spatial_max: u8,
    /// The encoding that it reads now, which may be another one.
    pub reading: Option<u8>,
    /// The encoding of which it needs a key frame.
    pub keyframe: Option<u8>,
}

/// What a tap saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Now, on the clock of arrivals.
    pub clock_us: u64,
    /// Now, on the wall clock, since 1970.
    pub unix_us: u64,
    /// The session's tracks.
    pub tracks: Vec<SeenTrack>,
}

/// One track.
#[derive(Clone, Debug)]
pub struct SeenTrack {
    /// Tells it from all others of this router's life.
    pub life: u64,
    /// The stream.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// How the newest packet was coded; none before the first one.
    pub codec: Option<SeenCodec>,
    /// Names of its encodings, smallest first; empty without simulcast.
    pub rids: Vec<String>,
    /// The publisher may send it.
    pub allowed: bool,
    /// The encoding to read, for what was wanted.
    pub chosen: u8,
    /// Its encodings, as signalled.
    pub encodings: Vec<SeenEncoding>,
}

/// How a track is coded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeenCodec {
    /// Its position, as in [`PacketMeta::codec`](crate::ring::PacketMeta::codec).
    pub position: u8,
    /// Upper case.
    pub name: &'static str,
    /// Payload type of the publisher.
    pub payload_type: u8,
    /// Units of RTP timestamps in a second.
    pub clock_hz: u32,
    /// Channels; 0 for video.
    pub channels: u8,
    /// Format parameters.
    pub fmtp: String,
}

/// One encoding.
#[derive(Clone, Debug)]
pub struct SeenEncoding {
    /// Its name; empty without simulcast.
    pub rid: String,
    /// Its position by size, from 0, the smallest.
    pub spatial: u8,
    /// Its ring, beginning with the next packet; none before the first one.
    pub reader: Option<TrackReader>,
    /// The publisher's newest sender report.
    pub report: Option<SeenReport>,
}

/// Clock mapping of one encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SeenReport {
    /// Of the SSRC that the encoding has now, as in [`PacketMeta::epoch`](crate::ring::PacketMeta::epoch).
    pub epoch: u16,
    /// The publisher's clock, 32.32 seconds since 1900.
    pub ntp: u64,
    /// The same moment in the encoding's timestamps.
    pub timestamp: u32,
    /// Arrival.
    pub arrival_us: u64,
}

/// What a look asks for holds this long.
pub(super) const TAP_US: u64 = 1_500_000;

impl Router {
    /// Shows a tap its session. What it wants is repaired and remembered longer for a second and a half.
    pub fn look(&mut self, now: Instant, look: &Look) -> Seen {
        let us = self.us(now);
        for want in &look.wants {
            self.tap(us, look.session, want);
        }
        let spatial_max = |track: &Track| {
            let want = look.wants.iter().find(|want| (want.stream, want.kind) == (track.stream, track.kind));
            want.map_or(u8::MAX, |want| want.spatial_max)
        };
        let tracks = self
            .tracks
            .iter()
            .filter(|(_, track)| track.session == look.session)
            .map(|(key, track)| seen(key.number(), track, track.choose(spatial_max(track), us)))
            .collect();
        Seen { clock_us: us, unix_us: self.settings.unix.as_micros() as u64 + us, tracks }
    }

    fn tap(&mut self, us: u64, session: SessionKey, want: &LookWant) {
        let Some(key) = self.streams.get(&(want.stream, want.kind)).copied() else { return };
        let Some(track) = self.tracks.find_mut(key).filter(|track| track.session == session) else { return };
        let chosen = track.choose(want.spatial_max, us);
        for position in [Some(chosen), want.reading].into_iter().flatten() {
            if let Some(encoding) = track.encodings.get_mut(usize::from(position)) {
                encoding.tapped_us = us + TAP_US;
            }
        }
        if let Some(position) = want.keyframe {
            self.wish(us, key, position);
        }
    }
}

fn seen(life: u64, track: &Track, chosen: u8) -> SeenTrack {
    let codec = track.codec.and_then(|position| {
        let spec = track.codecs.get(usize::from(position))?;
        Some(SeenCodec {
            position,
            name: codec::name(spec.codec),
            payload_type: spec.payload_type,
            clock_hz: spec.clock_hz,
            channels: if matches!(spec.codec, Codec::Opus | Codec::Red) { 2 } else { 0 },
            fmtp: spec.fmtp.clone(),
        })
    });
    let encodings = track.encodings.iter().enumerate().map(|(position, encoding)| SeenEncoding {
        rid: encoding.rid.clone(),
        spatial: track.order.iter().position(|at| usize::from(*at) == position).unwrap_or(0) as u8,
        reader: encoding.ring().map(|ring| ring.reader(ring.head())),
        report: encoding.report.map(|report| SeenReport {
            epoch: encoding.epoch,
            ntp: report.ntp,
            timestamp: report.timestamp,
            arrival_us: encoding.report_us,
        }),
    });
    SeenTrack {
        life,
        stream: track.stream,
        kind: track.kind,
        codec,
        rids: track.rids(),
        allowed: track.allowed,
        chosen,
        encodings: encodings.collect(),
    }
}
