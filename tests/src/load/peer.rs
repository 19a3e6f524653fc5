//! Shell: owns a UDP socket and reads the clock.
//!
//! One participant: a peer connection of the `rtc` crate on a socket of its own, its media sources, what it received.
//! All transport (ICE, DTLS, SRTP, RTCP, retransmission) is the crate's; this file moves bytes and packets.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mediad::worker::syscall::{ReceiveBatch, SocketOption, set_option};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use rtc::rtp_transceiver::{
    RTCRtpReceiverId, RTCRtpSenderId, RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
};
use rtc::sansio::Protocol;
use rtc::sdp::extmap::{AUDIO_LEVEL_URI, SDES_MID_URI};
use rtc::shared::error::Error;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::statistics::StatsSelector;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::engine::{Profile, codec_kind, peer_connection, track};
use super::film::Film;
use super::nack::NackState;
use super::pace::{Pacing, Schedule};
use super::packet::{self, FramePlace, Kind, Stamp};
use super::verify::{SentFlow, Verifier};

/// Asked of the kernel for each socket; it gives what `net.core.rmem_max` allows.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// The MID is sent in the first packets of a flow, as browsers do until the receiver has reported.
const MID_PACKETS: u64 = 100;
/// RTP header and the extension block that every packet has.
const HEADER_BYTES: usize = 20;
/// When nothing else is due.
const IDLE: Duration = Duration::from_secs(1);

thread_local! {
    /// Room for what one call receives; a peer has it between two waits only.
    static RECEIVE: RefCell<ReceiveBatch> = RefCell::default();
}

/// What all peers of a run share.
#[derive(Debug)]
pub(super) struct Common {
    /// Origin of all send times.
    pub(super) epoch: Instant,
    /// Packets delivered to receivers so far, by the whole run.
    pub(super) delivered: AtomicU64,
    /// Packets sent by publishers so far.
    pub(super) sent: AtomicU64,
    /// Datagrams that our own sockets refused.
    pub(super) send_drops: AtomicU64,
    /// Ports of our sockets. Each peer adds its own once.
    pub(super) ports: Mutex<HashSet<u16>>,
}

impl Common {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            delivered: 0.into(),
            sent: 0.into(),
            send_drops: 0.into(),
            ports: Mutex::default(),
        }
    }

    fn note_port(&self, port: u16) {
        if let Ok(mut ports) = self.ports.lock() {
            ports.insert(port);
        }
    }

    /// Datagrams that the kernel dropped because we did not read them in time, over all open sockets.
    pub(super) fn receive_drops(&self) -> u64 {
        let table = std::fs::read_to_string("/proc/self/net/udp").unwrap_or_default();
        let Ok(ports) = self.ports.lock() else { return 0 };
        let drops = |line: &str| {
            let mut fields = line.split_whitespace();
            let port = u16::from_str_radix(fields.nth(1)?.split_once(':')?.1, 16).ok()?;
            ports.contains(&port).then(|| fields.next_back()?.parse::<u64>().ok())?
        };
        table.lines().skip(1).filter_map(drops).sum()
    }

    /// Packets sent and delivered so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.delivered.load(Ordering::Relaxed))
    }
}

/// What a receiver asked for again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Repairs {
    /// Packets, counted at each request.
    pub(super) requested: u64,
    /// Of these, not for the first time.
    pub(super) again: u64,
    /// Packets given up.
    pub(super) given_up: u64,
}

impl Repairs {
    pub(super) fn add(&mut self, other: &Self) {
        self.requested += other.requested;
        self.again += other.again;
        self.given_up += other.given_up;
    }
}

/// What one peer is to do.
#[derive(Clone, Debug)]
pub(super) struct PeerSettings {
    pub(super) local_ip: IpAddr,
    pub(super) profile: Profile,
    /// Of 1,000 media packets so many are lost on purpose, each way.
    pub(super) loss_permille: u32,
    pub(super) seed: u64,
    pub(super) audio: bool,
}

