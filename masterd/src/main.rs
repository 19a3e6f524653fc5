//! Shell: reads the command line, runs masterd.

use std::process::ExitCode;

use common::exit::{self, Exit};
use common::telemetry::{self, chain};
use masterd::app;
use masterd::args::{Args, Command, OperatorCommand};
use masterd::config::{self, Raw};

fn main() -> ExitCode {
    match exit::parse_args::<Args>() {
        Ok(args) => start(&args).into(),
        Err(exit) => exit.into(),
    }
}

fn start(args: &Args) -> Exit {
    let common = args.common();
    if let Some(Command::Operator { command: OperatorCommand::Add { name, role, out, .. } }) = &args.command {
        return ended(config::load(&common).map_err(app::AppError::from).and_then(|loaded| {
            let (state, link) = (&loaded.value.state.dir.0, loaded.value.link.listen);
            app::add_operator(state, link.port(), name, *role, out)?;
            exit::say(&format!("wrote the credentials of {name} ({role}) to {}\n", out.display()));
            Ok(())
        }));
    }
    let check = |loaded: &common::config::Loaded<Raw>| config::check(loaded, &config::environment());
    let settings = match common::config::settle("masterd", &common, check) {
        Ok(common::config::Settled::Run(settings)) => settings,
        Ok(common::config::Settled::Shown(text)) => {
            exit::say(&text);
            return Exit::Done;
        }
        Err(error) => return ended(Err(error.into())),
    };
    if let Err(error) = telemetry::init(&settings.log) {
        exit::complain("masterd", &chain(&error));
        return Exit::Config;
    }
    ended(app::run(settings))
}

fn ended(result: Result<(), app::AppError>) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            exit::complain("masterd", &chain(&error));
            error.exit()
        }
    }
}
