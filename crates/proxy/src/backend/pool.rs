//! The connections to one writer that its clients share: a list of idle ones per thread, one budget over all, and a queue.
//!
//! # Exactness
//! Nobody waits while there is something to have. Who waits first joins the queue, **then** looks through the lists
//! ([`Pool::serve`]); who parks first puts the connection on a list, **then** looks whether anybody waits. Both are ordered
//! by a list's mutex and `waiting`, which is sequentially consistent, so one of the two sees the other. Accounts are served
//! in turn ([`crate::backend::queue`]); whoever is at the queue's front can be served with any idle connection, since one of
//! another account is closed and its place in the budget taken over.
//!
//! A place in the budget is a [`Slot`]; it goes with its connection and comes back when that is dropped, however that
//! happens. Locks are taken in the order queue, list; none is held while anything is awaited or a slot is dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use wire::capability::Status;

use crate::arrival::proven::Account;
use crate::backend::Warm;
use crate::backend::parked::Parked;
use crate::backend::queue::Turns;
use crate::session::Kick;
use crate::state::settings::Settings;

/// What is remembered of the connections to one writer.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Tells pools apart; a writer that comes back has a new one.
    pub serial: u64,
    max: AtomicUsize,
    /// There may be more connections than the most there may be.
    surplus: AtomicBool,
    lists: Box<[List]>,
    queue: Mutex<Queue>,
    waiting: AtomicUsize,
    /// What a login finds, by its collation.
    fresh: Mutex<HashMap<u8, Fresh>>,
    /// Connections opened ahead, not yet used by any thread.
    warm: Mutex<Vec<(Arc<Account>, Warm)>>,
    /// Sessions between statements that could give their connection back, if asked.
    lingering: Mutex<VecDeque<Arc<Kick>>>,
    /// How often somebody had to wait.
    pub waits: AtomicU64,
}

/// The idle connections of one thread; alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct List(Mutex<Vec<Parked>>);

#[derive(Debug, Default)]
struct Queue {
    /// Places of the budget that are taken.
    open: usize,
    /// Those of them whose connection is being closed because there are too many.
    shed: usize,
    waiters: Turns<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    account: Arc<Account>,
    settings: Arc<Settings>,
    granted: oneshot::Sender<Grant>,
}

/// A place in the budget of a pool.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Pool>);

/// What a session is given.
#[derive(Debug)]
pub(crate) enum Grant {
    /// An idle connection of its account, on this thread or another.
    Parked(Parked),
    /// The right to open one.
    Slot(Slot),
}

/// What a session looks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Whose login.
    pub account: &'a Arc<Account>,
    /// The settings it must have, or be given.
    pub settings: &'a Arc<Settings>,
    /// What `LAST_INSERT_ID()` must return.
    pub last_insert_id: u64,
    /// The connection the session had last.
    pub serial: u64,
}

/// What a login with some collation finds.
#[derive(Debug, Clone)]
pub(crate) struct Fresh {
    /// The settings; no schema.
    pub settings: Arc<Settings>,
    /// Status flags.
    pub status: Status,
}

