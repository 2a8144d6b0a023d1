//! The target's log, transaction by transaction, as far as is needed to say whose each is.
//!
//! Every transaction in which we change rows of moved tables changes our row of `highwater.ledger` as well: that is how a
//! crash loses nothing, and here it is our signature. It may come last, so what came before is held, as it came and not
//! decoded, up to a bound; of a transaction that turns out to be ours it is forgotten.
//!
//! A statement that changes tables is a transaction of its own and bears no such signature: it is ours if it came by a
//! connection of ours.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::TableName;
use wire::binlog::{Event, GtidEvent, Payload, QueryEvent, RawEvent, RowsEvent, TableMap};

use crate::error::{MoveError, Result};
use crate::ledger;
use crate::xa::XaStatement;

/// Bytes of rows held of one transaction; one larger event is held alone.
const HELD_BYTES: usize = 1 << 20;
/// Transactions remembered that are prepared and not decided.
const PREPARED_KEPT: usize = 64;

/// A transaction of the log that has ended.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Its identifier; none in a log without them.
    pub gtid: Option<GtidEvent>,
    /// The connection it came by.
    pub thread: Option<u32>,
    /// Row events of moved tables, if it is not ours.
    pub rows: Vec<(Arc<TableMap>, RowsEvent)>,
    /// Tables of which there were more than is held.
    pub more: BTreeSet<TableName>,
    /// A statement in it that did not come by a connection of ours, and when it began.
    pub statement: Option<(QueryEvent, u32)>,
    /// Whether it has changed the ledger.
    ours: bool,
    held: usize,
    maps: HashMap<u64, Mapped>,
    begun: bool,
}

/// What row events of a number are about.
#[derive(Debug)]
enum Mapped {
    Ledger,
    Moved(TableName, Arc<TableMap>),
    Other,
}

impl Transaction {
    /// Whether it changed moved tables, or may have by a statement, and is not ours.
    pub fn is_foreign(&self) -> bool {
        let changes_rows = !self.rows.is_empty() || !self.more.is_empty();
        (changes_rows && !self.ours) || self.statement.is_some()
    }

    fn map(&mut self, map: TableMap, moved: &dyn Fn(&TableName) -> bool) {
        if self.ours {
            return;
        }
        let number = map.table_id;
        let mapped = if map.schema == ledger::SCHEMA {
            if map.table == ledger::TABLE { Mapped::Ledger } else { Mapped::Other }
        } else {
            let name = TableName::new(map.schema.as_str(), map.table.as_str());
            if moved(&name) { Mapped::Moved(name, Arc::new(map)) } else { Mapped::Other }
        };
        self.maps.insert(number, mapped);
    }

    fn rows(&mut self, rows: RowsEvent, bytes: usize) {
        match self.maps.get(&rows.table_id) {
            _ if self.ours => {}
            Some(Mapped::Ledger) => {
                self.ours = true;
                self.rows = Vec::new();
            }
            Some(Mapped::Moved(_, map)) if self.held == 0 || self.held + bytes <= HELD_BYTES => {
                self.held += bytes;
                self.rows.push((Arc::clone(map), rows));
            }
            Some(Mapped::Moved(name, _)) => {
                // No set grows with the transaction: it has an entry for each table at most.
                if !self.more.contains(name) {
                    self.more.insert(name.clone());
                }
            }
            Some(Mapped::Other) | None => {}
        }
    }
}

/// What the log is judged by.
pub(super) struct Whose<'a> {
    /// Whether a table is the move's.
    pub moves: &'a dyn Fn(&TableName) -> bool,
    /// Whether a connection is ours.
    pub is_ours: &'a dyn Fn(u32) -> bool,
}

/// Follows the log from transaction to transaction.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    current: Transaction,
    /// Foreign transactions that are prepared, by their names: they take effect when they are decided, if at all.
    prepared: HashMap<String, Transaction>,
}

impl Gathering {
    /// A connection broke: the transaction under way comes again from its beginning, those that are prepared do not.
    pub fn begin_again(&mut self) {
        self.current = Transaction::default();
    }

    /// Takes an event; adds the transactions that end with it to `ended`.
    pub fn take(&mut self, event: &RawEvent, whose: &Whose<'_>, ended: &mut Vec<Transaction>) -> Result<()> {
        match event.decode()? {
            Event::Gtid(gtid) => self.current = Transaction { gtid: Some(gtid), ..Transaction::default() },
            Event::AnonymousGtid => self.current = Transaction::default(),
            Event::Query(query) => ended.extend(self.query(query, event.header.timestamp, whose)),
            Event::TableMap(map) => self.current.map(map, whose.moves),
            Event::Rows(rows) => self.current.rows(rows, event.body.len()),
            Event::Xid => ended.push(self.end()),
            Event::XaPrepare(xa) if xa.one_phase => ended.push(self.end()),
            Event::XaPrepare(xa) => {
                let whole = self.end();
                // What is not foreign is of no interest any more, but that it has been read.
                ended.push(Transaction { gtid: whole.gtid.clone(), ..Transaction::default() });
                if whole.is_foreign() && self.prepared.len() < PREPARED_KEPT {
                    self.prepared.insert(xa.xid, whole);
                }
            }
            Event::Payload(payload) => self.payload(&payload, whose, ended)?,
            Event::Rotate { .. } | Event::Heartbeat { .. } | Event::Nothing => {}
            Event::Unknown(number) => {
                return Err(MoveError::Unsupported(format!("an event of type {number}")));
            }
        }
        Ok(())
    }

    fn payload(&mut self, payload: &Payload, whose: &Whose<'_>, ended: &mut Vec<Transaction>) -> Result<()> {
        payload.for_each_event(|event| match event.decode()? {
            // One within another would be followed without end.
            Event::Payload(_) => {
                Err(MoveError::Unsupported("a compressed transaction within another".into()))
            }
            _ => self.take(&event, whose, ended),
        })
    }

    fn query(&mut self, query: QueryEvent, began: u32, whose: &Whose<'_>) -> Option<Transaction> {
        self.current.thread.get_or_insert(query.thread_id);
        match XaStatement::of(&query.sql) {
            Some(XaStatement::Start) => {
                self.current.begun = true;
                return None;
            }
            Some(XaStatement::End) => return None,
            Some(XaStatement::Commit(xid)) => {
                let decided = self.end();
                return Some(match self.prepared.remove(&xid) {
                    Some(prepared) => Transaction { gtid: decided.gtid, ..prepared },
                    None => decided,
                });
            }
            Some(XaStatement::Rollback(xid)) => {
                self.prepared.remove(&xid);
                return Some(self.end());
            }
            None => {}
        }
        match query.sql.as_slice() {
            b"BEGIN" => {
                self.current.begun = true;
                None
            }
            b"COMMIT" => Some(self.end()),
            _ => {
                if !(whose.is_ours)(query.thread_id) {
                    self.current.statement = Some((query, began));
                }
                // Within a transaction it is a savepoint, or creates the table whose rows follow.
                if self.current.begun { None } else { Some(self.end()) }
            }
        }
    }

    fn end(&mut self) -> Transaction {
        std::mem::take(&mut self.current)
    }
}
