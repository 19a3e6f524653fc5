//! Nodes that fall silent, crash, return, drain.

use super::*;

/// Two participants of one session on node 1, node 2 idle.
fn call() -> (World, Actor) {
    let mut world = World::with_nodes(2);
    let properties = SessionProperties {
        custom_id: Some("s".to_owned()),
        media_node: Some("media_n1".to_owned()),
        ..SessionProperties::default()
    };
    world.app(Op::SessionCreate(properties));
    let a = world.publisher("s", "a");
    opened(world.ask(a.clone(), publish("a1v1")));
    let b = world.publisher("s", "b");
    opened(world.ask(b, play("a1v1")));
    world.watch_session(1, "s");
    world.app(watch(9, None, None));
    (world, a)
}

const CRASHED: [&str; 6] = [
    "node media_n1 Some(Running) Lost",
    "unpublished con_a NodeCrashed",
    "unsubscribed con_b con_a NodeCrashed",
    "left con_a NodeCrashed",
    "left con_b NodeCrashed",
    "destroyed NodeCrashed",
];

#[test]
fn a_node_is_lost_after_two_seconds_and_its_sessions_can_be_used_again_at_once() {
    let (mut world, a) = call();
    world.kill(1);
    world.advance(Duration::from_millis(1700));
    assert_eq!(world.seen(1), [""; 0]);
    world.advance(Duration::from_millis(600));
    assert_eq!(world.seen(1), CRASHED);
    assert_eq!(world.seen(9), ["node media_n1 Some(Running) Lost"]);
    assert_eq!(refusal(world.ask(a, publish("a1v1"))), Refusal::Token);
    world.session("s");
    let again = world.publisher("s", "a");
    opened(world.ask(again, publish("a1v1")));
    assert_eq!(world.nodes[&2].endpoints.len(), 1);
}

#[test]
fn a_suspect_node_gets_no_new_sessions() {
    let (mut world, _) = call();
    world.nodes.get_mut(&2).unwrap().up = false;
    world.advance(Duration::from_millis(1300));
    for number in 0..3 {
        let name = format!("t{number}");
        world.session(&name);
        let a = world.publisher(&name, "a");
        opened(world.ask(a, publish("a1v1")));
    }
    assert_eq!(world.nodes[&1].sessions.len(), 4);
}

#[test]
fn a_cut_of_one_second_changes_nothing() {
    let (mut world, _) = call();
    world.link_down(1);
    world.advance(Duration::from_secs(1));
    world.link_up(1);
    world.advance(Duration::from_secs(60));
    assert_eq!(world.seen(1), [""; 0]);
    assert_eq!(world.nodes[&1].endpoints.len(), 2);
}

#[test]
fn a_process_that_was_started_anew_has_crashed() {
    let (mut world, _) = call();
    world.kill(1);
    world.link_up(1);
    assert_eq!(world.seen(1), CRASHED);
    assert_eq!(world.seen(9), ["node media_n1 Some(Running) Lost", "node media_n1 Some(Lost) Running"]);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.stat("commands"), 0);
}

#[test]
fn a_lost_node_that_returns_closes_what_was_closed_meanwhile() {
    let (mut world, _) = call();
    world.link_down(1);
    world.advance(Duration::from_secs(3));
    assert_eq!(world.seen(1), CRASHED);
    assert_eq!(world.nodes[&1].endpoints.len(), 2, "it was only cut off");
    world.link_up(1);
    assert!(world.nodes[&1].sessions.is_empty() && world.nodes[&1].endpoints.is_empty());
    let Reply::Nodes(nodes) = world.query(Query::Node { node: "media_n1".to_owned() }) else { panic!() };
    assert_eq!(nodes[0].status, NodeStatus::Running);
}

#[test]
fn a_node_whose_loops_stand_still_is_lost() {
    let (mut world, _) = call();
    world.nodes.get_mut(&1).unwrap().stuck = true;
    world.advance(Duration::from_secs(6));
    assert_eq!(world.seen(1), CRASHED);
    world.nodes.get_mut(&1).unwrap().stuck = false;
    world.advance(Duration::from_secs(1));
    assert_eq!(world.seen(9).last().unwrap(), "node media_n1 Some(Lost) Running");
}

#[test]
fn a_master_that_was_paused_blames_itself() {
    let (mut world, _) = call();
    world.now.mono += Duration::from_secs(20);
    world.now.unix += 20_000;
    world.feed(Input::Tick);
    assert_eq!(world.seen(1), [""; 0]);
    world.advance(Duration::from_secs(20));
    assert_eq!(world.seen(1), [""; 0]);
    assert!(world.stat("lag_ms_total") > 19_000);
}

