//! Shell: streams answers.
//!
//! A session's events as server-sent events (WHATWG HTML, section 9.2). `id` is `<session's start>-<position>`;
//! a client that sends the last one as `Last-Event-ID` (or `?lastEventId=`) goes on where it was. What is no longer
//! kept is announced by an event `gap`: the client then reads the state anew. A reader that is too slow is closed
//! and can resume.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use common::id::EventSeq;
use common::wire::node::{MediaKind, SlotGap};
use futures_util::stream;
use serde_json::{Map, Value, json};

use super::auth::Bearer;
use super::client::client;
use super::error::{ApiError, Problem, refused};
use super::json::{media, reason, recording_event, role, status};
use super::{Edition, Face, Peer, query_value};
use crate::cluster::ViewerEnd;
use crate::cluster::op::socket::{ConnectionProperty, StreamProperty};
use crate::cluster::op::{Actor, AuditOutcome, ClientInfo, Event, Fact, Query, Reply};
use crate::driver::call::{Note, Watching};

/// `GET /events`: of the bearer's session. Keeps its connection in the session.
pub async fn own(
    State(face): State<Face>,
    bearer: Bearer,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let client = match client(peer, &headers, &uri) {
        Ok(client) => client,
        Err(error) => return Problem::field(error).into_response(),
    };
    let after = match last_event_id(&headers, &uri) {
        Ok(after) => after,
        Err(problem) => return problem.into_response(),
    };
    let after_seq = after.map(|after| after.seq);
    match face.core().watch(bearer.actor(), None, after_seq, client).await {
        Ok(Ok(watching)) => respond(watching, after, false, Audience::Participant),
        Ok(Err(reply)) => refused(&reply),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// `GET /openvidu/api/sessions/<id>/events`: all events of a session, for the application.
pub async fn of_session(
    State(face): State<Face>,
    Path(session): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let place = face.place("/sessions");
    let after = match last_event_id(&headers, &uri) {
        Ok(after) => after,
        Err(problem) => return Ok(problem.into_response()),
    };
    // A position in the log of an earlier session of this name means nothing in this one's.
    let mut replaced = false;
    if let Some(after) = after
        && after.started != 0
    {
        let query = Query::Session { session: session.clone() };
        let reply = face.core().query(Actor::App, query).await.map_err(|error| place.call(&error))?;
        replaced = matches!(reply, Reply::Session(view) if view.created_at != after.started);
    }
    let after_seq = after.map(|after| if replaced { EventSeq(0) } else { after.seq });
    let watched = face.core().watch(Actor::App, Some(session), after_seq, ClientInfo::default()).await;
    match watched.map_err(|error| place.call(&error))? {
        Ok(watching) => Ok(respond(watching, after.filter(|_| !replaced), replaced, Audience::App)),
        Err(reply) => Err(place.unexpected(&reply, StatusCode::NOT_FOUND)),
    }
}

/// `GET /plenum/api/events`: events of the cluster: nodes come, go and die.
pub async fn of_cluster(
    State(face): State<Face>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let place = face.place("/events");
    let after = match last_event_id(&headers, &uri) {
        Ok(after) => after,
        Err(problem) => return Ok(problem.into_response()),
    };
    let after_seq = after.map(|after| after.seq);
    let watched = face.core().watch(Actor::App, None, after_seq, ClientInfo::default()).await;
    match watched.map_err(|error| place.call(&error))? {
        Ok(watching) => Ok(respond(watching, after, false, Audience::App)),
        Err(reply) => Err(place.unexpected(&reply, StatusCode::NOT_FOUND)),
    }
}

/// Who reads: addresses of participants are for the application only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Audience {
    App,
    Participant,
}

/// A position as the client remembers it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Position {
    /// Start of the session; 0 is unknown.
    started: u64,
    seq: EventSeq,
}

fn last_event_id(headers: &HeaderMap, uri: &Uri) -> Result<Option<Position>, Problem> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    match header.or_else(|| query_value(uri, "lastEventId")).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => position(&text).map(Some).ok_or_else(|| {
            Problem::new(StatusCode::BAD_REQUEST, "bad-request")
                .detail("the Last-Event-ID is not one of ours")
        }),
    }
}

