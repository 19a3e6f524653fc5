//! Pure: no clock, no I/O, no async.
//!
//! Recordings: what the application asks for, and how a recording ends. A recording goes `Starting` -> `Started` ->
//! `Stopped` -> `Ready` or `Failed`, never back, and a start that comes to nothing goes straight to `Failed`; each
//! step is stored before anybody hears of it. The job behind it is in [`job`], what starts and stops by itself in
//! [`auto`], recorders that come and go in [`recorder`], the object that is written beside the files in [`text`].

pub(crate) mod auto;
pub(crate) mod job;
pub(crate) mod recorder;
pub mod text;

use common::id::{Generation, NodeKey, RecordingKey, SessionKey};
use common::wire::recording::RecordingStop;

use super::Core;
use super::event::CLUSTER;
use super::model::{JobStep, Purpose, Recording, Timer, Waiter};
use super::op::{
    ConnectionRole, Fact, NodeStatus, Reason, RecordingEvent, RecordingNotice, RecordingProperties,
    RecordingStatus, RecordingView, Refusal, Reply, RequestId,
};
use super::record::{RecordKey, RecordingRecord};
use crate::limits::RECORDINGS_MAX;

impl Core {
    pub(crate) fn recording_start(
        &mut self,
        req: RequestId,
        session: &str,
        properties: Option<Box<RecordingProperties>>,
    ) {
        match self.try_recording_start(session, properties) {
            Ok(key) => self.await_recording(key, Waiter::Start, req),
            Err(refusal) => self.refuse(req, refusal),
        }
    }

    fn try_recording_start(
        &mut self,
        session: &str,
        properties: Option<Box<RecordingProperties>>,
    ) -> Result<RecordingKey, Refusal> {
        let session = self.check_recording_start(session)?;
        let properties = match properties {
            Some(properties) => *properties,
            None => self.default_recording(session),
        };
        let recorder = if text::is_web_page(&properties) {
            Err(text::no_web_pages())
        } else {
            Ok(self.choose_recorder(session, &properties, None)?)
        };
        let key = self.create_recording(session, properties).ok_or(Refusal::UnknownSession)?;
        self.run_recording(key, recorder);
        Ok(key)
    }

    /// In the order in which OpenVidu checks.
    pub(crate) fn check_recording_start(&self, name: &str) -> Result<SessionKey, Refusal> {
        let key = self.session_names.get(name).copied().ok_or(Refusal::UnknownSession)?;
        let session = self.sessions.get(&key).ok_or(Refusal::UnknownSession)?;
        if session.record.properties.relayed || session.recording.is_some() {
            return Err(Refusal::RecordingConflict);
        }
        if !session.record.active || self.participants(key) == 0 {
            return Err(Refusal::SessionNotActive);
        }
        if self.recordings.len() >= RECORDINGS_MAX {
            return Err(Refusal::Limit { limit: "recordings" });
        }
        Ok(key)
    }

    pub(crate) fn default_recording(&self, session: SessionKey) -> RecordingProperties {
        let session = self.sessions.get(&session);
        session.map(|it| it.record.properties.default_recording.clone()).unwrap_or_default()
    }

    /// Enters a new recording under the first free name of its session.
    pub(crate) fn create_recording(
        &mut self,
        session: SessionKey,
        mut properties: RecordingProperties,
    ) -> Option<RecordingKey> {
        let key = RecordingKey(self.keys.next());
        let live = self.sessions.get_mut(&session)?;
        let name = live.record.name.clone();
        let source = live.record.home?.node;
        live.recording = Some(key);
        live.autostop_at = None;
        let session_started = live.record.created_at;
        let number = free_number(self.recording_names.range((name.clone(), 0)..).map(|(it, _)| it), &name);
        let id = text::show_id(&name, number);
        if properties.name.is_empty() {
            properties.name.clone_from(&id);
        }
        let source_name = self.nodes.get(&source).map(|it| it.record.name.clone()).unwrap_or_default();
        let record = RecordingRecord {
            id,
            session,
            session_name: name.clone(),
            session_started,
            properties,
            created_at: self.now.unix,
            status: RecordingStatus::Starting,
            size_bytes: 0,
            duration_ms: 0,
            reason: None,
            why: String::new(),
            recorder: None,
            source,
            source_name,
            generation: Generation(self.keys.base()),
            deleting: false,
        };
        self.recording_names.insert((name, number), key);
        self.recordings.insert(key, Recording::new(record));
        self.running.insert(key);
        self.dirty.insert(RecordKey::Recording(key));
        Some(key)
    }

    /// Begins the job at a recorder; without one it has failed.
    pub(crate) fn run_recording(&mut self, key: RecordingKey, recorder: Result<NodeKey, String>) {
        match recorder {
            Ok(recorder) => self.start_job(key, recorder),
            Err(why) => self.fail_recording(key, &why, 0, 0),
        }
    }

