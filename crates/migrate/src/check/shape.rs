//! Whether the moved tables can be carried exactly: that they exist, have a key, and are InnoDB.

use model::{TableName, quote_ident};

use super::TargetState;
use super::facts::{Facts, TableFacts};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, counted, listed, passed, refused, statements, warned};
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
    rule(
        "storage-engine",
        Side::Source,
        storage_engine,
        "only InnoDB commits rows together with the log and the ledger",
    ),
    Rule {
        name: "row-key",
        judge: Judge::On(Side::Source, row_key),
        acceptance: Acceptance::Operator,
        unread: Outcome::Refused,
        why: "a table without a key is copied and compared from one long snapshot, during which the source keeps old row \
              versions, and without any index each batch of its updates and deletes reads the whole table",
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
        judge: Judge::On(Side::Target, data_size),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "a target that runs full stops the move",
    },
];

fn tables_exist(facts: &Facts) -> Judged {
    let tables = facts.schema.tables()?;
    let mut own: Vec<_> = facts.moved(Side::Source).schemas();
    own.extend(facts.moved(Side::Target).schemas());
    own.retain(|s| reserved(s));
    own.dedup();
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
        TargetState::Fresh => {
            refused(format!("already there: {}", listed(there)), statements(there.iter().flat_map(put_aside)))
        }
        TargetState::Underway => {
            let wanted = facts.schema.tables()?.iter().map(|t| facts.spec.renames.table_on_target(&t.name));
            let missing: Vec<_> = wanted.filter(|name| !there.contains(name)).collect();
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

/// Out of the schema: in it, the move's patterns would still take the table.
fn put_aside(table: &TableName) -> [String; 2] {
    let aside: String = format!("{}_{}", table.schema, table.table).chars().take(64).collect();
    let rename = format!("RENAME TABLE {} TO `before_move`.{};", table.as_is().quoted(), quote_ident(&aside));
    [
        "CREATE DATABASE IF NOT EXISTS `before_move`;".into(),
        format!("{rename}  -- or drop it, if nobody needs it"),
    ]
}

fn storage_engine(facts: &Facts) -> Judged {
    let other: Vec<_> =
        facts.schema.tables()?.iter().filter(|t| !t.engine.eq_ignore_ascii_case("InnoDB")).collect();
    if other.is_empty() {
        return passed("all InnoDB");
    }
    refused(
        listed(other.iter().map(|t| format!("{} ({})", t.name, t.engine))),
        statements(other.iter().map(|t| format!("ALTER TABLE {} ENGINE = InnoDB;", t.name.as_is().quoted()))),
    )
}

/// Whether every row can be found by a key: all of its parts whole, stored, NOT NULL columns of exact types.
pub(super) fn has_row_key(table: &TableFacts) -> bool {
    table.keys.iter().any(|key| {
        key.iter().all(|part| {
            let column = table.columns.iter().find(|c| Some(&c.name) == part.column.as_ref());
            let exact =
                column.is_some_and(|c| !c.generated && !matches!(c.data_type.as_str(), "float" | "double"));
            exact && !part.prefix && !part.nullable
        })
    })
}

fn row_key(facts: &Facts) -> Judged {
    let keyless: Vec<_> = facts.schema.tables()?.iter().filter(|t| !has_row_key(t)).collect();
    if keyless.is_empty() {
        return passed("every table has a primary key, or a unique key over NOT NULL columns");
    }
    warned(
        format!(
            "no usable key, so rows are counted by value: {}",
            listed(keyless.iter().map(|t| format!("{} ({})", t.name, size(t.bytes))))
        ),
        statements(keyless.iter().map(|t| key_to_add(t))),
    )
}

fn key_to_add(table: &TableFacts) -> String {
    let alter = format!("ALTER TABLE {}", table.name.as_is().quoted());
    // A column of ours is invisible, so that the application's INSERTs without a column list go on working.
    let column = "ADD COLUMN move_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE";
    match table.columns.iter().find(|c| c.auto_increment) {
        Some(numbered) => format!("{alter} ADD UNIQUE KEY ({});", quote_ident(&numbered.name)),
        None if table.keys.is_empty() => format!("{alter} {column} PRIMARY KEY;"),
        None => format!("{alter} {column} UNIQUE;"),
    }
}

fn partitions(facts: &Facts) -> Judged {
    let partitioned: Vec<_> =
        facts.schema.tables()?.iter().filter(|t| t.partitioned).map(|t| &t.name).collect();
    match partitioned.is_empty() {
        true => passed("no partitioned tables"),
        false => passed(format!("partitioned: {}", listed(partitioned))),
    }
}

fn data_size(facts: &Facts) -> Judged {
    let tables = facts.schema.tables()?;
    let bytes: u64 = tables.iter().map(|t| t.bytes).sum();
    let size = size(bytes);
    passed(format!(
        "{size} in {} will be written; free disk space is not told by a server",
        counted(tables.len(), "table")
    ))
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

#[cfg(test)]
mod tests {
    use super::super::facts::{KeyPart, Unmatched};
    use super::super::rule::Finding;
    use super::super::sample::{self, outcome, table};
    use super::*;

    /// Judges a move whose one table was changed.
    fn check(judge: fn(&Facts) -> Judged, change: impl FnOnce(&mut TableFacts)) -> Finding {
        let mut facts = sample::facts();
        let mut orders = table("orders");
        change(&mut orders);
        facts.schema.tables = Ok(vec![orders]);
        judge(&facts).unwrap()
    }

    #[test]
    fn a_name_that_selects_nothing_is_refused_with_the_nearest_one() {
        let mut facts = sample::facts();
        assert_eq!(tables_exist(&facts).unwrap().evidence, "1 table");
        facts.schema.unmatched = vec![Unmatched {
            pattern: "shop.order".into(),
            nearest: Some("shop.orders".into()),
            is_view: false,
        }];
        let finding = tables_exist(&facts).unwrap();
        assert_eq!(
            (finding.outcome, finding.evidence.as_str()),
            (Outcome::Refused, "unknown table in a move: shop.order")
        );
        assert_eq!(
            finding.fix.as_deref(),
            Some("write shop.orders in place of shop.order in highwater.toml")
        );
    }

    #[test]
    fn tables_on_the_target_are_in_the_way_before_the_copy_and_needed_after_it() {
        let mut facts = sample::facts();
        assert_eq!(outcome(target_tables(&facts)), Outcome::Passed);
        facts.state = TargetState::Underway;
        assert_eq!(outcome(target_tables(&facts)), Outcome::Refused);
        facts.there.tables = Ok([table("orders").name].into());
        assert_eq!(outcome(target_tables(&facts)), Outcome::Passed);
        facts.state = TargetState::Fresh;
        assert_eq!(outcome(target_tables(&facts)), Outcome::Refused);
    }

    #[test]
    fn a_table_without_a_key_of_whole_stored_not_null_exact_columns_is_warned_about_with_its_size() {
        let key = |change: fn(&mut KeyPart)| check(row_key, |t| change(&mut t.keys[0][0])).outcome;
        assert_eq!(key(|_| {}), Outcome::Passed);
        assert_eq!(key(|p| p.prefix = true), Outcome::Warned);
        assert_eq!(key(|p| p.nullable = true), Outcome::Warned);
        assert_eq!(key(|p| p.column = None), Outcome::Warned);
        assert_eq!(check(row_key, |t| t.columns[0].data_type = "float".into()).outcome, Outcome::Warned);
        assert_eq!(check(row_key, |t| t.columns[0].generated = true).outcome, Outcome::Warned);
    }

    #[test]
    fn the_key_to_add_fits_the_table() {
        let fix = |change: fn(&mut TableFacts)| check(row_key, change).fix.unwrap();
        assert!(fix(|t| t.keys.clear()).ends_with("INVISIBLE PRIMARY KEY;"));
        assert!(fix(|t| t.keys[0][0].prefix = true).ends_with("INVISIBLE UNIQUE;"));
        let numbered = fix(|t| {
            t.keys.clear();
            t.columns[0].auto_increment = true;
        });
        assert_eq!(numbered, "ALTER TABLE `shop`.`orders` ADD UNIQUE KEY (`id`);");
    }

    #[test]
    fn engines_without_transactions_are_refused() {
        let finding = check(storage_engine, |t| t.engine = "MyISAM".into());
        assert_eq!(finding.evidence, "shop.orders (MyISAM)");
        assert_eq!(finding.fix.as_deref(), Some("ALTER TABLE `shop`.`orders` ENGINE = InnoDB;"));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            (size(512).as_str(), size(1536).as_str(), size(5 << 30).as_str()),
            ("512 bytes", "1.5 KiB", "5.0 GiB")
        );
    }
}
