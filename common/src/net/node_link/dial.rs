//! Shell: dials the masters in turn until the link is closed, enrols where needed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quinn::{Connection, ConnectionError, Endpoint};
use tokio::time::timeout;

use super::{LinkState, Shared, run};
use crate::exit::Exit;
use crate::net::close::{CloseCode, describe, own_tls_alert};
use crate::net::enroll::{self, Credential, EnrollError, is_certificate_refused};
use crate::net::identity::{Identity, IdentityStore};
use crate::net::quic::{self, HANDSHAKE_TIMEOUT, QuicKeys};
use crate::net::token::{JoinToken, TokenError};
use crate::net::{Backoff, MASTER_NAME, resolve, sha256, tls};
use crate::telemetry::chain;
use crate::wire::node::ALPN;

/// How one attempt, or one link, ended.
pub(super) struct Ended {
    /// Whether the master had welcomed the node.
    pub(super) was_up: bool,
    /// For humans.
    pub(super) why: String,
    pub(super) advice: Advice,
}

/// What to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Advice {
    /// Dial again.
    Retry,
    /// Dial again, but not soon.
    RetryLater,
    /// The certificate is of no use with this master: get another one.
    Enroll,
    /// Only a change of configuration helps.
    GiveUp(Exit),
}

impl Ended {
    pub(super) fn new(why: impl Into<String>, advice: Advice) -> Self {
        Self { was_up: false, why: why.into(), advice }
    }

    fn retry(why: impl Into<String>) -> Self {
        Self::new(why, Advice::Retry)
    }
}

/// The dialler's state.
struct Dialer {
    shared: Arc<Shared>,
    store: Arc<IdentityStore>,
    keys: QuicKeys,
    endpoints: Arc<Endpoints>,
    /// The stored certificate was refused: do not use it again.
    distrusts_stored: bool,
}

/// Keeps the link until it is closed or given up.
pub(super) async fn run(shared: Arc<Shared>, store: Arc<IdentityStore>) {
    let mut stop = shared.stop.subscribe();
    let keys = store.quic_keys();
    let endpoints = Arc::new(Endpoints::default());
    let mut dialer =
        Dialer { shared, store, keys, endpoints: Arc::clone(&endpoints), distrusts_stored: false };
    let closed = async {
        // Fails only when the link is dropped, and this with it.
        drop(stop.wait_for(|&stop| stop).await);
        // Before the dialler drops the connection, which would close it without a reason.
        endpoints.close();
        for endpoint in endpoints.all() {
            drop(timeout(Duration::from_millis(500), endpoint.wait_idle()).await);
        }
    };
    tokio::select! {
        () = dialer.dial_for_ever() => {}
        () = closed => {}
    }
}

/// The node's sockets: one for each address family, made when first needed.
#[derive(Default)]
struct Endpoints {
    // Locks, not messages: closing must reach the endpoints while the dialler waits on one of them.
    v4: Mutex<Option<Endpoint>>,
    v6: Mutex<Option<Endpoint>>,
}

