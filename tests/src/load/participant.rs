//! Shell: owns a participant's task.
//!
//! A participant from its join to its leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};

use super::chain;
use super::packet::Kind;
use super::peer::{Common, FlowSettings, Peer, PeerError, PeerSettings, Repairs};
use super::signal::{Exit, Room, Server, SignalError};
use super::verify::{SentFlow, Verifier};

/// Where the run stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Joining and measuring.
    Run,
    /// Packets flow on but do not count.
    Tail,
    /// Leave.
    Stop,
}

/// What all participants of a run share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) server: Server,
    pub(super) common: Arc<Common>,
    pub(super) peer: PeerSettings,
    pub(super) flows: Vec<FlowSettings>,
    pub(super) publishers: u32,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) joins: Semaphore,
    pub(super) join_timeout: Duration,
}

/// What a participant does.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Sends; with its number in the run.
    Publisher(u32),
    /// Receives everything in its room.
    Subscriber {
        /// Janus' ids of the room's publishers.
        feeds: Vec<u64>,
    },
}

/// What became of a participant.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) room: usize,
    pub(super) receives: bool,
    pub(super) joined_in: Option<Duration>,
    /// When it was connected, in the run's nanoseconds.
    pub(super) connected_ns: u64,
    pub(super) profile: String,
    pub(super) sent: Vec<SentFlow>,
    pub(super) verifier: Verifier,
    pub(super) repairs: Repairs,
    pub(super) lost_on_purpose: u64,
    pub(super) input_errors: u64,
    pub(super) keyframe_requests: u64,
    pub(super) error: Option<String>,
}

/// Result of a join: room and feed, or the cause.
pub(super) type JoinNote = Result<(usize, u64), String>;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("signalling failed")]
    Signal(#[from] SignalError),
    #[error("media failed")]
    Peer(#[from] PeerError),
}

/// Joins, takes part until the run stops, leaves.
pub(super) async fn participate(
    context: Arc<Context>,
    room: Arc<Room>,
    room_at: usize,
    role: Role,
    seed: u64,
    note: mpsc::Sender<JoinNote>,
) -> Outcome {
    let mut outcome =
        Outcome { room: room_at, receives: matches!(role, Role::Subscriber { .. }), ..Outcome::default() };
    let joined = join(&context, &room, &role, seed, &mut outcome).await;
    let (mut peer, exit) = match joined {
        Ok((peer, exit, feed)) => {
            tell(&note, Ok((room_at, feed)));
            (peer, exit)
        }
        Err(failure) => {
            let cause = chain(&failure);
            outcome.error = Some(cause.clone());
            tell(&note, Err(cause));
            return outcome;
        }
    };
    drop(note);
    if let Err(error) = take_part(&context, &mut peer).await {
        outcome.error = Some(chain(&error));
    }
    outcome.sent = peer.sent_flows();
    outcome.repairs = peer.repairs();
    outcome.lost_on_purpose = peer.lost_on_purpose;
    outcome.input_errors = peer.input_errors;
    outcome.keyframe_requests = peer.keyframe_requests;
    outcome.verifier = std::mem::take(&mut peer.verifier);
    if let Err(error) = context.server.leave(&exit).await {
        tracing::debug!(error = chain(&error), "cannot leave");
    }
    peer.close();
    outcome
}

fn tell(note: &mpsc::Sender<JoinNote>, result: JoinNote) {
    // The channel holds one note of each participant; it is only closed when the run is given up.
    if note.try_send(result).is_err() {
        tracing::debug!("nobody waits for joins any more");
    }
}

async fn join(
    context: &Context,
    room: &Room,
    role: &Role,
    seed: u64,
    outcome: &mut Outcome,
) -> Result<(Peer, Exit, u64), Failure> {
    // Never closed, hence never an error; a permit of none would only mean more joins at a time.
    let _permit = context.joins.acquire().await.ok();
    let started = Instant::now();
    let settings = PeerSettings { seed, ..context.peer.clone() };
    let mut peer = Peer::new(&context.common, settings).await?;
    let (exit, feed) = match (&context.server, role) {
        (Server::Plenum(plenum), Role::Publisher(number)) => {
            let offer = publisher_offer(context, &mut peer, *number)?;
            let token = plenum.token(&room.name, "PUBLISHER").await?;
            let joined = plenum.offer("/whip", &token, offer).await?;
            peer.accept_answer(joined.sdp.clone())?;
            (Exit::Plenum(joined), 0)
        }
        (Server::Plenum(plenum), Role::Subscriber { .. }) => {
            for flow in &context.flows {
                for _ in 0..context.publishers {
                    peer.add_slot(flow.kind)?;
                }
            }
            let offer = peer.offer()?;
            let token = plenum.token(&room.name, "SUBSCRIBER").await?;
            let joined = plenum.offer("/whep", &token, offer).await?;
            peer.accept_answer(joined.sdp.clone())?;
            (Exit::Plenum(joined), 0)
        }
        (Server::Janus(janus), Role::Publisher(number)) => {
            let offer = publisher_offer(context, &mut peer, *number)?;
            let handle = janus.attach().await?;
            let (feed, answer) = janus.publish(handle, room.number, &offer).await?;
            peer.accept_answer(answer)?;
            (Exit::Janus(handle), feed)
        }
        (Server::Janus(janus), Role::Subscriber { feeds }) => {
            let handle = janus.attach().await?;
            let offer = janus.subscribe(handle, room.number, feeds).await?;
            let answer = peer.answer(offer)?;
            janus.start(handle, &answer).await?;
            (Exit::Janus(handle), 0)
        }
    };
    peer.connect(context.join_timeout).await?;
    outcome.joined_in = Some(started.elapsed());
    outcome.connected_ns = u64::try_from(context.common.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    outcome.profile = peer.srtp_profile();
    Ok((peer, exit, feed))
}

fn publisher_offer(context: &Context, peer: &mut Peer, number: u32) -> Result<String, PeerError> {
    // Sound first, as browsers do.
    for flow in &context.flows {
        peer.add_source(number, *flow)?;
    }
    debug_assert!(context.flows.iter().filter(|flow| flow.kind == Kind::Video).count() <= 1);
    peer.offer()
}

async fn take_part(context: &Context, peer: &mut Peer) -> Result<(), PeerError> {
    let mut phase = context.phase.clone();
    peer.start_sources();
    loop {
        tokio::select! {
            // A turn only waits at its end: dropping it loses nothing.
            turn = peer.turn(None) => turn?,
            changed = phase.changed() => {
                let now = *phase.borrow_and_update();
                match now {
                    Phase::Run => {}
                    Phase::Tail => peer.end_count(),
                    Phase::Stop => return Ok(()),
                }
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
