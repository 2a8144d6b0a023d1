//! The statements that read rows: which columns, in which form, of which range or keys.

use model::{Column, ColumnKind, Table, quote_ident};

use crate::json;
use crate::literal::{Key, literals};

/// A stretch of a table in key order, as the source orders keys: above `low`, up to and including `high`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The literals of the key below the first one; `None` from the start of the table.
    pub low: Option<Vec<Vec<u8>>>,
    /// The literals of the last key; `None` to the end of the table.
    pub high: Option<Vec<Vec<u8>>>,
}

/// The form in which a column is read: FLOAT in full (its plain text has six digits; adding 0 would lose the sign of
/// -0), BIT, ENUM and SET by number.
fn expression(column: &Column) -> String {
    let name = quote_ident(&column.name);
    match column.kind {
        ColumnKind::Float => format!("{name}*1e0"),
        ColumnKind::Bit | ColumnKind::Enum | ColumnKind::Set => format!("{name}+0"),
        _ => name,
    }
}

/// The select list of whole rows: every written column, by name. Never `SELECT *`, which leaves out invisible columns.
/// A JSON column takes two: its text, and the types of its values.
pub fn row_list(table: &Table) -> String {
    let mut list = Vec::new();
    for column in table.written().map(|i| &table.columns[i]) {
        list.push(expression(column));
        if column.kind == ColumnKind::Json {
            list.push(json::types_of(&quote_ident(&column.name)));
        }
    }
    list.join(", ")
}

/// [`row_list`], and after it the generated columns, which are the server's own work and may differ as well.
pub fn whole_row_list(table: &Table) -> String {
    let mut list = row_list(table);
    for column in table.columns.iter().filter(|c| c.generated) {
        list.push_str(", ");
        list.push_str(&expression(column));
        if column.kind == ColumnKind::Json {
            list.push_str(", ");
            list.push_str(&json::types_of(&quote_ident(&column.name)));
        }
    }
    list
}

/// The select list of keys.
pub fn key_list(table: &Table) -> String {
    let list: Vec<_> = table.key.iter().map(|&i| expression(&table.columns[i])).collect();
    list.join(", ")
}

/// Names the hashes of rows ([`crate::RowSum`], and the one below for tables without a key) and how they are combined: sums
/// made by others cannot be compared with ours.
pub const ROW_HASH: &str = "sha2-256, first 64 bits, summed; exact values with lengths, 2";

/// A 64-bit hash over a row's exact values, generated columns included. Every value goes in with its length, so that
/// no two rows run together into the same text, and as bytes, so that no collation merges them.
/// SHA2 because MySQL 9.6 took MD5 and SHA1 out of the server. Whoever changes it gives [`ROW_HASH`] another number.
pub fn row_hash(table: &Table) -> String {
    let parts = exact_bytes(table.columns.iter());
    format!("CAST(CONV(LEFT(SHA2(CONCAT({parts}),256),16),16,10) AS UNSIGNED)")
}

/// What tells the rows of a bag apart: SHA-256, in hexadecimal, of the exact values a row was written with.
pub fn row_digest(table: &Table) -> String {
    format!("SHA2(CONCAT({}),256)", exact_bytes(table.written().map(|i| &table.columns[i])))
}

/// The arguments of a CONCAT that is the same for two rows only if these columns are.
fn exact_bytes<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    let parts: Vec<_> = columns
        .map(|c| {
            let value = match c.kind {
                // The text does not tell a DECIMAL from a DOUBLE, or a date from a string: the types go in as well.
                ColumnKind::Json => {
                    let name = expression(c);
                    let types = json::types_of(&name);
                    format!("CONCAT(CAST(CAST({name} AS CHAR CHARACTER SET utf8mb4) AS BINARY),{types})")
                }
                _ => format!("CAST({} AS BINARY)", expression(c)),
            };
            format!("IFNULL(LENGTH({value}),'-'),':',IFNULL({value},'')")
        })
        .collect();
    parts.join(",")
}

/// The WHERE clause of a range, beginning with a space; empty for the whole table.
pub fn in_range(table: &Table, range: &KeyRange) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(low) = &range.low {
        out.extend_from_slice(b" WHERE (");
        after(table, low, &mut out);
        out.push(b')');
    }
    if let Some(high) = &range.high {
        // "Not after": the same comparison negated, so that both bounds agree on every key.
        out.extend_from_slice(if out.is_empty() { b" WHERE NOT (" } else { b" AND NOT (" });
        after(table, high, &mut out);
        out.push(b')');
    }
    out
}

