//! Shell: owns the process's log output and the health server.
//!
//! Logs go to standard error as text or JSON. Messages are constant lower-case text; values are fields with the
//! names in [`field`]. Errors are logged with their whole chain of causes:
//!
//! ```
//! use common::telemetry::{self, LogConfig};
//!
//! telemetry::init(&LogConfig::default()).expect("the default level is valid");
//! if let Err(error) = std::fs::read("no such file") {
//!     tracing::warn!(error = %telemetry::chain(&error), "cannot read the file");
//! }
//! common::warn_limited!(10, peer = "192.0.2.1", "datagram refused"); // at most one line in 10 s
//! ```
//!
//! Liveness, readiness and metrics: [`health`]. Named tasks: [`task`].

pub mod health;
pub mod task;

use std::error::Error;
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Names of log fields.
pub mod field {
    /// A connection's key.
    pub const CONNECTION: &str = "connection";
    /// Milliseconds that something took.
    pub const ELAPSED_MS: &str = "elapsed_ms";
    /// An error with its chain of causes.
    pub const ERROR: &str = "error";
    /// A node's key.
    pub const NODE: &str = "node";
    /// An operation's id.
    pub const OP: &str = "op";
    /// Address of the other end.
    pub const PEER: &str = "peer";
    /// A session's key.
    pub const SESSION: &str = "session";
}

/// Section `[log]` of every daemon.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,common::net=debug`.
    #[serde(deserialize_with = "level")]
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// What `log.level` may be.
const LEVELS: &str =
    "`off`, `error`, `warn`, `info`, `debug`, `trace` or a list such as `info,common::net=debug`";

/// Refuses what the filter would take for the name of a module: a misspelt level.
fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_plain_level = |part: &str| part.trim().parse::<LevelFilter>().is_ok();
    let is_known = text.split(',').all(|part| part.contains(['=', '[']) || is_plain_level(part));
    if is_known && EnvFilter::try_new(&text).is_ok() {
        Ok(text)
    } else {
        Err(D::Error::invalid_value(Unexpected::Str(&text), &LEVELS))
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// `[log] level` is not a level, or a list of them.
    #[error(
        "`log.level` = {level:?}: expected `error`, `warn`, `info`, `debug`, `trace` or a list such as `info,common=debug`"
    )]
    Level {
        /// As configured.
        level: String,
        /// What the parser says.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Starts logging to standard error. A second call changes nothing: tests share one process.
///
/// # Errors
/// [`InitError::Level`] when the level cannot be read.
pub fn init(config: &LogConfig) -> Result<(), InitError> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|source| InitError::Level { level: config.level.clone(), source })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging is set up already");
    }
    Ok(())
}

/// An error and all its causes, as `outermost: cause: root`.
pub fn chain(error: &dyn Error) -> Chain<'_> {
    Chain(error)
}

/// Displays an error with its causes. Made by [`chain`].
#[derive(Debug)]
pub struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut said = self.0.to_string();
        let mut next = self.0.source();
        while let Some(cause) = next {
            // Some foreign errors repeat their source in their own text.
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            next = cause.source();
        }
        Ok(())
    }
}

/// Lets one of many through in each interval and counts the others. For log lines that a peer can cause.
#[derive(Debug)]
pub struct Limiter {
    interval: Duration,
    /// Milliseconds of process time before which nothing passes.
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl Limiter {
    /// One in each `interval`.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self { interval, next_ms: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Whether this one passes, and how many did not since the last one that did.
    pub fn pass(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        self.pass_at(START.get_or_init(Instant::now).elapsed())
    }

    fn pass_at(&self, now: Duration) -> Option<u64> {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let interval_ms = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let later_ms = now_ms.saturating_add(interval_ms);
        let passes = now_ms >= next_ms
            && self.next_ms.compare_exchange(next_ms, later_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if passes {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// `tracing::warn!` at most once in the given number of seconds at this place, with the number of those left out.
#[macro_export]
macro_rules! warn_limited {
    ($seconds:literal, $($arg:tt)+) => {{
        static LIMITER: $crate::telemetry::Limiter =
            $crate::telemetry::Limiter::new(::std::time::Duration::from_secs($seconds));
        if let Some(suppressed) = LIMITER.pass() {
            ::tracing::warn!(suppressed, $($arg)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("middle")]
    struct Middle(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(Middle(std::io::Error::other("root")));
        assert_eq!(chain(&error).to_string(), "outer: middle: root");
    }

    #[test]
    fn a_limiter_lets_one_through_per_interval_and_counts_the_rest() {
        let limiter = Limiter::new(Duration::from_secs(10));
        assert_eq!(limiter.pass_at(Duration::ZERO), Some(0));
        assert_eq!(limiter.pass_at(Duration::from_secs(1)), None);
        assert_eq!(limiter.pass_at(Duration::from_secs(9)), None);
        assert_eq!(limiter.pass_at(Duration::from_secs(10)), Some(2));
    }

    #[test]
    fn a_misspelt_level_is_refused_where_it_is_written() {
        use crate::config::{CommonArgs, load_from};

        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Raw {
            log: LogConfig,
        }

        let load = |level: &str| {
            let args = CommonArgs { set: vec![format!("log.level={level}")], ..CommonArgs::default() };
            load_from::<Raw>("testd", &args, []).map(|loaded| loaded.value.log.level)
        };
        for good in ["info", "off", "info,common::net=debug", "warn,masterd[session]=trace"] {
            assert_eq!(load(good).unwrap(), good);
        }
        for bad in ["loud", "info,common=loud", "info,common"] {
            let error = load(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("flag --set log.level: `log.level` = ") && error.contains("`warn`"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        let config = LogConfig { level: "info,common=loud".to_owned(), format: LogFormat::Text };
        let error = init(&config).unwrap_err().to_string();
        assert!(error.starts_with("`log.level` = \"info,common=loud\": expected"), "{error}");
    }
}
