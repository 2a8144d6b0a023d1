//! What becomes of the stream's changes of a bag, depending on how far its copy is.

use std::collections::{BTreeMap, HashSet};

use model::{GtidSet, Table};

use super::BagFold;
use crate::fold::Change;
use crate::literal::Key;

/// Bytes of values that may be held back while a bag is read. With what a HashMap adds, this is what bounds the
/// memory a copy of a busy bag takes.
const HELD_BYTES_MAX: usize = 96 << 20;

/// Every bag of a plan, by its place there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bags {
    stages: BTreeMap<usize, Stage>,
}

#[derive(Debug, Clone)]
enum Stage {
    /// No snapshot yet: whatever passes now, a snapshot taken later has it.
    Ahead,
    /// The rows of a snapshot are on their way; what the stream takes away may not be here yet.
    Held(Held),
    /// Every row is here.
    Here,
}

#[derive(Debug, Clone)]
struct Held {
    changes: BagFold,
    /// Whether rows gained need not wait: counts add up in any order. Where a unique key (one that may be NULL) watches, a
    /// row can be in the way of its successor, so that order matters.
    gains_pass: bool,
}

impl Bags {
    /// The bags among these tables. Of those that are not `here` the copy is still to come.
    pub fn of(tables: &[Table], here: &HashSet<usize>) -> Self {
        let stage = |i| if here.contains(&i) { Stage::Here } else { Stage::Ahead };
        let bags = tables.iter().enumerate().filter(|(_, t)| t.is_bag());
        Self { stages: bags.map(|(i, _)| (i, stage(i))).collect() }
    }

    /// Whether the table is a bag.
    pub fn has(&self, table: usize) -> bool {
        self.stages.contains_key(&table)
    }

    /// Takes a change of the stream; what is to be applied now goes to `batch`.
    pub fn take(&mut self, table: usize, change: Change, batch: &mut BTreeMap<usize, BagFold>) {
        match self.stages.get_mut(&table) {
            None | Some(Stage::Ahead) => {}
            Some(Stage::Held(held)) if held.gains_pass => match change {
                Change::Insert { key, .. } => held.gain(key, batch.entry(table).or_default()),
                Change::Delete { key } => held.lose(key, batch.entry(table).or_default()),
                Change::Update { before, key, .. } => {
                    let batch = batch.entry(table).or_default();
                    held.lose(before, batch);
                    held.gain(key, batch);
                }
            },
            Some(Stage::Held(held)) => held.changes.add(change),
            Some(Stage::Here) => batch.entry(table).or_default().add(change),
        }
    }

    /// A snapshot of the table was opened after the source had shown `seen`, and the window it was opened in closes here.
    /// If no other transaction of the window touched the table, the snapshot is the table as it is here, and from here on
    /// its changes are held back.
    pub fn hold(&mut self, table: usize, seen: &GtidSet, touched: &HashSet<Key>, gains_pass: bool) -> bool {
        let exact = is_exact(seen, touched);
        if exact {
            self.stages.insert(table, Stage::Held(Held { changes: BagFold::default(), gains_pass }));
        }
        exact
    }

    /// Every row of the snapshot is on the target: what was held back is given out, and nothing more is held.
    pub fn release(&mut self, table: usize) -> BagFold {
        match self.stages.insert(table, Stage::Here) {
            Some(Stage::Held(held)) => held.changes,
            _ => BagFold::default(),
        }
    }

    /// A table of which more is held back than may be.
    pub fn overfull(&self) -> Option<usize> {
        let full = |stage: &Stage| matches!(stage, Stage::Held(h) if h.changes.bytes() > HELD_BYTES_MAX);
        self.stages.iter().find(|(_, stage)| full(stage)).map(|(table, _)| *table)
    }
}

impl Held {
    fn gain(&mut self, value: Key, batch: &mut BagFold) {
        match self.changes.of(&value) < 0 {
            true => self.changes.count(value, 1),
            false => batch.count(value, 1),
        }
    }

    /// A row gained in the same batch is the one to take away: no other lost row can be one that is already here.
    fn lose(&mut self, value: Key, batch: &mut BagFold) {
        match batch.of(&value) > 0 {
            true => batch.count(value, -1),
            false => self.changes.count(value, -1),
        }
    }
}

/// What a window over a bag records for a transaction that touches the table: not which values, since the question is
/// only whether a snapshot has the transaction. The first parts of a huge one do not tell which it is: no snapshot is taken
/// for one that has them.
pub(crate) fn touch_of(gtid: Option<model::Gtid>) -> Key {
    gtid.map_or(Key::default(), |gtid| gtid.to_string().into_bytes().into())
}

