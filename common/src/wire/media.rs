//! Wire: `plenum-media/1`, from a media node to a recorder: the RTP of one session.
//!
//! The recorder dials, with its certificate. Streams of the connection:
//! - one bidirectional control stream, opened by the recorder: [`Tap`] first, answered by [`Tapped`]; then [`Want`],
//!   [`Keyframe`], [`Ack`] one way, [`TrackAdded`], [`TrackRemoved`] the other, [`Clock`] and its echo;
//! - one unidirectional stream for each wanted track, opened by the node: [`TrackHeader`], then [`Packets`],
//!   [`Report`], [`Switched`], [`Gap`], [`Paused`], and [`End`] last.
//!
//! A media node never waits for a recorder: who is too slow is told by a [`Gap`] what it missed. A tap is refused, or
//! ended, by closing the connection with a code (`net::close`) and a reason for humans.
//!
//! **RTP.** A track's packets are plain RTP without header extensions: one SSRC and payload type, in order, continuous
//! over a change of the simulcast encoding or of the publisher's SSRC. A hole in the sequence numbers is a loss that was
//! not repaired in time, and a [`Gap`] tells it. When a publisher changes its codec the track ends and another one of the
//! same stream is added.
//!
//! **Time.** Arrival times are microseconds on one monotonic clock of the node, the same for all tracks of a tap.
//! [`Tapped`] and [`Clock`] say what the wall clock was at a moment of it.

use serde::{Deserialize, Serialize};

use super::node::MediaKind;
use super::{Extensions, messages};
use crate::id::{RecordingKey, SessionKey, StreamKey};

/// ALPN of this protocol's major version.
pub const ALPN: &[u8] = b"plenum-media/1";

/// Lowest and highest minor version that this build speaks.
pub const VERSIONS: (u16, u16) = (1, 1);

messages! {
    /// From a recorder to a media node, on the control stream.
    ToMedia {
        1 => Tap,
        2 => Want,
        3 => Keyframe,
        4 => Ack,
        5 => Clock,
    }
}

messages! {
    /// From a media node to a recorder, on the control stream.
    FromMedia {
        101 => Tapped,
        102 => TrackAdded,
        103 => TrackRemoved,
        104 => Clock,
    }
}

messages! {
    /// From a media node to a recorder, on the stream of one track.
    TrackRecord {
        201 => TrackHeader,
        202 => Packets,
        203 => Report,
        204 => Switched,
        205 => Gap,
        206 => Paused,
        207 => End,
    }
}

/// One track of one tap; never used twice in a connection.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct TrackId(pub u32);

impl std::fmt::Display for TrackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t:{}", self.0)
    }
}

/// A packet's place in the node's memory. Rises within an encoding; says nothing to others than the node, which takes it
/// back in [`Resume`] and [`Ack`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct RingSeq(pub u64);

/// First message of a recorder: lets it receive a session for which it was granted a tap.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Tap {
    /// Lowest and highest minor version spoken.
    pub versions: (u16, u16),
    /// Program name and version, for humans.
    pub program: String,
    /// The job.
    pub recording: RecordingKey,
    /// The session.
    pub session: SessionKey,
    /// Where to go on with tracks that a former connection has received.
    pub resume: Vec<Resume>,
    /// How far back other tracks begin, as far as the node remembers (about 5 s of a session that was tapped before, 1 s
    /// else): video at the first key frame within this time. 0 begins with the newest key frame if it is less than a
    /// second old, and with the next one else.
    pub replay_ms: u32,
    /// How long a missing packet is waited for before a [`Gap`] tells of it; 0 is the default of 300 ms.
    pub reorder_ms: u16,
    /// Later additions.
    pub ext: Extensions,
}

/// Where to go on with a track.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// The stream.
    pub stream: StreamKey,
    /// Its audio or video.
    pub kind: MediaKind,
    /// The newest packet that is safe.
    pub after: RingSeq,
    /// Begin with the key frame that `after` belongs to, for a decoder that starts anew; else with the next packet.
    pub keyframe: bool,
}

/// The tap stands. Else the connection is closed: not granted, unknown session, busy, version.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Tapped {
    /// Minor version to speak.
    pub version: u16,
    /// Now, on the clock of arrivals.
    pub node_us: u64,
    /// Now, on the node's wall clock: microseconds since 1970.
    pub unix_us: u64,
    /// Later additions.
    pub ext: Extensions,
}

/// A published track sends, and can be wanted. Tells the codec that it uses.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TrackAdded {
    /// Its number from now on.
    pub track: TrackId,
    /// The stream.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// How it is coded.
    pub codec: TrackCodec,
    /// Names of its simulcast encodings, smallest first; empty without simulcast.
    pub rids: Vec<String>,
    /// Later additions.
    pub ext: Extensions,
}

