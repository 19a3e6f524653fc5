//! Shell: reads the workers' snapshots when somebody asks for metrics.
//!
//! All names begin with `mediad_`. Counters are of the process's life; per worker where a worker can be the culprit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::Control;
use super::report::resident_bytes;
use crate::worker::engine::EngineReport;
use crate::worker::run::Snapshot;

/// A registry that asks `control` at each scrape.
#[must_use]
pub fn registry(control: &Arc<Control>) -> Registry {
    let mut registry = Registry::with_prefix("mediad");
    registry.register_collector(Box::new(Metrics(Arc::clone(control))));
    registry
}

#[derive(Debug)]
struct Metrics(Arc<Control>);

/// One counter of each worker: name, help, value.
type WorkerCounter = (&'static str, &'static str, fn(&Snapshot<EngineReport>) -> u64);

const WORKER_COUNTERS: &[WorkerCounter] = &[
    ("worker_turns", "Turns of the loop", |at| at.counters.turns),
    ("worker_datagrams_in", "Datagrams received", |at| at.counters.datagrams_in),
    ("worker_messages_in", "Messages received; one may hold several datagrams", |at| at.counters.messages_in),
    ("worker_bytes_in", "Bytes received", |at| at.counters.bytes_in),
    ("worker_datagrams_out", "Datagrams sent", |at| at.counters.datagrams_out),
    ("worker_messages_out", "Messages sent; one may hold several datagrams", |at| at.counters.messages_out),
    ("worker_bytes_out", "Bytes sent", |at| at.counters.bytes_out),
    ("worker_send_calls", "Send system calls", |at| at.counters.send_calls),
    ("worker_refused_out", "Datagrams that the kernel refused to send", |at| at.counters.refused_out),
    ("worker_drops_in", "Datagrams that the kernel dropped at a full receive buffer", |at| {
        at.counters.drops_in
    }),
    ("worker_receive_errors", "Errors of the receive call", |at| at.counters.receive_errors),
    ("worker_commands", "Commands carried out", |at| at.counters.commands),
    ("worker_cpu_nanoseconds", "CPU time of the worker's thread, user and system", |at| at.counters.cpu_ns),
    ("worker_allocations", "Memory allocations of the worker's thread", |at| at.counters.allocations),
    (
        "worker_packet_allocations",
        "Of these, in the way of a packet: 0 once rings and lists have grown",
        |at| at.counters.packet_allocations,
    ),
    ("worker_unknown_datagrams", "Datagrams of no known protocol", |at| at.report.unknown_kind),
    ("worker_stun_refused", "STUN of no peer or with wrong credentials", |at| at.report.stun_refused),
    ("worker_dtls_refused", "DTLS from unproven addresses or over the rate", |at| at.report.dtls_refused),
    ("worker_media_refused", "Media from unproven addresses or without keys", |at| at.report.media_refused),
    ("worker_tx_full", "Datagrams that found a full transmit area", |at| at.report.tx_full),
    ("worker_passed_on", "Datagrams for peers of other workers at a shared port", |at| at.report.passed_on),
    ("router_packets_in", "Authentic RTP packets", |at| at.report.router.packets_in),
    ("router_packets_out", "RTP packets sent, retransmissions included", |at| at.report.router.packets_out),
    ("router_lost_in", "Packets that never came from a publisher", |at| at.report.router.lost_in),
    ("router_repaired", "Packets that came late by a publisher's repair", |at| at.report.router.repaired),
    ("router_wanted", "Packets that subscribers asked for again", |at| at.report.router.wanted),
    ("router_resent", "Packets that were sent again to subscribers", |at| at.report.router.resent),
    ("router_keyframes_asked", "Key frames asked of publishers", |at| at.report.router.keyframes_asked),
    ("router_switches", "Changes of a subscriber's encoding", |at| at.report.router.switches),
    ("router_drop_permission", "Datagrams that were not permitted", |at| at.report.router.drop_permission),
    ("router_drop_srtp", "Datagrams that SRTP refused", |at| at.report.router.drop_srtp),
    ("router_drop_staging", "Datagrams beyond the staging area", |at| at.report.router.drop_staging),
    ("router_drop_unknown", "Packets that no section claims", |at| at.report.router.drop_unknown),
    ("router_lease_exhausted", "Packets that a used-up lease kept back", |at| {
        at.report.router.lease_exhausted
    }),
    ("router_bugs", "Things that cannot happen", |at| at.report.router.bugs),
    ("worker_events_lost", "Events that the control part did not take in time", |at| at.report.events_lost),
];

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshots: Vec<_> = self.0.workers().iter().map(|worker| worker.snapshot()).collect();
        for (name, help, value) in WORKER_COUNTERS {
            let mut family = encoder.encode_descriptor(
                name,
                help,
                None,
                prometheus_client::metrics::MetricType::Counter,
            )?;
            for (index, snapshot) in snapshots.iter().enumerate() {
                let labels = [("worker", index.to_string())];
                ConstCounter::new(value(snapshot)).encode(family.encode_family(&labels)?)?;
            }
        }
        self.encode_gauges(&mut encoder, &snapshots)?;
        self.encode_taps(&mut encoder)?;
        self.encode_cold(&mut encoder)
    }
}

impl Metrics {
    fn encode_gauges(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        snapshots: &[Snapshot<EngineReport>],
    ) -> Result<(), std::fmt::Error> {
        let (sessions, endpoints, streams) = self.0.table().counts();
        let connected: u64 = snapshots.iter().map(|at| at.report.connected).sum();
        let gauges = [
            ("sessions", "Open sessions", u64::from(sessions)),
            ("endpoints", "Open endpoints", u64::from(endpoints)),
            ("endpoints_connected", "Endpoints whose media can flow", connected),
            ("streams", "Published streams", u64::from(streams)),
        ];
        for (name, help, value) in gauges {
            gauge(encoder, name, help, None, value)?;
        }
        gauge(encoder, "memory", "Resident memory", Some(&Unit::Bytes), resident_bytes())
    }

    fn encode_taps(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let taps = self.0.taps();
        gauge(encoder, "taps", "Recorders that receive a session", None, taps.taps.load(Ordering::Relaxed))?;
        let tracks = taps.tracks.load(Ordering::Relaxed);
        gauge(encoder, "tap_tracks", "Tracks that recorders receive", None, tracks)?;
        let counters = [
            ("tap_packets", "Packets sent to recorders", &taps.packets),
            ("tap_bytes", "Bytes sent to recorders", &taps.bytes),
            ("tap_lapped", "Packets that recorders were too slow for", &taps.lapped),
            ("tap_lost", "Packets that never came, as told to recorders", &taps.lost),
            ("tap_refused", "Connections of recorders that were refused", &taps.refused),
            ("tap_stuck", "Recorders that were dropped because they took nothing", &taps.stuck),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }

    fn encode_cold(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let cold = self.0.cold();
        let counters = [
            ("dtls_started", "DTLS handshakes begun", &cold.started),
            ("dtls_completed", "DTLS handshakes that ended with keys", &cold.completed),
            ("dtls_failed", "DTLS handshakes that failed", &cold.failed),
            ("dtls_dropped", "Messages that found the cold pool's queue full", &cold.dropped),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        gauge(encoder, "dtls_held", "DTLS associations", None, cold.held.load(Ordering::Relaxed))
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
}
