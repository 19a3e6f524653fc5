//! Shell: a driver with the real core, a store in memory and a scripted media node.
//!
//! From HTTP through driver and core to a node and back; restarts.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use common::id::{BootId, NodeKey, OpId};
use common::wire::node::{
    Capacity, Done, Hello, Inventory, MediaKind, NodeEvent, NodeFact, OpResult, Ready, Role, ToNode, VERSIONS,
};
use common::wire::recording::{RecordingFact, RecordingReport};
use http_body_util::BodyExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{APP, Answer, FileSource, HttpSettings, NoFiles, PEER, request, settings};
use crate::clock::Clock;
use crate::cluster::{Core, CoreSettings, Input};
use crate::driver::call::CoreHandle;
use crate::driver::keeper::Keeper;
use crate::driver::{Command, Driver, Ended, Outlet};
use crate::http::{Face, Service};
use crate::store::{MemoryStore, Store as _};

const NODE: NodeKey = NodeKey(7);
const RECORDER: NodeKey = NodeKey(8);
const BOOT: BootId = BootId(1);

struct Wire(mpsc::Sender<Command>);

impl Outlet for Wire {
    fn send(&self, command: Command) {
        drop(self.0.try_send(command));
    }
}

/// One masterd without sockets.
pub(super) struct Master {
    pub(super) service: Service,
    stop: watch::Sender<bool>,
    driver: JoinHandle<Ended>,
}

impl Master {
    pub(super) fn start(store: MemoryStore) -> Self {
        Self::start_with(store, settings(), Arc::new(NoFiles))
    }

    pub(super) fn start_with(
        mut store: MemoryStore,
        settings: HttpSettings,
        files: Arc<dyn FileSource>,
    ) -> Self {
        let clock = Clock::start();
        let epoch = store.begin_epoch().unwrap();
        let records = store.load().unwrap();
        let rng = StdRng::from_os_rng();
        let core = Core::restore(clock.now(), CoreSettings::default(), epoch, rng, records).unwrap();
        let keeper = Keeper::start(Box::new(store), epoch, None).unwrap();
        let (handle, calls) = CoreHandle::channel();
        let (to_core, links) = mpsc::channel(64);
        let (outlet, commands) = mpsc::channel(64);
        let driver = Driver::new(core, clock, calls, links, Box::new(Wire(outlet)), keeper);
        let (stop, stopping) = watch::channel(false);
        let driver = tokio::spawn(driver.run(stopping));
        tokio::spawn(node(commands, to_core));
        Self { service: Service::new(Face::new(handle, settings, clock, files)), stop, driver }
    }

    pub(super) async fn stop(self) {
        self.stop.send_modify(|stop| *stop = true);
        assert_eq!(self.driver.await.unwrap(), Ended::Stopped);
    }

