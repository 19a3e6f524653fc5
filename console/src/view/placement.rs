//! Pure: no clock, no I/O, no async.
//!
//! Why a session runs where it runs: the stored decisions with every node that was looked at.

use common::id::SessionKey;
use common::wire::operator::{Topic, Window};
use ratatui::layout::Rect;

use super::{Facts, Line, Scroll, draw_lines};
use crate::desktop::WindowId;
use crate::model::{Decision, Wanted};
use crate::text;
use crate::theme::Role;
use crate::widget::canvas::Canvas;

/// Decisions that are shown of one session.
const DECISIONS_SHOWN: u32 = 20;

/// The decisions about one session.
#[derive(Clone, Debug)]
pub struct PlacementView {
    /// Which session.
    pub session: Option<SessionKey>,
    /// It shows what is selected elsewhere on the workspace.
    pub follows: bool,
    /// Where the user is.
    pub scroll: Scroll,
    /// The session's public name, once it was known.
    named: Option<(SessionKey, String)>,
}

impl PlacementView {
    /// Shows what is selected elsewhere.
    #[must_use]
    pub fn following() -> Self {
        Self { session: None, follows: true, scroll: Scroll::default(), named: None }
    }

    /// Shows one session.
    #[must_use]
    pub fn of(session: SessionKey) -> Self {
        Self { session: Some(session), follows: false, scroll: Scroll::default(), named: None }
    }

    pub(super) fn title(&self, facts: &Facts<'_>) -> String {
        match self.session.and_then(|key| facts.store.session(key)) {
            Some(session) => format!("Placement of {}", session.name),
            None => "Placement".to_owned(),
        }
    }

    pub(super) fn settle(&mut self, facts: &Facts<'_>, window: WindowId, area: Rect) {
        // Decisions are kept by name: it stays when the session is no longer in any window.
        if let Some(session) = self.session.and_then(|key| facts.store.session(key)) {
            self.named = Some((session.key, session.name.to_string()));
        }
        self.scroll.settle(self.lines(facts, window, area.width).len(), area.height);
    }

    pub(super) fn wanted(&self) -> Option<Wanted> {
        let (key, name) = self.named.clone()?;
        let window = Window { first: 0, count: DECISIONS_SHOWN, from_end: false };
        (self.session == Some(key)).then(|| Wanted { window, ..Wanted::one(Topic::Decisions(Some(name))) })
    }

    pub(super) fn draw(&self, facts: &Facts<'_>, canvas: &mut Canvas<'_>, area: Rect, window: WindowId) {
        draw_lines(canvas, area, &self.lines(facts, window, area.width), self.scroll.offset);
    }

    fn lines(&self, facts: &Facts<'_>, window: WindowId, width: u16) -> Vec<Line> {
        let note = |text: &str| -> Vec<Line> {
            let lines = text::wrap(text, width.saturating_sub(2)).into_iter();
            lines.map(|line| vec![(format!(" {line}"), Role::Dim)]).collect()
        };
        if self.session.is_none() {
            return note("no session is selected");
        }
        match (facts.store.error(window), facts.store.decisions(window)) {
            (Some(why), _) => note(&why),
            (None, Some(decisions)) if decisions.is_empty() => {
                note("no decision is stored: nobody has joined yet, or it is too long ago")
            }
            (None, Some(decisions)) => decisions.iter().flat_map(of_decision).collect(),
            (None, None) => note("asking ..."),
        }
    }
}

fn of_decision(decision: &Decision) -> Vec<Line> {
    let mut lines = vec![
        vec![
            (format!(" {} ", text::clock(decision.at_ms)), Role::Dim),
            (format!("decision d:{:x}", decision.key), Role::Head),
        ],
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
