//! Takes the pulse of a source while anyone reads it: what its own clients run and how long that takes, how many
//! statements run, how far its replicas are behind. One pulse serves all moves from that source.
//!
//! Nothing is written, and no statement of ours is counted as the application's: statements are summed up by account
//! (`performance_schema.events_statements_summary_by_user_by_event_name`), and those of our own account left out. Other
//! ways were rejected:
//! - a probe of our own sees the network and one connection, and not what the application's statements wait for;
//! - the server's histogram of all statements (`events_statements_histogram_global`) has ours in it, which are few and
//!   long: exactly what a 99th percentile is made of;
//! - histograms by digest have 450 rows for each of ten thousand digests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::pace::{Pace, PaceLimits, Pacer, ReplicaLag, Sample, Statements};
use super::replica;
use crate::error::{Doing, Result, Side};
use crate::schema::quote_bytes;
use crate::session;

/// Between two samples.
const TICK: Duration = Duration::from_millis(500);
/// Between the first two: until there are two nothing is known, and readers wait.
const FIRST_TICK: Duration = Duration::from_millis(100);
/// Nobody asked for a turn for this long: the source is left alone.
const UNWANTED: Duration = Duration::from_secs(5);
/// A source that answers so late tells nothing about now.
const PATIENCE: Duration = Duration::from_secs(3);

/// What to look at.
#[derive(Debug, Clone)]
pub struct PulseOptions {
    /// The source, with our own account there.
    pub source: ConnectOptions,
    /// Its replicas.
    pub replicas: Vec<ConnectOptions>,
    /// What must not be passed.
    pub limits: PaceLimits,
}

/// A source that is watched. Dropping it ends that.
#[derive(Debug)]
pub struct Pulse {
    presence: Arc<Presence>,
    pace: watch::Receiver<Pace>,
    limits: watch::Sender<PaceLimits>,
    /// Why the latency of the source's statements is not known, if it is not.
    blind: Arc<Mutex<Option<String>>>,
    _tasks: JoinSet<()>,
}

/// Whether readers of ours are at work.
#[derive(Debug, Default)]
pub(super) struct Presence {
    active: AtomicUsize,
    touched: AtomicBool,
    asked: Mutex<Option<Instant>>,
}

impl Presence {
    pub(super) fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn begin(&self) {
        self.active.fetch_add(1, Ordering::AcqRel);
        self.touched.store(true, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    fn is_wanted(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|at| at.elapsed() < UNWANTED)
    }

    /// Whether a reader worked since the last call, or does now.
    fn was_there(&self) -> bool {
        // In this order: one that begins in between is seen by the next call.
        self.touched.swap(false, Ordering::AcqRel) | (self.active.load(Ordering::Acquire) > 0)
    }
}

impl Pulse {
    /// Starts watching; the source is first asked when someone asks for a turn.
    pub fn start(options: PulseOptions) -> Arc<Self> {
        let presence = Arc::new(Presence::default());
        let blind = Arc::new(Mutex::new(None));
        let limits = watch::Sender::new(options.limits.clone());
        let (pace_tx, pace) =
            watch::channel(Pace { share: 0.02, reason: Some("looking at the source".into()) });
        let mut tasks = JoinSet::new();
        let mut lags = Vec::new();
        for one in options.replicas {
            let unknown = ReplicaLag { replica: one.address(), behind: None };
            let (tx, lag) = watch::channel(unknown);
            tasks.spawn(replica::watch(one, tx));
            lags.push(lag);
        }
        let watcher = Watcher {
            source: options.source,
            presence: Arc::clone(&presence),
            pacer: Pacer::new(options.limits.clone()),
            limits: limits.subscribe(),
            lags,
            blind: Arc::clone(&blind),
            started: Instant::now(),
            connection: None,
            last: None,
        };
        tasks.spawn(watcher.watch(pace_tx));
        Arc::new(Self { presence, pace, limits, blind, _tasks: tasks })
    }

    /// Changes what must not be passed.
    pub fn set_limits(&self, limits: PaceLimits) {
        self.limits.send_replace(limits);
    }

    /// The pace of all readers of this source.
    pub fn pace(&self) -> Pace {
        self.pace.borrow().clone()
    }

