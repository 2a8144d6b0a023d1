//! A lane: one connection to the target, which executes work ahead of its turn and commits it in its turn.
//!
//! Running ahead is a guess that what comes before does not matter to this work. A wrong guess costs time, never
//! rows: it shows as a duplicate key, a missing row, a deadlock, or as locks that work before it waits for. The lane then rolls
//! back and does its work again in its turn, where everything before it is committed and an error is the truth.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mysql::Connection;
use tokio::sync::mpsc;

use super::effect::{self, Expect, RangeRows, Step};
use super::statements::{NewRow, Statements};
use super::turns::Turns;
use super::{bags, repair, replay};
use crate::direction::Direction;
use crate::error::{Doing, MoveError, Result, Side};
use crate::ledger::{self, LedgerRow};
use crate::literal::RowShape;
use crate::select::{in_range, row_list};
use crate::session;
use crate::work::{BagStep, BagWork, Batch, CopiedRange, Repair, Repaired, Work};

/// How long a lane that is ready waits for its turn before it asks the server whether it stands in someone's way.
/// Far less than `innodb_lock_wait_timeout`, far more than a commit takes.
const PATIENCE: Duration = Duration::from_millis(30);

/// How often work is tried in its turn before a lock conflict is believed to be someone else's doing.
const TRIES_IN_TURN: u32 = 10;

/// How often rows are tried to be repaired that someone else has locked, and for how long each time: all the while, the
/// stream stands still.
const TRIES_TO_REPAIR: u32 = 3;
const REPAIR_PATIENCE: &str = "SET SESSION innodb_lock_wait_timeout = 2";

/// Whether anyone waits for a lock of this connection's transaction. The thread that `data_lock_waits` calls the blocking one
/// is no answer: a lock on an inserted row is written down by the first who waits for it, under its own thread
/// (`lock_rec_convert_impl_to_expl` in `storage/innobase/lock/lock0lock.cc`). A lock on a table is always one's own, and
/// tells which transaction is ours. `INNODB_TRX` would tell it too, but does not look again while it is read more often than
/// every 100 ms (`CACHE_MIN_IDLE_TIME_US` in `storage/innobase/trx/trx0i_s.cc`), as lanes that wait do.
///
/// The second part is about definitions: an ALTER TABLE that adds indexes waits for every transaction that has used the table,
/// and whoever wants to use it meanwhile waits behind the ALTER, also the lane whose turn it is.
const STANDS_IN_THE_WAY: &str = "(SELECT 1 FROM performance_schema.data_locks l JOIN performance_schema.data_lock_waits w \
     ON w.BLOCKING_ENGINE_TRANSACTION_ID = l.ENGINE_TRANSACTION_ID \
     WHERE l.THREAD_ID = PS_CURRENT_THREAD_ID() AND l.LOCK_TYPE = 'TABLE' LIMIT 1) UNION ALL \
     (SELECT 1 FROM performance_schema.metadata_locks l JOIN performance_schema.metadata_locks w \
     USING (OBJECT_TYPE, OBJECT_SCHEMA, OBJECT_NAME) WHERE l.OWNER_THREAD_ID = PS_CURRENT_THREAD_ID() \
     AND l.OBJECT_TYPE = 'TABLE' AND l.LOCK_STATUS = 'GRANTED' AND w.LOCK_STATUS = 'PENDING' LIMIT 1)";

/// See the module's comment.
pub(crate) struct Lane {
    target: Connection,
    direction: Arc<Direction>,
    shapes: Vec<RowShape>,
    ledger: LedgerRow,
    turns: Arc<Turns>,
}

impl Lane {
    /// Connects to the target.
    ///
    /// # Errors
    /// If that fails.
    pub async fn open(direction: Arc<Direction>, ledger: LedgerRow, turns: Arc<Turns>) -> Result<Self> {
        let shapes = direction.tables.iter().map(RowShape::of).collect();
        let target = session::open(&direction.options.target, Side::Target).await?;
        Ok(Self { target, direction, shapes, ledger, turns })
    }

    /// Does work and commits it in its turn.
    ///
    /// # Errors
    /// If it cannot be done in its turn; what was not committed is not in the ledger either.
    pub async fn perform(&mut self, turn: u64, work: Work) -> Result<()> {
        match work {
            Work::Batch(batch) => {
                let begun = Instant::now();
                self.commit_in_turn(turn, &batch).await?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let lag =
                    batch.commit_micros.map(|(oldest, _)| now.saturating_sub(Duration::from_micros(oldest)));
                self.direction.progress.applied(&batch, lag, begun.elapsed());
            }
            Work::Huge(parts) => self.commit_huge(turn, parts).await?,
            Work::Copied(range) => {
                self.commit_in_turn(turn, &range).await?;
                self.direction.progress.range_copied(range.table, range.rows.len() as u64);
                let _ = range.done.send(());
            }
            Work::Replay(replay) => {
                self.turns.come(turn).await;
                replay::execute(&self.direction, &self.ledger, &replay).await?;
                // What this pipeline knows of the tables is history.
                return Err(MoveError::Reshaped);
            }
            Work::Bag(step) => {
                self.commit_in_turn(turn, &step).await?;
                if let BagWork::Rows(rows) = &step.what {
                    self.direction.progress.range_copied(step.table, rows.len() as u64);
                }
                let _ = step.done.send(());
            }
            Work::Repair(work) => {
                self.turns.come(turn).await;
                let repaired = self.repair(&work).await?;
                // Whoever asked may be gone; what was repaired is repaired.
                let _ = work.done.send(repaired);
            }
            Work::Pause(pause) => {
                self.turns.come(turn).await;
                // Whoever asked may be gone; then there is nothing to wait for.
                if pause.reached.send(()).is_ok() {
                    let _ = pause.resume.await;
                }
            }
        }
        self.turns.pass(turn);
        Ok(())
    }

