//! Pure: no clock, no I/O, no async.
//!
//! One recording job: when its studio starts, is supervised, is followed by another one and stops; what is left to do
//! with its files then; and what masterd is told.
//!
//! ```text
//! Recording --stop, full disk, end of the process, too many crashes--> Stopping --studio has ended-->
//!     Joining (torn files, several pieces) --> Packing (individual: archive) --> Over (ready | failed)
//! ```
//!
//! `now_us` is recording time everywhere: microseconds since the job's time zero, on a clock that does not jump. The shell
//! carries out each [`Output`] in order, and calls `handle(now, Input::Tick)` at the [`deadline`](Job::deadline).

mod finish;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::id::{Generation, StreamKey};
use common::wire::recording::{RecordingFact, RecordingMode, RosterEntry};

use crate::journal::{Journal, Phase, Piece, StreamFile, Studio, Whole};
use crate::studio::protocol::{FileResult, FromStudio, Unfinished};
use crate::{names, ring};

const SECOND_US: u64 = 1_000_000;

/// A studio that says nothing so long after its start is stuck. The first one may have to scan all plug-ins.
const START_TIMEOUT_US: u64 = 15 * SECOND_US;

/// Individual: a stream that is there at the start must send within this time (as OpenVidu has it).
const FIRST_MEDIA_TIMEOUT_US: u64 = 10 * SECOND_US;

/// Between SIGABRT and SIGKILL: time for a core file.
const ABORT_TIMEOUT_US: u64 = SECOND_US;

/// More studios than this may not die within [`RESTART_WINDOW_US`].
const RESTARTS_MAX: usize = 3;

/// See [`RESTARTS_MAX`].
const RESTART_WINDOW_US: u64 = 60 * SECOND_US;

/// Making files ordinary takes about 1 s for each recorded hour; a slow disk, 20 times that.
const STOP_TIMEOUT_US: u64 = 60 * SECOND_US;
const STOP_PART: u64 = 180;

/// Joining is tried again once: the next studio may have more luck.
const JOINS_MAX: u8 = 2;

/// masterd is told so often how far the job is.
const REPORT_EVERY_US: u64 = 5 * SECOND_US;

/// The journal is written at least so often while something is recorded.
const SAVE_EVERY_US: u64 = 2 * SECOND_US;

/// Without a media node for so long, nobody comes back.
const TAP_TIMEOUT_US: u64 = 300 * SECOND_US;

/// What a job is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The disk is too full to go on.
    DiskFull,
    /// The disk is nearly full.
    DiskScarce,
    /// [`Output::Join`] was carried out: the studio's last message, or why there is none.
    Joined(Result<Joined, String>),
    /// [`Output::Pack`] was carried out.
    Packed(Result<u64, String>),
    /// Who is there, from now on.
    Roster {
        /// Version of the intended state.
        generation: Generation,
        /// Everybody.
        roster: Vec<RosterEntry>,
    },
    /// The process is to end.
    Shutdown,
    /// masterd wants no more.
    Stop,
    /// The studio said something.
    Studio(FromStudio),
    /// The studio has ended, and how.
    StudioEnded {
        /// For humans.
        why: String,
    },
    /// The studio that was asked for runs.
    StudioStarted(Option<Studio>),
    /// The tap was lost, or cannot be had.
    TapDown,
    /// The tap stands.
    TapUp,
    /// Something may be due.
    Tick,
}

/// What a studio has made of the files that others left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joined {
    /// Composed: length of the film.
    pub duration_us: u64,
    /// Composed: its size.
    pub bytes: u64,
    /// Individual: every file.
    pub files: Vec<FileResult>,
    /// What went wrong on the way.
    pub warning: String,
}

/// What a job wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// End the studio so that it leaves a core file.
    Abort,
    /// Start a studio for a new piece.
    Begin {
        /// Name of the film's file without its extension.
        name: String,
        /// Begin of the piece, in recording time.
        start_us: u64,
    },
    /// Receive no more media.
    HangUp,
    /// Let a studio make these files ordinary.
    Join {
        /// The files.
        files: Vec<Unfinished>,
        /// Composed: the film.
        into: String,
    },
    /// End the studio at once.
    Kill,
    /// Put the files into an archive.
    Pack {
        /// Ordinary files.
        files: Vec<StreamFile>,
    },
    /// Tell masterd.
    Report(RecordingFact),
    /// Write journal and metadata.
    Save,
    /// Tell the studio to record no more and to make its files ordinary.
    StopStudio,
}

