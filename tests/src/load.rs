//! Shell: owns tasks and reads the clock.
//!
//! The load tool as a library: rooms of publishers and subscribers with real ICE, DTLS and SRTP, whose packets carry
//! stamps, so that delivery is verified packet by packet; and the CPU time that the servers spent on it.
//!
//! `plenum-load` is this with flags. Tests call [`run`] with a [`Plan`].

mod actor;
mod cpu;
mod engine;
mod feedback;
pub mod film;
mod janus;
mod janus_server;
mod nack;
mod pace;
mod packet;
mod participant;
mod peer;
mod plenum;
mod report;
mod signal;
mod verify;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

pub use actor::{Actor, ActorError, ActorPlan};
pub use cpu::{Target, Usage};
pub use engine::Profile;
pub use janus::{Handle, Janus};
pub use janus_server::{JanusServer, JanusStartError};
pub use pace::Pacing;
pub use packet::Kind;
pub use plenum::Plenum;
pub use report::{Report, TargetReport};
pub use signal::{Joined, Server, SignalError};
pub use verify::{Histogram, Tally};

use participant::{Context, Outcome, Phase, Role, participate};
use peer::{Common, FlowSettings, PeerSettings};
use signal::Room;
use verify::SentFlow;

/// Participants of one run.
pub const PARTICIPANTS_MAX: u32 = 5_000;
/// Longest steady phase.
pub const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// Bound of one participant's way to a connected transport.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Prefix of session names, to tell runs apart.
    pub name: String,
    /// Rooms.
    pub rooms: u32,
    /// Publishers of each room.
    pub publishers: u32,
    /// Subscribers of each room; each receives all its publishers.
    pub subscribers: u32,
    /// Subscribers of each room that join when a third of the measured phase is over and leave at two thirds.
    pub visitors: u32,
    /// Each publisher also sends sound: 50 packets a second.
    pub audio: bool,
    /// Each publisher sends pictures.
    pub video: bool,
    /// Video rate.
    pub video_bps: u64,
    /// Whole RTP packet of video.
    pub video_packet_bytes: usize,
    /// Whole RTP packet of sound.
    pub audio_packet_bytes: usize,
    /// Frames a second.
    pub frames_per_s: u64,
    /// How a frame's packets leave.
    pub pacing: Pacing,
    /// Key frames come at least so often.
    pub keyframe_interval: Duration,
    /// Of 1,000 media packets so many are lost on purpose, each way.
    pub loss_permille: u32,
    /// Length of the measured phase.
    pub duration: Duration,
    /// From the last join to the measured phase.
    pub settle: Duration,
    /// After it, packets keep flowing so long for the last repairs.
    pub tail: Duration,
    /// Joins under way at one time.
    pub join_concurrency: u32,
    /// Offered SRTP profiles.
    pub profile: Profile,
    /// Our own address, which the server can reach.
    pub local_ip: IpAddr,
    /// Server processes to measure.
    pub targets: Vec<Target>,
    /// Seed of SSRCs and of the losses.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: "load".to_owned(),
            rooms: 1,
            publishers: 1,
            subscribers: 10,
            visitors: 0,
            audio: false,
            video: true,
            video_bps: 1_200_000,
            video_packet_bytes: 1_200,
            audio_packet_bytes: 180,
            frames_per_s: 30,
            pacing: Pacing::Burst,
            keyframe_interval: Duration::from_secs(10),
            loss_permille: 0,
            duration: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            tail: Duration::from_secs(2),
            join_concurrency: 16,
            profile: Profile::Auto,
            local_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            targets: Vec::new(),
            seed: 1,
        }
    }
}

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plan breaks a bound.
    #[error("{0}")]
    Plan(String),
    /// A room could not be opened.
    #[error("cannot open room {0}")]
    Room(u32, #[source] SignalError),
    /// No participant of a kind joined.
    #[error("no {what} could join: {cause}")]
    NobodyJoined {
        /// `publisher` or `subscriber`.
        what: &'static str,
        /// First cause.
        cause: String,
    },
    /// A measured process is not there.
    #[error("process {0} does not exist")]
    NoProcess(String),
    /// A task of ours panicked.
    #[error("a task ended unexpectedly")]
    Task(#[from] tokio::task::JoinError),
}

impl Plan {
    fn check(&self) -> Result<(), LoadError> {
        let participants = u64::from(self.rooms) * (u64::from(self.publishers) + u64::from(self.subscribers));
        if participants == 0 || participants > u64::from(PARTICIPANTS_MAX) {
            return Err(LoadError::Plan(format!(
                "{participants} participants; 1 to {PARTICIPANTS_MAX} are possible"
            )));
        }
        if self.duration > DURATION_MAX {
            return Err(LoadError::Plan(format!("at most {} s", DURATION_MAX.as_secs())));
        }
        if self.publishers == 0 || !(self.audio || self.video) {
            return Err(LoadError::Plan("nothing is published".to_owned()));
        }
        Ok(())
    }

    /// What participants share who follow `phase`.
    fn context(&self, server: &Server, common: &Arc<Common>, phase: watch::Receiver<Phase>) -> Context {
        Context {
            server: server.clone(),
            common: Arc::clone(common),
            peer: PeerSettings {
                local_ip: self.local_ip,
                profile: self.profile,
                loss_permille: self.loss_permille,
                seed: self.seed,
                audio: self.audio,
            },
            flows: self.flows(),
            publishers: self.publishers,
            phase,
            joins: Semaphore::new(self.join_concurrency.max(1) as usize),
            join_timeout: JOIN_TIMEOUT,
        }
    }

    fn flows(&self) -> Vec<FlowSettings> {
        let bits = (self.video_packet_bytes.max(1) * 8) as u64;
        let video = FlowSettings {
            kind: Kind::Video,
            pacing: self.pacing,
            packets_per_s: (self.video_bps / bits).max(1),
            frames_per_s: self.frames_per_s,
            packet_bytes: self.video_packet_bytes,
            keyframe_interval: self.keyframe_interval,
        };
        let audio = FlowSettings {
            kind: Kind::Audio,
            packets_per_s: 50,
            frames_per_s: 50,
            packet_bytes: self.audio_packet_bytes,
            ..video
        };
        [(self.audio, audio), (self.video, video)]
            .into_iter()
            .filter_map(|(wanted, flow)| wanted.then_some(flow))
            .collect()
    }
}

/// Janus' number of a room (FNV-1a of its name): runs with other names do not meet.
fn room_number(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Within what JSON numbers keep exactly.
    hash >> 12
}

/// Carries a plan out against a server.
///
/// # Errors
/// [`LoadError`] where nothing could be measured; single participants that fail are counted in the report.
pub async fn run(server: &Server, plan: &Plan) -> Result<Report, LoadError> {
    plan.check()?;
    let mut run = Run::new(server, plan);
    run.open_rooms().await?;
    let before = run.usage()?;
    let joined = run.join_all().await;
    let after_joins = run.usage()?;
    let result = match joined {
        Ok(()) => run.measure().await,
        Err(error) => Err(error),
    };
    let mut report = run.end(result).await?;
    report.joins(&before, &after_joins);
    Ok(report)
}

/// An error with its causes, as one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

struct Run<'a> {
    plan: &'a Plan,
    context: Arc<Context>,
    phase: watch::Sender<Phase>,
    rooms: Vec<Arc<Room>>,
    /// Each room's publishers, as Janus numbers them.
    feeds: Vec<Vec<u64>>,
    tasks: JoinSet<Outcome>,
    join_started: Instant,
    join_took: Duration,
    steady: Option<report::Steady>,
    visits: u32,
}

