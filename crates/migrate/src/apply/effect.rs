//! What work does to the target: the statements of its transaction, in order, and what each must find there.
//!
//! Pure: [`super::lane`] sends them to a server, `tests/model` takes them on a table of its own.

use std::collections::HashMap;

use model::TableName;

use crate::error::{MoveError, Result};
use crate::fold::TableFold;
use crate::literal::{Key, RowShape, Tuple};

/// A statement. Tables are named by their place in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Delete the rows of these keys.
    Delete {
        /// From which table.
        table: usize,
        /// The keys.
        keys: Vec<&'a Key>,
        /// Whether each must be there. Until the whole table is copied, a row may not have come yet.
        all_there: bool,
    },
    /// Insert these rows, none of which may be there.
    Insert {
        /// Into which table.
        table: usize,
        /// The rows.
        rows: Vec<&'a Tuple>,
    },
    /// Write to the ledger what this transaction has done. In the same transaction, whatever else may change: a crash
    /// between two would lose work or do it twice.
    Ledger,
}

/// The statements of a batch, which leave the ledger at its end.
pub fn of_batch(tables: &[TableFold], is_copied: impl Fn(usize) -> bool) -> Vec<Step<'_>> {
    let mut steps = of_changes(tables, is_copied);
    steps.push(Step::Ledger);
    steps
}

/// The statements of row changes alone: all deletes, then all inserts, so that unique values may change hands.
pub fn of_changes(tables: &[TableFold], is_copied: impl Fn(usize) -> bool) -> Vec<Step<'_>> {
    let changed = || tables.iter().enumerate().filter(|(_, fold)| !fold.is_empty());
    let deletes = changed().map(|(table, fold)| {
        let keys = fold.deletes().collect();
        // Once every range is copied, each row the stream removes or replaces must be there.
        Step::Delete { table, keys, all_there: is_copied(table) }
    });
    let inserts = changed().map(|(table, fold)| Step::Insert { table, rows: fold.inserts().collect() });
    deletes.chain(inserts).collect()
}

/// Rows of a range whose window has closed, and their table.
#[derive(Debug, Clone, Copy)]
pub struct RangeRows<'a> {
    /// The table's place in the plan.
    pub table: usize,
    /// Its name.
    pub name: &'a TableName,
    /// The shape of its rows.
    pub shape: &'a RowShape,
    /// Its rows that the stream did not touch in the window.
    pub rows: &'a [Tuple],
}

impl<'a> RangeRows<'a> {
    /// The statements of a copied range, which has the rows `here` on the target already: the stream touched them
    /// before the window opened. Those are not inserted again, but must be what was read.
    ///
    /// # Errors
    /// If a row that is here differs from the one read.
    pub fn steps(&self, here: Vec<Tuple>) -> Result<Vec<Step<'a>>> {
        Ok(vec![Step::Insert { table: self.table, rows: self.absent(here)? }, Step::Ledger])
    }

    fn absent(&self, here: Vec<Tuple>) -> Result<Vec<&'a Tuple>> {
        if here.is_empty() {
            return Ok(self.rows.iter().collect());
        }
        let present: HashMap<Key, Tuple> = here.into_iter().map(|row| (self.shape.key(&row), row)).collect();
        let mut absent = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            match present.get(&self.shape.key(row)) {
                None => absent.push(row),
                Some(same) if same == row => {}
                Some(_) => {
                    let evidence = "a row that is here already differs from the one read from the source";
                    return Err(MoveError::NotExact {
                        table: self.name.clone(),
                        evidence: evidence.to_owned(),
                    });
                }
            }
        }
        Ok(absent)
    }
}

/// How many rows a statement must change.
#[derive(Debug, Clone)]
pub enum Expect {
    /// Whatever it changes.
    Any,
    /// Our one row of the ledger, which another process may have claimed.
    Owned,
    /// Exactly so many, of this table.
    Exactly(TableName, u64),
    /// No more than so many, of this table.
    AtMost(TableName, u64),
    /// Exactly so many, of this table, with as many warnings: any other would be a value that does not fit, changed
    /// to one that does.
    Warned(TableName, u64, u32),
}

impl Expect {
    /// Of a DELETE of so many keys: all of them must be there, or only some.
    pub fn deleted(table: &TableName, keys: u64, all_there: bool) -> Self {
        match all_there {
            true => Self::Exactly(table.clone(), keys),
            false => Self::AtMost(table.clone(), keys),
        }
    }

    /// Holds a statement to it that has changed `found` rows, with so many warnings.
    ///
    /// # Errors
    /// If that is another number than it must be.
    pub fn hold(&self, found: u64, warnings: u16) -> Result<()> {
        let (table, rows, kept) = match self {
            Self::Any => return Ok(()),
            Self::Owned if found == 1 => return Ok(()),
            Self::Owned => return Err(MoveError::taken_over()),
            Self::Exactly(table, rows) => (table, rows, found == *rows),
            Self::AtMost(table, rows) => (table, rows, found <= *rows),
            Self::Warned(table, _, expected) if u32::from(warnings) != *expected => {
                let evidence = format!(
                    "the target changed values as it took rows ({warnings} warnings, {expected} expected)"
                );
                return Err(MoveError::NotExact { table: table.clone(), evidence });
            }
            Self::Warned(table, rows, _) => (table, rows, found == *rows),
        };
        if kept {
            return Ok(());
        }
        let evidence = format!("the target has {found} of {rows} rows that must be there");
        Err(MoveError::NotExact { table: table.clone(), evidence })
    }
}
