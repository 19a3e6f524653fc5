//! Shell: accepts WebSockets.
//!
//! OpenVidu 2's signalling face: JSON-RPC 2.0 over a WebSocket at `/openvidu`, as the unmodified `openvidu-browser`
//! library speaks it. What a client asks becomes the core's operations, what happens in its session becomes
//! notifications; a socket keeps no state that a resumed one would need, but the position that its client has seen.
//!
//! - [`rpc`]: frames; [`request`]: methods and their parameters; [`fault`]: error codes; [`show`]: results and
//!   notifications (all pure);
//! - [`socket`]: one task for each socket.

pub mod fault;
pub mod request;
pub mod rpc;
pub mod show;
pub mod socket;
#[cfg(test)]
mod tests;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};

use crate::http::{Face, Peer};

/// `GET /openvidu`: becomes a WebSocket. Any origin may: the token comes later, in `joinRoom`.
pub async fn accept(
    State(face): State<Face>,
    Extension(peer): Extension<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => upgrade
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_message_size(FRAME_BYTES_MAX)
            .on_upgrade(move |socket| socket::run(face, peer.0, socket)),
        Err(rejection) => rejection.into_response(),
    }
}

/// Bytes of one message of a client: an SDP of 20 kB is usual, one with every codec of many sections is below 256 kB.
pub const FRAME_BYTES_MAX: usize = common::limits::SDP_BYTES_MAX + 64 * 1024;

/// Each socket has such a buffer for as long as it lives; the default of 128 KiB would be 1.3 GB for 10,000 sockets.
const READ_BUFFER_BYTES: usize = 4 * 1024;
