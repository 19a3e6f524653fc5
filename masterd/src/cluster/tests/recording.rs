//! Recordings: asked for, started by themselves, stopped, finished; recorders that refuse, vanish and come back.

use common::wire::recording::{RecordingFact, RecordingReport};

use super::*;

/// Key of the recorder.
const RECORDER: u64 = 9;

/// A session `s` with a publisher `a`, a media node 1 and a recorder, watched by viewer 1.
fn recorded() -> (World, Actor) {
    recorded_with(CoreSettings::default(), SessionProperties::default())
}

fn recorded_with(settings: CoreSettings, properties: SessionProperties) -> (World, Actor) {
    let mut world = World::with(settings);
    world.link_up(1);
    add_recorder(&mut world, RECORDER);
    world.advance(Duration::from_secs(11));
    let properties = SessionProperties { custom_id: Some("s".to_owned()), ..properties };
    assert!(matches!(world.app(Op::SessionCreate(properties)), Reply::Session(_)));
    world.watch_session(1, "s");
    let a = world.publisher("s", "a");
    opened(world.ask(a.clone(), publish("a1v1")));
    world.seen(1);
    (world, a)
}

fn add_recorder(world: &mut World, key: u64) {
    world.nodes.insert(key, FakeNode { boot: 1, recorder: true, ..FakeNode::default() });
    world.link_up(key);
}

fn start() -> Op {
    Op::RecordingStart { session: "s".to_owned(), properties: None }
}

fn stop(id: &str) -> Op {
    Op::RecordingStop { recording: id.to_owned(), wait: false }
}

fn delete(id: &str) -> Op {
    Op::RecordingDelete { recording: id.to_owned() }
}

fn view(reply: Reply) -> RecordingView {
    match reply {
        Reply::Recording(view) => *view,
        other => panic!("no recording: {other:?}"),
    }
}

fn read(world: &mut World, id: &str) -> RecordingView {
    view(world.query(Query::Recording { recording: id.to_owned() }))
}

fn says(world: &mut World, id: &str, fact: RecordingFact) {
    let recording = world.core.find_recording(id).unwrap();
    says_of(world, RECORDER, recording, fact);
}

fn says_of(world: &mut World, node: u64, recording: RecordingKey, fact: RecordingFact) {
    world.event(node, None, NodeFact::Recording(RecordingReport { recording, fact }));
}

fn ready() -> RecordingFact {
    RecordingFact::Ready { duration_ms: 61_370, size_bytes: 500, warning: String::new() }
}

/// Starts a recording that runs.
fn run(world: &mut World, id: &str) {
    let req = world.send(Actor::App, start());
    assert!(!world.replies.contains_key(&req), "answered before it runs");
    says(world, id, RecordingFact::Started);
    assert_eq!(view(world.replies.remove(&req).unwrap()).status, RecordingStatus::Started);
}

#[test]
fn a_recording_starts_stops_and_becomes_ready() {
    let (mut world, a) = recorded();
    world.told(1);
    let req = world.send(Actor::App, start());
    assert_eq!(world.told(1), ["TapGrant"]);
    assert_eq!(world.told(RECORDER), ["RecordingStart"]);
    let session = world.query(Query::Session { session: "s".to_owned() });
    assert!(matches!(&session, Reply::Session(view) if view.recording));
    assert_eq!(read(&mut world, "s").status, RecordingStatus::Starting);
    assert_eq!(refusal(world.app(stop("s"))), Refusal::RecordingStarting);
    assert_eq!(refusal(world.app(delete("s"))), Refusal::RecordingRunning);
    world.ask(a, watch(2, None, None));

    says(&mut world, "s", RecordingFact::Started);
    let started = view(world.replies.remove(&req).unwrap());
    assert_eq!((started.status, started.properties.name.as_str()), (RecordingStatus::Started, "s"));
    assert_eq!(world.seen(1), ["recording s Started 0", "told of s"]);
    assert_eq!(world.seen(2), ["told of s"], "the status itself is for the application");

    let stopped = view(world.app(stop("s")));
    assert_eq!((stopped.status, stopped.size_bytes), (RecordingStatus::Stopped, 0));
    assert_eq!(
        world.seen(1),
        ["recording s Stopped RecordingStoppedByServer 0", "told of the end of s RecordingStoppedByServer"]
    );
    assert_eq!(refusal(world.app(stop("s"))), Refusal::UnknownRecording);
    says(&mut world, "s", ready());
    assert_eq!(world.seen(1), ["recording s Ready RecordingStoppedByServer 500"]);
    let done = read(&mut world, "s");
    assert_eq!((done.status, done.size_bytes, done.duration_ms), (RecordingStatus::Ready, 500, 61_370));
    assert_eq!(world.told(1), ["TapRevoke"]);
    assert!(world.nodes[&1].taps.is_empty());
    says(&mut world, "s", RecordingFact::Started);
    says(&mut world, "s", RecordingFact::Failed { why: String::new(), size_bytes: 0, duration_ms: 0 });
    assert_eq!(read(&mut world, "s"), done, "it never goes back");
}