    /// Why the latency of the source's own statements is not looked at, if it is not.
    pub fn blind(&self) -> Option<String> {
        self.blind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn presence(&self) -> &Presence {
        &self.presence
    }
}

struct Watcher {
    source: ConnectOptions,
    presence: Arc<Presence>,
    pacer: Pacer,
    limits: watch::Receiver<PaceLimits>,
    lags: Vec<watch::Receiver<ReplicaLag>>,
    blind: Arc<Mutex<Option<String>>>,
    started: Instant,
    connection: Option<Connection>,
    last: Option<Counted>,
}

/// Sums since the server's start, and when they were read.
#[derive(Clone, Copy)]
struct Counted {
    at: Instant,
    statements: Option<Statements>,
}

impl Watcher {
    async fn watch(mut self, pace: watch::Sender<Pace>) {
        while !pace.is_closed() {
            tokio::time::sleep(if self.last.is_some() { TICK } else { FIRST_TICK }).await;
            if !self.presence.is_wanted() {
                (self.connection, self.last) = (None, None);
                continue;
            }
            match tokio::time::timeout(PATIENCE, self.sample()).await {
                Ok(Ok(Some(sample))) => {
                    if self.limits.has_changed().unwrap_or(false) {
                        let limits = self.limits.borrow_and_update().clone();
                        self.pacer.set_limits(limits);
                    }
                    let next = self.pacer.next(&sample);
                    tracing::debug!(target: "highwater::throttle", ?sample, ?next, "pace");
                    pace.send_replace(next);
                }
                Ok(Ok(None)) => {}
                // A source that cannot be asked cannot be copied either, and the copy says so.
                Ok(Err(error)) => {
                    tracing::debug!(target: "highwater::throttle", %error, "no sample");
                    (self.connection, self.last) = (None, None);
                }
                Err(_) => {
                    (self.connection, self.last) = (None, None);
                    pace.send_replace(Pace::paused(format!(
                        "the source did not say within {PATIENCE:?} how it is"
                    )));
                }
            }
        }
    }

    /// What there is to see since the last call; nothing at the first one.
    async fn sample(&mut self) -> Result<Option<Sample>> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => session::open(&self.source, Side::Source).await?,
        };
        let source = self.connection.insert(connection);
        let own = self.presence.active.load(Ordering::Acquire) as u64;
        let threads_running = threads_running(source).await?.map(|all| all.saturating_sub(own));
        let (statements, blind) = match statements(source, &self.source.user).await {
            Ok(statements) => (statements, None),
            Err(error) => match error.server_code() {
                Some(code) => (None, Some(format!("performance_schema cannot be read (error {code})"))),
                None => return Err(error).doing(Side::Source, "look at its statements"),
            },
        };
        let off = || "performance_schema is off".to_owned();
        *self.blind.lock().unwrap_or_else(PoisonError::into_inner) =
            blind.or_else(|| statements.is_none().then(off));

        let now = Counted { at: Instant::now(), statements };
        let with_us = self.presence.was_there();
        let Some(last) = self.last.replace(now) else { return Ok(None) };
        let others = match (last.statements, now.statements) {
            (Some(was), Some(is)) if is.count >= was.count => Some(Statements {
                count: is.count - was.count,
                total_us: (is.total_us - was.total_us).max(0.0),
            }),
            _ => None,
        };
        let replica = self.lags.iter().map(|lag| lag.borrow().clone());
        // One that is silent is furthest behind.
        let replica = replica.max_by_key(|lag| lag.behind.unwrap_or(Duration::MAX));
        Ok(Some(Sample {
            at: now.at - self.started,
            length: now.at - last.at,
            with_us,
            others,
            threads_running,
            replica,
        }))
    }
}

/// Statements running, but for this one and the followers of the binary log, which run for ever.
async fn threads_running(source: &mut Connection) -> Result<Option<u64>> {
    let doing = "count its running statements";
    let row = source.row("SHOW GLOBAL STATUS LIKE 'Threads_running'").await.doing(Side::Source, doing)?;
    let running: Option<u64> = row.and_then(|r| r.number(1));
    Ok(running.map(|all| all.saturating_sub(1)))
}

/// What accounts other than ours have run since the server's start; nothing if the server keeps no such sums.
async fn statements(source: &mut Connection, user: &[u8]) -> mysql::Result<Option<Statements>> {
    let user = quote_bytes(user);
    // A follower's dump and a long sleep are no answers to anybody; when they end, they would count as hours.
    let sql = format!(
        "SELECT SUM(COUNT_STAR), SUM(SUM_TIMER_WAIT) FROM performance_schema.events_statements_summary_by_user_by_event_name \
         WHERE USER IS NOT NULL AND CAST(USER AS BINARY) <> {user} AND COUNT_STAR > 0 \
         AND EVENT_NAME LIKE 'statement/%' AND EVENT_NAME NOT LIKE 'statement/com/Binlog%' \
         AND EVENT_NAME NOT IN ('statement/com/Sleep', 'statement/com/Quit', 'statement/com/Ping', 'statement/com/Daemon')"
    );
    // Only a server whose performance_schema is on has rows here at all: our own account's, if no one else's.
    let row = source.row(sql).await?;
    let counted = row.and_then(|row| {
        let picoseconds: f64 = row.number(1)?;
        Some(Statements { count: row.number(0)?, total_us: picoseconds / 1e6 })
    });
    if counted.is_some() {
        return Ok(counted);
    }
    let row = source.row("SELECT @@GLOBAL.performance_schema").await?;
    Ok(row.is_some_and(|r| r.text(0) == "1").then(Statements::default))
}
