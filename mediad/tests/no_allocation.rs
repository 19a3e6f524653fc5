//! Once every ring and list has grown, a packet costs no allocation: counted by the allocator of this test binary.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "the rig is shared between test binaries")]
#![allow(unsafe_code, reason = "an allocator that counts can only be written so; it forwards every call")]

mod rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::id::StreamKey;
use common::wire::node::{EndpointKind, MediaKind, SlotBind};
use mediad::egress::TxBatch;
use mediad::router::{Flush, Received};

use rig::{Random, Rig, subscriber_spec};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SUBSCRIBERS: usize = 100;
const PACKETS_PER_FRAME: usize = 4;

/// Sealed packets of one publisher and NACKs of all subscribers, made before the measurement.
struct Script {
    frames: Vec<Vec<Vec<u8>>>,
    nacks: Vec<Vec<Vec<u8>>>,
}

#[test]
fn forwarding_and_repair_do_not_allocate() {
    let mut rig = Rig::new(1);
    let publisher = rig.publisher(1, &[""]);
    let subscribers: Vec<usize> =
        (0..SUBSCRIBERS).map(|_| rig.open(EndpointKind::Slots, &subscriber_spec(1))).collect();
    let now = rig.now();
    for client in &subscribers {
        let source = Some(StreamKey(1));
        let bind = SlotBind { slot: 0, kind: MediaKind::Video, source, spatial_max: u8::MAX };
        rig.router.bind(now, rig.clients[*client].key, bind).unwrap();
    }
    let frames = 2500;
    let script = write_script(&mut rig, publisher, &subscribers, frames);
    let mut batch = TxBatch::new(8192, 8 * 1024 * 1024);
    let warm = frames / 2;
    let mut counted = 0;
    let mut forwarded = 0;
    let mut resent = 0;
    for (number, (mut frame, nacks)) in script.frames.into_iter().zip(script.nacks).enumerate() {
        let now = rig.start + Duration::from_millis(number as u64 * 33);
        let totals = *rig.router.totals();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for packet in &mut frame {
            assert_eq!(rig.router.receive(now, rig.clients[publisher].index, packet), Received::Media);
        }
        for (client, mut nack) in subscribers.iter().zip(nacks).filter(|(_, nack)| !nack.is_empty()) {
            assert_eq!(rig.router.receive(now, rig.clients[*client].index, &mut nack), Received::Control);
        }
        rig.router.tick(now);
        batch.clear();
        assert_eq!(rig.router.flush(now, &mut batch), Flush::Done);
        let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
        if number >= warm {
            counted += made;
            forwarded += rig.router.totals().packets_out - totals.packets_out;
            resent += rig.router.totals().resent - totals.resent;
        }
    }
    assert!(forwarded >= (PACKETS_PER_FRAME * SUBSCRIBERS * warm) as u64, "{forwarded}");
    assert!(resent > forwarded / 200, "{resent} of {forwarded}");
    assert_eq!(counted, 0, "allocations for {forwarded} packets, {resent} of them repairs");
}

/// Frames of the publisher, and for each frame the subscribers' requests for 1 % of what they were sent before.
fn write_script(rig: &mut Rig, publisher: usize, subscribers: &[usize], frames: usize) -> Script {
    let mut random = Random(77);
    let client = &mut rig.clients[publisher];
    client.flows[0].packets_per_frame = PACKETS_PER_FRAME;
    client.flows[0].packet_bytes = 1100;
    let mut script = Script { frames: Vec::new(), nacks: Vec::new() };
    for number in 0..frames {
        let client = &mut rig.clients[publisher];
        let packets = client.flows[0].make(number as u32 * 3000);
        let sealed = packets.iter().map(|(marker, payload)| {
            client.transport_seq = client.transport_seq.wrapping_add(1);
            client.flows[0].seal(&client.sealer, *marker, payload, client.transport_seq)
        });
        script.frames.push(sealed.collect());
    }
    let mut first: Vec<Option<u16>> = vec![None; subscribers.len()];
    for number in 0..frames {
        let mut nacks = Vec::new();
        for (at, subscriber) in subscribers.iter().enumerate() {
            let mut bytes = Vec::new();
            if number > 10 && random.permille(10 * PACKETS_PER_FRAME as u64) {
                let start = *first[at].get_or_insert_with(|| start_of(rig, *subscriber));
                let lost = start.wrapping_add((PACKETS_PER_FRAME * (number - 3)) as u16);
                bytes = sealed_nack(rig, *subscriber, lost);
            }
            nacks.push(bytes);
        }
        script.nacks.push(nacks);
    }
    script
}

/// First sequence number of a subscriber's video, before anything was sent.
fn start_of(rig: &Rig, subscriber: usize) -> u16 {
    rig.router.next_sequence(rig.clients[subscriber].index, 2000).unwrap_or(0)
}

fn sealed_nack(rig: &mut Rig, subscriber: usize, lost: u16) -> Vec<u8> {
    let mut buf = [0; 200];
    let mut builder = mediad::rtcp::Builder::new(&mut buf[..100]);
    builder.nack(1, 2000, &[lost]);
    let len = builder.len();
    let client = &mut rig.clients[subscriber];
    let nonce = client.rtcp.take().unwrap();
    let len = client.sealer.seal_rtcp(&mut buf, len, nonce);
    buf[..len].to_vec()
}
