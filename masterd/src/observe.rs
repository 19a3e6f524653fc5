//! Shell: a task that asks the core once a second.
//!
//! What operators and monitoring see: the overview of the consoles, and the core's numbers as metrics.

use std::sync::Arc;
use std::time::Duration;

use common::wire::node::Role;
use common::wire::operator::{NODE_ROWS_MAX, NodeRow, Overview, SESSION_ROWS_MAX, SessionRow};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::cluster::op::{Actor, NodeView, Query, Reply, SessionView};
use crate::driver::call::CoreHandle;
use crate::http::json;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Name {
    name: &'static str,
}

/// The core's numbers as metrics.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    core: Family<Name, Gauge>,
}

impl Gauges {
    /// Adds them to what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("core", "Numbers of the cluster core, by name", self.core.clone());
    }

    fn set(&self, numbers: &[(&'static str, u64)]) {
        for (name, number) in numbers {
            let _before =
                self.core.get_or_create(&Name { name }).set(i64::try_from(*number).unwrap_or(i64::MAX));
        }
    }
}

/// Asks for ever.
pub async fn run(core: CoreHandle, clock: Clock, overview: watch::Sender<Arc<Overview>>, gauges: Gauges) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(Reply::Stats(numbers)) = core.query(Actor::App, Query::Stats).await {
            gauges.set(&numbers);
        }
        // Nobody looks: the whole cluster need not be listed.
        if overview.receiver_count() == 0 {
            continue;
        }
        let nodes = core.query(Actor::App, Query::Nodes).await;
        let sessions = core.query(Actor::App, Query::Sessions).await;
        if let (Ok(Reply::Nodes(nodes)), Ok(Reply::Sessions(sessions))) = (nodes, sessions) {
            let newest = Arc::new(overview_of(clock, &nodes, &sessions));
            overview.send_modify(|shown| *shown = newest);
        }
    }
}

fn overview_of(clock: Clock, nodes: &[NodeView], sessions: &[SessionView]) -> Overview {
    let now = clock.now();
    let active =
        |session: &SessionView| session.connections.iter().filter(|it| it.active_at.is_some()).count();
    let streams =
        |session: &SessionView| session.connections.iter().filter(|it| it.publisher.is_some()).count();
    let row = |session: &SessionView| SessionRow {
        session: session.key,
        name: session.id.clone(),
        node: session
            .media_node
            .as_ref()
            .and_then(|id| nodes.iter().find(|it| it.id == *id))
            .map(|it| it.key),
        connections: u32::try_from(active(session)).unwrap_or(u32::MAX),
        streams: u32::try_from(streams(session)).unwrap_or(u32::MAX),
        created_at_ms: session.created_at,
        ext: Vec::new(),
    };
    Overview {
        at_ms: now.unix,
        epoch: common::id::Epoch::default(),
        uptime_ms: u64::try_from(now.mono.as_millis()).unwrap_or(u64::MAX),
        nodes: nodes.iter().take(NODE_ROWS_MAX).map(node_row).collect(),
        sessions: sessions.iter().take(SESSION_ROWS_MAX).map(row).collect(),
        sessions_total: sessions.len() as u64,
        connections_total: sessions.iter().map(active).sum::<usize>() as u64,
        streams_total: sessions.iter().map(streams).sum::<usize>() as u64,
        ext: Vec::new(),
    }
}

fn node_row(node: &NodeView) -> NodeRow {
    NodeRow {
        node: node.key,
        name: node.id.clone(),
        role: if node.recorder { Role::Recorder } else { Role::Media },
        state: json::status(node.status).to_owned(),
        address: node.ip.clone(),
        load: node.report.clone(),
        load_age_ms: node.report_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        ext: Vec::new(),
    }
}
