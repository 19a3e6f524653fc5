//! Pure: no clock, no I/O, no async.
//!
//! Texts of a recording that others read: its public name, and its object as it lies beside its files
//! (`.recording.<id>`) and as the API shows it.

use serde_json::{Map, Value, json};

use crate::cluster::op::{OutputMode, RecordingProperties, RecordingStatus, RecordingView};

/// `<session>` for number 0, else `<session>~<number>`.
#[must_use]
pub fn show_id(session: &str, number: u64) -> String {
    if number == 0 { session.to_owned() } else { format!("{session}~{number}") }
}

/// The session's name and the number; none when it is no name of a recording.
#[must_use]
pub fn parse_id(id: &str) -> Option<(&str, u64)> {
    let Some((session, digits)) = id.split_once('~') else { return Some((id, 0)) };
    let number = digits.parse().ok()?;
    // One spelling for each: no `~0`, no `~01`, no `~+1`.
    (show_id(session, number) == id).then_some((session, number))
}

/// A custom layout that only a browser could show.
#[must_use]
pub fn is_web_page(properties: &RecordingProperties) -> bool {
    let url = properties.custom_layout.trim_start().to_ascii_lowercase();
    properties.is_film()
        && properties.layout == "CUSTOM"
        && (url.starts_with("http://") || url.starts_with("https://"))
}

/// Why such a layout is refused.
#[must_use]
pub fn no_web_pages() -> String {
    "customLayout is the URL of a web page, which only a browser could show; recorders draw layouts themselves: use \
     BEST_FIT or a folder of the recorders' custom layouts"
        .to_owned()
}

/// OpenVidu's word for an output mode.
#[must_use]
pub const fn mode(mode: OutputMode) -> &'static str {
    match mode {
        OutputMode::Composed => "COMPOSED",
        OutputMode::ComposedQuickStart => "COMPOSED_QUICK_START",
        OutputMode::Individual => "INDIVIDUAL",
    }
}

/// OpenVidu's word for a status.
#[must_use]
pub const fn status(status: RecordingStatus) -> &'static str {
    match status {
        RecordingStatus::Failed => "failed",
        RecordingStatus::Ready => "ready",
        RecordingStatus::Started => "started",
        RecordingStatus::Starting => "starting",
        RecordingStatus::Stopped => "stopped",
    }
}

/// Seconds as OpenVidu shows a recording's length.
#[must_use]
pub fn seconds(duration_ms: u64) -> f64 {
    // Lengths are far below 2^52 ms.
    #[expect(clippy::cast_precision_loss, reason = "exact for 140,000 years")]
    let duration_ms = duration_ms as f64;
    duration_ms / 1000.0
}

/// Where the file is found: `prefix` ends in `/openvidu/recordings/`.
#[must_use]
pub fn url(prefix: &str, view: &RecordingView) -> String {
    format!("{prefix}{}/{}.{}", view.id, view.properties.name, view.properties.extension())
}

/// The recording's object: exact keys in a stable order.
#[must_use]
pub fn object(view: &RecordingView, prefix: &str) -> Map<String, Value> {
    let properties = &view.properties;
    let finished = matches!(view.status, RecordingStatus::Ready | RecordingStatus::Failed);
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("id", json!(view.id));
    put("object", json!("recording"));
    put("name", json!(properties.name));
    put("outputMode", json!(mode(properties.mode)));
    if properties.is_film() {
        put("resolution", json!(resolution(properties)));
        put("frameRate", json!(properties.frame_rate));
        put("recordingLayout", json!(properties.layout));
        if properties.layout == "CUSTOM" {
            put("customLayout", json!(properties.custom_layout));
        }
    }
    put("sessionId", json!(view.session));
    put("createdAt", json!(view.created_at));
    put("size", json!(view.size_bytes));
    put("duration", json!(seconds(view.duration_ms)));
    put("url", if finished { json!(url(prefix, view)) } else { Value::Null });
    put("hasAudio", json!(properties.has_audio));
    put("hasVideo", json!(properties.has_video));
    put("status", json!(status(view.status)));
    if let Some(node) = &properties.media_node {
        put("mediaNode", json!(node));
    }
    map
}

/// `1280x720`.
#[must_use]
pub fn resolution(properties: &RecordingProperties) -> String {
    format!("{}x{}", properties.width, properties.height)
}

/// What is written beside the files when a recording begins; the recorder keeps `status`, `size`, `duration` and
/// `url` in it up to date.
#[must_use]
pub fn metadata(view: &RecordingView, prefix: &str) -> String {
    let mut map = object(view, prefix);
    let unique = format!("{}_{}", view.session, view.session_started);
    let mut ordered = Map::new();
    for (key, value) in std::mem::take(&mut map) {
        let is_session = key == "sessionId";
        ordered.insert(key, value);
        if is_session {
            ordered.insert("uniqueSessionId".to_owned(), json!(unique));
        }
    }
    Value::Object(ordered).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(parse_id("standup"), Some(("standup", 0)));
        assert_eq!(parse_id("standup~12"), Some(("standup", 12)));
        for wrong in ["standup~", "standup~0", "standup~01", "standup~+1", "standup~1~2", "standup~x"] {
            assert_eq!(parse_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_object_has_the_keys_of_openvidu() {
        let mut view = RecordingView {
            id: "standup".to_owned(),
            session: "standup".to_owned(),
            session_started: 1_700_000_000_000,
            created_at: 1_700_000_010_000,
            status: RecordingStatus::Started,
            properties: RecordingProperties { name: "monday".to_owned(), ..RecordingProperties::default() },
            ..RecordingView::default()
        };
        let prefix = "https://ov.example.org/openvidu/recordings/";
        assert_eq!(
            Value::Object(object(&view, prefix)).to_string(),
            r#"{"id":"standup","object":"recording","name":"monday","outputMode":"COMPOSED","resolution":"1280x720","frameRate":25,"recordingLayout":"BEST_FIT","sessionId":"standup","createdAt":1700000010000,"size":0,"duration":0.0,"url":null,"hasAudio":true,"hasVideo":true,"status":"started"}"#
        );
        view.properties.mode = OutputMode::Individual;
        view.status = RecordingStatus::Ready;
        (view.size_bytes, view.duration_ms) = (4_190_233, 61_370);
        assert_eq!(
            metadata(&view, prefix),
            r#"{"id":"standup","object":"recording","name":"monday","outputMode":"INDIVIDUAL","sessionId":"standup","uniqueSessionId":"standup_1700000000000","createdAt":1700000010000,"size":4190233,"duration":61.37,"url":"https://ov.example.org/openvidu/recordings/standup/monday.zip","hasAudio":true,"hasVideo":true,"status":"ready"}"#
        );
    }

    #[test]
    fn only_films_with_a_url_as_layout_are_web_pages() {
        let page = RecordingProperties {
            layout: "CUSTOM".to_owned(),
            custom_layout: "HTTPS://example.org/layout?x=1".to_owned(),
            ..RecordingProperties::default()
        };
        assert!(is_web_page(&page));
        assert!(!is_web_page(&RecordingProperties { mode: OutputMode::Individual, ..page.clone() }));
        assert!(!is_web_page(&RecordingProperties { custom_layout: "folder".to_owned(), ..page.clone() }));
        assert!(!is_web_page(&RecordingProperties { layout: "BEST_FIT".to_owned(), ..page }));
    }
}
