//! Shell: one connection of a recorder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::id::NodeKey;
use common::net::close::CloseCode;
use common::net::frames::{self, FrameReader};
use common::net::quic::HANDSHAKE_TIMEOUT;
use common::telemetry::chain;
use common::wire::media::{Clock, EndWhy, FromMedia, Tap, Tapped, ToMedia, TrackId, VERSIONS, Want};
use common::wire::{DecodeError, Envelope, Message as _};
use quinn::{Connection, SendStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::feed::{Begin, Feed};
use super::roster::{Change, Roster};
use super::track::{self, ArrivalClock, Needs, TrackLost, View};
use super::{Present, STUCK, Source};
use crate::router::{Look, LookWant, Seen, SeenTrack};

/// How often the session's worker is looked at: for new tracks, sender reports and grown rings.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks that may fail before the session is taken for closed: its worker may be busy.
const BLIND_MAX: u32 = 20;

/// How long the last packets of a session may take to a recorder.
const FINISH: Duration = Duration::from_secs(2);

/// How long a missing packet is waited for unless the recorder says otherwise, and at most.
const REORDER_MS: u64 = 300;
const REORDER_MS_MAX: u64 = 2_000;

/// Places to resume that are read.
const RESUME_MAX: usize = 1024;

/// Why a tap ends.
struct Ended {
    code: CloseCode,
    why: String,
}

impl Ended {
    fn new(code: CloseCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    fn gone() -> Self {
        Self::new(CloseCode::Finished, "the connection is gone")
    }
}

/// Serves a recorder until it leaves, or may not stay.
pub(super) async fn serve<S: Source>(source: &Arc<S>, connection: Connection, recorder: NodeKey) {
    let peer = connection.remote_address();
    let greeted = match timeout(HANDSHAKE_TIMEOUT, greet(&connection)).await {
        Ok(greeted) => greeted,
        Err(_) => Err(Ended::new(CloseCode::Protocol, "no greeting")),
    };
    let ended = match greeted {
        Ok((tap, send, reader)) => {
            let recording = tap.recording;
            let ended = serve_tap(source, &connection, recorder, tap, send, reader).await;
            tracing::info!(%peer, %recorder, %recording, why = ended.why, "a tap ended");
            ended
        }
        Err(ended) => {
            source.counters().refused.fetch_add(1, Ordering::Relaxed);
            ended
        }
    };
    ended.code.close(&connection, &ended.why);
}

async fn greet(connection: &Connection) -> Result<(Tap, SendStream, FrameReader), Ended> {
    let (send, receive) = connection.accept_bi().await.map_err(|_lost| Ended::gone())?;
    let mut reader = FrameReader::new(receive);
    let first = match reader.next().await {
        Ok(Some(first)) => first,
        Ok(None) => return Err(Ended::new(CloseCode::Protocol, "no greeting")),
        Err(error) => return Err(Ended::new(CloseCode::Protocol, chain(&error).to_string())),
    };
    match ToMedia::decode(first.kind, &first.body) {
        Ok(ToMedia::Tap(tap)) if tap.versions.0 > VERSIONS.1 || tap.versions.1 < VERSIONS.0 => {
            let (low, high) = tap.versions;
            let why = format!("the recorder speaks versions {low} to {high}, this node {VERSIONS:?}");
            Err(Ended::new(CloseCode::Version, why))
        }
        Ok(ToMedia::Tap(tap)) => Ok((tap, send, reader)),
        Ok(_) => Err(Ended::new(CloseCode::Protocol, "the first message is not a tap")),
        Err(error) => Err(Ended::new(CloseCode::Protocol, chain(&error).to_string())),
    }
}

async fn serve_tap<S: Source>(
    source: &Arc<S>,
    connection: &Connection,
    recorder: NodeKey,
    tap: Tap,
    send: SendStream,
    reader: FrameReader,
) -> Ended {
    let (session, recording) = (tap.session, tap.recording);
    let refused = |(code, why): super::Refused| {
        source.counters().refused.fetch_add(1, Ordering::Relaxed);
        common::warn_limited!(5, %recorder, %session, %recording, why, "a tap was refused");
        Ended::new(code, why)
    };
    let life = match source.begin(recorder, session, recording) {
        Ok(life) => life,
        Err(why) => return refused(why),
    };
    let Some(seen) = source.look(Look { session, wants: Vec::new() }).await else {
        return refused((CloseCode::UnknownSession, "the session is not open on this node"));
    };
    tracing::info!(%recorder, %session, %recording, program = %tap.program.escape_debug(), "a tap begins");
    let _present = Present::new(&source.counters().taps);
    let clock = ArrivalClock { at: Instant::now(), us: seen.clock_us };
    let reorder_ms = if tap.reorder_ms == 0 { REORDER_MS } else { u64::from(tap.reorder_ms) };
    let unix_ahead_us = seen.unix_us.saturating_sub(seen.clock_us);
    let mut served = Served {
        source: Arc::clone(source),
        connection: connection.clone(),
        tap,
        life,
        send,
        clock,
        unix_ahead_us,
        reorder_us: reorder_ms.min(REORDER_MS_MAX) * 1000,
        roster: Roster::default(),
        seen,
        running: BTreeMap::new(),
        tasks: JoinSet::new(),
        keyframes: BTreeSet::new(),
        blind: 0,
    };
    match served.run(reader).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

/// The stream of one track.
struct Running {
    view: watch::Sender<View>,
    needs: Arc<Needs>,
    ends: bool,
}

/// A tap that stands.
struct Served<S> {
    source: Arc<S>,
    connection: Connection,
    tap: Tap,
    life: u64,
    send: SendStream,
    clock: ArrivalClock,
    unix_ahead_us: u64,
    reorder_us: u64,
    roster: Roster,
    seen: Seen,
    running: BTreeMap<TrackId, Running>,
    tasks: JoinSet<(TrackId, Result<(), TrackLost>)>,
    /// Tracks of which the recorder wants a key frame.
    keyframes: BTreeSet<TrackId>,
    /// Looks in a row that saw nothing.
    blind: u32,
}

impl<S: Source> Served<S> {
    async fn run(&mut self, mut reader: FrameReader) -> Result<std::convert::Infallible, Ended> {
        let node_us = self.clock.now_us();
        let unix_us = node_us + self.unix_ahead_us;
        self.tell(Tapped { version: VERSIONS.1, node_us, unix_us, ext: Vec::new() }.into()).await?;
        self.compare().await?;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // All arms are cancel safe.
            tokio::select! {
                envelope = reader.next() => match envelope {
                    Ok(Some(envelope)) => self.take(&envelope).await?,
                    Ok(None) => return Err(Ended::gone()),
                    Err(error) if self.connection.close_reason().is_none() => {
                        return Err(Ended::new(CloseCode::Protocol, chain(&error).to_string()));
                    }
                    Err(_) => return Err(Ended::gone()),
                },
                _ = looks.tick() => self.look().await?,
                Some(ended) = self.tasks.join_next() => self.take_end(ended)?,
            }
        }
    }

    async fn tell(&mut self, message: FromMedia) -> Result<(), Ended> {
        match timeout(STUCK, frames::send(&mut self.send, &message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::gone()),
            Err(_) => Err(self.stuck()),
        }
    }

    fn stuck(&self) -> Ended {
        self.source.counters().stuck.fetch_add(1, Ordering::Relaxed);
        Ended::new(CloseCode::TooSlow, "the recorder takes nothing")
    }

    async fn take(&mut self, envelope: &Envelope) -> Result<(), Ended> {
        match ToMedia::decode(envelope.kind, &envelope.body) {
            Ok(ToMedia::Want(want)) => {
                if !self.roster.want(&want) {
                    common::warn_limited!(5, recording = %self.tap.recording, "a recorder wants too much");
                    return Ok(());
                }
                self.settle(&want);
                // At once, so that the encoding is the right one from the start.
                self.look().await
            }
            Ok(ToMedia::Keyframe(wish)) => {
                if self.running.contains_key(&wish.track) {
                    self.keyframes.insert(wish.track);
                }
                Ok(())
            }
            Ok(ToMedia::Ack(ack)) => {
                tracing::trace!(track = %ack.track, ring_seq = ack.ring_seq.0, "safe at the recorder");
                Ok(())
            }
            Ok(ToMedia::Clock(asked)) => {
                let node_us = self.clock.now_us();
                let unix_us = node_us + self.unix_ahead_us;
                self.tell(Clock { asked_us: asked.asked_us, node_us, unix_us }.into()).await
            }
            Ok(ToMedia::Tap(_)) => Err(Ended::new(CloseCode::Protocol, "a second tap")),
            // A newer recorder may ask for more than this node knows.
            Err(DecodeError::UnknownKind { .. }) => Ok(()),
            Err(error) => Err(Ended::new(CloseCode::Protocol, chain(&error).to_string())),
        }
    }

    /// Ends the stream of a track that is not wanted any more.
    fn settle(&mut self, want: &Want) {
        let Some(track) = self.roster.track(want.stream, want.kind) else { return };
        if want.spatial_max.is_none() {
            self.end(track, EndWhy::Unwanted);
        }
    }

    fn end(&mut self, track: TrackId, why: EndWhy) {
        if let Some(running) = self.running.get_mut(&track) {
            running.ends = true;
            drop(running.view.send_replace(View::Ended(why)));
        }
    }

    /// Sends what is left of all tracks: closing the connection would cut it off.
    async fn finish(&mut self, why: EndWhy) {
        let tracks: Vec<TrackId> = self.running.keys().copied().collect();
        tracks.into_iter().for_each(|track| self.end(track, why));
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        drop(timeout(FINISH, ended).await);
    }

    fn take_end(
        &mut self,
        ended: Result<(TrackId, Result<(), TrackLost>), tokio::task::JoinError>,
    ) -> Result<(), Ended> {
        match ended {
            Ok((track, Ok(()))) => {
                self.running.remove(&track);
                Ok(())
            }
            Ok((_, Err(TrackLost::Stuck))) => Err(self.stuck()),
            Ok((_, Err(TrackLost::Connection))) => Err(Ended::gone()),
            Err(error) => Err(Ended::new(CloseCode::Shutdown, format!("internal error: {error}"))),
        }
    }

    async fn look(&mut self) -> Result<(), Ended> {
        let (session, recording) = (self.tap.session, self.tap.recording);
        if let Err((code, why)) = self.source.holds(session, recording, self.life) {
            if code == CloseCode::UnknownSession {
                self.finish(EndWhy::SessionClosed).await;
            }
            return Err(Ended::new(code, why));
        }
        let wants = self.wants();
        match self.source.look(Look { session, wants }).await {
            Some(seen) => {
                self.seen = seen;
                self.blind = 0;
                self.compare().await
            }
            None if self.blind < BLIND_MAX => {
                self.blind += 1;
                Ok(())
            }
            None => Err(Ended::new(CloseCode::UnknownSession, "the session's worker does not answer")),
        }
    }

    fn wants(&mut self) -> Vec<LookWant> {
        let keyframes = std::mem::take(&mut self.keyframes);
        let wants = self.roster.wants().map(|(stream, kind, spatial_max)| {
            let track = self.roster.track(stream, kind);
            let running = track.and_then(|track| self.running.get(&track));
            let (reading, needed) = running.map_or((None, None), |running| running.needs.get());
            let asked = reading.filter(|_| track.is_some_and(|track| keyframes.contains(&track)));
            LookWant { stream, kind, spatial_max, reading, keyframe: needed.or(asked) }
        });
        wants.collect()
    }

    /// Tells the recorder and the tracks' streams what is new, and begins streams that are wanted.
    async fn compare(&mut self) -> Result<(), Ended> {
        for change in self.roster.see(&self.seen.tracks) {
            match change {
                Change::Added(added) => self.tell(added.into()).await?,
                Change::Removed(removed) => {
                    self.end(removed.track, removed.why);
                    self.tell(removed.into()).await?;
                }
            }
        }
        for seen in std::mem::take(&mut self.seen.tracks) {
            let Some(track) = self.roster.track(seen.stream, seen.kind) else { continue };
            match self.running.get(&track) {
                Some(running) if !running.ends => {
                    drop(running.view.send_replace(View::Seen(Arc::new(seen))));
                }
                // Wanted again: begins anew when the former stream is over.
                Some(_) => {}
                None if self.roster.is_wanted(seen.stream, seen.kind) => self.begin(track, seen),
                None => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, track: TrackId, seen: SeenTrack) {
        let now_us = self.clock.now_us();
        let resumes = self.tap.resume.iter().take(RESUME_MAX);
        let mut resumes = resumes.filter(|resume| (resume.stream, resume.kind) == (seen.stream, seen.kind));
        let begin = match resumes.next() {
            Some(resume) => Begin::Resume(*resume),
            None if self.tap.replay_ms == 0 => Begin::Live,
            None => Begin::Since(now_us.saturating_sub(u64::from(self.tap.replay_ms) * 1000)),
        };
        let Some(feed) = Feed::new(now_us, track, &seen, begin, self.reorder_us) else { return };
        // A place is resumed once; later the track goes on from where it is.
        self.tap.resume.retain(|resume| (resume.stream, resume.kind) != (seen.stream, seen.kind));
        let (view, views) = watch::channel(View::Seen(Arc::new(seen)));
        let needs = Arc::new(Needs::default());
        let (connection, clock, source) = (self.connection.clone(), self.clock, Arc::clone(&self.source));
        let told = Arc::clone(&needs);
        self.tasks.spawn(async move {
            let sent = track::run(connection, feed, clock, views, told, source.counters()).await;
            (track, sent)
        });
        self.running.insert(track, Running { view, needs, ends: false });
    }
}