    fn await_recording(&mut self, key: RecordingKey, waiter: Waiter, req: RequestId) {
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        recording.waiters.push((waiter, req));
        // It may have come to nothing already.
        self.release_waiters(key);
    }

    pub(crate) fn recording_stop(&mut self, req: RequestId, id: &str, wait: bool) {
        let key = match self.find_recording(id) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(req, refusal),
        };
        let Some(record) = self.recordings.get(&key).map(|it| &it.record) else { return };
        let session = record.session;
        match record.status {
            RecordingStatus::Starting => return self.refuse(req, Refusal::RecordingStarting),
            RecordingStatus::Started => {}
            RecordingStatus::Failed | RecordingStatus::Ready | RecordingStatus::Stopped => {
                return self.refuse(req, Refusal::UnknownRecording);
            }
        }
        if let Some(live) = self.sessions.get_mut(&session) {
            live.record.recording_stopped = true;
            self.dirty.insert(RecordKey::Session(session));
        }
        self.stop_recording(key, Reason::RecordingStoppedByServer);
        if wait {
            let after = self.settings.recording_stop_timeout;
            self.give_recording_time(key, after);
            self.await_recording(key, Waiter::Stop, req);
        } else {
            let view = self.recording_view(key);
            self.reply(req, view.map_or(Reply::Done, |view| Reply::Recording(Box::new(view))));
        }
        self.end_if_unrecorded(session, Reason::RecordingStoppedByServer);
    }

    pub(crate) fn recording_delete(&mut self, req: RequestId, id: &str) {
        let key = match self.find_recording(id) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(req, refusal),
        };
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        if recording.record.status.is_running() {
            return self.refuse(req, Refusal::RecordingRunning);
        }
        recording.record.deleting = true;
        let recorder = recording.record.recorder;
        self.dirty.insert(RecordKey::Recording(key));
        let there = recorder.and_then(|it| self.nodes.get(&it)).map(super::model::Node::is_connected);
        match there {
            // Nobody has files of it.
            None => {
                self.remove_recording(key);
                self.reply(req, Reply::Done);
            }
            Some(connected) => {
                self.send_delete(key);
                if connected {
                    let after = self.settings.command_timeout;
                    self.give_recording_time(key, after);
                    self.await_recording(key, Waiter::Delete, req);
                } else {
                    self.reply(req, Reply::Done);
                }
            }
        }
    }

    /// A recording that the application can see, by its public name.
    pub(crate) fn find_recording(&self, id: &str) -> Result<RecordingKey, Refusal> {
        let (session, number) = text::parse_id(id).ok_or(Refusal::UnknownRecording)?;
        let key = self.recording_names.get(&(session.to_owned(), number)).copied();
        key.filter(|it| self.recordings.get(it).is_some_and(|it| !it.record.deleting))
            .ok_or(Refusal::UnknownRecording)
    }

    /// Takes a recording out of all tables.
    pub(crate) fn remove_recording(&mut self, key: RecordingKey) {
        let Some(recording) = self.recordings.remove(&key) else { return };
        let record = &recording.record;
        if let Some((session, number)) = text::parse_id(&record.id) {
            self.recording_names.remove(&(session.to_owned(), number));
        }
        self.running.remove(&key);
        if let Some(node) = record.recorder.and_then(|it| self.nodes.get_mut(&it)) {
            node.jobs.remove(&key);
        }
        self.dirty.insert(RecordKey::Recording(key));
        for (waiter, req) in recording.waiters {
            match waiter {
                Waiter::Delete => self.reply(req, Reply::Done),
                Waiter::Start | Waiter::Stop => self.refuse(req, Refusal::UnknownRecording),
            }
        }
    }

    /// The recorder says that it records.
    pub(crate) fn recording_started(&mut self, key: RecordingKey) {
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        if recording.record.status != RecordingStatus::Starting {
            return;
        }
        recording.record.status = RecordingStatus::Started;
        recording.due = None;
        let session = recording.record.session;
        let (id, name) = (recording.record.id.clone(), recording.record.properties.name.clone());
        self.dirty.insert(RecordKey::Recording(key));
        self.emit_recording(key);
        self.notify_of_recording(session, Fact::RecordingStarted { id, name });
        self.release_waiters(key);
        self.watch_recorded(session);
    }

    /// Ends a recording that is starting or runs. One that has not begun has failed by it.
    pub(crate) fn stop_recording(&mut self, key: RecordingKey, reason: Reason) {
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        let before = recording.record.status;
        if !before.is_running() {
            return;
        }
        let record = &mut recording.record;
        record.status = RecordingStatus::Stopped;
        record.reason = Some(reason);
        let session = record.session;
        let (id, name) = (record.id.clone(), record.properties.name.clone());
        self.dirty.insert(RecordKey::Recording(key));
        self.leave_session(session, key);
        self.emit_recording(key);
        if before == RecordingStatus::Starting {
            return self.abandon_recording(key, "the recording was ended before it had begun");
        }
        self.notify_of_recording(session, Fact::RecordingStopped { id, name, reason });
        self.send_stop(key);
    }

    /// Asks the recorder to end the job, or to say once more how it ended.
    pub(crate) fn send_stop(&mut self, key: RecordingKey) {
        let Some(record) = self.recordings.get(&key).map(|it| &it.record) else { return };
        let (session, Some(recorder)) = (record.session, record.recorder) else { return };
        if self.nodes.contains_key(&recorder) && !self.is_job_step_pending(key, JobStep::Stop) {
            let purpose = Purpose::Job { recording: key, step: JobStep::Stop };
            self.command(recorder, session, RecordingStop { recording: key }.into(), purpose, None);
        }
    }

    /// Its files are complete.
    pub(crate) fn recording_ready(
        &mut self,
        key: RecordingKey,
        size_bytes: u64,
        duration_ms: u64,
        warning: String,
    ) {
        let Some(record) = self.recordings.get_mut(&key).map(|it| &mut it.record) else { return };
        if record.status != RecordingStatus::Stopped {
            return;
        }
        record.status = RecordingStatus::Ready;
        record.size_bytes = size_bytes;
        record.duration_ms = duration_ms;
        record.why = warning;
        self.settle_recording(key);
    }

    /// It came to nothing.
    pub(crate) fn fail_recording(&mut self, key: RecordingKey, why: &str, size_bytes: u64, duration_ms: u64) {
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        let record = &mut recording.record;
        if !record.status.is_unfinished() {
            return;
        }
        record.status = RecordingStatus::Failed;
        record.size_bytes = size_bytes;
        record.duration_ms = duration_ms;
        why.clone_into(&mut record.why);
        let session = record.session;
        self.leave_session(session, key);
        self.settle_recording(key);
    }

    /// Gives up a recording whose recorder may not know that yet.
    pub(crate) fn abandon_recording(&mut self, key: RecordingKey, why: &str) {
        self.drop_job_steps(key, JobStep::Grant);
        self.drop_job_steps(key, JobStep::Start);
        if self.recordings.get(&key).is_some_and(|it| it.told) {
            self.send_stop(key);
        }
        self.fail_recording(key, why, 0, 0);
    }

    /// The last step of a recording is made.
    fn settle_recording(&mut self, key: RecordingKey) {
        let Some(recording) = self.recordings.get(&key) else { return };
        let recorder = recording.record.recorder;
        self.dirty.insert(RecordKey::Recording(key));
        self.running.remove(&key);
        if let Some(node) = recorder.and_then(|it| self.nodes.get_mut(&it)) {
            node.jobs.remove(&key);
        }
        self.drop_job_steps(key, JobStep::Roster);
        self.send_revoke(key);
        self.emit_recording(key);
        self.release_waiters(key);
    }

    /// The session is no longer recorded by it.
    fn leave_session(&mut self, session: SessionKey, key: RecordingKey) {
        if let Some(live) = self.sessions.get_mut(&session)
            && live.recording == Some(key)
        {
            live.recording = None;
            live.autostop_at = None;
        }
    }

    /// Answers requests whose recording has got where they wait for.
    fn release_waiters(&mut self, key: RecordingKey) {
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        let (status, why) = (recording.record.status, recording.record.why.clone());
        let reached = |waiter: Waiter| match waiter {
            Waiter::Delete => false,
            Waiter::Start => status != RecordingStatus::Starting,
            Waiter::Stop => !status.is_unfinished(),
        };
        let (done, left) =
            std::mem::take(&mut recording.waiters).into_iter().partition(|(it, _)| reached(*it));
        recording.waiters = left;
        if recording.waiters.is_empty() && status != RecordingStatus::Starting {
            recording.due = None;
        }
        let done: Vec<(Waiter, RequestId)> = done;
        for (waiter, req) in done {
            if waiter == Waiter::Start && status == RecordingStatus::Failed {
                self.refuse(req, Refusal::RecordingFailed { why: why.clone() });
            } else if let Some(view) = self.recording_view(key) {
                self.reply(req, Reply::Recording(Box::new(view)));
            }
        }
    }

    pub(crate) fn give_recording_time(&mut self, key: RecordingKey, after: std::time::Duration) {
        let due = self.now.mono + after;
        if let Some(recording) = self.recordings.get_mut(&key) {
            recording.due = Some(due);
            self.schedule(after, Timer::Recording(key));
        }
    }

    /// A recording may have taken too long.
    pub(crate) fn expire_recording(&mut self, key: RecordingKey) {
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        if recording.due.is_none_or(|due| due > self.now.mono) {
            return;
        }
        recording.due = None;
        let session = recording.record.session;
        if recording.record.status == RecordingStatus::Starting {
            let seconds = self.settings.recording_start_timeout.as_secs();
            let why = match recording.told {
                true => format!("the recorder did not begin within {seconds} s: no media arrived there"),
                false => format!("the media node did not let the recorder in within {seconds} s"),
            };
            self.abandon_recording(key, &why);
            return self.end_if_empty(session);
        }
        // The change has been made; what is still under way follows by an event.
        for (waiter, req) in std::mem::take(&mut recording.waiters) {
            match waiter {
                Waiter::Delete => self.reply(req, Reply::Done),
                Waiter::Start | Waiter::Stop => {
                    let view = self.recording_view(key);
                    self.reply(req, view.map_or(Reply::Done, |view| Reply::Recording(Box::new(view))));
                }
            }
        }
    }

    /// The event of a recording's new status: for the application.
    fn emit_recording(&mut self, key: RecordingKey) {
        let Some(record) = self.recordings.get(&key).map(|it| &it.record) else { return };
        let event = RecordingEvent {
            id: record.id.clone(),
            properties: record.properties.clone(),
            created_at: record.created_at,
            status: record.status,
            size_bytes: record.size_bytes,
            duration_ms: record.duration_ms,
            reason: record.reason,
            why: record.why.clone(),
            media_node: record.source_name.clone(),
        };
        // A session's log is kept until its recordings are finished; else nobody would learn of their end.
        let log = if self.logs.contains_key(&record.session) { record.session } else { CLUSTER };
        self.emit_to(log, Some(Vec::new()), Fact::RecordingStatusChanged(Box::new(event)));
    }

    /// Tells the participants that are to know.
    fn notify_of_recording(&mut self, session: SessionKey, what: Fact) {
        let told: Vec<String> = self
            .connections_in_order(session)
            .into_iter()
            .filter_map(|it| self.connections.get(&it))
            .filter(|it| it.record.active.is_some() && self.is_told(it.record.properties.role))
            .map(|it| it.record.name.clone())
            .collect();
        if !told.is_empty() {
            self.emit_to(session, Some(told), what);
        }
    }

    const fn is_told(&self, role: ConnectionRole) -> bool {
        match (self.settings.recording_notice, role) {
            (RecordingNotice::All, _)
            | (RecordingNotice::Moderator | RecordingNotice::PublisherModerator, ConnectionRole::Moderator)
            | (RecordingNotice::PublisherModerator, ConnectionRole::Publisher) => true,
            (RecordingNotice::None, _)
            | (RecordingNotice::Moderator, ConnectionRole::Publisher | ConnectionRole::Subscriber)
            | (RecordingNotice::PublisherModerator, ConnectionRole::Subscriber) => false,
        }
    }

    /// The recording that a participant of this role is told of when it joins: public name and file name.
    pub(crate) fn recording_notice(
        &self,
        session: SessionKey,
        role: ConnectionRole,
    ) -> Option<(String, String)> {
        let key = self.sessions.get(&session)?.recording?;
        let record = &self.recordings.get(&key)?.record;
        (record.status == RecordingStatus::Started && self.is_told(role))
            .then(|| (record.id.clone(), record.properties.name.clone()))
    }

    pub(crate) fn recording_view(&self, key: RecordingKey) -> Option<RecordingView> {
        let recording = self.recordings.get(&key)?;
        let record = &recording.record;
        let recorder = record.recorder.and_then(|it| Some((it, self.nodes.get(&it)?)));
        Some(RecordingView {
            key,
            id: record.id.clone(),
            session: record.session_name.clone(),
            session_started: record.session_started,
            created_at: record.created_at,
            status: record.status,
            properties: record.properties.clone(),
            size_bytes: record.size_bytes,
            duration_ms: record.duration_ms,
            reason: record.reason,
            why: record.why.clone(),
            progress: recording.progress.clone(),
            recorder: recorder.map(|(it, _)| it),
            recorder_name: recorder.map(|(_, it)| it.record.name.clone()),
            recorder_connected: recorder
                .is_some_and(|(_, it)| it.is_connected() && it.record.status != NodeStatus::Lost),
            media_node: record.source_name.clone(),
        })
    }

    pub(crate) fn recording_views(&self) -> Vec<RecordingView> {
        let shown = self.recordings.iter().filter(|(_, it)| !it.record.deleting);
        shown.filter_map(|(key, _)| self.recording_view(*key)).collect()
    }
}

/// The lowest number that none of a session's recordings has; `names` begin with that session's.
fn free_number<'a>(names: impl Iterator<Item = &'a (String, u64)>, session: &str) -> u64 {
    let mut free = 0;
    for (name, number) in names {
        if name != session || *number != free {
            break;
        }
        free += 1;
    }
    free
}
