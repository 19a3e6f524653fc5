//! Pure: no clock, no I/O, no async.
//!
//! Every bound of masterd with its unit, its reason and where it is enforced. At a bound the core refuses with
//! `Refusal::Limit`, which names it.

/// Sessions, active or not. 100,000 with a handful of connections each are about 1 GB. `cluster/session.rs`.
pub const SESSIONS_MAX: usize = 100_000;

/// Connections of one session, pending ones included: slots of all are planned on every publish. `cluster/session.rs`.
pub const CONNECTIONS_PER_SESSION_MAX: usize = 2_000;

/// Media resources of one connection, opening ones included: one for each stream played alone. `cluster/endpoint.rs`.
pub const ENDPOINTS_PER_CONNECTION_MAX: usize = 128;

/// Event streams of one connection: tabs that were reloaded while the old stream was not yet noticed as gone.
/// `cluster/event.rs`.
pub const VIEWERS_PER_CONNECTION_MAX: usize = 8;

/// Event streams of all readers together. `cluster/event.rs`.
pub const VIEWERS_MAX: usize = 200_000;

/// Events of one session that are kept; 30 s of 600 events/s. Older ones go first. `cluster/event.rs`.
pub const EVENTS_PER_SESSION_MAX: usize = 20_000;

/// Bytes of the texts of a session's events that are kept: signals as long and as fast as they may be must not fill
/// memory and disk. `cluster/event.rs`.
pub const EVENT_BYTES_PER_SESSION_MAX: usize = 4 * 1024 * 1024;

/// Events that are kept over their time, so that a reader who was away for minutes in a quiet session misses nothing.
/// `cluster/event.rs`.
pub const EVENTS_PER_SESSION_MIN: usize = 64;

/// Events of the cluster's log (states of nodes, what operators did) that are kept over their time. `cluster/event.rs`.
pub const AUDIT_EVENTS_MIN: usize = 2_000;

/// Bytes of a signal's type and content. OpenVidu sets no bound; its browsers' socket takes 64 KiB messages.
/// `cluster/session.rs`.
pub const SIGNAL_BYTES_MAX: usize = 64 * 1024;

/// Named recipients of a signal. `cluster/session.rs`.
pub const SIGNAL_RECIPIENTS_MAX: usize = CONNECTIONS_PER_SESSION_MAX;

/// Bytes of a text that a client says of itself (client data, platform, video dimensions). `cluster/endpoint.rs`.
pub const CLIENT_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Bytes of what the application says of a connection. `cluster/session.rs`.
pub const SERVER_DATA_BYTES_MAX: usize = 64 * 1024;

/// Nodes of the cluster, lost ones that are not yet forgotten included. `cluster/node.rs`.
pub const NODES_MAX: usize = 2_000;

/// Entries of one node's inventory that are taken in; a node carries a few thousand. `cluster/reconcile.rs`.
pub const INVENTORY_MAX: usize = 500_000;

/// Placement decisions that are kept for reading. `cluster/place.rs`.
pub const DECISIONS_MAX: usize = 1_000;

/// Nodes whose verdict a decision keeps, best first. `cluster/place.rs`.
pub const VERDICTS_PER_DECISION_MAX: usize = 16;

/// Session name prefixes whose expected size is learned. `placement/learn.rs`.
pub const SIZE_PREFIXES_MAX: usize = 256;

/// Nodes that a join is tried on before it is refused. `cluster/place.rs`.
pub const PLACEMENT_ATTEMPTS_MAX: u8 = 3;

/// Commands that wait for one node; more joins are refused. Below the link's own bound. `cluster/endpoint.rs`.
pub const COMMANDS_PER_NODE_MAX: usize = common::limits::COMMANDS_PER_NODE_MAX / 2;

/// Recordings that are kept, finished ones included: some 600 bytes each. `cluster/recording.rs`.
pub const RECORDINGS_MAX: usize = 200_000;

/// Recorders that a recording is tried on before it has failed. `cluster/recording/job.rs`.
pub const RECORDERS_TRIED_MAX: usize = 3;
