//! Pure: no clock, no I/O, no async.
//!
//! The moving test picture of a synthetic participant, and how a recording's frame is read back. A block code in the
//! middle of the picture says who it is and which tenth of a second it shows, so that a composed frame tells for each
//! tile whether it is that participant's and whether it moves. The code fits into the middle two fifths of the picture: a
//! tile that crops a wide picture to its middle still shows it.

#![expect(clippy::cast_sign_loss, reason = "positions are bounded from below before the cast")]

/// Columns and rows of the block code: 16 bits.
const COLUMNS: usize = 8;
const ROWS: usize = 2;
/// Share of the picture that the code covers, in thousandths, each way.
const CODE_WIDTH_PERMILLE: usize = 400;
const CODE_HEIGHT_PERMILLE: usize = 240;
/// Black and white of video range (BT.601).
const BLACK: u8 = 16;
const WHITE: u8 = 235;
/// Participants that have a code of their own.
pub const ACTORS_MAX: u8 = 16;
/// Frames between two flashes are this many seconds apart; a flash begins with a beep.
pub const FLASH_INTERVAL_S: u32 = 2;
/// Length of flash and beep.
pub const FLASH_MS: u32 = 80;

/// A picture in planes, chroma halved both ways (I420).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Picture {
    /// Even, pixels.
    pub width: usize,
    /// Even, pixels.
    pub height: usize,
    /// Luma, then the two chroma planes.
    pub planes: Vec<u8>,
}

/// A part of a grey picture, pixels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

/// What a code says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code {
    /// Number of the participant, below [`ACTORS_MAX`].
    pub actor: u8,
    /// Tenths of a second of the participant's film, modulo 256.
    pub tenths: u8,
}

impl Code {
    /// Four bits of participant, eight of time, four of check.
    #[must_use]
    pub const fn bits(self) -> u16 {
        let actor = (self.actor & 0xf) as u16;
        let tenths = self.tenths as u16;
        // No two values of one bit's difference share a check, and black or white areas read as nothing.
        let check = (actor ^ (tenths >> 4) ^ (tenths & 0xf)) ^ 0b1010;
        actor << 12 | tenths << 4 | check
    }

    /// The code of these bits, if they are one.
    #[must_use]
    pub const fn of(bits: u16) -> Option<Self> {
        let code = Self { actor: (bits >> 12) as u8, tenths: (bits >> 4 & 0xff) as u8 };
        if code.bits() == bits { Some(code) } else { None }
    }
}

/// Paints one frame of a participant: its colour, a ball that circles, the code, a flash every [`FLASH_INTERVAL_S`].
#[must_use]
pub fn paint(width: usize, height: usize, actor: u8, frame: u64, frames_per_s: u32) -> Picture {
    let mut planes = vec![0; width * height * 3 / 2];
    let (luma, chroma) = planes.split_at_mut(width * height);
    let (blue, red) = chroma.split_at_mut(width * height / 4);
    let time_ms = frame * 1_000 / u64::from(frames_per_s.max(1));
    for (row, line) in luma.chunks_exact_mut(width).enumerate() {
        line.fill((70 + row * 60 / height.max(1)) as u8);
    }
    blue.fill(64 + (actor & 0xf).wrapping_mul(53) % 128);
    red.fill(64 + (actor & 0xf).wrapping_mul(97) % 128);
    ball(luma, width, height, time_ms);
    let flash_ms = time_ms % (u64::from(FLASH_INTERVAL_S) * 1_000);
    let lit = if flash_ms < u64::from(FLASH_MS) { WHITE } else { BLACK };
    fill(luma, width, flash_patch(width, height), lit);
    let code = Code { actor, tenths: (time_ms / 100 % 256) as u8 }.bits();
    let area = code_area(width, height);
    let border = (area.width / 40).max(2);
    let framed = Rect {
        x: area.x - border,
        y: area.y - border,
        width: area.width + 2 * border,
        height: area.height + 2 * border,
    };
    fill(luma, width, framed, (BLACK + WHITE) / 2);
    for at in 0..COLUMNS * ROWS {
        let value = if code >> (COLUMNS * ROWS - 1 - at) & 1 == 1 { WHITE } else { BLACK };
        fill(luma, width, block(area, at), value);
    }
    Picture { width, height, planes }
}

/// Where the flash is in a picture.
#[must_use]
pub const fn flash_patch(width: usize, height: usize) -> Rect {
    Rect { x: width * 45 / 100, y: height * 78 / 100, width: width / 10, height: height * 12 / 100 }
}

/// Where the code is in a picture.
const fn code_area(width: usize, height: usize) -> Rect {
    let wide = width * CODE_WIDTH_PERMILLE / 1_000 / COLUMNS * COLUMNS;
    let high = height * CODE_HEIGHT_PERMILLE / 1_000 / ROWS * ROWS;
    Rect { x: (width - wide) / 2, y: (height - high) / 2, width: wide, height: high }
}

const fn block(area: Rect, at: usize) -> Rect {
    let (width, height) = (area.width / COLUMNS, area.height / ROWS);
    Rect { x: area.x + at % COLUMNS * width, y: area.y + at / COLUMNS * height, width, height }
}

