//! Shell: owns the task that lets the made-up cluster run.

use std::time::Duration;

use tokio::sync::mpsc;

use super::source::{Request, Source};
use crate::demo::{Hub, Size};
use crate::model::{Message, Operated};

/// Starts the made-up cluster: one step a second, or none after the first picture when it stands `still`.
#[must_use]
pub fn start(size: Size, still: bool) -> Source {
    Source::start("demo", move |requests, messages| run(Hub::new(size, still), still, requests, messages))
}

async fn run(
    mut hub: Hub,
    still: bool,
    mut requests: mpsc::Receiver<Request>,
    messages: mpsc::Sender<Message>,
) {
    if messages.send(hub.greeting()).await.is_err() {
        return;
    }
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        // Both are cancel safe.
        let out = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => answer(&mut hub, request),
                None => return,
            },
            _ = second.tick(), if !still => hub.step(),
        };
        for message in out {
            if messages.send(message).await.is_err() {
                return;
            }
        }
    }
}

/// What the made-up cluster says to a request.
pub fn answer(hub: &mut Hub, request: Request) -> Vec<Message> {
    match request {
        Request::Operate(operate) => hub.operate(&operate),
        Request::Recall(op) => vec![Message::Operated { op, state: Operated::Unknown }],
        Request::Retry => Vec::new(),
        Request::Subscribe(window, wanted) => hub.subscribe(window, wanted),
        Request::Adjust(window, wanted) => hub.adjust(window, wanted),
        Request::Unsubscribe(window) => {
            hub.unsubscribe(window);
            Vec::new()
        }
    }
}
