//! Statements of one transaction on the target, sent many to a packet, each held to the number of rows it must change.
//!
//! Every DELETE names its rows by key (of a bag, by value: [`super::bags`]) and every INSERT is a plain one, so that a row
//! that should not be there is an error (1062), never overwritten.

use model::{ColumnKind, Table, TableName};
use mysql::{Connection, QueryResult, Row};

use super::effect::Expect;
use crate::error::{Doing, MoveError, Result, Side};
use crate::literal::{Key, Tuple, literals};
use crate::select::{in_keys, keys_per_statement};

/// Bytes of one statement, at the most nearly: far below any `max_allowed_packet`, large enough to amortise parsing.
const STATEMENT_BYTES: usize = 1 << 20;
/// Bytes of statements that go in one packet.
const PACKET_BYTES: usize = 2 << 20;
/// ENUM values of 0 in one statement: well below what the server's count of warnings can tell.
const EMPTY_ENUMS_MAX: u32 = 1_000;
/// Makes an INSERT take an ENUM's value 0, as the source once did, with a warning where our sessions' mode, which is this
/// one and STRICT_ALL_TABLES, makes it an error.
pub(crate) const NOT_STRICT: &str = "/*+ SET_VAR(sql_mode='ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO') */ ";

/// Rows deleted in one go where all have to go: bounds a transaction's size and time.
const CLEARED_AT_ONCE: u64 = 20_000;

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
            expect.hold(ok.affected_rows, ok.warnings)?;
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
            let mut sql = format!("DELETE FROM {}", table.on(Side::Target).quoted()).into_bytes();
            sql.extend_from_slice(&in_keys(table, now.iter().copied()));
            self.push(&sql, Expect::deleted(&table.name, count as u64, all_there)).await?;
            rest = later;
        }
        Ok(())
    }

    /// Deletes some rows, whichever, of a table whose copy has to begin again.
    ///
    /// # Errors
    /// As [`Statements::push`].
    pub async fn clear_some(&mut self, table: &Table) -> Result<()> {
        let sql = format!("DELETE FROM {} LIMIT {CLEARED_AT_ONCE}", table.on(Side::Target).quoted());
        self.push(sql.as_bytes(), Expect::Any).await
    }

    /// Inserts rows, none of whose keys may be there.
    ///
    /// # Errors
    /// As [`Statements::push`].
    pub async fn insert<'r>(&mut self, table: &Table, rows: impl Iterator<Item = NewRow<'r>>) -> Result<()> {
        let mut strict = Insert::new(table, "");
        let mut lenient = Insert::new(table, NOT_STRICT);
        for row in rows {
            let insert = if row.empty_enums == 0 { &mut strict } else { &mut lenient };
            insert.add(&row);
            if insert.is_full() {
                insert.push_to(self).await?;
            }
        }
        strict.push_to(self).await?;
        lenient.push_to(self).await
    }
}

/// A row to be inserted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewRow<'a> {
    /// Its literals, separated by commas.
    pub literals: &'a [u8],
    /// How many of them are an ENUM's value 0.
    pub empty_enums: u32,
}

impl<'a> From<&'a Tuple> for NewRow<'a> {
    fn from(tuple: &'a Tuple) -> Self {
        Self { literals: tuple.literals(), empty_enums: tuple.empty_enums() }
    }
}

impl<'a> NewRow<'a> {
    /// A row of a bag, whose key is all of it.
    pub fn of_bag(table: &Table, key: &'a Key) -> Self {
        let is_empty_enum =
            |(i, literal): &(usize, &[u8])| table.columns[*i].kind == ColumnKind::Enum && *literal == b"0";
        let empty_enums = table.written().zip(literals(key)).filter(is_empty_enum).count() as u32;
        Self { literals: key, empty_enums }
    }
}

/// An INSERT that grows row by row.
struct Insert<'a> {
    table: &'a Table,
    head: String,
    sql: Vec<u8>,
    rows: u64,
    empty_enums: u32,
}

impl<'a> Insert<'a> {
    fn new(table: &'a Table, hint: &str) -> Self {
        let columns: Vec<_> = table.written().map(|c| model::quote_ident(&table.columns[c].name)).collect();
        let head =
            format!("INSERT {hint}INTO {} ({}) VALUES ", table.on(Side::Target).quoted(), columns.join(","));
        Self { table, head, sql: Vec::new(), rows: 0, empty_enums: 0 }
    }

    fn add(&mut self, row: &NewRow<'_>) {
        self.sql.extend_from_slice(if self.rows == 0 { self.head.as_bytes() } else { b"," });
        self.sql.push(b'(');
        self.sql.extend_from_slice(row.literals);
        self.sql.push(b')');
        self.rows += 1;
        self.empty_enums += row.empty_enums;
    }

    fn is_full(&self) -> bool {
        self.sql.len() >= STATEMENT_BYTES || self.empty_enums >= EMPTY_ENUMS_MAX
    }

    /// Pushes what it has, and begins anew.
    async fn push_to(&mut self, statements: &mut Statements<'_>) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let expect = match self.empty_enums {
            0 => Expect::Exactly(self.table.name.clone(), self.rows),
            expected => Expect::Warned(self.table.name.clone(), self.rows, expected),
        };
        statements.push(&self.sql, expect).await?;
        self.sql.clear();
        (self.rows, self.empty_enums) = (0, 0);
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