    pub(super) async fn send(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let response = self.service.answer(PEER, request(line, headers, body)).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn app(&self, line: &str, body: &str) -> Value {
        self.send(line, &[APP, "Content-Type: application/json"], body).await.json()
    }

    /// A new connection: its id and its Authorization header.
    pub(super) async fn connection(&self, session: &str) -> (String, String) {
        let made = self.app(&format!("POST /openvidu/api/sessions/{session}/connection"), "").await;
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        (text("id"), format!("Authorization: Bearer {}", text("token")))
    }

    pub(super) async fn offer(&self, path: &str, bearer: &str) -> Answer {
        self.send(&format!("POST {path}"), &[bearer, "Content-Type: application/sdp"], "v=0\r\n").await
    }

    async fn events(&self, headers: &[&str]) -> Events {
        let response = self.service.answer(PEER, request("GET /events", headers, "")).await;
        assert_eq!(response.status(), StatusCode::OK);
        Events { body: response.into_body(), last: String::new() }
    }
}

struct Events {
    body: Body,
    last: String,
}

impl Events {
    /// Reads up to the event of this name and gives its data.
    async fn until(&mut self, name: &str) -> Value {
        loop {
            let frame = self.body.frame().await.unwrap_or_else(|| panic!("ended before {name}")).unwrap();
            let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
            let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
            if let Some(id) = field("id") {
                id.clone_into(&mut self.last);
            }
            if field("event") == Some(name) {
                return serde_json::from_str(field("data").unwrap()).unwrap();
            }
        }
    }
}

/// A media node that says yes to everything (every offer has sound and pictures), and a recorder whose jobs begin at
/// once and are complete as soon as they are stopped.
async fn node(mut commands: mpsc::Receiver<Command>, to_core: mpsc::Sender<Input>) {
    for (node, role, name) in [(NODE, Role::Media, "one"), (RECORDER, Role::Recorder, "recorder")] {
        let hello = Hello {
            versions: VERSIONS,
            program: "a script".to_owned(),
            node,
            role,
            boot: BOOT,
            epoch_seen: common::id::Epoch(0),
            addresses: vec!["192.0.2.1".to_owned()],
            name: name.to_owned(),
            media_link: Vec::new(),
            capacity: Capacity { workers: 1, sessions_max: 0 },
            ext: Vec::new(),
        };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        drop(to_core.send(Input::LinkUp { node, hello: Box::new(hello), address }).await);
        let message = Inventory { last: true, ..Inventory::default() }.into();
        drop(to_core.send(Input::Node { node, boot: BOOT, op: OpId(0), message }).await);
    }
    let say = |node, op, message| to_core.send(Input::Node { node, boot: BOOT, op, message });
    let mut seq = 0;
    while let Some(Command { node, op, message, .. }) = commands.recv().await {
        let (result, turn) = answer(message);
        if op != OpId(0) {
            drop(say(node, op, Done { result }.into()).await);
        }
        if let Some(report) = turn {
            seq += 1;
            let event = NodeEvent { seq, session: None, what: NodeFact::Recording(report) };
            drop(say(node, OpId(0), event.into()).await);
        }
    }
}

/// The answer to a command, and what follows from it.
fn answer(message: ToNode) -> (OpResult, Option<RecordingReport>) {
    match message {
        ToNode::EndpointOpen(_) => {
            let ready = Ready {
                sdp: "v=0\r\ns=answer\r\n".to_owned(),
                audio: 1,
                video: 1,
                codecs: vec![(MediaKind::Audio, "OPUS".to_owned()), (MediaKind::Video, "VP8".to_owned())],
                ext: Vec::new(),
            };
            (OpResult::Ready(ready), None)
        }
        ToNode::RecordingStart(start) => {
            let report = RecordingReport { recording: start.recording, fact: RecordingFact::Started };
            (OpResult::Ok, Some(report))
        }
        ToNode::RecordingStop(stop) => {
            let fact =
                RecordingFact::Ready { duration_ms: 61_370, size_bytes: 4_190_233, warning: String::new() };
            (OpResult::Ok, Some(RecordingReport { recording: stop.recording, fact }))
        }
        _ => (OpResult::Ok, None),
    }
}

/// Waits until the scripted node is known.
pub(super) async fn node_is_up(master: &Master) {
    while master.app("GET /openvidu/api/health", "").await["status"] != "UP" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_participants_meet_through_rest_alone() {
    let master = Master::start(MemoryStore::default());
    node_is_up(&master).await;
    master.app("POST /openvidu/api/sessions", r#"{"customSessionId":"s"}"#).await;
    let (ada, ada_bearer) = master.connection("s").await;
    let (bob, bob_bearer) = master.connection("s").await;
    let name = "X-Client-Data: %7B%22clientData%22%3A%22Bob%22%7D";
    let mut events = master.events(&[&bob_bearer, name]).await;
    assert_eq!(events.until("open").await["connectionId"], bob.as_str());

    let published = master.offer("/whip", &ada_bearer).await;
    assert_eq!((published.status, published.body.as_str()), (StatusCode::CREATED, "v=0\r\ns=answer\r\n"));
    assert!(published.header("location").starts_with("/whip/"), "{}", published.header("location"));
    assert_eq!(events.until("joined").await["connectionId"], ada.as_str());
    let stream = events.until("published").await["streamId"].clone();
    assert_eq!(master.offer("/whip", &ada_bearer).await.status, StatusCode::CONFLICT);

    assert_eq!(master.offer("/whep", &bob_bearer).await.status, StatusCode::CREATED);
    let slot = events.until("slot").await;
    assert_eq!((&slot["streamId"], &slot["publisherId"]), (&stream, &Value::from(ada.as_str())));
    let own = master.send("GET /connection", &[&bob_bearer], "").await.json();
    assert_eq!(own["participants"][0]["connectionId"], ada.as_str());
    assert_eq!(own["streams"][0]["streamId"], stream);
    assert_eq!(own["slots"].as_array().map(Vec::len), Some(2));
    assert_eq!(own["clientData"], r#"{"clientData":"Bob"}"#);

    let shown = master.app("GET /openvidu/api/sessions/s", "").await;
    assert_eq!(shown["mediaNodeId"], "media_one");
    assert_eq!(shown["connections"]["content"][0]["status"], "active");
    let decisions = master.app("GET /plenum/api/sessions/s/placement", "").await;
    assert_eq!(decisions["content"][0]["mediaNodeId"], "media_one");

    master.send("DELETE /openvidu/api/sessions/s", &[APP], "").await;
    assert_eq!(events.until("end").await["reason"], "sessionClosed");
    assert_eq!(master.offer("/whip", &ada_bearer).await.status, StatusCode::UNAUTHORIZED);
    master.stop().await;
}

#[tokio::test]
async fn after_a_restart_everything_is_as_it_was_and_readers_resume() {
    let store = MemoryStore::default();
    let master = Master::start(store.clone());
    node_is_up(&master).await;
    master.app("POST /openvidu/api/sessions", r#"{"customSessionId":"s"}"#).await;
    let (ada, ada_bearer) = master.connection("s").await;
    let mut events = master.events(&[&ada_bearer]).await;
    events.until("open").await;
    let signal = |data: &str| format!(r#"{{"data":"{data}"}}"#);
    let headers = [ada_bearer.as_str(), "Content-Type: application/json"];
    master.send("POST /signal", &headers, &signal("one")).await;
    assert_eq!(events.until("signal").await["data"], "one");
    master.send("POST /signal", &headers, &signal("two")).await;
    let before = master.app("GET /openvidu/api/sessions?pendingConnections=true", "").await;
    master.stop().await;

    let master = Master::start(store);
    let after = master.app("GET /openvidu/api/sessions?pendingConnections=true", "").await;
    assert_eq!(after, before);
    let resume = format!("Last-Event-ID: {}", events.last);
    let mut events = master.events(&[&ada_bearer, &resume]).await;
    let signal = events.until("signal").await;
    assert_eq!((&signal["data"], &signal["from"]), (&Value::from("two"), &Value::from(ada.as_str())));
    master.stop().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_let_go_and_others_are_not_held_up() {
    let master = Master::start(MemoryStore::default());
    node_is_up(&master).await;
    master.app("POST /openvidu/api/sessions", r#"{"customSessionId":"s"}"#).await;
    let (_, bearer) = master.connection("s").await;
    let mut slow = master.events(&[&bearer]).await;
    let headers = [bearer.as_str(), "Content-Type: application/json"];
    for _ in 0..1100 {
        let sent = master.send("POST /signal", &headers, "{}").await;
        assert_eq!(sent.status, StatusCode::OK);
    }
    let mut frames = 0;
    while let Some(frame) = slow.body.frame().await {
        frames += 1;
        if frame.unwrap().into_data().unwrap() == ": resume\n\n" {
            break;
        }
    }
    assert!((1000..1100).contains(&frames), "{frames}");
    master.stop().await;
}
