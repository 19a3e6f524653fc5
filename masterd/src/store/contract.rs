//! Shell: what every store must do, run on each of them; and what a failing disk must not do to the embedded one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::Epoch;
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

use super::embedded::EmbeddedStore;
use super::{MemoryStore, Store, StoreError};

fn put(key: &[u8], value: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.to_vec(), Some(value.to_vec()))
}

fn remove(key: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.to_vec(), None)
}

fn show(store: &mut dyn Store) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let records = store.load().unwrap();
    records.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect::<Vec<_>>().join(" ")
}

/// The contract; `reopen` closes the store and opens it again.
fn check(mut store: Box<dyn Store>, reopen: impl Fn(Box<dyn Store>) -> Box<dyn Store>) {
    assert_eq!(show(&mut *store), "");
    let first = store.begin_epoch().unwrap();
    assert_eq!(first, Epoch(1));
    store.commit(first, &[put(b"b", b"1"), put(b"a", b"1")]).unwrap();
    assert_eq!(show(&mut *store), "a=1 b=1", "sorted by key");
    store.commit(first, &[put(b"b", b"2"), remove(b"a"), remove(b"none"), put(b"", b"")]).unwrap();
    assert_eq!(show(&mut *store), "= b=2", "changed, removed, empty");
    store.commit(first, &[]).unwrap();

    let mut store = reopen(store);
    assert_eq!(show(&mut *store), "= b=2", "survives");
    let second = store.begin_epoch().unwrap();
    assert_eq!(second, Epoch(2));
    let error = store.commit(first, &[put(b"b", b"3")]).unwrap_err();
    assert_eq!(error.to_string(), "epoch e:1 is over, e:2 leads");
    assert_eq!(show(&mut *store), "= b=2", "a fenced batch changes nothing");
    let large = vec![7; 300_000];
    store.commit(second, &[put(b"large", &large)]).unwrap();
    assert_eq!(reopen(store).load().unwrap()[2].1, large);
}

#[test]
fn the_memory_store_keeps_the_contract() {
    check(Box::new(MemoryStore::default()), |store| store);
}

#[test]
fn the_embedded_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    check(Box::new(EmbeddedStore::open(&path).unwrap()), |store| {
        drop(store);
        Box::new(EmbeddedStore::open(&path).unwrap())
    });
}

#[test]
fn a_second_process_is_told_that_the_file_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let _open = EmbeddedStore::open(&path).unwrap();
    assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::InUse { .. })));
}

#[test]
fn a_file_that_is_no_store_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let rubbish = b"precious notes of somebody ".repeat(1000);
    std::fs::write(&path, &rubbish).unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), rubbish);
}

#[test]
fn a_folder_that_is_missing_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = EmbeddedStore::open(&folder.path().join("none/store.redb")).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
}

/// A disk that can be told to be full.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn store_on(path: &Path, full: &Arc<AtomicBool>) -> EmbeddedStore {
    let (file, full) = (path.to_owned(), Arc::clone(full));
    let opener = move || {
        let opened =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file);
        let backend = FileBackend::new(opened.map_err(redb::StorageError::Io)?)?;
        Database::builder().create_with_backend(Disk { file: backend, full: Arc::clone(&full) })
    };
    EmbeddedStore::with_opener(path, Box::new(opener)).unwrap()
}

#[test]
fn a_full_disk_is_an_error_that_loses_nothing_and_can_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let full = Arc::new(AtomicBool::new(false));
    let mut store = store_on(&path, &full);
    let epoch = store.begin_epoch().unwrap();
    store.commit(epoch, &[put(b"a", b"1")]).unwrap();

    full.store(true, Ordering::Relaxed);
    let batch = [put(b"a", b"2"), put(b"b", b"2")];
    for _ in 0..3 {
        let error = store.commit(epoch, &batch).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    }
    full.store(false, Ordering::Relaxed);
    assert_eq!(show(&mut store), "a=1");
    store.commit(epoch, &batch).unwrap();
    assert_eq!(show(&mut store), "a=2 b=2");
    drop(store);
    assert_eq!(show(&mut store_on(&path, &full)), "a=2 b=2");
}

#[test]
fn a_later_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    drop(EmbeddedStore::open(&path).unwrap());
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let facts: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("facts");
    transaction.open_table(facts).unwrap().insert("schema", 99).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::Schema { found: 99 })));
}
