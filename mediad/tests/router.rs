//! Publisher, router and subscribers on virtual time over a lossy network.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "the rig is shared between test binaries")]

mod rig;

use common::id::{ConnectionKey, EndpointKey, StreamKey};
use common::wire::node::{EndpointKind, MediaKind, Permit, SlotBind, SlotGap};
use mediad::codec::vp8;
use mediad::router::{BindError, Event, Received, SavedMedia, Settings};
use mediad::transport::spec::Codec;

use rig::{Net, Rig, SESSION, publisher_spec, subscriber_spec};

const AUDIO: u32 = 1000;
const VIDEO: u32 = 2000;

fn bind(slot: u16, kind: MediaKind, source: Option<u64>, spatial_max: u8) -> SlotBind {
    SlotBind { slot, kind, source: source.map(StreamKey), spatial_max }
}

fn subscribe(rig: &mut Rig, client: usize, slot: u16, stream: u64, spatial_max: u8) {
    let (now, key) = (rig.now(), rig.clients[client].key);
    for kind in [MediaKind::Audio, MediaKind::Video] {
        rig.router.bind(now, key, bind(slot, kind, Some(stream), spatial_max)).unwrap();
    }
}

fn subscriber(rig: &mut Rig, slots: u16) -> usize {
    rig.open(EndpointKind::Slots, &subscriber_spec(slots))
}

