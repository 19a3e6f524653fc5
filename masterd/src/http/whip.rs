//! Shell: HTTP handlers.
//!
//! Media by REST: WHIP (RFC 9725) to publish, WHEP to play a whole session or one stream, trickle ICE and ICE
//! restarts by PATCH (RFC 8840), teardown by DELETE. A resource belongs to the bearer that made it.

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use common::limits::SDP_BYTES_MAX;
use serde_json::Value;

use super::auth::Bearer;
use super::body::{FRAGMENT_BYTES_MAX, ObjectBody, sdp};
use super::client::{client, publish_options};
use super::error::{Problem, refused};
use super::fields::{FieldError, Fields, wrong};
use super::{Face, Peer};
use crate::cluster::op::{EndpointView, IceServer, Op, Reply};

/// Content type of offers and answers.
pub const SDP: &str = "application/sdp";

/// Content type of candidates and ICE restarts.
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// `POST /whip`: publish.
pub async fn publish(
    State(face): State<Face>,
    bearer: Bearer,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let read = client(peer, request.headers(), request.uri())
        .and_then(|client| Ok((client, publish_options(request.headers(), request.uri())?)));
    let (client, media) = match read {
        Ok(read) => read,
        Err(error) => return Problem::field(error).into_response(),
    };
    let offer = match offer(request).await {
        Ok(offer) => offer,
        Err(response) => return response,
    };
    open(&face, bearer, Op::Publish { offer, client, media }, "/whip").await
}

/// `POST /whep`: play the whole session.
pub async fn play_session(
    State(face): State<Face>,
    bearer: Bearer,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let client = match client(peer, request.headers(), request.uri()) {
        Ok(client) => client,
        Err(error) => return Problem::field(error).into_response(),
    };
    let offer = match offer(request).await {
        Ok(offer) => offer,
        Err(response) => return response,
    };
    open(&face, bearer, Op::PlaySession { offer, client }, "/whep").await
}

/// `POST /whep/{streamId}`: play one stream.
pub async fn play_stream(
    State(face): State<Face>,
    bearer: Bearer,
    Extension(peer): Extension<Peer>,
    Path(stream): Path<String>,
    request: Request,
) -> Response {
    let client = match client(peer, request.headers(), request.uri()) {
        Ok(client) => client,
        Err(error) => return Problem::field(error).into_response(),
    };
    let offer = match offer(request).await {
        Ok(offer) => offer,
        Err(response) => return response,
    };
    open(&face, bearer, Op::PlayStream { stream, offer, client }, "/whep").await
}

