//! Pure: no clock, no I/O, no async.
//!
//! What is left to do with a job's files when no studio records any more.

use common::wire::recording::{RecordingFact, RecordingMode};

use super::{JOINS_MAX, Job, Joined, Output, State};
use crate::journal::{Phase, Piece, StreamFile, Whole};
use crate::studio::protocol::Unfinished;

impl Job {
    /// Goes on to what is to be done first. `failed` says why there will be no result, although files are finished.
    pub(super) fn finish(&mut self, now_us: u64, failed: Option<String>) {
        if matches!(self.state, State::Recording { .. }) {
            self.outputs.push_back(Output::HangUp);
        }
        self.journal.phase = Phase::Finishing { failed: failed.clone() };
        self.save(now_us);
        if self.has_unfinished() { self.join(0, failed) } else { self.pack(failed) }
    }

    fn has_unfinished(&self) -> bool {
        match self.journal.spec.mode {
            RecordingMode::Composed => match self.journal.pieces.as_slice() {
                [] => false,
                [only] => only.whole_us.is_none(),
                [_, _, ..] => true,
            },
            RecordingMode::Individual => self.journal.files.iter().any(|file| file.whole.is_none()),
        }
    }

    fn join(&mut self, attempt: u8, failed: Option<String>) {
        let files = match self.journal.spec.mode {
            RecordingMode::Composed => {
                let piece = |piece: &Piece| Unfinished { file: piece.file.clone(), start_us: piece.start_us };
                self.journal.pieces.iter().map(piece).collect()
            }
            RecordingMode::Individual => {
                let torn = self.journal.files.iter().filter(|file| file.whole.is_none());
                torn.map(|file| Unfinished { file: file.file.clone(), start_us: 0 }).collect()
            }
        };
        self.state = State::Joining { attempt, failed };
        self.outputs.push_back(Output::Join { files, into: self.film() });
    }

    fn film(&self) -> String {
        format!("{}.{}", self.journal.spec.name, self.film_extension())
    }

    pub(super) fn joined(&mut self, now_us: u64, result: Result<Joined, String>) {
        let State::Joining { attempt, failed } = self.state.clone() else { return };
        match result {
            Ok(joined) => {
                self.take_joined(&joined);
                self.save(now_us);
                self.pack(failed);
            }
            Err(_) if attempt + 1 < JOINS_MAX => self.join(attempt + 1, failed),
            Err(why) => self.leave_unjoined(&why, failed),
        }
    }

    fn take_joined(&mut self, joined: &Joined) {
        self.journal.warn(&joined.warning);
        match self.journal.spec.mode {
            RecordingMode::Composed => {
                let (file, whole_us) = (self.film(), Some(joined.duration_us));
                let written_us = joined.duration_us;
                self.journal.pieces = vec![Piece { file, start_us: 0, written_us, whole_us }];
                (self.bytes, self.earlier_bytes) = (joined.bytes, 0);
            }
            RecordingMode::Individual => {
                for result in &joined.files {
                    self.file_ended(result);
                }
                if self.journal.files.iter().any(|file| file.whole.is_none()) {
                    self.journal.warn("a file that was torn could not be mended");
                    self.give_up_torn_files();
                }
            }
        }
    }

    /// Torn files of streams can be played too, only not everywhere: they go into the archive as they are.
    fn give_up_torn_files(&mut self) {
        for file in self.journal.files.iter_mut().filter(|file| file.whole.is_none()) {
            let duration_us = file.written_us.saturating_sub(file.start_us);
            file.whole = Some(Whole { duration_us, bytes: 0 });
        }
    }

    fn leave_unjoined(&mut self, why: &str, failed: Option<String>) {
        match self.journal.spec.mode {
            RecordingMode::Individual => {
                self.journal.warn(&format!("torn files could not be mended: {why}"));
                self.give_up_torn_files();
                self.pack(failed);
            }
            RecordingMode::Composed => {
                let why = failed.unwrap_or_else(|| format!("the film could not be finished: {why}"));
                self.end(Some(why));
            }
        }
    }

    fn pack(&mut self, failed: Option<String>) {
        match self.journal.spec.mode {
            RecordingMode::Individual => {
                self.outputs.push_back(Output::Pack { files: self.journal.files.clone() });
                self.state = State::Packing { failed };
            }
            RecordingMode::Composed if self.journal.pieces.is_empty() => {
                self.end(Some(failed.unwrap_or_else(|| "nothing was recorded".to_owned())));
            }
            RecordingMode::Composed => self.end(failed),
        }
    }

    pub(super) fn packed(&mut self, result: Result<u64, String>) {
        let State::Packing { failed } = self.state.clone() else { return };
        match result {
            Ok(bytes) => {
                (self.bytes, self.earlier_bytes) = (bytes, 0);
                self.end(failed);
            }
            Err(why) => self.end(Some(failed.unwrap_or(why))),
        }
    }

    fn end(&mut self, failed: Option<String>) {
        let duration_ms = self.journal.duration_us() / 1000;
        let size_bytes = match self.journal.spec.mode {
            RecordingMode::Composed => self.size_bytes(),
            RecordingMode::Individual if failed.is_none() => self.bytes,
            RecordingMode::Individual => {
                let bytes = |file: &StreamFile| file.whole.map_or(0, |whole| whole.bytes);
                self.bytes.max(self.journal.files.iter().map(bytes).sum())
            }
        };
        let fact = match failed {
            None => RecordingFact::Ready { duration_ms, size_bytes, warning: self.journal.warning() },
            Some(why) => RecordingFact::Failed { why, size_bytes, duration_ms },
        };
        self.journal.phase = Phase::Ended { fact: fact.clone() };
        self.state = State::Over { fact: fact.clone() };
        self.outputs.push_back(Output::Save);
        self.report(fact);
    }
}
