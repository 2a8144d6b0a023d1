//! Whether every column of the moved tables arrives as it left: its type, its collation, and what is computed from it.

use std::collections::BTreeMap;

use super::facts::{Facts, TableFacts};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, counted, listed, passed, refused, warned};

const fn rule(name: &'static str, side: Side, judge: fn(&Facts) -> Judged, why: &'static str) -> Rule {
    Rule { name, judge: Judge::On(side, judge), acceptance: Acceptance::Never, unread: Outcome::Refused, why }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "column-types",
        Side::Source,
        column_types,
        "a value the stream cannot carry exactly would arrive changed",
    ),
    rule(
        "collations",
        Side::Target,
        collations,
        "the target cannot create a column whose collation it does not know",
    ),
    Rule {
        name: "generated-columns",
        judge: Judge::On(Side::Both, generated_columns),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "the target computes them anew, and functions may differ between versions; verify compares them",
    },
];

/// Types the stream carries exactly. Anything else is refused by name, GEOMETRY and VECTOR among them.
const CARRIED: &[&str] = &[
    "tinyint",
    "smallint",
    "mediumint",
    "int",
    "bigint",
    "decimal",
    "float",
    "double",
    "bit",
    "year",
    "date",
    "time",
    "datetime",
    "timestamp",
    "char",
    "varchar",
    "tinytext",
    "text",
    "mediumtext",
    "longtext",
    "binary",
    "varbinary",
    "tinyblob",
    "blob",
    "mediumblob",
    "longblob",
    "enum",
    "set",
    "json",
];

fn column_types(facts: &Facts) -> Judged {
    let mut refusals = Vec::new();
    let mut columns = 0;
    for table in facts.schema.tables()? {
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
    for table in facts.schema.tables()? {
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

fn generated_columns(facts: &Facts) -> Judged {
    let count = facts.schema.tables()?.iter().flat_map(|t| &t.columns).filter(|c| c.generated).count();
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

#[cfg(test)]
mod tests {
    use super::super::facts::ColumnFacts;
    use super::super::rule::Finding;
    use super::super::sample::{self, column, outcome, table};
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
    fn types_that_cannot_be_carried_are_refused_by_name_and_so_are_unknown_ones() {
        for kind in ["geometry", "point", "vector", "interval"] {
            let finding = check(column_types, |t| t.columns.push(column("c", kind)));
            assert_eq!(finding.outcome, Outcome::Refused);
            assert_eq!(finding.evidence, format!("shop.orders.c ({kind})"));
        }
        assert_eq!(check(column_types, |t| t.columns.push(column("c", "json"))).outcome, Outcome::Passed);
    }

    #[test]
    fn a_collation_the_target_does_not_know_is_refused() {
        let odd = ColumnFacts { collation: Some("latin1_bin".into()), ..column("c", "varchar") };
        let finding = check(collations, |t| t.columns.push(odd));
        assert_eq!(
            (finding.outcome, finding.evidence.as_str()),
            (Outcome::Refused, "latin1_bin (of shop.orders)")
        );
    }

    #[test]
    fn generated_columns_are_warned_about_between_versions() {
        let generated = ColumnFacts { generated: true, ..column("c", "int") };
        assert_eq!(check(generated_columns, |t| t.columns.push(generated.clone())).outcome, Outcome::Passed);
        let mut facts = sample::facts();
        facts.target = facts.target.with("version", "10.1.0");
        assert_eq!(outcome(generated_columns(&facts)), Outcome::Passed);
        facts.schema.tables = Ok(vec![TableFacts { columns: vec![generated], ..table("orders") }]);
        assert_eq!(outcome(generated_columns(&facts)), Outcome::Warned);
    }
}
