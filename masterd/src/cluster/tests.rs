//! Scripts for the whole core: operations in, events and replies out. Nodes answer at once unless told otherwise;
//! every batch is stored at once unless told otherwise; after each step all invariants are asserted.

#![expect(clippy::wildcard_enum_match_arm, reason = "a script names what it expects")]

mod join;
mod node_loss;
mod operate;
mod recording;
mod restart;
mod session;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::id::{BootId, EndpointKey, Epoch, EventSeq, Generation, NodeKey, OpId, RecordingKey, SessionKey};
use common::wire::node::{
    Capacity, Done, EndpointAt, FromNode, Heartbeat, Hello, Inventory, MediaKind, NodeError, NodeEvent,
    NodeFact, OpResult, Ready, Role, SdpRequest, ToNode, TransportState,
};
use common::wire::recording::{RecordingAt, RosterEntry};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::op::*;
use super::{Core, CoreSettings, Fenced, Input, Now, Output, ViewerEnd};

/// Wall clock at the start of each script.
const START_UNIX: u64 = 1_700_000_000_000;

/// A node that does what it is told.
#[derive(Debug, Default)]
pub(super) struct FakeNode {
    boot: u64,
    /// Sends heartbeats and gets commands.
    up: bool,
    /// Gets commands but answers nothing.
    mute: bool,
    /// Answers every `SessionOpen` with this.
    refuses: Option<NodeError>,
    sessions: BTreeMap<SessionKey, Generation>,
    endpoints: BTreeMap<EndpointKey, EndpointAt>,
    beats: u64,
    /// Worker loops stand still.
    stuck: bool,
    event_seq: u64,
    /// Everything it was told, by name.
    told: Vec<String>,
    /// What it was told to put into sections: slot, kind, highest encoding.
    binds: Vec<(u16, MediaKind, u8)>,
    recorder: bool,
    /// Refuses every `RecordingStart` and `RecordingDelete` with this.
    refuses_jobs: Option<NodeError>,
    jobs: BTreeMap<RecordingKey, RecordingAt>,
    /// The newest roster of each job.
    rosters: BTreeMap<RecordingKey, Vec<RosterEntry>>,
    /// Recorders that are let in.
    taps: BTreeMap<RecordingKey, NodeKey>,
}

