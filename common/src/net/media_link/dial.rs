//! Shell: one connection to a media node, up to the standing tap.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint, SendStream};
use tokio::time::timeout;

use super::{DialError, TapSettings};
use crate::net::close::{CloseCode, describe};
use crate::net::frames::{self, FrameReader};
use crate::net::identity::Identity;
use crate::net::peer::Peer;
use crate::net::quic::{self, HANDSHAKE_TIMEOUT, QuicKeys};
use crate::net::tls;
use crate::telemetry::chain;
use crate::wire::Message as _;
use crate::wire::media::{ALPN, FromMedia, Tap, Tapped, ToMedia, VERSIONS};
use crate::wire::node::Role;

/// A connection whose tap stands.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) reader: FrameReader,
    pub(super) tapped: Tapped,
}

pub(super) async fn dial(identity: &Identity, settings: &TapSettings) -> Result<Dialled, DialError> {
    let addresses = resolve(&settings.addresses).await?;
    let last = addresses.len().saturating_sub(1);
    let mut failed = DialError::Unreachable("it has no address".to_owned());
    for (position, address) in addresses.into_iter().enumerate() {
        // A dead address of several must not cost the whole handshake timeout.
        let within = if position == last { HANDSHAKE_TIMEOUT } else { HANDSHAKE_TIMEOUT / 3 };
        let connection = match connect(identity, settings, address, within).await {
            Ok(connection) => connection,
            Err(error @ DialError::Identity(_)) => return Err(error),
            Err(error) => {
                failed = error;
                continue;
            }
        };
        return match timeout(HANDSHAKE_TIMEOUT, open(&connection, settings)).await {
            Ok(opened) => opened,
            Err(_) => Err(DialError::Protocol("it does not answer".to_owned())),
        };
    }
    Err(failed)
}

async fn resolve(names: &[String]) -> Result<Vec<SocketAddr>, DialError> {
    let mut addresses = Vec::new();
    let mut why = "it has no address".to_owned();
    for name in names {
        match tokio::net::lookup_host(name).await {
            Ok(found) => addresses.extend(found),
            Err(error) => why = format!("cannot resolve {name}: {error}"),
        }
    }
    if addresses.is_empty() { Err(DialError::Unreachable(why)) } else { Ok(addresses) }
}

async fn connect(
    identity: &Identity,
    settings: &TapSettings,
    address: SocketAddr,
    within: Duration,
) -> Result<Connection, DialError> {
    let unreachable = |why: String| DialError::Unreachable(format!("{address}: {why}"));
    let local: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = quic::bind(local).map_err(|error| unreachable(chain(&error).to_string()))?;
    let keys = QuicKeys::derive(identity.shown.key.secret_der());
    let endpoint: Endpoint =
        quic::endpoint(socket, &keys, None).map_err(|error| unreachable(error.to_string()))?;
    let mut config = tls::roots(&identity.authority)
        .and_then(|roots| tls::client(&identity.shown, roots, ALPN))
        .map_err(|error| DialError::Identity(chain(&error).to_string()))?;
    config.transport_config(quic::media_transport());
    // The name is made of the node's key: another node of the cluster fails the handshake.
    let name = Peer::Node { role: Role::Media, node: settings.node }.dns_name();
    let connecting = endpoint
        .connect_with(config, address, &name)
        .map_err(|error| unreachable(chain(&error).to_string()))?;
    match timeout(within, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(unreachable(describe(&error))),
        Err(_) => Err(unreachable("no answer".to_owned())),
    }
}

async fn open(connection: &Connection, settings: &TapSettings) -> Result<Dialled, DialError> {
    let lost = |error: &(dyn std::error::Error + 'static)| match connection.close_reason() {
        Some(reason) => refused(&reason),
        None => DialError::Protocol(chain(error).to_string()),
    };
    let (mut send, receive) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let tap = Tap {
        versions: VERSIONS,
        program: settings.program.clone(),
        recording: settings.recording,
        session: settings.session,
        resume: settings.resume.clone(),
        replay_ms: settings.replay_ms,
        reorder_ms: settings.reorder_ms,
        ext: Vec::new(),
    };
    frames::send(&mut send, &ToMedia::from(tap)).await.map_err(|error| lost(&error))?;
    let mut reader = FrameReader::new(receive);
    let answer = match reader.next().await {
        Ok(Some(answer)) => answer,
        Ok(None) => return Err(refused(&connection.closed().await)),
        Err(error) => return Err(lost(&error)),
    };
    match FromMedia::decode(answer.kind, &answer.body) {
        Ok(FromMedia::Tapped(tapped)) => Ok(Dialled { connection: connection.clone(), send, reader, tapped }),
        Ok(_) => Err(DialError::Protocol("its first message is another one".to_owned())),
        Err(error) => Err(DialError::Protocol(chain(&error).to_string())),
    }
}

fn refused(reason: &ConnectionError) -> DialError {
    match (CloseCode::of(reason), reason) {
        (code, ConnectionError::ApplicationClosed(close)) => {
            DialError::Refused { code, why: String::from_utf8_lossy(&close.reason).into_owned() }
        }
        _ => DialError::Unreachable(describe(reason)),
    }
}
