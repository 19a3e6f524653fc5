//! Pure: no clock, no I/O, no async.
//!
//! From RTP payloads to whole frames. After a loss a picture is wrong until the next key frame, so frames are held back
//! until one comes; [`Depay::needs_key`] says that one is to be asked for. Payloads come from strangers: what does not
//! parse is a loss like any other, and a frame has at most [`FRAME_BYTES_MAX`].

mod av1;
mod bits;
mod nal;
mod vpx;

use super::protocol::Codec;
use super::rtp::Packet;

/// Bytes of one frame; a key frame of 2160p has about a tenth.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A whole frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Frame {
    /// Recording time, as given with its first packet.
    pub(super) at_us: i64,
    /// Can be decoded without any other.
    pub(super) key: bool,
    /// Frames before it are missing (and this one is a key frame).
    pub(super) after_loss: bool,
    /// VP8 and VP9 frames, AV1 temporal units without delimiter, H264 and H265 access units with start codes, Opus
    /// packets.
    pub(super) data: Vec<u8>,
}

/// What a container must know of a track before its first frame.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Format {
    /// Pixels; zero where unknown.
    pub(super) width: u16,
    /// Pixels.
    pub(super) height: u16,
    /// `avcC`, `hvcC` or `av1C`; empty for other codecs.
    pub(super) private: Vec<u8>,
}

/// Format of a key frame; `None` when it does not tell.
#[must_use]
pub(super) fn format(codec: Codec, key_frame: &[u8]) -> Option<Format> {
    match codec {
        Codec::Vp8 => vpx::vp8_size(key_frame).map(Format::of_size),
        Codec::Vp9 => vpx::vp9_size(key_frame).map(Format::of_size),
        Codec::H264 => nal::h264_format(key_frame),
        Codec::H265 => nal::h265_format(key_frame),
        Codec::Av1 => av1::format(key_frame),
        Codec::Opus | Codec::OpusRed => Some(Format::default()),
    }
}

impl Format {
    fn of_size((width, height): (u16, u16)) -> Self {
        Self { width, height, private: Vec::new() }
    }
}

/// H264 or H265 as MP4 and Matroska have it: lengths instead of start codes.
#[must_use]
pub(super) fn with_lengths(data: &[u8]) -> Vec<u8> {
    nal::with_lengths(data)
}

/// A payload that cannot be part of the frame.
#[derive(Debug)]
struct Broken;

#[derive(Debug)]
struct Pending {
    timestamp: u32,
    at_us: i64,
    key: bool,
    broken: bool,
    data: Vec<u8>,
}

/// Frames of one track.
#[derive(Debug)]
pub(super) struct Depay {
    codec: Codec,
    pending: Option<Pending>,
    av1: av1::Obus,
    fragment: nal::Fragment,
    needs_key: bool,
    lost: bool,
}

