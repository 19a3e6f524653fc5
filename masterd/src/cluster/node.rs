//! Pure: no clock, no I/O, no async.
//!
//! Life cycle of media nodes and recorders: they come by their link, are lost by silence (`heartbeat.rs`), return, or
//! leave. A process that was started anew has lost everything that it ran.

use std::net::IpAddr;

use common::id::{BootId, NodeKey, OpId, SessionKey};
use common::wire::node::{Drain, EventAck, FromNode, Hello, NodeEvent, NodeFact, Role, TransportState};

use super::Core;
use super::input::Output;
use super::model::{Inventoried, Link, Node, Purpose};
use super::names;
use super::op::{Fact, NodeStatus, Reason, Refusal, Reply, RequestId};
use super::record::{NodeRecord, RecordKey};
use crate::limits::NODES_MAX;

impl Core {
    pub(crate) fn link_up(&mut self, key: NodeKey, hello: &Hello, address: IpAddr) {
        if !self.nodes.contains_key(&key) && self.nodes.len() >= NODES_MAX {
            self.nodes_refused += 1;
            return;
        }
        let known = self.nodes.get(&key).map(|it| it.is_boot(hello.boot));
        if known == Some(false) {
            self.crash(key);
            self.fail_commands(key);
            self.recorder_restarted(key);
        }
        let name = self.node_name(key, hello);
        let (core_time, unix) = (self.core_time(), self.now.unix);
        let node = self.nodes.entry(key).or_insert_with(|| {
            let record = NodeRecord {
                name: name.clone(),
                environment: String::new(),
                boot: hello.boot,
                status: NodeStatus::Launching,
                drain: false,
                address: String::new(),
                program: String::new(),
                recorder: false,
                capacity: hello.capacity,
                launched_at: unix,
                lost_at: None,
                media_link: Vec::new(),
            };
            Node::new(record, core_time, unix)
        });
        let record = &mut node.record;
        record.name = name;
        record.environment.clone_from(&hello.name);
        record.boot = hello.boot;
        record.address = address.to_string();
        record.program.clone_from(&hello.program);
        record.recorder = hello.role == Role::Recorder;
        record.capacity = hello.capacity;
        record.media_link.clone_from(&hello.media_link);
        node.link = Link::Up { since: unix };
        node.links += 1;
        node.heard_at = core_time;
        node.suspect = false;
        node.turns.clear();
        node.inventory = Inventoried::default();
        if known == Some(false) {
            node.event_seq = 0;
            node.load_at = None;
        }
        let drain = record.drain;
        self.dirty.insert(RecordKey::Node(key));
        if known.is_none() {
            let launching = self.status_fact(key, None, NodeStatus::Launching);
            self.emit_status(&[], &launching);
        }
        self.arrive(key, known == Some(true));
        if drain {
            self.control(key, Drain { on: true, deadline_ms: 0 }.into());
        }
        self.send_again(key);
    }

