//! Test harness of Plenum: real daemons on loopback, clients, and the load tool.
//!
//! - [`cluster`] starts masterd, mediad and recorderd from generated configs in a temporary folder and ends them again.
//! - [`http`] talks to them; [`wait`] waits for conditions with a deadline.
//! - [`browser`] runs page scripts in real browsers.
//! - [`call`] tells calls through real browsers.
//! - [`mod@bench`] measures what docs/performance.md reports.
//! - [`load`] is the load tool as a library; `plenum-load` is its command.
//! - [`sim`] is the seeded simulator of the cluster core.

pub mod bench;
pub mod browser;
pub mod call;
pub mod cluster;
pub mod http;
pub mod junk;
pub mod load;
pub mod sim;
pub mod wait;
