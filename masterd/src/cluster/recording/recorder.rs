//! Pure: no clock, no I/O, no async.
//!
//! Recorders that come and go. One that is cut off goes on recording, because media does not pass here; only when it
//! stays away are its recordings stopped, as far as anybody here can know. What it really has is said by its
//! inventory and by its facts, and until then a recording stays `Stopped`.

use common::id::{NodeKey, RecordingKey, SessionKey};
use common::wire::recording::RecordingAt;

use crate::cluster::Core;
use crate::cluster::model::{Inventoried, JobStep, Timer};
use crate::cluster::op::{NodeStatus, Reason, RecordingStatus};
use crate::cluster::record::RecordKey;

impl Core {
    /// A recorder is lost: its recordings go on for a while.
    pub(crate) fn recorder_lost(&mut self, node: NodeKey) {
        if self.nodes.get(&node).is_some_and(|it| !it.jobs.is_empty()) {
            self.schedule(self.settings.recorder_grace, Timer::RecorderGone(node));
        }
    }

    /// A recorder may have been away for too long.
    pub(crate) fn expire_recorder(&mut self, node: NodeKey) {
        let lost = self.nodes.get(&node).is_none_or(|it| it.record.status == NodeStatus::Lost);
        if lost {
            self.stop_jobs(node, "the recorder was lost before the recording had begun");
        }
    }

    /// A recorder's process is another one: what its last one recorded has ended.
    pub(crate) fn recorder_restarted(&mut self, node: NodeKey) {
        self.stop_jobs(node, "the recorder was restarted before the recording had begun");
    }

    fn stop_jobs(&mut self, node: NodeKey, why: &str) {
        let jobs: Vec<RecordingKey> =
            self.nodes.get(&node).map(|it| it.jobs.iter().copied().collect()).unwrap_or_default();
        for key in jobs {
            let Some(record) = self.recordings.get(&key).map(|it| &it.record) else { continue };
            let session = record.session;
            match record.status {
                RecordingStatus::Starting => self.abandon_recording(key, why),
                RecordingStatus::Started => self.stop_recording(key, Reason::NodeCrashed),
                RecordingStatus::Failed | RecordingStatus::Ready | RecordingStatus::Stopped => continue,
            }
            self.end_if_unrecorded(session, Reason::LastParticipantLeft);
        }
    }

    /// A recorder leaves the cluster for good: what it had not finished will never be.
    pub(crate) fn give_up_jobs(&mut self, node: NodeKey) {
        self.stop_jobs(node, "the recorder has left the cluster");
        let jobs: Vec<RecordingKey> =
            self.nodes.get(&node).map(|it| it.jobs.iter().copied().collect()).unwrap_or_default();
        for key in jobs {
            self.fail_recording(key, "the recorder has left the cluster with what it had recorded", 0, 0);
        }
        let removed: Vec<RecordingKey> = self
            .recordings
            .iter()
            .filter(|(_, it)| it.record.deleting && it.record.recorder == Some(node))
            .map(|(key, _)| *key)
            .collect();
        for key in removed {
            self.remove_recording(key);
        }
    }

    /// After a start of masterd: the times of what is under way begin anew.
    pub(crate) fn repair_recordings(&mut self) {
        let running: Vec<RecordingKey> = self.running.iter().copied().collect();
        for key in running {
            let Some(record) = self.recordings.get(&key).map(|it| &it.record) else { continue };
            let (session, recorder, status) = (record.session, record.recorder, record.status);
            let node = recorder.and_then(|it| self.nodes.get(&it)).map(|it| it.record.status);
            match node {
                None => self.lose_recording(key),
                Some(NodeStatus::Lost) => {
                    if let Some(recorder) = recorder {
                        self.recorder_lost(recorder);
                    }
                }
                Some(_) => {}
            }
            if status == RecordingStatus::Starting {
                self.give_recording_time(key, self.settings.recording_start_timeout);
            }
            self.watch_recorded(session);
        }
        self.end_abandoned_sessions();
    }

    /// A recorder that the store does not know will not finish anything.
    fn lose_recording(&mut self, key: RecordingKey) {
        self.stop_recording(key, Reason::NodeCrashed);
        self.fail_recording(key, "its recorder has left the cluster", 0, 0);
    }

