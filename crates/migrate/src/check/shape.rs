//! Whether the moved tables can be carried exactly: that they exist, have a key, and hold only what the stream can say.

use std::collections::BTreeMap;

use model::quote_ident;

use super::TargetState;
use super::facts::{Facts, ForeignKey, TableFacts};
use super::grants::Scope;
use super::report::{Outcome, Side};
use super::rule::{
    Acceptance, Judge, Judged, Rule, Unread, counted, listed, passed, refused, statements, warned,
};
use super::schema_reading::reserved;

const fn rule(name: &'static str, side: Side, judge: fn(&Facts) -> Judged, why: &'static str) -> Rule {
    Rule { name, judge: Judge::On(side, judge), acceptance: Acceptance::Never, unread: Outcome::Refused, why }
}

pub(super) const RULES: &[Rule] = &[
    rule("tables-exist", Side::Source, tables_exist, "a misspelt name would leave a table behind in silence"),
    rule(
        "target-tables",
        Side::Target,
        target_tables,
        "rows that were there before the copy make the target differ from the source; they are never overwritten",
    ),
    rule("storage-engine", Side::Source, storage_engine, "only InnoDB commits rows together with the log and the ledger"),
    rule("row-key", Side::Source, row_key, "without a key a row of the stream cannot be told from an equal one"),
    rule("column-types", Side::Source, column_types, "a value the stream cannot carry exactly would arrive changed"),
    rule("collations", Side::Target, collations, "the target cannot create a column whose collation it does not know"),
    rule(
        "foreign-key-actions",
        Side::Source,
        foreign_key_actions,
        "what a foreign key deletes or changes by itself is not in the binary log before MySQL 9.6, and in a later one it \
         depends on innodb_native_foreign_keys: the target would keep rows the source has lost",
    ),
    rule(
        "foreign-keys-inside",
        Side::Source,
        foreign_keys_inside,
        "one end of the key would be on the other server, where nothing enforces it",
    ),
    rule("hidden-keys", Side::Source, hidden_keys, "columns hidden from the metadata are in the binary log all the same"),
    Rule {
        name: "generated-columns",
        judge: Judge::On(Side::Both, generated_columns),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "the target computes them anew, and functions may differ between versions; verify compares them",
    },
    Rule {
        name: "partitions",
        judge: Judge::On(Side::Source, partitions),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "partitioned tables move like others; statements that change partitions stop the stream",
    },
    Rule {
        name: "data-size",
        judge: Judge::On(Side::Both, data_size),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "a target that runs full stops the move",
    },
];

fn tables(facts: &Facts) -> Result<&[TableFacts], Unread> {
    facts.schema.tables.as_deref().map_err(Clone::clone)
}

fn tables_exist(facts: &Facts) -> Judged {
    let tables = tables(facts)?;
    let own: Vec<_> = facts.spec.schemas().into_iter().filter(|s| reserved(s)).collect();
    if !own.is_empty() {
        return refused(
            format!("the servers' own schemas do not move: {}", listed(&own)),
            "take them out of `tables` in highwater.toml",
        );
    }
    let unmatched = &facts.schema.unmatched;
    if unmatched.is_empty() && !tables.is_empty() {
        return passed(counted(tables.len(), "table"));
    }
    let evidence = unmatched.iter().map(|u| {
        let kind = if u.is_view { " (a view)" } else { "" };
        format!("unknown table in a move: {}{kind}", u.pattern)
    });
    let fixes = unmatched.iter().map(|u| match &u.nearest {
        Some(nearest) => format!("write {nearest} in place of {} in highwater.toml", u.pattern),
        None => format!("take {} out of highwater.toml: our account sees no table on the source", u.pattern),
    });
    match unmatched.is_empty() {
        true => refused("the move names no table", "add `tables` to the move in highwater.toml"),
        false => refused(listed(evidence), statements(fixes)),
    }
}

