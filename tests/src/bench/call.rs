//! Shell: starts a cluster and browsers.
//!
//! A long call of two Chromium pages and a Firefox page through a node, and the same pages peer to peer at the same
//! time: frames received of frames encoded for each pair, and freezes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BenchError, Finding};
use crate::browser::Kind;
use crate::call::{Browsers, Caller, Stats};
use crate::cluster::{Cluster, Options};

const RECEIVED_PERCENT: f64 = 99.0;

/// Holds the call for `duration`.
///
/// # Errors
/// [`BenchError`].
pub async fn call(duration: Duration, mut say: impl FnMut(&str)) -> Result<Vec<Finding>, BenchError> {
    let cluster = Cluster::start(Options::default()).await?;
    cluster.session("long").await?;
    let browsers = Browsers::start(&[Kind::Chromium, Kind::Firefox]).await?;
    let pages = join(&cluster, &browsers).await?;
    say("everyone plays everyone, through the node and peer to peer");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = Snapshot::take(&pages).await?;
    tokio::time::sleep(duration).await;
    let after = Snapshot::take(&pages).await?;
    Ok(compare(&pages, &before, &after, &mut say))
}

struct Participant {
    name: &'static str,
    caller: Caller,
}

/// Everyone publishes and plays two slots; every pair also has a connection of its own.
async fn join(cluster: &Cluster, browsers: &Browsers) -> Result<Vec<Participant>, BenchError> {
    let mut pages: Vec<Participant> = Vec::new();
    for (kind, name) in
        [(Kind::Chromium, "chromium1"), (Kind::Chromium, "chromium2"), (Kind::Firefox, "firefox")]
    {
        let caller = browsers.caller(kind, name, cluster).await?;
        // One connection for each direction and publisher: each flow's publisher is so known.
        let token = cluster.token("long", "PUBLISHER").await?;
        caller
            .publish("up", &token, json!({ "source": "picture", "width": 320, "height": 180, "fps": 15 }))
            .await?;
        pages.push(Participant { name, caller });
    }
    let session = cluster.get("/openvidu/api/sessions/long").await?.json();
    let streams: Vec<String> = session["connections"]["content"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|connection| connection["publishers"][0]["streamId"].as_str().map(str::to_owned))
        .collect();
    for (at, page) in pages.iter().enumerate() {
        for (of, stream) in streams.iter().enumerate().filter(|(of, _)| *of != at) {
            let token = cluster.token("long", "SUBSCRIBER").await?;
            page.caller.play_stream(&format!("sfu-{of}"), stream, &token, json!({})).await?;
        }
    }
    for one in 0..pages.len() {
        for two in one + 1..pages.len() {
            let offer = pages[one]
                .caller
                .page
                .eval("return calls.peerOffer(args, { stream: 'up' })", json!(format!("p2p-{two}")))
                .await?;
            let answer = pages[two]
                .caller
                .page
                .eval(
                    "return calls.peerAnswer(args[0], args[1], { stream: 'up' })",
                    json!([format!("p2p-{one}"), offer]),
                )
                .await?;
            pages[one]
                .caller
                .page
                .eval("await calls.peerAccept(args[0], args[1])", json!([format!("p2p-{two}"), answer]))
                .await?;
        }
    }
    for (at, page) in pages.iter().enumerate() {
        for of in (0..pages.len()).filter(|of| *of != at) {
            page.caller.plays(&format!("sfu-{of}"), 1, 15).await?;
            page.caller.plays(&format!("p2p-{of}"), 1, 15).await?;
        }
    }
    Ok(pages)
}

/// Counters of all pages at one time.
struct Snapshot {
    /// For each page: frames encoded for the node.
    encoded: Vec<u64>,
    /// For each receiver and publisher: through the node, peer to peer; and frames encoded peer to peer.
    pairs: Vec<Vec<Option<Pair>>>,
}

#[derive(Clone, Copy, Default)]
struct Pair {
    sfu: Received,
    p2p: Received,
    p2p_encoded: u64,
}

#[derive(Clone, Copy, Default)]
struct Received {
    frames: u64,
    freezes: u64,
    connected: bool,
}

impl Snapshot {
    async fn take(pages: &[Participant]) -> Result<Self, BenchError> {
        let mut encoded = Vec::new();
        for page in pages {
            encoded.push(sent(&page.caller.stats("up").await?));
        }
        let mut pairs = Vec::new();
        for at in 0..pages.len() {
            let mut row = vec![None; pages.len()];
            for of in (0..pages.len()).filter(|of| *of != at) {
                let sfu = received(&pages[at].caller.stats(&format!("sfu-{of}")).await?);
                let p2p_encoded = sent(&pages[of].caller.stats(&format!("p2p-{at}")).await?);
                let p2p = received(&pages[at].caller.stats(&format!("p2p-{of}")).await?);
                row[of] = Some(Pair { sfu, p2p, p2p_encoded });
            }
            pairs.push(row);
        }
        Ok(Self { encoded, pairs })
    }
}

fn sent(stats: &Stats) -> u64 {
    stats.sent_videos().filter_map(|flow| flow["frames"].as_u64()).sum()
}

fn received(stats: &Stats) -> Received {
    let number = |flow: &Value, key: &str| flow[key].as_u64().unwrap_or(0);
    // Firefox counts received frames as decoded ones only in older versions.
    let frames = |flow: &Value| flow["received"].as_u64().unwrap_or_else(|| number(flow, "frames"));
    Received {
        frames: stats.videos().map(frames).sum(),
        freezes: stats.videos().map(|flow| number(flow, "freezes")).sum(),
        connected: stats.states() == ["connecting", "connected"] || stats.states() == ["connected"],
    }
}

fn compare(
    pages: &[Participant],
    before: &Snapshot,
    after: &Snapshot,
    say: &mut impl FnMut(&str),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut freezes_sfu, mut freezes_p2p, mut steady) = (0, 0, true);
    for at in 0..pages.len() {
        for of in 0..pages.len() {
            let (Some(then), Some(now)) = (before.pairs[at][of], after.pairs[at][of]) else { continue };
            let encoded = after.encoded[of] - before.encoded[of];
            let got = now.sfu.frames - then.sfu.frames;
            let percent = |got: u64, of: u64| got as f64 * 100.0 / of.max(1) as f64;
            let p2p = percent(now.p2p.frames - then.p2p.frames, now.p2p_encoded - then.p2p_encoded);
            let frozen = (now.sfu.freezes - then.sfu.freezes, now.p2p.freezes - then.p2p.freezes);
            freezes_sfu += frozen.0;
            freezes_p2p += frozen.1;
            steady &= now.sfu.connected;
            let name = format!("{} -> {}", pages[of].name, pages[at].name);
            say(&format!(
                "{name}: {got} of {encoded} frames, peer to peer {p2p:.2} %, freezes {} and {}",
                frozen.0, frozen.1
            ));
            findings.push(Finding::at_least(
                format!("{name}: frames received of encoded"),
                percent(got, encoded),
                RECEIVED_PERCENT,
                "%",
            ));
        }
    }
    findings.push(Finding::at_most(
        "freezes through the node (bound: those peer to peer)",
        freezes_sfu as f64,
        freezes_p2p as f64,
        "",
    ));
    findings.push(Finding::at_least(
        "connections that never left `connected`",
        f64::from(u8::from(steady)),
        1.0,
        "",
    ));
    findings
}
