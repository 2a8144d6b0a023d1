//! The decoders of this crate that nobody else may call, for the fuzz targets of `crates/fuzz`.
//!
//! Not behind a feature: that would build the crate, and all that depends on it, once more for the tests. Nothing here
//! does anything of its own.

use model::{GtidSet, Table, TableName};
use wire::binlog::QueryEvent;

use crate::check::grants::Grants;
use crate::ddl::Scope;
use crate::json;
use crate::plan::{MoveSpec, Renames, TablePattern};
use crate::schema::statement::{CreateTable, split_event};

/// What a logged statement means to a move of `shop.*` and `other.t`, which is `another.t` on the target.
pub fn statement(query: &QueryEvent) -> [String; 2] {
    let pattern = |schema: &str, table: Option<&str>| TablePattern {
        schema: schema.to_owned(),
        table: table.map(str::to_owned),
    };
    let renames = Renames::new([("other".to_owned(), "another".to_owned())]);
    let tables = [("shop", "t"), ("shop", "a b"), ("other", "t")].map(|(schema, table)| Table {
        name: renames.table_on_target(&TableName::new(schema, table)),
        source_schema: schema.to_owned(),
        columns: Vec::new(),
        key: Vec::new(),
    });
    let tables_moved = vec![pattern("shop", None), pattern("other", Some("t"))];
    let spec = MoveSpec { name: "m".to_owned(), tables: tables_moved, renames };
    [false, true].map(|lower_case| {
        let scope = Scope::of_source(&spec, &tables, lower_case);
        format!("{:?}", scope.meaning(query, 1))
    })
}

/// Takes a CREATE TABLE apart and puts it together again; `None` if it cannot be.
pub fn create_table(text: &[u8]) -> Option<Vec<u8>> {
    let parts = CreateTable::parse(text)?;
    parts.auto_increment();
    parts.items.iter().for_each(|item| drop(item.index()));
    Some(parts.as_created(|_| true))
}

/// Takes a CREATE EVENT apart; the parts are of the text.
pub fn create_event(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split_event(text).map(|(before, _, after)| (before, after))
}

/// A JSON document by its text and the letters of its types, as an expression that stores it.
pub fn json_by_letters(text: &[u8], letters: &[u8]) -> Option<Vec<u8>> {
    json::is_plain(letters);
    let document = json::parse(text, letters).ok()?;
    let mut out = Vec::new();
    json::write(&mut out, &document).ok().map(|()| out)
}

/// What SHOW GRANTS says, line by line.
pub fn grants(text: &str) -> String {
    format!("{:?}", Grants::parse(text.lines()))
}

/// A set of GTIDs as a server writes it into a result or our ledger.
pub fn gtid_set(text: &str) -> Option<GtidSet> {
    crate::ledger::parse_set(text).ok()
}
