//! Clients with a WebSocket.

use super::super::op::socket::{JoinedView, SocketOp, StreamProperty};
use super::*;

fn join(world: &mut World, token: &Actor, viewer: ViewerId) -> Reply {
    let op = SocketOp::Join { viewer, session: "s".to_owned(), client: ClientInfo::default() };
    world.ask(token.clone(), Op::Socket(op))
}

/// Joins; gives the bearer of what follows and the snapshot.
fn joined(world: &mut World, name: &str, viewer: ViewerId) -> (Actor, JoinedView) {
    let token = world.publisher("s", name);
    match join(world, &token, viewer) {
        Reply::Joined(view) => (Actor::Bearer(view.secret.clone()), *view),
        other => panic!("not joined: {other:?}"),
    }
}

fn ask(world: &mut World, actor: &Actor, op: SocketOp) -> Reply {
    world.ask(actor.clone(), Op::Socket(op))
}

fn subscribe(stream: &str, offer: Option<&str>) -> SocketOp {
    SocketOp::Subscribe { stream: stream.to_owned(), offer: offer.map(str::to_owned) }
}

fn answer(stream: &str) -> SocketOp {
    SocketOp::Answer { stream: stream.to_owned(), answer: "answer".to_owned() }
}

fn resume(world: &mut World, actor: &Actor, viewer: ViewerId) -> Reply {
    ask(world, actor, SocketOp::Resume { viewer })
}

fn published(world: &mut World, actor: &Actor) -> String {
    opened(world.ask(actor.clone(), publish("a1v1"))).stream.unwrap()
}

#[test]
fn a_newcomer_learns_of_everything_exactly_once() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, _) = joined(&mut world, "a", 1);
    published(&mut world, &a);
    let (b, view) = joined(&mut world, "b", 2);
    assert_eq!(view.connection.id, "con_b");
    let others: Vec<_> = view.others.iter().map(|it| (it.id.as_str(), it.publisher.is_some())).collect();
    assert_eq!(others, [("con_a", true)]);
    published(&mut world, &b);
    assert_eq!(world.seen(1), ["published con_a", "joined con_b", "published con_b"]);
    assert_eq!(world.seen(2), ["published con_b"]);
}

#[test]
fn a_token_joins_once_and_only_its_session() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.session("other");
    let stranger = world.publisher("other", "x");
    assert_eq!(refusal(join(&mut world, &stranger, 9)), Refusal::Token);
    let token = world.publisher("s", "a");
    assert!(matches!(join(&mut world, &token, 1), Reply::Joined(_)));
    assert_eq!(refusal(join(&mut world, &token, 2)), Refusal::Token);
    let by_rest = world.publisher("s", "b");
    opened(world.ask(by_rest.clone(), play("a1v1")));
    assert_eq!(refusal(join(&mut world, &by_rest, 3)), Refusal::Token);
    let op = SocketOp::Join { viewer: 4, session: "nowhere".to_owned(), client: ClientInfo::default() };
    assert_eq!(refusal(world.ask(token, Op::Socket(op))), Refusal::UnknownSession);
}

#[test]
fn our_offer_subscribes_with_its_answer_and_candidates_find_their_way() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.watch_session(9, "s");
    let (a, _) = joined(&mut world, "a", 1);
    let (b, _) = joined(&mut world, "b", 2);
    let stream = published(&mut world, &a);
    world.seen(9);
    let view = opened(ask(&mut world, &b, subscribe(&stream, None)));
    assert_eq!((view.sdp.as_str(), view.stream.as_deref()), ("offer", Some(stream.as_str())));
    assert_eq!(world.seen(9), [""; 0]);
    assert_eq!(ask(&mut world, &b, answer(&stream)), Reply::Done);
    assert_eq!(world.seen(9), ["subscribed con_b con_a"]);
    world.told(1);
    for (actor, owner) in [(&b, "con_a"), (&a, "con_a")] {
        let candidates = SocketOp::Candidates { owner: owner.to_owned(), fragment: "x".to_owned() };
        assert_eq!(ask(&mut world, actor, candidates), Reply::Done);
    }
    assert_eq!(world.told(1), ["Candidates", "Candidates"]);
    // Once more, for a lost peer connection: the old one ends with the answer, nobody is told.
    opened(ask(&mut world, &b, subscribe(&stream, None)));
    opened(ask(&mut world, &b, subscribe(&stream, None)));
    assert_eq!(world.stat("endpoints"), 3, "a publisher, the old subscription, the newest offer");
    assert_eq!(ask(&mut world, &b, answer(&stream)), Reply::Done);
    assert_eq!((world.stat("endpoints"), world.seen(9)), (2, Vec::new()));
    assert_eq!(ask(&mut world, &b, SocketOp::Unsubscribe { owner: "con_a".to_owned() }), Reply::Done);
    assert_eq!(
        (world.stat("endpoints"), world.seen(9)),
        (1, vec!["unsubscribed con_b con_a Unsubscribe".to_owned()])
    );
}

