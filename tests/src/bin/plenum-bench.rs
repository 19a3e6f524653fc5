//! Shell: the command line of the measurements.
//!
//! `cargo run --release -p tests --bin plenum-bench -- janus`

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tests::bench::{self, BenchError, Finding, JanusOptions};
use tests::load::Profile;

/// Measures Plenum on this machine against its bounds. Ends with 2 when a bound is missed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Only the findings.
    #[arg(long, global = true)]
    quiet: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Forwarding, side by side with Janus.
    Janus {
        /// Subscribers of the one publisher.
        #[arg(long, default_value_t = 100)]
        subscribers: u32,
        /// Seconds of each turn.
        #[arg(long, default_value_t = 15)]
        duration_s: u64,
        /// Turns of each side and pacing.
        #[arg(long, default_value_t = 3)]
        turns: u32,
        /// SRTP profile of both sides.
        #[arg(long, value_enum, default_value_t = Profile::Gcm)]
        profile: Profile,
        /// Lone small packets of sound instead of video.
        #[arg(long)]
        audio: bool,
    },
    /// CPU time of a join and memory of a participant.
    Joins {
        /// Rooms of two.
        #[arg(long, default_value_t = 100)]
        rooms: u32,
    },
    /// Memory of masterd after sessions that came and went.
    Churn {
        /// Sessions.
        #[arg(long, default_value_t = 10_000)]
        sessions: u32,
    },
    /// A long call of Chromium and Firefox, against peer to peer.
    Call {
        /// Seconds.
        #[arg(long, default_value_t = 300)]
        duration_s: u64,
    },
    /// What pages see of killed daemons.
    Kills,
}

async fn measure(what: What, quiet: bool) -> Result<Vec<Finding>, BenchError> {
    let say = |text: &str| {
        if !quiet {
            show(text);
        }
    };
    match what {
        What::Janus { subscribers, duration_s, turns, profile, audio } => {
            let options = JanusOptions {
                subscribers,
                duration: Duration::from_secs(duration_s),
                turns,
                profile,
                audio,
            };
            bench::janus(&options, say).await
        }
        What::Joins { rooms } => bench::joins(rooms, say).await,
        What::Churn { sessions } => bench::churn(sessions, say).await,
        What::Call { duration_s } => bench::call(Duration::from_secs(duration_s), say).await,
        What::Kills => bench::kills(say).await,
    }
}

fn show(text: &str) {
    // A closed standard output: nobody reads.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(measure(args.what, args.quiet)).map_err(|error| tests::load::chain(&error))
    });
    match result {
        Ok(findings) => {
            for finding in &findings {
                show(&finding.to_string());
            }
            if findings.iter().all(|finding| finding.kept) { ExitCode::SUCCESS } else { ExitCode::from(2) }
        }
        Err(error) => {
            drop(writeln!(std::io::stderr().lock(), "plenum-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}
