//! Pure: no clock, no I/O, no async.
//!
//! Which packets of a publisher a receiver has got, and how long they took.

use std::collections::BTreeMap;

use super::packet::{Kind, Stamp};

/// Counters that one flow can follow; a run that is longer is counted as corrupt beyond it (2 MiB of bits).
const COUNTERS_PER_FLOW_MAX: u64 = 1 << 24;

/// What a receiver got of one publisher's audio or video.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// Lowest counter seen.
    first: Option<u64>,
    /// When the first packet came, in the run's nanoseconds.
    first_ns: u64,
    highest: u64,
    bits: Vec<u64>,
    received: u64,
    duplicates: u64,
    reordered: u64,
}

impl Flow {
    /// Notes a packet. Returns false for one that was there before.
    pub(super) fn note(&mut self, counter: u64) -> bool {
        let first = *self.first.get_or_insert(counter);
        let Some(offset) = counter.checked_sub(first) else {
            // Older than the first: the tail of what was under way before the subscription; not part of the count.
            return true;
        };
        if offset >= COUNTERS_PER_FLOW_MAX {
            return true;
        }
        let (word, bit) = ((offset / 64) as usize, offset % 64);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if self.bits[word] >> bit & 1 == 1 {
            self.duplicates += 1;
            return false;
        }
        self.bits[word] |= 1 << bit;
        self.received += 1;
        if counter < self.highest {
            self.reordered += 1;
        }
        self.highest = self.highest.max(counter);
        true
    }

    /// Packets that are missing up to `end` (exclusive), the publisher's own count.
    #[must_use]
    pub(super) fn missing(&self, end: u64) -> u64 {
        let Some(first) = self.first else { return end };
        let expected = end.saturating_sub(first);
        let words = self.bits.iter().enumerate();
        let seen = words.map(|(word, bits)| {
            let below = expected.saturating_sub(word as u64 * 64);
            let mask = if below >= 64 { u64::MAX } else { (1 << below) - 1 };
            u64::from((bits & mask).count_ones())
        });
        expected - seen.sum::<u64>()
    }

    /// Up to `limit` missing counters below `end`, for messages.
    #[must_use]
    pub(super) fn missing_list(&self, end: u64, limit: usize) -> Vec<u64> {
        let Some(first) = self.first else { return Vec::new() };
        let seen = |counter: u64| {
            let offset = counter - first;
            self.bits.get((offset / 64) as usize).is_some_and(|word| word >> (offset % 64) & 1 == 1)
        };
        (first..end).filter(|counter| !seen(*counter)).take(limit).collect()
    }
}

/// Everything that one receiver got.
#[derive(Clone, Debug, Default)]
pub(super) struct Verifier {
    flows: BTreeMap<(u32, Kind), Flow>,
    /// Payloads that were not as sent.
    pub(super) corrupt: u64,
    /// Latencies of first arrivals.
    pub(super) latency: Histogram,
}

impl Verifier {
    /// Notes a packet that arrived at `now_ns` (same origin as [`Stamp::sent_ns`]).
    pub(super) fn note(&mut self, stamp: &Stamp, now_ns: u64) {
        if stamp.tail {
            return;
        }
        let flow = self
            .flows
            .entry((stamp.publisher, stamp.kind))
            .or_insert_with(|| Flow { first_ns: now_ns, ..Flow::default() });
        if flow.note(stamp.counter) {
            self.latency.note(now_ns.saturating_sub(stamp.sent_ns));
        }
    }

    /// The flow of one publisher.
    #[must_use]
    pub(super) fn flow(&self, publisher: u32, kind: Kind) -> Option<&Flow> {
        self.flows.get(&(publisher, kind))
    }

    /// Whether anything came.
    #[must_use]
    pub(super) fn has_received(&self) -> bool {
        self.flows.values().any(|flow| flow.received > 0)
    }

    /// When the first packet of each flow came.
    pub(super) fn first_arrivals_ns(&self) -> impl Iterator<Item = u64> {
        self.flows.values().map(|flow| flow.first_ns)
    }

    /// Compares with what was sent.
    #[must_use]
    pub(super) fn tally(&self, sent: &[SentFlow]) -> Tally {
        let mut tally = Tally { corrupt: self.corrupt, ..Tally::default() };
        for flow in sent {
            let nothing = Flow::default();
            let got = self.flow(flow.publisher, flow.kind).unwrap_or(&nothing);
            tally.silent_flows += u64::from(got.received == 0);
            tally.delivered += got.received;
            match flow.kind {
                Kind::Audio => tally.missing_audio += got.missing(flow.end),
                Kind::Video => tally.missing += got.missing(flow.end),
            }
            tally.duplicates += got.duplicates;
            tally.reordered += got.reordered;
        }
        tally
    }
}

