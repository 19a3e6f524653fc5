//! Pure: no clock, no I/O, no async.
//!
//! When a publisher sends which packet: frames whose packets leave back to back, as browsers send them, or the same
//! packets evenly spaced.

use std::time::Duration;

/// How packets are spread over time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pacing {
    /// All packets of a frame back to back.
    #[default]
    Burst,
    /// Evenly.
    Even,
}

/// One packet to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Due {
    /// When, since the start of the flow.
    pub(super) at: Duration,
    /// Number of its frame, from 0.
    pub(super) frame: u64,
    /// First packet of its frame.
    pub(super) start: bool,
    /// Last packet of its frame.
    pub(super) end: bool,
}

/// Endless schedule of one flow.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pacing: Pacing,
    packets_per_s: u64,
    frames_per_s: u64,
    frame: u64,
    /// Number of the packet in all.
    packet: u64,
}

impl Schedule {
    /// `packets_per_s` is at least `frames_per_s`, which is at least 1; smaller values are raised.
    #[must_use]
    pub(super) fn new(pacing: Pacing, packets_per_s: u64, frames_per_s: u64) -> Self {
        let frames_per_s = frames_per_s.max(1);
        Self { pacing, packets_per_s: packets_per_s.max(frames_per_s), frames_per_s, frame: 0, packet: 0 }
    }

    /// The next packet, without taking it.
    #[must_use]
    pub(super) fn peek(&self) -> Due {
        let frame_end = self.first_packet_of(self.frame + 1);
        let at = match self.pacing {
            Pacing::Burst => nth(self.frame, self.frames_per_s),
            Pacing::Even => nth(self.packet, self.packets_per_s),
        };
        let start = self.packet == self.first_packet_of(self.frame);
        Due { at, frame: self.frame, start, end: self.packet + 1 == frame_end }
    }

    /// Takes the next packet.
    pub(super) fn take(&mut self) -> Due {
        let due = self.peek();
        self.packet += 1;
        if due.end {
            self.frame += 1;
        }
        due
    }

    fn first_packet_of(&self, frame: u64) -> u64 {
        frame * self.packets_per_s / self.frames_per_s
    }
}

/// Instant of the n-th event at a rate.
fn nth(n: u64, rate: u64) -> Duration {
    Duration::from_nanos((u128::from(n) * 1_000_000_000 / u128::from(rate)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets_within_a_second(mut schedule: Schedule) -> Vec<Due> {
        std::iter::from_fn(|| Some(schedule.take()))
            .take_while(|due| due.at < Duration::from_secs(1))
            .collect()
    }

    #[test]
    fn bursts_hold_whole_frames_and_the_rate() {
        let all = packets_within_a_second(Schedule::new(Pacing::Burst, 125, 30));
        assert_eq!(all.len(), 125);
        assert_eq!(all.iter().filter(|due| due.start).count(), 30);
        assert_eq!(all.iter().filter(|due| due.end).count(), 30);
        assert!(all.windows(2).all(|pair| (pair[0].at == pair[1].at) == (pair[0].frame == pair[1].frame)));
    }

    #[test]
    fn even_pacing_has_the_same_frames_and_equal_gaps() {
        let all = packets_within_a_second(Schedule::new(Pacing::Even, 125, 30));
        assert_eq!(all.len(), 125);
        assert_eq!(all.iter().filter(|due| due.start).count(), 30);
        assert!(all.windows(2).all(|pair| pair[1].at - pair[0].at == Duration::from_millis(8)));
    }

    #[test]
    fn sound_is_one_packet_a_frame() {
        let all = packets_within_a_second(Schedule::new(Pacing::Burst, 50, 50));
        assert!(all.iter().all(|due| due.start && due.end));
    }
}
