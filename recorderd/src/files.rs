//! Shell: hands out files of recordings to the master, which serves them to its HTTP clients.

use std::io::{Seek as _, SeekFrom};

use common::net::node_link::{FileRequest, FileSource};
use common::telemetry::chain;
use common::wire::recording::{FileHead, FileOpen};

use crate::folder::{self, FileError, Root};

/// Answers a request. Blocks on the disk.
pub fn answer(root: &Root, request: FileRequest) {
    let (head, source) = match open(root, &request.open) {
        Ok((head, source)) => (head, Some(source)),
        Err(FileError::Missing) => (FileHead::Missing, None),
        Err(error) => (FileHead::Failed { why: chain(&error).to_string() }, None),
    };
    request.answer(head, source);
}

fn open(root: &Root, wanted: &FileOpen) -> Result<(FileHead, FileSource), FileError> {
    let mut found = folder::open_public(root, &wanted.id, &wanted.name)?;
    found.file.seek(SeekFrom::Start(wanted.offset.min(found.size_bytes)))?;
    let modified_ms = u64::try_from(found.modified.as_millis()).unwrap_or(u64::MAX);
    let head = FileHead::Found { size_bytes: found.size_bytes, modified_ms };
    Ok((head, Box::new(tokio::fs::File::from_std(found.file))))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::names::RecordingId;

    #[tokio::test]
    async fn a_file_is_read_from_where_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let folder = root.create(&RecordingId::try_from("a".to_owned()).unwrap()).unwrap();
        folder.write("a.mp4", b"0123456789").unwrap();
        let wanted = |id: &str, name: &str, offset| FileOpen {
            id: id.to_owned(),
            name: name.to_owned(),
            offset,
            length: u64::MAX,
        };
        for (offset, content) in [(0, "0123456789"), (7, "789"), (10, ""), (u64::MAX, "")] {
            let (head, mut source) = open(&root, &wanted("a", "a.mp4", offset)).unwrap();
            assert!(matches!(head, FileHead::Found { size_bytes: 10, modified_ms: 1.. }));
            let mut text = String::new();
            source.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, content);
        }
        for (id, name) in
            [("a", ".recording.a"), ("..", "a.mp4"), ("a", "../a.mp4"), ("b", "a.mp4"), ("a", "")]
        {
            assert!(matches!(open(&root, &wanted(id, name, 0)), Err(FileError::Missing)), "{id}/{name}");
        }
    }
}
