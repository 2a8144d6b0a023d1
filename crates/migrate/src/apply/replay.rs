//! Executing a statement of the stream on the target, once.
//!
//! ```text
//! lock ── write down what is due ── execute ── ledger, tables and ranges in one transaction ── unlock
//!                 │                    │
//!            a crash here         a crash here: the definitions, compared with those written down, tell
//!                                 whether it has happened
//! ```
//!
//! The lock is the server's, held by the connection that executes: a statement goes on when the process that sent it is
//! killed, and whoever comes next must wait for its end before looking.

use std::time::Duration;

use model::TableName;
use mysql::Connection;

use super::effect::Expect;
use super::session_of;
use super::statements::Statements;
use crate::bag;
use crate::ddl::{Effect, Statement, destiny};
use crate::definition::{Subject, definitions};
use crate::direction::{Direction, Start};
use crate::error::{Doing, Result, Side};
use crate::ledger::due::{self, Due};
use crate::ledger::{self, LedgerRow, plan, proven, ranges};
use crate::reshape::Reshaping;
use crate::schema::{self, quote_text};
use crate::session;
use crate::work::Replay;

/// How long to wait for the lock before saying that one waits.
const LOCK_PATIENCE_SECONDS: u32 = 5;
/// How often to say that a statement is still being executed.
const STILL_AT_IT: Duration = Duration::from_secs(10);

/// Executes a statement in its turn, unless it has happened, and writes the ledger.
///
/// # Errors
/// If a server refuses; what the ledger does not say is then found out by the next attempt.
pub(super) async fn execute(direction: &Direction, ledger: &LedgerRow, replay: &Replay) -> Result<()> {
    let statement = &*replay.statement;
    let target = &direction.options.target;
    let mut hand = session::open(target, Side::Target).await?;
    let mut book = session::open(target, Side::Target).await?;
    lock(&mut hand, ledger.name(), &statement.shown).await?;

    let name = ledger.name();
    let exchange = Exchange::of(statement, replay);
    let subjects = subjects(statement, exchange.as_ref());
    let known = due::due(&mut book, name).await?.filter(|due| due.gtid == replay.gtid.to_string());
    let resumed = known.is_some();
    if !resumed {
        // Indexes that wait for the end of the copy: the statement may name them, and knows the table by its name of now.
        for table in statement.relies_on() {
            schema::complete_under_lock(target, &name.move_name, table).await?;
        }
    }
    let before = match known {
        Some(due) => due.before,
        None => write_down(&mut book, ledger, replay, exchange.as_ref(), &subjects).await?,
    };
    // Only while the ledger is ours; and it stays so until the lock is given up, or the ledger is not written.
    hold(&mut book, ledger).await?;

    let partly = partly_copied(&mut book, direction, statement).await?;
    let mut keys = Vec::new();
    for table in &partly {
        keys.push(key_signature(&mut book, table).await?);
    }
    if !resumed || definitions(&mut book, Side::Target, &subjects).await? == before {
        let sql = exchange.as_ref().map_or_else(|| statement.sql.clone(), |e| e.marked(&statement.sql));
        run(&mut hand, direction, statement, &sql).await?;
    } else {
        tracing::info!(target: "highwater::move", statement = %statement.shown, "it had happened before the restart");
    }

    let mut effects = statement.effects.clone();
    for (table, key) in partly.iter().zip(keys) {
        let now = destiny(table, &statement.effects);
        // What the key was before, a resumed run cannot know.
        if resumed || statement.numbers_rows || key_signature(&mut book, &now).await? != key {
            let sql = format!("TRUNCATE TABLE {}", now.as_is().quoted());
            book.execute(sql).await.doing(Side::Target, format!("begin the copy of {now} anew"))?;
            tracing::info!(target: "highwater::move", table = %now, "its key has changed: it is copied anew");
            effects.push(Effect::Restarted(now));
        }
    }
    direction.reshaping.set(Reshaping { gtid: replay.gtid, effects: effects.clone() });
    close_the_book(&mut book, direction, ledger, replay, &effects).await?;
    if let Some(exchange) = exchange {
        exchange.clear(&mut book).await?;
    }
    Ok(())
}

