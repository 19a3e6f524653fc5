//! Publishing, playing, slots.

use super::*;

#[test]
fn the_first_publish_places_admits_and_publishes_in_one_commit() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.watch_session(1, "s");
    let a = world.publisher("s", "a");
    let commits = world.commit_count;
    let view = opened(world.ask(a, publish("a1v1")));
    assert_eq!(world.commit_count, commits + 1);
    assert_eq!((view.sdp.as_str(), view.connection.as_str()), ("answer", "con_a"));
    assert!(view.stream.unwrap().starts_with("str_CAM_"));
    assert_eq!(world.seen(1), ["placed media_n1", "joined con_a", "published con_a"]);
    assert_eq!(world.told(1), ["SessionOpen", "Permit", "EndpointOpen"]);
    let Reply::Session(session) = world.query(Query::Session { session: "s".to_owned() }) else { panic!() };
    assert_eq!(session.media_node.as_deref(), Some("media_n1"));
    assert!(session.connections[0].publisher.is_some());
}

#[test]
fn a_player_gets_every_stream_and_later_ones_too() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.watch_session(1, "s");
    let (a, b, c) = (world.publisher("s", "a"), world.publisher("s", "b"), world.publisher("s", "c"));
    opened(world.ask(a.clone(), publish("a1v1")));
    opened(world.ask(b.clone(), play("a2v2")));
    opened(world.ask(b.clone(), publish("a1v1")));
    opened(world.ask(c, publish("a1v0")));
    world.seen(1);
    assert_eq!(world.ask(a, Op::Leave), Reply::Done);
    assert_eq!(
        world.seen(1),
        [
            "unpublished con_a Disconnect",
            "unsubscribed con_b con_a Disconnect",
            "left con_a Disconnect",
            "slot con_b Audio0 -",
            "slot con_b Video0 -",
        ]
    );
    let Reply::Own { slots, streams, .. } = own(&mut world, &b) else { panic!() };
    assert_eq!(slots.iter().map(|it| (it.slot, it.connection.as_str())).collect::<Vec<_>>(), [(1, "con_c")]);
    assert_eq!(streams.len(), 1);
}

fn own(world: &mut World, actor: &Actor) -> Reply {
    world.last_req += 1;
    let req = world.last_req;
    world.feed(Input::Query { req, actor: actor.clone(), query: Query::Own });
    world.replies.remove(&req).unwrap()
}

#[test]
fn a_waiting_stream_moves_into_a_freed_slot_as_one_change() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, b, c) = (world.publisher("s", "a"), world.publisher("s", "b"), world.publisher("s", "c"));
    opened(world.ask(a.clone(), publish("a1v1")));
    opened(world.ask(b, publish("a1v1")));
    opened(world.ask(c, play("a1v1")));
    world.watch_session(1, "s");
    world.told(1);
    assert_eq!(world.ask(a, Op::Leave), Reply::Done);
    assert_eq!(
        world.seen(1),
        [
            "unpublished con_a Disconnect",
            "unsubscribed con_c con_a Disconnect",
            "left con_a Disconnect",
            "subscribed con_c con_b",
            "slot con_c Audio0 con_b",
            "slot con_c Video0 con_b",
        ]
    );
    assert_eq!(world.told(1), ["EndpointClose", "Bind"]);
}

