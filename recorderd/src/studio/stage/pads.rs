//! Shell: what stands at a pad of the compositor or of the mixer.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app::AppSrc;

use super::super::protocol::Codec;
use super::{StageError, filter, make};
use crate::labels::Picture;
use crate::layout::{Area, Crop, cover};

/// Encoded bytes that may wait for a decoder: several seconds. Above, frames are dropped up to the next key frame.
const WAITING_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Decoded pictures that wait for their time.
const PICTURES_MAX: u32 = 6;

/// Elements between a source and a pad of an aggregator.
#[derive(Debug)]
struct Chain {
    pipeline: gst::Pipeline,
    aggregator: gst::Element,
    source: AppSrc,
    elements: Vec<gst::Element>,
    pad: gst::Pad,
}

impl Chain {
    /// Puts elements between a new source and a new pad, and lets them run.
    fn add(
        pipeline: &gst::Pipeline,
        aggregator: &gst::Element,
        name: &str,
        caps: &gst::Caps,
        between: Vec<gst::Element>,
    ) -> Result<Self, StageError> {
        let source = AppSrc::builder()
            .name(format!("{name}-source"))
            .caps(caps)
            .format(gst::Format::Time)
            .is_live(true)
            .block(false)
            .max_bytes(WAITING_BYTES_MAX)
            .build();
        let mut elements: Vec<gst::Element> = vec![source.clone().upcast()];
        elements.extend(between);
        let pad = aggregator
            .request_pad_simple("sink_%u")
            .ok_or_else(|| StageError::Link("no more pads".to_owned()))?;
        let chain =
            Self { pipeline: pipeline.clone(), aggregator: aggregator.clone(), source, elements, pad };
        chain.link()?;
        Ok(chain)
    }

    fn link(&self) -> Result<(), StageError> {
        self.pipeline.add_many(&self.elements)?;
        gst::Element::link_many(&self.elements)?;
        let last = self.elements.last().and_then(|element| element.static_pad("src"));
        let last = last.ok_or_else(|| StageError::Link("an element has no source pad".to_owned()))?;
        last.link(&self.pad).map_err(|error| StageError::Link(error.to_string()))?;
        // From the pad backwards, so that nothing is pushed into an element that does not run yet.
        for element in self.elements.iter().rev() {
            element.sync_state_with_parent()?;
        }
        Ok(())
    }

    /// False when too much waits already.
    fn push(&self, data: Vec<u8>, at_ns: u64, flags: gst::BufferFlags) -> bool {
        if self.source.current_level_bytes() > WAITING_BYTES_MAX {
            return false;
        }
        let mut buffer = gst::Buffer::from_mut_slice(data);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(at_ns));
            buffer.set_flags(flags);
        }
        self.source.push_buffer(buffer).is_ok()
    }

    fn first(&self, data: Vec<u8>) -> bool {
        self.push(data, 0, gst::BufferFlags::empty())
    }
}

impl Drop for Chain {
    /// Flushing frees a thread that waits at the pad. Waiting for an end of stream would not do: a source that has
    /// nothing to send never brings one through.
    fn drop(&mut self) {
        self.pad.send_event(gst::event::FlushStart::new());
        for element in &self.elements {
            // Nothing is left that could fail but the state change of a broken element, which goes away.
            let _state = element.set_state(gst::State::Null);
        }
        if let Some(last) = self.elements.last().and_then(|element| element.static_pad("src")) {
            let _linked = last.unlink(&self.pad);
        }
        self.aggregator.release_request_pad(&self.pad);
        let _there = self.pipeline.remove_many(&self.elements);
    }
}

/// What is known of a track's decoded pictures; written by GStreamer's threads.
#[derive(Debug, Default)]
struct Seen {
    frames: AtomicU64,
    /// Width in the upper half, height in the lower.
    size: AtomicU32,
    tile: Mutex<(u16, u16)>,
}

impl Seen {
    fn size(&self) -> (u16, u16) {
        let size = self.size.load(Ordering::Relaxed);
        let half = |value: u32| u16::try_from(value & 0xffff).unwrap_or_default();
        (half(size >> 16), half(size))
    }

