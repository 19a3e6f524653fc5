//! Pure: no clock, no I/O, no async.
//!
//! AV1 (the RTP payload specification of AOMedia, section 4): OBU elements, possibly in parts, become OBUs with sizes.

use super::bits::Bits;
use super::{Broken, Format, Pending};

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

/// An OBU in parts.
#[derive(Debug, Default)]
pub(super) struct Obus {
    part: Vec<u8>,
}

impl Obus {
    pub(super) const fn is_unfinished(&self) -> bool {
        !self.part.is_empty()
    }

    pub(super) fn append(&mut self, payload: &[u8], pending: &mut Pending) -> Result<(), Broken> {
        let (&header, mut rest) = payload.split_first().ok_or(Broken)?;
        let (continues, goes_on, count) = (header & 0x80 != 0, header & 0x40 != 0, header >> 4 & 3);
        if continues != self.is_unfinished() {
            return Err(Broken);
        }
        let mut index = 0;
        while !rest.is_empty() {
            index += 1;
            let is_last_without_length = count != 0 && index == count;
            let length =
                if is_last_without_length { rest.len() } else { take_leb128(&mut rest).ok_or(Broken)? };
            let (element, after) = rest.split_at_checked(length).ok_or(Broken)?;
            rest = after;
            self.part.extend_from_slice(element);
            if rest.is_empty() && goes_on {
                break;
            }
            let obu = std::mem::take(&mut self.part);
            append_obu(&obu, pending)?;
        }
        Ok(())
    }
}

fn append_obu(obu: &[u8], pending: &mut Pending) -> Result<(), Broken> {
    let (kind, extension, content) = split_obu(obu).ok_or(Broken)?;
    if matches!(kind, TEMPORAL_DELIMITER | TILE_LIST | PADDING) {
        return Ok(());
    }
    pending.key |= kind == SEQUENCE_HEADER;
    let has_extension = u8::from(extension.is_some()) << 2;
    pending.data.push(kind << 3 | has_extension | 2);
    pending.data.extend(extension);
    put_leb128(&mut pending.data, content.len());
    pending.data.extend_from_slice(content);
    Ok(())
}

/// Kind, extension byte and content of an OBU, which may tell its size.
fn split_obu(obu: &[u8]) -> Option<(u8, Option<u8>, &[u8])> {
    let (&header, mut rest) = obu.split_first()?;
    let mut extension = None;
    if header & 4 != 0 {
        let (&byte, after) = rest.split_first()?;
        (extension, rest) = (Some(byte), after);
    }
    if header & 2 != 0 {
        let length = take_leb128(&mut rest)?;
        rest = rest.get(..length)?;
    }
    Some((header >> 3 & 15, extension, rest))
}

fn take_leb128(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for index in 0..4 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// `av1C` and size from the sequence header (AV1 section 5.5; ISOBMFF binding section 2.3).
pub(super) fn format(key_frame: &[u8]) -> Option<Format> {
    let mut rest = key_frame;
    let (start, content) = loop {
        let start = rest;
        let (kind, extension, content) = split_obu(rest)?;
        let length = content.len();
        let mut skipped = rest.get(1 + usize::from(extension.is_some())..)?;
        take_leb128(&mut skipped)?;
        rest = skipped.get(length..)?;
        if kind == SEQUENCE_HEADER {
            break (start.get(..start.len() - rest.len())?, content);
        }
    };
    let mut bits = Bits::new(content);
    let profile = bits.read(3)?;
    bits.skip(1)?;
    let (mut level, mut tier) = (0, 0);
    if bits.flag()? {
        level = bits.read(5)?;
    } else {
        // Timing and decoder models do not occur in calls.
        if bits.flag()? {
            return None;
        }
        let has_delay = bits.flag()?;
        for point in 0..=bits.read(5)? {
            bits.skip(12)?;
            let point_level = bits.read(5)?;
            let point_tier = if point_level > 7 { bits.read(1)? } else { 0 };
            if point == 0 {
                (level, tier) = (point_level, point_tier);
            }
            if has_delay && bits.flag()? {
                bits.skip(4)?;
            }
        }
    }
    let (width_bits, height_bits) = (bits.read(4)? + 1, bits.read(4)? + 1);
    let (width, height) = (bits.read(width_bits)? + 1, bits.read(height_bits)? + 1);
    let byte = |value: u32| u8::try_from(value).unwrap_or_default();
    // 8 bits, 4:2:0: what calls use.
    let mut private = vec![0x81, byte(profile << 5 | level), byte(tier << 7) | 0x0c, 0];
    private.extend_from_slice(start);
    Some(Format { width: u16::try_from(width).ok()?, height: u16::try_from(height).ok()?, private })
}
