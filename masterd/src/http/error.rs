//! Shell: makes answers.
//!
//! Errors of the two faces. OpenVidu's API has two shapes: "described" (a JSON object) and empty. REST signalling
//! answers with `application/problem+json` (RFC 9457), whose `type` ends in a stable code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::wire::node::NodeError;
use serde_json::json;

use super::auth;
use super::fields::FieldError;
use crate::cluster::op::{Refusal, Reply};
use crate::driver::call::CallError;

/// Marks an answer that OpenVidu's framework would give, with its natural status; [`super::Service`] shapes it.
#[derive(Clone, Copy, Debug)]
pub struct Framework(pub StatusCode);

/// An error of OpenVidu's API.
#[derive(Clone, Debug)]
pub enum ApiError {
    /// Shape A.
    Described {
        /// Its status.
        status: StatusCode,
        /// For humans.
        message: String,
        /// Fixed for each endpoint.
        path: String,
        /// Milliseconds since 1970.
        timestamp: u64,
    },
    /// Shape B.
    Empty(StatusCode),
    /// What the framework answers.
    Framework(StatusCode),
    /// Plain text, which OpenVidu labels JSON.
    Text(StatusCode, String),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Described { status, message, path, timestamp } => {
                let body = json!({
                    "timestamp": timestamp,
                    "status": status.as_u16(),
                    "error": status.canonical_reason().unwrap_or_default(),
                    "message": message,
                    "path": path,
                });
                (status, Json(body)).into_response()
            }
            Self::Empty(status) => status.into_response(),
            Self::Framework(status) => framework(status),
            Self::Text(status, text) => {
                (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
            }
        }
    }
}

/// The framework's answer, to be shaped.
#[must_use]
pub fn framework(status: StatusCode) -> Response {
    let mut response = Problem::new(status, slug(status)).into_response();
    response.extensions_mut().insert(Framework(status));
    response
}

fn slug(status: StatusCode) -> &'static str {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
        StatusCode::NOT_FOUND => "not-found",
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
        _ => "bad-request",
    }
}

/// Where an error of OpenVidu's API happened: the fixed path and the time of its shape A.
#[derive(Clone, Debug)]
pub struct Place {
    /// Below `/openvidu/api`.
    pub path: String,
    /// Milliseconds since 1970.
    pub timestamp: u64,
}

impl Place {
    /// A described error.
    #[must_use]
    pub fn described(&self, status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError::Described {
            status,
            message: message.into(),
            path: self.path.clone(),
            timestamp: self.timestamp,
        }
    }

    /// 400 for a field.
    #[must_use]
    pub fn field(&self, error: FieldError) -> ApiError {
        self.described(StatusCode::BAD_REQUEST, error.0)
    }

    /// The core could not be asked.
    #[must_use]
    pub fn call(&self, error: &CallError) -> ApiError {
        self.described(call_status(error), error.to_string())
    }

    /// The core refused; `unknown` is this endpoint's status for an unknown session.
    #[must_use]
    pub fn refusal(&self, refusal: &Refusal, unknown_session: StatusCode) -> ApiError {
        match refusal {
            Refusal::UnknownSession => ApiError::Empty(unknown_session),
            Refusal::UnknownConnection
            | Refusal::UnknownNode
            | Refusal::UnknownRecording
            | Refusal::UnknownStream => ApiError::Empty(StatusCode::NOT_FOUND),
            Refusal::RecordingConflict | Refusal::RecordingRunning | Refusal::SessionExists(_) => {
                ApiError::Empty(StatusCode::CONFLICT)
            }
            Refusal::RecordingStarting | Refusal::SessionNotActive => {
                ApiError::Empty(StatusCode::NOT_ACCEPTABLE)
            }
            Refusal::AlreadyPublishing
            | Refusal::Limit { .. }
            | Refusal::Missed
            | Refusal::NoMediaNode { .. }
            | Refusal::NoRecorder { .. }
            | Refusal::Node(_)
            | Refusal::NodeSilent
            | Refusal::RecordingFailed { .. }
            | Refusal::Role
            | Refusal::StaleResource
            | Refusal::StoreFailing
            | Refusal::Token
            | Refusal::TooLong { .. }
            | Refusal::UnknownResource => self.described(refusal_status(refusal), refusal.to_string()),
        }
    }

    /// An answer of the core that does not fit the question.
    #[must_use]
    pub fn unexpected(&self, reply: &Reply, unknown_session: StatusCode) -> ApiError {
        match reply {
            Reply::Refused(refusal) => self.refusal(refusal, unknown_session),
            other => {
                tracing::error!(reply = kind_of(other), "the core answered another question");
                self.described(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
        }
    }
}

fn kind_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Connection(_) => "connection",
        Reply::Decisions(_) => "decisions",
        Reply::Done => "done",
        Reply::Endpoint(_) => "endpoint",
        Reply::Fragment { .. } => "fragment",
        Reply::Joined(_) => "joined",
        Reply::Feed(..) => "feed",
        Reply::Listing(_) => "listing",
        Reply::NodeDetail(_) => "node detail",
        Reply::Nodes(_) => "nodes",
        Reply::Operation(_) => "operation",
        Reply::Own { .. } => "own",
        Reply::Recording(_) => "recording",
        Reply::Recordings(_) => "recordings",
        Reply::Refused(_) => "refused",
        Reply::Resumed { .. } => "resumed",
        Reply::Rows(_) => "rows",
        Reply::Session(_) => "session",
        Reply::SessionParts(_) => "session parts",
        Reply::Sessions(_) => "sessions",
        Reply::Stats(_) => "stats",
        Reply::Watching { .. } => "watching",
    }
}

