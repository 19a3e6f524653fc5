//! Shell: owns one WebSocket.
//!
//! One task for each socket. It reads frames while there is room for them, carries out one request after the other
//! (so that candidates find the peer connection that was asked for before them), answers pings at once, and writes
//! the session's events as notifications. What the client has received is learnt by WebSocket pings that carry the
//! position: with the next socket everything after it is sent again.
//!
//! Bounds: [`QUEUE_MAX`] requests of [`QUEUE_BYTES_MAX`] bytes wait; then nothing is read. More than
//! [`REQUESTS_PER_SECOND`] are slowed down. A client that does not read is cut off after [`WRITE_TIMEOUT`], or when the
//! driver's queue of its events is full.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use common::id::EventSeq;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::fault::{Fault, NOT_JOINED, Task, UNAUTHORIZED};
use super::request::{self, Request};
use super::rpc::{self, Frame};
use super::show::{self, Told};
use crate::cluster::ViewerEnd;
use crate::cluster::op::socket::{JoinedView, SocketOp};
use crate::cluster::op::{Actor, ClientInfo, EndpointView, Event, Op, Refusal, Reply};
use crate::driver::call::{CoreHandle, Note, Notes};
use crate::http::Face;

/// Serves one client until its socket ends.
pub async fn run(face: Face, peer: IpAddr, socket: WebSocket) {
    let (sink, stream) = socket.split();
    let now = Instant::now();
    let task = Socket {
        ending: face.core().ending(),
        face,
        peer,
        sink,
        stream,
        place: Place::Outside { until: now + JOIN_TIMEOUT },
        queue: VecDeque::new(),
        queued_bytes: 0,
        work: None,
        holds_notes: false,
        allowance: Allowance { left: f64::from(BURST), at: now },
        heard_at: now,
        interval: PING_INTERVAL,
        reported_at: now,
    };
    task.run().await;
}

/// Where the client is.
enum Place {
    /// It has not joined yet and must by then.
    Outside { until: Instant },
    /// It takes part in a session.
    Inside(Box<Inside>),
    /// It has left, or was made to, and should end the socket by then.
    Left { until: Instant },
}

/// A client that takes part in a session.
struct Inside {
    /// Bearer of all that it asks for.
    secret: String,
    /// Public name of its connection.
    connection: String,
    notes: Notes,
    /// Newest event that was written, or needs no writing.
    written: EventSeq,
    /// Newest event that the client has received for sure.
    seen: EventSeq,
    /// As the core was told.
    reported: EventSeq,
    /// A WebSocket ping is under way.
    probing: bool,
}

/// A request that waits, with its size.
struct Queued {
    id: Value,
    request: Request,
    bytes: usize,
}

/// What came of a request.
struct Done {
    ids: Vec<Value>,
    outcome: Result<Value, Fault>,
    then: Then,
}

/// What follows from it for the socket.
enum Then {
    Nothing,
    Join(Box<JoinedView>, Notes),
    Resume { secret: String, connection: String, backlog: Vec<Arc<Event>>, head: EventSeq, notes: Notes },
    Leave,
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Why the socket ends.
#[derive(Debug)]
enum End {
    /// By the client, or the path to it.
    Gone,
    /// By us.
    Cut(&'static str),
}

/// What the task woke up for.
enum Wake {
    Done(Done),
    Frame(Option<Result<Message, axum::Error>>),
    Note(Option<Note>),
    Time,
    Ending,
}

struct Socket {
    face: Face,
    peer: IpAddr,
    sink: SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    place: Place,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    work: Option<Work>,
    /// Notes wait until the request in hand is answered.
    holds_notes: bool,
    allowance: Allowance,
    heard_at: Instant,
    interval: Duration,
    reported_at: Instant,
    ending: tokio::sync::watch::Receiver<bool>,
}

impl Socket {
    async fn run(mut self) {
        let end = loop {
            self.begin_work();
            let wake = self.wait().await;
            let done = match wake {
                Wake::Done(done) => self.finish(done).await,
                Wake::Frame(frame) => self.take(frame).await,
                Wake::Note(note) => self.note(note).await,
                Wake::Time => self.check_times(),
                Wake::Ending => Err(End::Cut("masterd ends")),
            };
            let flushed = match done {
                Ok(()) => self.flush().await,
                Err(end) => Err(end),
            };
            if let Err(end) = flushed {
                break end;
            }
        };
        self.end(&end).await;
    }

