//! Whether the application would find the same server behind its connections: modes, character sets, limits.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, passed, refused, warned};

const fn warning(name: &'static str, judge: fn(&Facts) -> Judged, why: &'static str) -> Rule {
    Rule {
        name,
        judge: Judge::On(Side::Target, judge),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why,
    }
}

pub(super) const RULES: &[Rule] = &[
    warning(
        "sql-mode",
        sql_mode,
        "statements that work on the source may fail on the target, or the other way round",
    ),
    warning(
        "character-set-defaults",
        character_sets,
        "tables, columns and sessions that name no character set or collation would get another one",
    ),
    warning(
        "session-defaults",
        session_defaults,
        "the application's sessions would run with other isolation, numbering or time limits",
    ),
    Rule {
        name: "lower-case-table-names",
        judge: Judge::On(Side::Both, lower_case_table_names),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: "a table could have another name on the target, or two tables the same",
    },
    warning(
        "max-connections",
        max_connections,
        "clients beyond the target's limit are turned away after the switch",
    ),
    Rule {
        name: "max-allowed-packet",
        judge: Judge::On(Side::Target, max_allowed_packet),
        acceptance: Acceptance::Operator,
        unread: Outcome::Refused,
        why: "a row or statement that fits the source would be refused by the target, and stop the stream",
    },
    warning(
        "innodb-page-size",
        page_size,
        "an index or row that fits the source's pages may not fit the target's",
    ),
    warning(
        "local-infile",
        local_infile,
        "LOAD DATA LOCAL lets whoever answers a client read files of the client",
    ),
];

fn sql_mode(facts: &Facts) -> Judged {
    let modes =
        |text: &str| text.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>();
    let text = facts.source.variables.get("sql_mode")?;
    let (source, target) = (modes(text), modes(facts.target.variables.get("sql_mode")?));
    if source == target {
        return passed(format!("the same on both: {}", text.replace(',', ", ")));
    }
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| match a.difference(b).cloned().collect::<Vec<_>>()
    {
        list if list.is_empty() => "nothing".to_owned(),
        list => list.join(", "),
    };
    warned(
        format!(
            "only on the source: {}; only on the target: {}",
            only(&source, &target),
            only(&target, &source)
        ),
        format!("SET PERSIST sql_mode = '{text}';"),
    )
}

fn character_sets(facts: &Facts) -> Judged {
    const NAMES: &[&str] = &["character_set_server", "collation_server", "default_collation_for_utf8mb4"];
    same(facts, NAMES)
}

fn session_defaults(facts: &Facts) -> Judged {
    const NAMES: &[&str] = &[
        "transaction_isolation",
        "autocommit",
        "auto_increment_increment",
        "auto_increment_offset",
        "explicit_defaults_for_timestamp",
        "group_concat_max_len",
        "init_connect",
        "innodb_lock_wait_timeout",
        "innodb_strict_mode",
        "innodb_default_row_format",
        "sql_generate_invisible_primary_key",
        "wait_timeout",
        "interactive_timeout",
    ];
    same(facts, NAMES)
}

/// Warns of variables that both servers have, with different values.
fn same(facts: &Facts, names: &[&str]) -> Judged {
    let mut seen = Vec::new();
    let mut fixes = Vec::new();
    for name in names {
        let (Some(source), Some(target)) =
            (facts.source.variables.find(name), facts.target.variables.find(name))
        else {
            continue;
        };
        if source != target {
            // init_connect is text an application's owner wrote; that it differs is enough.
            let shown = |value| if *name == "init_connect" { "(a text)" } else { value };
            seen.push(format!("{name}: source {}, target {}", shown(source), shown(target)));
            fixes.push(match source.parse::<i64>() {
                Ok(number) => format!("SET PERSIST {name} = {number};"),
                Err(_) if *name == "init_connect" => "-- copy init_connect from the source by hand".into(),
                Err(_) => format!("SET PERSIST {name} = '{source}';"),
            });
        }
    }
    if seen.is_empty() {
        return passed(format!("{} settings, the same on both", names.len()));
    }
    warned(seen.join("; "), fixes.join("\n"))
}

fn lower_case_table_names(facts: &Facts) -> Judged {
    const NAME: &str = "lower_case_table_names";
    let (source, target) = (facts.source.variables.get(NAME)?, facts.target.variables.get(NAME)?);
    let evidence = format!("source {source}, target {target}");
    if source == target {
        return passed(evidence);
    }
    refused(
        evidence,
        format!("initialise the target anew with --{NAME}={source}; it cannot be changed later"),
    )
}