fn target_tables(facts: &Facts) -> Judged {
    let there = facts.there.tables.as_ref().map_err(Clone::clone)?;
    match facts.state {
        TargetState::Fresh if there.is_empty() => passed("none of the tables is there yet"),
        TargetState::Fresh => refused(
            format!("already there: {}", listed(there)),
            statements(there.iter().map(|t| {
                let aside = format!("{}.{}", quote_ident(&t.schema), quote_ident(&format!("{}_before_move", t.table)));
                format!("RENAME TABLE {} TO {aside};  -- or drop it, if nobody needs it", t.quoted())
            })),
        ),
        TargetState::Underway => {
            let missing: Vec<_> = tables(facts)?.iter().map(|t| &t.name).filter(|n| !there.contains(n)).collect();
            if missing.is_empty() {
                return passed(format!("all {} are there", there.len()));
            }
            refused(
                format!("gone from the target: {}", listed(missing)),
                "run `highwater finish`, then copy again: what was in them cannot be streamed",
            )
        }
    }
}

fn storage_engine(facts: &Facts) -> Judged {
    let other: Vec<_> = tables(facts)?.iter().filter(|t| !t.engine.eq_ignore_ascii_case("InnoDB")).collect();
    if other.is_empty() {
        return passed("all InnoDB");
    }
    refused(
        listed(other.iter().map(|t| format!("{} ({})", t.name, t.engine))),
        statements(other.iter().map(|t| format!("ALTER TABLE {} ENGINE = InnoDB;", t.name.quoted()))),
    )
}

/// Whether the copy can find every row by a key: all of its parts whole, stored, NOT NULL columns of exact types.
fn has_row_key(table: &TableFacts) -> bool {
    table.keys.iter().any(|key| {
        key.iter().all(|part| {
            let column = table.columns.iter().find(|c| Some(&c.name) == part.column.as_ref());
            let exact = column.is_some_and(|c| !c.generated && !matches!(c.data_type.as_str(), "float" | "double"));
            exact && !part.prefix && !part.nullable
        })
    })
}

fn row_key(facts: &Facts) -> Judged {
    let keyless: Vec<_> = tables(facts)?.iter().filter(|t| !has_row_key(t)).collect();
    if keyless.is_empty() {
        return passed("every table has a primary key, or a unique key over NOT NULL columns");
    }
    refused(
        format!("no usable key: {}", listed(keyless.iter().map(|t| &t.name))),
        statements(keyless.iter().map(|t| key_to_add(t))),
    )
}

fn key_to_add(table: &TableFacts) -> String {
    let alter = format!("ALTER TABLE {}", table.name.quoted());
    let has_primary = table.keys.iter().flatten().any(|p| !p.nullable) && !table.keys.is_empty();
    match table.columns.iter().find(|c| c.auto_increment) {
        Some(column) => format!("{alter} ADD UNIQUE KEY ({});  -- and make it NOT NULL", quote_ident(&column.name)),
        None if has_primary => {
            format!("{alter} ADD COLUMN move_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE UNIQUE;")
        }
        None => format!("{alter} ADD COLUMN move_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY;"),
    }
}

/// Types the stream carries exactly. Anything else is refused by name, GEOMETRY and VECTOR among them.
const CARRIED: &[&str] = &[
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "bit", "year", "date", "time",
    "datetime", "timestamp", "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "binary", "varbinary",
    "tinyblob", "blob", "mediumblob", "longblob", "enum", "set", "json",
];

fn column_types(facts: &Facts) -> Judged {
    let mut refusals = Vec::new();
    let mut columns = 0;
    for table in tables(facts)? {
        columns += table.columns.len();
        for column in table.columns.iter().filter(|c| !CARRIED.contains(&c.data_type.as_str())) {
            refusals.push(format!("{}.{} ({})", table.name, column.name, column.data_type));
        }
    }
    if refusals.is_empty() {
        return passed(counted(columns, "column"));
    }
    refused(listed(&refusals), "leave these tables out of the move until their types are supported")
}

fn collations(facts: &Facts) -> Judged {
    let known = facts.there.collations.as_ref().map_err(Clone::clone)?;
    let mut used: BTreeMap<&str, &TableFacts> = BTreeMap::new();
    for table in tables(facts)? {
        let columns = table.columns.iter().filter_map(|c| c.collation.as_deref());
        for collation in columns.chain([table.collation.as_str()]).filter(|c| !c.is_empty()) {
            used.entry(collation).or_insert(table);
        }
    }
    let unknown: Vec<_> = used.iter().filter(|(name, _)| !known.contains(**name)).collect();
    if unknown.is_empty() {
        return passed(format!("the target knows all {} in use", used.len()));
    }
    refused(
        listed(unknown.iter().map(|(collation, table)| format!("{collation} (of {})", table.name))),
        "upgrade the target to a version that has them, or ALTER TABLE ... CONVERT TO CHARACTER SET ... COLLATE ...;",
    )
}

