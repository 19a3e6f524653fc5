//! Pure: no clock, no I/O, no async.
//!
//! Text for cells: makes foreign text harmless, measures and cuts it, and writes numbers the way every view does.
//!
//! What participants, nodes and masters send is data. It becomes [`Clean`] where it enters the console; views draw
//! only [`Clean`] and text of our own.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// Characters of foreign text that are kept; more is cut with `…`. Public names and client data are far shorter.
const CLEAN_CHARS_MAX: usize = 256;

/// Foreign text without anything that a terminal could take for an instruction: no control characters, no escape
/// sequences, no overrides of the writing direction, nothing invisible.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Clean(String);

impl Clean {
    /// Replaces every harmful character by `·` and cuts overlong text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut clean = String::with_capacity(text.len().min(CLEAN_CHARS_MAX * 4));
        for (index, c) in text.chars().enumerate() {
            if index == CLEAN_CHARS_MAX {
                clean.push('…');
                break;
            }
            clean.push(if is_harmful(c) { '·' } else { c });
        }
        Self(clean)
    }
}

impl Deref for Clean {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Clean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Control characters, direction marks and overrides, joiners, variation selectors, tags, fillers, private use.
const fn is_harmful(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Cells that a text takes.
#[must_use]
pub fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// The text, cut to at most `cells` with the mark at its end when something was cut.
#[must_use]
pub fn fit<'a>(text: &'a str, cells: u16, mark: &str) -> Cow<'a, str> {
    if width(text) <= cells {
        return Cow::Borrowed(text);
    }
    let room = cells.saturating_sub(width(mark));
    let mut kept = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let next = used + width(grapheme);
        if next > room {
            break;
        }
        kept.push_str(grapheme);
        used = next;
    }
    if used + width(mark) <= cells {
        kept.push_str(mark);
    }
    Cow::Owned(kept)
}

/// The text in lines of at most `cells`, broken between words; a word that is too long is broken within.
#[must_use]
pub fn wrap(text: &str, cells: u16) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let needed = if line.is_empty() { 0 } else { width(&line) + 1 };
        if !line.is_empty() && needed + width(word) > cells {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for grapheme in word.graphemes(true) {
            if !line.is_empty() && width(&line) + width(grapheme) > cells {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(grapheme);
        }
    }
    lines.push(line);
    lines
}

/// Bits per second as `1.90 Gb/s`, `820 kb/s`.
#[must_use]
pub fn bitrate(bps: u64) -> String {
    format!("{}b/s", scaled(bps, " "))
}

/// An amount as `999`, `21.4k`, `1.84M`.
#[must_use]
pub fn si(amount: u64) -> String {
    scaled(amount, "").trim_end().to_owned()
}

fn scaled(amount: u64, gap: &str) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    if amount < 1000 {
        return format!("{amount}{gap}");
    }
    let mut value = amount as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$}{gap}{}", UNITS[unit])
}

/// An amount of memory as `512 MiB`.
#[must_use]
pub fn bytes(amount: u64) -> String {
    match amount {
        0..0x400 => format!("{amount} B"),
        0x400..0x10_0000 => format!("{} KiB", amount >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", amount >> 20),
        _ => format!("{:.1} GiB", amount as f64 / f64::from(0x4000_0000_u32)),
    }
}

/// A whole number with thin groups: `21 406`.
#[must_use]
pub fn grouped(amount: u64) -> String {
    let digits = amount.to_string();
    let mut text = String::with_capacity(digits.len() + 6);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A span as `9s`, `4m12`, `1h02`, `3d04`.
#[must_use]
pub fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Time of day in UTC as `14:02:31`.
#[must_use]
pub fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A moment in UTC as RFC 3339, to the millisecond.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let (year, month, day) = civil(unix_ms / 86_400_000);
    format!("{year:04}-{month:02}-{day:02}T{}.{:03}Z", clock(unix_ms), unix_ms % 1000)
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar. Years begin in March, so that the
/// leap day is the last one of a year and months follow a line of 153 days in five.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + (month <= 2) as u64, month, day)
}

/// Thousandths as percent with one decimal below 10: `0.4`, `9.1`, `88`.
#[must_use]
pub fn percent(permille: u32) -> String {
    if permille < 100 {
        format!("{}.{}", permille / 10, permille % 10)
    } else {
        ((permille + 5) / 10).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_reach_the_terminal() {
        let hostile = "\u{1b}[2J\u{1b}]0;pwned\u{7}a\u{202e}b\u{200b}c\r\nd\u{9b}31m\u{e0041}";
        let clean = Clean::new(hostile);
        assert_eq!(&*clean, "·[2J·]0;pwned·a·b·c··d·31m·");
        assert!(clean.chars().all(|c| !c.is_control()));
        assert_eq!(Clean::new(&"x".repeat(10_000)).chars().count(), CLEAN_CHARS_MAX + 1);
    }

    #[test]
    fn wide_and_combined_characters_are_cut_whole() {
        assert_eq!(width("日本"), 4);
        assert_eq!(fit("日本語", 5, "…"), "日本…");
        assert_eq!(fit("日本語", 4, "…"), "日…");
        assert_eq!(fit("e\u{301}clair", 3, "…"), "e\u{301}c…");
        assert_eq!(fit("abc", 0, "…"), "");
        assert_eq!(fit("abc", 3, "…"), "abc");
    }

    #[test]
    fn long_text_is_broken_between_words_and_within_long_ones() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("日本語", 5), ["日本", "語"]);
    }

    #[test]
    fn numbers_read_the_same_everywhere() {
        assert_eq!(bitrate(1_900_000_000), "1.90 Gb/s");
        assert_eq!(bitrate(820_000), "820 kb/s");
        assert_eq!(bitrate(12), "12 b/s");
        assert_eq!(si(999), "999");
        assert_eq!(si(999_950), "1.00M");
        assert_eq!(si(21_406), "21.4k");
        assert_eq!(grouped(1_214_902), "1 214 902");
        assert_eq!(
            (span(9_400), span(252_000), span(3_720_000)),
            ("9s".into(), "4m12".into(), "1h02".into())
        );
        assert_eq!((percent(4), percent(91), percent(884)), ("0.4".into(), "9.1".into(), "88".into()));
        assert_eq!(bytes(512 << 20), "512 MiB");
    }

    #[test]
    fn moments_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(rfc3339(1_795_269_600_000), "2026-11-21T14:00:00.000Z");
    }
}
