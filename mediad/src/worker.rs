//! Shell: owns the media threads, their sockets and timers.
//!
//! - [`engine`]: the peers of one worker: ICE, DTLS and the router together.
//! - [`run`]: the loop of one thread; it drives an [`Engine`](run::Engine).
//! - [`syscall`]: batched system calls, the only unsafe code.
//! - [`segment`]: which datagrams leave as one message.
//! - [`socket`]: ports and buffers.
//! - [`timer`]: the hashed wheel.
//! - [`statistics`]: counters and how others read them.

pub mod engine;
mod peer;
pub mod run;
pub mod segment;
pub mod socket;
pub mod statistics;
pub mod syscall;
pub mod timer;
