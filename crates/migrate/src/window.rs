//! Windows: the stretches of the stream in which rows that were read directly may have changed.
//!
//! A window opens between two transactions, at a position R, and from then on records every key of its table that the
//! stream touches. Once the rows are read, and after them the end of the source's binary log (H), it closes at Q, the
//! first transaction boundary at or past H. A key touched in (R, Q] may have been read in an old or a new version; any
//! other key has at Q the value that was read, since everything up to R was visible before the read began and
//! everything the read could see lies at or before H.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};

use model::BinlogPosition;

use crate::literal::Key;

/// Names an open window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowId(u64);

/// A window that has closed: what was touched in it, and what its opener wanted done at Q.
#[derive(Debug)]
pub struct Closed<P> {
    /// Keys of the window's table that the stream touched in (R, Q].
    pub touched: HashSet<Key>,
    /// The opener's payload.
    pub payload: P,
}

#[derive(Debug, Clone)]
struct Window<P> {
    table: usize,
    touched: HashSet<Key>,
    closing: Option<(BinlogPosition, P)>,
}

/// All windows open at one moment.
#[derive(Debug, Clone)]
pub struct Windows<P> {
    next: u64,
    open: HashMap<WindowId, Window<P>>,
}

impl<P> Default for Windows<P> {
    fn default() -> Self {
        Self { next: 0, open: HashMap::new() }
    }
}

impl<P> Windows<P> {
    /// Opens a window over a table. Only to be called between two transactions.
    pub fn open(&mut self, table: usize) -> WindowId {
        let id = WindowId(self.next);
        self.next += 1;
        self.open.insert(id, Window { table, touched: HashSet::new(), closing: None });
        id
    }

    /// Whether any window watches this table.
    pub fn watches(&self, table: usize) -> bool {
        self.open.values().any(|w| w.table == table)
    }

    /// Records that the stream touched a key.
    pub fn touch(&mut self, table: usize, key: &Key) {
        for window in self.open.values_mut().filter(|w| w.table == table) {
            if !window.touched.contains(key) {
                window.touched.insert(key.clone());
            }
        }
    }

    /// Says that the rows have been read, and that the binary log ended at `high` afterwards. An unknown window, as
    /// one given up, is left alone.
    pub fn close(&mut self, id: WindowId, high: BinlogPosition, payload: P) {
        if let Some(window) = self.open.get_mut(&id) {
            window.closing = Some((high, payload));
        }
    }

    /// Forgets a window whose rows will not come.
    pub fn give_up(&mut self, id: WindowId) {
        self.open.remove(&id);
    }

    /// Takes out the windows that close at this transaction boundary, oldest first.
    pub fn take_due(&mut self, boundary: &BinlogPosition) -> Vec<Closed<P>> {
        let is_due = |w: &Window<P>| w.closing.as_ref().is_some_and(|(high, _)| boundary >= high);
        let mut due: Vec<WindowId> = self.open.iter().filter(|(_, w)| is_due(w)).map(|(id, _)| *id).collect();
        due.sort_unstable();
        let taken = due.iter().filter_map(|id| self.open.remove(id));
        taken.filter_map(|w| w.closing.map(|(_, payload)| Closed { touched: w.touched, payload })).collect()
    }
}

/// By what the windows hold and which is older, not by their names: the model tells its states apart by it.
impl<P: Hash> Hash for Windows<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut windows: Vec<_> = self.open.iter().collect();
        windows.sort_unstable_by_key(|(id, _)| **id);
        for (_, Window { table, touched, closing }) in windows {
            (table, touched.iter().collect::<BTreeSet<_>>(), closing).hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> BinlogPosition {
        BinlogPosition { file: "binlog.000001".into(), offset }
    }

    #[test]
    fn a_window_closes_at_the_first_boundary_at_or_past_the_end_of_the_log() {
        let mut windows = Windows::default();
        let id = windows.open(0);
        let key: Key = b"1"[..].into();
        windows.touch(0, &key);
        windows.touch(1, &b"2"[..].into());
        assert!(windows.take_due(&at(1000)).is_empty(), "its rows are not read yet");
        windows.close(id, at(500), "rows");
        assert!(windows.take_due(&at(499)).is_empty());
        let closed = windows.take_due(&at(500));
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].touched, HashSet::from([key]));
        assert!(!windows.watches(0));
    }

    #[test]
    fn a_window_given_up_never_closes() {
        let mut windows = Windows::default();
        let id = windows.open(0);
        windows.give_up(id);
        windows.close(id, at(1), ());
        assert!(windows.take_due(&at(9)).is_empty());
    }
}
