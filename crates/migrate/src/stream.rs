//! The source's binary log as a sequence of transactions, decoded for the moved tables.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{BinlogPosition, Gtid, GtidSet, Table, TableName};
use mysql::{BinlogStream, ConnectOptions, DumpOptions};
use wire::binlog::{Event, GtidEvent, RawEvent, RowsEvent, RowsKind, TableMap};

use crate::ddl::{Meaning, Scope, Statement};
use crate::error::{Doing, MoveError, Result, Side};
use crate::fold::Change;
use crate::literal::RowShape;

/// What the stream yields.
#[derive(Debug)]
pub enum StreamItem {
    /// A whole transaction, of moved tables or not.
    Transaction(Transaction),
    /// No transaction, but the server has read its log up to here.
    Idle(BinlogPosition),
    /// A statement that changes moved tables. Nothing comes after it: what follows can only be read with the tables as
    /// they are then.
    Statement(LoggedStatement),
}

/// A statement, a transaction of its own.
#[derive(Debug)]
pub struct LoggedStatement {
    /// The transaction's identifier.
    pub gtid: Gtid,
    /// What it says.
    pub statement: Box<Statement>,
}

/// A transaction as far as it concerns the move.
#[derive(Debug)]
pub struct Transaction {
    /// Its identifier.
    pub gtid: Gtid,
    /// When the source committed it, in microseconds since the epoch.
    pub commit_micros: Option<u64>,
    /// Where it ends in the log.
    pub end: BinlogPosition,
    /// Its changes of moved tables, in order; the number is the table's place in the plan.
    pub changes: Vec<(usize, Change)>,
}

/// A heartbeat this often: what tells a window on an idle source that nothing more is coming.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Reads transactions from the source.
pub struct TransactionReader {
    stream: BinlogStream,
    tables: HashMap<TableName, usize>,
    scope: Scope,
    /// The transaction whose CREATE TABLE has been executed, and whose rows have not.
    created: Option<String>,
    /// Whether a statement has been yielded.
    ended: bool,
    shapes: Vec<Arc<RowShape>>,
    /// Table maps of the transaction under way; `None` for tables that do not move.
    maps: HashMap<u64, Option<(usize, TableMap)>>,
    position: BinlogPosition,
    /// The transaction under way.
    current: Option<(GtidEvent, Vec<(usize, Change)>)>,
    /// Whether that transaction said BEGIN, and so will say COMMIT.
    begun: bool,
}

impl TransactionReader {
    /// Asks the source for everything not in `applied`. Of transaction `created`, only the rows are to come.
    ///
    /// # Errors
    /// If the source cannot be reached.
    pub(crate) async fn open(
        source: &ConnectOptions,
        tables: &[Table],
        scope: Scope,
        created: Option<String>,
        applied: &GtidSet,
    ) -> Result<Self> {
        let random = wire::auth::nonce()?;
        let options = DumpOptions {
            // High numbers: clear of those that administrators give their replicas.
            server_id: u32::from_le_bytes([random[0], random[1], random[2], 0xE0 | random[3] & 0x0F]),
            uuid: uuid_text(&random),
            applied: applied.clone(),
            heartbeat: HEARTBEAT,
        };
        let stream =
            BinlogStream::open(source, &options).await.doing(Side::Source, "follow the binary log")?;
        Ok(Self {
            stream,
            tables: tables.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect(),
            scope,
            created,
            ended: false,
            shapes: tables.iter().map(|t| Arc::new(RowShape::of(t))).collect(),
            maps: HashMap::new(),
            position: BinlogPosition::default(),
            current: None,
            begun: false,
        })
    }

    /// The next transaction or idle position.
    ///
    /// # Errors
    /// If the connection breaks, or the log holds what cannot be carried exactly.
    pub async fn next(&mut self) -> Result<StreamItem> {
        if self.ended {
            return std::future::pending().await;
        }
        loop {
            let event = self.stream.next().await.doing(Side::Source, "read the binary log")?;
            self.advance(&event);
            if let Some(item) = self.take(&event)? {
                return Ok(item);
            }
        }
    }

    /// Follows the offset; the header holds only its low 32 bits, which a huge transaction can overflow.
    fn advance(&mut self, event: &RawEvent) {
        let low = u64::from(event.header.end_offset);
        if low == 0 {
            return;
        }
        let high = self.position.offset & !0xFFFF_FFFF;
        let wrapped = high | low;
        self.position.offset = if wrapped < self.position.offset { wrapped + (1 << 32) } else { wrapped };
    }

