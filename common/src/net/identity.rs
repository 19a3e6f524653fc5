//! Shell: owns files.
//!
//! Who a node is: its private key, from which its [`NodeKey`] follows, and its certificate, in its state folder
//! (`node.key`, `node.crt`, `ca.crt`). The folder belongs to one process at a time. Whoever loses it is a new node.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use super::file;
use super::peer::{Peer, PeerCertificate, node_key_of};
use super::quic::QuicKeys;
use super::tls::ClientCertificate;
use crate::config::FilePath;
use crate::id::NodeKey;
use crate::wire::node::Role;

/// How a node finds its cluster; the node part of a daemon's configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Masters as `host:port` or `host`; the first that answers is used.
    pub masters: Vec<String>,
    /// The master's `join-token`, needed until this node has its certificate.
    pub join_token_file: Option<FilePath>,
    /// Folder for this node's key and certificate.
    pub state_dir: FilePath,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            masters: vec![format!("localhost:{}", super::MASTER_PORT)],
            join_token_file: None,
            state_dir: FilePath::from("/var/lib/plenum/node"),
        }
    }
}

/// Why a node has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot use {path}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process uses the folder.
    #[error("the state folder {path} is in use by another process; each node needs its own `state_dir`", path = .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The key file does not hold a key.
    #[error("{path} does not hold a private key; remove it to become a new node", path = .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: rcgen::Error,
    },
    /// The certificate is not ours.
    #[error("the certificate is not for this node")]
    Foreign,
    /// A signing request cannot be made.
    #[error("cannot make a certificate signing request")]
    Sign(#[source] rcgen::Error),
}

/// A node's certificate, its key and the authority that issued it.
#[derive(Debug)]
pub struct Identity {
    /// What the certificate says.
    pub says: PeerCertificate,
    /// The authority.
    pub authority: CertificateDer<'static>,
    /// What the node shows to others.
    pub shown: ClientCertificate,
}

/// The state folder of a node.
#[derive(Debug)]
pub struct IdentityStore {
    dir: PathBuf,
    role: Role,
    node: NodeKey,
    key: KeyPair,
    // Released by the kernel when the process ends, however it ends.
    _lock: File,
}

impl IdentityStore {
    /// Opens the folder; makes folder and key where they are missing.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(dir: &Path, role: Role) -> Result<Self, IdentityError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::File { path, source }
        };
        file::create_dir(dir).map_err(failed(dir))?;
        let lock_file = dir.join("lock");
        let lock = File::create(&lock_file).map_err(failed(&lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IdentityError::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(&lock_file)(source)),
        }
        let key_file = dir.join("node.key");
        let key = match file::read_if_present(&key_file).map_err(failed(&key_file))? {
            Some(pem) => {
                KeyPair::from_pem(&pem).map_err(|source| IdentityError::Key { path: key_file, source })?
            }
            None => {
                let key = KeyPair::generate().map_err(IdentityError::Sign)?;
                file::write_private(&key_file, key.serialize_pem().as_bytes()).map_err(failed(&key_file))?;
                key
            }
        };
        let node = node_key_of(&key.subject_public_key_info());
        Ok(Self { dir: dir.to_owned(), role, node, key, _lock: lock })
    }

    /// This node's key, the same over restarts.
    #[must_use]
    pub const fn node(&self) -> NodeKey {
        self.node
    }

    /// What this node is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Keys for this node's QUIC endpoints.
    #[must_use]
    pub fn quic_keys(&self) -> QuicKeys {
        QuicKeys::derive(self.key.serialized_der())
    }

    /// A certificate signing request (DER).
    ///
    /// # Errors
    /// [`IdentityError::Sign`].
    pub fn csr(&self) -> Result<Vec<u8>, IdentityError> {
        let request =
            CertificateParams::default().serialize_request(&self.key).map_err(IdentityError::Sign)?;
        Ok(request.der().to_vec())
    }

    /// The stored certificate; `None` where there is none, or none that is valid for this node and role now.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn load(&self, now: SystemTime) -> Result<Option<Identity>, IdentityError> {
        let read = |name: &str| {
            let path = self.dir.join(name);
            file::read_if_present(&path).map_err(|source| IdentityError::File { path, source })
        };
        let (Some(leaf), Some(authority)) = (read("node.crt")?, read("ca.crt")?) else { return Ok(None) };
        let parse = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
        let (Some(leaf), Some(authority)) = (parse(&leaf), parse(&authority)) else { return Ok(None) };
        let Ok(identity) = self.identity(leaf, authority) else { return Ok(None) };
        Ok((identity.says.not_after > now).then_some(identity))
    }

    /// Keeps a new certificate.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn save(
        &self,
        leaf: &CertificateDer<'static>,
        authority: &CertificateDer<'static>,
    ) -> Result<Identity, IdentityError> {
        let identity = self.identity(leaf.clone(), authority.clone())?;
        for (name, der) in [("ca.crt", authority), ("node.crt", leaf)] {
            let path = self.dir.join(name);
            file::write_public(&path, pem(der).as_bytes())
                .map_err(|source| IdentityError::File { path, source })?;
        }
        Ok(identity)
    }

    fn identity(
        &self,
        leaf: CertificateDer<'static>,
        authority: CertificateDer<'static>,
    ) -> Result<Identity, IdentityError> {
        let says = PeerCertificate::read(&leaf).map_err(|_not_a_peer| IdentityError::Foreign)?;
        if says.peer != (Peer::Node { role: self.role, node: self.node }) {
            return Err(IdentityError::Foreign);
        }
        let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let shown = ClientCertificate { chain: vec![leaf, authority.clone()], key };
        Ok(Identity { says, authority, shown })
    }
}

/// PEM text of a certificate.
pub(super) fn pem(der: &[u8]) -> String {
    use base64::Engine as _;

    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::ca::{Authority, NODE_LIFE};
    use super::*;

    #[test]
    fn a_node_stays_the_same_over_restarts() {
        let (dir, master) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::open(master.path()).unwrap();
        let now = SystemTime::now();
        let store = IdentityStore::open(dir.path(), Role::Media).unwrap();
        assert!(store.load(now).unwrap().is_none());
        let node = store.node();
        let leaf = authority.issue_node(Role::Media, node, &store.csr().unwrap(), now).unwrap();
        store.save(&leaf.into(), authority.certificate()).unwrap();
        drop(store);

        let store = IdentityStore::open(dir.path(), Role::Media).unwrap();
        assert_eq!(store.node(), node);
        let identity = store.load(now).unwrap().unwrap();
        assert_eq!(identity.says.peer, Peer::Node { role: Role::Media, node });
        assert_eq!(&identity.authority, authority.certificate());
        assert!(store.load(now + NODE_LIFE * 2).unwrap().is_none(), "expired");
        let mode = std::fs::metadata(dir.path().join("node.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_for_another_role_or_node_is_not_used() {
        let (dir, master) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::open(master.path()).unwrap();
        let now = SystemTime::now();
        let store = IdentityStore::open(dir.path(), Role::Media).unwrap();
        let leaf = authority.issue_node(Role::Recorder, store.node(), &store.csr().unwrap(), now).unwrap();
        let refused = store.save(&leaf.into(), authority.certificate());
        assert!(matches!(refused, Err(IdentityError::Foreign)));
    }

    #[test]
    fn a_folder_belongs_to_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let _first = IdentityStore::open(dir.path(), Role::Media).unwrap();
        let second = IdentityStore::open(dir.path(), Role::Media);
        assert!(matches!(second, Err(IdentityError::InUse { .. })));
    }
}
