//! Pure: no clock, no I/O, no async.
//!
//! Values under small numbers that are used again; each number carries how often it was, so that an old one finds
//! nothing.

use crate::worker::syscall::prefetch;

/// Key of a [`Slab`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub(super) slot: u32,
    generation: u32,
}

impl Key {
    /// One number that no other key of the slab has.
    pub(super) const fn number(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.entries[slot as usize];
            entry.1 = Some(value);
            return Key { slot, generation: entry.0 };
        }
        self.entries.push((0, Some(value)));
        Key { slot: self.entries.len() as u32 - 1, generation: 0 }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.slot as usize).filter(|entry| entry.0 == key.generation)?;
        let value = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(key.slot);
        self.len -= 1;
        Some(value)
    }

    pub(super) fn find(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.slot as usize)?;
        (entry.0 == key.generation).then_some(entry.1.as_ref()).flatten()
    }

    pub(super) fn find_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        if entry.0 == key.generation { entry.1.as_mut() } else { None }
    }

    /// By number alone: for tables that are cleaned when an entry goes.
    pub(super) fn at(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)?.1.as_ref()
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.1.as_mut()
    }

    /// Has the entry of a number in the core's cache soon.
    pub(super) fn prefetch(&self, slot: u32) {
        if let Some(entry) = self.entries.get(slot as usize) {
            prefetch(entry);
        }
    }

    /// The present key of a number in use.
    pub(super) fn key_at(&self, slot: u32) -> Option<Key> {
        let entry = self.entries.get(slot as usize)?;
        entry.1.is_some().then_some(Key { slot, generation: entry.0 })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(slot, (generation, value))| {
            Some((Key { slot: slot as u32, generation: *generation }, value.as_ref()?))
        })
    }

    /// Slots in use or free: all numbers are below.
    pub(super) const fn slots(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing_in_a_slot_that_is_used_again() {
        let mut slab = Slab::default();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!((first.slot, slab.find(first), slab.find(second)), (second.slot, None, Some(&'b')));
        assert_eq!((slab.remove(first), slab.len(), slab.iter().count()), (None, 1, 1));
    }
}
