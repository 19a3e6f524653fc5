//! The operator console: a desktop in the terminal that shows a cluster's nodes and sessions live, and the same as
//! commands for scripts. It is a client; masterd alone decides.

pub mod args;
pub mod text;
