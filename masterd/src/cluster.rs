//! Pure: no clock, no I/O, no async.
//!
//! The cluster core: what the cluster is told, what it decides. One [`op::Op`] for each thing that a face can ask.
//!
//! [`Core::handle`] changes the state in memory at once; what [`Core::poll_output`] gives may leave at once, because
//! the core itself holds back everything that depends on a batch that is not durable yet.

pub mod input;
pub mod op;
mod outbox;

pub use input::{CoreSettings, Fenced, Input, Now, Output, ViewerEnd};

use std::time::Duration;

use common::id::Epoch;
use rand::rngs::StdRng;

use outbox::Outbox;

/// Why stored records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A key of no known family or of the wrong length.
    #[error("unknown key {key:02x?} in the store")]
    Key {
        /// The key's bytes.
        key: Vec<u8>,
    },
    /// A value does not decode.
    #[error("malformed record {key:02x?} in the store")]
    Malformed {
        /// The key's bytes.
        key: Vec<u8>,
        /// What the decoder said.
        #[source]
        source: postcard::Error,
    },
}

/// The state of the cluster.
#[derive(Debug)]
pub struct Core {
    settings: CoreSettings,
    epoch: Epoch,
    rng: StdRng,
    outbox: Outbox,
}

impl Core {
    /// A cluster of which nothing is known. `epoch` is the term that the store has begun for this master; `rng` makes
    /// tokens and names: seeded by the operating system in a daemon, by a number in tests.
    #[must_use]
    pub fn new(_now: Now, settings: CoreSettings, epoch: Epoch, rng: StdRng) -> Self {
        Self { settings, epoch, rng, outbox: Outbox::default() }
    }

    /// The cluster as it was stored.
    ///
    /// # Errors
    /// [`RestoreError`] when a record is of another schema or damaged.
    pub fn restore(
        now: Now,
        settings: CoreSettings,
        epoch: Epoch,
        rng: StdRng,
        _records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, RestoreError> {
        Ok(Self::new(now, settings, epoch, rng))
    }

    /// This master's term, for the envelopes of commands.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes in one input. Never fails for a peer's fault: those are outputs.
    pub fn handle(&mut self, _now: Now, _input: Input) {
        self.outbox.seal();
    }

    /// What must be done now; none when everything is.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.poll()
    }

    /// When [`Input::Tick`] is due, in [`Now::mono`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Asserts every invariant of the state.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check(&self) {}
}
