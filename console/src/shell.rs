//! Shell: owns the terminal, threads and tasks.
//!
//! Everything that touches the world outside: the terminal, its input and output, and the sources of data.

pub mod demo;
pub mod input;
pub mod live;
pub mod source;
pub mod terminal;
pub mod writer;
