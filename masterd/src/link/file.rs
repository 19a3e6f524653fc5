//! Shell: reads files of a recorder over its link: one stream each, which the master opens.

use bytes::Bytes;
use common::id::NodeKey;
use common::net::frames::{self, FrameReader};
use common::net::quic::HANDSHAKE_TIMEOUT;
use common::telemetry::chain;
use common::wire::Message as _;
use common::wire::node::{FromNode, ToNode};
use common::wire::recording::{FileHead, FileOpen};
use quinn::{Connection, RecvStream};
use tokio::time::timeout;

use super::NodeLinks;

/// Bytes that are taken at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a file cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenFileError {
    /// The node has no link.
    #[error("the node is not connected")]
    NotConnected,
    /// The node did not answer, or not as it should.
    #[error("the node did not answer: {0}")]
    Broken(String),
}

/// The rest of a file did not come.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the file broke off: {0}")]
pub struct FileLost(String);

/// The bytes of an open file. Whoever stops reading, or drops it, stops the node.
#[derive(Debug)]
pub struct FileBody {
    first: Bytes,
    stream: RecvStream,
    left: u64,
}

impl FileBody {
    /// Bytes that are still to come.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes; none at the end, when all that were announced have come. Cancel safe.
    ///
    /// # Errors
    /// [`FileLost`], when fewer come than were announced.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, FileLost> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut chunk = std::mem::take(&mut self.first);
        if chunk.is_empty() {
            let read = self.stream.read_chunk(CHUNK_BYTES, true).await;
            let read = read.map_err(|error| FileLost(chain(&error).to_string()))?;
            chunk = read.ok_or_else(|| FileLost(format!("{} bytes are missing", self.left)))?.bytes;
        }
        chunk.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= u64::try_from(chunk.len()).unwrap_or(self.left);
        Ok(Some(chunk))
    }
}

impl NodeLinks {
    /// Asks a recorder for a file, or a part of one. The body is there where the head is [`FileHead::Found`].
    ///
    /// # Errors
    /// [`OpenFileError`].
    pub async fn open_file(
        &self,
        node: NodeKey,
        open: FileOpen,
    ) -> Result<(FileHead, Option<FileBody>), OpenFileError> {
        let connection = self.0.shared.registry.connection(node).ok_or(OpenFileError::NotConnected)?;
        timeout(HANDSHAKE_TIMEOUT, ask(&connection, open))
            .await
            .map_err(|_elapsed| OpenFileError::Broken("no answer in time".to_owned()))?
            .map_err(OpenFileError::Broken)
    }
}

async fn ask(connection: &Connection, open: FileOpen) -> Result<(FileHead, Option<FileBody>), String> {
    let text = |error: &(dyn std::error::Error + 'static)| chain(error).to_string();
    let (mut send, receive) = connection.open_bi().await.map_err(|error| text(&error))?;
    let (offset, length) = (open.offset, open.length);
    frames::send(&mut send, &ToNode::from(open)).await.map_err(|error| text(&error))?;
    send.finish().map_err(|error| text(&error))?;
    let mut reader = FrameReader::new(receive);
    let envelope = reader.next().await.map_err(|error| text(&error))?.ok_or("it ended the stream")?;
    let head = match FromNode::decode(envelope.kind, &envelope.body) {
        Ok(FromNode::FileHead(head)) => head,
        Ok(_) => return Err("it answers something else".to_owned()),
        Err(error) => return Err(text(&error)),
    };
    let FileHead::Found { size_bytes, .. } = head else { return Ok((head, None)) };
    let left = length.min(size_bytes.saturating_sub(offset));
    let (first, stream) = reader.into_rest();
    Ok((head, Some(FileBody { first: first.into(), stream, left })))
}
