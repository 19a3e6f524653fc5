//! What crosses a process boundary in Plenum: ids, units, limits, wire messages; with the feature `net` also
//! configuration, telemetry, QUIC, TLS and enrolment.

pub mod id;
pub mod limits;
pub mod wire;
