//! Shell: starts masterd.
//!
//! Whether masterd grows with sessions that came and went.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{BenchError, Finding};
use crate::cluster::{Cluster, Options};
use crate::load::Usage;

/// "No growth" leaves room for what an allocator keeps.
const GROWTH_MB: f64 = 4.0;
/// Events of ended sessions are kept for 30 s: until then memory grows with the rate of sessions, and no longer.
const PLATEAU_AFTER: Duration = Duration::from_secs(45);

/// Creates and closes sessions, each with two connections, after as many as it takes to reach the plateau.
///
/// # Errors
/// [`BenchError`].
pub async fn churn(sessions: u32, mut say: impl FnMut(&str)) -> Result<Vec<Finding>, BenchError> {
    let cluster = Cluster::prepare(Options { nodes: 0, ..Options::default() })?;
    cluster.masterd.start().await?;
    let pid = cluster.masterd.pid();
    let read = || Usage::read(pid).ok_or_else(|| BenchError::Gone("masterd".to_owned()));
    let started = Instant::now();
    let mut warm = 0;
    while started.elapsed() < PLATEAU_AFTER {
        cycle(&cluster, sessions / 10).await?;
        warm += sessions / 10;
    }
    say(&format!("{warm} sessions to the plateau: {:.1} MB", read()?.rss_bytes as f64 / 1e6));
    let before = read()?;
    for tenth in 1..=10 {
        cycle(&cluster, sessions / 10).await?;
        say(&format!("{} sessions: {:.1} MB", sessions / 10 * tenth, read()?.rss_bytes as f64 / 1e6));
    }
    let used = read()?.since(&before);
    let store = std::fs::read_dir(cluster.folder().join("masterd")).into_iter().flatten().flatten();
    let disk: u64 = store.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum();
    Ok(vec![
        Finding::plain(
            format!("masterd at its plateau, after {warm} sessions"),
            format!("{:.1} MB", before.rss_bytes as f64 / 1e6),
        ),
        Finding::at_most(
            format!("growth by {sessions} sessions that came and went"),
            used.rss_bytes as f64 / 1e6,
            GROWTH_MB,
            "MB",
        ),
        Finding::plain(
            "CPU a session with two connections",
            format!("{:.2} ms", used.cpu.as_secs_f64() * 1e3 / f64::from(sessions.max(1))),
        ),
        Finding::plain("files of masterd after it", format!("{:.1} MB", disk as f64 / 1e6)),
    ])
}

async fn cycle(cluster: &Cluster, sessions: u32) -> Result<(), BenchError> {
    let workers = (0..8).map(|worker| async move {
        for number in 0..sessions / 8 {
            let name = format!("churn-{worker}-{number}");
            cluster.session(&name).await?;
            for role in ["PUBLISHER", "SUBSCRIBER"] {
                cluster
                    .api(
                        "POST",
                        &format!("/openvidu/api/sessions/{name}/connection"),
                        &json!({ "role": role }),
                    )
                    .await?;
            }
            cluster.api("DELETE", &format!("/openvidu/api/sessions/{name}"), &Value::Null).await?;
        }
        Ok::<(), BenchError>(())
    });
    futures_util::future::try_join_all(workers).await.map(drop)
}
