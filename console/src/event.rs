//! Pure: no clock, no I/O, no async.
//!
//! Everything that can happen to the console, as one closed enum with a total order. [`crate::update`] takes nothing
//! else, so that a run can be repeated from its events.

use crate::desktop::WindowId;
use crate::model::Message;

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// The source of data says something.
    Message(Message),
    /// The mouse did something.
    Mouse(Mouse),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size now.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Time has passed.
    Tick,
}

/// A key with its modifiers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// Which.
    pub code: KeyCode,
    /// With Ctrl.
    pub ctrl: bool,
    /// With Alt.
    pub alt: bool,
    /// With Shift; never set for characters, which carry it themselves.
    pub shift: bool,
}

/// Which key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyCode {
    /// Backspace.
    Backspace,
    /// Shift-Tab.
    BackTab,
    /// A character.
    Char(char),
    /// Delete.
    Delete,
    /// Arrow.
    Down,
    /// End.
    End,
    /// Enter.
    Enter,
    /// Escape.
    Esc,
    /// Function key.
    F(u8),
    /// Home.
    Home,
    /// Arrow.
    Left,
    /// Page down.
    PageDown,
    /// Page up.
    PageUp,
    /// Arrow.
    Right,
    /// Tab.
    Tab,
    /// Arrow.
    Up,
}

impl Key {
    /// A key without modifiers.
    #[must_use]
    pub const fn plain(code: KeyCode) -> Self {
        Self { code, ctrl: false, alt: false, shift: false }
    }
}

/// What the mouse did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mouse {
    /// What.
    pub kind: MouseKind,
    /// Column.
    pub x: u16,
    /// Row.
    pub y: u16,
    /// What was there in the frame that the user saw.
    pub target: Target,
}

/// What the mouse did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MouseKind {
    /// Moved with the left button down.
    Drag,
    /// Left button.
    Press,
    /// Left button let go.
    Release,
    /// Right button.
    RightPress,
    /// Wheel.
    WheelDown,
    /// Wheel.
    WheelUp,
}

/// A clickable place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// Body of a window.
    Body(WindowId),
    /// Close button of a window.
    Close(WindowId),
    /// Corner by which a floating window is resized.
    Corner(WindowId),
    /// A button of the dialog.
    DialogButton(usize),
    /// A field of the dialog.
    DialogField(usize),
    /// Head of a column of a window's table.
    Header(WindowId, usize),
    /// An entry of the open menu, palette or list.
    Item(usize),
    /// A title of the menu bar.
    MenuTitle(usize),
    /// Minimise button of a window.
    Minimise(WindowId),
    /// Inside of the open menu, palette or dialog.
    Modal,
    /// Nothing.
    Nothing,
    /// A row of a window's body, counted from the first shown.
    Row(WindowId, usize),
    /// The border between two tiles, by its place in the layout.
    SplitBar(usize),
    /// A tab in the title of a tile that several windows share.
    Tab(WindowId),
    /// Title of a window.
    Title(WindowId),
    /// Name of a workspace.
    Workspace(usize),
    /// Zoom button of a window.
    Zoom(WindowId),
}
