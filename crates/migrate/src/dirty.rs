//! Keys the stream has touched since they were last proven equal.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::literal::Key;

/// Bytes of keys taken out at once, nearly: they go into one statement, and a bag's keys are whole rows.
const LOT_BYTES: usize = 1 << 20;

/// Bytes of a bag's values worth remembering: beyond that, comparing all of it again is the lesser evil.
const BAG_BYTES_MAX: usize = 16 << 20;

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
    /// Those that were dirty when somebody last asked for it ([`DirtyKeys::age`]) and were not proven since; they come first.
    older: Vec<HashSet<Key>>,
    bags: HashMap<usize, BagState>,
    /// What was taken out and neither proven nor put back, by the number of the lot it was taken in.
    in_hand: HashMap<u64, Lot>,
    lots: u64,
}

/// Keys in someone's hand; or all of a table, a bag.
#[derive(Debug)]
struct Lot {
    table: usize,
    keys: Vec<Key>,
    whole: bool,
}

impl State {
    fn in_hand(&self) -> usize {
        self.in_hand.values().map(|lot| lot.keys.len() + usize::from(lot.whole)).sum()
    }

    fn waiting(&self) -> usize {
        self.whole() + self.keys.iter().chain(&self.older).map(HashSet::len).sum::<usize>()
    }

    fn whole(&self) -> usize {
        self.bags.values().filter(|bag| bag.whole).count()
    }

    /// All keys of a table that wait to be taken.
    fn of(&self, table: usize) -> impl Iterator<Item = &Key> {
        [&self.keys, &self.older].into_iter().filter_map(move |all| all.get(table)).flatten()
    }
}

/// What else is known of a bag.
#[derive(Debug, Default)]
struct BagState {
    /// Bytes of its values in `keys` and `older`, and of those in hand.
    bytes: usize,
    /// More was touched than is worth remembering: the whole table is to be compared again.
    whole: bool,
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
    /// Whether all of the table, a bag, is to be proven instead.
    pub whole: bool,
    proven: bool,
}

impl InHand {
    /// How many keys are in hand; a whole bag counts as one.
    pub fn count(&self) -> usize {
        self.keys.len() + usize::from(self.whole)
    }

    /// The keys have been compared; what differs is recorded elsewhere.
    pub fn proven(mut self) {
        self.proven = true;
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut state = self.dirty.lock();
        let State { recording, older, bags, in_hand, .. } = &mut *state;
        in_hand.remove(&self.lot);
        if self.proven || !*recording {
            return;
        }
        if let Some(bag) = bags.get_mut(&self.table) {
            bag.whole |= self.whole;
            bag.bytes += self.keys.iter().map(|key| key.len()).sum::<usize>();
        }
        // Who has asked for older keys to be proven may be waiting for these.
        older[self.table].extend(self.keys.drain(..));
    }
}

impl DirtyKeys {
    /// For a plan of so many tables.
    pub fn new(tables: usize) -> Self {
        let none = vec![HashSet::new(); tables];
        Self { tables: Mutex::new(State { keys: none.clone(), older: none, ..State::default() }) }
    }

    /// The keys of `old`, for tables that had those places in its plan, of which `bags` are bags. Keys in someone's hand
    /// are dirty again: what becomes of that hand is told to `old` alone.
    pub fn replanned(old: &Self, places: &[Option<usize>], bags: impl Iterator<Item = usize>) -> Self {
        let old = old.lock();
        let mut keys: Vec<_> = places
            .iter()
            .map(|place| place.map(|i| old.of(i).cloned().collect::<HashSet<Key>>()).unwrap_or_default())
            .collect();
        for lot in old.in_hand.values() {
            if let Some(now) = places.iter().position(|place| *place == Some(lot.table)) {
                keys[now].extend(lot.keys.iter().cloned());
            }
        }
        let was_whole = |place: usize| {
            let in_hand = old.in_hand.values().any(|lot| lot.table == place && lot.whole);
            in_hand || old.bags.get(&place).is_some_and(|bag| bag.whole)
        };
        let bags = bags.map(|table| {
            let bytes = keys[table].iter().map(|key: &Key| key.len()).sum();
            (table, BagState { bytes, whole: places[table].is_some_and(was_whole) })
        });
        let bags = bags.collect();
        let older = vec![HashSet::new(); keys.len()];
        Self { tables: Mutex::new(State { recording: old.recording, keys, older, bags, ..State::default() }) }
    }

