//! Shell: owns standard output.
//!
//! The console as a command: rows once, the key table, measurements. Tables go to standard output, everything else to
//! standard error.

#![expect(clippy::wildcard_enum_match_arm, reason = "other rows are shown as they are")]

mod act;
mod ask;
mod plain;
mod watch;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::operator::field_names;
use common::operator::filter::Filter;
use common::telemetry::chain;
use common::wire::operator::{Order, Row, Topic};

use self::ask::Asker;
use crate::args::{Args, Command, DescribeWhat, GetWhat, Output, SourceArgs};
use crate::context::Context;
use crate::demo::{Hub, Size};
use crate::event::{Event, Key, KeyCode};
use crate::frames::Frames;
use crate::model::Session;
use crate::rows::{Column, EVENTS, EventRow, NODES, NodeRow, RECORDINGS, RecordingRow, SESSIONS, SessionRow};
use crate::shell::source::{Request, Source};
use crate::shell::{demo, live, terminal};
use crate::state::{Settings, State};
use crate::store::NodeEntry;
use crate::view::help;
use crate::{app, output, text};

/// How a run ended. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused, or nothing of that name.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No master answers.
    Unreachable = 3,
    /// It took too long; what was asked for may still be carried out.
    TimedOut = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs what the command line asks for.
#[must_use]
pub fn run(args: &Args) -> Exit {
    match &args.command {
        None if args.look.plain => plain::run(args),
        None => desktop(args),
        Some(Command::Get { what, output, filter, sort, limit }) => {
            let wanted = Rows { what: *what, filter, sort: sort.as_deref(), limit: *limit };
            in_runtime(get(&args.source, wanted, *output))
        }
        Some(Command::Describe { what, name, output }) => {
            in_runtime(describe(&args.source, *what, name, *output))
        }
        Some(Command::Top { what, filter, sort, count, limit }) => {
            let wanted = Rows { what: *what, filter, sort: sort.as_deref(), limit: Some(*limit) };
            in_runtime(watch::top(&args.source, wanted, *count))
        }
        Some(Command::Events { follow, since, filter, limit, output }) => {
            let wanted = watch::Events {
                follow: *follow,
                since: since.as_deref(),
                filter,
                limit: *limit,
                output: *output,
            };
            in_runtime(watch::events(&args.source, &wanted))
        }
        Some(
            command @ (Command::Drain { .. }
            | Command::Undrain { .. }
            | Command::Remove { .. }
            | Command::Session(_)
            | Command::Connection(_)
            | Command::Stream(_)
            | Command::Record(_)),
        ) => {
            if args.look.read_only {
                complain(&"started with --read-only");
                return Exit::Refused;
            }
            in_runtime(act::run(&args.source, command))
        }
        Some(Command::Keys) => {
            common::exit::say(&help::text());
            Exit::Done
        }
        Some(Command::Measure { frames, size }) => {
            common::exit::say(&measure(demo_size(&args.source), *frames, *size));
            Exit::Done
        }
    }
}

const fn demo_size(args: &SourceArgs) -> Size {
    Size { nodes: args.demo_nodes, sessions: args.demo_sessions, seed: args.demo_seed }
}

fn complain(what: &dyn fmt::Display) {
    common::exit::complain("console", what);
}

/// One thread does: everything that takes time has a thread of its own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn start_source(args: &SourceArgs) -> Result<Source, Exit> {
    if args.demo {
        return Ok(demo::start(demo_size(args), args.demo_still));
    }
    let Some(dir) = &args.context else {
        complain(&"no cluster: give --context DIR, or --demo for a made-up one");
        return Err(Exit::Usage);
    };
    match Context::read(dir, args.master.as_deref()) {
        Ok(context) => Ok(live::start(context)),
        Err(error) => {
            complain(&chain(&error));
            Err(Exit::Unreachable)
        }
    }
}

fn desktop(args: &Args) -> Exit {
    let settings = Settings {
        theme: terminal::theme(&args.look),
        read_only: args.look.read_only,
        demo: args.source.demo,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(async {
        let source = start_source(&args.source)?;
        app::run(settings, source).await.map_err(|error| failed(&error))
    });
    // The thread that reads the terminal cannot be woken.
    runtime.shutdown_background();
    ended.err().unwrap_or(Exit::Done)
}

fn failed(error: &std::io::Error) -> Exit {
    complain(&chain(error));
    Exit::Refused
}

/// Runs to an end in a runtime of its own.
fn in_runtime(work: impl Future<Output = Result<(), Exit>>) -> Exit {
    match runtime() {
        Ok(runtime) => runtime.block_on(work).err().unwrap_or(Exit::Done),
        Err(error) => failed(&error),
    }
}

/// Rows that are asked for.
#[derive(Clone, Copy, Debug)]
struct Rows<'a> {
    what: GetWhat,
    filter: &'a str,
    sort: Option<&'a str>,
    limit: Option<usize>,
}

