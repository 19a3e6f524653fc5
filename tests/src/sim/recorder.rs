//! Pure: A recorder as it behaves: jobs that begin once their media node lets them in, files that outlive the process,
//! facts that may be lost and are said once more when a job that is over is stopped again.

use common::id::{Generation, NodeKey, RecordingKey, StreamKey};
use common::wire::node::{FromNode, NodeError, NodeFact, OpResult, ToNode};
use common::wire::recording::{RecordingAt, RecordingFact, RecordingReport, RecordingStart};
use masterd::cluster::op::RecordingStatus;
use rand::Rng;

use super::link::EVENTS;
use super::node::NodeModel;
use super::world::{Happening, MS, World};

/// Where a job is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum JobState {
    /// No media yet.
    Starting,
    Recording,
    /// Its file is made ordinary.
    Finishing,
    Ready,
    Failed,
}

/// A job's folder.
#[derive(Clone, Debug)]
pub(super) struct JobModel {
    pub(super) id: String,
    pub(super) generation: Generation,
    pub(super) state: JobState,
    pub(super) streams: Vec<StreamKey>,
}

impl JobModel {
    fn new(start: RecordingStart) -> Self {
        Self {
            id: start.id,
            generation: start.generation,
            state: JobState::Starting,
            streams: start.roster.into_iter().map(|it| it.stream).collect(),
        }
    }

    /// The process is another one: it finishes what it finds.
    pub(super) const fn outlive(&mut self) {
        match self.state {
            JobState::Starting => self.state = JobState::Failed,
            JobState::Recording => self.state = JobState::Finishing,
            JobState::Finishing | JobState::Ready | JobState::Failed => {}
        }
    }

    pub(super) fn inventoried(&self, recording: RecordingKey) -> RecordingAt {
        let running = matches!(self.state, JobState::Starting | JobState::Recording | JobState::Finishing);
        RecordingAt { recording, id: self.id.clone(), generation: self.generation, running }
    }

    /// How it ended, where it has.
    fn end(&self) -> Option<RecordingFact> {
        match self.state {
            JobState::Ready => Some(RecordingFact::Ready {
                duration_ms: 1000,
                size_bytes: self.generation.0,
                warning: String::new(),
            }),
            JobState::Failed => {
                Some(RecordingFact::Failed { why: "simulated".to_owned(), size_bytes: 0, duration_ms: 0 })
            }
            JobState::Starting | JobState::Recording | JobState::Finishing => None,
        }
    }
}

impl NodeModel {
    /// Carries out a recorder's command.
    pub(super) fn record(&mut self, message: ToNode) -> Result<OpResult, NodeError> {
        match message {
            ToNode::RecordingStart(start) => {
                if start.recording.0.is_multiple_of(11) {
                    return Err(NodeError::Limit { limit: "simulated jobs".to_owned() });
                }
                let taken = self.jobs.iter().any(|(key, it)| it.id == start.id && *key != start.recording);
                assert!(!taken, "the folder of {} is there already at {}", start.id, self.key);
                self.jobs.entry(start.recording).or_insert_with(|| JobModel::new(start));
                Ok(OpResult::Ok)
            }
            ToNode::RecordingRoster(roster) => {
                let job = self.jobs.get_mut(&roster.recording).ok_or(NodeError::UnknownSession)?;
                if roster.generation < job.generation {
                    return Err(NodeError::StaleGeneration(job.generation));
                }
                job.generation = roster.generation;
                job.streams = roster.roster.into_iter().map(|it| it.stream).collect();
                Ok(OpResult::Ok)
            }
            ToNode::RecordingStop(stop) => {
                let job = self.jobs.get_mut(&stop.recording).ok_or(NodeError::UnknownSession)?;
                match job.state {
                    JobState::Starting => job.state = JobState::Failed,
                    JobState::Recording => job.state = JobState::Finishing,
                    JobState::Finishing | JobState::Ready | JobState::Failed => {}
                }
                Ok(OpResult::Ok)
            }
            ToNode::RecordingDelete(delete) => {
                self.jobs.remove(&delete.recording);
                Ok(OpResult::Ok)
            }
            _ => Err(NodeError::Unsupported),
        }
    }
}

impl World {
    /// A job goes on in a while.
    pub(super) fn job_told(&mut self, node: u64, recording: RecordingKey) {
        let boot = self.nodes[&node].boot;
        let after = self.rng.random_range(30..1500) * MS;
        self.at(after, Happening::Job { node, boot, recording });
    }

