//! Pure: no clock, no I/O, no async.
//!
//! Packets of one source in order: what came late by a repair is waited for, up to a bound in time and number.

use std::collections::BTreeMap;

use crate::ring::{PacketMeta, RingSeq};

/// Packets that wait for one before them; about a second of 4 Mbit/s.
const HELD_MAX: usize = 512;

/// A packet out of a ring.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// Its place there.
    pub seq: RingSeq,
    /// What is known of it.
    pub meta: PacketMeta,
    /// It, as it arrived.
    pub bytes: Vec<u8>,
    /// Newer ones were there before it.
    pub late: bool,
}

/// What comes next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Next {
    /// This packet.
    Item(Item),
    /// Packets that are given up.
    Missing(u64),
    /// Nothing yet.
    Nothing,
}

/// Puts the packets of one source in order.
#[derive(Debug)]
pub struct Order {
    /// Index of the next packet.
    next: u64,
    highest: u64,
    held: BTreeMap<u64, Item>,
}

impl Order {
    /// Begins with this index.
    #[must_use]
    pub const fn new(next: u64) -> Self {
        Self { next, highest: next, held: BTreeMap::new() }
    }

    /// Takes a packet in. False for one that is too late, or here already.
    pub fn push(&mut self, seq: RingSeq, meta: &PacketMeta, bytes: &[u8]) -> bool {
        if meta.index < self.next || self.held.contains_key(&meta.index) {
            return false;
        }
        let late = meta.index < self.highest;
        self.highest = self.highest.max(meta.index);
        self.held.insert(meta.index, Item { seq, meta: *meta, bytes: bytes.to_vec(), late });
        true
    }

    /// The next packet in order. `give_up_us`: what is missing before a packet that arrived earlier than this is given
    /// up; pass a late one only when the ring has nothing new.
    pub fn pop(&mut self, give_up_us: u64) -> Next {
        let Some(entry) = self.held.first_entry() else { return Next::Nothing };
        let index = *entry.key();
        if index == self.next {
            self.next += 1;
            return Next::Item(entry.remove());
        }
        if entry.get().meta.arrival_us >= give_up_us && self.held.len() <= HELD_MAX {
            return Next::Nothing;
        }
        let missing = index - self.next;
        self.next = index;
        Next::Missing(missing)
    }

    /// Whether packets wait for one that is missing.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(order: &mut Order, index: u64, arrival_us: u64) -> bool {
        let meta = PacketMeta { index, arrival_us, ..PacketMeta::default() };
        order.push(RingSeq(index), &meta, &[1])
    }

    fn pop(order: &mut Order, give_up_us: u64) -> Result<u64, Next> {
        match order.pop(give_up_us) {
            Next::Item(item) => Ok(item.meta.index),
            other @ (Next::Missing(_) | Next::Nothing) => Err(other),
        }
    }

    #[test]
    fn a_late_packet_finds_its_place() {
        let mut order = Order::new(5);
        assert!(push(&mut order, 5, 1) && push(&mut order, 7, 2) && !push(&mut order, 4, 3));
        assert_eq!((pop(&mut order, 0), pop(&mut order, 0)), (Ok(5), Err(Next::Nothing)));
        assert!(order.is_waiting() && push(&mut order, 6, 4) && !push(&mut order, 7, 5));
        let Next::Item(item) = order.pop(0) else { panic!("packet 6") };
        assert!(item.late && item.meta.index == 6);
        assert_eq!((pop(&mut order, 0), pop(&mut order, 0)), (Ok(7), Err(Next::Nothing)));
    }

    #[test]
    fn what_does_not_come_is_given_up_in_time() {
        let mut order = Order::new(5);
        push(&mut order, 8, 100);
        assert_eq!(order.pop(100), Next::Nothing);
        assert_eq!(order.pop(101), Next::Missing(3));
        assert_eq!(pop(&mut order, 0), Ok(8));
        assert!(!push(&mut order, 7, 102), "too late");
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut order = Order::new(0);
        for index in 1..=HELD_MAX as u64 + 1 {
            push(&mut order, index, index);
        }
        assert_eq!(order.pop(0), Next::Missing(1));
    }
}
