//! Shell: carries out the master's commands.
//!
//! - [`table`]: what runs, and which command holds (pure).
//! - [`lanes`]: the order of commands.
//! - [`negotiation`]: from SDP to what a worker needs.
//! - [`report`]: facts and load for the master.
//! - `moving`: endpoints that go to another node, or come from one.
//! - `tapping`: what recorders may receive.
//! - [`metrics`]: numbers for whoever watches.
//! - [`watching`]: numbers of sessions that a console shows.
//!
//! Negotiation runs here, on the cold runtime; workers get finished specifications. The table is behind a lock
//! rather than a task of its own: it is held for moments, never across an await, and lanes need its answer at once.

pub mod lanes;
pub mod metrics;
mod moving;
pub mod negotiation;
pub mod report;
pub mod table;
mod tapping;
pub mod watching;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::{EndpointKey, Generation};
use common::limits::{REMOTE_CANDIDATES_MAX, SLOTS_PER_ENDPOINT_MAX};
use common::wire::node::{
    Bind, Candidates, Drain, EndpointAnswer, EndpointClose, EndpointOpen, NodeError, NodeFact, OpResult,
    SessionClose, SlotBind, ToNode, TransportState,
};

use tokio::sync::watch;

use self::negotiation::{Negotiated, Negotiator, Opening};
use self::report::FactSink;
use self::table::{Admission, Endpoint, Table};
use self::watching::Watches;
use crate::cold::{ColdCounters, ColdHandle};
use crate::config::MediaSettings;
use crate::node::Worker;
use crate::tap::TapCounters;
use crate::tap::grants::Grants;
use crate::transport::dtls::Certificate;
use crate::transport::negotiate;
use crate::transport::spec::EndpointSpec;
use crate::worker::engine::{Command, Open};
use crate::worker::run::CommandError;

/// A worker that has not turned for so long is stuck; idle ones turn ten times a second.
const STUCK_AFTER: Duration = Duration::from_secs(2);

