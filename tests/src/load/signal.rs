//! Shell: dispatches to the HTTP clients of the servers.
//!
//! How a participant joins, leaves and what a room is, for each kind of server.

use crate::http::{HttpError, Response};

use super::janus::{Handle, Janus};
use super::plenum::Plenum;

/// Why signalling failed.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// The server refused.
    #[error("{what} was answered {status}: {body}")]
    Answer {
        /// What was asked.
        what: String,
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The exchange failed.
    #[error("request failed")]
    Http(#[from] HttpError),
    /// Janus refused.
    #[error("janus: {0}")]
    Janus(String),
}

impl SignalError {
    pub(super) fn answer(what: &str, response: &Response) -> Self {
        Self::Answer {
            what: what.to_owned(),
            status: response.status,
            body: response.text().chars().take(300).collect(),
        }
    }
}

/// An open media resource of Plenum.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Answer.
    pub sdp: String,
    /// Path of the resource.
    pub resource: String,
    /// `Authorization` header that may change it.
    pub bearer: String,
}

/// The server that is loaded.
#[derive(Clone, Debug)]
pub enum Server {
    /// A Plenum cluster.
    Plenum(Plenum),
    /// A Janus with VideoRoom.
    Janus(Janus),
}

/// One open room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Session name of Plenum.
    pub(super) name: String,
    /// Number of Janus' room.
    pub(super) number: u64,
    /// Keeps Janus' room.
    owner: Option<Handle>,
}

/// A participant's way out.
#[derive(Clone, Debug)]
pub(super) enum Exit {
    Plenum(Joined),
    Janus(Handle),
}

impl Server {
    pub(super) async fn open_room(
        &self,
        name: String,
        number: u64,
        publishers: u64,
    ) -> Result<Room, SignalError> {
        let owner = match self {
            Self::Plenum(plenum) => {
                plenum.open_session(&name).await?;
                None
            }
            Self::Janus(janus) => {
                let handle = janus.attach().await?;
                janus.create_room(handle, number, publishers).await?;
                Some(handle)
            }
        };
        Ok(Room { name, number, owner })
    }

    pub(super) async fn close_room(&self, room: &Room) -> Result<(), SignalError> {
        match (self, room.owner) {
            (Self::Plenum(plenum), _) => plenum.close_session(&room.name).await,
            (Self::Janus(janus), Some(handle)) => janus.leave(handle).await,
            (Self::Janus(_), None) => Ok(()),
        }
    }

    pub(super) async fn leave(&self, exit: &Exit) -> Result<(), SignalError> {
        match (self, exit) {
            (Self::Plenum(plenum), Exit::Plenum(joined)) => plenum.leave(joined).await,
            (Self::Janus(janus), Exit::Janus(handle)) => janus.leave(*handle).await,
            // Rooms and exits are made by the server that they are given back to.
            (Self::Plenum(_), Exit::Janus(_)) | (Self::Janus(_), Exit::Plenum(_)) => Ok(()),
        }
    }
}
