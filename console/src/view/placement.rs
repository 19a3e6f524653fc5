//! Pure: no clock, no I/O, no async.
//!
//! Why a session runs where it runs: the stored decisions with every node that was looked at.

use common::id::SessionKey;
use ratatui::layout::Rect;

use super::{Facts, Line, Scroll, draw_lines};
use crate::model::{Decision, Topic};
use crate::store::Detail;
use crate::text;
use crate::theme::Role;
use crate::widget::canvas::Canvas;

/// The decisions about one session.
#[derive(Clone, Debug)]
pub struct PlacementView {
    /// Which session.
    pub session: Option<SessionKey>,
    /// It shows what is selected elsewhere on the workspace.
    pub follows: bool,
    /// Where the user is.
    pub scroll: Scroll,
}

impl PlacementView {
    /// Shows what is selected elsewhere.
    #[must_use]
    pub fn following() -> Self {
        Self { session: None, follows: true, scroll: Scroll::default() }
    }

    /// Shows one session.
    #[must_use]
    pub fn of(session: SessionKey) -> Self {
        Self { session: Some(session), follows: false, scroll: Scroll::default() }
    }

    pub(super) fn title(&self, facts: &Facts<'_>) -> String {
        match self.session.and_then(|key| facts.store.session(key)) {
            Some(session) => format!("Placement of {}", session.name),
            None => "Placement".to_owned(),
        }
    }

    pub(super) fn settle(&mut self, facts: &Facts<'_>, area: Rect) {
        self.scroll.settle(self.lines(facts, area.width).len(), area.height);
    }

    pub(super) fn draw(&self, facts: &Facts<'_>, canvas: &mut Canvas<'_>, area: Rect) {
        draw_lines(canvas, area, &self.lines(facts, area.width), self.scroll.offset);
    }

    fn lines(&self, facts: &Facts<'_>, width: u16) -> Vec<Line> {
        let note = |text: &str| -> Vec<Line> {
            let lines = text::wrap(text, width.saturating_sub(2)).into_iter();
            lines.map(|line| vec![(format!(" {line}"), Role::Dim)]).collect()
        };
        let Some(session) = self.session else { return note("no session is selected") };
        match facts.store.detail(Topic::Placement(session)) {
            Some((_, Detail::Placement(Ok(decisions)))) if decisions.is_empty() => {
                note("no decision is stored: nobody has joined yet")
            }
            Some((_, Detail::Placement(Ok(decisions)))) => decisions.iter().flat_map(of_decision).collect(),
            Some((_, Detail::Placement(Err(why)))) => note(why),
            Some((_, Detail::Session(_))) | None => note("asking ..."),
        }
    }
}

fn of_decision(decision: &Decision) -> Vec<Line> {
    let mut lines = vec![
        vec![
            (format!(" {} ", text::clock(decision.at_ms)), Role::Dim),
            (format!("decision {}", decision.key), Role::Head),
        ],
        vec![(format!(" {}", decision.input), Role::Dim)],
        vec![(format!(" {:<18} {:>6}  VERDICT", "NODE", "SCORE"), Role::Head)],
    ];
    for verdict in &decision.verdicts {
        let score = verdict.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"));
        let (word, role) = match (verdict.chosen, verdict.score) {
            (true, _) => ("chosen ", Role::Ok),
            (false, Some(_)) => ("", Role::Text),
            (false, None) => ("refused: ", Role::Warn),
        };
        lines.push(vec![
            (format!(" {:<18} {score:>6}  ", text::fit(&verdict.node, 18, "~")), Role::Text),
            (word.to_owned(), role),
            (verdict.why.to_string(), Role::Dim),
        ]);
    }
    lines.push(Line::new());
    lines
}