/// A core with its surroundings.
pub(super) struct World {
    core: Core,
    now: Now,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Batches that are not acknowledged yet, when `hold_commits`.
    commits: Vec<u64>,
    hold_commits: bool,
    nodes: BTreeMap<u64, FakeNode>,
    settings: CoreSettings,
    replies: BTreeMap<RequestId, Reply>,
    /// Events by viewer, in the short form of [`show`].
    seen: BTreeMap<ViewerId, Vec<String>>,
    closed: BTreeMap<ViewerId, ViewerEnd>,
    last_req: RequestId,
    commit_count: u64,
    /// Assert only what was touched, for long scripts.
    quick: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(CoreSettings::default())
    }

    pub(super) fn with(settings: CoreSettings) -> Self {
        let now = Now { mono: Duration::ZERO, unix: START_UNIX };
        let core = Core::new(now, settings.clone(), Epoch(1), StdRng::seed_from_u64(7));
        Self {
            settings,
            core,
            now,
            store: BTreeMap::new(),
            commits: Vec::new(),
            hold_commits: false,
            nodes: BTreeMap::new(),
            replies: BTreeMap::new(),
            seen: BTreeMap::new(),
            closed: BTreeMap::new(),
            last_req: 0,
            commit_count: 0,
            quick: false,
        }
    }

    /// With this many nodes, after the start's grace.
    pub(super) fn with_nodes(count: u64) -> Self {
        let mut world = Self::new();
        for node in 1..=count {
            world.link_up(node);
        }
        world.advance(Duration::from_secs(11));
        world
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.core.check_touched();
        self.pump();
    }

    /// Carries out what the core wants until it wants nothing more.
    fn pump(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Commit { batch, puts } => {
                    self.commit_count += 1;
                    for (key, value) in puts {
                        match value {
                            Some(value) => self.store.insert(key, value),
                            None => self.store.remove(&key),
                        };
                    }
                    if self.hold_commits {
                        self.commits.push(batch);
                    } else {
                        self.core.handle(self.now, Input::Stored { batch, result: Ok(()) });
                    }
                }
                Output::Fenced => {}
                Output::Notify { viewer, event } => {
                    self.seen.entry(viewer).or_default().push(show(&event.what));
                }
                Output::Reply { req, reply } => {
                    assert!(self.replies.insert(req, reply).is_none(), "request {req} is answered once");
                }
                Output::Send { node, op, message, .. } => self.deliver(node, op, message),
                Output::ViewerClosed { viewer, why } => drop(self.closed.insert(viewer, why)),
            }
        }
        if !self.quick {
            self.core.check();
        }
    }

    pub(super) fn store_held(&mut self) {
        for batch in std::mem::take(&mut self.commits) {
            self.core.handle(self.now, Input::Stored { batch, result: Ok(()) });
            self.pump();
        }
    }

    fn deliver(&mut self, key: NodeKey, op: OpId, message: ToNode) {
        let node = self.nodes.get_mut(&key.0).unwrap();
        if !node.up {
            return;
        }
        node.told.push(name_of(&message));
        if node.mute {
            return;
        }
        let result = node.obey(message);
        let boot = BootId(node.boot);
        if let Some(result) = result {
            let message = FromNode::Done(Done { result });
            self.core.handle(self.now, Input::Node { node: key, boot, op, message });
        }
    }

    pub(super) fn link_up(&mut self, key: u64) {
        let inventory = self.link_up_without_inventory(key);
        self.from(key, FromNode::Inventory(inventory));
    }

    /// Gives the inventory that is to follow.
    pub(super) fn link_up_without_inventory(&mut self, key: u64) -> Inventory {
        let node = self.nodes.entry(key).or_default();
        if node.boot == 0 {
            node.boot = 1;
        }
        node.up = true;
        let boot = BootId(node.boot);
        let inventory = Inventory {
            sessions: node.sessions.iter().map(|(key, generation)| (*key, *generation)).collect(),
            endpoints: node.endpoints.values().copied().collect(),
            recordings: node.jobs.values().cloned().collect(),
            last: true,
        };
        let hello = Hello {
            versions: (1, 1),
            program: "mediad 0".to_owned(),
            node: NodeKey(key),
            role: if node.recorder { Role::Recorder } else { Role::Media },
            boot,
            epoch_seen: Epoch(0),
            addresses: Vec::new(),
            name: format!("n{key}"),
            media_link: vec![format!("192.0.2.{key}:7444")],
            capacity: Capacity { workers: 1, sessions_max: if node.recorder { 2 } else { 0 } },
            ext: Vec::new(),
        };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.feed(Input::LinkUp { node: NodeKey(key), hello: Box::new(hello), address });
        inventory
    }

    pub(super) fn link_down(&mut self, key: u64) {
        let node = self.nodes.get_mut(&key).unwrap();
        node.up = false;
        let boot = BootId(node.boot);
        self.feed(Input::LinkDown { node: NodeKey(key), boot });
    }

    /// The process dies and starts again later.
    pub(super) fn kill(&mut self, key: u64) {
        self.link_down(key);
        let node = self.nodes.get_mut(&key).unwrap();
        *node = FakeNode { boot: node.boot + 1, recorder: node.recorder, ..FakeNode::default() };
    }

    pub(super) fn from(&mut self, key: u64, message: FromNode) {
        let boot = BootId(self.nodes[&key].boot);
        self.feed(Input::Node { node: NodeKey(key), boot, op: OpId(0), message });
    }

    pub(super) fn event(&mut self, key: u64, session: Option<SessionKey>, what: NodeFact) {
        let node = self.nodes.get_mut(&key).unwrap();
        node.event_seq += 1;
        let event = NodeEvent { seq: node.event_seq, session, what };
        self.from(key, FromNode::NodeEvent(event));
    }

    /// Lets time pass; nodes that are up send heartbeats every 250 ms.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now.mono + by;
        loop {
            let beat = Duration::from_millis(250);
            let next_beat = beat * (u32::try_from(self.now.mono.as_millis() / 250).unwrap() + 1);
            let next = self.core.deadline().unwrap_or(end).min(next_beat).min(end).max(self.now.mono);
            self.now.unix += u64::try_from((next - self.now.mono).as_millis()).unwrap();
            self.now.mono = next;
            self.feed(Input::Tick);
            if next == next_beat {
                self.beat();
            }
            if next >= end && self.core.deadline().is_none_or(|it| it > end) {
                return;
            }
        }
    }

    fn beat(&mut self) {
        let keys: Vec<u64> = self.nodes.iter().filter(|(_, it)| it.up).map(|(key, _)| *key).collect();
        for key in keys {
            let node = self.nodes.get_mut(&key).unwrap();
            if !node.stuck {
                node.beats += 1;
            }
            let heartbeat = Heartbeat { seq: 0, turns: vec![node.beats] };
            self.from(key, FromNode::Heartbeat(heartbeat));
        }
    }

    /// Kills masterd and starts it again from what was stored.
    pub(super) fn restart(&mut self) {
        let epoch = Epoch(self.core.epoch().0 + 1);
        let records = self.store.clone();
        let rng = StdRng::seed_from_u64(epoch.0);
        self.core = Core::restore(self.now, self.settings.clone(), epoch, rng, records).unwrap();
        self.commits.clear();
        self.pump();
    }

    /// Sends a request; its reply is found by the number later.
    pub(super) fn send(&mut self, actor: Actor, op: Op) -> RequestId {
        self.last_req += 1;
        self.feed(Input::Request { req: self.last_req, actor, op });
        self.last_req
    }

    pub(super) fn ask(&mut self, actor: Actor, op: Op) -> Reply {
        let req = self.send(actor, op);
        self.replies.remove(&req).unwrap_or_else(|| panic!("request {req} is not answered"))
    }

    pub(super) fn app(&mut self, op: Op) -> Reply {
        self.ask(Actor::App, op)
    }

    pub(super) fn query(&mut self, query: Query) -> Reply {
        self.last_req += 1;
        let req = self.last_req;
        self.feed(Input::Query { req, actor: Actor::App, query });
        self.replies.remove(&req).unwrap()
    }

    pub(super) fn session(&mut self, name: &str) {
        let properties =
            SessionProperties { custom_id: Some(name.to_owned()), ..SessionProperties::default() };
        let reply = self.app(Op::SessionCreate(properties));
        assert!(matches!(reply, Reply::Session(_)), "{reply:?}");
    }

    /// A new connection's token; its public name is `con_<name>`.
    pub(super) fn token(&mut self, session: &str, name: &str, role: ConnectionRole) -> Actor {
        let server_data = format!(r#"{{"openviduCustomConnectionId":"{name}"}}"#);
        let properties = ConnectionProperties { role, server_data, ..ConnectionProperties::default() };
        let session = session.to_owned();
        match self.app(Op::ConnectionCreate { session, properties }) {
            Reply::Connection(view) => Actor::Bearer(view.token),
            other => panic!("no connection: {other:?}"),
        }
    }

    pub(super) fn publisher(&mut self, session: &str, name: &str) -> Actor {
        self.token(session, name, ConnectionRole::Publisher)
    }

    /// Watches as the application from now on.
    pub(super) fn watch_session(&mut self, viewer: ViewerId, session: &str) {
        let reply = self.app(watch(viewer, Some(session), None));
        assert!(matches!(reply, Reply::Watching { .. }), "{reply:?}");
    }

    /// What a viewer has seen since the last call.
    pub(super) fn seen(&mut self, viewer: ViewerId) -> Vec<String> {
        self.seen.remove(&viewer).unwrap_or_default()
    }

    pub(super) fn session_key(&self, name: &str) -> SessionKey {
        self.core.session_names[name]
    }

    pub(super) fn told(&mut self, key: u64) -> Vec<String> {
        std::mem::take(&mut self.nodes.get_mut(&key).unwrap().told)
    }

    pub(super) fn binds(&mut self, key: u64) -> Vec<(u16, MediaKind, u8)> {
        std::mem::take(&mut self.nodes.get_mut(&key).unwrap().binds)
    }

    pub(super) fn stat(&mut self, name: &str) -> u64 {
        let Reply::Stats(stats) = self.query(Query::Stats) else { panic!("no stats") };
        stats.iter().find(|(it, _)| *it == name).unwrap().1
    }
}

