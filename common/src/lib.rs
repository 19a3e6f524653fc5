//! What crosses a process boundary in Plenum: ids, units, limits, wire messages; with the feature `net` also
//! configuration, telemetry, QUIC, TLS and enrolment.

#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
pub mod exit;
pub mod id;
pub mod limits;
#[cfg(feature = "net")]
pub mod net;
pub mod operator;
#[cfg(feature = "net")]
pub mod telemetry;
pub mod units;
pub mod wire;
