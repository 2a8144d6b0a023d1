//! What is proven: which pass over all ranges is complete, as of which position, and what was found different.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::{GtidSet, TableName};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Result, Side};
use crate::literal::Key;
use crate::row_sum::RowSum;
use crate::verify::Wrong;

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
    /// An earlier process has proven everything, and what has happened since is still being looked at.
    resuming: bool,
    /// Why what was proven holds no more, until a pass begins.
    void: Option<String>,
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
    /// The sum of the hashes of the rows compared, as the source has them, of a pass that was asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<RowSum>,
    /// What was applied when its comparison began. Each range was compared as of a position from here on.
    pub begun_at: GtidSet,
    /// What was applied when every range was compared.
    pub as_of: GtidSet,
    /// When that was, in seconds of Unix time.
    pub ended_unix_s: u64,
    /// The last transaction that changed it, of those seen since [`crate::Verification::watched_since`]; empty if none did.
    pub last_change: GtidSet,
    /// The keys that differ, for a repair; none of a bag.
    #[serde(skip)]
    pub(crate) wrong: Wrong,
}

impl TableVerdict {
    /// Nothing compared yet.
    pub fn new(table: TableName) -> Self {
        Self {
            table,
            rows: 0,
            ranges: 0,
            different: 0,
            keys: Vec::new(),
            hash: None,
            begun_at: GtidSet::default(),
            as_of: GtidSet::default(),
            ended_unix_s: 0,
            last_change: GtidSet::default(),
            wrong: Wrong::default(),
        }
    }

    /// Nothing compared yet; what is going to be is summed up as well.
    pub fn summing(table: TableName) -> Self {
        Self { hash: Some(RowSum::default()), ..Self::new(table) }
    }

    /// Adds a sum of hashes, as the source has answered it, if they are summed up.
    ///
    /// # Errors
    /// If the answer is none.
    pub(crate) fn add_hash(&mut self, answer: Option<&[u8]>) -> Result<()> {
        let sum = answer.and_then(RowSum::of_answer).ok_or(mysql::Error::Unexpected("no sum of hashes"));
        let sum = sum.doing(Side::Source, format!("compare {}", self.table))?;
        if let Some(hash) = &mut self.hash {
            *hash += sum;
        }
        Ok(())
    }

    /// Adds the hashes of rows as the source has sent them, if they are summed up.
    pub(crate) fn add_rows(&mut self, packets: &[Bytes]) {
        if let Some(hash) = &mut self.hash {
            packets.iter().for_each(|packet| *hash += RowSum::of_row(packet));
        }
    }

    /// It was compared just now, and this was applied before and after.
    pub(crate) fn compared_between(mut self, begun_at: GtidSet, as_of: GtidSet) -> Self {
        self.ended_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { begun_at, as_of, ..self }
    }

    /// Records a differing key, once.
    pub fn differs(&mut self, key: &[u8]) {
        if self.wrong.add(key) {
            self.differs_by(&String::from_utf8_lossy(key), 1);
        }
    }

    /// A key that may have differed is equal now.
    fn mended(&mut self, key: &[u8]) {
        if self.wrong.remove(key) {
            self.different = self.different.saturating_sub(1);
            let told = String::from_utf8_lossy(key);
            self.keys.retain(|known| *known != told);
        }
    }

    /// Records a value of a bag, of which one side has so many rows more than the other.
    pub fn differs_by(&mut self, value: &str, rows: u64) {
        self.different += rows;
        if self.keys.len() < KEYS_KEPT {
            self.keys.push(value.to_owned());
        }
    }
}

impl State {
    /// Whether there is a proof, or will be, that a difference speaks against.
    fn claims(&self) -> bool {
        self.complete_as_of.is_some() || self.resuming
    }

