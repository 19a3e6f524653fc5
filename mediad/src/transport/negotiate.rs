//! Pure: no clock, no I/O, no async.
//!
//! Offer and answer (RFC 8829 as far as a server needs it): a client's offer to our answer, or our offer and the
//! client's answer, into an [`EndpointSpec`]. No PeerConnection: the order of the client's codecs is kept, every
//! codec that passes through is agreed upon, and no state outlives the call.
//!
//! A publisher sends at most one audio and one video section, with simulcast by `a=rid`. A player receives slot k in
//! the k-th audio and the k-th video section, which share an msid (lip sync) and keep their SSRCs for the life of the
//! endpoint. Everything runs over one BUNDLE transport with rtcp-mux; data channels and all else are rejected.
//! Where the client leaves the choice we are the DTLS server, which decides about the SRTP profile.

mod codecs;
mod extensions;
mod read;
pub(in crate::transport) mod sdp;
#[cfg(test)]
mod tests;
mod write;

use std::net::SocketAddr;

use common::limits::SLOTS_PER_ENDPOINT_MAX;
use common::wire::node::{EndpointKind, MediaKind, NodeError, Ready};

use self::sdp::{Description, MediaSection};
use super::spec::{Codec, CodecSpec, DtlsRole, EndpointSpec, Fingerprint, Flow, IceCredentials, Section};

/// What our side brings into a negotiation.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// Fresh credentials; the fragment names worker and transport.
    pub ice: IceCredentials,
    /// Hash of our certificate.
    pub fingerprint: Fingerprint,
    /// Announced addresses with the worker's port, best first.
    pub candidates: Vec<SocketAddr>,
    /// Priority of the first candidate, see [`candidate_priority`](super::ice::candidate_priority).
    pub candidate_priority: u32,
    /// Announce `a=ice-lite`.
    pub lite: bool,
    /// The only video codec, if the session has one.
    pub video_codec: Option<Codec>,
}

/// A finished negotiation.
#[derive(Clone, Debug, PartialEq)]
pub struct Negotiated {
    /// What was agreed upon.
    pub spec: EndpointSpec,
    /// For masterd: our SDP and a summary.
    pub ready: Ready,
}

/// An offer of ours that waits for its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    local_ice: IceCredentials,
    sections: Vec<Section>,
    /// The offer.
    pub sdp: String,
}

/// What an offer of ours has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OfferPlan {
    /// Audio sections.
    pub audio: u16,
    /// Video sections.
    pub video: u16,
    /// The only codecs; empty is all.
    pub codecs: Vec<Codec>,
}

/// Why there is no agreement. All of them are the client's doing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NegotiateError {
    /// The SDP cannot be used.
    #[error("invalid SDP: {why}")]
    InvalidSdp {
        /// For humans.
        why: String,
    },
    /// A section has no codec that we pass through.
    #[error("no usable codec: {why}")]
    NoCodec {
        /// For humans.
        why: String,
    },
}

impl NegotiateError {
    #[expect(clippy::needless_pass_by_value, reason = "errors and literals alike are given away")]
    pub(super) fn invalid(why: impl ToString) -> Self {
        Self::InvalidSdp { why: why.to_string() }
    }
}

impl From<NegotiateError> for NodeError {
    fn from(error: NegotiateError) -> Self {
        match error {
            NegotiateError::InvalidSdp { why } => Self::InvalidSdp { why },
            NegotiateError::NoCodec { why } => Self::NoCodec { why },
        }
    }
}

/// Answers a client's offer. `random` gives SSRCs and the session id.
///
/// # Errors
/// [`NegotiateError`]; never panics, whatever the offer.
pub fn answer(
    offer: &str,
    kind: EndpointKind,
    local: &LocalSettings,
    random: &mut dyn FnMut() -> u32,
) -> Result<Negotiated, NegotiateError> {
    let description = Description::parse(offer).map_err(NegotiateError::invalid)?;
    let mut planner = Planner::new(kind, local.video_codec, random);
    let bundled = description.bundled();
    let mut sections = Vec::with_capacity(description.sections.len());
    for section in &description.sections {
        let mid = section.value("mid").unwrap_or_default();
        let in_bundle = match &bundled {
            Some(mids) => mids.contains(&mid),
            None => description.sections.len() == 1,
        };
        let planned = if in_bundle { planner.plan(&description, section)? } else { None };
        sections.push(planned.unwrap_or_else(|| rejected(section, mid)));
    }
    let accepted = sections.iter().position(|section| section.flow != Flow::None);
    let Some(first) = accepted else { return Err(planner.nothing_usable(bundled.is_some())) };
    let transport = read::transport(&description, &description.sections[first], read::Answerer::Us)?;
    let remote_candidates = read::candidates(&description);
    let (header, dtls) = (write::Header { local, setup: transport.dtls.setup() }, transport.dtls);
    let sdp = write::answer(&header, &description, &sections, bundled.is_some(), random);
    let spec = EndpointSpec {
        local_ice: local.ice.clone(),
        remote_ice: transport.ice,
        remote_lite: transport.lite,
        remote_candidates,
        fingerprints: transport.fingerprints,
        dtls,
        sections,
    };
    Ok(Negotiated { ready: ready(&spec, sdp), spec })
}