#[test]
fn a_call_over_a_perfect_network_is_exact() {
    let mut rig = Rig::new(1);
    let publisher = rig.publisher(1, &[""]);
    let subscribers: Vec<usize> = (0..3).map(|_| subscriber(&mut rig, 2)).collect();
    for client in &subscribers {
        subscribe(&mut rig, *client, 0, 1, u8::MAX);
    }
    rig.run(3000, &[publisher]);
    rig.run(100, &[]);
    for client in subscribers {
        let video = rig.got(client, VIDEO);
        video.check_continuous();
        assert!(video.got.len() >= 90 && video.by_rtx == 0 && video.duplicates == 0, "{}", video.got.len());
        let audio = rig.got(client, AUDIO);
        assert!(audio.got.len() >= 90 && audio.holes().is_empty());
        assert!(rig.clients[client].transport_seen.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    }
    let [flow, ..] = &rig.clients[publisher].flows[..] else { panic!() };
    assert!(flow.nacked == 0 && flow.requests == 0);
    let track =
        |event: &Event| matches!(event, Event::Track { codec, .. } if codec == "VP8" || codec == "OPUS");
    assert_eq!(rig.events.iter().filter(|event| track(event)).count(), 2);
    assert_eq!(rig.router.totals().bugs, 0);
}

#[test]
fn five_percent_loss_each_way_is_repaired_completely() {
    for seed in 1..=5 {
        let mut rig = Rig::new(seed);
        let publisher = rig.publisher(1, &[""]);
        rig.clients[publisher].flows[0].packets_per_frame = 4;
        let client = subscriber(&mut rig, 1);
        subscribe(&mut rig, client, 0, 1, u8::MAX);
        // Nobody can know of a loss before the first packet.
        rig.run(40, &[publisher]);
        rig.clients[publisher].up =
            Net { loss_permille: 50, duplicate_permille: 10, delay_ms: 10, jitter_ms: 8 };
        rig.clients[publisher].down = Net { loss_permille: 50, delay_ms: 10, ..Net::default() };
        rig.clients[client].down =
            Net { loss_permille: 50, duplicate_permille: 10, delay_ms: 10, jitter_ms: 8 };
        rig.clients[client].up = Net { loss_permille: 50, delay_ms: 10, ..Net::default() };
        rig.run(10_000, &[publisher]);
        rig.run(1500, &[]);
        let video = rig.got(client, VIDEO);
        video.check_continuous();
        assert!(
            video.got.len() > 1100 && video.by_rtx > 30,
            "seed {seed}: {} {}",
            video.got.len(),
            video.by_rtx
        );
        assert!(rig.router.totals().repaired > 30);
        // Every loss is asked for a few times, not in a storm.
        assert!(rig.clients[publisher].flows[0].nacked < 400, "{}", rig.clients[publisher].flows[0].nacked);
    }
}

#[test]
fn without_a_listener_nothing_is_asked_for() {
    let mut rig = Rig::new(3);
    let publisher = rig.publisher(1, &[""]);
    rig.clients[publisher].up = Net { loss_permille: 100, ..Net::default() };
    rig.run(3000, &[publisher]);
    let flow = &rig.clients[publisher].flows[0];
    assert_eq!((flow.nacked, flow.requests), (0, 0));
}

#[test]
fn losses_of_every_simulcast_encoding_are_repaired_by_their_repaired_rid() {
    let mut rig = Rig::new(7);
    let publisher = rig.publisher(1, &["l", "m", "h"]);
    rig.clients[publisher].up = Net { loss_permille: 50, delay_ms: 5, jitter_ms: 3, ..Net::default() };
    let clients: Vec<usize> = (0..3).map(|_| subscriber(&mut rig, 1)).collect();
    for (max, client) in clients.iter().enumerate() {
        subscribe(&mut rig, *client, 0, 1, max as u8);
    }
    rig.run(6000, &[publisher]);
    rig.run(1000, &[]);
    for (layer, client) in clients.into_iter().enumerate() {
        let video = rig.got(client, VIDEO);
        video.check_continuous();
        assert_eq!(video.streams().last(), Some(&(100_001 + 10 * layer as u32)), "layer {layer}");
        assert!(rig.clients[publisher].flows[layer].nacked > 0, "layer {layer}");
    }
    let rids = |event: &Event| matches!(event, Event::Track { rids, .. } if *rids == ["l", "m", "h"]);
    assert!(rig.events.iter().any(rids));
}

#[test]
fn a_layer_is_switched_at_a_key_frame_and_left_when_it_stops() {
    let mut rig = Rig::new(8);
    let publisher = rig.publisher(1, &["l", "m", "h"]);
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, 0);
    rig.run(1500, &[publisher]);
    subscribe(&mut rig, client, 0, 1, 2);
    rig.run(1500, &[publisher]);
    rig.clients[publisher].flows[2].on = false;
    rig.run(4000, &[publisher]);
    rig.clients[publisher].flows[2].on = true;
    rig.run(3000, &[publisher]);
    rig.run(50, &[]);
    let video = rig.got(client, VIDEO);
    video.check_continuous();
    assert_eq!(video.streams(), [100_001, 100_021, 100_011, 100_021]);
    // The clock goes on as fast as time does: the encodings' own clocks are unrelated.
    let (first, last) = (video.got.values().next().unwrap(), video.got.values().last().unwrap());
    let (media_ms, real_ms) =
        (u64::from(last.timestamp.wrapping_sub(first.timestamp)) / 90, last.at_ms - first.at_ms);
    assert!(media_ms.abs_diff(real_ms) < 40, "{media_ms} {real_ms}");
}

#[test]
fn a_slot_that_changes_its_stream_is_one_continuous_flow() {
    let mut rig = Rig::new(9);
    let publishers: Vec<usize> = (1..=3).map(|number| rig.publisher(number, &[""])).collect();
    let client = subscriber(&mut rig, 1);
    for (turn, stream) in [1, 2, 3, 1, 3].into_iter().enumerate() {
        subscribe(&mut rig, client, 0, stream, u8::MAX);
        rig.run(700, &publishers);
        if turn == 2 {
            let (now, key) = (rig.now(), rig.clients[client].key);
            for kind in [MediaKind::Audio, MediaKind::Video] {
                rig.router.bind(now, key, bind(0, kind, None, 0)).unwrap();
            }
            rig.run(500, &publishers);
        }
    }
    rig.run(50, &[]);
    let video = rig.got(client, VIDEO);
    video.check_continuous();
    assert_eq!(video.streams(), [100_001, 200_001, 300_001, 100_001, 300_001]);
    let audio = rig.got(client, AUDIO);
    assert!(audio.holes().is_empty());
    let stamps: Vec<u32> = audio.got.values().map(|got| got.timestamp).collect();
    assert!(stamps.windows(2).all(|pair| (1..48_000 * 2).contains(&pair[1].wrapping_sub(pair[0]))));
}

