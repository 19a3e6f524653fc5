//! Pure: no clock, no I/O, no async.
//!
//! All peer connections of one worker: takes their SRTP and SRTCP in, sends what others publish to those who were bound
//! to it, repairs losses both ways, asks for key frames, reports. One `Router` per worker thread; nothing is shared.
//!
//! The worker calls [`Router::receive`] for each datagram of a batch, then [`Router::tick`], then [`Router::flush`] until
//! it answers [`Flush::Done`], sending the batch each time, then drains [`Router::poll_event`]. It calls again at
//! [`Router::deadline`] even without input. Per packet, nothing is allocated once every ring and list has grown.
//!
//! Not here: ICE, DTLS and which connection may have which slot (masterd decides, [`Router::bind`] obeys).

mod control;
mod endpoint;
mod flush;
mod forward;
mod ingress;
mod keyframe;
mod layer;
mod leg;
mod numbers;
mod receiver;
mod repair;
mod saved;
mod slab;
mod speaker;
mod stats;
mod tap;
mod track;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::id::{ConnectionKey, EndpointKey, SessionKey, StreamKey};
use common::limits::SLOTS_PER_ENDPOINT_MAX;
use common::wire::node::{EndpointKind, MediaKind, Permit, SlotBind, SlotGap};

pub use self::numbers::{LegCounters, SessionCounters, TrackCounters, TransportCounters};
pub use self::saved::{SavedLeg, SavedMedia, SavedSource, TooManyAdoptions};
pub use self::stats::{Dropped, EndpointSnapshot, EndpointStats, Snapshot, Totals, TrackSnapshot};
pub use self::tap::{Look, LookWant, Seen, SeenCodec, SeenEncoding, SeenReport, SeenTrack};

use self::endpoint::{Endpoint, Limits, Link, RxSection, merged_ids};
use self::leg::Leg;
use self::repair::{Budget, Repair};
use self::slab::{Key, Slab};
use self::track::{LegRef, Track};
use crate::rtcp::twcc;
use crate::transport::lease::{Lease, RtcpLease};
use crate::transport::spec::{EndpointSpec, Flow};
use crate::transport::srtp::{Opener, Sealer};

/// Number of an endpoint in its router; never valid for another one, even after it was closed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EndpointIndex(Key);

/// How a router behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Seed of first sequence numbers and timestamps.
    pub seed: u64,
    /// Wall clock at the router's start, since 1970: what sender reports say.
    pub unix: Duration,
    /// Canonical name (RFC 7022) of all that this node sends.
    pub cname: String,
    /// Add at most 4 bytes of RTP padding where it makes the packets of a frame equally long, so that they leave in
    /// one system call message.
    pub level: bool,
    /// Endpoints of this router.
    pub endpoints_max: usize,
    /// Bytes of received packets between two flushes.
    pub staging_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            unix: Duration::ZERO,
            cname: "plenum".to_owned(),
            level: true,
            endpoints_max: 4096,
            staging_bytes: 512 * 1024,
        }
    }
}

/// What an endpoint is, for [`Router::open`].
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// Its session.
    pub session: SessionKey,
    /// Its participant.
    pub connection: ConnectionKey,
    /// Its key; a second one of the same key is refused.
    pub endpoint: EndpointKey,
    /// What it is for.
    pub kind: EndpointKind,
    /// What was negotiated.
    pub spec: &'a EndpointSpec,
}

/// Why an endpoint was not opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The key is in use.
    #[error("endpoint {0} is open already")]
    Exists(EndpointKey),
    /// The worker carries no more.
    #[error("limit of {0} endpoints is reached")]
    Limit(usize),
    /// The stream is published already.
    #[error("stream {0} is published already")]
    Published(StreamKey),
    /// The stream of a pair is not published here.
    #[error("unknown stream {0}")]
    UnknownStream(StreamKey),
}

