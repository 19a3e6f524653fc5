//! Media node of Plenum: a selective forwarding unit. See ARCHITECTURE.md.

pub mod app;
pub mod codec;
pub mod cold;
pub mod config;
pub mod control;
pub mod demux;
pub mod egress;
pub mod load;
pub mod node;
pub mod ring;
pub mod router;
pub mod rtcp;
pub mod rtp;
pub mod tap;
pub mod transport;
pub mod worker;
