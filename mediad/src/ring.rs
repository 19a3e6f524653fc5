//! Pure: no clock, no I/O, no async.
//!
//! The packets of one encoding, newest overwriting oldest: forwarding queue between workers, retransmission history,
//! key-frame start for newcomers, source of taps and pipes. One writer, many readers in any thread.
//!
//! There is no lock, no reference count per packet and no unsafe code: all shared words are atomics. A packet's slot
//! carries a stamp that is odd while the slot is being written (a sequence lock), and `reserved` says how far the
//! writer may have gone in the data words; a reader copies first and checks both afterwards. The writer never waits; a
//! reader that was too slow is told how much it missed. Checked with loom (`mediad/loom`).

#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

/// Number of a packet in its ring, from 0, in the order of arrival, without gaps; goes on when a ring is replaced by a
/// larger one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RingSeq(pub u64);

/// What ingress learnt of a packet, so that nobody parses it again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PacketMeta {
    /// 48-bit index of the sender's sequence number.
    pub index: u64,
    /// Counts the SSRCs that this encoding had; indexes and timestamps of different epochs are unrelated.
    pub epoch: u16,
    /// Arrival, microseconds on the router's clock.
    pub arrival_us: u64,
    /// RTP timestamp as sent.
    pub timestamp: u32,
    /// First byte of the payload in the packet.
    pub payload_offset: u16,
    /// `PacketMeta::KEYFRAME` and friends.
    pub flags: u16,
    /// Position of the codec in the publisher's section.
    pub codec: u8,
    /// Spatial layer inside the encoding.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// RFC 6464: voice flag and level in -dBov, where [`Self::AUDIO_LEVEL`] is set.
    pub audio_level: u8,
    /// Video orientation, where [`Self::ORIENTATION`] is set.
    pub orientation: u8,
    /// Which fields the codec's payload descriptor has (`codec::descriptor`).
    pub descriptor: u8,
    /// TL0PICIDX.
    pub tl0: u8,
    /// VP8 KEYIDX.
    pub key_index: u8,
    /// Picture id, extended to 15 bits.
    pub picture_id: u16,
    /// First byte of the dependency descriptor in the packet; 0 is none.
    pub dependency_offset: u16,
    /// Its bytes.
    pub dependency_len: u8,
    /// Playout delay extension (24 bits), where [`Self::PLAYOUT_DELAY`] is set.
    pub playout_delay: u32,
}

impl PacketMeta {
    /// Part of a key frame.
    pub const KEYFRAME: u16 = 1;
    /// First packet of a frame.
    pub const FRAME_START: u16 = 1 << 1;
    /// Last packet of a frame: the marker bit.
    pub const FRAME_END: u16 = 1 << 2;
    /// Nothing but padding.
    pub const EMPTY: u16 = 1 << 3;
    /// `audio_level` is present.
    pub const AUDIO_LEVEL: u16 = 1 << 4;
    /// `orientation` is present.
    pub const ORIENTATION: u16 = 1 << 5;
    /// `playout_delay` is present.
    pub const PLAYOUT_DELAY: u16 = 1 << 6;
    /// The sender marked the packet (RTP marker bit).
    pub const MARKER: u16 = 1 << 7;

    /// Whether all of `flags` are set.
    pub const fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// First packet of a key frame: where a newcomer can start.
    pub const fn is_start(&self) -> bool {
        self.has(Self::KEYFRAME | Self::FRAME_START)
    }

    const fn to_words(self) -> [u64; META_WORDS] {
        [
            self.index | (self.epoch as u64) << 48,
            self.arrival_us,
            self.timestamp as u64 | (self.payload_offset as u64) << 32 | (self.flags as u64) << 48,
            u64::from_le_bytes([
                self.codec,
                self.spatial,
                self.temporal,
                self.audio_level,
                self.orientation,
                self.descriptor,
                self.tl0,
                self.key_index,
            ]),
            self.picture_id as u64
                | (self.dependency_offset as u64) << 16
                | (self.dependency_len as u64) << 32
                | (self.playout_delay as u64 & 0xff_ffff) << 40,
        ]
    }

