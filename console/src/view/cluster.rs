//! Pure: no clock, no I/O, no async.
//!
//! The cluster in a dozen figures.

use super::{Facts, Line};
use crate::model::Link;
use crate::store::Store;
use crate::text;
use crate::theme::Role;
use crate::widget::spark::load_role;

fn label(text: &str) -> (String, Role) {
    (format!(" {text:<9}"), Role::Dim)
}

fn plain(text: String) -> (String, Role) {
    (text, Role::Text)
}

/// What the window shows.
#[must_use]
pub fn lines(facts: &Facts<'_>) -> Vec<Line> {
    let store = facts.store;
    let head = &store.head;
    let mut lines = vec![master_line(facts), link_line(facts)];
    if store.received.is_none() {
        lines.push(vec![label("cluster"), ("waiting for the master".to_owned(), Role::Dim)]);
        return lines;
    }
    lines.push(nodes_line(store));
    let trend = |samples: &[u32]| change(samples);
    let count = |name: &str, total: u64, samples: &[u32]| -> Line {
        let (text, role) = trend(samples);
        vec![label(name), plain(format!("{:<12}", text::grouped(total))), (text, role)]
    };
    lines.push(count("sessions", head.sessions.into(), store.totals.sessions.samples()));
    lines.push(count("conns", head.connections.into(), store.totals.connections.samples()));
    lines.push(count("streams", head.streams.into(), store.totals.streams.samples()));
    let newest = |samples: &[u32]| samples.last().copied().unwrap_or(0);
    let rate = |samples: &[u32]| text::bitrate(u64::from(newest(samples)) * 1000);
    lines.push(vec![
        label("egress"),
        plain(format!("{:<12}", rate(store.totals.egress.samples()))),
        ("in ".to_owned(), Role::Dim),
        plain(rate(store.totals.ingress.samples())),
    ]);
    lines.push(cpu_line(store));
    if head.recordings > 0 {
        lines.push(vec![label("record"), (format!("{} under way", head.recordings), Role::Crit)]);
    }
    let drops = newest(store.totals.drops.samples());
    let role = if drops > 0 { Role::Warn } else { Role::Text };
    lines.push(vec![label("drops"), (format!("{drops}/s"), role)]);
    lines
}

fn master_line(facts: &Facts<'_>) -> Line {
    let head = &facts.store.head;
    match &facts.store.welcome {
        Some(welcome) => vec![
            label("master"),
            plain(welcome.program.to_string()),
            (format!("  up {}", text::span(head.uptime_ms)), Role::Dim),
            (if head.epoch > 0 { format!("  epoch {}", head.epoch) } else { String::new() }, Role::Dim),
        ],
        None => vec![label("master"), ("not reached yet".to_owned(), Role::Dim)],
    }
}

fn link_line(facts: &Facts<'_>) -> Line {
    let age =
        text::span(u64::try_from(facts.now.saturating_sub(facts.store.link_since).as_millis()).unwrap_or(0));
    match &facts.store.link {
        None => vec![label("link"), ("starting".to_owned(), Role::Dim)],
        Some(Link::Connecting { address }) => {
            vec![label("link"), ("dialling ".to_owned(), Role::Warn), plain(address.to_string())]
        }
        Some(Link::Down { why, .. }) => {
            vec![label("link"), (format!("down for {age}: "), Role::Crit), plain(why.to_string())]
        }
        Some(Link::Up(welcome)) => {
            vec![label("link"), ("up".to_owned(), Role::Ok), (format!("  {}", welcome.operator), Role::Dim)]
        }
    }
}

fn nodes_line(store: &Store) -> Line {
    let media = &store.head.media;
    let mut line = vec![label("nodes"), (format!("{} up", media.running), Role::Ok)];
    let others = [
        (media.draining, "drain", Role::Warn),
        (media.launching, "new", Role::Accent),
        (media.lost, "LOST", Role::Crit),
    ];
    for (number, word, role) in others {
        if number > 0 {
            line.push((format!("  {number} {word}"), role));
        }
    }
    let recorders = &store.head.recorders;
    if recorders.running + recorders.draining > 0 {
        line.push((format!("  {} rec", recorders.running + recorders.draining), Role::Dim));
    }
    if recorders.lost > 0 {
        line.push((format!("  {} rec LOST", recorders.lost), Role::Crit));
    }
    line
}

fn cpu_line(store: &Store) -> Line {
    let (mean, max) = (store.head.cpu_permille_mean.into(), store.head.cpu_permille_max.into());
    vec![
        label("cpu"),
        ("mean ".to_owned(), Role::Dim),
        (format!("{} %", mean / 10), load_role(mean)),
        ("  max ".to_owned(), Role::Dim),
        (format!("{} %", max / 10), load_role(max)),
    ]
}

/// Change over the last minute: `+12/min`.
fn change(samples: &[u32]) -> (String, Role) {
    let Some((last, before)) = samples.split_last() else { return (String::new(), Role::Dim) };
    let then = before[before.len().saturating_sub(60)..].first().copied().unwrap_or(*last);
    match i64::from(*last) - i64::from(then) {
        0 => ("=".to_owned(), Role::Dim),
        by => (format!("{by:+}/min"), Role::Dim),
    }
}
