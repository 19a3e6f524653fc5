//! Pure: no clock, no I/O, no async.
//!
//! A second pair of eyes on the rule that [`lease`](crate::transport::lease) enforces by types: debug builds record
//! every index that was sealed and panic when one returns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::window::Window;

/// Which indexes were sealed under one key, by protocol and SSRC. Clones share the record.
#[derive(Clone, Debug)]
pub struct Ledger {
    // Shared between the sealers of one key in tests of take-overs; touched in debug builds only.
    sealed: Arc<Mutex<HashMap<(bool, u32), Window>>>,
}

impl Default for Ledger {
    /// With room, so that tests which count the allocations of packets count those alone.
    fn default() -> Self {
        Self { sealed: Arc::new(Mutex::new(HashMap::with_capacity(SOURCES))) }
    }
}

/// Sources and protocols of a usual peer.
const SOURCES: usize = 28;

impl Ledger {
    /// Records an RTP packet.
    pub(super) fn record_rtp(&self, ssrc: u32, index: u64) {
        self.record(false, ssrc, index);
    }

    /// Records an SRTCP packet.
    pub(super) fn record_rtcp(&self, ssrc: u32, index: u32) {
        self.record(true, ssrc, u64::from(index));
    }

    fn record(&self, rtcp: bool, ssrc: u32, index: u64) {
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        match sealed.entry((rtcp, ssrc)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Window::first(index));
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let window = entry.get_mut();
                assert!(
                    window.is_new(index),
                    "index {index:#x} of SSRC {ssrc:#x} sealed twice (or far too late)"
                );
                window.record(index);
            }
        }
    }
}
