//! Pure: no clock, no I/O, no async.
//!
//! What starts and stops by itself. `ALWAYS` starts with the first stream, until the application has stopped one. A
//! recording is stopped when nobody has published for the time-out, counted from when the last participant left or
//! from its start without a stream; only somebody who publishes calls that off. An emptied session lives on meanwhile.

use common::id::SessionKey;

use super::text;
use crate::cluster::Core;
use crate::cluster::model::Timer;
use crate::cluster::op::Reason;
use crate::limits::RECORDINGS_MAX;

impl Core {
    /// A stream was published.
    pub(crate) fn stream_published(&mut self, key: SessionKey) {
        self.rosters.insert(key);
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.autostop_at = None;
        let properties = &session.record.properties;
        let wanted = properties.record_always && !properties.relayed && !session.record.recording_stopped;
        if wanted && session.recording.is_none() && session.streams.len() == 1 {
            self.start_always(key);
        }
    }

    /// Starts the recording that the session was created for; what goes wrong is seen by its event.
    fn start_always(&mut self, session: SessionKey) {
        if self.recordings.len() >= RECORDINGS_MAX {
            return;
        }
        let properties = self.default_recording(session);
        let recorder = if text::is_web_page(&properties) {
            Err(text::no_web_pages())
        } else {
            self.choose_recorder(session, &properties, None).map_err(|it| it.to_string())
        };
        if let Some(key) = self.create_recording(session, properties) {
            self.run_recording(key, recorder);
        }
    }

    /// A recording runs: without a stream its time is limited.
    pub(crate) fn watch_recorded(&mut self, key: SessionKey) {
        let timeout = self.settings.recording_autostop;
        let idle = self.sessions.get(&key).is_some_and(|it| it.streams.is_empty() && it.recording.is_some());
        if idle && !timeout.is_zero() {
            self.begin_autostop(key);
        }
    }

    fn begin_autostop(&mut self, key: SessionKey) {
        let timeout = self.settings.recording_autostop;
        let at = self.now.mono + timeout;
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.autostop_at.is_none() {
            session.autostop_at = Some(at);
            self.schedule(timeout, Timer::AutoStop(key));
        }
    }

    /// An emptied session that is recorded lives on for a while. True when it does.
    pub(crate) fn hold_recorded(&mut self, key: SessionKey) -> bool {
        let is_recorded = self.sessions.get(&key).is_some_and(|it| it.recording.is_some());
        if !is_recorded || self.settings.recording_autostop.is_zero() {
            return false;
        }
        self.begin_autostop(key);
        true
    }

    /// The time without a stream may be over.
    pub(crate) fn expire_autostop(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        if session.autostop_at.is_none_or(|at| at > self.now.mono) {
            return;
        }
        if let Some(recording) = session.recording {
            self.stop_recording(recording, Reason::AutomaticStop);
        }
        self.end_if_unrecorded(key, Reason::AutomaticStop);
    }

    /// A session that only its recording has kept ends with it.
    pub(crate) fn end_if_unrecorded(&mut self, key: SessionKey, reason: Reason) {
        let over = self
            .sessions
            .get(&key)
            .is_some_and(|it| it.record.active && it.recording.is_none() && it.openings.is_empty());
        if over && self.participants(key) == 0 {
            self.destroy(key, reason);
        }
    }
}
