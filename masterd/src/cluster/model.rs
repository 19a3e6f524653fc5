//! Pure: no clock, no I/O, no async.
//!
//! The live entities: each is its record (durable) and what is soft: lost with masterd and found again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::id::{
    BootId, ConnectionKey, EndpointKey, EventSeq, Generation, NodeKey, OpId, RecordingKey, SessionKey,
    StreamKey,
};
use common::wire::node::{EndpointAt, EndpointKind, Load, ToNode};
use common::wire::recording::RecordingAt;

use super::op::{ClientInfo, Event, PublishOptions, RecordingProgress, RequestId, UnixMillis, ViewerId};
use super::record::{
    ClosedRecord, ConnectionRecord, EndpointRecord, NodeRecord, RecordingRecord, SessionRecord,
};

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) record: SessionRecord,
    pub(crate) connections: BTreeSet<ConnectionKey>,
    /// Published streams and their endpoints.
    pub(crate) streams: BTreeMap<StreamKey, EndpointKey>,
    /// Endpoints that play the session.
    pub(crate) players: BTreeSet<EndpointKey>,
    /// Joins under way.
    pub(crate) openings: BTreeSet<OpId>,
    /// Streams by how recently they were loud, newest first.
    pub(crate) loud: Vec<StreamKey>,
    /// Nodes that have refused the present joins.
    pub(crate) tried: BTreeSet<NodeKey>,
    /// Most participants at once, from which sizes are learned.
    pub(crate) participants_max: usize,
    /// Link of the home node by which it confirmed the session; 0 is none since the start of masterd.
    pub(crate) confirmed_link: u64,
    /// The recording that is starting or runs.
    pub(crate) recording: Option<RecordingKey>,
    /// When that is stopped unless somebody publishes.
    pub(crate) autostop_at: Option<Duration>,
}

impl Session {
    pub(crate) const fn new(record: SessionRecord) -> Self {
        Self {
            record,
            connections: BTreeSet::new(),
            streams: BTreeMap::new(),
            players: BTreeSet::new(),
            openings: BTreeSet::new(),
            loud: Vec::new(),
            tried: BTreeSet::new(),
            participants_max: 0,
            confirmed_link: 0,
            recording: None,
            autostop_at: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) record: ConnectionRecord,
    pub(crate) endpoints: BTreeSet<EndpointKey>,
    pub(crate) openings: BTreeSet<OpId>,
    pub(crate) viewers: BTreeSet<ViewerId>,
    /// The one of them that is its WebSocket.
    pub(crate) socket: Option<ViewerId>,
    /// Set while nothing holds an admitted connection.
    pub(crate) idle_since: Option<Duration>,
    /// Home generation for which the node was told what this connection may do.
    pub(crate) permitted: Option<Generation>,
}

impl Connection {
    pub(crate) const fn new(record: ConnectionRecord) -> Self {
        Self {
            record,
            endpoints: BTreeSet::new(),
            openings: BTreeSet::new(),
            viewers: BTreeSet::new(),
            socket: None,
            idle_since: None,
            permitted: None,
        }
    }

    /// Something keeps it in the session: its WebSocket, or for one by REST whatever it has open.
    pub(crate) fn is_held(&self) -> bool {
        if self.record.socket().is_some() {
            return self.socket.is_some();
        }
        !(self.endpoints.is_empty() && self.openings.is_empty() && self.viewers.is_empty())
    }

