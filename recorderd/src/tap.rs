//! Shell: keeps a job's tap at a media node: dials, waits, dials again.

use std::sync::Arc;
use std::time::Duration;

use common::id::{RecordingKey, SessionKey};
use common::net::identity::Identity;
use common::net::media_link::{self, Client, DialError, Events, TapSettings};
use common::telemetry::chain;
use common::telemetry::task::{self, Owned};
use common::wire::media::Resume;
use common::wire::recording::TapSource;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Waits between attempts: the grant may be on its way, or the node on its way back.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What happens to a tap.
#[derive(Debug)]
pub enum Event {
    /// It is time to dial: call [`Tap::dial`].
    Due,
    /// It does not stand.
    Down {
        /// For humans.
        why: String,
    },
    /// It said something.
    Said(media_link::Event),
    /// It stands.
    Up,
}

#[derive(Debug)]
enum State {
    /// Hung up.
    Idle,
    Waiting {
        until: Instant,
    },
    Dialling(Owned<Result<(Client, Events), DialError>>),
    Up {
        client: Client,
        events: Events,
    },
}

/// One job's tap.
#[derive(Debug)]
pub struct Tap {
    program: &'static str,
    recording: RecordingKey,
    session: SessionKey,
    source: TapSource,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    wait: Duration,
    state: State,
}

impl Tap {
    /// One that is due to be dialled.
    #[must_use]
    pub fn new(
        program: &'static str,
        recording: RecordingKey,
        session: SessionKey,
        source: TapSource,
        identity: watch::Receiver<Option<Arc<Identity>>>,
    ) -> Self {
        let state = State::Waiting { until: Instant::now() };
        Self { program, recording, session, source, identity, wait: WAIT_FIRST, state }
    }

    /// The standing tap.
    #[must_use]
    pub const fn client(&self) -> Option<&Client> {
        match &self.state {
            State::Up { client, .. } => Some(client),
            State::Idle | State::Waiting { .. } | State::Dialling(_) => None,
        }
    }

    /// Where the media is from now on. True when it is another node; it is dialled at once then.
    pub fn set_source(&mut self, source: TapSource) -> bool {
        let is_other = source.node != self.source.node;
        self.source = source;
        if is_other && !matches!(self.state, State::Idle) {
            self.wait = WAIT_FIRST;
            self.state = State::Waiting { until: Instant::now() };
        }
        is_other
    }

    /// Ends the tap for good.
    pub fn hang_up(&mut self) {
        self.state = State::Idle;
    }

    /// Dials, after [`Event::Due`].
    pub fn dial(&mut self, resume: Vec<Resume>, replay_ms: u32) {
        let Some(identity) = self.identity.borrow().clone() else {
            self.wait_more();
            return;
        };
        let settings = TapSettings {
            resume,
            replay_ms,
            ..TapSettings::new(self.program, &self.source, self.recording, self.session)
        };
        let dial = async move { Client::dial(&identity, &settings).await };
        self.state = State::Dialling(Owned(task::spawn("tap-dial", dial)));
    }

    fn wait_more(&mut self) {
        self.state = State::Waiting { until: Instant::now() + self.wait };
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }

    /// The next event; never while hung up. Cancel safe.
    pub async fn next(&mut self) -> Event {
        match &mut self.state {
            State::Idle => std::future::pending().await,
            State::Waiting { until } => {
                sleep_until(*until).await;
                Event::Due
            }
            State::Dialling(dial) => match (&mut dial.0).await {
                Ok(Ok((client, events))) => {
                    self.wait = WAIT_FIRST;
                    self.state = State::Up { client, events };
                    Event::Up
                }
                Ok(Err(error)) => {
                    self.wait_more();
                    Event::Down { why: chain(&error).to_string() }
                }
                Err(error) => {
                    self.wait_more();
                    Event::Down { why: error.to_string() }
                }
            },
            State::Up { events, .. } => match events.next().await {
                Some(media_link::Event::Lost { why, .. }) => {
                    self.wait_more();
                    Event::Down { why }
                }
                Some(event) => Event::Said(event),
                None => {
                    self.wait_more();
                    Event::Down { why: "the tap ended".to_owned() }
                }
            },
        }
    }
}
