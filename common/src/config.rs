//! Shell: reads configuration files and the environment.
//!
//! One TOML file for each daemon, in sections. Precedence, lowest first: built-in defaults, file, environment
//! (`MASTERD_SECTION__KEY`), flags (`--set section.key=value`). Unknown keys are refused with what is allowed there;
//! wrong values are refused with file, line, key, value and what is expected. Values from the environment and from
//! flags are untyped text: lists are written `a,b` or as TOML (`["a", "b"]`).
//!
//! Environment variables without `__` are left alone: orchestrators set some of their own that begin like ours
//! (`MASTERD_PORT`, `MASTERD_SERVICE_HOST`). The one exception is `MASTERD_CONFIG`, the file to read.
//!
//! Two steps: a raw struct of what is written (`#[serde(default)]`, one struct for each section, with
//! [`Span`](crate::units::Span), [`Bytes`](crate::units::Bytes), [`FilePath`]) becomes checked settings once:
//!
//! ```
//! use common::config::{CommonArgs, ConfigError, FilePath, Loaded, Settled};
//! use common::units::Span;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Deserialize, Serialize)]
//! #[serde(default)]
//! struct Raw { link: Link, state: State }
//!
//! #[derive(Deserialize, Serialize)]
//! #[serde(default)]
//! struct Link { port: u16, idle_timeout: Span }
//! impl Default for Link {
//!     fn default() -> Self { Self { port: 7443, idle_timeout: Span::from_secs(3) } }
//! }
//!
//! #[derive(Deserialize, Serialize)]
//! #[serde(default)]
//! struct State { dir: FilePath }
//! impl Default for State {
//!     fn default() -> Self { Self { dir: FilePath::from("/var/lib/plenum/masterd") } }
//! }
//!
//! struct Settings { port: u16 }
//!
//! fn check(loaded: &Loaded<Raw>) -> Result<Settings, ConfigError> {
//!     let port = loaded.value.link.port;
//!     if port == 0 {
//!         return Err(loaded.refuse("link.port", "a port number from 1 to 65535"));
//!     }
//!     Ok(Settings { port })
//! }
//!
//! let args = CommonArgs { set: vec!["link.port=7500".to_owned()], ..CommonArgs::default() };
//! match common::config::settle("masterd", &args, check) {
//!     Ok(Settled::Run(settings)) => assert_eq!(settings.port, 7500),
//!     Ok(Settled::Shown(text)) => common::exit::say(&text), // --check-config, --print-config
//!     Err(error) => panic!("{error}"),
//! }
//! ```

mod read;
mod render;
mod tree;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::read::FilePath;
pub use self::tree::Origin;
use self::tree::{Node, Value};

/// Flags that every program takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CommonArgs {
    /// Configuration file (TOML); without it the file that the environment variable PROGRAM_CONFIG names, or
    /// /etc/plenum/PROGRAM.toml where it exists
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Override one value, as `section.key=value`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Check the configuration and end
    #[arg(long)]
    pub check_config: bool,
    /// Show every value with where it comes from, and end
    #[arg(long)]
    pub print_config: bool,
}

/// Why there is no usable configuration. The text says what to change and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A `--set` flag is not `section.key=value`.
    #[error("--set {text}: expected `section.key=value`")]
    Flag {
        /// The flag as given.
        text: String,
    },
    /// A file that the configuration names cannot be used.
    #[error("{path}: {what}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is the matter, and what to do.
        what: String,
    },
    /// A value without a default is not set.
    #[error("`{key}` is not set: {expected}")]
    Missing {
        /// Which.
        key: String,
        /// What to write.
        expected: String,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}:{line}: {what}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// No such key.
    #[error("{origin}: unknown key `{key}`; {}", allowed_text(allowed))]
    Unknown {
        /// Where it is written.
        origin: Origin,
        /// The key with its sections.
        key: String,
        /// The keys that exist there.
        allowed: Vec<String>,
    },
    /// The value is of the wrong type, or out of range.
    #[error("{origin}: `{key}` = {value}: expected {expected}")]
    Wrong {
        /// Where it is written.
        origin: Origin,
        /// The key with its sections.
        key: String,
        /// As written.
        value: String,
        /// What is allowed.
        expected: String,
    },
}

