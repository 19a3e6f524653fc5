//! Pure: no clock, no I/O, no async.
//!
//! The surface that everything draws on: text by role, frames, and a map of what can be clicked.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::event::Target;
use crate::text;
use crate::theme::{Role, Theme};

/// Which end of the room a text sticks to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A frame buffer with looks and the map of clickable places.
#[derive(Debug)]
pub struct Canvas<'a> {
    /// Cells.
    pub buffer: &'a mut Buffer,
    /// Looks.
    pub theme: Theme,
    /// What is where; later entries lie on top.
    pub hits: &'a mut Vec<(Rect, Target)>,
    /// Where the terminal's cursor goes; none hides it.
    pub cursor: &'a mut Option<Position>,
}

impl Canvas<'_> {
    /// Writes text from `x` on, at most `room` cells, cut with a mark. Gives the column after it.
    pub fn text(&mut self, x: u16, y: u16, room: u16, text: &str, role: Role) -> u16 {
        let area = *self.buffer.area();
        if y >= area.bottom() || x >= area.right() || room == 0 {
            return x;
        }
        let room = room.min(area.right() - x);
        let fitted = text::fit(text, room, self.theme.cut());
        let style = self.theme.style(role);
        if self.theme.is_ascii() && !fitted.is_ascii() {
            let replaced: String = fitted.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
            return self.buffer.set_stringn(x, y, replaced, usize::from(room), style).0;
        }
        self.buffer.set_stringn(x, y, &fitted, usize::from(room), style).0
    }

    /// Writes text into a field of `room` cells.
    pub fn aligned(&mut self, x: u16, y: u16, room: u16, text: &str, role: Role, align: Align) {
        let start = match align {
            Align::Left => x,
            Align::Right => x + room.saturating_sub(text::width(text)),
        };
        self.text(start, y, (x + room).saturating_sub(start), text, role);
    }

    /// One row of a view's body: writes and clips to the area. Gives the column after it.
    pub fn line(&mut self, area: Rect, row: u16, parts: &[(&str, Role)]) -> u16 {
        let mut x = area.x;
        if row >= area.height {
            return x;
        }
        for (part, role) in parts {
            x = self.text(x, area.y + row, area.right().saturating_sub(x), part, *role);
        }
        x
    }

    /// Fills a rectangle with blanks.
    pub fn fill(&mut self, rect: Rect, role: Role) {
        let style = self.theme.style(role);
        for position in rect.intersection(*self.buffer.area()).positions() {
            if let Some(cell) = self.buffer.cell_mut(position) {
                cell.reset();
                cell.set_style(style);
            }
        }
    }

    /// Changes the looks of what is there.
    pub fn restyle(&mut self, rect: Rect, role: Role) {
        self.buffer.set_style(rect.intersection(*self.buffer.area()), self.theme.style(role));
    }

    /// Draws a frame along the inner edge of a rectangle.
    pub fn frame(&mut self, rect: Rect, heavy: bool, role: Role) {
        if rect.width < 2 || rect.height < 2 {
            return;
        }
        let glyphs = self.theme.frame(heavy);
        let (right, bottom) = (rect.right() - 1, rect.bottom() - 1);
        let mut put = |x: u16, y: u16, symbol: &str| {
            let style = self.theme.style(role);
            if let Some(cell) = self.buffer.cell_mut((x, y)) {
                cell.set_symbol(symbol);
                cell.set_style(style);
            }
        };
        for x in rect.x + 1..right {
            put(x, rect.y, glyphs.horizontal);
            put(x, bottom, glyphs.horizontal);
        }
        for y in rect.y + 1..bottom {
            put(rect.x, y, glyphs.vertical);
            put(right, y, glyphs.vertical);
        }
        put(rect.x, rect.y, glyphs.top_left);
        put(right, rect.y, glyphs.top_right);
        put(right, bottom, glyphs.bottom_right);
        put(rect.x, bottom, glyphs.bottom_left);
    }

    /// Darkens two columns to the right of and one row below a floating rectangle.
    pub fn shadow(&mut self, rect: Rect) {
        let right = Rect::new(rect.right(), rect.y + 1, 2, rect.height);
        let below = Rect::new(rect.x + 2, rect.bottom(), rect.width.saturating_sub(2), 1);
        for area in [right, below] {
            let area = area.intersection(*self.buffer.area());
            let style = self.theme.style(Role::Shadow);
            for position in area.positions() {
                if let Some(cell) = self.buffer.cell_mut(position) {
                    cell.modifier = ratatui::style::Modifier::empty();
                    cell.set_style(style.bg(ratatui::style::Color::Reset));
                }
            }
        }
    }

    /// Makes a place clickable.
    pub fn hit(&mut self, rect: Rect, target: Target) {
        if rect.width > 0 && rect.height > 0 {
            self.hits.push((rect, target));
        }
    }
}

/// What is under a position: the topmost of the map.
#[must_use]
pub fn target_at(hits: &[(Rect, Target)], position: Position) -> Target {
    hits.iter().rev().find(|(rect, _)| rect.contains(position)).map_or(Target::Nothing, |(_, target)| *target)
}
