//! Shell: HTTP handlers.
//!
//! `/openvidu/api/sessions`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::body::JsonBody;
use super::error::{ApiError, Place};
use super::fields::{FieldError, Fields, undefined};
use super::json::{self, Pending, Style};
use super::{Face, HttpSettings, query_value, recording};
use crate::cluster::op::{Actor, Op, Query, Reply, SessionProperties, SessionView};

impl Face {
    /// The object style of this face.
    pub(super) fn style<'a>(&self, websocket_url: &'a str) -> Style<'a> {
        Style { edition: self.settings().edition, websocket_url }
    }

    /// An error's place: `/openvidu/api` and the endpoint's fixed path.
    pub(super) fn place(&self, path: &str) -> Place {
        Place { path: format!("/openvidu/api{path}"), timestamp: self.clock().now().unix }
    }
}

/// A boolean of the query.
///
/// # Errors
/// What the framework answers when it is something else.
pub(super) fn flag(uri: &Uri, name: &str, default: bool) -> Result<bool, ApiError> {
    match query_value(uri, name).as_deref().map(str::trim) {
        None | Some("") => Ok(default),
        Some(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(ApiError::Framework(StatusCode::BAD_REQUEST)),
        },
    }
}

/// `pendingConnections`.
pub(super) fn pending(uri: &Uri, default: Pending) -> Result<Pending, ApiError> {
    let shown = flag(uri, "pendingConnections", default == Pending::Shown)?;
    Ok(if shown { Pending::Shown } else { Pending::Hidden })
}

/// `POST /sessions`.
pub async fn create(State(face): State<Face>, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let place = face.place("/sessions");
    let body = body.unwrap_or_default();
    let properties = properties(Fields(&body), face.settings()).map_err(|error| place.field(error))?;
    let op = Op::SessionCreate(properties);
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Session(view) => Ok(show(&face, &view, Pending::Hidden)),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// `GET /sessions`.
pub async fn list(State(face): State<Face>, uri: Uri) -> Result<Response, ApiError> {
    let place = face.place("/sessions");
    let pending = pending(&uri, Pending::Hidden)?;
    flag(&uri, "webRtcStats", false)?;
    match face.core().query(Actor::App, Query::Sessions).await.map_err(|error| place.call(&error))? {
        Reply::Sessions(views) => {
            let url = face.settings().websocket_url();
            let style = face.style(&url);
            let shown: Vec<Value> = views.iter().map(|view| style.session(view, pending)).collect();
            Ok(Json(json::list(shown)).into_response())
        }
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// `GET /sessions/<id>`.
pub async fn read(
    State(face): State<Face>,
    Path(session): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let place = face.place("/sessions");
    let pending = pending(&uri, Pending::Hidden)?;
    flag(&uri, "webRtcStats", false)?;
    let query = Query::Session { session };
    match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Session(view) => Ok(show(&face, &view, pending)),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// `DELETE /sessions/<id>`.
pub async fn delete(State(face): State<Face>, Path(session): Path<String>) -> Result<Response, ApiError> {
    let place = face.place("/sessions");
    let op = Op::SessionDelete { session };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// `DELETE /sessions/<id>/stream/<stream>`.
pub async fn unpublish(
    State(face): State<Face>,
    Path((session, stream)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let place = face.place("/sessions");
    let op = Op::StreamDelete { session, stream };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Reply::Refused(crate::cluster::op::Refusal::SessionNotActive) => {
            Err(ApiError::Empty(StatusCode::NOT_FOUND))
        }
        other => Err(place.unexpected(&other, StatusCode::BAD_REQUEST)),
    }
}

/// `POST /signal`, by the application.
pub async fn signal(State(face): State<Face>, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let place = face.place("/signal");
    let body = body.ok_or(ApiError::Framework(StatusCode::BAD_REQUEST))?;
    let op = signal_op(Fields(&body)).map_err(|error| place.field(error))?;
    let Some(op) = op else { return Err(ApiError::Empty(StatusCode::NOT_ACCEPTABLE)) };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Done => Ok(StatusCode::OK.into_response()),
        Reply::Refused(crate::cluster::op::Refusal::UnknownConnection) => {
            Err(ApiError::Empty(StatusCode::NOT_ACCEPTABLE))
        }
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// The operation of a signal; none when a receiver is null.
fn signal_op(fields: Fields<'_>) -> Result<Option<Op>, FieldError> {
    let session = fields.string("session")?;
    let kind = fields.string("type")?.unwrap_or_default().to_owned();
    let data = fields.string("data")?.unwrap_or_default().to_owned();
    let mut to = Vec::new();
    for receiver in fields.array("to")?.unwrap_or_default() {
        match receiver {
            Value::Null => return Ok(None),
            Value::String(receiver) => to.push(receiver.clone()),
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(super::fields::wrong("to", "an array of strings"));
            }
        }
    }
    let session = session.ok_or_else(|| FieldError("Parameter 'session' is mandatory".to_owned()))?;
    Ok(Some(Op::Signal { session: Some(session.to_owned()), to, kind, data }))
}

fn show(face: &Face, view: &SessionView, pending: Pending) -> Response {
    let url = face.settings().websocket_url();
    Json(face.style(&url).session(view, pending)).into_response()
}

/// Checks in OpenVidu's order: all types, then the values.
fn properties(fields: Fields<'_>, settings: &HttpSettings) -> Result<SessionProperties, FieldError> {
    let media_mode = fields.string("mediaMode")?;
    let recording_mode = fields.string("recordingMode")?;
    let custom_id = fields.string("customSessionId")?.filter(|id| !id.is_empty());
    let codec = fields.string("forcedVideoCodec")?;
    let transcoding = fields.boolean("allowTranscoding")?;

    let codec = codec.unwrap_or(&settings.forced_video_codec);
    if !CODECS.contains(&codec) {
        return Err(undefined("forcedVideoCodec", codec));
    }
    let record_always =
        recording::one_of("recordingMode", recording_mode, &["MANUAL", "ALWAYS"])? == "ALWAYS";
    let relayed = recording::one_of("mediaMode", media_mode, &["ROUTED", "RELAYED"])? == "RELAYED";
    if let Some(id) = custom_id {
        check_custom_id(id)?;
    }
    let recording = recording::complete(fields.object("defaultRecordingProperties")?)?;
    let media_node = recording::media_node(&fields)?;
    Ok(SessionProperties {
        custom_id: custom_id.map(str::to_owned),
        relayed,
        record_always,
        forced_video_codec: codec.to_owned(),
        allow_transcoding: transcoding.unwrap_or(settings.allow_transcoding),
        default_recording: recording,
        media_node,
    })
}

fn check_custom_id(id: &str) -> Result<(), FieldError> {
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
        return Err(FieldError("Parameter 'customSessionId' is wrong. Must match [a-zA-Z0-9_-]+".to_owned()));
    }
    if id.len() > CUSTOM_ID_BYTES_MAX {
        return Err(FieldError(format!("Parameter 'customSessionId' is longer than {CUSTOM_ID_BYTES_MAX}")));
    }
    Ok(())
}

/// Values of `forcedVideoCodec`.
pub const CODECS: [&str; 5] = ["MEDIA_SERVER_PREFERRED", "NONE", "VP8", "VP9", "H264"];

/// A session's name becomes a folder of recordings (255 bytes at most, with room for a suffix).
const CUSTOM_ID_BYTES_MAX: usize = 200;
