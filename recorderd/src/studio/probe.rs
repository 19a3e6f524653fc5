//! Shell: asks GStreamer's registry which elements are installed.

use gstreamer as gst;

/// An element that is needed, and who has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Element {
    /// Its name.
    pub name: &'static str,
    /// The Debian package it is part of.
    pub package: &'static str,
}

const fn element(name: &'static str, package: &'static str) -> Element {
    Element { name, package }
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

/// Without these no composed recording is possible.
const COMPOSED: [Element; 15] = [
    element("appsrc", BASE),
    element("appsink", BASE),
    element("queue", "libgstreamer1.0-0"),
    element("capsfilter", "libgstreamer1.0-0"),
    element("audioconvert", BASE),
    element("audioresample", BASE),
    element("audiomixer", BASE),
    element("opusdec", BASE),
    element("opusenc", BASE),
    element("compositor", BASE),
    element("videocrop", GOOD),
    element("videoflip", GOOD),
    element("x264enc", UGLY),
    element("vp8dec", GOOD),
    element("avenc_aac", LIBAV),
];

/// Without these some streams have no picture, or a film has no thumbnail.
const WISHED: [Element; 7] = [
    element("vp9dec", GOOD),
    element("avdec_h264", LIBAV),
    element("avdec_h265", LIBAV),
    element("av1dec", BAD),
    element("videoconvert", BASE),
    element("videoscale", BASE),
    element("jpegenc", GOOD),
];

/// What is not installed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Missing {
    /// Composed recordings fail for want of these.
    pub needed: Vec<Element>,
    /// Some codecs cannot be shown, or there are no thumbnails, for want of these.
    pub wished: Vec<Element>,
}

impl Missing {
    /// For humans: which, and what to install. Empty when nothing is missing.
    #[must_use]
    pub fn explain(elements: &[Element]) -> String {
        let names = elements.iter().map(|element| format!("{} (package {})", element.name, element.package));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// What a recorder's operator should know of this machine: one sentence a line, nothing when all is there.
#[must_use]
pub fn report() -> String {
    let found = match missing() {
        Ok(found) => found,
        Err(error) => {
            return format!("no composed recording is possible: {}\n", common::telemetry::chain(&error));
        }
    };
    let mut text = String::new();
    if !found.needed.is_empty() {
        text += "no composed recording is possible: GStreamer lacks ";
        text += &Missing::explain(&found.needed);
        text.push('\n');
    }
    if !found.wished.is_empty() {
        text += "some codecs cannot be shown in composed recordings, or films have no thumbnail: GStreamer lacks ";
        text += &Missing::explain(&found.wished);
        text.push('\n');
    }
    text
}

/// GStreamer cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot load GStreamer")]
pub struct LoadError(#[from] gst::glib::Error);

/// Loads GStreamer and looks. Individual recordings need nothing of it.
///
/// # Errors
/// [`LoadError`].
pub fn missing() -> Result<Missing, LoadError> {
    gst::init()?;
    Ok(Missing { needed: absent(&COMPOSED), wished: absent(&WISHED) })
}

/// Makes one of each element, so that their libraries are loaded before there is a job: a quarter of a second less from
/// its begin to its first picture.
pub(super) fn warm() {
    for element in COMPOSED.iter().chain(&WISHED) {
        let made = gst::ElementFactory::find(element.name).map(|factory| factory.create().build());
        if let Some(Err(error)) = made {
            tracing::warn!(element = element.name, %error, "an element cannot be made");
        }
    }
}

fn absent(elements: &[Element]) -> Vec<Element> {
    elements.iter().copied().filter(|element| gst::ElementFactory::find(element.name).is_none()).collect()
}

/// The package that has an element, if it is one of ours.
pub(super) fn package(name: &str) -> &'static str {
    let all = COMPOSED.iter().chain(&WISHED);
    all.into_iter().find(|element| element.name == name).map_or("of GStreamer", |element| element.package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        gst::init().unwrap();
        let found = absent(&[element("queue", "a"), element("nosuchelement", "gstreamer1.0-none")]);
        assert_eq!(Missing::explain(&found), "nosuchelement (package gstreamer1.0-none)");
        assert_eq!(package("x264enc"), UGLY);
    }
}
