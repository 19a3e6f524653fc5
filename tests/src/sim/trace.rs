//! Shell: One line per event of a run, the newest ones kept; printed with the seed when the run panics.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Lines that are kept.
const LINES_MAX: usize = 600;

#[derive(Debug)]
pub(super) struct Trace {
    seed: u64,
    lines: VecDeque<String>,
    digest: u64,
    counted: u64,
}

impl Trace {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, lines: VecDeque::new(), digest: 0, counted: 0 }
    }

    /// `column` says whose event it is: `core`, `n2`, `c7`, `fault`.
    pub(super) fn line(&mut self, at_us: u64, column: &str, what: &str) {
        let mut hasher = DefaultHasher::new();
        (self.digest, at_us, column, what).hash(&mut hasher);
        self.digest = hasher.finish();
        self.counted += 1;
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>10}.{:03} {column:<6} {what}", at_us / 1000, at_us % 1000));
    }

    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }
}

impl Drop for Trace {
    #[expect(clippy::print_stderr, reason = "the trace is for the one who reads a failing test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
            eprintln!(
                "{text}\nsimulation of SEED={} failed; last {} of {} lines above",
                self.seed,
                self.lines.len(),
                self.counted
            );
        }
    }
}