/// How long supervision waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A studio that gets nothing done for so long is stuck.
    pub stall_us: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Recording { studio: StudioState },
    Stopping { studio: StudioState, until_us: u64, failed: Option<String> },
    Joining { attempt: u8, failed: Option<String> },
    Packing { failed: Option<String> },
    Over { fact: RecordingFact },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum StudioState {
    /// There is none.
    Absent,
    /// Asked for.
    Starting { since_us: u64 },
    /// Works; got something done last at that time.
    Running { progress_us: u64 },
    /// Is stuck, and was told by signal to end.
    Aborted { since_us: u64 },
    /// Was killed.
    Killed,
}

/// One recording job.
#[derive(Debug)]
pub struct Job {
    journal: Journal,
    limits: Limits,
    state: State,
    /// [`RecordingFact::Started`] was reported.
    is_started: bool,
    /// Streams without which the job has not started.
    awaited: BTreeSet<StreamKey>,
    /// Everybody who was ever there: files are named after them when they are gone.
    known: BTreeMap<StreamKey, RosterEntry>,
    /// When studios died.
    deaths_us: VecDeque<u64>,
    /// Where the present studio's time zero is.
    piece_start_us: u64,
    /// Recording time up to which everything is on the disk.
    written_us: u64,
    /// Bytes of the present studio's files, and of those of its predecessors.
    bytes: u64,
    earlier_bytes: u64,
    /// What the studio complains of at present.
    complaint: String,
    is_disk_scarce: bool,
    /// Since when there is no tap.
    untapped_us: Option<u64>,
    report_due_us: u64,
    save_due_us: u64,
    outputs: VecDeque<Output>,
}

impl Job {
    /// Begins a job: the studio is asked for at once.
    #[must_use]
    pub fn new(now_us: u64, limits: Limits, journal: Journal, roster: Vec<RosterEntry>) -> Self {
        let mut job = Self::with(now_us, limits, journal, State::Recording { studio: StudioState::Absent });
        job.awaited = roster.iter().filter(|entry| job.is_wanted(entry)).map(|entry| entry.stream).collect();
        job.know(roster);
        job.begin_piece(now_us, 0);
        job
    }

    /// Goes on with what a former process left behind. What it was recording is over; its files are finished.
    #[must_use]
    pub fn recover(now_us: u64, limits: Limits, mut journal: Journal) -> Self {
        let failed = match &journal.phase {
            Phase::Ended { fact } => {
                let state = State::Over { fact: fact.clone() };
                return Self::with(now_us, limits, journal, state);
            }
            Phase::Finishing { failed } => failed.clone(),
            Phase::Recording => {
                let written_s = journal.duration_us() / 1000;
                journal.warn(&format!(
                    "the recorder ended unexpectedly: what came after about {}.{:03} s is missing",
                    written_s / 1000,
                    written_s % 1000
                ));
                None
            }
        };
        let state = State::Joining { attempt: 0, failed: None };
        let mut job = Self::with(now_us, limits, journal, state);
        job.is_started = true;
        job.journal.studio = None;
        job.finish(now_us, failed);
        job
    }

