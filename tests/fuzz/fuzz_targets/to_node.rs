//! Messages to a node: kind (2 bytes, little endian), then the body. What can be read is the same after writing it again.
#![no_main]

use std::fmt::Debug;

use common::wire::Message;
use common::wire::node::ToNode;
use libfuzzer_sys::fuzz_target;

fn check<M: Message + Debug + PartialEq>(kind: u16, body: &[u8]) {
    let Ok(message) = M::decode(kind, body) else { return };
    assert_eq!(message.kind(), kind);
    assert_eq!(M::decode(kind, &message.encode_body()).expect("our own message"), message);
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first_chunk::<2>() else { return };
    check::<ToNode>(u16::from_le_bytes(*kind), body);
});
