//! Pure: no clock, no I/O, no async.
//!
//! A row of bars: values over time, newest at the right.

use crate::theme::{Role, Theme};

/// One bar of each column for values of 0 to `full`; unknown values are blanks. Takes the last `columns` values;
/// where there are more values than columns wanted, `step` of them share one (their maximum shows).
#[must_use]
pub fn bars(theme: &Theme, values: &[u32], full: u32, columns: u16, step: usize) -> String {
    let step = step.max(1);
    let wanted = usize::from(columns) * step;
    let shown = &values[values.len().saturating_sub(wanted)..];
    let mut text = String::new();
    let used = shown.len().div_ceil(step);
    for _ in used..usize::from(columns) {
        text.push(' ');
    }
    // Groups end at the newest value, so that a bar does not change once its time is over.
    let first = shown.len() % step;
    let (head, rest) = shown.split_at(first);
    if !head.is_empty() {
        text.push_str(bar(theme, head, full));
    }
    for group in rest.chunks(step) {
        text.push_str(bar(theme, group, full));
    }
    text
}

fn bar(theme: &Theme, group: &[u32], full: u32) -> &'static str {
    let value = group.iter().copied().max().unwrap_or(0);
    theme.bar(eighths(value, full))
}

/// 1 to 8 for a value of 0 to `full`: idle still shows a line.
fn eighths(value: u32, full: u32) -> usize {
    let full = u64::from(full.max(1));
    let level = u64::from(value).saturating_mul(8).div_ceil(full).clamp(1, 8);
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
    fn a_gauge_fills_its_cells() {
        let theme = Theme::default();
        assert_eq!(gauge(&theme, 500, 4), "██░░");
        assert_eq!(gauge(&theme, 5000, 2), "██");
    }
}
