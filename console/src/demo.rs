//! Pure: no clock, no I/O, no async.
//!
//! A made-up cluster: sessions open, fill, empty and close, nodes get busy, are lost and come back, drains move
//! sessions. Equal seeds and equal steps give equal clusters.

#![expect(clippy::wildcard_enum_match_arm, reason = "other states look alike")]

mod cast;
mod hub;
mod operate;

use common::id::{NodeKey, SessionKey};
use common::operator::Listing;
use common::wire::node::{Load, Role};
use common::wire::operator::{
    DecisionRow, EventRow, EventSubject, NodeDetail, NodeRow, RecordingRow, SessionDetail, SessionRow,
    Severity, Verdict,
};

pub use self::hub::Hub;
use crate::model::{NodeState, Welcome};
use crate::text::Clean;

/// 2026-11-22 14:00:00 UTC: the made-up clock's start.
const START_UNIX_MS: u64 = 1_795_356_000_000;

/// A lost node comes back after this long.
const AWAY_MS: u64 = 35_000;

/// Time from one loss of a node to the next.
const LOSS_EVERY_MS: u64 = 150_000;

/// Candidates of a decision that are kept.
const VERDICTS_MAX: usize = 10;

/// Mean load that a cluster of any size starts with.
const LOAD_TARGET: f64 = 0.52;

/// How large the cluster is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Media nodes.
    pub nodes: u16,
    /// Sessions, about.
    pub sessions: u32,
    /// For everything random.
    pub seed: u64,
}

/// The made-up cluster.
#[derive(Clone, Debug)]
pub struct World {
    random: Random,
    now_ms: u64,
    nodes: Vec<DemoNode>,
    sessions: Vec<DemoSession>,
    wanted: usize,
    /// Bits per second out that make a node full.
    capacity_bps: f64,
    next_session: u64,
    decisions: u64,
    recordings: Vec<RecordingRow>,
    /// What has happened and was not told yet.
    events: Vec<EventRow>,
}

#[derive(Clone, Debug)]
struct DemoNode {
    key: NodeKey,
    name: String,
    address: String,
    recorder: bool,
    state: NodeState,
    /// When it entered its state.
    since_ms: u64,
    /// Smoothed share of its capacity.
    load: f64,
    egress_bps: f64,
    ingress_bps: f64,
    /// Added for a while, so that something is hot.
    extra: f64,
    sessions: u32,
    endpoints: u32,
    streams: u32,
    last_report_ms: u64,
}

#[derive(Clone, Debug)]
struct DemoSession {
    key: SessionKey,
    name: String,
    node: usize,
    connections: u32,
    /// It grows up to this.
    connections_max: u32,
    created_ms: u64,
    until_ms: u64,
    decision: DecisionRow,
}

/// SplitMix64: small, and the same for ever.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below the bound.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % if bound == 0 { 1 } else { bound }
    }

    /// From 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }
}

impl World {
    /// A cluster that has been running for a while.
    #[must_use]
    pub fn new(size: Size) -> Self {
        let mut world = Self {
            random: Random::new(size.seed),
            now_ms: 4 * 3_600_000,
            nodes: Vec::new(),
            sessions: Vec::new(),
            wanted: usize::try_from(size.sessions).unwrap_or(usize::MAX),
            capacity_bps: f64::MAX,
            next_session: 1,
            decisions: 90_000,
            recordings: Vec::new(),
            events: Vec::new(),
        };
        for index in 0..size.nodes {
            world.add_node(index, false);
        }
        world.add_node(0, true);
        world.capacity_bps = expected_egress(size) / f64::from(size.nodes.max(1)) / LOAD_TARGET;
        for _ in 0..world.wanted {
            world.open_session();
        }
        for session in &mut world.sessions {
            session.created_ms = world.now_ms - world.random.below(3_600_000);
            session.connections = 1 + session.connections_max * 4 / 5;
        }
        if let Some(node) = world.nodes.get_mut(2) {
            node.extra = 0.22;
        }
        world.recount();
        for node in &mut world.nodes {
            node.load = node.egress_bps / world.capacity_bps;
        }
        world
    }

