//! Pure: no clock, no I/O, no async.
//!
//! Every bound of the system with its unit, its reason and where it is enforced.

/// Bytes of one frame on a link between daemons. An SDP is at most [`SDP_BYTES_MAX`], an inventory is chunked.
/// Enforced in `wire::frame`.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;

/// Bytes of an SDP. Chromium's full offer is 8 kB; 64 slots with every codec reach 200 kB. Enforced by masterd's
/// HTTP face and again by mediad's negotiator.
pub const SDP_BYTES_MAX: usize = 256 * 1024;

/// Audio or video sections of one endpoint that plays a session. Enforced by mediad's negotiator.
pub const SLOTS_PER_ENDPOINT_MAX: usize = 64;

/// ICE candidates of one client that are kept; more are ignored (RFC 8838 sets none, browsers gather < 30).
/// Enforced by mediad's negotiator and its trickle handler.
pub const REMOTE_CANDIDATES_MAX: usize = 32;

/// Ordered lanes of commands to one node; a session always uses the same one.
pub const LANES: u16 = 16;

/// Commands that may wait for one node; more fail at once, the node is then overloaded. Enforced by masterd's link.
pub const COMMANDS_PER_NODE_MAX: usize = 4096;

const _: () = assert!(SDP_BYTES_MAX + 4096 <= FRAME_BYTES_MAX, "an SDP fits into a frame");
