//! Shell: owns a QUIC connection and its task.
//!
//! The console's side of `plenum-operator/1`: keeps a connection to a master, hands out what it says and takes what it
//! shall be told. What a console needs is one folder, made by `masterd operator add NAME --role ROLE --out DIR`:
//! `operator.crt`, `operator.key` (for its owner only) and `ca.crt`.
//!
//! Nothing is kept over cuts: after each [`OperatorLinkState::Up`] the console subscribes anew.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use common::net::operator_link::{Credentials, OperatorEvent, OperatorLink, OperatorLinkState};
//! use common::wire::operator::{Order, Subscribe, Topic, Window};
//!
//! let credentials = Credentials::read("operator-ada".as_ref())?;
//! let mut link = OperatorLink::start("localhost:7443", credentials, "console 0.1.0");
//! while let Some(event) = link.next().await {
//!     match event {
//!         OperatorEvent::State(OperatorLinkState::Up { .. }) => {
//!             let window = Window { first: 0, count: 50, from_end: false };
//!             let (filter, order) = (String::new(), Order::default());
//!             let topic = Topic::Nodes;
//!             link.send(Subscribe { sub: 1, topic, filter, order, window, interval_ms: 1000, ext: Vec::new() }.into());
//!         }
//!         OperatorEvent::State(OperatorLinkState::Connecting { why }) => eprintln!("{why}"),
//!         OperatorEvent::Message(message) => println!("{message:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use quinn::{Connection, Endpoint, SendStream};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::ca::{Authority, AuthorityError};
use super::close::{CloseCode, describe};
use super::enroll::is_certificate_refused;
use super::frames::{self, FrameReader};
use super::peer::{Peer, PeerCertificate, is_operator_name};
use super::quic::{self, HANDSHAKE_TIMEOUT, QuicKeys};
use super::tls::{self, ClientCertificate};
use super::{Backoff, MASTER_NAME, file, resolve};
use crate::telemetry::chain;
use crate::telemetry::task::{self, Owned};
use crate::wire::operator::{
    ALPN, OperatorHello, OperatorRole, OperatorWelcome, ToMaster, ToOperator, VERSIONS,
};
use crate::wire::{DecodeError, Message as _};

/// Why there are no usable credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The authority could not make them.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The certificate has expired.
    #[error("the certificate in {path} has expired: ask for a new one (`masterd operator add`)", path = .path.display())]
    Expired {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use {path}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path} does not hold what `masterd operator add` writes there", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The name cannot be an operator's.
    #[error("`{name}` cannot be an operator's name: 1 to 64 letters, digits and any of `.-_@`")]
    Name {
        /// As given.
        name: String,
    },
}

/// An operator's certificate, its key and the cluster's authority.
#[derive(Debug)]
pub struct Credentials {
    /// Id of the cluster.
    pub cluster: String,
    /// The operator.
    pub name: String,
    /// What the operator may do.
    pub role: OperatorRole,
    /// When the certificate ends.
    pub expires: SystemTime,
    authority: CertificateDer<'static>,
    shown: ClientCertificate,
}

impl Credentials {
    /// Makes a certificate for an operator and writes it, with its key and the authority, into `dir` (made where it
    /// is missing). This is `masterd operator add`.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn create(
        authority: &Authority,
        name: &str,
        role: OperatorRole,
        dir: &Path,
    ) -> Result<(), CredentialsError> {
        if !is_operator_name(name) {
            return Err(CredentialsError::Name { name: name.to_owned() });
        }
        let issued = authority.issue_operator(name, role, SystemTime::now())?;
        let failed = |path: PathBuf| move |source| CredentialsError::File { path, source };
        file::create_dir(dir).map_err(failed(dir.to_owned()))?;
        let path = dir.join("operator.key");
        file::write_private(&path, issued.pem.key.as_bytes()).map_err(failed(path.clone()))?;
        for (name, text) in [
            ("operator.crt", issued.pem.certificate),
            ("ca.crt", super::identity::pem(authority.certificate())),
        ] {
            let path = dir.join(name);
            file::write_public(&path, text.as_bytes()).map_err(failed(path.clone()))?;
        }
        Ok(())
    }

    /// Reads an operator's folder.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn read(dir: &Path) -> Result<Self, CredentialsError> {
        let read = |name: &str| {
            let path = dir.join(name);
            let text = std::fs::read(&path);
            text.map_err(|source| CredentialsError::File { path, source })
        };
        let malformed = |name: &str| CredentialsError::Malformed { path: dir.join(name) };
        let certificate =
            |name: &str| CertificateDer::from_pem_slice(&read(name)?).map_err(|_not_pem| malformed(name));
        let (leaf, authority) = (certificate("operator.crt")?, certificate("ca.crt")?);
        let key = PrivateKeyDer::from_pem_slice(&read("operator.key")?)
            .map_err(|_not_pem| malformed("operator.key"))?;
        let says = PeerCertificate::read(&leaf).map_err(|_not_a_peer| malformed("operator.crt"))?;
        let Peer::Operator { role, name } = says.peer else { return Err(malformed("operator.crt")) };
        if says.not_after <= SystemTime::now() {
            return Err(CredentialsError::Expired { path: dir.join("operator.crt") });
        }
        let shown = ClientCertificate { chain: vec![leaf, authority.clone()], key };
        Ok(Self { cluster: says.cluster, name, role, expires: says.not_after, authority, shown })
    }
}

