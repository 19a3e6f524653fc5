//! A call moves from one node to another that has nothing but the saved endpoints: same peer connections, same keys.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests and their helpers")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::{ConnectionKey, EndpointKey, Generation, SessionKey, StreamKey};
use common::wire::node::{
    Adopt, Bind, Checkpoint, EndpointKind, EndpointOpen, MediaKind, NodeError, NodeFact, OpResult, Release,
    SdpRequest, SessionOpen, SlotBind, ToNode,
};
use mediad::config::{MediaSettings, Ports};
use mediad::demux::{self, Kind};
use mediad::node::MediaNode;
use mediad::transport::dtls::{self, Certificate, Handshake};
use mediad::transport::ice::{self, Agent};
use mediad::transport::lease::Lease;
use mediad::transport::negotiate::{self, Draft, LocalSettings, OfferPlan};
use mediad::transport::spec::{EndpointSpec, Flow, IceCredentials};
use mediad::transport::srtp::{OVERHEAD_BYTES_MAX, Opener, Profile, Sealer, SrtpError};
use mediad::transport::trickle::Fragment;
use mediad::worker::engine::EngineReport;
use mediad::worker::run::Snapshot;

const SESSION: SessionKey = SessionKey(1);
const STREAM: StreamKey = StreamKey(7);
const PATIENCE: Duration = Duration::from_secs(20);

/// A participant made of the same parts as the node, seen from the other side.
struct Client {
    socket: UdpSocket,
    certificate: Certificate,
    draft: Draft,
    spec: Option<EndpointSpec>,
    agent: Option<Agent>,
    handshake: Option<Handshake>,
    sealer: Option<Sealer>,
    opener: Option<Opener>,
    lease: Option<Lease>,
    timestamp: u32,
    /// Index, source address and first payload byte of each packet received.
    received: Vec<(u64, SocketAddr, u8)>,
    refused: Vec<SrtpError>,
    closed: bool,
}

