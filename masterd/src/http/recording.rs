//! Pure: no clock, no I/O, no async.
//!
//! `defaultRecordingProperties`: checks what an application gives and completes it as responses show it.

use serde_json::{Map, Value, json};

use super::fields::{FieldError, Fields, undefined, wrong};

/// Checks the properties of a request (none is all defaults) and gives them as responses show them: fields that do
/// not apply to the output mode are left out.
///
/// # Errors
/// [`FieldError`] with the first problem.
pub fn complete(given: Option<Fields<'_>>) -> Result<Map<String, Value>, FieldError> {
    let empty = Map::new();
    let fields = given.unwrap_or(Fields(&empty));
    let name = fields.string("name")?.unwrap_or_default();
    let mode = fields.string("outputMode")?;
    let has_audio = fields.boolean("hasAudio")?.unwrap_or(true);
    let has_video = fields.boolean("hasVideo")?.unwrap_or(true);
    let layout = fields.string("recordingLayout")?;
    let custom_layout = fields.string("customLayout")?.unwrap_or_default();
    let resolution = fields.string("resolution")?;
    let frame_rate = fields.integer("frameRate")?;
    let shm_size = fields.integer("shmSize")?;
    let ignore_failed = fields.boolean("ignoreFailedStreams")?.unwrap_or(false);

    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-~".contains(&byte)) {
        return Err(FieldError("Parameter 'name' is wrong. Must match [a-zA-Z0-9_-~]+".to_owned()));
    }
    if !has_audio && !has_video {
        return Err(FieldError("Either 'hasAudio' or 'hasVideo' must be true".to_owned()));
    }
    let mode = one_of("outputMode", mode, &["COMPOSED", "INDIVIDUAL", "COMPOSED_QUICK_START"])?;
    let layout = one_of("recordingLayout", layout, &LAYOUTS)?;
    let resolution = resolution.unwrap_or("1280x720");
    if !resolution_is_good(resolution) {
        return Err(FieldError(
            "Parameter 'resolution' is wrong. Must be WIDTHxHEIGHT, both from 100 to 1999".to_owned(),
        ));
    }
    let frame_rate = frame_rate.unwrap_or(25);
    if !(1..=120).contains(&frame_rate) {
        return Err(FieldError("Parameter 'frameRate' is wrong. Must be from 1 to 120".to_owned()));
    }
    let shm_size = shm_size.unwrap_or(536_870_912);
    if shm_size < 134_217_728 {
        return Err(FieldError("Parameter 'shmSize' is wrong. Must be at least 134217728".to_owned()));
    }
    let media_node = media_node(&fields)?;

    let mut shown = Map::new();
    shown.insert("name".to_owned(), json!(name));
    shown.insert("hasAudio".to_owned(), json!(has_audio));
    shown.insert("hasVideo".to_owned(), json!(has_video));
    shown.insert("outputMode".to_owned(), json!(mode));
    if mode == "INDIVIDUAL" {
        shown.insert("ignoreFailedStreams".to_owned(), json!(ignore_failed));
    } else if has_video {
        shown.insert("recordingLayout".to_owned(), json!(layout));
        shown.insert("resolution".to_owned(), json!(resolution));
        shown.insert("frameRate".to_owned(), json!(frame_rate));
        shown.insert("shmSize".to_owned(), json!(shm_size));
        if layout == "CUSTOM" {
            shown.insert("customLayout".to_owned(), json!(custom_layout));
        }
    }
    if let Some(node) = media_node {
        shown.insert("mediaNode".to_owned(), json!(node));
    }
    Ok(shown)
}

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

fn resolution_is_good(text: &str) -> bool {
    let side = |side: &str| {
        !side.starts_with('0')
            && side.bytes().all(|byte| byte.is_ascii_digit())
            && side.parse::<u32>().is_ok_and(|side| (100..=1999).contains(&side))
    };
    text.split_once('x').is_some_and(|(width, height)| side(width) && side(height))
}

const LAYOUTS: [&str; 5] =
    ["BEST_FIT", "CUSTOM", "PICTURE_IN_PICTURE", "VERTICAL_PRESENTATION", "HORIZONTAL_PRESENTATION"];

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(body: &Value) -> Vec<String> {
        complete(Some(Fields(body.as_object().unwrap()))).unwrap().keys().cloned().collect()
    }

    #[track_caller]
    fn refused(body: &Value, part: &str) {
        let error = complete(Some(Fields(body.as_object().unwrap()))).unwrap_err();
        assert!(error.0.contains(part), "{error}");
    }

    #[test]
    fn defaults_are_those_of_openvidu() {
        let shown = serde_json::to_string(&complete(None).unwrap()).unwrap();
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
}
