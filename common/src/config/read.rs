//! Pure: no clock, no I/O, no async.
//!
//! From the tree to the program's struct: a serde deserialiser whose errors know key and origin.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};

use super::tree::{Node, Table, Value, parse_value};
use super::{ConfigError, Origin};

/// A path in a configuration: in a file relative to the file's folder, elsewhere to the working directory.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename = "plenum::FilePath")]
pub struct FilePath(pub PathBuf);

/// serde's name of [`FilePath`], by which the deserialiser knows it.
const FILE_PATH: &str = "plenum::FilePath";

impl From<&str> for FilePath {
    fn from(path: &str) -> Self {
        Self(path.into())
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// Turns the tree into the program's struct.
pub(super) fn read<T: DeserializeOwned>(tree: &Node) -> Result<T, ConfigError> {
    T::deserialize(Reader { node: tree, key: "" }).map_err(ConfigError::from)
}

/// A serde error that learns on its way out where it belongs.
#[derive(Debug)]
pub(super) struct Fault {
    what: What,
    at: Option<At>,
}

#[derive(Debug)]
enum What {
    Expected(String),
    Message(String),
    Missing(&'static str),
    Unknown(Vec<String>),
}

#[derive(Debug)]
struct At {
    key: String,
    origin: Origin,
    value: String,
}

impl Fault {
    fn new(what: What) -> Self {
        Self { what, at: None }
    }

    /// Notes the place, unless a deeper one is noted already.
    fn at(mut self, reader: Reader<'_>) -> Self {
        self.at.get_or_insert_with(|| At {
            key: reader.key.to_owned(),
            origin: reader.node.origin.clone(),
            value: reader.node.value.to_string(),
        });
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Message(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(What::Expected(in_words(&expected.to_string())))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(What::Expected(in_words(&expected.to_string())))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::Missing(field))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        let names: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
        Self::new(What::Expected(format!("one of {}", names.join(", "))))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(What::Unknown(expected.iter().map(|&name| name.to_owned()).collect()))
    }
}

/// serde names types as Rust does; people who write configuration files do not.
fn in_words(expected: &str) -> String {
    match expected {
        "a boolean" => "`true` or `false`".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, not below 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        other => other.to_owned(),
    }
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        let At { key, origin, value } =
            fault.at.unwrap_or(At { key: String::new(), origin: Origin::Default, value: String::new() });
        match fault.what {
            What::Expected(expected) => Self::Wrong { origin, key, value, expected },
            What::Message(message) => {
                Self::Wrong { origin, key, value, expected: format!("another value ({message})") }
            }
            What::Missing(field) => {
                Self::Missing { key: join(&key, field), expected: "it has no default".to_owned() }
            }
            What::Unknown(allowed) => Self::Unknown { origin, key, allowed },
        }
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// Deserialiser of one node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    key: &'a str,
}

impl<'a> Reader<'a> {
    fn located<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| fault.at(self))
    }

    /// What the value is in TOML; untyped text is what it looks like.
    fn plain<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Array(items) => visitor.visit_seq(Items { items, index: 0, key: self.key }),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Table(table) => visitor.visit_map(Entries::new(table, self.key)),
            Value::Text(text) | Value::Untyped(text) => visitor.visit_str(text),
        }
    }

    /// A number or a truth value out of untyped text.
    fn scalar<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Untyped(text) = &self.node.value else { return self.plain(visitor) };
        let text = text.trim();
        if let Ok(value) = text.parse::<i64>() {
            visitor.visit_i64(value)
        } else if let Ok(value) = text.parse::<u64>() {
            visitor.visit_u64(value)
        } else if let Ok(value) = text.parse::<bool>() {
            visitor.visit_bool(value)
        } else if let Ok(value) = text.parse::<f64>() {
            visitor.visit_f64(value)
        } else {
            visitor.visit_str(text)
        }
    }

    /// A list out of untyped text: TOML, or parts between commas.
    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Untyped(text) = &self.node.value else { return self.plain(visitor) };
        if text.trim_start().starts_with('[') {
            return match parse_value(text.trim(), &self.node.origin) {
                Some(node) => Reader { node: &node, key: self.key }.plain(visitor),
                None => {
                    Err(Fault::new(What::Expected("a list such as `a,b` or `[\"a\", \"b\"]`".to_owned())))
                }
            };
        }
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let items: Vec<Node> = parts
            .map(|part| Node { value: Value::Untyped(part.to_owned()), origin: self.node.origin.clone() })
            .collect();
        visitor.visit_seq(Items { items: &items, index: 0, key: self.key })
    }

    /// A table out of untyped text.
    fn table<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Value::Untyped(text) = &self.node.value
            && text.trim_start().starts_with('{')
            && let Some(node) = parse_value(text.trim(), &self.node.origin)
        {
            return Reader { node: &node, key: self.key }.plain(visitor);
        }
        self.plain(visitor)
    }

    /// Refuses what the struct does not have, whether or not it says `deny_unknown_fields`.
    fn check_fields(self, fields: &'static [&'static str]) -> Result<(), Fault> {
        let Value::Table(table) = &self.node.value else { return Ok(()) };
        let Some((name, node)) = table.iter().find(|(name, _)| !fields.contains(&name.as_str())) else {
            return Ok(());
        };
        let unknown: Fault = de::Error::unknown_field(name, fields);
        Err(unknown.at(Reader { node, key: &join(self.key, name) }))
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.located(self.scalar(visitor))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.located(self.plain(visitor))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.located(self.plain(visitor))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.located(self.list(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.located(self.list(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.located(self.table(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.check_fields(fields)?;
        self.located(self.table(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.located(visitor.visit_some(self))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == FILE_PATH
            && let Value::Text(text) = &self.node.value
            && let Origin::File { path, .. } = &self.node.origin
            && let Some(folder) = path.parent()
            && let Some(joined) = folder.join(text).to_str()
        {
            let joined: StrDeserializer<'_, Fault> = joined.into_deserializer();
            return self.located(visitor.visit_newtype_struct(joined));
        }
        self.located(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = match &self.node.value {
            Value::Text(text) | Value::Untyped(text) => visitor.visit_enum(Variant { text: text.trim() }),
            Value::Table(table) => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries::new(table, self.key)))
            }
            Value::Array(_) | Value::Bool(_) | Value::Float(_) | Value::Integer(_) => {
                Err(de::Error::unknown_variant("", variants))
            }
        };
        self.located(result)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct
        identifier ignored_any
    }
}

/// Elements of a list.
struct Items<'a> {
    items: &'a [Node],
    index: usize,
    key: &'a str,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.get(self.index) else { return Ok(None) };
        let key = format!("{}[{}]", self.key, self.index);
        self.index += 1;
        let reader = Reader { node, key: &key };
        reader.located(seed.deserialize(reader)).map(Some)
    }
}

/// Entries of a table.
struct Entries<'a> {
    entries: std::collections::btree_map::Iter<'a, String, Node>,
    present: Option<(&'a str, &'a Node)>,
    section: &'a str,
}

impl<'a> Entries<'a> {
    fn new(table: &'a Table, section: &'a str) -> Self {
        Self { entries: table.iter(), present: None, section }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((name, node)) = self.entries.next() else { return Ok(None) };
        self.present = Some((name, node));
        let text: StrDeserializer<'_, Fault> = name.as_str().into_deserializer();
        let key = join(self.section, name);
        seed.deserialize(text).map(Some).map_err(|fault| fault.at(Reader { node, key: &key }))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (name, node) =
            self.present.take().ok_or_else(|| Fault::new(What::Message("no entry".to_owned())))?;
        let key = join(self.section, name);
        // A type that reads a text and then refuses it knows no place.
        let reader = Reader { node, key: &key };
        reader.located(seed.deserialize(reader))
    }
}

/// A variant that is only a name.
struct Variant<'a> {
    text: &'a str,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let text: StrDeserializer<'_, Fault> = self.text.into_deserializer();
        Ok((seed.deserialize(text)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Fault> {
        Err(Fault::new(What::Expected(format!("a table `{{ {} = .. }}`", self.text))))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::new(What::Expected(format!("a table `{{ {} = [..] }}`", self.text))))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Fault> {
        Err(Fault::new(What::Expected(format!("a table `{{ {} = {{..}} }}`", self.text))))
    }
}
