//! How often, how long and with what success statements ran, per digest and account.
//!
//! A table per thread, behind a mutex that nobody else wants but who asks for the figures; merged when asked. A statement whose
//! digest is known costs one hash of its text and two looks into the table, and allocates nothing.
//!
//! A table is bounded: a new digest in a full one takes the place of the least used of a few, whose figures go to "other". So a
//! flood of texts that never come again passes through a few places, while what comes often stays.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::text::digest::Sql;

/// Digests per thread.
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
    /// How many places were taken.
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

/// The tables of all threads.
#[derive(Debug)]
pub(crate) struct Tables {
    counting: AtomicBool,
    tables: Box<[Table]>,
    begun: Mutex<Instant>,
    evicted: AtomicU64,
}

/// Alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Table(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    by_key: HashMap<u64, usize, BuildHasherDefault<AsIs>>,
    places: Vec<Entry>,
    /// Where the next look for room begins.
    next: usize,
    other: Figures,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    digest: u64,
    user: Box<[u8]>,
    text: Arc<str>,
    figures: Figures,
}

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

impl Tables {
    pub fn new(threads: usize, counting: bool) -> Self {
        Self {
            counting: AtomicBool::new(counting),
            tables: (0..threads).map(|_| Table::default()).collect(),
            begun: Mutex::new(Instant::now()),
            evicted: AtomicU64::new(0),
        }
    }

    pub fn counting(&self) -> bool {
        self.counting.load(Relaxed)
    }

    pub fn set_counting(&self, counting: bool) {
        self.counting.store(counting, Relaxed);
    }

    fn places(&self, shard: usize) -> MutexGuard<'_, Places> {
        lock(&self.tables[shard].0)
    }

    /// Sees that there is a place for a statement that begins.
    pub fn find_place(&self, shard: usize, (key, digest): (u64, u64), user: &[u8], sql: Sql<'_>) {
        let mut places = self.places(shard);
        if !places.by_key.contains_key(&key)
            && places.insert(Entry {
                key,
                digest,
                user: user.into(),
                text: sql.shown().into(),
                figures: Figures::default(),
            })
        {
            self.evicted.fetch_add(1, Relaxed);
        }
    }

    /// Counts a statement that has ended.
    pub fn count(&self, shard: usize, key: u64, ran: Ran) {
        let mut places = self.places(shard);
        let Places { by_key, places, other, .. } = &mut *places;
        // Its place may have been taken meanwhile.
        let figures = by_key.get(&key).and_then(|at| places.get_mut(*at)).map_or(other, |e| &mut e.figures);
        figures.count(ran);
    }

    /// The text of a digest, if it still has its place.
    pub fn text(&self, shard: usize, key: u64) -> Option<Arc<str>> {
        let places = self.places(shard);
        let at = *places.by_key.get(&key)?;
        Some(Arc::clone(&places.places.get(at)?.text))
    }

    /// The figures of all threads; `anew`: and begins to count from nothing.
    pub fn view(&self, anew: bool) -> Digests {
        let mut merged: HashMap<u64, Entry> = HashMap::new();
        let mut other = Figures::default();
        let now = Instant::now();
        let since = {
            let mut begun = lock(&self.begun);
            let since = now.duration_since(*begun);
            if anew {
                *begun = now;
            }
            since
        };
        for table in &self.tables {
            let mut places = lock(&table.0);
            let taken = match anew {
                true => std::mem::take(&mut *places),
                false => Places { places: places.copied(), other: places.other.clone(), ..Places::default() },
            };
            drop(places);
            other.add(&taken.other);
            for entry in taken.places {
                match merged.get_mut(&entry.key) {
                    Some(there) => there.figures.add(&entry.figures),
                    None => drop(merged.insert(entry.key, entry)),
                }
            }
        }
        let evicted = if anew { self.evicted.swap(0, Relaxed) } else { self.evicted.load(Relaxed) };
        Digests {
            counting: self.counting(),
            since,
            digests: merged.into_values().filter(|e| e.figures.count > 0).map(Entry::view).collect(),
            other: (other.count > 0).then(|| other.view(0, String::new(), String::new())),
            evicted,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// Puts an entry in; whether another had to make room.
    fn insert(&mut self, entry: Entry) -> bool {
        let key = entry.key;
        if self.places.len() < DIGESTS_MAX {
            self.by_key.insert(key, self.places.len());
            self.places.push(entry);
            return false;
        }
        let begin = self.next;
        self.next = (begin + CANDIDATES) % DIGESTS_MAX;
        let candidates = (begin..begin + CANDIDATES).map(|n| n % DIGESTS_MAX);
        let Some(at) = candidates.min_by_key(|at| self.places[*at].figures.count) else { return false };
        let gone = std::mem::replace(&mut self.places[at], entry);
        self.by_key.remove(&gone.key);
        self.by_key.insert(key, at);
        self.other.add(&gone.figures);
        true
    }

    fn copied(&self) -> Vec<Entry> {
        let copy = |e: &Entry| Entry {
            user: e.user.clone(),
            text: Arc::clone(&e.text),
            figures: e.figures.clone(),
            ..*e
        };
        self.places.iter().map(copy).collect()
    }
}

impl Entry {
    fn view(self) -> DigestFigures {
        let user = String::from_utf8_lossy(&self.user).into_owned();
        self.figures.view(self.digest, user, self.text.to_string())
    }
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
