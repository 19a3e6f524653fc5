//! Life of sessions and connections, their events and readers.

use super::*;

#[test]
fn the_last_participant_ends_the_session() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.watch_session(1, "s");
    let (a, b) = (world.publisher("s", "a"), world.publisher("s", "b"));
    opened(world.ask(a.clone(), publish("a1v1")));
    opened(world.ask(b.clone(), play("a1v1")));
    world.seen(1);
    world.ask(a, Op::Leave);
    world.ask(b.clone(), Op::Leave);
    assert_eq!(
        without_slots(world.seen(1)),
        [
            "unpublished con_a Disconnect",
            "unsubscribed con_b con_a Disconnect",
            "left con_a Disconnect",
            "left con_b Disconnect",
            "destroyed LastParticipantLeft",
        ]
    );
    assert_eq!(world.closed[&1], ViewerEnd::SessionClosed);
    assert!(world.nodes[&1].sessions.is_empty() && world.nodes[&1].endpoints.is_empty());
    assert_eq!(refusal(world.ask(b, publish("a1v1"))), Refusal::Token);
    world.session("s");
}

#[test]
fn a_deleted_session_ends_in_openvidus_order_and_count() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.watch_session(1, "s");
    let pending = world.publisher("s", "p");
    for name in ["a", "b"] {
        let actor = world.publisher("s", name);
        opened(world.ask(actor.clone(), publish("a1v1")));
        opened(world.ask(actor, play("a1v1")));
    }
    world.seen(1);
    assert_eq!(world.app(Op::SessionDelete { session: "s".to_owned() }), Reply::Done);
    assert_eq!(
        world.seen(1),
        [
            "unpublished con_a SessionClosedByServer",
            "unsubscribed con_b con_a SessionClosedByServer",
            "unsubscribed con_a con_b SessionClosedByServer",
            "left con_a SessionClosedByServer",
            "unpublished con_b SessionClosedByServer",
            "left con_b SessionClosedByServer",
            "destroyed SessionClosedByServer",
        ]
    );
    assert_eq!(refusal(world.ask(pending, publish("a1v1"))), Refusal::Token);
    assert_eq!(refusal(world.app(Op::SessionDelete { session: "s".to_owned() })), Refusal::UnknownSession);
}

#[test]
fn an_evicted_connection_is_told_and_closed() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, b) = (world.publisher("s", "a"), world.publisher("s", "b"));
    opened(world.ask(a, publish("a1v1")));
    assert!(matches!(world.ask(b, watch(2, None, None)), Reply::Watching { connection: Some(_), .. }));
    let delete = |connection: &str| Op::ConnectionDelete {
        session: "s".to_owned(),
        connection: connection.to_owned(),
    };
    assert_eq!(world.app(delete("con_b")), Reply::Done);
    assert_eq!(world.seen(2).last().unwrap(), "left con_b ForceDisconnectByServer");
    assert_eq!(world.closed[&2], ViewerEnd::ConnectionLeft);
    assert_eq!(refusal(world.app(delete("con_b"))), Refusal::UnknownConnection);
    let pending = world.publisher("s", "c");
    assert_eq!(world.app(delete("con_c")), Reply::Done);
    assert_eq!(refusal(world.ask(pending, publish("a1v1"))), Refusal::Token);
}

#[test]
fn a_connection_leaves_ten_seconds_after_its_last_resource_and_reader() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.watch_session(1, "s");
    let a = world.publisher("s", "a");
    let resource = opened(world.ask(a.clone(), publish("a1v1"))).resource;
    world.ask(a.clone(), watch(2, None, None));
    world.ask(a.clone(), Op::EndpointDelete { resource });
    world.advance(Duration::from_secs(60));
    world.seen(1);
    world.send(a.clone(), Op::Unwatch { viewer: 2 });
    world.advance(Duration::from_secs(9));
    world.ask(a.clone(), watch(3, None, None));
    world.advance(Duration::from_secs(20));
    assert_eq!(world.seen(1), [""; 0]);
    world.send(a, Op::Unwatch { viewer: 3 });
    world.advance(Duration::from_secs(11));
    assert_eq!(world.seen(1), ["left con_a NetworkDisconnect", "destroyed LastParticipantLeft"]);
}

#[test]
fn a_failed_transport_ends_the_stream_at_once_and_the_participation_later() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.watch_session(1, "s");
    let a = world.publisher("s", "a");
    opened(world.ask(a, publish("a1v1")));
    world.seen(1);
    let key = world.session_key("s");
    let endpoint = *world.core.endpoints.keys().next().unwrap();
    let generation = Generation(0);
    for state in [TransportState::Connected, TransportState::Failed] {
        world.event(1, Some(key), NodeFact::Transport { endpoint, generation, state });
    }
    assert_eq!(
        world.seen(1),
        ["transport con_a connected", "transport con_a failed", "unpublished con_a NetworkDisconnect"]
    );
    assert_eq!(world.told(1).last().unwrap(), "EventAck");
    world.advance(Duration::from_secs(11));
    assert_eq!(world.seen(1), ["left con_a NetworkDisconnect", "destroyed LastParticipantLeft"]);
}

