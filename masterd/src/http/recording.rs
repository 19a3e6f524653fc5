//! Pure: no clock, no I/O, no async.
//!
//! Properties of a recording: checks what an application gives, for one recording or as the defaults of a session,
//! and shows them.

use serde_json::{Map, Value, json};

use super::fields::{FieldError, Fields, undefined, wrong};
use crate::cluster::op::{OutputMode, RecordingProperties};
use crate::cluster::recording::text;

/// What is wrong with a property. Sessions answer both with 400, a start of a recording tells them apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PropertyError {
    /// Of the wrong kind, or not one of a list: 400.
    Bad(FieldError),
    /// Out of its range, or contradicting another one: 422.
    Unprocessable(FieldError),
}

impl From<FieldError> for PropertyError {
    fn from(error: FieldError) -> Self {
        Self::Bad(error)
    }
}

impl PropertyError {
    /// Without the distinction.
    #[must_use]
    pub fn field(self) -> FieldError {
        match self {
            Self::Bad(error) | Self::Unprocessable(error) => error,
        }
    }

    fn unprocessable(text: &str) -> Self {
        Self::Unprocessable(FieldError(text.to_owned()))
    }
}

/// Checks `defaultRecordingProperties` (none is all defaults).
///
/// # Errors
/// [`FieldError`] with the first problem.
pub fn complete(given: Option<Fields<'_>>) -> Result<RecordingProperties, FieldError> {
    let empty = Map::new();
    let fields = given.unwrap_or(Fields(&empty));
    requested(fields, &RecordingProperties::default(), Flavour::Asked).map_err(PropertyError::field)
}

/// Which of the two kinds of composed recording is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// The one that is asked for.
    Asked,
    /// The one of the session's defaults.
    Default,
}

/// Checks the properties of a request in OpenVidu's order: all types, then the values. What is not given is as in
/// `defaults`.
///
/// # Errors
/// [`PropertyError`] with the first problem.
pub fn requested(
    fields: Fields<'_>,
    defaults: &RecordingProperties,
    flavour: Flavour,
) -> Result<RecordingProperties, PropertyError> {
    let name = fields.string("name")?.filter(|name| !name.is_empty());
    let mode = fields.string("outputMode")?;
    let has_audio = fields.boolean("hasAudio")?.unwrap_or(defaults.has_audio);
    let has_video = fields.boolean("hasVideo")?.unwrap_or(defaults.has_video);
    let layout = fields.string("recordingLayout")?;
    let custom_layout = fields.string("customLayout")?.unwrap_or(&defaults.custom_layout);
    let resolution = fields.string("resolution")?;
    let frame_rate = fields.integer("frameRate")?;
    let shm_size = fields.integer("shmSize")?;
    let ignore_failed_streams =
        fields.boolean("ignoreFailedStreams")?.unwrap_or(defaults.ignore_failed_streams);

    let name = name.unwrap_or(&defaults.name);
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-~".contains(&byte)) {
        return Err(FieldError("Parameter 'name' is wrong. Must match [a-zA-Z0-9_-~]+".to_owned()).into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(FieldError(format!("Parameter 'name' is longer than {NAME_BYTES_MAX}")).into());
    }
    if !has_audio && !has_video {
        return Err(PropertyError::unprocessable("Either 'hasAudio' or 'hasVideo' must be true"));
    }
    let mode = output_mode(mode, defaults.mode, flavour)?;
    let layout = match layout {
        None => &defaults.layout,
        Some(layout) => one_of("recordingLayout", Some(layout), &LAYOUTS)?,
    };
    if custom_layout.len() > CUSTOM_LAYOUT_BYTES_MAX {
        let text = format!("Parameter 'customLayout' is longer than {CUSTOM_LAYOUT_BYTES_MAX}");
        return Err(FieldError(text).into());
    }
    let (width, height) = match resolution {
        None => (defaults.width, defaults.height),
        Some(text) => sides(text).ok_or_else(|| {
            PropertyError::unprocessable(
                "Parameter 'resolution' is wrong. Must be WIDTHxHEIGHT, both from 100 to 1999",
            )
        })?,
    };
    let frame_rate = match frame_rate {
        None => defaults.frame_rate,
        Some(rate) => u16::try_from(rate).ok().filter(|rate| (1..=120).contains(rate)).ok_or_else(|| {
            PropertyError::unprocessable("Parameter 'frameRate' is wrong. Must be from 1 to 120")
        })?,
    };
    let shm_size = match shm_size {
        None => defaults.shm_size,
        Some(size) => u64::try_from(size).ok().filter(|size| *size >= 134_217_728).ok_or_else(|| {
            PropertyError::unprocessable("Parameter 'shmSize' is wrong. Must be at least 134217728")
        })?,
    };
    Ok(RecordingProperties {
        name: name.to_owned(),
        mode,
        has_audio,
        has_video,
        layout: layout.to_owned(),
        custom_layout: custom_layout.to_owned(),
        width,
        height,
        frame_rate,
        shm_size,
        ignore_failed_streams,
        media_node: media_node(&fields)?.or_else(|| defaults.media_node.clone()),
    })
}

