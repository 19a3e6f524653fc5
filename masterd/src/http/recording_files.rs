//! Shell: HTTP handlers; reads files from recorders.
//!
//! `/openvidu/recordings/<id>/<file>`: a recorder's file, streamed through its link to masterd. Nothing is kept here:
//! a client that reads slowly slows the recorder's reading, not our memory.

use std::fmt::Debug;
use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use common::id::NodeKey;
use common::wire::recording::{FileHead, FileOpen};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::Face;
use super::error::{ApiError, Problem};
use super::recording_range::{Version, Wanted, media_type};
use crate::cluster::op::{Actor, Query, RecordingView, Reply};

/// Where files of recordings are read.
pub trait FileSource: Debug + Send + Sync {
    /// Asks a recorder for a file.
    fn open(&self, recorder: NodeKey, file: FileOpen) -> BoxFuture<'static, Result<OpenFile, FileError>>;
}

/// A recorder's answer.
pub struct OpenFile {
    /// What it says of the file.
    pub head: FileHead,
    /// Its bytes, where it is found.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

impl Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Why a recorder does not answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FileError {
    /// It is not connected, or was lost.
    #[error("the recorder that has the file is not connected")]
    Away,
    /// It answered something else.
    #[error("the recorder cannot read the file: {0}")]
    Failed(String),
}

/// No recorder can be asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl FileSource for NoFiles {
    fn open(&self, _: NodeKey, _: FileOpen) -> BoxFuture<'static, Result<OpenFile, FileError>> {
        Box::pin(async { Err(FileError::Away) })
    }
}

/// `GET /openvidu/recordings/<id>/<file>`.
pub async fn file(
    State(face): State<Face>,
    Path((recording, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = face.place("/recordings");
    if !face.settings().recordings.enabled {
        return Err(ApiError::Empty(StatusCode::NOT_IMPLEMENTED));
    }
    if !is_file_name(&name) {
        return Err(ApiError::Empty(StatusCode::NOT_FOUND));
    }
    let query = Query::Recording { recording };
    let view = match face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))? {
        Reply::Recording(view) => view,
        other => return Err(place.unexpected(&other, StatusCode::NOT_FOUND)),
    };
    Ok(serve(&face, &view, &name, &headers).await)
}

async fn serve(face: &Face, view: &RecordingView, name: &str, headers: &HeaderMap) -> Response {
    let Some(recorder) = view.recorder else {
        let problem = Problem::new(StatusCode::NOT_FOUND, "recorder-gone");
        return problem.detail("the recorder that had the file has left the cluster").into_response();
    };
    let open = |offset, length| {
        let file = FileOpen { id: view.id.clone(), name: name.to_owned(), offset, length };
        face.files().open(recorder, file)
    };
    let version = match open(0, 0).await.map(|file| file.head) {
        Ok(FileHead::Found { size_bytes, modified_ms }) => Version::new(size_bytes, modified_ms),
        Ok(FileHead::Missing) => return StatusCode::NOT_FOUND.into_response(),
        Ok(FileHead::Failed { why }) => return failed(&FileError::Failed(why), view),
        Err(error) => return failed(&error, view),
    };
    let (status, first, length) = match version.wanted(headers) {
        Wanted::Nothing => (StatusCode::NOT_MODIFIED, 0, 0),
        Wanted::Unsatisfiable => return unsatisfiable(&version),
        Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Whole => (StatusCode::OK, 0, version.size),
    };
    let body = if status == StatusCode::NOT_MODIFIED || length == 0 {
        Body::empty()
    } else {
        match open(first, length).await {
            Ok(OpenFile { head: FileHead::Found { .. }, bytes }) => Body::from_stream(bytes),
            Ok(OpenFile { head: FileHead::Missing, .. }) => return StatusCode::NOT_FOUND.into_response(),
            Ok(OpenFile { head: FileHead::Failed { why }, .. }) => {
                return failed(&FileError::Failed(why), view);
            }
            Err(error) => return failed(&error, view),
        }
    };
    let mut response = (status, body).into_response();
    describe(response.headers_mut(), &version, name, status, first, length);
    response
}

fn describe(
    headers: &mut HeaderMap,
    version: &Version,
    name: &str,
    status: StatusCode,
    first: u64,
    length: u64,
) {
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A finished recording never changes; whether it is this one is asked each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let mut put = |name: header::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(header::ETAG, &version.etag);
    put(header::LAST_MODIFIED, &version.last_modified);
    if status == StatusCode::NOT_MODIFIED {
        return;
    }
    put(header::CONTENT_TYPE, media_type(name));
    put(header::CONTENT_LENGTH, &length.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first + length - 1;
        put(header::CONTENT_RANGE, &format!("bytes {first}-{last}/{}", version.size));
    }
}

fn unsatisfiable(version: &Version) -> Response {
    let range = format!("bytes */{}", version.size);
    (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, range)]).into_response()
}

fn failed(error: &FileError, view: &RecordingView) -> Response {
    let status = match error {
        FileError::Away => StatusCode::SERVICE_UNAVAILABLE,
        FileError::Failed(_) => StatusCode::BAD_GATEWAY,
    };
    let recorder = view.recorder_name.as_deref().unwrap_or("unknown");
    Problem::new(status, "recorder").detail(format!("{error} (recorder {recorder})")).into_response()
}

/// A plain name: nothing that leaves the folder, and nothing hidden.
fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_folder() {
        for good in ["standup~1.mp4", "str_CAM_Ab3X_con_K-1.webm", "a"] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in ["", ".recording.x", "..", "a/b", "a\\b", "a b", "ä", "a%2f"] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
