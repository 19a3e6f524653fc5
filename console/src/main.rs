//! Shell: reads the command line and runs the console.

use std::process::ExitCode;

use clap::Parser as _;
use console::args::Args;
use console::cli::{self, Exit};

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => cli::run(&args).into(),
        Err(error) => {
            // Nobody reads the answer when even standard output is closed.
            drop(error.print());
            if error.use_stderr() { Exit::Usage } else { Exit::Done }.into()
        }
    }
}
