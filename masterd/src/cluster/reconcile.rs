//! Pure: no clock, no I/O, no async.
//!
//! Intended against observed: after each link-up a node says what it runs.
//!
//! - on both sides with the same generation: nothing happens, media goes on;
//! - on both sides, the node's generation is another: it is told everything once more;
//! - only here, and confirmed by an earlier link: it has failed;
//! - only there: an orphan, closed after a grace.

use common::id::{EndpointKey, Generation, NodeKey, RecordingKey, SessionKey, StreamKey};
use common::wire::node::{EndpointAt, EndpointClose, Inventory, SessionClose, TransportState};

use super::Core;
use super::model::{Inventoried, Purpose, Timer};
use super::op::Reason;
use super::record::RecordKey;
use crate::limits::INVENTORY_MAX;

/// What a node should run, as the core intends it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Intended {
    /// Sessions whose home it is.
    pub sessions: Vec<SessionKey>,
    /// Their endpoints.
    pub endpoints: Vec<IntendedEndpoint>,
    /// Of a recorder: the recordings that run there.
    pub recordings: Vec<IntendedRecording>,
}

/// What a recording that runs should record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IntendedRecording {
    /// The recording.
    pub recording: RecordingKey,
    /// Version of all this.
    pub generation: Generation,
    /// Its session's streams in the order of publishing.
    pub streams: Vec<StreamKey>,
}

/// What an endpoint should do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IntendedEndpoint {
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// Version of all this.
    pub generation: Generation,
    /// Stream of each audio section.
    pub audio: Vec<Option<StreamKey>>,
    /// Stream of each video section.
    pub video: Vec<Option<StreamKey>>,
}

impl Core {
    /// What a node should run; equals what it runs once everything has settled.
    #[must_use]
    pub fn intended(&self, node: NodeKey) -> Intended {
        let Some(node) = self.nodes.get(&node) else { return Intended::default() };
        let mut endpoints: Vec<IntendedEndpoint> = Vec::new();
        for key in node.sessions.iter().flat_map(|it| self.endpoints_of(*it)) {
            let Some(endpoint) = self.endpoints.get(&key).filter(|it| !it.record.lost) else { continue };
            let lineup = super::receive::lineup(&endpoint.record);
            endpoints.push(IntendedEndpoint {
                endpoint: key,
                generation: endpoint.record.generation,
                audio: lineup.audio,
                video: lineup.video,
            });
        }
        endpoints.sort_by_key(|it| it.endpoint);
        let recordings = node.jobs.iter().filter_map(|it| self.intended_recording(*it)).collect();
        Intended { sessions: node.sessions.iter().copied().collect(), endpoints, recordings }
    }

