//! Composed recordings.

use std::time::Duration;

use common::wire::recording::RecordingMode::Composed;
use recorderd::studio::protocol::{Finish, FromStudio, ToStudio, Unfinished};

use crate::clip::{Coding, pictures, sound};
use crate::eye::{self, Tile};
use crate::process::{Studio, begin, cpu, layers, peak_mb, roster, turn};

/// A kill may cost so much on a machine that is busy with other things; alone on it, it is about half.
pub(crate) const LOSS_MS_MAX: i64 = 2_500;

/// Times of pictures go up by 40 ms, and there are as many as the film is long.
fn check_timeline(seen: &[eye::Seen], duration_us: u64) {
    for pair in seen.windows(2) {
        let step = pair[1].at_ms - pair[0].at_ms;
        assert!((38..=42).contains(&step), "{step} ms at {} ms", pair[0].at_ms);
    }
    let expected = duration_us / 40_000;
    assert!(expected.abs_diff(seen.len() as u64) <= 2, "{} pictures in {duration_us} us", seen.len());
}

fn piece(file: &str, start_us: u64) -> Unfinished {
    Unfinished { file: file.to_owned(), start_us }
}

fn done(last: &FromStudio) -> (u64, u64) {
    let FromStudio::Done { duration_us, bytes, .. } = last else { panic!("{last:?}") };
    (*duration_us, *bytes)
}

const QUARTERS: [Tile; 4] = [
    Tile { x: 0, y: 0, width: 640, height: 360 },
    Tile { x: 640, y: 0, width: 640, height: 360 },
    Tile { x: 0, y: 360, width: 640, height: 360 },
    Tile { x: 640, y: 360, width: 640, height: 360 },
];

/// Publishers come and go around the first, whose tile is followed: four, then two, then four with a muted one.
#[test]
fn everybody_is_in_a_tile_of_their_own_and_sound_and_picture_stay_together() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let clips: Vec<_> = (1..=4).map(|n| pictures(n, (640, 360), Coding::Vp8)).collect();
    let mut studio = Studio::record(begin(folder.path(), Composed));
    studio.say(&ToStudio::Roster(roster(&[1, 2, 3, 4])));
    for n in 1..=4 {
        studio.join(n, Some((clips[n as usize - 1].clone(), Coding::Vp8)), (n == 1).then(sound));
    }
    let (started, _) = studio.wait(|said| matches!(said, FromStudio::Running));
    studio.play(Duration::from_secs(6));
    let wanted = layers(&studio);
    studio.say(&ToStudio::Roster(roster(&[1])));
    for n in 2..=4 {
        studio.leave(n);
    }
    studio.play(Duration::from_secs(5));
    studio.say(&ToStudio::Roster(roster(&[1, 2, 3, 4])));
    for n in 2..=4 {
        studio.join(n, Some((clips[n as usize - 1].clone(), Coding::Vp8)), None);
    }
    studio.play(Duration::from_secs(5));
    let length = studio.now_us();
    let (used, peak) = (cpu(studio.pid()), peak_mb(studio.pid()));
    let (duration_us, bytes) = done(&studio.stop());
    let path = folder.path().join("film.mp4");
    println!("started after {started:?}; {used:?} of CPU in {length} us; {peak} MB; {bytes} bytes");
    assert!(used.as_micros() * 2 <= length.unsigned_abs().into() && peak <= 200, "{used:?} {peak}");
    assert_eq!(wanted.get(&2), Some(&(640, 360)), "a quarter of the film is asked for");
    assert!((duration_us.cast_signed() - length).abs() < 600_000, "{duration_us} {length}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);

    let seen = eye::pictures(&path);
    check_timeline(&seen, duration_us);
    let codes = |picture: &eye::Seen| QUARTERS.map(|tile| picture.code(tile).map(|code| code.0));
    let all = [Some(1), Some(2), Some(3), Some(4)];
    let first = seen.iter().find(|picture| codes(picture) == all).expect("all four are seen");
    println!("all tiles can be read from {} ms on", first.at_ms);
    assert!(first.at_ms <= 2_000);
    let whole = Tile { x: 0, y: 0, width: 1280, height: 720 };
    assert!(
        seen.iter().any(|picture| picture.code(whole).is_some_and(|code| code.0 == 1)),
        "one alone fills the film"
    );
    let last = &seen[seen.len() - 5];
    assert_eq!(codes(last), all);
    // Counters move, in each tile.
    for tile in QUARTERS {
        let counters: std::collections::BTreeSet<u8> =
            seen[40..90].iter().filter_map(|picture| picture.code(tile)).map(|code| code.1).collect();
        assert!(counters.len() >= 14, "{counters:?}");
    }
    let mut offsets = eye::offsets(&path, QUARTERS[0], 1);
    offsets.extend(eye::offsets(&path, whole, 1));
    println!("sound after picture, ms: {offsets:?}");
    assert!(offsets.len() >= 6 && offsets.iter().all(|apart| apart.abs() <= 40), "{offsets:?}");
    let picture = std::fs::read(folder.path().join("film.jpg")).unwrap();
    assert!(picture.starts_with(&[0xff, 0xd8, 0xff]), "a JPEG");
}

