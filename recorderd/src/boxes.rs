//! Pure: no clock, no I/O, no async.
//!
//! MP4 (ISO/IEC 14496-12), as far as films need it: [`fragment`] writes a film that can be played up to its last whole
//! fragment whatever happens, [`ordinary`] turns it into a file with one index in front, in which players seek.

pub mod fragment;
pub mod ordinary;
mod track;

pub use track::{Sample, TrackFormat, TrackSpec};

/// A box's header: kind and whole length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BoxHeader {
    /// Four letters.
    pub kind: [u8; 4],
    /// Bytes of header and content.
    pub length: u64,
    /// Bytes of the header.
    pub header: u64,
}

/// Bytes from which every header can be read.
pub const BOX_HEADER_BYTES: usize = 16;

/// Reads a box's header. `None`: there is none, or it says nonsense (as zeros at the end of a torn file do).
#[must_use]
pub fn box_header(bytes: &[u8]) -> Option<BoxHeader> {
    let start = bytes.first_chunk::<8>()?;
    let (&length, &kind) = (start.first_chunk::<4>()?, start.last_chunk::<4>()?);
    let header = match u32::from_be_bytes(length) {
        1 => BoxHeader { kind, length: u64::from_be_bytes(*bytes.get(8..)?.first_chunk::<8>()?), header: 16 },
        length => BoxHeader { kind, length: u64::from(length), header: 8 },
    };
    (header.length >= header.header).then_some(header)
}

/// Boxes inside a box's content; ends at the first that is not whole.
fn children(mut content: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let header = box_header(content)?;
        let (whole, rest) = content.split_at_checked(usize::try_from(header.length).ok()?)?;
        content = rest;
        Some((header.kind, whole.get(usize::try_from(header.header).ok()?..)?))
    })
}

/// The first child of this kind.
fn child<'a>(content: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    children(content).find(|(found, _)| found == kind).map(|(_, content)| content)
}

/// A box of these parts.
fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(kind);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A box with version and flags.
fn full(kind: &[u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let word = (u32::from(version) << 24 | flags & 0x00ff_ffff).to_be_bytes();
    let parts: Vec<&[u8]> = std::iter::once(&word[..]).chain(parts.iter().copied()).collect();
    boxed(kind, &parts)
}

/// Numbers, most significant byte first.
fn words(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(u32::to_be_bytes).collect()
}

/// Cuts a number to 32 bits; used where the format has no more and values stay far below.
fn low(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
