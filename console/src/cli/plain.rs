//! Shell: owns standard input and output.
//!
//! Line mode: a prompt, a command, lines that stay where they are. Nothing moves, nothing is drawn over, so that screen
//! readers and dumb terminals can follow. The commands are those of the command line.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Parser as _;
use common::wire::operator::{Order, Row, Topic};

use super::ask::Asker;
use super::{Exit, complain, in_runtime};
use crate::args::Args;
use crate::text;

const HELP: &str = "\
status                         the cluster in a few words
get nodes|sessions|recordings|events [--filter F] [--sort COLUMN] [--limit N]
describe node|session|recording NAME
events [--since 10min] [--filter F]
drain|undrain|remove NODE      what it affects is said first, then it asks
session close SESSION
connection evict SESSION CONNECTION
stream unpublish SESSION STREAM
record start|stop|delete NAME
help, quit
";

/// Reads commands until the end of the input.
pub(super) fn run(args: &Args) -> Exit {
    let input = std::io::stdin();
    let asks = input.is_terminal();
    let mut last = in_runtime(status(args));
    if last != Exit::Done {
        return last;
    }
    loop {
        if asks {
            let mut out = std::io::stdout();
            if write!(out, "> ").and_then(|()| out.flush()).is_err() {
                return last;
            }
        }
        let mut line = String::new();
        match input.lock().read_line(&mut line) {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        last = match words.as_slice() {
            [] => continue,
            ["quit" | "exit" | "q"] => return Exit::Done,
            ["help" | "?"] => {
                common::exit::say(HELP);
                Exit::Done
            }
            ["status"] => in_runtime(status(args)),
            words => command(args, words),
        };
    }
}

fn command(args: &Args, words: &[&str]) -> Exit {
    match Args::try_parse_from(std::iter::once("console").chain(words.iter().copied())) {
        Ok(parsed) if parsed.command.is_some() => {
            // Where the cluster is was said at the start.
            let mut look = args.look.clone();
            look.plain = false;
            super::run(&Args { command: parsed.command, source: args.source.clone(), look })
        }
        Ok(_) => {
            complain(&"not a command; `help` lists them");
            Exit::Usage
        }
        Err(error) => {
            drop(error.print());
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        }
    }
}

/// The cluster in a few words.
async fn status(args: &Args) -> Result<(), Exit> {
    let mut asker = Asker::start(&args.source).await?;
    let answer = asker.rows(Topic::Head, "", Order::default(), None).await?;
    let Some(Row::Head(head)) = answer.rows.first() else { return Err(Exit::Refused) };
    let cluster = asker.cluster().unwrap_or_default().to_owned();
    let media = &head.media;
    let mut words = format!(
        "{cluster} at {}: {} nodes running, {} draining, {} launching, {} lost. {} sessions, {} connections, {} streams, {} recordings.",
        text::rfc3339(answer.at_ms),
        media.running,
        media.draining,
        media.launching,
        media.lost,
        head.sessions,
        head.connections,
        head.streams,
        head.recordings,
    );
    let numbers = format!(
        " CPU {} percent on average, {} at most. {} out, {} in.\n",
        head.cpu_permille_mean / 10,
        head.cpu_permille_max / 10,
        text::bitrate(head.egress_bps),
        text::bitrate(head.ingress_bps),
    );
    words += &numbers;
    common::exit::say(&words);
    Ok(())
}
