//! Shell: one job's task. Owns its tap, its studio and its folder, and carries out what the pure [`Job`] and [`Intake`]
//! want.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::net::node_link::NodeLink;
use common::telemetry::task::{self, Owned};
use common::wire::node::NodeFact;
use common::wire::recording::{RecordingFact, RecordingMode, RecordingReport, RecordingRoster, TapSource};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use crate::child::{self, Child};
use crate::clockmap::ClockMap;
use crate::finish;
use crate::folder::{Folder, Root};
use crate::intake::{self, Counts, Intake};
use crate::job::{Input, Job, Joined, Output};
use crate::journal::Journal;
use crate::look::Look;
use crate::sidecar;
use crate::studio::protocol::{Begin, FromStudio, ToStudio};
use crate::studios::Studios;
use crate::tap::{self, Tap};

/// How often a media node is asked for its clock.
const CLOCK_EVERY_S: u64 = 5;

/// A studio with so much memory has run away: four times of what nine participants need.
const STUDIO_MEMORY_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// What the recorder tells a job.
#[derive(Debug)]
pub enum Command {
    /// Stop at once and remove everything; answered when that is done.
    Delete(oneshot::Sender<std::io::Result<()>>),
    /// The disk is too full to go on.
    DiskFull,
    /// The disk is nearly full.
    DiskScarce,
    /// Who is there, and where.
    Roster(RecordingRoster),
    /// The process is to end.
    Shutdown,
    /// Record no more.
    Stop,
}

/// What others may know of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The newest state.
    pub journal: Journal,
    /// Whether it still has something to do.
    pub is_running: bool,
    /// Bytes in its folder.
    pub bytes: u64,
}

/// What all jobs count together.
#[derive(Debug, Default)]
pub struct Totals {
    /// Packets received.
    pub packets: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Holes in what was received.
    pub gaps: Counter,
    /// Packets that a studio was too slow for.
    pub dropped: Counter,
    /// Studios that died before their time.
    pub studio_deaths: Counter,
    /// Jobs that ended well.
    pub ready: Counter,
    /// Jobs that did not.
    pub failed: Counter,
}

impl Totals {
    /// Makes them known as metrics.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("packets", "RTP packets received", &self.packets),
            ("packet_bytes", "Bytes of RTP packets received", &self.bytes),
            ("gaps", "Holes in what was received", &self.gaps),
            ("packets_dropped", "Packets that a studio was too slow for", &self.dropped),
            (
                "studio_deaths",
                "Studios that ended before their time and were followed by another one",
                &self.studio_deaths,
            ),
            ("recordings_ready", "Recordings that ended well", &self.ready),
            ("recordings_failed", "Recordings that ended without a usable result", &self.failed),
        ] {
            registry.register(name, help, counter.clone());
        }
    }
}

/// What all jobs share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Name and version of this program.
    pub program: &'static str,
    /// The folder of recordings.
    pub root: Arc<Root>,
    /// Where studios come from.
    pub studios: Studios,
    /// To the master.
    pub link: NodeLink,
    /// Counters.
    pub totals: Arc<Totals>,
    /// How films look.
    pub look: Look,
}

/// A job that runs.
#[derive(Debug)]
pub struct Handle {
    /// To the job.
    pub commands: mpsc::Sender<Command>,
    /// What it is doing.
    pub status: watch::Receiver<Status>,
    _task: Owned<()>,
}

/// Starts a job's task. `source` is none for one that is only to be finished.
#[must_use]
pub fn start(
    shared: Shared,
    job: Job,
    intake: Intake,
    folder: Folder,
    zero: Zero,
    source: Option<TapSource>,
) -> Handle {
    let (commands, mailbox) = mpsc::channel(64);
    let status = Status { journal: job.journal().clone(), is_running: true, bytes: 0 };
    let (status, watched) = watch::channel(status);
    let tap = source.map(|source| {
        let (recording, session) = (job.journal().recording, job.journal().session);
        Tap::new(shared.program, recording, session, source, shared.link.identity())
    });
    let runner = Runner {
        shared,
        job,
        intake,
        folder,
        zero,
        tap,
        lost_us: None,
        child: None,
        status,
        written_status: String::new(),
        counted: Counts::default(),
        dropped: 0,
        joining: None,
        packing: None,
    };
    let task = Owned(task::spawn("job", runner.run(mailbox)));
    Handle { commands, status: watched, _task: task }
}

/// Recording time zero.
#[derive(Clone, Copy, Debug)]
pub struct Zero {
    /// On the clock that does not jump.
    at: Instant,
    /// Microseconds since 1970.
    pub unix_us: u64,
}

