//! When the next reader may work: a book of the readers' time, kept for a whole move.
//!
//! Every read is charged with the time it took, stretched by the share of time that readers have, and with the rows it
//! brought. The next one may begin when the last charge has passed. So it does not matter how many readers there are or
//! how long their reads take.

use std::time::{Duration, Instant};

/// What a share and a limit on rows mean for a number of readers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// The share of time that readers may work; 0 is a pause.
    pub share: f64,
    /// Rows in a second; `None` for any number.
    pub rows_per_second: Option<u64>,
    /// Readers there are.
    pub readers: usize,
}

impl Allowance {
    /// Reads at the same time: at a small share readers do not take turns at waiting, there is just one of them.
    fn at_once(self) -> usize {
        ((self.share * self.readers as f64).ceil() as usize).max(1)
    }

    fn charge(self, took: Duration, rows: u64) -> Duration {
        let stretched = took.as_secs_f64() / (self.share * self.readers as f64).max(1e-3);
        let counted = self.rows_per_second.map_or(0.0, |limit| rows as f64 / (limit.max(1) as f64));
        Duration::from_secs_f64(stretched.max(counted))
    }
}

/// The book.
#[derive(Debug, Default)]
pub struct Turns {
    due: Option<Instant>,
    active: usize,
}

impl Turns {
    /// Begins a read, or tells how long to wait at least; `None` for nobody knows.
    pub fn begin(&mut self, now: Instant, allowed: Allowance) -> Result<(), Option<Duration>> {
        if allowed.share <= 0.0 || self.active >= allowed.at_once() {
            return Err(None);
        }
        match self.due {
            Some(due) if due > now => Err(Some(due - now)),
            _ => {
                self.active += 1;
                Ok(())
            }
        }
    }

    /// Ends a read that began at `began` and brought so many rows.
    pub fn end(&mut self, began: Instant, now: Instant, rows: u64, allowed: Allowance) {
        self.active = self.active.saturating_sub(1);
        let from = self.due.map_or(began, |due| due.max(began));
        self.due = Some(from + allowed.charge(now.saturating_duration_since(began), rows));
    }

    /// Forgets what was charged: what is allowed has changed.
    pub fn forgive(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads of `ms` milliseconds and 100 rows, as fast as they are allowed, for ten seconds: how many.
    fn reads(allowed: Allowance, ms: u64) -> u64 {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let mut running: Vec<Instant> = Vec::new();
        let mut done = 0;
        for at in (0..10_000).map(|at| start + Duration::from_millis(at)) {
            while let Some(i) = running.iter().position(|b| at - *b >= Duration::from_millis(ms)) {
                turns.end(running.swap_remove(i), at, 100, allowed);
                done += 1;
            }
            while running.len() < allowed.readers && turns.begin(at, allowed).is_ok() {
                running.push(at);
            }
        }
        done
    }

    #[test]
    fn a_full_share_keeps_every_reader_busy() {
        let all = Allowance { share: 1.0, rows_per_second: None, readers: 4 };
        assert!((370..=400).contains(&reads(all, 100)), "{}", reads(all, 100));
    }

    #[test]
    fn a_share_is_the_part_of_the_time_in_which_readers_work() {
        for (share, readers, ms) in [(0.5, 4, 100), (0.1, 4, 20), (0.02, 1, 50), (0.25, 1, 200)] {
            let allowed = Allowance { share, rows_per_second: None, readers };
            let worked = reads(allowed, ms) as f64 * ms as f64 / 10_000.0 / readers as f64;
            assert!((worked - share).abs() <= share * 0.25, "{share} of {readers}: {worked}");
        }
    }

    #[test]
    fn rows_per_second_are_not_passed() {
        let allowed = Allowance { share: 1.0, rows_per_second: Some(1000), readers: 4 };
        // 100 rows a read: ten reads a second, and those that are running when the first charge comes.
        assert!((90..=104).contains(&reads(allowed, 20)), "{}", reads(allowed, 20));
    }

    #[test]
    fn nobody_begins_in_a_pause() {
        let paused = Allowance { share: 0.0, rows_per_second: None, readers: 4 };
        assert_eq!(Turns::default().begin(Instant::now(), paused), Err(None));
    }
}
