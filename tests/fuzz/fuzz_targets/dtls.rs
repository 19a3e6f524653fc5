//! DTLS datagrams of anyone, as the first ones of a handshake: each begins with its length (1 byte, times 8). No keys
//! come of them.
#![no_main]

use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use mediad::transport::dtls::{Certificate, Handshake, Input, Output, Settings};
use mediad::transport::spec::{DtlsRole, Fingerprint};
use mediad::transport::srtp::Profile;

fuzz_target!(|data: &[u8]| {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    let certificate = CERTIFICATE.get_or_init(|| Certificate::generate().expect("a certificate"));
    let now = Instant::now();
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let settings = Settings {
            role,
            fingerprints: vec![Fingerprint { hash: "sha-256".into(), bytes: vec![1; 32] }],
            profiles: vec![Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80],
        };
        let mut handshake = Handshake::new(now, certificate, settings).expect("usable settings");
        let mut rest = data;
        while let Some((length, after)) = rest.split_first() {
            let (datagram, next) = after.split_at(after.len().min(usize::from(*length) * 8));
            handshake.handle(now, Input::Datagram(datagram));
            while let Some(output) = handshake.poll_output() {
                assert!(!matches!(output, Output::Connected(_)));
            }
            rest = next;
        }
    }
});
