//! Shell: the demonstration's command line.
//!
//! `plenum-demo --url https://localhost:4443 --secret-file deploy/local/secret`

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tests::load::film::{Film, FilmSpec};
use tests::load::{Actor, ActorPlan, Plenum, chain};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Names of those who take part.
const NAMES: [&str; 8] = ["Ada", "Björn", "Chiara", "Duc", "Elif", "Farid", "Grace", "Hana"];
/// How often people come and go in the last session.
const CHANGE_EVERY: Duration = Duration::from_secs(7);
/// A recording is started within this time, or the demonstration goes on without.
const RECORDING_TIMEOUT: Duration = Duration::from_secs(20);

/// Fills a cluster with something to watch: sessions of synthetic participants with moving pictures and tones.
///
/// One session is recorded; in the last one people come and go. Ends with Ctrl-C, SIGTERM or after the given time, and
/// takes everything back but the recording.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address of masterd.
    #[arg(long, default_value = "https://localhost:4443")]
    url: String,
    /// File that holds the API secret; without it, the environment's PLENUM_SECRET.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// Sessions.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    sessions: u32,
    /// Participants of each session.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    participants: u32,
    /// Do not record.
    #[arg(long)]
    no_recording: bool,
    /// Seconds until the end; 0 is without end.
    #[arg(long, default_value_t = 0)]
    duration_s: u64,
    /// Our own address, as the media nodes reach it.
    #[arg(long, default_value = "127.0.0.1")]
    local_ip: IpAddr,
}

type Failure = Box<dyn std::error::Error>;

/// The demonstration while it runs.
struct Demo {
    args: Args,
    plenum: Plenum,
    films: Vec<Arc<Film>>,
    /// Participants of each session.
    casts: Vec<Vec<Actor>>,
    seed: u64,
    recording: Option<String>,
}

fn say(text: &str) {
    // Nobody listens when the pipe is closed; the show goes on.
    drop(writeln!(std::io::stdout(), "{text}"));
}

impl Demo {
    fn new(args: Args) -> Result<Self, Failure> {
        let secret = match &args.secret_file {
            Some(file) => std::fs::read_to_string(file)?.trim().to_owned(),
            None => std::env::var("PLENUM_SECRET")
                .map_err(|_unset| "the API secret is missing: --secret-file FILE or PLENUM_SECRET")?,
        };
        let plenum = Plenum::new(&args.url, &secret)?;
        say("painting and encoding test pictures");
        let count = args.participants.min(NAMES.len() as u32) as u8;
        let films = (0..count).map(|actor| Film::make(FilmSpec::of(actor)).map(Arc::new));
        let films = films.collect::<Result<_, _>>()?;
        Ok(Self { args, plenum, films, casts: Vec::new(), seed: 1, recording: None })
    }

    fn session(&self, at: usize) -> String {
        format!("demo-{}", at + 1)
    }

    async fn join(&mut self, session: usize, actor: usize) -> Result<Actor, Failure> {
        self.seed += 1;
        let at = actor % self.films.len();
        let plan = ActorPlan {
            session: self.session(session),
            name: format!(r#"{{"clientData":"{}"}}"#, NAMES[at]),
            audio: true,
            video: true,
            screen: false,
            local_ip: self.args.local_ip,
            seed: self.seed,
        };
        Ok(Actor::join(&self.plenum, &plan, &self.films[at]).await?)
    }

    async fn open(&mut self) -> Result<(), Failure> {
        for session in 0..self.args.sessions as usize {
            self.plenum.open_session(&self.session(session)).await?;
            self.casts.push(Vec::new());
            for actor in 0..self.args.participants as usize {
                let joined = self.join(session, actor).await?;
                self.casts[session].push(joined);
            }
            say(&format!("{}: {} participants", self.session(session), self.args.participants));
        }
        Ok(())
    }

    async fn record(&mut self) {
        if self.args.no_recording {
            return;
        }
        let session = self.session(0);
        match timeout(RECORDING_TIMEOUT, self.plenum.start_recording(&session)).await {
            Ok(Ok(id)) => {
                say(&format!("{session}: is recorded as {id}"));
                self.recording = Some(id);
            }
            Ok(Err(error)) => say(&format!("{session}: not recorded: {}", chain(&error))),
            Err(_late) => say(&format!("{session}: not recorded: the start was not answered in time")),
        }
    }

    /// Somebody leaves the last session, or comes back.
    async fn change(&mut self) -> Result<(), Failure> {
        let last = self.casts.len() - 1;
        let missing = self.casts[last].len() < self.args.participants as usize;
        if missing {
            let actor = self.casts[last].len();
            let joined = self.join(last, actor).await?;
            self.casts[last].push(joined);
        } else if let Some(actor) = self.casts[last].pop() {
            actor.leave().await?;
        }
        Ok(())
    }

    /// Those whom a lost node took with it come back.
    async fn revive(&mut self) -> Result<(), Failure> {
        for session in 0..self.casts.len() {
            for at in 0..self.casts[session].len() {
                if !self.casts[session][at].plays() {
                    self.plenum.open_session(&self.session(session)).await?;
                    self.casts[session][at] = self.join(session, at).await?;
                }
            }
        }
        Ok(())
    }

    async fn close(self) -> Result<(), Failure> {
        if let Some(id) = &self.recording {
            self.plenum.stop_recording(id).await?;
            say(&format!("the recording is {}/openvidu/recordings/{id}/{id}.mp4", self.args.url));
        }
        let names: Vec<_> = (0..self.casts.len()).map(|at| self.session(at)).collect();
        drop(self.casts);
        for name in names {
            self.plenum.close_session(&name).await?;
        }
        Ok(())
    }
}

async fn play(args: Args) -> Result<(), Failure> {
    let duration = match args.duration_s {
        0 => Duration::MAX,
        seconds => Duration::from_secs(seconds),
    };
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut demo = Demo::new(args)?;
    demo.open().await?;
    demo.record().await;
    say("the demonstration runs");
    let mut ticks = interval(CHANGE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let end = tokio::time::sleep(duration);
    tokio::pin!(end);
    loop {
        // All arms only wait.
        tokio::select! {
            _ = ticks.tick() => {
                let changed = match demo.revive().await {
                    Ok(()) => demo.change().await,
                    Err(error) => Err(error),
                };
                // A cluster may be restarted under the demonstration, or be full for a moment.
                if let Err(error) = changed {
                    say(&chain(&*error));
                }
            }
            () = &mut end => break,
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            _ = hung_up.recv() => break,
        }
    }
    demo.close().await
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(play(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; then nobody reads the cause.
            drop(writeln!(std::io::stderr(), "plenum-demo: {}", chain(&*error)));
            ExitCode::FAILURE
        }
    }
}
