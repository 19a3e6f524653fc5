//! Pure: no clock, no I/O, no async.
//!
//! What the node runs as the master intends it: sessions, endpoints, permissions and their generations. Decides whether a
//! command is to be carried out, was already, or comes too late; carrying out is the shell's.
//!
//! Generations: a session and a permission have one each. An endpoint has that of its opening, below which nothing
//! about it is accepted, and that of its bindings, which rises with each [`Bind`].

use std::collections::{BTreeSet, HashMap};

use common::id::{ConnectionKey, EndpointKey, Generation, SessionKey};
use common::wire::node::{
    Bind, EndpointAt, EndpointKind, EndpointOpen, NodeError, Permit, Ready, SessionOpen, TransportState,
};

/// Sessions of one node. More than any one machine carries.
const SESSIONS_MAX: usize = 20_000;

/// Endpoints of one connection: a publisher, a player, and one for each stream that it receives on its own.
const ENDPOINTS_PER_CONNECTION_MAX: usize = 256;

/// Permissions of one session. They outlive the connection's endpoints, which may come again.
const PERMITS_MAX: usize = 16_384;

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Of its intended state.
    pub generation: Generation,
    /// The worker that it lives on.
    pub worker: usize,
    /// The only video codec that it negotiates.
    pub video_codec: Option<String>,
    endpoints: BTreeSet<EndpointKey>,
    permits: HashMap<ConnectionKey, Permit>,
}

/// One endpoint.
#[derive(Debug)]
pub struct Endpoint<N> {
    /// Its session.
    pub session: SessionKey,
    /// Its participant.
    pub connection: ConnectionKey,
    /// What it is for.
    pub kind: EndpointKind,
    /// That it was opened with.
    pub opened: Generation,
    /// Of its intended state.
    pub generation: Generation,
    /// Last reported state.
    pub state: TransportState,
    /// What the opening was answered with.
    pub ready: Ready,
    /// The negotiation, for answers and restarts to come.
    pub negotiation: N,
}

/// Whether an endpoint is to be opened.
#[derive(Debug)]
pub enum Admission {
    /// It is open as wanted; this was the answer.
    Open(Ready),
    /// It is new, or newer than the one that is open.
    New {
        /// The worker that it goes to.
        worker: usize,
        /// The only video codec that its session negotiates.
        video_codec: Option<String>,
        /// What the publisher of the stream was answered that a [`EndpointKind::Pair`] receives.
        source: Option<Ready>,
    },
}

/// Everything that the node runs. `N` is what the shell keeps of an endpoint's negotiation.
#[derive(Debug)]
pub struct Table<N> {
    sessions: HashMap<SessionKey, Session>,
    endpoints: HashMap<EndpointKey, Endpoint<N>>,
    /// Endpoints of each worker.
    workers: Vec<usize>,
    drain: Draining,
}

/// Whether the node is being emptied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Draining {
    No,
    /// It is, and has not said yet that it is empty.
    Yes,
    /// It said so.
    Reported,
}

