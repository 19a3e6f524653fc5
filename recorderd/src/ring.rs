//! Pure: no clock, no I/O, no async.
//!
//! The last seconds of one track, for a studio that has to begin anew.
//!
//! A new studio needs everything since the last moment that is safe on the disk, and before that the picture's last key
//! frame. So a ring holds at least [`KEEP_US`] and goes back to the key frame at or before that, within
//! [`BYTES_MAX`]. Where key frames are rare, [`Ring::wants_keyframe`] asks for one now and then.

use std::collections::VecDeque;

/// At least so much is kept: the longest time that a new studio may have to be given again.
pub const KEEP_US: i64 = 5_000_000;

/// One key frame at least in this time, so that a ring stays small.
const KEYFRAME_EVERY_US: i64 = 10_000_000;

/// Bytes of one ring: 25 s at 2.5 Mb/s. What does not fit is forgotten, the oldest first.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// What one entry costs besides its packet.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// One thing that happened on a track.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// When it arrived, in recording time.
    pub arrival_us: i64,
    /// What.
    pub what: What,
}

/// What happened on a track.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// Packets are missing here.
    Gap,
    /// An RTP packet.
    Packet {
        /// A decoder can start here.
        is_start: bool,
        /// The whole packet.
        bytes: Vec<u8>,
    },
    /// A sender report.
    Report {
        /// NTP time stamp.
        ntp: u64,
        /// The same moment on the track's clock.
        rtp_ts: u32,
    },
}

impl Entry {
    const fn is_start(&self) -> bool {
        matches!(self.what, What::Packet { is_start: true, .. })
    }

    fn bytes(&self) -> usize {
        let packet = match &self.what {
            What::Packet { bytes, .. } => bytes.len(),
            What::Gap | What::Report { .. } => 0,
        };
        ENTRY_BYTES + packet
    }
}

/// The last seconds of one track.
#[derive(Debug, Default)]
pub struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Of the newest entry.
    newest_us: i64,
    /// Of the newest key frame.
    start_us: Option<i64>,
    /// When a key frame was asked for.
    asked_us: Option<i64>,
}

impl Ring {
    /// Takes in what happened.
    pub fn push(&mut self, entry: Entry) {
        // A repaired packet arrives late, but nothing here may go back in time.
        self.newest_us = self.newest_us.max(entry.arrival_us);
        if entry.is_start() {
            self.start_us = Some(entry.arrival_us);
            self.asked_us = None;
        }
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        self.trim();
    }

    fn trim(&mut self) {
        let horizon_us = self.newest_us - KEEP_US;
        // All before the last start at or before the horizon may go.
        let mut keep_from = 0;
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.arrival_us > horizon_us {
                break;
            }
            if entry.is_start() {
                keep_from = index;
            }
        }
        for _ in 0..keep_from {
            self.pop();
        }
        while self.bytes > BYTES_MAX {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes();
        }
    }

    /// What a studio needs that begins at `from_us`: from the last start at or before it; else from the first one after
    /// it; nothing where there is none. The last sender report before comes first.
    pub fn since(&self, from_us: i64) -> impl Iterator<Item = &Entry> {
        let before = |entry: &Entry| entry.arrival_us <= from_us;
        let begin = self
            .entries
            .iter()
            .rposition(|entry| entry.is_start() && before(entry))
            .or_else(|| self.entries.iter().position(Entry::is_start));
        let begin = begin.unwrap_or(self.entries.len());
        let is_report = |entry: &&Entry| matches!(entry.what, What::Report { .. });
        let report = self.entries.iter().take(begin).rev().find(is_report);
        report.into_iter().chain(self.entries.iter().skip(begin))
    }

    /// Whether a key frame should be asked for at `now_us`, in recording time. Says yes once in a while.
    pub fn wants_keyframe(&mut self, now_us: i64) -> bool {
        let is_old = |at: i64| now_us - at > KEYFRAME_EVERY_US;
        let is_due = self.start_us.is_some_and(is_old) && self.asked_us.is_none_or(is_old);
        if is_due {
            self.asked_us = Some(now_us);
        }
        is_due
    }

    /// Forgets everything: what follows does not continue it.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        self.start_us = None;
        self.asked_us = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn packet(at: i64, is_start: bool) -> Entry {
        Entry { arrival_us: at, what: What::Packet { is_start, bytes: vec![0; 1000] } }
    }

    fn since(ring: &Ring, from_us: i64) -> Vec<i64> {
        ring.since(from_us).map(|entry| entry.arrival_us / SECOND).collect()
    }

    #[test]
    fn a_studio_is_given_the_key_frame_before_the_moment_and_all_since() {
        let mut ring = Ring::default();
        for second in 0..20 {
            ring.push(packet(second * SECOND, second % 4 == 1));
        }
        assert_eq!(since(&ring, 18 * SECOND), [17, 18, 19]);
        assert_eq!(since(&ring, 15 * SECOND), [13, 14, 15, 16, 17, 18, 19]);
        // Older than what is kept: from the oldest start that is there.
        assert_eq!(since(&ring, 0), [13, 14, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn without_a_key_frame_there_is_nothing_to_begin_with() {
        let mut ring = Ring::default();
        ring.push(packet(0, false));
        assert_eq!(since(&ring, SECOND), [0; 0]);
        ring.push(Entry { arrival_us: SECOND, what: What::Report { ntp: 1, rtp_ts: 2 } });
        ring.push(packet(2 * SECOND, true));
        ring.push(packet(3 * SECOND, false));
        assert_eq!(since(&ring, 0), [1, 2, 3]);
        ring.clear();
        assert_eq!(since(&ring, 0), [0; 0]);
    }

    #[test]
    fn rare_key_frames_are_asked_for_and_memory_is_bounded() {
        let mut ring = Ring::default();
        ring.push(packet(0, true));
        let mut asked = Vec::new();
        for tenth in 1..1000 {
            let now = tenth * SECOND / 10;
            ring.push(packet(now, false));
            if ring.wants_keyframe(now) {
                asked.push(tenth / 10);
            }
        }
        assert_eq!(asked, [10, 20, 30, 40, 50, 60, 70, 80, 90]);
        for _ in 0..20_000 {
            ring.push(packet(100 * SECOND, false));
        }
        assert!(ring.bytes <= BYTES_MAX && ring.entries.len() > 7_000);
        assert_eq!(ring.bytes, ring.entries.iter().map(Entry::bytes).sum::<usize>());
    }
}
