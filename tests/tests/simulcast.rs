//! A publisher of three encodings: the server receives all, repairs all, and sends each viewer one whole picture.

use serde_json::json;
use tests::browser::{Kind, available};
use tests::call::Browsers;
use tests::cluster::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_gets_one_layer_of_three_without_a_break() {
    if !available(&[Kind::Chromium]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("layers").await.expect("session");
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");
    let publisher = browsers.caller(Kind::Chromium, "up", &cluster).await.expect("page");
    let token = cluster.token("layers", "PUBLISHER").await.expect("token");
    let options =
        json!({ "source": "picture", "width": 1280, "height": 720, "rids": ["l", "m", "h"], "audio": false });
    publisher.publish("up", &token, options).await.expect("publish");

    let viewer = browsers.caller(Kind::Chromium, "down", &cluster).await.expect("page");
    let token = cluster.token("layers", "SUBSCRIBER").await.expect("token");
    viewer.play("down", &token, json!({ "audio": false })).await.expect("play");
    viewer.plays("down", 1, 30).await.expect("frames");

    let sent = publisher.stats("up").await.expect("stats");
    let sending = sent.sent_videos().filter(|flow| flow["packets"].as_u64() > Some(0)).count();
    assert_eq!(sent.sent_videos().count(), 3, "three encodings: {}", sent.0);
    assert!(sending >= 2, "the browser sends more than one of them: {}", sent.0);

    // The picture keeps one size: nothing switches by itself.
    let first = viewer.plays("down", 1, 15).await.expect("frames");
    let second = viewer.plays("down", 1, 15).await.expect("frames");
    let size = |stats: &tests::call::Stats| {
        stats.videos().map(|flow| (flow["width"].clone(), flow["height"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(size(&first), size(&second));
    assert_eq!(second.videos().count(), 1, "one flow, however many encodings: {}", second.0);
}
