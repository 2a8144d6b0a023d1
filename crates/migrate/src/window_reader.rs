//! Reading rows of the source inside a window: open, barrier, read, and the end of the log.

use std::sync::Arc;

use bytes::Bytes;
use model::{BinlogPosition, GtidSet};
use mysql::{Connection, Row};
use tokio::sync::{mpsc, oneshot};

use crate::direction::Direction;
use crate::error::{Doing, MoveError, Result, Side};
use crate::mover::variable;
use crate::sequencer::{AtClose, Request};
use crate::session;
use crate::window::WindowId;

/// How long the source may take to make visible what it has already sent, in seconds. Normally nothing; semi-synchronous
/// replication that waits for an acknowledgement stretches it.
const BARRIER_SECONDS: u32 = 60;

/// A connection to the source that reads inside windows.
pub struct WindowReader {
    source: Connection,
    requests: mpsc::Sender<Request>,
}

/// A window in which nothing was read yet.
pub struct OpenWindow {
    window: WindowId,
    wanted: Arc<()>,
}

/// Rows read inside a window that has yet to close; for who looks into few of them, as the packets they came in.
pub struct ReadRows<R = Row> {
    /// The window.
    pub window: WindowId,
    /// The end of the source's binary log, read after the rows.
    pub high: BinlogPosition,
    /// The rows.
    pub rows: Vec<R>,
    /// Whether there were more, which were not kept.
    pub cut_short: bool,
    /// The window is given up when nobody holds this any more.
    wanted: Arc<()>,
}

impl WindowReader {
    /// Connects to the source.
    ///
    /// # Errors
    /// If that fails, or another server is there than the one that is followed: positions of its log mean nothing in the
    /// stream. The pipeline is told, and begins anew with that one.
    pub(crate) async fn open(direction: &Direction, requests: mpsc::Sender<Request>) -> Result<Self> {
        let mut source = session::open(&direction.options.source, Side::Source).await?;
        if variable(&mut source, Side::Source, "@@GLOBAL.server_uuid").await? != direction.ledger.source_uuid
        {
            requests.send(Request::SourceMoved).await.map_err(|_| MoveError::Stopped)?;
            return Err(MoveError::SourceMoved);
        }
        Ok(Self { source, requests })
    }

    /// Reads rows of a table inside a new window, and keeps those that fit `bytes_max`, at least one. If this fails or is cancelled, the window is given up.
    ///
    /// # Errors
    /// If the source fails or the pipeline has ended.
    pub async fn read(
        &mut self,
        table: usize,
        sql: &[u8],
        bytes_max: usize,
        doing: &str,
    ) -> Result<ReadRows> {
        self.read_as(table, sql, bytes_max, doing, Row::parse).await
    }

    /// The same, each row as the packet it came in, and how many columns it has: splitting a row into its cells costs an
    /// allocation, and more time than comparing it.
    ///
    /// # Errors
    /// As [`WindowReader::read`].
    pub(crate) async fn read_packets(
        &mut self,
        table: usize,
        sql: &[u8],
        bytes_max: usize,
        doing: &str,
    ) -> Result<(ReadRows<Bytes>, usize)> {
        let mut columns = 0;
        let read = self.read_as(table, sql, bytes_max, doing, |packet, count| {
            columns = count;
            Ok(packet)
        });
        let read = read.await?;
        Ok((read, columns))
    }

    async fn read_as<R>(
        &mut self,
        table: usize,
        sql: &[u8],
        bytes_max: usize,
        doing: &str,
        row: impl FnMut(Bytes, usize) -> mysql::Result<R>,
    ) -> Result<ReadRows<R>> {
        let OpenWindow { window, wanted } = self.open_window(table).await?;
        let (rows, cut_short) = self.rows(sql, bytes_max, row).await.doing(Side::Source, doing)?;
        // Only now: a transaction the read saw may not be in gtid_executed yet, but it is in the log.
        let high = end_of_log(&mut self.source).await?;
        Ok(ReadRows { window, high, rows, cut_short, wanted })
    }

