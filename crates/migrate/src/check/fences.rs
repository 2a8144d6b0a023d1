//! Whether the fence that the settings want can be had, and whom it does not keep out.

use super::facts::{Facts, Version, quoted_account};
use super::grants::Scope;
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, Unread, listed, passed, refused, statements, warned};
use crate::plan::Fence;

/// The first version with ALTER SCHEMA ... READ ONLY.
const SINCE: Version = Version(8, 0, 22);

const FENCE: &str = "between the last write on one side and the first on the other, no server may take any";
const DIRECT: &str = "nothing keeps these accounts from writing to the side that follows, if they go past the application's way; if they do, it is \
                      named within a second, and the cutover refuses";
const LOCKED: &str = "an account that is locked on the side that follows can do nothing else there either";

pub(super) const RULES: &[Rule] = &[
    rule("fence", Side::Source, |f| usable(f, Side::Source), Acceptance::Never, FENCE),
    rule("fence", Side::Target, |f| usable(f, Side::Target), Acceptance::Never, FENCE),
    rule("direct-writers", Side::Source, |f| direct_writers(f, Side::Source), Acceptance::Operator, DIRECT),
    rule("direct-writers", Side::Target, |f| direct_writers(f, Side::Target), Acceptance::Operator, DIRECT),
    rule("fence-accounts", Side::Source, |f| locked_accounts(f, Side::Source), Acceptance::Operator, LOCKED),
    rule("fence-accounts", Side::Target, |f| locked_accounts(f, Side::Target), Acceptance::Operator, LOCKED),
];

const fn rule(
    name: &'static str,
    side: Side,
    judge: fn(&Facts) -> Judged,
    acceptance: Acceptance,
    why: &'static str,
) -> Rule {
    Rule { name, judge: Judge::On(side, judge), acceptance, unread: Outcome::Warned, why }
}

/// Whether a fence around the move's tables is possible on a server at all.
pub(super) fn tables_can(facts: &Facts, side: Side) -> bool {
    facts.moved(Side::Source).whole_schemas().is_empty() && trusts_creators(facts, side).unwrap_or(false)
}

/// Whether our account may create a trigger where there is a binary log: without that variable it needs SUPER, and SET_ANY_DEFINER
/// does not help, as was seen of MySQL 9.7.
pub(super) fn trusts_creators(facts: &Facts, side: Side) -> Result<bool, Unread> {
    let server = facts.server(side);
    let grants = server.grants.as_ref().map_err(Clone::clone)?;
    Ok(!server.variables.is_on("log_bin")
        || server.variables.is_on("log_bin_trust_function_creators")
        || grants.has("SUPER", Scope::Server))
}

fn tables_usable(facts: &Facts, side: Side) -> Judged {
    let moved = facts.moved(Side::Source);
    let whole = moved.whole_schemas();
    if !whole.is_empty() {
        return refused(
            format!("all tables of {} move, and each needs a name to be fenced", listed(whole)),
            "name each table in the move's `tables`, or use `fence = \"schemas\"`",
        );
    }
    if !trusts_creators(facts, side)? {
        return refused(
            "log_bin_trust_function_creators = OFF, and our account has no SUPER: it may not create triggers",
            "SET PERSIST log_bin_trust_function_creators = ON;",
        );
    }
    passed(format!(
        "around {} tables: triggers, and LOCK TABLES while it is crossed",
        facts.spec.tables.len()
    ))
}

/// Whether a fence around the move's schemas is possible on a server at all.
pub(super) fn schemas_can(facts: &Facts, side: Side) -> bool {
    facts.moved(side).parted_schemas().is_empty() && facts.server(side).version() >= SINCE
}

fn usable(facts: &Facts, side: Side) -> Judged {
    match facts.fence {
        Fence::Server => return passed("around the server: read_only, super_read_only"),
        Fence::Tables => return tables_usable(facts, side),
        Fence::Schemas => {}
    }
    let parted = facts.moved(side).parted_schemas();
    if !parted.is_empty() {
        return refused(
            format!("only some tables of {} move, and a schema is closed as a whole", listed(parted)),
            "let all of it go (schema.*), or use `fence = \"server\"`",
        );
    }
    let version = facts.server(side).version();
    if version < SINCE {
        return refused(
            format!("MySQL {version} has no ALTER SCHEMA ... READ ONLY, which came with {SINCE}"),
            "use `fence = \"server\"`",
        );
    }
    passed(format!("around {}: ALTER SCHEMA ... READ ONLY", listed(facts.moved(side).schemas())))
}

