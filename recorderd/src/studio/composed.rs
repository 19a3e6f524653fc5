//! Shell: a composed recording: everybody in one film, or in one sound.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use super::film::{Film, MkvFile, opus_track};
use super::intake::{Arrived, Intake};
use super::protocol::{Begin, FileResult, FromStudio, RosterStream, ToStudio, TrackAdd};
use super::scene::{self, Content, Placed, Scene};
use super::stage::{Encoded, Sound, Stage, StageError, Still, VideoPad};
use super::{Event, finish, thumbnail};
use crate::labels::{LABEL_HEIGHT, avatar, label};
use crate::layout::Area;

/// What is captured at one moment of recording time is seen this much later in the film: so long may a packet be on its
/// way (or be repaired) and a frame be decoded. On top comes the wait of compositor and mixer.
const DELAY_US: i64 = 240_000;

/// AAC begins with 1024 samples of nothing, Opus with 312: sound is put earlier by as much.
const CODEC_DELAY_US: i64 = 28_000;

/// After `Stop` the rest of the film comes within so long, or is done without.
const REST_US: i64 = 2_000_000;

/// A track whose decoder fails so often has no picture.
const FAILURES_MAX: u32 = 5;

const LABEL_ALPHA: f64 = 0.75;

#[derive(Debug)]
enum Part {
    Picture(VideoPad),
    Sound(Sound),
    /// Cannot be decoded here, or failed too often.
    Broken,
}

#[derive(Debug)]
struct Track {
    add: TrackAdd,
    part: Part,
    /// Rises with each new pad, so that errors of a former one are told apart.
    generation: u32,
    failures: u32,
    /// Quarters of a turn.
    turned: u8,
    /// Size of picture that was asked for.
    wanted: Option<(u16, u16)>,
}

#[derive(Debug)]
enum Output {
    Film(Film),
    Sound(MkvFile),
}

/// A still picture with what it was drawn from.
#[derive(Debug)]
struct Drawn {
    name: String,
    size: (u16, u16),
    still: Still,
}

/// The job.
#[derive(Debug)]
pub(super) struct Composed {
    begin: Begin,
    path: PathBuf,
    intake: Intake,
    stage: Stage,
    output: Output,
    tracks: BTreeMap<u32, Track>,
    roster: Vec<RosterStream>,
    scene: Scene,
    labels: BTreeMap<u64, Drawn>,
    avatars: BTreeMap<u64, Drawn>,
    warnings: BTreeSet<String>,
    running: bool,
    /// Where the film ends, on its own timeline; and until when the rest is waited for.
    stop: Option<Stop>,
    ended: bool,
    written_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    film_ns: u64,
    deadline_us: i64,
}

/// Why the job cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ComposedError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("cannot write {file}: {source}")]
    Write { file: String, source: io::Error },
    #[error("{element} failed: {why}")]
    Element { element: String, why: String },
    #[error(transparent)]
    Finish(#[from] finish::FinishError),
}

impl Composed {
    /// Starts it.
    pub(super) fn start(begin: Begin, events: &SyncSender<Event>) -> Result<Self, ComposedError> {
        let extension = if begin.video { "mp4" } else { "webm" };
        let path = PathBuf::from(&begin.folder).join(format!("{}.{extension}", begin.name));
        let on_disk = |source| ComposedError::Write { file: format!("{}.{extension}", begin.name), source };
        let output = if begin.video {
            let film = Film::create(&path, begin.audio, (begin.width, begin.height), begin.frame_rate);
            Output::Film(film.map_err(on_disk)?)
        } else {
            Output::Sound(MkvFile::create(&path, vec![opus_track()]).map_err(on_disk)?)
        };
        let stage = Stage::start(&begin, events)?;
        Ok(Self {
            begin,
            path,
            intake: Intake::default(),
            stage,
            output,
            tracks: BTreeMap::new(),
            roster: Vec::new(),
            scene: Scene::default(),
            labels: BTreeMap::new(),
            avatars: BTreeMap::new(),
            warnings: BTreeSet::new(),
            running: false,
            stop: None,
            ended: false,
            written_ms: 0,
        })
    }

    /// Takes a message of the recorder.
    pub(super) fn message(&mut self, message: ToStudio, now_us: i64) {
        let mut arrived = Vec::new();
        match message {
            ToStudio::TrackAdd(add) => self.add(*add),
            ToStudio::Rtp { track, arrival_us, bytes } => {
                self.intake.rtp(track, arrival_us, &bytes, &mut arrived);
            }
            ToStudio::Report { track, ntp, rtp_ts, .. } => self.intake.report(track, ntp, rtp_ts),
            ToStudio::Gap { track } => self.intake.gap(track),
            ToStudio::Orientation { track, orientation } => self.turn(track, orientation & 3),
            ToStudio::TrackRemove { track } => self.remove(track),
            ToStudio::Roster(roster) => self.roster = roster,
            ToStudio::Stop => self.stop(now_us),
            ToStudio::Begin(_) | ToStudio::Finish(_) => tracing::warn!("a second beginning is ignored"),
        }
        self.present(arrived);
    }

