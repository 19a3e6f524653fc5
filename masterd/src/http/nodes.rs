//! Shell: HTTP handlers.
//!
//! `/openvidu/api/media-nodes` and `/openvidu/api/health`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::body::JsonBody;
use super::error::{ApiError, Place};
use super::fields::{FieldError, Fields};
use super::json::{self, NodeExtras, Pending};
use super::sessions::flag;
use super::{Edition, Face};
use crate::cluster::op::{Actor, NodeView, Op, Query, Reply, SessionView};

/// `GET /media-nodes`.
pub async fn list(State(face): State<Face>, uri: Uri) -> Result<Response, ApiError> {
    exists_in_edition(&face)?;
    let place = face.place("/media-nodes");
    let show = Show::of(&uri)?;
    let nodes = query(&face, Query::Nodes, &place).await?;
    let sessions = show.sessions(&face, &place).await?;
    let shown = nodes.iter().filter(|node| !node.recorder);
    let content: Vec<Value> = shown.map(|node| show.node(&face, node, sessions.as_deref())).collect();
    Ok(Json(json::list(content)).into_response())
}

/// `GET /media-nodes/<id>`.
pub async fn read(
    State(face): State<Face>,
    Path(node): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    exists_in_edition(&face)?;
    let place = face.place("/media-nodes");
    let show = Show::of(&uri)?;
    let nodes = query(&face, Query::Node { node }, &place).await?;
    let sessions = show.sessions(&face, &place).await?;
    match nodes.first() {
        Some(node) if !node.recorder => Ok(Json(show.node(&face, node, sessions.as_deref())).into_response()),
        Some(_) | None => Err(ApiError::Empty(StatusCode::NOT_FOUND)),
    }
}

/// `PATCH /media-nodes/<id>`: parks a node in `waiting-idle-to-terminate`, or takes it back to `running`.
pub async fn change(
    State(face): State<Face>,
    Path(node): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    exists_in_edition(&face)?;
    let place = face.place("/media-nodes");
    let body = body.ok_or(ApiError::Framework(StatusCode::BAD_REQUEST))?;
    let before = query(&face, Query::Node { node: node.clone() }, &place).await?;
    let before =
        before.first().filter(|node| !node.recorder).ok_or(ApiError::Empty(StatusCode::NOT_FOUND))?;
    let wanted = Fields(&body).string("status").map_err(|error| place.field(error))?;
    let wanted =
        wanted.ok_or_else(|| place.field(FieldError("Parameter 'status' is mandatory".to_owned())))?;
    let from = json::status(before.status);
    let on = match (from, wanted) {
        (from, wanted) if from == wanted => return Ok(StatusCode::NO_CONTENT.into_response()),
        ("running", "waiting-idle-to-terminate") => true,
        ("waiting-idle-to-terminate", "running") => false,
        _ => {
            return Err(
                place.field(FieldError(format!("A Media Node cannot go from '{from}' to '{wanted}'")))
            );
        }
    };
    let op = Op::NodeDrain { node: node.clone(), on };
    match face.core().op(Actor::App, op).await.map_err(|error| place.call(&error))? {
        Reply::Done => {}
        other => return Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
    let after = query(&face, Query::Node { node }, &place).await?;
    let after = after.first().ok_or(ApiError::Empty(StatusCode::NOT_FOUND))?;
    Ok(Json(json::node(after, &NodeExtras::default())).into_response())
}

/// `GET /health`.
pub async fn health(State(face): State<Face>) -> Result<Response, ApiError> {
    exists_in_edition(&face)?;
    let place = face.place("/health");
    let nodes = query(&face, Query::Nodes, &place).await?;
    let (connected, cut): (Vec<_>, Vec<_>) =
        nodes.iter().filter(|node| !node.recorder).partition(|node| node.connected);
    let (status, code) = match (connected.is_empty(), cut.is_empty()) {
        (true, _) => ("DOWN", StatusCode::SERVICE_UNAVAILABLE),
        (false, true) => ("UP", StatusCode::OK),
        (false, false) => ("UNSTABLE", StatusCode::CONFLICT),
    };
    let ids: Vec<&str> = cut.iter().map(|node| node.id.as_str()).collect();
    Ok((code, Json(json!({ "status": status, "disconnectedMediaNodes": ids }))).into_response())
}

/// CE has no cluster.
fn exists_in_edition(face: &Face) -> Result<(), ApiError> {
    match face.settings().edition {
        Edition::Ce => Err(ApiError::Framework(StatusCode::NOT_FOUND)),
        Edition::Enterprise | Edition::Pro => Ok(()),
    }
}

pub(super) async fn query(face: &Face, query: Query, place: &Place) -> Result<Vec<NodeView>, ApiError> {
    match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Nodes(nodes) => Ok(nodes),
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

#[derive(Clone, Copy, Debug)]
struct Show {
    sessions: bool,
    recordings: bool,
    engine: bool,
}

impl Show {
    fn of(uri: &Uri) -> Result<Self, ApiError> {
        Ok(Self {
            sessions: flag(uri, "sessions", false)?,
            recordings: flag(uri, "recordings", false)?,
            engine: flag(uri, "extra-info", false)?,
        })
    }

    async fn sessions(self, face: &Face, place: &Place) -> Result<Option<Vec<SessionView>>, ApiError> {
        if !self.sessions {
            return Ok(None);
        }
        match face.core().query(Actor::App, Query::Sessions).await.map_err(|error| place.call(&error))? {
            Reply::Sessions(sessions) => Ok(Some(sessions)),
            other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
        }
    }

    fn node(self, face: &Face, node: &NodeView, sessions: Option<&[SessionView]>) -> Value {
        let url = face.settings().websocket_url();
        let style = face.style(&url);
        let sessions = sessions.map(|sessions| {
            let here = sessions.iter().filter(|session| session.media_node.as_ref() == Some(&node.id));
            here.map(|session| style.session(session, Pending::Hidden)).collect()
        });
        json::node(node, &NodeExtras { sessions, recordings: self.recordings, engine: self.engine })
    }
}
