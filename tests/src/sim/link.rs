//! Pure: Links and nodes of the simulated cluster: dialling, ordered lanes with delays and cuts, what nodes say.

use std::net::{IpAddr, Ipv4Addr};

use common::id::{BootId, EndpointKey, Epoch, NodeKey, OpId, RecordingKey, SessionKey, StreamKey};
use common::wire::node::{
    Capacity, Done, EndpointKind, FromNode, Heartbeat, Hello, Load, NodeEvent, NodeFact, Role, ToNode,
    TransportState,
};
use masterd::cluster::Input;
use rand::Rng;

use super::world::{Happening, MS, World, brief};

impl World {
    /// A node's link ends at both sides; the node dials again after a while.
    pub(super) fn unlink(&mut self, node: u64, redial_ms_min: u64, redial_ms_max: u64) {
        let Some(model) = self.nodes.get_mut(&node) else { return };
        let boot = model.boot;
        let Some(link) = model.link.take() else { return };
        let notice = self.rng.random_range(10..600) * MS;
        self.at(notice, Happening::LinkDown { node, link });
        let redial = self.rng.random_range(redial_ms_min..redial_ms_max) * MS;
        self.at(redial, Happening::Dial { node, boot });
    }

    pub(super) fn dial(&mut self, node: u64, boot: u64) {
        let cut = self.is_cut(node);
        let (up, paused) = (self.core.is_some(), self.now_us < self.master_paused_until);
        let Some(model) = self.nodes.get_mut(&node) else { return };
        if model.boot != boot || !model.running || model.link.is_some() {
            return;
        }
        if cut || paused || !up || self.now_us < model.paused_until {
            let wait = self.rng.random_range(200..700) * MS;
            return self.at(wait, Happening::Dial { node, boot });
        }
        self.last_link += 1;
        let link = self.last_link;
        model.link = Some(link);
        self.at(MS, Happening::LinkUp { node, link });
    }

    pub(super) fn link_up(&mut self, node: u64, link: u64) {
        let overflow = self.rng.random_ratio(1, 5);
        let Some(model) = self.nodes.get_mut(&node) else { return };
        if model.link != Some(link) || self.core.is_none() {
            return;
        }
        // A node keeps a bounded number of events: after a long absence the inventory must tell what they told.
        if overflow {
            model.events.clear();
        }
        let (boot, inventory) = (BootId(model.boot), model.inventory());
        let events: Vec<NodeEvent> = model.events.iter().cloned().collect();
        if let Some((old, _)) = self.core_links.get(&node).copied() {
            self.link_down(node, old);
        }
        self.core_links.insert(node, (link, boot));
        self.note(&format!("n{node}"), &format!("links up, {boot}"));
        let hello = Hello {
            versions: (1, 1),
            program: "mediad sim".to_owned(),
            node: NodeKey(node),
            role: if self.nodes[&node].recorder { Role::Recorder } else { Role::Media },
            boot,
            epoch_seen: self.nodes[&node].epoch_seen,
            addresses: Vec::new(),
            name: format!("n{node}"),
            media_link: Vec::new(),
            capacity: Capacity { workers: 2, sessions_max: 0 },
            ext: Vec::new(),
        };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.feed(Input::LinkUp { node: NodeKey(node), hello: Box::new(hello), address });
        self.reply_from(node, CONTROL, OpId(0), FromNode::Inventory(inventory));
        for event in events {
            self.reply_from(node, EVENTS, OpId(0), FromNode::NodeEvent(event));
        }
    }

    pub(super) fn link_down(&mut self, node: u64, link: u64) {
        let Some((_, boot)) = self.core_links.get(&node).copied().filter(|(it, _)| *it == link) else {
            return;
        };
        self.core_links.remove(&node);
        self.note(&format!("n{node}"), "links down");
        self.feed(Input::LinkDown { node: NodeKey(node), boot });
    }

    pub(super) fn is_cut(&self, node: u64) -> bool {
        self.network.cut_until.get(&node).is_some_and(|until| self.now_us < *until)
    }

    /// When a message that is sent now arrives: in the order of its lane, after a cut.
    pub(super) fn arrival(&mut self, node: u64, link: u64, lane: u16, to_node: bool) -> u64 {
        let delay = self.rng.random_range(100..=self.network.delay_us_max.max(200));
        let healed = self.network.cut_until.get(&node).copied().unwrap_or(0);
        let wished = (self.now_us + delay).max(if healed > self.now_us { healed + delay } else { 0 });
        let last = self.network.lanes.entry((node, link, lane, to_node)).or_insert(0);
        *last = wished.max(*last + 1);
        *last
    }