fn ball(luma: &mut [u8], width: usize, height: usize, time_ms: u64) {
    let angle = (time_ms % 3_000) as f32 / 3_000.0 * std::f32::consts::TAU;
    let radius = height as f32 / 14.0;
    let centre_x = width as f32 * (0.5 + 0.42 * angle.cos());
    let centre_y = height as f32 * (0.5 + 0.4 * angle.sin());
    let (top, bottom) = ((centre_y - radius).max(0.0), (centre_y + radius).max(0.0));
    for (row, line) in luma.chunks_exact_mut(width).enumerate().take(bottom as usize + 1).skip(top as usize) {
        let y = row as f32 - centre_y;
        let half = (radius * radius - y * y).max(0.0).sqrt();
        let from = (centre_x - half).max(0.0) as usize;
        let to = ((centre_x + half).max(0.0) as usize).min(width);
        if let Some(part) = line.get_mut(from..to) {
            part.fill(WHITE);
        }
    }
}

fn fill(luma: &mut [u8], width: usize, rect: Rect, value: u8) {
    for line in luma.chunks_exact_mut(width).skip(rect.y).take(rect.height) {
        if let Some(part) = line.get_mut(rect.x..rect.x + rect.width) {
            part.fill(value);
        }
    }
}

/// A grey picture (luma only), `width` bytes a line.
#[derive(Clone, Copy, Debug)]
pub struct Grey<'a> {
    /// Pixels of a line.
    pub width: usize,
    /// All lines.
    pub luma: &'a [u8],
}

impl Grey<'_> {
    /// Mean luma of a part; 0 outside the picture.
    #[must_use]
    pub fn mean(&self, rect: Rect) -> u8 {
        let lines = self.luma.chunks_exact(self.width.max(1)).skip(rect.y).take(rect.height);
        let parts = lines.filter_map(|line| line.get(rect.x..rect.x + rect.width));
        let (sum, count) =
            parts.flatten().fold((0_u64, 0_u64), |(sum, count), value| (sum + u64::from(*value), count + 1));
        u8::try_from(sum.checked_div(count).unwrap_or(0)).unwrap_or(u8::MAX)
    }

    /// The code in a tile that shows a picture of `source` pixels cropped to fill it, if one can be read.
    #[must_use]
    pub fn code(&self, tile: Rect, source: (usize, usize)) -> Option<Code> {
        let area = covered(code_area(source.0, source.1), tile, source);
        let mut bits = 0;
        for at in 0..COLUMNS * ROWS {
            let whole = block(area, at);
            // The middle of a block: its edges are blurred by scaling and coding.
            let core = Rect {
                x: whole.x + whole.width / 4,
                y: whole.y + whole.height / 4,
                width: (whole.width / 2).max(1),
                height: (whole.height / 2).max(1),
            };
            bits = bits << 1 | u16::from(self.mean(core) > 125);
        }
        Code::of(bits)
    }

    /// True while the flash of a tile is lit.
    #[must_use]
    pub fn flashes(&self, tile: Rect, source: (usize, usize)) -> bool {
        self.mean(covered(flash_patch(source.0, source.1), tile, source)) > 125
    }
}

/// Where a part of a picture is in a tile that it is cropped to fill.
#[must_use]
pub const fn covered(part: Rect, tile: Rect, source: (usize, usize)) -> Rect {
    // The larger of both scales, as a fraction.
    let (up, down) = if tile.width * source.1 > tile.height * source.0 {
        (tile.width, source.0)
    } else {
        (tile.height, source.1)
    };
    let left = (source.0 * up / down).saturating_sub(tile.width) / 2;
    let top = (source.1 * up / down).saturating_sub(tile.height) / 2;
    Rect {
        x: tile.x + (part.x * up / down).saturating_sub(left),
        y: tile.y + (part.y * up / down).saturating_sub(top),
        width: part.width * up / down,
        height: part.height * up / down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_participant_and_time_reads_as_itself() {
        for actor in 0..ACTORS_MAX {
            for frame in [0, 1, 29, 31, 299, 7_000] {
                let picture = paint(640, 360, actor, frame, 30);
                let grey = Grey { width: 640, luma: &picture.planes[..640 * 360] };
                let whole = Rect { x: 0, y: 0, width: 640, height: 360 };
                let tenths = (frame * 1_000 / 30 / 100 % 256) as u8;
                assert_eq!(grey.code(whole, (640, 360)), Some(Code { actor, tenths }));
            }
        }
    }

    #[test]
    fn flat_pictures_and_single_wrong_blocks_read_as_nothing() {
        for value in [0, 100, 255] {
            let luma = vec![value; 640 * 360];
            let whole = Rect { x: 0, y: 0, width: 640, height: 360 };
            assert_eq!(Grey { width: 640, luma: &luma }.code(whole, (640, 360)), None);
        }
        let bits = Code { actor: 3, tenths: 77 }.bits();
        assert!((0..16).all(|bit| Code::of(bits ^ 1 << bit).is_none()));
    }

    #[test]
    fn the_flash_comes_every_two_seconds() {
        let lit = |frame: u64| {
            let picture = paint(320, 180, 0, frame, 25);
            let whole = Rect { x: 0, y: 0, width: 320, height: 180 };
            Grey { width: 320, luma: &picture.planes[..320 * 180] }.flashes(whole, (320, 180))
        };
        assert_eq!((0..100).filter(|frame| lit(*frame)).collect::<Vec<_>>(), [0, 1, 50, 51]);
    }

    #[test]
    fn a_cropped_tile_keeps_the_code() {
        // Two people side by side: 640x360 doubled, the middle half is seen.
        let tile = Rect { x: 640, y: 0, width: 640, height: 720 };
        let area = covered(code_area(640, 360), tile, (640, 360));
        assert!(area.x >= tile.x && area.x + area.width <= tile.x + tile.width);
    }
}