/// Why a slot was not bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BindError {
    /// No such endpoint.
    #[error("unknown endpoint {0}")]
    UnknownEndpoint(EndpointKey),
    /// The stream is not published here.
    #[error("unknown stream {0}")]
    UnknownStream(StreamKey),
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// Authentic RTCP.
    Control,
    /// Nothing: counted. No sign of life of the peer.
    Dropped(Dropped),
    /// Authentic RTP, taken in.
    Media,
    /// Authentic RTP, but of no use.
    Unused(Dropped),
}

impl Received {
    /// Whether the peer sent it for certain: its address is right and it is alive.
    pub const fn is_authentic(self) -> bool {
        !matches!(self, Self::Dropped(_))
    }
}

/// Whether a flush is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Flush {
    /// Everything is in the batch.
    Done,
    /// The batch is full: send it, clear it, call again.
    More,
}

/// A fact for masterd, to be wrapped into a `NodeFact`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A slot could not be filled as told, or can be now.
    Slot {
        /// Session of the endpoint.
        session: SessionKey,
        /// The endpoint.
        endpoint: EndpointKey,
        /// Which slot.
        slot: u16,
        /// Its audio or video section.
        kind: MediaKind,
        /// The stream that was to fill it.
        stream: StreamKey,
        /// Why it stays empty; none when it is filled after all.
        why: Option<SlotGap>,
    },
    /// The loudest streams of a session changed, loudest first.
    Speakers {
        /// The session.
        session: SessionKey,
        /// At most eight that speak.
        loudest: Vec<StreamKey>,
    },
    /// First media of a track arrived, or its codec or encodings changed.
    Track {
        /// Its session.
        session: SessionKey,
        /// The stream.
        stream: StreamKey,
        /// Audio or video.
        kind: MediaKind,
        /// Codec name, upper case.
        codec: String,
        /// Simulcast encodings, smallest first; empty without simulcast.
        rids: Vec<String>,
    },
}

/// What a session needs beyond its endpoints.
#[derive(Debug, Default)]
struct Session {
    audio: Vec<Key>,
    loudest: Vec<StreamKey>,
    permits: Vec<Permit>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Router {
    settings: Settings,
    start: Instant,
    endpoints: Slab<Endpoint>,
    by_key: HashMap<EndpointKey, EndpointIndex>,
    tracks: Slab<Track>,
    streams: HashMap<(StreamKey, MediaKind), Key>,
    sessions: HashMap<SessionKey, Session>,
    random: u64,
    /// Packets since the last flush, back to back.
    staging: Vec<u8>,
    /// Encodings with packets in the staging area, and how far the flush got.
    dirty: Vec<(Key, u8)>,
    cursor: flush::Cursor,
    /// Legs that changed their encoding during a run.
    moves: Vec<(LegRef, forward::Outcome)>,
    /// Legs that may begin from a ring. True: at any cost, for the packets came out of order.
    starts: Vec<(LegRef, bool)>,
    repairs: VecDeque<Repair>,
    /// Encodings with missing packets.
    lossy: Vec<(Key, u8)>,
    /// Encodings of which a key frame is wanted.
    wishing: Vec<(Key, u8)>,
    /// Endpoints with arrivals to report.
    feedback: Vec<EndpointIndex>,
    feedback_us: u64,
    /// Steps of reports that are done, and how far the present one got.
    report_step: u64,
    report_slot: u32,
    speakers_us: u64,
    layers_us: u64,
    events: VecDeque<Event>,
    totals: Totals,
    scratch: flush::Scratch,
}

/// Events that wait for the worker; more push out the oldest.
const EVENTS_MAX: usize = 4096;

impl Router {
    /// An empty router whose clock begins at `now`.
    pub fn new(now: Instant, settings: Settings) -> Self {
        let staging = Vec::with_capacity(settings.staging_bytes);
        Self {
            random: settings.seed,
            start: now,
            settings,
            endpoints: Slab::default(),
            by_key: HashMap::new(),
            tracks: Slab::default(),
            streams: HashMap::new(),
            sessions: HashMap::new(),
            staging,
            dirty: Vec::with_capacity(LISTED),
            cursor: flush::Cursor::default(),
            moves: Vec::with_capacity(LISTED),
            starts: Vec::with_capacity(LISTED),
            repairs: VecDeque::with_capacity(repair::REPAIRS_MAX),
            lossy: Vec::with_capacity(LISTED),
            wishing: Vec::with_capacity(LISTED),
            feedback: Vec::with_capacity(LISTED),
            feedback_us: 0,
            report_step: 0,
            report_slot: 0,
            speakers_us: 0,
            layers_us: 0,
            events: VecDeque::new(),
            totals: Totals::default(),
            scratch: flush::Scratch::default(),
        }
    }

