//! Control plane of Plenum. See ARCHITECTURE.md.

pub mod cluster;
pub mod link;
pub mod store;
