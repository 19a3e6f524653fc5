//! Offers of real browsers (fixtures), of `rtc`'s PeerConnection, and hostile ones.

use std::time::Instant;

use common::id::StreamKey;
use proptest::prelude::*;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

use super::*;
use crate::transport::spec::ExtensionIds;

const CHROMIUM_SIMULCAST: &str = include_str!("fixtures/chromium_publish_simulcast.sdp");
const CHROMIUM_SENDRECV: &str = include_str!("fixtures/chromium_publish_sendrecv.sdp");
const CHROMIUM_THREE: &str = include_str!("fixtures/chromium_play_three.sdp");
const CHROMIUM_DATA: &str = include_str!("fixtures/chromium_play_datachannel.sdp");
const FIREFOX_SIMULCAST: &str = include_str!("fixtures/firefox_publish_simulcast.sdp");
const FIREFOX_SENDRECV: &str = include_str!("fixtures/firefox_publish_sendrecv.sdp");
const FIREFOX_THREE: &str = include_str!("fixtures/firefox_play_three.sdp");
const FIREFOX_DATA: &str = include_str!("fixtures/firefox_play_datachannel.sdp");

const PUBLISHED: [&str; 4] = [CHROMIUM_SIMULCAST, CHROMIUM_SENDRECV, FIREFOX_SIMULCAST, FIREFOX_SENDRECV];
const PLAYED: [&str; 4] = [CHROMIUM_THREE, CHROMIUM_DATA, FIREFOX_THREE, FIREFOX_DATA];

const PUBLISH: EndpointKind = EndpointKind::Publish { stream: StreamKey(1) };
const PAIR: EndpointKind = EndpointKind::Pair { stream: StreamKey(1) };

fn local() -> LocalSettings {
    LocalSettings {
        ice: IceCredentials { ufrag: "w0t1abcd".into(), password: "0123456789abcdefghijklmn".into() },
        fingerprint: Fingerprint { hash: "sha-256".into(), bytes: (0..32).collect() },
        candidates: vec!["192.0.2.9:40000".parse().unwrap(), "[2001:db8::9]:40000".parse().unwrap()],
        candidate_priority: 0x1000_0000,
        lite: false,
        video_codec: None,
    }
}

fn counter() -> impl FnMut() -> u32 {
    let mut next = 1000;
    move || {
        next += 1;
        next
    }
}

fn agree(sdp: &str, kind: EndpointKind) -> Negotiated {
    answer(sdp, kind, &local(), &mut counter()).unwrap()
}

/// Codec names of a section without repetitions.
fn names(section: &Section) -> Vec<&'static str> {
    let mut names: Vec<_> = section.codecs.iter().map(|spec| spec.codec.name()).collect();
    names.dedup();
    names
}

/// What any answer of ours must be: readable by another parser, with as many sections as the offer, in its order.
fn check_answer(offer: &str, negotiated: &Negotiated) {
    let sdp = &negotiated.ready.sdp;
    let mut reader = std::io::Cursor::new(sdp.as_bytes());
    let parsed = rtc::sdp::SessionDescription::unmarshal(&mut reader).unwrap();
    let (offered, answered) = (Description::parse(offer).unwrap(), Description::parse(sdp).unwrap());
    assert_eq!(parsed.media_descriptions.len(), offered.sections.len());
    assert_eq!(negotiated.spec.sections.len(), offered.sections.len());
    for ((theirs, ours), spec) in
        offered.sections.iter().zip(&answered.sections).zip(&negotiated.spec.sections)
    {
        assert_eq!((theirs.media, theirs.value("mid")), (ours.media, ours.value("mid")));
        assert_eq!(ours.port == 0, spec.flow == Flow::None);
        for format in &ours.formats {
            assert!(theirs.formats.contains(format), "format {format} was not offered");
        }
    }
}