    /// Sessions that only a join under way, or a recording, has kept.
    fn end_abandoned_sessions(&mut self) {
        let active: Vec<SessionKey> =
            self.sessions.iter().filter(|(_, it)| it.record.active).map(|(key, _)| *key).collect();
        for key in active {
            self.end_if_unrecorded(key, Reason::LastParticipantLeft);
        }
    }

    /// Intended against observed: what a recorder says it has.
    pub(crate) fn reconcile_recordings(&mut self, node: NodeKey, inventory: &Inventoried) {
        self.adopt_recordings(node, inventory);
        let ours: Vec<RecordingKey> = self
            .recordings
            .iter()
            .filter(|(_, it)| it.record.recorder == Some(node))
            .filter(|(_, it)| it.record.deleting || it.record.status.is_unfinished())
            .map(|(key, _)| *key)
            .collect();
        for key in ours {
            match inventory.recordings.get(&key) {
                None => self.recording_missing(node, key),
                Some(there) => self.recording_found(node, key, there),
            }
        }
    }

    /// Files of a recorder that is no more lie at another one now.
    fn adopt_recordings(&mut self, node: NodeKey, inventory: &Inventoried) {
        for (key, there) in &inventory.recordings {
            let Some(recording) = self.recordings.get_mut(key) else { continue };
            let record = &mut recording.record;
            let orphaned = record.recorder.is_none_or(|it| !self.nodes.contains_key(&it));
            if orphaned && record.id == there.id && record.status != RecordingStatus::Starting {
                record.recorder = Some(node);
                self.dirty.insert(RecordKey::Recording(*key));
            }
        }
    }

    fn recording_missing(&mut self, node: NodeKey, key: RecordingKey) {
        let link = self.nodes.get(&node).map_or(0, |it| it.links);
        let Some(recording) = self.recordings.get(&key) else { return };
        if recording.record.deleting {
            return self.remove_recording(key);
        }
        // It is about to be told, or was told after the inventory was written.
        let pending = [JobStep::Grant, JobStep::Start].iter().any(|it| self.is_job_step_pending(key, *it));
        if pending || recording.confirmed_link == link {
            return;
        }
        let (session, status) = (recording.record.session, recording.record.status);
        if status == RecordingStatus::Started {
            self.stop_recording(key, Reason::NodeCrashed);
        }
        self.drop_job_steps(key, JobStep::Stop);
        self.fail_recording(key, "the recorder no longer has the recording", 0, 0);
        self.end_if_unrecorded(session, Reason::LastParticipantLeft);
    }

    fn recording_found(&mut self, node: NodeKey, key: RecordingKey, there: &RecordingAt) {
        let link = self.nodes.get(&node).map_or(0, |it| it.links);
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        recording.confirmed_link = link;
        recording.told = true;
        if recording.record.deleting {
            return self.send_delete(key);
        }
        let (status, generation) = (recording.record.status, recording.record.generation);
        match (status, there.running) {
            (RecordingStatus::Started, true) => {
                if there.generation != generation && !self.is_job_step_pending(key, JobStep::Roster) {
                    self.send_roster(key);
                }
            }
            // How it ended may have been said while nobody listened: a stop makes the recorder say it again.
            (RecordingStatus::Stopped, _) | (RecordingStatus::Started, false) => self.send_stop(key),
            (RecordingStatus::Starting | RecordingStatus::Failed | RecordingStatus::Ready, _) => {}
        }
    }

    pub(crate) fn is_job_of(&self, node: NodeKey, key: RecordingKey) -> bool {
        self.nodes.get(&node).is_some_and(|it| it.jobs.contains(&key))
    }

    /// Jobs that nobody wants any more are stopped; what they have written is kept.
    pub(crate) fn stop_orphaned_job(&mut self, node: NodeKey, key: RecordingKey) {
        if !self.is_job_of(node, key) {
            self.orphans_closed += 1;
            let message = common::wire::recording::RecordingStop { recording: key };
            let session = SessionKey(key.0);
            let purpose = crate::cluster::model::Purpose::Job { recording: key, step: JobStep::Stop };
            self.command(node, session, message.into(), purpose, None);
        }
    }
}
