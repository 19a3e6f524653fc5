//! masterd is killed and starts again from its store.

use super::*;

fn call() -> (World, Actor) {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    opened(world.ask(a.clone(), publish("a1v1")));
    let b = world.publisher("s", "b");
    opened(world.ask(b, play("a1v1")));
    world.ask(a.clone(), watch(1, None, None));
    (world, a)
}

fn views(world: &mut World) -> Reply {
    world.query(Query::Sessions)
}

#[test]
fn what_is_restored_is_what_was_stored() {
    let (mut world, _) = call();
    world.advance(Duration::from_secs(2));
    assert_eq!(world.core.records(), world.store);
    let before = views(&mut world);
    world.restart();
    assert_eq!(views(&mut world), before);
    assert_eq!(world.core.records(), world.store);
}

#[test]
fn media_goes_on_and_readers_resume() {
    let (mut world, a) = call();
    let Reply::Watching { head, .. } = world.ask(a.clone(), watch(2, None, None)) else { panic!() };
    world.told(1);
    world.restart();
    world.link_up(1);
    let Reply::Watching { backlog, gap, .. } = world.ask(a.clone(), watch(3, None, Some(head.0))) else {
        panic!()
    };
    assert_eq!((backlog.len(), gap), (0, false));
    world.advance(Duration::from_secs(60));
    assert_eq!(world.seen(3), [""; 0]);
    assert_eq!(world.told(1), [""; 0], "nothing to be told");
    assert_eq!(world.ask(a, Op::Leave), Reply::Done);
}

#[test]
fn a_node_that_was_heard_since_the_start_has_no_grace() {
    let (mut world, _) = call();
    world.restart();
    world.link_up(1);
    world.watch_session(5, "s");
    world.advance(Duration::from_secs(1));
    world.kill(1);
    world.advance(Duration::from_millis(1700));
    assert_eq!(world.seen(5), [""; 0]);
    world.advance(Duration::from_millis(600));
    assert_eq!(world.seen(5).last().unwrap(), "destroyed NodeCrashed");
}

#[test]
fn a_node_that_does_not_return_is_lost_after_the_grace() {
    let (mut world, _) = call();
    world.restart();
    world.nodes.get_mut(&1).unwrap().up = false;
    world.watch_session(5, "s");
    world.advance(Duration::from_millis(9900));
    assert_eq!(world.seen(5), [""; 0]);
    world.advance(Duration::from_millis(400));
    assert_eq!(world.seen(5).last().unwrap(), "destroyed NodeCrashed");
}

#[test]
fn a_node_that_was_restarted_meanwhile_has_crashed() {
    let (mut world, _) = call();
    world.restart();
    world.watch_session(5, "s");
    world.kill(1);
    world.link_up(1);
    assert_eq!(world.seen(5).last().unwrap(), "destroyed NodeCrashed");
}

#[test]
fn an_endpoint_that_ended_meanwhile_has_failed() {
    let (mut world, _) = call();
    world.restart();
    world.watch_session(5, "s");
    let node = world.nodes.get_mut(&1).unwrap();
    node.endpoints.pop_first();
    world.link_up(1);
    assert_eq!(
        without_slots(world.seen(5)),
        ["unpublished con_a NetworkDisconnect", "unsubscribed con_b con_a NetworkDisconnect"]
    );
}

#[test]
fn a_node_that_missed_a_line_up_is_told_again() {
    let (mut world, _) = call();
    world.restart();
    for at in world.nodes.get_mut(&1).unwrap().endpoints.values_mut() {
        at.generation = Generation(at.generation.0 - 1);
    }
    world.told(1);
    world.link_up(1);
    assert_eq!(world.told(1), ["Bind"], "only the one with slots");
}

/// Found by the simulator (`a_larger_cluster_holds_them_too`, seed 1066).
#[test]
fn a_line_up_that_changes_before_the_inventory_is_told_whole() {
    let (mut world, a) = call();
    world.restart();
    let node = world.nodes.get_mut(&1).unwrap();
    node.mute = true;
    for at in node.endpoints.values_mut() {
        at.generation = Generation(at.generation.0 - 1);
    }
    let inventory = world.link_up_without_inventory(1);
    assert_eq!(world.ask(a, Op::Leave), Reply::Done);
    world.from(1, FromNode::Inventory(inventory));
    let binds = |command: &super::super::model::Command| match &command.message {
        ToNode::Bind(bind) => Some(bind.binds.len()),
        _ => None,
    };
    let told: Vec<_> = world.core.commands.values().filter_map(binds).collect();
    assert_eq!(told, [2], "both sections, once");
}

#[test]
fn orphans_are_closed_after_the_grace() {
    let (mut world, _) = call();
    let node = world.nodes.get_mut(&1).unwrap();
    let known = *node.endpoints.values().next().unwrap();
    let orphan = EndpointAt { endpoint: EndpointKey(77), ..known };
    let stray = EndpointAt { session: SessionKey(78), endpoint: EndpointKey(79), ..known };
    node.sessions.insert(SessionKey(78), Generation(1));
    node.endpoints.insert(orphan.endpoint, orphan);
    node.endpoints.insert(stray.endpoint, stray);
    world.restart();
    world.link_up(1);
    world.told(1);
    world.advance(Duration::from_secs(29));
    assert_eq!(world.told(1), [""; 0]);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.told(1), ["SessionClose", "EndpointClose"]);
    assert_eq!((world.nodes[&1].sessions.len(), world.nodes[&1].endpoints.len()), (1, 2));
}

#[test]
fn a_join_that_was_under_way_has_not_happened() {
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    world.nodes.get_mut(&1).unwrap().mute = true;
    world.send(a.clone(), publish("a1v1"));
    world.restart();
    let node = world.nodes.get_mut(&1).unwrap();
    node.mute = false;
    world.link_up(1);
    assert_eq!(world.stat("connections_active"), 0);
    opened(world.ask(a, publish("a1v1")));
    world.advance(Duration::from_secs(40));
    assert_eq!(world.nodes[&1].endpoints.len(), 1);
}

#[test]
fn readers_of_a_session_that_closed_before_the_restart_learn_its_end() {
    let (mut world, a) = call();
    let Reply::Watching { head, .. } = world.ask(a.clone(), watch(2, None, None)) else { panic!() };
    world.app(Op::SessionDelete { session: "s".to_owned() });
    world.restart();
    let Reply::Watching { backlog, gap, .. } = world.ask(a, watch(3, None, Some(head.0))) else { panic!() };
    assert!(!gap);
    assert_eq!(show(&backlog.last().unwrap().what), "destroyed SessionClosedByServer");
    assert_eq!(world.core.records(), world.store);
}

#[test]
fn operation_ids_of_two_terms_differ() {
    let (mut world, _) = call();
    let before = world.core.keys.next();
    world.restart();
    assert!(world.core.keys.next() > before);
}

#[test]
fn rubbish_in_the_store_is_refused_by_name() {
    let now = Now::default();
    for (key, value, why) in [
        (vec![b'?'], vec![], "unknown key [3f] in the store"),
        (
            b"s12345678".to_vec(),
            vec![0xff],
            "malformed record [73, 31, 32, 33, 34, 35, 36, 37, 38] in the store",
        ),
    ] {
        let rng = StdRng::seed_from_u64(1);
        let error = Core::restore(now, CoreSettings::default(), Epoch(1), rng, [(key, value)]).unwrap_err();
        assert_eq!(error.to_string(), why);
    }
}