    fn add_node(&mut self, index: u16, recorder: bool) {
        let (name, address) = if recorder {
            (format!("rec-{}", index + 1), format!("10.8.1.{}", index + 1))
        } else {
            (format!("media-{:03}", index + 1), format!("10.8.{}.{}", index / 250, index % 250 + 11))
        };
        let key = NodeKey(self.random.next() >> 16);
        self.nodes.push(DemoNode {
            key,
            name,
            address: format!("{address}:7443"),
            recorder,
            state: NodeState::Running,
            since_ms: self.now_ms,
            load: 0.0,
            egress_bps: 0.0,
            ingress_bps: 0.0,
            extra: 0.0,
            sessions: 0,
            endpoints: 0,
            streams: 0,
            last_report_ms: self.now_ms,
        });
    }

    /// Whom one talks to.
    #[must_use]
    pub fn welcome(still: bool) -> Welcome {
        Welcome {
            cluster: Clean::new("demo"),
            program: Clean::new("made-up master"),
            operator: Clean::new("you (admin)"),
            may_act: true,
            may_admin: true,
            still,
        }
    }

    /// A second goes by.
    pub fn step(&mut self) {
        self.now_ms += 1000;
        self.step_nodes();
        self.step_sessions();
        self.recount();
        self.step_loads();
    }

    fn step_nodes(&mut self) {
        let media = self.nodes.iter().filter(|node| !node.recorder).count();
        if self.now_ms.is_multiple_of(LOSS_EVERY_MS) && media > 1 {
            let index = usize::try_from(self.random.below(media as u64)).unwrap_or(0);
            if self.nodes[index].state == NodeState::Running {
                self.set_state(index, NodeState::Lost);
                self.evacuate(index, usize::MAX);
            }
        }
        for index in 0..self.nodes.len() {
            let away = self.now_ms - self.nodes[index].since_ms;
            match self.nodes[index].state {
                NodeState::Lost if away >= AWAY_MS => self.set_state(index, NodeState::Launching),
                NodeState::Launching if away >= 6_000 => self.set_state(index, NodeState::Running),
                NodeState::Draining => self.evacuate(index, 2),
                NodeState::Canceled
                | NodeState::Failed
                | NodeState::Launching
                | NodeState::Lost
                | NodeState::Running
                | NodeState::Terminated
                | NodeState::Terminating
                | NodeState::Unknown => {}
            }
            if self.random.below(90) == 0 {
                self.nodes[index].extra = if self.random.below(3) == 0 { 0.28 } else { 0.0 };
            }
        }
    }

    fn set_state(&mut self, index: usize, state: NodeState) {
        let before = std::mem::replace(&mut self.nodes[index].state, state);
        self.nodes[index].since_ms = self.now_ms;
        let severity = match state {
            NodeState::Lost | NodeState::Failed => Severity::Crit,
            NodeState::Draining => Severity::Warn,
            _ => Severity::Info,
        };
        let (key, name) = (self.nodes[index].key, self.nodes[index].name.clone());
        let kind = format!("node.{}", state.word().to_lowercase());
        let text = format!("was {}", before.word().to_lowercase());
        self.happened(severity, &kind, EventSubject::Node(key), name, text);
    }

    fn happened(
        &mut self,
        severity: Severity,
        kind: &str,
        subject: EventSubject,
        name: String,
        text: String,
    ) {
        let (at_ms, kind) = (self.unix(self.now_ms), kind.to_owned());
        self.events.push(EventRow { seq: 0, at_ms, severity, kind, subject, name, text });
    }

