//! Pure: no clock, no I/O, no async.
//!
//! A store in memory: tests, the simulator, and masterd without a data folder. Copies share their content, so that
//! a second master can be played.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::Epoch;

use super::{Records, Store, StoreError};

/// Records in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    epoch: u64,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryStore {
    fn content(&self) -> MutexGuard<'_, Content> {
        // A commit is one loop of map operations; a panic elsewhere leaves the content whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn begin_epoch(&mut self) -> Result<Epoch, StoreError> {
        let mut content = self.content();
        content.epoch += 1;
        Ok(Epoch(content.epoch))
    }

    fn load(&mut self) -> Result<Records, StoreError> {
        Ok(self.content().records.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&mut self, epoch: Epoch, puts: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let mut content = self.content();
        if content.epoch != epoch.0 {
            return Err(StoreError::Fenced { ours: epoch, current: Epoch(content.epoch) });
        }
        for (key, value) in puts {
            match value {
                Some(value) => content.records.insert(key.clone(), value.clone()),
                None => content.records.remove(key),
            };
        }
        Ok(())
    }
}
