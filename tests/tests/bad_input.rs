//! Bad input of every kind gets a clear error with its cause, or is dropped and counted. Nothing crashes, memory stays
//! bounded, nothing that was stored is lost.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::cluster::{Cluster, Daemon, Options, Program, free_tcp_port};
use tests::http::basic;
use tests::junk::Junk;
use tests::load::{Plan, Usage, run};
use tests::wait;

const SOON: Duration = Duration::from_secs(20);

/// Runs a daemon to its end: it must refuse to start.
fn refused(program: Program, arguments: &[&str]) -> (i32, String) {
    let binary = program.binary().expect("binary");
    let Output { status, stderr, stdout } =
        Command::new("timeout").arg("20").arg(binary).args(arguments).output().expect("runs");
    (
        status.code().unwrap_or(-1),
        String::from_utf8_lossy(&stderr).into_owned() + &String::from_utf8_lossy(&stdout),
    )
}

async fn whip(cluster: &Cluster, path: &str, token: &str, kind: &str, body: &str) -> (u16, String) {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
    let answer = cluster.client().send("POST", path, &headers, body.to_owned()).await.expect("answer");
    (answer.status, answer.text())
}

const OFFER_WITHOUT_CODEC: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    a=fingerprint:sha-256 1F:CF:CA:56:87:C4:8D:B8:A7:B1:6D:24:28:D0:8C:C4:74:CE:8C:57:79:D6:79:E0:1B:99:90:B8:6B:F9:DE:A0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=mid:0\r\na=ice-ufrag:abcdefgh\r\n\
    a=ice-pwd:abcdefghabcdefghabcdefgh\r\na=rtcp-mux\r\na=sendonly\r\na=rtpmap:96 theora/90000\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn wrong_secrets_tokens_and_bodies_are_told_apart() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("bad").await.expect("session");
    let wrong = basic("not-the-secret");
    let answer = cluster
        .client()
        .send("GET", "/openvidu/api/sessions", &[("authorization", &wrong)], "")
        .await
        .expect("answer");
    assert_eq!(answer.status, 401);
    for (path, body) in
        [("/openvidu/api/sessions", "{not json"), ("/openvidu/api/sessions/bad/connection", "[1,2")]
    {
        let right = basic(tests::cluster::SECRET);
        let headers = [("authorization", right.as_str()), ("content-type", "application/json")];
        let answer = cluster.client().send("POST", path, &headers, body).await.expect("answer");
        assert!(matches!(answer.status, 400 | 403), "{path}: {} {}", answer.status, answer.text());
    }
    let token = cluster.token("bad", "PUBLISHER").await.expect("token");
    let viewer = cluster.token("bad", "SUBSCRIBER").await.expect("token");
    let huge = "v=0\r\n".to_owned() + &"a=x\r\n".repeat(200_000);
    let sdp = "application/sdp";
    let cases: [(&str, &str, &str, &str, &[u16]); 8] = [
        ("/whip", "tok_neverexisted0", sdp, OFFER_WITHOUT_CODEC, &[401]),
        ("/whip", &token, sdp, "this is no description", &[400, 422]),
        ("/whip", &token, sdp, "", &[400, 422]),
        ("/whip", &token, sdp, OFFER_WITHOUT_CODEC, &[400, 406, 415, 422]),
        ("/whip", &token, "text/plain", OFFER_WITHOUT_CODEC, &[415]),
        ("/whip", &token, sdp, &huge, &[400, 413]),
        ("/whip", &viewer, sdp, OFFER_WITHOUT_CODEC, &[401, 403]),
        ("/whep/str_CAM_none", &token, sdp, OFFER_WITHOUT_CODEC, &[404]),
    ];
    for (path, bearer, kind, body, statuses) in cases {
        let (status, text) = whip(&cluster, path, bearer, kind, body).await;
        let start: String = body.chars().take(20).collect();
        assert!(statuses.contains(&status), "{path} {kind} {start:?}: {status} {text}");
        assert!(
            status == 401 || text.contains("\"detail\"") || text.contains("\"title\""),
            "the cause is told: {status} {text}"
        );
    }
    // All that has consumed nothing: the token still works and so does the cluster.
    let plan = Plan {
        name: "bad".to_owned(),
        subscribers: 1,
        duration: Duration::from_millis(500),
        settle: Duration::ZERO,
        tail: Duration::ZERO,
        ..Plan::default()
    };
    let report = run(&cluster.server().expect("server"), &plan).await.expect("run");
    assert!(report.exact(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_admits_one_connection_and_only_its_own_resources() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    cluster.session("own").await.expect("session");
    let (first, second) = (
        cluster.token("own", "PUBLISHER").await.expect("token"),
        cluster.token("own", "PUBLISHER").await.expect("token"),
    );
    let bearer = format!("Bearer {first}");
    let own =
        cluster.client().events("/events", &[("authorization", bearer.as_str())]).await.expect("joined");
    let other = format!("Bearer {second}");
    for (method, path) in [("DELETE", "/whip/no-such-resource"), ("DELETE", "/whep/no-such-resource")] {
        let answer = cluster
            .client()
            .send(method, path, &[("authorization", other.as_str())], "")
            .await
            .expect("answer");
        assert!(matches!(answer.status, 401 | 403 | 404), "{path}: {} {}", answer.status, answer.text());
    }
    // Leaving ends the bearer for good.
    assert_eq!(
        cluster
            .client()
            .send("DELETE", "/connection", &[("authorization", bearer.as_str())], "")
            .await
            .expect("leave")
            .status,
        200
    );
    drop(own);
    let again = cluster
        .client()
        .send("GET", "/connection", &[("authorization", bearer.as_str())], "")
        .await
        .expect("answer");
    assert_eq!(again.status, 401, "a used token: {}", again.text());
    let (status, text) = whip(&cluster, "/whip", &first, "application/sdp", OFFER_WITHOUT_CODEC).await;
    assert_eq!(status, 401, "{text}");
}

#[test]
fn a_config_with_a_typo_names_file_line_key_and_what_is_allowed() {
    let folder = tempfile::tempdir().expect("folder");
    for program in [Program::Masterd, Program::Mediad, Program::Recorderd] {
        let path = folder.path().join("typo.toml");
        std::fs::write(&path, "[log]\nlevel = \"info\"\n\n[telemtry]\nlisten = \"127.0.0.1:1\"\n")
            .expect("config");
        let (code, text) = refused(program, &["--config", &path.display().to_string()]);
        assert_eq!(code, 78, "{}: {text}", program.name());
        assert!(
            text.contains("typo.toml") && text.contains("telemtry") && text.contains("telemetry"),
            "{}: {text}",
            program.name()
        );
        std::fs::write(&path, "[log]\nlevel = 7\n").expect("config");
        let (code, text) = refused(program, &["--config", &path.display().to_string()]);
        assert!(code == 78 && text.contains("log.level"), "{}: {code} {text}", program.name());
        let (code, text) = refused(program, &["--no-such-flag"]);
        assert_eq!(code, 64, "{}: {text}", program.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let cluster = Cluster::start(Options { nodes: 0, ..Options::default() }).await.expect("cluster");
    let text = std::fs::read_to_string(cluster.masterd.config()).expect("config");
    let other = cluster.folder().join("second.toml");
    let state = format!("{}/masterd", cluster.folder().display());
    std::fs::write(&other, text.replace(&state, &format!("{}/second", cluster.folder().display())))
        .expect("config");
    let (code, text) = refused(Program::Masterd, &["--config", &other.display().to_string()]);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("in use"), "{text}");
    // Neither has the first one suffered, nor its store.
    cluster.session("still-here").await.expect("session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_foreign_token_is_refused_and_told_why() {
    let cluster = Cluster::start(Options { nodes: 1, ..Options::default() }).await.expect("cluster");
    let foreign = Cluster::start(Options { nodes: 0, ..Options::default() }).await.expect("another cluster");
    let config = std::fs::read_to_string(cluster.nodes[0].config()).expect("config");
    let token = |cluster: &Cluster| format!("{}/masterd/join-token", cluster.folder().display());
    let health = free_tcp_port().expect("port");
    let lines = config
        .replace(&token(&cluster), &token(&foreign))
        .replace("\"mediad1\"", "\"stranger\"")
        .replace("/mediad1\"", "/stranger\"");
    let lines: Vec<String> = lines
        .lines()
        .map(|line| {
            if line.starts_with("listen = \"127.0.0.1:") {
                format!("listen = \"127.0.0.1:{health}\"")
            } else {
                line.to_owned()
            }
        })
        .collect();
    let stranger = Daemon::new(Program::Mediad, "stranger", cluster.folder(), health, &lines.join("\n"))
        .expect("stranger");
    stranger.spawn().expect("spawn");
    let told = || {
        let log = stranger.log();
        let refused = log.contains("token") || log.contains("certificate") || log.contains("fingerprint");
        if refused { Ok(()) } else { Err(log) }
    };
    wait::until_sync("the refusal in its log", SOON, told).await.expect("told");
    cluster.nodes_running(1).await.expect("only the right one is in");
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_at_the_media_and_link_ports_is_dropped_with_bounded_memory() {
    let cluster = Cluster::start(Options::default()).await.expect("cluster");
    let plan = Plan {
        name: "rubbish".to_owned(),
        subscribers: 3,
        duration: Duration::from_secs(5),
        settle: Duration::ZERO,
        tail: Duration::from_millis(500),
        ..Plan::default()
    };
    let server = cluster.server().expect("server");
    let load = tokio::spawn(async move { run(&server, &plan).await });
    let ports = media_ports(cluster.nodes[0].pid());
    assert!(!ports.is_empty(), "mediad has UDP ports");
    let before = Usage::read(cluster.nodes[0].pid()).expect("mediad");
    let master_before = Usage::read(cluster.masterd.pid()).expect("masterd");
    let link = cluster.link_port();
    let sent = tokio::task::spawn_blocking(move || {
        let (mut junk, mut sent, started) = (Junk::new(3), 0_u32, Instant::now());
        // A new address every hundred datagrams: nobody is told apart by address for long.
        while started.elapsed() < Duration::from_secs(4) {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
            for _ in 0..100 {
                let datagram = junk.datagram();
                let port = ports.get(sent as usize % (ports.len() + 1)).copied().unwrap_or(link);
                sent += u32::from(socket.send_to(&datagram, ("127.0.0.1", port)).is_ok());
            }
        }
        sent
    });
    let sent = sent.await.expect("rubbish");
    assert!(sent > 10_000, "{sent} datagrams of rubbish");
    let report = load.await.expect("task").expect("run");
    assert_eq!(
        (report.tally.missing, report.tally.corrupt, report.failed),
        (0, 0, 0),
        "the call goes on: {report}"
    );
    for (daemon, before) in [(&cluster.nodes[0], before), (&cluster.masterd, master_before)] {
        assert!(daemon.ended().is_none(), "{} lives", daemon.name());
        let grown = Usage::read(daemon.pid()).expect("usage").rss_bytes.saturating_sub(before.rss_bytes);
        assert!(grown < 48 << 20, "{} grew by {} MiB", daemon.name(), grown >> 20);
    }
}

/// UDP ports that a process has bound on loopback.
fn media_ports(pid: u32) -> Vec<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("descriptors")
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|target| {
            target.to_string_lossy().strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/udp")).expect("UDP sockets");
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let own = sockets.iter().any(|inode| Some(&inode.as_str()) == fields.get(9));
        let (address, port) = fields.get(1)?.split_once(':')?;
        (own && (address == "0100007F" || address == "00000000"))
            .then(|| u16::from_str_radix(port, 16).ok())?
    };
    table.lines().skip(1).filter_map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_changes_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(folder.path()).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        tests::browser::skip("full disk: no small file system can be mounted here (needs root)");
        return;
    }
    let outcome = tokio::spawn(full_disk(folder.path().to_owned())).await;
    let unmounted = Command::new("umount").arg("--lazy").arg(folder.path()).status().expect("umount");
    assert!(unmounted.success());
    outcome.expect("the test itself");
}

async fn full_disk(disk: std::path::PathBuf) {
    let cluster = Cluster::prepare(Options { nodes: 0, ..Options::default() }).expect("cluster");
    let state = format!("{}/masterd", cluster.folder().display());
    let config = std::fs::read_to_string(cluster.masterd.config()).expect("config");
    std::fs::write(cluster.masterd.config(), config.replace(&state, &format!("{}/masterd", disk.display())))
        .expect("config");
    cluster.masterd.start().await.expect("masterd");
    cluster.session("kept").await.expect("session");
    // The rest of the disk fills up.
    let filler = disk.join("filler");
    let chunk = vec![1; 64 << 10];
    let mut file = std::fs::File::create(&filler).expect("filler");
    while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
    // Fat connections: the store has some room of its own before it needs the disk.
    let body = json!({ "data": "x".repeat(8 << 10) });
    let (mut created, mut cause) = (Vec::new(), None);
    while cause.is_none() && created.len() < 20_000 {
        match cluster.api("POST", "/openvidu/api/sessions/kept/connection", &body).await {
            Ok(answer) if answer.status == 200 => {
                created.push(answer.json()["id"].as_str().unwrap_or_default().to_owned());
            }
            Ok(answer) => cause = Some((answer.status, answer.text())),
            Err(error) => cause = Some((0, error.to_string())),
        }
    }
    let (status, text) = cause.expect("the disk was full at some time");
    assert!(status >= 500 || cluster.masterd.ended().is_some(), "refused: {status} {text}");

    // With space again, masterd (restarted where it gave up) has everything that it had confirmed.
    std::fs::remove_file(&filler).expect("space again");
    drop(file);
    cluster.masterd.kill();
    cluster.masterd.start().await.expect("masterd again");
    let list = cluster.get("/openvidu/api/sessions/kept/connection").await.expect("list");
    assert_eq!(list.status, 200, "the session is still there");
    let list = list.json();
    let kept: BTreeSet<&str> = list["content"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|connection| connection["id"].as_str())
        .collect();
    let lost = created.iter().filter(|id| !kept.contains(id.as_str())).count();
    assert_eq!(lost, 0, "confirmed and gone, of {}", created.len());
    cluster.session("new").await.expect("a new session");
}
