//! Shell: the recorder's side of a studio process: starts it, feeds it, ends it.
//!
//! What the studio should be told waits in an outbox here, so that a studio that does not read holds up nobody: packets
//! above [`OUTBOX_BYTES_MAX`] are dropped, and the track has a gap.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use common::telemetry::task::{self, Owned};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child as Process, Command};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::journal::Studio;
use crate::studio;
use crate::studio::protocol::{self, Decoder, FromStudio, ToStudio};

/// What waits for a studio at most: a replay of many tracks.
const OUTBOX_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of one write.
const WRITE_BYTES: usize = 64 * 1024;

/// Messages of a studio that wait to be taken; it waits then.
const MESSAGES_WAITING_MAX: usize = 64;

/// A studio that has closed its socket is about to end. Core files take time.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a studio does.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its process is gone; the last event.
    Ended {
        /// For humans.
        why: String,
    },
    /// It said something.
    Said(FromStudio),
}

/// A running studio. It is told to end by dropping this: its socket is closed, and it finishes what it has.
#[derive(Debug)]
pub struct Child {
    identity: Option<Studio>,
    events: mpsc::Receiver<Event>,
    signals: mpsc::Sender<Signal>,
    writer: mpsc::Sender<Vec<u8>>,
    outbox: VecDeque<(Option<u32>, Vec<u8>)>,
    outbox_bytes: usize,
    /// Tracks whose packets were dropped.
    gaps: BTreeSet<u32>,
    dropped: u64,
    _write: Owned<()>,
}

impl Child {
    /// Starts `recorderd studio`.
    ///
    /// # Errors
    /// What the system says.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut process = spawn(theirs.into())?;
        let identity = process.id().and_then(identity);
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let (events, receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
        let (signals, mut signalled) = mpsc::channel(4);
        // Not owned: it ends with the process, which is to be reaped in any case.
        drop(task::spawn("studio", async move {
            let read = read(reader, events.clone());
            tokio::pin!(read);
            let mut is_open = true;
            let status = loop {
                // All arms are cancel safe; the reader stays where it is.
                tokio::select! {
                    status = process.wait() => break status,
                    Some(signal) = signalled.recv() => send_signal(process.id(), signal),
                    () = &mut read, if is_open => is_open = false,
                }
            };
            // What it has said last is still in the socket.
            if is_open {
                drop(tokio::time::timeout(EXIT_TIMEOUT, read).await);
            }
            drop(events.send(Event::Ended { why: describe(&status) }).await);
        }));
        let (frames, queue) = mpsc::channel(1);
        let write = Owned(task::spawn("studio-write", write(writer, queue)));
        Ok(Self {
            identity,
            events: receiver,
            signals,
            writer: frames,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            gaps: BTreeSet::new(),
            dropped: 0,
            _write: write,
        })
    }

    /// Its process.
    #[must_use]
    pub const fn identity(&self) -> Option<Studio> {
        self.identity
    }

    /// Packets that it was too slow for.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Puts a message into the outbox.
    pub fn tell(&mut self, message: &ToStudio) {
        let track = if let ToStudio::Rtp { track, .. } = message { Some(*track) } else { None };
        if let Some(track) = track {
            if self.outbox_bytes > OUTBOX_BYTES_MAX {
                self.dropped += 1;
                self.gaps.insert(track);
                return;
            }
            if self.gaps.remove(&track) {
                self.push(None, &ToStudio::Gap { track });
            }
        }
        self.push(track, message);
    }

    fn push(&mut self, track: Option<u32>, message: &ToStudio) {
        match protocol::encode(message) {
            Ok(frame) => {
                self.outbox_bytes += frame.len();
                self.outbox.push_back((track, frame));
            }
            Err(error) => common::warn_limited!(10, %error, "a message to the studio is too long"),
        }
    }

    /// The next event. Meanwhile the outbox is written. Cancel safe.
    pub async fn next(&mut self) -> Event {
        loop {
            if self.outbox.is_empty() {
                return self.events.recv().await.unwrap_or_else(gone);
            }
            // Both arms are cancel safe.
            tokio::select! {
                event = self.events.recv() => return event.unwrap_or_else(gone),
                permit = self.writer.reserve() => match permit {
                    Ok(permit) => permit.send(batch(&mut self.outbox, &mut self.outbox_bytes)),
                    // The socket is closed; the end of the process follows.
                    Err(_) => {
                        self.outbox.clear();
                        self.outbox_bytes = 0;
                    }
                },
            }
        }
    }

