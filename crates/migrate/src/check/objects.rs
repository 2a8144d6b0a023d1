//! What hangs on the tables: triggers, events, views, routines, and the accounts they run as.

use std::collections::BTreeSet;

use super::TargetState;
use super::facts::{Facts, Object};
use super::report::{Outcome, Side};
use super::rule::{
    Acceptance, Fact, Judge, Judged, Rule, Unread, counted, listed, passed, refused, statements, warned,
};

use crate::plan::Fence;
use crate::schema::objects::FENCE_TRIGGERS;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "triggers",
        judge: Judge::On(Side::Source, triggers),
        acceptance: Acceptance::Operator,
        unread: Outcome::Refused,
        why: "a trigger that does not move along would no longer fire after the switch",
    },
    Rule {
        name: "events",
        judge: Judge::On(Side::Source, events),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "an event that does not move along would no longer run after the switch",
    },
    Rule {
        name: "views-and-routines",
        judge: Judge::On(Side::Source, views_and_routines),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "statements that use a view or routine that does not move along would fail on the target",
    },
    Rule {
        name: "function-creators",
        judge: Judge::On(Side::Target, function_creators),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "a server that writes a binary log takes a function that says nothing of what it does only if told to",
    },
    Rule {
        name: "definers",
        judge: Judge::On(Side::Target, definers),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "an object whose definer does not exist cannot run with its rights",
    },
    Rule {
        name: "target-triggers",
        judge: Judge::On(Side::Target, target_triggers),
        acceptance: Acceptance::Never,
        unread: Outcome::Warned,
        why: "a trigger on the target fires again for rows whose changes by the source's trigger arrive as well",
    },
    Rule {
        name: "target-events",
        judge: Judge::On(Side::Target, target_events),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "an event on the target can write to the moved tables, which then no longer equal the source's",
    },
];

fn read(fact: &Fact<Vec<Object>>) -> Result<&[Object], Unread> {
    fact.as_deref().map_err(Clone::clone)
}

fn names(objects: &[Object]) -> String {
    listed(objects.iter().map(|o| &o.name))
}

/// `schema.name`, quoted.
fn quoted(object: &Object) -> String {
    let (schema, name) = object.name.split_once('.').unwrap_or(("", &object.name));
    format!("{}.{}", model::quote_ident(schema), model::quote_ident(name))
}

fn triggers(facts: &Facts) -> Judged {
    let all = read(&facts.schema.triggers)?;
    if all.is_empty() {
        return passed("none on the moved tables");
    }
    if facts.along.objects {
        return passed(format!(
            "{}, created on the target at the fence: {}",
            counted(all.len(), "trigger"),
            names(all)
        ));
    }
    let by_hand =
        "-- accept 'triggers' to go on, and create them on the target after the switch: SHOW CREATE TRIGGER";
    refused(names(all), statements(all.iter().map(|t| format!("{by_hand} {};", quoted(t)))))
}

/// Whether a view, routine or event goes along: those of a schema do if the whole schema goes.
pub(super) fn goes(facts: &Facts, object: &Object) -> bool {
    facts.along.objects && facts.moved(Side::Source).whole_schemas().contains(&object.schema())
}

fn events(facts: &Facts) -> Judged {
    let all = read(&facts.schema.events)?;
    if all.is_empty() {
        return passed("none in the moved schemas");
    }
    // As the information schema calls DISABLE ON REPLICA; older servers say SLAVESIDE_DISABLED.
    let marked: Vec<Object> =
        all.iter().filter(|e| goes(facts, e) && e.status.ends_with("SIDE_DISABLED")).cloned().collect();
    if !marked.is_empty() {
        let fixes = marked.iter().map(|e| format!("ALTER EVENT {} DISABLE;  -- or ENABLE", quoted(e)));
        let evidence = format!(
            "DISABLE ON REPLICA, which is what marks an event to be enabled at the switch: {}",
            names(&marked)
        );
        return refused(evidence, statements(fixes));
    }
    let staying: Vec<Object> = all.iter().filter(|e| !goes(facts, e)).cloned().collect();
    if staying.is_empty() {
        return passed(format!(
            "{}, created on the target at the fence: {}",
            counted(all.len(), "event"),
            names(all)
        ));
    }
    let fixes = staying
        .iter()
        .map(|e| format!("-- create it on the target after the switch: SHOW CREATE EVENT {};", quoted(e)));
    warned(names(&staying), statements(fixes))
}

