//! The fence around schemas: `ALTER SCHEMA ... READ ONLY = 1`. Of a server of version 9.7 this was seen: it is there after `kill -9`; it
//! needs ALTER on the schema and nothing else; not even root writes past it, and foreign keys' actions do not either; it waits for every
//! transaction that has used a table of the schema, readers too.
//!
//! It is written to the binary log. The stream passes it over (`ddl/parse.rs`), else it would close the other side as well. See
//! `docs/decisions/0022-schema-fence.md`.

use model::quote_ident;
use mysql::Connection;

use crate::cutover::Phase;
use crate::cutover::in_the_way::{self, InTheWay};
use crate::error::{Doing, MoveError, Result, Side};
use crate::schema::quote_text;

/// What the server says to whoever writes to a schema that is read-only (ER_SCHEMA_READ_ONLY).
const READ_ONLY: u16 = 3989;

/// What the server says when it has waited for a lock for long enough.
const WAITED: u16 = 1205;

/// The statements that raise it.
pub(super) fn raising(schemas: &[&str]) -> String {
    let each = schemas.iter().map(|schema| format!("ALTER SCHEMA {} READ ONLY = 1", quote_ident(schema)));
    each.collect::<Vec<_>>().join("; ")
}

fn listed(schemas: &[&str]) -> String {
    schemas.iter().map(|schema| quote_text(schema)).collect::<Vec<_>>().join(",")
}

/// Those of the schemas that are read-only.
///
/// # Errors
/// If the server fails, or is older than 8.0.22.
pub(in crate::cutover) async fn closed(
    server: &mut Connection,
    side: Side,
    schemas: &[&str],
) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA_EXTENSIONS \
         WHERE SCHEMA_NAME IN ({}) AND OPTIONS LIKE '%READ ONLY=1%'",
        listed(schemas)
    );
    let rows = server.rows(sql).await.doing(side, "look at the fence")?;
    Ok(rows.iter().map(|row| row.text(0)).collect())
}

/// Lowers it. Whoever reads in a schema in an open transaction would keep everyone out for as long, so he is ended.
///
/// # Errors
/// If the server refuses.
pub(super) async fn lower(server: &mut Connection, side: Side, schemas: &[&str]) -> Result<()> {
    for schema in closed(server, side, schemas).await? {
        let sql =
            format!("SET SESSION lock_wait_timeout = 1; ALTER SCHEMA {} READ ONLY = 0", quote_ident(&schema));
        loop {
            match server.query_all(&sql).await {
                Err(error) if error.server_code() == Some(WAITED) => {
                    if let Err(error) = end_those_in_the_way(server, side, &schema).await {
                        tracing::warn!(target: "highwater::move", %error, schema, "who keeps it closed is waited for");
                    }
                }
                done => {
                    done.doing(side, format!("open schema {schema} for writes"))?;
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn end_those_in_the_way(server: &mut Connection, side: Side, schema: &str) -> Result<()> {
    let us = server.id();
    let ids = in_the_way(server, side, &[schema], us).await?;
    let named: Vec<InTheWay> = in_the_way::named(server, Phase::Fence, &ids).await?;
    in_the_way::end(server, &named).await
}

/// Sees that it is up, by asking and by trying: a statement that would change nothing has to be refused.
///
/// # Errors
/// If it is not.
pub(super) async fn prove(server: &mut Connection, schemas: &[&str]) -> Result<()> {
    let closed = closed(server, Side::Source, schemas).await?;
    let sql = format!(
        "SELECT SCHEMA_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ({})",
        listed(schemas)
    );
    let there = server.rows(sql).await.doing(Side::Source, "look at the fence")?;
    for row in there {
        let schema = row.text(0);
        let trying = format!("ALTER SCHEMA {} COLLATE {}", quote_ident(&schema), row.text(1));
        let refused =
            matches!(server.execute(trying).await, Err(error) if error.server_code() == Some(READ_ONLY));
        if !refused || !closed.contains(&schema) {
            return Err(MoveError::Refused {
                what: format!("schema {schema} of the source takes changes although the fence was raised"),
                hint: format!(
                    "someone lowers it: find out who runs ALTER SCHEMA {} READ ONLY = 0",
                    quote_ident(&schema)
                ),
            });
        }
    }
    Ok(())
}

/// Sees that it is still up, by asking alone.
///
/// # Errors
/// If it is not.
pub(super) async fn still_up(server: &mut Connection, schemas: &[&str]) -> Result<()> {
    let closed = closed(server, Side::Source, schemas).await?;
    match schemas.iter().find(|schema| !closed.iter().any(|one| one == *schema)) {
        None => Ok(()),
        Some(schema) => Err(MoveError::Refused {
            what: format!(
                "schema {schema} of the source is not read-only any more: somebody has lowered the fence"
            ),
            hint: format!(
                "find out who runs ALTER SCHEMA {} READ ONLY = 0, then try again",
                quote_ident(schema)
            ),
        }),
    }
}

/// Where whoever has used one of their tables has a lock, as a condition on `performance_schema.metadata_locks`.
pub(super) fn place(schemas: &[&str]) -> String {
    format!("m.OBJECT_SCHEMA IN ({})", listed(schemas))
}

/// The connections, but for one, that keep these schemas from becoming read-only or open again: whoever has used one of their tables
/// in a transaction that is open.
///
/// # Errors
/// If the server fails.
pub(super) async fn in_the_way(
    server: &mut Connection,
    side: Side,
    schemas: &[&str],
    but: u32,
) -> Result<Vec<u64>> {
    in_the_way::with_locks(server, side, &place(schemas), but).await
}