    async fn wait(&mut self) -> Wake {
        let (now, throttled) = (Instant::now(), self.allowance.wait());
        let full = self.queue.len() >= QUEUE_MAX || self.queued_bytes >= QUEUE_BYTES_MAX;
        let reads = !full && throttled.is_none();
        let mut deadline = self.deadline();
        if !full && let Some(wait) = throttled {
            deadline = deadline.min(now + wait);
        }
        let (holds_notes, work) = (self.holds_notes, &mut self.work);
        let notes = match &mut self.place {
            Place::Inside(inside) if !holds_notes => Some(&mut inside.notes),
            Place::Inside(_) | Place::Left { .. } | Place::Outside { .. } => None,
        };
        let working = async {
            match work {
                Some(work) => work.await,
                None => std::future::pending().await,
            }
        };
        let noting = async {
            match notes {
                Some(notes) => notes.next().await,
                None => std::future::pending().await,
            }
        };
        // Every arm is cancel safe: the work stays where it is, notes and frames are taken whole or not at all. Biased:
        // what was told before an answer is written before it.
        tokio::select! {
            biased;
            note = noting => Wake::Note(note),
            done = working => Wake::Done(done),
            frame = self.stream.next(), if reads => Wake::Frame(frame),
            _ = self.ending.wait_for(|ending| *ending) => Wake::Ending,
            () = sleep_until(deadline) => Wake::Time,
        }
    }

    /// When something has to be looked at next.
    fn deadline(&self) -> Instant {
        match &self.place {
            Place::Outside { until } | Place::Left { until } => *until,
            Place::Inside(inside) => {
                let watchdog = self.heard_at + self.interval * WATCHDOG_INTERVALS;
                if inside.reported < inside.seen {
                    watchdog.min(self.reported_at + REPORT_INTERVAL)
                } else {
                    watchdog
                }
            }
        }
    }

    fn check_times(&mut self) -> Result<(), End> {
        let now = Instant::now();
        match &mut self.place {
            Place::Outside { until } if now >= *until => Err(End::Cut("nobody has joined")),
            Place::Left { until } if now >= *until => Err(End::Cut("the client has left")),
            Place::Outside { .. } | Place::Left { .. } => Ok(()),
            Place::Inside(inside) => {
                if inside.reported < inside.seen && now >= self.reported_at + REPORT_INTERVAL {
                    inside.report(self.face.core());
                    self.reported_at = now;
                }
                if now >= self.heard_at + self.interval * WATCHDOG_INTERVALS {
                    return Err(End::Cut("the client is silent"));
                }
                Ok(())
            }
        }
    }

    // ---- frames

    async fn take(&mut self, frame: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let message = match frame {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                tracing::debug!(peer = %self.peer, error = %error, "socket ended");
                return Err(End::Gone);
            }
            None => return Err(End::Gone),
        };
        match message {
            Message::Text(text) => {
                // Pongs come from the browser also when its page hangs.
                self.heard_at = Instant::now();
                self.allowance.take();
                self.take_text(&text).await
            }
            Message::Pong(bytes) => {
                if let Place::Inside(inside) = &mut self.place {
                    inside.take_pong(&bytes);
                }
                self.probe().await
            }
            Message::Binary(_) => Err(End::Cut("the client sent a binary frame")),
            Message::Close(_) => Err(End::Gone),
            // The library below answers; each costs the sender as much as us.
            Message::Ping(_) => {
                self.allowance.take();
                Ok(())
            }
        }
    }