/// One process at a time executes statements of a move, also if it has been killed and the server goes on.
async fn lock(hand: &mut Connection, name: &ledger::LedgerName, shown: &str) -> Result<()> {
    let lock = schema::definitions_lock(&name.move_name);
    let sql = format!("SELECT GET_LOCK({lock}, {LOCK_PATIENCE_SECONDS})");
    loop {
        let row = hand.row(&sql).await.doing(Side::Target, "wait for an earlier statement to end")?;
        match row.as_ref().and_then(|r| r.bytes(0)) {
            Some(b"1") => return Ok(()),
            Some(_) => {
                tracing::info!(target: "highwater::move", statement = %shown, "waiting for an earlier process's statement to end");
            }
            None => {
                return Err(mysql::Error::Unexpected("no lock"))
                    .doing(Side::Target, "wait for an earlier statement to end");
            }
        }
    }
}

fn subjects(statement: &Statement, exchange: Option<&Exchange>) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = statement.tables().into_iter().cloned().map(Subject::Table).collect();
    subjects.extend(statement.effects.iter().filter_map(|effect| match effect {
        Effect::Schema(name) => Some(Subject::Schema(name.clone())),
        _ => None,
    }));
    subjects.extend(exchange.map(|e| Subject::Table(e.due.clone())));
    subjects
}

/// Writes down what is about to be done, and returns the definitions before it.
async fn write_down(
    book: &mut Connection,
    ledger: &LedgerRow,
    replay: &Replay,
    exchange: Option<&Exchange>,
    subjects: &[Subject],
) -> Result<Vec<u8>> {
    if let Some(exchange) = exchange {
        exchange.mark(book).await?;
    }
    let before = definitions(book, Side::Target, subjects).await?;
    let due = Due { gtid: replay.gtid.to_string(), before, created: false };
    let doing = format!("write down {}", replay.statement.shown);
    let mut statements = Statements::begin(book, &doing);
    for sql in due::begun(ledger.name(), &due) {
        statements.push(sql.as_bytes(), Expect::Any).await?;
    }
    // It may change rows, and the next process would not know it for ours in the target's log.
    statements.push(proven::withdrawn(ledger.name()).as_bytes(), Expect::Any).await?;
    statements.push(ledger.hold().as_bytes(), Expect::Owned).await?;
    statements.end().await?;
    commit(book, &doing).await?;
    Ok(due.before)
}

async fn hold(book: &mut Connection, ledger: &LedgerRow) -> Result<()> {
    let doing = "hold the ledger";
    let mut statements = Statements::begin(book, doing);
    statements.push(ledger.hold().as_bytes(), Expect::Owned).await?;
    statements.end().await?;
    commit(book, doing).await
}

async fn commit(book: &mut Connection, doing: &str) -> Result<()> {
    book.execute("COMMIT").await.doing(Side::Target, doing)?;
    Ok(())
}

/// The altered tables that are not copied to the end.
async fn partly_copied(
    book: &mut Connection,
    direction: &Direction,
    statement: &Statement,
) -> Result<Vec<TableName>> {
    let mut partly = Vec::new();
    if let Start::At(_) = direction.options.start {
        return Ok(partly);
    }
    for effect in &statement.effects {
        if let Effect::Altered { table, .. } = effect
            && !ranges::is_copied(book, &direction.ledger, table).await?
        {
            partly.push(table.clone());
        }
    }
    Ok(partly)
}

/// What the bounds of a table's ranges rely on: the key's columns, their types and their order.
async fn key_signature(book: &mut Connection, table: &TableName) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT s.INDEX_NAME, c.COLUMN_NAME, c.COLUMN_TYPE, c.COLLATION_NAME, s.SUB_PART, s.COLLATION, c.IS_NULLABLE \
         FROM information_schema.STATISTICS s LEFT JOIN information_schema.COLUMNS c USING (TABLE_SCHEMA, TABLE_NAME, \
         COLUMN_NAME) WHERE s.NON_UNIQUE = 0 AND s.TABLE_SCHEMA = {} AND s.TABLE_NAME = {} \
         ORDER BY s.INDEX_NAME <> 'PRIMARY', s.INDEX_NAME, s.SEQ_IN_INDEX",
        quote_text(&table.schema),
        quote_text(&table.table)
    );
    let rows = book.rows(sql).await.doing(Side::Target, format!("read the keys of {table}"))?;
    let has_primary = rows.first().is_some_and(|r| r.text(0) == "PRIMARY");
    // Beside a primary key, other unique ones do not matter; without one, any may be what stands in for it.
    let relevant = rows.iter().filter(|r| !has_primary || r.text(0) == "PRIMARY");
    Ok(relevant.map(|r| (0..r.len()).map(|i| r.text(i)).collect::<Vec<_>>().join("\n")).collect())
}