/// State of a console's link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OperatorLinkState {
    /// Not connected.
    Connecting {
        /// Why not; empty before the first attempt has failed.
        why: String,
    },
    /// Connected.
    Up {
        /// Where the master is.
        master: SocketAddr,
        /// What it said of itself.
        welcome: OperatorWelcome,
    },
}

/// What a link tells the console.
#[derive(Clone, Debug, PartialEq)]
pub enum OperatorEvent {
    /// The link changed.
    State(OperatorLinkState),
    /// The master says something.
    Message(ToOperator),
}

/// Events that may wait for the console. Beyond that the link waits, and the master sends less.
const EVENTS_WAITING_MAX: usize = 64;

/// Messages that may wait for the link; a desktop has some ten windows.
const MESSAGES_WAITING_MAX: usize = 1024;

/// A console's link; it ends when this is dropped.
pub struct OperatorLink {
    events: mpsc::Receiver<OperatorEvent>,
    messages: mpsc::Sender<ToMaster>,
    retry: Arc<Notify>,
    _dialer: Owned<()>,
}

impl fmt::Debug for OperatorLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorLink").finish_non_exhaustive()
    }
}

impl OperatorLink {
    /// Starts dialling `master` (`host` or `host:port`) and keeps at it.
    #[must_use]
    pub fn start(master: &str, credentials: Credentials, program: &str) -> Self {
        let (events, from_link) = mpsc::channel(EVENTS_WAITING_MAX);
        let (messages, to_link) = mpsc::channel(MESSAGES_WAITING_MAX);
        let retry = Arc::new(Notify::new());
        let dialer = Dialer {
            master: master.to_owned(),
            credentials,
            program: program.to_owned(),
            events,
            messages: to_link,
            retry: Arc::clone(&retry),
        };
        Self {
            events: from_link,
            messages,
            retry,
            _dialer: Owned(task::spawn("operator-link", dialer.run())),
        }
    }

    /// What happens next; none never comes before the link is dropped. Cancel safe.
    pub async fn next(&mut self) -> Option<OperatorEvent> {
        self.events.recv().await
    }

    /// Tells the master something. What is told while the link is down is dropped: false when that is certain.
    pub fn send(&self, message: ToMaster) -> bool {
        self.messages.try_send(message).is_ok()
    }

    /// Dials at once instead of when the waiting time is over.
    pub fn retry(&self) {
        self.retry.notify_one();
    }
}

struct Dialer {
    master: String,
    credentials: Credentials,
    program: String,
    events: mpsc::Sender<OperatorEvent>,
    messages: mpsc::Receiver<ToMaster>,
    retry: Arc<Notify>,
}

