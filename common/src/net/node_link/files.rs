//! Shell: files that the master asks for: one bidirectional stream each, opened by the master.

use std::fmt;
use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::run::Failure;
use super::{Request, Shared};
use crate::limits::FILES_MAX;
use crate::net::close::CloseCode;
use crate::net::frames::{self, FrameReader};
use crate::net::quic::HANDSHAKE_TIMEOUT;
use crate::telemetry::chain;
use crate::wire::Message as _;
use crate::wire::node::{FromNode, ToNode};
use crate::wire::recording::{FileHead, FileOpen};

/// Bytes that are read from a source at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where the bytes of a file come from. Read as fast as the master takes them, and dropped when it wants no more.
pub type FileSource = Box<dyn AsyncRead + Send + Unpin>;

/// The master asks for a file. Dropping it answers [`FileHead::Missing`].
pub struct FileRequest {
    /// Which, and which part of it. Text of whoever asked the master.
    pub open: FileOpen,
    reply: oneshot::Sender<(FileHead, Option<FileSource>)>,
}

impl fmt::Debug for FileRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileRequest").field(&self.open).finish()
    }
}

impl FileRequest {
    /// Answers. `source` begins at [`FileOpen::offset`]; of it at most [`FileOpen::length`] bytes are read. A source that
    /// fails before its end breaks the stream off, which the master notices.
    pub fn answer(self, head: FileHead, source: Option<FileSource>) {
        // The master may have lost interest meanwhile.
        drop(self.reply.send((head, source)));
    }
}

/// Serves the master's streams as long as the connection lasts.
pub(super) async fn accept(shared: Arc<Shared>, connection: Connection) -> Result<(), Failure> {
    let mut tasks = JoinSet::new();
    loop {
        // The others wait in the transport, which bounds them.
        while tasks.len() >= FILES_MAX {
            drop(tasks.join_next().await);
        }
        // Both arms are cancel safe.
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((send, receive)) => drop(tasks.spawn(serve(Arc::clone(&shared), send, receive))),
                Err(_) => return Err(Failure::Connection),
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn serve(shared: Arc<Shared>, mut send: SendStream, receive: RecvStream) {
    if let Err(why) = answer(&shared, &mut send, receive).await {
        crate::warn_limited!(10, error = why, "a file could not be sent to the master");
        // Ended already if this fails.
        drop(send.reset(CloseCode::Protocol.code()));
    }
}

async fn answer(shared: &Shared, send: &mut SendStream, receive: RecvStream) -> Result<(), String> {
    let mut reader = FrameReader::new(receive);
    let first =
        timeout(HANDSHAKE_TIMEOUT, reader.next()).await.map_err(|_elapsed| "nothing was asked for")?;
    let first = first.map_err(|error| chain(&error).to_string())?.ok_or("nothing was asked for")?;
    let open = match ToNode::decode(first.kind, &first.body) {
        Ok(ToNode::FileOpen(open)) => open,
        Ok(_) => return Err("a stream of the master that asks for no file".to_owned()),
        Err(error) => return Err(chain(&error).to_string()),
    };
    let length = open.length;
    let (reply, answered) = oneshot::channel();
    let (head, source) = match shared.requests.try_send(Request::File(FileRequest { open, reply })) {
        Ok(()) => answered.await.unwrap_or((FileHead::Missing, None)),
        Err(_full) => (FileHead::Failed { why: "the node is busy".to_owned() }, None),
    };
    frames::send(send, &FromNode::from(head)).await.map_err(|error| chain(&error).to_string())?;
    if let Some(source) = source {
        copy(source.take(length), send).await?;
    }
    send.finish().map_err(|error| error.to_string())
}

async fn copy(mut source: impl AsyncRead + Unpin, send: &mut SendStream) -> Result<(), String> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = source.read(&mut buffer).await.map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(());
        }
        match send.write_all(&buffer[..read]).await {
            Ok(()) => {}
            // The master's client has gone away.
            Err(quinn::WriteError::Stopped(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
}