    /// Moves sessions off a node, at most so many.
    fn evacuate(&mut self, from: usize, at_most: usize) {
        let moving: Vec<usize> = (0..self.sessions.len())
            .filter(|index| self.sessions[*index].node == from)
            .take(at_most)
            .collect();
        for index in moving {
            let connections = self.sessions[index].connections_max;
            let name = self.sessions[index].name.clone();
            if let Some((node, decision)) = self.place(&name, connections) {
                self.sessions[index].node = node;
                self.sessions[index].decision = decision;
                let key = self.sessions[index].key;
                let text = format!("{} > {}", self.nodes[from].name, self.nodes[node].name);
                self.happened(Severity::Info, "session.moved", EventSubject::Session(key), name, text);
            }
        }
    }

    fn step_sessions(&mut self) {
        let now_ms = self.now_ms;
        let is_over = |session: &DemoSession| session.until_ms <= now_ms || session.connections == 0;
        let over: Vec<_> =
            self.sessions.iter().filter(|it| is_over(it)).map(|it| (it.key, it.name.clone())).collect();
        self.sessions.retain(|session| !is_over(session));
        for (key, name) in over {
            let subject = EventSubject::Session(key);
            self.happened(Severity::Info, "session.closed", subject, name, "lastParticipantLeft".to_owned());
        }
        self.step_recordings();
        // A slow wave, so that trends have something to show.
        let wave = (now_ms as f64 / 90_000.0).sin() * 0.06 + 1.0;
        let wanted = usize::try_from(whole(self.wanted as f64 * wave)).unwrap_or(usize::MAX);
        let missing = wanted.saturating_sub(self.sessions.len());
        let opening = missing.min(1 + self.wanted / 400);
        for _ in 0..opening {
            if self.random.below(3) > 0 {
                self.open_session();
            }
        }
        for session in &mut self.sessions {
            match self.random.below(12) {
                0 if session.connections < session.connections_max => session.connections += 1,
                1 if session.connections > session.connections_max / 2 + 1 => session.connections -= 1,
                _ => {}
            }
        }
    }

    fn open_session(&mut self) {
        let kind = self.random.below(100);
        let connections_max = match kind {
            0..=1 => 60 + self.random.below(90),
            2..=20 => 9 + self.random.below(16),
            21..=55 => 2,
            _ => 3 + self.random.below(6),
        };
        let connections_max = u32::try_from(connections_max).unwrap_or(2);
        let name = cast::session_name(&mut self.random, self.next_session, connections_max);
        let Some((node, decision)) = self.place(&name, connections_max) else { return };
        let key = SessionKey((self.next_session << 8) | self.random.below(256));
        self.next_session += 1;
        let life_ms = 60_000 + self.random.below(1_500_000);
        let on = format!("on {}", self.nodes[node].name);
        self.happened(Severity::Info, "session.placed", EventSubject::Session(key), name.clone(), on);
        self.sessions.push(DemoSession {
            key,
            name,
            node,
            connections: 1,
            connections_max,
            created_ms: self.now_ms,
            until_ms: self.now_ms + life_ms,
            decision,
        });
        // Reserve what it will need, so that a burst spreads.
        self.nodes[node].load += egress_of(connections_max) / self.capacity_bps;
    }