#[test]
fn chromiums_simulcast_is_agreed_upon_in_full() {
    let negotiated = agree(CHROMIUM_SIMULCAST, PUBLISH);
    check_answer(CHROMIUM_SIMULCAST, &negotiated);
    let [audio, video] = &negotiated.spec.sections[..] else { panic!() };
    assert_eq!(names(audio), ["opus", "red"]);
    assert_eq!(audio.flow, Flow::Receive { rids: vec![], ssrcs: vec![(934_383_880, None)] });
    assert_eq!(names(video), ["VP8", "H264", "AV1", "VP9"]);
    assert_eq!(video.codecs.len(), 1 + 6 + 1 + 2);
    let vp8 = &video.codecs[0];
    assert_eq!((vp8.payload_type, vp8.rtx_payload_type), (96, Some(97)));
    assert!(vp8.nack && vp8.pli && vp8.fir && vp8.transport_cc);
    let rids = ["l", "m", "h"].map(str::to_owned).to_vec();
    assert_eq!(video.flow, Flow::Receive { rids, ssrcs: vec![] });
    let expected = ExtensionIds {
        abs_send_time: Some(2),
        audio_level: None,
        dependency_descriptor: Some(12),
        mid: Some(4),
        playout_delay: Some(5),
        rid: Some(10),
        repaired_rid: Some(11),
        transport_cc: Some(3),
        video_orientation: Some(13),
    };
    assert_eq!(video.extensions, expected);
    assert_eq!(audio.extensions.audio_level, Some(1));
    let spec = &negotiated.spec;
    assert_eq!((spec.dtls, spec.remote_lite), (DtlsRole::Server, false));
    assert_eq!(spec.remote_ice.ufrag, "fQT/");
    assert_eq!(spec.remote_candidates.len(), 4);
    assert_eq!(spec.fingerprints[0].bytes.len(), 32);
    let sdp = &negotiated.ready.sdp;
    for wanted in [
        "a=group:BUNDLE 0 1\r\n",
        "a=setup:passive\r\n",
        "a=recvonly\r\n",
        "a=simulcast:recv l;m;h\r\n",
        "a=rid:m recv\r\n",
        "a=rtcp-fb:96 nack pli\r\n",
        "a=fmtp:97 apt=96\r\n",
        "a=candidate:1 1 udp 268435456 192.0.2.9 40000 typ host\r\n",
        "a=end-of-candidates\r\n",
    ] {
        assert!(sdp.contains(wanted), "{wanted} is missing in\n{sdp}");
    }
    assert!(!sdp.contains("ice-lite") && !sdp.contains("ulpfec") && !sdp.contains("red/90000"));
    assert_eq!((negotiated.ready.audio, negotiated.ready.video), (1, 1));
    assert_eq!(negotiated.ready.codecs[0], (MediaKind::Audio, "OPUS".to_owned()));
    assert_eq!(negotiated.ready.codecs[2], (MediaKind::Video, "VP8".to_owned()));
}

#[test]
fn firefoxs_simulcast_has_rids_and_ssrcs_and_extensions_of_one_direction() {
    let negotiated = agree(FIREFOX_SIMULCAST, PUBLISH);
    check_answer(FIREFOX_SIMULCAST, &negotiated);
    let video = &negotiated.spec.sections[1];
    assert_eq!(names(video), ["VP8", "VP9", "AV1"]);
    let Flow::Receive { rids, ssrcs } = &video.flow else { panic!() };
    assert_eq!(rids.join(","), "l,m,h");
    assert_eq!(
        ssrcs[..],
        [
            (627_250_930, Some(2_778_391_485)),
            (2_519_327_064, Some(1_649_924_488)),
            (1_804_564_695, Some(1_076_053_218))
        ]
    );
    let ids = video.extensions;
    // `/recvonly` in the offer: the client does not send it.
    assert_eq!((ids.playout_delay, ids.rid, ids.dependency_descriptor), (None, Some(9), Some(8)));
    assert_eq!(negotiated.spec.remote_candidates.len(), 4);
}

#[test]
fn each_published_and_each_played_offer_gets_a_well_formed_answer() {
    for offer in PUBLISHED {
        let negotiated = agree(offer, PUBLISH);
        check_answer(offer, &negotiated);
        assert_eq!((negotiated.ready.audio, negotiated.ready.video), (1, 1));
    }
    for offer in PLAYED {
        for kind in [EndpointKind::Slots, PAIR] {
            check_answer(offer, &agree(offer, kind));
        }
    }
}

#[test]
fn slots_are_numbered_by_kind_and_never_share_an_ssrc() {
    for offer in [CHROMIUM_THREE, FIREFOX_THREE] {
        let negotiated = agree(offer, EndpointKind::Slots);
        let mut slots = Vec::new();
        let mut ssrcs = std::collections::HashSet::new();
        for section in &negotiated.spec.sections {
            let Flow::Send { slot, ssrc, rtx_ssrc } = section.flow else { panic!("{section:?}") };
            slots.push((section.kind, slot));
            assert!(ssrcs.insert(ssrc) && ssrcs.insert(rtx_ssrc));
            assert_eq!((section.extensions.rid, section.extensions.repaired_rid), (None, None));
        }
        let (audio, video) = (MediaKind::Audio, MediaKind::Video);
        assert_eq!(slots, [(audio, 0), (video, 0), (audio, 1), (video, 1), (audio, 2), (video, 2)]);
        let sdp = &negotiated.ready.sdp;
        assert!(sdp.contains("a=msid:slot2 audio2\r\n") && sdp.contains("a=msid:slot2 video2\r\n"));
        assert_eq!(sdp.matches("a=ssrc-group:FID ").count(), 3);
        assert_eq!((negotiated.ready.audio, negotiated.ready.video), (3, 3));
        let pair = agree(offer, PAIR);
        assert_eq!((pair.ready.audio, pair.ready.video), (1, 1));
        assert_eq!(pair.ready.sdp.matches(" 0 UDP/TLS/RTP/SAVPF").count(), 4);
    }
}