    pub(super) fn send(&mut self, node: u64, session: Option<SessionKey>, op: OpId, message: &ToNode) {
        let Some((link, _)) = self.core_links.get(&node).copied() else { return };
        let lane = session.map_or(CONTROL, lane_of);
        let twice = session.is_some() && self.rng.random_ratio(self.network.duplicate_permille, 1000);
        for _ in 0..=u8::from(twice) {
            let at = self.arrival(node, link, lane, true);
            let epoch = self.epoch;
            let happening = Happening::ToNode { node, link, epoch, op, message: message.clone() };
            self.at(at - self.now_us, happening);
        }
    }

    pub(super) fn command_arrives(&mut self, node: u64, link: u64, epoch: Epoch, op: OpId, message: ToNode) {
        let Some(model) = self.nodes.get_mut(&node) else { return };
        if model.link != Some(link) || !model.running {
            return;
        }
        if self.now_us < model.paused_until || !model.inbox.is_empty() {
            if model.inbox.is_empty() {
                let (boot, wait) = (model.boot, model.paused_until - self.now_us);
                self.at(wait, Happening::NodeResume { node, boot });
            }
            if let Some(model) = self.nodes.get_mut(&node) {
                model.inbox.push_back((link, epoch, op, message));
            }
            return;
        }
        self.obey(node, epoch, op, message);
    }

    /// A paused node goes on with what has come meanwhile, in order.
    pub(super) fn node_resume(&mut self, node: u64, boot: u64) {
        let Some(model) = self.nodes.get_mut(&node) else { return };
        if model.boot != boot || !model.running {
            return;
        }
        if self.now_us < model.paused_until {
            let wait = model.paused_until - self.now_us;
            return self.at(wait, Happening::NodeResume { node, boot });
        }
        for (link, epoch, op, message) in std::mem::take(&mut model.inbox) {
            if self.nodes[&node].link == Some(link) {
                self.obey(node, epoch, op, message);
            }
        }
    }

    pub(super) fn obey(&mut self, node: u64, epoch: Epoch, op: OpId, message: ToNode) {
        let Some(model) = self.nodes.get_mut(&node) else { return };
        let opened = match &message {
            ToNode::EndpointOpen(open) => Some((open.endpoint, model.endpoints.contains_key(&open.endpoint))),
            _ => None,
        };
        let session = session_of(&message);
        let boot = model.boot;
        let column = format!("n{node}");
        let job = job_of(&message);
        let Some(result) = model.obey(epoch, op, message) else { return };
        self.trace.line(self.now_us, &column, &format!("obeys {op}: {}", brief(&result)));
        if let Some((endpoint, false)) = opened
            && self.nodes[&node].endpoints.contains_key(&endpoint)
        {
            let after = self.rng.random_range(30..800) * MS;
            let state = TransportState::Connected;
            self.at(after, Happening::Transport { node, boot, endpoint, state });
        }
        if let Some(job) = job {
            self.job_told(node, job);
        }
        let lane = session.map_or(CONTROL, lane_of);
        self.reply_from(node, lane, op, FromNode::Done(Done { result }));
    }

    /// A node says something on its link.
    pub(super) fn reply_from(&mut self, node: u64, lane: u16, op: OpId, message: FromNode) {
        let Some(link) = self.nodes[&node].link else { return };
        let at = self.arrival(node, link, lane, false);
        self.at(at - self.now_us, Happening::FromNode { node, link, op, message });
    }

    pub(super) fn beat(&mut self) {
        self.at(250 * MS, Happening::Beat);
        let keys: Vec<u64> = self.nodes.keys().copied().collect();
        for key in keys {
            if self.is_cut(key) {
                continue;
            }
            let now = self.now_us;
            let Some(node) = self.nodes.get_mut(&key) else { continue };
            let Some(link) = node.link.filter(|_| node.running && now >= node.paused_until) else { continue };
            if now >= node.stuck_until {
                node.turns += 1;
            }
            let (turns, count) = (node.turns, node.endpoints.len());
            let delay = self.rng.random_range(1..5) * MS;
            let heartbeat = FromNode::Heartbeat(Heartbeat { seq: turns, turns: vec![turns, turns + 1] });
            self.at(delay, Happening::FromNode { node: key, link, op: OpId(0), message: heartbeat });
            let endpoints = u32::try_from(count).unwrap_or(u32::MAX);
            let cpu_permille = u16::try_from(count * 5).unwrap_or(u16::MAX);
            let load = FromNode::Load(Load { cpu_permille, endpoints, ..Load::default() });
            self.at(delay, Happening::FromNode { node: key, link, op: OpId(0), message: load });
        }
    }

