//! Whether foreign keys stay whole through a move, and change nothing behind the binary log's back.

use model::{TableName, quote_ident};

use super::facts::{Facts, ForeignKey, ServerFacts};
use super::grants::Scope;
use super::report::{Outcome, Side};
use super::rule::{
    Acceptance, Judge, Judged, Rule, Unread, counted, listed, passed, refused, statements, warned,
};

const fn rule(name: &'static str, judge: fn(&Facts) -> Judged, why: &'static str) -> Rule {
    Rule {
        name,
        judge: Judge::On(Side::Source, judge),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why,
    }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "foreign-key-actions",
        |facts| foreign_key_actions(facts, &facts.source),
        "what a foreign key deletes or changes by itself is in the binary log from MySQL 9.6 on, unless \
         innodb_native_foreign_keys is ON; where it is not, the target would keep rows the source has lost",
    ),
    Rule {
        judge: Judge::On(Side::Target, |facts| foreign_key_actions(facts, &facts.target)),
        ..rule(
            "foreign-key-actions",
            foreign_keys_inside,
            "after the switch the target's binary log is what a rollback rests on: what foreign keys do must be in it",
        )
    },
    rule(
        "foreign-keys-inside",
        foreign_keys_inside,
        "one end of the key would be on the other server, where nothing enforces it",
    ),
];

fn foreign_keys(facts: &Facts) -> Result<&[ForeignKey], Unread> {
    facts.schema.foreign_keys.as_deref().map_err(Clone::clone)
}

fn drop_key(key: &ForeignKey) -> String {
    format!("ALTER TABLE {} DROP FOREIGN KEY {};", key.child.as_is().quoted(), quote_ident(&key.name))
}

/// Whether the server writes what foreign keys do to its binary log. The variable came together with that ability, in
/// MySQL 9.6 ("Replication and Foreign Keys" in the manual), and can only be changed by a restart.
fn logs_cascades(server: &ServerFacts) -> bool {
    server.variables.find("innodb_native_foreign_keys").is_some()
        && !server.variables.is_on("innodb_native_foreign_keys")
}

fn foreign_key_actions(facts: &Facts, server: &ServerFacts) -> Judged {
    let acts = |rule: &str| !matches!(rule, "RESTRICT" | "NO ACTION");
    let all = foreign_keys(facts)?;
    let acting: Vec<_> = all.iter().filter(|k| acts(&k.on_delete) || acts(&k.on_update)).collect();
    if acting.is_empty() {
        return passed(format!("{}, none that changes rows by itself", counted(all.len(), "foreign key")));
    }
    let native = server.variables.find("innodb_native_foreign_keys");
    if logs_cascades(server) {
        let evidence = format!(
            "{} that change rows by themselves, in the binary log",
            counted(acting.len(), "foreign key")
        );
        return passed(evidence);
    }
    let cause = match native {
        Some(value) => format!("innodb_native_foreign_keys = {value}"),
        None => format!("MySQL {}", server.version()),
    };
    let shown = |k: &ForeignKey| {
        format!("{} of {} (ON DELETE {}, ON UPDATE {})", k.name, k.child, k.on_delete, k.on_update)
    };
    let again = |k: &ForeignKey| {
        format!("{}  -- then ADD it again with ON DELETE RESTRICT ON UPDATE RESTRICT", drop_key(k))
    };
    let restart = native
        .map(|_| "-- restart the server with innodb_native_foreign_keys = OFF, or, for each key:".to_owned());
    refused(
        format!("{cause}; {}", listed(acting.iter().map(|k| shown(k)))),
        statements(restart.into_iter().chain(acting.iter().map(|k| again(k)))),
    )
}

fn foreign_keys_inside(facts: &Facts) -> Judged {
    let all = foreign_keys(facts)?;
    let moved = facts.moved(Side::Source);
    let takes = |name: &TableName| moved.takes(&name.schema, &name.table);
    let leaving: Vec<_> = all.iter().filter(|k| takes(&k.child) != takes(&k.parent)).collect();
    if !leaving.is_empty() {
        let outside =
            |k: &ForeignKey| if takes(&k.child) { k.parent.to_string() } else { k.child.to_string() };
        return refused(
            listed(leaving.iter().map(|k| format!("{} from {} to {}", k.name, k.child, k.parent))),
            statements(
                leaving.iter().map(|k| format!("add {} to the move, or: {}", outside(k), drop_key(k))),
            ),
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

#[cfg(test)]
mod tests {
    use super::super::sample::{self, outcome};
    use super::*;

    fn with_key(child: &str, parent: &str, on_delete: &str) -> Facts {
        let mut facts = sample::facts();
        let name = |text: &str| text.split_once('.').map(|(s, t)| TableName::new(s, t)).unwrap();
        facts.schema.foreign_keys = Ok(vec![ForeignKey {
            name: "fk".into(),
            child: name(child),
            parent: name(parent),
            on_update: "NO ACTION".into(),
            on_delete: on_delete.into(),
        }]);
        facts
    }

    #[test]
    fn foreign_keys_that_change_rows_unseen_are_refused() {
        let judge = |rule: &str, native: Option<&str>| {
            let mut facts = with_key("shop.lines", "shop.orders", rule);
            match native {
                Some(value) => facts.source = facts.source.with("innodb_native_foreign_keys", value),
                None => drop(facts.source.variables.0.remove("innodb_native_foreign_keys")),
            }
            foreign_key_actions(&facts, &facts.source).unwrap()
        };
        for acting in ["CASCADE", "SET NULL"] {
            assert_eq!(judge(acting, Some("OFF")).outcome, Outcome::Passed);
            let native = judge(acting, Some("ON"));
            assert_eq!(native.outcome, Outcome::Refused);
            assert!(
                native.evidence.starts_with("innodb_native_foreign_keys = ON; fk of shop.lines"),
                "{native:?}"
            );
            assert!(native.fix.unwrap().starts_with("-- restart"));
            let old = judge(acting, None);
            assert_eq!(old.outcome, Outcome::Refused);
            assert!(old.fix.unwrap().starts_with("ALTER TABLE `shop`.`lines` DROP FOREIGN KEY `fk`;"));
        }
        assert_eq!(judge("RESTRICT", None).outcome, Outcome::Passed);
    }

    #[test]
    fn foreign_keys_that_leave_the_move_are_refused_in_both_directions() {
        for (child, parent) in [("shop.orders", "crm.customers"), ("crm.notes", "shop.orders")] {
            let finding = foreign_keys_inside(&with_key(child, parent, "RESTRICT")).unwrap();
            assert_eq!(finding.outcome, Outcome::Refused);
            assert!(finding.fix.unwrap().starts_with("add crm."), "{child}");
        }
        assert_eq!(
            outcome(foreign_keys_inside(&with_key("shop.lines", "shop.orders", "RESTRICT"))),
            Outcome::Passed
        );
    }
}
