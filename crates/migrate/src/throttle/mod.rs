//! A polite guest: who reads the source asks here for a turn first.
//!
//! ```text
//! Pulse (one for each source) ── pace ──▶ Throttle (one for each move) ── turn ──▶ readers
//!                                           ▲  ▲
//!                    an operator's orders ──┘  └── how far the target is behind
//! ```
//! Only reading rows waits for turns; the stream goes on in every pause, so that nothing is to be caught up after it.

mod chunk;
mod pace;
mod pulse;
mod replica;
mod turns;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::progress::Progress;
use chunk::ChunkSize;
pub use pace::{Pace, PaceLimits, Pacer, ReplicaLag, Sample, Statements};
pub use pulse::{Pulse, PulseOptions};
pub(crate) use replica::lag as replica_lag;
use turns::{Allowance, Turns};

/// A change of pace is noticed by a waiting reader within this.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What an operator has said about a move's readers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// No reader may work.
    pub paused: bool,
    /// Rows in a second; `None` for any number.
    pub rows_per_second: Option<u64>,
}

/// Hands out turns to one move's readers.
#[derive(Debug)]
pub struct Throttle {
    /// `None`: the source is not watched, only orders count.
    pulse: Option<Arc<Pulse>>,
    order: watch::Sender<Order>,
    readers: usize,
    target_lag_max: Mutex<Option<Duration>>,
    chunk: ChunkSize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    turns: Turns,
    /// The allowance charges were made at.
    allowed: Option<Allowance>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(None, 1024, None, Duration::from_millis(200))
    }
}

impl Throttle {
    /// A throttle for so many readers of a watched source. They wait while the target is further behind than
    /// `target_lag_max`, and a chunk is to take `chunk_time`.
    pub fn new(
        pulse: Option<Arc<Pulse>>,
        readers: usize,
        target_lag_max: Option<Duration>,
        chunk_time: Duration,
    ) -> Self {
        Self {
            pulse,
            order: watch::Sender::new(Order::default()),
            readers: readers.max(1),
            target_lag_max: Mutex::new(target_lag_max),
            chunk: ChunkSize::new(chunk_time),
            book: Mutex::default(),
        }
    }

    /// What an operator has said.
    pub fn order(&self) -> Order {
        *self.order.borrow()
    }

    /// Does what an operator says, at once: a read that runs is finished, none begins against the order.
    pub fn give_order(&self, order: Order) {
        self.order.send_replace(order);
        self.book().turns.forgive();
    }

    /// Changes how far the target may be behind, and how long a chunk may take.
    pub fn set_bounds(&self, target_lag_max: Option<Duration>, chunk_time: Duration) {
        *self.target_lag_max.lock().unwrap_or_else(PoisonError::into_inner) = target_lag_max;
        self.chunk.set_target(chunk_time);
    }

    /// The pace now, and why it is not full.
    pub fn pace(&self, progress: &Progress) -> Pace {
        let order = self.order();
        if order.paused {
            return Pace::paused("paused by command; `highwater throttle --resume` goes on");
        }
        let lag = progress.lag();
        let lag_max = *self.target_lag_max.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = lag_max.filter(|limit| lag > *limit) {
            let (lag, limit) = (lag.as_secs_f64(), limit.as_secs_f64());
            return Pace::paused(format!("the target is {lag:.1} s behind, the limit is {limit:.1} s"));
        }
        self.pulse.as_ref().map_or_else(Pace::full, |pulse| pulse.pace())
    }

    /// Why the source's latency is not looked at, if it is not although it should be.
    pub fn blind(&self) -> Option<String> {
        self.pulse.as_ref().and_then(|pulse| pulse.blind())
    }

    /// Rows of the next chunk, if at most `most` fit.
    pub fn chunk_rows(&self, most: u64) -> u64 {
        self.chunk.rows(most)
    }

    /// Waits for a turn to read. It ends when it is dropped.
    pub async fn turn(&self, progress: &Progress) -> Turn<'_> {
        let mut order = self.order.subscribe();
        loop {
            if let Some(pulse) = &self.pulse {
                pulse.presence().ask();
            }
            let wait = match self.begin(progress) {
                Ok(turn) => return turn,
                Err(wait) => wait.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN),
            };
            // Either way: look again. The sender is ours and cannot be gone.
            let _ = tokio::time::timeout(wait, order.changed()).await;
        }
    }

    fn begin(&self, progress: &Progress) -> Result<Turn<'_>, Option<Duration>> {
        let allowed = Allowance {
            share: self.pace(progress).share,
            rows_per_second: self.order().rows_per_second,
            readers: self.readers,
        };
        let mut book = self.book();
        // What was charged at a crawl must not be paid for once the source is calm again.
        if book.allowed.replace(allowed).is_some_and(|was| allowed.share > was.share * 1.5) {
            book.turns.forgive();
        }
        book.turns.begin(Instant::now(), allowed)?;
        if let Some(pulse) = &self.pulse {
            pulse.presence().begin();
        }
        Ok(Turn { throttle: self, began: Instant::now(), rows: 0 })
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader's turn.
#[derive(Debug)]
pub struct Turn<'a> {
    throttle: &'a Throttle,
    began: Instant,
    rows: u64,
}

impl Turn<'_> {
    /// Ends it with so many rows read; the next chunks are made to fit.
    pub fn done(mut self, rows: usize) {
        self.rows = rows as u64;
        self.throttle.chunk.read(self.rows, self.began.elapsed());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut book = self.throttle.book();
        if let Some(allowed) = book.allowed {
            book.turns.end(self.began, Instant::now(), self.rows, allowed);
        }
        drop(book);
        if let Some(pulse) = &self.throttle.pulse {
            pulse.presence().end();
        }
    }
}
