//! Pure: no clock, no I/O, no async.
//!
//! Packet indexes of one received SSRC: the roll-over guess and the replay window (RFC 3711 section 3.3).

use crate::transport::lease::RTP_INDEX_END;

/// The newest index and which of the 127 below it were seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: index `highest - n` was seen.
    seen: u128,
}

impl Window {
    /// A window whose first packet has index `index`.
    pub(super) const fn first(index: u64) -> Self {
        Self { highest: index, seen: 1 }
    }

    /// The window of a stream that another node received up to `highest`: nothing at or below it is accepted again.
    pub(super) const fn resumed(highest: u64) -> Self {
        Self { highest, seen: u128::MAX }
    }

    /// Newest index.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// True if a packet of this index may be opened: neither seen nor too old to know.
    pub(super) const fn is_new(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let age = self.highest - index;
        age < 128 && self.seen & (1 << age) == 0
    }

    /// Records an authenticated packet.
    pub(super) fn record(&mut self, index: u64) {
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = if ahead < 128 { self.seen << ahead } else { 0 };
            self.highest = index;
        }
        let age = self.highest - index;
        if age < 128 {
            self.seen |= 1 << age;
        }
    }

    /// The index nearest to the newest one whose low 16 bits are `sequence`; none past the end of the key's life.
    pub(super) fn guess(&self, sequence: u16) -> Option<u64> {
        #[expect(clippy::cast_possible_wrap, reason = "the wrapped difference is the signed distance")]
        let distance = sequence.wrapping_sub((self.highest & 0xffff) as u16) as i16;
        let index = self.highest.checked_add_signed(i64::from(distance));
        // There is nothing before roll-over counter 0: the packet is far ahead.
        let index = index.unwrap_or_else(|| u64::from(sequence));
        (index < RTP_INDEX_END).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rollover_counter_follows_the_sequence_numbers_both_ways() {
        let window = Window::first(0xffff);
        assert_eq!(window.guess(3), Some(0x1_0003));
        let window = Window::first(0x1_0003);
        assert_eq!(window.guess(0xffff), Some(0xffff));
        assert_eq!(Window::first(3).guess(0xfff0), Some(0xfff0));
        assert_eq!(Window::first(RTP_INDEX_END - 1).guess(1), None);
    }

    #[test]
    fn a_resumed_window_accepts_only_what_is_ahead() {
        let window = Window::resumed(500);
        assert!(!window.is_new(500) && !window.is_new(450) && window.is_new(501));
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_list_of_all_indexes(
            start in 0u64..70_000,
            steps in proptest::collection::vec(-200i64..200, 1..400),
        ) {
            let mut window = Window::first(start);
            let mut seen = std::collections::HashSet::from([start]);
            let mut highest = start;
            let mut at = start;
            for step in steps {
                at = at.saturating_add_signed(step).max(highest.saturating_sub(300));
                let fresh = !seen.contains(&at) && at + 128 > highest;
                prop_assert_eq!(window.is_new(at), fresh);
                // Below 2^15 there is no way back to tell, see `guess`.
                if highest > 0x8000 {
                    prop_assert_eq!(window.guess((at & 0xffff) as u16), Some(at));
                }
                if fresh {
                    window.record(at);
                    seen.insert(at);
                    highest = highest.max(at);
                }
                prop_assert_eq!(window.highest(), highest);
            }
        }
    }
}
