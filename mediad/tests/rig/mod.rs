//! Pure: no clock, no I/O, no async.
//!
//! Clients and a lossy network around a router on virtual time: a publisher that answers requests like a browser, a
//! subscriber that asks for what it lost and writes down what it got.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::id::{ConnectionKey, EndpointKey, SessionKey, StreamKey};
use common::wire::node::{EndpointKind, MediaKind};
use mediad::codec::vp8;
use mediad::egress::TxBatch;
use mediad::router::{EndpointIndex, Event, Flush, Open, Router, Settings};
use mediad::rtcp::{Builder, Compound, Packet, SenderInfo, twcc};
use mediad::rtp::{HEADER_BYTES_MAX, Header, HeaderWriter, extend_sequence, is_rtcp};
use mediad::transport::lease::{Lease, RtcpLease};
use mediad::transport::spec::{
    Codec, CodecSpec, DtlsRole, EndpointSpec, ExtensionIds, Flow, IceCredentials, Section,
};
use mediad::transport::srtp::{MasterKey, Opener, Profile, Sealer, SrtpKeys};

pub const SESSION: SessionKey = SessionKey(1);
pub const OPUS: u8 = 111;
pub const VP8: u8 = 96;
pub const VP8_RTX: u8 = 97;

/// Extensions as Chromium numbers them.
pub const IDS: ExtensionIds = ExtensionIds {
    abs_send_time: Some(2),
    audio_level: Some(1),
    dependency_descriptor: None,
    mid: Some(4),
    playout_delay: None,
    rid: Some(10),
    repaired_rid: Some(11),
    transport_cc: Some(3),
    video_orientation: None,
};

/// Other numbers, so that a test notices what was not translated.
pub const OTHER_IDS: ExtensionIds = ExtensionIds {
    abs_send_time: Some(7),
    audio_level: Some(9),
    mid: Some(5),
    transport_cc: Some(6),
    rid: None,
    repaired_rid: None,
    ..IDS
};

/// Deterministic random numbers.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn permille(&mut self, chance: u64) -> bool {
        self.next() >> 20 & 0xffff_ffff < (chance << 32) / 1000
    }
}

/// What the network does to each datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Net {
    pub loss_permille: u64,
    pub duplicate_permille: u64,
    pub delay_ms: u64,
    pub jitter_ms: u64,
}

fn codec(codec: Codec, payload_type: u8, rtx: Option<u8>, clock_hz: u32) -> CodecSpec {
    CodecSpec {
        codec,
        payload_type,
        rtx_payload_type: rtx,
        clock_hz,
        fmtp: String::new(),
        nack: rtx.is_some(),
        pli: rtx.is_some(),
        fir: false,
        transport_cc: true,
    }
}

fn section(mid: &str, kind: MediaKind, flow: Flow, extensions: ExtensionIds) -> Section {
    let codecs = match kind {
        MediaKind::Audio => vec![codec(Codec::Opus, OPUS, None, 48_000)],
        MediaKind::Video => vec![codec(Codec::Vp8, VP8, Some(VP8_RTX), 90_000)],
    };
    Section { mid: mid.to_owned(), kind, flow, codecs, extensions }
}

pub fn spec(sections: Vec<Section>) -> EndpointSpec {
    EndpointSpec {
        local_ice: IceCredentials::default(),
        remote_ice: IceCredentials::default(),
        remote_lite: false,
        remote_candidates: Vec::new(),
        fingerprints: Vec::new(),
        dtls: DtlsRole::Client,
        sections,
    }
}

pub fn publisher_spec(rids: &[&str]) -> EndpointSpec {
    let rids = rids.iter().map(|rid| (*rid).to_owned()).collect();
    let audio = Flow::Receive { rids: Vec::new(), ssrcs: Vec::new() };
    let video = Flow::Receive { rids, ssrcs: Vec::new() };
    spec(vec![section("0", MediaKind::Audio, audio, IDS), section("1", MediaKind::Video, video, IDS)])
}

