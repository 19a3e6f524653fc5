//! Recorder of Plenum: a member of the cluster that is asked to record sessions. See ARCHITECTURE.md.

pub mod app;
pub mod args;
pub mod boxes;
pub mod clock;
pub mod config;
pub mod labels;
pub mod layout;
pub mod load;
pub mod mkv;
pub mod studio;
