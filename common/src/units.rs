//! Pure: no clock, no I/O, no async.
//!
//! Durations (`10s`), sizes (`64MiB`) and rates (`1.5Gbps`) as people write them in configuration files and on
//! command lines. Each type reads its own text, prints it again in the largest exact unit, and says with an
//! example what it expects.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time: a number and `us`, `ms`, `s`, `m`, `h` or `d`; `0` needs no unit.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Span(pub Duration);

/// An amount of bytes: a number and `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`, `TiB`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Bytes(pub u64);

/// Bits per second: a number and `bps`, `kbps`, `Mbps` or `Gbps`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Bitrate(pub u64);

/// Why a text is not a quantity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseUnitError {
    /// What was read.
    pub text: String,
    /// What it should have been, with an example.
    pub expected: &'static str,
}

/// Unit names with their size in the smallest unit, largest first.
type Table = &'static [(&'static str, u64)];

const SPANS: Table = &[
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
const SIZES: Table = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];
const RATES: Table = &[("Gbps", 1_000_000_000), ("Mbps", 1_000_000), ("kbps", 1_000), ("bps", 1)];

/// Reads `<digits>[.<digits>]<unit>` exactly, without floating point. `None` for anything else and for more than
/// 64 bits.
fn parse(text: &str, table: Table) -> Option<u64> {
    let text = text.trim();
    if text == "0" {
        return Some(0);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = table.iter().find(|(name, _)| *name == unit.trim_start())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(*factor)?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(*factor) / scale;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Writes the amount in the largest unit that divides it.
fn print(f: &mut fmt::Formatter<'_>, amount: u64, table: Table) -> fmt::Result {
    let smallest = table.last().map_or("", |(name, _)| name);
    match table.iter().find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor)) {
        Some((name, factor)) => write!(f, "{}{name}", amount / factor),
        None => write!(f, "{amount}{smallest}"),
    }
}

/// Text, serde and parsing of one quantity.
macro_rules! quantity {
    ($name:ident, $table:ident, $expected:literal, |$amount:ident| $from:expr, |$this:ident| $into:expr) => {
        impl $name {
            /// What a text of this type looks like.
            pub const EXPECTED: &'static str = $expected;
        }

        impl FromStr for $name {
            type Err = ParseUnitError;

            fn from_str(text: &str) -> Result<Self, ParseUnitError> {
                match parse(text, $table) {
                    Some($amount) => Ok($from),
                    None => Err(ParseUnitError { text: text.to_owned(), expected: $expected }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $this = self;
                print(f, $into, $table)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    };
}

quantity!(
    Span,
    SPANS,
    "a duration such as `500ms`, `10s`, `5m` or `24h`",
    |amount| Self(Duration::from_micros(amount)),
    |this| u64::try_from(this.0.as_micros()).unwrap_or(u64::MAX)
);
quantity!(Bytes, SIZES, "a size such as `512KiB`, `64MiB` or `10GB`", |amount| Self(amount), |this| this.0);
quantity!(Bitrate, RATES, "a rate such as `300kbps`, `2.5Mbps` or `1Gbps`", |amount| Self(amount), |this| {
    this.0
});

impl Span {
    /// A whole number of milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A whole number of seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        assert_eq!("500ms".parse(), Ok(Span::from_millis(500)));
        assert_eq!("1.5h".parse(), Ok(Span::from_secs(5400)));
        assert_eq!("0".parse(), Ok(Span::from_secs(0)));
        assert_eq!("64 MiB".parse(), Ok(Bytes(64 << 20)));
        assert_eq!("10GB".parse(), Ok(Bytes(10_000_000_000)));
        assert_eq!("1.5Gbps".parse(), Ok(Bitrate(1_500_000_000)));
    }

    #[test]
    fn quantities_are_printed_in_the_largest_exact_unit() {
        assert_eq!(Span::from_secs(90).to_string(), "90s");
        assert_eq!(Span::from_secs(86_400).to_string(), "1d");
        assert_eq!(Span::from_secs(0).to_string(), "0us");
        assert_eq!(Bytes(64 << 20).to_string(), "64MiB");
        assert_eq!(Bitrate(2_500_000).to_string(), "2500kbps");
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_an_example() {
        for text in
            ["", "10", "s", "-1s", "1.s", ".5s", "1.2.3s", "10 parsec", "99999999999999999999s", "1e3s"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        let error = "10".parse::<Span>().unwrap_err();
        assert_eq!(error.to_string(), "`10` is not a duration such as `500ms`, `10s`, `5m` or `24h`");
    }

    proptest! {
        #[test]
        fn printed_quantities_read_back(amount: u64) {
            prop_assert_eq!(Bytes(amount).to_string().parse(), Ok(Bytes(amount)));
            prop_assert_eq!(Bitrate(amount).to_string().parse(), Ok(Bitrate(amount)));
            let span = Span(Duration::from_micros(amount));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn rubbish_never_panics(text in "\\PC{0,24}") {
            prop_assert!(text.parse::<Span>().is_ok() || text.parse::<Span>().is_err());
        }
    }
}
