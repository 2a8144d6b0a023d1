//! Comparing a range of a table: the rows themselves, byte by byte.
//!
//! Hashing rows within the servers costs each of them several times what sending the rows does (SHA2, and a value put
//! together of every column, for each row), and a hash can only say that two rows are most likely equal. The price is the
//! network: a pass reads every row from both sides.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use mysql::Row;

use crate::error::{Doing, MoveError, Result, Side};
use crate::literal::{Key, RowShape, literals};
use crate::proof::TableVerdict;
use crate::select::{KeyRange, in_range, whole_row_list};
use crate::verify::{Twin, Verifier};

/// Bytes of rows held of each side. A range of more ends with the last row that fits, or the first one that does not.
const RANGE_BYTES: usize = 8 << 20;

/// What was compared.
pub(crate) struct Compared {
    /// Rows of the source.
    pub rows: u64,
    /// Where the range ended, as the literals of a key; `None` at the end of the table.
    pub high: Option<Vec<Vec<u8>>>,
    /// Keys that were not the same, and that the stream touched meanwhile: nothing is known of them.
    pub in_flight: Vec<Key>,
}

impl Verifier {
    /// Compares the range that begins above `low` and has at most so many rows, and adds it to the verdict.
    ///
    /// # Errors
    /// If a server fails or the pipeline has ended.
    pub(crate) async fn range(
        &mut self,
        table: usize,
        low: Option<Vec<Vec<u8>>>,
        rows: u64,
        verdict: &mut TableVerdict,
    ) -> Result<Compared> {
        let mut tries = 0;
        loop {
            match self.range_once(table, low.clone(), rows, verdict).await {
                Err(error) if self.gave_way(&mut tries, &error).await? => {}
                outcome => return outcome,
            }
        }
    }

    /// Adds to the verdict only when all is known.
    async fn range_once(
        &mut self,
        table: usize,
        low: Option<Vec<Vec<u8>>>,
        rows: u64,
        verdict: &mut TableVerdict,
    ) -> Result<Compared> {
        let doing = self.comparing(table);
        let shape = RowShape::of(&self.direction.tables[table]);
        let mut range = KeyRange { low, high: None };
        let limited = self.rows_in(table, &range).then(&format!(" LIMIT {rows}")).on(Side::Source);
        let (read, columns) = self.reader.read_packets(table, &limited, RANGE_BYTES, &doing).await?;
        let row = |packet: &Bytes| Row::parse(packet.clone(), columns).doing(Side::Source, &doing);
        if let Some(last) = read.rows.last().filter(|_| read.cut_short || read.rows.len() as u64 >= rows) {
            let key = shape.key(&shape.from_text(&row(last)?)?);
            range.high = Some(literals(&key).map(<[u8]>::to_vec).collect());
        }

        let (here, touched) = self.snapshot_where_it_closes(read).await?;
        let (same, there) =
            self.compared_there(table, &self.rows_in(table, &range).on(Side::Target), &here).await?;
        self.end_snapshot().await?;
        let (differing, touched) = match there {
            Some(there) => {
                let here = here[same..].iter().map(row).collect::<Result<Vec<_>>>()?;
                (differing_rows(&shape, &here, &there)?, touched)
            }
            None => self.differing_hashes(table, &range).await?,
        };
        let (in_flight, differing): (Vec<Key>, Vec<Key>) =
            differing.into_iter().partition(|key| touched.contains(key));
        differing.iter().for_each(|key| verdict.differs(key));
        verdict.add_rows(&here);
        verdict.rows += here.len() as u64;
        verdict.ranges += 1;
        Ok(Compared { rows: here.len() as u64, high: range.high, in_flight })
    }

    fn rows_in(&self, table: usize, range: &KeyRange) -> Twin {
        let table = &self.direction.tables[table];
        let mut sql = Twin::of(table, format!("SELECT {} FROM ", whole_row_list(table)));
        sql.push(&in_range(table, range));
        sql.then(&format!(" ORDER BY {}", table.key_list()))
    }

    /// Compares the target's rows with the source's while they come. Returns how many are the same before the first that is not,
    /// and the target's from there on; `None` if they are too many bytes to be held. Keys are in the same order and unique, so
    /// that none from there on has been before.
    async fn compared_there(
        &mut self,
        table: usize,
        sql: &[u8],
        here: &[Bytes],
    ) -> Result<(usize, Option<Vec<Row>>)> {
        let doing = self.comparing(table);
        let columns = self.target.start_rows(sql).await.doing(Side::Target, &doing)?.len();
        let (mut same, mut others) = (0, Held::default());
        while let Some(packet) = self.target.next_row().await.doing(Side::Target, &doing)? {
            // What is the same is let go of at once, and the next read takes its place in memory.
            if others.is_empty() && here.get(same) == Some(&packet) {
                same += 1;
            } else {
                others.add(packet, columns).doing(Side::Target, &doing)?;
            }
        }
        Ok((same, others.all()))
    }

    /// Rows of the target; `None` if they are so many more bytes than the source's may be that they are not held. A single one is.
    pub(super) async fn rows_there(&mut self, table: usize, sql: &[u8]) -> Result<Option<Vec<Row>>> {
        let doing = self.comparing(table);
        let columns = self.target.start_rows(sql).await.doing(Side::Target, &doing)?.len();
        let mut rows = Held::default();
        while let Some(packet) = self.target.next_row().await.doing(Side::Target, &doing)? {
            rows.add(packet, columns).doing(Side::Target, &doing)?;
        }
        Ok(rows.all())
    }

    /// Keys of a range that are not the same, found by hashes, which take less room than rows; and those that the stream
    /// touched meanwhile.
    async fn differing_hashes(&mut self, table: usize, range: &KeyRange) -> Result<(Vec<Key>, HashSet<Key>)> {
        let mut sql = self.keyed_hashes(table);
        sql.push(&in_range(&self.direction.tables[table], range));
        let (here, there, touched) = self.both(table, &sql).await?;
        Ok((self.differing(table, &here, &there, &HashSet::new())?, touched))
    }
}

/// Rows of the target, as long as they fit; a single one always does.
#[derive(Default)]
struct Held {
    rows: Vec<Row>,
    bytes: usize,
    too_many: bool,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn add(&mut self, packet: Bytes, columns: usize) -> mysql::Result<()> {
        self.bytes += packet.len();
        self.too_many |= self.bytes > 2 * RANGE_BYTES && !self.rows.is_empty();
        if !self.too_many {
            self.rows.push(Row::parse(packet, columns)?);
        }
        Ok(())
    }

    fn all(self) -> Option<Vec<Row>> {
        (!self.too_many).then_some(self.rows)
    }
}

/// Keys of rows that are not the same, or that only one side has.
fn differing_rows(shape: &RowShape, here: &[Row], there: &[Row]) -> Result<Vec<Key>> {
    let key = |row: &Row| Ok::<_, MoveError>(shape.key(&shape.from_text(row)?));
    let mut expected = HashMap::with_capacity(here.len());
    for row in here {
        expected.insert(key(row)?, row);
    }
    let mut differing = Vec::new();
    for row in there {
        let key = key(row)?;
        if expected.remove(&key) != Some(row) {
            differing.push(key);
        }
    }
    differing.extend(expected.into_keys());
    Ok(differing)
}
