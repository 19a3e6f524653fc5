use common::id::Generation;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::journal::tests::{entry, journal};

const LIMITS: Limits = Limits { stall_us: 3 * SECOND_US };

fn composed() -> Job {
    Job::new(0, LIMITS, journal(RecordingMode::Composed), vec![entry(1)])
}

fn individual(roster: Vec<RosterEntry>) -> Job {
    Job::new(0, LIMITS, journal(RecordingMode::Individual), roster)
}

#[expect(clippy::cast_sign_loss, reason = "no test begins before its job")]
fn us(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

/// Feeds one input and gives what is to be done: neither `Save` nor reports of progress.
fn feed(job: &mut Job, now_s: f64, input: Input) -> Vec<Output> {
    let mut outputs = feed_all(job, now_s, input);
    outputs.retain(|output| !matches!(output, Output::Report(RecordingFact::Progress { .. })));
    outputs
}

/// As `feed`, with reports of progress.
fn feed_all(job: &mut Job, now_s: f64, input: Input) -> Vec<Output> {
    job.handle(us(now_s), input);
    job.check();
    let outputs: Vec<Output> = std::iter::from_fn(|| job.poll_output()).collect();
    outputs.into_iter().filter(|output| *output != Output::Save).collect()
}

fn progress(media_s: f64) -> Input {
    Input::Studio(FromStudio::Progress { media_us: us(media_s), bytes: 1000, warning: String::new() })
}

fn done(duration_s: f64) -> Input {
    let duration_us = us(duration_s);
    Input::Studio(FromStudio::Done { duration_us, bytes: 5000, files: Vec::new(), warning: String::new() })
}

fn ended() -> Input {
    Input::StudioEnded { why: "signal 11".to_owned() }
}

fn begin(name: &str, start_s: f64) -> Output {
    Output::Begin { name: name.to_owned(), start_us: us(start_s) }
}

fn running() -> Input {
    Input::Studio(FromStudio::Running)
}

fn file_began(stream: u64, file: &str) -> Input {
    Input::Studio(FromStudio::FileBegan {
        stream,
        file: file.to_owned(),
        start_us: 84_000,
        has_audio: true,
        has_video: true,
    })
}

fn result(grown: &str, file: &str) -> FileResult {
    FileResult {
        stream: 0,
        grown: grown.to_owned(),
        file: file.to_owned(),
        bytes: 70,
        start_us: 0,
        duration_us: 9_000_000,
        has_audio: true,
        has_video: true,
    }
}

#[test]
fn a_film_starts_grows_stops_and_is_ready() {
    let mut job = composed();
    assert_eq!(feed(&mut job, 0.0, Input::Tick), [begin("monday", 0.0)]);
    assert_eq!(job.status().0, "starting");
    assert_eq!(feed(&mut job, 0.1, Input::TapUp), []);
    assert_eq!(feed(&mut job, 0.2, running()), [Output::Report(RecordingFact::Started)]);
    for half in 1..10 {
        assert_eq!(feed(&mut job, f64::from(half) / 2.0, progress(f64::from(half) / 2.0)), []);
    }
    let told = RecordingFact::Progress { duration_ms: 5000, size_bytes: 1000, warning: String::new() };
    assert_eq!(feed_all(&mut job, 5.2, progress(5.0)), [Output::Report(told)]);
    assert_eq!(feed(&mut job, 6.0, Input::Stop), [Output::HangUp, Output::StopStudio]);
    assert_eq!((job.status().0, feed(&mut job, 6.1, Input::Stop)), ("stopped", vec![]));
    assert_eq!(feed(&mut job, 6.2, done(6.0)), []);
    let ready = RecordingFact::Ready { duration_ms: 6000, size_bytes: 5000, warning: String::new() };
    assert_eq!(feed(&mut job, 6.3, ended()), [Output::Report(ready)]);
    assert_eq!(job.status(), ("ready", 5000, 6_000_000));
    assert_eq!((job.is_running(), job.deadline()), (false, None));
}

#[test]
fn a_studio_that_dies_is_followed_by_another_one_and_the_pieces_are_joined() {
    let mut job = composed();
    feed(&mut job, 0.2, running());
    feed(&mut job, 4.0, progress(3.5));
    assert_eq!(feed(&mut job, 4.1, ended()), [begin("monday.2", 3.5)]);
    assert_eq!(feed(&mut job, 4.5, running()), []);
    assert_eq!(feed(&mut job, 5.0, progress(1.0)), []);
    assert_eq!(job.journal().duration_us(), 4_500_000);
    feed(&mut job, 6.0, Input::Stop);
    feed(&mut job, 6.5, done(2.5));
    let pieces = [("monday.mp4", 0), ("monday.2.mp4", 3_500_000)];
    let files: Vec<Unfinished> =
        pieces.map(|(file, start_us)| Unfinished { file: file.to_owned(), start_us }).to_vec();
    let join = Output::Join { files, into: "monday.mp4".to_owned() };
    assert_eq!(feed(&mut job, 6.6, ended()), [join]);
    let joined = Joined { duration_us: 6_000_000, bytes: 9000, ..Joined::default() };
    let outputs = feed(&mut job, 7.0, Input::Joined(Ok(joined)));
    let warning = "the studio ended unexpectedly (signal 11)".to_owned();
    assert_eq!(
        outputs,
        [Output::Report(RecordingFact::Ready { duration_ms: 6000, size_bytes: 9000, warning })]
    );
}

#[test]
fn four_deaths_within_a_minute_end_the_job_and_what_was_written_is_kept() {
    let mut job = composed();
    feed(&mut job, 0.2, running());
    feed(&mut job, 2.0, progress(2.0));
    for death in 1..=3_u32 {
        let outputs = feed(&mut job, f64::from(death) * 10.0, ended());
        assert!(matches!(outputs.as_slice(), [Output::Begin { .. }]), "{outputs:?}");
        feed(&mut job, f64::from(death) * 10.0 + 0.2, running());
    }
    let outputs = feed(&mut job, 40.0, ended());
    assert!(matches!(outputs.as_slice(), [Output::HangUp, Output::Join { files, .. }] if files.len() == 4));
    let joined = Joined { duration_us: 2_000_000, bytes: 9000, ..Joined::default() };
    let outputs = feed(&mut job, 41.0, Input::Joined(Ok(joined)));
    assert!(matches!(
        outputs.as_slice(),
        [Output::Report(RecordingFact::Failed { size_bytes: 9000, duration_ms: 2000, .. })]
    ));
    // Deaths that lie apart are all survived.
    let mut job = composed();
    for death in 1..20_u32 {
        feed(&mut job, f64::from(death) * 30.0, Input::TapUp);
        assert!(matches!(
            feed(&mut job, f64::from(death) * 30.0, ended()).as_slice(),
            [Output::Begin { .. }]
        ));
    }
}

#[test]
fn a_studio_that_gets_nothing_done_is_ended_by_force() {
    let mut job = composed();
    feed(&mut job, 0.2, running());
    feed(&mut job, 1.0, progress(1.0));
    assert_eq!(feed(&mut job, 3.0, progress(1.0)), []);
    assert_eq!(job.deadline(), Some(3_000_000 + 2 * SECOND_US).min(job.deadline()));
    assert_eq!(feed(&mut job, 4.0, Input::Tick), [Output::Abort]);
    assert_eq!(feed(&mut job, 4.5, Input::Tick), []);
    assert_eq!(feed(&mut job, 5.0, Input::Tick), [Output::Kill]);
    assert_eq!(feed(&mut job, 5.1, ended()), [begin("monday.2", 1.0)]);
    // And one that never begins.
    assert_eq!(feed(&mut job, 20.1, Input::Tick)[0], Output::Abort);
    assert_eq!(feed(&mut job, 20.2, ended()), [begin("monday.3", 15.2)]);
    // Files of streams grow only with media.
    let mut job = individual(Vec::new());
    feed(&mut job, 0.2, running());
    for second in 1..10 {
        assert!(!feed(&mut job, f64::from(second), progress(0.0)).contains(&Output::Abort));
    }
    assert_eq!(feed(&mut job, 12.1, Input::Tick), [Output::Abort]);
}

#[test]
fn a_studio_that_cannot_fails_the_job_at_once() {
    let mut job = composed();
    let why = "no element x264enc: install gstreamer1.0-plugins-ugly".to_owned();
    let outputs = feed(&mut job, 0.2, Input::Studio(FromStudio::Failed { why: why.clone() }));
    assert_eq!(outputs[1..], [Output::HangUp, Output::StopStudio]);
    let outputs = feed(&mut job, 0.3, ended());
    assert!(matches!(outputs.as_slice(), [Output::Join { .. }]));
    feed(&mut job, 0.4, Input::Joined(Err("nothing".to_owned())));
    let outputs = feed(&mut job, 0.5, Input::Joined(Err("nothing".to_owned())));
    assert_eq!(outputs, [Output::Report(RecordingFact::Failed { why, size_bytes: 0, duration_ms: 0 })]);
}

#[test]
fn individual_has_started_when_every_stream_has_and_fails_when_one_does_not() {
    let mut job = individual(vec![entry(1), entry(2), RosterEntry { record: false, ..entry(3) }]);
    assert_eq!(feed(&mut job, 0.2, running()), [begin("monday", 0.0)]);
    assert_eq!(feed(&mut job, 0.3, file_began(1, "one.mkv")), []);
    assert_eq!(feed(&mut job, 0.4, file_began(2, "two.mkv")), [Output::Report(RecordingFact::Started)]);

    let mut job = individual(vec![entry(1), entry(2)]);
    feed(&mut job, 0.2, running());
    feed(&mut job, 0.3, file_began(1, "one.mkv"));
    for second in 1..10 {
        feed(&mut job, f64::from(second), progress(0.0));
    }
    assert_eq!(feed(&mut job, 10.0, progress(0.0)), [Output::HangUp, Output::StopStudio]);
    let outcome = "stream str_CAM_2_con_2 sent no media within 10 s";
    assert_eq!(job.journal().phase, Phase::Finishing { failed: Some(outcome.to_owned()) });

    let mut journal = journal(RecordingMode::Individual);
    journal.spec.ignore_failed_streams = true;
    let mut job = Job::new(0, LIMITS, journal, vec![entry(1), entry(2)]);
    feed(&mut job, 0.2, running());
    assert_eq!(feed(&mut job, 10.0, progress(0.0)), [Output::Report(RecordingFact::Started)]);
    // One that leaves is not waited for.
    let mut job = individual(vec![entry(1), entry(2)]);
    feed(&mut job, 0.2, running());
    feed(&mut job, 0.3, file_began(1, "one.mkv"));
    let roster = Input::Roster { generation: Generation(9), roster: vec![entry(1)] };
    assert_eq!(feed(&mut job, 0.4, roster), [Output::Report(RecordingFact::Started)]);
    assert_eq!(job.journal().generation, Generation(9));
}

#[test]
fn torn_files_are_mended_and_all_are_packed() {
    let mut job = individual(vec![entry(1), entry(2)]);
    feed(&mut job, 0.2, running());
    feed(&mut job, 0.3, file_began(1, "one.mkv"));
    feed(&mut job, 0.4, file_began(2, "two.mkv"));
    feed(&mut job, 1.0, Input::Studio(FromStudio::FileEnded(result("two.mkv", "two.webm"))));
    feed(&mut job, 2.0, progress(1.9));
    assert_eq!(feed(&mut job, 2.1, ended()), [begin("monday", 1.9)]);
    feed(&mut job, 2.2, running());
    feed(&mut job, 2.3, file_began(1, "one-1.mkv"));
    assert_eq!(job.journal().files[2].start_us, 1_984_000);
    feed(&mut job, 3.0, file_began(1, "../evil"));
    feed(&mut job, 5.0, Input::Stop);
    let files = vec![result("one-1.mkv", "one-1.webm")];
    let last = FromStudio::Done { duration_us: 1, bytes: 70, files, warning: String::new() };
    feed(&mut job, 5.1, Input::Studio(last));
    let outputs = feed(&mut job, 5.2, ended());
    assert!(
        matches!(outputs.as_slice(), [Output::Join { files, .. }] if files.len() == 1 && files[0].file == "one.mkv")
    );
    let joined = Joined { files: vec![result("one.mkv", "one.webm")], ..Joined::default() };
    let outputs = feed(&mut job, 6.0, Input::Joined(Ok(joined)));
    let [Output::Pack { files }] = outputs.as_slice() else { panic!("{outputs:?}") };
    let names: Vec<&str> = files.iter().map(|file| file.file.as_str()).collect();
    assert_eq!(names, ["one.webm", "two.webm", "one-1.webm"]);
    let outputs = feed(&mut job, 6.5, Input::Packed(Ok(210)));
    assert!(matches!(
        outputs.as_slice(),
        [Output::Report(RecordingFact::Ready { duration_ms: 10_900, size_bytes: 210, .. })]
    ));
}

#[test]
fn a_full_disk_and_the_end_of_the_process_stop_the_job_and_say_why() {
    for (input, why) in [(Input::DiskFull, "the disk is full"), (Input::Shutdown, "the recorder ends")] {
        let mut job = composed();
        feed(&mut job, 0.2, running());
        let stopped = Output::Report(RecordingFact::Stopped { why: why.to_owned() });
        assert_eq!(feed(&mut job, 1.0, input.clone()), [stopped, Output::HangUp, Output::StopStudio]);
        assert_eq!(feed(&mut job, 1.1, input), []);
    }
    let mut job = composed();
    feed(&mut job, 0.2, running());
    feed(&mut job, 1.0, Input::DiskScarce);
    feed(&mut job, 2.0, progress(2.0));
    feed(&mut job, 4.0, progress(4.0));
    let outputs = feed_all(&mut job, 5.1, progress(5.0));
    assert!(matches!(outputs.as_slice(), [Output::Report(RecordingFact::Progress { warning, .. })]
        if warning == "the disk is nearly full; the media node cannot be reached"));
}

#[test]
fn what_a_killed_process_left_is_finished_by_the_next_one() {
    let mut job = composed();
    feed(&mut job, 0.2, running());
    feed(&mut job, 7.0, progress(6.5));
    let json = job.journal().to_json();
    let mut job = Job::recover(0, LIMITS, Journal::from_json(&json).unwrap());
    assert_eq!(job.status().0, "stopped");
    assert!(
        matches!(feed(&mut job, 0.0, Input::Tick).as_slice(), [Output::Join { files, .. }] if files.len() == 1)
    );
    let joined = Joined { duration_us: 6_700_000, bytes: 9000, ..Joined::default() };
    let outputs = feed(&mut job, 1.0, Input::Joined(Ok(joined)));
    let [Output::Report(ready)] = outputs.as_slice() else { panic!("{outputs:?}") };
    let warning = "the recorder ended unexpectedly: what came after about 6.500 s is missing".to_owned();
    assert_eq!(*ready, RecordingFact::Ready { duration_ms: 6700, size_bytes: 9000, warning });
    // And what was over stays over.
    let job = Job::recover(0, LIMITS, Journal::from_json(&job.journal().to_json()).unwrap());
    assert_eq!((job.outcome(), job.is_running()), (Some(ready), false));
}

#[test]
fn a_studio_that_does_not_end_is_killed_and_its_file_joined() {
    let mut job = composed();
    feed(&mut job, 0.2, running());
    feed(&mut job, 1.0, Input::Stop);
    assert_eq!(feed(&mut job, 60.9, Input::Tick), []);
    assert_eq!(feed(&mut job, 61.1, Input::Tick), [Output::Kill]);
    assert!(matches!(feed(&mut job, 61.2, ended()).as_slice(), [Output::Join { .. }]));
}

#[test]
fn without_a_media_node_the_job_ends_after_a_while() {
    let mut job = composed();
    feed(&mut job, 0.2, running());
    for second in 1..299 {
        feed(&mut job, f64::from(second), progress(f64::from(second)));
    }
    let outputs = feed(&mut job, 300.5, progress(300.0));
    assert!(outputs.contains(&Output::HangUp), "{outputs:?}");
}

/// Whatever happens in whatever order: nothing panics, what is asked for is asked for once, and when everything that is
/// asked for is carried out the job comes to its end and says so exactly once.
#[test]
fn every_history_ends_with_exactly_one_outcome() {
    for seed in 0..300 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mode = if random.random() { RecordingMode::Composed } else { RecordingMode::Individual };
        let mut job = Job::new(0, LIMITS, journal(mode), vec![entry(1), entry(2)]);
        let (mut now_us, mut has_studio, mut outcomes) = (0_u64, false, 0);
        let mut pending: Vec<Input> = Vec::new();
        for step in 0..400 {
            now_us += random.random_range(0..2_000_000);
            let input = match pending.pop() {
                Some(input) if random.random_ratio(3, 4) => input,
                waiting => {
                    pending.extend(waiting);
                    match random.random_range(0..14) {
                        0 if has_studio => {
                            has_studio = false;
                            ended()
                        }
                        1 if has_studio => running(),
                        2..6 if has_studio => progress(now_us as f64 / 1e6),
                        6 if has_studio => file_began(random.random_range(0..4), "a.mkv"),
                        7 if has_studio => Input::Studio(FromStudio::FileEnded(result("a.mkv", "a.webm"))),
                        8 => Input::TapDown,
                        9 => Input::TapUp,
                        10 if step > 300 => Input::Stop,
                        11 if step > 350 => Input::DiskFull,
                        12 if step > 380 => Input::Shutdown,
                        _ => Input::Tick,
                    }
                }
            };
            job.handle(now_us, input);
            drive(&mut job, &mut random, &mut pending, &mut has_studio, &mut outcomes);
            job.handle(now_us, Input::Tick);
            assert!(job.deadline().is_none_or(|due| due > now_us), "seed {seed}: would spin: {job:?}");
        }
        job.handle(now_us, Input::Stop);
        for _ in 0..20 {
            drive(&mut job, &mut random, &mut pending, &mut has_studio, &mut outcomes);
            now_us += 70_000_000;
            let input = pending.pop().unwrap_or_else(|| if has_studio { ended() } else { Input::Tick });
            has_studio &= !matches!(input, Input::StudioEnded { .. });
            job.handle(now_us, input);
        }
        drive(&mut job, &mut random, &mut pending, &mut has_studio, &mut outcomes);
        assert!(!job.is_running(), "seed {seed}: {job:?}");
        assert_eq!(outcomes, 1, "seed {seed}");
    }
}

fn drive(
    job: &mut Job,
    random: &mut SmallRng,
    pending: &mut Vec<Input>,
    has_studio: &mut bool,
    outcomes: &mut u32,
) {
    job.check();
    while let Some(output) = job.poll_output() {
        match output {
            Output::Begin { .. } => {
                assert!(!*has_studio, "two studios at one time");
                *has_studio = true;
                pending.push(Input::StudioStarted(None));
            }
            Output::Join { .. } => {
                assert!(!*has_studio, "files are joined while they grow");
                let joined = if random.random() { Ok(Joined::default()) } else { Err("no".to_owned()) };
                pending.push(Input::Joined(joined));
            }
            Output::Pack { .. } => pending.push(Input::Packed(Ok(1))),
            Output::Report(RecordingFact::Ready { .. } | RecordingFact::Failed { .. }) => *outcomes += 1,
            Output::Abort
            | Output::HangUp
            | Output::Kill
            | Output::Report(_)
            | Output::Save
            | Output::StopStudio => {}
        }
    }
    assert!(*outcomes <= 1);
}
