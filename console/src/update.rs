//! Pure: no clock, no I/O, no async.
//!
//! The one function that changes the console: an event goes in, effects come out.

mod command;
mod modal;
mod mouse;

use std::collections::BTreeMap;
use std::time::Duration;

use common::wire::operator::{Severity, Topic};
use ratatui::layout::Rect;

use crate::desktop::dialog::Purpose;
use crate::desktop::{Window, WindowId};
use crate::effect::Effect;
use crate::event::{Event, Key, KeyCode};
use crate::keys::{self, Meaning};
use crate::model::{Link, Message, Operated, Wanted};
use crate::state::{Modal, State};
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
        Event::Message(message) => on_message(state, message, &mut effects),
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

fn on_message(state: &mut State, message: Message, effects: &mut Vec<Effect>) {
    match message {
        Message::Operated { op, state: operated } => on_operated(state, op, operated),
        Message::Link(link) => {
            let pending = !state.operations.is_empty();
            match &link {
                Link::Up(_) => {
                    // The link was cut in the middle of these: the master says how they went.
                    effects.extend(state.operations.keys().map(|op| Effect::Recall(*op)));
                }
                Link::Down { .. } if pending && matches!(state.store.link, Some(Link::Up(_))) => {
                    let text = "the link was cut in the middle of an operation: how it went is asked when it is back";
                    state.toast(text, Role::Warn);
                }
                Link::Connecting { .. } | Link::Down { .. } => {}
            }
            let now = state.now;
            state.store.apply(now, Message::Link(link));
        }
        delta @ Message::Delta { .. } => {
            let now = state.now;
            state.store.apply(now, delta);
        }
    }
}

fn on_operated(state: &mut State, op: u64, operated: Operated) {
    if let Some(Modal::Dialog(dialog)) = &mut state.modal
        && let Purpose::Act { asked, generation, .. } = &mut dialog.purpose
        && *asked == op
    {
        let (lines, role) = match operated {
            Operated::Impact { generation: told, lines } => {
                *generation = Some(told);
                (lines, Role::DialogWarn)
            }
            Operated::Refused(why) => {
                dialog.error = Some(why.to_string());
                (vec![why], Role::DialogWarn)
            }
            Operated::Done(_) | Operated::Running | Operated::Unknown => return,
        };
        command::tell_impact(dialog, &lines, role);
        return;
    }
    let Some((action, target)) = state.operations.get(&op).cloned() else { return };
    let what = action.word();
    let (text, role) = match operated {
        Operated::Done(text) => (format!("{what} {target}: {text}"), Role::Ok),
        Operated::Refused(why) => (format!("{what} {target}: {why}"), Role::Crit),
        Operated::Unknown => {
            (format!("{what} {target}: it never reached the master, nothing has changed"), Role::Warn)
        }
        Operated::Running | Operated::Impact { .. } => return,
    };
    state.operations.remove(&op);
    let severity = if role == Role::Ok { Severity::Info } else { Severity::Warn };
    state.store.note(severity, "operation", &target, text.clone());
    state.toast(text, role);
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
            window.view.settle(&facts, window.id, area);
        }
    };
    // Tables first: what is selected in them decides what the views of one thing show.
    for window in windows.values_mut().filter(|window| window.view.table().is_some()) {
        settle_one(window);
    }
    let focus = state.desktop.workspace().focus;
    let ordered = || focus.into_iter().chain(shown.keys().copied()).filter_map(|id| windows.get(&id));
    let tables = |wanted: &'static [ViewKind]| {
        ordered()
            .filter(move |window| wanted.contains(&window.view.kind()))
            .map(|window| (window.id, &window.view))
    };
    let node = tables(&[ViewKind::Nodes, ViewKind::Load, ViewKind::Recorders])
        .find_map(|(id, view): (WindowId, &View)| view.node(&state.store, id));
    let session = tables(&[ViewKind::Sessions])
        .find_map(|(id, view): (WindowId, &View)| view.session(&state.store, id));
    let facts = state.facts();
    for window in windows.values_mut().filter(|window| window.view.table().is_none()) {
        if let Some(rect) = shown.get(&window.id) {
            window.view.follow(node, session);
            let area = body(*rect, window);
            window.view.settle(&facts, window.id, area);
        }
    }
    let mut wanted: BTreeMap<_, Wanted> = windows
        .values()
        .filter(|window| shown.contains_key(&window.id))
        .filter_map(|window| Some((window.id, window.view.wanted()?)))
        .collect();
    // The bars show totals whatever the windows do.
    wanted.insert(WindowId::BARS, Wanted::one(Topic::Head));
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
fn subscribe(state: &mut State, wanted: BTreeMap<WindowId, Wanted>, effects: &mut Vec<Effect>) {
    for (window, before) in &state.subscribed {
        match wanted.get(window) {
            None => {
                effects.push(Effect::Unsubscribe { window: *window });
                state.store.forget(*window);
            }
            Some(now) if now.topic != before.topic => state.store.forget(*window),
            Some(_) => {}
        }
    }
    for (window, now) in &wanted {
        let (window, wanted) = (*window, now.clone());
        match state.subscribed.get(&window) {
            Some(before) if before == now => {}
            Some(before) if before.topic == now.topic => effects.push(Effect::Adjust { window, wanted }),
            Some(_) | None => effects.push(Effect::Subscribe { window, wanted }),
        }
    }
    state.subscribed = wanted;
}

/// A name that came from outside, for messages of our own.
pub(crate) fn named(name: &Clean) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { name.to_string() }
}
