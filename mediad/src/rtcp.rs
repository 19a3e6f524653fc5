//! Pure: no clock, no I/O, no async.
//!
//! RTCP (RFC 3550 section 6, RFC 4585, RFC 5104): a bounds-checked iterator over compound packets and a builder into
//! a given buffer. Nothing is copied or allocated; lists inside a packet are iterators over its bytes.

pub mod twcc;

use crate::rtp::{u16_at, u32_at};

/// Report blocks of one packet that are read; RFC 3550 allows 31.
const BLOCKS_MAX: usize = 31;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// One packet of a compound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packet<'a> {
    /// Sources that end.
    Bye(Words<'a>),
    /// Full intra requests: media SSRCs (RFC 5104 section 4.3.1).
    Fir(FirEntries<'a>),
    /// Lost packets of one source (RFC 4585 section 6.2.1).
    Nack {
        /// The source.
        media: u32,
        /// Which.
        lost: NackEntries<'a>,
    },
    /// Picture loss of one source.
    Pli {
        /// The source.
        media: u32,
    },
    /// Reception reports.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it received.
        blocks: Blocks<'a>,
    },
    /// Receiver estimated maximum bit rate (draft-alvestrand-rmcat-remb).
    Remb {
        /// Bits per second.
        rate_bps: u64,
    },
    /// Clock mapping of a sender, and what it received.
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// Its clocks and counters.
        sender: SenderInfo,
        /// What it received.
        blocks: Blocks<'a>,
    },
    /// Transport-wide feedback; read it with [`twcc::Feedback`].
    TransportCc(&'a [u8]),
    /// Anything else: source descriptions, extended reports, unknown kinds.
    Other(u8),
}

/// Sender part of a sender report.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SenderInfo {
    /// Wall clock, 32.32 fixed point seconds since 1900.
    pub ntp: u64,
    /// The same moment on the media clock.
    pub timestamp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent, modulo 2^32.
    pub octets: u32,
}

/// One reception report.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// Source that it is about.
    pub ssrc: u32,
    /// Share of packets lost since the last report, 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all, 24 bits signed.
    pub lost: i32,
    /// Highest sequence number with its cycles.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time; 0 is none.
    pub last_report: u32,
    /// Delay since that report arrived, 1/65536 s.
    pub delay: u32,
}

/// Iterator over a compound packet. Ends at the first packet that does not fit.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Reads `bytes`, decrypted.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let head = self.rest.get(..4)?;
        let len = 4 + 4 * usize::from(u16_at(head, 2));
        if head[0] >> 6 != 2 || len > self.rest.len() {
            self.rest = &[];
            return None;
        }
        let (packet, rest) = self.rest.split_at(len);
        self.rest = rest;
        let mut end = len;
        if head[0] & 0x20 != 0 {
            end = len.checked_sub(usize::from(packet[len - 1])).filter(|end| *end >= 4)?;
        }
        let (count, kind) = (head[0] & 0x1f, head[1]);
        Some(read(kind, count, &packet[..end]).unwrap_or(Packet::Other(kind)))
    }
}

/// Reads one packet with its header; none when it is too short for what it claims.
fn read(kind: u8, count: u8, packet: &[u8]) -> Option<Packet<'_>> {
    let body = &packet[4..];
    match (kind, count) {
        (SENDER_REPORT, _) => {
            let (info, blocks) = body.split_at_checked(24)?;
            let sender = SenderInfo {
                ntp: u64::from(u32_at(info, 4)) << 32 | u64::from(u32_at(info, 8)),
                timestamp: u32_at(info, 12),
                packets: u32_at(info, 16),
                octets: u32_at(info, 20),
            };
            Some(Packet::SenderReport { ssrc: u32_at(info, 0), sender, blocks: Blocks::new(blocks, count) })
        }
        (RECEIVER_REPORT, _) => {
            let (ssrc, blocks) = body.split_at_checked(4)?;
            Some(Packet::ReceiverReport { ssrc: u32_at(ssrc, 0), blocks: Blocks::new(blocks, count) })
        }
        (BYE, _) => Some(Packet::Bye(Words(body.get(..4 * usize::from(count))?))),
        (TRANSPORT_FEEDBACK, 1) => {
            let (ssrcs, lost) = body.split_at_checked(8)?;
            Some(Packet::Nack { media: u32_at(ssrcs, 4), lost: NackEntries::new(lost) })
        }
        (TRANSPORT_FEEDBACK, 15) => Some(Packet::TransportCc(packet)),
        (PAYLOAD_FEEDBACK, 1) => Some(Packet::Pli { media: u32_at(body.get(..8)?, 4) }),
        (PAYLOAD_FEEDBACK, 4) => Some(Packet::Fir(FirEntries(body.get(8..)?))),
        (PAYLOAD_FEEDBACK, 15) => remb(body),
        _ => None,
    }
}

