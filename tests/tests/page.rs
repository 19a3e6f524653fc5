//! The built-in page: create a session with the API secret, join by a link, see and mute each other, leave.

use std::time::Duration;

use serde_json::{Value, json};
use tests::browser::{Kind, Page, available};
use tests::call::Browsers;
use tests::cluster::{Cluster, Options, SECRET};

const SOON: Duration = Duration::from_secs(20);

/// Fills in the lobby's form with the test picture and joins.
async fn join(page: &Page, name: &str, session: &str, secret: &str) {
    page.eval("document.querySelector('input[name=media][value=test]').click()", Value::Null)
        .await
        .expect("test picture");
    for (selector, value) in [("#name", name), ("#session", session), ("#secret", secret)] {
        page.fill(selector, value).await.expect("form");
    }
    page.click("#join").await.expect("join");
}

/// Waits until the grid shows so many live pictures that move.
async fn shows(page: &Page, others: usize) {
    // Firefox counts no frames of streams in its playback quality; a picture with a size whose time goes on is shown.
    let body = "return [...document.querySelectorAll('.tile:not(.self) video')].map((video) => video.videoWidth > 0 ? video.currentTime : 0)";
    let moving = |value: &Value| {
        value.as_array().into_iter().flatten().filter(|seconds| seconds.as_f64() > Some(0.5)).count()
            >= others
    };
    let state = page.wait(&format!("{others} moving pictures"), SOON, body, Value::Null, moving).await;
    if let Err(error) = state {
        let console = page.console().await.unwrap_or_default().join("\n");
        let inside = page
            .eval("return { state: plenum.state, error: plenum.error, phase: plenum.phase }", Value::Null)
            .await;
        panic!("{error}\npage: {inside:?}\nconsole:\n{console}");
    }
}

/// A page whose network has changed finds a new way; the media of both directions stays what it is. `pictures` are shown.
async fn restarts_ice(page: &Page, pictures: usize) {
    let body = "const { call } = plenum; const all = { publishing: call.publishing, playing: call.playing };
        for (const [which, media] of Object.entries(all)) await call.restart(media, which);
        return Object.entries(all).map(([which, media]) => [media.etag, media === call[which], media.pc.signalingState]);";
    let restarted = page.eval(body, Value::Null).await.expect("restart");
    assert_eq!(restarted, json!([["\"v2\"", true, "stable"], ["\"v2\"", true, "stable"]]));
    // The old way is no longer answered once the new one is chosen: media that goes on goes on there.
    let body = "const count = async () => (await plenum.stats()).received.filter((slot) => slot.kind === 'video').map((slot) => slot.framesDecoded ?? slot.packetsReceived);
        const before = await count(); await new Promise((done) => setTimeout(done, 1000)); const after = await count();
        return { moving: after.filter((frames, slot) => frames > before[slot]).length, states: [plenum.state.publish, plenum.state.play] };";
    let flows = |value: &Value| {
        value["moving"].as_u64() >= Some(pictures as u64)
            && value["states"] == json!(["connected", "connected"])
    };
    page.wait("media after the restart", SOON, body, Value::Null, flows).await.expect("flows");
}

