//! Shell: owns the files that survive a restart.
//!
//! What the cluster core has decided, as opaque records. [`Store::commit`] is atomic and durable: when it returns, a
//! power cut loses nothing of it. A store that fails (full disk, I/O error) keeps everything that was committed before
//! and can be tried again.

mod embedded;
mod memory;

pub use embedded::EmbeddedStore;
pub use memory::MemoryStore;

use std::path::PathBuf;

use common::id::Epoch;

/// Version of the records' layout that this build reads and writes.
pub const SCHEMA: u64 = 2;

/// Records as they are loaded: key and value.
pub type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another master has begun a later term; this one must step down. Trying again is useless.
    #[error("epoch {ours} is over, {current} leads")]
    Fenced {
        /// The caller's.
        ours: Epoch,
        /// The store's.
        current: Epoch,
    },
    /// Another process has the file open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file's content is damaged or is no store.
    #[error("{path} is damaged or is not a store: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// For humans.
        why: String,
    },
    /// The disk is full or fails. Nothing that was committed is lost; the same call can be tried again.
    #[error("cannot write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A later version of masterd wrote the store.
    #[error("the store has schema {found}, this masterd reads {SCHEMA}")]
    Schema {
        /// The store's.
        found: u64,
    },
}

/// A durable map of records with a term of leadership.
pub trait Store: Send {
    /// Begins a new term: durably raises the epoch and gives it. Earlier terms can no longer commit.
    ///
    /// # Errors
    /// [`StoreError`].
    fn begin_epoch(&mut self) -> Result<Epoch, StoreError>;

    /// All records, in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&mut self) -> Result<Records, StoreError>;

    /// Stores a batch atomically and durably; no value deletes the key.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] for good; [`StoreError::Io`] may be tried again with the same batch.
    fn commit(&mut self, epoch: Epoch, puts: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError>;
}

#[cfg(test)]
mod contract;