impl<'a> Run<'a> {
    fn new(server: &Server, plan: &'a Plan) -> Self {
        let (phase, watcher) = watch::channel(Phase::Run);
        Self {
            plan,
            context: Arc::new(plan.context(server, &Arc::new(Common::new()), watcher)),
            phase,
            rooms: Vec::new(),
            feeds: Vec::new(),
            tasks: JoinSet::new(),
            join_started: Instant::now(),
            join_took: Duration::ZERO,
            steady: None,
            visits: 0,
        }
    }

    async fn open_rooms(&mut self) -> Result<(), LoadError> {
        for number in 0..self.plan.rooms {
            let name = format!("{}-{number}", self.plan.name);
            let room = self
                .context
                .server
                .open_room(name.clone(), room_number(&name), u64::from(self.plan.publishers))
                .await;
            self.rooms.push(Arc::new(room.map_err(|error| LoadError::Room(number, error))?));
        }
        Ok(())
    }

    fn usage(&self) -> Result<Vec<Usage>, LoadError> {
        let read = |target: &Target| {
            Usage::read(target.pid)
                .ok_or_else(|| LoadError::NoProcess(format!("{}={}", target.name, target.pid)))
        };
        self.plan.targets.iter().map(read).collect()
    }

    async fn join_all(&mut self) -> Result<(), LoadError> {
        self.join_started = Instant::now();
        let mut feeds =
            self.join_kind("publisher", self.plan.publishers, &vec![Vec::new(); self.rooms.len()]).await?;
        for room in &mut feeds {
            room.sort_unstable();
        }
        if self.plan.subscribers > 0 {
            self.join_kind("subscriber", self.plan.subscribers, &feeds).await?;
        }
        self.feeds = feeds;
        self.join_took = self.join_started.elapsed();
        Ok(())
    }

