//! Pure: no clock, no I/O, no async.
//!
//! What is learned for reservations: how many participants sessions come to have, by the prefix of their names and
//! over all, and what a participant costs.

use std::collections::BTreeMap;

use crate::limits::SIZE_PREFIXES_MAX;

/// Weight of a new observation.
const WEIGHT: f64 = 0.2;

/// Expected size before anything was learned.
const PARTICIPANTS_FIRST: f64 = 4.0;

/// Expected stress per participant before anything was learned: 200 fill a node.
const COST_FIRST: f64 = 0.005;

/// A cost is only read off a node with this many endpoints: below, noise dominates.
const ENDPOINTS_MIN: u32 = 10;

/// Moving averages of session sizes and of the cost of a participant.
#[derive(Debug)]
pub struct Sizes {
    overall: f64,
    by_prefix: BTreeMap<String, f64>,
    cost: f64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { overall: PARTICIPANTS_FIRST, by_prefix: BTreeMap::new(), cost: COST_FIRST }
    }
}

impl Sizes {
    /// A session has ended; this many were in it at most.
    pub fn learn(&mut self, name: &str, participants_max: usize) {
        if participants_max == 0 {
            return;
        }
        let size = f64::from(u32::try_from(participants_max).unwrap_or(u32::MAX));
        self.overall += WEIGHT * (size - self.overall);
        let Some(prefix) = prefix(name) else { return };
        if let Some(average) = self.by_prefix.get_mut(prefix) {
            *average += WEIGHT * (size - *average);
        } else if self.by_prefix.len() < SIZE_PREFIXES_MAX {
            // A full table leaves other prefixes to the overall average.
            self.by_prefix.insert(prefix.to_owned(), size);
        }
    }

    /// A node under `stress` with this many endpoints; a participant has about two.
    pub fn learn_cost(&mut self, stress: f64, endpoints: u32) {
        if endpoints >= ENDPOINTS_MIN {
            self.cost += WEIGHT * (2.0 * stress / f64::from(endpoints) - self.cost);
        }
    }

    /// Stress that a new session will probably bring.
    #[must_use]
    pub fn expected_stress(&self, name: &str) -> f64 {
        let size = prefix(name).and_then(|it| self.by_prefix.get(it)).unwrap_or(&self.overall);
        size * self.cost
    }
}

/// The letters that a name begins with, unless it was made up by the core.
fn prefix(name: &str) -> Option<&str> {
    if name.starts_with("ses_") {
        return None;
    }
    let end = name.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(name.len());
    if end == 0 { None } else { Some(&name[..end.min(32)]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_learned_by_prefix() {
        let mut sizes = Sizes::default();
        let first = sizes.expected_stress("webinar-1");
        sizes.learn("webinar-1", 100);
        assert!(sizes.expected_stress("webinar-2") > 20.0 * first);
        assert!(sizes.expected_stress("standup") > first, "the overall average rose too");
        sizes.learn("ses_A123456789", 1);
        sizes.learn("nobody", 0);
        assert_eq!(sizes.by_prefix.len(), 1);
    }

    #[test]
    fn prefixes_are_bounded() {
        let mut sizes = Sizes::default();
        for a in b'a'..=b'z' {
            for b in b'a'..=b'z' {
                sizes.learn(&format!("{}{}1", char::from(a), char::from(b)), 2);
            }
        }
        assert_eq!(sizes.by_prefix.len(), SIZE_PREFIXES_MAX);
    }
}
