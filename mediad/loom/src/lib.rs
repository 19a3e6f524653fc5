//! Pure: no clock, no I/O, no async.
//!
//! Every interleaving of one writer and its readers on a tiny ring, by loom: nobody ever sees a torn packet, and the
//! numbers add up.

#[path = "../../src/ring.rs"]
pub mod ring;

#[cfg(all(test, loom))]
mod tests {
    use crate::ring::{PacketMeta, Read, RingSeq, RingSize, TrackReader, TrackWriter};

    /// Every interleaving with at most `preemptions` involuntary switches: bugs of this kind need one or two, and without
    /// a bound the search takes days.
    fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(model);
    }

    fn meta(index: u64) -> PacketMeta {
        PacketMeta { index, ..PacketMeta::default() }
    }

    /// One data word, which says whose it is.
    fn body(index: u64) -> Vec<u8> {
        vec![index as u8 + 1; 8]
    }

    fn expect(seq: RingSeq, found: &PacketMeta, bytes: &[u8]) {
        assert_eq!(*found, meta(seq.0));
        assert_eq!(bytes, body(seq.0));
    }

    fn drain(reader: &mut TrackReader, turns: usize) -> u64 {
        let mut out = [0; 64];
        for _ in 0..turns {
            match reader.next(&mut out) {
                Read::Packet(seq, found, len) => expect(seq, &found, &out[..len]),
                Read::Lapped { .. } => {}
                Read::Empty | Read::Moved => break,
            }
        }
        reader.position().0
    }

    #[test]
    fn a_reader_of_a_ring_that_wraps_sees_whole_packets_or_is_lapped() {
        check(2, || {
            let mut writer = TrackWriter::new(RingSize { packets: 2, bytes: 32 });
            writer.push(&meta(0), &body(0));
            let mut reader = writer.reader(RingSeq(0));
            let thread = loom::thread::spawn(move || drain(&mut reader, 2));
            writer.push(&meta(1), &body(1));
            writer.push(&meta(2), &body(2));
            assert!(thread.join().unwrap() <= 3);
        });
    }

    #[test]
    fn one_packet_is_whole_or_gone_while_its_slot_is_used_again() {
        overwritten(RingSize { packets: 2, bytes: 32 });
    }

    #[test]
    fn one_packet_is_whole_or_gone_while_only_its_bytes_are_used_again() {
        overwritten(RingSize { packets: 4, bytes: 16 });
    }

    fn overwritten(size: RingSize) {
        check(2, move || {
            let mut writer = TrackWriter::new(size);
            writer.push(&meta(0), &body(0));
            let reader = writer.reader(RingSeq(0));
            let thread = loom::thread::spawn(move || {
                let mut out = [0; 64];
                if let Some((found, len)) = reader.get(RingSeq(0), &mut out) {
                    expect(RingSeq(0), &found, &out[..len]);
                }
            });
            writer.push(&meta(1), &body(1));
            writer.push(&meta(2), &body(2));
            thread.join().unwrap();
        });
    }
}