#[test]
fn a_reader_resumes_without_a_gap_even_over_the_end_of_the_session() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    opened(world.ask(a.clone(), publish("a1v1")));
    let Reply::Watching { backlog, gap, head, .. } = world.ask(a.clone(), watch(1, None, Some(0))) else {
        panic!()
    };
    assert_eq!((backlog.len(), gap, head), (4, false, EventSeq(4)));
    world.send(a.clone(), Op::Unwatch { viewer: 1 });
    world.app(Op::SessionDelete { session: "s".to_owned() });
    let Reply::Watching { backlog, gap, .. } = world.ask(a.clone(), watch(2, None, Some(4))) else {
        panic!()
    };
    let shown: Vec<_> = backlog.iter().map(|it| show(&it.what)).collect();
    assert_eq!(
        shown,
        [
            "unpublished con_a SessionClosedByServer",
            "left con_a SessionClosedByServer",
            "destroyed SessionClosedByServer",
        ]
    );
    assert!(!gap);
    assert_eq!(world.closed[&2], ViewerEnd::SessionClosed);
    world.session("s");
    let Reply::Watching { head, .. } = world.app(watch(3, Some("s"), None)) else { panic!() };
    assert_eq!(head, EventSeq(8), "a session of the same name goes on counting");
    world.advance(Duration::from_secs(40));
    assert_eq!(refusal(world.ask(a, watch(4, None, Some(4)))), Refusal::Token);
}

#[test]
fn a_reader_who_was_away_too_long_learns_of_the_gap() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    opened(world.ask(a, publish("a1v1")));
    let signal = |data: usize| Op::Signal {
        session: Some("s".to_owned()),
        to: Vec::new(),
        kind: "chat".to_owned(),
        data: data.to_string(),
    };
    for data in 0..100 {
        world.app(signal(data));
    }
    world.advance(Duration::from_secs(31));
    world.app(signal(100));
    let Reply::Watching { backlog, gap, .. } = world.app(watch(1, Some("s"), Some(2))) else { panic!() };
    assert!(gap);
    assert_eq!(backlog.len(), crate::limits::EVENTS_PER_SESSION_MIN);
    let Reply::Watching { backlog, gap, .. } = world.app(watch(2, Some("s"), Some(9999))) else { panic!() };
    assert!(gap && !backlog.is_empty(), "a position of another session");
}

#[test]
fn signals_reach_whom_they_are_for() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let signal = |to: &[&str]| Op::Signal {
        session: Some("s".to_owned()),
        to: to.iter().map(|it| (*it).to_owned()).collect(),
        kind: "chat".to_owned(),
        data: "hi".to_owned(),
    };
    assert_eq!(refusal(world.app(signal(&[]))), Refusal::SessionNotActive);
    let (a, b) = (world.publisher("s", "a"), world.publisher("s", "b"));
    world.ask(a.clone(), watch(1, None, None));
    world.ask(b, watch(2, None, None));
    world.seen(1);
    world.seen(2);
    assert_eq!(world.ask(a, signal(&["con_b"])), Reply::Done);
    assert_eq!(world.seen(1), [""; 0]);
    assert_eq!(world.seen(2), [r#"signal Some("con_a") chat hi"#]);
    assert_eq!(world.app(signal(&[])), Reply::Done);
    assert_eq!(world.seen(1), ["signal None chat hi"]);
    assert_eq!(refusal(world.app(signal(&["con_b", "con_x"]))), Refusal::UnknownConnection);
}

#[test]
fn sessions_that_nobody_joins_vanish() {
    let mut world = World::with_nodes(0);
    world.session("s");
    world.publisher("s", "a");
    world.advance(Duration::from_secs(3000));
    assert_eq!(world.stat("sessions"), 1);
    world.advance(Duration::from_secs(2000));
    assert_eq!((world.stat("sessions"), world.stat("connections")), (0, 0));
    world.advance(Duration::from_secs(60));
    assert_eq!(world.stat("logs"), 1, "only the cluster's");
}

#[test]
fn a_name_is_taken_once() {
    let mut world = World::new();
    world.session("s");
    let properties = SessionProperties { custom_id: Some("s".to_owned()), ..SessionProperties::default() };
    assert_eq!(refusal(world.app(Op::SessionCreate(properties))), Refusal::SessionExists("s".to_owned()));
}

#[test]
fn a_stream_that_the_application_ends_leaves_its_publisher_inside() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    let stream = opened(world.ask(a.clone(), publish("a1v1"))).stream.unwrap();
    world.watch_session(1, "s");
    let delete = Op::StreamDelete { session: "s".to_owned(), stream };
    assert_eq!(world.app(delete.clone()), Reply::Done);
    assert_eq!(world.seen(1), ["unpublished con_a ForceUnpublishByServer"]);
    assert_eq!(refusal(world.app(delete)), Refusal::UnknownStream);
    opened(world.ask(a, publish("a1v1")));
}

#[test]
fn a_flood_of_long_signals_keeps_the_log_within_its_bytes() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    world.ask(a.clone(), watch(1, None, None));
    let signal =
        |bytes| Op::Signal { session: None, to: Vec::new(), kind: String::new(), data: "x".repeat(bytes) };
    for _ in 0..100 {
        assert_eq!(world.ask(a.clone(), signal(crate::limits::SIGNAL_BYTES_MAX)), Reply::Done);
    }
    let kept: usize = world.core.logs.values().map(|log| log.bytes).sum();
    assert!((1..=crate::limits::EVENT_BYTES_PER_SESSION_MAX).contains(&kept), "{kept}");
    assert!(world.store.len() < 100, "{} records", world.store.len());
    let refused = refusal(world.ask(a, signal(crate::limits::SIGNAL_BYTES_MAX + 1)));
    assert!(matches!(refused, Refusal::TooLong { what: "signal", .. }), "{refused:?}");
}