/// Who could write past the application's way to the side that follows: the target first, the source after the switch.
fn direct_writers(facts: &Facts, side: Side) -> Judged {
    match facts.fence {
        Fence::Server => return passed("a server that follows is read_only"),
        Fence::Tables => return passed("tables that follow refuse them"),
        Fence::Schemas => {}
    }
    let (server, schemas) = (facts.server(side), facts.moved(side).schemas());
    let writers = server.writers.as_ref().map_err(Clone::clone)?;
    let open: Vec<_> = writers
        .iter()
        .filter(|w| w.could_write(&schemas) && !facts.fence_accounts.contains(&w.account))
        .collect();
    if open.is_empty() {
        return passed("every account that could is locked while it follows");
    }
    let fixes = open.iter().map(|w| match w.elsewhere(&schemas).is_empty() {
        true => format!("fence_accounts = [\"{}\"]  -- in [moves.{}]", w.account, facts.spec.name),
        false => format!(
            "-- {} may also write to {}: lock it yourself if nobody needs it (ALTER USER {} ACCOUNT LOCK)",
            w.account,
            listed(w.elsewhere(&schemas)),
            quoted_account(&w.account)
        ),
    });
    warned(listed(open.iter().map(|w| &w.account)), statements(fixes))
}

/// What else is closed to the accounts that are locked while a side follows.
fn locked_accounts(facts: &Facts, side: Side) -> Judged {
    if facts.fence_accounts.is_empty() {
        return passed("none is to be locked");
    }
    let (server, schemas) = (facts.server(side), facts.moved(side).schemas());
    if facts.fence_accounts.contains(&server.account) {
        return refused(
            format!("{} is the account used here, and cannot be locked", server.account),
            "take it out of the move's `fence_accounts`",
        );
    }
    let there = server.accounts.as_ref().map_err(Clone::clone)?;
    let missing: Vec<_> =
        facts.fence_accounts.iter().filter(|name| !there.iter().any(|a| a.name == **name)).collect();
    // On the target they may come later.
    if side == Side::Source && !missing.is_empty() {
        return refused(
            format!("there is no account {}", listed(&missing)),
            "write it as `user@host`, as SELECT User, Host FROM mysql.user shows it",
        );
    }
    let writers = server.writers.as_ref().map_err(Clone::clone)?;
    let wider: Vec<_> = writers
        .iter()
        .filter(|w| facts.fence_accounts.contains(&w.account) && !w.elsewhere(&schemas).is_empty())
        .collect();
    if !wider.is_empty() {
        return warned(
            listed(
                wider
                    .iter()
                    .map(|w| format!("{} also writes to {}", w.account, listed(w.elsewhere(&schemas)))),
            ),
            "leave them out of `fence_accounts` if someone needs them there for that",
        );
    }
    if !missing.is_empty() {
        return warned(
            format!("not there: {}", listed(&missing)),
            "nothing to do if nobody writes with them; created later, they are locked when the process starts the next time",
        );
    }
    passed(format!("{} write to nothing else", listed(&facts.fence_accounts)))
}

#[cfg(test)]
mod tests {
    use super::super::grants::Grants;
    use super::super::sample::{self, outcome};
    use super::*;
    use crate::plan::TablePattern;

    fn facts() -> Facts {
        let mut facts = sample::facts();
        facts.fence = Fence::Schemas;
        facts.spec.tables = vec![TablePattern { schema: "shop".into(), table: None }];
        facts
    }

    #[test]
    fn a_fence_around_schemas_takes_whole_schemas_and_a_server_that_has_it() {
        let mut facts = facts();
        assert_eq!(outcome(usable(&facts, Side::Source)), Outcome::Passed);
        facts.source = facts.source.with("version", "8.0.21");
        assert_eq!(outcome(usable(&facts, Side::Source)), Outcome::Refused);
        assert_eq!(outcome(usable(&facts, Side::Target)), Outcome::Passed);
        facts.spec.tables.push(TablePattern { schema: "mail".into(), table: Some("box".into()) });
        let finding = usable(&facts, Side::Target).unwrap();
        assert!(finding.evidence.contains("only some tables of mail"), "{finding:?}");
        facts.fence = Fence::Server;
        assert_eq!(outcome(usable(&facts, Side::Target)), Outcome::Passed);
    }

