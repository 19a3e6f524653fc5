//! Shell: owns the lanes' tasks.
//!
//! Commands of one session are carried out in order, those of different sessions beside each other: a lane is a task
//! with a short queue, and a session always uses the same one.

use std::sync::Arc;

use common::id::SessionKey;
use common::limits::LANES;
use common::net::node_link::{Command, Request, Requests, Running};
use common::telemetry::task::{self, Owned};
use common::wire::node::{NodeError, OpResult, ToNode};
use common::wire::recording::FileHead;
use tokio::sync::mpsc;

use super::Control;

/// Commands that may wait in one lane; more are answered `Busy`. A join takes 2 ms, so this is half a second.
const WAITING_MAX: usize = 256;

/// Hands requests to the lanes until the link is closed.
pub async fn run(control: Arc<Control>, mut requests: Requests) {
    let mut lanes = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..LANES {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        lanes.push(sender);
        tasks.push(Owned(task::spawn("lane", lane(Arc::clone(&control), receiver))));
    }
    while let Some(request) = requests.next().await {
        match request {
            Request::Inventory(inventory) => {
                let (sessions, endpoints) = control.table().running();
                inventory.answer(Running { sessions, endpoints, ..Running::default() });
            }
            // A media node has no files.
            Request::File(file) => file.answer(FileHead::Missing, None),
            Request::Command(command) => match session_of(&command.message) {
                Some(session) => {
                    let lane = usize::try_from(session.0 % u64::from(LANES)).unwrap_or(0);
                    if let Err(mpsc::error::TrySendError::Full(command)) = lanes[lane].try_send(command) {
                        command.reply.done(OpResult::Err(NodeError::Busy));
                    }
                }
                None => {
                    let result = control.execute(command.message).await;
                    command.reply.done(result);
                }
            },
        }
    }
}

async fn lane(control: Arc<Control>, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        let result = control.execute(command.message).await;
        command.reply.done(result);
    }
}

const fn session_of(message: &ToNode) -> Option<SessionKey> {
    match message {
        ToNode::SessionOpen(message) => Some(message.session),
        ToNode::SessionClose(message) => Some(message.session),
        ToNode::EndpointOpen(message) => Some(message.session),
        ToNode::EndpointAnswer(message) => Some(message.session),
        ToNode::Candidates(message) => Some(message.session),
        ToNode::EndpointClose(message) => Some(message.session),
        ToNode::Bind(message) => Some(message.session),
        ToNode::Permit(message) => Some(message.session),
        ToNode::Checkpoint(message) => Some(message.session),
        ToNode::Adopt(message) => Some(message.session),
        ToNode::Release(message) => Some(message.session),
        ToNode::TapGrant(message) => Some(message.session),
        ToNode::TapRevoke(message) => Some(message.session),
        ToNode::RecordingStart(message) => Some(message.session),
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
