//! Folding many transactions into one exact state write per key.
//!
//! Applied one after another, the changes of a batch leave each key with one last image or none. Writing only that, in
//! one target transaction, leaves the target at the batch's end exactly as single steps would have, and in between
//! nobody can look. All deletes go before all inserts, so that values swapped between rows of a unique key do not
//! collide on the way.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use crate::literal::{Key, Tuple};

/// A change of one row.
#[derive(Debug, Clone, Hash)]
pub enum Change {
    /// A row is new.
    Insert {
        /// Its key.
        key: Key,
        /// The row.
        after: Tuple,
    },
    /// A row has new values, perhaps a new key.
    Update {
        /// Its key before.
        before: Key,
        /// Its key now.
        key: Key,
        /// The row now.
        after: Tuple,
    },
    /// A row is gone.
    Delete {
        /// Its key.
        key: Key,
    },
}

impl Change {
    /// The keys it touches.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let (first, second) = match self {
            Self::Insert { key, .. } | Self::Delete { key } => (key, None),
            Self::Update { before, key, .. } => (before, Some(key).filter(|k| *k != before)),
        };
        std::iter::once(first).chain(second)
    }
}

impl Change {
    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        let row = match self {
            Self::Insert { after, .. } | Self::Update { after, .. } => after.literals().len(),
            Self::Delete { .. } => 0,
        };
        row + self.keys().map(|key| key.len()).sum::<usize>()
    }
}

/// What a key's row was before the batch, as its first change in the batch tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Before {
    Absent,
    Present,
}

/// The stream contradicts itself: it inserts a row that is there, or removes one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction;

/// The net effect on one table.
#[derive(Debug, Clone, Default)]
pub struct TableFold {
    keys: HashMap<Key, (Before, Option<Tuple>)>,
}

impl TableFold {
    /// Adds a change.
    ///
    /// # Errors
    /// If it contradicts an earlier one.
    pub fn add(&mut self, change: Change) -> Result<(), Contradiction> {
        match change {
            Change::Insert { key, after } => self.put(key, after),
            Change::Delete { key } => self.remove(key),
            Change::Update { before, key, after } if before == key => match self.keys.get_mut(&key) {
                Some((_, Some(last))) => {
                    *last = after;
                    Ok(())
                }
                Some((_, None)) => Err(Contradiction),
                None => {
                    self.keys.insert(key, (Before::Present, Some(after)));
                    Ok(())
                }
            },
            Change::Update { before, key, after } => {
                self.remove(before)?;
                self.put(key, after)
            }
        }
    }

    fn put(&mut self, key: Key, after: Tuple) -> Result<(), Contradiction> {
        let (_, last) = self.keys.entry(key).or_insert((Before::Absent, None));
        match last.replace(after) {
            None => Ok(()),
            Some(_) => Err(Contradiction),
        }
    }

    fn remove(&mut self, key: Key) -> Result<(), Contradiction> {
        match self.keys.get_mut(&key) {
            None => {
                self.keys.insert(key, (Before::Present, None));
                Ok(())
            }
            Some((_, last)) => last.take().map(drop).ok_or(Contradiction),
        }
    }

    /// Keys whose row was there before the batch: what is to be deleted first.
    pub fn deletes(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|(_, (before, _))| *before == Before::Present).map(|(key, _)| key)
    }

    /// Rows that are there after the batch: what is to be inserted then.
    pub fn inserts(&self) -> impl Iterator<Item = &Tuple> {
        self.keys.values().filter_map(|(_, last)| last.as_ref())
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Two folds that do the same hash the same, whatever order their keys came in: the model tells its states apart by it.
impl Hash for TableFold {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.keys.iter().collect::<BTreeMap<_, _>>().hash(state);
    }
}
