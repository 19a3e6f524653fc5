//! What operators do: impact, roles, audit, repeated operations, and what consoles are shown.

use common::wire::operator::{
    EventSubject, Impact, OperationState, OperatorRole, RefusedKind, Severity, Verb,
};

use super::*;

fn operation(op: u64, role: OperatorRole, verb: Verb) -> Operation {
    Operation {
        op,
        operator: "ada".to_owned(),
        role,
        address: "10.9.9.9".to_owned(),
        verb,
        expected: None,
        dry_run: false,
        reason: "because".to_owned(),
    }
}

fn operate(world: &mut World, operation: Operation) -> OperationState {
    match world.app(Op::Operate(Box::new(operation))) {
        Reply::Operation(state) => state,
        other => panic!("no operation: {other:?}"),
    }
}

fn impact(world: &mut World, verb: Verb) -> Impact {
    let dry = Operation { dry_run: true, ..operation(900, OperatorRole::Admin, verb) };
    match operate(world, dry) {
        OperationState::Impact(impact) => impact,
        other => panic!("no impact: {other:?}"),
    }
}

fn close(session: &str) -> Verb {
    Verb::SessionClose { session: session.to_owned() }
}

/// A session of two that both publish, and one watches.
fn two_in(world: &mut World, session: &str) -> (Actor, Actor) {
    world.session(session);
    let (a, b) = (world.publisher(session, "a"), world.publisher(session, "b"));
    opened(world.ask(a.clone(), publish("a1v1")));
    opened(world.ask(b.clone(), publish("a1v1")));
    opened(world.ask(b.clone(), play("a1v1")));
    (a, b)
}

fn audits(world: &World) -> Vec<String> {
    let (events, _) = world.core.feed_after(0);
    let audits = events.into_iter().filter(|event| event.severity == Severity::Audit);
    audits.map(|event| format!("{}: {}", event.name, event.text)).collect()
}

#[test]
fn a_dry_run_tells_what_would_end_and_changes_nothing() {
    let mut world = World::with_nodes(2);
    two_in(&mut world, "s");
    let told = impact(&mut world, close("s"));
    assert_eq!((told.sessions, told.connections, told.streams), (1, 2, 2));
    assert_eq!(told.lines[0], "1 session, 2 connections, 2 streams end");
    assert_eq!(world.core.participants(SessionKey(told.generation)), 2);
    let evict = |name: &str| Verb::ConnectionEvict { session: "s".to_owned(), connection: name.to_owned() };
    let told = impact(&mut world, evict("con_a"));
    assert_eq!((told.sessions, told.connections, told.streams), (0, 1, 1));
    let (events, _) = world.core.feed_after(0);
    let placed = events.iter().find(|event| event.kind == "session.placed").unwrap();
    let node = placed.text.strip_prefix("on ").unwrap().to_owned();
    let told = impact(&mut world, Verb::NodeDrain { node: node.clone() });
    assert_eq!(told.lines[0], "1 session, 2 connections, 2 streams stay until they end by themselves");
    let refused = impact_refused(&mut world, Verb::NodeUndrain { node });
    assert_eq!(refused, (RefusedKind::State, "the node is not draining".to_owned()));
    assert!(audits(&world).is_empty(), "looking is not audited");
}

