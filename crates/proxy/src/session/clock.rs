//! A clock of whole seconds for each thread, and what is woken by it: clients idle for too long, statements that run for too
//! long.
//!
//! A timer of its own for each of thousands of idle sessions would cost more memory than the session may have. So a session writes
//! down the second in which it wants to be woken, four bytes, and once a second its thread looks through them. A limit of n
//! seconds is met between n and n + 1 seconds, and a little.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::session::Kick;

thread_local! {
    static NOW: Cell<u32> = const { Cell::new(1) };
}

/// This thread's second.
pub(crate) fn now() -> u32 {
    NOW.get()
}

/// When `limit` from `since` has passed for certain; 0, which is never, if there is no limit.
pub(crate) fn after(since: u32, limit: Duration) -> u32 {
    let seconds = u32::try_from(limit.as_secs().max(u64::from(!limit.is_zero()))).unwrap_or(u32::MAX);
    if seconds == 0 { 0 } else { since.saturating_add(seconds).saturating_add(1) }
}

/// The earlier of two moments, of which 0 is never.
pub(crate) fn earlier(a: u32, b: u32) -> u32 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

/// Advances this thread's clock for ever, and wakes whoever is due.
pub(crate) async fn run(for_each: impl Fn(&mut dyn FnMut(&Arc<Kick>))) {
    let began = Instant::now();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let now = u32::try_from(began.elapsed().as_secs()).unwrap_or(u32::MAX - 1) + 1;
        NOW.set(now);
        for_each(&mut |kick| {
            if kick.is_due(now) {
                kick.kick();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_never() {
        assert_eq!(after(7, Duration::ZERO), 0);
        assert_eq!(after(7, Duration::from_millis(10)), 9);
        assert_eq!(after(7, Duration::from_secs(3)), 11);
        assert_eq!(after(7, Duration::MAX), u32::MAX);
        assert_eq!([earlier(0, 5), earlier(5, 0), earlier(5, 4), earlier(0, 0)], [5, 5, 4, 0]);
    }
}
