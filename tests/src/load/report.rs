//! Pure: no clock, no I/O, no async.
//!
//! What a run found, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::cpu::{Target, Usage};
use super::packet::Kind;
use super::participant::Outcome;
use super::verify::{Histogram, SentFlow, Tally, Verifier};

/// Causes of failures that are listed.
const CAUSES_MAX: usize = 5;
/// Missing packets that are listed.
const EXAMPLES_MAX: usize = 5;

/// What the servers used in the measured phase.
#[derive(Clone, Debug, Default)]
pub struct TargetReport {
    /// As given.
    pub name: String,
    /// In the measured phase.
    pub used: Usage,
    /// Resident memory at its end.
    pub rss_bytes: u64,
    /// CPU time of one join (including the media that flowed meanwhile).
    pub cpu_per_join: Duration,
    /// Growth of resident memory during the joins, for each participant.
    pub rss_per_participant_bytes: u64,
}

/// The measured phase.
#[derive(Clone, Debug, Default)]
pub(super) struct Steady {
    pub(super) took: Duration,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) targets: Vec<TargetReport>,
    /// CPU time of this process.
    pub(super) tool: Duration,
}

pub(super) fn measured(target: &Target, before: &Usage, after: &Usage) -> TargetReport {
    TargetReport {
        name: target.name.clone(),
        used: after.since(before),
        rss_bytes: after.rss_bytes,
        ..TargetReport::default()
    }
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Participants that were to join.
    pub participants: u32,
    /// Those that did.
    pub joined: u32,
    /// Visitors that came, received and went.
    pub visits: u32,
    /// From the first join to the last one.
    pub join_took: Duration,
    /// Time of each join, to a connected transport.
    pub join_latency: Histogram,
    /// From a receiver's connected transport to the first packet of each flow.
    pub first_packet: Histogram,
    /// SRTP profiles in use, with the number of participants.
    pub profiles: BTreeMap<String, u32>,
    /// Length of the measured phase.
    pub steady: Duration,
    /// Packets that publishers sent in it.
    pub steady_sent: u64,
    /// Packets that receivers got in it.
    pub steady_delivered: u64,
    /// Whole run: delivery, packet by packet.
    pub tally: Tally,
    /// Some of the missing packets: publisher, kind, counters.
    pub missing_examples: Vec<String>,
    /// From publisher to receiver, first arrivals.
    pub latency: Histogram,
    /// Packets that receivers asked for again, counted at each request.
    pub repeats_requested: u64,
    /// Of these, not for the first time: each may bring a packet twice.
    pub repeats_requested_again: u64,
    /// Packets that receivers gave up.
    pub given_up: u64,
    /// Packets lost on purpose.
    pub lost_on_purpose: u64,
    /// Key frames that the server asked publishers for.
    pub keyframe_requests: u64,
    /// Datagrams that the tool's own sockets refused: above 0 the tool was the limit.
    pub send_drops: u64,
    /// Datagrams that the kernel dropped because the tool did not read them in time.
    pub receive_drops: u64,
    /// CPU time of this process in the measured phase: near a whole core for each of its threads, it is the limit.
    pub tool_cpu: Duration,
    /// Server processes.
    pub targets: Vec<TargetReport>,
    /// Participants that failed.
    pub failed: u32,
    /// First causes.
    pub causes: Vec<String>,
}

pub(super) fn sum_up(
    participants: u32,
    join_took: Duration,
    steady: Option<Steady>,
    outcomes: &[Outcome],
    sent: &[Vec<SentFlow>],
    (send_drops, receive_drops): (u64, u64),
) -> Report {
    let steady = steady.unwrap_or_default();
    let mut report = Report {
        participants,
        join_took,
        steady: steady.took,
        steady_sent: steady.sent,
        steady_delivered: steady.delivered,
        targets: steady.targets,
        tool_cpu: steady.tool,
        send_drops,
        receive_drops,
        ..Report::default()
    };
    for outcome in outcomes {
        report.add(outcome, &sent[outcome.room]);
    }
    report
}

