//! Pure: no clock, no I/O, no async.
//!
//! The cluster core: what the cluster is told, what it decides. One [`op::Op`] for each thing that a face can ask.

pub mod op;
