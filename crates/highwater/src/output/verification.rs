//! What a comparison of a move's rows has found, for people.

use std::path::Path;

use migrate::{TableVerdict, Verification};

use super::table::{grouped, lined_up};
use crate::proof_file::{Comparison, Since};

/// Keys shown per table.
const KEYS_SHOWN: usize = 10;

/// The report as text, ending in a line break.
pub fn render(move_name: &str, found: &Verification) -> String {
    let mut text = format!("move {move_name}: {}\n", outcome(found));
    let header = ["table", "rows", "ranges", "differing"].map(str::to_owned);
    let table =
        |t: &TableVerdict| [t.table.to_string(), grouped(t.rows), grouped(t.ranges), grouped(t.different)];
    let ranges = found.tables.iter().map(|t| t.ranges).sum();
    let total = ["total".to_owned(), grouped(found.rows), grouped(ranges), grouped(found.different)];
    let rows = std::iter::once(header).chain(found.tables.iter().map(table)).chain([total]);
    text.push_str(&lined_up(rows));
    for table in found.tables.iter().filter(|t| t.different > 0) {
        text.push_str(&format!("{} differs at {}\n", table.table, keys(table)));
    }
    for table in &found.left_out {
        text.push_str(&format!(
            "{table} was left out: it has no key that says which of its rows are the newest\n"
        ));
    }
    match (found.keys_in_flight, found.newest) {
        (0, _) => {}
        (keys, None) => text.push_str(&format!(
            "{} keys were written to since, and are proven again all the time\n",
            grouped(keys)
        )),
        (keys, Some(_)) => text.push_str(&format!(
            "{} keys were written to all the time, and could not be compared\n",
            grouped(keys)
        )),
    }
    text.push_str(&format!("as of {}, in {:.1} s\n", found.as_of, found.seconds));
    text
}

fn outcome(found: &Verification) -> String {
    match (found.different, found.newest) {
        (0, None) => "every row is equal".to_owned(),
        (0, Some(newest)) => {
            format!("the newest {} rows of each table are equal; others were not compared", grouped(newest))
        }
        (different, None) => format!("NOT EQUAL, {} rows differ", grouped(different)),
        (different, Some(newest)) => {
            format!(
                "NOT EQUAL, {} of the newest {} rows of each table differ",
                grouped(different),
                grouped(newest)
            )
        }
    }
}

/// Keys are named, since they are what was asked for; other values are not.
fn keys(table: &TableVerdict) -> String {
    let shown: Vec<_> = table.keys.iter().take(KEYS_SHOWN).map(|key| format!("({key})")).collect();
    let more = if table.different > shown.len() as u64 { " …" } else { "" };
    // A terminal must not be told what to do by a key.
    let plain = |c: &char| !c.is_control();
    shown.join(" ").chars().filter(plain).collect::<String>() + more
}

/// What the pass says of an earlier proof, as text that ends in a line break.
pub fn render_comparison(file: &Path, comparison: &Comparison) -> String {
    let header = ["table", "rows then", "rows now", "since the proof"].map(str::to_owned);
    let rows = |rows: Option<u64>| rows.map(grouped).unwrap_or_default();
    let table = |t: &crate::proof_file::ComparedTable| {
        [t.table.to_string(), rows(t.rows_then), rows(t.rows_now), said(t.verdict).to_owned()]
    };
    let mut text = format!("against {}\n", file.display());
    text.push_str(&lined_up(std::iter::once(header).chain(comparison.tables.iter().map(table))));
    if !comparison.same_stream {
        text.push_str(
            "the proof's position is not among what is applied now: traffic has moved to the other side since, or \
             the proof is of other servers\n",
        );
    }
    text
}

fn said(verdict: Since) -> &'static str {
    match verdict {
        Since::Same => "same",
        Since::MayHaveChanged => "may have changed",
        Since::Different => "NOT THE SAME",
        Since::New => "not in the proof",
        Since::Gone => "not in the move",
    }
}

#[cfg(test)]
mod tests {
    use model::{GtidSet, TableName};

    use super::*;
    use crate::proof_file::ComparedTable;

    fn table(name: &str, rows: u64, keys: &[&str]) -> TableVerdict {
        let mut verdict = TableVerdict::new(TableName::new("shop", name));
        (verdict.rows, verdict.ranges) = (rows, 2);
        keys.iter().for_each(|key| verdict.differs(key.as_bytes()));
        verdict
    }

    fn found(newest: Option<u64>, tables: Vec<TableVerdict>) -> Verification {
        Verification {
            rows: tables.iter().map(|t| t.rows).sum(),
            different: tables.iter().map(|t| t.different).sum(),
            as_of: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap(),
            keys_in_flight: 3,
            seconds: 12.34,
            watched_since: GtidSet::default(),
            newest,
            left_out: Vec::new(),
            tables,
        }
    }

    #[test]
    fn verification_reads_as_a_table() {
        let expected = "\
move shop: every row is equal
  table           rows  ranges  differing
  shop.orders  123,456       2          0
  shop.items         7       2          0
  total        123,463       4          0
3 keys were written to since, and are proven again all the time
as of 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5, in 12.3 s
";
        let equal = found(None, vec![table("orders", 123_456, &[]), table("items", 7, &[])]);
        assert_eq!(render("shop", &equal), expected);
    }

    #[test]
    fn first_keys_that_differ_are_shown_and_a_spot_check_says_that_it_is_one() {
        let keys: Vec<String> = (1..=12).map(|n| format!("{n},_latin1'\x1bk'")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut spot = found(Some(1000), vec![table("orders", 99, &keys), table("items", 7, &["5"])]);
        spot.left_out.push(TableName::new("shop", "journal"));
        let text = render("shop", &spot);
        for line in [
            "move shop: NOT EQUAL, 13 of the newest 1,000 rows of each table differ\n",
            "shop.orders differs at (1,_latin1'k') (2,_latin1'k') ",
            "(10,_latin1'k') …\n",
            "shop.items differs at (5)\n",
            "shop.journal was left out: it has no key",
            "3 keys were written to all the time, and could not be compared\n",
        ] {
            assert!(text.contains(line), "no {line:?} in {text}");
        }
    }

    #[test]
    fn comparison_with_a_proof_reads_as_a_table() {
        let table = |name: &str, then, now, verdict| ComparedTable {
            table: TableName::new("shop", name),
            rows_then: then,
            rows_now: now,
            verdict,
        };
        let tables = vec![
            table("orders", Some(1000), Some(1001), Since::MayHaveChanged),
            table("items", Some(5), Some(5), Since::Same),
            table("new", None, Some(1), Since::New),
        ];
        let expected = "\
against proof.json
  table        rows then  rows now   since the proof
  shop.orders      1,000     1,001  may have changed
  shop.items           5         5              same
  shop.new                       1  not in the proof
";
        let comparison = Comparison { tables, same_stream: true };
        assert_eq!(render_comparison(Path::new("proof.json"), &comparison), expected);
    }
}
