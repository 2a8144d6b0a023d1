//! Which transaction of the stream was the last to change each table: it tells a table that cannot have changed since an
//! earlier proof from one that may have.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Gtid, GtidSet};

/// The last change of each table of the plan, of those that this process has seen.
#[derive(Debug)]
pub(crate) struct LastChanges(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    since: GtidSet,
    last: Vec<Option<Gtid>>,
}

impl LastChanges {
    /// Sees every change that is not in `since`.
    pub fn new(tables: usize, since: GtidSet) -> Self {
        Self(Mutex::new(Seen { since, last: vec![None; tables] }))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Someone else has applied all of this: only what comes after it is seen.
    pub fn begin_at(&self, since: GtidSet) {
        self.lock().since = since;
    }

    /// What had been applied when it began to see; of changes in there it knows nothing.
    pub fn since(&self) -> GtidSet {
        self.lock().since.clone()
    }

    /// A transaction of the stream has changed these tables.
    pub fn changed(&self, tables: impl Iterator<Item = usize>, by: Gtid) {
        let mut seen = self.lock();
        for table in tables {
            seen.last[table] = Some(by);
        }
    }

    /// A statement of the stream may have changed any table.
    pub fn any_changed(&self, by: Gtid) {
        self.lock().last.fill(Some(by));
    }

    /// The last transaction that changed a table; empty if none has.
    pub fn of(&self, table: usize) -> GtidSet {
        let mut set = GtidSet::default();
        if let Some(Some(gtid)) = self.lock().last.get(table) {
            set.add(*gtid);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = [7; 16];

    fn gtid(number: u64) -> Gtid {
        Gtid { uuid: UUID, tag: Default::default(), number }
    }

    fn set(numbers: impl IntoIterator<Item = u64>) -> GtidSet {
        let mut set = GtidSet::default();
        numbers.into_iter().for_each(|number| set.add(gtid(number)));
        set
    }

    #[test]
    fn the_last_change_of_each_table_is_kept_and_a_statement_may_change_any() {
        let changes = LastChanges::new(3, set(1..5));
        changes.changed([0, 2].into_iter(), gtid(5));
        changes.changed([2].into_iter(), gtid(6));
        assert_eq!([0, 1, 2].map(|table| changes.of(table)), [set([5]), set([]), set([6])]);
        changes.any_changed(gtid(7));
        assert_eq!([0, 1, 2].map(|table| changes.of(table)), [7, 7, 7].map(|number| set([number])));
        assert_eq!(changes.since(), set(1..5));
        changes.begin_at(set(1..9));
        assert_eq!(changes.since(), set(1..9));
    }
}
