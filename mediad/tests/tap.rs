//! What a recorder gets of a session: publisher, router and tap on virtual time over a lossy network.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "the rig is shared between test binaries")]

mod rig;

use common::id::{ConnectionKey, Generation, StreamKey};
use common::wire::media::{
    Gap, GapWhy, Packet, PauseWhy, Paused, Report, Resume, RingSeq, Switched, TrackId, TrackRecord,
};
use common::wire::node::{MediaKind, Permit};
use mediad::router::{Look, LookWant};
use mediad::rtp::{Header, extend_sequence};
use mediad::tap::feed::{Begin, Feed};
use mediad::tap::records::Records;

use rig::{Net, Receiving, Rig, SESSION};

const REORDER_US: u64 = 300_000;

/// The recorder's end of one track.
struct Tap {
    kind: MediaKind,
    spatial_max: u8,
    begin: Begin,
    feed: Option<Feed>,
    records: Records,
    /// Reads nothing while it is stuck.
    stuck: bool,
    got: Receiving,
    packets: Vec<Packet>,
    noted: usize,
    gaps: Vec<Gap>,
    reports: Vec<Report>,
    switches: Vec<Switched>,
    pauses: Vec<Paused>,
    needed_keyframe: bool,
}

impl Tap {
    fn new(kind: MediaKind, begin: Begin) -> Self {
        Self {
            kind,
            spatial_max: u8::MAX,
            begin,
            feed: None,
            records: Records::default(),
            stuck: false,
            got: Receiving::default(),
            packets: Vec::new(),
            noted: 0,
            gaps: Vec::new(),
            reports: Vec::new(),
            switches: Vec::new(),
            pauses: Vec::new(),
            needed_keyframe: false,
        }
    }

    fn video() -> Self {
        Self::new(MediaKind::Video, Begin::Live)
    }

    /// What the tap's tasks do: looks every tenth of a second, reads every hundredth.
    fn turn(&mut self, rig: &mut Rig) {
        if rig.ms.is_multiple_of(100) {
            self.look(rig);
        }
        if rig.ms.is_multiple_of(10) && !self.stuck {
            self.read(rig.ms);
        }
    }

    fn look(&mut self, rig: &mut Rig) {
        let (reading, keyframe) = self.feed.as_ref().map_or((None, None), Feed::needs);
        self.needed_keyframe |= keyframe.is_some();
        let (stream, kind, spatial_max) = (StreamKey(1), self.kind, self.spatial_max);
        let wants = vec![LookWant { stream, kind, spatial_max, reading, keyframe }];
        let seen = rig.router.look(rig.now(), &Look { session: SESSION, wants });
        assert_eq!(seen.clock_us, rig.ms * 1000);
        let Some(track) = seen.tracks.iter().find(|track| track.kind == self.kind) else { return };
        match &mut self.feed {
            Some(feed) => feed.see(track),
            None => self.feed = Feed::new(seen.clock_us, TrackId(1), track, self.begin, REORDER_US),
        }
    }

    fn read(&mut self, ms: u64) {
        let Some(feed) = &mut self.feed else { return };
        let mut more = true;
        while more {
            more = feed.pump(ms * 1000, &mut self.records);
            for record in self.records.take() {
                match record {
                    TrackRecord::Packets(packets) => self.packets.extend(packets.packets),
                    TrackRecord::Gap(gap) => self.gaps.push(gap),
                    TrackRecord::Report(report) => self.reports.push(report),
                    TrackRecord::Switched(switched) => self.switches.push(switched),
                    TrackRecord::Paused(paused) => self.pauses.push(paused),
                    TrackRecord::End(_) | TrackRecord::TrackHeader(_) => panic!("a feed does not end itself"),
                }
            }
        }
        for packet in self.packets.iter().skip(self.noted) {
            let header = Header::parse(&packet.bytes).unwrap();
            assert_eq!((packet.bytes[0], header.ssrc), (0x80, feed.header().ssrc));
            assert_eq!(header.payload_type, feed.header().payload_type);
            let index = extend_sequence(self.got.highest.max(1 << 16), header.sequence);
            self.got.note(index, false, &header, &packet.bytes[12..], ms);
        }
        self.noted = self.packets.len();
    }

    /// Sequence numbers that are missing are those that were told to be.
    fn check_told(&self) {
        let told: u64 = self.gaps.iter().map(|gap| gap.skipped).sum();
        assert_eq!(self.got.holes().len() as u64, told, "{:?}", self.gaps);
        assert_eq!(self.got.duplicates, 0);
        let arrivals = self.packets.windows(2);
        assert!(
            arrivals
                .filter(|pair| pair[1].flags & Packet::LATE == 0 && pair[0].flags & Packet::LATE == 0)
                .all(|pair| pair[0].arrival_us <= pair[1].arrival_us)
        );
    }
}

