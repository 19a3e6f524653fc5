//! Shell: owns the folder of recordings.
//!
//! ```text
//! <dir>/.lock                      one recorder at a time
//! <dir>/.jobs/<id>.json            journal of each recording (`journal`)
//! <dir>/<id>/.recording.<id>       the recording's object, rewritten at each status
//! <dir>/<id>/<name>.mp4|webm|zip   the result
//! <dir>/<id>/<id>.jpg              thumbnail
//! <dir>/<id>/.work/                what only a running job needs: pieces, streams
//! ```
//!
//! Everything is opened relative to its folder's descriptor, one component at a time and never through a symbolic link,
//! so that neither a name nor something put into the folder leads out of it. Names are checked by
//! [`names`] besides.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::Space;
use crate::names::{self, RecordingId};

/// Folder of the journals, in the folder of recordings.
const JOURNALS: &str = ".jobs";

/// Folder of what only a running job needs, in its recording's folder.
const WORK: &str = ".work";

/// Journals and metadata are small; a bigger one is none.
const SMALL_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why the folder of recordings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another recorder has it.
    #[error("another recorder uses {path}")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot use {path}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A journal as it was found.
#[derive(Debug)]
pub struct JournalFile {
    /// Name of the file.
    pub name: String,
    /// Time since the last change.
    pub age: Duration,
    /// What is in it, or why it cannot be read.
    pub content: io::Result<Vec<u8>>,
}

/// The folder of all recordings.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
    journals: Folder,
    /// Held as long as the recorder runs.
    _lock: File,
}

impl Root {
    /// Opens the folder, makes it where it is missing, and locks it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let fail = |source: io::Error| FolderError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(fail)?;
        let path = path.canonicalize().map_err(fail)?;
        let dir = rustix::fs::open(&path, DIRECTORY, Mode::empty()).map_err(|error| fail(error.into()))?;
        let lock = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&dir, ".lock", lock, Mode::from_raw_mode(0o600))
            .map_err(|error| fail(error.into()))?;
        let lock = File::from(lock);
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(FolderError::InUse { path }),
            Err(std::fs::TryLockError::Error(source)) => return Err(fail(source)),
        }
        let journals = Folder::make(&dir, &path, JOURNALS).map_err(fail)?;
        Ok(Self { path, dir, journals, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a recording's folder.
    ///
    /// # Errors
    /// `AlreadyExists` when there is something of this name, or what the system says.
    pub fn create(&self, id: &RecordingId) -> io::Result<Folder> {
        rustix::fs::mkdirat(&self.dir, id.as_str(), Mode::from_raw_mode(0o755))?;
        self.open_recording(id)
    }

    /// Opens a recording's folder.
    ///
    /// # Errors
    /// `NotFound`, or what the system says: also when it is no folder.
    pub fn open_recording(&self, id: &RecordingId) -> io::Result<Folder> {
        Folder::open(&self.dir, &self.path, id.as_str())
    }

    /// Removes a recording's folder and its journal. What does not exist is removed.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, id: &RecordingId) -> io::Result<()> {
        remove_tree(&self.dir, id.as_str())?;
        self.journals.remove(&journal_name(id))
    }

    /// Writes a recording's journal; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_journal(&self, id: &RecordingId, content: &[u8]) -> io::Result<()> {
        self.journals.write(&journal_name(id), content)
    }

    /// All journals.
    ///
    /// # Errors
    /// What the system says of the folder; a journal that cannot be read is an error of its own.
    pub fn journals(&self) -> io::Result<Vec<JournalFile>> {
        let names = self.journals.names()?;
        let is_journal = |name: &String| name.ends_with(".json") && !name.starts_with('.');
        let read = |name: String| {
            let age = self.journals.age(&name).unwrap_or_default();
            let content = self.journals.read(&name);
            JournalFile { name, age, content }
        };
        Ok(names.into_iter().filter(is_journal).map(read).collect())
    }

    /// Removes a recording's journal.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_journal(&self, id: &RecordingId) -> io::Result<()> {
        self.journals.remove(&journal_name(id))
    }

    /// Room on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