    /// Executes a transaction in its turn, part by part as it arrives, and commits it with its last part.
    async fn commit_huge(&mut self, turn: u64, mut parts: mpsc::Receiver<Batch>) -> Result<()> {
        self.turns.come(turn).await;
        let begun = Instant::now();
        self.end("START TRANSACTION").await?;
        while let Some(part) = parts.recv().await {
            let copied = |table| self.direction.progress.is_copied(table);
            let steps = effect::of_changes(&part.tables, copied);
            let mut statements = Statements::go_on(&mut self.target, "apply a part of a transaction");
            write_batch(&mut statements, &self.direction, &part, &steps, &[]).await?;
            if part.transactions > 0 {
                statements.push(self.ledger.update(&part.applied).as_bytes(), Expect::Owned).await?;
                statements.end().await?;
                self.end("COMMIT").await?;
                self.tell_applied(&part, begun);
                return Ok(());
            }
            statements.end().await?;
        }
        Err(MoveError::Stopped)
    }

    fn tell_applied(&self, batch: &Batch, begun: Instant) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let lag = batch.commit_micros.map(|(oldest, _)| now.saturating_sub(Duration::from_micros(oldest)));
        self.direction.progress.applied(batch, lag, begun.elapsed());
    }

    async fn commit_in_turn(&mut self, turn: u64, work: &impl Execute) -> Result<()> {
        if self.turns.now() == turn {
            return self.commit_now(work).await;
        }
        match work.execute(self).await {
            Ok(()) if self.turn_came(turn).await? => return self.end("COMMIT").await,
            Err(error) if !error.may_come_from_running_ahead() => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.end("ROLLBACK").await?;
        self.turns.come(turn).await;
        self.commit_now(work).await
    }

    /// In its turn, work can still meet the locks of a lane that runs ahead and has not stepped aside yet, and the server
    /// may choose this one as the victim of a deadlock. Nobody else has business with these rows.
    async fn commit_now(&mut self, work: &impl Execute) -> Result<()> {
        for _ in 1..TRIES_IN_TURN {
            match work.execute(self).await {
                Ok(()) => return self.end("COMMIT").await,
                Err(error) if error.is_lock_conflict() => self.end("ROLLBACK").await?,
                Err(error) => return Err(error),
            }
        }
        work.execute(self).await?;
        self.end("COMMIT").await
    }

    /// Repairs rows in their turn. What the target has against it is told, and does not stop the move: before, it was no
    /// better.
    async fn repair(&mut self, work: &Repair) -> Result<Repaired> {
        let direction = Arc::clone(&self.direction);
        let shape = self.shapes[work.table].clone();
        self.end(REPAIR_PATIENCE).await?;
        let mut tried = 1;
        let repaired = loop {
            match repair::write(&mut self.target, &direction, &shape, &self.ledger, work).await {
                Ok(repaired) => {
                    self.end("COMMIT").await?;
                    break repaired;
                }
                Err(error) => {
                    let refusal = repair::refusal(&error).ok_or(error)?;
                    self.end("ROLLBACK").await?;
                    // A lane that runs ahead steps aside; a stranger may not.
                    if refusal.is_none() && tried < TRIES_TO_REPAIR {
                        tried += 1;
                        continue;
                    }
                    let refused = refusal.unwrap_or_else(repair::locked);
                    break Repaired { keys: repair::keys(work), written: 0, refused: Some(refused) };
                }
            }
        };
        self.end("SET SESSION innodb_lock_wait_timeout = DEFAULT").await?;
        Ok(repaired)
    }

    /// Waits for its turn; gives up if work that comes before waits for this lane's locks.
    async fn turn_came(&mut self, turn: u64) -> Result<bool> {
        let turns = Arc::clone(&self.turns);
        loop {
            if tokio::time::timeout(PATIENCE, turns.come(turn)).await.is_ok() {
                return Ok(true);
            }
            match self.target.row(STANDS_IN_THE_WAY).await {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(false),
                // An account that may not ask steps aside.
                Err(error) if error.server_code().is_some() => return Ok(false),
                Err(error) => return Err(error).doing(Side::Target, "look for waiting transactions"),
            }
        }
    }

    async fn end(&mut self, how: &str) -> Result<()> {
        self.target.execute(how).await.doing(Side::Target, how.to_ascii_lowercase())?;
        Ok(())
    }
}

