//! Shell: owns the UDP socket of the links and their tasks.
//!
//! One UDP port for all that dials a master: `plenum-enroll/1` (nodes that want a certificate), `plenum-node/1` (media
//! nodes and recorders), `plenum-operator/1` (consoles). Bytes become [`LinkInput`]s in a bounded channel; commands go
//! out by [`NodeLinks::send`], which never blocks.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use common::id::{Epoch, OpId, SessionKey};
//! use common::net::ca::Authority;
//! use common::wire::node::SessionClose;
//! use masterd::clock::Clock;
//! use masterd::driver::call::CoreHandle;
//! use masterd::link::{LinkInput, LinkSettings, NodeLinks};
//! use masterd::operator::OperatorHub;
//! use tokio::sync::{mpsc, watch};
//!
//! let authority = Arc::new(Authority::open("state".as_ref())?);
//! let (inputs, mut from_links) = mpsc::channel(1024);
//! let (_epoch, epoch) = watch::channel(Epoch(1));
//! let (core, _calls) = CoreHandle::channel();
//! let operators = OperatorHub::new(core, Clock::start());
//! let links = NodeLinks::start(LinkSettings::default(), authority, epoch, operators, inputs)?;
//! while let Some(input) = from_links.recv().await {
//!     if let LinkInput::Up { node, .. } = input {
//!         let session = SessionKey(1);
//!         let message = SessionClose { session }.into();
//!         links.send(node, Some(session), OpId(1), Epoch(1), 1_000, &message)?;
//!     }
//! }
//! links.close().await;
//! # Ok(())
//! # }
//! ```

mod accept;
mod enroll;
mod file;
mod node;
mod operator;
mod registry;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::id::{BootId, Epoch, NodeKey, OpId, SessionKey};
use common::limits::{CONSOLES_MAX, ENROLMENTS_MAX, LANES};
use common::net::MASTER_PORT;
use common::net::ca::{Authority, AuthorityError};
use common::net::close::CloseCode;
use common::net::quic::{self, BindError};
use common::net::tls::{self, ServerCertificate, TlsError};
use common::telemetry::chain;
use common::telemetry::task::{self, Owned};
use common::wire::node::{FromNode, Hello, ToNode};
use common::wire::{Message as _, enroll as enroll_wire, node as node_wire, operator as operator_wire};
use quinn::Endpoint;
use tokio::sync::{Semaphore, mpsc, watch};

pub use self::file::{FileBody, FileLost, OpenFileError};

use self::registry::Registry;
use crate::operator::OperatorHub;

/// How a master serves its links.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// Nodes send a heartbeat this often.
    pub heartbeat: Duration,
    /// Program and version, for humans.
    pub program: String,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, MASTER_PORT)),
            heartbeat: Duration::from_millis(250),
            program: concat!("masterd ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// What the links tell the cluster core. `Up` and `Down` of one node alternate; the messages of a link come between.
#[derive(Debug)]
pub enum LinkInput {
    /// A node is connected and welcomed. Its [`Inventory`](common::wire::node::Inventory) follows as messages.
    Up {
        /// The node, by its certificate.
        node: NodeKey,
        /// What it says of itself; key and role are checked against the certificate.
        hello: Hello,
        /// Where it dials from.
        address: IpAddr,
    },
    /// Its connection is gone, or replaced by a new one whose `Up` follows.
    Down {
        /// The node.
        node: NodeKey,
        /// The process that was connected.
        boot: BootId,
        /// For humans.
        why: String,
    },
    /// It says something: `Inventory`, `Done`, `NodeEvent`, `Load`, `Heartbeat`, `Unsupported`.
    Message {
        /// The node.
        node: NodeKey,
        /// The process that is connected.
        boot: BootId,
        /// The operation that this answers, or 0.
        op: OpId,
        /// What it says.
        message: FromNode,
    },
}

/// Why links cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The master's own certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The port cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The socket cannot be used.
    #[error("cannot serve QUIC on {address}")]
    Endpoint {
        /// As configured.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why a command does not leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// Too many commands wait for this node.
    #[error("too many commands wait for the node")]
    Busy,
    /// The node has no link.
    #[error("the node is not connected")]
    NotConnected,
    /// The message is over the frame limit.
    #[error("the command is too long")]
    TooLong,
}

/// What all tasks of the links share.
struct Shared {
    settings: LinkSettings,
    authority: Arc<Authority>,
    epoch: watch::Receiver<Epoch>,
    operators: OperatorHub,
    inputs: mpsc::Sender<LinkInput>,
    registry: Registry,
    enrolments: Semaphore,
    consoles: Semaphore,
}

/// The links of a master. Clones are the same links; they end with the last of them, or by [`NodeLinks::close`].
#[derive(Clone)]
pub struct NodeLinks(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    _accept: Owned<()>,
    _renew: Owned<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The tasks of the connections end with their connections.
        self.endpoint.close(CloseCode::Shutdown.code(), b"the master ends");
    }
}