/// `PATCH /whip/{resource}`, `PATCH /whep/{resource}`: candidates, or an ICE restart.
pub async fn trickle(
    State(face): State<Face>,
    bearer: Bearer,
    Path(resource): Path<String>,
    request: Request,
) -> Response {
    let etag = match if_match(request.headers()) {
        Ok(etag) => etag,
        Err(problem) => return problem.into_response(),
    };
    let fragment = match sdp(request, FRAGMENT, FRAGMENT_BYTES_MAX).await {
        Ok(fragment) => fragment,
        Err(response) => return response,
    };
    let op = Op::Trickle { resource, etag, fragment };
    match face.core().op(bearer.actor(), op).await {
        Ok(Reply::Done) => StatusCode::NO_CONTENT.into_response(),
        Ok(Reply::Fragment { sdp, etag }) => {
            let mut response = ([(header::CONTENT_TYPE, FRAGMENT)], sdp).into_response();
            insert(&mut response, header::ETAG, &format!("\"{etag}\""));
            response
        }
        Ok(other) => refused(&other),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// `DELETE /whip/{resource}`, `DELETE /whep/{resource}`.
pub async fn close(State(face): State<Face>, bearer: Bearer, Path(resource): Path<String>) -> Response {
    match face.core().op(bearer.actor(), Op::EndpointDelete { resource }).await {
        Ok(Reply::Done) => StatusCode::OK.into_response(),
        Ok(other) => refused(&other),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// `PUT /whep/{resource}/slots`: `{"pins":[{"slot":0,"streamId":"str_..."}],"layers":[{"slot":0,"layer":1}]}`: each list
/// replaces the former one, what is absent stays.
pub async fn arrange(
    State(face): State<Face>,
    bearer: Bearer,
    Path(resource): Path<String>,
    ObjectBody(body): ObjectBody,
) -> Response {
    let fields = Fields(&body);
    let (pins, layers) = match pins(fields).and_then(|pins| Ok((pins, layers(fields)?))) {
        Ok((None, None)) => return Problem::field(wrong("pins", "an array")).into_response(),
        Ok(arrangement) => arrangement,
        Err(error) => return Problem::field(error).into_response(),
    };
    match face.core().op(bearer.actor(), Op::ArrangeSlots { resource, pins, layers }).await {
        Ok(Reply::Done) => StatusCode::NO_CONTENT.into_response(),
        Ok(other) => refused(&other),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// `OPTIONS` outside of CORS: what may be posted.
pub async fn options() -> Response {
    let headers = [(header::ALLOW, "OPTIONS, POST"), (header::HeaderName::from_static("accept-post"), SDP)];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// `OPTIONS` of a resource.
pub async fn resource_options() -> Response {
    let accept = header::HeaderName::from_static("accept-patch");
    (StatusCode::NO_CONTENT, [(header::ALLOW, "DELETE, OPTIONS, PATCH"), (accept, FRAGMENT)]).into_response()
}

/// The elements of a list, one for each slot at most, with their slots; none where it is absent.
fn by_slot<T>(
    fields: Fields<'_>,
    name: &str,
    read: impl Fn(Fields<'_>) -> Result<T, FieldError>,
) -> Result<Option<Vec<(u16, T)>>, FieldError> {
    let Some(list) = fields.array(name)? else { return Ok(None) };
    if list.len() > common::limits::SLOTS_PER_ENDPOINT_MAX {
        return Err(wrong(name, "an array of at most as many elements as there can be slots"));
    }
    let element = |value: &Value| {
        let fields = Fields(value.as_object().ok_or_else(|| wrong(name, "an array of objects"))?);
        let slot = fields.integer("slot")?.and_then(|slot| u16::try_from(slot).ok());
        let slot = slot.ok_or_else(|| wrong("slot", "a slot's number, from 0"))?;
        Ok((slot, read(fields)?))
    };
    list.iter().map(element).collect::<Result<_, _>>().map(Some)
}

fn pins(fields: Fields<'_>) -> Result<Option<Vec<(u16, String)>>, FieldError> {
    by_slot(fields, "pins", |fields| {
        let stream = fields.string("streamId")?.ok_or_else(|| wrong("streamId", "present in every pin"))?;
        Ok(stream.to_owned())
    })
}

fn layers(fields: Fields<'_>) -> Result<Option<Vec<(u16, u8)>>, FieldError> {
    by_slot(fields, "layers", |fields| {
        let Some(layer) = fields.integer("layer")? else { return Ok(u8::MAX) };
        u8::try_from(layer).map_err(|_out_of_range| wrong("layer", "a layer's number, from 0 to 255"))
    })
}

async fn offer(request: Request) -> Result<String, Response> {
    if !accepts_sdp(request.headers()) {
        let problem = Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable");
        return Err(problem
            .detail("the answer is application/sdp, which the Accept header excludes")
            .into_response());
    }
    sdp(request, SDP, SDP_BYTES_MAX).await
}

fn accepts_sdp(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        range == "*/*" || range.eq_ignore_ascii_case("application/*") || range.eq_ignore_ascii_case(SDP)
    })
}

/// The ETag that the client expects, without quotes; `*` and no header expect nothing. A weak tag never matches.
fn if_match(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let tag = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match tag {
        Some(tag) if !tag.contains('"') => Ok(Some(tag.to_owned())),
        Some(_) | None => Err(Problem::new(StatusCode::PRECONDITION_FAILED, "stale-resource")
            .detail("If-Match must be * or one ETag in double quotes")),
    }
}

async fn open(face: &Face, bearer: Bearer, op: Op, base: &'static str) -> Response {
    match face.core().op(bearer.actor(), op).await {
        Ok(Reply::Endpoint(view)) => created(&view, base),
        Ok(other) => refused(&other),
        Err(error) => Problem::from(error).into_response(),
    }
}

fn created(view: &EndpointView, base: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, SDP), (header::HeaderName::from_static("accept-patch"), FRAGMENT)];
    let mut response = (StatusCode::CREATED, headers, view.sdp.clone()).into_response();
    insert(&mut response, header::LOCATION, &format!("{base}/{}", view.resource));
    insert(&mut response, header::ETAG, &format!("\"{}\"", view.etag));
    for server in &view.ice_servers {
        if let Ok(value) = HeaderValue::try_from(link(server)) {
            response.headers_mut().append(header::LINK, value);
        }
    }
    response
}

fn insert(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

/// RFC 9725 section 4.6.
fn link(server: &IceServer) -> String {
    let mut link = format!("<{}>; rel=\"ice-server\"", server.url);
    for (name, value) in [("username", &server.username), ("credential", &server.credential)] {
        if let Some(value) = value {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            link.extend(["; ", name, "=\"", &quoted, "\""]);
        }
    }
    if server.credential.is_some() {
        link.push_str("; credential-type=\"password\"");
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_links() {
        let stun = IceServer { url: "stun:s.example:3478".to_owned(), ..IceServer::default() };
        assert_eq!(link(&stun), "<stun:s.example:3478>; rel=\"ice-server\"");
        let turn = IceServer {
            url: "turn:t.example?transport=udp".to_owned(),
            username: Some("u".to_owned()),
            credential: Some("p\"q".to_owned()),
        };
        assert_eq!(
            link(&turn),
            "<turn:t.example?transport=udp>; rel=\"ice-server\"; username=\"u\"; credential=\"p\\\"q\"; credential-type=\"password\""
        );
    }

    #[test]
    fn if_match_takes_one_strong_tag_or_a_star() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, value.parse().unwrap());
            if_match(&headers).map_err(drop)
        };
        assert_eq!(read("\"abc\""), Ok(Some("abc".to_owned())));
        assert_eq!(read("*"), Ok(None));
        assert_eq!(read("W/\"abc\""), Err(()));
        assert_eq!(read("abc"), Err(()));
        assert_eq!(read("\"a\", \"b\""), Err(()));
    }

    #[test]
    fn the_answer_must_be_acceptable() {
        let accepts = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, value.parse().unwrap());
            accepts_sdp(&headers)
        };
        assert!(accepts("application/sdp"));
        assert!(accepts("text/html, */*;q=0.1"));
        assert!(!accepts("application/json"));
        assert!(accepts_sdp(&HeaderMap::new()));
    }
}
