//! Shell: keeps one studio ready, so that a recording need not wait until GStreamer is loaded.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::telemetry::task;
use tokio::process::Command;
use tokio::time::sleep;

use crate::child::Child;

/// The next spare is not started while the one before is busy with its start.
const SPARE_DELAY: Duration = Duration::from_secs(2);

/// The first time GStreamer looks at all its plugins, which takes seconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);

/// Where studios come from.
#[derive(Clone, Debug)]
pub struct Studios {
    // A lock, not a message: held for moments, never across an await.
    spare: Arc<Mutex<Option<Child>>>,
}

impl Studios {
    /// Starts the first spare.
    #[must_use]
    pub fn start() -> Self {
        let studios = Self { spare: Arc::default() };
        studios.refill(Duration::ZERO);
        drop(task::spawn("probe", Self::probe()));
        studios
    }

    /// A studio that may already be ready.
    ///
    /// # Errors
    /// What the system says when a process cannot be started.
    pub fn take(&self) -> io::Result<Child> {
        let spare = self.lock().take();
        self.refill(SPARE_DELAY);
        match spare {
            Some(spare) if spare.identity().is_some_and(crate::child::is_alive) => Ok(spare),
            Some(_) | None => Child::start(),
        }
    }

    /// Says in the log what this machine lacks. GStreamer is asked in a process of its own: the recorder never loads it.
    async fn probe() {
        let output = Command::new("/proc/self/exe")
            .arg0("recorderd")
            .args([crate::studio::SUBCOMMAND, crate::studio::PROBE])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        match tokio::time::timeout(PROBE_TIMEOUT, output).await {
            Ok(Ok(output)) => {
                for line in String::from_utf8_lossy(&output.stdout).lines() {
                    tracing::warn!(missing = line, "recordings are limited");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot ask for GStreamer's elements"),
            Err(_late) => tracing::warn!("GStreamer does not tell its elements"),
        }
    }

    fn refill(&self, delay: Duration) {
        let studios = self.clone();
        drop(task::spawn("spare-studio", async move {
            sleep(delay).await;
            if studios.lock().is_some() {
                return;
            }
            match Child::start() {
                Ok(child) => *studios.lock() = Some(child),
                Err(error) => tracing::warn!(%error, "cannot start a spare studio"),
            }
        }));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
