//! Pure: no clock, no I/O, no async.
//!
//! What operators do to the made-up cluster, and what it would affect.

use common::wire::operator::{EventSubject, Impact, RecordingRow, Severity, Verb};

use super::{DemoSession, World, cast, publishers_of};
use crate::model::{NodeState, Operate, Operated};
use crate::text::Clean;

/// Recordings that are kept.
const RECORDINGS_MAX: usize = 100;

impl World {
    /// Does what an operator asks for, or says what it would affect.
    pub fn operate(&mut self, operate: &Operate) -> Operated {
        let impact = match self.impact(&operate.verb) {
            Ok(impact) => impact,
            Err(why) => return Operated::Refused(Clean::new(&why)),
        };
        if operate.dry_run {
            let lines = impact.lines.iter().map(|line| Clean::new(line)).collect();
            return Operated::Impact { generation: impact.generation, lines };
        }
        if operate.expected.is_some_and(|expected| expected != impact.generation) {
            return Operated::Refused(Clean::new("it has changed since it was looked at"));
        }
        let done = self.carry_out(&operate.verb);
        self.recount();
        let text =
            format!("you (admin) from here: {} {done} because {:?}", operate.verb.name(), operate.reason);
        let target = operate.verb.target().to_owned();
        self.happened(Severity::Audit, "audit", EventSubject::Cluster, target, text);
        Operated::Done(Clean::new(&done))
    }

    fn node_index(&self, name: &str) -> Result<usize, String> {
        self.nodes.iter().position(|node| node.name == name).ok_or_else(|| "unknown media node".to_owned())
    }

    fn session_index(&self, name: &str) -> Result<usize, String> {
        // Names are shown without what is harmful, and asked for as shown.
        let found = self.sessions.iter().position(|it| it.name == name || *Clean::new(&it.name) == *name);
        found.ok_or_else(|| "unknown session".to_owned())
    }

    fn recording_index(&self, id: &str) -> Result<usize, String> {
        self.recordings.iter().position(|it| it.id == id).ok_or_else(|| "unknown recording".to_owned())
    }

    fn impact(&self, verb: &Verb) -> Result<Impact, String> {
        let mut impact = Impact::default();
        let line = |text: String| vec![text];
        match verb {
            Verb::NodeDrain { node } | Verb::NodeRemove { node } | Verb::NodeUndrain { node } => {
                let at = self.node_index(node)?;
                self.node_impact(at, verb, &mut impact)?;
            }
            Verb::SessionClose { session } => {
                let session = &self.sessions[self.session_index(session)?];
                impact.generation = session.key.0;
                let streams = publishers_of(session.connections);
                impact.lines =
                    line(format!("1 session, {} connections, {streams} streams end", session.connections));
            }
            Verb::ConnectionEvict { connection, .. } => {
                let key = cast::session_of(connection).ok_or("unknown connection")?;
                let known = self.sessions.iter().any(|session| session.key.0 == key);
                impact.lines = line("1 connection and 1 stream end".to_owned());
                return if known { Ok(impact) } else { Err("unknown connection".to_owned()) };
            }
            Verb::StreamUnpublish { session, .. } => {
                let session = &self.sessions[self.session_index(session)?];
                let others = session.connections.saturating_sub(1);
                impact.lines = line(format!("1 stream ends, {others} connections receive it"));
            }
            Verb::RecordingStart { session, .. } => {
                let session = &self.sessions[self.session_index(session)?];
                let running = |it: &RecordingRow| it.session == session.name && it.state == "started";
                if self.recordings.iter().any(running) {
                    return Err("the session is being recorded already".to_owned());
                }
                impact.lines = line(format!("a recording of {} connections begins", session.connections));
            }
            Verb::RecordingStop { recording } => {
                let recording = &self.recordings[self.recording_index(recording)?];
                if recording.state != "started" {
                    return Err("the recording has ended already".to_owned());
                }
                impact.lines = line("the recording ends and is made ready".to_owned());
            }
            Verb::RecordingDelete { recording } => {
                let recording = &self.recordings[self.recording_index(recording)?];
                if recording.state == "started" {
                    return Err("the recording is under way: end it first".to_owned());
                }
                impact.lines = line("its files are deleted for good".to_owned());
            }
        }
        Ok(impact)
    }

