//! Pure: no clock, no I/O, no async.
//!
//! The job behind a recording: which recorder, what it and the session's media node are told, what they answer.
//!
//! Start: the media node is told to let the recorder in (`TapGrant`); when it has, the recorder is told to begin; its
//! `Started` makes the recording run. A recorder that refuses at once is followed by another; one that is silent is
//! not, because it may have begun.

use std::collections::BTreeSet;

use common::id::{Generation, NodeKey, OpId, RecordingKey, SessionKey, StreamKey};
use common::wire::node::{NodeError, OpResult};
use common::wire::recording::{
    RecordingDelete, RecordingFact, RecordingMode, RecordingReport, RecordingRoster, RecordingSpec,
    RecordingStart, RosterEntry, TapGrant, TapRevoke, TapSource,
};

use super::text;
use crate::cluster::model::{JobStep, Purpose, Reservation};
use crate::cluster::op::{
    NodeStatus, OutputMode, Reason, RecordingProgress, RecordingProperties, RecordingStatus, Refusal,
    UnixMillis,
};
use crate::cluster::record::{Publication, RecordKey, RecordingRecord};
use crate::cluster::{Core, IntendedRecording};
use crate::limits::RECORDERS_TRIED_MAX;
use crate::placement::{self, Work};

/// Text of a recorder that is kept.
const WHY_BYTES_MAX: usize = 1000;

impl Core {
    /// The recorder for a recording of this session; `job` is one that other recorders have refused.
    pub(crate) fn choose_recorder(
        &mut self,
        session: SessionKey,
        properties: &RecordingProperties,
        job: Option<RecordingKey>,
    ) -> Result<NodeKey, Refusal> {
        let wanted = self.wanted_recorder(properties)?;
        let none = BTreeSet::new();
        let tried = job.and_then(|it| self.recordings.get(&it)).map_or(&none, |it| &it.tried);
        let candidates: Vec<_> =
            self.nodes.iter().map(|(key, live)| self.candidate(*key, live, tried.contains(key))).collect();
        let plan = placement::plan(&candidates, Work::Recording, wanted.as_deref());
        let chosen = plan.chosen;
        let why = placement::refusal(&plan, "recorder");
        let name = self.sessions.get(&session).map(|it| it.record.name.clone()).unwrap_or_default();
        let id = job.and_then(|it| self.recordings.get(&it)).map(|it| it.record.id.clone());
        self.keep_decision(&name, Some(id.unwrap_or_else(|| name.clone())), plan);
        let recorder = chosen.ok_or(Refusal::NoRecorder { why })?;
        self.placements += 1;
        if let Some(node) = self.nodes.get_mut(&recorder) {
            let stress = expected_stress(properties, node.record.capacity.workers);
            node.placed = self.placements;
            node.reservations.push_back(Reservation { at: self.now.mono, stress });
        }
        Ok(recorder)
    }

    /// `mediaNode`: a recorder that is the only one, or a media node, which must be there but decides nothing:
    /// recordings do not run on media nodes here.
    fn wanted_recorder(&self, properties: &RecordingProperties) -> Result<Option<String>, Refusal> {
        let Some(name) = &properties.media_node else { return Ok(None) };
        let key = self.find_node(name).ok_or(Refusal::UnknownNode)?;
        let node = self.nodes.get(&key).ok_or(Refusal::UnknownNode)?;
        if node.record.recorder {
            return Ok(Some(name.clone()));
        }
        if node.record.status != NodeStatus::Running || !node.is_connected() {
            return Err(Refusal::NoRecorder { why: format!("Media Node {name} is not available") });
        }
        Ok(None)
    }

