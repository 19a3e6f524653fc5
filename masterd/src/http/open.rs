//! Shell: HTTP handlers.
//!
//! Paths of OpenVidu that need no credentials.

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Response};

use super::Face;

/// `GET /openvidu/api/config/openvidu-publicurl`: the public URL as text; also a liveness probe.
pub async fn public_url(State(face): State<Face>) -> Response {
    let kind = (header::CONTENT_TYPE, "text/plain;charset=UTF-8");
    ([kind], format!("{}/", face.settings().public_url)).into_response()
}

/// `GET /openvidu/accept-certificate`: somewhere to go to accept a self-signed certificate.
pub async fn accept_certificate() -> Html<&'static str> {
    Html(concat!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Plenum</title>",
        "<p>The certificate is accepted in this browser. You can go back to your application.</p></html>"
    ))
}
