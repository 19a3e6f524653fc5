//! Wire: OpenVidu's error codes.

use common::wire::node::NodeError;

use crate::cluster::op::{Refusal, Reply};
use crate::driver::call::CallError;

/// An error response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// OpenVidu's code, or JSON-RPC's below -32000.
    pub code: i32,
    /// For the application's developer.
    pub message: String,
}

impl Fault {
    /// With a code and a text.
    #[must_use]
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A parameter is missing or not as it should be.
    #[must_use]
    pub fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// The method does not exist.
    #[must_use]
    pub fn method(name: &str) -> Self {
        Self::new(-32601, format!("unknown method '{name}'"))
    }

    /// The core could not be asked.
    #[must_use]
    pub fn call(error: &CallError) -> Self {
        Self::new(GENERIC, error.to_string())
    }

    /// The core's answer to `task` is not what it should be.
    #[must_use]
    pub fn of(task: Task, reply: &Reply) -> Self {
        match reply {
            Reply::Refused(refusal) => Self::new(code(task, refusal), text(task, refusal)),
            _ => {
                tracing::error!(?task, "the core answered another question");
                Self::new(GENERIC, "internal error")
            }
        }
    }
}

/// What was asked for: some refusals have another code in another place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// `joinRoom`.
    Join,
    /// `connect`.
    Connect,
    /// `sendMessage`.
    Signal,
    /// Whatever is about streams.
    Stream,
    /// Everything else.
    Other,
}

fn code(task: Task, refusal: &Refusal) -> i32 {
    match (task, refusal) {
        (Task::Connect, _) => RECONNECTION,
        (Task::Join, Refusal::UnknownSession) => SESSION_UNKNOWN,
        (Task::Join, Refusal::NoMediaNode { .. } | Refusal::Node(_) | Refusal::NodeSilent) => 204,
        (Task::Join, Refusal::Limit { .. }) => 500,
        (Task::Signal, Refusal::UnknownConnection) => 601,
        (_, Refusal::AlreadyPublishing) => 106,
        (_, Refusal::Node(NodeError::NoCodec { .. })) => 800,
        (_, Refusal::Node(NodeError::InvalidSdp { .. })) => 302,
        (_, Refusal::Node(_) | Refusal::NodeSilent | Refusal::UnknownResource) => 303,
        (_, Refusal::Role | Refusal::Token) => UNAUTHORIZED,
        (_, Refusal::UnknownConnection) => 102,
        (_, Refusal::UnknownSession) => SESSION_UNKNOWN,
        (_, Refusal::UnknownStream) => NOT_STREAMING,
        (_, _) => GENERIC,
    }
}

fn text(task: Task, refusal: &Refusal) -> String {
    match (task, refusal) {
        (Task::Connect, _) => "reconnection error".to_owned(),
        (_, refusal) => refusal.to_string(),
    }
}

/// Not streaming.
pub const NOT_STREAMING: i32 = 105;

/// Session unknown.
pub const SESSION_UNKNOWN: i32 = 202;

/// The token is not valid, or the role does not allow it.
pub const UNAUTHORIZED: i32 = 401;

/// A filter cannot be applied.
pub const FILTER: i32 = 406;

/// A signal is not JSON.
pub const SIGNAL_FORMAT: i32 = 600;

/// Nobody has joined on this socket.
pub const NOT_JOINED: i32 = 803;

/// A feature of another edition.
pub const EDITION: i32 = 997;

/// Anything else.
pub const GENERIC: i32 = 999;

/// The signalling of a lost socket is not known any more.
pub const RECONNECTION: i32 = 40007;
