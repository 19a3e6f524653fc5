//! Shell: drives pages of real browsers.
//!
//! Calls as tests tell them: a page publishes, another one plays, frames are decoded. The page's side is
//! `tests/browser/calls.js`: bare WHIP, WHEP and server-sent events, without any library.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::{BrowserError, Driver, Kind, Page};
use crate::cluster::Cluster;

/// Media flows within this time after signalling, also on a loaded machine.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(20);

/// Browsers of one test, each started once.
#[derive(Debug)]
pub struct Browsers {
    driver: Arc<Driver>,
    page_url: String,
}

impl Browsers {
    /// Starts the driver and the browsers of the kinds, under the names of their kinds.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn start(kinds: &[Kind]) -> Result<Self, BrowserError> {
        let driver = Driver::start().await?;
        let page_url = driver.page_url().await?;
        for kind in kinds {
            driver.launch(*kind, name(*kind)).await?;
        }
        Ok(Self { driver, page_url })
    }

    /// Opens a page for calls through a cluster.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn caller(
        &self,
        kind: Kind,
        name_of_page: &str,
        cluster: &Cluster,
    ) -> Result<Caller, BrowserError> {
        let page = self.driver.open(name(kind), name_of_page, &self.page_url).await?;
        Ok(Caller { page, url: cluster.url().to_owned() })
    }

    /// Address of the page that the documentation shows.
    #[must_use]
    pub fn docs_url(&self) -> String {
        format!("{}docs.html", self.page_url)
    }

    /// Opens any page.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn open(&self, kind: Kind, name_of_page: &str, url: &str) -> Result<Page, BrowserError> {
        self.driver.open(name(kind), name_of_page, url).await
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Chromium => "chromium",
        Kind::Firefox => "firefox",
    }
}

/// A page that calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The page itself.
    pub page: Page,
    url: String,
}

impl Caller {
    /// Publishes by WHIP under a local name; `options` as in `calls.js`.
    ///
    /// # Errors
    /// [`BrowserError`]; a refusal says status and body.
    pub async fn publish(&self, name: &str, token: &str, options: Value) -> Result<Value, BrowserError> {
        let args = json!([name, format!("{}/whip", self.url), token, options]);
        self.page.eval("return calls.publish(...args)", args).await
    }