    /// Takes in a chunk; with the last one the node's inventory is complete.
    pub(crate) fn inventory(&mut self, key: NodeKey, chunk: Inventory) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        let known = &node.inventory;
        let taken = known.sessions.len() + known.endpoints.len() + known.recordings.len();
        let more = chunk.sessions.len() + chunk.endpoints.len() + chunk.recordings.len();
        if taken + more > INVENTORY_MAX {
            return;
        }
        node.inventory.sessions.extend(chunk.sessions);
        node.inventory.endpoints.extend(chunk.endpoints.into_iter().map(|it| (it.endpoint, it)));
        node.inventory.recordings.extend(chunk.recordings.into_iter().map(|it| (it.recording, it)));
        if !chunk.last {
            return;
        }
        let inventory = std::mem::take(&mut node.inventory);
        let sessions: Vec<SessionKey> = node.sessions.iter().copied().collect();
        for session in sessions {
            self.reconcile_session(key, session, &inventory);
        }
        self.reconcile_recordings(key, &inventory);
        self.find_orphans(key, inventory);
    }

    fn reconcile_session(&mut self, node: NodeKey, key: SessionKey, inventory: &Inventoried) {
        let link = self.nodes.get(&node).map_or(0, |it| it.links);
        for endpoint in self.endpoints_of(key) {
            self.reconcile_endpoint(endpoint, link, inventory.endpoints.get(&endpoint));
        }
        let Some(session) = self.sessions.get(&key) else { return };
        let asked =
            self.commands.values().any(|it| it.session == key && matches!(it.purpose, Purpose::SessionOpen));
        if inventory.sessions.contains_key(&key) || asked || session.confirmed_link == link {
            return;
        }
        // The node does not have the session and is not about to: the next join finds it a place.
        if self.endpoints_of(key).is_empty()
            && let Some(session) = self.sessions.get_mut(&key)
            && session.openings.is_empty()
        {
            session.record.home = None;
            let recording = session.recording;
            self.dirty.insert(RecordKey::Session(key));
            self.leave_home(key, node);
            // Only its recording has kept an emptied session.
            if let Some(recording) = recording {
                self.stop_recording(recording, Reason::NodeCrashed);
                self.end_if_unrecorded(key, Reason::NodeCrashed);
            }
        }
    }

    fn endpoints_of(&self, key: SessionKey) -> Vec<EndpointKey> {
        let connections = self.sessions.get(&key).map(|it| &it.connections);
        let connections = connections.into_iter().flatten().filter_map(|it| self.connections.get(it));
        connections.flat_map(|it| it.endpoints.iter().copied()).collect()
    }

    fn reconcile_endpoint(&mut self, key: EndpointKey, link: u64, there: Option<&EndpointAt>) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        match there {
            // It was opened after the inventory was written.
            None if endpoint.confirmed_link == link || endpoint.record.lost => {}
            None => self.endpoint_lost(key, Reason::NetworkDisconnect),
            Some(there) => match there.state {
                TransportState::Failed | TransportState::Closed => self.transport_changed(key, there.state),
                TransportState::Connecting | TransportState::Connected | TransportState::Disconnected => {
                    self.reconcile_generation(key, there);
                    if let Some(endpoint) = self.endpoints.get_mut(&key) {
                        endpoint.confirmed_link = link;
                    }
                }
            },
        }
    }

    fn reconcile_generation(&mut self, key: EndpointKey, there: &EndpointAt) {
        let told = self.commands.values().any(|it| match &it.purpose {
            Purpose::Bind { endpoint } => *endpoint == key,
            Purpose::Answer { .. }
            | Purpose::Close
            | Purpose::Job { .. }
            | Purpose::Open(_)
            | Purpose::Permit
            | Purpose::SessionOpen
            | Purpose::Trickle { .. } => false,
        });
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        if told || endpoint.record.generation == there.generation {
            return;
        }
        endpoint.record.generation = endpoint.record.generation.max(there.generation);
        self.dirty.insert(RecordKey::Endpoint(key));
        self.rebind(key);
    }

    fn find_orphans(&mut self, key: NodeKey, inventory: Inventoried) {
        let mut orphans = inventory;
        orphans.sessions.retain(|session, _| !self.is_home(key, *session));
        orphans.endpoints.retain(|endpoint, at| {
            !self.endpoints.contains_key(endpoint) && !orphans.sessions.contains_key(&at.session)
        });
        orphans.recordings.retain(|recording, at| at.running && !self.is_job_of(key, *recording));
        let due = self.now.mono + self.settings.orphan_grace;
        let found =
            !(orphans.sessions.is_empty() && orphans.endpoints.is_empty() && orphans.recordings.is_empty());
        if let Some(node) = self.nodes.get_mut(&key) {
            node.orphans = orphans;
            node.orphans_due = found.then_some(due);
        }
        if found {
            self.schedule(self.settings.orphan_grace, Timer::Orphans(key));
        }
    }

    fn is_home(&self, node: NodeKey, session: SessionKey) -> bool {
        self.sessions.get(&session).and_then(|it| it.record.home).is_some_and(|home| home.node == node)
    }

    /// The grace of what a node runs and nobody wants is over.
    pub(crate) fn close_orphans(&mut self, key: NodeKey) {
        let now = self.now.mono;
        let Some(node) = self.nodes.get_mut(&key) else { return };
        if node.orphans_due.is_none_or(|due| due > now) {
            return;
        }
        node.orphans_due = None;
        let orphans = std::mem::take(&mut node.orphans);
        for recording in orphans.recordings.into_keys() {
            self.stop_orphaned_job(key, recording);
        }
        for session in orphans.sessions.into_keys() {
            if !self.is_home(key, session) {
                self.orphans_closed += 1;
                self.command(key, session, SessionClose { session }.into(), Purpose::Close, None);
            }
        }
        for (endpoint, at) in orphans.endpoints {
            let opening = self.commands.values().any(|it| match &it.purpose {
                Purpose::Open(opening) => opening.endpoint == endpoint,
                Purpose::Answer { .. }
                | Purpose::Bind { .. }
                | Purpose::Close
                | Purpose::Job { .. }
                | Purpose::Permit
                | Purpose::SessionOpen
                | Purpose::Trickle { .. } => false,
            });
            if self.endpoints.contains_key(&endpoint) || opening {
                continue;
            }
            self.orphans_closed += 1;
            let message = EndpointClose { session: at.session, endpoint, generation: at.generation };
            self.command(key, at.session, message.into(), Purpose::Close, None);
        }
    }
}