    /// No more is recorded; the film ends with what was captured until now.
    pub(super) fn stop(&mut self, now_us: i64) {
        let film_us = u64::try_from(now_us.saturating_add(DELAY_US)).unwrap_or_default();
        let stop = Stop {
            film_ns: film_us.saturating_mul(1_000),
            deadline_us: now_us + self.lag_us(now_us) + REST_US,
        };
        self.stop.get_or_insert(stop);
    }

    /// True when the film is complete.
    pub(super) fn is_over(&self, now_us: i64) -> bool {
        self.stop.is_some_and(|stop| self.ended || now_us > stop.deadline_us)
    }

    /// How far what is written lies behind now.
    fn lag_us(&self, now_us: i64) -> i64 {
        (now_us - self.written_ms * 1_000).clamp(0, 10_000_000) + DELAY_US
    }

    /// An encoded frame.
    pub(super) fn encoded(
        &mut self,
        encoded: Encoded,
        out: &mut Vec<FromStudio>,
    ) -> Result<(), ComposedError> {
        if self.stop.is_some_and(|stop| encoded.at_ns >= stop.film_ns) {
            self.ended |= encoded.video == self.begin.video;
            return Ok(());
        }
        let film_ms = i64::try_from(encoded.at_ns / 1_000_000).unwrap_or(i64::MAX);
        let written = match &mut self.output {
            Output::Film(film) => film.push(encoded),
            Output::Sound(file) => file.frame(0, film_ms, true, &encoded.data).map(|()| true),
        };
        let written = written.map_err(|source| self.on_disk(source))?;
        self.written_ms = match &self.output {
            Output::Film(film) => i64::try_from(film.written_ns() / 1_000_000).unwrap_or(i64::MAX),
            Output::Sound(file) => file.end_ms(),
        };
        if written && !self.running {
            self.running = true;
            out.push(FromStudio::Running);
        }
        Ok(())
    }

    /// An element failed. Those of a track are replaced; without one of the others there is no film.
    pub(super) fn trouble(&mut self, element: String, why: String) -> Result<(), ComposedError> {
        let Some((track, generation)) = owner(&element) else {
            if element.starts_with("still-") {
                self.warnings.insert(format!("a label cannot be shown: {why}"));
                return Ok(());
            }
            return Err(ComposedError::Element { element, why });
        };
        tracing::warn!(track, element, why, "a track's decoder failed");
        let Some(entry) = self.tracks.get_mut(&track).filter(|entry| entry.generation == generation) else {
            return Ok(());
        };
        entry.failures += 1;
        entry.generation += 1;
        entry.part = Part::Broken;
        if entry.failures > FAILURES_MAX {
            self.warnings.insert(format!("a track of {} cannot be decoded: {why}", entry.add.codec.name()));
        } else {
            entry.part = open(&self.stage, &entry.add, entry.generation, &mut self.warnings);
            if let Part::Picture(pad) = &entry.part {
                pad.turn(entry.turned);
            }
            self.intake.lose(track);
        }
        self.scene = Scene::default();
        Ok(())
    }

    /// After a change of latency somewhere.
    pub(super) fn settle_latency(&self) {
        self.stage.settle_latency();
    }

    /// Looks after everything that goes on without packets.
    pub(super) fn tick(&mut self, now_us: i64, out: &mut Vec<FromStudio>) {
        let mut arrived = Vec::new();
        self.intake.tick(now_us, &mut arrived);
        self.present(arrived);
        for track in self.intake.want_keys(now_us) {
            if self.tracks.get(&track).is_some_and(|track| matches!(track.part, Part::Picture(_))) {
                out.push(FromStudio::WantKeyframe { track });
            }
        }
        self.direct(out);
    }

    /// How far it is.
    pub(super) fn progress(&self) -> FromStudio {
        let bytes = match &self.output {
            Output::Film(film) => film.bytes(),
            Output::Sound(file) => file.bytes(),
        };
        FromStudio::Progress { media_us: self.media_us(), bytes, warning: self.warning() }
    }

    /// Recording time up to which everything is on the disk.
    fn media_us(&self) -> u64 {
        u64::try_from((self.written_ms * 1_000 - DELAY_US).max(0)).unwrap_or_default()
    }