    async fn take_text(&mut self, text: &str) -> Result<(), End> {
        let call = match rpc::parse(text) {
            Frame::Call(call) => call,
            Frame::Ignored => return Ok(()),
            Frame::Invalid(id, fault) => return self.write(rpc::respond(&id, &Err(fault))).await,
        };
        match request::read(&call) {
            Err(fault) => self.write(rpc::respond(&call.id, &Err(fault))).await,
            Ok(Request::Ping { interval_ms }) => {
                if let Some(interval) = interval_ms {
                    self.interval = Duration::from_millis(interval).clamp(PING_MIN, PING_MAX);
                }
                self.write(rpc::respond(&call.id, &Ok(json!({ "value": "pong" })))).await
            }
            Ok(Request::Echo) => {
                let result = self.decorate(json!({}));
                self.write(rpc::respond(&call.id, &Ok(result))).await
            }
            Ok(request) => {
                self.queued_bytes += text.len();
                self.queue.push_back(Queued { id: call.id, request, bytes: text.len() });
                Ok(())
            }
        }
    }

    /// Every result of one who has joined names the signalling session.
    fn decorate(&self, mut result: Value) -> Value {
        if let (Place::Inside(inside), Value::Object(map)) = (&self.place, &mut result) {
            map.entry("sessionId").or_insert_with(|| json!(inside.secret));
        }
        result
    }

    // ---- requests

    /// Takes up the next request if none is in hand.
    fn begin_work(&mut self) {
        if self.work.is_some() {
            return;
        }
        let Some(next) = self.dequeue() else { return };
        let (id, mut request, mut ids) = (next.id, next.request, Vec::new());
        ids.push(id);
        // Browsers send a dozen candidates at once: the node gets them as one fragment.
        if let Request::Candidate { owner, line: Some(lines) } = &mut request {
            while let Some(Queued { request: Request::Candidate { owner: other, .. }, .. }) =
                self.queue.front()
                && other == owner
                && lines.len() < FRAGMENT_BYTES_MAX
            {
                let Some(more) = self.dequeue() else { break };
                ids.push(more.id);
                if let Request::Candidate { line: Some(line), .. } = more.request {
                    lines.push_str(&line);
                }
            }
        }
        self.holds_notes = matches!(request, Request::ForceUnpublish { .. });
        let core = self.face.core().clone();
        self.work = Some(match (&self.place, request) {
            (Place::Inside(inside), request) => {
                let (secret, connection) = (inside.secret.clone(), inside.connection.clone());
                Box::pin(async move { carry_out(&core, &secret, &connection, ids, request).await })
            }
            (Place::Outside { .. }, Request::Join { token, session, metadata, platform }) => {
                let ip = self.peer.to_canonical().to_string();
                let client = ClientInfo { ip, platform, client_data: metadata };
                let face = self.face.clone();
                Box::pin(async move { join(&face, ids, &token, session, client).await })
            }
            (Place::Outside { .. }, Request::Connect { secret }) => {
                Box::pin(async move { resume(&core, ids, secret).await })
            }
            (_, Request::SessionStatus) => {
                Box::pin(async move { Done { ids, outcome: Ok(json!({ "life": 0 })), then: Then::Nothing } })
            }
            (_, _) => Box::pin(async move {
                let fault = Fault::new(NOT_JOINED, "nobody has joined a session on this socket");
                Done { ids, outcome: Err(fault), then: Then::Nothing }
            }),
        });
    }

    fn dequeue(&mut self) -> Option<Queued> {
        let next = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(next.bytes);
        Some(next)
    }

    async fn finish(&mut self, done: Done) -> Result<(), End> {
        self.work = None;
        if !self.holds_notes {
            self.write_notes().await?;
        }
        self.holds_notes = false;
        let Done { ids, outcome, then } = done;
        match then {
            Then::Nothing => self.answer(&ids, outcome).await,
            Then::Leave => {
                let answered = self.answer(&ids, outcome).await;
                self.leave();
                answered
            }
            Then::Join(view, notes) => {
                self.place = Place::Inside(Box::new(Inside {
                    secret: view.secret,
                    connection: view.connection.id,
                    notes,
                    written: view.head,
                    seen: view.head,
                    reported: view.head,
                    probing: false,
                }));
                self.answer(&ids, outcome).await
            }
            Then::Resume { secret, connection, backlog, head, notes } => {
                let seen = backlog.first().map_or(head, |first| EventSeq(first.seq.0.saturating_sub(1)));
                let inside =
                    Inside { secret, connection, notes, written: seen, seen, reported: seen, probing: false };
                self.place = Place::Inside(Box::new(inside));
                self.answer(&ids, outcome).await?;
                for event in backlog {
                    self.tell(&event).await?;
                }
                self.probe().await
            }
        }
    }

