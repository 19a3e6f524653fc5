//! The unmodified npm package `openvidu-browser` 2.32.2 in Chromium, against a whole cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::browser::{Driver, Kind, Page, available, skip};
use tests::call::Browsers;
use tests::cluster::{Cluster, Options, SECRET};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

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

    /// Runs a phase of `node-client.mjs`, a backend on the unmodified npm package `openvidu-node-client` 2.32.2.
    async fn backend(&self, session: &str, phase: &str) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/openvidu/node-client.mjs");
        let output = tokio::process::Command::new("node")
            .arg(script)
            .args([self.cluster.url(), SECRET, session, phase])
            .env("NODE_TLS_REJECT_UNAUTHORIZED", "0")
            .output()
            .await
            .expect("node");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{phase}: {out}\n{err}");
        serde_json::from_str(out.lines().last().unwrap_or_default()).expect("the last line is the result")
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

    /// Waits until a stream that plays has shown 20 more frames.
    async fn goes_on(&self, stream: &str) {
        let frames = |value: &Value| value[stream]["video"]["frames"].as_u64().unwrap_or(0);
        let before = frames(&self.run("return app.playing()", Value::Null).await);
        // Another peer connection counts anew.
        let more = |value: &Value| frames(value) >= before + 20 || (20..before).contains(&frames(value));
        let what = format!("more frames of {stream}");
        let seen = self.page.wait(&what, SOON, "return app.playing()", Value::Null, more).await;
        seen.unwrap_or_else(|error| panic!("{error}"));
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

/// A path to masterd that can be cut.
struct Path4443 {
    port: u16,
    /// Counts the cuts; odd is cut.
    cuts: watch::Sender<u64>,
    _task: tokio::task::JoinHandle<()>,
}

impl Path4443 {
    async fn open(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        let (cuts, seen) = watch::channel(0_u64);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut seen = seen.clone();
                let at = *seen.borrow();
                if at % 2 == 1 {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                    // Cancel safe enough: whatever is cut off is lost, as on a real path.
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = seen.wait_for(|now| *now != at) => {}
                    }
                });
            }
        });
        Self { port, cuts, _task: task }
    }

    /// Ends what is open and takes nothing new, until it is mended.
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn mend(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The same token by way of this path.
    fn token(&self, token: &str) -> String {
        let (host, query) = token.split_once('?').expect("a token");
        let (host, _) = host.rsplit_once(':').expect("a port");
        format!("{host}:{}?{query}", self.port)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn moderators_signals_mutes_and_evictions_work_as_documented() {
    if !can_run() {
        return;
    }
    let stage = Stage::start(Options::default()).await;
    stage.cluster.session("class").await.expect("session");
    let teacher = stage.join("class", "teacher", "MODERATOR", json!({})).await;
    let pupil = stage.join("class", "pupil", "PUBLISHER", json!({ "signals": ["chat"] })).await;
    let guest = stage.join("class", "guest", "SUBSCRIBER", json!({})).await;
    let stream = pupil.publish(json!({})).await;
    for app in [&teacher, &guest] {
        app.plays(1).await;
    }

    roles_and_tokens_hold(&stage, &guest, &stream).await;
    changes_and_signals_arrive(&stage, &teacher, &pupil, &guest, &stream).await;
    moderation_reaches_whom_it_concerns(&stage, &teacher, &pupil, &guest, &stream).await;
}

/// Who may do what, and that a token joins once.
async fn roles_and_tokens_hold(stage: &Stage, guest: &App, stream: &str) {
    let permission = json!("OPENVIDU_PERMISSION_DENIED");
    let refused = guest.run("return app.refused(app.publish({}))", Value::Null).await;
    assert_eq!(refused["name"], permission, "{refused}");
    let force = "return app.refused(app.session.forceUnpublish(app.stream(args)))";
    assert_eq!(guest.run(force, json!(stream)).await["name"], permission);
    assert_eq!(guest.count("exception").await, 0, "{:?}", guest.events().await);
    let token = stage.token("class", json!({})).await;
    let twice = stage.page("twice").await;
    twice.eval("return app.join(...args)", json!([token, {}])).await.expect("first use");
    let again = stage.page("again").await;
    let again =
        again.eval("return app.refused(app.join(...args))", json!([token, {}])).await.expect("refused");
    assert_eq!(again["code"], 401, "{again}");
    assert!(
        again["message"].as_str().is_some_and(|text| text.contains(&format!("Token {token} is not valid")))
    );
    twice.close().await.expect("close");
}

/// Mute, another track, signals.
async fn changes_and_signals_arrive(stage: &Stage, teacher: &App, pupil: &App, guest: &App, stream: &str) {
    pupil.run("app.publisher.publishAudio(false)", Value::Null).await;
    let muted =
        json!({ "property": "audioActive", "value": false, "reason": "publishAudio", "stream": stream });
    guest.sees(muted).await;
    pupil.run("await app.publisher.replaceTrack(app.picture(480, 360))", Value::Null).await;
    let changed = json!({ "property": "videoDimensions", "value": { "width": 480, "height": 360 } });
    guest.sees(changed).await;
    let wide = |value: &Value| value[stream]["video"]["width"] == 480;
    guest.page.wait("the new track", SOON, "return app.playing()", Value::Null, wide).await.expect("shown");
    teacher.run("await app.session.signal({ type: 'chat', data: 'hello' })", Value::Null).await;
    for app in [teacher, pupil, guest] {
        app.sees(
            json!({ "name": "signal", "type": "signal:chat", "data": "hello", "from": teacher.connection }),
        )
        .await;
    }
    pupil.sees(json!({ "name": "signal:chat" })).await;
    let private = "await app.session.signal({ data: 'psst', to: [app.session.remoteConnections.get(args)] })";
    teacher.run(private, json!(pupil.connection)).await;
    pupil.sees(json!({ "name": "signal", "data": "psst" })).await;
    let from_server = json!({ "session": "class", "type": "chat", "data": "server" });
    stage.cluster.api("POST", "/openvidu/api/signal", &from_server).await.expect("signal");
    guest.sees(json!({ "name": "signal", "type": "signal:chat", "data": "server", "from": null })).await;
    assert!(!guest.events().await.iter().any(|event| event["data"] == "psst"));
}

/// A role changes, streams and connections are ended by others.
async fn moderation_reaches_whom_it_concerns(
    stage: &Stage,
    teacher: &App,
    pupil: &App,
    guest: &App,
    stream: &str,
) {
    let path = format!("/openvidu/api/sessions/class/connection/{}", guest.connection);
    let patched = stage.cluster.api("PATCH", &path, &json!({ "role": "PUBLISHER" })).await.expect("patch");
    assert_eq!((patched.status, &patched.json()["role"]), (200, &json!("PUBLISHER")));
    guest
        .sees(json!({ "name": "connectionPropertyChanged", "property": "role", "value": "PUBLISHER" }))
        .await;
    teacher.run("await app.session.forceUnpublish(app.stream(args))", json!(stream)).await;
    let ended = json!({ "stream": stream, "reason": "forceUnpublishByUser" });
    for (app, name) in [(pupil, "publisher.streamDestroyed"), (guest, "streamDestroyed")] {
        let mut ended = ended.clone();
        ended["name"] = json!(name);
        app.sees(ended).await;
    }
    let evict = "await app.session.forceDisconnect(app.session.remoteConnections.get(args))";
    teacher.run(evict, json!(pupil.connection)).await;
    pupil.sees(json!({ "name": "sessionDisconnected", "reason": "forceDisconnectByUser" })).await;
    guest.sees(json!({ "name": "connectionDestroyed", "connection": pupil.connection, "reason": "forceDisconnectByUser" })).await;
    stage.cluster.api("DELETE", &path, &Value::Null).await.expect("evict");
    guest.sees(json!({ "name": "sessionDisconnected", "reason": "forceDisconnectByServer" })).await;
    stage.cluster.api("DELETE", "/openvidu/api/sessions/class", &Value::Null).await.expect("close");
    teacher.sees(json!({ "name": "sessionDisconnected", "reason": "sessionClosedByServer" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_socket_and_a_killed_masterd_cost_no_event_and_no_stream() {
    if !can_run() {
        return;
    }
    let stage = Stage::start(Options::default()).await;
    stage.cluster.session("s").await.expect("session");
    let path = Path4443::open(stage.cluster.http_port()).await;
    let page = stage.page("ada").await;
    let token = path.token(&stage.token("s", json!({})).await);
    // Every peer connection is made anew after the loss.
    let options = json!({ "advanced": { "forceMediaReconnectionAfterNetworkDrop": true } });
    let joined = page.eval("return app.join(...args)", json!([token, options])).await.expect("join");
    let ada = App { page, connection: joined.as_str().expect("connection").to_owned() };
    let ben = stage.join("s", "ben", "PUBLISHER", json!({})).await;
    let (from_ada, from_ben) = (ada.publish(json!({})).await, ben.publish(json!({})).await);
    ada.plays(1).await;
    ben.plays(1).await;

    let eve = a_lost_socket_misses_nothing(&stage, &path, &ada, &ben, [&from_ada, &from_ben]).await;
    a_killed_masterd_is_resumed_at(&stage, &ada, &ben, &eve, &from_ada).await;

    // Too late, and a closed tab.
    path.cut();
    let left = |app: &App| json!({ "name": "connectionDestroyed", "connection": app.connection, "reason": "networkDisconnect" });
    ben.sees(left(&ada)).await;
    path.mend();
    ada.sees(json!({ "name": "sessionDisconnected", "reason": "networkDisconnect" })).await;
    let gone = left(&eve);
    eve.page.close().await.expect("close");
    ben.sees(gone).await;
}

/// What happens while a socket is lost is told once it is back; gives who has come meanwhile.
async fn a_lost_socket_misses_nothing(
    stage: &Stage,
    path: &Path4443,
    ada: &App,
    ben: &App,
    streams: [&str; 2],
) -> App {
    let [from_ada, from_ben] = streams;
    path.cut();
    ada.sees(json!({ "name": "reconnecting" })).await;
    ben.run("await app.session.signal({ type: 'x', data: 'while away' })", Value::Null).await;
    let eve = stage.join("s", "eve", "PUBLISHER", json!({})).await;
    let from_eve = eve.publish(json!({})).await;
    ben.run("await app.session.unpublish(app.publisher)", Value::Null).await;
    path.mend();
    ada.sees(json!({ "name": "reconnected" })).await;
    ada.sees(json!({ "name": "streamDestroyed", "stream": from_ben, "reason": "unpublish" })).await;
    for (name, value) in
        [("data", "while away"), ("stream", from_eve.as_str()), ("connection", eve.connection.as_str())]
    {
        let seen = ada.events().await.into_iter().filter(|event| event[name] == value).count();
        // Of a stream: that it was created, nothing else.
        assert_eq!(seen, 1, "{name} {value}: {:?}", ada.events().await);
    }
    ada.run("app.subscribers.delete(args)", json!(from_ben)).await;
    ada.plays(1).await;
    ben.goes_on(from_ada).await;
    assert_eq!(ben.count("connectionDestroyed").await, 0, "{:?}", ben.events().await);
    assert_eq!(ben.count("streamDestroyed").await, 0, "{:?}", ben.events().await);
    eve
}

/// Clients go on with the next masterd.
async fn a_killed_masterd_is_resumed_at(stage: &Stage, ada: &App, ben: &App, eve: &App, from_ada: &str) {
    stage.cluster.masterd.kill();
    stage.cluster.masterd.start().await.expect("start");
    for (app, times) in [(ada, 2), (ben, 1), (eve, 1)] {
        let resumed = |events: &Value| {
            let all = events.as_array().into_iter().flatten();
            all.filter(|event| event["name"] == "reconnected").count() >= times
        };
        app.page.wait("resumption", SOON, "return app.events", Value::Null, resumed).await.expect("resumed");
    }
    eve.run("await app.session.signal({ type: 'x', data: 'after the restart' })", Value::Null).await;
    for app in [ada, ben] {
        app.sees(json!({ "name": "signal", "data": "after the restart" })).await;
    }
    ben.goes_on(from_ada).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openvidu_and_whip_pages_meet_in_one_session() {
    if !can_run() {
        return;
    }
    let stage = Stage::start(Options::default()).await;
    stage.cluster.session("mixed").await.expect("session");
    let ada = stage.join("mixed", "ada", "PUBLISHER", json!({})).await;
    ada.publish(json!({})).await;
    let browsers = Browsers::start(&[Kind::Chromium]).await.expect("browsers");
    let ben = browsers.caller(Kind::Chromium, "ben", &stage.cluster).await.expect("page");
    let token = stage.cluster.token("mixed", "PUBLISHER").await.expect("token");
    ben.publish("up", &token, json!({ "width": 320, "height": 180 })).await.expect("publish");
    ben.play("down", &token, json!({ "slots": 1, "trickle": true })).await.expect("play");
    ada.plays(1).await;
    ben.plays("down", 1, 20).await.expect("frames");
    // Another stream of the same connection comes to the same slot.
    ada.run("await app.session.unpublish(app.publisher)", Value::Null).await;
    ada.publish(json!({})).await;
    ben.plays("down", 1, 20).await.expect("frames of the new stream");
    assert_eq!(ben.leave("up").await.expect("leave"), 200);
    ada.sees(json!({ "name": "streamDestroyed", "reason": "unpublish" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simulcast_forced_codecs_and_ice_servers_reach_the_page() {
    if !can_run() {
        return;
    }
    let masterd = "[webrtc]\nice_servers = [\"stun:127.0.0.1:9\"]\n".to_owned();
    let stage = Stage::start(Options { masterd, ..Options::default() }).await;
    for codec in ["VP8", "H264"] {
        let body = json!({ "customSessionId": codec, "forcedVideoCodec": codec });
        stage.cluster.api("POST", "/openvidu/api/sessions", &body).await.expect("session");
    }
    let ada = stage.join("VP8", "ada", "PUBLISHER", json!({})).await;
    let page = stage.page("ben").await;
    let turn = json!({ "url": "turn:t.example.org:3478", "username": "u", "credential": "p" });
    let token = stage.token("VP8", json!({ "customIceServers": [turn] })).await;
    let joined = page.eval("return app.join(...args)", json!([token, {}])).await.expect("join");
    let ben = App { page, connection: joined.as_str().expect("connection").to_owned() };
    let servers = "return app.ov.iceServers";
    assert_eq!(ada.run(servers, Value::Null).await, json!([{ "urls": ["stun:127.0.0.1:9"] }]));
    assert_eq!(ben.run(servers, Value::Null).await[0]["username"], "u");
    ada.publish(json!({ "resolution": "1280x720", "videoSimulcast": true })).await;
    ben.plays(1).await;
    let layers = |value: &Value| value.as_array().is_some_and(|all| all.len() == 3);
    ada.page.wait("three layers", SOON, "return app.layers()", Value::Null, layers).await.expect("simulcast");

    let (cal, dan) = (
        stage.join("H264", "cal", "PUBLISHER", json!({})).await,
        stage.join("H264", "dan", "SUBSCRIBER", json!({})).await,
    );
    let stream = cal.publish(json!({})).await;
    dan.plays(1).await;
    let playing = dan.run("return app.playing()", Value::Null).await;
    assert_eq!(playing[&stream]["video"]["codec"], "video/H264", "{playing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_offer_where_the_server_passes_for_kurento() {
    if !can_run() {
        return;
    }
    let masterd = "[webrtc]\nmedia_server = \"kurento\"\n".to_owned();
    let stage = Stage::start(Options { masterd, ..Options::default() }).await;
    stage.cluster.session("k").await.expect("session");
    let ada = stage.join("k", "ada", "PUBLISHER", json!({})).await;
    let stream = ada.publish(json!({})).await;
    let ben = stage.join("k", "ben", "SUBSCRIBER", json!({})).await;
    ben.plays(1).await;
    // The library renews a peer connection by another offer.
    ben.run("await app.renew(args)", json!(stream)).await;
    ben.goes_on(&stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_on_openvidu_node_client_sees_and_steers_a_session() {
    if !can_run() {
        return;
    }
    let stage = Stage::start(Options::default()).await;
    let token = stage.backend("lesson", "prepare").await;
    let page = stage.page("ada").await;
    let joined =
        page.eval("return app.join(...args)", json!([token, { "data": "Ada" }])).await.expect("join");
    let ada = App { page, connection: joined.as_str().expect("connection").to_owned() };
    let stream = ada.publish(json!({})).await;
    assert_eq!(stage.backend("lesson", "check").await, ada.connection.as_str());
    ada.sees(json!({ "name": "connectionPropertyChanged", "property": "role", "value": "MODERATOR" })).await;
    ada.sees(json!({ "name": "connectionPropertyChanged", "property": "record", "value": false })).await;
    ada.sees(
        json!({ "name": "publisher.streamDestroyed", "stream": stream, "reason": "forceUnpublishByServer" }),
    )
    .await;
    stage.backend("lesson", "end").await;
    ada.sees(json!({ "name": "sessionDisconnected", "reason": "forceDisconnectByServer" })).await;
}
