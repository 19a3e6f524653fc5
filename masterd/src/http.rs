//! Shell: the HTTPS faces of masterd.
//!
//! - OpenVidu's REST API below `/openvidu/api` (Basic authentication): [`sessions`], [`connections`], [`nodes`],
//!   [`open`]; recordings: [`recordings`], their files: [`recording_files`];
//! - Plenum's own additions below `/plenum/api` (Basic): [`decisions`];
//! - REST signalling (Bearer = a connection's token): [`whip`], [`own`], [`events`];
//! - the built-in page: [`page`]; the description of it all: [`openapi`].
//!
//! Every face ends in the core's operations; nothing here keeps state but rate limits. [`Service::answer`] is the
//! whole way of a request: CORS, time limit, old paths, authentication, route, error shapes. [`serve`] accepts
//! connections and speaks TLS and HTTP.

pub mod auth;
pub mod body;
pub mod client;
pub mod connections;
pub mod cors;
mod crowd;
pub mod decisions;
pub mod error;
pub mod events;
pub mod fields;
pub mod ice;
pub mod json;
pub mod nodes;
pub mod open;
pub mod openapi;
pub mod own;
pub mod page;
pub mod rate;
pub mod recording;
pub mod recording_files;
pub mod recording_range;
pub mod recordings;
pub mod routes;
pub mod serve;
pub mod sessions;
pub mod tls;
pub mod whip;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tower::ServiceExt as _;

use self::auth::Secret;
use self::error::Framework;
use self::ice::IceSource;
use self::rate::{Rate, RateLimiter};
use self::recording_files::FileSource;
use crate::clock::Clock;
use crate::driver::call::CoreHandle;

/// Which OpenVidu the API answers as.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Edition {
    /// Community: no cluster endpoints.
    Ce,
    /// All of it.
    #[default]
    Enterprise,
    /// As Enterprise for what exists so far.
    Pro,
}

/// What OpenVidu's framework, not its code, answers: wrong method, unknown path, malformed body.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameworkErrors {
    /// 403 for all of them, as OpenVidu 2.32.
    #[default]
    Forbidden,
    /// 400, 404, 405, 415, as before.
    Natural,
}

/// Which of OpenVidu's media servers its clients believe to talk to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaServer {
    /// The client offers what it receives; no simulcast.
    Kurento,
    /// The server offers; simulcast.
    #[default]
    Mediasoup,
}

/// Settings of the faces.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// `https://host[:port]`, without trailing slash.
    pub public_url: String,
    /// The API secret.
    pub secret: Secret,
    /// Which edition to answer as.
    pub edition: Edition,
    /// What wrong methods and malformed bodies get.
    pub framework_errors: FrameworkErrors,
    /// Paths of OpenVidu before 2.16 are served too.
    pub deprecated_paths: bool,
    /// `forcedVideoCodec` of sessions that name none.
    pub forced_video_codec: String,
    /// `allowTranscoding` of sessions that say nothing.
    pub allow_transcoding: bool,
    /// Given to connections that name none.
    pub ice_servers: Vec<IceSource>,
    /// Recordings.
    pub recordings: RecordingSettings,
    /// Believe `X-Forwarded-For`: all requests come through a proxy on this host.
    pub behind_proxy: bool,
    /// Who makes the offers of what OpenVidu clients receive.
    pub media_server: MediaServer,
    /// Clients that say nothing of it publish in several resolutions.
    pub video_simulcast: bool,
}

/// Settings of recordings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordingSettings {
    /// There are any; else their paths answer 501.
    pub enabled: bool,
    /// Their files can be read without credentials.
    pub public_access: bool,
}

impl HttpSettings {
    /// Prefix of the URLs of recordings, with its trailing slash.
    #[must_use]
    pub fn recordings_url(&self) -> String {
        format!("{}/openvidu/recordings/", self.public_url)
    }

    /// `wss://host[:port]`, the prefix of every token.
    #[must_use]
    pub fn websocket_url(&self) -> String {
        match self.public_url.split_once("://") {
            Some((_, host)) => format!("wss://{host}"),
            None => format!("wss://{}", self.public_url),
        }
    }
}

/// What every handler needs. Clones share it.
#[derive(Clone, Debug)]
pub struct Face(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    core: CoreHandle,
    settings: HttpSettings,
    clock: Clock,
    files: Arc<dyn FileSource>,
    // Taken for a few instructions, never across an await; a message to an owner would cost every request a hop.
    failures: Mutex<RateLimiter>,
    open: Mutex<RateLimiter>,
}

