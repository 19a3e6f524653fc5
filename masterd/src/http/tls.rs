//! Shell: reads and writes certificate files.
//!
//! The certificate of the HTTPS face: from files, or made once and kept in the state folder.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A new certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    Make(#[source] rcgen::Error),
    /// Certificate and key do not fit, or the key's kind is unknown.
    #[error("the certificate {certificate} cannot be used with the key {key}", certificate = .certificate.display(), key = .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The file is not PEM, or lacks what it should hold.
    #[error("{path} does not hold {expected} in PEM form", path = .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// A certificate or a key.
        expected: &'static str,
        /// Why not.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Reads a certificate chain and its key.
///
/// # Errors
/// [`CertificateError`].
pub fn from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let bad_chain =
        |source| CertificateError::Pem { path: certificate.into(), expected: "a certificate", source };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(bad_chain)?;
    if chain.is_empty() {
        return Err(bad_chain(rustls_pki_types::pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| CertificateError::Pem {
        path: key.into(),
        expected: "a private key",
        source,
    })?;
    let pair =
        |source| CertificateError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(pair)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, private).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The self-signed certificate in `dir`, made at the first start for `names` and this host's own names and addresses.
///
/// # Errors
/// [`CertificateError`].
pub fn self_signed(dir: &Path, names: &[String]) -> Result<Arc<ServerConfig>, CertificateError> {
    let (certificate, key) = (dir.join("https.crt"), dir.join("https.key"));
    if !certificate.exists() || !key.exists() {
        let mut all: BTreeSet<String> = own_names();
        all.extend(names.iter().cloned());
        make(&certificate, &key, all)?;
    }
    from_files(&certificate, &key)
}

fn make(certificate: &Path, key: &Path, names: BTreeSet<String>) -> Result<(), CertificateError> {
    let mut parameters = rcgen::CertificateParams::new(names.into_iter().collect::<Vec<_>>())
        .map_err(CertificateError::Make)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Plenum (self-signed)");
    parameters.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    // People accept it once; it is to stay the same for as long as the installation.
    let (not_before, not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2049, 12, 31));
    (parameters.not_before, parameters.not_after) = (not_before, not_after);
    let pair = rcgen::KeyPair::generate().map_err(CertificateError::Make)?;
    let made = parameters.self_signed(&pair).map_err(CertificateError::Make)?;
    // The key first: a crash in between leaves no certificate, and both are made anew.
    write(key, &pair.serialize_pem(), 0o600)?;
    write(certificate, &made.pem(), 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let fail = |source| CertificateError::Write { path: path.to_owned(), source };
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&draft)
        .map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&draft, path).map_err(fail)
}

/// `localhost`, the host's name and its addresses, as far as the system tells.
fn own_names() -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if let Ok(name) = fs::read_to_string("/proc/sys/kernel/hostname") {
        let name = name.trim();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        {
            names.insert(name.to_owned());
        }
    }
    names.extend(own_addresses().iter().map(IpAddr::to_string));
    names
}

/// The addresses of this host, loopback excluded.
#[must_use]
pub fn own_addresses() -> Vec<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut addresses: Vec<IpAddr> = local_v4(&v4).into_iter().map(IpAddr::V4).collect();
    addresses.extend(local_v6(&v6).into_iter().map(IpAddr::V6));
    addresses
}

/// In `fib_trie` an own address is a line `|-- 192.0.2.7` that is followed by `/32 host LOCAL`.
fn local_v4(table: &str) -> BTreeSet<Ipv4Addr> {
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    let own = lines.windows(2).filter(|pair| pair[1] == "/32 host LOCAL");
    own.filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse().ok())
        .filter(|address: &Ipv4Addr| !address.is_loopback())
        .collect()
}

/// In `if_inet6` each line begins with an address of 32 digits; the fourth column is its scope, 00 for global.
fn local_v6(table: &str) -> BTreeSet<Ipv6Addr> {
    let address = |line: &str| {
        let mut columns = line.split_whitespace();
        let digits = u128::from_str_radix(columns.next()?, 16).ok()?;
        (columns.nth(2)? == "00").then(|| Ipv6Addr::from(digits))
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_found_in_the_kernels_tables() {
        let v4 = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.7\n        /32 host LOCAL\n";
        assert_eq!(local_v4(v4), ["192.0.2.7".parse().unwrap()].into());
        let v6 = "20010db8000000000000000000000007 02 40 00 80     eth0\nfe800000000000000000000000000001 02 40 20 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(local_v6(v6), ["2001:db8::7".parse().unwrap()].into());
    }

    #[test]
    fn the_certificate_is_made_once_and_names_what_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        self_signed(dir.path(), &["meet.example.org".to_owned()]).unwrap();
        let first = fs::read(dir.path().join("https.crt")).unwrap();
        self_signed(dir.path(), &["other.example.org".to_owned()]).unwrap();
        assert_eq!(fs::read(dir.path().join("https.crt")).unwrap(), first);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(dir.path().join("https.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let der = CertificateDer::from_pem_slice(&first).unwrap();
        let holds = |name: &str| der.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(holds("meet.example.org") && holds("localhost"));
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.crt");
        fs::write(&file, "hello").unwrap();
        let error = from_files(&file, &file).unwrap_err();
        assert!(error.to_string().contains("x.crt does not hold a certificate"), "{error}");
    }
}