impl std::fmt::Debug for NodeLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeLinks").field("listen", &self.0.shared.settings.listen).finish_non_exhaustive()
    }
}

impl NodeLinks {
    /// Starts serving. `epoch` is what nodes are told and commands carry; a change is announced to all nodes.
    /// `operators` is what consoles are served from. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`LinkError`]; a port in use is [`LinkError::Bind`].
    pub fn start(
        settings: LinkSettings,
        authority: Arc<Authority>,
        epoch: watch::Receiver<Epoch>,
        operators: OperatorHub,
        inputs: mpsc::Sender<LinkInput>,
    ) -> Result<Self, LinkError> {
        let address = settings.listen;
        let socket = quic::bind(address)?;
        let certificate = own_certificate(&authority)?;
        let protocols = [enroll_wire::ALPN, node_wire::ALPN, operator_wire::ALPN];
        let config = tls::server(Arc::clone(&certificate), tls::roots(authority.certificate())?, &protocols)?;
        let endpoint = quic::endpoint(socket, authority.quic_keys(), Some(config))
            .map_err(|source| LinkError::Endpoint { address, source })?;
        let renew = task::spawn_endless("link-certificate", renew(Arc::clone(&authority), certificate));
        let shared = Arc::new(Shared {
            settings,
            authority,
            epoch,
            operators,
            inputs,
            registry: Registry::default(),
            enrolments: Semaphore::new(ENROLMENTS_MAX),
            consoles: Semaphore::new(CONSOLES_MAX),
        });
        let accept = task::spawn("link-accept", accept::run(Arc::clone(&shared), endpoint.clone()));
        Ok(Self(Arc::new(Inner { shared, endpoint, _accept: Owned(accept), _renew: Owned(renew) })))
    }

    /// Where the links listen.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.endpoint.local_addr()
    }

    /// Sends a command to a node: by the session's lane, or by the control stream. Never blocks. An `Ok` says that it
    /// was queued; it may still be lost with the link, whose `Down` follows then.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(
        &self,
        node: NodeKey,
        session: Option<SessionKey>,
        op: OpId,
        epoch: Epoch,
        deadline_ms: u32,
        message: &ToNode,
    ) -> Result<(), SendError> {
        let lane = session.map(lane_of);
        self.0.shared.registry.send(node, lane, message.envelope(epoch, op, deadline_ms))
    }

    /// Nodes that are connected now.
    #[must_use]
    pub fn connected(&self) -> Vec<NodeKey> {
        self.0.shared.registry.connected()
    }

    /// Tells all peers that this master ends, and ends.
    pub async fn close(&self) {
        self.0.endpoint.close(CloseCode::Shutdown.code(), b"the master ends");
        // Only to let the last packets out.
        drop(tokio::time::timeout(Duration::from_millis(500), self.0.endpoint.wait_idle()).await);
    }
}

/// The lane of a session's commands.
fn lane_of(session: SessionKey) -> u16 {
    let lane = session.0 % u64::from(LANES);
    u16::try_from(lane).unwrap_or(0)
}

fn own_certificate(authority: &Authority) -> Result<Arc<ServerCertificate>, LinkError> {
    let issued = authority.issue_master(SystemTime::now())?;
    let chain = vec![issued.certificate, authority.certificate().clone()];
    Ok(ServerCertificate::new(chain, issued.key)?)
}

/// Makes a new certificate three times in the life of one.
async fn renew(authority: Arc<Authority>, certificate: Arc<ServerCertificate>) {
    let mut ticks = tokio::time::interval(common::net::ca::NODE_LIFE / 3);
    // The first one is fresh.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let issued = match authority.issue_master(SystemTime::now()) {
            Ok(issued) => issued,
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot renew the master's certificate");
                continue;
            }
        };
        let chained = vec![issued.certificate, authority.certificate().clone()];
        if let Err(error) = certificate.replace(chained, issued.key) {
            tracing::error!(error = %chain(&error), "cannot use the master's new certificate");
        }
    }
}

#[cfg(test)]
mod tests;
