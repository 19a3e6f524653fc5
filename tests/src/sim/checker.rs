//! Pure: What must hold of everything that is seen from outside the core.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{EventSeq, SessionKey};
use masterd::cluster::op::{Event, Fact, RecordingEvent, RecordingStatus};

/// One session as its events name it.
pub(super) type SessionName = (String, u64);

/// Every event that was ever stored, and what follows from their order.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    logs: BTreeMap<SessionName, BTreeMap<EventSeq, Event>>,
    open: BTreeMap<SessionName, Open>,
    pub(super) stored: u64,
}

/// What has begun in a session and not ended.
#[derive(Debug, Default)]
struct Open {
    created: bool,
    destroyed: bool,
    ever_joined: BTreeSet<String>,
    inside: BTreeSet<String>,
    published: BTreeMap<String, String>,
    received: BTreeSet<(String, String)>,
    /// By public name and moment of the start: a name is free again after a removal.
    recordings: BTreeMap<(String, u64), RecordingStatus>,
}

impl Ledger {
    /// An event became durable.
    pub(super) fn stored(&mut self, key: SessionKey, event: Event) {
        let name = (event.session.clone(), event.session_started);
        let log = self.logs.entry(name.clone()).or_default();
        if let Some(known) = log.get(&event.seq) {
            assert_eq!(*known, event, "{key} {} was stored twice with another content", event.seq);
            return;
        }
        if let Some((newest, _)) = log.last_key_value() {
            assert_eq!(newest.next(), event.seq, "the log of {key} has a gap");
        }
        self.stored += 1;
        if key != SessionKey(0) {
            self.open.entry(name).or_default().follow(key, &event);
        }
        log.insert(event.seq, event);
    }

    /// Somebody is shown an event: it must be durable.
    pub(super) fn assert_stored(&self, event: &Event) {
        let log = self.logs.get(&(event.session.clone(), event.session_started));
        let known = log.and_then(|log| log.get(&event.seq));
        assert_eq!(known, Some(event), "an event was shown before it was stored");
    }

    /// The first event after `after` and before `before` that a reader may see, if any.
    pub(super) fn skipped(
        &self,
        session: &SessionName,
        after: EventSeq,
        before: EventSeq,
        reader: Option<&str>,
    ) -> Option<&Event> {
        if after.next() >= before {
            return None;
        }
        let log = self.logs.get(session)?;
        log.range(after.next()..before).map(|(_, event)| event).find(|event| {
            event
                .audience
                .as_ref()
                .is_none_or(|it| reader.is_none_or(|reader| it.iter().any(|it| it == reader)))
        })
    }
}

