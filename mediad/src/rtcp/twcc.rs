//! Pure: no clock, no I/O, no async.
//!
//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): a recorder of
//! arrivals that writes feedback packets, and a reader of them.

#![expect(clippy::cast_sign_loss, reason = "modulo arithmetic on protocol fields")]

use crate::rtp::{extend_sequence, u16_at, u32_at};

/// Packets that a recorder remembers; a gap longer than this begins anew.
const WINDOW: usize = 2048;

/// Packets that one feedback reports; 50 ms at 8,000 packets per second.
const REPORTED_MAX: u64 = 400;

/// One tick of a delta.
const TICK_US: i64 = 250;

/// One tick of the reference time.
const REFERENCE_US: i64 = 64_000;

/// When packets of one transport arrived.
#[derive(Debug)]
pub struct Recorder {
    /// Arrival in microseconds plus one, by number modulo the window; 0 is missing.
    arrivals: Box<[u64]>,
    /// First number that was not reported.
    next: u64,
    /// Highest number that arrived plus one; equal to `next` when there is nothing to report.
    end: u64,
    started: bool,
    count: u8,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { arrivals: vec![0; WINDOW].into_boxed_slice(), next: 0, end: 0, started: false, count: 0 }
    }
}

impl Recorder {
    /// Notes an arrival, microseconds on any steady clock.
    pub fn record(&mut self, sequence: u16, arrival_us: u64) {
        if !self.started {
            self.started = true;
            // Far from zero, so that a reordered first packet has a number too.
            self.next = 1 << 20 | u64::from(sequence);
            self.end = self.next;
        }
        let number = extend_sequence(self.end, sequence);
        if number + WINDOW as u64 <= self.end {
            return;
        }
        if number >= self.end + WINDOW as u64 {
            self.arrivals.fill(0);
            self.next = number;
            self.end = number;
        }
        while self.end <= number {
            self.arrivals[self.end as usize % WINDOW] = 0;
            self.end += 1;
        }
        self.arrivals[number as usize % WINDOW] = arrival_us + 1;
        // A late packet is reported although its place was reported as missing before.
        self.next = self.next.min(number).max(self.end.saturating_sub(WINDOW as u64));
    }

    /// Whether something arrived since the last feedback.
    pub const fn is_pending(&self) -> bool {
        self.next < self.end
    }

    /// Writes one feedback packet and gives its length; 0 when there is nothing to report or no room. Call again while
    /// [`Self::is_pending`].
    pub fn feedback(&mut self, sender: u32, media: u32, out: &mut [u8]) -> usize {
        while self.is_pending() && self.arrival(self.next).is_none() {
            self.next += 1;
        }
        let Some(first) = self.is_pending().then(|| self.arrival(self.next)).flatten() else { return 0 };
        let reference = first.cast_signed() / REFERENCE_US;
        let end = self.end.min(self.next + REPORTED_MAX);
        let Some(plan) = self.plan(reference, end, out.len()) else { return 0 };
        let len = self.write(sender, media, reference, plan, out);
        self.next = plan;
        self.count = self.count.wrapping_add(1);
        len
    }

    fn arrival(&self, number: u64) -> Option<u64> {
        self.arrivals[number as usize % WINDOW].checked_sub(1)
    }

    /// Where this feedback ends: before `end`, before a delta that does not fit 16 bits, before the room is used up.
    fn plan(&self, reference: i64, end: u64, room: usize) -> Option<u64> {
        let mut last = reference * (REFERENCE_US / TICK_US);
        // Header, chunks at their worst (one for seven), padding.
        let mut bytes = HEADER_BYTES + 2 + 3;
        for number in self.next..end {
            bytes += if (number - self.next).is_multiple_of(7) { 2 } else { 0 };
            if let Some(arrival) = self.arrival(number) {
                let tick = arrival.cast_signed() / TICK_US;
                if i16::try_from(tick - last).is_err() {
                    return (number > self.next).then_some(number);
                }
                bytes += if (0..256).contains(&(tick - last)) { 1 } else { 2 };
                last = tick;
            }
            if bytes > room {
                return (number > self.next).then_some(number);
            }
        }
        Some(end)
    }