fn remb(body: &[u8]) -> Option<Packet<'_>> {
    let content = body.get(..16).filter(|content| content[8..12] == *b"REMB")?;
    let mantissa = u64::from(u32_at(content, 12) & 0x3_ffff);
    let exponent = u32::from(content[13] >> 2);
    Some(Packet::Remb { rate_bps: mantissa.checked_shl(exponent).unwrap_or(u64::MAX) })
}

/// 32-bit words of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Words<'a>(&'a [u8]);

impl Iterator for Words<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_at_checked(4)?;
        self.0 = rest;
        Some(u32_at(word, 0))
    }
}

/// Media SSRCs of a full intra request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FirEntries<'a>(&'a [u8]);

impl Iterator for FirEntries<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (entry, rest) = self.0.split_at_checked(8)?;
        self.0 = rest;
        Some(u32_at(entry, 0))
    }
}

/// Sequence numbers of a NACK.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NackEntries<'a> {
    rest: &'a [u8],
    /// Present entry: first sequence number and which of it and the 16 that follow are left, lowest bit first.
    base: u16,
    left: u32,
}

impl<'a> NackEntries<'a> {
    const fn new(rest: &'a [u8]) -> Self {
        Self { rest, base: 0, left: 0 }
    }
}

impl Iterator for NackEntries<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.left == 0 {
            let (entry, rest) = self.rest.split_at_checked(4)?;
            self.rest = rest;
            self.base = u16_at(entry, 0);
            self.left = u32::from(u16_at(entry, 2)) << 1 | 1;
        }
        let bit = self.left.trailing_zeros();
        self.left &= self.left - 1;
        Some(self.base.wrapping_add(bit as u16))
    }
}

/// Reception reports of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Blocks<'a>(&'a [u8]);

impl<'a> Blocks<'a> {
    fn new(bytes: &'a [u8], count: u8) -> Self {
        let len = (Block::BYTES * usize::from(count).min(BLOCKS_MAX)).min(bytes.len());
        Self(&bytes[..len])
    }
}

impl Iterator for Blocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let (block, rest) = self.0.split_at_checked(Block::BYTES)?;
        self.0 = rest;
        Some(Block {
            ssrc: u32_at(block, 0),
            fraction_lost: block[4],
            // 24 bits, sign extended.
            lost: (u32_at(block, 4) << 8).cast_signed() >> 8,
            highest: u32_at(block, 8),
            jitter: u32_at(block, 12),
            last_report: u32_at(block, 16),
            delay: u32_at(block, 20),
        })
    }
}

impl Block {
    const BYTES: usize = 24;

    fn write(&self, out: &mut [u8]) {
        out[0..4].copy_from_slice(&self.ssrc.to_be_bytes());
        let lost = self.lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
        out[4..8].copy_from_slice(&(u32::from(self.fraction_lost) << 24 | lost).to_be_bytes());
        out[8..12].copy_from_slice(&self.highest.to_be_bytes());
        out[12..16].copy_from_slice(&self.jitter.to_be_bytes());
        out[16..20].copy_from_slice(&self.last_report.to_be_bytes());
        out[20..24].copy_from_slice(&self.delay.to_be_bytes());
    }
}

