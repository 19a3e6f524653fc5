//! Pure: no clock, no I/O, no async.
//!
//! The tracks of one tap: which there are, by the numbers that the recorder knows, and which of them it wants.

use std::collections::BTreeMap;

use common::id::StreamKey;
use common::limits::MEDIA_TRACKS_MAX;
use common::wire::media::{EndWhy, TrackAdded, TrackCodec, TrackId, TrackRemoved, Want};
use common::wire::node::MediaKind;

use crate::router::{SeenCodec, SeenTrack};

/// Wishes that are kept: for tracks that there are, and as many that are to come.
const WANTS_MAX: usize = 2 * MEDIA_TRACKS_MAX as usize;

/// What the recorder is to be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A track is there.
    Added(TrackAdded),
    /// It is gone.
    Removed(TrackRemoved),
}

#[derive(Debug)]
struct Known {
    id: TrackId,
    life: u64,
    codec: SeenCodec,
    stream: StreamKey,
    kind: MediaKind,
}

/// The tracks of one tap.
#[derive(Debug, Default)]
pub struct Roster {
    next: u32,
    known: Vec<Known>,
    wants: BTreeMap<(StreamKey, MediaKind), u8>,
}

impl Roster {
    /// Compares with what the router has.
    pub fn see(&mut self, tracks: &[SeenTrack]) -> Vec<Change> {
        let mut changes = Vec::new();
        self.known.retain(|known| {
            let seen = tracks.iter().find(|seen| seen.life == known.life);
            let why = match seen.map(|seen| seen.codec.as_ref()) {
                None => EndWhy::Unpublished,
                Some(codec) if codec != Some(&known.codec) => EndWhy::CodecChanged,
                Some(_) => return true,
            };
            changes.push(Change::Removed(TrackRemoved { track: known.id, why }));
            false
        });
        for seen in tracks {
            let Some(codec) = &seen.codec else { continue };
            if self.known.iter().any(|known| known.life == seen.life)
                || self.known.len() >= MEDIA_TRACKS_MAX as usize
            {
                continue;
            }
            self.next += 1;
            let id = TrackId(self.next);
            let (stream, kind) = (seen.stream, seen.kind);
            self.known.push(Known { id, life: seen.life, codec: codec.clone(), stream, kind });
            changes.push(Change::Added(TrackAdded {
                track: id,
                stream,
                kind,
                codec: TrackCodec {
                    name: codec.name.to_owned(),
                    clock_hz: codec.clock_hz,
                    channels: codec.channels,
                    fmtp: codec.fmtp.clone(),
                },
                rids: seen.rids.clone(),
                ext: Vec::new(),
            }));
        }
        changes
    }

    /// Notes a wish. False if there are too many.
    pub fn want(&mut self, want: &Want) -> bool {
        let key = (want.stream, want.kind);
        let Some(spatial_max) = want.spatial_max else {
            self.wants.remove(&key);
            return true;
        };
        if self.wants.len() >= WANTS_MAX && !self.wants.contains_key(&key) {
            let known = &self.known;
            self.wants.retain(|key, _| known.iter().any(|known| (known.stream, known.kind) == *key));
            if self.wants.len() >= WANTS_MAX {
                return false;
            }
        }
        self.wants.insert(key, spatial_max);
        true
    }

    /// What is wanted, there or not.
    pub fn wants(&self) -> impl Iterator<Item = (StreamKey, MediaKind, u8)> + '_ {
        self.wants.iter().map(|((stream, kind), spatial_max)| (*stream, *kind, *spatial_max))
    }

    /// Whether a track's stream is wanted.
    #[must_use]
    pub fn is_wanted(&self, stream: StreamKey, kind: MediaKind) -> bool {
        self.wants.contains_key(&(stream, kind))
    }

    /// The number of a stream's track.
    #[must_use]
    pub fn track(&self, stream: StreamKey, kind: MediaKind) -> Option<TrackId> {
        self.known.iter().find(|known| (known.stream, known.kind) == (stream, kind)).map(|known| known.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(life: u64, codec: Option<u8>) -> SeenTrack {
        let codec = codec.map(|position| SeenCodec {
            position,
            name: "VP8",
            payload_type: 96,
            clock_hz: 90_000,
            channels: 0,
            fmtp: String::new(),
        });
        SeenTrack {
            life,
            stream: StreamKey(life),
            kind: MediaKind::Video,
            codec,
            rids: Vec::new(),
            allowed: true,
            chosen: 0,
            encodings: Vec::new(),
        }
    }

    fn names(changes: &[Change]) -> Vec<(u32, Option<EndWhy>)> {
        let name = |change: &Change| match change {
            Change::Added(added) => (added.track.0, None),
            Change::Removed(removed) => (removed.track.0, Some(removed.why)),
        };
        changes.iter().map(name).collect()
    }

    #[test]
    fn a_track_is_there_from_its_first_packet_until_it_is_gone_or_coded_otherwise() {
        let mut roster = Roster::default();
        assert!(roster.see(&[seen(7, None)]).is_empty());
        assert_eq!(names(&roster.see(&[seen(7, Some(0)), seen(8, Some(0))])), [(1, None), (2, None)]);
        assert!(roster.see(&[seen(7, Some(0)), seen(8, Some(0))]).is_empty());
        let changes = roster.see(&[seen(7, Some(1))]);
        let expected = [(1, Some(EndWhy::CodecChanged)), (2, Some(EndWhy::Unpublished)), (3, None)];
        assert_eq!(names(&changes), expected);
        assert_eq!(roster.track(StreamKey(7), MediaKind::Video), Some(TrackId(3)));
    }

    #[test]
    fn wishes_hold_for_tracks_to_come_and_are_bounded() {
        let mut roster = Roster::default();
        let want =
            |stream, spatial_max| Want { stream: StreamKey(stream), kind: MediaKind::Video, spatial_max };
        for stream in 0..WANTS_MAX as u64 {
            assert!(roster.want(&want(stream, Some(0))));
        }
        roster.see(&[seen(7, Some(0))]);
        assert!(roster.want(&want(u64::MAX, Some(2))), "those of unknown streams make room");
        assert_eq!(roster.wants().map(|(stream, ..)| stream.0).collect::<Vec<_>>(), [7, u64::MAX]);
        assert!(roster.want(&want(7, None)) && !roster.is_wanted(StreamKey(7), MediaKind::Video));
    }
}
