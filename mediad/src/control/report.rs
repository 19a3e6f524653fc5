//! Shell: reads `/proc` and the workers' snapshots; owns the task that passes events on.
//!
//! What the node tells of itself: facts, load, metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::SessionKey;
use common::wire::node::{Load, NodeFact};
use tokio::sync::mpsc;

use super::Control;
use crate::load::{CpuTicks, LoadMeter, Sample, parse_cpu, parse_resident_bytes};
use crate::router;
use crate::worker::engine::Event;

/// Where facts for the master go; never waits.
pub type FactSink = Arc<dyn Fn(Option<SessionKey>, NodeFact) + Send + Sync>;

/// Bytes of a memory page on the platforms that we run on (x86-64, arm64 with 4 KiB pages).
const PAGE_BYTES: u64 = 4096;

/// Passes the workers' events on until the last worker is gone.
pub async fn pass_events_on(control: Arc<Control>, mut events: mpsc::Receiver<Event>, facts: FactSink) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Transport { endpoint, state } => {
                let known = control.table().transport(endpoint, state);
                if let Some((session, generation)) = known {
                    tracing::debug!(%session, %endpoint, ?state, "transport");
                    facts(Some(session), NodeFact::Transport { endpoint, generation, state });
                }
            }
            Event::Router(event) => {
                let (session, fact) = fact_of(event);
                facts(Some(session), fact);
            }
        }
    }
}

fn fact_of(event: router::Event) -> (SessionKey, NodeFact) {
    match event {
        router::Event::Slot { session, endpoint, slot, kind, stream, why } => {
            (session, NodeFact::Slot { endpoint, slot, kind, stream, why })
        }
        router::Event::Speakers { session, loudest } => (session, NodeFact::Speakers { loudest }),
        router::Event::Track { session, stream, kind, codec, rids } => {
            (session, NodeFact::Track { stream, kind, codec, rids })
        }
    }
}

/// Measures the node once in each interval.
#[derive(Debug)]
pub struct LoadReporter {
    meter: LoadMeter,
    at: Instant,
}

impl LoadReporter {
    /// The first report counts from now.
    #[must_use]
    pub fn new(now: Instant, control: &Control) -> Self {
        let mut meter = LoadMeter::default();
        meter.measure(sample(control), Duration::from_secs(1));
        Self { meter, at: now }
    }

    /// The load since the last call.
    pub fn measure(&mut self, now: Instant, control: &Control) -> Load {
        let elapsed = now.saturating_duration_since(self.at);
        self.at = now;
        self.meter.measure(sample(control), elapsed)
    }
}

fn sample(control: &Control) -> Sample {
    let (sessions, endpoints, streams) = control.table().counts();
    Sample {
        cpu: host_cpu(),
        workers: control.workers.iter().map(|worker| worker.snapshot().counters).collect(),
        sessions,
        endpoints,
        streams,
        memory_bytes: resident_bytes(),
    }
}

/// Time of the host's cores; zero where `/proc` cannot be read.
fn host_cpu() -> CpuTicks {
    std::fs::read_to_string("/proc/stat").ok().and_then(|text| parse_cpu(&text)).unwrap_or_default()
}

/// Resident memory of this process.
#[must_use]
pub fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| parse_resident_bytes(&text, PAGE_BYTES))
        .unwrap_or(0)
}
