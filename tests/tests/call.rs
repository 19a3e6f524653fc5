//! Calls through one media node with real browsers, by bare WHIP and WHEP.

use serde_json::json;
use tests::browser::{Kind, available};
use tests::call::Browsers;
use tests::cluster::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn two_chromium_pages_publish_and_play_each_other() {
    if !available(&[Kind::Chromium]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("two").await.expect("session");
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");

    let mut callers = Vec::new();
    for name in ["ada", "ben"] {
        let caller = browsers.caller(Kind::Chromium, name, &cluster).await.expect("page");
        let token = cluster.token("two", "PUBLISHER").await.expect("token");
        let opened =
            caller.publish("up", &token, json!({ "width": 320, "height": 180 })).await.expect("publish");
        assert!(opened["location"].as_str().expect("location").contains("/whip/"), "{opened}");
        assert!(
            opened["etag"].as_str().is_some_and(|etag| etag.starts_with('"')),
            "CORS must show the ETag: {opened}"
        );
        // One slot is enough: the other one.
        caller.play("down", &token, json!({ "slots": 1, "trickle": true })).await.expect("play");
        callers.push((caller, token));
    }
    for (caller, _) in &callers {
        let stats = caller.plays("down", 1, 20).await.expect("frames");
        caller.shows("down", 1).await.expect("moving picture");
        assert_eq!(stats.state(), "connected");
        let srtp = stats.0["srtp"].as_str().unwrap_or_default();
        assert!(srtp.contains("AES_128_GCM") || srtp.contains("AEAD"), "SRTP is {srtp}");
        assert!(
            stats.0["patches"]
                .as_array()
                .is_some_and(|all| !all.is_empty() && all.iter().all(|status| *status == 204)),
            "{}",
            stats.0["patches"]
        );
        let sound = stats.0["inbound"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|flow| flow["kind"] == "audio" && flow["packets"].as_u64() > Some(20));
        assert!(sound, "sound flows: {}", stats.0);
    }

    let session = cluster.get("/openvidu/api/sessions/two").await.expect("session").json();
    assert_eq!(session["connections"]["numberOfElements"], 2, "{session}");
    for connection in session["connections"]["content"].as_array().expect("connections") {
        assert_eq!(connection["status"], "active", "{connection}");
        assert_eq!(connection["publishers"].as_array().map(Vec::len), Some(1), "{connection}");
        assert_eq!(connection["subscribers"].as_array().map(Vec::len), Some(1), "{connection}");
    }

    // Teardown: the other's picture ends, and so does what REST shows.
    let (ada, _) = &callers[0];
    assert_eq!(ada.leave("up").await.expect("leave"), 200);
    let gone = || async {
        let session =
            cluster.get("/openvidu/api/sessions/two").await.map_err(|error| error.to_string())?.json();
        let content = session["connections"]["content"].as_array().cloned().unwrap_or_default();
        let publishing = content
            .iter()
            .filter(|connection| connection["publishers"].as_array().is_some_and(|all| !all.is_empty()))
            .count();
        if publishing == 1 { Ok(()) } else { Err(session.to_string()) }
    };
    tests::wait::until("one publisher left", std::time::Duration::from_secs(5), gone)
        .await
        .expect("teardown");
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_and_firefox_hold_one_call() {
    if !available(&[Kind::Chromium, Kind::Firefox]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("mixed").await.expect("session");
    let browsers = Browsers::start(&[Kind::Chromium, Kind::Firefox]).await.expect("browsers");

    let mut callers = Vec::new();
    for (kind, name) in [(Kind::Chromium, "cora"), (Kind::Firefox, "finn"), (Kind::Chromium, "carl")] {
        let caller = browsers.caller(kind, name, &cluster).await.expect("page");
        let token = cluster.token("mixed", "PUBLISHER").await.expect("token");
        caller
            .publish("up", &token, json!({ "source": "picture", "width": 320, "height": 180 }))
            .await
            .expect("publish");
        caller.play("down", &token, json!({ "slots": 2 })).await.expect("play");
        callers.push(caller);
    }
    for caller in &callers {
        let stats = caller.plays("down", 2, 20).await.expect("frames");
        assert_eq!(stats.state(), "connected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_video_codec_passes_through() {
    if !available(&[Kind::Chromium]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");
    for codec in ["VP8", "VP9", "H264", "AV1"] {
        let session = format!("codec-{codec}");
        let created = cluster
            .api(
                "POST",
                "/openvidu/api/sessions",
                &json!({ "customSessionId": session, "forcedVideoCodec": "NONE" }),
            )
            .await;
        assert_eq!(created.expect("session").status, 200);
        let publisher =
            browsers.caller(Kind::Chromium, &format!("{codec}-up"), &cluster).await.expect("page");
        let viewer = browsers.caller(Kind::Chromium, &format!("{codec}-down"), &cluster).await.expect("page");
        let token = cluster.token(&session, "PUBLISHER").await.expect("token");
        publisher
            .publish("up", &token, json!({ "source": "picture", "codec": codec, "audio": false }))
            .await
            .expect("publish");
        let token = cluster.token(&session, "SUBSCRIBER").await.expect("token");
        viewer.play("down", &token, json!({ "audio": false })).await.expect("play");
        let stats = viewer.plays("down", 1, 15).await.expect("frames");
        let mime = format!("video/{codec}");
        assert!(
            stats
                .videos()
                .any(|flow| flow["codec"].as_str().is_some_and(|got| got.eq_ignore_ascii_case(&mime))),
            "{}",
            stats.0
        );
        publisher.page.close().await.expect("close");
        viewer.page.close().await.expect("close");
    }
}
