//! Control plane of Plenum. See ARCHITECTURE.md.

pub mod cluster;
pub mod limits;
pub mod link;
pub mod placement;
pub mod store;
