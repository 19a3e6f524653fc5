//! Pure: no clock, no I/O, no async.
//!
//! What a job has written so far, as JSON: enough for the next start of the recorder to find and finish what a killed
//! process left behind, and to tell masterd again what became of finished recordings.

use common::id::{Generation, RecordingKey, SessionKey, StreamKey};
use common::wire::recording::{RecordingFact, RecordingSpec, RosterEntry};
use serde::{Deserialize, Serialize};

use crate::names::RecordingId;

/// Of the JSON; another one is not read.
const VERSION: u16 = 1;

/// The state of one recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    version: u16,
    /// The job.
    pub recording: RecordingKey,
    /// The session that is recorded.
    pub session: SessionKey,
    /// Of the newest command that was carried out.
    pub generation: Generation,
    /// Name of the folder.
    pub id: RecordingId,
    /// What to record, and how.
    pub spec: RecordingSpec,
    /// Recording time zero: microseconds since 1970.
    pub zero_unix_us: u64,
    /// How far the job is.
    pub phase: Phase,
    /// Process that writes the files.
    pub studio: Option<Studio>,
    /// Composed: the parts of the film, in order.
    pub pieces: Vec<Piece>,
    /// Individual: a file for each time that a stream was recorded.
    pub files: Vec<StreamFile>,
    /// What happened on the way, for humans.
    pub warnings: Vec<String>,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// Media comes in.
    Recording,
    /// The files are being made ordinary.
    Finishing {
        /// Why the result is none, if it is none.
        failed: Option<String>,
    },
    /// Over, and how.
    Ended {
        /// [`RecordingFact::Ready`] or [`RecordingFact::Failed`].
        fact: RecordingFact,
    },
}

/// A process, not only its number, which another one may get.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Studio {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot.
    pub started: u64,
}

/// A part of a film: what one studio wrote.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Name in the folder.
    pub file: String,
    /// Its begin in recording time.
    pub start_us: u64,
    /// Recording time up to which it is known to be on the disk.
    pub written_us: u64,
    /// Its length, when the studio ended well: it is an ordinary file.
    pub whole_us: Option<u64>,
}

/// A file of one stream.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct StreamFile {
    /// The stream.
    pub stream: StreamKey,
    /// Name in the folder.
    pub file: String,
    /// First media, in recording time.
    pub start_us: u64,
    /// Recording time up to which it is known to be on the disk.
    pub written_us: u64,
    /// Length and size, when it is an ordinary file.
    pub whole: Option<Whole>,
    /// Has sound.
    pub has_audio: bool,
    /// Has a picture.
    pub has_video: bool,
    /// Public name of the stream.
    pub stream_id: String,
    /// Public name of its publisher's connection.
    pub connection_id: String,
    /// What the publisher says of itself.
    pub client_data: String,
    /// What the application says of the publisher.
    pub server_data: String,
    /// `CAMERA`, `SCREEN` or `CUSTOM`.
    pub type_of_video: String,
}

/// Measure of an ordinary file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    /// Length.
    pub duration_us: u64,
    /// Size.
    pub bytes: u64,
}

impl StreamFile {
    /// A file whose first packet has arrived.
    #[must_use]
    pub fn begun(entry: &RosterEntry, file: String, start_us: u64, has_audio: bool, has_video: bool) -> Self {
        Self {
            stream: entry.stream,
            file,
            start_us,
            written_us: start_us,
            whole: None,
            has_audio,
            has_video,
            stream_id: entry.stream_id.clone(),
            connection_id: entry.connection_id.clone(),
            client_data: entry.client_data.clone(),
            server_data: entry.server_data.clone(),
            type_of_video: entry.type_of_video.clone(),
        }
    }

