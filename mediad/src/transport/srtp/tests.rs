//! Vectors of the RFCs, cross-tests against `rtc`'s SRTP, properties.

use proptest::prelude::*;
use rtc::crypto::RTCCryptoProvider;
use rtc::crypto::providers::RingProvider;
use rtc::srtp::context::Context;
use rtc::srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc::srtp::protection_profile::ProtectionProfile;

use super::*;
use crate::transport::lease::{Lease, RtcpLease, SavedLease};

const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80];

fn keys(profile: Profile) -> SrtpKeys {
    let material: Vec<u8> = (7..).take(profile.keying_material_bytes()).collect();
    SrtpKeys::from_keying_material(profile, &material, true).unwrap()
}

/// The same keys as the peer has them.
fn mirrored(keys: &SrtpKeys) -> SrtpKeys {
    SrtpKeys { profile: keys.profile, tx: keys.rx, rx: keys.tx }
}

fn oracle(profile: Profile, master: &MasterKey) -> Context {
    let theirs = match profile {
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let salt = &master.salt[..profile.salt_bytes()];
    let provider = RingProvider::new();
    Context::new(
        &master.key,
        salt,
        theirs,
        Some(srtp_replay_protection(64)),
        Some(srtcp_replay_protection(64)),
        provider.crypto(),
    )
    .unwrap()
}

/// A lease of `ssrc` that begins at `index` and has no limit.
fn lease_at(ssrc: u32, index: u64) -> Lease {
    let mut lease = Lease::resume(SavedLease { ssrc, granted_until: index });
    lease.grant(u64::MAX);
    lease
}

fn rtp(sequence: u16, ssrc: u32, extension: bool, payload: &[u8]) -> (Vec<u8>, usize) {
    let mut packet = vec![if extension { 0x90 } else { 0x80 }, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend(1234u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    if extension {
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]);
    }
    let header_len = packet.len();
    packet.extend(payload);
    (packet, header_len)
}

/// Seals `payload` under the lease's next nonce; the header's own sequence number is left wrong on purpose.
fn seal(sealer: &Sealer, lease: &mut Lease, extension: bool, payload: &[u8]) -> Vec<u8> {
    let (mut packet, header_len) = rtp(0, 0, extension, payload);
    packet.resize(packet.len() + OVERHEAD_BYTES_MAX, 0);
    let total = sealer.seal_rtp(&mut packet, header_len, payload.len(), lease.take().unwrap());
    packet.truncate(total);
    packet
}

fn receiver_report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7];
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..24).map(|byte| byte * 3));
    packet
}

fn seal_rtcp(sealer: &Sealer, lease: &mut RtcpLease, plain: &[u8]) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + OVERHEAD_BYTES_MAX, 0);
    let total = sealer.seal_rtcp(&mut packet, plain.len(), lease.take().unwrap());
    packet.truncate(total);
    packet
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_cm80_packet_is_byte_for_byte_that_of_libsrtp() {
    let profile = Profile::Aes128CmHmacSha1_80;
    let key = hex("e1f97a0d3e018be0d64fa32c06de4139");
    let master = MasterKey::from_slices(profile, &key, &hex("0ec675ad498afeebb6960b3aabe6")).unwrap();
    let sealer = Sealer::new(&SrtpKeys { profile, tx: master, rx: master });
    let mut packet = hex("800f1234decafbadcafebabeabababababababababababababababab");
    packet.resize(packet.len() + 10, 0);
    let total = sealer.seal_rtp(&mut packet, 12, 16, lease_at(0xcafe_babe, 0x1234).take().unwrap());
    let expected = "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb";
    assert_eq!(packet[..total], hex(expected));
}

#[test]
fn both_ciphers_reproduce_the_vectors_of_their_rfcs() {
    // RFC 7714 section 16.1.1, with session keys as given there.
    let gcm = cipher::Gcm::from_session(
        &hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap(),
        hex("517569642070726f2071756f").try_into().unwrap(),
    );
    let header = hex("8040f17b8041f8d35501a0b2");
    let mut text = b"Gallia est omnis divisa in partes tres".to_vec();
    let tag = gcm.seal(0x5501_a0b2, 0xf17b, &header, &mut text);
    text.extend(tag);
    assert_eq!(
        text,
        hex(concat!(
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833",
            "899d7f27beb16a9152cf765ee4390cce"
        ))
    );
    // RFC 3711 appendix B.2: key stream of AES-CM.
    let cm = cipher::Cm::from_session(
        &hex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap(),
        hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().unwrap(),
        &[0; 20],
    );
    let mut stream = [0; 48];
    cm.apply(0, 0, &mut stream);
    assert_eq!(
        stream[..],
        hex(concat!(
            "e03ead0935c95e80e166b16dd92b4eb4",
            "d23513162b02d0f72a43a2fe4a5f97ab",
            "41e95b3bb0a2e8dd477901e4fca894c0"
        ))
    );
}

