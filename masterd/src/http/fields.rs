//! Pure: no clock, no I/O, no async.
//!
//! Reads the fields of a JSON body as OpenVidu's clients send them: a null is an absent field, an integer may arrive
//! as a double, unknown fields are ignored.

use serde_json::{Map, Value};

/// A field of the wrong kind, or a value that is not allowed. The text goes into the answer's `message`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct FieldError(pub String);

/// The fields of one object.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The value, where it is there and not null.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    ///
    /// # Errors
    /// When it is something else.
    pub fn string(&self, name: &str) -> Result<Option<&'a str>, FieldError> {
        self.value(name).map(|value| value.as_str().ok_or_else(|| wrong(name, "a string"))).transpose()
    }

    /// True or false.
    ///
    /// # Errors
    /// When it is something else.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, FieldError> {
        self.value(name).map(|value| value.as_bool().ok_or_else(|| wrong(name, "a boolean"))).transpose()
    }

    /// A whole number; `25.0` is one, and `25.9` is cut to 25.
    ///
    /// # Errors
    /// When it is something else, or beyond 2^53.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, FieldError> {
        self.value(name).map(|value| integer(value).ok_or_else(|| wrong(name, "a number"))).transpose()
    }

    /// An object.
    ///
    /// # Errors
    /// When it is something else.
    pub fn object(&self, name: &str) -> Result<Option<Self>, FieldError> {
        self.value(name)
            .map(|value| value.as_object().map(Fields).ok_or_else(|| wrong(name, "an object")))
            .transpose()
    }

    /// A list.
    ///
    /// # Errors
    /// When it is something else.
    pub fn array(&self, name: &str) -> Result<Option<&'a [Value]>, FieldError> {
        self.value(name)
            .map(|value| value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(name, "an array")))
            .transpose()
    }
}

/// The error for a field of the wrong kind.
#[must_use]
pub fn wrong(name: &str, expected: &str) -> FieldError {
    FieldError(format!("Parameter '{name}' is not {expected}"))
}

/// The error for a value that is not one of a list.
#[must_use]
pub fn undefined(name: &str, value: &str) -> FieldError {
    FieldError(format!("Parameter '{name}' {value} is not defined"))
}

#[expect(clippy::cast_possible_truncation, reason = "checked against the range in which a double is exact")]
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.abs() <= EXACT_MAX).then(|| number.trunc() as i64)
    })
}

/// Beyond this a double does not tell neighbouring integers apart.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_is_absent_and_doubles_are_integers() {
        let body = json!({"a": null, "n": 25.0, "m": 25.9, "s": "x", "big": 1e300});
        let fields = Fields(body.as_object().unwrap());
        assert_eq!(fields.string("a"), Ok(None));
        assert_eq!(fields.integer("n"), Ok(Some(25)));
        assert_eq!(fields.integer("m"), Ok(Some(25)));
        assert_eq!(fields.string("s"), Ok(Some("x")));
        assert!(fields.integer("big").is_err());
        assert_eq!(fields.boolean("s"), Err(FieldError("Parameter 's' is not a boolean".to_owned())));
        assert!(fields.object("n").is_err());
        assert!(fields.array("n").is_err());
    }
}
