//! Pure: no clock, no I/O, no async.
//!
//! From a publisher's RTP time stamps to recording time. The sound and the picture of one publisher share a capture
//! clock, which its sender reports relate to the time stamps; how the capture clock relates to recording time is
//! learned from arrivals: the packet that travelled fastest within the last ten seconds shows it. So:
//!
//! - `recording = media + shift`, with `media` the extended time stamp in microseconds, for each track.
//! - Without sender reports the wanted shift is the least `arrival - media` of that track.
//! - With one, it is `(capture - media) + offset`, with the least `arrival - capture` of *all* the publisher's tracks
//!   as offset: lips and voice meet exactly. What the publisher believes the date to be does not matter.
//! - The shift follows the wanted one slowly, steps where it is far off or the track is young, and recording time never
//!   runs backwards.

use std::collections::BTreeMap;

/// Length of one part of the moving minimum, and number of parts.
const PART_US: i64 = 1_000_000;
const PARTS: usize = 10;

/// Follows the wanted shift by so much in each second of arrivals: inaudible, and enough for 5,000 ppm.
const SLEW_US_PER_S: i64 = 5_000;

/// A wanted shift farther off than this is stepped to.
const STEP_US: i64 = 80_000;

/// As long as a track is so young, what is learned is applied at once: little has been written yet.
const YOUNG_US: i64 = 4_000_000;

/// Smaller steps of a young track are not worth a break in its sound.
const YOUNG_STEP_US: i64 = 4_000;

/// Media and arrivals that part by more than this within one packet have nothing to do with each other any more.
const JUMP_US: i64 = 2_000_000;

/// A sender report this far from what the last one predicted comes from a clock that was set.
const CLOCK_SET_US: i64 = 500_000;

/// Least value within the last ten seconds.
#[derive(Clone, Debug, Default)]
struct MovingMinimum {
    /// Number of the part, and its least value.
    parts: std::collections::VecDeque<(i64, i64)>,
}

impl MovingMinimum {
    fn add(&mut self, at_us: i64, value: i64) {
        let part = at_us.div_euclid(PART_US);
        match self.parts.back_mut() {
            Some((last, least)) if *last >= part => *least = (*least).min(value),
            Some(_) | None => self.parts.push_back((part, value)),
        }
        while self.parts.len() > PARTS {
            self.parts.pop_front();
        }
    }

    fn get(&self) -> Option<i64> {
        self.parts.iter().map(|&(_, least)| least).min()
    }
}

/// A sender report, on the track's extended media time.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    /// `capture - media`.
    lead_us: i64,
}

#[derive(Debug)]
struct Track {
    clock_hz: i64,
    /// Extended time stamp of the last packet, and when it arrived.
    last: Option<(i64, i64)>,
    least: MovingMinimum,
    anchor: Option<Anchor>,
    shift_us: i64,
    /// When the shift was last looked at; when the track began.
    turned_us: i64,
    began_us: i64,
    /// Greatest recording time given out, and for which time stamp.
    given: Option<(i64, i64)>,
    /// A packet must start a new piece of the mapping.
    fresh: bool,
}

/// Clock of one publisher's tracks.
#[derive(Debug, Default)]
pub struct StreamClock {
    tracks: BTreeMap<u32, Track>,
    /// Least `arrival - capture` of the tracks with a sender report.
    offset: MovingMinimum,
}

impl StreamClock {
    /// A track joins, or begins anew.
    pub fn add(&mut self, track: u32, clock_hz: u32) {
        let track_clock = Track {
            clock_hz: i64::from(clock_hz.max(1)),
            last: None,
            least: MovingMinimum::default(),
            anchor: None,
            shift_us: 0,
            turned_us: 0,
            began_us: 0,
            given: None,
            fresh: true,
        };
        self.tracks.insert(track, track_clock);
    }

    /// A track is over.
    pub fn remove(&mut self, track: u32) {
        self.tracks.remove(&track);
    }

    /// True when no track is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// What comes next of this track has time stamps of its own (another source, another encoder).
    pub fn restart(&mut self, track: u32) {
        if let Some(track) = self.tracks.get_mut(&track) {
            track.fresh = true;
        }
    }

