//! Pure: no clock, no I/O, no async.
//!
//! What a job receives: which tracks it wants of the media node, what of them goes to the studio, and what is kept for a
//! studio that has to begin anew.
//!
//! A track keeps its number towards the studio when the tap is dialled again. Its packets go into a [`Ring`] whether or
//! not a studio is there to take them. In individual recordings each time that a stream is recorded has a file of its own:
//! the first is named as the stream, later ones have `-1`, `-2`, ... behind it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::id::StreamKey;
use common::net::media_link::Event;
use common::wire::media::{EndWhy, Packet, Resume, RingSeq, TrackHeader, TrackId};
use common::wire::node::MediaKind;
use common::wire::recording::{RecordingMode, RosterEntry};

use crate::clockmap::ClockMap;
use crate::layers;
use crate::names;
use crate::ring::{self, Ring, What};
use crate::studio::protocol::{Codec, RosterStream, TRACKS_MAX, ToStudio, TrackAdd};

/// What a media node remembers of a tapped session.
const REPLAY_MS_MAX: i64 = 5_000;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask the media node for a key frame.
    Keyframe(TrackId),
    /// Tell the studio.
    Studio(ToStudio),
    /// Tell the media node what is wanted.
    Want {
        /// The stream.
        stream: StreamKey,
        /// Its audio or video.
        kind: MediaKind,
        /// Highest encoding, none for no longer.
        spatial_max: Option<u8>,
    },
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Packets received.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Holes, whatever their size.
    pub gaps: u64,
}

type Key = (StreamKey, MediaKind);

/// The tracks of one job.
#[derive(Debug)]
pub struct Intake {
    mode: RecordingMode,
    audio: bool,
    video: bool,
    roster: Vec<RosterEntry>,
    wants: BTreeMap<Key, u8>,
    /// Simulcast encodings of tracks that the node has told of.
    encodings: BTreeMap<Key, usize>,
    tracks: BTreeMap<Key, Track>,
    /// Tracks of the present tap.
    tapped: BTreeMap<TrackId, Key>,
    clock: Option<ClockMap>,
    /// Begin of the present piece; none while there is no studio.
    piece_us: Option<i64>,
    next_number: u32,
    files: Files,
    counts: Counts,
    last_packet_us: Option<i64>,
    warnings: Vec<String>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Track {
    number: u32,
    codec: Codec,
    clock_hz: u32,
    fmtp: String,
    /// In the present tap.
    tap: Option<TrackId>,
    newest: Option<RingSeq>,
    ring: Ring,
    /// Which encoding comes.
    spatial: u8,
    /// Size of the best encoding.
    best: Option<(u16, u16)>,
    /// How pictures are to be turned now.
    orientation: u8,
}

/// Names of the files of individual recordings.
#[derive(Debug, Default)]
struct Files {
    now: BTreeMap<StreamKey, String>,
    taken: BTreeSet<String>,
}

impl Files {
    /// Name of the file of a stream that is recorded now.
    fn of(&mut self, stream: StreamKey, stream_id: &str) -> String {
        if let Some(name) = self.now.get(&stream) {
            return name.clone();
        }
        let base = names::tamed(stream_id);
        let numbered = (1_u32..).map(|number| format!("{base}-{number}"));
        let is_free = |name: &String| !self.taken.contains(name);
        let name = std::iter::once(base.clone()).chain(numbered).find(is_free).unwrap_or(base);
        self.taken.insert(name.clone());
        self.now.insert(stream, name.clone());
        name
    }

