//! Shell: owns a QUIC connection and its task.
//!
//! The console's side of `plenum-operator/1`: keeps a connection to a master and hands out the newest overview.
//! What a console needs is one folder, made by `masterd operator add NAME --role ROLE --out DIR`: `operator.crt`,
//! `operator.key` (for its owner only) and `ca.crt`.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use common::net::operator_link::{Credentials, OperatorLink};
//!
//! let credentials = Credentials::read("operator-ada".as_ref())?;
//! let link = OperatorLink::start("localhost:7443", credentials, "console 0.1.0");
//! let mut view = link.view();
//! view.wait_for(|view| view.overview.is_some()).await?;
//! println!("{} nodes", view.borrow().overview.as_ref().map_or(0, |overview| overview.nodes.len()));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quinn::{Connection, Endpoint};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
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
use crate::wire::Message as _;
use crate::wire::operator::{
    ALPN, OperatorHello, OperatorRole, OperatorWelcome, Overview, ToMaster, ToOperator, VERSIONS,
};

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
        Ok(Self { cluster: says.cluster, name, role, authority, shown })
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

/// What a console knows.
#[derive(Clone, Debug)]
pub struct View {
    /// State of the link.
    pub state: OperatorLinkState,
    /// The newest overview, with when it arrived; it stays when the link is lost.
    pub overview: Option<Arc<Overview>>,
    /// When it arrived.
    pub received: Option<Instant>,
}

/// A console's link; it ends when this is dropped.
pub struct OperatorLink {
    view: watch::Receiver<View>,
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
        let state = OperatorLinkState::Connecting { why: String::new() };
        let (sender, view) = watch::channel(View { state, overview: None, received: None });
        let dialer =
            Dialer { master: master.to_owned(), credentials, program: program.to_owned(), view: sender };
        Self { view, _dialer: Owned(task::spawn("operator-link", dialer.run())) }
    }

    /// The newest state, and its changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }
}

struct Dialer {
    master: String,
    credentials: Credentials,
    program: String,
    view: watch::Sender<View>,
}

impl Dialer {
    async fn run(self) {
        let mut backoff = Backoff::of_links();
        loop {
            let why = self.attempt(&mut backoff).await;
            self.view.send_modify(|view| view.state = OperatorLinkState::Connecting { why });
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Tries each address of the master and stays as long as the link lasts; says why it ended.
    async fn attempt(&self, backoff: &mut Backoff) -> String {
        let addresses = match resolve(&self.master).await {
            Ok(addresses) => addresses,
            Err(error) => return format!("cannot resolve {}: {error}", self.master),
        };
        let mut why = format!("{} has no address", self.master);
        for address in addresses {
            match self.connect(address).await {
                Ok((connection, reader, welcome)) => {
                    backoff.reset();
                    let state = OperatorLinkState::Up { master: address, welcome };
                    self.view.send_modify(|view| view.state = state);
                    return self.receive(&connection, reader).await;
                }
                Err(error) => why = error,
            }
        }
        why
    }

    async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<(Connection, FrameReader, OperatorWelcome), String> {
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
        let (reader, welcome) =
            greeted.map_err(|_elapsed| format!("{address} does not answer the greeting"))??;
        Ok((connection, reader, welcome))
    }

    async fn receive(&self, connection: &Connection, mut reader: FrameReader) -> String {
        loop {
            let envelope = match reader.next().await {
                Ok(Some(envelope)) => envelope,
                Ok(None) => return end_of(&connection.closed().await),
                Err(error) => return end_of_stream(connection, &error),
            };
            match ToOperator::decode(envelope.kind, &envelope.body) {
                Ok(ToOperator::Overview(overview)) => self.view.send_modify(|view| {
                    view.overview = Some(Arc::new(overview));
                    view.received = Some(Instant::now());
                }),
                // A newer master may tell more than this console knows.
                Ok(ToOperator::OperatorWelcome(_)) | Err(crate::wire::DecodeError::UnknownKind { .. }) => {}
                Err(error) => {
                    let why = chain(&error).to_string();
                    CloseCode::Protocol.close(connection, &why);
                    return why;
                }
            }
        }
    }
}

async fn greet(connection: &Connection, program: &str) -> Result<(FrameReader, OperatorWelcome), String> {
    let (mut send, receive) = connection.open_bi().await.map_err(|error| end_of(&error))?;
    let hello = OperatorHello { versions: VERSIONS, program: program.to_owned(), ext: Vec::new() };
    let sent = frames::send(&mut send, &ToMaster::from(hello)).await;
    sent.map_err(|error| end_of_stream(connection, &error))?;
    let mut reader = FrameReader::new(receive);
    match reader.next().await {
        Ok(Some(first)) => match ToOperator::decode(first.kind, &first.body) {
            Ok(ToOperator::OperatorWelcome(welcome)) => Ok((reader, welcome)),
            Ok(ToOperator::Overview(_)) => Err("the master's first message is not a welcome".to_owned()),
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
