//! Pure: no clock, no I/O, no async.
//!
//! VP8 (RFC 7741 section 4.2).

use super::PayloadInfo;
use super::descriptor::{KEY_INDEX, PICTURE_ID, PICTURE_ID_LONG, TL0};

/// Reads descriptor and, in the first packet of a key frame, the frame header.
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    read(payload).unwrap_or_default()
}

fn read(payload: &[u8]) -> Option<PayloadInfo> {
    let mut info = PayloadInfo::default();
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extended = *payload.get(1)?;
        at = 2;
        if extended & 0x80 != 0 {
            let id = *payload.get(at)?;
            info.descriptor |= PICTURE_ID;
            if id & 0x80 != 0 {
                info.descriptor |= PICTURE_ID_LONG;
                info.picture_id = u16::from(id & 0x7f) << 8 | u16::from(*payload.get(at + 1)?);
                at += 2;
            } else {
                info.picture_id = u16::from(id);
                at += 1;
            }
        }
        if extended & 0x40 != 0 {
            info.descriptor |= TL0;
            info.tl0 = *payload.get(at)?;
            at += 1;
        }
        if extended & 0x30 != 0 {
            let byte = *payload.get(at)?;
            if extended & 0x20 != 0 {
                info.temporal = byte >> 6;
            }
            // The byte exists for T or K alike; its key index counts only with K.
            if extended & 0x10 != 0 {
                info.descriptor |= KEY_INDEX;
                info.key_index = byte & 0x1f;
            }
            at += 1;
        }
    }
    // S set and partition 0: the frame header follows (RFC 7741 section 4.3).
    info.frame_start = first & 0x10 != 0 && first & 0x07 == 0;
    if info.frame_start {
        let frame = payload.get(at..)?;
        info.keyframe = frame.first()? & 1 == 0;
        if info.keyframe && frame.len() >= 10 && frame[3..6] == [0x9d, 0x01, 0x2a] {
            let word = |at: usize| u16::from_le_bytes([frame[at], frame[at + 1]]) & 0x3fff;
            info.size = Some((word(6), word(8)));
        }
    }
    Some(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_shows_its_size() {
        let mut payload = vec![0x10, 0x50, 0x01, 0x02, 0x9d, 0x01, 0x2a];
        payload.extend(640u16.to_le_bytes());
        payload.extend((360u16 | 0x4000).to_le_bytes());
        let info = inspect(&payload);
        assert!(info.keyframe && info.frame_start);
        assert_eq!((info.size, info.descriptor), (Some((640, 360)), 0));
    }

    #[test]
    fn later_partitions_and_delta_frames_are_no_starts() {
        assert!(!inspect(&[0x01, 0x00]).frame_start);
        assert!(!inspect(&[0x11, 0x00]).frame_start);
        let delta = inspect(&[0x10, 0x01]);
        assert!(delta.frame_start && !delta.keyframe);
        assert_eq!(inspect(&[]), PayloadInfo::default());
        assert_eq!(inspect(&[0x90, 0x80]), PayloadInfo::default());
    }
}
