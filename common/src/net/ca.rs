//! Shell: owns files.
//!
//! The cluster's certificate authority and join token, in a master's state folder. Both are made at the first start:
//! `ca.crt` (everyone may read it), `ca.key` and `join-token` (for their owner only).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::peer::{Peer, is_cluster_id, node_key_of};
use super::quic::QuicKeys;
use super::token::{Fingerprint, JoinToken, TokenError};
use super::{RandomError, file};
use crate::id::NodeKey;
use crate::wire::node::Role;
use crate::wire::operator::OperatorRole;

/// Validity of the certificates of nodes, recorders and masters; each renews its own long before.
pub const NODE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Validity of an operator's certificate: people renew by asking for a new one.
pub const OPERATOR_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Validity of the authority itself.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Certificates are valid from this long ago: the clocks of a cluster differ.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// Why there is no authority, or no certificate from it.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("cannot use {path}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// One of `ca.crt` and `ca.key` is missing; a new pair would lock out every node.
    #[error("{path} is missing, but the other half of the cluster's authority is there; restore it from a backup", path = .path.display())]
    HalfMissing {
        /// The missing file.
        path: PathBuf,
    },
    /// The files do not hold an authority.
    #[error("{path} does not hold this cluster's authority: {what}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is the matter.
        what: String,
    },
    /// No random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A certificate could not be made.
    #[error("cannot issue a certificate")]
    Sign(#[from] rcgen::Error),
    /// The join token's file is unusable.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// The certificate authority of a cluster, and the join token that lets nodes in.
pub struct Authority {
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    token: JoinToken,
    quic_keys: QuicKeys,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// A certificate with its private key, made by the authority for a bearer that has none.
#[derive(Debug)]
pub struct Issued {
    /// The leaf certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Both as PEM.
    pub pem: IssuedPem,
}

/// PEM texts of an [`Issued`]. The key is a secret.
pub struct IssuedPem {
    /// Certificate.
    pub certificate: String,
    /// Private key (PKCS #8).
    pub key: String,
}

impl std::fmt::Debug for IssuedPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedPem").finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the authority in a master's state folder; makes folder, authority and join token where they are missing.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::File { path, source }
        };
        file::create_dir(dir).map_err(failed(dir))?;
        let (certificate_file, key_file) = (dir.join("ca.crt"), dir.join("ca.key"));
        let certificate = file::read_if_present(&certificate_file).map_err(failed(&certificate_file))?;
        let key = file::read_if_present(&key_file).map_err(failed(&key_file))?;
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => {
                let (certificate, key) = create(SystemTime::now())?;
                file::write_private(&key_file, key.as_bytes()).map_err(failed(&key_file))?;
                file::write_public(&certificate_file, certificate.as_bytes())
                    .map_err(failed(&certificate_file))?;
                (certificate, key)
            }
            (None, Some(_)) => return Err(AuthorityError::HalfMissing { path: certificate_file }),
            (Some(_), None) => return Err(AuthorityError::HalfMissing { path: key_file }),
        };
        Self::from_pem(&certificate_file, &certificate, &key_file, &key, &dir.join("join-token"))
    }

    fn from_pem(
        certificate_file: &Path,
        certificate: &str,
        key_file: &Path,
        key: &str,
        token_file: &Path,
    ) -> Result<Self, AuthorityError> {
        let malformed = |path: &Path, what: String| AuthorityError::Malformed { path: path.to_owned(), what };
        let key = KeyPair::from_pem(key).map_err(|error| malformed(key_file, error.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| malformed(certificate_file, error.to_string()))?;
        let (cluster, public_key) =
            read_authority(&certificate).map_err(|what| malformed(certificate_file, what))?;
        if public_key != key.subject_public_key_info() {
            return Err(malformed(key_file, "it is not the key of ca.crt".to_owned()));
        }
        let fingerprint = super::sha256(&certificate);
        let token = if token_file.exists() {
            JoinToken::read(token_file)?
        } else {
            let token = JoinToken::generate(&cluster, fingerprint)?;
            token.write(token_file)?;
            token
        };
        if token.fingerprint != fingerprint || token.cluster != cluster {
            return Err(malformed(
                token_file,
                "it belongs to another authority; remove it, and a new one is made".to_owned(),
            ));
        }
        let quic_keys = QuicKeys::derive(key.serialized_der());
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { cluster, issuer, certificate, token, quic_keys })
    }

    /// Id of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The authority's own certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the authority's certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.token.fingerprint
    }

    /// The token that lets nodes in.
    #[must_use]
    pub const fn token(&self) -> &JoinToken {
        &self.token
    }

    /// Keys of the master's QUIC endpoint, the same after each restart.
    #[must_use]
    pub const fn quic_keys(&self) -> &QuicKeys {
        &self.quic_keys
    }

    /// A certificate for a master that runs on this authority.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`].
    pub fn issue_master(&self, now: SystemTime) -> Result<Issued, AuthorityError> {
        self.issue_with_key(&Peer::Master, NODE_LIFE, now)
    }

    /// A certificate for an operator.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`].
    pub fn issue_operator(
        &self,
        name: &str,
        role: OperatorRole,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        self.issue_with_key(&Peer::Operator { role, name: name.to_owned() }, OPERATOR_LIFE, now)
    }

    /// A certificate for the public key in a signing request (DER). Its signature is checked; what it wishes for is
    /// ignored.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue_node(
        &self,
        role: Role,
        node: NodeKey,
        csr: &[u8],
        now: SystemTime,
    ) -> Result<Vec<u8>, IssueError> {
        let csr = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
            .map_err(IssueError::Csr)?;
        if node_key_of(&csr.public_key.subject_public_key_info()) != node {
            return Err(IssueError::NodeKey);
        }
        let certificate = self
            .params(&Peer::Node { role, node }, NODE_LIFE, now)
            .and_then(|params| Ok(params.signed_by(&csr.public_key, &self.issuer)?))
            .map_err(IssueError::Authority)?;
        Ok(certificate.der().to_vec())
    }

    fn issue_with_key(&self, peer: &Peer, life: Duration, now: SystemTime) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = self.params(peer, life, now)?.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate: certificate.der().clone(),
            pem: IssuedPem { certificate: certificate.pem(), key: key.serialize_pem() },
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    fn params(
        &self,
        peer: &Peer,
        life: Duration,
        now: SystemTime,
    ) -> Result<CertificateParams, AuthorityError> {
        let mut params = CertificateParams::new(vec![peer.dns_name()])?;
        params.subject_alt_names.push(SanType::URI(peer.uri(&self.cluster).try_into()?));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, peer.to_string());
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + life).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Both ways: nodes accept connections of recorders and of each other.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(super::random::<16>()?.to_vec().into());
        Ok(params)
    }
}

