//! Pure: no clock, no I/O, no async.
//!
//! Opus and redundant audio around it: every packet can be decoded on its own.

use super::PayloadInfo;

/// Each packet is a frame that a receiver can begin with.
pub const fn inspect(payload: &[u8]) -> PayloadInfo {
    let begins = !payload.is_empty();
    PayloadInfo {
        keyframe: begins,
        frame_start: begins,
        size: None,
        spatial: 0,
        temporal: 0,
        descriptor: 0,
        picture_id: 0,
        tl0: 0,
        key_index: 0,
    }
}

/// RFC 6464: voice flag and loudness, 0 (silent) to 127 (loudest), from the extension's byte.
pub const fn loudness(level: u8) -> (bool, u8) {
    (level & 0x80 != 0, 127 - (level & 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_a_start_and_levels_count_downwards() {
        assert!(inspect(&[1]).keyframe && inspect(&[1]).frame_start && !inspect(&[]).keyframe);
        assert_eq!((loudness(0x80), loudness(0x7f)), ((true, 127), (false, 0)));
    }
}
