use common::wire::media::{Gap, GapWhy, Report, Switched, TrackAdded, TrackCodec};

use super::*;
use crate::journal::tests::entry;

const SECOND: i64 = 1_000_000;

fn codec_of(name: &str) -> TrackCodec {
    TrackCodec { name: name.to_owned(), clock_hz: 90_000, channels: 0, fmtp: String::new() }
}

fn kind_of(name: &str) -> MediaKind {
    if name == "OPUS" { MediaKind::Audio } else { MediaKind::Video }
}

fn began(track: u32, stream: u64, name: &str) -> Event {
    Event::Began(TrackHeader {
        track: TrackId(track),
        stream: StreamKey(stream),
        kind: kind_of(name),
        codec: codec_of(name),
        payload_type: 96,
        ssrc: 1,
        ext: Vec::new(),
    })
}

fn packet(track: u32, seq: u64, at: i64, is_start: bool) -> Event {
    let packet = Packet {
        ring_seq: RingSeq(seq),
        // The node's clock is 100 s ahead of recording time.
        arrival_us: u64::try_from(at + 100 * SECOND).unwrap(),
        flags: u8::from(is_start),
        level: Packet::NO_LEVEL,
        orientation: 0,
        bytes: vec![0x80; 20],
    };
    Event::Packets { track: TrackId(track), packets: vec![packet] }
}

/// Outputs in short.
fn drain(intake: &mut Intake) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(output) = intake.poll_output() {
        told.push(match output {
            Output::Keyframe(track) => format!("keyframe {track}"),
            Output::Want { stream, kind, spatial_max } => format!("want {stream} {kind:?} {spatial_max:?}"),
            Output::Studio(ToStudio::Roster(roster)) => format!("roster {}", roster.len()),
            Output::Studio(ToStudio::TrackAdd(add)) => {
                format!("add {} {} {} [{}]", add.track, add.codec.name(), add.stream, add.file)
            }
            Output::Studio(ToStudio::Rtp { track, arrival_us, .. }) => format!("rtp {track} {arrival_us}"),
            Output::Studio(ToStudio::Report { track, arrival_us, .. }) => {
                format!("report {track} {arrival_us}")
            }
            Output::Studio(ToStudio::Gap { track }) => format!("gap {track}"),
            Output::Studio(ToStudio::TrackRemove { track }) => format!("remove {track}"),
            Output::Studio(other) => format!("{other:?}"),
        });
    }
    told
}

fn tapped(mode: RecordingMode, roster: Vec<RosterEntry>) -> Intake {
    let mut intake = Intake::new(mode, true, true);
    intake.begin_piece(0);
    intake.set_roster(roster);
    intake.tap_up(ClockMap::new(100_000_000, 0, 0));
    drop(drain(&mut intake));
    intake
}

#[test]
fn what_the_roster_names_is_wanted_and_what_it_drops_is_not() {
    let mut intake = Intake::new(RecordingMode::Individual, true, true);
    let (mut one, mut two) = (entry(1), entry(2));
    two.record = false;
    intake.set_roster(vec![one.clone(), two.clone()]);
    assert_eq!(drain(&mut intake), ["want st:1 Audio Some(255)", "want st:1 Video Some(255)"]);
    intake.tap_up(ClockMap::new(0, 0, 0));
    assert_eq!(drain(&mut intake), ["want st:1 Audio Some(255)", "want st:1 Video Some(255)"]);
    one.has_video = false;
    two.record = true;
    two.has_audio = false;
    intake.set_roster(vec![one, two]);
    assert_eq!(drain(&mut intake), ["want st:1 Video None", "want st:2 Video Some(255)"]);
    // A film shows everybody.
    let mut intake = Intake::new(RecordingMode::Composed, false, true);
    intake.set_roster(vec![RosterEntry { record: false, ..entry(3) }]);
    assert_eq!(drain(&mut intake), ["want st:3 Video Some(255)"]);
}

#[test]
fn packets_reach_the_studio_in_recording_time() {
    let mut intake = tapped(RecordingMode::Composed, vec![entry(1)]);
    intake.take(0, began(9, 1, "VP8"));
    intake.take(SECOND, packet(9, 1, SECOND, true));
    let report = Report { ntp: 1, rtp_timestamp: 2, arrival_us: 102_000_000 };
    intake.take(0, Event::Report { track: TrackId(9), report });
    intake.take(0, Event::Gap { track: TrackId(9), gap: Gap { skipped: 3, why: GapWhy::Lost } });
    intake.take(0, packet(10, 1, SECOND, true));
    intake.take(0, Event::Ended { track: TrackId(9), why: EndWhy::Unpublished });
    assert_eq!(
        drain(&mut intake),
        ["add 1 VP8 1 []", "rtp 1 1000000", "report 1 2000000", "gap 1", "remove 1"]
    );
    assert_eq!(intake.counts(), Counts { packets: 1, bytes: 20, gaps: 1 });
    // Sound from before the begin is of no use, pictures are.
    intake.take(0, began(12, 1, "OPUS"));
    intake.take(0, began(13, 1, "VP8"));
    intake.take(0, packet(12, 1, -SECOND, true));
    intake.take(0, packet(13, 1, -SECOND, true));
    assert_eq!(drain(&mut intake), ["add 2 Opus 1 []", "add 3 VP8 1 []", "rtp 3 -1000000"]);
    intake.take(0, began(11, 1, "THEORA"));
    assert_eq!(
        (drain(&mut intake).len(), intake.take_warnings()),
        (0, vec!["THEORA cannot be recorded".to_owned()])
    );
}