/// `<start>-<position>`, or the position alone.
fn position(text: &str) -> Option<Position> {
    let (started, seq) = text.split_once('-').unwrap_or(("0", text));
    Some(Position { started: started.parse().ok()?, seq: EventSeq(seq.parse().ok()?) })
}

fn respond(watching: Watching, after: Option<Position>, replaced: bool, audience: Audience) -> Response {
    let mut lines = VecDeque::new();
    lines.push_back(opening(&watching, after));
    if watching.gap || replaced {
        let head = watching.head.0;
        lines.push_back(frame("gap", None, &json!({ "sessionId": watching.session, "head": head })));
    }
    lines.extend(watching.backlog.iter().map(|event| event_frame(event, audience)));
    let reader = Reader { watching, lines, audience, ended: false };
    let body = Body::from_stream(stream::unfold(reader, |mut reader| async move {
        let bytes = reader.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(bytes), reader))
    }));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that buffer answers must not buffer this one.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

/// The first event: who and where the reader is. It carries a position only where nothing precedes that position.
fn opening(watching: &Watching, after: Option<Position>) -> Bytes {
    let started = after.map_or(0, |after| after.started);
    let id = watching.backlog.is_empty().then_some(Position { started, seq: watching.head });
    let data = json!({
        "sessionId": watching.session,
        "connectionId": watching.connection,
        "head": watching.head.0,
    });
    let mut text = String::from("retry: 1000\n");
    text.push_str(&text_of("open", id, &data));
    Bytes::from(text)
}

struct Reader {
    watching: Watching,
    lines: VecDeque<Bytes>,
    audience: Audience,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(line) = self.lines.pop_front() {
            return Some(line);
        }
        if self.ended {
            return None;
        }
        // Cancel safe: a channel's `recv` keeps the message when the time is over first.
        match tokio::time::timeout(KEEP_ALIVE, self.watching.next()).await {
            Err(_) => Some(Bytes::from_static(b": keep-alive\n\n")),
            Ok(Some(Note::Event(event))) => Some(event_frame(&event, self.audience)),
            Ok(Some(Note::Closed(why))) => {
                self.ended = true;
                let why = match why {
                    ViewerEnd::ConnectionLeft => "connectionLeft",
                    ViewerEnd::Replaced => "replaced",
                    ViewerEnd::SessionClosed => "sessionClosed",
                };
                Some(frame("end", None, &json!({ "reason": why })))
            }
            // Too slow, or masterd ends: the reader resumes.
            Ok(None) => {
                self.ended = true;
                Some(Bytes::from_static(b": resume\n\n"))
            }
        }
    }
}

fn event_frame(event: &Event, audience: Audience) -> Bytes {
    let (name, fields) = describe(&event.what, audience);
    let mut data = Map::new();
    data.insert("seq".to_owned(), json!(event.seq.0));
    data.insert("timestamp".to_owned(), json!(event.at));
    data.insert("sessionId".to_owned(), json!(event.session));
    if let Value::Object(fields) = fields {
        data.extend(fields);
    }
    let position = Position { started: event.session_started, seq: event.seq };
    frame(name, Some(position), &Value::Object(data))
}

fn frame(name: &str, id: Option<Position>, data: &Value) -> Bytes {
    Bytes::from(text_of(name, id, data))
}

/// JSON has no raw line breaks, so that one `data` line is enough.
fn text_of(name: &str, id: Option<Position>, data: &Value) -> String {
    let mut text = String::with_capacity(256);
    if let Some(id) = id {
        text.extend(["id: ", &id.started.to_string(), "-", &id.seq.0.to_string(), "\n"]);
    }
    text.extend(["event: ", name, "\ndata: ", &data.to_string(), "\n\n"]);
    text
}

