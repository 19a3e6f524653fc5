//! Shell: the child process of one recording job, which owns everything that touches media.
//!
//! A recorder runs `recorderd studio` once for each job, so that a crash in a decoder ends that job alone. What the two
//! say to each other is in [`protocol`]. One thread reads the socket, GStreamer's threads bring encoded frames, and this
//! one does everything else: it is the only one that changes anything.

mod composed;
mod depay;
mod film;
mod finish;
mod individual;
mod intake;
pub mod probe;
pub mod protocol;
mod rtp;
mod sandbox;
mod scene;
mod stage;
mod thumbnail;

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::exit::Exit;
use common::wire::recording::RecordingMode;

use composed::Composed;
use individual::Individual;
use protocol::{Begin, Decoder, FileResult, Finish, FromStudio, ToStudio};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "studio";

/// Argument of the subcommand that makes it print [`probe::report`] and end.
pub const PROBE: &str = "probe";

/// Messages and frames that may wait: above, the socket fills, and the recorder notices.
const EVENTS_MAX: usize = 1_024;

/// How often things are looked after that happen without a packet.
const TICK: Duration = Duration::from_millis(40);

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(500);

/// A recording that begins to be composed so long after its time zero has lost something.
const BEHIND_MAX: Duration = Duration::from_secs(6);

/// What the job reacts to.
#[derive(Debug)]
enum Event {
    /// From the recorder.
    Message(ToStudio),
    /// The recorder will say no more, and why.
    Closed(String),
    /// From an encoder.
    Encoded(stage::Encoded),
    /// An element failed.
    Trouble { element: String, why: String },
    /// Latency of an element changed.
    Latency,
}

/// Runs the child: the program's standard input is its end of the socket pair, `parent` the recorder's process.
#[must_use]
pub fn run(parent: u32) -> ExitCode {
    if let Err(error) = common::telemetry::init(&common::telemetry::LogConfig::default()) {
        common::exit::complain("recorderd studio", &error);
    }
    let said = sandbox::enter(parent).map_err(|error| error.to_string()).and_then(|()| serve());
    match said {
        Ok(()) => Exit::Done.into(),
        Err(why) => {
            common::exit::complain("recorderd studio", &why);
            Exit::Internal.into()
        }
    }
}

fn serve() -> Result<(), String> {
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let socket = UnixStream::from(descriptor);
    let reader = socket.try_clone().map_err(|error| error.to_string())?;
    let mut link = Link { socket };
    let (sender, events) = sync_channel(EVENTS_MAX);
    let messages = sender.clone();
    let spawned =
        std::thread::Builder::new().name("socket".to_owned()).spawn(move || read(reader, &messages));
    drop(spawned.map_err(|error| error.to_string())?);
    let loaded = probe::missing().map_err(|error| common::telemetry::chain(&error).to_string());
    if loaded.is_ok() {
        probe::warm();
    }
    link.say(&FromStudio::Ready)?;
    let last = match first(&events) {
        First::Begin(begin) => record(*begin, loaded, &mut link, &sender, &events),
        First::Finish(finish) => Ok((tidy(&finish, loaded.is_ok()), None)),
        First::Nothing => return Ok(()),
    };
    let (last, stage) = last.unwrap_or_else(|why| (FromStudio::Failed { why }, None));
    link.say(&last)?;
    // Encoders that wait for this thread go on, and end.
    drop(events);
    if let Some(stage) = stage {
        stage.stop();
    }
    Ok(())
}

enum First {
    Begin(Box<Begin>),
    Finish(Box<Finish>),
    Nothing,
}

/// A warm spare waits here.
fn first(events: &Receiver<Event>) -> First {
    loop {
        match events.recv() {
            Ok(Event::Message(ToStudio::Begin(begin))) => return First::Begin(begin),
            Ok(Event::Message(ToStudio::Finish(finish))) => return First::Finish(finish),
            Ok(Event::Closed(_)) | Err(_) => return First::Nothing,
            Ok(_) => {}
        }
    }
}

/// The recorder's end.
#[derive(Debug)]
struct Link {
    socket: UnixStream,
}

impl Link {
    fn say(&mut self, message: &FromStudio) -> Result<(), String> {
        let frame = protocol::encode(message).map_err(|error| error.to_string())?;
        self.socket.write_all(&frame).map_err(|error| format!("the recorder does not listen: {error}"))
    }

    fn say_all(&mut self, messages: &mut Vec<FromStudio>) -> Result<(), String> {
        messages.drain(..).try_for_each(|message| self.say(&message))
    }
}