impl<N> Table<N> {
    /// Nothing, on so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            endpoints: HashMap::new(),
            workers: vec![0; workers.max(1)],
            drain: Draining::No,
        }
    }

    /// Makes room for a session, on the worker with the fewest endpoints.
    ///
    /// # Errors
    /// Draining, stale, or too many.
    pub fn open_session(&mut self, open: &SessionOpen) -> Result<(), NodeError> {
        if let Some(session) = self.sessions.get_mut(&open.session) {
            if open.generation < session.generation {
                return Err(NodeError::StaleGeneration(session.generation));
            }
            session.generation = open.generation;
            session.video_codec.clone_from(&open.video_codec);
            return Ok(());
        }
        if self.drain != Draining::No {
            return Err(NodeError::Draining);
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(NodeError::Limit { limit: format!("{SESSIONS_MAX} sessions") });
        }
        let worker = self.quietest_worker();
        self.sessions.insert(
            open.session,
            Session {
                generation: open.generation,
                worker,
                video_codec: open.video_codec.clone(),
                endpoints: BTreeSet::new(),
                permits: HashMap::new(),
            },
        );
        Ok(())
    }

    /// The worker of a session.
    #[must_use]
    pub fn worker_of(&self, session: SessionKey) -> Option<usize> {
        self.sessions.get(&session).map(|session| session.worker)
    }

    /// Fewest endpoints; then fewest sessions, so that a burst of empty sessions spreads.
    fn quietest_worker(&self) -> usize {
        let mut sessions = vec![0_usize; self.workers.len()];
        for session in self.sessions.values() {
            sessions[session.worker] += 1;
        }
        (0..self.workers.len()).min_by_key(|&worker| (self.workers[worker], sessions[worker])).unwrap_or(0)
    }

    /// The worker that a session lives on.
    #[must_use]
    pub fn session_worker(&self, key: SessionKey) -> Option<usize> {
        self.sessions.get(&key).map(|session| session.worker)
    }

    /// Forgets a session with everything in it; gives its worker and endpoints.
    pub fn close_session(&mut self, key: SessionKey) -> Option<(usize, Vec<EndpointKey>)> {
        let session = self.sessions.remove(&key)?;
        for endpoint in &session.endpoints {
            self.endpoints.remove(endpoint);
        }
        self.workers[session.worker] -= session.endpoints.len();
        Some((session.worker, session.endpoints.into_iter().collect()))
    }

    /// Whether an endpoint is to be opened.
    ///
    /// # Errors
    /// No such session, stale, or too many.
    pub fn admit_endpoint(&self, open: &EndpointOpen) -> Result<Admission, NodeError> {
        let session = self.sessions.get(&open.session).ok_or(NodeError::UnknownSession)?;
        if let Some(known) = self.endpoints.get(&open.endpoint) {
            if open.generation < known.opened {
                return Err(NodeError::StaleGeneration(known.generation));
            }
            if open.generation == known.opened {
                return Ok(Admission::Open(known.ready.clone()));
            }
        }
        let of_connection =
            |key: &&EndpointKey| self.endpoints.get(key).is_some_and(|at| at.connection == open.connection);
        if session.endpoints.iter().filter(of_connection).count() >= ENDPOINTS_PER_CONNECTION_MAX {
            return Err(NodeError::Limit {
                limit: format!("{ENDPOINTS_PER_CONNECTION_MAX} endpoints of a connection"),
            });
        }
        let source = match open.kind {
            EndpointKind::Pair { stream } => {
                let publishes = |key: &&EndpointKey| {
                    self.endpoints.get(key).is_some_and(|at| at.kind == EndpointKind::Publish { stream })
                };
                let publisher = session.endpoints.iter().find(publishes).ok_or(NodeError::UnknownStream)?;
                self.endpoints.get(publisher).map(|at| at.ready.clone())
            }
            EndpointKind::Publish { .. } | EndpointKind::Slots => None,
        };
        Ok(Admission::New { worker: session.worker, video_codec: session.video_codec.clone(), source })
    }

    /// What the connection of an endpoint may do.
    #[must_use]
    pub fn permit_of(&self, key: EndpointKey) -> Permit {
        let (session, connection) =
            self.endpoints.get(&key).map_or_else(Default::default, |at| (at.session, at.connection));
        let known = self.sessions.get(&session).and_then(|session| session.permits.get(&connection));
        known.copied().unwrap_or_else(|| everything(session, connection))
    }

    /// Enters an endpoint that was opened. False if its session was closed meanwhile.
    pub fn insert_endpoint(&mut self, key: EndpointKey, endpoint: Endpoint<N>) -> bool {
        let Some(session) = self.sessions.get_mut(&endpoint.session) else { return false };
        if session.endpoints.insert(key) {
            self.workers[session.worker] += 1;
        }
        self.endpoints.insert(key, endpoint);
        true
    }

    /// The endpoint that a command names, with its worker.
    ///
    /// # Errors
    /// No such endpoint, or the command is older than it.
    pub fn endpoint(
        &mut self,
        key: EndpointKey,
        generation: Generation,
    ) -> Result<(usize, &mut Endpoint<N>), NodeError> {
        let endpoint = self.endpoints.get_mut(&key).ok_or(NodeError::UnknownEndpoint)?;
        if generation < endpoint.opened {
            return Err(NodeError::StaleGeneration(endpoint.generation));
        }
        let worker = self.sessions.get(&endpoint.session).map_or(0, |session| session.worker);
        Ok((worker, endpoint))
    }

    /// Takes in a binding; gives the worker that carries it out.
    ///
    /// # Errors
    /// No such endpoint, or a newer binding holds.
    pub fn bind(&mut self, bind: &Bind) -> Result<usize, NodeError> {
        let (worker, endpoint) = self.endpoint(bind.endpoint, bind.generation)?;
        if bind.generation < endpoint.generation {
            return Err(NodeError::StaleGeneration(endpoint.generation));
        }
        endpoint.generation = bind.generation;
        Ok(worker)
    }

    /// Takes in a permission; gives the worker that enforces it.
    ///
    /// # Errors
    /// No such session, a newer permission holds, or there are too many.
    pub fn permit(&mut self, permit: &Permit) -> Result<usize, NodeError> {
        let session = self.sessions.get_mut(&permit.session).ok_or(NodeError::UnknownSession)?;
        if let Some(known) = session.permits.get(&permit.connection)
            && permit.generation < known.generation
        {
            return Err(NodeError::StaleGeneration(known.generation));
        }
        if session.permits.len() >= PERMITS_MAX && !session.permits.contains_key(&permit.connection) {
            return Err(NodeError::Limit { limit: format!("{PERMITS_MAX} permissions of a session") });
        }
        session.permits.insert(permit.connection, *permit);
        Ok(session.worker)
    }

    /// Forgets an endpoint; gives its worker. None if there is none.
    pub fn close_endpoint(&mut self, key: EndpointKey) -> Option<usize> {
        let endpoint = self.endpoints.remove(&key)?;
        let session = self.sessions.get_mut(&endpoint.session)?;
        session.endpoints.remove(&key);
        self.workers[session.worker] -= 1;
        Some(session.worker)
    }

    /// Takes in the state of a transport; gives session and generation for the report. A transport that ended takes
    /// its endpoint along.
    pub fn transport(&mut self, key: EndpointKey, state: TransportState) -> Option<(SessionKey, Generation)> {
        let endpoint = self.endpoints.get_mut(&key)?;
        endpoint.state = state;
        let report = (endpoint.session, endpoint.generation);
        if matches!(state, TransportState::Failed | TransportState::Closed) {
            self.close_endpoint(key);
        }
        Some(report)
    }

    /// Takes sessions, or none any more.
    pub fn set_draining(&mut self, draining: bool) {
        self.drain = match (draining, self.drain) {
            (false, _) => Draining::No,
            (true, Draining::No) => Draining::Yes,
            (true, already) => already,
        };
    }

    /// Takes no new sessions, and has none.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drain != Draining::No && self.sessions.is_empty()
    }

    /// True once for each drain, when nothing is left.
    pub fn take_drained(&mut self) -> bool {
        let drained = self.drain == Draining::Yes && self.sessions.is_empty();
        if drained {
            self.drain = Draining::Reported;
        }
        drained
    }

    /// Open sessions, endpoints, and published streams.
    #[must_use]
    pub fn counts(&self) -> (u32, u32, u32) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let publishers = self.endpoints.values().filter(|at| matches!(at.kind, EndpointKind::Publish { .. }));
        (count(self.sessions.len()), count(self.endpoints.len()), count(publishers.count()))
    }

    /// Everything that runs.
    #[must_use]
    pub fn running(&self) -> (Vec<(SessionKey, Generation)>, Vec<EndpointAt>) {
        let sessions = self.sessions.iter().map(|(key, at)| (*key, at.generation)).collect();
        let endpoint = |(key, at): (&EndpointKey, &Endpoint<N>)| EndpointAt {
            session: at.session,
            connection: at.connection,
            endpoint: *key,
            generation: at.generation,
            state: at.state,
        };
        (sessions, self.endpoints.iter().map(endpoint).collect())
    }

    /// Asserts what must always hold.
    pub fn check(&self) {
        let mut workers = vec![0; self.workers.len()];
        for (key, session) in &self.sessions {
            workers[session.worker] += session.endpoints.len();
            for endpoint in &session.endpoints {
                assert_eq!(self.endpoints.get(endpoint).map(|at| at.session), Some(*key));
            }
        }
        assert_eq!(workers, self.workers);
        assert_eq!(workers.iter().sum::<usize>(), self.endpoints.len());
    }
}