fn journal_name(id: &RecordingId) -> String {
    format!("{id}.json")
}

/// Why a file is not handed out.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
    /// No such recording or file, or not one for others.
    #[error("no such file")]
    Missing,
}

/// A file to be handed out.
#[derive(Debug)]
pub struct OpenFile {
    /// At its begin.
    pub file: File,
    /// Its size.
    pub size_bytes: u64,
    /// When it last changed, since 1970.
    pub modified: Duration,
}

/// Opens a file of a recording that others may read.
///
/// # Errors
/// [`FileError`].
pub fn open_public(root: &Root, id: &str, name: &str) -> Result<OpenFile, FileError> {
    let id = RecordingId::try_from(id.to_owned()).map_err(|_no_name| FileError::Missing)?;
    if !names::is_public(name) {
        return Err(FileError::Missing);
    }
    let missing = |error: io::Error| {
        let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
        let is_missing = is_link || error.kind() == io::ErrorKind::NotFound;
        if is_missing { FileError::Missing } else { FileError::Io(error) }
    };
    let file = root.open_recording(&id).and_then(|folder| folder.open_file(name)).map_err(missing)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::Missing);
    }
    let modified = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(OpenFile { file, size_bytes: metadata.len(), modified })
}

/// One open folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    dir: OwnedFd,
}

impl Folder {
    fn open(parent: &OwnedFd, path: &Path, name: &str) -> io::Result<Self> {
        let dir = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
        Ok(Self { path: path.join(name), dir })
    }

    fn make(parent: &OwnedFd, path: &Path, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Self::open(parent, path, name),
            Err(error) => Err(error.into()),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in it of what only the running job needs; made where it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn work(&self) -> io::Result<Self> {
        Self::make(&self.dir, &self.path, WORK)
    }

    /// Removes [`Self::work`] with everything in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_work(&self) -> io::Result<()> {
        remove_tree(&self.dir, WORK)
    }

    /// Opens a file for reading. It may not be regular: ask.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        // A pipe put there must not block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::openat(&self.dir, name, flags, Mode::empty())?))
    }

    /// Makes a file that does not exist.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.dir, name, flags, Mode::from_raw_mode(0o644))?))
    }

    /// Reads a small file.
    ///
    /// # Errors
    /// What the system says; `InvalidData` when it is no small regular file.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.open_file(name)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > SMALL_FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a small regular file"));
        }
        let mut content = Vec::new();
        file.take(SMALL_FILE_BYTES_MAX).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Writes a file whole or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let new = format!(".new.{}", name.trim_start_matches('.'));
        self.remove(&new)?;
        let mut file = self.create_file(&new)?;
        file.write_all(content)?;
        file.sync_data()?;
        self.rename(&new, name)?;
        rustix::fs::fsync(&self.dir)?;
        Ok(())
    }

    /// Renames a file within the folder; replaces what is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    /// Moves a file from here into another folder of the same disk; replaces what is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn move_to(&self, from: &str, to: &Self, name: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.dir, from, &to.dir, name)?;
        rustix::fs::fsync(&to.dir)?;
        Ok(())
    }

    /// Removes a file. What does not exist is removed.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Size of a regular file; `None` where there is none of this name.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<u64> {
        let stat = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn age(&self, name: &str) -> io::Result<Duration> {
        let modified = self.open_file(name)?.metadata()?.modified()?;
        Ok(SystemTime::now().duration_since(modified).unwrap_or_default())
    }

    /// Names of everything in it, sorted.
    ///
    /// # Errors
    /// What the system says.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            // What is not UTF-8 is not ours.
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Bytes of the regular files in it, those of a running job included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let own = |folder: &Self| -> u64 {
            folder.names().unwrap_or_default().iter().filter_map(|name| folder.size(name)).sum()
        };
        own(self) + Self::open(&self.dir, &self.path, WORK).map_or(0, |work| own(&work))
    }
}

