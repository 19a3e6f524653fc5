//! Shell: owns processes and files.
//!
//! One daemon under test: its config file, its process, its log, and the ways in which tests mistreat it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::http::Client;
use crate::wait::{self, Late};

/// Lines of a log that are shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;
/// A daemon is ready within this time; debug builds on a loaded machine are slow.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// A daemon has ended within this time after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// Control plane.
    Masterd,
    /// Media node.
    Mediad,
    /// Recorder.
    Recorderd,
}

impl Program {
    /// Name of its binary and its package.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Masterd => "masterd",
            Self::Mediad => "mediad",
            Self::Recorderd => "recorderd",
        }
    }

    /// Path of its binary, built when it is missing or older than its sources; or that in the folder which the
    /// environment variable `PLENUM_BIN_DIR` names, as it is.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn binary(self) -> io::Result<PathBuf> {
        if let Some(folder) = std::env::var_os("PLENUM_BIN_DIR") {
            return Ok(Path::new(&folder).join(self.name()));
        }
        let path = target_folder()?.join(self.name());
        if is_fresh(self, &path) {
            return Ok(path);
        }
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build
            .args(["build", "--quiet", "--locked", "--package", self.name(), "--bins"])
            .current_dir(workspace());
        if path.parent().is_some_and(|folder| folder.ends_with("release")) {
            build.arg("--release");
        }
        if build.status()?.success() && path.exists() {
            return Ok(path);
        }
        Err(io::Error::other(format!("cannot build {}", self.name())))
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of the binaries beside the running test.
fn target_folder() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.parent().map(Path::to_path_buf).unwrap_or_default()
    } else {
        folder
    })
}

fn is_fresh(program: Program, binary: &Path) -> bool {
    let Ok(built) = binary.metadata().and_then(|metadata| metadata.modified()) else {
        return false;
    };
    let newest = |folder: &str| newest_file(&workspace().join(folder));
    let sources = [newest(&format!("{}/src", program.name())), newest("common/src")];
    sources.into_iter().flatten().all(|changed| changed <= built)
}

fn newest_file(folder: &Path) -> Option<std::time::SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?;
    let times = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        if path.is_dir() { newest_file(&path) } else { entry.metadata().ok()?.modified().ok() }
    });
    times.max()
}

/// A daemon. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    program: Program,
    /// Name in messages, log and config file names.
    name: String,
    config: PathBuf,
    log: PathBuf,
    health: u16,
    // Tests hold daemons by shared reference while they kill and restart them.
    process: Mutex<Option<Child>>,
}

/// Why a daemon is not where a test wants it.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Files or processes.
    #[error("{name}: {what}")]
    Io {
        /// Which.
        name: String,
        /// What was tried.
        what: String,
        /// Cause.
        source: io::Error,
    },
    /// It ended although it should run.
    #[error("{name} ended with {status}; its log ends:\n{log}")]
    Ended {
        /// Which.
        name: String,
        /// How.
        status: ExitStatus,
        /// Last lines.
        log: String,
    },
    /// It is not ready or not gone in time.
    #[error("{name}: {late}; its log ends:\n{log}")]
    Late {
        /// Which.
        name: String,
        /// What was waited for.
        late: Late,
        /// Last lines.
        log: String,
    },
}

impl Daemon {
    /// Writes the config; starts nothing. `health` is the port of its `/readyz`.
    ///
    /// # Errors
    /// [`DaemonError::Io`].
    pub fn new(
        program: Program,
        name: &str,
        folder: &Path,
        health: u16,
        config: &str,
    ) -> Result<Self, DaemonError> {
        let path = folder.join(format!("{name}.toml"));
        let daemon = Self {
            program,
            name: name.to_owned(),
            config: path.clone(),
            log: folder.join(format!("{name}.log")),
            health,
            process: Mutex::default(),
        };
        std::fs::write(&path, config).map_err(|source| daemon.io("write its config", source))?;
        Ok(daemon)
    }

