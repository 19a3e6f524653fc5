//! Shell: owns a QUIC connection and its tasks.
//!
//! The recorder's side of `plenum-media/1`: receives the RTP of one session from its media node, see
//! [`wire::media`](crate::wire::media).
//!
//! - [`Client::dial`] tries the node's addresses in turn and returns when the tap stands. It never dials again by itself:
//!   after [`Event::Lost`] the caller decides, with `resume` if it wants to go on where it was.
//! - [`Events`] come in order for each track. They are bounded: while nobody takes them, the node is slowed down, and
//!   finally skips what it cannot hold ([`Event::Gap`]). Take them always, and drop what is too much.
//! - Nothing comes that was not [wanted](Client::want).
//!
//! ```no_run
//! # async fn example(
//! #     identity: std::sync::Arc<common::net::identity::Identity>,
//! #     source: common::wire::recording::TapSource,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use common::id::{RecordingKey, SessionKey};
//! use common::net::media_link::{Client, Event, TapSettings};
//!
//! // The identity comes from `NodeLink::identity`.
//! let settings = TapSettings::new("recorderd 0.1.0", &source, RecordingKey(1), SessionKey(2));
//! let (client, mut events) = Client::dial(&identity, &settings).await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::TrackAdded(added) => client.want(added.stream, added.kind, Some(u8::MAX)),
//!         Event::Packets { track, packets } => println!("{track}: {} packets", packets.len()),
//!         Event::Lost { why, .. } => eprintln!("{why}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod dial;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::Connection;
use tokio::sync::{Notify, mpsc};

use super::close::CloseCode;
use super::identity::Identity;
use crate::id::{NodeKey, RecordingKey, SessionKey, StreamKey};
use crate::limits::MEDIA_EVENTS_MAX;
use crate::telemetry::task::{self, Owned};
use crate::wire::media::{
    Clock, EndWhy, Gap, Packet, Paused, Report, Resume, RingSeq, Switched, Tapped, TrackAdded, TrackHeader,
    TrackId, TrackRemoved,
};
use crate::wire::node::MediaKind;
use crate::wire::recording::TapSource;

/// What to receive, and where.
#[derive(Clone, Debug)]
pub struct TapSettings {
    /// Program and version, for humans.
    pub program: String,
    /// The media node; its certificate must say so.
    pub node: NodeKey,
    /// Its `host:port`s, tried in turn.
    pub addresses: Vec<String>,
    /// The job.
    pub recording: RecordingKey,
    /// The session.
    pub session: SessionKey,
    /// As [`Tap::resume`](crate::wire::media::Tap::resume).
    pub resume: Vec<Resume>,
    /// As [`Tap::replay_ms`](crate::wire::media::Tap::replay_ms).
    pub replay_ms: u32,
    /// As [`Tap::reorder_ms`](crate::wire::media::Tap::reorder_ms).
    pub reorder_ms: u16,
}

impl TapSettings {
    /// A tap that begins now, with the usual patience for lost packets.
    #[must_use]
    pub fn new(program: &str, source: &TapSource, recording: RecordingKey, session: SessionKey) -> Self {
        Self {
            program: program.to_owned(),
            node: source.node,
            addresses: source.addresses.clone(),
            recording,
            session,
            resume: Vec::new(),
            replay_ms: 0,
            reorder_ms: 0,
        }
    }
}

/// Why a tap does not stand.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DialError {
    /// Certificate or key cannot be used.
    #[error("cannot set up TLS: {0}")]
    Identity(String),
    /// No address answers as the node that was expected.
    #[error("cannot reach the media node: {0}")]
    Unreachable(String),
    /// The node refuses: not granted (yet), unknown session, busy, version.
    #[error("the media node refuses the tap: {why}")]
    Refused {
        /// For programs; none for a code that this build does not know.
        code: Option<CloseCode>,
        /// For humans.
        why: String,
    },
    /// The node does not speak the protocol.
    #[error("the media node does not keep to the protocol: {0}")]
    Protocol(String),
}

