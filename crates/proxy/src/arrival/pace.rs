//! How fast clients are let in.

use std::time::{Duration, Instant};

/// Lets so many in per second, evenly, and after a quiet time a burst of a tenth of a second's worth at once.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Between two; `None` is no limit.
    interval: Option<Duration>,
    /// When the next one is due.
    due: Instant,
}

/// How far behind its time a burst may begin.
const BURST: Duration = Duration::from_millis(100);

impl Pace {
    /// One thread's part of a limit for all; 0 is no limit.
    pub fn of(per_second: u32, threads: usize) -> Self {
        let share = f64::from(per_second) / threads.max(1) as f64;
        let interval = (per_second > 0).then(|| Duration::from_secs_f64(1.0 / share));
        Self { interval, due: Instant::now() }
    }

    /// How long the next one has to wait, whose turn is then taken.
    pub fn next(&mut self, now: Instant) -> Duration {
        let Some(interval) = self.interval else { return Duration::ZERO };
        let due = self.due.max(now.checked_sub(BURST).unwrap_or(now));
        self.due = due + interval;
        due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time_with_a_short_burst_at_first() {
        let mut pace = Pace::of(200, 2);
        let start = Instant::now() + Duration::from_secs(5);
        let mut now = start;
        for _ in 0..1000 {
            now += pace.next(now);
        }
        let took = now - start;
        assert!(took > Duration::from_millis(9800) && took <= Duration::from_secs(10), "{took:?}");
        let mut free = Pace::of(0, 2);
        assert!((0..1000).all(|_| free.next(start).is_zero()));
    }
}
