//! Pure: no clock, no I/O, no async; randomness comes from the crypto provider.
//!
//! DTLS 1.2 for key agreement only (RFC 5764): a thin wrapper of `rtc`'s engine for one peer. Its result is
//! [`SrtpKeys`]; afterwards it repeats its last flight when the peer asks for it and notices `close_notify`.
//!
//! The engine tells associations apart by address and would take a roaming client for a new one, so it only ever
//! sees one placeholder address: ICE has already decided whom a datagram is from. Feed it nothing that did not come
//! from an address with a valid STUN check. It runs on the cold pool: a handshake costs 0.3 ms.

mod hello;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::crypto::RTCCryptoProvider;
use rtc::crypto::providers::RingProvider;
use rtc::dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::shared::TransportProtocol;

use self::hello::Hello;
use super::spec::{DtlsRole, Fingerprint};
use super::srtp::{Profile, SrtpKeys};

/// Exporter label of RFC 5764 section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// What the engine takes for both ends' address; the port must not be 0.
const PLACEHOLDER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// First retransmission; doubled each time (RFC 6347 section 4.2.4.1 advises 1 s, real-time peers use less).
const RETRANSMIT_FIRST: Duration = Duration::from_millis(200);

/// Longest pause between retransmissions.
const RETRANSMIT_MAX: Duration = Duration::from_secs(4);

/// The engine's own timer: short, so that ours decides.
const ENGINE_INTERVAL: Duration = Duration::from_millis(1);

/// A handshake that takes longer has failed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest handshake record that we send; fits every path of a browser.
const MTU_BYTES: usize = 1200;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum DtlsError {
    /// The certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[source] rtc::shared::error::Error),
    /// The configuration is not usable: a bug.
    #[error("invalid DTLS configuration")]
    Config(#[source] rtc::shared::error::Error),
    /// Keys could not be exported, or the peers agreed upon no SRTP profile.
    #[error("no SRTP keys were agreed upon")]
    NoKeys,
    /// The peer's certificate is not the one that was signalled, a flight was malformed, or the peer refused.
    #[error("handshake failed")]
    Handshake(#[source] rtc::shared::error::Error),
    /// Nothing usable came for too long.
    #[error("handshake timed out")]
    TimedOut,
}

/// This process's certificate: ECDSA P-256, self-signed, made at start, shared by all endpoints.
#[derive(Clone)]
pub struct Certificate {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: rtc::dtls::crypto::Certificate,
    fingerprint: Fingerprint,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`DtlsError::Certificate`] when the system has no randomness.
    pub fn generate() -> Result<Self, DtlsError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(RingProvider::new());
        let names = vec!["plenum".to_owned()];
        let certificate = rtc::dtls::crypto::Certificate::generate_self_signed(names, provider.crypto())
            .map_err(DtlsError::Certificate)?;
        let der = certificate.certificate.first().map(AsRef::as_ref).unwrap_or_default();
        let bytes = ring::digest::digest(&ring::digest::SHA256, der).as_ref().to_vec();
        let fingerprint = Fingerprint { hash: "sha-256".to_owned(), bytes };
        Ok(Self { provider, certificate, fingerprint })
    }

    /// What the SDP says of it.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// What one handshake is to agree upon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who begins.
    pub role: DtlsRole,
    /// Hashes of the peer's certificate; one of a known hash function must fit.
    pub fingerprints: Vec<Fingerprint>,
    /// SRTP profiles, best first. As the server our order decides; as the client the peer's (BoringSSL) or ours (NSS).
    pub profiles: Vec<Profile>,
}

/// What may happen to a handshake.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The deadline has come.
    Tick,
    /// A datagram whose first byte is 20 to 63.
    Datagram(&'a [u8]),
    /// End the association with `close_notify`.
    Close,
}

/// What a handshake wants done.
#[derive(Debug)]
pub enum Output {
    /// Send to wherever ICE says.
    Transmit(Vec<u8>),
    /// Keys are there; SRTP can begin.
    Connected(SrtpKeys),
    /// There will be no keys.
    Failed(DtlsError),
    /// The peer sent `close_notify`.
    Closed,
}

/// One association.
pub struct Handshake {
    engine: Endpoint,
    certificate: Certificate,
    settings: Settings,
    /// Our flight that answers all that the peer sends before its last one is out.
    answered: bool,
    state: State,
    outputs: std::collections::VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    /// The server waits for a first flight.
    Listening {
        give_up_at: Instant,
        hello: Hello,
    },
    Shaking {
        give_up_at: Instant,
        retransmit_at: Instant,
        pause: Duration,
    },
    Connected,
    Over,
}

