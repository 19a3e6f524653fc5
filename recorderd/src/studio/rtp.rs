//! Pure: no clock, no I/O, no async.
//!
//! RTP packets of one track back into their order. A packet that is missing is waited for as long as a repaired one may
//! take; then what is there goes on, marked as not continuing. Bytes come from strangers: what is not RTP is dropped and
//! counted, and at most [`WAITING_MAX`] packets are held.

use std::collections::BTreeMap;

/// A missing packet is waited for so long.
const REPAIR_WAIT_US: i64 = 150_000;

/// Packets that wait behind a missing one; about 0.4 s of 1080p.
const WAITING_MAX: usize = 512;

/// A sequence number this far from the expected one is a new beginning.
const JUMP_MAX: u64 = 3_000;

/// One packet, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Packet {
    /// Time stamp as sent.
    pub(super) timestamp: u32,
    /// Marker bit.
    pub(super) marker: bool,
    /// Source; a new one is a new beginning of sequence numbers and time stamps.
    pub(super) ssrc: u32,
    /// When the media node received it.
    pub(super) arrival_us: i64,
    /// Packets before it are missing.
    pub(super) after_loss: bool,
    /// Without header, extensions and padding.
    pub(super) payload: Vec<u8>,
}

#[derive(Debug)]
struct Header {
    sequence: u16,
    packet: Packet,
}

/// Reads a packet (RFC 3550 section 5.1).
fn parse(bytes: &[u8], arrival_us: i64) -> Option<Header> {
    let fixed = bytes.first_chunk::<12>()?;
    if fixed[0] >> 6 != 2 {
        return None;
    }
    let mut start = 12 + 4 * usize::from(fixed[0] & 0x0f);
    if fixed[0] & 0x10 != 0 {
        let extension = bytes.get(start..)?.first_chunk::<4>()?;
        start += 4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]));
    }
    let padding = if fixed[0] & 0x20 == 0 { 0 } else { usize::from(*bytes.last()?) };
    let end = bytes.len().checked_sub(padding)?;
    let payload = bytes.get(start..end)?.to_vec();
    Some(Header {
        sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
        packet: Packet {
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            marker: fixed[1] & 0x80 != 0,
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            arrival_us,
            after_loss: false,
            payload,
        },
    })
}

/// Order of one track's packets.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    /// Source, and extended number of the packet that comes next.
    expected: Option<(u32, u64)>,
    waiting: BTreeMap<u64, Packet>,
    /// The next packet does not continue the last one.
    broken: bool,
    /// Latest arrival.
    now_us: i64,
    malformed: u64,
    lost: u64,
}

impl Reorder {
    /// Takes a packet as it came.
    pub(super) fn push(&mut self, bytes: &[u8], arrival_us: i64) {
        self.now_us = self.now_us.max(arrival_us);
        let Some(Header { sequence, packet }) = parse(bytes, arrival_us) else {
            self.malformed += 1;
            return;
        };
        let expected = match self.expected {
            Some((ssrc, expected)) if ssrc == packet.ssrc => expected,
            Some(_) | None => self.begin(packet.ssrc, sequence),
        };
        let mut number = extend(expected, sequence);
        if number.abs_diff(expected) > JUMP_MAX {
            number = self.begin(packet.ssrc, sequence);
        }
        // Below the expected one: a repeat, or a repaired packet that came too late.
        if number >= self.expected.map_or(0, |(_, expected)| expected) {
            self.waiting.insert(number, packet);
        }
    }

    /// The next packet in order. The time of waiting is measured by arrivals and by `now_us`, on the same clock.
    pub(super) fn pop(&mut self, now_us: i64) -> Option<Packet> {
        let (ssrc, expected) = self.expected?;
        let (&number, first) = self.waiting.first_key_value()?;
        let now_us = now_us.max(self.now_us);
        let is_late = now_us.saturating_sub(first.arrival_us) > REPAIR_WAIT_US;
        if number != expected && !is_late && self.waiting.len() < WAITING_MAX {
            return None;
        }
        let (number, mut packet) = self.waiting.pop_first()?;
        self.lost += number - expected;
        packet.after_loss = self.broken || number != expected;
        self.broken = false;
        self.expected = Some((ssrc, number + 1));
        Some(packet)
    }