/// Why a node gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Our own fault.
    #[error("cannot issue a certificate")]
    Authority(#[source] AuthorityError),
    /// The signing request is not valid.
    #[error("the certificate signing request is not valid")]
    Csr(#[source] rcgen::Error),
    /// The node's key does not follow from its public key.
    #[error("the node key does not belong to the public key")]
    NodeKey,
}

const COMMON_NAME: &str = "Plenum cluster ";

/// PEM of a new authority's certificate and key.
fn create(now: SystemTime) -> Result<(String, String), AuthorityError> {
    let cluster: String = super::random::<6>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{COMMON_NAME}{cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Cluster id and public key of an authority's certificate.
fn read_authority(der: &[u8]) -> Result<(String, Vec<u8>), String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| error.to_string())?;
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let cluster = name.and_then(|name| name.strip_prefix(COMMON_NAME)).filter(|id| is_cluster_id(id));
    let cluster = cluster.ok_or_else(|| "its subject is not that of a cluster".to_owned())?;
    Ok((cluster.to_owned(), certificate.public_key().raw.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::peer::PeerCertificate;
    use super::*;

    #[test]
    fn an_authority_stays_the_same_over_restarts_and_keeps_its_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        let first = Authority::open(&state).unwrap();
        let again = Authority::open(&state).unwrap();
        assert_eq!(first.certificate(), again.certificate());
        assert_eq!(first.cluster(), again.cluster());
        assert_eq!(first.token(), again.token());
        assert_eq!(first.quic_keys(), again.quic_keys());
        for secret in ["ca.key", "join-token"] {
            let mode = std::fs::metadata(state.join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
    }

    #[test]
    fn half_an_authority_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        let error = Authority::open(dir.path()).unwrap_err();
        assert!(matches!(error, AuthorityError::HalfMissing { path } if path.ends_with("ca.key")));
    }

    #[test]
    fn files_of_two_clusters_are_not_mixed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Authority::open(dir.path()).unwrap();
        Authority::open(other.path()).unwrap();
        for name in ["ca.key", "join-token"] {
            let kept = std::fs::read(dir.path().join(name)).unwrap();
            std::fs::copy(other.path().join(name), dir.path().join(name)).unwrap();
            let error = Authority::open(dir.path()).unwrap_err();
            assert!(matches!(error, AuthorityError::Malformed { path, .. } if path.ends_with(name)));
            std::fs::write(dir.path().join(name), kept).unwrap();
        }
    }

    #[test]
    fn certificates_name_their_bearer_and_end() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let now = SystemTime::now();
        let issued = authority.issue_operator("ada", OperatorRole::Viewer, now).unwrap();
        let read = PeerCertificate::read(&issued.certificate).unwrap();
        assert_eq!(read.peer, Peer::Operator { role: OperatorRole::Viewer, name: "ada".to_owned() });
        assert_eq!(read.cluster, authority.cluster());
        assert!(read.not_after <= now + OPERATOR_LIFE && read.renew_at() < read.not_after);
        assert!(PeerCertificate::read(authority.certificate()).is_err());
    }

    #[test]
    fn a_node_cannot_take_the_key_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let node = node_key_of(&key.subject_public_key_info());
        let now = SystemTime::now();
        let certificate = authority.issue_node(Role::Media, node, csr.der(), now).unwrap();
        let read = PeerCertificate::read(&certificate).unwrap();
        assert_eq!(read.peer, Peer::Node { role: Role::Media, node });
        let stolen = authority.issue_node(Role::Media, NodeKey(node.0 ^ 1), csr.der(), now);
        assert!(matches!(stolen, Err(IssueError::NodeKey)));
        assert!(matches!(authority.issue_node(Role::Media, node, b"rubbish", now), Err(IssueError::Csr(_))));
        let mut bent = csr.der().to_vec();
        *bent.last_mut().unwrap() ^= 1;
        assert!(matches!(authority.issue_node(Role::Media, node, &bent, now), Err(IssueError::Csr(_))));
    }
}