#[test]
fn an_ssrc_generator_that_repeats_itself_does_no_harm() {
    let negotiated = answer(CHROMIUM_THREE, EndpointKind::Slots, &local(), &mut || 7).unwrap();
    let mut ssrcs = std::collections::HashSet::new();
    for section in &negotiated.spec.sections {
        let Flow::Send { ssrc, rtx_ssrc, .. } = section.flow else { panic!() };
        assert!(ssrcs.insert(ssrc) && ssrcs.insert(rtx_ssrc));
    }
}

#[test]
fn a_data_channel_is_rejected_and_the_rest_is_not() {
    for offer in [CHROMIUM_DATA, FIREFOX_DATA] {
        let negotiated = agree(offer, EndpointKind::Slots);
        assert!(negotiated.ready.sdp.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
        assert!(negotiated.ready.sdp.contains("a=group:BUNDLE 0 1\r\n"));
        assert_eq!(negotiated.spec.sections[2].flow, Flow::None);
    }
}

#[test]
fn a_sessions_only_codec_is_the_only_one_or_there_is_no_agreement() {
    let only = |video_codec| LocalSettings { video_codec: Some(video_codec), ..local() };
    let negotiated = answer(CHROMIUM_SIMULCAST, PUBLISH, &only(Codec::H264), &mut counter()).unwrap();
    assert_eq!(names(&negotiated.spec.sections[1]), ["H264"]);
    assert_eq!(names(&negotiated.spec.sections[0]), ["opus", "red"]);
    let refused = answer(FIREFOX_SIMULCAST, PUBLISH, &only(Codec::H264), &mut counter()).unwrap_err();
    let why = "the session uses H264 and Opus".to_owned();
    assert_eq!(refused, NegotiateError::NoCodec { why });
    // A receiver still hears.
    let negotiated = answer(FIREFOX_THREE, EndpointKind::Slots, &only(Codec::H264), &mut counter()).unwrap();
    assert_eq!((negotiated.ready.audio, negotiated.ready.video), (3, 0));
}

#[test]
fn an_offer_without_what_is_required_is_refused_with_the_reason() {
    let refused = |offer: &str, kind| match answer(offer, kind, &local(), &mut counter()) {
        Err(NegotiateError::InvalidSdp { why }) => why,
        other => panic!("{other:?}"),
    };
    let without = |what: &str| CHROMIUM_SIMULCAST.replace(what, "a=x");
    assert!(refused("", PUBLISH).contains("v=0"));
    assert!(refused("v=0\r\n", PUBLISH).contains("BUNDLE"));
    assert!(refused(&without("a=group:BUNDLE 0 1"), PUBLISH).contains("BUNDLE"));
    assert!(refused(&without("a=rtcp-mux"), PUBLISH).contains("rtcp-mux"));
    assert!(refused(&without("a=ice-ufrag:fQT/"), PUBLISH).contains("ICE"));
    assert!(refused(&without("a=fingerprint:sha-256"), PUBLISH).contains("fingerprint"));
    assert!(refused(&without("a=setup:actpass"), PUBLISH).contains("setup"));
    assert!(refused(CHROMIUM_SIMULCAST, EndpointKind::Slots).contains("receives"));
    assert!(refused(CHROMIUM_THREE, PUBLISH).contains("sends"));
}

#[test]
fn the_role_that_the_client_leaves_us_is_taken() {
    for (offered, role, answered) in [
        ("a=setup:actpass", DtlsRole::Server, "a=setup:passive"),
        ("a=setup:passive", DtlsRole::Client, "a=setup:active"),
        ("a=setup:active", DtlsRole::Server, "a=setup:passive"),
    ] {
        let negotiated = agree(&CHROMIUM_SIMULCAST.replace("a=setup:actpass", offered), PUBLISH);
        assert_eq!(negotiated.spec.dtls, role);
        assert!(negotiated.ready.sdp.contains(answered));
    }
}

fn peer() -> RTCPeerConnection {
    let mut media = MediaEngine::default();
    media.register_default_codecs().unwrap();
    RTCPeerConnectionBuilder::new().with_media_engine(media).build(Instant::now()).unwrap()
}

fn with_direction(peer: &mut RTCPeerConnection, kind: RtpCodecKind, direction: RTCRtpTransceiverDirection) {
    let init = RTCRtpTransceiverInit { direction, ..Default::default() };
    peer.add_transceiver_from_kind(kind, Some(init)).unwrap();
}

#[test]
fn the_synthetic_participants_stack_takes_our_answer() {
    let mut peer = peer();
    for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
        with_direction(&mut peer, kind, RTCRtpTransceiverDirection::Recvonly);
    }
    let offer = peer.create_offer(None).unwrap();
    peer.set_local_description(Instant::now(), offer.clone()).unwrap();
    let negotiated = agree(&offer.sdp, EndpointKind::Slots);
    check_answer(&offer.sdp, &negotiated);
    assert_eq!((negotiated.ready.audio, negotiated.ready.video), (1, 1));
    let answer = RTCSessionDescription::answer(negotiated.ready.sdp).unwrap();
    peer.set_remote_description(Instant::now(), answer).unwrap();
}

