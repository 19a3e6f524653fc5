//! Pure: no clock, no I/O, no async.
//!
//! H.264 (RFC 6184): NAL unit types, and which profiles may be sent to whom.

use super::{PayloadInfo, parameter};

/// Reads NAL unit headers, also of aggregates and of first fragments.
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some(first) = payload.first() else { return info };
    match first & 0x1f {
        24 => {
            let mut rest = &payload[1..];
            while let Some((length, units)) = rest.split_first_chunk::<2>() {
                let length = usize::from(u16::from_be_bytes(*length));
                let Some(unit) = units.get(..length) else { break };
                note(&mut info, unit);
                rest = &units[length..];
            }
        }
        28 | 29 => {
            if let Some(second) = payload.get(1) {
                let kind = second & 0x1f;
                info.keyframe = kind == IDR;
                // The slice header begins with first_mb_in_slice: a set bit is macroblock 0.
                info.frame_start = second & 0x80 != 0 && payload.get(2).is_some_and(|byte| byte & 0x80 != 0);
            }
        }
        _ => note(&mut info, payload),
    }
    info
}

fn note(info: &mut PayloadInfo, unit: &[u8]) {
    let Some(first) = unit.first() else { return };
    match first & 0x1f {
        SPS => {
            info.keyframe = true;
            info.frame_start = true;
            info.size = sps_size(&unit[1..]);
        }
        kind @ (1 | IDR) => {
            info.keyframe |= kind == IDR;
            info.frame_start |= unit.get(1).is_some_and(|byte| byte & 0x80 != 0);
        }
        _ => {}
    }
}

/// Whether a stream of one `a=fmtp` may be sent to a receiver of the other: packetization mode and profile agree; the
/// level is the sender's business.
pub fn compatible(published: &str, offered: &str) -> bool {
    let mode = |fmtp| parameter(fmtp, "packetization-mode").unwrap_or("0").to_owned();
    mode(published) == mode(offered) && Profile::of(published) == Profile::of(offered)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    Other(u8, u8),
}

impl Profile {
    /// From `profile-level-id`; absent means baseline level 1 (RFC 6184 section 8.1).
    fn of(fmtp: &str) -> Self {
        let id = parameter(fmtp, "profile-level-id")
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .unwrap_or(0x42_00_0a);
        let (idc, constraints) = ((id >> 16) as u8, (id >> 8) as u8);
        match (idc, constraints) {
            (0x42, bits) if bits & 0x40 != 0 => Self::ConstrainedBaseline,
            (0x4d, bits) if bits & 0x80 != 0 => Self::ConstrainedBaseline,
            (0x42, _) => Self::Baseline,
            (0x4d, _) => Self::Main,
            (0x64, bits) if bits & 0x0c == 0x0c => Self::ConstrainedHigh,
            (0x64, _) => Self::High,
            (idc, bits) => Self::Other(idc, bits),
        }
    }
}

const IDR: u8 = 5;
const SPS: u8 = 7;

/// Picture size in a sequence parameter set (ITU-T H.264 section 7.3.2.1.1), without cropping.
fn sps_size(sps: &[u8]) -> Option<(u16, u16)> {
    let profile = *sps.first()?;
    let mut bits = Bits::new(sps.get(3..)?);
    bits.golomb()?;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128) {
        if bits.golomb()? == 3 {
            bits.skip(1)?;
        }
        bits.golomb()?;
        bits.golomb()?;
        bits.skip(1)?;
        if bits.bit()? == 1 {
            return None;
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => _ = bits.golomb()?,
        1 => return None,
        _ => {}
    }
    bits.golomb()?;
    bits.skip(1)?;
    let width = bits.golomb()?.checked_add(1)?.checked_mul(16)?;
    let units = bits.golomb()?.checked_add(1)?;
    let height = units.checked_mul(if bits.bit()? == 1 { 16 } else { 32 })?;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Bits of a NAL unit, emulation prevention taken out.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    zeros: u8,
    current: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, zeros: 0, current: 0, left: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let mut byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if self.zeros >= 2 && byte == 3 {
                byte = *self.bytes.get(self.at)?;
                self.at += 1;
                self.zeros = 0;
            }
            self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
            self.current = byte;
            self.left = 8;
        }
        self.left -= 1;
        Some(u32::from(self.current >> self.left & 1))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.bit().map(|_| ()))
    }

    /// Exp-Golomb code of at most 31 leading zeros.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let mut value: u32 = 1;
        for _ in 0..zeros {
            value = value << 1 | self.bit()?;
        }
        Some(value - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_begin_with_parameters_or_their_first_slice() {
        // 640x480 baseline.
        let sps = [0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xf6, 0x40];
        let alone = inspect(&sps);
        assert!(alone.keyframe && alone.frame_start);
        assert_eq!(alone.size, Some((640, 480)));
        let mut aggregate = vec![0x78, 0, 9];
        aggregate.extend(sps);
        aggregate.extend([0, 2, 0x68, 0xce]);
        assert!(inspect(&aggregate).keyframe);
        assert!(inspect(&[0x7c, 0x85, 0x88]).keyframe && inspect(&[0x7c, 0x85, 0x88]).frame_start);
        let middle = inspect(&[0x7c, 0x05, 0x88]);
        assert!(middle.keyframe && !middle.frame_start);
        let delta = inspect(&[0x41, 0x9a]);
        assert!(!delta.keyframe && delta.frame_start);
    }

    #[test]
    fn profiles_and_packetization_modes_must_agree() {
        let chromium = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
        assert!(compatible(chromium, "profile-level-id=42e034;packetization-mode=1"));
        assert!(!compatible(chromium, "profile-level-id=42e01f"));
        assert!(!compatible(chromium, "profile-level-id=640c1f;packetization-mode=1"));
        assert!(compatible("", "profile-level-id=42001f;packetization-mode=0"));
    }
}
