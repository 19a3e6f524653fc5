//! Shell: a scripted core.
//!
//! The faces from request to response, with a core that answers by script and remembers what it was asked.

mod events;
mod recordings;
mod rest;
mod signalling;
mod whole;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::mpsc;

use super::auth::Secret;
use super::ice::IceSource;
use super::recording_files::{FileSource, NoFiles};
use super::{Edition, Face, FrameworkErrors, HttpSettings, MediaServer, RecordingSettings, Service};
use crate::clock::Clock;
use crate::cluster::op::{
    Actor, ConnectionView, EndpointView, IceServer, Op, Query, Refusal, Reply, SessionProperties, SessionView,
};
use crate::driver::call::{Call, CoreHandle, Note};

/// What the core was asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    Op(Actor, Op),
    Query(Actor, Query),
    Unwatch,
}

type Script = Box<dyn Fn(&Asked) -> Reply + Send>;

/// The faces on a scripted core.
pub(super) struct Stage {
    pub(super) service: Service,
    asked: Arc<Mutex<Vec<Asked>>>,
    notes: Arc<Mutex<Option<mpsc::Sender<Note>>>>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

pub(crate) fn settings() -> HttpSettings {
    HttpSettings {
        public_url: "https://ov.example.org".to_owned(),
        secret: Secret::new("MY_SECRET").unwrap(),
        edition: Edition::Enterprise,
        framework_errors: FrameworkErrors::Forbidden,
        deprecated_paths: true,
        forced_video_codec: "MEDIA_SERVER_PREFERRED".to_owned(),
        allow_transcoding: false,
        ice_servers: vec![IceSource::from_text("stun:s.example:3478").unwrap()],
        recordings: RecordingSettings { enabled: true, public_access: false },
        behind_proxy: false,
        media_server: MediaServer::Mediasoup,
        video_simulcast: false,
    }
}

impl Stage {
    pub(super) fn new(script: impl Fn(&Asked) -> Reply + Send + 'static) -> Self {
        Self::with(settings(), Box::new(script))
    }

    pub(super) fn with(settings: HttpSettings, script: Script) -> Self {
        let (core, mut source) = CoreHandle::channel();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes: Arc<Mutex<Option<mpsc::Sender<Note>>>> = Arc::default();
        let (log, readers) = (Arc::clone(&asked), Arc::clone(&notes));
        tokio::spawn(async move {
            while let Some(call) = source.calls.recv().await {
                let (entry, answer) = match call {
                    Call::Op { actor, op, answer } => (Asked::Op(actor, op), Some(answer)),
                    Call::Query { actor, query, answer } => (Asked::Query(actor, query), Some(answer)),
                    Call::Watch { actor, op, notes, answer, .. } => {
                        *readers.lock().unwrap() = Some(notes);
                        (Asked::Op(actor, op), Some(answer))
                    }
                    Call::Unwatch(_) => (Asked::Unwatch, None),
                };
                let reply = script(&entry);
                log.lock().unwrap().push(entry);
                if let Some(answer) = answer {
                    drop(answer.send(reply));
                }
            }
        });
        Self {
            service: Service::new(Face::new(core, settings, Clock::start(), Arc::new(NoFiles))),
            asked,
            notes,
        }
    }

    /// What the core was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The way to the newest reader of events.
    pub(super) fn reader(&self) -> mpsc::Sender<Note> {
        self.notes.lock().unwrap().clone().unwrap()
    }

    /// Lets go of the newest reader, as the driver does with a slow one.
    pub(super) fn let_go(&self) {
        *self.notes.lock().unwrap() = None;
    }

    /// Sends `METHOD /path` with headers (`Name: value`) and a body.
    pub(super) async fn send(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let response = self.service.answer(PEER, request(line, headers, body)).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// As the application, with a JSON body unless it is empty.
    pub(super) async fn app(&self, line: &str, body: &str) -> Answer {
        self.send(line, &[APP, "Content-Type: application/json"], body).await
    }
}

pub(super) const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));

/// OPENVIDUAPP:MY_SECRET
pub(super) const APP: &str = "Authorization: Basic T1BFTlZJRFVBUFA6TVlfU0VDUkVU";

pub(super) const BEARER: &str = "Authorization: Bearer tok_H1aB2cD3";

pub(super) fn request(line: &str, headers: &[&str], body: &str) -> Request<Body> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    builder.body(Body::from(body.to_owned())).unwrap()
}

