//! Shell: draws random numbers.
//!
//! From a command with SDP to what a worker needs: credentials, candidates, the agreed specification.

use std::net::SocketAddr;

use common::limits::REMOTE_CANDIDATES_MAX;
use common::wire::node::{EndpointKind, EndpointOpen, NodeError, Ready, SdpRequest, SlotBind};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::config::MediaSettings;
use crate::node::{self, Worker};
use crate::transport::dtls::Certificate;
use crate::transport::ice::{self, SavedIce};
use crate::transport::negotiate::{self, Draft, LocalSettings, OfferPlan};
use crate::transport::spec::{Candidate, Codec, EndpointSpec, Flow, IceCredentials};
use crate::transport::trickle;

/// Slots of an offer of ours to a client that plays a session.
const OFFERED_SLOTS: u16 = 8;

/// What the control part keeps of an endpoint's negotiation.
#[derive(Debug)]
pub enum Negotiated {
    /// Our offer waits for its answer.
    Offered {
        /// It.
        draft: Draft,
        /// What was bound meanwhile.
        binds: Vec<SlotBind>,
        /// The client's candidates that came before its answer.
        candidates: Vec<Candidate>,
    },
    /// Both sides are known; these are the present ICE credentials.
    Agreed {
        /// Ours.
        local: IceCredentials,
        /// The client's.
        remote: IceCredentials,
        /// Section that carries the transport (RFC 9143).
        mid: String,
        /// Our answer to the last restart.
        fragment: String,
    },
}

impl Negotiated {
    /// Both sides are known.
    #[must_use]
    pub fn of(spec: &EndpointSpec) -> Self {
        let first = spec.sections.iter().find(|section| section.flow != Flow::None);
        Self::Agreed {
            local: spec.local_ice.clone(),
            remote: spec.remote_ice.clone(),
            mid: first.map(|section| section.mid.clone()).unwrap_or_default(),
            fragment: String::new(),
        }
    }
}

/// What came of a negotiation.
#[derive(Debug)]
pub enum Opening {
    /// The worker can have the endpoint.
    Agreed(Box<EndpointSpec>, Ready),
    /// The client's answer is awaited.
    Offered(Draft, Ready),
}

/// What a client's trickle fragment comes to.
#[derive(Debug)]
pub struct Trickled {
    /// Its candidates.
    pub candidates: Vec<Candidate>,
    /// With other credentials than before.
    pub restart: Option<Restart>,
}

/// An ICE restart.
#[derive(Debug)]
pub struct Restart {
    /// Our new credentials.
    pub local: IceCredentials,
    /// The client's.
    pub remote: IceCredentials,
    /// What the client is answered.
    pub fragment: String,
}

/// Everything that our side brings into each negotiation.
#[derive(Debug)]
pub struct Negotiator {
    certificate: Certificate,
    /// What the clients of each worker are told.
    candidates: Vec<Vec<SocketAddr>>,
    lite: bool,
}

impl Negotiator {
    /// Of a node with these workers.
    #[must_use]
    pub fn new(settings: &MediaSettings, certificate: Certificate, workers: &[Worker]) -> Self {
        let candidates = workers.iter().map(|worker| node::announced(settings, worker)).collect();
        Self { certificate, candidates, lite: settings.ice_lite }
    }

    /// Mode of the ICE agents.
    #[must_use]
    pub fn ice_settings(&self) -> ice::Settings {
        if self.lite { ice::Settings::lite() } else { ice::Settings::default() }
    }

    /// Answers the client's offer, or makes one. `source` is the publisher of the stream of a [`EndpointKind::Pair`].
    ///
    /// # Errors
    /// The client's SDP cannot be used, or the session's codec is unknown.
    pub fn open(
        &self,
        worker: usize,
        open: &EndpointOpen,
        video_codec: Option<&str>,
        source: Option<&Ready>,
    ) -> Result<Opening, NodeError> {
        let local = self.local(worker, video_codec)?;
        let mut generator = StdRng::from_os_rng();
        let mut random = || generator.random();
        match &open.sdp {
            SdpRequest::Offer(sdp) => {
                let done = negotiate::answer(sdp, open.kind, &local, &mut random)?;
                Ok(Opening::Agreed(Box::new(done.spec), done.ready))
            }
            SdpRequest::MakeOffer => {
                let plan = offer_plan(open.kind, source);
                let (audio, video) = (plan.audio, plan.video);
                let draft = negotiate::offer(open.kind, &plan, &local, &mut random);
                let ready =
                    Ready { sdp: draft.sdp.clone(), audio, video, codecs: Vec::new(), ext: Vec::new() };
                Ok(Opening::Offered(draft, ready))
            }
        }
    }

