//! The source's binary log as a sequence of transactions, decoded for the moved tables.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::gtid::Tag;
use model::{BinlogPosition, Gtid, GtidSet, Table, TableName};
use mysql::{BinlogStream, ConnectOptions, DumpOptions};
use tokio::sync::OwnedSemaphorePermit;
use wire::binlog::{Event, GtidEvent, Payload, QueryEvent, RawEvent, RowsEvent, RowsKind, TableMap};

use crate::ddl::{Meaning, Scope, Statement};
use crate::error::{Doing, MoveError, Result, Side};
use crate::fold::Change;
use crate::literal::RowShape;
use crate::schema::foreign_keys;
use crate::session;
use crate::xa::{Prepared, XaStatement};

/// What the stream yields.
#[derive(Debug)]
pub enum StreamItem {
    /// A whole transaction, of moved tables or not; or, after parts, the last part of one.
    Transaction(Transaction),
    /// The first changes of a transaction too large to be held in memory; more parts follow, then the transaction itself
    /// with the rest. The log holds only what was committed, so it can be begun before its end is seen.
    Part(Vec<(usize, Change)>),
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

impl StreamItem {
    /// Bytes of the changes it holds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Transaction(Transaction { changes, .. }) | Self::Part(changes) => {
                changes.iter().map(|(_, change)| change.bytes()).sum()
            }
            Self::Idle(_) | Self::Statement(_) => 0,
        }
    }
}

/// What the stream yielded, on its way to the sequencer.
#[derive(Debug)]
pub struct Streamed {
    /// What it was.
    pub item: StreamItem,
    /// Its share of the memory such items may take together.
    pub share: OwnedSemaphorePermit,
}

/// A transaction as far as it concerns the move.
#[derive(Debug)]
pub struct Transaction {
    /// Its identifier.
    pub gtid: Gtid,
    /// The XA PREPARE that this XA COMMIT or XA ROLLBACK decides: not applied before it.
    pub decides: Option<Gtid>,
    /// When the source committed it, in microseconds since the epoch.
    pub commit_micros: Option<u64>,
    /// Where it ends in the log.
    pub end: BinlogPosition,
    /// Its changes of moved tables, in order; the number is the table's place in the plan.
    pub changes: Vec<(usize, Change)>,
}

/// A heartbeat this often: what tells a window on an idle source that nothing more is coming.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Bytes of changes, as literals, after which a transaction under way is handed on in parts.
const PART_BYTES: usize = 4 << 20;

/// Reads transactions from the source.
pub struct TransactionReader {
    stream: BinlogStream,
    /// By their names on the source, whose log this is.
    tables: HashMap<TableName, usize>,
    scope: Scope,
    /// The transaction whose CREATE TABLE has been executed, and whose rows have not.
    created: Option<String>,
    /// Whether a statement has been yielded.
    ended: bool,
    shapes: Vec<Arc<RowShape>>,
    /// Tables whose changes change others through foreign keys.
    cascading: HashSet<usize>,
    /// Table maps of the transaction under way; `None` for tables that do not move.
    maps: HashMap<u64, Option<(usize, TableMap)>>,
    position: BinlogPosition,
    /// The transaction under way.
    current: Option<(GtidEvent, Vec<(usize, Change)>)>,
    /// Bytes of its changes not yet handed on.
    held_bytes: usize,
    /// Whether that transaction said BEGIN, and so will say COMMIT.
    begun: bool,
    /// Whether it is sure to commit, so that it may be handed on in parts: an XA transaction may yet be rolled back.
    certain: bool,
    /// Items of a compressed transaction that are still to be returned.
    ready: VecDeque<StreamItem>,
    /// Changes of XA transactions whose coordinators have not decided yet.
    prepared: Prepared,
}

