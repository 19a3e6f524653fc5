//! Pure: no clock, no I/O, no async.
//!
//! The JSON beside the media: the recording's object as OpenVidu keeps it in `.recording.<id>`, and the list of files
//! in the archive of an individual recording.

use serde_json::{Map, Number, Value, json};

use crate::journal::{Journal, StreamFile};

/// The recording's object at a new status. What masterd gave at the start is kept, member by member and in its order;
/// `status`, `size`, `duration` and, when it is over, `url` are put in.
#[must_use]
pub fn metadata(journal: &Journal, status: &str, size_bytes: u64, duration_us: u64) -> String {
    let mut object = match serde_json::from_str(&journal.spec.metadata) {
        Ok(Value::Object(object)) => object,
        // Not the recorder's to judge: keep what can be said without it.
        Ok(_) | Err(_) => bare(journal),
    };
    object.insert("size".to_owned(), size_bytes.into());
    object.insert("duration".to_owned(), seconds(duration_us));
    object.insert("status".to_owned(), status.into());
    if matches!(status, "ready" | "failed") {
        object.insert("url".to_owned(), journal.spec.url.as_str().into());
    }
    object
        .entry("uniqueSessionId")
        .or_insert_with(|| format!("{}_{}", journal.spec.session, journal.spec.session_started_ms).into());
    Value::Object(object).to_string()
}

fn bare(journal: &Journal) -> Map<String, Value> {
    let mut object = Map::new();
    for (key, value) in [
        ("id", journal.id.as_str()),
        ("object", "recording"),
        ("name", journal.spec.name.as_str()),
        ("sessionId", journal.spec.session.as_str()),
    ] {
        object.insert(key.to_owned(), value.into());
    }
    object.insert("createdAt".to_owned(), journal.spec.created_at_ms.into());
    object
}

/// Seconds with a fraction, also where it is zero.
#[expect(clippy::cast_precision_loss, reason = "a recording is shorter than 2^53 microseconds, 285 years")]
fn seconds(duration_us: u64) -> Value {
    let milliseconds = (duration_us + 500) / 1000;
    Number::from_f64(milliseconds as f64 / 1000.0).map_or(Value::Null, Value::Number)
}

/// The list of files in an archive (`<name>.json`).
#[must_use]
pub fn archive(journal: &Journal, files: &[StreamFile]) -> String {
    let list: Vec<Value> = files.iter().map(file).collect();
    json!({
        "createdAt": journal.spec.created_at_ms,
        "id": journal.id.as_str(),
        "name": journal.spec.name,
        "sessionId": journal.spec.session,
        "files": list,
    })
    .to_string()
}

fn file(file: &StreamFile) -> Value {
    let mut object = Map::new();
    let bytes = file.whole.map_or(0, |whole| whole.bytes);
    object.insert("name".to_owned(), file.file.as_str().into());
    object.insert("connectionId".to_owned(), file.connection_id.as_str().into());
    object.insert("streamId".to_owned(), file.stream_id.as_str().into());
    object.insert("size".to_owned(), bytes.into());
    object.insert("clientData".to_owned(), file.client_data.as_str().into());
    object.insert("serverData".to_owned(), file.server_data.as_str().into());
    object.insert("hasAudio".to_owned(), file.has_audio.into());
    object.insert("hasVideo".to_owned(), file.has_video.into());
    if file.has_video {
        object.insert("typeOfVideo".to_owned(), file.type_of_video.as_str().into());
    }
    object.insert("startTimeOffset".to_owned(), (file.start_us / 1000).into());
    object.insert("endTimeOffset".to_owned(), (file.end_us() / 1000).into());
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use common::wire::recording::RecordingMode;

    use super::*;
    use crate::journal::Whole;
    use crate::journal::tests::{entry, journal};

    #[test]
    fn the_metadata_keeps_what_it_was_given_and_follows_the_status() {
        let journal = journal(RecordingMode::Composed);
        assert_eq!(
            metadata(&journal, "started", 0, 0),
            r#"{"id":"standup","status":"started","size":0,"duration":0.0,"url":null,"uniqueSessionId":"standup_1700000000000"}"#
        );
        assert_eq!(
            metadata(&journal, "ready", 4_190_233, 61_370_400),
            r#"{"id":"standup","status":"ready","size":4190233,"duration":61.37,"url":"https://ov.example.org/openvidu/recordings/standup/monday.mp4","uniqueSessionId":"standup_1700000000000"}"#
        );
    }

    #[test]
    fn metadata_that_is_no_object_is_replaced() {
        let mut journal = journal(RecordingMode::Composed);
        journal.spec.metadata = "[]".to_owned();
        let text = metadata(&journal, "failed", 1, 0);
        assert!(text.starts_with(r#"{"id":"standup","object":"recording","name":"monday","sessionId":"standup","createdAt":1700000010000"#));
        assert!(text.contains(r#""status":"failed""#));
    }

    #[test]
    fn the_archive_lists_its_files_as_openvidu_does() {
        let journal = journal(RecordingMode::Individual);
        let mut with_video =
            StreamFile::begun(&entry(7), "str_CAM_7_con_7.webm".to_owned(), 84_000, true, true);
        with_video.whole = Some(Whole { duration_us: 61_370_000, bytes: 2_095_116 });
        let mut sound = StreamFile::begun(&entry(8), "str_CAM_8_con_8.webm".to_owned(), 1_000, true, false);
        sound.whole = Some(Whole { duration_us: 2_000_000, bytes: 5 });
        assert_eq!(
            archive(&journal, &[with_video, sound]),
            concat!(
                r#"{"createdAt":1700000010000,"id":"standup","name":"monday","sessionId":"standup","files":["#,
                r#"{"name":"str_CAM_7_con_7.webm","connectionId":"con_7","streamId":"str_CAM_7_con_7","size":2095116,"#,
                r#""clientData":"","serverData":"alice","hasAudio":true,"hasVideo":true,"typeOfVideo":"CAMERA","#,
                r#""startTimeOffset":84,"endTimeOffset":61454},"#,
                r#"{"name":"str_CAM_8_con_8.webm","connectionId":"con_8","streamId":"str_CAM_8_con_8","size":5,"#,
                r#""clientData":"","serverData":"alice","hasAudio":true,"hasVideo":false,"#,
                r#""startTimeOffset":1,"endTimeOffset":2001}]}"#
            )
        );
    }
}
