//! Pure: no clock, no I/O, no async.
//!
//! The key table. Help and hints are made from it; a test keeps it free of clashes.
//!
//! No binding needs Ctrl-A, Ctrl-B or Ctrl-G (prefixes of multiplexers), Alt, or keys that a plain terminal does not
//! send. A letter without Ctrl never destroys: it opens a dialog at most.

use crate::desktop::tree::Direction;
use crate::event::{Key, KeyCode};
use crate::model::Action;
use crate::verbs::Command;
use crate::view::ViewKind;

/// Where a binding holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// In one kind of view.
    View(ViewKind),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Where.
    pub scope: Scope,
    /// Keys, one after the other.
    pub keys: &'static str,
    /// What.
    pub command: Command,
}

const fn global(keys: &'static str, command: Command) -> Binding {
    Binding { scope: Scope::Global, keys, command }
}

const fn within(view: ViewKind, keys: &'static str, command: Command) -> Binding {
    Binding { scope: Scope::View(view), keys, command }
}

/// The table.
pub const KEYS: &[Binding] = &[
    global("up", Command::Up),
    global("k", Command::Up),
    global("down", Command::Down),
    global("j", Command::Down),
    global("left", Command::Left),
    global("h", Command::Left),
    global("right", Command::Right),
    global("l", Command::Right),
    global("pgup", Command::PageUp),
    global("pgdn", Command::PageDown),
    global("home", Command::First),
    global("g g", Command::First),
    global("end", Command::Last),
    global("G", Command::Last),
    global("enter", Command::Open),
    global("w", Command::OpenFloat),
    global("esc", Command::Out),
    global("backspace", Command::Back),
    global("[", Command::Back),
    global("]", Command::Forward),
    global("tab", Command::NextWindow),
    global("backtab", Command::PreviousWindow),
    global("1", Command::Workspace(0)),
    global("2", Command::Workspace(1)),
    global("3", Command::Workspace(2)),
    global("4", Command::Workspace(3)),
    global("5", Command::Workspace(4)),
    global(":", Command::Palette),
    global("ctrl-p", Command::Palette),
    global("/", Command::Filter),
    global("\\", Command::ClearFilter),
    global("?", Command::Help),
    global("f1", Command::Help),
    global("s", Command::Sort),
    global("S", Command::SortReverse),
    global("f", Command::Hold),
    global("m", Command::Metric),
    global("e", Command::Explain),
    global("y", Command::CopyName),
    global("Y", Command::CopyRow),
    global(".", Command::ContextMenu),
    global("f5", Command::Zoom),
    global("z", Command::Zoom),
    global("f6", Command::WindowList),
    global("f8", Command::ToggleMouse),
    global("f10", Command::Menu),
    global("q", Command::Close),
    global("r", Command::Retry),
    global("ctrl-l", Command::Redraw),
    global("ctrl-z", Command::Suspend),
    global("ctrl-c", Command::Quit),
    global("ctrl-w v", Command::SplitRight),
    global("ctrl-w s", Command::SplitDown),
    global("ctrl-w f", Command::Float),
    global("ctrl-w p", Command::Pin),
    global("ctrl-w z", Command::Zoom),
    global("ctrl-w m", Command::Minimise),
    global("ctrl-w c", Command::Close),
    global("ctrl-w o", Command::Only),
    global("ctrl-w =", Command::Equalise),
    global("ctrl-w t", Command::TileAll),
    global("ctrl-w a", Command::Cascade),
    global("ctrl-w h", Command::Focus(Direction::Left)),
    global("ctrl-w j", Command::Focus(Direction::Down)),
    global("ctrl-w k", Command::Focus(Direction::Up)),
    global("ctrl-w l", Command::Focus(Direction::Right)),
    global("ctrl-w H", Command::Swap(Direction::Left)),
    global("ctrl-w J", Command::Swap(Direction::Down)),
    global("ctrl-w K", Command::Swap(Direction::Up)),
    global("ctrl-w L", Command::Swap(Direction::Right)),
    global("ctrl-w >", Command::Wider),
    global("ctrl-w <", Command::Narrower),
    global("ctrl-w +", Command::Taller),
    global("ctrl-w -", Command::Shorter),
    within(ViewKind::Nodes, "d", Command::Act(Action::Drain)),
    within(ViewKind::Nodes, "u", Command::Act(Action::Undrain)),
    within(ViewKind::Nodes, "x", Command::Act(Action::RemoveNode)),
    within(ViewKind::Load, "d", Command::Act(Action::Drain)),
    within(ViewKind::Load, "u", Command::Act(Action::Undrain)),
    within(ViewKind::Node, "d", Command::Act(Action::Drain)),
    within(ViewKind::Node, "u", Command::Act(Action::Undrain)),
    within(ViewKind::Node, "x", Command::Act(Action::RemoveNode)),
    within(ViewKind::Sessions, "x", Command::Act(Action::CloseSession)),
    within(ViewKind::Session, "x", Command::Act(Action::CloseSession)),
    within(ViewKind::Session, "v", Command::Act(Action::Evict)),
    within(ViewKind::Session, "U", Command::Act(Action::Unpublish)),
    within(ViewKind::Sessions, "R", Command::Act(Action::StartRecording)),
    within(ViewKind::Session, "R", Command::Act(Action::StartRecording)),
    within(ViewKind::Recordings, "R", Command::Act(Action::StopRecording)),
    within(ViewKind::Recordings, "x", Command::Act(Action::DeleteRecording)),
];

