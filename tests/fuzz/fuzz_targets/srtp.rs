//! SRTP and SRTCP as they come from anyone, under both profiles. Without the key nothing opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mediad::transport::srtp::{Opener, Profile, SrtpKeys};

fuzz_target!(|data: &[u8]| {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
        let material = vec![0x5a; profile.keying_material_bytes()];
        let keys = SrtpKeys::from_keying_material(profile, &material, true).expect("the profile's length");
        let mut opener = Opener::new(&keys);
        assert!(opener.open_rtp(&mut data.to_vec()).is_err());
        assert!(opener.open_rtcp(&mut data.to_vec()).is_err());
        assert_eq!(opener.rtp_streams().count() + opener.rtcp_streams().count(), 0);
    }
});