    fn node_impact(&self, at: usize, verb: &Verb, impact: &mut Impact) -> Result<(), String> {
        let node = &self.nodes[at];
        let here: Vec<&DemoSession> = self.sessions.iter().filter(|session| session.node == at).collect();
        let connections: u32 = here.iter().map(|session| session.connections).sum();
        let others: Vec<f64> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, it)| *index != at && !it.recorder && it.state == NodeState::Running)
            .map(|(_, it)| it.load)
            .collect();
        let mean = (others.iter().sum::<f64>() + node.load) * 100.0 / (others.len().max(1) as f64);
        let left = format!("{} nodes at {mean:.0} % cpu on average are left", others.len());
        impact.generation = node.since_ms;
        match (verb, node.state) {
            (Verb::NodeDrain { .. }, NodeState::Running) => {
                impact.lines = vec![
                    format!("{} sessions, {connections} connections: they move to other nodes", here.len()),
                    left,
                ];
            }
            (Verb::NodeUndrain { .. }, NodeState::Draining) => {
                impact.lines = vec!["it takes new sessions again".to_owned()];
            }
            (Verb::NodeDrain { .. } | Verb::NodeUndrain { .. }, state) => {
                return Err(format!("the node is {}", state.word()));
            }
            _ => {
                impact.lines =
                    vec![format!("{} sessions, {connections} connections lose their node", here.len()), left];
            }
        }
        Ok(())
    }

    /// Only after its impact was found.
    fn carry_out(&mut self, verb: &Verb) -> String {
        match verb {
            Verb::NodeDrain { node } => {
                if let Ok(at) = self.node_index(node) {
                    self.set_state(at, NodeState::Draining);
                }
                "draining".to_owned()
            }
            Verb::NodeUndrain { node } => {
                if let Ok(at) = self.node_index(node) {
                    self.set_state(at, NodeState::Running);
                }
                "takes sessions again".to_owned()
            }
            Verb::NodeRemove { node } => {
                if let Ok(at) = self.node_index(node) {
                    self.set_state(at, NodeState::Terminated);
                    self.evacuate(at, usize::MAX);
                }
                "removed".to_owned()
            }
            Verb::SessionClose { session } => {
                if let Ok(at) = self.session_index(session) {
                    self.sessions.remove(at);
                }
                "closed".to_owned()
            }
            Verb::ConnectionEvict { connection, .. } => {
                let key = cast::session_of(connection);
                if let Some(session) = self.sessions.iter_mut().find(|it| Some(it.key.0) == key) {
                    session.connections = session.connections.saturating_sub(1);
                }
                "evicted".to_owned()
            }
            Verb::StreamUnpublish { .. } => "unpublished".to_owned(),
            Verb::RecordingStart { session, .. } => self.start_recording(session),
            Verb::RecordingStop { recording } => {
                if let Ok(at) = self.recording_index(recording) {
                    self.recordings[at].state = "stopped".to_owned();
                }
                "recording stopped".to_owned()
            }
            Verb::RecordingDelete { recording } => {
                if let Ok(at) = self.recording_index(recording) {
                    self.recordings.remove(at);
                }
                "recording deleted".to_owned()
            }
        }
    }

    pub(super) fn start_recording(&mut self, session: &str) -> String {
        let Ok(at) = self.session_index(session) else { return "no such session".to_owned() };
        let name = self.sessions[at].name.clone();
        let number = self.recordings.iter().filter(|it| it.session == name).count();
        let id = if number == 0 { name.clone() } else { format!("{name}~{number}") };
        self.decisions += 1;
        self.recordings.push(RecordingRow {
            recording: self.decisions,
            id: id.clone(),
            session: name,
            state: "started".to_owned(),
            mode: "COMPOSED".to_owned(),
            recorder: "rec-1".to_owned(),
            resolution: "1280x720".to_owned(),
            created_at_ms: self.unix(self.now_ms),
            ..RecordingRow::default()
        });
        if self.recordings.len() > RECORDINGS_MAX {
            self.recordings.remove(0);
        }
        format!("recording {id} started")
    }

    /// Recordings grow, and end with their session.
    pub(super) fn step_recordings(&mut self) {
        let names: Vec<&str> = self.sessions.iter().map(|session| session.name.as_str()).collect();
        for recording in &mut self.recordings {
            match recording.state.as_str() {
                "started" if !names.contains(&recording.session.as_str()) => {
                    recording.state = "stopped".to_owned();
                }
                "started" => {
                    recording.duration_ms += 1000;
                    recording.size_bytes += 180_000;
                }
                "stopped" => recording.state = "ready".to_owned(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Size;
    use super::*;

    fn operate(world: &mut World, verb: Verb) -> Operated {
        world.operate(&Operate { op: 1, verb, expected: None, dry_run: false, reason: String::new() })
    }

    #[test]
    fn a_drained_node_gets_empty_and_is_taken_back() {
        let mut world = World::new(Size { nodes: 6, sessions: 60, seed: 7 });
        let node = world.nodes[0].name.clone();
        assert!(world.nodes[0].sessions > 0);
        let drain = Verb::NodeDrain { node: node.clone() };
        assert!(matches!(operate(&mut world, drain.clone()), Operated::Done(_)));
        for _ in 0..60 {
            world.step();
        }
        assert_eq!(world.nodes[0].sessions, 0);
        assert!(matches!(operate(&mut world, drain), Operated::Refused(_)));
        operate(&mut world, Verb::NodeUndrain { node });
        assert_eq!(world.nodes[0].state, NodeState::Running);
    }

    #[test]
    fn a_recording_grows_ends_and_is_deleted_only_then() {
        let mut world = World::new(Size { nodes: 2, sessions: 5, seed: 7 });
        let session = world.sessions[0].name.clone();
        operate(&mut world, Verb::RecordingStart { session: session.clone(), individual: false });
        let again = operate(&mut world, Verb::RecordingStart { session, individual: false });
        assert!(matches!(again, Operated::Refused(_)));
        world.step();
        assert_eq!(world.recordings[0].duration_ms, 1000);
        let recording = world.recordings[0].id.clone();
        let early = operate(&mut world, Verb::RecordingDelete { recording: recording.clone() });
        assert!(matches!(early, Operated::Refused(_)));
        operate(&mut world, Verb::RecordingStop { recording: recording.clone() });
        world.step();
        assert_eq!(world.recordings[0].state, "ready");
        operate(&mut world, Verb::RecordingDelete { recording });
        assert!(world.recordings.is_empty());
    }
}
