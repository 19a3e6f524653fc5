//! Clients with their own ICE, DTLS and SRTP against one engine, on virtual time and without sockets.

use std::collections::VecDeque;

use common::id::{Generation, StreamKey};
use common::wire::node::MediaKind;

use super::*;
use crate::cold::{self, ColdQueues, Keyed};
use crate::rtp::HeaderWriter;
use crate::transport::dtls::{Certificate, Handshake, Input, Output, Settings};
use crate::transport::ice::Agent;
use crate::transport::lease::Lease;
use crate::transport::spec::{Codec, CodecSpec, DtlsRole, ExtensionIds, Fingerprint, Flow, Section};
use crate::transport::srtp::{Opener, Profile, Sealer};

const SESSION: SessionKey = SessionKey(1);
const STREAM: StreamKey = StreamKey(5);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn server() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 40_000))
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials { ufrag: format!("{name}ufrag"), password: format!("{name:x<24}") }
}

/// One browser.
struct Client {
    address: SocketAddr,
    agent: Agent,
    handshake: Handshake,
    sealer: Option<Sealer>,
    opener: Option<Opener>,
    received: Vec<Vec<u8>>,
    closed: bool,
}

impl Client {
    fn receive(&mut self, now: Instant, bytes: &mut [u8]) {
        match demux::kind(bytes) {
            Kind::Stun => self.agent.handle(now, ice::Input::Datagram { from: server(), bytes }),
            Kind::Dtls => self.handshake.handle(now, Input::Datagram(bytes)),
            Kind::Media => {
                let opened = self.opener.as_mut().map(|opener| opener.open_rtp(bytes));
                if let Some(Ok(opened)) = opened {
                    self.received.push(bytes[opened.payload].to_vec());
                }
            }
            Kind::Unknown => panic!("an unknown datagram"),
        }
    }

    /// Carries out what ICE and DTLS want; gives what is to be sent.
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while let Some(output) = self.agent.poll_output() {
            if let ice::Output::Transmit { bytes, .. } = output {
                out.push(bytes);
            }
        }
        while let Some(output) = self.handshake.poll_output() {
            match output {
                Output::Transmit(bytes) => out.push(bytes),
                Output::Connected(keys) => {
                    self.sealer = Some(Sealer::new(&keys));
                    self.opener = Some(Opener::new(&keys));
                }
                Output::Failed(error) => panic!("{error}"),
                Output::Closed => self.closed = true,
            }
        }
        out
    }
}

#[derive(Default)]
struct Captured(Vec<(SocketAddr, Vec<u8>)>);

impl Wire for Captured {
    fn send(&mut self, area: &[u8], datagrams: impl Iterator<Item = Outgoing>) {
        self.0.extend(datagrams.map(|at| (at.destination, area[at.offset..at.offset + at.length].to_vec())));
    }
}