    /// Opens a window, and waits until everything the stream has passed is visible. The window is given up when what is
    /// returned is dropped.
    ///
    /// # Errors
    /// As [`WindowReader::read`].
    pub async fn open_window(&mut self, table: usize) -> Result<OpenWindow> {
        let wanted = Arc::new(());
        let (opened, window) = oneshot::channel();
        self.request(Request::Open { table, wanted: Arc::downgrade(&wanted), opened }).await?;
        let (window, passed) = window.await.map_err(|_| MoveError::Stopped)?;
        self.barrier(&passed).await?;
        Ok(OpenWindow { window, wanted })
    }

    async fn rows<R>(
        &mut self,
        sql: &[u8],
        bytes_max: usize,
        mut row: impl FnMut(Bytes, usize) -> mysql::Result<R>,
    ) -> mysql::Result<(Vec<R>, bool)> {
        let columns = self.source.start_rows(sql).await?.len();
        let (mut rows, mut bytes, mut cut_short) = (Vec::new(), 0, false);
        while let Some(packet) = self.source.next_row().await? {
            bytes += packet.len();
            // Once one row is left out, so are all that follow it.
            cut_short |= bytes > bytes_max && !rows.is_empty();
            if !cut_short {
                rows.push(row(packet, columns)?);
            }
        }
        Ok((rows, cut_short))
    }

    async fn barrier(&mut self, passed: &GtidSet) -> Result<()> {
        // The source sends a transaction before it makes it visible. Without this wait the read could miss one that
        // the stream had already passed when the window opened: the row would be copied in its old version.
        let barrier = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{passed}', {BARRIER_SECONDS})");
        let row = self.source.row(barrier).await.doing(Side::Source, "wait for visibility")?;
        if row.is_none_or(|r| r.text(0) != "0") {
            return Err(MoveError::Refused {
                what: format!(
                    "the source did not make its own transactions visible within {BARRIER_SECONDS} s"
                ),
                hint: "see whether semi-synchronous replication waits for a replica that is gone".into(),
            });
        }
        Ok(())
    }

    /// Says where the log ended after a window's rows were seen, and what to do when it closes.
    ///
    /// # Errors
    /// If the pipeline has ended.
    pub async fn close_window(&self, window: OpenWindow, high: BinlogPosition, then: AtClose) -> Result<()> {
        let OpenWindow { window, wanted } = window;
        self.request(Request::Close { window, high, wanted, then }).await
    }

    /// Says what to do when the window of these rows closes, and returns the rows.
    ///
    /// # Errors
    /// If the pipeline has ended.
    pub async fn close<R>(&self, read: ReadRows<R>, then: AtClose) -> Result<Vec<R>> {
        let ReadRows { window, high, rows, wanted, .. } = read;
        self.request(Request::Close { window, high, wanted, then }).await?;
        Ok(rows)
    }

    pub(crate) async fn request(&self, request: Request) -> Result<()> {
        self.requests.send(request).await.map_err(|_| MoveError::Stopped)
    }

    /// The connection itself, for reads that need no window.
    pub fn source(&mut self) -> &mut Connection {
        &mut self.source
    }
}

/// Where a server's binary log ends now.
///
/// # Errors
/// If the server refuses, or writes no binary log.
pub async fn end_of_log(source: &mut Connection) -> Result<BinlogPosition> {
    let sql = show_end_of_log(source);
    let row = source.row(sql).await.doing(Side::Source, "read the end of the binary log")?;
    row.and_then(|r| Some(BinlogPosition { file: r.text(0), offset: r.number(1)? })).ok_or_else(|| {
        MoveError::Refused { what: "the source writes no binary log".into(), hint: "enable log_bin".into() }
    })
}

/// The statement that tells where a server's binary log ends.
pub fn show_end_of_log(source: &Connection) -> &'static str {
    match version(source.server_version()) {
        (8, 0..=1) | (..=7, _) => "SHOW MASTER STATUS",
        _ => "SHOW BINARY LOG STATUS",
    }
}

/// Major and minor number of a version text.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
