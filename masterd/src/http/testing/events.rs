//! Shell: a scripted core.
//!
//! Server-sent events from the faces' side: opening, resuming, gaps, ends.

use std::sync::Arc;

use axum::body::Body;
use common::id::EventSeq;
use http_body_util::BodyExt as _;

use super::{APP, Asked, BEARER, PEER, Stage, request, session, small_cluster};
use crate::cluster::ViewerEnd;
use crate::cluster::op::{Actor, Event, Fact, Op, Query, Reply};
use crate::driver::call::Note;

fn event(seq: u64) -> Arc<Event> {
    Arc::new(Event {
        seq: EventSeq(seq),
        at: 5,
        session: "s".to_owned(),
        session_started: 1_700_000_000_000,
        audience: None,
        what: Fact::SessionPlaced { node: "media_x".to_owned() },
    })
}

/// Watching gives the events after the asked position of a log that ends at 3 and keeps the last two.
fn log(asked: &Asked) -> Reply {
    match asked {
        Asked::Op(actor, Op::Watch { after, .. }) => {
            let after = after.map_or(3, |after| after.0);
            Reply::Watching {
                backlog: (2..=3).filter(|seq| *seq > after).map(event).collect(),
                gap: after < 1,
                head: EventSeq(3),
                session: "s".to_owned(),
                connection: matches!(actor, Actor::Bearer(_)).then(|| "con_a".to_owned()),
            }
        }
        other => small_cluster(other),
    }
}

async fn next(body: &mut Body) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_reader_gets_what_happens_until_its_end() {
    let stage = Stage::new(log);
    let response = stage.service.answer(PEER, request("GET /events", &[BEARER], "")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let open = next(&mut body).await.unwrap();
    assert_eq!(
        open,
        "retry: 1000\nid: 0-3\nevent: open\ndata: {\"sessionId\":\"s\",\"connectionId\":\"con_a\",\"head\":3}\n\n"
    );
    stage.reader().send(Note::Event(event(4))).await.unwrap();
    assert!(next(&mut body).await.unwrap().starts_with("id: 1700000000000-4\nevent: sessionPlaced\n"));
    stage.reader().send(Note::Closed(ViewerEnd::SessionClosed)).await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "event: end\ndata: {\"reason\":\"sessionClosed\"}\n\n");
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn a_reader_resumes_where_it_was_and_is_told_of_gaps() {
    let stage = Stage::new(log);
    for (line, header, expected) in [
        ("GET /events", "Last-Event-ID: 1700000000000-2", vec!["event: open", "id: 1700000000000-3"]),
        ("GET /events?lastEventId=2", "X-None: x", vec!["event: open", "id: 1700000000000-3"]),
        ("GET /events", "Last-Event-ID: 0", vec!["event: open", "event: gap", "-2\n", "-3\n"]),
    ] {
        let mut body = stage.service.answer(PEER, request(line, &[BEARER, header], "")).await.into_body();
        for part in expected {
            let text = next(&mut body).await.unwrap();
            assert!(text.contains(part), "{line} {header}: {text}");
        }
    }
}

#[tokio::test]
async fn a_position_in_an_earlier_session_of_the_same_name_is_a_gap() {
    let stage = Stage::new(log);
    let line = "GET /openvidu/api/sessions/s/events";
    let headers = [APP, "Last-Event-ID: 1600000000000-3"];
    let mut body = stage.service.answer(PEER, request(line, &headers, "")).await.into_body();
    for part in ["event: open", "event: gap", "-2\n", "-3\n"] {
        assert!(next(&mut body).await.unwrap().contains(part), "{part}");
    }
    let present = [APP, "Last-Event-ID: 1700000000000-3"];
    let mut body = stage.service.answer(PEER, request(line, &present, "")).await.into_body();
    assert!(next(&mut body).await.unwrap().contains("id: 1700000000000-3"));
    assert!(stage.asked().contains(&Asked::Query(Actor::App, Query::Session { session: session("s").id })));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_unwatched() {
    let stage = Stage::new(log);
    drop(stage.service.answer(PEER, request("GET /events", &[BEARER], "")).await);
    while !stage.asked().contains(&Asked::Unwatch) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_reader_that_was_dropped_for_being_slow_can_tell() {
    let stage = Stage::new(log);
    let mut body = stage.service.answer(PEER, request("GET /events", &[BEARER], "")).await.into_body();
    next(&mut body).await.unwrap();
    stage.let_go();
    assert_eq!(next(&mut body).await.as_deref(), Some(": resume\n\n"));
    assert_eq!(next(&mut body).await, None);
}