/// `a > x OR (a = x AND (b > y OR ...))`. The row constructor `(a, b) > (x, y)` would say the same, but the server
/// reads the whole index for it.
fn after(table: &Table, bound: &[Vec<u8>], out: &mut Vec<u8>) {
    for (i, literal) in bound.iter().enumerate() {
        let name = quote_ident(&table.columns[table.key[i]].name);
        let last = i + 1 == bound.len();
        out.extend_from_slice(format!("{name} > ").as_bytes());
        out.extend_from_slice(literal);
        if !last {
            out.extend_from_slice(format!(" OR ({name} = ").as_bytes());
            out.extend_from_slice(literal);
            out.extend_from_slice(b" AND (");
        }
    }
    for _ in 1..bound.len() {
        out.extend_from_slice(b"))");
    }
}

/// How many keys a statement may name. An IN list is looked up key by key, however long it is; of the conditions a key of
/// several columns needs, the optimizer builds and merges a tree, in more than linear time.
pub fn keys_per_statement(table: &Table) -> usize {
    if table.key.len() == 1 { 5_000 } else { 500 }
}

/// The WHERE clause of these keys, beginning with a space. `keys` must not be empty.
///
/// A key of several columns is compared column by column. The row form `(a, b) IN ((1, 2))` compares an ENUM with a
/// number as texts and finds nothing (seen on MySQL 9.7.4).
pub fn in_keys<'a>(table: &Table, keys: impl IntoIterator<Item = &'a Key>) -> Vec<u8> {
    let names: Vec<String> = table.key.iter().map(|&i| quote_ident(&table.columns[i].name)).collect();
    let mut out = b" WHERE ".to_vec();
    if let [name] = names.as_slice() {
        out.extend_from_slice(format!("{name} IN (").as_bytes());
        for (i, key) in keys.into_iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(literals(key).next().unwrap_or_default());
        }
        out.push(b')');
        return out;
    }
    for (i, key) in keys.into_iter().enumerate() {
        out.extend_from_slice(if i > 0 { b" OR (" } else { b"(" });
        for (n, (name, literal)) in names.iter().zip(literals(key)).enumerate() {
            if n > 0 {
                out.extend_from_slice(b" AND ");
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(literal);
        }
        out.push(b')');
    }
    out
}

#[cfg(test)]
mod tests {
    use model::TableName;

    use super::*;

    fn table(key: &[&str]) -> Table {
        let columns = key
            .iter()
            .map(|name| Column {
                name: (*name).to_owned(),
                kind: ColumnKind::Integer { unsigned: false },
                type_text: "int".into(),
                charset: None,
                generated: false,
            })
            .collect();
        Table {
            name: TableName::new("s", "t"),
            source_schema: "s".into(),
            columns,
            key: (0..key.len()).collect(),
        }
    }

    fn check(key: &[&str], low: Option<&[&str]>, high: Option<&[&str]>, expected: &str) {
        let literals = |b: &[&str]| b.iter().map(|s| s.as_bytes().to_vec()).collect();
        let range = KeyRange { low: low.map(literals), high: high.map(literals) };
        assert_eq!(String::from_utf8(in_range(&table(key), &range)).unwrap(), expected);
    }

    #[test]
    fn ranges_exclude_their_low_and_include_their_high_key() {
        check(&["a"], None, None, "");
        check(&["a"], Some(&["1"]), None, " WHERE (`a` > 1)");
        check(&["a"], None, Some(&["9"]), " WHERE NOT (`a` > 9)");
        check(
            &["a", "b"],
            Some(&["1", "2"]),
            Some(&["3", "4"]),
            " WHERE (`a` > 1 OR (`a` = 1 AND (`b` > 2))) AND NOT (`a` > 3 OR (`a` = 3 AND (`b` > 4)))",
        );
    }

    #[test]
    fn keys_of_several_columns_are_compared_column_by_column() {
        let keys: Vec<Key> = vec![b"1,2"[..].into(), b"3,4"[..].into()];
        let sql = String::from_utf8(in_keys(&table(&["a", "b"]), &keys)).unwrap();
        assert_eq!(sql, " WHERE (`a`=1 AND `b`=2) OR (`a`=3 AND `b`=4)");
    }
}
