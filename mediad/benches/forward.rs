//! Forwarding in memory: one publisher, many subscribers, AES-128-GCM, 1,200-byte packets, four in a frame.
//! `cargo bench -p mediad --bench forward`; the item count is packets forwarded, so the reciprocal of the throughput
//! is the time per forwarded packet.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "the rig is shared with the tests")]

#[path = "../tests/rig/mod.rs"]
mod rig;

use std::time::Duration;

use common::id::StreamKey;
use common::wire::node::{EndpointKind, MediaKind, SlotBind};
use divan::Bencher;
use divan::counter::ItemsCount;
use mediad::egress::TxBatch;
use mediad::router::{Flush, Look, LookWant};

use rig::{Rig, SESSION, subscriber_spec};

fn main() {
    divan::main();
}

const PACKETS_PER_FRAME: usize = 4;
const FRAMES: usize = 16;

/// Receives 64 packets, frame by frame, and forwards each to all subscribers.
#[divan::bench(args = [1, 10, 50, 100], sample_count = 40)]
fn forward(bencher: Bencher<'_, '_>, subscribers: usize) {
    let mut rig = Rig::new(1);
    let publisher = rig.publisher(1, &[""]);
    for _ in 0..subscribers {
        let client = rig.open(EndpointKind::Slots, &subscriber_spec(1));
        let source = Some(StreamKey(1));
        let bind = SlotBind { slot: 0, kind: MediaKind::Video, source, spatial_max: u8::MAX };
        rig.router.bind(rig.now(), rig.clients[client].key, bind).unwrap();
    }
    rig.clients[publisher].flows[0].packets_per_frame = PACKETS_PER_FRAME;
    rig.clients[publisher].flows[0].packet_bytes = 1150;
    let mut batch = TxBatch::new(16_384, 24 * 1024 * 1024);
    let mut number = 0u64;
    let rig = std::cell::RefCell::new(rig);
    bencher
        .counter(ItemsCount::new(FRAMES * PACKETS_PER_FRAME * subscribers))
        .with_inputs(|| {
            let rig = &mut *rig.borrow_mut();
            let client = &mut rig.clients[publisher];
            let mut frames = Vec::new();
            for frame in 0..FRAMES as u32 {
                client.flows[0].keyframe_wanted = false;
                if client.flows[0].frame == 0 {
                    client.flows[0].keyframe_wanted = true;
                }
                let packets = client.flows[0].make(frame * 3000);
                let sealed: Vec<Vec<u8>> = packets
                    .iter()
                    .map(|(marker, payload)| client.flows[0].seal(&client.sealer, *marker, payload, 1))
                    .collect();
                frames.push(sealed);
            }
            frames
        })
        .bench_local_values(|mut frames| {
            let rig = &mut *rig.borrow_mut();
            for frame in &mut frames {
                number += 1;
                let now = rig.start + Duration::from_millis(number * 33);
                for packet in frame {
                    rig.router.receive(now, rig.clients[publisher].index, packet);
                }
                batch.clear();
                assert_eq!(rig.router.flush(now, &mut batch), Flush::Done);
            }
            divan::black_box(batch.len_bytes());
            frames_done(&batch)
        });
}

/// One look of a tap at a session of so many streams, all of them wanted: ten a second for each recorder.
#[divan::bench(args = [1, 10, 50])]
fn look(bencher: Bencher<'_, '_>, streams: u64) {
    let mut rig = Rig::new(1);
    let publishers: Vec<usize> =
        (1..=streams).map(|stream| rig.publisher(stream, &["l", "m", "h"])).collect();
    rig.run(200, &publishers);
    let wants = (1..=streams).flat_map(|stream| {
        [MediaKind::Audio, MediaKind::Video].map(|kind| LookWant {
            stream: StreamKey(stream),
            kind,
            spatial_max: u8::MAX,
            reading: Some(0),
            keyframe: None,
        })
    });
    let look = Look { session: SESSION, wants: wants.collect() };
    let now = rig.now();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| rig.router.look(now, &look).tracks.len());
}

fn frames_done(batch: &TxBatch) -> usize {
    batch.datagrams().len()
}