impl Report {
    fn add(&mut self, outcome: &Outcome, sent: &[SentFlow]) {
        if let Some(took) = outcome.joined_in {
            self.joined += 1;
            self.join_latency.note(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            *self.profiles.entry(outcome.profile.clone()).or_default() += 1;
        }
        if let Some(error) = &outcome.error {
            self.failed += 1;
            if self.causes.len() < CAUSES_MAX {
                self.causes.push(error.clone());
            }
        }
        if outcome.receives {
            self.tally.add(&outcome.verifier.tally(sent));
            self.latency.add(&outcome.verifier.latency);
            for arrival in outcome.verifier.first_arrivals_ns() {
                self.first_packet.note(arrival.saturating_sub(outcome.connected_ns));
            }
            self.note_missing(&outcome.verifier, sent);
        }
        self.repeats_requested += outcome.repairs.requested;
        self.repeats_requested_again += outcome.repairs.again;
        self.given_up += outcome.repairs.given_up;
        self.lost_on_purpose += outcome.lost_on_purpose;
        self.keyframe_requests += outcome.keyframe_requests;
    }

    fn note_missing(&mut self, verifier: &Verifier, sent: &[SentFlow]) {
        for flow in sent.iter().filter(|flow| flow.kind == Kind::Video || self.lost_on_purpose == 0) {
            let missing = verifier
                .flow(flow.publisher, flow.kind)
                .map(|got| got.missing_list(flow.end, EXAMPLES_MAX))
                .unwrap_or_default();
            if !missing.is_empty() && self.missing_examples.len() < EXAMPLES_MAX {
                self.missing_examples.push(format!(
                    "publisher {} {:?} {missing:?} of {}",
                    flow.publisher, flow.kind, flow.end
                ));
            }
        }
    }

    /// Fills in what the joins cost.
    pub(super) fn joins(&mut self, before: &[Usage], after: &[Usage]) {
        let joined = self.joined.max(1);
        for (target, (before, after)) in self.targets.iter_mut().zip(before.iter().zip(after)) {
            target.cpu_per_join = after.since(before).cpu / joined;
            target.rss_per_participant_bytes =
                after.rss_bytes.saturating_sub(before.rss_bytes) / u64::from(joined);
        }
    }

    /// Everyone joined and every packet came whole, and once unless it was asked for again: a packet that is only late
    /// may meet its own repair. Sound is not repaired: it may be missing where packets were lost on purpose or by this
    /// tool.
    #[must_use]
    pub fn exact(&self) -> bool {
        let tally = &self.tally;
        let sound = tally.missing_audio <= self.receive_drops || self.lost_on_purpose > 0;
        let whole =
            tally.missing == 0 && tally.corrupt == 0 && tally.silent_flows == 0 && tally.delivered > 0;
        sound
            && whole
            && tally.duplicates <= self.repeats_requested
            && self.failed == 0
            && self.joined == self.participants
    }

    /// CPU time of all measured processes for each delivered packet.
    #[must_use]
    pub fn cpu_per_packet(&self) -> Duration {
        let total: Duration = self.targets.iter().map(|target| target.used.cpu).sum();
        per_packet(total, self.steady_delivered)
    }

    /// Joins a second.
    #[must_use]
    pub fn joins_per_s(&self) -> f64 {
        f64::from(self.joined) / self.join_took.as_secs_f64().max(1e-9)
    }

    /// Everything, for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let quantiles = |histogram: &Histogram| {
            json!({
                "p50": histogram.quantile_ns(500) / 1_000, "p90": histogram.quantile_ns(900) / 1_000, "p99": histogram.quantile_ns(990) / 1_000,
                "p999": histogram.quantile_ns(999) / 1_000, "max": histogram.max_ns() / 1_000,
            })
        };
        let targets: Vec<Value> = self.targets.iter().map(|target| self.target_json(target)).collect();
        json!({
            "participants": self.participants, "joined": self.joined, "failed": self.failed, "causes": self.causes,
            "joins_per_s": self.joins_per_s(), "join_us": quantiles(&self.join_latency), "srtp_profiles": self.profiles,
            "steady_s": self.steady.as_secs_f64(), "steady_sent": self.steady_sent, "steady_delivered": self.steady_delivered,
            "delivered": self.tally.delivered, "missing": self.tally.missing, "missing_audio": self.tally.missing_audio, "duplicates": self.tally.duplicates,
            "reordered": self.tally.reordered, "corrupt": self.tally.corrupt, "silent_flows": self.tally.silent_flows,
            "repeats_requested": self.repeats_requested, "repeats_requested_again": self.repeats_requested_again, "given_up": self.given_up, "lost_on_purpose": self.lost_on_purpose,
            "keyframe_requests": self.keyframe_requests, "send_drops": self.send_drops, "receive_drops": self.receive_drops, "exact": self.exact(),
            "tool_cpu_ns_per_packet": nanos(per_packet(self.tool_cpu, self.steady_delivered)),
            "first_packet_us": quantiles(&self.first_packet), "latency_us": quantiles(&self.latency), "targets": targets, "cpu_ns_per_packet": nanos(self.cpu_per_packet()),
        })
    }

    fn target_json(&self, target: &TargetReport) -> Value {
        let threads: Vec<Value> = target
            .used
            .threads
            .iter()
            .filter(|(_, cpu)| !cpu.is_zero())
            .map(|((name, id), cpu)| json!({ "name": name, "id": id, "cpu_ns": nanos(*cpu), "cpu_ns_per_packet": nanos(per_packet(*cpu, self.steady_delivered)) }))
            .collect();
        json!({
            "name": target.name, "cpu_ns": nanos(target.used.cpu), "user_ms": target.used.user.as_millis() as u64,
            "system_ms": target.used.system.as_millis() as u64, "cpu_ns_per_packet": nanos(per_packet(target.used.cpu, self.steady_delivered)),
            "cpu_us_per_join": target.cpu_per_join.as_micros() as u64, "rss_bytes": target.rss_bytes,
            "rss_per_participant_bytes": target.rss_per_participant_bytes, "threads": threads,
        })
    }
}