impl FakeNode {
    /// Offers say how many audio and video sections they have: `a2v1`; anything else is no SDP.
    fn obey(&mut self, message: ToNode) -> Option<OpResult> {
        match message {
            ToNode::SessionOpen(open) => {
                if let Some(error) = &self.refuses {
                    return Some(OpResult::Err(error.clone()));
                }
                self.sessions.insert(open.session, open.generation);
            }
            ToNode::SessionClose(close) => {
                self.sessions.remove(&close.session);
                self.endpoints.retain(|_, at| at.session != close.session);
            }
            ToNode::EndpointOpen(open) => {
                if !self.sessions.contains_key(&open.session) {
                    return Some(OpResult::Err(NodeError::UnknownSession));
                }
                let (offer, sdp) = match &open.sdp {
                    SdpRequest::Offer(offer) => (offer.as_str(), "answer"),
                    SdpRequest::MakeOffer => ("a1v1", "offer"),
                };
                let counts = offer.strip_prefix('a').and_then(|it| it.split_once('v'));
                let Some((audio, video)) = counts else {
                    return Some(OpResult::Err(NodeError::InvalidSdp { why: "rubbish".to_owned() }));
                };
                let at = EndpointAt {
                    session: open.session,
                    connection: open.connection,
                    endpoint: open.endpoint,
                    generation: open.generation,
                    state: TransportState::Connecting,
                };
                self.endpoints.insert(open.endpoint, at);
                return Some(OpResult::Ready(Ready {
                    sdp: sdp.to_owned(),
                    audio: audio.parse().unwrap(),
                    video: video.parse().unwrap(),
                    codecs: Vec::new(),
                    ext: Vec::new(),
                }));
            }
            ToNode::EndpointClose(close) => drop(self.endpoints.remove(&close.endpoint)),
            ToNode::Bind(bind) => match self.endpoints.get_mut(&bind.endpoint) {
                Some(at) => {
                    at.generation = bind.generation;
                    self.binds.extend(bind.binds.iter().map(|it| (it.slot, it.kind, it.spatial_max)));
                }
                None => return Some(OpResult::Err(NodeError::UnknownEndpoint)),
            },
            ToNode::Candidates(candidates) if candidates.fragment == "restart" => {
                return Some(OpResult::Ready(Ready {
                    sdp: "fragment".to_owned(),
                    audio: 0,
                    video: 0,
                    codecs: Vec::new(),
                    ext: Vec::new(),
                }));
            }
            ToNode::EndpointAnswer(answer) if answer.sdp == "rubbish" => {
                return Some(OpResult::Err(NodeError::InvalidSdp { why: "rubbish".to_owned() }));
            }
            ToNode::Candidates(_) | ToNode::EndpointAnswer(_) | ToNode::Permit(_) => {}
            ToNode::TapGrant(grant) => drop(self.taps.insert(grant.recording, grant.recorder)),
            ToNode::TapRevoke(revoke) => drop(self.taps.remove(&revoke.recording)),
            ToNode::RecordingStart(_)
            | ToNode::RecordingRoster(_)
            | ToNode::RecordingStop(_)
            | ToNode::RecordingDelete(_) => return Some(self.record(message)),
            ToNode::EventAck(_) | ToNode::Drain(_) => return None,
            other => panic!("not expected: {other:?}"),
        }
        Some(OpResult::Ok)
    }

