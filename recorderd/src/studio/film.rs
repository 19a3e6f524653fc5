//! Shell: the film's file while it grows.
//!
//! Encoded frames gather to fragments of half a second; each is written in one piece, so a kill loses no more. The first
//! picture is written at once: from then on the file can be played.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use super::stage::Encoded;
use crate::boxes::fragment::{Run, fragment, header};
use crate::boxes::{Sample, TrackFormat, TrackSpec};
use crate::mkv::{Mkv, MkvCodec, MkvTrack, Write};

/// A fragment is so long.
const FRAGMENT_NS: u64 = 500_000_000;

/// Samples of one AAC frame.
const AAC_SAMPLES: u32 = 1024;

const AUDIO_HZ: u32 = 48_000;

/// Ticks of one picture.
const PICTURE_TICKS: u32 = 1_000;

#[derive(Debug)]
struct Track {
    video: bool,
    clock_hz: u32,
    format: Option<TrackFormat>,
    /// Ticks before the first waiting sample, and after the last.
    start: u64,
    end: Option<u64>,
    samples: Vec<Sample>,
    data: Vec<u8>,
}

/// A film of H264, AAC or both in fragments.
#[derive(Debug)]
pub(super) struct Film {
    file: File,
    frame_rate: u16,
    size: (u16, u16),
    tracks: Vec<Track>,
    fragments: u32,
    bytes: u64,
    /// On the film's timeline: what is in the file, and the beginning of what waits.
    written_ns: u64,
    waiting_since_ns: Option<u64>,
}

impl Film {
    /// An empty file.
    pub(super) fn create(path: &Path, audio: bool, size: (u16, u16), frame_rate: u16) -> io::Result<Self> {
        let track = |video: bool, clock_hz: u32| Track {
            video,
            clock_hz,
            format: None,
            start: 0,
            end: None,
            samples: Vec::new(),
            data: Vec::new(),
        };
        let mut tracks = vec![track(true, u32::from(frame_rate) * PICTURE_TICKS)];
        if audio {
            tracks.push(track(false, AUDIO_HZ));
        }
        let file = File::create(path)?;
        Ok(Self {
            file,
            frame_rate,
            size,
            tracks,
            fragments: 0,
            bytes: 0,
            written_ns: 0,
            waiting_since_ns: None,
        })
    }

    /// Takes a frame; true when something was written.
    pub(super) fn push(&mut self, encoded: Encoded) -> io::Result<bool> {
        let frame_rate = u64::from(self.frame_rate);
        let size = self.size;
        let Some(track) = self.tracks.iter_mut().find(|track| track.video == encoded.video) else {
            return Ok(false);
        };
        if let Some(config) = encoded.config {
            track.format.get_or_insert(if encoded.video {
                TrackFormat::Video { width: size.0, height: size.1, avcc: config }
            } else {
                TrackFormat::Audio { rate: AUDIO_HZ, channels: 2, config }
            });
        }
        let (at, duration) = if encoded.video {
            let picture = (u128::from(encoded.at_ns) * u128::from(frame_rate) + 500_000_000) / 1_000_000_000;
            (
                u64::try_from(picture).unwrap_or(u64::MAX).saturating_mul(u64::from(PICTURE_TICKS)),
                PICTURE_TICKS,
            )
        } else {
            // AAC comes without holes: counting keeps rounding out.
            let samples = u128::from(encoded.at_ns) * u128::from(AUDIO_HZ) / 1_000_000_000;
            (track.end.unwrap_or_else(|| u64::try_from(samples).unwrap_or(u64::MAX)), AAC_SAMPLES)
        };
        track.append(at, duration, encoded.key || !encoded.video, &encoded.data);
        let since = *self.waiting_since_ns.get_or_insert(encoded.at_ns);
        let is_whole =
            encoded.video && (self.fragments == 0 || encoded.at_ns.saturating_sub(since) >= FRAGMENT_NS);
        if is_whole { self.flush() } else { Ok(false) }
    }

    /// Writes what waits. Nothing is written before all tracks are known.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let runs: Vec<Run> = (1..).zip(&mut self.tracks).filter_map(|(id, track)| track.take(id)).collect();
        if runs.is_empty() {
            return Ok(false);
        }
        let specs: Option<Vec<TrackSpec>> = self.tracks.iter().map(Track::spec).collect();
        let Some(specs) = specs else {
            self.put_back(runs);
            return Ok(false);
        };
        let mut bytes = if self.fragments == 0 { header(&specs) } else { Vec::new() };
        self.fragments += 1;
        bytes.extend(fragment(self.fragments, &runs));
        self.file.write_all(&bytes)?;
        self.bytes += bytes.len() as u64;
        self.waiting_since_ns = None;
        let ends = self
            .tracks
            .iter()
            .map(|track| u128::from(track.start) * 1_000_000_000 / u128::from(track.clock_hz));
        self.written_ns = u64::try_from(ends.min().unwrap_or_default()).unwrap_or(u64::MAX);
        Ok(true)
    }

    /// The film up to here is in the file, in all its tracks.
    pub(super) const fn written_ns(&self) -> u64 {
        self.written_ns
    }

    /// Bytes of the file.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn put_back(&mut self, runs: Vec<Run>) {
        for run in runs {
            if let Some(track) =
                (run.track as usize).checked_sub(1).and_then(|index| self.tracks.get_mut(index))
            {
                (track.start, track.samples, track.data) = (run.start, run.samples, run.data);
            }
        }
    }
}

