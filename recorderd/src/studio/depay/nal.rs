//! Pure: no clock, no I/O, no async.
//!
//! H264 (RFC 6184, packetization modes 0 and 1) and H265 (RFC 7798): NAL units out of payloads, with start codes, and
//! what a container must know of them.

use super::bits::Bits;
use super::{Broken, Format, Pending};

const START: [u8; 4] = [0, 0, 0, 1];

/// A NAL unit in parts.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    open: bool,
}

impl Fragment {
    pub(super) const fn is_unfinished(&self) -> bool {
        self.open
    }

    pub(super) fn append_h264(&mut self, payload: &[u8], pending: &mut Pending) -> Result<(), Broken> {
        let (&first, rest) = payload.split_first().ok_or(Broken)?;
        let kind = first & 0x1f;
        match kind {
            1..=23 => unit(pending, payload, is_h264_key(kind)),
            24 => aggregate(pending, rest, |unit| is_h264_key(unit.first().map_or(0, |first| first & 0x1f))),
            28 => {
                let (&header, content) = rest.split_first().ok_or(Broken)?;
                let restored = [first & 0xe0 | header & 0x1f];
                self.part(pending, header, &restored, content, is_h264_key(header & 0x1f))
            }
            _ => Err(Broken),
        }
    }

    pub(super) fn append_h265(&mut self, payload: &[u8], pending: &mut Pending) -> Result<(), Broken> {
        let (&[first, second], rest) = payload.split_first_chunk::<2>().ok_or(Broken)?;
        let kind = first >> 1 & 0x3f;
        match kind {
            0..=47 => unit(pending, payload, is_h265_key(kind)),
            48 => aggregate(pending, rest, |unit| {
                is_h265_key(unit.first().map_or(0, |first| first >> 1 & 0x3f))
            }),
            49 => {
                let (&header, content) = rest.split_first().ok_or(Broken)?;
                let restored = [first & 0x81 | (header & 0x3f) << 1, second];
                self.part(pending, header, &restored, content, is_h265_key(header & 0x3f))
            }
            _ => Err(Broken),
        }
    }

    /// Section 5.8 of RFC 6184, section 4.4.3 of RFC 7798: start and end flags are alike.
    fn part(
        &mut self,
        pending: &mut Pending,
        header: u8,
        restored: &[u8],
        content: &[u8],
        key: bool,
    ) -> Result<(), Broken> {
        if header & 0x80 != 0 {
            self.open = true;
            unit(pending, restored, key)?;
        }
        if !self.open {
            return Err(Broken);
        }
        pending.data.extend_from_slice(content);
        self.open = header & 0x40 == 0;
        Ok(())
    }
}

/// An IDR picture, or the parameter sets before one.
const fn is_h264_key(kind: u8) -> bool {
    matches!(kind, 5 | 7)
}

/// A picture of random access, or the parameter sets before one.
const fn is_h265_key(kind: u8) -> bool {
    matches!(kind, 16..=21 | 32..=33)
}

#[expect(clippy::unnecessary_wraps, reason = "arms of the callers have one type")]
fn unit(pending: &mut Pending, unit: &[u8], key: bool) -> Result<(), Broken> {
    pending.data.extend_from_slice(&START);
    pending.data.extend_from_slice(unit);
    pending.key |= key;
    Ok(())
}

fn aggregate(pending: &mut Pending, mut rest: &[u8], is_key: impl Fn(&[u8]) -> bool) -> Result<(), Broken> {
    while !rest.is_empty() {
        let (length, content) = rest.split_first_chunk::<2>().ok_or(Broken)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (content, after) = content.split_at_checked(length).ok_or(Broken)?;
        unit(pending, content, is_key(content))?;
        rest = after;
    }
    Ok(())
}

