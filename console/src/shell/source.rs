//! Shell: owns the channels between the console and a source of data.
//!
//! A source is a task that takes [`Request`]s and gives [`Message`]s: a master over the operator link, or the made-up
//! cluster. It waits while the console is behind, so that it never holds more than a few messages.

use common::telemetry::task::Owned;
use tokio::sync::mpsc;

use crate::desktop::WindowId;
use crate::effect::Effect;
use crate::model::{Message, Operate, Wanted};

/// Messages that may wait for the console.
const MESSAGES_MAX: usize = 16;

/// Requests that may wait for a source: some for each window that can be open.
const REQUESTS_MAX: usize = 512;

/// From the console to a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// A window watches another part of the same.
    Adjust(WindowId, Wanted),
    /// Do something.
    Operate(Operate),
    /// Say how an operation went.
    Recall(u64),
    /// Try the link now.
    Retry,
    /// A window watches something, instead of what it watched before.
    Subscribe(WindowId, Wanted),
    /// A window watches no longer.
    Unsubscribe(WindowId),
}

/// A running source.
#[derive(Debug)]
pub struct Source {
    requests: mpsc::Sender<Request>,
    /// What it says.
    pub messages: mpsc::Receiver<Message>,
    _task: Owned<()>,
}

impl Source {
    /// Starts a source's task.
    pub fn start<F>(
        name: &'static str,
        run: impl FnOnce(mpsc::Receiver<Request>, mpsc::Sender<Message>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (requests, wanted) = mpsc::channel(REQUESTS_MAX);
        let (says, messages) = mpsc::channel(MESSAGES_MAX);
        let task = common::telemetry::task::spawn(name, run(wanted, says));
        Self { requests, messages, _task: Owned(task) }
    }

    /// Passes an effect on that is for the source; gives it back when it is not. A request that finds no room is
    /// dropped: the source does not take any at all then.
    #[must_use]
    pub fn pass(&self, effect: Effect) -> Option<Effect> {
        match Request::of(effect) {
            Ok(request) => {
                self.ask(request);
                None
            }
            Err(effect) => Some(effect),
        }
    }

    /// Asks for something.
    pub fn ask(&self, request: Request) {
        if self.requests.try_send(request).is_err() {
            tracing::warn!("the source takes no requests");
        }
    }
}

impl Request {
    /// The request that an effect is.
    ///
    /// # Errors
    /// The effect, when it is for somebody else.
    pub fn of(effect: Effect) -> Result<Self, Effect> {
        Ok(match effect {
            Effect::Adjust { window, wanted } => Self::Adjust(window, wanted),
            Effect::Operate(operate) => Self::Operate(operate),
            Effect::Recall(op) => Self::Recall(op),
            Effect::Retry => Self::Retry,
            Effect::Subscribe { window, wanted } => Self::Subscribe(window, wanted),
            Effect::Unsubscribe { window } => Self::Unsubscribe(window),
            other
            @ (Effect::Copy(_) | Effect::Mouse(_) | Effect::Quit | Effect::Redraw | Effect::Suspend) => {
                return Err(other);
            }
        })
    }
}
