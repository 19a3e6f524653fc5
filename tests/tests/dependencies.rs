//! The rules of `deny.toml` that need no network: licences, banned crates, sources.
//! cargo-deny checks the same and more where it is installed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packages() -> Vec<Value> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        // What other platforms would need is not there after a build on this one.
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// The strings of a list in `deny.toml`, found by its key.
fn listed(key: &str, field: Option<&str>) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let start = text.find(&format!("{key} = [")).unwrap_or_else(|| panic!("deny.toml has no list `{key}`"));
    let list = &text[start..];
    let list = &list[..list.find("\n]").expect("the list ends")];
    let strings = list.lines().skip(1).filter_map(|line| {
        let rest = field
            .map_or(Some(line), |field| line.split_once(&format!("{field} = ")).map(|(_, rest)| rest))?;
        rest.split('"').nth(1).map(str::to_owned)
    });
    strings.collect()
}

/// Whether an SPDX expression can be satisfied with the allowed licences. `/` is the old spelling of OR.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced =
        expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "_WITH_");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let (value, used) = any_of(&tokens, allowed);
    assert_eq!(used, tokens.len(), "cannot read the licence expression `{expression}`");
    value
}

fn any_of(tokens: &[&str], allowed: &BTreeSet<String>) -> (bool, usize) {
    let (mut value, mut used) = all_of(tokens, allowed);
    while tokens.get(used) == Some(&"OR") {
        let (next, more) = all_of(&tokens[used + 1..], allowed);
        value |= next;
        used += 1 + more;
    }
    (value, used)
}

fn all_of(tokens: &[&str], allowed: &BTreeSet<String>) -> (bool, usize) {
    let (mut value, mut used) = one(tokens, allowed);
    while tokens.get(used) == Some(&"AND") {
        let (next, more) = one(&tokens[used + 1..], allowed);
        value &= next;
        used += 1 + more;
    }
    (value, used)
}

fn one(tokens: &[&str], allowed: &BTreeSet<String>) -> (bool, usize) {
    if tokens.first() == Some(&"(") {
        let (value, used) = any_of(&tokens[1..], allowed);
        assert_eq!(tokens.get(1 + used), Some(&")"), "unbalanced licence expression");
        return (value, used + 2);
    }
    (allowed.contains(&tokens[0].replace("_WITH_", " WITH ")), 1)
}

#[test]
fn every_licence_is_allowed() {
    let allowed = listed("allow", None);
    assert!(allowed.contains("MIT"), "deny.toml was not understood");
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(satisfied(licence, &allowed), "{} has the licence `{licence}`", package["id"]);
    }
}

#[test]
fn no_banned_crate_is_used() {
    let banned = listed("deny", Some("crate"));
    assert!(banned.contains("openssl"), "deny.toml was not understood");
    for package in packages() {
        let name = package["name"].as_str().unwrap_or_default();
        assert!(!banned.contains(name), "{name} is banned by deny.toml");
    }
}

#[test]
fn every_crate_comes_from_the_registry_or_this_workspace() {
    for package in packages() {
        let Some(source) = package["source"].as_str() else { continue };
        assert!(source.starts_with("registry+"), "{} comes from {source}", package["id"]);
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    assert!(satisfied("MIT/GPL-3.0", &allowed));
    assert!(satisfied("(GPL-3.0 OR MIT) AND ISC", &allowed));
    assert!(!satisfied("MIT AND GPL-3.0", &allowed));
    assert!(!satisfied("GPL-3.0 WITH Classpath-exception-2.0", &allowed));
}
