//! Shell: the load tool's command line.
//!
//! `plenum-load --url https://localhost:4443 --secret-file deploy/local/secret --subscribers 100`

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tests::load::{Janus, JanusServer, Pacing, Plan, Plenum, Profile, Report, Server, Target, run};

/// Loads a WebRTC server with rooms of publishers and subscribers and verifies every packet.
///
/// Each participant has its own ICE, DTLS and SRTP. Packets carry a counter and a send time; receivers check that each
/// came once and whole, ask for lost ones and answer such requests.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Server under load.
    #[arg(long, value_enum, default_value_t = Kind::Plenum)]
    server: Kind,
    /// Address of masterd or of Janus' HTTP API.
    #[arg(long, default_value = "https://localhost:4443")]
    url: String,
    /// Start a Janus of our own (Debian package `janus`) and measure it.
    #[arg(long)]
    start_janus: bool,
    /// API secret.
    #[arg(long)]
    secret: Option<String>,
    /// File that holds the API secret; without both, the environment's PLENUM_SECRET.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// Prefix of session names.
    #[arg(long, default_value = "load")]
    name: String,
    /// Rooms.
    #[arg(long, default_value_t = 1)]
    rooms: u32,
    /// Publishers of each room.
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    /// Subscribers of each room; each receives all its publishers.
    #[arg(long, default_value_t = 10)]
    subscribers: u32,
    /// Bits per second of each publisher's video; 0 is no video.
    #[arg(long, default_value_t = 1_200_000)]
    video_bps: u64,
    /// Bytes of a video packet (RTP header included).
    #[arg(long, default_value_t = 1_200)]
    packet_bytes: usize,
    /// Frames a second.
    #[arg(long, default_value_t = 30)]
    fps: u64,
    /// Publishers send sound too: 50 packets a second.
    #[arg(long)]
    audio: bool,
    /// How a frame's packets leave: all at once, as from browsers, or evenly spaced.
    #[arg(long, value_enum, default_value_t = PacingArg::Burst)]
    pacing: PacingArg,
    /// Seconds between key frames.
    #[arg(long, default_value_t = 10)]
    keyframe_interval_s: u64,
    /// Media packets lost on purpose, each way, in percent (0.1 is the step).
    #[arg(long, default_value = "0", value_parser = permille)]
    loss: u32,
    /// Seconds of the measured phase.
    #[arg(long, default_value_t = 10)]
    duration_s: u64,
    /// Seconds from the last join to the measured phase.
    #[arg(long, default_value_t = 2)]
    settle_s: u64,
    /// Joins under way at one time.
    #[arg(long, default_value_t = 16)]
    join_concurrency: u32,
    /// SRTP profiles to offer.
    #[arg(long, value_enum, default_value_t = Profile::Auto)]
    profile: Profile,
    /// Our own address, as the server reaches it.
    #[arg(long, default_value = "127.0.0.1")]
    local_ip: IpAddr,
    /// Server process to measure, NAME=PID; may be repeated.
    #[arg(long = "measure-pid", value_name = "NAME=PID")]
    targets: Vec<Target>,
    /// Threads of this tool.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seed of SSRCs and losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Accept any certificate. This tool always does; the flag is for commands written for others.
    #[arg(long)]
    insecure: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Plenum,
    Janus,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PacingArg {
    Burst,
    Even,
}

/// Percent with one digit behind the point, as permille.
fn permille(text: &str) -> Result<u32, String> {
    let (whole, tenths) = text.split_once('.').unwrap_or((text, "0"));
    match (whole.parse::<u32>(), tenths.parse::<u32>()) {
        (Ok(whole), Ok(tenths)) if tenths < 10 && whole <= 100 => Ok((whole * 10 + tenths).min(1_000)),
        _ => Err(format!(
            "'{text}' is no percentage between 0 and 100 with at most one digit behind the point"
        )),
    }
}

impl Args {
    fn plan(&self) -> Plan {
        Plan {
            name: self.name.clone(),
            rooms: self.rooms,
            publishers: self.publishers,
            subscribers: self.subscribers,
            audio: self.audio,
            video: self.video_bps > 0,
            video_bps: self.video_bps,
            video_packet_bytes: self.packet_bytes,
            frames_per_s: self.fps,
            pacing: match self.pacing {
                PacingArg::Burst => Pacing::Burst,
                PacingArg::Even => Pacing::Even,
            },
            keyframe_interval: Duration::from_secs(self.keyframe_interval_s),
            loss_permille: self.loss,
            duration: Duration::from_secs(self.duration_s),
            settle: Duration::from_secs(self.settle_s),
            join_concurrency: self.join_concurrency,
            profile: self.profile,
            local_ip: self.local_ip,
            targets: self.targets.clone(),
            seed: self.seed,
            ..Plan::default()
        }
    }

    fn secret(&self) -> Result<String, Box<dyn std::error::Error>> {
        match (&self.secret, &self.secret_file) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(file)) => Ok(std::fs::read_to_string(file)?.trim().to_owned()),
            (None, None) => Ok(std::env::var("PLENUM_SECRET")
                .map_err(|_unset| "the API secret is missing: --secret-file FILE or PLENUM_SECRET")?),
        }
    }
}

async fn work(args: Args) -> Result<Report, Box<dyn std::error::Error>> {
    let mut plan = args.plan();
    match args.server {
        Kind::Plenum => Ok(run(&Server::Plenum(Plenum::new(&args.url, &args.secret()?)?), &plan).await?),
        Kind::Janus if args.start_janus => {
            let server = JanusServer::start().await?;
            plan.local_ip = server.ip();
            plan.targets.push(Target { name: "janus".to_owned(), pid: server.pid() });
            let result = run(&Server::Janus(Janus::new(server.url())?), &plan).await;
            result.map_err(|error| format!("{error}; janus said:\n{}", server.log_end()).into())
        }
        Kind::Janus => Ok(run(&Server::Janus(Janus::new(&args.url)?), &plan).await?),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_unset| "error".into()),
        )
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.threads.clamp(1, 64))
        .enable_all()
        .build();
    let json = args.json;
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(work(args)));
    match result {
        Ok(report) => {
            let text = if json { report.to_json().to_string() } else { report.to_string() };
            let written = writeln!(std::io::stdout(), "{}", text.trim_end());
            if written.is_ok() && report.exact() { ExitCode::SUCCESS } else { ExitCode::from(2) }
        }
        Err(error) => {
            // Standard error may be closed; then nobody reads the cause.
            drop(writeln!(std::io::stderr(), "plenum-load: {}", tests::load::chain(&*error)));
            ExitCode::FAILURE
        }
    }
}
