//! Pure: no clock, no I/O, no async.
//!
//! Which recorder may tap which session, as the master says, and which connection does.

use std::collections::HashMap;

use common::id::{NodeKey, RecordingKey, SessionKey};
use common::wire::node::NodeError;
use common::wire::recording::{TapGrant, TapRevoke};

/// Grants of one session. A session has one recording at a time; a new one may begin while the old one ends.
const PER_SESSION_MAX: usize = 8;

/// Grants of one node.
const GRANTS_MAX: usize = 20_000;

/// The grants of a node.
#[derive(Debug, Default)]
pub struct Grants {
    grants: HashMap<SessionKey, Vec<Granted>>,
    count: usize,
    lives: u64,
}

#[derive(Debug)]
struct Granted {
    grant: TapGrant,
    /// The tap that uses it; 0 is none.
    life: u64,
}

impl Grants {
    /// Takes a grant in; a newer one of the same recording replaces it.
    ///
    /// # Errors
    /// A newer one holds, or there are too many.
    pub fn grant(&mut self, grant: &TapGrant) -> Result<(), NodeError> {
        if self.count >= GRANTS_MAX && self.find(grant.session, grant.recording).is_none() {
            return Err(NodeError::Limit { limit: format!("{GRANTS_MAX} recordings") });
        }
        let of_session = self.grants.entry(grant.session).or_default();
        if let Some(known) = of_session.iter_mut().find(|known| known.grant.recording == grant.recording) {
            if grant.generation < known.grant.generation {
                return Err(NodeError::StaleGeneration(known.grant.generation));
            }
            if grant.recorder != known.grant.recorder {
                known.life = 0;
            }
            known.grant = *grant;
            return Ok(());
        }
        if of_session.len() >= PER_SESSION_MAX {
            return Err(NodeError::Limit { limit: format!("{PER_SESSION_MAX} recordings of a session") });
        }
        of_session.push(Granted { grant: *grant, life: 0 });
        self.count += 1;
        Ok(())
    }

    /// Ends a grant.
    pub fn revoke(&mut self, revoke: &TapRevoke) {
        if let Some(of_session) = self.grants.get_mut(&revoke.session) {
            let before = of_session.len();
            of_session.retain(|known| known.grant.recording != revoke.recording);
            self.count -= before - of_session.len();
            if of_session.is_empty() {
                self.grants.remove(&revoke.session);
            }
        }
    }

    /// Ends all grants of a session.
    pub fn close_session(&mut self, session: SessionKey) {
        self.count -= self.grants.remove(&session).map_or(0, |of_session| of_session.len());
    }

    /// A tap begins; the one that used the grant before is over. None without a grant for this recorder.
    pub fn begin(&mut self, session: SessionKey, recording: RecordingKey, recorder: NodeKey) -> Option<u64> {
        self.lives += 1;
        let life = self.lives;
        let granted = self.find(session, recording)?;
        if granted.grant.recorder != recorder {
            return None;
        }
        granted.life = life;
        Some(life)
    }

    /// Whether a tap may go on; none if its grant is gone, false if another connection uses it now.
    pub fn holds(&mut self, session: SessionKey, recording: RecordingKey, life: u64) -> Option<bool> {
        self.find(session, recording).filter(|granted| granted.life != 0).map(|granted| granted.life == life)
    }

    fn find(&mut self, session: SessionKey, recording: RecordingKey) -> Option<&mut Granted> {
        self.grants.get_mut(&session)?.iter_mut().find(|known| known.grant.recording == recording)
    }
}

#[cfg(test)]
mod tests {
    use common::id::Generation;

    use super::*;

    const SESSION: SessionKey = SessionKey(1);
    const RECORDING: RecordingKey = RecordingKey(2);

    fn grant(recorder: u64, generation: u64) -> TapGrant {
        TapGrant {
            session: SESSION,
            recording: RECORDING,
            recorder: NodeKey(recorder),
            generation: Generation(generation),
        }
    }

    #[test]
    fn only_the_granted_recorder_taps_and_only_once() {
        let mut grants = Grants::default();
        assert_eq!(grants.begin(SESSION, RECORDING, NodeKey(3)), None);
        grants.grant(&grant(3, 1)).unwrap();
        assert_eq!(grants.begin(SESSION, RECORDING, NodeKey(4)), None);
        assert_eq!(grants.begin(SESSION, RecordingKey(9), NodeKey(3)), None);
        let first = grants.begin(SESSION, RECORDING, NodeKey(3)).unwrap();
        assert_eq!(grants.holds(SESSION, RECORDING, first), Some(true));
        let second = grants.begin(SESSION, RECORDING, NodeKey(3)).unwrap();
        assert_eq!(grants.holds(SESSION, RECORDING, first), Some(false));
        grants.grant(&grant(3, 1)).unwrap();
        assert_eq!(grants.holds(SESSION, RECORDING, second), Some(true), "a repeated grant changes nothing");
    }

    #[test]
    fn another_recorder_or_a_revocation_ends_the_tap() {
        let mut grants = Grants::default();
        grants.grant(&grant(3, 5)).unwrap();
        let first = grants.begin(SESSION, RECORDING, NodeKey(3)).unwrap();
        assert_eq!(grants.grant(&grant(4, 4)), Err(NodeError::StaleGeneration(Generation(5))));
        grants.grant(&grant(4, 6)).unwrap();
        assert_eq!(grants.holds(SESSION, RECORDING, first), None);
        let second = grants.begin(SESSION, RECORDING, NodeKey(4)).unwrap();
        let revoke = TapRevoke { session: SESSION, recording: RECORDING };
        grants.revoke(&revoke);
        grants.revoke(&revoke);
        assert_eq!(grants.holds(SESSION, RECORDING, second), None);
        grants.grant(&grant(4, 1)).unwrap();
        grants.close_session(SESSION);
        assert_eq!((grants.begin(SESSION, RECORDING, NodeKey(4)), grants.count), (None, 0));
    }

    #[test]
    fn grants_of_a_session_are_bounded() {
        let mut grants = Grants::default();
        for recording in 0..PER_SESSION_MAX as u64 {
            grants.grant(&TapGrant { recording: RecordingKey(recording), ..grant(3, 1) }).unwrap();
        }
        let over = grants.grant(&TapGrant { recording: RecordingKey(99), ..grant(3, 1) });
        assert!(matches!(over, Err(NodeError::Limit { .. })));
    }
}
