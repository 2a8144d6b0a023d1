//! Which keys are being written by work that has not committed yet.
//!
//! Work that writes a key waits for the work before it that writes the same key. It must: an update of a row that is
//! not there yet counts as "not copied yet" and would be taken for one that inserts it. Keys are compared as bytes,
//! which is exact for a primary key: every change of a row names it by the bytes the change before left there. Secondary
//! unique keys are not compared, since which of their values are equal only their collations know: a lane that runs
//! into one is told by the server, and does its work again in its turn (see [`super::lane`]).

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::literal::Key;

/// Stands for a key of a table. Two keys may share one, at the price of a needless wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(u64);

impl Mark {
    /// The mark of a key.
    pub fn of(table: usize, key: &Key) -> Self {
        let mut hasher = DefaultHasher::new();
        (table, key).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The keys of all work under way.
#[derive(Debug, Clone, Default)]
pub struct KeysInFlight {
    /// The last turn that writes a key.
    writer: HashMap<Mark, u64>,
    by_turn: VecDeque<(u64, Vec<Mark>)>,
}

impl KeysInFlight {
    /// The last turn under way that writes this key.
    pub fn writer(&self, mark: Mark) -> Option<u64> {
        self.writer.get(&mark).copied()
    }

    /// Work of this turn, which comes after all others, writes these keys.
    pub fn begin(&mut self, turn: u64, marks: Vec<Mark>) {
        for &mark in &marks {
            self.writer.insert(mark, turn);
        }
        self.by_turn.push_back((turn, marks));
    }

    /// All work before this turn is committed.
    pub fn committed_before(&mut self, now: u64) {
        while self.by_turn.front().is_some_and(|(turn, _)| *turn < now) {
            let (turn, marks) = self.by_turn.pop_front().expect("it was there a moment ago");
            for mark in marks {
                if self.writer.get(&mark) == Some(&turn) {
                    self.writer.remove(&mark);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_flight_until_its_last_writer_has_committed() {
        let mark = |key: &[u8]| Mark::of(0, &key.into());
        let mut keys = KeysInFlight::default();
        keys.begin(0, vec![mark(b"1"), mark(b"2")]);
        keys.begin(1, vec![mark(b"2")]);
        assert_eq!((keys.writer(mark(b"1")), keys.writer(mark(b"2"))), (Some(0), Some(1)));
        keys.committed_before(1);
        assert_eq!((keys.writer(mark(b"1")), keys.writer(mark(b"2"))), (None, Some(1)));
        keys.committed_before(2);
        assert_eq!(keys.writer(mark(b"2")), None);
        assert_ne!(Mark::of(1, &b"1"[..].into()), mark(b"1"));
    }
}
