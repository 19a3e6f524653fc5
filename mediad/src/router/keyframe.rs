//! Pure: no clock, no I/O, no async.
//!
//! When to ask a publisher for a key frame of one encoding. All subscribers' wishes are one wish; one request is in
//! flight; an answer that never comes is asked for again.

/// Shortest time between requests for the lowest encoding and for the others: a key frame of a large picture is dear.
const GAP_US: [u64; 2] = [500_000, 1_000_000];

/// An unanswered request is repeated after this time: soon at first, for packets get lost most where a path has just
/// come up. Not sooner: browsers ignore a request within 300 ms of the last one.
const RETRY_US: [u64; 4] = [350_000, 350_000, 350_000, 1_000_000];

/// Gate of one encoding.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    wished_us: Option<u64>,
    asked_us: Option<u64>,
    /// Requests since the newest key frame, up to the number of [`RETRY_US`].
    unanswered: u8,
    /// When the newest key frame began to arrive.
    arrived_us: Option<u64>,
}

impl Gate {
    /// Somebody needs a key frame.
    pub(super) const fn wish(&mut self, now_us: u64) {
        if self.wished_us.is_none() {
            self.wished_us = Some(now_us);
        }
    }

    /// Somebody lost its picture and says so; if a key frame came within `recent_us` it does not know that one yet.
    pub(super) fn wish_unless_recent(&mut self, now_us: u64, recent_us: u64) {
        if self.arrived_us.is_none_or(|at| now_us.saturating_sub(at) > recent_us) {
            self.wish(now_us);
        }
    }

    /// A key frame began to arrive: every wish is fulfilled.
    pub(super) const fn arrive(&mut self, now_us: u64) {
        self.wished_us = None;
        self.arrived_us = Some(now_us);
        self.unanswered = 0;
    }

    /// Nobody is interested any more.
    pub(super) const fn cancel(&mut self) {
        self.wished_us = None;
    }

    pub(super) const fn is_wished(&self) -> bool {
        self.wished_us.is_some()
    }

    /// Whether a request is to be sent now; counts as sent.
    pub(super) fn poll(&mut self, now_us: u64, is_lowest: bool) -> bool {
        if self.wished_us.is_none() {
            return false;
        }
        let due = self.asked_us.is_none_or(|asked| {
            let answered = self.arrived_us.is_some_and(|arrived| arrived >= asked);
            let repeated = usize::from(self.unanswered).clamp(1, RETRY_US.len()) - 1;
            let wait_us = if answered { GAP_US[usize::from(!is_lowest)] } else { RETRY_US[repeated] };
            now_us >= asked + wait_us
        });
        if due {
            self.asked_us = Some(now_us);
            self.unanswered = self.unanswered.saturating_add(1);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    #[test]
    fn many_wishes_are_one_request_until_it_is_answered() {
        let mut gate = Gate::default();
        assert!(!gate.poll(0, false));
        for at in 0..100 {
            gate.wish(at * MS);
        }
        assert!(gate.poll(100 * MS, false));
        assert!(!gate.poll(101 * MS, false));
        gate.arrive(150 * MS);
        assert!(!gate.is_wished() && !gate.poll(160 * MS, false));
    }

    #[test]
    fn an_unanswered_request_is_repeated_soon_and_then_each_second() {
        let mut gate = Gate::default();
        gate.wish(0);
        let asked: Vec<u64> =
            (0..=70).map(|turn| turn * 50 * MS).filter(|now| gate.poll(*now, true)).collect();
        assert_eq!(asked, [0, 350, 700, 1050, 2050, 3050].map(|at| at * MS));
    }

    #[test]
    fn answered_requests_keep_half_a_second_for_the_lowest_and_a_second_for_the_others() {
        for (is_lowest, gap) in [(true, 500), (false, 1000)] {
            let mut gate = Gate::default();
            gate.wish(0);
            assert!(gate.poll(0, is_lowest));
            gate.arrive(10 * MS);
            gate.wish(20 * MS);
            assert!(!gate.poll((gap - 1) * MS, is_lowest) && gate.poll(gap * MS, is_lowest));
        }
    }

    #[test]
    fn a_complaint_from_before_the_last_key_frame_is_no_wish() {
        let mut gate = Gate::default();
        gate.arrive(1000 * MS);
        gate.wish_unless_recent(1050 * MS, 100 * MS);
        assert!(!gate.is_wished());
        gate.wish_unless_recent(1200 * MS, 100 * MS);
        assert!(gate.is_wished());
    }
}
