//! XA transactions in the stream: their rows are in the log when they are prepared, and take effect when their
//! coordinator decides, in another transaction of the log, or never.
//!
//! Until then the rows are held in memory only. So an XA PREPARE joins the ledger together with what decides it, and
//! not before: after a crash the source is asked for it again, and for it alone of all that was applied.

use std::collections::HashMap;

use model::Gtid;
use mysql::Connection;

use crate::error::{Doing, MoveError, Result, Side};
use crate::fold::Change;

/// Changes of one transaction: the table's place in the plan, and the change.
type Changes = Vec<(usize, Change)>;

/// Transactions that are prepared and not decided, by their names as the log spells them.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    held: HashMap<String, (Gtid, Changes)>,
}

impl Prepared {
    /// Holds the changes of an XA PREPARE.
    pub(crate) fn hold(&mut self, xid: String, prepare: Gtid, changes: Changes) {
        self.held.insert(xid, (prepare, changes));
    }

    /// What an XA COMMIT makes effective, and the XA PREPARE it came from.
    ///
    /// # Errors
    /// If that was not in the stream: it was prepared before the move began.
    pub(crate) fn commit(&mut self, xid: &str) -> Result<(Gtid, Changes)> {
        self.held.remove(xid).ok_or_else(|| MoveError::Refused {
            what: format!(
                "XA transaction {xid} was prepared before the copy began, and has now been committed"
            ),
            hint: "run `highwater finish` and copy again: its rows are not in the stream".into(),
        })
    }

    /// Forgets what an XA ROLLBACK undoes. One that was prepared before the move began concerns nobody.
    pub(crate) fn roll_back(&mut self, xid: &str) -> Option<Gtid> {
        self.held.remove(xid).map(|(prepare, _)| prepare)
    }
}

/// A statement about an XA transaction, as the server writes it to the log.
///
/// Source: `Query_log_event` in `do_binlog_xa_commit_rollback`, `sql/binlog.cc`: upper case, the name as hexadecimal
/// literals, one space between.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum XaStatement {
    /// The transaction's changes follow.
    Start,
    /// They are complete; what follows says whether prepared or committed.
    End,
    /// A prepared transaction is committed.
    Commit(String),
    /// A prepared transaction is rolled back.
    Rollback(String),
}

impl XaStatement {
    /// Reads a statement of the log, if it is one of these.
    pub(crate) fn of(sql: &[u8]) -> Option<Self> {
        let (verb, xid) = std::str::from_utf8(sql).ok()?.strip_prefix("XA ")?.split_once(' ')?;
        let xid = xid.trim().to_owned();
        match verb {
            "START" => Some(Self::Start),
            "END" => Some(Self::End),
            "COMMIT" => Some(Self::Commit(xid)),
            "ROLLBACK" => Some(Self::Rollback(xid)),
            _ => None,
        }
    }
}

/// Refuses to begin a copy while transactions are prepared: their rows are in the log before the copy's first
/// position, and visible only after their commit. To be asked after that position was read: one that is decided between
/// the two shows as a commit whose XA PREPARE the stream has not seen.
///
/// # Errors
/// If there are any, or the server does not tell.
pub(crate) async fn refuse_prepared(source: &mut Connection) -> Result<()> {
    let prepared = source.rows("XA RECOVER CONVERT XID").await.doing(Side::Source, "list XA transactions")?;
    match prepared.len() {
        0 => Ok(()),
        n => Err(MoveError::Refused {
            what: format!("cannot begin the copy: the source has {n} XA transactions in prepared state"),
            hint: "XA RECOVER CONVERT XID lists them; have their coordinator commit or roll back each, then start again"
                .into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_the_log_are_told_apart() {
        assert_eq!(XaStatement::of(b"XA START X'61',X'62',7"), Some(XaStatement::Start));
        assert_eq!(XaStatement::of(b"XA END X'61',X'62',7"), Some(XaStatement::End));
        let xid = || "X'61',X'',1".to_owned();
        assert_eq!(XaStatement::of(b"XA COMMIT X'61',X'',1"), Some(XaStatement::Commit(xid())));
        assert_eq!(XaStatement::of(b"XA ROLLBACK X'61',X'',1"), Some(XaStatement::Rollback(xid())));
        assert_eq!(XaStatement::of(b"XANADU X"), None);
        assert_eq!(XaStatement::of(b"BEGIN"), None);
    }
}
