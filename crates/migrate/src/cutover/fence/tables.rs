//! The fence around single tables: three triggers to a table, which refuse every row that anyone but a session of ours inserts, updates or
//! deletes; and, while a crossing goes on, a read lock on them, which keeps statements out that no trigger sees.
//!
//! Of a server of version 9.7 this was seen: the triggers are there after `kill -9`; not even root writes past them, nor REPLACE, LOAD DATA,
//! a view, a routine, or a statement prepared before; what a foreign key does to its child goes past them, and so do TRUNCATE
//! and ALTER, DROP and RENAME TABLE. See `docs/decisions/0028-table-fence.md`.

use model::{TableName, quote_ident};
use mysql::{Connection, Error};

use super::triggers::{EVENTS, Standing, changes};
use crate::cutover::Phase;
use crate::cutover::in_the_way::{self, InTheWay};
use crate::cutover::stop_point::stop_point;
use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::MoveSpec;
use crate::schema::objects::FENCE_TRIGGERS;
use crate::schema::quote_text;

/// What the server says when it has waited for a lock for long enough.
const WAITED: u16 = 1205;

/// How long a table of the side that follows is waited for, in seconds: our own rows wait as well.
const PATIENCE: u32 = 2;

/// The moved tables, as a list of pairs for `IN`.
fn pairs(spec: &MoveSpec) -> String {
    let named = spec.tables.iter().filter_map(|pattern| Some((&pattern.schema, pattern.table.as_ref()?)));
    let pairs: Vec<String> =
        named.map(|(schema, table)| format!("({},{})", quote_text(schema), quote_text(table))).collect();
    // An empty list is none to the server.
    if pairs.is_empty() { "(NULL,NULL)".into() } else { pairs.join(",") }
}

/// Where whoever uses a moved table has a lock, as a condition on `performance_schema.metadata_locks`.
pub(super) fn place(spec: &MoveSpec) -> String {
    format!("m.OBJECT_TYPE = 'TABLE' AND (m.OBJECT_SCHEMA, m.OBJECT_NAME) IN ({})", pairs(spec))
}

/// Those of the moved tables that are there.
async fn tables(server: &mut Connection, side: Side, spec: &MoveSpec) -> Result<Vec<TableName>> {
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_TYPE = 'BASE TABLE' AND (TABLE_SCHEMA, TABLE_NAME) IN ({}) ORDER BY 1, 2",
        pairs(spec)
    );
    let rows = server.rows(sql).await.doing(side, "look for the tables to fence")?;
    Ok(rows.iter().map(|row| TableName::new(row.text(0), row.text(1))).collect())
}

/// The triggers on them that fire before a row is touched.
async fn standing(server: &mut Connection, side: Side, spec: &MoveSpec) -> Result<Vec<Standing>> {
    let sql = format!(
        "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, EVENT_MANIPULATION, ACTION_STATEMENT, ACTION_ORDER \
         FROM information_schema.TRIGGERS \
         WHERE ACTION_TIMING = 'BEFORE' AND (EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE) IN ({}) ORDER BY 1, 2, 3",
        pairs(spec)
    );
    let rows = server.rows(sql).await.doing(side, "look at the fence")?;
    let one = |row: &mysql::Row| Standing {
        table: TableName::new(row.text(0), row.text(1)),
        name: row.text(2),
        event: row.text(3),
        body: row.text(4),
        first: row.text(5) == "1",
    };
    Ok(rows.iter().map(one).collect())
}

/// The moved tables that have a trigger of a fence.
///
/// # Errors
/// If the server fails.
pub(in crate::cutover) async fn closed(
    server: &mut Connection,
    side: Side,
    spec: &MoveSpec,
) -> Result<Vec<TableName>> {
    let mut all: Vec<TableName> = standing(server, side, spec)
        .await?
        .into_iter()
        .filter(Standing::is_ours)
        .map(|one| one.table)
        .collect();
    all.dedup();
    Ok(all)
}

