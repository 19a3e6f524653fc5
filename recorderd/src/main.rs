//! Shell: the process's entry; everything is in the library.

use std::process::ExitCode;

use common::config::Settled;
use common::exit::{self, Exit};
use common::telemetry::chain;
use recorderd::{app, args, config, studio};

fn main() -> ExitCode {
    // Hidden: how the recorder starts its own children. `recorderd studio <pid of the recorder>`.
    let mut given = std::env::args().skip(1);
    if given.next().as_deref() == Some(studio::SUBCOMMAND) {
        let argument = given.next().unwrap_or_default();
        if argument == studio::PROBE {
            exit::say(&studio::probe::report());
            return Exit::Done.into();
        }
        return studio::run(argument.parse().unwrap_or_default());
    }
    let args = match exit::parse_args::<args::Args>() {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    let settings = match config::settle(&args.common) {
        Ok(Settled::Run(settings)) => settings,
        Ok(Settled::Shown(text)) => {
            exit::say(&text);
            if args.common.check_config {
                let report = studio::probe::report();
                report.lines().for_each(|line| exit::complain("recorderd", &line));
            }
            return Exit::Done.into();
        }
        Err(error) => {
            exit::complain("recorderd", &chain(&error));
            return Exit::Config.into();
        }
    };
    match app::run(&settings) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            exit::complain("recorderd", &chain(&error));
            error.exit().into()
        }
    }
}
