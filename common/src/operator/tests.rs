//! Pure: no clock, no I/O, no async.
//!
//! Both ends of a subscription: whatever happens, the console's window is the master's.

#![expect(clippy::wildcard_enum_match_arm, reason = "other rows are named by their keys")]

use proptest::prelude::*;

use super::*;
use crate::id::{NodeKey, SessionKey};
use crate::wire::node::{Load, Role};
use crate::wire::operator::{
    Adjust, Delta, EventRow, Keys, NodeRow, Order, Row, SessionRow, Subscribe, Topic, Window,
};

fn node(key: u64, cpu_permille: u16) -> NodeRow {
    NodeRow {
        node: NodeKey(key),
        name: format!("media_{key}"),
        role: Role::Media,
        state: "running".to_owned(),
        address: "10.0.0.1".to_owned(),
        connected: true,
        load: Load { cpu_permille, ..Load::default() },
        load_age_ms: Some(100),
        sessions: 1,
        connections: 0,
        history: Vec::new(),
        ext: Vec::new(),
    }
}

fn session(key: u64, connections: u32) -> SessionRow {
    let name = format!("ses_{key}");
    SessionRow {
        session: SessionKey(key),
        name,
        connections,
        node: Some(NodeKey(1)),
        ..SessionRow::default()
    }
}

fn listing(nodes: Vec<NodeRow>, sessions: Vec<SessionRow>) -> Listing {
    Listing { at_ms: 10_000, nodes, sessions, ..Listing::default() }
}

fn subscribe(topic: Topic, filter: &str, field: &str, window: (u32, u32)) -> View {
    let order = Order { field: field.to_owned(), descending: !field.is_empty() };
    let window = Window { first: window.0, count: window.1, from_end: topic == Topic::Events };
    let filter = filter.to_owned();
    View::new(Subscribe { sub: 1, topic, filter, order, window, interval_ms: 100, ext: Vec::new() })
}

/// Sends and acknowledges until the window is whole.
fn follow(view: &mut View, mirror: &mut Mirror, board: &Board, now_ms: &mut u64) {
    for _ in 0..100 {
        *now_ms += 1000;
        let Some(delta) = view.next(*now_ms, &Source::Board(board)) else { return };
        let seq = delta.seq;
        mirror.apply(delta);
        view.acknowledge(seq);
    }
    panic!("the window never becomes whole");
}

fn names(mirror: &Mirror) -> Vec<String> {
    mirror
        .rows()
        .map(|row| match row {
            Row::Node(row) => row.name.clone(),
            Row::Session(row) => format!("{} {}", row.name, row.connections),
            other => format!("{}", other.key()),
        })
        .collect()
}

#[test]
fn a_window_shows_the_rows_that_pass_in_order_with_their_counts() {
    let mut board = Board::default();
    board.update(listing(vec![node(1, 500), node(2, 900), node(3, 100)], vec![session(1, 3)]));
    let (mut view, mut mirror) = (subscribe(Topic::Nodes, "cpu>20", "", (0, 10)), Mirror::default());
    follow(&mut view, &mut mirror, &board, &mut 0);
    assert_eq!(names(&mirror), ["media_2", "media_1"]);
    assert_eq!((mirror.all, mirror.total), (3, 2));
    let Some(Row::Node(first)) = mirror.row(1) else { panic!("no node") };
    assert_eq!((first.connections, first.history.len()), (3, 1));
}

#[test]
fn only_what_changed_is_sent_and_only_after_the_last_was_acknowledged() {
    let mut board = Board::default();
    board.update(listing(vec![node(1, 1)], vec![session(1, 3), session(2, 2)]));
    let mut view = subscribe(Topic::Sessions, "", "", (0, 10));
    let first = view.next(0, &Source::Board(&board)).unwrap();
    assert_eq!((first.put.len(), first.keys), (2, Keys::All(vec![1, 2])));
    board.update(listing(vec![node(1, 1)], vec![session(1, 3), session(2, 1)]));
    assert_eq!(view.next(10_000, &Source::Board(&board)), None, "nothing was acknowledged");
    view.acknowledge(first.seq);
    let second = view.next(10_000, &Source::Board(&board)).unwrap();
    assert_eq!((second.put.len(), second.keys), (1, Keys::Same));
    view.acknowledge(second.seq);
    board.update(listing(vec![node(1, 1)], vec![session(1, 3), session(2, 1)]));
    assert_eq!(view.next(20_000, &Source::Board(&board)), None, "nothing changed");
    assert_eq!(view.next(20_001, &Source::Board(&board)), None, "too early");
}

#[test]
fn samples_come_once_and_add_up() {
    let mut board = Board::default();
    let (mut view, mut mirror) = (subscribe(Topic::Head, "", "", (0, 1)), Mirror::default());
    let mut now_ms = 0;
    for turn in 0..400_u16 {
        board.update(listing(vec![node(1, turn)], Vec::new()));
        if turn % 7 == 0 {
            follow(&mut view, &mut mirror, &board, &mut now_ms);
        }
    }
    follow(&mut view, &mut mirror, &board, &mut now_ms);
    let Some(Row::Head(head)) = mirror.row(0) else { panic!("no head") };
    let cpu: Vec<u16> = head.history.iter().map(|sample| sample.cpu_permille_max).collect();
    assert_eq!(cpu, (100..400).collect::<Vec<_>>());
}