#[test]
fn pins_and_loudness_choose_among_more_streams_than_slots() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, b, c) = (world.publisher("s", "a"), world.publisher("s", "b"), world.publisher("s", "c"));
    opened(world.ask(a, publish("a1v1")));
    let stream = opened(world.ask(b, publish("a1v1"))).stream.unwrap();
    let resource = opened(world.ask(c.clone(), play("a1v1"))).resource;
    world.watch_session(1, "s");
    let arrange = |pins, layers| Op::ArrangeSlots { resource: resource.clone(), pins, layers };
    let pin = arrange(Some(vec![(0, stream)]), None);
    assert_eq!(world.ask(c.clone(), pin), Reply::Done);
    assert_eq!(world.seen(1), ["subscribed con_c con_b", "slot con_c Video0 con_b"]);
    let key = world.session_key("s");
    let loud: Vec<_> = world.core.sessions[&key].streams.keys().copied().collect();
    world.event(1, Some(key), NodeFact::Speakers { loudest: vec![loud[1]] });
    assert_eq!(
        world.seen(1),
        ["speakers con_b", "unsubscribed con_c con_a Unsubscribe", "slot con_c Audio0 con_b"]
    );
    let pin = arrange(Some(vec![(1, "str_CAM_x_con_a".to_owned())]), None);
    assert_eq!(refusal(world.ask(c.clone(), pin)), Refusal::UnknownStream);
    assert_eq!(world.ask(c, arrange(Some(Vec::new()), None)), Reply::Done);
    assert_eq!(world.seen(1), [""; 0], "what is shown stays");
}

#[test]
fn a_receiver_chooses_the_encoding_of_each_slot_and_keeps_it_over_changes() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, b, c) = (world.publisher("s", "a"), world.publisher("s", "b"), world.publisher("s", "c"));
    opened(world.ask(a.clone(), publish("a1v1")));
    let stream = opened(world.ask(b, publish("a1v1"))).stream.unwrap();
    let slots = opened(world.ask(c.clone(), play("a1v1"))).resource;
    let arrange =
        |resource: &str, layers| Op::ArrangeSlots { resource: resource.to_owned(), pins: None, layers };
    world.binds(1);
    assert_eq!(world.ask(c.clone(), arrange(&slots, Some(vec![(0, 1)]))), Reply::Done);
    assert_eq!(world.binds(1), [(0, MediaKind::Video, 1)]);
    assert_eq!(world.ask(c.clone(), arrange(&slots, Some(vec![(0, 1)]))), Reply::Done);
    assert_eq!(world.binds(1), [], "nothing is new");
    let refused = world.ask(c.clone(), arrange(&slots, Some(vec![(1, 0)])));
    assert!(matches!(refusal(refused), Refusal::Limit { .. }));
    // The slot gets another stream, and keeps its limit.
    assert_eq!(world.ask(a, Op::Leave), Reply::Done);
    assert_eq!(world.binds(1), [(0, MediaKind::Audio, u8::MAX), (0, MediaKind::Video, 1)]);
    assert_eq!(world.ask(c.clone(), arrange(&slots, Some(Vec::new()))), Reply::Done);
    assert_eq!(world.binds(1), [(0, MediaKind::Video, u8::MAX)]);

    let pair = Op::PlayStream { stream, offer: "a1v1".to_owned(), client: ClientInfo::default() };
    let pair = opened(world.ask(c.clone(), pair)).resource;
    assert_eq!(world.ask(c, arrange(&pair, Some(vec![(0, 0)]))), Reply::Done);
    assert_eq!(world.binds(1), [(0, MediaKind::Video, 0)]);
}

#[test]
fn a_pair_ends_with_its_stream() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, b) = (world.publisher("s", "a"), world.publisher("s", "b"));
    let published = opened(world.ask(a.clone(), publish("a1v1")));
    let stream = published.stream.unwrap();
    let play_one = |stream: &str| Op::PlayStream {
        stream: stream.to_owned(),
        offer: "a1v1".to_owned(),
        client: ClientInfo::default(),
    };
    assert_eq!(refusal(world.ask(b.clone(), play_one("str_CAM_none"))), Refusal::UnknownStream);
    let played = opened(world.ask(b.clone(), play_one(&stream)));
    assert_eq!(played.stream.as_deref(), Some(stream.as_str()));
    world.watch_session(1, "s");
    world.told(1);
    assert_eq!(world.ask(a, Op::EndpointDelete { resource: published.resource }), Reply::Done);
    assert_eq!(world.seen(1), ["unpublished con_a Unpublish", "unsubscribed con_b con_a Unpublish"]);
    assert_eq!(world.told(1), ["EndpointClose", "EndpointClose"]);
    assert_eq!(
        refusal(world.ask(b, Op::EndpointDelete { resource: played.resource })),
        Refusal::UnknownResource
    );
}