fn call_status(error: &CallError) -> StatusCode {
    match error {
        CallError::Busy | CallError::Ending | CallError::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
        CallError::Late(_) => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::AlreadyPublishing
        | Refusal::Missed
        | Refusal::RecordingConflict
        | Refusal::RecordingRunning
        | Refusal::RecordingStarting
        | Refusal::SessionExists(_)
        | Refusal::SessionNotActive => StatusCode::CONFLICT,
        Refusal::Limit { .. }
        | Refusal::NoMediaNode { .. }
        | Refusal::NoRecorder { .. }
        | Refusal::StoreFailing => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::RecordingFailed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::Node(error) => node_status(error),
        Refusal::NodeSilent => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Role => StatusCode::FORBIDDEN,
        Refusal::StaleResource => StatusCode::PRECONDITION_FAILED,
        Refusal::Token => StatusCode::UNAUTHORIZED,
        Refusal::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::UnknownConnection
        | Refusal::UnknownNode
        | Refusal::UnknownRecording
        | Refusal::UnknownResource
        | Refusal::UnknownSession
        | Refusal::UnknownStream => StatusCode::NOT_FOUND,
    }
}

fn node_status(error: &NodeError) -> StatusCode {
    match error {
        NodeError::InvalidSdp { .. } => StatusCode::BAD_REQUEST,
        NodeError::NoCodec { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        NodeError::UnknownEndpoint
        | NodeError::UnknownRecording
        | NodeError::UnknownSession
        | NodeError::UnknownStream => StatusCode::NOT_FOUND,
        NodeError::Busy
        | NodeError::Draining
        | NodeError::Expired
        | NodeError::Limit { .. }
        | NodeError::Refused { .. }
        | NodeError::StaleEpoch(_)
        | NodeError::StaleGeneration(_) => StatusCode::SERVICE_UNAVAILABLE,
        NodeError::Internal { .. } | NodeError::Unsupported => StatusCode::BAD_GATEWAY,
    }
}

fn refusal_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::AlreadyPublishing => "already-publishing",
        Refusal::Limit { .. } => "limit",
        Refusal::Missed => "missed",
        Refusal::NoMediaNode { .. } => "no-media-node",
        Refusal::NoRecorder { .. } => "no-recorder",
        Refusal::Node(NodeError::InvalidSdp { .. }) => "invalid-sdp",
        Refusal::Node(NodeError::NoCodec { .. }) => "no-codec",
        Refusal::Node(_) => "media-node",
        Refusal::NodeSilent => "media-node-silent",
        Refusal::RecordingConflict => "recording-conflict",
        Refusal::RecordingFailed { .. } => "recording-failed",
        Refusal::RecordingRunning => "recording-running",
        Refusal::RecordingStarting => "recording-starting",
        Refusal::Role => "role",
        Refusal::SessionExists(_) => "session-exists",
        Refusal::SessionNotActive => "session-not-active",
        Refusal::StaleResource => "stale-resource",
        Refusal::StoreFailing => "storage",
        Refusal::Token => "invalid-token",
        Refusal::TooLong { .. } => "too-large",
        Refusal::UnknownConnection => "unknown-connection",
        Refusal::UnknownNode => "unknown-node",
        Refusal::UnknownRecording => "unknown-recording",
        Refusal::UnknownResource => "unknown-resource",
        Refusal::UnknownSession => "unknown-session",
        Refusal::UnknownStream => "unknown-stream",
    }
}

/// An error of REST signalling (RFC 9457).
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Option<String>,
}

impl Problem {
    /// `code` is stable and public.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str) -> Self {
        Self { status, code, detail: None }
    }

    /// What is the matter, for humans.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// 400 for a field.
    #[must_use]
    pub fn field(error: FieldError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request").detail(error.0)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:plenum:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let code = match &error {
            CallError::Busy => "busy",
            CallError::Ending => "shutting-down",
            CallError::Late(_) => "late",
            CallError::Storage(_) => "storage",
        };
        Self::new(call_status(&error), code).detail(error.to_string())
    }
}

/// An answer of the core to a participant that is no success.
#[must_use]
pub fn refused(reply: &Reply) -> Response {
    match reply {
        Reply::Refused(Refusal::Token) => auth::unauthorized(
            ", error=\"invalid_token\"",
            "the token is not valid: used up, revoked or unknown",
        ),
        Reply::Refused(refusal) => {
            let problem = Problem::new(refusal_status(refusal), refusal_code(refusal));
            problem.detail(refusal.to_string()).into_response()
        }
        other => {
            tracing::error!(reply = kind_of(other), "the core answered another question");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal").into_response()
        }
    }
}
