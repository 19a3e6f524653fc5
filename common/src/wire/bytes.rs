//! Wire: byte strings in one piece. On the wire they are what a `Vec<u8>` is, length and bytes, but they are copied at
//! once instead of byte by byte.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// Writes the bytes.
pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Reads them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_bytes(Bytes)
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole(#[serde(with = "super")] Vec<u8>);

    #[test]
    fn a_byte_string_is_the_same_on_the_wire_as_a_list_of_bytes() {
        for len in [0, 1, 127, 128, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[0]).collect();
            let list = postcard::to_allocvec(&bytes).unwrap();
            assert_eq!(postcard::to_allocvec(&Whole(bytes.clone())).unwrap(), list);
            assert_eq!(postcard::from_bytes::<Whole>(&list).unwrap(), Whole(bytes));
        }
        assert!(postcard::from_bytes::<Whole>(&[5, 1, 2]).is_err());
    }
}
