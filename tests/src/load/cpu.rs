//! Shell: reads files below `/proc`.
//!
//! CPU time and memory of server processes, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Ticks per second of the times in `/proc/*/stat` (`USER_HZ`, 100 on every Linux architecture that we run on).
const TICKS_PER_S: u64 = 100;

/// A process to measure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// How it is called in the report.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, pid) = text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=PID"))?;
        let pid = pid.parse().map_err(|_invalid| format!("'{pid}' is no process id"))?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

/// What a process has used so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// User and system time of all its threads, from the scheduler's own count (nanoseconds) where it has one.
    pub cpu: Duration,
    /// User time, in whole ticks of 10 ms.
    pub user: Duration,
    /// System time, in whole ticks of 10 ms.
    pub system: Duration,
    /// Time of each living thread: name and id.
    pub threads: BTreeMap<(String, u32), Duration>,
    /// Resident memory.
    pub rss_bytes: u64,
}

impl Usage {
    /// Reads a process. `None` when it does not exist (any more).
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        let root = Path::new("/proc").join(pid.to_string());
        let (user, system) = times(&fs::read_to_string(root.join("stat")).ok()?)?;
        let mut usage = Self { user, system, cpu: user + system, ..Self::default() };
        for thread in fs::read_dir(root.join("task")).ok()?.flatten() {
            let path = thread.path();
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned();
            let id = thread.file_name().to_string_lossy().parse().unwrap_or(0);
            let Some(cpu) = scheduled(&path).or_else(|| ticks(&path)) else { continue };
            usage.threads.insert((name, id), cpu);
        }
        usage.rss_bytes = resident(&fs::read_to_string(root.join("status")).ok()?);
        Some(usage)
    }

    /// What was used since `before`. Threads that ended meanwhile count with the precision of ticks.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut threads = BTreeMap::new();
        let mut cpu = Duration::ZERO;
        for (thread, now) in &self.threads {
            let used = now.saturating_sub(before.threads.get(thread).copied().unwrap_or_default());
            cpu += used;
            threads.insert(thread.clone(), used);
        }
        let by_ticks = self.cpu.saturating_sub(before.cpu);
        let ended = before.threads.keys().any(|thread| !self.threads.contains_key(thread));
        Self {
            cpu: if ended { cpu.max(by_ticks) } else { cpu },
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            threads,
            rss_bytes: self.rss_bytes.saturating_sub(before.rss_bytes),
        }
    }
}

/// First number of `schedstat`: nanoseconds on the CPU.
fn scheduled(thread: &Path) -> Option<Duration> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn ticks(thread: &Path) -> Option<Duration> {
    let (user, system) = times(&fs::read_to_string(thread.join("stat")).ok()?)?;
    Some(user + system)
}

/// `utime` and `stime` of a `stat` line; the name before them may hold anything, also blanks and brackets.
fn times(stat: &str) -> Option<(Duration, Duration)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || Some(Duration::from_millis(fields.next()?.parse::<u64>().ok()? * 1_000 / TICKS_PER_S));
    Some((next()?, next()?))
}

fn resident(status: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 130 0 0";
        assert_eq!(times(stat), Some((Duration::from_millis(2_500), Duration::from_millis(1_300))));
    }

    #[test]
    fn our_own_process_can_be_read() {
        let before = Usage::read(std::process::id()).expect("this process");
        assert!(before.rss_bytes > 100_000 && !before.threads.is_empty());
        let mut sum = 0_u64;
        for value in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(value));
        }
        let used = Usage::read(std::process::id()).expect("this process").since(&before);
        assert!(used.cpu > Duration::from_millis(1), "{used:?}");
    }

    #[test]
    fn a_target_is_a_name_and_a_process_id() {
        assert_eq!("mediad=42".parse(), Ok(Target { name: "mediad".into(), pid: 42 }));
        assert!("mediad".parse::<Target>().is_err());
    }
}
