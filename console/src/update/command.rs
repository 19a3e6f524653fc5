//! Pure: no clock, no I/O, no async.
//!
//! Carries commands out.

use ratatui::layout::Rect;

use crate::desktop::WindowId;
use crate::desktop::dialog::{Dialog, DialogField, Purpose};
use crate::desktop::field::Field;
use crate::desktop::tree::{Axis, Direction, neighbour};
use crate::effect::Effect;
use crate::model::Action;
use crate::model::Operate;
use crate::state::{Modal, State};
use crate::text;
use crate::text::Clean;
use crate::theme::Role;
use crate::update::named;
use crate::verbs::Command;
use crate::view::placement::PlacementView;
use crate::view::{Line, View, ViewKind};

/// Thousandths by which a key moves a border.
const STEP: i16 = 40;

/// Columns of what an operation affects.
const IMPACT_WIDTH: u16 = 52;

/// Carries a command out, or says why it is off.
pub(super) fn run(state: &mut State, command: Command, effects: &mut Vec<Effect>) {
    if let Some(why) = state.unavailable(command) {
        if !is_movement(command) {
            state.toast(why, Role::Warn);
        }
        return;
    }
    if on_program(state, command, effects) || on_window(state, command) || on_view(state, command, effects) {
        return;
    }
    if let Some(window) = state.desktop.focused_mut() {
        window.view.handle(command);
    }
}

/// Keys that are pressed again and again: nothing is said when they can do nothing.
fn is_movement(command: Command) -> bool {
    [Command::Open, Command::Back, Command::Forward, Command::ClearFilter].contains(&command)
}

/// Commands about the program; false for others.
#[expect(clippy::wildcard_enum_match_arm, reason = "commands of other kinds are asked for further on")]
fn on_program(state: &mut State, command: Command, effects: &mut Vec<Effect>) -> bool {
    match command {
        Command::Help => open(state, View::new(ViewKind::Help)),
        Command::Menu => state.modal = Some(Modal::Menu { menu: 0, item: 0 }),
        Command::Palette => state.modal = Some(Modal::Palette { field: Field::default(), item: 0 }),
        Command::WindowList => state.modal = Some(Modal::Windows { item: 0 }),
        Command::ContextMenu => open_context(state, None),
        Command::Quit => {
            let lines = vec![vec![("The cluster goes on without the console.".to_owned(), Role::Dialog)]];
            let dialog = Dialog::new(Purpose::Quit, "Leave the console?".to_owned(), lines, vec![], "Leave");
            // Leaving harms nobody: Enter, or Ctrl-C once more, goes on.
            state.modal = Some(Modal::Dialog(Box::new(Dialog { focus: 1, ..dialog })));
        }
        Command::Redraw => effects.push(Effect::Redraw),
        Command::Retry => effects.push(Effect::Retry),
        Command::Suspend => effects.push(Effect::Suspend),
        Command::ToggleMouse => {
            state.mouse = !state.mouse;
            effects.push(Effect::Mouse(state.mouse));
            let text = if state.mouse { "the mouse is the console's" } else { "the mouse is the terminal's" };
            state.toast(text, Role::Text);
        }
        Command::Workspace(index) => state.desktop.active = index.min(crate::desktop::WORKSPACES - 1),
        Command::Act(action) => open_action(state, action, effects),
        _ => return false,
    }
    true
}

/// Commands about windows; false for others.
#[expect(clippy::wildcard_enum_match_arm, reason = "commands of other kinds are asked for further on")]
fn on_window(state: &mut State, command: Command) -> bool {
    let area = state.desktop_area();
    let focus = state.desktop.workspace().focus;
    match command {
        Command::New(kind) => {
            let view = fresh(state, kind);
            open(state, view);
            return true;
        }
        Command::NextWindow => cycle(state, 1),
        Command::PreviousWindow => cycle(state, -1),
        Command::Cascade => state.desktop.cascade(area),
        Command::TileAll => state.desktop.tile_all(),
        Command::ResetLayout => {
            let active = state.desktop.active;
            state.desktop.reset(active);
        }
        Command::Equalise => {
            if let Some(tree) = &mut state.desktop.workspace_mut().tree {
                tree.equalise();
            }
        }
        _ => {
            let Some(focus) = focus else { return false };
            return on_focused(state, command, focus, area);
        }
    }
    true
}

