//! Shell: a scripted core.
//!
//! REST signalling: WHIP, WHEP, one's own connection, signals, the page.

use axum::http::StatusCode;
use common::wire::node::NodeError;

use super::{APP, Asked, BEARER, Stage, endpoint, small_cluster};
use crate::cluster::op::{Actor, Op, Refusal, Reply};

const SDP: &str = "Content-Type: application/sdp";
const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag";
const JSON: &str = "Content-Type: application/json";

fn media(asked: &Asked) -> Reply {
    match asked {
        Asked::Op(_, Op::Publish { .. } | Op::PlaySession { .. } | Op::PlayStream { .. }) => endpoint(),
        other => small_cluster(other),
    }
}

#[tokio::test]
async fn an_offer_gets_201_with_all_that_whip_asks_for() {
    for (line, location) in
        [("POST /whip", "/whip/r1"), ("POST /whep", "/whep/r1"), ("POST /whep/str_x", "/whep/r1")]
    {
        let answer = Stage::new(media).send(line, &[BEARER, SDP], "v=0\r\n").await;
        assert_eq!(answer.status, StatusCode::CREATED, "{line}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/sdp");
        assert_eq!(answer.header("location"), location);
        assert_eq!(answer.header("etag"), "\"e1\"");
        assert_eq!(answer.header("accept-patch"), "application/trickle-ice-sdpfrag");
        let links: Vec<_> =
            answer.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
        assert_eq!(
            links,
            [
                "<stun:s.example:3478>; rel=\"ice-server\"",
                "<turn:t.example>; rel=\"ice-server\"; username=\"u\"; credential=\"c\"; credential-type=\"password\""
            ]
        );
        assert_eq!(answer.body, "v=0\r\n");
    }
}

