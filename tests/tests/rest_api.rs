//! OpenVidu's REST calls over the real masterd: shapes, statuses, the order of checks. No media node is needed.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::cluster::{Cluster, Options};
use tests::http::basic;

const SESSION_KEYS: [&str; 13] = [
    "id",
    "object",
    "sessionId",
    "createdAt",
    "recording",
    "broadcasting",
    "mediaMode",
    "recordingMode",
    "defaultRecordingProperties",
    "customSessionId",
    "forcedVideoCodec",
    "allowTranscoding",
    "connections",
];
const CONNECTION_KEYS: [&str; 23] = [
    "id",
    "object",
    "status",
    "connectionId",
    "sessionId",
    "createdAt",
    "type",
    "record",
    "role",
    "kurentoOptions",
    "customIceServers",
    "rtspUri",
    "adaptativeBitrate",
    "onlyPlayWithSubscribers",
    "networkCache",
    "serverData",
    "token",
    "activeAt",
    "location",
    "ip",
    "platform",
    "clientData",
    "publishers",
];

async fn cluster() -> Cluster {
    let cluster = Cluster::prepare(Options { nodes: 0, ..Options::default() }).expect("cluster");
    cluster.masterd.start().await.expect("masterd");
    cluster
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_exactly_the_documented_fields() {
    let cluster = cluster().await;
    let created = cluster
        .api("POST", "/openvidu/api/sessions", &json!({ "customSessionId": "exact" }))
        .await
        .expect("create");
    assert_eq!((created.status, created.header("content-type").starts_with("application/json")), (200, true));
    let session = created.json();
    assert_eq!(keys(&session), SESSION_KEYS.into_iter().collect());
    assert_eq!(keys(&session["defaultRecordingProperties"]).len(), 8, "{session}");
    assert_eq!(session["connections"], json!({ "numberOfElements": 0, "content": [] }));
    assert_eq!(
        (&session["id"], &session["customSessionId"], &session["object"]),
        (&json!("exact"), &json!("exact"), &json!("session"))
    );

    let unnamed = cluster.api("POST", "/openvidu/api/sessions", &Value::Null).await.expect("create").json();
    assert_eq!(unnamed["customSessionId"], "");
    assert!(unnamed["id"].as_str().is_some_and(|id| id.starts_with("ses_") && id.len() == 14), "{unnamed}");

    let again = cluster
        .api("POST", "/openvidu/api/sessions", &json!({ "customSessionId": "exact" }))
        .await
        .expect("create");
    assert_eq!((again.status, again.body.len()), (409, 0));
    let list = cluster.get("/openvidu/api/sessions").await.expect("list").json();
    assert_eq!(list["numberOfElements"], 2, "{list}");
    assert_eq!(
        cluster.get("/openvidu/api/sessions/exact").await.expect("get").json(),
        session,
        "nothing changes by itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_connection_has_exactly_the_documented_fields() {
    let cluster = cluster().await;
    cluster.session("c").await.expect("session");
    let path = "/openvidu/api/sessions/c/connection";
    let created =
        cluster.api("POST", path, &json!({ "role": "MODERATOR", "data": "hi" })).await.expect("create");
    assert_eq!(created.status, 200, "{}", created.text());
    let connection = created.json();
    let mut wanted: BTreeSet<&str> = CONNECTION_KEYS.into_iter().collect();
    wanted.insert("subscribers");
    assert_eq!(keys(&connection), wanted);
    let token = connection["token"].as_str().expect("token");
    assert!(token.contains("sessionId=c&token=tok_"), "{token}");
    for (key, value) in [
        ("status", json!("pending")),
        ("role", json!("MODERATOR")),
        ("serverData", json!("hi")),
        ("publishers", Value::Null),
    ] {
        assert_eq!(connection[key], value, "{key}");
    }
    let id = connection["id"].as_str().expect("id");
    let read = cluster.get(&format!("{path}/{id}")).await.expect("get").json();
    assert_eq!(read, connection);
    assert_eq!(
        cluster.get(path).await.expect("list").json()["numberOfElements"],
        1,
        "pending ones are listed here"
    );
    let session = cluster.get("/openvidu/api/sessions/c").await.expect("get").json();
    assert_eq!(session["connections"]["numberOfElements"], 0, "but not here");
    let session = cluster.get("/openvidu/api/sessions/c?pendingConnections=true").await.expect("get").json();
    assert_eq!(session["connections"]["numberOfElements"], 1, "unless they are asked for");

    assert_eq!(
        cluster.api("DELETE", &format!("{path}/{id}"), &Value::Null).await.expect("delete").status,
        204
    );
    assert_eq!(cluster.get(&format!("{path}/{id}")).await.expect("get").status, 404);
    let bearer = format!("Bearer {}", token.rsplit('=').next().unwrap_or_default());
    let joined =
        cluster.client().send("GET", "/connection", &[("authorization", &bearer)], "").await.expect("own");
    assert_eq!(joined.status, 401, "a revoked token: {}", joined.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_unknown_things_differ_by_call_as_documented() {
    let cluster = cluster().await;
    cluster.session("known").await.expect("session");
    let none = Value::Null;
    let cases = [
        ("GET", "/openvidu/api/sessions/none", &none, 404),
        ("DELETE", "/openvidu/api/sessions/none", &none, 404),
        ("POST", "/openvidu/api/sessions/none/connection", &none, 404),
        ("GET", "/openvidu/api/sessions/none/connection", &none, 404),
        ("GET", "/openvidu/api/sessions/none/connection/con_x", &none, 400),
        ("DELETE", "/openvidu/api/sessions/none/connection/con_x", &none, 400),
        ("GET", "/openvidu/api/sessions/known/connection/con_x", &none, 404),
        ("DELETE", "/openvidu/api/sessions/known/connection/con_x", &none, 404),
        ("GET", "/openvidu/api/media-nodes/media_x", &none, 404),
        ("DELETE", "/openvidu/api/sessions", &none, 403),
        ("GET", "/openvidu/api/no-such-thing", &none, 403),
    ];
    for (method, path, body, status) in cases {
        assert_eq!(cluster.api(method, path, body).await.expect("answer").status, status, "{method} {path}");
    }
    let nodes = cluster.get("/openvidu/api/media-nodes").await.expect("nodes").json();
    assert_eq!(nodes, json!({ "numberOfElements": 0, "content": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_described() {
    let cluster = cluster().await;
    cluster.session("f").await.expect("session");
    let sessions = "/openvidu/api/sessions";
    let connection = "/openvidu/api/sessions/f/connection";
    let cases = [
        (sessions, json!({ "customSessionId": "no spaces" })),
        (sessions, json!({ "mediaMode": 7 })),
        (sessions, json!({ "forcedVideoCodec": "MPEG2" })),
        (sessions, json!({ "defaultRecordingProperties": "x" })),
        (connection, json!({ "role": "KING" })),
        (connection, json!({ "type": "FOO" })),
        (connection, json!({ "customIceServers": [{ "url": "turn:bad-ice-server" }] })),
    ];
    for (path, body) in cases {
        let answer = cluster.api("POST", path, &body).await.expect("answer");
        let shape = answer.json();
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text());
        assert_eq!(
            keys(&shape),
            BTreeSet::from(["timestamp", "status", "error", "message", "path"]),
            "{shape}"
        );
        assert!(shape["timestamp"].is_u64() && shape["error"] == "Bad Request", "{shape}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_needs_the_secret_and_cors_lets_browsers_in() {
    let cluster = cluster().await;
    let client = cluster.client();
    for headers in
        [vec![], vec![("authorization", basic("wrong"))], vec![("authorization", "Bearer tok_x".to_owned())]]
    {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client.send("GET", "/openvidu/api/sessions", &headers, "").await.expect("answer");
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{:?}", answer.headers);
    }
    let ask = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    for path in ["/whip", "/openvidu/api/sessions"] {
        let answer = client.send("OPTIONS", path, &ask, "").await.expect("preflight");
        assert!(matches!(answer.status, 200 | 204), "{path}: {}", answer.status);
        assert!(!answer.header("access-control-allow-origin").is_empty(), "{path}: {:?}", answer.headers);
    }
    assert_eq!(
        client.send("GET", "/openvidu/api/config/openvidu-publicurl", &[], "").await.expect("open").status,
        200
    );
    let document = client.send("GET", "/openapi.json", &[], "").await.expect("document").json();
    assert!(
        document["openapi"].as_str().is_some_and(|version| version.starts_with("3."))
            && document["paths"]["/whip"].is_object(),
        "{document}"
    );
}
