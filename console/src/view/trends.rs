//! Pure: no clock, no I/O, no async.
//!
//! Totals over the last five minutes.

use ratatui::layout::Rect;

use super::Facts;
use crate::store::Totals;
use crate::text;
use crate::theme::Role;
use crate::widget::canvas::{Align, Canvas};
use crate::widget::spark;

/// Number of rows.
pub const ROWS: usize = 8;

struct Trend {
    name: &'static str,
    samples: fn(&Totals) -> &[u32],
    value: fn(u32) -> String,
    /// What a full bar stands for; none is the highest value that shows.
    full: Option<u32>,
}

const TRENDS: [Trend; ROWS] = [
    Trend { name: "cpu mean", samples: |t| t.cpu_mean.samples(), value: permille, full: Some(1000) },
    Trend { name: "cpu max", samples: |t| t.cpu_max.samples(), value: permille, full: Some(1000) },
    Trend { name: "sessions", samples: |t| t.sessions.samples(), value: count, full: None },
    Trend { name: "conns", samples: |t| t.connections.samples(), value: count, full: None },
    Trend { name: "streams", samples: |t| t.streams.samples(), value: count, full: None },
    Trend { name: "egress", samples: |t| t.egress.samples(), value: kilobits, full: None },
    Trend { name: "ingress", samples: |t| t.ingress.samples(), value: kilobits, full: None },
    Trend { name: "drops/s", samples: |t| t.drops.samples(), value: count, full: None },
];

fn permille(value: u32) -> String {
    format!("{} %", value / 10)
}

fn count(value: u32) -> String {
    text::grouped(value.into())
}

fn kilobits(value: u32) -> String {
    text::bitrate(u64::from(value) * 1000)
}

/// Rows that one total takes, and how many of them its bars fill: where there is room, two and a blank between.
fn rows_each(height: u16) -> (u16, u16) {
    if usize::from(height) >= 3 * ROWS { (3, 2) } else { (1, 1) }
}

/// Draws each total: name, bars, newest value, change over what shows.
pub fn draw(facts: &Facts<'_>, canvas: &mut Canvas<'_>, area: Rect, offset: usize) {
    let totals = &facts.store.totals;
    let columns = area.width.saturating_sub(11 + 10 + 8);
    let step = (crate::store::HISTORY_SAMPLES / usize::from(columns.max(1))).max(1);
    let (each, high) = rows_each(area.height);
    for (trend, y) in TRENDS.iter().skip(offset).zip((area.y..area.bottom()).step_by(each.into())) {
        let samples = (trend.samples)(totals);
        let shown = &samples[samples.len().saturating_sub(usize::from(columns) * step)..];
        let full = trend.full.unwrap_or_else(|| shown.iter().copied().max().unwrap_or(1));
        let newest = samples.last().copied().unwrap_or(0);
        let role = if trend.full.is_some() { spark::load_role(newest) } else { Role::Level(0) };
        let bars = spark::tall(&canvas.theme, samples, full, columns, step, high.into());
        for (row, y) in bars.iter().zip(y..area.bottom()) {
            canvas.text(area.x + 10, y, columns, row, role);
        }
        // Words stand on the base line of the bars.
        let y = (y + high - 1).min(area.bottom() - 1);
        canvas.text(area.x + 1, y, 9, trend.name, Role::Dim);
        let x = area.x + 10 + columns;
        canvas.aligned(x, y, 10, &(trend.value)(newest), Role::Text, Align::Right);
        canvas.aligned(x + 10, y, 8, &change(shown), Role::Dim, Align::Right);
    }
}

/// Change from the mean of the first tenth that shows to the newest value, in percent.
fn change(shown: &[u32]) -> String {
    let Some(last) = shown.last() else { return String::new() };
    let first = &shown[..(shown.len() / 10).max(1)];
    let mean = first.iter().map(|v| f64::from(*v)).sum::<f64>() / first.len() as f64;
    if mean < 1.0 {
        return String::new();
    }
    let percent = (f64::from(*last) - mean) * 100.0 / mean;
    if percent.abs() < 1.0 { "=".to_owned() } else { format!("{percent:+.0} %") }
}
