//! The report as a page: what happened, how long each phase took, who waited how long, and what was known and accepted.

use std::fmt::Write;

use load::report::{escape, utc};
use migrate::cutover::{Guardrail, HookRun, Phase, PhaseTime, Primed, Run};

use super::{End, FileOf, Stall};
use crate::output::grouped;

/// The whole page.
pub(super) fn page(file: &FileOf) -> String {
    let title = format!("{} {} of move {}", capital(&file.run.to_string()), file.number, file.move_name);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{}</title><style>{}</style></head><body><main>",
        escape(&title),
        include_str!("style.css")
    );
    head(&mut html, file, &title);
    tiles(&mut html, file);
    phases(&mut html, &file.record.phases);
    stall(&mut html, file.stall.as_ref());
    accepted(&mut html, file);
    guardrails(&mut html, &file.record.guardrails);
    primed(&mut html, file.record.primed.as_ref());
    proof(&mut html, file);
    hooks(&mut html, &file.record.hooks);
    push(
        &mut html,
        format_args!("<footer>highwater {}</footer></main></body></html>\n", escape(&file.version)),
    );
    html
}

fn head(html: &mut String, file: &FileOf, title: &str) {
    let (class, outcome, more) = match &file.end {
        End::Crossed(report) => (
            if report.accepted_unproven.is_empty() && report.warnings.is_empty() { "good" } else { "doubt" },
            format!("{} serves since switch {}", file.to, report.epoch),
            format!("clients were held for {}", ms(report.held_ms)),
        ),
        End::Rehearsed(report) => (
            "good",
            format!("A real {} would have held the clients for {}", other_word(file), ms(report.stall_ms)),
            format!("the rehearsal held them for {}, and everything was put back", ms(report.held_ms)),
        ),
        End::GivenUp(trouble) => {
            ("bad", trouble.what.clone(), format!("{}. {}", capital(&trouble.state), capital(&trouble.hint)))
        }
    };
    push(
        html,
        format_args!(
            "<header><span class=\"name\">{}</span><span>{}</span></header>\
             <section class=\"verdict {class}\"><h1>{}</h1><p>{}</p></section>\
             <p class=\"say\">From {} to {}. Asked for by <b>{}</b>.</p>",
            escape(title),
            utc(file.begun_unix_ms),
            escape(&outcome),
            escape(&more),
            escape(&file.from),
            escape(&file.to),
            escape(&file.asked_by)
        ),
    );
}

fn other_word(file: &FileOf) -> &'static str {
    if file.run == Run::Rollback { "rollback" } else { "crossing" }
}

fn tiles(html: &mut String, file: &FileOf) {
    let record = &file.record;
    let rows: u64 = record.tables.iter().map(|t| t.rows).sum();
    let different: u64 = record.tables.iter().map(|t| t.different).sum();
    let keys = match &file.end {
        End::Crossed(report) => Some(report.keys_proven_at_fence),
        End::Rehearsed(report) => Some(report.keys_proven_at_fence),
        End::GivenUp(_) => None,
    };
    let mut all = vec![("from hold to release", ms(record.held_ms))];
    if let Some(stall) = &file.stall {
        all.push(("statements held", grouped(stall.statements)));
        all.push(("longest of them", ms(stall.longest_ms)));
    }
    if !record.tables.is_empty() {
        all.push(("rows proven", grouped(rows)));
        all.push(("rows that differ", grouped(different)));
    }
    all.extend(keys.map(|keys| ("keys proven behind the fence", grouped(keys))));
    html.push_str("<section class=\"tiles\">");
    for (label, value) in all {
        push(
            html,
            format_args!("<div class=\"tile\"><div>{}</div><b>{}</b></div>", escape(label), escape(&value)),
        );
    }
    html.push_str("</section>");
}

fn phases(html: &mut String, phases: &[PhaseTime]) {
    let all: f64 = phases.iter().map(|p| p.ms).sum();
    html.push_str(
        "<h2>Phases</h2><table><tr><th>phase</th><th class=\"n\">took</th><th>what it does</th></tr>",
    );
    for phase in phases {
        let share = if all > 0.0 { phase.ms / all * 100.0 } else { 0.0 };
        push(
            html,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"wide\"><i style=\"width:{share:.1}%\"></i>{}</td></tr>",
                phase.phase,
                ms(phase.ms),
                does(phase.phase)
            ),
        );
    }
    html.push_str("</table>");
}

fn does(phase: Phase) -> &'static str {
    match phase {
        Phase::Hold => "no client starts a transaction",
        Phase::Drain => "open transactions finish",
        Phase::Fence => "the serving side refuses writes",
        Phase::Settle => "the other side has everything",
        Phase::Prove => "every row is proven equal; counters, triggers and events are in place",
        Phase::Switch => "the other side serves",
        Phase::Release => "clients go on",
    }
}

