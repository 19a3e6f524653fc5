//! Wire: the methods of OpenVidu's signalling and their parameters.

use serde_json::{Map, Value};

use super::fault::{EDITION, FILTER, Fault, SIGNAL_FORMAT};
use super::rpc::Call;
use crate::cluster::op::PublishOptions;
use crate::cluster::op::socket::StreamProperty;

/// A request with its parameters read.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `ping`; with the client's interval where it says one.
    Ping {
        /// Milliseconds.
        interval_ms: Option<u64>,
    },
    /// `echo`: does the server answer?
    Echo,
    /// `joinRoom`.
    Join {
        /// The whole token, as the application got it.
        token: String,
        /// Public name.
        session: String,
        /// What the client says of itself.
        metadata: String,
        /// Browser and system.
        platform: String,
    },
    /// `connect`: a new socket for a client that has joined.
    Connect {
        /// From the result of its `joinRoom`.
        secret: Option<String>,
    },
    /// `sessionStatus`.
    SessionStatus,
    /// `publishVideo`.
    Publish {
        /// SDP offer.
        offer: String,
        /// What the stream is.
        options: PublishOptions,
    },
    /// `prepareReceiveVideoFrom`, or `receiveVideoFrom` with an offer, or their repetition for a lost peer connection.
    Subscribe {
        /// Public name of the stream.
        stream: String,
        /// The client's offer; none asks for ours.
        offer: Option<String>,
    },
    /// `receiveVideoFrom` with an answer.
    Answer {
        /// Public name of the stream.
        stream: String,
        /// SDP answer.
        answer: String,
    },
    /// `reconnectStream`: an offer for the own stream, an answer for another's.
    Reconnect {
        /// Public name of the stream.
        stream: String,
        /// SDP.
        sdp: String,
    },
    /// `onIceCandidate`.
    Candidate {
        /// Public name of the connection that publishes the stream.
        owner: String,
        /// As a line of an ICE fragment; none for one that says nothing.
        line: Option<String>,
    },
    /// `unpublishVideo`.
    Unpublish,
    /// `unsubscribeFromVideo`.
    Unsubscribe {
        /// Public name of the connection that publishes the stream.
        owner: String,
    },
    /// `leaveRoom`.
    Leave,
    /// `sendMessage`.
    Signal {
        /// Public names; empty is everybody.
        to: Vec<String>,
        /// Without the `signal:` before it.
        kind: String,
        /// Content.
        data: String,
    },
    /// `streamPropertyChanged`.
    ChangeStream {
        /// Name and value.
        property: StreamProperty,
        /// Why.
        reason: String,
    },
    /// `forceDisconnect`.
    ForceDisconnect {
        /// Public name.
        connection: String,
    },
    /// `forceUnpublish`.
    ForceUnpublish {
        /// Public name.
        stream: String,
    },
    /// `videoData`: input for the network quality of a Kurento server.
    VideoData,
}

/// Reads a request.
///
/// # Errors
/// An unknown method, one that is not offered, or parameters that are missing or wrong.
pub fn read(call: &Call) -> Result<Request, Fault> {
    let params = Params(&call.params);
    let request = match call.method.as_str() {
        "ping" => Request::Ping { interval_ms: call.params.get("interval").and_then(Value::as_u64) },
        "echo" => Request::Echo,
        "joinRoom" => Request::Join {
            token: params.text("token")?,
            session: params.text("session")?,
            metadata: params.text_or_empty("metadata"),
            platform: params.text_or_empty("platform"),
        },
        "connect" => Request::Connect { secret: params.optional("sessionId") },
        "sessionStatus" => Request::SessionStatus,
        "publishVideo" => Request::Publish { offer: params.text("sdpOffer")?, options: options(&params)? },
        "prepareReceiveVideoFrom" => Request::Subscribe { stream: params.text("sender")?, offer: None },
        "receiveVideoFrom" => receive(&params)?,
        "reconnectStream" => reconnect(&params)?,
        "onIceCandidate" => {
            Request::Candidate { owner: params.text("endpointName")?, line: candidate(&params) }
        }
        "unpublishVideo" => Request::Unpublish,
        "unsubscribeFromVideo" => Request::Unsubscribe { owner: params.text("sender")? },
        "leaveRoom" => Request::Leave,
        "sendMessage" => signal(&params.text("message")?)?,
        "streamPropertyChanged" => {
            Request::ChangeStream { property: property(&params)?, reason: params.text_or_empty("reason") }
        }
        "forceDisconnect" => Request::ForceDisconnect { connection: params.text("connectionId")? },
        "forceUnpublish" => Request::ForceUnpublish { stream: params.text("streamId")? },
        "videoData" => Request::VideoData,
        "applyFilter"
        | "removeFilter"
        | "execFilterMethod"
        | "addFilterEventListener"
        | "removeFilterEventListener" => {
            return Err(Fault::new(FILTER, "this media server applies no filters"));
        }
        "subscribeToSpeechToText" | "unsubscribeFromSpeechToText" => {
            return Err(Fault::new(EDITION, "speech to text is not offered"));
        }
        other => return Err(Fault::method(other)),
    };
    Ok(request)
}