    /// Stops the clock of a connection that something holds again.
    pub(crate) fn note_held(&mut self) {
        if self.is_held() {
            self.idle_since = None;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) record: EndpointRecord,
    /// Link of the node by which it confirmed the endpoint; 0 is none since the start of masterd.
    pub(crate) confirmed_link: u64,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) record: NodeRecord,
    pub(crate) link: Link,
    /// Counts the links since the start of masterd.
    pub(crate) links: u64,
    /// Core time of the newest sign of life.
    pub(crate) heard_at: Duration,
    pub(crate) suspect: bool,
    /// Turns of each worker's loop and the core time at which they last changed.
    pub(crate) turns: Vec<(u64, Duration)>,
    pub(crate) load: Load,
    pub(crate) load_at: Option<Duration>,
    /// Sessions whose home it is.
    pub(crate) sessions: BTreeSet<SessionKey>,
    /// Recordings that are not finished and run or lie here.
    pub(crate) jobs: BTreeSet<RecordingKey>,
    /// Unanswered commands.
    pub(crate) commands: BTreeSet<OpId>,
    /// Newest event taken in.
    pub(crate) event_seq: u64,
    pub(crate) inventory: Inventoried,
    /// Found by the newest inventory and not wanted.
    pub(crate) orphans: Inventoried,
    pub(crate) orphans_due: Option<Duration>,
    /// Counts placements; lower is longer ago.
    pub(crate) placed: u64,
    pub(crate) reservations: VecDeque<Reservation>,
}

impl Node {
    pub(crate) fn new(record: NodeRecord, heard_at: Duration, unix: UnixMillis) -> Self {
        Self {
            record,
            link: Link::Down { since: unix, was_up_since: None },
            links: 0,
            heard_at,
            suspect: false,
            turns: Vec::new(),
            load: Load::default(),
            load_at: None,
            sessions: BTreeSet::new(),
            jobs: BTreeSet::new(),
            commands: BTreeSet::new(),
            event_seq: 0,
            inventory: Inventoried::default(),
            orphans: Inventoried::default(),
            orphans_due: None,
            placed: 0,
            reservations: VecDeque::new(),
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// Since when it is connected, or was.
    pub(crate) const fn connected_at(&self) -> Option<UnixMillis> {
        match self.link {
            Link::Down { was_up_since, .. } => was_up_since,
            Link::Up { since } => Some(since),
        }
    }

    /// Since when it is cut off.
    pub(crate) const fn disconnected_at(&self) -> Option<UnixMillis> {
        match self.link {
            Link::Down { since, .. } => Some(since),
            Link::Up { .. } => None,
        }
    }

    pub(crate) fn is_boot(&self, boot: BootId) -> bool {
        self.record.boot == boot
    }
}

/// A node's connection to masterd.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    Down { since: UnixMillis, was_up_since: Option<UnixMillis> },
    Up { since: UnixMillis },
}

/// What a node says it runs, while its chunks arrive.
#[derive(Debug, Default)]
pub(crate) struct Inventoried {
    pub(crate) sessions: BTreeMap<SessionKey, Generation>,
    pub(crate) endpoints: BTreeMap<EndpointKey, EndpointAt>,
    pub(crate) recordings: BTreeMap<RecordingKey, RecordingAt>,
}

/// A recording, finished or not.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) record: RecordingRecord,
    /// Requests that are answered when it gets there.
    pub(crate) waiters: Vec<(Waiter, RequestId)>,
    /// When a start has failed or a waiting stop or removal is answered as it is.
    pub(crate) due: Option<Duration>,
    pub(crate) progress: RecordingProgress,
    /// Recorders that have refused it.
    pub(crate) tried: BTreeSet<NodeKey>,
    /// The recorder was told to start it.
    pub(crate) told: bool,
    /// Link of the recorder by which it confirmed the job; 0 is none since the start of masterd.
    pub(crate) confirmed_link: u64,
}

impl Recording {
    pub(crate) fn new(record: RecordingRecord) -> Self {
        Self {
            record,
            waiters: Vec::new(),
            due: None,
            progress: RecordingProgress::default(),
            tried: BTreeSet::new(),
            told: false,
            confirmed_link: 0,
        }
    }
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waiter {
    /// That the files are gone.
    Delete,
    /// That it runs.
    Start,
    /// That its files are complete.
    Stop,
}

/// Load that a placed session will bring, in stress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reservation {
    pub(crate) at: Duration,
    pub(crate) stress: f64,
}

/// The events of one session (key 0: of the cluster) and their readers.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) name: String,
    pub(crate) started: UnixMillis,
    pub(crate) events: VecDeque<Arc<Event>>,
    /// Bytes of the events' texts.
    pub(crate) bytes: usize,
    pub(crate) head: EventSeq,
    pub(crate) viewers: BTreeSet<ViewerId>,
    /// Set when the session is closed.
    pub(crate) closed: Option<ClosedRecord>,
}