/// The figures of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    /// Connections open, or being opened.
    pub open: usize,
    /// Of those, idle.
    pub idle: usize,
    /// Sessions waiting for one.
    pub waiting: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// An empty pool of at most `max` connections, for so many threads.
    pub fn new(max: usize, threads: usize) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            serial: LAST.fetch_add(1, Relaxed) + 1,
            max: AtomicUsize::new(max),
            surplus: AtomicBool::new(false),
            lists: (0..threads).map(|_| List::default()).collect(),
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            fresh: Mutex::default(),
            warm: Mutex::default(),
            lingering: Mutex::default(),
            waits: AtomicU64::new(0),
        }
    }

    /// Connections at most.
    pub fn max(&self) -> usize {
        self.max.load(Relaxed)
    }

    /// Changes how many there may be. With fewer, idle ones are closed now, and the others when they are given back.
    pub fn set_max(self: &Arc<Self>, max: usize) {
        self.max.store(max, SeqCst);
        self.surplus.store(true, SeqCst);
        // The caller is not inside the gate, so there is no goodbye.
        while self.sheds() {
            let evicted = self.evict(false).is_some();
            self.has_shed();
            if !evicted {
                break;
            }
        }
        if self.is_awaited() {
            self.serve();
        }
    }

    /// Whether there are more than there may be, so that the caller must close one, and then say [`Pool::has_shed`]; once there
    /// are not, nobody asks again before the next change. Counted here: of two threads that ask at once with one too many, one closes.
    fn sheds(&self) -> bool {
        if !self.surplus.load(Relaxed) {
            return false;
        }
        let mut queue = lock(&self.queue);
        let surplus = queue.open.saturating_sub(queue.shed) > self.max();
        queue.shed += usize::from(surplus);
        self.surplus.store(surplus, SeqCst);
        surplus
    }

    fn has_shed(&self) {
        lock(&self.queue).shed -= 1;
    }

    /// Statements prepared on one connection at most: all of them together stay below the 16,382 that a server allows
    /// by default (`max_prepared_stmt_count`).
    pub fn prepared_max(&self) -> usize {
        (12_000 / self.max()).clamp(16, 1000)
    }

    /// Whether a session waits for a connection.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// What can be had at once; nothing if others wait already.
    pub fn take(self: &Arc<Self>, shard: usize, wanted: &Wanted<'_>) -> Option<Grant> {
        if self.is_awaited() {
            return None;
        }
        let threads = self.lists.len();
        let parked = (0..threads).find_map(|n| {
            let list = &self.lists[(shard + n) % threads];
            best(&mut lock(&list.0), wanted)
        });
        if let Some(parked) = parked {
            return Some(Grant::Parked(parked));
        }
        {
            let mut queue = lock(&self.queue);
            if queue.open < self.max() {
                queue.open += 1;
                return Some(Grant::Slot(Slot(Arc::clone(self))));
            }
        }
        self.evict(true).map(Grant::Slot)
    }

    /// The right to open a connection, if it can be had at once.
    pub fn take_slot(self: &Arc<Self>) -> Option<Slot> {
        if self.is_awaited() {
            return None;
        }
        {
            let mut queue = lock(&self.queue);
            if queue.open < self.max() {
                queue.open += 1;
                return Some(Slot(Arc::clone(self)));
            }
        }
        self.evict(true)
    }

    /// Closes the connection that has been idle longest, for its place.
    fn evict(&self, says_goodbye: bool) -> Option<Slot> {
        let oldest = |list: &List| lock(&list.0).iter().map(|p| p.since).min();
        let (_, list) = self
            .lists
            .iter()
            .filter_map(|list| Some((oldest(list)?, list)))
            .min_by_key(|(since, _)| *since)?;
        let mut list = lock(&list.0);
        let at = list.iter().enumerate().min_by_key(|(_, p)| p.since)?.0;
        let parked = list.swap_remove(at);
        drop(list);
        parked.close(says_goodbye)
    }

    /// Takes a connection back: for who waits longest, else to this thread's list.
    pub fn park(self: &Arc<Self>, shard: usize, parked: Parked) {
        if self.sheds() {
            drop(parked.close(true));
            self.has_shed();
            return;
        }
        lock(&self.lists[shard].0).push(parked);
        if self.is_awaited() {
            self.serve();
        }
    }

    /// Joins the queue.
    pub fn wait(self: &Arc<Self>, account: &Arc<Account>, settings: &Arc<Settings>) -> Waiting {
        self.waits.fetch_add(1, Relaxed);
        let (granted, grant) = oneshot::channel();
        let ticket = {
            let mut queue = lock(&self.queue);
            let user = account.user();
            let (account, settings) = (Arc::clone(account), Arc::clone(settings));
            let ticket = queue.waiters.join(user, Waiter { account, settings, granted });
            self.waiting.store(queue.waiters.len(), SeqCst);
            ticket
        };
        self.serve();
        Waiting { pool: Arc::clone(self), ticket, grant }
    }

    /// Gives what there is to those who wait.
    fn serve(self: &Arc<Self>) {
        loop {
            let mut queue = lock(&self.queue);
            let Some(first) = queue.waiters.first() else { return };
            let wanted =
                Wanted { account: &first.account, settings: &first.settings, last_insert_id: 0, serial: 0 };
            let parked = self.lists.iter().find_map(|list| best(&mut lock(&list.0), &wanted));
            let grant = match parked {
                Some(parked) => Grant::Parked(parked),
                None if queue.open < self.max() => {
                    queue.open += 1;
                    Grant::Slot(Slot(Arc::clone(self)))
                }
                // Not every caller is inside the gate.
                None => match self.evict(false) {
                    Some(slot) => Grant::Slot(slot),
                    None => return,
                },
            };
            let first = queue.waiters.take_first();
            self.waiting.store(queue.waiters.len(), SeqCst);
            drop(queue);
            if let Some(first) = first
                && let Err(unwanted) = first.granted.send(grant)
            {
                // It has given up meanwhile.
                self.give_back(unwanted);
            }
        }
    }

    /// A grant that is not used after all.
    fn give_back(self: &Arc<Self>, grant: Grant) {
        match grant {
            Grant::Parked(parked) => lock(&self.lists[0].0).push(parked),
            Grant::Slot(slot) => drop(slot),
        }
    }

    fn slot_freed(self: &Arc<Self>) {
        lock(&self.queue).open -= 1;
        if self.is_awaited() {
            self.serve();
        }
    }

    /// Asks one session that could give its connection back to do so.
    pub fn press(&self) {
        loop {
            let Some(kick) = lock(&self.lingering).pop_front() else { return };
            if kick.press() {
                return;
            }
        }
    }

    /// A session can be asked to give its connection back.
    pub fn linger(&self, kick: &Arc<Kick>) {
        if kick.linger() {
            lock(&self.lingering).push_back(Arc::clone(kick));
        }
    }

    /// What a login with this collation finds, if one has been looked at.
    pub fn fresh(&self, collation: u8) -> Option<Fresh> {
        lock(&self.fresh).get(&collation).cloned()
    }

    /// Remembers what a login found.
    pub fn note_fresh(&self, collation: u8, fresh: Fresh) {
        lock(&self.fresh).insert(collation, fresh);
    }

    /// Keeps a connection opened ahead, if there is room for it.
    pub fn stock(&self, account: Arc<Account>, warm: Warm) {
        let mut stock = lock(&self.warm);
        if stock.len() < self.max() {
            stock.push((account, warm));
        }
    }

    /// A connection of this account opened ahead.
    pub fn warm(&self, account: &Arc<Account>, collation: u8) -> Option<Warm> {
        let mut stock = lock(&self.warm);
        let suits = |(of, warm): &(Arc<Account>, Warm)| {
            Arc::ptr_eq(of, account) && warm.identity.collation == collation
        };
        let at = stock.iter().position(suits)?;
        Some(stock.swap_remove(at).1)
    }

    /// Closes what was opened ahead.
    pub fn cool(&self) {
        let stock = std::mem::take(&mut *lock(&self.warm));
        drop(stock);
    }

    /// Closes what has been idle since before this moment. The caller is inside the gate.
    pub fn close_idle(self: &Arc<Self>, before: Instant) {
        for list in &self.lists {
            let old: Vec<Parked> = lock(&list.0).extract_if(.., |parked| parked.since < before).collect();
            // Each gives its place back when it is dropped here, with no lock held.
            old.into_iter().for_each(|parked| drop(parked.close(true)));
        }
    }

    /// The figures, as of about now.
    pub fn figures(&self) -> Figures {
        let idle = self.lists.iter().map(|list| lock(&list.0).len()).sum();
        let queue = lock(&self.queue);
        Figures { open: queue.open, idle, waiting: queue.waiters.len() }
    }
}

