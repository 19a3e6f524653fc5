//! Shell: owns the peers of one worker and connects ICE, DTLS and the router for each.
//!
//! It takes the time with each call and touches neither socket nor clock; what makes it a shell are the queues to the
//! cold pool and to the control part, neither of which is ever waited for.
//!
//! A datagram finds its peer by STUN's user name (requests) or transaction id (answers), all else by its source
//! address, which only a valid check puts into the table. What finds none is dropped and counted.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::id::{ConnectionKey, EndpointKey, SessionKey};
use common::wire::node::{Bind, EndpointKind, Permit, SlotBind, TransportState};
use tokio::sync::{mpsc, oneshot};

use super::peer::{Peer, Phase};
use super::run::{Engine, Wire, WorkerHandle};
use super::segment::Outgoing;
use super::syscall;
use super::timer::{TimerKey, Wheel};
use crate::cold::{ColdHandle, PeerId, Request, Verdict};
use crate::demux::{self, Kind};
use crate::egress::TxBatch;
use crate::router::{self, Flush, Router, SavedMedia};
use crate::transport::ice::{self, SavedIce};
use crate::transport::spec::{Candidate, EndpointSpec, IceCredentials};
use crate::transport::srtp::{Opener, Sealer, SrtpKeys};
use crate::transport::stun;

/// Peers of one worker; their table is bounded, not their traffic.
pub const PEERS_MAX: usize = 16_384;

/// Source addresses that lead to one peer. A browser has a few; a mobile one collects more over a long call.
const ADDRESSES_PER_PEER: usize = 8;

/// Addresses of other workers' peers; only authenticated ones are entered.
const FOREIGN_MAX: usize = PEERS_MAX * ADDRESSES_PER_PEER;

/// Events that wait for the control part. Beyond it the oldest are dropped and counted: control is then dead.
const EVENTS_WAITING_MAX: usize = 65_536;

/// Datagrams of one transmit area, and its bytes.
const TX_DATAGRAMS: usize = 2048;
const TX_BYTES: usize = TX_DATAGRAMS * 1300;

/// Bytes that are sealed before they are sent: a part of a core's own cache (1 MB on servers of today).
const TX_PORTION: usize = 96 * 1024;

/// A worker as others see it.
pub type Worker = WorkerHandle<Command, EngineReport>;

/// What the control part tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Make a peer.
    Open(Box<Open>),
    /// More candidates of the client.
    Candidates {
        /// Whose.
        endpoint: EndpointKey,
        /// They.
        candidates: Vec<Candidate>,
    },
    /// ICE restart.
    Restart {
        /// Whose.
        endpoint: EndpointKey,
        /// Our new credentials.
        local: IceCredentials,
        /// The client's.
        remote: IceCredentials,
        /// The client's, as far as known.
        candidates: Vec<Candidate>,
    },
    /// Save a peer; its leases grow. Answered with none if its media does not flow.
    Checkpoint {
        /// Whose.
        endpoint: EndpointKey,
        /// Number of the last one that the master holds.
        holds: u32,
        /// Where to.
        reply: oneshot::Sender<Option<Box<Checkpointed>>>,
    },
    /// Show a tap its session. Nothing is answered when the reply is dropped.
    Look {
        /// What it wants.
        look: Box<router::Look>,
        /// Where to.
        reply: oneshot::Sender<Box<router::Seen>>,
    },
    /// Copy the counters of a session.
    Counters {
        /// Which.
        session: SessionKey,
        /// Where to.
        reply: oneshot::Sender<router::SessionCounters>,
    },
    /// Forget a peer that another node has now: the client is told nothing.
    Release {
        /// Whose.
        endpoint: EndpointKey,
    },
    /// Forget a peer. Nothing is reported.
    Close {
        /// Whose.
        endpoint: EndpointKey,
    },
    /// Forget a session.
    CloseSession {
        /// Which.
        session: SessionKey,
        /// Its endpoints.
        endpoints: Vec<EndpointKey>,
    },
    /// Fill or empty slots.
    Bind(Box<Bind>),
    /// What a connection may do.
    Permit(Permit),
    /// The other workers, where all share one port; empty to let go of them.
    Neighbours(Vec<Worker>),
    /// A datagram for a peer of this worker that another one received at the shared port.
    Foreign {
        /// Who received it.
        via: u16,
        /// Its source.
        source: SocketAddr,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Datagrams of this address belong to that worker from now on, or to nobody.
    Owner {
        /// The client's.
        address: SocketAddr,
        /// Number of the worker.
        worker: Option<u16>,
    },
    /// From the cold pool.
    Cold {
        /// Whose.
        peer: PeerId,
        /// What.
        verdict: Verdict,
    },
}