#[test]
fn what_a_bearer_may_not_do_is_refused() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let subscriber = world.token("s", "sub", ConnectionRole::Subscriber);
    assert_eq!(refusal(world.ask(subscriber.clone(), publish("a1v1"))), Refusal::Role);
    let unknown = Actor::Bearer("tok_unknown".to_owned());
    assert_eq!(refusal(world.ask(unknown, publish("a1v1"))), Refusal::Token);
    let a = world.publisher("s", "a");
    let resource = opened(world.ask(a.clone(), publish("a1v1"))).resource;
    assert_eq!(refusal(world.ask(a.clone(), publish("a1v1"))), Refusal::AlreadyPublishing);
    let foreign = Op::EndpointDelete { resource };
    assert_eq!(refusal(world.ask(subscriber, foreign)), Refusal::UnknownResource);
    assert_eq!(world.ask(a.clone(), Op::Leave), Reply::Done);
    assert_eq!(refusal(world.ask(a, publish("a1v1"))), Refusal::Token, "a token is used once");
}

#[test]
fn a_join_that_fails_leaves_no_trace() {
    let mut world = World::with_nodes(1);
    world.session("s");
    world.watch_session(1, "s");
    let a = world.publisher("s", "a");
    let Reply::Session(before) = world.query(Query::Session { session: "s".to_owned() }) else { panic!() };
    let stored = world.store.len();
    let reply = refusal(world.ask(a.clone(), publish("rubbish")));
    assert_eq!(reply, Refusal::Node(NodeError::InvalidSdp { why: "rubbish".to_owned() }));
    assert_eq!(world.seen(1), [""; 0]);
    assert!(world.nodes[&1].sessions.is_empty(), "the node's room is given back");
    let Reply::Session(after) = world.query(Query::Session { session: "s".to_owned() }) else { panic!() };
    assert_eq!(before, after);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.store.len(), stored + 1, "only the placement decision");
    opened(world.ask(a, publish("a1v1")));
}

#[test]
fn a_second_media_resource_that_fails_does_not_end_the_participation() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    opened(world.ask(a.clone(), publish("a1v1")));
    refusal(world.ask(a.clone(), play("rubbish")));
    opened(world.ask(a, play("a1v1")));
}

#[test]
fn without_a_node_the_join_is_refused_and_the_session_stays() {
    let mut world = World::with_nodes(0);
    world.session("s");
    let a = world.publisher("s", "a");
    for op in [publish("a1v1"), watch(1, None, None)] {
        assert_eq!(
            refusal(world.ask(a.clone(), op)).to_string(),
            "There is no available Media Node where to initialize session 's'"
        );
    }
    world.link_up(1);
    opened(world.ask(a, publish("a1v1")));
}

#[test]
fn a_silent_node_is_given_up_after_five_seconds_and_told_to_close() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    world.nodes.get_mut(&1).unwrap().mute = true;
    let req = world.send(a.clone(), publish("a1v1"));
    world.advance(Duration::from_millis(4900));
    assert!(!world.replies.contains_key(&req));
    world.advance(Duration::from_millis(200));
    assert_eq!(refusal(world.replies.remove(&req).unwrap()), Refusal::NodeSilent);
    assert!(
        world.told(1).iter().filter(|it| *it == "EndpointOpen").count() > 1,
        "it was sent again meanwhile"
    );
    world.nodes.get_mut(&1).unwrap().mute = false;
    world.advance(Duration::from_secs(3));
    assert_eq!(world.told(1), ["SessionClose"]);
    assert_eq!(world.stat("commands"), 0);
    opened(world.ask(a, publish("a1v1")));
}