    /// A sender report: `ntp` is 32.32 bits.
    pub fn report(&mut self, track: u32, ntp: u64, rtp_ts: u32) {
        let Some(entry) = self.tracks.get_mut(&track) else { return };
        // A report before the first packet cannot be placed; the next one comes in seconds.
        let Some((last, _)) = entry.last.filter(|_| !entry.fresh) else { return };
        let media_us = entry.media_us(extend(last, rtp_ts));
        let lead_us = ntp_us(ntp).wrapping_sub(media_us);
        let was_set = entry.anchor.is_some_and(|anchor| differ(anchor.lead_us, lead_us) > CLOCK_SET_US);
        entry.anchor = Some(Anchor { lead_us });
        if was_set {
            self.forget_captures(track);
        }
    }

    /// Recording time of a packet; packets come in their order.
    pub fn map(&mut self, track: u32, rtp_ts: u32, arrival_us: i64) -> Option<i64> {
        let entry = self.tracks.get_mut(&track)?;
        let stamp = entry.follow(rtp_ts, arrival_us);
        let media_us = entry.media_us(stamp);
        entry.least.add(arrival_us, arrival_us.saturating_sub(media_us));
        if let Some(anchor) = entry.anchor {
            let capture_us = media_us.wrapping_add(anchor.lead_us);
            self.offset.add(arrival_us, arrival_us.wrapping_sub(capture_us));
        }
        let wanted = match (entry.anchor, self.offset.get()) {
            (Some(anchor), Some(offset)) => Some(anchor.lead_us.wrapping_add(offset)),
            (Some(_) | None, _) => entry.least.get(),
        };
        entry.turn(wanted, arrival_us);
        Some(entry.give(stamp, media_us))
    }

    /// A publisher's clock was set: leads of before and after do not belong together. The shifts stay until the other
    /// tracks have reported too.
    fn forget_captures(&mut self, but: u32) {
        self.offset = MovingMinimum::default();
        for (_, track) in self.tracks.iter_mut().filter(|(key, _)| **key != but) {
            track.anchor = None;
        }
    }
}

impl Track {
    fn media_us(&self, stamp: i64) -> i64 {
        i64::try_from(i128::from(stamp) * 1_000_000 / i128::from(self.clock_hz)).unwrap_or(i64::MAX)
    }

    /// Extends the time stamp, and notices when it has nothing to do with the former ones.
    fn follow(&mut self, rtp_ts: u32, arrival_us: i64) -> i64 {
        let mut stamp = self.last.map_or_else(|| i64::from(rtp_ts), |(last, _)| extend(last, rtp_ts));
        if let Some((last, last_arrival)) = self.last {
            let media_step = self.media_us(stamp) - self.media_us(last);
            let jumped = differ(media_step, arrival_us.saturating_sub(last_arrival)) > JUMP_US;
            self.fresh |= jumped;
        }
        if self.fresh {
            self.fresh = false;
            stamp = i64::from(rtp_ts);
            self.least = MovingMinimum::default();
            self.anchor = None;
            self.shift_us = arrival_us.saturating_sub(self.media_us(stamp));
            self.turned_us = arrival_us;
            self.began_us = arrival_us;
        }
        self.last = Some((stamp, arrival_us));
        stamp
    }

    fn turn(&mut self, wanted: Option<i64>, arrival_us: i64) {
        let Some(wanted) = wanted else { return };
        let passed_us = arrival_us.saturating_sub(self.turned_us).clamp(0, PART_US);
        self.turned_us = self.turned_us.max(arrival_us);
        let off_us = wanted.wrapping_sub(self.shift_us);
        let is_young = arrival_us.saturating_sub(self.began_us) < YOUNG_US;
        let step_from = if is_young { YOUNG_STEP_US } else { STEP_US };
        if off_us.saturating_abs() > step_from {
            self.shift_us = wanted;
        } else {
            // At least a microsecond, or fine packets would never move it.
            let slew_us = (passed_us * SLEW_US_PER_S / 1_000_000).max(1);
            self.shift_us += off_us.clamp(-slew_us, slew_us);
        }
    }

