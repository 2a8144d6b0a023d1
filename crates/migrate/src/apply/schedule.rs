//! Which work may be given to a lane when, and in which turn it commits.
//!
//! Pure: [`super::Lanes`] waits for what this says, `tests/model` tries every order it allows.

use super::conflicts::{KeysInFlight, Mark};
use crate::bag;
use crate::work::Batch;

/// The work under way, and the turn of what comes next.
#[derive(Debug, Clone)]
pub struct Schedule {
    next: u64,
    keys: KeysInFlight,
    parallel_changes_min: u64,
}

impl Schedule {
    /// Nothing is under way. A batch with fewer row changes than this waits, and grows, while other work is.
    pub fn new(parallel_changes_min: u64) -> Self {
        Self { next: 0, keys: KeysInFlight::default(), parallel_changes_min }
    }

    /// The turn of the work that is given next.
    pub fn next_turn(&self) -> u64 {
        self.next
    }

    /// The last turn under way that writes this key.
    pub fn writer(&self, mark: Mark) -> Option<u64> {
        self.keys.writer(mark)
    }

    /// Notes what a batch must wait for, since it has grown beyond its first `known` marks.
    pub fn note(&self, batch: &mut Batch, known: usize) {
        let writers = batch.marks[known..].iter().filter_map(|mark| self.writer(*mark));
        let waits = batch.bags.iter().flat_map(|(table, fold)| bag::waits(*table, fold));
        let of_bags = waits.filter_map(|mark| self.writer(mark)).max();
        batch.after = writers.chain(batch.after).chain(of_bags).max();
    }

    /// Whether a batch that still grows may and should go to a free lane, when `now` is the turn that commits next.
    pub fn may_go(&self, batch: &Batch, now: u64) -> bool {
        let alone = now == self.next;
        batch.after.is_none_or(|turn| now > turn) && (alone || batch.changes >= self.parallel_changes_min)
    }

    /// The turn that must have come before work that writes these keys may be given to a lane.
    pub fn first_turn_for(&self, marks: &[Mark]) -> u64 {
        marks.iter().filter_map(|mark| self.writer(*mark)).max().map_or(0, |last| last + 1)
    }

    /// Work that writes these keys is given to a lane, when `now` is the turn that commits next. Its own turn.
    pub fn begin(&mut self, marks: Vec<Mark>, now: u64) -> u64 {
        let turn = self.next;
        self.next += 1;
        self.keys.committed_before(now);
        self.keys.begin(turn, marks);
        turn
    }
}