fn impact_refused(world: &mut World, verb: Verb) -> (RefusedKind, String) {
    let dry = Operation { dry_run: true, ..operation(900, OperatorRole::Admin, verb) };
    match operate(world, dry) {
        OperationState::Refused { kind, why } => (kind, why),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_role_that_does_not_suffice_is_refused_and_audited() {
    let mut world = World::with_nodes(1);
    two_in(&mut world, "s");
    for (op, role, verb) in [
        (1, OperatorRole::Viewer, close("s")),
        (2, OperatorRole::Operator, Verb::NodeDrain { node: "media_1".to_owned() }),
    ] {
        let refused = operate(&mut world, operation(op, role, verb));
        assert!(matches!(refused, OperationState::Refused { kind: RefusedKind::Role, .. }), "{refused:?}");
    }
    let audits = audits(&world);
    assert_eq!(audits.len(), 2);
    assert!(audits[0].starts_with("s: ada (viewer) from 10.9.9.9: session.close refused: the role viewer"));
    assert!(audits[0].ends_with("because \"because\""), "{}", audits[0]);
}

#[test]
fn the_change_and_its_audit_are_in_one_batch_and_a_repeated_operation_gets_its_first_answer() {
    let mut world = World::with_nodes(1);
    two_in(&mut world, "s");
    let batches = world.commit_count;
    let first = operate(&mut world, operation(7, OperatorRole::Operator, close("s")));
    let OperationState::Done { text } = &first else { panic!("not done: {first:?}") };
    assert_eq!(text, "closed: 1 session, 2 connections, 2 streams end");
    assert_eq!(world.commit_count, batches + 1);
    assert_eq!(audits(&world).len(), 1);
    let again = operate(&mut world, operation(7, OperatorRole::Operator, close("s")));
    assert_eq!(again, first);
    assert_eq!(audits(&world).len(), 1, "it was not done again");
    let other = operate(&mut world, operation(8, OperatorRole::Operator, close("s")));
    assert!(matches!(other, OperationState::Refused { kind: RefusedKind::Missing, .. }), "{other:?}");
    // masterd starts anew: the log still tells how it went.
    world.restart();
    assert_eq!(world.core.recall("ada", 7), Some(first));
    assert_eq!(world.core.recall("bob", 7), None, "it was another operator's");
    assert_eq!(audits(&world).len(), 2, "the audit outlives masterd");
}

#[test]
fn a_target_that_is_another_one_by_now_is_left_alone() {
    let mut world = World::with_nodes(1);
    two_in(&mut world, "s");
    let seen = impact(&mut world, close("s")).generation;
    world.app(Op::SessionDelete { session: "s".to_owned() });
    world.session("s");
    let stale = Operation { expected: Some(seen), ..operation(3, OperatorRole::Admin, close("s")) };
    let refused = operate(&mut world, stale.clone());
    assert!(matches!(refused, OperationState::Refused { kind: RefusedKind::Changed, .. }), "{refused:?}");
    assert!(world.core.named_session("s").is_ok());
    let seen = impact(&mut world, close("s")).generation;
    let fresh = Operation { op: 4, expected: Some(seen), ..stale };
    assert!(matches!(operate(&mut world, fresh), OperationState::Done { .. }));
}

#[test]
fn a_removed_node_ends_its_sessions_and_is_forgotten_with_its_process() {
    let mut world = World::with_nodes(2);
    two_in(&mut world, "s");
    let parts = world.core.listing();
    let home = parts.sessions[0].node.unwrap();
    let name = parts.sessions[0].node_name.clone();
    let told = impact(&mut world, Verb::NodeRemove { node: name.clone() });
    assert_eq!(told.lines[0], "1 session, 2 connections, 2 streams end");
    let done =
        operate(&mut world, operation(5, OperatorRole::Admin, Verb::NodeRemove { node: name.clone() }));
    assert!(matches!(done, OperationState::Done { .. }), "{done:?}");
    let listed = world.core.listing();
    assert!(listed.sessions.is_empty());
    assert_eq!(listed.nodes.iter().find(|node| node.node == home).unwrap().state, "terminating");
    world.link_down(home.0);
    assert!(world.core.listing().nodes.iter().all(|node| node.node != home));
    let gone = operate(&mut world, operation(6, OperatorRole::Admin, Verb::NodeRemove { node: name }));
    assert!(matches!(gone, OperationState::Refused { kind: RefusedKind::Missing, .. }), "{gone:?}");
}

#[test]
fn a_drained_and_empty_node_can_be_taken_back() {
    let mut world = World::with_nodes(1);
    let name = world.core.listing().nodes[0].name.clone();
    let drain = operation(1, OperatorRole::Admin, Verb::NodeDrain { node: name.clone() });
    assert!(matches!(operate(&mut world, drain), OperationState::Done { .. }));
    let node = *world.nodes.keys().next().unwrap();
    world.event(node, None, NodeFact::Drained);
    assert_eq!(world.core.listing().nodes[0].state, "terminating");
    let back = operation(2, OperatorRole::Admin, Verb::NodeUndrain { node: name });
    assert!(matches!(operate(&mut world, back), OperationState::Done { .. }));
    assert_eq!(world.core.listing().nodes[0].state, "running");
}

#[test]
fn consoles_see_who_gets_what_and_the_events_of_all_logs_in_order() {
    let mut world = World::with_nodes(1);
    two_in(&mut world, "s");
    world.session("t");
    let listing = world.core.listing();
    assert_eq!(listing.nodes.len(), 1);
    let rows: Vec<(&str, u32, u32)> =
        listing.sessions.iter().map(|row| (row.name.as_str(), row.connections, row.streams)).collect();
    assert_eq!(rows, [("s", 2, 2), ("t", 0, 0)]);
    let parts = world.core.session_parts(listing.sessions[0].session).unwrap();
    assert_eq!((parts.streams.len(), parts.participants.len()), (2, 2));
    let b = &parts.participants[1];
    assert_eq!((b.row.connection.as_str(), b.owns.len(), b.receives.len()), ("con_b", 1, 2));
    assert_eq!(b.receives[0].stream, parts.streams[0].0);
    let (events, newest) = world.core.feed_after(0);
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(&kinds[..2], ["node.launching", "node.running"]);
    assert!(kinds.contains(&"connection.joined") && kinds.contains(&"stream.published"), "{kinds:?}");
    let created = events.iter().find(|event| event.kind == "session.created").unwrap();
    assert_eq!(created.subject, EventSubject::Session(listing.sessions[0].session));
    assert_eq!(world.core.feed_after(newest).0, []);
    assert_eq!(world.core.decision_rows(Some("s"), 10).len(), 1);
    assert_eq!(world.core.decision_rows(Some("t"), 10).len(), 0);
}
