//! Pure: no clock, no I/O, no async.
//!
//! How busy the recorder's host is, from the kernel's counters.

use common::wire::node::Load;

/// Time of all cores since the host's start, in clock ticks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CpuTicks {
    /// In use, steal included.
    pub busy: u64,
    /// In use or not.
    pub total: u64,
}

/// Reads the first line of `/proc/stat`.
#[must_use]
pub fn parse_cpu(stat: &str) -> Option<CpuTicks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest times are part of user.
    let [user, nice, system, idle, iowait, irq, softirq, steal] = *fields.first_chunk::<8>()?;
    let busy = user + nice + system + irq + softirq + steal;
    Some(CpuTicks { busy, total: busy + idle + iowait })
}

/// Reads the resident memory from `/proc/self/status`.
#[must_use]
pub fn parse_resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The load between two samples.
#[must_use]
pub fn between(before: CpuTicks, after: CpuTicks, memory_bytes: u64) -> Load {
    let total = after.total.saturating_sub(before.total).max(1);
    let busy = after.busy.saturating_sub(before.busy).min(total);
    let cpu_permille = u16::try_from(busy * 1000 / total).unwrap_or(1000);
    Load { cpu_permille, memory_bytes, ..Load::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_become_a_load() {
        let before = parse_cpu("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(before, CpuTicks { busy: 150, total: 1000 });
        let after = parse_cpu("cpu  130 0 60 850 60 0 0 0 0 0\n").unwrap();
        assert_eq!(between(before, after, 7).cpu_permille, 400);
        assert_eq!(between(after, before, 7).cpu_permille, 0);
        assert_eq!(parse_resident_bytes("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
        for rubbish in ["", "cpu", "cpu  1 2 3", "VmRSS: x kB"] {
            assert_eq!((parse_cpu(rubbish), parse_resident_bytes(rubbish)), (None, None));
        }
    }
}
