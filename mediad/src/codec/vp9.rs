//! Pure: no clock, no I/O, no async.
//!
//! VP9 (RFC 9628 section 4.2).

use super::PayloadInfo;
use super::descriptor::{LAYER_INDICES, PICTURE_ID, PICTURE_ID_LONG, TL0, VP9};

/// Reads the descriptor; the size comes from the scalability structure.
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    read(payload).unwrap_or_default()
}

fn read(payload: &[u8]) -> Option<PayloadInfo> {
    let first = *payload.first()?;
    let flag = |bit: u8| first & bit != 0;
    let (has_id, predicted, layers, flexible) = (flag(0x80), flag(0x40), flag(0x20), flag(0x10));
    let (begins, structure) = (flag(0x08), flag(0x02));
    let mut info = PayloadInfo { descriptor: VP9, ..PayloadInfo::default() };
    let mut at = 1;
    if has_id {
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
    let mut depends = false;
    if layers {
        let byte = *payload.get(at)?;
        info.descriptor |= LAYER_INDICES;
        info.temporal = byte >> 5;
        info.spatial = byte >> 1 & 0x07;
        depends = byte & 1 != 0;
        at += 1;
        if !flexible {
            info.descriptor |= TL0;
            info.tl0 = *payload.get(at)?;
            at += 1;
        }
    }
    if flexible && predicted {
        // Up to three reference differences, each telling whether another follows.
        for _ in 0..3 {
            let difference = *payload.get(at)?;
            at += 1;
            if difference & 1 == 0 {
                break;
            }
        }
    }
    // A picture begins with its lowest layer; upper layers of a key picture are predicted from below.
    info.frame_start = begins && info.spatial == 0;
    info.keyframe = !predicted && (info.spatial == 0 || depends);
    if structure {
        info.size = largest(payload.get(at..)?);
    }
    Some(info)
}

/// Size of the highest spatial layer in a scalability structure.
fn largest(structure: &[u8]) -> Option<(u16, u16)> {
    let head = *structure.first()?;
    let layers = usize::from(head >> 5) + 1;
    if head & 0x10 == 0 {
        return None;
    }
    let last = structure.get(1 + 4 * (layers - 1)..1 + 4 * layers)?;
    Some((u16::from_be_bytes([last[0], last[1]]), u16::from_be_bytes([last[2], last[3]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_picture_is_not_predicted_and_begins_at_the_lowest_layer() {
        let info = inspect(&[0x88, 0x05, 0]);
        assert!(info.keyframe && info.frame_start);
        assert_eq!((info.picture_id, info.descriptor), (5, VP9 | PICTURE_ID));
        assert!(!inspect(&[0xc8, 0x05, 0]).keyframe);
        let upper = inspect(&[0xb8, 0x05, 0x03, 0]);
        assert!(upper.keyframe && !upper.frame_start);
        assert_eq!(upper.spatial, 1);
    }

    #[test]
    fn the_scalability_structure_shows_the_largest_size() {
        let payload = [0x8a, 0x05, 0x30, 1, 64, 0, 180, 2, 128, 1, 104];
        assert_eq!(inspect(&payload).size, Some((640, 360)));
    }
}