fn allowed_text(allowed: &[String]) -> String {
    if allowed.is_empty() {
        return "no key is allowed here".to_owned();
    }
    let quoted: Vec<String> = allowed.iter().map(|key| format!("`{key}`")).collect();
    format!("allowed here: {}", quoted.join(", "))
}

/// A configuration as written, and where each value comes from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The raw values.
    pub value: T,
    /// The file that was read.
    pub file: Option<PathBuf>,
    tree: Node,
}

/// What a program does after [`settle`].
#[derive(Debug)]
pub enum Settled<S> {
    /// Run with these settings.
    Run(S),
    /// Print this and end: `--check-config` or `--print-config`.
    Shown(String),
}

impl<T> Loaded<T> {
    /// Where the value of `section.key` comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.tree.find(key).map_or(Origin::Default, |node| node.origin.clone())
    }

    /// The error for a value that was read but is not acceptable. `expected` completes the sentence "expected ...".
    #[must_use]
    pub fn refuse(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        match self.tree.find(key) {
            Some(node) => ConfigError::Wrong {
                origin: node.origin.clone(),
                key: key.to_owned(),
                value: node.value.to_string(),
                expected: expected.into(),
            },
            None => ConfigError::Missing { key: key.to_owned(), expected: expected.into() },
        }
    }
}

impl<T: Serialize> Loaded<T> {
    /// The whole configuration as TOML, each value with its origin as a comment. Values that are not set and have no
    /// default are absent.
    #[must_use]
    pub fn render(&self) -> String {
        render::render(&self.value, &self.tree)
    }
}

/// Loads the configuration of `program` (lower case) from the file, the process's environment and `args`.
///
/// # Errors
/// [`ConfigError`]; the first problem found.
pub fn load<T: DeserializeOwned>(program: &str, args: &CommonArgs) -> Result<Loaded<T>, ConfigError> {
    let environment = std::env::vars_os().filter_map(|(key, value)| {
        // A variable that is not Unicode cannot be one of ours: our names and values are text.
        Some((key.into_string().ok()?, value.into_string().ok()?))
    });
    load_from(program, args, environment)
}

