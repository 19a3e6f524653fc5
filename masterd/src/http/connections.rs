//! Shell: HTTP handlers.
//!
//! `/openvidu/api/sessions/<id>/connection`, and the tokens of older clients.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde_json::{Map, Value, json};

use super::body::JsonBody;
use super::error::{ApiError, Place};
use super::fields::{FieldError, Fields, undefined, wrong};
use super::ice::IceSource;
use super::json::{Pending, role, role_of};
use super::sessions::{flag, pending};
use super::{Edition, Face};
use crate::cluster::op::{
    Actor, ConnectionProperties, ConnectionRole, ConnectionView, IceServer, Op, Query, Reply,
};

/// `POST /sessions/<id>/connection`.
pub async fn create(
    State(face): State<Face>,
    Path(session): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let place = face.place(&format!("/sessions/{session}/connection"));
    must_exist(&face, &session, &place, ApiError::Empty(StatusCode::NOT_FOUND)).await?;
    let body = body.unwrap_or_default();
    let properties = properties(&face, Fields(&body), Record::Read).map_err(|error| place.field(error))?;
    let view = make(&face, session, properties, &place).await?;
    let url = face.settings().websocket_url();
    Ok(Json(face.style(&url).connection(&view)).into_response())
}

/// `POST /tokens`, deprecated.
pub async fn create_token(State(face): State<Face>, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let place = face.place("/tokens");
    let body = body.ok_or(ApiError::Framework(StatusCode::BAD_REQUEST))?;
    let fields = Fields(&body);
    let session = fields.string("session").map_err(|error| place.field(error))?;
    let session =
        session.ok_or_else(|| place.field(FieldError("Parameter 'session' is mandatory".to_owned())))?;
    let unknown = place.described(StatusCode::NOT_FOUND, format!("Session {session} not found"));
    must_exist(&face, session, &place, unknown).await?;
    let properties = properties(&face, fields, Record::Ignored).map_err(|error| place.field(error))?;
    let view = make(&face, session.to_owned(), properties, &place).await?;
    let url = face.settings().websocket_url();
    Ok(Json(token_object(&view, &face.style(&url).token(&view))).into_response())
}

fn token_object(view: &ConnectionView, token: &str) -> Value {
    let mut shown = json!({
        "id": token,
        "token": token,
        "createdAt": view.created_at,
        "connectionId": view.id,
        "session": view.session,
        "data": view.properties.server_data,
        "role": role(view.properties.role),
    });
    let kurento =
        view.properties.kurento_options.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let (Some(options), Some(map)) = (kurento, shown.as_object_mut()) {
        map.insert("kurentoOptions".to_owned(), options);
    }
    shown
}

