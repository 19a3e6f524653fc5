//! Shell: the master's side of `plenum-operator/1`, one console.
//!
//! Three things go on at once: messages of the console are read, operations are carried out (each in a task of its own,
//! a bounded number), and what the console watches is written. Writing waits for a slow console; its windows wait with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::id::OpId;
use common::limits::{OPERATIONS_PER_CONSOLE_MAX, SUBSCRIPTIONS_PER_CONSOLE_MAX};
use common::net::close::{CloseCode, describe};
use common::net::frames::{self, FrameReader};
use common::net::quic::HANDSHAKE_TIMEOUT;
use common::operator::{Source, View};
use common::telemetry::chain;
use common::telemetry::task;
use common::wire::node::ToNode;
use common::wire::operator::{
    Delta, Operate, Operation as Answer, OperationState, OperatorRole, OperatorWelcome, RefusedKind,
    ToMaster, ToOperator, Topic, VERSIONS,
};
use common::wire::statistics::{WATCH_MS_MAX, Watch};
use common::wire::{DecodeError, Message as _};
use quinn::{Connection, SendStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::Shared;
use crate::cluster::op::{Actor, Op, Operation, Query, Reply};
use crate::driver::call::CallError;

/// Messages of a console that were read and not taken up; then reading waits.
const MESSAGES_WAITING_MAX: usize = 64;

/// Who is at the console.
struct Operator {
    name: String,
    role: OperatorRole,
    expires: SystemTime,
}

/// Why a console's connection ends by our decision.
type Refused = (CloseCode, String);

/// Serves a console until its connection ends, or its certificate does.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    connection: Connection,
    role: OperatorRole,
    name: &str,
    expires: SystemTime,
) {
    let Ok(_slot) = shared.consoles.try_acquire() else {
        return CloseCode::Busy.close(&connection, "too many consoles");
    };
    let peer = connection.remote_address();
    let greeted = match timeout(HANDSHAKE_TIMEOUT, greet(shared, &connection, role)).await {
        Ok(greeted) => greeted,
        Err(_) => Err((CloseCode::Protocol, "no greeting".to_owned())),
    };
    let (send, reader) = match greeted {
        Ok(stream) => stream,
        Err((code, why)) => {
            common::warn_limited!(1, %peer, operator = name, error = why, "a console was refused");
            code.close(&connection, &why);
            return;
        }
    };
    tracing::info!(%peer, operator = name, %role, "console connected");
    let operator = Operator { name: name.to_owned(), role, expires };
    let console = Console::new(Arc::clone(shared), &connection, operator);
    // Every arm is cancel safe here: after one of them nothing is read or written any more.
    let why = tokio::select! {
        error = connection.closed() => describe(&error),
        (code, why) = console.run(send, reader) => {
            code.close(&connection, &why);
            why
        }
    };
    tracing::info!(%peer, operator = name, why, "console disconnected");
}

async fn greet(
    shared: &Shared,
    connection: &Connection,
    role: OperatorRole,
) -> Result<(SendStream, FrameReader), Refused> {
    let protocol = |why: String| (CloseCode::Protocol, why);
    let (mut send, receive) = connection.accept_bi().await.map_err(|error| protocol(describe(&error)))?;
    let mut reader = FrameReader::new(receive);
    let first = reader.next().await.map_err(|error| protocol(chain(&error).to_string()))?;
    let first = first.ok_or_else(|| protocol("no greeting".to_owned()))?;
    let first =
        ToMaster::decode(first.kind, &first.body).map_err(|error| protocol(chain(&error).to_string()))?;
    let ToMaster::OperatorHello(hello) = first else {
        return Err(protocol("the first message is not a hello".to_owned()));
    };
    if hello.versions.0 > VERSIONS.1 || hello.versions.1 < VERSIONS.0 {
        let why = format!("this master speaks operator versions {} to {}", VERSIONS.0, VERSIONS.1);
        return Err((CloseCode::Version, why));
    }
    let welcome = ToOperator::from(OperatorWelcome {
        version: VERSIONS.1.min(hello.versions.1),
        cluster: shared.authority.cluster().to_owned(),
        role,
        program: shared.settings.program.clone(),
        at_ms: shared.operators.unix_ms(),
        ext: Vec::new(),
    });
    frames::send(&mut send, &welcome).await.map_err(|error| protocol(chain(&error).to_string()))?;
    Ok((send, reader))
}