    fn give(&mut self, stamp: i64, media_us: i64) -> i64 {
        let recording_us = media_us.saturating_add(self.shift_us);
        // All packets of one picture have one time.
        let given_us = match self.given {
            Some((given_stamp, given_us)) if given_stamp == stamp => given_us,
            Some((_, given_us)) => recording_us.max(given_us + 1),
            None => recording_us,
        };
        self.given = Some((stamp, given_us));
        given_us
    }
}

/// The number with these lower 32 bits that is nearest to `near`.
fn extend(near: i64, rtp_ts: u32) -> i64 {
    let low = u32::try_from(near & 0xffff_ffff).unwrap_or_default();
    near.saturating_add(i64::from(rtp_ts.wrapping_sub(low).cast_signed()))
}

/// Microseconds of an NTP time stamp; only differences mean anything.
fn ntp_us(ntp: u64) -> i64 {
    let micros = (u128::from(ntp) * 1_000_000) >> 32;
    i64::try_from(micros).unwrap_or(i64::MAX)
}

fn differ(a: i64, b: i64) -> i64 {
    a.wrapping_sub(b).saturating_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIO: u32 = 1;
    const VIDEO: u32 = 2;

    /// A publisher whose clocks run `ppm` too fast, and whose date is wrong.
    struct Publisher {
        ppm: i64,
        date_us: i64,
        first: u32,
    }

    impl Publisher {
        fn capture_us(&self, at_us: i64) -> i64 {
            at_us + at_us * self.ppm / 1_000_000
        }

        fn stamp(&self, at_us: i64, hz: i64) -> u32 {
            let ticks = i128::from(self.capture_us(at_us)) * i128::from(hz) / 1_000_000;
            self.first.wrapping_add(u32::try_from(ticks & 0xffff_ffff).unwrap())
        }

        fn ntp(&self, at_us: i64) -> u64 {
            let micros = u128::try_from(self.capture_us(at_us) + self.date_us).unwrap();
            u64::try_from((micros << 32) / 1_000_000).unwrap()
        }
    }

    fn clock() -> StreamClock {
        let mut clock = StreamClock::default();
        clock.add(AUDIO, 48_000);
        clock.add(VIDEO, 90_000);
        clock
    }

    /// Runs sound (20 ms, 5 ms on the way) and picture (33 ms, 25 ms on the way, jitter of 10); returns the greatest
    /// |difference| between what is mapped and what was captured, apart, after `settled_us`.
    fn run(publisher: &Publisher, until_us: i64, reports: bool, settled_us: i64) -> (i64, i64) {
        let mut clock = clock();
        let (mut worst_av, mut worst_late, mut last_v) = (0, 0, i64::MIN);
        let (mut at_us, mut n) = (0, 0);
        while at_us < until_us {
            let arrival = at_us + 5_000;
            let got = clock.map(AUDIO, publisher.stamp(at_us, 48_000), arrival).unwrap() - at_us;
            let audio_error = Some(got).filter(|_| at_us > settled_us);
            if n % 5 == 0 {
                let on_the_way = 25_000 + (n % 3) * 5_000;
                let mapped = clock.map(VIDEO, publisher.stamp(at_us, 90_000), at_us + on_the_way).unwrap();
                assert!(mapped > last_v);
                last_v = mapped;
                if let Some(audio) = audio_error {
                    worst_av = worst_av.max((mapped - at_us - audio).abs());
                    worst_late = worst_late.max((mapped - at_us - 5_000).abs());
                }
            }
            if reports && n % 50 == 20 {
                clock.report(AUDIO, publisher.ntp(at_us), publisher.stamp(at_us, 48_000));
                clock.report(VIDEO, publisher.ntp(at_us), publisher.stamp(at_us, 90_000));
            }
            at_us += 20_000;
            n += 1;
        }
        (worst_av, worst_late)
    }

    #[test]
    fn sender_reports_bring_lips_and_voice_together_whatever_the_date() {
        for date_us in [0, 3_900_000_000_000_000, 40_000_000] {
            let publisher = Publisher { ppm: 0, date_us, first: u32::MAX - 100_000 };
            let (av, late) = run(&publisher, 20_000_000, true, 1_000_000);
            assert!(av < 2_000 && late < 2_000, "date {date_us}: {av} {late}");
        }
    }

    #[test]
    fn without_reports_the_fastest_packets_of_each_track_decide() {
        let publisher = Publisher { ppm: 0, date_us: 0, first: 7 };
        let (av, _) = run(&publisher, 20_000_000, false, 1_000_000);
        assert!((20_000 - 2_000..=20_000 + 2_000).contains(&av), "{av}: the picture's longer way remains");
    }

    #[test]
    fn a_hundred_ppm_for_four_hours_stay_within_twenty_milliseconds() {
        for ppm in [100, -100] {
            let publisher = Publisher { ppm, date_us: 1_000, first: 0 };
            let (av, late) = run(&publisher, 4 * 3_600_000_000, true, 1_000_000);
            assert!(av < 4_000 && late < 20_000, "{ppm}: {av} {late}");
        }
    }

    #[test]
    fn a_late_first_report_moves_an_old_track_slowly_and_never_back() {
        let publisher = Publisher { ppm: 0, date_us: 5_000_000, first: 0 };
        let (mut clock, mut last, mut moved_at) = (clock(), 0, None);
        for n in 0..2_000_i64 {
            let at_us = n * 20_000;
            clock.map(AUDIO, publisher.stamp(at_us, 48_000), at_us + 5_000).unwrap();
            let video = clock.map(VIDEO, publisher.stamp(at_us, 90_000), at_us + 45_000).unwrap();
            assert!(n == 0 || video > last && video - last < 21_000);
            last = video;
            if (video - at_us - 5_000).abs() < 500 && n > 500 {
                moved_at.get_or_insert(at_us);
            }
            if n % 250 == 0 && n >= 500 {
                clock.report(AUDIO, publisher.ntp(at_us), publisher.stamp(at_us, 48_000));
                clock.report(VIDEO, publisher.ntp(at_us), publisher.stamp(at_us, 90_000));
            }
        }
        // 40 ms at 5 ms a second, from 10 s on.
        assert!((16_000_000..20_000_000).contains(&moved_at.unwrap()), "{moved_at:?}");
    }

    #[test]
    fn a_pause_a_jump_and_a_new_source_are_placed_by_arrival() {
        let mut clock = clock();
        let mut map = |stamp, arrival| clock.map(AUDIO, stamp, arrival).unwrap();
        assert_eq!(map(1_000, 0), 0);
        assert_eq!(map(1_960, 20_000), 20_000);
        // Nothing is sent in a pause, and time stamps go on.
        assert_eq!(map(1_960 + 48_000 * 30, 30_020_000), 30_020_000);
        assert_eq!(map(5, 30_040_000), 30_040_000);
        clock.restart(AUDIO);
        assert_eq!(clock.map(AUDIO, 1_000_000, 30_060_000), Some(30_060_000));
        assert_eq!(clock.map(9, 0, 0), None);
    }

    #[test]
    fn a_burst_after_a_stall_keeps_its_spacing() {
        let mut clock = clock();
        for n in 0..100_i64 {
            clock.map(AUDIO, u32::try_from(n * 960).unwrap(), n * 20_000);
        }
        for n in 100..150_i64 {
            // One second's packets arrive at once.
            let got = clock.map(AUDIO, u32::try_from(n * 960).unwrap(), 3_000_000).unwrap();
            assert!((got - n * 20_000).abs() <= 100, "{n}: {got}");
        }
    }

    #[test]
    fn a_publishers_clock_that_is_set_parts_nothing() {
        let mut publisher = Publisher { ppm: 0, date_us: 0, first: 0 };
        let mut clock = clock();
        for n in 0..1_000_i64 {
            let at_us = n * 20_000;
            if n == 510 {
                publisher.date_us = 3_600_000_000;
            }
            let audio = clock.map(AUDIO, publisher.stamp(at_us, 48_000), at_us + 5_000).unwrap();
            let video = clock.map(VIDEO, publisher.stamp(at_us, 90_000), at_us + 25_000).unwrap();
            if n > 100 {
                assert!((audio - video).abs() < 22_000, "{n}: {audio} {video}");
            }
            if n % 50 == 20 {
                clock.report(AUDIO, publisher.ntp(at_us), publisher.stamp(at_us, 48_000));
            } else if n % 50 == 40 {
                clock.report(VIDEO, publisher.ntp(at_us), publisher.stamp(at_us, 90_000));
            }
        }
    }
}