#[test]
fn starts_are_refused_in_openvidus_order_and_one_of_many_wins() {
    let (mut world, a) = recorded();
    let other = |session: &str| Op::RecordingStart { session: session.to_owned(), properties: None };
    assert_eq!(refusal(world.app(other("x"))), Refusal::UnknownSession);
    world.session("empty");
    assert_eq!(refusal(world.app(other("empty"))), Refusal::SessionNotActive);
    let relayed = SessionProperties {
        custom_id: Some("relayed".to_owned()),
        relayed: true,
        ..SessionProperties::default()
    };
    world.app(Op::SessionCreate(relayed));
    assert_eq!(refusal(world.app(other("relayed"))), Refusal::RecordingConflict);
    let wins = world.send(Actor::App, start());
    for _ in 0..5 {
        assert_eq!(refusal(world.app(start())), Refusal::RecordingConflict);
    }
    assert_eq!(refusal(world.ask(a, start())), Refusal::Role);
    says(&mut world, "s", RecordingFact::Started);
    assert!(matches!(world.replies.remove(&wins), Some(Reply::Recording(_))));
    assert_eq!(refusal(world.app(stop("x"))), Refusal::UnknownRecording);
    assert_eq!(refusal(world.app(delete("x"))), Refusal::UnknownRecording);
}

#[test]
fn a_recording_takes_the_first_free_name() {
    let (mut world, _) = recorded();
    for id in ["s", "s~1", "s~2"] {
        run(&mut world, id);
        world.app(stop(id));
        says(&mut world, id, ready());
    }
    assert_eq!(world.app(delete("s~1")), Reply::Done);
    assert!(world.nodes[&RECORDER].jobs.values().all(|it| it.id != "s~1"));
    assert_eq!(refusal(world.app(delete("s~1"))), Refusal::UnknownRecording);
    run(&mut world, "s~1");
    let Reply::Recordings(all) = world.query(Query::Recordings) else { panic!() };
    let ids: Vec<&str> = all.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["s", "s~2", "s~1"]);
}

#[test]
fn the_recorder_is_told_who_is_there() {
    let (mut world, a) = recorded();
    run(&mut world, "s");
    let names = |world: &World| -> Vec<String> {
        let roster = world.nodes[&RECORDER].rosters.values().next().unwrap();
        roster.iter().map(|it| it.connection_id.clone()).collect()
    };
    assert_eq!(names(&world), ["con_a"]);
    let b = world.publisher("s", "b");
    opened(world.ask(b, publish("a1v1")));
    assert_eq!(names(&world), ["con_a", "con_b"]);
    world.ask(a, Op::Leave);
    assert_eq!(names(&world), ["con_b"]);
}

