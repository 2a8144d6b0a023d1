//! What is proven: which pass over all ranges is complete, as of which position, and what was found different.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{GtidSet, TableName};
use serde::{Deserialize, Serialize};

/// Differing keys kept for the report; counting goes on beyond.
const KEYS_KEPT: usize = 100;

/// The state of the proof of one direction of a move.
#[derive(Debug, Default)]
pub struct Proof {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    complete_as_of: Option<GtidSet>,
    tables: Vec<TableVerdict>,
    /// Tables that have to be compared again as a whole: since the pass a statement has changed them, or
    /// someone else rows that cannot be named.
    doubted: Vec<TableName>,
}

/// What a table's verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVerdict {
    /// The table.
    pub table: TableName,
    /// Rows compared.
    pub rows: u64,
    /// Ranges compared.
    pub ranges: u64,
    /// Number of keys that differ; of a bag, of rows that only one side has.
    pub different: u64,
    /// The first of them, as literals.
    pub keys: Vec<String>,
}

impl TableVerdict {
    /// Nothing compared yet.
    pub fn new(table: TableName) -> Self {
        Self { table, rows: 0, ranges: 0, different: 0, keys: Vec::new() }
    }

    /// Records a differing key.
    pub fn differs(&mut self, key: &[u8]) {
        self.differs_by(&String::from_utf8_lossy(key), 1);
    }

    /// Records a value of a bag, of which one side has so many rows more than the other.
    pub fn differs_by(&mut self, value: &str, rows: u64) {
        self.different += rows;
        if self.keys.len() < KEYS_KEPT {
            self.keys.push(value.to_owned());
        }
    }
}

impl Proof {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A proof that holds from the start: both servers were proven equal at this position.
    pub fn carried_over(as_of: GtidSet) -> Self {
        let state = State { complete_as_of: Some(as_of), ..State::default() };
        Self { state: Mutex::new(state) }
    }

    /// Forgets what was proven: a new pass begins.
    pub fn restart(&self) {
        *self.lock() = State::default();
    }

    /// A pass over every range is complete.
    pub fn complete(&self, as_of: GtidSet, tables: Vec<TableVerdict>) {
        *self.lock() = State { complete_as_of: Some(as_of), tables, doubted: Vec::new() };
    }

    /// Re-proving has moved the proof forward.
    pub fn advance(&self, as_of: GtidSet) {
        let mut state = self.lock();
        if state.complete_as_of.is_some() {
            state.complete_as_of = Some(as_of);
        }
    }

    /// A key was found different after the pass.
    pub fn differs(&self, table: &TableName, key: &[u8]) {
        self.differs_by(table, &String::from_utf8_lossy(key), 1);
    }

    /// Rows of a value of a bag were found to differ in number after the pass.
    pub fn differs_by(&self, table: &TableName, value: &str, rows: u64) {
        let mut state = self.lock();
        let at = match state.tables.iter().position(|t| t.table == *table) {
            Some(at) => at,
            None => {
                state.tables.push(TableVerdict::new(table.clone()));
                state.tables.len() - 1
            }
        };
        // Whoever finds it again, as it was found before, has found nothing new.
        if !state.tables[at].keys.iter().any(|known| known == value) {
            state.tables[at].differs_by(value, rows);
        }
    }

    /// The position the proof is complete as of, if a pass is complete and no table is in doubt.
    pub fn complete_as_of(&self) -> Option<GtidSet> {
        let state = self.lock();
        state.complete_as_of.clone().filter(|_| state.doubted.is_empty())
    }

    /// Tables to be compared again as a whole.
    pub fn doubted(&self) -> Vec<TableName> {
        self.lock().doubted.clone()
    }

    /// A table that was proven has to be compared again as a whole.
    pub(crate) fn doubt(&self, table: &TableName) {
        let mut state = self.lock();
        if state.complete_as_of.is_some() && !state.doubted.contains(table) {
            state.doubted.push(table.clone());
        }
    }

    /// A table in doubt has been compared as a whole. If it was changed again meanwhile, its verdict never comes: the
    /// comparison ends with the pipeline.
    pub(crate) fn settle(&self, verdict: TableVerdict) {
        let mut state = self.lock();
        state.doubted.retain(|table| *table != verdict.table);
        state.tables.retain(|table| table.table != verdict.table);
        state.tables.push(verdict);
        state.tables.sort_by(|a, b| a.table.cmp(&b.table));
    }

    /// Tables have other names now, or are gone; a new one is empty on both sides.
    pub(crate) fn replan<'a>(
        &self,
        now: impl Fn(&TableName) -> Option<TableName>,
        new: impl Iterator<Item = &'a TableName>,
    ) {
        let mut state = self.lock();
        let verdicts = std::mem::take(&mut state.tables);
        let renamed = verdicts.into_iter().filter_map(|v| Some(TableVerdict { table: now(&v.table)?, ..v }));
        state.tables = renamed.collect();
        state.doubted = state.doubted.iter().filter_map(&now).collect();
        if state.complete_as_of.is_some() {
            for table in new {
                state.tables.retain(|verdict| verdict.table != *table);
                state.tables.push(TableVerdict::new(table.clone()));
            }
        }
        state.tables.sort_by(|a, b| a.table.cmp(&b.table));
    }

    /// Per table, what was found.
    pub fn verdicts(&self) -> Vec<TableVerdict> {
        self.lock().tables.clone()
    }

    /// Keys known to differ.
    pub fn different(&self) -> u64 {
        self.lock().tables.iter().map(|t| t.different).sum()
    }
}
