//! Pure: no clock, no I/O, no async.
//!
//! A small full ICE agent (RFC 8445) of one component on one socket, with consent (RFC 7675) and ways to move a call
//! to another node. What it does differently from the book, and why, was measured with browsers:
//! - it takes the controlling role even if the client made the offer (tie-breaker 2^64 - 1), because a controlled
//!   browser follows a nomination within milliseconds; the browser's own controlling checks are answered as usual;
//! - its checks carry USE-CANDIDATE and libwebrtc's nomination number, and a priority that rises with the node's
//!   generation: either one moves a browser (Chromium, Firefox) to a new node;
//! - authentic media proves life like a check does, and the client is followed to whatever address it sends from;
//! - as the controlled side, or as ICE-lite, it follows the newest nomination.
//!
//! Only checks with valid credentials are answered, at a bounded rate for each address, by packets that are shorter.
//! The agent never sends to an address more than a few checks before that address has answered.

mod pair;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::limits::REMOTE_CANDIDATES_MAX;
use serde::{Deserialize, Serialize};

use self::pair::{Pair, Plan};
use super::spec::{Candidate, IceCredentials};
use super::stun::{self, Class, IntegrityKey, Message, RoleClaim, TransactionId};

/// Priority of our candidate on the node that had the endpoint first. Far below a browser's own host candidates, so
/// that the priority of a pair is ranked by our number.
const PRIORITY_FIRST: u32 = 0x1000_0000;

/// How much each later node adds: strictly rising, never equal.
const PRIORITY_STEP: u32 = 0x0001_0000;

/// Addresses of one client that are kept, learnt ones included.
const PAIRS_MAX: usize = REMOTE_CANDIDATES_MAX + 16;

/// Requests that may be waiting for an answer; older ones are forgotten.
const TRANSACTIONS_MAX: usize = 32;

/// Pause between a take-over's checks, and how many are sent at that pace.
const TAKEOVER_PAUSE: Duration = Duration::from_millis(50);
const TAKEOVER_CHECKS: u8 = 20;

/// Pause between a take-over's later checks.
const TAKEOVER_PAUSE_LATE: Duration = Duration::from_secs(1);

/// Pause between checks of a selected pair that does not answer.
const REPAIR_PAUSE: Duration = Duration::from_millis(500);

/// A selected address that was silent for so long is given up for another one that was heard since.
const SILENCE: Duration = Duration::from_secs(3);

/// Media from another address within this time after a switch is late, not a move.
const SWITCH_PAUSE: Duration = Duration::from_millis(300);

/// How often a nomination is repeated while the client checks the pair itself.
const RENOMINATIONS_MAX: u8 = 4;

/// How long the credentials before an ICE restart are still answered.
const RESTART_OVERLAP: Duration = Duration::from_secs(10);

/// Priority of our candidate at a node generation, for the SDP and for checks.
pub const fn candidate_priority(generation: u16) -> u32 {
    PRIORITY_FIRST + generation as u32 * PRIORITY_STEP
}

/// Who nominates (RFC 8445 section 6.1.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Role {
    /// The client does.
    Controlled,
    /// We do.
    Controlling,
}

/// Timing and mode.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Never send checks; the client must be controlling (`a=ice-lite`).
    pub lite: bool,
    /// Least time between two checks (RFC 8445 section 14.2: Ta).
    pub pace: Duration,
    /// Pause between checks of a pair in use.
    pub keepalive: Duration,
    /// Silence after which the state is [`State::Disconnected`].
    pub disconnected_after: Duration,
    /// Silence after which the agent gives up.
    pub failed_after: Duration,
    /// Time to the first connection after which the agent gives up.
    pub connect_timeout: Duration,
    /// Wins role conflicts when higher.
    pub tie_breaker: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lite: false,
            pace: Duration::from_millis(20),
            keepalive: Duration::from_millis(2500),
            disconnected_after: Duration::from_secs(5),
            failed_after: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(30),
            tie_breaker: u64::MAX,
        }
    }
}