#[test]
fn errors_say_what_is_missing() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, _) = joined(&mut world, "a", 1);
    let (b, _) = joined(&mut world, "b", 2);
    let stream = published(&mut world, &a);
    let refused = |world: &mut World, actor: &Actor, op| refusal(ask(world, actor, op));
    assert_eq!(refused(&mut world, &b, subscribe("str_CAM_Ab1c_con_x", None)), Refusal::UnknownConnection);
    assert_eq!(refused(&mut world, &a, subscribe("str_CAM_Ab1c_con_b", None)), Refusal::UnknownStream);
    assert_eq!(refused(&mut world, &a, subscribe(&stream, None)), Refusal::UnknownStream, "one's own");
    assert_eq!(refused(&mut world, &b, answer(&stream)), Refusal::UnknownResource);
    assert_eq!(refused(&mut world, &b, SocketOp::Unpublish), Refusal::UnknownStream);
    let force = SocketOp::ForceUnpublish { stream: stream.clone() };
    assert_eq!(refused(&mut world, &b, force), Refusal::Role);
    opened(ask(&mut world, &b, subscribe(&stream, None)));
    let rubbish = SocketOp::Answer { stream, answer: "rubbish".to_owned() };
    assert!(matches!(refused(&mut world, &b, rubbish), Refusal::Node(NodeError::InvalidSdp { .. })));
    assert_eq!(world.stat("endpoints"), 1);
    let unknown = Actor::Bearer("nobody".to_owned());
    assert_eq!(refused(&mut world, &unknown, SocketOp::Unpublish), Refusal::Token);
}

#[test]
fn a_lost_socket_holds_its_place_for_the_grace_and_misses_nothing() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, _) = joined(&mut world, "a", 1);
    let (b, _) = joined(&mut world, "b", 2);
    let stream = published(&mut world, &b);
    opened(ask(&mut world, &a, subscribe(&stream, Some("a1v1"))));
    let Reply::Watching { head, .. } = world.app(watch(9, Some("s"), None)) else { panic!() };
    assert_eq!(ask(&mut world, &a, SocketOp::Seen { seq: head }), Reply::Done);
    world.send(Actor::App, Op::Unwatch { viewer: 1 });
    world.advance(Duration::from_secs(9));
    assert_eq!(ask(&mut world, &b, SocketOp::Unpublish), Reply::Done);
    let Reply::Resumed { connection, backlog, .. } = resume(&mut world, &a, 3) else { panic!("resumed") };
    let missed: Vec<_> = backlog.iter().map(|it| show(&it.what)).collect();
    assert_eq!(connection, "con_a");
    assert_eq!(missed, ["unpublished con_b Unpublish", "unsubscribed con_a con_b Unpublish"]);
    world.advance(Duration::from_secs(60));
    world.seen(9);
    // A second socket takes the place of one that looks open still; its late end starts nothing.
    assert!(matches!(resume(&mut world, &a, 4), Reply::Resumed { .. }));
    assert_eq!(world.closed.get(&3), Some(&ViewerEnd::Replaced));
    world.send(Actor::App, Op::Unwatch { viewer: 3 });
    world.advance(Duration::from_secs(60));
    assert_eq!(world.seen(9), [""; 0]);
    world.send(Actor::App, Op::Unwatch { viewer: 4 });
    world.advance(Duration::from_secs(11));
    assert_eq!(world.seen(9), ["left con_a NetworkDisconnect"]);
    assert_eq!(refusal(resume(&mut world, &a, 5)), Refusal::Token);
}

#[test]
fn a_client_resumes_at_the_next_masterd() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, _) = joined(&mut world, "a", 1);
    let (b, _) = joined(&mut world, "b", 2);
    published(&mut world, &a);
    let Reply::Watching { head, .. } = world.app(watch(9, Some("s"), None)) else { panic!() };
    ask(&mut world, &b, SocketOp::Seen { seq: head });
    world.advance(Duration::from_secs(2));
    world.restart();
    world.link_up(1);
    let Reply::Resumed { backlog, .. } = resume(&mut world, &b, 3) else { panic!("resumed") };
    assert!(backlog.is_empty(), "{backlog:?}");
    assert!(matches!(resume(&mut world, &a, 4), Reply::Resumed { .. }));
    assert_eq!(ask(&mut world, &a, SocketOp::Unpublish), Reply::Done);
    assert_eq!(world.seen(3), ["unpublished con_a Unpublish"]);
}

