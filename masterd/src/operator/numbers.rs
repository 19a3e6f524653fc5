//! Pure: no clock, no I/O, no async.
//!
//! The newest numbers of one session, put together from the parts that its media node sends.

use std::collections::HashMap;
use std::time::Duration;

use common::id::{EndpointKey, StreamKey};
use common::wire::node::MediaKind;
use common::wire::statistics::{LegStats, SessionStats, TrackStats, TransportStats};

/// What was not told again for so long is over.
const FORGET_AFTER: Duration = Duration::from_secs(4);

/// Entries of one session; the largest session has 200 participants who see 200 streams.
const ENTRIES_MAX: usize = 100_000;

/// Numbers with when they came.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    newest: Option<Duration>,
    swept: Duration,
    tracks: HashMap<(StreamKey, MediaKind), (Duration, TrackStats)>,
    legs: HashMap<(EndpointKey, StreamKey, MediaKind), (Duration, LegStats)>,
    transports: HashMap<EndpointKey, (Duration, TransportStats)>,
}

impl Numbers {
    pub(super) fn take(&mut self, now: Duration, stats: SessionStats) {
        self.newest = Some(now);
        if now.saturating_sub(self.swept) > Duration::from_secs(1) {
            self.sweep(now);
        }
        let entries = self.tracks.len() + self.legs.len() + self.transports.len();
        if entries > ENTRIES_MAX {
            return;
        }
        for track in stats.tracks {
            self.tracks.insert((track.stream, track.kind), (now, track));
        }
        for leg in stats.legs {
            self.legs.insert((leg.endpoint, leg.stream, leg.kind), (now, leg));
        }
        for transport in stats.transports {
            self.transports.insert(transport.endpoint, (now, transport));
        }
    }

    fn sweep(&mut self, now: Duration) {
        self.swept = now;
        let fresh = |at: Duration| now.saturating_sub(at) < FORGET_AFTER;
        self.tracks.retain(|_, (at, _)| fresh(*at));
        self.legs.retain(|_, (at, _)| fresh(*at));
        self.transports.retain(|_, (at, _)| fresh(*at));
    }

    /// Age of the newest part; none when there is none that counts.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        self.newest.map(|at| now.saturating_sub(at)).filter(|age| *age < FORGET_AFTER)
    }

    pub(super) fn track(&self, now: Duration, stream: StreamKey, kind: MediaKind) -> Option<&TrackStats> {
        fresh(now, self.tracks.get(&(stream, kind)))
    }

    pub(super) fn leg(
        &self,
        now: Duration,
        endpoint: EndpointKey,
        stream: StreamKey,
        kind: MediaKind,
    ) -> Option<&LegStats> {
        fresh(now, self.legs.get(&(endpoint, stream, kind)))
    }

    pub(super) fn transport(&self, now: Duration, endpoint: EndpointKey) -> Option<&TransportStats> {
        fresh(now, self.transports.get(&endpoint))
    }
}

fn fresh<T>(now: Duration, entry: Option<&(Duration, T)>) -> Option<&T> {
    entry.filter(|(at, _)| now.saturating_sub(*at) < FORGET_AFTER).map(|(_, value)| value)
}
