//! Whether those who log in to the source will be able to log in to the target.

use super::facts::{Account, Facts};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, listed, passed, refused, statements, warned};
use crate::plan::Accounts;

pub(super) const RULES: &[Rule] = &[Rule {
    name: "accounts",
    judge: Judge::On(Side::Target, accounts),
    acceptance: Acceptance::Operator,
    unread: Outcome::Warned,
    why: "the front door logs in to the target with the client's own account, as the application itself would",
}];

/// MySQL's own, and the administrator's, which each server has for itself.
const RESERVED: &[&str] =
    &["mysql.infoschema@localhost", "mysql.session@localhost", "mysql.sys@localhost", "root@localhost"];

fn accounts(facts: &Facts) -> Judged {
    let here = facts.source.accounts.as_ref().map_err(Clone::clone)?;
    let there = facts.target.accounts.as_ref().map_err(Clone::clone)?;
    let plugins = facts.target.login_plugins.as_ref().map_err(Clone::clone)?;
    let theirs = |a: &&Account| !RESERVED.contains(&a.name.as_str()) && a.name != facts.source.account;
    let moves = |a: &Account| match &facts.along.accounts {
        Accounts::None => false,
        Accounts::All => true,
        Accounts::Named(names) => names.contains(&a.name),
    };
    if let Accounts::Named(names) = &facts.along.accounts {
        let unknown: Vec<_> = names.iter().filter(|n| !here.iter().any(|a| a.name == **n)).collect();
        if !unknown.is_empty() {
            let fix =
                "write each as `user@host`, as SELECT User, Host FROM mysql.user shows it on the source";
            return refused(format!("to move along, and not on the source: {}", listed(unknown)), fix);
        }
    }

    // A role is locked, and logs in with nothing.
    let strange = |a: &&Account| moves(a) && !a.locked && !plugins.contains(&a.plugin);
    let strange: Vec<_> = here.iter().filter(theirs).filter(strange).collect();
    if !strange.is_empty() {
        let evidence = listed(strange.iter().map(|a| format!("{} ({})", a.name, a.plugin)));
        return refused(
            format!("log in with what the target does not have: {evidence}"),
            statements(strange.iter().map(|a| {
                format!(
                    "ALTER USER {} IDENTIFIED WITH caching_sha2_password BY '…';  -- on the source",
                    super::facts::quoted_account(&a.name)
                )
            })),
        );
    }
    let twice: Vec<_> = here.iter().filter(|a| moves(a) && a.second_password).map(|a| &a.name).collect();
    if !twice.is_empty() {
        return warned(
            format!(
                "have a second password, which no server shows and which does not move along: {}",
                listed(twice)
            ),
            "see that no client logs in with the old password any more",
        );
    }
    let absent = |a: &&Account| !a.locked && !moves(a) && !there.iter().any(|t| t.name == a.name);
    let absent: Vec<_> = here.iter().filter(theirs).filter(absent).map(|a| &a.name).collect();
    if !absent.is_empty() {
        let quoted: Vec<_> = absent.iter().map(|name| format!("{name:?}")).collect();
        return warned(
            format!("not on the target, and not to move along: {}", listed(&absent)),
            format!(
                "accounts = [{}]  in [moves.{}], or create them there",
                quoted.join(", "),
                facts.spec.name
            ),
        );
    }
    passed("every account that can log in to the source is on the target, or moves along")
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, account, outcome};
    use super::*;

    fn judge(wanted: Accounts, change: impl FnOnce(&mut Facts)) -> Judged {
        let mut facts = sample::facts();
        facts.source.accounts.as_mut().unwrap().extend([account("shop@%"), account("root@localhost")]);
        facts.along.accounts = wanted;
        change(&mut facts);
        accounts(&facts)
    }

    #[test]
    fn whoever_logs_in_to_the_source_must_be_on_the_target_or_move_along() {
        let named = |name: &str| Accounts::Named(vec![name.to_owned()]);
        let found = judge(Accounts::None, |_| ()).unwrap();
        assert_eq!(found.outcome, Outcome::Warned);
        assert_eq!(found.fix.as_deref(), Some("accounts = [\"shop@%\"]  in [moves.m], or create them there"));
        let there = |facts: &mut Facts| facts.target.accounts.as_mut().unwrap().push(account("shop@%"));
        assert_eq!(outcome(judge(Accounts::None, there)), Outcome::Passed);
        assert_eq!(outcome(judge(Accounts::All, |_| ())), Outcome::Passed);
        assert_eq!(outcome(judge(named("shop@%"), |_| ())), Outcome::Passed);
        assert_eq!(outcome(judge(named("shop"), |_| ())), Outcome::Refused);
        let locked = |facts: &mut Facts| facts.source.accounts.as_mut().unwrap()[1].locked = true;
        assert_eq!(outcome(judge(Accounts::None, locked)), Outcome::Passed);
    }

    #[test]
    fn what_an_account_logs_in_with_must_be_on_the_target() {
        let native = |facts: &mut Facts| {
            facts.source.accounts.as_mut().unwrap()[1].plugin = "mysql_native_password".into();
        };
        let found = judge(Accounts::All, native).unwrap();
        assert_eq!(found.outcome, Outcome::Refused);
        assert_eq!(
            found.evidence,
            "log in with what the target does not have: shop@% (mysql_native_password)"
        );
        let second = |facts: &mut Facts| facts.source.accounts.as_mut().unwrap()[1].second_password = true;
        assert_eq!(outcome(judge(Accounts::All, second)), Outcome::Warned);
    }
}
