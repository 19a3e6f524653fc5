//! Pure: no clock, no I/O, no async.
//!
//! Gives sessions their nodes: carries out what [`crate::placement::plan`] decides, keeps the reasons, and tries
//! another node when one refuses or falls silent before anybody is in the session.

use std::time::Duration;

use common::id::{DecisionKey, Generation, NodeKey, SessionKey};
use common::wire::node::{NodeError, SdpRequest, SessionOpen, ToNode};

use super::Core;
use super::model::{Node, Opening, Purpose, Reservation};
use super::op::{NodeStatus, Refusal};
use super::record::{DecisionRecord, Home, RecordKey};
use crate::limits::{DECISIONS_MAX, PLACEMENT_ATTEMPTS_MAX, VERDICTS_PER_DECISION_MAX};
use crate::placement::{self, Candidate, Work};

impl Core {
    /// The session's node; chosen now if it has none.
    pub(crate) fn ensure_home(&mut self, key: SessionKey) -> Result<NodeKey, Refusal> {
        let session = self.sessions.get(&key).ok_or(Refusal::UnknownSession)?;
        if let Some(home) = session.record.home {
            return Ok(home.node);
        }
        let name = session.record.name.clone();
        let candidates: Vec<Candidate<'_>> = self
            .nodes
            .iter()
            .map(|(node, live)| self.candidate(*node, live, session.tried.contains(node)))
            .collect();
        let wanted = session.record.properties.media_node.as_deref();
        let plan = placement::plan(&candidates, Work::Session, wanted);
        let chosen = plan.chosen;
        self.keep_decision(&name, None, plan);
        let node = chosen.ok_or_else(|| Refusal::NoMediaNode { session: name.clone() })?;
        let stress = self.sizes.expected_stress(&name);
        self.placements += 1;
        if let Some(live) = self.nodes.get_mut(&node) {
            live.placed = self.placements;
            live.sessions.insert(key);
            live.reservations.push_back(Reservation { at: self.now.mono, stress });
        }
        self.open_at(key, node);
        Ok(node)
    }

