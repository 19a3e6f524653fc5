//! Shell: HTTP handlers.
//!
//! Plenum's own additions below `/plenum/api`: why a session runs where it runs, nodes in full, counters. They have
//! paths of their own so that OpenVidu's objects keep their exact keys.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::Face;
use super::error::{ApiError, Place};
use super::json::{list, node_in_full, rounded};
use crate::cluster::op::{Actor, DecisionView, Query, Reply};

/// `GET /plenum/api/sessions/<id>/placement`: the session's decisions, newest first.
pub async fn of_session(State(face): State<Face>, Path(session): Path<String>) -> Result<Response, ApiError> {
    decisions(&face, Some(session)).await
}

/// `GET /plenum/api/placement`: the newest decisions.
pub async fn all(State(face): State<Face>) -> Result<Response, ApiError> {
    decisions(&face, None).await
}

/// `GET /plenum/api/nodes`: media nodes and recorders with their newest reports.
pub async fn nodes(State(face): State<Face>) -> Result<Response, ApiError> {
    let nodes = super::nodes::query(&face, Query::Nodes, &place(&face)).await?;
    Ok(Json(list(nodes.iter().map(node_in_full).collect())).into_response())
}

/// `GET /plenum/api/stats`: the core's counters.
pub async fn stats(State(face): State<Face>) -> Result<Response, ApiError> {
    let place = place(&face);
    match face.core().query(Actor::App, Query::Stats).await.map_err(|error| place.call(&error))? {
        Reply::Stats(numbers) => {
            let map: Map<String, Value> =
                numbers.into_iter().map(|(name, number)| (name.to_owned(), json!(number))).collect();
            Ok(Json(map).into_response())
        }
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

async fn decisions(face: &Face, session: Option<String>) -> Result<Response, ApiError> {
    let place = place(face);
    let query = Query::Decisions { session };
    match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Decisions(decisions) => {
            Ok(Json(list(decisions.iter().map(decision).collect())).into_response())
        }
        other => Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    }
}

fn place(face: &Face) -> Place {
    Place { path: "/plenum/api".to_owned(), timestamp: face.clock().now().unix }
}

fn decision(view: &DecisionView) -> Value {
    let verdicts: Vec<Value> = view
        .verdicts
        .iter()
        .map(|(node, score, why)| json!({ "mediaNodeId": node, "score": score.map(rounded), "why": why }))
        .collect();
    json!({
        "id": view.key.to_string(),
        "timestamp": view.at,
        "sessionId": view.session,
        "mediaNodeId": view.chosen,
        "verdicts": verdicts,
    })
}