#[test]
fn without_a_free_recorder_a_start_is_refused_and_says_why() {
    let (mut world, _) = recorded();
    world.link_down(RECORDER);
    let Refusal::NoRecorder { why } = refusal(world.app(start())) else { panic!() };
    assert_eq!(why, "no recorder is free (media_n9: not connected)");
    world.nodes.get_mut(&RECORDER).unwrap().boot = 2;
    world.link_up(RECORDER);
    world.nodes.get_mut(&RECORDER).unwrap().refuses_jobs =
        Some(NodeError::Internal { why: "the element x264enc is missing".to_owned() });
    let Refusal::RecordingFailed { why } = refusal(world.app(start())) else { panic!() };
    assert_eq!(why, "the recorder refused: the element x264enc is missing");
    assert_eq!(world.seen(1).last().unwrap(), "recording s Failed 0");
    let failed = read(&mut world, "s");
    assert_eq!((failed.status, failed.recorder), (RecordingStatus::Failed, None));
    assert_eq!(world.app(delete("s")), Reply::Done);
    let mut world = World::with_nodes(1);
    world.session("s");
    let a = world.publisher("s", "a");
    opened(world.ask(a, publish("a1v1")));
    let reply = refusal(world.app(start()));
    assert_eq!(reply, Refusal::NoRecorder { why: "the cluster has no recorder".to_owned() });
}

#[test]
fn a_recorder_that_refuses_is_followed_by_another() {
    let (mut world, _) = recorded();
    world.nodes.get_mut(&RECORDER).unwrap().refuses_jobs = Some(NodeError::Busy);
    add_recorder(&mut world, 10);
    let req = world.send(Actor::App, start());
    // One that is busy is asked once more before it is given up; it is silent meanwhile.
    world.nodes.get_mut(&RECORDER).unwrap().refuses_jobs = Some(NodeError::Draining);
    world.advance(Duration::from_secs(3));
    let recording = world.core.find_recording("s").unwrap();
    assert!(world.nodes[&10].jobs.contains_key(&recording));
    assert_eq!(world.nodes[&1].taps[&recording], NodeKey(10));
    says_of(&mut world, RECORDER, recording, RecordingFact::Started);
    assert!(!world.replies.contains_key(&req), "only the recorder that has the job counts");
    says_of(&mut world, 10, recording, RecordingFact::Started);
    assert_eq!(view(world.replies.remove(&req).unwrap()).recorder, Some(NodeKey(10)));
}

#[test]
fn a_start_that_does_not_begin_in_time_has_failed_and_is_called_off() {
    let (mut world, _) = recorded();
    let req = world.send(Actor::App, start());
    world.advance(Duration::from_secs(16));
    assert!(matches!(world.replies.remove(&req), Some(Reply::Refused(Refusal::RecordingFailed { .. }))));
    assert_eq!(world.seen(1), ["recording s Failed 0"]);
    assert!(world.told(RECORDER).contains(&"RecordingStop".to_owned()));
    run(&mut world, "s~1");
}

#[test]
fn a_web_page_as_layout_fails_and_says_so() {
    let (mut world, _) = recorded();
    let properties = RecordingProperties {
        layout: "CUSTOM".to_owned(),
        custom_layout: "https://example.org/x".to_owned(),
        ..RecordingProperties::default()
    };
    let op = Op::RecordingStart { session: "s".to_owned(), properties: Some(Box::new(properties)) };
    let Refusal::RecordingFailed { why } = refusal(world.app(op)) else { panic!() };
    assert!(why.contains("web page"), "{why}");
    assert_eq!(world.told(RECORDER), [""; 0]);
}

#[test]
fn a_session_that_is_closed_ends_its_recording() {
    let (mut world, _) = recorded();
    run(&mut world, "s");
    world.seen(1);
    assert_eq!(world.app(Op::SessionDelete { session: "s".to_owned() }), Reply::Done);
    assert_eq!(
        world.seen(1),
        [
            "unpublished con_a SessionClosedByServer",
            "left con_a SessionClosedByServer",
            "recording s Stopped SessionClosedByServer 0",
            "destroyed SessionClosedByServer",
        ]
    );
    // Its log is kept until its recording is finished.
    world.advance(Duration::from_secs(100));
    says(&mut world, "s", ready());
    let head = match world.app(watch(3, Some("s"), Some(0))) {
        Reply::Watching { backlog, .. } => show(&backlog.last().unwrap().what),
        other => panic!("{other:?}"),
    };
    assert_eq!(head, "recording s Ready SessionClosedByServer 500");
    world.advance(Duration::from_secs(40));
    assert_eq!(refusal(world.app(watch(4, Some("s"), Some(0)))), Refusal::UnknownSession);
}

