//! Pure: The scheduler: virtual time, one queue, the links, the store, and the one place where the core is called.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::id::{BootId, EndpointKey, Epoch, EventSeq, NodeKey, OpId, RecordingKey, SessionKey};
use common::wire::node::{FromNode, NodeFact, ToNode, TransportState};
use common::wire::recording::RecordingFact;
use masterd::cluster::op::{Actor, Event, Op, Query, RecordingView, Reply, RequestId, ViewerId};
use masterd::cluster::{Core, CoreSettings, Input, Now, Output};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checker::{Ledger, Reader};
use super::client::{Asked, Client};
use super::node::NodeModel;
use super::trace::Trace;
use super::{Plan, Report};

/// Wall clock at the start of every run.
const START_UNIX: u64 = 1_700_000_000_000;

/// Every table is asserted this often; what an input touched, after each input.
const STEPS_PER_FULL_CHECK: u64 = 10_000;

/// With the master up and undisturbed, every request is answered within this.
const ANSWER_US_MAX: u64 = 8_000_000;

/// A link that carries nothing for this long is given up by both ends.
pub(super) const LINK_IDLE_US: u64 = 4_000_000;

pub(super) const MS: u64 = 1000;

/// A batch of changed records.
pub(super) type Puts = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    Beat,
    Client(usize),
    Dial { node: u64, boot: u64 },
    Fault,
    Job { node: u64, boot: u64, recording: RecordingKey },
    FromNode { node: u64, link: u64, op: OpId, message: FromNode },
    LinkDown { node: u64, link: u64 },
    LinkUp { node: u64, link: u64 },
    MasterResume,
    MasterStart,
    NodeResume { node: u64, boot: u64 },
    NodeStart { node: u64 },
    Speak,
    Stored { epoch: Epoch, batch: u64, puts: Puts },
    Tick,
    ToNode { node: u64, link: u64, epoch: Epoch, op: OpId, message: ToNode },
    Transport { node: u64, boot: u64, endpoint: EndpointKey, state: TransportState },
    Watchers,
}

/// Who reads a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    App(String),
    Client(usize),
}

/// Network between a node and the master.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Nothing passes before this time.
    pub(super) cut_until: BTreeMap<u64, u64>,
    pub(super) delay_us_max: u64,
    pub(super) duplicate_permille: u32,
    /// When the newest message of a lane arrives: node, link, lane, to the node.
    pub(super) lanes: BTreeMap<(u64, u64, u16, bool), u64>,
}