#[test]
fn a_newcomer_begins_with_the_last_key_frame_at_once() {
    let mut rig = Rig::new(10);
    let publisher = rig.publisher(1, &[""]);
    let first = subscriber(&mut rig, 1);
    subscribe(&mut rig, first, 0, 1, u8::MAX);
    rig.run(400, &[publisher]);
    let requests = rig.clients[publisher].flows[0].requests;
    let newcomer = subscriber(&mut rig, 1);
    let joined = rig.ms;
    subscribe(&mut rig, newcomer, 0, 1, u8::MAX);
    rig.run(100, &[publisher]);
    let video = rig.got(newcomer, VIDEO);
    video.check_continuous();
    let begin = video.got.values().next().unwrap();
    assert!(begin.at_ms <= joined + 2 && begin.frame == 0, "{begin:?} after {joined}");
    assert_eq!(rig.clients[publisher].flows[0].requests, requests);
}

#[test]
fn a_newcomer_does_not_begin_with_a_key_frame_that_has_holes() {
    let mut rig = Rig::new(30);
    let publisher = rig.publisher(1, &[""]);
    rig.run(40, &[publisher]);
    // Nobody listens, so nobody asks for what is lost now.
    rig.clients[publisher].up.loss_permille = 500;
    rig.run(300, &[publisher]);
    rig.clients[publisher].up.loss_permille = 0;
    rig.run(40, &[publisher]);
    let newcomer = subscriber(&mut rig, 1);
    subscribe(&mut rig, newcomer, 0, 1, u8::MAX);
    rig.run(500, &[publisher]);
    rig.got(newcomer, VIDEO).check_continuous();
    assert_eq!(rig.clients[publisher].flows[0].requests, 1);
}

#[test]
fn a_small_batch_is_filled_again_and_again() {
    let mut rig = Rig::new(31);
    rig.batch = mediad::egress::TxBatch::new(70, 130_000);
    let publisher = rig.publisher(1, &[""]);
    rig.clients[publisher].flows[0].packets_per_frame = 50;
    let clients: Vec<usize> = (0..5).map(|_| subscriber(&mut rig, 1)).collect();
    for client in &clients {
        subscribe(&mut rig, *client, 0, 1, u8::MAX);
    }
    rig.run(700, &[publisher]);
    rig.run(20, &[]);
    for client in clients {
        rig.got(client, VIDEO).check_continuous();
        assert_eq!(rig.got(client, VIDEO).duplicates, 0);
    }
}

#[test]
fn later_newcomers_ask_for_a_key_frame_once_for_all() {
    let mut rig = Rig::new(11);
    let publisher = rig.publisher(1, &[""]);
    let first = subscriber(&mut rig, 1);
    subscribe(&mut rig, first, 0, 1, u8::MAX);
    rig.run(3000, &[publisher]);
    let requests = rig.clients[publisher].flows[0].requests;
    let newcomers: Vec<usize> = (0..20).map(|_| subscriber(&mut rig, 1)).collect();
    for client in &newcomers {
        subscribe(&mut rig, *client, 0, 1, u8::MAX);
    }
    rig.run(300, &[publisher]);
    assert_eq!(rig.clients[publisher].flows[0].requests, requests + 1);
    for client in newcomers {
        rig.got(client, VIDEO).check_continuous();
    }
}