impl Dialer {
    async fn run(mut self) {
        let mut backoff = Backoff::of_links();
        loop {
            let why = self.attempt(&mut backoff).await;
            let state = OperatorLinkState::Connecting { why };
            if self.events.send(OperatorEvent::State(state)).await.is_err() {
                return;
            }
            // Both arms are cancel safe.
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = self.retry.notified() => {}
            }
        }
    }

    /// Tries each address of the master and stays as long as the link lasts; says why it ended.
    async fn attempt(&mut self, backoff: &mut Backoff) -> String {
        if self.credentials.expires <= SystemTime::now() {
            return "the operator's certificate has expired: ask for a new one (`masterd operator add`)"
                .to_owned();
        }
        let addresses = match resolve(&self.master).await {
            Ok(addresses) => addresses,
            Err(error) => return format!("cannot resolve {}: {error}", self.master),
        };
        let mut why = format!("{} has no address", self.master);
        for address in addresses {
            match self.connect(address).await {
                Ok((connection, stream, welcome)) => {
                    backoff.reset();
                    return self
                        .serve(&connection, stream, OperatorLinkState::Up { master: address, welcome })
                        .await;
                }
                Err(error) => why = error,
            }
        }
        why
    }

    async fn connect(&self, address: SocketAddr) -> Result<(Connection, Stream, OperatorWelcome), String> {
        let local: SocketAddr = if address.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = quic::bind(local).map_err(|error| chain(&error).to_string())?;
        let keys = QuicKeys::derive(self.credentials.shown.key.secret_der());
        let endpoint: Endpoint = quic::endpoint(socket, &keys, None).map_err(|error| error.to_string())?;
        let config = tls::roots(&self.credentials.authority)
            .and_then(|roots| tls::client(&self.credentials.shown, roots, ALPN))
            .map_err(|error| chain(&error).to_string())?;
        let connecting =
            endpoint.connect_with(config, address, MASTER_NAME).map_err(|error| chain(&error).to_string())?;
        let connection = timeout(HANDSHAKE_TIMEOUT, connecting)
            .await
            .map_err(|_elapsed| format!("no answer from {address}"))?
            .map_err(|error| end_of(&error))?;
        let greeted = timeout(HANDSHAKE_TIMEOUT, greet(&connection, &self.program)).await;
        let (stream, welcome) =
            greeted.map_err(|_elapsed| format!("{address} does not answer the greeting"))??;
        Ok((connection, stream, welcome))
    }

    /// Passes messages both ways until the link ends; says why it did.
    async fn serve(&mut self, connection: &Connection, stream: Stream, up: OperatorLinkState) -> String {
        // What was told while the link was down is not meant for this one.
        while self.messages.try_recv().is_ok() {}
        if self.events.send(OperatorEvent::State(up)).await.is_err() {
            return String::new();
        }
        let (mut send, reader) = stream;
        let (events, messages) = (&self.events, &mut self.messages);
        let write = async {
            while let Some(message) = messages.recv().await {
                if let Err(error) = frames::send(&mut send, &message).await {
                    return end_of_stream(connection, &error);
                }
            }
            // The console has let go of the link.
            std::future::pending().await
        };
        // Reading goes on while writing waits for credit, so that both ends cannot wait for each other.
        tokio::select! {
            why = receive(connection, reader, events) => why,
            why = write => why,
        }
    }
}

/// Both halves of the one stream.
type Stream = (SendStream, FrameReader);

async fn receive(
    connection: &Connection,
    mut reader: FrameReader,
    events: &mpsc::Sender<OperatorEvent>,
) -> String {
    loop {
        let envelope = match reader.next().await {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return end_of(&connection.closed().await),
            Err(error) => return end_of_stream(connection, &error),
        };
        match ToOperator::decode(envelope.kind, &envelope.body) {
            Ok(message) => {
                if events.send(OperatorEvent::Message(message)).await.is_err() {
                    return String::new();
                }
            }
            // A newer master may tell more than this console knows.
            Err(DecodeError::UnknownKind { .. }) => {}
            Err(error) => {
                let why = chain(&error).to_string();
                CloseCode::Protocol.close(connection, &why);
                return why;
            }
        }
    }
}

async fn greet(connection: &Connection, program: &str) -> Result<(Stream, OperatorWelcome), String> {
    let (mut send, receive) = connection.open_bi().await.map_err(|error| end_of(&error))?;
    let hello = OperatorHello { versions: VERSIONS, program: program.to_owned(), ext: Vec::new() };
    let sent = frames::send(&mut send, &ToMaster::from(hello)).await;
    sent.map_err(|error| end_of_stream(connection, &error))?;
    let mut reader = FrameReader::new(receive);
    match reader.next().await {
        Ok(Some(first)) => match ToOperator::decode(first.kind, &first.body) {
            Ok(ToOperator::OperatorWelcome(welcome)) => Ok(((send, reader), welcome)),
            Ok(ToOperator::Delta(_) | ToOperator::Operation(_) | ToOperator::Page(_)) => {
                Err("the master's first message is not a welcome".to_owned())
            }
            Err(error) => Err(chain(&error).to_string()),
        },
        Ok(None) => Err(end_of(&connection.closed().await)),
        Err(error) => Err(end_of_stream(connection, &error)),
    }
}

/// The connection knows better than its stream why it ended.
fn end_of_stream(connection: &Connection, error: &(dyn std::error::Error + 'static)) -> String {
    connection.close_reason().map_or_else(|| chain(error).to_string(), |reason| end_of(&reason))
}

fn end_of(error: &quinn::ConnectionError) -> String {
    if is_certificate_refused(error) {
        return format!("the master does not accept this certificate: {}", describe(error));
    }
    if super::close::own_tls_alert(error).is_some() {
        return format!("the master is of another cluster: {}", describe(error));
    }
    describe(error)
}
