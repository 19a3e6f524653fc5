//! Pure: no clock, no I/O, no async.
//!
//! A film that has grown in fragments becomes one with its index in front. The index is read from the headers of the
//! fragments; the samples are copied as they are. What does not follow is cut off: a film ends with its last whole
//! fragment.

use std::ops::Range;

use super::fragment::{NOT_KEY, TRUN_FLAGS};
use super::track::{FILM_HZ, mvhd};
use super::{Sample, TrackFormat, TrackSpec, boxed, child, children, full, low, words};

/// Why a file is not a film of ours.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum FilmError {
    /// The header of the file, or of a fragment, is not as this program writes it.
    #[error("the film has an unknown form")]
    Form,
    /// There is nothing in it.
    #[error("the film has no pictures and no sound")]
    Empty,
}

#[derive(Debug)]
struct Track {
    spec: TrackSpec,
    /// Ticks before the first sample.
    start: u64,
    /// Ticks after the last sample.
    end: u64,
    samples: Vec<Sample>,
    /// Where runs begin in the new file's data, and how many samples each has.
    chunks: Vec<(u64, u32)>,
}

/// A part of the new file's data: bytes of a piece.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// Number of the piece, from 0.
    pub piece: usize,
    /// Its bytes.
    pub bytes: Range<u64>,
}

/// The index of a growing film, or of several pieces of one.
#[derive(Debug)]
pub struct Film {
    tracks: Vec<Track>,
    parts: Vec<Part>,
    data_bytes: u64,
    /// The piece that is read: its number, where it begins on the film's timeline, and where it ends at the latest.
    piece: usize,
    start_us: u64,
    limit_us: u64,
}

impl Film {
    /// From the content of the `moov` of the first piece, which begins there and is used up to `limit_us`.
    ///
    /// # Errors
    /// [`FilmError::Form`].
    pub fn new(moov: &[u8], piece: usize, start_us: u64, limit_us: u64) -> Result<Self, FilmError> {
        Ok(Self { tracks: read_tracks(moov)?, parts: Vec::new(), data_bytes: 0, piece, start_us, limit_us })
    }

    /// Goes on with another piece, which must have the same tracks.
    ///
    /// # Errors
    /// [`FilmError::Form`]; the piece cannot be used then.
    pub fn next_piece(
        &mut self,
        moov: &[u8],
        piece: usize,
        start_us: u64,
        limit_us: u64,
    ) -> Result<(), FilmError> {
        let tracks = read_tracks(moov)?;
        let is_same = tracks.iter().map(|track| &track.spec).eq(self.tracks.iter().map(|track| &track.spec));
        if !is_same {
            return Err(FilmError::Form);
        }
        (self.piece, self.start_us, self.limit_us) = (piece, start_us, limit_us);
        Ok(())
    }

    /// Adds a fragment: the content of a `moof`, and the range of the content of its `mdat` in the file, which is there
    /// to its last byte.
    ///
    /// # Errors
    /// [`FilmError::Form`]; nothing of the fragment is used then.
    pub fn add(&mut self, moof: &[u8], data: Range<u64>) -> Result<(), FilmError> {
        let trafs = children(moof).filter(|(kind, _)| kind == b"traf");
        let runs: Vec<ReadRun> =
            trafs.map(|(_, traf)| read_run(traf).ok_or(FilmError::Form)).collect::<Result<_, _>>()?;
        let bytes: u64 = runs.iter().map(ReadRun::bytes).sum();
        let fits = runs.iter().all(|run| (1..=self.tracks.len()).contains(&run.track));
        if !fits || bytes != data.end.saturating_sub(data.start) {
            return Err(FilmError::Form);
        }
        let mut from = data.start;
        for mut run in runs {
            let run_end = from + run.bytes();
            if let Some(track) = self.tracks.get_mut(run.track - 1) {
                let ticks = |micros: u64| u128::from(micros) * u128::from(track.spec.clock_hz) / 1_000_000;
                run.start =
                    run.start.saturating_add(u64::try_from(ticks(self.start_us)).unwrap_or(u64::MAX / 2));
                run.cut(u64::try_from(ticks(self.limit_us)).unwrap_or(u64::MAX));
                let used = run.bytes();
                if used > 0 {
                    track.append(run, self.data_bytes);
                    self.data_bytes += used;
                    self.parts.push(Part { piece: self.piece, bytes: from..from + used });
                }
            }
            from = run_end;
        }
        Ok(())
    }

    /// Length of the film: that of its longest track.
    #[must_use]
    pub fn duration_us(&self) -> u64 {
        let ends =
            self.tracks.iter().map(|track| track.end * 1_000_000 / u64::from(track.spec.clock_hz.max(1)));
        ends.max().unwrap_or_default()
    }

