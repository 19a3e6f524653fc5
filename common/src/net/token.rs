//! Shell: reads and makes the join token's file.
//!
//! A join token lets a new node into the cluster. One line of text: cluster id, fingerprint of the cluster's
//! certificate authority, secret. It is as secret as a password; the file is for its owner only.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::file;

/// SHA-256 of a certificate.
pub type Fingerprint = [u8; 32];

/// What a token's text starts with.
const PREFIX: &str = "plenum-join-1";

/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// A join token. No `Display`: it is a secret.
#[derive(Clone, Eq, PartialEq)]
pub struct JoinToken {
    /// Id of the cluster.
    pub cluster: String,
    /// Of the cluster's certificate authority.
    pub fingerprint: Fingerprint,
    secret: [u8; SECRET_BYTES],
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Why there is no join token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("cannot use the join token file {path}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The text is not a join token.
    #[error("{path} does not hold a join token; copy the file `join-token` of the master's state folder", path = .path.display())]
    Text {
        /// The file.
        path: PathBuf,
    },
}

/// The text is not a join token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a join token")]
pub struct NotAToken;

impl JoinToken {
    /// A new token of a cluster.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate(cluster: &str, fingerprint: Fingerprint) -> Result<Self, super::RandomError> {
        Ok(Self { cluster: cluster.to_owned(), fingerprint, secret: super::random()? })
    }

    /// Reads a token's file.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenError::File { path: path.to_owned(), source })?;
        text.parse().map_err(|NotAToken| TokenError::Text { path: path.to_owned() })
    }

    /// Writes the token to a file for its owner only.
    ///
    /// # Errors
    /// [`TokenError::File`].
    pub fn write(&self, path: &Path) -> Result<(), TokenError> {
        file::write_private(path, format!("{}\n", self.reveal()).as_bytes())
            .map_err(|source| TokenError::File { path: path.to_owned(), source })
    }

    /// The token's text, secret included.
    #[must_use]
    pub fn reveal(&self) -> String {
        let fingerprint = URL_SAFE_NO_PAD.encode(self.fingerprint);
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        format!("{PREFIX}.{}.{fingerprint}.{secret}", self.cluster)
    }

    /// Proof of knowing the secret, for one connection and one signing request.
    #[must_use]
    pub fn prove(&self, exporter: &[u8; 32], csr: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key(), &proof_input(exporter, csr)).as_ref().to_vec()
    }

    /// Checks a proof in constant time.
    #[must_use]
    pub fn verify(&self, exporter: &[u8; 32], csr: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.key(), &proof_input(exporter, csr), proof).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.secret)
    }
}

fn proof_input(exporter: &[u8; 32], csr: &[u8]) -> Vec<u8> {
    let mut input = exporter.to_vec();
    input.extend_from_slice(&super::sha256(csr));
    input
}

impl FromStr for JoinToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(cluster), Some(fingerprint), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAToken);
        };
        if !super::peer::is_cluster_id(cluster) {
            return Err(NotAToken);
        }
        Ok(Self { cluster: cluster.to_owned(), fingerprint: bytes(fingerprint)?, secret: bytes(secret)? })
    }
}

fn bytes(text: &str) -> Result<[u8; 32], NotAToken> {
    let decoded = URL_SAFE_NO_PAD.decode(text).map_err(|_not_base64| NotAToken)?;
    decoded.try_into().map_err(|_other_length| NotAToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_file_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("join-token");
        let token = JoinToken::generate("c0ffee", [7; 32]).unwrap();
        token.write(&path).unwrap();
        assert_eq!(JoinToken::read(&path).unwrap(), token);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{token:?}").contains(token.reveal().rsplit('.').next().unwrap()));
    }

    #[test]
    fn rubbish_is_no_token() {
        let token = JoinToken::generate("c0ffee", [7; 32]).unwrap().reveal();
        for text in [
            "",
            "plenum-join-1",
            "plenum-join-2.a.b.c",
            &token[1..],
            &token[..token.len() - 1],
            &format!("{token}.x"),
        ] {
            assert_eq!(text.parse::<JoinToken>(), Err(NotAToken), "{text}");
        }
    }

    #[test]
    fn a_proof_holds_for_its_secret_connection_and_request_only() {
        let token = JoinToken::generate("c", [7; 32]).unwrap();
        let proof = token.prove(&[1; 32], b"csr");
        assert!(token.verify(&[1; 32], b"csr", &proof));
        assert!(!token.verify(&[2; 32], b"csr", &proof));
        assert!(!token.verify(&[1; 32], b"other", &proof));
        assert!(!JoinToken::generate("c", [7; 32]).unwrap().verify(&[1; 32], b"csr", &proof));
        assert!(!token.verify(&[1; 32], b"csr", &[]));
    }
}
