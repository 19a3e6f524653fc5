//! Pure: no clock, no I/O, no async.
//!
//! Results of operations, so that a repeated command has its effect once and gets the same answer.

use std::collections::{HashMap, VecDeque};

use crate::id::{Epoch, OpId};
use crate::wire::node::OpResult;

type Key = (Epoch, OpId);

/// What is known of an operation that arrives.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Begun {
    /// Nothing: carry it out.
    New,
    /// It is being carried out; the answer will take the new route.
    Running,
    /// It was carried out with this result.
    Finished(OpResult),
}

enum Entry<R> {
    Running(R),
    Finished(OpResult),
}

/// Operations by epoch and id. `R` is the way back to whoever asked last.
pub(super) struct Cache<R> {
    entries: HashMap<Key, Entry<R>>,
    /// Finished ones, oldest first.
    finished: VecDeque<Key>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl<R> Cache<R> {
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { entries: HashMap::new(), finished: VecDeque::new(), bytes: 0, count_max, bytes_max }
    }

    /// An operation arrives by `route`.
    pub(super) fn begin(&mut self, key: Key, route: R) -> Begun {
        match self.entries.get_mut(&key) {
            Some(Entry::Finished(result)) => Begun::Finished(result.clone()),
            Some(Entry::Running(present)) => {
                *present = route;
                Begun::Running
            }
            None => {
                self.entries.insert(key, Entry::Running(route));
                Begun::New
            }
        }
    }

    /// It is done. The result is kept; the way back to whoever asked last.
    pub(super) fn finish(&mut self, key: Key, result: &OpResult) -> Option<R> {
        let Some(Entry::Running(route)) = self.entries.remove(&key) else { return None };
        self.entries.insert(key, Entry::Finished(result.clone()));
        self.finished.push_back(key);
        self.bytes += size_of_result(result);
        while self.finished.len() > self.count_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.finished.pop_front() else { break };
            if let Some(Entry::Finished(result)) = self.entries.remove(&oldest) {
                self.bytes -= size_of_result(&result);
            }
        }
        Some(route)
    }

    /// It was not begun after all.
    pub(super) fn forget(&mut self, key: Key) -> Option<R> {
        match self.entries.remove(&key)? {
            Entry::Running(route) => Some(route),
            Entry::Finished(result) => {
                self.entries.insert(key, Entry::Finished(result));
                None
            }
        }
    }
}

fn size_of_result(result: &OpResult) -> usize {
    let content = match result {
        OpResult::Ok | OpResult::Err(_) => 0,
        OpResult::Ready(ready) => ready.sdp.len(),
        OpResult::State(state) => state.bytes.len(),
    };
    content + 128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::node::NodeError;
    use crate::wire::node::SavedState;

    const A: Key = (Epoch(1), OpId(7));

    #[test]
    fn a_repeated_operation_gets_the_first_result() {
        let mut cache = Cache::new(10, 10_000);
        assert_eq!(cache.begin(A, "first"), Begun::New);
        assert_eq!(cache.begin(A, "second"), Begun::Running);
        assert_eq!(cache.finish(A, &OpResult::Ok), Some("second"));
        assert_eq!(cache.begin(A, "third"), Begun::Finished(OpResult::Ok));
        assert_eq!(cache.finish(A, &OpResult::Err(NodeError::Busy)), None);
        assert_eq!(cache.begin((Epoch(2), OpId(7)), "other epoch"), Begun::New);
    }

    #[test]
    fn a_finished_result_is_not_lost_by_a_late_finish_or_forget() {
        let mut cache = Cache::new(10, 10_000);
        cache.begin(A, ());
        cache.finish(A, &OpResult::Ok);
        assert_eq!(cache.forget(A), None);
        assert_eq!(cache.begin(A, ()), Begun::Finished(OpResult::Ok));
    }

    #[test]
    fn a_declined_operation_may_be_tried_again() {
        let mut cache = Cache::new(10, 10_000);
        cache.begin(A, "route");
        assert_eq!(cache.forget(A), Some("route"));
        assert_eq!(cache.begin(A, "again"), Begun::New);
    }

    fn saved(bytes: usize) -> OpResult {
        OpResult::State(SavedState { number: 1, bytes: vec![0; bytes] })
    }

    #[test]
    fn count_and_bytes_are_bounded() {
        let mut cache = Cache::new(3, 1_000_000);
        for op in 1..=10 {
            cache.begin((Epoch(1), OpId(op)), ());
            cache.finish((Epoch(1), OpId(op)), &OpResult::Ok);
        }
        assert_eq!((cache.entries.len(), cache.finished.len()), (3, 3));

        let mut cache = Cache::new(1000, 1_000);
        for op in 1..=10 {
            cache.begin((Epoch(1), OpId(op)), ());
            cache.finish((Epoch(1), OpId(op)), &saved(300));
        }
        assert_eq!((cache.entries.len(), cache.bytes), (2, 856));
        cache.begin(A, ());
        cache.finish(A, &saved(2_000));
        assert_eq!((cache.entries.len(), cache.bytes), (0, 0));
    }
}