/// Makes an offer. A publisher's endpoint receives, the others send; `random` gives SSRCs and the session id.
pub fn offer(
    kind: EndpointKind,
    plan: &OfferPlan,
    local: &LocalSettings,
    random: &mut dyn FnMut() -> u32,
) -> Draft {
    let mut planner = Planner::new(kind, local.video_codec, random);
    let slots = u16::try_from(SLOTS_PER_ENDPOINT_MAX).unwrap_or(u16::MAX);
    let (audio, video) = (plan.audio.min(slots), plan.video.min(slots));
    let mut sections = Vec::new();
    for slot in 0..audio.max(video) {
        for (kind, count) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
            if slot < count {
                let mid = sections.len().to_string();
                sections.push(planner.offer(kind, slot, mid, &plan.codecs));
            }
        }
    }
    let header = write::Header { local, setup: "actpass" };
    let sdp = write::offer(&header, &sections, random);
    Draft { local_ice: local.ice.clone(), sections, sdp }
}

/// Takes in the client's answer to our offer.
///
/// # Errors
/// [`NegotiateError`]; never panics, whatever the answer.
pub fn accept_answer(draft: &Draft, answer: &str) -> Result<Negotiated, NegotiateError> {
    let description = Description::parse(answer).map_err(NegotiateError::invalid)?;
    if description.sections.len() != draft.sections.len() {
        return Err(NegotiateError::invalid("the answer has another number of sections than the offer"));
    }
    let mut sections = Vec::with_capacity(draft.sections.len());
    for (ours, theirs) in draft.sections.iter().zip(&description.sections) {
        sections.push(read::answered(&description, ours, theirs)?);
    }
    let accepted = sections.iter().position(|section| section.flow != Flow::None);
    let Some(first) = accepted else {
        return Err(NegotiateError::invalid("the answer accepts no section"));
    };
    let transport = read::transport(&description, &description.sections[first], read::Answerer::Client)?;
    let spec = EndpointSpec {
        local_ice: draft.local_ice.clone(),
        remote_ice: transport.ice,
        remote_lite: transport.lite,
        remote_candidates: read::candidates(&description),
        fingerprints: transport.fingerprints,
        dtls: transport.dtls,
        sections,
    };
    Ok(Negotiated { ready: ready(&spec, draft.sdp.clone()), spec })
}

/// The summary of an endpoint that was negotiated elsewhere; without SDP.
pub fn summary(spec: &EndpointSpec) -> Ready {
    ready(spec, String::new())
}

/// The summary for masterd.
fn ready(spec: &EndpointSpec, sdp: String) -> Ready {
    let live = || spec.sections.iter().filter(|section| section.flow != Flow::None);
    let count =
        |kind| u16::try_from(live().filter(|section| section.kind == kind).count()).unwrap_or(u16::MAX);
    let mut codecs: Vec<(MediaKind, String)> = Vec::new();
    for section in live() {
        for spec in &section.codecs {
            let entry = (section.kind, spec.codec.upper_name());
            if !codecs.contains(&entry) {
                codecs.push(entry);
            }
        }
    }
    Ready { sdp, audio: count(MediaKind::Audio), video: count(MediaKind::Video), codecs, ext: Vec::new() }
}

/// A section in which nothing flows. What is neither audio nor video counts as video.
fn rejected(section: &MediaSection<'_>, mid: &str) -> Section {
    Section {
        mid: mid.to_owned(),
        kind: section.kind().unwrap_or(MediaKind::Video),
        flow: Flow::None,
        codecs: Vec::new(),
        extensions: super::spec::ExtensionIds::default(),
    }
}

/// Decides section by section what flows.
struct Planner<'r> {
    kind: EndpointKind,
    video_codec: Option<Codec>,
    random: &'r mut dyn FnMut() -> u32,
    used: Vec<u32>,
    audio: u16,
    video: u16,
    codec_missing: bool,
}

impl<'r> Planner<'r> {
    fn new(kind: EndpointKind, video_codec: Option<Codec>, random: &'r mut dyn FnMut() -> u32) -> Self {
        Self { kind, video_codec, random, used: Vec::new(), audio: 0, video: 0, codec_missing: false }
    }

    fn sender(&self) -> extensions::Sender {
        match self.kind {
            EndpointKind::Publish { .. } => extensions::Sender::Client,
            EndpointKind::Slots | EndpointKind::Pair { .. } => extensions::Sender::Us,
        }
    }

