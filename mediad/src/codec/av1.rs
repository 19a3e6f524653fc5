//! Pure: no clock, no I/O, no async.
//!
//! AV1 (RTP Payload Format For AV1, version 1.0): the aggregation header, and of the dependency descriptor extension
//! its mandatory fields.

use super::PayloadInfo;

/// Reads the aggregation header.
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let Some(first) = payload.first() else { return PayloadInfo::default() };
    let (continues, sequence) = (first & 0x80 != 0, first & 0x08 != 0);
    // N: first packet of a coded video sequence, which a key frame begins. A packet that continues a unit begins
    // nothing; whether others do is known by the marker before, so only the sure case is told here.
    PayloadInfo { keyframe: sequence, frame_start: sequence && !continues, ..PayloadInfo::default() }
}

/// Mandatory fields of a dependency descriptor (section A.8.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dependency {
    /// First packet of a frame.
    pub start: bool,
    /// Last packet of a frame.
    pub end: bool,
    /// Frame number.
    pub frame: u16,
    /// A template structure follows: a key frame.
    pub structure: bool,
}

/// Reads them.
pub fn dependency(extension: &[u8]) -> Option<Dependency> {
    let head: [u8; 3] = extension.get(..3)?.try_into().ok()?;
    Some(Dependency {
        start: head[0] & 0x80 != 0,
        end: head[0] & 0x40 != 0,
        frame: u16::from_be_bytes([head[1], head[2]]),
        // The first extended flag; a descriptor of three bytes has none.
        structure: extension.get(3).is_some_and(|flags| flags & 0x80 != 0),
    })
}

/// Adds `offset` to the frame number of the descriptor in `extension`.
pub fn shift_frame(extension: &mut [u8], offset: u16) {
    if let Some(frame) = extension.get_mut(1..3) {
        let number = u16::from_be_bytes([frame[0], frame[1]]).wrapping_add(offset);
        frame.copy_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_sequence_is_a_key_frame() {
        assert!(inspect(&[0x18, 1]).keyframe && inspect(&[0x18, 1]).frame_start);
        assert!(!inspect(&[0x90, 1]).keyframe && !inspect(&[0x90]).frame_start);
    }

    #[test]
    fn frame_numbers_of_descriptors_are_shifted() {
        let mut extension = [0xc1, 0xff, 0xff, 0x80];
        assert_eq!(
            dependency(&extension),
            Some(Dependency { start: true, end: true, frame: 0xffff, structure: true })
        );
        shift_frame(&mut extension, 3);
        assert_eq!(dependency(&extension).map(|found| found.frame), Some(2));
        assert_eq!(dependency(&[1, 2]), None);
    }
}
