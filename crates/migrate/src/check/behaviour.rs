//! Whether the target does what the source does, for sessions such as the application's.
//!
//! The rows move exactly whatever comes out here. But the application goes on with its statements on the target, and what
//! they mean depends on settings, versions and machines. What a statement answers otherwise without an error is the worse
//! kind: an error is seen at once, a wrong value when it has been stored for weeks.

use super::expression::Expression;
use super::expressions;
use super::facts::Facts;
use super::probe::{Answer, Behaviour};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Finding, Judge, Judged, Rule, counted, passed, statements};

const fn compare(name: &'static str, judge: fn(&Facts) -> Judged, why: &'static str) -> Rule {
    Rule {
        name,
        judge: Judge::On(Side::Both, judge),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why,
    }
}

pub(super) const RULES: &[Rule] = &[
    compare(
        "behaviour-time",
        |facts| judge(facts, expressions::TIME),
        "the application's statements would read, write or compute other times and dates on the target",
    ),
    compare(
        "behaviour-numbers",
        |facts| judge(facts, expressions::NUMBERS),
        "the application's statements would compute or show other numbers on the target",
    ),
    compare(
        "behaviour-text",
        |facts| judge(facts, expressions::TEXT),
        "the application's statements would compare, sort or match texts otherwise on the target",
    ),
    compare(
        "behaviour-json",
        |facts| judge(facts, expressions::JSON),
        "the application would get other JSON texts, or compare them otherwise, on the target",
    ),
    compare(
        "behaviour-modes",
        |facts| judge(facts, expressions::MODES),
        "the same statement would mean something else on the target, or be refused on one side only",
    ),
    compare(
        "behaviour-functions",
        |facts| judge(facts, expressions::FUNCTIONS),
        "statements that use these functions or names would fail on the target, or compute something else",
    ),
];

fn judge(facts: &Facts, asked: &[Expression]) -> Judged {
    let source = facts.source.behaviour.as_ref().map_err(Clone::clone)?;
    let target = facts.target.behaviour.as_ref().map_err(Clone::clone)?;
    let mut outcome = Outcome::Passed;
    let mut differences = Vec::new();
    let mut fixes = Vec::new();
    for expression in asked {
        let (here, there) = (source.answer(expression)?, target.answer(expression)?);
        if here == there {
            continue;
        }
        let settings = differing(expression, source, target);
        outcome = outcome.max(harm(expression, there));
        differences.push(format!(
            "{}: {here} on the source, {there} on the target: {} [{}]",
            expression.name,
            expression.meaning,
            cause(facts, &settings)
        ));
        for fix in fixes_of(expression, &settings, here) {
            if !fixes.contains(&fix) {
                fixes.push(fix);
            }
        }
    }
    if differences.is_empty() {
        return passed(format!("{}, the same answers on both", counted(asked.len(), "expression")));
    }
    Ok(Finding { outcome, evidence: differences.join("\n"), fix: Some(statements(fixes)) })
}

fn harm(expression: &Expression, on_target: &Answer) -> Outcome {
    match on_target {
        Answer::Error { .. } => Outcome::Warned,
        Answer::Value(_) => expression.unnoticed,
    }
}

/// A variable that both sessions have, with different values.
struct Setting<'a> {
    name: &'static str,
    source: &'a str,
    target: &'a str,
}

fn differing<'a>(expression: &Expression, source: &'a Behaviour, target: &'a Behaviour) -> Vec<Setting<'a>> {
    let pair = |name: &'static str| {
        let (source, target) = (source.settings.get(name)?, target.settings.get(name)?);
        (source != target).then_some(Setting { name, source, target })
    };
    expression.settings.iter().filter_map(|name| pair(name)).collect()
}

fn cause(facts: &Facts, settings: &[Setting]) -> String {
    let (source, target) = (facts.source.version(), facts.target.version());
    let shown = |setting: &Setting| match setting.name {
        // Long lists, of which the meaning names the mode that matters and `sql-mode` the rest.
        "sql_mode" => "sql_mode differs".to_owned(),
        name => format!("{name} is {} on the source, {} on the target", setting.source, setting.target),
    };
    match settings {
        [] if source == target => {
            format!(
                "no setting decides this and both are MySQL {source}: what is installed or loaded differs"
            )
        }
        [] => format!("no setting decides this: MySQL {source} on the source, {target} on the target"),
        some => some.iter().map(shown).collect::<Vec<_>>().join(", "),
    }
}

