//! Pure: no clock, no I/O, no async.
//!
//! From packets as they come to frames at their places in recording time, for all tracks of a job.

use std::collections::BTreeMap;

use super::depay::{Depay, Frame};
use super::protocol::{TRACKS_MAX, TrackAdd};
use super::rtp::Reorder;
use crate::clock::StreamClock;

/// A key frame is asked for again after so long; media nodes and publishers throttle on their own.
const KEY_AGAIN_US: i64 = 1_000_000;

#[derive(Debug)]
struct Track {
    add: TrackAdd,
    reorder: Reorder,
    depay: Depay,
    /// Source of the packets; a new one has a clock of its own.
    ssrc: Option<u32>,
    asked_us: Option<i64>,
}

/// All tracks of a job.
#[derive(Debug, Default)]
pub(super) struct Intake {
    tracks: BTreeMap<u32, Track>,
    clocks: BTreeMap<u64, StreamClock>,
}

/// A frame of a track.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) track: u32,
    pub(super) frame: Frame,
}

impl Intake {
    /// A track starts; false when there are too many.
    pub(super) fn add(&mut self, add: TrackAdd) -> bool {
        self.remove(add.track);
        if self.tracks.len() >= TRACKS_MAX {
            return false;
        }
        self.clocks.entry(add.stream).or_default().add(add.track, add.clock_hz);
        let depay = Depay::new(add.codec);
        let track = Track { add, reorder: Reorder::default(), depay, ssrc: None, asked_us: None };
        self.tracks.insert(track.add.track, track);
        true
    }

    pub(super) fn remove(&mut self, track: u32) {
        let Some(track) = self.tracks.remove(&track) else { return };
        let (lost, malformed) = (track.reorder.lost(), track.reorder.malformed());
        tracing::info!(track = track.add.track, lost, malformed, "a track is over");
        if let Some(clock) = self.clocks.get_mut(&track.add.stream) {
            clock.remove(track.add.track);
            if clock.is_empty() {
                self.clocks.remove(&track.add.stream);
            }
        }
    }

    pub(super) fn get(&self, track: u32) -> Option<&TrackAdd> {
        self.tracks.get(&track).map(|track| &track.add)
    }

    /// Takes a packet. Frames that it completes are added to `out`.
    pub(super) fn rtp(&mut self, track: u32, arrival_us: i64, bytes: &[u8], out: &mut Vec<Arrived>) {
        let Some(entry) = self.tracks.get_mut(&track) else { return };
        entry.reorder.push(bytes, arrival_us);
        self.drain(track, arrival_us, out);
    }

    /// A sender report.
    pub(super) fn report(&mut self, track: u32, ntp: u64, rtp_ts: u32) {
        let Some(entry) = self.tracks.get(&track) else { return };
        if let Some(clock) = self.clocks.get_mut(&entry.add.stream) {
            clock.report(track, ntp, rtp_ts);
        }
    }

    /// Packets were skipped.
    pub(super) fn gap(&mut self, track: u32) {
        if let Some(entry) = self.tracks.get_mut(&track) {
            entry.reorder.gap();
        }
    }

    /// The user of the frames lost some: it needs a key frame now.
    pub(super) fn lose(&mut self, track: u32) {
        if let Some(entry) = self.tracks.get_mut(&track) {
            entry.depay.lose();
        }
    }

    /// Gives up packets that are missing for too long.
    pub(super) fn tick(&mut self, now_us: i64, out: &mut Vec<Arrived>) {
        let tracks: Vec<u32> = self.tracks.keys().copied().collect();
        for track in tracks {
            self.drain(track, now_us, out);
        }
    }

    /// Tracks whose publisher is to be asked for a key frame.
    pub(super) fn want_keys(&mut self, now_us: i64) -> Vec<u32> {
        let mut wanted = Vec::new();
        for (&key, track) in &mut self.tracks {
            let is_due = track.asked_us.is_none_or(|asked| now_us - asked >= KEY_AGAIN_US);
            if track.depay.needs_key() && is_due {
                track.asked_us = Some(now_us);
                wanted.push(key);
            }
        }
        wanted
    }

    fn drain(&mut self, track: u32, now_us: i64, out: &mut Vec<Arrived>) {
        let Some(entry) = self.tracks.get_mut(&track) else { return };
        let Some(clock) = self.clocks.get_mut(&entry.add.stream) else { return };
        let mut frames = Vec::new();
        while let Some(packet) = entry.reorder.pop(now_us) {
            if entry.ssrc.replace(packet.ssrc).is_some_and(|before| before != packet.ssrc) {
                clock.restart(track);
            }
            let Some(at_us) = clock.map(track, packet.timestamp, packet.arrival_us) else { return };
            entry.depay.push(&packet, at_us, &mut frames);
        }
        out.extend(frames.into_iter().map(|frame| Arrived { track, frame }));
    }
}
