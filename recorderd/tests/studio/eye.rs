//! Looks at a finished file: decodes it and reads codes, flashes and beeps.

use std::path::Path;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app::AppSink;

use crate::clip::FIELDS;

/// A decoded picture: its time and its luma.
pub(crate) struct Seen {
    pub(crate) at_ms: i64,
    pub(crate) width: usize,
    pub(crate) height: usize,
    luma: Vec<u8>,
    stride: usize,
}

/// A part of a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Seen {
    pub(crate) fn luma(&self, x: usize, y: usize) -> u8 {
        self.luma[y * self.stride + x]
    }

    /// Publisher and counter that a tile shows, of a 16:9 picture that fills it; `None` when a field is neither black
    /// nor white.
    pub(crate) fn code(&self, tile: Tile) -> Option<(u8, u8)> {
        // What was cut off at the sides, if the tile is narrower than the picture.
        let whole = (tile.height * 16 / 9).max(tile.width);
        let cut = (whole - tile.width) / 2;
        let mut code = 0;
        for field in 0..FIELDS {
            let x = (tile.x + whole / 4 + field * (whole / 16) + whole / 32).checked_sub(cut)?;
            let luma = self.luma(x, tile.y + tile.height / 2);
            match luma {
                0..=70 => {}
                180..=255 => code |= 1_u8 << field,
                _ => return None,
            }
        }
        Some((code & 15, code >> 4))
    }

    /// The ground of a tile is white.
    pub(crate) fn flashes(&self, tile: Tile) -> bool {
        self.luma(tile.x + tile.width / 2, tile.y + tile.height / 5) > 150
    }
}

/// All pictures of a film.
pub(crate) fn pictures(path: &Path) -> Vec<Seen> {
    let mut all = Vec::new();
    pull(path, "video/x-raw,format=I420", |sample| {
        let caps = sample.caps().unwrap().structure(0).unwrap();
        let side = |name| usize::try_from(caps.get::<i32>(name).unwrap()).unwrap();
        let (width, height) = (side("width"), side("height"));
        let buffer = sample.buffer().unwrap();
        let stride = width.next_multiple_of(4);
        let luma = buffer.map_readable().unwrap()[..stride * height].to_vec();
        all.push(Seen { at_ms: time_ms(sample), width, height, luma, stride });
    });
    all
}

/// Times in ms at which sound begins after silence.
pub(crate) fn beeps(path: &Path) -> (Vec<i64>, i64) {
    let (mut begins, mut quiet, mut end) = (Vec::new(), 1_000, 0);
    pull(path, "audio/x-raw,format=S16LE,channels=1,rate=48000", |sample| {
        let at_us = time_us(sample);
        let data = sample.buffer().unwrap().map_readable().unwrap();
        let samples: Vec<i16> =
            data.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
        for (n, part) in samples.chunks(48).enumerate() {
            let peak = part.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            if peak > 2_000 {
                if quiet > 300 {
                    begins.push(at_us / 1_000 + i64::try_from(n).unwrap());
                }
                quiet = 0;
            } else {
                quiet += 1;
            }
        }
        end = at_us / 1_000 + i64::try_from(samples.len() / 48).unwrap();
    });
    (begins, end)
}

fn time_us(sample: &gst::Sample) -> i64 {
    let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap().clone();
    let at = segment.to_running_time(sample.buffer().unwrap().pts().unwrap()).unwrap_or_default();
    i64::try_from(at.useconds()).unwrap()
}

fn time_ms(sample: &gst::Sample) -> i64 {
    (time_us(sample) + 500) / 1_000
}

fn pull(path: &Path, caps: &str, mut each: impl FnMut(&gst::Sample)) {
    gst::init().unwrap();
    let (convert, kind) = if caps.starts_with("video") {
        ("videoconvert", "video")
    } else {
        ("audioconvert ! audioresample", "audio")
    };
    let demux = if path.extension().is_some_and(|kind| kind == "mp4") { "qtdemux" } else { "matroskademux" };
    let text = format!(
        "filesrc name=source ! {demux} name=demux demux.{kind}_0 ! queue ! decodebin ! {convert} ! {caps} \
         ! appsink name=sink sync=false max-buffers=8"
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("source").unwrap().set_property("location", path.to_string_lossy().as_ref());
    let sink = pipeline.by_name("sink").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(20)) {
        each(&sample);
    }
    assert!(sink.is_eos(), "{} cannot be read to its end", path.display());
    pipeline.set_state(gst::State::Null).unwrap();
}

/// Milliseconds by which each beep comes after its flash, where a publisher fills this tile.
pub(crate) fn offsets(path: &Path, tile: Tile, publisher: u8) -> Vec<i64> {
    let (mut flashes, mut before) = (Vec::new(), true);
    for picture in pictures(path) {
        let now = picture.flashes(tile) && picture.code(tile).is_some_and(|code| code.0 == publisher);
        if now && !before {
            flashes.push(picture.at_ms);
        }
        before = now;
    }
    let (beeps, _) = beeps(path);
    let pair = |flash: &i64| beeps.iter().map(|beep| beep - flash).min_by_key(|apart| apart.abs());
    flashes.iter().filter_map(pair).filter(|apart| apart.abs() < 500).collect()
}
