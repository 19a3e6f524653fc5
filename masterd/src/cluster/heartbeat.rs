//! Pure: no clock, no I/O, no async.
//!
//! Who is alive. Silence is measured in core time, which stands still while masterd itself does: a master that was
//! paused for five seconds must not take its nodes for dead.
//!
//! - silent for `suspect_after`: no new sessions; for `lost_after`: lost;
//! - heartbeats come, but a worker's loop has stood still for `stuck_after`: lost;
//! - more than a fifth of at least five nodes silent together: it is probably us, nobody is lost for a while;
//! - for `startup_grace` after a start, nobody is lost who was not heard since: it may be on its way back to us.

use std::time::Duration;

use common::id::NodeKey;
use common::wire::node::Heartbeat;

use super::Core;
use super::model::Timer;
use super::op::NodeStatus;

/// Ticks that come later than this are our own lag.
const LAG_MIN: Duration = Duration::from_millis(50);

/// The fewest nodes of which a fifth may be silent by our own fault.
const MASS_NODES_MIN: usize = 5;

/// Worker loops of one node that are watched.
const WORKERS_MAX: usize = 1024;

impl Core {
    /// Time that counts: without the time in which this core could not work.
    pub(crate) fn core_time(&self) -> Duration {
        self.now.mono.saturating_sub(self.lag)
    }

    /// A timer that is handled late means that we stood still.
    pub(crate) fn absorb_lag(&mut self) {
        let Some(deadline) = self.deadline() else { return };
        let late = self.now.mono.saturating_sub(deadline);
        if late > LAG_MIN {
            self.lag += late;
        }
    }

    pub(crate) fn heartbeat(&mut self, key: NodeKey, heartbeat: &Heartbeat) {
        let now = self.core_time();
        let stuck_after = self.settings.stuck_after;
        let Some(node) = self.nodes.get_mut(&key) else { return };
        node.heard_at = now;
        node.suspect = false;
        let workers = heartbeat.turns.len().min(WORKERS_MAX);
        node.turns.resize(workers, (0, now));
        for (seen, turns) in node.turns.iter_mut().zip(&heartbeat.turns) {
            if seen.0 != *turns {
                *seen = (*turns, now);
            }
        }
        let stuck = node.turns.iter().any(|(_, at)| *at + stuck_after <= now);
        if node.record.status == NodeStatus::Lost && !stuck {
            self.returned(key);
        }
    }

    /// Looks for nodes that fell silent.
    pub(crate) fn check_silence(&mut self) {
        self.schedule(self.silence_interval(), Timer::Heartbeats);
        let now = self.core_time();
        let settings = &self.settings;
        let (suspect_after, lost_after, stuck_after) =
            (settings.suspect_after, settings.lost_after, settings.stuck_after);
        let (mut watched, mut silent) = (0_usize, Vec::new());
        let mut stuck = Vec::new();
        for (key, node) in &mut self.nodes {
            if node.record.status == NodeStatus::Lost {
                continue;
            }
            watched += 1;
            let silence = now.saturating_sub(node.heard_at);
            node.suspect = silence >= suspect_after;
            if node.suspect {
                silent.push((*key, silence));
            } else if node.turns.iter().any(|(_, at)| *at + stuck_after <= now) {
                stuck.push(*key);
            }
        }
        let mass = watched >= MASS_NODES_MIN && silent.len() * 5 > watched;
        let since = if mass { Some(self.mass_silence.unwrap_or(now)) } else { None };
        self.mass_silence = since;
        let held = since.is_some_and(|since| now < since + self.settings.self_suspect_hold);
        if held {
            return;
        }
        if self.now.mono < self.started_at + self.settings.startup_grace {
            silent.retain(|(key, _)| self.nodes.get(key).is_some_and(|node| node.links > 0));
        }
        for key in stuck {
            self.crash(key);
        }
        for (key, silence) in silent {
            if silence >= lost_after {
                self.lose(key);
            }
        }
        self.forget_lost();
    }

    fn lose(&mut self, key: NodeKey) {
        let leaving = self.nodes.get(&key).is_some_and(|it| {
            it.sessions.is_empty()
                && it.jobs.is_empty()
                && !it.record.drain
                && matches!(it.record.status, NodeStatus::Terminating | NodeStatus::WaitingIdleToTerminate)
        });
        if leaving { self.forget_node(key) } else { self.crash(key) }
    }

    fn forget_lost(&mut self) {
        let kept_ms = super::event::millis(self.settings.lost_kept);
        let old: Vec<NodeKey> = self
            .nodes
            .iter()
            .filter(|(_, it)| it.record.status == NodeStatus::Lost)
            .filter(|(_, it)| it.record.lost_at.is_some_and(|at| at.saturating_add(kept_ms) < self.now.unix))
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            self.forget_node(key);
        }
    }

    fn silence_interval(&self) -> Duration {
        (self.settings.suspect_after.min(self.settings.lost_after) / 4).max(Duration::from_millis(10))
    }
}