fn per_packet(cpu: Duration, packets: u64) -> Duration {
    Duration::from_nanos(nanos(cpu) / packets.max(1))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Display for Report {
    #[expect(clippy::too_many_lines, reason = "one line of output after the other")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profiles: Vec<String> =
            self.profiles.iter().map(|(name, count)| format!("{name} x {count}")).collect();
        writeln!(
            f,
            "joined     {} of {} participants, {:.0} joins/s, SRTP {}",
            self.joined,
            self.participants,
            self.joins_per_s(),
            profiles.join(", ")
        )?;
        writeln!(f, "join time  {}", times(&self.join_latency))?;
        writeln!(
            f,
            "measured   {:.1} s, {} packets sent, {} delivered",
            self.steady.as_secs_f64(),
            self.steady_sent,
            self.steady_delivered
        )?;
        let tally = &self.tally;
        writeln!(
            f,
            "delivery   {} packets, {} missing (and {} of sound), {} duplicates, {} out of order, {} changed, {} silent flows: {}",
            tally.delivered,
            tally.missing,
            tally.missing_audio,
            tally.duplicates,
            tally.reordered,
            tally.corrupt,
            tally.silent_flows,
            if self.exact() { "exact" } else { "NOT EXACT" }
        )?;
        if self.lost_on_purpose + self.repeats_requested > 0 {
            writeln!(
                f,
                "repair     {} lost on purpose, {} asked for again ({} more than once), {} given up",
                self.lost_on_purpose, self.repeats_requested, self.repeats_requested_again, self.given_up
            )?;
        }
        writeln!(f, "first      {}", times(&self.first_packet))?;
        writeln!(f, "latency    {}", times(&self.latency))?;
        for target in &self.targets {
            self.write_target(f, target)?;
        }
        let (tool, seconds) = (self.tool_cpu, self.steady.as_secs_f64().max(1e-9));
        let packet = nanos(per_packet(tool, self.steady_delivered)) as f64 / 1e3;
        writeln!(
            f,
            "this tool  {packet:.2} us CPU a packet ({:.1} % of a core)",
            tool.as_secs_f64() / seconds * 100.0
        )?;
        if self.send_drops > 0 {
            writeln!(
                f,
                "warning    this tool's own sockets refused {} datagrams: it was the limit",
                self.send_drops
            )?;
        }
        if self.receive_drops > 0 {
            writeln!(
                f,
                "warning    the kernel dropped {} datagrams that this tool did not read in time",
                self.receive_drops
            )?;
        }
        for example in &self.missing_examples {
            writeln!(f, "missing    {example}")?;
        }
        for cause in &self.causes {
            writeln!(f, "failure    {cause}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_target(&self, f: &mut fmt::Formatter<'_>, target: &TargetReport) -> fmt::Result {
        let seconds = self.steady.as_secs_f64().max(1e-9);
        writeln!(
            f,
            "{:<10} {:.2} us CPU a packet ({:.1} % of a core; user {} ms, system {} ms), {:.2} ms CPU a join, {} MiB resident, {} KiB a participant",
            target.name,
            nanos(per_packet(target.used.cpu, self.steady_delivered)) as f64 / 1e3,
            target.used.cpu.as_secs_f64() / seconds * 100.0,
            target.used.user.as_millis(),
            target.used.system.as_millis(),
            target.cpu_per_join.as_secs_f64() * 1e3,
            target.rss_bytes >> 20,
            target.rss_per_participant_bytes >> 10,
        )?;
        for ((name, id), cpu) in
            target.used.threads.iter().filter(|(_, cpu)| cpu.as_secs_f64() / seconds > 0.001)
        {
            writeln!(
                f,
                "           thread {name} ({id}): {:.2} us a packet",
                nanos(per_packet(*cpu, self.steady_delivered)) as f64 / 1e3
            )?;
        }
        Ok(())
    }
}

fn times(histogram: &Histogram) -> String {
    let ms = |permille| histogram.quantile_ns(permille) as f64 / 1e6;
    format!(
        "p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
        ms(500),
        ms(900),
        ms(990),
        ms(999),
        histogram.max_ns() as f64 / 1e6
    )
}
