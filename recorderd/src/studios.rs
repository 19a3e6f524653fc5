//! Shell: keeps one studio ready, so that a recording need not wait until GStreamer is loaded.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::telemetry::task;
use tokio::time::sleep;

use crate::child::Child;

/// The next spare is not started while the one before is busy with its start.
const SPARE_DELAY: Duration = Duration::from_secs(2);

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