    async fn answer(&mut self, ids: &[Value], outcome: Result<Value, Fault>) -> Result<(), End> {
        let outcome = outcome.map(|result| self.decorate(result));
        for id in ids {
            self.write(rpc::respond(id, &outcome)).await?;
        }
        Ok(())
    }

    // ---- events

    async fn note(&mut self, note: Option<Note>) -> Result<(), End> {
        self.take_note(note).await?;
        self.write_notes().await?;
        self.probe().await
    }

    /// Writes what is there already.
    async fn write_notes(&mut self) -> Result<(), End> {
        while let Place::Inside(inside) = &mut self.place
            && let Some(note) = inside.notes.take()
        {
            self.take_note(Some(note)).await?;
        }
        Ok(())
    }

    async fn take_note(&mut self, note: Option<Note>) -> Result<(), End> {
        match note {
            None => Err(End::Cut("the client reads too slowly")),
            Some(Note::Event(event)) => self.tell(&event).await,
            Some(Note::Closed(ViewerEnd::Replaced)) => Err(End::Cut("another socket has taken over")),
            Some(Note::Closed(ViewerEnd::ConnectionLeft | ViewerEnd::SessionClosed)) => {
                self.leave();
                Ok(())
            }
        }
    }

    async fn tell(&mut self, event: &Event) -> Result<(), End> {
        let Place::Inside(inside) = &mut self.place else { return Ok(()) };
        let told = show::tell(event, &inside.connection);
        if told == Told::Nothing && inside.seen == inside.written {
            inside.seen = event.seq;
        }
        inside.written = event.seq;
        match told {
            Told::Nothing => Ok(()),
            Told::Notification(method, params) => self.write(rpc::notify(method, &params)).await,
            Told::Evicted(params) => {
                self.leave();
                self.write(rpc::notify("participantEvicted", &params)).await
            }
            Told::Left => {
                self.leave();
                Ok(())
            }
        }
    }

    fn leave(&mut self) {
        self.place = Place::Left { until: Instant::now() + LEFT_TIMEOUT };
    }

    /// Asks the client by a ping whether it has received everything.
    async fn probe(&mut self) -> Result<(), End> {
        let Place::Inside(inside) = &mut self.place else { return Ok(()) };
        if inside.probing || inside.seen >= inside.written {
            return Ok(());
        }
        inside.probing = true;
        let position = Bytes::copy_from_slice(&inside.written.0.to_be_bytes());
        self.send(Message::Ping(position)).await
    }

    // ---- writing

    async fn write(&mut self, text: String) -> Result<(), End> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(WRITE_TIMEOUT, self.sink.feed(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Cut("the client does not read")),
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        match timeout(WRITE_TIMEOUT, self.sink.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Cut("the client does not read")),
        }
    }

    async fn end(mut self, end: &End) {
        if let Place::Inside(inside) = &mut self.place {
            inside.report(self.face.core());
        }
        match end {
            End::Gone => tracing::debug!(peer = %self.peer, "socket gone"),
            End::Cut(why) => {
                tracing::debug!(peer = %self.peer, why, "socket cut");
                // Whatever the client makes of it, it is no longer ours.
                drop(timeout(CLOSE_TIMEOUT, self.sink.close()).await);
            }
        }
    }
}

impl Inside {
    fn take_pong(&mut self, bytes: &[u8]) {
        let Ok(position) = bytes.try_into().map(u64::from_be_bytes) else { return };
        if self.probing && position <= self.written.0 {
            self.probing = false;
            self.seen = self.seen.max(EventSeq(position));
        }
    }

    /// Tells the core where a resumption begins.
    fn report(&mut self, core: &CoreHandle) {
        if self.reported < self.seen {
            let op = Op::Socket(SocketOp::Seen { seq: self.seen });
            // What is not taken now is told with the next report; then a few events are sent twice.
            if core.tell(Actor::Bearer(self.secret.clone()), op) {
                self.reported = self.seen;
            }
        }
    }
}

