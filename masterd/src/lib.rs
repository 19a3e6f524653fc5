//! Control plane of Plenum. See ARCHITECTURE.md.

pub mod cluster;
pub mod store;
