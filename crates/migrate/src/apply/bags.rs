//! Applying the net changes of a bag: rows are found by value, and counted.
//!
//! One lost row of a value that is there three times leaves two, whichever it was. What the values are, the server says
//! ([`Scratch`]); how many rows of each are there is counted, and then as many deleted as must be, in one statement for many
//! values, since without an index each statement reads the whole table. Invariant 2: a value with fewer rows than it loses
//! stops the move, and every count is checked before the COMMIT.

use std::collections::BTreeMap;

use model::Table;

use super::effect::Expect;
use super::statements::{NewRow, Statements};
use crate::bag::{BagFold, Scratch, digests, has_digest, narrow};
use crate::error::{MoveError, Result, Side};
use crate::literal::Key;
use crate::select::row_digest;

/// Values found in one go, and their bytes: bounds the statements' size.
const VALUES_AT_ONCE: usize = 10_000;
const VALUE_BYTES_AT_ONCE: usize = 1 << 20;

/// Of a value with no more rows than this to spare, all are deleted with those of other values, and these put back. With
/// more to spare, a statement of its own finds the few to delete soon enough.
const PUT_BACK_MAX: u64 = 100;

/// Rows of one value that are too many.
struct Surplus<'a> {
    value: &'a Key,
    /// How many must go.
    lost: u64,
    /// How many there are.
    there: u64,
}

/// Deletes as many rows of each value as `fold` loses. Returns what is to be inserted again, once all deletes are done.
///
/// # Errors
/// If the target refuses, or has fewer rows of a value than it is to lose.
pub(super) async fn delete<'a>(
    statements: &mut Statements<'_>,
    table: &Table,
    fold: &'a BagFold,
) -> Result<Vec<(&'a Key, u64)>> {
    let mut lost: Vec<(&Key, u64)> = fold.lost().collect();
    let mut put_back = Vec::new();
    while !lost.is_empty() {
        let mut bytes = 0;
        let fits = |(value, _): &&(&Key, u64)| {
            bytes += value.len();
            bytes < VALUE_BYTES_AT_ONCE
        };
        let count = lost.iter().take(VALUES_AT_ONCE).take_while(fits).count().max(1);
        let later = lost.split_off(count);
        delete_some(statements, table, &lost, &mut put_back).await?;
        lost = later;
    }
    Ok(put_back)
}

async fn delete_some<'a>(
    statements: &mut Statements<'_>,
    table: &Table,
    lost: &[(&'a Key, u64)],
    put_back: &mut Vec<(&'a Key, u64)>,
) -> Result<()> {
    let by_digest = count_there(statements, table, lost).await?;
    let (mut together, mut rows) = (Vec::new(), 0);
    for (digest, Surplus { value, lost, there }) in &by_digest {
        let Some(spare) = there.checked_sub(*lost) else {
            let evidence = format!("the target has {there} of {lost} rows of one value that must be there");
            return Err(MoveError::NotExact { table: table.name.clone(), evidence });
        };
        if spare > PUT_BACK_MAX {
            let mut sql = delete_where(table, std::iter::once(*value), [digest.as_str()]);
            sql.extend_from_slice(format!(" LIMIT {lost}").as_bytes());
            statements.push(&sql, Expect::Exactly(table.name.clone(), *lost)).await?;
            continue;
        }
        together.push((digest.as_str(), *value));
        rows += there;
        if spare > 0 {
            put_back.push((value, spare));
        }
    }
    if !together.is_empty() {
        let values = together.iter().map(|(_, value)| *value);
        let sql = delete_where(table, values, together.iter().map(|(digest, _)| *digest));
        statements.push(&sql, Expect::Exactly(table.name.clone(), rows)).await?;
    }
    Ok(())
}

/// The values by digest, with how many rows of each are there. Literals that the server takes for one value add up.
async fn count_there<'a>(
    statements: &mut Statements<'_>,
    table: &Table,
    lost: &[(&'a Key, u64)],
) -> Result<BTreeMap<String, Surplus<'a>>> {
    let scratch = Scratch::of(table);
    let values: Vec<&Key> = lost.iter().map(|(value, _)| *value).collect();
    statements.push(scratch.drop().as_bytes(), Expect::Any).await?;
    statements.push(scratch.create().as_bytes(), Expect::Any).await?;
    statements
        .push(&scratch.insert(&values), Expect::Exactly(table.name.clone(), values.len() as u64))
        .await?;
    let found = digests(&statements.ask(scratch.digests().as_bytes()).await?);
    statements.push(scratch.drop().as_bytes(), Expect::Any).await?;
    let not_told = || MoveError::NotExact {
        table: table.name.clone(),
        evidence: "the target does not tell its values apart as it should".into(),
    };
    let found = found.filter(|f| f.len() == values.len()).ok_or_else(not_told)?;

    let mut by_digest: BTreeMap<String, Surplus<'a>> = BTreeMap::new();
    for (digest, (value, lost)) in found.into_iter().zip(lost) {
        by_digest.entry(digest).or_insert(Surplus { value, lost: 0, there: 0 }).lost += lost;
    }
    // In a table of its own: the server takes no JSON_TABLE, which a JSON column's digest has, in GROUP BY (error 1210).
    let (digest, name) = (row_digest(table), table.on(Side::Target).quoted());
    // Locked, so that none of the rows counted goes before they are deleted: of several values together only the sum is
    // checked then, and a row that went from one of them to another meanwhile would not show in it.
    let mut sql = format!("SELECT d, COUNT(*) FROM (SELECT {digest} AS d FROM {name} WHERE ").into_bytes();
    sql.extend_from_slice(&narrow(table, values.iter().copied()));
    let digests = has_digest(table, by_digest.keys().map(String::as_str));
    sql.extend_from_slice(format!(" AND {digests} FOR UPDATE) AS found GROUP BY d").as_bytes());
    for row in statements.ask(&sql).await? {
        let surplus = by_digest.get_mut(&row.text(0)).ok_or_else(not_told)?;
        surplus.there = row.number(1).ok_or_else(not_told)?;
    }
    Ok(by_digest)
}

fn delete_where<'a>(
    table: &Table,
    values: impl Iterator<Item = &'a Key> + Clone,
    digests: impl IntoIterator<Item = &'a str>,
) -> Vec<u8> {
    let mut sql = format!("DELETE FROM {} WHERE ", table.on(Side::Target).quoted()).into_bytes();
    sql.extend_from_slice(&narrow(table, values));
    sql.extend_from_slice(format!(" AND {}", has_digest(table, digests)).as_bytes());
    sql
}

/// The rows that are there once a fold is applied: those it gains, and those put back.
pub(super) fn inserts<'a>(
    table: &'a Table,
    fold: &'a BagFold,
    put_back: &'a [(&'a Key, u64)],
) -> impl Iterator<Item = NewRow<'a>> {
    let rows = fold.gained().chain(put_back.iter().copied());
    rows.flat_map(move |(value, rows)| std::iter::repeat_n(NewRow::of_bag(table, value), rows as usize))
}