    /// A job goes on.
    pub(super) fn job_turns(&mut self, node: u64, boot: u64, recording: RecordingKey) {
        let (let_in, calm) = (self.is_let_in(node, recording), self.calm);
        let (chance, paused) = (self.rng.random_range(0..100), self.now_us < self.nodes[&node].paused_until);
        let Some(model) = self.nodes.get_mut(&node) else { return };
        if model.boot != boot || !model.running {
            return;
        }
        let Some(job) = model.jobs.get_mut(&recording) else { return };
        let (fact, again) = match job.state {
            _ if paused => (None, true),
            JobState::Starting if chance < 5 => {
                job.state = JobState::Failed;
                (job.end(), false)
            }
            JobState::Starting if let_in && chance < 90 => {
                job.state = JobState::Recording;
                (Some(RecordingFact::Started), true)
            }
            JobState::Starting => (None, true),
            JobState::Recording if chance < 3 && !calm => {
                job.state = JobState::Finishing;
                (Some(RecordingFact::Stopped { why: "simulated".to_owned() }), true)
            }
            JobState::Recording => {
                let (duration_ms, size_bytes) = (1 + self.now_us / MS, self.now_us);
                (Some(RecordingFact::Progress { duration_ms, size_bytes, warning: String::new() }), true)
            }
            JobState::Finishing => {
                job.state = if chance < 90 { JobState::Ready } else { JobState::Failed };
                (job.end(), false)
            }
            JobState::Ready | JobState::Failed => (job.end(), false),
        };
        if fact == Some(RecordingFact::Started) {
            self.report.recorded += 1;
            let home = *self.job_homes.entry(recording).or_insert(node);
            assert_eq!(home, node, "{recording} began at two recorders");
        }
        if let Some(fact) = fact {
            self.note(&format!("n{node}"), &format!("{recording} {fact:?}"));
            self.say_of_job(node, recording, fact);
        }
        if again {
            let after = self.rng.random_range(500..2500) * MS;
            self.at(after, Happening::Job { node, boot, recording });
        }
    }

    fn say_of_job(&mut self, node: u64, recording: RecordingKey, fact: RecordingFact) {
        let Some(model) = self.nodes.get_mut(&node) else { return };
        let event = model.note(None, NodeFact::Recording(RecordingReport { recording, fact }));
        self.reply_from(node, EVENTS, common::id::OpId(0), FromNode::NodeEvent(event));
    }

    /// Some media node lets the recorder in.
    fn is_let_in(&self, recorder: u64, recording: RecordingKey) -> bool {
        let mut taps = self.nodes.values().filter_map(|it| it.taps.get(&recording));
        taps.any(|(_, it)| *it == NodeKey(recorder))
    }

    /// When all is quiet: recorders record exactly what the core intends, nothing hangs, nothing was lost.
    pub(super) fn check_recordings(&mut self) {
        let views = self.core_recordings();
        for view in &views {
            let settled = matches!(
                view.status,
                RecordingStatus::Started | RecordingStatus::Ready | RecordingStatus::Failed
            );
            assert!(settled, "{} hangs in {:?}", view.id, view.status);
            if view.status == RecordingStatus::Ready {
                let job = view.recorder.and_then(|it| self.nodes[&it.0].jobs.get(&view.key));
                assert_eq!(job.map(|it| it.state), Some(JobState::Ready), "{} has its files", view.id);
            }
        }
        let Some(core) = &self.core else { return };
        for (key, node) in self.nodes.iter().filter(|(_, it)| it.recorder) {
            let intended: Vec<_> = core
                .intended(NodeKey(*key))
                .recordings
                .into_iter()
                .map(|it| (it.recording, it.generation, it.streams))
                .collect();
            let observed: Vec<_> = node
                .jobs
                .iter()
                .filter(|(_, it)| matches!(it.state, JobState::Starting | JobState::Recording))
                .map(|(key, it)| (*key, it.generation, it.streams.clone()))
                .collect();
            assert_eq!(intended, observed, "recordings of recorder {key}: intended, observed");
        }
        for ((id, at), status) in self.ledger.recordings() {
            if self.removed.contains(id) {
                continue;
            }
            let view = views.iter().find(|it| it.id == *id && it.created_at == *at);
            assert_eq!(view.map(|it| it.status), Some(status), "{id} is as it was told");
        }
        let completed = views.iter().filter(|it| it.status == RecordingStatus::Ready).count();
        self.report.completed = u64::try_from(completed).unwrap_or(u64::MAX);
    }
}