#[test]
fn a_session_that_closes_while_its_recording_starts_fails_it() {
    let (mut world, _) = recorded();
    let req = world.send(Actor::App, start());
    world.app(Op::SessionDelete { session: "s".to_owned() });
    assert!(matches!(world.replies.remove(&req), Some(Reply::Refused(Refusal::RecordingFailed { .. }))));
    let seen = world.seen(1);
    assert_eq!(
        seen[2..],
        [
            "recording s Stopped SessionClosedByServer 0",
            "recording s Failed SessionClosedByServer 0",
            "destroyed SessionClosedByServer",
        ]
    );
    assert!(world.told(RECORDER).contains(&"RecordingStop".to_owned()));
}

#[test]
fn an_emptied_session_is_recorded_for_a_while_and_ends_with_it() {
    let (mut world, a) = recorded();
    run(&mut world, "s");
    world.ask(a, Op::Leave);
    world.seen(1);
    world.advance(Duration::from_secs(60));
    // Joining does not call it off, publishing does.
    let b = world.publisher("s", "b");
    opened(world.ask(b.clone(), publish("a1v1")));
    world.advance(Duration::from_secs(100));
    assert_eq!(read(&mut world, "s").status, RecordingStatus::Started);
    world.ask(b, Op::Leave);
    world.seen(1);
    world.advance(Duration::from_secs(110));
    assert_eq!(world.seen(1), [""; 0]);
    world.advance(Duration::from_secs(11));
    assert_eq!(world.seen(1), ["recording s Stopped AutomaticStop 0", "destroyed AutomaticStop"]);
}

#[test]
fn a_stop_while_the_session_is_empty_closes_it() {
    let (mut world, a) = recorded();
    run(&mut world, "s");
    world.ask(a, Op::Leave);
    world.seen(1);
    assert_eq!(view(world.app(stop("s"))).status, RecordingStatus::Stopped);
    assert_eq!(
        world.seen(1),
        ["recording s Stopped RecordingStoppedByServer 0", "destroyed RecordingStoppedByServer"]
    );
}

#[test]
fn without_a_timeout_the_last_participant_ends_the_recording() {
    let settings = CoreSettings { recording_autostop: Duration::ZERO, ..CoreSettings::default() };
    let (mut world, a) = recorded_with(settings, SessionProperties::default());
    run(&mut world, "s");
    world.ask(a, Op::Leave);
    let seen = world.seen(1);
    assert_eq!(
        seen[seen.len() - 2..],
        ["recording s Stopped LastParticipantLeft 0", "destroyed LastParticipantLeft"]
    );
}

#[test]
fn a_recording_without_a_stream_stops_but_leaves_the_session() {
    let (mut world, a) = recorded();
    let b = world.publisher("s", "b");
    opened(world.ask(b, play("a1v1")));
    let own = world.core.connections.values().find(|it| it.record.name == "con_a").unwrap();
    let resource = world.core.endpoints[own.endpoints.first().unwrap()].record.resource.clone();
    world.ask(a, Op::EndpointDelete { resource });
    run(&mut world, "s");
    world.seen(1);
    world.advance(Duration::from_secs(5));
    assert!(world.core.session_names.contains_key("s"));
    world.advance(Duration::from_secs(116));
    let seen = world.seen(1);
    assert!(seen.contains(&"recording s Stopped AutomaticStop 0".to_owned()), "{seen:?}");
    assert!(world.core.session_names.contains_key("s"), "somebody is still there");
}

