//! Pure: no clock, no I/O, no async.
//!
//! Draws the whole screen from the state and says what can be clicked where. Changes nothing.

mod bars;
mod modal;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::desktop::{Window, WindowId};
use crate::event::Target;
use crate::state::{HEIGHT_MIN, State, WIDTH_MIN};
use crate::store::Age;
use crate::text;
use crate::theme::Role;
use crate::update::body;
use crate::widget::canvas::Canvas;

/// What goes with a frame.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    /// What can be clicked; later entries lie on top.
    pub hits: Vec<(Rect, Target)>,
    /// Where the terminal's cursor goes.
    pub cursor: Option<Position>,
}

/// Draws a frame.
pub fn draw(state: &State, buffer: &mut Buffer) -> Screen {
    let mut screen = Screen::default();
    let mut canvas =
        Canvas { buffer, theme: state.settings.theme, hits: &mut screen.hits, cursor: &mut screen.cursor };
    if state.too_small() {
        draw_too_small(state, &mut canvas);
        return screen;
    }
    bars::menu(state, &mut canvas);
    let placed = state.desktop.place(state.desktop_area());
    for tile in &placed.layout.tiles {
        draw_window(state, &mut canvas, tile.window, &tile.tabs, tile.rect, false);
    }
    for (index, bar) in placed.layout.bars.iter().enumerate() {
        canvas.hit(bar.rect, Target::SplitBar(index));
    }
    if placed.layout.tiles.is_empty() && placed.floats.is_empty() {
        let hint = "no window here: F10 opens the menus, : the palette";
        canvas.text(4, state.size.1 / 2, state.size.0.saturating_sub(4), hint, Role::Dim);
    }
    for float in &placed.floats {
        canvas.shadow(float.rect);
        canvas.fill(float.rect, Role::Text);
        draw_window(state, &mut canvas, float.window, &[float.window], float.rect, true);
    }
    bars::status(state, &mut canvas);
    bars::toasts(state, &mut canvas);
    modal::draw(state, &mut canvas);
    screen
}

fn draw_too_small(state: &State, canvas: &mut Canvas<'_>) {
    let (width, height) = state.size;
    let lines = [
        format!("{width}x{height} is too small"),
        format!("needs {WIDTH_MIN}x{HEIGHT_MIN}"),
        "^C ^C quits".to_owned(),
    ];
    for (line, y) in lines.iter().zip(0..height) {
        canvas.text(0, y, width, line, Role::Text);
    }
}

fn draw_window(
    state: &State,
    canvas: &mut Canvas<'_>,
    id: WindowId,
    tabs: &[WindowId],
    rect: Rect,
    floats: bool,
) {
    let Some(window) = state.desktop.windows.get(&id) else { return };
    let focused = state.desktop.workspace().focus == Some(id);
    let frame = if focused { Role::BorderFocus } else { Role::Border };
    canvas.frame(rect, focused, frame);
    canvas.hit(rect, Target::Body(id));
    canvas.hit(Rect { height: 1, ..rect }, Target::Title(id));
    draw_title(state, canvas, window, tabs, rect, focused);
    let area = body(rect, window);
    if area.width == 0 || area.height == 0 {
        return;
    }
    let facts = state.facts();
    window.view.draw(&facts, canvas, area, id, focused);
    if matches!(window.view.age(&facts, id), Some(Age::Stale(_))) {
        canvas.restyle(area, Role::Stale);
    }
    draw_filter_line(canvas, window, area);
    if floats {
        let corner = Rect::new(rect.right().saturating_sub(2), rect.bottom() - 1, 2, 1);
        let glyph = canvas.theme.glyph("◢", "/");
        canvas.text(corner.x + 1, corner.y, 1, glyph, frame);
        canvas.hit(corner, Target::Corner(id));
    }
}

