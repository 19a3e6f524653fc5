//! Control plane of Plenum. See ARCHITECTURE.md.

pub mod app;
pub mod args;
pub mod clock;
pub mod cluster;
pub mod config;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other wake-up or reply than the awaited ones is handled alike"
)]
pub mod driver;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a reply other than the expected one is one bug, whichever it is"
)]
pub mod http;
pub mod limits;
pub mod link;
pub mod observe;
pub mod operator;
pub mod placement;
pub mod store;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a reply other than the expected one is one bug, whichever it is"
)]
pub mod ws;
