//! Shell: the GStreamer pipeline of a composed recording.
//!
//! Pictures and sounds come in as whole frames, each with its place on the film's timeline, and go out encoded. The
//! compositor and the mixer run by the clock whatever comes: a frame that is late or missing is replaced by the last
//! picture, or by silence. What comes and goes does so at a pad of its own.
//!
//! Two *base pads* get one buffer at time zero and never end. Without them an aggregator would set its position back to
//! zero at the first buffer that ever reaches it, seconds later perhaps.

mod pads;

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app::{AppSink, AppSinkCallbacks};

pub(super) use pads::{Sound, Still, VideoPad};

use super::Event;
use super::protocol::Begin;

/// How long compositor and mixer wait for frames that are late. What comes sooner waits in front of them.
const WAIT: Duration = Duration::from_millis(60);

/// Quality of the film (x264's constant rate factor): OpenVidu's.
const QUALITY: u32 = 28;

/// Bits of a film of 720p in a second at most; larger and smaller ones in proportion.
const VIDEO_KBPS_720P: u32 = 2_500;

const AUDIO_BPS: i32 = 128_000;
const OPUS_BPS: i32 = 96_000;

/// Why the pipeline cannot be built or changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    /// An element is not installed, or cannot be made.
    #[error("GStreamer has no {name}; it is in the package {package}")]
    Element {
        /// Its name.
        name: String,
        /// Who has it.
        package: &'static str,
    },
    /// Parts do not fit.
    #[error("the pipeline cannot be put together: {0}")]
    Link(String),
}

impl From<gst::glib::BoolError> for StageError {
    fn from(error: gst::glib::BoolError) -> Self {
        Self::Link(error.message.into_owned())
    }
}

/// An encoded frame.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) video: bool,
    /// On the film's timeline.
    pub(super) at_ns: u64,
    pub(super) key: bool,
    pub(super) data: Vec<u8>,
    /// `codec_data` of the encoder, with its first frame.
    pub(super) config: Option<Vec<u8>>,
}

/// The pipeline.
#[derive(Debug)]
pub(super) struct Stage {
    pipeline: gst::Pipeline,
    compositor: Option<gst::Element>,
    mixer: Option<gst::Element>,
    _base: Vec<Still>,
}

pub(super) fn make(name: &str) -> Result<gst::ElementFactory, StageError> {
    let missing = || StageError::Element { name: name.to_owned(), package: super::probe::package(name) };
    gst::ElementFactory::find(name).ok_or_else(missing)
}

fn element(name: &str) -> Result<gst::Element, StageError> {
    Ok(make(name)?.create().build()?)
}

fn filter(caps: &gst::Caps) -> Result<gst::Element, StageError> {
    Ok(make("capsfilter")?.create().property("caps", caps).build()?)
}

impl Stage {
    /// Builds it and lets it run; the film's timeline starts now.
    pub(super) fn start(begin: &Begin, events: &SyncSender<Event>) -> Result<Self, StageError> {
        let pipeline = gst::Pipeline::new();
        let compositor = begin.video.then(|| build_video(&pipeline, begin, events)).transpose()?;
        let mixer = begin.audio.then(|| build_audio(&pipeline, begin.video, events)).transpose()?;
        let mut stage = Self { pipeline, compositor, mixer, _base: Vec::new() };
        stage.watch(events);
        let clock = gst::SystemClock::obtain();
        stage.pipeline.use_clock(Some(&clock));
        stage.pipeline.set_start_time(gst::ClockTime::NONE);
        let mut base = Vec::new();
        if let Some(compositor) = &stage.compositor {
            base.push(Still::black(&stage.pipeline, compositor)?);
        }
        if let Some(mixer) = &stage.mixer {
            base.push(Still::silence(&stage.pipeline, mixer)?);
        }
        stage._base = base;
        stage.pipeline.set_base_time(clock.time());
        let started = stage.pipeline.set_state(gst::State::Playing);
        started.map_err(|error| StageError::Link(error.to_string()))?;
        Ok(stage)
    }

    /// A pad for a track's pictures.
    pub(super) fn add_video(
        &self,
        name: &str,
        codec: super::protocol::Codec,
    ) -> Result<VideoPad, StageError> {
        let compositor =
            self.compositor.as_ref().ok_or_else(|| StageError::Link("no pictures".to_owned()))?;
        VideoPad::add(&self.pipeline, compositor, name, codec)
    }

    /// A pad for a track's sound.
    pub(super) fn add_audio(&self, name: &str) -> Result<Sound, StageError> {
        let mixer = self.mixer.as_ref().ok_or_else(|| StageError::Link("no sound".to_owned()))?;
        Sound::add(&self.pipeline, mixer, name)
    }

    /// A pad that shows one picture.
    pub(super) fn add_still(&self, picture: &crate::labels::Picture) -> Result<Still, StageError> {
        let compositor =
            self.compositor.as_ref().ok_or_else(|| StageError::Link("no pictures".to_owned()))?;
        Still::add(&self.pipeline, compositor, picture)
    }

    /// After a change of latency somewhere.
    pub(super) fn settle_latency(&self) {
        // Fails only while states change; another message follows then.
        if self.pipeline.recalculate_latency().is_err() {
            tracing::debug!("latency cannot be distributed now");
        }
    }