/// Raises it on the side that serves, and keeps a read lock on the tables until [`lower`], or until the connection ends.
///
/// Whoever has used one of the tables in an open transaction is waited for by the first lock; from then on nobody but us is in them.
/// Between the two locks the triggers are there already, so what is written there in that moment is a change of a table's
/// definition or a TRUNCATE, and the position that the crossing goes by is read after it.
///
/// # Errors
/// If the server refuses, or a table takes writes all the same.
pub(super) async fn raise(server: &mut Connection, spec: &MoveSpec) -> Result<()> {
    let side = Side::Source;
    if let Some(whole) = spec.on(side).whole_schemas().first() {
        return Err(MoveError::Refused {
            what: format!("all of {whole} moves, and a fence around tables needs to know which those are"),
            hint: "use `fence = \"schemas\"`".into(),
        });
    }
    let tables = tables(server, side, spec).await?;
    if tables.is_empty() {
        return Err(MoveError::Refused {
            what: "none of the moved tables is on the source any more".into(),
            hint: "see who has dropped or renamed them".into(),
        });
    }
    let locking = |how: &str| {
        let all: Vec<String> =
            tables.iter().map(|table| format!("{} {how}", table.as_is().quoted())).collect();
        format!("LOCK TABLES {}", all.join(", "))
    };
    let doing = "raise the fence";
    // Without autocommit a write that is tried can be taken back under the lock, which START TRANSACTION would end.
    server.execute("SET SESSION autocommit = 0").await.doing(side, doing)?;
    server.execute(locking("WRITE")).await.doing(side, doing)?;
    for change in changes(&tables, &standing(server, side, spec).await?, &spec.name) {
        server.execute(change).await.doing(side, doing)?;
        stop_point("half").await;
    }
    try_to_write(server, spec).await?;
    server.query_all("ROLLBACK; UNLOCK TABLES; SET SESSION autocommit = 1").await.doing(side, doing)?;
    server.execute(locking("READ")).await.doing(side, doing)?;
    still_up(server, spec).await
}