async fn join(face: &Face, ids: Vec<Value>, token: &str, session: String, client: ClientInfo) -> Done {
    let bearer = request::token_part(token).to_owned();
    let joined = face
        .core()
        .attach(Actor::Bearer(bearer), |viewer| Op::Socket(SocketOp::Join { viewer, session, client }))
        .await;
    let (outcome, then) = match joined {
        Ok((Reply::Joined(view), Some(notes))) => {
            (Ok(show::joined(&view, face.settings())), Then::Join(view, notes))
        }
        Ok((Reply::Refused(Refusal::Token), _)) => {
            let shown: String = token.chars().take(SHOWN_CHARS_MAX).collect();
            (Err(Fault::new(UNAUTHORIZED, format!("Token {shown} is not valid"))), Then::Nothing)
        }
        Ok((reply, _)) => (Err(Fault::of(Task::Join, &reply)), Then::Nothing),
        Err(error) => (Err(Fault::call(&error)), Then::Nothing),
    };
    Done { ids, outcome, then }
}

async fn resume(core: &CoreHandle, ids: Vec<Value>, secret: Option<String>) -> Done {
    let Some(secret) = secret else {
        return Done { ids, outcome: Ok(json!({ "value": "OK" })), then: Then::Nothing };
    };
    let resumed =
        core.attach(Actor::Bearer(secret.clone()), |viewer| Op::Socket(SocketOp::Resume { viewer })).await;
    let (outcome, then) = match resumed {
        Ok((Reply::Resumed { connection, backlog, head }, Some(notes))) => {
            let result = json!({ "value": "reconnection successful", "sessionId": secret });
            (Ok(result), Then::Resume { secret, connection, backlog, head, notes })
        }
        Ok((reply, _)) => (Err(Fault::of(Task::Connect, &reply)), Then::Nothing),
        Err(error) => (Err(Fault::call(&error)), Then::Nothing),
    };
    Done { ids, outcome, then }
}

/// Carries out a request of one who has joined.
async fn carry_out(
    core: &CoreHandle,
    secret: &str,
    connection: &str,
    ids: Vec<Value>,
    request: Request,
) -> Done {
    let leaves = request == Request::Leave;
    // Nothing is lost with a candidate for what has ended meanwhile, but the application would get an exception.
    let is_candidate = matches!(request, Request::Candidate { .. });
    let outcome = match plan(connection, request) {
        Plan::Now(outcome) => outcome,
        Plan::Ask(task, op, show) => match core.op(Actor::Bearer(secret.to_owned()), *op).await {
            Ok(Reply::Done) => Ok(json!({})),
            Ok(Reply::Endpoint(view)) => Ok(show(&view)),
            Ok(Reply::Refused(_)) if is_candidate => Ok(json!({})),
            Ok(other) => Err(Fault::of(task, &other)),
            Err(error) => Err(Fault::call(&error)),
        },
    };
    let then = if leaves && outcome.is_ok() { Then::Leave } else { Then::Nothing };
    Done { ids, outcome, then }
}

/// How a request is carried out.
enum Plan {
    /// Without the core.
    Now(Result<Value, Fault>),
    /// By an operation; its endpoint, where it opens one, is shown so.
    Ask(Task, Box<Op>, fn(&EndpointView) -> Value),
}