/// The connection that suits best: the session's own, else the one idle longest of those with equal settings, else of
/// those that can be given them.
fn best(list: &mut Vec<Parked>, wanted: &Wanted<'_>) -> Option<Parked> {
    let mut found: Option<(bool, Instant, usize)> = None;
    for (at, parked) in list.iter().enumerate().rev() {
        if !Arc::ptr_eq(&parked.account, wanted.account) {
            continue;
        }
        if parked.serial() == wanted.serial && parked.settings().leads_to(wanted.settings) {
            found = Some((true, parked.since, at));
            break;
        }
        let equal = Arc::ptr_eq(parked.settings(), wanted.settings)
            && parked.last_insert_id() == wanted.last_insert_id;
        let better = found.is_none_or(|(is_equal, since, _)| {
            equal && !is_equal || equal == is_equal && parked.since < since
        });
        if better && (equal || parked.settings().leads_to(wanted.settings)) {
            found = Some((equal, parked.since, at));
        }
    }
    found.map(|(.., at)| list.swap_remove(at))
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slot_freed();
    }
}

impl Slot {
    /// The pool whose budget it is a place in.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

/// A place in the queue; dropped, it is given up.
#[derive(Debug)]
pub(crate) struct Waiting {
    pool: Arc<Pool>,
    ticket: u64,
    grant: oneshot::Receiver<Grant>,
}

impl Waiting {
    /// Waits; may be dropped and called again.
    pub async fn granted(&mut self) -> Option<Grant> {
        (&mut self.grant).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        {
            let mut queue = lock(&self.pool.queue);
            queue.waiters.leave(self.ticket);
            self.pool.waiting.store(queue.waiters.len(), SeqCst);
        }
        self.grant.close();
        if let Ok(grant) = self.grant.try_recv() {
            self.pool.give_back(grant);
        }
        // What was given back, or what others could not have while this one was first, goes to the next.
        if self.pool.is_awaited() {
            self.pool.serve();
        }
    }
}