    fn with(now_us: u64, limits: Limits, journal: Journal, state: State) -> Self {
        Self {
            journal,
            limits,
            state,
            is_started: false,
            awaited: BTreeSet::new(),
            known: BTreeMap::new(),
            deaths_us: VecDeque::new(),
            piece_start_us: 0,
            written_us: 0,
            bytes: 0,
            earlier_bytes: 0,
            complaint: String::new(),
            is_disk_scarce: false,
            untapped_us: Some(now_us),
            report_due_us: now_us + REPORT_EVERY_US,
            save_due_us: now_us + SAVE_EVERY_US,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in one input.
    pub fn handle(&mut self, now_us: u64, input: Input) {
        match input {
            Input::DiskFull => self.stop_by_itself(now_us, "the disk is full"),
            Input::DiskScarce => self.is_disk_scarce = true,
            Input::Joined(result) => self.joined(now_us, result),
            Input::Packed(result) => self.packed(result),
            Input::Roster { generation, roster } => {
                self.journal.generation = self.journal.generation.max(generation);
                self.awaited.retain(|stream| roster.iter().any(|entry| entry.stream == *stream));
                self.know(roster);
                self.start_if_complete(now_us);
            }
            Input::Shutdown => self.stop_by_itself(now_us, "the recorder ends"),
            Input::Stop => self.stop(now_us, None),
            Input::Studio(message) => self.studio_said(now_us, message),
            Input::StudioEnded { why } => self.studio_ended(now_us, &why),
            Input::StudioStarted(studio) => {
                self.journal.studio = studio;
                self.save(now_us);
            }
            Input::TapDown => self.untapped_us = self.untapped_us.or(Some(now_us)),
            Input::TapUp => self.untapped_us = None,
            Input::Tick => {}
        }
        self.tick(now_us);
    }

    /// The next thing to do; call until none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When something is due: call `handle` with [`Input::Tick`] then.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        match &self.state {
            State::Recording { studio } => {
                let mut next = self.report_due_us.min(self.save_due_us);
                next = next.min(self.studio_deadline(*studio).unwrap_or(u64::MAX));
                if !self.is_started && !self.awaited.is_empty() {
                    next = next.min(FIRST_MEDIA_TIMEOUT_US);
                }
                Some(next.min(self.untapped_us.map_or(u64::MAX, |since| since + TAP_TIMEOUT_US)))
            }
            State::Stopping { studio: StudioState::Aborted { since_us }, .. } => {
                Some(since_us + ABORT_TIMEOUT_US)
            }
            State::Stopping {
                studio: StudioState::Running { .. } | StudioState::Starting { .. },
                until_us,
                ..
            } => Some(*until_us),
            State::Stopping { .. } | State::Joining { .. } | State::Packing { .. } | State::Over { .. } => {
                None
            }
        }
    }

    const fn studio_deadline(&self, studio: StudioState) -> Option<u64> {
        match studio {
            StudioState::Absent | StudioState::Killed => None,
            StudioState::Starting { since_us } => Some(since_us + START_TIMEOUT_US),
            StudioState::Running { progress_us } => Some(progress_us + self.limits.stall_us),
            StudioState::Aborted { since_us } => Some(since_us + ABORT_TIMEOUT_US),
        }
    }

