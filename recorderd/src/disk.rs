//! Pure: no clock, no I/O, no async.
//!
//! When the disk is too full to record.
//!
//! A running recording needs its own size once more: making it ordinary writes it a second time. So room for that is kept
//! besides the reserve.

/// Room on a disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Space {
    /// What may still be written.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// The default reserve at most, and the part of a small disk that it is at most.
const RESERVE_BYTES: u64 = 512 * 1024 * 1024;
const RESERVE_PERCENT: u64 = 5;

/// A disk that fills up is spoken of when it holds this times the least room.
const WARN_TIMES: u64 = 2;

/// How it looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Room enough.
    Enough,
    /// Say so.
    Scarce,
    /// Record no more.
    Full,
}

/// Judges the disk. `reserve_bytes` is the configured one, 0 the default: 512 MiB, or 5 % of a disk where that is less;
/// `running_bytes` is what all running recordings hold.
#[must_use]
pub fn judge(space: Space, reserve_bytes: u64, running_bytes: u64) -> Verdict {
    let least = reserve(space, reserve_bytes).saturating_add(running_bytes);
    if space.free_bytes < least {
        Verdict::Full
    } else if space.free_bytes < least.saturating_mul(WARN_TIMES) {
        Verdict::Scarce
    } else {
        Verdict::Enough
    }
}

/// The reserve that holds for a disk.
#[must_use]
pub fn reserve(space: Space, reserve_bytes: u64) -> u64 {
    if reserve_bytes > 0 {
        reserve_bytes
    } else {
        RESERVE_BYTES.min(space.total_bytes / 100 * RESERVE_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn the_reserve_is_512_mib_or_5_percent_of_a_small_disk_or_as_told() {
        let judged = |free_mib: u64, total_mib: u64, told_mib: u64, running_mib: u64| {
            let space = Space { free_bytes: free_mib * MIB, total_bytes: total_mib * MIB };
            judge(space, told_mib * MIB, running_mib * MIB)
        };
        assert_eq!(judged(511, 100_000, 0, 0), Verdict::Full);
        assert_eq!(judged(513, 100_000, 0, 0), Verdict::Scarce);
        assert_eq!(judged(1100, 100_000, 0, 0), Verdict::Enough);
        assert_eq!(judged(49, 1000, 0, 0), Verdict::Full);
        assert_eq!(judged(51, 1000, 0, 0), Verdict::Scarce);
        assert_eq!(judged(900, 100_000, 1000, 0), Verdict::Full);
        assert_eq!(judged(1500, 100_000, 0, 1000), Verdict::Full);
    }
}