/// Sections of `slots` slots; SSRCs are `1000 + 10 k` for audio and `2000 + 10 k` for video, RTX one more.
pub fn subscriber_spec(slots: u16) -> EndpointSpec {
    let mut sections = Vec::new();
    for slot in 0..slots {
        for (kind, base) in [(MediaKind::Audio, 1000), (MediaKind::Video, 2000)] {
            let ssrc = base + 10 * u32::from(slot);
            let flow = Flow::Send { slot, ssrc, rtx_ssrc: ssrc + 1 };
            sections.push(section(&sections.len().to_string(), kind, flow, OTHER_IDS));
        }
    }
    spec(sections)
}

/// Keys of the router's and of the client's side.
pub fn keys(number: u64, profile: Profile) -> (SrtpKeys, SrtpKeys) {
    let master = |side: u8| {
        let mut key = [side; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        MasterKey::from_slices(profile, &key, &vec![side; profile.salt_bytes()]).unwrap()
    };
    let (tx, rx) = (master(1), master(2));
    (SrtpKeys { profile, tx, rx }, SrtpKeys { profile, tx: rx, rx: tx })
}

/// One flow of a publisher.
#[derive(Debug)]
pub struct Flowing {
    pub ssrc: u32,
    pub rid: &'static str,
    pub mid: &'static str,
    pub kind: MediaKind,
    pub size: (u16, u16),
    pub packets_per_frame: usize,
    pub packet_bytes: usize,
    pub on: bool,
    pub keyframe_wanted: bool,
    pub requests: u32,
    pub nacked: u32,
    pub frame: u32,
    pub timestamp: u32,
    picture_id: u16,
    tl0: u8,
    key_index: u8,
    lease: Lease,
    rtx: Lease,
    /// Marker, timestamp and payload by sequence number.
    sent: HashMap<u16, (bool, u32, Vec<u8>)>,
    named: u32,
    packets: u32,
}

/// What a subscriber got under one sequence number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Got {
    pub timestamp: u32,
    pub marker: bool,
    pub frame: u32,
    pub part: u16,
    pub parts: u16,
    pub stream: u32,
    pub picture_id: u16,
    pub tl0: u8,
    pub key_index: u8,
    pub keyframe: bool,
    pub payload: usize,
    pub at_ms: u64,
}

/// One flow of a subscriber.
#[derive(Debug, Default)]
pub struct Receiving {
    pub got: BTreeMap<u64, Got>,
    pub highest: u64,
    pub first: u64,
    pub started: bool,
    pub by_rtx: u32,
    pub duplicates: u32,
    pub asked: HashMap<u64, (u64, u32)>,
    pub reports: Vec<SenderInfo>,
    pub padded: u32,
}

#[derive(Debug)]
pub struct Client {
    pub key: EndpointKey,
    pub index: EndpointIndex,
    pub address: SocketAddr,
    pub up: Net,
    pub down: Net,
    pub sealer: Sealer,
    pub opener: Opener,
    pub rtcp: RtcpLease,
    pub flows: Vec<Flowing>,
    pub receiving: BTreeMap<u32, Receiving>,
    pub repairs: bool,
    pub transport_seq: u16,
    /// Transport-wide numbers that the router reported as arrived.
    pub reported: Vec<u16>,
    pub blocks: Vec<mediad::rtcp::Block>,
    pub transport_seen: Vec<u16>,
}

/// A datagram on its way.
#[derive(Debug, Eq, PartialEq)]
struct Flight {
    at_ms: u64,
    order: u64,
    to: Option<usize>,
    from: usize,
    bytes: Vec<u8>,
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at_ms, other.order).cmp(&(self.at_ms, self.order))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

pub struct Rig {
    pub router: Router,
    pub start: Instant,
    pub ms: u64,
    pub batch: TxBatch,
    pub clients: Vec<Client>,
    pub events: Vec<Event>,
    pub random: Random,
    flights: BinaryHeap<Flight>,
    order: u64,
}

