//! Shell: owns the thread that writes to the terminal.
//!
//! One slot: while the terminal takes one frame, no other is drawn. A terminal that does not take its bytes (a stalled
//! ssh) stops neither input nor link.

use std::io::{self, Write as _};
use std::sync::mpsc as std_mpsc;
use std::thread;

use tokio::sync::mpsc;

/// The way to the terminal.
#[derive(Debug)]
pub struct Writer {
    slot: std_mpsc::SyncSender<Vec<u8>>,
    done: mpsc::Receiver<bool>,
    busy: bool,
    waiting: Vec<u8>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (slot, frames) = std_mpsc::sync_channel::<Vec<u8>>(1);
        let (done_sender, done) = mpsc::channel(1);
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            while let Ok(bytes) = frames.recv() {
                let mut out = io::stdout().lock();
                let written = out.write_all(&bytes).and_then(|()| out.flush()).is_ok();
                drop(out);
                if done_sender.blocking_send(written).is_err() || !written {
                    break;
                }
            }
        })?;
        Ok(Self { slot, done, busy: false, waiting: Vec::new() })
    }

    /// Whether a frame can be given.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        !self.busy
    }

    /// Bytes that go out before the next frame.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Gives a frame; only while idle. Nothing happens without bytes.
    pub fn write(&mut self, mut frame: Vec<u8>) {
        let mut bytes = std::mem::take(&mut self.waiting);
        bytes.append(&mut frame);
        if !bytes.is_empty() {
            self.busy = self.slot.try_send(bytes).is_ok();
        }
    }

    /// Waits until the terminal has taken what it was given; false when it is gone. Cancel safe.
    pub async fn done(&mut self) -> bool {
        let written = self.done.recv().await.unwrap_or(false);
        self.busy = false;
        written
    }
}