/// Carries out commands.
pub struct Control {
    table: Mutex<Table<Negotiated>>,
    workers: Vec<Worker>,
    negotiator: Negotiator,
    cold: ColdHandle,
    facts: FactSink,
    turning: Mutex<(Instant, Vec<u64>)>,
    // A lock, not a message: held for moments, never across an await.
    grants: Mutex<Grants>,
    taps: TapCounters,
    /// End of a drain that the master ordered.
    drain_deadline: watch::Sender<Option<Instant>>,
    watches: Watches,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Control {
    /// A node without sessions.
    #[must_use]
    pub fn new(
        settings: &MediaSettings,
        certificate: Certificate,
        workers: Vec<Worker>,
        cold: ColdHandle,
        facts: FactSink,
    ) -> Self {
        let negotiator = Negotiator::new(settings, certificate, &workers);
        Self {
            table: Mutex::new(Table::new(workers.len())),
            turning: Mutex::new((Instant::now(), vec![0; workers.len()])),
            watches: Watches::default(),
            workers,
            negotiator,
            cold,
            facts,
            grants: Mutex::default(),
            taps: TapCounters::default(),
            drain_deadline: watch::channel(None).0,
        }
    }

    /// What runs. Held for moments.
    pub fn table(&self) -> MutexGuard<'_, Table<Negotiated>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The media threads.
    #[must_use]
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// How DTLS handshakes went.
    #[must_use]
    pub fn cold(&self) -> &ColdCounters {
        self.cold.counters()
    }

    /// What recorders receive.
    #[must_use]
    pub const fn taps(&self) -> &TapCounters {
        &self.taps
    }

    /// Turns of each worker.
    #[must_use]
    pub fn turns(&self) -> Vec<u64> {
        self.workers.iter().map(Worker::turns).collect()
    }

    /// Port of the first worker.
    #[must_use]
    pub fn first_port(&self) -> u16 {
        self.workers.first().map_or(0, |worker| worker.local().port())
    }

    /// False if a worker stood still since it was last asked, some seconds ago.
    pub fn is_turning(&self) -> bool {
        let now = Instant::now();
        let turns = self.turns();
        let mut seen = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.iter().zip(&seen.1).all(|(now, then)| now > then) {
            *seen = (now, turns);
            return true;
        }
        now.saturating_duration_since(seen.0) < STUCK_AFTER
    }

    /// Takes no new sessions from now on.
    pub fn drain(&self) {
        (self.facts)(None, NodeFact::Draining);
        self.table().set_draining(true);
        self.report_drained();
    }

    /// Waits until a drain that the master ordered with a deadline is over.
    pub async fn drain_deadline(&self) {
        let mut deadline = self.drain_deadline.subscribe();
        loop {
            let at = *deadline.borrow_and_update();
            let over = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            // Both arms are cancel safe. The sender lives as long as we do.
            tokio::select! {
                () = over => return,
                _ = deadline.changed() => {}
            }
        }
    }

    /// Carries out one command. Those of one session must come one after the other.
    pub async fn execute(&self, message: ToNode) -> OpResult {
        let result = match message {
            ToNode::SessionOpen(open) => self.table().open_session(&open).map(|()| OpResult::Ok),
            ToNode::SessionClose(close) => self.close_session(close),
            ToNode::EndpointOpen(open) => self.open_endpoint(&open),
            ToNode::EndpointAnswer(answer) => self.take_answer(&answer),
            ToNode::Candidates(candidates) => self.take_candidates(&candidates),
            ToNode::EndpointClose(close) => self.close_endpoint(close),
            ToNode::Bind(bind) => self.bind(bind),
            ToNode::Permit(permit) => {
                let worker = self.table().permit(&permit);
                worker.and_then(|worker| self.tell(worker, Command::Permit(permit)))
            }
            ToNode::Drain(drain) => self.set_draining(drain),
            ToNode::Checkpoint(checkpoint) => self.checkpoint(checkpoint).await,
            ToNode::Adopt(adopt) => self.adopt(&adopt),
            ToNode::Release(release) => self.release(release),
            ToNode::TapGrant(grant) => self.grant_tap(&grant),
            ToNode::TapRevoke(revoke) => Ok(self.revoke_tap(&revoke)),
            ToNode::RecordingStart(_)
            | ToNode::RecordingRoster(_)
            | ToNode::RecordingStop(_)
            | ToNode::RecordingDelete(_)
            | ToNode::FileOpen(_) => Err(NodeError::Unsupported),
            ToNode::Watch(watch) => {
                self.watches.watch(watch);
                Ok(OpResult::Ok)
            }
            // The link's business.
            ToNode::Welcome(_) | ToNode::NewEpoch(_) | ToNode::EventAck(_) => Ok(OpResult::Ok),
        };
        result.unwrap_or_else(OpResult::Err)
    }

    fn tell(&self, worker: usize, command: Command) -> Result<OpResult, NodeError> {
        self.workers[worker].send(command).map(|()| OpResult::Ok).map_err(|(_, why)| match why {
            CommandError::Full => NodeError::Busy,
            CommandError::Gone => NodeError::Internal { why: why.to_string() },
        })
    }

    fn close_session(&self, close: SessionClose) -> Result<OpResult, NodeError> {
        let closed = self.table().close_session(close.session);
        self.close_taps(close.session);
        if let Some((worker, endpoints)) = closed {
            self.tell(worker, Command::CloseSession { session: close.session, endpoints })?;
        }
        self.report_drained();
        Ok(OpResult::Ok)
    }

    fn report_drained(&self) {
        if self.table().take_drained() {
            (self.facts)(None, NodeFact::Drained);
        }
    }

    fn set_draining(&self, drain: Drain) -> Result<OpResult, NodeError> {
        let limited = drain.on && drain.deadline_ms > 0;
        let at =
            limited.then(|| Instant::now().checked_add(Duration::from_millis(drain.deadline_ms))).flatten();
        let _former = self.drain_deadline.send_replace(at);
        self.table().set_draining(drain.on);
        self.report_drained();
        Ok(OpResult::Ok)
    }

    fn open_endpoint(&self, open: &EndpointOpen) -> Result<OpResult, NodeError> {
        let admission = self.table().admit_endpoint(open)?;
        let (worker, video_codec, source) = match admission {
            Admission::Open(ready) => return Ok(OpResult::Ready(ready)),
            Admission::New { worker, video_codec, source } => (worker, video_codec, source),
        };
        let opening = self.negotiator.open(worker, open, video_codec.as_deref(), source.as_ref())?;
        let (negotiation, spec, ready) = match opening {
            Opening::Agreed(spec, ready) => (Negotiated::of(&spec), Some(spec), ready),
            Opening::Offered(draft, ready) => {
                let (binds, candidates) = (Vec::new(), Vec::new());
                (Negotiated::Offered { draft, binds, candidates }, None, ready)
            }
        };
        let endpoint = Endpoint {
            session: open.session,
            connection: open.connection,
            kind: open.kind,
            opened: open.generation,
            generation: open.generation,
            state: TransportState::Connecting,
            ready: ready.clone(),
            negotiation,
        };
        // First the table: an event of the worker must find the endpoint.
        if !self.table().insert_endpoint(open.endpoint, endpoint) {
            return Err(NodeError::UnknownSession);
        }
        if let Some(spec) = spec {
            self.install(open.endpoint, *spec, Vec::new())?;
        }
        Ok(OpResult::Ready(ready))
    }

    /// Gives an endpoint to its worker; forgets it if the worker has no room.
    fn install(&self, key: EndpointKey, spec: EndpointSpec, binds: Vec<SlotBind>) -> Result<(), NodeError> {
        let mut table = self.table();
        let permit = table.permit_of(key);
        let (worker, endpoint) = table.endpoint(key, Generation(u64::MAX))?;
        let open = Open {
            session: endpoint.session,
            connection: endpoint.connection,
            endpoint: key,
            spec,
            binds,
            kind: endpoint.kind,
            permit,
            ice: self.negotiator.ice_settings(),
            adoption: None,
        };
        let told = self.tell(worker, Command::Open(Box::new(open)));
        if told.is_err() {
            table.close_endpoint(key);
        }
        told.map(drop)
    }

    fn take_answer(&self, answer: &EndpointAnswer) -> Result<OpResult, NodeError> {
        let (mut spec, ready, binds, candidates) = {
            let mut table = self.table();
            let (_, endpoint) = table.endpoint(answer.endpoint, answer.generation)?;
            let Negotiated::Offered { draft, binds, candidates } = &mut endpoint.negotiation else {
                // A repeated answer; renegotiation has no message of its own.
                return Ok(OpResult::Ready(endpoint.ready.clone()));
            };
            let done = negotiate::accept_answer(draft, &answer.sdp)?;
            let (binds, candidates) = (std::mem::take(binds), std::mem::take(candidates));
            endpoint.negotiation = Negotiated::of(&done.spec);
            endpoint.ready = done.ready.clone();
            (done.spec, done.ready, binds, candidates)
        };
        spec.remote_candidates.extend(candidates);
        spec.remote_candidates.truncate(REMOTE_CANDIDATES_MAX);
        self.install(answer.endpoint, spec, binds)?;
        Ok(OpResult::Ready(ready))
    }

    fn bind(&self, bind: Bind) -> Result<OpResult, NodeError> {
        let mut table = self.table();
        let worker = table.bind(&bind)?;
        let (_, endpoint) = table.endpoint(bind.endpoint, bind.generation)?;
        if let Negotiated::Offered { binds, .. } = &mut endpoint.negotiation {
            // The worker gets them with the endpoint.
            binds.retain(|old| !bind.binds.iter().any(|new| (new.slot, new.kind) == (old.slot, old.kind)));
            binds.extend(bind.binds);
            binds.truncate(2 * SLOTS_PER_ENDPOINT_MAX);
            return Ok(OpResult::Ok);
        }
        drop(table);
        self.tell(worker, Command::Bind(Box::new(bind)))
    }

    fn take_candidates(&self, message: &Candidates) -> Result<OpResult, NodeError> {
        let endpoint = message.endpoint;
        let mut table = self.table();
        let (worker, entry) = table.endpoint(endpoint, message.generation)?;
        let fragment = self.negotiator.trickle(worker, &mut entry.negotiation, &message.fragment)?;
        let ready = entry.ready.clone();
        drop(table);
        match fragment.restart {
            None => self.tell(worker, Command::Candidates { endpoint, candidates: fragment.candidates }),
            Some(restart) => {
                let command = Command::Restart {
                    endpoint,
                    local: restart.local,
                    remote: restart.remote,
                    candidates: fragment.candidates,
                };
                self.tell(worker, command)?;
                Ok(OpResult::Ready(common::wire::node::Ready { sdp: restart.fragment, ..ready }))
            }
        }
    }

    fn close_endpoint(&self, close: EndpointClose) -> Result<OpResult, NodeError> {
        let mut table = self.table();
        match table.endpoint(close.endpoint, close.generation) {
            Ok(_) => {}
            Err(NodeError::UnknownEndpoint) => return Ok(OpResult::Ok),
            Err(error) => return Err(error),
        }
        let worker = table.close_endpoint(close.endpoint);
        drop(table);
        worker
            .map_or(Ok(OpResult::Ok), |worker| self.tell(worker, Command::Close { endpoint: close.endpoint }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use common::id::{ConnectionKey, SessionKey, StreamKey};
    use common::wire::node::{Candidates, EndpointKind, SdpRequest, SessionOpen};

    use super::*;
    use crate::config::Ports;
    use crate::node::MediaNode;

    const SESSION: SessionKey = SessionKey(1);
    const ENDPOINT: EndpointKey = EndpointKey(3);

    type Facts = Arc<Mutex<Vec<NodeFact>>>;

    fn node() -> (MediaNode, Facts) {
        let facts = Facts::default();
        let seen = Arc::clone(&facts);
        let settings = MediaSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            ports: Ports::PerWorker,
            workers: 2,
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
            ice_lite: false,
            pin_workers: false,
            gather: Duration::ZERO,
        };
        let node =
            MediaNode::start(&settings, Arc::new(move |_, fact| seen.lock().unwrap().push(fact))).unwrap();
        (node, facts)
    }

    fn open_session(generation: u64) -> ToNode {
        let generation = Generation(generation);
        SessionOpen { session: SESSION, generation, video_codec: None, ext: Vec::new() }.into()
    }

    fn open_endpoint(generation: u64, sdp: SdpRequest) -> ToNode {
        EndpointOpen {
            session: SESSION,
            connection: ConnectionKey(2),
            endpoint: ENDPOINT,
            generation: Generation(generation),
            kind: EndpointKind::Publish { stream: StreamKey(4) },
            sdp,
            ext: Vec::new(),
        }
        .into()
    }

    #[tokio::test]
    async fn a_bad_offer_is_refused_and_leaves_nothing() {
        let (node, _) = node();
        let control = node.control();
        let open = open_endpoint(1, SdpRequest::Offer("v=0\r\nrubbish".to_owned()));
        assert_eq!(control.execute(open.clone()).await, OpResult::Err(NodeError::UnknownSession));
        assert_eq!(control.execute(open_session(1)).await, OpResult::Ok);
        let result = control.execute(open).await;
        assert!(matches!(result, OpResult::Err(NodeError::InvalidSdp { .. })), "{result:?}");
        assert_eq!(control.table().counts(), (1, 0, 0));
    }

    #[tokio::test]
    async fn our_offer_is_made_once_and_awaits_its_answer() {
        let (node, _) = node();
        let control = node.control();
        control.execute(open_session(1)).await;
        let OpResult::Ready(first) = control.execute(open_endpoint(2, SdpRequest::MakeOffer)).await else {
            panic!("an offer")
        };
        assert!(first.sdp.contains("a=setup:actpass") && (first.audio, first.video) == (1, 1));
        let again = control.execute(open_endpoint(2, SdpRequest::MakeOffer)).await;
        assert_eq!(again, OpResult::Ready(first));
        let stale = control.execute(open_endpoint(1, SdpRequest::MakeOffer)).await;
        assert_eq!(stale, OpResult::Err(NodeError::StaleGeneration(Generation(2))));
        let (session, endpoint, generation) = (SESSION, ENDPOINT, Generation(2));
        let early =
            Candidates { session, endpoint, generation, fragment: "a=end-of-candidates\r\n".to_owned() };
        assert_eq!(control.execute(early.into()).await, OpResult::Ok, "kept until the answer is there");
        let answer = EndpointAnswer { session, endpoint, generation, sdp: "v=0\r\n".to_owned() };
        let result = control.execute(answer.into()).await;
        assert!(matches!(result, OpResult::Err(NodeError::InvalidSdp { .. })), "{result:?}");
        let close = || EndpointClose { session, endpoint, generation };
        assert_eq!(control.execute(close().into()).await, OpResult::Ok);
        assert_eq!(control.execute(close().into()).await, OpResult::Ok);
        control.table().check();
    }

    #[tokio::test]
    async fn a_receiver_is_offered_what_the_publisher_sends_and_nothing_else() {
        let (node, _) = node();
        let control = node.control();
        control.execute(open_session(1)).await;
        let hash = vec!["AB"; 32].join(":");
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n\
             a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijkl\r\na=fingerprint:sha-256 {hash}\r\n\
             a=setup:actpass\r\na=rtpmap:111 opus/48000/2\r\n"
        );
        let published = control.execute(open_endpoint(2, SdpRequest::Offer(offer))).await;
        assert!(matches!(published, OpResult::Ready(_)), "{published:?}");
        let receive = EndpointOpen {
            session: SESSION,
            connection: ConnectionKey(5),
            endpoint: EndpointKey(6),
            generation: Generation(2),
            kind: EndpointKind::Pair { stream: StreamKey(4) },
            sdp: SdpRequest::MakeOffer,
            ext: Vec::new(),
        };
        let OpResult::Ready(ready) = control.execute(receive.into()).await else { panic!("an offer") };
        assert_eq!((ready.audio, ready.video), (1, 0));
        assert!(ready.sdp.contains("opus/48000") && !ready.sdp.contains("red/48000"), "{}", ready.sdp);
        assert!(!ready.sdp.contains("m=video"), "{}", ready.sdp);
    }

    #[tokio::test]
    async fn a_drained_node_says_so_once_and_metrics_name_its_workers() {
        let (node, facts) = node();
        let control = node.control();
        control.execute(open_session(1)).await;
        control.execute(Drain { on: true, deadline_ms: 0 }.into()).await;
        assert_eq!(control.execute(open_session(2)).await, OpResult::Ok, "a session that is open goes on");
        assert!(facts.lock().unwrap().is_empty());
        control.execute(SessionClose { session: SESSION }.into()).await;
        control.execute(SessionClose { session: SESSION }.into()).await;
        assert_eq!(*facts.lock().unwrap(), [NodeFact::Drained]);
        assert_eq!(control.execute(open_session(3)).await, OpResult::Err(NodeError::Draining));
        let over = || tokio::time::timeout(Duration::from_millis(50), control.drain_deadline());
        assert!(over().await.is_err(), "no deadline was set");
        control.execute(Drain { on: true, deadline_ms: 1 }.into()).await;
        over().await.expect("the deadline passes");
        control.execute(Drain { on: false, deadline_ms: 1 }.into()).await;
        assert!(over().await.is_err(), "the drain was called off");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics::registry(&control)).unwrap();
        assert!(text.contains("mediad_worker_allocations_total{worker=\"1\"}"), "{text}");
        assert!(text.contains("mediad_sessions 0\n"), "{text}");
        let turns = control.turns();
        let end = Instant::now() + Duration::from_secs(10);
        while control.turns().iter().zip(&turns).any(|(now, then)| now <= then) {
            assert!(Instant::now() < end, "idle workers turn");
            tokio::task::yield_now().await;
        }
        assert!(control.is_turning());
    }
}
