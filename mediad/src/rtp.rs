//! Pure: no clock, no I/O, no async.
//!
//! RTP headers (RFC 3550 section 5.1) and their extensions (RFC 8285): a bounds-checked view of what came in and a
//! writer for what goes out. Nothing is copied or allocated.

use std::ops::Range;

use crate::transport::spec::ExtensionIds;

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 12;

/// Longest header that [`HeaderWriter`] makes: fixed part, extension header, and extensions.
pub const HEADER_BYTES_MAX: usize = HEADER_BYTES + 4 + EXTENSION_BYTES_MAX;

/// Bytes of all extensions of a packet that we send.
const EXTENSION_BYTES_MAX: usize = 320;

/// Profile of one-byte extension headers.
const ONE_BYTE: u16 = 0xbede;

/// Profile of two-byte extension headers; the lowest four bits are free.
const TWO_BYTE: u16 = 0x1000;

/// The header of one packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// The last byte says how many bytes at the end are padding.
    pub padding: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Extension profile and where the extensions are.
    pub extension: Option<(u16, Range<usize>)>,
    /// Where the payload begins.
    pub len: usize,
}

impl Header {
    /// Reads the header; none when the bytes are no RTP packet.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        if first >> 6 != 2 || packet.len() < HEADER_BYTES {
            return None;
        }
        let mut len = HEADER_BYTES + 4 * usize::from(first & 0x0f);
        let mut extension = None;
        if first & 0x10 != 0 {
            let head = packet.get(len..len + 4)?;
            let (profile, words) = (u16_at(head, 0), usize::from(u16_at(head, 2)));
            let start = len + 4;
            len = start + 4 * words;
            extension = Some((profile, start..len));
        }
        if len > packet.len() {
            return None;
        }
        Some(Self {
            marker: packet[1] & 0x80 != 0,
            padding: first & 0x20 != 0,
            payload_type: packet[1] & 0x7f,
            sequence: u16_at(packet, 2),
            timestamp: u32_at(packet, 4),
            ssrc: u32_at(packet, 8),
            extension,
            len,
        })
    }

    /// The extensions: id and where the content is.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let (form, range) = match &self.extension {
            Some((ONE_BYTE, range)) => (Form::One, range.clone()),
            Some((profile, range)) if profile & 0xfff0 == TWO_BYTE => (Form::Two, range.clone()),
            _ => (Form::One, 0..0),
        };
        let range = if range.end <= packet.len() { range } else { 0..0 };
        Extensions { packet, form, at: range.start, end: range.end }
    }

    /// Where the payload is without padding; none when the padding is longer than what is there.
    pub fn payload(&self, packet: &[u8]) -> Option<Range<usize>> {
        let mut end = packet.len();
        if self.padding {
            let count = usize::from(*packet.last()?);
            end = end.checked_sub(count).filter(|end| count > 0 && *end >= self.len)?;
        }
        Some(self.len..end)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    One,
    Two,
}

/// Iterator over the extensions of one packet. Stops at the first one that does not fit.
#[derive(Debug)]
pub struct Extensions<'a> {
    packet: &'a [u8],
    form: Form,
    at: usize,
    end: usize,
}

impl Iterator for Extensions<'_> {
    type Item = (u8, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        // Zero bytes are padding between extensions.
        while self.at < self.end && self.packet[self.at] == 0 {
            self.at += 1;
        }
        if self.at >= self.end {
            return None;
        }
        let (id, len, start) = match self.form {
            Form::One => {
                let head = self.packet[self.at];
                // Id 15 ends the list (RFC 8285 section 4.2).
                if head >> 4 == 15 {
                    self.at = self.end;
                    return None;
                }
                (head >> 4, usize::from(head & 0x0f) + 1, self.at + 1)
            }
            Form::Two => {
                let len = *self.packet[..self.end].get(self.at + 1)?;
                (self.packet[self.at], usize::from(len), self.at + 2)
            }
        };
        let range = start..start + len;
        self.at = range.end;
        if range.end > self.end {
            self.at = self.end;
            return None;
        }
        Some((id, range))
    }
}

/// What ingress wants of a packet's extensions; ranges are inside the packet, empty when absent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// Media section.
    pub mid: Range<usize>,
    /// Simulcast encoding.
    pub rid: Range<usize>,
    /// Simulcast encoding that the packet repairs.
    pub repaired_rid: Range<usize>,
    /// Dependency descriptor.
    pub dependency: Range<usize>,
    /// Voice flag and level.
    pub audio_level: Option<u8>,
    /// Rotation and camera.
    pub orientation: Option<u8>,
    /// Minimum and maximum, 12 bits each.
    pub playout_delay: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
}

