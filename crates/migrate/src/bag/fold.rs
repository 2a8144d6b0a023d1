//! Folding the changes of a bag: of each value, only how many rows more or fewer there are in the end counts.

use std::collections::HashMap;

use crate::fold::Change;
use crate::literal::Key;

/// The net effect of changes on a bag.
#[derive(Debug, Clone, Default)]
pub struct BagFold {
    /// Rows gained or lost of each value; never 0.
    values: HashMap<Key, i64>,
    /// Values of which rows are lost.
    losing: usize,
    bytes: usize,
}

impl BagFold {
    /// Adds a change.
    pub fn add(&mut self, change: Change) {
        match change {
            Change::Insert { key, .. } => self.count(key, 1),
            Change::Delete { key } => self.count(key, -1),
            Change::Update { before, key, .. } => {
                self.count(before, -1);
                self.count(key, 1);
            }
        }
    }

    /// Adds rows of a value, or takes them away.
    pub fn count(&mut self, value: Key, rows: i64) {
        let before = self.of(&value);
        let after = before.saturating_add(rows);
        self.losing = self.losing + usize::from(after < 0) - usize::from(before < 0);
        match (before, after) {
            (0, 0) => {}
            (_, 0) => {
                self.bytes -= value.len();
                self.values.remove(&value);
            }
            (0, _) => {
                self.bytes += value.len();
                self.values.insert(value, after);
            }
            _ => {
                self.values.insert(value, after);
            }
        }
    }

    /// Rows gained (or lost, if negative) of a value.
    pub fn of(&self, value: &Key) -> i64 {
        self.values.get(value).copied().unwrap_or(0)
    }

    /// Values of which there are more rows than before, and how many more.
    pub fn gained(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.values.iter().filter(|(_, rows)| **rows > 0).map(|(value, rows)| (value, rows.unsigned_abs()))
    }

    /// Values of which there are fewer rows than before, and how many fewer.
    pub fn lost(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.values.iter().filter(|(_, rows)| **rows < 0).map(|(value, rows)| (value, rows.unsigned_abs()))
    }

    /// Whether there are fewer rows of any value.
    pub fn loses(&self) -> bool {
        self.losing > 0
    }

    /// Bytes of the values held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is changed in the end.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Key {
        text.as_bytes().into()
    }

    #[test]
    fn changes_of_a_value_add_up_and_those_that_cancel_leave_nothing() {
        let mut fold = BagFold::default();
        fold.count(value("1"), 1);
        fold.count(value("1"), 1);
        fold.count(value("22"), -1);
        assert_eq!((fold.gained().collect::<Vec<_>>(), fold.loses()), (vec![(&value("1"), 2)], true));
        assert_eq!((fold.lost().collect::<Vec<_>>(), fold.bytes()), (vec![(&value("22"), 1)], 3));
        fold.count(value("22"), 1);
        assert!(!fold.loses());
        fold.count(value("1"), -3);
        assert_eq!((fold.of(&value("1")), fold.loses(), fold.bytes()), (-1, true, 1));
        fold.count(value("1"), 1);
        assert!(fold.is_empty() && !fold.loses() && fold.bytes() == 0);
    }
}
