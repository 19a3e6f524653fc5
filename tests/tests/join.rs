//! Joining and leaving by REST signalling, without a browser.

use std::time::Duration;

use serde_json::json;
use tests::cluster::{Cluster, Options, event_until};
use tests::load::{Plan, run};
use tests::wait;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn joins_and_leaves_show_in_events_and_in_rest() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("join-0").await.expect("session");
    let mut events = cluster.events("join-0", None).await.expect("events");
    let plan = Plan {
        name: "join".to_owned(),
        subscribers: 2,
        duration: Duration::from_millis(500),
        settle: Duration::ZERO,
        tail: Duration::ZERO,
        ..Plan::default()
    };
    let server = cluster.server().expect("server");
    let load = tokio::spawn(async move { run(&server, &plan).await });
    let seen = event_until(&mut events, "the end of the session", SOON * 2, |event| {
        event.event == "sessionDestroyed"
    })
    .await
    .expect("events");
    let report = load.await.expect("task").expect("run");
    assert!(report.exact(), "{report}");
    let count = |name: &str| seen.iter().filter(|event| event.event == name).count();
    assert_eq!((count("joined"), count("published"), count("subscribed")), (3, 1, 2), "{seen:#?}");
    assert_eq!((count("left"), count("unpublished"), count("unsubscribed")), (3, 1, 2), "{seen:#?}");

    // Positions rise by one for the application, which sees everything.
    let positions: Vec<u64> =
        seen.iter().filter_map(|event| event.id.rsplit('-').next()?.parse().ok()).collect();
    assert!(positions.windows(2).all(|pair| pair[1] == pair[0] + 1), "{positions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_spread_over_nodes_and_the_decision_can_be_read() {
    let cluster = Cluster::start(Options { nodes: 2, ..Options::default() }).await.expect("cluster");
    let plan = Plan {
        name: "spread".to_owned(),
        rooms: 6,
        subscribers: 1,
        duration: Duration::from_secs(2),
        settle: Duration::ZERO,
        tail: Duration::ZERO,
        ..Plan::default()
    };
    let server = cluster.server().expect("server");
    let load = tokio::spawn(async move { run(&server, &plan).await });
    let spread = || async {
        let mut hosts = [0; 2];
        for room in 0..6 {
            let host = cluster.host_of(&format!("spread-{room}")).await.map_err(|error| error.to_string())?;
            hosts[host.ok_or("not placed")?] += 1;
        }
        Ok::<_, String>(hosts)
    };
    let hosts = wait::until("all sessions placed", SOON, spread).await.expect("placed");
    assert_eq!(hosts, [3, 3], "a burst of new sessions spreads");
    let placement = cluster.get("/plenum/api/sessions/spread-0/placement").await.expect("placement");
    assert_eq!(placement.status, 200);
    assert!(placement.text().contains("media_mediad"), "{}", placement.text());
    let report = load.await.expect("task").expect("run");
    assert!(report.exact(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_of_rest_that_goes_silent_is_taken_out() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("silent").await.expect("session");
    let token = cluster.token("silent", "PUBLISHER").await.expect("token");
    let bearer = format!("Bearer {token}");
    // An event stream keeps a connection in; its end starts the 10 s of grace.
    let mut own =
        cluster.client().events("/events", &[("authorization", bearer.as_str())]).await.expect("own events");
    event_until(&mut own, "the opening", SOON, |event| event.event == "open").await.expect("opening");
    let mut events = cluster.events("silent", None).await.expect("events");
    let active = cluster.get("/openvidu/api/sessions/silent").await.expect("session").json();
    assert_eq!(active["connections"]["numberOfElements"], 1, "{active}");
    drop(own);
    let seen =
        event_until(&mut events, "the leave", SOON * 3, |event| event.event == "left").await.expect("left");
    assert!(seen.last().expect("an event").data.contains("networkDisconnect"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_whom_they_are_for() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("signals").await.expect("session");
    let mut streams = Vec::new();
    for _ in 0..2 {
        let token = cluster.token("signals", "PUBLISHER").await.expect("token");
        let bearer = format!("Bearer {token}");
        let mut own = cluster
            .client()
            .events("/events", &[("authorization", bearer.as_str())])
            .await
            .expect("own events");
        let opening =
            event_until(&mut own, "the opening", SOON, |event| event.event == "open").await.expect("opening");
        let data: serde_json::Value =
            serde_json::from_str(&opening.last().expect("opening").data).expect("JSON");
        streams.push((own, bearer, data["connectionId"].as_str().expect("connection").to_owned()));
    }
    let body = json!({ "type": "chat", "data": "hello", "to": [streams[1].2] }).to_string();
    let headers = [("authorization", streams[0].1.as_str()), ("content-type", "application/json")];
    assert_eq!(cluster.client().send("POST", "/signal", &headers, body).await.expect("signal").status, 200);
    let body = json!({ "session": "signals", "type": "all", "data": "end", "to": [] });
    assert_eq!(cluster.api("POST", "/openvidu/api/signal", &body).await.expect("signal").status, 200);

    let signals = |seen: Vec<tests::http::ServerEvent>| {
        seen.into_iter().filter(|event| event.event == "signal").map(|event| event.data).collect::<Vec<_>>()
    };
    let last = |event: &tests::http::ServerEvent| event.event == "signal" && event.data.contains("\"all\"");
    let first =
        signals(event_until(&mut streams[0].0, "the last signal", SOON, last).await.expect("signals"));
    let second =
        signals(event_until(&mut streams[1].0, "the last signal", SOON, last).await.expect("signals"));
    assert_eq!(first.len(), 1, "only the one to all: {first:?}");
    assert_eq!(second.len(), 2, "{second:?}");
    assert!(second[0].contains("hello") && second[0].contains(&streams[0].2), "{second:?}");
}
