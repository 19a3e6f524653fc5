//! Pure: A media node as its control behaves: ordered lanes, operations carried out once, generations, epochs, events kept
//! until acknowledged.

use std::collections::{BTreeMap, VecDeque};

use common::id::{
    ConnectionKey, EndpointKey, Epoch, Generation, NodeKey, OpId, RecordingKey, SessionKey, StreamKey,
};
use common::wire::node::{
    EndpointAt, EndpointKind, EndpointOpen, Inventory, MediaKind, NodeError, NodeEvent, NodeFact, OpResult,
    Ready, SdpRequest, ToNode, TransportState,
};

use super::recorder::JobModel;

/// An endpoint at a node.
#[derive(Clone, Debug)]
pub(super) struct EndpointModel {
    pub(super) session: SessionKey,
    pub(super) connection: ConnectionKey,
    pub(super) opened: Generation,
    pub(super) generation: Generation,
    pub(super) state: TransportState,
    pub(super) kind: EndpointKind,
    /// Who made the offer.
    pub(super) client: usize,
    pub(super) audio: Vec<Option<StreamKey>>,
    pub(super) video: Vec<Option<StreamKey>>,
}

/// A node's process.
#[derive(Debug)]
pub(super) struct NodeModel {
    pub(super) key: NodeKey,
    pub(super) boot: u64,
    pub(super) running: bool,
    /// Nothing is done before this time.
    pub(super) paused_until: u64,
    /// Worker loops stand still before this time.
    pub(super) stuck_until: u64,
    /// What has come while it was paused: link, epoch, operation, command.
    pub(super) inbox: VecDeque<(u64, Epoch, OpId, ToNode)>,
    /// The link to the master as the node sees it.
    pub(super) link: Option<u64>,
    pub(super) turns: u64,
    pub(super) epoch_seen: Epoch,
    pub(super) sessions: BTreeMap<SessionKey, Generation>,
    pub(super) endpoints: BTreeMap<EndpointKey, EndpointModel>,
    /// Results by operation: a repeated one is not carried out again.
    results: BTreeMap<OpId, OpResult>,
    /// It is a recorder.
    pub(super) recorder: bool,
    /// Jobs and what is left of them on the disk; these outlive the process.
    pub(super) jobs: BTreeMap<RecordingKey, JobModel>,
    /// Recorders that are let in.
    pub(super) taps: BTreeMap<RecordingKey, (SessionKey, NodeKey)>,
    pub(super) next_event: u64,
    /// Not acknowledged yet.
    pub(super) events: VecDeque<NodeEvent>,
}

/// What a client's offer says: sections, who made it, and whether it is good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) audio: u16,
    pub(super) video: u16,
    pub(super) client: usize,
    pub(super) good: bool,
}

impl Offer {
    pub(super) fn text(self) -> String {
        format!("{} {} {} {}", self.audio, self.video, self.client, u8::from(self.good))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        Some(Self {
            audio: parts.next()?.parse().ok()?,
            video: parts.next()?.parse().ok()?,
            client: parts.next()?.parse().ok()?,
            good: parts.next()? == "1",
        })
    }
}

impl NodeModel {
    pub(super) fn new(key: NodeKey, recorder: bool) -> Self {
        Self {
            key,
            boot: 1,
            running: true,
            paused_until: 0,
            stuck_until: 0,
            inbox: VecDeque::new(),
            link: None,
            turns: 0,
            epoch_seen: Epoch(0),
            sessions: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            results: BTreeMap::new(),
            recorder,
            jobs: BTreeMap::new(),
            taps: BTreeMap::new(),
            next_event: 1,
            events: VecDeque::new(),
        }
    }

    /// The process starts anew.
    pub(super) fn reboot(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        *self = Self { boot: self.boot + 1, jobs, ..Self::new(self.key, self.recorder) };
        self.jobs.values_mut().for_each(JobModel::outlive);
    }

    pub(super) fn inventory(&self) -> Inventory {
        Inventory {
            sessions: self.sessions.iter().map(|(key, generation)| (*key, *generation)).collect(),
            endpoints: self
                .endpoints
                .iter()
                .map(|(key, it)| EndpointAt {
                    session: it.session,
                    connection: it.connection,
                    endpoint: *key,
                    generation: it.generation,
                    state: it.state,
                })
                .collect(),
            recordings: self.jobs.iter().map(|(key, it)| it.inventoried(*key)).collect(),
            last: true,
        }
    }

    /// Notes an event for the master; it is sent by the world.
    pub(super) fn note(&mut self, session: Option<SessionKey>, what: NodeFact) -> NodeEvent {
        let event = NodeEvent { seq: self.next_event, session, what };
        self.next_event += 1;
        self.events.push_back(event.clone());
        event
    }

    /// A transport changes; one that ends takes its endpoint along.
    pub(super) fn transport(&mut self, key: EndpointKey, state: TransportState) -> Option<NodeEvent> {
        let endpoint = self.endpoints.get_mut(&key)?;
        endpoint.state = state;
        let (session, generation) = (endpoint.session, endpoint.generation);
        if matches!(state, TransportState::Failed | TransportState::Closed) {
            self.endpoints.remove(&key);
        }
        Some(self.note(Some(session), NodeFact::Transport { endpoint: key, generation, state }))
    }

