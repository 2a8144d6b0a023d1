//! How often, how long and with what success statements ran, per digest and account.
//!
//! One list of digests for the door, and per thread a table of their figures, behind a mutex that hardly anybody else wants; summed up
//! when asked. A statement whose digest the thread has seen costs one hash of its text and two looks into its table, and allocates
//! nothing; the list is looked at for what is new to a thread.
//!
//! The list is bounded: a new digest in a full one takes the place of the least used of a few, counted over all threads, whose figures
//! go to "other" from every thread. So a flood of texts that never come again passes through a few places, while what comes often
//! stays; and what is listed is exact: of a digest either all statements since it was listed are counted under it, or none.
//!
//! Locks are taken in the order list, table; nobody who has a table's waits for the list.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::text::digest::Sql;

/// Digests of the door.
const DIGESTS_MAX: usize = 1_000;
/// Of how many the least used makes room.
const CANDIDATES: usize = 8;
/// Four steps to each doubling of microseconds, up to more than an hour.
const STEPS: usize = 128;

/// What is known of the statements of one digest and account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestFigures {
    /// The digest; the same in every process. 0: all those whose place was taken by others.
    pub digest: u64,
    /// The account.
    pub user: String,
    /// The text, with its values taken out.
    pub text: String,
    /// Statements that have ended.
    pub count: u64,
    /// Of those, the ones that ended with an error.
    pub errors: u64,
    /// From the arrival of the statement until its answer was passed on, added up.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
    /// Half of them took no longer. Like the next two up to a quarter too high, as they are counted in steps.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// Of the total: waiting for a server connection.
    pub waited: Duration,
    /// Of the total: held while the writer changed.
    pub held: Duration,
    /// Bytes of answers.
    pub bytes: u64,
}

/// The figures of all digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Whether statements are being counted.
    pub counting: bool,
    /// How long ago it was begun, or begun anew.
    pub since: Duration,
    /// Each digest and account; in no order.
    pub digests: Vec<DigestFigures>,
    /// All those whose place was taken by others.
    pub other: Option<DigestFigures>,
    /// How many digests had to give up their places; one that came again later counts from then on, and again if it had to again.
    pub evicted: u64,
}

/// How one statement went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ran {
    pub failed: bool,
    pub took: Duration,
    pub waited: Duration,
    pub held: Duration,
    pub bytes: u64,
}