impl Rig {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Settings { seed, ..Settings::default() })
    }

    pub fn with(seed: u64, settings: Settings) -> Self {
        let start = Instant::now();
        Self {
            router: Router::new(start, settings),
            start,
            ms: 0,
            batch: TxBatch::new(4096, 4 * 1024 * 1024),
            clients: Vec::new(),
            events: Vec::new(),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            flights: BinaryHeap::new(),
            order: 0,
        }
    }

    pub fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    pub fn open(&mut self, kind: EndpointKind, spec: &EndpointSpec) -> usize {
        let at = self.clients.len();
        let number = at as u64 + 1;
        let key = EndpointKey(number);
        let open = Open { session: SESSION, connection: ConnectionKey(number), endpoint: key, kind, spec };
        let index = self.router.open(self.now(), &open).unwrap();
        let (ours, theirs) = keys(number, Profile::AeadAes128Gcm);
        let address = SocketAddr::from(([10, 0, 0, 1], 1000 + at as u16));
        self.router.install_keys(index, Sealer::new(&ours), Opener::new(&ours));
        self.router.set_destination(index, Some(address));
        let mut rtcp = RtcpLease::new();
        rtcp.grant(u32::MAX);
        self.clients.push(Client {
            key,
            index,
            address,
            up: Net::default(),
            down: Net::default(),
            sealer: Sealer::new(&theirs),
            opener: Opener::new(&theirs),
            rtcp,
            flows: Vec::new(),
            receiving: BTreeMap::new(),
            repairs: true,
            transport_seq: 60_000,
            reported: Vec::new(),
            blocks: Vec::new(),
            transport_seen: Vec::new(),
        });
        at
    }

    /// A publisher of stream `number` with these encodings, smallest first; one without a name is no simulcast.
    pub fn publisher(&mut self, number: u64, rids: &[&'static str]) -> usize {
        let named: Vec<&str> = rids.iter().copied().filter(|rid| !rid.is_empty()).collect();
        let at = self.open(EndpointKind::Publish { stream: StreamKey(number) }, &publisher_spec(&named));
        for (position, rid) in rids.iter().enumerate() {
            let base = number as u32 * 100_000 + position as u32 * 10;
            let size = (160 << position, 90 << position);
            self.clients[at].flows.push(Flowing::new(
                base + 1,
                rid,
                "1",
                MediaKind::Video,
                size,
                1 + 2 * position,
            ));
        }
        let audio = number as u32 * 100_000 + 90;
        self.clients[at].flows.push(Flowing::new(audio, "", "0", MediaKind::Audio, (0, 0), 1));
        at
    }

    /// Sends one frame of every flow of a publisher.
    pub fn frame(&mut self, client: usize) {
        for flow in 0..self.clients[client].flows.len() {
            if self.clients[client].flows[flow].on {
                self.frame_of(client, flow);
            }
        }
    }

    pub fn frame_of(&mut self, client: usize, flow: usize) {
        let clock = if self.clients[client].flows[flow].kind == MediaKind::Audio { 48 } else { 90 };
        let ms = self.ms;
        let packets = self.clients[client].flows[flow].make(ms as u32 * clock);
        for (marker, payload) in packets {
            let number = self.clients[client].transport_seq;
            self.clients[client].transport_seq = number.wrapping_add(1);
            let client_ref = &mut self.clients[client];
            let bytes = client_ref.flows[flow].seal(&client_ref.sealer, marker, &payload, number);
            self.send_up(client, &bytes);
        }
    }

    /// A datagram from a client into the network.
    pub fn send_up(&mut self, client: usize, bytes: &[u8]) {
        let net = self.clients[client].up;
        self.launch(net, None, client, bytes);
    }

    fn launch(&mut self, net: Net, to: Option<usize>, from: usize, bytes: &[u8]) {
        if self.random.permille(net.loss_permille) {
            return;
        }
        let copies = if self.random.permille(net.duplicate_permille) { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = if net.jitter_ms > 0 { self.random.next() % (net.jitter_ms + 1) } else { 0 };
            self.order += 1;
            let at_ms = self.ms + net.delay_ms + jitter;
            self.flights.push(Flight { at_ms, order: self.order, to, from, bytes: bytes.to_vec() });
        }
    }

    /// Lets `ms` milliseconds pass; publishers in `publishing` send a frame every 33 ms.
    pub fn run(&mut self, ms: u64, publishing: &[usize]) {
        for _ in 0..ms {
            if self.ms.is_multiple_of(33) {
                for client in publishing {
                    self.frame(*client);
                }
            }
            self.step();
        }
    }

    /// One millisecond.
    pub fn step(&mut self) {
        self.ms += 1;
        while self.flights.peek().is_some_and(|flight| flight.at_ms <= self.ms) {
            let mut flight = self.flights.pop().unwrap();
            match flight.to {
                None => {
                    let index = self.clients[flight.from].index;
                    self.router.receive(self.now(), index, &mut flight.bytes);
                }
                Some(client) => self.deliver(client, &mut flight.bytes),
            }
        }
        if self.ms.is_multiple_of(20) {
            for client in 0..self.clients.len() {
                self.ask(client);
            }
        }
        if self.ms.is_multiple_of(500) {
            for client in 0..self.clients.len() {
                self.report(client);
            }
        }
        self.turn();
    }

    /// What the worker does after each batch.
    pub fn turn(&mut self) {
        let now = self.now();
        self.router.tick(now);
        loop {
            self.batch.clear();
            let flush = self.router.flush(now, &mut self.batch);
            let sent: Vec<(SocketAddr, Vec<u8>)> = self
                .batch
                .datagrams()
                .iter()
                .map(|datagram| (datagram.dest, self.batch.bytes(datagram).to_vec()))
                .collect();
            for (dest, bytes) in sent {
                let to = self.clients.iter().position(|client| client.address == dest).unwrap();
                let net = self.clients[to].down;
                self.launch(net, Some(to), to, &bytes);
            }
            if flush == Flush::Done {
                break;
            }
        }
        while let Some(event) = self.router.poll_event() {
            self.events.push(event);
        }
    }

    fn deliver(&mut self, at: usize, bytes: &mut [u8]) {
        let ms = self.ms;
        if is_rtcp(bytes) {
            let Ok(opened) = self.clients[at].opener.open_rtcp(bytes) else { return };
            let bytes = bytes[..opened.len].to_vec();
            self.deliver_rtcp(at, &bytes);
            return;
        }
        let client = &mut self.clients[at];
        let Ok(opened) = client.opener.open_rtp(bytes) else { return };
        let packet = &bytes[..opened.payload.end];
        let header = Header::parse(packet).unwrap();
        for (id, range) in header.extensions(packet) {
            if Some(id) == OTHER_IDS.transport_cc {
                client
                    .transport_seen
                    .push(u16::from_be_bytes([packet[range.start], packet[range.start + 1]]));
            }
        }
        let payload = header.payload(packet).unwrap();
        let body = &packet[payload];
        let rtx = header.payload_type == VP8_RTX;
        let ssrc = if rtx { header.ssrc - 1 } else { header.ssrc };
        let receiving = client.receiving.entry(ssrc).or_default();
        receiving.padded += u32::from(header.padding);
        let (index, body) = if rtx {
            let original = u16::from_be_bytes([body[0], body[1]]);
            (extend_sequence(receiving.highest, original), &body[2..])
        } else {
            (opened.index, body)
        };
        receiving.note(index, rtx, &header, body, ms);
    }

    fn deliver_rtcp(&mut self, at: usize, bytes: &[u8]) {
        let mut again = Vec::new();
        let client = &mut self.clients[at];
        for packet in Compound::new(bytes) {
            match packet {
                Packet::Pli { media } => {
                    if let Some(flow) = client.flows.iter_mut().find(|flow| flow.ssrc == media) {
                        flow.keyframe_wanted = true;
                        flow.requests += 1;
                    }
                }
                Packet::Nack { media, lost } => {
                    if let Some(flow) = client.flows.iter().position(|flow| flow.ssrc == media) {
                        again.extend(lost.map(|sequence| (flow, sequence)));
                    }
                }
                Packet::TransportCc(packet) => {
                    let feedback = twcc::Feedback::parse(packet).unwrap();
                    client.reported.extend(feedback.filter_map(|(number, at)| at.map(|_| number)));
                }
                Packet::SenderReport { ssrc, sender, .. } => {
                    client.receiving.entry(ssrc).or_default().reports.push(sender);
                }
                Packet::ReceiverReport { blocks, .. } => client.blocks.extend(blocks),
                Packet::Bye(_) | Packet::Fir(_) | Packet::Other(_) | Packet::Remb { .. } => {}
            }
        }
        for (flow, sequence) in again {
            let client = &mut self.clients[at];
            client.flows[flow].nacked += 1;
            let number = client.transport_seq;
            client.transport_seq = number.wrapping_add(1);
            if let Some(bytes) = client.flows[flow].seal_again(&client.sealer, sequence, number) {
                self.send_up(at, &bytes);
            }
        }
    }

    /// A client asks for what it misses, every 40 ms at most.
    fn ask(&mut self, at: usize) {
        if !self.clients[at].repairs {
            return;
        }
        let ms = self.ms;
        let wanted: Vec<(u32, Vec<u16>)> =
            self.clients[at].receiving.iter_mut().map(|(ssrc, flow)| (*ssrc, flow.missing(ms))).collect();
        for (ssrc, lost) in wanted.into_iter().filter(|(_, lost)| !lost.is_empty()) {
            self.control(at, |builder| _ = builder.nack(1, ssrc, &lost));
        }
    }

    /// A publisher's sender reports.
    fn report(&mut self, at: usize) {
        let ms = self.ms;
        let infos: Vec<(u32, SenderInfo)> = self.clients[at]
            .flows
            .iter()
            .filter(|flow| flow.packets > 0)
            .map(|flow| {
                let clock = if flow.kind == MediaKind::Audio { 48 } else { 90 };
                // The publisher's wall clock is an hour off.
                let ntp = ((3_600_000 + ms) << 32) / 1000;
                let timestamp = (ms as u32 * clock).wrapping_add(flow.offset());
                (flow.ssrc, SenderInfo { ntp, timestamp, packets: flow.packets, octets: 0 })
            })
            .collect();
        for (ssrc, info) in infos {
            self.control(at, |builder| _ = builder.sender_report(ssrc, &info));
        }
    }

    /// Seals and sends RTCP of a client.
    pub fn control(&mut self, at: usize, write: impl FnOnce(&mut Builder<'_>)) {
        let mut buf = [0; 1400];
        let mut builder = Builder::new(&mut buf[..1300]);
        write(&mut builder);
        let len = builder.len();
        let client = &mut self.clients[at];
        let nonce = client.rtcp.take().unwrap();
        let len = client.sealer.seal_rtcp(&mut buf, len, nonce);
        self.send_up(at, &buf[..len]);
    }

    pub fn got(&self, client: usize, ssrc: u32) -> &Receiving {
        &self.clients[client].receiving[&ssrc]
    }
}

impl Flowing {
    pub fn new(
        ssrc: u32,
        rid: &'static str,
        mid: &'static str,
        kind: MediaKind,
        size: (u16, u16),
        packets_per_frame: usize,
    ) -> Self {
        let mut lease = Lease::new(ssrc, ssrc.wrapping_mul(977) as u16 >> 1);
        let mut rtx = Lease::new(ssrc + 1, 17);
        lease.grant(u64::MAX);
        rtx.grant(u64::MAX);
        let packet_bytes = if kind == MediaKind::Audio { 80 } else { 900 };
        Self {
            ssrc,
            rid,
            mid,
            kind,
            size,
            packets_per_frame,
            packet_bytes,
            on: true,
            keyframe_wanted: true,
            requests: 0,
            nacked: 0,
            frame: 0,
            timestamp: 0,
            picture_id: ssrc.wrapping_mul(31) as u16 & 0x7fff,
            tl0: ssrc as u8,
            key_index: 30,
            lease,
            rtx,
            sent: HashMap::new(),
            named: 0,
            packets: 0,
        }
    }

    fn offset(&self) -> u32 {
        self.ssrc.wrapping_mul(2_654_435_761)
    }

    /// Payloads of the next frame.
    pub fn make(&mut self, media_time: u32) -> Vec<(bool, Vec<u8>)> {
        self.timestamp = media_time.wrapping_add(self.offset());
        let frame = self.frame;
        self.frame += 1;
        let label = |part: u16, parts: u16| {
            let mut label = Vec::new();
            label.extend(frame.to_be_bytes());
            label.extend(part.to_be_bytes());
            label.extend(parts.to_be_bytes());
            label.extend(self.ssrc.to_be_bytes());
            label
        };
        if self.kind == MediaKind::Audio {
            let mut payload = label(0, 1);
            payload.resize(self.packet_bytes, 1);
            return vec![(false, payload)];
        }
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(1);
        if keyframe {
            self.key_index = (self.key_index + 1) & 0x1f;
        }
        let parts = if keyframe { self.packets_per_frame * 2 } else { self.packets_per_frame };
        (0..parts)
            .map(|part| {
                let mut payload = vec![if part == 0 { 0x90 } else { 0x80 }, 0xf0];
                payload.extend((self.picture_id | 0x8000).to_be_bytes());
                payload.extend([self.tl0, self.key_index]);
                if part == 0 {
                    payload.extend([u8::from(!keyframe), 0, 0, 0x9d, 0x01, 0x2a]);
                    payload.extend(self.size.0.to_le_bytes());
                    payload.extend(self.size.1.to_le_bytes());
                }
                payload.extend(label(part as u16, parts as u16));
                // The last packet is a byte or two longer, as libwebrtc makes them.
                payload.resize(self.packet_bytes + usize::from(part + 1 == parts), 1);
                (part + 1 == parts, payload)
            })
            .collect()
    }

    /// An SRTP packet. The encoding is named in the first packets only, as browsers do.
    pub fn seal(&mut self, sealer: &Sealer, marker: bool, payload: &[u8], transport_seq: u16) -> Vec<u8> {
        let nonce = self.lease.take().unwrap();
        self.sent.insert(nonce.sequence(), (marker, self.timestamp, payload.to_vec()));
        self.packets += 1;
        self.named += 1;
        let name = (self.named < 40).then_some((IDS.rid, self.rid));
        let payload_type = if self.kind == MediaKind::Audio { OPUS } else { VP8 };
        let level = (self.kind == MediaKind::Audio).then_some(0x80 | 30);
        let mut buf = vec![0; HEADER_BYTES_MAX + payload.len() + 32];
        let header = self.header(&mut buf, marker, payload_type, self.timestamp, name, level, transport_seq);
        buf[header..header + payload.len()].copy_from_slice(payload);
        let len = sealer.seal_rtp(&mut buf, header, payload.len(), nonce);
        buf.truncate(len);
        buf
    }

    fn seal_again(&mut self, sealer: &Sealer, sequence: u16, transport_seq: u16) -> Option<Vec<u8>> {
        let (marker, timestamp, payload) = self.sent.get(&sequence)?.clone();
        if self.kind == MediaKind::Audio {
            return None;
        }
        let nonce = self.rtx.take().unwrap();
        let mut buf = vec![0; HEADER_BYTES_MAX + payload.len() + 32];
        let name = Some((IDS.repaired_rid, self.rid));
        let header = self.header(&mut buf, marker, VP8_RTX, timestamp, name, None, transport_seq);
        buf[header..header + 2].copy_from_slice(&sequence.to_be_bytes());
        buf[header + 2..header + 2 + payload.len()].copy_from_slice(&payload);
        let len = sealer.seal_rtp(&mut buf, header, payload.len() + 2, nonce);
        buf.truncate(len);
        Some(buf)
    }

    #[allow(clippy::too_many_arguments, reason = "a packet has many fields")]
    fn header(
        &self,
        buf: &mut [u8],
        marker: bool,
        payload_type: u8,
        timestamp: u32,
        name: Option<(Option<u8>, &str)>,
        level: Option<u8>,
        transport_seq: u16,
    ) -> usize {
        let mut writer = HeaderWriter::new(buf, marker, payload_type, timestamp, false);
        writer.extension(IDS.mid.unwrap(), self.mid.as_bytes());
        writer.extension(IDS.transport_cc.unwrap(), &transport_seq.to_be_bytes());
        if let Some((Some(id), rid)) = name.filter(|(_, rid)| !rid.is_empty()) {
            writer.extension(id, rid.as_bytes());
        }
        if let Some(level) = level {
            writer.extension(IDS.audio_level.unwrap(), &[level]);
        }
        writer.finish()
    }
}

impl Receiving {
    pub fn note(&mut self, index: u64, rtx: bool, header: &Header, body: &[u8], at_ms: u64) {
        if !self.started {
            (self.started, self.first, self.highest) = (true, index, index);
        }
        self.first = self.first.min(index);
        self.highest = self.highest.max(index);
        if self.got.contains_key(&index) {
            self.duplicates += 1;
            return;
        }
        self.by_rtx += u32::from(rtx);
        let video = header.payload_type != OPUS;
        let info = if video { vp8::inspect(body) } else { mediad::codec::PayloadInfo::default() };
        let label = if video { 6 + if info.frame_start { 10 } else { 0 } } else { 0 };
        let Some(label) = body.get(label..label + 12) else { return };
        let word = |at: usize| u32::from_be_bytes(label[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_be_bytes(label[at..at + 2].try_into().unwrap());
        self.got.insert(
            index,
            Got {
                timestamp: header.timestamp,
                marker: header.marker,
                frame: word(0),
                part: half(4),
                parts: half(6),
                stream: word(8),
                picture_id: info.picture_id,
                tl0: info.tl0,
                key_index: info.key_index,
                keyframe: info.keyframe,
                payload: body.len(),
                at_ms,
            },
        );
    }

    fn missing(&mut self, ms: u64) -> Vec<u16> {
        let mut lost = Vec::new();
        for index in self.first..self.highest {
            if self.got.contains_key(&index) {
                continue;
            }
            let entry = self.asked.entry(index).or_insert((0, 0));
            if ms >= entry.0 + 40 && entry.1 < 50 {
                *entry = (ms, entry.1 + 1);
                lost.push(index as u16);
            }
        }
        lost.truncate(200);
        lost
    }

    /// Sequence numbers that never came.
    pub fn holes(&self) -> Vec<u64> {
        (self.first..=self.highest).filter(|index| !self.got.contains_key(index)).collect()
    }

    /// Asserts that a decoder would be content: begins with a key frame, nothing missing, frames whole, timestamps and
    /// picture ids go up by single steps, and a change of source happens at a key frame only.
    pub fn check_continuous(&self) {
        assert!(!self.got.is_empty(), "nothing came");
        assert_eq!(self.holes(), Vec::<u64>::new());
        let packets: Vec<&Got> = self.got.values().collect();
        assert!(packets[0].keyframe && packets[0].part == 0, "begins with {:?}", packets[0]);
        for pair in packets.windows(2) {
            let (last, next) = (pair[0], pair[1]);
            if next.part > 0 {
                assert_eq!(
                    (next.part, next.frame, next.stream),
                    (last.part + 1, last.frame, last.stream),
                    "{pair:?}"
                );
                assert_eq!(
                    (next.timestamp, next.picture_id, next.tl0),
                    (last.timestamp, last.picture_id, last.tl0)
                );
                continue;
            }
            assert_eq!(last.part + 1, last.parts, "frame cut off: {pair:?}");
            assert!(last.marker);
            let ahead = next.timestamp.wrapping_sub(last.timestamp);
            assert!((1..90_000 * 10).contains(&ahead), "timestamps: {pair:?}");
            assert_eq!(next.picture_id, (last.picture_id + 1) & 0x7fff, "{pair:?}");
            assert_eq!(next.tl0, last.tl0.wrapping_add(1), "{pair:?}");
            if next.stream != last.stream || next.frame != last.frame + 1 {
                assert!(next.keyframe, "source changes or pauses without a key frame: {pair:?}");
            }
        }
    }

    /// Sources in the order of appearance.
    pub fn streams(&self) -> Vec<u32> {
        let mut streams = Vec::new();
        for got in self.got.values() {
            if streams.last() != Some(&got.stream) {
                streams.push(got.stream);
            }
        }
        streams
    }
}