    pub(crate) fn candidate<'a>(&self, key: NodeKey, node: &'a Node, tried: bool) -> Candidate<'a> {
        Candidate {
            node: key,
            name: &node.record.name,
            status: node.record.status,
            connected: node.is_connected(),
            suspect: node.suspect,
            recorder: node.record.recorder,
            load: &node.load,
            load_age: node.load_at.map(|at| self.core_time().saturating_sub(at)),
            reserved: self.reserved(node),
            sessions: (node.sessions.len() + node.jobs.len(), node.record.capacity.sessions_max),
            placed: node.placed,
            tried,
        }
    }

    /// Stress that was promised to a node and has not shown yet: each promise fades in a straight line.
    pub(crate) fn reserved(&self, node: &Node) -> f64 {
        let decay = self.settings.reservation_decay;
        let faded = |it: &Reservation| {
            let age = self.now.mono.saturating_sub(it.at);
            let left = 1.0 - age.as_secs_f64() / decay.as_secs_f64().max(f64::MIN_POSITIVE);
            it.stress * left.max(0.0)
        };
        node.reservations.iter().map(faded).sum()
    }

    /// Forgets promises that have faded.
    pub(crate) fn fade(&mut self, node: NodeKey) {
        let (decay, now): (Duration, Duration) = (self.settings.reservation_decay, self.now.mono);
        if let Some(node) = self.nodes.get_mut(&node) {
            while node.reservations.front().is_some_and(|it| it.at + decay <= now) {
                node.reservations.pop_front();
            }
        }
    }

    /// Makes room for a session on its new home.
    fn open_at(&mut self, key: SessionKey, node: NodeKey) {
        let generation = Generation(self.keys.next());
        let preferred = self.settings.video_codec_preferred.clone();
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.record.home = Some(Home { node, generation });
        session.confirmed_link = 0;
        let video_codec = match session.record.properties.forced_video_codec.as_str() {
            "" | "NONE" => None,
            "MEDIA_SERVER_PREFERRED" => preferred,
            codec => Some(codec.to_owned()),
        };
        if session.record.active {
            self.dirty.insert(RecordKey::Session(key));
        }
        let message = SessionOpen { session: key, generation, video_codec, ext: Vec::new() };
        self.command(node, key, message.into(), Purpose::SessionOpen, None);
    }

    /// Keeps a decision for reading; `recording` is set where it is about a recorder.
    pub(crate) fn keep_decision(&mut self, session: &str, recording: Option<String>, plan: placement::Plan) {
        let chosen = plan.chosen.and_then(|it| self.nodes.get(&it)).map(|it| it.record.name.clone());
        let verdicts = plan.verdicts.into_iter().take(VERDICTS_PER_DECISION_MAX);
        let record = DecisionRecord {
            at: self.now.unix,
            session: session.to_owned(),
            recording,
            chosen,
            verdicts: verdicts.map(|it| (it.name, it.score, it.why)).collect(),
        };
        let key = DecisionKey(self.keys.next());
        self.decisions.insert(key, record);
        self.lazy.insert(RecordKey::Decision(key));
        while self.decisions.len() > DECISIONS_MAX {
            if let Some((oldest, _)) = self.decisions.pop_first() {
                self.lazy.insert(RecordKey::Decision(oldest));
            }
        }
        self.schedule_flush();
    }

    /// A node has made room for a session.
    pub(crate) fn session_opened(&mut self, node: NodeKey, key: SessionKey) {
        let link = self.nodes.get(&node).map_or(0, |it| it.links);
        if let Some(session) = self.sessions.get_mut(&key)
            && session.record.home.is_some_and(|home| home.node == node)
        {
            session.confirmed_link = link;
            session.tried.clear();
        }
    }

    /// A node does not take a session.
    pub(crate) fn session_open_failed(&mut self, node: NodeKey, key: SessionKey, error: &NodeError) {
        if *error == NodeError::Draining {
            self.set_status(node, NodeStatus::WaitingIdleToTerminate);
        }
        self.rehome(key, node, &Refusal::Node(error.clone()));
    }

    /// A session loses its home before anything of it runs there: its joins are tried on other nodes.
    pub(crate) fn rehome(&mut self, key: SessionKey, node: NodeKey, refusal: &Refusal) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.record.home.is_none_or(|home| home.node != node) {
            return;
        }
        session.record.home = None;
        session.confirmed_link = 0;
        session.tried.insert(node);
        if session.record.active {
            self.dirty.insert(RecordKey::Session(key));
        }
        let waiting = self.take_openings(key);
        self.leave_home(key, node);
        for (mut opening, sdp, give_up_at) in waiting {
            let again = opening.attempts < PLACEMENT_ATTEMPTS_MAX && give_up_at > self.now.mono;
            let home = if again { self.ensure_home(key) } else { Err(refusal.clone()) };
            match home {
                Ok(home) => {
                    opening.attempts += 1;
                    self.send_opening(home, key, opening, sdp, give_up_at);
                }
                // What the first node said is nearer to the cause than that no other was found.
                Err(_) => self.opening_failed(key, &opening, refusal.clone()),
            }
        }
        if let Some(session) = self.sessions.get_mut(&key)
            && session.openings.is_empty()
        {
            session.tried.clear();
        }
    }

    /// Calls back the joins that are under way, with what is needed to try them elsewhere.
    fn take_openings(&mut self, key: SessionKey) -> Vec<(Opening, SdpRequest, Duration)> {
        let Some(session) = self.sessions.get_mut(&key) else { return Vec::new() };
        let ops = std::mem::take(&mut session.openings);
        let mut waiting = Vec::new();
        for op in ops {
            let Some(command) = self.drop_command(op) else { continue };
            if let (Purpose::Open(opening), ToNode::EndpointOpen(message)) =
                (command.purpose, command.message)
            {
                if let Some(connection) = self.connections.get_mut(&opening.connection) {
                    connection.openings.remove(&op);
                }
                waiting.push((*opening, message.sdp, command.give_up_at.unwrap_or(self.now.mono)));
            }
        }
        waiting
    }
}
