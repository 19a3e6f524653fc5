//! Wire: frames on a QUIC stream. Version 1: 4 bytes little-endian length, then one postcard [`Envelope`].

use super::Envelope;
use crate::limits::FRAME_BYTES_MAX;

/// Bytes before each frame's content.
pub const HEADER_BYTES: usize = 4;

/// Why a frame cannot be read. The stream is unusable afterwards.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The content is not an envelope.
    #[error("malformed envelope")]
    Malformed(#[source] postcard::Error),
    /// The peer announced more than the limit; nothing was allocated.
    #[error("frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// Announced length.
        length: usize,
    },
}

/// Length of the content that follows a header.
///
/// # Errors
/// [`FrameError::TooLong`] above [`FRAME_BYTES_MAX`].
pub fn content_length(header: [u8; HEADER_BYTES]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > FRAME_BYTES_MAX { Err(FrameError::TooLong { length }) } else { Ok(length) }
}

/// One frame, header included.
///
/// # Errors
/// [`FrameError::TooLong`] when the envelope is over the limit.
pub fn encode(envelope: &Envelope) -> Result<Vec<u8>, FrameError> {
    let content = super::encode(envelope);
    if content.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length: content.len() });
    }
    let length =
        u32::try_from(content.len()).map_err(|_over| FrameError::TooLong { length: content.len() })?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + content.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&content);
    Ok(frame)
}

/// The envelope in a frame's content.
///
/// # Errors
/// [`FrameError::Malformed`] when the bytes are something else.
pub fn decode(content: &[u8]) -> Result<Envelope, FrameError> {
    postcard::from_bytes(content).map_err(FrameError::Malformed)
}
