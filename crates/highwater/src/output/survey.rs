//! What a crossing would find and how long it would take, for people.

use migrate::cutover::{Guardrail, Survey};

use super::table::lined_up_left;

/// The survey as text, ending in a line break.
pub fn render(survey: &Survey) -> String {
    let run = survey.run;
    let mut text = match survey.would_begin {
        true => format!("a {run} would begin now\n"),
        false => format!("a {run} would be REFUSED now\n"),
    };
    let header = ["guardrail", "verdict", "seen", "should be"].map(str::to_owned);
    let rail = |g: &Guardrail| [g.name.clone(), verdict(g).to_owned(), g.seen.clone(), g.limit.clone()];
    text.push_str(&lined_up_left(std::iter::once(header).chain(survey.guardrails.iter().map(rail))));
    for g in survey.guardrails.iter().filter(|g| !g.holds) {
        text.push_str(&format!("{}: {}\n", g.name, g.why));
        text.push_str(&format!("  hint: {}\n", g.hint));
    }
    let estimate = &survey.estimate;
    text.push_str(&format!("estimated stall {:.0} ms\n", estimate.stall_ms));
    let part = |p: &migrate::cutover::Part| [p.phase.to_string(), format!("{:.1} ms", p.ms), p.from.clone()];
    text.push_str(&lined_up_left(estimate.parts.iter().map(part)));
    if estimate.hooks_max_ms > 0.0 {
        text.push_str(&format!("and what the hooks take, at most {:.0} ms\n", estimate.hooks_max_ms));
    }
    text.push_str("nothing was changed; `--rehearse` measures it\n");
    text
}

fn verdict(rail: &Guardrail) -> &'static str {
    match (rail.holds, rail.warning, rail.acceptable) {
        (true, ..) => "holds",
        (false, true, _) => "warns",
        (false, false, true) => "REFUSES, unless accepted",
        (false, false, false) => "REFUSES",
    }
}

#[cfg(test)]
mod tests {
    use migrate::cutover::{Estimate, Part, Phase, Run};

    use super::*;

    #[test]
    fn guardrails_and_estimate_read_as_tables() {
        let survey = Survey {
            run: Run::Cutover,
            would_begin: false,
            guardrails: vec![
                Guardrail::new("lag", false, "4.2 s", "wait")
                    .limit("1.0 s")
                    .why("it is applied while clients are held"),
                Guardrail::new("clocks", true, "apart by less than 2 ms", "").limit("500 ms apart"),
            ],
            estimate: Estimate {
                parts: vec![Part { phase: Phase::Drain, ms: 0.0, from: "no transaction is open".into() }],
                stall_ms: 26.4,
                hooks_max_ms: 5000.0,
            },
        };
        let expected = "\
a cutover would be REFUSED now
  guardrail  verdict  seen                     should be
  lag        REFUSES  4.2 s                    1.0 s
  clocks     holds    apart by less than 2 ms  500 ms apart
lag: it is applied while clients are held
  hint: wait
estimated stall 26 ms
  drain  0.0 ms  no transaction is open
and what the hooks take, at most 5000 ms
nothing was changed; `--rehearse` measures it
";
        assert_eq!(render(&survey), expected);
    }
}