#[test]
fn a_stream_outlives_its_peer_connection() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, _) = joined(&mut world, "a", 1);
    let (b, _) = joined(&mut world, "b", 2);
    let by_rest = world.publisher("s", "c");
    let stream = published(&mut world, &a);
    opened(ask(&mut world, &b, subscribe(&stream, Some("a1v1"))));
    opened(world.ask(by_rest, play("a1v1")));
    world.watch_session(9, "s");
    let session = world.session_key("s");
    let at = *world.nodes[&1].endpoints.values().next().unwrap();
    let failed = TransportState::Failed;
    world.nodes.get_mut(&1).unwrap().endpoints.remove(&at.endpoint);
    let fact = NodeFact::Transport { endpoint: at.endpoint, generation: at.generation, state: failed };
    world.event(1, Some(session), fact);
    assert_eq!(world.seen(9), ["transport con_a failed"]);
    world.told(1);
    let view = opened(ask(&mut world, &a, SocketOp::Republish { offer: "a1v1".to_owned() }));
    assert_eq!(view.stream.as_deref(), Some(stream.as_str()));
    assert_eq!(world.told(1), ["EndpointOpen", "Bind", "Bind"]);
    assert_eq!(world.seen(9), [""; 0]);
    assert_eq!(world.ask(a, Op::Leave), Reply::Done);
    assert!(world.seen(9).contains(&"unpublished con_a Disconnect".to_owned()));
}

#[test]
fn moderators_end_streams_and_connections_of_others() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let token = world.token("s", "m", ConnectionRole::Moderator);
    let Reply::Joined(view) = join(&mut world, &token, 1) else { panic!("joined") };
    let m = Actor::Bearer(view.secret);
    let (a, _) = joined(&mut world, "a", 2);
    let stream = published(&mut world, &a);
    world.seen(2);
    assert_eq!(ask(&mut world, &m, SocketOp::ForceUnpublish { stream }), Reply::Done);
    assert_eq!(world.seen(2), ["unpublished con_a ForceUnpublishByUser"]);
    let evict = SocketOp::ForceDisconnect { connection: "con_a".to_owned() };
    assert_eq!(ask(&mut world, &m, evict.clone()), Reply::Done);
    assert_eq!(world.seen(2), ["left con_a ForceDisconnectByUser"]);
    assert_eq!(world.closed.get(&2), Some(&ViewerEnd::ConnectionLeft));
    assert_eq!(refusal(ask(&mut world, &m, evict)), Refusal::UnknownConnection);
}

#[test]
fn the_application_changes_a_role_and_the_node_follows() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, _) = joined(&mut world, "a", 1);
    published(&mut world, &a);
    let update = |role, record| Op::ConnectionUpdate {
        session: "s".to_owned(),
        connection: "con_a".to_owned(),
        role,
        record,
    };
    world.seen(1);
    world.told(1);
    let Reply::Connection(view) = world.app(update(Some(ConnectionRole::Subscriber), Some(true))) else {
        panic!("changed")
    };
    assert_eq!((view.properties.role, view.properties.record), (ConnectionRole::Subscriber, true));
    assert_eq!(world.seen(1), ["changed con_a Role(Subscriber)", "changed con_a Record(true)"]);
    assert!(world.told(1).contains(&"Permit".to_owned()));
    world.app(update(Some(ConnectionRole::Subscriber), None));
    assert_eq!(world.seen(1), [""; 0]);
    assert_eq!(ask(&mut world, &a, SocketOp::Unpublish), Reply::Done);
    assert_eq!(refusal(world.ask(a, publish("a1v1"))), Refusal::Role);
}

#[test]
fn a_changed_stream_is_told_and_shown_to_later_ones() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, _) = joined(&mut world, "a", 1);
    published(&mut world, &a);
    world.seen(1);
    for property in [StreamProperty::AudioActive(false), StreamProperty::VideoTrack("{}".to_owned())] {
        let change = SocketOp::ChangeStream { property, reason: "publishAudio".to_owned() };
        assert_eq!(ask(&mut world, &a, change), Reply::Done);
    }
    assert_eq!(world.seen(1), ["changed con_a AudioActive(false)", "changed con_a VideoTrack(\"{}\")"]);
    let (_, view) = joined(&mut world, "b", 2);
    assert!(!view.others[0].publisher.as_ref().unwrap().options.audio_active);
    let long = StreamProperty::VideoTrack("x".repeat(20_000));
    let change = SocketOp::ChangeStream { property: long, reason: String::new() };
    assert!(matches!(refusal(ask(&mut world, &a, change)), Refusal::Limit { .. }));
}
