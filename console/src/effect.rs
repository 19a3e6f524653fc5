//! Pure: no clock, no I/O, no async.
//!
//! What the shell shall do. Effects are data: tests look at them, only the shell carries them out.

use crate::desktop::WindowId;
use crate::model::{Operate, Wanted};

/// Something for the shell to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Put text on the clipboard.
    Copy(String),
    /// A window wants another part of what it watches.
    Adjust {
        /// The window.
        window: WindowId,
        /// What it wants now.
        wanted: Wanted,
    },
    /// Catch the mouse, or leave it to the terminal.
    Mouse(bool),
    /// Ask the source for an operation.
    Operate(Operate),
    /// End.
    Quit,
    /// Ask how an operation went.
    Recall(u64),
    /// Draw everything again.
    Redraw,
    /// Try the link again at once.
    Retry,
    /// A window wants to watch something, instead of what it watched before.
    Subscribe {
        /// The window; a window has at most one subscription.
        window: WindowId,
        /// What.
        wanted: Wanted,
    },
    /// Stop the process until the shell continues it.
    Suspend,
    /// A window no longer wants to be told.
    Unsubscribe {
        /// The window.
        window: WindowId,
    },
}