/// How a track is coded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TrackCodec {
    /// Upper case: `OPUS`, `VP8`, `VP9`, `H264`, `AV1`.
    pub name: String,
    /// Units of RTP timestamps in a second.
    pub clock_hz: u32,
    /// Channels; 0 for video.
    pub channels: u8,
    /// Format parameters as negotiated with the publisher, `a=1;b=2`.
    pub fmtp: String,
}

/// A track is gone: unpublished, or coded differently now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TrackRemoved {
    /// Which.
    pub track: TrackId,
    /// Why.
    pub why: EndWhy,
}

/// Send a stream's track, another encoding of it, or no longer. Holds for tracks of the stream that are still to come.
/// Nothing is sent that was not wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Want {
    /// The stream.
    pub stream: StreamKey,
    /// Its audio or video.
    pub kind: MediaKind,
    /// Highest simulcast encoding that is of use, from 0, the smallest; `u8::MAX` is the best one. None ends the track.
    pub spatial_max: Option<u8>,
}

/// Ask the publisher for a key frame. The node asks by itself at a start, a switch and a [`Gap`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Keyframe {
    /// Of this track.
    pub track: TrackId,
}

/// The recorder has this packet and all before it where they are safe. About once a second; for whoever watches.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The track.
    pub track: TrackId,
    /// The packet.
    pub ring_seq: RingSeq,
}

/// Asks for the node's clocks, or tells them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// The asker's own clock; the node repeats it, so that the asker knows how long the answer took.
    pub asked_us: u64,
    /// Now, on the clock of arrivals; 0 in the question.
    pub node_us: u64,
    /// Now, on the node's wall clock; 0 in the question.
    pub unix_us: u64,
}

/// First record of a track's stream.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TrackHeader {
    /// Which track.
    pub track: TrackId,
    /// The stream.
    pub stream: StreamKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// How it is coded.
    pub codec: TrackCodec,
    /// Payload type of all packets.
    pub payload_type: u8,
    /// SSRC of all packets.
    pub ssrc: u32,
    /// Later additions.
    pub ext: Extensions,
}

/// Packets, in order.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Packets {
    /// At least one, together at most [`RECORD_BYTES_MAX`].
    pub packets: Vec<Packet>,
}

/// Bytes of packets in one record, about.
pub const RECORD_BYTES_MAX: usize = 48 * 1024;

/// One RTP packet.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Packet {
    /// Its place.
    pub ring_seq: RingSeq,
    /// When it arrived at the node. A repaired one came later than those after it.
    pub arrival_us: u64,
    /// [`Self::START`] and friends.
    pub flags: u8,
    /// Audio level as RFC 6464 has it: 0 is loudest, 127 silence, the highest bit says speech; [`Self::NO_LEVEL`] is
    /// unknown.
    pub level: u8,
    /// Video orientation as 3GPP TS 26.114 has it (`0b0000_CFRR`): a decoder must turn the picture.
    pub orientation: u8,
    /// Header of 12 bytes and payload, without padding.
    #[serde(with = "super::bytes")]
    pub bytes: Vec<u8>,
}

impl Packet {
    /// First packet of a key frame: a decoder can start here. Audio packets all have it.
    pub const START: u8 = 1;
    /// The publisher or the path lost it first; it was sent again.
    pub const LATE: u8 = 1 << 1;
    /// No audio level.
    pub const NO_LEVEL: u8 = 0xff;
}

/// Clock mapping from the publisher's sender report (RFC 3550 section 6.4.1). Audio and video of one stream share the
/// clock; nothing says that it is right.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The publisher's clock, 32.32 fixed point seconds since 1900.
    pub ntp: u64,
    /// The same moment in this track's RTP timestamps.
    pub rtp_timestamp: u32,
    /// When the report arrived at the node.
    pub arrival_us: u64,
}

/// Packets come from another encoding, or another SSRC of the publisher, from the next one on, which begins a key frame.
/// The first packets of a track follow one too.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Switched {
    /// Position of the encoding, from 0, the smallest.
    pub spatial: u8,
    /// Its name; empty without simulcast.
    pub rid: String,
}

/// Packets are missing before the next one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// How many; 0 is not known.
    pub skipped: u64,
    /// Why.
    pub why: GapWhy,
}

/// Why packets are missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum GapWhy {
    /// Lost on the way from the publisher, and not repaired in time.
    Lost,
    /// The recorder was too slow: they were overwritten.
    Lapped,
    /// What was to be resumed is no longer there.
    Forgotten,
}

/// Nothing comes at present; the next packet ends the pause.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Paused {
    /// Why.
    pub why: PauseWhy,
    /// Since when.
    pub since_us: u64,
}

/// Why nothing comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum PauseWhy {
    /// The publisher sends nothing.
    Silent,
    /// The publisher may not send it now.
    Forbidden,
}

/// Last record of a track's stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Why.
    pub why: EndWhy,
}