    /// A node that is heard takes the state that it should have.
    fn arrive(&mut self, key: NodeKey, same_boot: bool) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        node.record.lost_at = None;
        let draining = node.record.status == NodeStatus::WaitingIdleToTerminate
            || node.record.status == NodeStatus::Terminating;
        let to = match (node.record.drain, same_boot && draining) {
            (true, _) => NodeStatus::WaitingIdleToTerminate,
            (false, true) => node.record.status,
            (false, false) => NodeStatus::Running,
        };
        self.set_status(key, to);
    }

    /// The public id: from the node's configuration, unless another node that is there has it.
    fn node_name(&mut self, key: NodeKey, hello: &Hello) -> String {
        let present = self.nodes.get(&key).map(|it| it.record.name.clone());
        let wanted = format!("media_{}", hello.name);
        let usable = !hello.name.is_empty() && hello.name.len() <= 128;
        if let Some(present) = present
            && (!usable || present == wanted)
        {
            return present;
        }
        let holder = self.nodes.iter().find(|(it, node)| **it != key && node.record.name == wanted);
        match holder.map(|(it, node)| (*it, node.record.status)) {
            None if usable => wanted,
            // A machine that was enrolled anew under its old name takes its place.
            Some((holder, NodeStatus::Lost)) if usable => {
                self.forget_node(holder);
                wanted
            }
            None | Some(_) => loop {
                let name = names::node(&mut self.rng);
                if !self.nodes.values().any(|it| it.record.name == name) {
                    return name;
                }
            },
        }
    }

    pub(crate) fn link_down(&mut self, key: NodeKey, boot: BootId) {
        let unix = self.now.unix;
        let Some(node) = self.nodes.get_mut(&key) else { return };
        if !node.is_boot(boot) || !node.is_connected() {
            return;
        }
        node.link = Link::Down { since: unix, was_up_since: node.connected_at() };
        let idle = node.sessions.is_empty() && node.jobs.is_empty();
        // One that was told to go, and has nothing left, has gone.
        if node.record.status == NodeStatus::Terminating
            || (node.record.status == NodeStatus::WaitingIdleToTerminate && idle && !node.record.drain)
        {
            self.forget_node(key);
        }
    }

    /// A message of the link that stands.
    pub(crate) fn node_message(&mut self, key: NodeKey, boot: BootId, op: OpId, message: FromNode) {
        let core_time = self.core_time();
        let Some(node) = self.nodes.get_mut(&key) else { return };
        if !node.is_boot(boot) || !node.is_connected() {
            return;
        }
        match message {
            FromNode::Heartbeat(heartbeat) => self.heartbeat(key, &heartbeat),
            FromNode::Load(load) => {
                node.load_at = Some(core_time);
                let (stress, _) = crate::placement::score::stress(&load);
                self.sizes.learn_cost(stress, load.endpoints);
                node.load = load;
                self.fade(key);
            }
            FromNode::Done(done) => self.answered(key, op, done.result),
            FromNode::NodeEvent(event) => self.node_event(key, event),
            FromNode::Inventory(chunk) => self.inventory(key, chunk),
            FromNode::Unsupported(_) => {
                self.answered(
                    key,
                    op,
                    common::wire::node::OpResult::Err(common::wire::node::NodeError::Unsupported),
                );
            }
            // The link has dealt with these.
            FromNode::Hello(_)
            | FromNode::LaneOpen(_)
            | FromNode::FileHead(_)
            | FromNode::SessionStats(_) => {}
        }
    }

    fn node_event(&mut self, key: NodeKey, event: NodeEvent) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        let new = event.seq > node.event_seq;
        node.event_seq = node.event_seq.max(event.seq);
        let seq = node.event_seq;
        if new {
            self.node_fact(key, event.session, event.what);
        }
        // Leaves when what the event has changed is durable.
        self.control(key, EventAck { seq }.into());
    }

    fn node_fact(&mut self, key: NodeKey, session: Option<SessionKey>, what: NodeFact) {
        let here = |core: &Self, endpoint| {
            let session = core.endpoints.get(&endpoint).map(|it| it.record.session);
            session.and_then(|it| core.sessions.get(&it)?.record.home).is_some_and(|home| home.node == key)
        };
        match what {
            NodeFact::Transport { endpoint, state, .. } if here(self, endpoint) => {
                self.transport_changed(endpoint, state);
            }
            NodeFact::Slot { endpoint, slot, kind, stream, why } if here(self, endpoint) => {
                self.slot_gap(endpoint, slot, kind, stream, why);
            }
            NodeFact::Speakers { loudest } => {
                if let Some(session) = session.filter(|it| self.home_of(*it) == Some(key)) {
                    self.speakers(session, &loudest);
                }
            }
            NodeFact::Drained => self.set_status(key, NodeStatus::Terminating),
            NodeFact::Recording(report) => self.recording_report(key, report),
            NodeFact::Draining => {
                if self.nodes.get(&key).is_some_and(|it| it.record.status == NodeStatus::Running) {
                    self.set_status(key, NodeStatus::WaitingIdleToTerminate);
                }
            }
            // About endpoints that are closed by now, and first media of a track, on which nothing depends.
            NodeFact::Transport { .. } | NodeFact::Slot { .. } | NodeFact::Track { .. } => {}
        }
    }

    fn home_of(&self, session: SessionKey) -> Option<NodeKey> {
        self.sessions.get(&session).and_then(|it| it.record.home).map(|it| it.node)
    }

    /// A transport changed its state; its end ends the endpoint.
    pub(crate) fn transport_changed(&mut self, key: common::id::EndpointKey, state: TransportState) {
        let Some(record) = self.endpoints.get(&key).map(|it| &it.record) else { return };
        let session = record.session;
        let resource = record.resource.clone();
        let Some(connection) = self.connections.get(&record.connection).map(|it| it.record.name.clone())
        else {
            return;
        };
        let (name, end) = match state {
            TransportState::Connecting => return,
            TransportState::Connected => ("connected", None),
            TransportState::Disconnected => ("disconnected", None),
            TransportState::Failed => ("failed", Some(Reason::NetworkDisconnect)),
            TransportState::Closed => ("closed", Some(Reason::Disconnect)),
        };
        let audience = Some(vec![connection.clone()]);
        self.emit_to(session, audience, Fact::Transport { connection, resource, state: name.to_owned() });
        if let Some(reason) = end {
            self.endpoint_lost(key, reason);
        }
    }

    /// A node's process is gone, or as good as gone: its sessions end.
    pub(crate) fn crash(&mut self, key: NodeKey) {
        let now = self.now.unix;
        self.set_status(key, NodeStatus::Lost);
        let Some(node) = self.nodes.get_mut(&key) else { return };
        node.record.lost_at = Some(now);
        let sessions: Vec<SessionKey> = node.sessions.iter().copied().collect();
        self.dirty.insert(RecordKey::Node(key));
        for session in sessions {
            if self.sessions.get(&session).is_some_and(|it| it.record.active) {
                self.destroy(session, Reason::NodeCrashed);
            } else {
                self.rehome(session, key, &Refusal::NodeSilent);
            }
        }
        self.recorder_lost(key);
    }

    /// Nothing that was asked of a node's earlier process will be answered.
    fn fail_commands(&mut self, key: NodeKey) {
        let ops: Vec<OpId> =
            self.nodes.get(&key).map(|it| it.commands.iter().copied().collect()).unwrap_or_default();
        for op in ops {
            self.fail_command(op);
        }
        // What failed openings have asked to close is gone with the process as well.
        let closes: Vec<OpId> =
            self.nodes.get(&key).map(|it| it.commands.iter().copied().collect()).unwrap_or_default();
        for op in closes {
            if self.commands.get(&op).is_some_and(|it| matches!(it.purpose, Purpose::Close)) {
                self.drop_command(op);
            }
        }
    }

    /// A node that was lost is heard again: it serves as before. What it still runs of closed sessions is closed.
    pub(crate) fn returned(&mut self, key: NodeKey) {
        self.dirty.insert(RecordKey::Node(key));
        self.arrive(key, true);
        self.send_again(key);
    }

    /// A node leaves the cluster for good.
    pub(crate) fn forget_node(&mut self, key: NodeKey) {
        if self.nodes.get(&key).is_none_or(|it| !it.sessions.is_empty()) {
            return;
        }
        self.give_up_jobs(key);
        self.set_status(key, NodeStatus::Terminated);
        self.fail_commands(key);
        if let Some(node) = self.nodes.remove(&key) {
            for op in node.commands {
                self.commands.remove(&op);
            }
        }
        self.dirty.insert(RecordKey::Node(key));
    }

    pub(crate) fn set_status(&mut self, key: NodeKey, to: NodeStatus) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        let from = node.record.status;
        if from == to {
            return;
        }
        node.record.status = to;
        let sessions: Vec<SessionKey> = node.sessions.iter().copied().collect();
        self.dirty.insert(RecordKey::Node(key));
        let fact = self.status_fact(key, Some(from), to);
        self.emit_status(&sessions, &fact);
    }

    fn status_fact(&self, key: NodeKey, from: Option<NodeStatus>, to: NodeStatus) -> Fact {
        let node = self.nodes.get(&key).map(|it| it.record.name.clone()).unwrap_or_default();
        Fact::NodeStatusChanged { node, from, to }
    }

    pub(crate) fn node_drain(&mut self, req: RequestId, name: &str, on: bool) {
        let Some(key) = self.find_node(name) else { return self.refuse(req, Refusal::UnknownNode) };
        let Some(node) = self.nodes.get_mut(&key) else { return };
        node.record.drain = on;
        let to = match (node.record.status, on) {
            (NodeStatus::Running, true) => NodeStatus::WaitingIdleToTerminate,
            // One that is empty already is taken back as well.
            (NodeStatus::WaitingIdleToTerminate | NodeStatus::Terminating, false) => NodeStatus::Running,
            (present, _) => present,
        };
        self.dirty.insert(RecordKey::Node(key));
        self.set_status(key, to);
        self.control(key, Drain { on, deadline_ms: 0 }.into());
        self.reply(req, Reply::Done);
    }

    /// Tells a node to take no more sessions; it says so when it is empty.
    pub(crate) fn tell_drain(&mut self, key: NodeKey) {
        self.control(key, Drain { on: true, deadline_ms: 0 }.into());
    }

    pub(crate) fn find_node(&self, name: &str) -> Option<NodeKey> {
        self.nodes.iter().find(|(_, it)| it.record.name == name).map(|(key, _)| *key)
    }

    /// Sends a message that expects no answer down the control stream.
    fn control(&mut self, node: NodeKey, message: common::wire::node::ToNode) {
        if self.nodes.get(&node).is_some_and(Node::is_connected) {
            self.outbox.stage(Output::Send { node, session: None, op: OpId(0), deadline_ms: 0, message });
        }
    }
}