impl Rows<'_> {
    const fn topic(&self) -> Topic {
        match self.what {
            GetWhat::Events => Topic::Events,
            GetWhat::Nodes => Topic::Nodes,
            GetWhat::Recordings => Topic::Recordings,
            GetWhat::Sessions => Topic::Sessions,
        }
    }

    const fn kind(&self) -> &'static str {
        match self.what {
            GetWhat::Events => "events",
            GetWhat::Nodes => "nodes",
            GetWhat::Recordings => "recordings",
            GetWhat::Sessions => "sessions",
        }
    }

    const fn columns(&self) -> &'static [Column] {
        match self.what {
            GetWhat::Events => EVENTS,
            GetWhat::Nodes => NODES,
            GetWhat::Recordings => RECORDINGS,
            GetWhat::Sessions => SESSIONS,
        }
    }

    /// Checks the filter here, where mistakes are a matter of the command line, and reads the order.
    fn order(&self) -> Result<Order, Exit> {
        let fields = field_names(&self.topic());
        if let Err(error) = Filter::parse(self.filter, fields) {
            complain(&format_args!("--filter: {error}"));
            return Err(Exit::Usage);
        }
        let Some(sort) = self.sort else { return Ok(Order::default()) };
        let (descending, name) = sort.strip_prefix('-').map_or((false, sort), |name| (true, name));
        if self.what == GetWhat::Events || !fields.contains(&name) {
            complain(&format_args!("--sort: no column `{name}`; there are {}", fields.join(", ")));
            return Err(Exit::Usage);
        }
        Ok(Order { field: name.to_owned(), descending })
    }
}

async fn get(args: &SourceArgs, wanted: Rows<'_>, output: Output) -> Result<(), Exit> {
    let order = wanted.order()?;
    let mut asker = Asker::start(args).await?;
    let answer = asker.rows(wanted.topic(), wanted.filter, order, wanted.limit).await?;
    common::exit::say(&match output {
        Output::Table => text_table(&wanted, &answer.rows, answer.at_ms),
        Output::Json | Output::Yaml => {
            let rows: Vec<_> = answer.rows.iter().filter_map(|row| json_of(row, answer.at_ms)).collect();
            let cluster = asker.cluster();
            let document = output::document(wanted.kind(), cluster, answer.at_ms, answer.total, &rows);
            printed(&document, output)
        }
    });
    Ok(())
}

fn printed(document: &serde_json::Value, output: Output) -> String {
    if output == Output::Json { format!("{document:#}\n") } else { output::yaml(document) }
}

fn json_of(row: &Row, at_ms: u64) -> Option<serde_json::Value> {
    match row {
        Row::Node(row) => Some(output::node(&NodeEntry::of(row))),
        Row::Session(row) => Some(output::session(&Session::of(row), at_ms)),
        Row::Recording(row) => Some(output::recording(row)),
        Row::Event(row) => Some(output::event(row)),
        Row::Head(_) | Row::NodeDetail(_) | Row::SessionDetail(_) | Row::Decision(_) => None,
    }
}

fn text_table(wanted: &Rows<'_>, rows: &[Row], at_ms: u64) -> String {
    let columns: Vec<_> = wanted.columns().iter().filter(|column| column.id != "history").collect();
    let heads: Vec<&str> = columns.iter().map(|column| column.head).collect();
    let cells = |row: &Row| -> Option<Vec<String>> {
        let all = |cell: &dyn Fn(&str) -> String| columns.iter().map(|column| cell(column.id)).collect();
        match row {
            Row::Node(row) => {
                let entry = NodeEntry::of(row);
                let row = NodeRow { entry: &entry, since: Duration::ZERO };
                Some(all(&|id| row.cell(id).0))
            }
            Row::Session(row) => {
                let session = Session::of(row);
                let row = SessionRow { session: &session, at_ms };
                Some(all(&|id| row.cell(id).0))
            }
            Row::Recording(row) => Some(all(&|id| RecordingRow { row, at_ms }.cell(id).0)),
            Row::Event(row) => Some(all(&|id| EventRow { entry: row }.cell(id).0)),
            Row::Head(_) | Row::NodeDetail(_) | Row::SessionDetail(_) | Row::Decision(_) => None,
        }
    };
    output::columns(&heads, &rows.iter().filter_map(cells).collect::<Vec<_>>())
}

