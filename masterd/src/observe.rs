//! Shell: a task that asks the core once a second.
//!
//! What operators and monitoring see: the board that consoles' windows are made from, and the core's numbers as metrics.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::{MissedTickBehavior, interval};

use crate::cluster::op::{Actor, Query, Reply};
use crate::operator::OperatorHub;

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

/// Asks for ever. The board is kept up to date while nobody looks as well, so that a console that comes sees the past.
pub async fn run(hub: OperatorHub, gauges: Gauges) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut events_seen = 0;
    loop {
        ticks.tick().await;
        if let Ok(Reply::Stats(numbers)) = hub.core().query(Actor::App, Query::Stats).await {
            gauges.set(&numbers);
        }
        let feed = hub.core().query(Actor::App, Query::Feed { after: events_seen }).await;
        let listing = hub.core().query(Actor::App, Query::Listing).await;
        if let (Ok(Reply::Feed(events, newest)), Ok(Reply::Listing(listing))) = (feed, listing) {
            events_seen = newest;
            hub.change(|board| {
                for event in events {
                    board.add_event(event);
                }
                board.update(*listing);
            });
        }
    }
}
