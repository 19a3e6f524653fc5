//! Pure: no clock, no I/O, no async.
//!
//! Names and people of the made-up cluster, and who sees whom how well. Some names are what a hostile participant
//! would choose.

use common::wire::operator::{Cell, Media, ParticipantRow, SessionDetail, SessionRow, StreamRow};

use super::Random;

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
pub(super) fn session_name(random: &mut Random, number: u64, connections: u32) -> String {
    if random.below(60) == 0 {
        return format!("{}-{number}", HOSTILE[pick(random, HOSTILE.len())]);
    }
    let topic = if connections > 50 { "all-hands" } else { TOPICS[pick(random, TOPICS.len())] };
    format!("{topic}-{}-{number}", PLACES[pick(random, PLACES.len())])
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
pub(super) fn detail(row: SessionRow, now_ms: u64) -> SessionDetail {
    let key = row.session.0;
    let mut participants: Vec<ParticipantRow> =
        (0..row.connections).map(|index| participant(key, index, now_ms)).collect();
    let streams: Vec<StreamRow> = (0..row.streams)
        .map(|index| {
            let at = usize::try_from(index).unwrap_or(0);
            stream(key, index, participants.get(at).map_or("", |it| &it.data), now_ms)
        })
        .collect();
    for (at, participant) in participants.iter_mut().enumerate() {
        let mut left = participant.estimate_bps.unwrap_or(0);
        let cells = streams.iter().enumerate().map(|(column, stream)| {
            let mut random = Random::new(key ^ ((at as u64) << 32) ^ column as u64 ^ 0xce11);
            if column == at { Cell::Own } else { cell(&mut random, stream, &mut left) }
        });
        participant.cells = cells.collect();
        participant.receives_bps = participant.cells.iter().map(|cell| rate_of(*cell)).sum();
    }
    SessionDetail { row, measured_age_ms: Some(200), streams, participants, ext: Vec::new() }
}

fn rate_of(cell: Cell) -> u64 {
    let Cell::Receives { audio, video } = cell else { return 0 };
    [audio, video].into_iter().flatten().map(|media| u64::from(media.rate_bps)).sum()
}

fn participant(key: u64, index: u32, now_ms: u64) -> ParticipantRow {
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
    let octets = (random.below(224) + 1, random.below(256), random.below(256));
    ParticipantRow {
        connection: format!("con_{key:x}_{index}"),
        role: "PUBLISHER".to_owned(),
        data: name,
        platform: if far { "Firefox on Android" } else { "Chrome on Linux" }.to_owned(),
        address: format!("{}.{}.{}.7", octets.0, octets.1, octets.2),
        joined_at_ms: 0,
        rtt_us: u32::try_from(rtt * 1000).ok(),
        estimate_bps: Some(base + wobble),
        receives_bps: 0,
        cells: Vec::new(),
    }
}

fn stream(key: u64, index: u32, publisher: &str, now_ms: u64) -> StreamRow {
    let mut random = Random::new(key.wrapping_mul(97) ^ u64::from(index));
    let screen = random.below(9) == 0;
    let lossy = random.below(8) == 0;
    let moving = Random::new((now_ms / 1_000) ^ key ^ u64::from(index)).below(200_000);
    let loss = if lossy { 40 + random.below(60) } else { random.below(6) };
    let rate = if screen { 1_200_000 } else { 2_300_000 } + moving;
    StreamRow {
        stream: format!("str_CAM_{index}_con_{key:x}_{index}"),
        connection: format!("con_{key:x}_{index}"),
        publisher: publisher.to_owned(),
        kind: if screen { "SCREEN" } else { "CAMERA" }.to_owned(),
        has_audio: !screen,
        has_video: true,
        codec: "VP8".to_owned(),
        encodings: if screen { 1 } else { 3 },
        rate_bps: u32::try_from(rate).unwrap_or(u32::MAX),
        loss_permille: u16::try_from(loss).ok(),
    }
}

fn cell(random: &mut Random, stream: &StreamRow, left: &mut u64) -> Cell {
    match random.below(60) {
        0 => return Cell::None,
        1 => return Cell::Failed,
        _ => {}
    }
    let loss_permille = stream.loss_permille.unwrap_or(0);
    let media = |rate_bps: u32, encoding, encodings| Media {
        rate_bps,
        loss_permille,
        encoding,
        encodings,
        measured: true,
    };
    let audio = stream.has_audio.then(|| media(32_000, Some(0), 1));
    for (encoding, cost) in [(2, 2_300_000), (1, 700_000), (0, 160_000)] {
        // Not everyone is shown large: what is asked for goes down with the number of tiles.
        let wants = random.below(3) == 0 || encoding != 2;
        if wants && *left >= cost {
            *left -= cost;
            let rate = u32::try_from(cost).unwrap_or(u32::MAX);
            let encoding = encoding.min(stream.encodings.saturating_sub(1));
            return Cell::Receives { audio, video: Some(media(rate, Some(encoding), stream.encodings)) };
        }
    }
    Cell::Receives { audio, video: Some(media(0, None, stream.encodings)) }
}