#[expect(clippy::wildcard_enum_match_arm, reason = "commands of other kinds are asked for further on")]
fn on_focused(state: &mut State, command: Command, focus: WindowId, area: Rect) -> bool {
    match command {
        Command::SplitRight | Command::SplitDown => {
            let axis = if command == Command::SplitRight { Axis::Horizontal } else { Axis::Vertical };
            if let Some(view) = state.desktop.focused().map(|window| window.view.clone()) {
                state.desktop.split(axis, view);
            }
        }
        Command::Float => {
            let placed = state.desktop.place(area);
            let tile = placed.layout.tiles.iter().find(|tile| tile.window == focus);
            let rect = tile.map_or(area, |tile| tile.rect);
            state.desktop.toggle_float(focus, rect, area);
        }
        Command::Pin => {
            if let Some(float) = state.desktop.workspace_mut().float_mut(focus) {
                float.pinned = !float.pinned;
            }
        }
        Command::Zoom => {
            let workspace = state.desktop.workspace_mut();
            workspace.zoomed = if workspace.zoomed.is_some() { None } else { Some(focus) };
        }
        Command::Minimise => state.desktop.minimise(focus),
        Command::Close => close(state, focus),
        Command::Only => {
            for id in state.desktop.workspace().windows() {
                if id != focus {
                    state.desktop.close(id);
                }
            }
        }
        Command::Focus(direction) | Command::Swap(direction) => {
            go(state, focus, direction, command == Command::Swap(direction), area);
        }
        Command::Wider => grow(state, focus, Axis::Horizontal, STEP),
        Command::Narrower => grow(state, focus, Axis::Horizontal, -STEP),
        Command::Taller => grow(state, focus, Axis::Vertical, STEP),
        Command::Shorter => grow(state, focus, Axis::Vertical, -STEP),
        _ => return false,
    }
    true
}

/// Commands about what a window shows; false for movements.
#[expect(clippy::wildcard_enum_match_arm, reason = "commands of other kinds are asked for further on")]
fn on_view(state: &mut State, command: Command, effects: &mut Vec<Effect>) -> bool {
    match command {
        Command::Open | Command::OpenFloat => {
            let view = state.desktop.focused().and_then(|window| window.view.opened(&state.store, window.id));
            match (view, command) {
                (Some(view), Command::Open) => {
                    if let Some(window) = state.desktop.focused_mut() {
                        window.navigate(view);
                    }
                }
                (Some(view), _) => open(state, view),
                (None, _) => {}
            }
        }
        Command::Explain => {
            let session =
                state.desktop.focused().and_then(|window| window.view.session(&state.store, window.id));
            if let Some(session) = session {
                open(state, View::Placement(PlacementView::of(session)));
            }
        }
        Command::Back => {
            state.desktop.focused_mut().map(crate::desktop::Window::go_back);
        }
        Command::Forward => {
            state.desktop.focused_mut().map(crate::desktop::Window::go_forward);
        }
        Command::Out => step_out(state),
        Command::Filter => {
            if let Some(window) = state.desktop.focused_mut() {
                let text = window.view.table().map_or("", |table| &table.filter.text).to_owned();
                window.filter_line = Some(Field::with(&text));
            }
        }
        Command::ClearFilter => {
            if let Some(table) = state.desktop.focused_mut().and_then(|window| window.view.table_mut()) {
                table.set_filter("");
            }
        }
        Command::CopyName | Command::CopyRow => copy(state, command, effects),
        _ => return false,
    }
    true
}

/// Opens a view in a floating window in front.
pub(super) fn open(state: &mut State, view: View) {
    let area = state.desktop_area();
    if state.desktop.has_room() {
        state.desktop.open_float(view, area);
    } else {
        state.toast("too many windows are open", Role::Warn);
    }
}

/// A new view; one of a single thing shows what is selected now.
fn fresh(state: &State, kind: ViewKind) -> View {
    let focused = state.desktop.focused();
    let node = focused.and_then(|window| window.view.node(&state.store, window.id));
    let session = focused.and_then(|window| window.view.session(&state.store, window.id));
    match (kind, node, session) {
        (ViewKind::Node, Some(node), _) => View::Node(crate::view::node::NodeView::of(node)),
        (ViewKind::Session, _, Some(session)) => {
            View::Session(crate::view::session::SessionView::of(session))
        }
        _ => View::new(kind),
    }
}

fn cycle(state: &mut State, by: isize) {
    let workspace = state.desktop.workspace_mut();
    let windows = workspace.windows();
    if windows.is_empty() {
        return;
    }
    let at = workspace.focus.and_then(|focus| windows.iter().position(|id| *id == focus)).unwrap_or(0);
    let next = (at.cast_signed() + by).rem_euclid(windows.len().cast_signed()).cast_unsigned();
    workspace.set_focus(windows[next]);
}