impl Endpoints {
    /// The endpoint that reaches `address`.
    fn get_or_bind(&self, address: SocketAddr, keys: &QuicKeys) -> Result<Endpoint, Ended> {
        let (slot, local): (_, SocketAddr) = if address.is_ipv4() {
            (&self.v4, (Ipv4Addr::UNSPECIFIED, 0).into())
        } else {
            (&self.v6, (Ipv6Addr::UNSPECIFIED, 0).into())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &*slot {
            return Ok(endpoint.clone());
        }
        let socket = quic::bind(local).map_err(|error| Ended::retry(chain(&error).to_string()))?;
        let endpoint = quic::endpoint(socket, keys, None).map_err(|error| Ended::retry(error.to_string()))?;
        Ok(slot.insert(endpoint).clone())
    }

    fn all(&self) -> Vec<Endpoint> {
        let slots = [&self.v4, &self.v6];
        slots
            .into_iter()
            .filter_map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    fn close(&self) {
        for endpoint in self.all() {
            endpoint.close(CloseCode::Shutdown.code(), b"the node ends");
        }
    }
}

impl Dialer {
    async fn dial_for_ever(&mut self) {
        let masters = self.shared.settings.masters.clone();
        let mut backoff = Backoff::of_links();
        let mut was_ever_up = false;
        for master in masters.iter().cycle() {
            let ended = self.attempt(master).await;
            if ended.was_up {
                was_ever_up = true;
                self.distrusts_stored = false;
                backoff.reset();
            }
            let mut wait = backoff.next_wait();
            match ended.advice {
                Advice::Retry => {}
                Advice::Enroll if self.shared.settings.join_token_file.is_none() && !was_ever_up => {
                    let message =
                        format!("{} ({master}); set `join_token_file` to get another one", ended.why);
                    self.shared.set_state(LinkState::Failed { exit: Exit::Config, message });
                    return;
                }
                Advice::Enroll => self.distrusts_stored = true,
                Advice::GiveUp(exit) if !was_ever_up => {
                    let message = format!("{} ({master})", ended.why);
                    self.shared.set_state(LinkState::Failed { exit, message });
                    return;
                }
                Advice::RetryLater | Advice::GiveUp(_) => wait = Duration::from_secs(5),
            }
            crate::warn_limited!(5, %master, error = %ended.why, "no link to the master");
            self.shared.set_state(LinkState::Connecting { why: ended.why });
            tokio::time::sleep(wait).await;
        }
    }

    /// Dials one master by all its addresses and stays as long as the link lasts.
    async fn attempt(&self, master: &str) -> Ended {
        let mut addresses = match resolve(master).await {
            Ok(addresses) => addresses,
            Err(error) => return Ended::retry(format!("cannot resolve {master}: {error}")),
        };
        let Some(last) = addresses.pop() else { return Ended::retry(format!("{master} has no address")) };
        for address in addresses {
            // A dead address of several must not cost the whole handshake timeout.
            match self.connect(address, HANDSHAKE_TIMEOUT / 3).await {
                Ok((connection, identity)) => return self.serve(connection, address, identity).await,
                Err(ended) if ended.advice != Advice::Retry => return ended,
                Err(_) => {}
            }
        }
        match self.connect(last, HANDSHAKE_TIMEOUT).await {
            Ok((connection, identity)) => self.serve(connection, last, identity).await,
            Err(ended) => ended,
        }
    }

    async fn serve(&self, connection: Connection, address: SocketAddr, identity: Arc<Identity>) -> Ended {
        let endpoint = match self.endpoints.get_or_bind(address, &self.keys) {
            Ok(endpoint) => endpoint,
            Err(ended) => return ended,
        };
        let renewal = run::Renewal {
            endpoint,
            address,
            store: Arc::clone(&self.store),
            identity,
            program: self.shared.settings.program.clone(),
        };
        run::run(&self.shared, connection, renewal).await
    }

    async fn connect(
        &self,
        address: SocketAddr,
        within: Duration,
    ) -> Result<(Connection, Arc<Identity>), Ended> {
        let endpoint = self.endpoints.get_or_bind(address, &self.keys)?;
        let identity = self.identity(&endpoint, address).await?;
        let config = tls::roots(&identity.authority)
            .and_then(|roots| tls::client(&identity.shown, roots, ALPN))
            .map_err(|error| Ended::new(chain(&error).to_string(), Advice::Enroll))?;
        let connecting = endpoint
            .connect_with(config, address, MASTER_NAME)
            .map_err(|error| Ended::retry(chain(&error).to_string()))?;
        match timeout(within, connecting).await {
            Ok(Ok(connection)) => {
                let identity = Arc::new(identity);
                self.shared.identity.send_replace(Some(Arc::clone(&identity)));
                Ok((connection, identity))
            }
            Ok(Err(error)) => Err(judge(&error)),
            Err(_) => Err(Ended::retry(format!("no answer from {address}"))),
        }
    }

    /// The stored certificate, or a new one by join token.
    async fn identity(&self, endpoint: &Endpoint, address: SocketAddr) -> Result<Identity, Ended> {
        let config_error = |why: String| Ended::new(why, Advice::GiveUp(Exit::Config));
        let token = self.join_token()?;
        let stored = self
            .store
            .load(SystemTime::now())
            .map_err(|error| config_error(chain(&error).to_string()))?
            // A token of another cluster means that the node is to move there.
            .filter(|own| token.as_ref().is_none_or(|token| token.fingerprint == sha256(&own.authority)));
        if let Some(identity) = stored.filter(|_| !self.distrusts_stored || token.is_none()) {
            return Ok(identity);
        }
        let Some(token) = token else {
            return Err(config_error(
                "this node has no certificate: set `join_token_file` to a copy of the master's join-token"
                    .to_owned(),
            ));
        };
        let program = &self.shared.settings.program;
        match enroll::enroll(endpoint, address, &self.store, Credential::Token(&token), program).await {
            Ok(identity) => {
                tracing::info!(node = %self.shared.node, cluster = identity.says.cluster, "enrolled");
                Ok(identity)
            }
            Err(error) if error.is_transient() => Err(Ended::retry(chain(&error).to_string())),
            Err(error) => Err(config_error(match error {
                EnrollError::Authority { .. } | EnrollError::Refused(_) => format!(
                    "{}; copy join-token of this master's state folder to `join_token_file`",
                    chain(&error)
                ),
                EnrollError::Connection(_)
                | EnrollError::Dial(_)
                | EnrollError::Identity(_)
                | EnrollError::Protocol(_)
                | EnrollError::Timeout
                | EnrollError::Tls(_) => chain(&error).to_string(),
            })),
        }
    }

    fn join_token(&self) -> Result<Option<JoinToken>, Ended> {
        let Some(path) = &self.shared.settings.join_token_file else { return Ok(None) };
        match JoinToken::read(path) {
            Ok(token) => Ok(Some(token)),
            // On one host the master may be about to write it. A node that has its certificate needs none.
            Err(TokenError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                match self.store.load(SystemTime::now()) {
                    Ok(Some(_)) => Ok(None),
                    Ok(None) | Err(_) => Err(Ended::retry(format!(
                        "the join token file {} does not exist yet",
                        path.display()
                    ))),
                }
            }
            Err(error) => Err(Ended::new(chain(&error).to_string(), Advice::GiveUp(Exit::Config))),
        }
    }
}

/// What the end of a connection means for the next attempt.
pub(super) fn judge(error: &ConnectionError) -> Ended {
    let why = describe(error);
    if is_certificate_refused(error) {
        return Ended::new(
            format!("the master does not accept this node's certificate: {why}"),
            Advice::Enroll,
        );
    }
    if own_tls_alert(error).is_some() {
        return Ended::new(
            format!(
                "the master is not of this node's cluster: {why}; set `join_token_file` to join another one"
            ),
            Advice::GiveUp(Exit::Config),
        );
    }
    let advice = match CloseCode::of(error) {
        Some(CloseCode::Superseded) => Advice::RetryLater,
        Some(CloseCode::Unauthorized | CloseCode::Version) => Advice::GiveUp(Exit::Unavailable),
        Some(
            CloseCode::Busy
            | CloseCode::Finished
            | CloseCode::NotGranted
            | CloseCode::Protocol
            | CloseCode::Shutdown
            | CloseCode::TooSlow
            | CloseCode::UnknownSession,
        )
        | None => Advice::Retry,
    };
    Ended::new(why, advice)
}
