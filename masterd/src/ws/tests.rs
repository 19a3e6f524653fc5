//! Pure: no clock, no I/O, no async.
//!
//! Exact shapes of results and notifications.

use std::net::IpAddr;

use common::id::EventSeq;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::request;
use super::rpc::{self, Frame};
use super::show::{Told, joined, tell};
use crate::cluster::op::socket::{ConnectionProperty, JoinedView, StreamProperty};
use crate::cluster::op::{
    ClientInfo, ConnectionProperties, ConnectionRole, ConnectionView, Event, Fact, IceServer, PublishOptions,
    Reason, StreamView,
};

fn event(what: Fact) -> Event {
    Event {
        seq: EventSeq(7),
        at: 1_700_000_000_001,
        session: "s".to_owned(),
        session_started: 1_700_000_000_000,
        audience: None,
        what,
    }
}

fn options() -> PublishOptions {
    PublishOptions {
        type_of_video: "CAMERA".to_owned(),
        audio_active: true,
        video_active: true,
        frame_rate: Some(30),
        video_dimensions: Some(r#"{"width":640,"height":480}"#.to_owned()),
    }
}

#[track_caller]
fn told(what: Fact, own: &str, method: &str, params: &str) {
    let Told::Notification(name, value) = tell(&event(what), own) else { panic!("a notification") };
    assert_eq!((name, value.to_string().as_str()), (method, params));
}

const STREAM: &str = r#"{"id":"str_CAM_X1y2_con_A","createdAt":1700000000001,"hasAudio":true,"audioActive":true,"hasVideo":true,"videoActive":true,"typeOfVideo":"CAMERA","frameRate":30,"videoDimensions":"{\"width\":640,\"height\":480}","filter":{}}"#;

#[test]
fn a_newcomer_gets_everything_at_once() {
    let settings = crate::http::HttpSettings {
        media_server: crate::http::MediaServer::Mediasoup,
        ..crate::http::testing::settings()
    };
    let client = |data: &str| ClientInfo {
        ip: IpAddr::from([192, 0, 2, 7]).to_string(),
        platform: "Chrome".to_owned(),
        client_data: data.to_owned(),
    };
    let own = ConnectionView {
        id: "con_B".to_owned(),
        session: "class-1".to_owned(),
        active_at: Some(1_700_000_000_500),
        client: Some(client("Bea")),
        properties: ConnectionProperties {
            server_data: "room".to_owned(),
            record: true,
            ice_servers: vec![IceServer { url: "stun:s.example:3478".to_owned(), ..IceServer::default() }],
            ..ConnectionProperties::default()
        },
        ..ConnectionView::default()
    };
    let other = ConnectionView {
        id: "con_A".to_owned(),
        active_at: Some(1_700_000_000_100),
        client: Some(client("Ann")),
        publisher: Some(StreamView {
            id: "str_CAM_X1y2_con_A".to_owned(),
            created_at: 1_700_000_000_001,
            has_audio: true,
            has_video: true,
            options: options(),
        }),
        ..ConnectionView::default()
    };
    let silent = ConnectionView { publisher: None, client: None, ..other.clone() };
    let view = JoinedView {
        connection: own,
        secret: "q".repeat(26),
        others: vec![other, silent],
        recording: Some(("class-1".to_owned(), "lesson".to_owned())),
        head: EventSeq(3),
    };
    let mut shown = joined(&view, &settings);
    let user = shown.as_object_mut().unwrap().remove("finalUserId").unwrap();
    assert!(user.as_str().is_some_and(|user| user.len() == 16 && !view.secret.contains(user)));
    let expected = format!(
        r#"{{"id":"con_B","session":"class-1","sessionId":"{}","createdAt":1700000000500,"metadata":"Bea%/%room","role":"PUBLISHER","record":true,"value":[{{"id":"con_A","createdAt":1700000000100,"metadata":"Ann","streams":[{STREAM}]}},{{"id":"con_A","createdAt":1700000000100,"metadata":""}}],"version":"2.32.2","mediaServer":"mediasoup","videoSimulcast":false,"customIceServers":[{{"url":"stun:s.example:3478"}}],"recordingId":"class-1","recordingName":"lesson"}}"#,
        view.secret
    );
    assert_eq!(shown, serde_json::from_str::<Value>(&expected).unwrap());
}

#[test]
fn events_of_others_are_notifications() {
    let joined = Fact::ParticipantJoined {
        connection: "con_A".to_owned(),
        role: ConnectionRole::Publisher,
        server_data: String::new(),
        client: ClientInfo { client_data: "Ann".to_owned(), ..ClientInfo::default() },
    };
    assert_eq!(tell(&event(joined.clone()), "con_A"), Told::Nothing);
    told(
        joined,
        "con_B",
        "participantJoined",
        r#"{"id":"con_A","createdAt":1700000000001,"metadata":"Ann"}"#,
    );
    let published = Fact::Published {
        connection: "con_A".to_owned(),
        stream: "str_CAM_X1y2_con_A".to_owned(),
        has_audio: true,
        has_video: true,
        options: options(),
    };
    assert_eq!(tell(&event(published.clone()), "con_A"), Told::Nothing);
    told(published, "con_B", "participantPublished", &format!(r#"{{"id":"con_A","streams":[{STREAM}]}}"#));
    let changed = |property| Fact::StreamChanged {
        connection: "con_A".to_owned(),
        stream: "str".to_owned(),
        property,
        reason: "trackReplaced".to_owned(),
    };
    let dimensions = StreamProperty::VideoDimensions(r#"{"width":480,"height":360}"#.to_owned());
    assert_eq!(tell(&event(changed(dimensions.clone())), "con_A"), Told::Nothing);
    told(
        changed(dimensions),
        "con_B",
        "streamPropertyChanged",
        r#"{"connectionId":"con_A","streamId":"str","property":"videoDimensions","newValue":"\"{\\\"width\\\":480,\\\"height\\\":360}\"","reason":"trackReplaced"}"#,
    );
    told(
        changed(StreamProperty::AudioActive(false)),
        "con_B",
        "streamPropertyChanged",
        r#"{"connectionId":"con_A","streamId":"str","property":"audioActive","newValue":"false","reason":"trackReplaced"}"#,
    );
}

#[test]
fn an_end_is_told_once_and_to_whom_it_concerns() {
    let unpublished = |reason, leaving| {
        event(Fact::Unpublished {
            connection: "con_A".to_owned(),
            stream: "str".to_owned(),
            reason,
            duration_ms: 5,
            leaving,
        })
    };
    let shown = |reason: &str| {
        Told::Notification("participantUnpublished", json!({ "connectionId": "con_A", "reason": reason }))
    };
    assert_eq!(tell(&unpublished(Reason::Unpublish, false), "con_B"), shown("unpublish"));
    assert_eq!(tell(&unpublished(Reason::Unpublish, false), "con_A"), Told::Nothing);
    let forced = unpublished(Reason::ForceUnpublishByUser, false);
    assert_eq!(tell(&forced, "con_A"), shown("forceUnpublishByUser"));
    assert_eq!(tell(&unpublished(Reason::Disconnect, true), "con_B"), Told::Nothing);
    let left =
        |reason| event(Fact::ParticipantLeft { connection: "con_A".to_owned(), reason, duration_ms: 5 });
    let params = json!({ "connectionId": "con_A", "reason": "disconnect" });
    assert_eq!(tell(&left(Reason::Disconnect), "con_B"), Told::Notification("participantLeft", params));
    assert_eq!(tell(&left(Reason::Disconnect), "con_A"), Told::Left);
    let params = json!({ "connectionId": "con_A", "reason": "forceDisconnectByServer" });
    assert_eq!(tell(&left(Reason::ForceDisconnectByServer), "con_A"), Told::Evicted(params));
}

#[test]
fn another_role_is_told_to_its_own_client_only() {
    let changed = |property| Fact::ConnectionChanged { connection: "con_A".to_owned(), property };
    let role = changed(ConnectionProperty::Role(ConnectionRole::Moderator));
    assert_eq!(tell(&event(role.clone()), "con_B"), Told::Nothing);
    told(role, "con_A", "connectionPropertyChanged", r#"{"property":"role","newValue":"MODERATOR"}"#);
    let record = changed(ConnectionProperty::Record(false));
    told(record, "con_A", "connectionPropertyChanged", r#"{"property":"record","newValue":"false"}"#);
}

#[test]
fn recordings_are_told() {
    let started = Fact::RecordingStarted { id: "s~1".to_owned(), name: "lesson".to_owned() };
    told(started, "con_A", "recordingStarted", r#"{"id":"s~1","name":"lesson"}"#);
    let stopped = Fact::RecordingStopped {
        id: "s~1".to_owned(),
        name: "lesson".to_owned(),
        reason: Reason::LastParticipantLeft,
    };
    told(
        stopped,
        "con_A",
        "recordingStopped",
        r#"{"id":"s~1","name":"lesson","reason":"lastParticipantLeft"}"#,
    );
}

#[test]
fn signals_have_the_prefix_that_listeners_wait_for() {
    let signal = |from: Option<&str>, kind: &str| {
        event(Fact::Signal { from: from.map(str::to_owned), kind: kind.to_owned(), data: "d".to_owned() })
    };
    for (from, kind, expected) in [
        (Some("con_A"), "chat", json!({ "data": "d", "type": "signal:chat", "from": "con_A" })),
        (Some("con_A"), "", json!({ "data": "d", "type": "signal:signal", "from": "con_A" })),
        (None, "chat", json!({ "data": "d", "type": "signal:chat" })),
        (None, "signal:chat", json!({ "data": "d", "type": "signal:chat" })),
        (None, "", json!({ "data": "d" })),
    ] {
        assert_eq!(tell(&signal(from, kind), "con_A"), Told::Notification("sendMessage", expected));
    }
}

proptest! {
    /// As the fuzz target `jsonrpc`, with less luck.
    #[test]
    fn rubbish_frames_get_one_answer_or_none_and_never_panic(
        method in "joinRoom|publishVideo|receiveVideoFrom|reconnectStream|onIceCandidate|sendMessage|streamPropertyChanged|ping|[a-z]{0,4}",
        name in "sdpOffer|sender|stream|sdpString|message|property|newValue|candidate|token|interval",
        value in r#"\PC{0,20}|-?[0-9]{1,30}|\{"to":\[[0-9"]{0,4}\]\}|null|true"#,
        quoted in any::<bool>(),
        at in 0_usize..200,
        insert in r#"[\[\]{}",:0-9a-z\\]{0,3}"#,
    ) {
        let value = if quoted { json!(value).to_string() } else { value };
        let mut text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"{name}":{value}}},"id":1}}"#);
        if let Some((at, _)) = text.char_indices().nth(at) {
            text.insert_str(at, &insert);
        }
        let (id, outcome) = match rpc::parse(&text) {
            Frame::Ignored => return Ok(()),
            Frame::Invalid(id, fault) => (id, Err(fault)),
            Frame::Call(call) => (call.id.clone(), request::read(&call).map(|_| json!({}))),
        };
        let answer: Value = serde_json::from_str(&rpc::respond(&id, &outcome)).unwrap();
        prop_assert_eq!(&answer["id"], &id);
    }
}