/// A whole cluster.
#[derive(Debug)]
pub struct World {
    pub(super) plan: Plan,
    pub(super) rng: StdRng,
    pub(super) now_us: u64,
    pub(super) queue: BTreeMap<(u64, u64), Happening>,
    pub(super) queued: u64,
    pub(super) core: Option<Core>,
    pub(super) epoch: Epoch,
    pub(super) master_paused_until: u64,
    /// What has come for the paused master.
    inbox: VecDeque<Happening>,
    /// Since when nothing has disturbed the master.
    pub(super) quiet_since: u64,
    pub(super) tick_at: Option<u64>,
    pub(super) store: BTreeMap<Vec<u8>, Vec<u8>>,
    in_flight: Option<Puts>,
    pub(super) store_failing_until: u64,
    pub(super) nodes: BTreeMap<u64, NodeModel>,
    /// The link of a node as the core sees it.
    pub(super) core_links: BTreeMap<u64, (u64, BootId)>,
    pub(super) last_link: u64,
    pub(super) network: Network,
    pub(super) clients: Vec<Client>,
    pub(super) watchers: BTreeMap<String, (Reader, Option<ViewerId>)>,
    pub(super) viewers: BTreeMap<ViewerId, Owner>,
    pub(super) pending: BTreeMap<RequestId, (Owner, Asked, u64)>,
    last_id: u64,
    /// Asked as soon as the core's outputs are carried out.
    pub(super) later: Vec<(Owner, Asked, Actor, Op)>,
    /// Public names of recordings that were seen, by session.
    pub(super) recordings: BTreeMap<String, Vec<String>>,
    /// Starts that won, by name and moment.
    pub(super) started: BTreeSet<(String, u64)>,
    /// The recorder that each recording began at.
    pub(super) job_homes: BTreeMap<RecordingKey, u64>,
    pub(super) removed: BTreeSet<String>,
    pub(super) ledger: Ledger,
    pub(super) trace: Trace,
    pub(super) report: Report,
    pub(super) calm: bool,
    stats: Option<Vec<(&'static str, u64)>>,
    seen_recordings: Option<Vec<RecordingView>>,
}

impl World {
    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let clients = (0..plan.clients).map(|it| Client::new(it, plan.sessions, &mut rng)).collect();
        let nodes = (1..=plan.nodes + plan.recorders)
            .map(|it| {
                let recorder = it > plan.nodes;
                (it, NodeModel::new(NodeKey(it), recorder))
            })
            .collect();
        let watchers = (0..plan.sessions).map(|it| (format!("s{it}"), (Reader::new(None), None))).collect();
        Self {
            plan,
            rng,
            now_us: 0,
            queue: BTreeMap::new(),
            queued: 0,
            core: None,
            epoch: Epoch(0),
            master_paused_until: 0,
            inbox: VecDeque::new(),
            quiet_since: 0,
            tick_at: None,
            store: BTreeMap::new(),
            in_flight: None,
            store_failing_until: 0,
            nodes,
            core_links: BTreeMap::new(),
            last_link: 0,
            network: Network { delay_us_max: 5 * MS, ..Network::default() },
            clients,
            watchers,
            viewers: BTreeMap::new(),
            pending: BTreeMap::new(),
            last_id: 0,
            later: Vec::new(),
            recordings: BTreeMap::new(),
            started: BTreeSet::new(),
            job_homes: BTreeMap::new(),
            removed: BTreeSet::new(),
            ledger: Ledger::default(),
            trace: Trace::new(seed),
            report: Report::default(),
            calm: false,
            stats: None,
            seen_recordings: None,
        }
    }

    pub(super) fn run(&mut self) -> Report {
        self.at(0, Happening::MasterStart);
        for node in 1..=self.plan.nodes + self.plan.recorders {
            self.at(100 * MS, Happening::Dial { node, boot: 1 });
        }
        for client in 0..self.plan.clients {
            let after = self.rng.random_range(500..5000) * MS;
            self.at(after, Happening::Client(client));
        }
        for (after, happening) in [
            (250 * MS, Happening::Beat),
            (500 * MS, Happening::Watchers),
            (700 * MS, Happening::Speak),
            (12_000 * MS, Happening::Fault),
        ] {
            self.at(after, happening);
        }
        let chaos = micros(self.plan.chaos);
        self.run_until(chaos);
        self.heal();
        self.run_until(chaos + micros(self.plan.settle));
        // A batch may be on its way just now.
        for _ in 0..20 {
            if self.core.as_ref().is_none_or(Core::is_settled) {
                break;
            }
            self.run_until(self.now_us + 100 * MS);
        }
        self.check_settled();
        self.report.events = self.ledger.stored;
        self.report.digest = self.trace.digest();
        self.report.clone()
    }

