//! The plan of the copy: which key ranges there are, and which are done.

use model::{Table, TableName};
use mysql::{Connection, QueryResult, Row};

use super::{LedgerName, LedgerRow};
use crate::error::{Doing, MoveError, Result, Side};
use crate::schema::{quote_bytes, quote_text};
use crate::select::KeyRange;

/// A range to be copied.
#[derive(Debug, Clone)]
pub struct PlannedRange {
    /// Its place among the table's ranges. What was split off from a range while it was read has a negative number: it
    /// lies somewhere before the end of the plan.
    pub number: i32,
    /// Its bounds.
    pub range: KeyRange,
    /// Whether it is copied.
    pub done: bool,
    /// Rows that copying it brought, once it is done.
    pub rows: u64,
}

/// The ranges planned for a table, in order.
///
/// # Errors
/// If they cannot be read.
pub async fn planned(target: &mut Connection, name: &LedgerName, table: &Table) -> Result<Vec<PlannedRange>> {
    let sql = format!(
        "SELECT number, low, high, done_at IS NOT NULL, IFNULL(row_count, 0) FROM highwater.ranges \
         WHERE move_name='{}' AND table_name={} ORDER BY number",
        name.move_name,
        quote_text(&table.name.to_string())
    );
    let rows = target.rows(sql).await.doing(Side::Target, "read the planned ranges")?;
    rows.iter().map(|row| read(row, table)).collect()
}

fn read(row: &Row, table: &Table) -> Result<PlannedRange> {
    let bound = |i| row.bytes(i).map(|bytes| decode_bound(bytes, table)).transpose();
    Ok(PlannedRange {
        number: row.number(0).unwrap_or(0),
        range: KeyRange { low: bound(1)?, high: bound(2)? },
        done: row.text(3) == "1",
        rows: row.number(4).unwrap_or(0),
    })
}

/// Where planning goes on: the number of the next range, and the key above which it begins; none if the table is planned to its
/// end, or not at all yet. The last range may have been cut short when it was read: then it ends where what was split off
/// does, which begins where it ends, and may have been cut short as well.
pub(crate) fn end_of_plan(known: &[PlannedRange]) -> (i32, Option<Vec<Vec<u8>>>) {
    let Some(last) = known.iter().filter(|p| p.number >= 0).max_by_key(|p| p.number) else {
        return (0, None);
    };
    let (mut split_off, mut end) =
        (known.iter().filter(|p| p.number < 0).collect::<Vec<_>>(), &last.range.high);
    while let Some(next) = split_off.iter().position(|p| end.is_some() && p.range.low == *end) {
        end = &split_off.swap_remove(next).range.high;
    }
    (last.number + 1, end.clone())
}

/// Adds ranges to a table's plan. If a statement of the stream has changed the tables meanwhile, adds none and waits: the
/// pipeline ends then, and the caller with it.
///
/// # Errors
/// If someone else has claimed the ledger, or the target refuses.
pub(crate) async fn plan(
    target: &mut Connection,
    planner: &LedgerRow,
    table: &Table,
    new: &[PlannedRange],
) -> Result<()> {
    let planning = "plan the ranges";
    // Two round trips: a server goes on with statements whose sender is gone, and would insert whatever the first one says.
    let hold = format!("START TRANSACTION; {}", planner.hold());
    let held = target.query_all(hold).await.doing(Side::Target, planning)?;
    if !matches!(held.last(), Some(QueryResult::Done(ok)) if ok.affected_rows == 1) {
        target.execute("ROLLBACK").await.doing(Side::Target, planning)?;
        return match planner.is_ours(target).await? {
            true => std::future::pending().await,
            false => Err(MoveError::taken_over()),
        };
    }
    let insert = format!("{}; COMMIT", insert_planned(planner.name(), table, new));
    target.query_all(insert).await.doing(Side::Target, planning)?;
    Ok(())
}

