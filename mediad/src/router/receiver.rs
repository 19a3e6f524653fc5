//! Pure: no clock, no I/O, no async.
//!
//! Reception of one source: which packets came, which are missing and when to ask for them again, loss and jitter for
//! receiver reports (RFC 3550 appendix A).

use crate::rtcp::{Block, SenderInfo};

/// Missing packets that are remembered; more at once cannot be repaired, a key frame must.
const MISSING_MAX: usize = 256;

/// A packet may be this late and still be told from a duplicate.
const WINDOW_PACKETS: u64 = 1024;

/// A gap that is closed within this time was reordering.
const REORDER_US: u64 = 10_000;

/// Requests for one packet.
const TRIES_MAX: u8 = 10;

/// A packet that is missing longer is of no use.
const GIVE_UP_US: u64 = 1_000_000;

/// Shortest time between requests for one packet.
const REPEAT_US_MIN: u64 = 20_000;

/// Where a packet stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Arrival {
    /// Newer than all before.
    New,
    /// Fills a gap. `asked_us` is when it was asked for, once only: a sample of the round-trip time.
    Late { asked_us: Option<u64> },
    /// Was here before, or is too old to tell.
    Duplicate,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    index: u64,
    noticed_us: u64,
    asked_us: u64,
    tries: u8,
}

#[derive(Debug)]
pub(super) struct Receiver {
    clock_hz: u32,
    started: bool,
    first: u64,
    pub(super) highest: u64,
    window: [u64; (WINDOW_PACKETS / 64) as usize],
    missing: Vec<Missing>,
    received: u64,
    /// Expected and received packets at the last report.
    reported: (u64, u64),
    transit: Option<u32>,
    /// Interarrival jitter times 16.
    jitter: u32,
    last_report: Option<(u32, u64)>,
    /// Highest index that was given up plus one; 0 is none.
    given_up: u64,
    /// Packets that never came.
    pub(super) lost: u64,
}

impl Receiver {
    pub(super) fn new(clock_hz: u32) -> Self {
        Self::with_room(clock_hz, MISSING_MAX)
    }

    fn with_room(clock_hz: u32, missing: usize) -> Self {
        Self {
            clock_hz,
            started: false,
            first: 0,
            highest: 0,
            window: [0; (WINDOW_PACKETS / 64) as usize],
            missing: Vec::with_capacity(missing),
            received: 0,
            reported: (0, 0),
            transit: None,
            jitter: 0,
            last_report: None,
            given_up: 0,
            lost: 0,
        }
    }

    /// Another source has taken over: counters begin anew.
    pub(super) fn restart(&mut self, clock_hz: u32) {
        let mut missing = std::mem::take(&mut self.missing);
        missing.clear();
        *self = Self { missing, lost: self.lost, ..Self::with_room(clock_hz, 0) };
    }

    pub(super) const fn is_started(&self) -> bool {
        self.started
    }

    /// Notes a packet, original or repaired.
    pub(super) fn arrive(&mut self, index: u64, now_us: u64) -> Arrival {
        if !self.started {
            self.started = true;
            self.first = index;
            self.highest = index;
            self.mark(index);
            self.received = 1;
            return Arrival::New;
        }
        if index <= self.highest {
            return self.arrive_late(index);
        }
        let gap = index - self.highest - 1;
        if gap >= WINDOW_PACKETS {
            self.window = [0; (WINDOW_PACKETS / 64) as usize];
            self.forget_all();
            self.lost += gap;
            self.given_up = index;
        } else {
            for skipped in self.highest + 1..index {
                self.clear(skipped);
                self.miss(skipped, now_us);
            }
            self.clear(index);
        }
        self.highest = index;
        self.mark(index);
        self.received += 1;
        Arrival::New
    }

    fn arrive_late(&mut self, index: u64) -> Arrival {
        if self.highest - index >= WINDOW_PACKETS || self.is_marked(index) {
            return Arrival::Duplicate;
        }
        self.mark(index);
        self.received += 1;
        self.first = self.first.min(index);
        let asked_us = self.missing.iter().position(|entry| entry.index == index).and_then(|at| {
            let entry = self.missing.remove(at);
            (entry.tries == 1).then_some(entry.asked_us)
        });
        Arrival::Late { asked_us }
    }

