//! Pure: no clock, no I/O, no async.
//!
//! Menus, palette, list of windows and dialogs.

use ratatui::layout::{Position, Rect};

use super::bars;
use crate::desktop::dialog::Dialog;
use crate::desktop::field::Field;
use crate::event::Target;
use crate::keys::{any_key_of, shown};
use crate::state::{Modal, Offer, State};
use crate::text;
use crate::theme::Role;
use crate::verbs::{Command, Menu, entries, verb};
use crate::widget::canvas::{Align, Canvas};

/// Columns of palette and list of windows.
const LIST_WIDTH: u16 = 74;

/// Rows of the palette that show.
const LIST_ROWS: usize = 12;

/// Draws what is open above everything else.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    match &state.modal {
        None => {}
        Some(Modal::Context { at, commands, item }) => draw_menu(state, canvas, *at, commands, *item),
        Some(Modal::Dialog(dialog)) => draw_dialog(state, canvas, dialog),
        Some(Modal::Menu { menu, item }) => {
            let x = bars::titles().get(*menu).map_or(0, |(x, _)| x.saturating_sub(1));
            let commands: Vec<Command> = entries(Menu::BAR[*menu]).iter().map(|verb| verb.command).collect();
            draw_menu(state, canvas, (x, 1), &commands, *item);
        }
        Some(Modal::Palette { field, item }) => draw_palette(state, canvas, field, *item),
        Some(Modal::Windows { item }) => draw_windows(state, canvas, *item),
    }
}

/// A box with a shadow, inside the screen.
fn panel(state: &State, canvas: &mut Canvas<'_>, rect: Rect, title: &str) -> Rect {
    let (width, height) = state.size;
    let rect = Rect {
        x: rect.x.min(width.saturating_sub(rect.width)),
        y: rect.y.min(height.saturating_sub(rect.height + 1)).max(1),
        width: rect.width.min(width),
        height: rect.height.min(height.saturating_sub(2)),
    };
    canvas.shadow(rect);
    canvas.fill(rect, Role::Dialog);
    canvas.frame(rect, true, Role::DialogFrame);
    if !title.is_empty() {
        canvas.text(
            rect.x + 2,
            rect.y,
            rect.width.saturating_sub(4),
            &format!(" {title} "),
            Role::DialogFrame,
        );
    }
    canvas.hit(rect, Target::Modal);
    rect
}

fn key_text(command: Command) -> String {
    any_key_of(command).map(shown).unwrap_or_default()
}

fn draw_menu(state: &State, canvas: &mut Canvas<'_>, at: (u16, u16), commands: &[Command], item: usize) {
    let titles: Vec<&str> = commands.iter().map(|c| verb(*c).map_or("", |verb| verb.title)).collect();
    let widest = titles.iter().map(|title| text::width(title)).max().unwrap_or(0);
    let keys = commands.iter().map(|c| text::width(&key_text(*c))).max().unwrap_or(0);
    let rows = u16::try_from(commands.len()).unwrap_or(u16::MAX);
    let rect = panel(state, canvas, Rect::new(at.0, at.1, widest + keys + 6, rows + 2), "");
    let visible = usize::from(rect.height.saturating_sub(2));
    let first = (item + 1).saturating_sub(visible);
    for ((index, command), y) in commands.iter().enumerate().skip(first).zip(rect.y + 1..rect.bottom() - 1) {
        let off = state.unavailable(*command).is_some();
        let (role, key_role) = match (index == item, off) {
            (true, _) => (Role::MenuActive, Role::MenuActive),
            (false, true) => (Role::MenuOff, Role::MenuOff),
            (false, false) => (Role::Menu, Role::MenuKey),
        };
        let row = Rect::new(rect.x + 1, y, rect.width - 2, 1);
        canvas.fill(row, role);
        canvas.text(row.x + 1, y, row.width - 1, titles[index], role);
        canvas.aligned(row.right() - keys - 1, y, keys, &key_text(*command), key_role, Align::Right);
        if off {
            canvas.text(row.x, y, 1, "-", role);
        }
        canvas.hit(row, Target::Item(index));
    }
}

/// A box in the upper middle.
fn list_panel(state: &State, canvas: &mut Canvas<'_>, rows: usize, title: &str) -> Rect {
    let (width, height) = state.size;
    let panel_width = LIST_WIDTH.min(width.saturating_sub(4));
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2).min(height.saturating_sub(6));
    let rect = Rect::new((width - panel_width) / 2, 3, panel_width, rows);
    panel(state, canvas, rect, title)
}

