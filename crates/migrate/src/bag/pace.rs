//! How often the background proof may read a bag. Without an index, counting a handful of values reads the whole table on the
//! source: rounds as short as those of keyed tables would keep it busy with nothing else.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A bag rests this many times as long as reading it took: a tenth of the time at the most goes into it.
const REST_PER_READ: u32 = 9;

/// Which bags rest, and until when.
#[derive(Debug, Default)]
pub(crate) struct BagPace {
    rest: HashMap<usize, Instant>,
}

impl BagPace {
    /// Whether this bag may be read now.
    pub fn may_read(&self, table: usize) -> bool {
        self.rest.get(&table).is_none_or(|until| Instant::now() >= *until)
    }

    /// This bag was read, and that took so long.
    pub fn was_read(&mut self, table: usize, took: Duration) {
        self.rest.insert(table, Instant::now() + took * REST_PER_READ);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bag_rests_in_proportion_to_what_reading_it_took() {
        let mut pace = BagPace::default();
        assert!(pace.may_read(0));
        pace.was_read(0, Duration::from_secs(60));
        assert!(!pace.may_read(0) && pace.may_read(1));
        pace.was_read(0, Duration::ZERO);
        assert!(pace.may_read(0));
    }
}
