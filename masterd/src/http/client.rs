//! Pure: no clock, no I/O, no async.
//!
//! What a request says of the client that makes it.

use axum::http::{HeaderMap, Uri, header};

use super::{Peer, query_value};
use crate::cluster::op::{ClientInfo, PublishOptions};
use crate::http::fields::FieldError;

/// Bytes of what a client may say of itself; it is sent to everyone in the session.
pub const CLIENT_DATA_BYTES_MAX: usize = 8 * 1024;

/// Reads address, platform and client data (`X-Client-Data`, percent-encoded, or `?data=`).
///
/// # Errors
/// When the client data is too long or not UTF-8.
pub fn client(peer: Peer, headers: &HeaderMap, uri: &Uri) -> Result<ClientInfo, FieldError> {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Ok(ClientInfo {
        ip: peer.0.to_canonical().to_string(),
        platform: agent.map_or_else(|| "unknown".to_owned(), platform),
        client_data: option(headers, uri, "x-client-data", "data")?.unwrap_or_default(),
    })
}

/// Reads what a publisher says of its media.
///
/// # Errors
/// When a value is not allowed.
pub fn publish_options(headers: &HeaderMap, uri: &Uri) -> Result<PublishOptions, FieldError> {
    let read = |name: &str, query: &str| option(headers, uri, name, query);
    let type_of_video = read("x-type-of-video", "typeOfVideo")?.unwrap_or_else(|| "CAMERA".to_owned());
    if !["CAMERA", "SCREEN", "CUSTOM"].contains(&type_of_video.as_str()) {
        return Err(super::fields::undefined("typeOfVideo", &type_of_video));
    }
    let frame_rate = match read("x-frame-rate", "frameRate")? {
        None => None,
        Some(text) => match text.parse::<i32>() {
            Ok(rate) if (0..=1000).contains(&rate) => Some(rate),
            Ok(_) | Err(_) => return Err(super::fields::wrong("frameRate", "a number from 0 to 1000")),
        },
    };
    let video_dimensions = read("x-video-dimensions", "videoDimensions")?;
    if let Some(text) = &video_dimensions
        && (text.len() > 256
            || !serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object()))
    {
        return Err(super::fields::wrong("videoDimensions", "a JSON object"));
    }
    Ok(PublishOptions {
        type_of_video,
        audio_active: on(read("x-audio-active", "audioActive")?.as_deref(), "audioActive")?,
        video_active: on(read("x-video-active", "videoActive")?.as_deref(), "videoActive")?,
        frame_rate,
        video_dimensions,
    })
}

fn on(text: Option<&str>, name: &str) -> Result<bool, FieldError> {
    match text {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(super::fields::wrong(name, "true or false")),
    }
}

/// The header's value, percent-decoded, else the query's.
fn option(headers: &HeaderMap, uri: &Uri, header: &str, query: &str) -> Result<Option<String>, FieldError> {
    let value = match headers.get(header) {
        Some(value) => Some(
            percent_decode(value.as_bytes())
                .ok_or_else(|| FieldError(format!("Header '{header}' is not UTF-8")))?,
        ),
        None => query_value(uri, query),
    };
    match value {
        Some(value) if value.len() > CLIENT_DATA_BYTES_MAX => {
            Err(FieldError(format!("'{query}' is longer than {CLIENT_DATA_BYTES_MAX} bytes")))
        }
        value => Ok(value),
    }
}

/// Decodes `%41` to `A`; a stray `%` stays.
fn percent_decode(bytes: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, ..] if first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high * 16 + low);
                rest = &tail[2..];
            }
            None => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// `Firefox 128.0 on Linux`, in the manner of OpenVidu's browser library.
#[must_use]
pub fn platform(agent: &str) -> String {
    let version = |mark: &str| {
        let (_, rest) = agent.split_once(mark)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        Some(rest[..end.min(20)].to_owned())
    };
    // Derived browsers name those that they descend from too: the order matters.
    let browsers = [
        ("Edge", "Edg/"),
        ("Opera", "OPR/"),
        ("Firefox", "Firefox/"),
        ("Chromium", "HeadlessChrome/"),
        ("Chrome", "Chrome/"),
        ("Safari", "Version/"),
    ];
    let browser = browsers.iter().find_map(|(name, mark)| Some(format!("{name} {}", version(mark)?)));
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ];
    let system = systems.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser,
        (None, _) => agent.chars().filter(|c| !c.is_control()).take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn platforms_are_named_shortly() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";
        assert_eq!(platform(chrome), "Chrome 156.0.0.0 on Linux");
        assert_eq!(platform(&format!("{chrome} Edg/156.0.1.2")), "Edge 156.0.1.2 on Linux");
        let firefox = "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0";
        assert_eq!(platform(firefox), "Firefox 128.0 on Windows");
        assert_eq!(platform("curl/8.1\u{7}"), "curl/8.1");
    }

    #[test]
    fn client_data_comes_from_the_header_or_the_query() {
        let peer = Peer(IpAddr::from([192, 0, 2, 1]));
        let mut headers = HeaderMap::new();
        let uri: Uri = "/whip?data=%7B%22clientData%22%3A%22J%C3%B6rg%22%7D".parse().unwrap();
        assert_eq!(client(peer, &headers, &uri).unwrap().client_data, r#"{"clientData":"Jörg"}"#);
        headers.insert("x-client-data", "100%25 J%C3%B6rg %zz%".parse().unwrap());
        assert_eq!(client(peer, &headers, &uri).unwrap().client_data, "100% Jörg %zz%");
        headers.insert("x-client-data", "%ff".parse().unwrap());
        assert!(client(peer, &headers, &uri).is_err());
        let long = format!("/whip?data={}", "a".repeat(CLIENT_DATA_BYTES_MAX + 1));
        assert!(client(peer, &HeaderMap::new(), &long.parse().unwrap()).is_err());
    }

    #[test]
    fn publish_options_are_checked() {
        let read =
            |query: &str| publish_options(&HeaderMap::new(), &format!("/whip{query}").parse().unwrap());
        let plain = read("").unwrap();
        assert_eq!(
            (plain.type_of_video.as_str(), plain.audio_active, plain.video_active),
            ("CAMERA", true, true)
        );
        let screen =
            read("?typeOfVideo=SCREEN&audioActive=false&frameRate=30&videoDimensions=%7B%22width%22:1%7D");
        let screen = screen.unwrap();
        assert_eq!(
            (screen.type_of_video.as_str(), screen.audio_active, screen.frame_rate),
            ("SCREEN", false, Some(30))
        );
        for wrong in ["?typeOfVideo=X", "?audioActive=maybe", "?frameRate=fast", "?videoDimensions=5"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
