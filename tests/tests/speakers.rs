//! More participants than audio slots: who speaks is heard.

use std::time::Duration;

use serde_json::{Value, json};
use tests::browser::{Kind, available};
use tests::call::{Browsers, Caller, Stats};
use tests::cluster::{Cluster, Options};
use tests::wait::until;

/// Speech is noticed within half a second; the rest is a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The stream that the viewer's only audio slot carries, by its events.
async fn heard(viewer: &Caller) -> Option<String> {
    let seen = viewer.seen("events").await.expect("events");
    let events = seen["events"].as_array().cloned().unwrap_or_default();
    let mut slots =
        events.iter().filter(|event| event["event"] == "slot" && event["data"]["kind"] == "audio");
    slots.next_back().and_then(|event| event["data"]["streamId"].as_str().map(str::to_owned))
}

/// Packets and bytes of the viewer's sound. (A headless browser plays nothing, and so measures no energy.)
fn sound(stats: &Stats) -> (u64, u64) {
    let sum = |field: &str| stats.audios().filter_map(|flow| flow[field].as_u64()).sum();
    (sum("packets"), sum("bytes"))
}

/// Whether what came since `before` is a tone: Opus codes silence in a few bytes.
fn is_tone(stats: &Stats, before: (u64, u64)) -> bool {
    let (packets, bytes) = sound(stats);
    let packets = packets - before.0;
    packets >= 50 && (bytes - before.1) / packets > 30
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_who_speaks_takes_the_audio_slot() {
    if !available(&[Kind::Chromium]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("talk").await.expect("session");
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");
    let viewer = browsers.caller(Kind::Chromium, "viewer", &cluster).await.expect("page");
    let token = cluster.token("talk", "SUBSCRIBER").await.expect("token");
    viewer.play("down", &token, json!({ "slots": 1, "video": false })).await.expect("play");
    viewer.events("events", &token).await.expect("events");

    // Muted, a browser sends silence.
    let mut speakers = Vec::new();
    let mut first = None;
    for name in ["first", "second"] {
        let speaker = browsers.caller(Kind::Chromium, name, &cluster).await.expect("page");
        let token = cluster.token("talk", "PUBLISHER").await.expect("token");
        let published: Value = speaker
            .publish(name, &token, json!({ "source": "picture", "audio": "tone", "video": false }))
            .await
            .expect("publish");
        assert!(published["location"].is_string());
        speaker.mute(name, true).await.expect("mute");
        speakers.push((speaker, name));
        // Who came first has the slot, before anybody else could be heard.
        let filled = || async { heard(&viewer).await.ok_or("no stream") };
        let holder = until("a stream to fill the slot", PATIENCE, filled).await.expect("slot");
        first.get_or_insert(holder);
    }
    let first = first.expect("two have published");

    let mut last = first.clone();
    for at in [1, 0, 1] {
        let (speaker, name) = &speakers[at];
        speaker.mute(name, false).await.expect("unmute");
        let other = || async { heard(&viewer).await.filter(|stream| *stream != last).ok_or("the same") };
        let now = until("the speaker to take the slot", PATIENCE, other).await.expect("slot");
        assert_eq!(now == first, at == 0, "who speaks is heard");
        let what = format!("the tone of '{name}'");
        let before = sound(&viewer.stats("down").await.expect("stats"));
        viewer.reaches("down", &what, |stats| is_tone(stats, before)).await.expect("sound");
        speaker.mute(name, true).await.expect("mute");
        last = now;
    }
    let seen = viewer.seen("events").await.expect("events");
    let told = |event: &Value| event["event"] == "speakers" && event["data"]["streams"][0].is_string();
    assert!(seen["events"].as_array().into_iter().flatten().filter(|event| told(event)).count() >= 3);
}