fn go(state: &mut State, focus: WindowId, direction: Direction, swap: bool, area: Rect) {
    let placed = state.desktop.place(area);
    let Some(other) = neighbour(&placed.layout.tiles, focus, direction) else { return };
    let workspace = state.desktop.workspace_mut();
    if swap {
        if let Some(tree) = &mut workspace.tree {
            tree.swap(focus, other);
        }
    } else {
        workspace.set_focus(other);
    }
}

fn grow(state: &mut State, focus: WindowId, axis: Axis, by: i16) {
    let area = state.desktop_area();
    let workspace = state.desktop.workspace_mut();
    if let Some(float) = workspace.float_mut(focus) {
        let by = by / 20;
        let rect = &mut float.rect;
        match axis {
            Axis::Horizontal => rect.width = rect.width.saturating_add_signed(by * 2),
            Axis::Vertical => rect.height = rect.height.saturating_add_signed(by),
        }
        float.rect = crate::desktop::float::clamp(float.rect, area);
    } else if let Some(tree) = &mut workspace.tree {
        tree.grow(focus, axis, by);
    }
}

/// Closes a window; asks before the last one of a workspace.
pub(super) fn close(state: &mut State, id: WindowId) {
    if state.desktop.workspace().windows().len() > 1 {
        state.desktop.close(id);
        return;
    }
    let text = "It is the last window here. Built-in windows come back with \"layout reset\".";
    let lines = vec![vec![(text.to_owned(), Role::Dialog)]];
    let title = "Close the last window?".to_owned();
    let dialog = Dialog::new(Purpose::CloseLast(id), title, lines, vec![], "Close");
    state.modal = Some(Modal::Dialog(Box::new(dialog)));
}

/// Esc: back in the window's history, else out of the zoom, else no filter any more.
fn step_out(state: &mut State) {
    if state.desktop.focused_mut().is_some_and(crate::desktop::Window::go_back) {
        return;
    }
    if state.desktop.workspace_mut().zoomed.take().is_some() {
        return;
    }
    if let Some(table) = state.desktop.focused_mut().and_then(|window| window.view.table_mut()) {
        table.set_filter("");
    }
}

fn copy(state: &mut State, command: Command, effects: &mut Vec<Effect>) {
    let Some(window) = state.desktop.focused() else { return };
    let (view, store, id) = (&window.view, &state.store, window.id);
    let session = view.session(store, id).and_then(|key| store.session(key));
    let node = view.node(store, id).and_then(|key| store.node(key));
    let copied = match (session, node, command) {
        (Some(session), _, Command::CopyName) => Some(session.name.to_string()),
        (None, Some(entry), Command::CopyName) => Some(entry.node.name.to_string()),
        (Some(session), ..) => Some(crate::output::session(session, store.at_ms).to_string()),
        (None, Some(entry), _) => Some(crate::output::node(entry).to_string()),
        (None, None, _) => None,
    };
    match copied {
        Some(text) => {
            let shown = text::fit(&text, 40, "~").into_owned();
            effects.push(Effect::Copy(text));
            state.toast(format!("copied {shown}"), Role::Text);
        }
        None => state.toast("nothing is selected", Role::Warn),
    }
}

/// Opens the menu of what is selected, at the mouse or beside the selection.
pub(super) fn open_context(state: &mut State, at: Option<(u16, u16)>) {
    let Some(window) = state.desktop.focused() else { return };
    let commands = context_commands(&window.view);
    let area = state.desktop_area();
    let placed = state.desktop.place(area);
    let rect = placed.layout.tiles.iter().map(|tile| (tile.window, tile.rect));
    let rect = rect.chain(placed.floats.iter().map(|float| (float.window, float.rect)));
    let rect = rect.rev().find(|(id, _)| *id == window.id).map_or(area, |(_, rect)| rect);
    let at = at.unwrap_or((rect.x + 6, rect.y + 3));
    state.modal = Some(Modal::Context { at, commands, item: 0 });
}

