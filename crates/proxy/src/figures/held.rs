//! How long clients were held, counted by length: what a change of the writer costs those who were there.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper ends of the steps, in milliseconds; longer holds are counted in one more.
const UP_TO_MS: [u64; 14] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

/// The counts since the last hold began.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    steps: [AtomicU64; UP_TO_MS.len()],
    longer: AtomicU64,
    longest_us: AtomicU64,
}

/// How long clients were held, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Statements held, and gone on with or failed since.
    pub statements: u64,
    /// The longest.
    pub longest: Duration,
    /// By length, how many: up to so long and longer than the step before; without an end, all that are longer.
    pub steps: Vec<(Option<Duration>, u64)>,
}

impl Holds {
    /// A hold begins: what was before is another one's.
    pub fn begin(&self) {
        self.steps.iter().chain([&self.longer, &self.longest_us]).for_each(|count| count.store(0, Relaxed));
    }

    /// A statement was held for so long.
    pub fn count(&self, held: Duration) {
        let step = UP_TO_MS.iter().position(|&up_to| held <= Duration::from_millis(up_to));
        step.and_then(|step| self.steps.get(step)).unwrap_or(&self.longer).fetch_add(1, Relaxed);
        self.longest_us.fetch_max(u64::try_from(held.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The counts now.
    pub fn view(&self) -> Held {
        let ends = UP_TO_MS.iter().map(|&ms| Some(Duration::from_millis(ms))).chain([None]);
        let counts = self.steps.iter().chain([&self.longer]).map(|count| count.load(Relaxed));
        let steps: Vec<_> = ends.zip(counts).collect();
        Held {
            statements: steps.iter().map(|(_, count)| count).sum(),
            longest: Duration::from_micros(self.longest_us.load(Relaxed)),
            steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hold_is_counted_in_the_first_step_that_takes_it() {
        let holds = Holds::default();
        for ms in [0, 1, 3, 5, 6, 30_000, 30_001, 90_000] {
            holds.count(Duration::from_millis(ms));
        }
        let view = holds.view();
        let filled: Vec<_> = view.steps.iter().filter(|(_, count)| *count > 0).copied().collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(filled, [(ms(1), 2), (ms(5), 2), (ms(10), 1), (ms(30_000), 1), (None, 2)]);
        assert_eq!((view.statements, view.longest), (8, Duration::from_secs(90)));
        holds.begin();
        assert_eq!((holds.view().statements, holds.view().longest), (0, Duration::ZERO));
    }
}
