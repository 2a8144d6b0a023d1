//! Keys the stream has touched since they were last proven equal.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
}

impl DirtyKeys {
    /// For a plan of so many tables.
    pub fn new(tables: usize) -> Self {
        Self { tables: Mutex::new(State { recording: false, keys: vec![HashSet::new(); tables] }) }
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

    /// Takes out up to `most` keys of one table, if any table has some; whoever takes them must prove them, or put
    /// them back.
    pub fn take(&self, most: usize) -> Option<(usize, Vec<Key>)> {
        let mut state = self.lock();
        let (table, keys) = state.keys.iter_mut().enumerate().max_by_key(|(_, k)| k.len())?;
        if keys.is_empty() {
            return None;
        }
        let taken: Vec<Key> = keys.iter().take(most).cloned().collect();
        for key in &taken {
            keys.remove(key);
        }
        Some((table, taken))
    }

    /// Puts keys back that could not be proven.
    pub fn put_back(&self, table: usize, keys: Vec<Key>) {
        self.lock().keys[table].extend(keys);
    }

    /// How many keys are recorded.
    pub fn len(&self) -> usize {
        self.lock().keys.iter().map(HashSet::len).sum()
    }

    /// Whether no key is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