fn read(mut socket: UnixStream, events: &SyncSender<Event>) {
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 64 * 1024];
    let why = loop {
        match socket.read(&mut bytes) {
            Ok(0) => break "the recorder closed the connection".to_owned(),
            Ok(length) => decoder.push(&bytes[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => break error.to_string(),
        }
        loop {
            match decoder.next() {
                // Waits when the job is behind: nothing from the recorder may be lost here.
                Ok(Some(message)) => {
                    if events.send(Event::Message(message)).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let closed = Event::Closed(error.to_string());
                    drop(events.send(closed));
                    return;
                }
            }
        }
    };
    drop(events.send(Event::Closed(why)));
}

/// Recording time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    /// Recording time at the start.
    behind: Duration,
}

impl Clock {
    fn start(zero_unix_us: u64) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let behind = unix.saturating_sub(Duration::from_micros(zero_unix_us)).min(BEHIND_MAX);
        Self { started: Instant::now(), behind }
    }

    fn now_us(&self) -> i64 {
        i64::try_from((self.started.elapsed() + self.behind).as_micros()).unwrap_or(i64::MAX)
    }
}

#[derive(Debug)]
enum Job {
    Composed(Box<Composed>),
    Individual(Box<Individual>),
}

type Last = (FromStudio, Option<stage::Stage>);

fn record(
    begin: Begin,
    loaded: Result<probe::Missing, String>,
    link: &mut Link,
    sender: &SyncSender<Event>,
    events: &Receiver<Event>,
) -> Result<Last, String> {
    let clock = Clock::start(begin.zero_unix_us);
    let memory_max = begin.memory_max_bytes;
    sandbox::limit_memory(memory_max);
    let mut out = Vec::new();
    let mut job = match begin.mode {
        RecordingMode::Individual => {
            out.push(FromStudio::Running);
            Job::Individual(Box::new(Individual::start(begin)))
        }
        RecordingMode::Composed => {
            let missing = loaded?.needed;
            if !missing.is_empty() {
                return Err(format!("GStreamer lacks {}", probe::Missing::explain(&missing)));
            }
            let composed = Composed::start(begin, sender).map_err(|error| error.to_string())?;
            Job::Composed(Box::new(composed))
        }
    };
    let (mut ticked, mut told) = (Instant::now(), Instant::now());
    while !job.is_over(clock.now_us()) {
        match events.recv_timeout(TICK.saturating_sub(ticked.elapsed())) {
            Ok(event) => job.react(event, clock.now_us(), &mut out)?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            job.tick(clock.now_us(), &mut out)?;
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            out.push(job.progress());
            let used = sandbox::resident_bytes();
            if memory_max > 0 && used > memory_max {
                return Err(format!("the studio uses {used} bytes of memory, more than {memory_max}"));
            }
        }
        link.say_all(&mut out)?;
    }
    let last = job.finish(&mut out);
    link.say_all(&mut out)?;
    last
}

impl Job {
    fn react(&mut self, event: Event, now_us: i64, out: &mut Vec<FromStudio>) -> Result<(), String> {
        match (self, event) {
            (Self::Composed(job), Event::Message(message)) => job.message(message, now_us),
            (Self::Composed(job), Event::Encoded(encoded)) => {
                job.encoded(encoded, out).map_err(|error| error.to_string())?;
            }
            (Self::Composed(job), Event::Trouble { element, why }) => {
                job.trouble(element, why).map_err(|error| error.to_string())?;
            }
            (Self::Composed(job), Event::Latency) => job.settle_latency(),
            (Self::Composed(job), Event::Closed(why)) => {
                tracing::warn!(why, "the recording ends");
                job.stop(now_us);
            }
            (Self::Individual(job), Event::Message(message)) => {
                job.message(message, out).map_err(|error| error.to_string())?;
            }
            (Self::Individual(job), Event::Closed(why)) => {
                tracing::warn!(why, "the recording ends");
                job.stop();
            }
            (Self::Individual(_), Event::Encoded(_) | Event::Trouble { .. } | Event::Latency) => {}
        }
        Ok(())
    }

    fn tick(&mut self, now_us: i64, out: &mut Vec<FromStudio>) -> Result<(), String> {
        match self {
            Self::Composed(job) => job.tick(now_us, out),
            Self::Individual(job) => job.tick(now_us, out).map_err(|error| error.to_string())?,
        }
        Ok(())
    }

    fn progress(&self) -> FromStudio {
        match self {
            Self::Composed(job) => job.progress(),
            Self::Individual(job) => job.progress(),
        }
    }

