//! What besides rows must be in place before the other side serves.

use model::Table;
use mysql::Connection;

use crate::error::{Doing, Result, Side};
use crate::schema::quote_text;

/// Puts every AUTO_INCREMENT counter of the target at or past the source's. Rows alone do not bring it there: numbers
/// given to rows that were deleted or rolled back must not be given again.
pub(super) async fn advance_counters(
    source: &mut Connection,
    target: &mut Connection,
    tables: &[Table],
) -> Result<()> {
    let schemas: Vec<String> = tables.iter().map(|t| quote_text(&t.name.schema)).collect();
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES \
         WHERE AUTO_INCREMENT IS NOT NULL AND TABLE_SCHEMA IN ({})",
        schemas.join(",")
    );
    let (here, there) = tokio::join!(source.rows(&sql), target.rows(&sql));
    let here = here.doing(Side::Source, "read AUTO_INCREMENT counters")?;
    let there = there.doing(Side::Target, "read AUTO_INCREMENT counters")?;
    for table in tables {
        let counter = |rows: &[mysql::Row]| {
            let row = rows.iter().find(|r| r.text(0) == table.name.schema && r.text(1) == table.name.table);
            row.and_then(|r| r.number::<u64>(2)).unwrap_or(0)
        };
        let wanted = counter(&here);
        if counter(&there) < wanted {
            let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {wanted}", table.name.quoted());
            target.execute(sql).await.doing(Side::Target, "advance an AUTO_INCREMENT counter")?;
        }
    }
    Ok(())
}
