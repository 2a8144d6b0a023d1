//! A snapshot of a bag whose place in the stream is known.
//!
//! Ranges of a keyed table are read bit by bit, each in its own window, since a key touched in the window can be left
//! out. A bag has no ranges, and a value touched in the window cannot be told apart from an equal one that was not. So
//! the whole table is read from one snapshot, and only one that is certain to be the table where the window closes will do.

use model::{BinlogPosition, GtidSet};
use mysql::QueryResult;

use crate::error::{Doing, MoveError, Result, Side};
use crate::ledger::parse_set;
use crate::sequencer::AtClose;
use crate::window_reader::{OpenWindow, WindowReader, show_end_of_log};

/// How often a snapshot is tried. A try fails if the table is written to within a fraction of a millisecond.
pub(super) const TRIES: u32 = 2_000;

/// A snapshot just opened on the reader's connection, in a window that has yet to close.
pub(super) struct Snapshot {
    window: OpenWindow,
    high: BinlogPosition,
    /// What the source had shown as executed just before.
    pub seen: GtidSet,
}

impl Snapshot {
    /// Opens one, in place of any there was. In one packet: what the source shows as executed, the snapshot, and the end
    /// of the log. The less time passes between the first and the last, the fewer transactions can fall in between.
    pub async fn open(reader: &mut WindowReader, table: usize) -> Result<Self> {
        let window = reader.open_window(table).await?;
        let show = show_end_of_log(reader.source());
        let sql = format!(
            "SELECT @@GLOBAL.gtid_executed; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
             START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY; {show}"
        );
        let doing = "open a snapshot";
        // What an earlier try left open would refuse the new isolation level.
        reader.source().execute("ROLLBACK").await.doing(Side::Source, doing)?;
        let results = reader.source().query_all(sql).await.doing(Side::Source, doing)?;
        let cells = |i: usize| match results.get(i) {
            Some(QueryResult::Rows(set)) => set.rows.first(),
            _ => None,
        };
        let end = cells(3).and_then(|end| Some(BinlogPosition { file: end.text(0), offset: end.number(1)? }));
        let (Some(seen), Some(high)) = (cells(0), end) else {
            return Err(mysql::Error::Unexpected("no end of the log")).doing(Side::Source, doing);
        };
        Ok(Self { window, high, seen: parse_set(&seen.text(0))? })
    }

    /// Lets the window close at the end of the log as it was after the snapshot.
    pub async fn close(self, reader: &WindowReader, then: AtClose) -> Result<()> {
        reader.close_window(self.window, self.high, then).await
    }
}

/// A bag that is written to all the time.
pub(super) fn never_certain(table: &model::TableName) -> MoveError {
    MoveError::Refused {
        what: format!(
            "table {table} has no key and is written to so often that no snapshot of it has a certain place in the \
             stream; {TRIES} were tried"
        ),
        hint: "add a key, for example ALTER TABLE ... ADD COLUMN id BIGINT UNSIGNED AUTO_INCREMENT INVISIBLE PRIMARY KEY, \
               or start again when it is written to less"
            .into(),
    }
}