    /// Sections of one kind that this endpoint may have.
    const fn limit(&self) -> usize {
        match self.kind {
            EndpointKind::Publish { .. } | EndpointKind::Pair { .. } => 1,
            EndpointKind::Slots => SLOTS_PER_ENDPOINT_MAX,
        }
    }

    /// The agreed form of a section of the client's offer; none if it is rejected.
    fn plan(
        &mut self,
        description: &Description<'_>,
        section: &MediaSection<'_>,
    ) -> Result<Option<Section>, NegotiateError> {
        let Some(kind) = section.kind() else { return Ok(None) };
        let direction = description.direction(section);
        let flows = match self.sender() {
            extensions::Sender::Client => direction.sends(),
            extensions::Sender::Us => direction.receives(),
        };
        // A bundled section may have port 0 in a first offer (RFC 9143 section 6), then it is bundle-only.
        let offered = section.port != 0 || section.has("bundle-only");
        let taken = *self.count(kind);
        if !flows || !offered || usize::from(taken) >= self.limit() {
            return Ok(None);
        }
        if !section.has("rtcp-mux") {
            return Err(NegotiateError::invalid("a section lacks a=rtcp-mux"));
        }
        let codecs = codecs::shared(section, kind, self.video_codec);
        if codecs.iter().all(|spec| spec.codec == Codec::Red) {
            self.codec_missing = true;
            return match self.sender() {
                // Half a stream would be published silently.
                extensions::Sender::Client => Err(self.nothing_usable(true)),
                extensions::Sender::Us => Ok(None),
            };
        }
        let mut extensions = extensions::shared(section, self.sender());
        let codecs = without_useless_feedback(codecs, extensions.transport_cc.is_some());
        let flow = match self.sender() {
            extensions::Sender::Client => {
                let rids = read::rids(section);
                if rids.is_empty() {
                    extensions.rid = None;
                    extensions.repaired_rid = None;
                }
                Flow::Receive { rids, ssrcs: read::ssrcs(section) }
            }
            extensions::Sender::Us => self.send_flow(taken),
        };
        *self.count(kind) += 1;
        let mid = section.value("mid").unwrap_or_default().to_owned();
        Ok(Some(Section { mid, kind, flow, codecs, extensions }))
    }

    /// A section of our own offer.
    fn offer(&mut self, kind: MediaKind, slot: u16, mid: String, only: &[Codec]) -> Section {
        let sender = self.sender();
        let flow = match sender {
            extensions::Sender::Client => Flow::Receive { rids: Vec::new(), ssrcs: Vec::new() },
            extensions::Sender::Us => self.send_flow(slot),
        };
        let mut codecs = codecs::ours(kind, self.video_codec);
        codecs.retain(|spec| only.is_empty() || only.contains(&spec.codec));
        Section { mid, kind, flow, codecs, extensions: extensions::ours(kind, sender) }
    }

    fn send_flow(&mut self, slot: u16) -> Flow {
        Flow::Send { slot, ssrc: self.fresh_ssrc(), rtx_ssrc: self.fresh_ssrc() }
    }

    /// An SSRC that this endpoint does not use yet: two senders under one key must never share one.
    fn fresh_ssrc(&mut self) -> u32 {
        let mut ssrc = (self.random)();
        while ssrc == 0 || self.used.contains(&ssrc) {
            ssrc = ssrc.wrapping_add(0x9e37_79b9);
        }
        self.used.push(ssrc);
        ssrc
    }

    const fn count(&mut self, kind: MediaKind) -> &mut u16 {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }

    fn nothing_usable(&self, bundled: bool) -> NegotiateError {
        if self.codec_missing {
            let why = match self.video_codec {
                Some(codec) => format!("the session uses {} and Opus", codec.upper_name()),
                None => "Opus, VP8, VP9, H264, AV1 and H265 are supported".to_owned(),
            };
            NegotiateError::NoCodec { why }
        } else if !bundled {
            NegotiateError::invalid("a=group:BUNDLE is required")
        } else {
            let verb = match self.sender() {
                extensions::Sender::Client => "sends",
                extensions::Sender::Us => "receives",
            };
            NegotiateError::invalid(format!("no audio or video section in the BUNDLE group {verb}"))
        }
    }
}

/// Transport-wide feedback needs its header extension.
fn without_useless_feedback(mut codecs: Vec<CodecSpec>, transport_cc: bool) -> Vec<CodecSpec> {
    codecs.iter_mut().for_each(|spec| spec.transport_cc &= transport_cc);
    codecs
}

impl DtlsRole {
    /// The value of `a=setup` that settles it.
    pub const fn setup(self) -> &'static str {
        match self {
            Self::Client => "active",
            Self::Server => "passive",
        }
    }
}