/// How a flow looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowSettings {
    pub(super) kind: Kind,
    pub(super) pacing: Pacing,
    pub(super) packets_per_s: u64,
    pub(super) frames_per_s: u64,
    /// Whole RTP packet.
    pub(super) packet_bytes: usize,
    pub(super) keyframe_interval: Duration,
}

/// One flow that is sent.
#[derive(Debug)]
struct Source {
    settings: FlowSettings,
    publisher: u32,
    ssrc: u32,
    sender: RTCRtpSenderId,
    payload_type: u8,
    mid: Option<(u8, Bytes)>,
    level: Option<u8>,
    schedule: Schedule,
    counter: u64,
    counted_end: Option<u64>,
    keyframe_wanted: bool,
    keyframe_at: Duration,
    frame_is_key: bool,
    timestamp_base: u32,
    /// What it plays instead of stamps.
    film: Option<Reel>,
}

/// Where a film stands.
#[derive(Debug)]
struct Reel {
    film: Arc<Film>,
    frame: u64,
    piece: usize,
}

/// A participant.
pub(super) struct Peer {
    connection: RTCPeerConnection,
    socket: UdpSocket,
    local: SocketAddr,
    common: Arc<Common>,
    settings: PeerSettings,
    random: SmallRng,
    sources: Vec<Source>,
    /// When the sources began.
    started: Option<Instant>,
    receivers: HashMap<String, RTCRtpReceiverId>,
    nacks: HashMap<u32, (RTCRtpReceiverId, NackState)>,
    /// What came.
    pub(super) verifier: Verifier,
    state: RTCPeerConnectionState,
    /// Datagrams dropped on purpose.
    pub(super) lost_on_purpose: u64,
    /// Errors of the crate on input; counted only.
    pub(super) input_errors: u64,
    /// Key frame requests received.
    pub(super) keyframe_requests: u64,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("local", &self.local).field("state", &self.state).finish_non_exhaustive()
    }
}