/// Of the two composed modes, the flavour of the session's defaults wins over the one that a start asks for.
fn output_mode(asked: Option<&str>, default: OutputMode, flavour: Flavour) -> Result<OutputMode, FieldError> {
    let asked = match asked {
        None => return Ok(default),
        Some("COMPOSED") => OutputMode::Composed,
        Some("COMPOSED_QUICK_START") => OutputMode::ComposedQuickStart,
        Some("INDIVIDUAL") => OutputMode::Individual,
        Some(other) => return Err(undefined("outputMode", other)),
    };
    Ok(match (asked, default, flavour) {
        (OutputMode::Individual, _, _) | (_, _, Flavour::Asked) => asked,
        (_, OutputMode::ComposedQuickStart, Flavour::Default) => OutputMode::ComposedQuickStart,
        (_, OutputMode::Composed | OutputMode::Individual, Flavour::Default) => OutputMode::Composed,
    })
}

/// `defaultRecordingProperties` as responses show it: fields that do not apply to the output mode are left out.
#[must_use]
pub fn show_defaults(properties: &RecordingProperties) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| drop(shown.insert(key.to_owned(), value));
    put("name", json!(properties.name));
    put("hasAudio", json!(properties.has_audio));
    put("hasVideo", json!(properties.has_video));
    put("outputMode", json!(text::mode(properties.mode)));
    if properties.mode == OutputMode::Individual {
        put("ignoreFailedStreams", json!(properties.ignore_failed_streams));
    } else if properties.has_video {
        put("recordingLayout", json!(properties.layout));
        put("resolution", json!(text::resolution(properties)));
        put("frameRate", json!(properties.frame_rate));
        put("shmSize", json!(properties.shm_size));
        if properties.layout == "CUSTOM" {
            put("customLayout", json!(properties.custom_layout));
        }
    }
    if let Some(node) = &properties.media_node {
        put("mediaNode", json!(node));
    }
    shown
}

/// A name becomes a file: 255 bytes at most, with room for an extension.
const NAME_BYTES_MAX: usize = 200;

/// A folder, or a URL with its query.
const CUSTOM_LAYOUT_BYTES_MAX: usize = 2048;

/// `mediaNode`: an object with a text `id`, or a text that holds such an object.
///
/// # Errors
/// When it is something else.
pub fn media_node(fields: &Fields<'_>) -> Result<Option<String>, FieldError> {
    let expected = || wrong("mediaNode", "an object with a string 'id'");
    let Some(value) = fields.value("mediaNode") else { return Ok(None) };
    let parsed;
    let value = match value.as_str() {
        Some(text) => {
            parsed = serde_json::from_str::<Value>(text).ok().ok_or_else(expected)?;
            &parsed
        }
        None => value,
    };
    let id = value.get("id").and_then(Value::as_str).ok_or_else(expected)?;
    Ok(Some(id.to_owned()))
}