fn views_and_routines(facts: &Facts) -> Judged {
    let (views, routines) = (read(&facts.schema.views)?, read(&facts.schema.routines)?);
    if views.is_empty() && routines.is_empty() {
        return passed("none in the moved schemas");
    }
    let both = || views.iter().chain(routines);
    let evidence = format!(
        "{} and {}: {}",
        counted(views.len(), "view"),
        counted(routines.len(), "routine"),
        listed(both().map(|o| &o.name))
    );
    if both().all(|o| goes(facts, o)) {
        return passed(format!("{evidence}; they are created on the target after the copy"));
    }
    warned(
        evidence,
        "create them on the target before the switch, for example with mysqldump --no-data --routines",
    )
}

fn function_creators(facts: &Facts) -> Judged {
    let careless: Vec<Object> = read(&facts.schema.routines)?
        .iter()
        .filter(|r| goes(facts, r) && r.status == "CARELESS")
        .cloned()
        .collect();
    let trusted = facts.target.variables.is_on("log_bin_trust_function_creators");
    if careless.is_empty() || trusted || !facts.target.variables.is_on("log_bin") {
        return passed(format!("{} that the target may refuse", counted(careless.len(), "function")));
    }
    refused(
        format!("neither DETERMINISTIC nor NO SQL nor READS SQL DATA: {}", names(&careless)),
        "SET PERSIST log_bin_trust_function_creators = ON;",
    )
}

fn definers(facts: &Facts) -> Judged {
    let accounts = facts.target.accounts.as_ref().map_err(Clone::clone)?;
    let known: BTreeSet<&str> = accounts.iter().map(|a| a.name.as_str()).collect();
    let schema = &facts.schema;
    let mut used = BTreeSet::new();
    let mut hidden = None;
    for kind in [&schema.triggers, &schema.events, &schema.views, &schema.routines] {
        match kind {
            Ok(objects) => used.extend(objects.iter().map(|o| o.definer.as_str()).filter(|d| !d.is_empty())),
            Err(unread) => hidden = Some(unread.clone()),
        }
    }
    let missing: Vec<_> = used.iter().filter(|d| !known.contains(**d)).collect();
    match (missing.is_empty(), hidden) {
        (true, Some(unread)) => Err(unread),
        (true, None) => passed(match used.len() {
            0 => "no object has a definer".to_owned(),
            n => format!("{} in use, all known to the target", counted(n, "definer")),
        }),
        (false, _) => {
            let create = |d: &str| {
                format!(
                    "-- SHOW CREATE USER {};  on the source, then run it here",
                    super::facts::quoted_account(d)
                )
            };
            warned(
                format!("not on the target: {}", listed(&missing)),
                statements(missing.iter().map(|d| create(d))),
            )
        }
    }
}

fn target_triggers(facts: &Facts) -> Judged {
    // A fence of another kind would never lower them.
    let of_the_fence =
        |one: &&Object| facts.fence == Fence::Tables && one.own_name().starts_with(FENCE_TRIGGERS);
    let all = read(&facts.there.triggers)?;
    let all: Vec<Object> = all.iter().filter(|one| !of_the_fence(one)).cloned().collect();
    match (facts.state, all.is_empty()) {
        (TargetState::Fresh, true) => passed("no tables yet, so none on them"),
        (TargetState::Underway, true) => passed("none on the moved tables"),
        (_, false) => {
            refused(names(&all), statements(all.iter().map(|t| format!("DROP TRIGGER {};", quoted(t)))))
        }
    }
}