/// Why a peer ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    #[error("peer connection refused the operation")]
    Connection(#[from] Error),
    #[error("connection ended as {0}")]
    Ended(RTCPeerConnectionState),
    #[error("not connected within {0:?}")]
    NotConnected(Duration),
    #[error("socket failed")]
    Socket(#[from] io::Error),
    #[error("the crate gave no local description")]
    NoDescription,
    #[error("the answer has no codec for {0:?}")]
    NoCodec(Kind),
}

impl Peer {
    pub(super) async fn new(common: &Arc<Common>, settings: PeerSettings) -> Result<Self, PeerError> {
        let socket = UdpSocket::bind((settings.local_ip, 0)).await?;
        // A stalled machine shall not look like a server that loses packets.
        socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        set_option(&socket, SocketOption::Coalesce, 1)?;
        let local = socket.local_addr()?;
        common.note_port(local.port());
        let connection = peer_connection(Instant::now(), settings.profile, settings.audio)?;
        Ok(Self {
            connection,
            socket,
            local,
            common: Arc::clone(common),
            random: SmallRng::seed_from_u64(settings.seed),
            settings,
            sources: Vec::new(),
            started: None,
            receivers: HashMap::new(),
            nacks: HashMap::new(),
            verifier: Verifier::default(),
            state: RTCPeerConnectionState::New,
            lost_on_purpose: 0,
            input_errors: 0,
            keyframe_requests: 0,
        })
    }

    /// Adds a flow to send. To be called before the offer is made.
    pub(super) fn add_source(&mut self, publisher: u32, settings: FlowSettings) -> Result<(), PeerError> {
        let ssrc: u32 = self.random.random();
        let init =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, ..Default::default() };
        let transceiver =
            self.connection.add_transceiver_from_track(track(settings.kind, publisher, ssrc), Some(init))?;
        let Some(sender) =
            self.connection.rtp_transceiver(transceiver).and_then(|transceiver| transceiver.sender())
        else {
            return Err(PeerError::NoDescription);
        };
        self.sources.push(Source {
            settings,
            publisher,
            ssrc,
            sender,
            payload_type: 0,
            mid: None,
            level: None,
            schedule: Schedule::new(settings.pacing, settings.packets_per_s, settings.frames_per_s),
            counter: 0,
            counted_end: None,
            keyframe_wanted: true,
            keyframe_at: Duration::ZERO,
            frame_is_key: false,
            timestamp_base: self.random.random(),
            film: None,
        });
        Ok(())
    }

    /// Adds a film's pictures or sound to send. To be called before the offer is made.
    pub(super) fn add_film(&mut self, kind: Kind, film: &Arc<Film>) -> Result<(), PeerError> {
        let frames_per_s = match kind {
            Kind::Audio => Film::sounds_per_s(),
            Kind::Video => film.frames_per_s(),
        };
        let settings = FlowSettings {
            kind,
            pacing: Pacing::Burst,
            packets_per_s: frames_per_s,
            frames_per_s,
            packet_bytes: 0,
            keyframe_interval: Duration::ZERO,
        };
        self.add_source(0, settings)?;
        if let Some(source) = self.sources.last_mut() {
            source.film = Some(Reel { film: Arc::clone(film), frame: 0, piece: 0 });
        }
        Ok(())
    }

    /// Adds a section to receive in.
    pub(super) fn add_slot(&mut self, kind: Kind) -> Result<(), PeerError> {
        self.connection.add_transceiver_from_kind(codec_kind(kind), None)?;
        Ok(())
    }

    /// Our offer, with our candidate in it.
    pub(super) fn offer(&mut self) -> Result<String, PeerError> {
        self.add_candidate()?;
        let offer = self.connection.create_offer(None)?;
        self.connection.set_local_description(Instant::now(), offer)?;
        self.local_sdp()
    }

    /// Takes the server's answer.
    pub(super) fn accept_answer(&mut self, sdp: String) -> Result<(), PeerError> {
        tracing::trace!(sdp, "theirs");
        self.connection.set_remote_description(Instant::now(), RTCSessionDescription::answer(sdp)?)?;
        self.look_up_parameters()
    }

    /// Answers the server's offer.
    pub(super) fn answer(&mut self, sdp: String) -> Result<String, PeerError> {
        tracing::trace!(sdp, "theirs");
        self.connection.set_remote_description(Instant::now(), RTCSessionDescription::offer(sdp)?)?;
        self.add_candidate()?;
        let answer = self.connection.create_answer(None)?;
        self.connection.set_local_description(Instant::now(), answer)?;
        self.local_sdp()
    }

    fn add_candidate(&mut self) -> Result<(), PeerError> {
        let base_config = CandidateConfig {
            network: "udp".to_owned(),
            address: self.local.ip().to_string(),
            port: self.local.port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host()?;
        self.connection.add_local_candidate(RTCIceCandidate::from(&candidate).to_json()?)?;
        Ok(())
    }

    fn local_sdp(&self) -> Result<String, PeerError> {
        let sdp = self
            .connection
            .local_description()
            .map(|description| description.sdp)
            .ok_or(PeerError::NoDescription)?;
        tracing::trace!(sdp, "ours");
        Ok(sdp)
    }

    /// What the answer settled: payload types and ids of extensions.
    fn look_up_parameters(&mut self) -> Result<(), PeerError> {
        for source in &mut self.sources {
            let mid = self.connection.get_transceivers().collect::<Vec<_>>().into_iter().find_map(|id| {
                let transceiver = self.connection.rtp_transceiver(id)?;
                (transceiver.sender() == Some(source.sender)).then(|| transceiver.mid().clone())?
            });
            let Some(mut sender) = self.connection.rtp_sender(source.sender) else { continue };
            let parameters = &sender.get_parameters().rtp_parameters;
            let wanted = match source.settings.kind {
                Kind::Audio => "audio/opus",
                Kind::Video => "video/VP8",
            };
            let codec =
                parameters.codecs.iter().find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(wanted));
            source.payload_type = codec.ok_or(PeerError::NoCodec(source.settings.kind))?.payload_type;
            let id = |uri: &str| {
                parameters
                    .header_extensions
                    .iter()
                    .find(|extension| extension.uri == uri)
                    .map(|extension| extension.id as u8)
            };
            source.mid = id(SDES_MID_URI).zip(mid.map(Bytes::from));
            source.level = id(AUDIO_LEVEL_URI);
        }
        Ok(())
    }

    /// SRTP protection profile, once connected.
    pub(super) fn srtp_profile(&mut self) -> String {
        let report = self.connection.get_stats(Instant::now(), StatsSelector::None);
        report.transport().map(|transport| transport.srtp_cipher.clone()).unwrap_or_default()
    }

    /// Runs until connected.
    pub(super) async fn connect(&mut self, timeout: Duration) -> Result<(), PeerError> {
        let deadline = Instant::now() + timeout;
        while self.state != RTCPeerConnectionState::Connected {
            if Instant::now() >= deadline {
                return Err(PeerError::NotConnected(timeout));
            }
            self.turn(Some(deadline)).await?;
        }
        Ok(())
    }

    /// One turn: send what is due, then wait for a datagram, a timer or `until`, and handle it. Cancel safe.
    pub(super) async fn turn(&mut self, until: Option<Instant>) -> Result<(), PeerError> {
        let now = Instant::now();
        self.send_due(now)?;
        self.ask_for_repeats(now)?;
        if self.connection.poll_timeout().is_some_and(|deadline| deadline <= now)
            && self.connection.handle_timeout(now).is_err()
        {
            self.input_errors += 1;
        }
        self.drain(now)?;
        let wake = self.wake(now, until);
        tokio::select! {
            // Both arms only wait; nothing is lost when one of them is dropped.
            ready = self.socket.readable() => {
                ready?;
                self.receive()?;
            }
            () = tokio::time::sleep_until(wake.into()) => {}
        }
        Ok(())
    }

    fn wake(&mut self, now: Instant, until: Option<Instant>) -> Instant {
        let mut wake = self.connection.poll_timeout().unwrap_or(now + IDLE).min(now + IDLE);
        if let Some(started) = self.started {
            for source in &self.sources {
                wake = wake.min(started + source.due_at());
            }
        }
        for (_, state) in self.nacks.values() {
            wake = state.deadline().map_or(wake, |deadline| wake.min(deadline));
        }
        until.map_or(wake, |until| wake.min(until))
    }

    /// Takes what waits at the socket, several datagrams with each call, and those that left the server as one message as
    /// one: on loopback, splitting it is the receiving half's work and would be counted as the sender's.
    fn receive(&mut self) -> Result<(), PeerError> {
        let mut datagrams = Vec::new();
        RECEIVE.with_borrow_mut(|batch| {
            let take = || match batch.receive(&self.socket)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                messages => Ok(messages),
            };
            match self.socket.try_io(Interest::READABLE, take) {
                Ok(messages) => batch.for_each(messages, |from, datagram| {
                    datagrams.push((from, BytesMut::from(&*datagram)));
                }),
                // A port that is gone answers with ICMP; ICE decides what that means.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        for (from, message) in datagrams {
            if self.loses(&message) {
                continue;
            }
            let now = Instant::now();
            let transport = TransportContext {
                local_addr: self.local,
                peer_addr: from,
                ecn: None,
                transport_protocol: TransportProtocol::UDP,
            };
            if self.connection.handle_read(TaggedBytesMut { now, transport, message }).is_err() {
                self.input_errors += 1;
            }
            self.drain(now)?;
        }
        Ok(())
    }

    /// Media only: whatever else is lost would test patience, not repair.
    fn loses(&mut self, datagram: &[u8]) -> bool {
        let media = matches!(datagram, [128..=191, second, ..] if !(192..=223).contains(second));
        let lost = media
            && self.settings.loss_permille > 0
            && self.random.random_ratio(self.settings.loss_permille.min(1_000), 1_000);
        self.lost_on_purpose += u64::from(lost);
        lost
    }

    fn drain(&mut self, now: Instant) -> Result<(), PeerError> {
        while let Some(out) = self.connection.poll_write() {
            if self.loses(&out.message) {
                continue;
            }
            if self.socket.try_send_to(&out.message, out.transport.peer_addr).is_err() {
                self.common.send_drops.fetch_add(1, Ordering::Relaxed);
            }
        }
        while let Some(event) = self.connection.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.state = state;
                if state == RTCPeerConnectionState::Failed {
                    return Err(PeerError::Ended(state));
                }
            }
        }
        while let Some(message) = self.connection.poll_read() {
            match message.message {
                RTCMessage::RtpPacket(track, packet) => self.note_packet(now, track, &packet),
                RTCMessage::RtcpPacket(_, packets) => self.note_feedback(&packets),
                RTCMessage::DataChannelMessage(..) | _ => {}
            }
        }
        Ok(())
    }

    fn note_packet(&mut self, now: Instant, track: String, packet: &rtc::rtp::Packet) {
        let kind = match packet.header.payload_type {
            payload_type if self.is_audio(payload_type) => Kind::Audio,
            _ => Kind::Video,
        };
        if kind == Kind::Video {
            let state = match self.nacks.get_mut(&packet.header.ssrc) {
                Some((_, state)) => Some(state),
                None => self.receiver(track).map(|id| {
                    &mut self.nacks.entry(packet.header.ssrc).or_insert_with(|| (id, NackState::default())).1
                }),
            };
            if let Some(state) = state {
                state.note(now, packet.header.sequence_number);
            }
        }
        if packet.payload.is_empty() {
            return;
        }
        match packet::read(kind, &packet.payload) {
            Ok(stamp) => {
                self.common.delivered.fetch_add(1, Ordering::Relaxed);
                self.verifier.note(&stamp, nanos(now.saturating_duration_since(self.common.epoch)));
            }
            Err(error) => {
                tracing::debug!(%error, bytes = packet.payload.len(), "payload");
                self.verifier.corrupt += 1;
            }
        }
    }

    fn is_audio(&self, payload_type: u8) -> bool {
        // Both servers keep the payload types of the client's own list; the crate maps others to these.
        self.settings.audio && payload_type == super::engine::OPUS_PAYLOAD_TYPE
    }

    fn receiver(&mut self, track: String) -> Option<RTCRtpReceiverId> {
        if let Some(id) = self.receivers.get(&track) {
            return Some(*id);
        }
        let ids: Vec<_> = self.connection.get_receivers().collect();
        let id = ids.into_iter().find(|id| {
            self.connection.rtp_receiver(*id).is_some_and(|receiver| *receiver.track().track_id() == track)
        })?;
        self.receivers.insert(track, id);
        Some(id)
    }

    fn note_feedback(&mut self, packets: &[Box<dyn rtc::rtcp::Packet>]) {
        for packet in packets {
            let any = packet.as_any();
            if any.is::<PictureLossIndication>() || any.is::<FullIntraRequest>() {
                self.keyframe_requests += 1;
                let about = packet.destination_ssrc();
                for source in &mut self.sources {
                    source.keyframe_wanted |= about.contains(&source.ssrc) || any.is::<FullIntraRequest>();
                }
            }
        }
    }

    fn ask_for_repeats(&mut self, now: Instant) -> Result<(), PeerError> {
        for (ssrc, (receiver, state)) in &mut self.nacks {
            let sequences = state.due(now);
            if sequences.is_empty() {
                continue;
            }
            let nack = TransportLayerNack {
                sender_ssrc: 1,
                media_ssrc: *ssrc,
                nacks: nack_pairs_from_sequence_numbers(&sequences),
            };
            if let Some(mut receiver) = self.connection.rtp_receiver(*receiver) {
                receiver.write_rtcp(now, vec![Box::new(nack)])?;
            }
        }
        Ok(())
    }

    /// Lets the sources begin.
    pub(super) fn start_sources(&mut self) {
        self.started = Some(Instant::now());
    }

    /// From now on packets do not count, but keep the flow going.
    pub(super) fn end_count(&mut self) {
        for source in &mut self.sources {
            source.counted_end.get_or_insert(source.counter);
        }
    }

    /// What was sent and counts.
    pub(super) fn sent_flows(&self) -> Vec<SentFlow> {
        let flow = |source: &Source| SentFlow {
            publisher: source.publisher,
            kind: source.settings.kind,
            end: source.counted_end.unwrap_or(source.counter),
        };
        self.sources.iter().map(flow).collect()
    }

    /// What was asked for again.
    pub(super) fn repairs(&self) -> Repairs {
        let mut sum = Repairs::default();
        for (_, state) in self.nacks.values() {
            sum.add(&Repairs {
                requested: state.requested,
                again: state.requested_again,
                given_up: state.given_up,
            });
        }
        sum
    }

    fn send_due(&mut self, now: Instant) -> Result<(), PeerError> {
        let Some(started) = self.started else { return Ok(()) };
        let elapsed = now.saturating_duration_since(started);
        for at in 0..self.sources.len() {
            while self.sources[at].due_at() <= elapsed {
                let (sender, packet) = self.sources[at]
                    .next_packet(nanos(Instant::now().saturating_duration_since(self.common.epoch)));
                if let Some(mut sender) = self.connection.rtp_sender(sender) {
                    sender.write_rtp(now, packet)?;
                }
                self.common.sent.fetch_add(1, Ordering::Relaxed);
                // Datagrams leave one by one, as from a browser.
                self.drain(now)?;
            }
        }
        Ok(())
    }

    /// Says goodbye to the server's transport.
    pub(super) fn close(&mut self) {
        if self.connection.close().is_ok() {
            while let Some(out) = self.connection.poll_write() {
                if self.socket.try_send_to(&out.message, out.transport.peer_addr).is_err() {
                    break;
                }
            }
        }
    }
}