/// The `tok_...` part of a token as the application got it: `wss://host?sessionId=...&token=tok_...`, or itself.
#[must_use]
pub fn token_part(token: &str) -> &str {
    let Some((_, query)) = token.split_once('?') else { return token };
    query.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default()
}

fn receive(params: &Params<'_>) -> Result<Request, Fault> {
    let stream = params.text("sender")?;
    match (params.optional("sdpAnswer"), params.optional("sdpOffer")) {
        (Some(answer), _) => Ok(Request::Answer { stream, answer }),
        (None, Some(offer)) => Ok(Request::Subscribe { stream, offer: Some(offer) }),
        (None, None) => Err(Fault::params("'sdpAnswer' or 'sdpOffer' is missing")),
    }
}

fn reconnect(params: &Params<'_>) -> Result<Request, Fault> {
    let stream = params.text("stream")?;
    match (params.optional("sdpString"), params.optional("sdpOffer")) {
        (Some(sdp), _) => Ok(Request::Reconnect { stream, sdp }),
        (None, Some(offer)) => Ok(Request::Subscribe { stream, offer: Some(offer) }),
        (None, None) => Err(Fault::params("'sdpString' or 'sdpOffer' is missing")),
    }
}

fn options(params: &Params<'_>) -> Result<PublishOptions, Fault> {
    let type_of_video = params.optional("typeOfVideo").unwrap_or_else(|| "CAMERA".to_owned());
    if !["CAMERA", "SCREEN", "CUSTOM", "IPCAM"].contains(&type_of_video.as_str()) {
        return Err(Fault::params("'typeOfVideo' is not one of CAMERA, SCREEN, CUSTOM"));
    }
    let frame_rate = params.0.get("frameRate").and_then(Value::as_f64);
    Ok(PublishOptions {
        type_of_video,
        audio_active: params.flag("audioActive").unwrap_or(true),
        video_active: params.flag("videoActive").unwrap_or(true),
        // Browsers measure fractions; a saturating cast of what is out of bounds is of no harm.
        frame_rate: frame_rate.map(|rate| rate.round() as i32),
        video_dimensions: params.optional("videoDimensions"),
    })
}

/// A candidate that is no line of its own cannot be passed on.
fn candidate(params: &Params<'_>) -> Option<String> {
    let candidate = params.optional("candidate")?;
    let clean = !candidate.is_empty() && candidate.len() < 1024 && !candidate.contains(char::is_control);
    clean.then(|| format!("a={candidate}\r\n"))
}

fn signal(message: &str) -> Result<Request, Fault> {
    let malformed =
        || Fault::new(SIGNAL_FORMAT, "the signal is not a JSON object with 'to', 'data' and 'type'");
    let Ok(Value::Object(message)) = serde_json::from_str::<Value>(message) else { return Err(malformed()) };
    let params = Params(&message);
    let to = match message.get("to") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(names)) => {
            let names: Option<Vec<String>> = names.iter().map(|it| it.as_str().map(str::to_owned)).collect();
            names.ok_or_else(malformed)?
        }
        Some(_) => return Err(malformed()),
    };
    let kind = params.text_or_empty("type");
    let kind = kind.strip_prefix("signal:").unwrap_or(&kind);
    // The library names a signal without a type so.
    let kind = if kind == "signal" { "" } else { kind };
    Ok(Request::Signal { to, kind: kind.to_owned(), data: params.text_or_empty("data") })
}

fn property(params: &Params<'_>) -> Result<StreamProperty, Fault> {
    let value = params.0.get("newValue").ok_or_else(|| Fault::params("'newValue' is missing"))?;
    let flag = || value.as_bool().ok_or_else(|| Fault::params("'newValue' is not a boolean"));
    match params.text("property")?.as_str() {
        "audioActive" => Ok(StreamProperty::AudioActive(flag()?)),
        "videoActive" => Ok(StreamProperty::VideoActive(flag()?)),
        "audioTrack" => Ok(StreamProperty::AudioTrack(value.to_string())),
        "videoTrack" => Ok(StreamProperty::VideoTrack(value.to_string())),
        "videoDimensions" => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Ok(StreamProperty::VideoDimensions(text))
        }
        _ => Err(Fault::params("'property' is not a property of a stream")),
    }
}