/// Tries each kind of write to each table as a stranger would; what comes through is taken back.
async fn try_to_write(server: &mut Connection, spec: &MoveSpec) -> Result<()> {
    let (side, doing) = (Side::Source, "try the fence");
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
         WHERE (TABLE_SCHEMA, TABLE_NAME) IN ({}) AND GENERATION_EXPRESSION = '' ORDER BY 1, 2, ORDINAL_POSITION",
        pairs(spec)
    );
    let columns = server.rows(sql).await.doing(side, doing)?;
    server.execute("SET @highwater_session = NULL").await.doing(side, doing)?;
    for of_table in columns.chunk_by(|a, b| (0..2).all(|i| a.bytes(i) == b.bytes(i))) {
        let (row, column) = (&of_table[0], quote_ident(&of_table[0].text(2)));
        let table = TableName::new(row.text(0), row.text(1));
        let name = table.as_is().quoted();
        let any_row = server.row(format!("SELECT 1 FROM {name} LIMIT 1")).await.doing(side, doing)?.is_some();
        let mut tries = vec![format!("INSERT INTO {name} () VALUES ()")];
        if any_row {
            tries.push(format!("UPDATE {name} SET {column} = {column} LIMIT 1"));
            tries.push(format!("DELETE FROM {name} LIMIT 1"));
        }
        for one in tries {
            match server.execute(one).await {
                // By us, or by something else that stands in the way of such a row: it was not written.
                Err(Error::Server(_)) => {}
                Err(error) => return Err(error).doing(side, doing),
                Ok(_) => {
                    server.execute("ROLLBACK").await.doing(side, doing)?;
                    return Err(MoveError::Refused {
                        what: format!(
                            "table {table} of the source takes writes although the fence was raised"
                        ),
                        hint: "this is a bug, please report it".into(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Closes the side that follows to everyone but us, as far as its tables are there.
///
/// # Errors
/// If the server refuses, or somebody keeps a table in use for too long.
pub(super) async fn close(server: &mut Connection, side: Side, spec: &MoveSpec) -> Result<()> {
    let tables = tables(server, side, spec).await?;
    let all = changes(&tables, &standing(server, side, spec).await?, &spec.name);
    if all.is_empty() {
        return Ok(());
    }
    let patience = format!("SET SESSION lock_wait_timeout = {PATIENCE}");
    server.execute(patience).await.doing(side, "bound its waits")?;
    for change in all {
        match server.execute(change).await {
            Err(error) if error.server_code() == Some(WAITED) => {
                let ids = in_the_way::with_locks(server, side, &place(spec), server.id()).await?;
                let named = in_the_way::named(server, Phase::Fence, &ids).await?;
                return Err(MoveError::Refused {
                    what: format!(
                        "a moved table of the {side} cannot be closed to others within {PATIENCE} s; in the way: {}",
                        in_the_way::sentence(&named)
                    ),
                    hint: "end what is in the way, then try again".into(),
                });
            }
            done => {
                done.doing(side, "raise the fence")?;
            }
        }
    }
    Ok(())
}

/// Lowers it, or what there is of it. Whoever has used a table in an open transaction would keep everyone out for as long, so
/// he is ended.
///
/// # Errors
/// If the server refuses.
pub(super) async fn lower(server: &mut Connection, side: Side, spec: &MoveSpec) -> Result<()> {
    let freeing = "UNLOCK TABLES; SET SESSION autocommit = 1; SET SESSION lock_wait_timeout = 1";
    server.query_all(freeing).await.doing(side, "open the tables for writes")?;
    for one in standing(server, side, spec).await?.iter().filter(|one| one.is_ours()) {
        loop {
            match server.execute(one.dropping()).await {
                Err(error) if error.server_code() == Some(WAITED) => {
                    if let Err(error) = end_those_in_the_way(server, side, spec).await {
                        tracing::warn!(target: "highwater::move", %error, table = %one.table, "who keeps it closed is waited for");
                    }
                }
                done => {
                    done.doing(side, format!("open table {} for writes", one.table))?;
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn end_those_in_the_way(server: &mut Connection, side: Side, spec: &MoveSpec) -> Result<()> {
    let ids = in_the_way::with_locks(server, side, &place(spec), server.id()).await?;
    let named: Vec<InTheWay> = in_the_way::named(server, Phase::Fence, &ids).await?;
    in_the_way::end(server, &named).await
}

/// Sees that it is up on the side that serves, by asking alone. That the tables are locked as well, the connection's being alive says.
///
/// # Errors
/// If it is not.
pub(super) async fn still_up(server: &mut Connection, spec: &MoveSpec) -> Result<()> {
    let tables = tables(server, Side::Source, spec).await?;
    let standing = standing(server, Side::Source, spec).await?;
    let missing = changes(&tables, &standing, &spec.name);
    match missing.is_empty() {
        true => Ok(()),
        false => Err(MoveError::Refused {
            what: format!(
                "the fence around the moved tables of the source is not whole: {} of {} triggers are missing or not ours",
                missing.len(),
                tables.len() * EVENTS.len()
            ),
            hint: format!("find out who drops triggers named {FENCE_TRIGGERS}..., then try again"),
        }),
    }
}

/// Whether all of its triggers stand, on tables that are there.
///
/// # Errors
/// If the server fails.
pub(super) async fn is_whole(server: &mut Connection, side: Side, spec: &MoveSpec) -> Result<bool> {
    let tables = tables(server, side, spec).await?;
    let missing = changes(&tables, &standing(server, side, spec).await?, &spec.name);
    Ok(!tables.is_empty() && missing.is_empty())
}

/// The connections that keep another one from locking the tables: whoever has used one of them in an open transaction, or whatever else
/// it waits for now, as another end of a foreign key.
///
/// # Errors
/// If the server fails.
pub(super) async fn before(server: &mut Connection, us: u32, spec: &MoveSpec) -> Result<Vec<u64>> {
    let rows = holders(server, us, spec).await?;
    Ok(rows.iter().filter_map(|row| row.number(0)).collect())
}

/// Whether one of those is no connection: a prepared XA transaction whose connection has gone keeps its locks.
///
/// # Errors
/// If the server fails.
pub(super) async fn is_prepared_transaction_before(
    server: &mut Connection,
    us: u32,
    spec: &MoveSpec,
) -> Result<bool> {
    Ok(holders(server, us, spec).await?.iter().any(|row| row.number::<u64>(0).is_none()))
}

async fn holders(server: &mut Connection, us: u32, spec: &MoveSpec) -> Result<Vec<mysql::Row>> {
    let sql = format!(
        "WITH us AS (SELECT IFNULL(MAX(THREAD_ID), 0) AS id FROM performance_schema.threads WHERE PROCESSLIST_ID = {us}) \
         SELECT DISTINCT t.PROCESSLIST_ID FROM us JOIN performance_schema.metadata_locks m ON m.OWNER_THREAD_ID <> us.id \
         LEFT JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID \
         WHERE m.LOCK_STATUS = 'GRANTED' AND NOT t.PROCESSLIST_ID <=> CONNECTION_ID() AND ({} OR EXISTS \
         (SELECT 1 FROM performance_schema.metadata_locks p WHERE p.OWNER_THREAD_ID = us.id AND p.LOCK_STATUS = 'PENDING' \
          AND p.OBJECT_TYPE = m.OBJECT_TYPE AND p.OBJECT_SCHEMA <=> m.OBJECT_SCHEMA AND p.OBJECT_NAME <=> m.OBJECT_NAME))",
        place(spec)
    );
    server.rows(sql).await.doing(Side::Source, "look for who stands in the way")
}
