//! Shell: runs GStreamer to encode, once for each participant.
//!
//! What a synthetic participant shows and says: a moving picture with a readable code ([`mod@paint`]) as VP8, a quiet tone of
//! its own pitch and a beep with every flash as Opus. A film is encoded once and then played in a loop without cost.

pub mod paint;

use bytes::{BufMut, Bytes, BytesMut};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};

use paint::{FLASH_INTERVAL_S, FLASH_MS, paint};

/// Largest piece of a frame in one packet: with descriptor, header and tag it fits any path.
const PIECE_BYTES_MAX: usize = 1_150;
/// Sound packets a second.
const SOUND_PACKETS_PER_S: u32 = 50;
const SAMPLE_RATE_HZ: u32 = 48_000;

/// What to encode.
#[derive(Clone, Copy, Debug)]
pub struct FilmSpec {
    /// Number of the participant, below [`paint::ACTORS_MAX`].
    pub actor: u8,
    /// Even, pixels.
    pub width: u32,
    /// Even, pixels.
    pub height: u32,
    /// Frames a second.
    pub frames_per_s: u32,
    /// Rate of the pictures, bits a second.
    pub video_bps: u32,
    /// Length of the loop; rounded up to a whole number of flashes.
    pub seconds: u32,
}

impl FilmSpec {
    /// 640x360 at 30 frames and 500 kbit a second, 10 s long.
    #[must_use]
    pub const fn of(actor: u8) -> Self {
        Self { actor, width: 640, height: 360, frames_per_s: 30, video_bps: 500_000, seconds: 10 }
    }
}

/// An encoded film, to be played in a loop.
#[derive(Clone, Debug)]
pub struct Film {
    pub(super) spec: FilmSpec,
    frames: Vec<Bytes>,
    sounds: Vec<Bytes>,
}

/// Why a film could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FilmError {
    /// GStreamer or one of its plugins is missing.
    #[error(
        "cannot set GStreamer up; Debian has it in gstreamer1.0-plugins-base and gstreamer1.0-plugins-good"
    )]
    Setup(#[from] glib::Error),
    /// An element does not do as told.
    #[error("GStreamer: {0}")]
    Element(String),
}

impl Film {
    /// Encodes. Takes some tenths of a second of CPU for each second of film.
    ///
    /// # Errors
    /// [`FilmError`].
    pub fn make(spec: FilmSpec) -> Result<Self, FilmError> {
        gst::init()?;
        let seconds = spec.seconds.max(1).next_multiple_of(FLASH_INTERVAL_S);
        let spec = FilmSpec { seconds, ..spec };
        let frames = encode_pictures(&spec)?;
        let sounds = encode_sound(&spec)?;
        let wanted = (spec.frames_per_s * seconds) as usize;
        if frames.len() != wanted || sounds.is_empty() {
            let text =
                format!("{} of {wanted} frames and {} packets of sound came out", frames.len(), sounds.len());
            return Err(FilmError::Element(text));
        }
        Ok(Self { spec, frames, sounds })
    }

    /// Frames a second.
    pub(super) const fn frames_per_s(&self) -> u64 {
        self.spec.frames_per_s as u64
    }

    /// Packets of sound a second.
    pub(super) const fn sounds_per_s() -> u64 {
        SOUND_PACKETS_PER_S as u64
    }

    /// Payload of the n-th packet of sound.
    pub(super) fn sound(&self, n: u64) -> Bytes {
        self.sounds[(n % self.sounds.len() as u64) as usize].clone()
    }

    /// Packets of the n-th frame.
    pub(super) fn pieces(&self, frame: u64) -> usize {
        self.frame(frame).len().div_ceil(PIECE_BYTES_MAX).max(1)
    }

    fn frame(&self, n: u64) -> &Bytes {
        &self.frames[(n % self.frames.len() as u64) as usize]
    }

    /// Payload (RFC 7741) of a piece of the n-th frame.
    pub(super) fn piece(&self, frame: u64, piece: usize) -> Bytes {
        let bytes = self.frame(frame);
        let from = (piece * PIECE_BYTES_MAX).min(bytes.len());
        let part = &bytes[from..bytes.len().min(from + PIECE_BYTES_MAX)];
        let mut payload = BytesMut::with_capacity(part.len() + 4);
        payload.put_u8(if piece == 0 { 0x90 } else { 0x80 });
        payload.put_u8(0x80);
        payload.put_u16(0x8000 | (frame % 0x8000) as u16);
        payload.put_slice(part);
        payload.freeze()
    }
}