impl Settings {
    /// ICE-lite: the client's checks are the only sign of life beside media, and Firefox sends one every 5 s.
    pub fn lite() -> Self {
        Self { lite: true, disconnected_after: Duration::from_secs(12), ..Self::default() }
    }
}

/// State of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// No pair was selected yet.
    Checking,
    /// The selected pair lives.
    Connected,
    /// The selected pair is silent.
    Disconnected,
    /// Given up; the agent does nothing any more.
    Failed,
}

/// What may happen to an agent.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A candidate of the client became known.
    Candidate(Candidate),
    /// A datagram whose first byte is 0 to 3.
    Datagram {
        /// Its source.
        from: SocketAddr,
        /// Its content.
        bytes: &'a [u8],
    },
    /// Take over from the node that had the endpoint: nominate ourselves until the client is heard.
    Promote,
    /// The client's credentials became known (we made the offer).
    Remote(IceCredentials),
    /// ICE restart with new credentials of both sides. The selected pair carries media until another one is
    /// selected.
    Restart {
        /// Ours.
        local: IceCredentials,
        /// The client's.
        remote: IceCredentials,
    },
    /// The deadline has come.
    Tick,
}

/// What an agent wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Media goes here from now on.
    Selected(SocketAddr),
    /// The state changed.
    State(State),
    /// Send this STUN message.
    Transmit {
        /// Where.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
}

/// What was dropped or went wrong, counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Malformed, or with unknown or wrong credentials.
    pub unauthentic: u64,
    /// Over an address's rate, or more addresses than are kept.
    pub over_limit: u64,
    /// Role conflicts that were resolved.
    pub role_conflicts: u64,
    /// Times that the client was followed to another address.
    pub moves: u64,
}

/// What a successor needs of an agent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SavedIce {
    /// Our credentials.
    pub local: IceCredentials,
    /// The client's.
    pub remote: IceCredentials,
    /// Who nominates.
    pub role: Role,
    /// Which node since the beginning this one is, from 0.
    pub generation: u16,
    /// Where media goes.
    pub selected: Option<SocketAddr>,
}

/// Credentials of one side, ready for use.
#[derive(Debug)]
struct Side {
    credentials: IceCredentials,
    key: IntegrityKey,
}

impl Side {
    fn new(credentials: IceCredentials) -> Self {
        let key = IntegrityKey::new(&credentials.password);
        Self { credentials, key }
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Transaction {
    id: TransactionId,
    to: SocketAddr,
}

/// Whether this agent has the endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// It has.
    Active,
    /// It nominates itself; `checks` were sent so far.
    TakingOver { checks: u8 },
    /// It keeps a pair warm and waits for [`Input::Promote`].
    Standby,
}

/// The agent of one endpoint.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    local: Side,
    remote: Option<Side>,
    /// Credentials before an ICE restart, and when they end.
    previous: Option<(Side, Instant)>,
    role: Role,
    mode: Mode,
    generation: u16,
    /// Our nominations so far; the client's highest number as the controlled side.
    nominations: u32,
    /// Times that the present nomination was repeated.
    renominations: u8,
    pairs: Vec<Pair>,
    selected: Option<usize>,
    /// ICE was restarted and nothing was nominated since.
    restarted: bool,
    switched_at: Option<Instant>,
    state: State,
    /// When the present attempt to connect began.
    began_at: Instant,
    paced_at: Instant,
    transactions: VecDeque<Transaction>,
    transaction_seed: u32,
    transaction_next: u64,
    counters: Counters,
    outputs: VecDeque<Output>,
}