    /// Last media, in recording time, as far as it is known.
    #[must_use]
    pub fn end_us(&self) -> u64 {
        self.whole.map_or(self.written_us, |whole| self.start_us + whole.duration_us)
    }
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No JSON, or of another shape.
    #[error("malformed journal")]
    Malformed(#[from] serde_json::Error),
    /// Written by another version of the recorder.
    #[error("journal of version {version}, this recorder reads {VERSION}")]
    Version {
        /// Which.
        version: u16,
    },
}

impl Journal {
    /// Of a job that begins.
    #[must_use]
    pub const fn new(
        recording: RecordingKey,
        session: SessionKey,
        generation: Generation,
        id: RecordingId,
        spec: RecordingSpec,
        zero_unix_us: u64,
    ) -> Self {
        Self {
            version: VERSION,
            recording,
            session,
            generation,
            id,
            spec,
            zero_unix_us,
            phase: Phase::Recording,
            studio: None,
            pieces: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Only maps with keys that are no text fail, and there are none.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// From JSON.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn from_json(json: &[u8]) -> Result<Self, JournalError> {
        let journal: Self = serde_json::from_slice(json)?;
        if journal.version != VERSION {
            return Err(JournalError::Version { version: journal.version });
        }
        Ok(journal)
    }

    /// Adds a warning, each once and not without end.
    pub fn warn(&mut self, warning: &str) {
        const WARNINGS_MAX: usize = 20;
        if !warning.is_empty()
            && self.warnings.len() < WARNINGS_MAX
            && !self.warnings.iter().any(|known| known == warning)
        {
            self.warnings.push(warning.to_owned());
        }
    }

    /// All warnings in one text.
    #[must_use]
    pub fn warning(&self) -> String {
        self.warnings.join("; ")
    }

    /// Recording time that is known to be on the disk: of the film, or from the first start to the last end.
    #[must_use]
    pub fn duration_us(&self) -> u64 {
        let film = self
            .pieces
            .last()
            .map_or(0, |piece| piece.whole_us.map_or(piece.written_us, |length| piece.start_us + length));
        let first = self.files.iter().map(|file| file.start_us).min().unwrap_or(0);
        let last = self.files.iter().map(StreamFile::end_us).max().unwrap_or(0);
        film.max(last.saturating_sub(first))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use common::wire::recording::RecordingMode;

    use super::*;

    pub(crate) fn spec(mode: RecordingMode) -> RecordingSpec {
        RecordingSpec {
            name: "monday".to_owned(),
            mode,
            audio: true,
            video: true,
            layout: "BEST_FIT".to_owned(),
            custom_layout: String::new(),
            width: 1280,
            height: 720,
            frame_rate: 25,
            ignore_failed_streams: false,
            session: "standup".to_owned(),
            session_started_ms: 1_700_000_000_000,
            created_at_ms: 1_700_000_010_000,
            metadata: r#"{"id":"standup","status":"started","size":0,"duration":0.0,"url":null}"#.to_owned(),
            url: "https://ov.example.org/openvidu/recordings/standup/monday.mp4".to_owned(),
        }
    }

    pub(crate) fn journal(mode: RecordingMode) -> Journal {
        let id = RecordingId::try_from("standup".to_owned()).unwrap();
        Journal::new(RecordingKey(1), SessionKey(2), Generation(3), id, spec(mode), 1_700_000_010_000_000)
    }

    pub(crate) fn entry(stream: u64) -> RosterEntry {
        RosterEntry {
            stream: StreamKey(stream),
            connection: common::id::ConnectionKey(stream),
            stream_id: format!("str_CAM_{stream}_con_{stream}"),
            connection_id: format!("con_{stream}"),
            client_data: String::new(),
            server_data: "alice".to_owned(),
            type_of_video: "CAMERA".to_owned(),
            has_audio: true,
            has_video: true,
            audio_active: true,
            video_active: true,
            record: true,
            ext: Vec::new(),
        }
    }

    #[test]
    fn a_journal_survives_its_file_and_rubbish_is_refused() {
        let mut journal = journal(RecordingMode::Individual);
        journal.files.push(StreamFile::begun(&entry(7), "a.mkv".to_owned(), 84_000, true, true));
        journal.warn("one");
        journal.warn("one");
        journal.warn("");
        journal.warn("two");
        assert_eq!(Journal::from_json(&journal.to_json()).unwrap(), journal);
        assert_eq!(journal.warning(), "one; two");
        assert!(matches!(Journal::from_json(b"{}"), Err(JournalError::Malformed(_))));
        let other =
            String::from_utf8(journal.to_json()).unwrap().replacen("\"version\": 1", "\"version\": 2", 1);
        assert!(matches!(Journal::from_json(other.as_bytes()), Err(JournalError::Version { version: 2 })));
        let escaping = other
            .replacen("\"version\": 2", "\"version\": 1", 1)
            .replace("\"standup\",\n  \"spec\"", "\"../x\",\n  \"spec\"");
        assert!(matches!(Journal::from_json(escaping.as_bytes()), Err(JournalError::Malformed(_))));
    }

    #[test]
    fn the_duration_is_that_of_the_film_or_from_first_to_last() {
        let mut composed = journal(RecordingMode::Composed);
        assert_eq!(composed.duration_us(), 0);
        let piece =
            |start_us, written_us, whole_us| Piece { file: String::new(), start_us, written_us, whole_us };
        composed.pieces = vec![piece(0, 5, None), piece(5, 9, None)];
        assert_eq!(composed.duration_us(), 9);
        composed.pieces.push(piece(9, 10, Some(3)));
        assert_eq!(composed.duration_us(), 12);
        let mut individual = journal(RecordingMode::Individual);
        let mut file = StreamFile::begun(&entry(7), "a".to_owned(), 100, true, true);
        file.whole = Some(Whole { duration_us: 50, bytes: 1 });
        individual.files.push(file.clone());
        file.start_us = 40;
        individual.files.push(file);
        assert_eq!(individual.duration_us(), 110);
    }
}