/// As [`load`], with the environment passed in.
///
/// # Errors
/// [`ConfigError`]; the first problem found.
pub fn load_from<T: DeserializeOwned>(
    program: &str,
    args: &CommonArgs,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded<T>, ConfigError> {
    let prefix = format!("{}_", program.to_ascii_uppercase().replace('-', "_"));
    let mut variables = Vec::new();
    let mut named = None;
    for (name, text) in environment {
        let Some(key) = name.strip_prefix(&prefix) else { continue };
        if key == "CONFIG" {
            named = Some(PathBuf::from(text));
        } else if key.contains("__") {
            variables.push((key.replace("__", ".").to_ascii_lowercase(), name, text));
        }
    }
    variables.sort();

    let file = args.config.clone().or(named).or_else(|| standard_file(program));
    let mut tree = match &file {
        Some(path) => tree::read_file(path)?,
        None => Node { value: Value::Table(tree::Table::new()), origin: Origin::Default },
    };
    for (key, name, text) in variables {
        tree.set(&key, text, &Origin::Environment { name })?;
    }
    for text in &args.set {
        let (key, value) = text.split_once('=').ok_or_else(|| ConfigError::Flag { text: text.clone() })?;
        let origin = Origin::Flag { key: key.trim().to_owned() };
        tree.set(key.trim(), value.to_owned(), &origin)?;
    }
    let value = read::read(&tree)?;
    Ok(Loaded { value, file, tree })
}

/// The file of an installed program, where it exists.
fn standard_file(program: &str) -> Option<PathBuf> {
    let path = Path::new("/etc/plenum").join(format!("{program}.toml"));
    path.exists().then_some(path)
}

/// Loads the configuration, turns it into settings with `check`, and carries out `--check-config` and
/// `--print-config`.
///
/// # Errors
/// [`ConfigError`] of the loading or of `check`; the program ends with [`Exit::Config`](crate::exit::Exit::Config).
pub fn settle<T: DeserializeOwned + Serialize, S>(
    program: &str,
    args: &CommonArgs,
    check: impl FnOnce(&Loaded<T>) -> Result<S, ConfigError>,
) -> Result<Settled<S>, ConfigError> {
    let loaded = load::<T>(program, args)?;
    if args.print_config {
        return Ok(Settled::Shown(loaded.render()));
    }
    let settings = check(&loaded)?;
    if args.check_config {
        let from =
            loaded.file.as_ref().map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
        return Ok(Settled::Shown(format!("configuration is good ({from})\n")));
    }
    Ok(Settled::Run(settings))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::units::{Bytes, Span};

    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(default)]
    struct Raw {
        http: Http,
        state: State,
        labels: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(default)]
    struct Http {
        port: u16,
        timeout: Span,
        body: Bytes,
        format: Format,
        origins: Vec<String>,
        ports: Vec<u16>,
        secret: Option<String>,
    }

    impl Default for Http {
        fn default() -> Self {
            Self {
                port: 4443,
                timeout: Span::from_secs(10),
                body: Bytes(1 << 20),
                format: Format::Text,
                origins: Vec::new(),
                ports: Vec::new(),
                secret: None,
            }
        }
    }

    #[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Format {
        Text,
        Json,
    }

    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(default)]
    struct State {
        dir: FilePath,
    }

    fn load(text: &str, env: &[(&str, &str)], set: &[&str]) -> (Result<Loaded<Raw>, String>, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("masterd.toml");
        std::fs::write(&path, text).unwrap();
        let args = CommonArgs {
            config: Some(path.clone()),
            set: set.iter().map(|&s| s.to_owned()).collect(),
            ..CommonArgs::default()
        };
        let env = env.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
        (load_from("masterd", &args, env).map_err(|error| error.to_string()), path)
    }

    fn refusal(text: &str, env: &[(&str, &str)], set: &[&str]) -> String {
        let (result, path) = load(text, env, set);
        result.unwrap_err().replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn later_layers_win_over_earlier_ones() {
        let file = "[http]\nport = 1\ntimeout = \"1s\"\nbody = \"2MiB\"\n";
        let env = [
            ("MASTERD_HTTP__TIMEOUT", "2s"),
            ("MASTERD_HTTP__BODY", "3MiB"),
            ("MASTERD_PORT", "tcp://10.0.0.1"),
        ];
        let (loaded, path) = load(file, &env, &["http.body=4MiB", "http.format=json"]);
        let loaded = loaded.unwrap();
        let http = &loaded.value.http;
        assert_eq!((http.port, http.timeout, http.body), (1, Span::from_secs(2), Bytes(4 << 20)));
        assert_eq!(http.format, Format::Json);
        assert_eq!(loaded.origin("http.port"), Origin::File { path: path.into(), line: 2 });
        assert_eq!(
            loaded.origin("http.timeout"),
            Origin::Environment { name: "MASTERD_HTTP__TIMEOUT".to_owned() }
        );
        assert_eq!(loaded.origin("http.body"), Origin::Flag { key: "http.body".to_owned() });
        assert_eq!(loaded.origin("http.origins"), Origin::Default);
    }

    #[test]
    fn untyped_text_becomes_what_the_key_needs() {
        let set =
            ["http.origins=a, b", "http.ports=[1, 2]", "http.secret=007", "labels.zone=eu", "http.port=7"];
        let loaded = load("", &[], &set).0.unwrap();
        assert_eq!(loaded.value.http.origins, ["a", "b"]);
        assert_eq!(loaded.value.http.ports, [1, 2]);
        assert_eq!(loaded.value.http.secret.as_deref(), Some("007"));
        assert_eq!(loaded.value.labels["zone"], "eu");
        assert_eq!(loaded.value.http.port, 7);
    }

    #[test]
    fn unknown_keys_are_refused_with_what_is_allowed() {
        let all = "`port`, `timeout`, `body`, `format`, `origins`, `ports`, `secret`";
        assert_eq!(
            refusal("[http]\n\nprot = 1\n", &[], &[]),
            format!("FILE:3: unknown key `http.prot`; allowed here: {all}")
        );
        assert_eq!(
            refusal("[htpt]\nport = 1\n", &[], &[]),
            "FILE:1: unknown key `htpt`; allowed here: `http`, `state`, `labels`"
        );
        assert_eq!(
            refusal("", &[("MASTERD_HTTP__PROT", "1")], &[]),
            format!("environment variable MASTERD_HTTP__PROT: unknown key `http.prot`; allowed here: {all}")
        );
        assert_eq!(
            refusal("", &[], &["http.prot=1"]),
            format!("flag --set http.prot: unknown key `http.prot`; allowed here: {all}")
        );
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_expected() {
        assert_eq!(
            refusal("[http]\nport = \"seven\"\n", &[], &[]),
            "FILE:2: `http.port` = \"seven\": expected a whole number from 0 to 65535"
        );
        assert_eq!(
            refusal("[http]\nport = 70000\n", &[], &[]),
            "FILE:2: `http.port` = 70000: expected a whole number from 0 to 65535"
        );
        assert_eq!(
            refusal("[http]\ntimeout = 10\n", &[], &[]),
            "FILE:2: `http.timeout` = 10: expected a duration such as `500ms`, `10s`, `5m` or `24h`"
        );
        assert_eq!(
            refusal("[http]\norigins = [\"a\",\n 5]\n", &[], &[]),
            "FILE:3: `http.origins[1]` = 5: expected a string"
        );
        assert_eq!(
            refusal("[http]\nformat = \"xml\"\n", &[], &[]),
            "FILE:2: `http.format` = \"xml\": expected one of `text`, `json`"
        );
        assert_eq!(
            refusal("", &[("MASTERD_HTTP__PORT", "x")], &[]),
            "environment variable MASTERD_HTTP__PORT: `http.port` = \"x\": expected a whole number from 0 to 65535"
        );
        assert_eq!(refusal("", &[], &["http=1"]), "flag --set http: `http` = \"1\": expected struct Http");
        assert_eq!(refusal("", &[], &["http"]), "--set http: expected `section.key=value`");
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused_with_its_line() {
        assert!(refusal("[http]\nport = = 1\n", &[], &[]).starts_with("FILE:2: "));
        assert!(refusal("[http]\nport = 1\nport = 2\n", &[], &[]).starts_with("FILE:3: "));
    }

    #[test]
    fn a_missing_file_is_named() {
        let args = CommonArgs { config: Some("no/such/file.toml".into()), ..CommonArgs::default() };
        let error = load_from::<Raw>("masterd", &args, []).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the configuration file no/such/file.toml");
    }

    #[test]
    fn relative_paths_in_a_file_are_relative_to_the_file() {
        let (loaded, path) = load("[state]\ndir = \"data\"\n", &[], &[]);
        assert_eq!(loaded.unwrap().value.state.dir.0, path.with_file_name("data"));
        let loaded = load("", &[], &["state.dir=data"]).0.unwrap();
        assert_eq!(loaded.value.state.dir.0, Path::new("data"));
    }

    #[test]
    fn the_printed_configuration_names_origins_and_is_readable_again() {
        let (loaded, path) = load("[http]\nport = 1\n", &[], &["labels.zone=eu"]);
        let loaded = loaded.unwrap();
        let text = loaded.render().replace(&path.display().to_string(), "FILE");
        assert!(text.starts_with("[http]\nbody = \"1MiB\"  # default\n"), "{text}");
        assert!(text.contains("\nport = 1  # FILE:2\n"), "{text}");
        assert!(text.contains("[labels]\nzone = \"eu\"  # flag --set labels.zone\n"), "{text}");
        assert!(text.contains("origins = []  # default\n"), "{text}");
        let again = load(&text, &[], &[]).0.unwrap();
        assert_eq!(again.value.http.port, 1);
    }

    #[test]
    fn a_refused_value_says_where_it_is_written() {
        let loaded = load("[http]\nport = 0\n", &[], &[]).0.unwrap();
        let error = loaded.refuse("http.port", "a port above 0").to_string();
        assert!(error.ends_with("masterd.toml:2: `http.port` = 0: expected a port above 0"), "{error}");
        let error = loaded.refuse("http.secret", "the API secret").to_string();
        assert_eq!(error, "`http.secret` is not set: the API secret");
    }
}
