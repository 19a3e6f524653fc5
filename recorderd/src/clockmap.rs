//! Pure: no clock, no I/O, no async.
//!
//! From a media node's clock to recording time.
//!
//! The node stamps arrivals with a monotonic clock of its own. Each answer to a question for its clock gives a sample of
//! the difference; the one with the shortest way is best. The difference in use follows it slowly, so that recording time
//! never jumps and clocks that drift are followed.

/// A sample ages: each second it counts as so much worse, which is more than clocks drift.
const AGE_US_PER_S: i64 = 200;

/// The difference changes at most so fast, microseconds a second.
const SLEW_US_PER_S: i64 = 500;

/// The difference between a node's clock and recording time.
#[derive(Clone, Copy, Debug)]
pub struct ClockMap {
    /// What is added to the node's clock; in use.
    offset_us: i64,
    /// Last change of it, in recording time.
    slewed_us: i64,
    best: Sample,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    offset_us: i64,
    way_us: i64,
    at_us: i64,
}

impl ClockMap {
    /// From a first statement of the node: its clock said `node_us` when it was received at `now_us`, recording time, at
    /// most `way_us` after it was asked for.
    #[must_use]
    pub fn new(node_us: u64, now_us: i64, way_us: i64) -> Self {
        let best = Sample::new(node_us, now_us, way_us);
        Self { offset_us: best.offset_us, slewed_us: now_us, best }
    }

    /// Takes in another statement.
    pub fn sample(&mut self, node_us: u64, now_us: i64, way_us: i64) {
        let sample = Sample::new(node_us, now_us, way_us);
        let age_s = (now_us - self.best.at_us).max(0) / 1_000_000;
        if sample.way_us <= self.best.way_us + age_s * AGE_US_PER_S {
            self.best = sample;
        }
        let most = (now_us - self.slewed_us).max(0) * SLEW_US_PER_S / 1_000_000;
        self.offset_us += (self.best.offset_us - self.offset_us).clamp(-most, most);
        self.slewed_us = now_us;
    }

    /// Recording time of a moment of the node's clock.
    #[must_use]
    pub fn recording_us(&self, node_us: u64) -> i64 {
        signed(node_us).saturating_add(self.offset_us)
    }
}

impl Sample {
    fn new(node_us: u64, now_us: i64, way_us: i64) -> Self {
        let way_us = way_us.max(0);
        // The answer left the node half the way ago.
        Self { offset_us: (now_us - way_us / 2).saturating_sub(signed(node_us)), way_us, at_us: now_us }
    }
}

fn signed(node_us: u64) -> i64 {
    i64::try_from(node_us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_way_counts_and_a_drift_is_followed_without_a_jump() {
        let mut map = ClockMap::new(5_000_000, 1_000_000, 20_000);
        assert_eq!(map.recording_us(5_000_000), 990_000);
        // One hour of 50 ppm, asked every 5 s; every third answer is slow.
        let mut last = map.recording_us(5_000_000);
        for step in 1..720_i64 {
            let now = 1_000_000 + step * 5_000_000;
            let node = 5_000_000 + step * 5_000_000 + step * 250;
            let way = if step % 3 == 0 { 90_000 } else { 400 };
            map.sample((node - way / 2).try_into().unwrap(), now, way);
            let mapped = map.recording_us(node.try_into().unwrap());
            assert!(mapped > last);
            last = mapped;
            if step > 20 {
                assert!((mapped - now).abs() < 2_000, "{step}: {}", mapped - now);
            }
        }
    }

    #[test]
    fn absurd_clocks_do_no_harm() {
        let map = ClockMap::new(u64::MAX, 0, -5);
        assert_eq!(map.recording_us(u64::MAX), 0);
        assert!(map.recording_us(0) < 0);
    }
}
