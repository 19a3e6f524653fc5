//! Shell: owns the task that lets the made-up cluster run.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::source::{Request, Source};
use crate::demo::{Size, World};
use crate::desktop::WindowId;
use crate::model::{Link, Message, Topic};

/// Seconds of the past that are shown at the start.
const PAST_STEPS: u32 = 120;

/// Above so many sessions the past is short: it would take too long to make.
const PAST_SESSIONS_MAX: u32 = 2_000;

/// Starts the made-up cluster: one step a second, or none after the first picture when it stands `still`.
#[must_use]
pub fn start(size: Size, still: bool) -> Source {
    Source::start("demo", move |requests, messages| run(size, still, requests, messages))
}

/// Messages of a cluster's past up to now, as the console would have got them.
#[must_use]
pub fn past(size: Size, still: bool) -> (World, Vec<Message>) {
    let mut world = World::new(size);
    let steps = if size.sessions > PAST_SESSIONS_MAX { 3 } else { PAST_STEPS };
    let mut messages = vec![Message::Link(Link::Up(World::welcome(still)))];
    for _ in 0..steps {
        world.step();
        messages.push(Message::Overview(Box::new(world.overview())));
    }
    (world, messages)
}

async fn run(
    size: Size,
    still: bool,
    mut requests: mpsc::Receiver<Request>,
    messages: mpsc::Sender<Message>,
) {
    let (mut world, past) = past(size, still);
    for message in past {
        if messages.send(message).await.is_err() {
            return;
        }
    }
    let mut wanted: BTreeMap<WindowId, Topic> = BTreeMap::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        // Both are cancel safe.
        let mut out = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => answer(&mut world, &mut wanted, request),
                None => return,
            },
            _ = second.tick(), if !still => {
                world.step();
                let mut out = vec![Message::Overview(Box::new(world.overview()))];
                let topics: std::collections::BTreeSet<Topic> = wanted.values().copied().collect();
                out.extend(topics.into_iter().filter_map(|topic| detail(&world, topic)));
                out
            }
        };
        for message in out.drain(..) {
            if messages.send(message).await.is_err() {
                return;
            }
        }
    }
}

fn answer(world: &mut World, wanted: &mut BTreeMap<WindowId, Topic>, request: Request) -> Vec<Message> {
    match request {
        Request::Operate(operate) => {
            let result = world.operate(&operate);
            let overview = Message::Overview(Box::new(world.overview()));
            vec![Message::Operated { op: operate.op, result }, overview]
        }
        Request::Retry => Vec::new(),
        Request::Subscribe(window, topic) => {
            wanted.insert(window, topic);
            detail(world, topic).into_iter().collect()
        }
        Request::Unsubscribe(window) => {
            wanted.remove(&window);
            Vec::new()
        }
    }
}

/// What a topic holds now; the overview goes to everyone anyway.
#[must_use]
pub fn detail(world: &World, topic: Topic) -> Option<Message> {
    match topic {
        Topic::Overview => None,
        Topic::Placement(session) => {
            Some(Message::Placement { session, decisions: world.placement(session) })
        }
        Topic::Session(session) => Some(Message::Session { session, detail: world.session(session) }),
    }
}
