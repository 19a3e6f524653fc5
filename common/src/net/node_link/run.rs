//! Shell: one connection to a master, from `Hello` to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::{Connection, Endpoint, SendStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::dial::{Advice, Ended, judge};
use super::{InventoryRequest, LinkState, Request, Route, Running, Shared};
use crate::id::OpId;
use crate::limits::{COMMANDS_WAITING_MAX, INVENTORY_CHUNK_MAX, LANES};
use crate::net::close::CloseCode;
use crate::net::enroll::{self, Credential, is_renewal_due};
use crate::net::frames::{self, FrameReader};
use crate::net::identity::{Identity, IdentityStore};
use crate::net::quic::HANDSHAKE_TIMEOUT;
use crate::telemetry::chain;
use crate::wire::node::{FromNode, Heartbeat, Hello, Inventory, LaneOpen, ToNode, VERSIONS, Welcome};
use crate::wire::{Envelope, Message as _};

/// Bounds of the heartbeat interval that a master may ask for.
const HEARTBEAT_MS: std::ops::RangeInclusive<u32> = 50..=10_000;

/// How often the certificate's age is looked at; clocks may jump.
const RENEWAL_CHECK: Duration = Duration::from_secs(60);

/// What is needed to renew the certificate while the link is up.
pub(super) struct Renewal {
    pub(super) endpoint: Endpoint,
    pub(super) address: SocketAddr,
    pub(super) store: Arc<IdentityStore>,
    pub(super) identity: Arc<Identity>,
    pub(super) program: String,
}

/// Serves the connection until it ends.
pub(super) async fn run(shared: &Arc<Shared>, connection: Connection, renewal: Renewal) -> Ended {
    let opened = match timeout(HANDSHAKE_TIMEOUT, greet(shared, &connection)).await {
        Ok(opened) => opened,
        Err(_) => Err(Failure::Protocol("the master does not answer the greeting".to_owned())),
    };
    let (welcome, control) = match opened {
        Ok(opened) => opened,
        Err(failure) => return failure.ended(&connection).await,
    };
    shared.see_epoch(welcome.epoch);
    if welcome.epoch < shared.epoch() {
        tracing::warn!(epoch = %welcome.epoch, seen = %shared.epoch(), "the master has an older epoch");
    }
    let master = connection.remote_address();
    tracing::info!(%master, epoch = %welcome.epoch, node = %shared.node, "link to the master is up");
    shared.set_state(LinkState::Up { master, epoch: welcome.epoch });

    let mut tasks = JoinSet::new();
    start(&mut tasks, shared, &connection, &welcome, control, renewal);
    // Both arms are cancel safe. The tasks end with the set.
    let failure = loop {
        tokio::select! {
            _ = connection.closed() => break Failure::Connection,
            ended = tasks.join_next() => match ended {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(failure))) => break failure,
                Some(Err(error)) => break Failure::Protocol(format!("internal error: {error}")),
                None => break Failure::Connection,
            },
        }
    };
    let ended = failure.ended(&connection).await;
    Ended { was_up: true, ..ended }
}

/// Why a task of the link ended.
pub(super) enum Failure {
    /// The connection is lost; it knows why.
    Connection,
    /// The master does not keep to the protocol.
    Protocol(String),
}