#[tokio::test]
async fn the_core_learns_who_publishes_what() {
    let stage = Stage::new(media);
    let headers = [BEARER, SDP, "User-Agent: curl/8", "X-Client-Data: %7B%22clientData%22%3A%22Ada%22%7D"];
    stage.send("POST /whip?typeOfVideo=SCREEN&audioActive=false", &headers, "v=0\r\n").await;
    let asked = stage.asked();
    let Some(Asked::Op(Actor::Bearer(token), Op::Publish { offer, client, media })) = asked.first() else {
        panic!("{asked:?}")
    };
    assert_eq!((token.as_str(), offer.as_str()), ("tok_H1aB2cD3", "v=0\r\n"));
    assert_eq!((client.ip.as_str(), client.platform.as_str()), ("192.0.2.9", "curl/8"));
    assert_eq!(client.client_data, r#"{"clientData":"Ada"}"#);
    assert_eq!(
        (media.type_of_video.as_str(), media.audio_active, media.video_active),
        ("SCREEN", false, true)
    );
}

#[tokio::test]
async fn each_refusal_has_its_status_and_says_why() {
    let rows: Vec<(Refusal, u16, &str)> = vec![
        (Refusal::AlreadyPublishing, 409, "already-publishing"),
        (Refusal::Limit { limit: "streams" }, 503, "limit"),
        (Refusal::NoMediaNode { session: "s".to_owned() }, 503, "no-media-node"),
        (Refusal::Node(NodeError::InvalidSdp { why: "no m line".to_owned() }), 400, "no m line"),
        (Refusal::Node(NodeError::NoCodec { why: "only H265".to_owned() }), 422, "only H265"),
        (Refusal::Node(NodeError::Busy), 503, "media-node"),
        (Refusal::Node(NodeError::Internal { why: "x".to_owned() }), 502, "media-node"),
        (Refusal::NodeSilent, 504, "media-node-silent"),
        (Refusal::Role, 403, "role"),
        (Refusal::StoreFailing, 503, "storage"),
        (Refusal::Token, 401, "invalid-token"),
        (Refusal::TooLong { what: "client data", max: 9 }, 413, "too-large"),
        (Refusal::UnknownStream, 404, "unknown-stream"),
    ];
    for (refusal, status, part) in rows {
        let scripted = refusal.clone();
        let stage = Stage::new(move |_: &Asked| Reply::Refused(scripted.clone()));
        let answer = stage.send("POST /whip", &[BEARER, SDP], "v=0\r\n").await;
        assert_eq!(answer.status.as_u16(), status, "{refusal:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.body.contains(part), "{}", answer.body);
        assert_eq!(answer.json()["status"], status);
    }
}

#[tokio::test]
async fn malformed_requests_never_reach_the_core() {
    let stage = Stage::new(media);
    let long = "v".repeat(common::limits::SDP_BYTES_MAX + 1);
    let rows: Vec<(&str, Vec<&str>, &str, u16)> = vec![
        ("POST /whip", vec![SDP], "v=0", 401),
        ("POST /whip", vec![SDP, "Authorization: Bearer nonsense"], "v=0", 401),
        ("POST /whip", vec![SDP, APP], "v=0", 401),
        ("POST /whip", vec![BEARER], "v=0", 415),
        ("POST /whip", vec![BEARER, JSON], "v=0", 415),
        ("POST /whip", vec![BEARER, SDP], "", 400),
        ("POST /whip", vec![BEARER, SDP], &long, 413),
        ("POST /whip", vec![BEARER, SDP, "Accept: text/html"], "v=0", 406),
        ("POST /whip?typeOfVideo=X", vec![BEARER, SDP], "v=0", 400),
        ("POST /whip", vec![BEARER, SDP, "X-Client-Data: %ff"], "v=0", 400),
        ("GET /whip", vec![BEARER], "", 405),
        ("GET /whip/r1", vec![BEARER], "", 405),
        ("PUT /whep", vec![BEARER], "", 405),
        ("PATCH /whip/r1", vec![BEARER, SDP], "a=x", 415),
        ("PATCH /whip/r1", vec![BEARER, FRAGMENT, "If-Match: W/\"e\""], "a=x", 412),
        ("PUT /whep/r1/slots", vec![BEARER, JSON], "{}", 400),
        ("PUT /whep/r1/slots", vec![BEARER, JSON], r#"{"pins":[{"slot":-1,"streamId":"s"}]}"#, 400),
        ("PUT /whep/r1/slots", vec![BEARER, JSON], r#"{"layers":[{"slot":0,"layer":256}]}"#, 400),
        ("POST /signal", vec![BEARER, JSON], "{", 400),
        ("POST /signal", vec![BEARER, JSON], r#"{"to":"con_a"}"#, 400),
        ("POST /signal", vec![BEARER], "{}", 415),
        ("GET /events", vec![BEARER, "Last-Event-ID: x"], "", 400),
        ("GET /nothing", vec![], "", 404),
    ];
    for (line, headers, body, status) in rows {
        let answer = stage.send(line, &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{line} {headers:?}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{line}");
    }
    assert_eq!(stage.asked(), []);
}

#[tokio::test]
async fn candidates_restarts_pins_and_teardown_reach_the_core() {
    let stage = Stage::new(|asked: &Asked| match asked {
        Asked::Op(_, Op::Trickle { fragment, .. }) if fragment.contains("restart") => {
            Reply::Fragment { sdp: "a=ice-ufrag:n\r\n".to_owned(), etag: "e2".to_owned() }
        }
        Asked::Op(_, Op::Trickle { etag, .. }) if etag.as_deref() == Some("old") => {
            Reply::Refused(Refusal::StaleResource)
        }
        other => small_cluster(other),
    });
    let patch = "PATCH /whip/r1";
    let answer = stage.send(patch, &[BEARER, FRAGMENT, "If-Match: \"e1\""], "a=candidate:1").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    let answer = stage.send(patch, &[BEARER, FRAGMENT, "If-Match: *"], "restart").await;
    assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, "\"e2\""));
    assert_eq!(answer.header("content-type"), "application/trickle-ice-sdpfrag");
    assert_eq!(stage.send(patch, &[BEARER, FRAGMENT, "If-Match: \"old\""], "x").await.status.as_u16(), 412);
    let pins = r#"{"pins":[{"slot":1,"streamId":"str_a"}]}"#;
    assert_eq!(stage.send("PUT /whep/r1/slots", &[BEARER, JSON], pins).await.status.as_u16(), 204);
    let layers = r#"{"layers":[{"slot":0,"layer":0},{"slot":2,"layer":null}]}"#;
    assert_eq!(stage.send("PUT /whep/r1/slots", &[BEARER, JSON], layers).await.status.as_u16(), 204);
    assert_eq!(stage.send("DELETE /whep/r1", &[BEARER], "").await.status.as_u16(), 200);
    assert_eq!(
        stage.send("POST /signal", &[BEARER, JSON], r#"{"data":"x","to":["con_b"]}"#).await.status.as_u16(),
        200
    );
    assert_eq!(stage.send("DELETE /connection", &[BEARER], "").await.status.as_u16(), 200);
    let ops: Vec<Op> = stage
        .asked()
        .into_iter()
        .filter_map(|asked| match asked {
            Asked::Op(_, op) => Some(op),
            Asked::Query(..) | Asked::Unwatch => None,
        })
        .collect();
    let trickle = |etag: Option<&str>, fragment: &str| Op::Trickle {
        resource: "r1".to_owned(),
        etag: etag.map(str::to_owned),
        fragment: fragment.to_owned(),
    };
    assert_eq!(
        ops,
        [
            trickle(Some("e1"), "a=candidate:1"),
            trickle(None, "restart"),
            trickle(Some("old"), "x"),
            Op::ArrangeSlots {
                resource: "r1".to_owned(),
                pins: Some(vec![(1, "str_a".to_owned())]),
                layers: None
            },
            Op::ArrangeSlots { resource: "r1".to_owned(), pins: None, layers: Some(vec![(0, 0), (2, 255)]) },
            Op::EndpointDelete { resource: "r1".to_owned() },
            Op::Signal {
                session: None,
                to: vec!["con_b".to_owned()],
                kind: String::new(),
                data: "x".to_owned()
            },
            Op::Leave,
        ]
    );
}

#[tokio::test]
async fn options_say_what_may_be_sent() {
    let stage = Stage::new(media);
    let answer = stage.send("OPTIONS /whip", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("accept-post")), (204, "application/sdp"));
    let answer = stage.send("OPTIONS /whep/r1", &[], "").await;
    assert_eq!(answer.header("accept-patch"), "application/trickle-ice-sdpfrag");
}

#[tokio::test]
async fn guessing_tokens_is_bounded() {
    let stage = Stage::new(|_: &Asked| Reply::Refused(Refusal::Token));
    let mut statuses = Vec::new();
    for _ in 0..70 {
        statuses.push(stage.send("GET /connection", &[BEARER], "").await.status.as_u16());
    }
    assert_eq!((statuses.first(), statuses.last()), (Some(&401), Some(&429)));
}

#[tokio::test]
async fn a_participant_sees_its_own_connection() {
    let answer = Stage::new(small_cluster).send("GET /connection", &[BEARER], "").await;
    let body = answer.json();
    assert_eq!((body["sessionId"].as_str(), body["connectionId"].as_str()), (Some("s"), Some("con_a")));
    for key in ["streams", "slots", "participants", "iceServers"] {
        assert!(body[key].is_array(), "{key}");
    }
}

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy() {
    let stage = Stage::new(small_cluster);
    let page = stage.send("GET /", &[], "").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
    assert!(!page.body.contains("style=") && !page.body.contains("onclick"));
    for part in page.body.split(['"', '\'']).filter(|part| part.starts_with("/page/")) {
        assert_eq!(stage.send(&format!("GET {part}"), &[], "").await.status, StatusCode::OK, "{part}");
    }
    assert_eq!(stage.send("GET /page/secret", &[], "").await.status, StatusCode::NOT_FOUND);
    let document = stage.send("GET /openapi.json", &[], "").await.json();
    assert_eq!(document["servers"][0]["url"], "https://ov.example.org");
}

/// The document's page, which end-to-end tests run in a browser.
fn page_of_the_document() -> &'static str {
    let document = include_str!("../../../../docs/signalling.md");
    let (_, rest) = document.split_once("```html\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_documents_page_is_short_and_uses_what_is_served() {
    let page = page_of_the_document();
    assert!(page.starts_with("<!doctype html>"));
    assert!(page.trim_end().ends_with("</script>"));
    assert!(!page.contains(" src="), "no library");
    let lines = page.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 60, "{lines} lines");
    let served: Vec<&str> = crate::http::routes::all().iter().map(|route| route.path).collect();
    for path in ["/whip", "/whep", "/events", "/connection"] {
        assert!(page.contains(path), "{path} is not shown");
        assert!(served.contains(&path), "{path} is not served");
    }
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        let count = |char| page.chars().filter(|it| *it == char).count();
        assert_eq!(count(open), count(close), "{open}{close}");
    }
}

#[test]
fn the_document_names_every_request_of_a_participant() {
    let document = include_str!("../../../../docs/signalling.md");
    for root in
        ["POST /whip", "POST /whep", "GET /events", "GET /connection", "DELETE /connection", "POST /signal"]
    {
        assert!(document.contains(&format!("`{root}`")), "{root}");
    }
}
