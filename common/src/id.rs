//! Pure: no clock, no I/O, no async.
//!
//! Keys: one `Copy` type of 64 bits for each kind of entity. masterd's core makes them; the wire between
//! daemons, the store and the logs use them. Public names (`ses_...`, `con_...`, `str_...`) are bounded
//! strings that only the API faces, the events and file names know; masterd's core maps both ways.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Defines a key type whose text form is `prefix:hex`.
macro_rules! key {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// What the text form starts with, before the colon.
            pub const PREFIX: &'static str = $prefix;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, ":{:x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseKeyError;

            fn from_str(text: &str) -> Result<Self, ParseKeyError> {
                let digits = text
                    .strip_prefix(concat!($prefix, ":"))
                    .ok_or(ParseKeyError::Prefix { expected: $prefix })?;
                u64::from_str_radix(digits, 16).map(Self).map_err(ParseKeyError::Digits)
            }
        }
    };
}

/// Why a text is not a key.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseKeyError {
    /// The part after the colon is not a hexadecimal number of at most 64 bits.
    #[error("not a hexadecimal number")]
    Digits(#[source] ParseIntError),
    /// The text is of another kind, or of none.
    #[error("does not start with `{expected}:`")]
    Prefix { expected: &'static str },
}

key!(
    /// One start of a daemon's process; a restarted node has another one.
    BootId, "b"
);
key!(
    /// One participant's attachment to a session.
    ConnectionKey, "c"
);
key!(
    /// A stored placement decision.
    DecisionKey, "d"
);
key!(
    /// One peer connection of one participant at a media node.
    EndpointKey, "ep"
);
key!(
    /// Version of one entity's intended state; a receiver refuses lower ones.
    Generation, "g"
);
key!(
    /// A media node or a recorder, across its restarts.
    NodeKey, "n"
);
key!(
    /// One command to a node; a repeated one gets the first answer again.
    OpId, "op"
);
key!(
    /// One recording job.
    RecordingKey, "r"
);
key!(
    /// One conference.
    SessionKey, "s"
);
key!(
    /// One published stream: at most one audio and one video track.
    StreamKey, "st"
);
key!(
    /// Number of the leading master's term. Commands of a lower one are refused.
    Epoch, "e"
);
key!(
    /// Position in the event log of one session; 0 is before the first event.
    EventSeq, "q"
);

impl Generation {
    /// The next version.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl EventSeq {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip_and_name_the_kind() {
        let key = SessionKey(0x2a);
        assert_eq!(key.to_string(), "s:2a");
        assert_eq!("s:2a".parse(), Ok(key));
        assert_eq!("c:2a".parse::<SessionKey>(), Err(ParseKeyError::Prefix { expected: "s" }));
        assert!(matches!("s:zz".parse::<SessionKey>(), Err(ParseKeyError::Digits(_))));
    }
}