    /// Everything before the data of the ordinary file, and the parts of the pieces that follow, in this order.
    ///
    /// # Errors
    /// [`FilmError::Empty`].
    pub fn finish(self) -> Result<(Vec<u8>, Vec<Part>), FilmError> {
        if self.data_bytes == 0 {
            return Err(FilmError::Empty);
        }
        let ftyp = boxed(b"ftyp", &[b"isom", &words([0x200]), b"isomiso2avc1mp41"]);
        // Offsets depend on the length of the index, which does not depend on them.
        let data_at = (ftyp.len() + self.moov(0).len() + MDAT_HEADER_BYTES) as u64;
        let mut out = ftyp;
        out.extend(self.moov(data_at));
        out.extend(words([1]));
        out.extend(b"mdat");
        out.extend((self.data_bytes + MDAT_HEADER_BYTES as u64).to_be_bytes());
        Ok((out, self.parts))
    }

    fn moov(&self, data_at: u64) -> Vec<u8> {
        let mut traks = Vec::new();
        for (id, track) in (1..).zip(&self.tracks) {
            traks.extend(track.spec.trak(id, track.end - track.start, track.start, &track.tables(data_at)));
        }
        let duration = low(self.duration_us() * u64::from(FILM_HZ) / 1_000_000);
        boxed(b"moov", &[&mvhd(duration, low(self.tracks.len() as u64) + 1), &traks])
    }
}

/// Length of a film that is ordinary already, from the content of its `moov`.
#[must_use]
pub fn ordinary_duration_us(moov: &[u8]) -> Option<u64> {
    let header = child(moov, b"mvhd")?;
    let (clock_hz, duration) = (u64::from(word(header, 12)?), u64::from(word(header, 16)?));
    (duration > 0).then(|| duration * 1_000_000 / clock_hz.max(1))
}

/// With a length of 64 bits.
const MDAT_HEADER_BYTES: usize = 16;

impl Track {
    fn append(&mut self, run: ReadRun, at: u64) {
        if self.samples.is_empty() {
            self.start = run.start;
            self.end = run.start;
        }
        // Whatever is missing before the run is shown as a longer last picture.
        if let (Some(last), Some(gap)) = (self.samples.last_mut(), run.start.checked_sub(self.end)) {
            last.duration = last.duration.saturating_add(low(gap));
            self.end += gap;
        }
        self.end += run.samples.iter().map(|sample| u64::from(sample.duration)).sum::<u64>();
        self.chunks.push((at, low(run.samples.len() as u64)));
        self.samples.extend(run.samples);
    }

    /// `stts`, `stss`, `stsc`, `stsz` and `co64` (section 8.6 and 8.7).
    fn tables(&self, data_at: u64) -> Vec<u8> {
        let mut durations: Vec<(u32, u32)> = Vec::new();
        for sample in &self.samples {
            match durations.last_mut() {
                Some((count, duration)) if *duration == sample.duration => *count += 1,
                Some(_) | None => durations.push((1, sample.duration)),
            }
        }
        let mut per_chunk: Vec<[u32; 3]> = Vec::new();
        for (number, &(_, count)) in (1..).zip(&self.chunks) {
            if per_chunk.last().is_none_or(|[_, last, _]| *last != count) {
                per_chunk.push([number, count, 1]);
            }
        }
        let keys: Vec<u32> =
            (1..).zip(&self.samples).filter(|(_, sample)| sample.key).map(|(number, _)| number).collect();
        let table =
            |kind: &[u8; 4], head: Vec<u32>, rows: Vec<u32>| full(kind, 0, 0, &[&words(head), &words(rows)]);
        let count = |length: usize| low(length as u64);
        let mut out = table(
            b"stts",
            vec![count(durations.len())],
            durations.into_iter().flat_map(|(count, duration)| [count, duration]).collect(),
        );
        if self.spec.is_video() {
            out.extend(table(b"stss", vec![count(keys.len())], keys));
        }
        out.extend(table(b"stsc", vec![count(per_chunk.len())], per_chunk.into_iter().flatten().collect()));
        let sizes = self.samples.iter().map(|sample| sample.size).collect();
        out.extend(table(b"stsz", vec![0, count(self.samples.len())], sizes));
        let offsets: Vec<u8> = self.chunks.iter().flat_map(|&(at, _)| (data_at + at).to_be_bytes()).collect();
        out.extend(full(b"co64", 0, 0, &[&words([count(self.chunks.len())]), &offsets]));
        out
    }
}

#[derive(Debug)]
struct ReadRun {
    /// From 1.
    track: usize,
    start: u64,
    samples: Vec<Sample>,
}

