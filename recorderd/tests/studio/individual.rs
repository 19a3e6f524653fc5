//! Individual recordings.

use std::time::Duration;

use common::wire::recording::RecordingMode::Individual;
use recorderd::studio::protocol::{FileResult, Finish, FromStudio, Unfinished};

use crate::clip::{Coding, pictures, sound};
use crate::composed::LOSS_MS_MAX;
use crate::eye::{self, Tile};
use crate::process::{Studio, begin, cpu, turn};

const WHOLE: Tile = Tile { x: 0, y: 0, width: 640, height: 360 };

fn files(last: FromStudio) -> Vec<FileResult> {
    let FromStudio::Done { files, .. } = last else { panic!("{last:?}") };
    files
}

#[test]
fn every_stream_has_a_file_that_can_be_played_as_it_was_sent() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let clips = [(1, Coding::Vp8), (2, Coding::H264), (3, Coding::Vp9)]
        .map(|(n, coding)| (n, coding, pictures(n, (640, 360), coding)));
    let mut studio = Studio::record(begin(folder.path(), Individual));
    for (n, coding, clip) in clips {
        studio.join(u32::from(n), Some((clip, coding)), (n < 3).then(sound));
    }
    studio.play(Duration::from_secs(2));
    let joined_us = studio.now_us().cast_unsigned();
    studio.join(4, None, Some(sound()));
    studio.play(Duration::from_secs(3));
    studio.leave(3);
    let (_, ended) = studio.wait(|said| matches!(said, FromStudio::FileEnded(_)));
    assert!(
        matches!(&ended, FromStudio::FileEnded(file) if file.file == "str_3.webm" && file.grown == "str_3.mkv")
    );
    studio.play(Duration::from_secs(1));
    let files = files(studio.stop());
    let mut names: Vec<&str> = files.iter().map(|file| file.file.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["str_1.webm", "str_2.mkv", "str_3.webm", "str_4.webm"]);
    for file in &files {
        let path = folder.path().join(&file.file);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), file.bytes);
        if file.has_video {
            let seen = eye::pictures(&path);
            let expected = file.duration_us * 30 / 1_000_000;
            assert!(expected.abs_diff(seen.len() as u64) <= 3, "{}: {} {expected}", file.file, seen.len());
            assert!(
                seen.iter().all(|seen| seen.code(WHOLE).is_some_and(|code| u64::from(code.0) == file.stream))
            );
        }
        if file.has_audio {
            assert!(!eye::beeps(&path).0.is_empty());
        }
        if file.has_audio && file.has_video {
            let offsets = eye::offsets(&path, WHOLE, file.stream as u8);
            assert!(!offsets.is_empty() && offsets.iter().all(|apart| apart.abs() <= 40), "{offsets:?}");
        }
    }
    let late = files.iter().find(|file| file.file == "str_4.webm").unwrap();
    assert!((joined_us..joined_us + 60_000).contains(&late.start_us), "{} {joined_us}", late.start_us);
}

#[test]
fn files_of_a_killed_job_are_finished_afterwards() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut studio = Studio::record(begin(folder.path(), Individual));
    studio.join(1, Some((pictures(1, (640, 360), Coding::Vp8), Coding::Vp8)), Some(sound()));
    let both =
        |said: &FromStudio| matches!(said, FromStudio::FileBegan { has_audio: true, has_video: true, .. });
    let (_, began) = studio.wait(both);
    let FromStudio::FileBegan { start_us, .. } = began else { panic!("{began:?}") };
    studio.play(Duration::from_secs(4));
    let (told_ms, killed_ms) = studio.kill();
    let mut studio = Studio::warm();
    studio.say(&recorderd::studio::protocol::ToStudio::Finish(Box::new(Finish {
        mode: Individual,
        folder: folder.path().to_string_lossy().into_owned(),
        files: vec![Unfinished { file: "str_1.mkv".to_owned(), start_us: 7 }],
        into: String::new(),
        thumbnail: String::new(),
    })));
    let (_, last) = studio.wait(|said| matches!(said, FromStudio::Done { .. } | FromStudio::Failed { .. }));
    let files = files(last);
    let file = &files[0];
    assert!(file.has_audio && file.has_video && file.file == "str_1.webm" && file.start_us == 7);
    let left_ms = (start_us + file.duration_us).cast_signed() / 1_000;
    println!("killed at {killed_ms} ms: {left_ms} ms are left, {told_ms} were promised");
    assert!(left_ms >= told_ms && killed_ms - left_ms < LOSS_MS_MAX);
    let seen = eye::pictures(&folder.path().join(&file.file));
    assert!(seen.len() > 60 && seen.last().unwrap().code(WHOLE).is_some());
}

/// Twenty streams are remuxed for less than a third of a core.
#[test]
fn twenty_streams_are_little_work() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (clip, sound) = (pictures(1, (640, 360), Coding::Vp8), sound());
    let mut studio = Studio::record(begin(folder.path(), Individual));
    for n in 1..=20 {
        studio.join(n, Some((clip.clone(), Coding::Vp8)), Some(sound.clone()));
    }
    studio.play(Duration::from_secs(1));
    let before = cpu(studio.pid());
    studio.play(Duration::from_secs(4));
    let used = cpu(studio.pid()) - before;
    println!("{used:?} of CPU in 4 s");
    assert_eq!(files(studio.stop()).len(), 20);
    // Unoptimised code takes several times as long as a release.
    assert!(used < Duration::from_millis(4_000 * 6 / 10), "{used:?}");
}
