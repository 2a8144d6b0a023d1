//! What our accounts may do, who else could write past a fence, and whether the fences stand where they should now.

use super::facts::{Facts, ServerFacts};
use super::grants::{Grants, Scope};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, listed, passed, refused, statements, warned};
use super::shape::has_row_key;
use crate::plan::Fence;

const fn privileges(name: &'static str, side: Side, judge: fn(&Facts) -> Judged, why: &'static str) -> Rule {
    Rule {
        name,
        judge: Judge::On(side, judge),
        acceptance: Acceptance::Operator,
        unread: Outcome::Refused,
        why,
    }
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        acceptance: Acceptance::Never,
        ..privileges(
            "privileges-copy",
            Side::Source,
            |f| lacking(&f.source, &missing(f, Side::Source, COPY_FROM)),
            "the copy reads the tables and follows the binary log; tables it may not see would be left behind in silence",
        )
    },
    Rule {
        acceptance: Acceptance::Never,
        ..privileges(
            "privileges-copy",
            Side::Target,
            |f| lacking(&f.target, &missing(f, Side::Target, COPY_TO)),
            "the copy creates the tables, writes their rows, and keeps its ledger in schema `highwater`",
        )
    },
    privileges(
        "privileges-cutover",
        Side::Source,
        |f| fencing(f, Side::Source),
        "the cutover fences the source and closes connections that still write",
    ),
    privileges(
        "privileges-cutover",
        Side::Target,
        |f| fencing(f, Side::Target),
        "the target is kept from the application until the switch, and is opened at it; after it the source is",
    ),
    privileges(
        "privileges-rollback",
        Side::Source,
        |f| lacking(&f.source, &missing(f, Side::Source, COPY_TO)),
        "on the way back the old source receives the rows, and holds the ledger",
    ),
    privileges(
        "privileges-rollback",
        Side::Target,
        |f| lacking(&f.target, &missing(f, Side::Target, COPY_FROM)),
        "on the way back the old target is read and followed",
    ),
    Rule {
        name: "source-writable",
        judge: Judge::On(Side::Source, source_writable),
        acceptance: Acceptance::Operator,
        unread: Outcome::Refused,
        why: "the application writes to the source until the switch; a read-only one is a replica, or fenced by someone",
    },
    Rule {
        name: "target-writable",
        judge: Judge::On(Side::Target, target_writable),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: "the copy writes to the target",
    },
    Rule {
        name: "persisted-variables",
        judge: Judge::On(Side::Source, |f| of_servers(f, Side::Source, persisted_variables)),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: PERSISTED,
    },
    Rule {
        name: "persisted-variables",
        judge: Judge::On(Side::Target, |f| of_servers(f, Side::Target, persisted_variables)),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: PERSISTED,
    },
    Rule {
        name: "other-writers",
        judge: Judge::On(Side::Source, |f| of_servers(f, Side::Source, other_writers)),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: OTHERS,
    },
    Rule {
        name: "other-writers",
        judge: Judge::On(Side::Target, |f| of_servers(f, Side::Target, other_writers)),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: OTHERS,
    },
];

const PERSISTED: &str =
    "a fenced server that restarts would accept writes again, and two servers would be written to";
const OTHERS: &str =
    "whoever may write through read_only, or lift super_read_only, can write to the fenced side of a cutover";

/// What matters only where a server as a whole is fenced.
fn of_servers(facts: &Facts, side: Side, judge: fn(&ServerFacts) -> Judged) -> Judged {
    match facts.fence {
        Fence::Server => judge(facts.server(side)),
        Fence::Schemas => passed("the fence is around schemas"),
        Fence::Tables => passed("the fence is around tables"),
    }
}

