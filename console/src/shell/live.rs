//! Shell: owns the task that keeps the link to a master.
//!
//! Turns windows into subscriptions and what the operator link says into the console's messages. After each reconnect it
//! subscribes anew; every delta is acknowledged when the console has taken it.

use std::collections::BTreeMap;

use common::net::operator_link::{OperatorEvent, OperatorLink, OperatorLinkState};
use common::wire::operator::{
    Ack, Adjust, Delta, Operate as WireOperate, Operation, OperationState, OperatorRole, OperatorWelcome,
    Recall, Subscribe, ToMaster, ToOperator, Unsubscribe,
};
use tokio::sync::mpsc;

use super::source::{Request, Source};
use crate::context::Context;
use crate::desktop::WindowId;
use crate::model::{Link, Message, Operate, Operated, Wanted, Welcome};
use crate::text::Clean;

/// What the console calls itself.
const PROGRAM: &str = concat!("console ", env!("CARGO_PKG_VERSION"));

/// Least time between two deltas of one window.
const INTERVAL_MS: u32 = 900;

/// Starts the link to the masters of a context.
#[must_use]
pub fn start(context: Context) -> Source {
    Source::start("live", move |requests, messages| Live::new(context, messages).run(requests))
}

struct Live {
    context: Context,
    /// Which of the masters is tried.
    master: usize,
    /// Name of the operator by its certificate.
    operator: String,
    messages: mpsc::Sender<Message>,
    wanted: BTreeMap<WindowId, (u32, Wanted)>,
    windows: BTreeMap<u32, WindowId>,
    last_sub: u32,
}

/// The console is gone.
struct Gone;

