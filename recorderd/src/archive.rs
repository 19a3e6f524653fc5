//! Shell: writes the archive of an individual recording.

use std::io;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::folder::Folder;

/// Name of an archive that is being written.
const NEW: &str = ".archive.new";

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file cannot be read or written.
    #[error("cannot write the archive")]
    Io(#[from] io::Error),
    /// The format refuses.
    #[error("cannot write the archive")]
    Zip(#[from] zip::result::ZipError),
}

/// Puts files of a folder, and a JSON text named `<name>.json`, into `<name>.zip` there, and removes the files. A crash
/// leaves the files, or the archive, or both; doing it again is harmless. Media does not shrink, so nothing is compressed.
///
/// # Errors
/// [`ArchiveError`]; the files are still there.
pub fn write(folder: &Folder, name: &str, files: &[String], json: &str) -> Result<(), ArchiveError> {
    let options = || SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    folder.remove(NEW)?;
    let mut archive = ZipWriter::new(folder.create_file(NEW)?);
    for file in files {
        let mut content = folder.open_file(file)?;
        let is_large = content.metadata()?.len() >= u64::from(u32::MAX) / 2;
        archive.start_file(file.as_str(), options().large_file(is_large))?;
        io::copy(&mut content, &mut archive)?;
    }
    archive.start_file(format!("{name}.json"), options())?;
    io::Write::write_all(&mut archive, json.as_bytes())?;
    archive.finish()?.sync_data()?;
    folder.rename(NEW, &format!("{name}.zip"))?;
    for file in files {
        folder.remove(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::folder::Root;
    use crate::names::RecordingId;

    #[test]
    fn the_archive_holds_the_files_to_the_byte_and_replaces_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let folder = root.create(&RecordingId::try_from("a".to_owned()).unwrap()).unwrap();
        folder.write("x.webm", &[7; 100_000]).unwrap();
        folder.write("y.webm", b"y").unwrap();
        let files = ["x.webm".to_owned(), "y.webm".to_owned()];
        write(&folder, "monday", &files, "{}").unwrap();
        assert_eq!(folder.names().unwrap(), ["monday.zip"]);
        let mut archive = zip::ZipArchive::new(folder.open_file("monday.zip").unwrap()).unwrap();
        let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["x.webm", "y.webm", "monday.json"]);
        let mut content = Vec::new();
        archive.by_name("x.webm").unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, [7; 100_000]);
        assert!(write(&folder, "monday", &files, "{}").is_err());
    }
}
