//! Shell: the one task that knows all jobs: carries out the master's commands, guards the disk, reports the load.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::id::{Generation, RecordingKey, SessionKey};
use common::net::node_link::{Command, Reply, Request, Requests, Running};
use common::telemetry::chain;
use common::telemetry::task;
use common::wire::node::{Load, NodeError, NodeFact, OpResult, ToNode};
use common::wire::recording::{
    RecordingAt, RecordingDelete, RecordingFact, RecordingReport, RecordingRoster, RecordingSpec,
    RecordingStart, RecordingStop,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::RecordingSettings;
use crate::disk::{self, Verdict};
use crate::files;
use crate::folder::JournalFile;
use crate::intake::Intake;
use crate::job::{Job, Limits};
use crate::journal::{Journal, Phase};
use crate::load;
use crate::names::{self, RecordingId};
use crate::runner::{self, Handle, Shared, Zero};

/// How often disk and load are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Outcomes of so long ago are told again after a start: the process may have ended before the master took them in.
const OUTCOME_AGE_MAX: Duration = Duration::from_secs(3600);

/// Sides of a film, and its frame rate, as OpenVidu bounds them.
const SIDE: std::ops::RangeInclusive<u16> = 100..=1999;
const FRAME_RATE: std::ops::RangeInclusive<u16> = 1..=120;

/// What the recorder counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    jobs: Gauge,
    disk_free: Gauge,
    refused: Counter,
    unsupported: Counter,
}

impl Metrics {
    /// Makes them known.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("jobs", "Recordings that run", self.jobs.clone());
        registry.register("disk_free_bytes", "Room for recordings", self.disk_free.clone());
        registry.register("starts_refused", "Recordings that were refused", self.refused.clone());
        registry.register(
            "commands_unsupported",
            "Commands that this recorder does not know",
            self.unsupported.clone(),
        );
    }
}

/// A recording that is over.
#[derive(Clone, Debug)]
struct Over {
    id: RecordingId,
    session: SessionKey,
    generation: Generation,
    fact: RecordingFact,
}

/// All jobs of this recorder.
#[derive(Debug)]
pub struct Recorder {
    shared: Shared,
    settings: RecordingSettings,
    jobs_max: u32,
    metrics: Metrics,
    jobs: BTreeMap<RecordingKey, Handle>,
    over: BTreeMap<RecordingKey, Over>,
    is_draining: bool,
    is_drained_told: bool,
    is_ending: bool,
    verdict: Verdict,
    received: (u64, u64),
    before: load::CpuTicks,
}

impl Recorder {
    /// Finds what former processes left behind, and goes on with it.
    ///
    /// # Errors
    /// When the journals cannot be listed.
    pub fn open(
        shared: Shared,
        settings: RecordingSettings,
        jobs_max: u32,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let mut recorder = Self {
            shared,
            settings,
            jobs_max,
            metrics,
            jobs: BTreeMap::new(),
            over: BTreeMap::new(),
            is_draining: false,
            is_drained_told: false,
            is_ending: false,
            verdict: Verdict::Enough,
            received: (0, 0),
            before: cpu(),
        };
        for JournalFile { name, age, content } in recorder.shared.root.journals()? {
            let journal = content.map_err(|error| error.to_string());
            match journal
                .and_then(|json| Journal::from_json(&json).map_err(|error| chain(&error).to_string()))
            {
                Ok(journal) if format!("{}.json", journal.id) == name => recorder.recover(journal, age),
                Ok(_) => tracing::error!(name, "a journal has another recording's name"),
                Err(error) => tracing::error!(name, error, "cannot read a journal"),
            }
        }
        Ok(recorder)
    }

    const fn limits(&self) -> Limits {
        // The configuration has bounded it.
        #[expect(clippy::cast_possible_truncation, reason = "at most ten minutes")]
        let stall_us = self.settings.stall.as_micros() as u64;
        Limits { stall_us }
    }