#[test]
fn always_starts_with_the_first_stream_until_it_was_stopped() {
    let always = SessionProperties { record_always: true, ..SessionProperties::default() };
    let (mut world, a) = recorded_with(CoreSettings::default(), always);
    says(&mut world, "s", RecordingFact::Started);
    assert_eq!(world.seen(1), ["recording s Started 0", "told of s"]);
    let b = world.publisher("s", "b");
    opened(world.ask(b.clone(), publish("a1v1")));
    world.app(stop("s"));
    says(&mut world, "s", ready());
    // Neither the next stream nor the first one after silence starts it again.
    world.ask(a, Op::Leave);
    let own = world.core.connections.values().find(|it| it.record.name == "con_b").unwrap();
    let resource = world.core.endpoints[own.endpoints.first().unwrap()].record.resource.clone();
    world.ask(b.clone(), Op::EndpointDelete { resource });
    opened(world.ask(b, publish("a1v1")));
    let Reply::Recordings(all) = world.query(Query::Recordings) else { panic!() };
    assert_eq!(all.len(), 1);
}

#[test]
fn always_without_a_recorder_fails_by_an_event() {
    let mut world = World::with_nodes(1);
    let always = SessionProperties {
        custom_id: Some("s".to_owned()),
        record_always: true,
        ..SessionProperties::default()
    };
    world.app(Op::SessionCreate(always));
    world.watch_session(1, "s");
    let a = world.publisher("s", "a");
    opened(world.ask(a, publish("a1v1")));
    assert_eq!(world.seen(1).last().unwrap(), "recording s Failed 0");
    assert_eq!(read(&mut world, "s").why, "the cluster has no recorder");
}

#[test]
fn a_recorder_that_is_cut_off_for_a_while_goes_on() {
    let (mut world, _) = recorded();
    run(&mut world, "s");
    world.link_down(RECORDER);
    world.advance(Duration::from_secs(8));
    world.link_up(RECORDER);
    world.advance(Duration::from_secs(30));
    assert_eq!(read(&mut world, "s").status, RecordingStatus::Started);
}

#[test]
fn a_recorder_that_stays_away_stops_its_recordings_and_finishes_them_at_its_return() {
    let (mut world, a) = recorded();
    run(&mut world, "s");
    world.seen(1);
    world.link_down(RECORDER);
    world.advance(Duration::from_secs(13));
    let recording = |seen: Vec<String>| -> Vec<String> {
        seen.into_iter().filter(|it| it.starts_with("recording")).collect()
    };
    assert_eq!(recording(world.seen(1)), ["recording s Stopped NodeCrashed 0"]);
    assert_eq!(read(&mut world, "s").status, RecordingStatus::Stopped);
    let b = world.publisher("s", "b");
    opened(world.ask(b, play("a1v1")));
    world.told(RECORDER);
    world.link_up(RECORDER);
    assert!(world.told(RECORDER).contains(&"RecordingStop".to_owned()));
    says(&mut world, "s", ready());
    assert_eq!(recording(world.seen(1)), ["recording s Ready NodeCrashed 500"]);
    assert_eq!(world.ask(a, Op::Leave), Reply::Done);
}

#[test]
fn a_restarted_recorder_says_what_it_has() {
    for has_it in [true, false] {
        let (mut world, _) = recorded();
        run(&mut world, "s");
        world.seen(1);
        let mut jobs = std::mem::take(&mut world.nodes.get_mut(&RECORDER).unwrap().jobs);
        world.kill(RECORDER);
        if has_it {
            jobs.values_mut().for_each(|it| it.running = false);
            world.nodes.get_mut(&RECORDER).unwrap().jobs = jobs;
        }
        world.link_up(RECORDER);
        let seen = world.seen(1);
        assert!(seen.contains(&"recording s Stopped NodeCrashed 0".to_owned()), "{seen:?}");
        if has_it {
            assert_eq!(
                world.told(RECORDER).last().unwrap(),
                "RecordingStop",
                "it says once more how it ended"
            );
            says(&mut world, "s", ready());
            assert_eq!(read(&mut world, "s").status, RecordingStatus::Ready);
        } else {
            assert_eq!(read(&mut world, "s").status, RecordingStatus::Failed);
        }
    }
}