#[test]
fn a_tail_slides() {
    let mut board = Board::default();
    let (mut view, mut mirror) = (subscribe(Topic::Events, "kind:a*", "", (0, 3)), Mirror::default());
    let mut now_ms = 0;
    let add = |board: &mut Board, kind: &str| {
        board.add_event(EventRow { kind: kind.to_owned(), ..EventRow::default() });
    };
    for kind in ["a1", "b", "a2", "a3", "a4"] {
        add(&mut board, kind);
    }
    follow(&mut view, &mut mirror, &board, &mut now_ms);
    assert_eq!((mirror.keys(), mirror.first, mirror.total), (&[3, 4, 5][..], 1, 4));
    add(&mut board, "a5");
    now_ms += 1000;
    let delta = view.next(now_ms, &Source::Board(&board)).unwrap();
    assert_eq!(delta.keys, Keys::Slid { gone: 1, new: vec![6] });
    assert_eq!(delta.put.len(), 1);
    mirror.apply(delta);
    assert_eq!(mirror.keys(), [4, 5, 6]);
}

#[test]
fn mistakes_are_told_once_and_corrected() {
    let board = Board::default();
    let mut view = subscribe(Topic::Nodes, "speed>3", "", (0, 10));
    let told = view.next(0, &Source::Board(&board)).unwrap();
    assert!(told.error.contains("no field `speed`"), "{}", told.error);
    view.acknowledge(told.seq);
    assert_eq!(view.next(1000, &Source::Board(&board)), None);
    let order = Order { field: "nonsense".to_owned(), descending: false };
    view.adjust(Adjust { sub: 1, filter: String::new(), order, window: Window::default() });
    let told = view.next(2000, &Source::Board(&board)).unwrap();
    assert!(told.error.contains("no field `nonsense`"), "{}", told.error);
    view.acknowledge(told.seq);
    let order = Order::default();
    view.adjust(Adjust { sub: 1, filter: String::new(), order, window: Window::default() });
    assert_eq!(view.next(3000, &Source::Board(&board)).unwrap().error, "");
}

#[test]
fn a_large_window_comes_in_parts_that_fit_a_frame() {
    let mut board = Board::default();
    let long = "x".repeat(400);
    let rows = (1..=2000).map(|key| SessionRow { name: format!("{long}{key}"), ..session(key, 1) }).collect();
    board.update(listing(vec![node(1, 1)], rows));
    let (mut view, mut mirror) = (subscribe(Topic::Sessions, "", "", (0, 2000)), Mirror::default());
    let first = view.next(1, &Source::Board(&board)).unwrap();
    assert!(crate::wire::encode(&first).len() < crate::limits::FRAME_BYTES_MAX / 2);
    assert!(first.put.len() < 2000);
    let seq = first.seq;
    mirror.apply(first);
    view.acknowledge(seq);
    assert!(!mirror.is_complete());
    follow(&mut view, &mut mirror, &board, &mut 10);
    assert!(mirror.is_complete());
    assert_eq!(mirror.keys().len(), 2000);
}

/// What a window must show, made without any cleverness.
fn expected(board: &Board, filter: &str, field: &str, window: (u32, u32)) -> Vec<String> {
    let filter = filter::Filter::parse(filter, field_names(&Topic::Sessions)).unwrap();
    let mut rows: Vec<&SessionRow> = board
        .sessions
        .iter()
        .filter(|row| filter.matches(&InTime { row: *row, at_ms: board.at_ms }))
        .collect();
    if field == "name" {
        rows.sort_by(|a, b| b.name.cmp(&a.name).then(a.session.cmp(&b.session)));
    } else {
        rows.sort_by_key(|row| (std::cmp::Reverse(row.connections), row.session));
    }
    let shown = rows.iter().skip(window.0 as usize).take(window.1 as usize);
    shown.map(|row| format!("{} {}", row.name, row.connections)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_consoles_window_is_the_masters(
        steps in proptest::collection::vec(
            (proptest::collection::btree_map(0_u64..40, 0_u32..6, 0..40), 0_u32..30, 0_u32..12, 0_usize..4, any::<bool>()),
            1..12,
        ),
    ) {
        let mut board = Board::default();
        let (mut view, mut mirror) = (subscribe(Topic::Sessions, "", "", (0, 5)), Mirror::default());
        let mut now_ms = 0;
        let mut unacknowledged: Option<Delta> = None;
        for (sessions, first, count, which, lazily) in steps {
            let rows = sessions.iter().map(|(key, connections)| session(*key, *connections)).collect();
            board.update(listing(vec![node(1, 1)], rows));
            let filter = ["", "connections>2", "name~1", "!ses_3"][which];
            let field = if which % 2 == 0 { "" } else { "name" };
            let order = Order { field: field.to_owned(), descending: !field.is_empty() };
            let window = Window { first, count, from_end: false };
            view.adjust(Adjust { sub: 1, filter: filter.to_owned(), order, window });
            if let Some(delta) = unacknowledged.take() {
                let seq = delta.seq;
                mirror.apply(delta);
                view.acknowledge(seq);
            }
            now_ms += 1000;
            if lazily {
                unacknowledged = view.next(now_ms, &Source::Board(&board));
                continue;
            }
            follow(&mut view, &mut mirror, &board, &mut now_ms);
            prop_assert_eq!(names(&mirror), expected(&board, filter, field, (first, count)));
        }
    }
}
