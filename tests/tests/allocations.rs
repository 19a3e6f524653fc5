//! The media thread of a running mediad allocates nothing for a packet: counted by its own allocator, read from its metrics.

use std::time::Duration;

use tests::cluster::{Cluster, Daemon, Options};
use tests::load::{Plan, run};
use tests::wait;

const SUBSCRIBERS: u32 = 10;
const DURATION: Duration = Duration::from_secs(13);
/// What is counted lies within the measured phase, and begins when the ring has been made to fit the publisher's bit rate, which
/// takes two looks a second apart.
const COUNTED: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_millis(2_300);

/// Counters of the media thread.
#[derive(Clone, Copy, Debug)]
struct Counters {
    packet_allocations: f64,
    allocations: f64,
    packets_out: f64,
    resent: f64,
    repaired: f64,
    commands: f64,
}

impl Counters {
    async fn read(node: &Daemon) -> Self {
        Self {
            packet_allocations: node.metric("mediad_worker_packet_allocations_total").await,
            allocations: node.metric("mediad_worker_allocations_total").await,
            packets_out: node.metric("mediad_router_packets_out_total").await,
            resent: node.metric("mediad_router_resent_total").await,
            repaired: node.metric("mediad_router_repaired_total").await,
            commands: node.metric("mediad_worker_commands_total").await,
        }
    }
}

/// Waits until all have joined and everything has grown; then counts.
async fn count(node: &Daemon) -> (Counters, Counters) {
    let all = f64::from(SUBSCRIBERS + 1);
    let joined = || async {
        let connected = node.metric("mediad_endpoints_connected").await;
        if connected >= all { Ok(()) } else { Err(format!("{connected} of {all}")) }
    };
    wait::until("everybody joined", Duration::from_secs(30), joined).await.expect("joins");
    tokio::time::sleep(WARM_UP).await;
    let before = Counters::read(node).await;
    tokio::time::sleep(COUNTED).await;
    (before, Counters::read(node).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_with_losses_a_join_and_a_leave_cost_no_allocation_for_a_packet() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    let plan = Plan {
        name: "allocations".to_owned(),
        subscribers: SUBSCRIBERS,
        visitors: 1,
        loss_permille: 10,
        duration: DURATION,
        settle: Duration::ZERO,
        tail: Duration::from_millis(200),
        ..Plan::default()
    };
    let server = cluster.server().expect("server");
    let (report, (before, after)) = tokio::join!(run(&server, &plan), count(&cluster.nodes[0]));
    let report = report.expect("run");
    assert_eq!(report.visits, 1, "one came and went: {report}");
    let packets = after.packets_out - before.packets_out;
    let expected = 125.0 * f64::from(SUBSCRIBERS) * COUNTED.as_secs_f64();
    assert!(packets > expected * 0.9, "{packets} of {expected} packets: {before:?} {after:?}");
    assert!(after.resent > before.resent && after.repaired > before.repaired, "{before:?} {after:?}");
    // Open, candidates, the handshake's datagrams and keys; close.
    assert!(after.commands >= before.commands + 5.0, "the visit was counted: {before:?} {after:?}");
    assert!(after.allocations > before.allocations, "the allocator counts: {before:?} {after:?}");
    let allocated = after.packet_allocations - before.packet_allocations;
    assert!(allocated.abs() < 0.5, "{allocated} allocations for {packets} packets: {before:?} {after:?}");
}
