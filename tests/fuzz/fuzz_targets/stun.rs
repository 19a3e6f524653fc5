//! STUN as it comes from anyone, into the parser and into an ICE agent. Without the password nothing is answered.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use mediad::transport::ice::{Agent, Input, Output, Settings};
use mediad::transport::spec::IceCredentials;
use mediad::transport::stun::{IntegrityKey, Message, peek_local_ufrag};

fuzz_target!(|data: &[u8]| {
    let _ = peek_local_ufrag(data);
    let key = IntegrityKey::new("a password nobody can guess");
    if let Ok(message) = Message::parse(data) {
        assert!(!message.verify(&key));
    }
    let local = IceCredentials { ufrag: "abcd".into(), password: "a password nobody can guess".into() };
    let remote = IceCredentials { ufrag: "efgh".into(), password: "another one of that kind".into() };
    let now = Instant::now();
    let mut agent = Agent::new(now, Settings::lite(), local, Some(remote), 1);
    for (step, part) in data.chunks(96).enumerate() {
        let from = ([192, 0, 2, 1], 4000).into();
        agent.handle(now + Duration::from_millis(step as u64), Input::Datagram { from, bytes: part });
        while let Some(output) = agent.poll_output() {
            assert!(!matches!(output, Output::Transmit { .. }), "answered without the password");
        }
    }
});