/// The event's public name and fields.
fn describe(fact: &Fact, audience: Audience) -> (&'static str, Value) {
    match fact {
        Fact::SessionCreated => ("sessionCreated", json!({})),
        Fact::SessionDestroyed { reason: why, duration_ms } => {
            ("sessionDestroyed", json!({ "reason": reason(*why), "durationMs": duration_ms }))
        }
        Fact::SessionPlaced { node } => ("sessionPlaced", json!({ "mediaNodeId": node })),
        Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. } | Fact::ConnectionChanged { .. } => {
            describe_participant(fact, audience)
        }
        Fact::Published { .. }
        | Fact::StreamChanged { .. }
        | Fact::Unpublished { .. }
        | Fact::Subscribed { .. }
        | Fact::Unsubscribed { .. } => describe_stream(fact),
        Fact::Slot { connection, resource, slot, kind, stream, gap } => {
            let fields = json!({
                "connectionId": connection,
                "resource": resource,
                "slot": slot,
                "kind": media_kind(*kind),
                "streamId": stream.as_ref().map(|(stream, _)| stream),
                "publisherId": stream.as_ref().map(|(_, publisher)| publisher),
                "gap": gap.map(slot_gap),
            });
            ("slot", fields)
        }
        Fact::Transport { connection, resource, state } => {
            ("transport", json!({ "connectionId": connection, "resource": resource, "state": state }))
        }
        Fact::Signal { from, kind, data } => ("signal", json!({ "from": from, "type": kind, "data": data })),
        Fact::Speakers { streams } => ("speakers", json!({ "streams": streams })),
        Fact::Audit { operator, role: as_role, address, verb, target, reason: why, outcome, .. } => {
            let (done, text) = match outcome {
                AuditOutcome::Done(text) => (true, text),
                AuditOutcome::Refused(_, why) => (false, why),
            };
            let fields = json!({
                "operator": operator,
                "role": as_role,
                "address": address,
                "action": verb,
                "target": target,
                "reason": why,
                "done": done,
                "result": text,
            });
            ("operatorAction", fields)
        }
        Fact::NodeStatusChanged { node, from, to } => {
            let fields =
                json!({ "mediaNodeId": node, "oldStatus": from.map(status), "newStatus": status(*to) });
            ("nodeStatusChanged", fields)
        }
        Fact::RecordingStarted { id, name } => ("recordingStarted", json!({ "id": id, "name": name })),
        Fact::RecordingStopped { id, name, reason: why } => {
            ("recordingStopped", json!({ "id": id, "name": name, "reason": reason(*why) }))
        }
        Fact::RecordingStatusChanged(event) => {
            let mut fields = recording_event(event, Edition::Enterprise);
            if !event.why.is_empty() {
                fields.insert("why".to_owned(), json!(event.why));
            }
            ("recordingStatusChanged", Value::Object(fields))
        }
    }
}

fn describe_participant(fact: &Fact, audience: Audience) -> (&'static str, Value) {
    match fact {
        Fact::ParticipantJoined { connection, role: as_role, server_data, client } => {
            let mut fields = json!({
                "connectionId": connection,
                "role": role(*as_role),
                "serverData": server_data,
                "clientData": client.client_data,
                "platform": client.platform,
            });
            if audience == Audience::App {
                fields["ip"] = json!(client.ip);
            }
            ("joined", fields)
        }
        Fact::ParticipantLeft { connection, reason: why, duration_ms } => {
            ("left", json!({ "connectionId": connection, "reason": reason(*why), "durationMs": duration_ms }))
        }
        Fact::ConnectionChanged { connection, property } => {
            let (name, value) = connection_property(*property);
            let fields = json!({ "connectionId": connection, "property": name, "newValue": value });
            ("connectionPropertyChanged", fields)
        }
        _ => ("unknown", json!({})),
    }
}

fn describe_stream(fact: &Fact) -> (&'static str, Value) {
    match fact {
        Fact::Published { connection, stream, has_audio, has_video, options } => {
            let mut fields = Map::new();
            fields.insert("connectionId".to_owned(), json!(connection));
            fields.insert("streamId".to_owned(), json!(stream));
            fields.extend(media(*has_audio, *has_video, options));
            ("published", Value::Object(fields))
        }
        Fact::StreamChanged { connection, stream, property, reason } => {
            let (name, value) = stream_property(property);
            let fields = json!({
                "connectionId": connection,
                "streamId": stream,
                "property": name,
                "newValue": value,
                "reason": reason,
            });
            ("streamPropertyChanged", fields)
        }
        Fact::Unpublished { connection, stream, reason: why, duration_ms, leaving: _ } => {
            let fields = json!({
                "connectionId": connection,
                "streamId": stream,
                "reason": reason(*why),
                "durationMs": duration_ms,
            });
            ("unpublished", fields)
        }
        Fact::Subscribed { connection, stream, receiving_from } => {
            let fields =
                json!({ "connectionId": connection, "streamId": stream, "receivingFrom": receiving_from });
            ("subscribed", fields)
        }
        Fact::Unsubscribed { connection, stream, receiving_from, reason: why, duration_ms } => {
            let fields = json!({
                "connectionId": connection,
                "streamId": stream,
                "receivingFrom": receiving_from,
                "reason": reason(*why),
                "durationMs": duration_ms,
            });
            ("unsubscribed", fields)
        }
        Fact::ConnectionChanged { .. }
        | Fact::Audit { .. }
        | Fact::NodeStatusChanged { .. }
        | Fact::ParticipantJoined { .. }
        | Fact::ParticipantLeft { .. }
        | Fact::RecordingStarted { .. }
        | Fact::RecordingStatusChanged(_)
        | Fact::RecordingStopped { .. }
        | Fact::SessionCreated
        | Fact::SessionDestroyed { .. }
        | Fact::SessionPlaced { .. }
        | Fact::Signal { .. }
        | Fact::Slot { .. }
        | Fact::Speakers { .. }
        | Fact::Transport { .. } => ("unknown", json!({})),
    }
}

