//! Copying bags: one after another, each from one snapshot, piece by piece, while the stream goes on.
//!
//! A bag is copied as a whole or not at all. Its one planned range says that what is in it came from us; until that range is
//! done, a copy that begins again first removes it, since what was held back of the stream is lost with the process.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::Table;
use mysql::{ConnectOptions, Connection, Row};
use tokio::sync::{mpsc, oneshot};

use super::snapshot::{Snapshot, TRIES, never_certain};
use crate::behind::Behind;
use crate::direction::Direction;
use crate::error::{Doing, MoveError, Result, Side};
use crate::ledger::{self, LedgerName, LedgerRow, PlannedRange};
use crate::literal::{RowShape, Tuple};
use crate::ranges;
use crate::schema::{self, quote_text};
use crate::select::{KeyRange, row_list};
use crate::sequencer::{AtClose, Request};
use crate::session;
use crate::window_reader::WindowReader;
use crate::work::{BagStep, BagWork};

/// Bytes of rows written in one go, nearly; a single row may be larger.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces under way to the target. With more, a slow target would fill our memory; the source waits instead.
const PIECES_UNDER_WAY: usize = 3;
/// Between two tries to open a snapshot, on average: long enough to let whoever writes there finish.
pub(super) const TRY_PAUSE: Duration = Duration::from_millis(3);

/// Copies the bags of a move.
pub(crate) struct BagCopier {
    direction: Arc<Direction>,
    planner: LedgerRow,
    reader: WindowReader,
    target: Connection,
    requests: mpsc::Sender<Request>,
}

impl BagCopier {
    /// Copies every bag that the ledger does not call done.
    ///
    /// # Errors
    /// If a server fails, or a bag is written to so much that it cannot be copied.
    pub async fn run(
        direction: Arc<Direction>,
        planner: LedgerRow,
        requests: mpsc::Sender<Request>,
    ) -> Result<()> {
        if !direction.tables.iter().any(Table::is_bag) {
            return Ok(());
        }
        let reader = WindowReader::open(&direction, requests.clone()).await?;
        let target = session::open(&direction.options.target, Side::Target).await?;
        let mut copier = Self { direction, planner, reader, target, requests };
        let tables = Arc::clone(&copier.direction.tables);
        for (i, table) in tables.iter().enumerate().filter(|(_, t)| t.is_bag()) {
            let (estimate, _) = ranges::size(copier.reader.source(), table, 1).await?;
            copier.direction.progress.set_estimate(i, estimate);
        }
        for (i, table) in tables.iter().enumerate().filter(|(_, t)| t.is_bag()) {
            copier.table(i, table).await?;
        }
        Ok(())
    }

    async fn table(&mut self, i: usize, table: &Table) -> Result<()> {
        let known = ledger::planned(&mut self.target, &self.direction.ledger, table).await?;
        let progress = &self.direction.progress;
        let rows = known.iter().filter(|p| p.done).map(|p| p.rows).sum();
        progress.resume_table(i, rows);
        match known.first() {
            Some(PlannedRange { done: true, .. }) => {}
            Some(_) => {
                self.clear(i, table).await?;
                self.copy_as_of_the_stream(i, table).await?;
            }
            None => {
                let whole = PlannedRange { number: 0, range: KeyRange::default(), done: false, rows: 0 };
                ledger::plan(&mut self.target, &self.planner, table, &[whole]).await?;
                self.copy_as_of_the_stream(i, table).await?;
            }
        }
        // What the table was created without; only then it counts as copied.
        let options = &self.direction.options;
        schema::complete(&options.target, &self.direction.ledger.move_name, &table.name).await?;
        self.direction.progress.table_copied(i);
        Ok(())
    }

    async fn clear(&mut self, i: usize, table: &Table) -> Result<()> {
        let any = format!("SELECT 1 FROM {} LIMIT 1", table.on(Side::Target).quoted());
        let doing = format!("look into {}", table.name);
        while self.target.row(&any).await.doing(Side::Target, &doing)?.is_some() {
            committed(self.step(i, BagWork::Clear).await?).await?;
        }
        Ok(())
    }

    /// Copies it. If the source has changed the table's definition already and the stream has yet to tell, waits for that: the
    /// pipeline ends then, and this with it.
    async fn copy_as_of_the_stream(&mut self, i: usize, table: &Table) -> Result<()> {
        let Err(error) = self.copy(i, table).await else { return Ok(()) };
        Behind::default().catch_up(&self.direction, self.reader.source(), error).await?;
        Err(MoveError::Refused {
            what: format!(
                "the definition of {} changed while it was read, and the stream does not tell how",
                table.name
            ),
            hint: "start again: what has come of the table is removed, and it is copied anew".into(),
        })
    }

    async fn copy(&mut self, i: usize, table: &Table) -> Result<()> {
        self.open_snapshot(i, table).await?;
        let rows = self.write_rows(i, table).await?;
        // From here on the source is free to forget old versions again.
        self.reader.source().execute("COMMIT").await.doing(Side::Source, "close the snapshot")?;
        let finish = BagWork::Finish { rows, held: Default::default() };
        committed(self.step(i, finish).await?).await
    }