/// Writes a compound packet. What does not fit any more is left out and answered with false.
#[derive(Debug)]
pub struct Builder<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Builder<'a> {
    /// Begins an empty compound. `buf` is what may be used; leave room for the SRTCP trailer outside of it.
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Bytes so far.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was added.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A sender report without reception reports.
    pub fn sender_report(&mut self, ssrc: u32, sender: &SenderInfo) -> bool {
        let Some(out) = self.packet(SENDER_REPORT, 0, 24) else { return false };
        out[0..4].copy_from_slice(&ssrc.to_be_bytes());
        out[4..12].copy_from_slice(&sender.ntp.to_be_bytes());
        out[12..16].copy_from_slice(&sender.timestamp.to_be_bytes());
        out[16..20].copy_from_slice(&sender.packets.to_be_bytes());
        out[20..24].copy_from_slice(&sender.octets.to_be_bytes());
        true
    }

    /// A receiver report of at most 31 blocks.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[Block]) -> bool {
        let blocks = &blocks[..blocks.len().min(BLOCKS_MAX)];
        let Some(out) = self.packet(RECEIVER_REPORT, blocks.len() as u8, 4 + Block::BYTES * blocks.len())
        else {
            return false;
        };
        out[0..4].copy_from_slice(&ssrc.to_be_bytes());
        for (block, out) in blocks.iter().zip(out[4..].chunks_exact_mut(Block::BYTES)) {
            block.write(out);
        }
        true
    }

    /// The canonical name of one source.
    pub fn sdes(&mut self, ssrc: u32, cname: &str) -> bool {
        let cname = &cname.as_bytes()[..cname.len().min(255)];
        // One chunk: SSRC, item head, text, at least one zero byte, whole words.
        let body = (4 + 2 + cname.len() + 1).next_multiple_of(4);
        let Some(out) = self.packet(SDES, 1, body) else { return false };
        out.fill(0);
        out[0..4].copy_from_slice(&ssrc.to_be_bytes());
        out[4] = 1;
        out[5] = cname.len() as u8;
        out[6..6 + cname.len()].copy_from_slice(cname);
        true
    }

    /// A request to send `lost` again; ascending order packs best. Gives how many fitted.
    pub fn nack(&mut self, sender: u32, media: u32, lost: &[u16]) -> usize {
        let room = self.buf.len().saturating_sub(self.len + 12) / 4;
        let mut taken = 0;
        let mut entries = 0;
        let start = self.len;
        while taken < lost.len() && entries < room {
            let (base, mut mask) = (lost[taken], 0u16);
            taken += 1;
            while let Some(distance) =
                lost.get(taken).map(|next| next.wrapping_sub(base)).filter(|d| (1..=16).contains(d))
            {
                mask |= 1 << (distance - 1);
                taken += 1;
            }
            let at = start + 12 + 4 * entries;
            self.buf[at..at + 2].copy_from_slice(&base.to_be_bytes());
            self.buf[at + 2..at + 4].copy_from_slice(&mask.to_be_bytes());
            entries += 1;
        }
        if entries == 0 {
            return 0;
        }
        if let Some(out) = self.packet(TRANSPORT_FEEDBACK, 1, 8 + 4 * entries) {
            out[0..4].copy_from_slice(&sender.to_be_bytes());
            out[4..8].copy_from_slice(&media.to_be_bytes());
        }
        taken
    }

    /// A picture loss indication.
    pub fn pli(&mut self, sender: u32, media: u32) -> bool {
        let Some(out) = self.packet(PAYLOAD_FEEDBACK, 1, 8) else { return false };
        out[0..4].copy_from_slice(&sender.to_be_bytes());
        out[4..8].copy_from_slice(&media.to_be_bytes());
        true
    }

    /// A full intra request; `number` counts them.
    pub fn fir(&mut self, sender: u32, media: u32, number: u8) -> bool {
        let Some(out) = self.packet(PAYLOAD_FEEDBACK, 4, 16) else { return false };
        out[0..4].copy_from_slice(&sender.to_be_bytes());
        out[4..8].fill(0);
        out[8..12].copy_from_slice(&media.to_be_bytes());
        out[12..16].copy_from_slice(&[number, 0, 0, 0]);
        true
    }

    /// The end of a source.
    pub fn bye(&mut self, ssrc: u32) -> bool {
        let Some(out) = self.packet(BYE, 1, 4) else { return false };
        out.copy_from_slice(&ssrc.to_be_bytes());
        true
    }

    /// Transport-wide feedback, written by [`twcc::Recorder::feedback`] into the free part.
    pub fn transport_cc(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let len = write(&mut self.buf[self.len..]);
        self.len += len;
        len > 0
    }

    /// Writes a header for `body` bytes (whole words) and gives the body.
    fn packet(&mut self, kind: u8, count: u8, body: usize) -> Option<&mut [u8]> {
        debug_assert!(body.is_multiple_of(4), "body of {body} bytes");
        let out = self.buf.get_mut(self.len..self.len + 4 + body)?;
        self.len += 4 + body;
        out[0] = 0x80 | count;
        out[1] = kind;
        out[2..4].copy_from_slice(&((body / 4) as u16).to_be_bytes());
        Some(&mut out[4..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(write: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
        let mut buf = [0; 1200];
        let mut builder = Builder::new(&mut buf);
        write(&mut builder);
        let len = builder.len();
        buf[..len].to_vec()
    }

    #[test]
    fn reports_round_trip() {
        let sender = SenderInfo { ntp: 0x1234_5678_9abc_def0, timestamp: 90_000, packets: 7, octets: 8000 };
        let block = Block {
            ssrc: 9,
            fraction_lost: 3,
            lost: -2,
            highest: 70_000,
            jitter: 11,
            last_report: 5,
            delay: 6,
        };
        let bytes = build(|builder| {
            assert!(builder.sender_report(1, &sender) && builder.receiver_report(1, &[block, block]));
            assert!(builder.sdes(1, "plenum") && builder.pli(1, 9) && builder.bye(1));
        });
        let packets: Vec<Packet<'_>> = Compound::new(&bytes).collect();
        assert!(matches!(packets[0], Packet::SenderReport { ssrc: 1, sender: found, .. } if found == sender));
        let Packet::ReceiverReport { ssrc: 1, blocks } = packets[1] else { panic!("{packets:?}") };
        assert_eq!(blocks.collect::<Vec<_>>(), [block, block]);
        assert_eq!(packets[2..4], [Packet::Other(202), Packet::Pli { media: 9 }]);
        assert!(matches!(packets[4], Packet::Bye(ssrcs) if ssrcs.collect::<Vec<_>>() == [1]));
    }

    #[test]
    fn nacks_pack_seventeen_numbers_into_an_entry() {
        let lost: Vec<u16> = (65_530..=65_535).chain(0..30).collect();
        let bytes = build(|builder| assert_eq!(builder.nack(1, 2, &lost), lost.len()));
        assert_eq!(bytes.len(), 12 + 3 * 4);
        let Some(Packet::Nack { media: 2, lost: found }) = Compound::new(&bytes).next() else { panic!() };
        assert_eq!(found.collect::<Vec<_>>(), lost);
    }

    #[test]
    fn requests_of_others_are_read() {
        let fir = [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 3, 0, 0, 0];
        let Some(Packet::Fir(mut list)) = Compound::new(&fir).next() else { panic!() };
        assert_eq!((list.next(), list.next()), (Some(7), None));
        let remb =
            [0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0b, 0, 1, 0, 0, 0, 7];
        // Mantissa 0x30001, exponent 2.
        assert_eq!(Compound::new(&remb).next(), Some(Packet::Remb { rate_bps: 0x3_0001 << 2 }));
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut buf = [0; 20];
        let mut builder = Builder::new(&mut buf);
        assert!(!builder.sdes(1, "a long canonical name"));
        assert_eq!(builder.nack(1, 2, &[1, 100, 200, 300]), 2);
        assert!(!builder.pli(1, 2));
        assert_eq!(builder.len(), 20);
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 4..200), kind in 200u8..208, words in 0u16..60) {
            bytes[0] = 0x80 | bytes[0] & 0x3f;
            bytes[1] = kind;
            bytes[2..4].copy_from_slice(&words.to_be_bytes());
            for packet in Compound::new(&bytes) {
                match packet {
                    Packet::Bye(list) => prop_assert!(list.count() <= 31),
                    Packet::Fir(list) => prop_assert!(list.count() <= 50),
                    Packet::Nack { lost, .. } => prop_assert!(lost.count() <= 17 * 50),
                    Packet::ReceiverReport { blocks, .. } | Packet::SenderReport { blocks, .. } =>
                        prop_assert!(blocks.count() <= BLOCKS_MAX),
                    Packet::TransportCc(packet) => {
                        if let Some(feedback) = twcc::Feedback::parse(packet) { prop_assert!(feedback.count() <= 65_536); }
                    }
                    Packet::Other(_) | Packet::Pli { .. } | Packet::Remb { .. } => {}
                }
            }
        }
    }
}
