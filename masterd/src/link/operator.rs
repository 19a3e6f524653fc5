//! Shell: the master's side of `plenum-operator/1`, one console.

use std::sync::Arc;
use std::time::Duration;

use common::net::close::{CloseCode, describe};
use common::net::frames::{self, FrameReader};
use common::net::quic::HANDSHAKE_TIMEOUT;
use common::telemetry::chain;
use common::wire::Message as _;
use common::wire::operator::{OperatorRole, OperatorWelcome, Overview, ToMaster, ToOperator, VERSIONS};
use quinn::{Connection, SendStream};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Shared;

/// A console gets an overview this often.
const OVERVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// Serves a console until its connection ends.
pub(super) async fn serve(shared: &Arc<Shared>, connection: Connection, role: OperatorRole, name: &str) {
    let Ok(_slot) = shared.consoles.try_acquire() else {
        return CloseCode::Busy.close(&connection, "too many consoles");
    };
    let peer = connection.remote_address();
    let greeted = match timeout(HANDSHAKE_TIMEOUT, greet(shared, &connection, role)).await {
        Ok(greeted) => greeted,
        Err(_) => Err((CloseCode::Protocol, "no greeting".to_owned())),
    };
    let send = match greeted {
        Ok(send) => send,
        Err((code, why)) => {
            common::warn_limited!(1, %peer, operator = name, error = why, "a console was refused");
            code.close(&connection, &why);
            return;
        }
    };
    tracing::info!(%peer, operator = name, %role, "console connected");
    // Both arms are cancel safe here: after one of them nothing is written any more.
    let why = tokio::select! {
        error = connection.closed() => describe(&error),
        why = push(shared, send) => why,
    };
    tracing::info!(%peer, operator = name, why, "console disconnected");
}

async fn greet(
    shared: &Shared,
    connection: &Connection,
    role: OperatorRole,
) -> Result<SendStream, (CloseCode, String)> {
    let protocol = |why: String| (CloseCode::Protocol, why);
    let (mut send, receive) = connection.accept_bi().await.map_err(|error| protocol(describe(&error)))?;
    let first =
        FrameReader::new(receive).next().await.map_err(|error| protocol(chain(&error).to_string()))?;
    let first = first.ok_or_else(|| protocol("no greeting".to_owned()))?;
    let ToMaster::OperatorHello(hello) =
        ToMaster::decode(first.kind, &first.body).map_err(|error| protocol(chain(&error).to_string()))?;
    if hello.versions.0 > VERSIONS.1 || hello.versions.1 < VERSIONS.0 {
        let why = format!("this master speaks operator versions {} to {}", VERSIONS.0, VERSIONS.1);
        return Err((CloseCode::Version, why));
    }
    let welcome = ToOperator::from(OperatorWelcome {
        version: VERSIONS.1.min(hello.versions.1),
        cluster: shared.authority.cluster().to_owned(),
        role,
        program: shared.settings.program.clone(),
        ext: Vec::new(),
    });
    frames::send(&mut send, &welcome).await.map_err(|error| protocol(chain(&error).to_string()))?;
    Ok(send)
}

/// Sends the newest overview once a second. A console that reads too slowly makes this wait, and then gets the newest.
async fn push(shared: &Shared, mut send: SendStream) -> String {
    let mut overviews = shared.overview.clone();
    let mut ticks = interval(OVERVIEW_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let overview: Overview = (**overviews.borrow_and_update()).clone();
        if let Err(error) = frames::send(&mut send, &ToOperator::from(overview)).await {
            return chain(&error).to_string();
        }
    }
}
