//! Pure: no clock, no I/O, no async.
//!
//! Names and people of the made-up cluster, and who sees whom how well. Some names are what a hostile participant
//! would choose.

use super::Random;
use crate::model::{Cell, Participant, SessionDetail, Stream};
use crate::text::Clean;

const TOPICS: [&str; 16] = [
    "standup",
    "all-hands",
    "support",
    "interview",
    "lecture",
    "design",
    "review",
    "sales",
    "board",
    "retro",
    "planning",
    "webinar",
    "clinic",
    "tutor",
    "jam",
    "ops",
];

const PLACES: [&str; 10] = ["eu", "us", "berlin", "payments", "mobile", "infra", "data", "qa", "legal", "ml"];

const PEOPLE: [&str; 16] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "ken", "lea",
    "mallory", "nina", "omar", "日向",
];

/// What someone may call himself to take over the operator's screen.
const HOSTILE: [&str; 3] = ["\u{1b}[2J\u{1b}[31mowned", "eve\u{202e}gpj.exe", "\u{1b}]0;title\u{7}zoë"];

/// A session's name.
pub(super) fn session_name(random: &mut Random, number: u64, connections: u32) -> Clean {
    if random.below(60) == 0 {
        return Clean::new(&format!("{}-{number}", HOSTILE[pick(random, HOSTILE.len())]));
    }
    let topic = if connections > 50 { "all-hands" } else { TOPICS[pick(random, TOPICS.len())] };
    Clean::new(&format!("{topic}-{}-{number}", PLACES[pick(random, PLACES.len())]))
}

fn pick(random: &mut Random, of: usize) -> usize {
    usize::try_from(random.below(of as u64)).unwrap_or(0)
}

/// The session that a connection's name was made for.
pub(super) fn session_of(connection: &str) -> Option<u64> {
    let hex = connection.strip_prefix("con_")?.split('_').next()?;
    u64::from_str_radix(hex, 16).ok()
}

/// Participants and streams of a session, the same at each look but for what moves with time.
pub(super) fn detail(key: u64, connections: u32, publishers: u32, now_ms: u64) -> SessionDetail {
    let participants: Vec<Participant> =
        (0..connections).map(|index| participant(key, index, now_ms)).collect();
    let streams: Vec<Stream> = (0..publishers).map(|index| stream(key, index, now_ms)).collect();
    let mut cells = Vec::with_capacity(participants.len() * streams.len());
    for (row, participant) in participants.iter().enumerate() {
        let mut left = participant.estimate_bps.unwrap_or(0);
        for (column, stream) in streams.iter().enumerate() {
            let mut random = Random::new(key ^ ((row as u64) << 32) ^ column as u64 ^ 0xce11);
            cells.push(cell(&mut random, row, stream, &mut left));
        }
    }
    SessionDetail { participants, streams, cells }
}

fn participant(key: u64, index: u32, now_ms: u64) -> Participant {
    let mut random = Random::new(key.wrapping_mul(31) ^ (u64::from(index) << 20));
    let hostile = random.below(24) == 0;
    let name = if hostile {
        HOSTILE[pick(&mut random, HOSTILE.len())].to_owned()
    } else {
        PEOPLE[pick(&mut random, PEOPLE.len())].to_owned()
    };
    let far = random.below(6) == 0;
    let rtt = if far { 180 + random.below(240) } else { 14 + random.below(50) };
    let base = if far { 900_000 } else { 8_000_000 + random.below(9_000_000) };
    let wobble = Random::new((now_ms / 5_000) ^ u64::from(index)).below(base / 10);
    let estimate = base + wobble;
    let transport = if far { "relay" } else { "udp" };
    let octets = (random.below(224) + 1, random.below(256), random.below(256));
    Participant {
        connection: Clean::new(&format!("con_{key:x}_{index}")),
        data: Clean::new(&name),
        address: Clean::new(&format!("{}.{}.{}.7:{}", octets.0, octets.1, octets.2, 40_000 + index)),
        transport: Clean::new(transport),
        rtt_ms: u32::try_from(rtt).ok(),
        estimate_bps: Some(estimate),
        receives_bps: estimate * 4 / 5,
    }
}

fn stream(key: u64, index: u32, now_ms: u64) -> Stream {
    let mut random = Random::new(key.wrapping_mul(97) ^ u64::from(index));
    let screen = random.below(9) == 0;
    let lossy = random.below(8) == 0;
    let moving = Random::new((now_ms / 1_000) ^ key ^ u64::from(index)).below(200_000);
    let loss = if lossy { 40 + random.below(60) } else { random.below(6) };
    Stream {
        id: Clean::new(&format!("str_CAM_{index}_con_{key:x}_{index}")),
        publisher: usize::try_from(index).unwrap_or(0),
        kind: Clean::new(if screen { "screen" } else { "camera" }),
        codec: Clean::new("VP8"),
        layers: Clean::new(if screen { "1080" } else { "h m l" }),
        bitrate_bps: if screen { 1_200_000 } else { 2_300_000 } + moving,
        loss_permille: u32::try_from(loss).unwrap_or(0),
    }
}

fn cell(random: &mut Random, row: usize, stream: &Stream, left: &mut u64) -> Cell {
    if stream.publisher == row {
        return Cell::Own;
    }
    match random.below(60) {
        0 => return Cell::None,
        1 => return Cell::Failed,
        _ => {}
    }
    let audio = &*stream.kind != "screen";
    let loss_permille = stream.loss_permille;
    for (layer, cost) in [('h', 2_300_000), ('m', 700_000), ('l', 160_000)] {
        // Not everyone is shown large: what is asked for goes down with the number of tiles.
        let wants = random.below(3) == 0 || layer != 'h';
        if wants && *left >= cost {
            *left -= cost;
            return Cell::Forwarded { layer, audio, loss_permille };
        }
    }
    Cell::Paused { audio }
}