impl Client {
    /// Offers one video section: to send (seen from here a server that sends) or to receive.
    fn new(name: &str, offers: EndpointKind) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let certificate = Certificate::generate().unwrap();
        let local = LocalSettings {
            ice: IceCredentials {
                ufrag: format!("{name}ufrag"),
                password: format!("{name}-password-of-24-bytes"),
            },
            fingerprint: certificate.fingerprint().clone(),
            candidates: vec![socket.local_addr().unwrap()],
            candidate_priority: 100,
            lite: false,
            video_codec: None,
        };
        let mut next = u32::from(socket.local_addr().unwrap().port()) << 8;
        let draft = negotiate::offer(
            offers,
            &OfferPlan { audio: 0, video: 1, ..OfferPlan::default() },
            &local,
            &mut || {
                next += 1;
                next
            },
        );
        Self {
            socket,
            certificate,
            draft,
            spec: None,
            agent: None,
            handshake: None,
            sealer: None,
            opener: None,
            lease: None,
            timestamp: 1000,
            received: Vec::new(),
            refused: Vec::new(),
            closed: false,
        }
    }

    fn answered(&mut self, sdp: &str) {
        let spec = negotiate::accept_answer(&self.draft, sdp).unwrap().spec;
        let (now, settings) =
            (Instant::now(), ice::Settings { tie_breaker: 1 << 40, ..ice::Settings::default() });
        let mut agent = Agent::new(now, settings, spec.local_ice.clone(), Some(spec.remote_ice.clone()), 5);
        for candidate in &spec.remote_candidates {
            agent.handle(now, ice::Input::Candidate(*candidate));
        }
        if let Flow::Send { ssrc, .. } = spec.sections[0].flow {
            let mut lease = Lease::new(ssrc, 1);
            lease.grant(u64::MAX);
            self.lease = Some(lease);
        }
        (self.agent, self.spec) = (Some(agent), Some(spec));
    }

    fn turn(&mut self) {
        let mut buf = [0; 2048];
        while let Ok((length, from)) = self.socket.recv_from(&mut buf) {
            self.receive(from, &mut buf[..length]);
        }
        let now = Instant::now();
        if let Some(agent) = &mut self.agent
            && agent.deadline().is_some_and(|at| at <= now)
        {
            agent.handle(now, ice::Input::Tick);
        }
        if let Some(handshake) = &mut self.handshake
            && handshake.deadline().is_some_and(|at| at <= now)
        {
            handshake.handle(now, dtls::Input::Tick);
        }
        self.drain();
    }

    fn receive(&mut self, from: SocketAddr, bytes: &mut [u8]) {
        let now = Instant::now();
        match demux::kind(bytes) {
            Kind::Stun => {
                if let Some(agent) = &mut self.agent {
                    agent.handle(now, ice::Input::Datagram { from, bytes });
                }
            }
            Kind::Dtls => {
                if let Some(handshake) = &mut self.handshake {
                    handshake.handle(now, dtls::Input::Datagram(bytes));
                }
            }
            Kind::Media => self.receive_media(now, from, bytes),
            Kind::Unknown => panic!("unknown datagram"),
        }
        self.drain();
    }

    fn receive_media(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) {
        let Some(opener) = &mut self.opener else { return };
        let opened = if (192..=223).contains(&bytes[1]) {
            opener.open_rtcp(bytes).map(drop)
        } else {
            opener.open_rtp(bytes).map(|opened| {
                let mark = bytes[opened.payload.start..opened.payload.end].last().copied().unwrap_or(0);
                self.received.push((opened.index, from, mark));
            })
        };
        match opened {
            Ok(()) => self.agent.iter_mut().for_each(|agent| agent.note_media(now, from)),
            Err(error) => self.refused.push(error),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.as_mut().and_then(Agent::poll_output) {
            match output {
                ice::Output::Transmit { to, bytes } => drop(self.socket.send_to(&bytes, to)),
                ice::Output::Selected(_) if self.handshake.is_none() => self.shake(),
                ice::Output::Selected(_) | ice::Output::State(_) => {}
            }
        }
        let to = self.agent.as_ref().and_then(Agent::selected);
        while let Some(output) = self.handshake.as_mut().and_then(Handshake::poll_output) {
            match (output, to) {
                (dtls::Output::Transmit(bytes), Some(to)) => drop(self.socket.send_to(&bytes, to)),
                (dtls::Output::Transmit(_), None) => {}
                (dtls::Output::Connected(keys), _) => {
                    (self.sealer, self.opener) = (Some(Sealer::new(&keys)), Some(Opener::new(&keys)));
                }
                (dtls::Output::Failed(error), _) => panic!("{error:?}"),
                (dtls::Output::Closed, _) => self.closed = true,
            }
        }
        // The agent may have more to say about what the handshake did.
    }

    fn shake(&mut self) {
        let spec = self.spec.as_ref().unwrap();
        let settings = dtls::Settings {
            role: spec.dtls,
            fingerprints: spec.fingerprints.clone(),
            // As Chromium: the dear one first. The node decides.
            profiles: vec![Profile::Aes128CmHmacSha1_80, Profile::AeadAes128Gcm],
        };
        self.handshake = Some(Handshake::new(Instant::now(), &self.certificate, settings).unwrap());
    }

    /// Sends one VP8 key frame in one packet whose last byte is `mark`.
    fn send(&mut self, mark: u8) {
        let (Some(sealer), Some(lease)) = (&self.sealer, &mut self.lease) else { return };
        let Some(to) = self.agent.as_ref().and_then(Agent::selected) else { return };
        let section = &self.spec.as_ref().unwrap().sections[0];
        self.timestamp += 450;
        let mut packet = vec![0x80, 0x80 | section.codecs[0].payload_type, 0, 0];
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend([0; 4]);
        // Payload descriptor (start of partition 0), key frame tag, start code, 64 by 64.
        packet.extend([0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0]);
        packet.extend([0x55; 200]);
        packet.push(mark);
        let payload_len = packet.len() - 12;
        packet.resize(packet.len() + OVERHEAD_BYTES_MAX, 0);
        let total = sealer.seal_rtp(&mut packet, 12, payload_len, lease.take().unwrap());
        drop(self.socket.send_to(&packet[..total], to));
    }
}

fn node() -> MediaNode {
    node_with(Ports::PerWorker, 1)
}

fn node_with(ports: Ports, workers: u16) -> MediaNode {
    let settings = MediaSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ports,
        workers,
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ice_lite: false,
        pin_workers: false,
        gather: Duration::from_micros(150),
    };
    MediaNode::start(&settings, Arc::new(|_: Option<SessionKey>, _: NodeFact| {})).unwrap()
}

async fn tell(node: &MediaNode, message: impl Into<ToNode>) -> OpResult {
    node.control().execute(message.into()).await
}

async fn open_session(node: &MediaNode) {
    let open =
        SessionOpen { session: SESSION, generation: Generation(1), video_codec: None, ext: Vec::new() };
    assert_eq!(tell(node, open).await, OpResult::Ok);
}

