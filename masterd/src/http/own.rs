//! Shell: HTTP handlers.
//!
//! What a participant asks of its own connection: see it, send a signal, leave.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::Face;
use super::auth::Bearer;
use super::body::ObjectBody;
use super::error::{Problem, refused};
use super::events::media_kind;
use super::fields::{FieldError, Fields, wrong};
use super::json::{media, role};
use crate::cluster::op::{Actor, ConnectionView, Op, Query, Reply, SlotView, StreamView};

/// `GET /connection`: the bearer's connection, the others and their streams, and what its slots hold.
pub async fn read(State(face): State<Face>, bearer: Bearer) -> Response {
    let (shown, session, id) = match face.core().query(bearer.actor(), Query::Own).await {
        Ok(Reply::Own { session, connection, streams, slots, recording }) => {
            let mut shown = own(&session, &connection, &streams, &slots);
            let recording = recording.map(|(id, name)| json!({ "id": id, "name": name }));
            shown.insert("recording".to_owned(), json!(recording));
            (shown, session, connection.id)
        }
        Ok(other) => return refused(&other),
        Err(error) => return Problem::from(error).into_response(),
    };
    // Only the bearer of one of its tokens gets here, so that it may know who else is in the session.
    let whole = Query::Session { session };
    let participants = match face.core().query(Actor::App, whole).await {
        Ok(Reply::Session(view)) => others(&view.connections, &id),
        Ok(other) => return refused(&other),
        Err(error) => return Problem::from(error).into_response(),
    };
    let mut shown = shown;
    shown.insert("participants".to_owned(), Value::Array(participants));
    Json(shown).into_response()
}

fn others(connections: &[ConnectionView], own: &str) -> Vec<Value> {
    let others = connections.iter().filter(|view| view.active_at.is_some() && view.id != own);
    let shown = others.map(|view| {
        json!({
            "connectionId": view.id,
            "role": role(view.properties.role),
            "serverData": view.properties.server_data,
            "clientData": view.client.as_ref().map(|client| &client.client_data),
            "activeAt": view.active_at,
        })
    });
    shown.collect()
}

/// `DELETE /connection`: leave.
pub async fn leave(State(face): State<Face>, bearer: Bearer) -> Response {
    match face.core().op(bearer.actor(), Op::Leave).await {
        Ok(Reply::Done) => StatusCode::OK.into_response(),
        Ok(other) => refused(&other),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// `POST /signal`: `{type?, data?, to?}`.
pub async fn signal(State(face): State<Face>, bearer: Bearer, ObjectBody(body): ObjectBody) -> Response {
    let op = match signal_op(Fields(&body)) {
        Ok(op) => op,
        Err(error) => return Problem::field(error).into_response(),
    };
    match face.core().op(bearer.actor(), op).await {
        Ok(Reply::Done) => StatusCode::OK.into_response(),
        Ok(other) => refused(&other),
        Err(error) => Problem::from(error).into_response(),
    }
}

fn signal_op(fields: Fields<'_>) -> Result<Op, FieldError> {
    let kind = fields.string("type")?.unwrap_or_default().to_owned();
    let data = fields.string("data")?.unwrap_or_default().to_owned();
    let receivers = fields.array("to")?.unwrap_or_default();
    let receiver = |value: &Value| {
        value.as_str().map(str::to_owned).ok_or_else(|| wrong("to", "an array of connection ids"))
    };
    let to = receivers.iter().map(receiver).collect::<Result<Vec<_>, _>>()?;
    Ok(Op::Signal { session: None, to, kind, data })
}

fn own(
    session: &str,
    view: &ConnectionView,
    streams: &[(String, StreamView)],
    slots: &[SlotView],
) -> Map<String, Value> {
    let others = streams.iter().map(|(connection, stream)| stream_object(connection, stream));
    let others: Vec<Value> = others.collect();
    let slots: Vec<Value> = slots.iter().map(slot_object).collect();
    let shown = json!({
        "sessionId": session,
        "connectionId": view.id,
        "status": if view.active_at.is_some() { "active" } else { "pending" },
        "role": role(view.properties.role),
        "serverData": view.properties.server_data,
        "clientData": view.client.as_ref().map(|client| &client.client_data),
        "activeAt": view.active_at,
        "publisher": view.publisher.as_ref().map(|stream| stream_object(&view.id, stream)),
        "iceServers": view.properties.ice_servers.iter().map(super::ice::to_json).collect::<Vec<_>>(),
        "streams": others,
        "slots": slots,
    });
    match shown {
        Value::Object(map) => map,
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => Map::new(),
    }
}

fn stream_object(connection: &str, stream: &StreamView) -> Value {
    let mut map = Map::new();
    map.insert("streamId".to_owned(), json!(stream.id));
    map.insert("connectionId".to_owned(), json!(connection));
    map.insert("createdAt".to_owned(), json!(stream.created_at));
    map.extend(media(stream.has_audio, stream.has_video, &stream.options));
    Value::Object(map)
}

fn slot_object(view: &SlotView) -> Value {
    json!({
        "resource": view.resource,
        "slot": view.slot,
        "kind": media_kind(view.kind),
        "streamId": view.stream,
        "publisherId": view.connection,
    })
}