    pub(super) fn node_start(&mut self, node: u64) {
        let Some(model) = self.nodes.get_mut(&node) else { return };
        if model.running {
            return;
        }
        model.reboot();
        let boot = model.boot;
        let left: Vec<RecordingKey> = model.jobs.keys().copied().collect();
        for job in left {
            self.job_told(node, job);
        }
        self.note(&format!("n{node}"), &format!("starts, boot {boot}"));
        self.at(50 * MS, Happening::Dial { node, boot });
    }

    pub(super) fn transport(&mut self, node: u64, boot: u64, endpoint: EndpointKey, state: TransportState) {
        let Some(model) = self.nodes.get_mut(&node) else { return };
        if model.boot != boot || !model.running {
            return;
        }
        if let Some(event) = model.transport(endpoint, state) {
            self.note(&format!("n{node}"), &format!("{endpoint} {state:?}"));
            self.reply_from(node, EVENTS, OpId(0), FromNode::NodeEvent(event));
        }
    }

    /// Somebody speaks up somewhere.
    pub(super) fn speak(&mut self) {
        self.at(700 * MS, Happening::Speak);
        let candidates: Vec<(u64, SessionKey, StreamKey)> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.running && self.now_us >= node.paused_until)
            .flat_map(|(key, node)| {
                node.endpoints.values().filter_map(|it| match it.kind {
                    EndpointKind::Publish { stream } => Some((*key, it.session, stream)),
                    _ => None,
                })
            })
            .collect();
        if candidates.is_empty() || self.calm {
            return;
        }
        let (node, session, stream) = candidates[self.rng.random_range(0..candidates.len())];
        if let Some(model) = self.nodes.get_mut(&node) {
            let event = model.note(Some(session), NodeFact::Speakers { loudest: vec![stream] });
            self.reply_from(node, EVENTS, OpId(0), FromNode::NodeEvent(event));
        }
    }
}

/// The control stream and the event stream, beside the lanes of sessions.
const CONTROL: u16 = 1000;
pub(super) const EVENTS: u16 = 1001;

/// The job that a recorder is told to begin or to end.
const fn job_of(message: &ToNode) -> Option<RecordingKey> {
    match message {
        ToNode::RecordingStart(it) => Some(it.recording),
        ToNode::RecordingStop(it) => Some(it.recording),
        _ => None,
    }
}

fn lane_of(session: SessionKey) -> u16 {
    u16::try_from(session.0 % u64::from(common::limits::LANES)).unwrap_or(0)
}

fn session_of(message: &ToNode) -> Option<SessionKey> {
    match message {
        ToNode::SessionOpen(it) => Some(it.session),
        ToNode::SessionClose(it) => Some(it.session),
        ToNode::EndpointOpen(it) => Some(it.session),
        ToNode::EndpointAnswer(it) => Some(it.session),
        ToNode::Candidates(it) => Some(it.session),
        ToNode::EndpointClose(it) => Some(it.session),
        ToNode::Bind(it) => Some(it.session),
        ToNode::Permit(it) => Some(it.session),
        ToNode::Checkpoint(it) => Some(it.session),
        ToNode::Adopt(it) => Some(it.session),
        ToNode::Release(it) => Some(it.session),
        ToNode::TapGrant(it) => Some(it.session),
        ToNode::TapRevoke(it) => Some(it.session),
        ToNode::RecordingStart(it) => Some(it.session),
        ToNode::Welcome(_)
        | ToNode::NewEpoch(_)
        | ToNode::Drain(_)
        | ToNode::EventAck(_)
        | ToNode::Watch(_) => None,
        ToNode::RecordingRoster(_)
        | ToNode::RecordingStop(_)
        | ToNode::RecordingDelete(_)
        | ToNode::FileOpen(_) => None,
    }
}