    fn miss(&mut self, index: u64, now_us: u64) {
        if self.missing.len() == MISSING_MAX {
            self.given_up = self.given_up.max(self.missing.remove(0).index + 1);
            self.lost += 1;
        }
        self.missing.push(Missing { index, noticed_us: now_us, asked_us: 0, tries: 0 });
    }

    /// RFC 3550 appendix A.8.
    pub(super) fn measure(&mut self, timestamp: u32, now_us: u64) {
        let arrival = (u128::from(now_us) * u128::from(self.clock_hz) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(last).cast_signed().unsigned_abs();
            // A jump of the media clock is no jitter.
            if difference < self.clock_hz {
                self.jitter = self.jitter + difference - ((self.jitter + 8) >> 4);
            }
        }
    }

    /// What is missing before `index` will not be asked for again: a key frame made it useless.
    pub(super) fn forget_before(&mut self, index: u64) {
        let before = self.missing.len();
        self.missing.retain(|entry| entry.index >= index);
        self.lost += (before - self.missing.len()) as u64;
    }

    pub(super) fn forget_all(&mut self) {
        self.lost += self.missing.len() as u64;
        self.given_up = self.missing.iter().map(|entry| entry.index + 1).fold(self.given_up, u64::max);
        self.missing.clear();
    }