    /// What has been written.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Whether media is received, or files are still being made ordinary.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        !matches!(self.state, State::Over { .. })
    }

    /// The last fact, when the job is over.
    #[must_use]
    pub const fn outcome(&self) -> Option<&RecordingFact> {
        match &self.state {
            State::Over { fact } => Some(fact),
            State::Recording { .. }
            | State::Stopping { .. }
            | State::Joining { .. }
            | State::Packing { .. } => None,
        }
    }

    /// OpenVidu's name of the state, size and length, for the metadata. Size and length are 0 until it is over.
    #[must_use]
    pub const fn status(&self) -> (&'static str, u64, u64) {
        match &self.state {
            State::Recording { .. } if self.is_started => ("started", 0, 0),
            State::Recording { .. } => ("starting", 0, 0),
            State::Stopping { .. } | State::Joining { .. } | State::Packing { .. } => ("stopped", 0, 0),
            State::Over { fact: RecordingFact::Ready { duration_ms, size_bytes, .. } } => {
                ("ready", *size_bytes, *duration_ms * 1000)
            }
            State::Over { fact: RecordingFact::Failed { size_bytes, duration_ms, .. } } => {
                ("failed", *size_bytes, *duration_ms * 1000)
            }
            State::Over { .. } => ("failed", 0, 0),
        }
    }

    /// What must hold at any time, for tests.
    ///
    /// # Panics
    /// When it does not.
    pub fn check(&self) {
        let is_recording = matches!(self.state, State::Recording { .. });
        assert_eq!(is_recording, self.journal.phase == Phase::Recording, "the journal knows the phase");
        assert_eq!(
            matches!(self.state, State::Over { .. }),
            matches!(self.journal.phase, Phase::Ended { .. }),
            "the journal knows the end"
        );
        let starts: Vec<u64> = self.journal.pieces.iter().map(|piece| piece.start_us).collect();
        assert!(starts.is_sorted(), "pieces follow each other");
        assert!(self.journal.pieces.iter().all(|piece| piece.written_us >= piece.start_us));
        assert!(self.deaths_us.len() <= RESTARTS_MAX + 1);
    }

    fn is_wanted(&self, entry: &RosterEntry) -> bool {
        let spec = &self.journal.spec;
        let has_track = spec.audio && entry.has_audio || spec.video && entry.has_video;
        spec.mode == RecordingMode::Individual && entry.record && has_track
    }

    fn know(&mut self, roster: Vec<RosterEntry>) {
        self.known.extend(roster.into_iter().map(|entry| (entry.stream, entry)));
    }

    fn report(&mut self, fact: RecordingFact) {
        self.outputs.push_back(Output::Report(fact));
    }

    fn save(&mut self, now_us: u64) {
        self.save_due_us = now_us + SAVE_EVERY_US;
        self.outputs.push_back(Output::Save);
    }

    /// Asks for a studio that records from `start_us` on.
    fn begin_piece(&mut self, now_us: u64, start_us: u64) {
        let name = match self.journal.pieces.len() {
            0 => self.journal.spec.name.clone(),
            // A dot, so that no recording's name can be the same.
            earlier => format!("{}.{}", self.journal.spec.name, earlier + 1),
        };
        if self.journal.spec.mode == RecordingMode::Composed {
            let file = format!("{name}.{}", self.film_extension());
            self.journal.pieces.push(Piece { file, start_us, written_us: start_us, whole_us: None });
        }
        self.piece_start_us = start_us;
        self.written_us = self.written_us.max(start_us);
        self.state = State::Recording { studio: StudioState::Starting { since_us: now_us } };
        self.save(now_us);
        self.outputs.push_back(Output::Begin { name, start_us });
    }

    const fn film_extension(&self) -> &'static str {
        if self.journal.spec.video { "mp4" } else { "webm" }
    }

    fn tick(&mut self, now_us: u64) {
        match self.state.clone() {
            State::Recording { studio } => {
                self.tick_recording(now_us);
                if matches!(self.state, State::Recording { .. }) {
                    self.supervise(now_us, studio);
                }
            }
            State::Stopping { studio: StudioState::Aborted { since_us }, .. } => {
                if now_us >= since_us + ABORT_TIMEOUT_US {
                    self.kill(StudioState::Killed);
                }
            }
            State::Stopping {
                studio: StudioState::Running { .. } | StudioState::Starting { .. },
                until_us,
                ..
            } => {
                if now_us >= until_us {
                    self.journal.warn("the studio did not end in time");
                    self.kill(StudioState::Killed);
                }
            }
            State::Stopping { .. } | State::Joining { .. } | State::Packing { .. } | State::Over { .. } => {}
        }
    }

    fn tick_recording(&mut self, now_us: u64) {
        if now_us >= self.report_due_us {
            self.report_due_us = now_us + REPORT_EVERY_US;
            if self.is_started {
                let warning = self.present_warning();
                let duration_ms = self.journal.duration_us() / 1000;
                self.report(RecordingFact::Progress { duration_ms, size_bytes: self.size_bytes(), warning });
            }
        }
        if now_us >= self.save_due_us {
            self.save(now_us);
        }
        let missing = self.awaited.iter().next().copied();
        if let Some(stream) = missing.filter(|_| !self.is_started && now_us >= FIRST_MEDIA_TIMEOUT_US) {
            if self.journal.spec.ignore_failed_streams {
                self.journal.warn("a stream without media was left out");
                self.awaited.clear();
                self.start_if_complete(now_us);
            } else {
                let name = self.known.get(&stream).map_or("?", |entry| entry.stream_id.as_str());
                let why = format!("stream {name} sent no media within 10 s");
                self.stop(now_us, Some(why));
            }
        }
        if self.untapped_us.is_some_and(|since| now_us >= since + TAP_TIMEOUT_US) {
            self.stop_by_itself(now_us, "no media node could be reached for 5 minutes");
        }
    }

    fn present_warning(&self) -> String {
        let disk = if self.is_disk_scarce { "the disk is nearly full" } else { "" };
        let tap = if self.untapped_us.is_some() { "the media node cannot be reached" } else { "" };
        let parts = [disk, tap, self.complaint.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn size_bytes(&self) -> u64 {
        let whole: u64 =
            self.journal.files.iter().filter_map(|file| file.whole).map(|whole| whole.bytes).sum();
        (self.bytes + self.earlier_bytes).max(whole)
    }

    /// Ends a studio that is stuck.
    fn supervise(&mut self, now_us: u64, studio: StudioState) {
        if self.studio_deadline(studio).is_none_or(|deadline| now_us < deadline) {
            return;
        }
        match studio {
            StudioState::Starting { .. } | StudioState::Running { .. } => {
                self.outputs.push_back(Output::Abort);
                self.state = State::Recording { studio: StudioState::Aborted { since_us: now_us } };
            }
            StudioState::Aborted { .. } => self.kill(StudioState::Killed),
            StudioState::Absent | StudioState::Killed => {}
        }
    }

    fn kill(&mut self, next: StudioState) {
        self.outputs.push_back(Output::Kill);
        if let State::Recording { studio } | State::Stopping { studio, .. } = &mut self.state {
            *studio = next;
        }
    }

    fn studio_said(&mut self, now_us: u64, message: FromStudio) {
        match message {
            FromStudio::Running => {
                if let State::Recording { studio } = &mut self.state {
                    *studio = StudioState::Running { progress_us: now_us };
                }
                if let State::Stopping { studio: studio @ StudioState::Starting { .. }, .. } = &mut self.state
                {
                    *studio = StudioState::Running { progress_us: now_us };
                }
                self.start_if_complete(now_us);
            }
            FromStudio::Progress { media_us, bytes, warning } => {
                self.progress(now_us, media_us, bytes, warning);
            }
            FromStudio::FileBegan { stream, file, start_us, has_audio, has_video } => {
                self.file_began(now_us, StreamKey(stream), file, start_us, (has_audio, has_video));
            }
            FromStudio::FileEnded(result) => {
                self.file_ended(&result);
                self.save(now_us);
            }
            FromStudio::Done { duration_us, bytes, files, warning } => {
                self.journal.warn(&warning);
                self.bytes = bytes;
                for result in &files {
                    self.file_ended(result);
                }
                if let Some(piece) = self.journal.pieces.last_mut() {
                    piece.whole_us = Some(duration_us);
                }
                self.save(now_us);
            }
            FromStudio::Failed { why } => self.studio_failed(now_us, why),
            // The shell's business.
            FromStudio::Ready | FromStudio::WantKeyframe { .. } | FromStudio::WantLayer { .. } => {}
        }
    }

    fn progress(&mut self, now_us: u64, media_us: u64, bytes: u64, warning: String) {
        let written_us = self.piece_start_us.saturating_add(media_us);
        // A film grows whatever comes in; files of streams do only with media.
        let is_progress = written_us > self.written_us || self.journal.spec.mode == RecordingMode::Individual;
        if is_progress
            && let State::Recording { studio: StudioState::Running { progress_us } } = &mut self.state
        {
            *progress_us = now_us;
        }
        self.written_us = self.written_us.max(written_us);
        self.bytes = bytes;
        self.journal.warn(&warning);
        self.complaint = warning;
        let written_us = self.written_us;
        if let Some(piece) = self.journal.pieces.last_mut() {
            piece.written_us = piece.written_us.max(written_us);
        }
        for file in self.journal.files.iter_mut().filter(|file| file.whole.is_none()) {
            file.written_us = file.written_us.max(written_us);
        }
    }

    fn start_if_complete(&mut self, now_us: u64) {
        let is_running = matches!(self.state, State::Recording { studio: StudioState::Running { .. } });
        if is_running && !self.is_started && self.awaited.is_empty() {
            self.is_started = true;
            self.report(RecordingFact::Started);
            self.save(now_us);
        }
    }

    fn file_began(&mut self, now_us: u64, stream: StreamKey, file: String, start_us: u64, has: (bool, bool)) {
        if !names::is_public(&file) {
            self.journal.warn("the studio named a file as it may not");
            return;
        }
        if let Some(known) = self.journal.files.iter_mut().find(|known| known.file == file) {
            (known.has_audio, known.has_video) = has;
        } else if let Some(entry) = self.known.get(&stream) {
            let start_us = self.piece_start_us + start_us;
            self.journal.files.push(StreamFile::begun(entry, file, start_us, has.0, has.1));
        }
        self.awaited.remove(&stream);
        self.start_if_complete(now_us);
        self.save(now_us);
    }

    fn file_ended(&mut self, result: &FileResult) {
        if !names::is_public(&result.file) {
            self.journal.warn("the studio named a file as it may not");
            return;
        }
        let is_it = |file: &&mut StreamFile| file.file == result.grown || file.file == result.file;
        if let Some(file) = self.journal.files.iter_mut().find(is_it) {
            file.file.clone_from(&result.file);
            file.whole = Some(Whole { duration_us: result.duration_us, bytes: result.bytes });
            (file.has_audio, file.has_video) = (result.has_audio, result.has_video);
        }
    }

    fn studio_failed(&mut self, now_us: u64, why: String) {
        self.journal.warn(&why);
        // What it lacks, its successor lacks too. Later it is as a crash: it ends by itself.
        if !self.is_started && self.deaths_us.is_empty() {
            self.stop(now_us, Some(why));
        }
    }

    fn studio_ended(&mut self, now_us: u64, why: &str) {
        self.journal.studio = None;
        match self.state.clone() {
            State::Recording { .. } => self.follow(now_us, why),
            State::Stopping { failed, .. } => self.finish(now_us, failed),
            // The end of one that joined files is in the result.
            State::Joining { .. } | State::Packing { .. } | State::Over { .. } => {}
        }
    }

    /// Lets another studio go on, or gives up.
    fn follow(&mut self, now_us: u64, why: &str) {
        self.journal.warn(&format!("the studio ended unexpectedly ({why})"));
        self.earlier_bytes += std::mem::take(&mut self.bytes);
        self.deaths_us.push_back(now_us);
        self.deaths_us.retain(|at| now_us.saturating_sub(*at) < RESTART_WINDOW_US);
        if self.deaths_us.len() > RESTARTS_MAX {
            self.finish(
                now_us,
                Some(format!("the studio died {} times within a minute: {why}", self.deaths_us.len())),
            );
            return;
        }
        let kept_us = now_us.saturating_sub(ring::KEEP_US.unsigned_abs());
        self.begin_piece(now_us, self.written_us.max(kept_us));
    }

    fn stop_by_itself(&mut self, now_us: u64, why: &str) {
        if matches!(self.state, State::Recording { .. }) {
            self.journal.warn(why);
            self.report(RecordingFact::Stopped { why: why.to_owned() });
            self.stop(now_us, None);
        }
    }

    /// Ends the recording. `failed` says why there will be no result.
    fn stop(&mut self, now_us: u64, failed: Option<String>) {
        let State::Recording { studio } = self.state else { return };
        self.outputs.push_back(Output::HangUp);
        self.journal.phase = Phase::Finishing { failed: failed.clone() };
        match studio {
            StudioState::Absent => self.finish(now_us, failed),
            StudioState::Starting { .. }
            | StudioState::Running { .. }
            | StudioState::Aborted { .. }
            | StudioState::Killed => {
                let until_us = now_us + STOP_TIMEOUT_US + self.journal.duration_us() / STOP_PART;
                self.state = State::Stopping { studio, until_us, failed };
                self.outputs.push_back(Output::StopStudio);
                self.save(now_us);
            }
        }
    }
}

#[cfg(test)]
mod tests;
