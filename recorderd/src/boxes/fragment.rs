//! Pure: no clock, no I/O, no async.
//!
//! A film while it grows: a header without any sample, then fragments (`moof` + `mdat`), each whole in itself.

use super::track::mvhd;
use super::{Sample, TrackSpec, boxed, full, low, words};

/// Starts the file. Tracks are numbered from 1 in this order.
#[must_use]
pub fn header(tracks: &[TrackSpec]) -> Vec<u8> {
    let no_samples = [
        full(b"stts", 0, 0, &[&words([0])]),
        full(b"stsc", 0, 0, &[&words([0])]),
        full(b"stsz", 0, 0, &[&words([0, 0])]),
        full(b"stco", 0, 0, &[&words([0])]),
    ]
    .concat();
    let (mut traks, mut defaults) = (Vec::new(), Vec::new());
    for (id, track) in (1..).zip(tracks) {
        traks.extend(track.trak(id, 0, 0, &no_samples));
        defaults.extend(full(b"trex", 0, 0, &[&words([id, 1, 0, 0, 0])]));
    }
    let count = low(tracks.len() as u64);
    let mut out = boxed(b"ftyp", &[b"isom", &words([0x200]), b"isomiso6iso2avc1mp41"]);
    out.extend(boxed(b"moov", &[&mvhd(0, count + 1), &traks, &boxed(b"mvex", &[&defaults])]));
    out
}

/// A run of one track's samples.
#[derive(Clone, Debug)]
pub struct Run {
    /// Number of the track, from 1.
    pub track: u32,
    /// Ticks of the track before its first sample.
    pub start: u64,
    /// The samples.
    pub samples: Vec<Sample>,
    /// Their bytes, one after the other.
    pub data: Vec<u8>,
}

/// A fragment; `number` counts from 1.
#[must_use]
pub fn fragment(number: u32, runs: &[Run]) -> Vec<u8> {
    // The offsets of the data depend on the length of the box, which does not depend on them.
    let length = moof(number, runs, 0).len();
    let mut out = moof(number, runs, length + 8);
    let data: Vec<&[u8]> = runs.iter().map(|run| &*run.data).collect();
    out.extend(boxed(b"mdat", &data));
    out
}

fn moof(number: u32, runs: &[Run], data_at: usize) -> Vec<u8> {
    let mut trafs = Vec::new();
    let mut data_at = low(data_at as u64);
    for run in runs {
        let mut samples = words([low(run.samples.len() as u64), data_at]);
        for sample in &run.samples {
            samples.extend(words([sample.duration, sample.size, sample_flags(sample.key)]));
        }
        trafs.extend(boxed(
            b"traf",
            &[
                &full(b"tfhd", 0, BASE_IS_MOOF, &[&words([run.track])]),
                &full(b"tfdt", 1, 0, &[&run.start.to_be_bytes()]),
                &full(b"trun", 0, TRUN_FLAGS, &[&samples]),
            ],
        ));
        data_at += low(run.data.len() as u64);
    }
    boxed(b"moof", &[&full(b"mfhd", 0, 0, &[&words([number])]), &trafs])
}

/// Offsets count from the start of the `moof`.
const BASE_IS_MOOF: u32 = 0x02_0000;

/// Data offset; duration, size and flags of each sample.
pub(super) const TRUN_FLAGS: u32 = 0x0701;

pub(super) const NOT_KEY: u32 = 0x0001_0000;

const fn sample_flags(key: bool) -> u32 {
    if key { 0x0200_0000 } else { 0x0100_0000 | NOT_KEY }
}
