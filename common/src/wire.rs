//! Wire: what crosses a process boundary, and its version.
//!
//! Every message travels as one [`Envelope`] in one length-prefixed frame (`frame.rs`). The envelope's `kind`
//! says which message its `body` holds, so that a receiver can skip or refuse a kind that it does not know
//! without losing the connection. Enum variants and kinds are append-only; a released struct never changes its
//! fields, additions go to its `ext` list or to a new kind.

mod bytes;
pub mod enroll;
pub mod frame;
pub mod media;
pub mod node;
pub mod operator;
pub mod recording;
pub mod statistics;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, OpId};

/// One message between daemons, before its body is decoded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Which message `body` holds.
    pub kind: u16,
    /// Slice of the sessions that the sending master leads; always 0 for now.
    pub shard: u16,
    /// The sending master's epoch, or the highest one that the sending node has seen.
    pub epoch: Epoch,
    /// Pairs a command with its answer; 0 where no answer is expected.
    pub op: OpId,
    /// The receiver drops a command that it cannot start within this time; 0 is no limit.
    pub deadline_ms: u32,
    /// Postcard bytes of the message.
    #[serde(with = "bytes")]
    pub body: Vec<u8>,
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not decode as the message that `kind` names.
    #[error("malformed message of kind {kind}")]
    Malformed {
        /// Kind as sent.
        kind: u16,
        /// What the decoder said.
        #[source]
        source: postcard::Error,
    },
    /// Bytes are left over after the message.
    #[error("{left} bytes after the message of kind {kind}")]
    Trailing {
        /// Kind as sent.
        kind: u16,
        /// How many bytes.
        left: usize,
    },
    /// A newer peer sent a kind that this build does not know; answered with `Unsupported`.
    #[error("unknown message kind {kind}")]
    UnknownKind {
        /// Kind as sent.
        kind: u16,
    },
}

/// A message of one direction of one protocol: an enum with a stable number for each variant.
pub trait Message: Sized {
    /// The number that says on the wire which variant this is.
    fn kind(&self) -> u16;
    /// Postcard bytes of the variant's content.
    fn encode_body(&self) -> Vec<u8>;
    /// Reads a message back.
    ///
    /// # Errors
    /// [`DecodeError`]; never panics and never allocates more than the body's length justifies.
    fn decode(kind: u16, body: &[u8]) -> Result<Self, DecodeError>;

    /// Wraps the message for sending.
    fn envelope(&self, epoch: Epoch, op: OpId, deadline_ms: u32) -> Envelope {
        Envelope { kind: self.kind(), shard: 0, epoch, op, deadline_ms, body: self.encode_body() }
    }
}

/// Defines the closed enum of one direction: each variant holds the struct of the same name.
macro_rules! messages {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $kind:literal => $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[$vmeta])* $variant($variant),)+
        }

        impl $crate::wire::Message for $name {
            fn kind(&self) -> u16 {
                match self {
                    $(Self::$variant(_) => $kind,)+
                }
            }

            fn encode_body(&self) -> Vec<u8> {
                match self {
                    $(Self::$variant(content) => $crate::wire::encode(content),)+
                }
            }

            fn decode(kind: u16, body: &[u8]) -> Result<Self, $crate::wire::DecodeError> {
                match kind {
                    $($kind => $crate::wire::decode(kind, body).map(Self::$variant),)+
                    _ => Err($crate::wire::DecodeError::UnknownKind { kind }),
                }
            }
        }

        $(impl From<$variant> for $name {
            fn from(content: $variant) -> Self {
                Self::$variant(content)
            }
        })+
    };
}
pub(crate) use messages;

/// Postcard bytes of a message's content.
pub(crate) fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    // Our message types hold only integers, strings, options, enums and sequences of known length.
    postcard::to_allocvec(content).expect("every wire type is serialisable")
}

/// Reads a message's content; nothing may be left over.
pub(crate) fn decode<'a, T: Deserialize<'a>>(kind: u16, body: &'a [u8]) -> Result<T, DecodeError> {
    let (content, rest) =
        postcard::take_from_bytes(body).map_err(|source| DecodeError::Malformed { kind, source })?;
    if rest.is_empty() { Ok(content) } else { Err(DecodeError::Trailing { kind, left: rest.len() }) }
}

/// Fields that later versions add to a frozen struct: number and postcard bytes.
pub type Extensions = Vec<(u16, Vec<u8>)>;

#[cfg(test)]
mod tests;
