//! Pure: no clock, no I/O, no async.
//!
//! From counters to rates: what the node tells the master about its load once a second. The shell reads `/proc` and the
//! workers' snapshots; here are the differences.

use std::time::Duration;

use common::wire::node::Load;

use crate::worker::statistics::{Histogram, LoopCounters};

/// Time of all cores since the host's start, in clock ticks (`/proc/stat`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CpuTicks {
    /// In use, by whatever; steal included, since another guest's use of the core is as little ours to have.
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

/// Reads the resident pages from `/proc/self/statm`.
#[must_use]
pub fn parse_resident_bytes(statm: &str, page_bytes: u64) -> Option<u64> {
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_bytes)
}

/// Everything that is read at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Of the host.
    pub cpu: CpuTicks,
    /// Of each worker.
    pub workers: Vec<LoopCounters>,
    /// Open sessions.
    pub sessions: u32,
    /// Open endpoints.
    pub endpoints: u32,
    /// Published streams.
    pub streams: u32,
    /// Resident memory of the process.
    pub memory_bytes: u64,
}

/// Keeps the last sample.
#[derive(Debug, Default)]
pub struct LoadMeter {
    before: Sample,
}

impl LoadMeter {
    /// The load since the last call, which was `elapsed` ago. Rates are per second.
    pub fn measure(&mut self, sample: Sample, elapsed: Duration) -> Load {
        let before = std::mem::replace(&mut self.before, sample);
        let after = &self.before;
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
        let per_second = |amount: u64| amount.saturating_mul(1_000_000) / micros;
        let mut lag = Histogram::default();
        let mut busiest = 0;
        let mut sum = LoopCounters::default();
        for (index, now) in after.workers.iter().enumerate() {
            let then = before.workers.get(index).copied().unwrap_or_default();
            lag.merge(&now.lag.since(&then.lag));
            busiest = busiest.max(now.cpu_ns.saturating_sub(then.cpu_ns) / micros);
            sum.datagrams_in += now.datagrams_in - then.datagrams_in.min(now.datagrams_in);
            sum.datagrams_out += now.datagrams_out - then.datagrams_out.min(now.datagrams_out);
            sum.bytes_in += now.bytes_in - then.bytes_in.min(now.bytes_in);
            sum.bytes_out += now.bytes_out - then.bytes_out.min(now.bytes_out);
            // The kernel's counter has 32 bits.
            sum.drops_in += now.drops_in.wrapping_sub(then.drops_in) & u64::from(u32::MAX);
        }
        Load {
            cpu_permille: cpu_permille(before.cpu, after.cpu),
            worker_permille_max: u16::try_from(busiest.min(1000)).unwrap_or(1000),
            loop_lag_us_p99: lag.quantile_us(990),
            sessions: after.sessions,
            endpoints: after.endpoints,
            streams: after.streams,
            packets_in: per_second(sum.datagrams_in),
            packets_out: per_second(sum.datagrams_out),
            ingress_bps: per_second(sum.bytes_in * 8),
            egress_bps: per_second(sum.bytes_out * 8),
            drops: per_second(sum.drops_in),
            memory_bytes: after.memory_bytes,
            ext: Vec::new(),
        }
    }
}

fn cpu_permille(before: CpuTicks, after: CpuTicks) -> u16 {
    let total = after.total.saturating_sub(before.total);
    let busy = after.busy.saturating_sub(before.busy).min(total);
    u16::try_from((busy * 1000).checked_div(total).unwrap_or(0)).unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "cpu  100 5 50 800 20 3 2 20 7 0\ncpu0 1 2 3 4\n";
        assert_eq!(parse_cpu(stat), Some(CpuTicks { busy: 180, total: 1000 }));
        assert_eq!(parse_cpu("cpu  1 2"), None);
        assert_eq!(parse_cpu("rubbish"), None);
        assert_eq!(parse_resident_bytes("900 25 10 1 0 5 0", 4096), Some(102_400));
        assert_eq!(parse_resident_bytes("", 4096), None);
    }

    #[test]
    fn rates_are_differences_per_second() {
        let mut meter = LoadMeter::default();
        let counters = |datagrams_out, cpu_ns, drops_in| LoopCounters {
            datagrams_out,
            bytes_out: datagrams_out * 1000,
            cpu_ns,
            drops_in,
            ..LoopCounters::default()
        };
        let sample =
            |busy, total, workers| Sample { cpu: CpuTicks { busy, total }, workers, ..Sample::default() };
        meter.measure(
            sample(100, 200, vec![counters(0, 0, u64::from(u32::MAX)), counters(5, 0, 0)]),
            Duration::from_secs(1),
        );
        let workers = vec![counters(3000, 400_000_000, 1), counters(5, 1_400_000_000, 0)];
        let load = meter.measure(sample(150, 400, workers), Duration::from_secs(2));
        assert_eq!(load.cpu_permille, 250);
        assert_eq!(load.worker_permille_max, 700);
        assert_eq!((load.packets_out, load.egress_bps), (1500, 12_000_000));
        assert_eq!(load.drops, 1, "the kernel's counter wrapped");
    }
}
