//! The browsers themselves: without any server of ours, two pages of each kind play each other. Where this fails, no
//! other browser test means anything.

use std::time::Duration;

use serde_json::json;
use tests::browser::{Driver, Kind, available};

#[tokio::test(flavor = "multi_thread")]
async fn chromium_and_firefox_decode_each_others_pictures() {
    if !available(&[Kind::Chromium, Kind::Firefox]) {
        return;
    }
    let driver = Driver::start().await.expect("driver");
    let url = driver.page_url().await.expect("page");
    driver.launch(Kind::Chromium, "chromium").await.expect("chromium");
    driver.launch(Kind::Firefox, "firefox").await.expect("firefox");
    let one = driver.open("chromium", "one", &url).await.expect("page");
    let two = driver.open("firefox", "two", &url).await.expect("page");

    let offer =
        one.eval("return calls.peerOffer('p', { source: 'picture' })", json!([])).await.expect("offer");
    let answer =
        two.eval("return calls.peerAnswer('p', args, { source: 'picture' })", offer).await.expect("answer");
    one.eval("await calls.peerAccept('p', args)", answer).await.expect("accept");

    for page in [&one, &two] {
        let decoded = |stats: &serde_json::Value| {
            let flows = stats["inbound"].as_array().cloned().unwrap_or_default();
            flows.iter().any(|flow| flow["kind"] == "video" && flow["frames"].as_u64() > Some(20))
        };
        page.wait("decoded frames", Duration::from_secs(20), "return calls.stats('p')", json!([]), decoded)
            .await
            .expect("frames");
    }
}