fn run(rig: &mut Rig, ms: u64, publishing: &[usize], taps: &mut [&mut Tap]) {
    for _ in 0..ms {
        rig.run(1, publishing);
        for tap in &mut *taps {
            tap.turn(rig);
        }
    }
}

#[test]
fn a_tap_gets_exactly_what_was_sent() {
    let mut rig = Rig::new(1);
    let publisher = rig.publisher(1, &[""]);
    let (mut video, mut audio) = (Tap::video(), Tap::new(MediaKind::Audio, Begin::Live));
    run(&mut rig, 3000, &[publisher], &mut [&mut video, &mut audio]);
    run(&mut rig, 100, &[], &mut [&mut video, &mut audio]);
    video.got.check_continuous();
    video.check_told();
    audio.check_told();
    let sent: Vec<u32> = rig.clients[publisher].flows.iter().map(|flow| flow.frame).collect();
    let frames = |tap: &Tap| tap.got.got.values().filter(|got| got.part + 1 == got.parts).count() as u32;
    assert_eq!([frames(&video), frames(&audio)], sent[..]);
    assert!(video.packets[0].flags & Packet::START != 0 && video.switches.len() == 1);
    assert!(audio.packets.iter().all(|packet| packet.level == 0x80 | 30));
    assert!(video.gaps.is_empty() && audio.gaps.is_empty() && video.pauses.is_empty());
    // The publisher's clock is an hour off, and the same for both.
    for (tap, clock) in [(&video, 90_u64), (&audio, 48)] {
        assert!(tap.reports.len() >= 5);
        let report = tap.reports[3];
        let at_ms = (report.ntp * 1000).div_ceil(1 << 32) - 3_600_000;
        let shown = tap.got.got.values().rfind(|got| got.at_ms <= at_ms).unwrap();
        let ahead = report.rtp_timestamp.wrapping_sub(shown.timestamp);
        assert!(u64::from(ahead) <= 50 * clock, "{report:?} {shown:?}");
        assert!(report.arrival_us / 1000 - at_ms < 5);
    }
    let totals = rig.router.totals();
    assert!(totals.packets_out == 0 && totals.bugs == 0);
}

#[test]
fn losses_are_repaired_and_come_in_order() {
    let mut rig = Rig::new(2);
    let publisher = rig.publisher(1, &[""]);
    rig.clients[publisher].flows[0].packets_per_frame = 4;
    rig.clients[publisher].up = Net { loss_permille: 50, delay_ms: 20, jitter_ms: 10, ..Net::default() };
    rig.clients[publisher].down = Net { delay_ms: 20, ..Net::default() };
    let (mut video, mut audio) = (Tap::video(), Tap::new(MediaKind::Audio, Begin::Live));
    run(&mut rig, 10_000, &[publisher], &mut [&mut video, &mut audio]);
    run(&mut rig, 1000, &[], &mut [&mut video, &mut audio]);
    let late = video.packets.iter().filter(|packet| packet.flags & Packet::LATE != 0).count();
    assert!(rig.router.totals().repaired > 30 && late > 30, "{late}");
    video.check_told();
    if video.gaps.is_empty() {
        video.got.check_continuous();
    }
    assert!(video.gaps.len() <= 3, "{:?}", video.gaps);
    // Sound is not repaired: each loss is told.
    audio.check_told();
    assert!(audio.gaps.len() > 5 && audio.gaps.iter().all(|gap| gap.why == GapWhy::Lost));
}

#[test]
fn a_loss_that_is_not_repaired_is_told_and_a_key_frame_asked_for() {
    let mut rig = Rig::new(3);
    let publisher = rig.publisher(1, &[""]);
    let mut video = Tap::video();
    run(&mut rig, 1000, &[publisher], &mut [&mut video]);
    assert!(!video.needed_keyframe && video.packets.len() > 20);
    // No request arrives.
    rig.clients[publisher].down = Net { loss_permille: 1000, ..Net::default() };
    rig.clients[publisher].up = Net { loss_permille: 200, ..Net::default() };
    run(&mut rig, 1000, &[publisher], &mut [&mut video]);
    rig.clients[publisher].up = Net::default();
    rig.clients[publisher].down = Net::default();
    let requests = rig.clients[publisher].flows[0].requests;
    run(&mut rig, 2000, &[publisher], &mut [&mut video]);
    video.check_told();
    assert!(!video.gaps.is_empty() && video.needed_keyframe);
    assert!(rig.clients[publisher].flows[0].requests > requests, "a key frame is asked for");
    let last_hole = video.got.holes().last().copied().unwrap();
    assert!(video.got.got.range(last_hole..).any(|(_, got)| got.keyframe), "and comes");
    assert_eq!(video.feed.unwrap().needs().1, None);
}

