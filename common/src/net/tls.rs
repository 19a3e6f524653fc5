//! Shell: builds TLS configurations. TLS 1.3 only, everywhere mutual except for enrolment.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use quinn::crypto::rustls::{HandshakeData, NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::peer::PeerCertificate;
use super::quic;
use super::token::Fingerprint;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The cipher suites of QUIC are missing.
    #[error("TLS cannot be used for QUIC")]
    Quic(#[from] NoInitialCipherSuite),
    /// Certificate or key is unusable.
    #[error("certificate or key cannot be used")]
    Rustls(#[from] Error),
    /// The authority's certificate is unusable.
    #[error("the certificate of the authority cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

/// A trust store with one authority.
///
/// # Errors
/// [`TlsError::Rustls`] when it is no usable certificate.
pub fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

/// A server's certificate that can be replaced while it serves.
#[derive(Debug)]
pub struct ServerCertificate {
    // A lock, not a message: rustls asks synchronously, in the middle of a handshake.
    current: RwLock<Arc<CertifiedKey>>,
}

impl ServerCertificate {
    /// Starts with this certificate (leaf first, then the authority's own).
    ///
    /// # Errors
    /// [`TlsError::Rustls`] when key and certificate do not fit.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: RwLock::new(certified(chain, key)?) }))
    }

    /// New connections get this certificate.
    ///
    /// # Errors
    /// As [`Self::new`]; the old one stays then.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), TlsError> {
        let new = certified(chain, key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider())?))
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// A server for the given protocols. Clients may come without a certificate (to enrol); one that is presented must
/// be of the authority. Which protocol needs which certificate is checked after the handshake.
///
/// # Errors
/// [`TlsError`].
pub fn server(
    certificate: Arc<ServerCertificate>,
    roots: Arc<RootCertStore>,
    protocols: &[&[u8]],
) -> Result<quinn::ServerConfig, TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, provider()).allow_unauthenticated().build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(quic::transport());
    config.max_incoming(crate::limits::HANDSHAKES_WAITING_MAX);
    Ok(config)
}

/// What a client shows of itself.
#[derive(Debug)]
pub struct ClientCertificate {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

/// A client that knows the authority and shows its certificate.
///
/// # Errors
/// [`TlsError`].
pub fn client(
    certificate: &ClientCertificate,
    roots: Arc<RootCertStore>,
    protocol: &[u8],
) -> Result<quinn::ClientConfig, TlsError> {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificate.chain.clone(), certificate.key.clone_key())?;
    client_config(tls, protocol)
}

/// A client that knows only the fingerprint of the authority. After a successful handshake `pin` holds the
/// authority's certificate.
///
/// # Errors
/// [`TlsError`].
pub fn pinned_client(
    pin: &Arc<Pin>,
    certificate: Option<&ClientCertificate>,
    protocol: &[u8],
) -> Result<quinn::ClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(pin) as Arc<dyn ServerCertVerifier>);
    let tls = match certificate {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key())?,
        None => builder.with_no_client_auth(),
    };
    client_config(tls, protocol)
}

fn client_config(mut tls: rustls::ClientConfig, protocol: &[u8]) -> Result<quinn::ClientConfig, TlsError> {
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(quic::transport());
    Ok(config)
}

/// Verifies a master by the fingerprint of its authority: no trust on first use.
#[derive(Debug)]
pub struct Pin {
    fingerprint: Fingerprint,
    found: OnceLock<CertificateDer<'static>>,
    stranger: OnceLock<Fingerprint>,
}

impl Pin {
    /// Accepts masters of this authority only.
    #[must_use]
    pub fn new(fingerprint: Fingerprint) -> Arc<Self> {
        Arc::new(Self { fingerprint, found: OnceLock::new(), stranger: OnceLock::new() })
    }

    /// The authority's certificate, once a master has proved to be of it.
    #[must_use]
    pub fn authority(&self) -> Option<&CertificateDer<'static>> {
        self.found.get()
    }

    /// Fingerprint of the authority of a master that was refused because it has another one.
    #[must_use]
    pub fn stranger(&self) -> Option<Fingerprint> {
        self.stranger.get().copied()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = intermediates.iter().find(|der| super::sha256(der) == self.fingerprint) else {
            let last = intermediates.last().unwrap_or(end_entity);
            self.stranger.get_or_init(|| super::sha256(last));
            return Err(CertificateError::UnknownIssuer.into());
        };
        let authority = authority.clone().into_owned();
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.found.get_or_init(|| authority);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What the peer's certificate says; `None` where it showed none or one that names no member.
#[must_use]
pub fn peer_of(connection: &quinn::Connection) -> Option<PeerCertificate> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    PeerCertificate::read(chain.first()?).ok()
}

/// The protocol that both ends agreed upon.
#[must_use]
pub fn protocol_of(connection: &quinn::Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}
