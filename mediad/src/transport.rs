//! Pure: no clock, no I/O, no async.
//!
//! One peer: SDP, ICE, DTLS, SRTP. What was negotiated is in [`spec`].

pub mod dtls;
pub mod ice;
pub mod lease;
pub mod negotiate;
pub mod spec;
pub mod srtp;
pub mod state;
pub mod stun;
pub mod trickle;
