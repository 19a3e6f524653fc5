//! Shell: scripted recorders.
//!
//! Recordings through HTTP: the order of errors, the way of a recording, its files with ranges, access and editions.

use std::sync::Arc;

use axum::http::StatusCode;
use common::id::NodeKey;
use common::wire::recording::{FileHead, FileOpen};
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde_json::Value;

use super::whole::{Master, node_is_up};
use super::{
    APP, Edition, FileSource, HttpSettings, RecordingSettings, Stage, connection_in, session, settings,
    small_cluster,
};
use crate::cluster::op::{Query, Reply, SessionProperties, SessionView};
use crate::http::recording_files::{FileError, OpenFile};
use crate::http::testing::Asked;
use crate::store::MemoryStore;

const START: &str = "POST /openvidu/api/recordings/start";

#[tokio::test]
async fn a_start_is_refused_in_openvidus_order() {
    for (body, status) in [
        ("", 403),
        ("[]", 403),
        (r#"{"session":5}"#, 400),
        (r#"{"name":5}"#, 400),
        (r#"{"session":"x","name":5}"#, 404),
        (r#"{"session":"s","name":5}"#, 406),
    ] {
        assert_eq!(Stage::new(small_cluster).app(START, body).await.status.as_u16(), status, "{body}");
    }
}

/// The session `s` is active, with one participant; `change` makes it another one.
async fn start_in(change: fn(&mut SessionView), body: &str) -> u16 {
    let script = move |asked: &Asked| match asked {
        Asked::Query(_, Query::Session { .. }) => {
            let mut view = SessionView { active: true, connections: vec![connection_in()], ..session("s") };
            change(&mut view);
            Reply::Session(Box::new(view))
        }
        other => small_cluster(other),
    };
    Stage::new(script).app(START, body).await.status.as_u16()
}

#[tokio::test]
async fn the_state_of_the_session_is_looked_at_before_the_body() {
    let bad = r#"{"session":"s","name":5}"#;
    assert_eq!(start_in(|view| view.recording = true, bad).await, 409);
    let relayed = |view: &mut SessionView| {
        view.properties = SessionProperties { relayed: true, ..SessionProperties::default() };
        view.active = false;
    };
    assert_eq!(start_in(relayed, bad).await, 409);
    assert_eq!(start_in(|view| view.active = false, bad).await, 406);
    assert_eq!(start_in(|view| view.connections.clear(), bad).await, 406);
    for (body, status) in [
        (bad, 400),
        (r#"{"session":"s","name":"a b"}"#, 400),
        (r#"{"session":"s","hasAudio":false,"hasVideo":false}"#, 422),
        (r#"{"session":"s","outputMode":"X"}"#, 400),
        (r#"{"session":"s","recordingLayout":"X"}"#, 400),
        (r#"{"session":"s","resolution":"99x100"}"#, 422),
        (r#"{"session":"s","frameRate":121}"#, 422),
        (r#"{"session":"s","shmSize":1}"#, 422),
    ] {
        assert_eq!(start_in(|_| {}, body).await, status, "{body}");
    }
}

#[tokio::test]
async fn without_recordings_all_paths_say_so() {
    let off = RecordingSettings { enabled: false, public_access: false };
    let stage = Stage::with(HttpSettings { recordings: off, ..settings() }, Box::new(small_cluster));
    for line in [
        START,
        "POST /openvidu/api/recordings/stop/s",
        "GET /openvidu/api/recordings",
        "GET /openvidu/api/recordings/s",
        "DELETE /openvidu/api/recordings/s",
        "GET /openvidu/recordings/s/s.mp4",
    ] {
        let answer = stage.app(line, r#"{"session":5}"#).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (501, ""), "{line}");
    }
    let stage = Stage::new(small_cluster);
    for line in ["POST /openvidu/api/recordings/stop", "DELETE /openvidu/api/recordings"] {
        assert_eq!(stage.app(line, "").await.status, StatusCode::FORBIDDEN, "{line}");
    }
    for line in ["POST /openvidu/api/recordings/stop/x", "DELETE /openvidu/api/recordings/x"] {
        assert_eq!(stage.app(line, "").await.status, StatusCode::NOT_FOUND, "{line}");
    }
}

/// One file of ten bytes; the recorder is away for names that begin with `away`.
#[derive(Debug)]
struct OneFile;

const CONTENT: &[u8] = b"0123456789";

impl FileSource for OneFile {
    fn open(&self, _: NodeKey, file: FileOpen) -> BoxFuture<'static, Result<OpenFile, FileError>> {
        Box::pin(async move {
            let head = match file.name.as_str() {
                "monday.mp4" => FileHead::Found { size_bytes: 10, modified_ms: 784_111_777_000 },
                "away.mp4" => return Err(FileError::Away),
                "torn.mp4" => FileHead::Failed { why: "input/output error".to_owned() },
                _ => FileHead::Missing,
            };
            let first = usize::try_from(file.offset).unwrap();
            let last = first + usize::try_from(file.length.min(10 - file.offset)).unwrap();
            // In pieces, as a link gives them.
            let pieces: Vec<_> = CONTENT[first..last].chunks(3).map(|it| Ok(it.into())).collect();
            Ok(OpenFile { head, bytes: Box::pin(stream::iter(pieces)) })
        })
    }
}

/// A session `s` in which somebody publishes.
async fn call(edition: Edition, recordings: RecordingSettings) -> Master {
    let settings = HttpSettings { edition, recordings, ..settings() };
    let master = Master::start_with(MemoryStore::default(), settings, Arc::new(OneFile));
    let up = |value: Value| value["numberOfElements"].as_u64() == Some(2);
    while !up(master.app("GET /plenum/api/nodes", "").await) {
        tokio::task::yield_now().await;
    }
    master.app("POST /openvidu/api/sessions", r#"{"customSessionId":"s"}"#).await;
    let (_, bearer) = master.connection("s").await;
    assert_eq!(master.offer("/whip", &bearer).await.status, StatusCode::CREATED);
    master
}

const ON: RecordingSettings = RecordingSettings { enabled: true, public_access: false };

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_recording_is_started_stopped_read_and_removed() {
    let master = call(Edition::Enterprise, ON).await;
    let started = master.app(START, r#"{"session":"s","name":"monday","frameRate":30.0}"#).await;
    assert_eq!(
        keys(&started),
        [
            "id",
            "object",
            "name",
            "outputMode",
            "resolution",
            "frameRate",
            "recordingLayout",
            "sessionId",
            "createdAt",
            "size",
            "duration",
            "url",
            "hasAudio",
            "hasVideo",
            "status"
        ]
    );
    assert_eq!((&started["status"], &started["frameRate"]), (&Value::from("started"), &Value::from(30)));
    assert_eq!(master.app("GET /openvidu/api/sessions/s", "").await["recording"], true);
    let headers = [APP, "Content-Type: application/json"];
    let again = master.send(START, &headers, r#"{"session":"s","name":5}"#).await;
    assert_eq!((again.status, again.body.as_str()), (StatusCode::CONFLICT, ""));
    let running = master.send("DELETE /openvidu/api/recordings/s", &headers, "").await;
    assert_eq!(running.status, StatusCode::CONFLICT);
    // Clients send a form's content type, or a body, with this.
    let form = [APP, "Content-Type: application/x-www-form-urlencoded"];
    let stopped = master.send("POST /openvidu/api/recordings/stop/s", &form, "{}").await.json();
    assert_eq!(
        (&stopped["status"], &stopped["size"], &stopped["url"]),
        (&"stopped".into(), &0.into(), &Value::Null)
    );
    assert_eq!(master.app("GET /openvidu/api/sessions/s", "").await["recording"], false);
    let ready = loop {
        let read = master.app("GET /openvidu/api/recordings/s", "").await;
        if read["status"] == "ready" {
            break read;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(ready["url"], "https://ov.example.org/openvidu/recordings/s/monday.mp4");
    assert_eq!((&ready["size"], &ready["duration"]), (&Value::from(4_190_233), &Value::from(61.37)));
    let list = master.app("GET /openvidu/api/recordings", "").await;
    assert_eq!((list["count"].as_u64(), &list["items"][0]), (Some(1), &ready));
    let second =
        master.app(START, r#"{"session":"s","outputMode":"INDIVIDUAL","recordingLayout":"BEST_FIT"}"#).await;
    assert_eq!((&second["id"], &second["name"]), (&Value::from("s~1"), &Value::from("s~1")));
    assert_eq!(keys(&second).len(), 12);
    assert_eq!(
        master.send("DELETE /openvidu/api/recordings/s", &headers, "").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        master.send("GET /openvidu/api/recordings/s", &headers, "").await.status,
        StatusCode::NOT_FOUND
    );
    let page = r#"{"session":"s","recordingLayout":"CUSTOM","customLayout":"https://x.example/"}"#;
    master.app("POST /openvidu/api/recordings/stop/s~1", "").await;
    let refused = master.send(START, &headers, page).await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(refused.body.starts_with("Error starting recording: customLayout"), "{}", refused.body);
    assert_eq!(refused.header("content-type"), "application/json");
    master.stop().await;
}

#[tokio::test]
async fn ce_answers_a_stop_with_complete_files() {
    let master = call(Edition::Ce, ON).await;
    master.app(START, r#"{"session":"s"}"#).await;
    let stopped = master.app("POST /openvidu/api/recordings/stop/s", "").await;
    assert_eq!((&stopped["status"], &stopped["size"]), (&Value::from("ready"), &Value::from(4_190_233)));
    master.stop().await;
}

#[tokio::test]
async fn files_are_served_whole_and_in_parts() {
    let master = call(Edition::Enterprise, ON).await;
    master.app(START, r#"{"session":"s","name":"monday"}"#).await;
    let line = "GET /openvidu/recordings/s/monday.mp4";
    let whole = master.send(line, &[APP], "").await;
    assert_eq!((whole.status, whole.body.as_str()), (StatusCode::OK, "0123456789"));
    let etag = whole.header("etag").to_owned();
    for (name, value) in [
        ("content-type", "video/mp4"),
        ("content-length", "10"),
        ("accept-ranges", "bytes"),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    for (range, status, body, content_range) in [
        ("Range: bytes=2-5", 206, "2345", "bytes 2-5/10"),
        ("Range: bytes=7-", 206, "789", "bytes 7-9/10"),
        ("Range: bytes=-2", 206, "89", "bytes 8-9/10"),
        ("Range: bytes=10-", 416, "", "bytes */10"),
        ("Range: bytes=0-1,4-5", 200, "0123456789", ""),
    ] {
        let answer = master.send(line, &[APP, range], "").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, body), "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
    }
    let part = ["Range: bytes=0-0", "If-Range: \"another\""];
    assert_eq!(master.send(line, &[APP, part[0], part[1]], "").await.status, StatusCode::OK);
    let known = format!("If-None-Match: {etag}");
    assert_eq!(master.send(line, &[APP, &known], "").await.status, StatusCode::NOT_MODIFIED);
    let head = master.send("HEAD /openvidu/recordings/s/monday.mp4", &[APP], "").await;
    assert_eq!((head.status, head.body.as_str(), head.header("content-length")), (StatusCode::OK, "", "10"));
    for (path, status) in [
        ("/recordings/s/monday.mp4", 200),
        ("/openvidu/recordings/s/other.mp4", 404),
        ("/openvidu/recordings/x/monday.mp4", 404),
        ("/openvidu/recordings/s/.recording.s", 404),
        ("/openvidu/recordings/s/..%2Fs", 404),
        ("/openvidu/recordings/s/torn.mp4", 502),
    ] {
        let answer = master.send(&format!("GET {path}"), &[APP], "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
    let away = master.send("GET /openvidu/recordings/s/away.mp4", &[APP], "").await;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(away.body.contains("not connected (recorder media_recorder)"), "{}", away.body);
    let stranger = master.send(line, &[], "").await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    assert!(stranger.header("www-authenticate").starts_with("Basic"));
    master.stop().await;
}

#[tokio::test]
async fn files_can_be_public() {
    let public = RecordingSettings { enabled: true, public_access: true };
    let master = call(Edition::Enterprise, public).await;
    master.app(START, r#"{"session":"s","name":"monday"}"#).await;
    let file = master.send("GET /openvidu/recordings/s/monday.mp4", &[], "").await;
    assert_eq!(file.status, StatusCode::OK);
    let api = master.send("GET /openvidu/api/recordings", &[], "").await;
    assert_eq!(api.status, StatusCode::UNAUTHORIZED);
    master.stop().await;
}

#[tokio::test]
async fn a_media_node_that_is_asked_for_must_be_there() {
    let master = call(Edition::Enterprise, ON).await;
    node_is_up(&master).await;
    let headers = [APP, "Content-Type: application/json"];
    let start = |node: &str| format!(r#"{{"session":"s","mediaNode":{{"id":"{node}"}}}}"#);
    let unknown = master.send(START, &headers, &start("media_x")).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let known = master.app(START, &start("media_one")).await;
    assert_eq!((&known["mediaNode"], &known["status"]), (&Value::from("media_one"), &Value::from("started")));
    let nodes = master.app("GET /openvidu/api/media-nodes?recordings=true", "").await;
    assert_eq!(nodes["content"][0]["recordingIds"][0], "s");
    master.stop().await;
}
