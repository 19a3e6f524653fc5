//! Pure: no clock, no I/O, no async.
//!
//! What a worker counts, and how others read it: plain integers owned by the worker, copied out a few times a second.
//! A packet costs no more than additions.

use std::sync::Mutex;
use std::time::Duration;

/// Counters of one worker's loop since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LoopCounters {
    /// Turns of the loop.
    pub turns: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Messages received; one may hold several datagrams.
    pub messages_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Messages sent; one may hold several datagrams.
    pub messages_out: u64,
    /// Send calls made.
    pub send_calls: u64,
    /// Datagrams that the kernel refused to send.
    pub refused_out: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub drops_in: u64,
    /// Errors of the receive call.
    pub receive_errors: u64,
    /// Commands carried out.
    pub commands: u64,
    /// CPU time of the thread, nanoseconds.
    pub cpu_ns: u64,
    /// Allocations of the thread.
    pub allocations: u64,
    /// Of these, what receiving, forwarding, repairing and reporting packets cost: all but the thread's start, commands, ICE,
    /// DTLS and events.
    pub packet_allocations: u64,
    /// Time from wake-up to the next wait.
    pub lag: Histogram,
}

/// Buckets of a [`Histogram`].
const BUCKETS: usize = 64;

/// Durations in buckets of a quarter octave from 1 microsecond to 65 milliseconds; longer ones are in the last bucket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket_of(us)] += 1;
    }

    /// Adds the counts of another one.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// What was counted since `earlier`, a former value of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Self { counts }
    }

    /// Upper bound of the bucket that holds the given share of all durations, in microseconds; 0 when empty.
    #[must_use]
    pub fn quantile_us(&self, permille: u16) -> u32 {
        let total: u64 = self.counts.iter().sum();
        let rank = (total * u64::from(permille)).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return upper_us(bucket);
            }
        }
        0
    }
}

/// Bucket 4 * octave + quarter: 1, 2, 3 us have too few digits for quarters and share the lowest ones.
fn bucket_of(us: u64) -> usize {
    if us == 0 {
        return 0;
    }
    let octave = us.ilog2();
    let quarter = if octave >= 2 { (us >> (octave - 2)) & 3 } else { (us << (2 - octave)) & 3 };
    let bucket = u64::from(octave) * 4 + quarter;
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_us(bucket: usize) -> u32 {
    let octave = bucket / 4;
    let quarter = bucket % 4 + 1;
    u32::try_from(((1_usize << octave) * (4 + quarter)).div_ceil(4)).unwrap_or(u32::MAX)
}

/// Latest values of one writer for many readers. The writer never waits: when a reader holds the value, it keeps
/// its copy for the next time. A lock rather than a message, because only the newest value is of interest.
#[derive(Debug, Default)]
pub struct Board<T>(Mutex<T>);

impl<T: Clone> Board<T> {
    /// Swaps the value on the board for `fresh`, unless a reader is at it.
    pub fn post(&self, fresh: &mut T) {
        if let Ok(mut front) = self.0.try_lock() {
            std::mem::swap(&mut *front, fresh);
        }
    }

    /// The newest value.
    pub fn read(&self) -> T {
        match self.0.lock() {
            Ok(front) => front.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter_octave() {
        let mut histogram = Histogram::default();
        for us in 1..=1000 {
            histogram.add(Duration::from_micros(us));
        }
        let p99 = histogram.quantile_us(990);
        assert!((990..=1280).contains(&p99), "{p99}");
        let p50 = histogram.quantile_us(500);
        assert!((500..=640).contains(&p50), "{p50}");
        assert_eq!(histogram.since(&histogram).quantile_us(990), 0);
    }

    #[test]
    fn every_duration_has_a_bucket_below_its_upper_bound() {
        for us in (0..100_000).chain([u64::MAX]) {
            let bucket = bucket_of(us);
            assert!(bucket < BUCKETS);
            if us < 65_000 {
                assert!(us <= u64::from(upper_us(bucket)), "{us} in {bucket}");
            }
        }
    }

    #[test]
    fn a_board_shows_the_newest_value() {
        let board = Board::default();
        let mut value = 5;
        board.post(&mut value);
        assert_eq!((board.read(), value), (5, 0));
    }
}