/// The statement that does it.
pub(crate) fn insert_planned(name: &LedgerName, table: &Table, new: &[PlannedRange]) -> String {
    let values: Vec<String> = new
        .iter()
        .map(|p| {
            format!(
                "('{}',{},{},{},{})",
                name.move_name,
                quote_text(&table.name.to_string()),
                p.number,
                encode_bound(p.range.low.as_deref()),
                encode_bound(p.range.high.as_deref())
            )
        })
        .collect();
    format!(
        "INSERT INTO highwater.ranges (move_name, table_name, number, low, high) VALUES {}",
        values.join(",")
    )
}

/// Whether every range of a table is done, as the ledger says.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn is_copied(target: &mut Connection, name: &LedgerName, table: &TableName) -> Result<bool> {
    let sql = format!(
        "SELECT IFNULL(SUM(high IS NULL), 0), IFNULL(SUM(done_at IS NULL), 0) FROM highwater.ranges \
         WHERE move_name='{}' AND table_name={}",
        name.move_name,
        quote_text(&table.to_string())
    );
    let row = target.row(sql).await.doing(Side::Target, "read the planned ranges")?;
    // The last range is open to the end of the table.
    Ok(row.is_some_and(|r| r.text(0) == "1" && r.text(1) == "0"))
}

/// The statement that says that a table was copied when it was empty.
pub(crate) fn born_copied(name: &LedgerName, table: &TableName) -> String {
    format!(
        "INSERT INTO highwater.ranges (move_name, table_name, number, row_count, done_at) VALUES ('{}', {}, 0, 0, NOW(3))",
        name.move_name,
        quote_text(&table.to_string())
    )
}

/// The statement that forgets a table's ranges.
pub(crate) fn forgotten(name: &LedgerName, table: &TableName) -> String {
    format!(
        "DELETE FROM highwater.ranges WHERE move_name='{}' AND table_name={}",
        name.move_name,
        quote_text(&table.to_string())
    )
}

/// The statement that gives a table's ranges to another name.
pub(crate) fn renamed(name: &LedgerName, from: &TableName, to: &TableName) -> String {
    format!(
        "UPDATE highwater.ranges SET table_name={} WHERE move_name='{}' AND table_name={}",
        quote_text(&to.to_string()),
        name.move_name,
        quote_text(&from.to_string())
    )
}

/// A bound is stored as its literals, each after its length in decimal and a colon; as a hexadecimal literal, since
/// literals hold quotes.
pub(super) fn encode_bound(bound: Option<&[Vec<u8>]>) -> String {
    let Some(literals) = bound else { return "NULL".into() };
    let mut bytes = Vec::new();
    for literal in literals {
        bytes.extend_from_slice(format!("{}:", literal.len()).as_bytes());
        bytes.extend_from_slice(literal);
    }
    quote_bytes(&bytes)
}

/// # Errors
/// If it is no bound of the table: a literal for each column of the key.
fn decode_bound(stored: &[u8], table: &Table) -> Result<Vec<Vec<u8>>> {
    let mut rest = stored;
    let mut literals = Vec::new();
    while let Some((literal, tail)) = decode_literal(rest) {
        literals.push(literal.to_vec());
        rest = tail;
    }
    if rest.is_empty() && literals.len() == table.key.len() {
        return Ok(literals);
    }
    Err(MoveError::Refused {
        what: format!(
            "highwater.ranges holds a bound of {} that does not fit its key: {}",
            table.name,
            stored.escape_ascii()
        ),
        hint: "its copy cannot go on: drop the table on the target, run `highwater finish` and copy again"
            .into(),
    })
}

