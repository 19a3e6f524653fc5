//! Pure: no clock, no I/O, no async.
//!
//! The keys, made from the key table and the registry, and the filter language.

use super::Line;
use crate::keys::{KEYS, Scope, shown};
use crate::theme::Role;
use crate::verbs::{Menu, VERBS};

const FILTERS: [(&str, &str); 8] = [
    ("standup eu", "both words in the name"),
    ("a | b", "one or the other"),
    ("!lost", "not in the name"),
    ("state:run*", "glob"),
    ("node~eu", "part of it"),
    ("cpu>80  out>=1.5G", "numbers with units k M G T, s min h d"),
    ("age<5min", "spans"),
    ("role=recorder", "exactly"),
];

/// What the window shows.
#[must_use]
pub fn lines() -> Vec<Line> {
    let mut lines = vec![head("KEYS")];
    for menu in [Menu::None, Menu::View, Menu::Window, Menu::Nodes, Menu::Sessions, Menu::Console, Menu::Help]
    {
        let start = lines.len();
        for verb in VERBS.iter().filter(|verb| verb.menu == menu) {
            let keys: Vec<String> = keys_of(verb.command);
            if !keys.is_empty() {
                let keys = keys.join(", ");
                lines.push(vec![
                    (format!("   {keys:<22} "), Role::Accent),
                    (verb.title.trim_end_matches(" ...").to_owned(), Role::Text),
                    (scopes_of(verb.command), Role::Dim),
                ]);
            }
        }
        if lines.len() > start {
            lines.insert(start, head(menu.title()));
        }
    }
    lines.push(head("MOUSE"));
    for (what, does) in [
        ("click", "focus, select; on a head sort; on a title button zoom, put away, close"),
        ("double click, wheel", "open, scroll"),
        ("right click", "menu for what is there"),
        ("drag", "title moves, corner resizes, border between tiles moves; edges snap"),
    ] {
        lines.push(vec![(format!("   {what:<22} "), Role::Accent), (does.to_owned(), Role::Text)]);
    }
    lines.push(head("FILTERS"));
    for (example, means) in FILTERS {
        lines.push(vec![(format!("   {example:<22} "), Role::Accent), (means.to_owned(), Role::Text)]);
    }
    lines
}

fn head(text: &str) -> Line {
    vec![(format!(" {text}"), Role::Head)]
}

fn keys_of(command: crate::verbs::Command) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for binding in KEYS.iter().filter(|binding| binding.command == command) {
        let key = shown(binding.keys);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn scopes_of(command: crate::verbs::Command) -> String {
    let mut names: Vec<&str> = Vec::new();
    for binding in KEYS.iter().filter(|binding| binding.command == command) {
        if let Scope::View(kind) = binding.scope {
            names.push(kind.name());
        }
    }
    if names.is_empty() { String::new() } else { format!("  in {}", names.join(", ")) }
}

/// The key table as text for `console keys` and the manual.
#[must_use]
pub fn text() -> String {
    let mut text = String::new();
    for line in lines() {
        let joined: String = line.iter().map(|(part, _)| part.as_str()).collect();
        text.push_str(joined.trim_end());
        text.push('\n');
    }
    text
}
