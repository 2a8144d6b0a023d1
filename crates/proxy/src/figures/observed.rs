//! What is noted of a statement while it runs: for its digest's figures, and for the log of slow ones.
//!
//! A statement's time runs from when its first bytes have been read until the last of its answer is passed on: also while it is
//! held, waits for a server connection, or for a client that is slow to take the answer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use wire::packet::HEADER_LEN;

use crate::figures::digests::{Ran, Tables, key_of};
use crate::session::Session;
use crate::session::steer::reading;
use crate::text::digest::Sql;

/// Slow statements that may wait to be written down; more are counted and forgotten.
const SLOW_QUEUE: usize = 1_024;
/// Bytes of a slow statement's own text that are kept.
const VALUES_MAX: usize = 16 * 1024;

/// What a door notes of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observe {
    /// Whether figures are kept for each digest.
    pub digests: bool,
    /// From when on a statement is slow; `None`: none is.
    pub slow: Option<Duration>,
    /// Whether a slow statement's text is told as it was sent, values and all.
    pub slow_values: bool,
}

/// A statement that was slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowStatement {
    /// When it ended.
    pub at: SystemTime,
    /// The id its client was greeted with.
    pub client_id: u32,
    /// The client's address.
    pub from: IpAddr,
    /// Its account.
    pub user: String,
    /// Its default schema, if it has one.
    pub schema: Option<String>,
    /// Its digest, as [`crate::DigestFigures::digest`].
    pub digest: u64,
    /// Its text, with its values taken out.
    pub text: Arc<str>,
    /// Its text as it was sent, if the door is to tell, cut after 16 KiB; of a prepared statement, without its parameters.
    pub values: Option<String>,
    /// How long it took, all in all.
    pub took: Duration,
    /// Of that: waiting for a server connection.
    pub waited: Duration,
    /// Of that: held while the writer changed.
    pub held: Duration,
    /// The id of its connection on the server; 0 if it got none.
    pub backend_connection_id: u32,
    /// Bytes of its answer.
    pub bytes: u64,
    /// Whether it ended with an error.
    pub failed: bool,
}

/// The door's end of it, shared by all threads.
#[derive(Debug)]
pub(crate) struct Observing {
    /// Whether anything is to be noted.
    on: AtomicBool,
    pub tables: Tables,
    /// Microseconds; `u64::MAX`: no statement is slow.
    slow_us: AtomicU64,
    slow_values: AtomicBool,
    slow: mpsc::Sender<SlowStatement>,
    taken: Mutex<Option<mpsc::Receiver<SlowStatement>>>,
    /// Slow statements that nobody wrote down in time.
    pub slow_lost: AtomicU64,
}

/// A statement that is running.
#[derive(Debug)]
pub(crate) struct Observed {
    began: Instant,
    digest: u64,
    key: u64,
    pub waited: Duration,
    pub held: Duration,
    pub bytes: u64,
    pub failed: bool,
    values: Option<Box<[u8]>>,
}

impl Observing {
    pub fn new(observe: Observe, threads: usize) -> Self {
        let (slow, taken) = mpsc::channel(SLOW_QUEUE);
        let this = Self {
            on: AtomicBool::new(false),
            tables: Tables::new(threads, false),
            slow_us: AtomicU64::new(u64::MAX),
            slow_values: AtomicBool::new(false),
            slow,
            taken: Mutex::new(Some(taken)),
            slow_lost: AtomicU64::new(0),
        };
        this.set(observe);
        this
    }

    /// From the next statement on.
    pub fn set(&self, observe: Observe) {
        let us = observe.slow.map_or(u64::MAX, |slow| u64::try_from(slow.as_micros()).unwrap_or(u64::MAX));
        self.slow_us.store(us, Relaxed);
        self.slow_values.store(observe.slow_values && observe.slow.is_some(), Relaxed);
        self.tables.set_counting(observe.digests);
        // A slow statement's text is the digest's, so these are kept for it too.
        self.on.store(observe.digests || observe.slow.is_some(), Relaxed);
    }

    /// Where slow statements can be had; once.
    pub fn slow_statements(&self) -> Option<mpsc::Receiver<SlowStatement>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Session {
    /// A statement begins, whose text stands in the payload from here on.
    pub fn observe_query(&mut self, text_at: Option<usize>, whole: bool) {
        if !self.shared.observing.on.load(Relaxed) {
            return;
        }
        let end = self.left.min(self.inbound.len());
        let text = self.inbound.data().get(HEADER_LEN + text_at.unwrap_or(1)..end).unwrap_or_default();
        let sql = Sql { text, reading: self.reading_to_show(text), whole };
        let observed = self.begin_observed(sql, sql.digest());
        self.observed = Some(observed);
    }

    /// The execution of a prepared statement begins.
    pub fn observe_execution(&mut self, id: u32) {
        if !self.shared.observing.on.load(Relaxed) {
            return;
        }
        let backslash = self.profile.backslash();
        let Some(statement) = self.statements.get(id) else { return };
        let text = Arc::clone(&statement.text);
        let reading = reading(&statement.settings, backslash);
        let sql = Sql { text: &text, reading, whole: true };
        if statement.digest == 0 {
            statement.digest = sql.digest();
        }
        let digest = statement.digest;
        let observed = self.begin_observed(sql, digest);
        self.observed = Some(observed);
    }

    fn begin_observed(&self, sql: Sql<'_>, digest: u64) -> Observed {
        let (observing, user) = (&self.shared.observing, &self.identity.user);
        let key = key_of(digest, user);
        observing.tables.find_place(self.lane.shard, (key, digest), user, sql);
        let values = observing.slow_values.load(Relaxed);
        Observed {
            began: Instant::now(),
            digest,
            key,
            waited: Duration::ZERO,
            held: Duration::ZERO,
            bytes: 0,
            failed: false,
            values: values.then(|| sql.text[..sql.text.len().min(VALUES_MAX)].into()),
        }
    }

    /// The command is over; if it was a statement, it is counted.
    pub fn observe_end(&mut self, stopped: bool) {
        let Some(seen) = self.observed.take() else { return };
        let took = seen.began.elapsed();
        let failed = seen.failed || stopped;
        let observing = &self.shared.observing;
        let ran = Ran { failed, took, waited: seen.waited, held: seen.held, bytes: seen.bytes };
        observing.tables.count(self.lane.shard, seen.key, ran);
        if took.as_micros() >= u128::from(observing.slow_us.load(Relaxed)) {
            self.tell_slow(seen, ran);
        }
    }

    fn tell_slow(&self, seen: Observed, ran: Ran) {
        let observing = &self.shared.observing;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let slow = SlowStatement {
            at: SystemTime::now(),
            client_id: self.seat.id,
            from: self.peer,
            user: text(&self.identity.user),
            schema: self.profile.settings.schema.as_deref().map(text),
            digest: seen.digest,
            text: observing.tables.text(seen.key).unwrap_or_default(),
            values: seen.values.as_deref().map(text),
            took: ran.took,
            waited: ran.waited,
            held: ran.held,
            backend_connection_id: self.seat.backend_id.load(Relaxed),
            bytes: ran.bytes,
            failed: ran.failed,
        };
        // A disk that does not keep up must not hold up the clients.
        if observing.slow.try_send(slow).is_err() {
            observing.slow_lost.fetch_add(1, Relaxed);
        }
    }
}