    /// Lets a recorder in at the media node; it is told to begin when that is done.
    pub(crate) fn start_job(&mut self, key: RecordingKey, recorder: NodeKey) {
        let generation = Generation(self.keys.next());
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        recording.told = false;
        recording.record.recorder = Some(recorder);
        recording.record.generation = generation;
        let (session, source) = (recording.record.session, recording.record.source);
        let is_first = recording.due.is_none();
        self.dirty.insert(RecordKey::Recording(key));
        if let Some(node) = self.nodes.get_mut(&recorder) {
            node.jobs.insert(key);
        }
        if is_first {
            let timeout = self.settings.recording_start_timeout;
            self.give_recording_time(key, timeout);
        }
        let grant = TapGrant { session, recording: key, recorder, generation };
        let give_up_at = Some(self.now.mono + self.settings.recording_start_timeout);
        let purpose = Purpose::Job { recording: key, step: JobStep::Grant };
        self.command(source, session, grant.into(), purpose, give_up_at);
    }

    fn send_start(&mut self, key: RecordingKey) {
        let Some(recording) = self.recordings.get(&key) else { return };
        let record = &recording.record;
        let (Some(recorder), session) = (record.recorder, record.session) else { return };
        let prefix = &self.settings.recordings_url;
        let Some(view) = self.recording_view(key) else { return };
        let start = RecordingStart {
            recording: key,
            session,
            generation: record.generation,
            id: record.id.clone(),
            spec: Box::new(RecordingSpec {
                metadata: text::metadata(&view, prefix),
                url: text::url(prefix, &view),
                ..spec(record)
            }),
            source: self.tap_source(record.source),
            roster: self.roster(session),
            ext: Vec::new(),
        };
        if let Some(recording) = self.recordings.get_mut(&key) {
            recording.told = true;
        }
        let purpose = Purpose::Job { recording: key, step: JobStep::Start };
        self.command(recorder, session, start.into(), purpose, None);
    }

    /// Tells recorders what has changed in their sessions while an input was handled.
    pub(crate) fn send_rosters(&mut self) {
        for session in std::mem::take(&mut self.rosters) {
            let key = self.sessions.get(&session).and_then(|it| it.recording);
            if let Some(key) = key.filter(|it| self.recordings.get(it).is_some_and(|it| it.told)) {
                self.send_roster(key);
            }
        }
    }

    pub(crate) fn send_roster(&mut self, key: RecordingKey) {
        // Only the newest one counts.
        self.drop_job_steps(key, JobStep::Roster);
        let generation = Generation(self.keys.next());
        let Some(record) = self.recordings.get_mut(&key).map(|it| &mut it.record) else { return };
        record.generation = generation;
        let (Some(recorder), session, source) = (record.recorder, record.session, record.source) else {
            return;
        };
        self.dirty.insert(RecordKey::Recording(key));
        let message = RecordingRoster {
            recording: key,
            generation,
            roster: self.roster(session),
            source: self.tap_source(source),
        };
        let purpose = Purpose::Job { recording: key, step: JobStep::Roster };
        self.command(recorder, session, message.into(), purpose, None);
    }

    fn tap_source(&self, node: NodeKey) -> TapSource {
        let addresses = self.nodes.get(&node).map(|it| it.record.media_link.clone()).unwrap_or_default();
        TapSource { node, addresses }
    }

    /// A session's streams in the order of publishing.
    fn roster(&self, session: SessionKey) -> Vec<RosterEntry> {
        let streams = self.sessions.get(&session).map(|it| &it.streams);
        let mut entries: Vec<(UnixMillis, StreamKey, RosterEntry)> = streams
            .into_iter()
            .flatten()
            .filter_map(|(stream, endpoint)| {
                let record = &self.endpoints.get(endpoint)?.record;
                let publication = record.publication.as_ref()?;
                let connection = &self.connections.get(&record.connection)?.record;
                Some((
                    publication.published_at,
                    *stream,
                    entry(*stream, publication, record.connection, connection),
                ))
            })
            .collect();
        entries.sort_by_key(|(at, stream, _)| (*at, *stream));
        entries.into_iter().map(|(.., entry)| entry).collect()
    }