    /// The least loaded node, with the reasons for it and against the others.
    fn place(&mut self, session: &str, connections: u32) -> Option<(usize, DecisionRow)> {
        let mut scored: Vec<(usize, f64)> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| !node.recorder && node.state == NodeState::Running)
            .map(|(index, node)| (index, 1.0 - node.load - node.extra * 0.5))
            .collect();
        scored.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
        let (chosen, _) = *scored.first()?;
        let mut verdicts: Vec<Verdict> = scored
            .iter()
            .take(VERDICTS_MAX - 3)
            .map(|(index, score)| {
                let node = &self.nodes[*index];
                let why = format!(
                    "load {:.0} %, {} sessions, about {connections} participants expected",
                    node.load * 100.0,
                    node.sessions
                );
                Verdict { node: node.name.clone(), score: Some(*score), why }
            })
            .collect();
        let refused = self.nodes.iter().filter(|node| !node.recorder && node.state != NodeState::Running);
        verdicts.extend(refused.take(3).map(|node| Verdict {
            node: node.name.clone(),
            score: None,
            why: node.state.word().to_owned(),
        }));
        self.decisions += 1;
        let decision = DecisionRow {
            decision: self.decisions,
            at_ms: self.unix(self.now_ms),
            session: session.to_owned(),
            chosen: Some(self.nodes[chosen].name.clone()),
            verdicts,
        };
        Some((chosen, decision))
    }

    fn recount(&mut self) {
        for node in &mut self.nodes {
            (node.egress_bps, node.ingress_bps) = (0.0, 0.0);
            (node.sessions, node.endpoints, node.streams) = (0, 0, 0);
        }
        for session in &self.sessions {
            let node = &mut self.nodes[session.node];
            let publishers = publishers_of(session.connections);
            node.sessions += 1;
            node.streams += publishers;
            node.endpoints += session.connections + publishers;
            node.egress_bps += egress_of(session.connections);
            node.ingress_bps += f64::from(publishers) * 1.4e6;
        }
    }

    fn step_loads(&mut self) {
        for node in &mut self.nodes {
            let noise = (self.random.share() - 0.5) * 0.04;
            let target = node.egress_bps / self.capacity_bps + node.extra + noise;
            node.load += (target - node.load) * 0.4;
            node.load = node.load.clamp(0.005, 0.99);
            if node.state.is_up() {
                node.last_report_ms = self.now_ms;
            }
        }
    }

    fn unix(&self, at_ms: u64) -> u64 {
        START_UNIX_MS + at_ms - 4 * 3_600_000
    }

    /// The cluster now.
    #[must_use]
    pub fn listing(&self) -> Listing {
        Listing {
            at_ms: self.unix(self.now_ms),
            epoch: 3,
            uptime_ms: self.now_ms,
            nodes: self.nodes.iter().map(|node| self.node(node)).collect(),
            sessions: self.sessions.iter().map(|session| self.session_row(session)).collect(),
            recordings: self.recordings.clone(),
        }
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<EventRow> {
        std::mem::take(&mut self.events)
    }

    fn node(&self, node: &DemoNode) -> NodeRow {
        let cpu = u16::try_from(whole(node.load * 1000.0)).unwrap_or(1000);
        let drops = if node.load > 0.93 { whole((node.load - 0.93) * 900.0) } else { 0 };
        let reported = node.state != NodeState::Launching;
        let load = Load {
            cpu_permille: cpu,
            worker_permille_max: (cpu + cpu / 12).min(1000),
            loop_lag_us_p99: 60 + u32::from(cpu) * u32::from(cpu) / 700,
            sessions: node.sessions,
            endpoints: node.endpoints,
            streams: node.streams,
            packets_in: whole(node.ingress_bps / 8.0 / 1_050.0),
            packets_out: whole(node.egress_bps / 8.0 / 1_050.0),
            ingress_bps: whole(node.ingress_bps),
            egress_bps: whole(node.egress_bps),
            drops,
            memory_bytes: (120 << 20) + u64::from(node.endpoints) * 700_000,
            ext: Vec::new(),
        };
        let state = match node.state {
            NodeState::Draining => "waiting-idle-to-terminate".to_owned(),
            other => other.word().to_lowercase(),
        };
        NodeRow {
            node: node.key,
            name: node.name.clone(),
            role: if node.recorder { Role::Recorder } else { Role::Media },
            state,
            address: node.address.clone(),
            connected: node.state.is_up(),
            load: if reported { load } else { Load::default() },
            load_age_ms: reported.then_some(self.now_ms - node.last_report_ms),
            sessions: node.sessions,
            connections: 0,
            history: Vec::new(),
            ext: Vec::new(),
        }
    }

    fn session_row(&self, session: &DemoSession) -> SessionRow {
        let node = self.nodes.get(session.node);
        let running = |it: &&RecordingRow| it.session == session.name && it.state == "started";
        SessionRow {
            session: session.key,
            name: session.name.clone(),
            node: node.map(|node| node.key),
            node_name: node.map(|node| node.name.clone()).unwrap_or_default(),
            node_lost: node.is_some_and(|node| node.state == NodeState::Lost),
            connections: session.connections,
            streams: publishers_of(session.connections),
            recordings: u32::try_from(self.recordings.iter().filter(running).count()).unwrap_or(0),
            created_at_ms: self.unix(session.created_ms),
            ext: Vec::new(),
        }
    }

    /// Everything about one node.
    #[must_use]
    pub fn node_detail(&self, key: NodeKey) -> Option<NodeDetail> {
        let index = self.nodes.iter().position(|node| node.key == key)?;
        let node = &self.nodes[index];
        let here = self.sessions.iter().filter(|session| session.node == index);
        let mut largest: Vec<SessionRow> = here.map(|session| self.session_row(session)).collect();
        largest.sort_by_key(|row| std::cmp::Reverse((row.connections, row.streams)));
        let connections = largest.iter().map(|row| row.connections).sum();
        largest.truncate(20);
        let score = u16::try_from(whole(node.load * 1000.0)).unwrap_or(1000);
        Some(NodeDetail {
            row: NodeRow { connections, ..self.node(node) },
            environment: node.name.clone(),
            program: "made-up node".to_owned(),
            launched_at_ms: self.unix(4 * 3_600_000) - 4 * 3_600_000,
            connected_at_ms: Some(self.unix(node.since_ms)),
            disconnected_at_ms: None,
            score_permille: score,
            reserved_permille: 0,
            largest,
            ext: Vec::new(),
        })
    }

    /// Who sends what to whom in a session; none when it is closed.
    #[must_use]
    pub fn session(&self, key: SessionKey) -> Option<SessionDetail> {
        let session = self.sessions.iter().find(|session| session.key == key)?;
        Some(cast::detail(self.session_row(session), self.now_ms))
    }

    /// Why a session runs where it runs.
    #[must_use]
    pub fn placement(&self, name: &str) -> Vec<DecisionRow> {
        let of = self.sessions.iter().filter(|it| it.name == name || *Clean::new(&it.name) == *name);
        of.map(|session| session.decision.clone()).collect()
    }
}