impl State {
    fn shaking(now: Instant, give_up_at: Instant) -> Self {
        Self::Shaking { give_up_at, retransmit_at: now + RETRANSMIT_FIRST, pause: RETRANSMIT_FIRST }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Handshake {
    /// Begins: as the client its first flight is among the outputs at once. Begin when ICE is connected.
    ///
    /// # Errors
    /// [`DtlsError::Config`] for an unusable combination of settings.
    pub fn new(now: Instant, certificate: &Certificate, settings: Settings) -> Result<Self, DtlsError> {
        let give_up_at = now + HANDSHAKE_TIMEOUT;
        let mut handshake = Self {
            engine: Endpoint::new(PLACEHOLDER, TransportProtocol::UDP, None),
            certificate: certificate.clone(),
            settings,
            answered: false,
            state: State::Listening { give_up_at, hello: Hello::default() },
            outputs: std::collections::VecDeque::new(),
        };
        if handshake.settings.role == DtlsRole::Client {
            let config = engine_config(certificate, &handshake.settings).map_err(DtlsError::Config)?;
            handshake.engine.connect(now, PLACEHOLDER, config, None).map_err(DtlsError::Config)?;
            handshake.state = State::shaking(now, give_up_at);
            handshake.drain_engine();
        }
        Ok(handshake)
    }

    /// Takes one input; drain [`Self::poll_output`] afterwards.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Tick => self.tick(now),
            Input::Datagram(bytes) => self.receive(now, bytes),
            Input::Close => self.close(now),
        }
        self.drain_engine();
    }

