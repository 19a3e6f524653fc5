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

/// Bytes that a peer may send ahead on one QUIC stream, and a quarter of what it may on all. A whole frame fits, so
/// that a reader never waits for a writer that waits for credit. Enforced in `net::quic`.
pub const QUIC_STREAM_WINDOW_BYTES: u32 = 512 * 1024 + 4;

/// Wanted bytes of a UDP socket's buffers: 1,000 handshakes at once failed with the usual 208 kB. `net::quic`.
pub const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// QUIC handshakes in progress at a master; others wait. One costs 0.7 ms of CPU. Enforced by masterd's link.
pub const HANDSHAKES_MAX: usize = 64;

/// Enrolments in progress at a master: their peers are strangers. More are told to come back. Enforced by masterd's
/// link.
pub const ENROLMENTS_MAX: usize = 64;

/// Consoles at one master; each costs its windows once a second. Enforced by masterd's link.
pub const CONSOLES_MAX: usize = 64;

/// Subscriptions of one console: its windows that show. Enforced by masterd's link.
pub const SUBSCRIPTIONS_PER_CONSOLE_MAX: usize = 128;

/// Operations of one console at one time. Enforced by masterd's link.
pub const OPERATIONS_PER_CONSOLE_MAX: usize = 16;

/// Connections that wait for a handshake at a master; more are refused. Enforced by masterd's link.
pub const HANDSHAKES_WAITING_MAX: usize = 4096;

/// Commands that may wait at a node for being taken up; more are answered `Busy`. Enforced in `net::node_link`.
pub const COMMANDS_WAITING_MAX: usize = 1024;

/// Results of commands that a node remembers for repeated ones, and their bytes. A master repeats a command within
/// seconds. Enforced in `net::node_link`.
pub const RESULTS_KEPT_MAX: usize = 4096;

/// Datagrams with numbers of watched sessions that wait for the link; older ones are dropped. `net::node_link`.
pub const STATS_WAITING_MAX: usize = 2048;

/// Bytes of all kept results. Enforced in `net::node_link`.
pub const RESULTS_KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Events that a node keeps for a master that is away; then the oldest go: the inventory after the next connect
/// tells the present state anyway. Enforced in `net::node_link`.
pub const EVENTS_KEPT_MAX: usize = 16 * 1024;

/// Endpoints or sessions in one chunk of an inventory; 60 bytes each. Enforced in `net::node_link`.
pub const INVENTORY_CHUNK_MAX: usize = 4096;

/// Tracks that one recorder receives of one session at a time. Enforced in `net::quic` and by mediad's tap.
pub const MEDIA_TRACKS_MAX: u32 = 512;

/// Bytes of one track that are on their way to a recorder: a second of 2 Mbit/s. Enforced in `net::quic`.
pub const MEDIA_STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes of all tracks of a session that are on their way to a recorder. Enforced in `net::quic`.
pub const MEDIA_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Events of a tap that wait in a recorder; each holds at most one record of 64 kB. Enforced in `net::media_link`.
pub const MEDIA_EVENTS_MAX: usize = 64;

/// Files that a recorder sends to its master at a time; more wait. Enforced in `net::node_link`.
pub const FILES_MAX: usize = 8;

const _: () =
    assert!(FRAME_BYTES_MAX < QUIC_STREAM_WINDOW_BYTES as usize, "a frame fits into a stream's window");
const _: () = assert!(INVENTORY_CHUNK_MAX * 100 <= FRAME_BYTES_MAX, "a chunk fits into a frame");