/// Everything that a new peer needs.
#[derive(Debug)]
pub struct Open {
    /// Its session.
    pub session: SessionKey,
    /// Its participant.
    pub connection: ConnectionKey,
    /// Its name.
    pub endpoint: EndpointKey,
    /// What was negotiated.
    pub spec: EndpointSpec,
    /// What was bound to it before.
    pub binds: Vec<SlotBind>,
    /// What it is for.
    pub kind: EndpointKind,
    /// What its connection may do.
    pub permit: Permit,
    /// Mode of the ICE agent.
    pub ice: ice::Settings,
    /// The peer comes from another node.
    pub adoption: Option<Box<Adoption>>,
}

/// What a peer brings along from the node that had it.
#[derive(Debug)]
pub struct Adoption {
    /// Its ICE agent.
    pub ice: SavedIce,
    /// Its SRTP keys.
    pub keys: SrtpKeys,
    /// Our direction, from the keys.
    pub sealer: Sealer,
    /// The client's direction, as far as it was received.
    pub opener: Opener,
    /// Leases, sources and mappings.
    pub media: SavedMedia,
}

/// What a worker knows of a peer, for another node.
#[derive(Debug)]
pub struct Checkpointed {
    /// Its ICE agent.
    pub ice: SavedIce,
    /// Its SRTP keys.
    pub keys: SrtpKeys,
    /// What was negotiated.
    pub spec: EndpointSpec,
    /// Leases, sources and mappings.
    pub media: SavedMedia,
}

/// What a worker tells the control part.
#[derive(Clone, Debug)]
pub enum Event {
    /// A transport changed its state.
    Transport {
        /// Whose.
        endpoint: EndpointKey,
        /// The new state. After `Failed` and `Closed` the peer is gone.
        state: TransportState,
    },
    /// From the router.
    Router(router::Event),
}

/// Counters of one engine since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineReport {
    /// Peers now.
    pub peers: u64,
    /// Peers whose media flows now.
    pub connected: u64,
    /// Datagrams whose first byte is of no protocol.
    pub unknown_kind: u64,
    /// STUN of no peer, or with wrong credentials.
    pub stun_refused: u64,
    /// DTLS from addresses without a valid check, or over the rate.
    pub dtls_refused: u64,
    /// Media from addresses without a valid check, or before there are keys.
    pub media_refused: u64,
    /// Datagrams for which the transmit area had no room.
    pub tx_full: u64,
    /// Slots that could not be bound as told.
    pub binds_refused: u64,
    /// Datagrams that were passed on to the worker that has their peer.
    pub passed_on: u64,
    /// Events that control did not take in time.
    pub events_lost: u64,
    /// Of the router.
    pub router: router::Totals,
}

/// Address families that the worker's socket can send to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    const fn reach(self, address: SocketAddr) -> bool {
        match address {
            SocketAddr::V4(_) => self.v4,
            SocketAddr::V6(_) => self.v6,
        }
    }
}

/// The peers of one worker.
pub struct MediaEngine {
    worker: u16,
    families: Families,
    peers: Vec<Option<Peer>>,
    lives: Vec<u32>,
    free: Vec<u32>,
    by_endpoint: HashMap<EndpointKey, u32>,
    by_ufrag: HashMap<Box<[u8]>, u32>,
    by_address: HashMap<SocketAddr, u32>,
    /// The workers at a shared port, in order; empty where each has its own.
    neighbours: Vec<Worker>,
    /// Which of them has the peer of an address.
    foreign: HashMap<SocketAddr, u16>,
    wheel: Wheel,
    router: Router,
    tx: TxBatch,
    cold: ColdHandle,
    events: mpsc::Sender<Event>,
    waiting: VecDeque<Event>,
    report: EngineReport,
    other_allocations: u64,
}