    pub(crate) fn intended_recording(&self, key: RecordingKey) -> Option<IntendedRecording> {
        let record = &self.recordings.get(&key)?.record;
        let streams = self.roster(record.session).into_iter().map(|it| it.stream).collect();
        let intended = IntendedRecording { recording: key, generation: record.generation, streams };
        record.status.is_running().then_some(intended)
    }

    /// The media node need not let the recorder in any more.
    pub(crate) fn send_revoke(&mut self, key: RecordingKey) {
        self.drop_job_steps(key, JobStep::Grant);
        let Some(record) = self.recordings.get(&key).map(|it| &it.record) else { return };
        let (session, source) = (record.session, record.source);
        // A session that is closed, or has moved, has taken its taps along.
        let is_home =
            self.sessions.get(&session).and_then(|it| it.record.home).map(|it| it.node) == Some(source);
        if record.recorder.is_some() && is_home {
            let purpose = Purpose::Job { recording: key, step: JobStep::Revoke };
            let message = TapRevoke { session, recording: key };
            self.command(source, session, message.into(), purpose, None);
        }
    }

    pub(crate) fn send_delete(&mut self, key: RecordingKey) {
        if self.is_job_step_pending(key, JobStep::Delete) {
            return;
        }
        let Some(record) = self.recordings.get(&key).map(|it| &it.record) else { return };
        let (Some(recorder), session, id) = (record.recorder, record.session, record.id.clone()) else {
            return;
        };
        let purpose = Purpose::Job { recording: key, step: JobStep::Delete };
        self.command(recorder, session, RecordingDelete { recording: key, id }.into(), purpose, None);
    }

    pub(crate) fn is_job_step_pending(&self, key: RecordingKey, step: JobStep) -> bool {
        self.job_steps(key, step).next().is_some()
    }

    fn job_steps(&self, key: RecordingKey, step: JobStep) -> impl Iterator<Item = OpId> {
        let record = self.recordings.get(&key).map(|it| &it.record);
        let node = match step {
            JobStep::Grant | JobStep::Revoke => record.map(|it| it.source),
            JobStep::Delete | JobStep::Roster | JobStep::Start | JobStep::Stop => {
                record.and_then(|it| it.recorder)
            }
        };
        let ops = node.and_then(|it| self.nodes.get(&it)).map(|it| &it.commands);
        ops.into_iter().flatten().copied().filter(move |op| {
            self.commands.get(op).is_some_and(|it| {
                matches!(it.purpose, Purpose::Job { recording, step: it } if recording == key && it == step)
            })
        })
    }

    /// Calls back what was told and not answered.
    pub(crate) fn drop_job_steps(&mut self, key: RecordingKey, step: JobStep) {
        let ops: Vec<OpId> = self.job_steps(key, step).collect();
        for op in ops {
            self.drop_command(op);
        }
    }

    /// A node has answered a step.
    pub(crate) fn job_answered(&mut self, node: NodeKey, key: RecordingKey, step: JobStep, result: OpResult) {
        let error = match result {
            OpResult::Ok | OpResult::Ready(_) | OpResult::State(_) => None,
            OpResult::Err(error) => Some(error),
        };
        let link = self.nodes.get(&node).map_or(0, |it| it.links);
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        let (session, status) = (recording.record.session, recording.record.status);
        match (step, error) {
            (JobStep::Grant, None) if status == RecordingStatus::Starting => self.send_start(key),
            (JobStep::Grant, Some(error)) if status == RecordingStatus::Starting => {
                self.fail_recording(
                    key,
                    &format!("the media node does not let the recorder in: {error}"),
                    0,
                    0,
                );
                self.end_if_empty(session);
            }
            (JobStep::Start, None) => recording.confirmed_link = link,
            (JobStep::Start, Some(error)) if status == RecordingStatus::Starting => {
                self.job_refused(key, node, &error);
            }
            (JobStep::Stop, Some(error)) if status == RecordingStatus::Stopped => {
                self.fail_recording(key, &format!("the recorder does not have the job: {error}"), 0, 0);
            }
            (JobStep::Delete, None) => self.remove_recording(key),
            (JobStep::Delete, Some(error)) => self.delete_failed(key, &error),
            (JobStep::Grant | JobStep::Revoke | JobStep::Roster | JobStep::Start | JobStep::Stop, _) => {}
        }
    }

