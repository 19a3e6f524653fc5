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
