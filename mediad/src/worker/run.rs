//! Shell: owns one media thread: its socket, its clock and its queue of commands.
//!
//! One turn: carry out commands, receive a batch, hand each datagram to the engine, let it flush, send, let timers fire, send
//! again, wait. No lock is waited for, no async runtime, and no allocation for a packet. What a datagram means is
//! the engine's business; it is pure and knows neither clock nor socket.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::segment::{Outgoing, Run, runs};
use super::socket::MediaSocket;
use super::statistics::{Board, LoopCounters};
use super::syscall::{self, Alarm, RECEIVE_MESSAGES, ReceiveBatch, SendBatch};

/// Commands that may wait for one worker; more fail at once.
pub const COMMANDS_MAX: usize = 1024;

/// Commands carried out in one turn, so that a burst of them does not hold media up.
const COMMANDS_PER_TURN: usize = 32;

/// Receive calls in one turn before timers and commands get their share again.
const RECEIVES_PER_TURN: usize = 8;

/// Longest wait: an idle worker still turns this often, which the heartbeat shows to the master.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// How often counters are copied out.
const POST_INTERVAL: Duration = Duration::from_millis(250);

/// How much later than wanted a wait may end.
const TIMER_SLACK: Duration = Duration::from_micros(5);

/// Waits for the rest of a frame in one turn; each is [`Seat::gather`] long.
const GATHERS_PER_TURN: usize = 4;

/// A receive call that brings so many messages shows a worker that is late already: it does not wait for more.
const GATHER_BELOW: usize = RECEIVE_MESSAGES / 2;

/// RTCP that comes while there is much of it waits at most so long: then a batch of it costs one turn. Repairs wait
/// longer for the way there and back.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(5);

/// How long a full send buffer is waited for.
const SEND_PATIENCE: Duration = Duration::from_millis(1);

/// What a worker does with what it receives.
pub trait Engine {
    /// What others may tell it.
    type Command: Send + 'static;
    /// What others may read, besides the loop's own counters.
    type Report: Clone + Default + Send + 'static;

    /// Carries out a command.
    fn command(&mut self, now: Instant, command: Self::Command);

    /// Takes in one datagram; the engine may use its bytes as scratch space.
    fn datagram(&mut self, now: Instant, source: SocketAddr, bytes: &mut [u8]);

    /// Fires what is due.
    fn tick(&mut self, now: Instant);

    /// Hands over what is to be sent, one filled area after the other.
    fn flush(&mut self, now: Instant, wire: &mut impl Wire);

    /// What was taken in is a part of something whose rest is about to come, and better sent as a whole.
    fn awaits(&self) -> bool {
        false
    }

    /// Allocations so far that no packet of media caused, other than in [`command`](Self::command).
    fn other_allocations(&self) -> u64 {
        0
    }

    /// Time until [`tick`](Self::tick) is wanted.
    fn next_in(&self, now: Instant) -> Option<Duration>;

    /// Writes the present values of what others may read.
    fn report(&self, report: &mut Self::Report);
}

/// Where an engine's datagrams go.
pub trait Wire {
    /// Sends datagrams that lie in `area`, in order.
    fn send(&mut self, area: &[u8], datagrams: impl Iterator<Item = Outgoing>);
}

/// Wakes a worker; any number of calls before it wakes cost one system call.
#[derive(Debug)]
pub struct Waker {
    alarm: Alarm,
    rung: AtomicBool,
}

impl Waker {
    /// Makes one.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { alarm: Alarm::new()?, rung: AtomicBool::new(false) })
    }

    /// Ends the worker's wait.
    pub fn wake(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.alarm.ring();
        }
    }

    /// Called by the worker before it looks at its queue.
    fn clear(&self) {
        if self.rung.swap(false, Ordering::AcqRel) {
            self.alarm.silence();
        }
    }
}

/// What others read of a worker.
#[derive(Clone, Debug, Default)]
pub struct Snapshot<R> {
    /// Of the loop.
    pub counters: LoopCounters,
    /// Of the engine.
    pub report: R,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// Too many wait already.
    #[error("the media worker is overloaded")]
    Full,
    /// The worker has ended.
    #[error("the media worker has ended")]
    Gone,
}

/// The outside of one worker; cheap to clone.
#[derive(Debug)]
pub struct WorkerHandle<C, R> {
    commands: SyncSender<C>,
    waker: Arc<Waker>,
    turns: Arc<AtomicU64>,
    board: Arc<Board<Snapshot<R>>>,
    local: SocketAddr,
}