impl ReadRun {
    fn bytes(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.size)).sum()
    }

    /// Leaves out samples that begin at this tick or later.
    fn cut(&mut self, limit: u64) {
        let mut at = self.start;
        let fits = self.samples.iter().take_while(|sample| {
            let begins = at;
            at = at.saturating_add(u64::from(sample.duration));
            begins < limit
        });
        let count = fits.count();
        self.samples.truncate(count);
    }
}

fn read_tracks(moov: &[u8]) -> Result<Vec<Track>, FilmError> {
    let traks = children(moov).filter(|(kind, _)| kind == b"trak");
    let tracks: Vec<Track> =
        traks.map(|(_, trak)| read_track(trak).ok_or(FilmError::Form)).collect::<Result<_, _>>()?;
    if tracks.is_empty() { Err(FilmError::Form) } else { Ok(tracks) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_be_bytes(*word))
}

fn read_run(traf: &[u8]) -> Option<ReadRun> {
    let track = usize::try_from(word(child(traf, b"tfhd")?, 4)?).ok()?;
    let start = long(child(traf, b"tfdt")?, 4)?;
    let run = child(traf, b"trun")?;
    if word(run, 0)? != TRUN_FLAGS {
        return None;
    }
    let count = usize::try_from(word(run, 4)?).ok()?;
    let table = run.get(12..)?;
    if table.len() != count.checked_mul(12)? {
        return None;
    }
    let samples = table.chunks_exact(12).map(|row| {
        Some(Sample { duration: word(row, 0)?, size: word(row, 4)?, key: word(row, 8)? & NOT_KEY == 0 })
    });
    Some(ReadRun { track, start, samples: samples.collect::<Option<_>>()? })
}

