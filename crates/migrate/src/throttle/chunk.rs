//! How many rows a chunk has: as many as the source reads in the time it is meant to take.
//!
//! A chunk that takes long keeps its window open long, and the source's buffer pool and disks busy without a pause; many
//! small ones cost a round trip each. Rows and bytes bound it as well, since time alone would let a fast source fill our memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Fewer rows than this save no time: what is left is the round trip.
const ROWS_MIN: u64 = 10;

/// The size of the next chunk, as the chunks before it teach.
#[derive(Debug)]
pub struct ChunkSize {
    /// Microseconds.
    target: AtomicU64,
    /// Rows per second, of the last reads; 0 before the first one.
    rate: AtomicU64,
}

impl ChunkSize {
    /// Chunks of this duration.
    pub fn new(target: Duration) -> Self {
        let this = Self { target: AtomicU64::new(0), rate: AtomicU64::new(0) };
        this.set_target(target);
        this
    }

    /// Chunks of this duration from now on.
    pub fn set_target(&self, target: Duration) {
        self.target.store(u64::try_from(target.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Rows of the next chunk, if at most `most` fit.
    pub fn rows(&self, most: u64) -> u64 {
        match self.rate.load(Ordering::Relaxed) {
            0 => most,
            rate => ((rate as f64 * self.target.load(Ordering::Relaxed) as f64 / 1e6) as u64)
                .clamp(ROWS_MIN.min(most), most),
        }
    }

    /// A chunk of `rows` took so long. One that was fast because the table ended teaches nothing about size, but does
    /// not mislead either: rows per second is what is kept.
    pub fn read(&self, rows: u64, took: Duration) {
        if rows < ROWS_MIN {
            return;
        }
        let seen = rows as f64 / took.as_secs_f64().max(1e-6);
        let known = self.rate.load(Ordering::Relaxed);
        // Slower is believed at once, faster by halves: a chunk too long does harm, one too short costs little.
        let rate = match known {
            0 => seen,
            known if seen < known as f64 => seen,
            known => (known as f64 + seen) / 2.0,
        };
        self.rate.store((rate as u64).max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_source_gets_small_chunks_and_a_fast_one_large_ones() {
        let size = ChunkSize::new(Duration::from_millis(200));
        assert_eq!(size.rows(5000), 5000, "nothing is known yet");
        size.read(5000, Duration::from_secs(1));
        assert_eq!(size.rows(5000), 1000);
        for _ in 0..10 {
            size.read(1000, Duration::from_millis(20));
        }
        assert_eq!(size.rows(5000), 5000);
        assert!(size.rows(20_000) > 9_000);
    }

    #[test]
    fn no_chunk_is_smaller_than_a_handful_or_larger_than_what_fits() {
        let size = ChunkSize::new(Duration::from_millis(200));
        size.read(100, Duration::from_secs(100));
        assert_eq!(size.rows(5000), ROWS_MIN);
        assert_eq!(size.rows(1), 1);
        size.read(3, Duration::from_nanos(1));
        assert_eq!(size.rows(5000), ROWS_MIN, "three rows are no measurement");
    }
}