    pub(super) fn is_missing_any(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether nothing is missing from `index` on, nor was given up.
    pub(super) fn is_complete_from(&self, index: u64) -> bool {
        self.given_up <= index && self.missing.iter().all(|entry| entry.index < index)
    }

    /// Whether `index` is being waited for.
    #[cfg(test)]
    pub(super) fn is_missing(&self, index: u64) -> bool {
        self.missing.iter().any(|entry| entry.index == index)
    }

    /// Sequence numbers to ask for now, ascending, at most as many as `out` has room without growing.
    pub(super) fn due(&mut self, now_us: u64, rtt_us: u64, out: &mut Vec<u16>) {
        let repeat_us = rtt_us.max(REPEAT_US_MIN);
        let highest = self.highest;
        let before = self.missing.len();
        let given_up = &mut self.given_up;
        self.missing.retain(|entry| {
            let waited_us = now_us.saturating_sub(entry.noticed_us);
            let answered_us = now_us.saturating_sub(entry.asked_us);
            let hopeful = waited_us < GIVE_UP_US && (entry.tries < TRIES_MAX || answered_us < repeat_us);
            if !hopeful {
                *given_up = (*given_up).max(entry.index + 1);
            }
            hopeful
        });
        self.lost += (before - self.missing.len()) as u64;
        for entry in &mut self.missing {
            let ripe = if entry.tries == 0 {
                highest >= entry.index + 2 || now_us.saturating_sub(entry.noticed_us) >= REORDER_US
            } else {
                entry.tries < TRIES_MAX && now_us.saturating_sub(entry.asked_us) >= repeat_us
            };
            if ripe && out.len() < out.capacity() {
                entry.tries += 1;
                entry.asked_us = now_us;
                out.push(entry.index as u16);
            }
        }
    }

    /// A sender report of this source arrived.
    pub(super) const fn note_report(&mut self, sender: &SenderInfo, now_us: u64) {
        self.last_report = Some(((sender.ntp >> 16) as u32, now_us));
    }

    /// Reception report (RFC 3550 section 6.4.1); begins a new interval.
    pub(super) fn report(&mut self, ssrc: u32, now_us: u64) -> Block {
        let expected = self.highest - self.first + 1;
        let lost = expected - self.received.min(expected);
        let expected_now = expected - self.reported.0.min(expected);
        let received_now = self.received - self.reported.1;
        let lost_now = expected_now.saturating_sub(received_now);
        self.reported = (expected, self.received);
        let (last_report, delay) = self.last_report.map_or((0, 0), |(report, at_us)| {
            (report, (now_us.saturating_sub(at_us) * 65_536 / 1_000_000) as u32)
        });
        Block {
            ssrc,
            fraction_lost: (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
            lost: lost.min(0x7f_ffff) as i32,
            highest: self.highest as u32,
            jitter: self.jitter >> 4,
            last_report,
            delay,
        }
    }

    fn mark(&mut self, index: u64) {
        self.window[(index / 64) as usize % self.window.len()] |= 1 << (index % 64);
    }

    fn clear(&mut self, index: u64) {
        self.window[(index / 64) as usize % self.window.len()] &= !(1 << (index % 64));
    }

    fn is_marked(&self, index: u64) -> bool {
        self.window[(index / 64) as usize % self.window.len()] & 1 << (index % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(receiver: &mut Receiver, now_us: u64) -> Vec<u16> {
        let mut out = Vec::with_capacity(64);
        receiver.due(now_us, 50_000, &mut out);
        out
    }

    fn started(indexes: &[u64]) -> Receiver {
        let mut receiver = Receiver::new(90_000);
        for index in indexes {
            receiver.arrive(*index, 0);
        }
        receiver
    }

    #[test]
    fn a_gap_is_asked_for_after_one_more_packet_or_ten_milliseconds() {
        let mut receiver = started(&[10, 12]);
        assert!(due(&mut receiver, 1_000).is_empty());
        assert_eq!(due(&mut receiver, 10_000), [11]);
        let mut receiver = started(&[10, 12, 13]);
        assert_eq!(due(&mut receiver, 1_000), [11]);
        assert!(due(&mut receiver, 30_000).is_empty());
        assert_eq!(due(&mut receiver, 51_000), [11]);
        assert_eq!(receiver.arrive(11, 60_000), Arrival::Late { asked_us: None });
        assert!(!receiver.is_missing_any());
        assert_eq!(receiver.arrive(11, 61_000), Arrival::Duplicate);
    }

    #[test]
    fn nothing_is_asked_for_more_than_ten_times_or_longer_than_a_second() {
        let mut receiver = started(&[10, 12, 13]);
        let asked = (0..200).filter(|turn| !due(&mut receiver, turn * 10_000).is_empty()).count();
        assert_eq!(asked, 10);
        assert_eq!((receiver.is_missing_any(), receiver.lost), (false, 1));
    }

    #[test]
    fn a_key_frame_makes_older_gaps_useless() {
        let mut receiver = started(&[10, 12, 14, 15]);
        receiver.forget_before(13);
        assert!(!receiver.is_missing(11) && receiver.is_missing(13));
        assert!(!receiver.is_complete_from(12) && receiver.is_complete_from(14));
    }

    #[test]
    fn what_was_given_up_stays_a_hole() {
        let mut receiver = started(&[10, 12, 13]);
        receiver.forget_all();
        assert!(
            !receiver.is_missing_any() && !receiver.is_complete_from(10) && receiver.is_complete_from(12)
        );
        receiver.arrive(15, 0);
        due(&mut receiver, 2_000_000);
        assert!(!receiver.is_complete_from(13) && receiver.is_complete_from(15));
    }

    #[test]
    fn the_list_of_missing_packets_is_bounded() {
        let mut receiver = started(&[0]);
        for burst in 1..20 {
            receiver.arrive(burst * 100, 0);
        }
        assert_eq!(receiver.missing.len(), MISSING_MAX);
        receiver.arrive(1_000_000, 0);
        assert!(!receiver.is_missing_any());
    }

    #[test]
    fn reports_count_loss_in_the_interval_and_in_all() {
        let mut receiver = started(&[0, 1, 2, 4]);
        let block = receiver.report(7, 0);
        assert_eq!((block.fraction_lost, block.lost, block.highest), (51, 1, 4));
        receiver.arrive(5, 0);
        let block = receiver.report(7, 0);
        assert_eq!((block.fraction_lost, block.lost), (0, 1));
        receiver.arrive(3, 0);
        assert_eq!(receiver.report(7, 0).lost, 0);
    }

    #[test]
    fn steady_packets_have_no_jitter_and_reports_tell_the_delay_since_the_last_sender_report() {
        let mut receiver = started(&[0]);
        for step in 0..50u32 {
            receiver.measure(step * 900, u64::from(step) * 10_000);
        }
        receiver.note_report(&SenderInfo { ntp: 0x0001_0002_0003_0004, ..SenderInfo::default() }, 1_000_000);
        let block = receiver.report(7, 1_500_000);
        assert_eq!((block.jitter, block.last_report, block.delay), (0, 0x0002_0003, 32_768));
    }
}
