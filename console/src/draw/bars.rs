//! Pure: no clock, no I/O, no async.
//!
//! The menu bar, the status bar and the short messages.

use ratatui::layout::Rect;

use crate::event::Target;
use crate::keys::{keys_of, shown};
use crate::model::Link;
use crate::state::{Modal, State};
use crate::store::Age;
use crate::text;
use crate::theme::Role;
use crate::verbs::{Command, Harm, Menu, entries, verb};
use crate::view::ViewKind;
use crate::widget::canvas::Canvas;

/// Columns from which workspaces are shown by name.
const NAMES_FROM: u16 = 110;

/// Titles of the menus with their columns.
pub(super) fn titles() -> Vec<(u16, &'static str)> {
    let mut x = 4;
    Menu::BAR
        .iter()
        .map(|menu| {
            let at = x;
            x += text::width(menu.title()) + 2;
            (at, menu.title())
        })
        .collect()
}

/// Draws row 0.
pub(super) fn menu(state: &State, canvas: &mut Canvas<'_>) {
    let width = state.size.0;
    canvas.fill(Rect::new(0, 0, width, 1), Role::Menu);
    canvas.text(1, 0, 2, canvas.theme.glyph("≡", "="), Role::MenuKey);
    canvas.hit(Rect::new(0, 0, 3, 1), Target::MenuTitle(0));
    for (index, (x, title)) in titles().into_iter().enumerate() {
        let open = matches!(state.modal, Some(Modal::Menu { menu, .. }) if menu == index);
        let label = format!(" {title} ");
        let role = if open { Role::MenuActive } else { Role::Menu };
        canvas.text(x - 1, 0, text::width(&label), &label, role);
        canvas.hit(Rect::new(x - 1, 0, text::width(&label), 1), Target::MenuTitle(index));
    }
    let right = link_parts(state);
    let gap = if width >= NAMES_FROM { 2 } else { 1 };
    let needed: u16 = right.iter().map(|(part, _)| text::width(part) + gap).sum();
    let menus = titles().last().map_or(0, |(x, title)| x + text::width(title) + 2);
    let mut x = width.saturating_sub(needed).max(menus);
    for (part, role) in right {
        x = canvas.text(x, 0, width.saturating_sub(x), &part, role) + gap;
    }
}

/// Cluster, state of the link, what the operator may do, the master's clock.
fn link_parts(state: &State) -> Vec<(String, Role)> {
    let store = &state.store;
    let wide = state.size.0 >= NAMES_FROM;
    let mut parts = Vec::new();
    if let Some(welcome) = &store.welcome {
        parts.push((text::fit(&welcome.cluster, 24, "~").into_owned(), Role::MenuKey));
    }
    let link = match (&store.link, store.age(state.now)) {
        (Some(Link::Up(_)), Age::Live) => ("live".to_owned(), Role::Menu),
        (Some(Link::Up(_)), Age::Late(seconds)) => (format!("late {seconds}s"), Role::MenuKey),
        (Some(Link::Up(_)), Age::Stale(seconds)) => (format!("STALE {seconds}s"), Role::MenuActive),
        (Some(Link::Up(_)), Age::Unknown) => ("waiting".to_owned(), Role::Menu),
        (Some(Link::Connecting { .. }), _) => ("dialling".to_owned(), Role::MenuActive),
        (Some(Link::Down { retry_ms, .. }), _) => {
            let since = state.now.saturating_sub(store.link_since).as_millis();
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            let text = match (wide, retry_ms.map(|ms| ms.saturating_sub(since).div_ceil(1000))) {
                (false, _) => "DOWN".to_owned(),
                (true, None) => "LINK DOWN, retrying (r now)".to_owned(),
                (true, Some(left)) => format!("LINK DOWN, retry in {left}s (r now)"),
            };
            (text, Role::MenuActive)
        }
        (None, _) => ("starting".to_owned(), Role::Menu),
    };
    parts.push(link);
    if let Some(welcome) = &store.welcome {
        let may = if state.settings.read_only || !welcome.may_act { "RO" } else { "RW" };
        let operator = if wide { format!("{may} {}", welcome.operator) } else { may.to_owned() };
        parts.push((operator, Role::Menu));
    }
    if store.received.is_some() {
        parts.push((format!("{}Z", text::clock(store.at_ms)), Role::Menu));
    }
    parts
}

/// Draws the last row.
pub(super) fn status(state: &State, canvas: &mut Canvas<'_>) {
    let (width, height) = state.size;
    let y = height - 1;
    canvas.fill(Rect::new(0, y, width, 1), Role::Menu);
    let right = draw_workspaces(state, canvas, y);
    let mut x = 1;
    for (part, role) in hints(state) {
        x = canvas.text(x, y, right.saturating_sub(x), &part, role);
    }
}

/// Draws workspaces and counts of trouble at the right; gives the column where they begin.
fn draw_workspaces(state: &State, canvas: &mut Canvas<'_>, y: u16) -> u16 {
    let (width, _) = state.size;
    let wide = width >= NAMES_FROM;
    let (crit, warn) = trouble(state);
    let counts = if wide { format!(" crit {crit} warn {warn} ") } else { format!(" C{crit} W{warn} ") };
    let labels: Vec<String> = state
        .desktop
        .workspaces
        .iter()
        .enumerate()
        .map(|(index, workspace)| match (index == state.desktop.active, wide) {
            (true, true) => format!("[{} {}]", index + 1, workspace.name),
            (false, true) => format!(" {} {} ", index + 1, workspace.name),
            (true, false) => format!("[{}]", index + 1),
            (false, false) => format!(" {} ", index + 1),
        })
        .collect();
    let needed = labels.iter().map(|label| text::width(label)).sum::<u16>() + text::width(&counts);
    let start = width.saturating_sub(needed);
    let mut x = start;
    for (index, label) in labels.iter().enumerate() {
        let role = if index == state.desktop.active { Role::MenuActive } else { Role::Menu };
        canvas.text(x, y, text::width(label), label, role);
        canvas.hit(Rect::new(x, y, text::width(label), 1), Target::Workspace(index));
        x += text::width(label);
    }
    let role = if crit > 0 { Role::MenuActive } else { Role::Menu };
    canvas.text(x, y, text::width(&counts), &counts, role);
    start.saturating_sub(1)
}