/// The operation for a request of one who has joined as `connection`.
fn plan(connection: &str, request: Request) -> Plan {
    let other = |op| Plan::Ask(Task::Other, Box::new(Op::Socket(op)), nothing);
    let media = |op, show| Plan::Ask(Task::Stream, Box::new(Op::Socket(op)), show);
    match request {
        Request::Publish { offer, options } => {
            let op = Op::Publish { offer, client: ClientInfo::default(), media: options };
            Plan::Ask(Task::Stream, Box::new(op), published)
        }
        Request::Subscribe { stream, offer: None } => {
            media(SocketOp::Subscribe { stream, offer: None }, offered)
        }
        Request::Subscribe { stream, offer } => media(SocketOp::Subscribe { stream, offer }, answered),
        Request::Answer { stream, answer } => media(SocketOp::Answer { stream, answer }, nothing),
        Request::Reconnect { stream, sdp } if stream.ends_with(&format!("_{connection}")) => {
            media(SocketOp::Republish { offer: sdp }, published)
        }
        Request::Reconnect { stream, sdp } => media(SocketOp::Answer { stream, answer: sdp }, nothing),
        // A browser's last candidate is empty, others name hosts in mDNS: there is nothing to pass on.
        Request::Candidate { line: None, .. } => Plan::Now(Ok(json!({}))),
        Request::Candidate { owner, line: Some(fragment) } => {
            media(SocketOp::Candidates { owner, fragment }, nothing)
        }
        Request::Unpublish => media(SocketOp::Unpublish, nothing),
        Request::Unsubscribe { owner } => media(SocketOp::Unsubscribe { owner }, nothing),
        Request::Leave => Plan::Ask(Task::Other, Box::new(Op::Leave), nothing),
        Request::Signal { to, kind, data } => {
            Plan::Ask(Task::Signal, Box::new(Op::Signal { session: None, to, kind, data }), nothing)
        }
        Request::ChangeStream { property, reason } => {
            media(SocketOp::ChangeStream { property, reason }, nothing)
        }
        Request::ForceDisconnect { connection } => other(SocketOp::ForceDisconnect { connection }),
        Request::ForceUnpublish { stream } => media(SocketOp::ForceUnpublish { stream }, nothing),
        Request::VideoData => Plan::Now(Ok(json!({}))),
        Request::SessionStatus => Plan::Now(Ok(json!({ "life": 0 }))),
        Request::Join { .. } | Request::Connect { .. } => {
            Plan::Now(Err(Fault::new(UNAUTHORIZED, "the client of this socket has joined already")))
        }
        // Answered as they are read.
        Request::Ping { .. } | Request::Echo => Plan::Now(Ok(json!({ "value": "pong" }))),
    }
}

fn nothing(_view: &EndpointView) -> Value {
    json!({})
}

fn published(view: &EndpointView) -> Value {
    json!({ "id": view.stream, "sdpAnswer": view.sdp, "createdAt": view.published_at })
}

fn offered(view: &EndpointView) -> Value {
    json!({ "sdpOffer": view.sdp })
}

fn answered(view: &EndpointView) -> Value {
    json!({ "sdpAnswer": view.sdp })
}

/// Requests that a client may make: a burst, then a rate.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn refill(&mut self) {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * f64::from(REQUESTS_PER_SECOND);
        self.left = (self.left + earned).min(f64::from(BURST));
        self.at = now;
    }

    fn take(&mut self) {
        self.refill();
        self.left -= 1.0;
    }

    /// How long to read nothing; none when the client may go on.
    fn wait(&mut self) -> Option<Duration> {
        self.refill();
        let missing = 1.0 - self.left;
        (missing > 0.0).then(|| Duration::from_secs_f64(missing / f64::from(REQUESTS_PER_SECOND)))
    }
}

/// Requests that wait: a page that joins a large session asks for 50 streams at once.
const QUEUE_MAX: usize = 256;

/// Bytes of requests that wait; the one read last may go beyond it.
const QUEUE_BYTES_MAX: usize = 512 * 1024;

/// A page that subscribes to 50 streams sends some 700 requests within a second.
const BURST: u32 = 2000;

/// Requests per second, in the long run.
const REQUESTS_PER_SECOND: u32 = 100;

/// Characters of a wrong token that are repeated.
const SHOWN_CHARS_MAX: usize = 512;

/// Bytes of candidates that are passed on together.
const FRAGMENT_BYTES_MAX: usize = 8 * 1024;

/// What clients say; assumed of those that say nothing.
const PING_INTERVAL: Duration = Duration::from_secs(5);

const PING_MIN: Duration = Duration::from_secs(1);

const PING_MAX: Duration = Duration::from_secs(60);

/// Silent for so many intervals, a client is gone.
const WATCHDOG_INTERVALS: u32 = 3;

/// A socket whose client does not join, or cannot, is closed after this.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A client that has left closes its socket; else it is closed after this.
const LEFT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that takes nothing for so long is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the core is told what the client has seen: so much is sent twice after a crash of masterd at most.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