    #[test]
    fn a_fence_around_tables_takes_named_tables_and_an_account_that_may_create_triggers() {
        let mut facts = facts();
        facts.fence = Fence::Tables;
        assert!(usable(&facts, Side::Source).unwrap().evidence.contains("all tables of shop move"));
        facts.spec.tables = vec![TablePattern { schema: "shop".into(), table: Some("orders".into()) }];
        let grants = [
            "GRANT PROCESS, SET_ANY_DEFINER ON *.* TO `hw`@`%`",
            "GRANT TRIGGER, LOCK TABLES ON `shop`.* TO `hw`@`%`",
            "GRANT SELECT ON `performance_schema`.* TO `hw`@`%`",
        ];
        facts.source.grants = Ok(Grants::parse(grants));
        let refusal = usable(&facts, Side::Source).unwrap();
        assert_eq!(refusal.outcome, Outcome::Refused);
        assert_eq!(refusal.fix.unwrap(), "SET PERSIST log_bin_trust_function_creators = ON;");
        facts.source = facts.source.with("log_bin_trust_function_creators", "ON");
        assert_eq!(outcome(usable(&facts, Side::Source)), Outcome::Passed);
        assert_eq!(outcome(direct_writers(&facts, Side::Source)), Outcome::Passed);

        let rule = super::super::access::RULES.iter().find(|r| r.name == "privileges-cutover").unwrap();
        let Judge::On(_, judge) = rule.judge else { unreachable!() };
        assert_eq!(judge(&facts).unwrap().outcome, Outcome::Passed);
        facts.fence = Fence::Server;
        assert!(judge(&facts).unwrap().fix.unwrap().contains("`fence = \"tables\"`"), "it can have that one");
        facts.fence = Fence::Tables;
        facts.source.grants = Ok(Grants::parse(["GRANT SUPER ON *.* TO `hw`@`%`"]));
        facts.source = facts.source.with("log_bin_trust_function_creators", "OFF");
        assert_eq!(outcome(usable(&facts, Side::Source)), Outcome::Passed);
        assert!(judge(&facts).unwrap().evidence.contains("LOCK TABLES on `shop`.*"));
    }

    #[test]
    fn a_server_without_super_is_told_of_the_fence_that_it_can_have() {
        let managed = [
            "GRANT PROCESS ON *.* TO `hw`@`%`",
            "GRANT ALL PRIVILEGES ON `shop`.* TO `hw`@`%`",
            "GRANT SELECT ON `performance_schema`.* TO `hw`@`%`",
        ];
        let mut facts = facts();
        facts.schema.events = Ok(Vec::new());
        facts.source.grants = Ok(Grants::parse(managed));
        let judge = |facts: &Facts| {
            let rule = super::super::access::RULES.iter().find(|r| r.name == "privileges-cutover").unwrap();
            let Judge::On(_, judge) = rule.judge else { unreachable!() };
            judge(facts).unwrap()
        };
        assert_eq!(judge(&facts).outcome, Outcome::Passed);
        facts.fence = Fence::Server;
        let refusal = judge(&facts);
        assert_eq!(refusal.outcome, Outcome::Refused);
        assert!(refusal.fix.unwrap().contains("`fence = \"schemas\"`"));
        facts.fence = Fence::Schemas;
        facts.fence_accounts = vec!["shop@%".into()];
        assert!(judge(&facts).evidence.contains("CREATE USER"), "locking accounts takes more");
    }

    #[test]
    fn an_account_to_lock_must_be_there_and_not_be_ours() {
        let mut facts = facts();
        facts.fence_accounts = vec!["shop@%".into()];
        assert_eq!(outcome(locked_accounts(&facts, Side::Source)), Outcome::Refused);
        assert_eq!(outcome(locked_accounts(&facts, Side::Target)), Outcome::Warned);
        facts.source.accounts = Ok(vec![sample::account("shop@%")]);
        assert_eq!(outcome(locked_accounts(&facts, Side::Source)), Outcome::Passed);
        facts.fence_accounts = vec!["hw@%".into()];
        assert_eq!(outcome(locked_accounts(&facts, Side::Source)), Outcome::Refused);
    }
}
