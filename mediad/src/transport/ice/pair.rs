//! Pure: no clock, no I/O, no async.
//!
//! One remote address and how far its checks have come. All our candidates share one socket and one component, so
//! an address of the client is a candidate pair (RFC 8445 section 6.1.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Checks of a pair that never answered before it is left alone.
const ATTEMPTS_MAX: u8 = 8;

/// First retransmission of a check; doubled each time up to [`RETRANSMIT_MAX`].
const RETRANSMIT_FIRST: Duration = Duration::from_millis(100);

/// Longest pause between retransmissions.
const RETRANSMIT_MAX: Duration = Duration::from_millis(1600);

/// Answers that one address gets at once, and how long it takes to earn one. A browser sends a check every 48 ms
/// for each of its own addresses while it connects.
const ANSWERS_BURST: u32 = 60;
const ANSWER_PERIOD: Duration = Duration::from_millis(25);

/// A remote address.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) remote: SocketAddr,
    pub(super) priority: u32,
    /// The address answered a check of ours, or needs not to.
    pub(super) valid: bool,
    /// The client nominated it before it was valid.
    pub(super) nominated: bool,
    /// Newest authentic packet from there.
    pub(super) heard_at: Option<Instant>,
    /// Newest authentic media from there.
    pub(super) media_at: Option<Instant>,
    /// When the next check is due; none when it is left alone.
    pub(super) check_at: Option<Instant>,
    /// Checks since the last answer.
    pub(super) unanswered: u8,
    answers: Budget,
}

impl Pair {
    pub(super) fn new(now: Instant, remote: SocketAddr, priority: u32) -> Self {
        Self {
            remote,
            priority,
            valid: false,
            nominated: false,
            heard_at: None,
            media_at: None,
            check_at: None,
            unanswered: 0,
            answers: Budget { left: ANSWERS_BURST, since: now },
        }
    }

    /// Makes a check due at once, and worth retransmitting.
    pub(super) fn trigger(&mut self, now: Instant) {
        self.unanswered = 0;
        self.check_at = Some(now);
    }

    /// Records that a check was sent and plans the next one.
    pub(super) fn sent(&mut self, now: Instant, plan: Plan) {
        let pause = match plan {
            Plan::Connect | Plan::Search if self.unanswered < ATTEMPTS_MAX => {
                Some((RETRANSMIT_FIRST * (1 << self.unanswered.min(8))).min(RETRANSMIT_MAX))
            }
            // Something must be found: go on slowly.
            Plan::Search => Some(RETRANSMIT_MAX),
            Plan::Connect => None,
            Plan::Every(pause) => Some(pause),
        };
        self.unanswered = self.unanswered.saturating_add(1);
        self.check_at = pause.map(|pause| now + pause);
    }

    /// True if one more answer to this address is within its rate.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        self.answers.take(now)
    }

    /// True if something authentic came within `span`.
    pub(super) fn heard_within(&self, now: Instant, span: Duration) -> bool {
        self.heard_at.is_some_and(|at| now.saturating_duration_since(at) < span)
    }
}

/// How the checks of a pair go on if they are not answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    /// A few retransmissions.
    Connect,
    /// A few retransmissions, then slowly for ever: there is no other pair.
    Search,
    /// At this interval.
    Every(Duration),
}

/// A token bucket.
#[derive(Debug)]
struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let periods = now.saturating_duration_since(self.since).as_millis() / ANSWER_PERIOD.as_millis();
        let earned = u32::try_from(periods).unwrap_or(ANSWERS_BURST);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(ANSWERS_BURST);
            self.since = now;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}