#[test]
fn the_synthetic_participants_stack_answers_our_offer() {
    let draft =
        offer(PAIR, &OfferPlan { audio: 1, video: 1, ..OfferPlan::default() }, &local(), &mut counter());
    let mut peer = peer();
    let sdp = RTCSessionDescription::offer(draft.sdp.clone()).unwrap();
    peer.set_remote_description(Instant::now(), sdp).unwrap();
    let answer = peer.create_answer(None).unwrap();
    peer.set_local_description(Instant::now(), answer.clone()).unwrap();
    let negotiated = accept_answer(&draft, &answer.sdp).unwrap();
    assert_eq!((negotiated.ready.audio, negotiated.ready.video), (1, 1));
    assert!(names(&negotiated.spec.sections[1]).contains(&"VP8"));
    assert_eq!(negotiated.spec.sections[1].flow, draft.sections[1].flow);
    assert_eq!(negotiated.spec.dtls, DtlsRole::Server);
}

#[test]
fn our_own_offer_and_our_own_answer_agree() {
    let plan = OfferPlan { audio: 3, video: 2, ..OfferPlan::default() };
    let draft = offer(EndpointKind::Slots, &plan, &local(), &mut counter());
    // Seen from the other side the sections are sent to us.
    let audio_only = draft.sdp.replace("m=video 40000", "m=video 0");
    let theirs = agree(&audio_only, PUBLISH);
    assert_eq!((theirs.ready.audio, theirs.ready.video), (1, 0));
    let ours = accept_answer(&draft, &theirs.ready.sdp).unwrap();
    assert_eq!((ours.ready.audio, ours.ready.video), (1, 0));
    assert_eq!(ours.spec.sections.len(), 5);
    assert!(accept_answer(&draft, "v=0\r\n").is_err());
}

proptest! {
    #[test]
    fn mutated_offers_never_panic_and_good_answers_stay_well_formed(
        which in 0usize..8,
        kind in 0usize..3,
        edits in proptest::collection::vec((0usize..20_000, 0usize..40, "[ -~\r\n]{0,12}"), 1..8),
    ) {
        let mut text = PUBLISHED.iter().chain(&PLAYED).nth(which).unwrap().to_string();
        for (at, cut, insert) in edits {
            let at = at % (text.len() + 1);
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &insert);
        }
        let kind = [PUBLISH, EndpointKind::Slots, PAIR][kind];
        if let Ok(negotiated) = answer(&text, kind, &local(), &mut counter()) {
            let again = Description::parse(&negotiated.ready.sdp).unwrap();
            prop_assert_eq!(again.sections.len(), negotiated.spec.sections.len());
        }
        let draft = offer(kind, &OfferPlan { audio: 1, video: 1, ..OfferPlan::default() }, &local(), &mut counter());
        drop(accept_answer(&draft, &text));
    }

    #[test]
    fn rubbish_never_panics(text in "v=0\r\n(a=group:BUNDLE 0|a=mid:0|m=audio 9 UDP/TLS/RTP/SAVPF |a=rtpmap:|a=ssrc:|a=simulcast:send |111 |opus/48000/2|[ -~]|\r\n){0,80}") {
        drop(answer(&text, PUBLISH, &local(), &mut counter()));
        drop(answer(&text, EndpointKind::Slots, &local(), &mut counter()));
    }
}