#[test]
fn key_frame_requests_of_subscribers_are_merged_and_paced() {
    let mut rig = Rig::new(12);
    let publisher = rig.publisher(1, &[""]);
    let clients: Vec<usize> = (0..10).map(|_| subscriber(&mut rig, 1)).collect();
    for client in &clients {
        subscribe(&mut rig, *client, 0, 1, u8::MAX);
    }
    rig.run(2000, &[publisher]);
    let before = rig.clients[publisher].flows[0].requests;
    for _ in 0..100 {
        for client in &clients {
            rig.control(*client, |builder| _ = builder.pli(1, VIDEO));
        }
        rig.run(20, &[publisher]);
    }
    let asked = rig.clients[publisher].flows[0].requests - before;
    assert!((3..=5).contains(&asked), "{asked} requests in two seconds");
}

#[test]
fn nothing_is_sent_again_twice_within_a_round_trip() {
    let mut rig = Rig::new(13);
    let publisher = rig.publisher(1, &[""]);
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    rig.run(500, &[publisher]);
    let sequence = rig.got(client, VIDEO).highest as u16;
    for _ in 0..5 {
        rig.control(client, |builder| _ = builder.nack(1, VIDEO, &[sequence]));
        rig.step();
        rig.step();
    }
    assert_eq!((rig.router.totals().resent, rig.got(client, VIDEO).duplicates), (1, 1));
    rig.run(200, &[]);
    rig.control(client, |builder| _ = builder.nack(1, VIDEO, &[sequence, sequence.wrapping_add(999)]));
    rig.run(5, &[]);
    assert_eq!(rig.router.totals().resent, 2);
}

#[test]
fn arrivals_are_reported_to_the_publisher_repairs_included() {
    let mut rig = Rig::new(14);
    let publisher = rig.publisher(1, &[""]);
    rig.clients[publisher].up = Net { loss_permille: 100, delay_ms: 3, ..Net::default() };
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    rig.run(3000, &[publisher]);
    rig.run(300, &[]);
    let mut reported = rig.clients[publisher].reported.clone();
    reported.sort_unstable();
    reported.dedup();
    assert_eq!(reported.len() as u64, rig.router.totals().packets_in);
    let blocks = &rig.clients[publisher].blocks;
    assert!(blocks.iter().any(|block| block.ssrc == 100_001 && block.last_report != 0));
}

#[test]
fn sender_reports_keep_audio_and_video_together_on_our_clock() {
    let unix = std::time::Duration::from_secs(1_700_000_000);
    let mut rig = Rig::with(15, Settings { unix, ..Settings::default() });
    let publisher = rig.publisher(1, &[""]);
    rig.clients[publisher].up = Net { delay_ms: 25, ..Net::default() };
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    rig.run(4000, &[publisher]);
    rig.run(30, &[]);
    // Capture time of the newest packet of each flow on the clock of the reports.
    let captured = |ssrc: u32, clock: f64| {
        let flow = rig.got(client, ssrc);
        let report = flow.reports.last().unwrap();
        let newest = flow.got.values().last().unwrap();
        let ntp = report.ntp as f64 / (1u64 << 32) as f64;
        ntp + f64::from(newest.timestamp.wrapping_sub(report.timestamp).cast_signed()) / clock
    };
    let (audio, video) = (captured(AUDIO, 48_000.0), captured(VIDEO, 90_000.0));
    assert!((audio - video).abs() < 0.002, "{audio} {video}");
    let now = 1_700_000_000.0 + 2_208_988_800.0 + 4.0;
    assert!((video - now).abs() < 0.2, "{video} {now}");
    let report = rig.got(client, VIDEO).reports.last().unwrap();
    assert!(report.packets > 100 && report.octets > 90_000);
}

#[test]
fn the_loudest_are_named_when_they_change() {
    let mut rig = Rig::new(16);
    let publishers: Vec<usize> = (1..=2).map(|number| rig.publisher(number, &[""])).collect();
    rig.run(1000, &publishers[..1]);
    rig.run(2000, &publishers[1..]);
    let speakers: Vec<Vec<u64>> = rig
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Speakers { loudest, .. } => Some(loudest.iter().map(|stream| stream.0).collect()),
            Event::Slot { .. } | Event::Track { .. } => None,
        })
        .collect();
    assert_eq!((speakers.first(), speakers.last()), (Some(&vec![1]), Some(&vec![2])), "{speakers:?}");
}

