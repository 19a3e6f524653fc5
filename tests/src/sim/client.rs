//! Pure: The workload: participants that create sessions, join, publish, play, watch, signal, leave, vanish, and come back
//! under a new token; and an application that evicts and closes.

use common::id::EventSeq;
use common::wire::node::TransportState;
use masterd::cluster::op::{
    Actor, ClientInfo, ConnectionProperties, ConnectionRole, Event, Fact, Op, PublishOptions, RecordingView,
    Refusal, Reply, SessionProperties, ViewerId,
};
use rand::Rng;
use rand::rngs::StdRng;

use super::checker::Reader;
use super::node::Offer;
use super::world::{Happening, Owner, World};

const MS: u64 = 1000;

/// What a pending request was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    Connect,
    Create,
    Evict,
    Leave,
    Other,
    Play,
    Publish,
    Record,
    RemoveRecording { id: String },
    Release { resource: String },
    StopRecording,
    Watch { viewer: ViewerId },
}

/// A participant.
#[derive(Debug)]
pub(super) struct Client {
    index: usize,
    session: String,
    token: Option<String>,
    /// Public name of the connection.
    name: String,
    busy: bool,
    pub(super) reader: Option<Reader>,
    pub(super) viewer: Option<ViewerId>,
    publishes: Option<String>,
    plays: Vec<String>,
    /// Streams that it was shown.
    streams: Vec<String>,
}

