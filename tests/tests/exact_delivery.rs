//! Every packet of a publisher arrives at every subscriber, once and whole, whatever the network loses.

use std::time::Duration;

use tests::cluster::{Cluster, Options};
use tests::load::{Pacing, Plan, Profile, run};

#[tokio::test(flavor = "multi_thread")]
async fn one_to_twenty_with_losses_both_ways_delivers_every_packet() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    let plan = Plan {
        name: "exact".to_owned(),
        subscribers: 20,
        loss_permille: 10,
        duration: Duration::from_secs(6),
        settle: Duration::ZERO,
        // Slow enough for the last ones to come long after the first key frame, which is never sent unasked again.
        join_concurrency: 3,
        keyframe_interval: Duration::from_secs(3_600),
        ..Plan::default()
    };
    let report = run(&cluster.server().expect("server"), &plan).await.expect("run");
    assert!(report.lost_on_purpose > 50, "losses happened: {report}");
    assert!(report.exact(), "{report}");
    assert!(report.keyframe_requests > 0, "late ones get a key frame: {report}");
    assert!(
        report.first_packet.max_ns() < 5_000_000_000,
        "who joins does not wait for the next key frame: {report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_deliver_rooms_with_sound_in_both_pacings_and_profiles() {
    let cluster = Cluster::start(Options { workers: 2, ..Options::default() }).await.expect("cluster");
    let server = cluster.server().expect("server");
    for (pacing, profile) in [(Pacing::Burst, Profile::Gcm), (Pacing::Even, Profile::Cm)] {
        let plan = Plan {
            name: format!("rooms-{pacing:?}"),
            rooms: 3,
            publishers: 2,
            subscribers: 4,
            audio: true,
            pacing,
            profile,
            duration: Duration::from_secs(3),
            settle: Duration::ZERO,
            tail: Duration::from_millis(500),
            ..Plan::default()
        };
        let report = run(&server, &plan).await.expect("run");
        assert!(report.exact(), "{report}");
        assert_eq!(report.joined, 18, "{report}");
    }
}