    /// Opens a snapshot that is the table where the stream begins to be held back.
    async fn open_snapshot(&mut self, i: usize, table: &Table) -> Result<()> {
        let gains_pass = !has_unique_key(self.reader.source(), table).await?;
        for _ in 0..TRIES {
            let snapshot = Snapshot::open(&mut self.reader, i).await?;
            let (held, answer) = oneshot::channel();
            let then = AtClose::Hold { table: i, seen: snapshot.seen.clone(), gains_pass, held };
            snapshot.close(&self.reader, then).await?;
            if answer.await.map_err(|_| MoveError::Stopped)? {
                return Ok(());
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
        Err(never_certain(&table.name))
    }

    /// Writes the snapshot's rows, in pieces, and how many they are.
    async fn write_rows(&mut self, i: usize, table: &Table) -> Result<u64> {
        let shape = RowShape::of(table);
        let doing = format!("read the rows of {}", table.name);
        let sql = format!("SELECT {} FROM {}", row_list(table), table.on(Side::Source).quoted());
        let columns = self.reader.source().start_rows(sql).await.doing(Side::Source, &doing)?.len();
        let (mut rows, mut bytes, mut count) = (Vec::new(), 0, 0);
        let mut under_way = VecDeque::new();
        loop {
            let packet = self.reader.source().next_row().await.doing(Side::Source, &doing)?;
            let ended = packet.is_none();
            if let Some(packet) = packet {
                let row = Row::parse(packet, columns).doing(Side::Source, &doing)?;
                let tuple: Tuple = shape.from_text(&row)?;
                bytes += tuple.literals().len();
                count += 1;
                rows.push(tuple);
            }
            if bytes >= PIECE_BYTES || (ended && !rows.is_empty()) {
                if let Some(throttle) = self.direction.throttle() {
                    throttle.turn(&self.direction.progress).await.done(rows.len());
                }
                under_way.push_back(self.step(i, BagWork::Rows(std::mem::take(&mut rows))).await?);
                bytes = 0;
            }
            let most = if ended { 0 } else { PIECES_UNDER_WAY };
            while under_way.len() > most
                && let Some(oldest) = under_way.pop_front()
            {
                committed(oldest).await?;
            }
            if ended {
                return Ok(count);
            }
        }
    }

    async fn step(&self, table: usize, what: BagWork) -> Result<oneshot::Receiver<()>> {
        let (done, answer) = oneshot::channel();
        let request = Request::Bag(BagStep { table, what, done });
        self.requests.send(request).await.map_err(|_| MoveError::Stopped)?;
        Ok(answer)
    }
}

async fn committed(answer: oneshot::Receiver<()>) -> Result<()> {
    answer.await.map_err(|_| MoveError::Stopped)
}

/// Whether the table has a unique key, which in a bag has nullable columns or covers less than it seems.
async fn has_unique_key(source: &mut Connection, table: &Table) -> Result<bool> {
    let here = table.on(Side::Source);
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        quote_text(here.schema),
        quote_text(here.table)
    );
    let row = source.row(sql).await.doing(Side::Source, format!("read the keys of {}", table.name))?;
    Ok(row.is_none_or(|r| r.text(0) != "0"))
}

/// The bags of which every row is on the target, by their place in the plan. To be asked before the stream begins: what
/// it says of the others is passed over until their copy begins.
///
/// # Errors
/// If the ledger cannot be read.
pub(crate) async fn done(
    target: &ConnectOptions,
    ledger: &LedgerName,
    tables: &[Table],
    copying: bool,
) -> Result<HashSet<usize>> {
    let bags: Vec<usize> = (0..tables.len()).filter(|&i| tables[i].is_bag()).collect();
    if bags.is_empty() || !copying {
        return Ok(bags.into_iter().collect());
    }
    let mut target = session::open(target, Side::Target).await?;
    let mut here = HashSet::new();
    for i in bags {
        if ledger::planned(&mut target, ledger, &tables[i]).await?.iter().any(|p| p.done) {
            here.insert(i);
        }
    }
    Ok(here)
}

/// Makes sure that the target creates bags as they are: a key that it adds, or insists on, would make another table of it.
///
/// # Errors
/// If the target insists and our account may not change its mind.
pub(crate) async fn keep_keyless(target: &mut Connection, tables: &[Table]) -> Result<()> {
    match tables.iter().any(Table::is_bag) {
        true => add_no_key(target).await,
        false => Ok(()),
    }
}

/// From now on, the session creates tables as its statements say.
///
/// # Errors
/// If the target insists on keys and our account may not change its mind.
pub(crate) async fn add_no_key(target: &mut Connection) -> Result<()> {
    for name in ["sql_generate_invisible_primary_key", "sql_require_primary_key"] {
        let doing = format!("read {name}");
        let shown = target.row(format!("SHOW VARIABLES LIKE '{name}'")).await.doing(Side::Target, &doing)?;
        if shown.is_none_or(|row| row.text(1) != "ON") {
            continue;
        }
        if let Err(error) = target.execute(format!("SET SESSION {name}=OFF")).await {
            if error.server_code() != Some(1227) {
                return Err(error).doing(Side::Target, format!("switch off {name}"));
            }
            return Err(MoveError::Refused {
                what: format!("the target has {name}=ON, and our account may not create tables without it"),
                hint:
                    "grant it SESSION_VARIABLES_ADMIN on the target, or give every moved table a primary key"
                        .into(),
            });
        }
    }
    Ok(())
}