/// What a tap tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A published track sends, and can be wanted.
    TrackAdded(TrackAdded),
    /// A track is gone. Its last packets may still come, up to [`Event::Ended`].
    TrackRemoved(TrackRemoved),
    /// A wanted track begins; its packets follow.
    Began(TrackHeader),
    /// Packets, in order.
    Packets {
        /// Of which track.
        track: TrackId,
        /// At least one.
        packets: Vec<Packet>,
    },
    /// Clock mapping of a track.
    Report {
        /// Which.
        track: TrackId,
        /// The mapping.
        report: Report,
    },
    /// The next packet comes from another encoding or source, and begins a key frame.
    Switched {
        /// Of which track.
        track: TrackId,
        /// To where.
        switched: Switched,
    },
    /// Packets are missing before the next one.
    Gap {
        /// Of which track.
        track: TrackId,
        /// How many, and why.
        gap: Gap,
    },
    /// Nothing comes at present; the next packet ends it.
    Paused {
        /// Of which track.
        track: TrackId,
        /// Why, and since when.
        paused: Paused,
    },
    /// Nothing of this track follows.
    Ended {
        /// Which.
        track: TrackId,
        /// Why.
        why: EndWhy,
    },
    /// Answer to [`Client::ask_clock`].
    Clock(Clock),
    /// The tap is over; the last event.
    Lost {
        /// With which code the node ended it, if it did and we know it.
        code: Option<CloseCode>,
        /// For humans.
        why: String,
    },
}

/// What is to be told to the node. The newest of each kind counts, so that nothing grows and nothing has to wait.
#[derive(Debug, Default)]
struct Outbox {
    wants: BTreeMap<(StreamKey, MediaKind), Option<u8>>,
    keyframes: BTreeSet<TrackId>,
    acks: BTreeMap<TrackId, RingSeq>,
    clock_us: Option<u64>,
}

#[derive(Debug, Default)]
struct Mailbox {
    // A lock, not a message: held for moments, never across an await.
    outbox: Mutex<Outbox>,
    changed: Notify,
}

impl Mailbox {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, change: impl FnOnce(&mut Outbox)) {
        change(&mut self.outbox());
        self.changed.notify_one();
    }
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    mailbox: Arc<Mailbox>,
    tapped: Tapped,
    _run: Owned<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        CloseCode::Finished.close(&self.connection, "the recorder has finished");
    }
}

/// A standing tap. Clones are the same tap; it ends with the last of them, or by [`Client::close`].
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

impl Client {
    /// Dials the node and waits until the tap stands. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(identity: &Identity, settings: &TapSettings) -> Result<(Self, Events), DialError> {
        let dialled = dial::dial(identity, settings).await?;
        let (sender, receiver) = mpsc::channel(MEDIA_EVENTS_MAX);
        let mailbox = Arc::new(Mailbox::default());
        let (connection, tapped) = (dialled.connection.clone(), dialled.tapped.clone());
        let run = task::spawn("media-link", run::run(dialled, Arc::clone(&mailbox), sender));
        Ok((Self(Arc::new(Inner { connection, mailbox, tapped, _run: Owned(run) })), Events(receiver)))
    }

    /// What the node said when the tap stood: its clocks.
    #[must_use]
    pub fn tapped(&self) -> &Tapped {
        &self.0.tapped
    }

    /// Where the node is.
    #[must_use]
    pub fn node_address(&self) -> SocketAddr {
        self.0.connection.remote_address()
    }

    /// Wants a track, at most its simulcast encoding `spatial_max` (0 is the smallest, `u8::MAX` the best); none for no
    /// longer. Never blocks; the newest wish counts. May be told before the track is there.
    pub fn want(&self, stream: StreamKey, kind: MediaKind, spatial_max: Option<u8>) {
        self.0.mailbox.put(|outbox| _ = outbox.wants.insert((stream, kind), spatial_max));
    }

    /// Asks for a key frame of a track. The node asks the publisher at most once or twice a second.
    pub fn keyframe(&self, track: TrackId) {
        self.0.mailbox.put(|outbox| _ = outbox.keyframes.insert(track));
    }

    /// Tells what is safe.
    pub fn ack(&self, track: TrackId, ring_seq: RingSeq) {
        self.0.mailbox.put(|outbox| _ = outbox.acks.insert(track, ring_seq));
    }

    /// Asks for the node's clocks; [`Event::Clock`] answers. `asked_us` is the caller's clock, and comes back.
    pub fn ask_clock(&self, asked_us: u64) {
        self.0.mailbox.put(|outbox| outbox.clock_us = Some(asked_us));
    }

    /// Round-trip time to the node.
    #[must_use]
    pub fn rtt(&self) -> std::time::Duration {
        self.0.connection.rtt()
    }

    /// Ends the tap.
    pub fn close(&self) {
        CloseCode::Finished.close(&self.0.connection, "the recorder has finished");
    }
}

/// The events of one tap.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next one; `None` after [`Event::Lost`], or when the client was dropped. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The next one, if there is one at once.
    pub fn try_next(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }

    /// As [`Self::next`], for a thread without an async runtime.
    pub fn blocking_next(&mut self) -> Option<Event> {
        self.0.blocking_recv()
    }
}
