//! Shell: owns the tasks that carry out the master's commands.

pub mod table;