/// A made-up figure without its fraction.
#[expect(clippy::cast_sign_loss, reason = "made-up figures are not negative; a cast saturates")]
const fn whole(value: f64) -> u64 {
    value as u64
}

/// Of a session of so many, these send.
fn publishers_of(connections: u32) -> u32 {
    connections.min(12)
}

/// Bits per second that a session costs a node.
fn egress_of(connections: u32) -> f64 {
    let publishers = publishers_of(connections);
    f64::from(connections) * f64::from(publishers.saturating_sub(1).max(1)) * 0.42e6
}

/// What all sessions together will send, from the mixture that `open_session` makes.
fn expected_egress(size: Size) -> f64 {
    let mean = 0.02 * egress_of(105) + 0.19 * egress_of(17) + 0.35 * egress_of(2) + 0.44 * egress_of(5);
    mean * f64::from(size.sessions.max(1)) * 0.75
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { nodes: 6, sessions: 60, seed: 7 };

    #[test]
    fn equal_seeds_make_equal_clusters() {
        let (mut a, mut b) = (World::new(SIZE), World::new(SIZE));
        for _ in 0..400 {
            a.step();
            b.step();
        }
        assert_eq!(a.listing(), b.listing());
        assert_ne!(World::new(SIZE).listing(), World::new(Size { seed: 8, ..SIZE }).listing());
    }

    #[test]
    fn every_session_is_on_a_node_that_is_up_while_others_are_lost() {
        let mut world = World::new(SIZE);
        for _ in 0..600 {
            world.step();
            let listing = world.listing();
            for session in &listing.sessions {
                let node = listing.nodes.iter().find(|node| Some(node.node) == session.node).unwrap();
                assert!(node.connected && node.role == Role::Media, "{} on {}", session.name, node.name);
            }
        }
    }
}
