//! Shell: owns the task that reports sessions that somebody looks at.
//!
//! masterd says which sessions ([`Watch`]) and says it again while a console shows them; once a second the worker of each
//! gives its counters, and the differences leave as datagrams. Nothing is counted for it that is not counted anyway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::{EndpointKey, SessionKey, StreamKey};
use common::wire::node::MediaKind;
use common::wire::statistics::{
    LegStats, STATS_ENTRIES_MAX, SessionStats, TrackStats, TransportStats, WATCH_MS_MAX, Watch,
};
use tokio::sync::oneshot;

use super::Control;
use crate::router::{LegCounters, SessionCounters, TrackCounters, TransportCounters};
use crate::transport::spec::Codec;
use crate::worker::engine::Command;

/// Sessions that are watched at one time.
const WATCHED_MAX: usize = 256;

/// How often their numbers leave.
const INTERVAL: Duration = Duration::from_secs(1);

/// A worker answers within its turn; one that does not is left out of this round.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Which sessions are watched, and until when.
#[derive(Debug, Default)]
pub struct Watches(Mutex<HashMap<SessionKey, Instant>>);

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a master's wish in.
    pub(super) fn watch(&self, watch: Watch) {
        let mut watched = self.lock();
        if watch.for_ms == 0 {
            watched.remove(&watch.session);
        } else if watched.len() < WATCHED_MAX || watched.contains_key(&watch.session) {
            let time = Duration::from_millis(watch.for_ms.min(WATCH_MS_MAX).into());
            watched.insert(watch.session, Instant::now() + time);
        }
    }

    fn sessions(&self) -> Vec<SessionKey> {
        let now = Instant::now();
        let mut watched = self.lock();
        watched.retain(|_, until| *until > now);
        watched.keys().copied().collect()
    }
}

/// Reports watched sessions for ever.
pub async fn report(control: Arc<Control>, send: impl Fn(SessionStats)) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut meters: HashMap<SessionKey, Meter> = HashMap::new();
    loop {
        ticks.tick().await;
        let sessions = control.watches.sessions();
        meters.retain(|session, _| sessions.contains(session));
        for session in sessions {
            if let Some(counters) = control.counters(session).await {
                let meter = meters.entry(session).or_default();
                for part in meter.measure(Instant::now(), session, &counters) {
                    send(part);
                }
            }
        }
    }
}

impl Control {
    /// The counters of a session; none when it is not here or its worker is busy.
    async fn counters(&self, session: SessionKey) -> Option<SessionCounters> {
        let worker = self.table().session_worker(session)?;
        let (reply, answer) = oneshot::channel();
        self.tell(worker, Command::Counters { session, reply }).ok()?;
        tokio::time::timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }
}

/// Counters of the last round, to make rates from.
#[derive(Debug, Default)]
struct Meter {
    at: Option<Instant>,
    tracks: HashMap<(StreamKey, MediaKind), TrackCounters>,
    legs: HashMap<(EndpointKey, StreamKey, MediaKind), LegCounters>,
    transports: HashMap<EndpointKey, TransportCounters>,
}

impl Meter {
    /// Numbers since the last round, in parts that fit into datagrams; none in the first round.
    fn measure(
        &mut self,
        now: Instant,
        session: SessionKey,
        counters: &SessionCounters,
    ) -> Vec<SessionStats> {
        let elapsed = self.at.replace(now).map(|at| now.saturating_duration_since(at));
        let parts = match elapsed {
            Some(elapsed) if !elapsed.is_zero() => self.parts(session, counters, elapsed),
            Some(_) | None => Vec::new(),
        };
        self.tracks = counters.tracks.iter().map(|it| ((it.stream, it.kind), *it)).collect();
        self.legs = counters.legs.iter().map(|it| ((it.endpoint, it.stream, it.kind), *it)).collect();
        self.transports = counters.transports.iter().map(|it| (it.endpoint, *it)).collect();
        parts
    }