/// A privilege that is needed; any one of the names will do, and the first is the one to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    Server(&'static [&'static str]),
    MovedTables(&'static [&'static str]),
    MovedSchemas(&'static [&'static str]),
    Ledger(&'static [&'static str]),
    /// On the ledger's schema, if a table without a key moves.
    Bags(&'static [&'static str]),
    /// On a schema of the server's own.
    In(&'static str, &'static [&'static str]),
    /// On the server, if the source has events in the moved schemas.
    Events(&'static [&'static str]),
    /// On those schemas, if they have events.
    EventsIn(&'static [&'static str]),
}
use Need::{Bags, Events, EventsIn, In, Ledger, MovedSchemas, MovedTables, Server};

const COPY_FROM: &[Need] =
    &[Server(&["REPLICATION SLAVE"]), Server(&["REPLICATION CLIENT"]), MovedTables(&["SELECT"])];

const COPY_TO: &[Need] = &[
    MovedSchemas(&["CREATE"]),
    MovedSchemas(&["ALTER"]),
    MovedSchemas(&["REFERENCES"]),
    // Statements of the stream that change tables.
    MovedSchemas(&["DROP"]),
    MovedSchemas(&["INDEX"]),
    MovedTables(&["SELECT"]),
    MovedTables(&["INSERT"]),
    MovedTables(&["UPDATE"]),
    MovedTables(&["DELETE"]),
    Ledger(&["ALTER"]),
    Ledger(&["CREATE"]),
    Ledger(&["DROP"]),
    Ledger(&["SELECT"]),
    Ledger(&["INSERT"]),
    Ledger(&["UPDATE"]),
    Ledger(&["DELETE"]),
    Bags(&["CREATE TEMPORARY TABLES"]),
    Server(&["REPLICATION CLIENT"]),
];

const FENCE: &[Need] = &[
    Server(&["SYSTEM_VARIABLES_ADMIN", "SUPER"]),
    Server(&["CONNECTION_ADMIN", "SUPER"]),
    Server(&["PROCESS"]),
];

const FENCE_SCHEMAS: &[Need] = &[
    MovedSchemas(&["ALTER"]),
    Server(&["PROCESS"]),
    // Who is in the way.
    In("performance_schema", &["SELECT"]),
    // They are switched off before the fence goes up, and keep their definers.
    EventsIn(&["EVENT"]),
    Events(&["SET_ANY_DEFINER", "SET_USER_ID", "SUPER"]),
];

const FENCE_TABLES: &[Need] = &[
    MovedTables(&["TRIGGER"]),
    // Tables are locked while the triggers are created, and until the switch. MySQL grants it for schemas.
    MovedSchemas(&["LOCK TABLES"]),
    Server(&["PROCESS"]),
    // Who is in the way.
    In("performance_schema", &["SELECT"]),
];

const LOCK_ACCOUNTS: &[Need] =
    &[Server(&["CREATE USER"]), Server(&["CONNECTION_ADMIN", "SUPER"]), In("mysql", &["SELECT"])];

/// What raising and lowering the fence takes, and which other fence would do with what there is.
fn fencing(facts: &Facts, side: Side) -> Judged {
    let server = facts.server(side);
    let schemas = || {
        let mut all = missing(facts, side, FENCE_SCHEMAS);
        if !facts.fence_accounts.is_empty() {
            all.extend(missing(facts, side, LOCK_ACCOUNTS));
        }
        all
    };
    let tables = || missing(facts, side, FENCE_TABLES);
    match facts.fence {
        Fence::Schemas => return lacking(server, &schemas()),
        Fence::Tables => return lacking(server, &tables()),
        Fence::Server => {}
    }
    let mut finding = lacking(server, &missing(facts, side, FENCE))?;
    let other = if super::fences::schemas_can(facts, side) && schemas().is_empty() {
        Some(Fence::Schemas)
    } else if super::fences::tables_can(facts, side) && tables().is_empty() {
        Some(Fence::Tables)
    } else {
        None
    };
    if let (Some(fix), Some(other)) = (&mut finding.fix, other) {
        fix.push_str(&format!(
            "\n-- or set `fence = \"{other}\"` in [moves.{}], for which it has what it needs",
            facts.spec.name
        ));
    }
    Ok(finding)
}

