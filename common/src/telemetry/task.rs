//! Shell: starts tasks.
//!
//! Every task has a name and is missed when it ends otherwise than planned.

use std::future::Future;

use tokio::task::JoinHandle;

/// Starts a task that may end by itself. A panic in it is logged with its name.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(async move {
        let _watch = Watch { name };
        future.await
    })
}

/// Starts a task that runs as long as the process: its end is logged as an error. Cancelling it is not an end.
pub fn spawn_endless<F>(name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    spawn(name, async move {
        future.await;
        tracing::error!(task = name, "task ended unexpectedly");
    })
}

/// Logs a panic that passes by.
struct Watch {
    name: &'static str,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked");
        }
    }
}

/// Aborts its task when dropped: a task that lives as long as the value that owns it.
#[derive(Debug)]
pub struct Owned<T>(pub JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits until the process is told to end (SIGTERM or SIGINT) and says by which signal.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub async fn stop_signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    // Both arms are cancel safe: a signal that is not taken stays pending in its stream.
    tokio::select! {
        _ = term.recv() => Ok("SIGTERM"),
        _ = int.recv() => Ok("SIGINT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_owned_task_ends_with_its_owner() {
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let owned = Owned(spawn("test", async move {
            std::future::pending::<()>().await;
            drop(alive);
        }));
        drop(owned);
        assert!(gone.await.is_err());
    }

    #[tokio::test]
    async fn a_panic_reaches_the_handle() {
        let task = spawn("test", async { panic!("as planned") });
        assert!(task.await.unwrap_err().is_panic());
    }
}