    /// Next output, until none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Listening { give_up_at, .. } => Some(give_up_at),
            State::Shaking { retransmit_at, .. } => Some(retransmit_at),
            State::Connected | State::Over => None,
        }
    }

    /// True when the association has ended or failed: later datagrams are ignored.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn tick(&mut self, now: Instant) {
        match &mut self.state {
            State::Listening { give_up_at, .. } | State::Shaking { give_up_at, .. } if now >= *give_up_at => {
                self.fail(DtlsError::TimedOut);
            }
            State::Shaking { retransmit_at, pause, .. } if now >= *retransmit_at => {
                *pause = (*pause * 2).min(RETRANSMIT_MAX);
                *retransmit_at = now + *pause;
                if let Err(source) = self.engine.handle_timeout(PLACEHOLDER, now) {
                    self.fail(DtlsError::Handshake(source));
                }
            }
            State::Listening { .. } | State::Shaking { .. } | State::Connected | State::Over => {}
        }
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let bytes = self.without_repetitions(bytes);
        if bytes.is_empty() {
            return;
        }
        match &mut self.state {
            // A late datagram would open a new association.
            State::Over => {}
            State::Listening { give_up_at, hello } => {
                let give_up_at = *give_up_at;
                if let Some(offered) = hello.add(&bytes) {
                    self.state = State::shaking(now, give_up_at);
                    self.listen(offered.profiles.as_deref());
                    offered.datagrams.iter().for_each(|bytes| self.feed(now, bytes));
                }
            }
            State::Shaking { give_up_at, .. } => {
                // The flight may be answered by a new one, which begins its own series of retransmissions.
                self.state = State::shaking(now, *give_up_at);
                self.feed(now, &bytes);
            }
            State::Connected => self.feed(now, &bytes),
        }
    }

    /// Prepares the engine for the first flight: only the best of the offered profiles is left to agree upon.
    fn listen(&mut self, offered: Option<&[Profile]>) {
        if let Some(offered) = offered {
            let best = self.settings.profiles.iter().find(|profile| offered.contains(profile)).copied();
            self.settings.profiles = best.into_iter().collect();
        }
        match engine_config(&self.certificate, &self.settings) {
            Ok(config) => self.engine.set_server_config(Some(config)),
            Err(source) => self.fail(DtlsError::Config(source)),
        }
    }

    fn feed(&mut self, now: Instant, bytes: &[u8]) {
        if self.is_over() {
            return;
        }
        match self.engine.read(now, PLACEHOLDER, None, BytesMut::from(bytes)) {
            Ok(events) => events.into_iter().for_each(|event| self.engine_event(&event)),
            // Once the keys are there the media does not depend on what else arrives here.
            Err(_) if matches!(self.state, State::Connected) => {}
            Err(source) => {
                // An alert of either side, or a state that the engine does not leave. Anything else may be a datagram
                // of a stranger; if it was not, the time-out ends the handshake.
                let alerted = self.drain_engine() || records(bytes).any(|record| record.kind == RECORD_ALERT);
                if alerted || matches!(source, rtc::shared::error::Error::ErrInvalidFsmTransition) {
                    self.fail(DtlsError::Handshake(source));
                }
            }
        }
    }

    /// Leaves out records that repeat what was answered already. The engine stops its retransmissions when it gets
    /// such a record, and would wait for ever if our answer was lost; unfed, its timer goes on.
    fn without_repetitions(&self, bytes: &[u8]) -> Vec<u8> {
        let shaking = matches!(self.state, State::Shaking { .. });
        let repeats = |record: &Record<'_>| {
            shaking
                && self.answered
                && record.kind == RECORD_HANDSHAKE
                && record.epoch == 0
                && match self.settings.role {
                    DtlsRole::Client => true,
                    DtlsRole::Server => record.message == Some(MESSAGE_CLIENT_HELLO),
                }
        };
        records(bytes).filter(|record| !repeats(record)).flat_map(|record| record.bytes).copied().collect()
    }

    fn engine_event(&mut self, event: &EndpointEvent) {
        match event {
            EndpointEvent::HandshakeComplete => match self.export_keys() {
                Some(keys) => {
                    self.state = State::Connected;
                    self.outputs.push_back(Output::Connected(keys));
                }
                None => self.fail(DtlsError::NoKeys),
            },
            EndpointEvent::PeerClosed => {
                self.state = State::Over;
                self.outputs.push_back(Output::Closed);
            }
            // There are no data channels.
            EndpointEvent::ApplicationData(_) | _ => {}
        }
    }

    fn close(&mut self, now: Instant) {
        if !self.is_over() {
            self.state = State::Over;
            // Ending cannot fail: it queues an alert, or does nothing before the handshake.
            drop(self.engine.close(now));
        }
    }

    fn fail(&mut self, error: DtlsError) {
        self.state = State::Over;
        self.outputs.push_back(Output::Failed(error));
    }

    fn export_keys(&self) -> Option<SrtpKeys> {
        let state = self.engine.get_connection_state(PLACEHOLDER)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmHmacSha1_80,
            // Never offered by us.
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32
            | SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm
            | SrtpProtectionProfile::Unsupported
            | _ => return None,
        };
        let length = profile.keying_material_bytes();
        let material = state.export_keying_material(EXPORTER_LABEL, &[], length).ok()?;
        SrtpKeys::from_keying_material(profile, material.as_ref(), state.is_client())
    }

    /// Takes over what the engine wants sent; true if an alert is among it.
    fn drain_engine(&mut self) -> bool {
        let mut alerted = false;
        while let Some(transmit) = self.engine.poll_transmit() {
            let bytes = transmit.message.to_vec();
            self.answered |= records(&bytes).any(|record| match self.settings.role {
                DtlsRole::Client => record.kind == RECORD_CHANGE_CIPHER,
                DtlsRole::Server => record.message == Some(MESSAGE_SERVER_HELLO),
            });
            alerted |= records(&bytes).any(|record| record.kind == RECORD_ALERT);
            self.outputs.push_back(Output::Transmit(bytes));
        }
        alerted
    }
}

/// Bytes of a record header.
const RECORD_HEADER_BYTES: usize = 13;

const RECORD_CHANGE_CIPHER: u8 = 20;
const RECORD_ALERT: u8 = 21;
const RECORD_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const MESSAGE_SERVER_HELLO: u8 = 2;

impl<'a> Record<'a> {
    /// What is behind the header.
    fn content(&self) -> &'a [u8] {
        self.bytes.get(RECORD_HEADER_BYTES..).unwrap_or_default()
    }
}

/// One record of a datagram (RFC 6347 section 4.1).
struct Record<'a> {
    kind: u8,
    epoch: u16,
    /// Type of the handshake message, if it is one in the clear.
    message: Option<u8>,
    bytes: &'a [u8],
}

/// The records of a datagram; what is not one comes last, as a whole.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let kind = *bytes.first()?;
        let length =
            bytes.get(11..RECORD_HEADER_BYTES).map(|length| u16::from_be_bytes([length[0], length[1]]));
        let end = length.map_or(bytes.len(), |length| RECORD_HEADER_BYTES + usize::from(length));
        let (record, rest) = bytes.split_at(end.min(bytes.len()));
        bytes = rest;
        let epoch = record.get(3..5).map_or(0, |epoch| u16::from_be_bytes([epoch[0], epoch[1]]));
        let clear = kind == RECORD_HANDSHAKE && epoch == 0;
        let message = record.get(RECORD_HEADER_BYTES).copied().filter(|_| clear);
        Some(Record { kind, epoch, message, bytes: record })
    })
}