impl Open {
    /// What begins ends, once, in order.
    fn follow(&mut self, key: SessionKey, event: &Event) {
        // A recording is finished after its session.
        let late = matches!(event.what, Fact::RecordingStatusChanged(_));
        assert!(!self.destroyed || late, "{key}: {:?} after its end", event.what);
        match &event.what {
            Fact::SessionCreated => {
                assert!(!std::mem::replace(&mut self.created, true), "{key} created twice");
            }
            Fact::SessionDestroyed { .. } => {
                self.destroyed = true;
                assert!(self.inside.is_empty(), "{key} ended around {:?}", self.inside);
            }
            Fact::ParticipantJoined { connection, .. } => {
                assert!(self.ever_joined.insert(connection.clone()), "{connection} joined twice");
                self.inside.insert(connection.clone());
            }
            Fact::ParticipantLeft { connection, .. } => {
                assert!(self.inside.remove(connection), "{connection} left without being in");
                let streams: Vec<_> = self.published.iter().filter(|(_, it)| *it == connection).collect();
                assert!(streams.is_empty(), "{connection} left while publishing {streams:?}");
                let received: Vec<_> = self.received.iter().filter(|(it, _)| it == connection).collect();
                assert!(received.is_empty(), "{connection} left while receiving {received:?}");
            }
            Fact::Published { connection, stream, .. } => {
                assert!(self.inside.contains(connection), "{connection} published before it joined");
                let twice = self.published.values().any(|it| it == connection);
                assert!(!twice, "{connection} published twice");
                self.published.insert(stream.clone(), connection.clone());
            }
            Fact::Unpublished { connection, stream, .. } => {
                assert_eq!(
                    self.published.get(stream),
                    Some(connection),
                    "{stream} ended without having begun"
                );
                self.published.remove(stream);
            }
            Fact::Subscribed { connection, stream, .. } => {
                assert!(self.published.contains_key(stream), "{connection} receives {stream}, which is gone");
                let new = self.received.insert((connection.clone(), stream.clone()));
                assert!(new, "{connection} receives {stream} twice");
            }
            Fact::Unsubscribed { connection, stream, .. } => {
                let known = self.received.remove(&(connection.clone(), stream.clone()));
                assert!(known, "{connection} stopped receiving {stream} without having begun");
            }
            Fact::Signal { from, .. } => {
                assert!(from.as_ref().is_none_or(|it| self.inside.contains(it)), "a signal from outside");
            }
            Fact::RecordingStatusChanged(event) => self.follow_recording(event),
            Fact::Audit { .. }
            | Fact::SessionPlaced { .. }
            | Fact::RecordingStarted { .. }
            | Fact::RecordingStopped { .. }
            | Fact::Slot { .. }
            | Fact::Transport { .. }
            | Fact::Speakers { .. }
            | Fact::ConnectionChanged { .. }
            | Fact::StreamChanged { .. }
            | Fact::NodeStatusChanged { .. } => {}
        }
    }
}

impl Ledger {
    /// Every recording that was told of, by name and moment, with the newest status that was told.
    pub(super) fn recordings(&self) -> impl Iterator<Item = (&(String, u64), RecordingStatus)> {
        self.open.values().flat_map(|it| it.recordings.iter().map(|(key, status)| (key, *status)))
    }
}

impl Open {
    /// A recording only goes forward, each status is told once, and one that ran is stopped before it is finished.
    fn follow_recording(&mut self, event: &RecordingEvent) {
        use RecordingStatus::{Failed, Ready, Started, Starting, Stopped};
        let key = (event.id.clone(), event.created_at);
        let before = self.recordings.insert(key, event.status).unwrap_or(Starting);
        let allowed = match before {
            Starting => matches!(event.status, Started | Stopped | Failed),
            Started => event.status == Stopped,
            Stopped => matches!(event.status, Ready | Failed),
            Ready | Failed => false,
        };
        assert!(allowed, "{} went from {before:?} to {:?}", event.id, event.status);
        if event.status == Started {
            let running = self.recordings.values().filter(|it| **it == Started).count();
            assert_eq!(running, 1, "{} runs beside another one", event.id);
        }
    }
}

/// One reader's position in a log, over all its resumptions.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) session: Option<SessionName>,
    /// Public name of its connection; none sees everything.
    pub(super) name: Option<String>,
    pub(super) last: EventSeq,
    /// The core said that events are missing.
    pub(super) gap: bool,
}

impl Reader {
    pub(super) const fn new(name: Option<String>) -> Self {
        Self { session: None, name, last: EventSeq(0), gap: false }
    }

    /// Takes in an event: it is new, and nothing before it was skipped.
    pub(super) fn read(&mut self, ledger: &Ledger, event: &Event) {
        ledger.assert_stored(event);
        let session = (event.session.clone(), event.session_started);
        assert!(event.seq > self.last, "{:?} saw {} after {}", self.name, event.seq, self.last);
        if let (Some(audience), Some(name)) = (&event.audience, &self.name) {
            assert!(audience.contains(name), "{name} saw an event for {audience:?}");
        }
        if self.session.as_ref() == Some(&session) && !self.gap {
            let skipped = ledger.skipped(&session, self.last, event.seq, self.name.as_deref());
            assert!(skipped.is_none(), "{:?} was not shown {skipped:?}", self.name);
        }
        self.session = Some(session);
        self.gap = false;
        self.last = event.seq;
    }
}