async fn open_endpoint(node: &MediaNode, endpoint: u64, kind: EndpointKind, client: &mut Client) {
    let open = EndpointOpen {
        session: SESSION,
        connection: ConnectionKey(endpoint),
        endpoint: EndpointKey(endpoint),
        generation: Generation(1),
        kind,
        sdp: SdpRequest::Offer(client.draft.sdp.clone()),
        ext: Vec::new(),
    };
    match tell(node, open).await {
        OpResult::Ready(ready) => client.answered(&ready.sdp),
        other => panic!("{other:?}"),
    }
}

async fn bind(node: &MediaNode, generation: u64) {
    let slot = SlotBind { slot: 0, kind: MediaKind::Video, source: Some(STREAM), spatial_max: u8::MAX };
    let (session, endpoint, generation) = (SESSION, EndpointKey(2), Generation(generation));
    let bound = tell(node, Bind { session, endpoint, generation, binds: vec![slot] }).await;
    assert_eq!(bound, OpResult::Ok);
}

async fn checkpoint(node: &MediaNode, endpoint: u64, holds: u32) -> Vec<u8> {
    match tell(node, Checkpoint { session: SESSION, endpoint: EndpointKey(endpoint), holds }).await {
        OpResult::State(state) => {
            assert_eq!(state.number, holds + 1);
            state.bytes
        }
        other => panic!("{other:?}"),
    }
}

async fn try_adopt(node: &MediaNode, generation: u64, state: Vec<u8>) -> OpResult {
    tell(node, Adopt { session: SESSION, generation: Generation(generation), state, earlier: 0 }).await
}

