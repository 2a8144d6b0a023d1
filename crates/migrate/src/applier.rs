//! Writes batches and copied ranges to the target, each together with its ledger entry, in stream order.
//!
//! Invariants kept here: rows and ledger commit together; every statement names the rows it deletes by their key and
//! inserts with a plain INSERT, so that a row that should not be there is an error (1062), never overwritten.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{Table, TableName};
use mysql::{Connection, QueryResult};
use tokio::sync::mpsc;

use crate::direction::Direction;
use crate::error::{Doing, MoveError, Result, Side};
use crate::fold::TableFold;
use crate::literal::{RowShape, Tuple};
use crate::select::{in_keys, in_range, row_list};
use crate::session;
use crate::work::{Batch, CopiedRange, Work};

/// Bytes of one statement, at the most nearly: far below any `max_allowed_packet`, large enough to amortise parsing.
const STATEMENT_BYTES: usize = 1 << 20;
/// Bytes of one packet of several statements.
const PACKET_BYTES: usize = 8 << 20;

/// The one writer of a move's target.
pub struct Applier {
    target: Connection,
    direction: Arc<Direction>,
    shapes: Vec<RowShape>,
}

impl Applier {
    /// Connects to the target.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) async fn open(direction: Arc<Direction>) -> Result<Self> {
        let shapes = direction.tables.iter().map(RowShape::of).collect();
        let target = session::open(&direction.options.target, Side::Target).await?;
        Ok(Self { target, direction, shapes })
    }

    /// Applies all work until its sender is gone.
    ///
    /// # Errors
    /// The first error ends it; what was not committed is not in the ledger either.
    pub async fn run(mut self, mut work: mpsc::Receiver<Work>) -> Result<()> {
        while let Some(step) = work.recv().await {
            match step {
                Work::Batch(batch) => self.apply(batch).await?,
                Work::Copied(range) => self.insert_range(range).await?,
                Work::Pause(pause) => {
                    // Whoever asked may be gone; then there is nothing to wait for.
                    if pause.reached.send(()).is_ok() {
                        let _ = pause.resume.await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn apply(&mut self, batch: Batch) -> Result<()> {
        let begun = Instant::now();
        let mut script = Script::begin();
        for (i, fold) in batch.tables.iter().enumerate().filter(|(_, f)| !f.is_empty()) {
            self.script_deletes(&mut script, i, fold);
        }
        for (i, fold) in batch.tables.iter().enumerate().filter(|(_, f)| !f.is_empty()) {
            script_inserts(&mut script, i, &self.direction.tables[i], fold.inserts());
        }
        script.push(self.direction.ledger.update(&batch.applied).into_bytes(), Expect::Any);
        self.run_script(script, &format!("apply transactions up to {}", batch.applied)).await?;
        self.commit().await?;

        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let lag = batch.commit_micros.map(|(oldest, _)| now.saturating_sub(Duration::from_micros(oldest)));
        self.direction.progress.applied(&batch, lag, begun.elapsed());
        Ok(())
    }

    fn script_deletes(&self, script: &mut Script, i: usize, fold: &TableFold) {
        let table = &self.direction.tables[i];
        let keys: Vec<_> = fold.deletes().collect();
        // Once every range is copied, each row the stream removes or replaces must be there.
        let copied = self.direction.progress.is_copied(i);
        let mut rest = keys.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let n = rest
                .iter()
                .take_while(|k| {
                    bytes += k.len() + 3;
                    bytes < STATEMENT_BYTES
                })
                .count()
                .max(1);
            let (now, later) = rest.split_at(n);
            let mut sql = format!("DELETE FROM {}", table.name.quoted()).into_bytes();
            sql.extend_from_slice(&in_keys(table, now.iter().copied()));
            let expect = match copied {
                true => Expect::Exactly { table: i, rows: now.len() as u64 },
                false => Expect::AtMost { table: i, rows: now.len() as u64 },
            };
            script.push(sql, expect);
            rest = later;
        }
    }

    /// Inserts what the range brought, except rows that are here already because the stream touched them before the
    /// window opened; those must be what was read.
    async fn insert_range(&mut self, copied: CopiedRange) -> Result<()> {
        let table = self.direction.tables[copied.table].clone();
        let shape = self.shapes[copied.table].clone();
        let mut rows = copied.rows;
        let mut sql = format!("SELECT {} FROM {}", row_list(&table), table.name.quoted()).into_bytes();
        sql.extend_from_slice(&in_range(&table, &copied.range));
        let here = self.target.rows(&sql).await.doing(Side::Target, format!("read {}", table.name))?;
        if !here.is_empty() {
            rows = without_present(rows, &here, &shape, &table.name)?;
        }
        let count = rows.len() + here.len();

        let mut script = Script::begin();
        script_inserts(&mut script, copied.table, &table, rows.iter());
        let expect = Expect::Exactly { table: copied.table, rows: 1 };
        script.push(self.direction.ledger.range_done(&table, copied.number, count).into_bytes(), expect);
        self.run_script(script, &format!("copy a range of {}", table.name)).await?;
        self.commit().await?;
        self.direction.progress.range_copied(copied.table, count as u64);
        let _ = copied.done.send(());
        Ok(())
    }

    async fn run_script(&mut self, script: Script, doing: &str) -> Result<()> {
        for (packet, expectations) in script.packets() {
            let results = self.target.query_all(&packet).await.map_err(|e| self.judge(e, doing))?;
            if results.len() != expectations.len() {
                return Err(mysql::Error::Unexpected("another number of results")).doing(Side::Target, doing);
            }
            for (result, expect) in results.iter().zip(expectations) {
                let QueryResult::Done(ok) = result else { continue };
                self.hold_to(expect, ok.affected_rows)?;
            }
        }
        Ok(())
    }

    fn hold_to(&self, expect: Expect, found: u64) -> Result<()> {
        let (table, rows, kept) = match expect {
            Expect::Any => return Ok(()),
            Expect::Exactly { table, rows } => (table, rows, found == rows),
            Expect::AtMost { table, rows } => (table, rows, found <= rows),
        };
        if kept {
            return Ok(());
        }
        Err(MoveError::NotExact {
            table: self.direction.tables[table].name.clone(),
            evidence: format!("the target has {found} of {rows} rows that must be there"),
        })
    }

    /// A duplicate key is not an error to work around: it says that the target is not what the stream made it.
    fn judge(&self, error: mysql::Error, doing: &str) -> MoveError {
        if error.server_code() == Some(1062) {
            let evidence =
                format!("a row that must be new is there already, or a unique key has it ({doing})");
            return MoveError::NotExact { table: TableName::new("target", "table"), evidence };
        }
        MoveError::Server { side: Side::Target, doing: doing.to_owned(), error }
    }

    async fn commit(&mut self) -> Result<()> {
        self.target.execute("COMMIT").await.doing(Side::Target, "commit")?;
        Ok(())
    }
}

fn without_present(
    rows: Vec<Tuple>,
    here: &[mysql::Row],
    shape: &RowShape,
    name: &TableName,
) -> Result<Vec<Tuple>> {
    let mut present = std::collections::HashMap::with_capacity(here.len());
    for row in here {
        let tuple = shape.from_text(row)?;
        present.insert(shape.key(&tuple), tuple);
    }
    let mut absent = Vec::with_capacity(rows.len());
    for row in rows {
        match present.get(&shape.key(&row)) {
            None => absent.push(row),
            Some(same) if *same == row => {}
            Some(_) => {
                let evidence =
                    "a row that is here already differs from the one read from the source".to_owned();
                return Err(MoveError::NotExact { table: name.clone(), evidence });
            }
        }
    }
    Ok(absent)
}

fn script_inserts<'a>(script: &mut Script, i: usize, table: &Table, rows: impl Iterator<Item = &'a Tuple>) {
    let columns: Vec<_> = table.written().map(|c| model::quote_ident(&table.columns[c].name)).collect();
    let head = format!("INSERT INTO {} ({}) VALUES ", table.name.quoted(), columns.join(","));
    let (mut sql, mut count) = (Vec::new(), 0);
    for row in rows {
        sql.extend_from_slice(if count == 0 { head.as_bytes() } else { b"," });
        sql.push(b'(');
        sql.extend_from_slice(row.literals());
        sql.push(b')');
        count += 1;
        if sql.len() >= STATEMENT_BYTES {
            script.push(std::mem::take(&mut sql), Expect::Exactly { table: i, rows: count });
            count = 0;
        }
    }
    if count > 0 {
        script.push(sql, Expect::Exactly { table: i, rows: count });
    }
}

/// How many rows a statement must have changed.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Any,
    Exactly { table: usize, rows: u64 },
    AtMost { table: usize, rows: u64 },
}

/// Statements of one transaction, without its COMMIT, which waits for every count to be right.
struct Script {
    statements: Vec<(Vec<u8>, Expect)>,
}

impl Script {
    fn begin() -> Self {
        Self { statements: vec![(b"START TRANSACTION".to_vec(), Expect::Any)] }
    }

    fn push(&mut self, sql: Vec<u8>, expect: Expect) {
        self.statements.push((sql, expect));
    }

    /// Joins statements into packets, each sent in one round trip.
    fn packets(self) -> Vec<(Vec<u8>, Vec<Expect>)> {
        let mut packets: Vec<(Vec<u8>, Vec<Expect>)> = Vec::new();
        for (sql, expect) in self.statements {
            match packets.last_mut() {
                Some((packet, expectations)) if packet.len() + sql.len() < PACKET_BYTES => {
                    packet.push(b';');
                    packet.extend_from_slice(&sql);
                    expectations.push(expect);
                }
                _ => packets.push((sql, vec![expect])),
            }
        }
        packets
    }
}
