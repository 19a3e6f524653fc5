//! Shell: starts a cluster and browsers.
//!
//! What pages see of `kill -9` of masterd and of a media node, in seconds.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{BenchError, Finding};
use crate::browser::{Kind, Page};
use crate::call::{Browsers, Caller};
use crate::cluster::{Cluster, NO_GRACE, Options};

const SOON: Duration = Duration::from_secs(20);
/// The cluster notices a dead node within this time.
const NOTICED_S: f64 = 2.0;

/// Kills the node of the call, lets the pages rejoin on the other one, then kills masterd and brings it back.
///
/// # Errors
/// [`BenchError`].
pub async fn kills(mut say: impl FnMut(&str)) -> Result<Vec<Finding>, BenchError> {
    let cluster =
        Cluster::start(Options { nodes: 2, masterd: NO_GRACE.to_owned(), ..Options::default() }).await?;
    cluster.session("kills").await?;
    let browsers = Browsers::start(&[Kind::Chromium, Kind::Firefox]).await?;
    let up = browsers.caller(Kind::Chromium, "up", &cluster).await?;
    let down = browsers.caller(Kind::Firefox, "down", &cluster).await?;
    enter(&cluster, &up, &down).await?;
    say("a call of Chromium and Firefox is on");
    let mut findings = kill_node(&cluster, &up, &down).await?;
    say("the node was killed, the call goes on on the other one");
    // After masterd: for some seconds after its start it loses no node.
    findings.extend(kill_masterd(&cluster, &up, &down).await?);
    Ok(findings)
}

async fn enter(cluster: &Cluster, up: &Caller, down: &Caller) -> Result<(), BenchError> {
    let token = cluster.token("kills", "PUBLISHER").await?;
    up.events("events", &token).await?;
    up.publish("up", &token, json!({ "source": "picture", "fps": 30 })).await?;
    let token = cluster.token("kills", "SUBSCRIBER").await?;
    down.events("events", &token).await?;
    down.play("down", &token, json!({})).await?;
    down.plays("down", 1, 15).await?;
    Ok(())
}

async fn kill_masterd(cluster: &Cluster, up: &Caller, down: &Caller) -> Result<Vec<Finding>, BenchError> {
    let connects = up.seen("events").await?["connects"].as_u64().unwrap_or(0);
    watch_frames(&down.page).await?;
    let killed = cluster.masterd.kill();
    cluster.masterd.start().await?;
    let back = killed.elapsed().as_secs_f64();
    let resumed = |value: &Value| value.as_u64() > Some(connects);
    up.page
        .wait(
            "a resumed event stream",
            SOON,
            "return calls.connections[args].connects",
            json!("events"),
            resumed,
        )
        .await?;
    let resumed = killed.elapsed().as_secs_f64();
    down.plays("down2", 1, 30).await?;
    let gap = longest_gap(&down.page).await?;
    Ok(vec![
        Finding::plain("masterd killed: ready again after", format!("{back:.2} s")),
        Finding::plain("masterd killed: event stream of the page goes on after", format!("{resumed:.2} s")),
        Finding::at_most("masterd killed: longest time without a new frame", gap, 0.5, "s"),
    ])
}

async fn kill_node(cluster: &Cluster, up: &Caller, down: &Caller) -> Result<Vec<Finding>, BenchError> {
    let host = cluster.host_of("kills").await?.ok_or_else(|| BenchError::Gone("the session".to_owned()))?;
    let wall = unix_ms(&down.page).await?;
    let killed = cluster.nodes[host].kill();
    let body = "const left = calls.connections[args].events.find((event) => event.event === 'left' && event.data.reason === 'nodeCrashed'); \
                return left ? left.at : null;";
    let left = down.page.wait("the end event", SOON, body, json!("events"), Value::is_number).await?;
    let noticed = (left.as_f64().unwrap_or(0.0) - wall) / 1e3;
    cluster.session("kills").await?;
    for (page, name) in [(up, "up"), (down, "down")] {
        page.page
            .eval("calls.connections[args].pc.close(); delete calls.connections[args]; document.querySelectorAll('[data-connection]').forEach((element) => element.remove());", json!(name))
            .await?;
    }
    let again = Instant::now();
    let token = cluster.token("kills", "PUBLISHER").await?;
    up.page
        .eval("calls.connections.events.stop = true; delete calls.connections.events;", Value::Null)
        .await?;
    up.events("events", &token).await?;
    up.publish("up2", &token, json!({ "source": "picture", "fps": 30 })).await?;
    let token = cluster.token("kills", "SUBSCRIBER").await?;
    down.play("down2", &token, json!({})).await?;
    down.plays("down2", 1, 1).await?;
    Ok(vec![
        Finding::at_most("node killed: its end event in the page after", noticed, NOTICED_S, "s"),
        Finding::plain(
            "node killed: rejoining on the other node to a decoded frame",
            format!("{:.2} s", again.elapsed().as_secs_f64()),
        ),
        Finding::plain(
            "node killed: from the kill to a decoded frame",
            format!("{:.2} s", killed.elapsed().as_secs_f64()),
        ),
    ])
}

/// Notes the longest time between two presented frames of the page's first picture.
async fn watch_frames(page: &Page) -> Result<(), BenchError> {
    let body = "const video = document.querySelector('video'); window.gap = { last: performance.now(), longest: 0 }; \
                const note = () => { const now = performance.now(); gap.longest = Math.max(gap.longest, now - gap.last); gap.last = now; \
                video.requestVideoFrameCallback(note); }; video.requestVideoFrameCallback(note);";
    Ok(page.eval(body, Value::Null).await.map(drop)?)
}

async fn longest_gap(page: &Page) -> Result<f64, BenchError> {
    Ok(page.eval("return gap.longest / 1000", Value::Null).await?.as_f64().unwrap_or(f64::INFINITY))
}

async fn unix_ms(page: &Page) -> Result<f64, BenchError> {
    Ok(page.eval("return Date.now()", Value::Null).await?.as_f64().unwrap_or(0.0))
}