fn decode_literal(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = stored.iter().position(|&b| b == b':')?;
    let len = std::str::from_utf8(&stored[..colon]).ok()?.parse().ok()?;
    stored[colon + 1..].split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Column, ColumnKind, GtidSet};
    use mysql::{ConnectOptions, Password};
    use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions};

    use super::super::{Claim, begin, create, planning_ended};
    use super::*;

    fn table() -> Table {
        let column = |name: &str| Column {
            name: name.to_owned(),
            kind: ColumnKind::Integer { unsigned: false },
            type_text: "int".into(),
            charset: None,
            generated: false,
        };
        Table {
            name: TableName::new("app", "pair"),
            source_schema: "app".into(),
            columns: vec![column("a"), column("b")],
            key: vec![0, 1],
        }
    }

    #[test]
    fn planning_goes_on_where_the_last_range_ended_before_it_was_cut() {
        let range = |number: i32, low: &str, high: &str| {
            let bound = |b: &str| (!b.is_empty()).then(|| vec![b.as_bytes().to_vec()]);
            PlannedRange {
                number,
                range: KeyRange { low: bound(low), high: bound(high) },
                done: true,
                rows: 1,
            }
        };
        let check = |known: &[PlannedRange], number, low: &str| {
            let (next, from) = end_of_plan(known);
            let low = (!low.is_empty()).then(|| vec![low.as_bytes().to_vec()]);
            assert_eq!((next, from), (number, low));
        };
        check(&[], 0, "");
        check(&[range(0, "", "5"), range(1, "5", "9")], 2, "9");
        check(&[range(0, "", "5"), range(1, "5", "")], 2, "");
        // The last one was cut at 6 and what was split off at 7; the one before at 2.
        let known = [
            range(-3, "7", "9"),
            range(-2, "6", "7"),
            range(-1, "2", "5"),
            range(0, "", "2"),
            range(1, "5", "6"),
        ];
        check(&known, 2, "9");
        check(&[range(-1, "5", ""), range(0, "", "5")], 1, "");
    }

    #[test]
    fn bounds_survive_storage_whatever_they_hold() {
        let bound = vec![b"-1".to_vec(), b"_utf8mb4'a:\\'3:'".to_vec()];
        let stored = encode_bound(Some(&bound));
        let hex = stored.trim_start_matches("x'").trim_end_matches('\'');
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        assert_eq!(decode_bound(&bytes, &table()).unwrap(), bound);
        assert_eq!(encode_bound(None), "NULL");
    }

    #[tokio::test]
    async fn only_the_planner_of_now_plans() {
        let target = Node::start(&Mysqld::find().unwrap(), NodeOptions::new("target")).unwrap();
        let admin =
            ConnectOptions::new("127.0.0.1", target.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD));
        let mut target = Connection::connect(&admin).await.unwrap();
        let name = LedgerName { move_name: "app".into(), source_uuid: "a".repeat(36) };
        create(&mut target).await.unwrap();
        begin(&mut target, &name, &GtidSet::default()).await.unwrap();
        let range = |number| [PlannedRange { number, range: KeyRange::default(), done: false, rows: 0 }];
        let before = Claim::take(&mut target, &name, 2).await.unwrap().planner();
        plan(&mut target, &before, &table(), &range(0)).await.unwrap();

        let now = Claim::take(&mut target, &name, 2).await.unwrap().planner();
        let refused = plan(&mut target, &before, &table(), &range(1)).await.unwrap_err();
        assert!(refused.to_string().contains("has taken this move over"), "{refused}");
        plan(&mut target, &now, &table(), &range(2)).await.unwrap();

        target.execute(planning_ended(&name)).await.unwrap();
        let (late, table) = (range(3), table());
        let waits = plan(&mut target, &now, &table, &late);
        assert!(tokio::time::timeout(Duration::from_secs(1), waits).await.is_err(), "planning had ended");
        let planned = planned(&mut target, &name, &table).await.unwrap();
        assert_eq!(planned.iter().map(|p| p.number).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_bound_of_another_key_is_an_error() {
        for stored in ["", "1:7", "1:71:81:9", "1:71:8 ", "1:71:", "1:7-1:8", "1:79999999999999999999:8", ":"]
        {
            let error = decode_bound(stored.as_bytes(), &table()).unwrap_err();
            assert!(error.to_string().contains("does not fit its key"), "{stored}: {error}");
        }
    }
}
