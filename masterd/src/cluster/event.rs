//! Pure: no clock, no I/O, no async.
//!
//! Event logs and their readers. Every session has one log, the cluster has one (key 0). A log outlives its session
//! for as long as events are kept, so that a reader who was away still learns how it ended.

use std::sync::Arc;
use std::time::Duration;

use common::id::{ConnectionKey, EventSeq, SessionKey};

use super::Core;
use super::input::{Output, ViewerEnd};
use super::model::{Log, Timer, Viewer};
use super::op::{Actor, ClientInfo, Event, Fact, Refusal, Reply, RequestId, UnixMillis, ViewerId};
use super::record::{ClosedRecord, RecordKey};
use crate::limits::{
    AUDIT_EVENTS_MIN, EVENT_BYTES_PER_SESSION_MAX, EVENTS_PER_SESSION_MAX, EVENTS_PER_SESSION_MIN,
    VIEWERS_MAX, VIEWERS_PER_CONNECTION_MAX,
};

/// Log of the cluster itself.
pub(crate) const CLUSTER: SessionKey = SessionKey(0);

/// [`super::op::Op::Watch`] with its request.
pub(crate) struct Watch {
    pub(crate) req: RequestId,
    pub(crate) viewer: ViewerId,
    pub(crate) session: Option<String>,
    pub(crate) after: Option<EventSeq>,
    pub(crate) client: ClientInfo,
}

impl Core {
    /// Adds an event that everybody in the session may see.
    pub(crate) fn emit(&mut self, session: SessionKey, what: Fact) {
        self.emit_to(session, None, what);
    }

    /// Adds an event that only these connections (public names) and the application may see.
    pub(crate) fn emit_to(&mut self, session: SessionKey, audience: Option<Vec<String>>, what: Fact) {
        let at = self.now.unix;
        let Some(log) = self.logs.get_mut(&session) else { return };
        log.head = log.head.next();
        let event = Arc::new(Event {
            seq: log.head,
            at,
            session: log.name.clone(),
            session_started: log.started,
            audience,
            what,
        });
        log.push(Arc::clone(&event));
        self.feed.push(session, &event);
        for viewer in &log.viewers {
            if self.viewers.get(viewer).is_some_and(|it| may_see(&event, it)) {
                self.outbox.stage(Output::Notify { viewer: *viewer, event: Arc::clone(&event) });
            }
        }
        self.dirty.insert(RecordKey::Event(session, event.seq));
        self.trim(session);
    }

    /// Forgets events that are over their time or number.
    fn trim(&mut self, session: SessionKey) {
        let kept_ms = millis(self.settings.events_kept);
        let Some(log) = self.logs.get_mut(&session) else { return };
        while let Some(oldest) = log.events.front() {
            let old = oldest.at.saturating_add(kept_ms) < self.now.unix;
            let over = log.events.len() > EVENTS_PER_SESSION_MAX || log.bytes > EVENT_BYTES_PER_SESSION_MAX;
            // The cluster's log holds the audit.
            let least = if session == CLUSTER { AUDIT_EVENTS_MIN } else { EVENTS_PER_SESSION_MIN };
            let outdated = old && log.events.len() > least;
            if !(over || outdated) {
                break;
            }
            self.dirty.insert(RecordKey::Event(session, oldest.seq));
            log.pop();
        }
    }

    /// Begins the log of a new session. Positions go on where a closed session of that name ended, so that its
    /// readers cannot mistake one for the other.
    pub(crate) fn open_log(&mut self, session: SessionKey, name: &str, started: UnixMillis) {
        let head = self
            .closed_names
            .get(name)
            .and_then(|closed| self.logs.get(closed))
            .map_or(EventSeq(0), |log| log.head);
        self.logs.insert(session, Log::new(name.to_owned(), started, head));
    }

    /// Ends a log: its readers are closed, its events stay for their time.
    pub(crate) fn close_log(&mut self, session: SessionKey, bearers: Vec<(String, String)>) {
        let Some(log) = self.logs.get_mut(&session) else { return };
        let closed_at = self.now.unix;
        let name = log.name.clone();
        for (token, _) in &bearers {
            self.closed_tokens.insert(token.clone(), session);
        }
        log.closed = Some(ClosedRecord { name: name.clone(), created_at: log.started, closed_at, bearers });
        let viewers: Vec<ViewerId> = log.viewers.iter().copied().collect();
        for viewer in viewers {
            self.close_viewer(viewer, ViewerEnd::SessionClosed);
        }
        self.closed_names.insert(name, session);
        self.dirty.insert(RecordKey::Closed(session));
        self.schedule(self.settings.events_kept, Timer::Closed(session));
    }

    /// A closed session's time is over.
    pub(crate) fn forget_log(&mut self, session: SessionKey) {
        if self.logs.get(&session).is_none_or(|log| log.closed.is_none()) {
            return;
        }
        // How its recording ends is still to be told.
        let unfinished = |it| self.recordings.get(it).is_some_and(|it| it.record.session == session);
        if self.running.iter().any(unfinished) {
            return self.schedule(self.settings.events_kept, Timer::Closed(session));
        }
        let Some(log) = self.logs.remove(&session) else { return };
        for event in &log.events {
            self.lazy.insert(RecordKey::Event(session, event.seq));
        }
        self.lazy.insert(RecordKey::Closed(session));
        if self.closed_names.get(&log.name) == Some(&session) {
            self.closed_names.remove(&log.name);
        }
        for (token, _) in log.closed.iter().flat_map(|closed| &closed.bearers) {
            self.closed_tokens.remove(token);
        }
        self.schedule_flush();
    }

