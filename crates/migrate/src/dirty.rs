//! Keys the stream has touched since they were last proven equal.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::literal::Key;

/// Per table of the plan, keys to be proven again. Records only once [`DirtyKeys::start`] was called: before the first
/// proof begins, every row is unproven anyway.
#[derive(Debug)]
pub struct DirtyKeys {
    tables: Mutex<State>,
}

#[derive(Debug)]
struct State {
    recording: bool,
    keys: Vec<HashSet<Key>>,
    /// Keys taken out and neither proven nor put back.
    in_hand: usize,
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
        state.in_hand -= self.keys.len();
        if !self.proven && state.recording {
            state.keys[self.table].extend(self.keys.drain(..));
        }
    }
}

impl DirtyKeys {
    /// For a plan of so many tables.
    pub fn new(tables: usize) -> Self {
        Self {
            tables: Mutex::new(State { recording: false, keys: vec![HashSet::new(); tables], in_hand: 0 }),
        }
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
        state.in_hand += taken.len();
        Some(InHand { dirty: Arc::clone(self), table, keys: taken, proven: false })
    }

    /// How many keys wait to be taken.
    pub fn waiting(&self) -> usize {
        self.lock().keys.iter().map(HashSet::len).sum()
    }

    /// How many keys are not proven: waiting or in someone's hand.
    pub fn unproven(&self) -> usize {
        let state = self.lock();
        state.in_hand + state.keys.iter().map(HashSet::len).sum::<usize>()
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
}
