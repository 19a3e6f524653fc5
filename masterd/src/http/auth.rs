//! Shell: makes answers.
//!
//! Who asks: the application by HTTP Basic with the API secret, a participant by Bearer with its connection's token.

use std::fmt;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use ring::hmac;
use ring::rand::SystemRandom;

use super::Face;
use super::error::Problem;
use crate::cluster::op::Actor;

/// The API secret. It has no Debug output, and comparing takes the same time for every guess.
#[derive(Clone)]
pub struct Secret {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Keeps a keyed hash of the secret. `None` when the system has no randomness.
    #[must_use]
    pub fn new(secret: &str) -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let tag = hmac::sign(&key, secret.as_bytes());
        Some(Self { key, tag })
    }

    /// Says whether user and password are right. Takes as long for every wrong pair of one length.
    #[must_use]
    pub fn admits(&self, given: &BasicCredentials) -> bool {
        let password_is_right = hmac::verify(&self.key, given.password.as_bytes(), self.tag.as_ref()).is_ok();
        password_is_right & (given.user == USER)
    }
}

/// OpenVidu's only user.
pub const USER: &str = "OPENVIDUAPP";

/// What a Basic header holds.
pub struct BasicCredentials {
    user: String,
    password: String,
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BasicCredentials")
    }
}

/// Reads a Basic header.
#[must_use]
pub fn basic(value: &HeaderValue) -> Option<BasicCredentials> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(BasicCredentials { user: user.to_owned(), password: password.to_owned() })
}

/// 401 with the challenge that clients wait for.
#[must_use]
pub fn challenge() -> Box<Response> {
    let header = (header::WWW_AUTHENTICATE, "Basic realm=\"Plenum\", charset=\"UTF-8\"");
    Box::new((StatusCode::UNAUTHORIZED, [header]).into_response())
}

/// 429 with the time to wait.
#[must_use]
pub fn too_many(wait: Duration) -> Box<Response> {
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests")
        .detail("too many requests from this address, or too many with wrong credentials");
    let mut response = problem.into_response();
    let seconds = wait.as_secs() + 1;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    Box::new(response)
}

/// Marks an answer to wrong credentials, which count against the client's address.
#[derive(Clone, Copy, Debug)]
pub struct Failed;

/// The participant that asks: `tok_...` of the Bearer header. The core says whether it is valid.
#[derive(Clone, Debug)]
pub struct Bearer(pub String);

impl Bearer {
    /// For the core.
    #[must_use]
    pub fn actor(self) -> Actor {
        Actor::Bearer(self.0)
    }
}

impl FromRequestParts<Face> for Bearer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Response> {
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
            return Err(unauthorized("", "send the connection's token as 'Authorization: Bearer ...'"));
        };
        value.to_str().ok().and_then(token).map(|token| Self(token.to_owned())).ok_or_else(|| {
            let error = ", error=\"invalid_token\"";
            unauthorized(error, "the Authorization header is not 'Bearer' with a connection's token")
        })
    }
}

/// 401 to a participant. `error` is appended to the challenge; with one, it counts as a failed attempt.
#[must_use]
pub fn unauthorized(error: &str, detail: &str) -> Response {
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, "invalid-token").detail(detail).into_response();
    let challenge = format!("Bearer realm=\"Plenum\"{error}");
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if !error.is_empty() {
        response.extensions_mut().insert(Failed);
    }
    response
}

/// The `tok_...` part of a Bearer header that holds it alone or within the whole token of the API
/// (`wss://host?sessionId=..&token=tok_..`).
fn token(header: &str) -> Option<&str> {
    let (scheme, given) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let given = given.trim();
    let token = match given.split_once("token=") {
        Some((_, rest)) => rest.split('&').next().unwrap_or_default(),
        None => given,
    };
    let rest = token.strip_prefix("tok_")?;
    let well_formed = (1..=64).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    well_formed.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> HeaderValue {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        HeaderValue::try_from(format!("Basic {encoded}")).unwrap()
    }

    #[test]
    fn only_the_right_user_and_secret_pass() {
        let secret = Secret::new("MY_SECRET").unwrap();
        let admits = |text: &str| basic(&encode(text)).is_some_and(|given| secret.admits(&given));
        assert!(admits("OPENVIDUAPP:MY_SECRET"));
        for wrong in ["OPENVIDUAPP:MY_SECRE", "OPENVIDUAPP:", "X:MY_SECRET", "", "OPENVIDUAPP", ":"] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(basic(&HeaderValue::from_static("Basic !!")).is_none());
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn the_token_is_taken_alone_or_from_the_whole_string() {
        assert_eq!(token("Bearer tok_A1b2"), Some("tok_A1b2"));
        assert_eq!(token("bearer wss://h:4443?sessionId=s&token=tok_A1b2"), Some("tok_A1b2"));
        assert_eq!(token("Bearer wss://h?token=tok_A1b2&sessionId=s"), Some("tok_A1b2"));
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer tok_",
            "Bearer abc",
            "Basic tok_A1",
            "Bearer tok_a/b",
            "Bearer tok_é",
        ] {
            assert_eq!(token(wrong), None, "{wrong}");
        }
    }
}
