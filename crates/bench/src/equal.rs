//! Whether two servers hold the same tables: definition, count and checksum of each.

use crate::sql::Sql;
use crate::{Result, failed};

/// A table as one server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    pub table: String,
    pub definition: String,
    pub rows: u64,
    pub checksum: String,
}

/// All base tables of these schemas, in order.
pub fn fingerprints(sql: &mut Sql, schemas: &[&str]) -> Result<Vec<Fingerprint>> {
    let names: Vec<String> = schemas.iter().map(|s| format!("'{s}'")).collect();
    let list = format!(
        "SELECT CONCAT('`',TABLE_SCHEMA,'`.`',TABLE_NAME,'`') FROM information_schema.TABLES \
         WHERE TABLE_TYPE='BASE TABLE' AND TABLE_SCHEMA IN ({}) ORDER BY 1",
        names.join(",")
    );
    let tables: Vec<String> = sql.rows(&list)?.iter().map(|row| row.text(0)).collect();
    tables.into_iter().map(|table| fingerprint(sql, table)).collect()
}

fn fingerprint(sql: &mut Sql, table: String) -> Result<Fingerprint> {
    let definition = sql.rows(&format!("SHOW CREATE TABLE {table}"))?.first().map(|row| row.text(1));
    let rows = sql.text(&format!("SELECT COUNT(*) FROM {table}"))?;
    let checksum = sql.rows(&format!("CHECKSUM TABLE {table}"))?.first().map(|row| row.text(1));
    Ok(Fingerprint {
        definition: without_counter(&definition.unwrap_or_default()),
        rows: rows.parse().map_err(|e| failed(format!("count {table}"), e))?,
        checksum: checksum.unwrap_or_default(),
        table,
    })
}

/// Refuses a result that is not what the source holds, with the first difference.
///
/// `lossy` names schemas in which other values are returned, by table, instead of refused: for tools known to lose
/// some kinds of values, which is worth telling, and no reason to have no figures. Missing rows are always refused.
pub fn refuse_unless_equal(
    who: &str,
    source: &[Fingerprint],
    target: &[Fingerprint],
    lossy: &[&str],
) -> Result<Vec<String>> {
    let different = |why: String| Err(failed(format!("count what {who} did"), why));
    if source.len() != target.len() {
        return different(format!("it left {} tables of {}", target.len(), source.len()));
    }
    let mut lost = Vec::new();
    for (ours, theirs) in source.iter().zip(target) {
        let table = &ours.table;
        if ours.table != theirs.table {
            return different(format!("{table} is missing"));
        } else if ours.definition != theirs.definition {
            return different(format!("{table} is defined differently: {}", theirs.definition));
        } else if ours.rows != theirs.rows {
            return different(format!("{table} has {} rows of {}", theirs.rows, ours.rows));
        } else if ours.checksum != theirs.checksum {
            if !lossy.iter().any(|schema| table.starts_with(&format!("`{schema}`."))) {
                return different(format!("{table} has other rows than the source"));
            }
            lost.push(table.replace('`', ""));
        }
    }
    Ok(lost)
}

/// The counter stands in the definition, but is no part of it: tools differ in whether they carry it over.
fn without_counter(definition: &str) -> String {
    match definition.split_once(" AUTO_INCREMENT=") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}{rest}")
        }
        None => definition.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: u64, checksum: &str) -> Fingerprint {
        let (table, definition) = ("`a`.`b`".to_owned(), "CREATE TABLE `b`".to_owned());
        Fingerprint { table, definition, rows, checksum: checksum.to_owned() }
    }

    #[track_caller]
    fn refused(target: &[Fingerprint], why: &str) {
        let said = refuse_unless_equal("clone", &[table(3, "77")], target, &["x"]).unwrap_err().what;
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn a_table_that_lacks_rows_or_has_others_or_is_missing_does_not_count() {
        refused(&[table(2, "77")], "has 2 rows of 3");
        refused(&[table(3, "78")], "other rows");
        refused(&[], "0 tables of 1");
        let other = Fingerprint { definition: "CREATE TABLE `b` (KEY)".into(), ..table(3, "77") };
        refused(&[other], "defined differently");
        let equal = refuse_unless_equal("clone", &[table(3, "77")], &[table(3, "77")], &[]);
        assert!(equal.unwrap().is_empty());
    }

    #[test]
    fn values_a_tool_is_known_to_lose_are_told_and_missing_rows_still_refused() {
        let compare = |target| refuse_unless_equal("mysqldump", &[table(3, "77")], &[target], &["a"]);
        assert_eq!(compare(table(3, "78")).unwrap(), ["a.b"]);
        assert!(compare(table(2, "78")).is_err());
    }

    #[test]
    fn the_counter_is_no_part_of_a_definition() {
        let with = "CREATE TABLE `t` (...) ENGINE=InnoDB AUTO_INCREMENT=250001 DEFAULT CHARSET=utf8mb4";
        assert_eq!(without_counter(with), "CREATE TABLE `t` (...) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4");
        assert_eq!(without_counter("CREATE TABLE `t`"), "CREATE TABLE `t`");
    }
}