/// One console's subscriptions and operations.
struct Console {
    shared: Arc<Shared>,
    operator: Operator,
    address: String,
    views: BTreeMap<u32, View>,
    slots: Arc<Semaphore>,
    answers: mpsc::Sender<ToOperator>,
    answered: mpsc::Receiver<ToOperator>,
}

impl Console {
    fn new(shared: Arc<Shared>, connection: &Connection, operator: Operator) -> Self {
        let (answers, answered) = mpsc::channel(2 * OPERATIONS_PER_CONSOLE_MAX);
        let address = connection.remote_address().ip().to_canonical().to_string();
        let slots = Arc::new(Semaphore::new(OPERATIONS_PER_CONSOLE_MAX));
        Self { shared, operator, address, views: BTreeMap::new(), slots, answers, answered }
    }

    async fn run(mut self, mut send: SendStream, reader: FrameReader) -> Refused {
        let (messages, mut inbox) = mpsc::channel(MESSAGES_WAITING_MAX);
        let work = async {
            loop {
                if let Err(refused) = self.turn(&mut send, &mut inbox).await {
                    return refused;
                }
            }
        };
        // Reading goes on while writing waits for credit, so that both ends cannot wait for each other.
        tokio::select! {
            refused = read(reader, messages) => refused,
            refused = work => refused,
        }
    }

    /// Waits for something to do and does it.
    async fn turn(
        &mut self,
        send: &mut SendStream,
        inbox: &mut mpsc::Receiver<ToMaster>,
    ) -> Result<(), Refused> {
        let mut versions = self.shared.operators.versions();
        self.write_windows(send).await?;
        let left = self.operator.expires.duration_since(SystemTime::now());
        let Ok(left) = left else {
            return Err((CloseCode::Unauthorized, "the operator's certificate has expired".to_owned()));
        };
        // An hour at most: clocks may jump.
        let expires = tokio::time::sleep(left.min(Duration::from_secs(3600)));
        let due = self.next_due();
        // Every arm is cancel safe: channels keep what is not taken, timers and the watch only look.
        tokio::select! {
            message = inbox.recv() => {
                if let Some(message) = message {
                    self.take(message)?;
                    // A console that opens a desktop asks for several windows at once.
                    while let Ok(message) = inbox.try_recv() {
                        self.take(message)?;
                    }
                }
            }
            Some(answer) = self.answered.recv() => write(send, &answer).await?,
            _ = versions.changed() => {}
            () = sleep_opt(due) => {}
            () = expires => {}
        }
        Ok(())
    }

    /// Time until a window that is not on the board is to be looked at again, or one that waited for its interval.
    fn next_due(&self) -> Option<Duration> {
        let now = self.shared.operators.mono_ms();
        let due = self.views.values().filter_map(View::due_ms).filter(|due| *due > now).min()?;
        Some(Duration::from_millis(due - now))
    }

    fn take(&mut self, message: ToMaster) -> Result<(), Refused> {
        match message {
            ToMaster::OperatorHello(_) => return Err((CloseCode::Protocol, "a second hello".to_owned())),
            ToMaster::Subscribe(subscribe) => {
                let sub = subscribe.sub;
                self.views.insert(sub, View::new(subscribe));
                if self.views.len() > SUBSCRIPTIONS_PER_CONSOLE_MAX {
                    return Err((CloseCode::Protocol, "too many subscriptions".to_owned()));
                }
            }
            ToMaster::Adjust(adjust) => {
                if let Some(view) = self.views.get_mut(&adjust.sub) {
                    view.adjust(adjust);
                }
            }
            ToMaster::Unsubscribe(gone) => drop(self.views.remove(&gone.sub)),
            ToMaster::Ack(ack) => {
                if let Some(view) = self.views.get_mut(&ack.sub) {
                    view.acknowledge(ack.seq);
                }
            }
            ToMaster::Operate(operate) => self.operate(operate),
            ToMaster::Recall(recall) => self.recall(recall.op),
            ToMaster::Query(query) => {
                let page = self.shared.operators.read(|board| board.page(&query));
                drop(self.answers.try_send(page.into()));
            }
        }
        Ok(())
    }

