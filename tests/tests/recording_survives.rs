//! What becomes of a recording when a part of the recorder dies: the studio of the job, or the recorder itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Options, SECRET};
use tests::load::film::{Film, FilmSpec};
use tests::load::{Actor, ActorPlan, Plenum};
use tests::wait;

const SOON: Duration = Duration::from_secs(30);

/// What may be missing of what was received.
const LOSS_MAX: Duration = Duration::from_millis(1500);

/// A cluster with a session that is being recorded.
struct Recorded {
    cluster: Cluster,
    actors: Vec<Actor>,
    started: Instant,
}

impl Recorded {
    async fn start(mode: &str, actors: u8) -> Self {
        let cluster =
            Cluster::start(Options { recorder: true, ..Options::default() }).await.expect("cluster");
        let plenum = Plenum::new(cluster.url(), SECRET).expect("client");
        plenum.open_session("survivor").await.expect("session");
        let mut recorded = Self { cluster, actors: Vec::new(), started: Instant::now() };
        for actor in 0..actors {
            // Small and short: what it shows does not matter here, and painting takes its time.
            let spec =
                FilmSpec { width: 320, height: 180, frames_per_s: 15, seconds: 2, ..FilmSpec::of(actor) };
            let film = Film::make(spec).expect("film");
            let plan = ActorPlan {
                session: "survivor".to_owned(),
                name: "actor".to_owned(),
                audio: true,
                video: true,
                screen: false,
                local_ip: [127, 0, 0, 1].into(),
                seed: u64::from(actor) + 1,
            };
            recorded.actors.push(Actor::join(&plenum, &plan, &Arc::new(film)).await.expect("joined"));
        }
        let body = json!({ "session": "survivor", "name": "film", "outputMode": mode });
        let answer = recorded.api("POST", "start", &body).await;
        assert_eq!(answer["status"], "started", "{answer}");
        recorded.started = Instant::now();
        recorded
    }

    async fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/openvidu/api/recordings/{path}");
        self.cluster.api(method, &path, body).await.expect("an answer").json()
    }

    fn folder(&self) -> PathBuf {
        self.cluster.folder().join("recorderd-recordings/survivor")
    }

    fn journal(&self) -> Value {
        let path = self.cluster.folder().join("recorderd-recordings/.jobs/survivor.json");
        serde_json::from_slice(&std::fs::read(path).expect("the journal")).expect("JSON")
    }

    /// Waits until so much is recorded and known to be on the disk.
    async fn written(&self, length: Duration) {
        let is_written = || async {
            let journal = self.journal();
            let of = |list: &Value| list.as_array().and_then(|all| all.last()?["written_us"].as_u64());
            let written = of(&journal["pieces"]).max(of(&journal["files"])).unwrap_or(0);
            if u128::from(written) >= length.as_micros() { Ok(()) } else { Err(journal.to_string()) }
        };
        wait::until("recorded media", SOON, is_written).await.expect("written");
    }

    /// Waits for the result.
    async fn ready(&self) -> Value {
        let is_ready = || async {
            let recording = self.api("GET", "survivor", &Value::Null).await;
            if recording["status"] == "ready" { Ok(recording) } else { Err(recording.to_string()) }
        };
        wait::until("the recording is ready", SOON, is_ready).await.expect("ready")
    }

    async fn stop(&self) -> Value {
        drop(self.api("POST", "stop/survivor", &json!({})).await);
        self.ready().await
    }
}

/// Decodes the pictures of a film: how many, and the time of the last one.
fn decoded(film: &std::path::Path) -> (usize, Duration) {
    gst::init().expect("GStreamer");
    let description = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! appsink name=sink sync=false",
        film.display()
    );
    let pipeline = gst::parse::launch(&description)
        .expect("a pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
    let sink =
        pipeline.by_name("sink").expect("a sink").downcast::<gstreamer_app::AppSink>().expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let (mut pictures, mut last) = (0, Duration::ZERO);
    while let Ok(sample) = sink.pull_sample() {
        pictures += 1;
        last = last.max(sample.buffer().and_then(|buffer| buffer.pts()).map_or(last, Duration::from));
    }
    pipeline.set_state(gst::State::Null).expect("it ends");
    (pictures, last)
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().expect("a number"))
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_goes_on_when_its_studio_is_killed() {
    let recorded = Recorded::start("COMPOSED", 2).await;
    recorded.written(Duration::from_secs(3)).await;
    let studio = recorded.journal()["studio"]["pid"].as_i64().expect("a studio");
    let killed = std::process::Command::new("kill").args(["-KILL", &studio.to_string()]).status();
    assert!(killed.expect("kill").success());
    recorded.written(Duration::from_secs(7)).await;
    let recording = recorded.stop().await;
    let wall = recorded.started.elapsed();
    let length = seconds(&recording["duration"]);
    assert!(length + LOSS_MAX > wall.min(Duration::from_secs(8)), "{length:?} of {wall:?}");
    assert_eq!(recorded.journal()["pieces"].as_array().unwrap().len(), 1, "the pieces are joined");
    assert_eq!(names(&recorded.folder()), [".recording.survivor", "film.mp4", "survivor.jpg"]);
    let (pictures, last) = decoded(&recorded.folder().join("film.mp4"));
    assert!(last + LOSS_MAX > length, "{last:?} of {length:?}");
    assert!(pictures as f64 > 0.8 * 25.0 * length.as_secs_f64(), "{pictures} pictures in {length:?}");
    assert!(recorded.actors.iter().all(Actor::plays));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_recorder_wrote_is_finished_by_the_next_one() {
    let recorded = Recorded::start("COMPOSED", 1).await;
    recorded.written(Duration::from_secs(4)).await;
    let recorder = recorded.cluster.recorder.as_ref().expect("a recorder");
    let wall = recorded.started.elapsed();
    recorder.kill();
    recorder.start().await.expect("the recorder again");
    let recording = recorded.ready().await;
    let length = seconds(&recording["duration"]);
    assert!(length + LOSS_MAX > wall, "{length:?} of {wall:?}");
    let (pictures, last) = decoded(&recorded.folder().join("film.mp4"));
    assert!(last + LOSS_MAX > length && pictures > 50, "{pictures} pictures up to {last:?} of {length:?}");
    assert!(recorded.actors.iter().all(Actor::plays), "the session goes on");
    let metadata = std::fs::read(recorded.folder().join(".recording.survivor")).expect("metadata");
    let metadata: Value = serde_json::from_slice(&metadata).expect("JSON");
    assert_eq!((&metadata["status"], &metadata["duration"]), (&json!("ready"), &recording["duration"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_is_told_to_end_finishes_its_files_first() {
    let recorded = Recorded::start("INDIVIDUAL", 2).await;
    recorded.written(Duration::from_secs(3)).await;
    let recorder = recorded.cluster.recorder.as_ref().expect("a recorder");
    let ended = recorder.terminate().await.expect("it ends");
    assert!(ended.success(), "{ended}");
    assert_eq!(names(&recorded.folder()), [".recording.survivor", "film.zip"]);
    recorder.start().await.expect("the recorder again");
    let recording = recorded.ready().await;
    assert!(seconds(&recording["duration"]) > Duration::from_secs(2), "{recording}");
    let metadata = std::fs::read(recorded.folder().join(".recording.survivor")).expect("metadata");
    let metadata: Value = serde_json::from_slice(&metadata).expect("JSON");
    assert_eq!(metadata["size"], recording["size"]);
}
