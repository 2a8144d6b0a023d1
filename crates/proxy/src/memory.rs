//! What the door holds in memory for its clients, and the bound on it.
//!
//! Counted is what one client can make large, or many clients can make many: a part for each client ([`CLIENT`]), read buffers,
//! prepared statements and their texts, answers that are kept, frames of compressing clients. It is counted when memory is taken from the
//! allocator or given back to it, by each thread in a number that nobody else writes. A statement that fits the buffer it is
//! read into takes that from its thread's list, and is not counted at all.
//!
//! ```text
//! 0 ------------------------------------ 3/4 ------------- 7/8 ------- max
//! anything                               | no large buffer | no client | small buffers only, which each client's part pays for
//! ```
//!
//! Who asks for a large buffer above 3/4 waits, and its socket is not read. Somebody is then short of memory; once a second the
//! largest of those who hold memory and do nothing with it are ended, until there is enough, and a quarter free ([`keep_within`]). So nobody waits for
//! ever: either memory comes free, or whoever waits is the largest of those who do not get on.
//!
//! Two threads that ask at once may both be granted the last bytes, and what the allocator loses between allocations is not counted:
//! the process can be larger than what is counted by as much.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::Shared;
use crate::session::clock;

/// What a client counts for, however idle, in bytes: about twice what one takes in plain text, and its small buffer.
pub(crate) const CLIENT: usize = 8 * 1024;
/// What a client under TLS counts for beside that, in bytes.
pub(crate) const UNDER_TLS: usize = 16 * 1024;

/// What so many clients count for while they are idle, in bytes, in plain text.
pub fn idle_clients(clients: usize) -> usize {
    clients.saturating_mul(CLIENT)
}

/// The account of a door.
#[derive(Debug)]
pub(crate) struct Memory {
    max: AtomicUsize,
    tallies: Box<[Tally]>,
    /// Of prepared statements' texts, which clients on all threads share.
    pub texts: AtomicUsize,
    /// How much was missing when somebody last asked in vain.
    short: AtomicUsize,
    /// Clients refused.
    pub refused: AtomicU64,
    /// Clients ended.
    pub ended: AtomicU64,
}

/// What one thread has taken; alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Tally(AtomicUsize);

/// What memory is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// More than a common statement needs.
    Large,
    /// One more client.
    Client,
    /// A common statement.
    Small,
}

impl For {
    /// Up to where it is granted.
    fn of(self, max: usize) -> usize {
        match self {
            Self::Large => max / 4 * 3,
            Self::Client => max / 8 * 7,
            Self::Small => max,
        }
    }
}

thread_local! {
    static HERE: OnceCell<(Arc<Memory>, usize)> = const { OnceCell::new() };
}

/// Has this thread count what it takes from now on.
pub(crate) fn count_here(memory: &Arc<Memory>, shard: usize) {
    HERE.with(|here| drop(here.set((Arc::clone(memory), shard))));
}

fn here<R>(then: impl FnOnce(&Memory, &Tally) -> R) -> Option<R> {
    // A thread that is ending counts no more.
    HERE.try_with(|here| here.get().map(|(memory, shard)| then(memory, &memory.tallies[*shard])))
        .ok()
        .flatten()
}

/// So many bytes have been taken from the allocator.
pub(crate) fn take(bytes: usize) {
    here(|_, tally| tally.0.store(tally.0.load(Relaxed).wrapping_add(bytes), Relaxed));
}

/// So many have been given back.
pub(crate) fn give(bytes: usize) {
    here(|_, tally| tally.0.store(tally.0.load(Relaxed).wrapping_sub(bytes), Relaxed));
}

/// Whether so many bytes may be taken. If not, somebody is short of memory.
pub(crate) fn may_take(bytes: usize, what: For) -> bool {
    here(|memory, _| memory.grants(bytes, what)).unwrap_or(true)
}

/// Whether so many bytes can ever be had for a large buffer.
pub(crate) fn can_have(bytes: usize) -> bool {
    here(|memory, _| bytes <= For::Large.of(memory.max())).unwrap_or(true)
}

/// Bytes that are counted as long as this lives, which it does on one thread.
#[derive(Debug, Default)]
pub(crate) struct Held(usize);

impl Held {
    /// Counts so many bytes.
    pub fn of(bytes: usize) -> Self {
        take(bytes);
        Self(bytes)
    }

    /// Counts so many instead.
    pub fn set(&mut self, bytes: usize) {
        give(self.0);
        take(bytes);
        self.0 = bytes;
    }

    /// How many.
    pub fn bytes(&self) -> usize {
        self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        give(self.0);
    }
}

impl Memory {
    /// An account for so many threads.
    pub fn new(max: usize, threads: usize) -> Self {
        Self {
            max: AtomicUsize::new(max),
            tallies: (0..threads).map(|_| Tally::default()).collect(),
            texts: AtomicUsize::new(0),
            short: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// The bound, in bytes.
    pub fn max(&self) -> usize {
        self.max.load(Relaxed)
    }

    /// Another bound, from now on.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// What is held, in bytes, as of about now.
    pub fn held(&self) -> usize {
        let threads =
            self.tallies.iter().fold(0, |sum: usize, tally| sum.wrapping_add(tally.0.load(Relaxed)));
        threads.saturating_add(self.texts.load(Relaxed))
    }

    /// Whether so many bytes more may be held. If not, somebody is short of memory.
    pub fn grants(&self, bytes: usize, what: For) -> bool {
        let (wanted, granted) = (self.held().saturating_add(bytes), what.of(self.max()));
        if wanted > granted {
            self.short.fetch_max(wanted - granted, Relaxed);
        }
        wanted <= granted
    }
}

/// Once a second, where somebody is short of memory: ends those who hold most and do nothing with it. For ever.
pub(crate) async fn keep_within(shared: Arc<Shared>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let short = shared.memory.short.swap(0, Relaxed);
        if short > 0 {
            end_the_largest(&shared, short.max(shared.memory.max() / 4));
        }
    }
}

fn end_the_largest(shared: &Shared, short: usize) {
    let now = clock::now();
    let hoards = shared.registry.seats().into_iter().filter_map(|seat| {
        let kick = seat.detail().kick.clone()?;
        let hoard = kick.hoard(now)?;
        Some((hoard, seat.id, kick))
    });
    let mut hoards: Vec<_> = hoards.collect();
    hoards.sort_by_key(|(hoard, ..)| (hoard.why, std::cmp::Reverse(hoard.bytes)));
    let mut freed = 0;
    for (hoard, client, kick) in hoards {
        if freed >= short {
            break;
        }
        freed += hoard.bytes;
        shared.memory.ended.fetch_add(1, Relaxed);
        tracing::warn!(client, bytes = hoard.bytes, why = ?hoard.why, "a client is ended: the front door is short of memory");
        kick.evict();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_stop_before_clients_and_clients_before_small_buffers() {
        let memory = Arc::new(Memory::new(800, 2));
        count_here(&memory, 1);
        let mut held = Held::of(600);
        assert!(!may_take(1, For::Large) && may_take(100, For::Client) && !may_take(101, For::Client));
        held.set(700);
        assert!(!may_take(1, For::Client) && may_take(100, For::Small) && !may_take(101, For::Small));
        assert_eq!((memory.held(), memory.short.load(Relaxed)), (700, 1));
        memory.texts.store(50, Relaxed);
        assert_eq!(memory.held(), 750);
        drop(held);
        assert!(memory.held() == 50 && can_have(600) && !can_have(601));
    }
}
