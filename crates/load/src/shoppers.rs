//! Shoppers: tasks that use the shop through the front door, one connection each, and measure what it does to them.
//!
//! Invariant: a statement is never sent twice. What failed is counted; an order whose COMMIT was not answered with
//! success is *unknown*, neither acknowledged nor lost.

mod prepared;
mod session;
mod visit;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::{Before, Counts, History};
use crate::shop::{UTF8MB4, schema_name};
use crate::timeline::{MarkId, Timeline};
use crate::{Error, Result};
pub(crate) use visit::cents;
use visit::{Memory, Shopper};

/// UTC offsets of shoppers' sessions in minutes, by shopper number: the Pacific coast first.
const UTC_OFFSETS: [i32; 6] = [-480, -300, 0, 60, 330, 540];

/// Who shops, where, and how hard.
#[derive(Debug, Clone)]
pub struct ShopperOptions {
    /// The front door (or a server); `schema` says where the shop is, `shop` if it says nothing.
    pub connect: ConnectOptions,
    /// How many shoppers, each with a connection of its own.
    pub shoppers: usize,
    /// Same seed, same choices.
    pub seed: u64,
    /// How long a shopper looks at a page; `0..0` for no pause at all.
    pub think: Range<Duration>,
    /// How long a shopper waits for one statement before giving the connection up.
    pub patience: Duration,
}

impl ShopperOptions {
    /// Sixty-four shoppers who look at a page for 5 to 50 ms and wait up to 30 s for a statement.
    pub fn new(connect: ConnectOptions) -> Self {
        let think = Duration::from_millis(5)..Duration::from_millis(50);
        Self { connect, shoppers: 64, seed: 1, think, patience: Duration::from_secs(30) }
    }
}

/// What is going on right now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Live {
    /// Statements since the start.
    pub statements: u64,
    /// Statements in the last second.
    pub statements_per_second: u64,
    /// Median latency of the last second, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of the last second, in milliseconds.
    pub p99_ms: f64,
    /// The longest latency of the last second in milliseconds, statements still waiting included.
    pub stall_ms: f64,
    /// Orders acknowledged since the start.
    pub orders_acknowledged: u64,
    /// Orders whose COMMIT got no answer.
    pub orders_unknown: u64,
    /// Statements that failed since the start.
    pub failed_statements: u64,
    /// Shoppers with a working connection.
    pub active: usize,
}

/// What every shopper may choose from.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    categories: u64,
    products: u64,
    customers: u64,
}

struct Shared {
    connect: ConnectOptions,
    think: Range<Duration>,
    patience: Duration,
    run: u64,
    bounds: Bounds,
    timeline: Arc<Timeline>,
    stop: watch::Sender<bool>,
    /// Per shopper: when the statement under way began, in microseconds of the timeline; 0 if none is.
    waiting_since_us: Vec<AtomicU64>,
    active: AtomicUsize,
    orders: AtomicU64,
    unknown: AtomicU64,
    sold_out: AtomicU64,
    wrong_answers: AtomicU64,
}

impl Shared {
    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Pauses as long as a shopper looks at a page, or until told to stop.
    async fn think(&self, rng: &mut fastrand::Rng) {
        let (least, most) = (self.think.start.as_micros() as u64, self.think.end.as_micros() as u64);
        if most == 0 {
            return;
        }
        let pause = Duration::from_micros(rng.u64(least..=most.max(least)));
        let mut stop = self.stop.subscribe();
        let _ = tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await;
    }
}

/// Shoppers at work. Dropping it ends them at once, with no history; [`Shoppers::stop`] is the orderly way.
pub struct Shoppers {
    shared: Arc<Shared>,
    tasks: JoinSet<Memory>,
    before: Before,
    schema: String,
}

