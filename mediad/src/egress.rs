//! Pure: no clock, no I/O, no async.
//!
//! Datagrams that wait to be sent: one flat byte area, allocated once, and a list of who gets which part. The router
//! seals straight into the area. Datagrams follow each other without a gap, so that a run of equal lengths to one
//! destination is one segmentation-offload message (see [`TxBatch::runs`]).

use std::net::SocketAddr;

/// One datagram of a [`TxBatch`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TxDatagram {
    /// Where it goes.
    pub dest: SocketAddr,
    /// First byte in the area.
    pub offset: u32,
    /// Bytes.
    pub len: u16,
}

/// Neighbouring datagrams to one destination that one system call message can carry: all but the last have
/// `segment` bytes, the last may be shorter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TxRun {
    /// Where all of them go.
    pub dest: SocketAddr,
    /// First byte in the area.
    pub offset: u32,
    /// Bytes of all together.
    pub len: u32,
    /// Bytes of each but the last.
    pub segment: u16,
    /// How many.
    pub count: u16,
}

/// Datagrams to be sent.
#[derive(Debug)]
pub struct TxBatch {
    area: Box<[u8]>,
    used: usize,
    /// From so many bytes on it is worth sending.
    portion: usize,
    datagrams: Vec<TxDatagram>,
}

/// Segments of one message that the kernel accepts (`UDP_MAX_SEGMENTS`).
pub const SEGMENTS_MAX: usize = 64;

/// Bytes of one message that fit into the IPv4 length field with room for headers.
pub const RUN_BYTES_MAX: usize = 65_000;

impl TxBatch {
    /// Room for `datagrams` datagrams of together `bytes` bytes; nothing is allocated later.
    pub fn new(datagrams: usize, bytes: usize) -> Self {
        Self {
            area: vec![0; bytes].into_boxed_slice(),
            used: 0,
            portion: bytes,
            datagrams: Vec::with_capacity(datagrams),
        }
    }

    /// Answers that there is no room once `bytes` bytes wait: what is sealed, copied by the kernel and overwritten in
    /// portions stays in the core's own cache. Only what does not fit a portion uses the rest of the area.
    #[must_use]
    pub const fn in_portions_of(mut self, bytes: usize) -> Self {
        self.portion = bytes;
        self
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.used = 0;
        self.datagrams.clear();
    }

    /// Whether `count` more datagrams of at most `bytes` bytes each shall be added before it is sent.
    pub fn has_room(&self, count: usize, bytes: usize) -> bool {
        (self.used < self.portion || self.datagrams.is_empty()) && self.fits(count, bytes)
    }

    fn fits(&self, count: usize, bytes: usize) -> bool {
        self.datagrams.len() + count <= self.datagrams.capacity()
            && self.used + count * bytes <= self.area.len()
    }

    /// The free part of the area, or none when no datagram fits any more. Follow up with [`Self::commit`].
    pub fn space(&mut self) -> Option<&mut [u8]> {
        if self.datagrams.len() == self.datagrams.capacity() {
            return None;
        }
        Some(&mut self.area[self.used..])
    }

    /// The first `len` bytes of the free part are a datagram to `dest`. Nothing happens for 0 bytes.
    pub fn commit(&mut self, dest: SocketAddr, len: usize) {
        let fits = self.used + len <= self.area.len() && self.datagrams.len() < self.datagrams.capacity();
        debug_assert!(fits, "commit of {len} bytes beyond the batch");
        let (Ok(offset), Ok(short)) = (u32::try_from(self.used), u16::try_from(len)) else { return };
        if len > 0 && fits {
            self.datagrams.push(TxDatagram { dest, offset, len: short });
            self.used += len;
        }
    }