/// Address of the client, an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl Face {
    /// Ready to serve; files of recordings are read at `files`.
    #[must_use]
    pub fn new(core: CoreHandle, settings: HttpSettings, clock: Clock, files: Arc<dyn FileSource>) -> Self {
        Self(Arc::new(Shared {
            core,
            settings,
            clock,
            files,
            failures: Mutex::new(RateLimiter::new(FAILURES, ADDRESSES_MAX)),
            open: Mutex::new(RateLimiter::new(OPEN, ADDRESSES_MAX)),
        }))
    }

    /// The way to the core.
    #[must_use]
    pub fn core(&self) -> &CoreHandle {
        &self.0.core
    }

    /// As configured.
    #[must_use]
    pub fn settings(&self) -> &HttpSettings {
        &self.0.settings
    }

    /// Where files of recordings are read.
    #[must_use]
    pub fn files(&self) -> &dyn FileSource {
        &*self.0.files
    }

    /// The clocks.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Says whether the address may try to authenticate.
    fn may_try(&self, peer: IpAddr) -> Result<(), Duration> {
        let now = self.0.clock.now().mono;
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner).check(now, peer)
    }

    /// Counts a failed authentication.
    pub(crate) fn failed(&self, peer: IpAddr) {
        let now = self.0.clock.now().mono;
        let mut failures = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.take(now, peer).is_err() {
            common::warn_limited!(10, peer = %peer, "too many failed authentications");
        }
    }

    /// Counts a request to a path that is open to all.
    fn may_use_open(&self, peer: IpAddr) -> Result<(), Duration> {
        let now = self.0.clock.now().mono;
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).take(now, peer)
    }
}

/// The faces as one function from request to response.
#[derive(Clone, Debug)]
pub struct Service {
    face: Face,
    router: Router,
}

impl Service {
    /// Builds the routes.
    #[must_use]
    pub fn new(face: Face) -> Self {
        let router = routes::router(face.clone());
        Self { face, router }
    }

    /// Answers one request of a client at `peer`.
    pub async fn answer(&self, peer: IpAddr, mut request: Request<Body>) -> Response {
        let peer = if self.face.settings().behind_proxy { forwarded(&request).unwrap_or(peer) } else { peer };
        request.extensions_mut().insert(Peer(peer));
        let cors = cors::Cors::of(&request);
        let is_head = request.method() == Method::HEAD;
        let mut response = if cors.is_preflight() {
            StatusCode::OK.into_response()
        } else {
            // A panic is a bug of ours; it costs its request, not the process.
            let routed = AssertUnwindSafe(self.route(peer, request)).catch_unwind();
            match tokio::time::timeout(REQUEST_TIMEOUT, routed).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
            }
        };
        cors.decorate(&mut response);
        for (name, value) in SECURITY_HEADERS {
            response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
        }
        if is_head {
            let (parts, _) = response.into_parts();
            response = Response::from_parts(parts, Body::empty());
        }
        response
    }

    async fn route(&self, peer: IpAddr, mut request: Request<Body>) -> Response {
        if self.face.settings().deprecated_paths
            && let Some(uri) = routes::modern_uri(request.uri())
        {
            *request.uri_mut() = uri;
        }
        let path = request.uri().path().to_owned();
        let public = self.face.settings().recordings.public_access;
        let guarded = match routes::access(&path, public) {
            routes::Access::App => self.authenticate(peer, &request),
            routes::Access::Open => self.face.may_use_open(peer).map_err(auth::too_many),
            routes::Access::Bearer => self.face.may_try(peer).map_err(auth::too_many),
        };
        if let Err(response) = guarded {
            return *response;
        }
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if response.extensions().get::<auth::Failed>().is_some() {
            self.face.failed(peer);
        }
        self.shape(&path, response)
    }

    fn authenticate(&self, peer: IpAddr, request: &Request<Body>) -> Result<(), Box<Response>> {
        self.face.may_try(peer).map_err(auth::too_many)?;
        match request.headers().get(header::AUTHORIZATION) {
            Some(value)
                if auth::basic(value).is_some_and(|given| self.face.settings().secret.admits(&given)) =>
            {
                Ok(())
            }
            Some(_) => {
                self.face.failed(peer);
                Err(auth::challenge())
            }
            // Clients that wait for the challenge ask without credentials first: no failure.
            None => Err(auth::challenge()),
        }
    }

    /// Gives an answer of the framework the shape that its face has.
    fn shape(&self, path: &str, response: Response) -> Response {
        let Some(&Framework(natural)) = response.extensions().get::<Framework>() else { return response };
        let status = match self.face.settings().framework_errors {
            FrameworkErrors::Forbidden if path.starts_with("/openvidu") => StatusCode::FORBIDDEN,
            FrameworkErrors::Forbidden | FrameworkErrors::Natural => natural,
        };
        if path.starts_with("/openvidu") {
            let mut shaped = status.into_response();
            if let Some(allow) = response.headers().get(header::ALLOW)
                && status == StatusCode::METHOD_NOT_ALLOWED
            {
                shaped.headers_mut().insert(header::ALLOW, allow.clone());
            }
            return shaped;
        }
        response
    }
}

/// The client's address as a proxy on this host appended it.
fn forwarded(request: &Request<Body>) -> Option<IpAddr> {
    let value = request.headers().get_all("x-forwarded-for").iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// The values of a query by name, percent-decoded.
#[must_use]
pub fn query_value(uri: &Uri, name: &str) -> Option<String> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs.0.into_iter().find_map(|(key, value)| (key == name).then_some(value))
}

/// Failed authentications of one address: a few tests' worth at once, then two a second.
const FAILURES: Rate = Rate { burst: 60, per_second: 2 };

/// Requests of one address to open paths: the page is five files, an office shares one address.
const OPEN: Rate = Rate { burst: 500, per_second: 100 };

/// Addresses that each rate limiter knows at most: 64 bytes each.
const ADDRESSES_MAX: usize = 65_536;

/// Time until the head of the answer. OpenVidu's Java client gives up after 30 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(29);

const SECURITY_HEADERS: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

#[cfg(test)]
pub(crate) mod testing;
