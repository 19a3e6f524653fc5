//! Pure: no clock, no I/O, no async.
//!
//! Group commit. Outputs of one input leave together, and not before everything that was changed up to and by
//! that input is durable. One batch is in flight at a time; what changes meanwhile gathers in the next.

use std::collections::{BTreeMap, VecDeque};

use super::input::Output;

/// Gathers changes into batches and holds outputs back until their batch is durable.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// May leave.
    ready: VecDeque<Output>,
    /// Wait for the batch of that number.
    held: VecDeque<(u64, Output)>,
    /// Of the input that is being handled.
    staged: Vec<Output>,
    /// For the next batch.
    puts: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The next batch holds something that outputs depend on or that has waited long enough.
    due: bool,
    in_flight: Option<u64>,
    last_batch: u64,
}

impl Outbox {
    /// Adds an output of the input that is being handled.
    pub(crate) fn stage(&mut self, output: Output) {
        self.staged.push(output);
    }

    /// Adds a change that everything from this input on depends on.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.puts.insert(key, value);
        self.due = true;
    }

    /// Adds a change that rides along with the next batch; nothing depends on it.
    pub(crate) fn put_lazily(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.puts.insert(key, value);
    }

    /// Makes lazy changes a batch of their own.
    pub(crate) fn flush_lazy(&mut self) {
        self.due |= !self.puts.is_empty();
    }

    /// The input is handled: its outputs now wait for the newest batch, or leave when nothing is to be stored.
    pub(crate) fn seal(&mut self) {
        let waits_for = if self.due { Some(self.last_batch + 1) } else { self.in_flight };
        for output in self.staged.drain(..) {
            match waits_for {
                Some(batch) => self.held.push_back((batch, output)),
                None => self.ready.push_back(output),
            }
        }
        self.begin_batch();
    }

    /// A batch is durable.
    pub(crate) fn stored(&mut self, batch: u64) {
        if self.in_flight != Some(batch) {
            return;
        }
        self.in_flight = None;
        while self.held.front().is_some_and(|(waits_for, _)| *waits_for <= batch) {
            if let Some((_, output)) = self.held.pop_front() {
                self.ready.push_back(output);
            }
        }
        self.begin_batch();
    }

    /// Another master leads: nothing that waits may ever leave.
    pub(crate) fn fence(&mut self) {
        *self = Self::default();
        self.ready.push_back(Output::Fenced);
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }

    /// Outputs that wait for a batch.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Nothing waits to be stored or is being stored.
    pub(crate) fn is_settled(&self) -> bool {
        self.puts.is_empty() && self.in_flight.is_none()
    }

    fn begin_batch(&mut self) {
        if self.in_flight.is_some() || !self.due {
            return;
        }
        self.last_batch += 1;
        self.due = false;
        self.in_flight = Some(self.last_batch);
        let puts = std::mem::take(&mut self.puts).into_iter().collect();
        self.ready.push_back(Output::Commit { batch: self.last_batch, puts });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::op::Reply;

    fn reply(req: u64) -> Output {
        Output::Reply { req, reply: Reply::Done }
    }

    fn drain(outbox: &mut Outbox) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(output) = outbox.poll() {
            #[expect(clippy::wildcard_enum_match_arm, reason = "only these are staged here")]
            seen.push(match output {
                Output::Commit { batch, puts } => format!("commit {batch} of {}", puts.len()),
                Output::Reply { req, .. } => format!("reply {req}"),
                Output::Fenced => "fenced".to_owned(),
                other => panic!("not staged here: {other:?}"),
            });
        }
        seen
    }

    #[test]
    fn a_read_waits_for_the_batch_in_flight_and_changes_gather_in_the_next() {
        let mut outbox = Outbox::default();
        outbox.put(vec![1], Some(vec![]));
        outbox.stage(reply(1));
        outbox.seal();
        assert_eq!(drain(&mut outbox), ["commit 1 of 1"]);
        outbox.stage(reply(2));
        outbox.seal();
        outbox.put(vec![2], None);
        outbox.stage(reply(3));
        outbox.seal();
        outbox.put(vec![3], None);
        outbox.stage(reply(4));
        outbox.seal();
        assert_eq!(drain(&mut outbox), [""; 0]);
        outbox.stored(1);
        assert_eq!(drain(&mut outbox), ["reply 1", "reply 2", "commit 2 of 2"]);
        outbox.stored(2);
        assert_eq!(drain(&mut outbox), ["reply 3", "reply 4"]);
        assert!(outbox.is_settled());
    }

    #[test]
    fn a_lazy_change_holds_nothing_back() {
        let mut outbox = Outbox::default();
        outbox.put_lazily(vec![1], None);
        outbox.stage(reply(1));
        outbox.seal();
        assert_eq!(drain(&mut outbox), ["reply 1"]);
        outbox.put(vec![2], None);
        outbox.seal();
        assert_eq!(drain(&mut outbox), ["commit 1 of 2"]);
    }

    #[test]
    fn after_the_fence_nothing_leaves() {
        let mut outbox = Outbox::default();
        outbox.put(vec![1], None);
        outbox.stage(reply(1));
        outbox.seal();
        outbox.fence();
        outbox.stored(1);
        assert_eq!(drain(&mut outbox), ["fenced"]);
    }
}