impl Source {
    /// When the next packet is due, since the start.
    fn due_at(&self) -> Duration {
        match &self.film {
            Some(reel) => {
                Duration::from_nanos(reel.frame * 1_000_000_000 / self.settings.frames_per_s.max(1))
            }
            None => self.schedule.peek().at,
        }
    }

    fn next_packet(&mut self, sent_ns: u64) -> (RTCRtpSenderId, rtc::rtp::Packet) {
        let (payload, marker, frame) = match self.film.as_mut() {
            Some(reel) => reel.take(self.settings.kind),
            None => self.next_stamped(sent_ns),
        };
        let clock_hz = match self.settings.kind {
            Kind::Audio => 48_000_u64,
            Kind::Video => 90_000,
        };
        self.packed(payload, marker, frame * clock_hz / self.settings.frames_per_s.max(1))
    }

    /// A payload with a stamp, whether it ends a picture, and the number of its frame.
    fn next_stamped(&mut self, sent_ns: u64) -> (Bytes, bool, u64) {
        let due = self.schedule.take();
        if due.start {
            self.frame_is_key =
                self.keyframe_wanted || due.at >= self.keyframe_at + self.settings.keyframe_interval;
            if self.frame_is_key {
                self.keyframe_wanted = false;
                self.keyframe_at = due.at;
            }
        }
        let stamp = Stamp {
            kind: self.settings.kind,
            publisher: self.publisher,
            counter: self.counter,
            sent_ns,
            tail: self.counted_end.is_some(),
        };
        let size = self.settings.packet_bytes.saturating_sub(HEADER_BYTES);
        let payload = match self.settings.kind {
            Kind::Audio => packet::audio(&stamp, size),
            Kind::Video => {
                let place = FramePlace {
                    start: due.start,
                    keyframe: self.frame_is_key,
                    picture_id: due.frame as u16,
                };
                packet::video(place, &stamp, size)
            }
        };
        (payload, due.end && self.settings.kind == Kind::Video, due.frame)
    }