#[test]
fn what_is_not_permitted_is_not_forwarded() {
    let mut rig = Rig::new(17);
    let publisher = rig.publisher(1, &[""]);
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    let mut permit = Permit {
        session: SESSION,
        connection: ConnectionKey(1),
        generation: common::id::Generation(1),
        publish_audio: true,
        publish_video: false,
        subscribe: true,
    };
    let now = rig.now();
    rig.router.permit(now, &permit);
    rig.run(500, &[publisher]);
    assert!(!rig.clients[client].receiving.contains_key(&VIDEO) && rig.got(client, AUDIO).got.len() > 10);
    assert!(rig.router.totals().drop_permission > 10);
    permit.publish_video = true;
    let now = rig.now();
    rig.router.permit(now, &permit);
    rig.run(1000, &[publisher]);
    rig.got(client, VIDEO).check_continuous();
    let receive = |subscribe| Permit { connection: ConnectionKey(2), subscribe, ..permit };
    let now = rig.now();
    rig.router.permit(now, &receive(false));
    rig.run(10, &[publisher]);
    let (audio, video) = (rig.got(client, AUDIO).got.len(), rig.got(client, VIDEO).got.len());
    rig.run(500, &[publisher]);
    assert_eq!((rig.got(client, AUDIO).got.len(), rig.got(client, VIDEO).got.len()), (audio, video));
    let now = rig.now();
    rig.router.permit(now, &receive(true));
    rig.run(1500, &[publisher]);
    rig.got(client, VIDEO).check_continuous();
    assert!(rig.got(client, VIDEO).got.len() > video + 20);
}

#[test]
fn slots_that_cannot_be_filled_are_told_with_the_reason() {
    let mut rig = Rig::new(18);
    let mut spec = publisher_spec(&[]);
    spec.sections.remove(0);
    let publisher = rig.open(EndpointKind::Publish { stream: StreamKey(1) }, &spec);
    let mut spec = subscriber_spec(1);
    spec.sections[1].codecs[0].codec = Codec::H264;
    let client = rig.open(EndpointKind::Slots, &spec);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    subscribe(&mut rig, client, 5, 1, u8::MAX);
    rig.run(10, &[]);
    let gaps: Vec<(u16, MediaKind, Option<SlotGap>)> = rig
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Slot { slot, kind, why, .. } => Some((*slot, *kind, *why)),
            Event::Speakers { .. } | Event::Track { .. } => None,
        })
        .collect();
    assert_eq!(
        gaps,
        [
            (0, MediaKind::Audio, Some(SlotGap::NoTrack)),
            (0, MediaKind::Video, Some(SlotGap::Codec)),
            (5, MediaKind::Audio, Some(SlotGap::NoSection)),
            (5, MediaKind::Video, Some(SlotGap::NoSection)),
        ]
    );
    let (now, key) = (rig.now(), rig.clients[client].key);
    let unknown = rig.router.bind(now, key, bind(0, MediaKind::Video, Some(77), 0));
    assert_eq!(unknown, Err(BindError::UnknownStream(StreamKey(77))));
    let nobody = rig.router.bind(now, EndpointKey(99), bind(0, MediaKind::Video, None, 0));
    assert_eq!(nobody, Err(BindError::UnknownEndpoint(EndpointKey(99))));
    let publisher = rig.clients[publisher].key;
    assert!(rig.router.close(publisher) && !rig.router.close(publisher));
}

