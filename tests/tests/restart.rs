//! masterd dies by `kill -9` and comes back: what REST shows is what it was, events go on without a gap, calls never
//! notice.

use std::time::Duration;

use serde_json::{Value, json};
use tests::browser::{Kind, available};
use tests::call::Browsers;
use tests::cluster::{Cluster, Options, event_until};
use tests::load::{Plan, run};
use tests::wait;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn sessions_connections_and_events_survive() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    for name in ["one", "two"] {
        cluster.session(name).await.expect("session");
    }
    let token = cluster.token("one", "PUBLISHER").await.expect("token");
    let mut events = cluster.events("one", Some("0")).await.expect("events");
    let signal = json!({ "session": "one", "type": "n", "data": "before", "to": [] });
    // A signal needs somebody in the session.
    let bearer = format!("Bearer {token}");
    let own =
        cluster.client().events("/events", &[("authorization", bearer.as_str())]).await.expect("own events");
    assert_eq!(cluster.api("POST", "/openvidu/api/signal", &signal).await.expect("signal").status, 200);
    let seen =
        event_until(&mut events, "the signal", SOON, |event| event.event == "signal").await.expect("events");
    let last = seen.iter().rev().find(|event| !event.id.is_empty()).expect("a position").id.clone();
    let path = "/openvidu/api/sessions?pendingConnections=true";
    let before = cluster.get(path).await.expect("sessions").json();

    cluster.masterd.kill();
    drop((own, events));
    cluster.masterd.start().await.expect("masterd again");
    let after = cluster.get(path).await.expect("sessions").json();
    assert_eq!(after, before, "what REST shows is what it was");
    cluster.nodes_running(1).await.expect("the node is back");

    // The bearer resumes its stream, then the next event continues the count.
    let _own =
        cluster.client().events("/events", &[("authorization", bearer.as_str())]).await.expect("own events");
    let mut events = cluster.events("one", Some(&last)).await.expect("events");
    let signal = json!({ "session": "one", "type": "n", "data": "after", "to": [] });
    assert_eq!(cluster.api("POST", "/openvidu/api/signal", &signal).await.expect("signal").status, 200);
    let seen = event_until(&mut events, "the next signal", SOON, |event| event.event == "signal")
        .await
        .expect("events");
    assert!(seen.iter().all(|event| event.event != "gap"), "{seen:?}");
    let position =
        |id: &str| id.rsplit('-').next().and_then(|seq| seq.parse::<u64>().ok()).expect("a position");
    let all: Vec<u64> = seen
        .iter()
        .filter(|event| event.event != "open" && !event.id.is_empty())
        .map(|event| position(&event.id))
        .collect();
    assert_eq!(all.first(), Some(&(position(&last) + 1)), "{seen:?}");
    assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_flow_on_without_masterd() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    let plan = Plan {
        name: "flow".to_owned(),
        subscribers: 3,
        duration: Duration::from_secs(6),
        settle: Duration::ZERO,
        tail: Duration::from_millis(500),
        ..Plan::default()
    };
    let server = cluster.server().expect("server");
    let load = tokio::spawn(async move { run(&server, &plan).await });
    let subscribed = || async {
        let session =
            cluster.get("/openvidu/api/sessions/flow-0").await.map_err(|error| error.to_string())?.json();
        if session["connections"]["numberOfElements"] == 4 { Ok(()) } else { Err(session.to_string()) }
    };
    wait::until("everyone in", SOON, subscribed).await.expect("joined");
    cluster.masterd.kill();
    cluster.masterd.start().await.expect("masterd again");
    let report = load.await.expect("task").expect("run");
    assert!(report.exact(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_and_resume_their_events() {
    if !available(&[Kind::Chromium]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("pages").await.expect("session");
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");
    let ada = browsers.caller(Kind::Chromium, "ada", &cluster).await.expect("page");
    let ben = browsers.caller(Kind::Chromium, "ben", &cluster).await.expect("page");
    let ada_token = cluster.token("pages", "PUBLISHER").await.expect("token");
    let ben_token = cluster.token("pages", "PUBLISHER").await.expect("token");
    ada.events("events", &ada_token).await.expect("events");
    ada.publish("up", &ada_token, json!({ "source": "picture" })).await.expect("publish");
    ben.play("down", &ben_token, json!({})).await.expect("play");
    ben.plays("down", 1, 15).await.expect("frames");

    cluster.masterd.kill();
    ben.plays("down", 1, 15).await.expect("frames without masterd");
    cluster.masterd.start().await.expect("masterd again");
    let stats = ben.plays("down", 1, 15).await.expect("frames with masterd again");
    assert_eq!(stats.states(), ["connecting", "connected"], "the connection never noticed");

    let resumed = |value: &Value| value["connects"].as_u64() >= Some(2);
    let body =
        "const { events, connects, errors } = calls.connections[args]; return { events, connects, errors };";
    ada.page.wait("a resumed event stream", SOON, body, json!("events"), resumed).await.expect("resumed");
    // Ben's next step reaches Ada as the next position.
    ben.publish("up", &ben_token, json!({ "source": "picture" })).await.expect("publish after the restart");
    let published = |value: &Value| {
        value["events"].as_array().into_iter().flatten().filter(|event| event["event"] == "published").count()
            >= 2
    };
    let seen =
        ada.page.wait("ben's stream", SOON, body, json!("events"), published).await.expect("published");
    let seqs: Vec<u64> = seen["events"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| event["data"]["seq"].as_u64())
        .collect();
    assert!(seqs.windows(2).all(|pair| pair[1] > pair[0]), "none twice, none out of order: {seqs:?}");
    assert!(seen["events"].as_array().into_iter().flatten().all(|event| event["event"] != "gap"), "{seen}");
}
