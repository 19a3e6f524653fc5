//! Pure: no clock, no I/O, no async.
//!
//! The filter language: of windows of rows, and of `console get --filter`.
//!
//! Words match the row's name: `standup`. Fields compare: `state:run*` (glob), `node~eu` (part), `cpu>80`, `out>=1.5G`,
//! `age<5min`, `state!=running`. `!` turns one term round, a blank means and, `|` means or. Case does not matter in texts.

use std::borrow::Cow;

/// What a row says of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number in the field's base unit: percent, bits per second, bytes, seconds, pieces.
    Number(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Not known; matches nothing.
    Unknown,
}

/// Something that can be filtered.
pub trait Fields {
    /// What words are matched against.
    fn names(&self) -> [&str; 2];
    /// The value of a field; none for a field that does not exist.
    fn field(&self, name: &str) -> Option<Value<'_>>;
}

/// A filter that was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// As written.
    pub text: String,
    alternatives: Vec<Vec<Term>>,
}

/// Why a filter was not understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("column {column}: {what}", column = .column + 1)]
pub struct FilterError {
    /// Where, in characters from 0.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Compare { field: String, order: Order, number: f64 },
    Equal { field: String, text: String },
    Glob { field: String, pattern: String },
    Part { field: String, text: String },
    Word(String),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    Above,
    AtLeast,
    AtMost,
    Below,
    Equal,
}

/// Longest filter that is read.
const TEXT_BYTES_MAX: usize = 512;

impl Filter {
    /// Reads a filter for rows that have these fields.
    ///
    /// # Errors
    /// [`FilterError`] points at the first character that makes no sense.
    pub fn parse(text: &str, fields: &[&str]) -> Result<Self, FilterError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(FilterError { column: 0, what: format!("longer than {TEXT_BYTES_MAX} bytes") });
        }
        let mut alternatives = vec![Vec::new()];
        let mut column = 0;
        for piece in text.split_inclusive([' ', '|']) {
            let token = piece.trim_end_matches([' ', '|']);
            if !token.is_empty() {
                let term = Term::parse(token, column, fields)?;
                if let Some(terms) = alternatives.last_mut() {
                    terms.push(term);
                }
            }
            if piece.ends_with('|') {
                alternatives.push(Vec::new());
            }
            column += piece.chars().count();
        }
        // An alternative without terms would match everything: `a |` is still being typed.
        alternatives.retain(|terms| !terms.is_empty());
        Ok(Self { text: text.trim().to_owned(), alternatives })
    }

    /// Whether nothing is filtered out.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// Whether the row passes.
    #[must_use]
    pub fn matches(&self, row: &impl Fields) -> bool {
        self.is_empty() || self.alternatives.iter().any(|terms| terms.iter().all(|term| term.matches(row)))
    }
}

impl Term {
    fn parse(token: &str, column: usize, fields: &[&str]) -> Result<Self, FilterError> {
        let (negated, body) = match token.strip_prefix('!') {
            Some(body) => (true, body),
            None => (false, token),
        };
        let start = column + usize::from(negated);
        let Some(at) = body.find([':', '~', '=', '!', '<', '>']) else {
            return Ok(Self { negated, test: Test::Word(body.to_lowercase()) });
        };
        let field = body[..at].to_lowercase();
        if !fields.contains(&field.as_str()) {
            let what = format!("no field `{field}`; there are {}", fields.join(", "));
            return Err(FilterError { column: start, what });
        }
        let rest = &body[at..];
        let operator =
            ["!=", "<=", ">=", ":", "~", "=", "<", ">"].into_iter().find(|op| rest.starts_with(op));
        let operand_column = start + body[..at].chars().count() + operator.map_or(1, str::len);
        let Some(operator) = operator else {
            return Err(FilterError { column: operand_column - 1, what: "expected `!=`".to_owned() });
        };
        let operand = rest[operator.len()..].to_lowercase();
        if operand.is_empty() {
            return Err(FilterError { column: operand_column, what: "a value is missing".to_owned() });
        }
        let (test, inverse) = Self::test(field, operator, operand, operand_column)?;
        Ok(Self { negated: negated != inverse, test })
    }

