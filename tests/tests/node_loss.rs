//! Two media nodes with sessions on both; one dies by `kill -9`: its calls end with a reason and can
//! be held again on the other node, calls on the other node never notice.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::browser::{Kind, available};
use tests::call::Browsers;
use tests::cluster::{Cluster, NO_GRACE, Options, event_until};
use tests::load::{Plan, run};
use tests::wait;

const SOON: Duration = Duration::from_secs(15);
/// A node counts as lost after 2 s of silence, but never in the first 10 s of masterd's life. `tests/bench/kills` measures
/// the former alone.
const NOTICED_WITHIN: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_ends_its_calls_and_they_move_to_the_other() {
    if !available(&[Kind::Chromium]) {
        return;
    }
    let options = Options { nodes: 2, masterd: NO_GRACE.to_owned(), ..Options::default() };
    let cluster = Cluster::start(options).await.expect("cluster");
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");
    let mut calls = Vec::new();
    for session in ["left", "right"] {
        cluster.session(session).await.expect("session");
        let up = browsers.caller(Kind::Chromium, &format!("{session}-up"), &cluster).await.expect("page");
        let down = browsers.caller(Kind::Chromium, &format!("{session}-down"), &cluster).await.expect("page");
        let token = cluster.token(session, "PUBLISHER").await.expect("token");
        up.publish("up", &token, json!({ "source": "picture" })).await.expect("publish");
        let token = cluster.token(session, "SUBSCRIBER").await.expect("token");
        down.play("down", &token, json!({})).await.expect("play");
        calls.push((session, up, down));
    }
    for (_, _, down) in &calls {
        down.plays("down", 1, 15).await.expect("frames");
    }
    let hosts = [cluster.host_of("left").await.expect("host"), cluster.host_of("right").await.expect("host")];
    assert_ne!(hosts[0], hosts[1], "the sessions are spread over the nodes");

    let mut events = cluster.events("left", None).await.expect("events");
    let lost = hosts[0].expect("a host");
    let killed_at = cluster.nodes[lost].kill();
    let seen =
        event_until(&mut events, "the end of the session", SOON, |event| event.event == "sessionDestroyed")
            .await
            .expect("end events");
    let noticed = killed_at.elapsed();
    assert!(noticed < NOTICED_WITHIN + Duration::from_millis(500), "noticed after {noticed:?}");
    let ended: Vec<&str> = seen
        .iter()
        .filter(|event| event.data.contains("nodeCrashed"))
        .map(|event| event.event.as_str())
        .collect();
    for wanted in ["unpublished", "unsubscribed", "left", "sessionDestroyed"] {
        assert!(ended.contains(&wanted), "{wanted} with nodeCrashed is among {ended:?}");
    }

    // The other call goes on.
    let (_, _, right) = &calls[1];
    let stats = right.plays("down", 1, 15).await.expect("frames on the other node");
    assert_eq!(stats.states(), ["connecting", "connected"]);

    // The session can be used again at once, on the other node.
    let (_, up, down) = &calls[0];
    for (page, name) in [(up, "up"), (down, "down")] {
        page.page
            .eval(
                "const entry = calls.connections[args]; entry.pc.close(); delete calls.connections[args];",
                json!(name),
            )
            .await
            .expect("close");
    }
    cluster.session("left").await.expect("the session again");
    let token = cluster.token("left", "PUBLISHER").await.expect("token");
    up.publish("up", &token, json!({ "source": "picture" })).await.expect("publish again");
    let token = cluster.token("left", "SUBSCRIBER").await.expect("token");
    down.play("down2", &token, json!({})).await.expect("play again");
    down.plays("down2", 1, 15).await.expect("frames again");
    assert_eq!(cluster.host_of("left").await.expect("host"), hosts[1]);

    // The node comes back and takes part again.
    cluster.nodes[lost].start().await.expect("node again");
    cluster.nodes_running(2).await.expect("two nodes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_end_drains_first() {
    let cluster = Cluster::start(Options { nodes: 2, ..Options::default() }).await.expect("cluster");
    let server = cluster.server().expect("server");
    let plan = Plan {
        name: "drain".to_owned(),
        subscribers: 2,
        duration: Duration::from_secs(4),
        settle: Duration::ZERO,
        tail: Duration::ZERO,
        ..Plan::default()
    };
    let first = plan.clone();
    let load = tokio::spawn(async move { run(&server, &first).await });
    let placed = || async {
        let session =
            cluster.get("/openvidu/api/sessions/drain-0").await.map_err(|error| error.to_string())?.json();
        let full = session["connections"]["numberOfElements"] == 3;
        cluster
            .host_of("drain-0")
            .await
            .map_err(|error| error.to_string())?
            .filter(|_| full)
            .ok_or_else(|| session.to_string())
    };
    let host = wait::until("the session is placed", SOON, placed).await.expect("placed");
    cluster.nodes[host].signal("TERM").expect("signal");

    // A new session goes to the other node while this one finishes what it has.
    let other = Plan { name: "fresh".to_owned(), subscribers: 1, duration: Duration::from_secs(1), ..plan };
    let server = cluster.server().expect("server");
    let fresh = run(&server, &other);
    let placed = async {
        let look = || async {
            cluster
                .host_of("fresh-0")
                .await
                .map_err(|error| error.to_string())?
                .ok_or_else(|| "not placed".to_owned())
        };
        wait::until("the new session is placed", SOON, look).await
    };
    let (fresh, new_host) = tokio::join!(fresh, placed);
    assert_ne!(new_host.expect("placed"), host, "a node that drains takes no session");
    let fresh = fresh.expect("run");
    assert!(fresh.exact(), "{fresh}");
    let report = load.await.expect("task").expect("run");
    assert!(report.exact(), "calls on the draining node are untouched: {report}");
    let status = cluster.nodes[host].end().await.expect("the node ends with its last session");
    assert!(status.success(), "{status}");
    cluster.nodes_running(1).await.expect("one node");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stalls_for_half_a_second_keeps_its_calls() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("stall").await.expect("session");
    let token = cluster.token("stall", "PUBLISHER").await.expect("token");
    let bearer = format!("Bearer {token}");
    let mut own =
        cluster.client().events("/events", &[("authorization", bearer.as_str())]).await.expect("own events");
    event_until(&mut own, "the opening", SOON, |event| event.event == "open").await.expect("opening");
    cluster.nodes[0].signal("STOP").expect("stop");
    let stopped = Instant::now();
    wait::until_sync("half a second", SOON, || {
        if stopped.elapsed() > Duration::from_millis(500) { Ok(()) } else { Err("not yet") }
    })
    .await
    .expect("time");
    cluster.nodes[0].signal("CONT").expect("go on");
    cluster.nodes_running(1).await.expect("the node is still there");
    let session = cluster.get("/openvidu/api/sessions/stall").await.expect("session").json();
    assert_eq!(session["connections"]["numberOfElements"], 1, "{session}");
}