#[test]
fn a_pair_is_bound_to_its_stream_and_ends_with_it() {
    let mut rig = Rig::new(19);
    let publisher = rig.publisher(1, &[""]);
    let client = rig.open(EndpointKind::Pair { stream: StreamKey(1) }, &subscriber_spec(1));
    rig.run(500, &[publisher]);
    rig.got(client, VIDEO).check_continuous();
    let key = rig.clients[publisher].key;
    assert!(rig.router.close(key));
    let before = rig.got(client, VIDEO).got.len();
    rig.run(500, &[publisher]);
    assert_eq!(rig.got(client, VIDEO).got.len(), before);
    assert!(rig.router.totals().drop_no_keys > 0);
    rig.router.close_session(SESSION);
    assert!(rig.router.is_empty() && rig.router.deadline(rig.now()).is_none());
}

#[test]
fn another_ssrc_of_the_publisher_is_joined_at_its_key_frame() {
    let mut rig = Rig::new(20);
    let publisher = rig.publisher(1, &[""]);
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    rig.run(700, &[publisher]);
    rig.clients[publisher].flows[0] = rig::Flowing::new(555_001, "", "1", MediaKind::Video, (160, 90), 2);
    rig.run(700, &[publisher]);
    rig.run(20, &[]);
    rig.got(client, VIDEO).check_continuous();
    assert_eq!(rig.got(client, VIDEO).streams(), [100_001, 555_001]);
}

#[test]
fn packets_of_a_frame_are_equally_long_when_levelled() {
    for level in [true, false] {
        let mut rig = Rig::with(21, Settings { level, ..Settings::default() });
        let publisher = rig.publisher(1, &[""]);
        rig.clients[publisher].flows[0].packets_per_frame = 4;
        let client = subscriber(&mut rig, 1);
        subscribe(&mut rig, client, 0, 1, u8::MAX);
        rig.run(200, &[publisher]);
        let padded = rig.got(client, VIDEO).padded;
        assert_eq!(padded > 0, level);
        rig.frame_of(publisher, 0);
        rig.ms += 1;
        let mut datagrams = rig.clients[publisher].flows.len();
        // Take the frame in by hand and look at the batch.
        let made = {
            let now = rig.now();
            let client_ref = &mut rig.clients[publisher];
            let packets = client_ref.flows[0].make(99_000);
            for (marker, payload) in packets {
                let mut bytes = client_ref.flows[0].seal(&client_ref.sealer, marker, &payload, 9);
                assert_eq!(rig.router.receive(now, client_ref.index, &mut bytes), Received::Media);
                datagrams += 1;
            }
            rig.batch.clear();
            assert_eq!(rig.router.flush(now, &mut rig.batch), mediad::router::Flush::Done);
            let address = rig.clients[client].address;
            rig.batch
                .runs()
                .filter(|run| run.dest == address && run.segment > 500)
                .map(|run| run.count)
                .collect::<Vec<_>>()
        };
        assert!(datagrams > 4);
        assert_eq!(made, if level { vec![4] } else { vec![3, 1] });
    }
}

#[test]
fn hostile_datagrams_are_dropped_and_counted() {
    let mut rig = Rig::new(22);
    let publisher = rig.publisher(1, &[""]);
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    rig.run(300, &[publisher]);
    let index = rig.clients[publisher].index;
    let now = rig.now();
    for length in 0..200 {
        for first in [0x80u8, 0x90, 0xbf] {
            let mut bytes: Vec<u8> = (0..length).map(|_| rig.random.next() as u8).collect();
            if let Some(head) = bytes.first_mut() {
                *head = first;
            }
            assert!(!rig.router.receive(now, index, &mut bytes).is_authentic());
        }
    }
    assert!(rig.router.totals().drop_srtp >= 600);
    // An authentic client sends many sources of its own making.
    for source in 0..500u32 {
        let mut flow = rig::Flowing::new(0x7000_0000 + 2 * source, "x", "1", MediaKind::Video, (1, 1), 1);
        let payload = flow.make(0).remove(0).1;
        let bytes = flow.seal(&rig.clients[publisher].sealer, true, &payload, 1);
        rig.send_up(publisher, &bytes);
    }
    // And rubbish behind valid keys.
    for length in 8..120 {
        let bytes: Vec<u8> = (0..length).map(|_| rig.random.next() as u8).collect();
        rig.control(client, |builder| {
            _ = builder.transport_cc(|out| {
                out[..bytes.len()].copy_from_slice(&bytes);
                out[0] = 0x80 | bytes[0] & 0x1f;
                out[1] = 200 + bytes[1] % 8;
                bytes.len()
            });
        });
        rig.control(client, |builder| _ = builder.nack(1, VIDEO, &[bytes[3].into(), 9, 700]));
    }
    rig.run(700, &[publisher]);
    assert!(rig.router.totals().drop_unknown + rig.router.totals().drop_srtp > 400);
    assert!(rig.got(client, VIDEO).holes().is_empty());
}