impl<C, R> Clone for WorkerHandle<C, R> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            waker: Arc::clone(&self.waker),
            turns: Arc::clone(&self.turns),
            board: Arc::clone(&self.board),
            local: self.local,
        }
    }
}

impl<C, R: Clone> WorkerHandle<C, R> {
    /// Queues a command; never waits.
    ///
    /// # Errors
    /// The command, and why it was not taken.
    pub fn send(&self, command: C) -> Result<(), (C, CommandError)> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) => (command, CommandError::Full),
            TrySendError::Disconnected(command) => (command, CommandError::Gone),
        })?;
        self.waker.wake();
        Ok(())
    }

    /// Turns of the loop so far; grows at least ten times a second.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Counters as of at most a quarter of a second ago.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<R> {
        self.board.read()
    }

    /// Where the worker's socket is bound.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }
}

/// Where and as what a worker runs.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Number of the worker, from 0.
    pub index: usize,
    /// Core that it is bound to.
    pub core: Option<usize>,
    /// How long a worker waits for the rest of a frame, up to four times. The packets of a frame leave a browser 20
    /// microseconds apart; taken in together, they leave as one segmented message to each subscriber.
    pub gather: Duration,
}

/// Starts a media thread. It ends when every handle is dropped. A panic in it ends the process: the cluster recovers
/// the node's sessions elsewhere, which half a node would prevent.
///
/// # Errors
/// No descriptors or threads left.
pub fn start<E: Engine>(
    seat: Seat,
    socket: MediaSocket,
    make: impl FnOnce() -> E + Send + 'static,
) -> std::io::Result<WorkerHandle<E::Command, E::Report>> {
    let (sender, receiver) = sync_channel(COMMANDS_MAX);
    let handle = WorkerHandle {
        commands: sender,
        waker: Arc::new(Waker::new()?),
        turns: Arc::default(),
        board: Arc::new(Board::default()),
        local: socket.local(),
    };
    let waker = Arc::clone(&handle.waker);
    let turns = Arc::clone(&handle.turns);
    let board = Arc::clone(&handle.board);
    let body = move || {
        let _guard = EndWithProcess;
        if let Some(core) = seat.core
            && let Err(error) = syscall::pin_thread(core)
        {
            tracing::warn!(worker = seat.index, core, %error, "cannot bind a worker to its core");
        }
        syscall::set_timer_slack(TIMER_SLACK);
        Loop::new(socket, make(), receiver, waker, turns, board).run(seat.gather);
    };
    std::thread::Builder::new().name(format!("media-{}", seat.index)).spawn(body)?;
    Ok(handle)
}

/// Ends the process when its thread panics; the panic's message has been written by then.
struct EndWithProcess;

impl Drop for EndWithProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a media worker panicked; the process ends");
            std::process::abort();
        }
    }
}

/// State of one media thread.
struct Loop<E: Engine> {
    engine: E,
    receive: ReceiveBatch,
    feedback: ReceiveBatch,
    /// RTCP is not looked at before.
    feedback_at: Instant,
    egress: Egress,
    commands: Receiver<E::Command>,
    waker: Arc<Waker>,
    turns: Arc<AtomicU64>,
    board: Arc<Board<Snapshot<E::Report>>>,
    counters: LoopCounters,
    snapshot: Snapshot<E::Report>,
    post_at: Instant,
    /// Allocations of the thread's start and of commands.
    other_allocations: u64,
}

/// The sending half of the socket.
struct Egress {
    socket: MediaSocket,
    batch: SendBatch,
    runs: Vec<Run>,
    counters: LoopCounters,
}

impl Wire for Egress {
    fn send(&mut self, area: &[u8], datagrams: impl Iterator<Item = Outgoing>) {
        self.runs.clear();
        self.runs.extend(runs(datagrams, self.batch.segmentation()));
        let report = self.batch.send(&self.socket, area, &self.runs, SEND_PATIENCE);
        self.counters.datagrams_out += report.datagrams;
        self.counters.bytes_out += report.bytes;
        self.counters.messages_out += report.messages;
        self.counters.send_calls += report.calls;
        self.counters.refused_out += report.refused;
    }
}

