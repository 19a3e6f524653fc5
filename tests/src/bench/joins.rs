//! Shell: starts a cluster.
//!
//! What a join costs, and what a participant takes of memory.

use std::time::Duration;

use super::{BenchError, Finding};
use crate::cluster::{Cluster, Options};
use crate::load::{Plan, Target, run};

const MASTERD_MS: f64 = 5.0;
const MEDIAD_MS: f64 = 2.0;
const PARTICIPANT_MB: f64 = 1.0;

/// Many small rooms join at once; little media flows, so that CPU time is the joins'.
///
/// # Errors
/// [`BenchError`].
pub async fn joins(rooms: u32, mut say: impl FnMut(&str)) -> Result<Vec<Finding>, BenchError> {
    let cluster = Cluster::start(Options::default()).await?;
    let targets = vec![
        Target { name: "masterd".to_owned(), pid: cluster.masterd.pid() },
        Target { name: "mediad".to_owned(), pid: cluster.nodes[0].pid() },
    ];
    let plan = Plan {
        name: "joins".to_owned(),
        rooms,
        publishers: 1,
        subscribers: 1,
        video_bps: 10_000,
        frames_per_s: 1,
        duration: Duration::from_secs(5),
        join_concurrency: 8,
        targets,
        ..Plan::default()
    };
    let report = run(&cluster.server()?, &plan).await?;
    say(&report.to_string());
    let per_join =
        |at: usize| report.targets.get(at).map_or(0.0, |target| target.cpu_per_join.as_secs_f64() * 1e3);
    let memory = report.targets.get(1).map_or(0.0, |target| target.rss_per_participant_bytes as f64 / 1e6);
    Ok(vec![
        Finding::at_most("CPU of masterd a join (token and WHIP or WHEP)", per_join(0), MASTERD_MS, "ms"),
        Finding::at_most("CPU of mediad a join (SDP, ICE, DTLS)", per_join(1), MEDIAD_MS, "ms"),
        Finding::plain("joins", format!("{:.0} /s", report.joins_per_s())),
        Finding::at_most("resident memory of mediad a participant, joining", memory, PARTICIPANT_MB, "MB"),
        Finding::at_least("exact delivery", f64::from(u8::from(report.exact())), 1.0, ""),
    ])
}
