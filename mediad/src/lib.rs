//! Media node of Plenum: a selective forwarding unit. See ARCHITECTURE.md.

pub mod cold;
pub mod config;
pub mod control;
pub mod demux;
pub mod load;
pub mod transport;
pub mod worker;