    /// Makes the film ordinary.
    pub(super) fn finish(self) -> Result<(FromStudio, Stage), ComposedError> {
        let mut warnings = self.warnings.clone();
        let media_us = self.media_us();
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let on_disk = |source| ComposedError::Write { file: file.clone(), source };
        let (bytes, duration_us) = match self.output {
            Output::Film(mut film) => {
                film.flush().map_err(on_disk)?;
                let bytes = film.bytes();
                drop(film);
                if self.begin.is_piece {
                    return Ok((
                        FromStudio::Done {
                            duration_us: media_us,
                            bytes,
                            files: Vec::new(),
                            warning: joined(&warnings),
                        },
                        self.stage,
                    ));
                }
                let finished = finish::film(&[(self.path.clone(), 0)], &self.path)?;
                warnings.extend(finished.left_out);
                (finished.bytes, finished.duration_us)
            }
            Output::Sound(sound) => {
                let duration_ms = u64::try_from(sound.end_ms()).unwrap_or_default();
                (sound.finish().map_err(on_disk)?, duration_ms * 1_000)
            }
        };
        if self.begin.video && !self.begin.thumbnail.is_empty() {
            let picture = PathBuf::from(&self.begin.folder).join(&self.begin.thumbnail);
            if let Err(error) = thumbnail::thumbnail(&self.path, &picture) {
                warnings.insert(error.to_string());
            }
        }
        let result = FileResult {
            stream: 0,
            grown: file.clone(),
            file,
            bytes,
            start_us: 0,
            duration_us,
            has_audio: self.begin.audio,
            has_video: self.begin.video,
        };
        let warning = joined(&warnings);
        Ok((FromStudio::Done { duration_us, bytes, files: vec![result], warning }, self.stage))
    }

    fn on_disk(&self, source: io::Error) -> ComposedError {
        ComposedError::Write {
            file: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            source,
        }
    }

    fn warning(&self) -> String {
        joined(&self.warnings)
    }

    fn add(&mut self, add: TrackAdd) {
        let track = add.track;
        self.remove(track);
        let is_used = if add.codec.is_audio() { self.begin.audio } else { self.begin.video };
        if !is_used {
            return;
        }
        if !self.intake.add(add.clone()) {
            self.warnings.insert("too many tracks: some are left out".to_owned());
            return;
        }
        let part = open(&self.stage, &add, 0, &mut self.warnings);
        self.tracks.insert(track, Track { add, part, generation: 0, failures: 0, turned: 0, wanted: None });
    }

    fn remove(&mut self, track: u32) {
        self.intake.remove(track);
        self.tracks.remove(&track);
    }

    fn turn(&mut self, track: u32, quarters: u8) {
        let Some(entry) = self.tracks.get_mut(&track) else { return };
        entry.turned = quarters;
        if let Part::Picture(pad) = &entry.part {
            pad.turn(quarters);
        }
    }

    /// Puts frames at their places in the film.
    fn present(&mut self, arrived: Vec<Arrived>) {
        for Arrived { track, frame } in arrived {
            let Some(entry) = self.tracks.get(&track) else { continue };
            let film_us = frame.at_us + DELAY_US;
            let at_ns = |us: i64| u64::try_from(us).unwrap_or_default().saturating_mul(1_000);
            let taken = match &entry.part {
                // Pictures from before the beginning are decoded: later ones need them.
                Part::Picture(pad) => {
                    pad.push(frame.data, at_ns(film_us + self.half_picture_us()), frame.key, frame.after_loss)
                }
                Part::Sound(_) if film_us < CODEC_DELAY_US => true,
                Part::Sound(sound) => {
                    sound.push(frame.data, at_ns(film_us - CODEC_DELAY_US), frame.after_loss)
                }
                Part::Broken => true,
            };
            if !taken {
                tracing::debug!(track, "frames are dropped: their decoder is behind");
                self.intake.lose(track);
            }
        }
    }

    /// The compositor shows a picture from the last tick before its time on: half a tick too early on average.
    fn half_picture_us(&self) -> i64 {
        500_000 / i64::from(self.begin.frame_rate.max(1))
    }

    /// Decides what is to be seen, and changes what is not so yet.
    fn direct(&mut self, out: &mut Vec<FromStudio>) {
        let pictures: Vec<scene::Picture> = self
            .tracks
            .values()
            .filter(|track| !track.add.codec.is_audio())
            .map(|track| {
                let (size, decodable) = match &track.part {
                    Part::Picture(pad) if pad.frames() > 0 => (pad.size(), true),
                    Part::Picture(_) => ((0, 0), true),
                    Part::Sound(_) | Part::Broken => ((0, 0), false),
                };
                scene::Picture { track: track.add.track, stream: track.add.stream, size, decodable }
            })
            .collect();
        if !self.begin.video {
            return;
        }
        let (width, height) = (self.begin.width, self.begin.height);
        let scene = scene::scene(width, height, &self.roster, &pictures, self.begin.audio_tiles);
        if scene == self.scene {
            return;
        }
        self.want(&scene, out);
        self.place(&scene);
        self.draw(&scene.placed);
        self.scene = scene;
    }