    /// Reads a trickle fragment. New credentials restart ICE. Before the answer to our offer candidates are kept.
    ///
    /// # Errors
    /// The fragment cannot be read.
    pub fn trickle(
        &self,
        worker: usize,
        negotiated: &mut Negotiated,
        text: &str,
    ) -> Result<Trickled, NodeError> {
        let parsed = trickle::Fragment::parse(text)?;
        let (local, remote, mid, fragment) = match negotiated {
            Negotiated::Agreed { local, remote, mid, fragment } => (local, remote, mid, fragment),
            Negotiated::Offered { candidates, .. } => {
                candidates.extend(parsed.candidates);
                candidates.truncate(REMOTE_CANDIDATES_MAX);
                return Ok(Trickled { candidates: Vec::new(), restart: None });
            }
        };
        let Some(renewed) = parsed.restart(remote).cloned() else {
            return Ok(Trickled { candidates: parsed.candidates, restart: None });
        };
        let settings = self.local(worker, None)?;
        *fragment = trickle::write(&settings, mid);
        *remote = renewed.clone();
        *local = settings.ice.clone();
        let restart = Restart { local: settings.ice, remote: renewed, fragment: fragment.clone() };
        Ok(Trickled { candidates: parsed.candidates, restart: Some(restart) })
    }

    /// Our candidates under the credentials that the client knows, for an endpoint that came from another node.
    #[must_use]
    pub fn announce(&self, worker: usize, saved: &SavedIce, mid: &str) -> String {
        let settings = LocalSettings {
            ice: saved.local.clone(),
            candidate_priority: ice::candidate_priority(saved.generation.saturating_add(1)),
            fingerprint: self.certificate.fingerprint().clone(),
            candidates: self.candidates[worker].clone(),
            lite: self.lite,
            video_codec: None,
        };
        trickle::write(&settings, mid)
    }

    fn local(&self, worker: usize, video_codec: Option<&str>) -> Result<LocalSettings, NodeError> {
        let unknown =
            |name: &str| NodeError::NoCodec { why: format!("the session's video codec {name} is unknown") };
        let video_codec =
            video_codec.map(|name| Codec::parse(name).ok_or_else(|| unknown(name))).transpose()?;
        Ok(LocalSettings {
            ice: fresh_credentials(worker),
            fingerprint: self.certificate.fingerprint().clone(),
            candidates: self.candidates[worker].clone(),
            candidate_priority: ice::candidate_priority(0),
            lite: self.lite,
            video_codec,
        })
    }
}

/// What our offer has: as many sections as there may be, or what the publisher sends and nothing else: a section
/// without media would keep a browser from playing the others.
fn offer_plan(kind: EndpointKind, source: Option<&Ready>) -> OfferPlan {
    match (kind, source) {
        (EndpointKind::Slots, _) => {
            OfferPlan { audio: OFFERED_SLOTS, video: OFFERED_SLOTS, codecs: Vec::new() }
        }
        (EndpointKind::Pair { .. }, Some(source)) => OfferPlan {
            audio: source.audio,
            video: source.video,
            codecs: source.codecs.iter().filter_map(|(_, name)| Codec::parse(name)).collect(),
        },
        (EndpointKind::Pair { .. } | EndpointKind::Publish { .. }, _) => {
            OfferPlan { audio: 1, video: 1, codecs: Vec::new() }
        }
    }
}

/// Unguessable credentials. The fragment begins with the worker's number, so that a check that another worker receives
/// finds its way.
fn fresh_credentials(worker: usize) -> IceCredentials {
    IceCredentials { ufrag: format!("{worker:02x}{}", random_text(8)), password: random_text(24) }
}

/// Letters and digits, 6 bits each of 62 characters: 24 of them hold 142 bits.
fn random_text(length: usize) -> String {
    let mut random = StdRng::from_os_rng();
    (0..length).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect()
}