/// Clocks of two hosts may differ by so much before the recorder takes its own.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(5);

impl Zero {
    /// The moment that the master calls the begin, if the clocks agree, else now.
    #[must_use]
    pub fn of(created_at_ms: u64) -> Self {
        let (now, unix_now) =
            (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let ago = unix_now.checked_sub(Duration::from_millis(created_at_ms));
        let ago = ago.filter(|ago| *ago < CLOCKS_DIFFER_MAX).unwrap_or_default();
        let at = now.checked_sub(ago).unwrap_or(now);
        let unix_us = unix_now.saturating_sub(ago).as_micros();
        Self { at, unix_us: u64::try_from(unix_us).unwrap_or(u64::MAX) }
    }

    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self::of(u64::MAX)
    }

    /// Recording time now.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.at.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn instant(&self, us: u64) -> tokio::time::Instant {
        (self.at + Duration::from_micros(us)).into()
    }
}

struct Runner {
    shared: Shared,
    job: Job,
    intake: Intake,
    folder: Folder,
    zero: Zero,
    tap: Option<Tap>,
    /// When the tap was lost.
    lost_us: Option<i64>,
    child: Option<Child>,
    status: watch::Sender<Status>,
    /// Status that the metadata says.
    written_status: String,
    /// What of the intake's counts is in the totals.
    counted: Counts,
    dropped: u64,
    joining: Option<Owned<Result<Joined, String>>>,
    packing: Option<Owned<Result<u64, String>>>,
}

/// What woke the task up.
enum Wake {
    Command(Option<Command>),
    Deadline,
    Joined(Result<Joined, String>),
    Packed(Result<u64, String>),
    Second,
    Studio(child::Event),
    Tap(tap::Event),
}