    fn operate(&self, operate: Operate) {
        let op = operate.op;
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let why = "too many operations at once".to_owned();
            let state = OperationState::Refused { kind: RefusedKind::Unavailable, why };
            // A console that does not read its answers loses them; it can ask again.
            return drop(self.answers.try_send(Answer { op, state }.into()));
        };
        let operation = Operation {
            op,
            operator: self.operator.name.clone(),
            role: self.operator.role,
            address: self.address.clone(),
            verb: operate.verb,
            expected: operate.expected,
            dry_run: operate.dry_run,
            reason: operate.reason,
        };
        let (core, answers) = (self.shared.operators.core().clone(), self.answers.clone());
        // Ends with its answer, also when the console is gone: what was begun is carried out.
        drop(task::spawn("operation", async move {
            let _slot = slot;
            let state = state_of(core.op(Actor::App, Op::Operate(Box::new(operation))).await);
            drop(answers.send(Answer { op, state }.into()).await);
        }));
    }

    fn recall(&self, op: u64) {
        let (core, answers) = (self.shared.operators.core().clone(), self.answers.clone());
        let operator = self.operator.name.clone();
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return };
        drop(task::spawn("recall", async move {
            let _slot = slot;
            let state = state_of(core.query(Actor::App, Query::Recall { operator, op }).await);
            drop(answers.send(Answer { op, state }.into()).await);
        }));
    }

    /// Writes what has changed in each window that is due.
    async fn write_windows(&mut self, send: &mut SendStream) -> Result<(), Refused> {
        let now = self.shared.operators.mono_ms();
        for view in self.views.values_mut().filter(|view| view.is_due(now)) {
            if let Some(delta) = next_delta(&self.shared, view, now).await {
                write(send, &delta.into()).await?;
            }
        }
        Ok(())
    }
}

async fn next_delta(shared: &Shared, view: &mut View, now_ms: u64) -> Option<Delta> {
    let hub = &shared.operators;
    match view.topic() {
        Topic::Head | Topic::Nodes | Topic::Sessions | Topic::Recordings | Topic::Events => {
            hub.read(|board| view.next(now_ms, &Source::Board(board)))
        }
        Topic::Node(_) | Topic::Session(_) | Topic::Decisions(_) => {
            let ask = |node, session| {
                let watch = ToNode::from(Watch { session, for_ms: WATCH_MS_MAX });
                let envelope = watch.envelope(*shared.epoch.borrow(), OpId::default(), 0);
                // A node that is not there has no numbers.
                let _sent = shared.registry.send(node, None, envelope);
            };
            let rows = hub.rows(view.topic(), view.window(), ask).await;
            let rows = rows.as_deref().map_err(String::as_str);
            hub.read(|board| view.next(now_ms, &Source::Rows { board, rows }))
        }
    }
}

fn state_of(answer: Result<Reply, CallError>) -> OperationState {
    let unavailable = |why: String| OperationState::Refused { kind: RefusedKind::Unavailable, why };
    match answer {
        Ok(Reply::Operation(state)) => state,
        Ok(Reply::Refused(refusal)) => unavailable(refusal.to_string()),
        Ok(_) => unavailable("internal error: another question was answered".to_owned()),
        // The change may still be carried out.
        Err(CallError::Late(_)) => OperationState::Running,
        Err(error) => unavailable(error.to_string()),
    }
}

/// Reads until the console breaks the protocol or is gone.
async fn read(mut reader: FrameReader, messages: mpsc::Sender<ToMaster>) -> Refused {
    loop {
        let envelope = match reader.next().await {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return (CloseCode::Finished, "the console ended its stream".to_owned()),
            Err(error) => return (CloseCode::Protocol, chain(&error).to_string()),
        };
        match ToMaster::decode(envelope.kind, &envelope.body) {
            Ok(message) => drop(messages.send(message).await),
            // A newer console may ask for more than this master knows.
            Err(DecodeError::UnknownKind { .. }) => {}
            Err(error) => return (CloseCode::Protocol, chain(&error).to_string()),
        }
    }
}

async fn write(send: &mut SendStream, message: &ToOperator) -> Result<(), Refused> {
    let sent = frames::send(send, message).await;
    sent.map_err(|error| (CloseCode::Protocol, chain(&error).to_string()))
}

async fn sleep_opt(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