impl Failure {
    fn of(connection: &Connection, error: &(dyn std::error::Error + 'static)) -> Self {
        match connection.close_reason() {
            Some(_) => Self::Connection,
            None => Self::Protocol(chain(error).to_string()),
        }
    }

    async fn ended(self, connection: &Connection) -> Ended {
        match self {
            Self::Connection => judge(&connection.closed().await),
            Self::Protocol(why) => {
                CloseCode::Protocol.close(connection, &why);
                Ended::new(why, Advice::Retry)
            }
        }
    }
}

type Control = (SendStream, FrameReader);

async fn greet(shared: &Shared, connection: &Connection) -> Result<(Welcome, Control), Failure> {
    let fail = |error: &(dyn std::error::Error + 'static)| Failure::of(connection, error);
    let (mut send, receive) = connection.open_bi().await.map_err(|error| fail(&error))?;
    let hello = FromNode::from(Hello {
        versions: VERSIONS,
        program: shared.settings.program.clone(),
        node: shared.node,
        role: shared.role,
        boot: shared.boot,
        epoch_seen: shared.epoch(),
        addresses: shared.settings.addresses.clone(),
        name: shared.settings.name.clone(),
        media_link: shared.settings.media_link.clone(),
        capacity: shared.settings.capacity,
        ext: Vec::new(),
    });
    frames::send(&mut send, &hello).await.map_err(|error| fail(&error))?;
    let mut reader = FrameReader::new(receive);
    let answer = match reader.next().await {
        Ok(Some(answer)) => answer,
        // The reason is in the connection.
        Ok(None) => return Err(Failure::Connection),
        Err(error) => return Err(fail(&error)),
    };
    match ToNode::decode(answer.kind, &answer.body) {
        Ok(ToNode::Welcome(welcome)) if (VERSIONS.0..=VERSIONS.1).contains(&welcome.version) => {
            Ok((welcome, (send, reader)))
        }
        Ok(_) => Err(Failure::Protocol("the master's first message is not a welcome".to_owned())),
        Err(error) => Err(fail(&error)),
    }
}

type Tasks = JoinSet<Result<(), Failure>>;

fn start(
    tasks: &mut Tasks,
    shared: &Arc<Shared>,
    connection: &Connection,
    welcome: &Welcome,
    (send, reader): Control,
    renewal: Renewal,
) {
    let (route, answers) = mpsc::channel(COMMANDS_WAITING_MAX);
    tasks.spawn(write_answers(Arc::clone(shared), connection.clone(), send, answers));
    tasks.spawn(read_control(Arc::clone(shared), connection.clone(), reader, route.clone()));
    tasks.spawn(send_inventory(Arc::clone(shared), route));
    for lane in 0..LANES {
        tasks.spawn(run_lane(Arc::clone(shared), connection.clone(), lane));
    }
    tasks.spawn(send_events(Arc::clone(shared), connection.clone()));
    let heartbeat_ms = welcome.heartbeat_ms.clamp(*HEARTBEAT_MS.start(), *HEARTBEAT_MS.end());
    tasks.spawn(send_heartbeats(Arc::clone(shared), connection.clone(), heartbeat_ms));
    tasks.spawn(send_loads(Arc::clone(shared), connection.clone()));
    tasks.spawn(renew(Arc::clone(shared), renewal));
    tasks.spawn(super::files::accept(Arc::clone(shared), connection.clone()));
    tasks.spawn(send_stats(Arc::clone(shared), connection.clone()));
}

async fn write_answers(
    shared: Arc<Shared>,
    connection: Connection,
    mut send: SendStream,
    mut answers: mpsc::Receiver<(OpId, FromNode)>,
) -> Result<(), Failure> {
    while let Some((op, message)) = answers.recv().await {
        let envelope = message.envelope(shared.epoch(), op, 0);
        match frames::write(&mut send, &envelope).await {
            Ok(()) => {}
            Err(frames::WriteFrameError::Frame(error)) => {
                tracing::error!(%op, %error, "an answer is too long to be sent");
            }
            Err(error) => return Err(Failure::of(&connection, &error)),
        }
    }
    Ok(())
}

async fn next_frame(connection: &Connection, reader: &mut FrameReader) -> Result<Envelope, Failure> {
    match reader.next().await {
        Ok(Some(envelope)) => Ok(envelope),
        Ok(None) => Err(Failure::Protocol("the master ended a stream".to_owned())),
        Err(error) => Err(Failure::of(connection, &error)),
    }
}

async fn read_control(
    shared: Arc<Shared>,
    connection: Connection,
    mut reader: FrameReader,
    route: Route,
) -> Result<(), Failure> {
    loop {
        let envelope = next_frame(&connection, &mut reader).await?;
        match ToNode::decode(envelope.kind, &envelope.body) {
            Ok(ToNode::EventAck(ack)) => shared.events().acknowledge(ack.seq),
            Ok(ToNode::NewEpoch(new)) if new.epoch >= shared.epoch() => {
                shared.see_epoch(new.epoch);
                tracing::info!(epoch = %new.epoch, "another master leads");
                send_inventory(Arc::clone(&shared), route.clone()).await?;
            }
            Ok(ToNode::NewEpoch(_) | ToNode::Welcome(_)) => {}
            // Everything else is a command; what cannot be decoded is answered there.
            Ok(_) | Err(_) => shared.take_command(&envelope, &route),
        }
    }
}

async fn run_lane(shared: Arc<Shared>, connection: Connection, lane: u16) -> Result<(), Failure> {
    let fail = |error: &(dyn std::error::Error + 'static)| Failure::of(&connection, error);
    let (mut send, receive) = connection.open_bi().await.map_err(|error| fail(&error))?;
    frames::send(&mut send, &FromNode::from(LaneOpen { lane })).await.map_err(|error| fail(&error))?;
    let mut reader = FrameReader::new(receive);
    let (route, answers) = mpsc::channel(COMMANDS_WAITING_MAX);
    let read = async {
        loop {
            let envelope = next_frame(&connection, &mut reader).await?;
            shared.take_command(&envelope, &route);
        }
    };
    // Neither side ends without an error; the connection ends with the first one.
    tokio::select! {
        failure = read => failure,
        failure = write_answers(Arc::clone(&shared), connection.clone(), send, answers) => failure,
    }
}

/// Asks the daemon what it runs and tells the master in chunks.
async fn send_inventory(shared: Arc<Shared>, route: Route) -> Result<(), Failure> {
    let (reply, running) = oneshot::channel();
    if shared.requests.send(Request::Inventory(InventoryRequest { reply })).await.is_err() {
        return Ok(());
    }
    // A daemon that drops the question is about to end.
    let Ok(running) = running.await else { return Ok(()) };
    for chunk in chunks(&running) {
        if route.send((OpId::default(), chunk.into())).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn chunks(running: &Running) -> Vec<Inventory> {
    let mut chunks = Vec::new();
    for sessions in running.sessions.chunks(INVENTORY_CHUNK_MAX) {
        chunks.push(Inventory { sessions: sessions.to_vec(), ..Inventory::default() });
    }
    for endpoints in running.endpoints.chunks(INVENTORY_CHUNK_MAX) {
        chunks.push(Inventory { endpoints: endpoints.to_vec(), ..Inventory::default() });
    }
    for recordings in running.recordings.chunks(INVENTORY_CHUNK_MAX) {
        chunks.push(Inventory { recordings: recordings.to_vec(), ..Inventory::default() });
    }
    match chunks.last_mut() {
        Some(last) => last.last = true,
        None => chunks.push(Inventory { last: true, ..Inventory::default() }),
    }
    chunks
}

async fn send_events(shared: Arc<Shared>, connection: Connection) -> Result<(), Failure> {
    let mut send = connection.open_uni().await.map_err(|error| Failure::of(&connection, &error))?;
    let mut sent = 0;
    loop {
        let changed = shared.events_changed.notified();
        let next = shared.events().after(sent);
        let Some(event) = next else {
            changed.await;
            continue;
        };
        sent = event.seq;
        let envelope = FromNode::from(event).envelope(shared.epoch(), OpId::default(), 0);
        if let Err(error) = frames::write(&mut send, &envelope).await {
            return Err(Failure::of(&connection, &error));
        }
    }
}

/// A datagram holds one envelope. One that cannot be sent now is not worth sending later.
fn send_datagram(shared: &Shared, connection: &Connection, message: &FromNode) {
    let envelope = message.envelope(shared.epoch(), OpId::default(), 0);
    if let Err(error) = connection.send_datagram(crate::wire::encode(&envelope).into()) {
        crate::warn_limited!(10, %error, "cannot send a datagram");
    }
}

async fn send_heartbeats(shared: Arc<Shared>, connection: Connection, every_ms: u32) -> Result<(), Failure> {
    let mut ticks = interval(Duration::from_millis(u64::from(every_ms)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for seq in 1.. {
        ticks.tick().await;
        send_datagram(&shared, &connection, &Heartbeat { seq, turns: (shared.turns)() }.into());
    }
    Ok(())
}

async fn send_loads(shared: Arc<Shared>, connection: Connection) -> Result<(), Failure> {
    let mut loads = shared.load.subscribe();
    loads.mark_changed();
    while loads.changed().await.is_ok() {
        let load = loads.borrow_and_update().clone();
        if let Some(load) = load {
            send_datagram(&shared, &connection, &load.into());
        }
    }
    Ok(())
}

async fn send_stats(shared: Arc<Shared>, connection: Connection) -> Result<(), Failure> {
    let mut stats = shared.stats.subscribe();
    loop {
        match stats.recv().await {
            Ok(stats) => send_datagram(&shared, &connection, &stats.into()),
            // The newest wins.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Renews the certificate when a third of its life is left. The present connection goes on with the old one.
async fn renew(shared: Arc<Shared>, mut renewal: Renewal) -> Result<(), Failure> {
    loop {
        sleep(RENEWAL_CHECK).await;
        if !is_renewal_due(&renewal.identity.says, SystemTime::now()) {
            continue;
        }
        let credential = Credential::Certificate(&renewal.identity);
        let renewed =
            enroll::enroll(&renewal.endpoint, renewal.address, &renewal.store, credential, &renewal.program)
                .await;
        match renewed {
            Ok(identity) => {
                tracing::info!("certificate renewed");
                renewal.identity = Arc::new(identity);
                shared.identity.send_replace(Some(Arc::clone(&renewal.identity)));
            }
            Err(error) => tracing::warn!(error = %chain(&error), "cannot renew the certificate"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Generation, SessionKey};

    #[test]
    fn an_inventory_always_has_exactly_one_last_chunk() {
        let empty = chunks(&Running::default());
        assert!(matches!(empty.as_slice(), [only] if only.last && only.sessions.is_empty()));
        let sessions: Vec<_> = (0..9000).map(|key| (SessionKey(key), Generation(1))).collect();
        let many = chunks(&Running { sessions, ..Running::default() });
        assert_eq!(many.iter().map(|chunk| chunk.sessions.len()).collect::<Vec<_>>(), [4096, 4096, 808]);
        assert_eq!(many.iter().map(|chunk| chunk.last).collect::<Vec<_>>(), [false, false, true]);
    }
}
