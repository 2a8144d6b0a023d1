//! Repairing rows that were proven wrong, in their turn, where everything before them is committed and nothing after.
//!
//! Invariant 2 holds for what was right before: each row is looked at under its lock, and only one that is not what it has
//! to be is deleted, by key, and inserted anew. A key is compared as bytes. What a collation takes for the same key is
//! another one here, and stays: the stream may have put it there.

use std::collections::{HashMap, HashSet};

use model::Table;
use mysql::{Connection, Row};

use super::bags;
use super::effect::Expect;
use super::statements::{NewRow, Statements};
use crate::direction::Direction;
use crate::error::{MoveError, Result, Side};
use crate::ledger::LedgerRow;
use crate::literal::{Key, RowShape, Tuple};
use crate::select::{in_keys, whole_row_list};
use crate::work::{Refusal, Repair, RepairWork, Repaired};

/// Rows of the target looked at in one go: a stranger may have made them larger than those that were held to a bound.
const LOCKED_AT_ONCE: usize = 50;

/// Writes what a repair comes to, without the COMMIT.
///
/// # Errors
/// If the target refuses, or its rows change meanwhile.
pub(super) async fn write(
    target: &mut Connection,
    direction: &Direction,
    shape: &RowShape,
    ledger: &LedgerRow,
    work: &Repair,
) -> Result<Repaired> {
    let table = &direction.tables[work.table];
    let doing = format!("repair rows of {}", table.name);
    let mut statements = Statements::begin(target, &doing);
    let written = match &work.what {
        RepairWork::Bag(fold) => {
            let put_back = bags::delete(&mut statements, table, fold).await?;
            statements.insert(table, bags::inserts(table, fold, &put_back)).await?;
            let gained: u64 = fold.gained().map(|(_, rows)| rows).sum();
            gained + fold.lost().map(|(_, rows)| rows).sum::<u64>()
        }
        RepairWork::Rows { rows, .. } => {
            let keys = keys(work);
            let here = by_key(shape, rows, &keys)?;
            let (mut wrong, mut deleted) = (Vec::new(), Vec::new());
            for some in keys.chunks(LOCKED_AT_ONCE) {
                let there = locked_rows(&mut statements, table, some).await?;
                let there = by_key(shape, &there, some)?;
                for key in some.iter().filter(|key| here.get(*key) != there.get(*key)) {
                    wrong.push(key);
                    deleted.extend(there.contains_key(key).then_some(key));
                }
            }
            let new = wrong.iter().filter_map(|key| here.get(*key));
            let new: Vec<Tuple> = new.map(|row| shape.from_text(row)).collect::<Result<_>>()?;
            statements.delete(table, &deleted, true).await?;
            statements.insert(table, new.iter().map(NewRow::from)).await?;
            wrong.len() as u64
        }
    };
    // Our signature in the target's log, and the proof that the ledger is still ours.
    statements.push(ledger.hold().as_bytes(), Expect::Owned).await?;
    statements.end().await?;
    Ok(Repaired { keys: keys(work), written, refused: None })
}

/// The keys of a repair; none of a bag.
pub(super) fn keys(work: &Repair) -> Vec<Key> {
    match &work.what {
        RepairWork::Rows { keys, .. } => keys.iter().cloned().collect(),
        RepairWork::Bag(_) => Vec::new(),
    }
}

async fn locked_rows(statements: &mut Statements<'_>, table: &Table, keys: &[Key]) -> Result<Vec<Row>> {
    let mut sql =
        format!("SELECT {} FROM {}", whole_row_list(table), table.on(Side::Target).quoted()).into_bytes();
    sql.extend_from_slice(&in_keys(table, keys));
    sql.extend_from_slice(b" FOR UPDATE");
    statements.ask(&sql).await
}

fn by_key<'a>(shape: &RowShape, rows: &'a [Row], keys: &[Key]) -> Result<HashMap<Key, &'a Row>> {
    let wanted: HashSet<&Key> = keys.iter().collect();
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let key = shape.key(&shape.from_text(row)?);
        if wanted.contains(&key) {
            found.insert(key, row);
        }
    }
    Ok(found)
}

/// What the target has against a repair; nothing if it was a lock, which may be gone the next time. `None` for what is no
/// matter of these rows.
pub(super) fn refusal(error: &MoveError) -> Option<Option<Refusal>> {
    match error {
        error if error.is_lock_conflict() => Some(None),
        MoveError::NotExact { .. } => Some(Some(Refusal::InTheWay)),
        MoveError::Unsupported(_) => {
            let altered = "rows of the target are not of the table's shape: someone has altered it there";
            Some(Some(Refusal::Server(altered.into())))
        }
        MoveError::Server { error, .. } if !error.is_connection_lost() => {
            let code = error.server_code()?;
            Some(Some(Refusal::Server(format!("the target refuses: server error {code}"))))
        }
        _ => None,
    }
}

/// Someone else holds the rows' locks.
pub(super) fn locked() -> Refusal {
    Refusal::Server("someone else has locked rows on the target".into())
}
