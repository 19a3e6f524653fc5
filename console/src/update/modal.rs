//! Pure: no clock, no I/O, no async.
//!
//! Keys while a menu, the palette, the list of windows or a dialog is open.

use super::command;
use crate::desktop::dialog::{Answer, Purpose};
use crate::effect::Effect;
use crate::event::{Key, KeyCode};
use crate::state::{Modal, Offer, State};
use crate::verbs::{Command, Menu, entries};
use crate::view::View;
use crate::view::node::NodeView;
use crate::view::session::SessionView;

/// Takes a key. What is open is taken out of the state and put back unless it closes.
pub(super) fn on_key(state: &mut State, key: Key, effects: &mut Vec<Effect>) {
    let Some(mut modal) = state.modal.take() else { return };
    if let Modal::Dialog(dialog) = &mut modal {
        let again = key.ctrl && key.code == KeyCode::Char('c') && dialog.purpose == Purpose::Quit;
        let answer = if again { Answer::Yes } else { dialog.handle(key) };
        answered(state, modal, answer, effects);
        return;
    }
    if let Modal::Palette { field, item } = &mut modal
        && field.handle(key)
    {
        *item = 0;
        state.modal = Some(modal);
        return;
    }
    let count = count(state, &modal);
    let item = item_mut(&mut modal);
    match key.code {
        KeyCode::Esc => {}
        KeyCode::Enter => {
            if let Some(at) = item.map(|item| *item) {
                activate(state, modal, at, effects);
            }
        }
        KeyCode::Up | KeyCode::BackTab => step(state, modal, -1, count),
        KeyCode::Down | KeyCode::Tab => step(state, modal, 1, count),
        KeyCode::PageUp | KeyCode::Home => step(state, modal, -10_000, count),
        KeyCode::PageDown | KeyCode::End => step(state, modal, 10_000, count),
        KeyCode::Left => turn(state, modal, -1),
        KeyCode::Right => turn(state, modal, 1),
        KeyCode::Char('k') => step(state, modal, -1, count),
        KeyCode::Char('j') => step(state, modal, 1, count),
        KeyCode::Char('h') => turn(state, modal, -1),
        KeyCode::Char('l') => turn(state, modal, 1),
        KeyCode::F(10 | 6) => {}
        KeyCode::Backspace | KeyCode::Char(_) | KeyCode::Delete | KeyCode::F(_) => state.modal = Some(modal),
    }
}

/// Goes on with a dialog, drops it, or leaves it open.
pub(super) fn answered(state: &mut State, modal: Modal, answer: Answer, effects: &mut Vec<Effect>) {
    match (answer, modal) {
        (Answer::Open, modal) => state.modal = Some(modal),
        (Answer::No, _) => {}
        (Answer::Yes, Modal::Dialog(dialog)) => command::confirmed(state, &dialog, effects),
        (Answer::Yes, _) => {}
    }
}

/// Entries of what is open.
fn count(state: &State, modal: &Modal) -> usize {
    match modal {
        Modal::Context { commands, .. } => commands.len(),
        Modal::Dialog(_) => 0,
        Modal::Menu { menu, .. } => entries(Menu::BAR[*menu]).len(),
        Modal::Palette { field, .. } => state.offers(field.text()).len(),
        Modal::Windows { .. } => state.window_list().len(),
    }
}

fn item_mut(modal: &mut Modal) -> Option<&mut usize> {
    match modal {
        Modal::Context { item, .. }
        | Modal::Menu { item, .. }
        | Modal::Palette { item, .. }
        | Modal::Windows { item } => Some(item),
        Modal::Dialog(_) => None,
    }
}

fn step(state: &mut State, mut modal: Modal, by: isize, count: usize) {
    if let Some(item) = item_mut(&mut modal)
        && count > 0
    {
        let to = item.cast_signed() + by;
        *item = match by {
            // Single steps go round, pages stop at the ends.
            -1 | 1 => to.rem_euclid(count.cast_signed()).cast_unsigned(),
            _ => to.clamp(0, count.cast_signed() - 1).cast_unsigned(),
        };
    }
    state.modal = Some(modal);
}

/// To the next menu of the bar.
fn turn(state: &mut State, modal: Modal, by: isize) {
    state.modal = Some(match modal {
        Modal::Menu { menu, .. } => {
            let count = Menu::BAR.len().cast_signed();
            Modal::Menu { menu: (menu.cast_signed() + by).rem_euclid(count).cast_unsigned(), item: 0 }
        }
        other
        @ (Modal::Context { .. } | Modal::Dialog(_) | Modal::Palette { .. } | Modal::Windows { .. }) => other,
    });
}

/// Carries out an entry and closes what was open.
pub(super) fn activate(state: &mut State, modal: Modal, at: usize, effects: &mut Vec<Effect>) {
    match modal {
        Modal::Context { commands, .. } => {
            if let Some(command) = commands.get(at) {
                command::run(state, *command, effects);
            }
        }
        Modal::Dialog(_) => state.modal = Some(modal),
        Modal::Menu { menu, .. } => {
            if let Some(verb) = entries(Menu::BAR[menu]).get(at) {
                run_or_stay(state, Modal::Menu { menu, item: at }, verb.command, effects);
            }
        }
        Modal::Palette { field, .. } => match state.offers(field.text()).get(at) {
            Some(Offer::Verb(verb)) => command::run(state, verb.command, effects),
            Some(Offer::Node(node)) => command::open(state, View::Node(NodeView::of(*node))),
            Some(Offer::Session(session)) => command::open(state, View::Session(SessionView::of(*session))),
            None => {}
        },
        Modal::Windows { .. } => {
            if let Some((_, window)) = state.window_list().get(at) {
                state.desktop.show(*window);
            }
        }
    }
}

/// A menu stays open on an entry that is off: its reason is shown there.
fn run_or_stay(state: &mut State, modal: Modal, command: Command, effects: &mut Vec<Effect>) {
    if state.unavailable(command).is_some() {
        state.modal = Some(modal);
    } else {
        command::run(state, command, effects);
    }
}
