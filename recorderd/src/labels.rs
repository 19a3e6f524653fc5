//! Pure: no clock, no I/O, no async.
//!
//! Names on tiles, and tiles of streams without a picture, as finished pictures: they are drawn once, not for each frame.
//! Text is a stranger's: control and direction characters are left out, what does not fit is cut, letters that the font
//! lacks become a sign for that.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A picture in I420 without colour but the one its planes say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Picture {
    /// Pixels, even.
    pub width: u16,
    /// Pixels, even.
    pub height: u16,
    /// The three planes, one after the other, rows padded to four bytes as GStreamer has them.
    pub data: Vec<u8>,
}

/// Height of a label.
pub const LABEL_HEIGHT: u16 = 32;

/// Space around the letters.
const MARGIN: usize = 8;

/// Letters of a label at most; tiles have room for fewer.
const LETTERS_MAX: usize = 64;

const LETTER: u8 = 235;
const LABEL_GROUND: u8 = 32;
const TILE_GROUND: u8 = 60;

/// U+FFFD, which the font has.
const UNKNOWN: char = '\u{fffd}';

const ELLIPSIS: char = '…';

#[derive(Debug)]
struct Glyph {
    width: usize,
    /// Four bits of each pixel, rows of whole bytes.
    rows: &'static [u8],
}

#[derive(Debug)]
struct Font {
    height: usize,
    glyphs: BTreeMap<char, Glyph>,
}

impl Font {
    /// Height, number of letters, then each: code, width, pixels.
    fn read(bytes: &'static [u8]) -> Option<Self> {
        let (&[height, low, high], mut rest) = bytes.split_first_chunk::<3>()?;
        let height = usize::from(height);
        let mut glyphs = BTreeMap::new();
        for _ in 0..u16::from_le_bytes([low, high]) {
            let (&[low, high, width], after) = rest.split_first_chunk::<3>()?;
            let width = usize::from(width);
            let (rows, after) = after.split_at_checked(width.div_ceil(2) * height)?;
            rest = after;
            let letter = char::from_u32(u32::from(u16::from_le_bytes([low, high])))?;
            glyphs.insert(letter, Glyph { width, rows });
        }
        Some(Self { height, glyphs })
    }

    fn glyph(&self, letter: char) -> Option<&Glyph> {
        self.glyphs.get(&letter).or_else(|| self.glyphs.get(&UNKNOWN))
    }

    fn width(&self, letter: char) -> usize {
        self.glyph(letter).map_or(0, |glyph| glyph.width)
    }
}

fn font() -> Option<&'static Font> {
    static FONT: OnceLock<Option<Font>> = OnceLock::new();
    FONT.get_or_init(|| Font::read(include_bytes!("labels/font.bin"))).as_ref()
}

/// The text that is drawn: one line, cut to so many pixels.
fn fitted(font: &Font, text: &str, width: usize) -> Vec<char> {
    let is_hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let letters: Vec<char> =
        text.chars().filter(|&letter| !is_hidden(letter)).take(LETTERS_MAX + 1).collect();
    let total: usize = letters.iter().map(|&letter| font.width(letter)).sum();
    if total <= width && letters.len() <= LETTERS_MAX {
        return letters;
    }
    let mut room = width.saturating_sub(font.width(ELLIPSIS));
    let mut cut = Vec::new();
    for letter in letters.into_iter().take(LETTERS_MAX) {
        let Some(left) = room.checked_sub(font.width(letter)) else { break };
        room = left;
        cut.push(letter);
    }
    cut.push(ELLIPSIS);
    cut
}

impl Picture {
    fn filled(width: usize, height: usize, luma: u8) -> Self {
        let stride = width.next_multiple_of(4);
        let chroma = (width.div_ceil(2)).next_multiple_of(4) * height.div_ceil(2);
        let mut data = vec![luma; stride * height];
        data.resize(stride * height + 2 * chroma, 128);
        let size = |pixels: usize| u16::try_from(pixels).unwrap_or(u16::MAX);
        Self { width: size(width), height: size(height), data }
    }

