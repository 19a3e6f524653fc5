//! Shell: frames on QUIC streams.

use quinn::{ReadError, RecvStream, SendStream, WriteError};

use crate::id::{Epoch, OpId};
use crate::wire::frame::{self, FrameError, HEADER_BYTES};
use crate::wire::{Envelope, Message};

/// Bytes that are taken from a stream at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why no frame can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFrameError {
    /// What arrived is not a frame.
    #[error("what arrived is not a frame")]
    Frame(#[from] FrameError),
    /// The peer ended the stream in the middle of a frame.
    #[error("the stream ended in the middle of a frame")]
    Incomplete,
    /// The stream is broken.
    #[error("the stream is broken")]
    Stream(#[from] ReadError),
}

/// Why no frame can be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteFrameError {
    /// The message is too long.
    #[error("the message cannot be framed")]
    Frame(#[from] FrameError),
    /// The stream is broken.
    #[error("the stream is broken")]
    Stream(#[from] WriteError),
}

/// Reads frames from a stream.
#[derive(Debug)]
pub struct FrameReader {
    stream: RecvStream,
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Reads from here.
    #[must_use]
    pub const fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next envelope; `None` at the end of the stream. Cancel safe. Holds at most one frame and one chunk, and
    /// never more than has arrived.
    ///
    /// # Errors
    /// [`ReadFrameError`]; the stream is unusable afterwards.
    pub async fn next(&mut self) -> Result<Option<Envelope>, ReadFrameError> {
        loop {
            if let Some(envelope) = self.take()? {
                return Ok(Some(envelope));
            }
            // Cancel safe by quinn's contract; nothing is lost between the two statements.
            match self.stream.read_chunk(CHUNK_BYTES, true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ReadFrameError::Incomplete),
            }
        }
    }

    /// What has arrived after the last envelope, and the stream, for whatever follows that is no frame.
    #[must_use]
    pub fn into_rest(self) -> (Vec<u8>, RecvStream) {
        (self.buffer, self.stream)
    }

    fn take(&mut self) -> Result<Option<Envelope>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let end = HEADER_BYTES + frame::content_length(*header)?;
        let Some(content) = self.buffer.get(HEADER_BYTES..end) else { return Ok(None) };
        let envelope = frame::decode(content)?;
        self.buffer.drain(..end);
        if self.buffer.is_empty() && self.buffer.capacity() > CHUNK_BYTES {
            // One long SDP must not cost its memory for the life of an idle link.
            self.buffer = Vec::new();
        }
        Ok(Some(envelope))
    }
}

/// Writes one envelope. Not cancel safe: half a frame makes the stream unusable.
///
/// # Errors
/// [`WriteFrameError`].
pub async fn write(stream: &mut SendStream, envelope: &Envelope) -> Result<(), WriteFrameError> {
    Ok(stream.write_all(&frame::encode(envelope)?).await?)
}

/// Writes one message that belongs to no operation.
///
/// # Errors
/// [`WriteFrameError`].
pub async fn send<M: Message>(stream: &mut SendStream, message: &M) -> Result<(), WriteFrameError> {
    write(stream, &message.envelope(Epoch::default(), OpId::default(), 0)).await
}
