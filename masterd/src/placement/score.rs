//! Pure: no clock, no I/O, no async.
//!
//! One number from a node's load report: 0 is idle, 1 is as much as a node should carry.

use common::wire::node::Load;

/// Share of all cores that counts as full; above it latency grows.
const CPU_PERMILLE_FULL: f64 = 800.0;

/// Share of one core of the busiest worker that counts as full: one hot session saturates one core while the mean
/// looks idle.
const WORKER_PERMILLE_FULL: f64 = 850.0;

/// Loop lag that counts as full: a frame interval at 100 fps.
const LOOP_LAG_US_FULL: f64 = 10_000.0;

/// A node's stress and what it comes from. The worst resource counts: a node is full when one of them is.
#[must_use]
pub fn stress(load: &Load) -> (f64, &'static str) {
    let parts = [
        (f64::from(load.cpu_permille) / CPU_PERMILLE_FULL, "cpu"),
        (f64::from(load.worker_permille_max) / WORKER_PERMILLE_FULL, "busiest worker"),
        (f64::from(load.loop_lag_us_p99) / LOOP_LAG_US_FULL, "loop lag"),
        (if load.drops > 0 { 1.0 } else { 0.0 }, "dropped datagrams"),
    ];
    parts.into_iter().fold((0.0, "nothing"), |worst, part| if part.0 > worst.0 { part } else { worst })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_resource_counts() {
        assert_eq!(stress(&Load::default()), (0.0, "nothing"));
        let load = Load { cpu_permille: 80, worker_permille_max: 425, ..Load::default() };
        assert_eq!(stress(&load), (0.5, "busiest worker"));
        assert_eq!(stress(&Load { drops: 1, ..load }), (1.0, "dropped datagrams"));
    }
}