    fn io(&self, what: &str, source: io::Error) -> DaemonError {
        DaemonError::Io { name: self.name.clone(), what: what.to_owned(), source }
    }

    /// Starts the process; its output is appended to its log.
    ///
    /// # Errors
    /// [`DaemonError::Io`].
    pub fn spawn(&self) -> Result<(), DaemonError> {
        let binary = self.program.binary().map_err(|source| self.io("find its binary", source))?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|source| self.io("open its log", source))?;
        let copy = log.try_clone().map_err(|source| self.io("open its log", source))?;
        let mut command = Command::new(binary);
        command
            .arg("--config")
            .arg(&self.config)
            .env_remove("PLENUM_SECRET")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy);
        let child = command.spawn().map_err(|source| self.io("start", source))?;
        if let Ok(mut process) = self.process.lock() {
            *process = Some(child);
        }
        Ok(())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn start(&self) -> Result<(), DaemonError> {
        self.spawn()?;
        self.ready().await
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// [`DaemonError::Ended`], [`DaemonError::Late`].
    pub async fn ready(&self) -> Result<(), DaemonError> {
        let url = format!("http://127.0.0.1:{}", self.health);
        let client =
            Client::new(&url).map_err(|error| self.io("ask it", io::Error::other(error.to_string())))?;
        let ready = wait::until("readiness", READY_TIMEOUT, || async {
            if let Some(status) = self.ended() {
                return Ok(Err(status));
            }
            match client.send("GET", "/readyz", &[], "").await {
                Ok(response) if response.status == 200 => Ok(Ok(())),
                Ok(response) => Err(response.text()),
                Err(error) => Err(error.to_string()),
            }
        });
        match ready.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => {
                Err(DaemonError::Ended { name: self.name.clone(), status, log: self.log_end() })
            }
            Err(late) => Err(DaemonError::Late { name: self.name.clone(), late, log: self.log_end() }),
        }
    }

    /// How it ended, if it did by itself or by a signal.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process.lock().ok()?.as_mut()?.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`DaemonError::Late`].
    pub async fn end(&self) -> Result<ExitStatus, DaemonError> {
        let gone = wait::until_sync("its end", END_TIMEOUT, || self.ended().ok_or("it still runs")).await;
        gone.map_err(|late| DaemonError::Late { name: self.name.clone(), late, log: self.log_end() })
    }

    /// Process id; 0 when it was never started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.lock().ok().and_then(|process| process.as_ref().map(Child::id)).unwrap_or(0)
    }

    /// `kill -9`, and waits until the process is gone. Gives the instant of the kill.
    pub fn kill(&self) -> Instant {
        let at = Instant::now();
        if let Ok(mut process) = self.process.lock()
            && let Some(child) = process.as_mut()
            && let Err(error) = child.kill().and_then(|()| child.wait().map(drop))
        {
            tracing::debug!(%error, name = self.name, "was gone already");
        }
        at
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`).
    ///
    /// # Errors
    /// [`DaemonError::Io`].
    pub fn signal(&self, name: &str) -> Result<(), DaemonError> {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        status.map(drop).map_err(|source| self.io("send a signal", source))
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn terminate(&self) -> Result<ExitStatus, DaemonError> {
        self.signal("TERM")?;
        self.end().await
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its config file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its whole log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A metric's value by its line's beginning, from `/metrics`; 0 when it is not there. Sums over labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let Ok(client) = Client::new(&format!("http://127.0.0.1:{}", self.health)) else { return 0.0 };
        let Ok(response) = client.send("GET", "/metrics", &[], "").await else { return 0.0 };
        let text = response.text();
        let values =
            text.lines().filter(|line| !line.starts_with('#') && line.split(['{', ' ']).next() == Some(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Shows its log when the test that drops it is failing.
    #[expect(clippy::print_stderr, reason = "the logs of a failed test belong into its output")]
    fn show_log(&self) {
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.name, self.log_end());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        self.show_log();
    }
}
