//! Pure: no clock, no I/O, no async.
//!
//! Commands to nodes: sent again under the same operation id until answered, given up when their time is over. A node
//! gives a repeated operation its first answer, so sending twice does no harm. Commands that are made and dropped
//! while one input is handled never leave.

use std::time::Duration;

use common::id::{NodeKey, OpId, SessionKey};
use common::wire::node::{NodeError, OpResult, ToNode};

use super::Core;
use super::event::millis;
use super::input::Output;
use super::model::{Command, Purpose, Timer};
use super::op::{Refusal, Reply};

impl Core {
    /// Makes a command for the session's lane of a node. Leaves now if the node's link stands, else with its return.
    pub(crate) fn command(
        &mut self,
        node: NodeKey,
        session: SessionKey,
        message: ToNode,
        purpose: Purpose,
        give_up_at: Option<Duration>,
    ) -> OpId {
        let op = OpId(self.keys.next());
        self.commands.insert(op, Command { node, session, message, purpose, give_up_at });
        if let Some(node) = self.nodes.get_mut(&node) {
            node.commands.insert(op);
        }
        self.unsent.push(op);
        op
    }

    /// Forgets a command; a late answer to it is ignored.
    pub(crate) fn drop_command(&mut self, op: OpId) -> Option<Command> {
        let command = self.commands.remove(&op)?;
        if let Some(node) = self.nodes.get_mut(&command.node) {
            node.commands.remove(&op);
        }
        Some(command)
    }

    /// Sends what was made while the input was handled.
    pub(crate) fn send_unsent(&mut self) {
        for op in std::mem::take(&mut self.unsent) {
            self.send(op);
        }
    }

    /// Sends everything that a node has not answered, in the order in which it was made.
    pub(crate) fn send_again(&mut self, node: NodeKey) {
        let ops: Vec<OpId> =
            self.nodes.get(&node).map(|it| it.commands.iter().copied().collect()).unwrap_or_default();
        for op in ops {
            if !self.unsent.contains(&op) {
                self.send(op);
            }
        }
    }

    fn send(&mut self, op: OpId) {
        let Some(command) = self.commands.get(&op) else { return };
        let left = command.give_up_at.map(|at| at.saturating_sub(self.now.mono));
        let wait = left.map_or(self.settings.resend_after, |left| left.min(self.settings.resend_after));
        if self.nodes.get(&command.node).is_some_and(super::model::Node::is_connected) {
            self.outbox.stage(Output::Send {
                node: command.node,
                session: Some(command.session),
                op,
                // 0 would be no limit.
                deadline_ms: left.map_or(0, |left| u32::try_from(millis(left).max(1)).unwrap_or(u32::MAX)),
                message: command.message.clone(),
            });
        }
        self.schedule(wait, Timer::Command(op));
    }

    /// A command was not answered: again, or given up.
    pub(crate) fn expire_command(&mut self, op: OpId) {
        let Some(command) = self.commands.get(&op) else { return };
        if command.give_up_at.is_none_or(|at| at > self.now.mono) {
            return self.send(op);
        }
        self.fail_command(op);
    }

    /// A node will not answer a command any more.
    pub(crate) fn fail_command(&mut self, op: OpId) {
        let Some(command) = self.drop_command(op) else { return };
        match command.purpose {
            Purpose::Open(opening) => self.opening_failed(command.session, &opening, Refusal::NodeSilent),
            Purpose::Answer { req, .. } | Purpose::Trickle { req, .. } => {
                self.refuse(req, Refusal::NodeSilent);
            }
            Purpose::Job { recording, step } => self.job_unanswered(recording, step),
            Purpose::Bind { .. } | Purpose::Close | Purpose::Permit | Purpose::SessionOpen => {}
        }
    }

    /// A node has answered a command.
    pub(crate) fn answered(&mut self, node: NodeKey, op: OpId, result: OpResult) {
        if self.commands.get(&op).is_none_or(|command| command.node != node) {
            return;
        }
        // A busy node has not begun; an epoch of its own making cannot be answered by this core but by stepping down.
        if let OpResult::Err(NodeError::Busy | NodeError::StaleEpoch(_)) = &result
            && self.commands.get(&op).is_some_and(|command| command.give_up_at.is_none())
        {
            return;
        }
        let Some(command) = self.drop_command(op) else { return };
        let session = command.session;
        match (command.purpose, result) {
            (Purpose::Open(opening), OpResult::Ready(ready)) => self.opened(node, session, *opening, ready),
            (Purpose::Open(opening), OpResult::Err(error)) => {
                self.opening_failed(session, &opening, Refusal::Node(error));
            }
            (Purpose::Open(opening), OpResult::Ok | OpResult::State(_)) => {
                let why = "the node opened an endpoint without an SDP".to_owned();
                self.opening_failed(session, &opening, Refusal::Node(NodeError::Internal { why }));
            }
            (Purpose::SessionOpen, OpResult::Err(error)) => self.session_open_failed(node, session, &error),
            (Purpose::SessionOpen, OpResult::Ok | OpResult::Ready(_) | OpResult::State(_)) => {
                self.session_opened(node, session);
            }
            (Purpose::Trickle { req, endpoint }, result) => self.trickled(req, endpoint, result),
            (Purpose::Answer { req, endpoint }, result) => self.answer_taken(req, endpoint, result),
            (Purpose::Bind { endpoint }, OpResult::Err(error)) => self.bind_failed(endpoint, &error),
            (Purpose::Job { recording, step }, result) => self.job_answered(node, recording, step, result),
            (Purpose::Bind { .. } | Purpose::Close | Purpose::Permit, _) => {}
        }
    }

    pub(crate) fn refuse(&mut self, req: u64, refusal: Refusal) {
        self.reply(req, Reply::Refused(refusal));
    }

    pub(crate) fn reply(&mut self, req: u64, reply: Reply) {
        let reply = match self.operations.remove(&req) {
            Some(pending) => self.operated(pending, &reply),
            None => reply,
        };
        self.outbox.stage(Output::Reply { req, reply });
    }
}