#[test]
fn a_node_that_drains_sends_the_first_join_elsewhere() {
    let mut world = World::with_nodes(2);
    world.session("s");
    world.nodes.get_mut(&1).unwrap().refuses = Some(NodeError::Draining);
    let a = world.publisher("s", "a");
    opened(world.ask(a, publish("a1v1")));
    assert_eq!(world.nodes[&2].endpoints.len(), 1);
    let Reply::Nodes(nodes) = world.query(Query::Node { node: "media_n1".to_owned() }) else { panic!() };
    assert_eq!(nodes[0].status, NodeStatus::WaitingIdleToTerminate);
    let Reply::Decisions(decisions) = world.query(Query::Decisions { session: Some("s".to_owned()) }) else {
        panic!()
    };
    assert_eq!(decisions.len(), 2);
    assert_eq!(decisions[0].chosen.as_deref(), Some("media_n2"));
}

#[test]
fn sessions_spread_over_nodes_by_reservation() {
    let mut world = World::with_nodes(2);
    for number in 0..4 {
        let name = format!("s{number}");
        world.session(&name);
        let a = world.publisher(&name, "a");
        opened(world.ask(a, publish("a1v1")));
    }
    assert_eq!((world.nodes[&1].sessions.len(), world.nodes[&2].sessions.len()), (2, 2));
}

#[test]
fn a_wanted_node_is_taken_or_nothing() {
    let mut world = World::with_nodes(2);
    for (name, node) in [("s", "media_n2"), ("t", "media_n9")] {
        let properties = SessionProperties {
            custom_id: Some(name.to_owned()),
            media_node: Some(node.to_owned()),
            ..SessionProperties::default()
        };
        world.app(Op::SessionCreate(properties));
    }
    let a = world.publisher("s", "a");
    opened(world.ask(a, publish("a1v1")));
    assert_eq!(world.nodes[&2].sessions.len(), 1);
    let a = world.publisher("t", "a");
    assert_eq!(refusal(world.ask(a, publish("a1v1"))), Refusal::NoMediaNode { session: "t".to_owned() });
}

#[test]
fn trickle_checks_the_etag_and_an_ice_restart_changes_it() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    let view = opened(world.ask(a.clone(), publish("a1v1")));
    let trickle = |etag: &str, fragment: &str| Op::Trickle {
        resource: view.resource.clone(),
        etag: Some(etag.to_owned()),
        fragment: fragment.to_owned(),
    };
    assert_eq!(world.ask(a.clone(), trickle(&view.etag, "candidate")), Reply::Done);
    assert_eq!(refusal(world.ask(a.clone(), trickle("v0", "candidate"))), Refusal::StaleResource);
    let Reply::Fragment { etag, .. } = world.ask(a.clone(), trickle("*", "restart")) else { panic!() };
    assert_ne!(etag, view.etag);
    assert_eq!(world.ask(a, trickle(&etag, "candidate")), Reply::Done);
}

#[test]
fn a_slot_that_cannot_be_filled_says_why() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let (a, b) = (world.publisher("s", "a"), world.publisher("s", "b"));
    opened(world.ask(a, publish("a1v1")));
    opened(world.ask(b, play("a1v1")));
    world.watch_session(1, "s");
    let key = world.session_key("s");
    let endpoint = *world.core.sessions[&key].players.first().unwrap();
    let stream = *world.core.sessions[&key].streams.keys().next().unwrap();
    let gap = |why| NodeFact::Slot { endpoint, slot: 0, kind: MediaKind::Video, stream, why };
    world.event(1, Some(key), gap(Some(common::wire::node::SlotGap::Codec)));
    world.event(1, Some(key), gap(Some(common::wire::node::SlotGap::Codec)));
    world.event(1, Some(key), gap(None));
    assert_eq!(world.seen(1), ["slot con_b Video0 - Codec", "slot con_b Video0 con_a"]);
}