    /// A recorder does not take a job: another one may.
    fn job_refused(&mut self, key: RecordingKey, node: NodeKey, error: &NodeError) {
        if *error == NodeError::Draining {
            self.set_status(node, NodeStatus::WaitingIdleToTerminate);
        }
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        recording.told = false;
        recording.tried.insert(node);
        recording.record.recorder = None;
        let again = recording.tried.len() < RECORDERS_TRIED_MAX;
        let (session, properties) = (recording.record.session, recording.record.properties.clone());
        if let Some(live) = self.nodes.get_mut(&node) {
            live.jobs.remove(&key);
        }
        self.dirty.insert(RecordKey::Recording(key));
        let next = if again { self.choose_recorder(session, &properties, Some(key)).ok() } else { None };
        match next {
            Some(recorder) => self.start_job(key, recorder),
            None => {
                // What the recorder said is nearer to the cause than that no other was found.
                self.fail_recording(key, &format!("the recorder refused: {}", words(error)), 0, 0);
                self.end_if_empty(session);
            }
        }
    }

    /// Files could not be removed: the recording is there again.
    fn delete_failed(&mut self, key: RecordingKey, error: &NodeError) {
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        recording.record.deleting = false;
        let waiters = std::mem::take(&mut recording.waiters);
        let unfinished = recording.record.status.is_unfinished();
        self.dirty.insert(RecordKey::Recording(key));
        if unfinished {
            // What it said meanwhile was not listened to.
            self.send_stop(key);
        }
        for (_, req) in waiters {
            let why = format!("the recorder cannot remove the files: {}", words(error));
            self.refuse(req, Refusal::RecordingFailed { why });
        }
    }

    /// A step will not be answered.
    pub(crate) fn job_unanswered(&mut self, key: RecordingKey, step: JobStep) {
        let Some(record) = self.recordings.get(&key).map(|it| &it.record) else { return };
        let (session, starting) = (record.session, record.status == RecordingStatus::Starting);
        let why = match step {
            JobStep::Grant => "the media node did not let the recorder in",
            JobStep::Start => "the recorder was lost before the recording had begun",
            // The inventory of the recorder's next process says what has become of these.
            JobStep::Delete | JobStep::Revoke | JobStep::Roster | JobStep::Stop => return,
        };
        if starting {
            self.abandon_recording(key, why);
            self.end_if_empty(session);
        }
    }

    /// A turn of a job.
    pub(crate) fn recording_report(&mut self, node: NodeKey, report: RecordingReport) {
        let key = report.recording;
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        let is_over = recording.record.deleting || !recording.record.status.is_unfinished();
        if recording.record.recorder != Some(node) || is_over {
            return;
        }
        let session = recording.record.session;
        match report.fact {
            RecordingFact::Started => self.recording_started(key),
            RecordingFact::Progress { duration_ms, size_bytes, warning } => {
                recording.progress = RecordingProgress { duration_ms, size_bytes, warning: cut(warning) };
                // Its `Started` was lost with masterd's last process.
                if duration_ms > 0 {
                    self.recording_started(key);
                }
            }
            RecordingFact::Stopped { why } => {
                if recording.record.status == RecordingStatus::Starting {
                    self.fail_recording(key, &cut(why), 0, 0);
                } else {
                    recording.record.why = cut(why);
                    self.stop_recording(key, Reason::AutomaticStop);
                }
            }
            RecordingFact::Ready { duration_ms, size_bytes, warning } => {
                self.end_by_itself(key);
                self.recording_ready(key, size_bytes, duration_ms, cut(warning));
            }
            RecordingFact::Failed { why, size_bytes, duration_ms } => {
                if recording.record.status == RecordingStatus::Started {
                    self.end_by_itself(key);
                }
                self.fail_recording(key, &cut(why), size_bytes, duration_ms);
            }
        }
        self.end_if_unrecorded(session, Reason::LastParticipantLeft);
    }