/// Whether a snapshot opened after the source had shown `seen` is the table as it is where its window closes: it surely
/// has whatever was seen before it, and whatever came after it the window knows.
pub(crate) fn is_exact(seen: &GtidSet, touched: &HashSet<Key>) -> bool {
    touched.iter().all(|gtid| {
        let gtid = std::str::from_utf8(gtid).ok().and_then(|g| g.parse::<GtidSet>().ok());
        gtid.is_some_and(|gtid| !gtid.is_empty() && seen.contains(&gtid))
    })
}

#[cfg(test)]
mod tests {
    use model::TableName;

    use super::*;
    use crate::literal::RowShape;

    fn bag() -> Table {
        let column = model::Column {
            name: "a".into(),
            kind: model::ColumnKind::Integer { unsigned: false },
            type_text: "int".into(),
            charset: None,
            generated: false,
        };
        Table {
            name: TableName::new("s", "t"),
            source_schema: "s".into(),
            columns: vec![column],
            key: Vec::new(),
        }
    }

    fn value(n: u64) -> (Key, crate::literal::Tuple) {
        let cell = wire::binlog::Cell::Integer { bits: n, width: 8 };
        let shape = RowShape::of(&bag());
        let tuple = shape.from_image(&[cell]).unwrap();
        (shape.key(&tuple), tuple)
    }

    fn insert(n: u64) -> Change {
        let (key, after) = value(n);
        Change::Insert { key, after }
    }

    fn delete(n: u64) -> Change {
        Change::Delete { key: value(n).0 }
    }

    fn counts(fold: Option<&BagFold>, n: u64) -> i64 {
        fold.map_or(0, |f| f.of(&value(n).0))
    }

    const GTID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:7";

    #[test]
    fn a_snapshot_is_exact_unless_an_unseen_transaction_touched_the_table() {
        let touched = HashSet::from([GTID.as_bytes().into()]);
        let mut bags = Bags::of(&[bag()], &HashSet::new());
        assert!(!bags.hold(0, &GtidSet::default(), &touched, true));
        assert!(bags.hold(0, &GTID.parse().unwrap(), &touched, true));
        let part = HashSet::from([touch_of(None)]);
        assert!(!is_exact(&GTID.parse().unwrap(), &part));
        assert!(bags.hold(0, &GtidSet::default(), &HashSet::new(), true));
    }

    #[test]
    fn changes_before_the_snapshot_are_passed_over_and_later_losses_are_held_until_the_rows_are_here() {
        let mut bags = Bags::of(&[bag()], &HashSet::new());
        let mut batch = BTreeMap::new();
        bags.take(0, insert(1), &mut batch);
        assert!(batch.is_empty());

        assert!(bags.hold(0, &GtidSet::default(), &HashSet::new(), true));
        bags.take(0, delete(1), &mut batch);
        bags.take(0, insert(2), &mut batch);
        bags.take(0, insert(3), &mut batch);
        bags.take(0, delete(3), &mut batch);
        assert_eq!((counts(batch.get(&0), 1), counts(batch.get(&0), 2), counts(batch.get(&0), 3)), (0, 1, 0));
        bags.take(0, insert(1), &mut batch);
        bags.take(0, delete(4), &mut batch);
        assert_eq!(counts(batch.get(&0), 1), 0, "it cancels what is held");
        let held = bags.release(0);
        assert_eq!((held.of(&value(1).0), held.of(&value(4).0)), (0, -1));

        bags.take(0, delete(2), &mut batch);
        assert_eq!(counts(batch.get(&0), 2), 0);
    }

    #[test]
    fn more_than_may_be_held_back_is_found_out() {
        let mut bags = Bags::of(&[bag()], &HashSet::new());
        assert!(bags.hold(0, &GtidSet::default(), &HashSet::new(), true));
        let mut batch = BTreeMap::new();
        let delete = |n: usize| Change::Delete { key: vec![n as u8; (1 << 20) + n].into() };
        (0..96).for_each(|n| bags.take(0, delete(n), &mut batch));
        assert_eq!(bags.overfull(), Some(0));
        bags.release(0);
        assert_eq!(bags.overfull(), None);
    }

    #[test]
    fn where_a_unique_key_watches_everything_is_held() {
        let mut bags = Bags::of(&[bag()], &HashSet::new());
        assert!(bags.hold(0, &GtidSet::default(), &HashSet::new(), false));
        let mut batch = BTreeMap::new();
        bags.take(0, insert(2), &mut batch);
        assert!(batch.is_empty());
        assert_eq!(bags.release(0).of(&value(2).0), 1);
    }
}
