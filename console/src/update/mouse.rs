//! Pure: no clock, no I/O, no async.
//!
//! What the mouse does, resolved against what the user saw.

use std::time::Duration;

use super::{command, modal};
use crate::desktop::WindowId;
use crate::desktop::dialog::Answer;
use crate::desktop::float;
use crate::desktop::tree::Axis;
use crate::effect::Effect;
use crate::event::{Mouse, MouseKind, Target};
use crate::state::{Drag, Modal, State};
use crate::verbs::Command;

/// Two presses within this time are a double click.
const DOUBLE_CLICK: Duration = Duration::from_millis(400);

/// Rows that a turn of the wheel moves.
const WHEEL_ROWS: usize = 3;

/// Takes in what the mouse did.
pub(super) fn handle(state: &mut State, mouse: Mouse, effects: &mut Vec<Effect>) {
    match mouse.kind {
        MouseKind::Drag => drag(state, mouse),
        MouseKind::Press => press(state, mouse, effects),
        MouseKind::Release => release(state, mouse),
        MouseKind::RightPress => right_press(state, mouse),
        MouseKind::WheelDown => wheel(state, mouse.target, Command::Down, effects),
        MouseKind::WheelUp => wheel(state, mouse.target, Command::Up, effects),
    }
}

/// The window that a place belongs to.
const fn window_of(target: Target) -> Option<WindowId> {
    match target {
        Target::Body(window)
        | Target::Close(window)
        | Target::Corner(window)
        | Target::Header(window, _)
        | Target::Minimise(window)
        | Target::Row(window, _)
        | Target::Tab(window)
        | Target::Title(window)
        | Target::Zoom(window) => Some(window),
        Target::DialogButton(_)
        | Target::DialogField(_)
        | Target::Item(_)
        | Target::MenuTitle(_)
        | Target::Modal
        | Target::Nothing
        | Target::SplitBar(_)
        | Target::Workspace(_) => None,
    }
}

fn press(state: &mut State, mouse: Mouse, effects: &mut Vec<Effect>) {
    let now = state.now;
    let double = state
        .last_press
        .take()
        .is_some_and(|(at, target)| target == mouse.target && now - at <= DOUBLE_CLICK);
    if !double {
        state.last_press = Some((now, mouse.target));
    }
    if let Target::MenuTitle(menu) = mouse.target {
        let open = matches!(state.modal, Some(Modal::Menu { menu: open, .. }) if open == menu);
        if !matches!(state.modal, Some(Modal::Dialog(_))) {
            state.modal = (!open).then_some(Modal::Menu { menu, item: 0 });
        }
        return;
    }
    if let Some(open) = state.modal.take() {
        press_modal(state, open, mouse.target, effects);
        return;
    }
    if let Target::Workspace(index) = mouse.target {
        command::run(state, Command::Workspace(index), effects);
    }
    if let Target::SplitBar(index) = mouse.target {
        let placed = state.desktop.place(state.desktop_area());
        if let Some(bar) = placed.layout.bars.get(index) {
            state.drag = Some(Drag::Split { path: bar.path.clone(), axis: bar.axis, area: bar.area });
        }
    }
    if let Some(window) = window_of(mouse.target) {
        focus(state, window);
        press_window(state, window, mouse, double, effects);
    }
}