/// The others see the screen, marked as one, also if the camera's picture was hidden; afterwards the camera again.
async fn shares_the_screen(sharer: &Page, viewer: &Page) {
    let hidden = "return document.querySelectorAll('.tile.live:not(.self)').length";
    let before = viewer.eval(hidden, Value::Null).await.expect("tiles").as_u64().unwrap_or(0);
    sharer.click("#mute-video").await.expect("hide");
    viewer
        .wait("a hidden picture", SOON, hidden, Value::Null, |live| live == before - 1)
        .await
        .expect("hidden");
    sharer.click("#share").await.expect("share");
    let screen = "const video = document.querySelector('.tile.screen.live:not(.self) video'); return video?.videoWidth ?? 0";
    viewer
        .wait("the screen", SOON, screen, Value::Null, |width| width.as_u64() > Some(640))
        .await
        .expect("shared");
    sharer.click("#share").await.expect("stop");
    viewer.wait("hidden again", SOON, hidden, Value::Null, |live| live == before - 1).await.expect("hidden");
    sharer.click("#mute-video").await.expect("show");
    viewer.wait("the camera", SOON, hidden, Value::Null, |live| live == before).await.expect("shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_documentation_holds_a_call() {
    if !available(&[Kind::Chromium]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("docs").await.expect("session");
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");
    let mut pages = Vec::new();
    for name in ["one", "two"] {
        // As the API gives it: the whole string.
        let token = cluster.token("docs", "PUBLISHER").await.expect("token");
        let token = format!("wss://localhost:4443?sessionId=docs&token={token}");
        let url = format!("{}#server={}&token={token}", browsers.docs_url(), cluster.url());
        let page = browsers.open(Kind::Chromium, name, &url).await.expect("page");
        page.click("#join").await.expect("join");
        pages.push(page);
    }
    let shown = "return [...document.querySelectorAll('video:not(#me)')].map((video) => !video.hidden && video.currentTime > 0.5)";
    for page in &pages {
        page.wait("the other's picture", SOON, shown, Value::Null, |shown| {
            shown == &json!([true, false, false, false])
        })
        .await
        .expect("shown");
    }
    let two = pages.pop().expect("a page");
    two.close().await.expect("close");
    let gone = |shown: &Value| shown == &json!([false, false, false, false]);
    pages[0].wait("an empty slot", SOON, shown, Value::Null, gone).await.expect("left");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_meet_on_the_page_in_both_browsers() {
    if !available(&[Kind::Chromium, Kind::Firefox]) {
        return;
    }
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    let browsers = Browsers::start(&[Kind::Chromium, Kind::Firefox]).await.expect("browsers");
    let ada = browsers.open(Kind::Chromium, "ada", cluster.url()).await.expect("page");

    // A wrong secret says so and leaves the form.
    join(&ada, "Ada", "standup", "wrong").await;
    let told = |value: &Value| {
        value["error"].as_str().is_some_and(|text| text.contains("secret")) && value["phase"] == "lobby"
    };
    ada.wait("the refusal", SOON, "return { error: plenum.error, phase: plenum.phase }", Value::Null, told)
        .await
        .expect("told");

    join(&ada, "Ada", "standup", SECRET).await;
    ada.wait("the call", SOON, "return plenum.phase", Value::Null, |phase| phase == "call")
        .await
        .expect("in the call");
    let finn = browsers.open(Kind::Firefox, "finn", cluster.url()).await.expect("page");
    join(&finn, "Finn", "standup", SECRET).await;

    // The third one comes by Ada's link, without any secret.
    let token = cluster.token("standup", "PUBLISHER").await.expect("token");
    let link = format!("{}/#token={token}&name=Lin&media=test&autojoin=1", cluster.url());
    let lin = browsers.open(Kind::Chromium, "lin", &link).await.expect("page");

    for page in [&ada, &finn, &lin] {
        shows(page, 2).await;
    }
    let names =
        "return [...document.querySelectorAll('.tile .label span')].map((label) => label.textContent).sort()";
    let seen = ada.eval(names, Value::Null).await.expect("names");
    assert_eq!(seen, json!(["Ada (you)", "Finn", "Lin"]));

    // Mute reaches the others.
    finn.click("#mute-video").await.expect("mute");
    let muted = |value: &Value| value == &json!([false, true]) || value == &json!([true, false]);
    let live = "return [...document.querySelectorAll('.tile:not(.self)')].map((tile) => tile.classList.contains('live'))";
    ada.wait("one picture off", SOON, live, Value::Null, muted).await.expect("muted");

    for (page, number) in [(&ada, 2), (&finn, 1)] {
        restarts_ice(page, number).await;
    }
    shares_the_screen(&ada, &lin).await;

    // Leaving empties a place, and closing a page does as well.
    lin.click("#leave").await.expect("leave");
    ada.wait("two people", SOON, "return document.querySelectorAll('.tile').length", Value::Null, |count| {
        count == 2
    })
    .await
    .expect("left");
    assert_eq!(lin.eval("return plenum.phase", Value::Null).await.expect("phase"), "lobby");
    finn.close().await.expect("close");
    ada.wait(
        "one person",
        SOON * 2,
        "return document.querySelectorAll('.tile').length",
        Value::Null,
        |count| count == 1,
    )
    .await
    .expect("closed");
    let errors: Vec<String> = ada
        .console()
        .await
        .expect("console")
        .into_iter()
        .filter(|line| line.starts_with("uncaught:"))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}