    /// Carries out a command, or gives its first answer again.
    pub(super) fn obey(&mut self, epoch: Epoch, op: OpId, message: ToNode) -> Option<OpResult> {
        match &message {
            ToNode::EventAck(ack) => {
                self.events.retain(|event| event.seq > ack.seq);
                return None;
            }
            ToNode::Drain(_) | ToNode::Welcome(_) | ToNode::NewEpoch(_) => return None,
            _ => {}
        }
        if epoch < self.epoch_seen {
            return Some(OpResult::Err(NodeError::StaleEpoch(self.epoch_seen)));
        }
        self.epoch_seen = epoch;
        if let Some(result) = self.results.get(&op) {
            return Some(result.clone());
        }
        let result = self.carry_out(message).unwrap_or_else(OpResult::Err);
        self.results.insert(op, result.clone());
        Some(result)
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each command")]
    fn carry_out(&mut self, message: ToNode) -> Result<OpResult, NodeError> {
        match message {
            ToNode::SessionOpen(open) => {
                let known = self.sessions.entry(open.session).or_insert(open.generation);
                if open.generation < *known {
                    return Err(NodeError::StaleGeneration(*known));
                }
                *known = open.generation;
                Ok(OpResult::Ok)
            }
            ToNode::SessionClose(close) => {
                self.sessions.remove(&close.session);
                self.endpoints.retain(|_, it| it.session != close.session);
                self.taps.retain(|_, (session, _)| *session != close.session);
                Ok(OpResult::Ok)
            }
            ToNode::EndpointOpen(open) => self.open(&open),
            ToNode::EndpointClose(close) => {
                if let Some(endpoint) = self.endpoints.get(&close.endpoint) {
                    if close.generation < endpoint.opened {
                        return Err(NodeError::StaleGeneration(endpoint.generation));
                    }
                    self.endpoints.remove(&close.endpoint);
                }
                Ok(OpResult::Ok)
            }
            ToNode::Bind(bind) => {
                let published: Vec<StreamKey> = self.streams();
                let endpoint = self.endpoints.get_mut(&bind.endpoint).ok_or(NodeError::UnknownEndpoint)?;
                if bind.generation < endpoint.generation {
                    return Err(NodeError::StaleGeneration(endpoint.generation));
                }
                endpoint.generation = bind.generation;
                for change in bind.binds {
                    let sections = match change.kind {
                        MediaKind::Audio => &mut endpoint.audio,
                        MediaKind::Video => &mut endpoint.video,
                    };
                    if let Some(section) = sections.get_mut(usize::from(change.slot)) {
                        // A stream that has just failed here is not forwarded; the master will hear of it.
                        debug_assert!(published.len() < 100_000, "streams are bounded");
                        *section = change.source;
                    }
                }
                Ok(OpResult::Ok)
            }
            ToNode::Candidates(candidates) => {
                if self.endpoints.contains_key(&candidates.endpoint) {
                    Ok(OpResult::Ok)
                } else {
                    Err(NodeError::UnknownEndpoint)
                }
            }
            ToNode::Permit(permit) if self.sessions.contains_key(&permit.session) => Ok(OpResult::Ok),
            ToNode::Permit(_) => Err(NodeError::UnknownSession),
            ToNode::TapGrant(grant) if self.sessions.contains_key(&grant.session) => {
                self.taps.insert(grant.recording, (grant.session, grant.recorder));
                Ok(OpResult::Ok)
            }
            ToNode::TapGrant(_) => Err(NodeError::UnknownSession),
            ToNode::TapRevoke(revoke) => {
                self.taps.remove(&revoke.recording);
                Ok(OpResult::Ok)
            }
            ToNode::RecordingStart(_)
            | ToNode::RecordingRoster(_)
            | ToNode::RecordingStop(_)
            | ToNode::RecordingDelete(_)
                if self.recorder =>
            {
                self.record(message)
            }
            ToNode::Welcome(_)
            | ToNode::NewEpoch(_)
            | ToNode::Drain(_)
            | ToNode::EventAck(_)
            | ToNode::Watch(_)
            | ToNode::EndpointAnswer(_)
            | ToNode::Checkpoint(_)
            | ToNode::Adopt(_)
            | ToNode::Release(_)
            | ToNode::RecordingStart(_)
            | ToNode::RecordingRoster(_)
            | ToNode::RecordingStop(_)
            | ToNode::RecordingDelete(_)
            | ToNode::FileOpen(_) => Err(NodeError::Unsupported),
        }
    }

    fn streams(&self) -> Vec<StreamKey> {
        self.endpoints
            .values()
            .filter_map(|it| match it.kind {
                EndpointKind::Publish { stream } => Some(stream),
                EndpointKind::Pair { .. } | EndpointKind::Slots => None,
            })
            .collect()
    }

    fn open(&mut self, open: &EndpointOpen) -> Result<OpResult, NodeError> {
        if !self.sessions.contains_key(&open.session) {
            return Err(NodeError::UnknownSession);
        }
        let SdpRequest::Offer(text) = &open.sdp else { return Err(NodeError::Unsupported) };
        let offer = Offer::parse(text).filter(|offer| offer.good);
        let offer = offer.ok_or_else(|| NodeError::InvalidSdp { why: text.clone() })?;
        if let EndpointKind::Pair { stream } = open.kind
            && !self.streams().contains(&stream)
        {
            return Err(NodeError::UnknownStream);
        }
        let sections = |count: u16| match open.kind {
            EndpointKind::Slots => vec![None; usize::from(count)],
            EndpointKind::Pair { .. } | EndpointKind::Publish { .. } => Vec::new(),
        };
        let endpoint = EndpointModel {
            session: open.session,
            connection: open.connection,
            opened: open.generation,
            generation: open.generation,
            state: TransportState::Connecting,
            kind: open.kind,
            client: offer.client,
            audio: sections(offer.audio),
            video: sections(offer.video),
        };
        self.endpoints.insert(open.endpoint, endpoint);
        Ok(OpResult::Ready(Ready {
            sdp: "answer".to_owned(),
            audio: offer.audio,
            video: offer.video,
            codecs: Vec::new(),
            ext: Vec::new(),
        }))
    }
}
