//! Pure: no clock, no I/O, no async.
//!
//! VP8 (RFC 7741) and VP9 (RFC 9628): a descriptor is taken off each payload, the rest is the frame.

use super::bits::Bits;
use super::{Broken, Pending};

pub(super) fn append_vp8(payload: &[u8], pending: &mut Pending) -> Result<(), Broken> {
    let (starts, content) = vp8_content(payload).ok_or(Broken)?;
    if pending.data.is_empty() {
        if !starts {
            return Err(Broken);
        }
        pending.key = content.first().is_some_and(|first| first & 1 == 0);
    }
    pending.data.extend_from_slice(content);
    Ok(())
}

/// True when it starts a frame, and what follows the descriptor (section 4.2).
fn vp8_content(payload: &[u8]) -> Option<(bool, &[u8])> {
    let first = *payload.first()?;
    let starts = first & 0x10 != 0 && first & 0x07 == 0;
    let mut length = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        length += 1;
        if extension & 0x80 != 0 {
            length += if payload.get(length)? & 0x80 == 0 { 1 } else { 2 };
        }
        length += usize::from(extension & 0x40 != 0);
        length += usize::from(extension & 0x30 != 0);
    }
    Some((starts, payload.get(length..)?))
}

/// Size in a VP8 key frame's header (RFC 6386 section 9.1).
pub(super) fn vp8_size(frame: &[u8]) -> Option<(u16, u16)> {
    let header = frame.first_chunk::<10>()?;
    if header[0] & 1 != 0 || header[3..6] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let size = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
    Some((size(header[6], header[7]), size(header[8], header[9])))
}

pub(super) fn append_vp9(payload: &[u8], pending: &mut Pending) -> Result<(), Broken> {
    let descriptor = vp9_descriptor(payload).ok_or(Broken)?;
    if pending.data.is_empty() {
        if !descriptor.begins {
            return Err(Broken);
        }
        pending.key = !descriptor.inter && descriptor.spatial == 0;
    }
    pending.data.extend_from_slice(descriptor.content);
    Ok(())
}

struct Descriptor<'a> {
    begins: bool,
    inter: bool,
    spatial: u8,
    content: &'a [u8],
}

/// Section 4.2 of RFC 9628.
fn vp9_descriptor(payload: &[u8]) -> Option<Descriptor<'_>> {
    let first = *payload.first()?;
    let flag = |bit: u8| first & bit != 0;
    let (has_id, inter, layered, flexible) = (flag(0x80), flag(0x40), flag(0x20), flag(0x10));
    let (begins, structured) = (flag(0x08), flag(0x02));
    let (mut at, mut spatial) = (1, 0);
    if has_id {
        at += if payload.get(at)? & 0x80 == 0 { 1 } else { 2 };
    }
    if layered {
        spatial = payload.get(at)? >> 1 & 7;
        at += if flexible { 1 } else { 2 };
    }
    if flexible && inter {
        // At most three references, each telling whether another follows.
        for _ in 0..3 {
            let more = payload.get(at)? & 1 == 1;
            at += 1;
            if !more {
                break;
            }
        }
    }
    if structured {
        at += structure_bytes(payload.get(at..)?)?;
    }
    Some(Descriptor { begins, inter, spatial, content: payload.get(at..)? })
}

/// Length of the scalability structure.
fn structure_bytes(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    let mut at = 1;
    if first & 0x10 != 0 {
        at += 4 * (usize::from(first >> 5) + 1);
    }
    if first & 0x08 != 0 {
        let pictures = *bytes.get(at)?;
        at += 1;
        for _ in 0..pictures {
            at += 1 + usize::from(bytes.get(at)? >> 2 & 3);
        }
    }
    Some(at)
}

/// Size in a VP9 key frame's uncompressed header (VP9 bitstream section 6.2).
pub(super) fn vp9_size(frame: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(frame);
    if bits.read(2)? != 2 {
        return None;
    }
    let profile = u8::from(bits.flag()?) | u8::from(bits.flag()?) << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    let (show_existing, inter) = (bits.flag()?, bits.flag()?);
    if show_existing || inter {
        return None;
    }
    bits.skip(2)?;
    if bits.read(24)? != 0x49_83_42 {
        return None;
    }
    if profile >= 2 {
        bits.skip(1)?;
    }
    const SRGB: u32 = 7;
    if bits.read(3)? == SRGB {
        if profile & 1 == 1 {
            bits.skip(1)?;
        }
    } else {
        bits.skip(if profile & 1 == 1 { 4 } else { 1 })?;
    }
    let (width, height) = (bits.read(16)? + 1, bits.read(16)? + 1);
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}
