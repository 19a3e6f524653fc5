//! Pure: no clock, no I/O, no async.
//!
//! The one function that changes the console: an event goes in, effects come out.

mod command;
mod modal;
mod mouse;

use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::layout::Rect;

use crate::desktop::Window;
use crate::effect::Effect;
use crate::event::{Event, Key, KeyCode};
use crate::keys::{self, Meaning};
use crate::model::{Action, Message, Topic};
use crate::state::{Modal, State};
use crate::store::{Severity, Subject};
use crate::text::Clean;
use crate::theme::Role;
use crate::view::{View, ViewKind};

/// Takes an event in. Time never runs backwards.
pub fn update(state: &mut State, now: Duration, event: Event) -> Vec<Effect> {
    state.now = state.now.max(now);
    let mut effects = Vec::new();
    match event {
        Event::Key(key) => {
            state.last_input = Some(state.now);
            on_key(state, key, &mut effects);
        }
        Event::Message(message) => on_message(state, message),
        Event::Mouse(mouse) => {
            state.last_input = Some(state.now);
            mouse::handle(state, mouse, &mut effects);
        }
        Event::Paste(text) => on_paste(state, &text),
        Event::Resize { width, height } => state.size = (width, height),
        Event::Tick => {}
    }
    settle(state, &mut effects);
    effects
}

fn on_key(state: &mut State, key: Key, effects: &mut Vec<Effect>) {
    if state.modal.is_some() {
        modal::on_key(state, key, effects);
        return;
    }
    if state.desktop.focused().is_some_and(|window| window.filter_line.is_some()) {
        on_filter_key(state, key);
        return;
    }
    state.pressed.push(key);
    let kind = state.desktop.focused().map_or(ViewKind::Help, |window| window.view.kind());
    match keys::meaning(kind, &state.pressed) {
        Meaning::Command(command) => {
            state.pressed.clear();
            command::run(state, command, effects);
        }
        Meaning::Nothing => state.pressed.clear(),
        Meaning::Prefix => {}
    }
}

/// A filter holds while it is typed; Esc brings back the one before.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other keys edit")]
fn on_filter_key(state: &mut State, key: Key) {
    let Some(window) = state.desktop.focused_mut() else { return };
    let Some(mut line) = window.filter_line.take() else { return };
    let Some(table) = window.view.table_mut() else { return };
    match key.code {
        KeyCode::Enter => {
            table.set_filter(line.text());
            if table.error.is_some() {
                window.filter_line = Some(line);
            }
        }
        KeyCode::Esc => {
            table.error = None;
            table.set_filter("");
        }
        _ => {
            if line.handle(key) {
                table.set_filter(line.text());
            }
            window.filter_line = Some(line);
        }
    }
}

fn on_paste(state: &mut State, text: &str) {
    match &mut state.modal {
        Some(Modal::Palette { field, .. }) => field.paste(text),
        Some(Modal::Dialog(dialog)) => {
            let focus = dialog.focus;
            if let Some(field) = dialog.fields.get_mut(focus) {
                field.field.paste(text);
            }
        }
        Some(Modal::Context { .. } | Modal::Menu { .. } | Modal::Windows { .. }) => {}
        None => {
            let Some(window) = state.desktop.focused_mut() else { return };
            let Some(line) = &mut window.filter_line else { return };
            line.paste(text);
            if let Some(table) = window.view.table_mut() {
                table.set_filter(line.text());
            }
        }
    }
}

fn on_message(state: &mut State, message: Message) {
    if let Message::Operated { op, result } = &message
        && let Some((action, target)) = state.operations.remove(op)
    {
        let what = verb_of(action);
        let (text, role) = match result {
            Ok(text) => (format!("{what} {target}: {text}"), Role::Ok),
            Err(why) => (format!("{what} {target}: {why}"), Role::Crit),
        };
        let text_only = text.clone();
        state.store.note(Severity::Audit, "operation", Subject::Cluster, target, text_only);
        state.toast(text, role);
    }
    let now = state.now;
    state.store.apply(now, message);
}

/// What an action is called in results.
pub(crate) const fn verb_of(action: Action) -> &'static str {
    match action {
        Action::CloseSession => "close",
        Action::Drain => "drain",
        Action::Evict => "evict",
        Action::RemoveNode => "remove",
        Action::Undrain => "undrain",
    }
}

/// Brings windows up to date with what is known, and subscriptions with the windows that show.
fn settle(state: &mut State, effects: &mut Vec<Effect>) {
    let now = state.now;
    state.toasts.retain(|toast| toast.until > now);
    let placed = state.desktop.place(state.desktop_area());
    let tiles = placed.layout.tiles.iter().map(|tile| (tile.window, tile.rect));
    let shown: BTreeMap<_, Rect> =
        tiles.chain(placed.floats.iter().map(|float| (float.window, float.rect))).collect();
    let mut windows = std::mem::take(&mut state.desktop.windows);
    let facts = state.facts();
    let settle_one = |window: &mut Window| {
        if let Some(rect) = shown.get(&window.id) {
            let area = body(*rect, window);
            window.view.settle(&facts, area);
        }
    };
    // Tables first: what is selected in them decides what the views of one thing show.
    for window in windows.values_mut().filter(|window| window.view.table().is_some()) {
        settle_one(window);
    }
    let focus = state.desktop.workspace().focus;
    let ordered = || focus.into_iter().chain(shown.keys().copied()).filter_map(|id| windows.get(&id));
    let tables = |wanted: &'static [ViewKind]| {
        ordered().filter(move |window| wanted.contains(&window.view.kind())).map(|window| &window.view)
    };
    let node = tables(&[ViewKind::Nodes, ViewKind::Load, ViewKind::Recorders])
        .find_map(|view: &View| view.node(&state.store));
    let session = tables(&[ViewKind::Sessions]).find_map(|view: &View| view.session(&state.store));
    let facts = state.facts();
    for window in windows.values_mut().filter(|window| window.view.table().is_none()) {
        if let Some(rect) = shown.get(&window.id) {
            window.view.follow(node, session);
            let area = body(*rect, window);
            window.view.settle(&facts, area);
        }
    }
    let wanted: BTreeMap<_, Topic> = windows
        .values()
        .filter(|window| shown.contains_key(&window.id))
        .filter_map(|window| Some((window.id, window.view.topic()?)))
        .collect();
    state.desktop.windows = windows;
    subscribe(state, wanted, effects);
}

/// The part of a window inside its frame and above its filter line.
pub(crate) fn body(rect: Rect, window: &Window) -> Rect {
    let line = u16::from(window.filter_line.is_some());
    Rect {
        x: rect.x + 1,
        y: rect.y + 1,
        width: rect.width.saturating_sub(2),
        height: rect.height.saturating_sub(2 + line),
    }
}

/// Tells the source what changed since the last time; forgets what nobody shows any more.
fn subscribe(
    state: &mut State,
    wanted: BTreeMap<crate::desktop::WindowId, Topic>,
    effects: &mut Vec<Effect>,
) {
    for (window, topic) in &state.subscribed {
        match wanted.get(window) {
            None => effects.push(Effect::Unsubscribe { window: *window }),
            Some(other) if other != topic => {}
            Some(_) => continue,
        }
        if !wanted.values().any(|other| other == topic) {
            state.store.forget(*topic);
        }
    }
    for (window, topic) in &wanted {
        if state.subscribed.get(window) != Some(topic) {
            effects.push(Effect::Subscribe { window: *window, topic: *topic });
        }
    }
    state.subscribed = wanted;
}

/// A name that came from outside, for messages of our own.
pub(crate) fn named(name: &Clean) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { name.to_string() }
}
