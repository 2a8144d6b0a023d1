//! Whether foreign keys stay whole through a move, and change nothing behind the binary log's back.

use model::{TableName, quote_ident};

use super::facts::{Facts, ForeignKey};
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
        foreign_key_actions,
        "what a foreign key deletes or changes by itself is not in the binary log before MySQL 9.6, and in a later one it \
         depends on innodb_native_foreign_keys: the target would keep rows the source has lost",
    ),
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
    let takes = |name: &TableName| facts.spec.takes(&name.schema, &name.table);
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
    fn foreign_keys_that_change_rows_by_themselves_are_refused() {
        for (rule, wanted) in
            [("RESTRICT", Outcome::Passed), ("CASCADE", Outcome::Refused), ("SET NULL", Outcome::Refused)]
        {
            assert_eq!(
                outcome(foreign_key_actions(&with_key("shop.lines", "shop.orders", rule))),
                wanted,
                "{rule}"
            );
        }
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