    /// Ends everything; joins GStreamer's threads.
    pub(super) fn stop(&self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the pipeline does not stop");
        }
    }

    /// Errors come by a handler in GStreamer's threads; nothing is left on the bus.
    fn watch(&self, events: &SyncSender<Event>) {
        let Some(bus) = self.pipeline.bus() else { return };
        let events = events.clone();
        bus.set_sync_handler(move |_, message| {
            #[expect(clippy::wildcard_enum_match_arm, reason = "GStreamer has some forty kinds of message")]
            let event = match message.view() {
                gst::MessageView::Error(error) => {
                    let element = message.src().map(|source| source.name().to_string()).unwrap_or_default();
                    Some(Event::Trouble { element, why: error.error().to_string() })
                }
                gst::MessageView::Latency(_) => Some(Event::Latency),
                _ => None,
            };
            // A full channel means that the job is far behind anyway; it looks after its tracks by itself.
            if let Some(Err(error)) = event.map(|event| events.try_send(event)) {
                tracing::warn!(%error, "a message of the pipeline is dropped");
            }
            gst::BusSyncReply::Drop
        });
    }
}

fn build_video(
    pipeline: &gst::Pipeline,
    begin: &Begin,
    events: &SyncSender<Event>,
) -> Result<gst::Element, StageError> {
    let compositor = make("compositor")?
        .create()
        .property_from_str("background", "black")
        .property("force-live", true)
        .property("ignore-inactive-pads", true)
        .property("latency", wait_ns())
        .property("max-threads", 1_u32)
        .build()?;
    let raw = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", i32::from(begin.width))
        .field("height", i32::from(begin.height))
        .field("framerate", gst::Fraction::new(i32::from(begin.frame_rate), 1))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build();
    let pixels = u32::from(begin.width) * u32::from(begin.height);
    let rate_kbps = (u64::from(VIDEO_KBPS_720P) * u64::from(pixels) / (1280 * 720)).clamp(300, 12_000);
    let encoder = make("x264enc")?
        .create()
        .property_from_str("speed-preset", "veryfast")
        .property_from_str("tune", "zerolatency")
        .property_from_str("pass", "qual")
        .property("quantizer", QUALITY)
        .property("bitrate", u32::try_from(rate_kbps).unwrap_or(VIDEO_KBPS_720P))
        .property("vbv-buf-capacity", 1_000_u32)
        .property("threads", 1_u32)
        .property("bframes", 0_u32)
        .property("key-int-max", u32::from(begin.frame_rate) * 2)
        .build()?;
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .field("profile", "high")
        .build();
    let queue = make("queue")?.create().property("max-size-buffers", 4_u32).build()?;
    let sink = sink(true, events);
    let elements = [compositor.clone(), filter(&raw)?, queue, encoder, filter(&caps)?, sink.upcast()];
    pipeline.add_many(&elements)?;
    gst::Element::link_many(&elements)?;
    Ok(compositor)
}

fn build_audio(
    pipeline: &gst::Pipeline,
    with_video: bool,
    events: &SyncSender<Event>,
) -> Result<gst::Element, StageError> {
    let mixer = make("audiomixer")?
        .create()
        .property("force-live", true)
        .property("ignore-inactive-pads", true)
        .property("latency", wait_ns())
        .property("output-buffer-duration", 20_000_000_u64)
        // Places of sounds come from a smooth clock: what parts from it has really jumped.
        .property("discont-wait", 0_u64)
        .property("alignment-threshold", 20_000_000_u64)
        .build()?;
    let raw = gst::Caps::builder("audio/x-raw")
        .field("format", "F32LE")
        .field("rate", 48_000)
        .field("channels", 2)
        .field("layout", "interleaved")
        .build();
    let (encoder, caps) = if with_video {
        let encoder = make("avenc_aac")?.create().property("bitrate", AUDIO_BPS).build()?;
        let caps =
            gst::Caps::builder("audio/mpeg").field("mpegversion", 4).field("stream-format", "raw").build();
        (encoder, caps)
    } else {
        let encoder = make("opusenc")?.create().property("bitrate", OPUS_BPS).build()?;
        (encoder, gst::Caps::new_empty_simple("audio/x-opus"))
    };
    let sink = sink(false, events);
    let queue = element("queue")?;
    let elements = [
        mixer.clone(),
        filter(&raw)?,
        queue,
        element("audioconvert")?,
        encoder,
        filter(&caps)?,
        sink.upcast(),
    ];
    pipeline.add_many(&elements)?;
    gst::Element::link_many(&elements)?;
    Ok(mixer)
}

fn wait_ns() -> u64 {
    u64::try_from(WAIT.as_nanos()).unwrap_or(u64::MAX)
}

/// Hands encoded frames to the job. Waits when it is behind: then the encoder waits too, and at last frames are repeated.
fn sink(video: bool, events: &SyncSender<Event>) -> AppSink {
    let sink = AppSink::builder().sync(false).max_buffers(8).build();
    let events = events.clone();
    let mut told = false;
    sink.set_callbacks(
        AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_ended| gst::FlowError::Eos)?;
                let Some(mut encoded) = read(video, &sample) else { return Ok(gst::FlowSuccess::Ok) };
                if told {
                    encoded.config = None;
                }
                told = true;
                events.send(Event::Encoded(encoded)).map_err(|_over| gst::FlowError::Eos)?;
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    sink
}

fn read(video: bool, sample: &gst::Sample) -> Option<Encoded> {
    let buffer = sample.buffer()?;
    // x264enc moves its time stamps by a thousand hours, and its segment as well.
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?.clone();
    let at = segment.to_running_time(buffer.pts()?).unwrap_or(gst::ClockTime::ZERO);
    let config = sample.caps().and_then(|caps| {
        let data = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
        Some(data.map_readable().ok()?.to_vec())
    });
    Some(Encoded {
        video,
        at_ns: at.nseconds(),
        key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
        data: buffer.map_readable().ok()?.to_vec(),
        config,
    })
}