/// The engine, its cold pool and the clients.
struct World {
    now: Instant,
    engine: MediaEngine,
    queues: ColdQueues,
    handshakes: HashMap<PeerId, Handshake>,
    certificate: Certificate,
    events: mpsc::Receiver<Event>,
    seen: Vec<Event>,
    clients: Vec<Client>,
    to_engine: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let (cold, queues) = cold::queues(1);
        let (sender, events) = mpsc::channel(64);
        Self {
            now,
            engine: MediaEngine::new(
                now,
                0,
                Families { v4: true, v6: false },
                router::Settings::default(),
                cold,
                sender,
            ),
            queues,
            handshakes: HashMap::new(),
            certificate: Certificate::generate().unwrap(),
            events,
            seen: Vec::new(),
            clients: Vec::new(),
            to_engine: VecDeque::new(),
        }
    }

    /// Opens an endpoint and makes its client.
    fn join(&mut self, number: u8, kind: EndpointKind, flow: Flow) -> usize {
        let certificate = Certificate::generate().unwrap();
        let spec = spec(number, flow, certificate.fingerprint().clone());
        let address = SocketAddr::from(([192, 0, 2, number], 5000));
        let (local, remote) = (spec.remote_ice.clone(), spec.local_ice.clone());
        let settings = Settings {
            role: DtlsRole::Server,
            fingerprints: vec![self.certificate.fingerprint().clone()],
            profiles: vec![Profile::AeadAes128Gcm],
        };
        let ice = ice::Settings { tie_breaker: 1, ..ice::Settings::default() };
        let mut agent = Agent::new(self.now, ice, local, Some(remote), u32::from(number));
        let priority = ice::candidate_priority(0);
        agent.handle(self.now, ice::Input::Candidate(Candidate { address: server(), priority }));
        self.clients.push(Client {
            address,
            agent,
            handshake: Handshake::new(self.now, &certificate, settings).unwrap(),
            sealer: None,
            opener: None,
            received: Vec::new(),
            closed: false,
        });
        let connection = ConnectionKey(u64::from(number));
        let open = Open {
            session: SESSION,
            connection,
            endpoint: EndpointKey(u64::from(number)),
            spec,
            binds: Vec::new(),
            kind,
            permit: Permit {
                session: SESSION,
                connection,
                generation: Generation(1),
                publish_audio: true,
                publish_video: true,
                subscribe: true,
            },
            ice: ice::Settings::default(),
            adoption: None,
        };
        self.engine.command(self.now, Command::Open(Box::new(open)));
        self.clients.len() - 1
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.turn();
            self.now += ms(1);
        }
    }

    fn turn(&mut self) {
        let now = self.now;
        while let Some((source, mut bytes)) = self.to_engine.pop_front() {
            self.engine.datagram(now, source, &mut bytes);
        }
        self.run_cold();
        self.engine.tick(now);
        let mut wire = Captured::default();
        self.engine.flush(now, &mut wire);
        for (to, mut bytes) in wire.0 {
            if let Some(client) = self.clients.iter_mut().find(|client| client.address == to) {
                client.receive(now, &mut bytes);
            }
        }
        for client in &mut self.clients {
            client.agent.handle(now, ice::Input::Tick);
            if client.handshake.deadline().is_some_and(|at| at <= now) {
                client.handshake.handle(now, Input::Tick);
            }
            for bytes in client.drain() {
                self.to_engine.push_back((client.address, bytes));
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.seen.push(event);
        }
    }

    fn run_cold(&mut self) {
        while let Some(request) = self.queues.try_next() {
            let peer = request.peer();
            match request {
                Request::Start { role, fingerprints, .. } => {
                    let settings = Settings { role, fingerprints, profiles: vec![Profile::AeadAes128Gcm] };
                    let handshake = Handshake::new(self.now, &self.certificate, settings).unwrap();
                    self.handshakes.insert(peer, handshake);
                }
                Request::Datagram { bytes, .. } => {
                    if let Some(handshake) = self.handshakes.get_mut(&peer) {
                        handshake.handle(self.now, Input::Datagram(&bytes));
                    }
                }
                Request::Forget { .. } => drop(self.handshakes.remove(&peer)),
                Request::Close { to, .. } => {
                    if let Some(handshake) = self.handshakes.get_mut(&peer) {
                        handshake.handle(self.now, Input::Close);
                    }
                    self.deliver(peer, to);
                    self.handshakes.remove(&peer);
                }
            }
            self.deliver(peer, None);
        }
    }

    fn deliver(&mut self, peer: PeerId, to: Option<SocketAddr>) {
        while let Some(output) = self.handshakes.get_mut(&peer).and_then(Handshake::poll_output) {
            let verdict = match output {
                Output::Transmit(bytes) => Verdict::Transmit { bytes, to },
                Output::Connected(keys) => {
                    let (sealer, opener) = (Sealer::new(&keys), Opener::new(&keys));
                    Verdict::Keys(Box::new(Keyed { keys, sealer, opener }))
                }
                Output::Failed(_) => Verdict::Failed,
                Output::Closed => Verdict::Closed,
            };
            self.engine.command(self.now, Command::Cold { peer, verdict });
        }
    }

    fn states(&self, endpoint: u64) -> Vec<TransportState> {
        let of = |event: &Event| match event {
            Event::Transport { endpoint: key, state } if *key == EndpointKey(endpoint) => Some(*state),
            Event::Transport { .. } | Event::Router(_) => None,
        };
        self.seen.iter().filter_map(of).collect()
    }

    /// Sends one audio packet of a client's source 111.
    fn speak(&mut self, client: usize, lease: &mut Lease, text: &[u8]) {
        let client = &mut self.clients[client];
        let mut buffer = vec![0; 200];
        let mut writer = HeaderWriter::new(&mut buffer, false, 111, 960 * lease.next() as u32, false);
        writer.extension(1, b"0");
        let header = writer.finish();
        buffer[header..header + text.len()].copy_from_slice(text);
        lease.grant(lease.next() + 1);
        let nonce = lease.take().unwrap();
        let length = client.sealer.as_ref().unwrap().seal_rtp(&mut buffer, header, text.len(), nonce);
        buffer.truncate(length);
        self.to_engine.push_back((client.address, buffer));
    }
}

