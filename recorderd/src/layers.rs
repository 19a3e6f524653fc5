//! Pure: no clock, no I/O, no async.
//!
//! Which simulcast encoding suffices for a tile.

/// What is taken for the size of the best encoding until a key frame tells it.
const BEST: (u16, u16) = (1280, 720);

/// A picture may be enlarged by so much before the next encoding is taken: a 180-line picture in a 200-line tile shows no
/// difference worth its cost.
const ENLARGED_PERCENT: u32 = 115;

/// Position of the smallest of `encodings` encodings, each twice as wide as the one before, that fills a tile. `best` is
/// the size of the largest, where it is known.
#[must_use]
pub fn spatial_for(tile: (u16, u16), encodings: usize, best: Option<(u16, u16)>) -> u8 {
    if encodings <= 1 {
        return u8::MAX;
    }
    let (width, height) = best.unwrap_or(BEST);
    // Tiles are filled, so both sides must suffice. A picture on its side has its sides the other way round, which the
    // longer side of both takes into account.
    let suffices = |divisor: u32| {
        let has = |side: u16| u32::from(side) / divisor * ENLARGED_PERCENT / 100;
        has(width) >= u32::from(tile.0) && has(height) >= u32::from(tile.1)
    };
    let top = u8::try_from(encodings - 1).unwrap_or(u8::MAX).min(7);
    (0..top).find(|spatial| suffices(1 << (top - spatial))).unwrap_or(u8::MAX)
}

/// Size of the picture that an RTP packet of a VP8 key frame begins (RFC 7741 section 4, RFC 6386 section 9.1), of the
/// header of 12 bytes and its payload. None for anything else.
#[must_use]
pub fn vp8_size(packet: &[u8]) -> Option<(u16, u16)> {
    let payload = packet.get(12..)?;
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        at += 1;
        if extension & 0x80 != 0 {
            at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
    }
    let frame = payload.get(at..at + 10)?;
    // The first bit is 0 in a key frame.
    let [tag, _, _, 0x9d, 0x01, 0x2a, width_low, width_high, height_low, height_high] = *frame else {
        return None;
    };
    let side = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
    (tag & 1 == 0).then(|| (side(width_low, width_high), side(height_low, height_high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_encoding_that_fills_the_tile_is_taken() {
        for (tile, encodings, spatial) in [
            ((1280, 720), 3, u8::MAX),
            ((640, 720), 3, u8::MAX),
            ((640, 360), 3, 1),
            ((426, 240), 3, 1),
            ((320, 180), 3, 0),
            ((360, 200), 3, 0),
            ((640, 360), 2, 0),
            ((640, 360), 1, u8::MAX),
            ((10, 10), 0, u8::MAX),
        ] {
            assert_eq!(spatial_for(tile, encodings, None), spatial, "{tile:?} of {encodings}");
        }
        assert_eq!(spatial_for((640, 360), 3, Some((640, 360))), u8::MAX);
        assert_eq!(spatial_for((640, 360), 3, Some((2560, 1440))), 0);
    }

    #[test]
    fn a_vp8_key_frame_tells_its_size() {
        let frame = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41];
        let with = |descriptor: &[u8]| [&[0x80; 12][..], descriptor, &frame].concat();
        assert_eq!(vp8_size(&with(&[0x10])), Some((640, 360)));
        assert_eq!(vp8_size(&with(&[0x90, 0x80, 0x81, 0x02])), Some((640, 360)));
        assert_eq!(vp8_size(&with(&[0x90, 0xe0, 0x01, 0x05, 0x20])), Some((640, 360)));
        let mut inter = with(&[0x10]);
        inter[13] |= 1;
        assert_eq!(vp8_size(&inter), None);
        assert_eq!(vp8_size(&[0x90; 14]), None);
        assert_eq!(vp8_size(&[]), None);
    }
}
