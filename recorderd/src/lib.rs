//! Recorder of Plenum: a member of the cluster that is asked to record sessions. See ARCHITECTURE.md.

pub mod app;
pub mod args;
pub mod config;
pub mod load;
pub mod studio;
