//! Wire: results and notifications, as `openvidu-browser` reads them.

use serde_json::{Map, Value, json};

use crate::cluster::op::socket::{JoinedView, StreamProperty};
use crate::cluster::op::{ConnectionView, Event, Fact, PublishOptions, Reason, UnixMillis};
use crate::http::events::connection_property;
use crate::http::json::{reason, role};
use crate::http::{HttpSettings, MediaServer, ice};

/// Between what a client and what the application says of a connection.
const METADATA_SEPARATOR: &str = "%/%";

/// OpenVidu's release that is answered as; clients of other releases say so on their console.
const VERSION: &str = "2.32.2";

/// Result of `joinRoom`.
#[must_use]
pub fn joined(view: &JoinedView, settings: &HttpSettings) -> Value {
    let own = &view.connection;
    let servers: Vec<Value> = own.properties.ice_servers.iter().map(ice::to_json).collect();
    let mut shown = json!({
        "id": own.id,
        "session": own.session,
        "sessionId": view.secret,
        "createdAt": own.active_at.unwrap_or(own.created_at),
        "metadata": metadata(own),
        "role": role(own.properties.role),
        "record": own.properties.record,
        "value": view.others.iter().map(other).collect::<Vec<_>>(),
        "version": VERSION,
        "mediaServer": match settings.media_server {
            MediaServer::Kurento => "kurento",
            MediaServer::Mediasoup => "mediasoup",
        },
        "videoSimulcast": settings.video_simulcast,
        "finalUserId": final_user(&view.secret),
        "customIceServers": servers,
    });
    if let Some((id, name)) = &view.recording {
        shown["recordingId"] = json!(id);
        shown["recordingName"] = json!(name);
    }
    shown
}

/// Some name of the user that is not the secret.
fn final_user(secret: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, secret.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02X}")).collect()
}

fn metadata(view: &ConnectionView) -> String {
    let client = view.client.as_ref().map_or("", |client| client.client_data.as_str());
    both(client, &view.properties.server_data)
}

fn both(client: &str, server: &str) -> String {
    if client.is_empty() || server.is_empty() {
        return format!("{client}{server}");
    }
    format!("{client}{METADATA_SEPARATOR}{server}")
}

/// Another connection. It must not have a `role`: the library tells local from remote ones by it.
fn other(view: &ConnectionView) -> Value {
    let mut map = Map::new();
    map.insert("id".to_owned(), json!(view.id));
    map.insert("createdAt".to_owned(), json!(view.active_at.unwrap_or(view.created_at)));
    map.insert("metadata".to_owned(), json!(metadata(view)));
    if let Some(it) = &view.publisher {
        let stream = stream(&it.id, it.created_at, it.has_audio, it.has_video, &it.options);
        map.insert("streams".to_owned(), json!([stream]));
    }
    Value::Object(map)
}

fn stream(
    id: &str,
    created_at: UnixMillis,
    has_audio: bool,
    has_video: bool,
    options: &PublishOptions,
) -> Value {
    let mut map = Map::new();
    map.insert("id".to_owned(), json!(id));
    map.insert("createdAt".to_owned(), json!(created_at));
    map.extend(crate::http::json::media(has_audio, has_video, options));
    map.insert("filter".to_owned(), json!({}));
    Value::Object(map)
}

/// What a client is told of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// A notification: method and parameters.
    Notification(&'static str, Value),
    /// A notification that it is out of the session; nothing follows.
    Evicted(Value),
    /// It has left by its own wish; nothing follows.
    Left,
}