impl std::fmt::Debug for MediaEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaEngine")
            .field("worker", &self.worker)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl MediaEngine {
    /// An engine without peers.
    #[must_use]
    pub fn new(
        now: Instant,
        worker: u16,
        families: Families,
        router: router::Settings,
        cold: ColdHandle,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            worker,
            families,
            peers: Vec::new(),
            lives: Vec::new(),
            free: Vec::new(),
            by_endpoint: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_address: HashMap::new(),
            neighbours: Vec::new(),
            foreign: HashMap::new(),
            wheel: Wheel::new(now),
            router: Router::new(now, router),
            tx: TxBatch::new(TX_DATAGRAMS, TX_BYTES).in_portions_of(TX_PORTION),
            cold,
            events,
            waiting: VecDeque::new(),
            report: EngineReport::default(),
            other_allocations: 0,
        }
    }

    // ---- peers

    fn open(&mut self, now: Instant, mut open: Open) {
        let endpoint = open.endpoint;
        if self.by_endpoint.contains_key(&endpoint) {
            self.remove(endpoint);
        }
        let Some(slot) = self.free_slot() else {
            self.emit(Event::Transport { endpoint, state: TransportState::Failed });
            return;
        };
        self.lives[slot as usize] = self.lives[slot as usize].wrapping_add(1);
        let id = PeerId { worker: self.worker, slot, life: self.lives[slot as usize] };
        self.router.permit(now, &open.permit);
        let at_router = router::Open {
            session: open.session,
            connection: open.connection,
            endpoint,
            kind: open.kind,
            spec: &open.spec,
        };
        let index = match self.router.open(now, &at_router) {
            Ok(index) => index,
            Err(error) => {
                common::warn_limited!(5, %endpoint, %error, "endpoint refused");
                self.free.push(slot);
                self.emit(Event::Transport { endpoint, state: TransportState::Failed });
                return;
            }
        };
        let saved = open.adoption.take().map(|adoption| {
            self.router.restore(now, index, &adoption.media);
            self.router.install_keys(index, adoption.sealer, adoption.opener);
            (adoption.ice, adoption.keys)
        });
        self.bind(now, endpoint, &open.binds);
        self.by_ufrag.insert(open.spec.local_ice.ufrag.as_bytes().into(), slot);
        self.by_endpoint.insert(endpoint, slot);
        let candidates = open.spec.remote_candidates.clone();
        self.peers[slot as usize] = Some(Peer::new(now, id, index, open, saved));
        self.add_candidates(now, slot, candidates);
        self.settle(slot);
    }

    fn bind(&mut self, now: Instant, endpoint: EndpointKey, binds: &[SlotBind]) {
        for bind in binds {
            if let Err(error) = self.router.bind(now, endpoint, *bind) {
                self.report.binds_refused += 1;
                tracing::debug!(%endpoint, %error, "slot not bound");
            }
        }
    }

    fn free_slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if self.peers.len() == PEERS_MAX {
            return None;
        }
        self.peers.push(None);
        self.lives.push(0);
        u32::try_from(self.peers.len() - 1).ok()
    }

    /// Takes everything of a peer away, and ends its DTLS association.
    fn remove(&mut self, endpoint: EndpointKey) {
        self.take_away(endpoint, |peer| Request::Close { peer: peer.id, to: peer.agent.selected() });
    }

    fn take_away(&mut self, endpoint: EndpointKey, end: impl FnOnce(&Peer) -> Request) {
        let Some(slot) = self.by_endpoint.remove(&endpoint) else { return };
        self.wheel.cancel(TimerKey(slot));
        let Some(peer) = self.peers[slot as usize].take() else { return };
        self.router.close(endpoint);
        for ufrag in &peer.ufrags {
            self.by_ufrag.remove(ufrag.as_bytes());
        }
        for address in &peer.addresses {
            if self.by_address.get(address) == Some(&slot) {
                self.forget_address(*address);
            }
        }
        if peer.phase != Phase::Waiting {
            self.cold.send(end(&peer));
        }
        self.free.push(slot);
    }

    fn checkpoint(&mut self, now: Instant, endpoint: EndpointKey, holds: u32) -> Option<Box<Checkpointed>> {
        let peer = self.peers[*self.by_endpoint.get(&endpoint)? as usize].as_ref()?;
        Some(Box::new(Checkpointed {
            ice: peer.agent.save()?,
            keys: peer.keys?,
            spec: (*peer.spec).clone(),
            media: self.router.checkpoint(now, endpoint, holds)?,
        }))
    }

    fn add_candidates(&mut self, now: Instant, slot: u32, candidates: Vec<Candidate>) {
        if let Some(peer) = self.peers[slot as usize].as_mut() {
            for candidate in candidates.into_iter().filter(|candidate| self.families.reach(candidate.address))
            {
                peer.agent.handle(now, ice::Input::Candidate(candidate));
            }
        }
    }

    fn restart(&mut self, now: Instant, slot: u32, local: IceCredentials, remote: IceCredentials) {
        let Some(peer) = self.peers[slot as usize].as_mut() else { return };
        self.by_ufrag.insert(local.ufrag.as_bytes().into(), slot);
        if let Some(oldest) = peer.add_ufrag(local.ufrag.clone()) {
            self.by_ufrag.remove(oldest.as_bytes());
        }
        peer.agent.handle(now, ice::Input::Restart { local, remote });
    }

    /// The address of a valid check leads to the peer from now on. The newest claim wins: a client whose address went to
    /// another one behind the same NAT does not send any more.
    fn learn_address(&mut self, slot: u32, address: SocketAddr) {
        let before = self.by_address.insert(address, slot);
        if before == Some(slot) {
            return;
        }
        if let Some(other) = before.and_then(|other| self.peers[other as usize].as_mut()) {
            other.addresses.retain(|known| *known != address);
        }
        let Some(peer) = self.peers[slot as usize].as_mut() else { return };
        if peer.addresses.len() == ADDRESSES_PER_PEER {
            let selected = peer.agent.selected();
            let victim = peer.addresses.iter().position(|known| Some(*known) != selected).unwrap_or(0);
            let victim = peer.addresses.remove(victim);
            peer.addresses.push(address);
            self.forget_address(victim);
            return;
        }
        peer.addresses.push(address);
    }

    fn forget_address(&mut self, address: SocketAddr) {
        self.by_address.remove(&address);
        for neighbour in &self.neighbours {
            // A worker that has no room keeps a stale entry; what it passes on is then dropped here.
            drop(neighbour.send(Command::Owner { address, worker: None }));
        }
    }

    // ---- one port for all workers

    /// Passes a datagram on if another worker has its peer. The kernel spreads clients over the sockets of a shared port
    /// by their addresses, not by who negotiated with them.
    fn pass_on(&mut self, source: SocketAddr, bytes: &[u8]) -> bool {
        let is_check = demux::kind(bytes) == Kind::Stun && !demux::is_stun_answer(bytes);
        let owner = if is_check {
            let ufrag = stun::peek_local_ufrag(bytes).filter(|ufrag| !self.by_ufrag.contains_key(*ufrag));
            ufrag.and_then(worker_of_ufrag)
        } else {
            self.foreign.get(&source).copied()
        };
        let Some(owner) = owner.filter(|owner| *owner != self.worker) else { return false };
        let Some(neighbour) = self.neighbours.get(usize::from(owner)) else { return false };
        let foreign = Command::Foreign { via: self.worker, source, bytes: bytes.to_vec() };
        if neighbour.send(foreign).is_ok() {
            self.report.passed_on += 1;
        }
        true
    }

    fn take_foreign(&mut self, now: Instant, via: u16, source: SocketAddr, bytes: &mut [u8]) {
        let known = self.by_address.contains_key(&source);
        self.take(now, source, bytes);
        if !known
            && self.by_address.contains_key(&source)
            && let Some(receiver) = self.neighbours.get(usize::from(via))
        {
            // Media follows the way of this check from now on. If this is lost, the next check repeats it.
            let owner = Command::Owner { address: source, worker: Some(self.worker) };
            if receiver.send(owner).is_err() {
                self.by_address.remove(&source);
            }
        }
    }

    fn learn_owner(&mut self, address: SocketAddr, worker: Option<u16>) {
        match worker {
            Some(worker) if self.foreign.len() < FOREIGN_MAX => drop(self.foreign.insert(address, worker)),
            Some(_) => {}
            None => drop(self.foreign.remove(&address)),
        }
    }

    fn take(&mut self, now: Instant, source: SocketAddr, bytes: &mut [u8]) {
        match demux::kind(bytes) {
            Kind::Media => self.receive_media(now, source, bytes),
            Kind::Stun => self.aside(|engine| engine.receive_stun(now, source, bytes)),
            Kind::Dtls => self.aside(|engine| engine.receive_dtls(now, source, bytes)),
            Kind::Unknown => self.report.unknown_kind += 1,
        }
    }

    /// Does what may allocate, for it is not done for each packet.
    fn aside(&mut self, work: impl FnOnce(&mut Self)) {
        let before = syscall::thread_allocations();
        work(self);
        self.other_allocations += syscall::thread_allocations() - before;
    }

    // ---- datagrams

    fn receive_stun(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let slot = if demux::is_stun_answer(bytes) {
            demux::stun_transaction_seed(bytes).map(|seed| seed & SLOT_MASK)
        } else {
            stun::peek_local_ufrag(bytes).and_then(|ufrag| self.by_ufrag.get(ufrag).copied())
        };
        let Some(slot) = slot else {
            self.report.stun_refused += 1;
            return;
        };
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else {
            self.report.stun_refused += 1;
            return;
        };
        let refused = peer.agent.counters().unauthentic;
        peer.agent.handle(now, ice::Input::Datagram { from: source, bytes });
        self.report.stun_refused += peer.agent.counters().unauthentic - refused;
        self.settle_stun(slot, Some(source));
    }

    fn receive_dtls(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let slot = self.by_address.get(&source).copied();
        let peer = slot.and_then(|slot| self.peers[slot as usize].as_mut());
        let Some(peer) = peer else {
            self.report.dtls_refused += 1;
            return;
        };
        if !peer.may_shake(now) {
            self.report.dtls_refused += 1;
            return;
        }
        peer.dtls_from = Some(source);
        Self::begin_dtls(&self.cold, peer);
        if !self.cold.send(Request::Datagram { peer: peer.id, bytes: bytes.to_vec() }) {
            self.report.dtls_refused += 1;
        }
    }

    /// Starts the handshake if it was not.
    fn begin_dtls(cold: &ColdHandle, peer: &mut Peer) {
        if peer.phase == Phase::Waiting {
            let request =
                Request::Start { peer: peer.id, role: peer.dtls, fingerprints: peer.fingerprints.clone() };
            if cold.send(request) {
                peer.phase = Phase::Shaking;
            }
        }
    }

    fn receive_media(&mut self, now: Instant, source: SocketAddr, bytes: &mut [u8]) {
        let Some(&slot) = self.by_address.get(&source) else {
            self.report.media_refused += 1;
            return;
        };
        let Some(peer) = self.peers[slot as usize].as_mut() else { return };
        if peer.phase != Phase::Keyed {
            self.aside(|engine| engine.hold_early(slot, bytes));
            return;
        }
        if self.router.receive(now, peer.index, bytes).is_authentic() {
            peer.agent.note_media(now, source);
            if let Some(output) = peer.agent.poll_output() {
                self.aside(|engine| {
                    engine.carry_out(slot, output, None);
                    engine.settle(slot);
                });
            }
        }
    }

    fn hold_early(&mut self, slot: u32, bytes: &[u8]) {
        if !self.peers[slot as usize].as_mut().is_some_and(|peer| peer.hold_early(bytes)) {
            self.report.media_refused += 1;
        }
    }

    // ---- outputs

    /// Carries out what a peer's agent wants, and files its next deadline.
    fn settle(&mut self, slot: u32) {
        self.settle_stun(slot, None);
    }

    fn settle_stun(&mut self, slot: u32, checked_from: Option<SocketAddr>) {
        while let Some(output) = self.peers[slot as usize].as_mut().and_then(|peer| peer.agent.poll_output())
        {
            self.carry_out(slot, output, checked_from);
        }
        match self.peers[slot as usize].as_ref().and_then(|peer| peer.agent.deadline()) {
            Some(at) => self.wheel.set(TimerKey(slot), at),
            None => self.wheel.cancel(TimerKey(slot)),
        }
    }

    fn carry_out(&mut self, slot: u32, output: ice::Output, checked_from: Option<SocketAddr>) {
        match output {
            ice::Output::Transmit { to, bytes } => {
                if checked_from == Some(to) {
                    // The agent answers only checks with our credentials.
                    self.learn_address(slot, to);
                }
                self.transmit(to, &bytes);
            }
            ice::Output::Selected(address) => {
                self.learn_address(slot, address);
                if let Some(peer) = self.peers[slot as usize].as_mut() {
                    Self::begin_dtls(&self.cold, peer);
                    self.router.set_destination(peer.index, Some(address));
                }
            }
            ice::Output::State(_) => self.report_transport(slot),
        }
    }

    fn transmit(&mut self, to: SocketAddr, bytes: &[u8]) {
        if !self.tx.push(to, bytes) {
            self.report.tx_full += 1;
        }
    }

    /// Reports the state of a transport if it changed; a failed one goes.
    fn report_transport(&mut self, slot: u32) {
        let Some(peer) = self.peers[slot as usize].as_mut() else { return };
        let state = peer.transport_state();
        if state == peer.reported {
            return;
        }
        peer.reported = state;
        let endpoint = peer.endpoint;
        self.emit(Event::Transport { endpoint, state });
        if state == TransportState::Failed {
            self.remove(endpoint);
        }
    }

    fn turn_agent(&mut self, now: Instant, slot: u32) {
        if let Some(peer) = self.peers[slot as usize].as_mut() {
            peer.agent.handle(now, ice::Input::Tick);
            self.settle(slot);
        }
    }

    fn end(&mut self, slot: u32, state: TransportState) {
        if let Some(peer) = self.peers[slot as usize].as_ref() {
            let endpoint = peer.endpoint;
            self.emit(Event::Transport { endpoint, state });
            self.remove(endpoint);
        }
    }

    fn take_verdict(&mut self, now: Instant, id: PeerId, verdict: Verdict) {
        if let Verdict::Transmit { bytes, to: Some(to) } = &verdict {
            self.transmit(*to, bytes);
            return;
        }
        let Some(peer) = self.peers.get_mut(id.slot as usize).and_then(Option::as_mut) else { return };
        if peer.id != id {
            return;
        }
        match verdict {
            Verdict::Transmit { bytes, .. } => {
                if let Some(to) = peer.agent.selected().or(peer.dtls_from) {
                    self.transmit(to, &bytes);
                }
            }
            Verdict::Keys(keyed) => {
                peer.phase = Phase::Keyed;
                peer.keys = Some(keyed.keys);
                let index = peer.index;
                let early = std::mem::take(&mut peer.early);
                self.router.install_keys(index, keyed.sealer, keyed.opener);
                for mut bytes in early {
                    // The router counts what it does not take.
                    let _counted = self.router.receive(now, index, &mut bytes);
                }
                self.report_transport(id.slot);
            }
            Verdict::Failed => self.end(id.slot, TransportState::Failed),
            Verdict::Closed => self.end(id.slot, TransportState::Closed),
        }
    }

    // ---- events

    fn emit(&mut self, event: Event) {
        if self.waiting.len() == EVENTS_WAITING_MAX {
            self.waiting.pop_front();
            self.report.events_lost += 1;
        }
        self.waiting.push_back(event);
    }

    fn pass_events_on(&mut self) {
        while let Some(event) = self.router.poll_event() {
            self.emit(Event::Router(event));
        }
        while let Some(event) = self.waiting.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                return;
            }
        }
    }
}

