//! Whether everything that moves can be written anew for a target that calls some of its schemas otherwise.

use super::facts::Facts;
use super::report::Outcome;
use super::report::Side;
use super::rule::{Acceptance, Judge, Judged, Rule, counted, listed, passed, refused, statements};

pub(super) const RULES: &[Rule] = &[Rule {
    name: "renamed-schemas",
    judge: Judge::On(Side::Source, renamed_schemas),
    acceptance: Acceptance::Never,
    unread: Outcome::Refused,
    why: "a view, routine, trigger or event that still named a schema as the source does would fail on the target, or mean another one",
}];

fn renamed_schemas(facts: &Facts) -> Judged {
    let renames = &facts.spec.renames;
    if renames.is_empty() {
        return passed("every schema keeps its name");
    }
    let pairs = || renames.iter().map(|(here, there)| format!("{here} is {there} on the target"));
    let folds = facts.target.variables.get("lower_case_table_names")? != "0";
    let upper: Vec<&str> = renames.iter().map(|(_, there)| there).filter(|there| is_upper(there)).collect();
    if folds && !upper.is_empty() {
        return refused(
            format!("the target writes all names in lower case (lower_case_table_names): {}", listed(&upper)),
            "write the new names in lower case in the move's `rename`",
        );
    }
    let bound = facts.schema.bound_to_names.as_ref().map_err(Clone::clone)?;
    if bound.is_empty() {
        return passed(listed(pairs()));
    }
    let by_hand = |what: &String| {
        let object = what.split(" holds ").next().unwrap_or(what);
        format!(
            "-- change or drop {object} on the source, or leave objects to yourself: `objects = false` in the move"
        )
    };
    refused(
        format!(
            "{} cannot be written anew with certainty: {}",
            counted(bound.len(), "object"),
            listed(bound)
        ),
        statements(bound.iter().map(by_hand)),
    )
}

fn is_upper(name: &str) -> bool {
    name.chars().any(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::super::rule::Unread;
    use super::super::sample::{self, outcome};
    use super::*;
    use crate::plan::Renames;

    #[test]
    fn what_is_bound_to_a_name_is_refused_by_its_own() {
        let mut facts = sample::facts();
        assert_eq!(outcome(renamed_schemas(&facts)), Outcome::Passed);
        facts.spec.renames = Renames::new([("shop".into(), "Store".into())]);
        assert_eq!(renamed_schemas(&facts).unwrap().evidence, "shop is Store on the target");
        let folding =
            Facts { target: facts.target.clone().with("lower_case_table_names", "1"), ..facts.clone() };
        assert_eq!(outcome(renamed_schemas(&folding)), Outcome::Refused);
        facts.schema.bound_to_names = Ok(vec!["procedure shop.p holds a text that names schema shop".into()]);
        let finding = renamed_schemas(&facts).unwrap();
        assert_eq!(finding.outcome, Outcome::Refused);
        assert!(finding.evidence.contains("procedure shop.p holds a text"), "{}", finding.evidence);
        assert!(finding.fix.unwrap().contains("procedure shop.p on the source"));
        facts.schema.bound_to_names = Err(Unread { error: "hidden".into(), fix: "GRANT".into() });
        assert!(renamed_schemas(&facts).is_err());
    }
}
