//! The link between media node and recorder: real QUIC and certificates on loopback, a router with its publisher behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "the rig is shared between test binaries")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test waits for one event and lets the others pass")]

mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use common::id::{Generation, NodeKey, RecordingKey, SessionKey, StreamKey};
use common::net::ca::Authority;
use common::net::close::CloseCode;
use common::net::identity::{Identity, IdentityStore};
use common::net::media_link::{Client, DialError, Event, Events, TapSettings};
use common::net::quic;
use common::wire::media::{EndWhy, GapWhy, Packet, TrackId};
use common::wire::node::{MediaKind, Role};
use common::wire::recording::{TapGrant, TapRevoke, TapSource};
use mediad::router::{Look, Seen};
use mediad::rtp::{Header, extend_sequence};
use mediad::tap::grants::Grants;
use mediad::tap::{Refused, Source, TapCounters, TapServer};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use rig::{Net, Receiving, Rig, SESSION};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const RECORDING: RecordingKey = RecordingKey(7);

/// A router in the place of the node's workers, its publisher running in real time.
struct Node {
    rig: Mutex<Rig>,
    grants: Mutex<Grants>,
    counters: TapCounters,
    publishes: AtomicBool,
    closed: AtomicBool,
}

impl Node {
    fn rig(&self) -> MutexGuard<'_, Rig> {
        self.rig.lock().unwrap()
    }

    /// Lets virtual time follow real time.
    async fn run(self: Arc<Self>, publisher: usize) {
        let begun = Instant::now();
        loop {
            let publishing = if self.publishes.load(Ordering::Relaxed) { &[publisher][..] } else { &[] };
            let passed = u64::try_from(begun.elapsed().as_millis()).unwrap();
            {
                let mut rig = self.rig();
                while rig.ms < passed {
                    rig.run(1, publishing);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Source for Node {
    fn begin(&self, recorder: NodeKey, session: SessionKey, recording: RecordingKey) -> Result<u64, Refused> {
        if session != SESSION {
            return Err((CloseCode::UnknownSession, "unknown session"));
        }
        let begun = self.grants.lock().unwrap().begin(session, recording, recorder);
        begun.ok_or((CloseCode::NotGranted, "not granted"))
    }

    fn holds(&self, session: SessionKey, recording: RecordingKey, life: u64) -> Result<(), Refused> {
        if self.closed.load(Ordering::Relaxed) {
            return Err((CloseCode::UnknownSession, "the session was closed"));
        }
        match self.grants.lock().unwrap().holds(session, recording, life) {
            Some(true) => Ok(()),
            Some(false) => Err((CloseCode::Superseded, "another one")),
            None => Err((CloseCode::NotGranted, "revoked")),
        }
    }

    async fn look(&self, look: Look) -> Option<Seen> {
        let mut rig = self.rig();
        let now = rig.now();
        Some(rig.router.look(now, &look))
    }

    fn counters(&self) -> &TapCounters {
        &self.counters
    }
}

/// A cluster of one media node and one recorder.
struct Cluster {
    node: Arc<Node>,
    publisher: usize,
    recorder: Arc<Identity>,
    media: Arc<Identity>,
    source: TapSource,
    _server: TapServer,
    _identity: watch::Sender<Option<Arc<Identity>>>,
    run: tokio::task::JoinHandle<()>,
    _dirs: [TempDir; 3],
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run.abort();
    }
}

fn issue(authority: &Authority, dir: &TempDir, role: Role) -> (Arc<Identity>, quic::QuicKeys, NodeKey) {
    let store = IdentityStore::open(dir.path(), role).unwrap();
    let node = store.node();
    let leaf = authority.issue_node(role, node, &store.csr().unwrap(), SystemTime::now()).unwrap();
    let identity = store.save(&leaf.into(), authority.certificate()).unwrap();
    (Arc::new(identity), store.quic_keys(), node)
}

impl Cluster {
    fn start(rids: &[&'static str]) -> Self {
        let dirs: [TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let authority = Authority::open(dirs[0].path()).unwrap();
        let (media, keys, key) = issue(&authority, &dirs[1], Role::Media);
        let (recorder, _, recorder_key) = issue(&authority, &dirs[2], Role::Recorder);
        let mut rig = Rig::new(1);
        let publisher = rig.publisher(1, rids);
        let node = Arc::new(Node {
            rig: Mutex::new(rig),
            grants: Mutex::default(),
            counters: TapCounters::default(),
            publishes: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        });
        let grant = TapGrant {
            session: SESSION,
            recording: RECORDING,
            recorder: recorder_key,
            generation: Generation(1),
        };
        node.grants.lock().unwrap().grant(&grant).unwrap();
        let socket = quic::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let source = TapSource { node: key, addresses: vec![socket.local_addr().unwrap().to_string()] };
        let (sender, identity) = watch::channel(Some(Arc::clone(&media)));
        let server = TapServer::start(socket, keys, identity, Arc::clone(&node));
        let run = tokio::spawn(Arc::clone(&node).run(publisher));
        Self {
            node,
            publisher,
            recorder,
            media,
            source,
            _server: server,
            _identity: sender,
            run,
            _dirs: dirs,
        }
    }

    fn settings(&self) -> TapSettings {
        TapSettings::new("recorder of a test", &self.source, RECORDING, SESSION)
    }

    async fn dial(&self) -> (Client, Events) {
        Client::dial(&self.recorder, &self.settings()).await.unwrap()
    }
}

async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.next()).await.expect("an event arrives").expect("the tap lives")
}

/// Takes events until `done` says that it has seen enough; wants every track.
async fn take(client: &Client, events: &mut Events, mut done: impl FnMut(&Event) -> bool) {
    loop {
        let event = next(events).await;
        if let Event::TrackAdded(added) = &event {
            client.want(added.stream, added.kind, Some(u8::MAX));
        }
        if done(&event) {
            return;
        }
    }
}

async fn lost(events: &mut Events) -> Option<CloseCode> {
    loop {
        if let Event::Lost { code, .. } = next(events).await {
            return code;
        }
    }
}

#[tokio::test]
async fn a_recorder_gets_what_was_sent_over_loss_and_repair_until_the_end() {
    let cluster = Cluster::start(&[""]);
    {
        let mut rig = cluster.node.rig();
        let publisher = &mut rig.clients[cluster.publisher];
        publisher.flows[0].packets_per_frame = 4;
        publisher.up = Net { loss_permille: 30, delay_ms: 5, ..Net::default() };
        publisher.down = Net { delay_ms: 5, ..Net::default() };
    }
    let (client, mut events) = cluster.dial().await;
    assert!(client.tapped().unix_us >= client.tapped().node_us);
    let mut kinds = BTreeMap::new();
    let mut got: BTreeMap<TrackId, (Receiving, u64)> = BTreeMap::new();
    let mut count = 0;
    let mut began = 0;
    client.ask_clock(42);
    let mut clocks = 0;
    let mut note = |event: &Event| {
        match event {
            Event::TrackAdded(added) => _ = kinds.insert(added.track, added.kind),
            Event::Began(header) => {
                began += 1;
                assert_eq!(header.kind, kinds[&header.track]);
            }
            Event::Clock(clock) => {
                clocks += 1;
                assert!(clock.asked_us == 42 && clock.unix_us > 0);
            }
            Event::Packets { track, packets } => {
                let (receiving, _) = got.entry(*track).or_default();
                for packet in packets {
                    note_packet(receiving, packet);
                }
                count += packets.len();
            }
            Event::Gap { track, gap } => got.entry(*track).or_default().1 += gap.skipped,
            _ => {}
        }
        count > 800
    };
    take(&client, &mut events, &mut note).await;
    // The publisher goes: both tracks end, after their last packets.
    cluster.node.publishes.store(false, Ordering::Relaxed);
    let key = {
        let rig = cluster.node.rig();
        rig.clients[cluster.publisher].key
    };
    assert!(cluster.node.rig().router.close(key));
    let mut ended = 0;
    take(&client, &mut events, |event| {
        note(event);
        ended += u32::from(matches!(event, Event::Ended { why: EndWhy::Unpublished, .. }));
        ended == 2
    })
    .await;
    assert_eq!((began, clocks, kinds.len()), (2, 1, 2));
    for (track, (receiving, told)) in &got {
        assert_eq!(receiving.holes().len() as u64, *told, "holes are told");
        if kinds[track] == MediaKind::Video && *told == 0 {
            receiving.check_continuous();
        }
    }
    assert!(cluster.node.rig().router.totals().repaired > 0);
    assert_eq!(cluster.node.counters.packets.load(Ordering::Relaxed) as usize, {
        got.values().map(|(receiving, _)| receiving.got.len()).sum::<usize>()
    });
    client.close();
}

fn note_packet(receiving: &mut Receiving, packet: &Packet) {
    let header = Header::parse(&packet.bytes).unwrap();
    let index = extend_sequence(receiving.highest.max(1 << 16), header.sequence);
    receiving.note(index, false, &header, &packet.bytes[12..], 0);
}

#[tokio::test]
async fn only_the_granted_recorder_taps_and_only_while_it_is_granted() {
    let cluster = Cluster::start(&[""]);
    let refused =
        async |settings: TapSettings, identity: &Identity| match Client::dial(identity, &settings).await {
            Err(DialError::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        };
    let settings = cluster.settings();
    let other = TapSettings { recording: RecordingKey(8), ..settings.clone() };
    assert_eq!(refused(other, &cluster.recorder).await, Some(CloseCode::NotGranted));
    let other = TapSettings { session: SessionKey(99), ..settings.clone() };
    assert_eq!(refused(other, &cluster.recorder).await, Some(CloseCode::UnknownSession));
    assert_eq!(refused(settings.clone(), &cluster.media).await, Some(CloseCode::Unauthorized));
    assert_eq!(cluster.node.counters.refused.load(Ordering::Relaxed), 3);
    let other = TapSettings { node: NodeKey(1), ..settings.clone() };
    let stranger = Client::dial(&cluster.recorder, &other).await;
    assert!(matches!(stranger, Err(DialError::Unreachable(_))), "{stranger:?}");

    let (first, mut first_events) = cluster.dial().await;
    let (second, mut second_events) = cluster.dial().await;
    assert_eq!(lost(&mut first_events).await, Some(CloseCode::Superseded));
    take(&second, &mut second_events, |event| matches!(event, Event::Packets { .. })).await;
    cluster.node.grants.lock().unwrap().revoke(&TapRevoke { session: SESSION, recording: RECORDING });
    assert_eq!(lost(&mut second_events).await, Some(CloseCode::NotGranted));
    assert!(second_events.next().await.is_none());
    drop((first, second));
    let end = Instant::now() + PATIENCE;
    while cluster.node.counters.taps.load(Ordering::Relaxed) > 0 {
        assert!(Instant::now() < end, "taps end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_session_that_is_closed_ends_its_tracks_after_their_last_packets() {
    let cluster = Cluster::start(&[""]);
    let (client, mut events) = cluster.dial().await;
    let mut count = 0;
    let mut note = |event: &Event| {
        if let Event::Packets { packets, .. } = event {
            count += packets.len();
        }
        count > 100
    };
    take(&client, &mut events, &mut note).await;
    cluster.node.publishes.store(false, Ordering::Relaxed);
    cluster.node.rig().run(100, &[]);
    cluster.node.closed.store(true, Ordering::Relaxed);
    let mut ended = 0;
    take(&client, &mut events, |event| {
        note(event);
        ended += u32::from(matches!(event, Event::Ended { why: EndWhy::SessionClosed, .. }));
        ended == 2
    })
    .await;
    assert_eq!(lost(&mut events).await, Some(CloseCode::UnknownSession));
    let rig = cluster.node.rig();
    let sent = rig.router.totals().packets_in;
    assert_eq!(count as u64, sent, "all that was sent");
}

#[tokio::test]
async fn a_recorder_chooses_the_encoding_and_stops_what_it_does_not_want() {
    let cluster = Cluster::start(&["l", "h"]);
    let (client, mut events) = cluster.dial().await;
    let (stream, video) = (StreamKey(1), MediaKind::Video);
    // A wish may come before its track.
    client.want(stream, video, Some(0));
    let spatial = async |events: &mut Events, wanted: u8| loop {
        match next(events).await {
            Event::Switched { switched, .. } if switched.spatial == wanted => return,
            Event::Began(header) => assert_eq!(header.kind, video, "nothing that was not wanted"),
            _ => {}
        }
    };
    spatial(&mut events, 0).await;
    client.want(stream, video, Some(u8::MAX));
    spatial(&mut events, 1).await;
    client.want(stream, video, None);
    loop {
        if let Event::Ended { why, .. } = next(&mut events).await {
            assert_eq!(why, EndWhy::Unwanted);
            break;
        }
    }
    client.want(stream, video, Some(0));
    loop {
        if let Event::Packets { packets, .. } = next(&mut events).await {
            assert!(packets[0].flags & Packet::START != 0);
            break;
        }
    }
}

#[tokio::test]
async fn a_slow_recorder_loses_packets_and_nobody_waits_for_it() {
    let cluster = Cluster::start(&[""]);
    cluster.node.rig().clients[cluster.publisher].flows[0].packets_per_frame = 200;
    let (client, mut events) = cluster.dial().await;
    take(&client, &mut events, |event| matches!(event, Event::Packets { .. })).await;
    // It reads nothing until far more has passed than there is room for on the way.
    let room = u64::try_from(64 * 64 * 1024 + 4 * 1024 * 1024).unwrap();
    let sent = |cluster: &Cluster| {
        let rig = cluster.node.rig();
        u64::from(rig.clients[cluster.publisher].flows[0].frame) * 200 * 900
    };
    let begun = sent(&cluster);
    while sent(&cluster) - begun < 3 * room {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(cluster.node.counters.bytes.load(Ordering::Relaxed) < 2 * room, "held by the window");
    let mut lapped = false;
    take(&client, &mut events, |event| {
        lapped |= matches!(event, Event::Gap { gap, .. } if gap.why == GapWhy::Lapped && gap.skipped > 0);
        lapped && matches!(event, Event::Packets { packets, .. } if packets[0].flags & Packet::START != 0)
    })
    .await;
}