/// Why a track ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum EndWhy {
    /// The publisher is gone, or has unpublished the stream.
    Unpublished,
    /// The publisher uses another codec now: another track of the same stream follows.
    CodecChanged,
    /// The recorder does not want it any more.
    Unwanted,
    /// The session was closed.
    SessionClosed,
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_bytes, check_samples};
    use super::*;
    use proptest::prelude::*;

    const STREAM: StreamKey = StreamKey(4);
    const TRACK: TrackId = TrackId(u32::MAX);
    const VIDEO: MediaKind = MediaKind::Video;

    fn codec() -> TrackCodec {
        TrackCodec { name: "OPUS".to_owned(), clock_hz: 48_000, channels: 2, fmtp: "a=1;b=2".to_owned() }
    }

    fn to_media() -> Vec<ToMedia> {
        let resume =
            Resume { stream: STREAM, kind: MediaKind::Audio, after: RingSeq(u64::MAX), keyframe: true };
        let tap = Tap {
            versions: VERSIONS,
            program: "recorderd".to_owned(),
            recording: RecordingKey(1),
            session: SessionKey(2),
            resume: vec![resume, Resume { keyframe: false, ..resume }],
            replay_ms: 5_000,
            reorder_ms: 300,
            ext: vec![(7, vec![1, 2, 3])],
        };
        vec![
            tap.into(),
            Want { stream: STREAM, kind: VIDEO, spatial_max: Some(u8::MAX) }.into(),
            Want { stream: STREAM, kind: MediaKind::Audio, spatial_max: None }.into(),
            Keyframe { track: TRACK }.into(),
            Ack { track: TRACK, ring_seq: RingSeq(5) }.into(),
            Clock { asked_us: 1, node_us: 0, unix_us: 0 }.into(),
        ]
    }

    fn from_media() -> Vec<FromMedia> {
        let added = TrackAdded {
            track: TRACK,
            stream: STREAM,
            kind: VIDEO,
            codec: codec(),
            rids: vec!["l".to_owned(), "h".to_owned()],
            ext: Vec::new(),
        };
        let mut messages: Vec<FromMedia> = vec![
            Tapped { version: 1, node_us: 1, unix_us: u64::MAX, ext: Vec::new() }.into(),
            added.into(),
            Clock { asked_us: 1, node_us: 2, unix_us: 3 }.into(),
        ];
        messages.extend(ends().map(|why| TrackRemoved { track: TRACK, why }.into()));
        messages
    }

    fn ends() -> [EndWhy; 4] {
        [EndWhy::Unpublished, EndWhy::CodecChanged, EndWhy::Unwanted, EndWhy::SessionClosed]
    }

    fn records() -> Vec<TrackRecord> {
        let header = TrackHeader {
            track: TRACK,
            stream: STREAM,
            kind: VIDEO,
            codec: codec(),
            payload_type: 96,
            ssrc: u32::MAX,
            ext: Vec::new(),
        };
        let packet = Packet {
            ring_seq: RingSeq(9),
            arrival_us: 10,
            flags: Packet::START | Packet::LATE,
            level: Packet::NO_LEVEL,
            orientation: 3,
            bytes: vec![0x80; 200],
        };
        let mut records: Vec<TrackRecord> = vec![
            header.into(),
            Packets { packets: vec![packet.clone(), packet] }.into(),
            Report { ntp: u64::MAX, rtp_timestamp: 2, arrival_us: 3 }.into(),
            Switched { spatial: 2, rid: "h".to_owned() }.into(),
            Paused { why: PauseWhy::Silent, since_us: 4 }.into(),
            Paused { why: PauseWhy::Forbidden, since_us: 4 }.into(),
        ];
        let gaps = [GapWhy::Lost, GapWhy::Lapped, GapWhy::Forgotten];
        records.extend(gaps.map(|why| Gap { skipped: 300, why }.into()));
        records.extend(ends().map(|why| End { why }.into()));
        records
    }

    #[test]
    fn every_message_survives_its_way_and_a_cut_one_is_refused() {
        check_samples(&to_media(), 5);
        check_samples(&from_media(), 4);
        check_samples(&records(), 7);
    }

    #[test]
    fn full_records_fit_into_a_frame() {
        let longest = RECORD_BYTES_MAX + usize::from(u16::MAX) + 64 * 1024;
        assert!(
            longest < crate::limits::FRAME_BYTES_MAX,
            "packets, the one that filled it, and what is around them"
        );
    }

    proptest! {
        #[test]
        fn rubbish_does_no_harm(
            kind in prop_oneof![0..8_u16, 100..106_u16, 200..209_u16],
            body in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..100),
        ) {
            check_bytes::<ToMedia>(kind, &body);
            check_bytes::<FromMedia>(kind, &body);
            check_bytes::<TrackRecord>(kind, &body);
        }
    }
}
