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
