//! Pure: no clock, no I/O, no async.
//!
//! Hashed timer wheel with a tick of one millisecond: one timer for each key, set, moved and cancelled in constant
//! time without allocation (only a new highest key grows a table). A deadline beyond one turn of the wheel waits in its
//! slot for the turn that it belongs to.

use std::time::{Duration, Instant};

/// Slots of the wheel, and so milliseconds of one turn. A power of two, a multiple of 64.
const SLOTS: usize = 4096;

/// No entry.
const NONE: u32 = u32::MAX;

/// Dense index of a timer; the owner says what it means.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TimerKey(pub u32);

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Tick at which it fires; meaningless while it is not in a slot.
    tick: u64,
    previous: u32,
    next: u32,
    set: bool,
}

/// All timers of one worker.
#[derive(Debug)]
pub struct Wheel {
    origin: Instant,
    /// Everything up to and including this tick has fired.
    done: u64,
    heads: Box<[u32]>,
    /// One bit for each slot that holds an entry.
    occupied: Box<[u64]>,
    entries: Vec<Entry>,
    count: usize,
}

impl Wheel {
    /// An empty wheel; `now` is tick 0.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            origin: now,
            done: 0,
            heads: vec![NONE; SLOTS].into_boxed_slice(),
            occupied: vec![0; SLOTS / 64].into_boxed_slice(),
            entries: Vec::new(),
            count: 0,
        }
    }

    /// Sets the timer of `key`, replacing an earlier one. It fires at the first tick at or after `deadline`; one in the past fires
    /// at the next tick.
    pub fn set(&mut self, key: TimerKey, deadline: Instant) {
        let since = deadline.saturating_duration_since(self.origin);
        let tick = u64::try_from(since.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(self.done + 1);
        let index = key.0 as usize;
        if index >= self.entries.len() {
            self.entries.resize(index + 1, Entry { tick: 0, previous: NONE, next: NONE, set: false });
        }
        if self.entries[index].set {
            if self.entries[index].tick == tick {
                return;
            }
            self.unlink(key.0);
        }
        self.link(key.0, tick);
    }

    /// Takes the timer of `key` away, if there is one.
    pub fn cancel(&mut self, key: TimerKey) {
        if self.entries.get(key.0 as usize).is_some_and(|entry| entry.set) {
            self.unlink(key.0);
        }
    }

    /// Takes away one timer that is due at `now`; call it until there is none.
    pub fn expired(&mut self, now: Instant) -> Option<TimerKey> {
        let until = u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX);
        if self.count == 0 {
            self.done = self.done.max(until);
            return None;
        }
        // A pause longer than a turn needs only one turn: each slot is looked at once.
        let begin = self.done + 1;
        let end = until.min(self.done + SLOTS as u64);
        for tick in begin..=end {
            let slot = slot_of(tick);
            if self.occupied[slot / 64] & (1 << (slot % 64)) != 0
                && let Some(index) = self.due_in(slot, until)
            {
                // Not done with this tick: it may hold more.
                self.done = tick - 1;
                self.unlink(index);
                return Some(TimerKey(index));
            }
        }
        self.done = self.done.max(until);
        None
    }

    /// Time from `now` until the next timer may fire; at most one turn of the wheel, after which the answer is
    /// better. None without timers.
    #[must_use]
    pub fn next_in(&self, now: Instant) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let first = slot_of(self.done + 1);
        let distance = self.distance_to_occupied(first);
        let at = self.origin + Duration::from_millis(self.done + 1 + distance as u64);
        Some(at.saturating_duration_since(now))
    }

    /// Timers that are set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// No timer is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// An entry of the slot that is due at `until`.
    fn due_in(&self, slot: usize, until: u64) -> Option<u32> {
        let mut index = self.heads[slot];
        while index != NONE {
            let entry = &self.entries[index as usize];
            if entry.tick <= until {
                return Some(index);
            }
            index = entry.next;
        }
        None
    }

    /// Slots from `first` to the next occupied one, around the wheel.
    fn distance_to_occupied(&self, first: usize) -> usize {
        let words = self.occupied.len();
        let head = self.occupied[first / 64] >> (first % 64);
        if head != 0 {
            return head.trailing_zeros() as usize;
        }
        for step in 1..=words {
            let word = self.occupied[(first / 64 + step) % words];
            if word != 0 {
                return step * 64 - first % 64 + word.trailing_zeros() as usize;
            }
        }
        SLOTS
    }

    fn link(&mut self, index: u32, tick: u64) {
        let slot = slot_of(tick);
        let head = self.heads[slot];
        self.entries[index as usize] = Entry { tick, previous: NONE, next: head, set: true };
        if head != NONE {
            self.entries[head as usize].previous = index;
        }
        self.heads[slot] = index;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.count += 1;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { tick, previous, next, .. } = self.entries[index as usize];
        let slot = slot_of(tick);
        if previous == NONE {
            self.heads[slot] = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if self.heads[slot] == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        self.entries[index as usize].set = false;
        self.count -= 1;
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn drain(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut fired: Vec<_> = std::iter::from_fn(|| wheel.expired(now)).map(|key| key.0).collect();
        fired.sort_unstable();
        fired
    }

    #[test]
    fn timers_fire_once_at_their_tick_and_not_before() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        wheel.set(TimerKey(0), origin + ms(10));
        wheel.set(TimerKey(1), origin + ms(10));
        wheel.set(TimerKey(2), origin + ms(5000));
        assert_eq!(wheel.next_in(origin), Some(ms(10)));
        assert!(drain(&mut wheel, origin + ms(9)).is_empty());
        assert_eq!(drain(&mut wheel, origin + ms(10)), [0, 1]);
        assert!(drain(&mut wheel, origin + ms(4999)).is_empty());
        assert_eq!(wheel.next_in(origin + ms(4999)), Some(ms(1)));
        assert_eq!(drain(&mut wheel, origin + ms(5000)), [2]);
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_in(origin + ms(5000)), None);
    }

    #[test]
    fn a_moved_timer_fires_at_its_new_time_and_a_cancelled_one_never() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        wheel.set(TimerKey(7), origin + ms(10));
        wheel.set(TimerKey(7), origin + ms(20));
        wheel.set(TimerKey(8), origin + ms(20));
        wheel.cancel(TimerKey(8));
        wheel.cancel(TimerKey(900));
        assert!(drain(&mut wheel, origin + ms(15)).is_empty());
        assert_eq!(drain(&mut wheel, origin + ms(20)), [7]);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        assert!(drain(&mut wheel, origin + ms(100)).is_empty());
        wheel.set(TimerKey(0), origin + ms(50));
        assert_eq!(drain(&mut wheel, origin + ms(101)), [0]);
    }

    #[test]
    fn a_pause_longer_than_a_turn_loses_nothing() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        for key in 0..10 {
            wheel.set(TimerKey(key), origin + ms(u64::from(key) * 3000 + 1));
        }
        assert_eq!(drain(&mut wheel, origin + ms(1_000_000)), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn random_operations_agree_with_a_sorted_map() {
        let origin = Instant::now();
        for seed in 0..20 {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut wheel = Wheel::new(origin);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0;
            for _ in 0..3000 {
                let key = random.random_range(0..50);
                match random.random_range(0..4) {
                    0 => {
                        let at = now + random.random_range(1..9000);
                        wheel.set(TimerKey(key), origin + ms(at));
                        model.insert(key, at);
                    }
                    1 => {
                        wheel.cancel(TimerKey(key));
                        model.remove(&key);
                    }
                    _ => {
                        now += random.random_range(0..300);
                        let mut expect: Vec<_> =
                            model.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
                        expect.sort_unstable();
                        model.retain(|_, at| *at > now);
                        assert_eq!(drain(&mut wheel, origin + ms(now)), expect, "seed {seed}");
                        let next = model.values().min();
                        let wait = wheel.next_in(origin + ms(now));
                        assert_eq!(wait.is_some(), next.is_some());
                        if let (Some(wait), Some(next)) = (wait, next) {
                            assert!(wait <= ms(next - now), "never late, seed {seed}");
                        }
                    }
                }
                assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