    /// The media node skipped packets: what waits is given up, what comes begins anew.
    pub(super) fn gap(&mut self) {
        self.waiting.clear();
        self.expected = None;
        self.broken = true;
    }

    /// Packets that were no RTP.
    #[must_use]
    pub(super) const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Packets that never came.
    #[must_use]
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    fn begin(&mut self, ssrc: u32, sequence: u16) -> u64 {
        self.broken |= self.expected.is_some();
        self.waiting.clear();
        let number = (1 << 32) | u64::from(sequence);
        self.expected = Some((ssrc, number));
        number
    }
}

/// The number with these lower 16 bits that is nearest to `near`.
fn extend(near: u64, sequence: u16) -> u64 {
    let step = i64::from(sequence.wrapping_sub(low_bits(near)).cast_signed());
    near.saturating_add_signed(step)
}

const fn low_bits(number: u64) -> u16 {
    let [low, high, ..] = number.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rtp(sequence: u16, ssrc: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, 96];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(u32::from(sequence).to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.push(7);
        bytes
    }

    /// Pushes `(sequence, arrival in ms)`, pops all each time; `!` marks a packet after a loss.
    fn check(packets: &[(u16, i64)]) -> String {
        let (mut reorder, mut out) = (Reorder::default(), Vec::new());
        for &(sequence, ms) in packets {
            reorder.push(&rtp(sequence, 1), ms * 1000);
            while let Some(packet) = reorder.pop(ms * 1000) {
                out.push(format!("{}{}", packet.timestamp, if packet.after_loss { "!" } else { "" }));
            }
        }
        out.join(" ")
    }

    #[test]
    fn order_is_restored_over_the_wrap_and_a_loss_is_given_up_in_time() {
        assert_eq!(check(&[(65534, 0), (65535, 1), (1, 2), (0, 3)]), "65534 65535 0 1");
        assert_eq!(check(&[(1, 0), (3, 10), (4, 100), (5, 161)]), "1 3! 4 5");
        assert_eq!(check(&[(1, 0), (3, 10), (2, 159), (2, 160)]), "1 2 3");
        assert_eq!(check(&[(1, 0), (20_000, 10), (20_001, 11)]), "1 20000! 20001");
    }

    #[test]
    fn a_new_source_or_a_gap_begins_anew() {
        let mut reorder = Reorder::default();
        reorder.push(&rtp(5, 1), 0);
        assert!(!reorder.pop(0).unwrap().after_loss);
        reorder.push(&rtp(9, 2), 0);
        assert!(reorder.pop(0).unwrap().after_loss);
        reorder.gap();
        reorder.push(&rtp(700, 2), 0);
        assert!(reorder.pop(0).unwrap().after_loss);
        assert_eq!((reorder.malformed(), reorder.lost()), (0, 0));
    }

    #[test]
    fn header_extensions_sources_and_padding_are_taken_off() {
        let mut bytes =
            vec![0xb1, 0x80 | 96, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4];
        bytes.extend([42, 43, 0, 0, 3]);
        let packet = parse(&bytes, 5).unwrap().packet;
        assert_eq!((packet.payload, packet.marker, packet.timestamp), (vec![42, 43], true, 9));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_little_is_held(all in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0_i64..1_000_000), 0..700)) {
            let mut reorder = Reorder::default();
            for (bytes, at) in all {
                reorder.push(&bytes, at);
                while reorder.pop(at).is_some() {}
                prop_assert!(reorder.waiting.len() <= WAITING_MAX);
            }
        }
    }
}
