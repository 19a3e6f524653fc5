//! Shell: dials a master.
//!
//! The node's side of `plenum-enroll/1`: gets a certificate by join token, or a new one by the present certificate.

use std::net::SocketAddr;

use quinn::{Connection, ConnectionError, Endpoint};
use rustls_pki_types::CertificateDer;

use super::MASTER_NAME;
use super::close::{CloseCode, describe, own_tls_alert, tls_alert_of_peer};
use super::frames::{self, FrameReader};
use super::identity::{Identity, IdentityError, IdentityStore};
use super::peer::PeerCertificate;
use super::quic::HANDSHAKE_TIMEOUT;
use super::tls::{self, Pin, TlsError};
use super::token::{Fingerprint, JoinToken};
use crate::wire::Message as _;
use crate::wire::enroll::{ALPN, EXPORTER_LABEL, EnrollRequest, FromAuthority, Refusal, VERSIONS};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The master is of another cluster than the join token.
    #[error(
        "the master belongs to another cluster: its authority is {}, the join token names {}",
        short(found),
        short(wanted)
    )]
    Authority {
        /// Fingerprint of the master's authority.
        found: Fingerprint,
        /// Fingerprint in the join token.
        wanted: Fingerprint,
    },
    /// The connection failed.
    #[error("cannot connect: {}", describe(.0))]
    Connection(ConnectionError),
    /// The endpoint cannot dial.
    #[error("cannot dial")]
    Dial(#[from] quinn::ConnectError),
    /// Own key or files are unusable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The master answered something else.
    #[error("the master does not speak the enrolment protocol: {0}")]
    Protocol(String),
    /// The master refuses.
    #[error("the master refuses to let this node in: {0}")]
    Refused(Refusal),
    /// No answer in time.
    #[error("the master does not answer")]
    Timeout,
    /// The own certificate is unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn short(fingerprint: &Fingerprint) -> String {
    fingerprint[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl EnrollError {
    /// Whether the same attempt may succeed later without a change of configuration.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Timeout | Self::Dial(_) | Self::Protocol(_) => true,
            Self::Refused(refusal) => matches!(refusal, Refusal::Internal),
            Self::Authority { .. } | Self::Identity(_) | Self::Tls(_) => false,
        }
    }
}

/// By what a node asks for a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// The join token.
    Token(&'a JoinToken),
    /// The present certificate, which is to be renewed.
    Certificate(&'a Identity),
}

/// Asks the master at `address` for a certificate and keeps it.
///
/// # Errors
/// [`EnrollError`]; see [`EnrollError::is_transient`].
pub async fn enroll(
    endpoint: &Endpoint,
    address: SocketAddr,
    store: &IdentityStore,
    credential: Credential<'_>,
    program: &str,
) -> Result<Identity, EnrollError> {
    let attempt = attempt(endpoint, address, store, credential, program);
    tokio::time::timeout(HANDSHAKE_TIMEOUT * 2, attempt).await.map_err(|_elapsed| EnrollError::Timeout)?
}

async fn attempt(
    endpoint: &Endpoint,
    address: SocketAddr,
    store: &IdentityStore,
    credential: Credential<'_>,
    program: &str,
) -> Result<Identity, EnrollError> {
    let (fingerprint, shown) = match credential {
        Credential::Token(token) => (token.fingerprint, None),
        Credential::Certificate(identity) => (super::sha256(&identity.authority), Some(&identity.shown)),
    };
    let pin = Pin::new(fingerprint);
    let config = tls::pinned_client(&pin, shown, ALPN)?;
    let connection = endpoint.connect_with(config, address, MASTER_NAME)?.await.map_err(|error| {
        match (own_tls_alert(&error), pin.stranger()) {
            (Some(_), Some(found)) => EnrollError::Authority { found, wanted: fingerprint },
            _ => EnrollError::Connection(error),
        }
    })?;
    let answer = ask(&connection, store, credential, program).await;
    CloseCode::Finished.close(&connection, "enrolment is over");
    let leaf = CertificateDer::from(answer?);
    let authority =
        pin.authority().ok_or_else(|| EnrollError::Protocol("no authority was seen".to_owned()))?;
    Ok(store.save(&leaf, authority)?)
}

async fn ask(
    connection: &Connection,
    store: &IdentityStore,
    credential: Credential<'_>,
    program: &str,
) -> Result<Vec<u8>, EnrollError> {
    let broken = |error: &dyn std::error::Error| match connection.close_reason() {
        Some(reason) => EnrollError::Connection(reason),
        None => EnrollError::Protocol(crate::telemetry::chain(error).to_string()),
    };
    let csr = store.csr()?;
    let (cluster, proof) = match credential {
        Credential::Token(token) => {
            let exporter = exporter(connection)
                .ok_or_else(|| EnrollError::Protocol("no TLS exporter value".to_owned()))?;
            (token.cluster.clone(), token.prove(&exporter, &csr))
        }
        Credential::Certificate(identity) => (identity.says.cluster.clone(), Vec::new()),
    };
    let request = EnrollRequest {
        versions: VERSIONS,
        program: program.to_owned(),
        cluster,
        role: store.role(),
        node: store.node(),
        csr,
        proof,
        ext: Vec::new(),
    };
    let (mut send, receive) = connection.open_bi().await.map_err(EnrollError::Connection)?;
    let message = crate::wire::enroll::ToAuthority::from(request);
    frames::send(&mut send, &message).await.map_err(|error| broken(&error))?;
    let answer = FrameReader::new(receive).next().await.map_err(|error| broken(&error))?;
    let answer = answer.ok_or_else(|| EnrollError::Protocol("no answer".to_owned()))?;
    match FromAuthority::decode(answer.kind, &answer.body).map_err(|error| broken(&error))? {
        FromAuthority::Granted(granted) => Ok(granted.certificate),
        FromAuthority::Refused(refused) => Err(EnrollError::Refused(refused.why)),
    }
}

/// The TLS exporter value that binds a proof to its connection.
#[must_use]
pub fn exporter(connection: &Connection) -> Option<[u8; 32]> {
    let mut value = [0; 32];
    connection.export_keying_material(&mut value, EXPORTER_LABEL, b"").ok()?;
    Some(value)
}

/// Whether the peer refused the connection because of our certificate: another one may help.
#[must_use]
pub fn is_certificate_refused(error: &ConnectionError) -> bool {
    // RFC 8446 section 6.2: handshake_failure, bad_certificate .. certificate_unknown, unknown_ca, access_denied,
    // decrypt_error, certificate_required.
    matches!(tls_alert_of_peer(error), Some(40 | 42..=46 | 48 | 49 | 51 | 116))
}

/// Whether a certificate is due to be renewed.
#[must_use]
pub fn is_renewal_due(says: &PeerCertificate, now: std::time::SystemTime) -> bool {
    says.renew_at() <= now
}