/// Puts the rig's two endpoints, a publisher and a subscriber, into a new router as a node that adopts them does. Gives
/// the router that had them.
fn adopt(rig: &mut Rig, saved: &[SavedMedia], seed: u64) -> mediad::router::Router {
    let now = rig.now();
    let settings = Settings { seed, ..Settings::default() };
    let old = std::mem::replace(&mut rig.router, mediad::router::Router::new(rig.start, settings));
    let specs = [publisher_spec(&["l", "h"]), subscriber_spec(1)];
    let kinds = [EndpointKind::Publish { stream: StreamKey(1) }, EndpointKind::Slots];
    for (at, (spec, kind)) in specs.iter().zip(kinds).enumerate() {
        let number = at as u64 + 1;
        let endpoint = rig.clients[at].key;
        let connection = ConnectionKey(number);
        let open = mediad::router::Open { session: SESSION, connection, endpoint, kind, spec };
        let index = rig.router.open(now, &open).unwrap();
        rig.router.restore(now, index, &saved[at]);
        let (ours, _) = rig::keys(number, mediad::transport::srtp::Profile::AeadAes128Gcm);
        let opener = mediad::transport::srtp::Opener::resume(&ours, &saved[at].rtp, &saved[at].rtcp);
        rig.router.install_keys(index, mediad::transport::srtp::Sealer::new(&ours), opener);
        rig.router.set_destination(index, Some(rig.clients[at].address));
        rig.clients[at].index = index;
    }
    subscribe(rig, 1, 0, 1, u8::MAX);
    old
}

fn saved(rig: &mut Rig, holds: u32) -> Vec<SavedMedia> {
    let now = rig.now();
    let keys = [rig.clients[0].key, rig.clients[1].key];
    keys.iter().map(|key| rig.router.checkpoint(now, *key, holds).unwrap()).collect()
}

#[test]
fn a_saved_endpoint_goes_on_in_another_router_without_using_a_nonce_twice() {
    let mut rig = Rig::new(23);
    let publisher = rig.publisher(1, &["l", "h"]);
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    rig.run(1000, &[publisher]);
    let now = rig.now();
    let saved = saved(&mut rig, 0);
    // The old node goes on to the end of its leases, cut off from its clients.
    let highest = rig.got(client, VIDEO).highest;
    assert!(saved[1].legs[1].lease.granted_until > highest + 1000);
    let mut old = adopt(&mut rig, &saved, 99);
    // RIDs are not sent any more: the saved table must know the sources.
    rig.run(1500, &[publisher]);
    rig.run(50, &[]);
    let video = rig.got(client, VIDEO);
    let after: Vec<_> = video.got.range(highest + 1..).collect();
    assert!(after.len() > 100 && *after[0].0 == saved[1].legs[1].lease.granted_until && after[0].1.keyframe);
    let (before, first) = (&video.got[&highest], after[0].1);
    assert!((1..90_000).contains(&first.timestamp.wrapping_sub(before.timestamp)));
    assert!((1..1000).contains(&(first.picture_id.wrapping_sub(before.picture_id) & 0x7fff)));
    // What the old node can still seal ends where the new one began.
    let again = old.checkpoint(now, rig.clients[client].key, 1).unwrap();
    assert!(again.legs[1].lease.granted_until >= saved[1].legs[1].lease.granted_until);
}