/// The permission of a connection that the master said nothing of: it was admitted, so it may.
const fn everything(session: SessionKey, connection: ConnectionKey) -> Permit {
    Permit {
        session,
        connection,
        generation: Generation(0),
        publish_audio: true,
        publish_video: true,
        subscribe: true,
    }
}

#[cfg(test)]
mod tests {
    use common::id::StreamKey;
    use common::wire::node::SdpRequest;

    use super::*;

    fn session(key: u64, generation: u64) -> SessionOpen {
        SessionOpen {
            session: SessionKey(key),
            generation: Generation(generation),
            video_codec: None,
            ext: Vec::new(),
        }
    }

    fn open(session: u64, endpoint: u64, generation: u64) -> EndpointOpen {
        EndpointOpen {
            session: SessionKey(session),
            connection: ConnectionKey(7),
            endpoint: EndpointKey(endpoint),
            generation: Generation(generation),
            kind: EndpointKind::Publish { stream: StreamKey(endpoint) },
            sdp: SdpRequest::MakeOffer,
            ext: Vec::new(),
        }
    }

    fn ready(sdp: &str) -> Ready {
        Ready { sdp: sdp.to_owned(), audio: 1, video: 1, codecs: Vec::new(), ext: Vec::new() }
    }

    fn insert(table: &mut Table<()>, open: &EndpointOpen) -> bool {
        let endpoint = Endpoint {
            session: open.session,
            connection: open.connection,
            kind: open.kind,
            opened: open.generation,
            generation: open.generation,
            state: TransportState::Connecting,
            ready: ready("v=0"),
            negotiation: (),
        };
        let inserted = table.insert_endpoint(open.endpoint, endpoint);
        table.check();
        inserted
    }