impl Shoppers {
    /// Looks at the shop, then sends the shoppers in. Nobody else may use the shop's orders and stock meanwhile, or
    /// the order check will find what they did.
    ///
    /// # Errors
    /// [`Error::EmptyShop`] if there is no shop there, [`Error::Mysql`] if it cannot be reached.
    pub async fn start(options: ShopperOptions) -> Result<Self> {
        let schema = schema_name(&options.connect)?;
        let connect = ConnectOptions {
            schema: Some(schema.as_bytes().to_vec()),
            collation: UTF8MB4,
            ..options.connect.clone()
        };
        let mut conn = Connection::connect(&connect).await?;
        let bounds = Bounds {
            categories: largest_id(&mut conn, &schema, "categories").await?,
            products: largest_id(&mut conn, &schema, "products").await?,
            customers: largest_id(&mut conn, &schema, "customers").await?,
        };
        let before = Before::read(&mut conn).await?;
        drop(conn);

        let shared = Arc::new(Shared {
            connect,
            think: options.think,
            patience: options.patience,
            // Past orders' tokens begin with zeros; no run may look like them.
            run: fastrand::u64(1..),
            bounds,
            timeline: Arc::new(Timeline::default()),
            stop: watch::Sender::new(false),
            waiting_since_us: (0..options.shoppers).map(|_| AtomicU64::new(0)).collect(),
            active: AtomicUsize::new(0),
            orders: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            sold_out: AtomicU64::new(0),
            wrong_answers: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for number in 0..options.shoppers {
            tasks.spawn(Shopper::new(number, options.seed, Arc::clone(&shared)).shop());
        }
        Ok(Self { shared, tasks, before, schema })
    }

    /// What is going on right now.
    pub fn live(&self) -> Live {
        let shared = &self.shared;
        let last = shared.timeline.last_second();
        let now_us = (shared.timeline.at_ms(Instant::now()) * 1e3) as u64;
        let waits = shared.waiting_since_us.iter().map(|since| since.load(Ordering::Relaxed));
        let longest_wait_us =
            waits.filter(|&since| since > 0).map(|since| now_us.saturating_sub(since)).max();
        Live {
            statements: last.statements,
            statements_per_second: u64::from(last.second.statements),
            p50_ms: last.second.p50_us as f64 / 1e3,
            p99_ms: last.second.p99_us as f64 / 1e3,
            stall_ms: last.second.max_us.max(longest_wait_us.unwrap_or(0)) as f64 / 1e3,
            orders_acknowledged: shared.orders.load(Ordering::Relaxed),
            orders_unknown: shared.unknown.load(Ordering::Relaxed),
            failed_statements: last.failed,
            active: shared.active.load(Ordering::Relaxed),
        }
    }

    /// The timeline, for marks made elsewhere.
    pub fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.shared.timeline)
    }

    /// Marks an instant: now.
    pub fn mark(&self, label: &str) {
        self.shared.timeline.instant(label);
    }

    /// Marks a stretch that begins now; end it with [`Shoppers::end_mark`].
    pub fn begin_mark(&self, label: &str) -> MarkId {
        self.shared.timeline.begin(label)
    }

    /// Ends a stretch now.
    pub fn end_mark(&self, id: MarkId) {
        self.shared.timeline.end(id);
    }

    /// The longest latency of a statement under way at some time between two moments.
    pub fn stall_between(&self, from: Instant, to: Instant) -> Duration {
        self.shared.timeline.stall_between(from, to)
    }

    /// Lets every shopper finish the transaction under way, and waits for all of them.
    ///
    /// # Errors
    /// [`Error::Task`] if a shopper panicked, which is a bug.
    pub async fn stop(mut self) -> Result<History> {
        self.shared.stop.send_replace(true);
        let (mut orders, mut unknown, mut carts) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(memory) = self.tasks.join_next().await {
            let memory = memory?;
            orders.extend(memory.orders);
            unknown.extend(memory.unknown);
            carts.extend(memory.carts);
        }
        let recording = self.shared.timeline.recording();
        let last = self.shared.timeline.last_second();
        let counts = Counts {
            statements: last.statements,
            failed_statements: last.failed,
            sold_out: self.shared.sold_out.load(Ordering::Relaxed),
            wrong_answers: self.shared.wrong_answers.load(Ordering::Relaxed),
        };
        Ok(History {
            run: self.shared.run,
            schema: self.schema,
            before: self.before,
            orders,
            unknown,
            carts,
            counts,
            recording,
        })
    }
}

async fn largest_id(conn: &mut Connection, schema: &str, table: &'static str) -> Result<u64> {
    let row = conn.row(format!("SELECT MAX(id) FROM {table}")).await?;
    row.and_then(|row| row.number(0)).ok_or_else(|| Error::EmptyShop { schema: schema.to_owned(), table })
}