/// Nodes that are down, and nodes that are near their limit or lose datagrams.
const fn trouble(state: &State) -> (u32, u32) {
    let head = &state.store.head;
    (head.media.lost + head.recorders.lost, head.nodes_pressed)
}

/// What the keys do here.
fn hints(state: &State) -> Vec<(String, Role)> {
    if !state.pressed.is_empty() {
        let keys = "v s split  f float  z zoom  p pin  m put away  c close  o only  = equal  hjkl go  HJKL swap  < > + - size";
        return vec![("^W ".to_owned(), Role::MenuKey), (keys.to_owned(), Role::Menu)];
    }
    if let Some(modal) = &state.modal {
        return modal_hints(state, modal);
    }
    let kind = state.desktop.focused().map_or(ViewKind::Help, |window| window.view.kind());
    let mut parts = Vec::new();
    for (command, label) in view_hints(kind).iter().chain(&GLOBAL_HINTS) {
        if let Some(keys) = keys_of(*command, kind).first() {
            parts.push((shown(keys), Role::MenuKey));
            parts.push((format!(" {label}  "), Role::Menu));
        }
    }
    parts
}

const GLOBAL_HINTS: [(Command, &str); 5] = [
    (Command::Palette, "command"),
    (Command::Menu, "menu"),
    (Command::NextWindow, "window"),
    (Command::Help, "help"),
    (Command::Close, "close"),
];

const fn view_hints(kind: ViewKind) -> &'static [(Command, &'static str)] {
    match kind {
        ViewKind::Cluster => &[(Command::Open, "nodes")],
        ViewKind::Events => {
            &[(Command::Filter, "filter"), (Command::Hold, "follow"), (Command::Open, "open")]
        }
        ViewKind::Help | ViewKind::Trends => &[],
        ViewKind::Load => {
            &[(Command::Open, "open"), (Command::Metric, "measure"), (Command::Filter, "filter")]
        }
        ViewKind::Node => &[(Command::Open, "sessions"), (Command::ContextMenu, "actions")],
        ViewKind::Nodes | ViewKind::Recorders | ViewKind::Recordings | ViewKind::Sessions => &[
            (Command::Open, "open"),
            (Command::Filter, "filter"),
            (Command::Sort, "sort"),
            (Command::ContextMenu, "actions"),
        ],
        ViewKind::Placement => &[(Command::Open, "session")],
        ViewKind::Session => {
            &[(Command::Metric, "list"), (Command::Explain, "why here"), (Command::ContextMenu, "actions")]
        }
    }
}

fn modal_hints(state: &State, modal: &Modal) -> Vec<(String, Role)> {
    let command = match modal {
        Modal::Dialog(_) => {
            let text = "Tab next  Enter press  Esc cancel    nothing is sent before the button is pressed";
            return vec![(text.to_owned(), Role::Menu)];
        }
        Modal::Windows { .. } => return vec![("Enter go there  Esc close".to_owned(), Role::Menu)],
        Modal::Context { commands, item, .. } => commands.get(*item).copied(),
        Modal::Menu { menu, item } => entries(Menu::BAR[*menu]).get(*item).map(|verb| verb.command),
        Modal::Palette { field, item } => match state.offers(field.text()).get(*item) {
            Some(crate::state::Offer::Verb(verb)) => Some(verb.command),
            Some(crate::state::Offer::Node(_) | crate::state::Offer::Session(_)) | None => None,
        },
    };
    let Some(command) = command else { return vec![("Enter open  Esc close".to_owned(), Role::Menu)] };
    match state.unavailable(command) {
        Some(why) => vec![("off: ".to_owned(), Role::MenuKey), (why, Role::Menu)],
        None => {
            let harm = match verb(command).map_or(Harm::Look, |verb| verb.harm) {
                Harm::Cluster => "   hurts the cluster: asks first",
                Harm::Look => "",
                Harm::Small => "   small, can be taken back",
                Harm::Some => "   hurts some participants: asks first",
            };
            let title = verb(command).map_or("", |verb| verb.title);
            vec![(title.to_owned(), Role::Menu), (harm.to_owned(), Role::MenuKey)]
        }
    }
}

/// Draws the short messages above the status bar.
pub(super) fn toasts(state: &State, canvas: &mut Canvas<'_>) {
    let (width, height) = state.size;
    for (toast, y) in state.toasts.iter().rev().zip((1..height.saturating_sub(1)).rev()) {
        let mark = if toast.role == Role::Crit { "! " } else { "" };
        let label = format!(" {mark}{} ", toast.text);
        let needed = text::width(&label).min(width.saturating_sub(4));
        let x = width.saturating_sub(needed + 2);
        let bad = matches!(toast.role, Role::Crit | Role::Warn);
        let role = if bad { Role::DialogWarn } else { Role::DialogFrame };
        canvas.fill(Rect::new(x, y, needed, 1), Role::Dialog);
        canvas.text(x, y, needed, &label, role);
    }
}
