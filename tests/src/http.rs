//! Shell: owns sockets.
//!
//! A small HTTP/1.1 client for tests and the load tool: https with any certificate (the servers under test have
//! self-signed ones) or plain http, connections kept and reused, bodies bounded, server-sent events read one by one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Largest body that is read.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Longest line of an event stream.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// Idle connections kept.
const IDLE_MAX: usize = 32;
/// Bound of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The body is too large or broke off.
    #[error("cannot read the response: {0}")]
    Body(String),
    /// No connection.
    #[error("cannot connect to {authority}")]
    Connect {
        /// Host and port.
        authority: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The exchange broke off.
    #[error("request failed")]
    Exchange(#[from] hyper::Error),
    /// The request cannot be built.
    #[error("request is malformed")]
    Request(#[from] hyper::http::Error),
    /// Neither http nor https, or no host.
    #[error("'{0}' is no http or https address")]
    Url(String),
    /// No answer in time.
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// TLS set-up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    authority: String,
    host: String,
    tls: Option<Arc<ClientConfig>>,
    // Shared by all tasks that use one client; held only to pop or push.
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: header::HeaderMap,
    /// Whole body.
    pub body: Bytes,
}

impl Response {
    /// Body as text, with replacement characters where it is none.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Body as JSON; `Null` where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text; empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Client {
    /// A client of `url` (`https://host:port` or `http://host:port`).
    ///
    /// # Errors
    /// [`HttpError::Url`], [`HttpError::Tls`].
    pub fn new(url: &str) -> Result<Self, HttpError> {
        let (tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Some(Arc::new(any_certificate()?)), rest),
            Some(("http", rest)) => (None, rest),
            Some(_) | None => return Err(HttpError::Url(url.to_owned())),
        };
        let authority = rest.trim_end_matches('/').to_owned();
        let Some((host, _)) = authority.rsplit_once(':') else {
            return Err(HttpError::Url(url.to_owned()));
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { inner: Arc::new(Inner { authority, host, tls, idle: Mutex::default() }) })
    }

    /// Sends a request and reads the whole answer. `path` begins with `/`; headers are name and value.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, HttpError> {
        let body = body.into();
        tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(method, path, headers, body))
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response, HttpError> {
        // A kept connection may have been closed meanwhile; a new one tells the truth.
        if let Some(mut kept) = self.pop_idle() {
            let request = self.request(method, path, headers, body.clone())?;
            if kept.ready().await.is_ok()
                && let Ok(response) = kept.send_request(request).await
            {
                return self.collect(kept, response).await;
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(self.request(method, path, headers, body)?).await?;
        self.collect(sender, response).await
    }

    async fn collect(
        &self,
        sender: SendRequest<Full<Bytes>>,
        response: hyper::Response<Incoming>,
    ) -> Result<Response, HttpError> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| HttpError::Body(error.to_string()))?
            .to_bytes();
        if let Ok(mut idle) = self.inner.idle.lock()
            && idle.len() < IDLE_MAX
            && !sender.is_closed()
        {
            idle.push(sender);
        }
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Opens a server-sent event stream on a connection of its own.
    ///
    /// # Errors
    /// See [`HttpError`]; a status other than 200 is [`HttpError::Body`].
    pub async fn events(&self, path: &str, headers: &[(&str, &str)]) -> Result<EventStream, HttpError> {
        let mut sender =
            tokio::time::timeout(REQUEST_TIMEOUT, self.connect()).await.unwrap_or(Err(HttpError::Timeout))?;
        let request = self.request("GET", path, headers, Bytes::new())?;
        let response = tokio::time::timeout(REQUEST_TIMEOUT, sender.send_request(request))
            .await
            .map_err(|_elapsed| HttpError::Timeout)??;
        if response.status() != 200 {
            return Err(HttpError::Body(format!("status {}", response.status())));
        }
        Ok(EventStream { body: response.into_body(), buffer: Vec::new(), _sender: sender })
    }

    fn pop_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.inner.idle.lock().ok()?.pop()
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut builder =
            Request::builder().method(method).uri(path).header(header::HOST, &self.inner.authority);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        Ok(builder.body(Full::new(body))?)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let inner = &self.inner;
        let refused = |source| HttpError::Connect { authority: inner.authority.clone(), source };
        let tcp = TcpStream::connect(&inner.authority).await.map_err(refused)?;
        tcp.set_nodelay(true).map_err(refused)?;
        match &inner.tls {
            None => start(TokioIo::new(tcp)).await,
            Some(config) => {
                let name = ServerName::try_from(inner.host.clone())
                    .map_err(|_invalid| HttpError::Url(inner.host.clone()))?;
                let stream =
                    TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.map_err(refused)?;
                start(TokioIo::new(stream)).await
            }
        }
    }
}

async fn start<T>(io: TokioIo<T>) -> Result<SendRequest<Full<Bytes>>, HttpError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(io).await?;
    // Ends with the connection; its error also reaches the request that is under way.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "http connection ended");
        }
    });
    Ok(sender)
}

/// Value of an `Authorization` header for the API secret.
#[must_use]
pub fn basic(secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("OPENVIDUAPP:{secret}")))
}

/// One server-sent event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerEvent {
    /// `id:`.
    pub id: String,
    /// `event:`.
    pub event: String,
    /// `data:` lines, joined.
    pub data: String,
}

/// An open event stream.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    buffer: Vec<u8>,
    _sender: SendRequest<Full<Bytes>>,
}

impl EventStream {
    /// The next event; comments are skipped. `None` at the end.
    ///
    /// # Errors
    /// [`HttpError::Body`] when the connection breaks or an event is too long.
    pub async fn next(&mut self) -> Result<Option<ServerEvent>, HttpError> {
        loop {
            while let Some(block) = self.take_block() {
                let event = parse_event(&block);
                if event != ServerEvent::default() {
                    return Ok(Some(event));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| HttpError::Body(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(HttpError::Body("event is too long".to_owned()));
            }
        }
    }

    fn take_block(&mut self) -> Option<String> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&block).into_owned())
    }
}

fn parse_event(block: &str) -> ServerEvent {
    let mut event = ServerEvent::default();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => value.clone_into(&mut event.id),
            "event" => value.clone_into(&mut event.event),
            "data" => {
                if !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(value);
            }
            _ => {}
        }
    }
    event
}

/// TLS for servers under test: any certificate is taken.
fn any_certificate() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_block_is_parsed() {
        let event = parse_event("id: 7\nevent: joined\ndata: {\"a\":1}\ndata: 2\n\n");
        assert_eq!(
            event,
            ServerEvent { id: "7".into(), event: "joined".into(), data: "{\"a\":1}\n2".into() }
        );
        assert_eq!(parse_event(": ping\n\n"), ServerEvent::default());
    }

    #[test]
    fn an_address_without_scheme_or_port_is_refused() {
        assert!(matches!(Client::new("localhost:1"), Err(HttpError::Url(_))));
        assert!(matches!(Client::new("http://localhost"), Err(HttpError::Url(_))));
    }
}
