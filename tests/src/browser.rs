//! Shell: owns a process.
//!
//! Real browsers in tests: Debian's Chromium and Firefox, driven through `tests/browser/driver.mjs` (playwright-core and
//! puppeteer-core on Node.js). One [`Driver`] holds any number of browsers and pages; all end with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use crate::wait::Late;

/// Slower than this is broken, also on a loaded machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Which browser.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Debian's `chromium`.
    Chromium,
    /// Debian's `firefox-esr`.
    Firefox,
}

/// Why a browser did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// The driver ended or cannot be reached.
    #[error("the browser driver is gone")]
    Gone,
    /// The driver cannot be started.
    #[error("cannot start the browser driver")]
    Start(#[from] std::io::Error),
    /// The page or the driver says no.
    #[error("{command}: {message}")]
    Failed {
        /// What was asked.
        command: String,
        /// What went wrong.
        message: String,
    },
    /// A condition did not come true.
    #[error(transparent)]
    Late(#[from] Late),
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A running driver.
#[derive(Debug)]
pub struct Driver {
    input: tokio::sync::Mutex<ChildStdin>,
    // Answers come on one pipe, for whoever asked: held only to insert or take an entry.
    waiting: Waiting,
    next: std::sync::atomic::AtomicU64,
    _process: Child,
}

/// Whether browser tests can run here: the driver's packages and the browsers of `kinds` are installed.
///
/// Without them a test prints a visible skip and ends; under `CI=true` it fails instead.
///
/// # Panics
/// Under `CI=true`, when something is missing.
#[must_use]
pub fn available(kinds: &[Kind]) -> bool {
    let mut missing = Vec::new();
    if !folder().join("node_modules/playwright-core").exists() {
        missing.push("tests/browser/node_modules (npm ci in tests/browser)");
    }
    for (kind, names) in
        [(Kind::Chromium, ["chromium", "chromium-browser"]), (Kind::Firefox, ["firefox-esr", "firefox"])]
    {
        if kinds.contains(&kind) && !names.iter().any(|name| in_path(name)) {
            missing.push(names[0]);
        }
    }
    if !in_path("node") {
        missing.push("node");
    }
    if missing.is_empty() {
        return true;
    }
    let text = format!("browser test: not installed: {}", missing.join(", "));
    assert!(std::env::var("CI").is_err(), "{text}");
    skip(&text);
    false
}

/// Prints a visible skip.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen in the output of the test run")]
pub fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn in_path(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).exists()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser")
}

impl Driver {
    /// Starts the driver, without a browser yet.
    ///
    /// # Errors
    /// [`BrowserError::Start`].
    pub async fn start() -> Result<Arc<Self>, BrowserError> {
        let mut process = Command::new("node")
            .arg(folder().join("driver.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(false)
            .spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(BrowserError::Gone);
        };
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer: Value = serde_json::from_str(&line).unwrap_or_default();
                let waiter = answers.lock().ok().and_then(|mut all| all.remove(&answer["id"].as_u64()?));
                if let Some(waiter) = waiter
                    && waiter.send(answer).is_err()
                {
                    tracing::debug!("an answer came too late");
                }
            }
            // Nobody will answer any more.
            if let Ok(mut all) = answers.lock() {
                all.clear();
            }
        });
        Ok(Arc::new(Self {
            input: tokio::sync::Mutex::new(input),
            waiting,
            next: 1.into(),
            _process: process,
        }))
    }

    /// Sends a command and gives its answer.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn command(&self, mut command: Value) -> Result<Value, BrowserError> {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let what = command["do"].as_str().unwrap_or_default().to_owned();
        command["id"] = json!(id);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().map_err(|_poisoned| BrowserError::Gone)?.insert(id, sender);
        let line = format!("{command}\n");
        self.input.lock().await.write_all(line.as_bytes()).await.map_err(|_closed| BrowserError::Gone)?;
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, receiver).await {
            Ok(answer) => answer.map_err(|_closed| BrowserError::Gone)?,
            Err(_elapsed) => {
                return Err(BrowserError::Failed { command: what, message: "no answer".to_owned() });
            }
        };
        match answer.get("error").and_then(Value::as_str) {
            Some(message) => Err(BrowserError::Failed { command: what, message: message.to_owned() }),
            None => Ok(answer["ok"].clone()),
        }
    }

    /// Starts a browser under a name.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn launch(&self, kind: Kind, name: &str) -> Result<(), BrowserError> {
        self.command(json!({ "do": "launch", "browser": kind, "name": name, "timeoutMs": 50_000 }))
            .await
            .map(drop)
    }

    /// Address of the test page with `calls.js`, on localhost: a secure origin of another host than masterd's.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn page_url(&self) -> Result<String, BrowserError> {
        Ok(self.command(json!({ "do": "serve" })).await?.as_str().unwrap_or_default().to_owned())
    }

    /// Opens a page under a name.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn open(self: &Arc<Self>, browser: &str, page: &str, url: &str) -> Result<Page, BrowserError> {
        self.command(json!({ "do": "open", "browser": browser, "page": page, "url": url })).await?;
        Ok(Page { driver: Arc::clone(self), name: page.to_owned() })
    }
}

/// An open page.
#[derive(Clone, Debug)]
pub struct Page {
    driver: Arc<Driver>,
    name: String,
}

impl Page {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the body of an async function in the page; `args` is its parameter.
    ///
    /// # Errors
    /// [`BrowserError`]; what the page throws is [`BrowserError::Failed`].
    pub async fn eval(&self, body: &str, args: Value) -> Result<Value, BrowserError> {
        self.driver.command(json!({ "do": "eval", "page": self.name, "body": body, "args": args })).await
    }

    /// Looks at `body`'s value until `accept` takes it.
    ///
    /// # Errors
    /// [`BrowserError::Late`] with the last value.
    pub async fn wait(
        &self,
        what: &str,
        timeout: Duration,
        body: &str,
        args: Value,
        mut accept: impl FnMut(&Value) -> bool,
    ) -> Result<Value, BrowserError> {
        let started = std::time::Instant::now();
        loop {
            let value = self.eval(body, args.clone()).await?;
            if accept(&value) {
                return Ok(value);
            }
            if started.elapsed() >= timeout {
                let last = value.to_string();
                return Err(Late {
                    what: format!("{what} ({})", self.name),
                    waited: started.elapsed(),
                    last,
                }
                .into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks the first element of a CSS selector.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn click(&self, selector: &str) -> Result<(), BrowserError> {
        self.driver.command(json!({ "do": "click", "page": self.name, "selector": selector })).await.map(drop)
    }

    /// Types into the first element of a CSS selector.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn fill(&self, selector: &str, value: &str) -> Result<(), BrowserError> {
        self.driver
            .command(json!({ "do": "fill", "page": self.name, "selector": selector, "value": value }))
            .await
            .map(drop)
    }

    /// What the page has logged, and its uncaught errors.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn console(&self) -> Result<Vec<String>, BrowserError> {
        let lines = self.driver.command(json!({ "do": "console", "page": self.name })).await?;
        Ok(serde_json::from_value(lines).unwrap_or_default())
    }

    /// Writes a picture of the page.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn shot(&self, path: &Path) -> Result<(), BrowserError> {
        self.driver.command(json!({ "do": "shot", "page": self.name, "path": path })).await.map(drop)
    }

    /// Closes the page, as a user who closes the tab.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn close(self) -> Result<(), BrowserError> {
        self.driver.command(json!({ "do": "closePage", "page": self.name })).await.map(drop)
    }
}
