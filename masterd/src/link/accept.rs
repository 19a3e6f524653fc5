//! Shell: admits connections and hands them to their protocol.

use std::sync::Arc;

use common::limits::HANDSHAKES_MAX;
use common::net::close::{CloseCode, describe, own_tls_alert};
use common::net::peer::Peer;
use common::net::quic::HANDSHAKE_TIMEOUT;
use common::net::tls;
use common::telemetry::task;
use common::wire::{enroll as enroll_wire, node as node_wire, operator as operator_wire};
use quinn::{Connection, Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Shared, enroll, node, operator};

/// Accepts until the endpoint is closed.
pub(super) async fn run(shared: Arc<Shared>, endpoint: Endpoint) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        if slots.available_permits() == 0 && incoming.may_retry() {
            // Under pressure only peers that can be reached at their address cost us a handshake.
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        // What waits meanwhile stays in quinn's bounded queue.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        task::spawn("link", handshake(Arc::clone(&shared), incoming, slot));
    }
}

async fn handshake(shared: Arc<Shared>, incoming: Incoming, slot: OwnedSemaphorePermit) {
    let peer = incoming.remote_address();
    let connection = match timeout(HANDSHAKE_TIMEOUT, incoming.into_future()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let refused = own_tls_alert(&error).is_some();
            let why = describe(&error);
            if refused {
                common::warn_limited!(5, %peer, error = why, "a connection was refused");
            } else {
                tracing::debug!(%peer, error = why, "a handshake failed");
            }
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "a handshake took too long");
            return;
        }
    };
    drop(slot);
    serve(&shared, connection).await;
}

async fn serve(shared: &Arc<Shared>, connection: Connection) {
    let certificate = tls::peer_of(&connection).filter(|says| says.cluster == shared.authority.cluster());
    let protocol = tls::protocol_of(&connection).unwrap_or_default();
    let expires = certificate.as_ref().map_or(std::time::UNIX_EPOCH, |says| says.not_after);
    let peer = certificate.map(|says| says.peer);
    match (protocol.as_slice(), peer) {
        (enroll_wire::ALPN, peer) => enroll::serve(shared, connection, peer).await,
        (node_wire::ALPN, Some(Peer::Node { role, node })) => {
            node::serve(shared, connection, role, node).await;
        }
        (operator_wire::ALPN, Some(Peer::Operator { role, name })) => {
            operator::serve(shared, connection, role, &name, expires).await;
        }
        (_, peer) => {
            let who = peer.map_or_else(|| "a peer without a certificate".to_owned(), |peer| peer.to_string());
            common::warn_limited!(5, peer = %connection.remote_address(), who, "not entitled to this protocol");
            CloseCode::Unauthorized.close(&connection, &format!("{who} is not entitled to this protocol"));
        }
    }
}
