//! Shell: reads the file. The layers of a configuration as one tree; each value knows where it is written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// Where a value is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Nowhere: the built-in value.
    Default,
    /// In an environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// In the configuration file.
    File {
        /// The file.
        path: Arc<Path>,
        /// Line, from 1.
        line: usize,
    },
    /// In a `--set` flag.
    Flag {
        /// The key as given.
        key: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag { key } => write!(f, "flag --set {key}"),
        }
    }
}

pub(super) type Table = BTreeMap<String, Node>;

/// One value with its origin.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Array(Vec<Node>),
    Bool(bool),
    Float(f64),
    Integer(i64),
    Table(Table),
    /// A string of the file.
    Text(String),
    /// From the environment or a flag: becomes what the key needs.
    Untyped(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Array(_) => f.write_str("[..]"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Table(_) => f.write_str("{..}"),
            Self::Text(text) | Self::Untyped(text) => write!(f, "{text:?}"),
        }
    }
}

impl Node {
    /// The node at `section.key`.
    pub(super) fn find(&self, key: &str) -> Option<&Self> {
        let mut node = self;
        for part in key.split('.') {
            let Value::Table(table) = &node.value else { return None };
            node = table.get(part)?;
        }
        Some(node)
    }

    /// Writes over what lower layers say of `section.key`.
    pub(super) fn set(&mut self, key: &str, text: String, origin: &Origin) -> Result<(), ConfigError> {
        if key.split('.').any(str::is_empty) {
            return Err(ConfigError::Unknown {
                origin: origin.clone(),
                key: key.to_owned(),
                allowed: vec!["section.key".to_owned()],
            });
        }
        self.put(key, Self { value: Value::Untyped(text), origin: origin.clone() });
        Ok(())
    }

    fn put(&mut self, key: &str, node: Self) {
        let (first, rest) = match key.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (key, None),
        };
        if !matches!(self.value, Value::Table(_)) {
            self.value = Value::Table(Table::new());
        }
        let Value::Table(table) = &mut self.value else { return };
        match rest {
            None => drop(table.insert(first.to_owned(), node)),
            Some(rest) => {
                let empty = Self { value: Value::Table(Table::new()), origin: node.origin.clone() };
                table.entry(first.to_owned()).or_insert(empty).put(rest, node);
            }
        }
    }
}

/// Reads a TOML file.
pub(super) fn read_file(path: &Path) -> Result<Node, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let document = DeTable::parse(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_at(&text, error.span().map_or(0, |span| span.start)),
        what: error.message().to_owned(),
    })?;
    let shared: Arc<Path> = path.into();
    let at = |offset| Origin::File { path: Arc::clone(&shared), line: line_at(&text, offset) };
    Ok(Node { value: Value::Table(convert_table(document.get_ref(), &at)?), origin: at(0) })
}

/// Reads one TOML value out of an environment variable or a flag.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    convert("", &value, &|_| origin.clone()).ok()
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn convert_table(table: &DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Result<Table, ConfigError> {
    let mut converted = Table::new();
    for (key, value) in table {
        let mut node = convert(key.get_ref(), value, at)?;
        // The key's line is what a reader looks for; a long array may end far below it.
        node.origin = at(key.span().start);
        converted.insert(key.get_ref().to_string(), node);
    }
    Ok(converted)
}

fn convert(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    at: &dyn Fn(usize) -> Origin,
) -> Result<Node, ConfigError> {
    let origin = at(value.span().start);
    let wrong = |text: &str, expected: &str| ConfigError::Wrong {
        origin: origin.clone(),
        key: key.to_owned(),
        value: text.to_owned(),
        expected: expected.to_owned(),
    };
    let value = match value.get_ref() {
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| convert(key, item, at)).collect::<Result<_, _>>()?)
        }
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(value) => Value::Text(value.to_string()),
        DeValue::Float(value) => Value::Float(
            value
                .as_str()
                .parse()
                .map_err(|_not_a_number| wrong(value.as_str(), "a floating point number"))?,
        ),
        DeValue::Integer(value) => Value::Integer(
            i64::from_str_radix(value.as_str(), value.radix())
                .map_err(|_not_a_number| wrong(value.as_str(), "a whole number of 64 bits"))?,
        ),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Table(table) => Value::Table(convert_table(table, at)?),
    };
    Ok(Node { value, origin })
}
