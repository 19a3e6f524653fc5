//! Shell: reads the clock.
//!
//! Waiting for conditions with a deadline: the only way in which tests let time pass.

use std::future::Future;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A condition did not come true in time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("waited {waited:?} for {what}; last seen: {last}")]
pub struct Late {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// Last value that was seen, as far as the condition told.
    pub last: String,
}

/// Looks again and again until `look` gives `Ok`; its `Err` says what it saw.
///
/// # Errors
/// [`Late`] after `timeout`.
pub async fn until<T, F, E>(what: &str, timeout: Duration, mut look: impl FnMut() -> F) -> Result<T, Late>
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    let started = Instant::now();
    loop {
        let last = match look().await {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if started.elapsed() >= timeout {
            return Err(Late { what: what.to_owned(), waited: started.elapsed(), last: last.to_string() });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// As [`until`], without async in the condition.
///
/// # Errors
/// [`Late`] after `timeout`.
pub async fn until_sync<T, E: std::fmt::Display>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, Late> {
    until(what, timeout, || std::future::ready(look())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_comes_true_ends_with_what_was_seen() {
        let late = until_sync::<(), _>("the moon", Duration::from_millis(30), || Err("only clouds"))
            .await
            .unwrap_err();
        assert!(late.to_string().contains("the moon") && late.last == "only clouds");
    }

    #[tokio::test]
    async fn a_condition_is_looked_at_until_it_is_true() {
        let mut looks = 0;
        let found = until_sync("three looks", Duration::from_secs(5), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(looks) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }
}