impl Client {
    pub(super) fn new(index: usize, sessions: usize, rng: &mut StdRng) -> Self {
        Self {
            index,
            session: format!("s{}", rng.random_range(0..sessions)),
            token: None,
            name: String::new(),
            busy: false,
            reader: None,
            viewer: None,
            publishes: None,
            plays: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// The master is gone: requests fail, the event stream breaks; media goes on.
    pub(super) const fn lost_master(&mut self) {
        self.busy = false;
        self.viewer = None;
    }

    /// Out of the session, for whatever reason.
    fn out(&mut self) {
        let index = self.index;
        let session = std::mem::take(&mut self.session);
        *self = Self {
            index,
            session,
            token: None,
            name: String::new(),
            busy: false,
            reader: None,
            viewer: None,
            publishes: None,
            plays: Vec::new(),
            streams: Vec::new(),
        };
    }
}

impl World {
    /// A participant does something, if it is not waiting.
    pub(super) fn client_acts(&mut self, index: usize) {
        let again = self.rng.random_range(100..2500) * MS;
        self.at(again, Happening::Client(index));
        if self.core.is_none() || self.clients[index].busy {
            return;
        }
        let Some(token) = self.clients[index].token.clone() else {
            if !self.calm {
                self.join(index);
            }
            return;
        };
        if self.clients[index].viewer.is_none() && (self.calm || self.rng.random_bool(0.6)) {
            return self.watch_as_client(index, token);
        }
        if !self.calm {
            self.act_inside(index, token);
        }
    }

    fn join(&mut self, index: usize) {
        let session = format!("s{}", self.rng.random_range(0..self.plan.sessions));
        self.clients[index].session.clone_from(&session);
        let record_always = self.rng.random_bool(0.2);
        let properties =
            SessionProperties { custom_id: Some(session), record_always, ..SessionProperties::default() };
        self.ask_as(index, Asked::Create, Actor::App, Op::SessionCreate(properties));
    }

    fn ask_as(&mut self, index: usize, asked: Asked, actor: Actor, op: Op) {
        self.clients[index].busy = true;
        self.ask(Owner::Client(index), asked, actor, op);
    }

    fn watch_as_client(&mut self, index: usize, token: String) {
        let viewer = self.next_id();
        self.viewers.insert(viewer, Owner::Client(index));
        let after = self.clients[index].reader.as_ref().map(|it| it.last);
        let op = Op::Watch { viewer, session: None, after, client: ClientInfo::default() };
        self.ask_as(index, Asked::Watch { viewer }, Actor::Bearer(token), op);
    }

    fn act_inside(&mut self, index: usize, token: String) {
        let actor = Actor::Bearer(token);
        let offer = Offer {
            audio: self.rng.random_range(0..4),
            video: self.rng.random_range(1..4),
            client: index,
            good: self.rng.random_bool(0.93),
        };
        let one = Offer { audio: offer.audio.min(1), video: 1, ..offer };
        let client = ClientInfo::default();
        match self.rng.random_range(0..100) {
            0..25 if self.clients[index].publishes.is_none() => {
                let media = PublishOptions::default();
                self.ask_as(index, Asked::Publish, actor, Op::Publish { offer: one.text(), client, media });
            }
            25..45 if self.clients[index].plays.len() < 2 => {
                self.ask_as(index, Asked::Play, actor, Op::PlaySession { offer: offer.text(), client });
            }
            45..52 if !self.clients[index].streams.is_empty() => {
                let streams = &self.clients[index].streams;
                let stream = streams[self.rng.random_range(0..streams.len())].clone();
                self.ask_as(index, Asked::Play, actor, Op::PlayStream { stream, offer: one.text(), client });
            }
            52..60 => self.pin(index, actor),
            60..66 => {
                let data = self.now_us.to_string();
                let op = Op::Signal { session: None, to: Vec::new(), kind: "chat".to_owned(), data };
                self.ask_as(index, Asked::Other, actor, op);
            }
            66..74 => self.release(index, actor),
            74..77 => self.ask_as(index, Asked::Leave, actor, Op::Leave),
            77..80 => self.vanish(index),
            80..82 => self.reload(index),
            82..83 => {
                let (session, connection) =
                    (self.clients[index].session.clone(), self.clients[index].name.clone());
                let op = Op::ConnectionDelete { session, connection };
                self.ask_as(index, Asked::Evict, Actor::App, op);
            }
            84..88 => self.record(index),
            88..91 => self.stop_recording(index),
            91..93 => self.remove_recording(index),
            83 if self.rng.random_bool(0.3) => {
                let session = self.clients[index].session.clone();
                self.ask_as(index, Asked::Evict, Actor::App, Op::SessionDelete { session });
            }
            _ => {}
        }
    }

    /// Two starts at once: at most one wins.
    fn record(&mut self, index: usize) {
        let session = self.clients[index].session.clone();
        let start = Op::RecordingStart { session, properties: None };
        if self.rng.random_bool(0.3) {
            let owner = Owner::Client(index);
            self.later.push((owner, Asked::Record, Actor::App, start.clone()));
        }
        self.ask_as(index, Asked::Record, Actor::App, start);
    }

    fn stop_recording(&mut self, index: usize) {
        let Some(recording) = self.pick_recording(index) else { return };
        let wait = self.rng.random_bool(0.3);
        self.ask_as(index, Asked::StopRecording, Actor::App, Op::RecordingStop { recording, wait });
    }

    fn remove_recording(&mut self, index: usize) {
        let Some(id) = self.pick_recording(index) else { return };
        // Whether the answer arrives or not.
        self.removed.insert(id.clone());
        let op = Op::RecordingDelete { recording: id.clone() };
        self.ask_as(index, Asked::RemoveRecording { id }, Actor::App, op);
    }

    fn pick_recording(&mut self, index: usize) -> Option<String> {
        let known = self.recordings.get(&self.clients[index].session)?;
        Some(known[self.rng.random_range(0..known.len())].clone())
    }

    fn recording_seen(&mut self, asked: &Asked, view: &RecordingView) {
        let known = self.recordings.entry(view.session.clone()).or_default();
        if !known.contains(&view.id) {
            known.push(view.id.clone());
        }
        if *asked == Asked::Record {
            let new = self.started.insert((view.id.clone(), view.created_at));
            assert!(new, "two starts of {} won", view.id);
        }
    }

    fn pin(&mut self, index: usize, actor: Actor) {
        let client = &self.clients[index];
        let (Some(resource), Some(stream)) = (client.plays.first(), client.streams.first()) else { return };
        let op = Op::ArrangeSlots {
            resource: resource.clone(),
            pins: Some(vec![(0, stream.clone())]),
            layers: Some(vec![(0, 1)]),
        };
        self.ask_as(index, Asked::Other, actor, op);
    }

    fn release(&mut self, index: usize, actor: Actor) {
        let client = &mut self.clients[index];
        let Some(resource) = client.publishes.clone().or_else(|| client.plays.last().cloned()) else {
            return;
        };
        let asked = Asked::Release { resource: resource.clone() };
        self.ask_as(index, asked, actor, Op::EndpointDelete { resource });
    }

    /// The page is closed without a word: its transports fail a little later.
    fn vanish(&mut self, index: usize) {
        self.note(&format!("c{index}"), "vanishes");
        self.reload(index);
        let mut failing = Vec::new();
        for (key, node) in &self.nodes {
            for (endpoint, model) in node.endpoints.iter().filter(|(_, it)| it.client == index) {
                let state = if model.connection.0.is_multiple_of(2) {
                    TransportState::Failed
                } else {
                    TransportState::Closed
                };
                failing.push(Happening::Transport {
                    node: *key,
                    boot: node.boot,
                    endpoint: *endpoint,
                    state,
                });
            }
        }
        for happening in failing {
            let after = self.rng.random_range(200..4000) * MS;
            self.at(after, happening);
        }
        self.clients[index].out();
    }

    /// The event stream breaks.
    fn reload(&mut self, index: usize) {
        let Some(viewer) = self.clients[index].viewer.take() else { return };
        self.viewers.remove(&viewer);
        let actor = Actor::App;
        let req = self.next_id();
        self.feed(masterd::cluster::Input::Request { req, actor, op: Op::Unwatch { viewer } });
    }

    pub(super) fn replied(&mut self, owner: Owner, asked: Asked, reply: Reply) {
        match owner {
            Owner::App(name) if !name.is_empty() => self.app_replied(&name, &asked, reply),
            Owner::App(_) => {}
            Owner::Client(index) => {
                self.clients[index].busy = false;
                self.client_replied(index, asked, reply);
            }
        }
    }

    fn app_replied(&mut self, name: &str, asked: &Asked, reply: Reply) {
        let Asked::Watch { viewer } = asked else { return };
        let Some((reader, present)) = self.watchers.get_mut(name) else { return };
        let Reply::Watching { backlog, gap, head, .. } = reply else {
            self.viewers.remove(viewer);
            *reader = Reader::new(None);
            return;
        };
        *present = Some(*viewer);
        if gap {
            reader.gap = true;
            if head < reader.last {
                reader.last = EventSeq(0);
            }
        }
        for event in &backlog {
            reader.read(&self.ledger, event);
        }
    }

    fn client_replied(&mut self, index: usize, asked: Asked, reply: Reply) {
        if let Reply::Refused(refusal) = &reply {
            if let Asked::Watch { viewer } = asked {
                self.viewers.remove(&viewer);
            }
            return self.client_refused(index, &asked, refusal);
        }
        if let Reply::Recording(view) = &reply {
            self.recording_seen(&asked, view);
        }
        let client = &mut self.clients[index];
        match (asked, reply) {
            (Asked::Create, _) => self.connect(index),
            (Asked::Connect, Reply::Connection(view)) => {
                client.token = Some(view.token);
                client.name = view.id;
            }
            (Asked::Publish, Reply::Endpoint(view)) => {
                self.report.opened += 1;
                client.publishes = Some(view.resource);
            }
            (Asked::Play, Reply::Endpoint(view)) => {
                self.report.opened += 1;
                client.plays.push(view.resource);
            }
            (Asked::Release { resource }, _) => {
                client.plays.retain(|it| *it != resource);
                client.publishes.take_if(|it| *it == resource);
            }
            (Asked::Leave | Asked::Evict, _) => {
                if let Some(viewer) = client.viewer.take() {
                    self.viewers.remove(&viewer);
                }
                self.clients[index].out();
            }
            (Asked::Watch { viewer }, Reply::Watching { backlog, gap, head, connection, .. }) => {
                client.viewer = Some(viewer);
                assert_eq!(connection.as_ref(), Some(&client.name), "a bearer is its connection");
                let first = client.reader.is_none();
                let reader = client.reader.get_or_insert_with(|| Reader::new(connection));
                reader.gap |= gap;
                if first {
                    reader.last = head;
                }
                for event in backlog {
                    self.client_reads(index, &event);
                }
            }
            (
                Asked::Other
                | Asked::Connect
                | Asked::Publish
                | Asked::Play
                | Asked::Record
                | Asked::RemoveRecording { .. }
                | Asked::StopRecording
                | Asked::Watch { .. },
                _,
            ) => {}
        }
    }

    fn connect(&mut self, index: usize) {
        let role =
            if self.rng.random_bool(0.85) { ConnectionRole::Publisher } else { ConnectionRole::Subscriber };
        let properties = ConnectionProperties { role, ..ConnectionProperties::default() };
        let session = self.clients[index].session.clone();
        // Asked from the scheduler, not from inside the core's output.
        self.clients[index].busy = true;
        let req_owner = Owner::Client(index);
        self.later.push((
            req_owner,
            Asked::Connect,
            Actor::App,
            Op::ConnectionCreate { session, properties },
        ));
    }

    fn client_refused(&mut self, index: usize, asked: &Asked, refusal: &Refusal) {
        let client = &mut self.clients[index];
        match (asked, refusal) {
            (Asked::Create, Refusal::SessionExists(_)) => self.connect(index),
            (_, Refusal::Token) => {
                if let Some(viewer) = client.viewer.take() {
                    self.viewers.remove(&viewer);
                }
                self.clients[index].out();
            }
            (Asked::Publish, Refusal::AlreadyPublishing) => {
                assert!(client.publishes.is_none(), "only after a lost answer");
                // The answer was lost with the master: nobody holds that resource any more.
                self.vanish(index);
            }
            (Asked::Release { resource }, Refusal::UnknownResource) => {
                client.plays.retain(|it| it != resource);
                client.publishes.take_if(|it| it == resource);
            }
            (Asked::Evict, Refusal::UnknownConnection | Refusal::UnknownSession) => client.out(),
            _ => {}
        }
    }

    pub(super) fn notified(&mut self, viewer: ViewerId, event: &Event) {
        match self.viewers.get(&viewer).cloned() {
            Some(Owner::App(name)) => {
                if let Some((reader, _)) = self.watchers.get_mut(&name) {
                    reader.read(&self.ledger, event);
                }
            }
            Some(Owner::Client(index)) => self.client_reads(index, event),
            // Its reader is gone already.
            None => {}
        }
    }

    fn client_reads(&mut self, index: usize, event: &Event) {
        let client = &mut self.clients[index];
        let Some(reader) = &mut client.reader else { return };
        reader.read(&self.ledger, event);
        match &event.what {
            Fact::Published { stream, connection, .. } if *connection != client.name => {
                client.streams.push(stream.clone());
            }
            Fact::Unpublished { stream, connection, .. } => {
                client.streams.retain(|it| it != stream);
                if *connection == client.name {
                    client.publishes = None;
                }
            }
            _ => {}
        }
    }

    pub(super) fn reader_closed(&mut self, owner: &Owner) {
        match owner {
            Owner::App(name) => {
                if let Some(watcher) = self.watchers.get_mut(name) {
                    *watcher = (Reader::new(None), None);
                }
            }
            Owner::Client(index) => {
                // A request of its own may be on its way; it is refused.
                let busy = self.clients[*index].busy;
                self.clients[*index].out();
                self.clients[*index].busy = busy;
            }
        }
    }
}
