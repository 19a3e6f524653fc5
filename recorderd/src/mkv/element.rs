//! Pure: no clock, no I/O, no async.
//!
//! EBML (RFC 8794): ids, sizes and the few kinds of element that are used.

/// Id, and size in as few bytes as it takes.
pub(super) fn id_and_size(id: u32, size: u64) -> Vec<u8> {
    let mut out = id_bytes(id);
    let length = (1..=7).find(|bytes| size < (1 << (7 * bytes)) - 1);
    match length {
        Some(bytes) => out.extend_from_slice(&(size | 1 << (7 * bytes)).to_be_bytes()[8 - bytes..]),
        None => out.extend(long_size(size)),
    }
    out
}

fn id_bytes(id: u32) -> Vec<u8> {
    let bytes = id.to_be_bytes();
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.iter().skip(skip).copied().collect()
}

/// A size in eight bytes.
pub(super) fn long_size(size: u64) -> Vec<u8> {
    (size & ((1 << 56) - 1) | 1 << 56).to_be_bytes().to_vec()
}

/// Id of an element whose size is not known yet, in eight bytes.
pub(super) fn unknown_size(id: u32) -> Vec<u8> {
    let mut out = id_bytes(id);
    out.extend_from_slice(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    out
}

pub(super) fn bytes(id: u32, content: &[u8]) -> Vec<u8> {
    let mut out = id_and_size(id, content.len() as u64);
    out.extend_from_slice(content);
    out
}

pub(super) fn master(id: u32, children: &[Vec<u8>]) -> Vec<u8> {
    bytes(id, &children.concat())
}

pub(super) fn number(id: u32, value: u64) -> Vec<u8> {
    let all = value.to_be_bytes();
    let skip = all.iter().take(7).take_while(|byte| **byte == 0).count();
    bytes(id, &all[skip..])
}

/// A number in eight bytes, whatever it is.
pub(super) fn long(id: u32, value: u64) -> Vec<u8> {
    bytes(id, &value.to_be_bytes())
}

pub(super) fn float(id: u32, value: f64) -> Vec<u8> {
    bytes(id, &value.to_be_bytes())
}

pub(super) fn text(id: u32, value: &str) -> Vec<u8> {
    bytes(id, value.as_bytes())
}

/// Nothing, `length` bytes long in all; lengths 0 and 1 cannot be.
pub(super) fn void(length: usize) -> Vec<u8> {
    let size = if length < 130 { 1 } else { 8 };
    let Some(content) = length.checked_sub(1 + size) else { return Vec::new() };
    let mut out = vec![0xec];
    if size == 1 {
        out.push(0x80 | u8::try_from(content).unwrap_or_default());
    } else {
        out.extend(long_size(content as u64));
    }
    out.resize(length, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_the_bytes_they_need() {
        assert_eq!(id_and_size(0xa3, 126), [0xa3, 0xfe]);
        assert_eq!(id_and_size(0xa3, 127), [0xa3, 0x40, 0x7f]);
        assert_eq!(number(0xe7, 0), [0xe7, 0x81, 0]);
        assert_eq!(number(0xe7, 0x1234), [0xe7, 0x82, 0x12, 0x34]);
        for length in [2, 26, 129, 130, 4000] {
            assert_eq!(void(length).len(), length);
        }
        assert_eq!(long(0x53ac, 1).len() + 2 + 1 + 4, 18);
    }
}