    fn record(&mut self, message: ToNode) -> OpResult {
        match message {
            ToNode::RecordingStart(_) | ToNode::RecordingDelete(_) if self.refuses_jobs.is_some() => {
                return OpResult::Err(self.refuses_jobs.clone().unwrap());
            }
            ToNode::RecordingStart(start) => {
                let at = RecordingAt {
                    recording: start.recording,
                    id: start.id,
                    generation: start.generation,
                    running: true,
                };
                self.jobs.insert(start.recording, at);
                self.rosters.insert(start.recording, start.roster);
            }
            ToNode::RecordingRoster(roster) => {
                if let Some(job) = self.jobs.get_mut(&roster.recording) {
                    job.generation = roster.generation;
                    self.rosters.insert(roster.recording, roster.roster);
                }
            }
            ToNode::RecordingStop(stop) => {
                if !self.jobs.contains_key(&stop.recording) {
                    return OpResult::Err(NodeError::UnknownSession);
                }
            }
            ToNode::RecordingDelete(delete) => drop(self.jobs.remove(&delete.recording)),
            other => panic!("no recording: {other:?}"),
        }
        OpResult::Ok
    }
}

pub(super) fn publish(offer: &str) -> Op {
    Op::Publish { offer: offer.to_owned(), client: ClientInfo::default(), media: PublishOptions::default() }
}

