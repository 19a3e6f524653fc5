//! Material: a publisher's pictures and sound as RTP packets. Every picture carries its publisher's number and a counter
//! as black and white fields; every two seconds a white flash and a beep of 1 kHz begin together.

use std::sync::OnceLock;
use std::sync::mpsc::Receiver;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app::{AppSink, AppSinkCallbacks, AppSrc};

/// Pictures a second.
pub(crate) const RATE: u64 = 30;

/// Length of a clip, after which it begins again; a whole number of flashes.
pub(crate) const CLIP_US: u64 = 4_000_000;

/// From flash to flash.
pub(crate) const FLASH_US: u64 = 2_000_000;

/// In the middle of a clip's halves, so that where it begins again does no harm to them.
const fn is_flash(at_us: u64) -> bool {
    (at_us + FLASH_US / 2) % FLASH_US < FLASH_LENGTH_US
}

/// Length of flash and beep.
const FLASH_LENGTH_US: u64 = 100_000;

/// Fields of the code, in a row at the middle of the picture: four for the publisher, four for the counter.
pub(crate) const FIELDS: usize = 8;

/// One packet with its place in the clip.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) at_us: u64,
    pub(crate) bytes: Vec<u8>,
}

/// One track of a clip.
#[derive(Clone, Debug)]
pub(crate) struct Clip {
    pub(crate) clock_hz: u32,
    pub(crate) packets: Vec<Timed>,
}

/// How pictures are coded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Coding {
    H264,
    Vp8,
    Vp9,
}

impl Coding {
    fn pipeline(self) -> &'static str {
        match self {
            Self::H264 => {
                "x264enc tune=zerolatency speed-preset=ultrafast bitrate=600 key-int-max=60 \
                 ! video/x-h264,profile=constrained-baseline ! rtph264pay mtu=1200 config-interval=-1 aggregate-mode=zero-latency"
            }
            Self::Vp8 => {
                "vp8enc deadline=1 target-bitrate=600000 keyframe-max-dist=60 ! rtpvp8pay mtu=1200 picture-id-mode=2"
            }
            Self::Vp9 => {
                "vp9enc deadline=1 cpu-used=8 target-bitrate=600000 keyframe-max-dist=60 ! rtpvp9pay mtu=1200 picture-id-mode=2"
            }
        }
    }
}

/// A publisher's pictures.
pub(crate) fn pictures(publisher: u8, (width, height): (usize, usize), coding: Coding) -> Clip {
    let caps = format!("video/x-raw,format=I420,width={width},height={height},framerate={RATE}/1");
    let frames = (0..CLIP_US * RATE / 1_000_000).map(|n| {
        let at_us = n * 1_000_000 / RATE;
        (at_us, paint(publisher, n, at_us, width, height))
    });
    let packets = encode(&caps, coding.pipeline(), frames.collect());
    Clip { clock_hz: 90_000, packets }
}

fn paint(publisher: u8, n: u64, at_us: u64, width: usize, height: usize) -> Vec<u8> {
    let ground = if is_flash(at_us) { 235 } else { 60 };
    let mut data = vec![ground; width * height];
    let code = u64::from(publisher) | (n % 16) << 4;
    let (side, top) = (width / 16, height * 7 / 16);
    for field in 0..FIELDS {
        let luma = if code >> field & 1 == 1 { 235 } else { 16 };
        for y in top..top + height / 8 {
            let start = y * width + width / 4 + field * side;
            data[start..start + side].fill(luma);
        }
    }
    data.resize(width * height * 3 / 2, 128);
    data
}

