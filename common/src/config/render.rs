//! Pure: no clock, no I/O, no async.
//!
//! `--print-config`: the whole configuration as TOML with the origin of each value.

use std::fmt::{self, Write as _};

use serde::Serialize;
use toml::Value;

use super::tree::Node;

/// The text. Keys outside of any section come first, as TOML demands.
pub(super) fn render<T: Serialize>(value: &T, tree: &Node) -> String {
    let mut out = String::new();
    let written = match Value::try_from(value) {
        Ok(Value::Table(table)) => section(&mut out, &table, "", tree),
        // Not a struct of sections: nothing that could have been read from a file.
        Ok(other) => writeln!(out, "# {other}"),
        Err(error) => writeln!(out, "# cannot be shown: {error}"),
    };
    // Writing to a string cannot fail.
    debug_assert!(written.is_ok(), "a string takes any text");
    out
}

fn section(out: &mut String, table: &toml::Table, name: &str, tree: &Node) -> fmt::Result {
    let mut values = table.iter().filter(|(_, value)| !value.is_table()).peekable();
    if !name.is_empty() && (values.peek().is_some() || table.is_empty()) {
        let gap = if out.is_empty() { "" } else { "\n" };
        writeln!(out, "{gap}[{name}]")?;
    }
    for (key, value) in values {
        let path = path(name, key);
        let origin = tree.find(&path).map_or_else(|| "default".to_owned(), |node| node.origin.to_string());
        writeln!(out, "{} = {value}  # {origin}", bare(key))?;
    }
    for (key, value) in table {
        if let Value::Table(inner) = value {
            section(out, inner, &path(name, &bare(key)), tree)?;
        }
    }
    Ok(())
}

fn path(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A key as TOML writes it.
fn bare(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { key.to_owned() } else { format!("{key:?}") }
}
