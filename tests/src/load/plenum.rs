//! Shell: speaks HTTP with masterd.
//!
//! Joining Plenum: OpenVidu's REST for sessions and tokens, WHIP (RFC 9725) to publish, WHEP to play.

use serde_json::json;

use super::signal::{Joined, SignalError};
use crate::http::{Client, Response, basic};

/// REST signalling of one Plenum cluster.
#[derive(Clone, Debug)]
pub struct Plenum {
    client: Client,
    authorization: String,
}

impl Plenum {
    /// `url` is masterd's address, `secret` the API secret.
    ///
    /// # Errors
    /// [`SignalError::Http`] for a malformed address.
    pub fn new(url: &str, secret: &str) -> Result<Self, SignalError> {
        Ok(Self { client: Client::new(url)?, authorization: basic(secret) })
    }

    /// Creates a session; one that exists is taken as it is.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn open_session(&self, session: &str) -> Result<(), SignalError> {
        let response = self
            .api("POST", "/openvidu/api/sessions", json!({ "customSessionId": session }).to_string())
            .await?;
        match response.status {
            200 | 409 => Ok(()),
            _ => Err(SignalError::answer("POST sessions", &response)),
        }
    }

    /// Makes a connection and gives its bearer token.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn token(&self, session: &str, role: &str) -> Result<String, SignalError> {
        let path = format!("/openvidu/api/sessions/{session}/connection");
        let response = self.api("POST", &path, json!({ "role": role }).to_string()).await?;
        let body = response.json();
        let token = body["token"]
            .as_str()
            .and_then(|token| token.split(['?', '&']).find_map(|part| part.strip_prefix("token=")));
        match token {
            Some(token) if response.status == 200 => Ok(token.to_owned()),
            Some(_) | None => Err(SignalError::answer("POST connection", &response)),
        }
    }

    /// Publishes (`/whip`) or plays (`/whep`) with an offer.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn offer(&self, path: &str, token: &str, offer: String) -> Result<Joined, SignalError> {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/sdp")];
        let response = self.client.send("POST", path, &headers, offer).await?;
        if response.status != 201 {
            return Err(SignalError::answer(path, &response));
        }
        let location = response.header("location");
        let resource =
            location.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].to_owned()));
        Ok(Joined { sdp: response.text(), resource: resource.unwrap_or_else(|| location.to_owned()), bearer })
    }

    /// Closes a media resource.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn leave(&self, joined: &Joined) -> Result<(), SignalError> {
        let response =
            self.client.send("DELETE", &joined.resource, &[("authorization", &joined.bearer)], "").await?;
        match response.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(SignalError::answer("DELETE resource", &response)),
        }
    }

    /// Starts a recording of a session with its defaults and gives its id.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn start_recording(&self, session: &str) -> Result<String, SignalError> {
        let body = json!({ "session": session }).to_string();
        let response = self.api("POST", "/openvidu/api/recordings/start", body).await?;
        match response.json()["id"].as_str() {
            Some(id) if response.status == 200 => Ok(id.to_owned()),
            Some(_) | None => Err(SignalError::answer("POST recordings/start", &response)),
        }
    }

    /// Stops a recording.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn stop_recording(&self, id: &str) -> Result<(), SignalError> {
        let path = format!("/openvidu/api/recordings/stop/{id}");
        let response = self.api("POST", &path, String::new()).await?;
        match response.status {
            200 | 404 => Ok(()),
            _ => Err(SignalError::answer("POST recordings/stop", &response)),
        }
    }

    /// Closes a session with everything in it.
    ///
    /// # Errors
    /// [`SignalError`].
    pub async fn close_session(&self, session: &str) -> Result<(), SignalError> {
        let response =
            self.api("DELETE", &format!("/openvidu/api/sessions/{session}"), String::new()).await?;
        match response.status {
            204 | 404 => Ok(()),
            _ => Err(SignalError::answer("DELETE session", &response)),
        }
    }

    async fn api(&self, method: &str, path: &str, body: String) -> Result<Response, SignalError> {
        let headers = [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
        Ok(self.client.send(method, path, &headers, body).await?)
    }
}
