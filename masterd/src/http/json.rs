//! Pure: no clock, no I/O, no async.
//!
//! The objects of OpenVidu's API: exact key sets in a stable order.

use serde_json::{Map, Value, json};

use super::Edition;
use super::{ice, recording};
use crate::cluster::op::{
    ConnectionRole, ConnectionView, NodeStatus, NodeView, PublishOptions, Reason, RecordingEvent,
    SessionView, StreamView,
};
use crate::cluster::recording::text;

/// Which connections a session or a list shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pending {
    /// Unused tokens are left out.
    Hidden,
    /// Unused tokens are shown.
    Shown,
}

/// What all objects need to know.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// Which keys a session has.
    pub edition: Edition,
    /// `wss://host[:port]`.
    pub websocket_url: &'a str,
}

impl Style<'_> {
    /// A session with its connections.
    #[must_use]
    pub fn session(&self, view: &SessionView, pending: Pending) -> Value {
        let properties = &view.properties;
        let recording = recording::show_defaults(&properties.default_recording);
        let mut map = Map::new();
        put(&mut map, "id", json!(view.id));
        put(&mut map, "object", json!("session"));
        put(&mut map, "sessionId", json!(view.id));
        put(&mut map, "createdAt", json!(view.created_at));
        put(&mut map, "recording", json!(view.recording));
        put(&mut map, "broadcasting", json!(false));
        put(&mut map, "mediaMode", json!(if properties.relayed { "RELAYED" } else { "ROUTED" }));
        put(&mut map, "recordingMode", json!(if properties.record_always { "ALWAYS" } else { "MANUAL" }));
        put(&mut map, "defaultRecordingProperties", Value::Object(recording));
        put(&mut map, "customSessionId", json!(properties.custom_id.as_deref().unwrap_or_default()));
        if let Some(node) = &properties.media_node {
            put(&mut map, "mediaNode", json!({ "id": node }));
        }
        put(&mut map, "forcedVideoCodec", json!(properties.forced_video_codec));
        put(&mut map, "allowTranscoding", json!(properties.allow_transcoding));
        put(&mut map, "connections", self.connections(&view.connections, pending));
        if let Some(node) = &view.media_node
            && self.edition != Edition::Ce
        {
            put(&mut map, "mediaNodeId", json!(node));
        }
        Value::Object(map)
    }

    /// A list of connections.
    #[must_use]
    pub fn connections(&self, views: &[ConnectionView], pending: Pending) -> Value {
        let shown = views.iter().filter(|view| view.active_at.is_some() || pending == Pending::Shown);
        list(shown.map(|view| self.connection(view)).collect())
    }

    /// A connection, pending or active.
    #[must_use]
    pub fn connection(&self, view: &ConnectionView) -> Value {
        let is_active = view.active_at.is_some();
        let client = view.client.as_ref();
        let kurento = view.properties.kurento_options.as_deref();
        let publishers: Vec<Value> = view.publisher.iter().map(publisher).collect();
        let subscribers: Vec<Value> = view
            .subscribers
            .iter()
            .map(|(stream, since)| json!({ "createdAt": since, "streamId": stream }))
            .collect();
        json!({
            "id": view.id,
            "object": "connection",
            "status": if is_active { "active" } else { "pending" },
            "connectionId": view.id,
            "sessionId": view.session,
            "createdAt": view.created_at,
            "type": "WEBRTC",
            "record": view.properties.record,
            "role": role(view.properties.role),
            "kurentoOptions": kurento.and_then(|text| serde_json::from_str::<Value>(text).ok()),
            "customIceServers": view.properties.ice_servers.iter().map(ice::to_json).collect::<Vec<_>>(),
            "rtspUri": null,
            "adaptativeBitrate": null,
            "onlyPlayWithSubscribers": null,
            "networkCache": null,
            "serverData": view.properties.server_data,
            "token": self.token(view),
            "activeAt": view.active_at,
            "location": is_active.then_some("unknown"),
            "ip": client.map(|client| &client.ip),
            "platform": client.map(|client| &client.platform),
            "clientData": client.map(|client| &client.client_data),
            "publishers": is_active.then_some(publishers),
            "subscribers": is_active.then_some(subscribers),
        })
    }

    /// The whole token string, as browsers get it.
    #[must_use]
    pub fn token(&self, view: &ConnectionView) -> String {
        format!("{}?sessionId={}&token={}", self.websocket_url, view.session, view.token)
    }
}