    const fn from_words(words: [u64; META_WORDS]) -> Self {
        let bytes = words[3].to_le_bytes();
        Self {
            index: words[0] & 0xffff_ffff_ffff,
            epoch: (words[0] >> 48) as u16,
            arrival_us: words[1],
            timestamp: words[2] as u32,
            payload_offset: (words[2] >> 32) as u16,
            flags: (words[2] >> 48) as u16,
            codec: bytes[0],
            spatial: bytes[1],
            temporal: bytes[2],
            audio_level: bytes[3],
            orientation: bytes[4],
            descriptor: bytes[5],
            tl0: bytes[6],
            key_index: bytes[7],
            picture_id: words[4] as u16,
            dependency_offset: (words[4] >> 16) as u16,
            dependency_len: (words[4] >> 32) as u8,
            playout_delay: (words[4] >> 40) as u32,
        }
    }
}

/// What [`TrackReader::next`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Read {
    /// A packet, its number and its length in the buffer.
    Packet(RingSeq, PacketMeta, usize),
    /// Nothing new.
    Empty,
    /// The writer overtook the reader: `skipped` packets are gone, reading goes on at `resume`.
    Lapped {
        /// How many.
        skipped: u64,
        /// The next packet that is read.
        resume: RingSeq,
    },
    /// The writer went on in a larger ring: take a new reader at the same number.
    Moved,
}

/// Size of a ring; both are rounded up to powers of two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RingSize {
    /// Packets.
    pub packets: usize,
    /// Bytes of all packets.
    pub bytes: usize,
}

impl RingSize {
    /// Room for `millis` of a flow of `rate_bps` in packets of about `packet_bytes`.
    pub const fn for_rate(millis: u64, rate_bps: u64, packet_bytes: usize) -> Self {
        let bytes = (rate_bps / 8 * millis / 1000) as usize;
        Self { packets: bytes / packet_bytes + 1, bytes }
    }
}

#[derive(Debug)]
struct Slot {
    /// 0 never used; `2 n + 1` while packet n is written; `2 n + 2` when it is there.
    stamp: AtomicU64,
    /// First data word, 48 bits, and length in bytes above.
    place: AtomicU64,
    meta: [AtomicU64; SHARED_META_WORDS],
}

impl Slot {
    fn load_meta(&self) -> [u64; META_WORDS] {
        let mut meta = [0; META_WORDS];
        for (word, shared) in meta.iter_mut().zip(&self.meta) {
            *word = shared.load(Ordering::Relaxed);
        }
        meta
    }
}

#[derive(Debug)]
struct Shared {
    slots: Box<[Slot]>,
    words: Box<[AtomicU64]>,
    /// Number of the next packet.
    head: AtomicU64,
    /// Data words below this were written or may be in the middle of it.
    reserved: AtomicU64,
    /// Number of the newest key frame's first packet plus one; 0 is none.
    keyframe: AtomicU64,
    moved: AtomicBool,
}

impl Shared {
    fn new(size: RingSize, first: u64) -> Self {
        let slots = size.packets.next_power_of_two().max(2);
        let words = (size.bytes / WORD_BYTES).next_power_of_two().max(PACKET_WORDS_MIN);
        Self {
            slots: (0..slots)
                .map(|_| Slot {
                    stamp: AtomicU64::new(0),
                    place: AtomicU64::new(0),
                    meta: std::array::from_fn(|_| AtomicU64::new(0)),
                })
                .collect(),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            head: AtomicU64::new(first),
            reserved: AtomicU64::new(0),
            keyframe: AtomicU64::new(0),
            moved: AtomicBool::new(false),
        }
    }

    fn slot(&self, seq: u64) -> &Slot {
        &self.slots[seq as usize & (self.slots.len() - 1)]
    }

