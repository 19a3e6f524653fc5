//! Shell: owns the task that keeps the link to a master.
//!
//! Turns what the operator link says into the console's messages. `plenum-operator/1` carries overviews and nothing
//! else so far: what a window asks for beyond that is answered with the reason.

use std::collections::BTreeMap;

use common::net::operator_link::{OperatorLink, OperatorLinkState, View};
use common::wire::node::Role;
use common::wire::operator::{NodeRow, OperatorRole, OperatorWelcome, Overview as WireOverview, SessionRow};
use tokio::sync::{mpsc, watch};

use super::source::{Request, Source};
use crate::context::Context;
use crate::desktop::WindowId;
use crate::model::{Link, Message, Node, NodeState, Overview, Session, Topic, Welcome};
use crate::text::Clean;

/// What the console calls itself.
const PROGRAM: &str = concat!("console ", env!("CARGO_PKG_VERSION"));

/// Said where a window asks for more than the link carries.
const NOT_CARRIED: &str = "this master does not tell it: the operator protocol has no message for it yet";

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
    wanted: BTreeMap<WindowId, Topic>,
    told: Option<OperatorLinkState>,
    /// When the overview that was passed on last had come.
    passed: Option<std::time::Instant>,
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
            told: None,
            passed: None,
        }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let ended = match self.context.credentials() {
                Ok(credentials) => {
                    self.operator.clone_from(&credentials.name);
                    let link = OperatorLink::start(&self.context.masters[self.master], credentials, PROGRAM);
                    self.watch(link.view(), &mut requests).await
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
    async fn watch(
        &mut self,
        mut view: watch::Receiver<View>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), Gone> {
        let address = self.context.masters[self.master].clone();
        self.send(Message::Link(Link::Connecting { address: Clean::new(&address) })).await?;
        self.told = None;
        loop {
            // Both are cancel safe.
            tokio::select! {
                request = requests.recv() => match request {
                    None => return Err(Gone),
                    Some(Request::Retry) => return Ok(()),
                    Some(request) => self.take(request).await?,
                },
                changed = view.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let now = view.borrow_and_update().clone();
                    let failed = self.pass_on(now).await?;
                    if failed && self.context.masters.len() > 1 {
                        self.master = (self.master + 1) % self.context.masters.len();
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn wait_for_retry(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), Gone> {
        loop {
            match requests.recv().await {
                None => return Err(Gone),
                Some(Request::Retry) => return Ok(()),
                Some(request) => self.take(request).await?,
            }
        }
    }

    /// Passes on what is new; true when the link is down.
    async fn pass_on(&mut self, view: View) -> Result<bool, Gone> {
        let down = matches!(&view.state, OperatorLinkState::Connecting { why } if !why.is_empty());
        if self.told.as_ref() != Some(&view.state) {
            if let Some(link) = self.link(&view.state) {
                self.send(Message::Link(link)).await?;
            }
            self.told = Some(view.state);
        }
        if let (Some(overview), Some(received)) = (&view.overview, view.received)
            && self.passed != Some(received)
        {
            self.passed = Some(received);
            self.send(Message::Overview(Box::new(overview_of(overview)))).await?;
        }
        Ok(down)
    }

    fn link(&self, state: &OperatorLinkState) -> Option<Link> {
        match state {
            OperatorLinkState::Connecting { why } if why.is_empty() => None,
            OperatorLinkState::Connecting { why } => {
                let why = format!("{}: {why}", self.context.masters[self.master]);
                Some(Link::Down { why: Clean::new(&why), retry_ms: None })
            }
            OperatorLinkState::Up { welcome, .. } => Some(Link::Up(welcome_of(welcome, &self.operator))),
        }
    }

    async fn take(&mut self, request: Request) -> Result<(), Gone> {
        match request {
            Request::Operate(operate) => {
                let result = Err(Clean::new("the operator protocol carries no operations yet"));
                self.send(Message::Operated { op: operate.op, result }).await
            }
            Request::Retry => Ok(()),
            Request::Subscribe(window, topic) => {
                self.wanted.insert(window, topic);
                let why = Clean::new(NOT_CARRIED);
                match topic {
                    Topic::Overview => Ok(()),
                    Topic::Placement(session) => {
                        self.send(Message::Placement { session, decisions: Err(why) }).await
                    }
                    Topic::Session(session) => {
                        self.send(Message::Session { session, detail: Err(why) }).await
                    }
                }
            }
            Request::Unsubscribe(window) => {
                self.wanted.remove(&window);
                Ok(())
            }
        }
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        self.messages.send(message).await.map_err(|_closed| Gone)
    }
}

fn welcome_of(welcome: &OperatorWelcome, operator: &str) -> Welcome {
    Welcome {
        cluster: Clean::new(&welcome.cluster),
        program: Clean::new(&welcome.program),
        operator: Clean::new(&format!("{operator} ({})", welcome.role)),
        may_act: welcome.role != OperatorRole::Viewer,
        actions: Vec::new(),
        still: false,
    }
}

fn overview_of(overview: &WireOverview) -> Overview {
    Overview {
        at_ms: overview.at_ms,
        epoch: overview.epoch.0,
        uptime_ms: overview.uptime_ms,
        nodes: overview.nodes.iter().map(node_of).collect(),
        sessions: overview.sessions.iter().map(session_of).collect(),
        sessions_total: overview.sessions_total,
        connections_total: overview.connections_total,
        streams_total: overview.streams_total,
    }
}

fn node_of(row: &NodeRow) -> Node {
    Node {
        key: row.node,
        name: Clean::new(&row.name),
        recorder: row.role == Role::Recorder,
        state: NodeState::parse(&row.state),
        address: Clean::new(&row.address),
        load: row.load.clone(),
        load_age_ms: row.load_age_ms,
    }
}

fn session_of(row: &SessionRow) -> Session {
    Session {
        key: row.session,
        name: Clean::new(&row.name),
        node: row.node,
        connections: row.connections,
        streams: row.streams,
        created_at_ms: row.created_at_ms,
    }
}

#[cfg(test)]
mod tests {
    use common::id::{Epoch, NodeKey, SessionKey};

    use super::*;

    #[test]
    fn what_the_wire_says_becomes_what_views_read() {
        let wire = WireOverview {
            at_ms: 7,
            epoch: Epoch(3),
            nodes: vec![NodeRow {
                node: NodeKey(1),
                name: "media_\u{1b}[2J".to_owned(),
                role: Role::Recorder,
                state: "waiting-idle-to-terminate".to_owned(),
                address: "10.0.0.1:7".to_owned(),
                load: common::wire::node::Load { cpu_permille: 412, ..Default::default() },
                load_age_ms: None,
                ext: vec![],
            }],
            sessions: vec![SessionRow {
                session: SessionKey(9),
                name: "room".to_owned(),
                node: Some(NodeKey(1)),
                connections: 2,
                streams: 1,
                created_at_ms: 5,
                ext: vec![],
            }],
            sessions_total: 4,
            ..WireOverview::default()
        };
        let overview = overview_of(&wire);
        assert_eq!((overview.at_ms, overview.epoch, overview.sessions_total), (7, 3, 4));
        let node = &overview.nodes[0];
        assert_eq!((&*node.name, node.recorder, node.state), ("media_·[2J", true, NodeState::Draining));
        assert_eq!((node.load.cpu_permille, node.load_age_ms), (412, None));
        let session = &overview.sessions[0];
        assert_eq!((&*session.name, session.node, session.connections), ("room", Some(NodeKey(1)), 2));
    }
}
