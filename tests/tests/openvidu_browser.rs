//! The unmodified npm package `openvidu-browser` 2.32.2 in Chromium, against a whole cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::browser::{Driver, Kind, Page, available, skip};
use tests::cluster::{Cluster, Options};

const SOON: Duration = Duration::from_secs(20);

/// Whether these tests can run here.
fn can_run() -> bool {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/node_modules/openvidu-browser");
    if library.exists() {
        return available(&[Kind::Chromium]);
    }
    let why = "not installed: openvidu-browser (npm ci in tests/browser)";
    assert!(std::env::var("CI").is_err(), "{why}");
    skip(why);
    false
}

/// A cluster and a browser for applications of OpenVidu.
struct Stage {
    cluster: Cluster,
    driver: Arc<Driver>,
    page_url: String,
}

/// A page with an application of OpenVidu.
struct App {
    page: Page,
    /// Public name of its connection.
    connection: String,
}

impl Stage {
    async fn start(options: Options) -> Self {
        let cluster = Cluster::start(options).await.expect("cluster");
        let driver = Driver::start().await.expect("driver");
        driver.launch(Kind::Chromium, "chromium").await.expect("chromium");
        let page_url = format!("{}openvidu/", driver.page_url().await.expect("page"));
        Self { cluster, driver, page_url }
    }

    /// The token string as REST gives it, for this body.
    async fn token(&self, session: &str, body: Value) -> String {
        let path = format!("/openvidu/api/sessions/{session}/connection");
        let made = self.cluster.api("POST", &path, &body).await.expect("connection");
        assert_eq!(made.status, 200, "{}", made.text());
        made.json()["token"].as_str().expect("token").to_owned()
    }

    async fn page(&self, name: &str) -> Page {
        self.driver.open("chromium", name, &self.page_url).await.expect("page")
    }

    /// Joins with a new connection.
    async fn join(&self, session: &str, name: &str, role: &str, options: Value) -> App {
        let page = self.page(name).await;
        let token = self.token(session, json!({ "role": role })).await;
        let args = json!([token, options]);
        let joined = page.eval("return app.join(...args)", args).await.expect("join");
        App { page, connection: joined.as_str().expect("connection").to_owned() }
    }

    /// The session as REST shows it.
    async fn shown(&self, session: &str) -> Value {
        self.cluster.get(&format!("/openvidu/api/sessions/{session}")).await.expect("session").json()
    }
}

impl App {
    async fn publish(&self, options: Value) -> String {
        let stream = self.page.eval("return app.publish(args)", options).await.expect("publish");
        stream.as_str().expect("stream").to_owned()
    }

    /// Waits until it plays `streams` streams of moving pictures, with sound.
    async fn plays(&self, streams: usize) {
        let moving = |value: &Value| {
            let flows = value.as_object().into_iter().flat_map(|all| all.values());
            let playing = flows.filter(|flow| {
                flow["video"]["frames"].as_u64() > Some(10)
                    && flow["audio"]["packets"].as_u64() > Some(20)
                    && flow["shown"].as_u64() > Some(0)
            });
            playing.count() >= streams
        };
        let what = format!("{streams} moving pictures with sound");
        if let Err(error) = self.page.wait(&what, SOON, "return app.playing()", Value::Null, moving).await {
            let console = self.page.console().await.unwrap_or_default().join("\n");
            let events = self.events().await;
            panic!("{error}\nevents: {events:?}\nconsole:\n{console}");
        }
    }

    async fn events(&self) -> Vec<Value> {
        let events = self.page.eval("return app.events", Value::Null).await.expect("events");
        events.as_array().cloned().unwrap_or_default()
    }

    /// Waits for an event with these fields.
    async fn sees(&self, expected: Value) -> Value {
        let fits = |event: &Value| {
            expected.as_object().into_iter().flatten().all(|(name, value)| event[name] == *value)
        };
        let found = |events: &Value| events.as_array().is_some_and(|all| all.iter().any(fits));
        let what = format!("event {expected}");
        let seen = self.page.wait(&what, SOON, "return app.events", Value::Null, found).await;
        let all = seen.unwrap_or_else(|error| panic!("{error}"));
        all.as_array().and_then(|all| all.iter().find(|it| fits(it))).cloned().unwrap_or_default()
    }

    async fn count(&self, name: &str) -> usize {
        self.events().await.iter().filter(|event| event["name"] == name).count()
    }

    async fn run(&self, body: &str, args: Value) -> Value {
        self.page.eval(body, args).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pages_of_openvidu_browser_see_and_hear_each_other() {
    if !can_run() {
        return;
    }
    let stage = Stage::start(Options::default()).await;
    stage.cluster.session("two").await.expect("session");
    let ada = stage.join("two", "ada", "PUBLISHER", json!({ "data": "Ada" })).await;
    let sent = ada.publish(json!({})).await;
    assert!(sent.starts_with("str_CAM_") && sent.ends_with(&ada.connection), "{sent}");
    // Ben finds Ada's stream in his snapshot, Ada sees Ben's by a notification.
    let ben = stage.join("two", "ben", "PUBLISHER", json!({ "data": "Ben" })).await;
    ben.publish(json!({})).await;
    ada.plays(1).await;
    ben.plays(1).await;
    for (app, other) in [(&ada, &ben), (&ben, &ada)] {
        // The own connection, then the other one; each stream exactly once.
        assert_eq!(app.count("connectionCreated").await, 2, "{:?}", app.events().await);
        assert_eq!(app.count("streamCreated").await, 1, "{:?}", app.events().await);
        app.sees(json!({ "name": "streamCreated", "from": other.connection })).await;
        assert_eq!(app.count("exception").await, 0, "{:?}", app.events().await);
    }
    let shown = stage.shown("two").await;
    for connection in shown["connections"]["content"].as_array().expect("connections") {
        assert_eq!(connection["status"], "active", "{connection}");
        assert_eq!(connection["publishers"].as_array().map(Vec::len), Some(1), "{connection}");
        assert_eq!(connection["subscribers"].as_array().map(Vec::len), Some(1), "{connection}");
        assert_eq!(connection["publishers"][0]["mediaOptions"]["frameRate"], 15, "{connection}");
    }
    ben.run("app.session.disconnect()", Value::Null).await;
    ada.sees(json!({ "name": "streamDestroyed", "from": ben.connection, "reason": "disconnect" })).await;
    ada.sees(json!({ "name": "connectionDestroyed", "connection": ben.connection, "reason": "disconnect" }))
        .await;
    ben.sees(json!({ "name": "sessionDisconnected", "reason": "disconnect" })).await;
}
