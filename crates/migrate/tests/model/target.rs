//! The target of the model: what is committed, and what transactions under way have done and locked.
//!
//! Row locks are those of READ COMMITTED, the weakest we use: a statement waits for any row or unique value that another
//! transaction has changed, and looks for a row that is not there without locking anything.

use std::collections::{BTreeMap, BTreeSet};

use migrate::MoveError;
use migrate::apply::effect::{Expect, Step};
use model::{GtidSet, Table};

use crate::source::{At, Lock, Rows, gtid, locks_of, named, row};

/// What is committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Target {
    pub rows: Rows,
    pub applied: GtidSet,
    /// Which ranges are done.
    pub done: Vec<bool>,
}

/// What a transaction has done so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Uncommitted {
    rows: BTreeMap<At, Option<u8>>,
    pub locks: BTreeSet<Lock>,
    applied: Option<GtidSet>,
    done: Option<usize>,
}

/// What became of a statement.
pub enum Taken {
    Done,
    /// It waits for a lock.
    Blocked,
    Refused(MoveError),
    /// It has removed a row that it does not name.
    Harmed,
}

/// What a transaction writes to the ledger.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    Applied(&'a GtidSet),
    /// A range.
    Done(usize),
}

/// How INSERT is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insert {
    Plain,
    Replace,
}

impl Target {
    /// Takes a statement within a transaction. `held` says whether another transaction holds a lock.
    pub fn take(
        &self,
        step: &Step<'_>,
        own: &mut Uncommitted,
        held: &dyn Fn(&Lock) -> bool,
        tables: &[Table],
        insert: Insert,
        entry: Entry<'_>,
    ) -> Taken {
        match step {
            Step::Delete { table, keys, all_there } => {
                let rows: Vec<At> = keys.iter().map(|key| named(*table, key)).collect();
                if rows.iter().any(|at| held(&Lock::Row(*at))) {
                    return Taken::Blocked;
                }
                let found = rows.iter().filter(|at| self.remove(own, **at)).count();
                let expect = Expect::deleted(&tables[*table].name, rows.len() as u64, *all_there);
                match expect.hold(found as u64, 0) {
                    Ok(()) => Taken::Done,
                    Err(error) => Taken::Refused(error),
                }
            }
            Step::Insert { table, rows } => {
                // In a fixed order, so that the same state is followed by the same states.
                let rows: Rows = rows.iter().map(|tuple| row(*table, tuple)).collect();
                if rows.iter().any(|(at, unique)| locks_of(*at, *unique).iter().any(held)) {
                    return Taken::Blocked;
                }
                self.insert(own, &rows, &tables[*table], insert)
            }
            Step::Ledger => self.ledger(own, entry),
        }
    }

    fn ledger(&self, own: &mut Uncommitted, entry: Entry<'_>) -> Taken {
        let owned = match entry {
            Entry::Applied(applied) => {
                own.applied = Some(applied.clone());
                true
            }
            Entry::Done(number) => {
                own.done = Some(number);
                !self.done[number]
            }
        };
        match Expect::Owned.hold(u64::from(owned), 0) {
            Ok(()) => Taken::Done,
            Err(error) => Taken::Refused(error),
        }
    }

    fn insert(&self, own: &mut Uncommitted, rows: &Rows, table: &Table, insert: Insert) -> Taken {
        let mut taken = Taken::Done;
        for (&at, &unique) in rows {
            let in_the_way: Vec<At> = self
                .seen_by(own)
                .filter(|(o, u)| o.0 == at.0 && (*o == at || *u == unique))
                .map(|r| r.0)
                .collect();
            if !in_the_way.is_empty() && insert == Insert::Plain {
                let evidence = format!("row {at:?} is there already, or its unique value is");
                return Taken::Refused(MoveError::NotExact { table: table.name.clone(), evidence });
            }
            for other in in_the_way {
                self.remove(own, other);
                if other != at {
                    taken = Taken::Harmed;
                }
            }
            own.locks.extend(locks_of(at, unique));
            own.rows.insert(at, Some(unique));
        }
        taken
    }

    /// Whether the row was there.
    fn remove(&self, own: &mut Uncommitted, at: At) -> bool {
        let there = own.rows.get(&at).copied().unwrap_or_else(|| self.rows.get(&at).copied());
        let Some(unique) = there else { return false };
        own.locks.extend(locks_of(at, unique));
        own.rows.insert(at, None);
        true
    }

    /// The rows as the transaction sees them.
    fn seen_by<'a>(&'a self, own: &'a Uncommitted) -> impl Iterator<Item = (At, u8)> + 'a {
        let untouched = self.rows.iter().filter(|(at, _)| !own.rows.contains_key(at)).map(|(a, u)| (*a, *u));
        untouched.chain(own.rows.iter().filter_map(|(at, unique)| Some((*at, (*unique)?))))
    }

    /// COMMIT, of the rows.
    pub fn commit_rows(&mut self, own: &Uncommitted) {
        for (at, unique) in &own.rows {
            match unique {
                Some(unique) => self.rows.insert(*at, *unique),
                None => self.rows.remove(at),
            };
        }
    }

    /// COMMIT, of the ledger.
    pub fn commit_ledger(&mut self, own: &Uncommitted) {
        if let Some(applied) = &own.applied {
            self.applied.union(applied);
        }
        if let Some(number) = own.done {
            self.done[number] = true;
        }
    }

    /// How far the ledger says the stream is applied.
    pub fn position(&self) -> u8 {
        self.applied.len() as u8 - u8::from(self.applied.has(gtid(0)))
    }
}