    /// Forgets the keys of a table that is to be proven as a whole.
    pub fn forget(&self, table: usize) {
        let mut state = self.lock();
        state.keys[table].clear();
        state.older[table].clear();
        if let Some(bag) = state.bags.get_mut(&table) {
            *bag = BagState::default();
        }
    }

    /// Says which tables are bags: their keys are whole rows, and so many bytes of them may be remembered.
    pub fn with_bags(self, bags: impl Iterator<Item = usize>) -> Self {
        self.lock().bags = bags.map(|table| (table, BagState::default())).collect();
        self
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
        state.older.iter_mut().for_each(HashSet::clear);
        state.bags.values_mut().for_each(|bag| *bag = BagState::default());
    }

    /// Records a key.
    pub fn add(&self, table: usize, key: &Key) {
        let mut state = self.lock();
        let State { recording, keys, older, bags, .. } = &mut *state;
        if !*recording || keys[table].contains(key) || older[table].contains(key) {
            return;
        }
        if let Some(bag) = bags.get_mut(&table) {
            if bag.whole {
                return;
            }
            bag.bytes += key.len();
            if bag.bytes > BAG_BYTES_MAX {
                *bag = BagState { bytes: 0, whole: true };
                keys[table] = HashSet::new();
                older[table] = HashSet::new();
                return;
            }
        }
        keys[table].insert(key.clone());
    }

    /// Takes out keys of the table that has the most, if any has some. `most` says how many of a table's, 0 for one to
    /// be left alone.
    pub fn take(self: &Arc<Self>, most: impl Fn(usize) -> usize) -> Option<InHand> {
        let mut state = self.lock();
        let State { keys, older, bags, in_hand, lots, .. } = &mut *state;
        let whole = |table: &usize| bags.get(table).is_some_and(|bag| bag.whole);
        let wanted = (0..keys.len()).filter(|table| most(*table) > 0);
        let table = wanted.max_by_key(|table| (whole(table), older[*table].len(), keys[*table].len()))?;
        let whole = whole(&table);
        let from = if older[table].is_empty() { &mut keys[table] } else { &mut older[table] };
        let mut bytes = 0;
        let fits = |key: &&Key| {
            let before = bytes;
            bytes += key.len();
            before == 0 || bytes < LOT_BYTES
        };
        let taken: Vec<Key> = from.iter().take(most(table)).take_while(fits).cloned().collect();
        for key in &taken {
            from.remove(key);
        }
        if let Some(bag) = bags.get_mut(&table) {
            bag.whole = false;
            bag.bytes = keys[table].iter().chain(&older[table]).map(|key| key.len()).sum();
        }
        if taken.is_empty() && !whole {
            return None;
        }
        let lot = *lots;
        *lots += 1;
        in_hand.insert(lot, Lot { table, keys: taken.clone(), whole });
        Some(InHand { dirty: Arc::clone(self), table, keys: taken, lot, whole, proven: false })
    }

    /// What is dirty now is to be proven before what will be.
    pub fn age(&self) {
        let State { keys, older, .. } = &mut *self.lock();
        for (keys, older) in keys.iter_mut().zip(older) {
            older.extend(keys.drain());
        }
    }

    /// Whether everything is proven that was dirty when [`DirtyKeys::age`] was last called.
    pub fn aged_are_proven(&self) -> bool {
        let state = self.lock();
        state.in_hand() == 0 && state.whole() == 0 && state.older.iter().all(HashSet::is_empty)
    }