/// NAL units of a stream with start codes.
fn units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(window) = data.get(at..at + 3) {
        if window == [0, 0, 1] {
            starts.push(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|start| start - 3).chain([data.len()]).collect();
    starts.into_iter().zip(ends).filter_map(|(start, end)| {
        let unit = data.get(start..end)?;
        // The zero of the next start code, and trailing zeros, are not part of the unit.
        let length = unit.iter().rposition(|&byte| byte != 0)? + 1;
        unit.get(..length)
    })
}

pub(super) fn with_lengths(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    for unit in units(data) {
        let length = u32::try_from(unit.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(unit);
    }
    out
}

/// Without the bytes that keep start codes out of a unit (H.264 section 7.4.1).
fn unescape(unit: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

pub(super) fn h264_format(key_frame: &[u8]) -> Option<Format> {
    let mut sets = units(key_frame);
    let sps = sets.find(|unit| unit.first().is_some_and(|first| first & 0x1f == 7))?;
    let pps = units(key_frame).find(|unit| unit.first().is_some_and(|first| first & 0x1f == 8))?;
    let (width, height) = h264_size(&unescape(sps))?;
    let profile = sps.get(1..4)?;
    let mut private = vec![1, profile[0], profile[1], profile[2], 0xff, 0xe1];
    private.extend_from_slice(&u16::try_from(sps.len()).ok()?.to_be_bytes());
    private.extend_from_slice(sps);
    private.push(1);
    private.extend_from_slice(&u16::try_from(pps.len()).ok()?.to_be_bytes());
    private.extend_from_slice(pps);
    Some(Format { width, height, private })
}

/// Section 7.3.2.1.1 of H.264.
fn h264_size(sps: &[u8]) -> Option<(u16, u16)> {
    let profile = *sps.get(1)?;
    let mut bits = Bits::new(sps.get(4..)?);
    bits.golomb()?;
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = bits.golomb()?;
        bits.skip(u32::from(chroma == 3))?;
        bits.golomb()?;
        bits.golomb()?;
        bits.skip(1)?;
        // Scaling matrices do not occur in calls.
        if bits.flag()? {
            return None;
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.skip(1)?;
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb()?.min(255) {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.skip(1)?;
    let width = 16 * (bits.golomb()?.checked_add(1)?);
    let map_units = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.flag()?;
    let fields = if frames_only { 1 } else { 2 };
    bits.skip(u32::from(!frames_only) + 1)?;
    let height = map_units.checked_mul(16 * fields)?;
    let (mut crop_x, mut crop_y) = (0, 0);
    if bits.flag()? {
        let (left, right, top, bottom) = (bits.golomb()?, bits.golomb()?, bits.golomb()?, bits.golomb()?);
        let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
        crop_x = left.checked_add(right)?.checked_mul(unit_x)?;
        crop_y = top.checked_add(bottom)?.checked_mul(unit_y * fields)?;
    }
    Some((u16::try_from(width.checked_sub(crop_x)?).ok()?, u16::try_from(height.checked_sub(crop_y)?).ok()?))
}

pub(super) fn h265_format(key_frame: &[u8]) -> Option<Format> {
    let find = |kind: u8| {
        units(key_frame).find(move |unit| unit.first().is_some_and(|first| first >> 1 & 0x3f == kind))
    };
    let (vps, sps, pps) = (find(32)?, find(33)?, find(34)?);
    let plain = unescape(sps);
    let (width, height) = h265_size(&plain)?;
    // Section 8.3.3.1 of ISO/IEC 14496-15: the twelve bytes of profile, tier and level are those of the set.
    let mut private = vec![1];
    private.extend_from_slice(plain.get(3..15)?);
    private.extend_from_slice(&[0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0f, 3]);
    for (kind, unit) in [(32, vps), (33, sps), (34, pps)] {
        private.extend_from_slice(&[0x80 | kind, 0, 1]);
        private.extend_from_slice(&u16::try_from(unit.len()).ok()?.to_be_bytes());
        private.extend_from_slice(unit);
    }
    Some(Format { width, height, private })
}

/// Section 7.3.2.2.1 of H.265; sets with sub-layers do not occur in calls.
fn h265_size(sps: &[u8]) -> Option<(u16, u16)> {
    if sps.get(2)? >> 1 & 7 != 0 {
        return None;
    }
    let mut bits = Bits::new(sps.get(15..)?);
    bits.golomb()?;
    let chroma = bits.golomb()?;
    bits.skip(u32::from(chroma == 3))?;
    let (mut width, mut height) = (bits.golomb()?, bits.golomb()?);
    if bits.flag()? {
        let (left, right, top, bottom) = (bits.golomb()?, bits.golomb()?, bits.golomb()?, bits.golomb()?);
        let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
        width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
        height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
    }
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_parameter_set_tells_its_size() {
        // x264, 640 x 360, constrained baseline: 360 is cropped from 368.
        let sps = [
            0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01,
            0x00, 0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
        ];
        assert_eq!(h264_size(&unescape(&sps)), Some((640, 360)));
        let frame = [&START[..], &sps, &START, &[0x68, 0xcb, 0x83, 0xcb, 0x20], &START, &[0x65, 1]].concat();
        let format = h264_format(&frame).unwrap();
        assert_eq!(
            (format.width, format.height, &format.private[..6]),
            (640, 360, &[1, 0x42, 0xc0, 0x1e, 0xff, 0xe1][..])
        );
    }
}