#[test]
fn nodes_that_adopt_and_never_report_do_not_use_each_others_numbers() {
    let mut rig = Rig::new(29);
    let publisher = rig.publisher(1, &["l", "h"]);
    let client = subscriber(&mut rig, 1);
    subscribe(&mut rig, client, 0, 1, u8::MAX);
    rig.run(500, &[publisher]);
    let known = saved(&mut rig, 0);
    let begin = known[1].legs[1].lease.granted_until;
    // The report is lost; a third one is asked for without it. The limit that only it told is not used.
    let lost = saved(&mut rig, 0);
    let again = saved(&mut rig, 1);
    assert!(again[1].number == 3 && lost[1].legs[1].lease.granted_until >= begin);

    adopt(&mut rig, &known, 31);
    // More than one grant lasts for.
    for _ in 0..1_800 {
        rig.frame(publisher);
        rig.step();
    }
    let last = rig.got(client, VIDEO).highest;
    assert!(rig.router.totals().lease_exhausted > 0, "it stops: {begin} to {last}");

    let mut second = known.clone();
    for media in &mut second {
        media.skip(1).unwrap();
        assert_eq!(media.clone().skip(6), Err(mediad::router::TooManyAdoptions));
    }
    adopt(&mut rig, &second, 33);
    rig.run(1500, &[publisher]);
    let video = rig.got(client, VIDEO);
    let first = *video.got.range(last + 1..).next().unwrap().0;
    assert_eq!(first, second[1].legs[1].lease.granted_until);
    assert!(first > last && last >= begin, "{begin} {last} {first}");
}

#[test]
fn a_subscriber_that_floods_requests_costs_its_share_and_nobody_elses() {
    let mut rig = Rig::new(37);
    let publisher = rig.publisher(1, &[""]);
    let [flooder, victim] = [(); 2].map(|()| subscriber(&mut rig, 1));
    for client in [flooder, victim] {
        subscribe(&mut rig, client, 0, 1, u8::MAX);
    }
    rig.clients[victim].down = Net { loss_permille: 50, delay_ms: 10, ..Net::default() };
    rig.run(1000, &[publisher]);
    let before = *rig.router.totals();
    for _ in 0..3000 {
        let newest = rig.got(flooder, VIDEO).highest;
        let wanted: Vec<u16> = (newest.saturating_sub(250)..=newest).map(|index| index as u16).collect();
        rig.control(flooder, |builder| {
            for _ in 0..8 {
                builder.nack(1, VIDEO, &wanted);
                builder.pli(1, VIDEO);
            }
        });
        rig.run(1, &[publisher]);
    }
    rig.run(300, &[]);
    let after = *rig.router.totals();
    let (wanted, resent) = (after.wanted - before.wanted, after.resent - before.resent);
    assert!(wanted > 100_000, "it did flood: {wanted}");
    // A burst of 150 kB, then 500 kbit/s and a quarter of what is sent; a tenth more for the other one's repairs.
    let (sent, plain) = (after.bytes_out - before.bytes_out, before.bytes_out * 33 / 10);
    let allowed = (plain * 5 / 4 + 150_000 + 62_500 * 33 / 10) * 11 / 10;
    assert!(sent < allowed, "{sent} bytes of {allowed}, {resent} repeats for {wanted} requests");
    assert_eq!(rig.got(victim, VIDEO).holes(), [0; 0], "others get their repairs");
    let [flow, ..] = &rig.clients[publisher].flows[..] else { panic!() };
    assert!(flow.requests < 12, "{} key frames asked in 4 s", flow.requests);
}

#[test]
fn the_rig_makes_what_browsers_make() {
    let mut flow = rig::Flowing::new(1, "", "1", MediaKind::Video, (640, 360), 3);
    let frame = flow.make(0);
    assert_eq!(frame.len(), 6);
    let info = vp8::inspect(&frame[0].1);
    assert!(info.keyframe && info.size == Some((640, 360)));
    assert!(!vp8::inspect(&frame[1].1).frame_start && frame[5].0);
}
