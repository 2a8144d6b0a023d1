//! What a check is: a name, a pure function from facts to a finding, and the sentence that says why it matters.
//!
//! Invariant: a finding that is not a pass always names its fix; the types leave no other way.

use super::facts::{Facts, ServerFacts};
use super::nearest;
use super::report::{Check, CheckReport, Outcome, Side};

/// A fact, or why it could not be read.
pub(super) type Fact<T> = Result<T, Unread>;

/// A fact a server did not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    /// What the server said.
    pub error: String,
    /// What would make it tell.
    pub fix: String,
}

/// What a judging function concludes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub outcome: Outcome,
    pub evidence: String,
    pub fix: Option<String>,
}

/// A finding, unless the fact it needs was not told.
pub(super) type Judged = Result<Finding, Unread>;

pub(super) fn passed(evidence: impl Into<String>) -> Judged {
    Ok(Finding { outcome: Outcome::Passed, evidence: evidence.into(), fix: None })
}

pub(super) fn warned(evidence: impl Into<String>, fix: impl Into<String>) -> Judged {
    Ok(Finding { outcome: Outcome::Warned, evidence: evidence.into(), fix: Some(fix.into()) })
}

pub(super) fn refused(evidence: impl Into<String>, fix: impl Into<String>) -> Judged {
    Ok(Finding { outcome: Outcome::Refused, evidence: evidence.into(), fix: Some(fix.into()) })
}

/// The function of a rule.
pub(super) enum Judge {
    /// Looks at the move as a whole; the side is the one its finding is about.
    On(Side, fn(&Facts) -> Judged),
    /// Looks at each server by itself.
    Each(fn(&ServerFacts) -> Judged),
}

/// Whether an operator may decide to go on in spite of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// Going on could lose or invent rows, or cannot work at all.
    Never,
    /// The rows would be right; the rest is the operator's business.
    Operator,
}

/// One check, before it is run.
pub(super) struct Rule {
    pub name: &'static str,
    pub judge: Judge,
    pub acceptance: Acceptance,
    /// How it comes out when its fact cannot be read.
    pub unread: Outcome,
    pub why: &'static str,
}

/// Runs every rule, then says which of the accepted names meant nothing.
pub(super) fn judge<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    facts: &Facts,
    accept: &[String],
) -> CheckReport {
    let mut checks = Vec::new();
    let mut names = Vec::new();
    for rule in rules {
        names.push(rule.name);
        match rule.judge {
            Judge::On(side, judge) => checks.push(conclude(rule, side, judge(facts), accept)),
            Judge::Each(judge) => {
                for server in [&facts.source, &facts.target] {
                    checks.push(conclude(rule, server.side, judge(server), accept));
                }
            }
        }
    }
    checks.extend(accept.iter().filter(|a| !names.contains(&a.as_str())).map(|a| unknown_name(a, &names)));
    CheckReport { checks }
}

fn conclude(rule: &Rule, side: Side, judged: Judged, accept: &[String]) -> Check {
    let mut finding = judged.unwrap_or_else(|unread| Finding {
        outcome: rule.unread,
        evidence: format!("could not be read: {}", unread.error),
        fix: Some(unread.fix),
    });
    let wished = finding.outcome == Outcome::Refused && accept.iter().any(|a| a == rule.name);
    let accepted = wished && rule.acceptance == Acceptance::Operator;
    if accepted {
        finding.outcome = Outcome::Warned;
        finding.evidence.push_str(" (accepted by the operator)");
    } else if wished {
        finding.evidence.push_str(" (this cannot be accepted: the copy would not be exact)");
    }
    let Finding { outcome, evidence, fix } = finding;
    Check { name: rule.name, side, outcome, evidence, fix, why: rule.why, accepted }
}

fn unknown_name(name: &str, known: &[&str]) -> Check {
    let nearest = nearest::nearest(name, known.iter().copied()).unwrap_or("nothing");
    Check {
        name: "accept",
        side: Side::Both,
        outcome: Outcome::Warned,
        evidence: format!("no check is called '{name}', so accepting it has no effect"),
        fix: Some(format!("accept '{nearest}', or remove the name")),
        why: "a misspelt name would leave the refusal it was meant for in place",
        accepted: false,
    }
}

/// Names for a sentence: the first few, then how many more.
pub(super) fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 6;
    let all: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    let mut text = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        text.push_str(&format!(" and {} more", all.len() - SHOWN));
    }
    text
}

/// Statements of a fix, one a line.
pub(super) fn statements(items: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 12;
    let mut all: Vec<String> = items.into_iter().collect();
    if all.len() > SHOWN {
        let more = all.len() - SHOWN;
        all.truncate(SHOWN);
        all.push(format!("-- and so on for {more} more"));
    }
    all.join("\n")
}

/// `1 table`, `2 tables`.
pub(super) fn counted(n: usize, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        _ => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const LOST: Rule = Rule {
        name: "row-loss",
        judge: Judge::On(Side::Both, |_| refused("seen", "do")),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: "w",
    };
    const ODD: Rule = Rule { name: "odd-zone", acceptance: Acceptance::Operator, ..LOST };

    fn accepting(names: &[&str]) -> Vec<Check> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        judge([&LOST, &ODD].into_iter(), &sample::facts(), &names).checks
    }

    #[test]
    fn an_accepted_refusal_becomes_a_recorded_warning() {
        let checks = accepting(&["odd-zone"]);
        assert_eq!((checks[1].outcome, checks[1].accepted), (Outcome::Warned, true));
        assert_eq!(checks[1].evidence, "seen (accepted by the operator)");
        assert_eq!(checks[0].outcome, Outcome::Refused);
    }

    #[test]
    fn what_could_lose_rows_cannot_be_accepted() {
        let checks = accepting(&["row-loss"]);
        assert_eq!((checks[0].outcome, checks[0].accepted), (Outcome::Refused, false));
        assert!(checks[0].evidence.contains("cannot be accepted"));
    }

    #[test]
    fn a_misspelt_acceptance_is_pointed_out() {
        let checks = accepting(&["odd_zone"]);
        assert_eq!((checks[2].name, checks[2].outcome), ("accept", Outcome::Warned));
        assert_eq!(checks[2].fix.as_deref(), Some("accept 'odd-zone', or remove the name"));
        assert_eq!(checks[1].outcome, Outcome::Refused);
    }

    #[test]
    fn a_fact_that_could_not_be_read_never_passes() {
        const DARK: Rule = Rule {
            judge: Judge::Each(|_| Err(Unread { error: "denied".into(), fix: "GRANT".into() })),
            unread: Outcome::Warned,
            ..LOST
        };
        let report = judge([&DARK].into_iter(), &sample::facts(), &[]);
        assert_eq!((report.warned(), report.passed()), (2, 0));
        assert_eq!(report.checks[0].evidence, "could not be read: denied");
        assert_eq!((report.checks[0].side, report.checks[1].side), (Side::Source, Side::Target));
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        assert_eq!(listed(1..=3), "1, 2, 3");
        assert_eq!(listed(1..=9), "1, 2, 3, 4, 5, 6 and 3 more");
        assert_eq!(
            statements((0..14).map(|i| i.to_string())).lines().last(),
            Some("-- and so on for 2 more")
        );
        assert_eq!((counted(1, "key"), counted(2, "query")), ("1 key".to_owned(), "2 queries".to_owned()));
    }
}
