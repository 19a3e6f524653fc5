//! Pure: no clock, no I/O, no async.
//!
//! One session for consoles: what masterd means to happen, with what its media node says does.

use std::time::Duration;

use common::wire::node::MediaKind;
use common::wire::operator::{Cell, Media, ParticipantRow, SessionDetail, StreamRow, Window};

use super::numbers::Numbers;
use crate::cluster::op::{Participant, SessionParts};

/// Streams that are shown of one session.
const STREAMS_MAX: usize = 200;

/// Puts both together for a window of participants.
pub(super) fn merged(
    parts: SessionParts,
    numbers: &Numbers,
    now: Duration,
    window: Window,
    most: usize,
) -> SessionDetail {
    let SessionParts { row, mut streams, participants } = parts;
    streams.truncate(STREAMS_MAX);
    for (key, stream) in &mut streams {
        fill_stream(stream, numbers, now, *key);
    }
    let first = usize::try_from(window.first).unwrap_or(usize::MAX);
    let count = usize::try_from(window.count).unwrap_or(usize::MAX).min(most);
    let shown = participants.into_iter().skip(first).take(count);
    let participants = shown
        .map(|participant| {
            let cells = streams
                .iter()
                .map(|(key, stream)| cell(&participant, *key, stream.encodings, numbers, now))
                .collect();
            filled(participant, cells, numbers, now)
        })
        .collect();
    SessionDetail {
        row,
        measured_age_ms: numbers.age(now).map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        streams: streams.into_iter().map(|(_, stream)| stream).collect(),
        participants,
        ext: Vec::new(),
    }
}

fn fill_stream(stream: &mut StreamRow, numbers: &Numbers, now: Duration, key: common::id::StreamKey) {
    let audio = numbers.track(now, key, MediaKind::Audio);
    let video = numbers.track(now, key, MediaKind::Video);
    if let Some(main) = video.or(audio) {
        stream.codec.clone_from(&main.codec);
        stream.loss_permille = Some(main.loss_permille);
    }
    stream.encodings = video.map_or(0, |it| it.encodings);
    stream.rate_bps = [audio, video].into_iter().flatten().map(|it| it.rate_bps).sum();
}

fn filled(participant: Participant, cells: Vec<Cell>, numbers: &Numbers, now: Duration) -> ParticipantRow {
    let mut row = ParticipantRow { cells, ..participant.row };
    let transports = || participant.endpoints.iter().filter_map(|it| numbers.transport(now, *it));
    row.rtt_us = transports().map(|it| it.rtt_us).filter(|it| *it > 0).max();
    row.estimate_bps = transports().map(|it| it.estimate_bps).filter(|it| *it > 0).max();
    row.receives_bps = transports().map(|it| it.egress_bps).sum();
    row
}

fn cell(
    participant: &Participant,
    stream: common::id::StreamKey,
    encodings: u8,
    numbers: &Numbers,
    now: Duration,
) -> Cell {
    if participant.owns.contains(&stream) {
        return Cell::Own;
    }
    let (mut audio, mut video, mut failed) = (None, None, false);
    for received in participant.receives.iter().filter(|it| it.stream == stream) {
        if received.failed {
            failed = true;
            continue;
        }
        let leg = numbers.leg(now, received.endpoint, stream, received.kind);
        let media = Media {
            rate_bps: leg.map_or(0, |it| it.rate_bps),
            loss_permille: leg.map_or(0, |it| it.loss_permille),
            encoding: leg.and_then(|it| it.encoding),
            encodings: if received.kind == MediaKind::Video { encodings } else { 1 },
            measured: leg.is_some(),
        };
        match received.kind {
            MediaKind::Audio => audio = Some(media),
            MediaKind::Video => video = Some(media),
        }
    }
    match (audio, video) {
        (None, None) if failed => Cell::Failed,
        (None, None) => Cell::None,
        (audio, video) => Cell::Receives { audio, video },
    }
}

#[cfg(test)]
mod tests {
    use common::id::{EndpointKey, SessionKey, StreamKey};
    use common::wire::statistics::{LegStats, SessionStats, TrackStats, TransportStats};

    use super::*;
    use crate::cluster::op::Received;

    const NOW: Duration = Duration::from_secs(100);

    fn parts() -> SessionParts {
        let stream = |key, connection: &str| {
            (StreamKey(key), StreamRow { connection: connection.to_owned(), ..StreamRow::default() })
        };
        let receives = |stream, kind, failed| Received {
            endpoint: EndpointKey(7),
            stream: StreamKey(stream),
            kind,
            failed,
        };
        let ann = Participant { owns: vec![StreamKey(1)], ..Participant::default() };
        let bob = Participant {
            endpoints: vec![EndpointKey(7)],
            receives: vec![
                receives(1, MediaKind::Audio, false),
                receives(1, MediaKind::Video, false),
                receives(2, MediaKind::Video, true),
            ],
            ..Participant::default()
        };
        SessionParts {
            streams: vec![stream(1, "ann"), stream(2, "cid"), stream(3, "dan")],
            participants: vec![ann, bob],
            ..SessionParts::default()
        }
    }

    fn stats() -> SessionStats {
        let (stream, kind, endpoint) = (StreamKey(1), MediaKind::Video, EndpointKey(7));
        let track = TrackStats {
            stream,
            kind,
            codec: "VP8".to_owned(),
            encodings: 3,
            rate_bps: 900,
            loss_permille: 5,
        };
        let leg = LegStats { endpoint, stream, kind, encoding: Some(1), rate_bps: 300, loss_permille: 20 };
        let transport =
            TransportStats { endpoint, rtt_us: 30_000, estimate_bps: 0, egress_bps: 310, ingress_bps: 1 };
        SessionStats {
            session: SessionKey(0),
            tracks: vec![track],
            legs: vec![leg],
            transports: vec![transport],
        }
    }

    #[test]
    fn numbers_fill_what_masterd_means_and_old_ones_do_not_count() {
        let all = Window { first: 0, count: 10, from_end: false };
        let mut numbers = Numbers::default();
        let without = merged(parts(), &numbers, NOW, all, 64);
        assert_eq!(without.measured_age_ms, None);
        numbers.take(NOW, stats());
        let detail = merged(parts(), &numbers, NOW + Duration::from_secs(1), all, 64);
        assert_eq!(detail.measured_age_ms, Some(1000));
        assert_eq!((detail.streams[0].rate_bps, detail.streams[0].codec.as_str()), (900, "VP8"));
        assert_eq!(detail.participants[0].cells, [Cell::Own, Cell::None, Cell::None]);
        let bob = &detail.participants[1];
        let Cell::Receives { audio: Some(audio), video: Some(video) } = bob.cells[0] else {
            panic!("both flow")
        };
        assert_eq!(
            (audio.measured, video.rate_bps, video.encoding, video.encodings),
            (false, 300, Some(1), 3)
        );
        assert_eq!((bob.cells[1], bob.cells[2]), (Cell::Failed, Cell::None));
        assert_eq!((bob.rtt_us, bob.receives_bps, bob.estimate_bps), (Some(30_000), 310, None));
        let later = merged(parts(), &numbers, NOW + Duration::from_secs(9), all, 64);
        assert_eq!((later.measured_age_ms, later.streams[0].rate_bps), (None, 0));
        let second = merged(parts(), &numbers, NOW, Window { first: 1, count: 1, from_end: false }, 64);
        assert_eq!((second.participants.len(), second.participants[0].cells.len()), (1, 3));
    }
}