    /// Opens a negotiated endpoint. It receives nothing before [`Self::install_keys`] and is sent nothing before
    /// [`Self::set_destination`] too. A `Publish` endpoint publishes its stream from now on; a `Pair` is bound to its
    /// stream; `Slots` wait for [`Self::bind`].
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed then.
    pub fn open(&mut self, now: Instant, open: &Open<'_>) -> Result<EndpointIndex, OpenError> {
        if self.by_key.contains_key(&open.endpoint) {
            return Err(OpenError::Exists(open.endpoint));
        }
        if self.endpoints.len() >= self.settings.endpoints_max {
            return Err(OpenError::Limit(self.settings.endpoints_max));
        }
        match open.kind {
            EndpointKind::Publish { stream } if self.is_published(stream) => {
                return Err(OpenError::Published(stream));
            }
            EndpointKind::Pair { stream } if !self.is_published(stream) => {
                return Err(OpenError::UnknownStream(stream));
            }
            EndpointKind::Pair { .. } | EndpointKind::Publish { .. } | EndpointKind::Slots => {}
        }
        let permit = self.permit_of(open.session, open.connection);
        let legs = self.legs(open.spec);
        let endpoint = Endpoint {
            key: open.endpoint,
            session: open.session,
            connection: open.connection,
            link: Link {
                dest: None,
                sealer: None,
                opener: None,
                rtcp: RtcpLease::new(),
                transport_seq: 1,
                limits: Limits::Own,
                reported: 0,
            },
            ids: merged_ids(open.spec),
            sections: Vec::new(),
            sources: Vec::new(),
            recorder: Endpoint::wants_feedback(open.spec).then(twcc::Recorder::default),
            legs,
            allowed: permit.is_none_or(|permit| permit.subscribe),
            rtt_us: RTT_US_DEFAULT,
            ntp_offset: None,
            budget: Budget::new(),
            stats: EndpointStats::default(),
            feedback_queued: false,
            fir: 0,
            reported_bytes: 0,
        };
        let index = EndpointIndex(self.endpoints.insert(endpoint));
        self.by_key.insert(open.endpoint, index);
        self.sessions.entry(open.session).or_default();
        match open.kind {
            EndpointKind::Publish { stream } => self.publish(index, stream, open),
            EndpointKind::Pair { stream } => {
                for kind in [MediaKind::Audio, MediaKind::Video] {
                    self.fill(
                        now,
                        index,
                        SlotBind { slot: 0, kind, source: Some(stream), spatial_max: u8::MAX },
                    );
                }
            }
            EndpointKind::Slots => {}
        }
        Ok(index)
    }

    /// Number of an open endpoint.
    pub fn index(&self, endpoint: EndpointKey) -> Option<EndpointIndex> {
        self.by_key.get(&endpoint).copied()
    }

    /// Gives an endpoint its SRTP keys, after the DTLS handshake.
    pub fn install_keys(&mut self, index: EndpointIndex, sealer: Sealer, opener: Opener) {
        if let Some(endpoint) = self.endpoints.find_mut(index.0) {
            endpoint.link.sealer = Some(sealer);
            endpoint.link.opener = Some(opener);
            self.begin(index);
        }
    }