impl Agent {
    /// An agent that has its endpoint. `remote` is unknown until [`Input::Remote`] where we made the offer. `seed`
    /// makes transaction ids differ between agents.
    pub fn new(
        now: Instant,
        settings: Settings,
        local: IceCredentials,
        remote: Option<IceCredentials>,
        seed: u32,
    ) -> Self {
        let role = if settings.lite { Role::Controlled } else { Role::Controlling };
        Self {
            settings,
            local: Side::new(local),
            remote: remote.map(Side::new),
            previous: None,
            role,
            mode: Mode::Active,
            generation: 0,
            nominations: 0,
            renominations: 0,
            pairs: Vec::new(),
            selected: None,
            restarted: false,
            switched_at: None,
            state: State::Checking,
            began_at: now,
            paced_at: now,
            transactions: VecDeque::new(),
            transaction_seed: seed,
            transaction_next: 0,
            counters: Counters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// An agent that keeps itself ready to take an endpoint over, at the next generation. It answers checks, sends
    /// its own without nomination at the keep-alive's pace, and selects nothing before [`Input::Promote`].
    pub fn standby(now: Instant, settings: Settings, saved: SavedIce, seed: u32) -> Self {
        let mut agent = Self::new(now, settings, saved.local, Some(saved.remote), seed);
        agent.role = saved.role;
        agent.generation = saved.generation.saturating_add(1);
        agent.mode = Mode::Standby;
        if let Some(address) = saved.selected {
            let at = agent.pair_of(now, address, 0);
            if let Some(pair) = at.and_then(|at| agent.pairs.get_mut(at)) {
                pair.trigger(now);
            }
        }
        agent
    }

    /// [`Self::standby`] and [`Input::Promote`] in one: the outputs name the client's last address and hold the
    /// first check to it.
    pub fn adopt(now: Instant, settings: Settings, saved: SavedIce, seed: u32) -> Self {
        let mut agent = Self::standby(now, settings, saved, seed);
        agent.handle(now, Input::Promote);
        agent
    }

    /// Takes one input; drain [`Self::poll_output`] afterwards.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.state == State::Failed {
            return;
        }
        match input {
            Input::Candidate(candidate) => self.add_candidate(now, candidate),
            Input::Datagram { from, bytes } => self.receive(now, from, bytes),
            Input::Promote => self.promote(now),
            Input::Remote(credentials) => {
                self.remote = Some(Side::new(credentials));
                self.pairs.iter_mut().for_each(|pair| pair.trigger(now));
            }
            Input::Restart { local, remote } => self.restart(now, local, remote),
            Input::Tick => {}
        }
        self.run_timers(now);
    }

    /// Authentic media came from `from`: a sign of life, and maybe a new address. Cheap for the selected address.
    pub fn note_media(&mut self, now: Instant, from: SocketAddr) {
        let selected = self.selected.and_then(|at| self.pairs.get_mut(at));
        if let Some(pair) = selected.filter(|pair| pair.remote == from) {
            pair.heard_at = Some(now);
            pair.media_at = Some(now);
            if self.state == State::Connected && self.mode == Mode::Active {
                return;
            }
        }
        if self.state == State::Failed {
            return;
        }
        let Some(at) = self.pair_of(now, from, 0) else { return };
        let pair = &mut self.pairs[at];
        pair.media_at = Some(now);
        if !pair.valid && pair.check_at.is_none() {
            pair.trigger(now);
        }
        self.heard(now, at);
        self.run_timers(now);
    }

