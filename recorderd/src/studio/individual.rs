//! Shell: an individual recording: every stream in a Matroska file of its own, as its publisher sent it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use super::depay::{Frame, format, with_lengths};
use super::film::MkvFile;
use super::finish;
use super::intake::{Arrived, Intake};
use super::protocol::{Begin, Codec, FileResult, FromStudio, ToStudio, TrackAdd};
use crate::mkv::{MkvCodec, MkvTrack};

/// A growing file.
#[derive(Debug)]
struct Growing {
    mkv: MkvFile,
    name: String,
    stream: u64,
    start_us: i64,
    /// Tracks that feed it, and their numbers in it.
    tracks: BTreeMap<u32, usize>,
    audio: Option<usize>,
    video: Option<usize>,
    /// The picture's parameters are in the header.
    formatted: bool,
}

/// The job.
#[derive(Debug)]
pub(super) struct Individual {
    begin: Begin,
    intake: Intake,
    files: BTreeMap<String, Growing>,
    ended: Vec<FileResult>,
    warnings: BTreeSet<String>,
    over: bool,
    newest_us: i64,
}

/// Why the job cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndividualError {
    #[error("cannot write {file}: {source}")]
    Write { file: String, source: io::Error },
    #[error(transparent)]
    Finish(#[from] finish::FinishError),
}

fn codec(codec: Codec) -> MkvCodec {
    match codec {
        Codec::Vp8 => MkvCodec::Vp8,
        Codec::Vp9 => MkvCodec::Vp9,
        Codec::H264 => MkvCodec::H264,
        Codec::H265 => MkvCodec::H265,
        Codec::Av1 => MkvCodec::Av1,
        Codec::Opus | Codec::OpusRed => MkvCodec::Opus,
    }
}

impl Individual {
    /// Starts it.
    pub(super) fn start(begin: Begin) -> Self {
        Self {
            begin,
            intake: Intake::default(),
            files: BTreeMap::new(),
            ended: Vec::new(),
            warnings: BTreeSet::new(),
            over: false,
            newest_us: 0,
        }
    }

    /// Takes a message of the recorder.
    pub(super) fn message(
        &mut self,
        message: ToStudio,
        out: &mut Vec<FromStudio>,
    ) -> Result<(), IndividualError> {
        let mut arrived = Vec::new();
        match message {
            ToStudio::TrackAdd(add) => self.add(*add, out)?,
            ToStudio::Rtp { track, arrival_us, bytes } => {
                self.intake.rtp(track, arrival_us, &bytes, &mut arrived);
            }
            ToStudio::Report { track, ntp, rtp_ts, .. } => self.intake.report(track, ntp, rtp_ts),
            ToStudio::Gap { track } => self.intake.gap(track),
            ToStudio::TrackRemove { track } => self.remove(track, out)?,
            // Players turn nothing by themselves: the pictures are as they were sent.
            ToStudio::Roster(_) | ToStudio::Orientation { .. } => {}
            ToStudio::Stop => self.over = true,
            ToStudio::Begin(_) | ToStudio::Finish(_) => tracing::warn!("a second beginning is ignored"),
        }
        self.store(arrived, out)
    }

    /// True after `Stop`.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// No more is recorded.
    pub(super) const fn stop(&mut self) {
        self.over = true;
    }

    /// Looks after what goes on without packets.
    pub(super) fn tick(&mut self, now_us: i64, out: &mut Vec<FromStudio>) -> Result<(), IndividualError> {
        let mut arrived = Vec::new();
        self.intake.tick(now_us, &mut arrived);
        out.extend(self.intake.want_keys(now_us).into_iter().map(|track| FromStudio::WantKeyframe { track }));
        self.store(arrived, out)
    }

    /// How far it is. Frames are in the file as soon as they are whole.
    pub(super) fn progress(&self) -> FromStudio {
        let growing: u64 = self.files.values().map(|file| file.mkv.bytes()).sum();
        let ended: u64 = self.ended.iter().map(|file| file.bytes).sum();
        let warning = self.warnings.iter().cloned().collect::<Vec<_>>().join("; ");
        let media_us = u64::try_from(self.newest_us).unwrap_or_default();
        FromStudio::Progress { media_us, bytes: growing + ended, warning }
    }

    /// Makes all files ordinary.
    pub(super) fn finish(mut self, out: &mut Vec<FromStudio>) -> Result<FromStudio, IndividualError> {
        for name in self.files.keys().cloned().collect::<Vec<_>>() {
            self.end(&name, out)?;
        }
        let start = self.ended.iter().map(|file| file.start_us).min().unwrap_or_default();
        let end = self.ended.iter().map(|file| file.start_us + file.duration_us).max().unwrap_or_default();
        let bytes = self.ended.iter().map(|file| file.bytes).sum();
        let warning = self.warnings.iter().cloned().collect::<Vec<_>>().join("; ");
        Ok(FromStudio::Done { duration_us: end.saturating_sub(start), bytes, files: self.ended, warning })
    }