    #[test]
    fn sessions_spread_over_workers_by_their_endpoints() {
        let mut table = Table::<()>::new(2);
        table.open_session(&session(1, 1)).unwrap();
        table.open_session(&session(2, 1)).unwrap();
        assert_ne!(table.sessions[&SessionKey(1)].worker, table.sessions[&SessionKey(2)].worker);
        assert!(insert(&mut table, &open(1, 1, 1)) && insert(&mut table, &open(1, 2, 1)));
        for key in 3..5 {
            table.open_session(&session(key, 1)).unwrap();
            assert_eq!(table.sessions[&SessionKey(key)].worker, table.sessions[&SessionKey(2)].worker);
        }
    }

    #[test]
    fn an_opening_is_repeated_renewed_or_stale_by_its_generation() {
        let mut table = Table::<()>::new(1);
        assert!(matches!(table.admit_endpoint(&open(1, 1, 5)), Err(NodeError::UnknownSession)));
        table.open_session(&session(1, 1)).unwrap();
        assert!(matches!(table.admit_endpoint(&open(1, 1, 5)), Ok(Admission::New { worker: 0, .. })));
        insert(&mut table, &open(1, 1, 5));
        assert!(matches!(table.admit_endpoint(&open(1, 1, 5)), Ok(Admission::Open(_))));
        assert!(matches!(
            table.admit_endpoint(&open(1, 1, 4)),
            Err(NodeError::StaleGeneration(Generation(5)))
        ));
        assert!(matches!(table.admit_endpoint(&open(1, 1, 6)), Ok(Admission::New { .. })));
    }

    #[test]
    fn bindings_rise_while_candidates_keep_the_opening_generation() {
        let mut table = Table::<()>::new(1);
        table.open_session(&session(1, 1)).unwrap();
        insert(&mut table, &open(1, 1, 5));
        let bind = |generation| Bind {
            session: SessionKey(1),
            endpoint: EndpointKey(1),
            generation: Generation(generation),
            binds: Vec::new(),
        };
        assert_eq!(table.bind(&bind(7)), Ok(0));
        assert_eq!(table.bind(&bind(7)), Ok(0));
        assert_eq!(table.bind(&bind(6)), Err(NodeError::StaleGeneration(Generation(7))));
        assert!(table.endpoint(EndpointKey(1), Generation(5)).is_ok());
        assert!(table.endpoint(EndpointKey(1), Generation(4)).is_err());
        assert!(matches!(table.endpoint(EndpointKey(9), Generation(5)), Err(NodeError::UnknownEndpoint)));
    }

    #[test]
    fn a_newer_permission_holds_and_reaches_later_endpoints() {
        let mut table = Table::<()>::new(1);
        table.open_session(&session(1, 1)).unwrap();
        let permit = |generation, publish_video| Permit {
            generation: Generation(generation),
            publish_video,
            ..everything(SessionKey(1), ConnectionKey(7))
        };
        table.permit(&permit(2, false)).unwrap();
        assert_eq!(table.permit(&permit(1, true)), Err(NodeError::StaleGeneration(Generation(2))));
        insert(&mut table, &open(1, 1, 1));
        assert!(!table.permit_of(EndpointKey(1)).publish_video);
    }

    #[test]
    fn a_draining_node_takes_no_session_and_is_drained_with_the_last() {
        let mut table = Table::<()>::new(1);
        table.open_session(&session(1, 1)).unwrap();
        insert(&mut table, &open(1, 1, 1));
        table.set_draining(true);
        assert_eq!(table.open_session(&session(2, 1)), Err(NodeError::Draining));
        assert_eq!(table.open_session(&session(1, 2)), Ok(()));
        assert!(!table.is_drained());
        assert_eq!(table.close_session(SessionKey(1)), Some((0, vec![EndpointKey(1)])));
        assert_eq!(table.close_session(SessionKey(1)), None);
        assert!(table.is_drained() && table.take_drained() && !table.take_drained());
        assert!(!insert(&mut table, &open(1, 2, 1)), "its session is gone");
        table.check();
    }

    #[test]
    fn an_ended_transport_takes_its_endpoint_along() {
        let mut table = Table::<()>::new(1);
        table.open_session(&session(1, 1)).unwrap();
        insert(&mut table, &open(1, 1, 3));
        let report = Some((SessionKey(1), Generation(3)));
        assert_eq!(table.transport(EndpointKey(1), TransportState::Connected), report);
        assert_eq!(table.running().1[0].state, TransportState::Connected);
        assert_eq!(table.transport(EndpointKey(1), TransportState::Failed), report);
        assert_eq!(table.transport(EndpointKey(1), TransportState::Failed), None);
        assert_eq!(table.counts(), (1, 0, 0));
        table.check();
    }
}