/// A value of a list, the first one when absent.
///
/// # Errors
/// When it is not in the list.
pub fn one_of<'a>(name: &str, value: Option<&'a str>, allowed: &[&'a str]) -> Result<&'a str, FieldError> {
    match value {
        None => Ok(allowed[0]),
        Some(value) if allowed.contains(&value) => Ok(value),
        Some(value) => Err(undefined(name, value)),
    }
}

fn sides(text: &str) -> Option<(u16, u16)> {
    let side = |side: &str| {
        let plain = !side.starts_with('0') && side.bytes().all(|byte| byte.is_ascii_digit());
        side.parse().ok().filter(|side| plain && (100..=1999).contains(side))
    };
    let (width, height) = text.split_once('x')?;
    Some((side(width)?, side(height)?))
}

const LAYOUTS: [&str; 5] =
    ["BEST_FIT", "CUSTOM", "PICTURE_IN_PICTURE", "VERTICAL_PRESENTATION", "HORIZONTAL_PRESENTATION"];

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(body: &Value) -> Vec<String> {
        let properties = complete(Some(Fields(body.as_object().unwrap()))).unwrap();
        show_defaults(&properties).keys().cloned().collect()
    }

    #[track_caller]
    fn refused(body: &Value, part: &str) {
        let error = complete(Some(Fields(body.as_object().unwrap()))).unwrap_err();
        assert!(error.0.contains(part), "{error}");
    }

    #[test]
    fn defaults_are_those_of_openvidu() {
        let shown = serde_json::to_string(&show_defaults(&complete(None).unwrap())).unwrap();
        assert_eq!(
            shown,
            r#"{"name":"","hasAudio":true,"hasVideo":true,"outputMode":"COMPOSED","recordingLayout":"BEST_FIT","resolution":"1280x720","frameRate":25,"shmSize":536870912}"#
        );
    }

    #[test]
    fn fields_that_do_not_apply_are_left_out() {
        let always = ["name", "hasAudio", "hasVideo", "outputMode"];
        let individual = json!({"outputMode": "INDIVIDUAL", "recordingLayout": "BEST_FIT"});
        assert_eq!(keys(&individual), [&always[..], &["ignoreFailedStreams"]].concat());
        assert_eq!(keys(&json!({"hasVideo": false})), always);
        let custom = json!({"recordingLayout": "CUSTOM", "mediaNode": {"id": "media_x"}, "frameRate": 25.0});
        let rest = ["recordingLayout", "resolution", "frameRate", "shmSize", "customLayout", "mediaNode"];
        assert_eq!(keys(&custom), [&always[..], &rest].concat());
    }

    #[test]
    fn wrong_values_are_named() {
        refused(&json!({"name": "a b"}), "'name'");
        refused(&json!({"name": 5}), "'name'");
        refused(&json!({"hasAudio": false, "hasVideo": false}), "'hasAudio'");
        refused(&json!({"outputMode": "X"}), "'outputMode' X");
        refused(&json!({"recordingLayout": "X"}), "'recordingLayout' X");
        for resolution in ["12x720", "1280x2000", "0128x720", "1280", "x", "1280x+20"] {
            refused(&json!({"resolution": resolution}), "'resolution'");
        }
        refused(&json!({"frameRate": 0}), "'frameRate'");
        refused(&json!({"frameRate": "25"}), "'frameRate'");
        refused(&json!({"shmSize": 1}), "'shmSize'");
        refused(&json!({"mediaNode": {"id": 4}}), "'mediaNode'");
        refused(&json!({"mediaNode": "x"}), "'mediaNode'");
        assert_eq!(
            media_node(&Fields(json!({"mediaNode": "{\"id\":\"m\"}"}).as_object().unwrap())),
            Ok(Some("m".to_owned()))
        );
    }

    #[test]
    fn a_start_takes_the_sessions_defaults_and_their_flavour_of_composed() {
        let start = |body: &Value, defaults: &RecordingProperties| {
            requested(Fields(body.as_object().unwrap()), defaults, Flavour::Default).unwrap()
        };
        let quick = RecordingProperties {
            name: "monday".to_owned(),
            mode: OutputMode::ComposedQuickStart,
            width: 640,
            height: 480,
            ..RecordingProperties::default()
        };
        assert_eq!(start(&json!({}), &quick), quick);
        assert_eq!(start(&json!({"name": "", "outputMode": "COMPOSED"}), &quick), quick);
        assert_eq!(start(&json!({"outputMode": "INDIVIDUAL"}), &quick).mode, OutputMode::Individual);
        let plain = RecordingProperties::default();
        assert_eq!(start(&json!({"outputMode": "COMPOSED_QUICK_START"}), &plain).mode, OutputMode::Composed);
        assert_eq!(start(&json!({"name": "a", "frameRate": 30}), &quick).frame_rate, 30);
    }

    #[test]
    fn a_start_tells_wrong_kinds_from_wrong_values() {
        let kind = |body: Value| {
            let fields = Fields(body.as_object().unwrap());
            match requested(fields, &RecordingProperties::default(), Flavour::Default).unwrap_err() {
                PropertyError::Bad(_) => 400,
                PropertyError::Unprocessable(_) => 422,
            }
        };
        assert_eq!(kind(json!({"hasAudio": "x", "hasVideo": false})), 400);
        assert_eq!(kind(json!({"hasAudio": false, "hasVideo": false, "outputMode": "X"})), 422);
        assert_eq!(kind(json!({"outputMode": "X", "resolution": "1x1"})), 400);
        assert_eq!(kind(json!({"recordingLayout": "X", "resolution": "1x1"})), 400);
        for body in [json!({"resolution": "1x1"}), json!({"frameRate": 121}), json!({"shmSize": -1})] {
            assert_eq!(kind(body), 422);
        }
        assert_eq!(kind(json!({"mediaNode": 5})), 400);
    }
}
