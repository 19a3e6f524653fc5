//! Shell: owns standard output.
//!
//! The console as a command: rows once, the key table, measurements. Tables go to standard output, everything else to
//! standard error.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::telemetry::chain;

use crate::args::{Args, Command, GetWhat, Output, SourceArgs};
use crate::context::Context;
use crate::demo::Size;
use crate::event::{Event, Key, KeyCode};
use crate::frames::Frames;
use crate::model::Message;
use crate::shell::source::Source;
use crate::shell::{demo, live, terminal};
use crate::state::{Settings, State};
use crate::store::Store;
use crate::view::table::TableView;
use crate::view::{Facts, ViewKind, help};
use crate::{app, output, text};

/// Time to the first overview.
const FIRST_OVERVIEW: Duration = Duration::from_secs(10);

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
    /// It took too long.
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
        None => desktop(args),
        Some(Command::Get { what, output, filter, sort, limit }) => {
            get(args, *what, *output, filter, sort.as_deref(), *limit)
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

fn get(
    args: &Args,
    what: GetWhat,
    output: Output,
    filter: &str,
    sort: Option<&str>,
    limit: Option<usize>,
) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let kind = match what {
        GetWhat::Nodes => ViewKind::Nodes,
        GetWhat::Sessions => ViewKind::Sessions,
    };
    let mut table = TableView::new(kind);
    if let Err(exit) = prepare(&mut table, filter, sort) {
        return exit;
    }
    let store = match runtime.block_on(first_overview(&args.source)) {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    common::exit::say(&rendered(&store, table, what, output, limit));
    Exit::Done
}

/// Sets filter and order of a table from the command line.
fn prepare(table: &mut TableView, filter: &str, sort: Option<&str>) -> Result<(), Exit> {
    table.set_filter(filter);
    if let Some(error) = &table.error {
        complain(&format_args!("--filter: {error}"));
        return Err(Exit::Usage);
    }
    if let Some(sort) = sort {
        let (descending, name) = sort.strip_prefix('-').map_or((false, sort), |name| (true, name));
        let Some(column) = table.columns().iter().position(|column| column.id == name) else {
            let names: Vec<&str> = table.columns().iter().map(|column| column.id).collect();
            complain(&format_args!("--sort: no column `{name}`; there are {}", names.join(", ")));
            return Err(Exit::Usage);
        };
        table.sort = Some((column, descending));
    }
    Ok(())
}

/// What the source says first.
async fn first_overview(args: &SourceArgs) -> Result<Store, Exit> {
    let mut source = start_source(args)?;
    let mut store = Store::default();
    let reading = async {
        while let Some(message) = source.messages.recv().await {
            let done = matches!(message, Message::Overview(_));
            store.apply(Duration::ZERO, message);
            if done {
                return Ok(());
            }
        }
        Err(Exit::Unreachable)
    };
    match tokio::time::timeout(FIRST_OVERVIEW, reading).await {
        Ok(Ok(())) => Ok(store),
        Ok(Err(exit)) => Err(exit),
        Err(_elapsed) => {
            let why = match &store.link {
                Some(crate::model::Link::Down { why, .. }) => why.to_string(),
                Some(crate::model::Link::Connecting { address }) => format!("no answer from {address}"),
                Some(crate::model::Link::Up(_)) | None => "no overview came".to_owned(),
            };
            complain(&why);
            Err(if store.welcome.is_some() { Exit::TimedOut } else { Exit::Unreachable })
        }
    }
}

/// The rows that pass, as asked for. Recorders are nodes too.
fn rendered(
    store: &Store,
    mut table: TableView,
    what: GetWhat,
    output: Output,
    limit: Option<usize>,
) -> String {
    let theme = crate::theme::Theme::default();
    let facts = Facts { store, now: Duration::ZERO, theme, keep_order: false };
    table.load(&facts);
    let mut keys = table.rows().to_vec();
    if what == GetWhat::Nodes {
        let mut recorders = table.clone();
        recorders.kind = ViewKind::Recorders;
        recorders.load(&facts);
        keys.extend(recorders.rows());
    }
    let total = keys.len() as u64;
    keys.truncate(limit.unwrap_or(usize::MAX));
    match output {
        Output::Table => text_table(store, &keys, what),
        Output::Json | Output::Yaml => {
            let (kind, rows) = match what {
                GetWhat::Nodes => (
                    "nodes",
                    keys.iter()
                        .filter_map(|key| store.node(common::id::NodeKey(*key)).map(output::node))
                        .collect(),
                ),
                GetWhat::Sessions => (
                    "sessions",
                    keys.iter()
                        .filter_map(|key| {
                            store
                                .session(common::id::SessionKey(*key))
                                .map(|session| output::session(store, session))
                        })
                        .collect(),
                ),
            };
            let rows: Vec<_> = rows;
            let document = output::document(kind, store, total, &rows);
            if output == Output::Yaml { output::yaml(&document) } else { format!("{document:#}\n") }
        }
    }
}

fn text_table(store: &Store, keys: &[u64], what: GetWhat) -> String {
    use crate::rows::{NODES, NodeRow, SESSIONS, SessionRow};

    let columns = if what == GetWhat::Nodes { NODES } else { SESSIONS };
    let columns: Vec<_> = columns.iter().filter(|column| column.id != "history").collect();
    let heads: Vec<&str> = columns.iter().map(|column| column.head).collect();
    let row = |key: &u64| -> Option<Vec<String>> {
        let cell: Box<dyn Fn(&str) -> String> = match what {
            GetWhat::Nodes => {
                let row = NodeRow { entry: store.node(common::id::NodeKey(*key))?, since: Duration::ZERO };
                Box::new(move |id| row.cell(id).0)
            }
            GetWhat::Sessions => {
                let row = SessionRow { session: store.session(common::id::SessionKey(*key))?, store };
                Box::new(move |id| row.cell(id).0)
            }
        };
        Some(columns.iter().map(|column| cell(column.id)).collect())
    };
    output::columns(&heads, &keys.iter().filter_map(row).collect::<Vec<_>>())
}

/// Draws frames of the made-up cluster into memory: what a second of the cluster costs, what a key costs, what nothing
/// costs.
fn measure(size: Size, frames: u32, screen: (u16, u16)) -> String {
    let (mut world, past) = demo::past(size, false);
    let mut console = Frames::new(State::new(Settings::default(), screen, 1));
    let mut now = Duration::ZERO;
    for message in past {
        console.handle(now, Event::Message(message));
    }
    let mut report = format!(
        "{} nodes, {} sessions, {}x{}, {frames} frames each\n",
        size.nodes, size.sessions, screen.0, screen.1
    );
    for (workspace, name) in [('1', "overview"), ('2', "nodes"), ('3', "sessions")] {
        console.handle(now, Event::Key(Key::plain(KeyCode::Char(workspace))));
        let first = console.paint().len();
        now += Duration::from_secs(10);
        let data = timed(&mut console, frames, |console, _| {
            world.step();
            now += Duration::from_secs(1);
            let event = Event::Message(Message::Overview(Box::new(world.overview())));
            let begin = Instant::now();
            console.handle(now, event);
            begin
        });
        let keys = timed(&mut console, frames, |console, turn| {
            let code = if turn % 40 < 20 { KeyCode::Down } else { KeyCode::Up };
            let begin = Instant::now();
            console.handle(now, Event::Key(Key::plain(code)));
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