impl<E: Engine> Loop<E> {
    fn new(
        socket: MediaSocket,
        engine: E,
        commands: Receiver<E::Command>,
        waker: Arc<Waker>,
        turns: Arc<AtomicU64>,
        board: Arc<Board<Snapshot<E::Report>>>,
    ) -> Self {
        let batch = SendBatch::new(socket.is_v6());
        Self {
            engine,
            receive: ReceiveBatch::new(),
            feedback: ReceiveBatch::new(),
            feedback_at: clock(),
            egress: Egress {
                socket,
                batch,
                runs: Vec::with_capacity(4096),
                counters: LoopCounters::default(),
            },
            commands,
            waker,
            turns,
            board,
            counters: LoopCounters::default(),
            snapshot: Snapshot::default(),
            post_at: clock(),
            other_allocations: 0,
        }
    }

    fn run(mut self, gather: Duration) {
        let mut now = clock();
        let mut ready = true;
        self.other_allocations = syscall::thread_allocations();
        while self.carry_out_commands(now) {
            if ready {
                self.take_datagrams(now, gather);
            }
            self.take_feedback(now);
            self.engine.tick(now);
            self.engine.flush(now, &mut self.egress);
            self.counters.turns += 1;
            self.turns.store(self.counters.turns, Ordering::Relaxed);
            let end = clock();
            self.counters.lag.add(end.saturating_duration_since(now));
            if end >= self.post_at {
                self.post(end);
            }
            ready = self.wait(end);
            now = clock();
        }
    }

    /// Waits until there is something to do. True when it is media, or anything else but RTCP.
    fn wait(&self, now: Instant) -> bool {
        let wait = self.engine.next_in(now).unwrap_or(IDLE_WAIT).min(IDLE_WAIT);
        let (socket, alarm) = (self.egress.socket.as_fd(), self.waker.alarm.as_fd());
        let rest = self.feedback_at.saturating_duration_since(now);
        match self.egress.socket.feedback() {
            Some(feedback) if rest.is_zero() => {
                let [ready, ..] = syscall::wait_readable([socket, alarm, feedback.as_fd()], wait);
                ready
            }
            Some(_) => syscall::wait_readable([socket, alarm], wait.min(rest))[0],
            None => syscall::wait_readable([socket, alarm], wait)[0],
        }
    }

    /// False when all handles are gone.
    fn carry_out_commands(&mut self, now: Instant) -> bool {
        self.waker.clear();
        let before = syscall::thread_allocations();
        let goes_on = self.carry_out_some(now);
        self.other_allocations += syscall::thread_allocations() - before;
        goes_on
    }

