//! Pure: no clock, no I/O, no async.
//!
//! What the load tool puts into RTP payloads and how it reads that back: a valid VP8 payload descriptor (RFC 7741) or an
//! Opus TOC byte, then a stamp (publisher, counter, send time, length), then a known filling. A receiver can so tell
//! exactly which packets came, and that each came whole.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the stamp.
pub(super) const STAMP_BYTES: usize = 26;
/// Bytes of the VP8 payload descriptor that is sent: X, I and a 15-bit picture id.
const VP8_DESCRIPTOR_BYTES: usize = 4;
/// Bytes of a VP8 key frame's header (RFC 6386 section 9.1); delta frames are padded to as many.
const VP8_HEADER_BYTES: usize = 10;
/// Smallest payload that can be built.
pub(super) const PAYLOAD_BYTES_MIN: usize = VP8_DESCRIPTOR_BYTES + VP8_HEADER_BYTES + STAMP_BYTES;
/// Largest one: with header, extensions and authentication tag it still fits one Ethernet frame.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1_400;

const MAGIC: u16 = 0x504c;
const FLAG_TAIL: u8 = 1;
/// Opus: CELT, fullband, 20 ms, mono, one frame (RFC 6716 section 3.1).
const OPUS_TOC: u8 = 0xf8;

/// Audio or video.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Opus.
    Audio,
    /// VP8.
    Video,
}

/// What identifies a packet from end to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    /// Audio or video.
    pub(super) kind: Kind,
    /// Number of the publisher in this run.
    pub(super) publisher: u32,
    /// Counts a publisher's packets of one kind, from 0.
    pub(super) counter: u64,
    /// Nanoseconds since the start of the run.
    pub(super) sent_ns: u64,
    /// Sent after the end of the count: keeps the flow going so that losses before it are noticed.
    pub(super) tail: bool,
}

/// Where a packet stands in its frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FramePlace {
    /// First packet of the frame.
    pub(super) start: bool,
    /// The frame is a key frame.
    pub(super) keyframe: bool,
    /// Counts frames.
    pub(super) picture_id: u16,
}

/// A payload that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum ReadError {
    /// The payload ends early.
    #[error("payload is too short")]
    Short,
    /// No stamp where one should be.
    #[error("payload carries no stamp")]
    NoStamp,
    /// Length or filling differs from what was sent.
    #[error("payload was changed on its way")]
    Changed,
}

/// Builds a VP8 payload of `size` bytes (bounded by [`PAYLOAD_BYTES_MIN`] and [`PAYLOAD_BYTES_MAX`]).
#[must_use]
pub(super) fn video(place: FramePlace, stamp: &Stamp, size: usize) -> Bytes {
    let size = size.clamp(PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX);
    let mut out = BytesMut::with_capacity(size);
    out.put_u8(if place.start { 0x90 } else { 0x80 });
    out.put_u8(0x80);
    out.put_u16(0x8000 | (place.picture_id & 0x7fff));
    if place.start {
        // Frame tag: key frame bit inverted, version 0, shown, a first partition of 64 bytes.
        let tag: u32 = u32::from(!place.keyframe) | 1 << 4 | 64 << 5;
        out.put_u8((tag & 0xff) as u8);
        out.put_u8((tag >> 8 & 0xff) as u8);
        out.put_u8((tag >> 16 & 0xff) as u8);
        out.put_slice(if place.keyframe { &[0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01] } else { &[0; 7] });
    } else {
        out.put_slice(&[0; VP8_HEADER_BYTES]);
    }
    finish(out, stamp, size)
}

/// Builds an Opus-like payload of `size` bytes.
#[must_use]
pub(super) fn audio(stamp: &Stamp, size: usize) -> Bytes {
    let size = size.clamp(PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX);
    let mut out = BytesMut::with_capacity(size);
    out.put_u8(OPUS_TOC);
    finish(out, stamp, size)
}

fn finish(mut out: BytesMut, stamp: &Stamp, size: usize) -> Bytes {
    out.put_u16(MAGIC);
    out.put_u8(if stamp.tail { FLAG_TAIL } else { 0 });
    out.put_u8(match stamp.kind {
        Kind::Audio => 0,
        Kind::Video => 1,
    });
    out.put_u32(stamp.publisher);
    out.put_u64(stamp.counter);
    out.put_u64(stamp.sent_ns);
    out.put_u16(size as u16);
    let filled = out.len();
    out.resize(size, 0);
    fill(&mut out[filled..]);
    out.freeze()
}

/// The filling: position dependent, so that a shifted or cut payload is noticed.
fn fill(area: &mut [u8]) {
    for (at, byte) in area.iter_mut().enumerate() {
        *byte = filling(at);
    }
}

