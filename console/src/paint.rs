//! Pure: no clock, no I/O, no async.
//!
//! From one frame to the next in as few bytes as it takes: only cells that differ, bracketed as one update so that
//! nothing tears. Equal frames take no byte.

use std::io::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier};

/// Holds what the terminal shows.
#[derive(Debug)]
pub struct Painter {
    shown: Buffer,
    cursor: Option<Position>,
    /// What the terminal shows is not known.
    dirty: bool,
}

impl Painter {
    /// For a terminal of unknown content.
    #[must_use]
    pub fn new() -> Self {
        Self { shown: Buffer::empty(Rect::ZERO), cursor: None, dirty: true }
    }

    /// Forgets what the terminal shows: everything is drawn again.
    pub fn forget(&mut self) {
        self.dirty = true;
    }

    /// The bytes that make the terminal show this frame; none when it does already.
    pub fn paint(&mut self, frame: &Buffer, cursor: Option<Position>) -> Vec<u8> {
        let mut out = Vec::new();
        if self.dirty || self.shown.area() != frame.area() {
            self.shown = Buffer::empty(*frame.area());
            out.extend_from_slice(b"\x1b[0m\x1b[2J");
            self.dirty = false;
        }
        let mut pen = Pen::default();
        for (x, y, cell) in self.shown.diff(frame) {
            pen.put(&mut out, x, y, cell);
        }
        if out.is_empty() && cursor == self.cursor {
            return out;
        }
        out.extend_from_slice(b"\x1b[0m");
        match cursor {
            // Rows and columns of the terminal start at 1.
            Some(at) => write_to(&mut out, format_args!("\x1b[{};{}H\x1b[?25h", at.y + 1, at.x + 1)),
            None => out.extend_from_slice(b"\x1b[?25l"),
        }
        self.cursor = cursor;
        self.shown.clone_from(frame);
        let mut bracketed = b"\x1b[?2026h".to_vec();
        bracketed.append(&mut out);
        bracketed.extend_from_slice(b"\x1b[?2026l");
        bracketed
    }
}

impl Default for Painter {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the next character goes and how it looks.
#[derive(Default)]
struct Pen {
    at: Option<(u16, u16)>,
    look: Option<(Color, Color, Modifier)>,
}

impl Pen {
    fn put(&mut self, out: &mut Vec<u8>, x: u16, y: u16, cell: &Cell) {
        if self.at != Some((x, y)) {
            write_to(out, format_args!("\x1b[{};{}H", y + 1, x + 1));
        }
        let look = (cell.fg, cell.bg, cell.modifier);
        if self.look != Some(look) {
            put_look(out, look);
            self.look = Some(look);
        }
        out.extend_from_slice(cell.symbol().as_bytes());
        let width = crate::text::width(cell.symbol()).max(1);
        self.at = Some((x + width, y));
    }
}

fn put_look(out: &mut Vec<u8>, (fg, bg, modifier): (Color, Color, Modifier)) {
    out.extend_from_slice(b"\x1b[0");
    let codes = [
        (Modifier::BOLD, 1),
        (Modifier::DIM, 2),
        (Modifier::ITALIC, 3),
        (Modifier::UNDERLINED, 4),
        (Modifier::REVERSED, 7),
    ];
    for (bit, code) in codes {
        if modifier.contains(bit) {
            write_to(out, format_args!(";{code}"));
        }
    }
    put_color(out, fg, 30);
    put_color(out, bg, 40);
    out.push(b'm');
}

/// Appends a colour; `base` is 30 for the foreground and 40 for the background.
fn put_color(out: &mut Vec<u8>, color: Color, base: u16) {
    const PALETTE: [Color; 16] = [
        Color::Black,
        Color::Red,
        Color::Green,
        Color::Yellow,
        Color::Blue,
        Color::Magenta,
        Color::Cyan,
        Color::Gray,
        Color::DarkGray,
        Color::LightRed,
        Color::LightGreen,
        Color::LightYellow,
        Color::LightBlue,
        Color::LightMagenta,
        Color::LightCyan,
        Color::White,
    ];
    if let Color::Rgb(r, g, b) = color {
        write_to(out, format_args!(";{};2;{r};{g};{b}", base + 8));
    } else if let Color::Indexed(index) = color {
        write_to(out, format_args!(";{};5;{index}", base + 8));
    } else if let Some(index) =
        (0_u16..).zip(PALETTE).find(|(_, known)| *known == color).map(|(index, _)| index)
    {
        let code = if index < 8 { base + index } else { base + 60 + index - 8 };
        write_to(out, format_args!(";{code}"));
    }
}

fn write_to(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    drop(out.write_fmt(text));
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    fn shown(parser: &vt100::Parser) -> String {
        parser.screen().contents()
    }

    #[test]
    fn a_terminal_shows_what_was_drawn_and_equal_frames_cost_nothing() {
        let mut painter = Painter::new();
        let mut parser = vt100::Parser::new(3, 20, 0);
        let mut frame = Buffer::empty(Rect::new(0, 0, 20, 3));
        frame.set_string(2, 1, "日本 x", Style::new().fg(Color::Rgb(1, 2, 3)).add_modifier(Modifier::BOLD));
        parser.process(&painter.paint(&frame, None));
        assert_eq!(shown(&parser), "\n  日本 x");
        assert!(parser.screen().hide_cursor());
        let cell = parser.screen().cell(1, 2).unwrap();
        assert!(cell.bold());
        assert_eq!(cell.fgcolor(), vt100::Color::Rgb(1, 2, 3));

        assert!(painter.paint(&frame, None).is_empty());
        frame.set_string(7, 1, "y", Style::new());
        let bytes = painter.paint(&frame, Some(Position::new(4, 2)));
        assert!(bytes.len() < 64, "{}", bytes.len());
        parser.process(&bytes);
        assert_eq!(shown(&parser), "\n  日本 y");
        assert_eq!(parser.screen().cursor_position(), (2, 4));
        assert!(!parser.screen().hide_cursor());
    }
}
