//! Whether the target can keep the tables where their statements say they lie.

use std::collections::BTreeSet;

use model::quote_ident;

use super::TargetState;
use super::facts::{Facts, ServerFacts, TableFacts};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, listed, passed, refused, statements};

const fn rule(name: &'static str, judge: fn(&Facts) -> Judged, why: &'static str) -> Rule {
    Rule {
        name,
        judge: Judge::On(Side::Target, judge),
        acceptance: Acceptance::Never,
        unread: Outcome::Warned,
        why,
    }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "tablespaces",
        tablespaces,
        "a table of a general tablespace cannot be created where there is none of its name",
    ),
    rule(
        "data-directories",
        data_directories,
        "a table in a folder of its own can only be created where InnoDB is told of that folder (innodb_directories)",
    ),
    rule("encryption", encryption, "an encrypted table cannot be created on a server without a keyring"),
];

/// The moved tables, while they are still to be created.
fn to_create(facts: &Facts) -> Result<&[TableFacts], super::rule::Unread> {
    match facts.state {
        TargetState::Fresh => facts.schema.tables(),
        TargetState::Underway => Ok(&[]),
    }
}

fn tablespaces(facts: &Facts) -> Judged {
    let needed: BTreeSet<&String> = to_create(facts)?.iter().flat_map(|t| &t.placement.tablespaces).collect();
    if needed.is_empty() {
        return passed("every table has a file of its own, or is in one that every server has");
    }
    let there = facts.there.tablespaces.as_ref().map_err(Clone::clone)?;
    let missing: Vec<&String> = needed.into_iter().filter(|name| !there.contains(*name)).collect();
    if missing.is_empty() {
        return passed("the target has them");
    }
    refused(
        format!("not on the target: {}", listed(&missing)),
        statements(missing.iter().enumerate().map(|(n, name)| {
            // The file's name is the operator's to choose; one derived from any name might not be one.
            format!("CREATE TABLESPACE {} ADD DATAFILE 'moved_{}.ibd';", quote_ident(name), n + 1)
        })),
    )
}

/// The folders in which InnoDB lets tables be created.
fn known_directories(server: &ServerFacts) -> Vec<String> {
    let names = ["innodb_directories", "innodb_data_home_dir", "innodb_undo_directory", "datadir"];
    let values = names.iter().filter_map(|name| server.variables.find(name));
    let each = values.flat_map(|value| value.split(';')).map(str::trim).filter(|d| d.starts_with('/'));
    each.map(|d| format!("{}/", d.trim_end_matches('/'))).collect()
}

fn data_directories(facts: &Facts) -> Judged {
    let needed: BTreeSet<&String> = to_create(facts)?.iter().flat_map(|t| &t.placement.directories).collect();
    if needed.is_empty() {
        return passed("no table lies in a folder of its own");
    }
    let known = known_directories(&facts.target);
    let missing: Vec<&String> =
        needed.into_iter().filter(|d| !known.iter().any(|k| d.starts_with(k))).collect();
    if missing.is_empty() {
        return passed("the target knows their folders");
    }
    let all: Vec<&str> = missing.iter().map(|d| d.trim_end_matches('/')).collect();
    refused(
        format!("unknown to the target: {}", listed(&missing)),
        format!(
            "start the target with innodb_directories = '{}', folders that its account may write to",
            all.join(";")
        ),
    )
}

fn encryption(facts: &Facts) -> Judged {
    let encrypted: Vec<&TableFacts> = to_create(facts)?.iter().filter(|t| t.placement.encrypted).collect();
    if encrypted.is_empty() {
        return passed("no table is encrypted");
    }
    if *facts.there.keyring.as_ref().map_err(Clone::clone)? {
        return passed("the target has a keyring");
    }
    refused(
        format!("encrypted, and the target has no keyring: {}", listed(encrypted.iter().map(|t| &t.name))),
        "load a keyring component on the target (component_keyring_file and the like); needs a restart",
    )
}

#[cfg(test)]
mod tests {
    use super::super::rule::{Finding, Unread};
    use super::super::sample::{self, outcome, table};
    use super::*;
    use crate::schema::placement::Placement;

    fn placed(options: &str) -> Facts {
        let mut facts = sample::facts();
        let statement = format!("CREATE TABLE `orders` (\n  `id` bigint\n) {options}");
        facts.schema.tables =
            Ok(vec![TableFacts { placement: Placement::of(statement.as_bytes()), ..table("orders") }]);
        facts
    }

    #[test]
    fn a_tablespace_must_be_there_under_its_name() {
        let mut facts = placed("/*!50100 TABLESPACE `fast` */ ENGINE=InnoDB");
        let Finding { outcome: is, evidence, fix } = tablespaces(&facts).unwrap();
        assert_eq!((is, evidence.as_str()), (Outcome::Refused, "not on the target: fast"));
        assert_eq!(fix.as_deref(), Some("CREATE TABLESPACE `fast` ADD DATAFILE 'moved_1.ibd';"));
        facts.there.tablespaces = Ok(["fast".to_owned()].into());
        assert_eq!(outcome(tablespaces(&facts)), Outcome::Passed);
        facts.there.tablespaces = Err(Unread { error: "denied".into(), fix: "GRANT".into() });
        assert!(tablespaces(&facts).is_err());
        facts.state = TargetState::Underway;
        assert_eq!(outcome(tablespaces(&facts)), Outcome::Passed);
    }

    #[test]
    fn a_folder_must_be_one_that_innodb_knows() {
        let mut facts = placed("ENGINE=InnoDB DATA DIRECTORY='/big/disk/'");
        assert_eq!(
            data_directories(&facts).unwrap().fix.as_deref(),
            Some(
                "start the target with innodb_directories = '/big/disk', folders that its account may write to"
            )
        );
        facts.target = facts.target.with("innodb_directories", "/other;/big");
        assert_eq!(outcome(data_directories(&facts)), Outcome::Passed);
        facts.target = facts.target.with("innodb_directories", "/big/di");
        assert_eq!(outcome(data_directories(&facts)), Outcome::Refused);
    }

    #[test]
    fn encrypted_tables_need_a_keyring() {
        let mut facts = placed("ENGINE=InnoDB /*!80016 ENCRYPTION='Y' */");
        assert_eq!(outcome(encryption(&facts)), Outcome::Refused);
        facts.there.keyring = Ok(true);
        assert_eq!(outcome(encryption(&facts)), Outcome::Passed);
    }
}
