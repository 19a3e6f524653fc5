//! Shell: owns nothing, but reads the clock when it is asked to build a peer connection.
//!
//! How the load tool's peer connections are set up: VP8 with retransmission and Opus, the header extensions that
//! browsers use, and interceptors that answer repeat requests and write reports. Repeat requests of our own are made by
//! `nack`, because the crate's generator asks without end.

use std::time::{Duration, Instant};

use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::interceptor::{NackResponderBuilder, Registry, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::{configure_rtcp_reports, configure_twcc};
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine,
};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::sdp::extmap::{ABS_SEND_TIME_URI, AUDIO_LEVEL_URI, SDES_MID_URI};
use rtc::shared::error::Error;

use super::feedback::{POSITION, ShowFeedback};
use super::packet::Kind;

/// Which SRTP protection profiles are offered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Profile {
    /// AEAD_AES_128_GCM first, then AES_CM_128_HMAC_SHA1_80.
    #[default]
    Auto,
    /// AEAD_AES_128_GCM only.
    Gcm,
    /// AES_CM_128_HMAC_SHA1_80 only.
    Cm,
}

impl Profile {
    fn list(self) -> Vec<SrtpProtectionProfile> {
        use SrtpProtectionProfile::{Srtp_Aead_Aes_128_Gcm, Srtp_Aes128_Cm_Hmac_Sha1_80};
        match self {
            Self::Auto => vec![Srtp_Aead_Aes_128_Gcm, Srtp_Aes128_Cm_Hmac_Sha1_80],
            Self::Gcm => vec![Srtp_Aead_Aes_128_Gcm],
            Self::Cm => vec![Srtp_Aes128_Cm_Hmac_Sha1_80],
        }
    }
}

/// Payload types, as browsers choose them.
const VP8_PAYLOAD_TYPE: u8 = 96;
const RTX_PAYLOAD_TYPE: u8 = 97;
pub(super) const OPUS_PAYLOAD_TYPE: u8 = 111;

/// Builds a peer connection.
///
/// # Errors
/// Those of the crate.
pub(super) fn peer_connection(
    now: Instant,
    profile: Profile,
    audio: bool,
) -> Result<RTCPeerConnection, Error> {
    let settings = SettingEngineBuilder::new()
        .with_srtp_protection_profiles(profile.list())
        .with_include_loopback_candidate(true)
        // Loaded test machines stall; a stalled server shall show as latency and loss, not as a closed connection.
        .with_ice_timeouts(
            Some(Duration::from_secs(20)),
            Some(Duration::from_secs(60)),
            Some(Duration::from_secs(2)),
        )
        .with_srtp_replay_protection_window(512)
        .build();
    let mut engine = MediaEngine::default();
    engine.register_codec(
        RTCRtpCodecParameters { rtp_codec: vp8(), payload_type: VP8_PAYLOAD_TYPE },
        RtpCodecKind::Video,
    )?;
    engine.register_codec(
        RTCRtpCodecParameters { rtp_codec: rtx(), payload_type: RTX_PAYLOAD_TYPE },
        RtpCodecKind::Video,
    )?;
    if audio {
        engine.register_codec(
            RTCRtpCodecParameters { rtp_codec: opus(), payload_type: OPUS_PAYLOAD_TYPE },
            RtpCodecKind::Audio,
        )?;
        extension(&mut engine, AUDIO_LEVEL_URI, RtpCodecKind::Audio)?;
        extension(&mut engine, SDES_MID_URI, RtpCodecKind::Audio)?;
    }
    extension(&mut engine, SDES_MID_URI, RtpCodecKind::Video)?;
    extension(&mut engine, ABS_SEND_TIME_URI, RtpCodecKind::Video)?;
    let registry = Registry::new().with(Slot::NackResponder, NackResponderBuilder::new().build());
    let registry = registry.with(Slot::from(POSITION), ShowFeedback::default());
    let registry = configure_twcc(registry, &mut engine)?;
    let registry = configure_rtcp_reports(registry);
    RTCPeerConnectionBuilder::new()
        .with_setting_engine(settings)
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .build(now)
}

fn extension(engine: &mut MediaEngine, uri: &str, kind: RtpCodecKind) -> Result<(), Error> {
    engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri: uri.to_owned() }, kind, None)
}

fn vp8() -> RTCRtpCodec {
    let feedback =
        |typ: &str, parameter: &str| RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() };
    RTCRtpCodec {
        mime_type: MIME_TYPE_VP8.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: vec![feedback("ccm", "fir"), feedback("nack", ""), feedback("nack", "pli")],
    }
}

fn rtx() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: format!("apt={VP8_PAYLOAD_TYPE}"),
        rtcp_feedback: Vec::new(),
    }
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: Vec::new(),
    }
}

/// Codec kind of the crate.
pub(super) fn codec_kind(kind: Kind) -> RtpCodecKind {
    match kind {
        Kind::Audio => RtpCodecKind::Audio,
        Kind::Video => RtpCodecKind::Video,
    }
}

/// A track to send.
pub(super) fn track(kind: Kind, publisher: u32, ssrc: u32) -> MediaStreamTrack {
    let (name, codec) = match kind {
        Kind::Audio => ("audio", opus()),
        Kind::Video => ("video", vp8()),
    };
    let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
    let encoding =
        RTCRtpEncodingParameters { rtp_coding_parameters: coding, active: true, codec, ..Default::default() };
    MediaStreamTrack::new(
        format!("load-{publisher}"),
        format!("load-{publisher}-{name}"),
        name.to_owned(),
        codec_kind(kind),
        vec![encoding],
    )
}
