//! Shell: the child process of one recording job, which owns everything that touches media.
//!
//! A recorder runs `recorderd studio` once for each job, so that a crash in a decoder ends that job alone. What the two
//! say to each other is in [`protocol`].

pub mod protocol;