fn encode_pictures(spec: &FilmSpec) -> Result<Vec<Bytes>, FilmError> {
    let FilmSpec { width, height, frames_per_s, video_bps, .. } = *spec;
    let line = format!(
        "appsrc name=in format=time caps=video/x-raw,format=I420,width={width},height={height},framerate={frames_per_s}/1 \
         ! vp8enc deadline=1 cpu-used=8 threads=2 end-usage=cbr target-bitrate={video_bps} keyframe-max-dist={frames_per_s} \
         error-resilient=default lag-in-frames=0 ! appsink name=out sync=false"
    );
    let count = u64::from(frames_per_s * spec.seconds);
    let step_ns = 1_000_000_000 / u64::from(frames_per_s);
    encode(&line, count, step_ns, |frame| {
        paint(width as usize, height as usize, spec.actor, frame, frames_per_s).planes
    })
}

fn encode_sound(spec: &FilmSpec) -> Result<Vec<Bytes>, FilmError> {
    let line = format!(
        "appsrc name=in format=time caps=audio/x-raw,format=S16LE,rate={SAMPLE_RATE_HZ},channels=1,layout=interleaved \
         ! opusenc frame-size=20 bitrate=32000 audio-type=generic ! appsink name=out sync=false"
    );
    let count = u64::from(SOUND_PACKETS_PER_S * spec.seconds);
    let step_ns = 1_000_000_000 / u64::from(SOUND_PACKETS_PER_S);
    let samples = u64::from(SAMPLE_RATE_HZ / SOUND_PACKETS_PER_S);
    let actor = spec.actor;
    let mut packets = encode(&line, count, step_ns, |packet| {
        (packet * samples..(packet + 1) * samples).flat_map(|at| sample(actor, at).to_le_bytes()).collect()
    })?;
    // The encoder adds one packet for its own delay: without it the loop stays in step with the pictures.
    packets.truncate(count as usize);
    Ok(packets)
}

/// A quiet tone of the participant's own pitch; 1 kHz, loud, while the flash is lit.
fn sample(actor: u8, at: u64) -> i16 {
    let time_ms = at * 1_000 / u64::from(SAMPLE_RATE_HZ);
    let beeps = time_ms % (u64::from(FLASH_INTERVAL_S) * 1_000) < u64::from(FLASH_MS);
    let (hz, loudness) = if beeps { (1_000.0, 0.5) } else { (180.0 + 40.0 * f64::from(actor), 0.02) };
    let phase = at as f64 * hz / f64::from(SAMPLE_RATE_HZ);
    ((phase.fract() * std::f64::consts::TAU).sin() * loudness * f64::from(i16::MAX)) as i16
}

/// Sends `count` raw buffers through a pipeline and collects what comes out.
fn encode(
    line: &str,
    count: u64,
    step_ns: u64,
    raw: impl Fn(u64) -> Vec<u8>,
) -> Result<Vec<Bytes>, FilmError> {
    let pipeline = gst::parse::launch(line)?
        .downcast::<gst::Pipeline>()
        .map_err(|_other| FilmError::Element("not a pipeline".to_owned()))?;
    let missing = || FilmError::Element("the pipeline lacks its ends".to_owned());
    let source: AppSrc = pipeline.by_name("in").and_then(|it| it.downcast().ok()).ok_or_else(missing)?;
    let sink: AppSink = pipeline.by_name("out").and_then(|it| it.downcast().ok()).ok_or_else(missing)?;
    let state = |error: &dyn std::fmt::Display| FilmError::Element(error.to_string());
    pipeline.set_state(gst::State::Playing).map_err(|error| state(&error))?;
    let mut out = Vec::new();
    for at in 0..count {
        let mut buffer = gst::Buffer::from_slice(raw(at));
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(at * step_ns));
            buffer.set_duration(gst::ClockTime::from_nseconds(step_ns));
        }
        source.push_buffer(buffer).map_err(|error| state(&error))?;
        // The encoder keeps up on its own thread; raw frames shall not pile up.
        while let Some(sample) = sink.try_pull_sample(gst::ClockTime::ZERO) {
            out.extend(bytes_of(&sample));
        }
    }
    source.end_of_stream().map_err(|error| state(&error))?;
    while let Ok(sample) = sink.pull_sample() {
        out.extend(bytes_of(&sample));
    }
    pipeline.set_state(gst::State::Null).map_err(|error| state(&error))?;
    Ok(out)
}

fn bytes_of(sample: &gst::Sample) -> Option<Bytes> {
    let map = sample.buffer()?.map_readable().ok()?;
    Some(Bytes::copy_from_slice(&map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_has_all_its_frames_and_begins_with_a_key_frame() {
        let film = Film::make(FilmSpec { width: 320, height: 180, seconds: 2, ..FilmSpec::of(3) }).unwrap();
        assert_eq!((film.frames.len(), film.sounds.len()), (60, 100));
        // Bit 0 of a VP8 frame is clear in a key frame (RFC 6386 section 9.1).
        assert_eq!(film.frames[0][0] & 1, 0);
        let key = film.piece(0, 0);
        assert_eq!((key[0], key[4] & 1), (0x90, 0));
        let last = film.pieces(0) - 1;
        assert_eq!(
            (0..=last).map(|piece| film.piece(0, piece).len() - 4).sum::<usize>(),
            film.frames[0].len()
        );
    }
}
