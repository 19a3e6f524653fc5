//! Shell: owns a participant's task.
//!
//! A synthetic participant that plays a [`Film`] in a session until it is told to leave: for demonstrations, and for
//! tests of what is made of real pictures and sound.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::chain;
use super::engine::Profile;
use super::film::Film;
use super::packet::Kind;
use super::peer::{Common, Peer, PeerError, PeerSettings};
use super::plenum::Plenum;
use super::signal::SignalError;

/// Bound of the way to a connected transport.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How a participant joins.
#[derive(Clone, Debug)]
pub struct ActorPlan {
    /// Session, open already.
    pub session: String,
    /// What it says of itself.
    pub name: String,
    /// Sends sound.
    pub audio: bool,
    /// Sends pictures.
    pub video: bool,
    /// Shows a screen, not a camera.
    pub screen: bool,
    /// Its own address, which the node can reach.
    pub local_ip: IpAddr,
    /// Seed of its SSRCs.
    pub seed: u64,
}

/// Why a participant could not join.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// Signalling failed.
    #[error("cannot join")]
    Signal(#[from] SignalError),
    /// Media failed.
    #[error("cannot connect: {0}")]
    Media(String),
}

impl From<PeerError> for ActorError {
    fn from(error: PeerError) -> Self {
        Self::Media(chain(&error))
    }
}

/// A participant that plays.
#[derive(Debug)]
pub struct Actor {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ActorError>>,
}

impl Actor {
    /// Joins and plays from now on.
    ///
    /// # Errors
    /// [`ActorError`].
    pub async fn join(plenum: &Plenum, plan: &ActorPlan, film: &Arc<Film>) -> Result<Self, ActorError> {
        let settings = PeerSettings {
            local_ip: plan.local_ip,
            profile: Profile::Auto,
            loss_permille: 0,
            seed: plan.seed,
            audio: plan.audio,
        };
        let mut peer = Peer::new(&Arc::new(Common::new()), settings).await?;
        if plan.audio {
            peer.add_film(Kind::Audio, film)?;
        }
        if plan.video {
            peer.add_film(Kind::Video, film)?;
        }
        let offer = peer.offer()?;
        let token = plenum.token(&plan.session, "PUBLISHER").await?;
        let kind = if plan.screen { "SCREEN" } else { "CAMERA" };
        let path = format!("/whip?typeOfVideo={kind}&data={}", percent_encoded(&plan.name));
        let joined = plenum.offer(&path, &token, offer).await?;
        peer.accept_answer(joined.sdp.clone())?;
        peer.connect(JOIN_TIMEOUT).await?;
        peer.start_sources();
        let (stop, mut stopped) = oneshot::channel();
        let plenum = plenum.clone();
        let task = tokio::spawn(async move {
            let ended = loop {
                tokio::select! {
                    // A turn only waits at its end: dropping it loses nothing.
                    turn = peer.turn(None) => if let Err(error) = turn { break Err(ActorError::from(error)); },
                    _ = &mut stopped => break Ok(()),
                }
            };
            let left = plenum.leave(&joined).await;
            peer.close();
            ended?;
            Ok(left?)
        });
        Ok(Self { stop: Some(stop), task })
    }

    /// Leaves the session.
    ///
    /// # Errors
    /// [`ActorError`]: what ended the participant before, or kept it from leaving.
    pub async fn leave(mut self) -> Result<(), ActorError> {
        drop(self.stop.take());
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) => Err(ActorError::Media(error.to_string())),
        }
    }

    /// True while it plays.
    #[must_use]
    pub fn plays(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase()
}

/// For a query (RFC 3986 section 2.1).
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.extend(['%', hex(byte >> 4), hex(byte & 0xf)]);
        }
    }
    out
}