fn target_events(facts: &Facts) -> Judged {
    let scheduler = facts.target.variables.get("event_scheduler")?;
    let enabled: Vec<Object> = read(&facts.there.events)?.iter().filter(|e| e.enabled()).cloned().collect();
    if enabled.is_empty() || scheduler != "ON" {
        return passed(format!("event_scheduler = {scheduler}, {} enabled", counted(enabled.len(), "event")));
    }
    let schemas = facts.moved(Side::Target).schemas();
    let inside: Vec<Object> = enabled
        .iter()
        .filter(|e| e.name.split_once('.').is_some_and(|(s, _)| schemas.contains(&s)))
        .cloned()
        .collect();
    let disable =
        |all: &[Object]| statements(all.iter().map(|e| format!("ALTER EVENT {} DISABLE;", quoted(e))));
    if inside.is_empty() {
        let evidence = format!("event_scheduler = ON; in other schemas: {}", names(&enabled));
        return warned(
            evidence,
            format!("-- see that they leave the moved tables alone, or:\n{}", disable(&enabled)),
        );
    }
    refused(format!("event_scheduler = ON; in moved schemas: {}", names(&inside)), disable(&inside))
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, object, outcome};
    use super::*;

    #[test]
    fn what_stays_behind_is_refused_or_warned_about_and_what_goes_along_is_not() {
        let mut facts = sample::facts();
        for judge in [triggers, events, views_and_routines, function_creators] {
            assert_eq!(outcome(judge(&facts)), Outcome::Passed);
        }
        let one = || Ok(vec![object("shop.audit", "app@%")]);
        facts.schema.triggers = one();
        facts.schema.events = one();
        facts.schema.routines = one();
        for judge in [triggers, events, views_and_routines] {
            assert_eq!(outcome(judge(&facts)), Outcome::Passed);
        }
        // Of a schema of which only some tables go, nothing but their triggers does.
        facts.spec.tables[0].table = Some("orders".into());
        assert_eq!(outcome(triggers(&facts)), Outcome::Passed);
        assert_eq!(outcome(events(&facts)), Outcome::Warned);
        facts.along.objects = false;
        assert_eq!(outcome(triggers(&facts)), Outcome::Refused);
        assert_eq!(outcome(events(&facts)), Outcome::Warned);
        assert_eq!(views_and_routines(&facts).unwrap().evidence, "0 views and 1 routine: shop.audit");
    }

    #[test]
    fn events_marked_as_ours_are_refused() {
        let mut facts = sample::facts();
        for (status, wanted) in [("REPLICA_SIDE_DISABLED", Outcome::Refused), ("DISABLED", Outcome::Passed)] {
            facts.schema.events = Ok(vec![Object { status: status.into(), ..object("shop.e", "app@%") }]);
            assert_eq!(outcome(events(&facts)), wanted, "{status}");
        }
    }

    #[test]
    fn a_function_that_says_nothing_of_itself_needs_a_target_that_trusts_it() {
        let mut facts = sample::facts();
        facts.schema.routines = Ok(vec![Object { status: "CARELESS".into(), ..object("shop.f", "app@%") }]);
        let finding = function_creators(&facts).unwrap();
        assert_eq!(finding.outcome, Outcome::Refused);
        assert!(finding.evidence.ends_with(": shop.f"), "{}", finding.evidence);
        facts.target = facts.target.with("log_bin_trust_function_creators", "ON");
        assert_eq!(outcome(function_creators(&facts)), Outcome::Passed);
    }

    #[test]
    fn definers_must_exist_on_the_target() {
        let mut facts = sample::facts();
        facts.schema.views = Ok(vec![object("shop.v", "hw@%"), object("shop.w", "gone@10.0.0.1")]);
        let finding = definers(&facts).unwrap();
        assert_eq!(
            (finding.outcome, finding.evidence.as_str()),
            (Outcome::Warned, "not on the target: gone@10.0.0.1")
        );
        assert!(finding.fix.unwrap().contains("'gone'@'10.0.0.1'"));
        facts.schema.views = Ok(vec![object("shop.v", "hw@%")]);
        assert_eq!(outcome(definers(&facts)), Outcome::Passed);
        facts.schema.events = Err(Unread { error: "hidden".into(), fix: "GRANT".into() });
        assert!(definers(&facts).is_err());
    }

    #[test]
    fn triggers_on_the_target_are_refused() {
        let mut facts = sample::facts();
        facts.there.triggers = Ok(vec![object("shop.audit", "app@%")]);
        assert_eq!(target_triggers(&facts).unwrap().fix.as_deref(), Some("DROP TRIGGER `shop`.`audit`;"));
        // Those of a fence are at home there, but not where the fence is of another kind.
        facts.there.triggers = Ok(vec![object("shop.highwater_fence_00_insert", "hw@%")]);
        assert_eq!(outcome(target_triggers(&facts)), Outcome::Refused);
        facts.fence = Fence::Tables;
        assert_eq!(outcome(target_triggers(&facts)), Outcome::Passed);
    }

    #[test]
    fn events_that_run_on_the_target_are_refused_in_moved_schemas_and_warned_about_elsewhere() {
        let judge = |name: &str, enabled: bool, scheduler: &str| {
            let mut facts = sample::facts();
            facts.target = facts.target.with("event_scheduler", scheduler);
            facts.there.events = Ok(vec![Object {
                status: if enabled { "ENABLED" } else { "DISABLED" }.into(),
                ..object(name, "app@%")
            }]);
            outcome(target_events(&facts))
        };
        assert_eq!(judge("shop.sweep", true, "ON"), Outcome::Refused);
        assert_eq!(judge("crm.sweep", true, "ON"), Outcome::Warned);
        assert_eq!(judge("shop.sweep", false, "ON"), Outcome::Passed);
        assert_eq!(judge("shop.sweep", true, "OFF"), Outcome::Passed);
    }
}
