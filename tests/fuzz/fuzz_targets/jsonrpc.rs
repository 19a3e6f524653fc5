//! Frames of a browser's WebSocket: whatever comes is a request with an answer, an error with an answer, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masterd::ws::request;
use masterd::ws::rpc::{self, Frame};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (id, outcome) = match rpc::parse(text) {
        Frame::Ignored => return,
        Frame::Invalid(id, fault) => (id, Err(fault)),
        Frame::Call(call) => {
            let read = request::read(&call);
            (call.id, read.map(|request| format!("{request:?}").into()))
        }
    };
    let answer = rpc::respond(&id, &outcome);
    let shown: serde_json::Value = serde_json::from_str(&answer).expect("our own answer");
    assert_eq!(shown["id"], id);
});
