//! Shell: reads the command line and runs the console.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match console::args::Args::try_parse() {
        Ok(_args) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads the answer when even standard output is closed.
            drop(error.print());
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    }
}