#[test]
fn the_other_implementation_opens_what_we_seal_across_a_rollover() {
    for profile in PROFILES {
        let keys = keys(profile);
        let sealer = Sealer::new(&keys);
        let mut theirs = oracle(profile, &keys.tx);
        let mut lease = lease_at(7, 65_530);
        for round in 0..20u8 {
            let payload = vec![round; 3 + usize::from(round)];
            let packet = seal(&sealer, &mut lease, round % 2 == 0, &payload);
            let plain = theirs.decrypt_rtp(&packet).unwrap();
            assert_eq!(plain[plain.len() - payload.len()..], payload);
        }
        let mut lease = RtcpLease::new();
        lease.grant(10);
        for _ in 0..10 {
            let report = receiver_report(7);
            let packet = seal_rtcp(&sealer, &mut lease, &report);
            assert_eq!(theirs.decrypt_rtcp(&packet).unwrap()[..], report);
        }
    }
}

#[test]
fn we_open_what_the_other_implementation_seals_across_a_rollover() {
    for profile in PROFILES {
        let keys = keys(profile);
        let mut opener = Opener::new(&keys);
        let mut theirs = oracle(profile, &keys.rx);
        for round in 0..20u16 {
            let payload = vec![9; usize::from(round)];
            let (plain, header_len) = rtp(65_530u16.wrapping_add(round), 5, round % 3 == 0, &payload);
            let mut packet = theirs.encrypt_rtp(&plain).unwrap().to_vec();
            let opened = opener.open_rtp(&mut packet).unwrap();
            assert_eq!(
                (opened.ssrc, opened.index, opened.header_len),
                (5, 65_530 + u64::from(round), header_len)
            );
            assert_eq!(packet[..opened.payload.end], plain);
            let report = receiver_report(5);
            let mut packet = theirs.encrypt_rtcp(&report).unwrap().to_vec();
            let opened = opener.open_rtcp(&mut packet).unwrap();
            assert_eq!((opened.ssrc, packet[..opened.len].to_vec()), (5, report));
        }
    }
}

#[test]
fn a_repeated_a_changed_and_a_truncated_packet_are_refused_and_leave_no_trace() {
    for profile in PROFILES {
        let keys = keys(profile);
        let sealer = Sealer::new(&keys);
        let mut opener = Opener::new(&mirrored(&keys));
        let mut lease = lease_at(1, 0);
        let first = seal(&sealer, &mut lease, true, b"one");
        let second = seal(&sealer, &mut lease, true, b"two");
        for at in 0..second.len() * 8 {
            let mut changed = second.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(opener.open_rtp(&mut changed).is_err(), "bit {at}");
        }
        for length in 0..second.len() {
            assert!(opener.open_rtp(&mut second[..length].to_vec()).is_err());
        }
        assert_eq!(opener.rtp_streams().count(), 0);
        assert!(opener.open_rtp(&mut second.clone()).is_ok());
        assert_eq!(opener.open_rtp(&mut second.clone()), Err(SrtpError::Replayed));
        assert!(opener.open_rtp(&mut first.clone()).is_ok());
        assert_eq!(opener.open_rtp(&mut first.clone()), Err(SrtpError::Replayed));

        let mut lease = RtcpLease::new();
        lease.grant(2);
        let report = seal_rtcp(&sealer, &mut lease, &receiver_report(1));
        for at in 0..report.len() * 8 {
            let mut changed = report.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(opener.open_rtcp(&mut changed).is_err(), "bit {at}");
        }
        for length in 0..report.len() {
            assert!(opener.open_rtcp(&mut report[..length].to_vec()).is_err());
        }
        assert!(opener.open_rtcp(&mut report.clone()).is_ok());
        assert_eq!(opener.open_rtcp(&mut report.clone()), Err(SrtpError::Replayed));
    }
}

