//! A statement that is being executed.
//!
//! A statement that changes tables commits on its own, so it and the ledger cannot commit together. Before it is executed
//! it is written down here with the definitions of what it touches; after a crash these tell whether it has happened,
//! since MySQL 8 does such a statement whole or not at all.

use mysql::Connection;

use super::LedgerName;
use crate::error::{Doing, Result, Side};
use crate::schema::quote_bytes;

/// What was written down.
#[derive(Debug)]
pub(crate) struct Due {
    /// The statement's transaction.
    pub gtid: String,
    /// The definitions before it.
    pub before: Vec<u8>,
    /// It has created its table; its rows are to come.
    pub created: bool,
}

/// The last statement of a direction that was written down. If the ledger holds its transaction, it is history.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn due(target: &mut Connection, name: &LedgerName) -> Result<Option<Due>> {
    let sql = format!("SELECT gtid, before_it, created FROM highwater.statements WHERE {}", name.matches());
    let row = target.row(sql).await.doing(Side::Target, "read the statement under way")?;
    Ok(row.map(|r| Due {
        gtid: r.text(0),
        before: r.bytes(1).map(<[u8]>::to_vec).unwrap_or_default(),
        created: r.text(2) == "1",
    }))
}

/// The statements that write it down, each to change no more than one row.
pub(crate) fn begun(name: &LedgerName, due: &Due) -> [String; 2] {
    let before = quote_bytes(&due.before);
    [
        ended(name),
        format!(
            "INSERT INTO highwater.statements (move_name, source_uuid, gtid, before_it, created) \
             VALUES ('{}', '{}', '{}', {before}, {})",
            name.move_name,
            name.source_uuid,
            due.gtid,
            u8::from(due.created)
        ),
    ]
}

/// The statement that says: its table is created, its rows are to come.
pub(crate) fn created(name: &LedgerName) -> String {
    format!("UPDATE highwater.statements SET created=1 WHERE {}", name.matches())
}

/// The statement that removes it.
pub(crate) fn ended(name: &LedgerName) -> String {
    format!("DELETE FROM highwater.statements WHERE {}", name.matches())
}