/// Adopts an endpoint; gives the fragment that a client behind a NAT would be pushed.
async fn adopt(node: &MediaNode, generation: u64, state: Vec<u8>) -> Fragment {
    match try_adopt(node, generation, state).await {
        OpResult::Ready(ready) => {
            assert_eq!((ready.audio, ready.video), (0, 1));
            Fragment::parse(&ready.sdp).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// Lets both clients run, the first one sending, until `done` says so.
async fn run_until(
    clients: &mut [Client; 2],
    mark: u8,
    what: &str,
    done: impl Fn(&[Client; 2]) -> bool,
) -> Duration {
    let start = Instant::now();
    while !done(clients) {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        clients[0].send(mark);
        for _ in 0..5 {
            clients.iter_mut().for_each(Client::turn);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    start.elapsed()
}

/// A publisher and a player on a node, media flowing.
async fn call(node: &MediaNode) -> [Client; 2] {
    let mut clients = [
        Client::new("pub", EndpointKind::Slots),
        Client::new("play", EndpointKind::Publish { stream: STREAM }),
    ];
    open_session(node).await;
    open_endpoint(node, 1, EndpointKind::Publish { stream: STREAM }, &mut clients[0]).await;
    open_endpoint(node, 2, EndpointKind::Slots, &mut clients[1]).await;
    bind(node, 2).await;
    run_until(&mut clients, 1, "media flows", |clients| clients[1].received.len() > 30).await;
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_on_at_another_node_under_the_same_keys() {
    let (old, new) = (node(), node());
    let mut clients = call(&old).await;
    assert_eq!(clients[1].sealer.as_ref().map(Sealer::profile), Some(Profile::AeadAes128Gcm));

    // Checkpoints come every second; the newest one is some packets old when the node is lost.
    let mut states = Vec::new();
    for holds in 0..3 {
        states = vec![checkpoint(&old, 1, holds).await, checkpoint(&old, 2, holds).await];
        let seen = clients[1].received.len();
        run_until(&mut clients, 2, "media after a checkpoint", |clients| {
            clients[1].received.len() > seen + 20
        })
        .await;
    }
    assert!(
        states.iter().all(|state| state.len() < 600),
        "{:?} bytes",
        states.iter().map(Vec::len).collect::<Vec<_>>()
    );
    for endpoint in [1, 2] {
        let released =
            Release { session: SESSION, endpoint: EndpointKey(endpoint), generation: Generation(10) };
        assert_eq!(tell(&old, released).await, OpResult::Ok);
    }
    drop(old);

    open_session(&new).await;
    for (client, state) in clients.iter().zip(states) {
        let fragment = adopt(&new, 10, state).await;
        assert_eq!(fragment.ice.as_ref(), client.spec.as_ref().map(|spec| &spec.remote_ice));
        assert_eq!(fragment.candidates[0].priority, ice::candidate_priority(1));
    }
    bind(&new, 11).await;
    let took = run_until(&mut clients, 3, "media from the new node", |clients| {
        clients[1].received.iter().filter(|packet| packet.2 == 3).count() > 50
    })
    .await;
    println!("50 packets through the new node after {took:?}");

    let [publisher, player] = &clients;
    assert!(!publisher.closed && !player.closed, "a client was told that the call is over");
    assert_eq!((&publisher.refused[..], &player.refused[..]), (&[][..], &[][..]));
    let indexes: Vec<u64> = player.received.iter().map(|packet| packet.0).collect();
    assert!(indexes.windows(2).all(|pair| pair[0] < pair[1]), "no index comes twice or goes back");
    let jump = indexes.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!((1000..1 << 15).contains(&jump), "the new node begins at the end of the lease: {jump}");
    let sources: std::collections::BTreeSet<SocketAddr> =
        player.received.iter().map(|packet| packet.1).collect();
    assert_eq!(sources.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_stops_before_its_successor_begins() {
    let (old, new) = (node(), node());
    let mut clients = call(&old).await;
    let _first = checkpoint(&old, 2, 0).await;
    let state = checkpoint(&old, 2, 1).await;
    let publisher = checkpoint(&old, 1, 0).await;

    // Nobody asks again: the old node may go on for some thousand packets and not one more.
    let stopped = |clients: &[Client; 2]| clients[1].received.last().map(|packet| packet.0);
    let mut last = None;
    let start = Instant::now();
    loop {
        for _ in 0..40 {
            clients[0].send(4);
        }
        clients.iter_mut().for_each(Client::turn);
        tokio::time::sleep(Duration::from_millis(2)).await;
        clients.iter_mut().for_each(Client::turn);
        let now = stopped(&clients);
        if start.elapsed() > Duration::from_secs(3) && now == last {
            break;
        }
        assert!(start.elapsed() < PATIENCE * 2, "it never stopped");
        last = now;
    }
    let stopped_at = last.unwrap();
    open_session(&new).await;
    adopt(&new, 10, publisher).await;
    adopt(&new, 10, state).await;
    bind(&new, 11).await;
    run_until(&mut clients, 5, "media from the successor", |clients| {
        clients[1].received.iter().any(|packet| packet.2 == 5)
    })
    .await;
    let first = clients[1].received.iter().find(|packet| packet.2 == 5).unwrap();
    assert!(first.0 > stopped_at, "{} after {stopped_at}", first.0);
    assert_eq!(clients[1].refused[..], []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_foreign_and_broken_states_are_refused() {
    let (old, new) = (node(), node());
    let clients = call(&old).await;
    let state = checkpoint(&old, 1, 0).await;
    assert_eq!(try_adopt(&new, 10, state.clone()).await, OpResult::Err(NodeError::UnknownSession));
    open_session(&new).await;
    assert_eq!(
        try_adopt(&new, 1, state.clone()).await,
        OpResult::Err(NodeError::StaleGeneration(Generation(1)))
    );
    let mut broken = state.clone();
    broken.truncate(40);
    assert!(matches!(try_adopt(&new, 10, broken).await, OpResult::Err(NodeError::Internal { .. })));
    let first = adopt(&new, 10, state.clone()).await;
    assert_eq!(adopt(&new, 10, state.clone()).await, first);
    assert_eq!(try_adopt(&new, 9, state).await, OpResult::Err(NodeError::StaleGeneration(Generation(10))));
    let unknown = Checkpoint { session: SESSION, endpoint: EndpointKey(99), holds: 0 };
    assert_eq!(tell(&old, unknown).await, OpResult::Err(NodeError::UnknownEndpoint));
    drop(clients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_find_their_worker_behind_one_port_for_all() {
    // The kernel chooses a socket by the client's address: the chance that all these land right is 1 in 65,536.
    let mut passed_on = 0;
    for _ in 0..4 {
        let node = node_with(Ports::Single, 4);
        let ports: std::collections::BTreeSet<u16> =
            node.control().workers().iter().map(|worker| worker.local().port()).collect();
        assert_eq!(ports.len(), 1);
        let clients = call(&node).await;
        assert_eq!(clients[1].refused[..], []);
        let sum = |count: fn(&Snapshot<EngineReport>) -> u64| -> u64 {
            node.control().workers().iter().map(|worker| count(&worker.snapshot())).sum()
        };
        // Counters are copied out a few times a second.
        let start = Instant::now();
        while sum(|at| at.counters.datagrams_in) < 30 {
            assert!(start.elapsed() < PATIENCE, "counters in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        passed_on += sum(|at| at.report.passed_on);
    }
    assert!(passed_on > 0, "no datagram came to a stranger first");
}
