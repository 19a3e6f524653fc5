//! Pure: no clock, no I/O, no async.
//!
//! What a worker keeps of one peer beside what the router keeps.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::id::EndpointKey;
use common::wire::node::TransportState;

use super::engine::{Open, transaction_seed};
use crate::cold::PeerId;
use crate::router::EndpointIndex;
use crate::transport::ice::{self, Agent, SavedIce};
use crate::transport::spec::{DtlsRole, EndpointSpec, Fingerprint};
use crate::transport::srtp::SrtpKeys;

/// Media that came before the keys: a peer may send as soon as its half of the handshake is done, ours is
/// being computed meanwhile.
const EARLY_PACKETS_MAX: usize = 32;

/// DTLS datagrams of one peer in [`SHAKE_WINDOW`]. A handshake takes about ten, with repetitions thirty.
const SHAKES_MAX: u32 = 100;

/// See [`SHAKES_MAX`].
const SHAKE_WINDOW: Duration = Duration::from_secs(5);

/// User fragments that lead to a peer: the present one and those of the last restarts.
const UFRAGS_MAX: usize = 3;

/// How far the keys are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// No handshake was begun.
    Waiting,
    /// The cold pool has it.
    Shaking,
    /// Keys are installed.
    Keyed,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    /// At the router.
    pub(super) index: EndpointIndex,
    pub(super) endpoint: EndpointKey,
    /// What was negotiated, for checkpoints.
    pub(super) spec: Box<EndpointSpec>,
    pub(super) agent: Agent,
    pub(super) dtls: DtlsRole,
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) phase: Phase,
    pub(super) keys: Option<SrtpKeys>,
    /// Where DTLS came from last, for answers before a pair is selected.
    pub(super) dtls_from: Option<SocketAddr>,
    /// Addresses that lead here in the worker's table.
    pub(super) addresses: Vec<SocketAddr>,
    /// User fragments that lead here in the worker's table, oldest first.
    pub(super) ufrags: Vec<String>,
    pub(super) reported: TransportState,
    pub(super) early: Vec<Vec<u8>>,
    shakes: u32,
    shakes_since: Instant,
}

impl Peer {
    /// A new peer, or one that comes from another node with its agent's state and its keys.
    pub(super) fn new(
        now: Instant,
        id: PeerId,
        index: EndpointIndex,
        open: Open,
        saved: Option<(SavedIce, SrtpKeys)>,
    ) -> Self {
        let Open { endpoint, mut spec, ice, .. } = open;
        let ufrag = spec.local_ice.ufrag.clone();
        let keys = saved.as_ref().map(|(_, keys)| *keys);
        let seed = transaction_seed(id);
        let agent = match saved {
            Some((saved, _)) => Agent::adopt(now, ice, saved, seed),
            None => Agent::new(now, ice, spec.local_ice.clone(), Some(spec.remote_ice.clone()), seed),
        };
        Self {
            id,
            index,
            endpoint,
            agent,
            dtls: spec.dtls,
            fingerprints: std::mem::take(&mut spec.fingerprints),
            phase: if keys.is_some() { Phase::Keyed } else { Phase::Waiting },
            keys,
            spec: Box::new(spec),
            dtls_from: None,
            addresses: Vec::new(),
            ufrags: vec![ufrag],
            reported: TransportState::Connecting,
            early: Vec::new(),
            shakes: 0,
            shakes_since: now,
        }
    }

    /// Adds a fragment; gives the oldest one if there are too many.
    pub(super) fn add_ufrag(&mut self, ufrag: String) -> Option<String> {
        self.ufrags.push(ufrag);
        (self.ufrags.len() > UFRAGS_MAX).then(|| self.ufrags.remove(0))
    }

    /// False when the peer sends more DTLS than any handshake takes.
    pub(super) fn may_shake(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.shakes_since) > SHAKE_WINDOW {
            self.shakes_since = now;
            self.shakes = 0;
        }
        self.shakes += 1;
        self.shakes <= SHAKES_MAX
    }

    /// Keeps a packet until the keys are there; false when there are too many.
    pub(super) fn hold_early(&mut self, bytes: &[u8]) -> bool {
        let room = self.phase == Phase::Shaking && self.early.len() < EARLY_PACKETS_MAX;
        if room {
            self.early.push(bytes.to_vec());
        }
        room
    }

    /// What ICE and the keys together come to.
    pub(super) fn transport_state(&self) -> TransportState {
        match self.agent.state() {
            ice::State::Failed => TransportState::Failed,
            ice::State::Disconnected => TransportState::Disconnected,
            ice::State::Connected if self.phase == Phase::Keyed => TransportState::Connected,
            ice::State::Checking | ice::State::Connected => TransportState::Connecting,
        }
    }
}
