//! Shell: both ends of the links on loopback in one process.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test waits for one input and lets the others pass")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use common::exit::Exit;
use common::id::{EndpointKey, Generation};
use common::net::enroll::{self as enrolment, Credential, EnrollError};
use common::net::frames::{self, FrameReader};
use common::net::identity::{ClusterConfig, IdentityError, IdentityStore};
use common::net::node_link::{LinkState, NodeLink, NodeLinkSettings, Request, Requests, Running};
use common::net::operator_link::{
    Credentials, CredentialsError, OperatorEvent, OperatorLink, OperatorLinkState,
};
use common::net::tls::ClientCertificate;
use common::net::token::JoinToken;
use common::operator::{Listing, Mirror};
use common::wire::enroll::Refusal;
use common::wire::node::{
    Done, EndpointAnswer, Load, NodeError, NodeFact, OpResult, Ready, Role, SessionClose,
};
use common::wire::operator::{
    Ack, Adjust, Delta, Keys, Operate, Operation, OperationState, OperatorRole, OperatorWelcome, Order,
    Query, Recall, SessionRow, Subscribe, ToMaster, ToOperator, Topic, Unsubscribe, Verb, Window,
};
use common::wire::recording::{FileHead, FileOpen};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::clock::Clock;
use crate::cluster::op::{Op, Query as CoreQuery, Reply};
use crate::driver::call::{Call, CallSource, CoreHandle};

/// Far more than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Master {
    dir: TempDir,
    authority: Arc<Authority>,
    links: NodeLinks,
    inputs: mpsc::Receiver<LinkInput>,
    epoch: watch::Sender<Epoch>,
    operators: OperatorHub,
    calls: CallSource,
}

impl Master {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir, 0)
    }

    fn start_in(dir: TempDir, port: u16) -> Self {
        let authority = Arc::new(Authority::open(dir.path()).unwrap());
        let (sender, inputs) = mpsc::channel(1024);
        let (epoch, epochs) = watch::channel(Epoch(5));
        let (core, calls) = CoreHandle::channel();
        let operators = OperatorHub::new(core, Clock::start());
        let listen = (Ipv4Addr::LOCALHOST, port).into();
        let settings = LinkSettings { listen, ..LinkSettings::default() };
        let links =
            NodeLinks::start(settings, Arc::clone(&authority), epochs, operators.clone(), sender).unwrap();
        Self { dir, authority, links, inputs, epoch, operators, calls }
    }

    fn port(&self) -> u16 {
        self.links.local_addr().unwrap().port()
    }

    /// The next input that `pick` wants; others are dropped.
    async fn wait<T>(&mut self, mut pick: impl FnMut(LinkInput) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = pick(self.inputs.recv().await.expect("the links live")) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the input arrives")
    }

    async fn up(&mut self) -> (NodeKey, Hello) {
        self.wait(|input| match input {
            LinkInput::Up { node, hello, .. } => Some((node, hello)),
            _ => None,
        })
        .await
    }

    async fn down(&mut self) -> (NodeKey, BootId, String) {
        self.wait(|input| match input {
            LinkInput::Down { node, boot, why } => Some((node, boot, why)),
            _ => None,
        })
        .await
    }

    async fn done(&mut self) -> (OpId, OpResult) {
        self.wait(|input| match input {
            LinkInput::Message { op, message: FromNode::Done(Done { result }), .. } => Some((op, result)),
            _ => None,
        })
        .await
    }

    async fn event(&mut self) -> u64 {
        self.wait(|input| match input {
            LinkInput::Message { message: FromNode::NodeEvent(event), .. } => Some(event.seq),
            _ => None,
        })
        .await
    }

    fn close_session(&self, node: NodeKey, session: u64, op: u64, epoch: u64) -> Result<(), SendError> {
        let session = SessionKey(session);
        let message = SessionClose { session }.into();
        self.links.send(node, Some(session), OpId(op), Epoch(epoch), 0, &message)
    }
}

fn settings(port: u16, token: Option<&Path>) -> NodeLinkSettings {
    let config = ClusterConfig { masters: vec![format!("127.0.0.1:{port}")], ..ClusterConfig::default() };
    let mut settings = NodeLinkSettings::new("testd 1", &config);
    settings.join_token_file = token.map(Path::to_owned);
    settings
}