pub(super) fn session(id: &str) -> SessionView {
    SessionView {
        id: id.to_owned(),
        created_at: 1_700_000_000_000,
        properties: SessionProperties {
            custom_id: Some(id.to_owned()),
            forced_video_codec: "MEDIA_SERVER_PREFERRED".to_owned(),
            ..SessionProperties::default()
        },
        ..SessionView::default()
    }
}

/// A connection that has joined.
pub(super) fn connection_in() -> ConnectionView {
    ConnectionView {
        id: "con_a".to_owned(),
        session: "s".to_owned(),
        active_at: Some(1_700_000_001_000),
        ..ConnectionView::default()
    }
}

/// A core with one session `s`, one connection `con_a` and no media node.
pub(super) fn small_cluster(asked: &Asked) -> Reply {
    let connection =
        ConnectionView { id: "con_a".to_owned(), session: "s".to_owned(), ..ConnectionView::default() };
    let known = |name: &str| name == "s";
    match asked {
        Asked::Op(_, Op::SessionCreate(properties)) => match &properties.custom_id {
            Some(id) if known(id) => Reply::Refused(Refusal::SessionExists(id.clone())),
            _ => Reply::Session(Box::new(SessionView { properties: properties.clone(), ..session("new") })),
        },
        Asked::Op(_, Op::SessionDelete { session } | Op::ConnectionCreate { session, .. })
            if !known(session) =>
        {
            Reply::Refused(Refusal::UnknownSession)
        }
        Asked::Op(_, Op::ConnectionDelete { session, .. }) if !known(session) => {
            Reply::Refused(Refusal::UnknownSession)
        }
        Asked::Op(_, Op::ConnectionDelete { connection, .. }) if connection != "con_a" => {
            Reply::Refused(Refusal::UnknownConnection)
        }
        Asked::Op(_, Op::ConnectionCreate { properties, .. }) => {
            let token = "tok_H1aB2cD3eF4gH5iJ".to_owned();
            Reply::Connection(Box::new(ConnectionView {
                properties: properties.clone(),
                token,
                ..connection
            }))
        }
        Asked::Op(_, Op::RecordingStop { .. } | Op::RecordingDelete { .. }) => {
            Reply::Refused(Refusal::UnknownRecording)
        }
        Asked::Op(_, _) | Asked::Unwatch => Reply::Done,
        Asked::Query(_, Query::Sessions) => Reply::Sessions(vec![session("s")]),
        Asked::Query(_, Query::Session { session: name } | Query::Connection { session: name, .. })
            if !known(name) =>
        {
            Reply::Refused(Refusal::UnknownSession)
        }
        Asked::Query(_, Query::Session { .. }) => {
            Reply::Session(Box::new(SessionView { connections: vec![connection], ..session("s") }))
        }
        Asked::Query(_, Query::Connection { connection: name, .. }) if name == "con_a" => {
            Reply::Connection(Box::new(connection))
        }
        Asked::Query(_, Query::Connection { .. }) => Reply::Refused(Refusal::UnknownConnection),
        Asked::Query(_, Query::Node { .. }) => Reply::Refused(Refusal::UnknownNode),
        Asked::Query(_, Query::Nodes) => Reply::Nodes(Vec::new()),
        Asked::Query(_, Query::Recording { .. }) => Reply::Refused(Refusal::UnknownRecording),
        Asked::Query(_, Query::Recordings) => Reply::Recordings(Vec::new()),
        Asked::Query(_, Query::Decisions { .. }) => Reply::Decisions(Vec::new()),
        Asked::Query(
            _,
            Query::DecisionRows { .. }
            | Query::Feed { .. }
            | Query::Listing
            | Query::NodeDetail { .. }
            | Query::Recall { .. }
            | Query::SessionParts { .. },
        ) => Reply::Refused(Refusal::Role),
        Asked::Query(_, Query::Stats) => Reply::Stats(vec![("sessions", 1)]),
        Asked::Query(_, Query::Own) => Reply::Own {
            session: "s".to_owned(),
            connection: Box::new(connection),
            streams: Vec::new(),
            slots: Vec::new(),
            recording: None,
        },
    }
}

pub(super) fn endpoint() -> Reply {
    Reply::Endpoint(Box::new(EndpointView {
        resource: "r1".to_owned(),
        etag: "e1".to_owned(),
        sdp: "v=0\r\n".to_owned(),
        session: "s".to_owned(),
        connection: "con_a".to_owned(),
        stream: None,
        published_at: None,
        ice_servers: vec![
            IceServer { url: "stun:s.example:3478".to_owned(), ..IceServer::default() },
            IceServer {
                url: "turn:t.example".to_owned(),
                username: Some("u".to_owned()),
                credential: Some("c".to_owned()),
            },
        ],
    }))
}
