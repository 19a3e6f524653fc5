//! Shell: the master's side of `plenum-enroll/1`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::net::ca::IssueError;
use common::net::close::CloseCode;
use common::net::enroll::exporter;
use common::net::frames::{self, FrameReader};
use common::net::peer::{Peer, role_name};
use common::net::quic::HANDSHAKE_TIMEOUT;
use common::telemetry::chain;
use common::wire::Message as _;
use common::wire::enroll::{EnrollRequest, FromAuthority, Granted, Refusal, Refused, ToAuthority, VERSIONS};
use quinn::Connection;
use tokio::time::timeout;

use super::Shared;

/// A wrong secret is answered after this time.
const PENALTY: Duration = Duration::from_secs(1);

/// Answers one request. `known` is who the peer is by its certificate, if it showed one.
pub(super) async fn serve(shared: &Arc<Shared>, connection: Connection, known: Option<Peer>) {
    let Ok(_slot) = shared.enrolments.try_acquire() else {
        return CloseCode::Busy.close(&connection, "too many enrolments at once; try again");
    };
    let peer = connection.remote_address();
    match timeout(HANDSHAKE_TIMEOUT, answer(shared, &connection, known)).await {
        // The node closes when it has read the answer.
        Ok(Ok(())) => drop(timeout(HANDSHAKE_TIMEOUT, connection.closed()).await),
        Ok(Err(why)) => {
            tracing::debug!(%peer, error = why, "an enrolment broke off");
            CloseCode::Protocol.close(&connection, &why);
        }
        Err(_) => CloseCode::Protocol.close(&connection, "too slow"),
    }
}

async fn answer(shared: &Shared, connection: &Connection, known: Option<Peer>) -> Result<(), String> {
    let (mut send, receive) = connection.accept_bi().await.map_err(|error| error.to_string())?;
    let envelope = FrameReader::new(receive).next().await.map_err(|error| chain(&error).to_string())?;
    let envelope = envelope.ok_or_else(|| "no request".to_owned())?;
    let ToAuthority::EnrollRequest(request) =
        ToAuthority::decode(envelope.kind, &envelope.body).map_err(|error| chain(&error).to_string())?;

    let peer = connection.remote_address();
    let (node, role, program) = (request.node, role_name(request.role), request.program.escape_debug());
    let answer = match decide(shared, connection, known.as_ref(), &request) {
        Ok(certificate) => {
            tracing::info!(%peer, %node, role, %program, renewal = request.proof.is_empty(), "enrolled");
            FromAuthority::from(Granted { certificate, ext: Vec::new() })
        }
        Err(why) => {
            common::warn_limited!(1, %peer, %node, role, %program, error = %why, "an enrolment was refused");
            if why == Refusal::Proof {
                tokio::time::sleep(PENALTY).await;
            }
            Refused { why }.into()
        }
    };
    frames::send(&mut send, &answer).await.map_err(|error| chain(&error).to_string())
}

fn decide(
    shared: &Shared,
    connection: &Connection,
    known: Option<&Peer>,
    request: &EnrollRequest,
) -> Result<Vec<u8>, Refusal> {
    if request.versions.0 > VERSIONS.1 || request.versions.1 < VERSIONS.0 {
        return Err(Refusal::Version { ours: VERSIONS });
    }
    if request.cluster != shared.authority.cluster() {
        return Err(Refusal::Cluster { ours: shared.authority.cluster().to_owned() });
    }
    let renews = known == Some(&Peer::Node { role: request.role, node: request.node });
    let proves = exporter(connection)
        .is_some_and(|exporter| shared.authority.token().verify(&exporter, &request.csr, &request.proof));
    if !proves && !renews {
        return Err(Refusal::Proof);
    }
    let issued = shared.authority.issue_node(request.role, request.node, &request.csr, SystemTime::now());
    issued.map_err(|error| match error {
        IssueError::Csr(_) => Refusal::Csr,
        IssueError::NodeKey => Refusal::NodeKey,
        IssueError::Authority(error) => {
            tracing::error!(error = %chain(&error), "cannot issue a certificate");
            Refusal::Internal
        }
    })
}
