//! Shell: tables shared between tasks.
//!
//! Which nodes are connected, and the way to each.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use common::id::{BootId, NodeKey};
use common::limits::{COMMANDS_PER_NODE_MAX, FRAME_BYTES_MAX};
use common::wire::Envelope;
use quinn::Connection;
use tokio::sync::{Mutex, mpsc};

use super::{LinkInput, SendError};

/// Commands that may wait in one lane, and on the control stream. All of a node's may be of one session: a new stream
/// of a large one binds a slot of everybody.
pub(super) const COMMANDS_PER_LANE_MAX: usize = COMMANDS_PER_NODE_MAX;

/// Space that an envelope needs around its body.
const ENVELOPE_BYTES_MAX: usize = 64;

/// The way to one connected node.
pub(super) struct Link {
    pub(super) boot: BootId,
    pub(super) connection: Connection,
    pub(super) control: mpsc::Sender<Envelope>,
    pub(super) lanes: Vec<mpsc::Sender<Envelope>>,
}

#[derive(Default)]
pub(super) struct Registry {
    // A lock, not a message: the core's sends must not wait for a task.
    links: RwLock<HashMap<NodeKey, Arc<Link>>>,
    /// Held while `Up` and `Down` are told, so that they come in the order of what happened.
    order: Mutex<()>,
}

impl Registry {
    fn links(&self) -> HashMap<NodeKey, Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn link(&self, node: NodeKey) -> Option<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(&node).map(Arc::clone)
    }

    /// Queues a command.
    pub(super) fn send(&self, node: NodeKey, lane: Option<u16>, envelope: Envelope) -> Result<(), SendError> {
        if envelope.body.len() + ENVELOPE_BYTES_MAX > FRAME_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        let link = self.link(node).ok_or(SendError::NotConnected)?;
        let queue = lane.and_then(|lane| link.lanes.get(usize::from(lane))).unwrap_or(&link.control);
        queue.try_send(envelope).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Busy,
            mpsc::error::TrySendError::Closed(_) => SendError::NotConnected,
        })
    }

    /// The connection to a node.
    pub(super) fn connection(&self, node: NodeKey) -> Option<Connection> {
        self.link(node).map(|link| link.connection.clone())
    }

    /// The present link of a node.
    pub(super) fn present(&self, node: NodeKey) -> Option<Arc<Link>> {
        self.link(node)
    }

    pub(super) fn connected(&self) -> Vec<NodeKey> {
        self.links().into_keys().collect()
    }

    /// A node is there. Its former link, if any, is returned after its end was told.
    pub(super) async fn insert(
        &self,
        node: NodeKey,
        link: Arc<Link>,
        up: LinkInput,
        inputs: &mpsc::Sender<LinkInput>,
    ) -> Option<Arc<Link>> {
        let _order = self.order.lock().await;
        let former = self.links.write().unwrap_or_else(PoisonError::into_inner).insert(node, link);
        if let Some(former) = &former {
            let why = "the node has opened a new connection".to_owned();
            // Whoever reads the inputs is gone when masterd ends.
            drop(inputs.send(LinkInput::Down { node, boot: former.boot, why }).await);
        }
        drop(inputs.send(up).await);
        former
    }

    /// A link ended. Nothing happens when another one has taken its place.
    pub(super) async fn remove(
        &self,
        node: NodeKey,
        link: &Arc<Link>,
        why: String,
        inputs: &mpsc::Sender<LinkInput>,
    ) {
        let _order = self.order.lock().await;
        let removed = {
            let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
            let is_present = links.get(&node).is_some_and(|present| Arc::ptr_eq(present, link));
            if is_present { links.remove(&node) } else { None }
        };
        if removed.is_some() {
            drop(inputs.send(LinkInput::Down { node, boot: link.boot, why }).await);
        }
    }

    /// Whether `link` is the present one of the node.
    pub(super) fn is_present(&self, node: NodeKey, link: &Arc<Link>) -> bool {
        self.link(node).is_some_and(|present| Arc::ptr_eq(&present, link))
    }
}
