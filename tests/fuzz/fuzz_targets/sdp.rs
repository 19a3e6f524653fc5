//! A client's offer or answer, for each kind of endpoint. What is agreed upon is written and reads back.
#![no_main]

use common::id::StreamKey;
use common::wire::node::EndpointKind;
use libfuzzer_sys::fuzz_target;
use mediad::transport::negotiate::{LocalSettings, OfferPlan, accept_answer, answer, offer};
use mediad::transport::spec::{Fingerprint, IceCredentials};

fn local() -> LocalSettings {
    LocalSettings {
        ice: IceCredentials { ufrag: "w0t1abcd".into(), password: "0123456789abcdefghijklmn".into() },
        fingerprint: Fingerprint { hash: "sha-256".into(), bytes: vec![7; 32] },
        candidates: vec!["192.0.2.9:40000".parse().expect("an address")],
        candidate_priority: 0x1000_0000,
        lite: false,
        video_codec: None,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let stream = StreamKey(1);
    let kind = match kind % 3 {
        0 => EndpointKind::Publish { stream },
        1 => EndpointKind::Slots,
        _ => EndpointKind::Pair { stream },
    };
    let mut random = || 7;
    if let Ok(negotiated) = answer(text, kind, &local(), &mut random) {
        let lines = negotiated.ready.sdp.lines();
        let sections = lines.filter(|line| line.starts_with("m=")).count();
        assert_eq!(sections, negotiated.spec.sections.len());
    }
    let draft = offer(kind, OfferPlan { audio: 1, video: 1 }, &local(), &mut random);
    drop(accept_answer(&draft, text));
});
