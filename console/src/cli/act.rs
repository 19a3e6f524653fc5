//! Shell: reads an answer from the terminal.
//!
//! Operations as commands: first what it affects, then, with `--yes` or after a question, doing it.

#![expect(clippy::wildcard_enum_match_arm, reason = "every other answer is a refusal")]

use std::io::{IsTerminal as _, Write as _};

use common::wire::operator::Verb;

use super::ask::Asker;
use super::{Exit, complain};
use crate::args::{ActArgs, Command, ConnectionVerb, RecordVerb, SessionVerb, SourceArgs, StreamVerb};
use crate::model::Operated;

/// The operation that a command means.
fn verb_of(command: &Command) -> Option<(Verb, &ActArgs)> {
    Some(match command {
        Command::Drain { node, act } => (Verb::NodeDrain { node: node.clone() }, act),
        Command::Undrain { node, act } => (Verb::NodeUndrain { node: node.clone() }, act),
        Command::Remove { node, act } => (Verb::NodeRemove { node: node.clone() }, act),
        Command::Session(SessionVerb::Close { session, act }) => {
            (Verb::SessionClose { session: session.clone() }, act)
        }
        Command::Connection(ConnectionVerb::Evict { session, connection, act }) => {
            (Verb::ConnectionEvict { session: session.clone(), connection: connection.clone() }, act)
        }
        Command::Stream(StreamVerb::Unpublish { session, stream, act }) => {
            (Verb::StreamUnpublish { session: session.clone(), stream: stream.clone() }, act)
        }
        Command::Record(RecordVerb::Start { session, individual, act }) => {
            (Verb::RecordingStart { session: session.clone(), individual: *individual }, act)
        }
        Command::Record(RecordVerb::Stop { recording, act }) => {
            (Verb::RecordingStop { recording: recording.clone() }, act)
        }
        Command::Record(RecordVerb::Delete { recording, act }) => {
            (Verb::RecordingDelete { recording: recording.clone() }, act)
        }
        Command::Describe { .. }
        | Command::Events { .. }
        | Command::Get { .. }
        | Command::Keys
        | Command::Measure { .. }
        | Command::Top { .. } => return None,
    })
}

/// Asks what it affects, asks whether to go on, and does it.
pub(super) async fn run(args: &SourceArgs, command: &Command) -> Result<(), Exit> {
    let Some((verb, act)) = verb_of(command) else { return Err(Exit::Usage) };
    let mut asker = Asker::start(args).await?;
    let generation = match asker.operate(verb.clone(), None, true, "").await? {
        Operated::Impact { generation, lines } => {
            for line in lines {
                common::exit::say(&format!("{line}\n"));
            }
            generation
        }
        other => return Err(refused(&verb, &other)),
    };
    if act.dry_run {
        return Ok(());
    }
    if !act.yes && !confirmed(&verb) {
        complain(&"nothing was done: say --yes to go on");
        return Err(Exit::Refused);
    }
    match asker.operate(verb.clone(), Some(generation), false, &act.reason).await? {
        Operated::Done(text) => {
            common::exit::say(&format!("{} {}: {text}\n", verb.name(), verb.target()));
            Ok(())
        }
        other => Err(refused(&verb, &other)),
    }
}

fn refused(verb: &Verb, state: &Operated) -> Exit {
    let why = match state {
        Operated::Refused(why) => why.to_string(),
        Operated::Unknown => "the master knows nothing of it".to_owned(),
        Operated::Done(_) | Operated::Impact { .. } | Operated::Running => "no answer to it".to_owned(),
    };
    complain(&format_args!("{} {}: {why}", verb.name(), verb.target()));
    Exit::Refused
}

/// Asks at the terminal; no when there is none.
fn confirmed(verb: &Verb) -> bool {
    let (input, mut out) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() {
        return false;
    }
    let asked = write!(out, "{} {}? type yes: ", verb.name(), verb.target()).and_then(|()| out.flush());
    let mut answer = String::new();
    asked.is_ok() && input.read_line(&mut answer).is_ok() && answer.trim() == "yes"
}
