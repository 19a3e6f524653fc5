//! Shell: a scripted core.
//!
//! OpenVidu's API: statuses, shapes, order of checks, leniency.

use axum::http::StatusCode;

use super::{APP, Asked, PEER, Stage, request, settings, small_cluster};
use crate::cluster::op::{ConnectionRole, NodeStatus, NodeView, Op, Query, Reply};
use crate::http::{Edition, FrameworkErrors};

/// One request by the application: line, body, expected status, text that the body holds.
type Row = (&'static str, &'static str, u16, &'static str);

async fn check(rows: &[Row]) {
    for (line, body, status, part) in rows {
        let stage = Stage::new(small_cluster);
        let answer = stage.app(line, body).await;
        assert_eq!(answer.status.as_u16(), *status, "{line} {body}: {}", answer.body);
        assert!(answer.body.contains(part), "{line} {body}: {}", answer.body);
        if *part == EMPTY {
            assert_eq!(answer.body, "", "{line} {body}");
        }
    }
}

const EMPTY: &str = "";

#[tokio::test]
async fn sessions_are_created_listed_read_and_closed() {
    check(&[
        ("POST /openvidu/api/sessions", EMPTY, 200, r#""object":"session""#),
        ("POST /openvidu/api/sessions", "{}", 200, r#""customSessionId":"""#),
        (
            "POST /openvidu/api/sessions",
            r#"{"customSessionId":"a_B-1"}"#,
            200,
            r#""customSessionId":"a_B-1""#,
        ),
        ("POST /openvidu/api/sessions", r#"{"customSessionId":""}"#, 200, r#""customSessionId":"""#),
        ("POST /openvidu/api/sessions", r#"{"customSessionId":"s"}"#, 409, EMPTY),
        ("POST /openvidu/api/sessions", r#"{"mediaMode":null,"unknown":5}"#, 200, "ROUTED"),
        ("POST /openvidu/api/sessions", r#"{"mediaMode":"RELAYED"}"#, 200, "RELAYED"),
        (
            "POST /openvidu/api/sessions",
            r#"{"forcedVideoCodec":"H264"}"#,
            200,
            r#""forcedVideoCodec":"H264""#,
        ),
        ("POST /openvidu/api/sessions", r#"{"mediaNode":{"id":"m"}}"#, 200, r#""mediaNode":{"id":"m"}"#),
        (
            "POST /openvidu/api/sessions",
            r#"{"defaultRecordingProperties":{"frameRate":30.0}}"#,
            200,
            r#""frameRate":30"#,
        ),
        ("GET /openvidu/api/sessions", EMPTY, 200, r#"{"numberOfElements":1,"content":[{"id":"s""#),
        ("GET /openvidu/api/sessions/s", EMPTY, 200, r#""connections":{"numberOfElements":0"#),
        (
            "GET /openvidu/api/sessions/s?pendingConnections=true",
            EMPTY,
            200,
            r#""connections":{"numberOfElements":1"#,
        ),
        ("GET /openvidu/api/sessions/x", EMPTY, 404, EMPTY),
        ("DELETE /openvidu/api/sessions/s", EMPTY, 204, EMPTY),
        ("DELETE /openvidu/api/sessions/x", EMPTY, 404, EMPTY),
    ])
    .await;
}

#[tokio::test]
async fn wrong_session_properties_are_described_in_openvidus_order() {
    let post = "POST /openvidu/api/sessions";
    check(&[
        (post, r#"{"mediaMode":5,"forcedVideoCodec":"X"}"#, 400, "'mediaMode' is not a string"),
        (
            post,
            r#"{"allowTranscoding":"yes","forcedVideoCodec":"X"}"#,
            400,
            "'allowTranscoding' is not a boolean",
        ),
        (post, r#"{"forcedVideoCodec":"X","recordingMode":"X"}"#, 400, "'forcedVideoCodec' X"),
        (post, r#"{"recordingMode":"X","mediaMode":"X"}"#, 400, "'recordingMode' X"),
        (post, r#"{"mediaMode":"X","customSessionId":"a b"}"#, 400, "'mediaMode' X"),
        (post, r#"{"customSessionId":"a b","defaultRecordingProperties":5}"#, 400, "'customSessionId'"),
        (post, r#"{"defaultRecordingProperties":5}"#, 400, "'defaultRecordingProperties'"),
        (post, r#"{"defaultRecordingProperties":{"resolution":"1x1"}}"#, 400, "'resolution'"),
        (post, r#"{"mediaNode":{"id":5}}"#, 400, "'mediaNode'"),
    ])
    .await;
    let answer = Stage::new(small_cluster).app(post, r#"{"mediaMode":"X"}"#).await.json();
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["timestamp", "status", "error", "message", "path"]);
    assert!(answer["timestamp"].is_u64());
    assert_eq!(
        (answer["error"].as_str(), answer["path"].as_str()),
        (Some("Bad Request"), Some("/openvidu/api/sessions"))
    );
}

#[tokio::test]
async fn connections_are_created_listed_read_and_deleted() {
    let post = "POST /openvidu/api/sessions/s/connection";
    check(&[
        (post, EMPTY, 200, r#""token":"wss://ov.example.org?sessionId=s&token=tok_H1aB2cD3eF4gH5iJ""#),
        (post, r#"{"role":"MODERATOR","data":"x","record":false}"#, 200, r#""role":"MODERATOR""#),
        (
            post,
            r#"{"type":null,"role":null,"kurentoOptions":null,"customIceServers":null,"record":null}"#,
            200,
            r#""record":true"#,
        ),
        (
            post,
            r#"{"kurentoOptions":{"allowedFilters":["a"],"videoMaxRecvBandwidth":500.0,"x":1}}"#,
            200,
            r#""kurentoOptions":{"videoMaxRecvBandwidth":500,"allowedFilters":["a"]}"#,
        ),
        (
            post,
            r#"{"customIceServers":[{"url":"stun:valid-domain.es:1234"}]}"#,
            200,
            r#""customIceServers":[{"url":"stun:valid-domain.es:1234"}]"#,
        ),
        (post, r#"{"customIceServers":[]}"#, 200, r#""customIceServers":[{"url":"stun:s.example:3478"}]"#),
        ("POST /openvidu/api/sessions/x/connection", r#"{"type":5}"#, 404, EMPTY),
        (post, r#"{"type":5}"#, 400, "'type' is not a string"),
        (post, r#"{"type":"FOO","role":5}"#, 400, "Parameter 'type' FOO is not defined"),
        (post, r#"{"role":"FOO"}"#, 400, "'role' FOO"),
        (post, r#"{"kurentoOptions":5}"#, 400, "'kurentoOptions'"),
        (post, r#"{"kurentoOptions":{"videoMaxRecvBandwidth":"x"}}"#, 400, "'videoMaxRecvBandwidth'"),
        (post, r#"{"kurentoOptions":{"allowedFilters":[5]}}"#, 400, "'allowedFilters'"),
        (post, r#"{"customIceServers":[{"url":"bad-ice-server"}]}"#, 400, "bad-ice-server"),
        (post, r#"{"customIceServers":[5]}"#, 400, "'customIceServers'"),
        (post, r#"{"record":"x"}"#, 400, "'record'"),
        ("GET /openvidu/api/sessions/s/connection", EMPTY, 200, r#"{"numberOfElements":1"#),
        (
            "GET /openvidu/api/sessions/s/connection?pendingConnections=false",
            EMPTY,
            200,
            r#"{"numberOfElements":0"#,
        ),
        ("GET /openvidu/api/sessions/x/connection", EMPTY, 404, EMPTY),
        ("GET /openvidu/api/sessions/s/connection/con_a", EMPTY, 200, r#""status":"pending""#),
        ("GET /openvidu/api/sessions/x/connection/con_a", EMPTY, 400, EMPTY),
        ("GET /openvidu/api/sessions/s/connection/con_b", EMPTY, 404, EMPTY),
        ("DELETE /openvidu/api/sessions/s/connection/con_a", EMPTY, 204, EMPTY),
        ("DELETE /openvidu/api/sessions/x/connection/con_a", EMPTY, 400, EMPTY),
        ("DELETE /openvidu/api/sessions/s/connection/con_b", EMPTY, 404, EMPTY),
    ])
    .await;
}

#[tokio::test]
async fn older_tokens_and_signals_of_the_application_are_served() {
    check(&[
        (
            "POST /openvidu/api/tokens",
            r#"{"session":"s","role":"SUBSCRIBER"}"#,
            200,
            r#""role":"SUBSCRIBER"}"#,
        ),
        ("POST /openvidu/api/tokens", r#"{"session":5}"#, 400, "'session' is not a string"),
        ("POST /openvidu/api/tokens", "{}", 400, "'session' is mandatory"),
        ("POST /openvidu/api/tokens", r#"{"session":"x","role":5}"#, 404, "x not found"),
        ("POST /openvidu/api/tokens", r#"{"session":"s","role":5}"#, 400, "'role'"),
        ("POST /openvidu/api/signal", r#"{"session":"s","type":"chat","data":"hi"}"#, 200, EMPTY),
        ("POST /openvidu/api/signal", r#"{"data":"hi"}"#, 400, "'session' is mandatory"),
        ("POST /openvidu/api/signal", r#"{"session":"s","to":[5]}"#, 400, "'to'"),
        ("POST /openvidu/api/signal", r#"{"session":"s","to":["con_a",null]}"#, 406, EMPTY),
    ])
    .await;
}

#[tokio::test]
async fn the_core_gets_what_was_asked_for() {
    let stage = Stage::new(small_cluster);
    let body =
        r#"{"role":"SUBSCRIBER","data":"d","customIceServers":[{"url":"turn:t.es","staticAuthSecret":"n"}]}"#;
    stage.app("POST /openvidu/api/sessions/s/connection", body).await;
    let Some(Asked::Op(_, Op::ConnectionCreate { session, properties })) = stage.asked().pop() else {
        panic!("{:?}", stage.asked())
    };
    assert_eq!((session.as_str(), properties.role), ("s", ConnectionRole::Subscriber));
    assert_eq!((properties.server_data.as_str(), properties.record), ("d", true));
    let server = &properties.ice_servers[0];
    assert!(server.username.as_deref().is_some_and(|name| name.contains(':')), "{server:?}");
    assert!(server.credential.as_deref().is_some_and(|credential| credential.len() == 28), "{server:?}");
}

#[tokio::test]
async fn nodes_and_health_are_shown() {
    let rows: &[Row] = &[
        ("GET /openvidu/api/media-nodes", EMPTY, 200, r#"{"numberOfElements":0,"content":[]}"#),
        ("GET /openvidu/api/media-nodes/media_x", EMPTY, 404, EMPTY),
        ("GET /openvidu/api/health", EMPTY, 503, r#"{"status":"DOWN","disconnectedMediaNodes":[]}"#),
        ("GET /plenum/api/sessions/s/placement", EMPTY, 200, r#"{"numberOfElements":0"#),
        ("GET /plenum/api/stats", EMPTY, 200, r#"{"sessions":1}"#),
    ];
    check(rows).await;
    let node = |id: &str, connected| NodeView { id: id.to_owned(), connected, ..NodeView::default() };
    for (nodes, status, text) in [
        (vec![node("media_a", true)], 200, r#"{"status":"UP","disconnectedMediaNodes":[]}"#),
        (
            vec![node("media_a", true), node("media_b", false)],
            409,
            r#"{"status":"UNSTABLE","disconnectedMediaNodes":["media_b"]}"#,
        ),
        (vec![NodeView { recorder: true, ..node("media_r", true) }], 503, "DOWN"),
    ] {
        let stage = Stage::new(move |asked: &Asked| match asked {
            Asked::Query(_, Query::Nodes) => Reply::Nodes(nodes.clone()),
            other => small_cluster(other),
        });
        let answer = stage.app("GET /openvidu/api/health", EMPTY).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(answer.body.contains(text), "{}", answer.body);
    }
}

#[tokio::test]
async fn what_the_framework_answers_is_403_or_natural() {
    let rows: [(&str, &str, &str, u16); 9] = [
        ("DELETE /openvidu/api/sessions", APP, EMPTY, 405),
        ("PUT /openvidu/api/sessions/s/connection/con_a", APP, "{}", 405),
        ("GET /openvidu/api/nothing", APP, EMPTY, 404),
        ("POST /openvidu/api/sessions", "Content-Type: application/json", "not json", 400),
        ("POST /openvidu/api/sessions", "Content-Type: application/json", "[1]", 400),
        ("POST /openvidu/api/sessions", "Content-Type: text/plain", "{}", 415),
        ("POST /openvidu/api/tokens", "Content-Type: application/json", EMPTY, 400),
        ("GET /openvidu/api/sessions?pendingConnections=maybe", APP, EMPTY, 400),
        ("GET /openvidu/nothing", APP, EMPTY, 404),
    ];
    for (line, header, body, natural) in rows {
        for (mode, status) in [(FrameworkErrors::Forbidden, 403), (FrameworkErrors::Natural, natural)] {
            let settings = crate::http::HttpSettings { framework_errors: mode, ..settings() };
            let stage = Stage::with(settings, Box::new(small_cluster));
            let answer = stage.send(line, &[APP, header], body).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, ""), "{line} {body}");
        }
        let anonymous = Stage::new(small_cluster).send(line, &[], body).await;
        assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED, "{line}");
    }
}

#[tokio::test]
async fn bodiless_requests_may_say_that_they_are_forms() {
    let form = "Content-Type: application/x-www-form-urlencoded";
    for (line, status) in [
        ("POST /openvidu/api/sessions", 200),
        ("GET /openvidu/api/sessions", 200),
        ("DELETE /openvidu/api/sessions/s", 204),
    ] {
        let answer = Stage::new(small_cluster).send(line, &[APP, form], EMPTY).await;
        assert_eq!(answer.status.as_u16(), status, "{line}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_challenged_and_bounded() {
    let stage = Stage::new(small_cluster);
    let line = "GET /openvidu/api/sessions";
    let answer = stage.send(line, &[], EMPTY).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").starts_with("Basic realm="));
    let wrong = "Authorization: Basic T1BFTlZJRFVBUFA6V1JPTkc=";
    let mut statuses = Vec::new();
    for _ in 0..70 {
        statuses.push(stage.send(line, &[wrong], EMPTY).await.status.as_u16());
    }
    assert_eq!(statuses.first(), Some(&401));
    assert_eq!(statuses.last(), Some(&429));
    // Even the right secret: otherwise guessing would go on.
    let answer = stage.send(line, &[APP], EMPTY).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_ne!(answer.header("retry-after"), "");
    let elsewhere = stage.service.answer([192, 0, 2, 10].into(), request(line, &[APP], EMPTY)).await;
    assert_eq!(elsewhere.status(), StatusCode::OK);
}

#[tokio::test]
async fn open_paths_and_old_paths_are_served() {
    let stage = Stage::new(small_cluster);
    for path in [
        "/openvidu/api/config/openvidu-publicurl",
        "/config/openvidu-publicurl",
        "/api/config/openvidu-publicurl",
    ] {
        let answer = stage.send(&format!("GET {path}"), &[], EMPTY).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (200, "https://ov.example.org/"),
            "{path}"
        );
    }
    let head = stage.send("HEAD /openvidu/api/config/openvidu-publicurl", &[], EMPTY).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    assert_eq!(stage.send("GET /openvidu/accept-certificate", &[], EMPTY).await.status, StatusCode::OK);
    assert_eq!(stage.send("GET /api/sessions", &[APP], EMPTY).await.status, StatusCode::OK);
    let settings = crate::http::HttpSettings { deprecated_paths: false, ..settings() };
    let modern = Stage::with(settings, Box::new(small_cluster));
    assert_eq!(modern.send("GET /api/sessions", &[APP], EMPTY).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_community_edition_has_no_cluster() {
    let settings = crate::http::HttpSettings { edition: Edition::Ce, ..settings() };
    let stage = Stage::with(settings, Box::new(small_cluster));
    for path in ["media-nodes", "media-nodes/x", "health"] {
        let answer = stage.app(&format!("GET /openvidu/api/{path}"), EMPTY).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn every_origin_may_ask_and_read() {
    let stage = Stage::new(small_cluster);
    let preflight = [
        "Origin: https://app.example",
        "Access-Control-Request-Method: DELETE",
        "Access-Control-Request-Headers: authorization",
    ];
    for path in ["/openvidu/api/sessions/s", "/whip", "/nothing"] {
        let answer = stage.send(&format!("OPTIONS {path}"), &preflight, EMPTY).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
        assert_eq!(answer.header("access-control-allow-methods"), "DELETE");
    }
    let answer = stage.send("GET /openvidu/api/sessions", &["Origin: https://app.example"], EMPTY).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
    assert!(answer.header("access-control-expose-headers").contains("Location, Link, ETag"));
}

#[tokio::test]
async fn too_long_bodies_are_refused() {
    let long = format!(r#"{{"data":"{}"}}"#, "x".repeat(300 * 1024));
    let settings = crate::http::HttpSettings { framework_errors: FrameworkErrors::Natural, ..settings() };
    let stage = Stage::with(settings, Box::new(small_cluster));
    let answer = stage.app("POST /openvidu/api/sessions/s/connection", &long).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_proxy_on_this_host_is_believed_only_where_there_is_one() {
    let wrong = "Authorization: Basic T1BFTlZJRFVBUFA6V1JPTkc=";
    for (behind_proxy, last) in [(true, 401), (false, 429)] {
        let settings = crate::http::HttpSettings { behind_proxy, ..settings() };
        let stage = Stage::with(settings, Box::new(small_cluster));
        let mut status = StatusCode::OK;
        for index in 0..80 {
            let forwarded = format!("X-Forwarded-For: 198.51.100.1, 203.0.113.{index}");
            let line = "GET /openvidu/api/sessions";
            status = stage.service.answer(PEER, request(line, &[wrong, &forwarded], EMPTY)).await.status();
        }
        assert_eq!(status.as_u16(), last, "behind_proxy = {behind_proxy}");
    }
}

#[tokio::test]
async fn a_media_node_is_parked_and_taken_back() {
    let rows = [
        (NodeStatus::Running, r#"{"status":"waiting-idle-to-terminate"}"#, 200, Some(true)),
        (NodeStatus::WaitingIdleToTerminate, r#"{"status":"running"}"#, 200, Some(false)),
        (NodeStatus::Running, r#"{"status":"running"}"#, 204, None),
        (NodeStatus::Running, r#"{"status":"launching"}"#, 400, None),
        (NodeStatus::Lost, r#"{"status":"running"}"#, 400, None),
        (NodeStatus::Running, r#"{"status":5}"#, 400, None),
        (NodeStatus::Running, "{}", 400, None),
        (NodeStatus::Running, EMPTY, 403, None),
    ];
    for (status, body, expected, drained) in rows {
        let stage = Stage::new(move |asked: &Asked| match asked {
            Asked::Query(_, Query::Node { node }) => {
                Reply::Nodes(vec![NodeView { id: node.clone(), status, ..NodeView::default() }])
            }
            other => small_cluster(other),
        });
        let answer = stage.app("PATCH /openvidu/api/media-nodes/media_a", body).await;
        assert_eq!(answer.status.as_u16(), expected, "{status:?} {body}: {}", answer.body);
        let asked = stage.asked().into_iter().find_map(|asked| match asked {
            Asked::Op(_, Op::NodeDrain { on, .. }) => Some(on),
            Asked::Op(..) | Asked::Query(..) | Asked::Unwatch => None,
        });
        assert_eq!(asked, drained, "{status:?} {body}");
    }
    check(&[("PATCH /openvidu/api/media-nodes/media_x", r#"{"status":5}"#, 404, EMPTY)]).await;
}
