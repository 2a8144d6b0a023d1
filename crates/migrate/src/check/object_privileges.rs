//! What creating the objects that move along takes: found out by an account that had one privilege after another (9.7.4).

use super::access::{Missing, Need, lacking, missing};
use super::facts::{Facts, Object};
use super::fences::trusts_creators;
use super::objects::goes;
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Fact, Judge, Judged, Rule, passed};

const fn rule(side: Side, judge: fn(&Facts) -> Judged, why: &'static str) -> Rule {
    Rule {
        name: "privileges-objects",
        judge: Judge::On(side, judge),
        acceptance: Acceptance::Operator,
        unread: Outcome::Refused,
        why,
    }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        Side::Target,
        |f| judged(f, Side::Target),
        "views and routines are created when the copy is complete, triggers and events within the cutover, which a \
         missing privilege would end",
    ),
    rule(
        Side::Source,
        |f| judged(f, Side::Source),
        "after the switch triggers and events are taken away from the old source, and on the way back created there again",
    ),
];

const VIEWS: &[Need] = &[Need::MovedSchemas(&["CREATE VIEW"]), Need::MovedSchemas(&["SHOW VIEW"])];
const ROUTINES: &[Need] = &[
    Need::MovedSchemas(&["CREATE ROUTINE"]),
    Need::MovedSchemas(&["ALTER ROUTINE"]),
    Need::Server(&["SHOW_ROUTINE", "SELECT"]),
];
const TRIGGERS: &[Need] = &[Need::MovedSchemas(&["TRIGGER"])];
const EVENTS: &[Need] = &[Need::MovedSchemas(&["EVENT"])];
/// To create an object that runs as somebody else.
const DEFINERS: &[Need] = &[Need::Server(&["SET_ANY_DEFINER", "SET_USER_ID", "SUPER"])];
/// What makes a server do without it.
const TRUSTED: &str = "\n-- or, for SUPER: SET PERSIST log_bin_trust_function_creators = ON;";

fn judged(facts: &Facts, side: Side) -> Judged {
    if !facts.along.objects {
        return passed("no objects move along");
    }
    let (server, schema) = (facts.server(side), &facts.schema);
    // What cannot be read is for the rules about the objects themselves to say.
    let going = |all: &Fact<Vec<Object>>| -> Vec<Object> {
        all.iter().flatten().filter(|o| goes(facts, o)).cloned().collect()
    };
    let triggers: Vec<Object> = schema.triggers.iter().flatten().cloned().collect();
    let events = going(&schema.events);
    // These stay where they are, and are only created on the target.
    let (views, routines) = match side {
        Side::Target => (going(&schema.views), going(&schema.routines)),
        _ => Default::default(),
    };
    let kinds = [(&triggers, TRIGGERS), (&events, EVENTS), (&views, VIEWS), (&routines, ROUTINES)];

    let there_are = kinds.iter().filter(|(objects, _)| !objects.is_empty());
    let mut all: Vec<Missing> = there_are.flat_map(|(_, needs)| missing(facts, side, needs)).collect();
    if kinds.iter().any(|(objects, _)| objects.iter().any(|o| o.definer != server.account)) {
        all.extend(missing(facts, side, DEFINERS));
    }
    // What a server that writes a binary log asks of whoever creates triggers and functions (error 1419).
    let function = |o: &Object| matches!(o.status.as_str(), "FUNCTION" | "CARELESS");
    let distrusted =
        (!triggers.is_empty() || routines.iter().any(function)) && !trusts_creators(facts, side)?;
    if distrusted {
        all.push(("SUPER", "*.*".to_owned()));
    }
    let mut finding = lacking(server, &all)?;
    if let (Some(fix), true) = (&mut finding.fix, distrusted) {
        fix.push_str(TRUSTED);
    }
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::super::grants::Grants;
    use super::super::rule::Finding;
    use super::super::sample::{self, object};
    use super::*;

    fn check(grants: &[&str], change: impl FnOnce(&mut Facts)) -> Finding {
        let mut facts = sample::facts();
        facts.target.grants = Ok(Grants::parse(grants.iter().copied()));
        change(&mut facts);
        judged(&facts, Side::Target).unwrap()
    }

    #[test]
    fn only_what_moves_along_asks_for_privileges() {
        let view = |f: &mut Facts| f.schema.views = Ok(vec![object("shop.v", "app@%")]);
        assert_eq!(check(&[], |_| ()).outcome, Outcome::Passed);
        let finding = check(&[], view);
        assert_eq!(
            finding.evidence,
            format!(
                "{} lacks SET_ANY_DEFINER on *.*, CREATE VIEW, SHOW VIEW on `shop`.*",
                sample::facts().target.account
            )
        );
        let without = |f: &mut Facts| {
            view(f);
            f.along.objects = false;
        };
        assert_eq!(check(&[], without).outcome, Outcome::Passed);
        let granted =
            ["GRANT SUPER ON *.* TO `hw`@`%`", "GRANT CREATE VIEW, SHOW VIEW ON `shop`.* TO `hw`@`%`"];
        assert_eq!(check(&granted, view).outcome, Outcome::Passed);
    }

    #[test]
    fn a_server_that_logs_asks_for_super_or_to_be_told_to_trust() {
        let granted = ["GRANT SET_ANY_DEFINER ON *.* TO `hw`@`%`", "GRANT TRIGGER ON `shop`.* TO `hw`@`%`"];
        let trigger = |f: &mut Facts| f.schema.triggers = Ok(vec![object("shop.t", "app@%")]);
        let finding = check(&granted, trigger);
        assert!(finding.evidence.ends_with("lacks SUPER on *.*"), "{}", finding.evidence);
        assert!(finding.fix.unwrap().ends_with(TRUSTED));
        let trusting = |f: &mut Facts| {
            trigger(f);
            f.target = f.target.clone().with("log_bin_trust_function_creators", "ON");
        };
        assert_eq!(check(&granted, trusting).outcome, Outcome::Passed);
    }
}
