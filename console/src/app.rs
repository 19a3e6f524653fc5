//! Shell: owns the process: terminal, threads, source and the loop between them.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::effect::Effect;
use crate::event::Event;
use crate::frames::Frames;
use crate::shell::input;
use crate::shell::source::Source;
use crate::shell::terminal::{self, Terminal};
use crate::shell::writer::Writer;
use crate::state::{Settings, State};

/// Events that are taken in between two frames.
const BATCH_MAX: usize = 512;

/// Time that the last frame has to reach the terminal.
const LAST_FRAME: Duration = Duration::from_millis(500);

/// Signals that the console answers.
struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    stop: Signal,
}

enum Turn {
    /// Something was taken in.
    Event(Event),
    /// A frame was taken by the terminal.
    Written,
    /// Stop until continued.
    Suspend,
    /// The end.
    Quit,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
        })
    }
}

/// Runs the desktop until the user leaves or the process is told to end.
///
/// # Errors
/// When the terminal cannot be used.
pub async fn run(settings: Settings, mut source: Source) -> io::Result<()> {
    let start = Instant::now();
    let mut signals = Signals::new()?;
    let mut terminal = Some(Terminal::enter()?);
    let mut writer = Writer::start()?;
    let mut input = input::start()?;
    let mut frames = Frames::new(State::new(settings, Terminal::size()?, first_op()));
    settle(&mut frames, start, &source);
    loop {
        if writer.is_idle() {
            let bytes = frames.paint();
            writer.write(bytes);
        }
        let deadline = frames.state.deadline().map(|at| tokio::time::Instant::from_std(start + at));
        // Every arm is cancel safe: what is not taken stays in its channel.
        let turn = tokio::select! {
            event = input.recv() => event.map_or(Turn::Quit, Turn::Event),
            message = source.messages.recv() => {
                message.map_or(Turn::Quit, |message| Turn::Event(Event::Message(message)))
            }
            written = writer.done(), if !writer.is_idle() => if written { Turn::Written } else { Turn::Quit },
            () = sleep_until(deadline) => Turn::Event(Event::Tick),
            _ = signals.terminate.recv() => Turn::Quit,
            _ = signals.hang_up.recv() => Turn::Quit,
            _ = signals.interrupt.recv() => Turn::Quit,
            _ = signals.stop.recv() => Turn::Suspend,
        };
        let flow = match turn {
            Turn::Written => Flow::Continue,
            Turn::Quit => Flow::Quit,
            Turn::Suspend => Flow::Suspend,
            Turn::Event(event) => {
                let mut flow = take(&mut frames, start.elapsed(), event, &source, &mut writer);
                // What has come meanwhile goes into the same frame.
                for _ in 0..BATCH_MAX {
                    let more = input.try_recv().ok();
                    let more = more.or_else(|| source.messages.try_recv().ok().map(Event::Message));
                    let Some(event) = more else { break };
                    flow = flow.max(take(&mut frames, start.elapsed(), event, &source, &mut writer));
                }
                flow
            }
        };
        match flow {
            Flow::Continue => {}
            Flow::Suspend => {
                if !writer.is_idle() {
                    drop(tokio::time::timeout(LAST_FRAME, writer.done()).await);
                }
                drop(terminal.take());
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?;
                terminal = Some(Terminal::enter()?);
                frames.forget();
                let (width, height) = Terminal::size()?;
                let resized = Event::Resize { width, height };
                take(&mut frames, start.elapsed(), resized, &source, &mut writer);
            }
            Flow::Quit => break,
        }
    }
    // A frame that is still on its way would hide the cursor again. A terminal that is stuck is not waited for.
    if !writer.is_idle() {
        drop(tokio::time::timeout(LAST_FRAME, writer.done()).await);
    }
    drop(terminal);
    Ok(())
}

/// What the loop does next, in the order of weight.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Flow {
    Continue,
    Suspend,
    Quit,
}

/// The first frame shows what is known before anything was said.
fn settle(frames: &mut Frames, start: Instant, source: &Source) {
    for effect in frames.handle(start.elapsed(), Event::Tick) {
        // There is nothing but subscriptions yet.
        drop(source.pass(effect));
    }
}

/// Takes an event in and carries out what follows.
fn take(frames: &mut Frames, now: Duration, event: Event, source: &Source, writer: &mut Writer) -> Flow {
    let mut flow = Flow::Continue;
    for effect in frames.handle(now, event) {
        let Some(effect) = source.pass(effect) else { continue };
        match effect {
            Effect::Copy(text) => {
                if let Some(bytes) = terminal::clipboard(&text) {
                    writer.queue(bytes.as_bytes());
                }
            }
            Effect::Mouse(on) => writer.queue(terminal::mouse(on).as_bytes()),
            Effect::Quit => flow = Flow::Quit,
            Effect::Redraw => frames.forget(),
            Effect::Suspend => flow = flow.max(Flow::Suspend),
            Effect::Adjust { .. }
            | Effect::Operate(_)
            | Effect::Recall(_)
            | Effect::Retry
            | Effect::Subscribe { .. }
            | Effect::Unsubscribe { .. } => {}
        }
    }
    flow
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Where operation numbers of this run start: no two runs of an operator share any.
fn first_op() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0) << 8
}