    fn add(&mut self, add: TrackAdd, out: &mut Vec<FromStudio>) -> Result<(), IndividualError> {
        self.remove(add.track, out)?;
        let is_used = if add.codec.is_audio() { self.begin.audio } else { self.begin.video };
        if is_used && !self.intake.add(add) {
            self.warnings.insert("too many tracks: some are left out".to_owned());
        }
        Ok(())
    }

    /// A file ends with its last track.
    fn remove(&mut self, track: u32, out: &mut Vec<FromStudio>) -> Result<(), IndividualError> {
        self.intake.remove(track);
        let owner = self.files.iter_mut().find(|(_, file)| file.tracks.contains_key(&track));
        let Some((name, file)) = owner else { return Ok(()) };
        file.tracks.remove(&track);
        if file.tracks.is_empty() {
            let name = name.clone();
            self.end(&name, out)?;
        }
        Ok(())
    }

    fn store(&mut self, arrived: Vec<Arrived>, out: &mut Vec<FromStudio>) -> Result<(), IndividualError> {
        for Arrived { track, frame } in arrived {
            let Some(add) = self.intake.get(track).cloned() else { continue };
            self.newest_us = self.newest_us.max(frame.at_us);
            let stored = self.store_one(&add, &frame, out);
            stored.map_err(|source| IndividualError::Write { file: add.file, source })?;
        }
        Ok(())
    }

    fn store_one(&mut self, add: &TrackAdd, frame: &Frame, out: &mut Vec<FromStudio>) -> io::Result<()> {
        let audio = add.codec.is_audio();
        let track = MkvTrack { codec: codec(add.codec), width: 0, height: 0, private: Vec::new() };
        let file = match self.files.entry(add.file.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let name = format!("{}.mkv", add.file);
                let mkv = MkvFile::create(&PathBuf::from(&self.begin.folder).join(&name), Vec::new())?;
                let start_us = frame.at_us.max(0);
                let (tracks, audio, video) = (BTreeMap::new(), None, None);
                entry.insert(Growing {
                    mkv,
                    name,
                    stream: add.stream,
                    start_us,
                    tracks,
                    audio,
                    video,
                    formatted: false,
                })
            }
        };
        let slot = if audio { &mut file.audio } else { &mut file.video };
        let index = match *slot {
            Some(index) => index,
            None => {
                let index = file.mkv.add_track(track)?;
                *slot = Some(index);
                out.push(FromStudio::FileBegan {
                    stream: file.stream,
                    file: file.name.clone(),
                    start_us: u64::try_from(file.start_us).unwrap_or_default(),
                    has_audio: file.audio.is_some(),
                    has_video: file.video.is_some(),
                });
                index
            }
        };
        file.tracks.insert(add.track, index);
        if !audio
            && !file.formatted
            && frame.key
            && let Some(format) = format(add.codec, &frame.data)
        {
            file.mkv.set_format(index, format)?;
            file.formatted = true;
        }
        let at_ms = (frame.at_us - file.start_us) / 1_000;
        match add.codec {
            Codec::H264 | Codec::H265 => file.mkv.frame(index, at_ms, frame.key, &with_lengths(&frame.data)),
            Codec::Vp8 | Codec::Vp9 | Codec::Av1 | Codec::Opus | Codec::OpusRed => {
                file.mkv.frame(index, at_ms, frame.key, &frame.data)
            }
        }
    }

    fn end(&mut self, name: &str, out: &mut Vec<FromStudio>) -> Result<(), IndividualError> {
        let Some(file) = self.files.remove(name) else { return Ok(()) };
        let (duration_ms, is_webm) = (file.mkv.end_ms(), file.mkv.is_webm());
        let grown = PathBuf::from(&self.begin.folder).join(&file.name);
        let finished = file.mkv.finish();
        let bytes = finished.map_err(|source| IndividualError::Write { file: file.name.clone(), source })?;
        let path = if is_webm { finish::as_webm(&grown)? } else { grown };
        debug_assert!(fs::exists(&path).unwrap_or(true), "the file was just written");
        let result = FileResult {
            stream: file.stream,
            grown: file.name,
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes,
            start_us: u64::try_from(file.start_us).unwrap_or_default(),
            duration_us: u64::try_from(duration_ms).unwrap_or_default() * 1_000,
            has_audio: file.audio.is_some(),
            has_video: file.video.is_some(),
        };
        self.ended.push(result.clone());
        out.push(FromStudio::FileEnded(result));
        Ok(())
    }
}
