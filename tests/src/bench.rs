//! Shell: starts daemons, browsers and load.
//!
//! Measurements that `docs/performance.md` reports, one module each. `plenum-bench` is their command; each prints what it
//! found and whether it keeps the stated bound.

mod call;
mod churn;
mod janus;
mod joins;
mod kills;

use std::fmt;
use std::time::Duration;

pub use call::call;
pub use churn::churn;
pub use janus::{JanusOptions, janus};
pub use joins::joins;
pub use kills::kills;

use crate::browser::BrowserError;
use crate::cluster::{ClusterError, DaemonError};
use crate::http::HttpError;
use crate::load::{JanusStartError, LoadError, SignalError};
use crate::wait::Late;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A browser.
    #[error(transparent)]
    Browser(#[from] BrowserError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Janus.
    #[error(transparent)]
    Janus(#[from] JanusStartError),
    /// A condition.
    #[error(transparent)]
    Late(#[from] Late),
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Signalling.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// A process is gone.
    #[error("{0} is gone")]
    Gone(String),
}

/// One measured number against its bound.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What.
    pub what: String,
    /// The number with its unit.
    pub value: String,
    /// The bound; empty where none is stated.
    pub bound: String,
    /// Whether it is kept.
    pub kept: bool,
}

impl Finding {
    /// A number without a bound.
    #[must_use]
    pub fn plain(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into(), bound: String::new(), kept: true }
    }

    /// A number that shall be at most `bound`.
    #[must_use]
    pub fn at_most(what: impl Into<String>, value: f64, bound: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            value: format!("{value:.2} {unit}"),
            bound: format!("<= {bound} {unit}"),
            kept: value <= bound,
        }
    }

    /// A number that shall be at least `bound`.
    #[must_use]
    pub fn at_least(what: impl Into<String>, value: f64, bound: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            value: format!("{value:.2} {unit}"),
            bound: format!(">= {bound} {unit}"),
            kept: value >= bound,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (self.bound.is_empty(), self.kept) {
            (true, _) => "",
            (false, true) => "ok",
            (false, false) => "MISSED",
        };
        write!(f, "{:<58} {:>16}  {:<14} {mark}", self.what, self.value, self.bound)
    }
}

/// Middle value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