    fn recover(&mut self, journal: Journal, age: Duration) {
        let folder = match self.shared.root.open_recording(&journal.id) {
            Ok(folder) => folder,
            // Whoever removes the folder removes the recording.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(self.shared.root.remove_journal(&journal.id));
                return;
            }
            Err(error) => {
                tracing::error!(id = %journal.id, %error, "cannot open a recording");
                return;
            }
        };
        let key = journal.recording;
        if let Phase::Ended { fact } = &journal.phase {
            let over = over(&journal, fact);
            if age < OUTCOME_AGE_MAX {
                self.tell(key, &over);
            }
            self.over.insert(key, over);
            return;
        }
        tracing::warn!(recording = %key, id = %journal.id, "finishing what a former process left behind");
        let intake = Intake::new(journal.spec.mode, journal.spec.audio, journal.spec.video);
        let zero = Zero::now();
        let job = Job::recover(zero.now_us(), self.limits(), journal);
        self.jobs.insert(key, runner::start(self.shared.clone(), job, intake, folder, zero, None));
    }

    fn tell(&self, key: RecordingKey, over: &Over) {
        let report = RecordingReport { recording: key, fact: over.fact.clone() };
        self.shared.link.event(Some(over.session), NodeFact::Recording(report));
    }

    /// Serves until `stop` says that the process is to end and all files are finished, or until the link is closed.
    pub async fn run(mut self, mut requests: Requests, mut stop: watch::Receiver<bool>, turn: impl Fn()) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turn();
            if self.is_ending && self.jobs.is_empty() {
                return;
            }
            // All arms are cancel safe.
            tokio::select! {
                request = requests.next() => match request {
                    Some(request) => self.request(request),
                    None => return,
                },
                _ = ticks.tick() => self.tick(),
                changed = stop.changed(), if !self.is_ending => {
                    self.is_ending = true;
                    drop(changed);
                    self.tell_all(|| runner::Command::Shutdown);
                    self.sweep();
                }
            }
        }
    }

    fn request(&mut self, request: Request) {
        self.sweep();
        match request {
            Request::Command(command) => self.command(command),
            Request::Inventory(inventory) => inventory.answer(self.inventory()),
            Request::File(file) => {
                let root = Arc::clone(&self.shared.root);
                drop(tokio::task::spawn_blocking(move || files::answer(&root, file)));
            }
        }
    }

    fn command(&mut self, command: Command) {
        let Command { message, reply, op, .. } = command;
        match message {
            ToNode::RecordingStart(start) => reply.done(self.start(start)),
            ToNode::RecordingRoster(roster) => reply.done(self.roster(roster)),
            ToNode::RecordingStop(stop) => reply.done(self.stop(stop)),
            ToNode::RecordingDelete(delete) => self.delete(delete, reply),
            ToNode::Drain(drain) => {
                self.is_draining = drain.on;
                self.is_drained_told = false;
                reply.done(OpResult::Ok);
            }
            ToNode::Adopt(_)
            | ToNode::Bind(_)
            | ToNode::Candidates(_)
            | ToNode::Checkpoint(_)
            | ToNode::EndpointAnswer(_)
            | ToNode::EndpointClose(_)
            | ToNode::EndpointOpen(_)
            | ToNode::EventAck(_)
            | ToNode::FileOpen(_)
            | ToNode::NewEpoch(_)
            | ToNode::Permit(_)
            | ToNode::Release(_)
            | ToNode::SessionClose(_)
            | ToNode::SessionOpen(_)
            | ToNode::TapGrant(_)
            | ToNode::TapRevoke(_)
            | ToNode::Watch(_)
            | ToNode::Welcome(_) => {
                self.metrics.unsupported.inc();
                tracing::debug!(%op, "a command is not supported");
                reply.done(OpResult::Err(NodeError::Unsupported));
            }
        }
    }

    fn start(&mut self, start: RecordingStart) -> OpResult {
        if let Some(handle) = self.jobs.get(&start.recording) {
            let present = handle.status.borrow().journal.generation;
            if start.generation < present {
                return OpResult::Err(NodeError::StaleGeneration(present));
            }
            let roster = RecordingRoster {
                recording: start.recording,
                generation: start.generation,
                roster: start.roster,
                source: start.source,
            };
            return tell(handle, runner::Command::Roster(roster));
        }
        if let Some(over) = self.over.get(&start.recording) {
            self.tell(start.recording, over);
            return OpResult::Ok;
        }
        match self.begin(start) {
            Ok(()) => OpResult::Ok,
            Err(error) => {
                self.metrics.refused.inc();
                tracing::warn!(%error, "a recording is refused");
                OpResult::Err(error)
            }
        }
    }

    fn begin(&mut self, start: RecordingStart) -> Result<(), NodeError> {
        if self.is_draining || self.is_ending {
            return Err(NodeError::Draining);
        }
        if self.recording() >= self.jobs_max as usize {
            return Err(NodeError::Limit { limit: format!("{} recordings at one time", self.jobs_max) });
        }
        let refuse = |why: String| NodeError::Refused { why };
        let id = RecordingId::try_from(start.id).map_err(|error| refuse(format!("id: {error}")))?;
        check(&start.spec).map_err(refuse)?;
        self.check_disk().map_err(refuse)?;
        let folder = self.shared.root.create(&id).map_err(|error| {
            let is_taken = error.kind() == io::ErrorKind::AlreadyExists;
            let taken = format!("there is a recording `{id}` already");
            refuse(if is_taken {
                taken
            } else {
                format!("cannot make a folder for recording `{id}`: {error}")
            })
        })?;
        let zero = Zero::of(start.spec.created_at_ms);
        let mut intake = Intake::new(start.spec.mode, start.spec.audio, start.spec.video);
        intake.set_roster(start.roster.clone());
        let journal =
            Journal::new(start.recording, start.session, start.generation, id, *start.spec, zero.unix_us);
        let job = Job::new(zero.now_us(), self.limits(), journal, start.roster);
        let handle = runner::start(self.shared.clone(), job, intake, folder, zero, Some(start.source));
        self.jobs.insert(start.recording, handle);
        Ok(())
    }

    fn check_disk(&self) -> Result<(), String> {
        let space = self.shared.root.space().map_err(|error| format!("cannot look at the disk: {error}"))?;
        let running = self.running_bytes();
        if disk::judge(space, self.settings.disk_reserve_bytes, running) != Verdict::Full {
            return Ok(());
        }
        let least = disk::reserve(space, self.settings.disk_reserve_bytes).saturating_add(running);
        let mib = |bytes: u64| bytes / (1024 * 1024);
        Err(format!(
            "the disk is too full: {} MiB are free, {} MiB are kept",
            mib(space.free_bytes),
            mib(least)
        ))
    }

    fn roster(&self, roster: RecordingRoster) -> OpResult {
        match self.jobs.get(&roster.recording) {
            Some(handle) => {
                let present = handle.status.borrow().journal.generation;
                if roster.generation < present {
                    return OpResult::Err(NodeError::StaleGeneration(present));
                }
                tell(handle, runner::Command::Roster(roster))
            }
            // It ended by itself; the master will hear of it, or has.
            None if self.over.contains_key(&roster.recording) => OpResult::Ok,
            None => OpResult::Err(NodeError::UnknownRecording),
        }
    }

    fn stop(&self, stop: RecordingStop) -> OpResult {
        if let Some(handle) = self.jobs.get(&stop.recording) {
            return tell(handle, runner::Command::Stop);
        }
        match self.over.get(&stop.recording) {
            Some(over) => {
                self.tell(stop.recording, over);
                OpResult::Ok
            }
            None => OpResult::Err(NodeError::UnknownRecording),
        }
    }

    fn delete(&mut self, delete: RecordingDelete, reply: Reply) {
        let Ok(id) = RecordingId::try_from(delete.id) else {
            return reply.done(OpResult::Err(NodeError::UnknownRecording));
        };
        // A folder of this name may be another recording's by now.
        let owner = self.owner(&id);
        if owner.is_some_and(|owner| owner != delete.recording) {
            return reply.done(OpResult::Ok);
        }
        self.over.remove(&delete.recording);
        let Some(handle) = self.jobs.remove(&delete.recording) else {
            let root = Arc::clone(&self.shared.root);
            drop(tokio::task::spawn_blocking(move || reply.done(removed(root.remove(&id)))));
            return;
        };
        drop(task::spawn("delete", async move {
            let (done, removal) = oneshot::channel();
            let result = match handle.commands.send(runner::Command::Delete(done)).await {
                Ok(()) => removal.await.map_err(io::Error::other).and_then(|removal| removal),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            reply.done(removed(result));
        }));
    }

    fn owner(&self, id: &RecordingId) -> Option<RecordingKey> {
        let running = self.jobs.iter().find(|(_, handle)| handle.status.borrow().journal.id == *id);
        let over = || self.over.iter().find(|(_, over)| over.id == *id).map(|(key, _)| *key);
        running.map(|(key, _)| *key).or_else(over)
    }

    fn inventory(&self) -> Running {
        let running = self.jobs.iter().map(|(key, handle)| {
            let journal = &handle.status.borrow().journal;
            RecordingAt {
                recording: *key,
                id: journal.id.to_string(),
                generation: journal.generation,
                running: true,
            }
        });
        let over = self.over.iter().map(|(key, over)| RecordingAt {
            recording: *key,
            id: over.id.to_string(),
            generation: over.generation,
            running: false,
        });
        Running { recordings: running.chain(over).collect(), ..Running::default() }
    }

    /// Jobs that still take media in.
    fn recording(&self) -> usize {
        let is_recording = |handle: &&Handle| handle.status.borrow().journal.phase == Phase::Recording;
        self.jobs.values().filter(is_recording).count()
    }

    fn running_bytes(&self) -> u64 {
        self.jobs.values().map(|handle| handle.status.borrow().bytes).sum()
    }

    /// Puts aside what is over.
    fn sweep(&mut self) {
        let over = &mut self.over;
        self.jobs.retain(|key, handle| {
            let status = handle.status.borrow();
            if let Phase::Ended { fact } = &status.journal.phase {
                over.insert(*key, self::over(&status.journal, fact));
            }
            status.is_running
        });
    }

    fn tell_all(&self, command: impl Fn() -> runner::Command) {
        for handle in self.jobs.values() {
            drop(tell(handle, command()));
        }
    }

    fn tick(&mut self) {
        self.sweep();
        self.guard_disk();
        self.report_load();
        if self.is_draining && self.jobs.is_empty() && !self.is_drained_told {
            self.is_drained_told = true;
            self.shared.link.event(None, NodeFact::Drained);
        }
    }

    fn guard_disk(&mut self) {
        let space = match self.shared.root.space() {
            Ok(space) => space,
            Err(error) => {
                common::warn_limited!(10, %error, "cannot look at the disk");
                return;
            }
        };
        self.metrics.disk_free.set(i64::try_from(space.free_bytes).unwrap_or(i64::MAX));
        let verdict = disk::judge(space, self.settings.disk_reserve_bytes, self.running_bytes());
        let is_new = verdict != std::mem::replace(&mut self.verdict, verdict);
        match verdict {
            // Each time: a job may have begun since.
            Verdict::Full => self.tell_all(|| runner::Command::DiskFull),
            Verdict::Scarce => self.tell_all(|| runner::Command::DiskScarce),
            Verdict::Enough => {}
        }
        if is_new && verdict != Verdict::Enough {
            tracing::warn!(free_bytes = space.free_bytes, ?verdict, "the disk fills up");
        }
    }

    fn report_load(&mut self) {
        let after = cpu();
        let totals = &self.shared.totals;
        let received = (totals.packets.get(), totals.bytes.get());
        let sessions = u32::try_from(self.recording()).unwrap_or(u32::MAX);
        self.metrics.jobs.set(i64::from(sessions));
        self.shared.link.set_load(Load {
            sessions,
            packets_in: received.0 - self.received.0,
            ingress_bps: (received.1 - self.received.1) * 8,
            ..load::between(self.before, after, resident_bytes())
        });
        self.before = after;
        self.received = received;
    }
}

