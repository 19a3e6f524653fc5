//! Cost of sealing and opening one packet: `cargo bench -p mediad --bench srtp`.

use divan::Bencher;
use divan::counter::BytesCount;
use mediad::transport::lease::{Lease, RtcpLease, SavedLease};
use mediad::transport::srtp::{OVERHEAD_BYTES_MAX, Opener, Profile, Sealer, SrtpKeys};
use mediad::transport::stun::{self, IntegrityKey, Message, RoleClaim, TransactionId};

const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80];

/// Video and audio packets, header included.
const SIZES: [usize; 2] = [1200, 160];

fn main() {
    divan::main();
}

fn keys(profile: Profile) -> SrtpKeys {
    let material: Vec<u8> = (0..).take(profile.keying_material_bytes()).collect();
    SrtpKeys::from_keying_material(profile, &material, true).expect("the profile's length")
}

fn packet(size: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; size + OVERHEAD_BYTES_MAX];
    packet[0] = 0x80;
    packet
}

fn lease() -> Lease {
    let mut lease = Lease::resume(SavedLease { ssrc: 7, granted_until: 0 });
    lease.grant(u64::MAX);
    lease
}

#[divan::bench(consts = SIZES, args = PROFILES)]
fn seal_rtp<const SIZE: usize>(bencher: Bencher<'_, '_>, profile: Profile) {
    let sealer = Sealer::new(&keys(profile));
    let (mut lease, mut buf) = (lease(), packet(SIZE));
    bencher.counter(BytesCount::new(SIZE)).bench_local(|| {
        let nonce = lease.take().expect("2^48 packets");
        sealer.seal_rtp(&mut buf, 28, SIZE - 28, nonce)
    });
}

#[divan::bench(consts = SIZES, args = PROFILES)]
fn open_rtp<const SIZE: usize>(bencher: Bencher<'_, '_>, profile: Profile) {
    let ours = keys(profile);
    let sealer = Sealer::new(&ours);
    let mut opener = Opener::new(&SrtpKeys { rx: ours.tx, ..ours });
    let mut lease = lease();
    let sealed = || {
        let mut buf = packet(SIZE);
        let total = sealer.seal_rtp(&mut buf, 28, SIZE - 28, lease.take().expect("2^48 packets"));
        buf.truncate(total);
        buf
    };
    bencher
        .counter(BytesCount::new(SIZE))
        .with_inputs(sealed)
        .bench_local_refs(|packet| opener.open_rtp(packet).expect("sealed with the same key"));
}

#[divan::bench(args = PROFILES)]
fn seal_rtcp_of_100_bytes(bencher: Bencher<'_, '_>, profile: Profile) {
    let sealer = Sealer::new(&keys(profile));
    let mut buf = packet(100);
    let mut lease = RtcpLease::new();
    lease.grant(u32::MAX);
    bencher.bench_local(|| sealer.seal_rtcp(&mut buf, 100, lease.take().expect("2^31 packets")));
}

fn check() -> (Vec<u8>, IntegrityKey) {
    let key = IntegrityKey::new("0123456789abcdefghijklmn");
    let check = stun::Check {
        transaction: TransactionId([3; 12]),
        remote_ufrag: "w0t1abcd",
        local_ufrag: "client",
        priority: 7,
        role: RoleClaim::Controlling(9),
        nomination: Some(1),
    };
    (stun::write_check(&check, &key), key)
}

#[divan::bench]
fn stun_peek_of_the_fragment(bencher: Bencher<'_, '_>) {
    let (bytes, _) = check();
    bencher.bench(|| stun::peek_local_ufrag(divan::black_box(&bytes)).map(<[u8]>::len));
}

#[divan::bench]
fn stun_check_to_answer(bencher: Bencher<'_, '_>) {
    let (bytes, key) = check();
    let from = ([192, 0, 2, 1], 5000).into();
    bencher.bench(|| {
        let message = Message::parse(divan::black_box(&bytes)).expect("our own check");
        assert!(message.verify(&key));
        stun::write_success(message.transaction, from, &key)
    });
}