#[test]
fn a_new_studio_is_given_everything_since_its_begin_in_the_order_of_arrival() {
    let mut intake = tapped(RecordingMode::Composed, vec![entry(1)]);
    intake.take(0, began(8, 1, "OPUS"));
    intake.take(0, began(9, 1, "VP8"));
    for second in 0..8 {
        intake.take(second * SECOND, packet(9, 1, second * SECOND, second % 3 == 0));
        intake.take(second * SECOND, packet(8, 1, second * SECOND + 1, true));
    }
    drop(drain(&mut intake));
    intake.end_piece();
    intake.take(8 * SECOND, packet(9, 2, 8 * SECOND, false));
    assert_eq!(drain(&mut intake), [""; 0]);
    intake.begin_piece(7 * SECOND + 1);
    assert_eq!(
        drain(&mut intake),
        [
            "roster 1",
            "add 1 Opus 1 []",
            "add 2 VP8 1 []",
            "rtp 2 -1000001",
            "rtp 2 -1",
            "rtp 1 0",
            "rtp 2 999999"
        ]
    );
}

#[test]
fn each_time_a_stream_is_recorded_has_a_file_of_its_own() {
    let name = "str_CAM_1_con_1";
    let mut intake = tapped(RecordingMode::Individual, vec![entry(1)]);
    intake.take(0, began(8, 1, "OPUS"));
    intake.take(0, began(9, 1, "VP8"));
    assert_eq!(drain(&mut intake), [format!("add 1 Opus 1 [{name}]"), format!("add 2 VP8 1 [{name}]")]);
    // Not recorded for a while.
    intake.set_roster(vec![RosterEntry { record: false, ..entry(1) }]);
    intake.set_roster(vec![entry(1)]);
    drop(drain(&mut intake));
    intake.take(0, began(10, 1, "OPUS"));
    intake.take(0, began(11, 1, "VP8"));
    assert_eq!(drain(&mut intake), [format!("add 3 Opus 1 [{name}-1]"), format!("add 4 VP8 1 [{name}-1]")]);
    // Another codec.
    intake.take(0, began(12, 1, "H264"));
    assert_eq!(
        drain(&mut intake),
        ["remove 4".to_owned(), format!("add 3 Opus 1 [{name}-2]"), format!("add 5 H264 1 [{name}-2]")]
    );
    // Another studio.
    intake.end_piece();
    intake.begin_piece(0);
    let told = drain(&mut intake);
    assert!(
        told.contains(&format!("add 5 H264 1 [{name}-3]")) && told.contains(&"keyframe t:12".to_owned()),
        "{told:?}"
    );
}

#[test]
fn a_lost_tap_goes_on_where_it_was_under_the_same_numbers() {
    let mut intake = tapped(RecordingMode::Composed, vec![entry(1)]);
    intake.take(0, began(9, 1, "VP8"));
    intake.take(0, packet(9, 77, 0, true));
    intake.take(0, Event::Lost { code: None, why: "gone".to_owned() });
    drop(drain(&mut intake));
    let (resume, replay_ms) = intake.resume(Some(SECOND), 3 * SECOND);
    assert_eq!((resume.len(), resume[0].after, replay_ms), (1, RingSeq(77), 2000));
    assert_eq!(intake.resume(None, 0).1, 0);
    intake.tap_up(ClockMap::new(100_000_000, 0, 0));
    intake.take(0, began(1, 1, "VP8"));
    intake.take(0, packet(1, 78, SECOND, false));
    assert_eq!(
        drain(&mut intake),
        ["want st:1 Audio Some(255)", "want st:1 Video Some(255)", "add 1 VP8 1 []", "rtp 1 1000000"]
    );
    intake.forget_source();
    assert_eq!(intake.resume(Some(0), 0).0, []);
}

#[test]
fn the_studio_chooses_layers_and_key_frames() {
    let mut intake = tapped(RecordingMode::Composed, vec![entry(1)]);
    intake.take(
        0,
        Event::TrackAdded(TrackAdded {
            track: TrackId(9),
            stream: StreamKey(1),
            kind: MediaKind::Video,
            codec: codec_of("VP8"),
            rids: vec!["q".to_owned(), "h".to_owned(), "f".to_owned()],
            ext: Vec::new(),
        }),
    );
    intake.take(0, began(9, 1, "VP8"));
    intake.take(
        0,
        Event::Switched { track: TrackId(9), switched: Switched { spatial: 0, rid: "q".to_owned() } },
    );
    drop(drain(&mut intake));
    intake.want_layer(1, 640, 360);
    intake.want_layer(1, 640, 360);
    intake.want_layer(99, 640, 360);
    intake.want_keyframe(1);
    intake.want_keyframe(99);
    assert_eq!(drain(&mut intake), ["want st:1 Video Some(1)", "keyframe t:9"]);
    intake.want_layer(1, 0, 0);
    assert_eq!(drain(&mut intake), ["want st:1 Video Some(0)"]);
    intake.take(0, packet(9, 1, 0, true));
    drop(drain(&mut intake));
    intake.tick(5 * SECOND);
    assert_eq!(drain(&mut intake), [""; 0]);
    intake.tick(11 * SECOND);
    intake.tick(12 * SECOND);
    assert_eq!(drain(&mut intake), ["keyframe t:9"]);
}

#[test]
fn a_label_is_a_name_and_never_more_than_text() {
    let labelled = |client: &str, server: &str| {
        label(&RosterEntry { client_data: client.to_owned(), server_data: server.to_owned(), ..entry(1) })
    };
    assert_eq!(labelled(r#"{"clientData":"Ann\u0007"}"#, ""), "Ann");
    assert_eq!(labelled("Bob", "x"), "Bob");
    assert_eq!(labelled("", r#"{"name":"Cy"}"#), "Cy");
    assert_eq!(labelled("", ""), "con_1");
    assert_eq!(labelled(&"x".repeat(1000), "").len(), 64);
}