    fn carry_out_some(&mut self, now: Instant) -> bool {
        for _ in 0..COMMANDS_PER_TURN {
            match self.commands.try_recv() {
                Ok(command) => {
                    self.counters.commands += 1;
                    self.engine.command(now, command);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        // More may wait: do not sleep on them.
        self.waker.wake();
        true
    }

    fn take_datagrams(&mut self, mut now: Instant, gather: Duration) {
        let mut gathers = if gather.is_zero() { 0 } else { GATHERS_PER_TURN };
        for _ in 0..RECEIVES_PER_TURN {
            let messages = match self.receive.receive(&self.egress.socket) {
                Ok(messages) => messages,
                Err(_counted) => {
                    self.counters.receive_errors += 1;
                    return;
                }
            };
            if messages == 0 {
                return;
            }
            hand_over(&mut self.receive, messages, now, &mut self.engine, &mut self.counters);
            if gathers > 0 && messages < GATHER_BELOW && self.engine.awaits() {
                gathers -= 1;
                std::thread::sleep(gather);
                now = clock();
                continue;
            }
            self.engine.flush(now, &mut self.egress);
            if messages < RECEIVE_MESSAGES {
                return;
            }
            now = clock();
        }
    }

    /// Takes the RTCP of the last milliseconds in. What it leads to is sent at the end of the turn.
    fn take_feedback(&mut self, now: Instant) {
        let Some(socket) = self.egress.socket.feedback().filter(|_| now >= self.feedback_at) else { return };
        for _ in 0..RECEIVES_PER_TURN {
            let Ok(messages) = self.feedback.receive(socket) else {
                self.counters.receive_errors += 1;
                return;
            };
            if messages == 0 {
                return;
            }
            self.feedback_at = now + FEEDBACK_INTERVAL;
            hand_over(&mut self.feedback, messages, now, &mut self.engine, &mut self.counters);
            if messages < RECEIVE_MESSAGES {
                return;
            }
        }
    }

    fn post(&mut self, now: Instant) {
        self.post_at = now + POST_INTERVAL;
        let sent = self.egress.counters;
        let allocations = syscall::thread_allocations();
        self.snapshot.counters = LoopCounters {
            datagrams_out: sent.datagrams_out,
            bytes_out: sent.bytes_out,
            messages_out: sent.messages_out,
            send_calls: sent.send_calls,
            refused_out: sent.refused_out,
            drops_in: u64::from(self.receive.drops()) + u64::from(self.feedback.drops()),
            cpu_ns: u64::try_from(syscall::thread_cpu().as_nanos()).unwrap_or(u64::MAX),
            allocations,
            packet_allocations: allocations - self.other_allocations - self.engine.other_allocations(),
            ..self.counters
        };
        self.engine.report(&mut self.snapshot.report);
        self.board.post(&mut self.snapshot);
    }
}

/// Gives what one receive call brought to the engine.
fn hand_over(
    batch: &mut ReceiveBatch,
    messages: usize,
    now: Instant,
    engine: &mut impl Engine,
    counters: &mut LoopCounters,
) {
    counters.messages_in += messages as u64;
    batch.for_each(messages, |source, bytes| {
        counters.datagrams_in += 1;
        counters.bytes_in += bytes.len() as u64;
        engine.datagram(now, source, bytes);
    });
}

fn clock() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::worker::socket::Sharing;

    /// Sends each datagram back three times, and says when its timer fired.
    struct Echo {
        area: Vec<u8>,
        outgoing: Vec<Outgoing>,
        timer: Option<Instant>,
        fired: SyncSender<()>,
    }

    impl Engine for Echo {
        type Command = Duration;
        type Report = usize;

        fn command(&mut self, now: Instant, command: Duration) {
            self.timer = Some(now + command);
        }

        fn datagram(&mut self, _now: Instant, destination: SocketAddr, bytes: &mut [u8]) {
            for _ in 0..3 {
                self.outgoing.push(Outgoing { destination, offset: self.area.len(), length: bytes.len() });
                self.area.extend_from_slice(bytes);
            }
        }

        fn tick(&mut self, now: Instant) {
            if self.timer.is_some_and(|at| at <= now) {
                self.timer = None;
                self.fired.try_send(()).unwrap();
            }
        }

        fn flush(&mut self, _now: Instant, wire: &mut impl Wire) {
            wire.send(&self.area, self.outgoing.drain(..));
            self.area.clear();
        }

        fn next_in(&self, now: Instant) -> Option<Duration> {
            self.timer.map(|at| at.saturating_duration_since(now))
        }

        fn report(&self, report: &mut usize) {
            *report = 42;
        }
    }

    fn wait_for(mut condition: impl FnMut() -> bool) {
        let end = clock() + Duration::from_secs(10);
        while !condition() {
            assert!(clock() < end, "in time");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_worker_echoes_fires_timers_counts_and_ends() {
        let socket = MediaSocket::open("127.0.0.1:0".parse().unwrap(), Sharing::Own).unwrap();
        let (fired, on_fire) = sync_channel(8);
        let make = move || Echo { area: Vec::new(), outgoing: Vec::new(), timer: None, fired };
        let worker = start(
            Seat { index: 0, core: Some(syscall::allowed_cores()[0]), gather: Duration::ZERO },
            socket,
            make,
        )
        .unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.send_to(b"hello", worker.local()).unwrap();
        let mut bytes = [0; 100];
        for _ in 0..3 {
            assert_eq!(client.recv(&mut bytes).unwrap(), 5);
            assert_eq!(&bytes[..5], b"hello");
        }
        worker.send(Duration::from_millis(30)).unwrap();
        on_fire.recv_timeout(Duration::from_secs(10)).unwrap();
        wait_for(|| worker.snapshot().counters.commands == 1);
        let snapshot = worker.snapshot();
        assert_eq!((snapshot.counters.datagrams_in, snapshot.counters.datagrams_out), (1, 3));
        assert_eq!(snapshot.counters.messages_out, 1, "three in one segmented message");
        assert_eq!(snapshot.report, 42);
        let turns = worker.turns();
        wait_for(|| worker.turns() > turns);
        drop(worker);
        assert!(
            on_fire.recv_timeout(Duration::from_secs(10)).is_err(),
            "the engine is dropped with its thread"
        );
    }
}