#[test]
fn a_job_that_ends_by_itself_stops_the_recording() {
    let (mut world, _) = recorded();
    run(&mut world, "s");
    world.seen(1);
    says(&mut world, "s", RecordingFact::Stopped { why: "the disk is full".to_owned() });
    assert_eq!(world.seen(1)[0], "recording s Stopped AutomaticStop 0");
    assert_eq!(read(&mut world, "s").why, "the disk is full");
    says(&mut world, "s", ready());
    run(&mut world, "s~1");
    world.seen(1);
    says(&mut world, "s~1", RecordingFact::Failed { why: "x".to_owned(), size_bytes: 7, duration_ms: 1 });
    let seen = world.seen(1);
    let recording: Vec<_> = seen.iter().filter(|it| it.starts_with("recording")).collect();
    assert_eq!(recording, ["recording s~1 Stopped NodeCrashed 0", "recording s~1 Failed NodeCrashed 7"]);
}

#[test]
fn a_lost_media_node_ends_the_recording_and_it_is_finished() {
    let (mut world, _) = recorded();
    run(&mut world, "s");
    world.seen(1);
    world.kill(1);
    world.link_up(1);
    let seen = world.seen(1);
    assert_eq!(seen[seen.len() - 2..], ["recording s Stopped NodeCrashed 0", "destroyed NodeCrashed"]);
    assert_eq!(world.told(RECORDER).last().unwrap(), "RecordingStop");
    says(&mut world, "s", ready());
    assert_eq!(read(&mut world, "s").status, RecordingStatus::Ready);
}

#[test]
fn recordings_survive_a_restart_of_masterd() {
    let (mut world, a) = recorded();
    run(&mut world, "s");
    world.app(stop("s"));
    says(&mut world, "s", ready());
    run(&mut world, "s~1");
    let Reply::Recordings(before) = world.query(Query::Recordings) else { panic!() };
    world.restart();
    let Reply::Recordings(after) = world.query(Query::Recordings) else { panic!() };
    let brief = |all: &[RecordingView]| -> Vec<(String, RecordingStatus, u64)> {
        all.iter().map(|it| (it.id.clone(), it.status, it.size_bytes)).collect()
    };
    assert_eq!(brief(&after), brief(&before));
    world.link_up(1);
    world.link_up(RECORDER);
    world.advance(Duration::from_secs(60));
    assert_eq!(read(&mut world, "s~1").status, RecordingStatus::Started);
    // What changed while nobody listened is told anew.
    let b = world.publisher("s", "b");
    opened(world.ask(b, publish("a1v1")));
    let recording = world.core.find_recording("s~1").unwrap();
    assert_eq!(world.nodes[&RECORDER].rosters[&recording].len(), 2);
    world.ask(a, Op::Leave);
    assert_eq!(view(world.app(stop("s~1"))).status, RecordingStatus::Stopped);
}

#[test]
fn a_start_that_masterd_does_not_survive_ends_truly() {
    for begun in [true, false] {
        let (mut world, _) = recorded();
        world.send(Actor::App, start());
        world.restart();
        world.link_up(1);
        world.link_up(RECORDER);
        assert_eq!(read(&mut world, "s").status, RecordingStatus::Starting);
        if begun {
            says(&mut world, "s", RecordingFact::Started);
            assert_eq!(read(&mut world, "s").status, RecordingStatus::Started);
        } else {
            world.advance(Duration::from_secs(20));
            assert_eq!(read(&mut world, "s").status, RecordingStatus::Failed);
            let session = world.query(Query::Session { session: "s".to_owned() });
            assert!(matches!(&session, Reply::Session(view) if !view.recording));
        }
    }
}

#[test]
fn an_autostop_goes_on_after_a_restart_of_masterd() {
    let (mut world, a) = recorded();
    run(&mut world, "s");
    world.ask(a, Op::Leave);
    world.restart();
    world.link_up(1);
    world.link_up(RECORDER);
    world.advance(Duration::from_secs(121));
    assert!(!world.core.session_names.contains_key("s"));
    assert_eq!(read(&mut world, "s").reason, Some(Reason::AutomaticStop));
}