fn stall(html: &mut String, stall: Option<&Stall>) {
    html.push_str("<h2>How long statements were held</h2>");
    let Some(stall) = stall else {
        html.push_str(
            "<p class=\"say\">There is no front door: the site's hooks kept the clients away, for as long as the phases \
             took, and it is not known who waited.</p>",
        );
        return;
    };
    if stall.statements == 0 {
        html.push_str("<p class=\"say\">None was.</p>");
        return;
    }
    let most = stall.steps.iter().map(|s| s.statements).max().unwrap_or(1).max(1);
    let last = stall.steps.iter().rposition(|s| s.statements > 0).unwrap_or(0);
    let first = stall.steps.iter().position(|s| s.statements > 0).unwrap_or(0);
    html.push_str("<table><tr><th>up to</th><th class=\"n\">statements</th><th></th></tr>");
    for step in stall.steps.iter().take(last + 1).skip(first) {
        let width = step.statements as f64 / most as f64 * 100.0;
        let up_to = step.up_to_ms.map_or("longer".to_owned(), |up_to| format!("{up_to} ms"));
        push(
            html,
            format_args!(
                "<tr><td>{up_to}</td><td class=\"n\">{}</td><td class=\"wide\"><i style=\"width:{width:.1}%\"></i></td></tr>",
                grouped(step.statements)
            ),
        );
    }
    html.push_str("</table>");
}

fn accepted(html: &mut String, file: &FileOf) {
    let mut lines: Vec<String> = Vec::new();
    for what in file.end.accepted() {
        lines.push(format!("{} accepted: {what}", file.asked_by));
    }
    if file.accepts_unproven && file.end.accepted().is_empty() {
        lines.push(format!("{} would have accepted what is not proven; there was nothing", file.asked_by));
    }
    if file.closed_pinned {
        lines.push("clients that could not be moved were to be closed".to_owned());
    }
    lines.extend(file.end.warnings().iter().map(|warning| format!("warning: {warning}")));
    if lines.is_empty() {
        return;
    }
    html.push_str("<h2>Accepted, and warnings</h2><ul>");
    for line in lines {
        push(html, format_args!("<li>{}</li>", escape(&line)));
    }
    html.push_str("</ul>");
}

fn guardrails(html: &mut String, guardrails: &[Guardrail]) {
    if guardrails.is_empty() {
        return;
    }
    html.push_str("<h2>Guardrails</h2><table><tr><th></th><th>what</th><th>seen</th><th>should be</th></tr>");
    for rail in guardrails {
        let (class, word) = verdict(rail);
        push(
            html,
            format_args!(
                "<tr><td class=\"{class}\">{word}</td><td class=\"what\" title=\"{}\">{}</td><td>{}</td><td class=\"limit\">{}</td></tr>",
                escape(&rail.why),
                escape(&rail.name),
                escape(&rail.seen),
                escape(&rail.limit)
            ),
        );
    }
    html.push_str("</table>");
}

fn verdict(rail: &Guardrail) -> (&'static str, &'static str) {
    match (rail.holds, rail.warning) {
        (true, _) => ("ok", "holds"),
        (false, true) => ("hm", "warns"),
        (false, false) => ("no", "does not hold"),
    }
}

/// What was done before anyone was held.
fn primed(html: &mut String, primed: Option<&Primed>) {
    let Some(primed) = primed else { return };
    push(
        html,
        format_args!(
            "<p class=\"say\">Before anyone was held, in {}: statistics of {} tables made anew; {} entries of the {} indexes that \
             are read most brought into memory.</p>",
            ms(primed.ms as f64),
            grouped(primed.analyzed),
            grouped(primed.entries),
            grouped(primed.indexes)
        ),
    );
    for why in &primed.left_out {
        push(html, format_args!("<p class=\"say\">Left out: {}</p>", escape(why)));
    }
}

fn proof(html: &mut String, file: &FileOf) {
    let record = &file.record;
    if !record.tables.is_empty() {
        html.push_str(
            "<h2>Proof</h2><p class=\"say\">Rows of each table when it was last compared as a whole; what was written since \
             has been proven key by key.</p>\
             <table><tr><th>table</th><th class=\"n\">rows</th><th class=\"n\">differ</th></tr>",
        );
        for table in &record.tables {
            push(
                html,
                format_args!(
                    "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                    escape(&table.table.to_string()),
                    grouped(table.rows),
                    grouped(table.different)
                ),
            );
        }
        html.push_str("</table>");
    }
    let positions = [
        ("the serving side, behind its fence; the proof is as of this", &record.source_at),
        ("the other side, before it was opened; a stream back begins here", &record.target_at),
    ];
    if positions.iter().any(|(_, set)| set.is_some()) {
        html.push_str("<h2>Positions</h2><dl>");
        for (what, set) in positions {
            if let Some(set) = set {
                push(html, format_args!("<dt>{what}</dt><dd>{}</dd>", escape(&set.to_string())));
            }
        }
        html.push_str("</dl>");
    }
}

fn hooks(html: &mut String, hooks: &[HookRun]) {
    if hooks.is_empty() {
        return;
    }
    html.push_str("<h2>Hooks</h2>");
    for hook in hooks {
        let class = if hook.ok { "ok" } else { "no" };
        push(
            html,
            format_args!(
                "<details{}><summary><span class=\"{class}\">{}</span> {} {}, {}</summary>",
                if hook.ok { "" } else { " open" },
                escape(&hook.key()),
                escape(&hook.program),
                escape(&hook.ended),
                ms(hook.ms)
            ),
        );
        for (name, output) in [("standard output", &hook.stdout), ("standard error", &hook.stderr)] {
            if !output.is_empty() {
                push(html, format_args!("<p class=\"say\">{name}</p><pre>{}</pre>", escape(output)));
            }
        }
        html.push_str("</details>");
    }
}

/// Milliseconds, as a person reads them.
fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = html.write_fmt(text);
}