impl Found {
    /// Reads all wanted extensions in one pass.
    pub fn read(packet: &[u8], header: &Header, ids: &ExtensionIds) -> Self {
        let mut found = Self::default();
        for (id, range) in header.extensions(packet) {
            let id = Some(id);
            let content = &packet[range.clone()];
            if id == ids.transport_cc {
                found.transport_cc = (content.len() >= 2).then(|| u16_at(content, 0));
            } else if id == ids.mid {
                found.mid = range;
            } else if id == ids.audio_level {
                found.audio_level = content.first().copied();
            } else if id == ids.rid {
                found.rid = range;
            } else if id == ids.repaired_rid {
                found.repaired_rid = range;
            } else if id == ids.dependency_descriptor {
                found.dependency = range;
            } else if id == ids.video_orientation {
                found.orientation = content.first().copied();
            } else if id == ids.playout_delay && content.len() == 3 {
                found.playout_delay = Some(u32::from_be_bytes([0, content[0], content[1], content[2]]));
            }
        }
        found
    }
}

/// Writes one header into a buffer: fixed part, then extensions, then [`Self::finish`].
#[derive(Debug)]
pub struct HeaderWriter<'a> {
    buf: &'a mut [u8],
    at: usize,
    two_byte: bool,
}

impl<'a> HeaderWriter<'a> {
    /// Begins a header; `buf` must hold [`HEADER_BYTES_MAX`]. Sequence number and SSRC are left to the sealer.
    /// Two-byte extension headers are needed for an id above 14 or a content above 16 bytes.
    pub fn new(buf: &'a mut [u8], marker: bool, payload_type: u8, timestamp: u32, two_byte: bool) -> Self {
        buf[0] = 0x80;
        buf[1] = payload_type & 0x7f | u8::from(marker) << 7;
        buf[2..4].fill(0);
        buf[4..8].copy_from_slice(&timestamp.to_be_bytes());
        buf[8..12].fill(0);
        Self { buf, at: HEADER_BYTES + 4, two_byte }
    }

    /// Adds an extension; one that does not fit its form is left out. Gives where the content is.
    pub fn extension(&mut self, id: u8, content: &[u8]) -> Option<usize> {
        let fits_form = if self.two_byte {
            id > 0 && content.len() <= 255
        } else {
            (1..15).contains(&id) && (1..=16).contains(&content.len())
        };
        if !fits_form || self.at + 2 + content.len() > HEADER_BYTES + 4 + EXTENSION_BYTES_MAX {
            return None;
        }
        if self.two_byte {
            self.buf[self.at] = id;
            self.buf[self.at + 1] = content.len() as u8;
            self.at += 2;
        } else {
            self.buf[self.at] = id << 4 | (content.len() - 1) as u8;
            self.at += 1;
        }
        let start = self.at;
        self.buf[start..start + content.len()].copy_from_slice(content);
        self.at += content.len();
        Some(start)
    }

    /// Pads the extensions to words and gives the header's length.
    pub fn finish(self) -> usize {
        let start = HEADER_BYTES + 4;
        if self.at == start {
            return HEADER_BYTES;
        }
        let end = self.at.next_multiple_of(4);
        self.buf[self.at..end].fill(0);
        let profile = if self.two_byte { TWO_BYTE } else { ONE_BYTE };
        self.buf[0] |= 0x10;
        self.buf[12..14].copy_from_slice(&profile.to_be_bytes());
        self.buf[14..16].copy_from_slice(&(((end - start) / 4) as u16).to_be_bytes());
        end
    }
}

/// Appends `count` bytes of padding (1 to 255) behind `buf[..len]` and sets the header's P bit; gives the new length.
pub fn pad(buf: &mut [u8], len: usize, count: u8) -> usize {
    let end = len + usize::from(count);
    buf[len..end].fill(0);
    buf[end - 1] = count;
    buf[0] |= 0x20;
    end
}