/// Number, name and tabs at the left; counts, age and buttons at the right.
fn draw_title(
    state: &State,
    canvas: &mut Canvas<'_>,
    window: &Window,
    tabs: &[WindowId],
    rect: Rect,
    focused: bool,
) {
    let buttons_x = draw_buttons(canvas, window.id, rect, focused);
    let facts = state.facts();
    let mut right = buttons_x;
    if let Some(age) = window.view.age(&facts, window.id) {
        let (badge, role) = badge(age);
        let start = right.saturating_sub(text::width(&badge) + 1);
        canvas.text(start, rect.y, right - start, &format!("{badge} "), role);
        right = start;
    }
    let mut x = rect.x + 2;
    let numbers = state.desktop.workspace().windows();
    for tab in tabs {
        let Some(shown) = state.desktop.windows.get(tab) else { continue };
        let number = numbers.iter().position(|id| id == tab).map_or(0, |at| at + 1);
        let front = *tab == window.id;
        let name = if front { shown.view.title(&facts) } else { shown.view.kind().name().to_owned() };
        let label = format!(" {number} {name} ");
        let role = match (front, focused) {
            (true, true) => Role::TitleFocus,
            (true, false) => Role::Title,
            (false, _) => Role::Dim,
        };
        let start = x;
        x = canvas.text(x, rect.y, right.saturating_sub(x + 1), &label, role);
        if tabs.len() > 1 {
            canvas.hit(Rect::new(start, rect.y, x - start, 1), Target::Tab(*tab));
            x = canvas.text(x, rect.y, right.saturating_sub(x + 1), "|", Role::Border);
        }
    }
    let remark = window.view.remark(&facts);
    let pinned = state.desktop.workspace().float(window.id).is_some_and(|float| float.pinned);
    let remark = if pinned { format!("{remark} pinned") } else { remark };
    let needed = text::width(&remark) + 2;
    if !remark.is_empty() && x + needed < right {
        canvas.text(right - needed, rect.y, needed, &format!(" {remark} "), Role::Dim);
    }
}

/// Draws the three buttons; gives the column where they begin.
fn draw_buttons(canvas: &mut Canvas<'_>, id: WindowId, rect: Rect, focused: bool) -> u16 {
    let role = if focused { Role::BorderFocus } else { Role::Border };
    let buttons = [
        ("[_]", Target::Minimise(id)),
        (canvas.theme.glyph("[□]", "[^]"), Target::Zoom(id)),
        (canvas.theme.glyph("[×]", "[x]"), Target::Close(id)),
    ];
    let start = rect.right().saturating_sub(11);
    if start <= rect.x + 8 {
        return rect.right().saturating_sub(1);
    }
    let mut x = start;
    for (label, target) in buttons {
        canvas.text(x, rect.y, 3, label, role);
        canvas.hit(Rect::new(x, rect.y, 3, 1), target);
        x += 3;
    }
    start
}

/// The age in words, with its colour.
fn badge(age: Age) -> (String, Role) {
    match age {
        Age::Late(seconds) => (format!(" late {seconds}s"), Role::Warn),
        Age::Live => (" live".to_owned(), Role::Ok),
        Age::Stale(seconds) => (format!(" stale {seconds}s"), Role::Crit),
        Age::Unknown => (" no data".to_owned(), Role::Dim),
    }
}

fn draw_filter_line(canvas: &mut Canvas<'_>, window: &Window, area: Rect) {
    let Some(line) = &window.filter_line else { return };
    let y = area.bottom();
    canvas.fill(Rect::new(area.x, y, area.width, 1), Role::FieldFocus);
    let x = canvas.text(area.x, y, 1, "/", Role::FieldFocus);
    canvas.text(x, y, area.width - 1, line.text(), Role::FieldFocus);
    let cursor = x + text::width(line.before_cursor());
    *canvas.cursor = Some(Position::new(cursor.min(area.right().saturating_sub(1)), y));
    let error = window.view.table().and_then(|table| table.error.as_ref());
    let note = error.map_or_else(|| "Enter keep  Esc clear".to_owned(), ToString::to_string);
    let start = area.right().saturating_sub(text::width(&note) + 1).max(x + text::width(line.text()) + 2);
    let role = if error.is_some() { Role::Warn } else { Role::Dim };
    if start < area.right() {
        canvas.text(start, y, area.right() - start, &note, role);
    }
}
