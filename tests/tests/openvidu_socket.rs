//! OpenVidu's WebSocket with a client of our own: what is answered, what is not, and what costs the socket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Options};
use tests::wait;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

const SOON: Duration = Duration::from_secs(10);

struct Client {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
    /// Notifications that came while an answer was awaited.
    notes: Vec<Value>,
}

impl Client {
    async fn connect(cluster: &Cluster) -> Self {
        let address = format!("127.0.0.1:{}", cluster.http_port());
        let stream = TcpStream::connect(&address).await.expect("connect");
        let (socket, _) =
            client_async(format!("ws://{address}/openvidu?sessionId=s"), stream).await.expect("socket");
        Self { socket, last_id: 0, notes: Vec::new() }
    }

    async fn send(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("send");
    }

    /// The next JSON message; none when the socket has ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let message = tokio::time::timeout(SOON, self.socket.next()).await.expect("in time")?;
            match message.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
                Message::Close(_) => return None,
                Message::Binary(_) | Message::Frame(_) | Message::Ping(_) | Message::Pong(_) => {}
            }
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": id }).to_string())
            .await;
        loop {
            let message = self.next().await.expect("an answer");
            if message["id"] == id {
                assert_eq!(message["jsonrpc"], "2.0");
                return message;
            }
            self.notes.push(message);
        }
    }

    async fn join(&mut self, token: &str) -> Value {
        let token = format!("ws://127.0.0.1?sessionId=s&token={token}");
        self.ask("joinRoom", json!({ "token": token, "session": "s", "metadata": "", "platform": "test" }))
            .await
    }

    async fn note(&mut self) -> Value {
        if self.notes.is_empty() {
            let next = self.next().await.expect("a notification");
            self.notes.push(next);
        }
        self.notes.remove(0)
    }
}

fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_and_rubbish_costs_at_most_its_socket() {
    let cluster = Cluster::start(Options { tls: false, ..Options::default() }).await.expect("cluster");
    cluster.session("s").await.expect("session");
    let mut client = Client::connect(&cluster).await;
    assert_eq!(client.ask("ping", json!({ "interval": 5000 })).await["result"], json!({ "value": "pong" }));
    assert_eq!(code(&client.ask("publishVideo", json!({ "sdpOffer": "v=0" })).await), 803);
    assert_eq!(code(&client.ask("noSuchMethod", json!({})).await), -32601);
    assert_eq!(code(&client.ask("joinRoom", json!({})).await), -32602);
    assert_eq!(code(&client.join("tok_none").await), 401);
    assert_eq!(
        code(&client.ask("connect", json!({ "sessionId": "nobody", "reconnect": true })).await),
        40007
    );
    let elsewhere = json!({ "token": "x", "session": "nowhere" });
    assert_eq!(code(&client.ask("joinRoom", elsewhere).await), 202);
    for rubbish in ["", "[]", "{}", "{\"id\":{}}", "null", "\"x\"", "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}"]
    {
        client.send(rubbish.to_owned()).await;
    }
    let token = cluster.token("s", "PUBLISHER").await.expect("token");
    // The answers to the rubbish come first and have no id.
    let joined = client.join(&token).await;
    assert!(client.notes.drain(..).all(|answer| answer["id"].is_null() && answer["error"]["code"].is_i64()));
    let secret = joined["result"]["sessionId"].as_str().expect("secret").to_owned();
    assert_eq!((secret.len(), joined["result"]["version"].as_str()), (26, Some("2.32.2")));
    assert_eq!(client.ask("echo", json!({})).await["result"], json!({ "sessionId": secret }));
    assert_eq!(code(&client.ask("publishVideo", json!({ "sdpOffer": "v=0 rubbish" })).await), 302);
    assert_eq!(code(&client.ask("unpublishVideo", json!({})).await), 105);
    assert_eq!(
        code(&client.ask("prepareReceiveVideoFrom", json!({ "sender": "str_CAM_A_con_x" })).await),
        102
    );
    assert_eq!(code(&client.ask("applyFilter", json!({})).await), 406);
    let early = json!({ "endpointName": "con_x", "candidate": "candidate:1 1 udp 1 192.0.2.1 1 typ host" });
    assert_eq!(client.ask("onIceCandidate", early).await["result"]["sessionId"], json!(secret));

    sockets_end_and_the_place_is_kept(&cluster, client, &secret).await;
}

async fn sockets_end_and_the_place_is_kept(cluster: &Cluster, mut client: Client, secret: &str) {
    let mut other = Client::connect(cluster).await;
    let id = other.join(&cluster.token("s", "MODERATOR").await.expect("token")).await["result"]["id"].clone();
    let note = client.note().await;
    assert_eq!((&note["method"], &note["params"]["id"]), (&json!("participantJoined"), &id));
    assert!(note.get("id").is_none(), "a notification has no id: {note}");

    // What the client has read it confirms with the next turn of its socket; then it is not sent again.
    client.ask("echo", json!({})).await;
    // A frame that is too long, and one that is not text, end their socket; the place is kept and taken up again.
    drop(client.socket.send(Message::text("x".repeat(400 * 1024))).await);
    assert_eq!(client.next().await, None);
    let mut again = Client::connect(cluster).await;
    let resumed = again.ask("connect", json!({ "sessionId": secret, "reconnect": true })).await;
    assert_eq!(resumed["result"], json!({ "value": "reconnection successful", "sessionId": secret }));
    again.socket.send(Message::binary(vec![1, 2, 3])).await.expect("send");
    assert_eq!(again.next().await, None);

    // A third socket finds what was said meanwhile; after leaving, nothing of it is known any more.
    let said = json!({ "message": json!({ "to": [], "data": "hi", "type": "signal:chat" }).to_string() });
    other.ask("sendMessage", said).await;
    let mut third = Client::connect(cluster).await;
    third.ask("connect", json!({ "sessionId": secret, "reconnect": true })).await;
    assert_eq!(third.note().await["params"]["data"], "hi");
    third.ask("leaveRoom", json!({})).await;
    let left = || async {
        let shown = cluster.get("/openvidu/api/sessions/s").await.map_err(|error| error.to_string())?.json();
        let count = shown["connections"]["numberOfElements"].clone();
        if count == 1 { Ok(()) } else { Err(count.to_string()) }
    };
    wait::until("the leaver is gone", SOON, left).await.expect("gone");
    let mut late = Client::connect(cluster).await;
    assert_eq!(code(&late.ask("connect", json!({ "sessionId": secret, "reconnect": true })).await), 40007);
}