fn spec(number: u8, flow: Flow, fingerprint: Fingerprint) -> EndpointSpec {
    let codec = CodecSpec {
        codec: Codec::Opus,
        payload_type: 111,
        rtx_payload_type: None,
        clock_hz: 48_000,
        fmtp: String::new(),
        nack: false,
        pli: false,
        fir: false,
        transport_cc: false,
    };
    let extensions = ExtensionIds { mid: Some(1), ..ExtensionIds::default() };
    EndpointSpec {
        local_ice: credentials(&format!("s{number}")),
        remote_ice: credentials(&format!("c{number}")),
        remote_lite: false,
        remote_candidates: Vec::new(),
        fingerprints: vec![fingerprint],
        dtls: DtlsRole::Client,
        sections: vec![Section {
            mid: "0".to_owned(),
            kind: MediaKind::Audio,
            flow,
            codecs: vec![codec],
            extensions,
        }],
    }
}

fn publisher() -> (EndpointKind, Flow) {
    (EndpointKind::Publish { stream: STREAM }, Flow::Receive { rids: Vec::new(), ssrcs: vec![(111, None)] })
}

fn subscriber() -> (EndpointKind, Flow) {
    (EndpointKind::Pair { stream: STREAM }, Flow::Send { slot: 0, ssrc: 222, rtx_ssrc: 223 })
}

/// A publisher and a subscriber, connected.
fn pair() -> (World, usize, usize) {
    let mut world = World::new();
    let (kind, flow) = publisher();
    let speaker = world.join(1, kind, flow);
    let (kind, flow) = subscriber();
    let listener = world.join(2, kind, flow);
    world.run(ms(500));
    assert_eq!(world.states(1), [TransportState::Connected]);
    assert_eq!(world.states(2), [TransportState::Connected]);
    (world, speaker, listener)
}

#[test]
fn what_one_client_says_reaches_the_other() {
    let (mut world, speaker, listener) = pair();
    let mut lease = Lease::new(111, 7);
    for count in 0..20_u8 {
        world.speak(speaker, &mut lease, &[count; 40]);
        world.run(ms(20));
    }
    let got = &world.clients[listener].received;
    assert_eq!(got.len(), 20);
    assert!(got.iter().enumerate().all(|(index, bytes)| *bytes == [index as u8; 40]));
}

#[test]
fn a_client_that_falls_silent_is_disconnected_and_then_gone() {
    let (mut world, speaker, _) = pair();
    // Its packets come from nowhere any more.
    world.clients[speaker].address = SocketAddr::from(([203, 0, 113, 9], 1));
    world.clients[speaker].agent = Agent::new(
        world.now,
        ice::Settings { lite: true, ..ice::Settings::default() },
        credentials("x"),
        None,
        9,
    );
    world.run(Duration::from_secs(6));
    assert_eq!(world.states(1), [TransportState::Connected, TransportState::Disconnected]);
    world.run(Duration::from_secs(20));
    assert_eq!(world.states(1).last(), Some(&TransportState::Failed));
    let mut report = EngineReport::default();
    world.engine.report(&mut report);
    assert_eq!((report.peers, world.engine.by_ufrag.len(), world.engine.by_address.len()), (1, 1, 1));
}