async fn describe(args: &SourceArgs, what: DescribeWhat, name: &str, output: Output) -> Result<(), Exit> {
    let mut asker = Asker::start(args).await?;
    let (topic, word) = match what {
        DescribeWhat::Node => (Topic::Nodes, "node"),
        DescribeWhat::Recording => (Topic::Recordings, "recording"),
        DescribeWhat::Session => (Topic::Sessions, "session"),
    };
    let found = asker.named(topic, name).await?;
    let Some(found) = found else {
        complain(&format_args!("no {word} is called `{name}`"));
        return Err(Exit::Refused);
    };
    let value = match &found {
        Row::Node(row) => {
            let answer = asker.rows(Topic::Node(row.node), "", Order::default(), None).await?;
            answer.rows.iter().find_map(|row| {
                let Row::NodeDetail(detail) = row else { return None };
                Some(output::node_detail(detail, answer.at_ms))
            })
        }
        Row::Session(row) => {
            let decisions =
                asker.rows(Topic::Decisions(Some(row.name.clone())), "", Order::default(), Some(20)).await?;
            let decisions: Vec<_> = decisions
                .rows
                .into_iter()
                .filter_map(|row| if let Row::Decision(row) = row { Some(row) } else { None })
                .collect();
            // The media node's numbers need two of its rounds.
            let answer = asker.measured(row.session).await?;
            answer.rows.iter().find_map(|row| {
                let Row::SessionDetail(detail) = row else { return None };
                Some(output::session_detail(detail, &decisions, answer.at_ms))
            })
        }
        row => json_of(row, 0),
    };
    let Some(value) = value else {
        complain(&format_args!("the {word} is gone"));
        return Err(Exit::Refused);
    };
    common::exit::say(&match output {
        Output::Json => format!("{value:#}\n"),
        Output::Table | Output::Yaml => output::yaml(&value),
    });
    Ok(())
}

/// Draws frames of the made-up cluster into memory: what a second of the cluster costs, what a key costs, what nothing
/// costs.
fn measure(size: Size, frames: u32, screen: (u16, u16)) -> String {
    let mut hub = Hub::new(size, false);
    let mut console = Frames::new(State::new(Settings::default(), screen, 1));
    let mut now = Duration::ZERO;
    let greeting = hub.greeting();
    pump(&mut console, &mut hub, now, Event::Message(greeting));
    let mut report = format!(
        "{} nodes, {} sessions, {}x{}, {frames} frames each\n",
        size.nodes, size.sessions, screen.0, screen.1
    );
    for (workspace, name) in [('1', "overview"), ('2', "nodes"), ('3', "sessions")] {
        pump(&mut console, &mut hub, now, Event::Key(Key::plain(KeyCode::Char(workspace))));
        let first = console.paint().len();
        now += Duration::from_secs(10);
        let data = timed(&mut console, frames, |console, _| {
            now += Duration::from_secs(1);
            let news = hub.step();
            let begin = Instant::now();
            for message in news {
                console.handle(now, Event::Message(message));
            }
            begin
        });
        let keys = timed(&mut console, frames, |console, turn| {
            let code = if turn % 40 < 20 { KeyCode::Down } else { KeyCode::Up };
            let begin = Instant::now();
            let effects = console.handle(now, Event::Key(Key::plain(code)));
            // Another part of the table costs the source, not the frame.
            answer_all(console, &mut hub, now, effects);
            begin
        });
        let idle = timed(&mut console, frames, |_, _| Instant::now());
        report.push_str(&[name, "  first frame ", &first.to_string(), " bytes\n"].concat());
        for (what, measured) in [("data     ", data), ("key      ", keys), ("nothing  ", idle)] {
            report.push_str(&["  ", what, measured.to_string().as_str(), "\n"].concat());
        }
    }
    report
}

fn pump(console: &mut Frames, hub: &mut Hub, now: Duration, event: Event) {
    let effects = console.handle(now, event);
    answer_all(console, hub, now, effects);
}

/// The made-up cluster answers at once what the console asks for.
fn answer_all(console: &mut Frames, hub: &mut Hub, now: Duration, effects: Vec<crate::effect::Effect>) {
    let mut waiting = effects;
    while let Some(effect) = waiting.pop() {
        let Ok(request) = Request::of(effect) else { continue };
        for message in demo::answer(hub, request) {
            waiting.extend(console.handle(now, Event::Message(message)));
        }
    }
}

struct Measured {
    micros: Vec<u128>,
    bytes: Vec<usize>,
}

/// Times from the moment that `step` gives until the frame's bytes are there.
fn timed(console: &mut Frames, frames: u32, mut step: impl FnMut(&mut Frames, u32) -> Instant) -> Measured {
    let mut measured = Measured { micros: Vec::new(), bytes: Vec::new() };
    for turn in 0..frames {
        let begin = step(console, turn);
        let bytes = console.paint().len();
        measured.micros.push(begin.elapsed().as_micros());
        measured.bytes.push(bytes);
    }
    measured.micros.sort_unstable();
    measured.bytes.sort_unstable();
    measured
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.micros.len().saturating_sub(1);
        let at = |share: usize| last * share / 100;
        write!(
            f,
            "update and draw p50 {} us  p99 {} us  max {} us   bytes p50 {}  p99 {}",
            self.micros[at(50)],
            self.micros[at(99)],
            self.micros[last],
            text::grouped(self.bytes[at(50)] as u64),
            text::grouped(self.bytes[at(99)] as u64),
        )
    }
}