/// The worker's number at the front of our fragments, see `control::negotiation`.
fn worker_of_ufrag(ufrag: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(ufrag.get(..2)?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// Bits of a transaction's seed that hold the peer's slot; the rest holds its life.
const SLOT_MASK: u32 = PEERS_MAX as u32 - 1;
const _: () = assert!(PEERS_MAX.is_power_of_two());

/// What an agent puts in front of its transaction ids, so that answers find it.
pub(super) const fn transaction_seed(id: PeerId) -> u32 {
    id.slot | id.life.wrapping_mul(PEERS_MAX as u32)
}

impl Engine for MediaEngine {
    type Command = Command;
    type Report = EngineReport;

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Open(open) => self.open(now, *open),
            Command::Candidates { endpoint, candidates } => {
                if let Some(&slot) = self.by_endpoint.get(&endpoint) {
                    self.add_candidates(now, slot, candidates);
                    self.settle(slot);
                }
            }
            Command::Restart { endpoint, local, remote, candidates } => {
                if let Some(&slot) = self.by_endpoint.get(&endpoint) {
                    self.restart(now, slot, local, remote);
                    self.add_candidates(now, slot, candidates);
                    self.settle(slot);
                }
            }
            Command::Checkpoint { endpoint, holds, reply } => {
                let saved = self.checkpoint(now, endpoint, holds);
                // Who asked may have given up.
                drop(reply.send(saved));
            }
            Command::Look { look, reply } => {
                let seen = self.router.look(now, &look);
                // Who looked may have given up.
                drop(reply.send(Box::new(seen)));
            }
            Command::Counters { session, reply } => {
                // Who asked may have given up.
                drop(reply.send(self.router.session_counters(session, now)));
            }
            Command::Release { endpoint } => {
                self.take_away(endpoint, |peer| Request::Forget { peer: peer.id });
            }
            Command::Close { endpoint } => self.remove(endpoint),
            Command::CloseSession { session, endpoints } => {
                endpoints.into_iter().for_each(|endpoint| self.remove(endpoint));
                self.router.close_session(session);
            }
            Command::Bind(bind) => self.bind(now, bind.endpoint, &bind.binds),
            Command::Permit(permit) => self.router.permit(now, &permit),
            Command::Neighbours(neighbours) => self.neighbours = neighbours,
            Command::Foreign { via, source, mut bytes } => self.take_foreign(now, via, source, &mut bytes),
            Command::Owner { address, worker } => self.learn_owner(address, worker),
            Command::Cold { peer, verdict } => self.take_verdict(now, peer, verdict),
        }
    }

    fn datagram(&mut self, now: Instant, source: SocketAddr, bytes: &mut [u8]) {
        let mut passed_on = false;
        if !self.neighbours.is_empty() {
            self.aside(|engine| passed_on = engine.pass_on(source, bytes));
        }
        if !passed_on {
            self.take(now, source, bytes);
        }
    }

    fn tick(&mut self, now: Instant) {
        while let Some(TimerKey(slot)) = self.wheel.expired(now) {
            self.aside(|engine| engine.turn_agent(now, slot));
        }
        self.router.tick(now);
        self.aside(Self::pass_events_on);
    }

    fn other_allocations(&self) -> u64 {
        self.other_allocations
    }

    fn flush(&mut self, now: Instant, wire: &mut impl Wire) {
        loop {
            let flush = self.router.flush(now, &mut self.tx);
            if !self.tx.is_empty() {
                let outgoing = self.tx.datagrams().iter().map(|datagram| Outgoing {
                    destination: datagram.dest,
                    offset: datagram.offset as usize,
                    length: usize::from(datagram.len),
                });
                wire.send(self.tx.area(), outgoing);
                self.tx.clear();
            }
            if flush == Flush::Done {
                return;
            }
        }
    }

    fn awaits(&self) -> bool {
        self.router.awaits()
    }

    fn next_in(&self, now: Instant) -> Option<Duration> {
        let router = self.router.deadline(now).map(|at| at.saturating_duration_since(now));
        // What control had no room for is offered again soon.
        let retry = (!self.waiting.is_empty()).then_some(Duration::from_millis(5));
        [self.wheel.next_in(now), router, retry].into_iter().flatten().min()
    }

    fn report(&self, report: &mut EngineReport) {
        *report = self.report;
        report.peers = self.by_endpoint.len() as u64;
        report.connected =
            self.peers.iter().flatten().filter(|peer| peer.reported == TransportState::Connected).count()
                as u64;
        report.router = *self.router.totals();
    }
}