impl Runner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut second = 0_u64;
        loop {
            self.carry_out();
            if !self.job.is_running() {
                return;
            }
            match self.wake(&mut mailbox, &mut seconds).await {
                // The process ends; the studio finishes its files when its socket closes.
                Wake::Command(None) => return,
                Wake::Command(Some(Command::Delete(reply))) => return self.delete(reply).await,
                Wake::Command(Some(command)) => self.command(command),
                Wake::Deadline => self.feed(Input::Tick),
                Wake::Joined(result) => {
                    self.joining = None;
                    self.feed(Input::Joined(result));
                }
                Wake::Packed(result) => {
                    self.packing = None;
                    self.feed(Input::Packed(result));
                }
                Wake::Second => {
                    second += 1;
                    self.each_second(second);
                }
                Wake::Studio(event) => self.studio(event),
                Wake::Tap(event) => self.tapped(event),
            }
        }
    }

    async fn wake(
        &mut self,
        mailbox: &mut mpsc::Receiver<Command>,
        seconds: &mut tokio::time::Interval,
    ) -> Wake {
        let deadline = self.job.deadline().map(|us| self.zero.instant(us));
        // All arms are cancel safe: what is not taken stays where it is.
        tokio::select! {
            command = mailbox.recv() => Wake::Command(command),
            event = next_of(&mut self.child) => Wake::Studio(event),
            event = next_tap(&mut self.tap) => Wake::Tap(event),
            result = ended(&mut self.joining) => Wake::Joined(result.unwrap_or_else(Err)),
            result = ended(&mut self.packing) => Wake::Packed(result.unwrap_or_else(Err)),
            () = until(deadline) => Wake::Deadline,
            _ = seconds.tick() => Wake::Second,
        }
    }

    fn now_us(&self) -> i64 {
        i64::try_from(self.zero.now_us()).unwrap_or(i64::MAX)
    }

    fn feed(&mut self, input: Input) {
        self.job.handle(self.zero.now_us(), input);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Delete(_) => {}
            Command::DiskFull => self.feed(Input::DiskFull),
            Command::DiskScarce => self.feed(Input::DiskScarce),
            Command::Roster(roster) => {
                self.feed(Input::Roster { generation: roster.generation, roster: roster.roster.clone() });
                if self.tap.as_mut().is_some_and(|tap| tap.set_source(roster.source)) {
                    self.intake.forget_source();
                    self.feed(Input::TapDown);
                }
                self.intake.set_roster(roster.roster);
            }
            Command::Shutdown => self.feed(Input::Shutdown),
            Command::Stop => self.feed(Input::Stop),
        }
    }

    async fn delete(mut self, reply: oneshot::Sender<std::io::Result<()>>) {
        self.tap = None;
        self.joining = None;
        self.packing = None;
        if let Some(child) = &mut self.child {
            child.kill();
            while !matches!(child.next().await, child::Event::Ended { .. }) {}
        }
        let id = &self.job.journal().id;
        let removed = tokio::task::block_in_place(|| self.shared.root.remove(id));
        // Whoever asked may have gone.
        drop(reply.send(removed));
    }

    fn each_second(&mut self, second: u64) {
        let now_us = self.now_us();
        self.intake.tick(now_us);
        if second.is_multiple_of(CLOCK_EVERY_S)
            && let Some(client) = self.tap.as_ref().and_then(Tap::client)
        {
            client.ask_clock(self.zero.now_us());
        }
        let counts = self.intake.counts();
        let totals = &self.shared.totals;
        totals.packets.inc_by(counts.packets - self.counted.packets);
        totals.bytes.inc_by(counts.bytes - self.counted.bytes);
        totals.gaps.inc_by(counts.gaps - self.counted.gaps);
        self.counted = counts;
        if let Some(child) = &self.child {
            totals.dropped.inc_by(child.dropped().saturating_sub(self.dropped));
            self.dropped = child.dropped();
        }
        for warning in self.intake.take_warnings() {
            tracing::warn!(recording = %self.job.journal().recording, warning, "not everything is recorded");
        }
        let bytes = self.folder.size_bytes();
        self.status.send_if_modified(|status| std::mem::replace(&mut status.bytes, bytes) != bytes);
    }

    fn tapped(&mut self, event: tap::Event) {
        let now_us = self.now_us();
        let Some(tap) = &mut self.tap else { return };
        match event {
            tap::Event::Due => {
                let (resume, replay_ms) = self.intake.resume(self.lost_us, now_us);
                tap.dial(resume, replay_ms);
            }
            tap::Event::Down { why } => {
                common::warn_limited!(10, recording = %self.job.journal().recording, why, "no media");
                self.lost_us = self.lost_us.or(Some(now_us));
                self.intake.take(now_us, common::net::media_link::Event::Lost { code: None, why });
                self.feed(Input::TapDown);
            }
            tap::Event::Said(event) => self.intake.take(now_us, event),
            tap::Event::Up => {
                self.lost_us = None;
                if let Some(client) = tap.client() {
                    let way_us = i64::try_from(client.rtt().as_micros()).unwrap_or(0);
                    self.intake.tap_up(ClockMap::new(client.tapped().node_us, now_us, way_us));
                    client.ask_clock(self.zero.now_us());
                }
                self.feed(Input::TapUp);
            }
        }
    }

    fn studio(&mut self, event: child::Event) {
        match event {
            child::Event::Said(FromStudio::WantKeyframe { track }) => self.intake.want_keyframe(track),
            child::Event::Said(FromStudio::WantLayer { track, width, height }) => {
                self.intake.want_layer(track, width, height);
            }
            child::Event::Said(message) => self.feed(Input::Studio(message)),
            child::Event::Ended { why } => {
                self.child = None;
                self.dropped = 0;
                self.intake.end_piece();
                if self.job.journal().phase == crate::journal::Phase::Recording {
                    self.shared.totals.studio_deaths.inc();
                    tracing::error!(recording = %self.job.journal().recording, why, "a studio died");
                }
                self.feed(Input::StudioEnded { why });
            }
        }
    }

    /// Does what job and intake want until they want nothing more.
    fn carry_out(&mut self) {
        loop {
            if let Some(output) = self.job.poll_output() {
                self.perform(output);
            } else if let Some(output) = self.intake.poll_output() {
                self.pass_on(output);
            } else {
                return;
            }
        }
    }

    fn pass_on(&mut self, output: intake::Output) {
        let client = self.tap.as_ref().and_then(Tap::client);
        match output {
            intake::Output::Keyframe(track) => {
                if let Some(client) = client {
                    client.keyframe(track);
                }
            }
            intake::Output::Studio(message) => {
                if let Some(child) = &mut self.child {
                    child.tell(&message);
                }
            }
            intake::Output::Want { stream, kind, spatial_max } => {
                if let Some(client) = client {
                    client.want(stream, kind, spatial_max);
                }
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Abort => self.child.iter().for_each(Child::abort),
            Output::Begin { name, start_us } => self.begin(name, start_us),
            Output::HangUp => {
                if let Some(tap) = &mut self.tap {
                    tap.hang_up();
                }
            }
            Output::Join { files, into } => {
                let join = finish::Join {
                    mode: self.job.journal().spec.mode,
                    orphan: self.job.journal().studio,
                    files,
                    into,
                    thumbnail: self.thumbnail(),
                    length: Duration::from_micros(self.job.journal().duration_us()),
                };
                let id = self.job.journal().id.clone();
                let join = finish::join(Arc::clone(&self.shared.root), id, join);
                self.joining = Some(Owned(task::spawn("join", join)));
            }
            Output::Kill => self.child.iter().for_each(Child::kill),
            Output::Pack { files } => {
                let (root, journal) = (Arc::clone(&self.shared.root), self.job.journal().clone());
                let pack = tokio::task::spawn_blocking(move || finish::pack(&root, &journal, files));
                self.packing = Some(Owned(pack));
            }
            Output::Report(fact) => self.report(fact),
            Output::Save => self.save(),
            Output::StopStudio => {
                if let Some(child) = &mut self.child {
                    child.tell(&ToStudio::Stop);
                }
            }
        }
    }

    /// Name of the picture, for films.
    fn thumbnail(&self) -> String {
        let journal = self.job.journal();
        let has_picture = journal.spec.mode == RecordingMode::Composed && journal.spec.video;
        if has_picture { format!("{}.jpg", journal.id) } else { String::new() }
    }

    fn begin(&mut self, name: String, start_us: u64) {
        let mut child = match self.shared.studios.take() {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, "cannot start a studio");
                self.feed(Input::StudioEnded { why: error.to_string() });
                return;
            }
        };
        let spec = &self.job.journal().spec;
        child.tell(&ToStudio::Begin(Box::new(Begin {
            mode: spec.mode,
            audio: spec.audio,
            video: spec.video,
            width: spec.width,
            height: spec.height,
            frame_rate: spec.frame_rate,
            layout: spec.layout.clone(),
            folder: path_text(self.folder.path()),
            name,
            is_piece: self.job.journal().pieces.len() > 1,
            thumbnail: self.thumbnail(),
            labels: self.shared.look.labels,
            audio_tiles: self.shared.look.audio_tiles,
            zero_unix_us: self.zero.unix_us + start_us,
            memory_max_bytes: STUDIO_MEMORY_BYTES,
        })));
        let identity = child.identity();
        self.child = Some(child);
        self.dropped = 0;
        self.intake.begin_piece(i64::try_from(start_us).unwrap_or(i64::MAX));
        self.feed(Input::StudioStarted(identity));
    }

    fn report(&self, fact: RecordingFact) {
        let journal = self.job.journal();
        match &fact {
            RecordingFact::Started => {
                tracing::info!(recording = %journal.recording, id = %journal.id, "recording has started");
            }
            RecordingFact::Stopped { why } => {
                tracing::warn!(recording = %journal.recording, why, "recording stops by itself");
            }
            RecordingFact::Ready { duration_ms, size_bytes, warning } => {
                self.shared.totals.ready.inc();
                tracing::info!(recording = %journal.recording, id = %journal.id, duration_ms, size_bytes, warning, "recording is ready");
            }
            RecordingFact::Failed { why, .. } => {
                self.shared.totals.failed.inc();
                tracing::error!(recording = %journal.recording, id = %journal.id, why, "recording has failed");
            }
            RecordingFact::Progress { .. } => {}
        }
        let report = RecordingReport { recording: journal.recording, fact };
        self.shared.link.event(Some(journal.session), NodeFact::Recording(report));
    }

    /// Writes journal and metadata, and shows the state. What cannot be written is tried again with the next change.
    fn save(&mut self) {
        let journal = self.job.journal();
        let (status, size_bytes, duration_us) = self.job.status();
        let written = tokio::task::block_in_place(|| {
            if status != self.written_status {
                let metadata = sidecar::metadata(journal, status, size_bytes, duration_us);
                self.folder.write(&format!(".recording.{}", journal.id), metadata.as_bytes())?;
            }
            self.shared.root.write_journal(&journal.id, &journal.to_json())
        });
        match written {
            Ok(()) => status.clone_into(&mut self.written_status),
            Err(error) => {
                common::warn_limited!(10, recording = %journal.recording, %error, "cannot write the journal");
            }
        }
        let (journal, is_running) = (journal.clone(), self.job.is_running());
        self.status.send_modify(|shown| {
            shown.journal = journal;
            shown.is_running = is_running;
        });
    }
}

/// The studio opens its files by name.
fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

async fn next_of(child: &mut Option<Child>) -> child::Event {
    match child {
        Some(child) => child.next().await,
        None => std::future::pending().await,
    }
}

async fn next_tap(tap: &mut Option<Tap>) -> tap::Event {
    match tap {
        Some(tap) => tap.next().await,
        None => std::future::pending().await,
    }
}

async fn ended<T>(task: &mut Option<Owned<T>>) -> Result<T, String> {
    match task {
        Some(task) => (&mut task.0).await.map_err(|error| error.to_string()),
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