fn focus(state: &mut State, window: WindowId) {
    let home = state.desktop.workspaces.iter().position(|workspace| workspace.contains(window));
    // A pinned float shows here but lives elsewhere: it comes over.
    if let Some(home) = home
        && home != state.desktop.active
        && let Some(at) =
            state.desktop.workspaces[home].floats.iter().position(|float| float.window == window)
    {
        let float = state.desktop.workspaces[home].floats.remove(at);
        let next = state.desktop.workspaces[home].windows().first().copied();
        state.desktop.workspaces[home].focus = next;
        state.desktop.workspace_mut().floats.push(float);
    }
    state.desktop.workspace_mut().set_focus(window);
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other places are not part of it")]
fn press_modal(state: &mut State, mut open: Modal, target: Target, effects: &mut Vec<Effect>) {
    if let Modal::Dialog(dialog) = &mut open {
        let answer = match target {
            Target::DialogButton(button) => dialog.press(button),
            Target::DialogField(field) => {
                dialog.focus = field;
                Answer::Open
            }
            // A dialog is closed by its buttons only.
            _ => Answer::Open,
        };
        modal::answered(state, open, answer, effects);
        return;
    }
    if let Target::Item(item) = target {
        modal::activate(state, open, item, effects);
    } else if target == Target::Modal {
        state.modal = Some(open);
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other places are not part of it")]
fn press_window(state: &mut State, window: WindowId, mouse: Mouse, double: bool, effects: &mut Vec<Effect>) {
    match mouse.target {
        Target::Close(_) => command::close(state, window),
        Target::Minimise(_) => command::run(state, Command::Minimise, effects),
        Target::Zoom(_) => command::run(state, Command::Zoom, effects),
        Target::Title(_) if double => command::run(state, Command::Zoom, effects),
        Target::Title(_) => {
            let float = state.desktop.workspace().float(window).copied();
            let zoomed = state.desktop.workspace().zoomed.is_some();
            state.drag = match float {
                _ if zoomed => None,
                Some(float) => Some(Drag::Move { window, dx: mouse.x.saturating_sub(float.rect.x) }),
                None => Some(Drag::Tile { window, from: (mouse.x, mouse.y) }),
            };
        }
        Target::Corner(_) => state.drag = Some(Drag::Resize(window)),
        Target::Row(_, row) => {
            if let Some(window) = state.desktop.focused_mut() {
                window.view.click(row);
            }
            if double {
                command::run(state, Command::Open, effects);
            }
        }
        Target::Header(_, column) => {
            if let Some(table) = state.desktop.focused_mut().and_then(|window| window.view.table_mut()) {
                table.sort_by(column);
            }
        }
        _ => {}
    }
}

fn right_press(state: &mut State, mouse: Mouse) {
    if matches!(state.modal, Some(Modal::Dialog(_))) {
        return;
    }
    state.modal = None;
    let Some(window) = window_of(mouse.target) else { return };
    focus(state, window);
    if let (Target::Row(_, row), Some(window)) = (mouse.target, state.desktop.focused_mut()) {
        window.view.click(row);
    }
    command::open_context(state, Some((mouse.x, mouse.y)));
}

fn wheel(state: &mut State, target: Target, command: Command, effects: &mut Vec<Effect>) {
    if state.modal.is_some() {
        let code =
            if command == Command::Up { crate::event::KeyCode::Up } else { crate::event::KeyCode::Down };
        if !matches!(state.modal, Some(Modal::Dialog(_))) {
            modal::on_key(state, crate::event::Key::plain(code), effects);
        }
        return;
    }
    // The wheel moves what is under it and leaves the keyboard where it is.
    if let Some(window) = window_of(target).and_then(|id| state.desktop.windows.get_mut(&id)) {
        for _ in 0..WHEEL_ROWS {
            window.view.handle(command);
        }
    }
}

fn drag(state: &mut State, mouse: Mouse) {
    let area = state.desktop_area();
    match state.drag.clone() {
        None => {}
        Some(Drag::Move { window, dx }) => {
            if let Some(float) = state.desktop.workspace_mut().float_mut(window) {
                float.rect.x = mouse.x.saturating_sub(dx);
                float.rect.y = mouse.y;
                float.rect = float::clamp(float.rect, area);
            }
        }
        Some(Drag::Resize(window)) => {
            if let Some(float) = state.desktop.workspace_mut().float_mut(window) {
                float.rect.width = (mouse.x + 1).saturating_sub(float.rect.x);
                float.rect.height = (mouse.y + 1).saturating_sub(float.rect.y);
                float.rect = float::clamp(float.rect, area);
            }
        }
        Some(Drag::Split { path, axis, area }) => {
            let (at, size) = match axis {
                Axis::Horizontal => (mouse.x.saturating_sub(area.x), area.width),
                Axis::Vertical => (mouse.y.saturating_sub(area.y), area.height),
            };
            // Rounded up, as the layout rounds down: the border lands under the mouse.
            let ratio = ((u32::from(at) + 1) * 1000).div_ceil(u32::from(size.max(1)));
            if let Some(tree) = &mut state.desktop.workspace_mut().tree {
                tree.set_ratio(&path, u16::try_from(ratio).unwrap_or(1000));
            }
        }
        Some(Drag::Tile { window, from }) => {
            let moved = from.1.abs_diff(mouse.y) >= 1 || from.0.abs_diff(mouse.x) >= 3;
            if moved {
                lift(state, window, from.0);
                drag(state, mouse);
            }
        }
    }
}

/// A tile that is dragged by its title becomes a floating window in the mouse's hand.
fn lift(state: &mut State, window: WindowId, from_x: u16) {
    let area = state.desktop_area();
    let placed = state.desktop.place(area);
    let tile = placed.layout.tiles.iter().find(|tile| tile.window == window);
    let rect = tile.map_or(area, |tile| tile.rect);
    state.desktop.toggle_float(window, rect, area);
    state.drag = Some(Drag::Move { window, dx: from_x.saturating_sub(rect.x + 3) });
}

fn release(state: &mut State, mouse: Mouse) {
    let area = state.desktop_area();
    if let Some(Drag::Move { window, .. }) = state.drag.take()
        && let Some(rect) = float::snap(mouse.x, mouse.y, area)
        && let Some(float) = state.desktop.workspace_mut().float_mut(window)
    {
        float.rect = rect;
    }
}