/// Whether a datagram of the SRTP range (first byte 128 to 191) is RTCP (RFC 5761 section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|second| (192..=223).contains(second))
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The 48-bit index nearest to `reference` that ends in `sequence`.
pub fn extend_sequence(reference: u64, sequence: u16) -> u64 {
    let delta = sequence.wrapping_sub(reference as u16).cast_signed();
    reference.checked_add_signed(i64::from(delta)).unwrap_or_else(|| u64::from(sequence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(two_byte: bool, extensions: &[(u8, Vec<u8>)], payload: &[u8]) -> Vec<u8> {
        let mut buf = vec![0; HEADER_BYTES_MAX + payload.len()];
        let mut writer = HeaderWriter::new(&mut buf, true, 96, 77, two_byte);
        for (id, content) in extensions {
            assert!(writer.extension(*id, content).is_some());
        }
        let len = writer.finish();
        buf[len..len + payload.len()].copy_from_slice(payload);
        buf.truncate(len + payload.len());
        buf
    }

    #[test]
    fn both_forms_of_extensions_round_trip() {
        let extensions = [(3, vec![1, 2, 3]), (9, vec![7]), (14, vec![5; 16])];
        for two_byte in [false, true] {
            let bytes = packet(two_byte, &extensions, b"payload");
            let header = Header::parse(&bytes).unwrap();
            assert_eq!((header.marker, header.payload_type, header.timestamp), (true, 96, 77));
            let found: Vec<(u8, Vec<u8>)> =
                header.extensions(&bytes).map(|(id, range)| (id, bytes[range].to_vec())).collect();
            assert_eq!(found, extensions);
            assert_eq!(&bytes[header.payload(&bytes).unwrap()], b"payload");
        }
    }

    #[test]
    fn wanted_extensions_are_found_by_their_ids() {
        let ids = ExtensionIds {
            audio_level: Some(1),
            mid: Some(4),
            rid: Some(10),
            transport_cc: Some(5),
            playout_delay: Some(6),
            ..ExtensionIds::default()
        };
        let bytes = packet(
            false,
            &[(4, b"0".to_vec()), (10, b"hi".to_vec()), (5, vec![1, 2]), (1, vec![0x85]), (6, vec![0, 0, 9])],
            &[],
        );
        let found = Found::read(&bytes, &Header::parse(&bytes).unwrap(), &ids);
        assert_eq!((&bytes[found.mid], &bytes[found.rid]), (&b"0"[..], &b"hi"[..]));
        assert_eq!(
            (found.transport_cc, found.audio_level, found.playout_delay),
            (Some(0x102), Some(0x85), Some(9))
        );
    }

    #[test]
    fn id_15_ends_one_byte_extensions() {
        let mut bytes = packet(false, &[(1, vec![1]), (2, vec![2])], &[]);
        bytes[18] = 0xf0;
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.extensions(&bytes).map(|(id, _)| id).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn padding_is_added_and_taken_off() {
        let mut bytes = packet(false, &[], b"abc");
        let len = bytes.len();
        bytes.resize(len + 4, 0);
        assert_eq!(pad(&mut bytes, len, 4), len + 4);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(&bytes[header.payload(&bytes).unwrap()], b"abc");
        *bytes.last_mut().unwrap() = 200;
        assert_eq!(header.payload(&bytes), None);
        *bytes.last_mut().unwrap() = 0;
        assert_eq!(header.payload(&bytes), None);
    }

    #[test]
    fn sequence_numbers_extend_to_the_nearest_index() {
        assert_eq!(extend_sequence(65_535, 0), 65_536);
        assert_eq!(extend_sequence(65_536, 65_535), 65_535);
        assert_eq!(extend_sequence(5, 65_535), 65_535);
        assert_eq!(extend_sequence(0x3_0005, 0xfff0), 0x2_fff0);
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), first in 0x80u8..0xc0) {
            let mut bytes = bytes;
            if let Some(head) = bytes.first_mut() { *head = first; }
            if let Some(header) = Header::parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
                for (_, range) in header.extensions(&bytes) { prop_assert!(range.end <= header.len); }
                if let Some(range) = header.payload(&bytes) { prop_assert!(range.start <= range.end && range.end <= bytes.len()); }
            }
        }

        #[test]
        fn rubbish_extensions_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), two_byte: bool) {
            let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
            packet.extend(if two_byte { TWO_BYTE } else { ONE_BYTE }.to_be_bytes());
            packet.extend(((bytes.len() / 4) as u16).to_be_bytes());
            packet.extend(&bytes);
            let header = Header::parse(&packet).unwrap();
            let ids = ExtensionIds { mid: Some(1), rid: Some(2), transport_cc: Some(3), ..ExtensionIds::default() };
            let found = Found::read(&packet, &header, &ids);
            prop_assert!(found.mid.end <= packet.len() && found.rid.end <= packet.len());
        }
    }
}
