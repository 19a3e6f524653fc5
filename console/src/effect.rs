//! Pure: no clock, no I/O, no async.
//!
//! What the shell shall do. Effects are data: tests look at them, only the shell carries them out.

use crate::desktop::WindowId;
use crate::model::{Operate, Topic};

/// Something for the shell to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Put text on the clipboard.
    Copy(String),
    /// Catch the mouse, or leave it to the terminal.
    Mouse(bool),
    /// Ask the source for an operation.
    Operate(Operate),
    /// End.
    Quit,
    /// Draw everything again.
    Redraw,
    /// Try the link again at once.
    Retry,
    /// A window wants to be told about something.
    Subscribe {
        /// The window; a window has at most one subscription.
        window: WindowId,
        /// What about.
        topic: Topic,
    },
    /// Stop the process until the shell continues it.
    Suspend,
    /// A window no longer wants to be told.
    Unsubscribe {
        /// The window.
        window: WindowId,
    },
}
