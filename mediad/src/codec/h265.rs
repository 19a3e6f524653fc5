//! Pure: no clock, no I/O, no async.
//!
//! H.265 (RFC 7798): NAL unit types.

use super::PayloadInfo;

/// Reads NAL unit headers, also of aggregates and of first fragments.
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some(first) = payload.first() else { return info };
    match first >> 1 & 0x3f {
        48 => {
            let mut rest = payload.get(2..).unwrap_or_default();
            while let Some((length, units)) = rest.split_first_chunk::<2>() {
                let length = usize::from(u16::from_be_bytes(*length));
                let Some(unit) = units.get(..length) else { break };
                note(&mut info, unit);
                rest = &units[length..];
            }
        }
        49 => {
            if let Some(header) = payload.get(2) {
                let slice = payload.get(3).is_some_and(|byte| byte & 0x80 != 0);
                info.keyframe = is_key(header & 0x3f);
                info.frame_start = header & 0x80 != 0 && slice;
            }
        }
        _ => note(&mut info, payload),
    }
    info.temporal = payload.get(1).map_or(0, |second| (second & 0x07).saturating_sub(1));
    info
}

fn note(info: &mut PayloadInfo, unit: &[u8]) {
    let Some(first) = unit.first() else { return };
    match first >> 1 & 0x3f {
        VPS | SPS => {
            info.keyframe = true;
            info.frame_start = true;
        }
        kind if kind < VPS => {
            info.keyframe |= is_key(kind);
            // first_slice_segment_in_pic_flag.
            info.frame_start |= unit.get(2).is_some_and(|byte| byte & 0x80 != 0);
        }
        _ => {}
    }
}

/// Instantaneous and clean random access, broken links.
const fn is_key(kind: u8) -> bool {
    kind >= 16 && kind <= 21
}

const VPS: u8 = 32;
const SPS: u8 = 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_begin_with_parameters_or_their_first_slice() {
        assert!(inspect(&[0x40, 0x01, 0]).keyframe);
        assert!(inspect(&[0x60, 0x01, 0, 3, 0x42, 0x01, 0]).keyframe);
        let fragment = inspect(&[0x62, 0x01, 0x80 | 19, 0x80]);
        assert!(fragment.keyframe && fragment.frame_start);
        let middle = inspect(&[0x62, 0x01, 19, 0x80]);
        assert!(middle.keyframe && !middle.frame_start);
        let delta = inspect(&[0x02, 0x02, 0x80]);
        assert!(!delta.keyframe && delta.frame_start);
        assert_eq!(delta.temporal, 1);
    }
}