impl Track {
    fn append(&mut self, at: u64, duration: u32, key: bool, data: &[u8]) {
        if self.samples.is_empty() {
            self.start = at.max(self.end.unwrap_or(0));
        } else if let Some((gap, last)) = self
            .end
            .and_then(|end| at.checked_sub(end))
            .zip(self.samples.last_mut())
            .filter(|(gap, _)| *gap > 0)
        {
            // A picture that was not made lengthens the one before it.
            last.duration = last.duration.saturating_add(u32::try_from(gap).unwrap_or(u32::MAX));
        }
        self.end = Some(at.max(self.end.unwrap_or(0)) + u64::from(duration));
        self.samples.push(Sample { duration, size: u32::try_from(data.len()).unwrap_or(u32::MAX), key });
        self.data.extend_from_slice(data);
    }

    fn take(&mut self, id: u32) -> Option<Run> {
        if self.samples.is_empty() {
            return None;
        }
        let (samples, data) = (std::mem::take(&mut self.samples), std::mem::take(&mut self.data));
        let run = Run { track: id, start: self.start, samples, data };
        self.start = self.end.unwrap_or(self.start);
        Some(run)
    }

    fn spec(&self) -> Option<TrackSpec> {
        Some(TrackSpec { clock_hz: self.clock_hz, format: self.format.clone()? })
    }
}

/// A Matroska file on the disk.
#[derive(Debug)]
pub(super) struct MkvFile {
    file: File,
    mkv: Mkv,
}

impl MkvFile {
    /// A file with these tracks.
    pub(super) fn create(path: &Path, tracks: Vec<MkvTrack>) -> io::Result<Self> {
        let (mkv, start) = Mkv::new(tracks);
        let mut file = Self { file: File::create(path)?, mkv };
        file.write(&[start])?;
        Ok(file)
    }

    /// Appends a frame.
    pub(super) fn frame(&mut self, track: usize, at_ms: i64, key: bool, data: &[u8]) -> io::Result<()> {
        let mut writes = Vec::new();
        self.mkv.frame(track, at_ms, key, data, &mut writes);
        self.write(&writes)
    }

    /// The track's parameters are known now.
    pub(super) fn set_format(&mut self, track: usize, format: super::depay::Format) -> io::Result<()> {
        let write = self.mkv.set_format(track, format.width, format.height, format.private);
        write.map_or(Ok(()), |write| self.write(&[write]))
    }

    /// A track joins.
    pub(super) fn add_track(&mut self, track: MkvTrack) -> io::Result<usize> {
        let (index, write) = self.mkv.add_track(track);
        self.write(&[write])?;
        Ok(index)
    }

    pub(super) const fn end_ms(&self) -> i64 {
        self.mkv.end_ms()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.mkv.length()
    }

    pub(super) fn is_webm(&self) -> bool {
        self.mkv.is_webm()
    }

    /// Makes it ordinary; returns its size.
    pub(super) fn finish(self) -> io::Result<u64> {
        let Self { mut file, mkv } = self;
        let mut writes = Vec::new();
        mkv.finish(&mut writes);
        apply(&mut file, &writes)?;
        Ok(file.metadata()?.len())
    }

    fn write(&mut self, writes: &[Write]) -> io::Result<()> {
        apply(&mut self.file, writes)
    }
}

/// Carries out changes of a file whose position is its end.
pub(super) fn apply(file: &mut File, writes: &[Write]) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    for write in writes {
        match write {
            Write::Append(bytes) => file.write_all(bytes)?,
            Write::At(at, bytes) => file.write_all_at(bytes, *at)?,
        }
    }
    Ok(())
}

/// Sound alone.
pub(super) fn opus_track() -> MkvTrack {
    MkvTrack { codec: MkvCodec::Opus, width: 0, height: 0, private: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(video: bool, n: u64, config: bool) -> Encoded {
        let duration_ns = if video { 40_000_000 } else { 21_333_333 };
        Encoded {
            video,
            at_ns: n * duration_ns,
            key: n == 0,
            data: vec![u8::from(video); 10],
            config: config.then(|| vec![1, 2]),
        }
    }

    #[test]
    fn the_first_picture_is_written_at_once_and_then_every_half_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        let mut film = Film::create(&path, true, (640, 360), 25).unwrap();
        assert!(!film.push(encoded(true, 0, true)).unwrap(), "the sound's parameters are not known yet");
        assert!(!film.push(encoded(false, 0, true)).unwrap());
        let written: Vec<u64> = (1..40).filter(|&n| film.push(encoded(true, n, false)).unwrap()).collect();
        assert_eq!(written, [1, 15, 29]);
        assert_eq!(film.bytes(), std::fs::metadata(&path).unwrap().len());
        assert_eq!(film.written_ns(), 21_333_333, "the sound stopped after one frame");
    }
}
