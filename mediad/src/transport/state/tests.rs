//! Round trips, golden bytes, sizes.

use common::id::StreamKey;
use common::wire::node::MediaKind;
use proptest::prelude::*;

use super::*;
use crate::transport::ice::Role;
use crate::transport::lease::SavedLease;
use crate::transport::negotiate::{LocalSettings, answer};
use crate::transport::spec::{Fingerprint, Flow, IceCredentials};
use crate::transport::srtp::{Profile, RxStream};

const PUBLISH: &str = include_str!("../negotiate/fixtures/chromium_publish_simulcast.sdp");
const FIREFOX: &str = include_str!("../negotiate/fixtures/firefox_publish_simulcast.sdp");
const PLAY: &str = include_str!("../negotiate/fixtures/chromium_play_three.sdp");

/// Stands for the router's part, which has its own tests.
type Media = (u32, Vec<RxStream>, Vec<SavedLease>);

fn spec(offer: &str, kind: EndpointKind) -> EndpointSpec {
    let local = LocalSettings {
        ice: IceCredentials { ufrag: "w0t1abcd".into(), password: "0123456789abcdefghijklmn".into() },
        fingerprint: Fingerprint { hash: "sha-256".into(), bytes: (0..32).collect() },
        candidates: Vec::new(),
        candidate_priority: 1,
        lite: false,
        video_codec: None,
    };
    let mut ssrc = 0x1234_5600;
    let mut spec = answer(offer, kind, &local, &mut || {
        ssrc += 1;
        ssrc
    })
    .unwrap()
    .spec;
    spec.remote_candidates.clear();
    spec.fingerprints.clear();
    spec
}

fn state(offer: &str, kind: EndpointKind) -> EndpointState<Media> {
    let spec = spec(offer, kind);
    let material: Vec<u8> = (0..56).collect();
    let lease = |ssrc| SavedLease { ssrc, granted_until: 0x1_2345 };
    let leases = spec.sections.iter().flat_map(|section| match section.flow {
        Flow::Send { ssrc, rtx_ssrc, .. } => vec![lease(ssrc), lease(rtx_ssrc)],
        Flow::None | Flow::Receive { .. } => vec![],
    });
    let heard = |ssrc| RxStream { ssrc, highest: 0x3_4567 };
    let permit = Permit {
        session: SessionKey(0x0102_0304_0506_0708),
        connection: ConnectionKey(0x1112_1314_1516_1718),
        generation: Generation(3),
        publish_audio: true,
        publish_video: false,
        subscribe: true,
    };
    let bind = |slot, kind| SlotBind { slot, kind, source: Some(StreamKey(9)), spatial_max: u8::MAX };
    EndpointState {
        session: permit.session,
        connection: permit.connection,
        endpoint: EndpointKey(0x2122_2324_2526_2728),
        generation: Generation(2),
        kind,
        permit,
        binds: vec![bind(0, MediaKind::Audio), bind(0, MediaKind::Video)],
        ice: SavedIce {
            local: spec.local_ice.clone(),
            remote: spec.remote_ice.clone(),
            role: Role::Controlling,
            generation: 1,
            selected: Some("198.51.100.7:5000".parse().unwrap()),
        },
        keys: SrtpKeys::from_keying_material(Profile::AeadAes128Gcm, &material, true).unwrap(),
        media: (4096, (0..7).map(heard).collect(), leases.collect()),
        spec,
    }
}

const KIND: EndpointKind = EndpointKind::Publish { stream: StreamKey(5) };

#[test]
fn states_of_browsers_survive_and_are_small() {
    for (offer, kind, most) in [(PUBLISH, KIND, 500), (FIREFOX, KIND, 500), (PLAY, EndpointKind::Slots, 620)]
    {
        let state = state(offer, kind);
        let bytes = state.encode().unwrap();
        assert!(bytes.len() <= most, "{} bytes", bytes.len());
        assert_eq!(EndpointState::decode(&bytes).unwrap(), state);
    }
}

#[test]
fn version_1_is_these_bytes() {
    let mut state = state(FIREFOX, KIND);
    state.spec.sections.truncate(1);
    let hex: String = state.encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden.hex").trim());
}

#[test]
fn other_versions_other_bytes_and_longer_ones_are_refused() {
    let bytes = state(PUBLISH, KIND).encode().unwrap();
    let decode = |bytes: &[u8]| EndpointState::<Media>::decode(bytes).unwrap_err();
    let mut newer = bytes.clone();
    newer[0] = 2;
    assert!(matches!(decode(&newer), StateError::Version(2)));
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(decode(&longer), StateError::Inconsistent));
    for length in 0..bytes.len() {
        decode(&bytes[..length]);
    }
    assert!(matches!(decode(&vec![1; STATE_BYTES_MAX + 1]), StateError::TooLong(_)));
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(changes in proptest::collection::vec((0usize..480, any::<u8>()), 1..6)) {
        let mut bytes = state(PUBLISH, KIND).encode().unwrap();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(state) = EndpointState::<Media>::decode(&bytes) {
            prop_assert!(EndpointState::<Media>::decode(&state.encode().unwrap()).unwrap() == state);
        }
    }

    #[test]
    fn any_specification_survives(
        fmtp in "[ -~]{0,40}",
        bits in any::<u8>(),
        payload_type in 0u8..128,
        rids in proptest::collection::vec("[a-z]{1,8}", 0..4),
        ssrcs in proptest::collection::vec(any::<(u32, Option<u32>)>(), 0..4),
        address in proptest::option::of(any::<(std::net::IpAddr, u16)>()),
    ) {
        let mut state = state(PUBLISH, KIND);
        let codec = &mut state.spec.sections[1].codecs[3];
        codec.fmtp = fmtp;
        codec.payload_type = payload_type;
        codec.nack = bits & 1 != 0;
        codec.pli = bits & 2 != 0;
        codec.fir = bits & 4 != 0;
        codec.transport_cc = bits & 8 != 0;
        state.permit.subscribe = bits & 16 != 0;
        state.spec.sections[1].flow = Flow::Receive { rids, ssrcs };
        state.ice.selected = address.map(Into::into);
        prop_assert_eq!(EndpointState::decode(&state.encode().unwrap()).unwrap(), state);
    }
}
