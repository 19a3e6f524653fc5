//! Shell: makes files ordinary: at the end of a job, and after a job that was interrupted.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::film::{MkvFile, opus_track};
use crate::boxes::ordinary::{Film, FilmError, ordinary_duration_us};
use crate::boxes::{BOX_HEADER_BYTES, BoxHeader, box_header};
use crate::mkv::recover::{recover, small_frames};

/// An index of a fragment or of a film above this is not one of ours: 10 h have about 80 MB, and are never one box.
const INDEX_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a file cannot be made ordinary.
#[derive(Debug, thiserror::Error)]
pub(super) enum FinishError {
    /// Nothing usable is in it.
    #[error("{0}")]
    Film(#[from] FilmError),
    /// The disk does not play along.
    #[error("cannot read or write {file}: {source}")]
    Io {
        /// Which file.
        file: String,
        /// Why.
        source: io::Error,
    },
}

fn on(path: &Path) -> impl Fn(io::Error) -> FinishError {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    move |source| FinishError::Io { file: file.clone(), source }
}

/// An ordinary film.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) bytes: u64,
    pub(super) duration_us: u64,
    /// Pieces that could not be used, with the reason.
    pub(super) left_out: Vec<String>,
}

/// Joins pieces, each with its place on the film's timeline, into one ordinary film, which replaces the file `into`
/// only when it is whole.
pub(super) fn film(pieces: &[(PathBuf, u64)], into: &Path) -> Result<Finished, FinishError> {
    if let [(path, _)] = pieces
        && let Some(finished) = already(path)
    {
        fs::rename(path, into).map_err(on(into))?;
        return Ok(finished);
    }
    let (mut film, mut files, mut left_out) = (None, Vec::new(), Vec::new());
    for (number, (path, start_us)) in pieces.iter().enumerate() {
        let limit_us = pieces.get(number + 1).map_or(u64::MAX, |(_, next)| *next);
        let opened = File::open(path).map_err(on(path));
        let read = opened.and_then(|file| {
            read_piece(&file, &mut film, number, *start_us, limit_us, path)?;
            Ok(file)
        });
        match read {
            Ok(file) => files.push(Some(file)),
            Err(error) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                left_out.push(format!("{name}: {error}"));
                files.push(None);
            }
        }
    }
    let film = film.ok_or(FilmError::Empty)?;
    let duration_us = film.duration_us();
    let (header, parts) = film.finish()?;
    let temporary = temporary(into);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&temporary).map_err(on(&temporary))?);
    out.write_all(&header).map_err(on(&temporary))?;
    for part in parts {
        let Some(Some(file)) = files.get_mut(part.piece) else { continue };
        file.seek(SeekFrom::Start(part.bytes.start)).map_err(on(into))?;
        let length = part.bytes.end - part.bytes.start;
        let copied = io::copy(&mut Read::by_ref(file).take(length), &mut out).map_err(on(&temporary))?;
        if copied != length {
            return Err(on(into)(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let out = out.into_inner().map_err(|error| on(&temporary)(error.into_error()))?;
    out.sync_all().map_err(on(&temporary))?;
    let bytes = out.metadata().map_err(on(&temporary))?.len();
    fs::rename(&temporary, into).map_err(on(into))?;
    // What could not be used stays for whoever knows better.
    let used = pieces.iter().zip(&files).filter(|(_, file)| file.is_some());
    remove_pieces(&used.map(|(piece, _)| piece.clone()).collect::<Vec<_>>(), into);
    Ok(Finished { bytes, duration_us, left_out })
}

/// A film that is ordinary already: its maker was interrupted between that and saying so.
fn already(path: &Path) -> Option<Finished> {
    let file = File::open(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    let mut reader = BufReader::new(&file);
    let first = next_header(&mut reader).ok()??;
    reader.seek(SeekFrom::Start(first.length)).ok()?;
    let header = next_header(&mut reader).ok()??;
    if &header.kind != b"moov" || header.length > bytes {
        return None;
    }
    reader.seek(SeekFrom::Start(first.length + header.header)).ok()?;
    let mut moov = Vec::new();
    reader.take(header.length - header.header).read_to_end(&mut moov).ok()?;
    Some(Finished { bytes, duration_us: ordinary_duration_us(&moov)?, left_out: Vec::new() })
}

fn temporary(into: &Path) -> PathBuf {
    let name = into.file_name().unwrap_or_default().to_string_lossy();
    into.with_file_name(format!(".{name}.part"))
}

/// Adds the fragments of a piece up to the last whole one. A film that is ordinary already has none: it is an error,
/// and the file stays as it is.
fn read_piece(
    file: &File,
    film: &mut Option<Film>,
    number: usize,
    start_us: u64,
    limit_us: u64,
    path: &Path,
) -> Result<(), FinishError> {
    let length = file.metadata().map_err(on(path))?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut at, mut moof, mut begun, mut fragments) = (0, None, false, 0_u64);
    loop {
        reader.seek(SeekFrom::Start(at)).map_err(on(path))?;
        let Some(header) = next_header(&mut reader).map_err(on(path))? else { break };
        if header.length > length - at {
            break;
        }
        let content = at + header.header..at + header.length;
        match &header.kind {
            b"moov" => {
                let moov = read_content(&mut reader, header, at).map_err(on(path))?;
                match film {
                    Some(film) => film.next_piece(&moov, number, start_us, limit_us)?,
                    None => *film = Some(Film::new(&moov, number, start_us, limit_us)?),
                }
                begun = true;
            }
            b"moof" => moof = Some(read_content(&mut reader, header, at).map_err(on(path))?),
            b"mdat" => {
                if let (Some(moof), Some(film), true) = (moof.take(), film.as_mut(), begun) {
                    film.add(&moof, content)?;
                    fragments += 1;
                }
            }
            _ => {}
        }
        at += header.length;
    }
    if fragments == 0 { Err(FilmError::Empty.into()) } else { Ok(()) }
}

fn next_header(reader: &mut impl Read) -> io::Result<Option<BoxHeader>> {
    let mut bytes = Vec::new();
    reader.take(BOX_HEADER_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(box_header(&bytes))
}

fn read_content(reader: &mut (impl Read + io::Seek), header: BoxHeader, at: u64) -> io::Result<Vec<u8>> {
    let length = header.length - header.header;
    if length > INDEX_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    reader.seek(SeekFrom::Start(at + header.header))?;
    let mut content = Vec::new();
    reader.take(length).read_to_end(&mut content)?;
    Ok(content)
}

/// A Matroska file that was made ordinary.
#[derive(Debug)]
pub(super) struct FinishedMkv {
    /// Its name now.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) duration_us: u64,
    pub(super) has_audio: bool,
    pub(super) has_video: bool,
}

/// Joins pieces of a sound, each with its place on the timeline, into one ordinary file.
pub(super) fn sound(pieces: &[(PathBuf, u64)], into: &Path) -> Result<FinishedMkv, FinishError> {
    let temporary = temporary(into);
    let mut joined = MkvFile::create(&temporary, vec![opus_track()]).map_err(on(&temporary))?;
    for (number, (path, start_us)) in pieces.iter().enumerate() {
        let ms = |us: u64| i64::try_from(us / 1_000).unwrap_or(i64::MAX);
        let (start_ms, limit_ms) =
            (ms(*start_us), pieces.get(number + 1).map_or(i64::MAX, |(_, next)| ms(*next)));
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a piece is left out");
                continue;
            }
        };
        let mut written = Ok(());
        let read = small_frames(&mut file, |at_ms, key, data| {
            let at_ms = at_ms.saturating_add(start_ms);
            if written.is_ok() && at_ms < limit_ms {
                written = joined.frame(0, at_ms, key, data);
            }
        });
        read.map_err(on(path))?;
        written.map_err(on(&temporary))?;
    }
    let end_ms = joined.end_ms();
    if end_ms == 0 {
        return Err(FilmError::Empty.into());
    }
    let bytes = joined.finish().map_err(on(&temporary))?;
    fs::rename(&temporary, into).map_err(on(into))?;
    remove_pieces(pieces, into);
    let duration_us = u64::try_from(end_ms).unwrap_or_default() * 1_000;
    Ok(FinishedMkv { path: into.to_owned(), bytes, duration_us, has_audio: true, has_video: false })
}

fn remove_pieces(pieces: &[(PathBuf, u64)], into: &Path) {
    for (path, _) in pieces.iter().filter(|(path, _)| path != into) {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(file = %path.display(), %error, "a piece stays");
        }
    }
}

/// Makes an interrupted Matroska file ordinary, in place. `None`: nothing is in it.
pub(super) fn mkv(path: &Path) -> Result<Option<FinishedMkv>, FinishError> {
    let mut file = File::options().read(true).write(true).open(path).map_err(on(path))?;
    let Some(recovery) = recover(&mut file).map_err(on(path))? else { return Ok(None) };
    file.set_len(recovery.keep_bytes).map_err(on(path))?;
    file.seek(SeekFrom::End(0)).map_err(on(path))?;
    super::film::apply(&mut file, &recovery.writes).map_err(on(path))?;
    file.sync_all().map_err(on(path))?;
    let bytes = file.metadata().map_err(on(path))?.len();
    let path = if recovery.webm { as_webm(path)? } else { path.to_owned() };
    let duration_us = u64::try_from(recovery.end_ms).unwrap_or_default() * 1_000;
    Ok(Some(FinishedMkv {
        path,
        bytes,
        duration_us,
        has_audio: recovery.has_audio,
        has_video: recovery.has_video,
    }))
}

/// Gives a file the name that its content deserves.
pub(super) fn as_webm(path: &Path) -> Result<PathBuf, FinishError> {
    let webm = path.with_extension("webm");
    if webm != path {
        fs::rename(path, &webm).map_err(on(path))?;
    }
    Ok(webm)
}