    /// Ends it by SIGABRT: it leaves a core file where the system keeps them.
    pub fn abort(&self) {
        self.signal(Signal::ABORT);
    }

    /// Ends it by SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Full: signals are on their way. Closed: it is gone.
        if self.signals.try_send(signal).is_err() {
            tracing::debug!("a studio is not signalled again");
        }
    }
}

/// A process that is wanted.
struct Wanted {
    runtime: Handle,
    socket: OwnedFd,
    reply: SyncSender<io::Result<Process>>,
}

/// Starts a process. The kernel ends a studio when the thread that started it ends, so one thread starts them all and
/// lives as long as the recorder.
fn spawn(socket: OwnedFd) -> io::Result<Process> {
    static SPAWNER: OnceLock<SyncSender<Wanted>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, wanted) = sync_channel::<Wanted>(16);
        let run = move || {
            for Wanted { runtime, socket, reply } in wanted {
                let _entered = runtime.enter();
                // Whoever asked waits for it.
                drop(reply.send(studio_command(socket).spawn()));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("studio-spawner".to_owned()).spawn(run) {
            tracing::error!(%error, "cannot start the thread that starts studios");
        }
        sender
    });
    let (reply, result) = sync_channel(1);
    let gone = || io::Error::other("no thread starts studios");
    spawner.send(Wanted { runtime: Handle::current(), socket, reply }).map_err(|_gone| gone())?;
    result.recv().map_err(|_gone| gone())?
}

fn studio_command(socket: OwnedFd) -> Command {
    // The file that this process was started from, even if it was replaced since.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("recorderd")
        .args([studio::SUBCOMMAND, &std::process::id().to_string()])
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        // A signal from the terminal is for the recorder alone.
        .process_group(0);
    command
}

fn gone() -> Event {
    Event::Ended { why: "its socket is closed".to_owned() }
}

fn batch(outbox: &mut VecDeque<(Option<u32>, Vec<u8>)>, bytes: &mut usize) -> Vec<u8> {
    let mut batch = Vec::with_capacity(WRITE_BYTES.min(*bytes));
    while let Some((_, frame)) = outbox.pop_front() {
        *bytes -= frame.len();
        batch.extend_from_slice(&frame);
        if batch.len() >= WRITE_BYTES {
            break;
        }
    }
    batch
}

async fn read(mut socket: OwnedReadHalf, events: mpsc::Sender<Event>) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        decoder.push(buffer.get(..length).unwrap_or_default());
        loop {
            match decoder.next() {
                Ok(Some(message)) => {
                    if events.send(Event::Said(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                // A studio out of its mind: the closed socket ends it, or supervision does.
                Err(error) => {
                    tracing::error!(error = %common::telemetry::chain(&error), "the studio does not keep to the protocol");
                    return;
                }
            }
        }
    }
}

async fn write(mut socket: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(frames) = queue.recv().await {
        // A socket that breaks says that the process ends, which others notice too.
        if socket.write_all(&frames).await.is_err() {
            return;
        }
    }
}

fn send_signal(pid: Option<u32>, signal: Signal) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
        tracing::warn!(%error, "cannot signal a studio");
    }
}

fn describe(status: &io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt as _;

    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown status".to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

/// What tells a process from a later one with the same number.
fn identity(pid: u32) -> Option<Studio> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the 20th field after it is the start time.
    let (_, fields) = stat.rsplit_once(')')?;
    let started = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Studio { pid, started })
}

/// Whether a process of a former recorder still runs. One that nobody has reaped does not count.
#[must_use]
pub fn is_alive(studio: Studio) -> bool {
    let is_zombie = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", studio.pid)).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('Z'))
    };
    identity(studio.pid) == Some(studio) && !is_zombie()
}

/// Ends a process of a former recorder.
pub fn kill_orphan(studio: Studio) {
    if is_alive(studio) {
        send_signal(Some(studio.pid), Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let own = identity(std::process::id()).unwrap();
        assert!(is_alive(own));
        assert!(!is_alive(Studio { started: own.started + 1, ..own }));
        assert_eq!(identity(u32::MAX), None);
    }
}
