//! Shell: owns the file of the embedded store (redb): one table of records, one of the store's own facts.
//!
//! After an I/O error the file is closed and opened again at the next call: redb then rolls back to the last commit,
//! so that a full disk costs nothing that was stored.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use common::id::Epoch;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError,
};

use super::{Records, SCHEMA, Store, StoreError};

/// The cluster core's records.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// The store's own facts: [`EPOCH`] and [`VERSION`].
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");

/// Key in [`FACTS`]: the present term.
const EPOCH: &str = "epoch";

/// Key in [`FACTS`]: layout of the records.
const VERSION: &str = "schema";

/// Opens the file, creating it where it is missing.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// A file on the local disk.
pub struct EmbeddedStore {
    path: PathBuf,
    opener: Opener,
    /// Closed after an I/O error.
    database: Option<Database>,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the store's file, creating it where it is missing. The folder must exist.
    ///
    /// # Errors
    /// [`StoreError`]: in use, damaged, of a later schema, or not readable.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = path.to_owned();
        let opener = move || Database::builder().set_cache_size(CACHE_BYTES).create(&file);
        Self::with_opener(path, Box::new(opener))
    }

    pub(super) fn with_opener(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let mut store = Self { path: path.to_owned(), opener, database: None };
        store.attempt(check_schema)?;
        Ok(store)
    }

    /// Runs one piece of work on the open database; an I/O error closes it.
    fn attempt<T>(&mut self, work: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.opener)().map_err(|error| self.explain(Failure::Database(error)))?,
        };
        match work(&database) {
            Ok(value) => {
                self.database = Some(database);
                Ok(value)
            }
            Err(Failure::Refused(error)) => {
                self.database = Some(database);
                Err(error)
            }
            Err(failure @ (Failure::Database(_) | Failure::Storage(_) | Failure::Other(_))) => {
                Err(self.explain(failure))
            }
        }
    }

    fn explain(&self, failure: Failure) -> StoreError {
        let path = self.path.clone();
        match failure {
            Failure::Refused(error) => error,
            Failure::Database(DatabaseError::DatabaseAlreadyOpen) => StoreError::InUse { path },
            Failure::Database(DatabaseError::Storage(error)) | Failure::Storage(error) => {
                explain_storage(path, error)
            }
            Failure::Database(error) => StoreError::Damaged { path, why: error.to_string() },
            Failure::Other(why) => StoreError::Damaged { path, why },
        }
    }
}

/// The core's state is in memory anyway: redb needs little cache.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

#[expect(clippy::wildcard_enum_match_arm, reason = "redb's errors are non-exhaustive")]
fn explain_storage(path: PathBuf, error: StorageError) -> StoreError {
    match error {
        // A file that is no store fails with InvalidData when its header is read.
        StorageError::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            StoreError::Damaged { path, why: source.to_string() }
        }
        StorageError::Io(source) => StoreError::Io { path, source },
        StorageError::PreviousIo => StoreError::Io { path, source: io::Error::other("earlier I/O error") },
        StorageError::Corrupted(why) => StoreError::Damaged { path, why },
        other => StoreError::Damaged { path, why: other.to_string() },
    }
}

/// What can go wrong inside one piece of work.
enum Failure {
    Database(DatabaseError),
    Other(String),
    Refused(StoreError),
    Storage(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<TableError> for Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "redb's errors are non-exhaustive")]
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => Self::Storage(error),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "redb's errors are non-exhaustive")]
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(error) => Self::Storage(error),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<redb::CommitError> for Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "redb's errors are non-exhaustive")]
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(error) => Self::Storage(error),
            other => Self::Other(other.to_string()),
        }
    }
}

/// Creates the tables of a new file; refuses one of a later layout.
fn check_schema(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut facts = transaction.open_table(FACTS)?;
        let found = facts.get(VERSION)?.map(|value| value.value());
        match found {
            Some(SCHEMA) => {}
            Some(found) => return Err(Failure::Refused(StoreError::Schema { found })),
            None => {
                facts.insert(VERSION, SCHEMA)?;
            }
        }
        transaction.open_table(RECORDS)?;
    }
    transaction.commit()?;
    Ok(())
}

impl Store for EmbeddedStore {
    fn begin_epoch(&mut self) -> Result<Epoch, StoreError> {
        self.attempt(|database| {
            let transaction = database.begin_write()?;
            let epoch = {
                let mut facts = transaction.open_table(FACTS)?;
                let epoch = facts.get(EPOCH)?.map_or(0, |value| value.value()) + 1;
                facts.insert(EPOCH, epoch)?;
                epoch
            };
            transaction.commit()?;
            Ok(Epoch(epoch))
        })
    }

    fn load(&mut self) -> Result<Records, StoreError> {
        self.attempt(|database| {
            let table = database.begin_read()?.open_table(RECORDS)?;
            let mut records = Records::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                records.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(records)
        })
    }

    fn commit(&mut self, epoch: Epoch, puts: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        self.attempt(|database| {
            // redb's default durability: the commit returns after fsync.
            let transaction = database.begin_write()?;
            let current = transaction.open_table(FACTS)?.get(EPOCH)?.map_or(0, |value| value.value());
            if current != epoch.0 {
                let current = Epoch(current);
                return Err(Failure::Refused(StoreError::Fenced { ours: epoch, current }));
            }
            {
                let mut table = transaction.open_table(RECORDS)?;
                for (key, value) in puts {
                    match value {
                        Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                        None => table.remove(key.as_slice())?,
                    };
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }
}