#[test]
fn a_change_of_the_encoding_looks_like_one_encoder() {
    let mut rig = Rig::new(4);
    let publisher = rig.publisher(1, &["l", "m", "h"]);
    let mut video = Tap::video();
    let base = 100_000 + 1;
    for spatial_max in [u8::MAX, 0, 1, 2, 0] {
        video.spatial_max = spatial_max;
        run(&mut rig, 2000, &[publisher], &mut [&mut video]);
    }
    video.got.check_continuous();
    video.check_told();
    let streams = video.got.streams();
    let first = streams.iter().position(|stream| *stream == base + 20).unwrap();
    assert_eq!(streams[first..], [base + 20, base, base + 10, base + 20, base], "{streams:?}");
    let spatial: Vec<(u8, &str)> =
        video.switches.iter().map(|switched| (switched.spatial, switched.rid.as_str())).collect();
    assert_eq!(spatial[first..], [(2, "h"), (0, "l"), (1, "m"), (2, "h"), (0, "l")]);
    // An encoding that ends is replaced by another one.
    rig.clients[publisher].flows[0].on = false;
    run(&mut rig, 4000, &[publisher], &mut [&mut video]);
    assert_ne!(video.got.streams().last(), Some(&base));
    video.check_told();
}

#[test]
fn a_tap_begins_with_a_fresh_key_frame_from_the_ring_or_asks_for_one() {
    let mut rig = Rig::new(5);
    let publisher = rig.publisher(1, &[""]);
    rig.run(850, &[publisher]);
    let mut early = Tap::video();
    run(&mut rig, 300, &[publisher], &mut [&mut early]);
    early.got.check_continuous();
    assert_eq!((early.got.got.values().next().unwrap().frame, early.needed_keyframe), (0, false));
    run(&mut rig, 3000, &[publisher], &mut []);
    let mut late = Tap::video();
    run(&mut rig, 1000, &[publisher], &mut [&mut late]);
    late.got.check_continuous();
    assert!(late.got.got.values().next().unwrap().frame > 100 && late.needed_keyframe);
    assert!(rig.clients[publisher].flows[0].requests > 0);
}

#[test]
fn a_tapped_ring_replays_five_seconds() {
    let mut rig = Rig::new(6);
    let publisher = rig.publisher(1, &[""]);
    rig.clients[publisher].flows[0].packets_per_frame = 10;
    let (mut first, mut sound) = (Tap::video(), Tap::new(MediaKind::Audio, Begin::Live));
    for _ in 0..8 {
        rig.clients[publisher].flows[0].keyframe_wanted = true;
        run(&mut rig, 1000, &[publisher], &mut [&mut first, &mut sound]);
    }
    first.got.check_continuous();
    let begin = Begin::Since(rig.ms * 1000 - 4_000_000);
    let (mut again, mut sound) = (Tap::new(MediaKind::Video, begin), Tap::new(MediaKind::Audio, begin));
    run(&mut rig, 200, &[publisher], &mut [&mut again, &mut sound]);
    again.got.check_continuous();
    for tap in [&again, &sound] {
        let span_us = tap.packets.last().unwrap().arrival_us - tap.packets[0].arrival_us;
        assert!((3_100_000..4_300_000).contains(&span_us), "{span_us}");
        tap.check_told();
    }
}

#[test]
fn a_reader_that_is_lapped_is_told_and_goes_on_with_a_key_frame() {
    let mut rig = Rig::new(7);
    let publisher = rig.publisher(1, &[""]);
    rig.clients[publisher].flows[0].packets_per_frame = 10;
    let (mut video, mut audio) = (Tap::video(), Tap::new(MediaKind::Audio, Begin::Live));
    run(&mut rig, 1000, &[publisher], &mut [&mut video, &mut audio]);
    (video.stuck, audio.stuck) = (true, true);
    run(&mut rig, 15_000, &[publisher], &mut [&mut video, &mut audio]);
    (video.stuck, audio.stuck) = (false, false);
    let before = video.packets.len();
    run(&mut rig, 2000, &[publisher], &mut [&mut video, &mut audio]);
    for tap in [&video, &audio] {
        assert!(tap.gaps.iter().any(|gap| gap.why == GapWhy::Lapped && gap.skipped > 10), "{:?}", tap.gaps);
    }
    assert!(video.packets[before].flags & Packet::START != 0, "{:?}", video.packets[before].ring_seq);
    let resumed: Vec<_> = video.got.got.values().skip(before).collect();
    assert!(resumed.len() > 100 && resumed[0].keyframe && resumed[0].part == 0);
    assert!(resumed.windows(2).all(|pair| pair[1].frame - pair[0].frame <= 1), "whole from there on");
    assert!(audio.packets.len() > 50);
}