#[test]
fn a_removal_while_the_recorder_is_away_is_made_good_at_its_return() {
    let (mut world, _) = recorded();
    run(&mut world, "s");
    world.app(stop("s"));
    says(&mut world, "s", ready());
    world.link_down(RECORDER);
    assert_eq!(world.app(delete("s")), Reply::Done);
    assert_eq!(
        refusal(world.query(Query::Recording { recording: "s".to_owned() })),
        Refusal::UnknownRecording
    );
    world.restart();
    world.link_up(1);
    assert_eq!(world.nodes[&RECORDER].jobs.len(), 1);
    world.link_up(RECORDER);
    assert!(world.nodes[&RECORDER].jobs.is_empty());
    // Only now is its name free again.
    run(&mut world, "s");
}

#[test]
fn files_that_cannot_be_removed_keep_their_recording() {
    let (mut world, _) = recorded();
    run(&mut world, "s");
    world.app(stop("s"));
    says(&mut world, "s", ready());
    world.nodes.get_mut(&RECORDER).unwrap().refuses_jobs =
        Some(NodeError::Internal { why: "read-only file system".to_owned() });
    let Refusal::RecordingFailed { why } = refusal(world.app(delete("s"))) else { panic!() };
    assert!(why.ends_with("read-only file system"), "{why}");
    assert_eq!(read(&mut world, "s").status, RecordingStatus::Ready);
}

#[test]
fn a_stop_can_wait_for_complete_files() {
    let (mut world, _) = recorded();
    run(&mut world, "s");
    let waits = || Op::RecordingStop { recording: "s".to_owned(), wait: true };
    let req = world.send(Actor::App, waits());
    assert!(!world.replies.contains_key(&req));
    says(&mut world, "s", ready());
    assert_eq!(view(world.replies.remove(&req).unwrap()).status, RecordingStatus::Ready);
    run(&mut world, "s~1");
    let req = world.send(Actor::App, Op::RecordingStop { recording: "s~1".to_owned(), wait: true });
    world.advance(Duration::from_secs(26));
    assert_eq!(view(world.replies.remove(&req).unwrap()).status, RecordingStatus::Stopped);
}

#[test]
fn a_job_that_nobody_wants_is_stopped_and_its_files_stay() {
    let (mut world, _) = recorded();
    let stray = RecordingAt {
        recording: RecordingKey(4711),
        id: "old".to_owned(),
        generation: Generation(1),
        running: true,
    };
    world.nodes.get_mut(&RECORDER).unwrap().jobs.insert(RecordingKey(4711), stray);
    world.link_down(RECORDER);
    world.link_up(RECORDER);
    world.told(RECORDER);
    world.advance(Duration::from_secs(31));
    assert_eq!(world.told(RECORDER), ["RecordingStop"]);
    assert_eq!(world.nodes[&RECORDER].jobs.len(), 1);
}

#[test]
fn fifty_thousand_recordings_do_not_slow_a_start() {
    let (mut world, _) = recorded();
    run(&mut world, "s");
    world.app(stop("s"));
    says(&mut world, "s", ready());
    world.quick = true;
    let template = world.core.recordings.values().next().unwrap().record.clone();
    for number in 1..50_000_u64 {
        let key = RecordingKey(1_000_000 + number);
        let id = super::super::recording::text::show_id("s", number);
        let record = super::super::record::RecordingRecord { id, ..template.clone() };
        world.core.recording_names.insert(("s".to_owned(), number), key);
        world.core.recordings.insert(key, super::super::model::Recording::new(record));
    }
    let began = std::time::Instant::now();
    let req = world.send(Actor::App, start());
    let took = began.elapsed();
    says(&mut world, "s~50000", RecordingFact::Started);
    assert!(world.replies.contains_key(&req));
    assert!(took < Duration::from_millis(200), "{took:?}");
}
