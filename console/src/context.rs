//! Shell: owns files.
//!
//! The folder that says which cluster an operator works on: certificate, key and authority as
//! `masterd operator add NAME --out DIR` writes them, and `context.toml` with the addresses of the masters:
//!
//! ```toml
//! masters = ["master.example.org:7443"]
//! ```

use std::path::{Path, PathBuf};

use common::net::operator_link::{Credentials, CredentialsError};
use serde::Deserialize;

/// An operator's folder.
#[derive(Clone, Debug)]
pub struct Context {
    dir: PathBuf,
    /// Masters as `host` or `host:port`, never empty.
    pub masters: Vec<String>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Certificate, key or authority.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// No master is named.
    #[error("{path}: `masters` is empty: expected addresses such as [\"master.example.org:7443\"]", path = .path.display())]
    NoMasters {
        /// The file.
        path: PathBuf,
    },
    /// `context.toml` cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// `context.toml` holds something else.
    #[error("{path}: {what}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    masters: Vec<String>,
}

impl Context {
    /// Reads a folder and checks that its credentials can be used. Without `context.toml` the master is on this
    /// machine; `master` stands above both.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn read(dir: &Path, master: Option<&str>) -> Result<Self, ContextError> {
        let path = dir.join("context.toml");
        let masters = match (master, std::fs::read_to_string(&path)) {
            (Some(master), _) => vec![master.to_owned()],
            (None, Ok(text)) => {
                let raw: Raw = toml::from_str(&text).map_err(|error| ContextError::Syntax {
                    path: path.clone(),
                    what: error.message().to_owned(),
                })?;
                raw.masters
            }
            (None, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                vec!["localhost".to_owned()]
            }
            (None, Err(source)) => return Err(ContextError::Read { path, source }),
        };
        if masters.is_empty() {
            return Err(ContextError::NoMasters { path });
        }
        let context = Self { dir: dir.to_owned(), masters };
        context.credentials()?;
        Ok(context)
    }

    /// Reads the credentials; again for each link, so that renewed ones are taken.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        Credentials::read(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use common::net::ca::Authority;
    use common::wire::operator::OperatorRole;

    use super::*;

    #[test]
    fn a_folder_names_its_masters_and_says_what_is_wrong() {
        let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let missing = Context::read(dir.path(), None).unwrap_err();
        assert!(matches!(missing, ContextError::Credentials(_)), "{missing}");

        let authority = Authority::open(state.path()).unwrap();
        Credentials::create(&authority, "ann", OperatorRole::Viewer, dir.path()).unwrap();
        assert_eq!(Context::read(dir.path(), None).unwrap().masters, ["localhost"]);
        let file = dir.path().join("context.toml");
        std::fs::write(&file, "masters = [\"a:1\", \"b\"]").unwrap();
        assert_eq!(Context::read(dir.path(), None).unwrap().masters, ["a:1", "b"]);
        assert_eq!(Context::read(dir.path(), Some("c")).unwrap().masters, ["c"]);
        std::fs::write(&file, "master = 1").unwrap();
        assert!(Context::read(dir.path(), None).unwrap_err().to_string().contains("unknown field `master`"));
        std::fs::write(&file, "masters = []").unwrap();
        assert!(matches!(Context::read(dir.path(), None), Err(ContextError::NoMasters { .. })));
    }
}