fn publisher(stream: &StreamView) -> Value {
    json!({ "createdAt": stream.created_at, "streamId": stream.id, "mediaOptions": media_options(stream) })
}

fn media_options(stream: &StreamView) -> Value {
    let mut map = media(stream.has_audio, stream.has_video, &stream.options);
    put(&mut map, "filter", json!({}));
    Value::Object(map)
}

/// What a stream has and what its client says of it.
#[must_use]
pub fn media(has_audio: bool, has_video: bool, options: &PublishOptions) -> Map<String, Value> {
    let mut map = Map::new();
    put(&mut map, "hasAudio", json!(has_audio));
    if has_audio {
        put(&mut map, "audioActive", json!(options.audio_active));
    }
    put(&mut map, "hasVideo", json!(has_video));
    if has_video {
        put(&mut map, "videoActive", json!(options.video_active));
        put(&mut map, "typeOfVideo", json!(options.type_of_video));
        put(&mut map, "frameRate", json!(options.frame_rate));
        put(&mut map, "videoDimensions", json!(options.video_dimensions));
    }
    map
}

/// What a media node's object shows beside the fixed fields.
#[derive(Clone, Debug, Default)]
pub struct NodeExtras {
    /// `?sessions=true`: the node's sessions.
    pub sessions: Option<Vec<Value>>,
    /// `?recordings=true`.
    pub recordings: bool,
    /// `?extra-info=true`.
    pub engine: bool,
}

/// A media node.
#[must_use]
pub fn node(view: &NodeView, extras: &NodeExtras) -> Value {
    let known = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    let mut map = Map::new();
    put(&mut map, "id", json!(view.id));
    put(&mut map, "object", json!("mediaNode"));
    put(&mut map, "environmentId", known(&view.environment_id));
    put(&mut map, "ip", known(&view.ip));
    put(&mut map, "uri", known(&view.uri));
    put(&mut map, "launchingTime", json!(view.launched_at));
    put(&mut map, "connected", json!(view.connected));
    put(&mut map, "connectionTime", json!(view.connected_at));
    if !view.connected {
        put(&mut map, "disconnectionTime", json!(view.disconnected_at.unwrap_or_default()));
    }
    put(&mut map, "load", json!(f64::from(view.report.cpu_permille.min(1000)) / 10.0));
    put(&mut map, "status", json!(status(view.status)));
    if let Some(sessions) = &extras.sessions {
        put(&mut map, "sessions", json!(sessions));
    }
    if extras.recordings {
        put(&mut map, "recordingIds", json!(view.recordings));
        put(&mut map, "broadcasts", json!([]));
    }
    if extras.engine {
        put(
            &mut map,
            "kurentoInfo",
            json!({ "version": view.program, "usedMemory": view.report.memory_bytes }),
        );
    }
    Value::Object(map)
}

/// Everything that is known of a node, for Plenum's own API.
#[must_use]
pub fn node_in_full(view: &NodeView) -> Value {
    let report = &view.report;
    json!({
        "id": view.id,
        "environmentId": view.environment_id,
        "kind": if view.recorder { "recorder" } else { "media" },
        "program": view.program,
        "address": view.ip,
        "status": status(view.status),
        "connected": view.connected,
        "connectedAt": view.connected_at,
        "launchedAt": view.launched_at,
        "score": rounded(view.load),
        "reserved": rounded(view.reserved),
        "sessions": view.sessions,
        "report": {
            "cpuPermille": report.cpu_permille,
            "workerPermilleMax": report.worker_permille_max,
            "loopLagUsP99": report.loop_lag_us_p99,
            "sessions": report.sessions,
            "endpoints": report.endpoints,
            "streams": report.streams,
            "packetsIn": report.packets_in,
            "packetsOut": report.packets_out,
            "ingressBps": report.ingress_bps,
            "egressBps": report.egress_bps,
            "drops": report.drops,
            "memoryBytes": report.memory_bytes,
        },
    })
}

