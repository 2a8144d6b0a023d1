//! After a statement of the stream has changed the tables: what is known of them goes on under the names and shapes they
//! have now.
//!
//! The shapes are read from the target, which is exactly where the ledger says; the source may be further ahead.

use std::sync::{Arc, Mutex, PoisonError};

use model::{Gtid, GtidSet, Table};
use mysql::Connection;

use crate::changes::LastChanges;
use crate::ddl::{Effect, destiny, origin};
use crate::direction::Direction;
use crate::dirty::DirtyKeys;
use crate::error::{Result, Side};
use crate::ledger::{LedgerName, plan};
use crate::plan::Renames;
use crate::schema;

/// What a statement changes.
#[derive(Debug, Clone)]
pub(crate) struct Reshaping {
    /// Its transaction.
    pub gtid: Gtid,
    /// What it does.
    pub effects: Vec<Effect>,
}

/// A change that may or may not have been committed: the next look at the ledger tells.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<Option<Reshaping>>);

impl Pending {
    /// About to be committed.
    pub fn set(&self, reshaping: Reshaping) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reshaping);
    }

    fn take(&self) -> Option<Reshaping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The tables of a direction as of its ledger, with their shapes on the target.
///
/// # Errors
/// If they cannot be read, or one cannot be carried as it is now.
pub(crate) async fn tables_as_of(
    target: &mut Connection,
    ledger: &LedgerName,
    renames: &Renames,
) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for name in plan::tables(target, ledger).await? {
        tables.push(schema::read_table(target, Side::Target, renames, name).await?);
    }
    Ok(tables)
}

/// The direction with these tables in place of those it had. Called while no pipeline runs.
pub(crate) fn renewed(direction: &Arc<Direction>, tables: Vec<Table>, applied: &GtidSet) -> Arc<Direction> {
    // Of a statement that was not committed nothing is true yet; it comes again. One that created a table whose rows
    // are to come is not in the ledger: the table is new all the same, and has no past to carry over.
    let effects = match direction.reshaping.take() {
        Some(reshaping) if applied.has(reshaping.gtid) => reshaping.effects,
        _ => Vec::new(),
    };
    if effects.is_empty() && *direction.tables == tables {
        return Arc::clone(direction);
    }
    let old = |now: &Table| {
        let name = origin(&now.name, &effects)?;
        direction.tables.iter().position(|table| table.name == name)
    };
    let past: Vec<Option<usize>> = tables.iter().map(old).collect();

    direction.progress.replan(tables.iter().zip(&past).map(|(t, past)| (t.name.clone(), *past)));
    let bags = (0..tables.len()).filter(|&i| tables[i].is_bag());
    let dirty = DirtyKeys::replanned(&direction.dirty, &past, bags);
    direction.proof.replan(
        |name| {
            let now = destiny(name, &effects);
            tables.iter().any(|t| t.name == now).then_some(now)
        },
        tables.iter().zip(&past).filter(|(_, past)| past.is_none()).map(|(t, _)| &t.name),
    );
    for effect in &effects {
        match effect {
            // Both sides did the same, but that is a belief, not a proof: the table is compared again.
            Effect::Altered { table, rows: true } => {
                let now = destiny(table, &effects);
                direction.proof.doubt(&now);
            }
            Effect::Restarted(table) => direction.progress.restart(table),
            _ => {}
        }
    }
    for (i, (table, past)) in tables.iter().zip(&past).enumerate() {
        let before = past.map(|i| &direction.tables[i]);
        // Keys of another form name nothing any more.
        if before.is_some_and(|before| key_form(before) != key_form(table)) {
            dirty.forget(i);
            direction.proof.doubt(&table.name);
        }
    }
    Arc::new(Direction {
        options: direction.options.clone(),
        changes: Arc::new(LastChanges::new(tables.len(), applied.clone())),
        tables: Arc::new(tables),
        ledger: direction.ledger.clone(),
        progress: Arc::clone(&direction.progress),
        dirty: Arc::new(dirty),
        proof: Arc::clone(&direction.proof),
        reshaping: Arc::clone(&direction.reshaping),
    })
}

/// What the literals of a key depend on; of a bag, whose key is the whole row, all columns.
fn key_form(table: &Table) -> Vec<String> {
    if table.is_bag() {
        return table.columns.iter().map(|column| format!("{column:?}")).collect();
    }
    table.key.iter().map(|&i| format!("{:?}", table.columns[i])).collect()
}