#[test]
fn what_was_recorded_before_a_kill_can_be_played_and_is_finished_afterwards() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut studio = Studio::record(begin(folder.path(), Composed));
    studio.say(&ToStudio::Roster(roster(&[1])));
    studio.join(1, Some((pictures(1, (640, 360), Coding::Vp8), Coding::Vp8)), Some(sound()));
    studio.wait(|said| matches!(said, FromStudio::Running));
    studio.play(Duration::from_millis(5_300));
    let (told_ms, killed_ms) = studio.kill();
    let path = folder.path().join("film.mp4");
    let torn = eye::pictures(&path);
    let left_ms = torn.last().unwrap().at_ms;
    println!("killed at {killed_ms} ms: {left_ms} ms are left, {told_ms} were promised");
    assert!(left_ms >= told_ms && killed_ms - left_ms <= LOSS_MS_MAX);

    // A fragment is torn in two.
    let mut file = std::fs::read(&path).unwrap();
    file.truncate(file.len() - 3_000);
    std::fs::write(&path, &file).unwrap();
    let mut studio = Studio::warm();
    studio.say(&ToStudio::Finish(Box::new(Finish {
        mode: Composed,
        folder: folder.path().to_string_lossy().into_owned(),
        files: vec![piece("film.mp4", 0)],
        into: "film.mp4".to_owned(),
        thumbnail: "film.jpg".to_owned(),
    })));
    let (_, last) = studio.wait(|said| matches!(said, FromStudio::Done { .. } | FromStudio::Failed { .. }));
    let (duration_us, _) = done(&last);
    check_timeline(&eye::pictures(&path), duration_us);
    // Fragments of so plain a picture are small: what was cut off may reach into two of half a second.
    assert!(duration_us.cast_signed() / 1_000 >= left_ms - 1_200, "{left_ms} {duration_us}");
    assert!(folder.path().join("film.jpg").exists());
}

