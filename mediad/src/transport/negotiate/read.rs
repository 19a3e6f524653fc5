//! Pure: no clock, no I/O, no async.
//!
//! What a client's description says about transport, simulcast and SSRCs.

use common::limits::REMOTE_CANDIDATES_MAX;

use super::sdp::{CandidateLine, Description, MediaSection, parse_candidate};
use super::{NegotiateError, codecs};
use crate::transport::spec::{
    Candidate, CodecSpec, DtlsRole, ExtensionIds, Fingerprint, Flow, IceCredentials, Section,
};

/// Simulcast encodings of one section; browsers send three.
const RIDS_MAX: usize = 4;

/// Longest rid; RFC 8852 allows the 255 that no one-byte header extension could carry.
const RID_BYTES_MAX: usize = 16;

/// Media SSRCs of one section.
const SSRCS_MAX: usize = 16;

/// Who answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answerer {
    Client,
    Us,
}

/// Transport parameters of the client.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) ice: IceCredentials,
    pub(super) lite: bool,
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) dtls: DtlsRole,
}

/// Reads them from the section that carries the BUNDLE transport.
pub(super) fn transport(
    description: &Description<'_>,
    section: &MediaSection<'_>,
    answerer: Answerer,
) -> Result<Transport, NegotiateError> {
    let ice = description.ice(section).ok_or_else(|| NegotiateError::invalid("no valid ICE credentials"))?;
    let fingerprints = description.fingerprints(section);
    let known = |hash: &str| matches!(hash, "sha-256" | "sha-384" | "sha-512");
    if !fingerprints.iter().any(|fingerprint| known(&fingerprint.hash)) {
        return Err(NegotiateError::invalid("no a=fingerprint of sha-256, sha-384 or sha-512"));
    }
    let dtls = match (description.value(section, "setup"), answerer) {
        // As the server we choose the SRTP profile: BoringSSL as the server takes the dear one.
        (Some("actpass"), Answerer::Us) | (Some("active"), _) => DtlsRole::Server,
        (Some("passive"), _) => DtlsRole::Client,
        (Some(_) | None, _) => return Err(NegotiateError::invalid("no usable a=setup")),
    };
    let lite = description.attributes.iter().any(|attribute| attribute.name == "ice-lite");
    Ok(Transport { ice, lite, fingerprints, dtls })
}

/// Usable candidates of all sections, which share one transport; each address once.
pub(super) fn candidates(description: &Description<'_>) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for value in description.sections.iter().flat_map(|section| section.values("candidate")) {
        if candidates.len() >= REMOTE_CANDIDATES_MAX {
            break;
        }
        if let Some(CandidateLine::Usable(candidate)) = parse_candidate(value)
            && !candidates.iter().any(|known| known.address == candidate.address)
        {
            candidates.push(candidate);
        }
    }
    candidates
}

/// Encodings that the client sends (RFC 8853): the first alternative of each stream, paused ones too.
pub(super) fn rids(section: &MediaSection<'_>) -> Vec<String> {
    let declared = |rid: &str| {
        section.values("rid").any(|value| {
            let mut words = value.split_ascii_whitespace();
            words.next() == Some(rid) && words.next() == Some("send")
        })
    };
    let plain = |rid: &str| {
        !rid.is_empty()
            && rid.len() <= RID_BYTES_MAX
            && rid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let mut words = section.value("simulcast").unwrap_or_default().split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word == "send" {
            let streams = words.next().unwrap_or_default().split(';');
            let first =
                |stream: &str| stream.split(',').next().map(|rid| rid.trim_start_matches('~').to_owned());
            let usable = |rid: &String| plain(rid) && declared(rid);
            return streams.filter_map(first).filter(usable).take(RIDS_MAX).collect();
        }
    }
    Vec::new()
}

/// Media SSRCs in the order of the SDP, each with its RTX SSRC.
pub(super) fn ssrcs(section: &MediaSection<'_>) -> Vec<(u32, Option<u32>)> {
    let mut repairs: Vec<(u32, u32)> = Vec::new();
    for value in section.values("ssrc-group").take(SSRCS_MAX) {
        let mut words = value.split_ascii_whitespace();
        if words.next() == Some("FID")
            && let (Some(Ok(media)), Some(Ok(rtx))) =
                (words.next().map(str::parse), words.next().map(str::parse))
        {
            repairs.push((media, rtx));
        }
    }
    let mut ssrcs: Vec<(u32, Option<u32>)> = Vec::new();
    for value in section.values("ssrc") {
        let number = value.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        let Some(ssrc) = number else { continue };
        let known = ssrcs.iter().any(|(known, _)| *known == ssrc);
        if known || repairs.iter().any(|(_, rtx)| *rtx == ssrc) || ssrcs.len() >= SSRCS_MAX {
            continue;
        }
        let rtx = repairs.iter().find(|(media, _)| *media == ssrc).map(|(_, rtx)| *rtx);
        ssrcs.push((ssrc, rtx));
    }
    ssrcs
}

/// What is left of a section of our offer after the client's answer.
pub(super) fn answered(
    description: &Description<'_>,
    ours: &Section,
    theirs: &MediaSection<'_>,
) -> Result<Section, NegotiateError> {
    let nothing = || Section {
        mid: ours.mid.clone(),
        kind: ours.kind,
        flow: Flow::None,
        codecs: Vec::new(),
        extensions: ExtensionIds::default(),
    };
    let direction = description.direction(theirs);
    let flow = match &ours.flow {
        Flow::Send { .. } if direction.receives() => ours.flow.clone(),
        Flow::Receive { .. } if direction.sends() => {
            Flow::Receive { rids: rids(theirs), ssrcs: ssrcs(theirs) }
        }
        Flow::Send { .. } | Flow::Receive { .. } | Flow::None => return Ok(nothing()),
    };
    let bundled = description.bundled().is_none_or(|mids| mids.contains(&ours.mid.as_str()));
    if theirs.port == 0 && !theirs.has("bundle-only") || !bundled || theirs.kind() != Some(ours.kind) {
        return Ok(nothing());
    }
    if !theirs.has("rtcp-mux") {
        return Err(NegotiateError::invalid("a section lacks a=rtcp-mux"));
    }
    let offered = |spec: &CodecSpec| {
        ours.codecs.iter().any(|known| known.codec == spec.codec && known.payload_type == spec.payload_type)
    };
    let codecs: Vec<CodecSpec> =
        codecs::shared(theirs, ours.kind, None).into_iter().filter(offered).collect();
    if codecs.is_empty() {
        return Ok(nothing());
    }
    let sender = match ours.flow {
        Flow::Send { .. } => super::extensions::Sender::Us,
        Flow::Receive { .. } | Flow::None => super::extensions::Sender::Client,
    };
    let extensions = super::extensions::shared(theirs, sender);
    let codecs = super::without_useless_feedback(codecs, extensions.transport_cc.is_some());
    Ok(Section { mid: ours.mid.clone(), kind: ours.kind, flow, codecs, extensions })
}
