//! Control plane of Plenum. See ARCHITECTURE.md.

pub mod app;
pub mod args;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod driver;
pub mod http;
pub mod limits;
pub mod link;
pub mod observe;
pub mod placement;
pub mod store;