#[test]
fn a_closed_client_is_told_and_leaves_nothing_behind() {
    let (mut world, speaker, listener) = pair();
    for endpoint in [1, 2] {
        world.engine.command(world.now, Command::Close { endpoint: EndpointKey(endpoint) });
    }
    world.run(ms(50));
    assert!(world.clients[speaker].closed && world.clients[listener].closed, "close_notify came");
    assert!(world.engine.by_ufrag.is_empty() && world.engine.by_address.is_empty());
    assert_eq!(world.engine.free.len(), 2);
}

#[test]
fn a_client_that_ends_dtls_is_closed() {
    let (mut world, speaker, _) = pair();
    let now = world.now;
    world.clients[speaker].handshake.handle(now, Input::Close);
    world.run(ms(50));
    assert_eq!(world.states(1), [TransportState::Connected, TransportState::Closed]);
}

#[test]
fn rubbish_of_strangers_is_dropped_and_counted() {
    let (mut world, ..) = pair();
    let stranger = SocketAddr::from(([198, 51, 100, 66], 666));
    let now = world.now;
    let handshakes = world.handshakes.len();
    for first in 0..=u8::MAX {
        for length in [1, 12, 20, 100, 1400] {
            let mut bytes = vec![first; length];
            world.engine.datagram(now, stranger, &mut bytes);
        }
    }
    world.run(ms(20));
    let mut report = EngineReport::default();
    world.engine.report(&mut report);
    assert_eq!(report.dtls_refused, 44 * 5);
    assert_eq!(report.media_refused, 64 * 5);
    assert_eq!(report.unknown_kind, (256 - 44 - 64 - 4) * 5);
    assert_eq!(report.stun_refused, 4 * 5);
    assert_eq!(world.handshakes.len(), handshakes, "no handshake was begun");
    assert_eq!(world.engine.by_address.len(), 2, "no address was learnt");
}

#[test]
fn an_ice_restart_keeps_the_media_flowing() {
    let (mut world, speaker, listener) = pair();
    let mut lease = Lease::new(111, 7);
    let (local, remote) = (credentials("again-s"), credentials("again-c"));
    let command = Command::Restart {
        endpoint: EndpointKey(1),
        local: local.clone(),
        remote: remote.clone(),
        candidates: Vec::new(),
    };
    let now = world.now;
    world.engine.command(now, command);
    world.clients[speaker].agent.handle(now, ice::Input::Restart { local: remote, remote: local });
    for count in 0..30_u8 {
        world.speak(speaker, &mut lease, &[count; 40]);
        world.run(ms(20));
    }
    assert_eq!(world.clients[listener].received.len(), 30);
    world.run(Duration::from_secs(30));
    assert_eq!(world.states(1), [TransportState::Connected], "the new credentials keep it alive");
}

#[test]
fn a_client_that_floods_the_handshake_is_cut_off() {
    let (mut world, speaker, listener) = pair();
    let source = world.clients[speaker].address;
    let now = world.now;
    for _ in 0..2000 {
        world.engine.datagram(now, source, &mut [22; 60]);
    }
    let mut passed = 0;
    while world.queues.try_next().is_some() {
        passed += 1;
    }
    assert!((1..=100).contains(&passed), "{passed}");
    let mut lease = Lease::new(111, 7);
    world.speak(speaker, &mut lease, &[1; 40]);
    world.run(ms(20));
    assert_eq!(world.clients[listener].received.len(), 1, "its media goes on");
}

#[test]
fn media_without_keys_is_held_within_bounds() {
    let mut world = World::new();
    let (kind, flow) = publisher();
    let client = world.join(1, kind, flow);
    // ICE connects, the handshake never ends.
    for _ in 0..200 {
        world.turn();
        world.handshakes.clear();
        world.now += ms(1);
    }
    let (now, source) = (world.now, world.clients[client].address);
    for _ in 0..1000 {
        world.engine.datagram(now, source, &mut [128; 1200]);
    }
    let mut report = EngineReport::default();
    world.engine.report(&mut report);
    let held: usize = world.engine.peers.iter().flatten().map(|peer| peer.early.len()).sum();
    assert_eq!((held, report.media_refused), (32, 968));
}