fn engine_config(
    certificate: &Certificate,
    settings: &Settings,
) -> Result<Arc<HandshakeConfig>, rtc::shared::error::Error> {
    let profiles = settings.profiles.iter().map(|profile| match profile {
        Profile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        Profile::Aes128CmHmacSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    });
    let fingerprints = settings.fingerprints.clone();
    let config = ConfigBuilder::default()
        .with_crypto_provider(Arc::clone(&certificate.provider))
        .with_certificates(vec![certificate.certificate.clone()])
        .with_srtp_protection_profiles(profiles.collect())
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        // Certificates of peers are self-signed; the signalled fingerprint authenticates them (RFC 8122).
        .with_insecure_skip_verify(true)
        .with_verify_peer_certificate(Some(Arc::new(move |chain, _| {
            let fits = chain.first().is_some_and(|leaf| fingerprint_fits(&fingerprints, leaf));
            if fits { Ok(()) } else { Err(rtc::shared::error::Error::ErrFingerprintMismatch) }
        })))
        .with_flight_interval(ENGINE_INTERVAL)
        .with_server_name("plenum".to_owned())
        .with_mtu(MTU_BYTES);
    config.build(settings.role == DtlsRole::Client, None).map(Arc::new)
}

/// True if one of the signalled hashes is that of the certificate.
fn fingerprint_fits(fingerprints: &[Fingerprint], certificate: &[u8]) -> bool {
    fingerprints.iter().any(|fingerprint| {
        let algorithm = match fingerprint.hash.as_str() {
            "sha-256" => &ring::digest::SHA256,
            "sha-384" => &ring::digest::SHA384,
            "sha-512" => &ring::digest::SHA512,
            _ => return false,
        };
        ring::digest::digest(algorithm, certificate).as_ref() == fingerprint.bytes
    })
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Both ends of one association and what is on its way between them.
    struct Pair {
        now: Instant,
        ends: [Handshake; 2],
        results: [Vec<Output>; 2],
        random: SmallRng,
        /// One in so many datagrams is lost; 0 is none.
        loss: u32,
    }

    fn settings(role: DtlsRole, peer: &Certificate, profiles: &[Profile]) -> Settings {
        Settings { role, fingerprints: vec![peer.fingerprint().clone()], profiles: profiles.to_vec() }
    }

    const BOTH: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80];

    impl Pair {
        fn new(loss: u32, seed: u64, client: &[Profile], server: &[Profile]) -> Self {
            let now = Instant::now();
            let certificates = [Certificate::generate().unwrap(), Certificate::generate().unwrap()];
            let ends = [
                Handshake::new(now, &certificates[0], settings(DtlsRole::Client, &certificates[1], client)),
                Handshake::new(now, &certificates[1], settings(DtlsRole::Server, &certificates[0], server)),
            ];
            Self {
                now,
                ends: ends.map(Result::unwrap),
                results: [Vec::new(), Vec::new()],
                random: SmallRng::seed_from_u64(seed),
                loss,
            }
        }

        /// Delivers what is due; true if anything was.
        fn exchange(&mut self) -> bool {
            let mut moved = false;
            for from in 0..2 {
                while let Some(output) = self.ends[from].poll_output() {
                    moved = true;
                    match output {
                        Output::Transmit(ref bytes) => {
                            let lost = self.loss > 0 && self.random.random_ratio(1, self.loss);
                            if !lost {
                                self.ends[1 - from].handle(self.now, Input::Datagram(bytes));
                            }
                        }
                        Output::Connected(_) | Output::Failed(_) | Output::Closed => {
                            self.results[from].push(output);
                        }
                    }
                }
            }
            moved
        }

        fn run(&mut self) {
            for _ in 0..200 {
                while self.exchange() {}
                let Some(next) = self.ends.iter().filter_map(Handshake::deadline).min() else { return };
                self.now = self.now.max(next);
                for end in &mut self.ends {
                    if end.deadline().is_some_and(|deadline| deadline <= self.now) {
                        end.handle(self.now, Input::Tick);
                    }
                }
            }
        }

        fn keys(&self, end: usize) -> SrtpKeys {
            match self.results[end].as_slice() {
                [Output::Connected(keys)] => *keys,
                other => panic!("end {end}: {other:?}"),
            }
        }
    }

    #[test]
    fn both_ends_export_the_same_keys_and_the_servers_order_of_profiles_wins() {
        for (client, server, agreed) in [
            (&BOTH[..], &BOTH[..], BOTH[0]),
            (&BOTH[..], &BOTH[1..], BOTH[1]),
            (&[BOTH[1], BOTH[0]], &BOTH[..], BOTH[0]),
            (&BOTH[..1], &BOTH[..], BOTH[0]),
            (&BOTH[1..], &BOTH[..], BOTH[1]),
        ] {
            let mut pair = Pair::new(0, 0, client, server);
            pair.run();
            let (left, right) = (pair.keys(0), pair.keys(1));
            assert_eq!(left.profile, agreed);
            assert_eq!((left.profile, left.tx, left.rx), (right.profile, right.rx, right.tx));
        }
    }

    #[test]
    fn a_handshake_survives_the_loss_of_every_fourth_datagram() {
        for seed in 0..20 {
            let mut pair = Pair::new(4, seed, &BOTH, &BOTH);
            let start = pair.now;
            pair.run();
            assert_eq!(pair.keys(0).tx, pair.keys(1).rx, "seed {seed}");
            assert!(pair.now - start < Duration::from_secs(15), "seed {seed}: {:?}", pair.now - start);
        }
    }

    #[test]
    fn another_certificate_than_the_signalled_one_is_refused() {
        let now = Instant::now();
        let certificates = [0; 3].map(|_| Certificate::generate().unwrap());
        let mut pair = Pair::new(0, 0, &BOTH, &BOTH);
        // The server presents the third one.
        pair.ends = [
            Handshake::new(now, &certificates[0], settings(DtlsRole::Client, &certificates[1], &BOTH))
                .unwrap(),
            Handshake::new(now, &certificates[2], settings(DtlsRole::Server, &certificates[0], &BOTH))
                .unwrap(),
        ];
        pair.run();
        assert!(
            matches!(pair.results[0][..], [Output::Failed(DtlsError::Handshake(_))]),
            "{:?}",
            pair.results
        );
        assert!(!pair.results[1].iter().any(|result| matches!(result, Output::Connected(_))));
    }

    #[test]
    fn a_dead_peer_ends_in_a_timeout_and_not_before() {
        let mut pair = Pair::new(1, 0, &BOTH, &BOTH);
        let start = pair.now;
        pair.run();
        assert!(matches!(pair.results[0][..], [Output::Failed(_)]), "{:?}", pair.results);
        assert!(pair.now - start > Duration::from_secs(10));
    }

    #[test]
    fn a_close_is_noticed_once_and_late_datagrams_open_nothing() {
        let mut pair = Pair::new(0, 0, &BOTH, &BOTH);
        pair.run();
        pair.ends[0].handle(pair.now, Input::Close);
        pair.run();
        assert!(matches!(pair.results[1][..], [Output::Connected(_), Output::Closed]));
        assert!(pair.ends.iter().all(Handshake::is_over));
        pair.ends[1].handle(pair.now, Input::Datagram(&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(pair.ends[1].poll_output().is_none());
    }

    #[test]
    fn strangers_datagrams_during_a_handshake_do_not_end_it() {
        let mut random = SmallRng::seed_from_u64(2);
        for seed in 0..20 {
            let mut pair = Pair::new(4, seed, &BOTH, &BOTH);
            for _ in 0..30 {
                pair.exchange();
                for end in &mut pair.ends {
                    let length = random.random_range(1..80);
                    let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
                    // Anything but an alert: those end a handshake, as RFC 6347 section 4.1.2.7 allows.
                    bytes[0] = [20, 22, 23, 24, 63][random.random_range(0..5)];
                    end.handle(pair.now, Input::Datagram(&bytes));
                }
            }
            pair.run();
            assert_eq!(pair.keys(0).tx, pair.keys(1).rx, "seed {seed}");
        }
    }

    #[test]
    fn rubbish_neither_panics_nor_ends_an_established_association() {
        let mut random = SmallRng::seed_from_u64(1);
        let mut pair = Pair::new(0, 0, &BOTH, &BOTH);
        pair.run();
        for _ in 0..2000 {
            let length = random.random_range(0..120);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            if let Some(first) = bytes.first_mut() {
                *first = random.random_range(20..64);
            }
            pair.ends[1].handle(pair.now, Input::Datagram(&bytes));
        }
        assert!(!pair.ends[1].is_over());
        pair.ends[0].handle(pair.now, Input::Close);
        while let Some(output) = pair.ends[1].poll_output() {
            assert!(matches!(output, Output::Transmit(_)), "{output:?}");
        }
    }
}
