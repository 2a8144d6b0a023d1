//! The opening of a move: the tables on the target, exactly as they are at the position where the stream begins.

use model::{GtidSet, Table, TableName};
use mysql::Connection;

use crate::bag;
use crate::definition::{Subject, definitions};
use crate::error::{Doing, MoveError, Result, Side};
use crate::mover::gtid_executed;
use crate::plan::MoveSpec;
use crate::schema;
use crate::xa;

/// How often the source's tables may change while they are looked at.
const TRIES: u32 = 10;

/// Creates the tables on the target, and says which they are and where the stream begins.
///
/// # Errors
/// If the target has rows that no ledger knows, a server refuses, or the source's tables do not stand still.
pub(crate) async fn prepare(
    source: &mut Connection,
    target: &mut Connection,
    spec: &MoveSpec,
    how: schema::Creation<'_>,
) -> Result<(Vec<Table>, GtidSet)> {
    for _ in 0..TRIES {
        let tables = schema::read(source, Side::Source, spec).await?;
        let before = definitions(source, Side::Source, &subjects(&tables)).await?;
        // The position first: a row changed from here on is in the stream, one from before in the copy.
        let executed = gtid_executed(source, Side::Source).await?;
        xa::refuse_prepared(source).await?;
        let new = absent_or_empty(target, &tables).await?;
        bag::keep_keyless(target, &tables).await?;
        let created = schema::create(source, target, &tables, how).await;
        // A definition that is the same before and after held at the position as well. One that changed is in the
        // stream too, and would be changed twice.
        let now = schema::read(source, Side::Source, spec).await?;
        if now == tables && definitions(source, Side::Source, &subjects(&now)).await? == before {
            created?;
            return Ok((tables, executed));
        }
        tracing::info!(target: "highwater::move", "the source's tables change; looking again");
        for name in new {
            let sql = format!("DROP TABLE IF EXISTS {}", name.as_is().quoted());
            target.execute(sql).await.doing(Side::Target, format!("drop {name}, still empty"))?;
        }
    }
    Err(MoveError::Refused {
        what: "the source's tables change so often that no position could be found to begin at".into(),
        hint: "wait until the changes of tables are done".into(),
    })
}

/// On the source.
fn subjects(tables: &[Table]) -> Vec<Subject> {
    tables.iter().map(|t| Subject::Table(t.on(Side::Source).to_name())).collect()
}

/// A table with rows that no ledger knows is not ours to write to. Returns those that are not there.
async fn absent_or_empty(target: &mut Connection, tables: &[Table]) -> Result<Vec<TableName>> {
    let mut absent = Vec::new();
    for table in tables {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", table.on(Side::Target).quoted());
        match target.row(sql).await {
            Err(error) if error.is_unknown_table() => {
                absent.push(table.name.clone());
            }
            Err(error) => return Err(error).doing(Side::Target, format!("look into {}", table.name)),
            Ok(None) => {}
            Ok(Some(_)) => {
                return Err(MoveError::Refused {
                    what: format!(
                        "table {} on the target has rows, and no ledger says where they came from",
                        table.name
                    ),
                    hint: "empty or drop it on the target, or leave it out of the move".into(),
                });
            }
        }
    }
    Ok(absent)
}
