//! Pure: no clock, no I/O, no async.
//!
//! Retransmissions that wait to be sent, and how much of the bandwidth they may take.

use super::track::LegRef;

/// Retransmissions that wait for one flush; more are dropped, the client asks again.
pub(super) const REPAIRS_MAX: usize = 4096;

/// One packet that a subscriber asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Repair {
    pub(super) leg: LegRef,
    pub(super) sequence: u16,
}

/// Bytes that retransmissions to one endpoint may use: a quarter of what it is sent, a little more for thin flows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    bytes: i64,
    at_us: u64,
    rate_bytes: u64,
}

/// Bytes that may be sent at once after a pause.
const BURST_BYTES: i64 = 150_000;

/// Bytes per second for every endpoint: 500 kbit/s.
const FLOOR_BYTES: u64 = 62_500;

impl Budget {
    pub(super) const fn new() -> Self {
        Self { bytes: BURST_BYTES, at_us: 0, rate_bytes: FLOOR_BYTES }
    }

    /// Measures what is sent; called about once a second.
    pub(super) const fn rate(&mut self, bytes_per_second: u64) {
        self.rate_bytes = bytes_per_second / 4 + FLOOR_BYTES;
    }

    /// Whether something may be sent again now.
    pub(super) fn allows(&mut self, now_us: u64) -> bool {
        let passed_us = now_us.saturating_sub(self.at_us).min(2_000_000);
        let more = self.rate_bytes * passed_us / 1_000_000;
        if more > 0 {
            self.at_us = now_us;
            self.bytes = (self.bytes + more.cast_signed()).min(BURST_BYTES);
        }
        self.bytes > 0
    }

    pub(super) const fn spend(&mut self, bytes: usize) {
        self.bytes -= bytes.cast_signed() as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_are_limited_to_a_share_of_what_is_sent() {
        let mut budget = Budget::new();
        budget.rate(400_000);
        let mut sent = 0;
        for tick in 0..2000u64 {
            while budget.allows(tick * 1000) {
                budget.spend(1000);
                sent += 1000;
            }
        }
        assert!((400_000..500_000).contains(&sent), "{sent}");
    }
}