    /// Sets where packets to an endpoint go, or that there is no way at present.
    pub fn set_destination(&mut self, index: EndpointIndex, dest: Option<SocketAddr>) {
        if let Some(endpoint) = self.endpoints.find_mut(index.0) {
            let was_ready = endpoint.link.is_ready();
            endpoint.link.dest = dest;
            if !was_ready {
                self.begin(index);
            }
        }
    }

    /// Tells the round-trip time to an endpoint, as ICE measured it.
    pub fn set_rtt(&mut self, index: EndpointIndex, rtt: Duration) {
        if let Some(endpoint) = self.endpoints.find_mut(index.0) {
            endpoint.rtt_us = rtt.as_micros().min(2_000_000) as u64;
        }
    }

    /// Takes one SRTP or SRTCP datagram (first byte 128 to 191) from an endpoint. The bytes are decrypted in place.
    pub fn receive(&mut self, now: Instant, index: EndpointIndex, datagram: &mut [u8]) -> Received {
        let us = self.us(now);
        if crate::rtp::is_rtcp(datagram) {
            self.receive_rtcp(us, index, datagram)
        } else {
            self.receive_rtp(us, index, datagram)
        }
    }

    /// Fills or empties a slot. Binding the stream that is there already only changes the layer. A slot that cannot be
    /// fed (codec, no such track, no such section) is told by [`Event::Slot`].
    ///
    /// # Errors
    /// [`BindError`]; nothing has changed then.
    pub fn bind(&mut self, now: Instant, endpoint: EndpointKey, bind: SlotBind) -> Result<(), BindError> {
        let index = self.index(endpoint).ok_or(BindError::UnknownEndpoint(endpoint))?;
        if let Some(stream) = bind.source.filter(|stream| !self.is_published(*stream)) {
            return Err(BindError::UnknownStream(stream));
        }
        self.fill(now, index, bind);
        Ok(())
    }

    /// Says what a connection may do, for its open endpoints and those to come.
    pub fn permit(&mut self, now: Instant, permit: &Permit) {
        let us = self.us(now);
        let session = self.sessions.entry(permit.session).or_default();
        session.permits.retain(|old| old.connection != permit.connection);
        if session.permits.len() == PERMITS_MAX {
            return;
        }
        session.permits.push(*permit);
        let of_connection =
            self.endpoints.iter().filter(|(_, endpoint)| endpoint.connection == permit.connection);
        let indexes: Vec<EndpointIndex> = of_connection.map(|(key, _)| EndpointIndex(key)).collect();
        for index in indexes {
            self.apply_permit(us, index, permit);
        }
    }

    /// Closes an endpoint: what it published ends, its slots are empty. False when there is none.
    pub fn close(&mut self, endpoint: EndpointKey) -> bool {
        let Some(index) = self.by_key.remove(&endpoint) else { return false };
        let legs = self.endpoints.find(index.0).map_or(0, |endpoint| endpoint.legs.len());
        for leg in 0..legs {
            self.detach(LegRef { endpoint: index.0.slot, leg: leg as u16 });
        }
        let Some(closed) = self.endpoints.remove(index.0) else { return false };
        for section in &closed.sections {
            self.unpublish(section.track);
        }
        self.feedback.retain(|other| *other != index);
        if !self.endpoints.iter().any(|(_, other)| other.session == closed.session) {
            self.sessions.remove(&closed.session);
        }
        true
    }

    /// Forgets a session: closes all its endpoints and drops its permits.
    pub fn close_session(&mut self, session: SessionKey) {
        let of_session = self.endpoints.iter().filter(|(_, endpoint)| endpoint.session == session);
        let keys: Vec<EndpointKey> = of_session.map(|(_, endpoint)| endpoint.key).collect();
        for key in keys {
            self.close(key);
        }
        self.sessions.remove(&session);
    }