    /// Copies a datagram in. False when it does not fit.
    pub fn push(&mut self, dest: SocketAddr, bytes: &[u8]) -> bool {
        if !self.fits(1, bytes.len()) {
            return false;
        }
        self.area[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.commit(dest, bytes.len());
        true
    }

    /// The datagrams in the order of sending.
    pub fn datagrams(&self) -> &[TxDatagram] {
        &self.datagrams
    }

    /// Bytes of one datagram.
    pub fn bytes(&self, datagram: &TxDatagram) -> &[u8] {
        &self.area[datagram.offset as usize..][..usize::from(datagram.len)]
    }

    /// The area: offsets of datagrams and runs count from its start.
    pub fn area(&self) -> &[u8] {
        &self.area[..self.used]
    }

    /// Bytes of all datagrams.
    pub const fn len_bytes(&self) -> usize {
        self.used
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// The datagrams grouped into messages for segmentation offload, in order.
    pub fn runs(&self) -> Runs<'_> {
        Runs { rest: &self.datagrams }
    }
}

/// Iterator of [`TxBatch::runs`].
#[derive(Debug)]
pub struct Runs<'a> {
    rest: &'a [TxDatagram],
}

impl Iterator for Runs<'_> {
    type Item = TxRun;

    fn next(&mut self) -> Option<TxRun> {
        let (first, others) = self.rest.split_first()?;
        let mut run = TxRun {
            dest: first.dest,
            offset: first.offset,
            len: u32::from(first.len),
            segment: first.len,
            count: 1,
        };
        for datagram in others {
            let joined = run.len as usize + usize::from(datagram.len);
            if datagram.dest != run.dest
                || datagram.len > run.segment
                || usize::from(run.count) == SEGMENTS_MAX
                || joined > RUN_BYTES_MAX
            {
                break;
            }
            run.len += u32::from(datagram.len);
            run.count += 1;
            if datagram.len < run.segment {
                break;
            }
        }
        self.rest = &self.rest[usize::from(run.count)..];
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn batch(sizes: &[(u16, usize)]) -> TxBatch {
        let mut batch = TxBatch::new(200, 300_000);
        for (port, len) in sizes {
            assert!(batch.push(address(*port), &vec![*port as u8; *len]));
        }
        batch
    }

    #[test]
    fn equal_lengths_to_one_destination_are_one_run_and_a_shorter_one_ends_it() {
        let batch = batch(&[(1, 100), (1, 100), (1, 90), (1, 100), (2, 100), (2, 101)]);
        let runs: Vec<(u16, u16, u16, u32)> =
            batch.runs().map(|run| (run.dest.port(), run.count, run.segment, run.len)).collect();
        assert_eq!(runs, [(1, 3, 100, 290), (1, 1, 100, 100), (2, 1, 100, 100), (2, 1, 101, 101)]);
        assert_eq!(batch.runs().map(|run| u32::from(run.count)).sum::<u32>(), 6);
    }

    #[test]
    fn a_run_respects_the_kernels_bounds() {
        let small = batch(&[(1, 100); 130]);
        assert_eq!(small.runs().map(|run| run.count).collect::<Vec<_>>(), [64, 64, 2]);
        let large = batch(&[(1, 1200); 60]);
        assert!(large.runs().all(|run| run.len as usize <= RUN_BYTES_MAX));
    }

    #[test]
    fn a_full_batch_refuses_and_takes_again_after_clear() {
        let mut batch = TxBatch::new(2, 250);
        assert!(batch.push(address(1), &[1; 100]));
        assert!(!batch.push(address(1), &[1; 200]));
        assert!(batch.push(address(1), &[2; 100]));
        assert!(batch.space().is_none());
        assert_eq!(batch.bytes(&batch.datagrams()[1]), [2; 100]);
        batch.clear();
        assert!(batch.is_empty() && batch.push(address(1), &[1; 200]));
    }

    #[test]
    fn a_batch_in_portions_asks_to_be_sent_and_still_takes_what_is_larger() {
        let mut batch = TxBatch::new(10, 1000).in_portions_of(150);
        assert!(batch.has_room(8, 100), "an empty one takes more than a portion");
        assert!(batch.push(address(1), &[1; 100]) && batch.has_room(1, 100));
        assert!(batch.push(address(1), &[1; 100]) && !batch.has_room(1, 100));
        assert!(batch.push(address(1), &[1; 100]), "what comes unasked is not lost");
    }
}