pub(super) fn play(offer: &str) -> Op {
    Op::PlaySession { offer: offer.to_owned(), client: ClientInfo::default() }
}

pub(super) fn watch(viewer: ViewerId, session: Option<&str>, after: Option<u64>) -> Op {
    Op::Watch {
        viewer,
        session: session.map(str::to_owned),
        after: after.map(EventSeq),
        client: ClientInfo::default(),
    }
}

/// The endpoint of a reply.
pub(super) fn opened(reply: Reply) -> EndpointView {
    match reply {
        Reply::Endpoint(view) => *view,
        other => panic!("not opened: {other:?}"),
    }
}

pub(super) fn refusal(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn name_of(message: &ToNode) -> String {
    let debug = format!("{message:?}");
    debug.split('(').next().unwrap_or_default().to_owned()
}

/// An event in a few words, without random parts: `published con_a`, `left con_a disconnect`.
pub(super) fn show(what: &Fact) -> String {
    let publisher = |stream: &str| stream.splitn(4, '_').nth(3).unwrap_or_default().to_owned();
    match what {
        Fact::Audit { operator, verb, target, outcome, .. } => {
            format!("audit {operator} {verb} {target} {outcome:?}")
        }
        Fact::SessionCreated => "created".to_owned(),
        Fact::SessionDestroyed { reason, .. } => format!("destroyed {reason:?}"),
        Fact::SessionPlaced { node } => format!("placed {node}"),
        Fact::ParticipantJoined { connection, .. } => format!("joined {connection}"),
        Fact::ParticipantLeft { connection, reason, .. } => format!("left {connection} {reason:?}"),
        Fact::Published { connection, .. } => format!("published {connection}"),
        Fact::Unpublished { connection, reason, .. } => format!("unpublished {connection} {reason:?}"),
        Fact::Subscribed { connection, receiving_from, .. } => {
            format!("subscribed {connection} {receiving_from}")
        }
        Fact::Unsubscribed { connection, receiving_from, reason, .. } => {
            format!("unsubscribed {connection} {receiving_from} {reason:?}")
        }
        Fact::Slot { connection, slot, kind, stream, gap, .. } => {
            let what = stream.as_ref().map_or_else(|| "-".to_owned(), |(stream, _)| publisher(stream));
            let gap = gap.map_or_else(String::new, |gap| format!(" {gap:?}"));
            format!("slot {connection} {kind:?}{slot} {what}{gap}")
        }
        Fact::ConnectionChanged { connection, property } => format!("changed {connection} {property:?}"),
        Fact::StreamChanged { connection, property, .. } => format!("changed {connection} {property:?}"),
        Fact::Transport { connection, state, .. } => format!("transport {connection} {state}"),
        Fact::Signal { from, kind, data } => format!("signal {from:?} {kind} {data}"),
        Fact::Speakers { streams } => {
            format!("speakers {}", streams.iter().map(|it| publisher(it)).collect::<Vec<_>>().join(" "))
        }
        Fact::NodeStatusChanged { node, from, to } => format!("node {node} {from:?} {to:?}"),
        Fact::RecordingStarted { id, .. } => format!("told of {id}"),
        Fact::RecordingStopped { id, reason, .. } => format!("told of the end of {id} {reason:?}"),
        Fact::RecordingStatusChanged(event) => {
            let reason = event.reason.map_or_else(String::new, |it| format!(" {it:?}"));
            format!("recording {} {:?}{reason} {}", event.id, event.status, event.size_bytes)
        }
    }
}

/// Events without the slots' and subscriptions' details.
pub(super) fn without_slots(seen: Vec<String>) -> Vec<String> {
    seen.into_iter().filter(|it| !it.starts_with("slot ")).collect()
}

#[test]
fn nothing_leaves_before_its_batch_is_stored() {
    let mut world = World::new();
    world.hold_commits = true;
    let create = world.send(Actor::App, Op::SessionCreate(SessionProperties::default()));
    world.last_req += 1;
    let read = world.last_req;
    world.feed(Input::Query { req: read, actor: Actor::App, query: Query::Sessions });
    assert!(world.replies.is_empty(), "{:?}", world.replies);
    world.store_held();
    assert!(world.replies.contains_key(&create) && world.replies.contains_key(&read));
}

#[test]
fn a_fenced_core_says_so_and_nothing_else() {
    let mut world = World::new();
    world.hold_commits = true;
    let create = world.send(Actor::App, Op::SessionCreate(SessionProperties::default()));
    world.core.handle(world.now, Input::Stored { batch: 1, result: Err(Fenced) });
    assert!(matches!(world.core.poll_output(), Some(Output::Fenced)));
    world.core.handle(world.now, Input::Tick);
    assert!(world.core.poll_output().is_none());
    assert!(!world.replies.contains_key(&create));
}

#[test]
fn a_failing_store_refuses_changes_at_once() {
    let mut world = World::new();
    world.feed(Input::StoreFailing(true));
    let reply = world.app(Op::SessionCreate(SessionProperties::default()));
    assert_eq!(refusal(reply), Refusal::StoreFailing);
    world.feed(Input::StoreFailing(false));
    world.session("s");
}

#[test]
fn ten_thousand_sessions_leave_nothing_behind() {
    let mut world = World::with_nodes(2);
    let sizes = |world: &mut World| {
        let Reply::Stats(stats) = world.query(Query::Stats) else { panic!("no stats") };
        let growing = BTreeSet::from(["placements_total", "decisions", "lag_ms_total"]);
        stats.into_iter().filter(|(name, _)| !growing.contains(name)).collect::<Vec<_>>()
    };
    world.advance(Duration::from_secs(60));
    let before = sizes(&mut world);
    let records = world.store.len();
    world.quick = true;
    for round in 0..100 {
        for number in 0..100 {
            let name = format!("s{number}");
            world.core.handle(world.now, Input::Tick);
            world.session(&name);
            let a = world.publisher(&name, "a");
            let b = world.publisher(&name, "b");
            opened(world.ask(a.clone(), publish("a1v1")));
            opened(world.ask(b.clone(), play("a2v2")));
            if round % 2 == 0 {
                assert_eq!(world.ask(a, Op::Leave), Reply::Done);
                assert_eq!(world.ask(b, Op::Leave), Reply::Done);
            } else {
                assert_eq!(world.app(Op::SessionDelete { session: name }), Reply::Done);
            }
        }
        for node in world.nodes.values_mut() {
            node.told.clear();
        }
        world.advance(Duration::from_secs(2));
    }
    world.quick = false;
    world.advance(Duration::from_secs(60));
    assert_eq!(sizes(&mut world), before);
    assert!(world.stat("decisions") <= 1000);
    let decisions = usize::try_from(world.stat("decisions")).unwrap();
    assert_eq!(world.store.len(), records + decisions, "only the kept decisions are stored on top");
    assert_eq!(world.core.records(), world.store);
}