    /// Does what time brings: speakers, choice of encodings. Cheap when nothing is due; call it once per turn.
    pub fn tick(&mut self, now: Instant) {
        let us = self.us(now);
        if us >= self.speakers_us + SPEAKERS_US {
            self.speakers_us = us;
            self.review_speakers();
        }
        if us >= self.layers_us + LAYERS_US {
            self.layers_us = us;
            self.review_layers(us);
        }
    }

    /// When [`Self::tick`] and [`Self::flush`] are to be called next, if nothing is received before.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.endpoints.len() == 0 {
            return None;
        }
        let urgent = !self.lossy.is_empty() || !self.wishing.is_empty();
        let step_us = if urgent { STEP_US } else { FEEDBACK_US };
        let us = self.us(now);
        Some(self.start + Duration::from_micros((us / step_us + 1) * step_us))
    }

    /// Whether the rest of a frame that [`Self::receive`] took in part is about to come: a flush after it sends each
    /// subscriber the whole frame as one message.
    pub fn awaits(&self) -> bool {
        self.dirty.iter().any(|(key, position)| {
            track::encoding(&self.tracks, *key, *position).is_some_and(track::Encoding::awaits)
        })
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sequence number that the next packet of an outgoing SSRC gets.
    pub fn next_sequence(&self, index: EndpointIndex, ssrc: u32) -> Option<u16> {
        let endpoint = self.endpoints.find(index.0)?;
        let leg = endpoint.legs.iter().find(|leg| leg.lease.ssrc() == ssrc)?;
        Some(leg.lease.next() as u16)
    }

    /// Sums over the router's life.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Endpoints that are open.
    pub const fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether no endpoint is open.
    pub const fn is_empty(&self) -> bool {
        self.endpoints.len() == 0
    }

    /// Copies all counters.
    pub fn snapshot(&self, out: &mut Snapshot, now: Instant) {
        let us = self.us(now);
        out.totals = self.totals;
        out.endpoints.clear();
        out.endpoints.extend(self.endpoints.iter().map(|(_, endpoint)| {
            let mut stats = endpoint.stats;
            stats.packets_out = endpoint.legs.iter().map(|leg| leg.packets).sum();
            stats.bytes_out = endpoint.legs.iter().map(|leg| leg.bytes).sum();
            stats.resent = endpoint.legs.iter().map(|leg| leg.resent).sum();
            EndpointSnapshot {
                session: endpoint.session,
                connection: endpoint.connection,
                endpoint: endpoint.key,
                stats,
                rtt_us: endpoint.rtt_us,
            }
        }));
        out.tracks.clear();
        out.tracks.extend(self.tracks.iter().map(|(_, track)| TrackSnapshot {
            session: track.session,
            stream: track.stream,
            kind: track.kind,
            packets: track.packets,
            bytes: track.bytes,
            lost: track.encodings.iter().map(|encoding| encoding.receiver.lost).sum(),
            subscribers: track.followers.len() as u32,
            encodings: track.encodings.iter().filter(|encoding| encoding.flows(us)).count() as u8,
        }));
    }

    fn us(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_micros() as u64
    }

    fn is_published(&self, stream: StreamKey) -> bool {
        [MediaKind::Audio, MediaKind::Video].iter().any(|kind| self.streams.contains_key(&(stream, *kind)))
    }

    fn permit_of(&self, session: SessionKey, connection: ConnectionKey) -> Option<Permit> {
        let permits = &self.sessions.get(&session)?.permits;
        permits.iter().find(|permit| permit.connection == connection).copied()
    }

    /// The legs that a specification asks for.
    fn legs(&mut self, spec: &EndpointSpec) -> Vec<Leg> {
        let mut legs = Vec::new();
        for section in &spec.sections {
            if let Flow::Send { slot, ssrc, rtx_ssrc } = section.flow
                && legs.len() < 2 * SLOTS_PER_ENDPOINT_MAX
            {
                let lease = Lease::new(ssrc, self.random() as u16 >> 1);
                let rtx = Lease::new(rtx_ssrc, self.random() as u16 >> 1);
                legs.push(Leg::new(section, slot, lease, rtx));
            }
        }
        legs
    }

    /// Makes tracks of the first audio and the first video section that we receive in.
    fn publish(&mut self, index: EndpointIndex, stream: StreamKey, open: &Open<'_>) {
        let permit = self.permit_of(open.session, open.connection);
        for section in &open.spec.sections {
            let Flow::Receive { rids, ssrcs } = &section.flow else { continue };
            if self.streams.contains_key(&(stream, section.kind)) {
                continue;
            }
            let mut track = Track::new(open.session, stream, index.0.slot, section, rids);
            track.allowed = permit.is_none_or(|permit| may_publish(&permit, section.kind));
            let key = self.tracks.insert(track);
            self.streams.insert((stream, section.kind), key);
            if section.kind == MediaKind::Audio
                && let Some(session) = self.sessions.get_mut(&open.session)
            {
                session.audio.push(key);
            }
            let Some(endpoint) = self.endpoints.find_mut(index.0) else { return };
            let position = endpoint.sections.len() as u8;
            endpoint.sections.push(RxSection {
                mid: section.mid.clone(),
                kind: section.kind,
                rids: rids.clone(),
                codecs: section.codecs.clone(),
                track: key,
            });
            // With RIDs the announced SSRCs say nothing about which encoding is which.
            if rids.is_empty()
                && let Some((ssrc, rtx)) = ssrcs.first()
            {
                self.expect(index, position, *ssrc, false);
                if let Some(rtx) = rtx {
                    self.expect(index, position, *rtx, true);
                }
            }
        }
    }

    /// Ends a track.
    fn unpublish(&mut self, key: Key) {
        let Some(track) = self.tracks.find(key) else { return };
        let followers = track.followers.clone();
        for leg in followers {
            self.detach(leg);
        }
        let Some(track) = self.tracks.remove(key) else { return };
        self.streams.remove(&(track.stream, track.kind));
        if let Some(session) = self.sessions.get_mut(&track.session) {
            session.audio.retain(|other| *other != key);
        }
        self.dirty.retain(|(other, _)| *other != key);
        self.lossy.retain(|(other, _)| *other != key);
        self.wishing.retain(|(other, _)| *other != key);
        self.totals.lost_in += track.encodings.iter().map(|encoding| encoding.receiver.lost).sum::<u64>();
    }

    /// The endpoint can be sent to: whatever is bound may begin.
    fn begin(&mut self, index: EndpointIndex) {
        let Some(endpoint) = self.endpoints.find(index.0).filter(|endpoint| endpoint.link.is_ready()) else {
            return;
        };
        for (at, leg) in endpoint.legs.iter().enumerate().filter(|(_, leg)| leg.source.is_some()) {
            if leg.current.is_none() {
                self.starts.push((LegRef { endpoint: index.0.slot, leg: at as u16 }, false));
            }
        }
    }

    fn emit(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// splitmix64: first sequence numbers and timestamps need no more.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

const fn may_publish(permit: &Permit, kind: MediaKind) -> bool {
    match kind {
        MediaKind::Audio => permit.publish_audio,
        MediaKind::Video => permit.publish_video,
    }
}

/// Room of lists of what there is to do; those of a worker with more to do at one time grow once.
const LISTED: usize = 64;

/// Round-trip time before one was measured.
const RTT_US_DEFAULT: u64 = 100_000;

/// Speakers are compared this often.
const SPEAKERS_US: u64 = 200_000;

/// Encodings are chosen anew this often.
const LAYERS_US: u64 = 250_000;

/// Transport-wide feedback to publishers is sent this often.
const FEEDBACK_US: u64 = 50_000;

/// Grid of retransmission requests and reports.
const STEP_US: u64 = 10_000;

/// Permits of one session; connections per session are bounded by masterd.
const PERMITS_MAX: usize = 10_000;