    pub(crate) fn close_viewer(&mut self, viewer: ViewerId, why: ViewerEnd) {
        if self.remove_viewer(viewer).is_some() {
            self.outbox.stage(Output::ViewerClosed { viewer, why });
        }
    }

    /// Takes a reader out of all tables; its connection may become idle.
    pub(crate) fn remove_viewer(&mut self, viewer: ViewerId) -> Option<Viewer> {
        let removed = self.viewers.remove(&viewer)?;
        if let Some(log) = self.logs.get_mut(&removed.session) {
            log.viewers.remove(&viewer);
        }
        if let Some((key, _)) = &removed.connection {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.viewers.remove(&viewer);
                connection.socket.take_if(|it| *it == viewer);
            }
            self.watch_idle(*key);
        }
        Some(removed)
    }

    pub(crate) fn watch(&mut self, actor: &Actor, watch: &Watch) {
        match actor {
            Actor::App => self.watch_as_app(watch),
            Actor::Bearer(token) => self.watch_as_bearer(token, watch),
        }
    }

    fn watch_as_app(&mut self, watch: &Watch) {
        let session = match &watch.session {
            None => Some(CLUSTER),
            Some(name) => self
                .session_names
                .get(name)
                .or_else(|| watch.after.and_then(|_| self.closed_names.get(name)))
                .copied(),
        };
        match session {
            Some(session) => self.add_viewer(watch, session, None),
            None => self.refuse(watch.req, Refusal::UnknownSession),
        }
    }

    fn watch_as_bearer(&mut self, token: &str, watch: &Watch) {
        let Some(key) = self.tokens.get(token).copied() else {
            return self.watch_closed(token, watch);
        };
        let Some(connection) = self.connections.get(&key) else {
            return self.refuse(watch.req, Refusal::Token);
        };
        let (session, name) = (connection.record.session, connection.record.name.clone());
        if connection.viewers.len() >= VIEWERS_PER_CONNECTION_MAX {
            return self.refuse(watch.req, Refusal::Limit { limit: "event streams of one connection" });
        }
        if connection.record.active.is_none() {
            if let Err(refusal) = super::connection::check_client(&watch.client) {
                return self.refuse(watch.req, refusal);
            }
            if let Err(refusal) = self.ensure_home(session) {
                return self.refuse(watch.req, refusal);
            }
            self.admit(key, watch.client.clone(), None);
        }
        self.add_viewer(watch, session, Some((key, name)));
    }

    /// A bearer whose session has ended learns how.
    fn watch_closed(&mut self, token: &str, watch: &Watch) {
        let closed = self.closed_tokens.get(token).copied();
        let name = closed.and_then(|session| {
            let log = self.logs.get(&session)?;
            let bearers = &log.closed.as_ref()?.bearers;
            bearers.iter().find(|(it, _)| it == token).map(|(_, name)| name.clone())
        });
        match (closed, name, watch.after) {
            (Some(session), Some(name), Some(_)) => {
                self.add_viewer(watch, session, Some((ConnectionKey(0), name)));
            }
            (None, _, _) | (_, None, _) | (_, _, None) => self.refuse(watch.req, Refusal::Token),
        }
    }

    fn add_viewer(
        &mut self,
        watch: &Watch,
        session: SessionKey,
        connection: Option<(ConnectionKey, String)>,
    ) {
        if self.viewers.len() >= VIEWERS_MAX {
            return self.refuse(watch.req, Refusal::Limit { limit: "event streams" });
        }
        let Some(log) = self.logs.get_mut(&session) else {
            return self.refuse(watch.req, Refusal::UnknownSession);
        };
        let viewer = Viewer { session, connection };
        let head = log.head;
        // A position after the head is of an earlier session of that name: nothing of this one was seen.
        let after = watch.after.map(|after| if after > head { EventSeq(0) } else { after });
        let first = log.events.front().map_or_else(|| head.next(), |event| event.seq);
        let gap = after.is_some_and(|after| after.next() < first || watch.after != Some(after));
        let backlog = after.map_or_else(Vec::new, |after| {
            log.events.iter().filter(|it| it.seq > after && may_see(it, &viewer)).map(Arc::clone).collect()
        });
        let reply = Reply::Watching {
            backlog,
            gap,
            head,
            session: log.name.clone(),
            connection: viewer.connection.as_ref().map(|(_, name)| name.clone()),
        };
        self.outbox.stage(Output::Reply { req: watch.req, reply });
        if log.closed.is_some() {
            self.outbox.stage(Output::ViewerClosed { viewer: watch.viewer, why: ViewerEnd::SessionClosed });
            return;
        }
        log.viewers.insert(watch.viewer);
        if let Some((key, _)) = &viewer.connection
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.viewers.insert(watch.viewer);
            connection.note_held();
        }
        self.viewers.insert(watch.viewer, viewer);
    }

    /// Tells a node's state change to the cluster's log and to those of its sessions.
    pub(crate) fn emit_status(&mut self, sessions: &[SessionKey], what: &Fact) {
        self.emit(CLUSTER, what.clone());
        for session in sessions {
            self.emit(*session, what.clone());
        }
    }
}

/// An event is for this reader.
pub(crate) fn may_see(event: &Event, viewer: &Viewer) -> bool {
    match (&event.audience, &viewer.connection) {
        (None, _) | (_, None) => true,
        (Some(audience), Some((_, name))) => audience.contains(name),
    }
}

/// Whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
