//! Pure: no clock, no I/O, no async.
//!
//! Questions in the middle of the desktop. The harmless button has the focus at first.

use common::wire::operator::Verb;

use super::WindowId;
use super::field::Field;
use crate::event::{Key, KeyCode};
use crate::model::Action;
use crate::text::Clean;
use crate::view::Line;

/// What the answer is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// An operation on the cluster.
    Act {
        /// Which.
        action: Action,
        /// On what, for humans.
        target: Clean,
        /// The whole of it for the master.
        verb: Verb,
        /// Number of the dry run that tells what it affects.
        asked: u64,
        /// What it affects was told: version of the target.
        generation: Option<u64>,
    },
    /// Closing the last window of a workspace.
    CloseLast(WindowId),
    /// Leaving.
    Quit,
}

/// A line of text to fill in.
#[derive(Clone, Debug)]
pub struct DialogField {
    /// What to write.
    pub label: &'static str,
    /// What is written.
    pub field: Field,
    /// What it must be to go on; none takes any text.
    pub must: Option<Clean>,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// What for.
    pub purpose: Purpose,
    /// Its title.
    pub title: String,
    /// What will happen.
    pub lines: Vec<Line>,
    /// What to fill in.
    pub fields: Vec<DialogField>,
    /// The first is the harmless one, the second goes on.
    pub buttons: [&'static str; 2],
    /// Fields first, then buttons.
    pub focus: usize,
    /// Why it cannot go on yet.
    pub error: Option<String>,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Nothing is decided.
    Open,
    /// Dropped.
    No,
    /// Go on.
    Yes,
}

impl Dialog {
    /// A question with the harmless button in focus, or the first field.
    #[must_use]
    pub fn new(
        purpose: Purpose,
        title: String,
        lines: Vec<Line>,
        fields: Vec<DialogField>,
        yes: &'static str,
    ) -> Self {
        Self { purpose, title, lines, fields, buttons: ["Cancel", yes], focus: 0, error: None }
    }

    /// Takes a key.
    pub fn handle(&mut self, key: Key) -> Answer {
        let stops = self.fields.len() + self.buttons.len();
        if let Some(field) = self.fields.get_mut(self.focus)
            && field.field.handle(key)
        {
            self.error = None;
            return Answer::Open;
        }
        let steps: isize = if matches!(key.code, KeyCode::Tab | KeyCode::Down | KeyCode::Right) {
            1
        } else if matches!(key.code, KeyCode::BackTab | KeyCode::Up | KeyCode::Left) {
            -1
        } else {
            0
        };
        if steps != 0 {
            let stops_signed = stops.cast_signed();
            self.focus = (self.focus.cast_signed() + steps).rem_euclid(stops_signed).cast_unsigned();
            return Answer::Open;
        }
        if key.code == KeyCode::Esc {
            return Answer::No;
        }
        if key.code != KeyCode::Enter {
            return Answer::Open;
        }
        match self.focus.checked_sub(self.fields.len()) {
            // Enter in a field goes to the next stop: nothing happens by a stray Enter.
            None => {
                self.focus += 1;
                Answer::Open
            }
            Some(button) => self.press(button),
        }
    }

    /// Presses a button.
    pub fn press(&mut self, button: usize) -> Answer {
        self.focus = self.fields.len() + button;
        if button == 0 {
            return Answer::No;
        }
        if let Purpose::Act { generation: None, .. } = &self.purpose {
            let why = "what it affects is not known";
            self.error.get_or_insert_with(|| why.to_owned());
            return Answer::Open;
        }
        let missing = self.fields.iter().position(|field| {
            let text = field.field.text().trim();
            field.must.as_ref().map_or(text.is_empty(), |must| text != &**must)
        });
        match missing {
            None => Answer::Yes,
            Some(at) => {
                self.focus = at;
                self.error = Some(match &self.fields[at].must {
                    Some(must) => format!("type {must} to go on"),
                    None => format!("{} is missing", self.fields[at].label),
                });
                Answer::Open
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_on_without_the_name_and_by_a_stray_enter() {
        let verb = Verb::NodeDrain { node: "m1".to_owned() };
        let target = Clean::new("m1");
        let purpose = Purpose::Act { action: Action::Drain, target, verb, asked: 1, generation: Some(1) };
        let field = |must: Option<&str>| DialogField {
            label: "reason",
            field: Field::default(),
            must: must.map(Clean::new),
        };
        let fields = vec![field(None), field(Some("m1"))];
        let mut dialog = Dialog::new(purpose, String::new(), vec![], fields, "Drain");
        let enter = Key::plain(KeyCode::Enter);
        assert_eq!(dialog.handle(enter), Answer::Open);
        assert_eq!(dialog.press(1), Answer::Open);
        assert_eq!((dialog.focus, dialog.error.as_deref()), (0, Some("reason is missing")));
        dialog.handle(Key::plain(KeyCode::Char('x')));
        assert_eq!(dialog.press(1), Answer::Open);
        assert_eq!((dialog.focus, dialog.error.as_deref()), (1, Some("type m1 to go on")));
        dialog.handle(Key::plain(KeyCode::Char('m')));
        dialog.handle(Key::plain(KeyCode::Char('1')));
        assert_eq!(dialog.handle(enter), Answer::Open);
        assert_eq!(dialog.handle(enter), Answer::No, "the harmless button comes first");
        assert_eq!(dialog.press(1), Answer::Yes);
    }
}
