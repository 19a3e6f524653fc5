//! Shell: the master's side of `plenum-node/1`, one connection of a node.

use std::sync::Arc;
use std::time::Duration;

use common::id::{BootId, NodeKey, OpId};
use common::limits::LANES;
use common::net::close::{CloseCode, describe};
use common::net::frames::{self, FrameReader};
use common::net::peer::role_name;
use common::net::quic::HANDSHAKE_TIMEOUT;
use common::telemetry::chain;
use common::wire::node::{EventAck, FromNode, Hello, NewEpoch, Role, ToNode, VERSIONS, Welcome};
use common::wire::{DecodeError, Envelope, Message as _};
use quinn::{Connection, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::registry::{COMMANDS_PER_LANE_MAX, Link};
use super::{LinkInput, Shared};

/// Bounds of what a node says of itself.
const TEXT_BYTES_MAX: usize = 256;
const ADDRESSES_MAX: usize = 16;

/// A process that lives answers a probe within this time, or is stuck; a restarted node waits no longer than this.
const ALIVE_TIMEOUT: Duration = Duration::from_millis(400);
const ALIVE_POLL: Duration = Duration::from_millis(10);

/// Why a link ends by our decision.
struct Refused {
    code: CloseCode,
    why: String,
}

impl Refused {
    fn protocol(why: impl Into<String>) -> Self {
        Self { code: CloseCode::Protocol, why: why.into() }
    }
}

/// Serves a node until its connection ends.
pub(super) async fn serve(shared: &Arc<Shared>, connection: Connection, role: Role, node: NodeKey) {
    let peer = connection.remote_address();
    let greeted = match timeout(HANDSHAKE_TIMEOUT, greet(&connection, role, node)).await {
        Ok(greeted) => greeted,
        Err(_) => Err(Refused::protocol("no greeting")),
    };
    let (hello, send, reader) = match greeted {
        Ok(greeted) => greeted,
        Err(Refused { code, why }) => {
            common::warn_limited!(1, %peer, %node, error = why, "a node was refused");
            code.close(&connection, &why);
            return;
        }
    };
    if let Some(former) = shared.registry.present(node)
        && former.boot != hello.boot
        && is_alive(shared, &former).await
    {
        tracing::warn!(%peer, %node, "a second process with the same identity was refused");
        let why =
            "another process runs as this node: its state folder was copied; remove the copy to enrol anew";
        CloseCode::Unauthorized.close(&connection, why);
        return;
    }
    let (control, commands) = mpsc::channel(COMMANDS_PER_LANE_MAX);
    let (lanes, lane_queues) = (0..LANES).map(|_| mpsc::channel(COMMANDS_PER_LANE_MAX)).unzip();
    let link = Arc::new(Link { boot: hello.boot, connection: connection.clone(), control, lanes });
    let served = Served { shared: Arc::clone(shared), connection, node, link: Arc::clone(&link) };
    tracing::info!(%peer, %node, role = role_name(role), program = %hello.program.escape_debug(), "node connected");
    let up = LinkInput::Up { node, address: peer.ip(), hello };
    if let Some(former) = shared.registry.insert(node, Arc::clone(&link), up, &shared.inputs).await {
        if former.boot != link.boot && former.connection.close_reason().is_none() {
            tracing::warn!(%node, "another process connects as the same node: restarted, or a copied state folder");
        }
        CloseCode::Superseded.close(&former.connection, "another connection of the same node was opened");
    }
    let why = served.run(send, reader, commands, lane_queues).await;
    tracing::info!(%peer, %node, why, "node disconnected");
    shared.registry.remove(node, &link, why, &shared.inputs).await;
}

/// Whether the process at the other end of a link answers. One that was killed leaves its connection behind.
async fn is_alive(shared: &Shared, link: &Link) -> bool {
    let heard = || link.connection.stats().udp_rx.datagrams;
    let before = heard();
    // Means nothing, and has to be acknowledged.
    let probe = ToNode::from(EventAck { seq: 0 }).envelope(*shared.epoch.borrow(), OpId::default(), 0);
    // A full queue is one more probe that waits for an acknowledgement.
    drop(link.control.try_send(probe));
    let end = Instant::now() + ALIVE_TIMEOUT;
    while link.connection.close_reason().is_none() {
        if heard() > before {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(ALIVE_POLL).await;
    }
    false
}

async fn greet(
    connection: &Connection,
    role: Role,
    node: NodeKey,
) -> Result<(Hello, SendStream, FrameReader), Refused> {
    let (send, receive) =
        connection.accept_bi().await.map_err(|error| Refused::protocol(describe(&error)))?;
    let mut reader = FrameReader::new(receive);
    let first = reader.next().await.map_err(|error| Refused::protocol(chain(&error).to_string()))?;
    let first = first.ok_or_else(|| Refused::protocol("no greeting"))?;
    let hello = match FromNode::decode(first.kind, &first.body) {
        Ok(FromNode::Hello(hello)) => hello,
        Ok(_) => return Err(Refused::protocol("the first message is not a hello")),
        Err(error) => return Err(Refused::protocol(chain(&error).to_string())),
    };
    check(&hello, role, node)?;
    Ok((hello, send, reader))
}

fn check(hello: &Hello, role: Role, node: NodeKey) -> Result<(), Refused> {
    if hello.node != node || hello.role != role {
        let why = format!(
            "the hello says {} {}, the certificate {} {node}",
            role_name(hello.role),
            hello.node,
            role_name(role)
        );
        return Err(Refused { code: CloseCode::Unauthorized, why });
    }
    if hello.versions.0 > VERSIONS.1 || hello.versions.1 < VERSIONS.0 {
        let why = format!(
            "the node speaks versions {} to {}, this master {} to {}",
            hello.versions.0, hello.versions.1, VERSIONS.0, VERSIONS.1
        );
        return Err(Refused { code: CloseCode::Version, why });
    }
    let texts = hello.addresses.iter().chain([&hello.program, &hello.name]);
    if hello.addresses.len() > ADDRESSES_MAX || texts.into_iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(Refused::protocol("the hello is too long"));
    }
    Ok(())
}

/// One node's connection.
#[derive(Clone)]
struct Served {
    shared: Arc<Shared>,
    connection: Connection,
    node: NodeKey,
    link: Arc<Link>,
}

type Tasks = JoinSet<Result<(), Refused>>;
type Queue = mpsc::Receiver<Envelope>;

impl Served {
    /// Runs the link's tasks until one fails or the connection ends; says why.
    async fn run(self, send: SendStream, reader: FrameReader, commands: Queue, lanes: Vec<Queue>) -> String {
        let mut tasks = Tasks::new();
        tasks.spawn(self.clone().write_control(send, commands));
        tasks.spawn(self.clone().read_control(reader));
        tasks.spawn(self.clone().accept_lanes(lanes));
        tasks.spawn(self.clone().read_events());
        tasks.spawn(self.clone().read_datagrams());
        // Both arms are cancel safe. The tasks end with the set.
        loop {
            tokio::select! {
                error = self.connection.closed() => return describe(&error),
                ended = tasks.join_next() => match ended {
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(Refused { code, why }))) => {
                        if let Some(error) = self.connection.close_reason() {
                            return describe(&error);
                        }
                        common::warn_limited!(1, node = %self.node, error = why, "a node breaks the protocol");
                        code.close(&self.connection, &why);
                        return why;
                    }
                    Some(Err(error)) => return format!("internal error: {error}"),
                    None => return "all streams ended".to_owned(),
                },
            }
        }
    }

    /// Welcome, commands without a lane, new epochs.
    async fn write_control(self, mut send: SendStream, mut commands: Queue) -> Result<(), Refused> {
        let mut epochs = self.shared.epoch.clone();
        let welcome = ToNode::from(Welcome {
            version: VERSIONS.1,
            epoch: *epochs.borrow_and_update(),
            heartbeat_ms: u32::try_from(self.shared.settings.heartbeat.as_millis()).unwrap_or(u32::MAX),
            ext: Vec::new(),
        });
        let mut welcomed = *epochs.borrow();
        write(&mut send, &welcome.envelope(welcomed, OpId::default(), 0)).await?;
        let mut epochs_follow = true;
        loop {
            // Both arms are cancel safe.
            tokio::select! {
                command = commands.recv() => match command {
                    Some(envelope) => write(&mut send, &envelope).await?,
                    None => return Ok(()),
                },
                changed = epochs.changed(), if epochs_follow => {
                    if changed.is_err() {
                        // No other epoch will come; commands still do.
                        epochs_follow = false;
                        continue;
                    }
                    let epoch = *epochs.borrow_and_update();
                    if epoch != welcomed {
                        welcomed = epoch;
                        let message = ToNode::from(NewEpoch { epoch });
                        write(&mut send, &message.envelope(epoch, OpId::default(), 0)).await?;
                    }
                }
            }
        }
    }

    async fn read_control(self, mut reader: FrameReader) -> Result<(), Refused> {
        loop {
            let envelope = next_frame(&mut reader).await?;
            self.take(&envelope).await;
        }
    }

    /// Each lane is opened by the node and says its number first.
    async fn accept_lanes(self, queues: Vec<Queue>) -> Result<(), Refused> {
        let mut waiting: Vec<Option<Queue>> = queues.into_iter().map(Some).collect();
        let mut lanes = Tasks::new();
        loop {
            // Both arms are cancel safe.
            tokio::select! {
                accepted = self.connection.accept_bi() => {
                    let (send, receive) = accepted.map_err(|error| Refused::protocol(describe(&error)))?;
                    let mut reader = FrameReader::new(receive);
                    let lane = read_lane_open(&mut reader).await?;
                    let queue = waiting.get_mut(usize::from(lane)).and_then(Option::take);
                    let queue = queue.ok_or_else(|| Refused::protocol("a lane that is open, or does not exist"))?;
                    lanes.spawn(self.clone().run_lane(send, reader, queue));
                }
                Some(ended) = lanes.join_next() => {
                    ended.map_err(|error| Refused::protocol(format!("internal error: {error}")))??;
                }
            }
        }
    }

    async fn run_lane(
        self,
        mut send: SendStream,
        mut reader: FrameReader,
        mut queue: Queue,
    ) -> Result<(), Refused> {
        let read = async {
            loop {
                let envelope = next_frame(&mut reader).await?;
                self.take(&envelope).await;
            }
        };
        let write = async {
            while let Some(envelope) = queue.recv().await {
                write(&mut send, &envelope).await?;
            }
            Ok(())
        };
        // Reading goes on while writing waits for credit, so that both ends cannot wait for each other.
        tokio::select! {
            ended = read => ended,
            ended = write => ended,
        }
    }

    /// Events. The core tells repeated ones apart, and acknowledges each when what it changed is durable.
    async fn read_events(self) -> Result<(), Refused> {
        let receive =
            self.connection.accept_uni().await.map_err(|error| Refused::protocol(describe(&error)))?;
        let mut reader = FrameReader::new(receive);
        loop {
            let envelope = next_frame(&mut reader).await?;
            let message = FromNode::decode(envelope.kind, &envelope.body);
            let Ok(FromNode::NodeEvent(event)) = message else {
                return Err(Refused::protocol("something else than an event on the event stream"));
            };
            self.tell(OpId::default(), event.into()).await;
        }
    }

    /// Heartbeats and load: the newest wins, so that none waits for a busy core.
    async fn read_datagrams(self) -> Result<(), Refused> {
        loop {
            let datagram =
                self.connection.read_datagram().await.map_err(|error| Refused::protocol(describe(&error)))?;
            let message = common::wire::frame::decode(&datagram)
                .ok()
                .and_then(|envelope| FromNode::decode(envelope.kind, &envelope.body).ok());
            match message {
                Some(message @ (FromNode::Heartbeat(_) | FromNode::Load(_))) => {
                    let input = LinkInput::Message {
                        node: self.node,
                        boot: self.boot(),
                        op: OpId::default(),
                        message,
                    };
                    if self.shared.registry.is_present(self.node, &self.link)
                        && self.shared.inputs.try_send(input).is_err()
                    {
                        common::warn_limited!(10, node = %self.node, "the core is busy: a datagram was dropped");
                    }
                }
                Some(FromNode::SessionStats(stats)) => self.shared.operators.take_stats(self.node, stats),
                Some(_) | None => {
                    common::warn_limited!(10, node = %self.node, "an unknown datagram was dropped");
                }
            }
        }
    }

    fn boot(&self) -> BootId {
        self.link.boot
    }

    /// Hands an answer, or a part of the inventory, to the core.
    async fn take(&self, envelope: &Envelope) {
        match FromNode::decode(envelope.kind, &envelope.body) {
            Ok(message @ (FromNode::Done(_) | FromNode::Inventory(_) | FromNode::Unsupported(_))) => {
                self.tell(envelope.op, message).await;
            }
            Ok(_) => common::warn_limited!(10, node = %self.node, "a message at the wrong place was dropped"),
            Err(DecodeError::UnknownKind { kind }) => {
                common::warn_limited!(10, node = %self.node, kind, "a message of an unknown kind was dropped");
            }
            Err(error) => {
                common::warn_limited!(10, node = %self.node, error = %chain(&error), "a malformed message was dropped");
            }
        }
    }

    /// Waits for room in the core's queue: the node's stream fills up meanwhile, and the node slows down.
    async fn tell(&self, op: OpId, message: FromNode) {
        // A replaced connection has nothing to say any more.
        if self.shared.registry.is_present(self.node, &self.link) {
            let input = LinkInput::Message { node: self.node, boot: self.boot(), op, message };
            drop(self.shared.inputs.send(input).await);
        }
    }
}

async fn read_lane_open(reader: &mut FrameReader) -> Result<u16, Refused> {
    let envelope = timeout(HANDSHAKE_TIMEOUT, next_frame(reader))
        .await
        .map_err(|_elapsed| Refused::protocol("a lane without a number"))??;
    match FromNode::decode(envelope.kind, &envelope.body) {
        Ok(FromNode::LaneOpen(open)) => Ok(open.lane),
        Ok(_) | Err(_) => Err(Refused::protocol("a lane without a number")),
    }
}

async fn next_frame(reader: &mut FrameReader) -> Result<Envelope, Refused> {
    match reader.next().await {
        Ok(Some(envelope)) => Ok(envelope),
        Ok(None) => Err(Refused::protocol("the node ended a stream")),
        Err(error) => Err(Refused::protocol(chain(&error).to_string())),
    }
}

async fn write(send: &mut SendStream, envelope: &Envelope) -> Result<(), Refused> {
    frames::write(send, envelope).await.map_err(|error| Refused::protocol(chain(&error).to_string()))
}
