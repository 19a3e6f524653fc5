//! Shell: HTTP handlers.
//!
//! `/openvidu/api/recordings`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::body::JsonBody;
use super::error::{ApiError, Place};
use super::fields::{FieldError, Fields};
use super::recording::{Flavour, PropertyError, requested};
use super::{Edition, Face};
use crate::cluster::op::{Actor, Op, Query, RecordingProperties, RecordingView, Refusal, Reply, SessionView};
use crate::cluster::recording::text;

/// `POST /recordings/start`. Answered when the recording really runs.
pub async fn start(State(face): State<Face>, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    // OpenVidu's place for errors of this endpoint.
    let place = face.place("/sessions");
    let body = body.ok_or(ApiError::Framework(StatusCode::BAD_REQUEST))?;
    must_be_enabled(&face)?;
    let fields = Fields(&body);
    let session = fields.string("session").map_err(|error| place.field(error))?;
    let session =
        session.ok_or_else(|| place.field(FieldError("Parameter 'session' is mandatory".to_owned())))?;
    let query = Query::Session { session: session.to_owned() };
    let view = match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Session(view) => view,
        other => return Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    };
    must_be_recordable(&view)?;
    let properties = properties(fields, &view.properties.default_recording, &place)?;
    let op = Op::RecordingStart { session: session.to_owned(), properties: Some(Box::new(properties)) };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Recording(view) => Ok(show(&face, &view)),
        Reply::Refused(refusal) => Err(not_started(&refusal, &place)),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// What the core checks once more, here before the rest of the body is looked at.
fn must_be_recordable(view: &SessionView) -> Result<(), ApiError> {
    if view.properties.relayed || view.recording {
        return Err(ApiError::Empty(StatusCode::CONFLICT));
    }
    let is_empty = view.connections.iter().all(|connection| connection.active_at.is_none());
    if !view.active || is_empty {
        return Err(ApiError::Empty(StatusCode::NOT_ACCEPTABLE));
    }
    Ok(())
}

fn properties(
    fields: Fields<'_>,
    defaults: &RecordingProperties,
    place: &Place,
) -> Result<RecordingProperties, ApiError> {
    requested(fields, defaults, Flavour::Default).map_err(|error| match error {
        PropertyError::Bad(error) => place.field(error),
        PropertyError::Unprocessable(error) => place.described(StatusCode::UNPROCESSABLE_ENTITY, error.0),
    })
}

fn not_started(refusal: &Refusal, place: &Place) -> ApiError {
    let text = |why: &str| format!("Error starting recording: {why}");
    match refusal {
        Refusal::NoRecorder { why } => ApiError::Text(StatusCode::SERVICE_UNAVAILABLE, text(why)),
        Refusal::RecordingFailed { why } => ApiError::Text(StatusCode::INTERNAL_SERVER_ERROR, text(why)),
        Refusal::UnknownNode => {
            place.described(StatusCode::BAD_REQUEST, "The Media Node of 'mediaNode' does not exist")
        }
        other => place.refusal(other, StatusCode::NOT_FOUND),
    }
}

/// `POST /recordings/stop/<id>`. A body is ignored.
pub async fn stop(State(face): State<Face>, Path(recording): Path<String>) -> Result<Response, ApiError> {
    let place = face.place("/recordings/stop");
    must_be_enabled(&face)?;
    // OpenVidu CE answers with complete files, the others at once.
    let wait = face.settings().edition == Edition::Ce;
    let op = Op::RecordingStop { recording, wait };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Recording(view) => Ok(show(&face, &view)),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// `GET /recordings`.
pub async fn list(State(face): State<Face>) -> Result<Response, ApiError> {
    let place = face.place("/recordings");
    must_be_enabled(&face)?;
    match face.core().query(Actor::App, Query::Recordings).await.map_err(|error| place.call(&error))? {
        Reply::Recordings(views) => {
            let prefix = face.settings().recordings_url();
            let items: Vec<Value> =
                views.iter().map(|view| Value::Object(text::object(view, &prefix))).collect();
            Ok(Json(json!({ "count": items.len(), "items": items })).into_response())
        }
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// `GET /recordings/<id>`.
pub async fn read(State(face): State<Face>, Path(recording): Path<String>) -> Result<Response, ApiError> {
    let place = face.place("/recordings");
    must_be_enabled(&face)?;
    let query = Query::Recording { recording };
    match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Recording(view) => Ok(show(&face, &view)),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// `DELETE /recordings/<id>`.
pub async fn delete(State(face): State<Face>, Path(recording): Path<String>) -> Result<Response, ApiError> {
    let place = face.place("/recordings");
    must_be_enabled(&face)?;
    let op = Op::RecordingDelete { recording };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Reply::Refused(Refusal::RecordingFailed { why }) => {
            Err(ApiError::Text(StatusCode::INTERNAL_SERVER_ERROR, format!("Error deleting recording: {why}")))
        }
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

/// 501 without recordings.
fn must_be_enabled(face: &Face) -> Result<(), ApiError> {
    if face.settings().recordings.enabled {
        Ok(())
    } else {
        Err(ApiError::Empty(StatusCode::NOT_IMPLEMENTED))
    }
}

fn show(face: &Face, view: &RecordingView) -> Response {
    let object = text::object(view, &face.settings().recordings_url());
    ([(header::CONTENT_TYPE, "application/json")], Json(Value::Object(object))).into_response()
}
