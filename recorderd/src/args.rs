//! Pure: no clock, no I/O, no async.
//!
//! Command line.

use common::config::CommonArgs;

/// Recorder of a Plenum cluster.
#[derive(Debug, clap::Parser)]
#[command(name = "recorderd", version, about)]
pub struct Args {
    /// Flags that every daemon takes.
    #[command(flatten)]
    pub common: CommonArgs,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn flags_are_consistent_and_read() {
        Args::command().debug_assert();
        let args =
            Args::parse_from(["recorderd", "--config", "a.toml", "--set", "node.name=r1", "--check-config"]);
        assert_eq!(args.common.set, ["node.name=r1"]);
        assert!(args.common.check_config && !args.common.print_config);
    }
}
