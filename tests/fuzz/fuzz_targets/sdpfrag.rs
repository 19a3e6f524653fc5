//! A trickle ICE fragment of a client. The candidates kept are bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mediad::transport::trickle::Fragment;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(fragment) = Fragment::parse(text) {
        assert!(fragment.candidates.len() <= common::limits::REMOTE_CANDIDATES_MAX);
    }
});