    fn packed(&mut self, payload: Bytes, marker: bool, ticks: u64) -> (RTCRtpSenderId, rtc::rtp::Packet) {
        let mut header = rtc::rtp::Header {
            version: 2,
            marker,
            payload_type: self.payload_type,
            sequence_number: self.counter as u16,
            timestamp: self.timestamp_base.wrapping_add(ticks as u32),
            ssrc: self.ssrc,
            ..Default::default()
        };
        if let Some((id, mid)) = self.mid.as_ref().filter(|_| self.counter < MID_PACKETS)
            && header.set_extension(*id, mid.clone()).is_err()
        {
            tracing::debug!("mid does not fit");
        }
        if let Some(id) = self.level
            // Voice at -30 dBov (RFC 6464).
            && header.set_extension(id, Bytes::from_static(&[0x80 | 30])).is_err()
        {
            tracing::debug!("level does not fit");
        }
        self.counter += 1;
        (self.sender, rtc::rtp::Packet { header, payload })
    }
}

impl Reel {
    /// The next payload, whether it ends a picture, and the number of its frame.
    fn take(&mut self, kind: Kind) -> (Bytes, bool, u64) {
        let frame = self.frame;
        let (payload, last) = match kind {
            Kind::Audio => (self.film.sound(frame), true),
            Kind::Video => (self.film.piece(frame, self.piece), self.piece + 1 >= self.film.pieces(frame)),
        };
        if last {
            self.frame += 1;
            self.piece = 0;
        } else {
            self.piece += 1;
        }
        (payload, last && kind == Kind::Video, frame)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: u64 = 600;

    fn common() -> Arc<Common> {
        Arc::new(Common::new())
    }

    fn settings(seed: u64, loss_permille: u32) -> PeerSettings {
        PeerSettings {
            local_ip: [127, 0, 0, 1].into(),
            profile: Profile::Auto,
            loss_permille,
            seed,
            audio: false,
        }
    }

    #[tokio::test]
    async fn two_peers_repair_every_loss_between_them() {
        let common = common();
        let mut sender = Peer::new(&common, settings(1, 20)).await.unwrap();
        let mut receiver = Peer::new(&common, settings(2, 20)).await.unwrap();
        let flow = FlowSettings {
            kind: Kind::Video,
            pacing: Pacing::Burst,
            packets_per_s: 300,
            frames_per_s: 30,
            packet_bytes: 1_200,
            keyframe_interval: Duration::from_secs(1),
        };
        sender.add_source(0, flow).unwrap();
        let answer = receiver.answer(sender.offer().unwrap()).unwrap();
        sender.accept_answer(answer).unwrap();
        let limit = Duration::from_secs(20);
        let (one, two) = tokio::join!(sender.connect(limit), receiver.connect(limit));
        one.and(two).unwrap();
        assert!(sender.srtp_profile().contains("GCM"), "{}", sender.srtp_profile());

        sender.start_sources();
        let deadline = Instant::now() + limit;
        let whole = |receiver: &Peer| {
            receiver.verifier.flow(0, Kind::Video).is_some_and(|flow| flow.missing(PACKETS) == 0)
        };
        while !whole(&receiver) && Instant::now() < deadline {
            tokio::select! {
                turn = sender.turn(None) => turn.unwrap(),
                turn = receiver.turn(None) => turn.unwrap(),
            }
        }
        let tally = receiver.verifier.tally(&[SentFlow { publisher: 0, kind: Kind::Video, end: PACKETS }]);
        assert!(receiver.lost_on_purpose > 3, "{}", receiver.lost_on_purpose);
        assert_eq!((tally.missing, tally.corrupt, receiver.repairs().given_up), (0, 0, 0), "{tally:?}");
    }
}