    fn take(&mut self, event: &RawEvent) -> Result<Option<StreamItem>> {
        match event.decode()? {
            Event::Rotate { file, offset } => {
                self.position = BinlogPosition { file, offset };
                Ok(None)
            }
            Event::Heartbeat { file } => {
                if file != self.position.file {
                    self.position = BinlogPosition { file, offset: u64::from(event.header.end_offset) };
                }
                Ok(self.current.is_none().then(|| StreamItem::Idle(self.position.clone())))
            }
            Event::Nothing => Ok(None),
            Event::Gtid(gtid) => {
                self.maps.clear();
                self.begun = false;
                self.current = Some((gtid, Vec::new()));
                Ok(None)
            }
            Event::AnonymousGtid => Err(MoveError::Unsupported("a transaction without GTID".into())),
            Event::Query(query) => match self.scope.meaning(&query, event.header.timestamp)? {
                Meaning::Begin => {
                    self.begun = true;
                    Ok(None)
                }
                Meaning::Commit => self.end(),
                Meaning::Aside if self.begun => Ok(None),
                Meaning::Aside => self.end(),
                Meaning::Replay(statement) => self.statement(statement),
            },
            Event::Xid => self.end(),
            Event::TableMap(map) => {
                self.remember(map)?;
                Ok(None)
            }
            Event::Rows(rows) => {
                self.rows(&rows)?;
                Ok(None)
            }
            Event::Unknown(number) => Err(MoveError::Unsupported(format!(
                "an event of type {number}{}",
                match number {
                    38 => " (XA PREPARE)",
                    39 => " (partial JSON update)",
                    40 => " (compressed transaction)",
                    42 => " (tagged GTID)",
                    _ => "",
                }
            ))),
        }
    }

    fn end(&mut self) -> Result<Option<StreamItem>> {
        let Some((gtid, changes)) = self.current.take() else {
            return Err(MoveError::Unsupported("a transaction that never began".into()));
        };
        Ok(Some(StreamItem::Transaction(Transaction {
            gtid: Gtid { uuid: gtid.uuid, number: gtid.number },
            commit_micros: gtid.commit_micros,
            end: self.position.clone(),
            changes,
        })))
    }

    fn statement(&mut self, statement: Box<Statement>) -> Result<Option<StreamItem>> {
        let Some((event, changes)) = &self.current else {
            return Err(MoveError::Unsupported("a transaction that never began".into()));
        };
        let gtid = Gtid { uuid: event.uuid, number: event.number };
        if statement.rows_follow && self.created.as_deref() == Some(gtid.to_string().as_str()) {
            return Ok(None);
        }
        if !changes.is_empty() || self.begun != statement.rows_follow {
            return Err(MoveError::Unsupported(format!("{} among other changes", statement.shown)));
        }
        self.ended = true;
        Ok(Some(StreamItem::Statement(LoggedStatement { gtid, statement })))
    }

    fn remember(&mut self, map: TableMap) -> Result<()> {
        let name = TableName::new(map.schema.as_str(), map.table.as_str());
        let table = self.tables.get(&name).copied();
        if table.is_none() && self.scope.takes(&name) {
            return Err(MoveError::Unsupported(format!(
                "rows of {name}, a table that the move does not have"
            )));
        }
        if let Some(i) = table
            && map.columns.len() != self.shapes[i].table_columns()
        {
            return Err(MoveError::Unsupported(format!("rows of {name} with another number of columns")));
        }
        self.maps.insert(map.table_id, table.map(|i| (i, map)));
        Ok(())
    }

    fn rows(&mut self, rows: &RowsEvent) -> Result<()> {
        let Some(known) = self.maps.get(&rows.table_id) else {
            return Err(MoveError::Unsupported("rows of a table it does not name".into()));
        };
        let Some((table, map)) = known else { return Ok(()) };
        let Some((_, changes)) = &mut self.current else {
            return Err(MoveError::Unsupported("rows outside a transaction".into()));
        };
        let shape = &self.shapes[*table];
        let mut before = None;
        rows.for_each_image(map, |image| {
            let tuple = shape.from_image(image)?;
            let key = shape.key(&tuple);
            let change = match (rows.kind, before.take()) {
                (RowsKind::Insert, _) => Change::Insert { key, after: tuple },
                (RowsKind::Delete, _) => Change::Delete { key },
                (RowsKind::Update, None) => {
                    before = Some(key);
                    return Ok(());
                }
                (RowsKind::Update, Some(before)) => Change::Update { before, key, after: tuple },
            };
            changes.push((*table, change));
            Ok::<(), MoveError>(())
        })?;
        match before {
            None => Ok(()),
            Some(_) => Err(MoveError::Unsupported("an update without its after-image".into())),
        }
    }
}

/// A version 4 UUID from random bytes.
fn uuid_text(random: &[u8]) -> String {
    let hex: String = random.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
