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

#[tokio::test(flavor = "multi_thread")]
async fn each_viewer_chooses_its_layer_and_keeps_it() {
    if !available(&[Kind::Chromium]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("chosen").await.expect("session");
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");
    let publisher = browsers.caller(Kind::Chromium, "up", &cluster).await.expect("page");
    let token = cluster.token("chosen", "PUBLISHER").await.expect("token");
    // Browsers send two encodings of a picture of this size, and fewer of smaller ones.
    let options =
        json!({ "source": "picture", "width": 640, "height": 360, "rids": ["l", "h"], "audio": false });
    publisher.publish("up", &token, options).await.expect("publish");

    let mut viewers = Vec::new();
    for name in ["first", "second"] {
        let viewer = browsers.caller(Kind::Chromium, name, &cluster).await.expect("page");
        let token = cluster.token("chosen", "SUBSCRIBER").await.expect("token");
        viewer.play(name, &token, json!({ "audio": false })).await.expect("play");
        viewers.push((viewer, name));
    }
    let shows = async |at: usize, width: u64| {
        let (viewer, name) = &viewers[at];
        let what = format!("a picture {width} wide of '{name}'");
        let is_shown =
            |stats: &tests::call::Stats| stats.videos().any(|flow| flow["width"].as_u64() == Some(width));
        viewer.reaches(name, &what, is_shown).await.expect("the picture")
    };
    shows(0, 640).await;
    shows(1, 640).await;
    for (layer, width) in [(json!(0), 320), (json!(1), 640), (json!(0), 320), (json!(null), 640)] {
        let layers = json!({ "layers": [{ "slot": 0, "layer": layer }] });
        let before = shows(1, 640).await.frames();
        assert_eq!(viewers[0].0.arrange("first", layers).await.expect("answer"), 204);
        let changed = shows(0, width).await;
        assert_eq!(changed.videos().count(), 1, "one flow, whatever it carries: {}", changed.0);
        viewers[0].0.plays("first", 1, 15).await.expect("it goes on");
        let second = shows(1, 640).await;
        assert!(second.frames() > before, "the other viewer is not disturbed");
        assert!(second.videos().all(|flow| flow["width"] == 640));
    }
    let status = viewers[0].0.arrange("first", json!({ "layers": [{ "slot": 9, "layer": 0 }] })).await;
    assert_ne!(status.expect("answer"), 204, "there is no such slot");
}