async fn start_node(dir: &Path, role: Role, port: u16, token: Option<&Path>) -> (NodeLink, Requests) {
    let open = async {
        loop {
            match IdentityStore::open(dir, role) {
                Ok(store) => return store,
                // The last tasks of a link that was just closed still hold the folder.
                Err(IdentityError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let store = timeout(PATIENCE, open).await.expect("the folder becomes free");
    NodeLink::start(settings(port, token), store, || vec![42]).unwrap()
}

struct Node {
    dir: TempDir,
    link: NodeLink,
    requests: Requests,
}

impl Node {
    async fn join(master: &Master) -> Self {
        Self::join_as(master, Role::Media).await
    }

    async fn join_as(master: &Master, role: Role) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = master.dir.path().join("join-token");
        let (link, requests) = start_node(dir.path(), role, master.port(), Some(&token)).await;
        Self { dir, link, requests }
    }

    async fn request(&mut self) -> Request {
        timeout(PATIENCE, self.requests.next()).await.expect("a request arrives").expect("the link lives")
    }

    async fn answer_inventory(&mut self) {
        match self.request().await {
            Request::Inventory(inventory) => inventory.answer(Running::default()),
            other => panic!("an inventory was expected, not {other:?}"),
        }
    }

    /// Carries out one command and says which.
    async fn carry_out(&mut self, result: OpResult) -> OpId {
        loop {
            match self.request().await {
                Request::Inventory(inventory) => inventory.answer(Running::default()),
                Request::File(file) => panic!("a command was expected, not {file:?}"),
                Request::Command(command) => {
                    command.reply.done(result);
                    return command.op;
                }
            }
        }
    }
}

async fn state_where(link: &NodeLink, is_wanted: impl Fn(&LinkState) -> bool) -> LinkState {
    let mut state = link.state();
    timeout(PATIENCE, state.wait_for(|state| is_wanted(state)))
        .await
        .expect("the state is reached")
        .unwrap()
        .clone()
}

async fn failure(link: &NodeLink) -> (Exit, String) {
    timeout(PATIENCE, link.failed()).await.expect("the link is given up")
}

fn is_up(state: &LinkState) -> bool {
    matches!(state, LinkState::Up { .. })
}

#[tokio::test]
async fn two_nodes_enrol_greet_and_carry_out_commands() {
    let mut master = Master::start();
    let mut media = Node::join(&master).await;
    let (first, hello) = master.up().await;
    assert_eq!((first, hello.role, hello.program.as_str()), (media.link.node(), Role::Media, "testd 1"));
    let mut recorder = Node::join_as(&master, Role::Recorder).await;
    let (second, hello) = master.up().await;
    assert_eq!(
        (second, hello.role, hello.boot),
        (recorder.link.node(), Role::Recorder, recorder.link.boot())
    );
    assert_ne!(first, second);

    for (op, node) in [(1, first), (2, second)] {
        master.close_session(node, 7, op, 5).unwrap();
    }
    assert_eq!(media.carry_out(OpResult::Ok).await, OpId(1));
    assert_eq!(master.done().await, (OpId(1), OpResult::Ok));
    assert_eq!(recorder.carry_out(OpResult::Err(NodeError::Unsupported)).await, OpId(2));
    assert_eq!(master.done().await, (OpId(2), OpResult::Err(NodeError::Unsupported)));
    assert_eq!(media.link.epoch(), Epoch(5));
}

#[tokio::test]
async fn a_repeated_command_has_its_effect_once() {
    let mut master = Master::start();
    let mut node = Node::join(&master).await;
    let (key, _) = master.up().await;
    node.answer_inventory().await;
    master.close_session(key, 1, 1, 5).unwrap();
    master.close_session(key, 1, 1, 5).unwrap();
    assert_eq!(node.carry_out(OpResult::Ok).await, OpId(1));
    assert_eq!(master.done().await, (OpId(1), OpResult::Ok));
    master.close_session(key, 1, 1, 5).unwrap();
    assert_eq!(master.done().await, (OpId(1), OpResult::Ok));
    // The daemon sees the next operation, not the repetitions.
    master.close_session(key, 1, 2, 5).unwrap();
    assert_eq!(node.carry_out(OpResult::Ok).await, OpId(2));
}

#[tokio::test]
async fn commands_that_must_not_be_carried_out_are_answered() {
    let mut master = Master::start();
    let mut node = Node::join(&master).await;
    let (key, _) = master.up().await;
    node.answer_inventory().await;

    master.close_session(key, 1, 1, 4).unwrap();
    assert_eq!(master.done().await, (OpId(1), OpResult::Err(NodeError::StaleEpoch(Epoch(5)))));

    let session = SessionKey(1);
    let message = SessionClose { session }.into();
    master.links.send(key, Some(session), OpId(2), Epoch(5), 1, &message).unwrap();
    master.close_session(key, 1, 3, 5).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await; // the deadline, not a guess
    assert_eq!(node.carry_out(OpResult::Ok).await, OpId(3));
    assert_eq!(master.done().await, (OpId(2), OpResult::Err(NodeError::Expired)));
    assert_eq!(master.done().await, (OpId(3), OpResult::Ok));

    let mut unknown = message.envelope(Epoch(5), OpId(4), 0);
    unknown.kind = 999;
    master.links.0.shared.registry.send(key, None, unknown).unwrap();
    let kind = master
        .wait(|input| match input {
            LinkInput::Message { op: OpId(4), message: FromNode::Unsupported(unsupported), .. } => {
                Some(unsupported.kind)
            }
            _ => None,
        })
        .await;
    assert_eq!(kind, 999);

    master.close_session(key, 1, 5, 5).unwrap();
    match node.request().await {
        Request::Command(command) => drop(command),
        other => panic!("a command was expected, not {other:?}"),
    }
    assert!(matches!(master.done().await, (OpId(5), OpResult::Err(NodeError::Internal { .. }))));
}

#[tokio::test]
async fn a_node_that_is_not_there_or_too_slow_fails_the_sender_at_once() {
    let mut master = Master::start();
    assert_eq!(master.close_session(NodeKey(1), 1, 1, 5), Err(SendError::NotConnected));
    let node = Node::join(&master).await;
    let (key, _) = master.up().await;
    let sent = (0..100_000).find_map(|op| master.close_session(key, 1, op, 5).err());
    assert_eq!(sent, Some(SendError::Busy));
    assert_eq!(master.links.connected(), [key]);
    drop(node);
}

#[tokio::test]
async fn heartbeats_and_load_arrive() {
    let mut master = Master::start();
    let node = Node::join(&master).await;
    node.link.set_load(Load { sessions: 3, ..Load::default() });
    let turns = master
        .wait(|input| match input {
            LinkInput::Message { message: FromNode::Heartbeat(beat), .. } if beat.seq > 1 => Some(beat.turns),
            _ => None,
        })
        .await;
    assert_eq!(turns, [42]);
    node.link.set_load(Load { sessions: 4, ..Load::default() });
    master
        .wait(|input| match input {
            LinkInput::Message { message: FromNode::Load(load), .. } => (load.sessions == 4).then_some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_new_epoch_is_announced_and_answered_with_the_inventory() {
    let mut master = Master::start();
    let mut node = Node::join(&master).await;
    master.up().await;
    node.answer_inventory().await;
    master.epoch.send(Epoch(6)).unwrap();
    match node.request().await {
        Request::Inventory(inventory) => {
            inventory
                .answer(Running { sessions: vec![(SessionKey(9), Generation(2))], ..Running::default() });
        }
        other => panic!("an inventory was expected, not {other:?}"),
    }
    assert_eq!(node.link.epoch(), Epoch(6));
    let sessions = master
        .wait(|input| match input {
            LinkInput::Message { message: FromNode::Inventory(inventory), .. }
                if !inventory.sessions.is_empty() =>
            {
                assert!(inventory.last);
                Some(inventory.sessions)
            }
            _ => None,
        })
        .await;
    assert_eq!(sessions, [(SessionKey(9), Generation(2))]);
}

/// A master in a runtime of its own, so that it can be killed like a process.
struct DoomedMaster {
    runtime: tokio::runtime::Runtime,
    master: Master,
}

impl DoomedMaster {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let guard = runtime.enter();
        let master = Master::start();
        drop(guard);
        Self { runtime, master }
    }

    /// Ends everything without a word to anybody; the state folder remains.
    fn kill(self) -> TempDir {
        let Master { dir, links, .. } = self.master;
        // First the tasks, so that closing the endpoint tells nobody.
        let runtime = self.runtime;
        std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE)).join().unwrap();
        drop(links);
        dir
    }
}

async fn restart(dir: TempDir, port: u16) -> Master {
    let free = async {
        while std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, free).await.expect("the killed master's port becomes free");
    Master::start_in(dir, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_noticed_at_once_and_gets_the_events_that_it_missed() {
    let mut doomed = DoomedMaster::start();
    let port = doomed.master.port();
    let mut node = Node::join(&doomed.master).await;
    let (key, hello) = doomed.master.up().await;
    node.answer_inventory().await;
    node.link.event(None, NodeFact::Drained);
    assert_eq!(doomed.master.event().await, 1);
    let dir = doomed.kill();
    node.link.event(None, NodeFact::Drained);
    node.link.event(None, NodeFact::Drained);

    let mut master = restart(dir, port).await;
    let restarted = Instant::now();
    let (again, second) = master.up().await;
    assert_eq!((again, second.boot, second.epoch_seen), (key, hello.boot, Epoch(5)));
    assert!(restarted.elapsed() < Duration::from_secs(2), "took {:?}", restarted.elapsed());
    println!("reconnected {:?} after the restart", restarted.elapsed());
    // The first one may come again: it was perhaps not acknowledged. None is missing.
    let mut seen = master.event().await;
    assert!(seen <= 2);
    while seen < 3 {
        let next = master.event().await;
        assert_eq!(next, seen + 1);
        seen = next;
    }
    assert_eq!(node.link.events_lost(), 0);
    node.answer_inventory().await;
}

#[tokio::test]
async fn a_node_stays_the_same_over_its_restart_and_needs_no_token_then() {
    let mut master = Master::start();
    let dir = tempfile::tempdir().unwrap();
    let token = master.dir.path().join("join-token");
    let (link, requests) = start_node(dir.path(), Role::Media, master.port(), Some(&token)).await;
    let (node, first) = master.up().await;
    link.close().await;
    let (down, boot, why) = master.down().await;
    assert_eq!((down, boot), (node, first.boot));
    assert!(why.contains("the node ends"), "{why}");
    drop((link, requests));
    let (link, _requests) = start_node(dir.path(), Role::Media, master.port(), None).await;
    let (again, second) = master.up().await;
    assert_eq!(again, node);
    assert_eq!(second.boot, link.boot());
    assert_ne!(second.boot, first.boot);
}

#[tokio::test]
async fn a_node_waits_for_its_master_and_for_the_token_file() {
    let dir = tempfile::tempdir().unwrap();
    let masters = tempfile::tempdir().unwrap();
    let token = masters.path().join("join-token");
    let port = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let (link, _requests) = start_node(dir.path(), Role::Media, port, Some(&token)).await;
    state_where(
        &link,
        |state| matches!(state, LinkState::Connecting { why } if why.contains("does not exist yet")),
    )
    .await;
    let mut master = Master::start_in(masters, port);
    assert_eq!(master.up().await.0, link.node());
    state_where(&link, is_up).await;
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_the_node_says_what_to_do() {
    let mut master = Master::start();
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("wrong.token");
    JoinToken::generate(master.authority.cluster(), master.authority.fingerprint())
        .unwrap()
        .write(&token)
        .unwrap();
    let (link, _requests) =
        start_node(&dir.path().join("state"), Role::Media, master.port(), Some(&token)).await;
    let (exit, message) = failure(&link).await;
    assert_eq!(exit, Exit::Config);
    assert!(message.contains("the secret of the join token is wrong; copy join-token"), "{message}");
    // The master goes on.
    let node = Node::join(&master).await;
    assert_eq!(master.up().await.0, node.link.node());
}

#[tokio::test]
async fn a_token_of_another_cluster_is_not_used() {
    let (master, other) = (Master::start(), Master::start());
    let dir = tempfile::tempdir().unwrap();
    let token = other.dir.path().join("join-token");
    let (link, _requests) = start_node(dir.path(), Role::Media, master.port(), Some(&token)).await;
    let (exit, message) = failure(&link).await;
    assert_eq!(exit, Exit::Config);
    assert!(message.contains("the master belongs to another cluster"), "{message}");
}

#[tokio::test]
async fn a_certificate_of_another_cluster_does_not_help_but_a_token_moves_the_node() {
    let (mut master, mut other) = (Master::start(), Master::start());
    let dir = tempfile::tempdir().unwrap();
    let foreign = other.dir.path().join("join-token");
    let (link, requests) = start_node(dir.path(), Role::Media, other.port(), Some(&foreign)).await;
    other.up().await;
    link.close().await;
    drop((link, requests));

    let (link, requests) = start_node(dir.path(), Role::Media, master.port(), None).await;
    let (exit, message) = failure(&link).await;
    assert_eq!(exit, Exit::Config);
    assert!(message.contains("the master is not of this node's cluster"), "{message}");
    link.close().await;
    drop((link, requests));

    let token = master.dir.path().join("join-token");
    let (link, _requests) = start_node(dir.path(), Role::Media, master.port(), Some(&token)).await;
    assert_eq!(master.up().await.0, link.node());
}

#[tokio::test]
async fn a_node_without_certificate_and_token_says_so() {
    let master = Master::start();
    let dir = tempfile::tempdir().unwrap();
    let (link, _requests) = start_node(dir.path(), Role::Media, master.port(), None).await;
    let (exit, message) = failure(&link).await;
    assert_eq!(exit, Exit::Config);
    assert!(message.starts_with("this node has no certificate: set `join_token_file`"), "{message}");
}

/// Dials with any certificate and protocol.
async fn dial(master: &Master, shown: &ClientCertificate, protocol: &[u8]) -> (Endpoint, quinn::Connection) {
    let socket = quic::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let endpoint = quic::endpoint(socket, &quic::QuicKeys::derive(b"test"), None).unwrap();
    let roots = tls::roots(master.authority.certificate()).unwrap();
    let config = tls::client(shown, roots, protocol).unwrap();
    let address = master.links.local_addr().unwrap();
    let connecting = endpoint.connect_with(config, address, common::net::MASTER_NAME).unwrap();
    let connection = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    (endpoint, connection)
}

async fn close_code(connection: &quinn::Connection) -> Option<CloseCode> {
    CloseCode::of(&timeout(PATIENCE, connection.closed()).await.unwrap())
}

#[tokio::test]
async fn a_certificate_entitles_to_its_own_protocol_and_role_only() {
    let master = Master::start();
    let operator = master.authority.issue_operator("ada", OperatorRole::Admin, SystemTime::now()).unwrap();
    let shown = ClientCertificate { chain: vec![operator.certificate], key: operator.key };
    let (_endpoint, connection) = dial(&master, &shown, node_wire::ALPN).await;
    assert_eq!(close_code(&connection).await, Some(CloseCode::Unauthorized));

    let dir = tempfile::tempdir().unwrap();
    let store = IdentityStore::open(dir.path(), Role::Media).unwrap();
    let csr = store.csr().unwrap();
    let leaf = master.authority.issue_node(Role::Media, store.node(), &csr, SystemTime::now()).unwrap();
    let identity = store.save(&leaf.into(), master.authority.certificate()).unwrap();
    let (_endpoint, connection) = dial(&master, &identity.shown, operator_wire::ALPN).await;
    assert_eq!(close_code(&connection).await, Some(CloseCode::Unauthorized));

    let (_endpoint, connection) = dial(&master, &identity.shown, node_wire::ALPN).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    let hello = Hello {
        versions: node_wire::VERSIONS,
        program: String::new(),
        node: store.node(),
        role: Role::Recorder,
        boot: BootId(1),
        epoch_seen: Epoch(0),
        addresses: Vec::new(),
        name: String::new(),
        media_link: Vec::new(),
        capacity: Default::default(),
        ext: Vec::new(),
    };
    frames::send(&mut send, &FromNode::from(hello)).await.unwrap();
    assert_eq!(close_code(&connection).await, Some(CloseCode::Unauthorized));
}

#[tokio::test]
async fn rubbish_on_a_stream_ends_the_connection_and_nothing_else() {
    let mut master = Master::start();
    let node = Node::join(&master).await;
    master.up().await;
    let dir = tempfile::tempdir().unwrap();
    let store = IdentityStore::open(dir.path(), Role::Media).unwrap();
    let csr = store.csr().unwrap();
    let leaf = master.authority.issue_node(Role::Media, store.node(), &csr, SystemTime::now()).unwrap();
    let identity = store.save(&leaf.into(), master.authority.certificate()).unwrap();
    for rubbish in [&[0xff; 64][..], &[3, 0, 0, 0, 0xff, 0xff, 0xff], b"GET / HTTP/1.1\r\n\r\n"] {
        let (_endpoint, connection) = dial(&master, &identity.shown, node_wire::ALPN).await;
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(rubbish).await.unwrap();
        assert!(FrameReader::new(receive).next().await.is_err());
        assert_eq!(close_code(&connection).await, Some(CloseCode::Protocol));
    }
    assert_eq!(master.links.connected(), [node.link.node()]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let master = Master::start();
    let listen = master.links.local_addr().unwrap();
    let (inputs, _receiver) = mpsc::channel(1);
    let (_epoch, epoch) = watch::channel(Epoch(1));
    let operators = OperatorHub::new(CoreHandle::channel().0, Clock::start());
    let settings = LinkSettings { listen, ..LinkSettings::default() };
    let error =
        NodeLinks::start(settings, Arc::clone(&master.authority), epoch, operators, inputs).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {listen} (udp); change the address or free the port")
    );
}

/// A console with its certificate.
fn console(master: &Master, role: OperatorRole) -> (OperatorLink, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    Credentials::create(&master.authority, "ada", role, dir.path()).unwrap();
    let credentials = Credentials::read(dir.path()).unwrap();
    assert_eq!((credentials.name.as_str(), credentials.role), ("ada", role));
    (OperatorLink::start(&format!("127.0.0.1:{}", master.port()), credentials, "test 1"), dir)
}

async fn event_of(link: &mut OperatorLink) -> OperatorEvent {
    timeout(PATIENCE, link.next()).await.expect("something happens").expect("the link lives")
}

async fn welcomed(link: &mut OperatorLink) -> OperatorWelcome {
    loop {
        if let OperatorEvent::State(OperatorLinkState::Up { welcome, .. }) = event_of(link).await {
            return welcome;
        }
    }
}

async fn told(link: &mut OperatorLink) -> ToOperator {
    match event_of(link).await {
        OperatorEvent::Message(message) => message,
        OperatorEvent::State(state) => panic!("the link is {state:?}"),
    }
}

async fn delta(link: &mut OperatorLink) -> Delta {
    let ToOperator::Delta(delta) = told(link).await else { panic!("no delta") };
    link.send(Ack { sub: delta.sub, seq: delta.seq }.into());
    delta
}

fn sessions_at(count: u64) -> Listing {
    let row = |key| SessionRow { session: SessionKey(key), name: format!("s{key}"), ..SessionRow::default() };
    Listing { at_ms: 7, sessions: (1..=count).map(row).collect(), ..Listing::default() }
}

fn watch_sessions(filter: &str) -> ToMaster {
    let (order, filter) = (Order { field: "name".to_owned(), descending: true }, filter.to_owned());
    let window = Window { first: 0, count: 2, from_end: false };
    Subscribe { sub: 3, topic: Topic::Sessions, filter, order, window, interval_ms: 50, ext: Vec::new() }
        .into()
}

#[tokio::test]
async fn an_operator_watches_a_window_of_rows_and_its_changes() {
    let master = Master::start();
    let (mut link, _dir) = console(&master, OperatorRole::Viewer);
    let welcome = welcomed(&mut link).await;
    assert_eq!((welcome.role, welcome.cluster.as_str()), (OperatorRole::Viewer, master.authority.cluster()));
    master.operators.change(|board| board.update(sessions_at(3)));
    link.send(watch_sessions(""));
    let mut mirror = Mirror::default();
    mirror.apply(delta(&mut link).await);
    assert_eq!((mirror.keys(), mirror.total, mirror.at_ms), (&[3, 2][..], 3, 7));
    master.operators.change(|board| board.update(sessions_at(4)));
    mirror.apply(delta(&mut link).await);
    assert_eq!((mirror.keys(), mirror.total), (&[4, 3][..], 4));
    let window = Window { first: 1, count: 1, from_end: false };
    link.send(Adjust { sub: 3, filter: "s3|s1".to_owned(), order: Order::default(), window }.into());
    mirror.apply(delta(&mut link).await);
    assert_eq!((mirror.keys(), mirror.total, mirror.first), (&[3][..], 2, 1));
    link.send(Unsubscribe { sub: 3 }.into());
    link.send(Query { id: 9, filter: "nonsense>1".to_owned(), before: 0, since_ms: 0, limit: 5 }.into());
    master.operators.change(|board| board.update(sessions_at(9)));
    let ToOperator::Page(page) = told(&mut link).await else { panic!("no page") };
    assert!(page.id == 9 && page.error.contains("no field `nonsense`"), "{}", page.error);

    master.links.close().await;
    let lost = event_of(&mut link).await;
    assert!(matches!(lost, OperatorEvent::State(OperatorLinkState::Connecting { .. })), "{lost:?}");
}

#[tokio::test]
async fn a_console_that_does_not_acknowledge_gets_nothing_more_and_then_the_newest() {
    let master = Master::start();
    let (mut link, _dir) = console(&master, OperatorRole::Viewer);
    welcomed(&mut link).await;
    master.operators.change(|board| board.update(sessions_at(1)));
    link.send(watch_sessions(""));
    let ToOperator::Delta(first) = told(&mut link).await else { panic!("no delta") };
    for count in 2..40 {
        master.operators.change(|board| board.update(sessions_at(count)));
    }
    link.send(Ack { sub: 3, seq: first.seq }.into());
    let second = delta(&mut link).await;
    assert_eq!((second.seq, second.total, second.keys), (first.seq + 1, 39, Keys::All(vec![9, 8])));
}

#[tokio::test]
async fn an_operation_carries_who_asks_and_comes_back_with_its_answer() {
    let mut master = Master::start();
    let (mut link, _dir) = console(&master, OperatorRole::Operator);
    welcomed(&mut link).await;
    let verb = Verb::SessionClose { session: "s".to_owned() };
    let (reason, expected) = ("tired".to_owned(), Some(5));
    let operate = Operate { op: 77, verb: verb.clone(), expected, dry_run: false, reason, ext: Vec::new() };
    link.send(operate.into());
    let call = timeout(PATIENCE, master.calls.calls.recv()).await.unwrap().unwrap();
    let Call::Op { op: Op::Operate(operation), answer, .. } = call else { panic!("no operation") };
    assert_eq!((operation.operator.as_str(), operation.role), ("ada", OperatorRole::Operator));
    assert_eq!((operation.op, operation.verb, operation.expected), (77, verb, Some(5)));
    assert_eq!((operation.address.as_str(), operation.reason.as_str()), ("127.0.0.1", "tired"));
    let state = OperationState::Done { text: "closed".to_owned() };
    answer.send(Reply::Operation(state.clone())).unwrap();
    assert_eq!(told(&mut link).await, ToOperator::Operation(Operation { op: 77, state }));

    link.send(Recall { op: 78 }.into());
    let call = timeout(PATIENCE, master.calls.calls.recv()).await.unwrap().unwrap();
    let Call::Query { query: CoreQuery::Recall { operator, op: 78 }, answer, .. } = call else {
        panic!("no recall")
    };
    assert_eq!(operator, "ada");
    answer.send(Reply::Operation(OperationState::Unknown)).unwrap();
    let unknown = Operation { op: 78, state: OperationState::Unknown };
    assert_eq!(told(&mut link).await, ToOperator::Operation(unknown));
}

#[tokio::test]
async fn an_operator_of_another_cluster_is_refused() {
    let (master, other) = (Master::start(), Master::start());
    let dir = tempfile::tempdir().unwrap();
    Credentials::create(&other.authority, "eve", OperatorRole::Admin, dir.path()).unwrap();
    let refused = Credentials::create(&other.authority, "e/ve", OperatorRole::Admin, dir.path());
    assert!(matches!(refused, Err(CredentialsError::Name { .. })));
    let credentials = Credentials::read(dir.path()).unwrap();
    let mut link = OperatorLink::start(&format!("127.0.0.1:{}", master.port()), credentials, "test 1");
    let refused = event_of(&mut link).await;
    assert!(
        matches!(&refused, OperatorEvent::State(OperatorLinkState::Connecting { why }) if why.contains("another cluster")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_console_that_breaks_the_protocol_is_told_and_let_go() {
    let master = Master::start();
    let issued = master.authority.issue_operator("ada", OperatorRole::Viewer, SystemTime::now()).unwrap();
    let shown = ClientCertificate { chain: vec![issued.certificate], key: issued.key };
    for rubbish in [&[0xff; 64][..], &[3, 0, 0, 0, 0xff, 0xff, 0xff], b"GET / HTTP/1.1\r\n\r\n"] {
        let (_endpoint, connection) = dial(&master, &shown, operator_wire::ALPN).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(rubbish).await.unwrap();
        assert_eq!(close_code(&connection).await, Some(CloseCode::Protocol));
    }
    let (link, _dir) = console(&master, OperatorRole::Viewer);
    let mut link = link;
    welcomed(&mut link).await;
    for sub in 0..200 {
        let window = Window { first: 0, count: u32::MAX, from_end: false };
        let (filter, order) = (String::new(), Order::default());
        let subscribe =
            Subscribe { sub, topic: Topic::Nodes, filter, order, window, interval_ms: 0, ext: Vec::new() };
        link.send(subscribe.into());
    }
    loop {
        if let OperatorEvent::State(OperatorLinkState::Connecting { why }) = event_of(&mut link).await {
            assert!(why.contains("too many subscriptions"), "{why}");
            return;
        }
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_by_itself_and_only_by_its_node() {
    let master = Master::start();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = IdentityStore::open(dir.path(), Role::Media).unwrap();
    let csr = store.csr().unwrap();
    let long_ago = SystemTime::now() - common::net::ca::NODE_LIFE / 2;
    let leaf = master.authority.issue_node(Role::Media, store.node(), &csr, long_ago).unwrap();
    let old = store.save(&leaf.into(), master.authority.certificate()).unwrap();

    let socket = quic::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let endpoint = quic::endpoint(socket, &store.quic_keys(), None).unwrap();
    let address = master.links.local_addr().unwrap();
    let renewed =
        enrolment::enroll(&endpoint, address, &store, Credential::Certificate(&old), "test 1").await.unwrap();
    assert_eq!(renewed.says.peer, old.says.peer);
    assert!(renewed.says.not_after > old.says.not_after);
    assert_eq!(store.load(SystemTime::now()).unwrap().unwrap().says, renewed.says);

    // Another node cannot get in by this node's certificate.
    let other = IdentityStore::open(other.path(), Role::Media).unwrap();
    let refused =
        enrolment::enroll(&endpoint, address, &other, Credential::Certificate(&renewed), "test 1").await;
    assert!(matches!(refused, Err(EnrollError::Refused(Refusal::Proof))), "{refused:?}");
}

/// Long messages on all lanes at once, both ways: neither end may wait for the other for ever.
#[tokio::test]
async fn long_messages_on_all_lanes_at_once_get_through() {
    let mut master = Master::start();
    let mut node = Node::join(&master).await;
    let (key, _) = master.up().await;
    node.answer_inventory().await;
    let sdp = "x".repeat(common::limits::SDP_BYTES_MAX);
    let count = u64::from(LANES) * 2;
    for op in 1..=count {
        let message = EndpointAnswer {
            session: SessionKey(op),
            endpoint: EndpointKey(op),
            generation: Generation(1),
            sdp: sdp.clone(),
        };
        master.links.send(key, Some(SessionKey(op)), OpId(op), Epoch(5), 0, &message.into()).unwrap();
    }
    let answers = async {
        for _ in 0..count {
            let ready = Ready { sdp: sdp.clone(), audio: 1, video: 1, codecs: Vec::new(), ext: Vec::new() };
            node.carry_out(OpResult::Ready(ready)).await;
        }
    };
    let results = async {
        let mut seen = Vec::new();
        for _ in 0..count {
            let (op, result) = master.done().await;
            assert!(matches!(result, OpResult::Ready(ready) if ready.sdp.len() == sdp.len()));
            seen.push(op.0);
        }
        seen.sort_unstable();
        seen
    };
    let ((), seen) = tokio::join!(answers, results);
    assert_eq!(seen, (1..=count).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_copied_identity_is_refused_while_its_node_lives() {
    let mut master = Master::start();
    let node = Node::join(&master).await;
    let (key, first) = master.up().await;
    state_where(&node.link, is_up).await;
    let dir = tempfile::tempdir().unwrap();
    for file in ["node.key", "node.crt", "ca.crt"] {
        std::fs::copy(node.dir.path().join(file), dir.path().join(file)).unwrap();
    }
    let (copy, _requests) = start_node(dir.path(), Role::Media, master.port(), None).await;
    assert_eq!(copy.node(), key);
    let (exit, why) = failure(&copy).await;
    assert_eq!(exit, Exit::Unavailable);
    assert!(why.contains("another process runs as this node"), "{why}");
    assert_eq!(master.links.connected(), [key]);
    assert!(is_up(&node.link.state().borrow()));
    drop(copy);

    // Once it is gone, the copy is the node.
    node.link.close().await;
    let (down, boot, _) = master.down().await;
    assert_eq!((down, boot), (key, first.boot));
    let (copy, _requests) = start_node(dir.path(), Role::Media, master.port(), None).await;
    let (again, second) = master.up().await;
    assert_eq!((again, second.boot), (key, copy.boot()));
}

#[tokio::test]
async fn a_hundred_nodes_that_come_at_once_are_all_let_in() {
    let mut master = Master::start();
    let started = Instant::now();
    let mut nodes = Vec::new();
    for _ in 0..100 {
        nodes.push(Node::join(&master).await);
    }
    let mut keys = std::collections::BTreeSet::new();
    while keys.len() < nodes.len() {
        keys.insert(master.up().await.0);
    }
    println!("100 nodes enrolled and connected in {:?}", started.elapsed());
}

/// Answers file requests with the numbers from the offset on, as a file of so many bytes; one that breaks off in the
/// middle where asked for `torn`.
async fn serve_files(mut requests: Requests, size: u64) {
    while let Some(request) = requests.next().await {
        match request {
            Request::Inventory(inventory) => inventory.answer(Running::default()),
            Request::Command(command) => panic!("a file was expected, not {command:?}"),
            Request::File(file) if file.open.name == "film.mp4" || file.open.name == "torn" => {
                let end = if file.open.name == "torn" { size / 2 } else { size };
                let bytes: Vec<u8> = (file.open.offset..end).map(|at| at.to_le_bytes()[0]).collect();
                let head = FileHead::Found { size_bytes: size, modified_ms: 7 };
                file.answer(head, Some(Box::new(io::Cursor::new(bytes))));
            }
            Request::File(file) => drop(file),
        }
    }
}

#[tokio::test]
async fn a_file_is_read_in_whole_and_in_part_and_one_that_breaks_off_is_noticed() {
    const SIZE: u64 = 3_000_000;

    let mut master = Master::start();
    let node = Node::join_as(&master, Role::Recorder).await;
    let key = node.link.node();
    master.up().await;
    let served = tokio::spawn(serve_files(node.requests, SIZE));
    let open = |name: &str, offset, length| FileOpen {
        id: "ses_A".to_owned(),
        name: name.to_owned(),
        offset,
        length,
    };
    for (offset, length, expected) in
        [(0, u64::MAX, SIZE), (1_000_000, 10, 10), (SIZE - 5, 100, 5), (SIZE, 100, 0), (SIZE + 1, 100, 0)]
    {
        let (head, body) = master.links.open_file(key, open("film.mp4", offset, length)).await.unwrap();
        assert_eq!(head, FileHead::Found { size_bytes: SIZE, modified_ms: 7 });
        let mut body = body.unwrap();
        assert_eq!(body.left(), expected);
        let mut read = offset;
        while let Some(chunk) = timeout(PATIENCE, body.next_chunk()).await.unwrap().unwrap() {
            assert!(chunk.iter().zip(read..).all(|(byte, at)| *byte == at.to_le_bytes()[0]));
            read += u64::try_from(chunk.len()).unwrap();
        }
        assert_eq!(read - offset, expected);
    }
    let (head, body) = master.links.open_file(key, open("other", 0, 1)).await.unwrap();
    assert!(head == FileHead::Missing && body.is_none());
    let (_, body) = master.links.open_file(key, open("torn", 0, u64::MAX)).await.unwrap();
    let mut body = body.unwrap();
    let lost = loop {
        match timeout(PATIENCE, body.next_chunk()).await.unwrap() {
            Ok(chunk) => assert!(chunk.is_some(), "an end before the end"),
            Err(lost) => break lost,
        }
    };
    assert!(lost.to_string().contains("1500000 bytes are missing"), "{lost}");
    let missing = master.links.open_file(NodeKey(1), open("film.mp4", 0, 1)).await;
    assert!(matches!(missing, Err(OpenFileError::NotConnected)));
    served.abort();
}