    /// The test, and whether its outcome is to be turned round.
    fn test(
        field: String,
        operator: &str,
        operand: String,
        column: usize,
    ) -> Result<(Test, bool), FilterError> {
        let number = number(&operand);
        Ok(match (operator, number) {
            (":", _) => (Test::Glob { field, pattern: operand }, false),
            ("~", _) => (Test::Part { field, text: operand }, false),
            ("=" | "!=", Some(number)) => {
                (Test::Compare { field, order: Order::Equal, number }, operator == "!=")
            }
            ("=" | "!=", None) => (Test::Equal { field, text: operand }, operator == "!="),
            ("<", Some(number)) => (Test::Compare { field, order: Order::Below, number }, false),
            ("<=", Some(number)) => (Test::Compare { field, order: Order::AtMost, number }, false),
            (">", Some(number)) => (Test::Compare { field, order: Order::Above, number }, false),
            (">=", Some(number)) => (Test::Compare { field, order: Order::AtLeast, number }, false),
            _ => return Err(FilterError { column, what: format!("`{operand}` is not a number") }),
        })
    }

    fn matches(&self, row: &impl Fields) -> bool {
        self.negated != self.test.passes(row)
    }
}

impl Test {
    fn passes(&self, row: &impl Fields) -> bool {
        match self {
            Self::Compare { field, order, number } => match row.field(field) {
                Some(Value::Number(value)) => match order {
                    Order::Above => value > *number,
                    Order::AtLeast => value >= *number,
                    Order::AtMost => value <= *number,
                    Order::Below => value < *number,
                    Order::Equal => (value - number).abs() < 0.5,
                },
                Some(Value::Text(_) | Value::Unknown) | None => false,
            },
            Self::Equal { field, text } => text_of(row, field).is_some_and(|value| value == *text),
            Self::Glob { field, pattern } => text_of(row, field).is_some_and(|value| glob(pattern, &value)),
            Self::Part { field, text } => text_of(row, field).is_some_and(|value| value.contains(text)),
            Self::Word(word) => row.names().iter().any(|name| contains_folded(name, word)),
        }
    }
}

fn contains_folded(name: &str, word: &str) -> bool {
    if name.is_ascii() && word.is_ascii() {
        let (name, word) = (name.as_bytes(), word.as_bytes());
        return word.is_empty() || name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    }
    name.to_lowercase().contains(word)
}

fn text_of(row: &impl Fields, field: &str) -> Option<String> {
    match row.field(field)? {
        Value::Number(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.to_lowercase()),
        Value::Unknown => None,
    }
}

/// A number with an optional unit: amounts `k m g t` (thousands), spans `s min h d` (seconds; `ms` too), `%`.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let value: f64 = text[..end].parse().ok()?;
    let factor = match &text[end..] {
        "" | "%" | "s" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ms" => 1e-3,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Some(value * factor)
}

/// Whether a text fits a pattern in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return text.is_empty() };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row(&'static str, f64);

    impl Fields for Row {
        fn names(&self) -> [&str; 2] {
            [self.0, ""]
        }

        fn field(&self, name: &str) -> Option<Value<'_>> {
            match name {
                "name" => Some(Value::Text(self.0.into())),
                "out" => Some(Value::Number(self.1)),
                "loss" => Some(Value::Unknown),
                _ => None,
            }
        }
    }

    fn check(filter: &str, expected: bool) {
        let parsed = Filter::parse(filter, &["name", "out", "loss"]).unwrap();
        assert_eq!(parsed.matches(&Row("Standup-EU", 1.6e9)), expected, "{filter}");
    }

    #[test]
    fn terms_words_and_alternatives_are_understood() {
        for filter in [
            "",
            "stand",
            "STAND eu",
            "!lunch",
            "name:stand*",
            "name:*eu",
            "name:*and*e*",
            "name~up-",
            "out>1.5g",
            "out>=1.5G name~eu",
            "lunch | stand",
            "name!=x",
            "!out<1k",
            "out=1600m",
            "a|stand|",
        ] {
            check(filter, true);
        }
        for filter in
            ["lunch", "!stand", "name:eu", "out<1.5G", "stand lunch", "loss>1", "loss<1", "name=standup"]
        {
            check(filter, false);
        }
    }

    #[test]
    fn mistakes_are_pointed_at() {
        let column = |text: &str| Filter::parse(text, &["name", "out"]).unwrap_err().column;
        assert_eq!(column("foo cpu>3"), 4);
        assert_eq!(column("out>fast"), 4);
        assert_eq!(column("out>"), 4);
        assert_eq!(column("a !x:3"), 3);
        assert!(Filter::parse(&"x".repeat(600), &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn anything_typed_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(filter) = Filter::parse(&text, &["name", "out"]) {
                let _matched = filter.matches(&Row("x", 1.0));
            }
        }
    }
}
