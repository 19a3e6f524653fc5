//! Shell: the exit codes of the daemons, and command lines that end with them.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use common::exit::{self, Exit};
//!
//! #[derive(clap::Parser)]
//! #[command(version)]
//! struct Args {
//!     #[command(flatten)]
//!     common: common::config::CommonArgs,
//! }
//!
//! fn main() -> ExitCode {
//!     match exit::parse_args::<Args>() {
//!         Ok(_args) => Exit::Done.into(),
//!         Err(exit) => exit.into(),
//!     }
//! }
//! ```

use std::io::Write as _;
use std::process::ExitCode;

/// How a daemon's process ended, as its exit code says (sysexits.h).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was told.
    Done = 0,
    /// The command line is wrong.
    Usage = 64,
    /// Something outside that it needs is not there: a port is taken, a master refuses it.
    Unavailable = 69,
    /// A bug.
    Internal = 70,
    /// The configuration is wrong, or a file that it names.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Reads the process's command line. What there is to say (help, version, a usage error) has been said when this
/// returns an exit code.
///
/// # Errors
/// [`Exit::Usage`] for a wrong command line, [`Exit::Done`] after `--help` and `--version`.
pub fn parse_args<A: clap::Parser>() -> Result<A, Exit> {
    A::try_parse().map_err(|error| {
        // Nobody reads the answer when even standard output is closed.
        drop(error.print());
        if error.use_stderr() { Exit::Usage } else { Exit::Done }
    })
}

/// Says on standard error why the process ends, as `program: message`.
pub fn complain(program: &str, message: &dyn std::fmt::Display) {
    drop(writeln!(std::io::stderr().lock(), "{program}: {message}"));
}

/// Writes a text to standard output; a closed pipe is not an error of ours.
pub fn say(text: &str) {
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}