    fn write(&self, sender: u32, media: u32, reference: i64, end: u64, out: &mut [u8]) -> usize {
        out[0] = 0x8f;
        out[1] = 205;
        out[4..8].copy_from_slice(&sender.to_be_bytes());
        out[8..12].copy_from_slice(&media.to_be_bytes());
        out[12..14].copy_from_slice(&(self.next as u16).to_be_bytes());
        out[14..16].copy_from_slice(&((end - self.next) as u16).to_be_bytes());
        out[16..20].copy_from_slice(&((reference as u32) << 8 | u32::from(self.count)).to_be_bytes());
        let mut symbols = [0u8; REPORTED_MAX as usize];
        let mut deltas = [0i16; REPORTED_MAX as usize];
        let mut last = reference * (REFERENCE_US / TICK_US);
        let count = (end - self.next) as usize;
        for (at, number) in (self.next..end).enumerate() {
            if let Some(arrival) = self.arrival(number) {
                let tick = arrival.cast_signed() / TICK_US;
                deltas[at] = (tick - last) as i16;
                symbols[at] = if (0..256).contains(&deltas[at]) { SMALL } else { LARGE };
                last = tick;
            }
        }
        let mut len = write_chunks(&symbols[..count], out);
        for (symbol, delta) in symbols.iter().zip(deltas).take(count) {
            match *symbol {
                SMALL => {
                    out[len] = delta as u8;
                    len += 1;
                }
                LARGE => {
                    out[len..len + 2].copy_from_slice(&delta.to_be_bytes());
                    len += 2;
                }
                _ => {}
            }
        }
        let padded = len.next_multiple_of(4);
        if padded > len {
            out[len..padded].fill(0);
            out[padded - 1] = (padded - len) as u8;
            out[0] |= 0x20;
        }
        out[2..4].copy_from_slice(&((padded / 4 - 1) as u16).to_be_bytes());
        padded
    }
}

const HEADER_BYTES: usize = 20;
const SMALL: u8 = 1;
const LARGE: u8 = 2;

/// Run-length chunks where at least seven are alike, else vectors of seven 2-bit symbols.
fn write_chunks(symbols: &[u8], out: &mut [u8]) -> usize {
    let (mut at, mut len) = (0, HEADER_BYTES);
    while at < symbols.len() {
        let run = symbols[at..].iter().take_while(|symbol| **symbol == symbols[at]).count();
        let chunk = if run >= 7 || run == symbols.len() - at {
            at += run;
            u16::from(symbols[at - 1]) << 13 | run as u16
        } else {
            let part = &symbols[at..symbols.len().min(at + 7)];
            at += part.len();
            part.iter()
                .enumerate()
                .fold(0xc000, |chunk, (place, symbol)| chunk | u16::from(*symbol) << (12 - 2 * place))
        };
        out[len..len + 2].copy_from_slice(&chunk.to_be_bytes());
        len += 2;
    }
    len
}

/// Iterator over a feedback packet: transport-wide number and arrival on the receiver's clock, none for missing ones.
#[derive(Clone, Debug)]
pub struct Feedback<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    number: u16,
    left: u16,
    time_us: i64,
    /// Symbols of the present chunk: value and how many, or a vector.
    chunk: Chunk,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    Run { symbol: u8, left: u16 },
    Vector { bits: u16, width: u8, left: u8 },
}

