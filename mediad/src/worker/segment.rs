//! Pure: no clock, no I/O, no async.
//!
//! Turns datagrams that lie one behind the other into runs that leave as one segmented message (UDP GSO): same
//! destination, same length, only the last may be shorter.

use std::net::SocketAddr;

/// One datagram in a transmit area.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// Where to.
    pub destination: SocketAddr,
    /// First byte in the area.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
}

/// Datagrams that leave as one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// Where to.
    pub destination: SocketAddr,
    /// First byte in the area.
    pub offset: usize,
    /// Bytes of all datagrams.
    pub length: usize,
    /// Bytes of each datagram but perhaps the last.
    pub segment: u16,
    /// How many.
    pub datagrams: u16,
}

/// Datagrams in one message: the bound of older kernels (`UDP_MAX_SEGMENTS`).
pub const SEGMENTS_MAX: u16 = 64;

/// Bytes in one message: the largest UDP payload over IPv4 is 65,507.
pub const RUN_BYTES_MAX: usize = 65_000;

/// Longest datagram that is put into a run: a segment must fit the path's MTU, a lone datagram may be fragmented.
pub const SEGMENT_BYTES_MAX: u16 = 1400;

/// Groups `datagrams`, in order. Without `segmentation` each is a run of its own.
pub fn runs(datagrams: impl Iterator<Item = Outgoing>, segmentation: bool) -> impl Iterator<Item = Run> {
    let mut datagrams = datagrams.peekable();
    std::iter::from_fn(move || {
        let first = datagrams.next()?;
        let mut run = Run {
            destination: first.destination,
            offset: first.offset,
            length: first.length,
            segment: u16::try_from(first.length).unwrap_or(u16::MAX),
            datagrams: 1,
        };
        if !segmentation || first.length == 0 {
            return Some(run);
        }
        let mut open = true;
        while let Some(next) = datagrams.next_if(|next| open && extends(&run, next)) {
            open = next.length == usize::from(run.segment);
            run.length += next.length;
            run.datagrams += 1;
        }
        Some(run)
    })
}

fn extends(run: &Run, next: &Outgoing) -> bool {
    next.offset == run.offset + run.length
        && next.length > 0
        && next.length <= usize::from(run.segment)
        && run.segment <= SEGMENT_BYTES_MAX
        && run.datagrams < SEGMENTS_MAX
        && run.length + next.length <= RUN_BYTES_MAX
        && next.destination == run.destination
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(destination port, length)` of datagrams without gaps, against `(port, segment, datagrams)` of runs.
    fn check(datagrams: &[(u16, usize)], segmentation: bool, expect: &[(u16, u16, u16)]) {
        let mut offset = 0;
        let outgoing: Vec<_> = datagrams
            .iter()
            .map(|(port, length)| {
                let out = Outgoing { destination: ([127, 0, 0, 1], *port).into(), offset, length: *length };
                offset += length;
                out
            })
            .collect();
        let list: Vec<_> = runs(outgoing.into_iter(), segmentation).collect();
        let got: Vec<_> =
            list.iter().map(|run| (run.destination.port(), run.segment, run.datagrams)).collect();
        assert_eq!(got, expect);
        assert_eq!(list.iter().map(|run| run.length).sum::<usize>(), offset, "no byte is lost");
    }

    #[test]
    fn equal_lengths_and_one_shorter_last_are_one_run() {
        check(&[(1, 1200), (1, 1200), (1, 1199), (1, 1199)], true, &[(1, 1200, 3), (1, 1199, 1)]);
    }

    #[test]
    fn a_longer_one_or_another_destination_begins_a_run() {
        check(&[(1, 100), (1, 101), (2, 101), (2, 101)], true, &[(1, 100, 1), (1, 101, 1), (2, 101, 2)]);
    }

    #[test]
    fn without_segmentation_each_is_alone() {
        check(&[(1, 100), (1, 100)], false, &[(1, 100, 1), (1, 100, 1)]);
    }

    #[test]
    fn runs_are_bounded_in_number_and_bytes() {
        check(&[(1, 50); 130], true, &[(1, 50, 64), (1, 50, 64), (1, 50, 2)]);
        check(&[(1, 1300); 51], true, &[(1, 1300, 50), (1, 1300, 1)]);
    }

    #[test]
    fn a_gap_in_the_area_ends_a_run() {
        let destination = ([127, 0, 0, 1], 1).into();
        let outgoing = [
            Outgoing { destination, offset: 0, length: 10 },
            Outgoing { destination, offset: 16, length: 10 },
        ];
        assert_eq!(runs(outgoing.into_iter(), true).count(), 2);
    }
}