impl Depay {
    /// For a track that just began: a picture needs a key frame first.
    #[must_use]
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            pending: None,
            av1: av1::Obus::default(),
            fragment: nal::Fragment::default(),
            needs_key: !codec.is_audio(),
            lost: false,
        }
    }

    /// True while frames are held back for want of a key frame.
    #[must_use]
    pub(super) const fn needs_key(&self) -> bool {
        self.needs_key
    }

    /// Whoever uses the frames lost one: the next is to be a key frame.
    pub(super) const fn lose(&mut self) {
        if !self.codec.is_audio() {
            self.needs_key = true;
        }
        self.lost = true;
    }

    /// Takes the next packet in order, which belongs at `at_us`, and adds the frames that it completes.
    pub(super) fn push(&mut self, packet: &Packet, at_us: i64, frames: &mut Vec<Frame>) {
        if packet.after_loss {
            self.pending = None;
            self.reset();
            self.lose();
        }
        // Probes of bandwidth are empty.
        if packet.payload.is_empty() {
            return;
        }
        if self.codec.is_audio() {
            let data =
                if self.codec == Codec::OpusRed { primary(&packet.payload) } else { Some(&*packet.payload) };
            if let Some(data) = data.filter(|data| !data.is_empty()) {
                let after_loss = std::mem::take(&mut self.lost);
                frames.push(Frame { at_us, key: true, after_loss, data: data.to_vec() });
            }
            return;
        }
        if self.pending.as_ref().is_some_and(|pending| pending.timestamp != packet.timestamp) {
            self.end(frames);
        }
        self.append(packet, at_us);
        if packet.marker {
            self.end(frames);
        }
    }

    fn append(&mut self, packet: &Packet, at_us: i64) {
        let pending = self.pending.get_or_insert_with(|| Pending {
            timestamp: packet.timestamp,
            at_us,
            key: false,
            broken: false,
            data: Vec::new(),
        });
        let appended = match self.codec {
            Codec::Vp8 => vpx::append_vp8(&packet.payload, pending),
            Codec::Vp9 => vpx::append_vp9(&packet.payload, pending),
            Codec::H264 => self.fragment.append_h264(&packet.payload, pending),
            Codec::H265 => self.fragment.append_h265(&packet.payload, pending),
            Codec::Av1 => self.av1.append(&packet.payload, pending),
            Codec::Opus | Codec::OpusRed => Err(Broken),
        };
        pending.broken |= appended.is_err() || pending.data.len() > FRAME_BYTES_MAX;
        if pending.broken {
            pending.data = Vec::new();
        }
    }

    fn end(&mut self, frames: &mut Vec<Frame>) {
        let unfinished = self.av1.is_unfinished() || self.fragment.is_unfinished();
        self.reset();
        let Some(pending) = self.pending.take() else { return };
        if pending.broken || unfinished || pending.data.is_empty() {
            self.lose();
            return;
        }
        if self.needs_key && !pending.key {
            return;
        }
        self.needs_key = false;
        let after_loss = std::mem::take(&mut self.lost);
        frames.push(Frame { at_us: pending.at_us, key: pending.key, after_loss, data: pending.data });
    }

    fn reset(&mut self) {
        self.av1 = av1::Obus::default();
        self.fragment = nal::Fragment::default();
    }
}