#[test]
fn a_former_tap_is_resumed_where_it_was_or_at_its_key_frame() {
    let mut rig = Rig::new(8);
    let publisher = rig.publisher(1, &["l", "h"]);
    let mut first = Tap::video();
    run(&mut rig, 2500, &[publisher], &mut [&mut first]);
    rig.clients[publisher].flows[1].keyframe_wanted = true;
    run(&mut rig, 700, &[publisher], &mut [&mut first]);
    let after = first.packets.last().unwrap().ring_seq;
    let resume = Resume { stream: StreamKey(1), kind: MediaKind::Video, after, keyframe: false };
    rig.run(500, &[publisher]);
    let mut exact = Tap::new(MediaKind::Video, Begin::Resume(resume));
    let mut whole = Tap::new(MediaKind::Video, Begin::Resume(Resume { keyframe: true, ..resume }));
    let lost = Resume { after: RingSeq(after.0 | 1 << 40), ..resume };
    let mut lost = Tap::new(MediaKind::Video, Begin::Resume(lost));
    run(&mut rig, 500, &[publisher], &mut [&mut exact, &mut whole, &mut lost]);
    let last = first.got.got.values().last().unwrap();
    let next = exact.got.got.values().next().unwrap();
    let expected =
        if last.part + 1 == last.parts { (last.frame + 1, 0) } else { (last.frame, last.part + 1) };
    assert_eq!((next.frame, next.part), expected);
    exact.check_told();
    whole.got.check_continuous();
    let begun = whole.got.got.values().next().unwrap();
    assert!(
        begun.keyframe && begun.frame < last.frame && begun.frame + 30 > last.frame,
        "{begun:?} {last:?}"
    );
    assert_eq!(lost.gaps[0], Gap { skipped: 0, why: GapWhy::Forgotten });
    assert!(lost.got.got.values().next().unwrap().keyframe);
}

#[test]
fn silence_and_a_withdrawn_permission_are_pauses() {
    let mut rig = Rig::new(9);
    let publisher = rig.publisher(1, &[""]);
    let mut video = Tap::video();
    run(&mut rig, 1000, &[publisher], &mut [&mut video]);
    run(&mut rig, 2000, &[], &mut [&mut video]);
    assert_eq!(video.pauses.len(), 1);
    assert!(video.pauses[0].why == PauseWhy::Silent && video.pauses[0].since_us.abs_diff(990_000) < 30_000);
    run(&mut rig, 1000, &[publisher], &mut [&mut video]);
    let permit = |generation, publish_video| Permit {
        session: SESSION,
        connection: ConnectionKey(1),
        generation: Generation(generation),
        publish_audio: true,
        publish_video,
        subscribe: true,
    };
    let now = rig.now();
    rig.router.permit(now, &permit(1, false));
    let before = video.packets.len();
    run(&mut rig, 1000, &[publisher], &mut [&mut video]);
    assert!(video.packets.len() <= before + 1 && video.pauses[1].why == PauseWhy::Forbidden);
    let now = rig.now();
    rig.router.permit(now, &permit(2, true));
    run(&mut rig, 1000, &[publisher], &mut [&mut video]);
    assert!(video.packets.len() > before + 20, "{} and {before}", video.packets.len());
    assert_eq!(video.pauses.len(), 2);
    assert!(video.packets[before..].iter().any(|packet| packet.flags & Packet::START != 0));
    video.check_told();
}

#[test]
fn what_nobody_taps_any_more_is_neither_repaired_nor_asked_for() {
    let mut rig = Rig::new(10);
    let publisher = rig.publisher(1, &[""]);
    rig.clients[publisher].flows[0].keyframe_wanted = false;
    let mut video = Tap::video();
    run(&mut rig, 1000, &[publisher], &mut [&mut video]);
    assert!(rig.clients[publisher].flows[0].requests > 0 && !video.packets.is_empty());
    run(&mut rig, 2000, &[publisher], &mut []);
    let (nacked, requests) = {
        let flow = &rig.clients[publisher].flows[0];
        (flow.nacked, flow.requests)
    };
    rig.clients[publisher].up = Net { loss_permille: 100, ..Net::default() };
    run(&mut rig, 2000, &[publisher], &mut []);
    let flow = &rig.clients[publisher].flows[0];
    assert_eq!((flow.nacked, flow.requests), (nacked, requests));
}