/// Names a digest of an account.
pub(crate) fn key_of(digest: u64, user: &[u8]) -> u64 {
    user.iter()
        .fold(digest, |key, b| (key.rotate_left(5) ^ u64::from(*b)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The list, and the tables of all threads.
#[derive(Debug)]
pub(crate) struct Tables {
    counting: AtomicBool,
    list: Mutex<List>,
    tables: Box<[Table]>,
}

/// Alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Table(Mutex<Counts>);

/// What one thread has counted.
#[derive(Debug, Default)]
struct Counts {
    by_key: ByKey<Figures>,
    other: Figures,
}

/// Which digests have a place.
#[derive(Debug)]
struct List {
    by_key: ByKey<usize>,
    places: Vec<Entry>,
    /// Where the next look for room begins.
    next: usize,
    begun: Instant,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    digest: u64,
    user: Box<[u8]>,
    text: Arc<str>,
}

type ByKey<T> = HashMap<u64, T, BuildHasherDefault<AsIs>>;

#[derive(Debug, Clone)]
struct Figures {
    count: u64,
    errors: u64,
    total: Duration,
    max: Duration,
    waited: Duration,
    held: Duration,
    bytes: u64,
    steps: Box<[u32; STEPS]>,
}

impl Default for Figures {
    fn default() -> Self {
        let zero = Duration::ZERO;
        Self {
            count: 0,
            errors: 0,
            total: zero,
            max: zero,
            waited: zero,
            held: zero,
            bytes: 0,
            steps: Box::new([0; STEPS]),
        }
    }
}

impl List {
    fn begin() -> Self {
        Self { by_key: HashMap::default(), places: Vec::new(), next: 0, begun: Instant::now(), evicted: 0 }
    }
}

impl Tables {
    pub fn new(threads: usize, counting: bool) -> Self {
        Self {
            counting: AtomicBool::new(counting),
            list: Mutex::new(List::begin()),
            tables: (0..threads).map(|_| Table::default()).collect(),
        }
    }

    pub fn counting(&self) -> bool {
        self.counting.load(Relaxed)
    }

    pub fn set_counting(&self, counting: bool) {
        self.counting.store(counting, Relaxed);
    }

    fn counts(&self, shard: usize) -> MutexGuard<'_, Counts> {
        lock(&self.tables[shard].0)
    }

    /// Sees that there is a place for a statement that begins.
    pub fn find_place(&self, shard: usize, (key, digest): (u64, u64), user: &[u8], sql: Sql<'_>) {
        if self.counts(shard).by_key.contains_key(&key) {
            return;
        }
        let mut list = lock(&self.list);
        if !list.by_key.contains_key(&key) {
            self.make_place(&mut list, Entry { key, digest, user: user.into(), text: sql.shown().into() });
        }
        // With the list still locked, so that the place is not another's by now.
        self.counts(shard).by_key.entry(key).or_default();
    }

    /// Lists a digest; if the list is full, in the place of another.
    fn make_place(&self, list: &mut List, entry: Entry) {
        let key = entry.key;
        if list.places.len() < DIGESTS_MAX {
            list.by_key.insert(key, list.places.len());
            list.places.push(entry);
            return;
        }
        let mut used = [0; CANDIDATES];
        // Far apart, since what is used most was listed first, side by side.
        let next = list.next;
        let candidate = |n: usize| (next + n * (DIGESTS_MAX / CANDIDATES)) % DIGESTS_MAX;
        for table in &self.tables {
            let counts = lock(&table.0);
            for (n, used) in used.iter_mut().enumerate() {
                *used += counts.by_key.get(&list.places[candidate(n)].key).map_or(0, |figures| figures.count);
            }
        }
        let least = used.iter().enumerate().min_by_key(|(_, used)| **used);
        let at = candidate(least.map_or(0, |(n, _)| n));
        list.next = (next + 1) % DIGESTS_MAX;
        let gone = std::mem::replace(&mut list.places[at], entry);
        list.by_key.remove(&gone.key);
        list.by_key.insert(key, at);
        list.evicted += 1;
        for table in &self.tables {
            let mut counts = lock(&table.0);
            if let Some(figures) = counts.by_key.remove(&gone.key) {
                counts.other.add(&figures);
            }
        }
    }

    /// Counts a statement that has ended.
    pub fn count(&self, shard: usize, key: u64, ran: Ran) {
        let mut counts = self.counts(shard);
        let Counts { by_key, other } = &mut *counts;
        // Its place may have been taken meanwhile.
        by_key.get_mut(&key).unwrap_or(other).count(ran);
    }

    /// The text of a digest, if it still has its place.
    pub fn text(&self, key: u64) -> Option<Arc<str>> {
        let list = lock(&self.list);
        let at = *list.by_key.get(&key)?;
        Some(Arc::clone(&list.places.get(at)?.text))
    }

    /// The figures of all threads; `anew`: and begins to count from nothing.
    pub fn view(&self, anew: bool) -> Digests {
        let mut sums: ByKey<Figures> = HashMap::default();
        let mut other = Figures::default();
        let mut list = lock(&self.list);
        for table in &self.tables {
            let mut counts = lock(&table.0);
            other.add(&counts.other);
            for (key, figures) in &counts.by_key {
                sums.entry(*key).or_default().add(figures);
            }
            if anew {
                *counts = Counts::default();
            }
        }
        let counted = |entry: &Entry| {
            let figures = sums.get(&entry.key).filter(|figures| figures.count > 0)?;
            let user = String::from_utf8_lossy(&entry.user).into_owned();
            Some(figures.view(entry.digest, user, entry.text.to_string()))
        };
        let view = Digests {
            counting: self.counting(),
            since: list.begun.elapsed(),
            digests: list.places.iter().filter_map(counted).collect(),
            other: (other.count > 0).then(|| other.view(0, String::new(), String::new())),
            evicted: list.evicted,
        };
        if anew {
            *list = List::begin();
        }
        view
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Figures {
    fn count(&mut self, ran: Ran) {
        self.count += 1;
        self.errors += u64::from(ran.failed);
        self.total += ran.took;
        self.max = self.max.max(ran.took);
        self.waited += ran.waited;
        self.held += ran.held;
        self.bytes += ran.bytes;
        let step = &mut self.steps[step_of(ran.took)];
        *step = step.saturating_add(1);
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.total += other.total;
        self.max = self.max.max(other.max);
        self.waited += other.waited;
        self.held += other.held;
        self.bytes += other.bytes;
        for (mine, theirs) in self.steps.iter_mut().zip(other.steps.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// Of a hundred, so many took no longer.
    fn percentile(&self, of_100: u64) -> Duration {
        let counted: u64 = self.steps.iter().map(|n| u64::from(*n)).sum();
        let rank = (counted * of_100).div_ceil(100);
        let mut seen = 0;
        for (step, n) in self.steps.iter().enumerate() {
            seen += u64::from(*n);
            if seen >= rank && seen > 0 {
                return end_of(step).min(self.max);
            }
        }
        self.max
    }

    fn view(&self, digest: u64, user: String, text: String) -> DigestFigures {
        DigestFigures {
            digest,
            user,
            text,
            count: self.count,
            errors: self.errors,
            total: self.total,
            max: self.max,
            p50: self.percentile(50),
            p95: self.percentile(95),
            p99: self.percentile(99),
            waited: self.waited,
            held: self.held,
            bytes: self.bytes,
        }
    }
}

fn step_of(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if us < 4 {
        return us as usize;
    }
    let doublings = us.ilog2() as usize;
    ((doublings - 1) * 4 + ((us >> (doublings - 2)) & 3) as usize).min(STEPS - 1)
}

/// What no time in this step passes.
fn end_of(step: usize) -> Duration {
    if step + 1 >= STEPS {
        return Duration::MAX;
    }
    let begin = |step: usize| match step {
        0..4 => step as u64,
        _ => (4 + (step as u64 & 3)) << (step / 4 - 1),
    };
    Duration::from_micros(begin(step + 1))
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*b);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::reading::Reading;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    fn ran(took: Duration) -> Ran {
        Ran { took, ..Ran::default() }
    }

    fn run(tables: &Tables, shard: usize, text: &str, user: &str, ran: Ran) {
        let sql = Sql { text: text.as_bytes(), reading: Reading::plain(true), whole: true };
        let digest = sql.digest();
        let key = key_of(digest, user.as_bytes());
        tables.find_place(shard, (key, digest), user.as_bytes(), sql);
        tables.count(shard, key, ran);
    }

    #[test]
    fn steps_hold_what_falls_into_them() {
        for n in (0..100_000).chain([1 << 30, 3_600_000_000]) {
            let step = step_of(us(n));
            assert!(us(n) < end_of(step) && (step == 0 || us(n) >= end_of(step - 1)), "{n}");
            assert!(n < 4 || end_of(step) <= us(n + n / 4 + 1), "{n}");
        }
        assert_eq!(step_of(Duration::MAX), STEPS - 1);
    }

    #[test]
    fn threads_are_merged_and_accounts_are_not() {
        let tables = Tables::new(2, true);
        for n in 1..=100 {
            run(&tables, n % 2, &format!("SELECT {n}"), "a", ran(us(1000 * n as u64)));
        }
        run(&tables, 0, "SELECT 1", "b", Ran { failed: true, bytes: 7, ..ran(us(5)) });
        let mut view = tables.view(false).digests;
        view.sort_by(|a, b| a.user.cmp(&b.user));
        let [a, b] = &view[..] else { panic!("{view:?}") };
        assert_eq!((a.digest, a.text.as_str()), (b.digest, "SELECT ?"));
        assert_eq!((a.count, a.errors, a.total, a.max), (100, 0, us(5_050_000), us(100_000)));
        assert_eq!((b.count, b.errors, b.bytes), (1, 1, 7));
        for (p, exact) in [(a.p50, us(50_000)), (a.p95, us(95_000)), (a.p99, us(99_000))] {
            assert!(p >= exact && p <= exact + exact / 4, "{p:?} for {exact:?}");
        }
        assert_eq!(tables.view(true).digests.len(), 2);
        assert_eq!(tables.view(false).digests.len(), 0);
    }

    #[test]
    fn a_flood_of_texts_leaves_the_frequent_ones_in_their_places() {
        let tables = Tables::new(1, true);
        for _ in 0..3 {
            run(&tables, 0, "SELECT a FROM often", "u", ran(us(1)));
        }
        for n in 0..5_000 {
            run(&tables, 0, &format!("SELECT c{n} FROM seldom"), "u", ran(us(1)));
        }
        let view = tables.view(false);
        assert_eq!(view.digests.len(), DIGESTS_MAX);
        assert!(view.digests.iter().any(|d| d.text.contains("often") && d.count == 3));
        assert_eq!(view.evicted, 4_001);
        assert_eq!(view.other.unwrap().count, 4_001);
    }

    #[test]
    fn the_threads_of_a_door_have_one_list_and_lose_nothing_of_what_is_on_it() {
        let tables = Tables::new(4, true);
        // Seldom on each thread, often on all of them together.
        let spread = |n: usize| format!("SELECT c{n} FROM spread");
        for (n, shard) in (0..400).flat_map(|n| (0..4).map(move |shard| (n, shard))) {
            run(&tables, shard, &spread(n), "u", ran(us(1)));
        }
        // On one thread each, more than the list holds; each twice as often as a thread has seen one of those.
        for n in 0..4_000 {
            (0..2).for_each(|_| run(&tables, n % 4, &format!("SELECT d{n} FROM seldom"), "u", ran(us(1))));
        }
        let view = tables.view(false);
        assert_eq!(view.digests.len(), DIGESTS_MAX);
        let kept: Vec<_> = view.digests.iter().filter(|d| d.text.contains("spread")).collect();
        assert!(kept.len() == 400 && kept.iter().all(|d| d.count == 4), "{} kept", kept.len());
        let all: u64 = view.digests.iter().map(|d| d.count).sum();
        assert_eq!(all + view.other.unwrap().count, 4 * 400 + 2 * 4_000);
        assert_eq!(view.evicted, 400 + 4_000 - 1_000);
    }

    #[test]
    fn a_digest_that_loses_its_place_takes_the_figures_of_every_thread_along() {
        let tables = Tables::new(3, true);
        (0..3).for_each(|shard| run(&tables, shard, "SELECT a FROM gone", "u", ran(us(1))));
        for n in 0..DIGESTS_MAX + CANDIDATES {
            (0..9).for_each(|_| run(&tables, n % 3, &format!("SELECT c{n} FROM often"), "u", ran(us(1))));
        }
        // Back again, on one of the threads: what is told of it is of since then, all of it.
        run(&tables, 1, "SELECT a FROM gone", "u", ran(us(1)));
        let view = tables.view(false);
        let back: Vec<_> = view.digests.iter().filter(|d| d.text.contains("gone")).collect();
        assert!(back.len() == 1 && back[0].count == 1, "{back:?}");
        let all: u64 = view.digests.iter().map(|d| d.count).sum();
        assert_eq!(all + view.other.unwrap().count, 9 * (DIGESTS_MAX + CANDIDATES) as u64 + 4);
    }

    /// `cargo test --release -p proxy --lib what_a_statement -- --nocapture`; docs/decisions/0023 has what it said.
    #[test]
    fn what_a_statement_costs_is_printed() {
        let texts = [
            "SELECT c FROM sbtest1 WHERE id=4711",
            "SELECT o.id, o.state, c.name FROM shop.orders AS o JOIN shop.customer AS c ON c.id = o.customer_id \
             WHERE o.state IN ('paid', 'sent') AND o.created_at > '2026-11-01 00:00:00' ORDER BY o.id DESC LIMIT 20",
        ];
        const TIMES: u32 = 20_000;
        let tables = Tables::new(1, true);
        for text in texts {
            let began = Instant::now();
            let mut sum = 0;
            for _ in 0..TIMES {
                let sql = Sql {
                    text: std::hint::black_box(text.as_bytes()),
                    reading: Reading::plain(true),
                    whole: true,
                };
                sum ^= sql.digest();
            }
            std::hint::black_box(sum);
            let hashed = began.elapsed();
            let began = Instant::now();
            for _ in 0..TIMES {
                let at = Instant::now();
                run(&tables, 0, std::hint::black_box(text), "shop", ran(at.elapsed()));
            }
            println!(
                "{} bytes: digest {:?}, all of it {:?}",
                text.len(),
                hashed / TIMES,
                began.elapsed() / TIMES
            );
        }
        assert_eq!(tables.view(false).digests.len(), 2);
    }
}
