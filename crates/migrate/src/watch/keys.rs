//! Which rows a foreign transaction changed, or which tables its statement.

use std::collections::BTreeMap;

use model::TableName;
use wire::binlog::{Cell, QueryEvent, RowsEvent, RowsKind, TableMap};

use super::ForeignWrite;
use super::gathering::Transaction;
use crate::ddl::{Effect, Meaning, STOPPED_BY, Scope};
use crate::direction::Direction;
use crate::error::{MoveError, Result};
use crate::literal::{Key, RowShape};

/// Keys told of one write.
const KEYS_TOLD: usize = 10;
/// Characters told of one key.
const KEY_CHARS: usize = 200;

/// What is known of a foreign transaction's rows.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// The writes, one for each table.
    pub writes: BTreeMap<TableName, ForeignWrite>,
    /// Keys to be proven again, with their tables' places in the plan.
    pub dirty: Vec<(usize, Key)>,
    /// Tables of which rows were changed that cannot be named.
    pub doubted: Vec<usize>,
}

impl Touched {
    /// Looks at a transaction, with the tables as they are now.
    pub fn of(transaction: &Transaction, direction: &Direction, lower_case: bool) -> Self {
        let mut touched = Self::default();
        for (map, rows) in &transaction.rows {
            touched.rows(map, rows, direction);
        }
        for name in &transaction.more {
            touched.writes.entry(name.clone()).or_default().more = true;
            touched.doubted.extend(place(direction, name));
        }
        if let Some((query, began)) = &transaction.statement {
            touched.statement(query, *began, direction, lower_case);
        }
        for (name, write) in &mut touched.writes {
            write.table = name.to_string();
        }
        touched.doubted.sort_unstable();
        touched.doubted.dedup();
        touched
    }

    fn statement(&mut self, query: &QueryEvent, began: u32, direction: &Direction, lower_case: bool) {
        let scope = Scope::of_target(&direction.options.spec, &direction.tables, lower_case);
        let all_of = |schema: &str| TableName::new(schema, "*");
        let (shown, names) = match scope.meaning(query, began) {
            Ok(Meaning::Replay(statement)) => {
                let schemas = statement.effects.iter().filter_map(|effect| match effect {
                    Effect::Schema(name) => Some(all_of(name)),
                    _ => None,
                });
                let names: Vec<_> = statement.tables().into_iter().cloned().chain(schemas).collect();
                (statement.shown, names)
            }
            Ok(_) => return,
            // It may change moved tables, and is not one that the stream could carry.
            Err(error) => (unreadable(&error), vec![all_of(&query.schema)]),
        };
        for name in names {
            self.doubted.extend(place(direction, &name));
            self.writes.entry(name).or_default().statement = Some(shown.clone());
        }
    }

    fn rows(&mut self, map: &TableMap, rows: &RowsEvent, direction: &Direction) {
        let name = TableName::new(map.schema.as_str(), map.table.as_str());
        let place = place(direction, &name);
        let write = self.writes.entry(name).or_default();
        let Some(i) = place else {
            // It moved when the row was written, and a statement has taken it out of the move since.
            write.more = true;
            return;
        };
        let table = &direction.tables[i];
        let dirty = &mut self.dirty;
        let mut found = |key: Key, is_row: bool| {
            if is_row {
                *counter(write, rows.kind) += 1;
            }
            // A bag's key is its whole row, which is nobody's business in a log.
            if !table.is_bag() {
                tell(&mut write.keys, &key);
            }
            dirty.push((i, key));
        };
        // Whatever cannot be read leaves the table in doubt: a statement of the stream may be changing its shape.
        if !each_key(map, rows, &RowShape::of(table), &mut found).unwrap_or(false) {
            write.more = true;
            self.doubted.push(i);
        }
    }
}

/// What there is to say of a statement that the stream could not carry either.
fn unreadable(error: &MoveError) -> String {
    let what = error.to_string();
    what.strip_prefix(STOPPED_BY).map_or(what.clone(), str::to_owned)
}

fn place(direction: &Direction, name: &TableName) -> Option<usize> {
    direction.tables.iter().position(|table| table.name == *name)
}

fn counter(write: &mut ForeignWrite, kind: RowsKind) -> &mut u64 {
    match kind {
        RowsKind::Insert => &mut write.inserted,
        RowsKind::Update | RowsKind::PartialUpdate => &mut write.updated,
        RowsKind::Delete => &mut write.deleted,
    }
}

fn tell(keys: &mut Vec<String>, key: &Key) {
    if keys.len() >= KEYS_TOLD {
        return;
    }
    let text = String::from_utf8_lossy(key);
    let told = match text.char_indices().nth(KEY_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    };
    if !keys.contains(&told) {
        keys.push(told);
    }
}

/// Hands over the key of every image, and whether it counts as a row: an update has two images, and two keys if it
/// changed the key. Answers whether every key is known.
fn each_key(
    map: &TableMap,
    rows: &RowsEvent,
    shape: &RowShape,
    found: &mut dyn FnMut(Key, bool),
) -> Result<bool> {
    if map.columns.len() != shape.table_columns() {
        return Ok(false);
    }
    let mut all = true;
    let mut before: Option<Vec<Cell<'_>>> = None;
    rows.for_each_image(map, |image| {
        let key = match before.take() {
            // What an after-image leaves out is as it was before.
            Some(before) => {
                let both = image.iter().zip(&before);
                let whole: Vec<_> =
                    both.map(|(now, was)| if matches!(now, Cell::Absent) { *was } else { *now }).collect();
                let (was, now) = (shape.key_from_image(&before)?, shape.key_from_image(&whole)?);
                if was == now { None } else { now.map(|key| (key, false)) }
            }
            None => {
                if rows.kind.is_update() {
                    before = Some(image.clone());
                }
                let key = shape.key_from_image(image)?;
                all &= key.is_some();
                key.map(|key| (key, true))
            }
        };
        if let Some((key, is_row)) = key {
            found(key, is_row);
        }
        Ok::<(), MoveError>(())
    })?;
    Ok(all)
}