fn fixes_of(expression: &Expression, settings: &[Setting], on_source: &Answer) -> Vec<String> {
    if settings.is_empty() && matches!(on_source, Answer::Error { .. } | Answer::Value(None)) {
        // Nothing that works on the source depends on it, so only the way back does.
        return vec![format!(
            "-- only the target can do this, so a rollback would take it away: {}",
            expression.sql
        )];
    }
    if settings.is_empty() {
        let look = || {
            format!("-- look for the like in the application, and try it on the target: {}", expression.sql)
        };
        return vec![expression.remedy.map_or_else(look, str::to_owned)];
    }
    settings.iter().map(fix).collect()
}

const AS_ZONE: &str = "-- set time_zone on the target as `time-zone` says; where it is SYSTEM on the source, only SYSTEM and \
                       the same TZ in the environment of the target's mysqld are exactly the same";

fn fix(setting: &Setting) -> String {
    let (name, value) = (setting.name, setting.source);
    match name {
        // What SYSTEM means on the source cannot be set, only named, which is another rule's knowledge. And the server
        // reads an hour that exists twice in one way in SYSTEM and in another in the same zone by name.
        "time_zone" | "system_time_zone" => AS_ZONE.to_owned(),
        _ if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() => {
            format!("SET PERSIST {name} = {value};")
        }
        _ => format!("SET PERSIST {name} = '{value}';"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::Unread;
    use super::super::sample;
    use super::*;

    fn named(name: &str) -> &'static Expression {
        expressions::all().find(|e| e.name == name).unwrap()
    }

    fn value(text: &str) -> Answer {
        Answer::Value(Some(text.into()))
    }

    fn error(code: u16) -> Answer {
        Answer::Error { code, message: "no; not here".into() }
    }

    /// Judges one expression with these answers, while a setting has these values.
    fn check(name: &str, answers: (Answer, Answer), setting: Option<(&str, &str, &str)>) -> Finding {
        let expression = named(name);
        let mut facts = sample::facts();
        for (server, answer, side) in [(&mut facts.source, answers.0, 0), (&mut facts.target, answers.1, 1)] {
            let behaviour = server.behaviour.as_mut().unwrap();
            behaviour.answers.insert(expression.name, answer);
            if let Some((name, source, target)) = setting {
                behaviour.settings.insert(name.into(), [source, target][side].into());
            }
        }
        judge(&facts, std::slice::from_ref(expression)).unwrap()
    }

    #[test]
    fn a_difference_names_both_answers_its_meaning_the_setting_and_the_statement_to_run() {
        let found = check(
            "average",
            (value("1.3333"), value("1.33333333")),
            Some(("div_precision_increment", "4", "8")),
        );
        assert_eq!(found.outcome, Outcome::Warned);
        assert_eq!(
            found.evidence,
            "average: '1.3333' on the source, '1.33333333' on the target: averages have another number of decimals \
             [div_precision_increment is 4 on the source, 8 on the target]"
        );
        assert_eq!(found.fix.as_deref(), Some("SET PERSIST div_precision_increment = 4;"));
    }

    #[test]
    fn another_value_is_refused_where_it_would_be_stored_and_an_error_is_warned_about() {
        let lost = check(
            "too-long-text",
            (error(1406), value("a,a")),
            Some(("sql_mode", "STRICT_TRANS_TABLES", "")),
        );
        assert_eq!(lost.outcome, Outcome::Refused);
        assert_eq!(lost.fix.as_deref(), Some("SET PERSIST sql_mode = 'STRICT_TRANS_TABLES';"));
        let stricter = check(
            "too-long-text",
            (value("a,a"), error(1406)),
            Some(("sql_mode", "", "STRICT_TRANS_TABLES")),
        );
        assert_eq!(stricter.outcome, Outcome::Warned);
        assert_eq!(stricter.fix.as_deref(), Some("SET PERSIST sql_mode = '';"));
        assert_eq!(check("group-by", (error(1055), value("1")), None).outcome, Outcome::Warned);
    }

    #[test]
    fn errors_are_compared_by_number_and_null_is_a_value_of_its_own() {
        let worded = |message: &str| Answer::Error { code: 1690, message: message.into() };
        let same = check("unsigned-subtraction", (worded("out of range"), worded("beyond the range")), None);
        assert_eq!(
            (same.outcome, same.evidence.as_str()),
            (Outcome::Passed, "1 expression, the same answers on both")
        );
        assert_eq!(check("unsigned-subtraction", (error(1690), error(1264)), None).outcome, Outcome::Warned);
        let empty = check("zone-by-name", (value(""), Answer::Value(None)), None);
        assert!(empty.evidence.contains("'' on the source, NULL on the target"), "{}", empty.evidence);
    }

    #[test]
    fn what_no_setting_explains_is_put_down_to_the_version_or_the_machine() {
        let mut facts = sample::facts();
        facts.source = facts.source.with("version", "8.0.36");
        facts.target.behaviour.as_mut().unwrap().answers.insert("md5", error(1305));
        let gone = judge(&facts, expressions::FUNCTIONS).unwrap();
        assert_eq!(gone.outcome, Outcome::Warned);
        assert!(
            gone.evidence.ends_with("MySQL 8.0.36 on the source, 9.7.4 on the target]"),
            "{}",
            gone.evidence
        );
        assert!(gone.evidence.contains("error 1305 (no) on the target"), "{}", gone.evidence);
        assert!(gone.fix.unwrap().starts_with("INSTALL COMPONENT"));
        let math = check("functions-of-doubles", (value("1.1"), value("1.2")), None);
        assert!(math.evidence.contains("both are MySQL 9.7.4: what is installed"), "{}", math.evidence);
        assert!(math.fix.unwrap().ends_with(named("functions-of-doubles").sql));
    }

    #[test]
    fn several_differences_come_out_as_the_worst_and_ask_for_each_setting_once() {
        let mut facts = sample::facts();
        for (server, modes) in [(&mut facts.source, "ANSI_QUOTES,PIPES_AS_CONCAT"), (&mut facts.target, "")] {
            server.behaviour.as_mut().unwrap().settings.insert("sql_mode".into(), modes.into());
        }
        let answers = &mut facts.target.behaviour.as_mut().unwrap().answers;
        answers.insert("group-by", error(1055));
        answers.insert("two-bars", value("0"));
        let found = judge(&facts, expressions::MODES).unwrap();
        assert_eq!(found.outcome, Outcome::Refused);
        assert!(
            found.evidence.starts_with("group-by: ") && found.evidence.contains("\ntwo-bars: "),
            "{found:?}"
        );
        assert_eq!(found.fix.as_deref(), Some("SET PERSIST sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT';"));
    }

    #[test]
    fn a_zone_is_left_to_the_rule_that_knows_its_name() {
        let found =
            check("winter", (value("04:00"), value("12:00")), Some(("system_time_zone", "PST", "UTC")));
        assert_eq!(found.outcome, Outcome::Warned);
        assert_eq!(found.fix.as_deref(), Some(AS_ZONE));
    }

    #[test]
    fn a_server_that_did_not_answer_is_not_taken_for_the_same() {
        let mut facts = sample::facts();
        facts.source.behaviour.as_mut().unwrap().answers.remove("md5");
        assert!(judge(&facts, expressions::FUNCTIONS).is_err());
        facts.source.behaviour = Err(Unread { error: "busy".into(), fix: "wait".into() });
        assert!(judge(&facts, expressions::JSON).is_err());
    }

    #[test]
    fn every_expression_is_read_only_and_has_a_name_of_its_own() {
        let mut names: Vec<_> = expressions::all().map(|e| e.name).collect();
        let count = names.len();
        // What the changelog says.
        assert!(count > 70, "{count}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for e in expressions::all() {
            assert!(
                e.sql.split(';').all(|s| s.trim().starts_with("SELECT ") || s.starts_with("WITH ")),
                "{}",
                e.sql
            );
            assert!(!e.sql.contains(" INTO ") && !e.sql.contains(" FOR "), "{}", e.sql);
            assert!(!e.meaning.is_empty() && !e.meaning.ends_with('.'), "{}", e.name);
        }
    }
}
