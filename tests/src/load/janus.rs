//! Shell: speaks HTTP with Janus.
//!
//! Joining Janus' VideoRoom over its HTTP API, for the comparison: a publisher offers and gets an answer, a subscriber
//! gets an offer and answers. Every participant is a Janus session of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::signal::SignalError;
use crate::http::Client;

/// The HTTP API of one Janus.
#[derive(Clone, Debug)]
pub struct Janus {
    client: Client,
    transactions: Arc<AtomicU64>,
}

/// A plugin handle.
#[derive(Clone, Copy, Debug)]
pub struct Handle {
    session: u64,
    handle: u64,
}

impl Janus {
    /// `url` is the address of the HTTP API, without its base path.
    ///
    /// # Errors
    /// [`SignalError::Http`] for a malformed address.
    pub fn new(url: &str) -> Result<Self, SignalError> {
        Ok(Self { client: Client::new(url)?, transactions: Arc::default() })
    }

    /// Answers while Janus is up.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn info(&self) -> Result<Value, SignalError> {
        Ok(self.client.send("GET", "/janus/info", &[], "").await?.json())
    }

    /// Makes a participant's handle.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn attach(&self) -> Result<Handle, SignalError> {
        let session = number(&self.post("/janus", json!({ "janus": "create" })).await?["data"]["id"])?;
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" });
        let handle = number(&self.post(&format!("/janus/{session}"), attach).await?["data"]["id"])?;
        Ok(Handle { session, handle })
    }

    /// Creates a room for VP8 and Opus without a bit rate limit.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn create_room(&self, handle: Handle, room: u64, publishers: u64) -> Result<(), SignalError> {
        let body = json!({
            "request": "create", "room": room, "publishers": publishers, "bitrate": 0, "fir_freq": 0,
            "videocodec": "vp8", "audiocodec": "opus", "notify_joining": false,
        });
        let reply = self.post(&path(handle), json!({ "janus": "message", "body": body })).await?;
        check(&reply["plugindata"]["data"], "create")
    }

    /// Joins a room as a publisher. Gives the feed's id and the answer.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn publish(
        &self,
        handle: Handle,
        room: u64,
        offer: &str,
    ) -> Result<(u64, String), SignalError> {
        let body = json!({ "request": "joinandconfigure", "room": room, "ptype": "publisher" });
        let event = self.message(handle, body, Some(json!({ "type": "offer", "sdp": offer }))).await?;
        Ok((number(&event["plugindata"]["data"]["id"])?, sdp(&event)?))
    }

    /// Joins a room as a subscriber of the feeds. Gives Janus' offer.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn subscribe(&self, handle: Handle, room: u64, feeds: &[u64]) -> Result<String, SignalError> {
        let streams: Vec<Value> = feeds.iter().map(|feed| json!({ "feed": feed })).collect();
        let body = json!({ "request": "join", "ptype": "subscriber", "room": room, "streams": streams });
        sdp(&self.message(handle, body, None).await?)
    }

    /// Starts a subscription with our answer.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn start(&self, handle: Handle, answer: &str) -> Result<(), SignalError> {
        let jsep = json!({ "type": "answer", "sdp": answer });
        self.message(handle, json!({ "request": "start" }), Some(jsep)).await.map(|_started| ())
    }

    /// Ends a participant.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn leave(&self, handle: Handle) -> Result<(), SignalError> {
        self.post(&format!("/janus/{}", handle.session), json!({ "janus": "destroy" })).await.map(|_gone| ())
    }

    /// Sends a message and waits for the event that answers it.
    async fn message(&self, handle: Handle, body: Value, jsep: Option<Value>) -> Result<Value, SignalError> {
        let mut request = json!({ "janus": "message", "body": body });
        if let Some(jsep) = jsep {
            request["jsep"] = jsep;
        }
        let transaction = self.next_transaction();
        request["transaction"] = json!(transaction);
        self.exchange(&path(handle), request).await?;
        // Other events of this session (webrtcup, media) come in between.
        for _ in 0..20 {
            let event = self.client.send("GET", &format!("/janus/{}", handle.session), &[], "").await?.json();
            if event["transaction"] == transaction.as_str() {
                check(&event["plugindata"]["data"], "message")?;
                return Ok(event);
            }
        }
        Err(SignalError::Janus("no event for our message".to_owned()))
    }

    async fn post(&self, path: &str, mut body: Value) -> Result<Value, SignalError> {
        body["transaction"] = json!(self.next_transaction());
        self.exchange(path, body).await
    }

    async fn exchange(&self, path: &str, body: Value) -> Result<Value, SignalError> {
        let reply = self
            .client
            .send("POST", path, &[("content-type", "application/json")], body.to_string())
            .await?
            .json();
        match reply["janus"].as_str() {
            Some("success" | "ack") => Ok(reply),
            Some(_) | None => Err(SignalError::Janus(format!("{}: {reply}", body["janus"]))),
        }
    }

    fn next_transaction(&self) -> String {
        format!("t{}", self.transactions.fetch_add(1, Ordering::Relaxed))
    }
}

fn path(handle: Handle) -> String {
    format!("/janus/{}/{}", handle.session, handle.handle)
}

fn number(value: &Value) -> Result<u64, SignalError> {
    value.as_u64().ok_or_else(|| SignalError::Janus("an id is missing".to_owned()))
}

fn sdp(event: &Value) -> Result<String, SignalError> {
    event["jsep"]["sdp"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| SignalError::Janus(format!("no description in {event}")))
}

fn check(data: &Value, what: &str) -> Result<(), SignalError> {
    match data["error"].as_str() {
        Some(error) => Err(SignalError::Janus(format!("{what}: {error}"))),
        None => Ok(()),
    }
}