fn draw_palette(state: &State, canvas: &mut Canvas<'_>, field: &Field, item: usize) {
    let offers = state.offers(field.text());
    let rect = list_panel(state, canvas, offers.len().clamp(1, LIST_ROWS) + 2, "Command");
    let line = Rect::new(rect.x + 2, rect.y + 1, rect.width - 4, 1);
    draw_field(canvas, line, field, true);
    if offers.is_empty() {
        canvas.text(rect.x + 2, rect.y + 3, rect.width - 4, "nothing is called that", Role::Dialog);
    }
    let visible = usize::from(rect.height.saturating_sub(4));
    let first = (item + 1).saturating_sub(visible);
    for ((index, offer), y) in offers.iter().enumerate().skip(first).zip(rect.y + 3..rect.bottom() - 1) {
        let (name, title, keys, off) = match offer {
            Offer::Node(key) => {
                let name = state.store.node(*key).map(|entry| entry.node.name.to_string());
                (name.unwrap_or_default(), "look into this node", String::new(), false)
            }
            Offer::Session(key) => {
                let name = state.store.session(*key).map(|session| session.name.to_string());
                (name.unwrap_or_default(), "look into this session", String::new(), false)
            }
            Offer::Verb(verb) => {
                let off = state.unavailable(verb.command).is_some();
                (verb.name.to_owned(), verb.title, key_text(verb.command), off)
            }
        };
        let role = match (index == item, off) {
            (true, _) => Role::MenuActive,
            (false, true) => Role::MenuOff,
            (false, false) => Role::Menu,
        };
        let row = Rect::new(rect.x + 1, y, rect.width - 2, 1);
        canvas.fill(row, role);
        canvas.text(row.x + 1, y, 23, &name, role);
        canvas.text(row.x + 26, y, row.width.saturating_sub(34), title, role);
        let right = if off { "off".to_owned() } else { keys };
        canvas.aligned(row.right() - 8, y, 7, &right, role, Align::Right);
        canvas.hit(row, Target::Item(index));
    }
}

fn draw_windows(state: &State, canvas: &mut Canvas<'_>, item: usize) {
    let list = state.window_list();
    let rect = list_panel(state, canvas, list.len().clamp(1, 20), "All windows");
    let facts = state.facts();
    let visible = usize::from(rect.height.saturating_sub(2));
    let first = (item + 1).saturating_sub(visible);
    for ((index, (at, id)), y) in list.iter().enumerate().skip(first).zip(rect.y + 1..rect.bottom() - 1) {
        let Some(window) = state.desktop.windows.get(id) else { continue };
        let workspace = &state.desktop.workspaces[*at];
        let place = if workspace.minimised.contains(id) {
            "put away"
        } else if workspace.float(*id).is_some() {
            "floats"
        } else {
            ""
        };
        let role = if index == item { Role::MenuActive } else { Role::Menu };
        let row = Rect::new(rect.x + 1, y, rect.width - 2, 1);
        canvas.fill(row, role);
        canvas.text(row.x + 1, y, 14, &format!("{} {}", at + 1, workspace.name), role);
        canvas.text(row.x + 16, y, row.width.saturating_sub(27), &window.view.title(&facts), role);
        canvas.aligned(row.right() - 10, y, 9, place, role, Align::Right);
        canvas.hit(row, Target::Item(index));
    }
}

fn draw_field(canvas: &mut Canvas<'_>, area: Rect, field: &Field, focused: bool) {
    let role = if focused { Role::FieldFocus } else { Role::Field };
    canvas.fill(area, role);
    // The part around the cursor shows when the text is longer than the field.
    let cursor = text::width(field.before_cursor());
    let hidden = cursor.saturating_sub(area.width.saturating_sub(1));
    let shown: String = if hidden == 0 {
        field.text().to_owned()
    } else {
        field.text().chars().skip(usize::from(hidden)).collect()
    };
    canvas.text(area.x, area.y, area.width, &shown, role);
    if focused {
        *canvas.cursor = Some(Position::new(area.x + cursor - hidden, area.y));
    }
}

fn draw_dialog(state: &State, canvas: &mut Canvas<'_>, dialog: &Dialog) {
    let (width, height) = state.size;
    let widest =
        dialog.lines.iter().map(|line| line.iter().map(|(part, _)| text::width(part)).sum::<u16>()).max();
    let inner = widest.unwrap_or(0).max(56).min(width.saturating_sub(8));
    let rows = dialog.lines.len() + dialog.fields.len() + 5 + usize::from(!dialog.fields.is_empty());
    let rows = u16::try_from(rows).unwrap_or(u16::MAX);
    let rect = Rect::new((width - inner - 6) / 2, height.saturating_sub(rows) / 2, inner + 6, rows);
    let rect = panel(state, canvas, rect, &dialog.title);
    let mut y = rect.y + 2;
    for line in &dialog.lines {
        let mut x = rect.x + 3;
        for (part, role) in line {
            x = canvas.text(x, y, (rect.right() - 2).saturating_sub(x), part, *role);
        }
        y += 1;
    }
    y += u16::from(!dialog.fields.is_empty());
    for (index, field) in dialog.fields.iter().enumerate() {
        canvas.text(rect.x + 3, y, 14, field.label, Role::Dialog);
        let area = Rect::new(rect.x + 18, y, rect.width.saturating_sub(21), 1);
        draw_field(canvas, area, &field.field, dialog.focus == index);
        canvas.hit(area, Target::DialogField(index));
        y += 1;
    }
    if let Some(error) = &dialog.error {
        canvas.text(rect.x + 3, rect.bottom() - 3, rect.width - 6, error, Role::DialogWarn);
    }
    let mut x = rect
        .right()
        .saturating_sub(dialog.buttons.iter().map(|button| text::width(button) + 6).sum::<u16>() + 2);
    for (index, button) in dialog.buttons.iter().enumerate() {
        let focused = dialog.focus == dialog.fields.len() + index;
        let label = if focused { format!("< {button} >") } else { format!("[ {button} ]") };
        let role = if focused { Role::ButtonFocus } else { Role::Button };
        let area = Rect::new(x, rect.bottom() - 2, text::width(&label), 1);
        canvas.text(area.x, area.y, area.width, &label, role);
        canvas.hit(area, Target::DialogButton(index));
        if focused {
            *canvas.cursor = Some(Position::new(area.x + 2, area.y));
        }
        x += text::width(&label) + 2;
    }
}
