//! Shell: HTTP handlers.
//!
//! The built-in page: plain files, part of the program.

use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::error::framework;

struct File {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

const FILES: [File; 4] = [
    File { name: "app.js", kind: "text/javascript; charset=utf-8", content: include_str!("page/app.js") },
    File { name: "call.js", kind: "text/javascript; charset=utf-8", content: include_str!("page/call.js") },
    File { name: "icon.svg", kind: "image/svg+xml", content: include_str!("page/icon.svg") },
    File { name: "style.css", kind: "text/css; charset=utf-8", content: include_str!("page/style.css") },
];

/// `GET /`.
pub async fn index() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=(self), display-capture=(self)",
        ),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, include_str!("page/index.html")).into_response()
}

/// `GET /page/{file}`.
pub async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => serve(file),
        None => framework(StatusCode::NOT_FOUND),
    }
}

/// `GET /favicon.ico`.
pub async fn icon() -> Response {
    file(Path("icon.svg".to_owned())).await
}

fn serve(file: &File) -> Response {
    let headers = [(header::CONTENT_TYPE, file.kind), (header::CACHE_CONTROL, "no-cache")];
    (headers, file.content).into_response()
}

/// Nothing but the page's own files, no inline code, never inside a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    media-src 'self' blob: mediastream:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