    /// How many keys wait to be taken.
    pub fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// How many keys are not proven: waiting or in someone's hand.
    pub fn unproven(&self) -> usize {
        let state = self.lock();
        state.in_hand() + state.waiting()
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
        drop(dirty.take(|_| 10).unwrap());
        assert_eq!((dirty.waiting(), dirty.unproven()), (1, 1));
        let in_hand = dirty.take(|_| 10).unwrap();
        assert_eq!((in_hand.table, dirty.waiting(), dirty.unproven()), (1, 0, 1));
        in_hand.proven();
        assert_eq!(dirty.unproven(), 0);
        assert!(dirty.take(|_| 10).is_none());
        dirty.add(1, &b"8"[..].into());
        assert!(dirty.take(|table| 1 - table).is_none(), "its table is to be left alone");
    }

    #[test]
    fn what_was_dirty_before_is_proven_before_what_became_so_later() {
        let dirty = Arc::new(DirtyKeys::new(2));
        dirty.start();
        let key = |n: u32| Key::from(n.to_string().into_bytes());
        (0..10).for_each(|n| dirty.add(0, &key(n)));
        dirty.age();
        (0..30).for_each(|n| dirty.add(1, &key(n)));
        dirty.add(0, &key(3));
        assert_eq!((dirty.waiting(), dirty.aged_are_proven()), (40, false));
        drop(dirty.take(|_| 100).unwrap());
        let in_hand = dirty.take(|_| 100).unwrap();
        assert_eq!((in_hand.table, in_hand.keys.len(), dirty.aged_are_proven()), (0, 10, false));
        in_hand.proven();
        assert_eq!((dirty.waiting(), dirty.aged_are_proven()), (30, true));
        let in_hand = dirty.take(|_| 100).unwrap();
        assert_eq!((in_hand.table, dirty.aged_are_proven()), (1, false), "nobody knows of what age they are");
    }

    #[test]
    fn a_bag_of_which_too_much_was_touched_is_to_be_proven_as_a_whole() {
        let dirty = Arc::new(DirtyKeys::new(2).with_bags([1].into_iter()));
        dirty.start();
        let value = |n: usize| Key::from(vec![n as u8; (1 << 20) + n]);
        (0..15).for_each(|n| dirty.add(1, &value(n)));
        assert_eq!(dirty.waiting(), 15);
        (15..20).for_each(|n| dirty.add(1, &value(n)));
        assert_eq!(dirty.waiting(), 1);
        let in_hand = dirty.take(|_| 10).unwrap();
        assert!(in_hand.whole && in_hand.keys.is_empty());
        dirty.add(1, &value(1));
        assert_eq!((dirty.waiting(), dirty.unproven()), (1, 2));
        drop(in_hand);
        assert_eq!((dirty.waiting(), dirty.unproven()), (2, 2));
        let again = dirty.take(|_| 10).unwrap();
        assert_eq!((again.whole, again.keys.len(), dirty.waiting()), (true, 1, 0));
        again.proven();
        assert_eq!(dirty.unproven(), 0);
        assert!(dirty.take(|_| 10).is_none());
    }

    #[test]
    fn keys_follow_their_table_to_another_place_also_out_of_a_hand() {
        let old = Arc::new(DirtyKeys::new(3));
        old.start();
        for (table, key) in [(0, "gone"), (1, "waiting"), (2, "in hand"), (2, "in hand, too")] {
            old.add(table, &key.as_bytes().into());
        }
        let in_hand = old.take(|_| 10).unwrap();
        let new = Arc::new(DirtyKeys::replanned(&old, &[Some(2), None, Some(1)], std::iter::empty()));
        in_hand.proven();
        assert_eq!((new.waiting(), new.unproven()), (3, 3));
        assert_eq!(new.take(|_| 10).unwrap().table, 0);
        new.forget(0);
        assert_eq!(new.take(|_| 10).unwrap().keys, [b"waiting"[..].into()]);
    }
}
