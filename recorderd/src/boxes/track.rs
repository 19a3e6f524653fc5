//! Pure: no clock, no I/O, no async.
//!
//! What a film says of one of its tracks.

use super::{boxed, full, low, words};

/// Ticks a second of a film's own clock.
pub(super) const FILM_HZ: u32 = 1_000;

/// One frame of a track.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    /// Ticks of the track until the next.
    pub duration: u32,
    /// Bytes.
    pub size: u32,
    /// Can be decoded without any other.
    pub key: bool,
}

/// What a track consists of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrackFormat {
    /// H264.
    Video {
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
        /// The `avcC` record.
        avcc: Vec<u8>,
    },
    /// AAC.
    Audio {
        /// Samples a second.
        rate: u32,
        /// Channels.
        channels: u16,
        /// The audio specific configuration.
        config: Vec<u8>,
    },
}

/// A track.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrackSpec {
    /// Ticks a second.
    pub clock_hz: u32,
    /// Its content.
    pub format: TrackFormat,
}

/// Index of samples of an ordinary film: everything inside `stbl` but the description.
pub(super) type Tables = Vec<u8>;

impl TrackSpec {
    pub(super) const fn is_video(&self) -> bool {
        matches!(self.format, TrackFormat::Video { .. })
    }

    /// `trak`. `duration` in ticks of the track; an edit list when `delay` ticks pass before the first sample.
    pub(super) fn trak(&self, id: u32, duration: u64, delay: u64, tables: &Tables) -> Vec<u8> {
        let film = |ticks: u64| low(ticks * u64::from(FILM_HZ) / u64::from(self.clock_hz.max(1)));
        let edits = if delay == 0 {
            Vec::new()
        } else {
            let entries = words([2, film(delay), u32::MAX, 0x1_0000, film(duration), 0, 0x1_0000]);
            boxed(b"edts", &[&full(b"elst", 0, 0, &[&entries])])
        };
        let media = boxed(
            b"mdia",
            &[
                &full(
                    b"mdhd",
                    1,
                    0,
                    &[&[0; 16], &self.clock_hz.to_be_bytes(), &duration.to_be_bytes(), &[0x55, 0xc4, 0, 0]],
                ),
                &self.handler(),
                &self.minf(tables),
            ],
        );
        boxed(b"trak", &[&self.tkhd(id, film(duration + delay)), &edits, &media])
    }

    fn tkhd(&self, id: u32, duration: u32) -> Vec<u8> {
        let (volume, width, height) = match self.format {
            TrackFormat::Video { width, height, .. } => (0_u16, width, height),
            TrackFormat::Audio { .. } => (0x0100, 0, 0),
        };
        let group = u32::from(!self.is_video());
        full(
            b"tkhd",
            0,
            7,
            &[
                &words([0, 0, id, 0, duration, 0, 0, group]),
                &volume.to_be_bytes(),
                &[0, 0],
                &words(MATRIX),
                &words([u32::from(width) << 16, u32::from(height) << 16]),
            ],
        )
    }

    fn handler(&self) -> Vec<u8> {
        let (kind, name): (&[u8; 4], &[u8]) =
            if self.is_video() { (b"vide", b"video\0") } else { (b"soun", b"sound\0") };
        full(b"hdlr", 0, 0, &[&[0; 4], kind, &[0; 12], name])
    }

    fn minf(&self, tables: &Tables) -> Vec<u8> {
        let header =
            if self.is_video() { full(b"vmhd", 0, 1, &[&[0; 8]]) } else { full(b"smhd", 0, 0, &[&[0; 4]]) };
        let here = full(b"url ", 0, 1, &[]);
        let source = boxed(b"dinf", &[&full(b"dref", 0, 0, &[&words([1]), &here])]);
        let description = full(b"stsd", 0, 0, &[&words([1]), &self.entry()]);
        boxed(b"minf", &[&header, &source, &boxed(b"stbl", &[&description, tables])])
    }

    /// The sample entry: `avc1` or `mp4a`.
    fn entry(&self) -> Vec<u8> {
        match &self.format {
            TrackFormat::Video { width, height, avcc } => boxed(
                b"avc1",
                &[
                    &[0, 0, 0, 0, 0, 0, 0, 1],
                    &[0; 16],
                    &width.to_be_bytes(),
                    &height.to_be_bytes(),
                    &words([0x0048_0000, 0x0048_0000, 0]),
                    &[0, 1],
                    &[0; 32],
                    &[0, 0x18, 0xff, 0xff],
                    &boxed(b"avcC", &[avcc]),
                ],
            ),
            TrackFormat::Audio { rate, channels, config } => boxed(
                b"mp4a",
                &[
                    &[0, 0, 0, 0, 0, 0, 0, 1],
                    &[0; 8],
                    &channels.to_be_bytes(),
                    &[0, 16, 0, 0, 0, 0],
                    &(rate << 16).to_be_bytes(),
                    &esds(config),
                ],
            ),
        }
    }
}

/// Descriptors of an AAC stream (ISO/IEC 14496-1 section 7.2.6). All are shorter than 128 bytes.
fn esds(config: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u8::try_from(bytes).unwrap_or(127).min(127);
    let specific = [&[5, length(config.len())], config].concat();
    let stream = [&[0x40, 0x15, 0, 0, 0][..], &[0; 8], &specific].concat();
    let stream = [&[4, length(stream.len())], &*stream].concat();
    let all = [&[0, 0, 0][..], &stream, &[6, 1, 2]].concat();
    full(b"esds", 0, 0, &[&[3, length(all.len())], &all])
}

/// No rotation, no scaling.
pub(super) const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// `mvhd`: `duration` in milliseconds.
pub(super) fn mvhd(duration: u32, next_track: u32) -> Vec<u8> {
    full(
        b"mvhd",
        0,
        0,
        &[
            &words([0, 0, FILM_HZ, duration, 0x1_0000]),
            &[1, 0],
            &[0; 10],
            &words(MATRIX),
            &[0; 24],
            &next_track.to_be_bytes(),
        ],
    )
}
