//! Shell: owns the QUIC stream of one track.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::net::frames;
use common::wire::media::{End, EndWhy, Gap, GapWhy, TrackRecord};
use quinn::{Connection, SendStream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::feed::Feed;
use super::records::Records;
use super::{Present, STUCK, TapCounters};
use crate::router::SeenTrack;

/// How often the rings are read. A frame of 30 a second waits a sixth of its time at most; a worker is not woken.
const READ_EVERY: Duration = Duration::from_millis(10);

/// How a track is now, as the tap's task tells it to the track's.
#[derive(Clone, Debug)]
pub(super) enum View {
    /// As the worker shows it.
    Seen(Arc<SeenTrack>),
    /// Over.
    Ended(EndWhy),
}

/// What a track's feed needs, for the next look at the worker: the encoding that it reads and the one of which it needs a
/// key frame. A lock, not a message: only the newest is of interest.
#[derive(Debug, Default)]
pub(super) struct Needs(Mutex<(Option<u8>, Option<u8>)>);

impl Needs {
    pub(super) fn get(&self) -> (Option<u8>, Option<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, needs: (Option<u8>, Option<u8>)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = needs;
    }
}

/// The clock of arrivals, as far as it is known outside the worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArrivalClock {
    pub(super) at: Instant,
    pub(super) us: u64,
}

impl ArrivalClock {
    pub(super) fn now_us(self) -> u64 {
        self.us + u64::try_from(self.at.elapsed().as_micros()).unwrap_or(0)
    }
}

/// Why the stream of a track ended early.
#[derive(Debug)]
pub(super) enum TrackLost {
    /// The connection or the stream is gone.
    Connection,
    /// The recorder takes nothing.
    Stuck,
}

/// Sends a track until it is over.
pub(super) async fn run(
    connection: Connection,
    mut feed: Feed,
    clock: ArrivalClock,
    mut view: watch::Receiver<View>,
    needs: Arc<Needs>,
    counters: &TapCounters,
) -> Result<(), TrackLost> {
    let _present = Present::new(&counters.tracks);
    let opened = timeout(STUCK, connection.open_uni()).await.map_err(|_elapsed| TrackLost::Stuck)?;
    let mut send = opened.map_err(|_lost| TrackLost::Connection)?;
    write(&mut send, &feed.header().clone().into()).await?;
    let mut ticks = interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut records = Records::default();
    loop {
        ticks.tick().await;
        let ended = if view.has_changed().unwrap_or(true) {
            match &*view.borrow_and_update() {
                View::Seen(seen) => {
                    feed.see(seen);
                    None
                }
                View::Ended(why) => Some(*why),
            }
        } else {
            None
        };
        loop {
            let more = feed.pump(clock.now_us(), &mut records);
            needs.set(feed.needs());
            flush(&mut send, &mut records, counters).await?;
            if !more {
                break;
            }
        }
        if let Some(why) = ended {
            write(&mut send, &End { why }.into()).await?;
            // Stopped by the recorder already if this fails.
            drop(send.finish());
            // The stream outlives its handle only if the recorder has it all.
            drop(timeout(STUCK, send.stopped()).await);
            return Ok(());
        }
    }
}

async fn flush(
    send: &mut SendStream,
    records: &mut Records,
    counters: &TapCounters,
) -> Result<(), TrackLost> {
    let (packets, bytes) = records.counts();
    counters.packets.fetch_add(packets, Ordering::Relaxed);
    counters.bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    for record in records.take() {
        if let TrackRecord::Gap(Gap { skipped, why }) = record {
            match why {
                GapWhy::Lapped => counters.lapped.fetch_add(skipped, Ordering::Relaxed),
                GapWhy::Lost | GapWhy::Forgotten => counters.lost.fetch_add(skipped, Ordering::Relaxed),
            };
        }
        write(send, &record).await?;
    }
    Ok(())
}

async fn write(send: &mut SendStream, record: &TrackRecord) -> Result<(), TrackLost> {
    match timeout(STUCK, frames::send(send, record)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(frames::WriteFrameError::Frame(error))) => {
            tracing::error!(%error, "a record of a tap is too long");
            Ok(())
        }
        Ok(Err(frames::WriteFrameError::Stream(_))) => Err(TrackLost::Connection),
        Err(_) => Err(TrackLost::Stuck),
    }
}
