//! Shell: makes ordinary files of what studios left: lets a studio mend and join, and packs archives.

use std::sync::Arc;
use std::time::Duration;

use common::telemetry::chain;
use common::wire::recording::RecordingMode;
use tokio::time::{sleep, timeout};

use crate::child::{self, Child, Event};
use crate::folder::{Folder, Root};
use crate::job::Joined;
use crate::journal::{Journal, StreamFile, Studio, Whole};
use crate::names::RecordingId;
use crate::studio::protocol::{Finish, FromStudio, ToStudio, Unfinished};
use crate::{archive, sidecar};

/// Time for a studio that has lost its recorder to finish by itself. After this its files are taken from it.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often an orphan is looked at.
const ORPHAN_CHECK: Duration = Duration::from_millis(50);

/// Time to join files; and as much as this part of their length. A slow disk needs 20 s for an hour.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
const JOIN_PART: u32 = 100;

/// What a file may be called after it was finished.
const EXTENSIONS: [&str; 3] = ["webm", "mkv", "mp4"];

/// What is to be joined.
#[derive(Clone, Debug)]
pub struct Join {
    /// What the job was.
    pub mode: RecordingMode,
    /// A process that may still write the files.
    pub orphan: Option<Studio>,
    /// The files.
    pub files: Vec<Unfinished>,
    /// Composed: name of the film.
    pub into: String,
    /// Composed: name of the picture.
    pub thumbnail: String,
    /// Their length.
    pub length: Duration,
}

/// Lets a studio mend and join files.
///
/// # Errors
/// For humans: why there is no result. The files are as they were.
pub async fn join(root: Arc<Root>, id: RecordingId, join: Join) -> Result<Joined, String> {
    if let Some(orphan) = join.orphan {
        wait_for(orphan).await;
    }
    let folder = root.open_recording(&id).map_err(|error| error.to_string())?;
    // A studio that lost its recorder has finished, and renamed, its files by itself.
    let found: Vec<(String, Unfinished)> = join
        .files
        .iter()
        .filter_map(|wanted| {
            let file = present_name(&folder, &wanted.file)?;
            Some((wanted.file.clone(), Unfinished { file, start_us: wanted.start_us }))
        })
        .collect();
    if found.is_empty() {
        return Err("nothing was written".to_owned());
    }
    let mut child = Child::start().map_err(|error| error.to_string())?;
    child.tell(&ToStudio::Finish(Box::new(Finish {
        mode: join.mode,
        folder: folder.path().to_string_lossy().into_owned(),
        files: found.iter().map(|(_, file)| file.clone()).collect(),
        into: join.into,
        thumbnail: join.thumbnail,
    })));
    let limit = JOIN_TIMEOUT + join.length / JOIN_PART;
    let mut joined = match timeout(limit, result(&mut child)).await {
        Ok(result) => result?,
        Err(_) => {
            child.kill();
            return Err(format!("joining did not end within {} s", limit.as_secs()));
        }
    };
    // The job knows its files by the names that they grew under.
    for result in &mut joined.files {
        if let Some((grown, _)) = found.iter().find(|(_, file)| file.file == result.grown) {
            result.grown.clone_from(grown);
        }
    }
    Ok(joined)
}

async fn result(child: &mut Child) -> Result<Joined, String> {
    let mut last = Err("the studio said nothing".to_owned());
    loop {
        match child.next().await {
            Event::Said(FromStudio::Done { duration_us, bytes, files, warning }) => {
                last = Ok(Joined { duration_us, bytes, files, warning });
            }
            Event::Said(FromStudio::Failed { why }) => last = Err(why),
            Event::Said(_) => {}
            // What it said is done, however it went down afterwards.
            Event::Ended { why } => return last.map_err(|said| format!("{said} ({why})")),
        }
    }
}

async fn wait_for(orphan: Studio) {
    let ended = async {
        while child::is_alive(orphan) {
            sleep(ORPHAN_CHECK).await;
        }
    };
    if timeout(ORPHAN_TIMEOUT, ended).await.is_err() {
        tracing::warn!(pid = orphan.pid, "a studio of a former recorder does not end");
        child::kill_orphan(orphan);
        sleep(ORPHAN_CHECK).await;
    }
}

/// The name under which a file is there now, if it holds anything.
fn present_name(folder: &Folder, name: &str) -> Option<String> {
    let holds = |name: &str| folder.size(name).is_some_and(|bytes| bytes > 0);
    if holds(name) {
        return Some(name.to_owned());
    }
    let (stem, _) = name.rsplit_once('.')?;
    EXTENSIONS.iter().map(|extension| format!("{stem}.{extension}")).find(|name| holds(name))
}

/// Packs the files of an individual recording; gives the sum of their sizes. Doing it again is harmless.
///
/// # Errors
/// For humans. The files are still there.
pub fn pack(root: &Root, journal: &Journal, mut files: Vec<StreamFile>) -> Result<u64, String> {
    let folder = root.open_recording(&journal.id).map_err(|error| error.to_string())?;
    let name = &journal.spec.name;
    let is_packed = folder.size(&format!("{name}.zip")).is_some();
    if is_packed {
        // A former process did it, and ended before it could say so.
        for file in &files {
            drop(folder.remove(&file.file));
        }
        return Ok(files.iter().filter_map(|file| file.whole).map(|whole| whole.bytes).sum());
    }
    files.retain_mut(|file| {
        let Some(bytes) = folder.size(&file.file) else { return false };
        let duration_us = file.whole.map_or(0, |whole| whole.duration_us);
        file.whole = Some(Whole { duration_us, bytes });
        true
    });
    let names: Vec<String> = files.iter().map(|file| file.file.clone()).collect();
    let json = sidecar::archive(journal, &files);
    archive::write(&folder, name, &names, &json).map_err(|error| chain(&error).to_string())?;
    Ok(files.iter().filter_map(|file| file.whole).map(|whole| whole.bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::{entry, journal};

    #[test]
    fn packing_counts_what_is_there_and_can_be_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let journal = journal(RecordingMode::Individual);
        let folder = root.create(&journal.id).unwrap();
        folder.write("a.webm", b"12345").unwrap();
        let mut files = Vec::new();
        for name in ["a.webm", "b.webm"] {
            let mut file = StreamFile::begun(&entry(1), name.to_owned(), 0, true, true);
            file.whole = Some(Whole { duration_us: 7, bytes: 5 });
            files.push(file);
        }
        assert_eq!(pack(&root, &journal, files.clone()), Ok(5));
        assert_eq!(folder.names().unwrap(), ["monday.zip"]);
        files.truncate(1);
        assert_eq!(pack(&root, &journal, files), Ok(5));
    }

    #[test]
    fn a_file_is_found_under_the_name_that_its_studio_gave_it_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let folder = root.create(&journal(RecordingMode::Individual).id).unwrap();
        assert_eq!(present_name(&folder, "a-1.mkv"), None);
        folder.write("a-1.webm", b"1").unwrap();
        folder.write("b.mkv", b"").unwrap();
        assert_eq!(present_name(&folder, "a-1.mkv").as_deref(), Some("a-1.webm"));
        assert_eq!(present_name(&folder, "b.mkv"), None);
        assert_eq!(present_name(&folder, "nothing"), None);
    }
}
