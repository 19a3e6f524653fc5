//! Pure: no clock, no I/O, no async.
//!
//! A row of bars: values over time, newest at the right.

use crate::theme::{Role, Theme};

/// One bar for each column, for values of 0 to `full`; columns without a value are blank. Takes the last values that
/// fit; `step` of them share a bar (their maximum shows).
#[must_use]
pub fn bars(theme: &Theme, values: &[u32], full: u32, columns: u16, step: usize) -> String {
    tall(theme, values, full, columns, step, 1).concat()
}

/// The same over several rows, the upper ones first.
#[must_use]
pub fn tall(theme: &Theme, values: &[u32], full: u32, columns: u16, step: usize, rows: usize) -> Vec<String> {
    let step = step.max(1);
    let shown = &values[values.len().saturating_sub(usize::from(columns) * step)..];
    // Groups end at the newest value, so that a bar does not change once its time is over.
    let (head, rest) = shown.split_at(shown.len() % step);
    let groups = (!head.is_empty()).then_some(head).into_iter().chain(rest.chunks(step));
    let levels: Vec<usize> =
        groups.map(|group| level(group.iter().copied().max().unwrap_or(0), full, rows)).collect();
    let blanks = " ".repeat(usize::from(columns).saturating_sub(levels.len()));
    (0..rows)
        .rev()
        .map(|row| {
            let cells = levels.iter().map(|level| theme.bar(level.saturating_sub(8 * row).min(8)));
            std::iter::once(blanks.as_str()).chain(cells).collect()
        })
        .collect()
}

/// 1 to 8 for each row, for a value of 0 to `full`: idle still shows a line.
fn level(value: u32, full: u32, rows: usize) -> usize {
    let highest = 8 * rows as u64;
    let full = u64::from(full.max(1));
    let level = u64::from(value).saturating_mul(highest).div_ceil(full).clamp(1, highest);
    usize::try_from(level).unwrap_or(8)
}

/// Colour of a load of 0 to 1000 permille.
#[must_use]
pub const fn load_role(permille: u32) -> Role {
    Role::Level(match permille {
        0..250 => 0,
        250..500 => 1,
        500..750 => 2,
        750..850 => 3,
        _ => 4,
    })
}

/// A gauge of `cells` cells for 0 to 1000 permille.
#[must_use]
pub fn gauge(theme: &Theme, permille: u32, cells: u16) -> String {
    let (full, empty) = theme.gauge();
    let filled = usize::try_from(u64::from(permille.min(1000)) * u64::from(cells) / 1000).unwrap_or(0);
    let mut text = full.repeat(filled);
    text.push_str(&empty.repeat(usize::from(cells) - filled));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_end_at_the_newest_value() {
        let theme = Theme::default();
        assert_eq!(bars(&theme, &[0, 500, 1000], 1000, 5, 1), "  ▁▄█");
        assert_eq!(bars(&theme, &[0, 500, 1000], 1000, 2, 1), "▄█");
        assert_eq!(bars(&theme, &[1000, 0, 0, 500, 0], 1000, 4, 2), " █▁▄");
        assert_eq!(bars(&theme, &[], 1000, 2, 1), "  ");
    }

    #[test]
    fn tall_bars_fill_from_below() {
        let theme = Theme::default();
        assert_eq!(tall(&theme, &[250, 500, 1000], 1000, 4, 1, 2), ["   █", " ▄██"]);
    }

    #[test]
    fn a_gauge_fills_its_cells() {
        let theme = Theme::default();
        assert_eq!(gauge(&theme, 500, 4), "██░░");
        assert_eq!(gauge(&theme, 5000, 2), "██");
    }
}
