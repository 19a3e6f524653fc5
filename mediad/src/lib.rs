//! Media node of Plenum: a selective forwarding unit. See ARCHITECTURE.md.

pub mod transport;
pub mod worker;