/// What the client of connection `own` is told of an event.
#[must_use]
pub fn tell(event: &Event, own: &str) -> Told {
    match &event.what {
        Fact::ParticipantJoined { connection, server_data, client, .. } if connection != own => {
            let params = json!({
                "id": connection,
                "createdAt": event.at,
                "metadata": both(&client.client_data, server_data),
            });
            Told::Notification("participantJoined", params)
        }
        Fact::ParticipantLeft { connection, reason: why, .. } => {
            let params = json!({ "connectionId": connection, "reason": reason(*why) });
            match (connection == own, why) {
                (false, _) => Told::Notification("participantLeft", params),
                (true, Reason::Disconnect) => Told::Left,
                (true, _) => Told::Evicted(params),
            }
        }
        Fact::Published { connection, stream: name, has_audio, has_video, options } if connection != own => {
            let shown = stream(name, event.at, *has_audio, *has_video, options);
            Told::Notification("participantPublished", json!({ "id": connection, "streams": [shown] }))
        }
        Fact::Unpublished { connection, reason: why, leaving, .. } => {
            // Who leaves is told with the leaving; who ended the own stream knows it.
            if *leaving || (connection == own && *why == Reason::Unpublish) {
                return Told::Nothing;
            }
            let params = json!({ "connectionId": connection, "reason": reason(*why) });
            Told::Notification("participantUnpublished", params)
        }
        Fact::ConnectionChanged { connection, property } if connection == own => {
            let (name, value) = connection_property(*property);
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Told::Notification("connectionPropertyChanged", json!({ "property": name, "newValue": value }))
        }
        Fact::StreamChanged { connection, stream, property, reason } if connection != own => {
            let (name, value) = changed(property);
            let params = json!({
                "connectionId": connection,
                "streamId": stream,
                "property": name,
                "newValue": value,
                "reason": reason,
            });
            Told::Notification("streamPropertyChanged", params)
        }
        Fact::Signal { from, kind, data } => {
            Told::Notification("sendMessage", signal(from.as_deref(), kind, data))
        }
        Fact::RecordingStarted { id, name } => {
            Told::Notification("recordingStarted", json!({ "id": id, "name": name }))
        }
        Fact::RecordingStopped { id, name, reason: why } => {
            let params = json!({ "id": id, "name": name, "reason": reason(*why) });
            Told::Notification("recordingStopped", params)
        }
        Fact::ConnectionChanged { .. }
        | Fact::Audit { .. }
        | Fact::NodeStatusChanged { .. }
        | Fact::ParticipantJoined { .. }
        | Fact::Published { .. }
        | Fact::RecordingStatusChanged(_)
        | Fact::SessionCreated
        | Fact::SessionDestroyed { .. }
        | Fact::SessionPlaced { .. }
        | Fact::Slot { .. }
        | Fact::Speakers { .. }
        | Fact::StreamChanged { .. }
        | Fact::Subscribed { .. }
        | Fact::Transport { .. }
        | Fact::Unsubscribed { .. } => Told::Nothing,
    }
}

/// The new value is JSON text, also where it is JSON text already.
fn changed(property: &StreamProperty) -> (&'static str, String) {
    match property {
        StreamProperty::AudioActive(on) => ("audioActive", on.to_string()),
        StreamProperty::AudioTrack(text) => ("audioTrack", text.clone()),
        StreamProperty::VideoActive(on) => ("videoActive", on.to_string()),
        StreamProperty::VideoDimensions(text) => ("videoDimensions", json!(text).to_string()),
        StreamProperty::VideoTrack(text) => ("videoTrack", text.clone()),
    }
}

fn signal(from: Option<&str>, kind: &str, data: &str) -> Value {
    let mut map = Map::new();
    map.insert("data".to_owned(), json!(data));
    let shown = match (kind, from) {
        ("", None) => None,
        ("", Some(_)) => Some("signal:signal".to_owned()),
        (kind, _) if kind.starts_with("signal:") => Some(kind.to_owned()),
        (kind, _) => Some(format!("signal:{kind}")),
    };
    if let Some(kind) = shown {
        map.insert("type".to_owned(), json!(kind));
    }
    if let Some(from) = from {
        map.insert("from".to_owned(), json!(from));
    }
    Value::Object(map)
}