/// What can be done with what a view has selected, most wanted first.
fn context_commands(view: &View) -> Vec<Command> {
    let kind = view.kind();
    let mut commands = vec![Command::Open, Command::OpenFloat];
    let about: &[Command] = match kind {
        ViewKind::Load | ViewKind::Node | ViewKind::Nodes | ViewKind::Recorders => &[
            Command::Act(Action::Drain),
            Command::Act(Action::Undrain),
            Command::Act(Action::RemoveNode),
            Command::CopyName,
            Command::CopyRow,
        ],
        ViewKind::Session => &[
            Command::Metric,
            Command::Explain,
            Command::Act(Action::Evict),
            Command::Act(Action::Unpublish),
            Command::Act(Action::StartRecording),
            Command::Act(Action::CloseSession),
            Command::CopyName,
        ],
        ViewKind::Recordings => &[Command::Act(Action::StopRecording), Command::Act(Action::DeleteRecording)],
        ViewKind::Placement | ViewKind::Sessions => &[
            Command::Explain,
            Command::Act(Action::StartRecording),
            Command::Act(Action::CloseSession),
            Command::CopyName,
            Command::CopyRow,
        ],
        ViewKind::Cluster | ViewKind::Events | ViewKind::Help | ViewKind::Trends => &[],
    };
    commands.extend(about);
    if view.table().is_some() {
        commands.extend([Command::Filter, Command::Sort, Command::Hold]);
    }
    commands.extend([Command::Float, Command::Zoom, Command::Minimise, Command::Close]);
    commands
}

/// Opens the dialog of an operation and asks the master what it will affect: a reason, and for the harmful ones the name
/// to type.
fn open_action(state: &mut State, action: Action, effects: &mut Vec<Effect>) {
    let Some((verb, target)) = state.target_of(action) else { return };
    let cluster = state.store.welcome.as_ref().map(|welcome| named(&welcome.cluster)).unwrap_or_default();
    let lines: Vec<Line> = vec![
        vec![
            ("cluster  ".to_owned(), Role::Dialog),
            (cluster, Role::DialogFrame),
            (if state.settings.demo { "  (made up)" } else { "" }.to_owned(), Role::Dialog),
        ],
        vec![("affects  ".to_owned(), Role::Dialog), ("asking the master ...".to_owned(), Role::Dialog)],
    ];
    let reason = DialogField { label: "reason", field: Field::default(), must: None };
    let name = DialogField { label: "type the name", field: Field::default(), must: Some(target.clone()) };
    let (title, fields, yes) = match action {
        Action::CloseSession => ("Close session", vec![reason], "Close it"),
        Action::DeleteRecording => ("Delete recording", vec![reason], "Delete it"),
        Action::Drain => ("Drain", vec![reason, name], "Drain"),
        Action::Evict => ("End connection", vec![reason], "End it"),
        Action::RemoveNode => ("Remove", vec![reason, name], "Remove"),
        Action::StartRecording => ("Record", vec![], "Record"),
        Action::StopRecording => ("End recording", vec![reason], "End it"),
        Action::Undrain => ("Take back", vec![], "Take back"),
        Action::Unpublish => ("End stream", vec![reason], "End it"),
    };
    let title = format!("{title} {target}?");
    let asked = next_op(state);
    effects.push(Effect::Operate(Operate {
        op: asked,
        verb: verb.clone(),
        expected: None,
        dry_run: true,
        reason: String::new(),
    }));
    let purpose = Purpose::Act { action, target, verb, asked, generation: None };
    let dialog = Dialog::new(purpose, title, lines, fields, yes);
    state.modal = Some(Modal::Dialog(Box::new(dialog)));
}

/// Puts what the master says of an operation into its dialog.
pub(super) fn tell_impact(dialog: &mut Dialog, told: &[Clean], role: Role) {
    dialog.lines.truncate(1);
    for (index, line) in told.iter().enumerate() {
        let label = if index == 0 { "affects  " } else { "         " };
        for (part, text) in text::wrap(line, IMPACT_WIDTH).into_iter().enumerate() {
            let label = if part == 0 { label } else { "         " };
            let role = if index == 0 { role } else { Role::Dialog };
            dialog.lines.push(vec![(label.to_owned(), Role::Dialog), (text, role)]);
        }
    }
}

fn next_op(state: &mut State) -> u64 {
    let op = state.next_op;
    state.next_op += 1;
    op
}

/// Goes on with a dialog.
pub(super) fn confirmed(state: &mut State, dialog: &Dialog, effects: &mut Vec<Effect>) {
    match &dialog.purpose {
        Purpose::Quit => effects.push(Effect::Quit),
        Purpose::CloseLast(window) => state.desktop.close(*window),
        Purpose::Act { action, target, verb, generation, .. } => {
            // The world may have changed while the dialog was open.
            if let Some(why) = state.unavailable(Command::Act(*action)) {
                state.toast(format!("{} {target}: {why}", action.word()), Role::Crit);
                return;
            }
            let op = next_op(state);
            let reason = dialog.fields.first().map(|field| field.field.text().trim().to_owned());
            let reason = reason.unwrap_or_default();
            state.operations.insert(op, (*action, target.clone()));
            let (verb, expected) = (verb.clone(), *generation);
            effects.push(Effect::Operate(Operate { op, verb, expected, dry_run: false, reason }));
        }
    }
}
