//! The source of the model: a few rows, a script of transactions, and how group commit makes them known.
//!
//! A transaction is first in the log (from where it may be sent), then visible to reads, then in `gtid_executed`; each in
//! the log's order, as `binlog_order_commits=ON` has it. A transaction that needs a row of another one waits until that
//! is visible: row locks are held until then (`trx_release_impl_and_expl_locks` in InnoDB's `trx0trx.cc`).

use std::collections::{BTreeMap, BTreeSet};

use migrate::fold::Change;
use migrate::literal::{Key, RowShape, Tuple};
use migrate::stream::Transaction;
use model::gtid::Tag;
use model::{BinlogPosition, Column, ColumnKind, Gtid, GtidSet, Table, TableName};
use wire::binlog::Cell;

/// The name of a row: its table and its primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub usize, pub u8);

/// Rows: each has one column besides its key, whose values are unique in its table.
pub type Rows = BTreeMap<At, u8>;

/// What a transaction holds until it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lock {
    Row(At),
    Unique(usize, u8),
}

/// The locks of a row.
pub fn locks_of(at: At, unique: u8) -> [Lock; 2] {
    [Lock::Row(at), Lock::Unique(at.0, unique)]
}

/// A row change.
#[derive(Debug, Clone, Copy)]
pub enum Do {
    Insert(At, u8),
    Update(At, At, u8),
    Delete(At),
}

/// A stretch of keys that is copied as one.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub table: usize,
    pub from: u8,
    pub to: u8,
}

impl Range {
    pub fn holds(&self, at: At) -> bool {
        at.0 == self.table && (self.from..=self.to).contains(&at.1)
    }
}

/// What happens on the source, and the ranges it is copied in.
#[derive(Debug, Clone)]
pub struct Script {
    pub name: &'static str,
    pub rows: Vec<(At, u8)>,
    pub transactions: Vec<Vec<Do>>,
    pub ranges: Vec<Range>,
}

/// A script, worked out.
#[derive(Debug)]
pub struct History {
    pub ranges: Vec<Range>,
    pub tables: Vec<Table>,
    pub shapes: Vec<RowShape>,
    /// Every row there ever is.
    pub names: Vec<At>,
    /// The source's rows after each number of transactions.
    pub rows: Vec<Rows>,
    /// The rows touched by each number of transactions.
    pub touched: Vec<BTreeSet<At>>,
    streamed: Vec<Vec<(usize, Change)>>,
    /// For each transaction, how many must be visible before it can be in the log.
    pub needs: Vec<u8>,
}

impl History {
    pub fn of(script: &Script) -> Self {
        let tables: Vec<Table> = (0..=1).map(table).collect();
        let mut history = Self {
            ranges: script.ranges.clone(),
            shapes: tables.iter().map(RowShape::of).collect(),
            tables,
            names: Vec::new(),
            rows: vec![script.rows.iter().copied().collect()],
            touched: vec![BTreeSet::new()],
            streamed: Vec::new(),
            needs: Vec::new(),
        };
        let mut locked: Vec<BTreeSet<Lock>> = Vec::new();
        for transaction in &script.transactions {
            let locks = history.add(transaction);
            let last = locked.iter().rposition(|before| !before.is_disjoint(&locks));
            history.needs.push(last.map_or(0, |i| i as u8 + 1));
            locked.push(locks);
        }
        let names: BTreeSet<At> = history.rows.iter().flat_map(|rows| rows.keys().copied()).collect();
        history.names = names.into_iter().collect();
        history
    }

    /// Takes a transaction on the rows so far; the locks it needs.
    fn add(&mut self, transaction: &[Do]) -> BTreeSet<Lock> {
        let mut rows = self.rows.last().unwrap().clone();
        let mut touched = self.touched.last().unwrap().clone();
        let mut locks = BTreeSet::new();
        let mut streamed = Vec::new();
        for change in transaction {
            let (gone, come) = match *change {
                Do::Insert(at, unique) => (None, Some((at, unique))),
                Do::Update(before, at, unique) => (Some(before), Some((at, unique))),
                Do::Delete(at) => (Some(at), None),
            };
            for at in gone.into_iter().chain(come.map(|(at, _)| at)) {
                touched.insert(at);
            }
            if let Some(at) = gone {
                let unique = rows.remove(&at).expect("the script changes a row that is there");
                locks.extend(locks_of(at, unique));
            }
            if let Some((at, unique)) = come {
                let taken = rows.iter().any(|(other, u)| other.0 == at.0 && (*other == at || *u == unique));
                assert!(!taken, "the script violates a key: {change:?}");
                rows.insert(at, unique);
                locks.extend(locks_of(at, unique));
            }
            streamed.push(match *change {
                Do::Insert(at, unique) => {
                    (at.0, Change::Insert { key: self.key(at), after: self.tuple(at, unique) })
                }
                Do::Update(before, at, unique) => {
                    let (before, key) = (self.key(before), self.key(at));
                    (at.0, Change::Update { before, key, after: self.tuple(at, unique) })
                }
                Do::Delete(at) => (at.0, Change::Delete { key: self.key(at) }),
            });
        }
        self.rows.push(rows);
        self.touched.push(touched);
        self.streamed.push(streamed);
        locks
    }

    pub fn transactions(&self) -> u8 {
        self.streamed.len() as u8
    }

    /// The transaction of this number, counted from 1, as the stream yields it.
    pub fn streamed(&self, number: u8) -> Transaction {
        let changes = self.streamed[usize::from(number) - 1].clone();
        Transaction { gtid: gtid(number), commit_micros: None, end: position(number), changes, decides: None }
    }

    pub fn tuple(&self, at: At, unique: u8) -> Tuple {
        let cell = |n: u8| Cell::Integer { bits: u64::from(n), width: 4 };
        self.shapes[at.0].from_image(&[cell(at.1), cell(unique)]).unwrap()
    }

    pub fn key(&self, at: At) -> Key {
        self.shapes[at.0].key(&self.tuple(at, 0))
    }
}

/// The row that a tuple is.
pub fn row(table: usize, tuple: &Tuple) -> (At, u8) {
    let text = std::str::from_utf8(tuple.literals()).unwrap();
    let (id, unique) = text.split_once(',').unwrap();
    (At(table, id.parse().unwrap()), unique.parse().unwrap())
}

/// The row that a key names.
pub fn named(table: usize, key: &Key) -> At {
    At(table, std::str::from_utf8(key).unwrap().parse().unwrap())
}

pub fn gtid(number: u8) -> Gtid {
    Gtid { uuid: [7; 16], tag: Tag::default(), number: u64::from(number) }
}

/// The first so many transactions.
pub fn gtids(count: u8) -> GtidSet {
    let mut set = GtidSet::default();
    (1..=count).for_each(|number| set.add(gtid(number)));
    set
}

/// Where the log ends after so many transactions.
pub fn position(count: u8) -> BinlogPosition {
    BinlogPosition { file: "binlog.000001".into(), offset: 4 + 10 * u64::from(count) }
}

fn table(number: usize) -> Table {
    let column = |name: &str| Column {
        name: name.into(),
        kind: ColumnKind::Integer { unsigned: true },
        type_text: "int unsigned".into(),
        charset: None,
        generated: false,
    };
    let name = TableName::new("app", format!("t{number}"));
    Table {
        source_schema: name.schema.clone(),
        name,
        columns: vec![column("id"), column("unique")],
        key: vec![0],
    }
}

/// How far the source's transactions have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Source {
    pub logged: u8,
    pub visible: u8,
    pub executed: u8,
}
