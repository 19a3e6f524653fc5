//! Shell: the picture of a film's middle.

use std::fs;
use std::path::Path;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app::AppSink;

/// Width of the picture, as OpenVidu has it.
const WIDTH: u32 = 480;

/// A film whose picture takes longer has none.
const WAIT: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum ThumbnailError {
    /// GStreamer cannot read the film, or lacks an element.
    #[error("cannot make the thumbnail: {0}")]
    Film(String),
    /// No picture came.
    #[error("cannot make the thumbnail: no picture in time")]
    Late,
    /// The disk.
    #[error("cannot write the thumbnail: {0}")]
    Write(#[from] std::io::Error),
}

impl From<gst::glib::BoolError> for ThumbnailError {
    fn from(error: gst::glib::BoolError) -> Self {
        Self::Film(error.message.into_owned())
    }
}

/// Writes a JPEG of the film's middle.
pub(super) fn thumbnail(film: &Path, picture: &Path) -> Result<(), ThumbnailError> {
    let text = format!(
        "filesrc name=source ! qtdemux ! avdec_h264 max-threads=1 ! videoconvert ! videoscale \
         ! video/x-raw,width={WIDTH},pixel-aspect-ratio=1/1 ! jpegenc ! appsink name=sink sync=false"
    );
    let bin = gst::parse::launch(&text).map_err(|error| ThumbnailError::Film(error.to_string()))?;
    let pipeline = bin.downcast::<gst::Pipeline>().map_err(|_bin| ThumbnailError::Late)?;
    let result = take(&pipeline, film);
    if pipeline.set_state(gst::State::Null).is_err() {
        tracing::debug!("the thumbnail's pipeline does not stop");
    }
    let temporary = picture.with_extension("jpg.part");
    fs::write(&temporary, result?)?;
    fs::rename(&temporary, picture)?;
    Ok(())
}

fn take(pipeline: &gst::Pipeline, film: &Path) -> Result<Vec<u8>, ThumbnailError> {
    let source = pipeline.by_name("source").ok_or(ThumbnailError::Late)?;
    source.set_property("location", film.to_string_lossy().as_ref());
    let sink = pipeline
        .by_name("sink")
        .and_then(|sink| sink.downcast::<AppSink>().ok())
        .ok_or(ThumbnailError::Late)?;
    let settle = || pipeline.state(WAIT).0.map_err(|_failed| ThumbnailError::Late);
    pipeline.set_state(gst::State::Paused).map_err(|error| ThumbnailError::Film(error.to_string()))?;
    settle()?;
    if let Some(duration) = pipeline.query_duration::<gst::ClockTime>() {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
        // A film of one picture cannot be sought in; the first picture serves then.
        if pipeline.seek_simple(flags, duration / 2).is_ok() {
            settle()?;
        }
    }
    let sample = sink.try_pull_preroll(WAIT).ok_or(ThumbnailError::Late)?;
    let buffer = sample.buffer().ok_or(ThumbnailError::Late)?;
    Ok(buffer.map_readable()?.to_vec())
}