    fn run_until(&mut self, end: u64) {
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            if at > end {
                self.at(at.saturating_sub(self.now_us), happening);
                break;
            }
            self.now_us = at;
            let waits = self.now_us < self.master_paused_until || !self.inbox.is_empty();
            if waits && happening.is_for_master() {
                if self.inbox.is_empty() {
                    let wait = self.master_paused_until - self.now_us;
                    self.at(wait, Happening::MasterResume);
                }
                self.inbox.push_back(happening);
                continue;
            }
            self.happen(happening);
        }
        self.now_us = end;
    }

    /// The paused master goes on with what has come meanwhile, in order.
    fn master_resume(&mut self) {
        if self.now_us < self.master_paused_until {
            let wait = self.master_paused_until - self.now_us;
            return self.at(wait, Happening::MasterResume);
        }
        for happening in std::mem::take(&mut self.inbox) {
            self.happen(happening);
        }
    }

    /// Schedules something.
    pub(super) fn at(&mut self, after_us: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.now_us + after_us, self.queued), happening);
    }

    pub(super) const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn core_recordings(&mut self) -> Vec<RecordingView> {
        self.feed(Input::Query { req: u64::MAX - 1, actor: Actor::App, query: Query::Recordings });
        self.seen_recordings.take().expect("recordings are answered")
    }

    pub(super) fn note(&mut self, column: &str, what: &str) {
        self.trace.line(self.now_us, column, what);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Beat => self.beat(),
            Happening::Client(client) => self.client_acts(client),
            Happening::Dial { node, boot } => self.dial(node, boot),
            Happening::Fault => self.fault(),
            Happening::Job { node, boot, recording } => self.job_turns(node, boot, recording),
            Happening::FromNode { node, link, op, message } => {
                if let Some((_, boot)) = self.core_links.get(&node).copied().filter(|(it, _)| *it == link) {
                    self.acknowledge(node, &message);
                    self.feed(Input::Node { node: NodeKey(node), boot, op, message });
                }
            }
            Happening::LinkDown { node, link } => self.link_down(node, link),
            Happening::LinkUp { node, link } => self.link_up(node, link),
            Happening::MasterResume => self.master_resume(),
            Happening::MasterStart => self.master_start(),
            Happening::NodeResume { node, boot } => self.node_resume(node, boot),
            Happening::NodeStart { node } => self.node_start(node),
            Happening::Speak => self.speak(),
            Happening::Stored { epoch, batch, puts } => self.stored(epoch, batch, puts),
            Happening::Tick => {
                self.tick_at = None;
                self.feed(Input::Tick);
            }
            Happening::ToNode { node, link, epoch, op, message } => {
                self.command_arrives(node, link, epoch, op, message);
            }
            Happening::Transport { node, boot, endpoint, state } => {
                self.transport(node, boot, endpoint, state);
            }
            Happening::Watchers => self.watch_as_app(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: Duration::from_micros(self.now_us), unix: START_UNIX + self.now_us / 1000 }
    }

    /// Gives the core an input and carries out what it wants.
    pub(super) fn feed(&mut self, input: Input) {
        let now = self.now();
        let Some(core) = &mut self.core else { return };
        core.handle(now, input);
        core.check_touched();
        self.report.steps += 1;
        if self.report.steps.is_multiple_of(STEPS_PER_FULL_CHECK) {
            core.check();
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.as_mut().and_then(Core::poll_output) {
            self.carry_out(output);
        }
        if let Some((owner, asked, actor, op)) = self.later.pop() {
            return self.ask(owner, asked, actor, op);
        }
        let deadline = self.core.as_ref().and_then(Core::deadline).map(micros);
        let Some(deadline) = deadline.map(|at| at.max(self.now_us)) else { return };
        if self.tick_at.is_none_or(|at| at > deadline) {
            self.tick_at = Some(deadline);
            self.at(deadline - self.now_us, Happening::Tick);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Commit { batch, puts } => {
                assert!(self.in_flight.is_none(), "one batch is in flight at a time");
                self.in_flight = Some(puts.clone());
                let slow = self.rng.random_ratio(1, 50);
                let delay =
                    if slow { self.rng.random_range(50..400) } else { self.rng.random_range(1..15) } * MS;
                let delay = delay.max(self.store_failing_until.saturating_sub(self.now_us));
                self.at(delay, Happening::Stored { epoch: self.epoch, batch, puts });
            }
            Output::Fenced => panic!("one master is never fenced"),
            Output::Notify { viewer, event } => self.notified(viewer, &event),
            Output::Reply { req, reply } => {
                if let Reply::Stats(stats) = reply {
                    self.stats = Some(stats);
                    return;
                }
                if let Reply::Recordings(views) = reply {
                    self.seen_recordings = Some(views);
                    return;
                }
                let Some((owner, asked, _)) = self.pending.remove(&req) else {
                    panic!("request {req} was answered twice or never asked");
                };
                self.note("core", &format!("{req} {owner:?} {asked:?} -> {}", brief(&reply)));
                self.assert_durable(&reply);
                self.replied(owner, asked, reply);
            }
            Output::Send { node, session, op, message, .. } => {
                self.note("core", &format!("-> {node} {op} {}", brief(&message)));
                self.send(node.0, session, op, &message);
            }
            Output::ViewerClosed { viewer, why } => {
                if let Some(owner) = self.viewers.remove(&viewer) {
                    self.note("core", &format!("viewer of {owner:?} closed: {why:?}"));
                    self.reader_closed(&owner);
                }
            }
        }
    }

    /// What a reply tells must be in the store.
    fn assert_durable(&self, reply: &Reply) {
        let needle = match reply {
            Reply::Connection(view) => view.token.as_bytes(),
            Reply::Endpoint(view) => view.resource.as_bytes(),
            Reply::Joined(view) => view.secret.as_bytes(),
            Reply::Recording(view) => view.id.as_bytes(),
            Reply::Session(view) => view.id.as_bytes(),
            Reply::Decisions(_)
            | Reply::Done
            | Reply::Feed(..)
            | Reply::Fragment { .. }
            | Reply::Listing(_)
            | Reply::NodeDetail(_)
            | Reply::Nodes(_)
            | Reply::Operation(_)
            | Reply::Own { .. }
            | Reply::Recordings(_)
            | Reply::Refused(_)
            | Reply::Resumed { .. }
            | Reply::Rows(_)
            | Reply::SessionParts(_)
            | Reply::Sessions(_)
            | Reply::Stats(_)
            | Reply::Watching { .. } => return,
        };
        let family = match reply {
            Reply::Connection(_) | Reply::Joined(_) => b'c',
            Reply::Endpoint(_) => b'e',
            Reply::Recording(_) => b'r',
            _ => b's',
        };
        let holds = |records: &BTreeMap<Vec<u8>, Vec<u8>>| {
            let family = records.iter().filter(|(key, _)| key[0] == family);
            family.into_iter().any(|(_, value)| value.windows(needle.len()).any(|it| it == needle))
        };
        // What began and ended within one batch is in neither.
        let live = || self.core.as_ref().is_some_and(|core| holds(&core.records()));
        assert!(holds(&self.store) || !live(), "{} was told before it was stored", brief(reply));
    }

    fn stored(&mut self, epoch: Epoch, batch: u64, puts: Puts) {
        if epoch != self.epoch || self.core.is_none() {
            return;
        }
        if self.now_us < self.store_failing_until {
            let wait = self.store_failing_until - self.now_us;
            return self.at(wait, Happening::Stored { epoch, batch, puts });
        }
        self.in_flight = None;
        self.apply(puts);
        self.feed(Input::Stored { batch, result: Ok(()) });
        self.assert_same_as_stored();
    }

    /// When nothing is on its way to the store, it holds what the core would encode now.
    fn assert_same_as_stored(&self) {
        if self.report.steps.is_multiple_of(50)
            && let Some(core) = &self.core
            && core.is_settled()
        {
            assert!(core.records() == self.store, "the store differs from the live state");
        }
    }

    fn apply(&mut self, puts: Puts) {
        for (key, value) in puts {
            let Some(value) = value else {
                self.store.remove(&key);
                continue;
            };
            if key[0] == b'l' && !self.store.contains_key(&key) {
                let session = u64::from_be_bytes(key[1..9].try_into().expect("a log's key has 17 bytes"));
                let event: Event = postcard::from_bytes(&value).expect("an event decodes");
                self.trace.line(
                    self.now_us,
                    "event",
                    &format!("{} {} {}", event.session, event.seq, brief(&event.what)),
                );
                self.ledger.stored(SessionKey(session), event);
            }
            self.store.insert(key, value);
        }
    }

    /// The link acknowledges an event as soon as the core has it: one that is lost with the master is not repeated.
    fn acknowledge(&mut self, node: u64, message: &FromNode) {
        if let FromNode::NodeEvent(event) = message
            && let Some(model) = self.nodes.get_mut(&node)
        {
            model.events.retain(|it| it.seq > event.seq);
        }
    }

    /// The master's process dies; what it was just writing is written or not.
    pub(super) fn master_kill(&mut self) {
        if self.core.take().is_none() {
            return;
        }
        self.tick_at = None;
        if let Some(puts) = self.in_flight.take()
            && self.rng.random_bool(0.5)
        {
            self.apply(puts);
        }
        self.core_links.clear();
        self.pending.clear();
        self.later.clear();
        self.viewers.clear();
        for client in &mut self.clients {
            client.lost_master();
        }
        for (_, viewer) in self.watchers.values_mut() {
            *viewer = None;
        }
        let nodes: Vec<u64> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.unlink(node, 100, 1500);
        }
    }

    fn master_start(&mut self) {
        if self.core.is_some() {
            return;
        }
        self.epoch = Epoch(self.epoch.0 + 1);
        self.report.restarts += u64::from(self.epoch.0 > 1);
        self.note("core", &format!("starts, {} records, {}", self.store.len(), self.epoch));
        let rng = StdRng::seed_from_u64(self.rng.random());
        let records = self.store.clone();
        let restored = Core::restore(self.now(), settings(), self.epoch, rng, records);
        let core = restored.expect("the store can be read");
        core.check();
        if core.is_settled() {
            assert!(core.records() == self.store, "the restored state differs from the stored one");
        }
        self.quiet_since = self.now_us;
        self.core = Some(core);
        self.drain();
    }

    fn check_settled(&mut self) {
        assert!(self.core.is_some(), "the master runs");
        self.feed(Input::Query { req: u64::MAX, actor: Actor::App, query: Query::Stats });
        let Some(core) = &self.core else { return };
        core.check();
        assert!(core.is_settled(), "everything is stored");
        assert!(core.records() == self.store, "the store differs from the live state");
        for (key, node) in &self.nodes {
            let intended = core.intended(NodeKey(*key));
            let sessions: Vec<SessionKey> = node.sessions.keys().copied().collect();
            assert_eq!(intended.sessions, sessions, "sessions of node {key}: intended, observed");
            let intended: Vec<_> = intended
                .endpoints
                .into_iter()
                .map(|it| (it.endpoint, it.generation, it.audio, it.video))
                .collect();
            let observed: Vec<_> = node
                .endpoints
                .iter()
                .map(|(key, it)| (*key, it.generation, it.audio.clone(), it.video.clone()))
                .collect();
            assert_eq!(intended, observed, "endpoints of node {key}: intended, observed");
            // How far a recording is comes every few seconds without end: the newest may be on its way.
            let settled = node.events.iter().all(|event| is_progress(&event.what));
            assert!(settled, "node {key} still keeps {:?}", node.events);
        }
        let stats: BTreeMap<&str, u64> =
            self.stats.take().expect("statistics are answered").into_iter().collect();
        assert_eq!(stats["commands"], 0, "no command is left");
        assert_eq!(stats["nodes_connected"], self.plan.nodes + self.plan.recorders, "every node is back");
        assert!(self.pending.is_empty(), "requests are left: {:?}", self.pending);
        self.check_recordings();
        self.check_readers();
    }

    /// Every reader has seen everything that it may see.
    fn check_readers(&self) {
        let readers =
            self.clients.iter().filter(|it| it.viewer.is_some()).filter_map(|it| it.reader.as_ref());
        let watchers =
            self.watchers.values().filter(|(_, viewer)| viewer.is_some()).map(|(reader, _)| reader);
        for reader in readers.chain(watchers) {
            let Some(session) = &reader.session else { continue };
            let skipped =
                self.ledger.skipped(session, reader.last, EventSeq(u64::MAX), reader.name.as_deref());
            assert!(skipped.is_none(), "{:?} was never shown {skipped:?}", reader.name);
        }
    }

    /// Requests must not hang while nothing disturbs the master.
    pub(super) fn check_answers(&self) {
        for (req, (owner, asked, at)) in &self.pending {
            let since = (*at).max(self.quiet_since);
            let start = if *asked == Asked::Record { micros(settings().recording_start_timeout) } else { 0 };
            assert!(
                self.now_us < since + ANSWER_US_MAX + start,
                "request {req} of {owner:?} ({asked:?}) is not answered"
            );
        }
    }

    fn watch_as_app(&mut self) {
        self.at(500 * MS, Happening::Watchers);
        self.check_answers();
        if self.core.is_none() {
            return;
        }
        let idle: Vec<(String, EventSeq)> = self
            .watchers
            .iter()
            .filter(|(_, (_, viewer))| viewer.is_none())
            .map(|(name, (reader, _))| (name.clone(), reader.last))
            .collect();
        for (name, after) in idle {
            let owner = Owner::App(name.clone());
            if self.pending.values().any(|(it, ..)| *it == owner) {
                continue;
            }
            let viewer = self.next_id();
            self.viewers.insert(viewer, owner.clone());
            let client = masterd::cluster::op::ClientInfo::default();
            let op = Op::Watch { viewer, session: Some(name), after: Some(after), client };
            self.ask(owner, Asked::Watch { viewer }, Actor::App, op);
        }
    }

    /// Sends a request to the core.
    pub(super) fn ask(&mut self, owner: Owner, asked: Asked, actor: Actor, op: Op) {
        let req = self.next_id();
        self.note(&show(&owner), &format!("asks {req} {asked:?}"));
        self.pending.insert(req, (owner, asked, self.now_us));
        self.feed(Input::Request { req, actor, op });
    }
}