async fn run(hand: &mut Connection, direction: &Direction, statement: &Statement, sql: &[u8]) -> Result<()> {
    session_of::assume(hand, direction, statement).await?;
    if statement.effects.iter().any(|effect| matches!(effect, Effect::Created(_))) {
        bag::add_no_key(hand).await?;
    }
    let shown = &statement.shown;
    tracing::info!(target: "highwater::move", statement = %shown, "executing a statement of the stream");
    let _shown = direction.progress.executing(shown);
    let executing = hand.execute(sql);
    tokio::pin!(executing);
    loop {
        match tokio::time::timeout(STILL_AT_IT, &mut executing).await {
            Ok(done) => {
                done.doing(Side::Target, format!("repeat {shown}"))?;
                return Ok(());
            }
            Err(_) => {
                tracing::info!(target: "highwater::move", statement = %shown, "still being executed; the stream waits");
            }
        }
    }
}

/// One transaction: the ledger, and everything of ours that goes by the names of tables.
async fn close_the_book(
    book: &mut Connection,
    direction: &Direction,
    ledger: &LedgerRow,
    replay: &Replay,
    effects: &[Effect],
) -> Result<()> {
    let name = ledger.name();
    let copies = matches!(direction.options.start, Start::Copy(_));
    let doing = format!("write {} into the ledger", replay.statement.shown);
    let mut statements = Statements::begin(book, &doing);
    // First of all: what is planned while this waits goes with the ranges forgotten below.
    statements.push(ledger::planning_ended(name).as_bytes(), Expect::Any).await?;
    for effect in effects {
        let changes = match effect {
            Effect::Created(table) if copies => vec![
                plan::added(name, table),
                ranges::forgotten(name, table),
                ranges::born_copied(name, table),
            ],
            Effect::Created(table) => vec![plan::added(name, table)],
            Effect::Dropped(table) => vec![plan::removed(name, table), ranges::forgotten(name, table)],
            Effect::Renamed { from, to } => {
                vec![plan::renamed(name, from, to), ranges::renamed(name, from, to)]
            }
            Effect::Restarted(table) => vec![ranges::forgotten(name, table)],
            Effect::Altered { .. } | Effect::Truncated(_) | Effect::Schema(_) => Vec::new(),
        };
        for sql in changes {
            statements.push(sql.as_bytes(), Expect::Any).await?;
        }
    }
    if replay.statement.rows_follow {
        // Its transaction is not applied yet: its rows come now that their table is known.
        statements.push(due::created(name).as_bytes(), Expect::Any).await?;
        statements.push(ledger.hold().as_bytes(), Expect::Owned).await?;
    } else {
        statements.push(due::ended(name).as_bytes(), Expect::Any).await?;
        statements.push(ledger.update(&replay.applied).as_bytes(), Expect::Owned).await?;
    }
    statements.end().await?;
    commit(book, &doing).await
}

/// A rename that only exchanges names leaves no definition changed if the tables are alike. It is done together with one of
/// a table of our own: a RENAME of several tables happens whole or not at all.
struct Exchange {
    due: TableName,
    done: TableName,
}

impl Exchange {
    fn of(statement: &Statement, replay: &Replay) -> Option<Self> {
        // The number alone would not do: two moves may be at work with the same one.
        let tag: String = replay.gtid.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        let of = |what: &str| TableName::new(ledger::SCHEMA, format!("{what}_{tag}"));
        statement.exchanges_names().then(|| Self { due: of("d"), done: of("e") })
    }

    async fn mark(&self, book: &mut Connection) -> Result<()> {
        let sql = format!("CREATE TABLE IF NOT EXISTS {} (a INT PRIMARY KEY)", self.due.as_is().quoted());
        book.execute(sql).await.doing(Side::Target, "mark a rename")?;
        Ok(())
    }

    fn marked(&self, sql: &[u8]) -> Vec<u8> {
        [sql, format!(", {} TO {}", self.due.as_is().quoted(), self.done.as_is().quoted()).as_bytes()]
            .concat()
    }

    async fn clear(&self, book: &mut Connection) -> Result<()> {
        let sql =
            format!("DROP TABLE IF EXISTS {}, {}", self.due.as_is().quoted(), self.done.as_is().quoted());
        book.execute(sql).await.doing(Side::Target, "clear the mark of a rename")?;
        Ok(())
    }
}