/// Removes a file or a folder with everything in it, without following links.
fn remove_tree(parent: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let folder = Folder::open(parent, Path::new(""), name)?;
    for entry in folder.names()? {
        remove_tree(&folder.dir, &entry)?;
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(&dir.path().join("recordings")).unwrap();
        (dir, root)
    }

    fn id(text: &str) -> RecordingId {
        RecordingId::try_from(text.to_owned()).unwrap()
    }

    fn content(root: &Root, id: &str, name: &str) -> Option<String> {
        let mut text = String::new();
        open_public(root, id, name).ok()?.file.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn files_are_written_whole_and_handed_out_unless_they_begin_with_a_dot() {
        let (_dir, root) = root();
        let folder = root.create(&id("a~1")).unwrap();
        folder.write("a.mp4", b"film").unwrap();
        folder.write(".recording.a~1", b"{}").unwrap();
        assert_eq!(folder.names().unwrap(), [".recording.a~1", "a.mp4"]);
        assert_eq!(content(&root, "a~1", "a.mp4").as_deref(), Some("film"));
        for (id, name) in [
            ("a~1", ".recording.a~1"),
            ("a~1", "b.mp4"),
            ("b", "a.mp4"),
            ("..", "a.mp4"),
            (".jobs", "a.json"),
            ("a~1/..", "a.mp4"),
            ("a~1", "../a~1/a.mp4"),
            ("a~1", ".."),
        ] {
            assert!(matches!(open_public(&root, id, name), Err(FileError::Missing)), "{id} {name}");
        }
        assert_eq!(folder.size_bytes(), 6);
        assert!(root.create(&id("a~1")).is_err());
    }

    #[test]
    fn links_lead_nowhere() {
        let (dir, root) = root();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret.txt"), "secret").unwrap();
        let folder = root.create(&id("a")).unwrap();
        symlink(outside.join("secret.txt"), folder.path().join("link.txt")).unwrap();
        symlink(&outside, root.path().join("b")).unwrap();
        symlink(&outside, folder.path().join(".work")).unwrap();
        assert_eq!(content(&root, "a", "link.txt"), None);
        assert_eq!(content(&root, "b", "secret.txt"), None);
        assert!(folder.work().is_err() && folder.read("link.txt").is_err());
        assert_eq!(folder.size("link.txt"), None);
        folder.write("link.txt", b"new").unwrap();
        root.remove(&id("a")).unwrap();
        root.remove(&id("b")).unwrap();
        root.remove(&id("never")).unwrap();
        assert_eq!(std::fs::read_to_string(outside.join("secret.txt")).unwrap(), "secret");
        assert!(!root.path().join("a").exists() && !root.path().join("b").exists());
    }

    #[test]
    fn the_folder_has_one_owner_and_keeps_journals() {
        let (dir, root) = root();
        let path = dir.path().join("recordings");
        assert!(matches!(Root::open(&path), Err(FolderError::InUse { .. })));
        root.write_journal(&id("a"), b"1").unwrap();
        root.write_journal(&id("a"), b"2").unwrap();
        drop(root);
        let root = Root::open(&path).unwrap();
        let journals = root.journals().unwrap();
        assert_eq!((journals.len(), journals[0].name.as_str()), (1, "a.json"));
        assert_eq!(journals[0].content.as_ref().unwrap(), b"2");
        assert!(journals[0].age < Duration::from_secs(600));
        root.remove_journal(&id("a")).unwrap();
        assert!(root.journals().unwrap().is_empty());
        let space = root.space().unwrap();
        assert!(space.free_bytes > 0 && space.total_bytes >= space.free_bytes);
    }
}