    /// Lets participants of one kind join in all rooms and waits for each. Gives each room's feeds.
    async fn join_kind(
        &mut self,
        what: &'static str,
        per_room: u32,
        feeds: &[Vec<u64>],
    ) -> Result<Vec<Vec<u64>>, LoadError> {
        let total = per_room as usize * self.rooms.len();
        let (sender, mut receiver) = mpsc::channel(total.max(1));
        for number in 0..per_room {
            for (at, room) in self.rooms.iter().enumerate() {
                let role = match what {
                    "publisher" => Role::Publisher(at as u32 * self.plan.publishers + number),
                    _ => Role::Subscriber { feeds: feeds[at].clone() },
                };
                let seed = self.plan.seed ^ (self.tasks.len() as u64 + 1) << 32;
                self.tasks.spawn(participate(
                    Arc::clone(&self.context),
                    Arc::clone(room),
                    at,
                    role,
                    seed,
                    sender.clone(),
                ));
            }
        }
        drop(sender);
        let mut joined = vec![Vec::new(); self.rooms.len()];
        let (mut good, mut cause) = (0, String::new());
        while let Some(result) = receiver.recv().await {
            match result {
                Ok((room, feed)) => {
                    good += 1;
                    joined[room].push(feed);
                }
                Err(error) if cause.is_empty() => cause = error,
                Err(_) => {}
            }
        }
        if good == 0 { Err(LoadError::NobodyJoined { what, cause }) } else { Ok(joined) }
    }

    async fn measure(&mut self) -> Result<(), LoadError> {
        tokio::time::sleep(self.plan.settle).await;
        let tool = || Usage::read(std::process::id()).unwrap_or_default();
        let (tool_before, usage, counts, start) =
            (tool(), self.usage()?, self.context.common.counts(), Instant::now());
        if self.plan.visitors > 0 {
            self.visit().await?;
        }
        tokio::time::sleep(self.plan.duration.saturating_sub(start.elapsed())).await;
        let (usage_end, counts_end, took) = (self.usage()?, self.context.common.counts(), start.elapsed());
        let tool = tool().since(&tool_before).cpu;
        let targets = self.plan.targets.iter().zip(usage.iter().zip(&usage_end));
        let targets =
            targets.map(|(target, (before, after))| report::measured(target, before, after)).collect();
        self.steady = Some(report::Steady {
            took,
            sent: counts_end.0 - counts.0,
            delivered: counts_end.1 - counts.1,
            targets,
            tool,
        });
        self.phase.send_replace(Phase::Tail);
        tokio::time::sleep(self.plan.tail).await;
        Ok(())
    }

    /// Visitors come and go while the others go on.
    async fn visit(&mut self) -> Result<(), LoadError> {
        tokio::time::sleep(self.plan.duration / 3).await;
        let (stop, phase) = watch::channel(Phase::Run);
        let context = Arc::new(self.plan.context(&self.context.server, &self.context.common, phase));
        let mut visitors = JoinSet::new();
        for (at, room) in self.rooms.iter().enumerate() {
            for number in 0..self.plan.visitors {
                let (sender, _receiver) = mpsc::channel(1);
                let role = Role::Subscriber { feeds: self.feeds[at].clone() };
                let seed = self.plan.seed ^ !u64::from(number);
                visitors.spawn(participate(Arc::clone(&context), Arc::clone(room), at, role, seed, sender));
            }
        }
        tokio::time::sleep(self.plan.duration / 3).await;
        stop.send_replace(Phase::Stop);
        while let Some(outcome) = visitors.join_next().await {
            let outcome = outcome?;
            self.visits += u32::from(outcome.error.is_none() && outcome.verifier.has_received());
        }
        Ok(())
    }

    /// Ends all participants and rooms and sums up.
    async fn end(mut self, result: Result<(), LoadError>) -> Result<Report, LoadError> {
        let receive_drops = self.context.common.receive_drops();
        self.phase.send_replace(Phase::Stop);
        let mut outcomes = Vec::new();
        while let Some(outcome) = self.tasks.join_next().await {
            outcomes.push(outcome?);
        }
        for room in &self.rooms {
            if let Err(error) = self.context.server.close_room(room).await {
                tracing::debug!(%error, room = room.name, "cannot close");
            }
        }
        result?;
        let mut sent: Vec<Vec<SentFlow>> = vec![Vec::new(); self.rooms.len()];
        for outcome in &outcomes {
            sent[outcome.room].extend(&outcome.sent);
        }
        let send_drops = self.context.common.send_drops.load(std::sync::atomic::Ordering::Relaxed);
        let participants = self.rooms.len() as u32 * (self.plan.publishers + self.plan.subscribers);
        let mut report = report::sum_up(
            participants,
            self.join_took,
            self.steady,
            &outcomes,
            &sent,
            (send_drops, receive_drops),
        );
        report.visits = self.visits;
        Ok(report)
    }
}
