//! Pure: no clock, no I/O, no async.
//!
//! Events on their way to the master: numbered, kept until acknowledged.

use std::collections::VecDeque;

use crate::id::SessionKey;
use crate::wire::node::{NodeEvent, NodeFact};

/// The events of one boot that the master has not taken in yet.
pub(super) struct EventQueue {
    waiting: VecDeque<NodeEvent>,
    last: u64,
    lost: u64,
    count_max: usize,
}

impl EventQueue {
    pub(super) const fn new(count_max: usize) -> Self {
        Self { waiting: VecDeque::new(), last: 0, lost: 0, count_max }
    }

    /// Adds an event; at the limit the oldest goes.
    pub(super) fn push(&mut self, session: Option<SessionKey>, what: NodeFact) {
        if self.waiting.len() >= self.count_max {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.last += 1;
        self.waiting.push_back(NodeEvent { seq: self.last, session, what });
    }

    /// The master has taken in everything up to `seq`.
    pub(super) fn acknowledge(&mut self, seq: u64) {
        while self.waiting.front().is_some_and(|event| event.seq <= seq) {
            self.waiting.pop_front();
        }
    }

    /// The first event after `seq` that is still here.
    pub(super) fn after(&self, seq: u64) -> Option<NodeEvent> {
        let first = self.waiting.front()?.seq;
        let skip = seq.saturating_add(1).saturating_sub(first);
        self.waiting.get(usize::try_from(skip).ok()?).cloned()
    }

    /// How many went without being acknowledged.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_from_one_and_kept_until_acknowledged() {
        let mut queue = EventQueue::new(10);
        assert_eq!(queue.after(0), None);
        for _ in 0..3 {
            queue.push(None, NodeFact::Drained);
        }
        assert_eq!(queue.after(0).unwrap().seq, 1);
        assert_eq!(queue.after(2).unwrap().seq, 3);
        assert_eq!(queue.after(3), None);
        queue.acknowledge(2);
        assert_eq!(queue.after(0).unwrap().seq, 3);
        queue.acknowledge(99);
        assert_eq!(queue.after(0), None);
        queue.push(None, NodeFact::Drained);
        assert_eq!(queue.after(3).unwrap().seq, 4);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut queue = EventQueue::new(2);
        for _ in 0..5 {
            queue.push(None, NodeFact::Drained);
        }
        assert_eq!(queue.lost(), 3);
        assert_eq!(queue.after(0).unwrap().seq, 4);
        assert_eq!(queue.after(4).unwrap().seq, 5);
    }
}