fn foreign_keys(facts: &Facts) -> Result<&[ForeignKey], Unread> {
    facts.schema.foreign_keys.as_deref().map_err(Clone::clone)
}

fn drop_key(key: &ForeignKey) -> String {
    format!("ALTER TABLE {} DROP FOREIGN KEY {};", key.child.quoted(), quote_ident(&key.name))
}

fn foreign_key_actions(facts: &Facts) -> Judged {
    let acts = |rule: &str| !matches!(rule, "RESTRICT" | "NO ACTION");
    let all = foreign_keys(facts)?;
    let acting: Vec<_> = all.iter().filter(|k| acts(&k.on_delete) || acts(&k.on_update)).collect();
    if acting.is_empty() {
        return passed(format!("{}, none that changes rows by itself", counted(all.len(), "foreign key")));
    }
    let shown = |k: &ForeignKey| {
        format!("{} of {} (ON DELETE {}, ON UPDATE {})", k.name, k.child, k.on_delete, k.on_update)
    };
    let again = |k: &ForeignKey| {
        format!("{}  -- then ADD it again with ON DELETE RESTRICT ON UPDATE RESTRICT", drop_key(k))
    };
    refused(listed(acting.iter().map(|k| shown(k))), statements(acting.iter().map(|k| again(k))))
}

fn foreign_keys_inside(facts: &Facts) -> Judged {
    let all = foreign_keys(facts)?;
    let takes = |name: &model::TableName| facts.spec.takes(&name.schema, &name.table);
    let leaving: Vec<_> = all.iter().filter(|k| takes(&k.child) != takes(&k.parent)).collect();
    if !leaving.is_empty() {
        let outside = |k: &ForeignKey| if takes(&k.child) { k.parent.to_string() } else { k.child.to_string() };
        return refused(
            listed(leaving.iter().map(|k| format!("{} from {} to {}", k.name, k.child, k.parent))),
            statements(leaving.iter().map(|k| format!("add {} to the move, or: {}", outside(k), drop_key(k)))),
        );
    }
    let evidence = format!("{}, both ends of each in the move", counted(all.len(), "foreign key"));
    // Keys of tables our account cannot see are not listed.
    let grants = facts.source.grants.as_ref().map_err(Clone::clone)?;
    if grants.has("SELECT", Scope::Server) {
        return passed(evidence);
    }
    warned(
        format!("{evidence}; keys of schemas our account cannot see are not known"),
        format!("GRANT SELECT ON *.* TO {};", facts.source.quoted_account()),
    )
}

fn hidden_keys(facts: &Facts) -> Judged {
    const NAME: &str = "show_gipk_in_create_table_and_information_schema";
    match facts.source.variables.find(NAME) {
        Some("OFF") => refused(format!("{NAME} = OFF"), format!("SET PERSIST {NAME} = ON;")),
        Some(_) => passed("generated invisible primary keys are shown"),
        None => passed("this version generates no invisible primary keys"),
    }
}

fn generated_columns(facts: &Facts) -> Judged {
    let count = tables(facts)?.iter().flat_map(|t| &t.columns).filter(|c| c.generated).count();
    let (source, target) = (facts.source.version(), facts.target.version());
    let evidence = counted(count, "generated column");
    if count == 0 || (source.0, source.1) == (target.0, target.1) {
        return passed(evidence);
    }
    warned(
        format!("{evidence}; source {source}, target {target}"),
        "run `highwater verify` after the copy: it compares what both servers compute",
    )
}

fn partitions(facts: &Facts) -> Judged {
    let partitioned: Vec<_> = tables(facts)?.iter().filter(|t| t.partitioned).map(|t| &t.name).collect();
    match partitioned.is_empty() {
        true => passed("no partitioned tables"),
        false => passed(format!("partitioned: {}", listed(partitioned))),
    }
}

fn data_size(facts: &Facts) -> Judged {
    let tables = tables(facts)?;
    let bytes: u64 = tables.iter().map(|t| t.bytes).sum();
    let size = size(bytes);
    passed(format!("{size} in {} will be written; free disk space is not told by a server", counted(tables.len(), "table")))
}

/// Bytes as an operator says them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}