fn filling(at: usize) -> u8 {
    (at as u8).wrapping_mul(31).wrapping_add(7)
}

/// Reads the stamp of a payload and checks that the payload is whole.
///
/// # Errors
/// [`ReadError`] when this is not a payload of the load tool, or not as it was sent.
pub(super) fn read(kind: Kind, payload: &[u8]) -> Result<Stamp, ReadError> {
    let head = match kind {
        Kind::Audio => 1,
        Kind::Video => vp8_descriptor_bytes(payload)? + VP8_HEADER_BYTES,
    };
    let stamp = payload.get(head..head + STAMP_BYTES).ok_or(ReadError::Short)?;
    let mut field = Field(stamp);
    if field.take::<2>() != MAGIC.to_be_bytes() {
        return Err(ReadError::NoStamp);
    }
    let [flags] = field.take::<1>();
    let [kind_byte] = field.take::<1>();
    let publisher = u32::from_be_bytes(field.take());
    let counter = u64::from_be_bytes(field.take());
    let sent_ns = u64::from_be_bytes(field.take());
    let size = usize::from(u16::from_be_bytes(field.take()));
    let kind = if kind_byte == 0 { Kind::Audio } else { Kind::Video };
    // The descriptor may have been rewritten to another length; what follows it may not.
    let descriptor = match kind {
        Kind::Audio => 1,
        Kind::Video => VP8_DESCRIPTOR_BYTES + VP8_HEADER_BYTES,
    };
    let rest = &payload[head + STAMP_BYTES..];
    let whole = rest.len() + STAMP_BYTES + descriptor == size
        && rest.iter().enumerate().all(|(at, byte)| *byte == filling(at));
    if !whole {
        return Err(ReadError::Changed);
    }
    Ok(Stamp { kind, publisher, counter, sent_ns, tail: flags & FLAG_TAIL != 0 })
}

struct Field<'a>(&'a [u8]);

impl Field<'_> {
    /// The next `N` bytes; zeros when there are none, which cannot be: the caller cut exactly one stamp.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        head.try_into().unwrap_or([0; N])
    }
}

/// Length of a VP8 payload descriptor (RFC 7741 section 4.2).
fn vp8_descriptor_bytes(payload: &[u8]) -> Result<usize, ReadError> {
    let first = *payload.first().ok_or(ReadError::Short)?;
    if first & 0x80 == 0 {
        return Ok(1);
    }
    let extended = *payload.get(1).ok_or(ReadError::Short)?;
    let mut bytes = 2;
    if extended & 0x80 != 0 {
        let long = *payload.get(2).ok_or(ReadError::Short)? & 0x80 != 0;
        bytes += if long { 2 } else { 1 };
    }
    if extended & 0x40 != 0 {
        bytes += 1;
    }
    if extended & 0x30 != 0 {
        bytes += 1;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { kind: Kind::Video, publisher: 7, counter: 1 << 40, sent_ns: 123_456_789, tail: true }
    }

    #[test]
    fn a_stamp_survives_the_way_in_both_kinds() {
        let place = FramePlace { start: true, keyframe: true, picture_id: 300 };
        let payload = video(place, &stamp(), 1_188);
        assert_eq!(payload.len(), 1_188);
        assert_eq!(read(Kind::Video, &payload), Ok(stamp()));
        let sound = Stamp { kind: Kind::Audio, tail: false, ..stamp() };
        assert_eq!(read(Kind::Audio, &audio(&sound, 160)), Ok(sound));
    }

    #[test]
    fn a_rewritten_descriptor_of_another_length_is_still_read() {
        let payload = video(FramePlace { start: false, keyframe: false, picture_id: 1 }, &stamp(), 500);
        let mut rewritten = vec![0x80, 0xc0, 0x80, 0x05, 0x11];
        rewritten.extend_from_slice(&payload[VP8_DESCRIPTOR_BYTES..]);
        assert_eq!(read(Kind::Video, &rewritten), Ok(stamp()));
    }

    #[test]
    fn a_cut_or_changed_payload_is_noticed() {
        let payload = video(FramePlace { start: true, keyframe: false, picture_id: 1 }, &stamp(), 500);
        assert_eq!(read(Kind::Video, &payload[..499]), Err(ReadError::Changed));
        assert_eq!(read(Kind::Video, &payload[..20]), Err(ReadError::Short));
        let mut changed = payload.to_vec();
        changed[400] ^= 1;
        assert_eq!(read(Kind::Video, &changed), Err(ReadError::Changed));
        assert_eq!(read(Kind::Video, &[0; 100]), Err(ReadError::NoStamp));
    }
}