/// Work that a lane executes in a transaction, and may have to execute again.
trait Execute {
    async fn execute(&self, lane: &mut Lane) -> Result<()>;
}

impl Execute for Batch {
    async fn execute(&self, lane: &mut Lane) -> Result<()> {
        let direction = Arc::clone(&lane.direction);
        let steps = effect::of_batch(&self.tables, |table| direction.progress.is_copied(table));
        let ledger = [lane.ledger.update(&self.applied)];
        let doing = format!("apply transactions up to {}", self.applied);
        let mut statements = Statements::begin(&mut lane.target, &doing);
        write_batch(&mut statements, &direction, self, &steps, &ledger).await?;
        statements.end().await
    }
}

/// Sends the statements of a batch. What it does to bags comes between: their deletes after all others, their inserts too.
async fn write_batch(
    statements: &mut Statements<'_>,
    direction: &Direction,
    batch: &Batch,
    steps: &[Step<'_>],
    ledger: &[String],
) -> Result<()> {
    let deletes = steps.iter().take_while(|step| matches!(step, Step::Delete { .. })).count();
    let changes = steps.iter().take_while(|step| !matches!(step, Step::Ledger)).count();
    push_steps(statements, direction, &steps[..deletes], &[]).await?;
    let mut put_back = Vec::new();
    for (&i, fold) in &batch.bags {
        put_back.push(bags::delete(statements, &direction.tables[i], fold).await?);
    }
    push_steps(statements, direction, &steps[deletes..changes], &[]).await?;
    for ((&i, fold), put_back) in batch.bags.iter().zip(&put_back) {
        statements.insert(&direction.tables[i], bags::inserts(&direction.tables[i], fold, put_back)).await?;
    }
    push_steps(statements, direction, &steps[changes..], ledger).await
}

impl Execute for CopiedRange {
    async fn execute(&self, lane: &mut Lane) -> Result<()> {
        let direction = Arc::clone(&lane.direction);
        let table = &direction.tables[self.table];
        let mut sql =
            format!("SELECT {} FROM {}", row_list(table), table.on(Side::Target).quoted()).into_bytes();
        sql.extend_from_slice(&in_range(table, &self.range));
        let here = lane.target.rows(&sql).await.doing(Side::Target, format!("read {}", table.name))?;
        let shape = &lane.shapes[self.table];
        let here = here.iter().map(|row| shape.from_text(row)).collect::<Result<_>>()?;
        let steps =
            RangeRows { table: self.table, name: &table.name, shape, rows: &self.rows }.steps(here)?;

        let mut ledger = vec![lane.ledger.range_done(table, self)];
        if let Some(rest) = &self.rest {
            ledger.push(ledger::insert_planned(&direction.ledger, table, std::slice::from_ref(rest)));
        }
        ledger.push(lane.ledger.hold());
        let doing = format!("copy a range of {}", table.name);
        let mut statements = Statements::begin(&mut lane.target, &doing);
        push_steps(&mut statements, &direction, &steps, &ledger).await?;
        statements.end().await
    }
}

impl Execute for BagStep {
    async fn execute(&self, lane: &mut Lane) -> Result<()> {
        let direction = Arc::clone(&lane.direction);
        let table = &direction.tables[self.table];
        let doing = format!("copy {}", table.name);
        let mut statements = Statements::begin(&mut lane.target, &doing);
        match &self.what {
            BagWork::Clear => statements.clear_some(table).await?,
            BagWork::Rows(rows) => statements.insert(table, rows.iter().map(NewRow::from)).await?,
            BagWork::Finish { rows, held } => {
                let put_back = bags::delete(&mut statements, table, held).await?;
                statements.insert(table, bags::inserts(table, held, &put_back)).await?;
                let done = lane.ledger.bag_done(table, *rows);
                statements.push(done.as_bytes(), Expect::Owned).await?;
            }
        }
        statements.push(lane.ledger.hold().as_bytes(), Expect::Owned).await?;
        statements.end().await
    }
}

/// Each of the ledger's statements must change our one row of it.
async fn push_steps(
    statements: &mut Statements<'_>,
    direction: &Direction,
    steps: &[Step<'_>],
    ledger: &[String],
) -> Result<()> {
    for step in steps {
        match step {
            Step::Delete { table, keys, all_there } => {
                statements.delete(&direction.tables[*table], keys, *all_there).await?;
            }
            Step::Insert { table, rows } => {
                let rows = rows.iter().map(|row| NewRow::from(*row));
                statements.insert(&direction.tables[*table], rows).await?;
            }
            Step::Ledger => {
                for sql in ledger {
                    statements.push(sql.as_bytes(), Expect::Owned).await?;
                }
            }
        }
    }
    Ok(())
}