/// The newest block of a packet with redundancy (RFC 2198 section 3): the last one.
fn primary(payload: &[u8]) -> Option<&[u8]> {
    let (mut headers, mut older) = (payload, 0);
    loop {
        let first = *headers.first()?;
        if first & 0x80 == 0 {
            return headers.get(1 + older..);
        }
        let header = headers.first_chunk::<4>()?;
        older += usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x03ff);
        headers = headers.get(4..)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(timestamp: u32, marker: bool, after_loss: bool, payload: &[u8]) -> Packet {
        Packet { timestamp, marker, ssrc: 1, arrival_us: 0, after_loss, payload: payload.to_vec() }
    }

    /// VP8: a key frame begins with an even byte.
    fn vp8(first: bool, content: &[u8]) -> Vec<u8> {
        [&[if first { 0x10 } else { 0 }], content].concat()
    }

    #[test]
    fn frames_wait_for_a_key_frame_at_first_and_after_a_loss() {
        let mut depay = Depay::new(Codec::Vp8);
        let mut frames = Vec::new();
        let key = [0, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1];
        depay.push(&packet(1, true, false, &vp8(true, &[1, 9])), 1, &mut frames);
        assert!(frames.is_empty() && depay.needs_key());
        depay.push(&packet(2, false, false, &vp8(true, &key)), 2, &mut frames);
        depay.push(&packet(2, true, false, &vp8(false, &[7, 7])), 2, &mut frames);
        depay.push(&packet(3, true, false, &vp8(true, &[1, 9])), 3, &mut frames);
        assert_eq!(
            frames.iter().map(|frame| (frame.at_us, frame.key)).collect::<Vec<_>>(),
            [(2, true), (3, false)]
        );
        assert_eq!(frames[0].data, [&key[..], &[7, 7]].concat());
        assert_eq!(format(Codec::Vp8, &frames[0].data).unwrap(), Format::of_size((640, 360)));
        depay.push(&packet(4, true, true, &vp8(true, &[1, 9])), 4, &mut frames);
        assert!(frames.len() == 2 && depay.needs_key());
        depay.push(&packet(5, true, false, &vp8(true, &key)), 5, &mut frames);
        assert!(frames.len() == 3 && frames[2].after_loss && !depay.needs_key());
    }

    #[test]
    fn a_frame_without_marker_ends_with_the_next_time_stamp() {
        let mut depay = Depay::new(Codec::Vp8);
        let mut frames = Vec::new();
        depay.push(&packet(1, false, false, &vp8(true, &[0; 12])), 1, &mut frames);
        depay.push(&packet(2, false, false, &vp8(true, &[1; 12])), 2, &mut frames);
        assert_eq!(frames.len(), 1);
    }

    #[test]
    fn h264_comes_in_single_units_aggregates_and_fragments() {
        let mut depay = Depay::new(Codec::H264);
        let mut frames = Vec::new();
        let stap = [24, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 0, 2, 0x68, 0xce];
        depay.push(&packet(1, false, false, &stap), 1, &mut frames);
        depay.push(&packet(1, false, false, &[0x7c, 0x85, 1, 2]), 1, &mut frames);
        depay.push(&packet(1, true, false, &[0x7c, 0x45, 3]), 1, &mut frames);
        depay.push(&packet(2, true, false, &[0x41, 5]), 2, &mut frames);
        let start = [0, 0, 0, 1];
        let key = [&start[..], &stap[3..7], &start, &[0x68, 0xce], &start, &[0x65, 1, 2, 3]].concat();
        assert_eq!((&frames[0].data, frames[0].key), (&key, true));
        assert_eq!((frames[1].data.clone(), frames[1].key), ([&start[..], &[0x41, 5]].concat(), false));
        assert_eq!(with_lengths(&frames[1].data), [0, 0, 0, 2, 0x41, 5]);
    }

    #[test]
    fn av1_units_get_their_sizes_and_lose_their_delimiters() {
        let mut depay = Depay::new(Codec::Av1);
        let mut frames = Vec::new();
        // W = 0: every element has a length. Delimiter, sequence header, first half of a frame.
        depay.push(&packet(1, false, false, &[0x48, 1, 0x10, 2, 0x08, 9, 2, 0x30, 5]), 1, &mut frames);
        // Z, W = 1: the rest of the frame.
        depay.push(&packet(1, true, false, &[0x90, 6, 7]), 1, &mut frames);
        assert_eq!(frames[0].data, [0x0a, 1, 9, 0x32, 3, 5, 6, 7]);
        assert!(frames[0].key);
    }

    #[test]
    fn redundant_opus_gives_the_newest_block() {
        assert_eq!(primary(&[0x80 | 111, 0, 4, 2, 111, 1, 2, 3, 4]), Some(&[3, 4][..]));
        assert_eq!(primary(&[111, 5]), Some(&[5][..]));
        assert_eq!(primary(&[0x80 | 111, 0, 4]), None);
        let mut frames = Vec::new();
        Depay::new(Codec::OpusRed).push(&packet(1, false, false, &[111, 5]), 3, &mut frames);
        assert_eq!(frames[0].data, [5]);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payloads in prop::collection::vec((any::<u8>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..60)) {
            for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1, Codec::Opus, Codec::OpusRed] {
                let (mut depay, mut frames) = (Depay::new(codec), Vec::new());
                for (timestamp, marker, payload) in &payloads {
                    depay.push(&packet(u32::from(timestamp / 8), *marker, timestamp % 8 == 1, payload), 0, &mut frames);
                    let _size = format(codec, payload);
                }
                for frame in &frames {
                    let _format = format(codec, &frame.data);
                    let _lengths = with_lengths(&frame.data);
                }
            }
        }
    }
}