    /// A job that nobody has stopped is over: its recorder has lost it on the way.
    fn end_by_itself(&mut self, key: RecordingKey) {
        if self.recordings.get(&key).is_some_and(|it| it.record.status == RecordingStatus::Starting) {
            self.recording_started(key);
        }
        self.stop_recording(key, Reason::NodeCrashed);
        self.drop_job_steps(key, JobStep::Stop);
    }
}

fn entry(
    stream: StreamKey,
    publication: &Publication,
    connection: common::id::ConnectionKey,
    record: &crate::cluster::record::ConnectionRecord,
) -> RosterEntry {
    let client = record.active.as_ref().map(|it| it.client.client_data.clone());
    RosterEntry {
        stream,
        connection,
        stream_id: publication.name.clone(),
        connection_id: record.name.clone(),
        client_data: client.unwrap_or_default(),
        server_data: record.properties.server_data.clone(),
        type_of_video: publication.options.type_of_video.clone(),
        has_audio: publication.has_audio,
        has_video: publication.has_video,
        audio_active: publication.options.audio_active,
        video_active: publication.options.video_active,
        record: record.properties.record,
        ext: Vec::new(),
    }
}

/// What a recorder is told of what it is to record, without the texts.
fn spec(record: &RecordingRecord) -> RecordingSpec {
    let properties = &record.properties;
    RecordingSpec {
        name: properties.name.clone(),
        mode: match properties.mode {
            OutputMode::Composed | OutputMode::ComposedQuickStart => RecordingMode::Composed,
            OutputMode::Individual => RecordingMode::Individual,
        },
        audio: properties.has_audio,
        video: properties.has_video,
        layout: properties.layout.clone(),
        custom_layout: properties.custom_layout.clone(),
        width: properties.width,
        height: properties.height,
        frame_rate: properties.frame_rate,
        ignore_failed_streams: properties.ignore_failed_streams,
        session: record.session_name.clone(),
        session_started_ms: record.session_started,
        created_at_ms: record.created_at,
        metadata: String::new(),
        url: String::new(),
    }
}

/// Share of a recorder that a job will probably take: a film of 1280x720 at 25 frames/s takes a third of a core, an
/// archive or a film without pictures hardly anything.
fn expected_stress(properties: &RecordingProperties, cores: u16) -> f64 {
    let cost = if properties.is_film() {
        let pixels =
            f64::from(properties.width) * f64::from(properties.height) * f64::from(properties.frame_rate);
        0.33 * pixels / (1280.0 * 720.0 * 25.0)
    } else {
        0.05
    };
    cost / f64::from(cores.max(1))
}

/// A refusal in a recorder's own words where it has some.
fn words(error: &NodeError) -> String {
    match error {
        NodeError::Internal { why } | NodeError::Refused { why } => why.clone(),
        NodeError::Limit { limit } => format!("its limit of {limit} is reached"),
        NodeError::Busy
        | NodeError::Draining
        | NodeError::Expired
        | NodeError::InvalidSdp { .. }
        | NodeError::NoCodec { .. }
        | NodeError::StaleEpoch(_)
        | NodeError::StaleGeneration(_)
        | NodeError::UnknownEndpoint
        | NodeError::UnknownRecording
        | NodeError::UnknownSession
        | NodeError::UnknownStream
        | NodeError::Unsupported => error.to_string(),
    }
}

/// A recorder's text is bounded.
fn cut(mut text: String) -> String {
    if text.len() > WHY_BYTES_MAX {
        let end = (0..=WHY_BYTES_MAX).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