    /// Next output, until none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        if self.state == State::Failed {
            return None;
        }
        let checks = self.pairs.iter().filter_map(|pair| pair.check_at).min();
        let checks = checks.filter(|_| self.sends_checks()).map(|at| at.max(self.paced_at));
        [checks, self.liveness_deadline()].into_iter().flatten().min()
    }

    /// Present state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Where media goes.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected.map(|at| self.pairs[at].remote)
    }

    /// Our fragment.
    pub fn local_ufrag(&self) -> &str {
        &self.local.credentials.ufrag
    }

    /// Priority that our candidate has in an SDP.
    pub const fn priority(&self) -> u32 {
        candidate_priority(self.generation)
    }

    /// What was dropped or went wrong.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What a successor needs; none before the client's credentials are known.
    pub fn save(&self) -> Option<SavedIce> {
        Some(SavedIce {
            local: self.local.credentials.clone(),
            remote: self.remote.as_ref()?.credentials.clone(),
            role: self.role,
            generation: self.generation,
            selected: self.selected(),
        })
    }

    fn add_candidate(&mut self, now: Instant, candidate: Candidate) {
        if !is_reachable(candidate.address) {
            self.counters.over_limit += 1;
            return;
        }
        let Some(at) = self.pair_of(now, candidate.address, candidate.priority) else { return };
        let pair = &mut self.pairs[at];
        if !pair.valid && pair.check_at.is_none() {
            pair.trigger(now);
        }
    }

    /// The pair of an address; made if there is room, at the cost of one that never answered.
    fn pair_of(&mut self, now: Instant, remote: SocketAddr, priority: u32) -> Option<usize> {
        if let Some(at) = self.pairs.iter().position(|pair| pair.remote == remote) {
            let pair = &mut self.pairs[at];
            pair.priority = pair.priority.max(priority);
            return Some(at);
        }
        let fresh = Pair::new(now, remote, priority);
        if self.pairs.len() < PAIRS_MAX {
            self.pairs.push(fresh);
            return Some(self.pairs.len() - 1);
        }
        let selected = self.selected;
        let idle = |(at, pair): &(usize, &Pair)| Some(*at) != selected && !pair.heard_within(now, SILENCE);
        let victim = self.pairs.iter().enumerate().filter(idle).min_by_key(|(_, pair)| pair.heard_at);
        let Some((at, _)) = victim else {
            self.counters.over_limit += 1;
            return None;
        };
        self.pairs[at] = fresh;
        Some(at)
    }

    fn promote(&mut self, now: Instant) {
        if self.mode != Mode::Standby {
            return;
        }
        self.mode = Mode::TakingOver { checks: 0 };
        self.began_at = now;
        self.nominations += 1;
        // The address heard last, else the only one known.
        let newest = self.pairs.iter().enumerate().max_by_key(|(_, pair)| pair.heard_at).map(|(at, _)| at);
        if let Some(at) = newest {
            self.pairs[at].trigger(now);
            self.select(now, at);
        }
        self.paced_at = now;
    }

    fn restart(&mut self, now: Instant, local: IceCredentials, remote: IceCredentials) {
        let old = std::mem::replace(&mut self.local, Side::new(local));
        self.previous = Some((old, now + RESTART_OVERLAP));
        self.remote = Some(Side::new(remote));
        // A restart may decide the roles again: claim ours again.
        self.role = if self.settings.lite { Role::Controlled } else { Role::Controlling };
        self.restarted = true;
        self.transactions.clear();
        for pair in &mut self.pairs {
            pair.valid = false;
            pair.nominated = false;
            pair.trigger(now);
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else {
            self.counters.unauthentic += 1;
            return;
        };
        match message.class {
            Class::Request => self.receive_check(now, from, &message),
            Class::Success | Class::Error => self.receive_answer(now, from, &message),
            // Keeps a NAT binding open, proves nothing.
            Class::Indication => {}
        }
    }

    fn receive_check(&mut self, now: Instant, from: SocketAddr, message: &Message<'_>) {
        let Some(key) = self.key_for(now, message) else {
            self.counters.unauthentic += 1;
            return;
        };
        let Some(at) = self.pair_of(now, from, message.priority.unwrap_or(0)) else { return };
        if !self.pairs[at].may_answer(now) {
            self.counters.over_limit += 1;
            return;
        }
        let answer = if self.settle_roles(message.role) {
            stun::write_success(message.transaction, from, &key)
        } else {
            stun::write_error(message.transaction, 487, &key)
        };
        self.outputs.push_back(Output::Transmit { to: from, bytes: answer });
        let pair = &mut self.pairs[at];
        if self.settings.lite {
            pair.valid = true;
        } else if !pair.valid && (pair.check_at.is_none() || pair.unanswered > 1) {
            pair.trigger(now);
        }
        self.heard(now, at);
        if message.use_candidate && self.role == Role::Controlled {
            self.follow_nomination(now, at, message.nomination);
        }
        self.repeat_nomination(now, at);
    }

    /// Firefox forgets a nomination that came before its own first check of the pair, and would wait for the next
    /// keep-alive, seconds away: while the client still checks the pair, it is told again.
    fn repeat_nomination(&mut self, now: Instant, at: usize) {
        let told = self.role == Role::Controlling && self.selected == Some(at) && self.mode == Mode::Active;
        if told && self.renominations < RENOMINATIONS_MAX {
            self.renominations += 1;
            self.pairs[at].check_at = Some(now);
        }
    }

    /// Our key, if the check names our fragment and was made with our password.
    fn key_for(&self, now: Instant, message: &Message<'_>) -> Option<IntegrityKey> {
        let (ours, _) = message.fragments()?;
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until).map(|(side, _)| side);
        let side =
            std::iter::once(&self.local).chain(previous).find(|side| side.credentials.ufrag == ours)?;
        message.verify(&side.key).then(|| side.key.clone())
    }

    /// Resolves a role conflict (RFC 8445 section 7.3.1.1); false if the client has to change its role first.
    fn settle_roles(&mut self, claim: Option<RoleClaim>) -> bool {
        let ours = self.settings.tie_breaker;
        match (self.role, claim) {
            (Role::Controlling, Some(RoleClaim::Controlling(theirs))) if theirs > ours => {
                self.change_role(Role::Controlled);
                true
            }
            // Our own check tells the client to yield; a refusal here would only delay it.
            (Role::Controlling, Some(RoleClaim::Controlling(_))) => true,
            (Role::Controlled, Some(RoleClaim::Controlled(_))) if self.settings.lite => true,
            (Role::Controlled, Some(RoleClaim::Controlled(theirs))) if ours >= theirs => {
                self.change_role(Role::Controlling);
                true
            }
            (Role::Controlled, Some(RoleClaim::Controlled(_))) => false,
            (Role::Controlled, Some(RoleClaim::Controlling(_)) | None)
            | (Role::Controlling, Some(RoleClaim::Controlled(_)) | None) => true,
        }
    }

    fn receive_answer(&mut self, now: Instant, from: SocketAddr, message: &Message<'_>) {
        let known = |open: &Transaction| open.id == message.transaction && open.to == from;
        let Some(which) = self.transactions.iter().position(known) else { return };
        if !self.remote.as_ref().is_some_and(|remote| message.verify(&remote.key)) {
            self.counters.unauthentic += 1;
            return;
        }
        self.transactions.remove(which);
        let Some(at) = self.pairs.iter().position(|pair| pair.remote == from) else { return };
        if message.class == Class::Error {
            self.receive_refusal(now, at, message.error);
            return;
        }
        let keepalive = self.settings.keepalive;
        let wanted = self.selected == Some(at) || self.selected.is_none() || self.mode == Mode::Standby;
        let pair = &mut self.pairs[at];
        pair.valid = true;
        pair.unanswered = 0;
        pair.check_at = wanted.then(|| now + keepalive);
        self.heard(now, at);
        let nominated = std::mem::take(&mut self.pairs[at].nominated);
        let first = self.selected.is_none() || self.restarted;
        let chosen = match self.role {
            Role::Controlled => nominated,
            Role::Controlling => self.mode == Mode::Active && first,
        };
        if chosen {
            self.nominate(now, at);
        }
    }

    fn receive_refusal(&mut self, now: Instant, at: usize, error: Option<u16>) {
        // RFC 8445 section 7.2.5.1. Any other error says nothing about the pair that silence would not.
        if error == Some(487) && !self.settings.lite {
            self.change_role(match self.role {
                Role::Controlled => Role::Controlling,
                Role::Controlling => Role::Controlled,
            });
            self.pairs[at].trigger(now);
        }
    }

    fn change_role(&mut self, role: Role) {
        self.counters.role_conflicts += 1;
        self.role = role;
        // The numbers of one side mean nothing to the other.
        self.nominations = 0;
    }

    /// The client nominated a pair (we are controlled).
    fn follow_nomination(&mut self, now: Instant, at: usize, number: Option<u32>) {
        let newer = number.is_none_or(|number| number >= self.nominations);
        if !newer || self.mode == Mode::Standby {
            return;
        }
        self.nominations = number.unwrap_or(self.nominations);
        if self.pairs[at].valid {
            self.select(now, at);
        } else {
            self.pairs[at].nominated = true;
        }
    }

    /// Selects a pair and, as the controlling side, tells the client at once.
    fn nominate(&mut self, now: Instant, at: usize) {
        self.restarted = false;
        if self.role == Role::Controlling {
            self.nominations += 1;
            self.renominations = 0;
            self.pairs[at].check_at = Some(now);
            self.paced_at = now;
        }
        self.select(now, at);
    }

    fn select(&mut self, now: Instant, at: usize) {
        if self.selected == Some(at) {
            return;
        }
        if self.selected.is_some() {
            self.counters.moves += 1;
        }
        self.selected = Some(at);
        self.switched_at = Some(now);
        self.outputs.push_back(Output::Selected(self.pairs[at].remote));
        self.update_state(now);
    }

    /// Something authentic came from a pair.
    fn heard(&mut self, now: Instant, at: usize) {
        self.pairs[at].heard_at = Some(now);
        if let Mode::TakingOver { .. } = self.mode {
            // The first address that speaks to us is the client's, whatever the predecessor knew.
            self.mode = Mode::Active;
            self.pairs[at].valid |= self.settings.lite;
            if self.selected != Some(at) {
                self.nominate(now, at);
            }
        } else if self.should_follow(now, at) {
            self.nominate(now, at);
        }
        self.update_state(now);
    }

    /// True if a pair that was just heard is where the client is now.
    fn should_follow(&self, now: Instant, at: usize) -> bool {
        let Some(current) = self.selected.filter(|current| *current != at) else { return false };
        let (current, pair) = (&self.pairs[current], &self.pairs[at]);
        if !pair.valid || self.mode != Mode::Active {
            return false;
        }
        let settled =
            self.switched_at.is_none_or(|since| now.saturating_duration_since(since) > SWITCH_PAUSE);
        let moved = pair.media_at.is_some() && pair.media_at > current.media_at;
        settled && (moved || !current.heard_within(now, SILENCE))
    }

    fn run_timers(&mut self, now: Instant) {
        if self.previous.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.previous = None;
        }
        self.update_state(now);
        if !self.sends_checks() {
            return;
        }
        while now >= self.paced_at {
            // A wanted check goes before one of a higher priority that is only worth trying.
            let due = |pair: &&mut Pair| pair.check_at.is_some_and(|at| at <= now);
            let next = self.pairs.iter_mut().filter(due).max_by_key(|pair| (pair.heard_at, pair.priority));
            let Some(remote) = next.map(|pair| pair.remote) else { return };
            self.send_check(now, remote);
        }
    }

    fn sends_checks(&self) -> bool {
        let moving = self.mode != Mode::Active || self.generation > 0;
        self.remote.is_some() && self.state != State::Failed && (!self.settings.lite || moving)
    }

    fn send_check(&mut self, now: Instant, to: SocketAddr) {
        let Some(at) = self.pairs.iter().position(|pair| pair.remote == to) else { return };
        let Some(remote) = &self.remote else { return };
        let nominates = self.role == Role::Controlling && self.selected == Some(at);
        let tie_breaker = self.settings.tie_breaker;
        let (role, nomination) = match self.role {
            Role::Controlled => (RoleClaim::Controlled(tie_breaker), None),
            Role::Controlling => {
                let number = ((u32::from(self.generation) + 1) << 8) + self.nominations.min(0xff);
                (RoleClaim::Controlling(tie_breaker), nominates.then_some(number))
            }
        };
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.transaction_seed.to_be_bytes());
        id[4..].copy_from_slice(&self.transaction_next.to_be_bytes());
        self.transaction_next += 1;
        let check = stun::Check {
            transaction: TransactionId(id),
            remote_ufrag: &remote.credentials.ufrag,
            local_ufrag: &self.local.credentials.ufrag,
            priority: candidate_priority(self.generation),
            role,
            nomination,
        };
        let bytes = stun::write_check(&check, &remote.key);
        self.outputs.push_back(Output::Transmit { to, bytes });
        if self.transactions.len() >= TRANSACTIONS_MAX {
            self.transactions.pop_front();
        }
        self.transactions.push_back(Transaction { id: check.transaction, to });
        let plan = self.plan_after_check(at);
        self.pairs[at].sent(now, plan);
        self.paced_at = now + self.settings.pace;
    }

    fn plan_after_check(&mut self, at: usize) -> Plan {
        let unanswered = self.pairs[at].unanswered;
        match &mut self.mode {
            Mode::TakingOver { checks } => {
                *checks = checks.saturating_add(1);
                Plan::Every(if *checks < TAKEOVER_CHECKS { TAKEOVER_PAUSE } else { TAKEOVER_PAUSE_LATE })
            }
            Mode::Standby => Plan::Every(self.settings.keepalive),
            Mode::Active if self.selected == Some(at) => {
                // The first check of a series is the keep-alive itself; a lost one is repeated soon.
                Plan::Every(if unanswered < 8 { REPAIR_PAUSE } else { TAKEOVER_PAUSE_LATE })
            }
            Mode::Active if self.selected.is_some() && self.state == State::Connected => Plan::Connect,
            Mode::Active => Plan::Search,
        }
    }

    /// When the state may change without any input.
    fn liveness_deadline(&self) -> Option<Instant> {
        if self.mode == Mode::Standby {
            return None;
        }
        let since = self.silent_since();
        match self.state {
            State::Checking => Some(self.began_at + self.settings.connect_timeout),
            State::Connected => Some(since + self.settings.disconnected_after),
            State::Disconnected => Some(since + self.settings.failed_after),
            State::Failed => None,
        }
    }

    /// Since when the selected address is silent.
    fn silent_since(&self) -> Instant {
        let heard = self.selected.and_then(|at| self.pairs[at].heard_at);
        heard.unwrap_or(self.began_at)
    }

    fn update_state(&mut self, now: Instant) {
        if self.mode == Mode::Standby {
            return;
        }
        let heard = self.selected.is_some_and(|at| self.pairs[at].heard_at.is_some());
        let silent = now.saturating_duration_since(self.silent_since());
        let next = if !heard {
            let expired = now.saturating_duration_since(self.began_at) >= self.settings.connect_timeout;
            if expired { State::Failed } else { self.state }
        } else if silent >= self.settings.failed_after {
            State::Failed
        } else if silent >= self.settings.disconnected_after {
            State::Disconnected
        } else {
            State::Connected
        };
        if next == self.state || self.state == State::Failed {
            return;
        }
        self.state = next;
        self.outputs.push_back(Output::State(next));
        if next == State::Disconnected {
            // Any address may be where the client is now.
            self.pairs.iter_mut().for_each(|pair| pair.trigger(now));
        }
    }
}

/// True if a candidate's address is one that a client can have.
fn is_reachable(address: SocketAddr) -> bool {
    let odd = match address.ip() {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast() && !odd
}