    fn end(&mut self, stream: StreamKey) {
        self.now.remove(&stream);
    }
}

impl Intake {
    /// Of a job that records sound, pictures or both.
    #[must_use]
    pub fn new(mode: RecordingMode, audio: bool, video: bool) -> Self {
        Self {
            mode,
            audio,
            video,
            roster: Vec::new(),
            wants: BTreeMap::new(),
            encodings: BTreeMap::new(),
            tracks: BTreeMap::new(),
            tapped: BTreeMap::new(),
            clock: None,
            piece_us: None,
            next_number: 1,
            files: Files::default(),
            counts: Counts::default(),
            last_packet_us: None,
            warnings: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do; call until none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// When the last packet came, in recording time.
    #[must_use]
    pub const fn last_packet_us(&self) -> Option<i64> {
        self.last_packet_us
    }

    /// What an operator should know, each once.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Takes in who is there.
    pub fn set_roster(&mut self, roster: Vec<RosterEntry>) {
        self.roster = roster;
        let wanted: BTreeSet<Key> = self.roster.iter().flat_map(|entry| self.kinds(entry)).collect();
        let gone: Vec<Key> = self.wants.keys().filter(|key| !wanted.contains(key)).copied().collect();
        for key in gone {
            self.wants.remove(&key);
            self.outputs.push_back(Output::Want { stream: key.0, kind: key.1, spatial_max: None });
            self.drop_track(key);
        }
        for key in wanted {
            if let Entry::Vacant(vacant) = self.wants.entry(key) {
                vacant.insert(u8::MAX);
                self.outputs.push_back(want(key, u8::MAX));
            }
        }
        let streams: BTreeSet<StreamKey> = self.wants.keys().map(|key| key.0).collect();
        self.files.now.retain(|stream, _| streams.contains(stream));
        self.tell_roster();
    }

    /// The tracks of a stream that are to be recorded.
    fn kinds(&self, entry: &RosterEntry) -> Vec<Key> {
        // `record` is about files of streams; a film shows everybody.
        let is_recorded = entry.record || self.mode == RecordingMode::Composed;
        let audio = (self.audio && entry.has_audio && is_recorded).then_some(MediaKind::Audio);
        let video = (self.video && entry.has_video && is_recorded).then_some(MediaKind::Video);
        audio.into_iter().chain(video).map(|kind| (entry.stream, kind)).collect()
    }

    fn tell_roster(&mut self) {
        if self.piece_us.is_some() {
            let roster = self.roster.iter().map(shown).collect();
            self.outputs.push_back(Output::Studio(ToStudio::Roster(roster)));
        }
    }

    /// A tap stands; `clock` maps its node's clock. Says again what is wanted.
    pub fn tap_up(&mut self, clock: ClockMap) {
        self.forget_tap();
        self.clock = Some(clock);
        self.outputs.extend(self.wants.iter().map(|(key, spatial)| want(*key, *spatial)));
    }

    fn forget_tap(&mut self) {
        self.tapped.clear();
        self.encodings.clear();
        for track in self.tracks.values_mut() {
            track.tap = None;
        }
    }

    /// Another media node has the session: nothing of the former one's numbers holds.
    pub fn forget_source(&mut self) {
        self.forget_tap();
        for track in self.tracks.values_mut() {
            track.newest = None;
        }
    }

    /// Where a new tap should go on, and how many milliseconds other tracks should go back, when the last one was lost at
    /// `lost_us`.
    #[must_use]
    pub fn resume(&self, lost_us: Option<i64>, now_us: i64) -> (Vec<Resume>, u32) {
        let resume = |(key, track): (&Key, &Track)| {
            let after = track.newest?;
            Some(Resume { stream: key.0, kind: key.1, after, keyframe: false })
        };
        let back_ms = lost_us.map_or(0, |lost| ((now_us - lost) / 1000).clamp(0, REPLAY_MS_MAX));
        (self.tracks.iter().filter_map(resume).collect(), u32::try_from(back_ms).unwrap_or(0))
    }

    /// Takes in an event of the tap at `now_us`, recording time.
    pub fn take(&mut self, now_us: i64, event: Event) {
        match event {
            Event::TrackAdded(added) => {
                self.encodings.insert((added.stream, added.kind), added.rids.len());
            }
            Event::Began(header) => self.begin(&header),
            Event::Packets { track, packets } => {
                for packet in packets {
                    self.packet(now_us, track, packet);
                }
            }
            Event::Report { track, report } => {
                let what = What::Report { ntp: report.ntp, rtp_ts: report.rtp_timestamp };
                self.push(track, report.arrival_us, what);
            }
            Event::Gap { track, .. } => {
                self.counts.gaps += 1;
                self.push_now(track, now_us, What::Gap);
            }
            Event::Switched { track, switched } => {
                if let Some(track) = self.tapped.get(&track).and_then(|key| self.tracks.get_mut(key)) {
                    track.spatial = switched.spatial;
                }
            }
            Event::Ended { track, why } => self.ended(track, why),
            Event::Clock(clock) => {
                let asked_us = i64::try_from(clock.asked_us).unwrap_or(now_us);
                if let Some(map) = &mut self.clock {
                    map.sample(clock.node_us, now_us, now_us - asked_us);
                }
            }
            Event::Lost { .. } => self.forget_tap(),
            // The roster says who is muted, and `Ended` when a track's last packet is through.
            Event::Paused { .. } | Event::TrackRemoved(_) => {}
        }
    }

    fn begin(&mut self, header: &TrackHeader) {
        let key = (header.stream, header.kind);
        if !self.wants.contains_key(&key) {
            return;
        }
        let Some(codec) = codec(&header.codec.name, header.kind) else {
            self.warnings.push(format!("{} cannot be recorded", header.codec.name));
            return;
        };
        if self.tracks.get(&key).is_some_and(|track| track.codec != codec) {
            self.drop_track(key);
            self.new_file(key.0);
        }
        if !self.tracks.contains_key(&key) && self.tracks.len() >= TRACKS_MAX {
            self.warnings.push(format!("more than {TRACKS_MAX} tracks: the rest is not recorded"));
            return;
        }
        self.tapped.insert(header.track, key);
        let next_number = &mut self.next_number;
        let track = self.tracks.entry(key).or_insert_with(|| {
            *next_number += 1;
            Track {
                number: *next_number - 1,
                codec,
                clock_hz: header.codec.clock_hz,
                fmtp: String::new(),
                tap: None,
                newest: None,
                ring: Ring::default(),
                spatial: u8::MAX,
                best: None,
                orientation: 0,
            }
        });
        // Another SSRC, other sequence numbers: nothing that came before continues here.
        track.ring.clear();
        track.tap = Some(header.track);
        track.clock_hz = header.codec.clock_hz;
        track.fmtp.clone_from(&header.codec.fmtp);
        self.tell_track(key);
    }

    /// Individual: what follows of a stream goes into another file, whichever tracks it has.
    fn new_file(&mut self, stream: StreamKey) {
        self.files.end(stream);
        if self.mode == RecordingMode::Individual {
            let others: Vec<Key> = self.tracks.keys().filter(|key| key.0 == stream).copied().collect();
            for key in others {
                self.tell_track(key);
            }
        }
    }

    fn tell_track(&mut self, key: Key) {
        let Some(track) = self.tracks.get(&key).filter(|_| self.piece_us.is_some()) else { return };
        let stream_id =
            self.roster.iter().find(|entry| entry.stream == key.0).map(|entry| entry.stream_id.as_str());
        let file = match self.mode {
            RecordingMode::Individual => self.files.of(key.0, stream_id.unwrap_or("stream")),
            RecordingMode::Composed => String::new(),
        };
        self.outputs.push_back(Output::Studio(ToStudio::TrackAdd(Box::new(TrackAdd {
            track: track.number,
            codec: track.codec,
            clock_hz: track.clock_hz,
            fmtp: track.fmtp.clone(),
            stream: key.0.0,
            file,
        }))));
        if track.orientation != 0 {
            self.outputs.push_back(Output::Studio(turn(track)));
        }
    }

    fn packet(&mut self, now_us: i64, id: TrackId, packet: Packet) {
        let Some(key) = self.tapped.get(&id) else { return };
        let Some(track) = self.tracks.get_mut(key) else { return };
        self.counts.packets += 1;
        self.counts.bytes += packet.bytes.len() as u64;
        self.last_packet_us = Some(now_us);
        track.newest = Some(packet.ring_seq);
        if track.orientation != packet.orientation {
            track.orientation = packet.orientation;
            if self.piece_us.is_some() {
                self.outputs.push_back(Output::Studio(turn(track)));
            }
        }
        let is_start = packet.flags & Packet::START != 0;
        if is_start
            && track.codec == Codec::Vp8
            && let Some(size) = layers::vp8_size(&packet.bytes)
        {
            let top = self.encodings.get(key).map_or(0, |count| count.saturating_sub(1));
            let below = top.saturating_sub(usize::from(track.spatial)).min(3);
            track.best = Some((size.0 << below, size.1 << below));
        }
        self.push(id, packet.arrival_us, What::Packet { is_start, bytes: packet.bytes });
    }

    /// What arrived at the node at a moment of its clock.
    fn push(&mut self, id: TrackId, node_us: u64, what: What) {
        if let Some(clock) = &self.clock {
            let arrival_us = clock.recording_us(node_us);
            self.push_now(id, arrival_us, what);
        }
    }

    fn push_now(&mut self, id: TrackId, arrival_us: i64, what: What) {
        let Some(track) = self.tapped.get(&id).and_then(|key| self.tracks.get_mut(key)) else { return };
        let entry = ring::Entry { arrival_us, what };
        if let Some(piece_us) = self.piece_us.filter(|piece_us| !is_past(track.codec, *piece_us, &entry)) {
            self.outputs.push_back(Output::Studio(to_studio(track.number, piece_us, &entry)));
        }
        track.ring.push(entry);
    }

    fn ended(&mut self, id: TrackId, why: EndWhy) {
        let Some(key) = self.tapped.remove(&id) else { return };
        match why {
            EndWhy::CodecChanged => {
                self.drop_track(key);
                self.new_file(key.0);
            }
            EndWhy::SessionClosed | EndWhy::Unpublished => self.drop_track(key),
            // By our own will: the roster has dropped it already, or wants it again.
            EndWhy::Unwanted => {}
        }
    }

    fn drop_track(&mut self, key: Key) {
        if let Some(track) = self.tracks.remove(&key) {
            self.tapped.retain(|_, tapped| *tapped != key);
            if self.piece_us.is_some() {
                self.outputs.push_back(Output::Studio(ToStudio::TrackRemove { track: track.number }));
            }
        }
    }

    /// The studio wants a size of picture.
    pub fn want_layer(&mut self, number: u32, width: u16, height: u16) {
        let Some((key, track)) = self.tracks.iter().find(|(_, track)| track.number == number) else { return };
        let encodings = self.encodings.get(key).copied().unwrap_or(0);
        // A tile that needs no picture now may need one at once: the smallest costs next to nothing.
        let spatial = layers::spatial_for((width.max(1), height.max(1)), encodings, track.best);
        if let Some(wanted) = self.wants.get_mut(key)
            && *wanted != spatial
        {
            *wanted = spatial;
            self.outputs.push_back(want(*key, spatial));
        }
    }

    /// The studio wants a key frame.
    pub fn want_keyframe(&mut self, number: u32) {
        let track = self.tracks.values().find(|track| track.number == number);
        if let Some(id) = track.and_then(|track| track.tap) {
            self.outputs.push_back(Output::Keyframe(id));
        }
    }

    /// Asks for key frames where they are rare. Called about once a second.
    pub fn tick(&mut self, now_us: i64) {
        let video = self.tracks.iter_mut().filter(|(key, _)| key.1 == MediaKind::Video);
        for (_, track) in video {
            if track.ring.wants_keyframe(now_us)
                && let Some(id) = track.tap
            {
                self.outputs.push_back(Output::Keyframe(id));
            }
        }
    }

    /// A new studio records from `piece_us` on: tells it everything that there is.
    pub fn begin_piece(&mut self, piece_us: i64) {
        self.piece_us = Some(piece_us);
        self.files.now.clear();
        self.tell_roster();
        let keys: Vec<Key> = self.tracks.keys().copied().collect();
        for key in &keys {
            self.tell_track(*key);
        }
        // Merged as they came. A repaired packet stays in its place although it came later.
        let mut replay = Vec::new();
        for track in self.tracks.values() {
            let mut at_us = i64::MIN;
            for entry in track.ring.since(piece_us) {
                at_us = at_us.max(entry.arrival_us);
                if is_past(track.codec, piece_us, entry) {
                    continue;
                }
                replay.push((at_us, to_studio(track.number, piece_us, entry)));
            }
        }
        replay.sort_by_key(|(at_us, _)| *at_us);
        self.outputs.extend(replay.into_iter().map(|(_, message)| Output::Studio(message)));
        let unready: Vec<u32> = self
            .tracks
            .values()
            .filter(|track| !track.codec.is_audio() && track.ring.since(piece_us).next().is_none())
            .map(|track| track.number)
            .collect();
        for number in unready {
            self.want_keyframe(number);
        }
    }

    /// There is no studio any more.
    pub fn end_piece(&mut self) {
        self.piece_us = None;
    }
}

fn want(key: Key, spatial: u8) -> Output {
    Output::Want { stream: key.0, kind: key.1, spatial_max: Some(spatial) }
}

const fn turn(track: &Track) -> ToStudio {
    ToStudio::Orientation { track: track.number, orientation: track.orientation }
}

/// Sound from before the begin: of no use to anybody. Pictures are, as later ones are made of them.
const fn is_past(codec: Codec, piece_us: i64, entry: &ring::Entry) -> bool {
    codec.is_audio() && entry.arrival_us < piece_us && matches!(entry.what, What::Packet { .. })
}

fn to_studio(track: u32, piece_us: i64, entry: &ring::Entry) -> ToStudio {
    let arrival_us = entry.arrival_us - piece_us;
    match &entry.what {
        What::Gap => ToStudio::Gap { track },
        What::Packet { bytes, .. } => ToStudio::Rtp { track, arrival_us, bytes: bytes.clone() },
        What::Report { ntp, rtp_ts } => ToStudio::Report { track, ntp: *ntp, rtp_ts: *rtp_ts, arrival_us },
    }
}

fn codec(name: &str, kind: MediaKind) -> Option<Codec> {
    match (kind, name) {
        (MediaKind::Audio, "OPUS") => Some(Codec::Opus),
        (MediaKind::Audio, "RED") => Some(Codec::OpusRed),
        (MediaKind::Video, "VP8") => Some(Codec::Vp8),
        (MediaKind::Video, "VP9") => Some(Codec::Vp9),
        (MediaKind::Video, "H264") => Some(Codec::H264),
        (MediaKind::Video, "H265") => Some(Codec::H265),
        (MediaKind::Video, "AV1") => Some(Codec::Av1),
        _ => None,
    }
}

fn shown(entry: &RosterEntry) -> RosterStream {
    RosterStream {
        stream: entry.stream.0,
        name: label(entry),
        screen: entry.type_of_video == "SCREEN",
        has_audio: entry.has_audio,
        has_video: entry.has_video,
        audio_active: entry.audio_active,
        video_active: entry.video_active,
    }
}

/// What a tile is labelled with: the participant's name as OpenVidu's own applications pass it (`{"clientData": NAME}`),
/// else the text itself if it is a plain one.
fn label(entry: &RosterEntry) -> String {
    const LABEL_CHARS_MAX: usize = 64;
    let named = |text: &str| -> Option<String> {
        if text.is_empty() {
            return None;
        }
        match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(object)) => {
                let name = ["clientData", "nickname", "name", "userName"]
                    .iter()
                    .find_map(|key| object.get(*key)?.as_str());
                name.map(str::to_owned)
            }
            Ok(serde_json::Value::String(name)) => Some(name),
            Ok(_) | Err(_) => Some(text.to_owned()),
        }
    };
    let name = named(&entry.client_data).or_else(|| named(&entry.server_data));
    let plain = |c: &char| !c.is_control();
    name.unwrap_or_else(|| entry.connection_id.clone()).chars().filter(plain).take(LABEL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