#[test]
fn nobody_a_late_picture_a_pause_other_codecs_and_sizes_do_not_stop_it() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut start = begin(folder.path(), Composed);
    (start.labels, start.audio_tiles) = (true, true);
    let mut studio = Studio::record(start);
    studio.wait(|said| matches!(said, FromStudio::Running));
    studio.play(Duration::from_secs(2));
    studio.say(&ToStudio::Roster(roster(&[1, 2])));
    studio.join(1, Some((pictures(1, (640, 360), Coding::Vp8), Coding::Vp8)), Some(sound()));
    // The second has no picture yet: an avatar.
    studio.join(2, None, None);
    studio.play(Duration::from_secs(2));
    // Sound and picture of the first are stuck.
    studio.pause(2, true);
    studio.pause(3, true);
    studio.play(Duration::from_secs(1));
    studio.pause(2, false);
    studio.pause(3, false);
    // The next pictures of the first are in another codec and larger.
    studio.leave(1);
    studio.join(1, Some((pictures(5, (1280, 720), Coding::H264), Coding::H264)), Some(sound()));
    studio.join(2, Some((pictures(6, (320, 180), Coding::Vp9), Coding::Vp9)), None);
    studio.play(Duration::from_secs(4));
    let length = studio.now_us();
    let (duration_us, _) = done(&studio.stop());
    let path = folder.path().join("film.mp4");
    let seen = eye::pictures(&path);
    check_timeline(&seen, duration_us);
    assert!((duration_us.cast_signed() - length).abs() < 600_000, "{duration_us} {length}");
    let halves =
        [Tile { x: 0, y: 0, width: 640, height: 720 }, Tile { x: 640, y: 0, width: 640, height: 720 }];
    let codes = |picture: &eye::Seen| halves.map(|tile| picture.code(tile).map(|code| code.0));
    assert!(seen.iter().any(|picture| codes(picture)[0] == Some(1)), "the first, beside an avatar");
    let last = &seen[seen.len() - 5];
    assert_eq!((codes(last), last.width, last.height), ([Some(5), Some(6)], 1280, 720));
    // A name is on each tile, light on dark.
    let inked = |x: usize| {
        (0..200)
            .flat_map(|dx| (690..718).map(move |y| (x + dx, y)))
            .filter(|&(x, y)| last.luma(x, y) > 150)
            .count()
    };
    assert!(inked(4) > 50 && inked(644) > 50, "{} {}", inked(4), inked(644));
    let (_, sound_end) = eye::beeps(&path);
    assert!((sound_end - duration_us.cast_signed() / 1_000).abs() < 150, "{sound_end} {duration_us}");
}

#[test]
fn sound_alone_is_opus_in_webm_and_survives_a_kill() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut start = begin(folder.path(), Composed);
    start.video = false;
    let mut studio = Studio::record(start.clone());
    studio.join(1, None, Some(sound()));
    studio.join(2, None, Some(sound()));
    studio.wait(|said| matches!(said, FromStudio::Running));
    studio.play(Duration::from_secs(4));
    let (duration_us, _) = done(&studio.stop());
    let path = folder.path().join("film.webm");
    let (beeps, end) = eye::beeps(&path);
    assert!(
        (end - duration_us.cast_signed() / 1_000).abs() < 100 && beeps.len() >= 2,
        "{beeps:?} {end} {duration_us}"
    );
    assert!((beeps[1] - beeps[0] - 2_000).abs() <= 5);

    // The second piece of the same sound is never ended.
    start.name = "second".to_owned();
    let mut studio = Studio::record(start);
    studio.join(1, None, Some(sound()));
    studio.wait(|said| matches!(said, FromStudio::Running));
    studio.play(Duration::from_secs(3));
    let (told_ms, killed_ms) = studio.kill();
    let mut studio = Studio::warm();
    studio.say(&ToStudio::Finish(Box::new(Finish {
        mode: Composed,
        folder: folder.path().to_string_lossy().into_owned(),
        files: vec![piece("film.webm", 0), piece("second.webm", 3_000_000)],
        into: "film.webm".to_owned(),
        thumbnail: String::new(),
    })));
    let (_, last) = studio.wait(|said| matches!(said, FromStudio::Done { .. } | FromStudio::Failed { .. }));
    let left_ms = done(&last).0.cast_signed() / 1_000 - 3_000;
    println!("killed at {killed_ms} ms: {left_ms} ms are left, {told_ms} were promised");
    assert!(left_ms >= told_ms && killed_ms - left_ms <= LOSS_MS_MAX);
    let (beeps, end) = eye::beeps(&path);
    assert!((end - left_ms - 3_000).abs() < 100 && beeps.len() >= 2, "{beeps:?} {end} {left_ms}");
}

#[test]
fn a_stop_before_anything_came_leaves_a_film_all_the_same() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let studio = Studio::record(begin(folder.path(), Composed));
    let (duration_us, _) = done(&{ studio }.stop());
    assert!((100_000..2_000_000).contains(&duration_us), "{duration_us}");
    assert!(!eye::pictures(&folder.path().join("film.mp4")).is_empty());
}