/// Public name and value of a connection's property.
#[must_use]
pub fn connection_property(property: ConnectionProperty) -> (&'static str, Value) {
    match property {
        ConnectionProperty::Role(new) => ("role", json!(role(new))),
        ConnectionProperty::Record(on) => ("record", json!(on)),
    }
}

/// Public name and value of a stream's property; what is JSON is shown as such.
#[must_use]
pub fn stream_property(property: &StreamProperty) -> (&'static str, Value) {
    let parsed = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    match property {
        StreamProperty::AudioActive(on) => ("audioActive", json!(on)),
        StreamProperty::AudioTrack(text) => ("audioTrack", parsed(text)),
        StreamProperty::VideoActive(on) => ("videoActive", json!(on)),
        StreamProperty::VideoDimensions(text) => ("videoDimensions", json!(text)),
        StreamProperty::VideoTrack(text) => ("videoTrack", parsed(text)),
    }
}

/// Public word for a kind of media.
#[must_use]
pub const fn media_kind(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

const fn slot_gap(gap: SlotGap) -> &'static str {
    match gap {
        SlotGap::Codec => "codec",
        SlotGap::NoSection => "noSection",
        SlotGap::NoTrack => "noTrack",
    }
}

/// Proxies give up on a silent answer after 30 to 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::op::ConnectionRole;

    fn event(what: Fact) -> Event {
        Event {
            seq: EventSeq(7),
            at: 1_700_000_000_001,
            session: "s".to_owned(),
            session_started: 1_700_000_000_000,
            audience: None,
            what,
        }
    }

    #[test]
    fn an_event_is_three_lines_and_a_blank_one() {
        let bytes = event_frame(&event(Fact::SessionPlaced { node: "media_x".to_owned() }), Audience::App);
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            "id: 1700000000000-7\nevent: sessionPlaced\ndata: {\"seq\":7,\"timestamp\":1700000000001,\"sessionId\":\"s\",\"mediaNodeId\":\"media_x\"}\n\n"
        );
    }

    #[test]
    fn text_of_participants_cannot_break_out_of_its_line() {
        let signal =
            Fact::Signal { from: None, kind: "a\nevent: end".to_owned(), data: "x\r\n\r\ny".to_owned() };
        let bytes = event_frame(&event(signal), Audience::App);
        assert_eq!(std::str::from_utf8(&bytes).unwrap().lines().count(), 4);
    }

    #[test]
    fn only_the_application_sees_addresses() {
        let joined = Fact::ParticipantJoined {
            connection: "con_x".to_owned(),
            role: ConnectionRole::Publisher,
            server_data: String::new(),
            client: ClientInfo { ip: "192.0.2.7".to_owned(), ..ClientInfo::default() },
        };
        let shows = |audience| describe(&joined, audience).1.to_string().contains("192.0.2.7");
        assert!(shows(Audience::App));
        assert!(!shows(Audience::Participant));
    }

    #[test]
    fn positions_are_read_with_and_without_the_start() {
        assert_eq!(position("5-7"), Some(Position { started: 5, seq: EventSeq(7) }));
        assert_eq!(position("7"), Some(Position { started: 0, seq: EventSeq(7) }));
        for wrong in ["", "-", "a-1", "1-a", "-7"] {
            assert_eq!(position(wrong), None, "{wrong}");
        }
    }
}