    fn tile(&self) -> (u16, u16) {
        *self.tile.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A track's pictures.
#[derive(Debug)]
pub(in super::super) struct VideoPad {
    chain: Chain,
    flip: gst::Element,
    crop: gst::Element,
    seen: Arc<Seen>,
    area: Option<Area>,
}

impl VideoPad {
    pub(super) fn add(
        pipeline: &gst::Pipeline,
        compositor: &gst::Element,
        name: &str,
        codec: Codec,
    ) -> Result<Self, StageError> {
        let (decoder, caps) = decoder(name, codec)?;
        let queue = make("queue")?
            .create()
            .name(format!("{name}-queue"))
            .property("max-size-buffers", PICTURES_MAX)
            .property("max-size-bytes", 0_u32)
            .property("max-size-time", 0_u64)
            .build()?;
        let flip = make("videoflip")?.create().name(format!("{name}-flip")).build()?;
        let crop = make("videocrop")?.create().name(format!("{name}-crop")).build()?;
        let seen = Arc::new(Seen::default());
        let chain = Chain::add(
            pipeline,
            compositor,
            name,
            &caps,
            vec![decoder.clone(), queue, flip.clone(), crop.clone()],
        )?;
        set(&chain.pad, None, 1);
        watch(&decoder, &crop, &seen);
        Ok(Self { chain, flip, crop, seen, area: None })
    }

    /// False when too much waits: the track needs a key frame then.
    pub(in super::super) fn push(&self, data: Vec<u8>, at_ns: u64, key: bool, after_loss: bool) -> bool {
        let mut flags = gst::BufferFlags::empty();
        flags.set(gst::BufferFlags::DELTA_UNIT, !key);
        flags.set(gst::BufferFlags::DISCONT, after_loss);
        self.chain.push(data, at_ns, flags)
    }

    /// Decoded pictures so far.
    pub(in super::super) fn frames(&self) -> u64 {
        self.seen.frames.load(Ordering::Relaxed)
    }

    /// Size of the last one.
    pub(in super::super) fn size(&self) -> (u16, u16) {
        self.seen.size()
    }

    /// Turns pictures by quarters, clockwise. Nothing to do is no work.
    pub(in super::super) fn turn(&self, quarters: u8) {
        let method = ["none", "clockwise", "rotate-180", "counterclockwise"][usize::from(quarters & 3)];
        self.flip.set_property_from_str("method", method);
    }

    /// Shows it there, or not at all.
    pub(in super::super) fn place(&mut self, area: Option<Area>) {
        if self.area == area {
            return;
        }
        self.area = area;
        if let Some(area) = area {
            *self.seen.tile.lock().unwrap_or_else(PoisonError::into_inner) = (area.width, area.height);
            apply(&self.crop, cover(self.seen.size(), (area.width, area.height)));
        }
        set(&self.chain.pad, area, 1);
    }
}

/// Counts pictures, and cuts each new size to fill the tile.
fn watch(decoder: &gst::Element, crop: &gst::Element, seen: &Arc<Seen>) {
    if let Some(pad) = decoder.static_pad("src") {
        let seen = Arc::clone(seen);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            seen.frames.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
    let (Some(pad), seen, weak) = (crop.static_pad("sink"), Arc::clone(seen), crop.downgrade()) else {
        return;
    };
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let Some(gst::PadProbeData::Event(event)) = &info.data else { return gst::PadProbeReturn::Ok };
        let gst::EventView::Caps(caps) = event.view() else { return gst::PadProbeReturn::Ok };
        let size = caps.caps().structure(0).map(|caps| {
            let side = |name| u16::try_from(caps.get::<i32>(name).unwrap_or_default()).unwrap_or_default();
            (side("width"), side("height"))
        });
        if let (Some(size), Some(crop)) = (size, weak.upgrade()) {
            seen.size.store(u32::from(size.0) << 16 | u32::from(size.1), Ordering::Relaxed);
            apply(&crop, cover(size, seen.tile()));
        }
        gst::PadProbeReturn::Ok
    });
}

fn apply(element: &gst::Element, crop: Crop) {
    let (sides, ends) = (i32::from(crop.sides), i32::from(crop.ends));
    for (name, value) in [("left", sides), ("right", sides), ("top", ends), ("bottom", ends)] {
        if element.property::<i32>(name) != value {
            element.set_property(name, value);
        }
    }
}

/// Places a pad; none is invisible, and costs nothing.
fn set(pad: &gst::Pad, area: Option<Area>, zorder: u32) {
    let shown = area.unwrap_or(Area { x: 0, y: 0, width: 16, height: 16 });
    pad.set_properties(&[
        ("xpos", &i32::from(shown.x)),
        ("ypos", &i32::from(shown.y)),
        ("width", &i32::from(shown.width)),
        ("height", &i32::from(shown.height)),
        ("alpha", &if area.is_some() { 1.0_f64 } else { 0.0 }),
        ("zorder", &zorder),
    ]);
}

/// A decoder that uses one thread and never thins the picture, and what it takes.
fn decoder(name: &str, codec: Codec) -> Result<(gst::Element, gst::Caps), StageError> {
    let factory = match codec {
        Codec::Vp8 => "vp8dec",
        Codec::Vp9 => "vp9dec",
        Codec::H264 => "avdec_h264",
        Codec::H265 => "avdec_h265",
        Codec::Av1 => "av1dec",
        Codec::Opus | Codec::OpusRed => return Err(StageError::Link("sound has no picture".to_owned())),
    };
    let caps = match codec {
        Codec::Vp9 => gst::Caps::builder("video/x-vp9").field("alignment", "super-frame").build(),
        Codec::H264 | Codec::H265 => {
            let kind = if codec == Codec::H264 { "video/x-h264" } else { "video/x-h265" };
            gst::Caps::builder(kind).field("stream-format", "byte-stream").field("alignment", "au").build()
        }
        Codec::Av1 => gst::Caps::builder("video/x-av1")
            .field("stream-format", "obu-stream")
            .field("alignment", "tu")
            .build(),
        Codec::Vp8 | Codec::Opus | Codec::OpusRed => gst::Caps::new_empty_simple("video/x-vp8"),
    };
    let decoder = make(factory)?.create().name(format!("{name}-decoder")).build()?;
    for (property, value) in [("qos", "false"), ("max-errors", "-1"), ("threads", "1"), ("max-threads", "1")]
    {
        if decoder.has_property(property) {
            decoder.set_property_from_str(property, value);
        }
    }
    Ok((decoder, caps))
}

/// A track's sound.
#[derive(Debug)]
pub(in super::super) struct Sound {
    chain: Chain,
}

impl Sound {
    pub(super) fn add(
        pipeline: &gst::Pipeline,
        mixer: &gst::Element,
        name: &str,
    ) -> Result<Self, StageError> {
        let caps = gst::Caps::builder("audio/x-opus")
            .field("channel-mapping-family", 0)
            .field("channels", 2)
            .field("rate", 48_000)
            .build();
        let part = |factory: &str| -> Result<gst::Element, StageError> {
            Ok(make(factory)?.create().name(format!("{name}-{factory}")).build()?)
        };
        let queue = make("queue")?
            .create()
            .name(format!("{name}-queue"))
            .property("max-size-buffers", 0_u32)
            .property("max-size-bytes", 0_u32)
            .property("max-size-time", 1_000_000_000_u64)
            .build()?;
        let between = vec![part("opusdec")?, part("audioconvert")?, part("audioresample")?, queue];
        Ok(Self { chain: Chain::add(pipeline, mixer, name, &caps, between)? })
    }

