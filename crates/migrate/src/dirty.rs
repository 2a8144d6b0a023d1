//! Keys the stream has touched since they were last proven equal.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::literal::Key;

/// Per table of the plan, keys to be proven again. Records only once [`DirtyKeys::start`] was called: before the first
/// proof begins, every row is unproven anyway.
#[derive(Debug)]
pub struct DirtyKeys {
    tables: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    recording: bool,
    keys: Vec<HashSet<Key>>,
    /// Keys taken out and neither proven nor put back, by the number of the lot they were taken in.
    in_hand: HashMap<u64, (usize, Vec<Key>)>,
    lots: u64,
}

impl State {
    fn in_hand(&self) -> usize {
        self.in_hand.values().map(|(_, keys)| keys.len()).sum()
    }
}

/// Keys taken out to be proven. Unless they are, dropping this makes them dirty again: a proof that is cancelled half
/// way proves nothing.
#[derive(Debug)]
pub struct InHand {
    dirty: Arc<DirtyKeys>,
    /// The table's place in the plan.
    pub table: usize,
    /// The keys.
    pub keys: Vec<Key>,
    lot: u64,
    proven: bool,
}

impl InHand {
    /// The keys have been compared; what differs is recorded elsewhere.
    pub fn proven(mut self) {
        self.proven = true;
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut state = self.dirty.lock();
        state.in_hand.remove(&self.lot);
        if !self.proven && state.recording {
            state.keys[self.table].extend(self.keys.drain(..));
        }
    }
}

impl DirtyKeys {
    /// For a plan of so many tables.
    pub fn new(tables: usize) -> Self {
        Self { tables: Mutex::new(State { keys: vec![HashSet::new(); tables], ..State::default() }) }
    }

    /// The keys of `old`, for tables that had those places in its plan. Keys in someone's hand are dirty again: what
    /// becomes of that hand is told to `old` alone.
    pub fn replanned(old: &Self, places: &[Option<usize>]) -> Self {
        let old = old.lock();
        let mut keys: Vec<_> = places
            .iter()
            .map(|place| place.and_then(|i| old.keys.get(i).cloned()).unwrap_or_default())
            .collect();
        for (table, in_hand) in old.in_hand.values() {
            if let Some(now) = places.iter().position(|place| *place == Some(*table)) {
                keys[now].extend(in_hand.iter().cloned());
            }
        }
        Self { tables: Mutex::new(State { recording: old.recording, keys, ..State::default() }) }
    }

    /// Forgets the keys of a table that is to be proven as a whole.
    pub fn forget(&self, table: usize) {
        self.lock().keys[table].clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, what is touched is recorded.
    pub fn start(&self) {
        self.lock().recording = true;
    }

    /// Forgets everything and stops recording.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.recording = false;
        state.keys.iter_mut().for_each(HashSet::clear);
    }

    /// Records a key.
    pub fn add(&self, table: usize, key: &Key) {
        let mut state = self.lock();
        if state.recording && !state.keys[table].contains(key) {
            state.keys[table].insert(key.clone());
        }
    }

    /// Takes out up to `most` keys of the table that has the most, if any has some.
    pub fn take(self: &Arc<Self>, most: usize) -> Option<InHand> {
        let mut state = self.lock();
        let (table, keys) = state.keys.iter_mut().enumerate().max_by_key(|(_, k)| k.len())?;
        let taken: Vec<Key> = keys.iter().take(most).cloned().collect();
        if taken.is_empty() {
            return None;
        }
        for key in &taken {
            keys.remove(key);
        }
        let lot = state.lots;
        state.lots += 1;
        state.in_hand.insert(lot, (table, taken.clone()));
        Some(InHand { dirty: Arc::clone(self), table, keys: taken, lot, proven: false })
    }

    /// How many keys wait to be taken.
    pub fn waiting(&self) -> usize {
        self.lock().keys.iter().map(HashSet::len).sum()
    }

    /// How many keys are not proven: waiting or in someone's hand.
    pub fn unproven(&self) -> usize {
        let state = self.lock();
        state.in_hand() + state.keys.iter().map(HashSet::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_whose_proof_is_cancelled_are_dirty_again() {
        let dirty = Arc::new(DirtyKeys::new(2));
        dirty.add(1, &b"before"[..].into());
        dirty.start();
        dirty.add(1, &b"7"[..].into());
        drop(dirty.take(10).unwrap());
        assert_eq!((dirty.waiting(), dirty.unproven()), (1, 1));
        let in_hand = dirty.take(10).unwrap();
        assert_eq!((in_hand.table, dirty.waiting(), dirty.unproven()), (1, 0, 1));
        in_hand.proven();
        assert_eq!(dirty.unproven(), 0);
        assert!(dirty.take(10).is_none());
    }

    #[test]
    fn keys_follow_their_table_to_another_place_also_out_of_a_hand() {
        let old = Arc::new(DirtyKeys::new(3));
        old.start();
        for (table, key) in [(0, "gone"), (1, "waiting"), (2, "in hand"), (2, "in hand, too")] {
            old.add(table, &key.as_bytes().into());
        }
        let in_hand = old.take(10).unwrap();
        let new = Arc::new(DirtyKeys::replanned(&old, &[Some(2), None, Some(1)]));
        in_hand.proven();
        assert_eq!((new.waiting(), new.unproven()), (3, 3));
        assert_eq!(new.take(10).unwrap().table, 0);
        new.forget(0);
        assert_eq!(new.take(10).unwrap().keys, [b"waiting"[..].into()]);
    }
}