impl<'a> Feedback<'a> {
    /// Reads a whole packet with its header; none when it is malformed.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let body = packet.get(HEADER_BYTES..)?;
        let count = u16_at(packet, 14);
        // Find where the chunks end.
        let (mut chunks, mut covered) = (0, 0u32);
        while covered < u32::from(count) {
            let chunk = u16_at(body.get(chunks..chunks + 2)?, 0);
            chunks += 2;
            covered += match chunk >> 14 {
                0 | 1 => u32::from(chunk & 0x1fff).max(1),
                2 => 14,
                _ => 7,
            };
        }
        let reference = (u32_at(packet, 16).cast_signed() >> 8).cast_unsigned() & 0xff_ffff;
        Some(Self {
            chunks: &body[..chunks],
            deltas: &body[chunks..],
            number: u16_at(packet, 12),
            left: count,
            time_us: i64::from(reference) * REFERENCE_US,
            chunk: Chunk::Run { symbol: 0, left: 0 },
        })
    }

    fn symbol(&mut self) -> Option<u8> {
        loop {
            match &mut self.chunk {
                Chunk::Run { symbol, left } if *left > 0 => {
                    *left -= 1;
                    return Some(*symbol);
                }
                Chunk::Vector { bits, width, left } if *left > 0 => {
                    *left -= 1;
                    let symbol = *bits >> (16 - *width);
                    *bits <<= *width;
                    return Some(symbol as u8);
                }
                Chunk::Run { .. } | Chunk::Vector { .. } => {}
            }
            let (head, rest) = self.chunks.split_at_checked(2)?;
            self.chunks = rest;
            let chunk = u16_at(head, 0);
            self.chunk = match chunk >> 14 {
                0 | 1 => Chunk::Run { symbol: (chunk >> 13 & 3) as u8, left: chunk & 0x1fff },
                2 => Chunk::Vector { bits: chunk << 2, width: 1, left: 14 },
                _ => Chunk::Vector { bits: chunk << 2, width: 2, left: 7 },
            };
        }
    }
}

impl Iterator for Feedback<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let number = self.number;
        self.number = number.wrapping_add(1);
        let delta = match self.symbol()? {
            SMALL => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                i64::from(*delta)
            }
            LARGE => {
                let (delta, rest) = self.deltas.split_at_checked(2)?;
                self.deltas = rest;
                i64::from(u16_at(delta, 0).cast_signed())
            }
            _ => return Some((number, None)),
        };
        self.time_us += delta * TICK_US;
        Some((number, Some(self.time_us)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(recorder: &mut Recorder, room: usize) -> Vec<(u16, Option<i64>)> {
        let mut all = Vec::new();
        let mut out = vec![0; room];
        while recorder.is_pending() {
            let len = recorder.feedback(1, 2, &mut out);
            if len == 0 {
                break;
            }
            assert!(len.is_multiple_of(4) && len == 4 + 4 * usize::from(u16_at(&out, 2)));
            all.extend(Feedback::parse(&out[..len]).unwrap());
        }
        all
    }

    #[test]
    fn arrivals_and_gaps_are_reported_to_a_quarter_of_a_millisecond() {
        let mut recorder = Recorder::default();
        for (sequence, ms) in [(65_534u16, 100u64), (65_535, 101), (1, 300), (2, 299)] {
            recorder.record(sequence, ms * 1000);
        }
        assert_eq!(
            drain(&mut recorder, 1200),
            [
                (65_534, Some(100_000)),
                (65_535, Some(101_000)),
                (0, None),
                (1, Some(300_000)),
                (2, Some(299_000))
            ]
        );
        assert!(!recorder.is_pending());
        recorder.record(0, 310_000);
        assert_eq!(drain(&mut recorder, 1200)[0], (0, Some(310_000)));
    }

    #[test]
    fn a_pause_beyond_a_delta_begins_another_packet() {
        let mut recorder = Recorder::default();
        recorder.record(1, 1_000_000);
        recorder.record(2, 60_000_000);
        assert_eq!(drain(&mut recorder, 1200), [(1, Some(1_000_000)), (2, Some(60_000_000))]);
    }

    proptest! {
        #[test]
        fn every_arrival_is_reported_once(steps in proptest::collection::vec((1u16..4, 0u64..50_000), 1..700), room in 64usize..1200) {
            let mut recorder = Recorder::default();
            let (mut sequence, mut now) = (65_000u16, 5_000_000u64);
            let mut expected = Vec::new();
            for (skip, gap) in steps {
                sequence = sequence.wrapping_add(skip);
                now += gap;
                recorder.record(sequence, now);
                expected.push((sequence, (now / 250 * 250).cast_signed()));
            }
            let got: Vec<(u16, i64)> = drain(&mut recorder, room).into_iter().filter_map(|(n, t)| Some((n, t?))).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
