//! Shell: owns the terminal's modes.
//!
//! Enters raw mode and the alternate screen and gives them back on every way out: the end, an error, a panic, a signal.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use crate::args::{ColorArg, GlyphArg, LookArgs};
use crate::theme::{GlyphSet, Level, Theme};

/// Alternate screen, hidden cursor, bracketed paste.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?2004h";
/// The reverse, with colours and attributes off and the mouse left alone.
const LEAVE: &str = "\x1b[?2026l\x1b[?1006l\x1b[?1002l\x1b[?1000l\x1b[?2004l\x1b[0m\x1b[?25h\x1b[?1049l";
/// Buttons, movement with a button down, coordinates beyond 223.
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1002h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1002l\x1b[?1000l";

/// Text that goes to the clipboard; terminals refuse much more.
const CLIPBOARD_BYTES_MAX: usize = 64 * 1024;

static ENTERED: AtomicBool = AtomicBool::new(false);

/// The terminal in the console's hands; leaving is dropping it.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When standard input or output is no terminal, or refuses raw mode.
    pub fn enter() -> io::Result<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the desktop needs a terminal"));
        }
        restore_on_panic();
        enable_raw_mode()?;
        ENTERED.store(true, Ordering::SeqCst);
        send(ENTER)?;
        send(MOUSE_ON)?;
        Ok(Self(()))
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// When the terminal does not say.
    pub fn size() -> io::Result<(u16, u16)> {
        crossterm::terminal::size()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back. Can be called at any time, any number of times.
pub fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        // Nothing can be done about a terminal that is gone.
        drop(send(LEAVE));
        drop(disable_raw_mode());
    }
}

fn send(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The message of a panic must not end on the alternate screen.
fn restore_on_panic() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}

/// Bytes that catch the mouse or leave it to the terminal.
#[must_use]
pub const fn mouse(on: bool) -> &'static str {
    if on { MOUSE_ON } else { MOUSE_OFF }
}

/// Bytes that put text on the clipboard (OSC 52); none when it is too long.
#[must_use]
pub fn clipboard(text: &str) -> Option<String> {
    if text.len() > CLIPBOARD_BYTES_MAX {
        return None;
    }
    Some(format!("\x1b]52;c;{}\x07", base64::engine::general_purpose::STANDARD.encode(text)))
}

/// Colours and characters by flags, else by the environment.
#[must_use]
pub fn theme(look: &LookArgs) -> Theme {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let term = variable("TERM");
    let level = match look.color {
        ColorArg::Ansi16 => Level::Ansi16,
        ColorArg::Ansi256 => Level::Ansi256,
        ColorArg::Never => Level::Mono,
        ColorArg::True => Level::True,
        ColorArg::Auto => {
            let colorterm = variable("COLORTERM");
            if !variable("NO_COLOR").is_empty() || matches!(term.as_str(), "" | "dumb" | "vt100" | "vt220") {
                Level::Mono
            } else if colorterm == "truecolor" || colorterm == "24bit" {
                Level::True
            } else if term.contains("256") || term.starts_with("tmux") || term.starts_with("screen") {
                Level::Ansi256
            } else {
                Level::Ansi16
            }
        }
    };
    let glyphs = match look.glyphs {
        GlyphArg::Ascii => GlyphSet::Ascii,
        GlyphArg::Full => GlyphSet::Full,
        GlyphArg::Plain => GlyphSet::Plain,
        GlyphArg::Auto => {
            let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(variable);
            let locale = locale.iter().find(|value| !value.is_empty()).map_or("", String::as_str);
            let unicode = locale.to_lowercase().replace('-', "").contains("utf8");
            match (unicode, term.as_str()) {
                (false, _) | (true, "" | "dumb" | "vt100" | "vt220") => GlyphSet::Ascii,
                (true, "linux") => GlyphSet::Plain,
                (true, _) => GlyphSet::Full,
            }
        }
    };
    Theme { level, glyphs }
}
