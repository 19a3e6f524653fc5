//! Shell: reads request bodies.
//!
//! Bodies within their size limits and time, of the right content type.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use common::limits::SDP_BYTES_MAX;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use super::Face;
use super::error::{ApiError, Problem, framework};

/// Bytes of a JSON body: the longest is a signal.
pub const JSON_BYTES_MAX: usize = 256 * 1024;

/// Bytes of an ICE fragment: a client has some ten candidates of 200 bytes.
pub const FRAGMENT_BYTES_MAX: usize = 64 * 1024;

/// Bytes beyond a limit that are read before a body is refused.
const DISCARDED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Time for a whole body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyError {
    /// The client went away or was too slow.
    Broken,
    /// More than the limit.
    TooLarge,
}

impl BodyError {
    /// For an answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Broken => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

/// The body's bytes, at most `max` of them. Some more are read and thrown away: a client that is still sending when the
/// connection is closed does not see the answer.
///
/// # Errors
/// [`BodyError`].
pub async fn read(mut body: Body, max: usize) -> Result<Vec<u8>, BodyError> {
    let (mut bytes, mut total) = (Vec::new(), 0_usize);
    let reading = async {
        while total <= max + DISCARDED_BYTES_MAX
            && let Some(frame) = body.frame().await
        {
            let frame = frame.map_err(|_error| BodyError::Broken)?;
            let data = frame.data_ref().map_or(&[][..], |data| &data[..]);
            total = total.saturating_add(data.len());
            if total <= max {
                bytes.extend_from_slice(data);
            } else {
                bytes = Vec::new();
            }
        }
        Ok(())
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(())) if total <= max => Ok(bytes),
        Ok(Ok(())) => Err(BodyError::TooLarge),
        Ok(Err(error)) => Err(error),
        Err(_elapsed) if total > max => Err(BodyError::TooLarge),
        Err(_elapsed) => Err(BodyError::Broken),
    }
}

/// The body of a request to OpenVidu's API: an object, or nothing.
#[derive(Clone, Debug)]
pub struct JsonBody(pub Option<Map<String, Value>>);

impl FromRequest<Face> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Face) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let bytes = read(request.into_body(), JSON_BYTES_MAX)
            .await
            .map_err(|error| ApiError::Framework(error.status()))?;
        // Clients send `application/x-www-form-urlencoded` with requests that have no body.
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(None));
        }
        if !is_json {
            return Err(ApiError::Framework(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Ok(Self(Some(map))),
            Ok(Value::Null) => Ok(Self(None)),
            Ok(_) | Err(_) => Err(ApiError::Framework(StatusCode::BAD_REQUEST)),
        }
    }
}

/// The body of a request by a participant: an object.
#[derive(Clone, Debug)]
pub struct ObjectBody(pub Map<String, Value>);

impl FromRequest<Face> for ObjectBody {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Face) -> Result<Self, Response> {
        if !is_json(request.headers()) {
            return Err(framework(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let bytes = match read(request.into_body(), JSON_BYTES_MAX).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(framework(error.status())),
        };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "bad-request")
                .detail("the body is not a JSON object")
                .into_response()),
            Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, "bad-request")
                .detail(format!("the body is not JSON: {error}"))
                .into_response()),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

/// The request's content type without parameters, lower case.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// An SDP or ICE fragment of a participant.
///
/// # Errors
/// The answer that says what is wrong.
pub async fn sdp(request: Request, kind: &'static str, max: usize) -> Result<String, Response> {
    if media_type(request.headers()).as_deref() != Some(kind) {
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type");
        return Err(problem.detail(format!("the Content-Type must be {kind}")).into_response());
    }
    let bytes = match read(request.into_body(), max).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLarge) => {
            let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large");
            return Err(problem.detail(format!("the body has more than {max} bytes")).into_response());
        }
        Err(error @ BodyError::Broken) => return Err(framework(error.status())),
    };
    let invalid = |why: &str| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-sdp")
            .detail(format!("invalid SDP: {why}"))
            .into_response()
    };
    let text = String::from_utf8(bytes).map_err(|_not_utf8| invalid("it is not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(invalid("the body is empty"));
    }
    Ok(text)
}

const _: () = assert!(FRAGMENT_BYTES_MAX <= SDP_BYTES_MAX, "a fragment fits where an SDP fits");

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    /// A body in pieces of 1 kB, and how many of them were read.
    async fn read_pieces(count: usize, max: usize) -> (Result<usize, BodyError>, usize) {
        let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&taken);
        let pieces = stream::iter((0..count).map(move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, Infallible>(vec![b' '; 1024])
        }));
        let read = read(Body::from_stream(pieces), max).await;
        (read.map(|bytes| bytes.len()), taken.load(std::sync::atomic::Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_read_to_its_end_but_not_for_ever() {
        assert_eq!(read_pieces(4, 4096).await, (Ok(4096), 4));
        assert_eq!(read_pieces(100, 4096).await, (Err(BodyError::TooLarge), 100));
        let (read, taken) = read_pieces(1_000_000, 4096).await;
        assert_eq!((read, taken), (Err(BodyError::TooLarge), 4 + DISCARDED_BYTES_MAX / 1024 + 1));
    }
}