    fn is_over(&self, now_us: i64) -> bool {
        match self {
            Self::Composed(job) => job.is_over(now_us),
            Self::Individual(job) => job.is_over(),
        }
    }

    fn finish(self, out: &mut Vec<FromStudio>) -> Result<Last, String> {
        match self {
            Self::Composed(job) => {
                let (last, stage) = job.finish().map_err(|error| error.to_string())?;
                Ok((last, Some(stage)))
            }
            Self::Individual(job) => Ok((job.finish(out).map_err(|error| error.to_string())?, None)),
        }
    }
}

/// Makes the files of an interrupted job ordinary.
fn tidy(finish: &Finish, has_gstreamer: bool) -> FromStudio {
    let folder = PathBuf::from(&finish.folder);
    let is_sound = finish.files.iter().all(|file| !file.file.ends_with(".mp4"));
    match finish.mode {
        RecordingMode::Composed if !is_sound => tidy_film(finish, &folder, has_gstreamer),
        RecordingMode::Composed if finish.files.len() > 1 => tidy_sound(finish, &folder),
        RecordingMode::Composed | RecordingMode::Individual => tidy_matroska(finish, &folder),
    }
}

fn tidy_film(finish: &Finish, folder: &std::path::Path, has_gstreamer: bool) -> FromStudio {
    let pieces: Vec<(PathBuf, u64)> =
        finish.files.iter().map(|piece| (folder.join(&piece.file), piece.start_us)).collect();
    let into = folder.join(&finish.into);
    let finished = match finish::film(&pieces, &into) {
        Ok(finished) => finished,
        Err(error) => return FromStudio::Failed { why: error.to_string() },
    };
    let mut warnings = finished.left_out;
    if !finish.thumbnail.is_empty() && has_gstreamer {
        let made = thumbnail::thumbnail(&into, &folder.join(&finish.thumbnail));
        warnings.extend(made.err().map(|error| error.to_string()));
    }
    let file = FileResult {
        stream: 0,
        grown: finish.files.first().map(|piece| piece.file.clone()).unwrap_or_default(),
        file: finish.into.clone(),
        bytes: finished.bytes,
        start_us: 0,
        duration_us: finished.duration_us,
        has_audio: true,
        has_video: true,
    };
    let (duration_us, bytes) = (finished.duration_us, finished.bytes);
    FromStudio::Done { duration_us, bytes, files: vec![file], warning: warnings.join("; ") }
}

fn tidy_sound(finish: &Finish, folder: &std::path::Path) -> FromStudio {
    let pieces: Vec<(PathBuf, u64)> =
        finish.files.iter().map(|piece| (folder.join(&piece.file), piece.start_us)).collect();
    match finish::sound(&pieces, &folder.join(&finish.into)) {
        Ok(done) => {
            let file = FileResult {
                stream: 0,
                grown: finish.files.first().map(|piece| piece.file.clone()).unwrap_or_default(),
                file: finish.into.clone(),
                bytes: done.bytes,
                start_us: 0,
                duration_us: done.duration_us,
                has_audio: true,
                has_video: false,
            };
            let (duration_us, bytes) = (done.duration_us, done.bytes);
            FromStudio::Done { duration_us, bytes, files: vec![file], warning: String::new() }
        }
        Err(error) => FromStudio::Failed { why: error.to_string() },
    }
}

/// Files of streams, each for itself.
fn tidy_matroska(finish: &Finish, folder: &std::path::Path) -> FromStudio {
    let (mut files, mut warnings) = (Vec::new(), Vec::new());
    for unfinished in &finish.files {
        match finish::mkv(&folder.join(&unfinished.file)) {
            Ok(Some(done)) => files.push(FileResult {
                stream: 0,
                grown: unfinished.file.clone(),
                file: done.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                bytes: done.bytes,
                start_us: unfinished.start_us,
                duration_us: done.duration_us,
                has_audio: done.has_audio,
                has_video: done.has_video,
            }),
            Ok(None) => warnings.push(format!("{}: nothing is in it", unfinished.file)),
            Err(error) => warnings.push(format!("{}: {error}", unfinished.file)),
        }
    }
    if files.is_empty() {
        return FromStudio::Failed { why: warnings.join("; ") };
    }
    let start = files.iter().map(|file| file.start_us).min().unwrap_or_default();
    let end = files.iter().map(|file| file.start_us + file.duration_us).max().unwrap_or_default();
    let bytes = files.iter().map(|file| file.bytes).sum();
    FromStudio::Done { duration_us: end - start, bytes, files, warning: warnings.join("; ") }
}