/// The fields of `recordingStatusChanged` as a webhook has them, without those that all events of a session have.
#[must_use]
pub fn recording_event(event: &RecordingEvent, edition: Edition) -> Map<String, Value> {
    let properties = &event.properties;
    let mut map = Map::new();
    put(&mut map, "startTime", json!(event.created_at));
    put(&mut map, "duration", json!(text::seconds(event.duration_ms)));
    if let Some(why) = event.reason {
        put(&mut map, "reason", json!(reason(why)));
    }
    put(&mut map, "id", json!(event.id));
    put(&mut map, "name", json!(properties.name));
    put(&mut map, "outputMode", json!(text::mode(properties.mode)));
    if properties.is_film() {
        put(&mut map, "resolution", json!(text::resolution(properties)));
        put(&mut map, "frameRate", json!(properties.frame_rate));
        put(&mut map, "recordingLayout", json!(properties.layout));
        if !properties.custom_layout.is_empty() {
            put(&mut map, "customLayout", json!(properties.custom_layout));
        }
        if edition != Edition::Ce {
            put(&mut map, "media_node_id", json!(event.media_node));
        }
    }
    put(&mut map, "hasAudio", json!(properties.has_audio));
    put(&mut map, "hasVideo", json!(properties.has_video));
    put(&mut map, "size", json!(event.size_bytes));
    put(&mut map, "status", json!(text::status(event.status)));
    map
}

/// Two decimals: enough for a score, and the same text in every answer.
#[must_use]
pub fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// OpenVidu's list object.
#[must_use]
pub fn list(content: Vec<Value>) -> Value {
    let count = content.len();
    json!({ "numberOfElements": count, "content": Value::Array(content) })
}

/// Parses a role.
#[must_use]
pub fn role_of(text: &str) -> Option<ConnectionRole> {
    match text {
        "MODERATOR" => Some(ConnectionRole::Moderator),
        "PUBLISHER" => Some(ConnectionRole::Publisher),
        "SUBSCRIBER" => Some(ConnectionRole::Subscriber),
        _ => None,
    }
}

/// OpenVidu's word for a role.
#[must_use]
pub const fn role(role: ConnectionRole) -> &'static str {
    match role {
        ConnectionRole::Moderator => "MODERATOR",
        ConnectionRole::Publisher => "PUBLISHER",
        ConnectionRole::Subscriber => "SUBSCRIBER",
    }
}

/// OpenVidu's word for a node's state; `lost` is ours.
#[must_use]
pub const fn status(status: NodeStatus) -> &'static str {
    status.name()
}

/// OpenVidu's word for why something ended.
#[must_use]
pub const fn reason(reason: Reason) -> &'static str {
    reason.name()
}

fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.insert(key.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::op::{ClientInfo, ConnectionProperties, SessionProperties};

    const STYLE: Style<'static> =
        Style { edition: Edition::Enterprise, websocket_url: "wss://ov.example.org" };

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn a_session_is_shown_as_openvidu_shows_it() {
        let view = SessionView {
            id: "standup".to_owned(),
            created_at: 1_700_000_000_000,
            properties: SessionProperties {
                custom_id: Some("standup".to_owned()),
                forced_video_codec: "MEDIA_SERVER_PREFERRED".to_owned(),
                ..SessionProperties::default()
            },
            ..SessionView::default()
        };
        let text = serde_json::to_string(&STYLE.session(&view, Pending::Hidden)).unwrap();
        assert_eq!(
            text,
            r#"{"id":"standup","object":"session","sessionId":"standup","createdAt":1700000000000,"recording":false,"broadcasting":false,"mediaMode":"ROUTED","recordingMode":"MANUAL","defaultRecordingProperties":{"name":"","hasAudio":true,"hasVideo":true,"outputMode":"COMPOSED","recordingLayout":"BEST_FIT","resolution":"1280x720","frameRate":25,"shmSize":536870912},"customSessionId":"standup","forcedVideoCodec":"MEDIA_SERVER_PREFERRED","allowTranscoding":false,"connections":{"numberOfElements":0,"content":[]}}"#
        );
        let placed = SessionView { media_node: Some("media_x".to_owned()), ..view };
        assert_eq!(keys(&STYLE.session(&placed, Pending::Hidden)).len(), 14);
        let ce = Style { edition: Edition::Ce, ..STYLE };
        assert_eq!(keys(&ce.session(&placed, Pending::Hidden)).len(), 13);
    }

    #[test]
    fn a_pending_connection_is_shown_as_openvidu_shows_it() {
        let view = ConnectionView {
            id: "con_KzT4mQ2w9b".to_owned(),
            session: "standup".to_owned(),
            token: "tok_H1aB2cD3eF4gH5iJ".to_owned(),
            created_at: 1_700_000_001_000,
            properties: ConnectionProperties { record: true, ..ConnectionProperties::default() },
            ..ConnectionView::default()
        };
        let text = serde_json::to_string(&STYLE.connection(&view)).unwrap();
        assert_eq!(
            text,
            r#"{"id":"con_KzT4mQ2w9b","object":"connection","status":"pending","connectionId":"con_KzT4mQ2w9b","sessionId":"standup","createdAt":1700000001000,"type":"WEBRTC","record":true,"role":"PUBLISHER","kurentoOptions":null,"customIceServers":[],"rtspUri":null,"adaptativeBitrate":null,"onlyPlayWithSubscribers":null,"networkCache":null,"serverData":"","token":"wss://ov.example.org?sessionId=standup&token=tok_H1aB2cD3eF4gH5iJ","activeAt":null,"location":null,"ip":null,"platform":null,"clientData":null,"publishers":null,"subscribers":null}"#
        );
        let lists = [Pending::Hidden, Pending::Shown]
            .map(|pending| STYLE.connections(std::slice::from_ref(&view), pending));
        assert_eq!(lists.map(|list| list["numberOfElements"].as_u64()), [Some(0), Some(1)]);
    }

    #[test]
    fn an_active_connection_shows_its_stream_and_what_it_receives() {
        let options = PublishOptions {
            type_of_video: "CAMERA".to_owned(),
            audio_active: true,
            video_active: true,
            frame_rate: Some(30),
            video_dimensions: Some(r#"{"width":640,"height":480}"#.to_owned()),
        };
        let view = ConnectionView {
            active_at: Some(2),
            client: Some(ClientInfo { ip: "192.0.2.7".to_owned(), ..ClientInfo::default() }),
            publisher: Some(StreamView {
                id: "str_CAM_Ab3X_con_KzT4mQ2w9b".to_owned(),
                created_at: 1_700_000_005_000,
                has_audio: true,
                has_video: true,
                options,
            }),
            subscribers: vec![("str_x".to_owned(), 9)],
            ..ConnectionView::default()
        };
        let shown = STYLE.connection(&view);
        assert_eq!(keys(&shown).len(), 24);
        assert_eq!(shown["location"], "unknown");
        assert_eq!(shown["clientData"], "");
        assert_eq!(
            serde_json::to_string(&shown["publishers"]).unwrap(),
            r#"[{"createdAt":1700000005000,"streamId":"str_CAM_Ab3X_con_KzT4mQ2w9b","mediaOptions":{"hasAudio":true,"audioActive":true,"hasVideo":true,"videoActive":true,"typeOfVideo":"CAMERA","frameRate":30,"videoDimensions":"{\"width\":640,\"height\":480}","filter":{}}}]"#
        );
        assert_eq!(
            serde_json::to_string(&shown["subscribers"]).unwrap(),
            r#"[{"createdAt":9,"streamId":"str_x"}]"#
        );
    }

    #[test]
    fn a_node_shows_what_is_asked_for() {
        let view = NodeView { id: "media_x".to_owned(), connected: true, ..NodeView::default() };
        let fixed = [
            "id",
            "object",
            "environmentId",
            "ip",
            "uri",
            "launchingTime",
            "connected",
            "connectionTime",
            "load",
            "status",
        ];
        assert_eq!(keys(&node(&view, &NodeExtras::default())), fixed);
        let all = NodeExtras { sessions: Some(Vec::new()), recordings: true, engine: true };
        let rest = ["sessions", "recordingIds", "broadcasts", "kurentoInfo"];
        assert_eq!(keys(&node(&view, &all)), [&fixed[..], &rest].concat());
        let cut = NodeView { connected: false, disconnected_at: Some(5), ..view };
        assert_eq!(node(&cut, &NodeExtras::default())["disconnectionTime"], 5);
    }
}
