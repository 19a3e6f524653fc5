//! Pure: no clock, no I/O, no async.
//!
//! Loss detection and repeat requests (RFC 4585 section 6.2.1) of one received stream, as a receiving browser does it.
//! The crate's own generator does not see retransmitted packets and would ask again for ever, hence this one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A request is repeated after this time.
const REPEAT: Duration = Duration::from_millis(60);
/// The first request waits for packets that are merely out of order.
const REORDER_WAIT: Duration = Duration::from_millis(10);
/// A packet is given up after so many requests.
const REQUESTS_MAX: u32 = 40;
/// More missing packets than this are a gap of another kind (a new source): forgotten.
const MISSING_MAX: usize = 1_000;

/// State of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct NackState {
    /// Highest sequence number, extended.
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    /// Requests sent, in packets asked for.
    pub(super) requested: u64,
    /// Of these, requests for a packet that had been asked for before: each may bring a packet twice.
    pub(super) requested_again: u64,
    /// Packets given up.
    pub(super) given_up: u64,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    due: Instant,
    requests: u32,
}

impl NackState {
    /// Notes an arrived sequence number.
    pub(super) fn note(&mut self, now: Instant, sequence: u16) {
        let Some(highest) = self.highest else {
            self.highest = Some(u64::from(sequence) + (1 << 16));
            return;
        };
        let extended = extend(highest, sequence);
        if extended <= highest {
            self.missing.remove(&extended);
            return;
        }
        self.highest = Some(extended);
        if (extended - highest) as usize > MISSING_MAX {
            self.missing.clear();
            return;
        }
        for lost in highest + 1..extended {
            self.missing.insert(lost, Missing { due: now + REORDER_WAIT, requests: 0 });
        }
        while self.missing.len() > MISSING_MAX {
            self.missing.pop_first();
            self.given_up += 1;
        }
    }

    /// When [`Self::due`] has something next.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.missing.values().map(|missing| missing.due).min()
    }

    /// Sequence numbers to ask for now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u16> {
        let mut ask = Vec::new();
        self.missing.retain(|sequence, missing| {
            if missing.due > now {
                return true;
            }
            if missing.requests >= REQUESTS_MAX {
                self.given_up += 1;
                return false;
            }
            self.requested_again += u64::from(missing.requests > 0);
            missing.requests += 1;
            missing.due = now + REPEAT;
            ask.push((sequence & 0xffff) as u16);
            true
        });
        self.requested += ask.len() as u64;
        ask
    }
}

/// Extends a sequence number to the value nearest to `highest`.
fn extend(highest: u64, sequence: u16) -> u64 {
    let step = sequence.wrapping_sub(highest as u16).cast_signed();
    highest.saturating_add_signed(i64::from(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_asked_for_again_until_it_is_filled() {
        let start = Instant::now();
        let mut state = NackState::default();
        for sequence in [65_534, 65_535, 1, 2] {
            state.note(start, sequence);
        }
        assert!(state.due(start).is_empty(), "it may only be late");
        assert_eq!(state.due(start + REORDER_WAIT), vec![0]);
        assert!(state.due(start + REORDER_WAIT).is_empty());
        assert_eq!(state.due(start + REORDER_WAIT + REPEAT), vec![0]);
        state.note(start, 0);
        assert_eq!((state.deadline(), state.requested, state.requested_again), (None, 2, 1));
    }

    #[test]
    fn a_jump_is_no_loss_and_requests_end() {
        let start = Instant::now();
        let mut state = NackState::default();
        state.note(start, 1);
        state.note(start, 20_000);
        assert_eq!(state.deadline(), None);
        state.note(start, 20_002);
        for turn in 0..REQUESTS_MAX + 1 {
            state.due(start + REORDER_WAIT + REPEAT * turn);
        }
        assert_eq!((state.given_up, state.deadline()), (1, None));
    }
}
