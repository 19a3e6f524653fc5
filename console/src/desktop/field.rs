//! Pure: no clock, no I/O, no async.
//!
//! A field of one line of text.

use unicode_segmentation::UnicodeSegmentation as _;

use crate::event::{Key, KeyCode};

/// Characters that a field takes.
const CHARS_MAX: usize = 256;

/// Text with a cursor.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Field {
    text: String,
    /// Byte offset, on a boundary of graphemes.
    cursor: usize,
}

impl Field {
    /// A field with text in it and the cursor at its end.
    #[must_use]
    pub fn with(text: &str) -> Self {
        Self { text: text.to_owned(), cursor: text.len() }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text before the cursor.
    #[must_use]
    pub fn before_cursor(&self) -> &str {
        &self.text[..self.cursor]
    }

    /// Takes a key; false when it is not one for editing.
    pub fn handle(&mut self, key: Key) -> bool {
        match (key.code, key.ctrl, key.alt) {
            (KeyCode::Char('u'), true, false) => {
                self.text.drain(..self.cursor);
                self.cursor = 0;
            }
            (KeyCode::Char('w'), true, false) => self.delete_word(),
            (KeyCode::Char('a'), true, false) | (KeyCode::Home, ..) => self.cursor = 0,
            (KeyCode::Char('e'), true, false) | (KeyCode::End, ..) => self.cursor = self.text.len(),
            (KeyCode::Char(c), false, false) => self.insert(c),
            (KeyCode::Backspace, ..) => {
                let start = self.previous();
                self.text.drain(start..self.cursor);
                self.cursor = start;
            }
            (KeyCode::Delete, ..) => {
                let end = self.next();
                self.text.drain(self.cursor..end);
            }
            (KeyCode::Left, ..) => self.cursor = self.previous(),
            (KeyCode::Right, ..) => self.cursor = self.next(),
            _ => return false,
        }
        true
    }

    /// Inserts pasted text; line breaks become blanks.
    pub fn paste(&mut self, text: &str) {
        for c in text.chars().take(CHARS_MAX) {
            self.insert(if c.is_control() { ' ' } else { c });
        }
    }

    fn insert(&mut self, c: char) {
        if !c.is_control() && self.text.chars().count() < CHARS_MAX {
            self.text.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
    }

    fn delete_word(&mut self) {
        let before = self.text[..self.cursor].trim_end();
        let start = before.rfind(' ').map_or(0, |at| at + 1);
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }

    fn previous(&self) -> usize {
        self.text[..self.cursor].grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn next(&self) -> usize {
        self.text[self.cursor..].graphemes(true).next().map_or(self.cursor, |g| self.cursor + g.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_edited_by_graphemes() {
        let mut field = Field::with("ae\u{301}");
        let key = |code| Key::plain(code);
        field.handle(key(KeyCode::Left));
        assert_eq!(field.before_cursor(), "a");
        field.handle(key(KeyCode::Delete));
        assert_eq!(field.text(), "a");
        field.paste("b\nc");
        assert_eq!(field.text(), "ab c");
        field.handle(Key { ctrl: true, ..key(KeyCode::Char('w')) });
        assert_eq!(field.text(), "ab ");
        field.handle(Key { ctrl: true, ..key(KeyCode::Char('u')) });
        assert_eq!(field.text(), "");
        field.handle(key(KeyCode::Backspace));
        assert!(!field.handle(key(KeyCode::Enter)));
    }
}
