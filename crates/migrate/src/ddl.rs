//! What a statement in the binary log means to a move.
//!
//! Row changes arrive as row events, so a statement logged as text is a transaction's edge, or changes something other
//! than rows. Those that can touch the moved tables stop the move: replaying them exactly needs more than their text.

use wire::binlog::QueryEvent;

use crate::error::{MoveError, Result};

/// What to do at a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A transaction's changes follow.
    Begin,
    /// The transaction that began ends here.
    Commit,
    /// A statement that does not concern us: a transaction of its own, unless one has begun.
    Aside,
}

/// Statements that never change a table's shape or rows.
const HARMLESS: &[&str] = &[
    "ANALYZE",
    "OPTIMIZE",
    "REPAIR",
    "FLUSH",
    "GRANT",
    "REVOKE",
    "SET PASSWORD",
    "SET DEFAULT ROLE",
    "CREATE USER",
    "ALTER USER",
    "DROP USER",
    "RENAME USER",
    "CREATE ROLE",
    "DROP ROLE",
    "SAVEPOINT",
    "DROP TEMPORARY",
    "DROP /*!40005 TEMPORARY",
    "CREATE TEMPORARY",
];

/// Classifies a statement.
///
/// # Errors
/// If it may change a moved table.
pub fn meaning(query: &QueryEvent, schemas: &[String]) -> Result<Meaning> {
    let sql = String::from_utf8_lossy(&query.sql);
    let text = sql.trim_start();
    let upper: String = text.chars().take(64).collect::<String>().to_ascii_uppercase();
    match upper.as_str() {
        "BEGIN" => return Ok(Meaning::Begin),
        "COMMIT" => return Ok(Meaning::Commit),
        _ => {}
    }
    let harmless = HARMLESS.iter().any(|h| upper.starts_with(h));
    if harmless || !concerns(query, text, schemas) {
        return Ok(Meaning::Aside);
    }
    let verb: Vec<&str> = text.split_whitespace().take(2).collect();
    Err(MoveError::Unsupported(format!(
        "a statement that may change a moved table ({} …, default schema '{}')",
        verb.join(" "),
        query.schema
    )))
}

/// Whether the statement runs in a moved schema or names one. Naming is judged by text alone, on the safe side.
fn concerns(query: &QueryEvent, text: &str, schemas: &[String]) -> bool {
    schemas.iter().any(|s| *s == query.schema || text.contains(s.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, sql: &str) -> Option<Meaning> {
        let query = QueryEvent { schema: schema.into(), sql: sql.as_bytes().to_vec() };
        meaning(&query, &["shop".to_owned()]).ok()
    }

    #[test]
    fn ddl_on_moved_schemas_stops_and_other_statements_do_not() {
        assert_eq!(check("shop", "BEGIN"), Some(Meaning::Begin));
        assert_eq!(check("", "COMMIT"), Some(Meaning::Commit));
        assert_eq!(check("other", "ALTER TABLE t ADD c INT"), Some(Meaning::Aside));
        assert_eq!(check("other", "ALTER TABLE shop.t ADD c INT"), None);
        assert_eq!(check("shop", "truncate table t"), None);
        assert_eq!(check("shop", "ANALYZE TABLE t"), Some(Meaning::Aside));
        assert_eq!(check("", "drop database `shop`"), None);
    }
}