fn max_connections(facts: &Facts) -> Judged {
    let (source, target) = (
        facts.source.variables.number("max_connections")?,
        facts.target.variables.number("max_connections")?,
    );
    let used = match &facts.source.connections_max_used {
        Ok(n) => format!("most ever used on the source {n}"),
        Err(_) => "use on the source not told".into(),
    };
    let evidence = format!("source {source}, target {target}; {used}");
    if target >= source {
        passed(evidence)
    } else {
        warned(evidence, format!("SET PERSIST max_connections = {source};"))
    }
}

fn max_allowed_packet(facts: &Facts) -> Judged {
    const NAME: &str = "max_allowed_packet";
    let (source, target) = (facts.source.variables.number(NAME)?, facts.target.variables.number(NAME)?);
    let evidence = format!("source {source}, target {target} bytes");
    if target >= source {
        passed(evidence)
    } else {
        refused(evidence, format!("SET PERSIST {NAME} = {source};"))
    }
}

fn page_size(facts: &Facts) -> Judged {
    const NAME: &str = "innodb_page_size";
    let (source, target) = (facts.source.variables.number(NAME)?, facts.target.variables.number(NAME)?);
    let evidence = format!("source {source}, target {target} bytes");
    if target >= source {
        return passed(evidence);
    }
    warned(evidence, format!("initialise the target anew with --{NAME}={source}; it cannot be changed later"))
}

fn local_infile(facts: &Facts) -> Judged {
    let value = facts.target.variables.get("local_infile")?;
    let evidence = format!("local_infile = {value}");
    if value == "OFF" { passed(evidence) } else { warned(evidence, "SET PERSIST local_infile = OFF;") }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, outcome};
    use super::*;

    fn check(judge: fn(&Facts) -> Judged, variable: &str, source: &str, target: &str) -> Outcome {
        let mut facts = sample::facts();
        facts.source = facts.source.with(variable, source);
        facts.target = facts.target.with(variable, target);
        outcome(judge(&facts))
    }

    #[test]
    fn settings_that_shrink_or_change_are_noticed() {
        assert_eq!(check(sql_mode, "sql_mode", "A,B", "B,A"), Outcome::Passed);
        assert_eq!(check(sql_mode, "sql_mode", "A,B", "B"), Outcome::Warned);
        assert_eq!(
            check(character_sets, "collation_server", "latin1_swedish_ci", "utf8mb4_0900_ai_ci"),
            Outcome::Warned
        );
        assert_eq!(
            check(session_defaults, "transaction_isolation", "READ-COMMITTED", "SERIALIZABLE"),
            Outcome::Warned
        );
        assert_eq!(check(lower_case_table_names, "lower_case_table_names", "1", "0"), Outcome::Refused);
        assert_eq!(check(max_connections, "max_connections", "16000", "151"), Outcome::Warned);
        assert_eq!(check(max_connections, "max_connections", "151", "16000"), Outcome::Passed);
        assert_eq!(
            check(max_allowed_packet, "max_allowed_packet", "1073741824", "67108864"),
            Outcome::Refused
        );
        assert_eq!(check(page_size, "innodb_page_size", "16384", "4096"), Outcome::Warned);
        assert_eq!(check(local_infile, "local_infile", "ON", "ON"), Outcome::Warned);
    }

    #[test]
    fn differences_of_modes_are_told_apart_by_side() {
        let mut facts = sample::facts();
        facts.source = facts.source.with("sql_mode", "ANSI_QUOTES,STRICT_TRANS_TABLES");
        facts.target = facts.target.with("sql_mode", "STRICT_TRANS_TABLES,PIPES_AS_CONCAT");
        let finding = sql_mode(&facts).unwrap();
        assert_eq!(finding.evidence, "only on the source: ANSI_QUOTES; only on the target: PIPES_AS_CONCAT");
        assert_eq!(finding.fix.as_deref(), Some("SET PERSIST sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES';"));
    }

    #[test]
    fn what_init_connect_says_is_not_repeated() {
        let mut facts = sample::facts();
        facts.source = facts.source.with("init_connect", "SET @token = 'secret'");
        facts.target = facts.target.with("init_connect", "");
        let finding = session_defaults(&facts).unwrap();
        assert!(!format!("{finding:?}").contains("secret"));
    }
}