    /// Plays the whole session by WHEP under a local name.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn play(&self, name: &str, token: &str, options: Value) -> Result<Value, BrowserError> {
        let args = json!([name, format!("{}/whep", self.url), token, options]);
        self.page.eval("return calls.play(...args)", args).await
    }

    /// Plays one stream by WHEP under a local name.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn play_stream(
        &self,
        name: &str,
        stream: &str,
        token: &str,
        options: Value,
    ) -> Result<Value, BrowserError> {
        let args = json!([name, format!("{}/whep/{stream}", self.url), token, options]);
        self.page.eval("return calls.play(...args)", args).await
    }

    /// Opens the bearer's event stream under a local name; it resumes by itself.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn events(&self, name: &str, token: &str) -> Result<(), BrowserError> {
        let args = json!([name, format!("{}/events", self.url), format!("Bearer {token}")]);
        self.page.eval("calls.events(...args)", args).await.map(drop)
    }

    /// The events read so far: `{events, connects, errors}`.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn seen(&self, name: &str) -> Result<Value, BrowserError> {
        self.page.eval("const { events, connects, errors } = calls.connections[args]; return { events, connects, errors };", json!(name)).await
    }

    /// Says what the slots of a playing connection show; gives the status.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn arrange(&self, name: &str, body: Value) -> Result<u64, BrowserError> {
        let status = self.page.eval("return calls.arrange(...args)", json!([name, body])).await?;
        Ok(status.as_u64().unwrap_or(0))
    }

    /// Silences a publishing connection, or lets it be heard.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn mute(&self, name: &str, muted: bool) -> Result<(), BrowserError> {
        self.page.eval("calls.mute(...args)", json!([name, muted])).await.map(drop)
    }

    /// Waits until the statistics of a connection are as wanted.
    ///
    /// # Errors
    /// [`BrowserError::Late`] with the last statistics.
    pub async fn reaches(
        &self,
        name: &str,
        what: &str,
        mut is_wanted: impl FnMut(&Stats) -> bool,
    ) -> Result<Stats, BrowserError> {
        let is_wanted = |value: &Value| is_wanted(&Stats(value.clone()));
        let stats = self.page.wait(what, MEDIA_TIMEOUT, "return calls.stats(args)", json!(name), is_wanted);
        Ok(Stats(stats.await?))
    }

    /// Ends a connection; gives the status of the DELETE.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn leave(&self, name: &str) -> Result<u64, BrowserError> {
        Ok(self.page.eval("return calls.leave(args)", json!(name)).await?.as_u64().unwrap_or(0))
    }

    /// Statistics of a connection, as `calls.js` picks them.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn stats(&self, name: &str) -> Result<Stats, BrowserError> {
        Ok(Stats(self.page.eval("return calls.stats(args)", json!(name)).await?))
    }

    /// Waits until a connection has decoded `frames` more video frames in each of `flows` flows than it had before.
    ///
    /// # Errors
    /// [`BrowserError::Late`] with the last statistics.
    pub async fn plays(&self, name: &str, flows: usize, frames: u64) -> Result<Stats, BrowserError> {
        let before = self.stats(name).await?;
        let enough = |value: &Value| {
            let now = Stats(value.clone());
            let moving = now
                .videos()
                .filter(|flow| {
                    flow["frames"].as_u64().unwrap_or(0) >= before.frames_of(&flow["ssrc"]) + frames
                })
                .count();
            moving >= flows
        };
        let what = format!("{frames} more decoded frames in {flows} flows of '{name}'");
        Ok(Stats(
            self.page.wait(&what, MEDIA_TIMEOUT, "return calls.stats(args)", json!(name), enough).await?,
        ))
    }

    /// Waits until the video elements of a connection show `count` moving pictures.
    ///
    /// # Errors
    /// [`BrowserError::Late`] with what they show.
    pub async fn shows(&self, name: &str, count: usize) -> Result<(), BrowserError> {
        let before = self.page.eval("return calls.shown(args)", json!(name)).await?;
        let moving = |value: &Value| {
            let changed = |element: &&Value| {
                let lit = element["lit"].as_u64() > Some(0) && element["width"].as_u64() > Some(0);
                let then = before.as_array().into_iter().flatten().find(|then| then["mid"] == element["mid"]);
                lit && then.is_some_and(|then| then["sum"] != element["sum"] || then["width"] == 0)
            };
            value.as_array().into_iter().flatten().filter(changed).count() >= count
        };
        self.page
            .wait(
                &format!("{count} moving pictures"),
                MEDIA_TIMEOUT,
                "return calls.shown(args)",
                json!(name),
                moving,
            )
            .await
            .map(drop)
    }
}

/// Statistics of one connection.
#[derive(Clone, Debug)]
pub struct Stats(pub Value);

impl Stats {
    /// Received video flows.
    pub fn videos(&self) -> impl Iterator<Item = &Value> {
        self.0["inbound"].as_array().into_iter().flatten().filter(|flow| flow["kind"] == "video")
    }

    /// Received audio flows.
    pub fn audios(&self) -> impl Iterator<Item = &Value> {
        self.0["inbound"].as_array().into_iter().flatten().filter(|flow| flow["kind"] == "audio")
    }

    /// Sent video flows.
    pub fn sent_videos(&self) -> impl Iterator<Item = &Value> {
        self.0["outbound"].as_array().into_iter().flatten().filter(|flow| flow["kind"] == "video")
    }

    /// Decoded frames of all video flows.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.videos().filter_map(|flow| flow["frames"].as_u64()).sum()
    }

    fn frames_of(&self, ssrc: &Value) -> u64 {
        self.videos().find(|flow| flow["ssrc"] == *ssrc).and_then(|flow| flow["frames"].as_u64()).unwrap_or(0)
    }

    /// `connectionState`.
    #[must_use]
    pub fn state(&self) -> &str {
        self.0["state"].as_str().unwrap_or_default()
    }

    /// All states so far, without times.
    #[must_use]
    pub fn states(&self) -> Vec<&str> {
        self.0["states"].as_array().into_iter().flatten().filter_map(|entry| entry[1].as_str()).collect()
    }
}
