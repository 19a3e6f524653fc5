//! Shell: owns standard output for as long as it is wanted.
//!
//! Tables again and again, and events as they come. A cut link is said and waited for.

use std::io::IsTerminal as _;
use std::time::Duration;

use common::operator::filter::{self, Filter};
use common::operator::{Mirror, field_names};
use common::wire::operator::{EventRow as Event, Order, Row, Topic, Window};
use tokio::time::Instant;

use super::ask::Asker;
use super::{Exit, Rows, complain, start_source, text_table};
use crate::args::{Lines, SourceArgs};
use crate::desktop::WindowId;
use crate::model::{Link, Message, Wanted};
use crate::rows::EventRow;
use crate::shell::source::Request;
use crate::{output, text};

/// Time between two tables.
const AGAIN: Duration = Duration::from_secs(2);

/// Prints a table again and again.
pub(super) async fn top(args: &SourceArgs, wanted: Rows<'_>, count: Option<u32>) -> Result<(), Exit> {
    let order = wanted.order()?;
    let live = std::io::stdout().is_terminal();
    let tables = count.or(if live { None } else { Some(1) });
    let mut asker = Asker::start(args).await?;
    let mut printed = 0;
    loop {
        let answer = asker.rows(wanted.topic(), wanted.filter, order.clone(), wanted.limit).await?;
        let clear = if live && tables != Some(1) { "\u{1b}[H\u{1b}[2J" } else { "" };
        let head = format!("{clear}{}  {} {}\n", text::rfc3339(answer.at_ms), answer.total, wanted.kind());
        common::exit::say(&[head, text_table(&wanted, &answer.rows, answer.at_ms)].concat());
        printed += 1;
        if tables.is_some_and(|tables| printed >= tables) {
            return Ok(());
        }
        tokio::time::sleep_until(Instant::now() + AGAIN).await;
    }
}

/// Which events.
pub(super) struct Events<'a> {
    pub(super) follow: bool,
    pub(super) since: Option<&'a str>,
    pub(super) filter: &'a str,
    pub(super) limit: u32,
    pub(super) output: Lines,
}

/// Prints events; with `follow` for ever.
pub(super) async fn events(args: &SourceArgs, wanted: &Events<'_>) -> Result<(), Exit> {
    if let Err(error) = Filter::parse(wanted.filter, field_names(&Topic::Events)) {
        complain(&format_args!("--filter: {error}"));
        return Err(Exit::Usage);
    }
    let since = match wanted.since.map(filter::number) {
        Some(None) => {
            complain(&"--since: expected a time such as `30s`, `10min`, `2h`");
            return Err(Exit::Usage);
        }
        Some(Some(seconds)) => Some(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))),
        None => None,
    };
    if wanted.follow {
        return follow(args, wanted, since).await;
    }
    let mut asker = Asker::start(args).await?;
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let answer = asker.rows(Topic::Events, wanted.filter, Order::default(), Some(limit)).await?;
    let from = since.map_or(0, |since| before(answer.at_ms, since));
    for row in &answer.rows {
        if let Row::Event(row) = row
            && row.at_ms >= from
        {
            print(row, wanted.output);
        }
    }
    Ok(())
}

fn before(at_ms: u64, since: Duration) -> u64 {
    at_ms.saturating_sub(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

async fn follow(args: &SourceArgs, wanted: &Events<'_>, since: Option<Duration>) -> Result<(), Exit> {
    let mut source = start_source(args)?;
    let count = if since.is_some() { 1_000 } else { wanted.limit.clamp(1, 1_000) };
    let window = Window { first: 0, count, from_end: true };
    let asked = Wanted { filter: wanted.filter.to_owned(), window, ..Wanted::one(Topic::Events) };
    source.ask(Request::Subscribe(WindowId(1), asked));
    let mut mirror = Mirror::default();
    // A master that was started anew numbers its events anew.
    let mut newest = (0, 0);
    while let Some(message) = source.messages.recv().await {
        match message {
            Message::Link(Link::Down { why, .. }) => complain(&format_args!("the link is down: {why}")),
            Message::Link(Link::Up(welcome)) if newest.1 > 0 => {
                complain(&format_args!("the link is up again: {}", welcome.program));
            }
            Message::Link(_) | Message::Operated { .. } => {}
            Message::Delta { delta, .. } => {
                let first_of_link = delta.seq == 1;
                mirror.apply(*delta);
                let from = since.map_or(0, |since| before(mirror.at_ms, since));
                for row in mirror.rows() {
                    let Row::Event(row) = row else { continue };
                    let is_new = row.seq > newest.0 || (first_of_link && row.at_ms > newest.1);
                    if is_new && row.at_ms >= from {
                        print(row, wanted.output);
                    }
                }
                if let Some(Row::Event(row)) = mirror.rows().last() {
                    newest = (row.seq, row.at_ms.max(newest.1));
                }
            }
        }
    }
    Ok(())
}

fn print(row: &Event, lines: Lines) {
    common::exit::say(&match lines {
        Lines::Jsonl => format!("{}\n", output::event(row)),
        Lines::Text => {
            let cell = |id: &str| EventRow { entry: row }.cell(id).0;
            let (severity, kind, name) = (cell("severity"), cell("kind"), cell("name"));
            format!("{} {severity:<5} {kind:<20} {name}  {}\n", text::rfc3339(row.at_ms), cell("text"))
        }
    });
}
