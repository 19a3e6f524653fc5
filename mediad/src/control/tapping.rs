//! Shell: locks the grants, asks workers.
//!
//! What taps are of: the node's sessions and the master's grants.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use common::id::{NodeKey, RecordingKey, SessionKey};
use common::net::close::CloseCode;
use common::wire::node::{NodeError, OpResult};
use common::wire::recording::{TapGrant, TapRevoke};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Control;
use crate::router::{Look, Seen};
use crate::tap::grants::Grants;
use crate::tap::{Refused, Source, TapCounters};
use crate::worker::engine::Command;

/// A worker that takes longer to show a session has other worries.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

impl Control {
    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn grant_tap(&self, grant: &TapGrant) -> Result<OpResult, NodeError> {
        if self.table().worker_of(grant.session).is_none() {
            return Err(NodeError::UnknownSession);
        }
        self.grants().grant(grant).map(|()| OpResult::Ok)
    }

    pub(super) fn revoke_tap(&self, revoke: &TapRevoke) -> OpResult {
        self.grants().revoke(revoke);
        OpResult::Ok
    }

    pub(super) fn close_taps(&self, session: SessionKey) {
        self.grants().close_session(session);
    }
}

impl Source for Control {
    fn begin(&self, recorder: NodeKey, session: SessionKey, recording: RecordingKey) -> Result<u64, Refused> {
        if self.table().worker_of(session).is_none() {
            return Err((CloseCode::UnknownSession, "the session is not open on this node"));
        }
        let begun = self.grants().begin(session, recording, recorder);
        begun.ok_or((CloseCode::NotGranted, "the master has not granted this tap to this recorder"))
    }

    fn holds(&self, session: SessionKey, recording: RecordingKey, life: u64) -> Result<(), Refused> {
        if self.table().worker_of(session).is_none() {
            return Err((CloseCode::UnknownSession, "the session was closed"));
        }
        match self.grants().holds(session, recording, life) {
            Some(true) => Ok(()),
            Some(false) => Err((CloseCode::Superseded, "another connection taps for the same recording")),
            None => Err((CloseCode::NotGranted, "the master has revoked this tap")),
        }
    }

    async fn look(&self, look: Look) -> Option<Seen> {
        let worker = self.table().worker_of(look.session)?;
        let (reply, shown) = oneshot::channel();
        self.tell(worker, Command::Look { look: Box::new(look), reply }).ok()?;
        let seen = timeout(LOOK_TIMEOUT, shown).await.ok()?.ok()?;
        Some(*seen)
    }

    fn counters(&self) -> &TapCounters {
        &self.taps
    }
}