    fn parts(&self, session: SessionKey, counters: &SessionCounters, elapsed: Duration) -> Vec<SessionStats> {
        let empty = || SessionStats { session, ..SessionStats::default() };
        let mut parts = vec![empty()];
        let room = |parts: &mut Vec<SessionStats>| {
            let full = parts.last().is_none_or(|last| {
                last.tracks.len() + last.legs.len() + last.transports.len() >= STATS_ENTRIES_MAX
            });
            if full {
                parts.push(empty());
            }
        };
        for now in &counters.tracks {
            let Some(before) = self.tracks.get(&(now.stream, now.kind)) else { continue };
            room(&mut parts);
            let (came, lost) =
                (now.packets.saturating_sub(before.packets), now.lost.saturating_sub(before.lost));
            let stats = TrackStats {
                stream: now.stream,
                kind: now.kind,
                codec: now.codec.map_or_else(String::new, |codec| name_of(codec).to_owned()),
                encodings: now.encodings,
                rate_bps: rate(now.bytes, before.bytes, elapsed),
                loss_permille: permille(lost, came + lost),
            };
            if let Some(last) = parts.last_mut() {
                last.tracks.push(stats);
            }
        }
        for now in &counters.legs {
            let Some(before) = self.legs.get(&(now.endpoint, now.stream, now.kind)) else { continue };
            room(&mut parts);
            let rate_bps = rate(now.bytes, before.bytes, elapsed);
            let stats = LegStats {
                endpoint: now.endpoint,
                stream: now.stream,
                kind: now.kind,
                encoding: now.encoding.filter(|_| rate_bps > 0),
                rate_bps,
                loss_permille: permille(now.lost_fraction.into(), 256),
            };
            if let Some(last) = parts.last_mut() {
                last.legs.push(stats);
            }
        }
        for now in &counters.transports {
            let Some(before) = self.transports.get(&now.endpoint) else { continue };
            room(&mut parts);
            let stats = TransportStats {
                endpoint: now.endpoint,
                rtt_us: u32::try_from(now.rtt_us).unwrap_or(u32::MAX),
                estimate_bps: now.estimate_bps,
                egress_bps: rate(now.bytes_out, before.bytes_out, elapsed).into(),
                ingress_bps: rate(now.bytes_in, before.bytes_in, elapsed).into(),
            };
            if let Some(last) = parts.last_mut() {
                last.transports.push(stats);
            }
        }
        parts
    }
}

fn rate(now: u64, before: u64, elapsed: Duration) -> u32 {
    let bits = u128::from(now.saturating_sub(before)) * 8 * 1_000_000;
    u32::try_from(bits / elapsed.as_micros().max(1)).unwrap_or(u32::MAX)
}

fn permille(part: u64, whole: u64) -> u16 {
    u16::try_from(part * 1000 / whole.max(1)).unwrap_or(1000)
}

const fn name_of(codec: Codec) -> &'static str {
    match codec {
        Codec::Av1 => "AV1",
        Codec::H264 => "H264",
        Codec::H265 => "H265",
        Codec::Opus => "OPUS",
        Codec::Red => "RED",
        Codec::Vp8 => "VP8",
        Codec::Vp9 => "VP9",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(bytes: u64) -> SessionCounters {
        let (stream, kind) = (StreamKey(1), MediaKind::Video);
        let track = TrackCounters {
            stream,
            kind,
            codec: Some(Codec::Vp8),
            encodings: 1,
            packets: bytes / 1000,
            bytes,
            lost: bytes / 9000,
        };
        let leg = |endpoint| LegCounters {
            endpoint: EndpointKey(endpoint),
            stream,
            kind,
            encoding: Some(0),
            bytes,
            lost_fraction: 64,
        };
        let transport = TransportCounters {
            endpoint: EndpointKey(0),
            rtt_us: 5,
            estimate_bps: 0,
            bytes_in: 0,
            bytes_out: bytes,
        };
        SessionCounters { tracks: vec![track], legs: (0..60).map(leg).collect(), transports: vec![transport] }
    }

    #[test]
    fn rates_are_made_of_two_rounds_and_come_in_parts_that_fit_a_datagram() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert!(meter.measure(start, SessionKey(1), &counters(0)).is_empty());
        let parts = meter.measure(start + Duration::from_secs(2), SessionKey(1), &counters(90_000));
        let track = &parts[0].tracks[0];
        assert_eq!((track.rate_bps, track.loss_permille, track.codec.as_str()), (360_000, 100, "VP8"));
        let legs: Vec<&LegStats> = parts.iter().flat_map(|part| &part.legs).collect();
        assert_eq!((legs.len(), legs[59].rate_bps, legs[59].loss_permille), (60, 360_000, 250));
        assert_eq!(parts.last().unwrap().transports[0].egress_bps, 360_000);
        for part in &parts {
            let bytes = common::wire::Message::encode_body(&common::wire::node::FromNode::from(part.clone()));
            assert!(bytes.len() < 1100, "{} bytes", bytes.len());
        }
        let silent = meter.measure(start + Duration::from_secs(3), SessionKey(1), &counters(90_000));
        assert_eq!((silent[0].legs[0].rate_bps, silent[0].legs[0].encoding), (0, None));
    }

    #[test]
    fn a_watch_ends_by_itself_or_by_word() {
        let watches = Watches::default();
        watches.watch(Watch { session: SessionKey(1), for_ms: 60_000 });
        watches.watch(Watch { session: SessionKey(2), for_ms: 60_000 });
        watches.watch(Watch { session: SessionKey(1), for_ms: 0 });
        assert_eq!(watches.sessions(), [SessionKey(2)]);
        let longest = Instant::now() + Duration::from_millis(WATCH_MS_MAX.into());
        assert!(watches.lock()[&SessionKey(2)] <= longest);
        for session in 0..10_000 {
            watches.watch(Watch { session: SessionKey(session), for_ms: 1000 });
        }
        assert!(watches.sessions().len() <= WATCHED_MAX);
    }
}