/// The type of heartbeats that give the whole offset.
const HEARTBEAT_V2: u8 = 41;
/// The type of the event that holds a compressed transaction.
const PAYLOAD: u8 = 40;

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
        let options = dump_options(applied, HEARTBEAT)?;
        let mut server = session::open(source, Side::Source).await?;
        let cascading = foreign_keys::cascading(&mut server, tables).await?;
        let stream =
            BinlogStream::open(source, &options).await.doing(Side::Source, "follow the binary log")?;
        Ok(Self {
            stream,
            tables: tables.iter().enumerate().map(|(i, t)| (t.on(Side::Source).to_name(), i)).collect(),
            scope,
            created,
            ended: false,
            shapes: tables.iter().map(|t| Arc::new(RowShape::of(t))).collect(),
            cascading,
            maps: HashMap::new(),
            position: BinlogPosition::default(),
            current: None,
            held_bytes: 0,
            begun: false,
            certain: false,
            ready: VecDeque::new(),
            prepared: Prepared::default(),
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
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
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
        if low == 0 || event.header.event_type == HEARTBEAT_V2 {
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
            Event::Heartbeat { file, offset } => {
                if file != self.position.file || event.header.event_type == HEARTBEAT_V2 {
                    self.position = BinlogPosition { file, offset };
                }
                Ok(self.current.is_none().then(|| StreamItem::Idle(self.position.clone())))
            }
            Event::Nothing => Ok(None),
            Event::Gtid(gtid) => {
                self.maps.clear();
                self.begun = false;
                self.certain = false;
                self.held_bytes = 0;
                self.current = Some((gtid, Vec::new()));
                Ok(None)
            }
            Event::AnonymousGtid => Err(MoveError::Unsupported("a transaction without GTID".into())),
            Event::Query(query) => self.query(&query, event.header.timestamp),
            Event::Xid => self.end(None),
            Event::XaPrepare(xa) if xa.one_phase => self.end(None),
            Event::XaPrepare(xa) => {
                let (gtid, changes) = self.take_current()?;
                self.prepared.hold(xa.xid, gtid_of(&gtid)?, changes);
                Ok(Some(StreamItem::Idle(self.position.clone())))
            }
            Event::Payload(payload) => self.payload(&payload),
            Event::TableMap(map) => {
                self.remember(map)?;
                Ok(None)
            }
            Event::Rows(rows) => {
                self.rows(&rows)?;
                Ok(self.part())
            }
            Event::Unknown(number) => Err(MoveError::Unsupported(format!("an event of type {number}"))),
        }
    }

    fn query(&mut self, query: &QueryEvent, timestamp: u32) -> Result<Option<StreamItem>> {
        if let Some(xa) = XaStatement::of(&query.sql) {
            return match xa {
                XaStatement::Start => {
                    self.begun = true;
                    Ok(None)
                }
                XaStatement::End => Ok(None),
                XaStatement::Commit(xid) => {
                    let (prepare, prepared) = self.prepared.commit(&xid)?;
                    let (_, changes) = self.current.as_mut().ok_or_else(never_began)?;
                    *changes = prepared;
                    self.end(Some(prepare))
                }
                XaStatement::Rollback(xid) => {
                    let prepare = self.prepared.roll_back(&xid);
                    self.end(prepare)
                }
            };
        }
        match self.scope.meaning(query, timestamp)? {
            Meaning::Begin => {
                self.begun = true;
                self.certain = true;
                Ok(None)
            }
            Meaning::Commit => self.end(None),
            Meaning::Aside if self.begun => Ok(None),
            Meaning::Aside => self.end(None),
            Meaning::Replay(statement) => self.statement(statement),
        }
    }

    /// What follows the GTID of a compressed transaction. Its events have no offsets of their own: the transaction ends
    /// where the event that holds them does.
    fn payload(&mut self, payload: &Payload) -> Result<Option<StreamItem>> {
        payload.for_each_event(|event| {
            if self.current.is_none() || event.header.event_type == PAYLOAD {
                return Err(MoveError::Unsupported(
                    "a compressed transaction that holds more than one".into(),
                ));
            }
            let item = self.take(&event)?;
            self.ready.extend(item);
            Ok(())
        })?;
        Ok(self.ready.pop_front())
    }

    fn take_current(&mut self) -> Result<(GtidEvent, Vec<(usize, Change)>)> {
        self.current.take().ok_or_else(never_began)
    }

    fn end(&mut self, decides: Option<Gtid>) -> Result<Option<StreamItem>> {
        let (gtid, changes) = self.take_current()?;
        Ok(Some(StreamItem::Transaction(Transaction {
            gtid: gtid_of(&gtid)?,
            decides,
            commit_micros: gtid.commit_micros,
            end: self.position.clone(),
            changes,
        })))
    }

    /// What has gathered of the transaction under way, if that is enough.
    fn part(&mut self) -> Option<StreamItem> {
        if self.held_bytes < PART_BYTES || !self.certain {
            return None;
        }
        self.held_bytes = 0;
        self.current.as_mut().map(|(_, changes)| StreamItem::Part(std::mem::take(changes)))
    }

    fn statement(&mut self, statement: Box<Statement>) -> Result<Option<StreamItem>> {
        let (event, changes) = self.current.as_ref().ok_or_else(never_began)?;
        let gtid = gtid_of(event)?;
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
        if !rows.is_whole() {
            // MINIMAL or NOBLOB, which a session may choose: rows that we do not know whole.
            return Err(MoveError::Unsupported(format!(
                "a row of {}.{} without all its columns (written by a session whose binlog_row_image is not FULL)",
                map.schema, map.table
            )));
        }
        if rows.kind != RowsKind::Insert && !rows.cascades_logged && self.cascading.contains(table) {
            return Err(MoveError::Unsupported(format!(
                "a change of {}.{} that changed rows of other tables through foreign keys, and not these rows",
                map.schema, map.table
            )));
        }
        let shape = &self.shapes[*table];
        let held_bytes = &mut self.held_bytes;
        let mut before = None;
        rows.for_each_image(map, |image| {
            let tuple = shape.from_image(image)?;
            let key = shape.key(&tuple);
            *held_bytes += tuple.literals().len() + key.len();
            let change = match (rows.kind, before.take()) {
                (RowsKind::Insert, _) => Change::Insert { key, after: tuple },
                (RowsKind::Delete, _) => Change::Delete { key },
                (RowsKind::Update | RowsKind::PartialUpdate, None) => {
                    before = Some(key);
                    return Ok(());
                }
                (RowsKind::Update | RowsKind::PartialUpdate, Some(before)) => {
                    Change::Update { before, key, after: tuple }
                }
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

fn never_began() -> MoveError {
    MoveError::Unsupported("a transaction that never began".into())
}

/// How to ask for everything not in `applied`, under an identity of our own.
pub(crate) fn dump_options(applied: &GtidSet, heartbeat: Duration) -> Result<DumpOptions> {
    let random = wire::auth::nonce()?;
    Ok(DumpOptions {
        // High numbers: clear of those that administrators give their replicas.
        server_id: u32::from_le_bytes([random[0], random[1], random[2], 0xE0 | random[3] & 0x0F]),
        uuid: uuid_text(&random),
        applied: applied.clone(),
        heartbeat,
    })
}

pub(crate) fn gtid_of(event: &GtidEvent) -> Result<Gtid> {
    let tag = Tag::new(&event.tag).map_err(|e| MoveError::Unsupported(e.to_string()))?;
    Ok(Gtid { uuid: event.uuid, tag, number: event.number })
}

/// A version 4 UUID from random bytes.
fn uuid_text(random: &[u8]) -> String {
    let hex: String = random.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