impl Log {
    pub(crate) const fn new(name: String, started: UnixMillis, head: EventSeq) -> Self {
        Self {
            name,
            started,
            events: VecDeque::new(),
            bytes: 0,
            head,
            viewers: BTreeSet::new(),
            closed: None,
        }
    }

    /// Adds the newest event.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.what.text_bytes();
        self.events.push_back(event);
    }

    /// Takes the oldest event out.
    pub(crate) fn pop(&mut self) -> Option<Arc<Event>> {
        let event = self.events.pop_front()?;
        self.bytes -= event.what.text_bytes();
        Some(event)
    }
}

/// A reader of a log.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) session: SessionKey,
    /// None is the application, which sees everything.
    pub(crate) connection: Option<(ConnectionKey, String)>,
}

/// An unanswered command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) node: NodeKey,
    pub(crate) session: SessionKey,
    pub(crate) message: ToNode,
    pub(crate) purpose: Purpose,
    /// None is never: it is sent again until the node answers or is gone.
    pub(crate) give_up_at: Option<Duration>,
}

/// What a command's answer is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Bind { endpoint: EndpointKey },
    Close,
    Job { recording: RecordingKey, step: JobStep },
    Open(Box<Opening>),
    Permit,
    SessionOpen,
    Trickle { req: RequestId, endpoint: EndpointKey },
    Answer { req: RequestId, endpoint: EndpointKey },
}

/// What a command does for a recording.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum JobStep {
    /// At the recorder: remove its files.
    Delete,
    /// At the media node: let the recorder in.
    Grant,
    /// At the media node: no longer.
    Revoke,
    /// At the recorder: who is there now.
    Roster,
    /// At the recorder: begin.
    Start,
    /// At the recorder: end.
    Stop,
}

/// A media resource that is being opened. Soft: when masterd dies, nothing has happened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) req: RequestId,
    pub(crate) connection: ConnectionKey,
    pub(crate) endpoint: EndpointKey,
    pub(crate) generation: Generation,
    pub(crate) kind: EndpointKind,
    pub(crate) client: ClientInfo,
    pub(crate) media: PublishOptions,
    /// Nodes that this join was tried on.
    pub(crate) attempts: u8,
    /// What it stands in for.
    pub(crate) turn: Turn,
}

/// What a media resource that is being opened stands in for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Nothing.
    New,
    /// Another resource of the connection that receives the same stream; `offered`: once the client has answered.
    Replace { offered: bool },
    /// The same resource with another peer connection.
    Renew,
}

/// Something that is due at some time. A timer whose reason has gone does nothing when it fires.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Timer {
    /// A recording of a session in which nobody publishes is stopped.
    AutoStop(SessionKey),
    /// A closed session's events are no longer kept.
    Closed(SessionKey),
    /// A command is to be sent again or given up.
    Command(OpId),
    /// Lazy changes become a batch.
    Flush,
    /// Sessions that nobody joins.
    Garbage,
    /// Silence of nodes.
    Heartbeats,
    /// A connection that nothing holds leaves.
    Idle(ConnectionKey),
    /// What a node runs and nobody wants is closed.
    Orphans(NodeKey),
    /// A recorder that is not heard any more is given up.
    RecorderGone(NodeKey),
    /// A recording's start, stop or removal takes too long.
    Recording(RecordingKey),
}