    fn want(&mut self, scene: &Scene, out: &mut Vec<FromStudio>) {
        for (track, area) in &scene.planned {
            let size = (area.width, area.height);
            if let Some(entry) = self.tracks.get_mut(track).filter(|entry| entry.wanted != Some(size)) {
                entry.wanted = Some(size);
                out.push(FromStudio::WantLayer { track: *track, width: area.width, height: area.height });
            }
        }
    }

    fn place(&mut self, scene: &Scene) {
        let area_of = |track: u32| {
            let mut placed = scene.placed.iter();
            placed.find(|placed| placed.content == Content::Picture { track }).map(|placed| placed.area)
        };
        for (number, track) in &mut self.tracks {
            if let Part::Picture(pad) = &mut track.part {
                pad.place(area_of(*number).filter(|area| area.width > 0 && area.height > 0));
            }
        }
    }

    /// Names and tiles without a picture.
    fn draw(&mut self, placed: &[Placed]) {
        let avatars = placed.iter().filter(|tile| tile.content == Content::Avatar);
        let avatars: BTreeMap<u64, &Placed> = avatars.map(|tile| (tile.stream, tile)).collect();
        self.avatars.retain(|stream, _| avatars.contains_key(stream));
        for (stream, tile) in avatars {
            let size = (tile.area.width, tile.area.height);
            let is_right = |drawn: &Drawn| drawn.name == tile.name && drawn.size == size;
            if !self.avatars.get(&stream).is_some_and(is_right) {
                self.avatars.remove(&stream);
                let picture = avatar(&tile.name, size.0, size.1);
                let drawn = self.drawn(&picture, &tile.name, size);
                self.avatars.extend(drawn.map(|drawn| (stream, drawn)));
            }
            if let Some(drawn) = self.avatars.get(&stream) {
                drawn.still.place(tile.area, 1.0, 1);
            }
        }
        let labelled = placed.iter().filter(|tile| self.begin.labels || tile.content == Content::Avatar);
        let labelled: BTreeMap<u64, &Placed> = labelled.map(|tile| (tile.stream, tile)).collect();
        self.labels.retain(|stream, _| labelled.contains_key(stream));
        for (stream, tile) in labelled {
            let size = (tile.area.width, LABEL_HEIGHT);
            let is_right = |drawn: &Drawn| drawn.name == tile.name && drawn.size == size;
            if !self.labels.get(&stream).is_some_and(is_right) {
                self.labels.remove(&stream);
                let picture = label(&tile.name, tile.area.width);
                let drawn = picture.and_then(|picture| self.drawn(&picture, &tile.name, size));
                self.labels.extend(drawn.map(|drawn| (stream, drawn)));
            }
            if let Some(drawn) = self.labels.get(&stream) {
                drawn.still.place(label_area(tile.area, drawn.still.size()), LABEL_ALPHA, 3);
            }
        }
    }

    fn drawn(&mut self, picture: &crate::labels::Picture, name: &str, size: (u16, u16)) -> Option<Drawn> {
        match self.stage.add_still(picture) {
            Ok(still) => Some(Drawn { name: name.to_owned(), size, still }),
            Err(error) => {
                self.warnings.insert(format!("a label cannot be shown: {error}"));
                None
            }
        }
    }
}

/// At the bottom left of its tile.
fn label_area(tile: Area, (width, height): (u16, u16)) -> Area {
    let y = (tile.y + tile.height).saturating_sub(height);
    Area { x: tile.x, y, width: width.min(tile.width), height: height.min(tile.height) }
}

fn joined(warnings: &BTreeSet<String>) -> String {
    warnings.iter().cloned().collect::<Vec<_>>().join("; ")
}

fn open(stage: &Stage, add: &TrackAdd, generation: u32, warnings: &mut BTreeSet<String>) -> Part {
    let name = format!("t{}g{generation}", add.track);
    let part = if add.codec.is_audio() {
        stage.add_audio(&name).map(Part::Sound)
    } else {
        stage.add_video(&name, add.codec).map(Part::Picture)
    };
    part.unwrap_or_else(|error| {
        warnings.insert(format!("{} cannot be decoded here: {error}", add.codec.name()));
        Part::Broken
    })
}

/// Track and generation in the name of an element.
fn owner(element: &str) -> Option<(u32, u32)> {
    let (track, generation) = element.split_once('-')?.0.strip_prefix('t')?.split_once('g')?;
    Some((track.parse().ok()?, generation.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elements_name_tells_its_track() {
        assert_eq!(owner("t12g3-decoder"), Some((12, 3)));
        assert_eq!(owner("x264enc0"), None);
        assert_eq!(owner("still-capsfilter3-source"), None);
    }
}
