//! Shell: the program.

use std::process::ExitCode;

use common::config::{CommonArgs, Settled};
use common::exit::{self, Exit};
use common::telemetry::chain;
use mediad::app;
use mediad::config;
use mediad::worker::syscall::CountingAllocator;

/// Counts allocations per thread, so that the media workers can show that they make none for a packet.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Media node of Plenum: receives each published stream once and forwards it to every subscriber.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => Exit::Done.into(),
        Err(exit) => exit.into(),
    }
}

fn run() -> Result<(), Exit> {
    let args = exit::parse_args::<Args>()?;
    let settled = config::settle(&args.common).map_err(|error| {
        exit::complain("mediad", &chain(&error));
        Exit::Config
    })?;
    let settings = match settled {
        Settled::Run(settings) => settings,
        Settled::Shown(text) => {
            exit::say(&text);
            return Ok(());
        }
    };
    app::run(&settings).map_err(|error| {
        exit::complain("mediad", &chain(&error));
        error.exit()
    })
}