    /// Copies packet `seq` out. None when it is gone, not there yet, or longer than `out`.
    fn read(&self, seq: u64, out: &mut [u8]) -> Option<(PacketMeta, usize)> {
        let slot = self.slot(seq);
        let stamp = 2 * seq + 2;
        if slot.stamp.load(Ordering::Acquire) != stamp {
            return None;
        }
        let place = slot.place.load(Ordering::Relaxed);
        let meta = slot.load_meta();
        let (start, len) = (place & PLACE_MASK, (place >> 48) as usize);
        // A torn read gives any length; the checks below then refuse it.
        let target = out.get_mut(..len)?;
        let mask = self.words.len() - 1;
        for (position, chunk) in target.chunks_mut(WORD_BYTES).enumerate() {
            let word = self.words[(start as usize + position) & mask].load(Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        // Pairs with the writer's release fence: whoever saw one of its later words sees its marks too.
        fence(Ordering::Acquire);
        let reserved = self.reserved.load(Ordering::Relaxed);
        let intact =
            slot.stamp.load(Ordering::Relaxed) == stamp && reserved <= start + self.words.len() as u64;
        intact.then(|| (PacketMeta::from_words(meta), len))
    }

    /// What is known of packet `seq`.
    fn read_meta(&self, seq: u64) -> Option<PacketMeta> {
        let slot = self.slot(seq);
        let stamp = 2 * seq + 2;
        if slot.stamp.load(Ordering::Acquire) != stamp {
            return None;
        }
        let meta = slot.load_meta();
        fence(Ordering::Acquire);
        (slot.stamp.load(Ordering::Relaxed) == stamp).then(|| PacketMeta::from_words(meta))
    }

    /// The oldest packet that may still be there.
    fn tail(&self, head: u64) -> u64 {
        head.saturating_sub(self.slots.len() as u64)
    }
}

/// The writing end of one ring.
#[derive(Debug)]
pub struct TrackWriter {
    shared: Arc<Shared>,
    head: u64,
    reserved: u64,
}

impl TrackWriter {
    /// An empty ring.
    pub fn new(size: RingSize) -> Self {
        Self { shared: Arc::new(Shared::new(size, 0)), head: 0, reserved: 0 }
    }

    /// Appends a packet, over the oldest ones where needed. A packet longer than the ring or than 65,535 bytes is a
    /// bug of the caller and is stored empty.
    pub fn push(&mut self, meta: &PacketMeta, packet: &[u8]) -> RingSeq {
        let shared = &*self.shared;
        let fits = packet.len() <= usize::from(u16::MAX) && packet.len() <= shared.words.len() * WORD_BYTES;
        debug_assert!(fits, "packet of {} bytes in a ring of {} words", packet.len(), shared.words.len());
        let packet = if fits { packet } else { &[] };
        let (seq, start) = (self.head, self.reserved);
        self.reserved += packet.len().div_ceil(WORD_BYTES) as u64;
        let slot = shared.slot(seq);
        slot.stamp.store(2 * seq + 1, Ordering::Relaxed);
        shared.reserved.store(self.reserved, Ordering::Relaxed);
        // Both marks become visible before any word that follows.
        fence(Ordering::Release);
        slot.place.store(start & PLACE_MASK | (packet.len() as u64) << 48, Ordering::Relaxed);
        for (shared_word, word) in slot.meta.iter().zip(meta.to_words()) {
            shared_word.store(word, Ordering::Relaxed);
        }
        let mask = shared.words.len() - 1;
        let mut chunks = packet.chunks_exact(WORD_BYTES);
        let mut position = start as usize;
        for chunk in &mut chunks {
            let mut word = [0; WORD_BYTES];
            word.copy_from_slice(chunk);
            shared.words[position & mask].store(u64::from_le_bytes(word), Ordering::Relaxed);
            position += 1;
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; WORD_BYTES];
            word[..rest.len()].copy_from_slice(rest);
            shared.words[position & mask].store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        slot.stamp.store(2 * seq + 2, Ordering::Release);
        if meta.is_start() {
            shared.keyframe.store(seq + 1, Ordering::Release);
        }
        self.head += 1;
        shared.head.store(self.head, Ordering::Release);
        RingSeq(seq)
    }

    /// Goes on in a ring of another size that holds what fits of the present one. Readers of the old ring see
    /// [`Read::Moved`] after its last packet.
    pub fn resize(&mut self, size: RingSize) {
        let mut scratch = vec![0; usize::from(u16::MAX)];
        let first = self.shared.tail(self.head);
        let mut larger = Self { shared: Arc::new(Shared::new(size, first)), head: first, reserved: 0 };
        let keyframe = self.shared.keyframe.load(Ordering::Acquire);
        for seq in first..self.head {
            match self.shared.read(seq, &mut scratch) {
                Some((meta, len)) if len <= size.bytes => _ = larger.push(&meta, &scratch[..len]),
                // Gone already: nothing may be kept before a hole.
                _ => {
                    larger.head = seq + 1;
                    larger.shared.head.store(seq + 1, Ordering::Release);
                }
            }
        }
        larger.shared.keyframe.store(keyframe, Ordering::Release);
        self.shared.moved.store(true, Ordering::Release);
        *self = larger;
    }

    /// A reader that begins at `from`.
    pub fn reader(&self, from: RingSeq) -> TrackReader {
        #[expect(clippy::clone_on_ref_ptr, reason = "loom's Arc has another path")]
        TrackReader { shared: self.shared.clone(), next: from.0 }
    }

    /// Number of the next packet.
    pub const fn head(&self) -> RingSeq {
        RingSeq(self.head)
    }

    /// Copies one packet out.
    pub fn get(&self, seq: RingSeq, out: &mut [u8]) -> Option<(PacketMeta, usize)> {
        self.shared.read(seq.0, out)
    }

    /// What is known of one packet, without its bytes.
    pub fn meta(&self, seq: RingSeq) -> Option<PacketMeta> {
        let slot = self.shared.slot(seq.0);
        // The writer itself asks: nobody changes the slot meanwhile.
        let is_there = slot.stamp.load(Ordering::Relaxed) == 2 * seq.0 + 2;
        is_there.then(|| PacketMeta::from_words(slot.load_meta()))
    }

    /// First packet of the newest key frame, while it is there.
    pub fn last_keyframe(&self) -> Option<RingSeq> {
        keyframe(&self.shared)
    }

    /// Bytes of data that the ring holds.
    pub fn capacity_bytes(&self) -> usize {
        self.shared.words.len() * WORD_BYTES
    }

    /// Packets that the ring holds.
    pub fn capacity_packets(&self) -> usize {
        self.shared.slots.len()
    }
}

/// A reading end of one ring. A clone goes on by itself from where the original is.
#[derive(Clone, Debug)]
pub struct TrackReader {
    shared: Arc<Shared>,
    next: u64,
}

impl TrackReader {
    /// The next packet, copied into `out`, which must hold the longest one; see [`Read`].
    pub fn next(&mut self, out: &mut [u8]) -> Read {
        let head = self.shared.head.load(Ordering::Acquire);
        if self.next >= head {
            return if self.shared.moved.load(Ordering::Acquire) { Read::Moved } else { Read::Empty };
        }
        if let Some((meta, len)) = self.shared.read(self.next, out) {
            let seq = RingSeq(self.next);
            self.next += 1;
            return Read::Packet(seq, meta, len);
        }
        // Resume in the middle of what is left: at the tail the writer would overtake the reader again.
        let head = self.shared.head.load(Ordering::Acquire);
        let resume = (head - (head - self.shared.tail(head)) / 2).max(self.next + 1).min(head);
        let skipped = resume - self.next;
        self.next = resume;
        Read::Lapped { skipped, resume: RingSeq(resume) }
    }

    /// Any packet that is still there, copied into `out`.
    pub fn get(&self, seq: RingSeq, out: &mut [u8]) -> Option<(PacketMeta, usize)> {
        self.shared.read(seq.0, out)
    }

    /// First packet of the newest key frame, while it is there.
    pub fn last_keyframe(&self) -> Option<RingSeq> {
        keyframe(&self.shared)
    }

    /// Another reader of the same ring, that begins at `from`.
    pub fn at(&self, from: RingSeq) -> Self {
        Self { next: from.0, ..self.clone() }
    }

    /// Number of the packet that will be written next.
    pub fn head(&self) -> RingSeq {
        RingSeq(self.shared.head.load(Ordering::Acquire))
    }

    /// Number of the oldest packet that may still be there.
    pub fn oldest(&self) -> RingSeq {
        RingSeq(self.shared.tail(self.head().0))
    }

    /// What is known of one packet, without its bytes. These may be gone already.
    pub fn meta(&self, seq: RingSeq) -> Option<PacketMeta> {
        self.shared.read_meta(seq.0)
    }

    /// Number of the packet that is read next.
    pub const fn position(&self) -> RingSeq {
        RingSeq(self.next)
    }
}

fn keyframe(shared: &Shared) -> Option<RingSeq> {
    let seq = shared.keyframe.load(Ordering::Acquire).checked_sub(1)?;
    (shared.slot(seq).stamp.load(Ordering::Acquire) == 2 * seq + 2).then_some(RingSeq(seq))
}

const META_WORDS: usize = 5;

/// Words of the meta that are shared: all, but one under loom, whose search grows with every load.
#[cfg(not(loom))]
const SHARED_META_WORDS: usize = META_WORDS;
#[cfg(loom)]
const SHARED_META_WORDS: usize = 1;

const WORD_BYTES: usize = 8;
const PLACE_MASK: u64 = (1 << 48) - 1;

/// Smallest ring: one full packet, but tiny under loom, whose search grows with every word.
#[cfg(not(loom))]
const PACKET_WORDS_MIN: usize = 256;
#[cfg(loom)]
const PACKET_WORDS_MIN: usize = 2;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta(index: u64) -> PacketMeta {
        PacketMeta { index, timestamp: index as u32, arrival_us: index * 3, ..PacketMeta::default() }
    }

    fn body(index: u64) -> Vec<u8> {
        let len = 20 + (index * 37 % 1200) as usize;
        (0..len).map(|at| (index as usize + at) as u8).collect()
    }

    #[test]
    fn packets_come_back_until_they_are_overwritten() {
        let mut writer = TrackWriter::new(RingSize { packets: 8, bytes: 16_384 });
        let mut reader = writer.reader(RingSeq(0));
        let mut out = [0; 2000];
        assert_eq!(reader.next(&mut out), Read::Empty);
        for index in 0..8 {
            assert_eq!(writer.push(&meta(index), &body(index)), RingSeq(index));
        }
        for index in 0..8 {
            let Read::Packet(seq, found, len) = reader.next(&mut out) else { panic!("packet {index}") };
            assert_eq!((seq, found, &out[..len]), (RingSeq(index), meta(index), &body(index)[..]));
        }
        writer.push(&meta(8), &body(8));
        assert!(writer.get(RingSeq(0), &mut out).is_none());
        assert!(writer.get(RingSeq(1), &mut out).is_some());
    }

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed() {
        let mut writer = TrackWriter::new(RingSize { packets: 8, bytes: 16_384 });
        let mut reader = writer.reader(RingSeq(0));
        for index in 0..20 {
            writer.push(&meta(index), &body(index));
        }
        let mut out = [0; 2000];
        assert_eq!(reader.next(&mut out), Read::Lapped { skipped: 16, resume: RingSeq(16) });
        assert!(matches!(reader.next(&mut out), Read::Packet(RingSeq(16), ..)));
    }

    #[test]
    fn bytes_run_out_before_slots_do() {
        let mut writer = TrackWriter::new(RingSize { packets: 64, bytes: 2048 });
        for index in 0..3 {
            writer.push(&meta(index), &[index as u8; 1000]);
        }
        let mut out = [0; 2000];
        assert!(writer.get(RingSeq(0), &mut out).is_none());
        assert_eq!(writer.get(RingSeq(1), &mut out).map(|(_, len)| len), Some(1000));
        assert_eq!(&out[..1000], [1; 1000]);
    }

    #[test]
    fn the_newest_key_frame_is_remembered_while_it_lasts() {
        let mut writer = TrackWriter::new(RingSize { packets: 4, bytes: 4096 });
        assert_eq!(writer.last_keyframe(), None);
        let key = PacketMeta { flags: PacketMeta::KEYFRAME | PacketMeta::FRAME_START, ..meta(0) };
        writer.push(&key, &[1]);
        writer.push(&meta(1), &[1]);
        assert_eq!(writer.last_keyframe(), Some(RingSeq(0)));
        for index in 2..5 {
            writer.push(&meta(index), &[1]);
        }
        assert_eq!(writer.last_keyframe(), None);
    }

    #[test]
    fn a_resized_ring_keeps_numbers_and_packets_and_tells_readers() {
        let mut writer = TrackWriter::new(RingSize { packets: 4, bytes: 8192 });
        for index in 0..6 {
            writer.push(&meta(index), &body(index));
        }
        let mut reader = writer.reader(RingSeq(5));
        writer.resize(RingSize { packets: 64, bytes: 65_536 });
        assert_eq!(writer.push(&meta(6), &body(6)), RingSeq(6));
        let mut out = [0; 2000];
        for index in 2..7 {
            let (found, len) = writer.get(RingSeq(index), &mut out).unwrap();
            assert_eq!((found, &out[..len]), (meta(index), &body(index)[..]));
        }
        assert!(matches!(reader.next(&mut out), Read::Packet(RingSeq(5), ..)));
        assert_eq!(reader.next(&mut out), Read::Moved);
        assert!(matches!(writer.reader(reader.position()).next(&mut out), Read::Packet(RingSeq(6), ..)));
    }

    #[test]
    fn readers_in_other_threads_never_see_a_torn_packet() {
        const PACKETS: u64 = 60_000;
        let mut writer = TrackWriter::new(RingSize { packets: 32, bytes: 16_384 });
        let mut readers: Vec<TrackReader> = (0..3).map(|_| writer.reader(RingSeq(0))).collect();
        std::thread::scope(|scope| {
            for reader in &mut readers {
                scope.spawn(move || {
                    let mut out = [0; 2000];
                    let (mut seen, mut skipped) = (0, 0);
                    while seen + skipped < PACKETS {
                        match reader.next(&mut out) {
                            Read::Packet(seq, found, len) => {
                                assert_eq!((seq.0, found), (seen + skipped, meta(seq.0)));
                                assert_eq!(&out[..len], body(seq.0));
                                seen += 1;
                            }
                            Read::Lapped { skipped: more, .. } => skipped += more,
                            Read::Empty => std::thread::yield_now(),
                            Read::Moved => panic!("nobody resized"),
                        }
                    }
                    assert_eq!(seen + skipped, PACKETS);
                });
            }
            for index in 0..PACKETS {
                writer.push(&meta(index), &body(index));
                if index % 64 == 0 {
                    std::thread::yield_now();
                }
            }
        });
    }

    proptest! {
        #[test]
        fn every_field_of_the_meta_survives(index in 0u64..1 << 48, epoch: u16, arrival_us: u64, timestamp: u32,
                                            bytes: [u8; 8], words: [u16; 4], dependency_len: u8, delay in 0u32..1 << 24) {
            let meta = PacketMeta {
                index, epoch, arrival_us, timestamp, payload_offset: words[0], flags: words[1],
                codec: bytes[0], spatial: bytes[1], temporal: bytes[2], audio_level: bytes[3], orientation: bytes[4],
                descriptor: bytes[5], tl0: bytes[6], key_index: bytes[7], picture_id: words[2],
                dependency_offset: words[3], dependency_len, playout_delay: delay,
            };
            prop_assert_eq!(PacketMeta::from_words(meta.to_words()), meta);
        }
    }
}
