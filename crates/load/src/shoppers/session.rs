//! A shopper's connection: every statement goes through here, is timed, and is recorded whatever becomes of it.
//!
//! Invariant: after a statement that failed, the session is not used again. The shopper opens another one and starts
//! from the beginning, as an application behind a connection pool would.

use std::sync::atomic::Ordering;
use std::time::Instant;

use mysql::{Connection, QueryResult, Row};

use super::prepared::PointSelect;
use super::{Shared, UTC_OFFSETS};
use crate::timeline::Kind;

/// The session is gone; what failed has been recorded.
#[derive(Debug)]
pub(super) struct Broken;

pub(super) type Answer<T> = Result<T, Broken>;

const PRODUCT_PAGE: &str = "SELECT p.id, p.name, p.base_price, p.score, a.name FROM products p \
                            JOIN artists a ON a.id = p.artist_id WHERE p.id = ?";

pub(super) struct Session<'a> {
    conn: Connection,
    product_page: Option<PointSelect>,
    shopper: usize,
    shared: &'a Shared,
}

impl<'a> Session<'a> {
    /// Connects and sets the session up as this shopper always has it.
    pub(super) async fn open(shared: &'a Shared, shopper: usize) -> Answer<Self> {
        let connecting = Connection::connect(&shared.connect);
        let conn = timed(shared, shopper, Kind::Connect, "connect", connecting).await?;
        let mut session = Self { conn, product_page: None, shopper, shared };
        let minutes = utc_offset_minutes(shopper);
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
        session.write("set time zone", &format!("SET time_zone = '{sign}{hours:02}:{minutes:02}'")).await?;
        if shopper.is_multiple_of(2) {
            session.write("set isolation", "SET SESSION transaction_isolation = 'READ-COMMITTED'").await?;
        }
        Ok(session)
    }

    /// Runs a text `SELECT`.
    pub(super) async fn read(&mut self, name: &'static str, sql: &str) -> Answer<Vec<Row>> {
        let rows = self.conn.rows(sql);
        timed(self.shared, self.shopper, Kind::Read, name, rows).await
    }

    /// Runs a statement without rows; the answer is the generated key, if any.
    pub(super) async fn write(&mut self, name: &'static str, sql: &str) -> Answer<u64> {
        let done = async { self.conn.execute(sql).await.map(|ok| ok.last_insert_id) };
        timed(self.shared, self.shopper, Kind::Write, name, done).await
    }

    /// Commits; anything but a plain success leaves the outcome unknown.
    pub(super) async fn commit(&mut self) -> Answer<()> {
        let committed = async { self.conn.query("COMMIT").await.map(|_: QueryResult| ()) };
        timed(self.shared, self.shopper, Kind::Commit, "commit", committed).await
    }

    /// Reads a product by a statement prepared once per session; the answer is the id of the row that came back.
    pub(super) async fn product_page(&mut self, product: u64) -> Answer<Option<u64>> {
        let statement = match self.product_page {
            Some(statement) => statement,
            None => {
                let preparing = PointSelect::prepare(&mut self.conn, PRODUCT_PAGE);
                timed(self.shared, self.shopper, Kind::Prepared, "prepare product page", preparing).await?
            }
        };
        self.product_page = Some(statement);
        let executing = statement.execute(&mut self.conn, product);
        timed(self.shared, self.shopper, Kind::Prepared, "product page", executing).await
    }
}

/// The UTC offset a shopper's session runs at, in minutes.
pub(super) fn utc_offset_minutes(shopper: usize) -> i32 {
    UTC_OFFSETS[shopper % UTC_OFFSETS.len()]
}

async fn timed<T>(
    shared: &Shared,
    shopper: usize,
    kind: Kind,
    name: &'static str,
    statement: impl Future<Output = mysql::Result<T>>,
) -> Answer<T> {
    let began = Instant::now();
    let waiting_since = began.saturating_duration_since(shared.timeline.started()).as_micros() as u64;
    shared.waiting_since_us[shopper].store(waiting_since.max(1), Ordering::Relaxed);
    let outcome = tokio::time::timeout(shared.patience, statement).await;
    let ended = Instant::now();
    shared.waiting_since_us[shopper].store(0, Ordering::Relaxed);
    shared.timeline.record(kind, began, ended, !matches!(outcome, Ok(Ok(_))));
    match outcome {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => shared.timeline.note_failure(name, without_values(&error)),
        Err(_) => {
            let waited = format!("no answer in {} s", shared.patience.as_secs_f64());
            shared.timeline.note_failure(name, waited);
        }
    }
    Err(Broken)
}

/// The server's words may quote a row ("Duplicate entry '…'"), so of its answer only the number is kept.
fn without_values(error: &mysql::Error) -> String {
    match error {
        mysql::Error::Server(e) | mysql::Error::Login { error: e, .. } => {
            format!("server error {} ({})", e.code, String::from_utf8_lossy(&e.sql_state))
        }
        other => other.to_string(),
    }
}