/// What a publisher sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SentFlow {
    /// Which.
    pub(super) publisher: u32,
    /// Audio or video.
    pub(super) kind: Kind,
    /// Counters below this one were sent and count.
    pub(super) end: u64,
}

/// Sums over flows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Packets that arrived, without duplicates.
    pub delivered: u64,
    /// Video packets that did not.
    pub missing: u64,
    /// Audio packets that did not: nobody repairs sound, so losses on purpose end here.
    pub missing_audio: u64,
    /// Packets that arrived again.
    pub duplicates: u64,
    /// Packets that arrived after a later one (repaired ones among them).
    pub reordered: u64,
    /// Payloads that were not as sent.
    pub corrupt: u64,
    /// Flows of which nothing arrived.
    pub silent_flows: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.missing += other.missing;
        self.missing_audio += other.missing_audio;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.silent_flows += other.silent_flows;
    }
}

/// Buckets per power of two: 6 % resolution.
const SUB_BUCKETS: usize = 16;
const BUCKETS: usize = 64 * SUB_BUCKETS;

/// Latencies in nanoseconds, in buckets of 6 %.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Notes one value.
    pub fn note(&mut self, value_ns: u64) {
        self.counts[Self::bucket(value_ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(value_ns);
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The value that `permille` of all are at or below, in nanoseconds; 0 without values.
    #[must_use]
    pub fn quantile_ns(&self, permille: u64) -> u64 {
        let rank = (self.total * permille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return Self::upper_ns(bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// Largest value.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    fn bucket(value_ns: u64) -> usize {
        let value = value_ns.max(SUB_BUCKETS as u64);
        let exponent = value.ilog2() as usize;
        let sub = (value >> (exponent - 4)) as usize & (SUB_BUCKETS - 1);
        (exponent * SUB_BUCKETS + sub).min(BUCKETS - 1)
    }

    fn upper_ns(bucket: usize) -> u64 {
        let (exponent, sub) = (bucket / SUB_BUCKETS, (bucket % SUB_BUCKETS) as u64);
        (1_u64 << exponent).saturating_add((sub + 1) << exponent.saturating_sub(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_counts_missing_doubled_and_late_packets_from_its_first_one_on() {
        let mut flow = Flow::default();
        for counter in [100, 101, 103, 102, 102, 105] {
            flow.note(counter);
        }
        assert_eq!((flow.received, flow.duplicates, flow.reordered), (5, 1, 1));
        assert_eq!((flow.missing(106), flow.missing(104), flow.missing(105)), (1, 0, 1));
        assert_eq!(flow.missing_list(108, 9), vec![104, 106, 107]);
        assert!(flow.note(99), "older than the first is ignored");
        assert_eq!(flow.missing(106), 1);
    }

    #[test]
    fn a_flow_of_which_nothing_came_is_missing_whole() {
        let tally = Verifier::default().tally(&[SentFlow { publisher: 0, kind: Kind::Video, end: 10 }]);
        assert_eq!((tally.missing, tally.silent_flows), (10, 1));
    }

    #[test]
    fn tail_packets_do_not_count() {
        let mut verifier = Verifier::default();
        let stamp = Stamp { kind: Kind::Video, publisher: 1, counter: 0, sent_ns: 5, tail: false };
        verifier.note(&stamp, 15);
        verifier.note(&Stamp { counter: 1, tail: true, ..stamp }, 20);
        let tally = verifier.tally(&[SentFlow { publisher: 1, kind: Kind::Video, end: 1 }]);
        assert!(tally.missing == 0 && tally.delivered == 1);
    }

    #[test]
    fn quantiles_are_within_the_resolution() {
        let mut histogram = Histogram::default();
        for value in 1..=1_000_u64 {
            histogram.note(value * 1_000);
        }
        for (permille, expected) in [(500, 500_000.0), (990, 990_000.0)] {
            let got = histogram.quantile_ns(permille) as f64;
            assert!((got / expected - 1.0).abs() < 0.07, "{permille}: {got}");
        }
        assert_eq!(histogram.max_ns(), 1_000_000);
    }
}
