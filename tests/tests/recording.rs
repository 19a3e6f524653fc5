//! Recordings through the whole cluster: real daemons, participants with moving pictures and tones, REST as an application
//! uses it, files looked at with ffprobe.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::cluster::{Cluster, Options, SECRET};
use tests::http::{Response, basic};
use tests::load::film::{Film, FilmSpec};
use tests::load::{Actor, ActorPlan, Plenum};
use tests::wait;

/// What takes a second or two on an idle machine.
const SOON: Duration = Duration::from_secs(30);

/// A cluster with a recorder and a session `s` in which so many people show a film.
async fn call(people: u8) -> (Cluster, Vec<Actor>) {
    let cluster = Cluster::start(Options { recorder: true, ..Options::default() }).await.expect("cluster");
    cluster.session("s").await.expect("session");
    let plenum = Plenum::new(cluster.url(), SECRET).expect("client");
    let mut actors = Vec::new();
    for actor in 1..=people {
        let film = Arc::new(Film::make(FilmSpec { seconds: 4, ..FilmSpec::of(actor) }).expect("film"));
        let plan = ActorPlan {
            session: "s".to_owned(),
            name: format!("actor {actor}"),
            audio: true,
            video: true,
            screen: false,
            local_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            seed: u64::from(actor),
        };
        actors.push(Actor::join(&plenum, &plan, &film).await.expect("join"));
    }
    (cluster, actors)
}

async fn start(cluster: &Cluster, body: &Value) -> Response {
    let asked = Instant::now();
    let started = cluster.api("POST", "/openvidu/api/recordings/start", body).await.expect("start");
    assert!(asked.elapsed() < Duration::from_secs(20), "answered late: {:?}", asked.elapsed());
    started
}

async fn stop(cluster: &Cluster, id: &str) -> Value {
    let path = format!("/openvidu/api/recordings/stop/{id}");
    let stopped = cluster.api("POST", &path, &Value::Null).await.expect("stop");
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    stopped.json()
}

/// Waits until a recording has this status.
async fn until(cluster: &Cluster, id: &str, status: &str) -> Value {
    let path = format!("/openvidu/api/recordings/{id}");
    let what = format!("recording {id} is {status}");
    let look = || async {
        let recording = cluster.get(&path).await.map_err(|error| error.to_string())?.json();
        if recording["status"] == status { Ok(recording) } else { Err(recording.to_string()) }
    };
    wait::until(&what, SOON, look).await.expect("the status")
}

/// Waits until the recorder has written so much of a recording's files.
async fn until_written(cluster: &Cluster, id: &str, bytes: u64) {
    let folder = cluster.folder().join("recorderd-recordings").join(id);
    let size = || -> u64 {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum()
    };
    let look = || if size() >= bytes { Ok(()) } else { Err(size().to_string()) };
    wait::until_sync("the recorder has written", SOON, look).await.expect("bytes");
}

async fn download(cluster: &Cluster, path: &str, range: Option<&str>) -> Response {
    let secret = basic(SECRET);
    let mut headers = vec![("authorization", secret.as_str())];
    headers.extend(range.map(|range| ("range", range)));
    cluster.client().send("GET", path, &headers, "").await.expect("file")
}

/// What ffprobe says of a file.
fn probe(file: &Path) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_format", "-show_streams"])
        .arg(file)
        .output()
        .expect("ffprobe runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_is_started_stopped_served_and_removed() {
    let (cluster, actors) = call(2).await;
    let body = json!({ "session": "s", "name": "monday", "resolution": "640x360", "frameRate": 15 });
    let started = start(&cluster, &body).await;
    assert_eq!(started.status, 200, "{}", started.text());
    assert_eq!(started.json()["status"], "started");
    assert_eq!(cluster.get("/openvidu/api/sessions/s").await.expect("session").json()["recording"], true);
    assert_eq!(start(&cluster, &body).await.status, 409);
    until_written(&cluster, "s", 100_000).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stop(&cluster, "s").await["status"], "stopped");
    let ready = until(&cluster, "s", "ready").await;
    let url = ready["url"].as_str().expect("a URL");
    let path = url.find("/openvidu/").map(|at| &url[at..]).expect("a path");
    let file = download(&cluster, path, None).await;
    assert_eq!((file.status, file.header("content-type")), (200, "video/mp4"));
    assert_eq!(ready["size"].as_u64(), u64::try_from(file.body.len()).ok());
    let part = download(&cluster, path, Some("bytes=4-7")).await;
    assert_eq!((part.status, &part.body[..]), (206, &file.body[4..8]));
    assert_eq!(&part.body[..], b"ftyp", "an ordinary MP4");

    let saved = cluster.folder().join("saved.mp4");
    std::fs::write(&saved, &file.body).expect("save");
    let probed = probe(&saved);
    let streams = probed["streams"].as_array().expect("streams");
    let of = |kind: &str| streams.iter().find(|it| it["codec_type"] == kind).expect("a track");
    let video = of("video");
    assert_eq!(
        (&video["codec_name"], &video["width"], &video["height"]),
        (&"h264".into(), &640.into(), &360.into())
    );
    assert_eq!(of("audio")["codec_name"], "aac");
    let seconds: f64 =
        probed["format"]["duration"].as_str().and_then(|it| it.parse().ok()).expect("duration");
    let said = ready["duration"].as_f64().expect("a duration");
    assert!((seconds - said).abs() < 1.0 && seconds > 2.0, "the file has {seconds} s, REST says {said} s");

    let removed = cluster.api("DELETE", "/openvidu/api/recordings/s", &Value::Null).await.expect("delete");
    assert_eq!(removed.status, 204);
    assert!(!cluster.folder().join("recorderd-recordings/s").exists(), "its folder is gone");
    assert_eq!(download(&cluster, path, None).await.status, 404);
    for actor in actors {
        actor.leave().await.expect("leave");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_recorded_as_they_are_and_survive_a_restart_of_masterd() {
    let (cluster, actors) = call(2).await;
    let started = start(&cluster, &json!({ "session": "s", "outputMode": "INDIVIDUAL" })).await;
    assert_eq!(started.status, 200, "{}", started.text());
    until_written(&cluster, "s", 50_000).await;
    cluster.masterd.kill();
    cluster.masterd.start().await.expect("masterd again");
    cluster.nodes_running(1).await.expect("the node is back");
    assert_eq!(until(&cluster, "s", "started").await["outputMode"], "INDIVIDUAL");
    until_written(&cluster, "s", 200_000).await;
    let path = "/openvidu/api/recordings/stop/s";
    let look = || async {
        let stopped = cluster.api("POST", path, &Value::Null).await.map_err(|error| error.to_string())?;
        if stopped.status == 200 { Ok(()) } else { Err(stopped.text()) }
    };
    wait::until("the recording is stopped", SOON, look).await.expect("stop");
    let ready = until(&cluster, "s", "ready").await;
    assert!(ready["size"].as_u64().is_some_and(|size| size > 100_000), "{ready}");
    let file = download(&cluster, "/openvidu/recordings/s/s.zip", None).await;
    assert_eq!((file.status, file.header("content-type")), (200, "application/zip"));
    assert_eq!(&file.body[..2], b"PK");
    for actor in actors {
        actor.leave().await.expect("leave");
    }
}