/// `GET /sessions/<id>/connection`.
pub async fn list(
    State(face): State<Face>,
    Path(session): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let place = face.place(&format!("/sessions/{session}/connection"));
    let pending = pending(&uri, Pending::Shown)?;
    flag(&uri, "webRtcStats", false)?;
    let query = Query::Session { session };
    match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Session(view) => {
            let url = face.settings().websocket_url();
            Ok(Json(face.style(&url).connections(&view.connections, pending)).into_response())
        }
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// `GET /sessions/<id>/connection/<connection>`.
pub async fn read(
    State(face): State<Face>,
    Path((session, connection)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let place = face.place(&format!("/sessions/{session}/connection"));
    flag(&uri, "webRtcStats", false)?;
    let query = Query::Connection { session, connection };
    match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Connection(view) => {
            let url = face.settings().websocket_url();
            Ok(Json(face.style(&url).connection(&view)).into_response())
        }
        other => Err(place.unexpected(&other, StatusCode::BAD_REQUEST)),
    }
}

/// `PATCH /sessions/<id>/connection/<connection>`: `role` and `record`. Who is unknown goes before what is wrong.
pub async fn change(
    State(face): State<Face>,
    Path((session, connection)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    if face.settings().edition == Edition::Ce {
        return Err(ApiError::Framework(StatusCode::METHOD_NOT_ALLOWED));
    }
    let place = face.place(&format!("/sessions/{session}/connection"));
    let query = Query::Connection { session: session.clone(), connection: connection.clone() };
    match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Connection(_) => {}
        other => return Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
    let body = body.ok_or(ApiError::Framework(StatusCode::BAD_REQUEST))?;
    let (role, record) = changes(Fields(&body)).map_err(|error| place.field(error))?;
    let op = Op::ConnectionUpdate { session, connection, role, record };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Connection(view) => {
            let url = face.settings().websocket_url();
            Ok(Json(face.style(&url).connection(&view)).into_response())
        }
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

fn changes(fields: Fields<'_>) -> Result<(Option<ConnectionRole>, Option<bool>), FieldError> {
    let role = fields.string("role")?;
    let role = role.map(|text| role_of(text).ok_or_else(|| undefined("role", text))).transpose()?;
    Ok((role, fields.boolean("record")?))
}

/// `DELETE /sessions/<id>/connection/<connection>`.
pub async fn delete(
    State(face): State<Face>,
    Path((session, connection)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let place = face.place(&format!("/sessions/{session}/connection"));
    let op = Op::ConnectionDelete { session, connection };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        other => Err(place.unexpected(&other, StatusCode::BAD_REQUEST)),
    }
}

/// The session is looked up before the body is: the order in which OpenVidu checks.
async fn must_exist(face: &Face, session: &str, place: &Place, unknown: ApiError) -> Result<(), ApiError> {
    let query = Query::Session { session: session.to_owned() };
    match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Session(_) => Ok(()),
        Reply::Refused(crate::cluster::op::Refusal::UnknownSession) => Err(unknown),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

async fn make(
    face: &Face,
    session: String,
    properties: ConnectionProperties,
    place: &Place,
) -> Result<Box<ConnectionView>, ApiError> {
    let op = Op::ConnectionCreate { session, properties };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Connection(view) => Ok(view),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Record {
    Ignored,
    Read,
}

/// Checks in OpenVidu's order.
fn properties(face: &Face, fields: Fields<'_>, record: Record) -> Result<ConnectionProperties, FieldError> {
    let kind = fields.string("type")?.unwrap_or("WEBRTC");
    let data = fields.string("data")?.unwrap_or_default();
    match kind {
        "WEBRTC" => {}
        "IPCAM" => return Err(FieldError("Connections of type IPCAM are not supported".to_owned())),
        other => return Err(undefined("type", other)),
    }
    let role_text = fields.string("role")?.unwrap_or("PUBLISHER");
    let role = role_of(role_text).ok_or_else(|| undefined("role", role_text))?;
    let kurento_options = fields.object("kurentoOptions")?.map(kurento_options).transpose()?;
    let ice_servers = ice_servers(face, fields)?;
    let record = match record {
        Record::Ignored => true,
        Record::Read => fields.boolean("record")?.unwrap_or(true),
    };
    Ok(ConnectionProperties {
        role,
        server_data: data.to_owned(),
        record,
        kurento_options: kurento_options.map(|options| Value::Object(options).to_string()),
        ice_servers,
    })
}

/// Only the fields that are given, in a fixed order.
fn kurento_options(fields: Fields<'_>) -> Result<Map<String, Value>, FieldError> {
    let mut shown = Map::new();
    for name in
        ["videoMaxRecvBandwidth", "videoMinRecvBandwidth", "videoMaxSendBandwidth", "videoMinSendBandwidth"]
    {
        if let Some(kbps) = fields.integer(name)? {
            shown.insert(name.to_owned(), json!(kbps));
        }
    }
    if let Some(filters) = fields.array("allowedFilters")? {
        if !filters.iter().all(Value::is_string) {
            return Err(wrong("allowedFilters", "an array of strings"));
        }
        shown.insert("allowedFilters".to_owned(), json!(filters));
    }
    Ok(shown)
}

/// The request's servers, else the configured ones, with credentials of this connection.
fn ice_servers(face: &Face, fields: Fields<'_>) -> Result<Vec<IceServer>, FieldError> {
    let given = fields.array("customIceServers")?.unwrap_or_default();
    if given.len() > ICE_SERVERS_MAX {
        return Err(FieldError(format!(
            "Parameter 'customIceServers' has more than {ICE_SERVERS_MAX} elements"
        )));
    }
    let given = given.iter().map(IceSource::from_json).collect::<Result<Vec<_>, _>>()?;
    let sources = if given.is_empty() { &face.settings().ice_servers } else { &given };
    let now = face.clock().now().unix;
    Ok(sources.iter().map(|source| source.serve(now, &suffix())).collect())
}

/// Eight random letters and digits.
fn suffix() -> String {
    rand::rng().sample_iter(Alphanumeric).take(8).map(char::from).collect()
}

/// Browsers slow down beyond five.
const ICE_SERVERS_MAX: usize = 32;
