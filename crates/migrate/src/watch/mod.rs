//! The target watched: its own binary log is followed, and a write to moved tables that is not ours is named.
//!
//! ```text
//! target's log ── Reader ──▶ Gathering: whose is it? ──▶ keys: which rows? ──▶ Watched: who asks is told
//! ```
//!
//! Invariant: the watch never stops a move. What it cannot read it says once, and tries again. See
//! `docs/decisions/0012-target-watched.md`.

mod foreign;
mod gathering;
mod keys;
mod reader;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::GtidSet;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::direction::Direction;
pub use foreign::ForeignWrite;
use reader::Reader;

/// Writes remembered with all that is known of them; counting goes on beyond.
const WRITES_KEPT: usize = 100;

/// Whether the log is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Not yet.
    Starting,
    /// It is.
    Yes,
    /// It cannot be, for this reason; it is tried again.
    No(String),
    /// No more: the side that was the target serves.
    Ended,
}

/// What the watch has seen, for whoever asks.
#[derive(Debug)]
pub struct Watched {
    writes: Mutex<Writes>,
    position: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct Writes {
    /// All so far.
    count: u64,
    /// How many of them, from the first on, a later pass over every row has found harmless.
    settled: u64,
    /// The first of the others, with their numbers.
    kept: Vec<(u64, ForeignWrite)>,
}

#[derive(Debug)]
struct Position {
    reading: Reading,
    /// Every transaction that has been looked at, or lies before the watch.
    read: GtidSet,
}

impl Watched {
    fn new(from: GtidSet) -> Self {
        let position = watch::Sender::new(Position { reading: Reading::Starting, read: from });
        Self { writes: Mutex::default(), position }
    }

    fn lock(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log is being read.
    pub fn reading(&self) -> Reading {
        self.position.borrow().reading.clone()
    }

    /// How many foreign writes there were so far.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// How many of them no later pass over every row has found harmless.
    pub fn unsettled(&self) -> u64 {
        let writes = self.lock();
        writes.count - writes.settled
    }

    /// The first of those.
    pub fn writes(&self) -> Vec<ForeignWrite> {
        self.lock().kept.iter().map(|(_, write)| write.clone()).collect()
    }

    /// The unsettled writes in a sentence, if there are any.
    pub fn sentence(&self) -> Option<String> {
        let (unsettled, writes) = (self.unsettled(), self.writes());
        let first = writes.first()?;
        Some(match unsettled {
            1 => format!("a write on the target is not ours, and rows may differ: {first}"),
            n => format!("{n} writes on the target are not ours, and rows may differ; the first: {first}"),
        })
    }

    /// Every transaction of the target that has been looked at, or lies before the watch.
    pub(crate) fn read(&self) -> GtidSet {
        self.position.borrow().read.clone()
    }

    /// Waits until everything in `wanted` has been looked at. Returns at once if the log cannot be read.
    pub async fn has_read(&self, wanted: &GtidSet) {
        let mut position = self.position.subscribe();
        let enough =
            |at: &Position| matches!(at.reading, Reading::No(_) | Reading::Ended) || at.read.contains(wanted);
        // It cannot be closed: its sender is borrowed with us.
        let _ = position.wait_for(enough).await;
    }

    /// A pass over every row, begun when there were so many writes, has found no difference.
    pub(crate) fn settle(&self, count: u64) {
        let mut writes = self.lock();
        writes.settled = writes.settled.max(count);
        let settled = writes.settled;
        writes.kept.retain(|(number, _)| *number >= settled);
    }

    /// Takes a write down, and returns how many there were before. After the end nothing is: who writes then may.
    fn note(&self, write: &ForeignWrite) -> Option<u64> {
        let mut writes = self.lock();
        if self.position.borrow().reading == Reading::Ended {
            return None;
        }
        let number = writes.count;
        writes.count += 1;
        if writes.kept.len() < WRITES_KEPT {
            writes.kept.push((number, write.clone()));
        }
        Some(number)
    }

    fn set_reading(&self, reading: Reading) {
        self.position.send_if_modified(|at| {
            let changed = at.reading != reading && at.reading != Reading::Ended;
            if changed {
                at.reading = reading;
            }
            changed
        });
    }

    fn end(&self) {
        // With the writes locked, so that none is taken down after this.
        let _writes = self.lock();
        self.set_reading(Reading::Ended);
    }
}

/// The running watch of one direction. Dropping it ends it.
pub(crate) struct Watch {
    watched: Arc<Watched>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Watches from a position of the target's log on, for as long as there are directions.
    pub fn start(direction: watch::Receiver<Arc<Direction>>, from: GtidSet) -> Self {
        let watched = Arc::new(Watched::new(from));
        let task = tokio::spawn(Reader::new(direction, Arc::clone(&watched)).keep_reading());
        Self { watched, task }
    }

    /// What it has seen.
    pub fn watched(&self) -> &Arc<Watched> {
        &self.watched
    }

    /// Ends it: whoever writes from now on may.
    pub fn end(&self) {
        self.watched.end();
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &str) -> ForeignWrite {
        ForeignWrite { table: "a.b".into(), updated: 1, keys: vec![key.into()], ..ForeignWrite::default() }
    }

    #[test]
    fn a_clean_pass_settles_what_was_written_before_it_and_nothing_later() {
        let watched = Watched::new(GtidSet::default());
        watched.note(&write("1"));
        let begun = watched.count();
        watched.note(&write("2"));
        watched.settle(begun);
        assert_eq!(watched.unsettled(), 1);
        assert_eq!(watched.writes(), [write("2")]);
        assert!(watched.sentence().unwrap().contains("key (2)"));
        watched.settle(watched.count());
        assert_eq!((watched.unsettled(), watched.sentence()), (0, None));
    }

    #[test]
    fn writes_beyond_those_kept_are_counted_and_nothing_is_taken_down_after_the_end() {
        let watched = Watched::new(GtidSet::default());
        for n in 0..WRITES_KEPT + 7 {
            watched.note(&write(&n.to_string()));
        }
        assert_eq!((watched.unsettled(), watched.writes().len()), (107, WRITES_KEPT));
        watched.end();
        assert_eq!(watched.note(&write("late")), None);
        watched.set_reading(Reading::Yes);
        assert_eq!((watched.count(), watched.reading()), (107, Reading::Ended));
    }
}
