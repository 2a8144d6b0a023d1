//! A WHERE clause that keeps a statement on a bag from hashing every row of it, and lets an index serve it.

use std::collections::BTreeSet;

use model::{Column, ColumnKind, Table, quote_ident};

use crate::literal::{Key, literals};

/// Bytes of all literals listed: bounds the statement, and longer lists would cost more than the hashing they save.
const LIST_BYTES_MAX: usize = 512 << 10;

/// A condition that every row of these values meets, and perhaps others: each column has one of the literals it has in
/// them. Only what a server surely finds equal is compared: a number, or a text under its column's collation, which finds
/// more than the same bytes equal, but never fewer. `TRUE` if there is nothing to compare.
pub(crate) fn narrow<'a>(table: &Table, values: impl Iterator<Item = &'a Key> + Clone) -> Vec<u8> {
    let mut out = b"TRUE".to_vec();
    let mut left = LIST_BYTES_MAX;
    for (n, i) in table.written().enumerate().filter(|(_, i)| is_plain(&table.columns[*i])) {
        let mut bytes = 0;
        let mut list = BTreeSet::new();
        for literal in values.clone().filter_map(|value| literals(value).nth(n)) {
            if list.insert(literal) {
                bytes += literal.len() + 1;
            }
            if bytes > left {
                break;
            }
        }
        if bytes > left || list.is_empty() {
            continue;
        }
        left -= bytes;
        let name = quote_ident(&table.columns[i].name);
        let null = list.remove(&b"NULL"[..]);
        out.extend_from_slice(b" AND (");
        if !list.is_empty() {
            out.extend_from_slice(format!("{name} IN (").as_bytes());
            out.extend_from_slice(&list.iter().copied().collect::<Vec<_>>().join(&b","[..]));
            out.push(b')');
        }
        if null {
            let or = if list.is_empty() { "" } else { " OR " };
            out.extend_from_slice(format!("{or}{name} IS NULL").as_bytes());
        }
        out.push(b')');
    }
    out
}

fn is_plain(column: &Column) -> bool {
    match column.kind {
        ColumnKind::Integer { .. } | ColumnKind::Decimal | ColumnKind::Text => true,
        ColumnKind::Bytes => column.type_text.starts_with("varbinary"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use model::TableName;

    use super::*;

    fn table() -> Table {
        let column = |name: &str, kind| Column {
            name: name.into(),
            kind,
            type_text: String::new(),
            charset: Some("latin1".into()),
            generated: false,
        };
        let columns = vec![
            column("a", ColumnKind::Integer { unsigned: false }),
            column("j", ColumnKind::Json),
            column("t", ColumnKind::Text),
        ];
        Table { name: TableName::new("s", "t"), source_schema: "s".into(), columns, key: Vec::new() }
    }

    fn check(values: &[&str], expected: &str) {
        let values: Vec<Key> = values.iter().map(|v| v.as_bytes().into()).collect();
        assert_eq!(String::from_utf8(narrow(&table(), values.iter())).unwrap(), expected);
    }

    #[test]
    fn each_column_has_one_of_its_literals_or_null() {
        check(
            &["1,NULL,_latin1'x,y'", "NULL,_utf8mb4'2',_latin1'x,y'", "1,NULL,NULL"],
            "TRUE AND (`a` IN (1) OR `a` IS NULL) AND (`t` IN (_latin1'x,y') OR `t` IS NULL)",
        );
        check(&["NULL,NULL,NULL"], "TRUE AND (`a` IS NULL) AND (`t` IS NULL)");
    }
}
