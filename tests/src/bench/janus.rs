//! Shell: starts a cluster and Janus.
//!
//! Forwarding side by side: the same client, room, SRTP profile and pacing against one worker of mediad and one event
//! loop of Janus, in turn. What counts is the CPU time (user and system) of the media server's process for each packet that
//! arrived, while nobody joins or leaves.
//!
//! A turn in which packets were lost (the machine did not give the client or the server enough time) measures repairs, and
//! is repeated.

use std::time::Duration;

use super::{BenchError, Finding, median, micros};
use crate::cluster::{Cluster, Options};
use crate::load::{Janus, JanusServer, Pacing, Plan, Profile, Report, Server, Target, run};

/// Mediad's share of Janus' CPU time in bursts, and evenly paced.
const BURST_SHARE: f64 = 6.0;
const EVEN_SHARE: f64 = 4.0;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct JanusOptions {
    /// Subscribers of the one publisher.
    pub subscribers: u32,
    /// Measured phase of each turn.
    pub duration: Duration,
    /// Turns of each side and pacing; medians count.
    pub turns: u32,
    /// SRTP profile of both sides.
    pub profile: Profile,
    /// Lone packets of sound instead of video.
    pub audio: bool,
}

impl Default for JanusOptions {
    fn default() -> Self {
        Self {
            subscribers: 100,
            duration: Duration::from_secs(15),
            turns: 3,
            profile: Profile::Gcm,
            audio: false,
        }
    }
}

/// Runs both sides in turn.
///
/// # Errors
/// [`BenchError`].
pub async fn janus(options: &JanusOptions, mut say: impl FnMut(&str)) -> Result<Vec<Finding>, BenchError> {
    let cluster = Cluster::start(Options::default()).await?;
    let server = JanusServer::start().await?;
    let mut findings = Vec::new();
    for (pacing, share) in [(Pacing::Burst, BURST_SHARE), (Pacing::Even, EVEN_SHARE)] {
        let (mut ours, mut theirs, mut masters) = (Vec::new(), Vec::new(), Vec::new());
        let (mut exact, mut repeated) = (true, 0);
        while (ours.len() as u32) < options.turns {
            let name = format!("bench-{pacing:?}-{}", ours.len() as u32 + repeated);
            let base = plan(options, pacing, &name);
            let own = Plan {
                targets: vec![
                    target("mediad", cluster.nodes[0].pid()),
                    target("masterd", cluster.masterd.pid()),
                ],
                ..base.clone()
            };
            let own = run(&cluster.server()?, &own).await?;
            say(&format!("plenum {name}\n{own}"));
            let other = Plan { targets: vec![target("janus", server.pid())], local_ip: server.ip(), ..base };
            let other = run(&Server::Janus(Janus::new(server.url())?), &other).await?;
            say(&format!("janus {name}\n{other}"));
            if !(own.exact() && other.exact()) && repeated < options.turns {
                say("packets were lost: once more");
                repeated += 1;
                continue;
            }
            exact &= own.exact() && other.exact();
            ours.push(cost(&own, 0));
            masters.push(cost(&own, 1));
            theirs.push(cost(&other, 0));
        }
        let ratios = ours.iter().zip(&theirs).map(|(own, other)| format!("{:.1}", other / own.max(1e-9)));
        let ratios = ratios.collect::<Vec<_>>().join(", ");
        let (ours, theirs) = (median(ours), median(theirs));
        findings.push(Finding::plain(
            format!("{pacing:?}: mediad, CPU a delivered packet"),
            format!("{ours:.2} us"),
        ));
        findings.push(Finding::plain(
            format!("{pacing:?}: masterd meanwhile"),
            format!("{:.3} us", median(masters)),
        ));
        findings.push(Finding::plain(
            format!("{pacing:?}: Janus, CPU a delivered packet"),
            format!("{theirs:.2} us"),
        ));
        findings.push(Finding::at_least(
            format!("{pacing:?}: Janus / mediad"),
            theirs / ours.max(1e-9),
            share,
            "x",
        ));
        findings.push(Finding::plain(format!("{pacing:?}: turn by turn ({repeated} repeated)"), ratios));
        findings.push(Finding::at_least(
            format!("{pacing:?}: exact delivery of all turns, both sides"),
            f64::from(u8::from(exact)),
            1.0,
            "",
        ));
    }
    Ok(findings)
}

fn plan(options: &JanusOptions, pacing: Pacing, name: &str) -> Plan {
    Plan {
        name: name.to_owned(),
        subscribers: options.subscribers,
        audio: options.audio,
        video: !options.audio,
        pacing,
        duration: options.duration,
        profile: options.profile,
        settle: Duration::from_secs(3),
        ..Plan::default()
    }
}

fn target(name: &str, pid: u32) -> Target {
    Target { name: name.to_owned(), pid }
}

fn cost(report: &Report, target: usize) -> f64 {
    report
        .targets
        .get(target)
        .map_or(0.0, |target| micros(target.used.cpu) / report.steady_delivered.max(1) as f64)
}
