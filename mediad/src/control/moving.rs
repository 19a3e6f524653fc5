//! Shell: waits for a worker's answer.
//!
//! Endpoints that move between nodes. A checkpoint is the endpoint as a value; whoever adopts it goes on with the same
//! ICE credentials, SRTP keys and numbers, and the client stays on its peer connection. Bindings are not part of it:
//! the master binds again, for the streams may come in any order.

use std::time::Duration;

use common::id::Generation;
use common::wire::node::{Adopt, Checkpoint, NodeError, OpResult, Release, SavedState, TransportState};
use tokio::sync::oneshot;

use super::Control;
use super::negotiation::Negotiated;
use super::table::Endpoint;
use crate::router::SavedMedia;
use crate::transport::negotiate;
use crate::transport::srtp::{Opener, Sealer};
use crate::transport::state::EndpointState;
use crate::worker::engine::{Adoption, Command, Open};

/// A worker that does not answer in this time is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

type State = EndpointState<SavedMedia>;

impl Control {
    /// Saves an endpoint. Its media must flow already.
    pub(super) async fn checkpoint(&self, message: Checkpoint) -> Result<OpResult, NodeError> {
        let (worker, head) = {
            let mut table = self.table();
            let permit = table.permit_of(message.endpoint);
            let (worker, endpoint) = table.endpoint(message.endpoint, Generation(u64::MAX))?;
            (worker, (endpoint.connection, endpoint.generation, endpoint.kind, permit))
        };
        let (reply, answer) = oneshot::channel();
        let Checkpoint { endpoint, holds, .. } = message;
        self.tell(worker, Command::Checkpoint { endpoint, holds, reply })?;
        let saved = match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(Some(saved))) => saved,
            Ok(Ok(None)) => return Err(internal("the endpoint is not connected yet")),
            Ok(Err(oneshot::error::RecvError { .. })) | Err(tokio::time::error::Elapsed { .. }) => {
                return Err(NodeError::Busy);
            }
        };
        let (connection, generation, kind, permit) = head;
        let number = saved.media.number;
        let state = State {
            session: message.session,
            connection,
            endpoint: message.endpoint,
            generation,
            kind,
            permit,
            binds: Vec::new(),
            ice: saved.ice,
            keys: saved.keys,
            spec: saved.spec,
            media: saved.media,
        };
        let bytes = state.encode().map_err(internal)?;
        Ok(OpResult::State(SavedState { number, bytes }))
    }

    /// Goes on with an endpoint that another node had.
    pub(super) fn adopt(&self, message: &Adopt) -> Result<OpResult, NodeError> {
        let mut state = State::decode(&message.state).map_err(internal)?;
        if message.generation <= state.generation {
            return Err(NodeError::StaleGeneration(state.generation));
        }
        if state.session != message.session {
            return Err(internal("the state is of another session"));
        }
        state.media.skip(message.earlier).map_err(|error| NodeError::Limit { limit: error.to_string() })?;
        let negotiation = Negotiated::of(&state.spec);
        let mut ready = negotiate::summary(&state.spec);
        let endpoint = Endpoint {
            session: state.session,
            connection: state.connection,
            kind: state.kind,
            opened: message.generation,
            generation: message.generation,
            state: TransportState::Connecting,
            ready: ready.clone(),
            negotiation,
        };
        let mut table = self.table();
        if let Ok((_, known)) = table.endpoint(state.endpoint, Generation(u64::MAX))
            && known.opened >= message.generation
        {
            let opened = known.opened;
            return if opened == message.generation {
                Ok(OpResult::Ready(known.ready.clone()))
            } else {
                Err(NodeError::StaleGeneration(opened))
            };
        }
        let key = state.endpoint;
        if !table.insert_endpoint(key, endpoint) {
            return Err(NodeError::UnknownSession);
        }
        let (worker, entry) = table.endpoint(key, Generation(u64::MAX))?;
        if let Negotiated::Agreed { mid, .. } = &entry.negotiation {
            ready.sdp = self.negotiator.announce(worker, &state.ice, mid);
            entry.ready.sdp.clone_from(&ready.sdp);
        }
        let told = self.tell(worker, Command::Open(Box::new(self.opening(state))));
        if told.is_err() {
            table.close_endpoint(key);
        }
        told.map(|_| OpResult::Ready(ready))
    }

    fn opening(&self, state: State) -> Open {
        let adoption = Adoption {
            sealer: Sealer::new(&state.keys),
            opener: Opener::resume(&state.keys, &state.media.rtp, &state.media.rtcp),
            ice: state.ice,
            keys: state.keys,
            media: state.media,
        };
        Open {
            session: state.session,
            connection: state.connection,
            endpoint: state.endpoint,
            spec: state.spec,
            binds: state.binds,
            kind: state.kind,
            permit: state.permit,
            ice: self.negotiator.ice_settings(),
            adoption: Some(Box::new(adoption)),
        }
    }

    /// Forgets an endpoint that another node has now, without a word to the client.
    pub(super) fn release(&self, message: Release) -> Result<OpResult, NodeError> {
        let mut table = self.table();
        match table.endpoint(message.endpoint, Generation(u64::MAX)) {
            Ok((_, known)) if known.opened >= message.generation => {
                return Err(NodeError::StaleGeneration(known.opened));
            }
            Ok(_) => {}
            Err(NodeError::UnknownEndpoint) => return Ok(OpResult::Ok),
            Err(error) => return Err(error),
        }
        let worker = table.close_endpoint(message.endpoint);
        drop(table);
        worker.map_or(Ok(OpResult::Ok), |worker| {
            self.tell(worker, Command::Release { endpoint: message.endpoint })
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "errors and literals alike are given away")]
fn internal(why: impl ToString) -> NodeError {
    NodeError::Internal { why: why.to_string() }
}
