//! Rules of the tree that no compiler checks: what each module says of itself, what pure modules may not touch, how
//! long files get, and that nothing names a path of somebody's machine.

use std::path::{Path, PathBuf};

const PACKAGES: [&str; 6] = ["common", "console", "masterd", "mediad", "recorderd", "tests"];
const LINES_MAX: usize = 1_200;

/// Not allowed below a `Pure` header: whatever makes two runs differ.
const IMPURE: [&str; 14] = [
    "tokio::",
    "std::fs",
    "std::env::",
    "std::thread",
    "std::process",
    "UdpSocket",
    "TcpListener",
    "TcpStream",
    "Instant::now",
    "SystemTime::now",
    "rand::rng()",
    "rand::random",
    "from_os_rng",
    "OsRng",
];

/// Folders of machines: homes and work folders. Written apart so that this file does not find itself.
const MACHINE_PATHS: [&str; 3] = [concat!("/", "root/"), concat!("/", "home/"), concat!("/", "work/")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let generated = name.starts_with("target")
            || name == "node_modules"
            || name == ".git"
            || name == "state"
            || name == "corpus";
        if path.is_dir() && !generated {
            files(&path, found);
        } else if path.is_file() && name != ".git" {
            found.push(path);
        }
    }
}

fn all_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found.sort();
    found
}

/// Modules of the product and of the harness: crate roots have a code map instead of a header.
fn modules() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for package in PACKAGES {
        files(&root().join(package).join("src"), &mut found);
    }
    let is_module = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        let test_module =
            name == "tests.rs" || shown(path).contains("/src/") && shown(path).contains("/tests/");
        path.extension().is_some_and(|extension| extension == "rs")
            && name != "lib.rs"
            && name != "main.rs"
            && !test_module
    };
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source file");
        (path, text)
    };
    found.into_iter().filter(is_module).map(read).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The part of a file before its unit tests.
fn product_part(text: &str) -> &str {
    let tests = ["#[cfg(test)]\nmod ", "#[cfg(all(test", "#[cfg(loom)]\nmod "]
        .iter()
        .filter_map(|start| text.find(start))
        .min();
    tests.map_or(text, |tests| &text[..tests])
}

#[test]
fn every_module_says_whether_it_is_pure_shell_or_wire() {
    let kinds = ["//! Pure:", "//! Shell:", "//! Wire:"];
    let silent: Vec<String> = modules()
        .iter()
        .filter(|(_, text)| !kinds.iter().any(|kind| text.starts_with(kind)))
        .map(|(path, _)| shown(path))
        .collect();
    assert!(silent.is_empty(), "the first line must begin with one of {kinds:?}:\n{}", silent.join("\n"));
}

#[test]
fn pure_modules_touch_no_clock_file_socket_task_or_randomness() {
    let mut found = Vec::new();
    for (path, text) in modules().iter().filter(|(_, text)| text.starts_with("//! Pure:")) {
        for (number, line) in product_part(text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            found.extend(
                IMPURE
                    .iter()
                    .filter(|word| code.contains(**word))
                    .map(|word| format!("{}:{}: {word}", shown(path), number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "below a Pure header:\n{}", found.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_can_be_read() {
    let long: Vec<String> = all_files()
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).expect("a source file").lines().count();
            (lines > LINES_MAX).then(|| format!("{}: {lines} lines", shown(path)))
        })
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_names_a_path_of_somebodys_machine() {
    let mut found = Vec::new();
    for path in all_files() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            // `spiffe://cluster/role` has none of them at its start.
            if MACHINE_PATHS.iter().any(|word| {
                line.match_indices(word).any(|(at, _)| !line[..at].ends_with(char::is_alphanumeric))
            }) {
                found.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn lock_files_of_the_browser_drivers_name_no_download_addresses() {
    let lock =
        std::fs::read_to_string(root().join("tests/browser/package-lock.json")).expect("package-lock.json");
    assert!(!lock.contains("\"resolved\""), "run npm with tests/browser/.npmrc, which leaves addresses out");
}
