//! Pure: no clock, no I/O, no async.
//!
//! The console's end of a subscription: the same window, put together from deltas.

use std::collections::{HashMap, HashSet};

use super::board::SAMPLES_MAX;
use crate::wire::operator::{Delta, Keys, Row};

/// A window as it was at the master.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// Number of the newest delta; 0 before the first.
    pub seq: u64,
    /// Milliseconds since 1970 at the master.
    pub at_ms: u64,
    /// Rows of the topic.
    pub all: u32,
    /// Rows that pass the filter.
    pub total: u32,
    /// Position of the window's first row.
    pub first: u32,
    /// Why there are no rows; empty for none.
    pub error: String,
    keys: Vec<u64>,
    rows: HashMap<u64, Row>,
}

impl Mirror {
    /// Takes a delta in.
    pub fn apply(&mut self, delta: Delta) {
        self.seq = delta.seq;
        self.at_ms = delta.at_ms;
        self.all = delta.all;
        self.total = delta.total;
        self.first = delta.first;
        self.error = delta.error;
        let reordered = !matches!(delta.keys, Keys::Same);
        match delta.keys {
            Keys::Same => {}
            Keys::All(keys) => self.keys = keys,
            Keys::Slid { gone, new } => {
                let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(self.keys.len());
                self.keys.drain(..gone);
                self.keys.extend(new);
            }
        }
        for row in delta.put {
            let key = row.key();
            let row = match self.rows.remove(&key) {
                Some(old) => continued(old, row),
                None => row,
            };
            self.rows.insert(key, row);
        }
        if reordered {
            let shown: HashSet<u64> = self.keys.iter().copied().collect();
            self.rows.retain(|key, _| shown.contains(key));
        }
    }

    /// Keys of the window in order.
    #[must_use]
    pub fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// A row of the window; none while it has not come.
    #[must_use]
    pub fn row(&self, key: u64) -> Option<&Row> {
        self.rows.get(&key)
    }

    /// Rows of the window that have come, in order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.keys.iter().filter_map(|key| self.rows.get(key))
    }

    /// Whether every row of the window has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.seq > 0 && self.keys.iter().all(|key| self.rows.contains_key(key))
    }
}

/// A newer row, with the samples of the old one before its own.
fn continued(old: Row, new: Row) -> Row {
    match (old, new) {
        (Row::Head(old), Row::Head(mut new)) => {
            new.history = joined(old.history, std::mem::take(&mut new.history));
            Row::Head(new)
        }
        (Row::Node(old), Row::Node(mut new)) => {
            new.history = joined(old.history, std::mem::take(&mut new.history));
            Row::Node(new)
        }
        (Row::NodeDetail(old), Row::NodeDetail(mut new)) => {
            new.row.history = joined(old.row.history, std::mem::take(&mut new.row.history));
            Row::NodeDetail(new)
        }
        (_, new) => new,
    }
}

fn joined<T>(mut old: Vec<T>, new: Vec<T>) -> Vec<T> {
    old.extend(new);
    let over = old.len().saturating_sub(SAMPLES_MAX);
    old.drain(..over);
    old
}
