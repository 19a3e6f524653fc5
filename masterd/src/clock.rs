//! Shell: the only place in masterd that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cluster::Now;

/// Both clocks of the process. Clones share the start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Both clocks now. A wall clock before 1970 counts as 1970.
    #[must_use]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.started.elapsed(), unix: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The instant of a monotonic time of [`Self::now`].
    #[must_use]
    pub fn instant(&self, mono: Duration) -> Instant {
        self.started + mono
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_starts_at_zero_and_maps_back() {
        let clock = Clock::start();
        let now = clock.now();
        assert!(now.mono < Duration::from_secs(60));
        assert!(now.unix > 1_700_000_000_000);
        assert!(clock.instant(now.mono) <= Instant::now());
    }
}