/// Something our account may not do: the privilege, and where, as GRANT writes it.
pub(super) type Missing = (&'static str, String);

/// Of what is needed on a side, what our account lacks there.
pub(super) fn missing(facts: &Facts, side: Side, needs: &[Need]) -> Vec<Missing> {
    let server = if side == Side::Target { &facts.target } else { &facts.source };
    // What SHOW GRANTS does not tell counts as missing.
    let none = Grants::default();
    let grants = server.grants.as_ref().unwrap_or(&none);
    let mut missing = Vec::new();
    let mut need = |any: &[&'static str], scope: Scope<'_>, place: String| {
        if !any.iter().any(|p| grants.has(p, scope)) {
            missing.push((any[0], place));
        }
    };
    let moves_bags = facts.schema.tables().is_ok_and(|tables| tables.iter().any(|t| !has_row_key(t)));
    let has_events = facts.schema.events.as_ref().is_ok_and(|events| !events.is_empty());
    for wanted in needs {
        match wanted {
            Server(any) => need(any, Scope::Server, "*.*".into()),
            In(schema, any) => need(any, Scope::Schema(schema), format!("{}.*", model::quote_ident(schema))),
            Events(_) | EventsIn(_) if !has_events => {}
            Events(any) => need(any, Scope::Server, "*.*".into()),
            Bags(_) if !moves_bags => {}
            Ledger(any) | Bags(any) => need(any, Scope::Schema("highwater"), "`highwater`.*".into()),
            MovedSchemas(any) | EventsIn(any) => {
                for schema in facts.moved(side).schemas() {
                    need(any, Scope::Schema(schema), format!("{}.*", model::quote_ident(schema)));
                }
            }
            MovedTables(any) => {
                for (schema, table) in facts.moved(side).patterns() {
                    let quoted = model::quote_ident(schema);
                    match table {
                        Some(t) => {
                            need(any, Scope::Table(schema, t), format!("{quoted}.{}", model::quote_ident(t)))
                        }
                        None => need(any, Scope::Schema(schema), format!("{quoted}.*")),
                    }
                }
            }
        }
    }
    missing
}

/// Refuses what is missing, with the statements that grant it.
pub(super) fn lacking(server: &ServerFacts, missing: &[Missing]) -> Judged {
    let grants = server.grants.as_ref().map_err(Clone::clone)?;
    if missing.is_empty() {
        return passed(format!("{} has what it needs", server.account));
    }
    let mut places: Vec<&String> = missing.iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    places.dedup();
    let at = |place: &str| {
        let mut list: Vec<&str> = missing.iter().filter(|(_, p)| p == place).map(|(name, _)| *name).collect();
        list.sort_unstable();
        list.dedup();
        list.join(", ")
    };
    let mut evidence =
        format!("{} lacks {}", server.account, listed(places.iter().map(|p| format!("{} on {p}", at(p)))));
    let inactive: Vec<&String> =
        grants.roles.iter().filter(|role| !server.active_roles.contains(*role)).collect();
    if !inactive.is_empty() {
        evidence.push_str(&format!("; it has inactive roles that may hold them: {}", listed(&inactive)));
    }
    let account = server.quoted_account();
    let mut fixes: Vec<String> =
        places.iter().map(|p| format!("GRANT {} ON {p} TO {account};", at(p))).collect();
    if !inactive.is_empty() {
        fixes.push(format!("-- or: SET DEFAULT ROLE ALL TO {account};"));
    }
    refused(evidence, statements(fixes))
}

fn fence(server: &ServerFacts) -> String {
    let value = |name| server.variables.find(name).unwrap_or("not told");
    format!("read_only = {}, super_read_only = {}", value("read_only"), value("super_read_only"))
}

fn source_writable(facts: &Facts) -> Judged {
    let on = facts.source.variables.get("read_only")? == "ON";
    let evidence = fence(&facts.source);
    if !on {
        return passed(evidence);
    }
    refused(
        evidence,
        "name the writer of the cluster as the source, or lift the fence: SET PERSIST read_only = OFF;",
    )
}

fn target_writable(facts: &Facts) -> Judged {
    let evidence = fence(&facts.target);
    if facts.fence != Fence::Server && facts.target.variables.get("read_only")? == "ON" {
        return refused(
            format!("{evidence}; a fence around {0} opens {0}, and no server", facts.fence),
            "SET PERSIST read_only = OFF;  -- or `fence = \"server\"`",
        );
    }
    if facts.target.variables.get("super_read_only")? == "ON" {
        return refused(evidence, "SET PERSIST super_read_only = OFF;");
    }
    let grants = facts.target.grants.as_ref().map_err(Clone::clone)?;
    let through = grants.has_any(&["CONNECTION_ADMIN", "SUPER"]);
    match (facts.target.variables.get("read_only")?, through) {
        ("OFF", _) => passed(evidence),
        (_, true) => passed(format!("{evidence}; our account writes through read_only")),
        (_, false) => {
            refused(evidence, format!("GRANT CONNECTION_ADMIN ON *.* TO {};", facts.target.quoted_account()))
        }
    }
}

fn persisted_variables(server: &ServerFacts) -> Judged {
    let value = server.variables.get("persisted_globals_load")?;
    let evidence = format!("persisted_globals_load = {value}");
    if value == "ON" {
        return passed(evidence);
    }
    refused(evidence, "remove persisted_globals_load = OFF from the server's options; needs a restart")
}

fn other_writers(server: &ServerFacts) -> Judged {
    let accounts = server.accounts.as_ref().map_err(Clone::clone)?;
    let strong: Vec<_> =
        accounts.iter().filter(|a| !a.locked && !a.powers.is_empty() && a.name != server.account).collect();
    if strong.is_empty() {
        return passed("no other account can write past a fence");
    }
    let named = |a: &super::facts::Account| format!("{} ({})", a.name, listed(&a.powers));
    warned(
        listed(strong.iter().map(|a| named(a))),
        statements(strong.iter().map(|a| {
            format!(
                "ALTER USER {} ACCOUNT LOCK;  -- for the cutover, or revoke the above",
                super::facts::quoted_account(&a.name)
            )
        })),
    )
}

#[cfg(test)]
mod tests {
    use super::super::facts::Account;
    use super::super::sample::{self, outcome};
    use super::*;

    fn judge(side: Side, name: &str, lines: &[&str]) -> super::super::rule::Finding {
        let mut facts = sample::facts();
        let server = if side == Side::Source { &mut facts.source } else { &mut facts.target };
        server.grants = Ok(Grants::parse(lines.iter().copied()));
        let rule =
            RULES.iter().find(|r| r.name == name && matches!(r.judge, Judge::On(s, _) if s == side)).unwrap();
        let Judge::On(_, judge) = rule.judge else { unreachable!() };
        judge(&facts).unwrap()
    }

    const READER: &str = "GRANT REPLICATION SLAVE, REPLICATION CLIENT, PROCESS ON *.* TO `hw`@`%`";

    #[test]
    fn an_account_with_just_what_is_needed_passes() {
        assert_eq!(
            judge(Side::Source, "privileges-copy", &[READER, "GRANT SELECT ON `shop`.* TO `hw`@`%`"]).outcome,
            Outcome::Passed
        );
        let admin = "GRANT SYSTEM_VARIABLES_ADMIN,CONNECTION_ADMIN ON *.* TO `hw`@`%`";
        assert_eq!(judge(Side::Source, "privileges-cutover", &[READER, admin]).outcome, Outcome::Passed);
        let old = "GRANT SUPER, PROCESS ON *.* TO `hw`@`%`";
        assert_eq!(judge(Side::Source, "privileges-cutover", &[old]).outcome, Outcome::Passed);
    }

    #[test]
    fn a_pattern_for_a_schema_needs_the_whole_schema() {
        let finding =
            judge(Side::Source, "privileges-copy", &[READER, "GRANT SELECT ON `shop`.`orders` TO `hw`@`%`"]);
        assert_eq!(finding.outcome, Outcome::Refused);
        assert_eq!(finding.evidence, "hw@% lacks SELECT on `shop`.*");
        assert_eq!(finding.fix.as_deref(), Some("GRANT SELECT ON `shop`.* TO 'hw'@'%';"));
    }

    #[test]
    fn missing_privileges_are_granted_together_by_place() {
        let finding = judge(Side::Target, "privileges-copy", &["GRANT USAGE ON *.* TO `hw`@`%`"]);
        let fix = finding.fix.unwrap();
        let lines: Vec<&str> = fix.lines().collect();
        assert_eq!(lines.len(), 3, "{fix}");
        assert_eq!(lines[0], "GRANT REPLICATION CLIENT ON *.* TO 'hw'@'%';");
        assert!(
            lines[1]
                .starts_with("GRANT ALTER, CREATE, DELETE, DROP, INSERT, SELECT, UPDATE ON `highwater`.*"),
            "{fix}"
        );
    }

    #[test]
    fn an_inactive_role_is_pointed_at() {
        let finding = judge(Side::Source, "privileges-cutover", &["GRANT `dba`@`%` TO `hw`@`%`"]);
        assert!(
            finding.evidence.contains("inactive roles that may hold them: `dba`@`%`"),
            "{}",
            finding.evidence
        );
        assert!(finding.fix.unwrap().ends_with("-- or: SET DEFAULT ROLE ALL TO 'hw'@'%';"));
    }

    #[test]
    fn fences_must_be_down_on_both_sides_or_let_us_through() {
        let mut facts = sample::facts();
        assert_eq!(
            (outcome(source_writable(&facts)), outcome(target_writable(&facts))),
            (Outcome::Passed, Outcome::Passed)
        );
        facts.source = facts.source.with("read_only", "ON");
        facts.target = facts.target.with("read_only", "ON");
        assert_eq!(
            (outcome(source_writable(&facts)), outcome(target_writable(&facts))),
            (Outcome::Refused, Outcome::Passed)
        );
        facts.target.grants = Ok(Grants::default());
        assert_eq!(outcome(target_writable(&facts)), Outcome::Refused);
        facts.target = sample::server(Side::Target).with("read_only", "ON").with("super_read_only", "ON");
        assert_eq!(outcome(target_writable(&facts)), Outcome::Refused);
    }

    #[test]
    fn a_fence_that_a_restart_forgets_is_refused() {
        let server = sample::server(Side::Source);
        assert_eq!(outcome(persisted_variables(&server)), Outcome::Passed);
        assert_eq!(
            outcome(persisted_variables(&server.with("persisted_globals_load", "OFF"))),
            Outcome::Refused
        );
    }

    #[test]
    fn accounts_that_could_write_past_a_fence_are_named_and_ours_is_not() {
        let account = |name: &str, locked, powers: &[&str]| Account {
            locked,
            powers: powers.iter().map(|p| (*p).to_owned()).collect(),
            ..sample::account(name)
        };
        let mut server = sample::server(Side::Source);
        let quiet = vec![
            account("hw@%", false, &["SUPER"]),
            account("old@%", true, &["SUPER"]),
            account("app@%", false, &[]),
        ];
        server.accounts = Ok(quiet);
        assert_eq!(outcome(other_writers(&server)), Outcome::Passed);
        server.accounts = Ok(vec![account("root@localhost", false, &["CONNECTION_ADMIN", "SUPER"])]);
        let finding = other_writers(&server).unwrap();
        assert_eq!(finding.evidence, "root@localhost (CONNECTION_ADMIN, SUPER)");
        assert!(finding.fix.unwrap().starts_with("ALTER USER 'root'@'localhost' ACCOUNT LOCK;"));
    }
}