/// The publisher's sound: all beep alike, made once.
pub(crate) fn sound() -> Clip {
    static SOUND: OnceLock<Clip> = OnceLock::new();
    let make = || {
        let frames = (0..CLIP_US / 20_000).map(|n| {
            let samples = (n * 960..(n + 1) * 960).flat_map(|sample| {
                let at_us = sample * 1_000_000 / 48_000;
                let phase = 2.0 * std::f64::consts::PI * 1_000.0 * sample as f64 / 48_000.0;
                let loud = if is_flash(at_us) { 12_000.0 } else { 0.0 };
                ((phase.sin() * loud) as i16).to_le_bytes()
            });
            (n * 20_000, samples.collect())
        });
        let caps = "audio/x-raw,format=S16LE,rate=48000,channels=1,layout=interleaved";
        let mut packets = encode(caps, "opusenc bitrate=64000 ! rtpopuspay mtu=1200", frames.collect());
        // The encoder's own delay would be a jump at each turn.
        packets.truncate(usize::try_from(CLIP_US / 20_000).unwrap());
        for (n, packet) in (0..).zip(&mut packets) {
            packet.at_us = n * 20_000;
        }
        Clip { clock_hz: 48_000, packets }
    };
    SOUND.get_or_init(make).clone()
}

/// Codes raw frames and packs them.
fn encode(caps: &str, coding: &str, frames: Vec<(u64, Vec<u8>)>) -> Vec<Timed> {
    gst::init().unwrap();
    let text =
        format!("appsrc name=source format=time caps={caps} ! {coding} ! appsink name=sink sync=false");
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("source").unwrap().downcast::<AppSrc>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<AppSink>().unwrap();
    let packets = collect(&sink);
    pipeline.set_state(gst::State::Playing).unwrap();
    let duration = frames[1].0 - frames[0].0;
    for (at_us, data) in frames {
        let mut buffer = gst::Buffer::from_mut_slice(data);
        let entry = buffer.get_mut().unwrap();
        entry.set_pts(gst::ClockTime::from_useconds(at_us));
        entry.set_duration(gst::ClockTime::from_useconds(duration));
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let last = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).unwrap();
    assert_eq!(last.type_(), gst::MessageType::Eos, "{last:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    let all: Vec<Timed> = packets.try_iter().collect();
    assert!(!all.is_empty());
    all
}

fn collect(sink: &AppSink) -> Receiver<Timed> {
    let (sender, packets) = std::sync::mpsc::sync_channel(100_000);
    let send = move |sample: &gst::Sample| {
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap().clone();
        let one = |buffer: &gst::BufferRef| {
            let at = segment.to_running_time(buffer.pts().unwrap()).unwrap_or_default();
            let bytes = buffer.map_readable().unwrap().to_vec();
            sender.try_send(Timed { at_us: at.useconds(), bytes }).unwrap();
        };
        match sample.buffer_list() {
            Some(list) => list.iter().for_each(one),
            None => one(sample.buffer().unwrap()),
        }
    };
    sink.set_callbacks(
        AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                send(&sink.pull_sample().map_err(|_ended| gst::FlowError::Eos)?);
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    sink.set_property("buffer-list", true);
    packets
}

/// Replays a clip for ever: the packets of turn `turn`, with time stamps and numbers that go on.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) clip: Clip,
    pub(crate) track: u32,
    next: usize,
    turn: u64,
    sequence: u16,
    first_timestamp: u32,
}

impl Player {
    /// A player whose time stamps begin near their wrap.
    pub(crate) fn new(clip: Clip, track: u32) -> Self {
        Self { clip, track, next: 0, turn: 0, sequence: 65_500, first_timestamp: u32::MAX - 50_000 * track }
    }

    /// When the next packet is due, from the player's beginning.
    pub(crate) fn due_us(&self) -> u64 {
        self.turn * CLIP_US + self.clip.packets[self.next].at_us
    }

    /// The next packet.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let timestamp = self.timestamp(self.due_us());
        let mut bytes = self.clip.packets[self.next].bytes.clone();
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.track.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.next += 1;
        if self.next == self.clip.packets.len() {
            (self.next, self.turn) = (0, self.turn + 1);
        }
        bytes
    }

    /// The RTP time stamp of a moment of the player.
    pub(crate) fn timestamp(&self, at_us: u64) -> u32 {
        let ticks = at_us * u64::from(self.clip.clock_hz) / 1_000_000;
        self.first_timestamp.wrapping_add((ticks & 0xffff_ffff) as u32)
    }
}