fn read_track(trak: &[u8]) -> Option<Track> {
    let media = child(trak, b"mdia")?;
    let clock_hz = word(child(media, b"mdhd")?, 20)?;
    let entries = child(child(child(media, b"minf")?, b"stbl")?, b"stsd")?.get(8..)?;
    let (kind, entry) = children(entries).next()?;
    let format = match &kind {
        b"avc1" => TrackFormat::Video {
            width: half(entry, 24)?,
            height: half(entry, 26)?,
            avcc: child(entry.get(78..)?, b"avcC")?.to_vec(),
        },
        b"mp4a" => {
            let descriptors = child(entry.get(28..)?, b"esds")?.get(4..)?;
            // As written by `esds`: 3, 4 and 5 with one byte of length each.
            let length = usize::from(*descriptors.get(21)?);
            let config = descriptors.get(22..22 + length)?.to_vec();
            TrackFormat::Audio { rate: word(entry, 24)? >> 16, channels: half(entry, 16)?, config }
        }
        _ => return None,
    };
    let spec = TrackSpec { clock_hz: clock_hz.max(1), format };
    Some(Track { spec, start: 0, end: 0, samples: Vec::new(), chunks: Vec::new() })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fragment::{Run, fragment, header};
    use super::super::{BOX_HEADER_BYTES, box_header};
    use super::*;

    fn specs() -> Vec<TrackSpec> {
        let video = TrackFormat::Video { width: 640, height: 360, avcc: vec![1, 2, 3] };
        let audio = TrackFormat::Audio { rate: 48_000, channels: 2, config: vec![0x11, 0x90] };
        vec![TrackSpec { clock_hz: 25_000, format: video }, TrackSpec { clock_hz: 48_000, format: audio }]
    }

    fn run(track: u32, start: u64, samples: &[(u32, u32)]) -> Run {
        let all = samples.iter().map(|&(duration, size)| Sample { duration, size, key: size > 3 });
        let data = vec![u8::try_from(track).unwrap(); samples.iter().map(|row| row.1 as usize).sum()];
        Run { track, start, samples: all.collect(), data }
    }

    /// Boxes at the top: kind, content, place of the content.
    fn top(file: &[u8]) -> Vec<([u8; 4], &[u8], u64)> {
        let (mut out, mut at) = (Vec::new(), 0);
        while let Some(header) = box_header(&file[at..(at + BOX_HEADER_BYTES).min(file.len())]) {
            let (start, end) = (at + header.header as usize, at + header.length as usize);
            out.push((header.kind, &file[start..end], start as u64));
            at = end;
        }
        assert_eq!(at, file.len());
        out
    }

    fn film(file: &[u8]) -> Film {
        let boxes = top(file);
        assert_eq!((&boxes[0].0, &boxes[1].0), (b"ftyp", b"moov"));
        let mut film = Film::new(boxes[1].1, 0, 0, u64::MAX).unwrap();
        for pair in boxes[2..].chunks(2) {
            let data = pair[1].2..pair[1].2 + pair[1].1.len() as u64;
            film.add(pair[0].1, data).unwrap();
        }
        film
    }

    #[test]
    fn fragments_become_one_index_that_points_at_the_same_bytes() {
        let mut file = header(&specs());
        file.extend(fragment(1, &[run(1, 0, &[(1000, 9), (1000, 2)]), run(2, 480, &[(1024, 3)])]));
        file.extend(fragment(2, &[run(1, 3000, &[(1000, 1)]), run(2, 1504, &[(1024, 3), (1024, 2)])]));
        let film = film(&file);
        assert_eq!(film.duration_us(), 160_000);
        assert_eq!(film.tracks.iter().map(|track| track.spec.clone()).collect::<Vec<_>>(), specs());
        let (mut out, parts) = film.finish().unwrap();
        for part in parts {
            out.extend_from_slice(&file[part.bytes.start as usize..part.bytes.end as usize]);
        }
        let boxes = top(&out);
        assert_eq!(boxes.iter().map(|entry| entry.0).collect::<Vec<_>>(), [*b"ftyp", *b"moov", *b"mdat"]);
        assert_eq!(boxes[2].1, [&[1; 11][..], &[2; 3], &[1], &[2; 5]].concat());
        let traks: Vec<&[u8]> =
            children(boxes[1].1).filter(|(kind, _)| kind == b"trak").map(|(_, content)| content).collect();
        let stbl = |trak| child(child(child(trak, b"mdia").unwrap(), b"minf").unwrap(), b"stbl").unwrap();
        let table = |trak, kind| child(stbl(trak), kind).unwrap()[4..].to_vec();
        // The hole of one frame before the second fragment lengthens the picture before it.
        assert_eq!(table(traks[0], b"stts"), words([3, 1, 1000, 1, 2000, 1, 1000]));
        assert_eq!(table(traks[0], b"stss"), words([1, 1]));
        assert_eq!(table(traks[0], b"stsc"), words([2, 1, 2, 1, 2, 1, 1]));
        assert_eq!(table(traks[1], b"stsz"), words([0, 3, 3, 3, 2]));
        let offsets = table(traks[1], b"co64");
        let first = u64::from_be_bytes(offsets[4..12].try_into().unwrap());
        assert_eq!(out[first as usize..first as usize + 3], [2; 3]);
        assert!(child(traks[0], b"edts").is_none() && child(traks[1], b"edts").is_some());
    }

    #[test]
    fn pieces_follow_each_other_without_overlap() {
        let mut first = header(&specs());
        first.extend(fragment(
            1,
            &[run(1, 0, &[(1000, 9), (1000, 1), (1000, 1)]), run(2, 0, &[(1024, 5); 4])],
        ));
        let mut second = header(&specs());
        second.extend(fragment(1, &[run(1, 0, &[(1000, 9)]), run(2, 0, &[(1024, 5)])]));
        let (first, second) = (top(&first), top(&second));
        let data = |boxes: &[([u8; 4], &[u8], u64)]| boxes[3].2..boxes[3].2 + boxes[3].1.len() as u64;
        // The second piece begins at 80 ms: the third picture and the last sound of the first are left out.
        let mut film = Film::new(first[1].1, 0, 0, 80_000).unwrap();
        film.add(first[2].1, data(&first)).unwrap();
        film.next_piece(second[1].1, 1, 80_000, u64::MAX).unwrap();
        film.add(second[2].1, data(&second)).unwrap();
        assert_eq!(film.duration_us(), 120_000);
        assert_eq!(film.tracks[0].samples.len(), 3);
        let (_, parts) = film.finish().unwrap();
        assert_eq!(
            parts.iter().map(|part| (part.piece, part.bytes.end - part.bytes.start)).collect::<Vec<_>>(),
            [(0, 10), (0, 20), (1, 9), (1, 5)]
        );
    }

    #[test]
    fn nothing_and_nonsense_are_refused() {
        let file = header(&specs());
        assert_eq!(film(&file).finish().unwrap_err(), FilmError::Empty);
        assert_eq!(Film::new(&[0; 40], 0, 0, 1).unwrap_err(), FilmError::Form);
        let mut film = film(&file);
        let piece = fragment(1, &[run(3, 0, &[(1, 1)])]);
        assert_eq!(film.add(top(&piece)[0].1, 0..1), Err(FilmError::Form));
        let piece = fragment(1, &[run(1, 0, &[(1, 1)])]);
        assert_eq!(film.add(top(&piece)[0].1, 0..2), Err(FilmError::Form));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0_usize..600, value: u8, cut in 0_usize..600) {
            let mut file = header(&specs());
            file.extend(fragment(1, &[run(1, 0, &[(1000, 9), (1000, 2)])]));
            let at = at % file.len();
            file[at] = value;
            file.truncate(file.len() - cut % file.len());
            for (kind, content) in children(&file) {
                let _film = Film::new(content, 0, 0, 1_000_000).and_then(|mut film| film.add(content, 0..11));
                let _end = kind;
            }
        }
    }
}
