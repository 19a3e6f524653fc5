//! Pure: no clock, no I/O, no async.
//!
//! The command line.

use std::path::PathBuf;

use common::config::CommonArgs;
use common::wire::operator::OperatorRole;

/// Control plane of Plenum: sessions, connections, placement, REST and signalling.
#[derive(Debug, clap::Parser)]
#[command(name = "masterd", version)]
pub struct Args {
    /// Flags that every program takes.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Something else than to run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Args {
    /// The common flags, wherever they stand: before the command or behind it.
    #[must_use]
    pub fn common(&self) -> CommonArgs {
        let mut common = self.common.clone();
        if let Some(Command::Operator { command: OperatorCommand::Add { common: inner, .. } }) = &self.command
        {
            common.config = inner.config.clone().or(common.config);
            common.set.extend(inner.set.iter().cloned());
        }
        common
    }
}

/// Something else than to run.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Certificates of operators, who use the console
    Operator {
        /// What to do.
        #[command(subcommand)]
        command: OperatorCommand,
    },
}

/// What to do with operators.
#[derive(Debug, clap::Subcommand)]
pub enum OperatorCommand {
    /// Make a certificate for an operator
    Add {
        /// Name of the operator, as it will stand in the audit
        name: String,
        /// What the operator may do
        #[arg(long, default_value_t = OperatorRole::Viewer)]
        role: OperatorRole,
        /// Folder that gets operator.crt, operator.key and ca.crt
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// As without the command.
        #[command(flatten)]
        common: CommonArgs,
    },
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let line =
            ["masterd", "operator", "add", "ann", "--role", "admin", "--out", "x", "--config", "a.toml"];
        let args = Args::try_parse_from(line).unwrap();
        assert_eq!(args.common().config, Some(PathBuf::from("a.toml")));
        let Some(Command::Operator { command: OperatorCommand::Add { name, role, .. } }) = args.command
        else {
            panic!("no command")
        };
        assert_eq!((name.as_str(), role), ("ann", OperatorRole::Admin));
    }
}