#[test]
fn many_nodes_that_fall_silent_together_are_held_for_a_while() {
    let mut world = World::with_nodes(5);
    world.app(watch(9, None, None));
    for node in [1, 2] {
        world.nodes.get_mut(&node).unwrap().up = false;
    }
    world.advance(Duration::from_secs(9));
    assert_eq!(world.seen(9), [""; 0]);
    world.advance(Duration::from_secs(3));
    assert_eq!(world.seen(9), ["node media_n1 Some(Running) Lost", "node media_n2 Some(Running) Lost"]);
    world.nodes.get_mut(&3).unwrap().up = false;
    world.advance(Duration::from_secs(3));
    assert_eq!(world.seen(9), ["node media_n3 Some(Running) Lost"], "fewer than five: no doubt");
}

#[test]
fn a_join_under_way_goes_to_another_node_when_the_first_dies() {
    let mut world = World::with_nodes(2);
    world.session("s");
    world.nodes.get_mut(&1).unwrap().mute = true;
    let a = world.publisher("s", "a");
    let req = world.send(a, publish("a1v1"));
    world.kill(1);
    world.advance(Duration::from_secs(3));
    opened(world.replies.remove(&req).unwrap());
    assert_eq!(world.nodes[&2].endpoints.len(), 1);
}

#[test]
fn a_drained_node_keeps_its_sessions_and_gets_no_new_ones() {
    let (mut world, _) = call();
    let drain = |on| Op::NodeDrain { node: "media_n1".to_owned(), on };
    assert_eq!(world.app(drain(true)), Reply::Done);
    assert_eq!(world.seen(1), ["node media_n1 Some(Running) WaitingIdleToTerminate"]);
    let c = world.publisher("s", "c");
    opened(world.ask(c, play("a1v1")));
    assert_eq!(world.nodes[&1].endpoints.len(), 3);
    for name in ["t", "u"] {
        world.session(name);
        let a = world.publisher(name, "a");
        opened(world.ask(a, publish("a1v1")));
    }
    assert_eq!(world.nodes[&2].endpoints.len(), 2);
    assert_eq!(world.app(drain(false)), Reply::Done);
    assert_eq!(world.told(1).iter().filter(|it| *it == "Drain").count(), 2);
    let reply = world.app(Op::NodeDrain { node: "media_x".to_owned(), on: true });
    assert_eq!(refusal(reply), Refusal::UnknownNode);
}

#[test]
fn a_node_that_was_told_to_end_gets_no_new_sessions_and_shows_it() {
    let (mut world, _) = call();
    world.app(watch(9, None, None));
    world.event(1, None, NodeFact::Draining);
    assert_eq!(world.seen(9), ["node media_n1 Some(Running) WaitingIdleToTerminate"]);
    world.session("t");
    let a = world.publisher("t", "a");
    opened(world.ask(a, publish("a1v1")));
    assert_eq!(world.nodes[&1].sessions.len(), 1);
    // With the link away and sessions left, it is lost as any other.
    world.kill(1);
    world.advance(Duration::from_millis(2300));
    assert_eq!(world.seen(9), ["node media_n1 Some(WaitingIdleToTerminate) Lost"]);
}

#[test]
fn a_drained_node_that_goes_is_not_lost() {
    let mut world = World::with_nodes(2);
    world.app(watch(9, None, None));
    world.event(1, None, NodeFact::Drained);
    world.kill(1);
    assert_eq!(
        world.seen(9),
        ["node media_n1 Some(Running) Terminating", "node media_n1 Some(Terminating) Terminated"]
    );
    assert_eq!(world.stat("nodes"), 1);
}

#[test]
fn late_messages_of_an_earlier_process_are_ignored() {
    let (mut world, _) = call();
    let endpoint = *world.core.endpoints.keys().next().unwrap();
    let what = NodeFact::Transport { endpoint, generation: Generation(0), state: TransportState::Failed };
    let message = FromNode::NodeEvent(NodeEvent { seq: 1, session: None, what });
    world.feed(Input::Node { node: NodeKey(1), boot: BootId(99), op: OpId(0), message });
    world.feed(Input::LinkDown { node: NodeKey(1), boot: BootId(99) });
    world.advance(Duration::from_secs(5));
    assert_eq!(world.seen(1), [""; 0]);
}

#[test]
fn a_lost_node_is_forgotten_after_a_day() {
    let (mut world, _) = call();
    world.kill(1);
    world.kill(2);
    world.advance(Duration::from_secs(3));
    assert_eq!(world.stat("nodes"), 2);
    world.now.unix += 25 * 3_600_000;
    world.advance(Duration::from_secs(1));
    assert_eq!((world.stat("nodes"), world.stat("commands")), (0, 0));
}
