//! Shell: owns the channels between the console and a source of data.
//!
//! A source is a task that takes [`Request`]s and gives [`Message`]s: a master over the operator link, or the made-up
//! cluster. It waits while the console is behind, so that it never holds more than a few messages.

use common::telemetry::task::Owned;
use tokio::sync::mpsc;

use crate::desktop::WindowId;
use crate::effect::Effect;
use crate::model::{Message, Operate, Topic};

/// Messages that may wait for the console.
const MESSAGES_MAX: usize = 16;

/// Requests that may wait for a source: two for each window that can be open.
const REQUESTS_MAX: usize = 128;

/// From the console to a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Do something.
    Operate(Operate),
    /// Try the link now.
    Retry,
    /// A window wants to be told about something, instead of what it wanted before.
    Subscribe(WindowId, Topic),
    /// A window no longer wants to be told.
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
        let request = match effect {
            Effect::Operate(operate) => Request::Operate(operate),
            Effect::Retry => Request::Retry,
            Effect::Subscribe { window, topic } => Request::Subscribe(window, topic),
            Effect::Unsubscribe { window } => Request::Unsubscribe(window),
            other
            @ (Effect::Copy(_) | Effect::Mouse(_) | Effect::Quit | Effect::Redraw | Effect::Suspend) => {
                return Some(other);
            }
        };
        if self.requests.try_send(request).is_err() {
            tracing::warn!("the source takes no requests");
        }
        None
    }
}