    /// Draws letters from `x`, `y` on, each pixel `scale` pixels wide and high.
    fn draw(&mut self, font: &Font, letters: &[char], x: usize, y: usize, scale: usize) {
        let stride = usize::from(self.width).next_multiple_of(4);
        let mut left = x;
        for glyph in letters.iter().filter_map(|&letter| font.glyph(letter)) {
            let row_bytes = glyph.width.div_ceil(2);
            for row in 0..font.height * scale {
                for column in 0..glyph.width * scale {
                    let (at_x, at_y) = (left + column, y + row);
                    if at_x >= usize::from(self.width) || at_y >= usize::from(self.height) {
                        continue;
                    }
                    let pair =
                        glyph.rows.get(row / scale * row_bytes + column / scale / 2).copied().unwrap_or(0);
                    let ink = if (column / scale).is_multiple_of(2) { pair >> 4 } else { pair & 15 };
                    if let Some(pixel) = self.data.get_mut(at_y * stride + at_x) {
                        let (ground, letter) = (u16::from(*pixel), u16::from(LETTER));
                        let mixed = (ground * (15 - u16::from(ink)) + letter * u16::from(ink)) / 15;
                        *pixel = u8::try_from(mixed).unwrap_or(LETTER);
                    }
                }
            }
            left += glyph.width * scale;
        }
    }
}

/// A label for a tile of this width; `None` when nothing of it would be seen.
#[must_use]
pub fn label(text: &str, tile_width: u16) -> Option<Picture> {
    let font = font()?;
    let room = usize::from(tile_width).checked_sub(2 * MARGIN).filter(|room| *room > 2 * MARGIN)?;
    let letters = fitted(font, text.trim(), room);
    let width: usize = letters.iter().map(|&letter| font.width(letter)).sum();
    if width == 0 {
        return None;
    }
    let width = (width + 2 * MARGIN).next_multiple_of(2).min(usize::from(tile_width & !1));
    let mut picture = Picture::filled(width, usize::from(LABEL_HEIGHT), LABEL_GROUND);
    picture.draw(font, &letters, MARGIN, (usize::from(LABEL_HEIGHT) - font.height) / 2, 1);
    Some(picture)
}

/// The tile of a stream without a picture: its first letter, large; the name is the label's.
#[must_use]
pub fn avatar(text: &str, width: u16, height: u16) -> Picture {
    let (width, height) = (usize::from(width.max(2) & !1), usize::from(height.max(2) & !1));
    let mut picture = Picture::filled(width, height, TILE_GROUND);
    let first = text.chars().find(|letter| letter.is_alphanumeric());
    if let (Some(font), Some(first)) = (font(), first) {
        let letter = first.to_uppercase().next().unwrap_or(first);
        let scale = (height / 2 / font.height).clamp(1, 16);
        let (glyph_width, glyph_height) = (font.width(letter) * scale, font.height * scale);
        let (x, y) = (width.saturating_sub(glyph_width) / 2, height.saturating_sub(glyph_height) / 2);
        picture.draw(font, &[letter], x, y, scale);
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(picture: &Picture) -> usize {
        let luma = usize::from(picture.width).next_multiple_of(4) * usize::from(picture.height);
        picture.data[..luma].iter().filter(|pixel| **pixel > 150).count()
    }

    #[test]
    fn a_name_is_drawn_and_cut_to_its_tile() {
        let short = label("Ada Łukasz Ωμέγα Ив", 640).unwrap();
        assert!(ink(&short) > 300 && short.width < 300 && short.width.is_multiple_of(2));
        let long = label(&"wide name ".repeat(100), 200).unwrap();
        assert!(long.width <= 200 && long.width > 160);
        assert_eq!(label("", 640), None);
        assert_eq!(label("x", 10), None);
    }

    #[test]
    fn hidden_and_unknown_letters_do_no_harm() {
        let plain = label("abc", 640).unwrap();
        assert_eq!(label("a\u{202e}b\n\u{200b}c\u{1b}", 640).unwrap(), plain);
        assert!(ink(&label("漢字", 640).unwrap()) > 20);
    }

    #[test]
    fn a_tile_without_a_picture_shows_a_letter() {
        let tile = avatar("  zoe", 320, 180);
        assert_eq!((tile.width, tile.height), (320, 180));
        assert_eq!(tile.data.len(), 320 * 180 * 3 / 2);
        assert!(ink(&tile) > 200);
        assert_eq!(ink(&avatar("", 320, 180)), 0);
    }
}