fn over(journal: &Journal, fact: &RecordingFact) -> Over {
    Over {
        id: journal.id.clone(),
        session: journal.session,
        generation: journal.generation,
        fact: fact.clone(),
    }
}

/// Hands a command to a job. One that does not take it within its queue is busy.
fn tell(handle: &Handle, command: runner::Command) -> OpResult {
    match handle.commands.try_send(command) {
        // It is over: what it reported says how.
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => OpResult::Ok,
        Err(mpsc::error::TrySendError::Full(_)) => OpResult::Err(NodeError::Busy),
    }
}

fn removed(result: io::Result<()>) -> OpResult {
    match result {
        Ok(()) => OpResult::Ok,
        Err(error) => {
            OpResult::Err(NodeError::Internal { why: format!("cannot remove the recording: {error}") })
        }
    }
}

/// What this recorder cannot do, or nobody should ask for.
fn check(spec: &RecordingSpec) -> Result<(), String> {
    names::check(&spec.name).map_err(|error| format!("name: {error}"))?;
    if !spec.audio && !spec.video {
        return Err("neither sound nor pictures are to be recorded".to_owned());
    }
    if spec.layout == "CUSTOM" {
        return Err("custom layouts are web pages, which need a browser: this recorder has none".to_owned());
    }
    let is_film = spec.mode == common::wire::recording::RecordingMode::Composed && spec.video;
    let is_size_good = SIDE.contains(&spec.width) && SIDE.contains(&spec.height);
    if is_film && !(is_size_good && FRAME_RATE.contains(&spec.frame_rate)) {
        return Err("a film has sides of 100 to 1999 pixels and 1 to 120 frames a second".to_owned());
    }
    Ok(())
}

/// Zero where the kernel does not tell: the load is then reported as none.
fn cpu() -> load::CpuTicks {
    read("/proc/stat").and_then(|text| load::parse_cpu(&text)).unwrap_or_default()
}

fn resident_bytes() -> u64 {
    read("/proc/self/status").and_then(|text| load::parse_resident_bytes(&text)).unwrap_or_default()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
