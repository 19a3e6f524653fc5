//! Shell: owns the thread that commits to the store, and the reserve file.
//!
//! A full disk must not stop what only reads, nor what the cluster does by itself: the core holds every answer back
//! while a commit is under way. So some space is reserved in a file. When the disk is full the reserve is given up,
//! the commit succeeds after all, and changes by the faces are refused until the reserve can be filled again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use common::id::Epoch;
use common::telemetry::chain;
use tokio::sync::mpsc;

use crate::cluster::Fenced;
use crate::store::{Store, StoreError};

/// What the store's thread says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreNote {
    /// The store cannot be written; why.
    Failing(String),
    /// It can be again.
    Recovered,
    /// A batch is durable, or never will be.
    Stored {
        /// As given to [`Keeper::commit`].
        batch: u64,
        /// How it went.
        result: Result<(), Fenced>,
    },
}

type Puts = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The way to the store's thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Keeper {
    batches: SyncSender<(u64, Puts)>,
    notes: mpsc::Receiver<StoreNote>,
}

impl Keeper {
    /// Starts the thread. `reserve` is where space is kept for a full disk; none in tests.
    ///
    /// # Errors
    /// When the reserve cannot be filled, or no thread can be started.
    pub fn start(store: Box<dyn Store>, epoch: Epoch, reserve: Option<PathBuf>) -> io::Result<Self> {
        let reserve = reserve.map(|path| Reserve { path, is_full: false });
        let mut reserve = reserve.unwrap_or_else(|| Reserve { path: PathBuf::new(), is_full: true });
        reserve.fill()?;
        // The core has one batch in flight at a time.
        let (batches, incoming) = sync_channel(1);
        let (sender, notes) = mpsc::channel(8);
        let worker = Worker { store, epoch, reserve, notes: sender, failing: None };
        std::thread::Builder::new().name("store".to_owned()).spawn(move || worker.run(&incoming))?;
        Ok(Self { batches, notes })
    }

    /// Has a batch committed; its [`StoreNote::Stored`] follows.
    pub fn commit(&self, batch: u64, puts: Puts) {
        if self.batches.try_send((batch, puts)).is_err() {
            // The thread is gone, which `next` tells; a second batch in flight would be the core's bug.
            tracing::error!(batch, "the store does not take the batch");
        }
    }

    /// The next note; none when the thread is gone.
    pub async fn next(&mut self) -> Option<StoreNote> {
        self.notes.recv().await
    }
}

struct Worker {
    store: Box<dyn Store>,
    epoch: Epoch,
    reserve: Reserve,
    notes: mpsc::Sender<StoreNote>,
    failing: Option<String>,
}

impl Worker {
    fn run(mut self, incoming: &Receiver<(u64, Puts)>) {
        loop {
            match incoming.recv_timeout(RETRY_INTERVAL) {
                Ok((batch, puts)) => {
                    let Some(result) = self.commit(&puts) else { return };
                    if self.notes.blocking_send(StoreNote::Stored { batch, result }).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.failing.is_some() && self.reserve.fill().is_ok() {
                self.failing = None;
                if self.notes.blocking_send(StoreNote::Recovered).is_err() {
                    return;
                }
            }
        }
    }

    /// Tries until it succeeds; none when nobody waits any more.
    fn commit(&mut self, puts: &Puts) -> Option<Result<(), Fenced>> {
        loop {
            match self.store.commit(self.epoch, puts) {
                Ok(()) => return Some(Ok(())),
                Err(error @ StoreError::Fenced { .. }) => {
                    tracing::error!(error = %error, "another master leads");
                    return Some(Err(Fenced));
                }
                Err(error) => {
                    let was_full = self.reserve.give_up();
                    self.say_failing(&chain(&error).to_string())?;
                    if !was_full {
                        std::thread::sleep(RETRY_INTERVAL);
                    }
                    if self.notes.is_closed() {
                        return None;
                    }
                }
            }
        }
    }

    fn say_failing(&mut self, why: &str) -> Option<()> {
        if self.failing.as_deref() != Some(why) {
            self.failing = Some(why.to_owned());
            self.notes.blocking_send(StoreNote::Failing(why.to_owned())).ok()?;
        }
        Some(())
    }
}

/// A file that holds space for the store.
struct Reserve {
    path: PathBuf,
    is_full: bool,
}

impl Reserve {
    fn fill(&mut self) -> io::Result<()> {
        if self.is_full {
            return Ok(());
        }
        let filled = fill(&self.path);
        if filled.is_err() {
            drop(fs::remove_file(&self.path));
        }
        self.is_full = filled.is_ok();
        filled
    }

    /// Gives the space to the store; false when it was given already.
    fn give_up(&mut self) -> bool {
        if self.path.as_os_str().is_empty() || !self.is_full {
            return false;
        }
        self.is_full = false;
        fs::remove_file(&self.path).is_ok()
    }
}

fn fill(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|file| file.len() == RESERVE_BYTES) {
        return Ok(());
    }
    let mut file = File::create(path)?;
    // Written, not sparse: only that takes the space. Not all zeros, for file systems that compress.
    let block: Vec<u8> =
        (0..64 * 1024_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..RESERVE_BYTES / block.len() as u64 {
        file.write_all(&block)?;
    }
    file.sync_all()
}

/// The store of a large cluster grows by a few MB an hour; this lasts until somebody reacts.
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// How often a failed commit and the filling of the reserve are tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::{MemoryStore, Records};

    /// Fails as a full disk does, until it is told otherwise or the reserve is gone.
    #[derive(Debug)]
    struct FullDisk {
        inner: MemoryStore,
        is_full: Arc<AtomicBool>,
        reserve: PathBuf,
    }

    impl Store for FullDisk {
        fn begin_epoch(&mut self) -> Result<Epoch, StoreError> {
            self.inner.begin_epoch()
        }

        fn load(&mut self) -> Result<Records, StoreError> {
            self.inner.load()
        }

        fn commit(&mut self, epoch: Epoch, puts: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
            if self.is_full.load(Ordering::Relaxed) && self.reserve.exists() {
                let source = io::Error::from(io::ErrorKind::StorageFull);
                return Err(StoreError::Io { path: "store".into(), source });
            }
            self.inner.commit(epoch, puts)
        }
    }

    #[tokio::test]
    async fn a_full_disk_costs_the_reserve_and_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = dir.path().join("reserve");
        let is_full = Arc::new(AtomicBool::new(false));
        let mut inner = MemoryStore::default();
        let epoch = inner.begin_epoch().unwrap();
        let store = FullDisk { inner, is_full: Arc::clone(&is_full), reserve: reserve.clone() };
        let mut keeper = Keeper::start(Box::new(store), epoch, Some(reserve.clone())).unwrap();
        assert_eq!(fs::metadata(&reserve).unwrap().len(), RESERVE_BYTES);
        is_full.store(true, Ordering::Relaxed);
        keeper.commit(1, vec![(b"k".to_vec(), Some(b"v".to_vec()))]);
        let Some(StoreNote::Failing(why)) = keeper.next().await else { panic!("not said") };
        assert!(why.contains("cannot write store"), "{why}");
        assert_eq!(keeper.next().await, Some(StoreNote::Stored { batch: 1, result: Ok(()) }));
        assert_eq!(keeper.next().await, Some(StoreNote::Recovered));
        assert!(reserve.exists());
    }
}