#[test]
fn sources_are_bounded() {
    let keys = keys(Profile::AeadAes128Gcm);
    let sealer = Sealer::new(&keys);
    let mut opener = Opener::new(&mirrored(&keys));
    let sources = u32::try_from(SOURCES_MAX).unwrap();
    for ssrc in 0..sources {
        assert!(opener.open_rtp(&mut seal(&sealer, &mut lease_at(ssrc, 9), false, b"x")).is_ok());
    }
    let mut packet = seal(&sealer, &mut lease_at(sources, 9), false, b"x");
    assert_eq!(opener.open_rtp(&mut packet), Err(SrtpError::TooManySources));
    assert!(opener.open_rtp(&mut seal(&sealer, &mut lease_at(0, 10), false, b"x")).is_ok());
}

#[test]
#[cfg(debug_assertions)]
fn a_successor_goes_on_from_the_saved_indexes() {
    let keys = keys(Profile::AeadAes128Gcm);
    let peer = mirrored(&keys);
    let ledger = Ledger::default();
    let sealer = Sealer::new(&keys).with_ledger(&ledger);
    let mut opener = Opener::new(&peer);
    let mut lease = Lease::new(3, 100);
    lease.grant(65_000);
    for _ in 0..50 {
        assert!(opener.open_rtp(&mut seal(&sealer, &mut lease, false, b"a")).is_ok());
    }
    let saved = lease.save();
    let heard: Vec<RxStream> = opener.rtp_streams().collect();
    let mut late = seal(&sealer, &mut lease, false, b"late");

    let sealer = Sealer::new(&keys).with_ledger(&ledger);
    let mut lease = Lease::resume(saved);
    lease.grant(80_000);
    for _ in 0..5_000 {
        assert!(opener.open_rtp(&mut seal(&sealer, &mut lease, false, b"b")).is_ok());
    }
    assert_eq!(opener.rtp_streams().next().map(|stream| stream.highest), Some(69_999));
    let mut resumed = Opener::resume(&peer, &heard, &[]);
    assert!(resumed.open_rtp(&mut late.clone()).is_ok());
    assert_eq!(resumed.open_rtp(&mut late), Err(SrtpError::Replayed));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "sealed twice")]
fn the_ledger_of_debug_builds_catches_a_second_lease_of_the_same_indexes() {
    let keys = keys(Profile::AeadAes128Gcm);
    let ledger = Ledger::default();
    drop(seal(&Sealer::new(&keys).with_ledger(&ledger), &mut lease_at(3, 100), false, b"a"));
    drop(seal(&Sealer::new(&keys).with_ledger(&ledger), &mut lease_at(3, 100), false, b"b"));
}

proptest! {
    #[test]
    fn any_order_of_arrival_opens_each_packet_once(
        first in 0u64..140_000,
        gcm in any::<bool>(),
        arrivals in proptest::collection::vec((0usize..100, 0usize..12), 1..200),
    ) {
        let keys = keys(PROFILES[usize::from(gcm)]);
        let sealer = Sealer::new(&keys);
        let mut opener = Opener::new(&mirrored(&keys));
        // The receiver learns the counter from a packet with roll-over 0, as in a call.
        let mut start = lease_at(1, 0);
        prop_assert!(opener.open_rtp(&mut seal(&sealer, &mut start, false, b"start")).is_ok());
        let mut at = 30_000;
        while at < first {
            let mut lease = lease_at(1, at);
            prop_assert!(opener.open_rtp(&mut seal(&sealer, &mut lease, false, b"way")).is_ok());
            at += 30_000;
        }
        let mut lease = lease_at(1, first.max(at - 30_000) + 1);
        let packets: Vec<_> = (0..200u8).map(|n| seal(&sealer, &mut lease, n % 2 == 0, &[n])).collect();
        let mut opened = std::collections::HashSet::new();
        for (step, (base, jitter)) in arrivals.into_iter().enumerate() {
            let which = (step.min(180) + jitter).min(199).max(base.min(step));
            let mut packet = packets[which].clone();
            match opener.open_rtp(&mut packet) {
                Ok(good) => {
                    prop_assert!(opened.insert(which), "opened twice");
                    prop_assert_eq!(&packet[good.payload.clone()], &[u8::try_from(which).unwrap()]);
                }
                Err(error) => prop_assert!(error == SrtpError::Replayed, "{error} at {which}"),
            }
        }
    }

    #[test]
    fn rubbish_is_refused_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), gcm in any::<bool>()) {
        let mut opener = Opener::new(&keys(PROFILES[usize::from(gcm)]));
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3f | 0x80;
        }
        prop_assert!(opener.open_rtp(&mut bytes.clone()).is_err());
        prop_assert!(opener.open_rtcp(&mut bytes).is_err());
    }
}