    fn verdict_of(&mut self, table: &TableName) -> &mut TableVerdict {
        let at = match self.tables.iter().position(|t| t.table == *table) {
            Some(at) => at,
            None => {
                self.tables.push(TableVerdict::new(table.clone()));
                self.tables.len() - 1
            }
        };
        &mut self.tables[at]
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

    /// A proof that an earlier process has made, to hold once it is known what has happened since.
    pub(crate) fn resuming() -> Self {
        Self { state: Mutex::new(State { resuming: true, ..State::default() }) }
    }

    /// An earlier process has made one that cannot be relied on any more.
    pub(crate) fn begun_anew_because(why: String) -> Self {
        Self { state: Mutex::new(State { void: Some(why), ..State::default() }) }
    }

    /// Forgets what was proven, or was to hold again, and remembers why.
    pub(crate) fn begin_anew(&self, why: String) {
        let mut state = self.lock();
        let void = if state.claims() { Some(why) } else { state.void.take() };
        *state = State { void, ..State::default() };
    }

    /// Why what was proven does not hold any more, if it was not a pass that began.
    pub fn begun_anew(&self) -> Option<String> {
        self.lock().void.clone()
    }

    /// It is known, and what was touched is dirty: the earlier proof holds.
    pub(crate) fn resumed(&self, as_of: GtidSet) {
        let mut state = self.lock();
        if std::mem::take(&mut state.resuming) {
            state.complete_as_of = Some(as_of);
        }
    }

    /// Forgets what was proven: a new pass begins.
    pub fn restart(&self) {
        *self.lock() = State::default();
    }

    /// A pass over every range is complete.
    pub fn complete(&self, as_of: GtidSet, tables: Vec<TableVerdict>) {
        *self.lock() = State { complete_as_of: Some(as_of), tables, ..State::default() };
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
        self.lock().verdict_of(table).differs(key);
    }

    /// Keys were compared and are equal: those found different before are so no more.
    pub(crate) fn mended<'a>(&self, table: &TableName, equal: impl Iterator<Item = &'a Key>) {
        let mut state = self.lock();
        let known = state.tables.iter_mut().find(|verdict| verdict.table == *table);
        if let Some(verdict) = known.filter(|verdict| !verdict.wrong.is_empty()) {
            equal.for_each(|key| verdict.mended(key));
        }
    }

    /// Rows of a value of a bag were found to differ in number after the pass.
    pub fn differs_by(&self, table: &TableName, value: &str, rows: u64) {
        let mut state = self.lock();
        let verdict = state.verdict_of(table);
        // Whoever finds it again, as it was found before, has found nothing new.
        if !verdict.keys.iter().any(|known| known == value) {
            verdict.differs_by(value, rows);
        }
    }

    /// A comparison of some of a table's rows has found differences: if the table was proven, it is so no more. Of one
    /// known to differ there is nothing new to learn.
    pub(crate) fn found(&self, some: &TableVerdict) {
        let mut state = self.lock();
        if !state.claims() || some.different == 0 {
            return;
        }
        let verdict = state.verdict_of(&some.table);
        if verdict.different == 0 {
            verdict.different = some.different;
            verdict.keys.clone_from(&some.keys);
            verdict.wrong.clone_from(&some.wrong);
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
        if state.claims() && !state.doubted.contains(table) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn some(different: u64) -> TableVerdict {
        let mut verdict = TableVerdict::new(TableName::new("shop", "orders"));
        verdict.rows = 100;
        (0..different).for_each(|key| verdict.differs(key.to_string().as_bytes()));
        verdict
    }

    #[test]
    fn what_a_spot_check_finds_counts_once_and_only_against_a_complete_proof() {
        let proof = Proof::default();
        proof.found(&some(3));
        assert_eq!(proof.different(), 0, "nothing was proven");
        proof.complete(GtidSet::default(), vec![TableVerdict { rows: 1_000, ..some(0) }]);
        proof.found(&some(0));
        assert_eq!(proof.different(), 0);
        proof.found(&some(3));
        proof.found(&some(3));
        let verdicts = proof.verdicts();
        assert_eq!((verdicts[0].rows, proof.different(), verdicts[0].keys.len()), (1_000, 3, 3));
    }

    #[test]
    fn a_proof_that_is_void_says_why_until_a_pass_begins() {
        let proof = Proof::default();
        proof.begin_anew("nothing was proven".into());
        assert_eq!(proof.begun_anew(), None);
        let proof = Proof::resuming();
        proof.begin_anew("the log is gone".into());
        proof.begin_anew("there was nothing more to lose".into());
        assert_eq!((proof.begun_anew().as_deref(), proof.complete_as_of()), (Some("the log is gone"), None));
        proof.restart();
        assert_eq!(proof.begun_anew(), None);
    }

    #[test]
    fn a_key_found_different_counts_once_until_it_is_equal_again() {
        let proof = Proof::default();
        proof.complete(GtidSet::default(), vec![some(150)]);
        let orders = TableName::new("shop", "orders");
        proof.differs(&orders, b"149");
        proof.differs(&orders, b"new");
        assert_eq!(proof.different(), 151);
        let equal: Vec<Key> = ["149", "0", "never wrong"].map(|key| key.as_bytes().into()).into();
        proof.mended(&orders, equal.iter());
        proof.mended(&orders, equal.iter());
        let verdict = proof.verdicts().remove(0);
        assert_eq!((verdict.different, verdict.keys.len(), verdict.wrong.keys().count()), (149, 99, 149));
        assert!(!verdict.keys.contains(&"0".to_owned()));
    }
}