    /// False when too much waits.
    pub(in super::super) fn push(&self, data: Vec<u8>, at_ns: u64, after_loss: bool) -> bool {
        let mut flags = gst::BufferFlags::empty();
        flags.set(gst::BufferFlags::DISCONT, after_loss);
        self.chain.push(data, at_ns, flags)
    }
}

/// One buffer that stays.
#[derive(Debug)]
pub(in super::super) struct Still {
    chain: Chain,
    size: (u16, u16),
}

impl Still {
    pub(super) fn add(
        pipeline: &gst::Pipeline,
        compositor: &gst::Element,
        picture: &Picture,
    ) -> Result<Self, StageError> {
        let chain = Self::raw(pipeline, compositor, "still", (picture.width, picture.height))?;
        set(&chain.pad, None, 2);
        chain.first(picture.data.clone());
        Ok(Self { chain, size: (picture.width, picture.height) })
    }

    /// The compositor's base pad: a spot of the background.
    pub(super) fn black(pipeline: &gst::Pipeline, compositor: &gst::Element) -> Result<Self, StageError> {
        let chain = Self::raw(pipeline, compositor, "base", (16, 16))?;
        let mut data = vec![16; 16 * 16];
        data.resize(16 * 16 * 3 / 2, 128);
        chain.first(data);
        set(&chain.pad, Some(Area { x: 0, y: 0, width: 16, height: 16 }), 0);
        Ok(Self { chain, size: (16, 16) })
    }

    /// The mixer's base pad: 20 ms of silence.
    pub(super) fn silence(pipeline: &gst::Pipeline, mixer: &gst::Element) -> Result<Self, StageError> {
        let caps = gst::Caps::builder("audio/x-raw")
            .field("format", "F32LE")
            .field("rate", 48_000)
            .field("channels", 2)
            .field("layout", "interleaved")
            .build();
        let chain = Chain::add(pipeline, mixer, "silence", &caps, vec![filter(&caps)?])?;
        chain.first(vec![0; 960 * 2 * 4]);
        Ok(Self { chain, size: (0, 0) })
    }

    fn raw(
        pipeline: &gst::Pipeline,
        compositor: &gst::Element,
        name: &str,
        (width, height): (u16, u16),
    ) -> Result<Chain, StageError> {
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", i32::from(width))
            .field("height", i32::from(height))
            .field("framerate", gst::Fraction::new(0, 1))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        // Names of elements are unique in a pipeline: GStreamer numbers what has none.
        let filter = filter(&caps)?;
        let name = format!("{name}-{}", filter.name());
        Chain::add(pipeline, compositor, &name, &caps, vec![filter])
    }

    /// Its own size.
    pub(in super::super) const fn size(&self) -> (u16, u16) {
        self.size
    }

    /// Shows it there, this opaque, above others with a lower `zorder`.
    pub(in super::super) fn place(&self, area: Area, alpha: f64, zorder: u32) {
        set(&self.chain.pad, Some(area), zorder);
        self.chain.pad.set_property("alpha", alpha);
    }
}