impl Happening {
    /// It is the master that acts or is called.
    const fn is_for_master(&self) -> bool {
        match self {
            Self::Client(_)
            | Self::FromNode { .. }
            | Self::LinkDown { .. }
            | Self::LinkUp { .. }
            | Self::Stored { .. }
            | Self::Tick
            | Self::Watchers => true,
            Self::Beat
            | Self::Dial { .. }
            | Self::Fault
            | Self::Job { .. }
            | Self::MasterResume
            | Self::MasterStart
            | Self::NodeResume { .. }
            | Self::NodeStart { .. }
            | Self::Speak
            | Self::ToNode { .. }
            | Self::Transport { .. } => false,
        }
    }
}

/// Shorter times than in life, so that a run sees their end.
fn settings() -> CoreSettings {
    CoreSettings {
        recording_start_timeout: Duration::from_secs(6),
        recording_stop_timeout: Duration::from_secs(6),
        recording_autostop: Duration::from_secs(8),
        recorder_grace: Duration::from_secs(4),
        ..CoreSettings::default()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The beginning of a value's debug form.
pub(super) fn brief(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.chars().take(160).collect()
}

pub(super) fn show(owner: &Owner) -> String {
    match owner {
        Owner::App(name) => format!("app:{name}"),
        Owner::Client(client) => format!("c{client}"),
    }
}

const fn is_progress(what: &NodeFact) -> bool {
    matches!(what, NodeFact::Recording(report) if matches!(report.fact, RecordingFact::Progress { .. }))
}
