//! The source's binary log as a sequence of transactions, decoded for the moved tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::{BinlogPosition, Gtid, GtidSet, Table, TableName};
use mysql::{BinlogStream, ConnectOptions, DumpOptions};
use wire::binlog::{Event, GtidEvent, RawEvent, RowsEvent, RowsKind, TableMap};

use crate::ddl::{self, Meaning};
use crate::error::{Doing, MoveError, Result, Side};
use crate::fold::Change;
use crate::literal::RowShape;
use crate::schema::foreign_keys;
use crate::session;

/// What the stream yields.
#[derive(Debug)]
pub enum StreamItem {
    /// A whole transaction, of moved tables or not.
    Transaction(Transaction),
    /// No transaction, but the server has read its log up to here.
    Idle(BinlogPosition),
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
    schemas: Vec<String>,
    shapes: Vec<Arc<RowShape>>,
    /// Tables whose changes change others through foreign keys.
    cascading: HashSet<usize>,
    /// Table maps of the transaction under way; `None` for tables that do not move.
    maps: HashMap<u64, Option<(usize, TableMap)>>,
    position: BinlogPosition,
    /// The transaction under way.
    current: Option<(GtidEvent, Vec<(usize, Change)>)>,
    /// Whether that transaction said BEGIN, and so will say COMMIT.
    begun: bool,
}

impl TransactionReader {
    /// Asks the source for everything not in `applied`.
    ///
    /// # Errors
    /// If the source cannot be reached.
    pub async fn open(source: &ConnectOptions, tables: &[Table], applied: &GtidSet) -> Result<Self> {
        let random = wire::auth::nonce()?;
        let options = DumpOptions {
            // High numbers: clear of those that administrators give their replicas.
            server_id: u32::from_le_bytes([random[0], random[1], random[2], 0xE0 | random[3] & 0x0F]),
            uuid: uuid_text(&random),
            applied: applied.clone(),
            heartbeat: HEARTBEAT,
        };
        let mut server = session::open(source, Side::Source).await?;
        let cascading = foreign_keys::cascading(&mut server, tables).await?;
        let stream =
            BinlogStream::open(source, &options).await.doing(Side::Source, "follow the binary log")?;
        let mut schemas: Vec<String> = tables.iter().map(|t| t.name.schema.clone()).collect();
        schemas.dedup();
        Ok(Self {
            stream,
            tables: tables.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect(),
            schemas,
            shapes: tables.iter().map(|t| Arc::new(RowShape::of(t))).collect(),
            cascading,
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
            Event::Query(query) => match ddl::meaning(&query, &self.schemas)? {
                Meaning::Begin => {
                    self.begun = true;
                    Ok(None)
                }
                Meaning::Commit => self.end(),
                Meaning::Aside if self.begun => Ok(None),
                Meaning::Aside => self.end(),
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

    fn remember(&mut self, map: TableMap) -> Result<()> {
        let name = TableName::new(map.schema.as_str(), map.table.as_str());
        let table = self.tables.get(&name).copied();
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
        if rows.kind != RowsKind::Insert && !rows.cascades_logged && self.cascading.contains(table) {
            return Err(MoveError::Unsupported(format!(
                "a change of {}.{} that changed rows of other tables through foreign keys, and not these rows",
                map.schema, map.table
            )));
        }
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
