//! Pure: no clock, no I/O, no async.
//!
//! What a negotiation came to: everything that the transport and the router of one endpoint need to know, without
//! any SDP. Built by `negotiate`, used by the worker.

use std::net::SocketAddr;

use common::wire::node::MediaKind;
use serde::{Deserialize, Serialize};

/// One negotiated endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Our ICE user fragment and password. The fragment names worker and transport, then random letters.
    pub local_ice: IceCredentials,
    /// The client's.
    pub remote_ice: IceCredentials,
    /// The client announced `a=ice-lite`: it never sends checks.
    pub remote_lite: bool,
    /// The client's candidates in the SDP; more come by trickle.
    pub remote_candidates: Vec<Candidate>,
    /// Hashes of the client's certificate.
    pub fingerprints: Vec<Fingerprint>,
    /// Who begins the DTLS handshake.
    pub dtls: DtlsRole,
    /// Media sections in the order of the SDP, rejected ones included.
    pub sections: Vec<Section>,
}

/// User fragment and password of one side.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct IceCredentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub password: String,
}

/// One remote candidate that we can use (UDP, component 1).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Where.
    pub address: SocketAddr,
    /// As signalled (RFC 8445 section 5.1.2).
    pub priority: u32,
}

/// `a=fingerprint`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Hash function, lower case: `sha-256`, `sha-384`, `sha-512`.
    pub hash: String,
    /// The hash.
    pub bytes: Vec<u8>,
}

/// `a=setup` as it was settled, from our side.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum DtlsRole {
    /// We send the ClientHello (`active`).
    Client,
    /// The client does: we decide about the SRTP profile.
    Server,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// `a=mid`.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// What flows, from our side.
    pub flow: Flow,
    /// Agreed codecs in the order of the answer, without their RTX entries.
    pub codecs: Vec<CodecSpec>,
    /// Agreed header extensions.
    pub extensions: ExtensionIds,
}

/// What flows in a section, from our side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Flow {
    /// Rejected or inactive.
    None,
    /// We receive one track.
    Receive {
        /// Simulcast encodings as offered (`a=simulcast:send`, `a=rid`), in the order of the SDP; empty without.
        rids: Vec<String>,
        /// SSRCs announced by `a=ssrc`, with their RTX SSRC by `a=ssrc-group:FID`; may be empty.
        ssrcs: Vec<(u32, Option<u32>)>,
    },
    /// We send one track: slot `slot`.
    Send {
        /// The k-th section of its kind that we send in, from 0.
        slot: u16,
        /// Ours, for the life of the endpoint.
        ssrc: u32,
        /// Ours, for retransmissions.
        rtx_ssrc: u32,
    },
}

/// Codecs that pass through.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Codec {
    /// AV1 (dependency descriptor extension where offered).
    Av1,
    /// H.264; profiles are told apart by `fmtp`.
    H264,
    /// H.265.
    H265,
    /// Opus.
    Opus,
    /// Redundant audio (RFC 2198) around Opus.
    Red,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
}

/// One agreed codec.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct CodecSpec {
    /// Which.
    pub codec: Codec,
    /// Its payload type in this section.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx_payload_type: Option<u8>,
    /// RTP clock.
    pub clock_hz: u32,
    /// `a=fmtp` parameters as offered.
    pub fmtp: String,
    /// `a=rtcp-fb ... nack`.
    pub nack: bool,
    /// `a=rtcp-fb ... nack pli`.
    pub pli: bool,
    /// `a=rtcp-fb ... ccm fir`.
    pub fir: bool,
    /// `a=rtcp-fb ... transport-cc`.
    pub transport_cc: bool,
}

/// Ids of the agreed RTP header extensions (RFC 8285), 1 to 14 for one-byte headers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ExtensionIds {
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`.
    pub abs_send_time: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    pub audio_level: Option<u8>,
    /// AV1 dependency descriptor.
    pub dependency_descriptor: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`.
    pub mid: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`.
    pub playout_delay: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`.
    pub rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`.
    pub repaired_rid: Option<u8>,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`.
    pub transport_cc: Option<u8>,
    /// `urn:3gpp:video-orientation`.
    pub video_orientation: Option<u8>,
}