impl Live {
    const fn new(context: Context, messages: mpsc::Sender<Message>) -> Self {
        Self {
            context,
            master: 0,
            operator: String::new(),
            messages,
            wanted: BTreeMap::new(),
            windows: BTreeMap::new(),
            last_sub: 0,
        }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let ended = match self.context.credentials() {
                Ok(credentials) => {
                    self.operator.clone_from(&credentials.name);
                    let link = OperatorLink::start(&self.context.masters[self.master], credentials, PROGRAM);
                    self.follow(link, &mut requests).await
                }
                Err(error) => {
                    let why = common::telemetry::chain(&error).to_string();
                    let down = Link::Down { why: Clean::new(&why), retry_ms: None };
                    match self.send(Message::Link(down)).await {
                        // Nothing changes until the operator has put other files there.
                        Ok(()) => self.wait_for_retry(&mut requests).await,
                        Err(gone) => Err(gone),
                    }
                }
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Follows one link until another is to be tried.
    async fn follow(
        &mut self,
        mut link: OperatorLink,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), Gone> {
        let address = self.context.masters[self.master].clone();
        self.send(Message::Link(Link::Connecting { address: Clean::new(&address) })).await?;
        loop {
            // Both are cancel safe.
            tokio::select! {
                request = requests.recv() => match request {
                    None => return Err(Gone),
                    // Other files may lie there by now.
                    Some(Request::Retry) => return Ok(()),
                    Some(request) => self.take(request, Some(&link)).await?,
                },
                event = link.next() => match event {
                    None => return Ok(()),
                    Some(event) => {
                        let failed = self.pass_on(event, &link).await?;
                        if failed && self.context.masters.len() > 1 {
                            self.master = (self.master + 1) % self.context.masters.len();
                            return Ok(());
                        }
                    }
                },
            }
        }
    }

    async fn wait_for_retry(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), Gone> {
        loop {
            match requests.recv().await {
                None => return Err(Gone),
                Some(Request::Retry) => return Ok(()),
                Some(request) => self.take(request, None).await?,
            }
        }
    }

    /// Passes on what is new; true when the link is down.
    async fn pass_on(&mut self, event: OperatorEvent, link: &OperatorLink) -> Result<bool, Gone> {
        match event {
            OperatorEvent::State(OperatorLinkState::Connecting { why }) => {
                let why = format!("{}: {why}", self.context.masters[self.master]);
                let down = Link::Down { why: Clean::new(&why), retry_ms: None };
                self.send(Message::Link(down)).await?;
                return Ok(true);
            }
            OperatorEvent::State(OperatorLinkState::Up { welcome, .. }) => {
                let up = Link::Up(welcome_of(&welcome, &self.operator));
                for (window, (_, wanted)) in self.wanted.clone() {
                    self.subscribe(window, wanted, Some(link));
                }
                self.send(Message::Link(up)).await?;
            }
            OperatorEvent::Message(ToOperator::Delta(delta)) => self.take_delta(delta, link).await?,
            OperatorEvent::Message(ToOperator::Operation(Operation { op, state })) => {
                self.send(Message::Operated { op, state: operated(state) }).await?;
            }
            OperatorEvent::Message(ToOperator::OperatorWelcome(_) | ToOperator::Page(_)) => {}
        }
        Ok(false)
    }

    async fn take_delta(&self, delta: Delta, link: &OperatorLink) -> Result<(), Gone> {
        let (sub, seq) = (delta.sub, delta.seq);
        // One of a window that was closed meanwhile, or that watches something else by now.
        let Some(window) = self.windows.get(&sub).copied() else { return Ok(()) };
        self.send(Message::Delta { window, delta: Box::new(delta) }).await?;
        link.send(Ack { sub, seq }.into());
        Ok(())
    }

    /// Each subscription has a number of its own, so that late deltas of an earlier one are told apart.
    fn subscribe(&mut self, window: WindowId, wanted: Wanted, link: Option<&OperatorLink>) {
        self.last_sub += 1;
        let sub = self.last_sub;
        if let Some((before, _)) = self.wanted.insert(window, (sub, wanted.clone())) {
            self.windows.remove(&before);
            tell(link, Unsubscribe { sub: before }.into());
        }
        self.windows.insert(sub, window);
        let Wanted { topic, filter, order, window: part } = wanted;
        let interval_ms = INTERVAL_MS;
        tell(
            link,
            Subscribe { sub, topic, filter, order, window: part, interval_ms, ext: Vec::new() }.into(),
        );
    }

    async fn take(&mut self, request: Request, link: Option<&OperatorLink>) -> Result<(), Gone> {
        match request {
            Request::Adjust(window, wanted) => {
                if let Some((sub, known)) = self.wanted.get_mut(&window) {
                    known.clone_from(&wanted);
                    let Wanted { filter, order, window, .. } = wanted;
                    tell(link, Adjust { sub: *sub, filter, order, window }.into());
                }
            }
            Request::Operate(operate) => {
                let op = operate.op;
                if !tell(link, operate_of(operate).into()) {
                    let state = Operated::Refused(Clean::new("the link is down"));
                    self.send(Message::Operated { op, state }).await?;
                }
            }
            Request::Recall(op) => drop(tell(link, Recall { op }.into())),
            Request::Retry => {}
            Request::Subscribe(window, wanted) => self.subscribe(window, wanted, link),
            Request::Unsubscribe(window) => {
                if let Some((sub, _)) = self.wanted.remove(&window) {
                    self.windows.remove(&sub);
                    tell(link, Unsubscribe { sub }.into());
                }
            }
        }
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        self.messages.send(message).await.map_err(|_closed| Gone)
    }
}

fn tell(link: Option<&OperatorLink>, message: ToMaster) -> bool {
    link.is_some_and(|link| link.send(message))
}

fn operate_of(operate: Operate) -> WireOperate {
    let Operate { op, verb, expected, dry_run, reason } = operate;
    WireOperate { op, verb, expected, dry_run, reason, ext: Vec::new() }
}

fn operated(state: OperationState) -> Operated {
    match state {
        OperationState::Impact(impact) => Operated::Impact {
            generation: impact.generation,
            lines: impact.lines.iter().map(|line| Clean::new(line)).collect(),
        },
        OperationState::Done { text } => Operated::Done(Clean::new(&text)),
        OperationState::Refused { why, .. } => Operated::Refused(Clean::new(&why)),
        OperationState::Running => Operated::Running,
        OperationState::Unknown => Operated::Unknown,
    }
}

fn welcome_of(welcome: &OperatorWelcome, operator: &str) -> Welcome {
    Welcome {
        cluster: Clean::new(&welcome.cluster),
        program: Clean::new(&welcome.program),
        operator: Clean::new(&format!("{operator} ({})", welcome.role)),
        may_act: welcome.role >= OperatorRole::Operator,
        may_admin: welcome.role >= OperatorRole::Admin,
        still: false,
    }
}
