//! Pure: no clock, no I/O, no async.
//!
//! Records on their way to a recorder: packets that follow each other share one.

use common::wire::media::{Packet, Packets, RECORD_BYTES_MAX, TrackRecord};

/// Bytes that a packet takes besides its own.
const AROUND_BYTES: usize = 24;

/// Records that are gathered before they are written.
#[derive(Debug, Default)]
pub struct Records {
    done: Vec<TrackRecord>,
    packets: Vec<Packet>,
    packet_bytes: usize,
    bytes: usize,
    /// Packets since the last [`Self::take`].
    count: u64,
}

impl Records {
    /// Adds a record that is no packet.
    pub fn push(&mut self, record: impl Into<TrackRecord>) {
        self.close();
        self.done.push(record.into());
    }

    /// Adds a packet.
    pub fn push_packet(&mut self, packet: Packet) {
        let bytes = packet.bytes.len() + AROUND_BYTES;
        if self.packet_bytes + bytes > RECORD_BYTES_MAX {
            self.close();
        }
        self.packet_bytes += bytes;
        self.bytes += bytes;
        self.count += 1;
        self.packets.push(packet);
    }

    fn close(&mut self) {
        if !self.packets.is_empty() {
            self.done.push(Packets { packets: std::mem::take(&mut self.packets) }.into());
            self.packet_bytes = 0;
        }
    }

    /// Enough for one write.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes >= RECORD_BYTES_MAX
    }

    /// Packets and their bytes that are in here.
    #[must_use]
    pub const fn counts(&self) -> (u64, usize) {
        (self.count, self.bytes)
    }

    /// Everything, in order.
    pub fn take(&mut self) -> Vec<TrackRecord> {
        self.close();
        (self.bytes, self.count) = (0, 0);
        std::mem::take(&mut self.done)
    }
}

#[cfg(test)]
mod tests {
    use common::wire::media::{Gap, GapWhy, RingSeq};

    use super::*;

    #[test]
    fn packets_share_records_up_to_the_limit_and_keep_their_place() {
        let packet = |seq| Packet {
            ring_seq: RingSeq(seq),
            arrival_us: 0,
            flags: 0,
            level: 0,
            orientation: 0,
            bytes: vec![0; 1000],
        };
        let mut records = Records::default();
        for seq in 0..60 {
            records.push_packet(packet(seq));
            if seq == 2 {
                records.push(Gap { skipped: 1, why: GapWhy::Lost });
            }
        }
        assert!(records.is_full() && records.counts() == (60, 60 * 1024));
        let counts: Vec<usize> = records
            .take()
            .into_iter()
            .map(|record| if let TrackRecord::Packets(packets) = record { packets.packets.len() } else { 0 })
            .collect();
        assert_eq!(counts, [3, 0, 48, 9]);
        assert!(!records.is_full() && records.take().is_empty());
    }
}
