//! Statements of one transaction on the target, sent many to a packet, each held to the number of rows it must change.
//!
//! Every DELETE names its rows by key (of a bag, by value: [`super::bags`]) and every INSERT is a plain one, so that a row
//! that should not be there is an error (1062), never overwritten.

use model::{Table, TableName};
use mysql::{Connection, QueryResult, Row};

use crate::error::{Doing, MoveError, Result, Side};
use crate::literal::Key;
use crate::select::{in_keys, keys_per_statement};

/// Bytes of one statement, at the most nearly: far below any `max_allowed_packet`, large enough to amortise parsing.
const STATEMENT_BYTES: usize = 1 << 20;
/// Bytes of statements that go in one packet.
const PACKET_BYTES: usize = 2 << 20;

/// Rows deleted in one go where all have to go: bounds a transaction's size and time.
const CLEARED_AT_ONCE: u64 = 20_000;

/// How many rows a statement must change.
#[derive(Debug, Clone)]
pub(crate) enum Expect {
    /// Whatever it changes.
    Any,
    /// Our one row of the ledger, which another process may have claimed.
    Owned,
    /// Exactly so many, of this table.
    Exactly(TableName, u64),
    /// No more than so many, of this table.
    AtMost(TableName, u64),
}

impl Expect {
    fn hold(&self, found: u64) -> Result<()> {
        let (table, rows, kept) = match self {
            Self::Any => return Ok(()),
            Self::Owned if found == 1 => return Ok(()),
            Self::Owned => return Err(MoveError::taken_over()),
            Self::Exactly(table, rows) => (table, rows, found == *rows),
            Self::AtMost(table, rows) => (table, rows, found <= *rows),
        };
        if kept {
            return Ok(());
        }
        let evidence = format!("the target has {found} of {rows} rows that must be there");
        Err(MoveError::NotExact { table: table.clone(), evidence })
    }
}

/// The statements of a transaction under way. Its COMMIT is another's: it waits for every count to be right.
pub(crate) struct Statements<'a> {
    target: &'a mut Connection,
    doing: &'a str,
    packet: Vec<u8>,
    expected: Vec<Expect>,
}

impl<'a> Statements<'a> {
    /// Begins a transaction.
    pub fn begin(target: &'a mut Connection, doing: &'a str) -> Self {
        Self { target, doing, packet: b"START TRANSACTION".to_vec(), expected: vec![Expect::Any] }
    }

    /// Goes on with a transaction that has begun.
    pub fn go_on(target: &'a mut Connection, doing: &'a str) -> Self {
        Self { target, doing, packet: Vec::new(), expected: Vec::new() }
    }

    /// Adds a statement, sending what has gathered if that is enough.
    ///
    /// # Errors
    /// If the target refuses one, or one has changed another number of rows than it must.
    pub async fn push(&mut self, sql: &[u8], expect: Expect) -> Result<()> {
        if self.packet.len() + sql.len() > PACKET_BYTES {
            self.send().await?;
        }
        if !self.packet.is_empty() {
            self.packet.push(b';');
        }
        self.packet.extend_from_slice(sql);
        self.expected.push(expect);
        Ok(())
    }

    /// Sends what is left.
    ///
    /// # Errors
    /// As [`Statements::push`].
    pub async fn end(mut self) -> Result<()> {
        self.send().await
    }

    /// Reads rows as they are after the statements so far.
    ///
    /// # Errors
    /// As [`Statements::push`].
    pub async fn ask(&mut self, sql: &[u8]) -> Result<Vec<Row>> {
        self.send().await?;
        self.target.rows(sql).await.map_err(|e| judge(e, self.doing))
    }

    async fn send(&mut self) -> Result<()> {
        if self.expected.is_empty() {
            return Ok(());
        }
        let results = self.target.query_all(&self.packet).await.map_err(|e| judge(e, self.doing))?;
        if results.len() != self.expected.len() {
            return Err(mysql::Error::Unexpected("another number of results"))
                .doing(Side::Target, self.doing);
        }
        for (result, expect) in results.iter().zip(&self.expected) {
            let QueryResult::Done(ok) = result else { continue };
            expect.hold(ok.affected_rows)?;
        }
        self.packet.clear();
        self.expected.clear();
        Ok(())
    }

    /// Deletes the rows of these keys: all of them must be there, or only some.
    ///
    /// # Errors
    /// As [`Statements::push`].
    pub async fn delete(&mut self, table: &Table, keys: &[&Key], all_there: bool) -> Result<()> {
        let most = keys_per_statement(table);
        let mut rest = keys;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |key: &&&Key| {
                bytes += key.len() + 3;
                bytes < STATEMENT_BYTES
            };
            let count = rest.iter().take(most).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            let mut sql = format!("DELETE FROM {}", table.name.quoted()).into_bytes();
            sql.extend_from_slice(&in_keys(table, now.iter().copied()));
            let expect = match all_there {
                true => Expect::Exactly(table.name.clone(), count as u64),
                false => Expect::AtMost(table.name.clone(), count as u64),
            };
            self.push(&sql, expect).await?;
            rest = later;
        }
        Ok(())
    }

    /// Deletes some rows, whichever, of a table whose copy has to begin again.
    ///
    /// # Errors
    /// As [`Statements::push`].
    pub async fn clear_some(&mut self, table: &Table) -> Result<()> {
        let sql = format!("DELETE FROM {} LIMIT {CLEARED_AT_ONCE}", table.name.quoted());
        self.push(sql.as_bytes(), Expect::Any).await
    }

    /// Inserts rows, given as their literals; none of their keys may be there.
    ///
    /// # Errors
    /// As [`Statements::push`].
    pub async fn insert<'r>(&mut self, table: &Table, rows: impl Iterator<Item = &'r [u8]>) -> Result<()> {
        let columns: Vec<_> = table.written().map(|c| model::quote_ident(&table.columns[c].name)).collect();
        let head = format!("INSERT INTO {} ({}) VALUES ", table.name.quoted(), columns.join(","));
        let (mut sql, mut count) = (Vec::new(), 0);
        for row in rows {
            sql.extend_from_slice(if count == 0 { head.as_bytes() } else { b"," });
            sql.push(b'(');
            sql.extend_from_slice(row);
            sql.push(b')');
            count += 1;
            if sql.len() >= STATEMENT_BYTES {
                self.push(&sql, Expect::Exactly(table.name.clone(), count)).await?;
                sql.clear();
                count = 0;
            }
        }
        if count > 0 {
            self.push(&sql, Expect::Exactly(table.name.clone(), count)).await?;
        }
        Ok(())
    }
}

/// A duplicate key is not an error to work around: it says that the target is not what the stream made it.
fn judge(error: mysql::Error, doing: &str) -> MoveError {
    if error.server_code() == Some(1062) {
        let evidence = format!("a row that must be new is there already, or a unique key has it ({doing})");
        return MoveError::NotExact { table: TableName::new("target", "table"), evidence };
    }
    MoveError::Server { side: Side::Target, doing: doing.to_owned(), error }
}