/// What the keys pressed so far mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Meaning {
    /// A command.
    Command(Command),
    /// Nothing.
    Nothing,
    /// The beginning of something.
    Prefix,
}

/// Looks keys up: those of the view come before those that hold everywhere.
#[must_use]
pub fn meaning(view: ViewKind, pressed: &[Key]) -> Meaning {
    let mut prefix = false;
    for scope in [Scope::View(view), Scope::Global] {
        for binding in KEYS.iter().filter(|binding| binding.scope == scope) {
            let keys = parse(binding.keys);
            if keys == pressed {
                return Meaning::Command(binding.command);
            }
            prefix |= keys.starts_with(pressed);
        }
    }
    if prefix { Meaning::Prefix } else { Meaning::Nothing }
}

/// The keys of a command in a view, shortest first, as written in the table; empty without any.
#[must_use]
pub fn keys_of(command: Command, view: ViewKind) -> Vec<&'static str> {
    KEYS.iter()
        .filter(|binding| binding.command == command)
        .filter(|binding| binding.scope == Scope::Global || binding.scope == Scope::View(view))
        .map(|binding| binding.keys)
        .collect()
}

/// The keys of a command anywhere, for menus.
#[must_use]
pub fn any_key_of(command: Command) -> Option<&'static str> {
    KEYS.iter().find(|binding| binding.command == command).map(|binding| binding.keys)
}

/// Reads `ctrl-w v`.
fn parse(text: &str) -> Vec<Key> {
    text.split(' ').filter_map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<Key> {
    let (ctrl, name) = match text.strip_prefix("ctrl-") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let code = match name {
        "backspace" => KeyCode::Backspace,
        "backtab" => KeyCode::BackTab,
        "down" => KeyCode::Down,
        "end" => KeyCode::End,
        "enter" => KeyCode::Enter,
        "esc" => KeyCode::Esc,
        "home" => KeyCode::Home,
        "left" => KeyCode::Left,
        "pgdn" => KeyCode::PageDown,
        "pgup" => KeyCode::PageUp,
        "right" => KeyCode::Right,
        "tab" => KeyCode::Tab,
        "up" => KeyCode::Up,
        _ => {
            let mut chars = name.chars();
            let first = chars.next()?;
            match (first, chars.as_str()) {
                (c, "") => KeyCode::Char(c),
                ('f', number) => KeyCode::F(number.parse().ok()?),
                _ => return None,
            }
        }
    };
    Some(Key { code, ctrl, alt: false, shift: false })
}

/// Keys as shown: `^W v`, `F10`, `Enter`.
#[must_use]
pub fn shown(keys: &str) -> String {
    let one = |key: &str| match key {
        "backspace" => "Bksp".to_owned(),
        "backtab" => "S-Tab".to_owned(),
        "pgdn" => "PgDn".to_owned(),
        "pgup" => "PgUp".to_owned(),
        _ => match key.strip_prefix("ctrl-") {
            Some(letter) => format!("^{}", letter.to_uppercase()),
            None if key.chars().count() > 1 => key[..1].to_uppercase() + &key[1..],
            None => key.to_owned(),
        },
    };
    keys.split(' ').map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::verbs;

    #[test]
    fn every_binding_is_readable_unique_and_in_the_registry() {
        let mut seen = HashSet::new();
        for binding in KEYS {
            let keys = parse(binding.keys);
            assert_eq!(keys.len(), binding.keys.split(' ').count(), "{}", binding.keys);
            assert!(seen.insert((binding.scope, binding.keys)), "{} twice", binding.keys);
            assert!(verbs::verb(binding.command).is_some(), "{:?}", binding.command);
        }
    }

    #[test]
    fn no_key_is_both_a_command_and_the_beginning_of_one() {
        for one in KEYS {
            for other in KEYS {
                let (a, b) = (parse(one.keys), parse(other.keys));
                assert!(a.len() >= b.len() || !b.starts_with(&a), "{} hides {}", one.keys, other.keys);
            }
        }
    }

    #[test]
    fn views_never_reuse_a_key_that_holds_everywhere() {
        for binding in KEYS.iter().filter(|binding| binding.scope != Scope::Global) {
            let clash = KEYS.iter().find(|other| other.scope == Scope::Global && other.keys == binding.keys);
            assert!(clash.is_none(), "{} in {:?}", binding.keys, binding.scope);
        }
    }

    #[test]
    fn a_prefix_waits_for_the_rest() {
        let ctrl_w = Key { ctrl: true, ..Key::plain(KeyCode::Char('w')) };
        assert_eq!(meaning(ViewKind::Nodes, &[ctrl_w]), Meaning::Prefix);
        let v = Key::plain(KeyCode::Char('v'));
        assert_eq!(meaning(ViewKind::Nodes, &[ctrl_w, v]), Meaning::Command(Command::SplitRight));
        assert_eq!(meaning(ViewKind::Nodes, &[v]), Meaning::Nothing);
        assert_eq!(meaning(ViewKind::Session, &[v]), Meaning::Command(Command::Act(Action::Evict)));
        assert_eq!(shown("ctrl-w v"), "^W v");
        assert_eq!(shown("f10"), "F10");
    }
}