struct Params<'a>(&'a Map<String, Value>);

impl Params<'_> {
    fn text(&self, name: &str) -> Result<String, Fault> {
        self.optional(name).ok_or_else(|| Fault::params(format!("'{name}' is missing or not a string")))
    }

    fn text_or_empty(&self, name: &str) -> String {
        self.optional(name).unwrap_or_default()
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::rpc::{Frame, parse};

    fn of(text: &str) -> Result<Request, Fault> {
        match parse(text) {
            Frame::Call(call) => read(&call),
            other => panic!("{other:?}"),
        }
    }

    fn ask(method: &str, params: &str) -> Result<Request, Fault> {
        of(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":1}}"#))
    }

    #[test]
    fn requests_recorded_from_the_library_are_read() {
        let join = of(
            r#"{"jsonrpc":"2.0","method":"joinRoom","params":{"token":"wss://localhost:4443?sessionId=s&token=tok_Xc94nFaX3KyOhaWu","session":"s","platform":"Chrome 156.0.0.0 (headless) on Linux 64-bit","sdkVersion":"2.32.2","metadata":"","secret":"","recorder":false,"stt":false},"id":1}"#,
        );
        let Ok(Request::Join { token, session, .. }) = join else { panic!("{join:?}") };
        assert_eq!((token_part(&token), session.as_str()), ("tok_Xc94nFaX3KyOhaWu", "s"));
        let publish = ask(
            "publishVideo",
            r#"{"doLoopback":false,"hasAudio":true,"hasVideo":true,"audioActive":true,"videoActive":false,"typeOfVideo":"SCREEN","frameRate":-1,"videoDimensions":"{\"width\":1280,\"height\":720}","sdpOffer":"v=0"}"#,
        );
        let Ok(Request::Publish { options, .. }) = publish else { panic!("{publish:?}") };
        let expected = PublishOptions {
            type_of_video: "SCREEN".to_owned(),
            audio_active: true,
            video_active: false,
            frame_rate: Some(-1),
            video_dimensions: Some(r#"{"width":1280,"height":720}"#.to_owned()),
        };
        assert_eq!(options, expected);
        let candidate = ask(
            "onIceCandidate",
            r#"{"endpointName":"con_S","candidate":"candidate:397 1 udp 2122194687 192.0.2.2 53565 typ host","sdpMid":"0","sdpMLineIndex":0}"#,
        );
        let line = "a=candidate:397 1 udp 2122194687 192.0.2.2 53565 typ host\r\n".to_owned();
        assert_eq!(candidate, Ok(Request::Candidate { owner: "con_S".to_owned(), line: Some(line) }));
        let signal = ask(
            "sendMessage",
            r#"{"message":"{\"to\":[\"con_A\"],\"data\":\"hello\",\"type\":\"signal:chat\"}"}"#,
        );
        let expected = Request::Signal {
            to: vec!["con_A".to_owned()],
            kind: "chat".to_owned(),
            data: "hello".to_owned(),
        };
        assert_eq!(signal, Ok(expected));
        let property = ask(
            "streamPropertyChanged",
            r#"{"streamId":"s","property":"videoTrack","newValue":{"label":"x"},"reason":"trackReplaced"}"#,
        );
        let expected = StreamProperty::VideoTrack(r#"{"label":"x"}"#.to_owned());
        assert!(matches!(property, Ok(Request::ChangeStream { property, .. }) if property == expected));
    }

    #[test]
    fn what_is_missing_or_wrong_has_its_code() {
        for (method, params, code) in [
            ("joinRoom", "{}", -32602),
            ("publishVideo", "{}", -32602),
            ("receiveVideoFrom", r#"{"sender":"s"}"#, -32602),
            ("sendMessage", r#"{"message":"x"}"#, 600),
            ("sendMessage", r#"{"message":"{\"to\":[1]}"}"#, 600),
            ("streamPropertyChanged", r#"{"property":"audioActive","newValue":1}"#, -32602),
            ("applyFilter", "{}", 406),
            ("subscribeToSpeechToText", "{}", 997),
            ("sessionClosed", "{}", -32601),
        ] {
            assert_eq!(ask(method, params).map_err(|fault| fault.code), Err(code), "{method}");
        }
    }

    #[test]
    fn a_candidate_cannot_bring_lines_of_its_own() {
        let smuggled =
            ask("onIceCandidate", r#"{"endpointName":"c","candidate":"candidate:1\r\na=ice-ufrag:x"}"#);
        assert_eq!(smuggled, Ok(Request::Candidate { owner: "c".to_owned(), line: None }));
    }
}
