//! A frame as it comes from a stream: length, then an envelope. What can be read is the same after writing it again.
#![no_main]

use common::wire::frame::{self, HEADER_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, content)) = data.split_first_chunk::<HEADER_BYTES>() else { return };
    let Ok(length) = frame::content_length(*header) else { return };
    let Some(content) = content.get(..length) else { return };
    let Ok(envelope) = frame::decode(content) else { return };
    let written = frame::encode(&envelope).expect("what fitted once fits again");
    assert_eq!(frame::decode(&written[HEADER_BYTES..]).expect("our own frame"), envelope);
});
